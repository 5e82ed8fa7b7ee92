//! Sharing to read, and what others share (`spec/05` §4, §5.2, §6.4).
//!
//! What is received is kept in the mirror `.capabilitycache/world`, which other clients read too. A path of somebody else
//! is looked up there; above what is shared only the names of directories can be seen, and they are shown as directories
//! that hold nothing but the way down.

use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::{Desk, part};
use super::entry::Entry;
use super::error::{ClientError, ErrorKind};
use super::groups::Audience;
use super::item::{Item, Reached};
use super::path::RemotePath;
use super::runtime::Runtime;
use super::session::Session;
use super::view::{Opened, View};
use crate::api::Transport;
use crate::cryptree::AbsoluteCapability;
use crate::cryptree::home::SHARED;
use crate::cryptree::name::FileName;
use crate::login::EntryPoint;
use crate::names::Username;
use crate::social::CapsInDirectory;
use crate::social::places::{self, ITEMS, SHARED_WITH};
use crate::social::shared_with::{SharedWithState, Shares};

/// Deepest place that is followed upwards, or looked for in the mirror.
pub(crate) const MAX_DEPTH: usize = 256;

/// An item of this account that is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedItem {
    /// Its path.
    pub path: RemotePath,
    /// With whom, and its links.
    pub shares: Shares,
}

/// An item that somebody shares with this account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedShare {
    /// Its path, which works in every call that reads.
    pub path: RemotePath,
    /// Who shares it.
    pub sharers: Vec<Username>,
    /// What it is.
    pub entry: Entry,
}

/// The result of opening what somebody else made; none if it is not there (any more) or is no such thing.
pub(crate) fn lenient<O>(result: Result<Option<O>, ClientError>) -> Result<Option<O>, ClientError> {
    match result {
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(None),
        other => other,
    }
}

pub(crate) fn user_of(path: &RemotePath) -> Result<Username, ClientError> {
    Username::existing(path.user().as_str()).map_err(|_| ClientError::NotFound { path: path.clone() })
}

/// The owner of a path and the names from his home directory to the directory that holds it.
pub(crate) fn parent_of(path: &RemotePath) -> Result<(Username, &[FileName], &FileName), ClientError> {
    let (name, parent) = path.names().split_last().ok_or(ClientError::Home)?;
    Ok((user_of(path)?, parent, name))
}

/// What opens the directory above an item as far as its name, or the link node in front of the item.
fn way_up(item: &Item) -> Option<AbsoluteCapability> {
    item.parent_block().parent.as_ref().map(|parent| parent.to_absolute_read_only(&item.cap))
}

/// A step on the way from an item to its home.
#[derive(Clone)]
pub(crate) struct WayUp {
    /// What opens the directory.
    cap: AbsoluteCapability,
    /// Its name.
    name: FileName,
    /// What opens the directory above it; none above a home.
    above: Option<AbsoluteCapability>,
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Opens what a capability of somebody else leads to, without the right to write.
    pub(crate) async fn open_shared(&mut self, cap: &AbsoluteCapability) -> Result<Option<Item>, ClientError> {
        self.open_received(&cap.read_only()).await
    }

    /// Opens what a capability of somebody else leads to, with all that it allows. Only for what
    /// [`locate`](Self::locate) has found to be the owner's: a writing space that is somebody's must be his own.
    pub(crate) async fn open_received(&mut self, cap: &AbsoluteCapability) -> Result<Option<Item>, ClientError> {
        let reached = Reached { cap: cap.clone(), signer: None };
        let opened = self.view.open_targets(&[reached]).await.map(|mut items| items.pop().flatten());
        lenient(opened)
    }

    /// As [`open_received`](Self::open_received) for several, with one look-up for many of a space.
    ///
    /// # Errors
    /// When a space cannot be read at all, so that none of what is in it can be opened.
    pub(crate) async fn open_all_received(
        &mut self,
        caps: impl Iterator<Item = AbsoluteCapability>,
    ) -> Result<Vec<Opened>, ClientError> {
        let reached: Vec<Reached> = caps.map(|cap| Reached { cap, signer: None }).collect();
        match self.view.open_each_target(&reached).await {
            Ok(opened) => return Ok(opened.into_iter().map(lenient).collect()),
            Err(error) if !reached.iter().all(|reached| self.view.versions.contains_key(&reached.cap.writer)) => {
                return Err(error);
            }
            // What is wrong with one of them must not hide the others.
            Err(_) => {}
        }
        let mut opened = Vec::with_capacity(reached.len());
        for Reached { cap, .. } in &reached {
            opened.push(self.open_received(cap).await);
        }
        Ok(opened)
    }

