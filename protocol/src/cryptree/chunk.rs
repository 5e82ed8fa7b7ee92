//! How a file is cut into chunks, and under which labels they lie (`spec/03` §3.1, §3.2).

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use pyrgos_crypto::hash::Sha256;
use pyrgos_crypto::random::{CryptoRng, random_bytes};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::merkle::bat::Bat;

/// Bytes of content in every chunk of a file but the last (5 MiB).
pub const CHUNK_SIZE: u64 = 5 * 1024 * 1024;

/// How many chunks a file of `size_bytes` has; an empty file has one.
pub fn chunk_count(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(CHUNK_SIZE).max(1)
}

/// The chunk that holds the byte at `offset`.
pub fn chunk_index(offset: u64) -> u64 {
    offset / CHUNK_SIZE
}

/// Which bytes of a file of `size_bytes` a chunk holds; empty beyond the end.
pub fn chunk_range(index: u64, size_bytes: u64) -> Range<u64> {
    let start = index.saturating_mul(CHUNK_SIZE).min(size_bytes);
    start..start.saturating_add(CHUNK_SIZE).min(size_bytes)
}

/// How many bytes of a file of `size_bytes` a chunk holds.
pub fn chunk_len(index: u64, size_bytes: u64) -> usize {
    let range = chunk_range(index, size_bytes);
    // At most 5 MiB.
    (range.end - range.start) as usize
}

/// The length rule: cuts or extends with zeros the content of a chunk to the length that the file's size implies. Other
/// writers leave chunks longer and shorter (`spec/03` §3.1). Copies only when it must extend.
pub fn fit(content: Bytes, len: usize) -> Bytes {
    if content.len() >= len {
        return content.slice(..len);
    }
    let mut extended = Zeroizing::new(Vec::with_capacity(len));
    extended.extend_from_slice(&content);
    extended.resize(len, 0);
    Bytes::from_owner(extended)
}

/// The key of a node in its writer's tree, 32 bytes. Servers see it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapKey([u8; MapKey::SIZE]);

impl MapKey {
    /// The size of a map key, in bytes.
    pub const SIZE: usize = 32;

    /// A map key of these bytes.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        MapKey(bytes)
    }

    /// A fresh random map key.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        MapKey(random_bytes(rng))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

impl fmt::Debug for MapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::encoding::text::hex(self.0))
    }
}

impl AsRef<[u8]> for MapKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl ToCbor for MapKey {
    fn to_cbor(&self) -> Value {
        Value::bytes(self.0)
    }
}

impl FromCbor for MapKey {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(MapKey(value.as_array("map key")?))
    }
}

/// The secret from which the labels of a file's later chunks follow, 32 bytes. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StreamSecret([u8; StreamSecret::SIZE]);

impl StreamSecret {
    /// The size of a stream secret, in bytes.
    pub const SIZE: usize = 32;

    /// A stream secret of these bytes.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        StreamSecret(bytes)
    }

    /// A fresh random stream secret.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        StreamSecret(random_bytes(rng))
    }

    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

impl PartialEq for StreamSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for StreamSecret {}

impl fmt::Debug for StreamSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamSecret(..)")
    }
}

impl ToCbor for StreamSecret {
    fn to_cbor(&self) -> Value {
        Value::secret_bytes(self.0)
    }
}

impl FromCbor for StreamSecret {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(StreamSecret(value.as_array("stream secret")?))
    }
}

/// Where a chunk lies and what it takes to fetch it: its map key and its token. Files of old clients have no token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkLabel {
    /// The key in the writer's tree.
    pub map_key: MapKey,
    /// The token of the node's block.
    pub bat: Option<Bat>,
}

impl ChunkLabel {
    /// A fresh random label: that of a first chunk, or of the next chunk of a directory.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let map_key = MapKey::generate(rng);
        ChunkLabel { map_key, bat: Some(Bat::from_bytes(random_bytes(rng))) }
    }

    /// The label of the chunk after this one: each part hashed with the stream secret.
    pub fn next(&self, secret: &StreamSecret) -> ChunkLabel {
        let mut hash = Sha256::new();
        hash.update(&secret.0);
        hash.update(&self.map_key.0);
        ChunkLabel { map_key: MapKey(hash.finish()), bat: self.bat.as_ref().map(|bat| bat.next(&secret.0)) }
    }

    /// The label of the chunk `steps` after this one: two hashes for each step, 400 for each GiB of the file.
    pub fn advance(&self, secret: &StreamSecret, steps: u64) -> ChunkLabel {
        (0..steps).fold(self.clone(), |label, _| label.next(secret))
    }
}

/// The labels of a file's chunks, from the first one on, without end.
#[derive(Clone, Debug)]
pub struct ChunkLabels {
    next: ChunkLabel,
    secret: StreamSecret,
}

impl ChunkLabels {
    /// The labels that follow from that of the first chunk.
    pub fn new(first: ChunkLabel, secret: StreamSecret) -> Self {
        ChunkLabels { next: first, secret }
    }
}

impl Iterator for ChunkLabels {
    type Item = ChunkLabel;

    fn next(&mut self) -> Option<ChunkLabel> {
        let after = self.next.next(&self.secret);
        Some(std::mem::replace(&mut self.next, after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_a_file_without_gap_or_overlap() {
        for size in [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 7 * CHUNK_SIZE, u64::MAX] {
            let count = chunk_count(size);
            assert_eq!(chunk_range(0, size).start, 0);
            assert_eq!(chunk_range(count - 1, size).end, size);
            for index in [0, count / 2, count.saturating_sub(2)] {
                assert_eq!(chunk_range(index, size).end, chunk_range(index + 1, size).start);
            }
            assert_eq!(chunk_len(count, size), 0);
        }
        assert_eq!(
            (chunk_count(0), chunk_count(1), chunk_count(CHUNK_SIZE), chunk_count(CHUNK_SIZE + 1)),
            (1, 1, 1, 2)
        );
        assert_eq!((chunk_index(CHUNK_SIZE - 1), chunk_index(CHUNK_SIZE)), (0, 1));
    }

    #[test]
    fn content_is_cut_and_extended() {
        let content = Bytes::from_static(b"content");
        assert_eq!(fit(content.clone(), 3), &b"con"[..]);
        assert_eq!(fit(content.clone(), 9), &b"content\0\0"[..]);
        assert_eq!(fit(content.clone(), 7), content);
    }
}
