//! The walk over what differs between an old and a new tree, by one or several nodes at once.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::join_all;
use pyrgos_protocol::encoding::{Cid, Codec};
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::mirroring::difference::MAX_NAMED;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::copy::{CopyError, Passed};
use super::supply::{Sink, Supply, Wanted};
use crate::service::mirrors::{Copied, links_of};
use crate::service::{Failure, Service};

/// Bytes of blocks that are stored together.
const BATCH: usize = 4 << 20;

/// Most blocks that one pass looks at.
const MAX_BLOCKS: usize = 8 << 20;

/// What one answer may bring when several nodes share the work: little at first, so that there is something to share.
const FIRST_SHARE: u64 = 1 << 20;
const SHARE: u64 = 32 << 20;

/// Bytes of blocks that nobody wanted which one source may bring, beside as many as came that were wanted: some are in
/// both trees at different levels.
const MAX_WASTE: u64 = 32 << 20;

/// Blocks of one level of the new tree that the old one does not have.
struct Part {
    /// Blocks of the old tree, on the same level, without those that both have.
    base: HashSet<Cid>,
    /// Those that are not here.
    absent: HashSet<Cid>,
    /// What those link to that are here.
    below: HashSet<Cid>,
    /// Whether all of them were absent at first.
    is_whole: bool,
}

impl Part {
    fn wanted(&self, max_bytes: u64) -> Wanted {
        let is_deep = self.is_whole && self.base.len() <= MAX_NAMED && self.absent.len() <= MAX_NAMED;
        Wanted {
            base: if is_deep { self.base.iter().cloned().collect() } else { Vec::new() },
            blocks: self.absent.iter().take(MAX_NAMED).cloned().collect(),
            is_deep,
            max_bytes,
        }
    }

    /// Shares the blocks that are absent among several parts.
    fn split(mut self, len: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        while self.absent.len() > len {
            let share: HashSet<Cid> = self.absent.iter().take(len).cloned().collect();
            self.absent.retain(|cid| !share.contains(cid));
            parts.push(Part { base: self.base.clone(), absent: share, below: HashSet::new(), is_whole: true });
        }
        self.is_whole &= self.below.is_empty();
        parts.push(self);
        parts
    }
}

/// One tree that is being copied.
#[derive(Clone)]
pub(super) struct Tree {
    service: Arc<Service>,
    owner: Owner,
    /// Every block of the new tree that was come to.
    entered: Arc<Mutex<HashSet<Cid>>>,
}

/// What all nodes that blocks come from share.
struct Work {
    tree: Tree,
    queue: Mutex<Queue>,
    changed: Notify,
    /// What the account used before, and what it may use.
    used_bytes: u64,
    limit_bytes: u64,
    blocks: AtomicU64,
    bytes: AtomicU64,
    sources: usize,
}

#[derive(Default)]
struct Queue {
    parts: VecDeque<Part>,
    /// Parts that are in work.
    taken: usize,
}

impl Tree {
    pub(super) fn new(service: Arc<Service>, owner: Owner) -> Self {
        Tree { service, owner, entered: Arc::default() }
    }

    /// Brings all blocks of a tree here.
    pub(super) async fn copy(
        self,
        copied: Copied,
        supplies: &mut [Supply],
        passed: &mut Passed,
    ) -> Result<(), CopyError> {
        let (base, level) = (copied.before.into_iter().collect(), copied.target.into_iter().collect());
        let Some(first) = self.enter(base, level).await? else { return Ok(()) };
        let space = self.blocking(|tree| tree.service.mirror_space(&tree.owner)).await?;
        let work = Work {
            tree: self,
            queue: Mutex::new(Queue { parts: VecDeque::from([first]), taken: 0 }),
            changed: Notify::new(),
            used_bytes: space.0.saturating_add(passed.bytes),
            limit_bytes: space.1,
            blocks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            sources: supplies.len(),
        };
        let outcomes = join_all(supplies.iter_mut().map(|supply| work.share(supply))).await;
        passed.blocks += work.blocks.into_inner();
        passed.bytes += work.bytes.into_inner();
        // Whoever came to the end found that nothing is left. What this node could not do, no source makes good.
        let is_ours =
            |outcome: &Result<(), CopyError>| matches!(outcome, Err(CopyError::Here(_) | CopyError::Limit { .. }));
        if outcomes.iter().any(Result::is_ok) && !outcomes.iter().any(is_ours) {
            for error in outcomes.into_iter().filter_map(Result::err) {
                match error {
                    // Another mirror that is behind.
                    CopyError::Missing { .. } => tracing::debug!(%error, "a source has less than the others"),
                    error => tracing::warn!(%error, "a copy went on without one of its sources"),
                }
            }
            return Ok(());
        }
        let first = outcomes.iter().position(is_ours).unwrap_or(0);
        outcomes.into_iter().nth(first).unwrap_or(Err(CopyError::NoSource))
    }

