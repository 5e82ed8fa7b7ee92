//! `/public/…` and `/secret/…` on the node's own listener, where links lead that people click (`spec/04` §13).
//!
//! Neither shows anything that a user wrote: published files are served by the [`gateway`](super::gateway), which has an
//! origin of its own.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::links::address;

use super::gateway::segments;
use super::{Shared, plain, refusal};
use crate::service::Failure;

/// Begins the paths of published files.
pub(super) const PUBLIC: &str = "/public/";

/// Begins the paths of secret links.
pub(super) const SECRET: &str = "/secret/";

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/public/{*path}", any(public)).route("/secret/{*path}", any(secret))
}

/// Where a viewer finds a published file: its capability is in the fragment, which browsers keep to themselves.
async fn public(State(shared): State<Shared>, request: Request) -> Response {
    let Some(names) = request.uri().path().strip_prefix(PUBLIC).and_then(segments) else {
        return refusal(ApiError::refused("Owner doesn't exist for path"));
    };
    let opens_at_once = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "open=true"));
    let Ok(permit) = shared.in_flight.clone().try_acquire_owned() else { return refusal(Failure::busy().into_api()) };
    let work = tokio::task::spawn_blocking(move || -> Result<Response, Failure> {
        let _held = permit;
        let (capability, _) = shared.service.published_capability(&names)?;
        let location = address::redirect(&format!("/{}", names.join("/")), opens_at_once, &capability);
        let mut response = plain(bytes::Bytes::new());
        *response.status_mut() = StatusCode::FOUND;
        let location = HeaderValue::from_str(&location).map_err(|_| Failure::Damaged("redirection"))?;
        response.headers_mut().insert(header::LOCATION, location);
        Ok(response)
    });
    match work.await {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => refusal(failure.into_api()),
        Err(_) => refusal(Failure::Damaged("panic").into_api()),
    }
}

/// The password is behind the `#` of the link, so only the reader's own program can open it.
async fn secret() -> Response {
    const TEXT: &str = "This is a secret link. The part of it that opens it never leaves your computer, so that this \
                        server cannot read what is behind it.\n\nOpen it with the whole address, in quotes:\n\n    \
                        pyrgos link open 'https://…'\n";
    let mut response = plain(bytes::Bytes::from_static(TEXT.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response
}
