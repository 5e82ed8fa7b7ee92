//! What a link leads to, opened by somebody who needs no account (`spec/05` §7.8, §7.9).

use std::ops::Range;
use std::sync::Arc;

use super::batch::{Batch, require_directories};
use super::commit::with_transaction;
use super::content::{ContentSink, ContentSource};
use super::core::{Core, Tree, on_current_state};
use super::desk::Desk;
use super::edit::{IfExists, Place};
use super::entry::Entry;
use super::error::ClientError;
use super::file::{Children, File};
use super::item::Reached;
use super::listing::Listing;
use super::network::{Network, Repeat};
use super::path::RemotePath;
use super::people::claimed_owner;
use super::progress::Progress;
use super::runtime::Runtime;
use super::settings::Settings;
use super::upload::{UploadOptions, replace_root, split, upload};
use crate::api::links::OpenSecretLink;
use crate::api::transport::MaybeSend;
use crate::api::{ApiError, Call, CallError, Transport};
use crate::cryptree::AbsoluteCapability;
use crate::keys::CipherError;
use crate::links::address::{LinkAddress, LinkTarget};
use crate::links::sealed::{LinkRefusal, derive_key};
use crate::links::{LinkPassword, SecretLink};
use crate::names::Username;

/// Answers the question for the password that the owner of a link demands in addition to the link.
pub trait LinkPasswordSource: MaybeSend {
    /// The password, none if there is none.
    fn password(&self) -> Option<LinkPassword>;
}

/// There is none.
impl LinkPasswordSource for () {
    fn password(&self) -> Option<LinkPassword> {
        None
    }
}

impl LinkPasswordSource for LinkPassword {
    fn password(&self) -> Option<LinkPassword> {
        Some(self.clone())
    }
}

impl<F: Fn() -> Option<LinkPassword> + MaybeSend> LinkPasswordSource for F {
    fn password(&self) -> Option<LinkPassword> {
        self()
    }
}

/// An opened link. Cheap to clone.
///
/// Paths are those that the owner sees, from [`root`](Self::root) down. The name in front was compared with the owner of
/// what the link leads to, as the network of names knows them.
pub struct OpenLink<T, R> {
    core: Arc<Core<T, R>>,
    root: RemotePath,
}

impl<T, R> Clone for OpenLink<T, R> {
    fn clone(&self) -> Self {
        OpenLink { core: self.core.clone(), root: self.root.clone() }
    }
}

impl<T: Transport, R: Runtime> OpenLink<T, R> {
    /// Opens a link. The node counts each call, those that end with a wrong password too.
    ///
    /// # Errors
    /// [`ClientError::LinkPassword`] for a missing or wrong password; [`ClientError::LinkExpired`],
    /// [`ClientError::LinkUsedUp`] and [`ClientError::LinkWithdrawn`] if the node does not hand it out (any more);
    /// [`ClientError::DeadLink`] if its target is gone; [`ClientError::ForgedLink`] if the target does not belong to the
    /// user in front of its path.
    pub async fn open(
        transport: T,
        runtime: R,
        settings: Settings,
        link: &LinkAddress,
        password: &impl LinkPasswordSource,
    ) -> Result<Self, ClientError> {
        let network = Network::new(transport, runtime, settings);
        let root = match &link.target {
            LinkTarget::Secret(link) => fetch(&network, link, password).await?,
            LinkTarget::Capability(capability) => (**capability).clone(),
        };
        // The name is not known before the way up was walked.
        let nobody = Username::existing("-").map_err(|_| ClientError::InvalidUsername)?;
        let tree = Tree {
            owner: root.owner.clone(),
            username: nobody,
            above: Vec::new(),
            root,
            mirror_bat: None,
            is_account: false,
        };
        let mut core = Core::new(network, tree);
        let (username, names) = on_current_state!(&core, |view| {
            let reached = Reached { cap: core.tree.root.clone(), signer: None };
            let item = view.open_targets(&[reached]).await?.pop().flatten().ok_or(ClientError::DeadLink)?;
            let mut names = vec![item.name().clone()];
            names.extend(Desk::new(view).names_above(&item).await?.ok_or(ClientError::ForgedLink)?);
            let user = names.pop().ok_or(ClientError::ForgedLink)?;
            let user = Username::existing(user.as_str()).map_err(|_| ClientError::ForgedLink)?;
            let owner = match claimed_owner(&core.network, &user).await {
                Err(ClientError::UnknownUser) => return Err(ClientError::ForgedLink),
                owner => owner?,
            };
            if owner != item.cap.owner || !Desk::new(view).owns(&owner, &item.cap.writer).await? {
                return Err(ClientError::ForgedLink);
            }
            names.reverse();
            Ok((user, names))
        })?;
        let home = super::desk::part(username.as_str())?;
        let root = names.iter().fold(RemotePath::home(home), |path, name| path.join(name.clone()));
        core.tree.username = username;
        core.tree.above = names;
        Ok(OpenLink { core: Arc::new(core), root })
    }

