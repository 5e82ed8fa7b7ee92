//! Secret links of an account: made, listed, changed, withdrawn, and kept alive when keys change (`spec/05` §7).
//!
//! What a link holds lies encrypted in a tree on the account's identity, from where the node hands it out; what the account
//! needs to show, change or withdraw it lies in the record of what is shared. Both change with one commit.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::Desk;
use super::error::ClientError;
use super::item::{Item, Signer};
use super::keys::SessionKeys;
use super::network::Repeat;
use super::path::RemotePath;
use super::runtime::{Runtime, millis};
use super::session::Session;
use super::sharing::parent_of;
use super::spaces::Rotated;
use super::write_sharing::OutdatedLink;
use crate::api::Transport;
use crate::api::links::{GetLinkCounts, GetLinkHost, LinksOf};
use crate::cryptree::AbsoluteCapability;
use crate::keys::CipherText;
use crate::links::sealed::derive_key;
use crate::links::{
    EncryptedCapability, LinkCount, LinkLabel, LinkPassword, LinkProperties, SecretLink, SecretLinkTarget,
};
use crate::social::places::{self, SHARED_WITH};
use crate::social::shared_with::SharedWithState;

/// What a secret link allows, and for how long.
#[derive(Clone, Debug, Default)]
pub struct LinkOptions {
    /// Whether who opens it may change what it leads to.
    pub is_writable: bool,
    /// Until when it opens, in seconds since 1970 UTC; for ever, if none is given.
    pub expiry_secs: Option<i64>,
    /// How often it opens, at least once; without end, if none is given.
    pub max_openings: Option<u32>,
    /// A password that is asked for in addition to the one in the link.
    pub password: Option<LinkPassword>,
    /// Whether the web client shows a file at once.
    pub opens_at_once: bool,
}

/// What is to be different about a link. Nothing else changes; above all, the link itself stays the same.
#[derive(Clone, Debug, Default)]
pub struct LinkChange {
    /// Another expiry, in seconds since 1970 UTC; `Some(None)` for none.
    pub expiry_secs: Option<Option<i64>>,
    /// Another number of openings, those up to now included; `Some(None)` for no limit.
    pub max_openings: Option<Option<u32>>,
    /// Another additional password; an empty one for none.
    pub password: Option<LinkPassword>,
    /// Whether the web client shows a file at once.
    pub opens_at_once: Option<bool>,
}

/// A secret link of this account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnLink {
    /// What it leads to.
    pub path: RemotePath,
    /// The link, with its password.
    pub link: SecretLink,
    /// Whether who opens it may change what it leads to.
    pub is_writable: bool,
    /// Until when it opens, in seconds since 1970 UTC.
    pub expiry_secs: Option<i64>,
    /// How often it opens.
    pub max_openings: Option<i64>,
    /// The password that is asked for in addition; empty if there is none.
    pub password: LinkPassword,
    /// Whether the web client shows a file at once.
    pub opens_at_once: bool,
    /// How often the node handed it out, wrong additional passwords included; none if the node does not tell.
    pub openings: Option<u64>,
    /// When it was last handed out, in seconds since 1970 UTC.
    pub last_opened_secs: Option<i64>,
}

const RECORD: &str = "the record of what is shared";

/// The place of the record that holds what is shared of a path.
fn record_of(path: &RemotePath) -> Result<String, ClientError> {
    let (owner, parent, _) = parent_of(path)?;
    Ok(format!("{}/{SHARED_WITH}", places::outbound(&owner, parent)))
}

/// The account's identity as a signer of changes.
pub(crate) fn identity_of(keys: &SessionKeys) -> Signer {
    Arc::new(keys.identity.clone())
}

