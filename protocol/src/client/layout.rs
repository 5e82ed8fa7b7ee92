//! A file as it lies in the tree: which node belongs under which label.

use pyrgos_crypto::random::CryptoRng;

use super::error::ClientError;
use super::item::node_error;
use super::seal::SealedChunk;
use crate::cryptree::capability::RelativeCapability;
use crate::cryptree::chunk::{ChunkLabels, MapKey};
use crate::cryptree::file::{FileChunk, FileKeys};
use crate::cryptree::hash_tree::{HASHES_PER_LIST, HashTree};
use crate::cryptree::node::{CryptreeNode, ParentBlock};
use crate::cryptree::properties::FileProperties;
use crate::keys::SymmetricLinkToSigner;
use crate::merkle::bat::BatId;

/// Keys and properties of a file, from which its nodes are built.
#[derive(Clone)]
pub(crate) struct FileLayout {
    pub keys: FileKeys,
    /// Those of the whole file; `tree_hash` is set by [`FileLayout::nodes`].
    pub properties: FileProperties,
    pub parent: Option<RelativeCapability>,
    pub mirror: Option<BatId>,
    /// The signer of the file's own writing space, for its first chunk.
    pub signer: Option<SymmetricLinkToSigner>,
}

impl FileLayout {
    /// The nodes of the chunks from `first` on. With the hash tree, the chunks 0, 1024, 2048, … carry their branch of it
    /// (`spec/03` §3.4).
    pub(crate) fn nodes<'a>(
        &self,
        first: u64,
        chunks: impl IntoIterator<Item = &'a SealedChunk>,
        tree: Option<&HashTree>,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<(MapKey, CryptreeNode)>, ClientError> {
        let keys = &self.keys;
        let start = keys.first.advance(&keys.stream_secret, first);
        let labels = ChunkLabels::new(start, keys.stream_secret.clone());
        let mut nodes = Vec::new();
        for ((index, label), sealed) in (first..).zip(labels).zip(chunks) {
            let branch = tree.filter(|_| index % HASHES_PER_LIST as u64 == 0).map(|tree| tree.branch(index));
            let properties = FileProperties { tree_hash: branch, ..self.properties.clone() };
            let map_key = label.map_key;
            let chunk = FileChunk {
                signer: self.signer.clone().filter(|_| index == 0),
                ..FileChunk::new(
                    keys.base.clone(),
                    keys.data.clone(),
                    label,
                    &keys.stream_secret,
                    ParentBlock { parent: self.parent.clone(), properties },
                    self.mirror.clone(),
                )
            };
            nodes.push((map_key, chunk.build(sealed.data.clone(), rng).map_err(node_error)?));
        }
        Ok(nodes)
    }
}
