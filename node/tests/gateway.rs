//! Published files for browsers: what is served and how, and what is not.

#[path = "../../protocol/tests/client_support/runtime.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod client_runtime;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use client_runtime::{Seeded, now, runtime};
use pyrgos::http::gateway::Limits;
use pyrgos::http::{self, Hosts};
use pyrgos_protocol::api::mutable::{GetPointer, SetPointer};
use pyrgos_protocol::api::storage::GetBlock;
use pyrgos_protocol::client::{IfExists, InlineRuntime, Password, Session, Settings, SignUp, UploadOptions};
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::cryptree::chunk::CHUNK_SIZE;
use pyrgos_protocol::encoding::{Cid, Codec, FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::{Owner, SigningPrivateKeyAndPublicHash};
use pyrgos_protocol::links::address::{LinkAddress, LinkTarget};
use pyrgos_protocol::merkle::bat::Bat;
use pyrgos_protocol::merkle::champ::{self, MemoryBlocks};
use pyrgos_protocol::merkle::pointer::PointerUpdate;
use pyrgos_protocol::merkle::public::PublicFiles;
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_protocol::names::Username;
use pyrgos_store::Blocks;
use support::account::{put, signer};
use support::{Answer, Node, Wire, path, run};

type TestSession<'n> = Session<Wire<'n>, InlineRuntime<Seeded>>;

fn start() -> Node {
    let id = pyrgos::identity::server_id(&signer("node").secret.public());
    let node = Node::start(vec![id], |config| config.gateway_listen = Some("127.0.0.1:0".parse().unwrap()));
    node.clock.set(now().seconds() * 1000 + 500);
    node
}

fn sign_up<'n>(node: &'n Node, name: &str, seed: u64) -> TestSession<'n> {
    let password = Password::new("a good long password".to_owned());
    let account = SignUp { username: Username::new(name).unwrap(), password, token: String::new() };
    run(Session::sign_up(Wire(node), runtime(seed), Settings::default(), account)).unwrap()
}

fn upload(session: &TestSession<'_>, at: &str, content: &[u8]) {
    let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
    run(session.upload(&path(at), &mut Bytes::copy_from_slice(content), &options, &())).unwrap();
}

/// The keys of a session, in the form in which an agent keeps them.
struct Keys {
    owner: Owner,
    identity: SigningPrivateKeyAndPublicHash,
    home: AbsoluteCapability,
}

impl Keys {
    fn of(session: &TestSession<'_>) -> Keys {
        let state = Value::decode(&session.state().to_bytes()).unwrap();
        let keys = state.fields("state").unwrap().required("k").unwrap().clone();
        let keys = keys.fields("keys").unwrap();
        Keys { owner: keys.get("o").unwrap(), identity: keys.get("i").unwrap(), home: keys.get("h").unwrap() }
    }

    /// Publishes a capability at a path, or nothing at all.
    fn publish(&self, node: &Node, published: Option<(&str, &AbsoluteCapability)>) {
        let mut blocks: Vec<Bytes> = Vec::new();
        let public = published.map(|(path, capability)| {
            let mut memory = MemoryBlocks::default();
            memory.extend(champ::empty().blocks);
            let changed = run(PublicFiles::empty().publish(&memory, path, capability)).unwrap();
            blocks.extend(changed.blocks.iter().map(|(_, block)| block.clone()));
            changed.blocks.last().unwrap().0.clone()
        });
        let writer = self.identity.writer();
        let signed = node.call(&GetPointer { owner: self.owner.clone(), writer: writer.clone() }).unwrap().unwrap();
        let pointer = PointerUpdate::open(&self.identity.secret.public(), &signed).unwrap();
        let get = GetBlock { owner: self.owner.clone(), cid: pointer.updated().unwrap().clone(), bat: None };
        let data = WriterData::from_bytes(&node.call(&get).unwrap().unwrap()).unwrap();
        let data = Bytes::from(WriterData { public, ..data }.to_bytes());
        blocks.push(data.clone());
        let all: Vec<&[u8]> = blocks.iter().map(|block| block.as_ref()).collect();
        node.call(&put(&self.owner, &self.identity, Codec::DagCbor, &all)).unwrap();
        let update = pointer.next(Some(Cid::of_cbor(&data))).unwrap().sign(&self.identity.secret);
        assert!(node.call(&SetPointer { owner: self.owner.clone(), writer, update }).unwrap());
    }
}

