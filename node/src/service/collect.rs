//! Collection of garbage: what no pointer of an account reaches is deleted (`spec/02` §10.2).
//!
//! One account after another: list its guards, read its pointers, mark what they reach, delete the rest. Older versions
//! are not kept. What stays: all that the current targets of the account's writers reach, and the roots that its usage
//! was counted for; blocks of open transactions, for [`GUARD_MILLIS`] since they were put, but not what they link to; the
//! trees of writers that are no longer owned, for [`GRACE_MILLIS`], since a client may take a key from one parent and
//! give it to another in two commits; everything of an owner who is signing up, whose pointers come when the name is
//! decided.
//!
//! # Why nothing that was acknowledged is lost
//!
//! Clients put blocks and move pointers while the collector marks; nothing waits for it then. Before it marks, it
//! announces itself (`collect::news`) under the owner's lock and the lock of puts. From then on each put notes what it puts,
//! there or not, and each commit that the pointers move. Each portion of garbage is deleted under both locks, after
//! marking from pointers that moved and passing over what was put meanwhile. So, of a block that looked like garbage:
//!
//! * a put that came before the deletion was noted, and the block stays;
//! * a put that comes after it finds the block absent and stores it again;
//! * a commit that came before is marked from;
//! * a commit that comes after finds the block absent and is refused, as one that reaches nothing: a commit looks for every
//!   block that its new tree has and the old one had not (`service::usage`).
//!
//! A collection that is killed has deleted some garbage and nothing else. One that meets a block that is missing, damaged
//! or malformed deletes nothing of that account, since what lies below cannot be known, says so and goes on with the next.
//!
//! Memory grows with the blocks of one account: one mark for each, and no more than [`MAX_MARKS`] of them.

mod marks;
mod news;

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::{Owner, Writer};
use pyrgos_store::{Batch, BlockEntry, Blocks, Prefix, RecordKey, Records, StoreError, Table};
use serde::{Deserialize, Serialize};

use super::ownership::target_of;
use super::usage::{WriterUsage, count_record, read_count};
use super::{Failure, Service};
use marks::Marks;
pub(super) use news::News;

/// How long a put protects its blocks while its transaction is open, in milliseconds: 24 hours (`spec/02` §10.1).
pub const GUARD_MILLIS: i64 = 24 * 3_600_000;

/// How long the tree of a writer stays that no writer of its account owns any more, in milliseconds: 24 hours.
pub const GRACE_MILLIS: i64 = 24 * 3_600_000;

/// Most blocks of one account that are marked. At 1 MiB each, which is how clients cut files, eight tebibytes.
pub const MAX_MARKS: usize = 8 << 20;

/// Rows that are read, and blocks that are deleted, at a time.
const PAGE: usize = 1000;

/// How often marking follows pointers that move meanwhile before it lets them wait for it.
const ROUNDS: usize = 8;

/// What the node knows about its collections.
const LAST: &str = "collected-at";

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Accounts that were looked through.
    pub accounts: u64,
    /// Accounts in which nothing was written since they were last looked through.
    pub unchanged: u64,
    /// Accounts from which nothing was deleted, since not all of their trees could be read.
    pub unreadable: u64,
    /// Blocks that were deleted.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were given back to the file system.
    pub reclaimed_bytes: u64,
}

/// Why an account is not collected.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("block {0} is missing, so nobody knows what it reached")]
    Missing(Cid),
    #[error("block {0} cannot be read, so nobody knows what it reaches")]
    Unreadable(Cid),
    #[error("the account has a name and no pointer")]
    NoPointer,
    #[error("more than {MAX_MARKS} blocks")]
    TooMany,
    #[error("the node stops")]
    Ending,
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Stopped::Failed(error.into())
    }
}

/// Where marking begins.
struct Roots {
    targets: Vec<Cid>,
    /// Some are roots for a while only.
    is_temporary: bool,
}

