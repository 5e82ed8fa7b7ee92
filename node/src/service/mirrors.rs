//! Copies of accounts that live on other nodes: what the home shows to mirrors, and what a mirror keeps (`spec/06` §7).
//!
//! Nothing here is reached by a call of a client or of another node but [`Service::mirror_snapshot`]: what a mirror keeps
//! it fetched itself. What it keeps is checked as what a client writes is: signatures, sequences, owner proofs, and that
//! every block of a tree is there before a pointer leads to it.

use std::sync::PoisonError;

use bytes::Bytes;
use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::api::core::{Decision, MigrateUser};
use pyrgos_protocol::api::mirror::{GetMirrorSnapshot, PROOF_WINDOW_MILLIS};
use pyrgos_protocol::encoding::{Cid, ToCbor};
use pyrgos_protocol::keys::{Owner, ProofOfWork, Writer};
use pyrgos_protocol::merkle::bat::BatWithId;
use pyrgos_protocol::merkle::pointer::{PointerUpdate, admit_target};
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::MirrorToken;
use pyrgos_protocol::names::Username;
use pyrgos_store::{Batch, Blocks, Prefix, RecordKey, Records, Table};

use super::login::LoginRow;
use super::pointers::{Move, not_present};
use super::usage::count_record;
use super::view::View;
use super::{Failure, Service, Source};

/// The transaction that guards the blocks of copies until a pointer leads to them.
const TRANSACTION: &str = "mirror";

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
    /// Shows a mirror everything that is kept of an account beside its blocks. The login data only if there is no second
    /// factor: a copy of them would be open to whoever has the password alone.
    pub fn mirror_snapshot(&self, call: GetMirrorSnapshot, source: Source) -> Result<UserSnapshot, Failure> {
        let Source::Peer(asking) = &source else { return Err(ApiError::Unauthorised.into()) };
        if self.now_millis().abs_diff(call.time_millis) > PROOF_WINDOW_MILLIS.unsigned_abs() {
            return Err(Failure::refused("Stale auth time, is your clock accurate?"));
        }
        // An unknown name and a wrong token look the same.
        let bats = self.bats(call.username.as_str())?;
        let owner = self.owner_of(&call.username)?;
        let (Some(owner), true) = (owner, bats.iter().any(|bat| call.is_proven_by(bat.bat(), asking))) else {
            return Err(ApiError::Unauthorised.into());
        };
        let _lock = self.lock_owner(&owner);
        let mut snapshot = self.snapshot(&call.username, &owner, 0)?;
        let factors = Prefix::of_username(Table::SecondFactors, call.username.as_str());
        if !self.parts.records.scan(&factors, None, 1)?.is_empty() {
            snapshot.login = None;
        }
        Ok(snapshot)
    }

    /// The mirror tokens of an account. A mirror that got something new tells its own mirrors, too.
    pub fn tokens_of(&self, owner: &Owner) -> Result<Vec<BatWithId>, Failure> {
        match self.name_of(owner)? {
            Some(username) => self.bats(username.as_str()),
            None => Ok(Vec::new()),
        }
    }

    /// Begins to keep a copy of an account: it may take so much space. Changing the limit is the same.
    pub fn keep_mirror(&self, token: &MirrorToken, limit_bytes: u64) -> Result<(), Failure> {
        let name = token.username.as_str();
        let unknown = || Failure::refused(format!("nobody has the name {name}"));
        let owner = self.owner_of(&token.username)?.ok_or_else(unknown)?;
        if self.home_elsewhere(&token.username)?.is_none() {
            return Err(Failure::refused(format!("{name} lives on this node")));
        }
        let _lock = self.lock_owner(&owner);
        let mut batch = Batch::new().put(RecordKey::quota(name), count_record(limit_bytes));
        let known = self.bats(name)?;
        if !known.contains(&token.bat) {
            batch = batch.put(RecordKey::bat(name, known.len() as u32), token.bat.to_bytes());
        }
        self.write(batch)
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
        let mut batch = self.admit_user(name, "")?;
        let known = self.bats(name)?;
        if !known.contains(&token.bat) {
            batch = batch.put(RecordKey::bat(name, known.len() as u32), token.bat.to_bytes());
        }
        match self.parts.records.commit(batch)?.is_committed() {
            true => Ok(()),
            false => Err(Failure::busy()),
        }
    }

    /// Deletes the copy of an account. Does nothing if the account lives here by now.
    pub fn drop_mirror(&self, username: &Username) -> Result<(), Failure> {
        let Some(owner) = self.owner_of(username)? else { return Ok(()) };
        let _lock = self.lock_owner(&owner);
        if self.home_elsewhere(username)?.is_none() {
            return Ok(());
        }
        let of_owner = [
            Table::Pointers,
            Table::Writers,
            Table::Usage,
            Table::Departed,
            Table::FollowRequests,
            Table::LinkCounts,
            Table::Transactions,
            Table::Collected,
        ];
        let name = username.as_str();
        let batch =
            of_owner.iter().fold(Batch::new(), |batch, table| batch.delete_all(Prefix::of_owner(*table, &owner)));
        let batch = batch.delete_all(Prefix::of_username(Table::Bats, name));
        let single = [RecordKey::usage_total(&owner), RecordKey::login(name), RecordKey::quota(name)];
        self.write(single.into_iter().fold(batch, Batch::delete))?;
        Ok(self.parts.blocks.delete_all(&owner)?)
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
            if bat.id().is_of(bat.bat()) && !known.contains(bat) {
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
        self.set_waiting(owner, &snapshot.follow_requests)
    }
}
