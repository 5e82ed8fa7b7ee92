//! The friends whose keys were compared over another channel (`spec/05` §3.8, `spec/01` §7).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::stream;
use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::KeyHash;
use crate::names::Username;

/// What we noted about one friend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FriendAnnotation {
    /// The friend.
    pub username: Username,
    /// Whether the fingerprints were compared and were equal.
    pub is_verified: bool,
    /// The identity key and the boxing key that were compared; empty when nothing was.
    pub keys: Vec<KeyHash>,
}

impl FriendAnnotation {
    /// A friend whose keys were compared.
    pub fn verified(username: Username, identity: KeyHash, boxing: KeyHash) -> Self {
        FriendAnnotation { username, is_verified: true, keys: vec![identity, boxing] }
    }

    /// Whether the keys that were compared are still the friend's. The reference shows the mark whatever the keys are;
    /// after a change somebody else may hold them.
    pub fn holds_for(&self, identity: &KeyHash, boxing: &KeyHash) -> bool {
        self.is_verified && self.keys.len() == 2 && self.keys[0] == *identity && self.keys[1] == *boxing
    }
}

impl ToCbor for FriendAnnotation {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("u", self.username.to_cbor());
        map.insert("v", Value::Bool(self.is_verified));
        map.insert("k", Value::list(&self.keys));
        Value::Map(map)
    }
}

impl FromCbor for FriendAnnotation {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("FriendAnnotation")?;
        Ok(FriendAnnotation {
            username: fields.get("u")?,
            is_verified: fields.required("v")?.as_bool()?,
            keys: fields.required("k")?.as_list_of()?,
        })
    }
}

/// All notes: a stream of [`FriendAnnotation`], the last one of a name counts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Annotations(BTreeMap<Username, FriendAnnotation>);

impl Annotations {
    /// Reads the file.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but a stream of annotations.
    pub fn from_stream(file: &Bytes) -> Result<Self, DecodeError> {
        let items: Vec<FriendAnnotation> = stream::read_all(file)?;
        Ok(Annotations(items.into_iter().map(|item| (item.username.clone(), item)).collect()))
    }

    /// The whole file, sorted by name.
    pub fn to_stream(&self) -> Vec<u8> {
        stream::write_all(self.0.values())
    }

    /// What is noted about a friend.
    pub fn get(&self, name: &Username) -> Option<&FriendAnnotation> {
        self.0.get(name)
    }

    /// Replaces what is noted about a friend.
    pub fn set(&mut self, annotation: FriendAnnotation) {
        self.0.insert(annotation.username.clone(), annotation);
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = &FriendAnnotation> {
        self.0.values()
    }
}
