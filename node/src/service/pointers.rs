//! Pointers: reading them, and moving one or several at once (`spec/02` §3).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use pyrgos_protocol::api::mutable::{GetPointer, SetPointer, SetPointers};
use pyrgos_protocol::encoding::{Cid, ToCbor};
use pyrgos_protocol::keys::{Owner, Writer};
use pyrgos_protocol::merkle::bat::prefix;
use pyrgos_protocol::merkle::pointer::{
    MultiWriterCommit, PointerRefused, PointerUpdate, SignedPointerUpdate, admit, admit_target,
};
use pyrgos_store::{Batch, Outcome, Prefix, RecordKey, Records, Table};

use super::collect::departure;
use super::ownership::{may_own_others, target_of};
use super::usage::{Absent, MAX_TREE_BYTES, WriterUsage, count_record, difference, read_count};
use super::view::View;
use super::{Failure, Service};

/// A writer's pointer before and after a commit.
pub(super) struct Move {
    writer: Writer,
    /// What is stored now.
    stored: Option<Bytes>,
    /// What shall be stored.
    signed: Bytes,
    target: Option<Cid>,
}

impl Move {
    /// A move of which everything but the trees was checked elsewhere.
    pub(super) fn new(writer: Writer, stored: Option<Bytes>, signed: Bytes, target: Option<Cid>) -> Self {
        Move { writer, stored, signed, target }
    }
}

/// A commit that was checked, ready to be stored.
pub(super) struct Prepared {
    /// Conditions and writes: pointers, writers and usage.
    pub(super) batch: Batch,
    /// Writers whose pointers move.
    moved: Vec<Writer>,
    /// Bytes that the account uses afterwards.
    total: u64,
    /// All writers of the account afterwards, if that was looked at.
    pub(super) writers: Option<HashSet<Writer>>,
}

impl Service {
    /// The stored signed pointer of a writer.
    pub fn get_pointer(&self, call: GetPointer) -> Result<Option<Bytes>, Failure> {
        Ok(self.parts.records.read(&RecordKey::pointer(&call.owner, &call.writer))?)
    }

    /// Moves one pointer. False for an update that its writer did not sign, or to another writer's data.
    pub fn set_pointer(&self, call: SetPointer) -> Result<bool, Failure> {
        let _lock = self.lock_owner(&call.owner);
        let update = SignedPointerUpdate { writer: call.writer, signed: call.update };
        match self.commit(&call.owner, &[update]) {
            Err(Stopped::Pointer(refused)) if refused.is_quiet() => Ok(false),
            Err(stopped) => Err(stopped.into()),
            Ok(outcome) => Ok(outcome.is_committed()),
        }
    }

    /// Moves several pointers, all or none.
    pub fn set_pointers(&self, call: SetPointers) -> Result<bool, Failure> {
        let MultiWriterCommit { updates } = &call.commit;
        if updates.is_empty() {
            return Ok(true);
        }
        let _lock = self.lock_owner(&call.owner);
        let outcome = self.commit(&call.owner, updates).map_err(Failure::from)?;
        Ok(outcome.is_committed())
    }

    fn commit(&self, owner: &Owner, updates: &[SignedPointerUpdate]) -> Result<Outcome, Stopped> {
        self.require_home(owner)?;
        let view = View::new(&*self.parts.blocks, owner);
        let moves = self.admit_moves(&view, owner, updates)?;
        MultiWriterCommit { updates: updates.to_vec() }.check_writers()?;
        let prepared = self.prepare(&view, owner, moves, Batch::new())?;
        let Prepared { batch, moved, total, .. } = prepared;
        let outcome = self.parts.records.commit(batch).map_err(Failure::from)?;
        if outcome.is_committed() {
            self.settle(owner, &moved, total)?;
        }
        Ok(outcome)
    }

    /// Tells the ledger about a commit that is stored.
    fn settle(&self, owner: &Owner, moved: &[Writer], total: u64) -> Result<(), Failure> {
        let quota = self.quota(owner)?.unwrap_or(0);
        self.ledger.committed(owner, moved.iter(), total, quota);
        if let Some(observer) = self.observer.get() {
            observer(owner);
        }
        Ok(())
    }

    /// Stores a prepared commit together with whatever else is in its batch.
    pub(super) fn store(&self, owner: &Owner, prepared: Prepared) -> Result<Outcome, Failure> {
        let outcome = self.parts.records.commit(prepared.batch)?;
        if outcome.is_committed() {
            self.settle(owner, &prepared.moved, prepared.total)?;
        }
        Ok(outcome)
    }

