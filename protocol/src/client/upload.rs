//! Writing files: chunks are read, encrypted on other threads and sent several at once, while memory stays bounded by
//! the chunks in flight; the entry in the directory comes last, so that an interrupted upload leaves no broken file.
//!
//! A file of up to [`Settings::commit_bytes`](super::Settings::commit_bytes) appears with one commit. A longer one whose
//! size is known publishes its chunks in several commits under a transaction file, from which an interrupted upload can
//! go on (`spec/03` §8). When a file is replaced, or its size is not known, nothing is published before the end.

use std::collections::VecDeque;

use futures_util::future::try_join;
use futures_util::stream::{self, Stream, TryStreamExt};

use super::commit::Transaction;
use super::conflict::{Put, Seen};
use super::content::ContentSource;
use super::core::{Core, on_current_state};
use super::edit::{FileMeta, IfExists, Place};
use super::error::ClientError;
use super::item::{Item, Signer};
use super::open_upload::OpenUpload;
use super::path::RemotePath;
use super::progress::Progress;
use super::runtime::Runtime;
use super::seal::{SealedChunk, SealedContent, mime_type, read_chunk, seal};
use super::view::View;
use crate::api::Transport;
use crate::api::transport::MaybeSend;
use crate::cryptree::chunk::{CHUNK_SIZE, chunk_count};
use crate::cryptree::fragments::Plaintext;
use crate::cryptree::name::FileName;
use crate::cryptree::properties::{Thumbnail, Timestamp};
use crate::keys::{Owner, SymmetricKey};
use crate::merkle::bat::BatId;

/// Chunks of fewer plain bytes are not sent at once but with the commit, where small blocks share calls.
const SEND_AT_ONCE: u64 = 512 * 1024;

/// How a file is stored.
#[derive(Clone, Debug, Default)]
pub struct UploadOptions {
    /// What happens if the path leads to something already.
    pub if_exists: IfExists,
    /// The modification time of the content; now, if none is given.
    pub modified: Option<Timestamp>,
    /// Whether listings leave the file out.
    pub is_hidden: bool,
    /// A small picture of the content.
    pub thumbnail: Option<Thumbnail>,
    /// Go on with an interrupted upload to the same path, of the same size and modification time: the caller vouches
    /// that the content is the same.
    pub resume: bool,
}

impl UploadOptions {
    /// What is known of the file before its content was read.
    pub(crate) fn meta(&self, size_bytes: u64, mime_type: String, now: Timestamp) -> FileMeta {
        let modified = self.modified.unwrap_or(now);
        FileMeta {
            size_bytes,
            mime_type,
            created: modified,
            modified,
            is_hidden: self.is_hidden,
            thumbnail: self.thumbnail.clone(),
        }
    }
}

/// What encrypting and sending the chunks of one file takes.
#[derive(Clone)]
pub(crate) struct Sealing {
    pub owner: Owner,
    pub data_key: SymmetricKey,
    pub mirror: Option<BatId>,
    pub signer: Signer,
}

/// Chunks that were read already, then those that a source still has.
struct Chunks<'s, S> {
    read: VecDeque<Plaintext>,
    source: &'s mut S,
    ended: bool,
}

impl<S: ContentSource> Chunks<'_, S> {
    async fn next(&mut self) -> Result<Option<Plaintext>, ClientError> {
        if let Some(chunk) = self.read.pop_front() {
            self.ended |= (chunk.content().len() as u64) < CHUNK_SIZE;
            return Ok(Some(chunk));
        }
        if self.ended {
            return Ok(None);
        }
        let chunk = read_chunk(self.source).await?;
        self.ended = (chunk.content().len() as u64) < CHUNK_SIZE;
        Ok(Some(chunk).filter(|chunk| !chunk.content().is_empty()))
    }
}

/// Encrypts a chunk and, if it is large, sends its fragments.
async fn seal_and_send<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    sealing: Sealing,
    content: Plaintext,
) -> Result<SealedChunk, ClientError> {
    let Sealing { owner, data_key, mirror, signer } = sealing;
    let mut rng = core.network.runtime.rng();
    let work = move || seal(content, &data_key, mirror.as_ref(), &mut rng);
    let mut sealed = core.network.runtime.compute(work).await;
    if sealed.len >= SEND_AT_ONCE {
        let fragments = std::mem::take(&mut sealed.fragments);
        transaction.put_fragments(&core.network, &owner, &signer, fragments).await?;
    }
    Ok(sealed)
}