    /// The directory above an item, link nodes left out; none above a home directory.
    async fn above(&mut self, item: &Item) -> Result<Option<Item>, ClientError> {
        match way_up(item) {
            Some(cap) => self.directory_at(cap).await,
            None => Ok(None),
        }
    }

    /// The directory that a way up leads to, link nodes left out.
    async fn directory_at(&mut self, mut cap: AbsoluteCapability) -> Result<Option<Item>, ClientError> {
        for _ in 0..MAX_DEPTH {
            let opened = self.view.open(&[Reached { cap, signer: None }]).await.map(|mut items| items.pop().flatten());
            let Some(item) = lenient(opened)? else { return Ok(None) };
            if !item.is_link() {
                return Ok(Some(item));
            }
            let Some(above) = way_up(&item) else { return Ok(None) };
            cap = above;
        }
        Ok(None)
    }

    /// The names above an item, from the nearest to that of the home directory; none if the way is broken. What lies in
    /// the same directory has the same names above it, so each step is looked up once.
    pub(crate) async fn names_above(&mut self, item: &Item) -> Result<Option<Vec<FileName>>, ClientError> {
        let mut names = Vec::new();
        let mut next = way_up(item);
        while let Some(cap) = next {
            let step = match self.ways_up.get(&cap.location()).filter(|step| step.cap == cap) {
                Some(known) => known.clone(),
                None => {
                    let Some(directory) = self.directory_at(cap.clone()).await? else { return Ok(None) };
                    let (name, above) = (directory.properties().name.clone(), way_up(&directory));
                    let step = WayUp { cap, name, above };
                    self.ways_up.insert(step.cap.location(), step.clone());
                    step
                }
            };
            names.push(step.name);
            if names.len() > MAX_DEPTH {
                return Ok(None);
            }
            next = step.above;
        }
        Ok(Some(names))
    }

    /// Where a capability leads: names are followed upwards, and the user in front must own it, so that nobody can plant
    /// a tree under the name of another (`spec/05` §4.2).
    pub(crate) async fn locate(&mut self, cap: &AbsoluteCapability) -> Result<Option<RemotePath>, ClientError> {
        let Some(path) = self.trail(cap).await? else { return Ok(None) };
        let Ok(owner) = Username::existing(path.user().as_str()) else { return Ok(None) };
        let claim = EntryPoint { capability: cap.clone(), owner_name: owner };
        if claim.owner_name == self.view.core.tree.username || !self.is_genuine(&claim).await? {
            return Ok(None);
        }
        Ok(Some(path))
    }

    /// Where a capability says that it leads, whoever owns it. None for a home directory.
    pub(crate) async fn trail(&mut self, cap: &AbsoluteCapability) -> Result<Option<RemotePath>, ClientError> {
        let Some(item) = self.open_shared(cap).await? else { return Ok(None) };
        let Some(above) = self.names_above(&item).await? else { return Ok(None) };
        let mut names = vec![item.properties().name.clone()];
        names.extend(above);
        let Some(user) = names.pop().filter(|_| !names.is_empty()) else { return Ok(None) };
        Ok(Some(names.into_iter().rev().fold(RemotePath::home(user), |path, name| path.join(name))))
    }

    /// What was received of the children of a directory.
    pub(crate) async fn received(
        &mut self,
        owner: &Username,
        names: &[FileName],
    ) -> Result<CapsInDirectory, ClientError> {
        let place = format!("{}/{ITEMS}", places::world(owner, names));
        Ok(self.structure(&place, "received shares").await?.unwrap_or_default())
    }

