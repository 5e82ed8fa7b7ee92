//! Calls of the interface between nodes: one HTTP/1.1 request and its answer on a stream `/http` (`spec/06` §4.4–§4.6).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST, TRAILER};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pyrgos_protocol::api::{Request, Response, trailer};
use pyrgos_protocol::encoding::Cid;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::host::Host;
use super::{PeerError, PeerStream};
use crate::native::http::MAX_ANSWER;
use crate::service::Source;

/// The protocol's name on the wire.
pub(super) const PROTOCOL: &str = "/http";

/// Calls of other nodes in work at once, and those of one node. Further ones are told to come again.
const MAX_CALLS: usize = 256;
const MAX_CALLS_OF_PEER: usize = 48;

/// Longest time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for a whole call: its body, its work, and its answer at the speed at which the other side reads.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a caller waits for a whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends a request over a stream that was opened for it.
pub(super) async fn request(node: &Cid, stream: PeerStream, request: &Request) -> Result<Response, PeerError> {
    let exchange = tokio::time::timeout(ANSWER_TIMEOUT, exchange(node, stream, request));
    exchange.await.unwrap_or_else(|_| Err(PeerError::Timeout { node: node.clone() }))
}

async fn exchange(node: &Cid, stream: PeerStream, request: &Request) -> Result<Response, PeerError> {
    let wrong = |reason: String| PeerError::Wrong { node: node.clone(), reason };
    // The texts of the HTTP library do not hold what was sent.
    let failed = |error: hyper::Error| {
        let reason = error.to_string();
        match error.is_parse() || error.is_parse_status() {
            true => PeerError::Wrong { node: node.clone(), reason },
            false => PeerError::Refused { node: node.clone(), reason },
        }
    };
    let message = hyper::Request::post(request.target())
        .header(HOST, node.hash().to_base58())
        .header(CONTENT_LENGTH, request.body.len())
        .body(Full::new(request.body.clone()))
        .map_err(|_| PeerError::Refused { node: node.clone(), reason: "the call has no valid target".to_owned() })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(failed)?;
    let receive = async {
        let answer = sender.send_request(message).await.map_err(failed)?;
        let (parts, body) = answer.into_parts();
        let limited = Limited::new(body, MAX_ANSWER).collect().await;
        let body = limited.map_err(|error| wrong(format!("the answer is not whole or too long: {error}")))?;
        let message = parts.headers.get(TRAILER).and_then(|value| value.to_str().ok()).map(trailer::decode);
        Ok(Response { status: parts.status.as_u16(), trailer: message, body: body.to_bytes() })
    };
    // The connection does the reading and writing; it may end before the answer is taken from it.
    let mut receive = std::pin::pin!(receive);
    tokio::select! {
        received = &mut receive => received,
        ended = connection => match ended {
            Err(error) if error.is_parse() => Err(failed(error)),
            // Whether the answer was whole by then, the other half knows.
            _ => receive.await,
        },
    }
}

/// How many calls of each node are in work.
#[derive(Clone, Default)]
struct Callers(Arc<Mutex<HashMap<Cid, usize>>>);

/// One call of a node; it counts until this is dropped.
struct Calling(Callers, Cid);

impl Callers {
    fn enter(&self, node: &Cid) -> Option<Calling> {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = callers.entry(node.clone()).or_default();
        if *count >= MAX_CALLS_OF_PEER {
            return None;
        }
        *count += 1;
        Some(Calling(self.clone(), node.clone()))
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let mut callers = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = callers.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                callers.remove(&self.1);
            }
        }
    }
}

/// Answers the calls of other nodes until `stop` says true. `router` decides what they may call.
pub async fn serve(host: Host, router: Router, mut stop: watch::Receiver<bool>) {
    let mut incoming = host.accept(PROTOCOL);
    // The receiver lives as long as the swarm; the handle would keep the swarm alive.
    drop(host);
    let room = Arc::new(Semaphore::new(MAX_CALLS));
    let callers = Callers::default();
    let mut calls = JoinSet::new();
    loop {
        let (node, stream) = tokio::select! {
            next = incoming.recv() => match next {
                Some(next) => next,
                None => break,
            },
            Some(_) = calls.join_next() => continue,
            () = crate::http::server::stopped(&mut stop) => break,
        };
        let (Ok(permit), Some(calling)) = (room.clone().try_acquire_owned(), callers.enter(&node)) else {
            tracing::debug!(%node, "a call was refused: too many are in work");
            continue;
        };
        let router = router.clone();
        calls.spawn(async move {
            let _held = (permit, calling);
            match tokio::time::timeout(CALL_TIMEOUT, answer(node, stream, router)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a call of another node broke off"),
                Err(_) => tracing::debug!("a call of another node took too long"),
            }
        });
    }
    // What is in work is lost with the connections, which end now too; whoever called hears that.
    calls.shutdown().await;
}

/// Answers the one request of a stream. Who it comes from is known from the connection, whatever its headers say.
async fn answer(node: Cid, stream: PeerStream, router: Router) -> hyper::Result<()> {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Source::Peer(node.clone()));
        router.clone().oneshot(request.map(Body::new))
    });
    hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
