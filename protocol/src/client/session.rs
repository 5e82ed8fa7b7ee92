//! An unlocked account, and everything that can be done with its files.

use std::ops::Range;
use std::sync::Arc;

use futures_util::future::join;

use super::batch::{Batch, require_directories};
use super::commit::with_transaction;
use super::content::{ContentSink, ContentSource};
use super::core::{Core, Tree, on_current_state};
use super::desk::Desk;
use super::directory::Directory;
use super::download::{FileSource, OpenFile};
use super::edit::{IfExists, Place};
use super::entry::{Entry, Name};
use super::error::{ClientError, ErrorKind};
use super::file::{Children, File};
use super::item::{Item, Reached};
use super::keys::{SessionKeys, SessionState};
use super::listing::Listing;
use super::network::{Network, Repeat};
use super::path::RemotePath;
use super::progress::Progress;
use super::rewrite::{Offset, overwrite, truncate};
use super::runtime::{Runtime, millis};
use super::settings::Settings;
use super::upload::{UploadOptions, place_of, split, upload};
use super::view::View;
use crate::api::Transport;
use crate::api::space::{GetQuota, GetUsage};
use crate::cryptree::name::FileName;
use crate::keys::{Owner, SignedTime};
use crate::names::Username;

/// An account that is logged in.
///
/// Cheap to clone; clones share caches, and the memory of what the node has shown. Each call looks at the state of that
/// moment; changes are atomic, and are applied again on top of what other devices did meanwhile.
pub struct Session<T, R> {
    core: Arc<Core<T, R>>,
    keys: Arc<SessionKeys>,
}

impl<T, R> Clone for Session<T, R> {
    fn clone(&self) -> Self {
        Session { core: self.core.clone(), keys: self.keys.clone() }
    }
}

/// Space that an account uses and may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes of blocks that the account uses.
    pub used_bytes: u64,
    /// Bytes of blocks that it may use.
    pub quota_bytes: u64,
}

impl<T: Transport, R: Runtime> Session<T, R> {
    pub(crate) fn new(network: Network<T, R>, keys: SessionKeys) -> Self {
        Session { core: Arc::new(Core::new(network, Tree::of_account(&keys))), keys: Arc::new(keys) }
    }

    /// Goes on with a session that another process unlocked.
    ///
    /// # Errors
    /// [`ClientError::ForgedPointer`] if the state was changed.
    pub async fn resume(
        transport: T,
        runtime: R,
        settings: Settings,
        state: SessionState,
    ) -> Result<Self, ClientError> {
        let network = Network::new(transport, runtime, settings);
        for (writer, signed) in &state.pointers {
            // Keys behind a hash are fetched; all others are in the name of the writer.
            let key = network.signing_key(&state.keys.owner, writer).await?;
            network.observe(writer, &key, signed)?;
        }
        Ok(Session::new(network, state.keys))
    }

    /// The session as another process can go on with it.
    pub fn state(&self) -> SessionState {
        SessionState { keys: (*self.keys).clone(), pointers: self.core.network.memory() }
    }

    /// The account's name.
    pub fn username(&self) -> &Username {
        &self.keys.username
    }

    /// The account's identity.
    pub fn identity(&self) -> &Owner {
        &self.keys.owner
    }

    /// The transport of this session.
    pub fn transport(&self) -> &T {
        &self.core.network.transport
    }

    /// The account's secrets.
    pub(crate) fn keys(&self) -> &SessionKeys {
        &self.keys
    }

    pub(crate) fn core(&self) -> &Core<T, R> {
        &self.core
    }

    pub(crate) fn shared_core(&self) -> &Arc<Core<T, R>> {
        &self.core
    }

    /// The path of the home directory.
    ///
    /// # Errors
    /// [`ClientError::InvalidUsername`] for a name that cannot be part of a path.
    pub fn home(&self) -> Result<RemotePath, ClientError> {
        let name = FileName::new(self.keys.username.as_str()).map_err(|_| ClientError::InvalidUsername)?;
        Ok(RemotePath::home(name))
    }

    /// What a path leads to.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and whatever the node does.
    pub async fn stat(&self, path: &RemotePath) -> Result<Entry, ClientError> {
        self.look_around(path).await?;
        self.core.stat(path).await
    }

