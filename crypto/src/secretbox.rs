//! Symmetric encryption: XSalsa20-Poly1305, NaCl's `crypto_secretbox` (`spec/01` §3.1).
//!
//! A sealed message is the 16 byte tag followed by the ciphertext, which is as long as the plaintext. There is no
//! associated data, and each message has a fresh random nonce, kept beside it.
//!
//! Natively the work is done by libsodium, which has vector code for it; on wasm32 by RustCrypto. Both give the same
//! bytes.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Error;
use crate::bytes::exactly;
use crate::random::{CryptoRng, random_bytes};

#[doc(hidden)]
pub mod rustcrypto;
#[cfg(not(target_arch = "wasm32"))]
#[allow(unsafe_code, reason = "the one module that calls C; its argument is in its head")]
mod sodium;

#[cfg(target_arch = "wasm32")]
use rustcrypto as backend;
#[cfg(not(target_arch = "wasm32"))]
use sodium as backend;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use sodium::init as init_sodium;

/// How many bytes a sealed message is longer than its plaintext: the tag.
pub const OVERHEAD: usize = 16;

/// A symmetric key, 32 bytes. Compared in constant time, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; Key::SIZE]);

impl Key {
    /// The size of a key, in bytes.
    pub const SIZE: usize = 32;

    /// A key of these bytes.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// A key of these bytes.
    ///
    /// # Errors
    /// [`Error::Length`] unless there are 32.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        exactly("the symmetric key", bytes).map(Self)
    }

    /// A fresh random key.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(random_bytes(rng))
    }

    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("secretbox::Key(..)")
    }
}

/// A nonce, 24 bytes. Public, drawn at random for each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; Nonce::SIZE]);

impl Nonce {
    /// The size of a nonce, in bytes.
    pub const SIZE: usize = 24;

    /// A nonce of these bytes.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// A nonce of these bytes.
    ///
    /// # Errors
    /// [`Error::Length`] unless there are 24.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        exactly("the nonce", bytes).map(Self)
    }

    /// A fresh random nonce.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(random_bytes(rng))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

/// Encrypts `plain`: tag (16 bytes) followed by as many bytes of ciphertext (`spec/01` §3.1).
pub fn seal(key: &Key, nonce: &Nonce, plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
    sealed.extend_from_slice(&[0; OVERHEAD]);
    sealed.extend_from_slice(plain);
    seal_in_place(key, nonce, &mut sealed);
    sealed
}

/// Decrypts what [`seal`] made.
///
/// # Errors
/// [`Error::TooShort`] without a whole tag, [`Error::Decrypt`] with a wrong key or nonce or changed bytes.
pub fn open(key: &Key, nonce: &Nonce, sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let (tag, body) = split_tag(sealed)?;
    let mut plain = body.to_vec();
    backend::open(key, nonce, tag, &mut plain)?;
    Ok(plain)
}

/// Encrypts without a second buffer: the first 16 bytes of `buffer` receive the tag, the rest is plaintext before and
/// ciphertext after.
///
/// # Panics
/// If `buffer` is shorter than [`OVERHEAD`]: a mistake of the caller, since the room for the tag is his to leave.
pub fn seal_in_place(key: &Key, nonce: &Nonce, buffer: &mut [u8]) {
    let (tag, body) = buffer.split_first_chunk_mut().expect("the caller leaves 16 bytes for the tag");
    backend::seal(key, nonce, tag, body);
}

/// Decrypts without a second buffer and returns the plaintext, which is `buffer` after its first 16 bytes. On failure
/// the buffer is left as it was.
///
/// # Errors
/// As [`open`].
pub fn open_in_place<'a>(key: &Key, nonce: &Nonce, buffer: &'a mut [u8]) -> Result<&'a mut [u8], Error> {
    split_tag(buffer)?;
    let (tag, body) = buffer.split_at_mut(OVERHEAD);
    backend::open(key, nonce, &exactly("the tag", tag)?, body)?;
    Ok(body)
}

fn split_tag(sealed: &[u8]) -> Result<(&[u8; OVERHEAD], &[u8]), Error> {
    sealed.split_first_chunk().ok_or(Error::TooShort {
        what: "the sealed message",
        minimum: OVERHEAD,
        actual: sealed.len(),
    })
}
