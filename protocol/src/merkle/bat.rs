//! Block access tokens (BATs): 32 secret bytes whose holder may read a block from a server that knows only their
//! name (`spec/02` §8).
//!
//! This file holds the tokens and their identifiers; [`prefix`] puts them into blocks and finds them there, [`auth`]
//! proves possession and decides about reads, [`caps`] asks for guarded blocks.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::encoding::text::{self, TextError};
use crate::encoding::{Cid, Codec, DecodeError, FromCbor, Multihash, ToCbor, Value};

pub mod auth;
pub mod caps;
pub mod prefix;
pub mod time;

pub use auth::{AuthLimits, BlockAuth, ReadCheck, Unauthorised};
pub use caps::{BlockMirrorCap, ChunkMirrorCap};

/// Length of a token's secret in bytes.
pub const BAT_LEN: usize = 32;

/// The secret bytes of a block access token. Whoever knows them may read the blocks that they guard.
///
/// Wiped when dropped; compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Bat([u8; BAT_LEN]);

impl Bat {
    /// A token of the given secret, which the caller took from a source of randomness or derived (`spec/02` §8.2).
    pub fn from_bytes(secret: [u8; BAT_LEN]) -> Self {
        Bat(secret)
    }

    /// The secret.
    pub fn as_bytes(&self) -> &[u8; BAT_LEN] {
        &self.0
    }

    /// The "secret string": multibase base58btc of the secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(text::multibase58(self.0))
    }

    /// The token of the chunk after the one that this token guards: SHA-256 of the stream secret and this secret
    /// (`spec/02` §8.2).
    pub fn next(&self, stream_secret: &[u8]) -> Bat {
        let mut input = Zeroizing::new(Vec::with_capacity(stream_secret.len() + BAT_LEN));
        input.extend_from_slice(stream_secret);
        input.extend_from_slice(&self.0);
        Bat(sha256(&input))
    }

    /// The identifier that holds the secret itself; only for inside blocks.
    pub fn inline_id(&self) -> BatId {
        BatId::Inline(self.clone())
    }

    /// The identifier by the content rule: SHA-256 of the token's CBOR. Names per-block and instance tokens.
    pub fn content_id(&self) -> BatId {
        BatId::Hash(sha256(&self.to_secret_bytes()))
    }

    /// The identifier by the secret rule: SHA-256 of the 32 secret bytes. Names mirror tokens.
    pub fn mirror_id(&self) -> BatId {
        BatId::Hash(sha256(&self.0))
    }

    fn to_wiped_value(&self) -> Value {
        Value::secret_bytes(self.0)
    }
}

impl PartialEq for Bat {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Bat {}

impl Hash for Bat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Not the secret itself, so that no hash table's layout depends on it directly.
        sha256(&self.0).hash(state);
    }
}

/// Says that it is a token and nothing else.
impl fmt::Debug for Bat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bat(secret)")
    }
}

impl ToCbor for Bat {
    fn to_cbor(&self) -> Value {
        Value::map([("s", self.to_wiped_value())])
    }
}

impl FromCbor for Bat {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(Bat(value.fields("Bat")?.required("s")?.as_array("Bat")?))
    }
}

impl FromStr for Bat {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let bytes = Zeroizing::new(text::from_multibase58(text).map_err(malformed_text)?);
        let secret = bytes.as_slice().try_into();
        Ok(Bat(secret.map_err(|_| DecodeError::invalid("Bat", format!("{} bytes instead of {BAT_LEN}", bytes.len())))?))
    }
}

/// What names a token: a CID with the raw codec (`spec/02` §8.1).
///
/// A hash may follow the content rule or the secret rule; which one can only be told with the secret at hand
/// ([`BatId::is_of`]).
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum BatId {
    /// The secret itself, inside a block.
    Inline(Bat),
    /// SHA-256 of the token's CBOR or of its secret.
    Hash([u8; 32]),
}

impl BatId {
    /// Whether this names the token by any of the three rules.
    pub fn is_of(&self, bat: &Bat) -> bool {
        match self {
            BatId::Inline(secret) => secret == bat,
            BatId::Hash(_) => *self == bat.mirror_id() || *self == bat.content_id(),
        }
    }

