//! Members: what all know of each, and what each knows alone (`spec/05` §10.2).

use std::collections::BTreeSet;

use super::MemberId;
use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{Owner, OwnerProof, PublicSigningKey, SigningPrivateKeyAndPublicHash};
use crate::names::Username;

/// Somebody who was invited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The number in this chat.
    pub id: MemberId,
    /// Who.
    pub username: Username,
    /// The identity key.
    pub identity: Owner,
    /// The identity's statement about the member's key in this chat, from when he has joined.
    pub(super) chat_identity: Option<OwnerProof>,
    /// How many messages of the member's log were taken in; of our own log, how many there are.
    pub merged: u64,
    /// How many he has invited.
    pub(super) invited: u32,
    /// Whether he was removed, or left.
    pub is_removed: bool,
}

impl Member {
    pub(super) fn invited(id: MemberId, username: Username, identity: Owner, merged: u64) -> Self {
        Member { id, username, identity, chat_identity: None, merged, invited: 0, is_removed: false }
    }

    /// Whether he has taken the invitation.
    pub fn has_joined(&self) -> bool {
        self.chat_identity.is_some()
    }
}

impl ToCbor for Member {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("i", self.id.to_cbor());
        map.insert("u", self.username.to_cbor());
        map.insert("p", self.identity.to_cbor());
        // Counts came from CBOR or count messages of a log.
        map.insert("m", Value::Int(i64::try_from(self.merged).unwrap_or(i64::MAX)));
        map.insert("c", Value::Int(self.invited.into()));
        map.insert("r", Value::Bool(self.is_removed));
        if let Some(proof) = &self.chat_identity {
            map.insert("s", proof.to_cbor());
        }
        Value::Map(map)
    }
}

impl FromCbor for Member {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |_| DecodeError::invalid("chat member", "a count out of range");
        let fields = value.fields("chat member")?;
        Ok(Member {
            id: fields.get("i")?,
            username: fields.get("u")?,
            identity: fields.get("p")?,
            chat_identity: fields.get_optional("s")?,
            merged: fields.int("m")?.try_into().map_err(invalid)?,
            invited: fields.int("c")?.try_into().map_err(invalid)?,
            is_removed: fields.required("r")?.as_bool()?,
        })
    }
}

/// What a member alone knows: `{ci: secret key, p: public key, d: deleted members}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateChatState {
    /// Signs our messages.
    pub(super) chat_identity: SigningPrivateKeyAndPublicHash,
    pub(super) chat_key: PublicSigningKey,
    /// Members whose removal was seen to.
    pub deleted: BTreeSet<Username>,
}

impl ToCbor for PrivateChatState {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("ci", self.chat_identity.to_cbor()),
            ("p", self.chat_key.to_cbor()),
            ("d", Value::list(&self.deleted)),
        ])
    }
}

impl FromCbor for PrivateChatState {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("PrivateChatState")?;
        Ok(PrivateChatState {
            chat_identity: fields.get("ci")?,
            chat_key: fields.get("p")?,
            deleted: fields.required("d")?.as_list_of()?.into_iter().collect(),
        })
    }
}
