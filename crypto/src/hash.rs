//! Hash functions and what is derived from them (`spec/01` §3.9, §3.13).

use blake2::Blake2b512;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest;
use zeroize::Zeroizing;

/// SHA-256 of `data`, 32 bytes: the address of every block (`spec/01` §3.13).
pub fn sha256(data: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(data).into()
}

/// SHA-256 of data that comes in pieces.
///
/// ```
/// use pyrgos_crypto::hash::{Sha256, sha256};
/// let mut hash = Sha256::new();
/// hash.update(b"one ");
/// hash.update(b"block");
/// assert_eq!(hash.finish(), sha256(b"one block"));
/// ```
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// A hash of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `data` to what is hashed.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The hash of everything appended, 32 bytes.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// HMAC-SHA256 of `message` under a `key` of any length, 32 bytes (`spec/01` §3.13).
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC is defined for keys of every length.
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("HMAC takes any key length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// The 32 byte key that the protocol derives from secret input: RFC 5869 HKDF-SHA256 with a salt of 32 zero bytes and
/// the info `peergos` (`spec/01` §3.9).
pub fn hkdf(secret: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<sha2::Sha256>::new(Some(&[0; 32]), secret)
        .expand(b"peergos", key.as_mut())
        .expect("one block is below HKDF's limit of 255");
    key
}

/// Unkeyed BLAKE2b-512 of `data`, 64 bytes (`spec/01` §7).
pub fn blake2b_512(data: &[u8]) -> [u8; 64] {
    Blake2b512::digest(data).into()
}