    /// Opens the received item of a name: the name that it had when it was shared, else the one that it has now.
    async fn received_item(&mut self, items: &CapsInDirectory, name: &FileName) -> Result<Option<Item>, ClientError> {
        let named = match items.get(name.as_str()) {
            Some(element) => self.open_received(&element.capability).await?,
            None => None,
        };
        if named.is_some() {
            return Ok(named);
        }
        let mut failure = Ok(None);
        for opened in self.open_all_received(items.iter().map(|element| element.capability.clone())).await? {
            match opened {
                Ok(Some(item)) if item.name() == name => return Ok(Some(item)),
                Ok(_) => {}
                // It may have been this one.
                Err(error) => failure = Err(error),
            }
        }
        failure
    }

    /// What a path of somebody else leads to. What may be changed counts before what may only be read, wherever on the way
    /// it was shared (`spec/05` §4.8).
    async fn shared_item(&mut self, path: &RemotePath) -> Result<Option<Item>, ClientError> {
        let (owner, names) = (user_of(path)?, path.names());
        let mut readable = None;
        for depth in 0..names.len() {
            let items = self.received(&owner, &names[..depth]).await?;
            let mut item = self.received_item(&items, &names[depth]).await?;
            for name in &names[depth + 1..] {
                item = match item {
                    Some(directory) if directory.is_directory() => self.view.child(&directory, name).await?,
                    _ => None,
                };
            }
            match item {
                Some(item) if item.signer.is_some() => return Ok(Some(item)),
                item => readable = readable.or(item),
            }
        }
        match readable {
            Some(item) => Ok(Some(item)),
            None => self.way_through(&owner, names).await,
        }
    }

    /// A directory above something shared, seen from there.
    async fn way_through(&mut self, owner: &Username, names: &[FileName]) -> Result<Option<Item>, ClientError> {
        let mut pending = vec![names.to_vec()];
        while let Some(place) = pending.pop() {
            for element in self.received(owner, &place).await?.iter() {
                let Some(mut item) = self.open_shared(&element.capability).await? else { continue };
                let mut above = Some(item.clone());
                for _ in names.len()..=place.len() {
                    above = self.above(&item).await?;
                    let Some(next) = above.clone() else { break };
                    item = next;
                }
                if above.is_some() {
                    return Ok(above);
                }
            }
            pending.extend(self.mirrored(owner, &place).await?);
        }
        Ok(None)
    }

    /// The directories of the mirror below a directory.
    pub(crate) async fn mirrored(
        &mut self,
        owner: &Username,
        names: &[FileName],
    ) -> Result<Vec<Vec<FileName>>, ClientError> {
        if names.len() >= MAX_DEPTH {
            return Ok(Vec::new());
        }
        let children = self.names(&places::world(owner, names)).await?;
        let below = children.into_iter().filter(|name| name.as_str() != ITEMS);
        Ok(below.map(|name| [names, &[name]].concat()).collect())
    }

    /// What is shared below a directory of somebody else that is not shared itself, by the names under which it is found.
    pub(crate) async fn ways_down(&mut self, path: &RemotePath) -> Result<Vec<(FileName, Item)>, ClientError> {
        let (owner, names) = (user_of(path)?, path.names());
        let mut found: Vec<(FileName, Item)> = Vec::new();
        for element in self.received(&owner, names).await?.iter() {
            if let Some(item) = self.open_received(&element.capability).await? {
                found.push((item.name().clone(), item));
            }
        }
        for place in self.mirrored(&owner, names).await? {
            let Some(name) = place.last().cloned() else { continue };
            if found.iter().any(|(known, _)| *known == name) {
                continue;
            }
            if let Some(item) = self.way_through(&owner, &place).await? {
                found.push((name, item));
            }
        }
        Ok(found)
    }

