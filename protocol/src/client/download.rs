//! Reading files: labels are computed, not searched; fragments come several at once, are verified by hash, and are
//! decrypted on other threads; content is delivered in order.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};

use super::content::{ContentSink, ContentSource};
use super::core::Core;
use super::error::ClientError;
use super::item::{Item, data_error, node_error};
use super::progress::Progress;
use super::runtime::Runtime;
use super::tree;
use super::view::View;
use crate::api::Transport;
use crate::api::transport::MaybeSend;
use crate::cryptree::chunk::{CHUNK_SIZE, ChunkLabel, ChunkLabels, MapKey, chunk_count, chunk_index, chunk_len, fit};
use crate::cryptree::fragments::NodeData;
use crate::cryptree::node::CryptreeNode;
use crate::encoding::Cid;
use crate::keys::SymmetricKey;
use crate::merkle::bat::caps::MAX_CAPS;

/// A file as one view of the tree shows it. Later changes of the file do not reach it.
pub(crate) struct OpenFile<'c, T, R> {
    core: &'c Core<T, R>,
    item: Item,
    /// The tree that was published; none for a file in a space that comes into being with the view's changes.
    root: Option<Cid>,
    /// What the view has changed of it, and the node has not seen.
    unpublished: Unpublished,
    /// Labels of all chunks of a file without a stream secret.
    walked: Option<Vec<ChunkLabel>>,
}

impl<'c, T: Transport, R: Runtime> OpenFile<'c, T, R> {
    pub(crate) async fn new(view: &mut View<'c, T, R>, item: Item) -> Result<Self, ClientError> {
        view.note_owner(&item.cap);
        let version = view.version(&item.cap.writer).await?;
        let root = version.data.as_ref().and_then(|data| data.tree.clone());
        let walked = match item.properties().stream_secret() {
            Some(_) => None,
            None => Some(view.walk(&item).await?),
        };
        let unpublished = view.unpublished(&item).await?;
        Ok(OpenFile { core: view.core, item, root, unpublished, walked })
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.item.properties().size_bytes
    }

    pub(crate) fn item(&self) -> &Item {
        &self.item
    }

    /// The labels of some chunks.
    fn labels(&self, chunks: Range<u64>) -> Vec<ChunkLabel> {
        let count = (chunks.end - chunks.start) as usize;
        match (&self.walked, self.item.properties().stream_secret()) {
            (None, Some(secret)) => {
                let first = self.item.cap.label().advance(secret, chunks.start);
                ChunkLabels::new(first, secret.clone()).take(count).collect()
            }
            (walked, _) => {
                let walked = walked.as_deref().unwrap_or_default();
                walked.iter().skip(chunks.start as usize).take(count).cloned().collect()
            }
        }
    }

    /// The blocks of some chunks' nodes, looked up together.
    async fn nodes(&self, chunks: Range<u64>) -> Result<Vec<(u64, Bytes)>, ClientError> {
        let labels = self.labels(chunks.clone());
        if labels.len() as u64 != chunks.end - chunks.start {
            return Err(ClientError::Inconsistent("a file lacks a chunk"));
        }
        let missing = || ClientError::Inconsistent("a file lacks a chunk");
        let unpublished = &self.unpublished.nodes;
        let wanted: Vec<ChunkLabel> =
            labels.iter().filter(|label| !unpublished.contains_key(&label.map_key)).cloned().collect();
        let published = match &self.root {
            _ if wanted.is_empty() => Vec::new(),
            Some(root) => tree::lookup(&self.core.network, &self.item.cap.owner, root, &wanted).await?,
            None => return Err(missing()),
        };
        let mut published = published.into_iter();
        let node = |label: &ChunkLabel| match unpublished.get(&label.map_key) {
            Some(block) => Some(block.clone()),
            None => published.next().flatten().map(|(_, block)| block),
        };
        let nodes: Option<Vec<Bytes>> = labels.iter().map(node).collect();
        Ok(chunks.zip(nodes.ok_or_else(missing)?).collect())
    }

