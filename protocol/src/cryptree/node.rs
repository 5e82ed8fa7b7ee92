//! The block of one chunk of a file or directory (`spec/03` §1).
//!
//! A node has three encrypted parts. The *base block* opens with the base key and leads to the next key (a directory's
//! parent key, a file's data key) and the next chunk. The *parent block* holds the properties and the way up. The
//! *data* are a file's content or a directory's children.

use bytes::Bytes;
use pyrgos_crypto::random::CryptoRng;

use super::capability::{AbsoluteCapability, RelativeCapability};
use super::fragments::NodeData;
use super::properties::FileProperties;
use crate::encoding::{Cid, DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{
    CipherError, PaddedCipherText, SigningPrivateKeyAndPublicHash, SymmetricKey, SymmetricLinkToSigner, Writer,
};
use crate::merkle::bat::{Bat, BatId};

/// The one version that exists.
const VERSION: i64 = 1;

/// The base block is padded to a multiple of this many bytes.
pub const BASE_PADDING: usize = 64;

/// The parent block is padded to a multiple of this many bytes.
pub const PARENT_PADDING: usize = 16;

/// Why a node does not open or must not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The key opens neither part of the node: it is the key of another node, or the node was changed.
    #[error("the key does not open the node")]
    WrongKey,
    /// A part opens, but another inside it does not, or holds something else than it should.
    #[error("malformed node: {0}")]
    Malformed(#[from] CipherError),
    /// Base key and next key are the same, which would let everybody who may see the name read the content.
    #[error("the base key of a node must differ from its parent key or data key")]
    EqualKeys,
    /// The node names another signer than the capability.
    #[error("the node is signed by {found}, the capability names {expected}")]
    Signer {
        /// The writer that the capability names.
        expected: Writer,
        /// The writer whose secret key was found.
        found: Writer,
    },
    /// Neither the node nor the way to it gave a signing key.
    #[error("no write access to the node")]
    NotWritable,
}

/// The inside of the key `b`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseBlock {
    /// A directory's parent key or a file's data key. The mark of the data key tells whether the file is dirty
    /// (`spec/03` §3.8).
    pub key: SymmetricKey,
    /// Where the next chunk is or would be. For files with a stream secret not to be relied on.
    pub next: RelativeCapability,
    /// The signer of the writing space, under the base write key; on the first chunk of a space's root.
    pub signer: Option<SymmetricLinkToSigner>,
}

impl ToCbor for BaseBlock {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("k", self.key.to_cbor());
        map.insert("n", self.next.to_cbor());
        if let Some(signer) = &self.signer {
            map.insert("w", signer.to_cbor());
        }
        Value::Map(map)
    }
}

impl FromCbor for BaseBlock {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("base block")?;
        Ok(BaseBlock { key: fields.get("k")?, next: fields.get("n")?, signer: fields.get_optional("w")? })
    }
}

/// The inside of the key `p`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParentBlock {
    /// The way up: first chunk and parent key of the parent. Absent on a user's root, and on later chunks.
    pub parent: Option<RelativeCapability>,
    /// The properties.
    pub properties: FileProperties,
}

impl ToCbor for ParentBlock {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("s", self.properties.to_cbor());
        if let Some(parent) = &self.parent {
            map.insert("p", parent.to_cbor());
        }
        Value::Map(map)
    }
}

impl FromCbor for ParentBlock {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("parent block")?;
        Ok(ParentBlock { parent: fields.get_optional("p")?, properties: fields.get("s")? })
    }
}

/// A node as its block holds it, encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CryptreeNode {
    bats: Vec<BatId>,
    base: PaddedCipherText,
    parent: PaddedCipherText,
    data: NodeData,
}

impl CryptreeNode {
    /// Reads a block, sharing its buffer.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but a node of version 1.
    pub fn from_block(block: &Bytes) -> Result<Self, DecodeError> {
        CryptreeNode::from_cbor(&Value::decode_shared(block)?)
    }

    /// The tokens that guard the block.
    pub fn bats(&self) -> &[BatId] {
        &self.bats
    }

    /// The account's mirror token, if the block names one beside its own.
    pub fn mirror_bat(&self) -> Option<&BatId> {
        self.bats.last().filter(|_| self.bats.len() >= 2)
    }

    /// The encrypted base block.
    pub fn base(&self) -> &PaddedCipherText {
        &self.base
    }

