//! What being a node among others costs: bytes over a stream, mirrors, memory and traffic of nodes that do nothing, names.
//!
//! `cargo bench -p pyrgos --bench network` (or `make bench`), all on loopback; `-- mirrors`, `idle` or `names` for a part.
//! `IDLE_SECONDS` is for how long the traffic of an idle node is watched (600 unless set); it is read from the system's
//! counters of its connections with `ss`.
//! `MIRROR_COMMITS` (500) and `MIRROR_MIB` (2048) are what mirrors are tried with.

#[path = "network/mirrors.rs"]
mod mirrors;
#[path = "network/names.rs"]
mod names;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pyrgos::config::{Settings as NodeSettings, SignupPolicy};
use pyrgos::daemon::Daemon;
use pyrgos::identity;
use pyrgos::native::{HttpTransport, NativeRuntime};
use pyrgos::p2p::{Address, Host, Options, PeerStream, Peers};
use pyrgos::service::clock::SystemEntropy;
use pyrgos_crypto::password;
use pyrgos_protocol::client::{Password, Runtime, Session, Settings, SignUp};
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::SecretSigningKey;
use pyrgos_protocol::names::Username;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

type Outcome<T> = Result<T, Box<dyn Error>>;

const PROTOCOL: &str = "/pyrgos/bench/1";
const TRANSFER: u64 = 512 << 20;
const PIECE: usize = 256 << 10;

const IDLE_PEERS: usize = 1000;
const WATCHED_PEERS: usize = 50;

/// What a connection cannot do without: the receive windows of its transport and multiplexer are at least as much.
const BOUND_OF_PEER: f64 = 256.0 * 1024.0;

const SIGN_UPS: usize = 10;

#[tokio::main]
async fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == part);
    println!("{:<52} {:>14} {:>14} {:>8}", "what", "measured", "bound", "ratio");
    if is_wanted("mirrors") {
        let plain = over_tcp().await?;
        let mut raw_rate = None;
        for (what, listen) in [("TCP", "/ip4/127.0.0.1/tcp/0"), ("QUIC", "/ip4/127.0.0.1/udp/0/quic-v1")] {
            let rate = over_stream(listen).await?;
            row(&format!("a stream over {what} (bound: plain TCP)"), rate, plain, "MiB/s", plain / rate);
            raw_rate.get_or_insert(rate);
        }
        mirrors::run(raw_rate.unwrap_or(plain)).await?;
    }
    if is_wanted("idle") {
        idle_peers().await?;
        idle_traffic().await?;
    }
    if is_wanted("names") {
        names::run().await?;
        for witnesses in [1, 4, 7] {
            sign_ups(witnesses).await?;
        }
    }
    Ok(())
}

fn row(what: &str, measured: f64, bound: f64, unit: &str, ratio: f64) {
    println!("{what:<52} {:>14} {:>14} {ratio:>7.2}×", format!("{measured:.1} {unit}"), format!("{bound:.1} {unit}"));
}

/// MiB a second through one connection of the system without anything above it.
async fn over_tcp() -> Outcome<f64> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let sending = tokio::spawn(async move { send(listener.accept().await?.0).await });
    let rate = receive(tokio::net::TcpStream::connect(address).await?).await?;
    sending.await??;
    Ok(rate)
}

async fn send(mut stream: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let piece = vec![7; PIECE];
    for _ in 0..TRANSFER / PIECE as u64 {
        stream.write_all(&piece).await?;
    }
    stream.shutdown().await
}

async fn receive(mut stream: impl AsyncRead + Unpin) -> Outcome<f64> {
    let (start, mut piece, mut received) = (Instant::now(), vec![0; PIECE], 0);
    while received < TRANSFER {
        match stream.read(&mut piece).await? {
            0 => return Err("the stream ended early".into()),
            len => received += len as u64,
        }
    }
    Ok(received as f64 / f64::from(1 << 20) / start.elapsed().as_secs_f64())
}

