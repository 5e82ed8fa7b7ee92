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

/// Calls of other nodes in work at once, and those of one node. Further ones are closed.
const MAX_CALLS: usize = 512;
const MAX_CALLS_OF_PEER: usize = 48;

/// Longest head of a request, in bytes: a lookup of many chunks has long parameters. What is read ahead is no longer.
const MAX_HEAD: usize = 128 << 10;

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
        .max_buf_size(MAX_HEAD)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use pyrgos_store::MemoryStore;
    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::Settings;
    use crate::http::{Hosts, Options, peer_router};
    use crate::service::clock::{SystemClock, SystemEntropy};

    fn vectors() -> Value {
        let file =
            std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/06-p2p-http.json.gz")).unwrap();
        let mut json = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut json).unwrap();
        serde_json::from_str(&json).unwrap()
    }

    fn node(vectors: &Value, name: &str) -> Cid {
        Cid::from_server_id(vectors[name].as_str().unwrap()).unwrap()
    }

    fn bytes(case: &Value) -> Vec<u8> {
        hex::decode(case["stream_bytes"].as_str().unwrap()).unwrap()
    }

    fn router(id: Cid) -> Router {
        let config = Settings { data_dir: Some("/nonexistent".into()), ..Settings::default() }.resolve().unwrap();
        let ids = vec![id];
        let hosts = Hosts::new(config.listen, &["x".to_owned()], &ids);
        let store = Arc::new(MemoryStore::default());
        let service = crate::daemon::service(store, &config, ids, Arc::new(SystemClock), Arc::new(SystemEntropy));
        peer_router(Arc::new(service), Options::new(hosts, false))
    }

    /// What a node answers to some bytes on a stream, as text.
    async fn answer_to(request: Vec<u8>, from: Cid, router: Router) -> String {
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        let answering = tokio::spawn(answer(from, Box::new(theirs), router));
        ours.write_all(&request).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut received = Vec::new();
        ours.read_to_end(&mut received).await.unwrap();
        let _ = answering.await.unwrap();
        String::from_utf8_lossy(&received).into_owned()
    }

    #[tokio::test]
    async fn requests_of_existing_nodes_are_understood() {
        let vectors = vectors();
        let (from, to) = (node(&vectors, "initiator_peer"), node(&vectors, "target_peer"));
        let statuses = ["200 OK\r\n", "200 OK\r\n", "400 Bad Request\r\n"];
        let requests = vectors["cases"].as_array().unwrap().iter();
        let requests = requests.filter(|case| case["direction"].as_str().unwrap().starts_with("request"));
        let mut answered = 0;
        for (case, status) in requests.zip(statuses) {
            let text = answer_to(bytes(case), from.clone(), router(to.clone())).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{}: {text}", case["description"]);
            assert!(text.contains("content-length: "), "{text}");
            // A refusal comes from the call itself, not from the door.
            assert_eq!(status.starts_with('4'), text.contains("trailer: "), "{text}");
            answered += 1;
        }
        assert_eq!(answered, statuses.len());
    }

    #[tokio::test]
    async fn what_their_decoder_takes_ours_takes_too() {
        let vectors = vectors();
        let (from, to) = (node(&vectors, "initiator_peer"), node(&vectors, "target_peer"));
        // `/a` is no call, and a name needs its length before it: these are answers to whole requests.
        let statuses = [" 400 ", " 404 ", " 400 ", " 400 ", " 404 "];
        for (case, status) in vectors["decoder_tolerance"].as_array().unwrap().iter().zip(statuses) {
            let text = answer_to(bytes(case), from.clone(), router(to.clone())).await;
            assert!(text.contains(status), "{}: {text}", case["description"]);
        }
    }

    #[tokio::test]
    async fn answers_of_existing_nodes_are_understood() {
        let vectors = vectors();
        let to = node(&vectors, "target_peer");
        let body = Bytes::from_static(b"\0\0\0\x05alice");
        let call = Request::new("peergos/v0/core/getChain").body(body.clone());
        let answers = vectors["cases"].as_array().unwrap().iter();
        let answers = answers.filter(|case| case["direction"].as_str().unwrap().starts_with("response"));
        let expected =
            [(200, None, [1].as_slice()), (400, Some("Unknown identity key"), &[]), (404, None, &[]), (502, None, &[])];
        let mut read = 0;
        for (case, (status, message, content)) in answers.zip(expected) {
            let (ours, mut theirs) = tokio::io::duplex(64 << 10);
            let answer = bytes(case);
            let node = tokio::spawn(async move {
                let mut seen = Vec::new();
                while !seen.ends_with(b"alice") {
                    theirs.read_buf(&mut seen).await.unwrap();
                }
                theirs.write_all(&answer).await.unwrap();
                String::from_utf8(seen).unwrap()
            });
            let response = request(&to, Box::new(ours), &call).await.unwrap();
            assert_eq!((response.status, response.trailer.as_deref()), (status, message), "{}", case["description"]);
            assert_eq!(response.body, content);
            let sent = node.await.unwrap();
            assert!(sent.starts_with("POST /peergos/v0/core/getChain HTTP/1.1\r\n"), "{sent}");
            assert!(sent.contains(&format!("host: {}\r\n", vectors["target_peer"].as_str().unwrap())), "{sent}");
            assert!(sent.contains("content-length: 9\r\n"), "{sent}");
            read += 1;
        }
        assert_eq!(read, expected.len());
    }
}
