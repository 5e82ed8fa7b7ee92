//! Content on its way into the tree: encrypted and cut into fragments, but not yet under any label.

use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::random::CryptoRng;

use crate::cryptree::chunk::CHUNK_SIZE;
use crate::cryptree::fragments::{FragmentBlock, NodeData, Plaintext};
use crate::cryptree::hash_tree::{HashTree, HashTreeBuilder};
use crate::cryptree::mime;
use crate::keys::SymmetricKey;
use crate::merkle::bat::BatId;

use super::content::ContentSource;
use super::error::ClientError;

/// A chunk's content, encrypted under the data key of its file.
#[derive(Clone)]
pub(crate) struct SealedChunk {
    pub data: NodeData,
    /// SHA-256 of the plain content: a leaf of the hash tree.
    pub hash: [u8; 32],
    /// Bytes of plain content.
    pub len: u64,
    /// Fragments that were not sent yet.
    pub fragments: Vec<FragmentBlock>,
}

/// Encrypts a chunk: hashes its content, then its fragments. Busy for some milliseconds.
pub(crate) fn seal(
    content: Plaintext,
    key: &SymmetricKey,
    mirror: Option<&BatId>,
    rng: &mut impl CryptoRng,
) -> SealedChunk {
    let hash = sha256(content.content());
    let len = content.content().len() as u64;
    let (data, fragments) = content.seal(key, mirror, rng);
    SealedChunk { data, hash, len, fragments }
}

/// The whole content of a file, encrypted.
#[derive(Clone)]
pub(crate) struct SealedContent {
    pub data_key: SymmetricKey,
    pub chunks: Vec<SealedChunk>,
}

impl SealedContent {
    pub(crate) fn size_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len).sum()
    }

    pub(crate) fn hash_tree(&self) -> Result<HashTree, ClientError> {
        hash_tree(self.chunks.iter().map(|chunk| chunk.hash))
    }
}

/// The tree over the hashes of all chunks of a file.
pub(crate) fn hash_tree(hashes: impl IntoIterator<Item = [u8; 32]>) -> Result<HashTree, ClientError> {
    let mut tree = HashTreeBuilder::default();
    hashes.into_iter().for_each(|hash| tree.push(hash));
    tree.finish().map_err(|_| ClientError::Limit("the file has more chunks than a hash tree holds"))
}

/// Reads one chunk from a source, straight into the buffer in which it will be encrypted. Shorter only at the end.
pub(crate) async fn read_chunk(source: &mut impl ContentSource) -> Result<Plaintext, ClientError> {
    let chunk_size = CHUNK_SIZE as usize;
    let expected = source.size().map_or(chunk_size, |size| size.min(CHUNK_SIZE) as usize);
    let mut chunk = Plaintext::chunk(expected);
    while chunk.content().len() < chunk_size {
        let more = source.next(chunk_size - chunk.content().len()).await?;
        if more.is_empty() {
            break;
        }
        chunk.extend(&more);
    }
    Ok(chunk)
}

/// The mime type of content that starts with these bytes.
pub(crate) fn mime_type(start: &[u8], name: &str) -> String {
    mime::detect(&start[..start.len().min(mime::HEADER_LEN)], name)
}
