//! What the client needs from the program around it besides a transport: time, randomness, patience and processors.

use std::convert::Infallible;
use std::time::Duration;

use pyrgos_crypto::random::CryptoRng;

use crate::api::transport::{MaybeSend, MaybeSync};
use crate::cryptree::properties::Timestamp;

/// The surroundings of a client. The native node implements it with tokio, a browser with its event loop, a simulation
/// with a seed.
pub trait Runtime: Clone + MaybeSend + MaybeSync + 'static {
    /// A source of randomness that may be moved to another thread.
    type Rng: CryptoRng + Send + 'static;

    /// The current time.
    fn now(&self) -> Timestamp;

    /// A source of secret randomness, independent of every other one that this function gave.
    fn rng(&self) -> Self::Rng;

    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + MaybeSend;

    /// Runs work that keeps a processor busy (encryption, hashing, password derivation) where it does not hold up the
    /// executor, usually on a pool of threads.
    fn compute<O, F>(&self, work: F) -> impl Future<Output = O> + MaybeSend
    where
        F: FnOnce() -> O + Send + 'static,
        O: Send + 'static;
}

/// Anything that can play the random source of an [`InlineRuntime`].
pub trait RngSource: Clone + MaybeSend + MaybeSync + 'static {
    /// The sources that it gives.
    type Rng: CryptoRng<Error = Infallible> + Send + 'static;

    /// A source independent of every earlier one.
    fn rng(&self) -> Self::Rng;
}

/// A runtime without threads: work runs where it is asked for, and no time passes while waiting. For tests, for
/// simulations, and as a start for single-threaded hosts.
#[derive(Clone)]
pub struct InlineRuntime<S> {
    /// What [`Runtime::now`] answers.
    pub clock: fn() -> Timestamp,
    /// Where randomness comes from.
    pub random: S,
}

impl<S: RngSource> Runtime for InlineRuntime<S> {
    type Rng = S::Rng;

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn rng(&self) -> Self::Rng {
        self.random.rng()
    }

    async fn sleep(&self, _: Duration) {}

    async fn compute<O, F>(&self, work: F) -> O
    where
        F: FnOnce() -> O + Send + 'static,
        O: Send + 'static,
    {
        work()
    }
}

/// Milliseconds since 1970-01-01, as signed requests carry them (`spec/01` §5).
pub(crate) fn millis(time: Timestamp) -> i64 {
    time.seconds().saturating_mul(1000).saturating_add(i64::from(time.nanos() / 1_000_000))
}