fn ask(node: &Node, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let gateway = node.gateway();
    let answer = support::send(gateway, method, target, &format!("localhost:{}", gateway.port()), headers, b"");
    // Whatever it is, it cannot share anything with another page.
    let policy = answer.header("content-security-policy").expect("every answer has a policy");
    assert!(policy.starts_with("sandbox; default-src 'none';"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("set-cookie"), None);
    assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control-")));
    answer
}

fn get(node: &Node, target: &str) -> Answer {
    ask(node, "GET", target, &[])
}

/// Bytes that look like no others.
fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// An account whose home directory is published as `/alice/all`.
fn with_site(node: &Node) -> (TestSession<'_>, Keys) {
    let session = sign_up(node, "alice", 1);
    for directory in ["/alice/site", "/alice/site/many words", "/alice/plain"] {
        run(session.make_directory(&path(directory))).unwrap();
    }
    upload(&session, "/alice/site/index.html", b"<!DOCTYPE html><p>hello");
    upload(&session, "/alice/site/many words/caf\u{e9}.txt", b"a text");
    upload(&session, "/alice/plain/a&b.bin", &[0x80, 0xfe, 2]);
    upload(&session, "/alice/plain/empty", b"");
    let keys = Keys::of(&session);
    keys.publish(node, Some(("/alice/all", &keys.home)));
    (session, keys)
}

#[test]
fn files_are_served_with_their_types() {
    let node = start();
    let (session, _) = with_site(&node);
    let answer = get(&node, "/public/alice/all/site/index.html");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"<!DOCTYPE html><p>hello"[..]));
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("content-disposition"), None);
    let text = get(&node, "/public/alice/all/site/many%20words/caf%C3%A9.txt");
    assert_eq!((text.status, text.body.as_slice()), (200, &b"a text"[..]));
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    let binary = get(&node, "/public/alice/all/plain/a&b.bin");
    assert_eq!((binary.status, binary.body.as_slice()), (200, &[0x80, 0xfe, 2][..]));
    assert_eq!(binary.header("content-type"), Some("application/octet-stream"));
    assert_eq!(binary.header("content-disposition"), Some("attachment"));
    let saved = get(&node, "/public/alice/all/site/index.html?download");
    assert_eq!(saved.header("content-disposition"), Some("attachment"));
    let empty = get(&node, "/public/alice/all/plain/empty");
    assert_eq!((empty.status, empty.body.len()), (200, 0));

    // Caches ask again, and are told whether it is still the same.
    let tag = answer.header("etag").unwrap();
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    let again = ask(&node, "GET", "/public/alice/all/site/index.html", &[("If-None-Match", tag)]);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag)));
    upload(&session, "/alice/site/index.html", b"<p>new");
    let changed = ask(&node, "GET", "/public/alice/all/site/index.html", &[("If-None-Match", tag)]);
    assert_eq!((changed.status, changed.body.as_slice()), (200, &b"<p>new"[..]));
    assert_ne!(changed.header("etag"), Some(tag));
}

#[test]
fn directories_show_their_page_or_what_is_in_them() {
    let node = start();
    let (_session, _) = with_site(&node);
    let slash = get(&node, "/public/alice/all/site");
    assert_eq!((slash.status, slash.header("location")), (302, Some("./site/")));
    assert_eq!(get(&node, "/public/alice/all/site/").body, b"<!DOCTYPE html><p>hello");
    let listing = get(&node, "/public/alice/all/plain/");
    let page = String::from_utf8(listing.body.clone()).unwrap();
    assert_eq!(listing.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.contains("<a href=\"./a%26b.bin\">a&amp;b.bin</a>"), "{page}");
    let above = String::from_utf8(get(&node, "/public/alice/all/").body).unwrap();
    assert!(above.contains("<a href=\"./plain/\">plain/</a>"), "{above}");
    assert_eq!(get(&node, "/public/alice/all/plain/empty/").status, 404, "a file is no directory");
}

