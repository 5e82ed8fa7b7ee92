//! A client talks to any node: calls about an account go to the node where it lives, and what that one answers is checked.

mod friends;
mod sources;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyrgos::config::{Settings as NodeSettings, SignupPolicy};
use pyrgos::daemon::{self, Daemon};
use pyrgos::homes::Homes;
use pyrgos::identity;
use pyrgos::mirror::copy::{Copier, CopyError, Passed};
use pyrgos::native::{HttpTransport, NativeRuntime};
use pyrgos::p2p::{Answer, Gossip, PeerError, PeerStream, Peers};
use pyrgos::service::clock::{Clock, SystemClock, SystemEntropy};
use pyrgos::service::mirrored::Mirrored;
use pyrgos::service::names::{LocalNames, Names, alone};
use pyrgos::service::{Failure, Service};
use pyrgos_protocol::api::core::GetChain;
use pyrgos_protocol::api::mirror::{GetMirrorList, TellMirrors};
use pyrgos_protocol::api::mutable::GetPointer;
use pyrgos_protocol::api::storage::GetBlock;
use pyrgos_protocol::api::{ApiError, Call, Request, Response, Transport, TransportError};
use pyrgos_protocol::client::{Password, Session, Settings, SignUp, UploadOptions};
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor};
use pyrgos_protocol::keys::{KeyHash, Owner, ProofOfWork, Writer};
use pyrgos_protocol::merkle::bat::{Bat, BatWithId};
use pyrgos_protocol::merkle::pointer::PointerUpdate;
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::{MirrorToken, Notice, notice};
use pyrgos_protocol::names::Username;
use pyrgos_protocol::social::Answer as Reply;
use pyrgos_store::MemoryStore;

const PASSWORD: &str = "correct horse battery staple";

type User = Session<HttpTransport, NativeRuntime>;

/// The first node decides about names, the others follow.
async fn network(folder: &Path, count: usize) -> Vec<Daemon> {
    let mut nodes = Vec::new();
    for number in 0..count {
        let data_dir = folder.join(number.to_string());
        std::fs::create_dir_all(&data_dir).unwrap();
        let key = identity::load_or_create(&data_dir, &SystemEntropy).unwrap();
        let id = identity::server_id(&key.public()).hash().to_base58();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        nodes.push((data_dir, id, format!("/ip4/127.0.0.1/tcp/{port}")));
    }
    let (_, witness, at) = &nodes[0];
    let file = folder.join("network.toml");
    let text = format!("network-id = \"homes\"\nbootstrap = [\"{at}/p2p/{witness}\"]\nwitnesses = [\"{witness}\"]\n");
    std::fs::write(&file, text).unwrap();
    let mut running = Vec::new();
    for (data_dir, _, at) in nodes {
        let settings = NodeSettings {
            data_dir: Some(data_dir),
            listen: Some(([127, 0, 0, 1], 0).into()),
            signup: Some(SignupPolicy::Open),
            p2p_listen: Some(vec![at.parse().unwrap()]),
            network: Some(file.clone()),
            ..NodeSettings::default()
        };
        running.push(Daemon::start(&settings.resolve().unwrap()).await.unwrap());
    }
    running
}

fn transport(node: &Daemon) -> HttpTransport {
    HttpTransport::new(&format!("http://{}", node.address())).unwrap()
}

fn name(text: &str) -> Username {
    Username::new(text).unwrap()
}

async fn sign_up(node: &Daemon, username: &str) -> User {
    let password = Password::new(PASSWORD.to_owned());
    let account = SignUp { username: name(username), password, token: String::new() };
    Session::sign_up(transport(node), NativeRuntime, Settings::default(), account).await.unwrap()
}

async fn log_in(node: &Daemon, username: &str) -> User {
    let password = Password::new(PASSWORD.to_owned());
    Session::log_in(transport(node), NativeRuntime, Settings::default(), &name(username), &password, &()).await.unwrap()
}

