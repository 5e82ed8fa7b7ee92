//! How much of what a client does at once, and how patient it is.

use std::time::Duration;

/// Limits that trade memory and load for speed. The defaults suit a program on a common machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Chunks of 5 MiB of one transfer that are in memory at once: being read, encrypted, sent or delivered.
    pub chunks_in_flight: usize,
    /// Calls with contents of one transfer's chunk that wait for an answer at once.
    pub calls_in_flight: usize,
    /// Look-ups of one listing that wait for an answer at once. Their answers are small.
    pub look_ups_in_flight: usize,
    /// Bytes of new blocks after which a large upload, or one of many files, publishes what it has.
    pub commit_bytes: u64,
    /// Files after which an upload of many files publishes what it has.
    pub commit_files: usize,
    /// Bytes of verified small blocks that are kept in memory, and an eighth as many for nodes of trees that are kept
    /// decoded.
    pub cache_bytes: usize,
    /// How often a change is applied again on top of what another device did meanwhile.
    pub conflict_attempts: u32,
    /// How often a call is made in all while the node is busy or unreachable.
    pub call_attempts: u32,
    /// Pause before the second attempt of a call; doubled before each further one, up to half of it at random on top.
    pub first_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            chunks_in_flight: 4,
            calls_in_flight: 4,
            look_ups_in_flight: 8,
            commit_bytes: 20 << 20,
            commit_files: 400,
            cache_bytes: 16 << 20,
            conflict_attempts: 24,
            call_attempts: 5,
            first_pause: Duration::from_millis(250),
        }
    }
}