/// A host without a node.
struct Peer {
    host: Host,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Peer {
    async fn start(listen: Option<&str>, bootstrap: &[Address]) -> Outcome<Peer> {
        let key = SecretSigningKey::generate(&mut NativeRuntime.rng());
        let listen = listen.map(str::parse).transpose()?.into_iter().collect();
        let options = Options { listen, bootstrap: bootstrap.to_vec(), ..Options::default() };
        let (host, task) = Host::start(&options, &key).await?;
        let (stop, stopped) = watch::channel(false);
        Ok(Peer { host, stop, task: tokio::spawn(task.run(stopped)) })
    }

    async fn stop(self) -> Outcome<()> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

/// MiB a second through one stream between two nodes.
async fn over_stream(listen: &str) -> Outcome<f64> {
    let server = Peer::start(Some(listen), &[]).await?;
    let client = Peer::start(None, server.host.listening()).await?;
    let mut incoming = server.host.accept(PROTOCOL);
    let sending = tokio::spawn(async move {
        let Some((_, mut stream)) = incoming.recv().await else { return Ok(()) };
        // The protocol is agreed on with the first bytes of whoever opened the stream.
        stream.read_u8().await?;
        send(stream).await
    });
    let mut stream: PeerStream = client.host.open(server.host.id(), PROTOCOL).await?;
    stream.write_u8(0).await?;
    stream.flush().await?;
    let rate = receive(stream).await?;
    sending.await??;
    client.stop().await?;
    server.stop().await?;
    Ok(rate)
}

fn resident_bytes(process: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib * 1024.0)
}

/// A node as people run it.
struct Node {
    process: Child,
    at: Address,
    port: u16,
}

impl Node {
    fn start(folder: &Path) -> Outcome<Node> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let listen = format!("/ip4/127.0.0.1/tcp/{port}");
        let id = identity::load_or_create(folder, &SystemEntropy)?;
        let id = identity::server_id(&id.public()).hash().to_base58();
        let mut process = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["node", "--listen", "127.0.0.1:0", "--p2p-listen", &listen, "--data-dir"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("no pipe")?).lines();
        lines.next().ok_or("the node did not start")??;
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Node { process, at: format!("{listen}/p2p/{id}").parse()?, port })
    }

    fn resident_bytes(&self) -> Outcome<f64> {
        resident_bytes(self.process.id())
    }

    /// What went over the connections that are open at the node's port, both ways.
    fn transferred_bytes(&self) -> Outcome<u64> {
        let output = Command::new("ss")
            .args(["-tinH", "state", "established"])
            .arg(format!("sport = :{}", self.port))
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let counters = text
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("bytes_sent:").or_else(|| word.strip_prefix("bytes_received:")));
        Ok(counters.map(str::parse::<u64>).sum::<Result<_, _>>()?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It ends with this process in any case.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connected(node: &Node, count: usize) -> Outcome<Vec<Peer>> {
    let id: Cid = node.at.node().ok_or("no identifier")?;
    let mut peers = Vec::new();
    for _ in 0..count {
        let peer = Peer::start(None, std::slice::from_ref(&node.at)).await?;
        let start = Instant::now();
        while !peer.host.connected().await.contains(&id) {
            if start.elapsed() > Duration::from_secs(60) {
                return Err("a peer finds no connection".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        peers.push(peer);
    }
    // What is said at the beginning of each connection is over.
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(peers)
}

async fn idle_peers() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(folder.path())?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let alone = node.resident_bytes()?;
    let peers = connected(&node, IDLE_PEERS).await?;
    let (more, bound) = (node.resident_bytes()? - alone, IDLE_PEERS as f64 * BOUND_OF_PEER);
    let mib = f64::from(1 << 20);
    row(&format!("memory for {IDLE_PEERS} peers that do nothing"), more / mib, bound / mib, "MiB", more / bound);
    for peer in peers {
        peer.stop().await?;
    }
    Ok(())
}

async fn idle_traffic() -> Outcome<()> {
    let seconds = std::env::var("IDLE_SECONDS").ok().map_or(Ok(600), |text| text.parse::<u64>())?;
    let folder = tempfile::tempdir()?;
    let node = Node::start(folder.path())?;
    let peers = connected(&node, WATCHED_PEERS).await?;
    let before = node.transferred_bytes()?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let day = 86_400.0 / seconds as f64 / f64::from(1 << 20);
    let bytes = node.transferred_bytes()?.checked_sub(before).ok_or("connections closed meanwhile")?;
    // One ping a half minute each way, with its answer: 32 bytes, twice framed (Noise 18, Yamux 12).
    let bound = (seconds as f64 / 30.0) * (WATCHED_PEERS * 2 * 2 * (32 + 18 + 12)) as f64;
    row(
        &format!("a day of doing nothing with {WATCHED_PEERS} peers (bound: pings)"),
        bytes as f64 * day,
        bound * day,
        "MiB",
        bytes as f64 / bound,
    );
    for peer in peers {
        peer.stop().await?;
    }
    Ok(())
}

async fn sign_ups(witnesses: usize) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let mut nodes = Vec::new();
    for number in 0..witnesses {
        let data_dir = folder.path().join(number.to_string());
        std::fs::create_dir_all(&data_dir)?;
        let key = identity::load_or_create(&data_dir, &SystemEntropy)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let id = identity::server_id(&key.public()).hash().to_base58();
        nodes.push((data_dir, id, format!("/ip4/127.0.0.1/tcp/{port}")));
    }
    let list = |items: Vec<String>| items.join(", ");
    let ids = list(nodes.iter().map(|(_, id, _)| format!("{id:?}")).collect());
    let bootstrap = list(nodes.iter().map(|(_, id, at)| format!("\"{at}/p2p/{id}\"")).collect());
    let file = folder.path().join("network.toml");
    std::fs::write(&file, format!("network-id = \"bench\"\nbootstrap = [{bootstrap}]\nwitnesses = [{ids}]\n"))?;
    let mut running = Vec::new();
    for (data_dir, _, at) in nodes {
        let settings = NodeSettings {
            data_dir: Some(data_dir),
            listen: Some(([127, 0, 0, 1], 0).into()),
            signup: Some(SignupPolicy::Open),
            p2p_listen: Some(vec![at.parse()?]),
            network: Some(file.clone()),
            ..NodeSettings::default()
        };
        running.push(Daemon::start(&settings.resolve()?).await?);
    }
    let server = format!("http://{}", running[0].address());
    let mut times = Vec::new();
    for number in 0..=SIGN_UPS {
        let password = Password::new("correct horse battery staple".to_owned());
        let account = SignUp { username: Username::new(&format!("user-{number}"))?, password, token: String::new() };
        let start = Instant::now();
        Session::sign_up(HttpTransport::new(&server)?, NativeRuntime, Settings::default(), account).await?;
        times.push(start.elapsed());
    }
    // The first waits until the witnesses have met.
    let mut times = times.split_off(1);
    times.sort();
    let start = Instant::now();
    let params = password::Params { log2_n: 17, r: 8, p: 1, output_len: 64 };
    password::derive("correct horse battery staple", "alice", params)?;
    let (median, bound) = (times[times.len() / 2].as_secs_f64() * 1000.0, start.elapsed().as_secs_f64() * 1000.0);
    let what = format!("sign-up with {witnesses} witnesses, median (bound: scrypt)");
    row(&what, median, bound, "ms", median / bound);
    for node in running {
        node.stop().await;
    }
    Ok(())
}
