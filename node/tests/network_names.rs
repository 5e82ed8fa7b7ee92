//! Four witnesses and a node that follows, as processes on loopback: names are decided, whoever is killed.

mod support;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyrgos::names::keeper::{Keeper, Snapshot};
use pyrgos_protocol::api::core::{Decision, GetChain, SignUp, UpdateChain};
use pyrgos_protocol::api::{ApiError, Call};
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor};
use pyrgos_protocol::keys::ProofOfWork;
use pyrgos_protocol::names::{Chain, Date, NameProof, SnapshotHead, WitnessSet};
use pyrgos_store::RocksStore;
use support::Node;
use support::account::{Account, signer};

const WITNESSES: usize = 4;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A node in a folder of its own, running or killed.
struct Member {
    data_dir: PathBuf,
    id: Cid,
    p2p: String,
    running: Option<(Child, SocketAddr)>,
}

fn pyrgos(arguments: &[&str], data_dir: &Path) -> Result<String, String> {
    let ran =
        Command::new(env!("CARGO_BIN_EXE_pyrgos")).args(arguments).arg("--data-dir").arg(data_dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if ran.status.success() { Ok(text(ran.stdout)) } else { Err(text(ran.stderr)) }
}

/// What the program says of a proof, or its exit code.
fn verify(proof: &Path, network: &str) -> Result<serde_json::Value, i32> {
    let arguments = ["--json", "names", "verify", proof.to_str().unwrap(), "--network", network];
    let ran = Command::new(env!("CARGO_BIN_EXE_pyrgos")).args(arguments).output().unwrap();
    if ran.status.success() {
        Ok(serde_json::from_slice(&ran.stdout).unwrap())
    } else {
        Err(ran.status.code().unwrap())
    }
}

impl Member {
    fn new(folder: &Path, number: usize) -> Member {
        Member::over("tcp/{}", folder, number)
    }

    /// A member that others reach by a transport.
    fn over(transport: &str, folder: &Path, number: usize) -> Member {
        let data_dir = folder.join(number.to_string());
        let id = pyrgos(&["node", "id"], &data_dir).unwrap();
        let id = Cid::from_server_id(id.lines().next().unwrap()).unwrap();
        // The port is free again in a moment, and nobody else is likely to take just this one.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = transport.replace("{}", &port.to_string());
        Member { data_dir, id, p2p: format!("/ip4/127.0.0.1/{at}"), running: None }
    }

    fn start(&mut self, network: &Path) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["node", "--signup", "open", "--listen", "127.0.0.1:0", "--p2p-listen", &self.p2p, "--network"])
            .arg(network)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .env("PYRGOS_LOG", std::env::var("PYRGOS_LOG").unwrap_or("warn".to_owned()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.next().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        self.running = Some((child, address.parse().unwrap()));
    }

    /// Without warning.
    fn kill(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn call<C: Call>(&self, call: &C) -> Result<C::Output, ApiError> {
        let (_, address) = self.running.as_ref().expect("the node runs");
        let request = call.request();
        let answer = support::send(*address, "POST", &request.target(), &address.to_string(), &[], &request.body);
        call.read(answer.into_response())
    }

    fn sign_up(&self, account: &Account) -> Result<Decision, ApiError> {
        let stand_in = Node::start(vec![self.id.clone()], |_| {});
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        stand_in.clock.set(i64::try_from(now.as_millis()).unwrap());
        self.call(&SignUp { token: String::new(), ..account.sign_up(&stand_in) })
    }

    fn chain(&self, account: &Account) -> Chain {
        self.call(&GetChain { username: account.username.clone() }).unwrap()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&pyrgos(&["names", "status", "--json"], &self.data_dir).unwrap()).unwrap()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// All that run have the name.
fn is_known(members: &[Member], account: &Account) {
    let owner = account.owner();
    for member in members.iter().filter(|member| member.running.is_some()) {
        eventually("the name is known everywhere", || member.chain(account).owner() == Some(&owner));
    }
}

fn network(folder: &Path) -> (Vec<Member>, PathBuf) {
    network_of((0..=WITNESSES).map(|number| Member::new(folder, number)).collect(), folder)
}

fn network_of(members: Vec<Member>, folder: &Path) -> (Vec<Member>, PathBuf) {
    let list = |item: fn(&Member) -> String| {
        members[..WITNESSES].iter().map(|member| format!("{:?}", item(member))).collect::<Vec<_>>().join(", ")
    };
    let file = folder.join("network.toml");
    let bootstrap = list(|member| format!("{}/p2p/{}", member.p2p, member.id.hash().to_base58()));
    let witnesses = list(|member| member.id.hash().to_base58());
    let text = format!("network-id = \"test\"\nbootstrap = [{bootstrap}]\nwitnesses = [{witnesses}]\nquorum = 3\n");
    std::fs::write(&file, text).unwrap();
    (members, file)
}

fn start_all(members: &mut [Member], network: &Path) {
    members.iter_mut().for_each(|member| member.start(network));
    for member in &*members {
        eventually("the nodes meet", || {
            pyrgos(&["peers", "--json"], &member.data_dir).is_ok_and(|peers| peers.lines().count() >= 3)
        });
    }
}

#[test]
fn witnesses_decide_about_names_and_go_on_when_one_dies_or_all_start_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut members, file) = network(folder.path());
    start_all(&mut members, &file);

    // At a witness, and at a node that only follows.
    let (alice, bob) = (Account::new("alice"), Account::new("bob"));
    let begin = Instant::now();
    assert_eq!(members[0].sign_up(&alice).unwrap(), Decision::Accepted);
    println!("a sign-up at a witness took {:?}", begin.elapsed());
    assert!(!members[0].chain(&alice).0.is_empty(), "the answering node shows it at once");
    let begin = Instant::now();
    assert_eq!(members[4].sign_up(&bob).unwrap(), Decision::Accepted);
    println!("a sign-up at a node that follows took {:?}", begin.elapsed());
    is_known(&members, &alice);
    is_known(&members, &bob);

    // Many at one node do not wait for each other: their claims are decided together.
    let crowd: Vec<Account> = (0..8).map(|number| Account::new(&format!("crowd{number}"))).collect();
    let (before, begin) = (members[2].status()["height"].as_u64().unwrap(), Instant::now());
    std::thread::scope(|scope| {
        for account in &crowd {
            let member = &members[2];
            scope.spawn(move || assert_eq!(member.sign_up(account).unwrap(), Decision::Accepted));
        }
    });
    let blocks = members[2].status()["height"].as_u64().unwrap() - before;
    println!("{} sign-ups at once took {:?} and {blocks} blocks", crowd.len(), begin.elapsed());
    // One after the other takes three blocks each.
    assert!(blocks < 2 * crowd.len() as u64, "{blocks}");
    crowd.iter().for_each(|account| is_known(&members, account));

    // The name is taken, wherever one asks.
    let mut thief = Account::new("alice");
    thief.identity = signer("somebody else");
    assert!(members[2].sign_up(&thief).unwrap_err().message().contains("already exists"));
    // The owner goes on: a renewal needs no work.
    let renewed = {
        let chain = members[0].chain(&alice);
        let expiry = chain.renewed_expiry(Date::from_unix_millis(1_900_000_000_000)).unwrap();
        chain.with_last_claim(&alice.username, expiry, members[0].id.clone(), &alice.identity)
    };
    let username = alice.username.clone();
    let update =
        UpdateChain { username, update: renewed.clone(), proof: ProofOfWork::first_try(), token: String::new() };
    let begin = Instant::now();
    assert_eq!(members[0].call(&update).unwrap(), Decision::Accepted);
    println!("a renewal took {:?}", begin.elapsed());
    assert_eq!(members[0].chain(&alice), renewed);
    eventually("the renewal is known", || members[4].chain(&alice) == renewed);

    let shown = pyrgos(&["names", "show", "alice", "--json"], &members[4].data_dir).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["owner"].as_str(), Some(alice.owner().to_string().as_str()));
    assert!(pyrgos(&["names", "ls"], &members[3].data_dir).unwrap().starts_with("alice\nbob\ncrowd0\n"));
    assert_eq!(members[4].status()["is_witness"], false);
    assert_eq!(members[1].status()["is_witness"], true);

    // Proofs that need no node, of names and of their absence.
    let proof = folder.path().join("proof");
    let network = file.to_str().unwrap();
    for (name, owner) in [("alice", Some(alice.owner().to_string())), ("nobody", None)] {
        pyrgos(&["names", "prove", name, proof.to_str().unwrap()], &members[4].data_dir).unwrap();
        let verified = verify(&proof, network).unwrap();
        assert_eq!((verified["name"].as_str(), verified["owner"].as_str()), (Some(name), owner.as_deref()));
    }
    pyrgos(&["names", "prove", "bob", proof.to_str().unwrap()], &members[4].data_dir).unwrap();
    let bytes = std::fs::read(&proof).unwrap();
    let decoded = NameProof::from_bytes(&bytes).unwrap();
    let trusted = WitnessSet::of_nodes(members[..WITNESSES].iter().map(|member| &member.id)).unwrap();
    let id = "test".parse().unwrap();
    assert_eq!(decoded.verify(&id, &trusted).unwrap().chain, members[4].chain(&bob));
    // No byte of it may be another.
    for at in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        let holds = NameProof::from_bytes(&forged).is_ok_and(|proof| proof.verify(&id, &trusted).is_ok());
        assert!(!holds, "byte {at} of {}", bytes.len());
    }
    let without = NameProof { chain: None, ..decoded.clone() };
    assert!(without.verify(&id, &trusted).is_err(), "a name that is taken is not free");
    let other = NameProof { username: alice.username.clone(), ..decoded.clone() };
    assert!(other.verify(&id, &trusted).is_err(), "a name is not another's");
    assert!(decoded.verify(&"other".parse().unwrap(), &trusted).is_err());
    let strangers = WitnessSet::of_nodes([&members[WITNESSES].id]).unwrap();
    assert!(decoded.verify(&id, &strangers).is_err(), "who is no witness decides nothing");
    std::fs::write(&proof, &bytes[1..]).unwrap();
    assert_eq!(verify(&proof, network), Err(7));

    // One of four may be gone.
    members[3].kill();
    let carol = Account::new("carol");
    let begin = Instant::now();
    assert_eq!(members[1].sign_up(&carol).unwrap(), Decision::Accepted);
    println!("a sign-up without one witness took {:?}", begin.elapsed());
    is_known(&members, &carol);

    // All of them die, and come back with what they had; the one that was away catches up.
    members.iter_mut().for_each(Member::kill);
    start_all(&mut members, &file);
    for account in [&alice, &bob, &carol] {
        is_known(&members, account);
    }
    let dave = Account::new("dave");
    assert_eq!(members[3].sign_up(&dave).unwrap(), Decision::Accepted);
    is_known(&members, &dave);
    eventually("all have the same", || {
        let first = members[0].status();
        members
            .iter()
            .all(|member| ["height", "last", "root"].iter().all(|field| member.status()[field] == first[field]))
    });

    // Somebody joins, and takes the names, not the history; he goes on from there.
    let mut joiner = Member::new(folder.path(), WITNESSES + 1);
    joiner.start(&file);
    eventually("the joiner has all names", || {
        let (joined, first) = (joiner.status(), members[0].status());
        ["height", "last", "root"].iter().all(|field| joined[field] == first[field])
    });
    let names = pyrgos(&["names", "ls"], &joiner.data_dir).unwrap();
    assert!(names.starts_with("alice\nbob\ncarol\ncrowd0\n") && names.ends_with("crowd7\ndave\n"), "{names}");
    let erin = Account::new("erin");
    assert_eq!(joiner.sign_up(&erin).unwrap(), Decision::Accepted);
    is_known(&members, &erin);
    eventually("the joiner follows", || joiner.chain(&erin).owner() == Some(&erin.owner()));
    pyrgos(&["names", "prove", "alice", proof.to_str().unwrap()], &joiner.data_dir).unwrap();
    assert!(verify(&proof, network).is_ok());
    joiner.kill();
    let store = RocksStore::open(&joiner.data_dir.join("store"), pyrgos_store::rocks::Options::default()).unwrap();
    let keeper = Keeper::new(Arc::new(store));
    assert!(keeper.block_bytes(1).unwrap().is_none(), "no history");
    let Snapshot { head, names } = keeper.snapshot().unwrap().unwrap();
    assert_eq!(names.len(), 5 + crowd.len());

    // A snapshot is what the witnesses say, or nothing.
    let id = "test".parse().unwrap();
    head.verify(&id, &trusted).unwrap();
    assert!(head.verify(&"other".parse().unwrap(), &trusted).is_err());
    assert!(head.verify(&id, &strangers).is_err());
    let bytes = head.to_bytes();
    for at in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        let holds = SnapshotHead::from_bytes(&forged).is_ok_and(|head| head.verify(&id, &trusted).is_ok());
        assert!(!holds, "byte {at} of {}", bytes.len());
    }
    assert!(head.names(names.clone()).is_ok());
    for name in names.keys() {
        let mut fewer = names.clone();
        fewer.remove(name);
        assert!(head.names(fewer).is_err(), "without {name}");
    }
    let mut stolen = names.clone();
    stolen.insert(alice.username.clone(), names[&bob.username].clone());
    assert!(head.names(stolen).is_err(), "another's name");
}

