//! The HTTP door: the interface of `spec/04` over the [`service`](crate::service).
//!
//! Each file below is one group of calls, and each call one line: which function of the service it is. Everything else is
//! here and in [`guard`]: paths, bodies and their limits, threads for blocking work, failures as headers.

mod admin;
mod bats;
mod core;
pub mod gateway;
pub mod guard;
mod links;
mod login;
mod messages;
mod mutable;
mod pages;
pub mod server;
mod social;
mod space;
mod storage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use pyrgos_protocol::api::{self, ApiError, Call, trailer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::homes::Homes;
use crate::service::{Failure, Service, Source};
pub use guard::Hosts;

/// How the door is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which `Host` headers are answered.
    pub hosts: Hosts,
    /// Take GET as well as POST.
    pub public: bool,
    /// Requests in work at once; further ones are told to come again.
    pub max_in_flight: usize,
    /// Longest time until a request's body has arrived.
    pub body_timeout: Duration,
    /// Longest time until the answer.
    pub answer_timeout: Duration,
}

impl Options {
    /// The usual limits.
    pub fn new(hosts: Hosts, public: bool) -> Self {
        Options {
            hosts,
            public,
            max_in_flight: 256,
            body_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(600),
        }
    }
}

/// Bytes of bodies in memory at once; further requests wait until there is room for theirs.
const MAX_BODIES: usize = 64 << 20;

/// In which bodies are counted, in bytes.
const BODY_UNIT: usize = 64 << 10;

/// Longest time that a body waits for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// What handlers share.
#[derive(Clone)]
struct Shared {
    service: Arc<Service>,
    options: Arc<Options>,
    in_flight: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    /// None for a node alone, and for calls of other nodes.
    homes: Option<Arc<Homes>>,
}

/// The whole interface over a service. With `homes`, calls about accounts of other nodes go there.
pub fn router(service: Arc<Service>, options: Options, homes: Option<Arc<Homes>>) -> Router {
    let routes = calls_of_peers(&options).merge(admin::routes()).merge(pages::routes());
    finish(routes, service, options, homes)
}

/// The door for other nodes: what they may call on behalf of their users (`spec/06` §4.3, §4.6). It has limits of its own,
/// so that they do not keep this node's clients waiting. Never more than a client of this node may call.
pub fn peer_router(service: Arc<Service>, options: Options) -> Router {
    finish(calls_of_peers(&options), service, options, None)
}

/// Each of these calls is protected by itself: signatures on what is written and on private reads, access tokens on blocks.
fn calls_of_peers(options: &Options) -> Router<Shared> {
    let groups = [
        storage::routes(),
        links::routes(options.hosts.link_host()),
        mutable::routes(),
        core::routes(),
        login::routes(),
        bats::routes(),
        social::routes(),
        messages::routes(),
        space::routes(),
    ];
    groups.into_iter().fold(Router::new(), Router::merge)
}

fn finish(routes: Router<Shared>, service: Arc<Service>, options: Options, homes: Option<Arc<Homes>>) -> Router {
    let in_flight = Arc::new(Semaphore::new(options.max_in_flight));
    let bodies = Arc::new(Semaphore::new(MAX_BODIES / BODY_UNIT));
    let shared = Shared { service, options: Arc::new(options), in_flight, bodies, homes };
    routes.fallback(unknown).layer(from_fn_with_state(shared.clone(), guard::guard)).with_state(shared)
}

/// A route for a call that is one function of the service.
trait RouterExt {
    fn call<C>(self, run: fn(&Service, C) -> Result<C::Output, Failure>) -> Self
    where
        C: Call + Send + 'static,
        C::Output: Send;
}

impl RouterExt for Router<Shared> {
    fn call<C>(self, run: fn(&Service, C) -> Result<C::Output, Failure>) -> Self
    where
        C: Call + Send + 'static,
        C::Output: Send,
    {
        self.route(&path::<C>(), endpoint(move |service, call, _| Ok(plain(C::write(&run(service, call)?)))))
    }
}

fn path<C: Call>() -> String {
    format!("/{}", C::PATH)
}

