//! The HTTP door under pressure: too many requests, bodies that do not come, requests that are none.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use pyrgos::http::{self, Hosts, Options};
use pyrgos_protocol::api::storage::GetServerId;
use pyrgos_protocol::api::{Call, core::GetPublicKey};
use support::Node;
use tokio::sync::watch;

/// A door to the service of a node, with limits of its own.
struct Door {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    runtime: tokio::runtime::Runtime,
    _node: Node,
}

impl Door {
    fn open(change: impl FnOnce(&mut Options)) -> Door {
        let node = Node::usual();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let mut options = Options::new(Hosts::new(address, &[], &[]), false);
        change(&mut options);
        let (stop, stopped) = watch::channel(false);
        let service = Arc::clone(node.service());
        runtime.spawn(http::server::serve(listener, http::router(service, options, None), stopped));
        Door { address, stop, runtime, _node: node }
    }

    fn post(&self, path: &str) -> support::Answer {
        support::send(self.address, "POST", path, &self.address.to_string(), &[], b"")
    }

    /// A request whose body never comes.
    fn hang(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let path = GetPublicKey::PATH;
        let host = self.address;
        write!(stream, "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
            .unwrap();
        let mut line = [0; 25];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let _ = &self.runtime;
    }
}

fn id() -> String {
    format!("/{}", GetServerId::PATH)
}

#[test]
fn a_busy_node_says_come_again() {
    let door = Door::open(|options| options.max_in_flight = 0);
    let answer = door.post(&id());
    assert_eq!((answer.status, answer.message().as_str()), (503, "The server is busy"));
    assert!(answer.header("retry-after").is_some());
}

#[test]
fn who_sends_slowly_keeps_nobody_else_waiting() {
    let door = Door::open(|options| options.max_in_flight = 1);
    let mut hanging: Vec<TcpStream> = (0..40).map(|_| door.hang()).collect();
    // Announcements of large bodies take no room either: 40 of them are more than the node holds at once.
    let path = pyrgos_protocol::api::storage::PutBlocks::PATH;
    for _ in 0..40 {
        let mut stream = TcpStream::connect(door.address).unwrap();
        let host = door.address;
        write!(stream, "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4000000\r\n\r\n").unwrap();
        hanging.push(stream);
    }
    assert_eq!(door.post(&id()).status, 200);
    let body = b"\0\0\0\x05alice";
    let target = format!("/{}", GetPublicKey::PATH);
    let answer = support::send(door.address, "POST", &target, &door.address.to_string(), &[], body);
    assert_eq!((answer.status, answer.body.as_slice()), (200, &[0][..]));
    let mut first = hanging.swap_remove(0);
    first.write_all(body).unwrap();
    let mut head = [0; 15];
    first.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let door = Door::open(|options| options.body_timeout = Duration::from_millis(50));
    let mut answer = String::new();
    door.hang().read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
    assert!(answer.contains("trailer: The+request+took+too+long"), "{answer}");
}

#[test]
fn what_is_no_call_is_refused_without_a_word_too_many() {
    let door = Door::open(|_| {});
    let send = |method: &str, path: &str, host: &str| support::send(door.address, method, path, host, &[], b"");
    let own = door.address.to_string();
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "PURGE"] {
        let answer = send(method, &id(), &own);
        assert_eq!((answer.status, answer.header("trailer")), (405, None), "{method}");
    }
    for path in [
        "/",
        "/api/v1/id",
        "//api/v0/id",
        "/api/v0/",
        "/api/v0/block/rm",
        "/api/v0/id/x",
        "/peergos/v1/core/signup",
        "/etc/passwd",
    ] {
        let answer = send("POST", path, &own);
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{path}");
    }
    for host in ["evil.test", "", "localhost", "127.0.0.1", "127.0.0.1:1"] {
        assert_eq!(send("POST", &id(), host).status, 404, "{host}");
    }
    let two = support::send(door.address, "POST", &id(), &own, &[("Host", "evil.test")], b"");
    assert!(matches!(two.status, 400 | 404), "{two:?}");
    // A message that echoes what was asked cannot add a header.
    let answer = send("POST", "/peergos/v0/mutable/getPointer?owner=a%0d%0aSet-Cookie:x=y&writer=b", &own);
    assert_eq!(answer.status, 400);
    assert!(answer.header("set-cookie").is_none());
}

#[test]
fn garbage_is_no_request() {
    let door = Door::open(|_| {});
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        &[b'A'; 100_000],
    ] {
        let mut stream = TcpStream::connect(door.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(door.post(&id()).status, 200);
}