    /// The encrypted parent block.
    pub fn parent(&self) -> &PaddedCipherText {
        &self.parent
    }

    /// The encrypted content or child list.
    pub fn data(&self) -> &NodeData {
        &self.data
    }

    /// The block's bytes and their address.
    pub fn to_block(&self) -> (Cid, Bytes) {
        let block = Bytes::from(self.to_bytes());
        (Cid::of_cbor(&block), block)
    }

    /// Opens the node with a base key, or a directory with its parent key. What the node is follows from what the key
    /// opens (`spec/03` §1.5).
    ///
    /// # Errors
    /// [`NodeError::WrongKey`] if the key opens nothing, [`NodeError::Malformed`] if only some of it.
    pub fn open(&self, key: &SymmetricKey) -> Result<OpenNode, NodeError> {
        match self.parent.decrypt::<ParentBlock>(key) {
            Ok(parent) if parent.properties.is_directory() || parent.properties.is_link => {
                Ok(OpenNode::ByParentKey { parent })
            }
            Ok(parent) => Ok(OpenNode::File { base: self.base.decrypt(key)?, parent }),
            Err(CipherError::Crypto(_)) => {
                let base = self.base.decrypt::<BaseBlock>(key).map_err(|error| match error {
                    CipherError::Crypto(_) => NodeError::WrongKey,
                    other => NodeError::Malformed(other),
                })?;
                let parent = self.parent.decrypt(&base.key)?;
                Ok(OpenNode::Directory { base, parent })
            }
            Err(other) => Err(other.into()),
        }
    }

    /// A chunk of a file.
    ///
    /// `base.key` is the data key, under which `data` is encrypted. `bat` is the token of this block; without one the
    /// block is public, and does not name the mirror token either. Two nonces are drawn: base block, parent block.
    ///
    /// # Errors
    /// [`NodeError::EqualKeys`].
    pub fn file(
        base_key: &SymmetricKey,
        base: &BaseBlock,
        parent: &ParentBlock,
        data: NodeData,
        bats: Vec<BatId>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, NodeError> {
        CryptreeNode::new(base_key, base_key, base, parent, data, bats, rng)
    }

    /// A chunk of a directory, or a link node.
    ///
    /// `base.key` is the parent key. Otherwise as [`file`](Self::file).
    ///
    /// # Errors
    /// [`NodeError::EqualKeys`].
    pub fn directory(
        base_key: &SymmetricKey,
        base: &BaseBlock,
        parent: &ParentBlock,
        data: NodeData,
        bats: Vec<BatId>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, NodeError> {
        CryptreeNode::new(base_key, &base.key, base, parent, data, bats, rng)
    }

    fn new(
        base_key: &SymmetricKey,
        parent_block_key: &SymmetricKey,
        base: &BaseBlock,
        parent: &ParentBlock,
        data: NodeData,
        bats: Vec<BatId>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, NodeError> {
        // The mark is part of key equality, but a key with another mark gives away as much.
        if base_key.key == base.key.key {
            return Err(NodeError::EqualKeys);
        }
        Ok(CryptreeNode {
            bats,
            base: PaddedCipherText::encrypt(base, base_key, BASE_PADDING, rng),
            parent: PaddedCipherText::encrypt(parent, parent_block_key, PARENT_PADDING, rng),
            data,
        })
    }

    /// The same node with another parent block; everything else stays byte for byte (`spec/03` §3.5). The key is that of
    /// [`OpenNode::parent_block_key`].
    pub fn with_parent(
        &self,
        parent_block_key: &SymmetricKey,
        parent: &ParentBlock,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Self {
        let parent = PaddedCipherText::encrypt(parent, parent_block_key, PARENT_PADDING, rng);
        CryptreeNode { parent, ..self.clone() }
    }

    /// The same node with other data; everything else stays byte for byte (`spec/03` §4.4).
    pub fn with_data(&self, data: NodeData) -> Self {
        CryptreeNode { data, ..self.clone() }
    }
}

impl ToCbor for CryptreeNode {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("b", self.base.to_cbor());
        map.insert("d", self.data.to_cbor());
        map.insert("p", self.parent.to_cbor());
        map.insert("v", Value::Int(VERSION));
        if !self.bats.is_empty() {
            map.insert("bats", Value::list(&self.bats));
        }
        Value::Map(map)
    }
}

impl FromCbor for CryptreeNode {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("CryptreeNode")?;
        match fields.int("v")? {
            VERSION => {}
            other => return Err(DecodeError::invalid("CryptreeNode", format!("unknown version {other}"))),
        }
        Ok(CryptreeNode {
            bats: fields.optional("bats").map(Value::as_list_of).transpose()?.unwrap_or_default(),
            base: fields.get("b")?,
            parent: fields.get("p")?,
            data: fields.get("d")?,
        })
    }
}

/// The tokens that a node's block names: its own, as an inline id, then the account's mirror token. A block without own
/// token is public and names none.
pub fn node_bats(bat: Option<&Bat>, mirror: Option<&BatId>) -> Vec<BatId> {
    match bat {
        Some(bat) => std::iter::once(bat.inline_id()).chain(mirror.cloned()).collect(),
        None => Vec::new(),
    }
}

/// An opened node; its data are still encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenNode {
    /// A chunk of a file, opened with its base key.
    File {
        /// Data key and next chunk.
        base: BaseBlock,
        /// Properties and the way up.
        parent: ParentBlock,
    },
    /// A chunk of a directory or a link node, opened with its base key.
    Directory {
        /// Parent key and next chunk.
        base: BaseBlock,
        /// Properties and the way up.
        parent: ParentBlock,
    },
    /// A directory or link node opened with its parent key, which shows its name and the way up but no children.
    ByParentKey {
        /// Properties and the way up.
        parent: ParentBlock,
    },
}

impl OpenNode {
    /// The parent block.
    pub fn parent_block(&self) -> &ParentBlock {
        match self {
            OpenNode::File { parent, .. } | OpenNode::Directory { parent, .. } | OpenNode::ByParentKey { parent } => {
                parent
            }
        }
    }

