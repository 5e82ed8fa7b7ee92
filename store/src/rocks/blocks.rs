//! Blocks: an index row for each, the bytes of small ones in the database, those of large ones in segments.

use std::io;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::{KeyHash, Owner};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, ReadOptions, WriteBatch};

use super::segments::{Extent, Found, Position};
use super::{BLOCKS, EXTENTS, INDEX, RocksStore, Settled, database, family, lock};
use crate::records::{end_of_prefix, push_part};
use crate::{BlockEntry, Blocks, StoreError};

/// A place in the segments, and the key of the row of the block that was written there.
pub(super) type Placed = (Position, Box<[u8]>);

type KeyValue = (Box<[u8]>, Box<[u8]>);

/// An index row: the block's size, and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) size: u32,
    /// None: in the family of small blocks, under the same key.
    pub(super) extent: Option<Extent>,
}

impl Row {
    /// CBOR `[size, [segment, offset, crc] or null]`.
    fn to_bytes(self) -> Result<Vec<u8>, StoreError> {
        let place = self.extent.map(|extent| (extent.at.segment, extent.at.offset, extent.crc));
        serde_ipld_dagcbor::to_vec(&(self.size, place))
            .map_err(|e| StoreError::Database { action: "write an index row", source: Box::new(e) })
    }

    /// Reads an index row. Any bytes give a row or an error.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        let (size, place): (u32, Option<(u32, u64, u32)>) = serde_ipld_dagcbor::from_slice(bytes)
            .map_err(|_| StoreError::Damaged { what: "an index row of a block".into() })?;
        let extent = place.map(|(segment, offset, crc)| Extent { at: Position { segment, offset }, length: size, crc });
        Ok(Row { size, extent })
    }
}

fn partition(owner: &Owner) -> Vec<u8> {
    let mut key = Vec::with_capacity(80);
    push_part(&mut key, &owner.cid().to_bytes());
    key
}

fn block_key(owner: &Owner, cid: &Cid) -> Vec<u8> {
    let mut key = partition(owner);
    key.extend_from_slice(&cid.to_bytes());
    key
}

impl RocksStore {
    fn row(&self, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let bytes = self.db.get_pinned_cf(family(&self.db, INDEX)?, key).map_err(database("read the block index"))?;
        bytes.map(|bytes| Row::from_bytes(&bytes)).transpose()
    }

    /// Appends copies of blocks and makes them durable, then lets the rows point at them. In this order, since a crash
    /// must not find a row that points at a copy which was not written while the old place was.
    pub(super) fn move_blocks(&self, blocks: &[Placed], settled: &mut Settled) -> Result<(), StoreError> {
        let mut copies = Vec::with_capacity(blocks.len());
        for (at, key) in blocks {
            let Some(extent) = self.is_live(key, *at)? else { continue };
            let Found::Block(bytes) = self.segments.read(&extent)? else {
                return Err(StoreError::Damaged { what: format!("a block in segment {}", extent.at.segment) });
            };
            let copy = self.segments.append(&mut lock(&self.tail), &bytes, self.options.segment_bytes)?;
            copies.push((extent, key, copy));
        }
        self.sync_tail(lock(&self.tail), settled)?;
        let _tail = lock(&self.tail);
        for (old, key, new) in copies {
            let mut batch = WriteBatch::default();
            if self.is_live(key, old.at)?.is_some() {
                add_extent(&self.db, &mut batch, key, new)?;
            }
            batch.delete_cf(family(&self.db, EXTENTS)?, old.at.to_bytes());
            self.write(batch, false)?;
        }
        Ok(())
    }

    /// Whether the block under `key` is still in this extent.
    pub(super) fn is_live(&self, key: &[u8], at: Position) -> Result<Option<Extent>, StoreError> {
        Ok(self.row(key)?.and_then(|row| row.extent).filter(|extent| extent.at == at))
    }

    /// Extents at or behind a position, each with the key of the block that it was written for.
    pub(super) fn extents(
        &self,
        from: Position,
    ) -> Result<impl Iterator<Item = Result<Placed, StoreError>>, StoreError> {
        let start = from.to_bytes();
        let rows = self.db.iterator_cf(family(&self.db, EXTENTS)?, IteratorMode::From(&start, Direction::Forward));
        Ok(rows.map(|row| {
            let (at, key) = row.map_err(database("list extents"))?;
            let at = Position::from_bytes(&at).ok_or_else(|| StoreError::Damaged { what: "an extent's key".into() })?;
            Ok((at, key))
        }))
    }