/// Reads, encrypts and sends the chunks of a file, several at once, and gives them in order.
fn sealed_chunks<'a, T: Transport, R: Runtime, S: ContentSource>(
    core: &'a Core<T, R>,
    transaction: &'a Transaction,
    sealing: &'a Sealing,
    chunks: Chunks<'a, S>,
) -> impl Stream<Item = Result<SealedChunk, ClientError>> + MaybeSend + 'a {
    stream::try_unfold(chunks, |mut chunks| async move { Ok(chunks.next().await?.map(|chunk| (chunk, chunks))) })
        .map_ok(move |content| seal_and_send(core, transaction, sealing.clone(), content))
        .try_buffered(core.network.settings.chunks_in_flight.max(1))
}

/// Reads and encrypts a whole file.
pub(crate) async fn seal_file<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    sealing: Sealing,
    first: Plaintext,
    source: &mut impl ContentSource,
    progress: &(impl Progress + ?Sized),
) -> Result<SealedContent, ClientError> {
    let chunks = Chunks { read: VecDeque::from([first]), source, ended: false };
    let mut content = SealedContent { data_key: sealing.data_key.clone(), chunks: Vec::new() };
    {
        let sealed = sealed_chunks(core, transaction, &sealing, chunks);
        futures_util::pin_mut!(sealed);
        while let Some(chunk) = sealed.try_next().await? {
            progress.advance(chunk.len);
            content.chunks.push(chunk);
        }
    }
    Ok(content)
}

/// The parent directory of a new path and the last name of it.
pub(crate) fn split(path: &RemotePath) -> Result<(RemotePath, FileName), ClientError> {
    let parent = path.parent().ok_or(ClientError::Home)?;
    Ok((parent, path.name().clone()))
}

/// Refuses what the options forbid; none if there is nothing to do.
pub(crate) fn admit(path: &RemotePath, existing: Option<&Item>, if_exists: IfExists) -> Result<bool, ClientError> {
    match existing {
        None => Ok(true),
        Some(_) if if_exists == IfExists::Fail => Err(ClientError::Exists { path: path.clone() }),
        Some(_) if if_exists == IfExists::Skip => Ok(false),
        Some(existing) if existing.is_directory() => Err(ClientError::IsADirectory { path: path.clone() }),
        Some(_) => Ok(true),
    }
}

/// Stores one file. Returns whether anything was stored.
pub(crate) async fn upload<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    path: &RemotePath,
    source: &mut impl ContentSource,
    options: &UploadOptions,
    progress: &(impl Progress + ?Sized),
) -> Result<bool, ClientError> {
    let transaction = Transaction::default();
    let result = upload_within(core, &transaction, path, source, options, progress).await;
    transaction.close(&core.network).await;
    result
}

async fn upload_within<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    path: &RemotePath,
    source: &mut impl ContentSource,
    options: &UploadOptions,
    progress: &(impl Progress + ?Sized),
) -> Result<bool, ClientError> {
    let (parent_path, name) = split(path)?;
    // What is there decides who signs; the decision about the entry itself comes with the commit.
    let find = async {
        on_current_state!(core, |view| {
            let parent = view.resolve_directory(&parent_path).await?;
            let existing = view.child_at(&parent, &name, path).await?;
            Ok((parent, existing))
        })
    };
    let announced = source.size();
    let ((parent, existing), first) = try_join(find, read_chunk(source)).await?;
    if !admit(path, existing.as_ref(), options.if_exists)? {
        return Ok(false);
    }
    let seen = Seen::of(existing.as_ref());
    let target = existing.as_ref().unwrap_or(&parent);
    let signer = target.signer.clone().ok_or_else(|| ClientError::ReadOnly { path: path.clone() })?;
    let runtime = &core.network.runtime;
    let owner = target.cap.owner.clone();
    let mirror = target.mirror(core.mirror_of(&owner));
    let sealing = Sealing { owner, data_key: SymmetricKey::generate(&mut runtime.rng()), mirror, signer };
    let mime = mime_type(first.content(), name.as_str());
    // A link leads to no place for the transaction file, so there nothing is published before the end.
    let is_split = |size: &u64| core.tree.is_account && *size > core.network.settings.commit_bytes;
    if let Some(size) = announced.filter(|size| existing.is_none() && is_split(size)) {
        let meta = options.meta(size, mime, runtime.now());
        let upload = OpenUpload::begin(core, path, &meta, sealing, options.resume).await?;
        return large(core, transaction, upload, first, source, options.if_exists, progress).await;
    }
    let content = seal_file(core, transaction, sealing, first, source, progress).await?;
    check_size(announced, content.size_bytes())?;
    let meta = options.meta(content.size_bytes(), mime, runtime.now());
    let _writing = core.writing.lock().await;
    on_current_state!(core, |view| {
        let parent = view.resolve_directory(&parent_path).await?;
        let place = Place { parent: &parent, name: &name, path };
        let put = view.put_file_or_beside(&place, &meta, &content, options.if_exists, &seen).await?;
        view.commit(transaction).await?;
        if let Put::Beside(path) = &put {
            core.note_conflict(path.clone());
        }
        Ok(!matches!(put, Put::Skipped))
    })
}

