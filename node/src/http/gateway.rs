//! The gateway: published files for browsers, on a listener of its own (`spec/04` §13, `spec/05` §8).
//!
//! **Why a page from here can do no harm.** What users publish may be a page with scripts, so it must not share an origin
//! with anything that has secrets. Each answer carries `Content-Security-Policy: sandbox` without any exception: the
//! browser gives the page an origin that is equal to no other one, not even to that of another page from here. Such a
//! page has no cookies and no storage, runs no scripts, sends no forms and cannot be framed. The listener's own port or
//! host name keeps requests away from the interface of the node, which is not served here; no cookie is ever set or read.
//!
//! **Memory.** A file is read, decrypted and sent one chunk (5 MiB) after the other; the number of files in work is
//! limited, in all and for each group of addresses.

mod pages;
mod range;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::guard::{Hosts, host};
use crate::service::published::{ChunkPosition, Published, PublishedDirectory, PublishedFile};
use crate::service::{Failure, Service, Source};
pub(super) use pages::segments;
use pages::{listing, message, redirect};
use range::{Wanted, wanted};

/// Groups of addresses: who wants to keep everybody else waiting needs addresses in all of them.
const GROUPS: usize = 8;

/// How much a gateway does at once. Each file in work takes up to three times 5 MiB while a chunk is decrypted, and 5 MiB
/// while it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files in work for each of the eight groups into which addresses fall.
    pub files_of_group: usize,
    /// Files in work for this computer, from where a proxy may ask for many.
    pub files_of_proxy: usize,
    /// Longest time that a request waits for others to end.
    pub wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { files_of_group: 3, files_of_proxy: 16, wait: Duration::from_secs(10) }
    }
}

/// See the module. Images, styles, fonts and media of the same gateway are shown; everything else is not.
const POLICY: &str = "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; \
                      style-src 'self' 'unsafe-inline'; font-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

#[derive(Clone)]
struct Gateway {
    service: Arc<Service>,
    hosts: Arc<Hosts>,
    groups: Arc<[Arc<Semaphore>; GROUPS]>,
    proxy: Arc<Semaphore>,
    wait: Duration,
    group_of: RandomState,
}

/// The gateway over a service, for requests to these hosts.
pub fn router(service: Arc<Service>, hosts: Hosts, limits: Limits) -> Router {
    let groups = std::array::from_fn(|_| Arc::new(Semaphore::new(limits.files_of_group)));
    let gateway = Gateway {
        service,
        hosts: Arc::new(hosts),
        groups: Arc::new(groups),
        proxy: Arc::new(Semaphore::new(limits.files_of_proxy)),
        wait: limits.wait,
        group_of: RandomState::new(),
    };
    Router::new().fallback(answer).with_state(gateway)
}

