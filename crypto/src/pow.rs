//! Proofs of work, which slow down sign-ups (`spec/01` §6).
//!
//! A proof is a prefix such that `SHA-256(prefix || data)` meets a difficulty.

use std::ops::Range;

use crate::{Error, hash};

/// The highest difficulty that [`solve`] takes on: 2^32 hashes, minutes of work. A server asks for more when it is
/// closed.
pub const MAX_SOLVABLE: u32 = 32;

/// Whether a hash meets a difficulty d: its first d div 8 bytes are 0, and of the next byte the **low** d mod 8 bits.
/// This is not a count of leading zero bits; existing clients and servers agree on it (`spec/01` §6). Nothing meets a
/// difficulty above 256.
pub fn satisfies(hash: &[u8; 32], difficulty: u32) -> bool {
    let zero_bytes = (difficulty / 8) as usize;
    let low_bits = (1u8 << (difficulty % 8)) - 1;
    match hash.split_at_checked(zero_bytes) {
        Some((zeros, rest)) => {
            zeros.iter().all(|&byte| byte == 0)
                && (low_bits == 0 || rest.first().is_some_and(|byte| byte & low_bits == 0))
        }
        None => false,
    }
}

/// Whether `prefix` (of any length; clients send 8 bytes) proves work of this difficulty over `data`.
pub fn check(prefix: &[u8], data: &[u8], difficulty: u32) -> bool {
    let mut hash = hash::Sha256::new();
    hash.update(prefix);
    hash.update(data);
    satisfies(&hash.finish(), difficulty)
}

/// Finds the first prefix from `start` on that proves work of this difficulty over `data`: a little-endian counter of 8
/// bytes. Existing clients start at 0.
///
/// Takes 2^difficulty hashes on average: not for an async executor. To stop early or to share the work, call
/// [`solve_range`] on slices of the counter.
///
/// # Errors
/// [`Error::Difficulty`] above [`MAX_SOLVABLE`].
pub fn solve(data: &[u8], difficulty: u32, start: u64) -> Result<[u8; 8], Error> {
    if difficulty > MAX_SOLVABLE {
        return Err(Error::Difficulty { difficulty });
    }
    solve_range(data, difficulty, start..u64::MAX).ok_or(Error::Difficulty { difficulty })
}

/// The first prefix in a range of the counter that proves work of this difficulty over `data`, if there is one.
pub fn solve_range(data: &[u8], difficulty: u32, counters: Range<u64>) -> Option<[u8; 8]> {
    counters.map(u64::to_le_bytes).find(|prefix| check(prefix, data, difficulty))
}
