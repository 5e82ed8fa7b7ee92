//! Counts calls and bytes, so that a test can say what an operation costs.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::Owner;

use crate::{Batch, BlockEntry, Blocks, Durability, Outcome, Prefix, RecordKey, Records, StoreError};

/// What went through a [`Counting`] store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls of `Blocks::put`.
    pub puts: u64,
    /// Blocks in them.
    pub blocks_put: u64,
    /// Bytes in these blocks.
    pub bytes_put: u64,
    /// Calls of `Blocks::get`.
    pub gets: u64,
    /// Bytes in the blocks that they found.
    pub bytes_got: u64,
    /// Calls of `Blocks::size` and `Blocks::has`.
    pub sizes: u64,
    /// Calls of `Blocks::list` and `Blocks::owners`.
    pub lists: u64,
    /// Blocks in calls of `Blocks::delete`.
    pub blocks_deleted: u64,
    /// Calls of `Records::read` and `Records::scan`.
    pub records_read: u64,
    /// Durable batches committed.
    pub durable_commits: u64,
    /// Deferred batches committed.
    pub deferred_commits: u64,
    /// Batches refused by a condition.
    pub conflicts: u64,
}

/// A store that counts what goes through it. Calls that fail count too, their bytes do not.
#[derive(Default)]
pub struct Counting<S> {
    inner: S,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    puts: AtomicU64,
    blocks_put: AtomicU64,
    bytes_put: AtomicU64,
    gets: AtomicU64,
    bytes_got: AtomicU64,
    sizes: AtomicU64,
    lists: AtomicU64,
    blocks_deleted: AtomicU64,
    records_read: AtomicU64,
    durable_commits: AtomicU64,
    deferred_commits: AtomicU64,
    conflicts: AtomicU64,
}

impl<S> Counting<S> {
    /// Wraps a store.
    pub fn new(inner: S) -> Self {
        Counting { inner, counters: Counters::default() }
    }

    /// The counts since the store was wrapped.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            puts: read(&self.counters.puts),
            blocks_put: read(&self.counters.blocks_put),
            bytes_put: read(&self.counters.bytes_put),
            gets: read(&self.counters.gets),
            bytes_got: read(&self.counters.bytes_got),
            sizes: read(&self.counters.sizes),
            lists: read(&self.counters.lists),
            blocks_deleted: read(&self.counters.blocks_deleted),
            records_read: read(&self.counters.records_read),
            durable_commits: read(&self.counters.durable_commits),
            deferred_commits: read(&self.counters.deferred_commits),
            conflicts: read(&self.counters.conflicts),
        }
    }

    /// The wrapped store.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}

impl<S: Blocks> Blocks for Counting<S> {
    fn put(&self, owner: &Owner, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        add(&self.counters.puts, 1);
        self.inner.put(owner, blocks)?;
        add(&self.counters.blocks_put, blocks.len());
        add(&self.counters.bytes_put, blocks.iter().map(|(_, block)| block.len()).sum());
        Ok(())
    }

    fn get(&self, owner: &Owner, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        add(&self.counters.gets, 1);
        let block = self.inner.get(owner, cid)?;
        add(&self.counters.bytes_got, block.as_ref().map_or(0, Bytes::len));
        Ok(block)
    }

    fn size(&self, owner: &Owner, cid: &Cid) -> Result<Option<u64>, StoreError> {
        add(&self.counters.sizes, 1);
        self.inner.size(owner, cid)
    }

    fn has(&self, owner: &Owner, cid: &Cid) -> Result<bool, StoreError> {
        add(&self.counters.sizes, 1);
        self.inner.has(owner, cid)
    }

    fn delete(&self, owner: &Owner, cids: &[Cid]) -> Result<(), StoreError> {
        self.inner.delete(owner, cids)?;
        add(&self.counters.blocks_deleted, cids.len());
        Ok(())
    }

    fn delete_all(&self, owner: &Owner) -> Result<(), StoreError> {
        self.inner.delete_all(owner)
    }

    fn list(&self, owner: &Owner, after: Option<&Cid>, limit: usize) -> Result<Vec<BlockEntry>, StoreError> {
        add(&self.counters.lists, 1);
        self.inner.list(owner, after, limit)
    }

    fn owners(&self, after: Option<&Owner>, limit: usize) -> Result<Vec<Owner>, StoreError> {
        add(&self.counters.lists, 1);
        self.inner.owners(after, limit)
    }

    fn may_have_lost_puts(&self) -> bool {
        self.inner.may_have_lost_puts()
    }

    fn is_broken(&self) -> bool {
        self.inner.is_broken()
    }

    fn check_space(&self) -> Result<(), StoreError> {
        self.inner.check_space()
    }

    fn reclaim(&self) -> Result<u64, StoreError> {
        self.inner.reclaim()
    }
}

impl<S: Records> Records for Counting<S> {
    fn read(&self, key: &RecordKey) -> Result<Option<Bytes>, StoreError> {
        add(&self.counters.records_read, 1);
        self.inner.read(key)
    }

    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        add(&self.counters.records_read, 1);
        self.inner.scan(prefix, after, limit)
    }

    fn commit(&self, batch: Batch) -> Result<Outcome, StoreError> {
        let durability = batch.durability();
        let outcome = self.inner.commit(batch)?;
        add(
            match (&outcome, durability) {
                (Outcome::Conflict(_), _) => &self.counters.conflicts,
                (Outcome::Committed, Durability::Durable) => &self.counters.durable_commits,
                (Outcome::Committed, Durability::Deferred) => &self.counters.deferred_commits,
            },
            1,
        );
        Ok(outcome)
    }
}
