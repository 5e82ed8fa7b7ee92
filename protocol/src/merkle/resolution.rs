//! How a server says under which identity it is to be found, and the signed entries that carry it (`spec/02` §13).

use pyrgos_crypto::sign::PublicKey;

use crate::encoding::{DecodeError, FromCbor, Map, Multihash, ToCbor, Value, text};
use bytes::Bytes;

/// Key of the record in the data of an IPNS entry.
const RECORD_KEY: &str = "_peergos_rr";

/// What the signature of an IPNS entry covers before its data.
const SIGNATURE_PREFIX: &[u8] = b"ipns-signature:";

/// Before the key in the peer id of an Ed25519 identity: a protobuf of the type and 32 bytes.
const ED25519_PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

/// Two old identities whose keys cannot sign entries, and where they moved. Accepted without a signature.
pub const UNSIGNED_MOVES: [(&str, &str); 2] = [
    ("QmPqn9a1tJLpMtaCz1DSQNMAfsv6qXEx6XU2eLMTc2DVV4", "12D3KooWEnCzE4uSeniFaCGXQuV1UnYkvqvbQJnYC363S2abgknr"),
    ("QmcoDbhCiVXGrWs6rwBvB59Gm44veo7Qxn2zmRnPw7BaCH", "12D3KooWFv6ZcoUKyaDBB7nR5SQg6HpmEbDXad48WyFSyEk7xrSR"),
];

/// What the holder of an identity publishes about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolutionRecord {
    /// The next identity, once there is one.
    pub host: Option<Multihash>,
    /// Whether the server has moved there.
    pub moved: bool,
    /// A signed pointer; nobody publishes it today.
    pub pointer: Option<Bytes>,
    /// Grows with each record.
    pub sequence: i64,
}

impl ResolutionRecord {
    /// Whether `next` may follow this record: its sequence is higher, a move is not taken back, and the next identity
    /// never changes.
    pub fn allows(&self, next: &ResolutionRecord) -> bool {
        next.sequence > self.sequence && next.moved >= self.moved && (self.host.is_none() || self.host == next.host)
    }

    /// The identity to go on with, if the server has moved.
    pub fn moved_to(&self) -> Option<&Multihash> {
        self.host.as_ref().filter(|_| self.moved)
    }
}

impl ToCbor for ResolutionRecord {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        if let Some(host) = &self.host {
            map.insert("h", Value::bytes(host.to_bytes()));
        }
        if self.moved {
            map.insert("m", Value::Bool(true));
        }
        if let Some(pointer) = &self.pointer {
            map.insert("p", Value::Bytes(pointer.clone()));
        }
        map.insert("s", Value::Int(self.sequence));
        Value::Map(map)
    }
}

impl FromCbor for ResolutionRecord {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("ResolutionRecord")?;
        let host = fields.optional("h").map(|host| Ok::<_, DecodeError>(Multihash::from_bytes(host.as_bytes()?)?));
        Ok(ResolutionRecord {
            host: host.transpose()?,
            moved: fields.optional("m").map(Value::as_bool).transpose()?.unwrap_or(false),
            pointer: fields.optional("p").map(|pointer| pointer.as_bytes().cloned()).transpose()?,
            sequence: fields.int("s")?,
        })
    }
}

/// Why an entry tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The peer id holds no Ed25519 key.
    #[error("the identity {0} holds no Ed25519 key")]
    Identity(String),
    /// The signature is not that key's.
    #[error("the signature of the entry is not the identity's")]
    Signature,
    /// The data are no entry with a record.
    #[error("malformed entry: {0}")]
    Malformed(#[from] DecodeError),
}

/// A signed IPNS entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IpnsEntry {
    /// CBOR map with the record.
    pub data: Bytes,
    /// Ed25519 signature, 64 bytes.
    pub signature: Bytes,
}

impl IpnsEntry {
    /// An entry from the hexadecimal fields `sig` and `data` of the JSON that servers answer with.
    pub fn from_hex(signature: &str, data: &str) -> Result<Self, EntryError> {
        let bytes = |hex| text::from_hex(hex).map_err(|error| DecodeError::invalid("IPNS entry", error.to_string()));
        Ok(IpnsEntry { data: bytes(data)?.into(), signature: bytes(signature)?.into() })
    }

    /// The record, after checking that `peer`, the bare multihash of the publisher's peer id, signed it. The entry's
    /// validity date is not looked at, as the reference does not.
    pub fn verify(&self, peer: &Multihash) -> Result<ResolutionRecord, EntryError> {
        let key = signing_key(peer).ok_or_else(|| EntryError::Identity(peer.to_base58()))?;
        let signed = [SIGNATURE_PREFIX, &self.data].concat();
        key.verify(&self.signature, &signed).map_err(|_| EntryError::Signature)?;
        let data = Value::decode_shared(&self.data)?;
        let fields = data.fields("IPNS entry")?;
        match fields.optional(RECORD_KEY) {
            Some(record) => Ok(ResolutionRecord::from_cbor(record)?),
            // Legacy entries have the record's bytes where others have a path.
            None => Ok(ResolutionRecord::from_bytes(fields.bytes("Value")?)?),
        }
    }
}

/// The Ed25519 key inside a peer id.
fn signing_key(peer: &Multihash) -> Option<PublicKey> {
    if peer.code() != Multihash::IDENTITY {
        return None;
    }
    let key = peer.digest().strip_prefix(&ED25519_PREFIX)?;
    Some(PublicKey::from_bytes(key.try_into().ok()?))
}
