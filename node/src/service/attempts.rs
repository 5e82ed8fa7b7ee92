//! How often somebody may fail before they have to wait.
//!
//! Guessing a password costs an attacker one scrypt derivation and one request per guess; this makes the request the
//! bottleneck. Only failures count, so that no number of right logins is ever refused.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Above this many keys the full ones are forgotten; keys come from the network.
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
            // All of them failed lately: an attack with many names. Forgetting is better than an endless table.
            full_at.clear();
        }
        let entry = full_at.entry(key).or_insert(now_millis);
        *entry = (*entry).max(now_millis).saturating_add(self.refill_millis);
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
    fn the_table_is_bounded() {
        let attempts = Attempts::new(1, 1_000_000);
        for key in 0..MAX_KEYS + 10 {
            attempts.failed(key, 0);
        }
        assert!(attempts.full_at.lock().unwrap().len() <= MAX_KEYS);
    }
}
