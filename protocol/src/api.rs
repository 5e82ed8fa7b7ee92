//! Every call between a client and a node, each defined once and used by both (`spec/04`).
//!
//! A [`Call`] is a typed request with its path, its parameters and its answer. A client turns it into a [`Request`]
//! and reads the [`Response`]; a node parses the [`Request`] and writes the answer. Neither side has a byte layout of
//! its own.
//!
//! * [`query`]: parameters in the request target, * [`trailer`]: messages of failures, * [`frame`]: the binary bodies
//!   of `core` and `social`, * [`error`]: what a node refuses with, * [`transport`]: what carries a request.

/// `Debug` that shows some fields and leaves out the others: a signed request is as good as the key until its time is
/// over, and tokens open what they are for.
macro_rules! debug_only {
    ($structure:ident { $($field:ident),* }) => {
        impl std::fmt::Debug for $structure {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($structure))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    };
}

pub mod admin;
pub mod bats;
pub mod core;
pub mod error;
pub mod frame;
pub mod links;
pub mod login;
pub mod message;
pub mod mirror;
pub mod mutable;
pub mod query;
pub mod social;
pub mod space;
pub mod storage;
pub mod trailer;
pub mod transport;

use std::borrow::Cow;

use bytes::Bytes;

pub use error::ApiError;
pub use query::Parameters;
pub use transport::{CallError, Transport, TransportError, call};

/// One request, independent of what carries it.
///
/// Always sent with the method `POST`, which nodes of both kinds take (`spec/04` §2.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Path without the leading slash, as it stands in signed requests: `peergos/v0/login/getLogin`.
    pub path: String,
    /// Parameters in the order they are sent, decoded.
    pub query: Vec<(Cow<'static, str>, String)>,
    /// Body, often empty.
    pub body: Bytes,
}

/// The path and nothing else: parameters and bodies carry access tokens and signatures.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("path", &self.path).field("body_len", &self.body.len()).finish_non_exhaustive()
    }
}

impl Request {
    /// A request without parameters and body.
    pub fn new(path: impl Into<String>) -> Self {
        Request { path: path.into(), query: Vec::new(), body: Bytes::new() }
    }

    /// Adds a parameter. Values must not contain `&`: the query is decoded before it is split, so that such a value
    /// cannot be sent (`spec/04` §2.4).
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.query.push((Cow::Borrowed(key), value.to_string()));
        self
    }

    /// Adds a parameter when there is a value.
    pub fn with_optional(self, key: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Path and query as they stand in the request line: with the leading slash, percent-encoded.
    pub fn target(&self) -> String {
        let mut target = format!("/{}", self.path);
        query::encode_into(&self.query, &mut target);
        target
    }

    /// Reads path and encoded query of a request line. `path` may have one leading slash.
    pub fn parse(path: &str, query: Option<&str>, body: Bytes) -> Result<Self, ApiError> {
        let path = path.strip_prefix('/').unwrap_or(path).to_owned();
        Ok(Request { path, query: query.map(query::decode).transpose()?.unwrap_or_default(), body })
    }

    /// The parameters, for reading.
    pub fn parameters(&self) -> Parameters<'_> {
        Parameters::new(&self.query)
    }
}

/// One answer, independent of what carries it.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status. Only 200 is success.
    pub status: u16,
    /// The `Trailer` header of a failure, form-decoded ([`trailer::decode`]).
    pub trailer: Option<String>,
    /// Body.
    pub body: Bytes,
}

/// Status and length only: bodies carry login data and access tokens.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Response {
    /// A successful answer.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Response { status: 200, trailer: None, body: body.into() }
    }

    /// The body of a success, or the failure as a typed error (`spec/04` §2.6).
    pub fn into_result(self) -> Result<Bytes, ApiError> {
        match self.status {
            200 => Ok(self.body),
            status => Err(ApiError::from_response(status, self.trailer)),
        }
    }
}

impl From<ApiError> for Response {
    fn from(error: ApiError) -> Self {
        Response { status: error.status(), trailer: Some(error.message()), body: Bytes::new() }
    }
}

/// One call of the interface: what is asked, how it travels, what comes back.
///
/// The client uses [`Call::request`] and [`Call::read`], the node [`Call::parse`] and [`Call::write`].
pub trait Call: Sized {
    /// What a success answers.
    type Output;

    /// Path without the leading slash. Calls with a variable last segment have its fixed part here.
    const PATH: &'static str;

    /// Largest body of a request in bytes that the node reads (`spec/04` §2.8). Zero for calls without a body.
    const MAX_BODY: usize = 0;

    /// The request.
    fn request(&self) -> Request;

    /// Reads a request that came to [`Call::PATH`].
    fn parse(request: &Request) -> Result<Self, ApiError>;

    /// The body of a successful answer.
    fn write(output: &Self::Output) -> Bytes;

    /// Reads the body of a successful answer.
    fn read_body(&self, body: Bytes) -> Result<Self::Output, ApiError>;

    /// Reads an answer.
    fn read(&self, response: Response) -> Result<Self::Output, ApiError> {
        self.read_body(response.into_result()?)
    }
}
