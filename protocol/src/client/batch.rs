//! Storing many files and directories with few commits.
//!
//! Files are encrypted as they are given and published in groups, so that the number of round trips grows with the bytes
//! and not with the files. When another device wins a race, the whole group is applied again to what it left.

use std::collections::BTreeMap;

use super::commit::Transaction;
use super::content::ContentSource;
use super::core::Core;
use super::edit::{FileMeta, IfExists, Place};
use super::error::ClientError;
use super::item::Item;
use super::path::RemotePath;
use super::progress::Progress;
use super::runtime::Runtime;
use super::seal::{SealedContent, mime_type, read_chunk};
use super::upload::{Sealing, UploadOptions, seal_file, split, upload};
use super::view::View;
use crate::api::Transport;
use crate::cryptree::name::FileName;
use crate::keys::SymmetricKey;
use crate::merkle::bat::BatId;

/// One thing that is to be there after the next commit.
enum Edit {
    Directory { path: RemotePath, is_hidden: bool },
    File { path: RemotePath, meta: FileMeta, content: SealedContent, if_exists: IfExists },
}

/// What was stored so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchCount {
    /// Files that were stored.
    pub files: u64,
    /// Files that were there already and were left as they are.
    pub skipped: u64,
}

/// See [`Session::batch`](super::Session::batch). Nothing is certain to be stored before [`Batch::finish`].
pub struct Batch<'s, T, R> {
    core: &'s Core<T, R>,
    view: View<'s, T, R>,
    transaction: Option<Transaction>,
    edits: Vec<Edit>,
    pending_bytes: u64,
    count: BatchCount,
}

impl<'s, T: Transport, R: Runtime> Batch<'s, T, R> {
    pub(crate) fn new(core: &'s Core<T, R>) -> Self {
        let (transaction, edits) = (None, Vec::new());
        Batch { core, view: core.view(), transaction, edits, pending_bytes: 0, count: BatchCount::default() }
    }

    /// Makes a directory, with those above it, unless it is there.
    ///
    /// # Errors
    /// [`ClientError::NotADirectory`] if a file is in the way, with this call or a later one.
    pub async fn make_directory(&mut self, path: &RemotePath) -> Result<(), ClientError> {
        self.edits.push(Edit::Directory { path: path.clone(), is_hidden: false });
        self.flush_if_full().await
    }

    /// Stores a file; its directory must be there or be made by this batch before.
    ///
    /// # Errors
    /// As [`Session::upload`](super::Session::upload), with this call or a later one.
    pub async fn put(
        &mut self,
        path: &RemotePath,
        source: &mut impl ContentSource,
        options: &UploadOptions,
        progress: &(impl Progress + ?Sized),
    ) -> Result<(), ClientError> {
        let commit_bytes = self.core.network.settings.commit_bytes;
        if source.size().is_none_or(|size| size > commit_bytes) {
            self.flush().await?;
            self.close().await;
            // The large file changes the directory, so the next group starts from a new view.
            self.view = self.core.view();
            self.tally(upload(self.core, path, source, options, progress).await?);
            return Ok(());
        }
        if options.if_exists != IfExists::Replace && self.is_there(path).await? {
            return match options.if_exists {
                IfExists::Skip => {
                    self.tally(false);
                    Ok(())
                }
                _ => Err(ClientError::Exists { path: path.clone() }),
            };
        }
        if self.transaction.is_none() {
            self.transaction = Some(Transaction::new(self.core));
        }
        let Some(transaction) = &self.transaction else { return Ok(()) };
        let runtime = &self.core.network.runtime;
        let home = self.view.home().await?;
        let signer = home.signer.clone().ok_or_else(|| ClientError::ReadOnly { path: path.clone() })?;
        let sealing =
            Sealing { data_key: SymmetricKey::generate(&mut runtime.rng()), mirror: mirror(self.core), signer };
        let announced = source.size();
        let first = read_chunk(source).await?;
        let mime = mime_type(first.content(), path.name().as_str());
        let content = seal_file(self.core, transaction, sealing, first, source, progress).await?;
        let size = content.size_bytes();
        if let Some(announced) = announced.filter(|announced| *announced != size) {
            return Err(ClientError::SourceChanged { announced, found: size });
        }
        let meta = options.meta(size, mime, runtime.now());
        self.pending_bytes += size;
        self.edits.push(Edit::File { path: path.clone(), meta, content, if_exists: options.if_exists });
        self.flush_if_full().await
    }

