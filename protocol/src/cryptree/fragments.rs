//! A node's data: encrypted, and cut into fragment blocks if it is large (`spec/03` §1.6).
//!
//! Writing is the hot path of an upload, and takes one buffer from plaintext to blocks:
//!
//! ```text
//! Plaintext           content is read straight into its buffer, room for tag and CBOR head before it
//!   .encrypt(key)     in place; gives the nonce and pieces of at most 1 MiB, slices of the same buffer
//! Piece.hash()        address of the fragment block; each piece may be hashed on a thread of its own
//! Encrypted.finish    the value for the node, and the fragment blocks to store
//! ```
//!
//! Nothing is copied in between. A fragment block stays in two parts, its short prefix and its piece, until somebody
//! needs it as one ([`FragmentBlock::to_block`]). All functions are synchronous, and all types are `Send`.
//! [`Plaintext::seal`] does everything on the calling thread.

use std::fmt;

use bytes::Bytes;
use pyrgos_crypto::hash::Sha256;
use pyrgos_crypto::random::{CryptoRng, random_bytes};
use pyrgos_crypto::secretbox::{self, Nonce, OVERHEAD};
use zeroize::Zeroizing;

use crate::encoding::{Cid, Codec, DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{CipherError, SymmetricKey};
use crate::merkle::bat::prefix;
use crate::merkle::bat::{Bat, BatId, BatWithId};

/// Bytes of ciphertext in every fragment but the last (1 MiB).
pub const FRAGMENT_SIZE: usize = 1024 * 1024;

/// Plaintexts are padded to multiples of this, so that fragments tell little about the length of the content.
const PADDING: usize = 4096;

/// What a plaintext larger than one padding block is longer: with the tag it makes the header of 22 bytes.
const EXTRA: usize = 6;

/// Largest padded plaintext that stays inside the node.
const MAX_INLINE: usize = PADDING + EXTRA;

/// Longest CBOR head of a byte string that fits into memory addressed by 32 bits.
const MAX_HEAD: usize = 5;

/// Room before the content: the tag and the longest head.
const ROOM: usize = OVERHEAD + MAX_HEAD;

/// Content that is to be encrypted, in the buffer in which that will happen. Wiped when dropped before.
pub struct Plaintext {
    /// [`ROOM`] bytes, then the content; the capacity leaves room for the padding.
    buffer: Zeroizing<Vec<u8>>,
    /// Whether the content is to become a CBOR byte string; otherwise it is CBOR already.
    is_chunk: bool,
}

impl Plaintext {
    /// An empty chunk of a file with room for `capacity` bytes of content. Growing beyond that moves the content.
    pub fn chunk(capacity: usize) -> Self {
        Plaintext { buffer: buffer_for(capacity), is_chunk: true }
    }

    /// A chunk of a file with a copy of the given content.
    pub fn chunk_of(content: &[u8]) -> Self {
        let mut plaintext = Plaintext::chunk(content.len());
        plaintext.extend(content);
        plaintext
    }

    /// A structure, such as a child list.
    pub fn structure(value: &impl ToCbor) -> Self {
        let value = value.to_cbor();
        let mut buffer = buffer_for(value.encoded_len());
        value.encode_into(&mut buffer);
        Plaintext { buffer, is_chunk: false }
    }

    /// The content.
    pub fn content(&self) -> &[u8] {
        &self.buffer[ROOM..]
    }

    /// The content, to be changed or read into.
    pub fn content_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[ROOM..]
    }

    /// Appends content.
    pub fn extend(&mut self, content: &[u8]) {
        self.reserve(content.len());
        self.buffer.extend_from_slice(content);
    }

    /// Cuts the content, or extends it with zeros, to `len` bytes.
    pub fn resize(&mut self, len: usize) {
        self.reserve(len.saturating_sub(self.content().len()));
        self.buffer.resize(ROOM + len, 0);
    }

    /// Makes room for more content. A vector that grows by itself would leave the old content in memory.
    fn reserve(&mut self, additional: usize) {
        if self.buffer.capacity() - self.buffer.len() < additional {
            let mut larger = buffer_for((self.content().len() + additional).next_power_of_two());
            larger.extend_from_slice(self.content());
            self.buffer = larger;
        }
    }

    /// Encrypts the content where it lies. The nonce and then a token for each fragment are drawn from `rng`.
    ///
    /// `mirror` is the account's mirror token id, which every fragment names beside its own.
    pub fn encrypt(
        mut self,
        key: &SymmetricKey,
        mirror: Option<&BatId>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Encrypted {
        let head = if self.is_chunk { self.write_head() } else { 0 };
        let start = MAX_HEAD - head;
        let padded = padded_len(head + self.content().len());
        self.reserve(padded - head - self.content().len());
        self.buffer.resize(start + OVERHEAD + padded, 0);

        let nonce = Nonce::generate(rng);
        secretbox::seal_in_place(&key.key, &nonce, &mut self.buffer[start..]);
        // From here on the buffer holds ciphertext, which needs no wiping.
        let sealed = Bytes::from(std::mem::take(&mut *self.buffer)).slice(start..);
        if padded <= MAX_INLINE {
            return Encrypted { nonce, header: sealed, pieces: Vec::new(), inline: true };
        }
        let header = sealed.len() % PADDING;
        let pieces = (header..sealed.len())
            .step_by(FRAGMENT_SIZE)
            .map(|start| {
                let bat = Bat::from_bytes(random_bytes(rng));
                let body = sealed.slice(start..sealed.len().min(start + FRAGMENT_SIZE));
                Piece { prefix: fragment_prefix(&bat, mirror), bat, body }
            })
            .collect();
        Encrypted { nonce, header: sealed.slice(..header), pieces, inline: false }
    }

    /// Encrypts, hashes and finishes on the calling thread.
    pub fn seal(
        self,
        key: &SymmetricKey,
        mirror: Option<&BatId>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> (NodeData, Vec<FragmentBlock>) {
        let mut encrypted = self.encrypt(key, mirror, rng);
        let fragments: Vec<_> = encrypted.take_pieces().into_iter().map(Piece::hash).collect();
        (encrypted.finish(&fragments), fragments)
    }

    /// Writes the head of the CBOR byte string right before the content and returns its length.
    fn write_head(&mut self) -> usize {
        let len = self.content().len();
        let (head, head_len): ([u8; MAX_HEAD], usize) = match len {
            0..=23 => ([0, 0, 0, 0, 0x40 | len as u8], 1),
            24..=0xff => ([0, 0, 0, 0x58, len as u8], 2),
            0x100..=0xffff => ([0, 0, 0x59, (len >> 8) as u8, len as u8], 3),
            _ => {
                let [a, b, c, d] = (len as u32).to_be_bytes();
                ([0x5a, a, b, c, d], 5)
            }
        };
        let start = ROOM - head_len;
        self.buffer[start..ROOM].copy_from_slice(&head[MAX_HEAD - head_len..]);
        head_len
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.content().len())
    }
}

/// A buffer with [`ROOM`] and a capacity for content, head and padding.
fn buffer_for(content: usize) -> Zeroizing<Vec<u8>> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(ROOM + padded_len(content + MAX_HEAD)));
    buffer.resize(ROOM, 0);
    buffer
}

