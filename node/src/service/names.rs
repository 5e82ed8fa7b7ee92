//! Who owns which name.
//!
//! [`Names`] is the door behind which a network of witnesses can decide later; [`LocalNames`] is a node that decides
//! alone: the first valid claim of a name wins, and every later one must extend its chain (`spec/06` §1).

use std::sync::{Arc, Mutex, PoisonError};

use pyrgos_protocol::api::core::{Decision, GetChain, GetPublicKey, GetUsername, GetUsernames, proof_data};
use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::keys::{Owner, ProofOfWork};
use pyrgos_protocol::names::{Chain, MergeError, RateMonitor, Username};
use pyrgos_store::{Batch, Outcome, Prefix, RecordKey, Records};

use super::clock::Clock;
use super::{Failure, Service};

/// Most names in one listing.
pub const MAX_LISTED: usize = 10_000;

/// Decides about names.
pub trait Names: Send + Sync {
    /// The chain of a name, empty if nobody owns it.
    fn chain(&self, username: &Username) -> Result<Chain, Failure>;

    /// The name of an identity, present or former.
    fn username(&self, owner: &Owner) -> Result<Option<Username>, Failure>;

    /// Names that begin with a text, in order, at most `limit` of them.
    fn usernames(&self, prefix: &str, limit: usize) -> Result<Vec<Username>, Failure>;

    /// What [`Names::claim`] would say now. Changes nothing.
    fn examine(&self, username: &Username, update: &Chain, proof: &ProofOfWork) -> Result<Decision, Failure>;

    /// Decides about a claim. When it is accepted it is final, and `with` is in effect together with it. It is asked once,
    /// after the decision where others decide too, which takes its time.
    ///
    /// # Errors
    /// A refused claim, in words that existing clients know.
    fn claim(
        &self,
        username: &Username,
        update: &Chain,
        proof: &ProofOfWork,
        with: With<'_>,
    ) -> Result<Decision, Failure>;
}

/// What is to be in effect together with a claim.
pub type With<'a> = &'a mut dyn FnMut() -> Result<Batch, Failure>;

/// A claim by itself.
pub fn alone() -> Result<Batch, Failure> {
    Ok(Batch::new())
}

/// A node that decides alone.
pub struct LocalNames {
    records: Arc<dyn Records>,
    clock: Arc<dyn Clock>,
    rate: Mutex<RateMonitor>,
}

impl LocalNames {
    /// Names in the node's own records. Above `max_daily` new names a day more and more work is asked for; 0 closes.
    pub fn new(records: Arc<dyn Records>, clock: Arc<dyn Clock>, max_daily: u32) -> Self {
        LocalNames { records, clock, rate: Mutex::new(RateMonitor::new(max_daily)) }
    }

    /// Counts a new name that was accepted otherwise than by [`Names::claim`].
    pub(crate) fn count_accepted(&self) {
        self.rate().accepted(self.clock.now_millis());
    }

    fn rate(&self) -> std::sync::MutexGuard<'_, RateMonitor> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, username: &Username) -> Result<(Option<bytes::Bytes>, Chain), Failure> {
        let record = self.records.read(&RecordKey::name(username.as_str()))?;
        let chain = match &record {
            Some(record) => Chain::from_bytes(record).map_err(|_| Failure::Damaged("claim chain"))?,
            None => Chain::default(),
        };
        Ok((record, chain))
    }

    /// The chain after an update, or the work that it needs.
    fn merge(
        &self,
        username: &Username,
        stored: &Chain,
        update: &Chain,
        proof: &ProofOfWork,
    ) -> Result<Result<Chain, Decision>, Failure> {
        let merged = stored.merge(update, username, Owner::signing_key).map_err(refusal)?;
        // Repeating what is already so costs nobody anything.
        if merged != *stored && RateMonitor::applies(stored.0.len()) {
            let difficulty = self.rate().difficulty(self.clock.now_millis());
            if !proof.proves(&proof_data(update), difficulty) {
                return Ok(Err(Decision::WorkNeeded(difficulty)));
            }
        }
        Ok(Ok(merged))
    }
}