async fn knows(node: &Daemon, username: &str) {
    let start = Instant::now();
    while node.service().owner_of(&name(username)).unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "the name arrives");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn put(user: &User, path: &str, content: &'static [u8]) {
    let path = path.parse().unwrap();
    user.upload(&path, &mut Bytes::from_static(content), &UploadOptions::default(), &()).await.unwrap();
}

/// A node's service beside the node's own: it knows the name, and does nothing by itself.
fn idle_mirror(node: &Daemon, user: &str) -> Arc<Service> {
    let (store, clock) = (Arc::new(MemoryStore::default()), Arc::new(SystemClock));
    let names = LocalNames::new(store.clone(), clock.clone(), u32::MAX);
    let chain = node.service().chain(GetChain { username: name(user) }).unwrap();
    names.claim(&name(user), &chain, &ProofOfWork::first_try(), &mut alone).unwrap();
    let settings = NodeSettings { data_dir: Some("/nonexistent".into()), ..NodeSettings::default() };
    let (config, ids) = (settings.resolve().unwrap(), node.service().ids().to_vec());
    Arc::new(daemon::service_with_names(store, &config, ids, Arc::new(names), clock, Arc::new(SystemEntropy)))
}

/// Futures of whole sessions are large without optimisation.
fn with_room<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let run = || tokio::runtime::Runtime::new().unwrap().block_on(test());
    std::thread::Builder::new().stack_size(64 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn friends_live_on_two_nodes_and_log_in_on_a_third() {
    with_room(friends_on_two_nodes);
}

async fn friends_on_two_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = network(folder.path(), 3).await;
    let (alice, bob) = (sign_up(&nodes[0], "alice").await, sign_up(&nodes[1], "bob").await);
    for node in &nodes {
        knows(node, "alice").await;
        knows(node, "bob").await;
    }
    assert!(nodes[1].service().home_elsewhere(&name("alice")).unwrap().is_some());

    // Through another node everything is as at home.
    let elsewhere = log_in(&nodes[2], "alice").await;
    let large: &'static [u8] = Box::leak((0..7_000_000_u32).map(|n| (n % 251) as u8).collect());
    put(&elsewhere, "/alice/large", large).await;
    assert_eq!(alice.read(&"/alice/large".parse().unwrap()).await.unwrap(), large);
    assert_eq!(elsewhere.read(&"/alice/large".parse().unwrap()).await.unwrap(), large);
    let (here, there) = (elsewhere.space().await.unwrap(), alice.space().await.unwrap());
    assert_eq!(here.used_bytes, there.used_bytes);
    // Nothing of it is left at the node in between.
    let blocks = nodes[2].service().has_copy(alice.identity()).unwrap();
    assert!(!blocks);

    bob.follow(&name("alice")).await.unwrap();
    let asking = elsewhere.follow_requests().await.unwrap();
    assert_eq!(asking.len(), 1);
    elsewhere.answer(&name("bob"), Reply::AcceptAndReciprocate).await.unwrap();
    elsewhere.share(&"/alice/large".parse().unwrap(), &[name("bob")]).await.unwrap();
    assert_eq!(bob.read(&"/alice/large".parse().unwrap()).await.unwrap(), large);
    let bob_elsewhere = log_in(&nodes[0], "bob").await;
    assert_eq!(bob_elsewhere.read(&"/alice/large".parse().unwrap()).await.unwrap(), large);

    // The command line says who is away.
    let witness = nodes[0].service().ids()[0].clone();
    let server = format!("http://{}", nodes[2].address());
    let other_server = format!("http://{}", nodes[1].address());
    assert!(pyrgos(folder.path(), &server, "alice", "ls").await.status.success());
    nodes.remove(0).stop().await;
    let failed = pyrgos(folder.path(), &server, "alice", "ls").await;
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success());
    assert!(text.contains("The home of this account") && text.contains(&witness.to_string()), "{text}");
    // Those who live elsewhere go on.
    assert!(pyrgos(folder.path(), &server, "bob", "ls").await.status.success());
    assert!(pyrgos(folder.path(), &other_server, "bob", "ls").await.status.success());
    for node in nodes {
        node.stop().await;
    }
}

