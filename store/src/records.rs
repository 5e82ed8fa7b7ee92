//! Small values under typed keys, and batches that change them together.

mod key;

use std::sync::Arc;

use bytes::Bytes;

pub use key::{Prefix, RecordKey, Table};
pub(crate) use key::{end_of_prefix, push_part};

use crate::StoreError;

/// Records by table and key, with an atomic compare-and-swap over several of them.
pub trait Records: Send + Sync {
    /// The record's value.
    fn read(&self, key: &RecordKey) -> Result<Option<Bytes>, StoreError>;

    /// The records whose keys begin with `prefix`, in the order of their keys, at most `limit` of them, beginning behind
    /// `after`. An answer shorter than `limit` is the last.
    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<(RecordKey, Bytes)>, StoreError>;

    /// Applies the whole batch if all its conditions hold, else nothing.
    ///
    /// When a [`Durability::Durable`] batch is [`Outcome::Committed`], it and every block put before this call are on
    /// the disk. Nobody reads a record of such a batch before that. After an error the batch may or may not take effect,
    /// as a whole: read again before trying again.
    fn commit(&self, batch: Batch) -> Result<Outcome, StoreError>;
}

impl<S: Records + ?Sized> Records for Arc<S> {
    fn read(&self, key: &RecordKey) -> Result<Option<Bytes>, StoreError> {
        (**self).read(key)
    }

    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        (**self).scan(prefix, after, limit)
    }

    fn commit(&self, batch: Batch) -> Result<Outcome, StoreError> {
        (**self).commit(batch)
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// All conditions held and all writes are in effect.
    Committed,
    /// The record under this key was not as expected. Nothing changed.
    Conflict(RecordKey),
}

impl Outcome {
    /// Whether the batch took effect.
    pub fn is_committed(&self) -> bool {
        matches!(self, Outcome::Committed)
    }
}

/// When a batch must be on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Before `commit` returns, with all blocks put before.
    #[default]
    Durable,
    /// At the latest with the next durable batch. A crash may lose it, but never it alone: batches are kept in their
    /// order. For what is cheap to lose: blocks of open transactions, usage figures, counters.
    Deferred,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Stores a value under a key, whether or not there was one.
    Put(RecordKey, Bytes),
    /// Removes a record if it is there.
    Delete(RecordKey),
    /// Removes all records under a prefix.
    DeleteAll(Prefix),
}

/// Conditions and the changes that depend on them. Later writes of a batch overwrite earlier ones; conditions look at
/// the state before the batch.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    conditions: Vec<(RecordKey, Option<Bytes>)>,
    writes: Vec<Write>,
    durability: Durability,
}

impl Batch {
    /// A batch without conditions and writes. Committing it durably makes all blocks put before durable.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Demands that the record has this value, or is absent.
    pub fn expect(mut self, key: RecordKey, value: Option<Bytes>) -> Self {
        self.conditions.push((key, value));
        self
    }

    /// Stores a value.
    pub fn put(mut self, key: RecordKey, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write::Put(key, value.into()));
        self
    }

    /// Removes a record.
    pub fn delete(mut self, key: RecordKey) -> Self {
        self.writes.push(Write::Delete(key));
        self
    }

    /// Removes all records under a prefix.
    pub fn delete_all(mut self, prefix: Prefix) -> Self {
        self.writes.push(Write::DeleteAll(prefix));
        self
    }

    /// With the conditions and writes of another batch behind its own. Durable unless both may wait.
    pub fn and(mut self, other: Batch) -> Self {
        self.conditions.extend(other.conditions);
        self.writes.extend(other.writes);
        if other.durability == Durability::Durable {
            self.durability = Durability::Durable;
        }
        self
    }

    /// Lets the batch reach the disk later, see [`Durability::Deferred`].
    pub fn deferred(mut self) -> Self {
        self.durability = Durability::Deferred;
        self
    }

    /// The conditions.
    pub fn conditions(&self) -> &[(RecordKey, Option<Bytes>)] {
        &self.conditions
    }

    /// The writes in their order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// When the batch must be on the disk.
    pub fn durability(&self) -> Durability {
        self.durability
    }
}
