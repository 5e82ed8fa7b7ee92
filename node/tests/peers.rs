//! Nodes among others, over real sockets on loopback: they find each other, call each other, and pass messages on.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyrgos::config::{Config, Settings, SignupPolicy};
use pyrgos::daemon::Daemon;
use pyrgos::p2p::{Address, Gossip, Host, MAX_MESSAGE, Options, PeerError, Peers};
use pyrgos_protocol::api::core::{GetChain, GetUsernames};
use pyrgos_protocol::api::storage::{GetServerId, GetServerIds};
use pyrgos_protocol::api::{Call, Request};
use pyrgos_protocol::encoding::Cid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A whole node in a folder of its own.
struct Node {
    daemon: Daemon,
    _folder: tempfile::TempDir,
}

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

fn config(folder: &Path, listen: &str, bootstrap: &[Address]) -> Config {
    let settings = Settings {
        data_dir: Some(folder.to_owned()),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        signup: Some(SignupPolicy::Open),
        p2p_listen: Some(vec![listen.parse().unwrap()]),
        bootstrap: Some(bootstrap.to_vec()),
        ..Settings::default()
    };
    settings.resolve().unwrap()
}

impl Node {
    async fn start(listen: &str, bootstrap: &[Address]) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(&config(folder.path(), listen, bootstrap)).await.unwrap();
        Node { daemon, _folder: folder }
    }

    fn host(&self) -> &Host {
        self.daemon.host().unwrap()
    }

    fn id(&self) -> &Cid {
        self.host().id()
    }

    fn at(&self) -> Vec<Address> {
        self.host().listening().to_vec()
    }

    /// Waits for a connection with another node.
    async fn meets(&self, other: &Cid) {
        eventually("a connection", async || self.host().connected().await.contains(other)).await;
    }

    async fn call<C: Call>(&self, node: &Cid, call: &C) -> C::Output {
        call.read(self.host().request(node, &call.request()).await.unwrap()).unwrap()
    }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_node_is_found_through_others_and_answers_as_it_does_directly() {
    let first = Node::start(TCP, &[]).await;
    let second = Node::start(TCP, &first.at()).await;
    let third = Node::start(QUIC, &first.at()).await;
    // The third has no way to connect by QUIC to a node that listens on TCP only, so it takes TCP to the first.
    second.meets(first.id()).await;
    third.meets(first.id()).await;
    assert!(!third.host().connected().await.contains(second.id()));

    // Nobody told the third where the second is: it asks the first.
    eventually("an answer of the second node", async || {
        third.host().request(second.id(), &GetServerId.request()).await.is_ok()
    })
    .await;
    assert_eq!(&third.call(second.id(), &GetServerId).await, second.id());
    assert_eq!(&second.call(third.id(), &GetServerId).await, third.id());

    // The same bytes as at the front door, successes and failures.
    let requests = [
        GetServerIds.request(),
        GetUsernames { prefix: String::new() }.request(),
        GetChain { username: "nobody".parse().unwrap() }.request(),
        Request::new("api/v0/block/get").with("arg", "nonsense"),
        Request::new("peergos/v0/core/no-such-call"),
    ];
    for request in requests {
        let proxied = third.host().request(second.id(), &request).await.unwrap();
        let (address, target, body) = (second.daemon.address(), request.target(), request.body.clone());
        let host = address.to_string();
        let direct = tokio::task::spawn_blocking(move || {
            support::send(address, "POST", &target, &host, &[], &body).into_response()
        });
        assert_eq!(proxied, direct.await.unwrap(), "{request:?}");
    }
    for node in [first, second, third] {
        node.daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_finds_its_network_without_a_bootstrap_list() {
    let first = Node::start(TCP, &[]).await;
    let second = Node::start(QUIC, &first.at()).await;
    let third = Node::start(TCP, &second.at()).await;
    second.meets(first.id()).await;
    third.meets(second.id()).await;
    // From the second, which the third asks for it.
    eventually("an answer of the first node", async || {
        third.host().request(first.id(), &GetServerId.request()).await.is_ok()
    })
    .await;
    let Node { daemon, _folder: folder } = third;
    daemon.stop().await;
    let kept = std::fs::read_to_string(folder.path().join("peers")).unwrap();
    assert!(first.at().iter().all(|address| kept.contains(&address.to_string())), "{kept}");

    // The only node that it was told of is gone.
    second.daemon.stop().await;
    let daemon = Daemon::start(&config(folder.path(), TCP, &[])).await.unwrap();
    let third = Node { daemon, _folder: folder };
    third.meets(first.id()).await;
    for node in [first, third] {
        node.daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_between_nodes_is_refused() {
    let first = Node::start(TCP, &[]).await;
    let second = Node::start(TCP, &first.at()).await;
    for path in ["peergos/v0/admin/pending-quota", "public/alice/x", "secret/1/2", "", "metrics", "api/v0/stop"] {
        let answer = second.host().request(first.id(), &Request::new(path)).await.unwrap();
        assert!(matches!(answer.status, 400 | 404 | 405), "{path}: {answer:?}");
        assert!(answer.body.is_empty(), "{path}");
    }
    // Raw requests that a client of ours does not send.
    let id = first.id().hash().to_base58();
    let cases = [
        (format!("GET /api/v0/id HTTP/1.1\r\nhost: {id}\r\n\r\n"), "405"),
        ("POST /api/v0/id HTTP/1.1\r\nhost: example.org\r\n\r\n".to_owned(), "404"),
        ("POST /api/v0/id HTTP/1.1\r\n\r\n".to_owned(), "404"),
        (
            format!(
                "POST /api/v0/id? HTTP/1.1\r\nHost: {id}\r\nsource: forged\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\ncontent-length: 0\r\n\r\n"
            ),
            "200",
        ),
        (
            format!(
                "POST /peergos/v0/core/getChain HTTP/1.1\r\nhost: {id}\r\ntransfer-encoding: chunked\r\n\r\n9\r\n\0\0\0\x05alice\r\n0\r\n\r\n"
            ),
            "200",
        ),
        (format!("POST /api/v0/id?a=1&b=2& HTTP/1.0\r\nhost: {id}\r\ncontent-length: 0\r\n\r\n"), "200"),
        ("\0\0\0nonsense\r\n\r\n".to_owned(), "400"),
    ];
    for (request, status) in cases {
        let mut stream = second.host().open(first.id(), "/http").await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request:?}: {answer:?}");
        assert!(answer.to_lowercase().contains("content-length: "), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_apart() {
    let first = Node::start(TCP, &[]).await;
    let second = Node::start(TCP, &first.at()).await;
    second.meets(first.id()).await;
    let request = GetServerId.request();
    assert!(matches!(second.host().open(first.id(), "/no/such/1").await, Err(PeerError::Refused { .. })));
    let nobody = Cid::from_server_id("12D3KooWLdJAwPtyQ5RFnr9wGXsQzpf3P2SeqFbYkqbfVehLu4Ns").unwrap();
    let unknown = second.host().request(&nobody, &request).await;
    assert!(matches!(&unknown, Err(PeerError::Unreachable { node, .. }) if *node == nobody), "{unknown:?}");
    let itself = second.host().request(second.id(), &request).await;
    assert!(matches!(itself, Err(PeerError::Unreachable { .. })));
    // Somebody else sits at the address.
    second.host().add_address(&nobody, first.at()[0].to_string().split("/p2p/").next().unwrap().parse().unwrap()).await;
    assert!(matches!(second.host().request(&nobody, &request).await, Err(PeerError::Unreachable { .. })));

    // A node that answers nonsense, and one that closes.
    let mut streams = first.host().accept("/http");
    let answering = tokio::spawn(async move {
        let (_, mut stream) = streams.recv().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await.unwrap();
        stream.write_all(b"what?\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        drop(streams.recv().await.unwrap());
        streams
    });
    let wrong = second.host().request(first.id(), &request).await;
    assert!(matches!(wrong, Err(PeerError::Wrong { .. })), "{wrong:?}");
    let closed = second.host().request(first.id(), &request).await;
    assert!(matches!(closed, Err(PeerError::Refused { .. })), "{closed:?}");
    drop(answering.await.unwrap());

    let id = first.id().clone();
    first.daemon.stop().await;
    eventually("the end of the connection", async || !second.host().connected().await.contains(&id)).await;
    let gone = second.host().request(&id, &request).await;
    assert!(matches!(gone, Err(PeerError::Unreachable { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_carry_bytes_both_ways_and_are_bounded() {
    let first = Node::start(QUIC, &[]).await;
    let second = Node::start(TCP, &first.at()).await;
    let mut incoming = first.host().accept("/test/echo/1");
    let (mut here, opener) = {
        let opened = second.host().open(first.id(), "/test/echo/1").await.unwrap();
        let (node, accepted) = incoming.recv().await.unwrap();
        ((opened, accepted), node)
    };
    assert_eq!(&opener, second.id());
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(7919) >> 5) as u8).collect();
    let copy = sent.clone();
    let sending = tokio::spawn(async move {
        here.0.write_all(&copy).await.unwrap();
        here.0.shutdown().await.unwrap();
        let mut back = Vec::new();
        here.0.read_to_end(&mut back).await.unwrap();
        back
    });
    let mut received = Vec::new();
    here.1.read_to_end(&mut received).await.unwrap();
    assert!(received == sent, "{} bytes arrived", received.len());
    here.1.write_all(b"thanks").await.unwrap();
    here.1.shutdown().await.unwrap();
    assert_eq!(sending.await.unwrap(), b"thanks");
    drop(here.1);

    // More streams than one node may have open: the surplus is closed, the others are not disturbed.
    let mut opened = Vec::new();
    for _ in 0..100 {
        opened.push(second.host().open(first.id(), "/test/echo/1").await.unwrap());
    }
    let mut accepted = Vec::new();
    while let Ok(Some(next)) = tokio::time::timeout(Duration::from_secs(1), incoming.recv()).await {
        accepted.push(next);
    }
    assert_eq!(accepted.len(), 64);
    drop((accepted, opened));
    // And they count no more when they are closed.
    let _opened = second.host().open(first.id(), "/test/echo/1").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(5), incoming.recv()).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_over_one_connection_are_all_answered() {
    let first = Node::start(TCP, &[]).await;
    let second = Node::start(TCP, &first.at()).await;
    second.meets(first.id()).await;
    let calls = (0..40).map(|_| {
        let (host, id) = (second.host().clone(), first.id().clone());
        tokio::spawn(async move { host.request(&id, &GetServerId.request()).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_arrives_once_and_only_what_is_not_too_long() {
    let first = Node::start(TCP, &[]).await;
    let second = Node::start(TCP, &first.at()).await;
    let third = Node::start(TCP, &first.at()).await;
    second.meets(first.id()).await;
    third.meets(first.id()).await;
    let topic = "/test/topic";
    let _at_first = first.host().subscribe(topic);
    let mut at_second = second.host().subscribe(topic);
    let mut other_topic = second.host().subscribe("/test/other");
    let mut at_third = third.host().subscribe(topic);
    // Until the others have heard who follows what.
    let mut number = 0_u32;
    eventually("the first message", async || {
        number += 1;
        third.host().publish(topic, number.to_be_bytes().to_vec());
        tokio::time::timeout(Duration::from_millis(200), at_second.recv()).await.is_ok()
    })
    .await;
    while tokio::time::timeout(Duration::from_secs(1), at_second.recv()).await.is_ok() {}

    let longest = vec![7; MAX_MESSAGE];
    third.host().publish(topic, vec![8; MAX_MESSAGE + 1]);
    third.host().publish(topic, longest.clone());
    third.host().publish(topic, longest.clone());
    third.host().publish(topic, b"end".to_vec());
    let mut arrived = vec![at_second.recv().await.unwrap(), at_second.recv().await.unwrap()];
    arrived.sort_by_key(Vec::len);
    assert!(arrived == [b"end".to_vec(), longest], "{:?}", arrived.iter().map(Vec::len).collect::<Vec<_>>());
    assert!(tokio::time::timeout(Duration::from_millis(300), at_second.recv()).await.is_err(), "twice, or too long");
    assert!(other_topic.try_recv().is_err());
    assert!(at_third.try_recv().is_err(), "its own message");

    // A reader that does not read loses messages, and nothing waits for it.
    for number in 0..2000_u32 {
        first.host().publish(topic, [b"many".as_slice(), &number.to_be_bytes()].concat());
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(at_second.len() <= 256);
    assert_eq!(second.call(first.id(), &GetServerId).await, *first.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_told_later_is_enough() {
    let first = Node::start(TCP, &[]).await;
    let second = Node::start(TCP, &[]).await;
    let request = GetServerId.request();
    assert!(second.host().request(first.id(), &request).await.is_err());
    second.host().add_address(first.id(), first.at()[0].clone()).await;
    assert_eq!(second.host().request(first.id(), &request).await.unwrap().status, 200);
    let peers = second.host().peers().await;
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].node, first.id().hash().to_base58());
    assert!(!peers[0].is_incoming && first.host().peers().await[0].is_incoming);
}

#[tokio::test]
async fn nothing_listens_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let alone = Daemon::start(&Config { peers: None, ..config(folder.path(), TCP, &[]) }).await.unwrap();
    assert!(alone.host().is_none());
    alone.stop().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let Err(error) = Daemon::start(&config(folder.path(), &listen, &[])).await else { panic!("the port is taken") };
    assert!(error.to_string().contains(&listen), "{error}");
    let nameless = Options { bootstrap: vec![TCP.parse().unwrap()], ..Options::default() };
    let Err(error) = Daemon::start(&Config { peers: Some(nameless), ..config(folder.path(), TCP, &[]) }).await else {
        panic!("a bootstrap address without a node")
    };
    assert!(error.to_string().contains("/p2p/"), "{error}");
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pyrgos(arguments: &[&str], data_dir: &Path) -> Vec<String> {
    let ran =
        Command::new(env!("CARGO_BIN_EXE_pyrgos")).args(arguments).arg("--data-dir").arg(data_dir).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// A killed node leaves connections behind that look alive. Nobody waits for them once it runs again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_killed_and_started_again_is_asked_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let id = Cid::from_server_id(&pyrgos(&["node", "id"], folder.path())[0]).unwrap();
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = format!("/ip4/127.0.0.1/udp/{port}/quic-v1");
    let start = || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["node", "--listen", "127.0.0.1:0", "--p2p-listen", &at, "--data-dir"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().starts_with("listening on"));
        Running(child)
    };
    let mut running = start();
    let asking = Node::start(QUIC, &[format!("{at}/p2p/{}", id.hash().to_base58()).parse().unwrap()]).await;
    asking.meets(&id).await;
    // As often as service managers try.
    for _ in 0..5 {
        assert_eq!(asking.host().request(&id, &GetServerId.request()).await.unwrap().status, 200);
        drop(running);
        running = start();
        let begin = Instant::now();
        assert_eq!(asking.host().request(&id, &GetServerId.request()).await.unwrap().status, 200);
        // A dead connection takes ten seconds to be noticed.
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}

#[test]
fn the_program_joins_a_network_by_its_file_and_says_who_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let id = pyrgos(&["node", "id"], &a);
    assert!(id[0].starts_with("12D3KooW") && Cid::from_server_id(&id[1]).unwrap().hash().to_base58() == id[0]);
    assert_eq!(pyrgos(&["node", "id"], &a), id);
    let json: serde_json::Value = serde_json::from_str(&pyrgos(&["node", "id", "--json"], &a)[0]).unwrap();
    assert_eq!((json["id"].as_str(), json["cid"].as_str()), (Some(id[0].as_str()), Some(id[1].as_str())));

    let start = |data_dir: &Path, more: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["node", "--listen", "127.0.0.1:0", "--p2p-listen", TCP])
            .args(more)
            .arg("--data-dir")
            .arg(data_dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (first, second) = (lines.next().unwrap(), lines.next().unwrap());
        assert!(first.starts_with("listening on http://"), "{first}");
        (
            Running(child),
            second.strip_prefix("other nodes reach it at ").unwrap_or_else(|| panic!("{second}")).to_owned(),
        )
    };
    let (_a, at) = start(&a, &[]);
    assert!(at.ends_with(&id[0]));
    let file = folder.path().join("network.toml");
    std::fs::write(&file, format!("network-id = \"test\"\nbootstrap = [\"{at}\"]\nwitnesses = [\"{}\"]\n", id[0]))
        .unwrap();
    let (_b, _) = start(&b, &["--network", file.to_str().unwrap()]);
    let begin = Instant::now();
    let peers = loop {
        let peers = pyrgos(&["peers", "--json"], &b);
        if !peers.is_empty() {
            break peers;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "no connection");
        std::thread::sleep(Duration::from_millis(50));
    };
    let peer: serde_json::Value = serde_json::from_str(&peers[0]).unwrap();
    assert_eq!(peer["node"].as_str(), Some(id[0].as_str()));
    let text = pyrgos(&["peers"], &a);
    assert!(text[0].contains(&pyrgos(&["node", "id"], &b)[0]) && text[0].contains(" in "), "{text:?}");
    assert!(Bytes::from(pyrgos(&["peers"], &folder.path().join("c")).concat()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_not_wanted_are_kept_out() {
    let first = Node::start(TCP, &[]).await;
    let request = GetServerId.request();
    let start = async |change: &dyn Fn(&mut Options)| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), TCP, &[]);
        change(config.peers.as_mut().unwrap());
        Node { daemon: Daemon::start(&config).await.unwrap(), _folder: folder }
    };
    let blocking = start(&|options| options.blocked = vec![first.id().clone()]).await;
    let stranger = Node::start(TCP, &blocking.at()).await;
    let allowing = start(&|options| options.allowed = vec![first.id().clone()]).await;
    for (from, to, is_let_in) in [
        (&first, &blocking, false),
        (&blocking, &first, false),
        (&stranger, &blocking, true),
        (&first, &allowing, true),
        (&stranger, &allowing, false),
        (&allowing, &stranger, false),
    ] {
        from.host().add_address(to.id(), to.at()[0].clone()).await;
        let answer = from.host().request(to.id(), &request).await;
        assert_eq!(answer.is_ok(), is_let_in, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_reached_is_reached_through_another() {
    // It can only say where it is if it knows its port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let mut open = config(folder.path(), &format!("/ip4/127.0.0.1/tcp/{port}"), &[]);
    let peers = open.peers.as_mut().unwrap();
    peers.announce = peers.listen.clone();
    let relay = Node { daemon: Daemon::start(&open).await.unwrap(), _folder: folder };
    let hidden = async || {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), TCP, &relay.at());
        config.peers.as_mut().unwrap().listen.clear();
        Node { daemon: Daemon::start(&config).await.unwrap(), _folder: folder }
    };
    let (first, second) = (hidden().await, hidden().await);
    assert!(first.at().is_empty() && second.at().is_empty());
    eventually("an answer through the relay", async || {
        second.host().request(first.id(), &GetServerId.request()).await.is_ok()
    })
    .await;
    let name = first.id().hash().to_base58();
    let peers = second.host().peers().await;
    let at = &peers.iter().find(|peer| peer.node == name).unwrap().addresses;
    assert!(at.iter().any(|address| address.contains("/p2p-circuit")), "{at:?}");
}
