//! Signed mutable pointers: what a writer's key points at, and who may move it (`spec/02` §3).
//!
//! This file holds the formats; [`decision`] is what a server decides about an update, [`memory`] what a client
//! remembers so that no server can take it back in time.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use pyrgos_crypto::sign::{PublicKey, SIGNATURE_SIZE, SecretKey};

use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::Writer;

pub mod decision;
pub mod memory;

pub use decision::{PointerRefused, admit, admit_target};
pub use memory::{PointerMemory, Rollback};

/// Largest signed update that a server takes, in bytes (`spec/02` §3.1).
pub const MAX_SIGNED: usize = 147;

/// Largest body of the call that sets one pointer, in bytes (`spec/02` §3.2).
pub const MAX_BODY: usize = 1024;

/// Largest sequence number that fits [`MAX_SIGNED`] together with two SHA-256 identifiers.
pub const MAX_SEQUENCE: i64 = u32::MAX as i64;

/// A move of a pointer. Its last one is the pointer's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PointerUpdate {
    original: Option<Cid>,
    updated: Option<Cid>,
    sequence: Option<i64>,
}

impl PointerUpdate {
    /// A move from one target to another; absent means none or deleted. A move to the same target is refused.
    pub fn new(original: Option<Cid>, updated: Option<Cid>, sequence: Option<i64>) -> Result<Self, DecodeError> {
        if original == updated {
            return Err(DecodeError::invalid("PointerUpdate", "original and updated target are the same"));
        }
        Ok(PointerUpdate { original, updated, sequence })
    }

    /// The first move of a pointer that no server has.
    pub fn first(target: Cid) -> Self {
        PointerUpdate { original: None, updated: Some(target), sequence: Some(1) }
    }

    /// The move that follows this one.
    pub fn next(&self, updated: Option<Cid>) -> Result<Self, DecodeError> {
        let sequence = self.sequence.unwrap_or(0).checked_add(1);
        let sequence = sequence.ok_or_else(|| DecodeError::invalid("PointerUpdate", "sequence exhausted"))?;
        PointerUpdate::new(self.updated.clone(), updated, Some(sequence))
    }

    /// Target before the move.
    pub fn original(&self) -> Option<&Cid> {
        self.original.as_ref()
    }

    /// Target after the move; none deletes the pointer.
    pub fn updated(&self) -> Option<&Cid> {
        self.updated.as_ref()
    }

    /// Grows with every move; legacy moves have none.
    pub fn sequence(&self) -> Option<i64> {
        self.sequence
    }

    /// The signed form, which is stored and served.
    pub fn sign(&self, writer: &SecretKey) -> Bytes {
        writer.sign_attached(&self.to_bytes()).into()
    }

    /// Opens the signed form.
    pub fn open(writer: &PublicKey, signed: &[u8]) -> Result<Self, PointerRefused> {
        PointerUpdate::read(writer.open(signed).map_err(|_| PointerRefused::Signature)?)
    }

    /// Opens the signed form without verifying it. Only for what whoever calls this has verified before it stored it.
    pub fn open_stored(signed: &[u8]) -> Result<Self, PointerRefused> {
        let (_, message) = signed.split_at_checked(SIGNATURE_SIZE).ok_or(PointerRefused::Stored)?;
        PointerUpdate::read(message)
    }

    fn read(message: &[u8]) -> Result<Self, PointerRefused> {
        // What follows the list is ignored, as the reference does (vector "trailing byte after the list").
        let (value, _) = Value::decode_first(&Bytes::copy_from_slice(message)).map_err(PointerRefused::Malformed)?;
        PointerUpdate::from_cbor(&value).map_err(PointerRefused::Malformed)
    }
}

impl ToCbor for PointerUpdate {
    fn to_cbor(&self) -> Value {
        let mut items = vec![maybe_hash(&self.original), maybe_hash(&self.updated)];
        items.extend(self.sequence.map(Value::Int));
        Value::List(items)
    }
}

impl FromCbor for PointerUpdate {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let items = value.elements("PointerUpdate", 2)?;
        let sequence = items.get(2).map(Value::as_int).transpose()?;
        PointerUpdate::new(read_maybe_hash(&items[0])?, read_maybe_hash(&items[1])?, sequence)
    }
}

/// `MaybeMultihash`: null or the bare bytes of a CID (`spec/02` §1).
pub(crate) fn maybe_hash(cid: &Option<Cid>) -> Value {
    cid.as_ref().map_or(Value::Null, |cid| Value::bytes(cid.to_bytes()))
}

/// Reads a `MaybeMultihash`.
pub(crate) fn read_maybe_hash(value: &Value) -> Result<Option<Cid>, DecodeError> {
    match value {
        Value::Null => Ok(None),
        other => Ok(Some(Cid::from_bytes(other.as_bytes()?)?)),
    }
}

/// A signed move and whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedPointerUpdate {
    /// The writer whose pointer moves.
    pub writer: Writer,
    /// The signed [`PointerUpdate`].
    pub signed: Bytes,
}

impl ToCbor for SignedPointerUpdate {
    fn to_cbor(&self) -> Value {
        Value::map([("w", self.writer.to_cbor()), ("s", Value::Bytes(self.signed.clone()))])
    }
}

impl FromCbor for SignedPointerUpdate {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("SignedPointerUpdate")?;
        Ok(SignedPointerUpdate { writer: fields.get("w")?, signed: fields.bytes("s")?.clone() })
    }
}

/// Moves of several writers that happen all or not at all (`spec/02` §3.4).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MultiWriterCommit {
    /// One move for each writer.
    pub updates: Vec<SignedPointerUpdate>,
}

impl ToCbor for MultiWriterCommit {
    fn to_cbor(&self) -> Value {
        Value::map([("p", Value::list(&self.updates))])
    }
}

impl FromCbor for MultiWriterCommit {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(MultiWriterCommit { updates: value.fields("MultiWriterCommit")?.required("p")?.as_list_of()? })
    }
}

const CAS_PREFIX: &str = "PointerCAS:";
const EMPTY: &str = "EMPTY";

/// A move that does not start where the pointer is: another device was faster, or an earlier attempt arrived
/// (`spec/02` §3.5).
///
/// Its text travels to the client, which reads it back with [`FromStr`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CasFailure {
    /// Where the pointer is.
    pub existing: Option<Cid>,
    /// Sequence of the stored move.
    pub sequence: Option<i64>,
    /// Where the refused move starts.
    pub claimed: Option<Cid>,
}

impl fmt::Display for CasFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = |cid: &Option<Cid>| cid.as_ref().map_or(EMPTY.to_owned(), Cid::to_string);
        let sequence = self.sequence.map_or(String::new(), |sequence| sequence.to_string());
        write!(f, "{CAS_PREFIX}{},{sequence},{}", target(&self.existing), target(&self.claimed))
    }
}

impl std::error::Error for CasFailure {}

impl FromStr for CasFailure {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let invalid = || DecodeError::invalid("CAS failure", "not of the form PointerCAS:existing,sequence,claimed");
        let mut parts = text.strip_prefix(CAS_PREFIX).ok_or_else(invalid)?.split(',');
        let mut part = || parts.next().ok_or_else(invalid);
        let target = |text: &str| if text == EMPTY { Ok(None) } else { text.parse().map(Some) };
        let existing = target(part()?)?;
        let sequence = match part()? {
            "" => None,
            digits => Some(digits.parse().map_err(|_| invalid())?),
        };
        let claimed = target(part()?)?;
        match parts.next() {
            None => Ok(CasFailure { existing, sequence, claimed }),
            Some(_) => Err(invalid()),
        }
    }
}
