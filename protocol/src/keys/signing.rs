//! Signing keys as they are stored (`spec/01` §3.3).

use pyrgos_crypto::random::CryptoRng;
pub use pyrgos_crypto::sign::{PublicKey as PublicSigningKey, SecretKey as SecretSigningKey};
use zeroize::Zeroizing;

use super::{KeyHash, Writer};
use crate::encoding::text::{TextError, from_multibase58, multibase58};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// Ed25519. Boxing keys use the same number for Curve25519; only the place tells them apart.
const TYPE: i64 = 1;

impl ToCbor for PublicSigningKey {
    fn to_cbor(&self) -> Value {
        Value::List(vec![Value::Int(TYPE), Value::bytes(self.as_bytes())])
    }
}

impl FromCbor for PublicSigningKey {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let elements = value.elements("PublicSigningKey", 2)?;
        super::check_type("PublicSigningKey", &elements[0], TYPE)?;
        Ok(PublicSigningKey::from_bytes(elements[1].as_array("PublicSigningKey")?))
    }
}

impl ToCbor for SecretSigningKey {
    fn to_cbor(&self) -> Value {
        Value::List(vec![Value::Int(TYPE), Value::secret_bytes(self.as_bytes())])
    }
}

impl FromCbor for SecretSigningKey {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let elements = value.elements("SecretSigningKey", 2)?;
        super::check_type("SecretSigningKey", &elements[0], TYPE)?;
        SecretSigningKey::from_slice(elements[1].as_bytes()?)
            .map_err(|error| DecodeError::invalid("SecretSigningKey", error.to_string()))
    }
}

/// Both halves of a signing key, which always belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeyPair {
    /// The secret key, which holds the public one.
    pub secret: SecretSigningKey,
}

impl SigningKeyPair {
    /// The pair of a secret key.
    pub fn new(secret: SecretSigningKey) -> Self {
        SigningKeyPair { secret }
    }

    /// A fresh random pair.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        SigningKeyPair::new(SecretSigningKey::generate(rng))
    }

    /// The public key.
    pub fn public(&self) -> PublicSigningKey {
        self.secret.public()
    }

    /// The hash of the public key, which holds it.
    pub fn public_key_hash(&self) -> KeyHash {
        KeyHash::of_signing_key(&self.public())
    }

    /// The secret key with the hash of the public one.
    pub fn signer(&self) -> SigningPrivateKeyAndPublicHash {
        SigningPrivateKeyAndPublicHash { public_key_hash: self.public_key_hash(), secret: self.secret.clone() }
    }

    /// The pair as text: multibase base58btc of its CBOR (`spec/01` §2.4).
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(multibase58(&*self.to_secret_bytes()))
    }

    /// Reads the text form.
    pub fn from_secret_text(text: &str) -> Result<Self, KeyTextError> {
        Ok(SigningKeyPair::from_bytes(&Zeroizing::new(from_multibase58(text)?))?)
    }
}

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTextError {
    /// Not in the base that keys are written in.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The bytes are no key.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl ToCbor for SigningKeyPair {
    fn to_cbor(&self) -> Value {
        Value::List(vec![self.public().to_cbor(), self.secret.to_cbor()])
    }
}

impl FromCbor for SigningKeyPair {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let elements = value.elements("SigningKeyPair", 2)?;
        let public = PublicSigningKey::from_cbor(&elements[0])?;
        let pair = SigningKeyPair::new(SecretSigningKey::from_cbor(&elements[1])?);
        // The reference does not compare them; a pair that is none would sign what its public key cannot open.
        if pair.public() != public {
            return Err(DecodeError::invalid("SigningKeyPair", "the public key is of another secret key"));
        }
        Ok(pair)
    }
}

/// What a writer needs to sign: the secret key, and the hash by which others know the public one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningPrivateKeyAndPublicHash {
    /// The hash of the public key. For the keys of old accounts it is a SHA-256 and does not hold the key.
    pub public_key_hash: KeyHash,
    /// The secret key.
    pub secret: SecretSigningKey,
}

impl SigningPrivateKeyAndPublicHash {
    /// The writer that this is the secret of.
    pub fn writer(&self) -> Writer {
        Writer::new(self.public_key_hash.clone())
    }
}

impl ToCbor for SigningPrivateKeyAndPublicHash {
    fn to_cbor(&self) -> Value {
        Value::map([("p", self.public_key_hash.to_cbor()), ("s", self.secret.to_cbor())])
    }
}

impl FromCbor for SigningPrivateKeyAndPublicHash {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("SigningPrivateKeyAndPublicHash")?;
        let signer = SigningPrivateKeyAndPublicHash { public_key_hash: fields.get("p")?, secret: fields.get("s")? };
        // An identity hash says which key it is. The reference does not look (`spec/01` §3.3).
        match signer.public_key_hash.signing_key() {
            Some(public) if public != signer.secret.public() => {
                Err(DecodeError::invalid("SigningPrivateKeyAndPublicHash", "the hash is of another key"))
            }
            _ => Ok(signer),
        }
    }
}
