//! The secrets of an unlocked account, and the form in which an agent keeps them.

use std::fmt;

use bytes::Bytes;

use super::error::ClientError;
use crate::cryptree::capability::AbsoluteCapability;
use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{BoxingKeyPair, Owner, SigningPrivateKeyAndPublicHash, Writer};
use crate::merkle::bat::BatWithId;
use crate::merkle::pointer::PointerUpdate;
use crate::names::Username;

/// Bytes in front of the pointer in its signed form.
const SIGNATURE_LEN: usize = 64;

/// What a session holds in memory. Wiped when dropped; `Debug` shows the username only.
#[derive(Clone)]
pub(crate) struct SessionKeys {
    pub username: Username,
    pub owner: Owner,
    /// Signs for the account.
    pub identity: SigningPrivateKeyAndPublicHash,
    /// Receives follow requests.
    pub boxing: Option<BoxingKeyPair>,
    /// The home directory, writable.
    pub home: AbsoluteCapability,
    /// The account's mirror token; old accounts may lack one.
    pub mirror_bat: Option<BatWithId>,
}

impl ToCbor for SessionKeys {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("u", self.username.to_cbor());
        map.insert("o", self.owner.to_cbor());
        map.insert("i", self.identity.to_cbor());
        map.insert("h", self.home.to_cbor());
        if let Some(boxing) = &self.boxing {
            map.insert("b", boxing.to_cbor());
        }
        if let Some(bat) = &self.mirror_bat {
            map.insert("m", bat.to_cbor());
        }
        Value::Map(map)
    }
}

impl FromCbor for SessionKeys {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("session keys")?;
        Ok(SessionKeys {
            username: fields.get("u")?,
            owner: fields.get("o")?,
            identity: fields.get("i")?,
            boxing: fields.get_optional("b")?,
            home: fields.get("h")?,
            mirror_bat: fields.get_optional("m")?,
        })
    }
}

/// A session on its way to another process: the account's secrets, and the newest pointers that were seen, so that a
/// later session still notices when the node goes back in time.
///
/// [`ToCbor::to_bytes`] gives secret bytes: whoever has them has the account.
#[derive(Clone)]
pub struct SessionState {
    pub(crate) keys: SessionKeys,
    pub(crate) pointers: Vec<(Writer, Bytes)>,
}

impl SessionState {
    /// Whose session it is.
    pub fn username(&self) -> &Username {
        &self.keys.username
    }

    /// Compares what the node has shown to this session with what an earlier one of the same account had seen.
    ///
    /// # Errors
    /// [`ClientError::OldPointer`] if the node has gone back in time between them.
    pub fn require_not_behind(&self, earlier: &SessionState) -> Result<(), ClientError> {
        for (writer, theirs) in earlier.pointers.iter().filter(|_| self.keys.owner == earlier.keys.owner) {
            let Some((_, mine)) = self.pointers.iter().find(|(known, _)| known == writer) else { continue };
            let (seen, found) = (sequence(theirs), sequence(mine));
            if found < seen {
                return Err(ClientError::OldPointer { writer: writer.clone(), seen, found });
            }
        }
        Ok(())
    }

    /// Takes over what another session of the same account has seen later.
    pub fn absorb(&mut self, other: &SessionState) {
        if self.keys.owner != other.keys.owner {
            return;
        }
        for (writer, theirs) in &other.pointers {
            match self.pointers.iter_mut().find(|(known, _)| known == writer) {
                Some((_, mine)) if sequence(mine) < sequence(theirs) => *mine = theirs.clone(),
                Some(_) => {}
                None => self.pointers.push((writer.clone(), theirs.clone())),
            }
        }
    }
}

/// The sequence of a signed pointer that was verified when it was remembered.
fn sequence(signed: &Bytes) -> Option<i64> {
    PointerUpdate::from_bytes(signed.get(SIGNATURE_LEN..)?).ok()?.sequence()
}

impl fmt::Debug for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionState({})", self.keys.username)
    }
}

impl ToCbor for SessionState {
    fn to_cbor(&self) -> Value {
        let pointer =
            |(writer, signed): &(Writer, Bytes)| Value::List(vec![writer.to_cbor(), Value::Bytes(signed.clone())]);
        let pointers = Value::List(self.pointers.iter().map(pointer).collect());
        Value::map([("k", self.keys.to_cbor()), ("p", pointers)])
    }
}

impl FromCbor for SessionState {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("session state")?;
        let pointer = |value: &Value| {
            let items = value.elements("session pointer", 2)?;
            Ok((Writer::from_cbor(&items[0])?, items[1].as_bytes()?.clone()))
        };
        let pointers = fields.required("p")?.as_list()?.iter().map(pointer).collect::<Result<_, DecodeError>>()?;
        Ok(SessionState { keys: fields.get("k")?, pointers })
    }
}