/// A handler: reads the request, then parses it and runs `answer` on a thread for blocking work.
fn endpoint<C, F>(answer: F) -> MethodRouter<Shared>
where
    C: Call + Send + 'static,
    F: Fn(&Service, C, Source) -> Result<Response, Failure> + Clone + Send + Sync + 'static,
{
    any(async move |State(shared): State<Shared>, request: Request| {
        let outcome = async {
            let source = request.extensions().get::<Source>().cloned().unwrap_or(Source::Inside);
            let (parts, body, room) = read(&shared, request, C::MAX_BODY).await?;
            if let Some(homes) = shared.homes.as_ref().filter(|_| Homes::concerns(C::PATH)) {
                let request = api::Request::parse(parts.uri.path(), parts.uri.query(), body.clone())?;
                if let Some(answer) = homes.forward(Arc::new(request)).await? {
                    return Ok(relayed(answer));
                }
            }
            // Only now: who sends slowly must not keep others from being served.
            let permit = shared.in_flight.clone().try_acquire_owned().map_err(|_| Failure::busy())?;
            let service = shared.service.clone();
            let work = tokio::task::spawn_blocking(move || {
                // The work goes on when nobody waits for it any more, so it holds what it takes itself.
                let _held = (room, permit);
                // Here too, because a long parameter takes milliseconds, which other connections would wait for.
                let request = api::Request::parse(parts.uri.path(), parts.uri.query(), body)?;
                answer(&service, C::parse(&request)?, source)
            });
            work.await.unwrap_or_else(|panicked| {
                // The message may hold what the call was about; where it happened is in the panic's own line.
                tracing::error!(path = C::PATH, cancelled = panicked.is_cancelled(), "a call panicked");
                Err(Failure::Damaged("panic"))
            })
        };
        let start = Instant::now();
        let response = outcome.await.unwrap_or_else(|failure| {
            if let Failure::Store(_) | Failure::Damaged(_) = &failure {
                tracing::error!(path = C::PATH, error = &failure as &dyn std::error::Error, "a call failed");
            }
            refusal(failure.into_api())
        });
        // Parameters hold access tokens and signatures, so the path is all that is told of a request.
        let micros = start.elapsed().as_micros() as u64;
        tracing::debug!(path = C::PATH, status = response.status().as_u16(), micros, "answered");
        response
    })
}

/// Receives a request with its body, which has a limit and a time. The room that it takes is free again when the last
/// value is dropped.
async fn read(
    shared: &Shared,
    request: Request,
    max_body: usize,
) -> Result<(Parts, Bytes, Option<OwnedSemaphorePermit>), Failure> {
    let (parts, body) = request.into_parts();
    if max_body == 0 {
        // Clients send an empty body with such calls; whatever it is, nobody reads it.
        return Ok((parts, Bytes::new(), None));
    }
    let mut room = None;
    let collect = collect(&shared.bodies, body, max_body, &mut room);
    let collected = tokio::time::timeout(shared.options.body_timeout, collect).await;
    let body = collected.map_err(|_| Failure::refused("The request took too long"))??;
    Ok((parts, body, room))
}

/// Collects a body. Room is taken for what has arrived, not for what was announced: an announcement costs nothing.
async fn collect(
    bodies: &Arc<Semaphore>,
    mut body: Body,
    max: usize,
    room: &mut Option<OwnedSemaphorePermit>,
) -> Result<Bytes, Failure> {
    let mut collected = BytesMut::new();
    let mut units = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::refused("The request body broke off"))?;
        let Ok(part) = frame.into_data() else { continue };
        if collected.len() + part.len() > max {
            return Err(Failure::refused(format!("Input exceeds maximum size of {max} bytes")));
        }
        let needed = (collected.len() + part.len()).div_ceil(BODY_UNIT);
        if needed > units {
            let more = bodies.clone().acquire_many_owned((needed - units) as u32);
            // The semaphore is never closed, so only time runs out.
            let Ok(Ok(more)) = tokio::time::timeout(ROOM_TIMEOUT, more).await else { return Err(Failure::busy()) };
            match room {
                Some(room) => room.merge(more),
                None => *room = Some(more),
            }
            units = needed;
        }
        collected.extend_from_slice(&part);
    }
    Ok(collected.freeze())
}

/// A success: the body and nothing else, not even its type (`spec/04` §2.5).
fn plain(body: Bytes) -> Response {
    Response::new(Body::from(body))
}

/// What another node answered.
fn relayed(answer: api::Response) -> Response {
    match answer.status {
        200 => plain(answer.body),
        status => refusal(ApiError::from_response(status, answer.trailer)),
    }
}

/// A failure: no body, the message form-encoded in `Trailer`.
fn refusal(error: ApiError) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let message = error.message();
    if !message.is_empty() {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        // The encoding leaves printable ASCII only.
        if let Ok(value) = HeaderValue::from_str(&trailer::encode(&message)) {
            headers.insert(header::TRAILER, value);
        }
    }
    if error.is_transient() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// A path that is no call of this node.
async fn unknown(request: Request) -> Response {
    match request.uri().path().strip_prefix("/peergos/v0/").and_then(|rest| rest.split_once('/')) {
        Some(("core", _)) => refusal(ApiError::refused("Unknown pkinode method!")),
        Some(("mutable" | "login" | "bats" | "storage" | "admin" | "social" | "server-message", _)) => {
            refusal(ApiError::refused("Unknown method"))
        }
        _ => refusal(ApiError::NotFound),
    }
}
