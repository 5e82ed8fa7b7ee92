//! The post-quantum key encapsulation: ML-KEM-1024, FIPS 203 (`spec/01` §3.1, §3.5).

use std::fmt;
use std::hash::{Hash, Hasher};

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::ml_kem_1024::{DecapsulationKey, EncapsulationKey};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::bytes::write_hex;
use crate::random::{CryptoRng, random_bytes};
use crate::{Error, hash};

/// The size of an encapsulated secret, in bytes.
pub const CIPHERTEXT_SIZE: usize = 1568;

/// A shared secret, 32 bytes.
pub type SharedSecret = Zeroizing<[u8; 32]>;

/// A public (encapsulation) key, 1568 bytes.
#[derive(Clone)]
pub struct PublicKey {
    bytes: Box<[u8; PublicKey::SIZE]>,
    key: EncapsulationKey,
}

impl PublicKey {
    /// The size of a key, in bytes.
    pub const SIZE: usize = 1568;

    /// A key of these bytes.
    ///
    /// # Errors
    /// [`Error::Length`] unless there are 1568, [`Error::KemKey`] if a coefficient is not reduced.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let array = bytes.try_into().map_err(|_| Error::Length {
            what: "the ML-KEM public key",
            expected: Self::SIZE,
            actual: bytes.len(),
        })?;
        let key = EncapsulationKey::new(array).map_err(|_| Error::KemKey)?;
        Ok(Self::new(key))
    }

    fn new(key: EncapsulationKey) -> Self {
        Self { bytes: Box::new(key.to_bytes().into()), key }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.bytes
    }

    /// Draws a secret that only the holder of the secret key can recover: the ciphertext to send, and the secret.
    pub fn encapsulate(&self, rng: &mut (impl CryptoRng + ?Sized)) -> ([u8; CIPHERTEXT_SIZE], SharedSecret) {
        self.encapsulate_deterministic(&Zeroizing::new(random_bytes(rng)))
    }

    /// [`encapsulate`](Self::encapsulate) with the 32 random bytes given (FIPS 203's `m`), to repeat a vector. Whoever
    /// knows them knows the secret.
    pub fn encapsulate_deterministic(&self, randomness: &[u8; 32]) -> ([u8; CIPHERTEXT_SIZE], SharedSecret) {
        let (ciphertext, secret) = self.key.encapsulate_deterministic(&(*randomness).into());
        (ciphertext.into(), Zeroizing::new(secret.into()))
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kem::PublicKey(sha256 ")?;
        write_hex(f, &hash::sha256(&*self.bytes))?;
        f.write_str(")")
    }
}

/// A secret (decapsulation) key in its expanded form, 3168 bytes: `dkPKE (1536) || ek (1568) || SHA3-256(ek) (32) ||
/// z (32)`. The 64 byte seed form is never stored (`spec/01` §3.5). Wiped when dropped.
#[derive(Clone)]
pub struct SecretKey {
    bytes: Box<Zeroizing<[u8; SecretKey::SIZE]>>,
    key: DecapsulationKey,
}

impl SecretKey {
    /// The size of a key, in bytes.
    pub const SIZE: usize = 3168;

    /// A key of these bytes.
    ///
    /// # Errors
    /// [`Error::Length`] unless there are 3168, [`Error::KemKey`] if the public key inside is malformed or does not have
    /// the hash that stands beside it.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let array = bytes.try_into().map_err(|_| Error::Length {
            what: "the ML-KEM secret key",
            expected: Self::SIZE,
            actual: bytes.len(),
        })?;
        #[expect(deprecated, reason = "the protocol stores the expanded form only")]
        let key = DecapsulationKey::from_expanded(array).map_err(|_| Error::KemKey)?;
        let mut copy = Box::new(Zeroizing::new([0; Self::SIZE]));
        copy.copy_from_slice(bytes);
        Ok(Self { bytes: copy, key })
    }

    /// The key that grows from FIPS 203's two seeds, 32 secret random bytes each.
    pub fn from_seeds(d: &[u8; 32], z: &[u8; 32]) -> Self {
        let mut seed = Zeroizing::new(ml_kem::Seed::default());
        seed[..32].copy_from_slice(d);
        seed[32..].copy_from_slice(z);
        let key = DecapsulationKey::from_seed(*seed);
        #[expect(deprecated, reason = "the protocol stores the expanded form only")]
        let expanded = Zeroizing::new(ml_kem::ExpandedKeyEncoding::to_expanded_bytes(&key));
        let mut bytes = Box::new(Zeroizing::new([0; Self::SIZE]));
        bytes.copy_from_slice(&expanded);
        Self { bytes, key }
    }

    /// A fresh random key.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::from_seeds(&Zeroizing::new(random_bytes(rng)), &Zeroizing::new(random_bytes(rng)))
    }

    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.bytes
    }

    /// The public key, which is a part of this one.
    pub fn public(&self) -> PublicKey {
        PublicKey::new(self.key.encapsulation_key().clone())
    }

    /// Recovers the secret of a ciphertext. A changed ciphertext gives another secret, not an error: FIPS 203 rejects
    /// implicitly, and the failure shows where the secret is used.
    ///
    /// # Errors
    /// [`Error::Length`] unless the ciphertext has 1568 bytes.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<SharedSecret, Error> {
        let ciphertext = ciphertext.try_into().map_err(|_| Error::Length {
            what: "the ML-KEM ciphertext",
            expected: CIPHERTEXT_SIZE,
            actual: ciphertext.len(),
        })?;
        Ok(Zeroizing::new(self.key.decapsulate(ciphertext).into()))
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&**other.bytes).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kem::SecretKey(..)")
    }
}
