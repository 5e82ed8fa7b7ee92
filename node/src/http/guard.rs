//! What holds for every request, before anybody looks at it: its host, its method, how long it may take, and that a panic is an answer too (`spec/04` §2.1–§2.3).

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::encoding::{Cid, text};

use super::{Shared, pages, refusal};

/// Which `Host` headers are this node's. Others are refused, so that a web page cannot reach a node of its visitor's
/// network under a name of its own (DNS rebinding).
#[derive(Clone, Debug)]
pub struct Hosts {
    listen: SocketAddr,
    public: Vec<String>,
    /// Base58 of the node's identifiers and of their bare hashes, which peers send.
    ids: Vec<String>,
}

impl Hosts {
    /// For a node that listens at an address, and is reached under `public` hosts through a proxy.
    pub fn new(listen: SocketAddr, public: &[String], ids: &[Cid]) -> Self {
        let ids = ids.iter().flat_map(|id| [text::base58(id.to_bytes()), id.hash().to_base58()]).collect();
        Hosts { listen, public: public.iter().map(|host| host.to_ascii_lowercase()).collect(), ids }
    }

    /// What stands in new links: the first public host, else the name of this computer for itself.
    pub fn link_host(&self) -> String {
        self.public.first().cloned().unwrap_or_else(|| format!("localhost:{}", self.listen.port()))
    }

    /// Whether a `Host` header names this node.
    pub fn accepts(&self, host: &str) -> bool {
        if self.ids.iter().any(|id| id == host) || self.public.iter().any(|public| public.eq_ignore_ascii_case(host)) {
            return true;
        }
        let Ok(host) = host.parse::<SocketAddr>() else {
            // With a public host a page of that name could be served by somebody else under `localhost`.
            let is_local = self.listen.ip().is_loopback() || self.listen.ip().is_unspecified();
            let local = format!("localhost:{}", self.listen.port());
            return is_local && self.public.is_empty() && host.eq_ignore_ascii_case(&local);
        };
        if host.port() != self.listen.port() {
            return false;
        }
        match self.listen.ip() {
            IpAddr::V4(listen) if listen.is_unspecified() => host.is_ipv4(),
            // Such a socket takes IPv4 as well.
            IpAddr::V6(listen) if listen.is_unspecified() => true,
            listen => host.ip() == listen,
        }
    }
}

/// Surrounds every handler.
pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = match check(&shared, &request) {
        Err(error) => refusal(error),
        Ok(()) => {
            let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
            match tokio::time::timeout(shared.options.answer_timeout, answer).await {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => refusal(ApiError::Refused { status: 500, message: "Internal server error".to_owned() }),
                Err(_) => refusal(ApiError::RateLimited(503, "The server took too long".to_owned())),
            }
        }
    };
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn check(shared: &Shared, request: &Request) -> Result<(), ApiError> {
    if !host(request).is_some_and(|host| shared.options.hosts.accepts(host)) {
        return Err(ApiError::NotFound);
    }
    let path = request.uri().path();
    if path.starts_with(pages::PUBLIC) || path.starts_with(pages::SECRET) {
        return match *request.method() {
            Method::GET | Method::HEAD => Ok(()),
            _ => Err(ApiError::MethodNotAllowed),
        };
    }
    let is_call = |uri: &Uri| uri.path().starts_with("/api/v0/") || uri.path().starts_with("/peergos/v0/");
    if !is_call(request.uri()) {
        return Err(ApiError::NotFound);
    }
    match *request.method() {
        Method::POST => Ok(()),
        // Only on nodes that say so: a page of another origin can cause a GET without asking.
        Method::GET if shared.options.public => Ok(()),
        _ => Err(ApiError::MethodNotAllowed),
    }
}

/// The one host of a request; two of them are none.
pub(super) fn host(request: &Request) -> Option<&str> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrgos_protocol::keys::SecretSigningKey;

    fn hosts(listen: &str, public: &[&str]) -> Hosts {
        let id = crate::identity::server_id(&SecretSigningKey::from_seed(&[1; 32]).public());
        let public: Vec<String> = public.iter().map(|host| (*host).to_owned()).collect();
        Hosts::new(listen.parse().unwrap(), &public, &[id])
    }

    #[test]
    fn only_the_nodes_own_hosts_are_answered() {
        let local = hosts("127.0.0.1:8000", &[]);
        let public = hosts("127.0.0.1:8000", &["example.test"]);
        let any4 = hosts("0.0.0.0:8000", &[]);
        let any6 = hosts("[::]:8000", &[]);
        let one = hosts("192.0.2.1:8000", &[]);
        let cases: [(&Hosts, &[&str], &[&str]); 5] = [
            (
                &local,
                &["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000"],
                &["localhost", "127.0.0.1:8001", "192.0.2.1:8000", "a.localhost:8000", "evil.test", ""],
            ),
            (
                &public,
                &["127.0.0.1:8000", "example.test", "Example.Test"],
                &["localhost:8000", "example.test:8000", "www.example.test", "evil-example.test"],
            ),
            (
                &any4,
                &["127.0.0.1:8000", "192.0.2.7:8000", "localhost:8000"],
                &["[::1]:8000", "192.0.2.7", "evil.test:8000"],
            ),
            (&any6, &["[::1]:8000", "[2001:db8::1]:8000", "127.0.0.1:8000"], &["[::1]:80", "evil.test:8000"]),
            (&one, &["192.0.2.1:8000"], &["localhost:8000", "127.0.0.1:8000"]),
        ];
        for (hosts, accepted, refused) in cases {
            accepted.iter().for_each(|host| assert!(hosts.accepts(host), "{host} at {}", hosts.listen));
            refused.iter().for_each(|host| assert!(!hosts.accepts(host), "{host} at {}", hosts.listen));
        }
        let id = local.ids[1].clone();
        assert!(id.starts_with("12D3KooW") && local.accepts(&id) && !local.accepts(&format!("z{id}")));
    }
}