    /// The children of a directory with all their properties, sorted by name. What cannot be read is left out;
    /// [`listing`](Self::listing) tells of it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::NotADirectory`], and whatever the node does.
    pub async fn list(&self, path: &RemotePath) -> Result<Vec<Entry>, ClientError> {
        self.listing(path).await.map(|listing| listing.entries)
    }

    /// As [`list`](Self::list), with the children that are damaged.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn listing(&self, path: &RemotePath) -> Result<Listing, ClientError> {
        self.look_around(path).await?;
        self.core.listing(path).await
    }

    /// A directory to work in.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::NotADirectory`].
    pub async fn directory(&self, path: &RemotePath) -> Result<Directory<'_, T, R>, ClientError> {
        match self.stat(path).await?.is_directory {
            true => Ok(Directory::new(self, path.clone())),
            false => Err(ClientError::NotADirectory { path: path.clone() }),
        }
    }

    /// The home directory to work in.
    ///
    /// # Errors
    /// As [`home`](Self::home).
    pub fn home_directory(&self) -> Result<Directory<'_, T, R>, ClientError> {
        self.home().map(|path| Directory::new(self, path))
    }

    /// The names of a directory's children, sorted, with what their entries hint: one look-up for the directory, none
    /// for the children.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn names(&self, path: &RemotePath) -> Result<Vec<Name>, ClientError> {
        self.look_around(path).await?;
        let names = on_current_state!(&self.core, |view| {
            let directory = view.resolve_directory(path).await?;
            if directory.is_way_through() {
                let found = view.children_of(path, &directory).await?;
                return Ok(found.items.into_iter().map(|(name, item)| Name::of_item(name, &item)).collect());
            }
            let state = view.directory(&directory).await?;
            Ok(state.entries().filter_map(Name::of).collect::<Vec<_>>())
        });
        let mut names = names?;
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// [`ClientError::Exists`], [`ClientError::NotFound`] if there is nothing to make it in.
    pub async fn make_directory(&self, path: &RemotePath) -> Result<(), ClientError> {
        let (parent_path, name) = split(path)?;
        self.look_around(path).await?;
        let (core, parent_path, name) = (&self.core, &parent_path, &name);
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let parent = view.resolve_directory(parent_path).await?;
                view.make_directory(&Place { parent: &parent, name, path }, false).await?;
                view.commit(transaction).await
            })
        })
    }

    /// Makes a directory, with those above it, unless it is there.
    ///
    /// # Errors
    /// [`ClientError::NotADirectory`] if a file is in the way.
    pub async fn make_directories(&self, path: &RemotePath) -> Result<(), ClientError> {
        self.look_around(path).await?;
        let core = &self.core;
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                require_directories(view, path, false).await?;
                view.commit(transaction).await
            })
        })
    }

    /// Stores a file. Returns whether it was stored: a file that is there may be skipped. If somebody else stores the same
    /// file at the same time, this one is put beside it: see [`take_conflicts`](Self::take_conflicts).
    ///
    /// # Errors
    /// [`ClientError::Exists`] as the options say, [`ClientError::NotFound`] without the directory,
    /// [`ClientError::Local`] from the source.
    pub async fn upload(
        &self,
        path: &RemotePath,
        source: &mut impl ContentSource,
        options: &UploadOptions,
        progress: &(impl Progress + ?Sized),
    ) -> Result<bool, ClientError> {
        self.look_around(path).await?;
        upload(&self.core, path, source, options, progress).await
    }

    /// Where this session put files because somebody else stored one under the same path at the same time, since the last
    /// time this was asked. Both are kept; the copy is named with who and when.
    pub fn take_conflicts(&self) -> Vec<RemotePath> {
        self.core.take_conflicts()
    }

    /// Starts storing many files and directories together.
    pub fn batch(&self) -> Batch<'_, T, R> {
        Batch::new(&self.core, Some(self.clone()))
    }

    /// Delivers a range of a file's content, or all of it, in order. A range touches only the chunks that it is in.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::IsADirectory`], [`ClientError::Range`], [`ClientError::Local`] from the
    /// sink.
    pub async fn download(
        &self,
        path: &RemotePath,
        range: Option<Range<u64>>,
        sink: &mut impl ContentSink,
        progress: &(impl Progress + ?Sized),
    ) -> Result<u64, ClientError> {
        self.file(path).await?.download(range, sink, progress).await
    }

    /// The whole content of a file. For files that fit into memory.
    ///
    /// # Errors
    /// As [`download`](Self::download).
    pub async fn read(&self, path: &RemotePath) -> Result<Vec<u8>, ClientError> {
        let mut content = Vec::new();
        self.download(path, None, &mut content, &()).await?;
        Ok(content)
    }

    /// The part of a file in a range. For parts that fit into memory.
    ///
    /// # Errors
    /// As [`download`](Self::download).
    pub async fn read_range(&self, path: &RemotePath, range: Range<u64>) -> Result<Vec<u8>, ClientError> {
        let mut content = Vec::new();
        self.download(path, Some(range), &mut content, &()).await?;
        Ok(content)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::IsADirectory`].
    pub async fn file(&self, path: &RemotePath) -> Result<File<'_, T, R>, ClientError> {
        self.look_around(path).await?;
        self.core.file(path).await
    }

    /// Opens everything in a directory with the look-ups of one [`list`](Self::list): to read many files, open them
    /// together.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn children(&self, path: &RemotePath) -> Result<Children<'_, T, R>, ClientError> {
        self.look_around(path).await?;
        self.core.children(path).await
    }

    /// Overwrites a part of a file from an offset on, which may be at its end but not beyond.
    ///
    /// # Errors
    /// [`ClientError::Changed`] if another device changed the same content meanwhile: the source is used up, so that
    /// the caller has to begin again.
    pub async fn write_at(
        &self,
        path: &RemotePath,
        offset: u64,
        source: &mut impl ContentSource,
        progress: &(impl Progress + ?Sized),
    ) -> Result<(), ClientError> {
        self.look_around(path).await?;
        overwrite(&self.core, path, Offset::At(offset), source, progress).await
    }

    /// Appends to a file.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub async fn append(
        &self,
        path: &RemotePath,
        source: &mut impl ContentSource,
        progress: &(impl Progress + ?Sized),
    ) -> Result<(), ClientError> {
        self.look_around(path).await?;
        overwrite(&self.core, path, Offset::End, source, progress).await
    }

    /// Cuts a file; a size that it has not reached changes nothing.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub async fn truncate(&self, path: &RemotePath, size_bytes: u64) -> Result<(), ClientError> {
        self.look_around(path).await?;
        truncate(&self.core, path, size_bytes).await
    }

    /// Moves or renames a file or directory. The new path names the thing itself, not a directory to put it into.
    ///
    /// # Errors
    /// [`ClientError::Exists`], [`ClientError::IntoItself`], [`ClientError::Home`].
    pub async fn rename(&self, from: &RemotePath, to: &RemotePath, if_exists: IfExists) -> Result<(), ClientError> {
        if from == to {
            return self.stat(from).await.map(|_| ());
        }
        if to.starts_with(from) {
            return Err(ClientError::IntoItself { path: to.clone() });
        }
        self.look_around(from).await?;
        self.look_around(to).await?;
        let core = &self.core;
        let same_space = with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                if !view.move_in_space(from, to, if_exists).await? {
                    return Ok(false);
                }
                let mut desk = Desk::new(view);
                // What gave way takes its links with it.
                desk.end_links(self.keys(), to).await?;
                desk.follow_shares(from, Some(to)).await?;
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(true)
            })
        })?;
        if !same_space {
            // Whoever puts something there meanwhile must not make the copy be skipped: the source is removed after it.
            let if_exists = if if_exists == IfExists::Skip { IfExists::Fail } else { if_exists };
            self.copy(from, to, if_exists, &()).await?;
            self.move_links(from, to).await?;
            self.remove(from, true).await?;
        }
        Ok(())
    }

    /// Removes a file, or a directory; one that is not empty only with everything below it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::NotEmpty`], [`ClientError::Home`].
    pub async fn remove(&self, path: &RemotePath, with_children: bool) -> Result<(), ClientError> {
        let (parent_path, name) = split(path)?;
        self.look_around(path).await?;
        let core = &self.core;
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let parent = view.resolve_directory(&parent_path).await?;
                let place = Place { parent: &parent, name: &name, path };
                let opened = match view.child_at(&parent, &name, path).await {
                    // Whoever may write here may have left nonsense, which must not stay for ever.
                    Err(error) if error.kind() == ErrorKind::Damaged => Err(error),
                    opened => Ok(opened?.ok_or_else(|| ClientError::NotFound { path: path.clone() })?),
                };
                match opened {
                    Ok(item) => {
                        let is_empty = !item.is_directory() || view.directory(&item).await?.entries().next().is_none();
                        if !with_children && !is_empty {
                            return Err(ClientError::NotEmpty { path: path.clone() });
                        }
                        view.remove(&place, &item).await?;
                    }
                    Err(_) if view.remove_unreadable(&place).await? => {}
                    Err(error) => return Err(error),
                }
                let mut desk = Desk::new(view);
                desk.end_links(self.keys(), path).await?;
                desk.follow_shares(path, None).await?;
                desk.save().await?;
                view.commit(transaction).await
            })
        })
    }

    /// Copies a file, or a directory with everything below it. Copies have keys of their own, and the times of what they
    /// were made from (`spec/03` §4.9). The new path names the copy itself.
    ///
    /// # Errors
    /// [`ClientError::Exists`], [`ClientError::IntoItself`].
    pub async fn copy(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        if_exists: IfExists,
        progress: &(impl Progress + ?Sized),
    ) -> Result<(), ClientError> {
        if to.starts_with(from) {
            return Err(ClientError::IntoItself { path: to.clone() });
        }
        self.look_around(from).await?;
        self.look_around(to).await?;
        let source = on_current_state!(&self.core, |view| view.resolve(from).await)?;
        let target = on_current_state!(&self.core, |view| place_of(view, to).await)?;
        if target.1.is_some() && (if_exists == IfExists::Fail || source.is_directory()) {
            return Err(ClientError::Exists { path: to.clone() });
        }
        let mut batch = self.batch();
        // All of it from one state of the tree, whatever the copy itself changes.
        let mut view = self.core.view();
        let mut pending = vec![(source, to.clone())];
        while let Some((item, path)) = pending.pop() {
            if item.is_directory() {
                batch.make_directory(&path).await?;
                let children = children(&mut view, &item).await?;
                pending.extend(children.into_iter().map(|child| {
                    let path = path.join(child.name().clone());
                    (child, path)
                }));
            } else {
                let options = UploadOptions {
                    if_exists,
                    modified: Some(item.properties().modified),
                    is_hidden: false,
                    thumbnail: item.properties().thumbnail.clone(),
                    resume: false,
                };
                let file = OpenFile::new(&mut view, item).await?;
                let mut source = FileSource::new(&file);
                if let Err(error) = batch.put(&path, &mut source, &options, progress).await {
                    return Err(source.failure.map_or(error, |failure| failure));
                }
            }
        }
        batch.finish().await.map(|_| ())
    }

    /// How much space the account uses and may use.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn space(&self) -> Result<Space, ClientError> {
        let keys = &self.keys;
        let owner = || keys.owner.clone();
        let now = millis(self.core.network.runtime.now());
        let auth = || SignedTime::sign(now, &keys.identity.secret).into();
        let usage = GetUsage { owner: owner(), local: false, auth: auth() };
        let quota = GetQuota { owner: owner(), auth: auth() };
        let network = &self.core.network;
        let (used, quota) = join(network.call(Repeat::Safely, &usage), network.call(Repeat::Safely, &quota)).await;
        Ok(Space { used_bytes: used?, quota_bytes: quota? })
    }
}

/// All children of a directory, opened, links followed; for whoever must leave none out.
pub(crate) async fn children<T: Transport, R: Runtime>(
    view: &mut View<'_, T, R>,
    directory: &Item,
) -> Result<Vec<Item>, ClientError> {
    if directory.is_way_through() {
        return Err(ClientError::Limit("this directory is not shared, only some of what is in it: name that instead"));
    }
    let state = view.directory(directory).await?;
    let reached: Vec<Reached> = state.entries().map(|entry| directory.child(&entry.cap)).collect::<Result<_, _>>()?;
    Ok(view.open_targets(&reached).await?.into_iter().flatten().collect())
}
