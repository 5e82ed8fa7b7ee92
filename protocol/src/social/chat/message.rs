//! The messages of a chat (`spec/05` §10.2).

use std::fmt;

use bytes::Bytes;
use pyrgos_crypto::sign::SIGNATURE_SIZE;

use super::{MemberId, TreeClock};
use crate::encoding::{DecodeError, FromCbor, Map, Multihash, ToCbor, Value};
use crate::keys::signed::SignedError;
use crate::keys::{Owner, OwnerProof, PublicSigningKey, SecretSigningKey};
use crate::names::Username;
use crate::social::post::Content;

/// A message of the log, as its author signed it: list `[signature, envelope]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedMessage {
    signature: [u8; SIGNATURE_SIZE],
    envelope: Bytes,
}

impl SignedMessage {
    /// Signs a message: with the member's key of this chat, a [`Message::Join`] with the identity key.
    pub fn sign(envelope: &MessageEnvelope, key: &SecretSigningKey) -> Self {
        let envelope = Bytes::from(envelope.to_bytes());
        SignedMessage { signature: key.sign(&envelope), envelope }
    }

    /// Reads the message without a look at its signature: who its author says he is tells which key to check with.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn unverified(&self) -> Result<MessageEnvelope, DecodeError> {
        MessageEnvelope::from_bytes(&self.envelope)
    }

    /// Checks that a key signed the message.
    ///
    /// # Errors
    /// [`SignedError::Signature`].
    pub fn verify(&self, key: &PublicSigningKey) -> Result<(), SignedError> {
        Ok(key.verify(&self.signature, &self.envelope)?)
    }

    /// What other messages call it.
    pub fn reference(&self) -> MessageRef {
        MessageRef::of(&self.envelope)
    }
}

impl ToCbor for SignedMessage {
    fn to_cbor(&self) -> Value {
        Value::List(vec![Value::bytes(self.signature), Value::Bytes(self.envelope.clone())])
    }
}

impl FromCbor for SignedMessage {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let elements = value.elements("SignedMessage", 2)?;
        Ok(SignedMessage {
            signature: elements[0].as_array("SignedMessage")?,
            envelope: elements[1].as_bytes()?.clone(),
        })
    }
}

/// SHA-256 of an envelope: `{h: multihash}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageRef(Multihash);

impl MessageRef {
    /// The reference to the envelope of these bytes.
    pub fn of(envelope: &[u8]) -> Self {
        MessageRef(Multihash::sha256_of(envelope))
    }
}

impl ToCbor for MessageRef {
    fn to_cbor(&self) -> Value {
        Value::map([("h", Value::bytes(self.0.to_bytes()))])
    }
}

impl FromCbor for MessageRef {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let hash = Multihash::from_bytes(value.fields("MessageRef")?.bytes("h")?)?;
        match hash.code() {
            Multihash::SHA2_256 => Ok(MessageRef(hash)),
            _ => Err(DecodeError::invalid("MessageRef", "not a SHA-256")),
        }
    }
}

/// A message with who sent it and what he had heard: `{a: author, t: clock, u: time, r: references, p: message}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageEnvelope {
    /// Who sent it.
    pub author: MemberId,
    /// What the author had heard, this message included.
    pub clock: TreeClock,
    /// When, milliseconds since 1970 UTC, as the author says.
    pub sent_millis: i64,
    /// The messages that nothing had followed on when it was sent.
    pub follows: Vec<MessageRef>,
    /// What it says.
    pub message: Message,
}

impl MessageEnvelope {
    /// What other messages call it.
    pub fn reference(&self) -> MessageRef {
        MessageRef::of(&self.to_bytes())
    }
}

impl ToCbor for MessageEnvelope {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("a", self.author.to_cbor()),
            ("t", self.clock.to_cbor()),
            ("u", Value::Int(self.sent_millis)),
            ("r", Value::list(&self.follows)),
            ("p", self.message.to_cbor()),
        ])
    }
}

impl FromCbor for MessageEnvelope {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("MessageEnvelope")?;
        Ok(MessageEnvelope {
            author: fields.get("a")?,
            clock: fields.get("t")?,
            sent_millis: fields.int("u")?,
            follows: fields.required("r")?.as_list_of()?,
            message: fields.get("p")?,
        })
    }
}