    /// Content of the chunk that a node holds, cut or extended to the length that the file's size implies.
    async fn content(&self, index: u64, block: Bytes) -> Result<Bytes, ClientError> {
        let owner = &self.item.cap.owner;
        let network = &self.core.network;
        let node = CryptreeNode::from_block(&block).map_err(ClientError::damaged("a chunk of a file"))?;
        let fragments = node.data().fragments().to_vec();
        let fetch = |fragment: crate::cryptree::fragments::Fragment| async move {
            match self.unpublished.fragments.get(&fragment.cid) {
                Some(block) => Ok(block.clone()),
                None => network.block(owner, &fragment.cid, fragment.bat.as_ref()).await,
            }
        };
        let blocks: Vec<Bytes> = stream::iter(fragments.into_iter().map(fetch))
            .buffered(network.settings.calls_in_flight)
            .try_collect()
            .await?;
        let base_key = self.item.cap.base_key.clone();
        let len = chunk_len(index, self.size_bytes());
        let work = move || open_chunk(&node, &base_key, &blocks, len);
        network.runtime.compute(work).await
    }

    /// The content of one chunk.
    pub(crate) async fn chunk(&self, index: u64) -> Result<Bytes, ClientError> {
        let (_, block) =
            self.nodes(index..index + 1).await?.pop().ok_or(ClientError::Inconsistent("a file lacks a chunk"))?;
        self.content(index, block).await
    }

    /// The content of one chunk, and how it is stored.
    pub(crate) async fn chunk_with_data(&self, index: u64) -> Result<(NodeData, Bytes), ClientError> {
        let (_, block) =
            self.nodes(index..index + 1).await?.pop().ok_or(ClientError::Inconsistent("a file lacks a chunk"))?;
        let node = CryptreeNode::from_block(&block).map_err(ClientError::damaged("a chunk of a file"))?;
        Ok((node.data().clone(), self.content(index, block).await?))
    }

    /// The contents of some chunks in order, several being fetched at once.
    fn chunks(&self, chunks: Range<u64>) -> impl Stream<Item = Result<(u64, Bytes), ClientError>> + MaybeSend + '_ {
        let step = MAX_CAPS as u64;
        let end = chunks.end;
        let groups = (chunks.start..end).step_by(MAX_CAPS).map(move |start| start..end.min(start + step));
        stream::iter(groups)
            .then(move |group| self.nodes(group))
            .map_ok(|nodes| stream::iter(nodes.into_iter().map(Ok)))
            .try_flatten()
            .map_ok(move |(index, block)| async move { Ok((index, self.content(index, block).await?)) })
            .try_buffered(self.core.network.settings.chunks_in_flight.max(1))
    }

    /// Delivers a range of the content in order. Only the chunks that it touches are fetched.
    pub(crate) async fn read(
        &self,
        range: Range<u64>,
        sink: &mut impl ContentSink,
        progress: &(impl Progress + ?Sized),
    ) -> Result<(), ClientError> {
        let size = self.size_bytes();
        if range.start > range.end || range.end > size {
            return Err(ClientError::Range { size });
        }
        if range.is_empty() {
            return Ok(());
        }
        let chunks = self.chunks(chunk_index(range.start)..chunk_index(range.end - 1) + 1);
        futures_util::pin_mut!(chunks);
        while let Some((index, content)) = chunks.try_next().await? {
            let start = index * CHUNK_SIZE;
            let from = range.start.saturating_sub(start) as usize;
            let to = ((range.end - start) as usize).min(content.len());
            let part = content.slice(from..to);
            let len = part.len() as u64;
            sink.write(part).await?;
            progress.advance(len);
        }
        Ok(())
    }
}

/// Decrypts a chunk. Its data key is the one that its own node names.
fn open_chunk(
    node: &CryptreeNode,
    base_key: &SymmetricKey,
    blocks: &[Bytes],
    len: usize,
) -> Result<Bytes, ClientError> {
    let open = node.open(base_key).map_err(node_error)?;
    let key = match open.properties().is_directory() {
        false => open.data_key(base_key),
        true => None,
    };
    let key = key.ok_or(ClientError::Inconsistent("a chunk of a file that is a directory"))?;
    let content = node.data().open_chunk(key, blocks).map_err(data_error("the content of a file"))?;
    Ok(fit(content, len))
}