#[test]
fn parts_of_long_files_are_served_without_the_rest() {
    let node = start();
    let (session, _) = with_site(&node);
    let chunk = CHUNK_SIZE as usize;
    let long = content(2 * chunk + 1000);
    upload(&session, "/alice/plain/long.mp4", &long);
    let target = "/public/alice/all/plain/long.mp4";
    let whole = get(&node, target);
    assert_eq!((whole.status, whole.body.len()), (200, long.len()));
    assert!(whole.body == long);
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let tag = whole.header("etag").unwrap();

    let last = long.len() - 1;
    let parts = [
        ("bytes=0-9".to_owned(), 0..10),
        (format!("bytes={}-{}", chunk - 5, chunk + 4), chunk - 5..chunk + 5),
        (format!("bytes={}-", 2 * chunk), 2 * chunk..long.len()),
        (format!("bytes={last}-{}", u64::MAX), last..long.len()),
        ("bytes=-1001".to_owned(), 2 * chunk - 1..long.len()),
    ];
    for (range, part) in parts {
        let answer = ask(&node, "GET", target, &[("Range", &range), ("If-Range", tag)]);
        assert_eq!(answer.status, 206, "{range}");
        let expected = format!("bytes {}-{}/{}", part.start, part.end - 1, long.len());
        assert_eq!(answer.header("content-range"), Some(expected.as_str()));
        assert!(answer.body == long[part], "{range}");
        let head = ask(&node, "HEAD", target, &[("Range", &range)]);
        let length = |answer: &Answer| answer.header("content-length").map(str::to_owned);
        assert_eq!((head.status, length(&head)), (206, length(&answer)));
    }
    let beyond = ask(&node, "GET", target, &[("Range", &format!("bytes={}-", long.len()))]);
    assert_eq!((beyond.status, beyond.body.len()), (416, 0));
    assert_eq!(beyond.header("content-range"), Some(format!("bytes */{}", long.len()).as_str()));
    let other = ask(&node, "GET", target, &[("Range", "bytes=0-9"), ("If-Range", "\"other\"")]);
    assert_eq!((other.status, other.body.len()), (200, long.len()));
    let head = ask(&node, "HEAD", target, &[]);
    assert_eq!((head.status, head.header("content-length")), (200, Some(long.len().to_string().as_str())));
    assert_eq!(head.header("content-type"), whole.header("content-type"));
}

#[test]
fn nothing_is_served_that_was_not_published() {
    let node = start();
    let (_session, keys) = with_site(&node);
    let missing = [
        "/",
        "/public/",
        "/public/alice",
        "/public/alice/site/index.html",
        "/public/alice/all/nothing",
        "/public/alice/all/site/index.html/x",
        "/public/alice/all/site/../../site/index.html",
        "/public/alice/all/site/%2e%2e/plain/empty",
        "/public/nobody/all/site/index.html",
        "/public/UPPER/x",
        "/api/v0/id",
        "/peergos/v0/admin/version",
    ];
    for target in missing {
        assert_eq!(get(&node, target).status, 404, "{target}");
    }
    let file = "/public/alice/all/site/index.html";
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(ask(&node, method, file, &[]).status, 405, "{method}");
    }
    let foreign = support::send(node.gateway(), "GET", file, "evil.example", &[], b"");
    assert_eq!(foreign.status, 404);
    // The two doors are told apart by their ports.
    let of_node = support::send(node.gateway(), "GET", file, &node.host(), &[], b"");
    assert_eq!(of_node.status, 404);

    // Whoever publishes a capability without the right token opens nothing.
    let bat = Some(Bat::from_bytes([9; 32]));
    keys.publish(&node, Some(("/alice/all", &AbsoluteCapability { bat, ..keys.home.clone() })));
    assert_eq!(get(&node, file).status, 404);
    keys.publish(&node, Some(("/alice/all", &keys.home)));
    assert_eq!(get(&node, file).status, 200);
    keys.publish(&node, None);
    assert_eq!(get(&node, file).status, 404, "taken back");
}