/// Length of the padded plaintext of a secret of `len` bytes.
fn padded_len(len: usize) -> usize {
    match len {
        0..=PADDING => PADDING,
        _ => (len - EXTRA).next_multiple_of(PADDING) + EXTRA,
    }
}

/// The prefix of a fragment block: its own token, then the account's mirror token.
fn fragment_prefix(bat: &Bat, mirror: Option<&BatId>) -> Bytes {
    let ids: Vec<BatId> = std::iter::once(bat.inline_id()).chain(mirror.cloned()).collect();
    prefix::raw_prefix(&ids).into()
}

/// Encrypted data whose fragments have no addresses yet.
#[derive(Debug)]
pub struct Encrypted {
    nonce: Nonce,
    /// The whole ciphertext if `inline`, else what comes before the first piece.
    header: Bytes,
    pieces: Vec<Piece>,
    inline: bool,
}

impl Encrypted {
    /// The pieces that become fragment blocks, in order; none if the data stays inside the node. A second call gives
    /// none.
    pub fn take_pieces(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }

    /// The value for the node. `fragments` are those of the pieces, in their order.
    pub fn finish(self, fragments: &[FragmentBlock]) -> NodeData {
        let body = if self.inline {
            Body::Inline(self.header)
        } else {
            let fragment = |block: &FragmentBlock| Fragment {
                cid: block.cid.clone(),
                bat: Some(BatWithId::by_content(block.bat.clone())),
            };
            Body::Fragments { header: self.header, fragments: fragments.iter().map(fragment).collect() }
        };
        NodeData { nonce: self.nonce, body }
    }
}

