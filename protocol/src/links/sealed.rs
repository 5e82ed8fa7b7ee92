//! The capability behind a secret link as the owner's server keeps and hands it out (`spec/05` §7.2, §7.3, §7.7).

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::password::{Params, derive};
use pyrgos_crypto::random::CryptoRng;
use pyrgos_crypto::secretbox;
use zeroize::Zeroizing;

use super::secret::{LinkLabel, LinkPassword};
use crate::cryptree::AbsoluteCapability;
use crate::encoding::{Cid, DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{CipherError, CipherText, SymmetricKey};
use crate::merkle::champ::{Change, KeyHashing};

/// How keys choose their way in the tree of secret links: [`champ_key`] is a hash already.
pub const HASHING: KeyHashing = KeyHashing::Identity;

/// The key of a label in the tree of secret links: SHA-256 of the label as 8 bytes, little endian (`spec/02` §7.3).
pub fn champ_key(label: LinkLabel) -> [u8; 32] {
    sha256(&u64::from(label.number()).to_le_bytes())
}

/// The key under which the capability of a link is encrypted. Takes about 50 ms and 32 MiB on purpose.
///
/// # Errors
/// [`pyrgos_crypto::Error::Memory`] where there is not enough.
pub fn derive_key(
    label: LinkLabel,
    password: &LinkPassword,
    user_password: &LinkPassword,
) -> Result<SymmetricKey, pyrgos_crypto::Error> {
    let whole = Zeroizing::new([password.as_str(), user_password.as_str()].concat());
    let key = derive(&whole, &label.to_string(), Params::SECRET_LINK)?;
    Ok(SymmetricKey::new(secretbox::Key::from_slice(&key)?))
}

/// A capability encrypted under the passwords of a link. This is what a server answers to whoever knows the label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedCapability {
    /// The capability. It is not padded, so its length tells whether it writes.
    pub sealed: CipherText,
    /// Whether a password is needed that does not stand in the link.
    pub has_user_password: bool,
}

impl EncryptedCapability {
    /// Encrypts a capability. An empty `user_password` is none.
    ///
    /// For a writable link `capability` is that of the link node, through which its holder sees the target; so the
    /// target must be in a writing space of its own.
    ///
    /// # Errors
    /// As [`derive_key`].
    pub fn seal(
        capability: &AbsoluteCapability,
        label: LinkLabel,
        password: &LinkPassword,
        user_password: &LinkPassword,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, pyrgos_crypto::Error> {
        let key = derive_key(label, password, user_password)?;
        let sealed = CipherText::encrypt(capability, &key, rng);
        Ok(EncryptedCapability { sealed, has_user_password: !user_password.is_empty() })
    }

    /// Opens the capability.
    ///
    /// # Errors
    /// [`CipherError::Crypto`] for a wrong password, [`CipherError::Decode`] for a content that is no capability.
    pub fn open(
        &self,
        label: LinkLabel,
        password: &LinkPassword,
        user_password: &LinkPassword,
    ) -> Result<AbsoluteCapability, CipherError> {
        self.sealed.decrypt(&derive_key(label, password, user_password)?)
    }
}

impl ToCbor for EncryptedCapability {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("c", self.sealed.to_cbor());
        if self.has_user_password {
            map.insert("p", Value::Bool(true));
        }
        Value::Map(map)
    }
}

impl FromCbor for EncryptedCapability {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("EncryptedCapability")?;
        Ok(EncryptedCapability {
            sealed: fields.get("c")?,
            has_user_password: fields.optional("p").map_or(Ok(false), Value::as_bool)?,
        })
    }
}

/// Why a server does not hand out a link. The texts are those that clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkRefusal {
    /// Its time is over.
    #[error("Secret link expired!")]
    Expired,
    /// It was opened as often as its owner allows.
    #[error("Maximum link retrievals exceed!")]
    Used,
}

/// What a label leads to: one block in the tree of secret links, which hangs on the identity's writer data and carries
/// the owner's mirror token on its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretLinkTarget {
    /// What is handed out.
    pub capability: EncryptedCapability,
    /// Until when, seconds since 1970 UTC.
    pub expiry_secs: Option<i64>,
    /// How often.
    pub max_retrievals: Option<i64>,
}

impl SecretLinkTarget {
    /// Whether a server may hand out the link at `now_secs` (since 1970 UTC), after it did so `retrievals` times.
    ///
    /// # Errors
    /// [`LinkRefusal`].
    pub fn check(&self, now_secs: i64, retrievals: u64) -> Result<(), LinkRefusal> {
        if self.expiry_secs.is_some_and(|expiry| expiry < now_secs) {
            return Err(LinkRefusal::Expired);
        }
        if self.max_retrievals.is_some_and(|max| i64::try_from(retrievals).unwrap_or(i64::MAX) >= max) {
            return Err(LinkRefusal::Used);
        }
        Ok(())
    }

    /// The block and its address.
    pub fn to_block(&self) -> (Cid, Bytes) {
        let block = Bytes::from(self.to_bytes());
        (Cid::of_cbor(&block), block)
    }

    /// The change of the tree that makes a label lead to a target's block. `before` is the block that it leads to now,
    /// none for a new link; a label that is taken makes the change fail.
    pub fn put(label: LinkLabel, before: Option<Cid>, target: Cid) -> Change {
        Change::put(champ_key(label).to_vec(), before.map(Value::Link), Value::Link(target))
    }

    /// The change of the tree that takes a link back, if it is there.
    pub fn remove(label: LinkLabel) -> Change {
        Change::discard(champ_key(label).to_vec())
    }
}

impl ToCbor for SecretLinkTarget {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("cap", self.capability.to_cbor());
        if let Some(expiry) = self.expiry_secs {
            map.insert("expiry", Value::Int(expiry));
        }
        if let Some(max) = self.max_retrievals {
            map.insert("max", Value::Int(max));
        }
        Value::Map(map)
    }
}

impl FromCbor for SecretLinkTarget {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("SecretLinkTarget")?;
        let optional = |key| fields.optional(key).map(Value::as_int).transpose();
        Ok(SecretLinkTarget {
            capability: fields.get("cap")?,
            expiry_secs: optional("expiry")?,
            max_retrievals: optional("max")?,
        })
    }
}
