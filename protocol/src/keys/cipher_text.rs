//! Values encrypted under a symmetric key (`spec/01` §3.6, §3.7).

use bytes::Bytes;
use pyrgos_crypto::random::CryptoRng;
use pyrgos_crypto::secretbox::{self, Nonce, OVERHEAD};
use zeroize::Zeroizing;

use super::SymmetricKey;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// Why a cipher text does not give the value that it should hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CipherError {
    /// Encryption or decryption refused: wrong key, changed bytes, or a key that cannot be used.
    #[error(transparent)]
    Crypto(#[from] pyrgos_crypto::Error),
    /// Decrypted, but not the structure that was expected.
    #[error("the decrypted content is malformed")]
    Decode(#[from] DecodeError),
    /// A Curve25519 key met a hybrid one.
    #[error("sender and recipient have boxing keys of different types")]
    KeyType,
}

/// A value encrypted under a symmetric key: `[nonce, secretbox of the value's CBOR]` (`spec/01` §3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CipherText {
    nonce: Nonce,
    sealed: Bytes,
}

impl CipherText {
    /// Encrypts a value with a fresh nonce.
    pub fn encrypt(value: &impl ToCbor, key: &SymmetricKey, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        CipherText::encrypt_padded(value, key, 1, rng)
    }

    fn encrypt_padded(
        value: &impl ToCbor,
        key: &SymmetricKey,
        block_size: usize,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Self {
        let nonce = Nonce::generate(rng);
        let value = value.to_cbor();
        let padded = padded_len(value.encoded_len(), block_size);
        // One allocation: the plaintext is encrypted where it was written, and no copy of it stays behind.
        let mut buffer = Vec::with_capacity(OVERHEAD + padded);
        buffer.resize(OVERHEAD, 0);
        value.encode_into(&mut buffer);
        buffer.resize(OVERHEAD + padded, 0);
        secretbox::seal_in_place(&key.key, &nonce, &mut buffer);
        CipherText { nonce, sealed: buffer.into() }
    }

    /// Decrypts the value; what follows it in the plaintext is ignored.
    pub fn decrypt<T: FromCbor>(&self, key: &SymmetricKey) -> Result<T, CipherError> {
        Ok(T::from_padded(&self.plaintext(key)?)?)
    }

    /// Decrypts to the whole plaintext, padding included; its bytes are wiped when the last slice of them is dropped.
    pub fn plaintext(&self, key: &SymmetricKey) -> Result<Bytes, CipherError> {
        let mut buffer = Zeroizing::new(self.sealed.to_vec());
        secretbox::open_in_place(&key.key, &self.nonce, &mut buffer)?;
        Ok(Bytes::from_owner(buffer).slice(OVERHEAD..))
    }

    /// A cipher text of parts that come from elsewhere.
    pub fn from_parts(nonce: Nonce, sealed: Bytes) -> Self {
        CipherText { nonce, sealed }
    }

    /// The nonce.
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// The tag (16 bytes) and the encrypted bytes.
    pub fn sealed(&self) -> &Bytes {
        &self.sealed
    }
}

impl ToCbor for CipherText {
    fn to_cbor(&self) -> Value {
        Value::List(vec![Value::bytes(self.nonce.as_bytes()), Value::Bytes(self.sealed.clone())])
    }
}

impl FromCbor for CipherText {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let elements = value.elements("CipherText", 2)?;
        let nonce = Nonce::from_bytes(elements[0].as_array("CipherText")?);
        Ok(CipherText { nonce, sealed: elements[1].as_bytes()?.clone() })
    }
}

/// A cipher text whose plaintext is filled with zeros to a multiple of a block size, so that its length tells little.
/// The block size is fixed by each use and is not in the bytes (`spec/01` §3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaddedCipherText(CipherText);

impl PaddedCipherText {
    /// Encrypts a value, padded to a multiple of `block_size` bytes (0 counts as 1).
    pub fn encrypt(
        value: &impl ToCbor,
        key: &SymmetricKey,
        block_size: usize,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Self {
        PaddedCipherText(CipherText::encrypt_padded(value, key, block_size, rng))
    }

    /// Decrypts the value and drops the padding.
    pub fn decrypt<T: FromCbor>(&self, key: &SymmetricKey) -> Result<T, CipherError> {
        self.0.decrypt(key)
    }

    /// The cipher text, whose bytes are the same.
    pub fn cipher_text(&self) -> &CipherText {
        &self.0
    }
}

impl From<CipherText> for PaddedCipherText {
    fn from(cipher_text: CipherText) -> Self {
        PaddedCipherText(cipher_text)
    }
}

impl ToCbor for PaddedCipherText {
    fn to_cbor(&self) -> Value {
        self.0.to_cbor()
    }
}

impl FromCbor for PaddedCipherText {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(PaddedCipherText(CipherText::from_cbor(value)?))
    }
}

/// `len` raised to a multiple of `block_size`, both in bytes.
pub(super) fn padded_len(len: usize, block_size: usize) -> usize {
    len.next_multiple_of(block_size.max(1))
}
