//! Taking access back (`spec/05` §6.2, §3.10).
//!
//! Whoever had access knows keys, so everything below the thing gets new ones, and whoever could write knows the signing
//! key, so that changes too. Contents stay as they are until they are next written: what somebody has read is his. All of
//! it, the record of who has access and the new capabilities for those who keep it appear with one commit, or not at all:
//! there is no instant at which somebody has more access than before or after, and nothing to clean up after a crash.

use std::collections::BTreeSet;

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
use super::sharing::parent_of;
use super::spaces::Rotated;
use super::upload::split;
use super::view::View;
use crate::api::Transport;
use crate::cryptree::home::SHARED;
use crate::cryptree::name::EntryName;
use crate::names::Username;
use crate::social::places::{self, GROUPS, SHARED_WITH};
use crate::social::shared_with::{Access, Recipient, SharedWithState, Shares, expand};
use crate::social::{GroupKind, Groups};

const RECORD: &str = "the record of what is shared";

/// Access that somebody has besides what was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherAccess {
    /// Who: one of those from whom access was taken.
    pub who: Username,
    /// Through what: the thing itself, or a directory above it.
    pub path: RemotePath,
    /// What it allows.
    pub access: Access,
    /// As a member of which group; none if it was granted to the user alone.
    pub group: Option<GroupKind>,
}

/// What taking access back has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revoked {
    /// Who had access, and does not have it any more.
    pub from: Vec<Audience>,
    /// Who keeps access to the thing, or to something below it, and was given the new keys.
    pub resent: Vec<Audience>,
    /// By what those from whom access was taken can still reach the thing.
    pub other: Vec<OtherAccess>,
    /// What was below the thing and led nowhere, or was hidden from its owner by somebody who could write there: it is
    /// not there any more.
    pub dropped: Vec<RemotePath>,
}

/// Which access to take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All of it.
    All,
    /// Writing; who was granted reading too keeps that.
    Writing,
}

impl Taken {
    fn accesses(self) -> &'static [Access] {
        match self {
            Taken::All => &[Access::Read, Access::Write],
            Taken::Writing => &[Access::Write],
        }
    }
}

/// Something that gets new keys.
struct Target {
    path: RemotePath,
    /// Whether it gets a new signing key too: somebody could write there who may not any more.
    new_signers: bool,
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Takes recipients out of the record of a path.
    pub(crate) async fn unrecord(
        &mut self,
        path: &RemotePath,
        accesses: &[Access],
        from: &BTreeSet<Recipient>,
    ) -> Result<(), ClientError> {
        let (owner, parent, name) = parent_of(path)?;
        let place = format!("{}/{SHARED_WITH}", places::outbound(&owner, parent));
        let mut state: SharedWithState = self.structure(&place, RECORD).await?.unwrap_or_default();
        accesses.iter().for_each(|access| state.revoke(name, *access, from));
        self.put(&place, &state, false);
        Ok(())
    }

    /// What the record says of one path.
    async fn shares_of(&mut self, path: &RemotePath) -> Result<Shares, ClientError> {
        let (owner, parent, name) = parent_of(path)?;
        let place = format!("{}/{SHARED_WITH}", places::outbound(&owner, parent));
        let state: Option<SharedWithState> = self.structure(&place, RECORD).await?;
        Ok(state.and_then(|mut state| state.take(name)).unwrap_or_default())
    }

    /// The groups of this account, if they were ever needed.
    async fn existing_groups(&mut self) -> Result<Option<Groups>, ClientError> {
        self.structure(&format!("{SHARED}/{GROUPS}"), "the groups").await
    }

    /// The groups that a follower is in.
    async fn groups_with(&mut self, name: &Username) -> Result<Vec<(Recipient, Option<GroupKind>)>, ClientError> {
        let Some(groups) = self.existing_groups().await? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (uid, _) in groups.iter() {
            if self.members(uid).await?.contains(name) {
                found.push((Recipient::from(uid.clone()), groups.kind(uid)));
            }
        }
        Ok(found)
    }

    /// The recipients that an audience names; a group that was never needed is none.
    async fn known(&mut self, audience: &[impl Into<Audience> + Clone]) -> Result<BTreeSet<Recipient>, ClientError> {
        let groups = self.existing_groups().await?;
        let recipient = |who: Audience| match who {
            Audience::User(name) => Some(Recipient::from(name)),
            Audience::Group(kind) => groups.as_ref()?.uid(kind).cloned().map(Recipient::from),
        };
        Ok(audience.iter().filter_map(|who| recipient(who.clone().into())).collect())
    }

