//! Records: one column family for each table.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::MutexGuard;

use bytes::Bytes;
use rocksdb::WriteBatch;

use super::blocks::rows_between;
use super::{RocksStore, database, family, lock};
use crate::records::Write;
use crate::{Batch, Durability, Outcome, Prefix, RecordKey, Records, StoreError, Table};

/// Up to this many rows a deleted prefix is deleted row by row: a range tombstone slows later reads down, and closed
/// transactions would leave one each.
const ROWS_PER_RANGE: usize = 1000;

impl RocksStore {
    /// Locks out other batches that touch the same records, until the batch is on the disk. Others run beside it, and
    /// the database syncs the log once for all that wait.
    fn lock_records(&self, batch: &Batch) -> Vec<MutexGuard<'_, ()>> {
        let count = self.stripes.len();
        let stripe = |key: &RecordKey| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            (hasher.finish() % count as u64) as usize
        };
        let mut stripes = vec![false; count];
        for (key, _) in batch.conditions() {
            stripes[stripe(key)] = true;
        }
        for write in batch.writes() {
            match write {
                Write::Put(key, _) | Write::Delete(key) => stripes[stripe(key)] = true,
                // Closing a transaction stops nobody: its rows go one by one, and no condition is ever put on one. A row
                // that comes meanwhile is as one that comes after.
                Write::DeleteAll(prefix) if prefix.table() == Table::Transactions && batch.conditions().is_empty() => {}
                Write::DeleteAll(_) => stripes.fill(true),
            }
        }
        // Always in ascending order, so that two batches never wait for each other.
        self.stripes.iter().zip(stripes).filter(|(_, needed)| *needed).map(|(stripe, _)| lock(stripe)).collect()
    }

    /// The batch as the database takes it: ranges first, then the last write of each record.
    fn translate(&self, batch: &Batch) -> Result<WriteBatch, StoreError> {
        let mut out = WriteBatch::default();
        let mut last: BTreeMap<RecordKey, Option<Bytes>> = BTreeMap::new();
        for write in batch.writes() {
            match write {
                Write::Put(key, value) => {
                    last.insert(key.clone(), Some(value.clone()));
                }
                Write::Delete(key) => {
                    last.insert(key.clone(), None);
                }
                Write::DeleteAll(prefix) => {
                    for (key, value) in &mut last {
                        if prefix.holds(key) {
                            *value = None;
                        }
                    }
                    let (start, end) = (prefix.bytes().to_vec(), prefix.end());
                    // Without an end behind the prefix the rows have to be found one by one; those of transactions are
                    // deleted without a lock, and a range would take what comes meanwhile.
                    let ranged = end.is_some() && prefix.table() != Table::Transactions;
                    let limit = if ranged { ROWS_PER_RANGE } else { usize::MAX };
                    let rows = self.scan(prefix, None, limit)?;
                    match end {
                        Some(end) if rows.len() >= limit => {
                            out.delete_range_cf(family(&self.db, prefix.table().name())?, start, end);
                        }
                        _ => last.extend(rows.into_iter().map(|(key, _)| (key, None))),
                    }
                }
            }
        }
        for (key, value) in last {
            let table = family(&self.db, key.table().name())?;
            match value {
                Some(value) => out.put_cf(table, key.bytes(), value),
                None => out.delete_cf(table, key.bytes()),
            }
        }
        Ok(out)
    }
}

impl Records for RocksStore {
    fn read(&self, key: &RecordKey) -> Result<Option<Bytes>, StoreError> {
        let table = family(&self.db, key.table().name())?;
        Ok(self.db.get_cf(table, key.bytes()).map_err(database("read a record"))?.map(Bytes::from))
    }

    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        let table = prefix.table();
        let start = match after {
            Some(after) if after.bytes() >= prefix.bytes() => [after.bytes(), &[0]].concat(),
            _ => prefix.bytes().to_vec(),
        };
        if !prefix.holds(&RecordKey::from_stored(table, start.clone())) {
            return Ok(Vec::new());
        }
        rows_between(&self.db, family(&self.db, table.name())?, start, prefix.bytes())
            .take_while(|row| !matches!(row, Ok((key, _)) if !key.starts_with(prefix.bytes())))
            .take(limit)
            .map(|row| {
                let (key, value) = row.map_err(database("list records"))?;
                Ok((RecordKey::from_stored(table, key.into_vec()), value.into_vec().into()))
            })
            .collect()
    }

    fn commit(&self, batch: Batch) -> Result<Outcome, StoreError> {
        let _locks = self.lock_records(&batch);
        for (key, expected) in batch.conditions() {
            if self.read(key)? != *expected {
                return Ok(Outcome::Conflict(key.clone()));
            }
        }
        let writes = self.translate(&batch)?;
        match batch.durability() {
            Durability::Durable => self.make_durable(writes)?,
            Durability::Deferred => self.write(writes, false)?,
        }
        Ok(Outcome::Committed)
    }
}
