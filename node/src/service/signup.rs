//! Sign-up: one request that makes an account, or changes nothing (`spec/04` §16, `spec/06` §1.8).
//!
//! Everything is checked before anything is stored: the claim, every signature of the log, the names in it, the owner's
//! hold on every writer, the pointers. Then the blocks are put, and one batch makes name, pointers, login data, token and
//! quota appear together. The same request again finds the account as it would have made it, and says so.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use pyrgos_protocol::api::core::{Decision, SignUp, UpdateChain};
use pyrgos_protocol::encoding::{Cid, Codec, ToCbor, text};
use pyrgos_protocol::keys::{Owner, Writer};
use pyrgos_protocol::merkle::block;
use pyrgos_protocol::merkle::pointer::SignedPointerUpdate;
use pyrgos_protocol::names::sign_up::Operation;
use pyrgos_store::{Batch, RecordKey, Records};

use super::login::LoginRow;
use super::names::alone;
use super::pointers::not_present;
use super::usage::{count_record, read_count};
use super::view::View;
use super::{Failure, Service};
use crate::config::SignupPolicy;

/// Length in bytes of a sign-up token before it is written as hexadecimal digits.
const TOKEN_BYTES: usize = 32;

/// Somebody who is signing up.
pub(super) struct Arriving {
    token: String,
    /// Whether there was a place, which the number of users does not show yet.
    needs_place: bool,
}

/// The same, until this is dropped.
struct Arrival<'a> {
    service: &'a Service,
    owner: &'a Owner,
    token: &'a str,
}

impl<'a> Arrival<'a> {
    /// Whether there is room beside all those who were told so and are not counted yet. What it changes is known in the end
    /// only.
    fn admit(&self, username: &str) -> Result<(), Failure> {
        let _counting = self.service.signups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arriving = self.service.arriving.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = arriving.values().filter(|other| other.needs_place).count() as u64;
        self.service.admit_user(username, self.token, others)?;
        if let Some(own) = arriving.get_mut(self.owner) {
            own.needs_place = self.token.is_empty();
        }
        Ok(())
    }

    /// Counts this one from now on with those who are there. Until the guard goes nobody else is counted.
    fn count(&self) -> MutexGuard<'a, ()> {
        let counting = self.service.signups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arriving = self.service.arriving.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = arriving.get_mut(self.owner) {
            own.needs_place = false;
        }
        counting
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        let (arriving, departed) = &self.service.arriving;
        arriving.lock().unwrap_or_else(PoisonError::into_inner).remove(self.owner);
        departed.notify_all();
    }
}

impl Service {
    /// Makes an account.
    pub fn sign_up(&self, call: SignUp) -> Result<Decision, Failure> {
        let SignUp { username, claim, log, proof, token } = call;
        // A repeated request succeeds however late it comes (`spec/04` §16), so this is before anything that has a time.
        // Whoever repeats somebody else's public claim hears what everybody may know.
        if let Some(owner) = claim.owner()
            && self.has_account(owner)?
            && self.parts.names.chain(&username)? == claim
        {
            return Ok(Decision::Accepted);
        }
        let owner =
            log.verify(&username, &claim, self.now_millis()).map_err(|error| Failure::refused(error.to_string()))?;
        let home = claim.home().ok_or_else(|| Failure::refused("Trying to signup to wrong host!"))?;
        if !self.policy.ids.contains(home) {
            return Err(Failure::refused(format!("Trying to signup to wrong host! {home}")));
        }

        // What follows may take long where others decide about the name, so nothing is locked meanwhile: this keeps the same
        // request, coming twice at once, from making an account twice, and a token from being used twice.
        let arriving = self.arrive(&owner, &token);
        let names = &self.parts.names;
        let has_account = self.has_account(&owner)?;
        // Once more: the same request may have ended just now.
        if has_account && names.chain(&username)? == claim {
            return Ok(Decision::Accepted);
        }
        // Before anything is stored, so that a name that cannot be had leaves nothing behind.
        match names.examine(&username, &claim, &proof)? {
            Decision::Accepted => {}
            work => return Ok(work),
        }
        if has_account {
            return Err(Failure::refused("User already exists: this identity has an account"));
        }
        arriving.admit(username.as_str())?;

        let mut batch = Batch::new();
        let mut blocks: Vec<(Cid, Bytes)> = Vec::new();
        let mut pointers: Vec<SignedPointerUpdate> = Vec::new();
        for operation in &log.operations {
            match operation {
                Operation::Block(write) => {
                    let codec = if write.is_raw { Codec::Raw } else { Codec::DagCbor };
                    block::check_writable(codec, &write.block)?;
                    blocks.push((Cid::of_block(codec, &write.block), write.block.clone()));
                }
                Operation::Pointer(update) => pointers.push(update.clone()),
            }
        }
        let view = View::new(&*self.parts.blocks, &owner).carrying(&blocks);
        let moves = self.admit_sequence(&view, &owner, &pointers)?;
        if let Some(login) = &log.login {
            batch = batch.put(RecordKey::login(username.as_str()), LoginRow::of(&login.data).to_bytes());
        }
        if let Some(bat) = &log.mirror_bat {
            batch = batch.put(RecordKey::bat(username.as_str(), 0), bat.bat.to_bytes());
        }
        // The identity is the account's first writer; the others must be reached from it.
        batch = batch.put(RecordKey::writer(&owner, &Writer::from(&owner)), Bytes::new());
        let prepared = self.prepare(&view, &owner, moves, batch)?;
        if let Some(foreign) = self.foreign_writer(&owner, &log.other_writers(&owner), prepared.writers.as_ref()) {
            return Err(not_present(foreign));
        }

        self.note_and_store(&owner, Batch::new(), &blocks)?;
        let mut counting = None;
        names.claim(&username, &claim, &proof, &mut || {
            // Until the account is stored nobody else counts.
            counting = Some(arriving.count());
            Ok(self.admit_user(username.as_str(), &token, 0)?.and(prepared.batch.clone()))
        })
    }

