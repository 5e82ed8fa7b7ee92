//! Carries calls to a node in the same process, without a socket: through the same router, with the same checks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request as HttpRequest, header};
use http_body_util::{BodyExt, Limited};
use pyrgos_protocol::api::{Request, Response, Transport, TransportError, trailer};
use tower::ServiceExt;

use super::http::MAX_ANSWER;
use crate::http::{Hosts, Options, router};
use crate::service::Service;

/// A name that the router takes for its own.
const HOST: &str = "localhost:0";

/// A node in this process.
#[derive(Clone)]
pub struct InProcess {
    router: Router,
}

impl InProcess {
    /// The node around a service.
    pub fn new(service: Arc<Service>) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let hosts = Hosts::new(address, &[], service.ids());
        InProcess { router: router(service, Options::new(hosts, false), None) }
    }
}

impl Transport for InProcess {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let request = HttpRequest::post(request.target())
            .header(header::HOST, HOST)
            .body(Body::from(request.body))
            .map_err(|_| TransportError::Connect("the call has no valid target".into()))?;
        let Ok(answer) = self.router.clone().oneshot(request).await;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| TransportError::TooLarge(MAX_ANSWER))?;
        let message = parts.headers.get(header::TRAILER).and_then(|value| value.to_str().ok()).map(trailer::decode);
        Ok(Response { status: parts.status.as_u16(), trailer: message, body: body.to_bytes() })
    }
}