    /// The next level that has blocks which are not here; none if there is nothing left.
    async fn enter(&self, base: HashSet<Cid>, level: HashSet<Cid>) -> Result<Option<Part>, CopyError> {
        Ok(self.blocking(move |tree| tree.enter_blocking(base, level)).await?)
    }

    fn enter_blocking(&self, mut base: HashSet<Cid>, mut level: HashSet<Cid>) -> Result<Option<Part>, Failure> {
        loop {
            let common: HashSet<Cid> = base.intersection(&level).cloned().collect();
            base.retain(|cid| !common.contains(cid));
            {
                let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
                level.retain(|cid| {
                    !common.contains(cid) && cid.identity_content().is_none() && entered.insert(cid.clone())
                });
                if entered.len() > MAX_BLOCKS {
                    return Err(Failure::refused("A tree has too many blocks"));
                }
            }
            if level.is_empty() {
                return Ok(None);
            }
            let (mut absent, mut below) = (HashSet::new(), HashSet::new());
            let mut is_whole = true;
            for cid in level {
                let is_here = match cid.codec() {
                    Codec::DagCbor => match self.service.copied_block(&self.owner, &cid)? {
                        Some(block) => {
                            below.extend(links_of(&cid, &block));
                            true
                        }
                        None => false,
                    },
                    _ => self.service.has_block(&self.owner, &cid)?,
                };
                match is_here {
                    true => is_whole = false,
                    false => {
                        absent.insert(cid);
                    }
                }
            }
            if !absent.is_empty() {
                return Ok(Some(Part { base, absent, below, is_whole }));
            }
            (base, level) = (self.below(&base)?, below);
        }
    }

    /// What blocks link to that are here.
    fn below(&self, level: &HashSet<Cid>) -> Result<HashSet<Cid>, Failure> {
        let mut below = HashSet::new();
        for cid in level.iter().filter(|cid| cid.codec() == Codec::DagCbor) {
            if let Some(block) = self.service.copied_block(&self.owner, cid)? {
                below.extend(links_of(cid, &block));
            }
        }
        Ok(below)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let tree = self.clone();
        tokio::task::spawn_blocking(move || work(&tree)).await.unwrap_or(Err(Failure::Damaged("panic")))
    }
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of one node: takes what there is to do until nothing is left, or until it fails.
    async fn share(&self, supply: &mut Supply) -> Result<(), CopyError> {
        // Over all answers, or a source could keep this node busy for ever.
        let mut wasted_bytes = 0;
        let mut max_bytes = if self.sources > 1 { FIRST_SHARE } else { i64::MAX.unsigned_abs() };
        while let Some(part) = self.take().await {
            let wanted = part.wanted(max_bytes);
            let mut arrivals = Arrivals::new(self, supply.node().clone(), part, wasted_bytes);
            let outcome = supply.fetch(wanted, &mut arrivals).await;
            wasted_bytes = arrivals.wasted_bytes;
            let is_idle = !arrivals.has_taken;
            let (stored, left) = arrivals.end().await;
            // An answer without anything that was wanted would be followed by the same one.
            let missing = left.as_ref().filter(|_| is_idle).and_then(|part| part.absent.iter().next().cloned());
            self.give_back(left);
            // First, since blocks that are not stored count as fetched: no other source makes that good.
            stored?;
            outcome?;
            if let Some(block) = missing {
                return Err(CopyError::Missing { source_node: supply.node().clone(), block });
            }
            max_bytes = max_bytes.max(SHARE);
        }
        Ok(())
    }

