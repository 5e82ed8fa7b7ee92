//! The mirror token: which account, and the access token that opens its blocks, which stay encrypted.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::encoding::DecodeError;
use crate::merkle::bat::BatWithId;
use crate::names::Username;

/// Longest text of a token, in bytes.
pub const MAX_TOKEN: usize = 512;

/// What `pyrgos mirror create` prints, `NAME:z…`: the name and the account's newest mirror access token (`spec/02` §8.7).
#[derive(Clone, PartialEq, Eq)]
pub struct MirrorToken {
    /// The account.
    pub username: Username,
    /// Opens its blocks.
    pub bat: BatWithId,
}

/// The name only.
impl fmt::Debug for MirrorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorToken").field("username", &self.username).finish_non_exhaustive()
    }
}

impl MirrorToken {
    /// The text, a secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.username, self.bat.to_text().as_str()))
    }
}

impl FromStr for MirrorToken {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("mirror token", reason.to_owned());
        if text.len() > MAX_TOKEN {
            return Err(invalid("it is too long"));
        }
        let (username, bat) = text.split_once(':').ok_or_else(|| invalid("no name and colon at its beginning"))?;
        let username = Username::existing(username).map_err(|_| invalid("what it begins with is no name"))?;
        let bat: BatWithId = bat.parse()?;
        if !bat.id().is_of(bat.bat()) {
            return Err(invalid("its access token has a name that is not its own"));
        }
        Ok(MirrorToken { username, bat })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::bat::Bat;

    #[test]
    fn a_token_is_read_as_it_is_written_and_shows_no_secret() {
        let bat = BatWithId::mirror(Bat::from_bytes([7; 32]));
        let token = MirrorToken { username: Username::existing("alice").unwrap(), bat };
        let text = token.to_text();
        assert_eq!(text.parse::<MirrorToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains(&text[8..30]));
        let long = format!("alice:{}", "z".repeat(MAX_TOKEN));
        for wrong in ["", "alice", "alice:", ":z", "al ice:z1", "alice:zzzz", &text[..text.len() - 1], &long] {
            assert!(wrong.parse::<MirrorToken>().is_err(), "{wrong}");
        }
    }
}