/// A session of the real program: log in, one command, log out. The first failure ends it.
async fn pyrgos(folder: &Path, server: &str, user: &str, command: &str) -> Output {
    std::fs::write(folder.join("password"), PASSWORD).unwrap();
    let run = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_pyrgos"));
        program.args(arguments).env("PYRGOS_SERVER", server).env("XDG_RUNTIME_DIR", folder).current_dir(folder);
        program.stdin(Stdio::null()).output().unwrap()
    };
    tokio::task::block_in_place(|| {
        let logged_in = run(&["login", user, "--password-file", "password"]);
        if !logged_in.status.success() {
            return logged_in;
        }
        let ran = run(&[command]);
        run(&["logout", "--all"]);
        ran
    })
}

type Lie = fn(Response) -> Response;

/// A home that changes what it answers.
struct Liar {
    honest: Arc<dyn Peers>,
    lie: Mutex<Option<Lie>>,
    asked: AtomicUsize,
    fetched: Mutex<Vec<GetBlock>>,
}

/// A client's way through [`Homes`], as at the client door.
struct Through(Arc<Homes>, HttpTransport);

impl Transport for Through {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        if Homes::concerns(&request.path) {
            match self.0.forward(Arc::new(request.clone())).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(failure) => return Ok(failure.into_api().into()),
            }
        }
        self.1.send(request).await
    }
}

impl Peers for Liar {
    fn request<'a>(&'a self, node: &'a Cid, request: &'a Request) -> Answer<'a, Response> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if request.path == GetBlock::PATH {
                self.fetched.lock().unwrap().push(GetBlock::parse(request).unwrap());
            }
            let answer = self.honest.request(node, request).await?;
            let lie = self.lie.lock().unwrap().filter(|_| request.path != GetMirrorList::PATH);
            Ok(lie.map_or(answer.clone(), |lie| lie(answer)))
        })
    }

    fn open<'a>(&'a self, node: &'a Cid, _: &'static str) -> Answer<'a, PeerStream> {
        Box::pin(async move { Err(PeerError::Refused { node: node.clone(), reason: "not spoken".to_owned() }) })
    }
}

#[test]
fn a_home_that_lies_is_refused_and_named_and_tokens_hold_for_cached_blocks() {
    with_room(a_home_that_lies);
}