impl Service {
    /// Deletes garbage of all accounts in which something was written since the last time, and gives its space back. One
    /// collection runs at a time; a second one waits. Ends early, with what it has done, when `ending` is set.
    ///
    /// # Errors
    /// The store's. An account that cannot be collected is no error: it is counted and logged.
    pub fn collect(&self, ending: &AtomicBool) -> Result<Collected, Failure> {
        let _one_at_a_time = self.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut collected = Collected::default();
        let mut after: Option<Owner> = None;
        loop {
            let owners = self.parts.blocks.owners(after.as_ref(), PAGE)?;
            for owner in &owners {
                match self.collect_account(owner, &mut collected, ending) {
                    Ok(()) => {}
                    Err(Stopped::Ending) => return Ok(collected),
                    Err(stopped) => {
                        collected.unreadable += 1;
                        // The owner's identifier is public; whose it is, the operator can find out.
                        let error = &stopped as &dyn std::error::Error;
                        tracing::error!(owner = %owner.cid(), error, "no garbage was collected from an account");
                    }
                }
            }
            if owners.len() < PAGE {
                break;
            }
            after = owners.last().cloned();
        }
        if collected.blocks > 0 {
            collected.reclaimed_bytes = self.parts.blocks.reclaim()?;
        }
        let now = u64::try_from(self.now_millis()).unwrap_or(0);
        self.write(Batch::new().put(RecordKey::meta(LAST), count_record(now)).deferred())?;
        Ok(collected)
    }

    /// When the last whole collection ended, in milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// The store's.
    pub fn last_collection(&self) -> Result<Option<u64>, Failure> {
        self.parts.records.read(&RecordKey::meta(LAST))?.map(|record| read_count(&record)).transpose()
    }

    /// Milliseconds from such a time until now; none if it is ahead.
    pub fn millis_since(&self, millis: u64) -> Option<u64> {
        u64::try_from(self.now_millis()).unwrap_or(0).checked_sub(millis)
    }

