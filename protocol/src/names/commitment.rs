//! Commitments that wait for their claims (design §3).
//!
//! A claim is accepted when its commitment is [`WitnessSet::faulty`] + 1 heights old, and its sender reveals it no
//! sooner than a block that may hold it is next. Whoever first sees the name then and commits to a claim of his own can
//! be decided in none of the next f + 1 blocks, of which at least one has an honest first proposer.

use std::collections::BTreeMap;

use pyrgos_crypto::hash::sha256;

use super::vote::{as_height, height_value};
use super::{Chain, Username, WitnessSet};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// For how many heights a commitment stays open: more than the largest set of witnesses makes it wait, ten times over.
pub const COMMITMENT_LIFE: u64 = 256;

/// Most commitments in a block, which bounds the open ones.
pub const MAX_BLOCK_COMMITMENTS: usize = 128;

/// Most commitments that are open: those of the last block, and of as many before it as they live.
pub const MAX_COMMITMENTS: usize = MAX_BLOCK_COMMITMENTS * (COMMITMENT_LIFE as usize + 1);

const COMMITMENT: &str = "pyrgos/names/commit/1";

/// Random bytes that keep a commitment from being guessed.
pub type Salt = [u8; 32];

/// What a commitment to a claim says: the SHA-256 of `["pyrgos/names/commit/1", name, chain, salt]`.
///
/// It is over the whole chain, which the owner signed: a copy of somebody's commitment, made by whoever saw it pass,
/// opens to that person's claim and to nothing else.
pub fn commitment(name: &Username, chain: &Chain, salt: &Salt) -> [u8; 32] {
    let content = vec![Value::text(COMMITMENT), name.to_cbor(), chain.to_cbor(), Value::bytes(salt)];
    sha256(&Value::List(content).encode())
}

/// The open commitments and the heights at which they were decided.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Commitments(BTreeMap<[u8; 32], u64>);

impl Commitments {
    /// The height at which a commitment was decided, if it is open.
    pub fn height_of(&self, commitment: &[u8; 32]) -> Option<u64> {
        self.0.get(commitment).copied()
    }

    /// The height of the first block that may hold the claim of an open commitment.
    pub fn claimable_from(&self, commitment: &[u8; 32], witnesses: &WitnessSet) -> Option<u64> {
        Some(first_claim(self.height_of(commitment)?, witnesses))
    }

    /// Whether a claim has to wait for more than the block after `height`.
    pub fn are_waiting(&self, height: u64, witnesses: &WitnessSet) -> bool {
        self.0.values().any(|at| first_claim(*at, witnesses) > height.saturating_add(1))
    }

    /// Number of open commitments.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn open(&mut self, commitment: [u8; 32], height: u64) {
        self.0.insert(commitment, height);
    }

    pub(super) fn close(&mut self, commitment: &[u8; 32]) {
        self.0.remove(commitment);
    }

    /// Forgets those that no claim of the block at `height` may use any more.
    pub(super) fn expire(&mut self, height: u64) {
        self.0.retain(|_, at| height.saturating_sub(*at) <= COMMITMENT_LIFE);
    }
}

fn first_claim(height: u64, witnesses: &WitnessSet) -> u64 {
    height.saturating_add(witnesses.faulty() as u64 + 1)
}

/// A flat list in the order of the hashes: hash, height, hash, height, …
impl ToCbor for Commitments {
    fn to_cbor(&self) -> Value {
        Value::List(self.0.iter().flat_map(|(hash, height)| [Value::bytes(hash), height_value(*height)]).collect())
    }
}

impl FromCbor for Commitments {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let items = value.as_list()?;
        if items.len() % 2 != 0 || items.len() > 2 * MAX_COMMITMENTS {
            return Err(DecodeError::invalid("commitments", format!("{} elements", items.len())));
        }
        let pairs =
            items.chunks_exact(2).map(|pair| Ok((pair[0].as_array("commitment")?, as_height("height", &pair[1])?)));
        Ok(Commitments(pairs.collect::<Result<_, DecodeError>>()?))
    }
}