async fn a_home_that_lies() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = network(folder.path(), 2).await;
    let alice = sign_up(&nodes[0], "alice").await;
    knows(&nodes[1], "alice").await;
    let honest = Arc::new(nodes[1].host().unwrap().clone());
    let liar = Arc::new(Liar { honest, lie: Mutex::default(), asked: AtomicUsize::new(0), fetched: Mutex::default() });
    let homes = Arc::new(Homes::new(nodes[1].service().clone(), liar.clone()));
    let ask = async |request: Request| homes.forward(Arc::new(request)).await.map(Option::unwrap);
    let home = nodes[0].service().ids()[0].to_string();

    let owner = alice.identity().clone();
    let pointer = GetPointer { owner: owner.clone(), writer: Writer::from(&owner) };
    let old = ask(pointer.request()).await.unwrap();
    let update = PointerUpdate::open_stored(&old.body).unwrap();
    let block = GetBlock { owner: owner.clone(), cid: update.updated().unwrap().clone(), bat: None };

    // Bytes that are not the block's.
    *liar.lie.lock().unwrap() = Some(|answer| {
        let mut body = answer.body.to_vec();
        body[3] ^= 1;
        Response { body: body.into(), ..answer }
    });
    for request in [block.request(), pointer.request()] {
        let error = ask(request).await.unwrap_err().to_string();
        assert!(error.contains("wrong answer") && error.contains(&home), "{error}");
    }
    *liar.lie.lock().unwrap() = None;
    let asked = liar.asked.load(Ordering::Relaxed);
    let first = ask(block.request()).await.unwrap();
    assert_eq!(ask(block.request()).await.unwrap(), first, "from the cache");
    assert_eq!(liar.asked.load(Ordering::Relaxed), asked + 1);

    // A state before what was seen.
    ask(pointer.request()).await.unwrap();
    *liar.lie.lock().unwrap() = Some(|answer| Response { body: Bytes::new(), ..answer });
    let error = ask(pointer.request()).await.unwrap_err().to_string();
    assert!(error.contains("older than one that was seen") && error.contains(&home), "{error}");
    *liar.lie.lock().unwrap() = None;

    // A file in blocks of its own comes by, with the tokens of its blocks.
    let content: &'static [u8] = Box::leak((0..700_000_u32).map(|n| (n % 251) as u8).collect());
    put(&alice, "/alice/file", content).await;
    let (through, alice_name) = (Through(homes.clone(), transport(&nodes[1])), name("alice"));
    let password = Password::new(PASSWORD.to_owned());
    let login = Session::log_in(through, NativeRuntime, Settings::default(), &alice_name, &password, &());
    assert_eq!(login.await.unwrap().read(&"/alice/file".parse().unwrap()).await.unwrap(), content);
    let fetched = std::mem::take(&mut *liar.fetched.lock().unwrap());
    let guarded = fetched.into_iter().find(|call| call.bat.is_some()).expect("a block that has a token");
    let asked = liar.asked.load(Ordering::Relaxed);
    assert!(guarded.cid.matches(&ask(guarded.request()).await.unwrap().body));
    let error = ask(GetBlock { bat: None, ..guarded }.request()).await.unwrap_err();
    assert!(matches!(error, Failure::Refused(ApiError::Unauthorised)), "{error}");
    assert_eq!(liar.asked.load(Ordering::Relaxed), asked, "both from the cache");

    // Whoever has no name here is not passed on.
    let stranger = Owner::new(KeyHash::of_key_cbor(b"stranger"));
    let stranger = GetPointer { owner: stranger.clone(), writer: Writer::from(&stranger) };
    assert_eq!(homes.forward(Arc::new(stranger.request())).await.unwrap(), None);
    for node in nodes {
        node.stop().await;
    }
}

#[test]
fn a_mirror_takes_nothing_from_a_source_that_lies() {
    with_room(a_source_that_lies);
}