    /// Recipients as the user knows them.
    async fn audience(
        &mut self,
        recipients: impl IntoIterator<Item = Recipient>,
    ) -> Result<Vec<Audience>, ClientError> {
        let groups = self.existing_groups().await?;
        let known = |recipient| match recipient {
            Recipient::User(name) => Some(Audience::User(name)),
            Recipient::Group(uid) => groups.as_ref()?.kind(&uid).map(Audience::Group),
        };
        Ok(recipients.into_iter().filter_map(known).collect())
    }

    /// All whom taking access from some means: members with their group (`spec/05` §6.2).
    async fn expanded(&mut self, from: &BTreeSet<Recipient>) -> Result<BTreeSet<Recipient>, ClientError> {
        let Some(groups) = self.existing_groups().await? else { return Ok(from.clone()) };
        let followers = self.followers().await?;
        let followed: BTreeSet<Username> = self.following().await?.into_iter().map(|entry| entry.owner_name).collect();
        let friends = followers.intersection(&followed).cloned().collect();
        Ok(expand(from, &groups, &friends, &followers))
    }

    /// By what users can reach a thing, according to the record.
    async fn other_access(
        &mut self,
        path: &RemotePath,
        users: impl IntoIterator<Item = &Username>,
    ) -> Result<Vec<OtherAccess>, ClientError> {
        let mut found = Vec::new();
        for who in users {
            let mut ways = vec![(Recipient::from(who.clone()), None)];
            ways.extend(self.groups_with(who).await?);
            let mut at = Some(path.clone());
            while let Some(path) = at.filter(|path| !path.names().is_empty()) {
                let shares = self.shares_of(&path).await?;
                for access in [Access::Write, Access::Read] {
                    let of_this = ways.iter().filter(|(way, _)| shares.recipients(access).contains(way));
                    found.extend(of_this.map(|(_, group)| OtherAccess {
                        who: who.clone(),
                        path: path.clone(),
                        access,
                        group: *group,
                    }));
                }
                at = path.parent();
            }
        }
        Ok(found)
    }
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// Gives things new keys, those that are still there. Afterwards the record has to be changed and the new capabilities
    /// handed out: [`Desk::follow_rotation`].
    async fn renew(&mut self, targets: &[Target]) -> Result<Vec<(RemotePath, Rotated)>, ClientError> {
        let mut renewed = Vec::new();
        for Target { path, new_signers } in targets {
            let (parent_path, name) = split(path)?;
            let parent = match self.resolve_own_directory(&parent_path).await {
                Err(ClientError::NotFound { .. } | ClientError::NotADirectory { .. }) => continue,
                parent => parent?,
            };
            let Some(item) = self.child(&parent, &name).await? else { continue };
            let rotated = self.rotate(&Place { parent: &parent, name: &name, path }, &item, *new_signers).await?;
            renewed.push((path.clone(), rotated));
        }
        Ok(renewed)
    }
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Hands out the new capabilities of things that have new keys, to all who stand in the record.
    async fn hand_out(
        &mut self,
        keys: &SessionKeys,
        renewed: &[(RemotePath, Rotated)],
        revoked: &mut Revoked,
    ) -> Result<(), ClientError> {
        let mut resent = BTreeSet::new();
        for (path, rotated) in renewed {
            self.follow_rotation(keys, path, rotated).await?;
            for (_, shares) in self.recorded(path).await? {
                resent.extend(shares.readers.into_iter().chain(shares.writers));
            }
            let below = |names: &Vec<EntryName>| {
                let names = names.iter().map(EntryName::file_name).collect::<Result<Vec<_>, _>>().ok()?;
                Some(names.into_iter().fold(path.clone(), |path, name| path.join(name)))
            };
            revoked.dropped.extend(rotated.dropped.iter().filter_map(below));
        }
        revoked.resent = self.audience(resent).await?;
        Ok(())
    }
}

fn users(recipients: &BTreeSet<Recipient>) -> impl Iterator<Item = &Username> {
    recipients.iter().filter_map(|recipient| match recipient {
        Recipient::User(name) => Some(name),
        Recipient::Group(_) => None,
    })
}

fn has_any(shares: &Shares, access: Access, recipients: &BTreeSet<Recipient>) -> bool {
    shares.recipients(access).iter().any(|recipient| recipients.contains(recipient))
}