    /// Whether the secret is in the identifier.
    pub fn is_inline(&self) -> bool {
        matches!(self, BatId::Inline(_))
    }

    /// The bytes of the CID. Those of an inline identifier are as secret as its token.
    pub fn to_cid_bytes(&self) -> Zeroizing<Vec<u8>> {
        let (code, digest) = match self {
            BatId::Inline(bat) => (Multihash::IDENTITY as u8, &bat.0),
            BatId::Hash(digest) => (Multihash::SHA2_256 as u8, digest),
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(4 + BAT_LEN));
        bytes.extend_from_slice(&[1, 0x55, code, BAT_LEN as u8]);
        bytes.extend_from_slice(digest);
        bytes
    }

    /// The text of the CID.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(text::multibase58(self.to_cid_bytes()))
    }

    /// Takes a CID that has the raw codec and is a SHA-256 or holds 32 bytes.
    pub fn from_cid(cid: &Cid) -> Result<Self, DecodeError> {
        if cid.codec() != Codec::Raw {
            return Err(DecodeError::invalid("BatId", "the codec is not raw"));
        }
        let digest: [u8; 32] =
            cid.hash().digest().try_into().map_err(|_| DecodeError::invalid("BatId", "not 32 bytes"))?;
        match cid.hash().code() {
            Multihash::IDENTITY => Ok(BatId::Inline(Bat(digest))),
            Multihash::SHA2_256 => Ok(BatId::Hash(digest)),
            _ => Err(DecodeError::invalid("BatId", "the hash function is neither SHA-256 nor identity")),
        }
    }

    /// Demands a name that does not give the secret away.
    fn not_inline(self, structure: &'static str) -> Result<Self, DecodeError> {
        match self {
            BatId::Inline(_) => Err(DecodeError::invalid(structure, "an inline BAT id has no place here")),
            hash => Ok(hash),
        }
    }
}

/// The text of a hash; that it is an inline token, but not which.
impl fmt::Debug for BatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatId::Inline(_) => f.write_str("BatId(inline)"),
            BatId::Hash(_) => f.write_str(&self.to_text()),
        }
    }
}

impl ToCbor for BatId {
    fn to_cbor(&self) -> Value {
        Value::Bytes(Bytes::from_owner(self.to_cid_bytes()))
    }
}

impl FromCbor for BatId {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        BatId::from_cid(&Cid::from_bytes(value.as_bytes()?)?)
    }
}

impl FromStr for BatId {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        BatId::from_cid(&text.parse()?)
    }
}

/// A token and the name under which a server knows it. Never an inline name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatWithId {
    bat: Bat,
    id: BatId,
}

impl BatWithId {
    /// A token under its content rule name, as fragments and instance tokens have it.
    pub fn by_content(bat: Bat) -> Self {
        BatWithId { id: bat.content_id(), bat }
    }

    /// A token under its secret rule name, as a user's mirror token has it.
    pub fn mirror(bat: Bat) -> Self {
        BatWithId { id: bat.mirror_id(), bat }
    }

    /// A token under any name but an inline one. The name need not fit: a server finds out by [`BatId::is_of`].
    pub fn new(bat: Bat, id: BatId) -> Result<Self, DecodeError> {
        Ok(BatWithId { bat, id: id.not_inline("BatWithId")? })
    }

    /// The token.
    pub fn bat(&self) -> &Bat {
        &self.bat
    }

    /// Its name.
    pub fn id(&self) -> &BatId {
        &self.id
    }

    /// The `bat=` parameter: multibase base58btc of the CBOR.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(text::multibase58(self.to_secret_bytes()))
    }
}

impl ToCbor for BatWithId {
    fn to_cbor(&self) -> Value {
        Value::map([("b", self.bat.to_cbor()), ("i", self.id.to_cbor())])
    }
}

impl FromCbor for BatWithId {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("BatWithId")?;
        BatWithId::new(fields.get("b")?, fields.get("i")?)
    }
}

impl FromStr for BatWithId {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let bytes = Zeroizing::new(text::from_multibase58(text).map_err(malformed_text)?);
        BatWithId::from_bytes(&bytes)
    }
}

/// A text that is not in the base that its place demands, as a decoding error.
pub(crate) fn malformed_text(error: TextError) -> DecodeError {
    DecodeError::invalid("text", error.to_string())
}
