//! Public-key encryption that needs both X25519 and ML-KEM-1024 to be broken (`spec/01` §3.5).
//!
//! The message is four parts, framed as CBOR `{c, i, m, n}` by `pyrgos-protocol`. Its sender is authenticated by the
//! X25519 box alone; the sender's own ML-KEM key takes no part.

use zeroize::Zeroizing;

use crate::random::{CryptoRng, random_bytes};
use crate::secretbox::{Key, Nonce};
use crate::{Error, boxes, hash, kem, secretbox};

/// A hybrid public key: one of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    /// The X25519 half.
    pub curve: boxes::PublicKey,
    /// The ML-KEM-1024 half.
    pub kem: kem::PublicKey,
}

/// A hybrid secret key: one of each kind, independent of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKey {
    /// The X25519 half.
    pub curve: boxes::SecretKey,
    /// The ML-KEM-1024 half.
    pub kem: kem::SecretKey,
}

impl SecretKey {
    /// A fresh random key.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self { curve: boxes::SecretKey::generate(rng), kem: kem::SecretKey::generate(rng) }
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey { curve: self.curve.public(), kem: self.kem.public() }
    }
}

/// A sealed message, part by part, named as the keys of its CBOR map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The X25519 message of the first shared secret, 72 bytes.
    pub c: Vec<u8>,
    /// The secretbox of the plaintext, 16 bytes longer than it.
    pub i: Vec<u8>,
    /// The ML-KEM ciphertext of the second shared secret, 1568 bytes.
    pub m: Vec<u8>,
    /// The nonce of `i`.
    pub n: Nonce,
}

impl Parts {
    /// The parts as [`open`] takes them.
    pub fn borrow(&self) -> PartsRef<'_> {
        PartsRef { c: &self.c, i: &self.i, m: &self.m, n: self.n.as_bytes() }
    }
}

/// A message to open: [`Parts`] as they came, of any size.
#[derive(Debug, Clone, Copy)]
pub struct PartsRef<'a> {
    /// The X25519 message of the first shared secret.
    pub c: &'a [u8],
    /// The secretbox of the plaintext.
    pub i: &'a [u8],
    /// The ML-KEM ciphertext of the second shared secret.
    pub m: &'a [u8],
    /// The nonce of `i`.
    pub n: &'a [u8],
}

/// Everything random in a message, drawn by [`seal`] and fixed by vectors. Whoever knows it can read the message.
pub struct Randomness {
    /// The first shared secret.
    pub curve_secret: Zeroizing<[u8; 32]>,
    /// The randomness of the encapsulation that gives the second.
    pub encapsulation: Zeroizing<[u8; 32]>,
    /// The nonce inside `c`.
    pub box_nonce: Nonce,
    /// The nonce `n`.
    pub nonce: Nonce,
}

impl Randomness {
    /// Fresh randomness for one message.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self {
            curve_secret: Zeroizing::new(random_bytes(rng)),
            encapsulation: Zeroizing::new(random_bytes(rng)),
            box_nonce: Nonce::generate(rng),
            nonce: Nonce::generate(rng),
        }
    }
}

/// Encrypts `plain` from `sender` to `recipient`.
///
/// # Errors
/// [`Error::LowOrder`] if the X25519 half of the recipient's key is of low order.
pub fn seal(
    plain: &[u8],
    recipient: &PublicKey,
    sender: &boxes::SecretKey,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<Parts, Error> {
    seal_deterministic(plain, recipient, sender, &Randomness::generate(rng))
}

/// [`seal`] with its randomness given, to repeat a vector. Never use the same randomness twice.
///
/// # Errors
/// As [`seal`].
pub fn seal_deterministic(
    plain: &[u8],
    recipient: &PublicKey,
    sender: &boxes::SecretKey,
    randomness: &Randomness,
) -> Result<Parts, Error> {
    let first = &randomness.curve_secret;
    let (m, second) = recipient.kem.encapsulate_deterministic(&randomness.encapsulation);
    Ok(Parts {
        c: boxes::seal(&first[..], &randomness.box_nonce, &recipient.curve, sender)?,
        i: secretbox::seal(&combined_key(&first[..], &second), &randomness.nonce, plain),
        m: m.to_vec(),
        n: randomness.nonce,
    })
}

/// Decrypts a message from `sender` to `recipient`.
///
/// # Errors
/// [`Error::Length`] or [`Error::TooShort`] for a part of a wrong size, [`Error::LowOrder`] if the sender's key is of
/// low order, [`Error::Decrypt`] for other keys or changed bytes.
pub fn open(parts: PartsRef<'_>, sender: &boxes::PublicKey, recipient: &SecretKey) -> Result<Vec<u8>, Error> {
    const BOX_SIZE: usize = boxes::OVERHEAD + 32;
    if parts.c.len() != BOX_SIZE {
        return Err(Error::Length {
            what: "the X25519 part of the hybrid message",
            expected: BOX_SIZE,
            actual: parts.c.len(),
        });
    }
    let nonce = Nonce::from_slice(parts.n)?;
    let first = Zeroizing::new(boxes::open(parts.c, sender, &recipient.curve)?);
    let second = recipient.kem.decapsulate(parts.m)?;
    secretbox::open(&combined_key(&first, &second), &nonce, parts.i)
}

/// The secretbox key of both shared secrets (`spec/01` §3.5 step 3).
fn combined_key(first: &[u8], second: &kem::SharedSecret) -> Key {
    let both = Zeroizing::new([first, &second[..]].concat());
    Key::from_bytes(*hash::hkdf(&both))
}
