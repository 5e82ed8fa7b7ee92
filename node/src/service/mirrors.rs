//! Copies of accounts that live on other nodes: what the home shows to mirrors, and what a mirror keeps (`spec/06` §7).
//!
//! Nothing here is reached by a call of a client or of another node but [`Service::mirror_snapshot`]: what a mirror keeps
//! it fetched itself. What it keeps is checked as what a client writes is: signatures, sequences, owner proofs, and that
//! every block of a tree is there before a pointer leads to it.

use std::collections::HashSet;
use std::sync::PoisonError;

use bytes::Bytes;
use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::api::core::{Decision, MigrateUser};
use pyrgos_protocol::api::mirror::GetMirrorSnapshot;
use pyrgos_protocol::encoding::{Cid, ToCbor, Value};
use pyrgos_protocol::keys::{Owner, ProofOfWork, Writer};
use pyrgos_protocol::merkle::bat::BatWithId;
use pyrgos_protocol::merkle::pointer::{PointerUpdate, admit_target};
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::proof::PROOF_WINDOW_MILLIS;
use pyrgos_protocol::mirroring::{DifferencePart, DifferenceRequest, MirrorProof, MirrorToken};
use pyrgos_store::{Batch, Blocks, Prefix, RecordKey, Records};

use super::bats::MAX_BATS;
use super::login::LoginRow;
use super::pointers::{Move, not_present};
use super::storage::may_read;
use super::view::{View, has_links};
use super::{Failure, Service, Source};

/// The transaction that guards the blocks of copies until a pointer leads to them.
const TRANSACTION: &str = "mirror";

/// Most blocks of a tree that one answer goes through. Who asks goes on from there.
const MAX_GIVEN: usize = 1 << 20;

/// What a block links to; nothing if it is none that has links.
pub fn links_of(cid: &Cid, block: &Bytes) -> Vec<Cid> {
    match has_links(cid.codec()) {
        true => Value::decode_shared(block).map(|value| value.links()).unwrap_or_default(),
        false => Vec::new(),
    }
}

/// A pointer of a snapshot that is to be copied.
pub struct Copied {
    /// Whose.
    pub writer: Writer,
    /// Where the copy here points; none if there is none.
    pub before: Option<Cid>,
    /// Where it shall point; none if it was deleted.
    pub target: Option<Cid>,
}

impl Service {
    /// Whom a proof opens an account's blocks for: the account, and the token that it was made with.
    ///
    /// # Errors
    /// An unknown name and a wrong token look the same.
    fn opened_by(&self, proof: &MirrorProof, asking: &Cid) -> Result<(Owner, BatWithId), Failure> {
        if self.now_millis().abs_diff(proof.time_millis) > PROOF_WINDOW_MILLIS.unsigned_abs() {
            return Err(Failure::refused("Stale auth time, is your clock accurate?"));
        }
        let mut bats = self.bats(proof.username.as_str())?.into_iter();
        match (self.owner_of(&proof.username)?, bats.find(|bat| proof.is_proven_by(bat.bat(), asking))) {
            (Some(owner), Some(bat)) => Ok((owner, bat)),
            _ => Err(ApiError::Unauthorised.into()),
        }
    }

