//! Groups of friends: our own, and those that friends put us in (`spec/05` §4.5, §4.6).
//!
//! A group is a sharing directory of its own. Its members are those who were granted to read it, so what is shared with
//! the group costs one record however many they are.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use pyrgos_crypto::random::{CryptoRng, random_bytes};

use super::places::group_path;
use crate::cryptree::FileName;
use crate::encoding::text::hex;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::login::EntryPoint;
use crate::names::Username;

/// The two groups that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupKind {
    /// Those who follow us and whom we follow.
    Friends,
    /// Those who follow us.
    Followers,
}

impl GroupKind {
    /// Both.
    pub const ALL: [GroupKind; 2] = [GroupKind::Friends, GroupKind::Followers];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        match self {
            GroupKind::Friends => "friends",
            GroupKind::Followers => "followers",
        }
    }
}

/// Names a group and is the name of its sharing directory: a dot, then 64 lower case hexadecimal digits in those of
/// today. The dot tells it from a person.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupUid(String);

/// A text is no name of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a group is a dot and the name of a file")]
pub struct GroupUidError;

impl GroupUid {
    /// A fresh random name.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        GroupUid(format!(".{}", hex(random_bytes::<32>(rng))))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupUid {
    type Err = GroupUidError;

    fn from_str(text: &str) -> Result<Self, GroupUidError> {
        match text.starts_with('.') && FileName::new(text).is_ok() {
            true => Ok(GroupUid(text.to_owned())),
            false => Err(GroupUidError),
        }
    }
}

impl fmt::Display for GroupUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Our groups: `{n: {uid: name}}`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Groups {
    names: BTreeMap<GroupUid, String>,
}

impl Groups {
    /// Both groups with fresh names. To be made right after sign-up, when nobody has to be added to them.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let names = GroupKind::ALL.map(|kind| (GroupUid::generate(rng), kind.name().to_owned()));
        Groups { names: names.into() }
    }

    /// The uid of a group; none if it was never made.
    pub fn uid(&self, kind: GroupKind) -> Option<&GroupUid> {
        self.names.iter().find(|(_, name)| *name == kind.name()).map(|(uid, _)| uid)
    }

    /// Which of the two groups this is; none for others, which a later client may have made.
    pub fn kind(&self, uid: &GroupUid) -> Option<GroupKind> {
        let name = self.names.get(uid)?;
        GroupKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// All groups and their names.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupUid, &str)> {
        self.names.iter().map(|(uid, name)| (uid, name.as_str()))
    }
}

impl ToCbor for Groups {
    fn to_cbor(&self) -> Value {
        let names = Value::map(self.names.iter().map(|(uid, name)| (uid.as_str(), Value::text(name))));
        Value::map([("n", names)])
    }
}

impl FromCbor for Groups {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let names = value.fields("Groups")?.required("n")?.as_map()?.iter().map(|(uid, name)| {
            let uid = uid.parse().map_err(|error: GroupUidError| DecodeError::invalid("Groups", error.to_string()))?;
            Ok((uid, name.as_text()?.to_owned()))
        });
        Ok(Groups { names: names.collect::<Result<_, DecodeError>>()? })
    }
}

/// The sharing directories of groups that friends put us in, by path: `{g: {path: EntryPoint}}`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct FriendsGroups {
    groups: BTreeMap<String, EntryPoint>,
}

impl FriendsGroups {
    /// Adds a group's directory; one that was rotated takes the place of the old one.
    pub fn insert(&mut self, uid: &GroupUid, entry: EntryPoint) {
        self.groups.insert(group_path(&entry.owner_name, uid), entry);
    }

    /// The groups of a friend and the name of their directories. The whole first element of the path counts: the
    /// reference compares prefixes, so that `bob` also gets the groups of `bobby`.
    pub fn of<'a>(&'a self, friend: &'a Username) -> impl Iterator<Item = (GroupUid, &'a EntryPoint)> {
        self.groups.iter().filter_map(move |(path, entry)| {
            let mut names = path.strip_prefix('/').unwrap_or(path).split('/');
            let owner = names.next()?;
            let uid = names.next_back()?.parse().ok()?;
            (owner == friend.as_str() && entry.owner_name == *friend).then_some((uid, entry))
        })
    }

    /// Takes out all groups of somebody.
    pub fn remove(&mut self, friend: &Username) {
        self.groups.retain(|_, entry| entry.owner_name != *friend);
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

impl fmt::Debug for FriendsGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FriendsGroups({})", self.groups.len())
    }
}

impl ToCbor for FriendsGroups {
    fn to_cbor(&self) -> Value {
        let groups = Value::map(self.groups.iter().map(|(path, entry)| (path.as_str(), entry.to_cbor())));
        Value::map([("g", groups)])
    }
}

impl FromCbor for FriendsGroups {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let groups = value.fields("FriendsGroups")?.required("g")?.as_map()?.iter();
        let groups = groups.map(|(path, entry)| Ok((path.to_owned(), EntryPoint::from_cbor(entry)?)));
        Ok(FriendsGroups { groups: groups.collect::<Result<_, DecodeError>>()? })
    }
}
