//! Values encrypted from one boxing key to another (`spec/01` §3.8).

use bytes::Bytes;
use pyrgos_crypto::random::CryptoRng;

use super::cipher_text::padded_len;
use super::{CipherError, PublicBoxingKey, SecretBoxingKey};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// A boxed message whose plaintext is the CBOR of a value. The sender is named by what stands around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsymmetricCipherText(Bytes);

impl AsymmetricCipherText {
    /// Encrypts a value from `sender` to `recipient`.
    ///
    /// # Errors
    /// As [`PublicBoxingKey::encrypt`].
    pub fn encrypt(
        value: &impl ToCbor,
        recipient: &PublicBoxingKey,
        sender: &SecretBoxingKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, CipherError> {
        let message = recipient.encrypt(&value.to_secret_bytes(), sender, rng)?;
        Ok(AsymmetricCipherText(message.into()))
    }

    /// Decrypts the value; what follows it in the plaintext is ignored.
    ///
    /// # Errors
    /// As [`SecretBoxingKey::decrypt`], and [`CipherError::Decode`] when the content is another structure.
    pub fn decrypt<T: FromCbor>(
        &self,
        recipient: &SecretBoxingKey,
        sender: &PublicBoxingKey,
    ) -> Result<T, CipherError> {
        Ok(T::from_padded(&Bytes::from_owner(recipient.decrypt(&self.0, sender)?))?)
    }
}

impl ToCbor for AsymmetricCipherText {
    fn to_cbor(&self) -> Value {
        Value::Bytes(self.0.clone())
    }
}

impl FromCbor for AsymmetricCipherText {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(AsymmetricCipherText(value.as_bytes()?.clone()))
    }
}

/// As [`AsymmetricCipherText`], the plaintext filled with zeros to a multiple of a block size that each use fixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaddedAsymmetricCipherText(AsymmetricCipherText);

impl PaddedAsymmetricCipherText {
    /// Encrypts a value, padded to a multiple of `block_size` bytes (0 counts as 1).
    ///
    /// # Errors
    /// As [`PublicBoxingKey::encrypt`].
    pub fn encrypt(
        value: &impl ToCbor,
        block_size: usize,
        recipient: &PublicBoxingKey,
        sender: &SecretBoxingKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, CipherError> {
        let mut plain = value.to_secret_bytes();
        // Growing the vector would leave an unwiped copy behind, so the padded one is a second that is wiped as well.
        let mut padded = zeroize::Zeroizing::new(vec![0; padded_len(plain.len(), block_size)]);
        padded[..plain.len()].swap_with_slice(&mut plain);
        let message = recipient.encrypt(&padded, sender, rng)?;
        Ok(PaddedAsymmetricCipherText(AsymmetricCipherText(message.into())))
    }

    /// Decrypts the value and drops the padding.
    ///
    /// # Errors
    /// As [`AsymmetricCipherText::decrypt`].
    pub fn decrypt<T: FromCbor>(
        &self,
        recipient: &SecretBoxingKey,
        sender: &PublicBoxingKey,
    ) -> Result<T, CipherError> {
        self.0.decrypt(recipient, sender)
    }
}

impl ToCbor for PaddedAsymmetricCipherText {
    fn to_cbor(&self) -> Value {
        self.0.to_cbor()
    }
}

impl FromCbor for PaddedAsymmetricCipherText {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(PaddedAsymmetricCipherText(AsymmetricCipherText::from_cbor(value)?))
    }
}

/// A boxed message with the public boxing key of its sender, which may be a temporary one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcedAsymmetricCipherText {
    /// The message.
    pub cipher_text: AsymmetricCipherText,
    /// The sender's key.
    pub source: PublicBoxingKey,
}

impl SourcedAsymmetricCipherText {
    /// Encrypts a value from `sender` to `recipient`.
    ///
    /// # Errors
    /// As [`PublicBoxingKey::encrypt`].
    pub fn encrypt(
        value: &impl ToCbor,
        recipient: &PublicBoxingKey,
        sender: &SecretBoxingKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, CipherError> {
        let cipher_text = AsymmetricCipherText::encrypt(value, recipient, sender, rng)?;
        Ok(SourcedAsymmetricCipherText { cipher_text, source: sender.public() })
    }

    /// Decrypts the value.
    ///
    /// # Errors
    /// As [`AsymmetricCipherText::decrypt`].
    pub fn decrypt<T: FromCbor>(&self, recipient: &SecretBoxingKey) -> Result<T, CipherError> {
        self.cipher_text.decrypt(recipient, &self.source)
    }
}

impl ToCbor for SourcedAsymmetricCipherText {
    fn to_cbor(&self) -> Value {
        Value::map([("c", self.cipher_text.to_cbor()), ("k", self.source.to_cbor())])
    }
}

impl FromCbor for SourcedAsymmetricCipherText {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("SourcedAsymmetricCipherText")?;
        Ok(SourcedAsymmetricCipherText { cipher_text: fields.get("c")?, source: fields.get("k")? })
    }
}
