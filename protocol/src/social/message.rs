//! Messages between a user and the operator of the home node (`spec/05` §11, `spec/04` §12). The node reads them.

use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::SecretSigningKey;
use crate::keys::signed::sign_value;

/// Longest text, in UTF-16 units.
pub const MAX_BODY_UNITS: usize = 4096;

/// Longest signed message that a server reads, in bytes.
pub const MAX_SIGNED_BYTES: usize = 10 * 1024;

/// The id of a message that has none yet.
const NEW: i64 = -1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// From the operator.
    FromServer,
    /// From the user.
    FromUser,
    /// The user does not want to see the message of this id any more.
    Dismiss,
}

impl MessageKind {
    fn number(self) -> i64 {
        match self {
            MessageKind::FromServer => 1,
            MessageKind::FromUser => 2,
            MessageKind::Dismiss => 3,
        }
    }
}

/// The text has more than [`MAX_BODY_UNITS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message has {0} UTF-16 units, more than {MAX_BODY_UNITS}")]
pub struct MessageTooLong(pub usize);

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerMessage {
    /// Given by the server; −1 in a new message, the message meant in a dismissal.
    pub id: i64,
    /// When it was sent, milliseconds since 1970 UTC.
    pub sent_millis: i64,
    /// Who speaks.
    pub kind: MessageKind,
    /// The text.
    body: String,
    /// Whether the user has put it away.
    pub is_dismissed: bool,
    /// The message that it answers.
    pub reply_to: Option<i64>,
}

impl ServerMessage {
    /// A message of any kind.
    ///
    /// # Errors
    /// [`MessageTooLong`].
    pub fn new(
        id: i64,
        sent_millis: i64,
        kind: MessageKind,
        body: String,
        is_dismissed: bool,
        reply_to: Option<i64>,
    ) -> Result<Self, MessageTooLong> {
        match body.encode_utf16().count() {
            units if units > MAX_BODY_UNITS => Err(MessageTooLong(units)),
            _ => Ok(ServerMessage { id, sent_millis, kind, body, is_dismissed, reply_to }),
        }
    }

    /// A user's new message.
    ///
    /// # Errors
    /// [`MessageTooLong`].
    pub fn from_user(body: String, now_millis: i64) -> Result<Self, MessageTooLong> {
        ServerMessage::new(NEW, now_millis, MessageKind::FromUser, body, false, None)
    }

    /// A user's answer to a message.
    ///
    /// # Errors
    /// [`MessageTooLong`].
    pub fn reply(&self, body: String, now_millis: i64) -> Result<Self, MessageTooLong> {
        ServerMessage::new(self.id, now_millis, MessageKind::FromUser, body, true, Some(self.id))
    }

    /// The user puts a message away.
    pub fn dismiss(&self, now_millis: i64) -> Self {
        let kind = MessageKind::Dismiss;
        let (id, sent_millis) = (self.id, now_millis);
        ServerMessage { id, sent_millis, kind, body: String::new(), is_dismissed: true, reply_to: None }
    }

    /// The text.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The body of the call that sends it: signed with the identity key.
    pub fn sign(&self, identity: &SecretSigningKey) -> Vec<u8> {
        sign_value(self, identity)
    }
}

impl ToCbor for ServerMessage {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("id", Value::Int(self.id));
        map.insert("s", Value::Int(self.sent_millis));
        map.insert("t", Value::Int(self.kind.number()));
        map.insert("b", Value::text(&self.body));
        map.insert("d", Value::Bool(self.is_dismissed));
        if let Some(id) = self.reply_to {
            map.insert("r", Value::Int(id));
        }
        Value::Map(map)
    }
}

impl FromCbor for ServerMessage {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: String| DecodeError::invalid("ServerMessage", reason);
        let fields = value.fields("ServerMessage")?;
        let kind = match fields.int("t")? {
            1 => MessageKind::FromServer,
            2 => MessageKind::FromUser,
            3 => MessageKind::Dismiss,
            other => return Err(invalid(format!("unknown type {other}"))),
        };
        ServerMessage::new(
            fields.int("id")?,
            fields.int("s")?,
            kind,
            fields.text("b")?.to_owned(),
            fields.required("d")?.as_bool()?,
            fields.optional("r").map(Value::as_int).transpose()?,
        )
        .map_err(|error| invalid(error.to_string()))
    }
}
