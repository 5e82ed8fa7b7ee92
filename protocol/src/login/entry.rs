//! What the login data hold once they are open (`spec/01` §4.4).

use pyrgos_crypto::random::CryptoRng;

use crate::cryptree::capability::AbsoluteCapability;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{BoxingKeyPair, CipherError, Owner, PaddedCipherText, SigningKeyPair, SymmetricKey};
use crate::names::Username;

/// Padding of [`UserStaticData`], in bytes.
pub const USER_STATIC_DATA_BLOCK: usize = 4096;

/// A way into somebody's files: `{c: capability, n: owner name}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// Opens the directory or file.
    pub capability: AbsoluteCapability,
    /// Whose it is.
    pub owner_name: Username,
}

impl ToCbor for EntryPoint {
    fn to_cbor(&self) -> Value {
        Value::map([("c", self.capability.to_cbor()), ("n", self.owner_name.to_cbor())])
    }
}

impl FromCbor for EntryPoint {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("EntryPoint")?;
        Ok(EntryPoint { capability: fields.get("c")?, owner_name: fields.get("n")? })
    }
}

/// The account's secrets: `{b, e, i, v}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPoints {
    /// Version of the structure, at most [`EntryPoints::VERSION`]. Lower ones are kept when written again.
    pub version: i64,
    /// Today exactly one: the home directory. At one moment of sign-up none.
    pub entries: Vec<EntryPoint>,
    /// Receives follow requests. Absent in old accounts only, whose password gives it.
    pub boxing: Option<BoxingKeyPair>,
    /// The identity. Absent in old accounts only, whose password gives it.
    pub identity: Option<SigningKeyPair>,
}

impl EntryPoints {
    /// Today's version; higher ones are refused.
    pub const VERSION: i64 = 2;

    /// The secrets of an account of today's kind.
    pub fn new(entries: Vec<EntryPoint>, boxing: BoxingKeyPair, identity: SigningKeyPair) -> Self {
        EntryPoints { version: Self::VERSION, entries, boxing: Some(boxing), identity: Some(identity) }
    }

    /// Whether the identity in here is `owner`, as the name tree and the writer data say. A client checks it, so that a
    /// server cannot make it sign for another account (`spec/01` §4.7). Old accounts have none in here, and pass.
    pub fn is_of(&self, owner: &Owner) -> bool {
        self.identity.as_ref().is_none_or(|identity| identity.public_key_hash() == *owner.key_hash())
    }
}

impl ToCbor for EntryPoints {
    fn to_cbor(&self) -> Value {
        let mut entries = vec![("e", Value::list(&self.entries)), ("v", Value::Int(self.version))];
        entries.extend(self.boxing.as_ref().map(|pair| ("b", pair.to_cbor())));
        entries.extend(self.identity.as_ref().map(|pair| ("i", pair.to_cbor())));
        Value::map(entries)
    }
}

impl FromCbor for EntryPoints {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("EntryPoints")?;
        let version = fields.int("v")?;
        if version > Self::VERSION {
            return Err(DecodeError::invalid("EntryPoints", format!("version {version} is not known")));
        }
        Ok(EntryPoints {
            version,
            entries: fields.required("e")?.as_list_of()?,
            boxing: fields.get_optional("b")?,
            identity: fields.get_optional("i")?,
        })
    }
}

/// [`EntryPoints`] encrypted under the root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserStaticData(PaddedCipherText);

impl UserStaticData {
    /// Encrypts an account's secrets.
    pub fn encrypt(entry_points: &EntryPoints, root: &SymmetricKey, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        UserStaticData(PaddedCipherText::encrypt(entry_points, root, USER_STATIC_DATA_BLOCK, rng))
    }

    /// Opens them.
    ///
    /// # Errors
    /// [`CipherError::Crypto`] for a wrong password or username, [`CipherError::Decode`] for a structure that this
    /// version does not know.
    pub fn decrypt(&self, root: &SymmetricKey) -> Result<EntryPoints, CipherError> {
        self.0.decrypt(root)
    }
}

impl ToCbor for UserStaticData {
    fn to_cbor(&self) -> Value {
        self.0.to_cbor()
    }
}

impl FromCbor for UserStaticData {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(UserStaticData(PaddedCipherText::from_cbor(value)?))
    }
}
