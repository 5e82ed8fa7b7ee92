//! Building the nodes of a file (`spec/03` §3.3, §3.4, §3.8).

use pyrgos_crypto::random::CryptoRng;

use super::capability::{AbsoluteCapability, RelativeCapability};
use super::chunk::{ChunkLabel, StreamSecret};
use super::fragments::NodeData;
use super::node::{BaseBlock, CryptreeNode, NodeError, ParentBlock, node_bats};
use super::properties::{FileProperties, Kind};
use crate::keys::{Owner, SymmetricKey, SymmetricLinkToSigner, Writer};
use crate::merkle::bat::BatId;

/// The secrets of a new file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileKeys {
    /// Opens its nodes.
    pub base: SymmetricKey,
    /// Leads to a signer, if the file has its own.
    pub base_write: SymmetricKey,
    /// The key of its content.
    pub data: SymmetricKey,
    /// Gives the labels of its later chunks.
    pub stream_secret: StreamSecret,
    /// The label of its first chunk.
    pub first: ChunkLabel,
}

impl FileKeys {
    /// Fresh random secrets.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        FileKeys {
            base: SymmetricKey::generate(rng),
            base_write: SymmetricKey::generate(rng),
            data: SymmetricKey::generate(rng),
            stream_secret: StreamSecret::generate(rng),
            first: ChunkLabel::generate(rng),
        }
    }

    /// The writable capability of the file.
    pub fn capability(&self, owner: Owner, writer: Writer) -> AbsoluteCapability {
        AbsoluteCapability {
            owner,
            writer,
            map_key: self.first.map_key,
            bat: self.first.bat.clone(),
            base_key: self.base.clone(),
            base_write_key: Some(self.base_write.clone()),
        }
    }
}

/// One chunk of a file, ready to be built once its content is encrypted.
#[derive(Clone, Debug)]
pub struct FileChunk {
    /// The file's base key.
    pub base_key: SymmetricKey,
    /// The file's data key, under which the content is encrypted.
    pub data_key: SymmetricKey,
    /// Where the chunk lies.
    pub label: ChunkLabel,
    /// Where the next chunk lies or would lie.
    pub next: ChunkLabel,
    /// The signer of the file's own writing space; on the first chunk only.
    pub signer: Option<SymmetricLinkToSigner>,
    /// The way up and the properties, the same for all chunks but for the part of the hash tree.
    pub parent: ParentBlock,
    /// The account's mirror token.
    pub mirror: Option<BatId>,
}

impl FileChunk {
    /// A chunk of a file whose labels follow from its stream secret.
    pub fn new(
        base_key: SymmetricKey,
        data_key: SymmetricKey,
        label: ChunkLabel,
        secret: &StreamSecret,
        parent: ParentBlock,
        mirror: Option<BatId>,
    ) -> Self {
        let next = label.next(secret);
        FileChunk { base_key, data_key, label, next, signer: None, parent, mirror }
    }

    /// The node around encrypted content. Two nonces are drawn: base block, parent block.
    ///
    /// # Errors
    /// [`NodeError::EqualKeys`].
    pub fn build(self, data: NodeData, rng: &mut (impl CryptoRng + ?Sized)) -> Result<CryptreeNode, NodeError> {
        let base = BaseBlock {
            next: RelativeCapability::to_next_chunk(self.next, self.base_key.clone()),
            key: self.data_key,
            signer: self.signer,
        };
        let bats = node_bats(self.label.bat.as_ref(), self.mirror.as_ref());
        CryptreeNode::file(&self.base_key, &base, &self.parent, data, bats, rng)
    }
}

/// What a dirty file gets when it is cleaned (`spec/03` §3.8): a new data key without the mark, and a new stream secret,
/// so that neither the content nor the labels of later chunks follow from what former readers know. The first chunk
/// keeps its label, base key, signer and way up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CleanKeys {
    /// The new data key.
    pub data: SymmetricKey,
    /// The new stream secret.
    pub stream_secret: StreamSecret,
}

impl CleanKeys {
    /// Fresh random secrets.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        CleanKeys { data: SymmetricKey::generate(rng), stream_secret: StreamSecret::generate(rng) }
    }

    /// The properties of the cleaned file: those of the dirty one with the new stream secret.
    pub fn properties(&self, dirty: &FileProperties) -> FileProperties {
        FileProperties { kind: Kind::File(Some(self.stream_secret.clone())), ..dirty.clone() }
    }
}