    /// The path of what the link leads to.
    pub fn root(&self) -> &RemotePath {
        &self.root
    }

    /// The user whose files these are.
    pub fn owner(&self) -> &Username {
        &self.core.tree.username
    }

    /// A path outside of what the link leads to does not exist for it.
    fn within<'p>(&self, path: &'p RemotePath) -> Result<&'p RemotePath, ClientError> {
        match path.starts_with(&self.root) {
            true => Ok(path),
            false => Err(ClientError::NotFound { path: path.clone() }),
        }
    }

    /// What a path leads to.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and whatever the node does.
    pub async fn stat(&self, path: &RemotePath) -> Result<Entry, ClientError> {
        self.core.stat(self.within(path)?).await
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
        self.core.listing(self.within(path)?).await
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::IsADirectory`].
    pub async fn file(&self, path: &RemotePath) -> Result<File<'_, T, R>, ClientError> {
        self.core.file(self.within(path)?).await
    }

    /// Opens everything in a directory with the look-ups of one [`list`](Self::list).
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn children(&self, path: &RemotePath) -> Result<Children<'_, T, R>, ClientError> {
        self.core.children(self.within(path)?).await
    }

    /// Delivers a range of a file's content, or all of it, in order, and tells how many bytes that were.
    ///
    /// # Errors
    /// As [`file`](Self::file); [`ClientError::Range`], [`ClientError::Local`] from the sink.
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

    /// A path that the link may change something at: below what it leads to.
    fn below<'p>(&self, path: &'p RemotePath) -> Result<&'p RemotePath, ClientError> {
        match self.within(path)? == &self.root {
            true => Err(ClientError::ReadOnly { path: path.clone() }),
            false => Ok(path),
        }
    }

    /// Stores a file in the directory that a writable link leads to, or below; or replaces the file that it leads to.
    /// Returns whether it was stored: a file that is there may be skipped.
    ///
    /// # Errors
    /// [`ClientError::ReadOnly`] if the link does not allow it, [`ClientError::Changed`] if somebody else stored the very
    /// file that the link leads to at the same time, and as [`Session::upload`](super::Session::upload).
    pub async fn upload(
        &self,
        path: &RemotePath,
        source: &mut impl ContentSource,
        options: &UploadOptions,
        progress: &(impl Progress + ?Sized),
    ) -> Result<bool, ClientError> {
        match *path == self.root {
            true => replace_root(&self.core, path, source, options, progress).await,
            false => upload(&self.core, self.below(path)?, source, options, progress).await,
        }
    }

    /// Where files were put because somebody else stored one under the same path at the same time, as
    /// [`Session::take_conflicts`](super::Session::take_conflicts).
    pub fn take_conflicts(&self) -> Vec<RemotePath> {
        self.core.take_conflicts()
    }

    /// Starts storing many files and directories together.
    pub fn batch(&self) -> Batch<'_, T, R> {
        Batch::new(&self.core, None)
    }

    /// Makes a directory, with those above it, unless it is there.
    ///
    /// # Errors
    /// [`ClientError::ReadOnly`], [`ClientError::NotADirectory`] if a file is in the way.
    pub async fn make_directories(&self, path: &RemotePath) -> Result<(), ClientError> {
        let (core, path) = (&self.core, self.below(path)?);
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                require_directories(view, path, false).await?;
                view.commit(transaction).await
            })
        })
    }

    /// Moves or renames a file or directory below what the link leads to; never that itself.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::ReadOnly`], [`ClientError::Exists`], [`ClientError::IntoItself`], and
    /// [`ClientError::Limit`] for a move into a folder that has a signing key of its own, or out of one.
    pub async fn rename(&self, from: &RemotePath, to: &RemotePath, if_exists: IfExists) -> Result<(), ClientError> {
        let (from, to) = (self.below(from)?, self.below(to)?);
        if from == to {
            return self.stat(from).await.map(|_| ());
        }
        if to.starts_with(from) {
            return Err(ClientError::IntoItself { path: to.clone() });
        }
        let core = &self.core;
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                match view.move_in_space(from, to, if_exists).await? {
                    true => view.commit(transaction).await,
                    false => Err(ClientError::Limit("a link does not move between folders with keys of their own")),
                }
            })
        })
    }

    /// Removes a file, or a directory; one that is not empty only with everything below it. Never what the link leads to
    /// itself.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::NotEmpty`], [`ClientError::ReadOnly`].
    pub async fn remove(&self, path: &RemotePath, with_children: bool) -> Result<(), ClientError> {
        let (parent_path, name) = split(self.below(path)?)?;
        let core = &self.core;
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let parent = view.resolve_directory(&parent_path).await?;
                let item = view.child(&parent, &name).await?;
                let item = item.ok_or_else(|| ClientError::NotFound { path: path.clone() })?;
                if item.is_directory() && !with_children && view.directory(&item).await?.entries().next().is_some() {
                    return Err(ClientError::NotEmpty { path: path.clone() });
                }
                view.remove(&Place { parent: &parent, name: &name, path }, &item).await?;
                view.commit(transaction).await
            })
        })
    }
}

