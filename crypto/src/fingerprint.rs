//! What two friends compare to be sure of each other's keys (`spec/01` §7).

use blake2::{Blake2b512, Digest};

const ROUNDS: usize = 5200;

/// One user's half of a fingerprint, 32 bytes: a slow hash of the username and of the two key hashes (identity and
/// boxing key) in their CBOR form, in either order.
///
/// This is the variant of the browser, the only client that shows fingerprints: each BLAKE2b-512 is preceded by one
/// block of zeros (`spec/01` §7).
pub fn half(username: &str, key_hash: &[u8], other_key_hash: &[u8]) -> [u8; 32] {
    let (first, second) =
        if comes_first(key_hash, other_key_hash) { (key_hash, other_key_hash) } else { (other_key_hash, key_hash) };
    let mut state = browser_blake2b(&[&[0, 0], username.as_bytes(), first, second]);
    for _ in 1..ROUNDS {
        state = browser_blake2b(&[&state]);
    }
    let mut half = [0; 32];
    half.copy_from_slice(&state[..32]);
    half
}

/// The browser's BLAKE2b-512: of 128 zero bytes followed by the data. Its library takes the wanted length for a key,
/// which prepends an empty key block (`spec/01` §7).
fn browser_blake2b(data: &[&[u8]]) -> [u8; 64] {
    let mut hash = Blake2b512::new();
    hash.update([0; 128]);
    for part in data {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Shorter first, then by the first differing byte as a signed value, so that 0xf0 comes before 0x01.
fn comes_first(a: &[u8], b: &[u8]) -> bool {
    let signed = |bytes: &[u8]| bytes.iter().map(|&byte| byte as i8).collect::<Vec<_>>();
    a.len().cmp(&b.len()).then_with(|| signed(a).cmp(&signed(b))).is_le()
}

/// The 60 digits that both friends see: the two halves as 30 digits each, the smaller first (`spec/01` §7).
pub fn digits(own_half: &[u8; 32], friend_half: &[u8; 32]) -> String {
    let (own, friend) = (half_digits(own_half), half_digits(friend_half));
    if own <= friend { own + &friend } else { friend + &own }
}

/// Six groups of five bytes, each a little-endian number modulo 100000.
fn half_digits(half: &[u8; 32]) -> String {
    half[..30]
        .chunks_exact(5)
        .map(|group| {
            let number = group.iter().rev().fold(0, |number: u64, &byte| number << 8 | u64::from(byte));
            format!("{:05}", number % 100_000)
        })
        .collect()
}