/// What a link to an item holds: for writing the link node, through which the target's writing space is found
/// (`spec/05` §7.5).
fn capability_of(item: &Item, path: &RemotePath, is_writable: bool) -> Result<AbsoluteCapability, ClientError> {
    match (is_writable, &item.link) {
        (false, _) => Ok(item.cap.read_only()),
        (true, Some(link)) if link.cap.is_writable() => Ok(link.cap.clone()),
        (true, _) => Err(ClientError::ReadOnly { path: path.clone() }),
    }
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Seals what a link holds, and notes the link in the record of its path.
    async fn put_link(
        &mut self,
        identity: &Signer,
        path: &RemotePath,
        mut properties: LinkProperties,
        capability: &AbsoluteCapability,
        is_new: bool,
    ) -> Result<(), ClientError> {
        let runtime = self.view.core.network.runtime.clone();
        let (label, password, user) = (properties.label, properties.password.clone(), properties.user_password.clone());
        let key = runtime.compute(move || derive_key(label, &password, &user)).await?;
        let capability = EncryptedCapability {
            sealed: CipherText::encrypt(capability, &key, &mut runtime.rng()),
            has_user_password: !properties.user_password.is_empty(),
        };
        let target = SecretLinkTarget {
            capability,
            expiry_secs: properties.expiry_secs,
            max_retrievals: properties.max_retrievals,
        };
        properties.target = Some(self.view.identity(identity).put_link(label, is_new, &target));
        let record = record_of(path)?;
        let mut state: SharedWithState = self.structure(&record, RECORD).await?.unwrap_or_default();
        state.put_link(path.name(), properties);
        self.put(&record, &state, false);
        Ok(())
    }

    /// What follows when an item and everything below it have new keys: all who stand in the records get the new
    /// capabilities, links go on to open, and what is published below stays so. Whoever is to lose access is taken out of
    /// the records before. `path` is that of the rotated item.
    pub(crate) async fn follow_rotation(
        &mut self,
        keys: &SessionKeys,
        path: &RemotePath,
        rotated: &Rotated,
    ) -> Result<(), ClientError> {
        let links = self.resend(path, rotated).await?;
        self.reseal_links(keys, path, links).await?;
        self.republish(keys, path, rotated).await
    }

    /// Seals links anew, under the same labels and passwords, for items whose keys have changed, so that they go on to
    /// open. `path` is that of the item that was rotated.
    pub(crate) async fn reseal_links(
        &mut self,
        keys: &SessionKeys,
        path: &RemotePath,
        links: Vec<OutdatedLink>,
    ) -> Result<(), ClientError> {
        let identity = identity_of(keys);
        for (properties, item) in links {
            let names = item.path.iter().map(|name| name.file_name());
            let Ok(names) = names.collect::<Result<Vec<_>, _>>() else { continue };
            let path = names.into_iter().fold(path.clone(), |path, name| path.join(name));
            let capability = match (properties.is_writable, item.link) {
                (false, _) => item.new.read_only(),
                (true, Some(link)) => link,
                (true, None) => return Err(ClientError::Inconsistent("a link to write without a space of its own")),
            };
            self.put_link(&identity, &path, properties, &capability, false).await?;
        }
        Ok(())
    }

    /// Ends all links of a path and of everything below it, because these are to be removed.
    pub(crate) async fn end_links(&mut self, keys: &SessionKeys, path: &RemotePath) -> Result<(), ClientError> {
        let links: Vec<LinkLabel> =
            self.recorded(path).await?.iter().flat_map(|(_, shares)| &shares.links).map(|link| link.label).collect();
        if !links.is_empty() {
            let identity = identity_of(keys);
            links.into_iter().for_each(|label| self.view.identity(&identity).remove_link(label));
        }
        Ok(())
    }

    /// The links of a path and of everything below it.
    async fn links_of(&mut self, path: &RemotePath) -> Result<Vec<(RemotePath, LinkProperties)>, ClientError> {
        let recorded = self.recorded(path).await?;
        let of_item = |(path, shares): (RemotePath, crate::social::shared_with::Shares)| {
            shares.links.into_iter().map(move |link| (path.clone(), link))
        };
        Ok(recorded.into_iter().flat_map(of_item).collect())
    }

    /// The link of a label.
    async fn link(&mut self, label: LinkLabel) -> Result<(RemotePath, LinkProperties), ClientError> {
        let home = self.path("")?;
        let links = self.links_of(&home).await?;
        links.into_iter().find(|(_, link)| link.label == label).ok_or(ClientError::NoSuchLink)
    }
}