    /// Checks each update against the stored state (`spec/02` §3.3, steps 1–6).
    pub(super) fn admit_moves(
        &self,
        view: &View<'_>,
        owner: &Owner,
        updates: &[SignedPointerUpdate],
    ) -> Result<Vec<Move>, Stopped> {
        let mut moves = Vec::with_capacity(updates.len());
        for SignedPointerUpdate { writer, signed } in updates {
            let stored = self.parts.records.read(&RecordKey::pointer(owner, writer)).map_err(Failure::from)?;
            let update = self.admit_move(view, owner, writer, stored.as_deref(), signed)?;
            let target = update.updated().cloned();
            moves.push(Move { writer: writer.clone(), stored, signed: signed.clone(), target });
        }
        Ok(moves)
    }

    fn admit_move(
        &self,
        view: &View<'_>,
        owner: &Owner,
        writer: &Writer,
        stored: Option<&[u8]>,
        signed: &Bytes,
    ) -> Result<PointerUpdate, Stopped> {
        let key = self.key_of(owner, writer.clone())?.ok_or_else(|| not_present(writer))?;
        let update = admit(stored, &key, signed)?;
        let block = match update.updated() {
            Some(target) => view.get(target).map_err(Failure::from)?,
            None => None,
        };
        // Writer data that a token guards could be read by nobody.
        let is_open =
            |target: &Cid, block: &Bytes| prefix::block_bats(target.codec(), block).is_ok_and(|ids| ids.is_empty());
        let block = block.filter(|block| update.updated().is_some_and(|target| is_open(target, block)));
        admit_target(&update, writer, block.as_ref())?;
        Ok(update)
    }

    /// The updates of a sign-up: each follows the one before it in the log, and only the last of each writer is stored.
    pub(super) fn admit_sequence(
        &self,
        view: &View<'_>,
        owner: &Owner,
        updates: &[SignedPointerUpdate],
    ) -> Result<Vec<Move>, Stopped> {
        let mut moves: Vec<Move> = Vec::new();
        for SignedPointerUpdate { writer, signed } in updates {
            let known = moves.iter().position(|known| known.writer == *writer);
            let before = match known {
                Some(at) => Some(moves[at].signed.clone()),
                None => self.parts.records.read(&RecordKey::pointer(owner, writer)).map_err(Failure::from)?,
            };
            let update = self.admit_move(view, owner, writer, before.as_deref(), signed)?;
            let target = update.updated().cloned();
            match known {
                Some(at) => (moves[at].signed, moves[at].target) = (signed.clone(), target),
                None => moves.push(Move { writer: writer.clone(), stored: before, signed: signed.clone(), target }),
            }
        }
        Ok(moves)
    }

    /// Works out everything that changes with the pointers: who belongs to the account, and what it uses. `batch` is
    /// what shall be stored with it. The caller holds the owner's lock until that is done.
    pub(super) fn prepare(
        &self,
        view: &View<'_>,
        owner: &Owner,
        moves: Vec<Move>,
        mut batch: Batch,
    ) -> Result<Prepared, Failure> {
        self.news.moving(owner);
        batch = batch.delete(RecordKey::collected(owner));
        let writers = self.writers_after(view, owner, &moves)?;
        for change in &moves {
            self.check_member(owner, change, writers.as_ref())?;
        }

        let total_key = RecordKey::usage_total(owner);
        let total_record = self.parts.records.read(&total_key)?;
        let mut total = i128::from(total_record.as_ref().map_or(Ok(0), |record| read_count(record))?);
        batch = batch.expect(total_key.clone(), total_record);

        let absent = if self.policy.allow_gaps { Absent::Ignore } else { Absent::Refuse };
        let mut recount = |writer: &Writer, target: Option<&Cid>, batch: Batch| -> Result<Batch, Failure> {
            let before = self.writer_usage(owner, writer)?;
            let after = match target {
                Some(_) => i128::from(before.bytes) + difference(view, before.root.as_ref(), target, absent)?,
                // What was counted ends, whatever of it is still there.
                None => 0,
            };
            if after > MAX_TREE_BYTES {
                return Err(Failure::refused("The tree is too large"));
            }
            let bytes = u64::try_from(after.max(0)).unwrap_or(u64::MAX);
            total += i128::from(bytes) - i128::from(before.bytes);
            let after = WriterUsage { root: target.cloned(), bytes };
            Ok(batch.put(RecordKey::usage(owner, writer), after.to_bytes()))
        };

        let mut uncounted: HashSet<Writer> = HashSet::new();
        let mut left: Vec<Writer> = Vec::new();
        if let Some(writers) = &writers {
            let known = self.known_writers(owner)?;
            for joined in writers.difference(&known) {
                batch = batch.put(RecordKey::writer(owner, joined), Bytes::new());
                batch = batch.delete(RecordKey::departed(owner, joined));
                uncounted.insert(joined.clone());
            }
            for gone in known.difference(writers) {
                batch = batch.delete(RecordKey::writer(owner, gone));
                batch = batch.put(RecordKey::departed(owner, gone), departure(self.now_millis()));
                left.push(gone.clone());
            }
        }
        for change in &moves {
            batch = batch.expect(RecordKey::pointer(owner, &change.writer), change.stored.clone());
            batch = batch.put(RecordKey::pointer(owner, &change.writer), change.signed.clone());
            if change.target.is_none() && change.writer == Writer::from(owner) {
                batch = self.forget_account(owner, batch)?;
            }
            uncounted.remove(&change.writer);
            if !left.contains(&change.writer) {
                batch = recount(&change.writer, change.target.as_ref(), batch)?;
            }
        }
        for joined in &uncounted {
            let target = self.stored_target(owner, joined)?;
            batch = recount(joined, target.as_ref(), batch)?;
        }
        for gone in &left {
            total -= i128::from(self.writer_usage(owner, gone)?.bytes);
            batch = batch.delete(RecordKey::usage(owner, gone));
        }
        let total = u64::try_from(total.max(0)).map_err(|_| Failure::refused("The account is too large"))?;
        batch = batch.put(total_key, count_record(total));
        let moved = moves.into_iter().map(|change| change.writer).collect();
        Ok(Prepared { batch, moved, total, writers })
    }