/// Asks the owner's server for the capability behind a secret link.
async fn fetch<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    link: &SecretLink,
    password: &impl LinkPasswordSource,
) -> Result<AbsoluteCapability, ClientError> {
    let call = OpenSecretLink { owner: link.owner.clone(), label: link.label };
    // Each answer counts as an opening, so a lost one must not be asked for again unseen.
    let sealed = network.try_call(Repeat::Unseen, &call).await.map_err(refusal)?;
    let needed = sealed.has_user_password;
    // One that was given although none is needed would only spoil the key.
    let user_password = match needed {
        true => password.password().ok_or(ClientError::LinkPassword { needed })?,
        false => LinkPassword::new(""),
    };
    let (label, password) = (link.label, link.password.clone());
    let key = network.runtime.compute(move || derive_key(label, &password, &user_password)).await?;
    let capability: AbsoluteCapability = sealed.sealed.decrypt(&key).map_err(|error| match error {
        CipherError::Decode(source) => ClientError::Damaged { what: "the capability of a link", source },
        _ => ClientError::LinkPassword { needed },
    })?;
    match capability.owner == link.owner {
        true => Ok(capability),
        false => Err(ClientError::ForgedLink),
    }
}

/// Nodes tell by their texts why they do not hand out a link (`spec/05` §7.7).
fn refusal(error: CallError) -> ClientError {
    let CallError::Api(ApiError::Refused { message, .. }) = &error else {
        return ClientError::of_call(OpenSecretLink::PATH, error);
    };
    let says = |refusal: LinkRefusal| message.contains(&refusal.to_string());
    if says(LinkRefusal::Expired) {
        ClientError::LinkExpired
    } else if says(LinkRefusal::Used) {
        ClientError::LinkUsedUp
    } else if message.contains("No secret link") {
        ClientError::LinkWithdrawn
    } else {
        ClientError::of_call(OpenSecretLink::PATH, error)
    }
}
