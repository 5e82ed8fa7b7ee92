//! Witnesses: the nodes that decide about names together (design §3).
//!
//! A set of n = 3f + 1 witnesses withstands f that crash or lie: each decision needs the signatures of more than two
//! thirds, and two such groups share an honest member.

use pyrgos_crypto::hash::sha256;

use crate::encoding::{Cid, Codec, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::PublicSigningKey;

/// Most witnesses of a network.
pub const MAX_WITNESSES: usize = 64;

/// The protobuf before the key in the id of an Ed25519 node: key type 1, 32 bytes (`spec/06` §3.1).
const KEY_PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

/// Why nodes are no set of witnesses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// None, or more than [`MAX_WITNESSES`].
    #[error("a network has 1 to {MAX_WITNESSES} witnesses, not {0}")]
    Count(usize),
    /// The same key twice.
    #[error("the same witness twice")]
    Repeated,
    /// The id of a node that has no Ed25519 key in it.
    #[error("{0} is not the id of a node with an Ed25519 key")]
    NoKey(Cid),
}

/// The key inside the id of a node, if it is an Ed25519 key.
pub fn node_key(node: &Cid) -> Option<PublicSigningKey> {
    if node.codec() != Codec::Libp2pKey {
        return None;
    }
    let key = node.identity_content()?.strip_prefix(&KEY_PREFIX)?;
    Some(PublicSigningKey::from_bytes(key.try_into().ok()?))
}

/// The witnesses of a network: their nodes' keys, sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessSet(Vec<PublicSigningKey>);

impl WitnessSet {
    /// A set of nodes' keys in any order.
    ///
    /// # Errors
    /// None, too many, or the same twice.
    pub fn new(mut keys: Vec<PublicSigningKey>) -> Result<Self, WitnessError> {
        if keys.is_empty() || keys.len() > MAX_WITNESSES {
            return Err(WitnessError::Count(keys.len()));
        }
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(WitnessError::Repeated);
        }
        Ok(WitnessSet(keys))
    }

    /// A set of nodes' ids, as a network file names them.
    ///
    /// # Errors
    /// As [`WitnessSet::new`], and for an id without an Ed25519 key.
    pub fn of_nodes<'a>(nodes: impl IntoIterator<Item = &'a Cid>) -> Result<Self, WitnessError> {
        let keys = nodes.into_iter().map(|node| node_key(node).ok_or_else(|| WitnessError::NoKey(node.clone())));
        WitnessSet::new(keys.collect::<Result<_, _>>()?)
    }

    /// The keys, sorted.
    pub fn keys(&self) -> &[PublicSigningKey] {
        &self.0
    }

    /// Whether a key is a witness.
    pub fn contains(&self, key: &PublicSigningKey) -> bool {
        self.0.binary_search(key).is_ok()
    }

    /// How many signatures decide: the smallest number above two thirds.
    pub fn quorum(&self) -> usize {
        self.0.len() * 2 / 3 + 1
    }

    /// How many witnesses may be faulty: the largest f with 3f + 1 ≤ n.
    pub fn faulty(&self) -> usize {
        (self.0.len() - 1) / 3
    }

    /// Who proposes in a round: each in turn, so that f + 1 heights in a row have an honest first proposer.
    pub fn proposer(&self, height: u64, round: u32) -> &PublicSigningKey {
        let turn = height.wrapping_add(round.into()) % self.0.len() as u64;
        &self.0[turn as usize]
    }

    /// The SHA-256 of the set, by which headers name it.
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.to_bytes())
    }
}

/// A list of keys, 32 bytes each.
impl ToCbor for WitnessSet {
    fn to_cbor(&self) -> Value {
        Value::List(self.0.iter().map(|key| Value::bytes(key.as_bytes())).collect())
    }
}

/// Only in the sorted form, so that a set has one hash.
impl FromCbor for WitnessSet {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: String| DecodeError::invalid("witness set", reason);
        let items = value.as_list()?;
        if items.len() > MAX_WITNESSES {
            return Err(invalid(WitnessError::Count(items.len()).to_string()));
        }
        let keys = items.iter().map(|item| item.as_array("witness").map(PublicSigningKey::from_bytes));
        let keys: Vec<PublicSigningKey> = keys.collect::<Result<_, _>>()?;
        if !keys.is_sorted() {
            return Err(invalid("not sorted".to_owned()));
        }
        WitnessSet::new(keys).map_err(|error| invalid(error.to_string()))
    }
}
