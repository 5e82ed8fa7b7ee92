//! Who others are: keys as they were first seen, what a user owns, and what this account noted about other users
//! (`spec/05` §3.5–§3.9, §4.5, §5.1).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::account::fetch_chain;
use super::desk::{Desk, part};
use super::error::ClientError;
use super::item::Item;
use super::network::Network;
use super::runtime::{Runtime, millis};
use crate::api::Transport;
use crate::cryptree::AbsoluteCapability;
use crate::cryptree::home::{KEYSTORE, SHARED};
use crate::cryptree::name::FileName;
use crate::encoding::{Cid, FromCbor, ToCbor, Value};
use crate::keys::{KeyHash, Owner, PublicBoxingKey, Writer};
use crate::login::EntryPoint;
use crate::merkle::champ::{BlockSource, ChampError};
use crate::merkle::ownership::{self, OwnershipError, WriterSource};
use crate::names::{Date, Username};
use crate::social::friends::{Blocked, PendingSocialState, following};
use crate::social::keystore::TofuError;
use crate::social::places::{
    self, BLOCKED, FROM_FRIENDS, GROUPS, SHARED_WITH, SHARING_READ, SHARING_WRITE, SOCIAL_STATE,
};
use crate::social::shared_with::{Access, Recipient, SharedWithState};
use crate::social::{GroupKind, Groups, TofuKeyStore, stream};

/// Most writing spaces of one user that are looked through for an owner.
const MAX_WRITERS: usize = 4096;

/// The public side of another user.
pub(crate) struct Person {
    pub owner: Owner,
    /// Hash of the key to which follow requests are encrypted.
    pub boxing_hash: KeyHash,
    pub boxing: PublicBoxingKey,
}

/// Pointers and blocks of one user, for walking over what the user owns.
struct Possessions<'a, T, R> {
    network: &'a Network<T, R>,
    owner: &'a Owner,
}

impl<T: Transport, R: Runtime> BlockSource for Possessions<'_, T, R> {
    type Error = ClientError;

    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, ClientError> {
        self.network.block(self.owner, cid, None).await.map(Some)
    }
}

impl<T: Transport, R: Runtime> WriterSource for Possessions<'_, T, R> {
    async fn target(&self, writer: &Writer) -> Result<Option<Cid>, ClientError> {
        let pointer = self.network.pointer(self.owner, writer).await?;
        Ok(pointer.and_then(|pointer| pointer.updated().cloned()))
    }
}

/// The identity of a name, as its chain of claims proves it, for somebody who has no key store.
pub(crate) async fn claimed_owner<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    name: &Username,
) -> Result<Owner, ClientError> {
    let mut store = TofuKeyStore::default();
    learn(network, &mut store, name).await?;
    store.owner(name).cloned().ok_or(ClientError::UnknownUser)
}

/// Compares what a store knows of a name with its chain of claims. Whether that was anything new.
async fn learn<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    store: &mut TofuKeyStore,
    name: &Username,
) -> Result<bool, ClientError> {
    let (chain, keys) = fetch_chain(network, name).await?;
    let key_of = |owner: &Owner| keys.iter().find(|(known, _)| known == owner).map(|(_, key)| *key);
    let today = Date::from_unix_millis(millis(network.runtime.now()));
    store.update(name, &chain, today, key_of).map_err(|error| match error {
        TofuError::Changed { name, .. } => ClientError::KeyChanged { name },
        _ => ClientError::ForgedClaim,
    })
}

