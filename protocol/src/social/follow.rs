//! Follow requests and the blind form in which they travel (`spec/05` §3.1–§3.3).
//!
//! The server that keeps a request learns nothing of its sender: it is encrypted from a key that is made for this one
//! message, and padded so that all kinds of requests and answers have the same length. Nothing in it is signed either.
//! What proves a sender is that nobody else can hand out a capability in his writing space, and that answers go only
//! to somebody who asked; so the owner of the capability must be checked before it is used (`spec/05` §3.5).

use bytes::Bytes;
use pyrgos_crypto::random::CryptoRng;

use crate::cryptree::AbsoluteCapability;
use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{CipherError, PaddedAsymmetricCipherText, PublicBoxingKey, SecretBoxingKey, SymmetricKey};
use crate::login::EntryPoint;
use crate::names::Username;

/// Plaintexts are filled up to a multiple of this many bytes, and fit into one.
pub const PADDING: usize = 512;

/// Longest blind request that a server stores, in bytes.
pub const MAX_BLIND_BYTES: usize = 4096;

/// Why a request cannot be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The boxes refuse, or the content is no follow request.
    #[error("cannot read the follow request: {0}")]
    Cipher(#[from] CipherError),
    /// The bytes are no blind request.
    #[error("malformed follow request: {0}")]
    Decode(#[from] DecodeError),
    /// A longer plaintext would tell its kind by its length, and the server would refuse it.
    #[error("the follow request has {0} bytes, more than {PADDING}")]
    TooLong(usize),
}

/// What one user says to another: the first request, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowRequest {
    /// The read capability of the sender's sharing directory for the receiver, or the null capability; and the name that
    /// the sender claims.
    pub entry: EntryPoint,
    /// In a first request the read base key that the receiver's directory shall have; in an answer its presence means
    /// that the sender wants to follow too.
    pub key: Option<SymmetricKey>,
}

/// How a first request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Neither follows the other.
    Deny,
    /// The asker may follow us.
    Accept,
    /// The asker may follow us, and we follow the asker.
    AcceptAndReciprocate,
    /// We follow the asker, who may not follow us.
    ReciprocateOnly,
}

impl Answer {
    /// Whether the asker may follow us.
    pub fn accepts(self) -> bool {
        matches!(self, Answer::Accept | Answer::AcceptAndReciprocate)
    }

    /// Whether we follow the asker.
    pub fn reciprocates(self) -> bool {
        matches!(self, Answer::AcceptAndReciprocate | Answer::ReciprocateOnly)
    }
}

impl FollowRequest {
    /// A first request. `directory` is our sharing directory for the receiver; only the right to read it is sent. The
    /// key asks for that of the receiver's directory for us, which no client insists on.
    pub fn first(us: Username, directory: &AbsoluteCapability, key: SymmetricKey) -> Self {
        let entry = EntryPoint { capability: directory.read_only(), owner_name: us };
        FollowRequest { entry, key: Some(key) }
    }

    /// The answer to `first`. `directory` is our sharing directory for the asker, and is used only if the answer
    /// accepts.
    pub fn answer(answer: Answer, first: &FollowRequest, us: Username, directory: &AbsoluteCapability) -> Self {
        let capability = if answer.accepts() { directory.read_only() } else { AbsoluteCapability::null() };
        let key = answer.reciprocates().then(|| first.entry.capability.base_key.clone());
        FollowRequest { entry: EntryPoint { capability, owner_name: us }, key }
    }

    /// The name that the sender claims.
    pub fn sender(&self) -> &Username {
        &self.entry.owner_name
    }

    /// The entry point, unless its capability is a null one. Whoever uses it checks first that the named user owns it.
    pub fn entry(&self) -> Option<&EntryPoint> {
        Some(&self.entry).filter(|entry| !entry.capability.is_null())
    }

    /// Read as an answer to our own first request.
    pub fn as_answer(&self) -> Answer {
        match (self.entry().is_some(), self.key.is_some()) {
            (false, false) => Answer::Deny,
            (true, false) => Answer::Accept,
            (true, true) => Answer::AcceptAndReciprocate,
            (false, true) => Answer::ReciprocateOnly,
        }
    }
}

impl ToCbor for FollowRequest {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("e", self.entry.to_cbor());
        if let Some(key) = &self.key {
            map.insert("k", key.to_cbor());
        }
        Value::Map(map)
    }
}

/// A request without entry point is refused: it says nothing (`spec/05` §3.1).
impl FromCbor for FollowRequest {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("FollowRequest")?;
        Ok(FollowRequest { entry: fields.get("e")?, key: fields.get_optional("k")? })
    }
}

/// A follow request as the receiver's server sees it: a key that is used once, and what is encrypted from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlindFollowRequest {
    /// Public half of the throw-away key. Of a hybrid one only the Curve25519 part takes part in the encryption, but
    /// readers want both.
    pub throw_away: PublicBoxingKey,
    /// The request.
    pub sealed: PaddedAsymmetricCipherText,
}

impl BlindFollowRequest {
    /// Encrypts a request to the boxing key of its receiver, from a fresh key of the same type that is forgotten at
    /// once.
    ///
    /// # Errors
    /// [`FollowError::TooLong`], and [`FollowError::Cipher`] for a receiver's key that cannot be used.
    pub fn seal(
        request: &FollowRequest,
        receiver: &PublicBoxingKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, FollowError> {
        let len = request.to_cbor().encoded_len();
        if len > PADDING {
            return Err(FollowError::TooLong(len));
        }
        let secret = SecretBoxingKey::generate_like(receiver, rng);
        let sealed = PaddedAsymmetricCipherText::encrypt(request, PADDING, receiver, &secret, rng)?;
        Ok(BlindFollowRequest { throw_away: secret.public(), sealed })
    }

    /// Opens a request with the receiver's secret key.
    ///
    /// # Errors
    /// [`FollowError::Cipher`] for another receiver's request, changed bytes, or a content that is no follow request.
    pub fn open(&self, receiver: &SecretBoxingKey) -> Result<FollowRequest, FollowError> {
        Ok(self.sealed.decrypt(receiver, &self.throw_away)?)
    }
}

impl ToCbor for BlindFollowRequest {
    fn to_cbor(&self) -> Value {
        Value::map([("f", self.sealed.to_cbor()), ("k", self.throw_away.to_cbor())])
    }
}

impl FromCbor for BlindFollowRequest {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("BlindFollowRequest")?;
        Ok(BlindFollowRequest { throw_away: fields.get("k")?, sealed: fields.get("f")? })
    }
}

/// An opened request and the bytes in which it came. The call that removes it from the inbox signs exactly these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedFollowRequest {
    /// The blind request as received.
    pub blind: Bytes,
    /// What was in it.
    pub request: FollowRequest,
}

impl ReceivedFollowRequest {
    /// Reads and opens one item of an inbox.
    ///
    /// # Errors
    /// [`FollowError`]. Anybody can put anything into an inbox, so a client goes on with the next item.
    pub fn open(blind: Bytes, receiver: &SecretBoxingKey) -> Result<Self, FollowError> {
        let request = BlindFollowRequest::from_cbor(&Value::decode_shared(&blind)?)?.open(receiver)?;
        Ok(ReceivedFollowRequest { blind, request })
    }
}