    /// The account that a proof opens for the node that a call comes from.
    pub(super) fn opened_for<'a>(&self, proof: &MirrorProof, source: &'a Source) -> Result<(Owner, &'a Cid), Failure> {
        let Source::Peer(asking) = source else { return Err(ApiError::Unauthorised.into()) };
        Ok((self.opened_by(proof, asking)?.0, asking))
    }

    /// Shows a mirror everything that is kept of an account beside its blocks. The login data only if there is no second
    /// factor: a copy of them would be open to whoever has the password alone.
    pub fn mirror_snapshot(&self, call: GetMirrorSnapshot, source: Source) -> Result<UserSnapshot, Failure> {
        let GetMirrorSnapshot(proof) = call;
        let (owner, asking) = self.opened_for(&proof, &source)?;
        let _lock = self.lock_owner(&owner);
        let mut snapshot = self.snapshot(&proof.username, &owner, 0)?;
        self.leave_out_guarded_login(&mut snapshot)?;
        self.seen_mirrors.note(&owner, asking, &snapshot, self.now_millis());
        Ok(snapshot)
    }

    /// Gives a mirror the blocks of a new tree that an old one does not have, level by level, until `give` says that nobody
    /// wants more. Where the old tree is not there any more, nothing below that level is given.
    ///
    /// # Errors
    /// The proof opens nothing, or the store fails.
    pub fn give_difference(
        &self,
        request: &DifferenceRequest,
        asking: &Cid,
        mut give: impl FnMut(DifferencePart) -> bool,
    ) -> Result<(), Failure> {
        let (owner, bat) = self.opened_by(&request.proof, asking)?;
        let view = View::new(&*self.parts.blocks, &owner);
        let (mut base, mut level) = (request.base.clone(), request.wanted.clone());
        let mut given: HashSet<Cid> = level.iter().cloned().collect();
        // Where a node of a tree was split, what it led to is one level deeper than before.
        let mut of_base: HashSet<Cid> = base.iter().cloned().collect();
        let mut bytes = 0_u64;
        loop {
            let mut below = Vec::new();
            for cid in level {
                let Some(block) = view.get(&cid)?.filter(|block| may_read(&cid, block, Some(&bat)).is_ok()) else {
                    if !give(DifferencePart::Absent(cid)) {
                        return Ok(());
                    }
                    continue;
                };
                bytes = bytes.saturating_add(block.len() as u64);
                if bytes > request.max_bytes && bytes > block.len() as u64 {
                    return Ok(());
                }
                below.extend(links_of(&cid, &block));
                // Blocks may link to more than memory holds; then who asks goes on from here.
                let is_too_wide = below.len() > MAX_GIVEN;
                if !give(DifferencePart::Block(cid, block)) || is_too_wide {
                    return Ok(());
                }
            }
            if !request.is_deep {
                return Ok(());
            }
            let mut base_below = HashSet::new();
            for cid in &base {
                match view.get(cid)?.filter(|_| base_below.len() <= MAX_GIVEN) {
                    Some(block) => base_below.extend(links_of(cid, &block)),
                    None => return Ok(()),
                }
            }
            let common: HashSet<Cid> = below.iter().filter(|cid| base_below.contains(*cid)).cloned().collect();
            of_base.extend(base_below.iter().cloned());
            base = base_below.into_iter().filter(|cid| !common.contains(cid) && has_links(cid.codec())).collect();
            let is_new = |cid: &Cid| !of_base.contains(cid) && cid.identity_content().is_none();
            level = below.into_iter().filter(|cid| is_new(cid) && given.insert(cid.clone())).collect();
            if level.is_empty() || given.len() > MAX_GIVEN || of_base.len() > MAX_GIVEN {
                return Ok(());
            }
        }
    }

    /// The mirror tokens of an account. A mirror that got something new tells its own mirrors, too.
    pub fn tokens_of(&self, owner: &Owner) -> Result<Vec<BatWithId>, Failure> {
        match self.name_of(owner)? {
            Some(username) => self.bats(username.as_str()),
            None => Ok(Vec::new()),
        }
    }

    /// Whether an account may move here; if so, it has its space from now on (`spec/06` §8.3).
    pub fn admit_moving(&self, call: &MigrateUser, token: &MirrorToken) -> Result<(), Failure> {
        let name = call.username.as_str();
        if !token.bat.id().is_of(token.bat.bat()) {
            return Err(Failure::refused("Invalid BAT id for BAT"));
        }
        let stored = self.parts.names.chain(&call.username)?;
        let owner = stored.owner().ok_or_else(|| Failure::refused("No value present: unknown user"))?;
        if !call.commit || (stored != call.chain && stored.home() != Some(&call.current_home)) {
            return Err(Failure::refused(format!("Cannot move {name}: its home is another node")));
        }
        match self.parts.names.examine(&call.username, &call.chain, &ProofOfWork::first_try())? {
            Decision::Accepted => {}
            Decision::WorkNeeded(_) => {
                return Err(Failure::refused(format!(
                    "Cannot move {name}: the chain is too long to move without work"
                )));
            }
        }
        let _signups = self.signups.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.lock_owner(owner);
        let space = self.quota(owner)?.unwrap_or(self.policy.quota_bytes);
        if u64::try_from(call.usage_bytes).map_or(true, |usage| usage > space) {
            return Err(Failure::refused(format!("The account is larger than the {space} bytes that it may use here")));
        }
        let batch = self.admit_user(name, "", 0)?.and(self.one_more_bat(name, &token.bat)?);
        match self.parts.records.commit(batch)?.is_committed() {
            true => Ok(()),
            false => Err(Failure::busy()),
        }
    }

    /// Which of a snapshot's pointers are news. Signatures and sequences are checked.
    ///
    /// # Errors
    /// A pointer that its writer did not sign, one that is older than the copy, or another one with the same number.
    pub fn news_in(&self, snapshot: &UserSnapshot) -> Result<Vec<Copied>, Failure> {
        let mut news = Vec::new();
        for pointer in &snapshot.pointers {
            let key = self.key_of(&snapshot.owner, pointer.writer.clone())?;
            let key = key.ok_or_else(|| not_present(&pointer.writer))?;
            let update = PointerUpdate::open(&key, &pointer.signed)
                .map_err(|_| Failure::refused(format!("the pointer of {} is not signed by it", pointer.writer)))?;
            let stored = self.parts.records.read(&RecordKey::pointer(&snapshot.owner, &pointer.writer))?;
            let mut before = None;
            if let Some(stored) = stored {
                if stored == pointer.signed {
                    continue;
                }
                let stored = PointerUpdate::open_stored(&stored).map_err(|_| Failure::Damaged("pointer"))?;
                if update.sequence() <= stored.sequence() {
                    let number = stored.sequence().unwrap_or(0);
                    let text = format!("the pointer of {} is older than its copy, number {number}", pointer.writer);
                    return Err(Failure::refused(text));
                }
                before = stored.updated().cloned();
            }
            news.push(Copied { writer: pointer.writer.clone(), before, target: update.updated().cloned() });
        }
        Ok(news)
    }

    /// How far the copy of a pointer is; 0 if there is none.
    pub fn copied_sequence(&self, owner: &Owner, writer: &Writer) -> Result<i64, Failure> {
        let Some(stored) = self.parts.records.read(&RecordKey::pointer(owner, writer))? else { return Ok(0) };
        let update = PointerUpdate::open_stored(&stored).map_err(|_| Failure::Damaged("pointer"))?;
        Ok(update.sequence().unwrap_or(0))
    }

    /// The bytes of a block of a copy, if it is there.
    pub fn copied_block(&self, owner: &Owner, cid: &Cid) -> Result<Option<Bytes>, Failure> {
        Ok(View::new(&*self.parts.blocks, owner).get(cid)?)
    }

    /// Whether a block of a copy is there.
    pub fn has_block(&self, owner: &Owner, cid: &Cid) -> Result<bool, Failure> {
        Ok(self.parts.blocks.has(owner, cid)?)
    }

    /// What a copy uses, and what it may use, in bytes.
    pub fn mirror_space(&self, owner: &Owner) -> Result<(u64, u64), Failure> {
        Ok((self.total_usage(owner)?, self.quota(owner)?.unwrap_or(0)))
    }

    /// A pass that was under way when mirroring ended keeps nothing any more.
    fn require_mirror(&self, owner: &Owner) -> Result<(), Failure> {
        match self.quota(owner)? {
            Some(_) => Ok(()),
            None => Err(ApiError::NotFound.into()),
        }
    }

    /// Keeps blocks of an account that lives elsewhere. The caller has hashed them.
    pub fn adopt_blocks(&self, owner: &Owner, blocks: &[(Cid, Bytes)]) -> Result<(), Failure> {
        self.require_mirror(owner)?;
        let transaction = TRANSACTION.parse()?;
        self.guard_and_store(owner, &transaction, blocks)
    }

    /// Makes the copy of an account that of a snapshot, in one commit. The blocks are there by now. `is_moving` if the
    /// account may have this node as its home already.
    pub fn adopt(&self, snapshot: &UserSnapshot, is_moving: bool) -> Result<(), Failure> {
        let (owner, name) = (&snapshot.owner, snapshot.username.as_str());
        let lock = self.lock_owner(owner);
        if !is_moving && self.home_elsewhere(&snapshot.username)?.is_none() {
            return Err(Failure::refused(format!("{name} lives on this node by now")));
        }
        self.require_mirror(owner)?;
        let view = View::new(&*self.parts.blocks, owner);
        let mut moves = Vec::new();
        // Checked again, under the lock.
        for news in self.news_in(snapshot)? {
            let Some(pointer) = snapshot.pointers.iter().find(|pointer| pointer.writer == news.writer) else {
                continue;
            };
            let update = PointerUpdate::open_stored(&pointer.signed).map_err(|_| Failure::Damaged("pointer"))?;
            let block = update.updated().map_or(Ok(None), |target| view.get(target))?;
            admit_target(&update, &news.writer, block.as_ref())?;
            let stored = self.parts.records.read(&RecordKey::pointer(owner, &news.writer))?;
            moves.push(Move::new(news.writer, stored, pointer.signed.clone(), news.target));
        }
        let mut batch = Batch::new();
        let mut known = self.bats(name)?;
        for bat in &snapshot.bats {
            if bat.id().is_of(bat.bat()) && !known.contains(bat) && known.len() < MAX_BATS {
                batch = batch.put(RecordKey::bat(name, known.len() as u32), bat.to_bytes());
                known.push(bat.clone());
            }
        }
        batch = match &snapshot.login {
            Some(login) => batch.put(RecordKey::login(name), LoginRow::of(login).to_bytes()),
            None => batch.delete(RecordKey::login(name)),
        };
        let prepared = self.prepare(&view, owner, moves, batch)?;
        if !self.store(owner, prepared)?.is_committed() {
            return Err(Failure::busy());
        }
        self.write(Batch::new().delete_all(Prefix::of_transaction(owner, TRANSACTION)).deferred())?;
        drop(lock);
        self.take_counts(owner, &snapshot.link_counts)?;
        self.set_waiting(owner, &snapshot.follow_requests)
    }
}
