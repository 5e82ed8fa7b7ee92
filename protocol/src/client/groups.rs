//! Groups: sharing with all friends or all followers at once (`spec/05` §4.5).
//!
//! A group is a sharing directory that its members read, so a share with it costs one record however many they are, and
//! who becomes a member later reads what was shared before.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::Desk;
use super::error::ClientError;
use super::runtime::Runtime;
use super::session::Session;
use crate::api::Transport;
use crate::cryptree::home::SHARED;
use crate::names::Username;
use crate::social::places::{self, SHARED_WITH};
use crate::social::shared_with::{Recipient, SharedWithState};
use crate::social::{GroupKind, GroupUid};

/// With whom something is shared: one follower, or all of a group. As text, a username, `@friends` or `@followers`; no
/// name that can be signed up begins with `@`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Audience {
    /// One follower.
    User(Username),
    /// Everybody who is in the group, now and later.
    Group(GroupKind),
}

/// A text is neither a username nor a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a username nor one of the groups @friends and @followers")]
pub struct AudienceError;

impl FromStr for Audience {
    type Err = AudienceError;

    fn from_str(text: &str) -> Result<Self, AudienceError> {
        match text.strip_prefix('@') {
            Some(group) => {
                let kind = GroupKind::ALL.into_iter().find(|kind| kind.name() == group);
                kind.map(Audience::Group).ok_or(AudienceError)
            }
            None => Username::existing(text).map(Audience::User).map_err(|_| AudienceError),
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Audience::User(name) => name.fmt(f),
            Audience::Group(kind) => write!(f, "@{}", kind.name()),
        }
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Username> for Audience {
    fn from(name: Username) -> Self {
        Audience::User(name)
    }
}

impl From<GroupKind> for Audience {
    fn from(kind: GroupKind) -> Self {
        Audience::Group(kind)
    }
}

/// A group of this account, and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Which one.
    pub kind: GroupKind,
    /// How the record of shares names it.
    pub uid: GroupUid,
    /// Who reads what is shared with it.
    pub members: BTreeSet<Username>,
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// The sharing directories of an audience, which are there for followers and groups.
    ///
    /// # Errors
    /// [`ClientError::NotAFollower`].
    pub(crate) async fn recipients(
        &mut self,
        audience: &[impl Into<Audience> + Clone],
    ) -> Result<Vec<(Audience, Recipient)>, ClientError> {
        let followers = self.followers().await?;
        let mut recipients = Vec::new();
        for member in audience {
            let member: Audience = member.clone().into();
            let recipient = match &member {
                Audience::User(name) if !followers.contains(name) => {
                    return Err(ClientError::NotAFollower { name: name.clone() });
                }
                Audience::User(name) => Recipient::from(name.clone()),
                Audience::Group(kind) => {
                    let groups = self.groups().await?;
                    let uid = groups.uid(*kind).ok_or(ClientError::Inconsistent("the groups lack one of the two"))?;
                    Recipient::from(uid.clone())
                }
            };
            if !recipients.iter().any(|(known, _)| *known == member) {
                recipients.push((member, recipient));
            }
        }
        Ok(recipients)
    }

    /// Who reads the directory of a group: those to whom it was granted, which is all that membership is.
    pub(crate) async fn members(&mut self, uid: &GroupUid) -> Result<BTreeSet<Username>, ClientError> {
        let us = self.view.core.tree.username.clone();
        let place = format!("{}/{SHARED_WITH}", places::outbound(&us, &[super::desk::part(SHARED)?]));
        let state: Option<SharedWithState> = self.structure(&place, "the record of what is shared").await?;
        let state = state.unwrap_or_default();
        let readers = state.get(uid.as_str()).map(|shares| shares.readers.as_slice()).unwrap_or_default();
        let names = readers.iter().filter_map(|reader| match reader {
            Recipient::User(name) => Some(name.clone()),
            Recipient::Group(_) => None,
        });
        Ok(names.collect())
    }
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Looks into the inbox if somebody is meant who is not known to follow this account: they may have agreed since the
    /// last look.
    pub(crate) async fn welcome(&self, audience: &[impl Into<Audience> + Clone]) -> Result<(), ClientError> {
        let core = self.shared_core();
        let followers = on_current_state!(core, |view| Desk::new(view).followers().await)?;
        let is_known = |member: &Audience| match member {
            Audience::User(name) => followers.contains(name),
            Audience::Group(_) => true,
        };
        match audience.iter().all(|member| is_known(&member.clone().into())) {
            true => Ok(()),
            false => self.follow_requests().await.map(drop),
        }
    }

    /// The groups of this account with their members. Answers to this account's own requests are taken in on the way,
    /// and groups that were never needed are made.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn groups(&self) -> Result<Vec<Group>, ClientError> {
        self.follow_requests().await?;
        let core = self.shared_core();
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                let groups = desk.groups().await?;
                let mut listed = Vec::new();
                for kind in GroupKind::ALL {
                    let Some(uid) = groups.uid(kind).cloned() else { continue };
                    let members = desk.members(&uid).await?;
                    listed.push(Group { kind, uid, members });
                }
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(listed)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audiences_read_as_they_are_written() {
        for text in ["alice", "@friends", "@followers", "friends"] {
            assert_eq!(text.parse::<Audience>().unwrap().to_string(), text);
        }
        for text in ["", "@", "@all", "@Friends", "a/b", "a b"] {
            assert_eq!(text.parse::<Audience>(), Err(AudienceError), "{text:?}");
        }
    }

    #[test]
    fn no_name_that_can_be_signed_up_reads_as_a_group() {
        for kind in GroupKind::ALL {
            assert!(Username::new(&Audience::Group(kind).to_string()).is_err());
        }
    }
}