    /// Notes that somebody is signing up, once nobody else is with the same identity or token.
    fn arrive<'a>(&'a self, owner: &'a Owner, token: &'a str) -> Arrival<'a> {
        let (arriving, departed) = &self.arriving;
        let arriving = arriving.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |arriving: &mut HashMap<Owner, Arriving>| {
            arriving.contains_key(owner) || !token.is_empty() && arriving.values().any(|other| other.token == token)
        };
        let mut arriving = departed.wait_while(arriving, is_same).unwrap_or_else(PoisonError::into_inner);
        arriving.insert(owner.clone(), Arriving { token: token.to_owned(), needs_place: false });
        Arrival { service: self, owner, token }
    }

    /// Whether somebody is signing up with this identity now. No pointer reaches his blocks before the name is decided, so
    /// the collector leaves them alone.
    pub(super) fn is_arriving(&self, owner: &Owner) -> bool {
        self.arriving.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(owner)
    }

    fn has_account(&self, owner: &Owner) -> Result<bool, Failure> {
        Ok(self.parts.records.read(&RecordKey::pointer(owner, &Writer::from(owner)))?.is_some())
    }

    fn foreign_writer<'a>(
        &self,
        owner: &Owner,
        others: &[&'a Writer],
        writers: Option<&std::collections::HashSet<Writer>>,
    ) -> Option<&'a Writer> {
        let belongs =
            |writer: &Writer| *writer == Writer::from(owner) || writers.is_some_and(|writers| writers.contains(writer));
        others.iter().copied().find(|writer| !belongs(writer))
    }

    /// Whether a new user may come in beside `arriving` others without a token, and what that changes: the quota, the number
    /// of users, a used token.
    pub(super) fn admit_user(&self, username: &str, token: &str, arriving: u64) -> Result<Batch, Failure> {
        let quota_key = RecordKey::quota(username);
        let mut batch = Batch::new();
        if self.parts.records.read(&quota_key)?.is_some() {
            return Ok(batch);
        }
        let users_key = RecordKey::meta("users");
        let users_record = self.parts.records.read(&users_key)?;
        let users = users_record.as_ref().map_or(Ok(0), |record| read_count(record))?;
        if token.is_empty() {
            if self.policy.signup != SignupPolicy::Open || users.saturating_add(arriving) >= self.policy.max_users {
                return Err(Failure::refused(
                    "This server is not currently accepting new sign ups. Please try again later",
                ));
            }
        } else {
            let token_key = RecordKey::signup_token(token);
            let record = self.parts.records.read(&token_key)?;
            if record.is_none() || self.policy.signup == SignupPolicy::Closed {
                return Err(Failure::refused("Invalid signup token."));
            }
            batch = batch.expect(token_key.clone(), record).delete(token_key);
        }
        batch = batch.expect(users_key.clone(), users_record).put(users_key, count_record(users + 1));
        batch = batch.put(quota_key, count_record(self.policy.quota_bytes));
        Ok(batch)
    }

    /// Whether somebody without a token may sign up now.
    pub fn takes_signups(&self) -> Result<bool, Failure> {
        let users = self.parts.records.read(&RecordKey::meta("users"))?;
        let users = users.map_or(Ok(0), |record| read_count(&record))?;
        Ok(self.policy.signup == SignupPolicy::Open && users < self.policy.max_users)
    }

    /// Makes a token that lets one person sign up.
    pub fn create_token(&self) -> Result<String, Failure> {
        let mut random = [0; TOKEN_BYTES];
        self.parts.entropy.fill(&mut random);
        let token = text::hex(random);
        let now = self.now_millis().to_be_bytes();
        let batch = Batch::new().put(RecordKey::signup_token(&token), now.to_vec());
        self.write(batch)?;
        Ok(token)
    }

    /// Renews a claim, moves it, or hands the name to another key.
    pub fn update_chain(&self, call: UpdateChain) -> Result<Decision, Failure> {
        let UpdateChain { username, update, proof, .. } = call;
        // A name comes into being by a sign-up, together with its account.
        let stored = self.parts.names.chain(&username)?;
        let Some(owner) = stored.owner() else {
            return Err(Failure::refused("No value present: unknown user"));
        };
        if update.owner().is_some_and(|new| new != owner) {
            return match self.parts.names.examine(&username, &update, &proof)? {
                // Pointers, writers and usage are the identity's: another one would have the name and no account.
                Decision::Accepted => Err(Failure::refused("This server cannot change the identity of an account")),
                work => Ok(work),
            };
        }
        self.parts.names.claim(&username, &update, &proof, &mut alone)
    }
}
