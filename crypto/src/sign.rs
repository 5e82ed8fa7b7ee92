//! Signatures: Ed25519 (`spec/01` §3.1, §3.2).

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::Error;
use crate::bytes::{exactly, write_hex};
use crate::random::{CryptoRng, random_bytes};

/// The size of a signature, in bytes.
pub const SIGNATURE_SIZE: usize = 64;

/// A secret signing key. Stored as 64 bytes, the seed followed by the public key. Wiped when dropped.
#[derive(Clone)]
pub struct SecretKey {
    bytes: Zeroizing<[u8; SecretKey::SIZE]>,
    // The same key in the form that signs, so that signing does not derive the public key each time.
    key: SigningKey,
}

impl SecretKey {
    /// The size of a stored key, in bytes.
    pub const SIZE: usize = 64;

    /// A key as it is stored: seed (32) followed by public key (32).
    ///
    /// # Errors
    /// [`Error::KeyHalves`] if they do not belong together. The reference would sign with the stored half; whoever
    /// could exchange it would learn the secret from two signatures (`spec/01` §3.2).
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Result<Self, Error> {
        Self::from_slice(&bytes)
    }

    /// A key as it is stored: seed (32) followed by public key (32).
    ///
    /// # Errors
    /// [`Error::Length`] unless there are 64, otherwise as [`from_bytes`](Self::from_bytes).
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let bytes = Zeroizing::new(exactly::<{ Self::SIZE }>("the secret signing key", bytes)?);
        let seed = Zeroizing::new(exactly::<32>("the seed", &bytes[..32])?);
        let key = Self::from_seed(&seed);
        if key.public().0 == bytes[32..] { Ok(key) } else { Err(Error::KeyHalves) }
    }

    /// The key that grows from 32 secret random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        Self { bytes: Zeroizing::new(key.to_keypair_bytes()), key }
    }

    /// A fresh random key.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::from_seed(&Zeroizing::new(random_bytes(rng)))
    }

    /// The key as it is stored: seed (32) followed by public key (32).
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.bytes
    }

    /// The public key that verifies what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().to_bytes())
    }

    /// The 64 byte signature of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_SIZE] {
        self.key.sign(message).to_bytes()
    }

    /// The signed message `signature (64) || message` (`spec/01` §3.2).
    pub fn sign_attached(&self, message: &[u8]) -> Vec<u8> {
        [&self.sign(message)[..], message].concat()
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&*other.bytes).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sign::SecretKey(.. of {:?})", self.public())
    }
}

/// A public signing key, 32 bytes. Any 32 bytes can be held, since the protocol has a null key of zeros; one that is
/// no point of the curve, or a point of small order, verifies nothing.
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
        exactly("the public signing key", bytes).map(Self)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }

    /// Verifies the 64 byte `signature` of `message`, strictly: S must be below the group order, and neither the key nor
    /// R of small order, so that a signature has one form and fits one message (`spec/01` §3.2, §12.4).
    ///
    /// # Errors
    /// [`Error::Length`] unless the signature has 64 bytes, [`Error::Signature`] unless it is a signature of this key
    /// over this message.
    pub fn verify(&self, signature: &[u8], message: &[u8]) -> Result<(), Error> {
        let signature = exactly::<SIGNATURE_SIZE>("the signature", signature)?;
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify_strict(message, &signature.into()))
            .map_err(|_| Error::Signature)
    }

    /// Verifies the signed message `signature (64) || message` and returns the message (`spec/01` §3.2).
    ///
    /// # Errors
    /// [`Error::TooShort`] with fewer than 64 bytes, otherwise as [`verify`](Self::verify).
    pub fn open<'a>(&self, signed: &'a [u8]) -> Result<&'a [u8], Error> {
        let (signature, message) = signed.split_at_checked(SIGNATURE_SIZE).ok_or(Error::TooShort {
            what: "the signed message",
            minimum: SIGNATURE_SIZE,
            actual: signed.len(),
        })?;
        self.verify(signature, message)?;
        Ok(message)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sign::PublicKey(")?;
        write_hex(f, &self.0)?;
        f.write_str(")")
    }
}
