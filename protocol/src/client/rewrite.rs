//! Changing parts of a file: overwriting a range, appending, truncating (`spec/03` §3.6–3.8).
//!
//! Only the chunks that a change touches are encrypted anew, and they appear with one commit. A file whose data key is
//! dirty, or that has no stream secret, is written anew as a whole, which gives it both.

use bytes::Bytes;
use futures_util::stream::{self, Stream, TryStreamExt};

use super::commit::Transaction;
use super::content::ContentSource;
use super::core::{Core, on_current_state};
use super::download::{FileSource, OpenFile};
use super::edit::{FileMeta, IfExists, Place};
use super::error::ClientError;
use super::item::Item;
use super::layout::FileLayout;
use super::path::RemotePath;
use super::progress::Progress;
use super::runtime::Runtime;
use super::seal::{SealedChunk, mime_type, read_chunk, seal};
use super::upload::{Sealing, place_of, seal_file, split};
use super::view::View;
use crate::api::Transport;
use crate::api::transport::MaybeSend;
use crate::cryptree::chunk::{CHUNK_SIZE, ChunkLabel, chunk_count, chunk_index, chunk_len};
use crate::cryptree::file::FileKeys;
use crate::cryptree::fragments::{NodeData, Plaintext};
use crate::cryptree::hash_tree::HASHES_PER_LIST;
use crate::cryptree::node::{CryptreeNode, ParentBlock};
use crate::cryptree::properties::FileProperties;
use crate::keys::SymmetricKey;

/// Where in a file a source's bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offset {
    At(u64),
    End,
}

/// A chunk that was encrypted anew.
struct NewChunk {
    index: u64,
    /// The content that the new one was made from; none if the chunk was absent.
    before: Option<NodeData>,
    sealed: SealedChunk,
}

/// A change of a file, ready to be applied to the state that it was made from.
struct Rewrite {
    chunks: Vec<NewChunk>,
    before: FileProperties,
    data_key: SymmetricKey,
    size_after: u64,
}

/// The file that a path leads to.
async fn open<'c, T: Transport, R: Runtime>(
    view: &mut View<'c, T, R>,
    path: &RemotePath,
) -> Result<OpenFile<'c, T, R>, ClientError> {
    let (_, item) = place_of(view, path).await?;
    let item = item.ok_or_else(|| ClientError::NotFound { path: path.clone() })?;
    if item.is_directory() {
        return Err(ClientError::IsADirectory { path: path.clone() });
    }
    OpenFile::new(view, item).await
}

/// Overwrites a part of a file with everything that a source has, or appends it.
pub(crate) async fn overwrite<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    path: &RemotePath,
    offset: Offset,
    source: &mut impl ContentSource,
    progress: &(impl Progress + ?Sized),
) -> Result<(), ClientError> {
    let transaction = Transaction::default();
    let result = overwrite_within(core, &transaction, path, offset, source, progress).await;
    transaction.close(&core.network).await;
    result
}

async fn overwrite_within<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    path: &RemotePath,
    offset: Offset,
    source: &mut impl ContentSource,
    progress: &(impl Progress + ?Sized),
) -> Result<(), ClientError> {
    let file = on_current_state!(core, |view| open(view, path).await)?;
    let size = file.size_bytes();
    let offset = match offset {
        Offset::At(offset) if offset > size => return Err(ClientError::Range { size }),
        Offset::At(offset) => offset,
        Offset::End => size,
    };
    if !is_patchable(&file) {
        let source = Spliced { before: FileSource::new(&file), patch: Some((offset, source)), position: 0, end: size };
        return write_anew(core, transaction, path, &file, source, progress).await;
    }
    let rewrite = patch(core, transaction, path, &file, offset, source, progress).await?;
    if rewrite.chunks.is_empty() {
        return Ok(());
    }
    publish(core, transaction, path, &rewrite).await
}

/// Cuts a file to a size that is below its own.
pub(crate) async fn truncate<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    path: &RemotePath,
    size_after: u64,
) -> Result<(), ClientError> {
    let transaction = Transaction::default();
    let result = truncate_within(core, &transaction, path, size_after).await;
    transaction.close(&core.network).await;
    result
}

