//! A store that forgets: for tests, and for a node that lives inside another program.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::Owner;

use crate::records::Write;
use crate::{Batch, BlockEntry, Blocks, Outcome, Prefix, RecordKey, Records, StoreError};

/// Blocks and records in memory. Cheap to make; nothing outlives it.
#[derive(Default)]
pub struct MemoryStore {
    // Keyed by the binary CID, since that is the order that `list` promises.
    blocks: RwLock<BTreeMap<Owner, BTreeMap<Vec<u8>, Bytes>>>,
    records: RwLock<BTreeMap<RecordKey, Bytes>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }
}

// A panic elsewhere while a lock is held leaves the maps whole: no operation below can panic between two of its changes.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A store with the same content, which goes its own way from here: for tests that start many times from one state.
impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        // In the order in which a node writes, so that no record is copied without the blocks that it names.
        let records = read(&self.records).clone();
        MemoryStore { blocks: RwLock::new(read(&self.blocks).clone()), records: RwLock::new(records) }
    }
}

impl Blocks for MemoryStore {
    fn put(&self, owner: &Owner, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        let mut owners = write(&self.blocks);
        let partition = owners.entry(owner.clone()).or_default();
        for (cid, block) in blocks {
            // A copy, so that a small block does not keep alive the large request body that it is a slice of.
            partition.entry(cid.to_bytes()).or_insert_with(|| Bytes::copy_from_slice(block));
        }
        Ok(())
    }

    fn get(&self, owner: &Owner, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        Ok(read(&self.blocks).get(owner).and_then(|partition| partition.get(&cid.to_bytes()).cloned()))
    }

    fn size(&self, owner: &Owner, cid: &Cid) -> Result<Option<u64>, StoreError> {
        Ok(self.get(owner, cid)?.map(|block| block.len() as u64))
    }

    fn delete(&self, owner: &Owner, cids: &[Cid]) -> Result<(), StoreError> {
        if let Some(partition) = write(&self.blocks).get_mut(owner) {
            for cid in cids {
                partition.remove(&cid.to_bytes());
            }
        }
        Ok(())
    }

    fn delete_all(&self, owner: &Owner) -> Result<(), StoreError> {
        write(&self.blocks).remove(owner);
        Ok(())
    }

    fn list(&self, owner: &Owner, after: Option<&Cid>, limit: usize) -> Result<Vec<BlockEntry>, StoreError> {
        let owners = read(&self.blocks);
        let Some(partition) = owners.get(owner) else { return Ok(Vec::new()) };
        let start = after.map_or(Bound::Unbounded, |cid| Bound::Excluded(cid.to_bytes()));
        partition
            .range((start, Bound::Unbounded))
            .take(limit)
            .map(|(cid, block)| {
                let cid = Cid::from_bytes(cid).map_err(|_| StoreError::Damaged { what: "a block's key".into() })?;
                Ok(BlockEntry { cid, size: block.len() as u64 })
            })
            .collect()
    }

    fn owners(&self, after: Option<&Owner>, limit: usize) -> Result<Vec<Owner>, StoreError> {
        let owners = read(&self.blocks);
        let start = after.map_or(Bound::Unbounded, |owner| Bound::Excluded(owner.clone()));
        let full = owners.range((start, Bound::Unbounded)).filter(|(_, partition)| !partition.is_empty());
        Ok(full.map(|(owner, _)| owner.clone()).take(limit).collect())
    }
}

impl Records for MemoryStore {
    fn read(&self, key: &RecordKey) -> Result<Option<Bytes>, StoreError> {
        Ok(read(&self.records).get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        let first = RecordKey::from_stored(prefix.table(), prefix.bytes().to_vec());
        let start = match after {
            Some(after) if *after >= first => Bound::Excluded(after.clone()),
            _ => Bound::Included(first),
        };
        Ok(read(&self.records)
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| prefix.holds(key))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn commit(&self, batch: Batch) -> Result<Outcome, StoreError> {
        let mut records = write(&self.records);
        for (key, expected) in batch.conditions() {
            if records.get(key) != expected.as_ref() {
                return Ok(Outcome::Conflict(key.clone()));
            }
        }
        for change in batch.writes() {
            match change {
                Write::Put(key, value) => {
                    records.insert(key.clone(), Bytes::copy_from_slice(value));
                }
                Write::Delete(key) => {
                    records.remove(key);
                }
                Write::DeleteAll(prefix) => records.retain(|key, _| !prefix.holds(key)),
            }
        }
        Ok(Outcome::Committed)
    }
}