async fn a_source_that_lies() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = network(folder.path(), 2).await;
    let alice = sign_up(&nodes[0], "alice").await;
    knows(&nodes[1], "alice").await;
    let (home, own) = (nodes[0].service().ids()[0].clone(), nodes[1].service().ids()[0].clone());
    let service = idle_mirror(&nodes[1], "alice");
    let token = MirrorToken { username: name("alice"), bat: alice.mirror_token().await.unwrap() };
    let honest = Arc::new(nodes[1].host().unwrap().clone());
    let liar = Arc::new(Liar { honest, lie: Mutex::default(), asked: AtomicUsize::new(0), fetched: Mutex::default() });
    let copier = Copier::new(liar.clone(), service.clone(), own);
    let now = || SystemClock.now_millis();
    let from_home = std::slice::from_ref(&home);
    let lie = |lie: Option<Lie>| *liar.lie.lock().unwrap() = lie;
    put(&alice, "/alice/file", &[7; 300_000]).await;

    // Nothing is copied that nobody asked this node to mirror.
    assert!(copier.pass(&token, from_home, now()).await.is_err());
    assert!(!service.has_copy(alice.identity()).unwrap());
    service.keep_mirror(&Mirrored::new(token.clone(), 1 << 30)).unwrap();
    // A token of somebody else opens nothing; neither does a proof of long ago.
    let other = BatWithId::mirror(Bat::from_bytes([9; 32]));
    let stranger = MirrorToken { username: name("alice"), bat: other };
    assert!(matches!(copier.pass(&stranger, from_home, now()).await, Err(CopyError::Refused { .. })));
    assert!(matches!(copier.pass(&token, from_home, now() - 3_600_000).await, Err(CopyError::Refused { .. })));

    // Bytes of blocks that are others, or none.
    lie(Some(|answer| match UserSnapshot::from_bytes(&answer.body) {
        Ok(_) => answer,
        Err(_) => {
            let mut body = answer.body.to_vec();
            body[0] ^= 1;
            Response::ok(body)
        }
    }));
    let error = copier.pass(&token, from_home, now()).await.unwrap_err();
    assert!(matches!(&error, CopyError::Wrong { source_node, .. } if *source_node == home), "{error}");
    lie(Some(|answer| match UserSnapshot::from_bytes(&answer.body) {
        Ok(_) => answer,
        Err(_) => Response::ok(Bytes::new()),
    }));
    assert!(matches!(copier.pass(&token, from_home, now()).await, Err(CopyError::Missing { .. })));
    // A pointer that its writer did not sign.
    lie(Some(|answer| match UserSnapshot::from_bytes(&answer.body) {
        Ok(mut snapshot) => {
            let mut signed = snapshot.pointers[0].signed.to_vec();
            signed[5] ^= 1;
            snapshot.pointers[0].signed = signed.into();
            Response::ok(snapshot.to_bytes())
        }
        Err(_) => answer,
    }));
    let error = copier.pass(&token, from_home, now()).await.unwrap_err();
    assert!(error.to_string().contains("not signed by it") && error.to_string().contains(&home.to_string()), "{error}");
    assert!(!service.has_copy(alice.identity()).unwrap(), "nothing of it is kept as a copy");

    // The truth, at last; then a home that goes back to it after there was more.
    lie(None);
    assert!(copier.pass(&token, from_home, now()).await.unwrap().blocks > 5);
    assert_eq!(copier.pass(&token, from_home, now()).await.unwrap(), Passed::default(), "nothing is fetched twice");
    static OLD: Mutex<Option<Bytes>> = Mutex::new(None);
    lie(Some(|answer| {
        OLD.lock().unwrap().get_or_insert(answer.body.clone());
        answer
    }));
    copier.pass(&token, from_home, now()).await.unwrap();
    put(&alice, "/alice/more", b"more").await;
    lie(None);
    copier.pass(&token, from_home, now()).await.unwrap();
    lie(Some(|_| Response::ok(OLD.lock().unwrap().clone().unwrap())));
    let error = copier.pass(&token, from_home, now()).await.unwrap_err();
    assert!(
        error.to_string().contains("is older than its copy") && error.to_string().contains(&home.to_string()),
        "{error}"
    );
    lie(None);

    // The limit holds to the byte's order, and what was there before stays.
    service.keep_mirror(&Mirrored::new(token.clone(), 1000)).unwrap();
    put(&alice, "/alice/large", &[8; 2_000_000]).await;
    let before = service.mirror_space(alice.identity()).unwrap().0;
    assert!(matches!(copier.pass(&token, from_home, now()).await, Err(CopyError::Limit { limit_bytes: 1000 })));
    assert_eq!(service.mirror_space(alice.identity()).unwrap().0, before);
    service.drop_mirror(&name("alice")).unwrap();
    assert!(!service.has_copy(alice.identity()).unwrap());
    for node in nodes {
        node.stop().await;
    }
}

#[test]
fn an_account_moves_to_another_node_with_everything() {
    with_room(an_account_moves);
}

