//! The real binary on a real data directory and a free port: it starts, answers, ends when told, and keeps what it had.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pyrgos_protocol::api::core::{Decision, GetPublicKey};
use pyrgos_protocol::api::storage::{GetBlock, GetServerId};
use pyrgos_protocol::api::{ApiError, Call};
use pyrgos_protocol::encoding::Cid;
use support::Node;
use support::account::Account;

struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(data_dir: &Path) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["node", "--signup", "token", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        Running { address: address.parse().unwrap(), child }
    }

    fn call<C: Call>(&self, call: &C) -> Result<C::Output, ApiError> {
        let request = call.request();
        let host = self.address.to_string();
        let answer = support::send(self.address, "POST", &request.target(), &host, &[], &request.body);
        call.read(answer.into_response())
    }

    fn signal(mut self, signal: rustix::process::Signal) -> Option<i32> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn create_token(data_dir: &Path) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
        .args(["token", "create", "--data-dir"])
        .arg(data_dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// A sign-up for a node that runs now. Only its identifier and the time are taken from the stand-in.
fn sign_up(account: &Account, id: Cid, token: String) -> pyrgos_protocol::api::core::SignUp {
    let stand_in = Node::start(vec![id], |_| {});
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    stand_in.clock.set(i64::try_from(now.as_millis()).unwrap());
    pyrgos_protocol::api::core::SignUp { token, ..account.sign_up(&stand_in) }
}

#[test]
fn a_node_starts_answers_stops_and_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let early = create_token(&data_dir);

    let node = Running::start(&data_dir);
    let id = node.call(&GetServerId).unwrap();
    let alice = Account::new("alice");
    let call = sign_up(&alice, id.clone(), String::new());
    assert!(node.call(&call).unwrap_err().message().contains("not currently accepting"));
    assert_eq!(node.call(&sign_up(&alice, id.clone(), early)).unwrap(), Decision::Accepted);
    // Only one node can run in a data directory.
    let second = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
        .args(["node", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data_dir)
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another pyrgos"), "{second:?}");
    // Commands reach the one that runs.
    let late = create_token(&data_dir);
    assert_eq!(node.call(&sign_up(&Account::new("bob"), id.clone(), late)).unwrap(), Decision::Accepted);
    assert_eq!(node.signal(rustix::process::Signal::TERM), Some(0));

    let node = Running::start(&data_dir);
    assert_eq!(node.call(&GetServerId).unwrap(), id);
    assert_eq!(node.call(&GetPublicKey { username: alice.username.clone() }).unwrap(), Some(alice.owner()));
    let data = GetBlock { owner: alice.owner(), cid: Cid::of_cbor(&alice.data), bat: None };
    assert_eq!(node.call(&data).unwrap(), Some(alice.data.clone()));
    // An acknowledged sign-up survives the hardest end.
    let token = create_token(&data_dir);
    let carol = Account::new("carol");
    assert_eq!(node.call(&sign_up(&carol, id.clone(), token)).unwrap(), Decision::Accepted);
    assert_eq!(node.signal(rustix::process::Signal::KILL), None);

    let node = Running::start(&data_dir);
    assert_eq!(node.call(&GetPublicKey { username: carol.username.clone() }).unwrap(), Some(carol.owner()));
    let data = GetBlock { owner: carol.owner(), cid: Cid::of_cbor(&carol.data), bat: None };
    assert_eq!(node.call(&data).unwrap(), Some(carol.data.clone()));
    assert_eq!(node.signal(rustix::process::Signal::INT), Some(0));
}

#[test]
fn a_node_waits_for_a_command_that_has_the_store_for_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    create_token(folder.path());
    let options = pyrgos_store::rocks::Options::default();
    let held = pyrgos_store::RocksStore::open(&folder.path().join("store"), options).unwrap();
    let holding = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        drop(held);
    });
    let node = Running::start(folder.path());
    holding.join().unwrap();
    assert_eq!(node.signal(rustix::process::Signal::TERM), Some(0));
}

#[test]
fn a_request_in_work_is_finished_before_the_end() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let node = Running::start(folder.path());
    let mut stream = std::net::TcpStream::connect(node.address).unwrap();
    let request = GetPublicKey { username: pyrgos_protocol::names::Username::new("alice").unwrap() }.request();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        request.target(),
        node.address,
        request.body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The node asks for the body, so the request is in work.
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "HTTP/1.1 100 Continue");
    rustix::process::kill_process(rustix::process::Pid::from_child(&node.child), rustix::process::Signal::TERM)
        .unwrap();
    // No new connection is taken any more, but this one is served.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::net::TcpStream::connect(node.address).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the node still takes connections");
        std::thread::yield_now();
    }
    stream.write_all(&request.body).unwrap();
    let mut answer = String::new();
    reader.read_to_string(&mut answer).unwrap();
    assert!(answer.trim_start().starts_with("HTTP/1.1 200 OK"), "{answer}");
    let mut node = node;
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

/// Whoever started the node may have gone before it says where it answers.
#[test]
fn a_node_whose_output_nobody_reads_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
        .args(["node", "--listen", &address.to_string(), "--data-dir"])
        .arg(folder.path())
        .stdout(writer)
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut node = Running { child, address };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while std::net::TcpStream::connect(address).is_err() {
        assert!(node.child.try_wait().unwrap().is_none(), "the node ended");
        assert!(std::time::Instant::now() < deadline, "the node does not answer");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    node.call(&GetServerId).unwrap();
    assert_eq!(node.signal(rustix::process::Signal::TERM), Some(0));
}

/// A database that cannot write its files refuses everything that follows. Then the node ends, so that whoever watches it
/// starts it again, and says why.
#[test]
fn a_node_whose_database_fails_ends_itself() {
    use pyrgos_protocol::encoding::Codec;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let mut node = Running::start(&data_dir);
    let id = node.call(&GetServerId).unwrap();
    let alice = Account::new("alice");
    assert_eq!(node.call(&sign_up(&alice, id, create_token(&data_dir))).unwrap(), Decision::Accepted);
    // The log that is open can still be written to; files to come have no place.
    std::fs::remove_dir_all(data_dir.join("store/db")).unwrap();
    let mut refused = false;
    for round in 0..2000u32 {
        let blocks: Vec<Vec<u8>> = (0..20u32).map(|n| [round, n].map(u32::to_be_bytes).concat().repeat(4000)).collect();
        let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        let call = alice.put(Codec::Raw, &blocks);
        let request = call.request();
        let host = node.address.to_string();
        // The node may have ended already.
        let answer = std::panic::catch_unwind(|| {
            support::send(node.address, "POST", &request.target(), &host, &[], &request.body)
        });
        if !answer.is_ok_and(|answer| answer.status == 200) {
            refused = true;
            break;
        }
    }
    assert!(refused, "the database took it all");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let status = loop {
        if let Some(status) = node.child.try_wait().unwrap() {
            break status;
        }
        assert!(std::time::Instant::now() < deadline, "the node goes on without a database");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!(status.code(), Some(9));
}