/// The public side of the user whose identity is `owner`.
pub(crate) async fn person<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    owner: Owner,
) -> Result<Person, ClientError> {
    let version = network.version(&owner, &Writer::from(&owner)).await?;
    let data = version.data.ok_or(ClientError::DeletedUser)?;
    let boxing_hash = data.inbound.clone().ok_or(ClientError::Inconsistent("an identity that takes no requests"))?;
    let block = network.block(&owner, boxing_hash.cid(), None).await?;
    let what = "a public boxing key";
    let value = Value::decode_shared(&block).map_err(ClientError::damaged(what))?;
    let boxing = PublicBoxingKey::from_cbor(&value).map_err(ClientError::damaged(what))?;
    Ok(Person { owner, boxing_hash, boxing })
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// The identity of a name. A known name is answered from the key store, so that no server can exchange a friend's
    /// key; with `compare` the server is asked as well, and a key that the old one did not name is refused.
    ///
    /// # Errors
    /// [`ClientError::KeyChanged`], [`ClientError::UnknownUser`], [`ClientError::ForgedClaim`].
    pub(crate) async fn owner_of(&mut self, name: &Username, compare: bool) -> Result<Owner, ClientError> {
        let mut store: TofuKeyStore = self.structure(KEYSTORE, "the key store").await?.unwrap_or_default();
        if let Some(owner) = store.owner(name).filter(|_| !compare) {
            return Ok(owner.clone());
        }
        if learn(&self.view.core.network, &mut store, name).await? {
            self.put(KEYSTORE, &store, true);
        }
        store.owner(name).cloned().ok_or(ClientError::UnknownUser)
    }

    /// How many writers the account has itself, the identity among them.
    pub(crate) async fn count_writers(&mut self) -> Result<usize, ClientError> {
        let core = self.view.core;
        let source = Possessions { network: &core.network, owner: &core.tree.owner };
        match ownership::walk(&source, &core.tree.owner, MAX_WRITERS).await {
            Ok(walk) => Ok(walk.writers.len()),
            Err(OwnershipError::Source(error) | OwnershipError::Champ(ChampError::Source(error))) => Err(error),
            Err(_) => Err(ClientError::Inconsistent("the tree of the account's writers")),
        }
    }

    /// Whether a writer belongs to a user.
    pub(crate) async fn owns(&mut self, owner: &Owner, writer: &Writer) -> Result<bool, ClientError> {
        let key = (owner.clone(), writer.clone());
        if let Some(known) = self.owned.get(&key) {
            return Ok(*known);
        }
        let source = Possessions { network: &self.view.core.network, owner };
        let owns = match ownership::owns(&source, owner, writer, MAX_WRITERS).await {
            Ok(owns) => owns,
            Err(OwnershipError::Source(error) | OwnershipError::Champ(ChampError::Source(error))) => return Err(error),
            // The other user's data do not prove it.
            Err(_) => false,
        };
        self.owned.insert(key, owns);
        Ok(owns)
    }

    /// Whether the named user hands out a capability of his own (`spec/05` §3.5).
    pub(crate) async fn is_genuine(&mut self, entry: &EntryPoint) -> Result<bool, ClientError> {
        let owner = match self.owner_of(&entry.owner_name, false).await {
            Ok(owner) => owner,
            Err(ClientError::UnknownUser) => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(entry.capability.owner == owner && self.owns(&owner, &entry.capability.writer).await?)
    }

    /// Those whom we asked and who have not answered.
    pub(crate) async fn pending(&mut self) -> Result<PendingSocialState, ClientError> {
        Ok(self.structure(SOCIAL_STATE, "the open follow requests").await?.unwrap_or_default())
    }

    pub(crate) fn put_pending(&mut self, pending: &PendingSocialState) {
        self.put(SOCIAL_STATE, pending, true);
    }

    /// Those for whom there is a sharing directory, pending ones included.
    pub(crate) async fn directories(&mut self) -> Result<BTreeSet<Username>, ClientError> {
        let names = self.names(SHARED).await?;
        let people = names.iter().filter(|name| !name.as_str().starts_with('.'));
        Ok(people.filter_map(|name| Username::existing(name.as_str()).ok()).collect())
    }

    /// Those who follow us.
    pub(crate) async fn followers(&mut self) -> Result<BTreeSet<Username>, ClientError> {
        let pending = self.pending().await?.outgoing;
        Ok(self.directories().await?.difference(&pending).cloned().collect())
    }

    pub(crate) async fn blocked(&mut self) -> Result<Blocked, ClientError> {
        Ok(Blocked::from_text(&self.read(BLOCKED).await?.unwrap_or_default()))
    }

    /// All entry points that friends gave us, of blocked ones too.
    pub(crate) async fn entry_points(&mut self) -> Result<Vec<EntryPoint>, ClientError> {
        let content = self.read(FROM_FRIENDS).await?.unwrap_or_default();
        stream::read_all(&content).map_err(ClientError::damaged("the friends' entry points"))
    }

    /// The sharing directories of those whom we follow.
    pub(crate) async fn following(&mut self) -> Result<Vec<EntryPoint>, ClientError> {
        Ok(following(self.entry_points().await?, &self.blocked().await?))
    }

    /// Adds an entry point unless it is there.
    pub(crate) async fn add_entry_point(&mut self, entry: &EntryPoint) -> Result<(), ClientError> {
        if self.entry_points().await?.contains(entry) {
            return Ok(());
        }
        self.append(FROM_FRIENDS, &entry.to_bytes(), true).await
    }

    /// Our sharing directory for somebody, made if it is absent.
    pub(crate) async fn sharing_directory(&mut self, recipient: &Recipient) -> Result<Item, ClientError> {
        self.directory(&places::sharing_directory(recipient), true).await
    }

    /// Our groups. They are made when they are first needed; true friends become members of the friends' group
    /// (`spec/05` §4.5).
    pub(crate) async fn groups(&mut self) -> Result<Groups, ClientError> {
        let place = format!("{SHARED}/{GROUPS}");
        if let Some(groups) = self.structure(&place, "the groups").await? {
            return Ok(groups);
        }
        let groups = Groups::generate(&mut self.view.core.network.runtime.rng());
        self.put(&place, &groups, false);
        let followers = self.followers().await?;
        let followed: BTreeSet<Username> = self.following().await?.into_iter().map(|entry| entry.owner_name).collect();
        for kind in GroupKind::ALL {
            let Some(uid) = groups.uid(kind).cloned() else { continue };
            self.sharing_directory(&uid.into()).await?;
            for member in followers.iter().filter(|name| kind == GroupKind::Followers || followed.contains(name)) {
                self.add_to_group(&groups, kind, member).await?;
            }
        }
        Ok(groups)
    }

    async fn add_to_group(&mut self, groups: &Groups, kind: GroupKind, name: &Username) -> Result<(), ClientError> {
        let uid = groups.uid(kind).cloned().ok_or(ClientError::Inconsistent("the groups lack one of the two"))?;
        let child = part(uid.as_str())?;
        let directory = self.sharing_directory(&uid.into()).await?;
        let us = self.view.core.tree.username.clone();
        self.grant_read(&directory.cap, &us, &[part(SHARED)?], &child, &name.clone().into()).await?;
        Ok(())
    }

    /// Lets somebody read what is shared with groups of ours.
    pub(crate) async fn share_groups(&mut self, kinds: &[GroupKind], name: &Username) -> Result<(), ClientError> {
        if kinds.is_empty() {
            return Ok(());
        }
        let groups = self.groups().await?;
        for kind in kinds {
            self.add_to_group(&groups, *kind, name).await?;
        }
        Ok(())
    }

    /// Grants reading, and notes it; false if it was granted before (`spec/05` §5.2).
    pub(crate) async fn grant_read(
        &mut self,
        cap: &AbsoluteCapability,
        owner: &Username,
        parent: &[FileName],
        child: &FileName,
        recipient: &Recipient,
    ) -> Result<bool, ClientError> {
        self.grant(Access::Read, cap, owner, parent, child, recipient).await
    }

    /// Grants access, and notes it; false if it was granted before (`spec/05` §5.2, §5.3).
    pub(crate) async fn grant(
        &mut self,
        access: Access,
        cap: &AbsoluteCapability,
        owner: &Username,
        parent: &[FileName],
        child: &FileName,
        recipient: &Recipient,
    ) -> Result<bool, ClientError> {
        let place = format!("{}/{SHARED_WITH}", places::outbound(owner, parent));
        let mut state: SharedWithState =
            self.structure(&place, "the record of what is shared").await?.unwrap_or_default();
        if state.get(child.as_str()).is_some_and(|shares| shares.recipients(access).contains(recipient)) {
            return Ok(false);
        }
        let (stream, cap) = match access {
            Access::Read => (SHARING_READ, cap.read_only()),
            Access::Write => (SHARING_WRITE, cap.clone()),
        };
        let stream = format!("{}/{stream}", places::sharing_directory(recipient));
        self.append(&stream, &cap.to_bytes(), false).await?;
        state.grant(child, access, [recipient.clone()]);
        self.put(&place, &state, false);
        Ok(true)
    }
}
