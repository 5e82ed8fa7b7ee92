//! Storing many files and directories with few commits.
//!
//! Files are encrypted as they are given and published in groups, so that the number of round trips grows with the bytes
//! and not with the files. When another device wins a race, the whole group is applied again to what it left.

use std::collections::{BTreeMap, BTreeSet};

use super::commit::Transaction;
use super::conflict::{Put, Seen};
use super::content::ContentSource;
use super::core::Core;
use super::edit::{FileMeta, IfExists, Place};
use super::error::ClientError;
use super::item::Item;
use super::path::RemotePath;
use super::progress::Progress;
use super::runtime::Runtime;
use super::seal::{SealedContent, mime_type, read_chunk};
use super::session::Session;
use super::upload::{Sealing, UploadOptions, seal_file, split, upload};
use super::view::View;
use crate::api::Transport;
use crate::cryptree::name::FileName;
use crate::keys::SymmetricKey;

/// One thing that is to be there after the next commit.
enum Edit {
    Directory {
        path: RemotePath,
        is_hidden: bool,
    },
    File {
        path: RemotePath,
        meta: Box<FileMeta>,
        content: SealedContent,
        if_exists: IfExists,
        /// What was there in the first state that the group was applied to.
        seen: Option<Seen>,
    },
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
    /// Who takes in the news of other users, if there is an account.
    session: Option<Session<T, R>>,
    /// Other users whose news were taken in.
    looked_around: BTreeSet<FileName>,
    view: View<'s, T, R>,
    transaction: Option<Transaction>,
    edits: Vec<Edit>,
    pending_bytes: u64,
    count: BatchCount,
}

impl<'s, T: Transport, R: Runtime> Batch<'s, T, R> {
    pub(crate) fn new(core: &'s Core<T, R>, session: Option<Session<T, R>>) -> Self {
        Batch {
            core,
            session,
            looked_around: BTreeSet::new(),
            view: core.view(),
            transaction: None,
            edits: Vec::new(),
            pending_bytes: 0,
            count: BatchCount::default(),
        }
    }

    /// Makes a directory, with those above it, unless it is there.
    ///
    /// # Errors
    /// [`ClientError::NotADirectory`] if a file is in the way, with this call or a later one.
    pub async fn make_directory(&mut self, path: &RemotePath) -> Result<(), ClientError> {
        self.look_around(path).await?;
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
        self.look_around(path).await?;
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
        let place = self.nearest(path).await?;
        let transaction = self.transaction.get_or_insert_default();
        let runtime = &self.core.network.runtime;
        let place = match place.signer {
            Some(_) => place,
            // The file itself may have been shared.
            None => match self.view.resolve(path).await {
                Err(ClientError::NotFound { .. }) => place,
                found => found?,
            },
        };
        let signer = self.view.writable(&place, path)?.clone();
        let (owner, mirror) = (place.cap.owner.clone(), self.view.mirror_in(&place));
        let sealing = Sealing { owner, data_key: SymmetricKey::generate(&mut runtime.rng()), mirror, signer };
        let announced = source.size();
        let first = read_chunk(source).await?;
        let mime = mime_type(first.content(), path.name().as_str());
        let content = seal_file(self.core, transaction, sealing, first, source, progress).await?;
        let size = content.size_bytes();
        if let Some(announced) = announced.filter(|announced| *announced != size) {
            return Err(ClientError::SourceChanged { announced, found: size });
        }
        let meta = Box::new(options.meta(size, mime, runtime.now()));
        self.pending_bytes += size;
        self.edits.push(Edit::File { path: path.clone(), meta, content, if_exists: options.if_exists, seen: None });
        self.flush_if_full().await
    }

    /// Takes in once what the user of a path has shared, if it is somebody else.
    async fn look_around(&mut self, path: &RemotePath) -> Result<(), ClientError> {
        let Some(session) = self.session.as_ref().filter(|_| !self.core.is_own(path)) else { return Ok(()) };
        if self.looked_around.insert(path.user().clone()) {
            session.look_around(path).await?;
            if self.edits.is_empty() {
                self.view = self.core.view();
            }
        }
        Ok(())
    }