/// Blocks of a file that are in a view and not at the node.
#[derive(Default)]
struct Unpublished {
    nodes: HashMap<MapKey, Bytes>,
    fragments: HashMap<Cid, Bytes>,
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// What this view has changed of a file.
    async fn unpublished(&mut self, file: &Item) -> Result<Unpublished, ClientError> {
        let first = &file.cap.map_key;
        if !self.spaces.get(&file.cap.writer).is_some_and(|space| space.changes.contains_key(first)) {
            return Ok(Unpublished::default());
        }
        let labels = self.file_labels(file).await?;
        let Some(space) = self.spaces.get(&file.cap.writer) else { return Ok(Unpublished::default()) };
        let node = |label: ChunkLabel| {
            let (_, block) = space.changes.get(&label.map_key)?.as_ref()?;
            Some((label.map_key, block.clone()))
        };
        let nodes: HashMap<MapKey, Bytes> = labels.into_iter().filter_map(node).collect();
        let mut named = HashSet::new();
        for block in nodes.values() {
            let node = CryptreeNode::from_block(block).map_err(ClientError::damaged("a chunk of a file"))?;
            named.extend(node.data().fragments().iter().map(|fragment| fragment.cid.clone()));
        }
        let fragments = space.fragments.iter().filter(|fragment| named.contains(fragment.cid()));
        let fragments = fragments.map(|fragment| (fragment.cid().clone(), fragment.to_block())).collect();
        Ok(Unpublished { nodes, fragments })
    }

    /// The labels of all chunks of a file without a stream secret, found by walking from one to the next.
    async fn walk(&mut self, file: &Item) -> Result<Vec<ChunkLabel>, ClientError> {
        let count = chunk_count(file.properties().size_bytes);
        let mut labels = vec![file.cap.label()];
        let mut next = file.next_label()?;
        while (labels.len() as u64) < count && !labels.iter().any(|label| label.map_key == next.map_key) {
            let reached = super::item::Reached { cap: file.cap.with_label(next.clone()), signer: file.signer.clone() };
            let Some(chunk) = self.open(&[reached]).await?.pop().flatten() else { break };
            labels.push(next);
            next = chunk.next_label()?;
        }
        Ok(labels)
    }

    /// The labels of all chunks of a file, whether or not the tree holds all of them.
    pub(crate) async fn file_labels(&mut self, file: &Item) -> Result<Vec<ChunkLabel>, ClientError> {
        let count = chunk_count(file.properties().size_bytes);
        match file.properties().stream_secret() {
            Some(secret) => {
                let count = usize::try_from(count).map_err(|_| ClientError::Limit("the file is too large"))?;
                Ok(ChunkLabels::new(file.cap.label(), secret.clone()).take(count).collect())
            }
            None => self.walk(file).await,
        }
    }
}

/// A file of the account as the source of another one.
impl<T: Transport, R: Runtime> ContentSource for FileSource<'_, '_, T, R> {
    fn size(&self) -> Option<u64> {
        Some(self.file.size_bytes())
    }

    async fn next(&mut self, max: usize) -> std::io::Result<Bytes> {
        if self.rest.is_empty() {
            if self.next >= chunk_count(self.file.size_bytes()) {
                return Ok(Bytes::new());
            }
            self.rest = match self.file.chunk(self.next).await {
                Ok(content) => content.slice(std::mem::take(&mut self.skip).min(content.len())..),
                Err(error) => {
                    self.failure = Some(error);
                    return Err(std::io::Error::other("the source on the server failed"));
                }
            };
            self.next += 1;
        }
        Ok(self.rest.split_to(max.min(self.rest.len())))
    }
}

/// Reads a file of the account chunk by chunk.
pub(crate) struct FileSource<'f, 'c, T, R> {
    file: &'f OpenFile<'c, T, R>,
    /// The chunk to fetch next.
    next: u64,
    /// Bytes of it that are not wanted.
    skip: usize,
    rest: Bytes,
    /// What failed, when [`ContentSource::next`] did.
    pub failure: Option<ClientError>,
}

impl<'f, 'c, T, R> FileSource<'f, 'c, T, R> {
    pub(crate) fn new(file: &'f OpenFile<'c, T, R>) -> Self {
        FileSource { file, next: 0, skip: 0, rest: Bytes::new(), failure: None }
    }
}

impl<T: Transport, R: Runtime> FileSource<'_, '_, T, R> {
    /// Where the next bytes come from.
    fn position(&self) -> u64 {
        (self.next * CHUNK_SIZE).min(self.file.size_bytes()) - self.rest.len() as u64
    }

    /// Goes on at an offset.
    pub(crate) fn seek(&mut self, offset: u64) {
        let here = self.position();
        if offset == here {
            return;
        }
        if offset > here && offset - here <= self.rest.len() as u64 {
            let skipped = (offset - here) as usize;
            drop(self.rest.split_to(skipped));
            return;
        }
        self.rest = Bytes::new();
        self.next = chunk_index(offset);
        self.skip = (offset % CHUNK_SIZE) as usize;
    }
}
