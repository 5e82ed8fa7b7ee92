//! The portable backend, RustCrypto: the one on wasm32. Compiled natively too, so that tests and benchmarks can hold
//! it against libsodium.

use xsalsa20poly1305::aead::generic_array::GenericArray;
use xsalsa20poly1305::{AeadInPlace, Kdf, KeyInit, XSalsa20Poly1305};
use zeroize::Zeroizing;

use super::{Key, Nonce, OVERHEAD};
use crate::Error;

/// Encrypts `body` in place and writes its tag.
pub fn seal(key: &Key, nonce: &Nonce, tag: &mut [u8; OVERHEAD], body: &mut [u8]) {
    let computed = XSalsa20Poly1305::new(&key.0.into())
        .encrypt_in_place_detached(&nonce.0.into(), b"", body)
        .expect("fails only for associated data, and there is none");
    tag.copy_from_slice(&computed);
}

/// Checks the tag, then decrypts `body` in place.
///
/// # Errors
/// [`Error::Decrypt`] with a wrong key or nonce or changed bytes; `body` is then left as it was.
pub fn open(key: &Key, nonce: &Nonce, tag: &[u8; OVERHEAD], body: &mut [u8]) -> Result<(), Error> {
    XSalsa20Poly1305::new(&key.0.into())
        .decrypt_in_place_detached(&nonce.0.into(), b"", body, GenericArray::from_slice(tag))
        .map_err(|_| Error::Decrypt)
}

/// HSalsa20 of a shared secret and 16 zero bytes: how NaCl turns an X25519 result into a secretbox key. Used on every
/// platform, since it is one block of work.
pub(crate) fn hsalsa20(secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let key = Zeroizing::new(GenericArray::from(*secret));
    Zeroizing::new(XSalsa20Poly1305::kdf(&key, &GenericArray::default()).into())
}
