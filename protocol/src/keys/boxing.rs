//! Boxing keys and the messages between them (`spec/01` §3.3–§3.5).

use bytes::Bytes;
use pyrgos_crypto::random::CryptoRng;
use pyrgos_crypto::secretbox::Nonce;
use pyrgos_crypto::{boxes, hybrid, kem};
use zeroize::Zeroizing;

use super::{CipherError, KeyHash};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

const CURVE25519: i64 = 1;
const HYBRID: i64 = 2;

/// A key to which others encrypt. Sender and recipient need keys of the same type (`spec/01` §3.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PublicBoxingKey {
    /// Type 1, the key of old accounts.
    Curve25519(boxes::PublicKey),
    /// Type 2: Curve25519 and ML-KEM-1024.
    Hybrid(Box<hybrid::PublicKey>),
}

impl PublicBoxingKey {
    /// Encrypts `plain` from `sender` to this key: the message of `spec/01` §3.4 or §3.5.
    ///
    /// # Errors
    /// [`CipherError::KeyType`] when the keys' types differ, [`CipherError::Crypto`] for a key of low order.
    pub fn encrypt(
        &self,
        plain: &[u8],
        sender: &SecretBoxingKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<u8>, CipherError> {
        match (self, sender) {
            (PublicBoxingKey::Curve25519(recipient), SecretBoxingKey::Curve25519(sender)) => {
                Ok(boxes::seal(plain, &Nonce::generate(rng), recipient, sender)?)
            }
            (PublicBoxingKey::Hybrid(recipient), SecretBoxingKey::Hybrid(sender)) => {
                let parts = hybrid::seal(plain, recipient, &sender.curve, rng)?;
                Ok(HybridMessage::from(parts).to_bytes())
            }
            _ => Err(CipherError::KeyType),
        }
    }

    /// Whether this is a hybrid key. Accounts with another are upgraded when they sign in (`spec/01` §4.11).
    pub fn is_hybrid(&self) -> bool {
        matches!(self, PublicBoxingKey::Hybrid(_))
    }

    /// The hash of the key: it holds a Curve25519 key, and names the block of a hybrid one (`spec/01` §2.6).
    pub fn key_hash(&self) -> KeyHash {
        KeyHash::of_key_cbor(&self.to_bytes())
    }
}

/// The secret half of a boxing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretBoxingKey {
    /// Type 1.
    Curve25519(boxes::SecretKey),
    /// Type 2.
    Hybrid(Box<hybrid::SecretKey>),
}

impl SecretBoxingKey {
    /// A fresh random hybrid key, as new accounts have.
    pub fn generate_hybrid(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        SecretBoxingKey::Hybrid(Box::new(hybrid::SecretKey::generate(rng)))
    }

    /// A fresh random Curve25519 key, with which to write to old accounts.
    pub fn generate_curve25519(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        SecretBoxingKey::Curve25519(boxes::SecretKey::generate(rng))
    }

    /// A fresh random key of the type that can write to `recipient`.
    pub fn generate_like(recipient: &PublicBoxingKey, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        match recipient {
            PublicBoxingKey::Curve25519(_) => SecretBoxingKey::generate_curve25519(rng),
            PublicBoxingKey::Hybrid(_) => SecretBoxingKey::generate_hybrid(rng),
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicBoxingKey {
        match self {
            SecretBoxingKey::Curve25519(secret) => PublicBoxingKey::Curve25519(secret.public()),
            SecretBoxingKey::Hybrid(secret) => PublicBoxingKey::Hybrid(Box::new(secret.public())),
        }
    }

    /// Decrypts a message from `sender` to this key.
    ///
    /// # Errors
    /// [`CipherError::KeyType`] when the keys' types differ, [`CipherError::Decode`] for a hybrid message that is no
    /// CBOR of its four parts, [`CipherError::Crypto`] for other keys or changed bytes.
    pub fn decrypt(&self, message: &[u8], sender: &PublicBoxingKey) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        let plain = match (self, sender) {
            (SecretBoxingKey::Curve25519(recipient), PublicBoxingKey::Curve25519(sender)) => {
                boxes::open(message, sender, recipient)?
            }
            (SecretBoxingKey::Hybrid(recipient), PublicBoxingKey::Hybrid(sender)) => {
                let message = HybridMessage::from_bytes(message)?;
                hybrid::open(message.parts(), &sender.curve, recipient)?
            }
            _ => return Err(CipherError::KeyType),
        };
        Ok(Zeroizing::new(plain))
    }
}

/// The CBOR frame of a hybrid message: `{c, i, m, n}` (`spec/01` §3.5). Sizes are checked when it is opened.
struct HybridMessage {
    curve_box: Bytes,
    sealed: Bytes,
    encapsulated: Bytes,
    nonce: Bytes,
}

impl HybridMessage {
    fn parts(&self) -> hybrid::PartsRef<'_> {
        hybrid::PartsRef { c: &self.curve_box, i: &self.sealed, m: &self.encapsulated, n: &self.nonce }
    }
}

impl From<hybrid::Parts> for HybridMessage {
    fn from(parts: hybrid::Parts) -> Self {
        let nonce = Bytes::copy_from_slice(parts.n.as_bytes());
        HybridMessage { curve_box: parts.c.into(), sealed: parts.i.into(), encapsulated: parts.m.into(), nonce }
    }
}

impl ToCbor for HybridMessage {
    fn to_cbor(&self) -> Value {
        let entries = [("c", &self.curve_box), ("i", &self.sealed), ("m", &self.encapsulated), ("n", &self.nonce)];
        Value::map(entries.map(|(key, bytes)| (key, Value::Bytes(bytes.clone()))))
    }
}

