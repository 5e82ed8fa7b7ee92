//! The encrypted file system against `vectors/03-*.json`.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod directory_of_600;
mod large_files;
mod laws;
mod negative;
mod nodes;
mod primitives;
mod state;
mod writing_spaces;

use pyrgos_crypto::hash::{Sha256, sha256};

/// The content of test files: the first `len` bytes of H(seed ‖ 0) ‖ H(seed ‖ 1) ‖ … with 64 bit big endian counters.
fn content(seed: &str, len: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(len + 32);
    for counter in 0u64.. {
        if content.len() >= len {
            break;
        }
        let mut hash = Sha256::new();
        hash.update(seed.as_bytes());
        hash.update(&counter.to_be_bytes());
        content.extend_from_slice(&hash.finish());
    }
    content.truncate(len);
    content
}

/// Parses the text `content("seed",len)` with which the vectors tell a content.
fn described_content(text: &str) -> Vec<u8> {
    let inner = text.strip_prefix("content(\"").and_then(|t| t.strip_suffix(')')).expect("a content description");
    let (seed, len) = inner.split_once("\",").expect("seed and length");
    content(seed, len.trim().parse().expect("a length"))
}

#[test]
fn content_formula() {
    assert_eq!(content("x", 40)[..32], sha256(b"x\0\0\0\0\0\0\0\0"));
    assert_eq!(described_content("content(\"ht\", 0)"), b"");
}
