//! What the tests of the node share: vectors, a node in memory, and an HTTP client that sends exactly what it is told.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

pub mod account;
pub mod links;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyrgos::config::{Config, Settings, SignupPolicy};
use pyrgos::daemon::{self, Daemon};
use pyrgos::identity::server_id;
use pyrgos::service::clock::{Entropy, ManualClock, SystemEntropy};
use pyrgos_protocol::api::{Call, Request, Response, Transport, TransportError, trailer};
use pyrgos_protocol::client::RemotePath;
use pyrgos_protocol::encoding::Cid;
use pyrgos_store::MemoryStore;
use serde_json::Value;

/// Reads a vector file of the project.
pub fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(format!("{name}.json.gz"));
    let mut json = String::new();
    flate2::read::GzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// A node in this process, on a free port, over memory, with a clock that the test sets.
pub struct Node {
    pub address: SocketAddr,
    /// Its current identifier.
    pub id: Cid,
    pub clock: Arc<ManualClock>,
    pub store: Arc<MemoryStore>,
    pub entropy: Arc<ScriptedEntropy>,
    daemon: Option<Daemon>,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    /// Starts a node that is known under some identifiers.
    pub fn start(ids: Vec<Cid>, change: impl FnOnce(&mut Config)) -> Node {
        let settings = Settings {
            data_dir: Some("/nonexistent".into()),
            listen: Some("127.0.0.1:0".parse().unwrap()),
            signup: Some(SignupPolicy::Open),
            ..Settings::default()
        };
        let mut config = settings.resolve().unwrap();
        change(&mut config);
        let id = ids.last().cloned().expect("a node has an identifier");
        let clock = Arc::new(ManualClock::new(1_795_447_763_309));
        let store = Arc::new(MemoryStore::default());
        let entropy = Arc::new(ScriptedEntropy::default());
        let service = daemon::service(store.clone(), &config, ids, clock.clone(), entropy.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let daemon = runtime.block_on(Daemon::serve(&config, Arc::new(service))).unwrap();
        Node { address: daemon.address(), id, clock, store, entropy, daemon: Some(daemon), runtime }
    }

    /// A node like any other.
    pub fn usual() -> Node {
        Node::start(vec![server_id(&account::signer("node").secret.public())], |_| {})
    }

    /// The `Host` that local clients send.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Sends one request over a connection of its own.
    pub fn send(&self, method: &str, target: &str, host: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send(self.address, method, target, host, headers, body)
    }

    /// Makes a typed call.
    pub fn call<C: Call>(&self, call: &C) -> Result<C::Output, pyrgos_protocol::api::ApiError> {
        call.read(self.request(call.request()).into_response())
    }

    /// Sends a request of the interface.
    pub fn request(&self, request: Request) -> Answer {
        self.send("POST", &request.target(), &self.host(), &[], &request.body)
    }

    /// Where its gateway listens.
    pub fn gateway(&self) -> SocketAddr {
        self.daemon.as_ref().unwrap().gateway().expect("the test asked for a gateway")
    }

    /// The node's service.
    pub fn service(&self) -> &Arc<pyrgos::service::Service> {
        self.daemon.as_ref().unwrap().service()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.runtime.block_on(daemon.stop());
        }
    }
}

/// The node's time.
pub fn now(node: &Node) -> i64 {
    use pyrgos::service::clock::Clock;
    node.clock.now_millis()
}

/// Randomness that a test may foresee: the bytes that it put there, then the system's.
#[derive(Default)]
pub struct ScriptedEntropy(Mutex<VecDeque<u8>>);

impl ScriptedEntropy {
    /// The next bytes that the node will draw.
    pub fn script(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend(bytes);
    }
}

impl Entropy for ScriptedEntropy {
    fn fill(&self, out: &mut [u8]) {
        let mut script = self.0.lock().unwrap();
        if script.is_empty() {
            return SystemEntropy.fill(out);
        }
        out.iter_mut().for_each(|byte| *byte = script.pop_front().expect("the script has whole draws"));
    }
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The failure's message, decoded.
    pub fn message(&self) -> String {
        self.header("trailer").map(trailer::decode).unwrap_or_default()
    }

    pub fn into_response(self) -> Response {
        let trailer = self.header("trailer").map(trailer::decode);
        Response { status: self.status, trailer, body: self.body.into() }
    }
}

pub fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A node that refuses before it has read everything may close; its answer is there all the same.
    let _ = stream.write_all(body);
    read_answer(BufReader::new(stream), method)
}

fn read_answer(mut stream: BufReader<TcpStream>, method: &str) -> Answer {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse().unwrap());
    let mut body = vec![0; length.unwrap_or(0)];
    if method != "HEAD" {
        stream.read_exact(&mut body).unwrap();
    }
    Answer { status, headers, body }
}

/// The time inside a signed message: `signature (64) ‖ CBOR integer, or map with the key t`, or s where t is a kind.
pub fn signed_time(signed: &[u8]) -> Option<i64> {
    let value = pyrgos_protocol::encoding::Value::decode(signed.get(64..)?).ok()?;
    let field = |key: &str| value.as_map().ok()?.get(key)?.as_int().ok();
    let is_message = field("s").is_some() && field("id").is_some();
    value.as_int().ok().or_else(|| field(if is_message { "s" } else { "t" }))
}

/// Sends over a socket and waits for the answer, so that its futures are ready at their first poll.
#[derive(Clone, Copy)]
pub struct Wire<'n>(pub &'n Node);

impl Transport for Wire<'_> {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        Ok(self.0.request(request).into_response())
    }
}

/// The output of a future over a [`Wire`].
pub fn run<O>(future: impl Future<Output = O>) -> O {
    futures_util::FutureExt::now_or_never(future).expect("this transport waits by itself")
}

/// A remote path.
pub fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}
