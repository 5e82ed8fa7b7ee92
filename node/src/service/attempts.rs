//! How often somebody may fail before they have to wait.
//!
//! Guessing a password costs an attacker one scrypt derivation and one request per guess; this makes the request the
//! bottleneck. Only failures count, so that no number of right logins is refused. But failures are anybody's to make:
//! whoever waits because of a stranger's is let through by [`Known`], from where they logged in before.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Above this many keys some are forgotten, the least pressing first; keys come from the network.
const MAX_KEYS: usize = 50_000;

/// A bucket of failures for each key: `burst` may come at once, one more every `refill_millis`.
pub struct Attempts<K> {
    burst: i64,
    refill_millis: i64,
    /// For each key, the time at which its bucket is full again.
    full_at: Mutex<HashMap<K, i64>>,
}

impl<K: Eq + Hash> Attempts<K> {
    /// Allows `burst` failures at once and one more every `refill_millis`.
    pub fn new(burst: u32, refill_millis: i64) -> Self {
        Attempts { burst: i64::from(burst), refill_millis, full_at: Mutex::default() }
    }

    /// Whether another attempt may be made now. If not, after how many seconds.
    pub fn check(&self, key: &K, now_millis: i64) -> Result<(), u64> {
        let full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = full_at.get(key).map_or(0, |full_at| full_at.saturating_sub(now_millis));
        let allowed = self.refill_millis.saturating_mul(self.burst - 1);
        match missing.saturating_sub(allowed) {
            ..=0 => Ok(()),
            wait_millis => Err(wait_millis.unsigned_abs().div_ceil(1000)),
        }
    }

    /// Counts a failure.
    pub fn failed(&self, key: K, now_millis: i64) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= MAX_KEYS {
            full_at.retain(|_, full_at| *full_at > now_millis);
        }
        if full_at.len() >= MAX_KEYS {
            // All of them failed lately: an attack with many keys. Those that failed often stay.
            forget_smallest(&mut full_at);
        }
        let entry = full_at.entry(key).or_insert(now_millis);
        *entry = (*entry).max(now_millis).saturating_add(self.refill_millis);
    }
}

/// Forgets the eighth of the keys that has the smallest times.
fn forget_smallest<K: Eq + Hash>(times: &mut HashMap<K, i64>) {
    let mut sorted: Vec<i64> = times.values().copied().collect();
    let last = sorted.len() / 8;
    let (_, last, _) = sorted.select_nth_unstable(last);
    let last = *last;
    let mut room = times.len() / 8 + 1;
    times.retain(|_, time| {
        let goes = *time <= last && room > 0;
        room -= usize::from(goes);
        !goes
    });
}

/// Keys for which something succeeded lately.
pub struct Known<K> {
    keep_millis: i64,
    since: Mutex<HashMap<K, i64>>,
}

impl<K: Eq + Hash> Known<K> {
    /// Remembers each success for `keep_millis`.
    pub fn new(keep_millis: i64) -> Self {
        Known { keep_millis, since: Mutex::default() }
    }

    /// Notes a success.
    pub fn succeeded(&self, key: K, now_millis: i64) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.len() >= MAX_KEYS {
            forget_smallest(&mut since);
        }
        since.insert(key, now_millis);
    }

    /// Whether there was a success lately.
    pub fn has(&self, key: &K, now_millis: i64) -> bool {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get(key).is_some_and(|since| now_millis.saturating_sub(*since) <= self.keep_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_for_each_interval() {
        let attempts = Attempts::new(3, 1000);
        for _ in 0..3 {
            assert_eq!(attempts.check(&"alice", 0), Ok(()));
            attempts.failed("alice", 0);
        }
        assert_eq!(attempts.check(&"alice", 0), Err(1));
        assert_eq!(attempts.check(&"bob", 0), Ok(()));
        assert_eq!(attempts.check(&"alice", 1000), Ok(()));
        attempts.failed("alice", 1000);
        assert_eq!(attempts.check(&"alice", 1001), Err(1));
        assert_eq!(attempts.check(&"alice", 10_000), Ok(()));
    }

    #[test]
    fn many_keys_do_not_free_the_one_that_failed_often() {
        let attempts = Attempts::new(3, 1_000_000);
        (0..3).for_each(|_| attempts.failed(usize::MAX, 0));
        (0..3 * MAX_KEYS).for_each(|key| attempts.failed(key, 0));
        assert!(attempts.check(&usize::MAX, 0).is_err());
        assert!(attempts.full_at.lock().unwrap().len() <= MAX_KEYS);
    }

    #[test]
    fn a_success_is_remembered_for_a_while() {
        let known = Known::new(1000);
        known.succeeded("alice", 5);
        assert!(known.has(&"alice", 1005) && !known.has(&"alice", 1006) && !known.has(&"bob", 5));
    }

    #[test]
    fn the_table_is_bounded() {
        let attempts = Attempts::new(1, 1_000_000);
        for key in 0..MAX_KEYS + 10 {
            attempts.failed(key, 0);
        }
        assert!(attempts.full_at.lock().unwrap().len() <= MAX_KEYS);
    }
}
