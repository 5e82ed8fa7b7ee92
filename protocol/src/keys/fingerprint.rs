//! What two friends compare to be sure of each other's keys (`spec/01` §7).

use pyrgos_crypto::fingerprint::{digits, half};

use super::KeyHash;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

const VERSION: i64 = 1;

/// Both halves of a fingerprint as one of the two friends holds it; the QR code is the lower case hexadecimal text of
/// its CBOR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FingerPrint {
    friend: [u8; 32],
    own: [u8; 32],
}

/// The public data of one user that a fingerprint covers.
#[derive(Clone, Copy, Debug)]
pub struct FingerPrinted<'a> {
    /// The username.
    pub username: &'a str,
    /// The identity key.
    pub identity: &'a KeyHash,
    /// The boxing key, `inbound` of the writer data.
    pub boxing: &'a KeyHash,
}

impl FingerPrinted<'_> {
    fn half(&self) -> [u8; 32] {
        half(self.username, &self.identity.to_bytes(), &self.boxing.to_bytes())
    }
}

impl FingerPrint {
    /// The fingerprint of a friendship, seen from `own`'s side. Takes thousands of hashes.
    pub fn of(own: FingerPrinted<'_>, friend: FingerPrinted<'_>) -> Self {
        FingerPrint { friend: friend.half(), own: own.half() }
    }

    /// A fingerprint of known halves.
    pub fn from_halves(own: [u8; 32], friend: [u8; 32]) -> Self {
        FingerPrint { friend, own }
    }

    /// Whether `scanned` is what the friend's side shows for the same keys.
    pub fn matches(&self, scanned: &FingerPrint) -> bool {
        self.own == scanned.friend && self.friend == scanned.own
    }

    /// The 60 digits that both sides show.
    pub fn digits(&self) -> String {
        digits(&self.own, &self.friend)
    }
}

impl ToCbor for FingerPrint {
    fn to_cbor(&self) -> Value {
        Value::map([("f", Value::bytes(self.friend)), ("u", Value::bytes(self.own)), ("v", Value::Int(VERSION))])
    }
}

impl FromCbor for FingerPrint {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("FingerPrint")?;
        super::check_type("FingerPrint", fields.required("v")?, VERSION)?;
        Ok(FingerPrint {
            friend: fields.required("f")?.as_array("FingerPrint")?,
            own: fields.required("u")?.as_array("FingerPrint")?,
        })
    }
}