/// The topmost of the things that some recipients can reach: what is below one of them gets new keys with it.
fn topmost(recorded: &[(RemotePath, Shares)], recipients: &BTreeSet<Recipient>) -> Vec<Target> {
    let reached =
        |shares: &Shares| has_any(shares, Access::Read, recipients) || has_any(shares, Access::Write, recipients);
    let mut targets: Vec<Target> = Vec::new();
    let mut paths: Vec<&(RemotePath, Shares)> = recorded.iter().filter(|(_, shares)| reached(shares)).collect();
    paths.sort_by_key(|(path, _)| path.names().len());
    for (path, shares) in paths {
        let new_signers = has_any(shares, Access::Write, recipients);
        match targets.iter_mut().find(|target| path.starts_with(&target.path)) {
            Some(above) => above.new_signers |= new_signers,
            None => targets.push(Target { path: path.clone(), new_signers }),
        }
    }
    targets
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Takes access to a file, or to a directory with everything in it, from users and groups; with a group also from its
    /// members. Who keeps access goes on without noticing. Nothing happens to whoever had no access.
    ///
    /// The cost grows with the number of files and directories below the thing, not with their sizes.
    ///
    /// # Errors
    /// [`ClientError::NotOwner`], [`ClientError::NotFound`], [`ClientError::Home`].
    pub async fn unshare(
        &self,
        path: &RemotePath,
        from: &[impl Into<Audience> + Clone],
        taken: Taken,
    ) -> Result<Revoked, ClientError> {
        let core = self.shared_core();
        if !core.is_own(path) {
            return Err(ClientError::NotOwner { path: path.clone() });
        }
        parent_of(path)?;
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                view.resolve_own(path).await?;
                let mut desk = Desk::new(view);
                let from = desk.known(from).await?;
                let expanded = desk.expanded(&from).await?;
                let shares = desk.shares_of(path).await?;
                let had = taken.accesses().iter().flat_map(|access| shares.recipients(*access));
                let lose: BTreeSet<Recipient> = had.filter(|who| expanded.contains(who)).cloned().collect();
                let mut revoked = Revoked { from: desk.audience(lose.clone()).await?, ..Revoked::default() };
                if lose.is_empty() {
                    revoked.other = desk.other_access(path, users(&from)).await?;
                    return Ok(revoked);
                }
                let new_signers = has_any(&shares, Access::Write, &expanded);
                drop(desk);
                let renewed = view.renew(&[Target { path: path.clone(), new_signers }]).await?;
                let mut desk = Desk::new(view);
                desk.unrecord(path, taken.accesses(), &lose).await?;
                desk.hand_out(self.keys(), &renewed, &mut revoked).await?;
                revoked.other = desk.other_access(path, users(&expanded)).await?;
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(revoked)
            })
        })
    }

    /// Ends that somebody follows this account: takes back everything that they can reach, also as a member of a group,
    /// and the directory through which they would learn of more. They are not told, and this account goes on following
    /// them if it does.
    ///
    /// # Errors
    /// [`ClientError::NotAFollower`].
    pub async fn remove_follower(&self, name: &Username) -> Result<Revoked, ClientError> {
        let core = self.shared_core();
        let home = self.home()?;
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                if !desk.followers().await?.contains(name) {
                    return Err(ClientError::NotAFollower { name: name.clone() });
                }
                let one = BTreeSet::from([Recipient::from(name.clone())]);
                // A group's directory is among what the record says its members read, so it gets new keys too.
                let mut reach = one.clone();
                reach.extend(desk.groups_with(name).await?.into_iter().map(|(group, _)| group));
                let recorded = desk.recorded(&home).await?;
                drop(desk);
                let renewed = view.renew(&topmost(&recorded, &reach)).await?;
                let mut desk = Desk::new(view);
                let mut revoked = Revoked { from: vec![name.clone().into()], ..Revoked::default() };
                for (path, shares) in &recorded {
                    if has_any(shares, Access::Read, &one) || has_any(shares, Access::Write, &one) {
                        desk.unrecord(path, Taken::All.accesses(), &one).await?;
                    }
                }
                desk.hand_out(self.keys(), &renewed, &mut revoked).await?;
                desk.remove(&places::sharing_directory(&Recipient::from(name.clone()))).await?;
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(revoked)
            })
        })
    }
}