    /// Something to do; none if nothing is left and nobody is at work on anything.
    async fn take(&self) -> Option<Part> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut queue = self.lock();
                if let Some(part) = queue.parts.pop_front() {
                    queue.taken += 1;
                    return Some(part);
                }
                if queue.taken == 0 {
                    return None;
                }
            }
            changed.await;
        }
    }

    fn give_back(&self, left: Option<Part>) {
        let mut queue = self.lock();
        queue.taken -= 1;
        if let Some(part) = left {
            let len = match self.sources {
                1 => MAX_NAMED,
                sources => part.absent.len().div_ceil(2 * sources).clamp(1, MAX_NAMED),
            };
            queue.parts.extend(part.split(len));
        }
        drop(queue);
        self.changed.notify_waiters();
    }
}

/// What one answer brings.
struct Arrivals<'a> {
    work: &'a Work,
    node: Cid,
    part: Option<Part>,
    batch: Vec<(Cid, Bytes)>,
    batch_bytes: usize,
    /// The batch before this one, on its way to the disk.
    storing: Option<JoinHandle<Result<(), Failure>>>,
    wasted_bytes: u64,
    /// Whether anything came that was wanted.
    has_taken: bool,
}

impl<'a> Arrivals<'a> {
    fn new(work: &'a Work, node: Cid, part: Part, wasted_bytes: u64) -> Self {
        let (batch, storing) = (Vec::new(), None);
        Arrivals { work, node, part: Some(part), batch, batch_bytes: 0, storing, wasted_bytes, has_taken: false }
    }

    async fn store(&mut self) -> Result<(), CopyError> {
        self.stored().await?;
        let (batch, tree) = (std::mem::take(&mut self.batch), self.work.tree.clone());
        self.batch_bytes = 0;
        if !batch.is_empty() {
            let store = move || tree.service.adopt_blocks(&tree.owner, &batch);
            self.storing = Some(tokio::task::spawn_blocking(store));
        }
        Ok(())
    }

    async fn stored(&mut self) -> Result<(), CopyError> {
        match self.storing.take() {
            Some(storing) => Ok(storing.await.unwrap_or(Err(Failure::Damaged("panic")))?),
            None => Ok(()),
        }
    }

    /// Stores what has arrived, also when there will be no more. What was not: the part, unless it is done.
    async fn end(mut self) -> (Result<(), CopyError>, Option<Part>) {
        let mut stored = self.store().await;
        if stored.is_ok() {
            stored = self.stored().await;
        }
        (stored, self.part)
    }
}

impl Sink for Arrivals<'_> {
    async fn take(&mut self, cid: Cid, block: Bytes) -> Result<(), CopyError> {
        let len = block.len() as u64;
        let Some(part) = self.part.as_mut().filter(|part| part.absent.contains(&cid)) else {
            self.wasted_bytes += len + 64;
            if self.wasted_bytes > MAX_WASTE.saturating_add(self.work.bytes.load(Ordering::Relaxed)) {
                let reason = "it gives blocks that nobody asked for".to_owned();
                return Err(CopyError::Wrong { source_node: self.node.clone(), reason });
            }
            return Ok(());
        };
        self.has_taken = true;
        let work = self.work;
        let bytes = work.bytes.fetch_add(len, Ordering::Relaxed) + len;
        if work.used_bytes.saturating_add(bytes) > work.limit_bytes {
            return Err(CopyError::Limit { limit_bytes: work.limit_bytes });
        }
        work.blocks.fetch_add(1, Ordering::Relaxed);
        part.absent.remove(&cid);
        part.below.extend(links_of(&cid, &block));
        self.batch_bytes += block.len();
        self.batch.push((cid, block));
        if self.batch_bytes >= BATCH {
            self.store().await?;
        }
        if let Some(done) = self.part.take_if(|part| part.absent.is_empty()) {
            let base = work.tree.blocking(move |tree| Ok((tree.below(&done.base)?, done.below))).await?;
            self.part = work.tree.enter(base.0, base.1).await?;
        }
        Ok(())
    }
}
