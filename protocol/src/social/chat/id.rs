//! The names of chats (`spec/05` §10.1).

use std::str::FromStr;

use pyrgos_crypto::random::{CryptoRng, random_bytes};

use crate::encoding::{DecodeError, text};
use crate::names::Username;

/// `chat$creator$uuid`, or `chat-app$creator$uuid` for the chats of an app. Also the name of its directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChatId {
    text: String,
    creator: Username,
}

impl ChatId {
    /// A new chat of somebody.
    pub fn generate(creator: &Username, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut uuid = random_bytes::<16>(rng);
        // Version 4: random; variant 1.
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let hex = text::hex(uuid);
        let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        ChatId { text: format!("chat${creator}${uuid}"), creator: creator.clone() }
    }

    /// Who made the chat.
    pub fn creator(&self) -> &Username {
        &self.creator
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for ChatId {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let invalid = || DecodeError::invalid("ChatId", "not of the form chat$creator$id");
        let mut parts = text.split('$');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        let [Some(kind), Some(creator), Some(uuid), None] = parts else { return Err(invalid()) };
        let is_name = |part: &str| part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
        let app = kind.strip_prefix("chat").ok_or_else(invalid)?;
        if !(app.is_empty() || app.len() > 1 && app.starts_with('-'))
            || !is_name(app)
            || !is_name(uuid)
            || uuid.is_empty()
        {
            return Err(invalid());
        }
        let creator = Username::existing(creator).map_err(|_| invalid())?;
        Ok(ChatId { text: text.to_owned(), creator })
    }
}
