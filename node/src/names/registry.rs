//! Names as the witnesses of the network decide about them, for the service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyrgos_protocol::api::core::Decision;
use pyrgos_protocol::keys::{Owner, ProofOfWork};
use pyrgos_protocol::names::chain::inline_key;
use pyrgos_protocol::names::{Chain, NameStore, Operation, OperationError, RateMonitor, Username, commitment};
use pyrgos_store::{Batch, Outcome, Records};

use super::driver::Driver;
use super::keeper::KeeperError;
use crate::service::Failure;
use crate::service::clock::Entropy;
use crate::service::names::{LocalNames, Names, With};

/// How long a sign-up may take. Clients wait for 60 s (`spec/06` §12.4).
const SIGN_UP_TIME: Duration = Duration::from_secs(50);
/// How long another change may take. Clients wait for 15 s.
const CHANGE_TIME: Duration = Duration::from_secs(13);

/// Names of a network of witnesses. What is read is this node's copy of what they decided.
pub struct NetworkNames {
    driver: Driver,
    /// Reads the same records, and knows how much work a sign-up costs here.
    local: LocalNames,
    records: Arc<dyn Records>,
    entropy: Arc<dyn Entropy>,
}

impl From<KeeperError> for Failure {
    fn from(error: KeeperError) -> Self {
        match error {
            KeeperError::Store(error) => Failure::Store(error),
            _ => Failure::Damaged("names"),
        }
    }
}

impl NetworkNames {
    /// Names that a driver gets decided. `local` must read the driver's records.
    pub fn new(driver: Driver, local: LocalNames, records: Arc<dyn Records>, entropy: Arc<dyn Entropy>) -> Self {
        NetworkNames { driver, local, records, entropy }
    }

    /// Gets an operation decided: `done` looks at the names and says when it is.
    fn decide(
        &self,
        operation: Operation,
        until: Instant,
        mut done: impl FnMut(&super::board::News) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let id = operation.id();
        if !self.driver.submit(operation) {
            return Err(Failure::busy());
        }
        let outcome = self.driver.board().wait(until, |news| {
            if let Some(cause) = news.take_refusal(&id) {
                // Perhaps because it is decided already.
                return Some(done(news).and_then(|is_done| is_done.then_some(()).ok_or(Failure::refused(cause))));
            }
            match done(news) {
                Ok(true) => Some(Ok(())),
                Ok(false) if news.end.is_some() => Some(Err(Failure::busy())),
                Ok(false) => None,
                Err(failure) => Some(Err(failure)),
            }
        });
        outcome.unwrap_or_else(|| {
            Err(Failure::refused("The witnesses of the network have not decided in time. Please try again later"))
        })
    }

    fn stored(&self, username: &Username) -> Result<Chain, Failure> {
        Ok(self.driver.keeper().chain(username)?.unwrap_or_default())
    }

    /// First the commitment, then, when nobody can overtake it any more, the claim (design §3).
    fn sign_up(&self, username: &Username, chain: &Chain) -> Result<(), Failure> {
        let until = Instant::now() + SIGN_UP_TIME;
        let mut salt = [0; 32];
        self.entropy.fill(&mut salt);
        let hash = commitment(username, chain, &salt);
        self.decide(Operation::Commit { hash }, until, |news| {
            Ok(news.state.claimable_from(&hash).is_some_and(|from| from <= news.state.height() + 1))
        })?;
        let claim = Operation::Claim { name: username.clone(), chain: chain.clone(), salt };
        self.decide(claim, until, |_| match self.stored(username)? {
            stored if stored == *chain => Ok(true),
            stored if stored.0.is_empty() => Ok(false),
            _ => Err(taken()),
        })
    }

    fn keep(&self, with: Batch) -> Result<Decision, Failure> {
        if with.conditions().is_empty() && with.writes().is_empty() {
            return Ok(Decision::Accepted);
        }
        match self.records.commit(with)? {
            Outcome::Committed => Ok(Decision::Accepted),
            Outcome::Conflict(_) => Err(Failure::refused("The account changed meanwhile, try again")),
        }
    }
}

fn taken() -> Failure {
    Failure::refused(OperationError::Taken.to_string())
}

impl Names for NetworkNames {
    fn chain(&self, username: &Username) -> Result<Chain, Failure> {
        self.local.chain(username)
    }

    fn username(&self, owner: &Owner) -> Result<Option<Username>, Failure> {
        self.local.username(owner)
    }

    fn usernames(&self, prefix: &str, limit: usize) -> Result<Vec<Username>, Failure> {
        self.local.usernames(prefix, limit)
    }

    fn examine(&self, username: &Username, update: &Chain, proof: &ProofOfWork) -> Result<Decision, Failure> {
        let stored = self.stored(username)?;
        if stored == *update {
            return Ok(Decision::Accepted);
        }
        if stored.0.is_empty() {
            // As the witnesses will see it (`spec/06` §1.4, §11.1).
            Username::new(username.as_str()).map_err(|error| Failure::refused(error.to_string()))?;
            if update.0.len() != 1 {
                return Err(Failure::refused(OperationError::Links(update.0.len()).to_string()));
            }
            update.verify(username, inline_key).map_err(|error| Failure::refused(error.to_string()))?;
            if let Some(owner) = update.owner()
                && self.username(owner)?.is_some()
            {
                return Err(Failure::refused("This identity already has another name"));
            }
        }
        self.local.examine(username, update, proof)
    }

    fn claim(
        &self,
        username: &Username,
        update: &Chain,
        proof: &ProofOfWork,
        with: With<'_>,
    ) -> Result<Decision, Failure> {
        match self.examine(username, update, proof)? {
            Decision::Accepted => {}
            work => return Ok(work),
        }
        let stored = self.stored(username)?;
        // A name that this request won before, but whose answer or account was lost, is not claimed again.
        if stored == *update {
            return self.keep(with()?);
        }
        if stored.0.is_empty() {
            self.sign_up(username, update)?;
            self.local.count_accepted();
        } else {
            let merged =
                stored.merge(update, username, inline_key).map_err(|error| Failure::refused(error.to_string()))?;
            let proof = RateMonitor::applies(stored.0.len()).then(|| proof.clone());
            let change = Operation::Update { name: username.clone(), chain: update.clone(), proof };
            self.decide(change, Instant::now() + CHANGE_TIME, |_| Ok(self.stored(username)? == merged))?;
        }
        self.keep(with()?)
    }
}