    /// Drops the rows of those extents that do not hold what was written, and says how many those were.
    pub(super) fn drop_torn(&self, unsettled: &[Placed]) -> Result<usize, StoreError> {
        let mut torn = 0;
        for (at, key) in unsettled {
            let whole = match self.is_live(key, *at)? {
                Some(extent) => matches!(self.segments.read(&extent)?, Found::Block(_)),
                None => false,
            };
            if whole {
                continue;
            }
            let _tail = lock(&self.tail);
            let mut batch = WriteBatch::default();
            if self.is_live(key, *at)?.is_some() {
                torn += 1;
                batch.delete_cf(family(&self.db, INDEX)?, key);
            }
            batch.delete_cf(family(&self.db, EXTENTS)?, at.to_bytes());
            self.write(batch, false)?;
        }
        Ok(torn)
    }

    /// Whether the bytes that a row speaks of can be read.
    fn is_whole(&self, key: &[u8], row: &Row) -> Result<bool, StoreError> {
        match &row.extent {
            Some(extent) => Ok(matches!(self.segments.read(extent)?, Found::Block(_))),
            None => match self.db.get_pinned_cf(family(&self.db, BLOCKS)?, key).map_err(database("read a block")) {
                Ok(bytes) => Ok(bytes.is_some()),
                Err(StoreError::Damaged { .. }) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }
}

fn add_extent(db: &DB, batch: &mut WriteBatch, key: &[u8], extent: Extent) -> Result<(), StoreError> {
    let row = Row { size: extent.length, extent: Some(extent) };
    batch.put_cf(family(db, INDEX)?, key, row.to_bytes()?);
    batch.put_cf(family(db, EXTENTS)?, extent.at.to_bytes(), key);
    Ok(())
}

impl Blocks for RocksStore {
    fn check_space(&self) -> Result<(), StoreError> {
        match self.folder.free_bytes()? < self.options.reserve_bytes {
            true => Err(StoreError::DiskFull),
            false => Ok(()),
        }
    }

    fn put(&self, owner: &Owner, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        if blocks.is_empty() {
            return Ok(());
        }
        self.check_space()?;
        let index = family(&self.db, INDEX)?;
        let small = family(&self.db, BLOCKS)?;
        // Rows of large blocks change under the tail's lock only, so that a delete or a move of the same block never comes
        // between. A small block and its row are written and deleted in one batch, which needs no lock.
        let mut tail = None;
        let mut batch = WriteBatch::default();
        let mut seen = std::collections::HashSet::new();
        for (cid, block) in blocks {
            if !seen.insert(cid) {
                continue;
            }
            let key = block_key(owner, cid);
            let bulk = block.len() >= self.options.bulk_bytes;
            let mut stored = self.row(&key)?;
            if let Some(row) = &stored
                && self.is_whole(&key, row)?
            {
                continue;
            }
            // New, or damaged: then this repairs it. A row that came or moved since the look is of whole bytes.
            if bulk && tail.is_none() {
                tail = Some(lock(&self.tail));
                let now = self.row(&key)?;
                if now.is_some() && now != stored {
                    continue;
                }
                stored = now;
            }
            if let Some(Row { extent: Some(old), .. }) = stored {
                batch.delete_cf(family(&self.db, EXTENTS)?, old.at.to_bytes());
            }
            if let (true, Some(tail)) = (bulk, &mut tail) {
                let extent = self.segments.append(tail, block, self.options.segment_bytes)?;
                add_extent(&self.db, &mut batch, &key, extent)?;
            } else {
                let size = u32::try_from(block.len()).map_err(|_| StoreError::Io {
                    action: "store a block",
                    source: io::ErrorKind::FileTooLarge.into(),
                })?;
                batch.put_cf(index, &key, Row { size, extent: None }.to_bytes()?);
                batch.put_cf(small, &key, block);
            }
        }
        match batch.is_empty() {
            true => Ok(()),
            false => self.write(batch, false),
        }
    }

    fn get(&self, owner: &Owner, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let key = block_key(owner, cid);
        // A block may move or go between its row and its bytes; then another look tells how.
        for _ in 0..3 {
            let Some(row) = self.row(&key)? else { return Ok(None) };
            let block = match &row.extent {
                Some(extent) => match self.segments.read(extent)? {
                    Found::Block(block) => Some(block),
                    Found::Nothing => None,
                },
                None => {
                    self.db.get_cf(family(&self.db, BLOCKS)?, &key).map_err(database("read a block"))?.map(Bytes::from)
                }
            };
            if block.is_some() {
                return Ok(block);
            }
        }
        Err(StoreError::Damaged { what: format!("block {cid} is listed, but what was stored is not there") })
    }

    fn size(&self, owner: &Owner, cid: &Cid) -> Result<Option<u64>, StoreError> {
        Ok(self.row(&block_key(owner, cid))?.map(|row| u64::from(row.size)))
    }

    fn delete(&self, owner: &Owner, cids: &[Cid]) -> Result<(), StoreError> {
        let _tail = lock(&self.tail);
        let mut batch = WriteBatch::default();
        for cid in cids {
            let key = block_key(owner, cid);
            batch.delete_cf(family(&self.db, INDEX)?, &key);
            batch.delete_cf(family(&self.db, BLOCKS)?, &key);
        }
        self.deleted.fetch_add(cids.len() as u64, Ordering::Relaxed);
        self.write(batch, false)
    }

    fn delete_all(&self, owner: &Owner) -> Result<(), StoreError> {
        let _tail = lock(&self.tail);
        let start = partition(owner);
        // The key begins with a length, which is never all ones.
        let end = end_of_prefix(&start).unwrap_or_default();
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(family(&self.db, INDEX)?, start.clone(), end.clone());
        batch.delete_range_cf(family(&self.db, BLOCKS)?, start, end);
        self.write(batch, false)
    }

    fn list(&self, owner: &Owner, after: Option<&Cid>, limit: usize) -> Result<Vec<BlockEntry>, StoreError> {
        let prefix = partition(owner);
        let start = match after {
            // The first key behind this one.
            Some(cid) => [block_key(owner, cid).as_slice(), &[0]].concat(),
            None => prefix.clone(),
        };
        rows_between(&self.db, family(&self.db, INDEX)?, start, &prefix)
            .take(limit)
            .map(|row| {
                let (key, value) = row.map_err(database("list blocks"))?;
                let cid = Cid::from_bytes(key.get(prefix.len()..).unwrap_or_default())
                    .map_err(|_| StoreError::Damaged { what: "a key of the block index".into() })?;
                Ok(BlockEntry { cid, size: u64::from(Row::from_bytes(&value)?.size) })
            })
            .collect()
    }

    fn owners(&self, after: Option<&Owner>, limit: usize) -> Result<Vec<Owner>, StoreError> {
        let damaged = || StoreError::Damaged { what: "a key of the block index".into() };
        let mut owners = Vec::new();
        // Behind each partition the next one begins.
        let mut start = after.map_or_else(Vec::new, |owner| end_of_prefix(&partition(owner)).unwrap_or_default());
        while owners.len() < limit {
            let next = rows_between(&self.db, family(&self.db, INDEX)?, start, &[]).next();
            let Some(row) = next else { break };
            let (key, _) = row.map_err(database("list owners"))?;
            let (length, rest) = key.split_first_chunk::<2>().ok_or_else(damaged)?;
            let owner = rest.get(..usize::from(u16::from_be_bytes(*length))).ok_or_else(damaged)?;
            let owner = Cid::from_bytes(owner).map_err(|_| damaged())?;
            let owner = Owner::new(KeyHash::new(owner).map_err(|_| damaged())?);
            start = end_of_prefix(&partition(&owner)).ok_or_else(damaged)?;
            owners.push(owner);
        }
        Ok(owners)
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    fn may_have_lost_puts(&self) -> bool {
        self.lost_puts.load(Ordering::SeqCst)
    }

    fn reclaim(&self) -> Result<u64, StoreError> {
        Ok(self.reclaim_segments()? + self.reclaim_small()?)
    }
}

/// Rows from `start` on whose keys begin with `prefix`.
pub(super) fn rows_between<'a>(
    db: &'a DB,
    family: &ColumnFamily,
    start: Vec<u8>,
    prefix: &[u8],
) -> impl Iterator<Item = Result<KeyValue, rocksdb::Error>> + use<'a> {
    let mut options = ReadOptions::default();
    if let Some(end) = end_of_prefix(prefix) {
        options.set_iterate_upper_bound(end);
    }
    db.iterator_cf_opt(family, options, IteratorMode::From(&start, Direction::Forward))
}
