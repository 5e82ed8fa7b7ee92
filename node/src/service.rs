//! What the node decides: one function for each call, without HTTP and without a socket.
//!
//! Both doors, HTTP and other nodes, lead here. Functions block on the store, so whoever calls them from an
//! async runtime does so on a thread for blocking work. Time and randomness come in from outside ([`clock`]).
//!
//! Writes of one owner happen one after another (`Service::lock_owner`); those of different owners do not wait for each
//! other. Every change that must be whole is one [`Batch`].

pub mod admin;
pub mod attempts;
pub mod bats;
pub mod clock;
pub mod collect;
pub mod failure;
mod ledger;
pub mod links;
pub mod login;
pub mod messages;
pub mod migration;
mod mirror_lists;
pub mod mirrored;
pub mod mirrors;
pub mod names;
mod ownership;
pub mod pointers;
pub mod published;
mod second_factors;
pub mod signup;
mod snapshots;
pub mod social;
pub mod space;
pub mod storage;
mod usage;
mod view;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::{Owner, PublicSigningKey, SignedError, Writer};
use pyrgos_protocol::names::Username;
use pyrgos_store::{Batch, Blocks, Outcome, RecordKey, Records};
use tokio::sync::watch;

use crate::config::SignupPolicy;
use attempts::{Attempts, Known};
use clock::{Clock, Entropy};
use collect::News;
pub use failure::Failure;
use ledger::Ledger;
use mirror_lists::SeenMirrors;
use names::Names;
use signup::Arriving;

/// Where a request came from, as far as the door knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The address of a client, or of the proxy before it.
    Address(IpAddr),
    /// Another node, which its connection proves (`spec/06` §4.5).
    Peer(Cid),
    /// This process itself.
    Inside,
}

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Current and former identifiers of this node, oldest first, the current one last. Never empty.
    pub ids: Vec<Cid>,
    /// Who may sign up.
    pub signup: SignupPolicy,
    /// Most accounts that may sign up without a token.
    pub max_users: u64,
    /// Space of a new account in bytes.
    pub quota_bytes: u64,
    /// Names of those who may grant space.
    pub admins: Vec<String>,
    /// Whether a pointer may reach blocks that are not there. Such blocks could be brought later without being counted, so
    /// this is for replays of recordings that leave blocks out, and no setting of a node.
    pub allow_gaps: bool,
}

/// What the service works with.
pub struct Parts {
    /// Where blocks are.
    pub blocks: Arc<dyn Blocks>,
    /// Where records are.
    pub records: Arc<dyn Records>,
    /// Who owns which name.
    pub names: Arc<dyn Names>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Hears of each account whose pointers moved, after that is stored. Called under the owner's lock, so it must not wait.
pub type Observer = Box<dyn Fn(&Owner) + Send + Sync>;

/// Locks for owners; two owners share one only by accident.
const STRIPES: usize = 256;

/// The node's decisions over its store.
pub struct Service {
    parts: Parts,
    policy: Policy,
    ledger: Ledger,
    stripes: [Mutex<()>; STRIPES],
    /// The same for what others leave with an owner or take from one.
    guest_stripes: [Mutex<()>; STRIPES],
    stripe_of: RandomState,
    /// Whoever holds this is the only one that counts accounts.
    signups: Mutex<()>,
    /// Who is signing up, and that somebody is no more.
    arriving: (Mutex<HashMap<Owner, Arriving>>, Condvar),
    /// One collection of garbage at a time.
    collecting: Mutex<()>,
    /// What comes in meanwhile.
    news: News,
    /// Failed logins by name, and by name and source.
    failed_logins: (Attempts<Username>, Attempts<(Username, Source)>),
    /// Where each name logged in from.
    known_sources: Known<(Username, Source)>,
    /// Wrong codes of second factors by name.
    failed_codes: Attempts<Username>,
    /// Follow requests by source, whatever becomes of them.
    follow_requests: Attempts<Source>,
    /// The list of mirrored accounts changes one account at a time.
    mirroring: Mutex<()>,
    /// Tells that it changed.
    mirrored_changes: watch::Sender<()>,
    /// Which nodes asked for what mirrors may have.
    seen_mirrors: SeenMirrors,
    /// Who wants to know which accounts change.
    observer: OnceLock<Observer>,
    /// Time of the newest accepted call of an administrator; older ones are replays.
    last_admin_millis: AtomicI64,
}

impl Service {
    /// A service over a store.
    pub fn new(parts: Parts, policy: Policy) -> Self {
        Service {
            parts,
            policy,
            ledger: Ledger::default(),
            stripes: [const { Mutex::new(()) }; STRIPES],
            guest_stripes: [const { Mutex::new(()) }; STRIPES],
            stripe_of: RandomState::new(),
            signups: Mutex::default(),
            arriving: Default::default(),
            collecting: Mutex::default(),
            news: News::default(),
            // Somebody who mistypes does not meet these; somebody who guesses gets some thousand guesses a day, whatever
            // the number of addresses that they come from. The first limit is for strangers: from where its owner logged
            // in during the last month only the second holds, or anybody could lock anybody out.
            failed_logins: (Attempts::new(200, 10_000), Attempts::new(20, 30_000)),
            known_sources: Known::new(30 * 86_400_000),
            failed_codes: Attempts::new(10, 60_000),
            // More than anybody has friends to ask in one sitting; a proxy's clients share it.
            follow_requests: Attempts::new(200, 10_000),
            mirroring: Mutex::default(),
            mirrored_changes: watch::Sender::default(),
            seen_mirrors: SeenMirrors::default(),
            observer: OnceLock::new(),
            last_admin_millis: AtomicI64::new(i64::MIN),
        }
    }

