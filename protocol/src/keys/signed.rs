//! Signed messages that a key's holder makes afresh for each call (`spec/01` §3.2, §5).
//!
//! All are `signature (64) ‖ message`. Nothing stops the reuse of a signed time or request inside its window.

use std::time::Duration;

use super::{PublicSigningKey, SecretSigningKey};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// Window of the signed time of `getLogin`, and of the requests about second factors.
pub const LOGIN_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// Window of requests for access tokens and server messages, and of signed times for follow requests, usage, quota and
/// payment properties.
pub const CALL_WINDOW: Duration = Duration::from_secs(300);

/// Window of an administrator's signed time for pending space requests.
pub const ADMIN_WINDOW: Duration = Duration::from_secs(60);

/// Window of the signed time that starts a mirror.
pub const MIRROR_WINDOW: Duration = Duration::from_secs(600);

/// Why a signed message is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// Not signed by this key.
    #[error(transparent)]
    Signature(#[from] pyrgos_crypto::Error),
    /// Signed, but another structure.
    #[error("the signed message is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// The clocks of signer and checker are further apart than the window, or the message is old.
    #[error("the signed time is {off_millis} ms away from now, the limit is {} ms; check the clock", window.as_millis())]
    Window {
        /// Distance to the checker's time, in milliseconds.
        off_millis: u64,
        /// The largest distance allowed, in either direction.
        window: Duration,
    },
    /// The request was signed for another call.
    #[error("the request was signed for another call")]
    Path,
    /// The message says something else than it should.
    #[error("the signed message is not about the expected {0}")]
    Subject(&'static str),
}

/// Signs the CBOR of a value: `signature (64) ‖ CBOR`.
pub fn sign_value(value: &impl ToCbor, key: &SecretSigningKey) -> Vec<u8> {
    key.sign_attached(&value.to_bytes())
}

/// Verifies a signed value and reads it.
pub fn open_value<T: FromCbor>(signed: &[u8], key: &PublicSigningKey) -> Result<T, SignedError> {
    Ok(T::from_bytes(key.open(signed)?)?)
}

/// A signed point in time: CBOR integer of milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedTime {
    /// Milliseconds since 1970 UTC.
    pub millis: i64,
}

impl SignedTime {
    /// Signs the time `now_millis`, in milliseconds since 1970 UTC.
    pub fn sign(now_millis: i64, key: &SecretSigningKey) -> Vec<u8> {
        sign_value(&Value::Int(now_millis), key)
    }

    /// Verifies a signed time, which may be at most `window` away from `now_millis` in either direction.
    ///
    /// # Errors
    /// [`SignedError`] says whether the signature, the structure or the time is wrong.
    pub fn check(
        signed: &[u8],
        key: &PublicSigningKey,
        now_millis: i64,
        window: Duration,
    ) -> Result<SignedTime, SignedError> {
        let millis = open_value::<Value>(signed, key)?.as_int()?;
        check_window(millis, now_millis, window)?;
        Ok(SignedTime { millis })
    }
}

/// A request for one call: `{p: path, t: milliseconds since 1970 UTC}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequest {
    /// Path of the call without a leading slash, such as `peergos/v0/login/listMfa`.
    pub path: String,
    /// Milliseconds since 1970 UTC.
    pub millis: i64,
}

impl SignedRequest {
    /// Signs a request for the call at `path` at the time `now_millis`.
    pub fn sign(path: &str, now_millis: i64, key: &SecretSigningKey) -> Vec<u8> {
        sign_value(&SignedRequest { path: path.to_owned(), millis: now_millis }, key)
    }

    /// Verifies a signed request for the call at `path`, which may be at most `window` away from `now_millis`.
    ///
    /// # Errors
    /// [`SignedError`] says whether the signature, the structure, the path or the time is wrong.
    pub fn check(
        signed: &[u8],
        path: &str,
        key: &PublicSigningKey,
        now_millis: i64,
        window: Duration,
    ) -> Result<SignedRequest, SignedError> {
        let request: SignedRequest = open_value(signed, key)?;
        if request.path != path {
            return Err(SignedError::Path);
        }
        check_window(request.millis, now_millis, window)?;
        Ok(request)
    }
}

impl ToCbor for SignedRequest {
    fn to_cbor(&self) -> Value {
        Value::map([("p", Value::text(self.path.as_str())), ("t", Value::Int(self.millis))])
    }
}

impl FromCbor for SignedRequest {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("signed request")?;
        Ok(SignedRequest { path: fields.text("p")?.to_owned(), millis: fields.int("t")? })
    }
}

fn check_window(millis: i64, now_millis: i64, window: Duration) -> Result<(), SignedError> {
    let off_millis = now_millis.abs_diff(millis);
    if u128::from(off_millis) > window.as_millis() {
        return Err(SignedError::Window { off_millis, window });
    }
    Ok(())
}