async fn truncate_within<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    path: &RemotePath,
    size_after: u64,
) -> Result<(), ClientError> {
    let file = on_current_state!(core, |view| open(view, path).await)?;
    if size_after >= file.size_bytes() {
        return Ok(());
    }
    if !is_patchable(&file) {
        let source: Spliced<'_, '_, '_, T, R, Bytes> =
            Spliced { before: FileSource::new(&file), patch: None, position: 0, end: size_after };
        return write_anew(core, transaction, path, &file, source, &()).await;
    }
    // The bytes after the new end must not stay behind in the last chunk, so it is encrypted anew (`spec/03` §14.5).
    let last = chunk_count(size_after) - 1;
    let kept = chunk_len(last, size_after);
    let mut chunks = Vec::new();
    if kept != CHUNK_SIZE as usize {
        let (before, content) = file.chunk_with_data(last).await?;
        let content = Plaintext::chunk_of(&content[..kept]);
        let sealed = seal_chunk(core, transaction, path, &file, content).await?;
        chunks.push(NewChunk { index: last, before: Some(before), sealed });
    }
    let before = file.item().properties().clone();
    let rewrite = Rewrite { chunks, before, data_key: data_key(&file)?, size_after };
    publish(core, transaction, path, &rewrite).await
}

/// Whether single chunks may be replaced.
fn is_patchable<T: Transport, R: Runtime>(file: &OpenFile<'_, T, R>) -> bool {
    !file.item().open.is_dirty() && file.item().properties().stream_secret().is_some()
}

fn data_key<T: Transport, R: Runtime>(file: &OpenFile<'_, T, R>) -> Result<SymmetricKey, ClientError> {
    Ok(file.item().base()?.key.clone())
}

/// Encrypts a chunk under the key that the file has.
async fn seal_chunk<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    path: &RemotePath,
    file: &OpenFile<'_, T, R>,
    content: Plaintext,
) -> Result<SealedChunk, ClientError> {
    let signer = file.item().signer.clone().ok_or_else(|| ClientError::ReadOnly { path: path.clone() })?;
    let mirror = file.item().mirror(core.mirror_of(&file.item().cap.owner));
    let (key, mut rng) = (data_key(file)?, core.network.runtime.rng());
    let mut sealed = core.network.runtime.compute(move || seal(content, &key, mirror.as_ref(), &mut rng)).await;
    let fragments = std::mem::take(&mut sealed.fragments);
    transaction.put_fragments(&core.network, &file.item().cap.owner, &signer, fragments).await?;
    Ok(sealed)
}

/// A source's bytes, cut where chunks begin.
struct Pieces<'s, S> {
    source: &'s mut S,
    position: u64,
}

impl<S: ContentSource> Pieces<'_, S> {
    /// The next bytes, all of one chunk, and their offset in the file.
    async fn next(&mut self) -> Result<Option<(u64, Bytes)>, ClientError> {
        let room = (CHUNK_SIZE - self.position % CHUNK_SIZE) as usize;
        let piece = super::content::fill(self.source, room).await?;
        let offset = self.position;
        self.position += piece.len() as u64;
        Ok(Some((offset, piece)).filter(|(_, piece)| !piece.is_empty()))
    }
}

/// Encrypts the chunks that a source's bytes fall into.
async fn patch<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    path: &RemotePath,
    file: &OpenFile<'_, T, R>,
    offset: u64,
    source: &mut impl ContentSource,
    progress: &(impl Progress + ?Sized),
) -> Result<Rewrite, ClientError> {
    let size = file.size_bytes();
    let (mut chunks, mut end) = (Vec::new(), offset);
    let patching = Patching { core, transaction, path, file };
    let sealed = patching.chunks(Pieces { source, position: offset });
    futures_util::pin_mut!(sealed);
    while let Some((chunk, len)) = sealed.try_next().await? {
        progress.advance(len);
        end += len;
        chunks.push(chunk);
    }
    let before = file.item().properties().clone();
    Ok(Rewrite { chunks, before, data_key: data_key(file)?, size_after: size.max(end) })
}

/// What it takes to encrypt changed chunks of a file.
#[derive(Clone, Copy)]
struct Patching<'a, 'c, T, R> {
    core: &'a Core<T, R>,
    transaction: &'a Transaction,
    path: &'a RemotePath,
    file: &'a OpenFile<'c, T, R>,
}