    /// The account is deleted. Its name and its tombstone stay, so that nobody can take its place; all else that is kept
    /// for it goes. Its blocks are collected, since no pointer leads to them.
    fn forget_account(&self, owner: &Owner, batch: Batch) -> Result<Batch, Failure> {
        let of_owner = [Table::FollowRequests, Table::LinkCounts];
        let batch = of_owner.iter().fold(batch, |batch, table| batch.delete_all(Prefix::of_owner(*table, owner)));
        let Some(username) = self.parts.names.username(owner)? else { return Ok(batch) };
        // An identity that the name has left has no say in what is kept under the name.
        if self.parts.names.chain(&username)?.owner() != Some(owner) {
            return Ok(batch);
        }
        let name = username.as_str();
        let of_name = [Table::SecondFactors, Table::Bats, Table::Messages];
        let batch = of_name.iter().fold(batch, |batch, table| batch.delete_all(Prefix::of_username(*table, name)));
        let single = [RecordKey::login(name), RecordKey::space_request(name), RecordKey::mirror_list(name)];
        Ok(single.into_iter().fold(batch, Batch::delete))
    }

    /// The account's writers after the moves, or nothing if they stay the same.
    fn writers_after(
        &self,
        view: &View<'_>,
        owner: &Owner,
        moves: &[Move],
    ) -> Result<Option<HashSet<Writer>>, Failure> {
        let mut others = false;
        for change in moves {
            let before = change.stored.as_deref().map_or(Ok(None), target_of)?;
            others = others || may_own_others(view, before.as_ref(), change.target.as_ref())?;
        }
        if !others {
            return Ok(None);
        }
        let moved: HashMap<_, _> = moves.iter().map(|change| (change.writer.clone(), change.target.clone())).collect();
        self.walk_writers(view, owner, &moved).map(Some)
    }

    /// A pointer moves only for a writer of the account: one that was so before, or is so with this commit. A writer that
    /// is not any more may still be deleted.
    fn check_member(&self, owner: &Owner, change: &Move, after: Option<&HashSet<Writer>>) -> Result<(), Failure> {
        let joins = after.is_some_and(|writers| writers.contains(&change.writer));
        let is_deletion = change.target.is_none() && change.stored.is_some();
        if joins || is_deletion || self.is_known(owner, &change.writer)? {
            return Ok(());
        }
        Err(not_present(&change.writer))
    }

    fn writer_usage(&self, owner: &Owner, writer: &Writer) -> Result<WriterUsage, Failure> {
        let record = self.parts.records.read(&RecordKey::usage(owner, writer))?;
        record.map_or(Ok(WriterUsage::default()), |record| WriterUsage::read(&record))
    }
}

/// A writer that is no writer of the account, or none whose key this node can find.
pub(super) fn not_present(writer: &Writer) -> Failure {
    Failure::refused(format!("Writer not present on this server: {writer}"))
}

/// Why a commit stopped. Only the call that moves one pointer looks inside.
pub(super) enum Stopped {
    Pointer(PointerRefused),
    Other(Failure),
}

impl From<PointerRefused> for Stopped {
    fn from(refused: PointerRefused) -> Self {
        Stopped::Pointer(refused)
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Stopped::Other(failure)
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Pointer(refused) => refused.into(),
            Stopped::Other(failure) => failure,
        }
    }
}
