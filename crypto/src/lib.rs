//! The cryptographic primitives of the Peergos protocol, over bytes.
//!
//! This crate knows sizes, layouts and checks of the primitives in `spec/01` §3.1 and nothing about CBOR, blocks or
//! accounts; those are `pyrgos-protocol`'s. It does no I/O, reads no clock and asks no operating system for
//! randomness: whoever generates a key or a nonce passes a [`random::CryptoRng`].
//!
//! | module | holds |
//! |---|---|
//! | [`hash`] | SHA-256, HMAC-SHA256, HKDF, BLAKE2b-512 |
//! | [`secretbox`] | symmetric encryption: XSalsa20-Poly1305, tag first |
//! | [`sign`] | Ed25519 |
//! | [`boxes`] | public-key encryption: X25519 + XSalsa20-Poly1305, nonce last |
//! | [`kem`] | ML-KEM-1024 |
//! | [`hybrid`] | public-key encryption with both of the above |
//! | [`password`] | password derivation: scrypt |
//! | [`pow`] | proofs of work |
//! | [`totp`] | time-based one-time codes |
//! | [`fingerprint`] | what two friends compare |
//! | `locked` | memory for secrets that are held for long (native only) |
//! | [`random`] | the source of randomness that generators take |
//!
//! Secret types are wiped when dropped and print `..` instead of their content.
#![deny(unsafe_code)]

pub mod boxes;
mod bytes;
mod error;
pub mod fingerprint;
pub mod hash;
pub mod hybrid;
pub mod kem;
#[cfg(not(target_arch = "wasm32"))]
pub mod locked;
pub mod password;
pub mod pow;
pub mod random;
pub mod secretbox;
pub mod sign;
pub mod totp;

pub use error::Error;
pub use zeroize::Zeroizing;
