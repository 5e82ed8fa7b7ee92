//! Who our files are shared with (`spec/05` §5.1, §6.2–§6.4; `spec/03` §6.5).
//!
//! One file for each directory that has shared children. It is the only record of "who": a rotation of keys grants the
//! new ones to those who stand here and to nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::group::{GroupKind, GroupUid, Groups};
use crate::cryptree::FileName;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::links::{LinkLabel, LinkProperties};
use crate::names::Username;

/// What a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// To read.
    Read,
    /// To read and to change, but not to rename or delete the shared item itself.
    Write,
}

/// Who can be granted something: a person or a group. As text it is the name of the sharing directory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Recipient {
    /// A user.
    User(Username),
    /// A group of ours.
    Group(GroupUid),
}

/// A text names neither a user nor a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a username nor a group")]
pub struct RecipientError;

/// A name with a leading dot is a group, since no user name begins with one (`spec/05` §1).
impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        match text.starts_with('.') {
            true => text.parse().map(Recipient::Group).map_err(|_| RecipientError),
            false => Username::existing(text).map(Recipient::User).map_err(|_| RecipientError),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Recipient::User(name) => name.fmt(f),
            Recipient::Group(uid) => uid.fmt(f),
        }
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Username> for Recipient {
    fn from(name: Username) -> Self {
        Recipient::User(name)
    }
}

impl From<GroupUid> for Recipient {
    fn from(uid: GroupUid) -> Self {
        Recipient::Group(uid)
    }
}

/// All whom a revocation cuts off (`spec/05` §6.2): removing the friends group also removes each friend that was
/// granted access singly, removing the followers group each follower and the friends group.
pub fn expand(
    removed: &BTreeSet<Recipient>,
    groups: &Groups,
    friends: &BTreeSet<Username>,
    followers: &BTreeSet<Username>,
) -> BTreeSet<Recipient> {
    let mut expanded = removed.clone();
    for recipient in removed {
        let Recipient::Group(uid) = recipient else { continue };
        match groups.kind(uid) {
            Some(GroupKind::Friends) => expanded.extend(friends.iter().cloned().map(Recipient::User)),
            Some(GroupKind::Followers) => {
                expanded.extend(followers.iter().cloned().map(Recipient::User));
                expanded.extend(groups.uid(GroupKind::Friends).cloned().map(Recipient::Group));
            }
            None => {}
        }
    }
    expanded
}

/// What is shared of one child of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Shares {
    /// Who may read.
    pub readers: Vec<Recipient>,
    /// Who may write.
    pub writers: Vec<Recipient>,
    /// Its secret links.
    pub links: Vec<LinkProperties>,
}

impl Shares {
    /// Whether it is shared with nobody and has no link.
    pub fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.writers.is_empty() && self.links.is_empty()
    }

    /// Who has an access.
    pub fn recipients(&self, access: Access) -> &[Recipient] {
        match access {
            Access::Read => &self.readers,
            Access::Write => &self.writers,
        }
    }

    fn recipients_mut(&mut self, access: Access) -> &mut Vec<Recipient> {
        match access {
            Access::Read => &mut self.readers,
            Access::Write => &mut self.writers,
        }
    }
}

/// What is shared of the children of one directory. Lists keep the order in which they were read; it means nothing.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SharedWithState {
    children: BTreeMap<FileName, Shares>,
}

impl SharedWithState {
    /// What is shared of a child.
    pub fn get(&self, name: &str) -> Option<&Shares> {
        self.children.iter().find(|(child, _)| child.as_str() == name).map(|(_, shares)| shares)
    }

    /// The children of which something is shared.
    pub fn iter(&self) -> impl Iterator<Item = (&FileName, &Shares)> {
        self.children.iter()
    }

