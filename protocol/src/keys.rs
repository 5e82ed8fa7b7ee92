//! Key envelopes, key hashes, signed values and cipher texts (`spec/01` §2.6, §3).

pub mod hash;

pub use hash::{KeyHash, Owner, Writer};
