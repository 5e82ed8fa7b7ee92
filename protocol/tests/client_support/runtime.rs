use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::client::{InlineRuntime, RngSource};
use pyrgos_protocol::cryptree::properties::Timestamp;
use rand_core::{TryCryptoRng, TryRng};

/// The time in all tests: 2026-02-03.
pub fn now() -> Timestamp {
    Timestamp::new(1_770_111_222, 333_000_000).unwrap()
}

/// A runtime whose randomness follows from a seed.
pub fn runtime(seed: u64) -> InlineRuntime<Seeded> {
    InlineRuntime { clock: now, random: Seeded { seed, given: Arc::default() } }
}

/// Gives generators that follow from a seed and how many were given before.
#[derive(Clone)]
pub struct Seeded {
    seed: u64,
    given: Arc<AtomicU64>,
}

impl RngSource for Seeded {
    type Rng = Stream;

    fn rng(&self) -> Stream {
        Stream { key: [self.seed, self.given.fetch_add(1, Ordering::Relaxed)], counter: 0, rest: Vec::new() }
    }
}

/// SHA-256 over a counter.
pub struct Stream {
    key: [u64; 2],
    counter: u64,
    rest: Vec<u8>,
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut out = [0; 4];
        self.try_fill_bytes(&mut out)?;
        Ok(u32::from_le_bytes(out))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut out = [0; 8];
        self.try_fill_bytes(&mut out)?;
        Ok(u64::from_le_bytes(out))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            if self.rest.is_empty() {
                let mut input = Vec::new();
                [self.key[0], self.key[1], self.counter].iter().for_each(|n| input.extend_from_slice(&n.to_le_bytes()));
                self.rest = sha256(&input).to_vec();
                self.counter += 1;
            }
            *byte = self.rest.pop().unwrap_or_default();
        }
        Ok(())
    }
}

impl TryCryptoRng for Stream {}