/// One witness after another is replaced: the operators pass a file around, and the network goes on with the new set.
#[test]
fn operators_put_another_node_in_the_place_of_a_witness() {
    let folder = tempfile::tempdir().unwrap();
    let (mut members, file) = network(folder.path());
    start_all(&mut members, &file);
    let alice = Account::new("alice");
    assert_eq!(members[0].sign_up(&alice).unwrap(), Decision::Accepted);
    is_known(&members, &alice);

    let id = |at: usize| members[at].id.hash().to_base58();
    let (new, old) = (id(WITNESSES), id(0));
    let change = folder.path().join("change");
    let run = |at: usize, arguments: &[&str]| -> Result<serde_json::Value, String> {
        let all = [&["--json", "names", "change-witnesses", change.to_str().unwrap()], arguments].concat();
        pyrgos(&all, &members[at].data_dir).map(|shown| serde_json::from_str(&shown).unwrap())
    };
    // Who is no witness has no say, and nothing is not a change.
    assert!(run(WITNESSES, &["--add", &new, "--remove", &old]).unwrap_err().contains("no witness"));
    assert!(run(1, &["--add", &old]).unwrap_err().contains("the same witness twice"));
    assert!(run(1, &[]).unwrap_err().contains("--add"));
    let shown = run(1, &["--add", &new, "--remove", &old]).unwrap();
    let one = |id: &str| serde_json::json!([id]);
    assert_eq!((&shown["add"], &shown["remove"], &shown["signed"]), (&one(&new), &one(&old), &one(&id(1))));
    assert_eq!((&shown["quorum"], &shown["is_handed_in"]), (&3.into(), &false.into()));
    let again = run(1, &["--add", &new, "--remove", &old]).unwrap_err();
    assert!(again.contains("is there already"), "{again}");
    // Looking signs nothing; signing twice counts once.
    assert_eq!(run(2, &[]).unwrap(), shown);
    assert_eq!(run(1, &["--sign"]).unwrap(), shown);
    assert_eq!(run(2, &["--sign"]).unwrap()["is_handed_in"], false);
    assert!(run(WITNESSES, &["--sign"]).unwrap_err().contains("no witness"));
    let begun = std::fs::read(&change).unwrap();
    assert_eq!(run(3, &["--sign"]).unwrap()["is_handed_in"], true);
    for member in &members {
        eventually("the change is decided everywhere", || {
            let status = member.status();
            let witnesses: Vec<&str> =
                status["witnesses"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
            witnesses.contains(&new.as_str()) && !witnesses.contains(&old.as_str()) && witnesses.len() == WITNESSES
        });
    }
    assert_eq!(members[0].status()["is_witness"], false);
    assert_eq!(members[WITNESSES].status()["is_witness"], true);
    assert!(run(1, &["--sign"]).unwrap_err().contains("already"), "the same once more");
    std::fs::write(&change, begun).unwrap();
    assert!(run(1, &["--sign"]).unwrap_err().contains("already"), "with fewer signatures");

    // Without the one that left, and one more, the new one decides with the others.
    members[0].kill();
    members[1].kill();
    let bob = Account::new("bob");
    assert_eq!(members[WITNESSES].sign_up(&bob).unwrap(), Decision::Accepted);
    is_known(&members, &bob);
    // A proof begins with the witnesses of the file, and so does somebody who joins.
    let proof = folder.path().join("proof");
    pyrgos(&["names", "prove", "bob", proof.to_str().unwrap()], &members[2].data_dir).unwrap();
    assert_eq!(verify(&proof, file.to_str().unwrap()).unwrap()["name"], "bob");
    let mut joiner = Member::new(folder.path(), WITNESSES + 1);
    joiner.start(&file);
    eventually("the joiner has the names", || joiner.chain(&bob).owner() == Some(&bob.owner()));
    assert_eq!(joiner.status()["witnesses"], members[2].status()["witnesses"]);
    // The old ones come back, and all of them with their disks.
    members.iter_mut().for_each(Member::kill);
    start_all(&mut members, &file);
    let carol = Account::new("carol");
    assert_eq!(members[0].sign_up(&carol).unwrap(), Decision::Accepted);
    is_known(&members, &carol);
}

/// Over QUIC nobody is told that a process is gone, so that the one which takes its place looks like one more connection.
#[test]
fn a_witness_that_was_killed_and_started_again_takes_part_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let member = |number| Member::over("udp/{}/quic-v1", folder.path(), number);
    let (mut members, file) = network_of((0..=WITNESSES).map(member).collect(), folder.path());
    start_all(&mut members, &file);
    for round in 0..3 {
        let at = round % 2;
        members[at].kill();
        members[at].start(&file);
        // Also where one of the others is gone, so that this one is needed.
        members[3].kill();
        let account = Account::new(&format!("alice{round}"));
        let begin = Instant::now();
        assert_eq!(members[at].sign_up(&account).unwrap(), Decision::Accepted);
        println!("a sign-up at a witness that was just started took {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
        members[3].start(&file);
        is_known(&members, &account);
    }
}
