//! The login data as a home server keeps them, and its answers (`spec/01` §4.5, §4.6).

use super::second_factor::MultiFactorAuthRequest;
use super::{BlockWrite, UserStaticData};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{PublicSigningKey, SecretSigningKey};
use crate::merkle::pointer::SignedPointerUpdate;
use crate::names::Username;

/// The largest login data that a server takes, in bytes.
pub const MAX_LOGIN_DATA_BYTES: usize = 16_384;

/// One user's login data: `{e, r, u}`, with `b` and `p` at a change of the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginData {
    /// The user.
    pub username: Username,
    /// The account's secrets, under the root key.
    pub entry_points: UserStaticData,
    /// The public login key: whoever signs with it gets the login data.
    pub authorised_reader: PublicSigningKey,
    /// The identity's writer data with the new derivation, to be committed together with this.
    pub identity_update: Option<IdentityUpdate>,
}

/// The commit that belongs to a change of the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityUpdate {
    /// The new writer data.
    pub block: BlockWrite,
    /// Moves the identity's pointer to it.
    pub pointer: SignedPointerUpdate,
}

impl LoginData {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// Above [`MAX_LOGIN_DATA_BYTES`], or malformed.
    pub fn from_request(body: &[u8]) -> Result<Self, DecodeError> {
        if body.len() > MAX_LOGIN_DATA_BYTES {
            return Err(DecodeError::invalid("LoginData", format!("{} bytes", body.len())));
        }
        LoginData::from_bytes(body)
    }

    /// The signature that authorises writing these data, 64 bytes by the identity.
    pub fn authorise(&self, identity: &SecretSigningKey) -> [u8; 64] {
        identity.sign(&self.to_bytes())
    }

    /// Whether the identity authorised exactly these data. What is verified is the canonical form, so a body in another
    /// form never passes.
    ///
    /// # Errors
    /// [`pyrgos_crypto::Error`] unless `auth` is such a signature.
    pub fn verify(&self, auth: &[u8], identity: &PublicSigningKey) -> Result<(), pyrgos_crypto::Error> {
        identity.verify(auth, &self.to_bytes())
    }
}

impl ToCbor for LoginData {
    fn to_cbor(&self) -> Value {
        let mut entries = vec![
            ("e", self.entry_points.to_cbor()),
            ("r", self.authorised_reader.to_cbor()),
            ("u", self.username.to_cbor()),
        ];
        if let Some(update) = &self.identity_update {
            entries.extend([("b", update.block.to_cbor()), ("p", update.pointer.to_cbor())]);
        }
        Value::map(entries)
    }
}

impl FromCbor for LoginData {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("LoginData")?;
        // Both or none count; one alone is ignored (`spec/01` §4.5).
        let identity_update = match (fields.optional("b"), fields.optional("p")) {
            (Some(block), Some(pointer)) => Some(IdentityUpdate {
                block: BlockWrite::from_cbor(block)?,
                pointer: SignedPointerUpdate::from_cbor(pointer)?,
            }),
            _ => None,
        };
        Ok(LoginData {
            username: fields.get("u")?,
            entry_points: fields.get("e")?,
            authorised_reader: fields.get("r")?,
            identity_update,
        })
    }
}

/// A server's answer to `getLogin`: `{a: bool, r}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginResponse {
    /// The login data.
    LoggedIn(UserStaticData),
    /// First, one of these second factors.
    SecondFactor(MultiFactorAuthRequest),
}

impl ToCbor for LoginResponse {
    fn to_cbor(&self) -> Value {
        let (logged_in, response) = match self {
            LoginResponse::LoggedIn(data) => (true, data.to_cbor()),
            LoginResponse::SecondFactor(request) => (false, request.to_cbor()),
        };
        Value::map([("a", Value::Bool(logged_in)), ("r", response)])
    }
}

impl FromCbor for LoginResponse {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("LoginResponse")?;
        if fields.required("a")?.as_bool()? {
            Ok(LoginResponse::LoggedIn(fields.get("r")?))
        } else {
            Ok(LoginResponse::SecondFactor(fields.get("r")?))
        }
    }
}