    /// Whether nothing is shared.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Notes that somebody was granted access to a child.
    pub fn grant(&mut self, name: &FileName, access: Access, to: impl IntoIterator<Item = Recipient>) {
        self.change(name, |shares| {
            let present = shares.recipients_mut(access);
            for recipient in to {
                if !present.contains(&recipient) {
                    present.push(recipient);
                }
            }
        });
    }

    /// Notes that access to a child was taken from somebody.
    pub fn revoke(&mut self, name: &FileName, access: Access, from: &BTreeSet<Recipient>) {
        self.change(name, |shares| {
            shares.recipients_mut(access).retain(|recipient| !from.contains(recipient));
        });
    }

    /// Notes a link to a child, in the place of one with the same label.
    pub fn put_link(&mut self, name: &FileName, link: LinkProperties) {
        self.change(name, |shares| match shares.links.iter_mut().find(|present| present.label == link.label) {
            Some(present) => *present = link,
            None => shares.links.push(link),
        });
    }

    /// Forgets a link to a child.
    pub fn remove_link(&mut self, name: &FileName, label: LinkLabel) -> Option<LinkProperties> {
        let mut removed = None;
        self.change(name, |shares| {
            let at = shares.links.iter().position(|link| link.label == label);
            removed = at.map(|at| shares.links.remove(at));
        });
        removed
    }

    /// Takes out what is shared of a child: it was deleted, or moves to another directory.
    pub fn take(&mut self, name: &FileName) -> Option<Shares> {
        self.children.remove(name)
    }

    /// Puts in what is shared of a child that moved here; nothing is noted if nothing is shared.
    pub fn put(&mut self, name: FileName, shares: Shares) {
        if shares.is_empty() {
            self.children.remove(&name);
        } else {
            self.children.insert(name, shares);
        }
    }

    /// Follows the renaming of a child.
    pub fn rename(&mut self, old: &FileName, new: FileName) {
        if let Some(shares) = self.take(old) {
            self.put(new, shares);
        }
    }

    fn change(&mut self, name: &FileName, change: impl FnOnce(&mut Shares)) {
        let mut shares = self.take(name).unwrap_or_default();
        change(&mut shares);
        self.put(name.clone(), shares);
    }

    /// One of the three maps, without empty lists.
    fn map_of<'a, T: ToCbor + 'a>(&'a self, list: impl Fn(&'a Shares) -> &'a [T]) -> Value {
        let children = self.children.iter().map(|(name, shares)| (name, list(shares)));
        Value::map(children.filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name.as_str(), Value::list(list))))
    }
}

/// Tells how many children there are; their names are secrets.
impl fmt::Debug for SharedWithState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedWithState({} children)", self.children.len())
    }
}

impl ToCbor for Recipient {
    fn to_cbor(&self) -> Value {
        Value::text(self.to_string())
    }
}

impl FromCbor for Recipient {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        value.as_text()?.parse().map_err(|error: RecipientError| DecodeError::invalid("recipient", error.to_string()))
    }
}

impl ToCbor for SharedWithState {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("l", self.map_of(|shares| &shares.links)),
            ("r", self.map_of(|shares| &shares.readers)),
            ("w", self.map_of(|shares| &shares.writers)),
        ])
    }
}

impl FromCbor for SharedWithState {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("SharedWithState")?;
        let mut state = SharedWithState::default();
        for (key, access) in [("r", Access::Read), ("w", Access::Write)] {
            for (name, recipients) in fields.required(key)?.as_map()?.iter() {
                state.grant(&child(name)?, access, recipients.as_list_of::<Recipient>()?);
            }
        }
        // Old files have no links.
        if let Some(links) = fields.optional("l") {
            for (name, links) in links.as_map()?.iter() {
                let name = child(name)?;
                for link in links.as_list_of()? {
                    state.put_link(&name, link);
                }
            }
        }
        Ok(state)
    }
}

fn child(name: &str) -> Result<FileName, DecodeError> {
    FileName::new(name).map_err(|error| DecodeError::invalid("SharedWithState", error.to_string()))
}