impl<'a, T: Transport, R: Runtime> Patching<'a, '_, T, R> {
    /// The changed chunks in order, several at once, each with how many bytes of the source are in it.
    fn chunks<S: ContentSource>(
        &'a self,
        pieces: Pieces<'a, S>,
    ) -> impl Stream<Item = Result<(NewChunk, u64), ClientError>> + MaybeSend + 'a {
        stream::try_unfold(pieces, |mut pieces| async move { Ok(pieces.next().await?.map(|piece| (piece, pieces))) })
            .map_ok(move |(offset, piece)| self.chunk(offset, piece))
            .try_buffered(self.core.network.settings.chunks_in_flight.max(1))
    }

    async fn chunk(&self, offset: u64, piece: Bytes) -> Result<(NewChunk, u64), ClientError> {
        let size = self.file.size_bytes();
        let index = chunk_index(offset);
        let start = (offset % CHUNK_SIZE) as usize;
        let (before, old) = match index < chunk_count(size) {
            true => self.file.chunk_with_data(index).await.map(|(data, content)| (Some(data), content))?,
            false => (None, Bytes::new()),
        };
        let len = old.len().max(start + piece.len());
        let mut content = Plaintext::chunk(len);
        content.extend(&old);
        content.resize(len);
        content.content_mut()[start..start + piece.len()].copy_from_slice(&piece);
        let sealed = seal_chunk(self.core, self.transaction, self.path, self.file, content).await?;
        Ok((NewChunk { index, before, sealed }, piece.len() as u64))
    }
}

/// Applies a change to the current state, unless somebody changed the same content meanwhile.
async fn publish<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    path: &RemotePath,
    rewrite: &Rewrite,
) -> Result<(), ClientError> {
    let _writing = core.writing.lock().await;
    on_current_state!(core, |view| {
        let (_, item) = place_of(view, path).await?;
        let item = item.ok_or_else(|| ClientError::Changed { path: path.clone() })?;
        rewrite.apply(view, path, &item).await?;
        view.commit(transaction).await
    })
}

impl Rewrite {
    async fn apply<T: Transport, R: Runtime>(
        &self,
        view: &mut View<'_, T, R>,
        path: &RemotePath,
        item: &Item,
    ) -> Result<(), ClientError> {
        let (now, before) = (item.properties(), &self.before);
        let changed = || ClientError::Changed { path: path.clone() };
        let secret = now.stream_secret().ok_or_else(changed)?.clone();
        if now.size_bytes != before.size_bytes || now.kind != before.kind || item.base()?.key != self.data_key {
            return Err(changed());
        }
        let writer = item.cap.writer.clone();
        let first = item.cap.label();
        let labels: Vec<ChunkLabel> = self.chunks.iter().map(|chunk| first.advance(&secret, chunk.index)).collect();
        for (chunk, block) in self.chunks.iter().zip(view.blocks(&writer, &labels).await?) {
            let node = block.map(|(_, block)| CryptreeNode::from_block(&block)).transpose();
            let node = node.map_err(ClientError::damaged("a chunk of a file"))?;
            if node.as_ref().map(CryptreeNode::data) != chunk.before.as_ref() {
                return Err(changed());
            }
        }

        let mut rng = view.core.network.runtime.rng();
        let properties = FileProperties {
            size_bytes: self.size_after,
            modified: view.core.network.runtime.now(),
            tree_hash: None,
            ..now.clone()
        };
        let layout = FileLayout {
            keys: FileKeys {
                base: item.cap.base_key.clone(),
                base_write: item.cap.base_write_key.clone().unwrap_or_else(SymmetricKey::null),
                data: self.data_key.clone(),
                stream_secret: secret.clone(),
                first: first.clone(),
            },
            properties: properties.clone(),
            parent: item.parent_block().parent.clone(),
            mirror: item.mirror(view.core.mirror_of(&item.cap.owner)),
            signer: item.base()?.signer.clone(),
        };
        // The old hash tree is wrong wherever it stands (`spec/03` §3.6).
        let kept = chunk_count(self.size_after).min(chunk_count(before.size_bytes));
        for index in (0..kept).step_by(HASHES_PER_LIST) {
            let label = first.advance(&secret, index);
            let block = view.blocks(&writer, std::slice::from_ref(&label)).await?.pop().flatten();
            let (_, block) = block.ok_or(ClientError::Inconsistent("a file lacks a chunk"))?;
            let node = CryptreeNode::from_block(&block).map_err(ClientError::damaged("a chunk of a file"))?;
            let parent = ParentBlock { parent: layout.parent.clone(), properties: properties.clone() };
            let node = node.with_parent(&item.cap.base_key, &parent, &mut rng);
            view.space(item, path)?.put(label.map_key, &node);
        }
        for chunk in &self.chunks {
            for (label, node) in layout.nodes(chunk.index, [&chunk.sealed], None, &mut rng)? {
                view.space(item, path)?.put(label, &node);
            }
        }
        for index in chunk_count(self.size_after)..chunk_count(before.size_bytes) {
            view.space(item, path)?.remove(first.advance(&secret, index).map_key);
        }
        Ok(())
    }
}