impl<T: Transport, R: Runtime> Session<T, R> {
    fn require_future(&self, expiry_secs: Option<i64>) -> Result<(), ClientError> {
        let now_secs = millis(self.core().network.runtime.now()).div_euclid(1000);
        match expiry_secs.is_some_and(|expiry| expiry <= now_secs) {
            true => Err(ClientError::Limit("the link would have expired already")),
            false => Ok(()),
        }
    }

    /// Makes a secret link to a file, or to a directory with everything in it, now and later. Whoever has it can open it
    /// without an account, with [`OpenLink`](super::OpenLink).
    ///
    /// The first link to write to something gives it a signing key of its own, with new keys for everything in it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::NotOwner`] for what somebody else shares, [`ClientError::Home`],
    /// [`ClientError::Limit`] for a link that would never open.
    pub async fn create_link(&self, path: &RemotePath, options: &LinkOptions) -> Result<SecretLink, ClientError> {
        let core = self.shared_core();
        if !core.is_own(path) {
            return Err(ClientError::NotOwner { path: path.clone() });
        }
        parent_of(path)?;
        self.require_future(options.expiry_secs)?;
        if options.max_openings == Some(0) {
            return Err(ClientError::Limit("a link must open at least once"));
        }
        let identity = identity_of(self.keys());
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                if options.is_writable {
                    view.require_space(self.keys(), path).await?;
                }
                let item = view.resolve_own(path).await?;
                let capability = capability_of(&item, path, options.is_writable)?;
                // Drawn anew after a lost race, which a label that is taken looks like.
                let link = SecretLink::generate(core.tree.owner.clone(), &mut core.network.runtime.rng());
                let properties = LinkProperties {
                    label: link.label,
                    password: link.password.clone(),
                    user_password: options.password.clone().unwrap_or_else(|| LinkPassword::new("")),
                    is_writable: options.is_writable,
                    opens_at_once: options.opens_at_once,
                    target: None,
                    max_retrievals: options.max_openings.map(i64::from),
                    expiry_secs: options.expiry_secs,
                };
                let mut desk = Desk::new(view);
                desk.put_link(&identity, path, properties, &capability, true).await?;
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(link)
            })
        })
    }

    /// The secret links of a path and of everything below it, sorted by path, with the counts of their openings.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn links(&self, path: &RemotePath) -> Result<Vec<OwnLink>, ClientError> {
        let core = self.shared_core();
        if !core.is_own(path) {
            return Err(ClientError::NotOwner { path: path.clone() });
        }
        let mut links = on_current_state!(core, |view| {
            view.resolve_own(path).await?;
            Desk::new(view).links_of(path).await
        })?;
        links.sort_by(|(a, first), (b, second)| (a, first.label).cmp(&(b, second.label)));
        let counts = if links.is_empty() { None } else { self.link_counts().await? };
        let own = |(path, properties): (RemotePath, LinkProperties)| {
            let count = counts.as_ref().map(|counts| counts.iter().find(|count| count.label == properties.label));
            OwnLink {
                path,
                link: properties.link(core.tree.owner.clone()),
                is_writable: properties.is_writable,
                expiry_secs: properties.expiry_secs,
                max_openings: properties.max_retrievals,
                password: properties.user_password,
                opens_at_once: properties.opens_at_once,
                openings: count.map(|count| count.map_or(0, |count| u64::try_from(count.count).unwrap_or(0))),
                last_opened_secs: count.flatten().map(|count| count.last_secs),
            }
        };
        Ok(links.into_iter().map(own).collect())
    }

    /// The node's counts; none if it does not tell, as existing nodes (`spec/05` §7.7).
    async fn link_counts(&self) -> Result<Option<Vec<LinkCount>>, ClientError> {
        let core = self.core();
        let Some(bat) = core.tree.mirror_bat.clone() else { return Ok(None) };
        let call = GetLinkCounts { owner: LinksOf::Identity(core.tree.owner.clone()), after_secs: 0, bat };
        match core.network.call(Repeat::Safely, &call).await {
            Ok(counts) => Ok(Some(counts.0)),
            Err(ClientError::Refused { source, .. }) if !source.is_transient() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes what a link demands. Who has the link keeps it; how often it was opened up to now still counts.
    ///
    /// # Errors
    /// [`ClientError::NoSuchLink`], [`ClientError::NotFound`] if what it leads to is gone.
    pub async fn change_link(&self, label: LinkLabel, change: &LinkChange) -> Result<(), ClientError> {
        self.require_future(change.expiry_secs.flatten())?;
        let core = self.shared_core();
        let identity = identity_of(self.keys());
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let (path, mut properties) = Desk::new(view).link(label).await?;
                let item = view.resolve_own(&path).await?;
                let capability = capability_of(&item, &path, properties.is_writable)?;
                if let Some(expiry) = change.expiry_secs {
                    properties.expiry_secs = expiry;
                }
                if let Some(max) = change.max_openings {
                    properties.max_retrievals = max.map(i64::from);
                }
                if let Some(password) = &change.password {
                    properties.user_password = password.clone();
                }
                properties.opens_at_once = change.opens_at_once.unwrap_or(properties.opens_at_once);
                let mut desk = Desk::new(view);
                desk.put_link(&identity, &path, properties, &capability, false).await?;
                desk.save().await?;
                view.commit(transaction).await
            })
        })
    }

    /// Withdraws a link: nobody can open it from now on. Who has opened it before may have kept what it held; to shut
    /// them out as well, the keys of what it leads to must be changed.
    ///
    /// # Errors
    /// [`ClientError::NoSuchLink`].
    pub async fn withdraw_link(&self, label: LinkLabel) -> Result<RemotePath, ClientError> {
        let core = self.shared_core();
        let identity = identity_of(self.keys());
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                let (path, _) = desk.link(label).await?;
                desk.view.identity(&identity).remove_link(label);
                let record = record_of(&path)?;
                let mut state: SharedWithState = desk.structure(&record, RECORD).await?.unwrap_or_default();
                state.remove_link(path.name(), label);
                desk.put(&record, &state, false);
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(path)
            })
        })
    }

    /// Lets the links of what was copied to another writing space lead to the copy, before the original is removed.
    pub(crate) async fn move_links(&self, from: &RemotePath, to: &RemotePath) -> Result<(), ClientError> {
        let core = self.shared_core();
        if !core.is_own(from) || !core.is_own(to) {
            return Ok(());
        }
        let identity = identity_of(self.keys());
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                for (before, properties) in Desk::new(view).links_of(from).await? {
                    let below = before.names().iter().skip(from.names().len());
                    let path = below.fold(to.clone(), |path, name| path.join(name.clone()));
                    if properties.is_writable {
                        view.require_space(self.keys(), &path).await?;
                    }
                    let item = view.resolve_own(&path).await?;
                    let capability = capability_of(&item, &path, properties.is_writable)?;
                    let mut desk = Desk::new(view);
                    let record = record_of(&before)?;
                    let mut state: SharedWithState = desk.structure(&record, RECORD).await?.unwrap_or_default();
                    state.remove_link(before.name(), properties.label);
                    desk.put(&record, &state, false);
                    desk.put_link(&identity, &path, properties, &capability, false).await?;
                    desk.save().await?;
                }
                view.commit(transaction).await
            })
        })
    }

    /// The web address of a link, on the host that the node names. It holds the link's password.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn link_url(&self, link: &SecretLink) -> Result<Zeroizing<String>, ClientError> {
        let host = self.core().network.call(Repeat::Safely, &GetLinkHost { owner: link.owner.clone() }).await?;
        Ok(link.to_url(&host))
    }

    /// The host, perhaps with a port, under which browsers reach the account's home.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn link_host(&self) -> Result<String, ClientError> {
        self.core().network.call(Repeat::Safely, &GetLinkHost { owner: self.identity().clone() }).await
    }
}
