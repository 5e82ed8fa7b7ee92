//! Symmetric keys and the links between them (`spec/01` §3.3, §3.6).

use pyrgos_crypto::random::CryptoRng;
use pyrgos_crypto::secretbox;

use super::{CipherError, CipherText, SigningPrivateKeyAndPublicHash};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

const TYPE: i64 = 1;

/// A key of XSalsa20-Poly1305 with the mark whether it must be replaced before the next write. Two keys with different
/// marks are unequal (`spec/01` §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymmetricKey {
    /// The key itself.
    pub key: secretbox::Key,
    /// Whether somebody who lost access may still know the key. It has no cryptographic meaning.
    pub dirty: bool,
}

impl SymmetricKey {
    /// A clean key.
    pub fn new(key: secretbox::Key) -> Self {
        SymmetricKey { key, dirty: false }
    }

    /// A fresh random key, clean.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        SymmetricKey::new(secretbox::Key::generate(rng))
    }

    /// The null value: 32 zero bytes.
    pub fn null() -> Self {
        SymmetricKey::new(secretbox::Key::from_bytes([0; secretbox::Key::SIZE]))
    }

    /// The same key, marked to be replaced before the next write.
    pub fn into_dirty(self) -> Self {
        SymmetricKey { dirty: true, ..self }
    }
}

impl ToCbor for SymmetricKey {
    fn to_cbor(&self) -> Value {
        Value::List(vec![Value::Int(TYPE), Value::secret_bytes(self.key.as_bytes()), Value::Bool(self.dirty)])
    }
}

impl FromCbor for SymmetricKey {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let elements = value.elements("SymmetricKey", 3)?;
        super::check_type("SymmetricKey", &elements[0], TYPE)?;
        let key = secretbox::Key::from_slice(elements[1].as_bytes()?)
            .map_err(|error| DecodeError::invalid("SymmetricKey", error.to_string()))?;
        Ok(SymmetricKey { key, dirty: elements[2].as_bool()? })
    }
}

/// A symmetric key encrypted under another: who has the one can walk to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymmetricLink(CipherText);

impl SymmetricLink {
    /// Encrypts `to` under `from`.
    pub fn new(from: &SymmetricKey, to: &SymmetricKey, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        SymmetricLink(CipherText::encrypt(to, from, rng))
    }

    /// Walks the link with the key that it starts from.
    pub fn target(&self, from: &SymmetricKey) -> Result<SymmetricKey, CipherError> {
        self.0.decrypt(from)
    }
}

/// The secret half of a writer encrypted under a symmetric key: who has the key may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymmetricLinkToSigner(CipherText);

impl SymmetricLinkToSigner {
    /// Encrypts `to` under `from`.
    pub fn new(from: &SymmetricKey, to: &SigningPrivateKeyAndPublicHash, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        SymmetricLinkToSigner(CipherText::encrypt(to, from, rng))
    }

    /// Walks the link with the key that it starts from.
    pub fn target(&self, from: &SymmetricKey) -> Result<SigningPrivateKeyAndPublicHash, CipherError> {
        self.0.decrypt(from)
    }
}

/// Gives a link the CBOR form of the cipher text that it is.
macro_rules! link_cbor {
    ($($name:ident),*) => {$(
        impl ToCbor for $name {
            fn to_cbor(&self) -> Value {
                self.0.to_cbor()
            }
        }

        impl FromCbor for $name {
            fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
                Ok($name(CipherText::from_cbor(value)?))
            }
        }
    )*};
}

link_cbor!(SymmetricLink, SymmetricLinkToSigner);