    fn collect_account(&self, owner: &Owner, collected: &mut Collected, ending: &AtomicBool) -> Result<(), Stopped> {
        if self.parts.records.read(&RecordKey::collected(owner))?.is_some() {
            collected.unchanged += 1;
            return Ok(());
        }
        let watch = {
            // Behind this, every commit and every put is either done or noted.
            let _commits = self.lock_owner(owner);
            let _puts = self.news.lock_puts(owner);
            // Of who signs up the blocks are there before the pointers. Who begins behind this is noted as any put is.
            if self.is_arriving(owner) {
                return Ok(());
            }
            self.news.watch(owner)
        };
        let mut marks = Marks::new(MAX_MARKS);
        let is_guarded = self.mark_guarded(owner, &mut marks)?;
        let roots = self.roots(owner)?;
        self.mark(owner, &roots, &mut marks, ending)?;
        collected.accounts += 1;

        let mut after: Option<Cid> = None;
        loop {
            let page = self.parts.blocks.list(owner, after.as_ref(), PAGE)?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|entry| entry.cid.clone());
            let garbage: Vec<BlockEntry> = page.into_iter().filter(|entry| !marks.holds(&entry.cid)).collect();
            if !garbage.is_empty() {
                let deleted = self.delete_garbage(owner, garbage, &mut marks, ending)?;
                collected.blocks += deleted.len() as u64;
                collected.bytes += deleted.iter().map(|entry| entry.size).sum::<u64>();
            }
            if is_last {
                break;
            }
            if ending.load(Ordering::Relaxed) {
                return Err(Stopped::Ending);
            }
        }
        if !is_guarded && !roots.is_temporary {
            let _commits = self.lock_owner(owner);
            let _puts = self.news.lock_puts(owner);
            // Each put and each commit from now on removes this again.
            if watch.is_quiet() {
                self.write(Batch::new().put(RecordKey::collected(owner), Vec::new()).deferred())?;
            }
        }
        Ok(())
    }

    /// Deletes what is garbage still, and answers what that was.
    fn delete_garbage(
        &self,
        owner: &Owner,
        mut garbage: Vec<BlockEntry>,
        marks: &mut Marks,
        ending: &AtomicBool,
    ) -> Result<Vec<BlockEntry>, Stopped> {
        // First without keeping anybody waiting.
        for _ in 0..ROUNDS {
            let roots = {
                // A commit notes its move before it is stored, and holds this lock until it is.
                let _commits = self.lock_owner(owner);
                if !self.news.take_moved() {
                    break;
                }
                self.roots(owner)?
            };
            self.mark(owner, &roots, marks, ending)?;
        }
        let _commits = self.lock_owner(owner);
        if self.news.take_moved() {
            let roots = self.roots(owner)?;
            self.mark(owner, &roots, marks, ending)?;
        }
        let _puts = self.news.lock_puts(owner);
        garbage.retain(|entry| !marks.holds(&entry.cid) && !self.news.was_put(&entry.cid));
        let cids: Vec<Cid> = garbage.iter().map(|entry| entry.cid.clone()).collect();
        self.parts.blocks.delete(owner, &cids)?;
        Ok(garbage)
    }

    /// Marks the blocks of open transactions, and ends the protection that is too old. Answers whether there are any.
    fn mark_guarded(&self, owner: &Owner, marks: &mut Marks) -> Result<bool, Stopped> {
        let prefix = Prefix::of_owner(Table::Transactions, owner);
        let now = self.now_millis();
        let mut is_guarded = false;
        let mut after: Option<RecordKey> = None;
        loop {
            let rows = self.parts.records.scan(&prefix, after.as_ref(), PAGE)?;
            let mut changes = Batch::new().deferred();
            for (key, value) in &rows {
                let at = <[u8; 8]>::try_from(&value[..]).map(i64::from_be_bytes).ok();
                if at.is_some_and(|at| at <= now && now - at >= GUARD_MILLIS) {
                    changes = changes.delete(key.clone());
                    continue;
                }
                is_guarded = true;
                let Some((_, cid)) = key.to_transaction_block() else {
                    return Err(Failure::Damaged("key of a transaction").into());
                };
                marks.keep(&cid)?;
                if at.is_none_or(|at| at > now) {
                    // From a clock that was wrong: as if it were put now, so that it ends at all.
                    changes = changes.put(key.clone(), now.to_be_bytes().to_vec());
                }
            }
            if !changes.writes().is_empty() {
                self.write(changes)?;
            }
            if rows.len() < PAGE {
                return Ok(is_guarded);
            }
            after = rows.last().map(|(key, _)| key.clone());
        }
    }

    /// Where marking begins: the targets of the account's pointers, and the roots that its usage was counted for.
    fn roots(&self, owner: &Owner) -> Result<Roots, Stopped> {
        let mut roots = Roots { targets: Vec::new(), is_temporary: false };
        let members = self.known_writers(owner)?;
        let identity = Writer::from(owner);
        let mut has_pointer = false;
        let mut departures = Batch::new().deferred();
        self.each_row(&Prefix::of_owner(Table::Pointers, owner), |key, signed| {
            let writer = key.to_writer().ok_or(Failure::Damaged("key of a pointer"))?;
            has_pointer |= writer == identity;
            let Some(target) = target_of(signed)? else { return Ok(()) };
            if !members.contains(&writer) {
                let key = RecordKey::departed(owner, &writer);
                let now = self.now_millis();
                let since = match self.parts.records.read(&key)? {
                    Some(record) => i64::try_from(read_count(&record)?).unwrap_or(i64::MAX),
                    // From a version that did not note it, or from a clock that was wrong.
                    None => {
                        departures = std::mem::take(&mut departures).put(key, departure(now));
                        now
                    }
                };
                if now.saturating_sub(since) >= GRACE_MILLIS {
                    return Ok(());
                }
                roots.is_temporary = true;
            }
            roots.targets.push(target);
            Ok(())
        })?;
        if !has_pointer && self.parts.names.username(owner)?.is_some() {
            return Err(Stopped::NoPointer);
        }
        self.each_row(&Prefix::of_owner(Table::Usage, owner), |key, record| {
            if key.to_writer().is_some() {
                roots.targets.extend(WriterUsage::read(record)?.root);
            }
            Ok(())
        })?;
        if !departures.writes().is_empty() {
            self.write(departures.deferred())?;
        }
        Ok(roots)
    }

    fn each_row(
        &self,
        prefix: &Prefix,
        mut see: impl FnMut(&RecordKey, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut after: Option<RecordKey> = None;
        loop {
            let rows = self.parts.records.scan(prefix, after.as_ref(), PAGE)?;
            rows.iter().try_for_each(|(key, value)| see(key, value))?;
            if rows.len() < PAGE {
                return Ok(());
            }
            after = rows.last().map(|(key, _)| key.clone());
        }
    }

    fn mark(&self, owner: &Owner, roots: &Roots, marks: &mut Marks, ending: &AtomicBool) -> Result<(), Stopped> {
        for root in &roots.targets {
            marks.mark_below(root, |cid| match ending.load(Ordering::Relaxed) {
                true => Err(Stopped::Ending),
                false => match self.parts.blocks.get(owner, cid) {
                    Err(StoreError::Damaged { .. }) => Err(Stopped::Unreadable(cid.clone())),
                    read => Ok(read?),
                },
            })?;
        }
        Ok(())
    }
}

/// The time since when a writer is not owned any more, as a record.
pub(super) fn departure(now_millis: i64) -> Vec<u8> {
    count_record(u64::try_from(now_millis).unwrap_or(0))
}

#[cfg(test)]
mod tests;
