//! Fails on purpose, so that a test can see what happens to those who call.

use std::sync::Mutex;

use bytes::Bytes;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::Owner;

use crate::{Batch, BlockEntry, Blocks, Outcome, Prefix, RecordKey, Records, StoreError};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// [`StoreError::OnPurpose`], nothing is done.
    Refuse,
    /// [`StoreError::DiskFull`], nothing is done. Strikes writes only; a read that it meets succeeds and leaves it for
    /// the next call.
    DiskFull,
    /// The call is done, and then [`StoreError::OnPurpose`] is told: the caller cannot know.
    LoseAnswer,
}

/// A store whose calls fail when a test says so. Without an order it behaves as what it wraps.
#[derive(Default)]
pub struct Faulty<S> {
    inner: S,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    calls: u64,
    next: Option<(u64, Fault)>,
    always: Option<Fault>,
}

impl<S> Faulty<S> {
    /// Wraps a store.
    pub fn new(inner: S) -> Self {
        Faulty { inner, plan: Mutex::default() }
    }

    /// Lets the call after `calls` more calls fail, once: 0 is the next one.
    pub fn fail_after(&self, calls: u64, fault: Fault) {
        let mut plan = self.plan();
        plan.next = Some((plan.calls + calls, fault));
    }

    /// Lets every call fail from now on.
    pub fn fail_always(&self, fault: Fault) {
        self.plan().always = Some(fault);
    }

    /// Ends all orders.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.next = None;
        plan.always = None;
    }

    /// How many calls there were, so that a test can repeat a run and let each of them fail in turn.
    pub fn calls(&self) -> u64 {
        self.plan().calls
    }

    /// The wrapped store.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Counts a call and takes the fault that strikes it.
    fn strike(&self, writes: bool) -> Option<Fault> {
        let mut plan = self.plan();
        let call = plan.calls;
        plan.calls += 1;
        let fault = match plan.next {
            Some((at, fault)) if call >= at => Some(fault),
            _ => plan.always,
        }?;
        if fault == Fault::DiskFull && !writes {
            return None;
        }
        plan.next = plan.next.filter(|(at, _)| call < *at);
        Some(fault)
    }

    fn call<T>(&self, writes: bool, act: impl FnOnce(&S) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self.strike(writes) {
            None => act(&self.inner),
            Some(Fault::Refuse) => Err(StoreError::OnPurpose),
            Some(Fault::DiskFull) => Err(StoreError::DiskFull),
            Some(Fault::LoseAnswer) => {
                act(&self.inner)?;
                Err(StoreError::OnPurpose)
            }
        }
    }
}

impl<S: Blocks> Blocks for Faulty<S> {
    fn put(&self, owner: &Owner, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        self.call(true, |inner| inner.put(owner, blocks))
    }

    fn get(&self, owner: &Owner, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.call(false, |inner| inner.get(owner, cid))
    }

    fn size(&self, owner: &Owner, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.call(false, |inner| inner.size(owner, cid))
    }

    fn has(&self, owner: &Owner, cid: &Cid) -> Result<bool, StoreError> {
        self.call(false, |inner| inner.has(owner, cid))
    }

    fn delete(&self, owner: &Owner, cids: &[Cid]) -> Result<(), StoreError> {
        self.call(true, |inner| inner.delete(owner, cids))
    }

    fn delete_all(&self, owner: &Owner) -> Result<(), StoreError> {
        self.call(true, |inner| inner.delete_all(owner))
    }

    fn list(&self, owner: &Owner, after: Option<&Cid>, limit: usize) -> Result<Vec<BlockEntry>, StoreError> {
        self.call(false, |inner| inner.list(owner, after, limit))
    }

    fn owners(&self, after: Option<&Owner>, limit: usize) -> Result<Vec<Owner>, StoreError> {
        self.call(false, |inner| inner.owners(after, limit))
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
        self.call(true, |inner| inner.reclaim())
    }
}

impl<S: Records> Records for Faulty<S> {
    fn read(&self, key: &RecordKey) -> Result<Option<Bytes>, StoreError> {
        self.call(false, |inner| inner.read(key))
    }

    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        self.call(false, |inner| inner.scan(prefix, after, limit))
    }

    fn commit(&self, batch: Batch) -> Result<Outcome, StoreError> {
        self.call(true, |inner| inner.commit(batch))
    }
}
