//! A call that the holder of an identity key authorises: its path and its time, signed (`spec/02` §8.7).

use pyrgos_crypto::sign;

use crate::encoding::text;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// How far the time of a call about access tokens may be from the server's, in milliseconds.
pub const MAX_SKEW_MILLIS: u64 = 300_000;

/// Path and time of an authorised call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedRequest {
    /// The request's path without leading slash and without query.
    pub path: String,
    /// Milliseconds since 1970.
    pub time_millis: i64,
}

/// Why a signed request authorises nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestRefused {
    /// The signature is not the key's.
    #[error("the signature of the request does not open")]
    Signature,
    /// The signed bytes are no request.
    #[error("invalid signed request: {0}")]
    Malformed(#[from] DecodeError),
    /// It was signed for another call.
    #[error("the request was signed for another path: {0}")]
    Path(String),
    /// It is too old or too far in the future.
    #[error("stale time in the signed request")]
    Stale,
}

impl SignedRequest {
    /// The `auth=` parameter: hexadecimal of the attached signature over the CBOR.
    pub fn sign(&self, identity: &sign::SecretKey) -> String {
        text::hex(identity.sign_attached(&self.to_bytes()))
    }

    /// Opens an `auth=` parameter and checks what was signed against the path of the call and the server's time.
    pub fn open(
        auth: &str,
        identity: &sign::PublicKey,
        path: &str,
        now_millis: i64,
        max_skew_millis: u64,
    ) -> Result<SignedRequest, RequestRefused> {
        let signed = text::from_hex(auth).map_err(|_| RequestRefused::Signature)?;
        let message = identity.open(&signed).map_err(|_| RequestRefused::Signature)?;
        let request = SignedRequest::from_bytes(message)?;
        if request.path != path {
            return Err(RequestRefused::Path(request.path));
        }
        if now_millis.abs_diff(request.time_millis) > max_skew_millis {
            return Err(RequestRefused::Stale);
        }
        Ok(request)
    }
}

impl ToCbor for SignedRequest {
    fn to_cbor(&self) -> Value {
        Value::map([("p", Value::text(&self.path)), ("t", Value::Int(self.time_millis))])
    }
}

impl FromCbor for SignedRequest {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("SignedRequest")?;
        Ok(SignedRequest { path: fields.text("p")?.to_owned(), time_millis: fields.int("t")? })
    }
}