fn refusal(error: MergeError) -> Failure {
    match error {
        MergeError::Invalid(cause) => Failure::refused(format!("Invalid key chain merge! {cause}")),
        other => Failure::refused(other.to_string()),
    }
}

impl Names for LocalNames {
    fn chain(&self, username: &Username) -> Result<Chain, Failure> {
        Ok(self.stored(username)?.1)
    }

    fn username(&self, owner: &Owner) -> Result<Option<Username>, Failure> {
        let Some(record) = self.records.read(&RecordKey::identity(owner))? else { return Ok(None) };
        let name = std::str::from_utf8(&record).ok().and_then(|name| Username::existing(name).ok());
        name.map(Some).ok_or(Failure::Damaged("name of an identity"))
    }

    fn usernames(&self, prefix: &str, limit: usize) -> Result<Vec<Username>, Failure> {
        let rows = self.records.scan(&Prefix::of_names(prefix), None, limit)?;
        Ok(rows.iter().filter_map(|(key, _)| Username::existing(key.to_username()?).ok()).collect())
    }

    fn examine(&self, username: &Username, update: &Chain, proof: &ProofOfWork) -> Result<Decision, Failure> {
        let (_, stored) = self.stored(username)?;
        Ok(match self.merge(username, &stored, update, proof)? {
            Ok(_) => Decision::Accepted,
            Err(work) => work,
        })
    }

    fn claim(
        &self,
        username: &Username,
        update: &Chain,
        proof: &ProofOfWork,
        with: With<'_>,
    ) -> Result<Decision, Failure> {
        let key = RecordKey::name(username.as_str());
        let with = with()?;
        loop {
            let (record, stored) = self.stored(username)?;
            let merged = match self.merge(username, &stored, update, proof)? {
                Ok(merged) => merged,
                Err(work) => return Ok(work),
            };
            if merged == stored && with.conditions().is_empty() && with.writes().is_empty() {
                // Anybody may send a public chain as it is; nothing is written for that.
                return Ok(Decision::Accepted);
            }
            let is_new = stored.0.is_empty();
            let mut batch = with.clone().expect(key.clone(), record).put(key.clone(), merged.to_bytes());
            for link in &merged.0 {
                // An identity has one name: otherwise a claim could redirect the look-up of somebody else's key.
                let identity = RecordKey::identity(&link.owner);
                match self.username(&link.owner)? {
                    Some(other) if other != *username => {
                        return Err(Failure::refused("This identity already has another name"));
                    }
                    Some(_) => {}
                    None => {
                        batch =
                            batch.expect(identity.clone(), None).put(identity, username.as_str().as_bytes().to_vec());
                    }
                }
            }
            match self.records.commit(batch)? {
                Outcome::Committed => {
                    if is_new {
                        self.rate().accepted(self.clock.now_millis());
                    }
                    return Ok(Decision::Accepted);
                }
                // Somebody else was faster with this name or identity: decide again on what is there now.
                Outcome::Conflict(at) if at == key || at.table() == pyrgos_store::Table::Identities => {}
                Outcome::Conflict(_) => return Err(Failure::refused("The account changed meanwhile, try again")),
            }
        }
    }
}

impl Service {
    /// The present owner of a name.
    pub fn public_key(&self, call: GetPublicKey) -> Result<Option<Owner>, Failure> {
        Ok(self.parts.names.chain(&call.username)?.owner().cloned())
    }

    /// The claims of a name, empty if nobody owns it.
    pub fn chain(&self, call: GetChain) -> Result<Chain, Failure> {
        self.parts.names.chain(&call.username)
    }

    /// The name of an identity.
    pub fn username(&self, call: GetUsername) -> Result<Username, Failure> {
        let unknown = || Failure::refused(format!("Unknown identity key: {}", call.owner));
        self.parts.names.username(&call.owner)?.ok_or_else(unknown)
    }

    /// Names that begin with a text, up to [`MAX_LISTED`].
    pub fn usernames(&self, call: GetUsernames) -> Result<Vec<Username>, Failure> {
        self.parts.names.usernames(&call.prefix, MAX_LISTED)
    }
}