    /// Whether the state that this batch starts from has an entry at a path: reason enough not to encrypt and send what
    /// would then be dropped. What counts is what is there when the group is published.
    async fn is_there(&mut self, path: &RemotePath) -> Result<bool, ClientError> {
        let (parent_path, name) = split(path)?;
        match self.view.resolve_directory(&parent_path).await {
            Ok(parent) if parent.is_way_through() => Ok(self.view.child_at(&parent, &name, path).await?.is_some()),
            Ok(parent) => Ok(self.view.directory(&parent).await?.entry(&name).is_some()),
            // It may be one that this batch is going to make.
            Err(ClientError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The nearest directory above a path that is there; the rest of the way is made by this batch. Its writer sends the
    /// content, whoever's pointer will lead to it.
    async fn nearest(&mut self, path: &RemotePath) -> Result<Item, ClientError> {
        let mut place = path.clone();
        loop {
            place = place.parent().ok_or_else(|| ClientError::NotFound { path: path.clone() })?;
            match self.view.resolve_directory(&place).await {
                Err(ClientError::NotFound { .. }) if !place.names().is_empty() => {}
                found => return found,
            }
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
        let mut edits = std::mem::take(&mut self.edits);
        self.pending_bytes = 0;
        if edits.is_empty() {
            return Ok(());
        }
        let transaction = &*self.transaction.get_or_insert_default();
        let _writing = self.core.writing.lock().await;
        let mut attempt = 0;
        loop {
            let result = apply(&mut self.view, transaction, &mut edits).await;
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

async fn apply<T: Transport, R: Runtime>(
    view: &mut View<'_, T, R>,
    transaction: &Transaction,
    edits: &mut [Edit],
) -> Result<BatchCount, ClientError> {
    let mut count = BatchCount::default();
    look_ahead(view, edits).await?;
    let (mut paths, mut beside) = (BTreeSet::new(), Vec::new());
    for edit in edits {
        match edit {
            Edit::Directory { path, is_hidden } => {
                require_directories(view, path, *is_hidden).await?;
            }
            Edit::File { path, meta, content, if_exists, seen } => {
                let (parent_path, name) = split(path)?;
                let parent = view.resolve_directory(&parent_path).await?;
                let place = Place { parent: &parent, name: &name, path };
                let put = if *if_exists == IfExists::Replace && paths.insert(path.clone()) {
                    let seen = match seen {
                        Some(seen) => &*seen,
                        None => {
                            let existing = view.child_at(&parent, &name, path).await?;
                            &*seen.insert(Seen::of(existing.as_ref()))
                        }
                    };
                    view.put_file_or_beside(&place, meta, content, *if_exists, seen).await?
                } else {
                    // What this group itself put there before is to be replaced.
                    match view.put_file(&place, meta, content, *if_exists).await? {
                        true => Put::Stored,
                        false => Put::Skipped,
                    }
                };
                match put {
                    Put::Stored => count.files += 1,
                    Put::Skipped => count.skipped += 1,
                    Put::Beside(path) => {
                        count.files += 1;
                        beside.push(path);
                    }
                }
            }
        }
    }
    view.commit(transaction).await?;
    beside.into_iter().for_each(|path| view.core.note_conflict(path));
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
        if parent.is_way_through() {
            continue;
        }
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
    // Of somebody else's tree only what was shared can be seen from above, and of a link's nothing above its root, so the
    // way begins at the lowest that is there.
    let mut here = match view.core.is_own(path) && view.core.tree.is_account {
        true => RemotePath::home(path.user().clone()),
        false => path.clone(),
    };
    let mut item = loop {
        match view.resolve_directory(&here).await {
            Err(ClientError::NotFound { .. }) if !here.names().is_empty() => {
                here = here.parent().ok_or(ClientError::Home)?;
            }
            found => break found?,
        }
    };
    for name in &path.names()[here.names().len()..] {
        here = here.join(name.clone());
        let place = Place { parent: &item, name, path: &here };
        item = view.require_directory(&place, is_hidden).await?;
    }
    Ok(item)
}
