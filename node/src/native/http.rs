//! Carries calls to a node over HTTP/1.1, plain or TLS.

use std::sync::Once;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use pyrgos_protocol::api::{Request, Response, Transport, TransportError, trailer};
use reqwest::{Client, Url};

/// Largest answer that is read, in bytes. The largest of the protocol are bulk lookups, well below.
pub(crate) const MAX_ANSWER: usize = 32 << 20;

/// Time to build a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest silence while waiting for an answer or for more of it. There is no limit for a whole call: a slow line may
/// take long for a large block, but not without sending something.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A node behind a URL.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: Client,
    base: Url,
}

/// A text is no address of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not a URL, or one without a host.
    #[error("`{0}` is not the address of a server, which looks like http://localhost:8000 or https://example.org")]
    Malformed(String),
    /// A scheme other than http and https.
    #[error("a server is reached by http or https, not by `{0}`")]
    Scheme(String),
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl HttpTransport {
    /// The node at `base`, for example `http://localhost:8000`. No connection is made yet.
    pub fn new(base: &str) -> Result<Self, AddressError> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Fails only if the program has chosen one already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let malformed = || AddressError::Malformed(base.to_owned());
        let mut url = Url::parse(base).map_err(|_| malformed())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AddressError::Scheme(url.scheme().to_owned()));
        }
        if !url.has_host() || url.query().is_some() || url.fragment().is_some() {
            return Err(malformed());
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(STALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("pyrgos/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| AddressError::Tls(error.to_string()))?;
        Ok(HttpTransport { client, base: url })
    }

    /// The address in its usual form, without a slash at the end.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }
}

impl Transport for HttpTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let target = request.target();
        let url = self
            .base
            .join(target.trim_start_matches('/'))
            .map_err(|_| TransportError::Connect("the call has no valid address".into()))?;
        let answer = self.client.post(url).body(request.body).send().await.map_err(failure)?;
        let status = answer.status().as_u16();
        let message = answer.headers().get("trailer").and_then(|value| value.to_str().ok()).map(trailer::decode);
        let announced = answer.content_length().unwrap_or(0);
        if announced > MAX_ANSWER as u64 {
            return Err(TransportError::TooLarge(MAX_ANSWER));
        }
        let mut body = BytesMut::with_capacity(announced as usize);
        let mut stream = answer.bytes_stream();
        while let Some(part) = stream.next().await {
            let part: Bytes = part.map_err(failure)?;
            if body.len() + part.len() > MAX_ANSWER {
                return Err(TransportError::TooLarge(MAX_ANSWER));
            }
            body.extend_from_slice(&part);
        }
        Ok(Response { status, trailer: message, body: body.freeze() })
    }
}

/// The texts of the HTTP library hold the whole URL, and URLs hold access tokens: only its causes are kept.
fn failure(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if error.is_timeout() && !error.is_connect() {
        return TransportError::Timeout;
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let reason = cause.to_string();
    if error.is_connect() { TransportError::Connect(reason) } else { TransportError::Broken(reason) }
}
