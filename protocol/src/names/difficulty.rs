//! How hard a proof of work an authority asks for, so that many sign-ups at once get slower (`spec/06` §1.7).

use std::collections::VecDeque;

/// The difficulty that nothing can meet: closed.
pub const CLOSED: u32 = 256;

/// A chain may grow to this many links without a proof of work.
pub const FREE_CHAIN_LINKS: usize = 10;

/// One step of the shortest bucket, in milliseconds.
const STEP_MILLIS: i64 = 100;

/// Bucket i looks back 2^i steps; the longest about 14.5 hours.
const BUCKETS: u32 = 20;

const STEPS_PER_DAY: f64 = 864_000.0;

/// Most events that are remembered. Beyond, the oldest are forgotten: the difficulty is far above reach by then.
const MAX_EVENTS: usize = 1 << 16;

/// Counts accepted proofs and derives the difficulty of the next.
#[derive(Clone, Debug)]
pub struct RateMonitor {
    max_per_day: u32,
    /// Times of accepted proofs in milliseconds since 1970, oldest first.
    accepted: VecDeque<i64>,
}

impl RateMonitor {
    /// A monitor that asks for no work up to a daily number, spread over the day. 0 closes.
    pub fn new(max_per_day: u32) -> Self {
        RateMonitor { max_per_day, accepted: VecDeque::new() }
    }

    /// Whether a name's update needs a proof of work at all: the name is new, or its chain is long.
    pub fn applies(existing_links: usize) -> bool {
        existing_links == 0 || existing_links > FREE_CHAIN_LINKS
    }

    /// The difficulty at a time, in milliseconds since 1970.
    pub fn difficulty(&self, now_millis: i64) -> u32 {
        if self.max_per_day == 0 {
            return CLOSED;
        }
        let excess: f64 = (0..BUCKETS)
            .filter_map(|bucket| {
                let steps = 1i64 << bucket;
                let count = self.count_since(now_millis.saturating_sub(steps * STEP_MILLIS)) as f64;
                let allowance = f64::from(self.max_per_day) / STEPS_PER_DAY * steps as f64;
                (count > allowance).then(|| (2.0 * count / allowance).ln())
            })
            .sum();
        if excess > 0.0 { ((2.0 * excess + 11.0) as u32).min(CLOSED) } else { 0 }
    }

    /// Counts a proof that was accepted.
    pub fn accepted(&mut self, now_millis: i64) {
        let oldest = now_millis.saturating_sub((1i64 << (BUCKETS - 1)) * STEP_MILLIS);
        while self.accepted.front().is_some_and(|time| *time < oldest) || self.accepted.len() >= MAX_EVENTS {
            self.accepted.pop_front();
        }
        // A clock that was set back must not break the order, on which the counting rests.
        let latest = self.accepted.back().copied().unwrap_or(now_millis);
        self.accepted.push_back(now_millis.max(latest));
    }

    fn count_since(&self, start_millis: i64) -> usize {
        self.accepted.len() - self.accepted.partition_point(|time| *time < start_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difficulty_rises_with_the_overload_and_falls_with_time() {
        let mut monitor = RateMonitor::new(864_000);
        assert_eq!(monitor.difficulty(0), 0);
        monitor.accepted(0);
        // One event in the first bucket meets its allowance of one and does not exceed it.
        assert_eq!(monitor.difficulty(0), 0);
        monitor.accepted(0);
        let little = monitor.difficulty(0);
        // Bucket 0 alone is exceeded: 11 + 2·ln 4.
        assert_eq!(little, 13);
        (0..1000).for_each(|_| monitor.accepted(0));
        assert!(monitor.difficulty(0) > little);
        assert_eq!(monitor.difficulty(3_600_000), 0);
    }

    #[test]
    fn zero_a_day_is_closed() {
        assert_eq!(RateMonitor::new(0).difficulty(0), CLOSED);
    }

    #[test]
    fn long_chains_and_new_names_need_work() {
        assert!(RateMonitor::applies(0) && !RateMonitor::applies(1) && !RateMonitor::applies(10));
        assert!(RateMonitor::applies(11));
    }
}
