//! The native backend, libsodium.
//!
//! Beside `locked`, this is the only unsafe code of the crate. Its argument: libsodium's detached secretbox reads and writes exactly
//! `mlen` bytes at `c` and `m`, 16 at `mac`, 24 at `n` and 32 at `k`, and keeps none of the pointers. Each of them comes
//! from a reference to an array of that size or to a slice of that length, alive during the call. Input and output may
//! be the same buffer by libsodium's documentation. A slice is at most `isize::MAX` long, below libsodium's own limit.

use std::sync::Once;

use libsodium_sys as ffi;

use super::{Key, Nonce, OVERHEAD};
use crate::Error;

/// Lets libsodium choose its code for this processor, once. Where it fails (it found no randomness, which nothing here
/// asks it for), secretbox still works with portable code, so the result does not matter.
pub(crate) fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        // SAFETY: takes no arguments and may be called from any thread; `Once` keeps it to one call.
        unsafe { ffi::sodium_init() };
    });
}

pub(super) fn seal(key: &Key, nonce: &Nonce, tag: &mut [u8; OVERHEAD], body: &mut [u8]) {
    init();
    // SAFETY: see the head of the module.
    let result = unsafe {
        ffi::crypto_secretbox_detached(
            body.as_mut_ptr(),
            tag.as_mut_ptr(),
            body.as_ptr(),
            body.len() as u64,
            nonce.0.as_ptr(),
            key.0.as_ptr(),
        )
    };
    // Documented to be 0 always; anything else would mean that plaintext is left in the buffer.
    assert_eq!(result, 0, "libsodium failed to encrypt");
}

pub(super) fn open(key: &Key, nonce: &Nonce, tag: &[u8; OVERHEAD], body: &mut [u8]) -> Result<(), Error> {
    init();
    // SAFETY: see the head of the module.
    let result = unsafe {
        ffi::crypto_secretbox_open_detached(
            body.as_mut_ptr(),
            body.as_ptr(),
            tag.as_ptr(),
            body.len() as u64,
            nonce.0.as_ptr(),
            key.0.as_ptr(),
        )
    };
    if result == 0 { Ok(()) } else { Err(Error::Decrypt) }
}
