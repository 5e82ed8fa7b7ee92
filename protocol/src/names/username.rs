//! Usernames (`spec/06` §1.1).

use std::fmt;
use std::str::FromStr;

use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// Longest name that can be registered, in characters.
pub const MAX_NEW_LEN: usize = 32;

/// Longest name that stands in the tree, in characters.
pub const MAX_EXISTING_LEN: usize = 64;

/// Names that nobody may register, sorted.
const BANNED: [&str; 55] = [
    "admin",
    "administrator",
    "apple",
    "briar",
    "btc",
    "constructor",
    "dns",
    "email",
    "eth",
    "facebook",
    "file",
    "followers",
    "friends",
    "ftp",
    "google",
    "groups",
    "http",
    "https",
    "i2p",
    "imap",
    "instagram",
    "ipfs",
    "ipns",
    "irc",
    "linkedin",
    "mail",
    "mailto",
    "mastodon",
    "matrix",
    "mls",
    "mnr",
    "onion",
    "pinterest",
    "qq",
    "reddit",
    "root",
    "sftp",
    "signal",
    "smtp",
    "snapchat",
    "ssb",
    "ssh",
    "support",
    "telegram",
    "tiktok",
    "tls",
    "twitter",
    "username",
    "web",
    "wechat",
    "whatsapp",
    "wss",
    "www",
    "xmpp",
    "zec",
];

/// Why a text is no username.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsernameError {
    /// Empty or longer than the limit.
    #[error("a username has 1 to {limit} characters")]
    Length {
        /// The most characters that it may have.
        limit: usize,
    },
    /// A character that no name has, or a hyphen where none may be.
    #[error("a username consists of a–z, 0–9 and single hyphens between them")]
    Character,
    /// Reserved, so that nobody mistakes its owner for a service.
    #[error("this username is reserved")]
    Banned,
}

/// The name of a user.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Username(String);

impl Username {
    /// A name that can be registered: 1 to 32 characters of `a-z`, `0-9` and single hyphens between them, the whole
    /// text, and not reserved.
    ///
    /// # Errors
    /// [`UsernameError`] says which rule the text breaks.
    pub fn new(name: &str) -> Result<Self, UsernameError> {
        if name.is_empty() || name.len() > MAX_NEW_LEN {
            return Err(UsernameError::Length { limit: MAX_NEW_LEN });
        }
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        // A hyphen must be followed by a letter or digit and cannot be the first, so none stands beside another.
        let well_formed = name.bytes().enumerate().all(|(at, c)| match c {
            b'-' => at > 0 && name.as_bytes().get(at + 1).is_some_and(|next| plain(*next)),
            c => plain(c),
        });
        if !well_formed {
            return Err(UsernameError::Character);
        }
        if BANNED.binary_search(&name).is_ok() {
            return Err(UsernameError::Banned);
        }
        Ok(Username(name.to_owned()))
    }

    /// A name that somebody already has, which may be older than today's rule: up to 64 visible ASCII characters.
    ///
    /// A slash is refused, since names are the first part of paths, and so is a name of dots only.
    ///
    /// # Errors
    /// [`UsernameError`] for a text that cannot stand in a claim.
    pub fn existing(name: &str) -> Result<Self, UsernameError> {
        if name.is_empty() || name.len() > MAX_EXISTING_LEN {
            return Err(UsernameError::Length { limit: MAX_EXISTING_LEN });
        }
        let visible = name.bytes().all(|c| c.is_ascii_graphic() && c != b'/');
        if !visible || name.bytes().all(|c| c == b'.') {
            return Err(UsernameError::Character);
        }
        Ok(Username(name.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads a name that somebody already has, as [`Username::existing`].
impl FromStr for Username {
    type Err = UsernameError;

    fn from_str(name: &str) -> Result<Self, UsernameError> {
        Username::existing(name)
    }
}

impl AsRef<str> for Username {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl ToCbor for Username {
    fn to_cbor(&self) -> Value {
        Value::text(self.0.as_str())
    }
}

/// As [`Username::existing`]: whether a name may be registered is the authority's question.
impl FromCbor for Username {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Username::existing(value.as_text()?).map_err(|error| DecodeError::invalid("username", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_names_are_sorted() {
        assert!(BANNED.is_sorted());
        assert!(BANNED.iter().all(|name| Username::new(name) == Err(UsernameError::Banned)));
    }

    #[test]
    fn existing_names_cannot_leave_a_path() {
        for name in ["", ".", "..", "a/b", "a b", "a\tb", "a\n", "é", "a\u{0}"] {
            assert!(Username::existing(name).is_err(), "{name:?}");
        }
        for name in ["mr_mike", "A.b", &"a".repeat(MAX_EXISTING_LEN)] {
            assert!(Username::existing(name).is_ok(), "{name:?}");
        }
    }
}
