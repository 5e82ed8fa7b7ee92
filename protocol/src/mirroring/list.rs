//! The nodes that mirror an account, in its owner's words (design §4).
//!
//! A claim names one home and only one (`spec/06` §1.4), so this list lies beside it: signed by the owner, kept by the home,
//! the mirrors, and by nodes that the owner or a friend gave it to, which then read from the mirrors when the home is away.

use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::signed::{SignedError, open_value, sign_value};
use crate::keys::{PublicSigningKey, SecretSigningKey};
use crate::names::Username;

/// Most nodes of a list.
pub const MAX_NODES: usize = 32;

/// Longest signed list, in bytes.
pub const MAX_SIGNED: usize = 4 << 10;

/// What stands before everything in it, so that it cannot be taken for anything else that an identity signs.
const KIND: &str = "pyrgos mirrors";

/// Which nodes mirror an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorList {
    /// The account.
    pub username: Username,
    /// When the list was made, milliseconds since 1970 UTC: the newest counts.
    pub time_millis: i64,
    /// The nodes.
    pub nodes: Vec<Cid>,
}

impl MirrorList {
    /// Signs the list with the owner's identity key.
    pub fn sign(&self, identity: &SecretSigningKey) -> Vec<u8> {
        sign_value(self, identity)
    }

    /// Verifies and reads a list.
    ///
    /// # Errors
    /// [`SignedError`] if it is not the owner's, or malformed.
    pub fn open(signed: &[u8], identity: &PublicSigningKey) -> Result<Self, SignedError> {
        if signed.len() > MAX_SIGNED {
            return Err(DecodeError::invalid("list of mirrors", "too long").into());
        }
        open_value(signed, identity)
    }
}

impl ToCbor for MirrorList {
    fn to_cbor(&self) -> Value {
        Value::List(vec![
            Value::text(KIND),
            Value::text(self.username.as_str()),
            Value::Int(self.time_millis),
            Value::List(self.nodes.iter().map(|node| Value::bytes(node.to_bytes())).collect()),
        ])
    }
}

impl FromCbor for MirrorList {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("list of mirrors", reason.to_owned());
        let [kind, username, time, nodes] = value.as_list()? else { return Err(invalid("not four elements")) };
        if kind.as_text()? != KIND {
            return Err(invalid("something else"));
        }
        let nodes = nodes.as_list()?;
        if nodes.len() > MAX_NODES {
            return Err(invalid("too many nodes"));
        }
        let node = |node: &Value| Cid::from_bytes(node.as_bytes()?).map_err(|_| invalid("no identifier of a node"));
        Ok(MirrorList {
            username: Username::existing(username.as_text()?).map_err(|_| invalid("no username"))?,
            time_millis: time.as_int()?,
            nodes: nodes.iter().map(node).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SignedTime;

    #[test]
    fn a_list_is_the_owners_or_nothing() {
        let key = SecretSigningKey::from_seed(&[1; 32]);
        let other = SecretSigningKey::from_seed(&[2; 32]);
        let list = MirrorList {
            username: Username::existing("alice").unwrap(),
            time_millis: 7,
            nodes: (0..MAX_NODES as u8).map(|n| Cid::of_cbor(&[n])).collect(),
        };
        let signed = list.sign(&key);
        assert!(signed.len() <= MAX_SIGNED);
        assert_eq!(MirrorList::open(&signed, &key.public()).unwrap(), list);
        assert!(MirrorList::open(&signed, &other.public()).is_err());
        let mut changed = signed.clone();
        changed[80] ^= 1;
        assert!(MirrorList::open(&changed, &key.public()).is_err());
        assert!(MirrorList::open(&SignedTime::sign(7, &key), &key.public()).is_err(), "another thing that was signed");
        let many = MirrorList { nodes: vec![Cid::of_cbor(b"node"); MAX_NODES + 1], ..list };
        assert!(MirrorList::open(&many.sign(&key), &key.public()).is_err());
    }
}