/// Replaces the content of the file that a link to write leads to; it has no directory there. Returns whether anything was
/// stored.
///
/// # Errors
/// [`ClientError::Changed`] if somebody else stored it meanwhile: nothing can be put beside it.
pub(crate) async fn replace_root<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    path: &RemotePath,
    source: &mut impl ContentSource,
    options: &UploadOptions,
    progress: &(impl Progress + ?Sized),
) -> Result<bool, ClientError> {
    let transaction = Transaction::default();
    let result = replace_root_within(core, &transaction, path, source, options, progress).await;
    transaction.close(&core.network).await;
    result
}

async fn replace_root_within<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    path: &RemotePath,
    source: &mut impl ContentSource,
    options: &UploadOptions,
    progress: &(impl Progress + ?Sized),
) -> Result<bool, ClientError> {
    let existing = on_current_state!(core, |view| view.home().await)?;
    if !admit(path, Some(&existing), options.if_exists)? {
        return Ok(false);
    }
    let seen = Seen::of(Some(&existing));
    let signer = existing.signer.clone().ok_or_else(|| ClientError::ReadOnly { path: path.clone() })?;
    let runtime = &core.network.runtime;
    let owner = existing.cap.owner.clone();
    let mirror = existing.mirror(core.mirror_of(&owner));
    let sealing = Sealing { owner, data_key: SymmetricKey::generate(&mut runtime.rng()), mirror, signer };
    let announced = source.size();
    let first = read_chunk(source).await?;
    let mime = mime_type(first.content(), path.name().as_str());
    let content = seal_file(core, transaction, sealing, first, source, progress).await?;
    check_size(announced, content.size_bytes())?;
    let meta = options.meta(content.size_bytes(), mime, runtime.now());
    let _writing = core.writing.lock().await;
    on_current_state!(core, |view| {
        let now = view.home().await?;
        if seen.is_overtaken_by(Some(&now)) {
            return Err(ClientError::Changed { path: path.clone() });
        }
        view.replace_content(path, &now, &meta, &content).await?;
        view.commit(transaction).await?;
        Ok(true)
    })
}

fn check_size(announced: Option<u64>, found: u64) -> Result<(), ClientError> {
    match announced {
        Some(announced) if announced != found => Err(ClientError::SourceChanged { announced, found }),
        _ => Ok(()),
    }
}

/// Stores a large new file in several commits.
async fn large<T: Transport, R: Runtime>(
    core: &Core<T, R>,
    transaction: &Transaction,
    mut upload: OpenUpload,
    first: Plaintext,
    source: &mut impl ContentSource,
    if_exists: IfExists,
    progress: &(impl Progress + ?Sized),
) -> Result<bool, ClientError> {
    let size = upload.meta.size_bytes;
    let mut chunks = Chunks { read: VecDeque::from([first]), source, ended: false };
    let mut total = 0;
    // Chunks that an earlier attempt published are only hashed.
    for _ in 0..upload.published {
        let Some(chunk) = chunks.next().await? else {
            return Err(ClientError::SourceChanged { announced: size, found: total });
        };
        let len = chunk.content().len() as u64;
        let hash = core.network.runtime.compute(move || pyrgos_crypto::hash::sha256(chunk.content())).await;
        upload.hashes.push(hash);
        total += len;
        progress.advance(len);
    }
    let count = chunk_count(size);
    let sealing = upload.sealing.clone();
    let sealed = sealed_chunks(core, transaction, &sealing, chunks);
    futures_util::pin_mut!(sealed);
    let (mut pending, mut bytes) = (Vec::new(), 0);
    while let Some(chunk) = sealed.try_next().await? {
        total += chunk.len;
        bytes += chunk.len;
        progress.advance(chunk.len);
        upload.hashes.push(chunk.hash);
        pending.push(chunk);
        if upload.hashes.len() as u64 > count {
            break;
        }
        if bytes >= core.network.settings.commit_bytes && (upload.hashes.len() as u64) < count {
            upload.publish(core, transaction, &std::mem::take(&mut pending)).await?;
            bytes = 0;
        }
    }
    check_size(Some(size), total)?;
    upload.finish(core, transaction, &pending, if_exists).await
}

/// Whatever a view shows of a path: its directory, and what is there.
pub(crate) async fn place_of<T: Transport, R: Runtime>(
    view: &mut View<'_, T, R>,
    path: &RemotePath,
) -> Result<(Item, Option<Item>), ClientError> {
    let (parent_path, name) = split(path)?;
    let parent = view.resolve_directory(&parent_path).await?;
    let item = view.child_at(&parent, &name, path).await?;
    Ok((parent, item))
}