    /// Lets somebody hear of commits. The first one stays.
    pub fn observe_commits(&self, observer: Observer) {
        // A second one is dropped: there is one mirror room in a node.
        let _ = self.observer.set(observer);
    }

    /// What the operator decided.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Commits a batch without conditions.
    fn write(&self, batch: Batch) -> Result<(), Failure> {
        match self.parts.records.commit(batch)? {
            Outcome::Committed => Ok(()),
            Outcome::Conflict(_) => Err(Failure::Damaged("a batch without conditions")),
        }
    }

    /// Whether the store takes no more writes until it is opened again.
    pub fn is_broken(&self) -> bool {
        self.parts.blocks.is_broken()
    }

    pub(crate) fn now_millis(&self) -> i64 {
        self.parts.clock.now_millis()
    }

    /// Whoever holds this is the only one that moves pointers of the owner.
    fn lock_owner(&self, owner: &Owner) -> MutexGuard<'_, ()> {
        let stripe = self.stripe_of.hash_one(owner) as usize % STRIPES;
        // A panic while holding the lock left nothing half done: batches are whole.
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever holds this is the only one that changes the owner's inbox and link counts. Strangers cause such changes, so
    /// they never keep the owner's own writes waiting.
    fn lock_guests(&self, owner: &Owner) -> MutexGuard<'_, ()> {
        let stripe = self.stripe_of.hash_one(owner) as usize % STRIPES;
        self.guest_stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity behind a name and its key.
    ///
    /// # Errors
    /// The text that existing clients know for a name without owner.
    fn identity(&self, username: &str) -> Result<(Username, Owner, PublicSigningKey), Failure> {
        let unknown = || Failure::refused("No value present: unknown user");
        let username = Username::existing(username).map_err(|_| unknown())?;
        let chain = self.parts.names.chain(&username)?;
        let owner = chain.owner().cloned().ok_or_else(unknown)?;
        let key = self.key_of(&owner, (&owner).into())?.ok_or_else(unknown)?;
        Ok((username, owner, key))
    }

    /// The home of an account, unless that is this node or nobody owns the name.
    pub fn home_elsewhere(&self, username: &Username) -> Result<Option<Cid>, Failure> {
        let chain = self.parts.names.chain(username)?;
        Ok(chain.home().filter(|home| !self.policy.ids.contains(home)).cloned())
    }

    /// The name of an identity.
    pub fn name_of(&self, owner: &Owner) -> Result<Option<Username>, Failure> {
        self.parts.names.username(owner)
    }

    /// The identity behind a name.
    pub fn owner_of(&self, username: &Username) -> Result<Option<Owner>, Failure> {
        Ok(self.parts.names.chain(username)?.owner().cloned())
    }

    /// Whether anything of an owner is kept here.
    pub fn has_copy(&self, owner: &Owner) -> Result<bool, Failure> {
        Ok(self.parts.records.read(&RecordKey::pointer(owner, &Writer::from(owner)))?.is_some())
    }

    /// Whether an account's home is this node.
    fn is_home(&self, username: &Username) -> Result<bool, Failure> {
        let chain = self.parts.names.chain(username)?;
        Ok(chain.home().is_some_and(|home| self.policy.ids.contains(home)))
    }
}

/// What a caller hears about a signed time or request that does not hold, in words that existing clients know.
impl From<SignedError> for Failure {
    fn from(error: SignedError) -> Self {
        Failure::refused(match error {
            SignedError::Window { .. } => "Stale auth time, is your clock accurate?".to_owned(),
            SignedError::Path => "Illegal path for signed request".to_owned(),
            SignedError::Decode(_) => "Invalid cbor for SignedRequest!".to_owned(),
            other => format!("Invalid signature: {other}"),
        })
    }
}