async fn an_account_moves() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = network(folder.path(), 3).await;
    let (alice, bob) = (sign_up(&nodes[1], "alice").await, sign_up(&nodes[0], "bob").await);
    for node in &nodes {
        knows(node, "alice").await;
        knows(node, "bob").await;
    }
    let content: &'static [u8] = Box::leak((0..6_000_000_u32).map(|n| (n % 239) as u8).collect());
    put(&alice, "/alice/file", content).await;
    bob.follow(&name("alice")).await.unwrap();

    // The real program, at the node that shall be the home.
    let server = format!("http://{}", nodes[2].address());
    let moved = pyrgos(folder.path(), &server, "alice", "migrate").await;
    let text = format!("{}{}", String::from_utf8_lossy(&moved.stdout), String::from_utf8_lossy(&moved.stderr));
    assert!(moved.status.success() && text.contains(&nodes[2].service().ids()[0].hash().to_base58()), "{text}");
    assert_eq!(nodes[2].service().home_elsewhere(&name("alice")).unwrap(), None);

    // The old home writes nothing any more, and passes on what comes; then it goes.
    put(&alice, "/alice/through-the-old", b"written at the new").await;
    nodes.remove(1).stop().await;
    let there = log_in(&nodes[1], "alice").await;
    assert_eq!(there.read(&"/alice/file".parse().unwrap()).await.unwrap(), content);
    assert_eq!(there.read(&"/alice/through-the-old".parse().unwrap()).await.unwrap(), b"written at the new");
    assert_eq!(there.follow_requests().await.unwrap(), [name("bob")]);
    put(&there, "/alice/more", b"more").await;
    assert!(there.home_node().await.unwrap().is_here());
    for node in nodes {
        node.stop().await;
    }
}

#[test]
fn an_observer_of_notices_learns_that_somebody_wrote_and_nothing_else() {
    with_room(an_observer);
}

async fn an_observer() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = network(folder.path(), 2).await;
    let (alice, bob) = (sign_up(&nodes[0], "alice").await, sign_up(&nodes[0], "bob").await);
    let tokens = [alice.mirror_token().await.unwrap(), bob.mirror_token().await.unwrap()];
    let observer = nodes[1].host().unwrap();
    // All topics of notices, as somebody would who wants to see everything.
    let mut heard: Vec<_> =
        (0..notice::SHARDS).map(|n| observer.subscribe(&format!("/pyrgos/notices/1/{n}"))).collect();
    let topic_of =
        |token: &BatWithId| -> usize { notice::topic(token.bat()).rsplit('/').next().unwrap().parse().unwrap() };
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let start = Instant::now();
    let mut round = 0;
    while seen.len() < 12 {
        assert!(start.elapsed() < Duration::from_secs(60), "notices arrive: {}", seen.len());
        for (user, folder) in [(&alice, format!("/alice/{round}")), (&bob, format!("/bob/{round}"))] {
            user.make_directory(&folder.parse().unwrap()).await.unwrap();
        }
        round += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        for (n, messages) in heard.iter_mut().enumerate() {
            while let Ok(message) = messages.try_recv() {
                assert!(tokens.iter().any(|token| topic_of(token) == n), "a topic that no token chose");
                assert!(tokens.iter().any(|token| Notice::open(token.bat(), &message).is_some()));
                seen.push(message);
            }
        }
    }
    let outsider = Bat::from_bytes([3; 32]);
    for (at, message) in seen.iter().enumerate() {
        assert_eq!(message.len(), notice::NOTICE_LEN);
        assert_eq!(Notice::open(&outsider, message), None);
        // Two notices, of one account or of two, have no more in common than random bytes: 104 of them agree in one place
        // in 256, and in 12 places by a chance of one in 10^14.
        for other in &seen[..at] {
            assert!(message.iter().zip(other).filter(|(a, b)| a == b).count() < 12);
        }
    }
    for node in nodes {
        node.stop().await;
    }
}