    /// Follows a change of a path in the record of what is shared; without a new path the record of it ends
    /// (`spec/05` §6.4).
    pub(crate) async fn follow_shares(
        &mut self,
        from: &RemotePath,
        to: Option<&RemotePath>,
    ) -> Result<(), ClientError> {
        let (owner, parent, name) = parent_of(from)?;
        let record = format!("{}/{SHARED_WITH}", places::outbound(&owner, parent));
        let state: Option<SharedWithState> = self.structure(&record, "the record of what is shared").await?;
        let mut state = state.unwrap_or_default();
        let shares = state.take(name);
        if shares.is_some() {
            self.put(&record, &state, false);
        }
        let below = places::outbound(&owner, from.names());
        let has_below = self.item(&below).await?.is_some();
        let Some(to) = to else {
            return if has_below { self.remove(&below).await } else { Ok(()) };
        };
        let (owner, parent, name) = parent_of(to)?;
        let place = places::outbound(&owner, parent);
        let record = format!("{place}/{SHARED_WITH}");
        let state: Option<SharedWithState> = self.structure(&record, "the record of what is shared").await?;
        let mut state = state.unwrap_or_default();
        // What gave way to the item takes its own shares with it: the item is not shared with those people.
        let gave_way = state.take(name);
        if shares.is_some() || gave_way.is_some() {
            state.put(name.clone(), shares.unwrap_or_default());
            self.put(&record, &state, false);
        }
        if has_below {
            let target = places::outbound(&owner, to.names());
            self.remove(&target).await?;
            self.directory(&place, false).await?;
            self.relocate(&below, &target).await?;
        }
        Ok(())
    }
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// What is at a path, of which `parent` is the directory; none if there is nothing. In a directory of somebody else
    /// that cannot be changed, something that was shared by itself may be.
    pub(crate) async fn child_at(
        &mut self,
        parent: &Item,
        name: &FileName,
        path: &RemotePath,
    ) -> Result<Option<Item>, ClientError> {
        if parent.signer.is_some() || self.core.is_own(path) {
            return self.child(parent, name).await;
        }
        match self.resolve_shared(path).await {
            Ok(item) => Ok(Some(item).filter(|item| !item.is_way_through())),
            Err(ClientError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a path of somebody else leads to, by what was shared up to now.
    pub(crate) async fn resolve_shared(&mut self, path: &RemotePath) -> Result<Item, ClientError> {
        // Whoever opens a link has nothing of others, whatever the link's owner has put there.
        let item = match self.core.tree.is_account {
            true => Desk::new(self).shared_item(path).await?,
            false => None,
        };
        item.ok_or_else(|| ClientError::NotFound { path: path.clone() })
    }
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Takes in what is new if a path is somebody else's.
    pub(crate) async fn look_around(&self, path: &RemotePath) -> Result<(), ClientError> {
        match self.core().is_own(path) {
            true => Ok(()),
            false => self.receive(Some(path.user().as_str())).await.map(drop),
        }
    }

    /// Lets followers of this account, or whole groups of them, read a file, or a directory with everything in it, now
    /// and later. What they may read already is not granted twice. Gives those who were granted it now.
    ///
    /// What somebody else shares can be passed on as well.
    ///
    /// # Errors
    /// [`ClientError::NotAFollower`]; then nothing was granted to anybody. [`ClientError::Home`].
    pub async fn share(
        &self,
        path: &RemotePath,
        with: &[impl Into<Audience> + Clone],
    ) -> Result<Vec<Audience>, ClientError> {
        self.look_around(path).await?;
        self.welcome(with).await?;
        let (owner, parent, name) = parent_of(path)?;
        let core = self.shared_core();
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let item = view.resolve(path).await?;
                if item.is_way_through() {
                    return Err(ClientError::NotFound { path: path.clone() });
                }
                let mut desk = Desk::new(view);
                let mut granted = Vec::new();
                for (audience, recipient) in desk.recipients(with).await? {
                    if desk.grant_read(&item.cap, &owner, parent, name, &recipient).await? {
                        granted.push(audience);
                    }
                }
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(granted)
            })
        })
    }

    /// What is shared of a path and of everything below it, sorted by path.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn shares(&self, path: &RemotePath) -> Result<Vec<SharedItem>, ClientError> {
        let core = self.shared_core();
        let mut items = on_current_state!(core, |view| {
            view.resolve(path).await?;
            let recorded = Desk::new(view).recorded(path).await?;
            let mut items: Vec<SharedItem> =
                recorded.into_iter().map(|(path, shares)| SharedItem { path, shares }).collect();
            // The directories of groups are not what the user shared.
            let shared = RemotePath::home(path.user().clone()).join(part(SHARED)?);
            items.retain(|item| !item.path.starts_with(&shared));
            Ok(items)
        })?;
        items.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(items)
    }
}