    /// Whether the state that this batch starts from has an entry at a path: reason enough not to encrypt and send what
    /// would then be dropped. What counts is what is there when the group is published.
    async fn is_there(&mut self, path: &RemotePath) -> Result<bool, ClientError> {
        let (parent_path, name) = split(path)?;
        match self.view.resolve_directory(&parent_path).await {
            Ok(parent) => Ok(self.view.directory(&parent).await?.entry(&name).is_some()),
            // It may be one that this batch is going to make.
            Err(ClientError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Publishes what is left and tells what was stored.
    ///
    /// # Errors
    /// The first that the last group met; groups before it are stored.
    pub async fn finish(mut self) -> Result<BatchCount, ClientError> {
        let flushed = self.flush().await;
        self.close().await;
        flushed.map(|()| self.count)
    }

    async fn close(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            transaction.close(&self.core.network).await;
        }
    }

    async fn flush_if_full(&mut self) -> Result<(), ClientError> {
        let settings = &self.core.network.settings;
        match self.pending_bytes >= settings.commit_bytes || self.edits.len() >= settings.commit_files {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Publishes the group.
    async fn flush(&mut self) -> Result<(), ClientError> {
        let edits = std::mem::take(&mut self.edits);
        self.pending_bytes = 0;
        if edits.is_empty() {
            return Ok(());
        }
        if self.transaction.is_none() {
            self.transaction = Some(Transaction::new(self.core));
        }
        let Some(transaction) = &self.transaction else { return Ok(()) };
        let _writing = self.core.writing.lock().await;
        let mut attempt = 0;
        loop {
            let result = apply(&mut self.view, transaction, &edits).await;
            let error = match result {
                Ok(count) => {
                    self.count.files += count.files;
                    self.count.skipped += count.skipped;
                    return Ok(());
                }
                Err(error) => error,
            };
            let again = self.core.try_again(&mut attempt, &error, &self.view).await?;
            self.view = self.core.view();
            if !again {
                return Err(error);
            }
        }
    }

    fn tally(&mut self, stored: bool) {
        match stored {
            true => self.count.files += 1,
            false => self.count.skipped += 1,
        }
    }
}

fn mirror<T, R>(core: &Core<T, R>) -> Option<BatId> {
    core.tree.mirror_bat.as_ref().map(|bat| bat.id().clone())
}

async fn apply<T: Transport, R: Runtime>(
    view: &mut View<'_, T, R>,
    transaction: &Transaction,
    edits: &[Edit],
) -> Result<BatchCount, ClientError> {
    let mut count = BatchCount::default();
    look_ahead(view, edits).await?;
    for edit in edits {
        match edit {
            Edit::Directory { path, is_hidden } => {
                require_directories(view, path, *is_hidden).await?;
            }
            Edit::File { path, meta, content, if_exists } => {
                let (parent_path, name) = split(path)?;
                let parent = view.resolve_directory(&parent_path).await?;
                let place = Place { parent: &parent, name: &name, path };
                match view.put_file(&place, meta, content, *if_exists).await? {
                    true => count.files += 1,
                    false => count.skipped += 1,
                }
            }
        }
    }
    view.commit(transaction).await?;
    Ok(count)
}

/// Looks up the files that the edits will replace, those of one directory together; what comes is in the cache when each
/// edit asks for it.
async fn look_ahead<T: Transport, R: Runtime>(view: &mut View<'_, T, R>, edits: &[Edit]) -> Result<(), ClientError> {
    let mut names: BTreeMap<RemotePath, Vec<FileName>> = BTreeMap::new();
    for edit in edits {
        if let Edit::File { path, .. } = edit {
            let (parent, name) = split(path)?;
            names.entry(parent).or_default().push(name);
        }
    }
    for (parent, names) in names {
        let parent = match view.resolve_directory(&parent).await {
            Ok(parent) => parent,
            // An edit makes it, or fails with this error.
            Err(ClientError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        let directory = view.directory(&parent).await?;
        let entries = names.iter().filter_map(|name| directory.entry(name));
        let reached = entries.map(|entry| directory.item.child(&entry.cap)).collect::<Result<Vec<_>, _>>()?;
        if reached.len() > 1 {
            view.open_targets(&reached).await?;
        }
    }
    Ok(())
}

/// The directory of a path, made with those above it where they are absent.
pub(crate) async fn require_directories<T: Transport, R: Runtime>(
    view: &mut View<'_, T, R>,
    path: &RemotePath,
    is_hidden: bool,
) -> Result<Item, ClientError> {
    let mut here = RemotePath::home(path.user().clone());
    let mut item = view.resolve_directory(&here).await?;
    for name in path.names() {
        here = here.join(name.clone());
        let place = Place { parent: &item, name, path: &here };
        item = view.require_directory(&place, is_hidden).await?;
    }
    Ok(item)
}