/// A part of a ciphertext that will be a block.
#[derive(Debug)]
pub struct Piece {
    bat: Bat,
    prefix: Bytes,
    body: Bytes,
}

impl Piece {
    /// Computes the block's address: SHA-256 over up to 1 MiB.
    pub fn hash(self) -> FragmentBlock {
        let mut hash = Sha256::new();
        hash.update(&self.prefix);
        hash.update(&self.body);
        let cid = Cid::from_sha256(Codec::Raw, hash.finish());
        FragmentBlock { cid, bat: self.bat, prefix: self.prefix, body: self.body }
    }
}

/// A fragment block: at most 1 MiB of ciphertext after a prefix of at most 100 bytes that names its tokens.
#[derive(Clone, Debug)]
pub struct FragmentBlock {
    cid: Cid,
    bat: Bat,
    prefix: Bytes,
    body: Bytes,
}

impl FragmentBlock {
    /// The address: raw codec, SHA-256 of the whole block.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// The block's own token.
    pub fn bat(&self) -> &Bat {
        &self.bat
    }

    /// The block in two parts that follow each other, sharing the buffer of the whole chunk.
    pub fn parts(&self) -> [Bytes; 2] {
        [self.prefix.clone(), self.body.clone()]
    }

    /// The block in one part, copied.
    pub fn to_block(&self) -> Bytes {
        [&self.prefix[..], &self.body[..]].concat().into()
    }

    /// Length of the block in bytes.
    pub fn block_len(&self) -> usize {
        self.prefix.len() + self.body.len()
    }
}

/// A fragment as its node refers to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// The block's address.
    pub cid: Cid,
    /// What it takes to fetch it; absent on old data.
    pub bat: Option<BatWithId>,
}

/// The key `d` of a node (`FragmentedPaddedCipherText`, `spec/03` §1.6): for a file the content of a chunk under its
/// data key, for a directory the child list under its base key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeData {
    nonce: Nonce,
    body: Body,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Body {
    Inline(Bytes),
    Fragments { header: Bytes, fragments: Vec<Fragment> },
}

impl NodeData {
    /// The nonce.
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// The blocks that must be fetched to open the data, in order. None if all of it is in the node.
    pub fn fragments(&self) -> &[Fragment] {
        match &self.body {
            Body::Inline(_) => &[],
            Body::Fragments { fragments, .. } => fragments,
        }
    }

    /// Whether all of the data is in the node.
    pub fn is_inline(&self) -> bool {
        matches!(self.body, Body::Inline(_))
    }

    /// Decrypts to the CBOR item inside. `blocks` are the bytes of the [fragments](Self::fragments) in their order,
    /// already checked against their addresses. The plaintext is wiped with the last slice of it.
    ///
    /// # Errors
    /// If a block is malformed, the number of blocks is wrong, the key is, or the plaintext is no CBOR.
    pub fn open(&self, key: &SymmetricKey, blocks: &[Bytes]) -> Result<Value, DataError> {
        let mut sealed = Zeroizing::new(self.sealed(blocks)?);
        secretbox::open_in_place(&key.key, &self.nonce, &mut sealed).map_err(CipherError::from)?;
        let plaintext = Bytes::from_owner(sealed).slice(OVERHEAD..);
        Ok(Value::decode_first(&plaintext)?.0)
    }