/// Asks a gateway and gives the connection, of which nothing was read yet.
fn begin(gateway: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {gateway}\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

#[test]
fn readers_that_take_nothing_hold_a_bounded_number_of_files() {
    let node = start();
    let (session, _) = with_site(&node);
    let long = content(4 * CHUNK_SIZE as usize);
    upload(&session, "/alice/plain/long.mp4", &long);
    let target = "/public/alice/all/plain/long.mp4";
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let gateway = listener.local_addr().unwrap();
    let limits = Limits { files_of_proxy: 2, wait: Duration::from_millis(50), ..Limits::default() };
    let router = http::gateway::router(node.service().clone(), Hosts::new(gateway, &[], &[]), limits);
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    runtime.spawn(http::server::serve(listener, router, stopped));

    let mut slow: Vec<TcpStream> = (0..2).map(|_| begin(gateway, target)).collect();
    // Their first bytes are here, so they have taken their places.
    for stream in &mut slow {
        let mut head = [0; 15];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
    }
    let ask = || support::send(gateway, "GET", "/public/alice/all/plain/empty", &gateway.to_string(), &[], b"");
    let refused = ask();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    // Who reads gets all of it, and then the place is free again.
    let mut rest = Vec::new();
    slow.remove(0).read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&long));
    let answered = (0..100).any(|_| ask().status == 200);
    assert!(answered, "the place of a finished file stays taken");
}

#[test]
fn a_file_that_cannot_be_read_is_never_taken_for_a_whole_one() {
    let node = start();
    let (session, keys) = with_site(&node);
    let long = content(2 * CHUNK_SIZE as usize);
    upload(&session, "/alice/plain/long.mp4", &long);
    let entries = node.store.list(&keys.owner, None, 10_000).unwrap();
    let raws: Vec<Cid> = entries.into_iter().map(|entry| entry.cid).filter(|cid| cid.codec() == Codec::Raw).collect();
    assert!(raws.len() >= 10, "{} fragments", raws.len());
    // Takes away the fragments of the second chunk: those without which the first can be read.
    let target = "/public/alice/all/plain/long.mp4";
    let mut needed = Vec::new();
    for raw in raws {
        let block = node.store.get(&keys.owner, &raw).unwrap().unwrap();
        node.store.delete(&keys.owner, std::slice::from_ref(&raw)).unwrap();
        match ask(&node, "GET", target, &[("Range", "bytes=0-0")]).status {
            206 => {}
            status => {
                assert_eq!(status, 500);
                node.store.put(&keys.owner, &[(raw.clone(), block)]).unwrap();
                needed.push(raw);
            }
        }
    }
    let mut answer = Vec::new();
    let outcome = begin(node.gateway(), target).read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains(&format!("content-length: {}", long.len())), "{} bytes", answer.len());
    assert!(outcome.is_err() || answer.len() < long.len(), "{} bytes", answer.len());
    // Without the first chunk too, the failure comes before any promise.
    node.store.delete(&keys.owner, &needed).unwrap();
    assert_eq!(get(&node, target).status, 500);
    assert_eq!(get(&node, "/public/alice/all/site/index.html").status, 200, "the gateway goes on");
}

/// The node's own door sends to a viewer, and shows nothing itself.
#[test]
fn the_nodes_own_door_shows_no_content() {
    let node = start();
    let (_session, keys) = with_site(&node);
    let door = |method: &str, target: &str| node.send(method, target, &node.host(), &[], b"");
    let answer = door("GET", "/public/alice/all/site/index.html?open=true");
    assert_eq!((answer.status, answer.body.len()), (302, 0));
    let link = LinkAddress::parse(answer.header("location").unwrap()).unwrap();
    assert_eq!(link.target, LinkTarget::Capability(Box::new(keys.home.read_only())));
    assert!(link.opens_at_once);
    assert_eq!(door("HEAD", "/public/alice/all").status, 302);
    let refused = door("GET", "/public/alice/site/index.html");
    assert_eq!(
        (refused.status, refused.message().as_str()),
        (400, "User alice has not published a file at alice/site/index.html")
    );
    assert_eq!(door("GET", "/public/nobody/x").message(), "Owner doesn't exist for path nobody/x");
    assert_eq!(door("POST", "/public/alice/all").status, 405);
    let secret = door("GET", "/secret/z59vuwzfFDoorZuA59qbeVm46RbJ41qP4x8GGJHz29pkL3SoEPFNfhV/123");
    assert_eq!((secret.status, secret.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert!(String::from_utf8(secret.body).unwrap().contains("pyrgos link open"));
    assert_eq!(node.send("GET", "/public/alice/all", "evil.example", &[], b"").status, 404);
}