    /// The properties.
    pub fn properties(&self) -> &FileProperties {
        &self.parent_block().properties
    }

    /// The base block, unless the node was opened with its parent key.
    pub fn base_block(&self) -> Option<&BaseBlock> {
        match self {
            OpenNode::File { base, .. } | OpenNode::Directory { base, .. } => Some(base),
            OpenNode::ByParentKey { .. } => None,
        }
    }

    /// The key of the parent block, given the key that opened the node: the same for a file and for a parent key, the
    /// parent key for a directory.
    pub fn parent_block_key<'a>(&'a self, opened_with: &'a SymmetricKey) -> &'a SymmetricKey {
        match self {
            OpenNode::Directory { base, .. } => &base.key,
            OpenNode::File { .. } | OpenNode::ByParentKey { .. } => opened_with,
        }
    }

    /// The key of the data, given the base key: the data key of a file, the base key of a directory. None if the node was
    /// opened with its parent key.
    pub fn data_key<'a>(&'a self, base_key: &'a SymmetricKey) -> Option<&'a SymmetricKey> {
        match self {
            OpenNode::File { base, .. } => Some(&base.key),
            OpenNode::Directory { .. } => Some(base_key),
            OpenNode::ByParentKey { .. } => None,
        }
    }

    /// Whether the content of a file is under a key that somebody who lost access may know. It must be encrypted anew
    /// before the next change (`spec/03` §3.8).
    pub fn is_dirty(&self) -> bool {
        matches!(self, OpenNode::File { base, .. } if base.key.dirty)
    }

    /// Who signs changes of the node (`spec/03` §1.9): the signer that the node holds, else the one of the directory
    /// through which it was reached.
    ///
    /// # Errors
    /// [`NodeError::NotWritable`] if the capability only reads or neither signer is there, [`NodeError::Signer`] if it is
    /// not that of the capability's writing space.
    pub fn signer(
        &self,
        cap: &AbsoluteCapability,
        entry: Option<&SigningPrivateKeyAndPublicHash>,
    ) -> Result<SigningPrivateKeyAndPublicHash, NodeError> {
        let write_key = cap.base_write_key.as_ref().ok_or(NodeError::NotWritable)?;
        let signer = match self.base_block().and_then(|base| base.signer.as_ref()) {
            Some(link) => link.target(write_key)?,
            None => entry.cloned().ok_or(NodeError::NotWritable)?,
        };
        if signer.writer() != cap.writer {
            return Err(NodeError::Signer { expected: cap.writer.clone(), found: signer.writer() });
        }
        Ok(signer)
    }
}