/// Every answer of the gateway passes here, and gets the headers that keep it harmless.
async fn answer(State(gateway): State<Gateway>, request: Request) -> Response {
    let work = AssertUnwindSafe(serve(&gateway, request)).catch_unwind();
    let mut response = work.await.unwrap_or_else(|_| message(StatusCode::INTERNAL_SERVER_ERROR, "Internal error"));
    let constant = |name: HeaderName, value: &'static str| (name, HeaderValue::from_static(value));
    response.headers_mut().extend([
        constant(header::CONTENT_SECURITY_POLICY, POLICY),
        constant(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        constant(header::REFERRER_POLICY, "no-referrer"),
        // A page in a sandbox is a stranger even to the pictures beside it.
        constant(HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        constant(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        constant(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ]);
    response
}

async fn serve(gateway: &Gateway, request: Request) -> Response {
    if !host(&request).is_some_and(|host| gateway.hosts.accepts(host)) {
        return message(StatusCode::NOT_FOUND, "Not found");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = message(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let missing = || message(StatusCode::NOT_FOUND, "Nothing is published here");
    let path = request.uri().path();
    let Some(names) = path.strip_prefix("/public/").and_then(segments).filter(|names| !names.is_empty()) else {
        return missing();
    };
    let Some(permit) = gateway.room(request.extensions().get::<Source>()).await else {
        let mut response = message(StatusCode::SERVICE_UNAVAILABLE, "Too many files are being read");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        return response;
    };
    let service = gateway.service.clone();
    let is_directory_path = path.ends_with('/');
    // The work goes on when nobody waits for it any more, so it holds its place itself.
    let work = move || (look_up(&service, &names, is_directory_path), permit);
    let Ok((page, permit)) = tokio::task::spawn_blocking(work).await else {
        return message(StatusCode::INTERNAL_SERVER_ERROR, "Internal error");
    };
    match page {
        Ok(Some(Page::File(file))) => {
            let is_download =
                request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "download"));
            send(gateway, file, request.method() == Method::HEAD, request.headers(), is_download, permit).await
        }
        Ok(Some(Page::Listing(page))) => page,
        Ok(Some(Page::Slash)) => redirect(path),
        Ok(None) => missing(),
        Err(failure) => {
            tracing::error!(error = &failure as &dyn std::error::Error, "a published file could not be read");
            message(StatusCode::INTERNAL_SERVER_ERROR, "Internal error")
        }
    }
}

impl Gateway {
    /// Room for one more file.
    async fn room(&self, source: Option<&Source>) -> Option<OwnedSemaphorePermit> {
        let semaphore = match source {
            Some(Source::Address(address)) if !address.is_loopback() => {
                &self.groups[self.group_of.hash_one(address) as usize % GROUPS]
            }
            _ => &self.proxy,
        };
        tokio::time::timeout(self.wait, semaphore.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// What a path shows.
enum Page {
    File(Box<PublishedFile>),
    Listing(Response),
    /// A directory without a slash at the end, against which relative links would go wrong.
    Slash,
}

fn look_up(service: &Service, names: &[String], is_directory_path: bool) -> Result<Option<Page>, Failure> {
    match service.published(names)? {
        None => Ok(None),
        Some(Published::File(_)) if is_directory_path => Ok(None),
        Some(Published::File(file)) => Ok(Some(Page::File(Box::new(file)))),
        Some(Published::Directory(_)) if !is_directory_path => Ok(Some(Page::Slash)),
        Some(Published::Directory(directory)) => index(service, names, &directory).map(Some),
    }
}

/// The directory's own page if it has one, else the list of what is in it.
fn index(service: &Service, names: &[String], directory: &PublishedDirectory) -> Result<Page, Failure> {
    match service.published_child(directory, "index.html")? {
        Some(Published::File(file)) => Ok(Page::File(Box::new(file))),
        _ => Ok(Page::Listing(listing(names, &service.published_children(directory)?))),
    }
}

/// A file or the part of it that was asked for.
async fn send(
    gateway: &Gateway,
    file: Box<PublishedFile>,
    is_head: bool,
    asked: &HeaderMap,
    is_download: bool,
    permit: OwnedSemaphorePermit,
) -> Response {
    let tag = format!("\"{}\"", file.tag());
    let size = file.size_bytes();
    let mut response = Response::new(Body::empty());
    let (status, part) = match wanted(asked, &tag, size) {
        Wanted::Nothing => (StatusCode::NOT_MODIFIED, None),
        Wanted::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        Wanted::Whole => (StatusCode::OK, Some(0..size)),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, Some(part)),
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set(header::ETAG, tag);
    // A file may be changed or taken back at any time, so caches ask each time whether it is still so.
    set(header::CACHE_CONTROL, "no-cache".to_owned());
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    match (&part, status) {
        (Some(part), StatusCode::PARTIAL_CONTENT) => {
            set(header::CONTENT_RANGE, format!("bytes {}-{}/{size}", part.start, part.end - 1));
        }
        (None, StatusCode::RANGE_NOT_SATISFIABLE) => set(header::CONTENT_RANGE, format!("bytes */{size}")),
        _ => {}
    }
    let Some(part) = part else { return response };
    let content_type = pages::content_type(file.name(), file.mime_type());
    set(header::CONTENT_LENGTH, (part.end - part.start).to_string());
    if is_download || !pages::is_shown(&content_type) {
        set(header::CONTENT_DISPOSITION, "attachment".to_owned());
    }
    set(header::CONTENT_TYPE, content_type);
    if !is_head && !part.is_empty() {
        let position = file.chunk_of(part.start);
        let reading = Reading {
            service: gateway.service.clone(),
            file: Arc::new(*file),
            part,
            position,
            permit: Arc::new(permit),
        };
        // The first chunk before the head: a file that cannot be read at all is a failure that says so.
        let mut content = Box::pin(reading.into_stream());
        match content.next().await {
            Some(Ok(first)) => *response.body_mut() = Body::from_stream(stream::iter([Ok(first)]).chain(content)),
            _ => return message(StatusCode::INTERNAL_SERVER_ERROR, "The file cannot be read"),
        }
    }
    response
}

/// A file on its way out.
struct Reading {
    service: Arc<Service>,
    file: Arc<PublishedFile>,
    /// What is still to be sent.
    part: std::ops::Range<u64>,
    /// The chunk in which it begins.
    position: Option<ChunkPosition>,
    permit: Arc<OwnedSemaphorePermit>,
}

impl Reading {
    /// The content, chunk by chunk. A chunk that cannot be read ends the connection, so that nobody takes the beginning
    /// for the whole.
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::try_unfold(self, |mut reading| async move {
            if reading.part.is_empty() {
                return Ok(None);
            }
            let position = reading.position.take().ok_or_else(|| io::Error::other("the file ends early"))?;
            let (service, file, permit) = (reading.service.clone(), reading.file.clone(), reading.permit.clone());
            let (content, position) = tokio::task::spawn_blocking(move || {
                let _held = permit;
                let content = service.published_chunk(&file, &position)?;
                Ok::<_, Failure>((content, position))
            })
            .await
            .map_err(io::Error::other)?
            .map_err(|failure| {
                tracing::warn!(error = &failure as &dyn std::error::Error, "a published file broke off");
                io::Error::other("the file cannot be read")
            })?;
            let start = position.start();
            let from = (reading.part.start - start) as usize;
            let to = usize::try_from(reading.part.end - start).unwrap_or(usize::MAX).min(content.len());
            if from >= to {
                return Err(io::Error::other("the file ends early"));
            }
            let content = content.slice(from..to);
            reading.part.start += content.len() as u64;
            reading.position = reading.file.chunk_after(&position);
            Ok(Some((content, reading)))
        })
    }
}
