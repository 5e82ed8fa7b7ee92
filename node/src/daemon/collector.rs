//! Collects garbage now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::http::server::stopped;
use crate::service::collect::Collected;
use crate::service::{Failure, Service};

/// A node that was just started has other things to do.
const FIRST_WAIT: Duration = Duration::from_secs(60);

/// Collects once and says in the log what came of it. Blocks for as long as it takes.
///
/// # Errors
/// As [`Service::collect`].
pub fn collect(service: &Service, ending: &AtomicBool) -> Result<Collected, Failure> {
    let start = Instant::now();
    let outcome = service.collect(ending);
    let seconds = start.elapsed().as_secs_f64();
    match &outcome {
        Ok(Collected { accounts, unchanged, unreadable, blocks, bytes, reclaimed_bytes }) => tracing::info!(
            accounts,
            unchanged,
            unreadable,
            blocks,
            bytes,
            reclaimed_bytes,
            seconds,
            interrupted = ending.load(Ordering::Relaxed),
            "collected garbage"
        ),
        Err(failure) => tracing::error!(
            error = failure as &dyn std::error::Error,
            seconds,
            "garbage could not be collected; it is tried again"
        ),
    }
    outcome
}

/// Collects each time that `every` has passed since the last collection, whoever asked for that one, until `stop` says
/// true.
pub(super) async fn run(
    service: Arc<Service>,
    every: Duration,
    ending: Arc<AtomicBool>,
    mut stop: watch::Receiver<bool>,
) {
    let mut wait = FIRST_WAIT.min(every);
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopped(&mut stop) => return,
        }
        let (service, ending) = (service.clone(), ending.clone());
        let work = tokio::task::spawn_blocking(move || match rest(&service, every) {
            Some(rest) => rest,
            None => {
                // The log has it.
                let _ = collect(&service, &ending);
                every
            }
        });
        wait = work.await.unwrap_or(every);
    }
}

/// How long the next collection is off; none if it is due. A time that is ahead comes from a clock that was wrong.
fn rest(service: &Service, every: Duration) -> Option<Duration> {
    let last = service.last_collection().ok().flatten()?;
    let passed = Duration::from_millis(service.millis_since(last)?);
    every.checked_sub(passed).filter(|rest| !rest.is_zero())
}