    /// Decrypts to the content of a file's chunk, as it was written; see [`fit`](super::chunk::fit) for its length.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if the data is no byte string.
    pub fn open_chunk(&self, key: &SymmetricKey, blocks: &[Bytes]) -> Result<Bytes, DataError> {
        Ok(self.open(key, blocks)?.as_bytes()?.clone())
    }

    /// The whole ciphertext, tag first, copied once.
    pub fn sealed(&self, blocks: &[Bytes]) -> Result<Vec<u8>, DataError> {
        let (header, fragments) = match &self.body {
            Body::Inline(sealed) => (sealed, &[][..]),
            Body::Fragments { header, fragments } => (header, &fragments[..]),
        };
        if blocks.len() != fragments.len() {
            return Err(DataError::FragmentCount { expected: fragments.len(), found: blocks.len() });
        }
        let mut sealed = Vec::with_capacity(header.len() + blocks.iter().map(Bytes::len).sum::<usize>());
        sealed.extend_from_slice(header);
        for (fragment, block) in fragments.iter().zip(blocks) {
            sealed.extend_from_slice(&fragment_body(fragment.cid.codec(), block)?);
        }
        Ok(sealed)
    }
}

/// The ciphertext in a fragment block. Fragments of old data are CBOR byte strings.
fn fragment_body(codec: Codec, block: &Bytes) -> Result<Bytes, DecodeError> {
    match codec {
        Codec::DagCbor => Ok(Value::decode_shared(block)?.as_bytes()?.clone()),
        _ => prefix::strip_raw(block),
    }
}

/// Why a node's data does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Not the fragments that the node names.
    #[error("the data has {expected} fragments, and {found} were given")]
    FragmentCount {
        /// How many the node names.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// Wrong key or changed bytes.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// A fragment block or the decrypted content is malformed.
    #[error("malformed data: {0}")]
    Decode(#[from] DecodeError),
}

impl ToCbor for NodeData {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("n", Value::bytes(self.nonce.as_bytes()));
        match &self.body {
            Body::Inline(sealed) => map.insert("f", Value::List(vec![Value::Bytes(sealed.clone())])),
            Body::Fragments { header, fragments } => {
                map.insert("f", Value::List(fragments.iter().map(|f| Value::Link(f.cid.clone())).collect()));
                // Absent in old data, where also no fragment has a token.
                if !header.is_empty() {
                    map.insert("h", Value::Bytes(header.clone()));
                }
                let bats: Vec<Value> = fragments.iter().filter_map(|f| f.bat.as_ref()).map(ToCbor::to_cbor).collect();
                if !bats.is_empty() {
                    map.insert("bats", Value::List(bats));
                }
            }
        }
        Value::Map(map)
    }
}

impl FromCbor for NodeData {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("FragmentedPaddedCipherText", reason);
        let fields = value.fields("FragmentedPaddedCipherText")?;
        let nonce = Nonce::from_bytes(fields.required("n")?.as_array("FragmentedPaddedCipherText")?);
        let items = fields.required("f")?.as_list()?;
        let body = match items {
            [] => return Err(invalid("neither ciphertext nor fragments")),
            [Value::Bytes(sealed)] => Body::Inline(sealed.clone()),
            [Value::Link(cid)] if cid.identity_content().is_some() => {
                // An old form: the one link holds the ciphertext. It is written as a byte string.
                Body::Inline(Bytes::copy_from_slice(cid.identity_content().unwrap_or_default()))
            }
            links => {
                let header = fields.optional("h").map(|h| h.as_bytes().cloned()).transpose()?.unwrap_or_default();
                let mut bats =
                    fields.optional("bats").map(Value::as_list_of).transpose()?.unwrap_or_default().into_iter();
                let fragments = links
                    .iter()
                    .map(|link| match link {
                        Value::Link(cid) => Ok(Fragment { cid: cid.clone(), bat: bats.next() }),
                        _ => Err(invalid("bytes beside other items")),
                    })
                    .collect::<Result<_, _>>()?;
                Body::Fragments { header, fragments }
            }
        };
        Ok(NodeData { nonce, body })
    }
}
