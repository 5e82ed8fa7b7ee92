//! Sharing to write, and handing out new capabilities after keys have changed (`spec/05` §5.3, §6.3).

use std::collections::{BTreeSet, HashMap, HashSet};

use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::Desk;
use super::edit::Place;
use super::error::ClientError;
use super::groups::Audience;
use super::keys::SessionKeys;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::session::Session;
use super::sharing::{parent_of, user_of};
use super::spaces::Rotated;
use super::upload::split;
use super::view::View;
use crate::api::Transport;
use crate::cryptree::capability::Location;
use crate::cryptree::name::FileName;
use crate::cryptree::rotation::RotatedItem;
use crate::links::LinkProperties;
use crate::social::places::{self, SHARED_WITH, SHARING_READ, SHARING_WRITE};
use crate::social::shared_with::{Access, Recipient, SharedWithState, Shares};
use crate::social::stream::Records;

/// What is told to be damaged.
const WHAT: &str = "the record of what is shared";

/// A secret link of an item that has a new capability: what the link holds must be sealed anew, under the same label and
/// passwords (`spec/05` §7.6).
pub(crate) type OutdatedLink = (LinkProperties, RotatedItem);

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Gives the new capabilities of rotated items to everybody who stands in the record of what is shared. `path` is that
    /// of the rotated item. Gives the links that hold an old capability.
    ///
    /// The record goes by path, and who may write in a folder can put something else in the place of what was shared. So
    /// new capabilities go only to who was granted the old one of the same thing; others are taken out of the record.
    pub(crate) async fn resend(
        &mut self,
        path: &RemotePath,
        rotated: &Rotated,
    ) -> Result<Vec<OutdatedLink>, ClientError> {
        let mut by_path: HashMap<RemotePath, &RotatedItem> = HashMap::new();
        for item in &rotated.items {
            let names = item.path.iter().map(|name| name.file_name());
            // What has no legal name was never shared.
            let Ok(names) = names.collect::<Result<Vec<_>, _>>() else { continue };
            by_path.insert(names.into_iter().fold(path.clone(), |path, name| path.join(name)), item);
        }
        let mut links = Vec::new();
        let mut granted: HashMap<String, HashSet<Location>> = HashMap::new();
        for (path, shares) in self.recorded(path).await? {
            let Some(item) = by_path.get(&path) else { continue };
            let streams = [
                (&shares.readers, Access::Read, SHARING_READ, item.new.read_only()),
                (&shares.writers, Access::Write, SHARING_WRITE, item.new.clone()),
            ];
            for (recipients, access, stream, cap) in streams {
                let mut of_something_else: BTreeSet<Recipient> = BTreeSet::new();
                for recipient in recipients {
                    let stream = format!("{}/{stream}", places::sharing_directory(recipient));
                    if !granted.contains_key(&stream) {
                        let before = self.read(&stream).await?.unwrap_or_default();
                        let records = Records::read(&before, 0).records;
                        granted.insert(stream.clone(), records.iter().map(|r| r.capability.location()).collect());
                    }
                    match granted[&stream].contains(&item.old.location()) {
                        true => self.append(&stream, &crate::encoding::ToCbor::to_bytes(&cap), false).await?,
                        false => drop(of_something_else.insert(recipient.clone())),
                    }
                }
                if !of_something_else.is_empty() {
                    self.unrecord(&path, &[access], &of_something_else).await?;
                }
            }
            links.extend(shares.links.into_iter().map(|link| (link, (*item).clone())));
        }
        Ok(links)
    }

    /// What the record says of a path and of everything below it.
    pub(crate) async fn recorded(&mut self, path: &RemotePath) -> Result<Vec<(RemotePath, Shares)>, ClientError> {
        let mut found = Vec::new();
        let owner = user_of(path)?;
        if let (Some(parent), Some(name)) = (path.parent(), path.names().last()) {
            let record = format!("{}/{SHARED_WITH}", places::outbound(&owner, parent.names()));
            let state: Option<SharedWithState> = self.structure(&record, WHAT).await?;
            let shares = state.as_ref().and_then(|state| state.get(name.as_str()));
            found.extend(shares.map(|shares| (path.clone(), shares.clone())));
        }
        let mut pending = vec![path.clone()];
        while let Some(directory) = pending.pop() {
            let place = places::outbound(&owner, directory.names());
            let names: Vec<FileName> = self.names(&place).await?;
            for name in names {
                if name.as_str() != SHARED_WITH {
                    pending.push(directory.join(name));
                    continue;
                }
                let state: Option<SharedWithState> = self.structure(&format!("{place}/{SHARED_WITH}"), WHAT).await?;
                let state = state.unwrap_or_default();
                found.extend(state.iter().map(|(name, shares)| (directory.join(name.clone()), shares.clone())));
            }
        }
        Ok(found)
    }
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// Sees to it that an own item has a writing space of its own, so that others may write it and nothing beside it. If it
    /// gets one now, it has new capabilities, and these are sent to everybody who has access.
    pub(crate) async fn require_space(&mut self, keys: &SessionKeys, path: &RemotePath) -> Result<(), ClientError> {
        let (parent_path, name) = split(path)?;
        let parent = self.resolve_own_directory(&parent_path).await?;
        let item = self.child(&parent, &name).await?.ok_or_else(|| ClientError::NotFound { path: path.clone() })?;
        if View::<T, R>::has_own_space(&parent, &item) {
            return Ok(());
        }
        let rotated = self.rotate(&Place { parent: &parent, name: &name, path }, &item, true).await?;
        let mut desk = Desk::new(self);
        desk.follow_rotation(keys, path, &rotated).await?;
        desk.save().await
    }
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Lets followers of this account read and change a file, or a directory with everything in it, now and later. They
    /// cannot rename or remove the thing itself. What they may write already is not granted twice. Gives those who were
    /// granted it now.
    ///
    /// When it is first shared to write, the thing gets a signing key of its own, with new keys for everything in it: one
    /// new node for each file and directory; contents stay as they are. Readers and links keep working.
    ///
    /// # Errors
    /// [`ClientError::NotAFollower`]; then nothing was granted to anybody. [`ClientError::NotOwner`] for what somebody
    /// else shares: that can only be passed on to read, with [`share`](Self::share). [`ClientError::Home`].
    pub async fn share_to_write(
        &self,
        path: &RemotePath,
        with: &[impl Into<Audience> + Clone],
    ) -> Result<Vec<Audience>, ClientError> {
        let core = self.shared_core();
        if !core.is_own(path) {
            return Err(ClientError::NotOwner { path: path.clone() });
        }
        let (owner, parent, name) = parent_of(path)?;
        self.welcome(with).await?;
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                let recipients = desk.recipients(with).await?;
                desk.save().await?;
                view.require_space(self.keys(), path).await?;
                let item = view.resolve_own(path).await?;
                let mut desk = Desk::new(view);
                let mut granted = Vec::new();
                for (audience, recipient) in recipients {
                    if desk.grant(Access::Write, &item.cap, &owner, parent, name, &recipient).await? {
                        granted.push(audience);
                    }
                }
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(granted)
            })
        })
    }
}
