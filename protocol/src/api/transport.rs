//! What carries requests: HTTP in a program, `fetch` in a browser, a function call in a simulation.

use std::future::Future;

use super::{ApiError, Call, Request, Response};

/// `Send` where futures move between threads; nothing in a browser, whose futures cannot.
#[cfg(not(target_arch = "wasm32"))]
pub trait MaybeSend: Send {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Send> MaybeSend for T {}

/// `Send` where futures move between threads; nothing in a browser, whose futures cannot.
#[cfg(target_arch = "wasm32")]
pub trait MaybeSend {}
#[cfg(target_arch = "wasm32")]
impl<T> MaybeSend for T {}

/// `Sync` where transports are shared between threads; nothing in a browser.
#[cfg(not(target_arch = "wasm32"))]
pub trait MaybeSync: Sync {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Sync> MaybeSync for T {}

/// `Sync` where transports are shared between threads; nothing in a browser.
#[cfg(target_arch = "wasm32")]
pub trait MaybeSync {}
#[cfg(target_arch = "wasm32")]
impl<T> MaybeSync for T {}

/// Carries one request to one node and brings the answer back, whatever its status.
///
/// Implementations send `POST`, form-decode the `Trailer` header, bound the size of answers and the time they wait, and
/// do not retry: whether a call may be sent twice is known above.
pub trait Transport: MaybeSend + MaybeSync {
    /// Sends a request.
    fn send(&self, request: Request) -> impl Future<Output = Result<Response, TransportError>> + MaybeSend;
}

impl<T: Transport> Transport for &T {
    fn send(&self, request: Request) -> impl Future<Output = Result<Response, TransportError>> + MaybeSend {
        (**self).send(request)
    }
}

impl<T: Transport + MaybeSend> Transport for std::sync::Arc<T> {
    fn send(&self, request: Request) -> impl Future<Output = Result<Response, TransportError>> + MaybeSend {
        (**self).send(request)
    }
}

/// No answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection, so the node has not seen the request.
    #[error("cannot reach the server: {0}")]
    Connect(String),
    /// The answer took too long; the node may have done what was asked.
    #[error("the server did not answer in time")]
    Timeout,
    /// The connection ended early; the node may have done what was asked.
    #[error("the connection to the server broke: {0}")]
    Broken(String),
    /// The answer is longer than any answer may be.
    #[error("the server's answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// A call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No answer came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The node refused, or its answer cannot be read.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Makes one call.
pub async fn call<C: Call, T: Transport + ?Sized>(transport: &T, call: &C) -> Result<C::Output, CallError> {
    let response = transport.send(call.request()).await?;
    Ok(call.read(response)?)
}
