//! What witnesses sign: proposals and votes about the next block of names, and the sets of witnesses that follow each
//! other.
//!
//! The consensus engine signs these bytes and a [`super::Certificate`] verifies them, so that the votes that decided a
//! block are its proof for everybody. Each form is a canonical CBOR list that begins with a text of its own and the
//! network: a signature fits one statement in one network, and nothing else that a node's key signs.

use std::fmt;
use std::str::FromStr;

use super::WitnessSet;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

const PROPOSAL: &str = "pyrgos/names/proposal/1";
const VOTE: &str = "pyrgos/names/vote/1";
const WITNESSES: &str = "pyrgos/names/witnesses/1";

/// Longest name of a network, in characters.
pub const MAX_NETWORK_LEN: usize = 64;

/// The name of a network: 1 to [`MAX_NETWORK_LEN`] of `a-z`, `0-9`, `-`, `.` and `_`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkId(String);

/// A text that is no name of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a network is 1 to {MAX_NETWORK_LEN} characters of a–z, 0–9, `-`, `.` and `_`")]
pub struct NetworkIdError;

impl NetworkId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetworkId {
    type Err = NetworkIdError;

    fn from_str(text: &str) -> Result<Self, NetworkIdError> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.' | b'_');
        if text.is_empty() || text.len() > MAX_NETWORK_LEN || !text.bytes().all(plain) {
            return Err(NetworkIdError);
        }
        Ok(NetworkId(text.to_owned()))
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl ToCbor for NetworkId {
    fn to_cbor(&self) -> Value {
        Value::text(self.0.as_str())
    }
}

impl FromCbor for NetworkId {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        value.as_text()?.parse().map_err(|error: NetworkIdError| DecodeError::invalid("network id", error.to_string()))
    }
}

/// The SHA-256 of a block's header, which is what witnesses vote for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockHash(pub [u8; 32]);

impl fmt::Display for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ToCbor for BlockHash {
    fn to_cbor(&self) -> Value {
        Value::bytes(self.0)
    }
}

impl FromCbor for BlockHash {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(BlockHash(value.as_array("block hash")?))
    }
}

/// The two votes of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VoteKind {
    /// "This proposal is good", the first.
    Prevote,
    /// "More than two thirds said so", the second, of which certificates are made.
    Precommit,
}

/// What a vote signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote<'a> {
    /// The network.
    pub network: &'a NetworkId,
    /// The block's height.
    pub height: u64,
    /// The round in that height, from 0.
    pub round: u32,
    /// First or second vote.
    pub kind: VoteKind,
    /// The block, or none for a vote against all (nil).
    pub block: Option<BlockHash>,
}

impl Vote<'_> {
    /// `["pyrgos/names/vote/1", network, kind (1 or 2), height, round, hash or null]`.
    pub fn sign_bytes(&self) -> Vec<u8> {
        let kind = match self.kind {
            VoteKind::Prevote => 1,
            VoteKind::Precommit => 2,
        };
        Value::List(vec![
            Value::text(VOTE),
            self.network.to_cbor(),
            Value::Int(kind),
            height_value(self.height),
            Value::Int(self.round.into()),
            self.block.map_or(Value::Null, |hash| hash.to_cbor()),
        ])
        .encode()
    }
}

/// What the proposer of a round signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// The network.
    pub network: &'a NetworkId,
    /// The block's height.
    pub height: u64,
    /// The round in that height, from 0.
    pub round: u32,
    /// The block.
    pub block: BlockHash,
    /// The earlier round in which the block got more than two thirds of the first votes, if any.
    pub proof_of_lock: Option<u32>,
}

impl Proposal<'_> {
    /// `["pyrgos/names/proposal/1", network, height, round, hash, round of the lock or null]`.
    pub fn sign_bytes(&self) -> Vec<u8> {
        Value::List(vec![
            Value::text(PROPOSAL),
            self.network.to_cbor(),
            height_value(self.height),
            Value::Int(self.round.into()),
            self.block.to_cbor(),
            self.proof_of_lock.map_or(Value::Null, |round| Value::Int(round.into())),
        ])
        .encode()
    }
}

/// What a quorum of the present witnesses signs to be followed by another set:
/// `["pyrgos/names/witnesses/1", network, number of changes before this one, the new set]`. The number keeps an old
/// change from being repeated.
pub fn witnesses_sign_bytes(network: &NetworkId, changes: u64, new: &WitnessSet) -> Vec<u8> {
    Value::List(vec![Value::text(WITNESSES), network.to_cbor(), height_value(changes), new.to_cbor()]).encode()
}

/// Heights stay below 2^63: a block a microsecond would take 290,000 years.
pub(super) fn height_value(height: u64) -> Value {
    Value::Int(i64::try_from(height).unwrap_or(i64::MAX))
}

/// Reads what [`height_value`] writes.
pub(super) fn as_height(structure: &'static str, value: &Value) -> Result<u64, DecodeError> {
    u64::try_from(value.as_int()?).map_err(|_| DecodeError::invalid(structure, "a negative number"))
}
