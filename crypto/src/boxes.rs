//! Public-key encryption: X25519, HSalsa20 and XSalsa20-Poly1305, NaCl's `crypto_box` (`spec/01` §3.4).
//!
//! A message does not say who sent it; whoever opens it knows the sender's public key from around it.

use std::fmt;

use subtle::ConstantTimeEq;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Error;
use crate::bytes::{exactly, write_hex};
use crate::random::{CryptoRng, random_bytes};
use crate::secretbox::{self, Key, Nonce};

/// How many bytes a message is longer than its plaintext: the tag (16) and the nonce (24).
pub const OVERHEAD: usize = secretbox::OVERHEAD + Nonce::SIZE;

/// A secret boxing key, 32 bytes, stored as drawn (unclamped). Compared in constant time, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; SecretKey::SIZE]);

impl SecretKey {
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
        exactly("the secret boxing key", bytes).map(Self)
    }

    /// A fresh random key.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(random_bytes(rng))
    }

    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }

    /// The public key: X25519 of this key and the base point.
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&StaticSecret::from(self.0)).to_bytes())
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("boxes::SecretKey(..)")
    }
}

/// A public boxing key, 32 bytes. Any 32 bytes can be held; with a point of low order nothing can be sealed or opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; PublicKey::SIZE]);

impl PublicKey {
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
        exactly("the public boxing key", bytes).map(Self)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("boxes::PublicKey(")?;
        write_hex(f, &self.0)?;
        f.write_str(")")
    }
}

/// Encrypts `plain` from `sender` to `recipient`: tag (16), ciphertext, nonce (24) last (`spec/01` §3.4).
///
/// # Errors
/// [`Error::LowOrder`] if the recipient's key is of low order: everyone could read the message.
pub fn seal(plain: &[u8], nonce: &Nonce, recipient: &PublicKey, sender: &SecretKey) -> Result<Vec<u8>, Error> {
    let key = shared_key(recipient, sender)?;
    let mut message = Vec::with_capacity(plain.len() + OVERHEAD);
    message.extend_from_slice(&[0; secretbox::OVERHEAD]);
    message.extend_from_slice(plain);
    secretbox::seal_in_place(&key, nonce, &mut message);
    message.extend_from_slice(nonce.as_bytes());
    Ok(message)
}

/// Decrypts a message from `sender` to `recipient`. The construction is symmetric: the sender opens his own message
/// with the recipient's public key in the sender's place.
///
/// # Errors
/// [`Error::TooShort`] below 40 bytes, [`Error::LowOrder`] if the sender's key is of low order (anyone could have
/// written the message), [`Error::Decrypt`] for other keys or changed bytes.
pub fn open(message: &[u8], sender: &PublicKey, recipient: &SecretKey) -> Result<Vec<u8>, Error> {
    let (sealed, nonce) = message
        .split_last_chunk()
        .filter(|(sealed, _)| sealed.len() >= secretbox::OVERHEAD)
        .ok_or(Error::TooShort { what: "the boxed message", minimum: OVERHEAD, actual: message.len() })?;
    secretbox::open(&shared_key(sender, recipient)?, &Nonce(*nonce), sealed)
}

fn shared_key(public: &PublicKey, secret: &SecretKey) -> Result<Key, Error> {
    let shared = StaticSecret::from(secret.0).diffie_hellman(&public.0.into());
    if !shared.was_contributory() {
        return Err(Error::LowOrder);
    }
    Ok(Key::from_bytes(*secretbox::rustcrypto::hsalsa20(shared.as_bytes())))
}