impl FromCbor for HybridMessage {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("hybrid message")?;
        Ok(HybridMessage {
            curve_box: fields.bytes("c")?.clone(),
            sealed: fields.bytes("i")?.clone(),
            encapsulated: fields.bytes("m")?.clone(),
            nonce: fields.bytes("n")?.clone(),
        })
    }
}

/// Both halves of a boxing key, which always belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxingKeyPair {
    /// The secret key, from which the public one follows.
    pub secret: SecretBoxingKey,
}

impl BoxingKeyPair {
    /// The pair of a secret key.
    pub fn new(secret: SecretBoxingKey) -> Self {
        BoxingKeyPair { secret }
    }

    /// A fresh random hybrid pair, as new accounts have.
    pub fn generate_hybrid(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        BoxingKeyPair::new(SecretBoxingKey::generate_hybrid(rng))
    }

    /// The public key.
    pub fn public(&self) -> PublicBoxingKey {
        self.secret.public()
    }
}

impl ToCbor for PublicBoxingKey {
    fn to_cbor(&self) -> Value {
        match self {
            PublicBoxingKey::Curve25519(key) => typed(CURVE25519, Value::bytes(key.as_bytes())),
            PublicBoxingKey::Hybrid(key) => {
                let curve = PublicBoxingKey::Curve25519(key.curve).to_cbor();
                hybrid_key(curve, "p", Value::bytes(key.kem.as_bytes()))
            }
        }
    }
}

impl FromCbor for PublicBoxingKey {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        const NAME: &str = "PublicBoxingKey";
        let elements = value.elements(NAME, 2)?;
        match elements[0].as_int()? {
            CURVE25519 => curve25519_bytes(NAME, value, boxes::PublicKey::from_slice).map(PublicBoxingKey::Curve25519),
            HYBRID => {
                let fields = elements[1].fields(NAME)?;
                let curve = curve25519_bytes(NAME, fields.required("c")?, boxes::PublicKey::from_slice)?;
                let kem = fields.required("m")?.fields(NAME)?.bytes("p")?;
                let kem = kem::PublicKey::from_slice(kem).map_err(|error| invalid(NAME, error))?;
                Ok(PublicBoxingKey::Hybrid(Box::new(hybrid::PublicKey { curve, kem })))
            }
            other => Err(DecodeError::invalid(NAME, format!("unknown type {other}"))),
        }
    }
}

impl ToCbor for SecretBoxingKey {
    fn to_cbor(&self) -> Value {
        match self {
            SecretBoxingKey::Curve25519(key) => typed(CURVE25519, Value::secret_bytes(key.as_bytes())),
            SecretBoxingKey::Hybrid(key) => {
                let curve = typed(CURVE25519, Value::secret_bytes(key.curve.as_bytes()));
                hybrid_key(curve, "s", Value::secret_bytes(key.kem.as_bytes()))
            }
        }
    }
}

impl FromCbor for SecretBoxingKey {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        const NAME: &str = "SecretBoxingKey";
        let elements = value.elements(NAME, 2)?;
        match elements[0].as_int()? {
            CURVE25519 => curve25519_bytes(NAME, value, boxes::SecretKey::from_slice).map(SecretBoxingKey::Curve25519),
            HYBRID => {
                let fields = elements[1].fields(NAME)?;
                let curve = curve25519_bytes(NAME, fields.required("c")?, boxes::SecretKey::from_slice)?;
                let kem = fields.required("m")?.fields(NAME)?.bytes("s")?;
                let kem = kem::SecretKey::from_slice(kem).map_err(|error| invalid(NAME, error))?;
                Ok(SecretBoxingKey::Hybrid(Box::new(hybrid::SecretKey { curve, kem })))
            }
            other => Err(DecodeError::invalid(NAME, format!("unknown type {other}"))),
        }
    }
}

impl ToCbor for BoxingKeyPair {
    fn to_cbor(&self) -> Value {
        Value::List(vec![self.public().to_cbor(), self.secret.to_cbor()])
    }
}

impl FromCbor for BoxingKeyPair {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let elements = value.elements("BoxingKeyPair", 2)?;
        let public = PublicBoxingKey::from_cbor(&elements[0])?;
        let pair = BoxingKeyPair::new(SecretBoxingKey::from_cbor(&elements[1])?);
        // The reference does not compare them; a pair that is none could not read what is written to it.
        if pair.public() != public {
            return Err(DecodeError::invalid("BoxingKeyPair", "the public key is of another secret key"));
        }
        Ok(pair)
    }
}

fn typed(number: i64, content: Value) -> Value {
    Value::List(vec![Value::Int(number), content])
}

fn hybrid_key(curve: Value, half: &'static str, kem: Value) -> Value {
    typed(HYBRID, Value::map([("c", curve), ("m", Value::map([(half, kem)]))]))
}

/// The bytes of `[1, bytes(32)]`.
fn curve25519_bytes<K>(
    structure: &'static str,
    value: &Value,
    read: impl FnOnce(&[u8]) -> Result<K, pyrgos_crypto::Error>,
) -> Result<K, DecodeError> {
    let elements = value.elements(structure, 2)?;
    super::check_type(structure, &elements[0], CURVE25519)?;
    read(elements[1].as_bytes()?).map_err(|error| invalid(structure, error))
}

fn invalid(structure: &'static str, error: pyrgos_crypto::Error) -> DecodeError {
    DecodeError::invalid(structure, error.to_string())
}
