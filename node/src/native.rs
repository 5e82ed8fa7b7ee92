//! The client's surroundings on a machine: HTTP, the system's clock and randomness, threads, local files.

pub mod files;
pub mod http;
pub mod in_process;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyrgos_protocol::client::Runtime;
use pyrgos_protocol::cryptree::properties::Timestamp;
use rand_core::UnwrapErr;

pub use http::HttpTransport;
pub use in_process::InProcess;

/// Keeps the secrets of this process out of core dumps and away from other processes of the same user.
pub fn protect_memory() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    // Best effort: without it, commands work all the same.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Runs a command's future to its end on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system gives threads and timers");
    runtime.block_on(future)
}

/// Clock, randomness and processors of this machine; needs a tokio runtime around it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NativeRuntime;

impl Runtime for NativeRuntime {
    type Rng = UnwrapErr<getrandom::SysRng>;

    fn now(&self) -> Timestamp {
        let (seconds, nanos) = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => (since.as_secs() as i64, since.subsec_nanos()),
            // A clock before 1970 is wrong, but no reason to stop: signed times are refused with a text that says so.
            Err(_) => (0, 0),
        };
        Timestamp::new(seconds, nanos).unwrap_or(Timestamp::from_seconds(seconds))
    }

    fn rng(&self) -> Self::Rng {
        UnwrapErr(getrandom::SysRng)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }

    async fn compute<O, F>(&self, work: F) -> O
    where
        F: FnOnce() -> O + Send + 'static,
        O: Send + 'static,
    {
        match tokio::task::spawn_blocking(work).await {
            Ok(output) => output,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
