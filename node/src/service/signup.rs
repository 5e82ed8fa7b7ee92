//! Sign-up: one request that makes an account, or changes nothing (`spec/04` §16, `spec/06` §1.8).
//!
//! Everything is checked before anything is stored: the claim, every signature of the log, the names in it, the owner's
//! hold on every writer, the pointers. Then the blocks are put, and one batch makes name, pointers, login data, token and
//! quota appear together. The same request again finds the account as it would have made it, and says so.

use std::sync::PoisonError;

use bytes::Bytes;
use pyrgos_protocol::api::core::{Decision, SignUp, UpdateChain};
use pyrgos_protocol::encoding::{Cid, Codec, ToCbor, text};
use pyrgos_protocol::keys::{Owner, Writer};
use pyrgos_protocol::merkle::block;
use pyrgos_protocol::merkle::pointer::SignedPointerUpdate;
use pyrgos_protocol::names::sign_up::Operation;
use pyrgos_store::{Batch, Blocks, RecordKey, Records};

use super::login::LoginRow;
use super::pointers::not_present;
use super::usage::{count_record, read_count};
use super::view::View;
use super::{Failure, Service};
use crate::config::SignupPolicy;

/// Length in bytes of a sign-up token before it is written as hexadecimal digits.
const TOKEN_BYTES: usize = 32;

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

        let _signups = self.signups.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.lock_owner(&owner);
        let names = &self.parts.names;
        let has_account = self.has_account(&owner)?;
        // Once more behind the locks: the same request may have come twice at once.
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
        let mut batch = self.admit_user(username.as_str(), &token)?;

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

        self.parts.blocks.put(&owner, &blocks)?;
        names.claim(&username, &claim, &proof, prepared.batch)
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

    /// Whether a new user may come in, and what that changes: the quota, the number of users, a used token.
    pub(super) fn admit_user(&self, username: &str, token: &str) -> Result<Batch, Failure> {
        let quota_key = RecordKey::quota(username);
        let mut batch = Batch::new();
        if self.parts.records.read(&quota_key)?.is_some() {
            return Ok(batch);
        }
        let users_key = RecordKey::meta("users");
        let users_record = self.parts.records.read(&users_key)?;
        let users = users_record.as_ref().map_or(Ok(0), |record| read_count(record))?;
        if token.is_empty() {
            if self.policy.signup != SignupPolicy::Open || users >= self.policy.max_users {
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
        self.parts.names.claim(&username, &update, &proof, Batch::new())
    }
}
