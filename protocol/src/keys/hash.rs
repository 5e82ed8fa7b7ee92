//! Hashes that stand for public keys (`spec/01` §2.6).

use std::fmt;
use std::str::FromStr;

use pyrgos_crypto::sign;

use crate::encoding::{Cid, CidError, Codec, DecodeError, FromCbor, Multihash, ToCbor, Value};

/// CBOR of a public signing key up to the key itself: a list of the type 1 and 32 bytes.
const SIGNING_KEY_PREFIX: [u8; 4] = [0x82, 0x01, 0x58, 0x20];

/// The hash of a public key (`PublicKeyHash`): identity for keys of up to 36 bytes of CBOR, SHA-256 for larger ones and
/// for the signing keys of old accounts. In CBOR it is a link, in URLs the text of the CID.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(Cid);

impl KeyHash {
    /// Takes a CID whose hash function is identity or SHA-256; any other is refused.
    pub fn new(cid: Cid) -> Result<Self, CidError> {
        match cid.hash().code() {
            Multihash::IDENTITY | Multihash::SHA2_256 => Ok(KeyHash(cid)),
            other => Err(CidError::HashCode(other)),
        }
    }

    /// The hash of a signing key; the key can be read back from it.
    pub fn of_signing_key(key: &sign::PublicKey) -> Self {
        let content = [&SIGNING_KEY_PREFIX, key.as_bytes().as_slice()].concat();
        KeyHash(Cid::identity(Codec::DagCbor, &content).expect("36 bytes are within the identity limit"))
    }

    /// The hash of a key's CBOR: identity up to 36 bytes, else the address of the block that holds the key.
    pub fn of_key_cbor(cbor: &[u8]) -> Self {
        if cbor.len() <= crate::encoding::cid::MAX_WRITTEN_IDENTITY_DIGEST {
            KeyHash(Cid::identity(Codec::DagCbor, cbor).expect("36 bytes are within the identity limit"))
        } else {
            KeyHash(Cid::of_cbor(cbor))
        }
    }

    /// The null value: SHA-256 with a digest of zeros.
    pub fn null() -> Self {
        KeyHash(Cid::from_sha256(Codec::DagCbor, [0; 32]))
    }

    /// The CID.
    pub fn cid(&self) -> &Cid {
        &self.0
    }

    /// The signing key inside an identity hash; none when the key must be fetched as a block, or is no signing key.
    pub fn signing_key(&self) -> Option<sign::PublicKey> {
        let key = self.0.identity_content()?.strip_prefix(&SIGNING_KEY_PREFIX)?;
        Some(sign::PublicKey::from_bytes(key.try_into().ok()?))
    }
}

impl ToCbor for KeyHash {
    fn to_cbor(&self) -> Value {
        Value::Link(self.0.clone())
    }
}

impl FromCbor for KeyHash {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(KeyHash::new(value.as_link()?.clone())?)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for KeyHash {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        KeyHash::new(text.parse()?)
    }
}

/// Defines a role that a key hash plays.
macro_rules! role {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(KeyHash);

        impl $name {
            /// The key hash that plays this role.
            pub fn new(hash: KeyHash) -> Self {
                $name(hash)
            }

            /// The role of a signing key.
            pub fn of_signing_key(key: &sign::PublicKey) -> Self {
                $name(KeyHash::of_signing_key(key))
            }

            /// The key hash.
            pub fn key_hash(&self) -> &KeyHash {
                &self.0
            }

            /// The CID of the key hash.
            pub fn cid(&self) -> &Cid {
                self.0.cid()
            }

            /// The signing key, when the hash holds it.
            pub fn signing_key(&self) -> Option<sign::PublicKey> {
                self.0.signing_key()
            }
        }

        impl ToCbor for $name {
            fn to_cbor(&self) -> Value {
                self.0.to_cbor()
            }
        }

        impl FromCbor for $name {
            fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
                Ok($name(KeyHash::from_cbor(value)?))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = CidError;

            fn from_str(text: &str) -> Result<Self, CidError> {
                Ok($name(text.parse()?))
            }
        }
    };
}

role! {
    /// The identity key of an account, which selects the home server and the storage partition (`spec/02` §1).
    Owner
}

role! {
    /// A key that controls one writing space. The identity key is itself a writer (`spec/02` §1).
    Writer
}

impl From<Owner> for Writer {
    fn from(owner: Owner) -> Self {
        Writer(owner.0)
    }
}

impl From<&Owner> for Writer {
    fn from(owner: &Owner) -> Self {
        Writer(owner.0.clone())
    }
}