/// What a message says or does: a map whose `c` is its type.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// An invited user takes part (0).
    Join {
        /// Whose key it is.
        username: Username,
        /// The identity key.
        identity: Owner,
        /// The identity key's statement that it belongs to the key of this chat: who holds the one speaks for the other.
        chat_identity: OwnerProof,
        /// The key with which this member signs in this chat.
        chat_key: PublicSigningKey,
    },
    /// A member invites somebody (1).
    Invite {
        /// Who.
        username: Username,
        /// The number that he has in this chat.
        member: MemberId,
        /// The identity key.
        identity: Owner,
    },
    /// Somebody says something (2).
    Application(Vec<Content>),
    /// A property of the chat is set (3): `title`, or `admins` as names with commas between.
    GroupState {
        /// The property.
        key: String,
        /// Its value.
        value: String,
    },
    /// An answer to a message (4).
    ReplyTo {
        /// The message.
        to: MessageRef,
        /// What is said to it.
        body: Vec<Content>,
    },
    /// The author takes a message back (5).
    Delete(MessageRef),
    /// The author changes a message (6).
    Edit {
        /// The message.
        of: MessageRef,
        /// What it shall say.
        body: Vec<Content>,
    },
    /// A member leaves, or an administrator removes one (7).
    RemoveMember {
        /// The chat, so that the message is no good in another one.
        chat: String,
        /// Who.
        member: MemberId,
    },
}

/// Shows the type alone.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Message::Join { .. } => "Join",
            Message::Invite { .. } => "Invite",
            Message::Application(_) => "Application",
            Message::GroupState { .. } => "GroupState",
            Message::ReplyTo { .. } => "ReplyTo",
            Message::Delete(_) => "Delete",
            Message::Edit { .. } => "Edit",
            Message::RemoveMember { .. } => "RemoveMember",
        })
    }
}

const APPLICATION: i64 = 2;

/// The map of a type.
fn typed<const N: usize>(kind: i64, entries: [(&str, Value); N]) -> Value {
    let mut map = Map::default();
    map.insert("c", Value::Int(kind));
    entries.into_iter().for_each(|(key, value)| map.insert(key, value));
    Value::Map(map)
}

fn application(body: &[Content]) -> Value {
    typed(APPLICATION, [("b", Value::list(body))])
}

/// The body of an answer or a change, which is a whole application message.
fn application_body(value: &Value) -> Result<Vec<Content>, DecodeError> {
    match Message::from_cbor(value)? {
        Message::Application(body) => Ok(body),
        _ => Err(DecodeError::invalid("Message", "a body that says nothing")),
    }
}

impl ToCbor for Message {
    fn to_cbor(&self) -> Value {
        match self {
            Message::Join { username, identity, chat_identity, chat_key } => typed(
                0,
                [
                    ("u", username.to_cbor()),
                    ("i", identity.to_cbor()),
                    ("ci", chat_identity.to_cbor()),
                    ("p", chat_key.to_cbor()),
                ],
            ),
            Message::Invite { username, member, identity } => {
                typed(1, [("u", username.to_cbor()), ("r", member.to_cbor()), ("i", identity.to_cbor())])
            }
            Message::Application(body) => application(body),
            Message::GroupState { key, value } => typed(3, [("k", Value::text(key)), ("v", Value::text(value))]),
            Message::ReplyTo { to, body } => typed(4, [("r", to.to_cbor()), ("b", application(body))]),
            Message::Delete(message) => typed(5, [("r", message.to_cbor())]),
            Message::Edit { of, body } => typed(6, [("r", of.to_cbor()), ("b", application(body))]),
            Message::RemoveMember { chat, member } => typed(7, [("u", Value::text(chat)), ("m", member.to_cbor())]),
        }
    }
}

impl FromCbor for Message {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("Message")?;
        Ok(match fields.int("c")? {
            0 => Message::Join {
                username: fields.get("u")?,
                identity: fields.get("i")?,
                chat_identity: fields.get("ci")?,
                chat_key: fields.get("p")?,
            },
            1 => Message::Invite { username: fields.get("u")?, member: fields.get("r")?, identity: fields.get("i")? },
            APPLICATION => Message::Application(fields.required("b")?.as_list_of()?),
            3 => Message::GroupState { key: fields.text("k")?.to_owned(), value: fields.text("v")?.to_owned() },
            4 => Message::ReplyTo { to: fields.get("r")?, body: application_body(fields.required("b")?)? },
            5 => Message::Delete(fields.get("r")?),
            6 => Message::Edit { of: fields.get("r")?, body: application_body(fields.required("b")?)? },
            7 => Message::RemoveMember { chat: fields.text("u")?.to_owned(), member: fields.get("m")? },
            _ => return Err(DecodeError::invalid("Message", "of an unknown type")),
        })
    }
}
