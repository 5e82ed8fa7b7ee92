//! What a node refuses with, and how clients recognise it (`spec/04` §2.5, §2.6).

use std::fmt;

use crate::encoding::DecodeError;
use crate::merkle::pointer::CasFailure;

/// A call failed at the node.
///
/// [`ApiError::message`] is the text on the wire: existing clients search in it, so the texts of the typed variants are
/// fixed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// A pointer has moved since the client read it: read again, merge, retry (`spec/04` §5.4).
    #[error("the pointer was changed by somebody else ({0})")]
    PointerCas(Box<CasFailure>),
    /// The account's space is used up. The text is the node's, and starts with `Storage quota reached`.
    #[error("{0}")]
    QuotaReached(String),
    /// Too many requests, or the node is busy: try again later. The number is the status, 429, 502, 503 or 504.
    #[error("the server asks to try again later ({0}): {1}")]
    RateLimited(u16, String),
    /// A block is protected and no valid access token came with the request.
    #[error("the block is protected and the access token does not fit")]
    Unauthorised,
    /// Unknown path, or a `Host` that the node does not serve.
    #[error("the server does not have this call (404)")]
    NotFound,
    /// The node wants another HTTP method.
    #[error("the server does not take this method (405)")]
    MethodNotAllowed,
    /// Any other refusal.
    #[error("the server refused: {message} (status {status})")]
    Refused {
        /// HTTP status, 400 from existing nodes.
        status: u16,
        /// The node's text.
        message: String,
    },
    /// The answer cannot be read: the node speaks another protocol, or lies.
    #[error("the server's answer cannot be read: {0}")]
    Malformed(String),
}

const POINTER_CAS: &str = "PointerCAS:";
const QUOTA_REACHED: &str = "Storage quota reached";
const UNAUTHORISED: &str = "Unauthorised!";

/// Finds a lost race in a text; a class name may stand in front of it.
fn find_cas(text: &str) -> Option<CasFailure> {
    text[text.find(POINTER_CAS)?..].trim_end().parse().ok()
}

impl ApiError {
    /// A refusal with status 400 and a text.
    pub fn refused(message: impl Into<String>) -> Self {
        ApiError::Refused { status: 400, message: message.into() }
    }

    /// 429 with a text; clients look for its start `Rate Limit`.
    pub fn rate_limited(message: impl fmt::Display) -> Self {
        ApiError::RateLimited(429, format!("Rate Limit: {message}"))
    }

    /// The quota refusal. The text before the figures is fixed (`spec/04` §4.5).
    pub fn quota_reached(used_bytes: i64, quota_bytes: i64, write_bytes: i64) -> Self {
        ApiError::QuotaReached(format!(
            "{QUOTA_REACHED}! \nUsed {used_bytes} out of {quota_bytes} bytes. Rejecting write of size {write_bytes}. \n\
             Please delete some files or request more space."
        ))
    }

    /// What a failed answer means.
    pub fn from_response(status: u16, trailer: Option<String>) -> Self {
        let message = trailer.unwrap_or_default();
        match status {
            404 => ApiError::NotFound,
            405 => ApiError::MethodNotAllowed,
            429 | 502..=504 => ApiError::RateLimited(status, message),
            _ if message.contains("Queue full") => ApiError::RateLimited(status, message),
            _ if message.contains(QUOTA_REACHED) => ApiError::QuotaReached(message),
            _ if message.contains(UNAUTHORISED) => ApiError::Unauthorised,
            _ => match find_cas(&message) {
                Some(cas) => cas.into(),
                None => ApiError::Refused { status, message },
            },
        }
    }

    /// HTTP status that a node answers with.
    pub fn status(&self) -> u16 {
        match self {
            ApiError::RateLimited(status, _) | ApiError::Refused { status, .. } => *status,
            ApiError::NotFound => 404,
            ApiError::MethodNotAllowed => 405,
            _ => 400,
        }
    }

    /// Text of the `Trailer` header, never empty for a status that carries one.
    pub fn message(&self) -> String {
        match self {
            ApiError::PointerCas(cas) => cas.to_string(),
            ApiError::QuotaReached(message) | ApiError::RateLimited(_, message) => message.clone(),
            ApiError::Unauthorised => UNAUTHORISED.to_owned(),
            ApiError::Refused { message, .. } => message.clone(),
            ApiError::Malformed(reason) => format!("Malformed: {reason}"),
            ApiError::NotFound | ApiError::MethodNotAllowed => String::new(),
        }
    }

    /// Whether the same request may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        matches!(self, ApiError::RateLimited(..))
    }
}

impl From<CasFailure> for ApiError {
    fn from(cas: CasFailure) -> Self {
        ApiError::PointerCas(Box::new(cas))
    }
}

/// A body or parameter that is not the structure that the call demands.
impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        ApiError::Malformed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Cid;

    #[test]
    fn finds_the_fields_of_a_lost_race() {
        let cid = Cid::of_cbor(b"x");
        let cas = CasFailure { existing: Some(cid.clone()), sequence: Some(3), claimed: None };
        assert_eq!(cas.to_string(), format!("PointerCAS:{cid},3,EMPTY"));
        let wrapped = format!("java.lang.IllegalStateException: {cas}");
        assert_eq!(ApiError::from_response(400, Some(wrapped)), ApiError::from(cas));
        let empty = CasFailure { existing: None, sequence: None, claimed: Some(cid) };
        assert_eq!(find_cas(&empty.to_string()), Some(empty));
        for text in ["PointerCAS:", "PointerCAS:EMPTY", "PointerCAS:EMPTY,x,EMPTY", "PointerCAS:EMPTY,1,zzz"] {
            assert_eq!(find_cas(text), None, "{text}");
        }
    }

    #[test]
    fn knows_the_texts_that_clients_know() {
        let error = |status, text: &str| ApiError::from_response(status, Some(text.to_owned()));
        assert_eq!(error(400, "Unauthorised!"), ApiError::Unauthorised);
        assert!(matches!(error(400, "Storage quota reached! \nUsed 1"), ApiError::QuotaReached(_)));
        assert!(error(429, "Rate Limit: x").is_transient());
        assert!(ApiError::from_response(503, None).is_transient());
        assert_eq!(error(404, ""), ApiError::NotFound);
        assert_eq!(error(400, "x"), ApiError::refused("x"));
        let quota = ApiError::quota_reached(1, 2, 3);
        assert_eq!(ApiError::from_response(quota.status(), Some(quota.message())), quota);
    }
}