/// Writes the whole of a file anew, from a source that reads the old content.
async fn write_anew<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    path: &RemotePath,
    file: &OpenFile<'_, T, R>,
    mut source: impl ContentSource + TakeFailure,
    progress: &(impl Progress + ?Sized),
) -> Result<(), ClientError> {
    let item = file.item();
    let (parent_path, name) = split(path)?;
    let sealing = Sealing {
        owner: item.cap.owner.clone(),
        data_key: SymmetricKey::generate(&mut core.network.runtime.rng()),
        mirror: item.mirror(core.mirror_of(&item.cap.owner)),
        signer: item.signer.clone().ok_or_else(|| ClientError::ReadOnly { path: path.clone() })?,
    };
    let sealed = async {
        let first = read_chunk(&mut source).await?;
        let mime = mime_type(first.content(), name.as_str());
        let content = seal_file(core, transaction, sealing, first, &mut source, progress).await?;
        Ok::<_, ClientError>((mime, content))
    };
    let (mime_type, content) = match sealed.await {
        Ok(sealed) => sealed,
        Err(error) => return Err(source.take_failure().unwrap_or(error)),
    };
    let meta = FileMeta {
        size_bytes: content.size_bytes(),
        mime_type,
        created: item.properties().created,
        modified: core.network.runtime.now(),
        is_hidden: item.properties().is_hidden,
        thumbnail: item.properties().thumbnail.clone(),
    };
    let _writing = core.writing.lock().await;
    on_current_state!(core, |view| {
        let parent = view.resolve_directory(&parent_path).await?;
        let place = Place { parent: &parent, name: &name, path };
        let now = view.child_at(&parent, &name, path).await?;
        let now = now.filter(|now| now.cid == item.cid);
        now.ok_or_else(|| ClientError::Changed { path: path.clone() })?;
        view.put_file(&place, &meta, &content, IfExists::Replace).await?;
        view.commit(transaction).await
    })
}

/// A source that knows why it failed.
trait TakeFailure {
    fn take_failure(&mut self) -> Option<ClientError>;
}

/// The content of a file with a part of it replaced, or cut off.
struct Spliced<'f, 'c, 's, T, R, S> {
    before: FileSource<'f, 'c, T, R>,
    patch: Option<(u64, &'s mut S)>,
    position: u64,
    /// How much of the old content there is to be read.
    end: u64,
}

impl<T, R, S> TakeFailure for Spliced<'_, '_, '_, T, R, S> {
    fn take_failure(&mut self) -> Option<ClientError> {
        self.before.failure.take()
    }
}

impl<T: Transport, R: Runtime, S: ContentSource> ContentSource for Spliced<'_, '_, '_, T, R, S> {
    fn size(&self) -> Option<u64> {
        None
    }

    async fn next(&mut self, max: usize) -> std::io::Result<Bytes> {
        if let Some((offset, source)) = &mut self.patch {
            if self.position < *offset {
                let max = max.min((*offset - self.position) as usize);
                let bytes = self.before.next(max).await?;
                self.position += bytes.len() as u64;
                return Ok(bytes);
            }
            let bytes = source.next(max).await?;
            if !bytes.is_empty() {
                self.position += bytes.len() as u64;
                return Ok(bytes);
            }
            self.patch = None;
        }
        if self.position >= self.end {
            return Ok(Bytes::new());
        }
        self.before.seek(self.position);
        let max = max.min((self.end - self.position) as usize);
        let bytes = self.before.next(max).await?;
        self.position += bytes.len() as u64;
        Ok(bytes)
    }
}
