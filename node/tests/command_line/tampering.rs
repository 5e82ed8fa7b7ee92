//! A node that lies: what it answers is refused by name, and nothing of it reaches the disk.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use pyrgos_protocol::encoding::Value;

use crate::support::{Machine, content, files_below};

/// How the node between the client and the real one lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// It does not.
    None,
    /// One bit of each fragment is another.
    ChangedBlock,
    /// Each fragment is the one that was asked for before.
    SwappedBlock,
    /// Each fragment is said to be absent.
    WithheldBlock,
    /// Answers end in their middle.
    CutAnswer,
    /// Pointers are those that it saw first.
    OldPointer,
    /// Pointers are said to be absent.
    WithheldPointer,
    /// Look-ups answer with the tree of another look-up, and single blocks of it are absent.
    WrongListing,
    /// Who a name belongs to is what another node says.
    OtherKey,
}

struct Liar {
    address: String,
    lie: Arc<Mutex<Lie>>,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    other_node: String,
    first_pointers: HashMap<String, Vec<u8>>,
    last_fragment: Vec<u8>,
    first_lookup: Vec<u8>,
}

impl Liar {
    fn before(machine: &Machine) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let node = machine.server().replace("http://", "");
        let lie = Arc::new(Mutex::new(Lie::None));
        let memory = Arc::new(Mutex::new(Memory::default()));
        let (told, kept) = (lie.clone(), memory.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (node, told, memory) = (node.clone(), told.clone(), kept.clone());
                std::thread::spawn(move || while relay(&stream, &node, &told, &memory).is_some() {});
            }
        });
        Liar { address, lie, memory }
    }

    /// From now on the oldest pointers that it knows are those of this moment.
    fn forgets_pointers(&self) {
        self.memory.lock().expect("not poisoned").first_pointers.clear();
    }

    fn tells(&self, lie: Lie) {
        *self.lie.lock().expect("not poisoned") = lie;
    }
}

/// One request and its answer; none at the end of the connection.
fn relay(stream: &TcpStream, node: &str, told: &Mutex<Lie>, memory: &Mutex<Memory>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (head, body) = read_message(&mut reader)?;
    let target = head.split(' ').nth(1)?.to_owned();
    let is_other = target.starts_with("/peergos/v0/core/getChain") && *told.lock().ok()? == Lie::OtherKey;
    let other = memory.lock().ok()?.other_node.clone();
    let node = if is_other { &other } else { node };
    let mut upstream = TcpStream::connect(node).ok()?;
    write!(
        upstream,
        "POST {target} HTTP/1.1\r\nHost: {node}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .ok()?;
    upstream.write_all(&body).ok()?;
    let (answer_head, answer) = read_message(&mut BufReader::new(upstream))?;
    let answer = twist(&target, answer, *told.lock().ok()?, &mut *memory.lock().ok()?);
    let mut lines = answer_head.lines();
    let mut out = format!("{}\r\nContent-Length: {}\r\n", lines.next()?, answer.len());
    for line in lines.filter(|line| line.to_ascii_lowercase().starts_with("trailer:")) {
        out += &format!("{line}\r\n");
    }
    out += "\r\n";
    let mut stream = stream;
    stream.write_all(out.as_bytes()).and_then(|()| stream.write_all(&answer)).ok()
}

fn read_message(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    let mut len = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn twist(target: &str, mut answer: Vec<u8>, lie: Lie, memory: &mut Memory) -> Vec<u8> {
    // Fragments are raw blocks, whose texts begin with `zb2`.
    let fragment = target.starts_with("/api/v0/block/get") && target.contains("arg=zb2");
    let pointer = target.starts_with("/peergos/v0/mutable/getPointer");
    let lookup = target.starts_with("/api/v0/champ/get/bulk");
    if pointer {
        memory.first_pointers.entry(target.to_owned()).or_insert_with(|| answer.clone());
    }
    if lookup && memory.first_lookup.is_empty() {
        memory.first_lookup = answer.clone();
    }
    match lie {
        Lie::ChangedBlock if fragment => {
            let middle = answer.len() / 2;
            answer[middle] ^= 1;
        }
        Lie::SwappedBlock if fragment => {
            let last = std::mem::replace(&mut memory.last_fragment, answer.clone());
            return last;
        }
        Lie::WithheldBlock if fragment => answer.clear(),
        Lie::CutAnswer if fragment || lookup => answer.truncate(answer.len() / 2),
        Lie::OldPointer if pointer => return memory.first_pointers[target].clone(),
        Lie::WithheldPointer if pointer => answer.clear(),
        Lie::WrongListing if lookup => {
            // Valid blocks, but of a tree that was replaced since.
            return memory.first_lookup.clone();
        }
        Lie::WrongListing if target.starts_with("/api/v0/block/get") => answer.clear(),
        _ => {}
    }
    if fragment {
        memory.last_fragment = answer.clone();
    }
    answer
}

#[test]
fn a_lying_node_is_refused_by_name() {
    let machine = Machine::start();
    let liar = Liar::before(&machine);
    let run = |args: &[&str]| machine.run(&[&["--server", &liar.address], args].concat());
    run(&["signup", "alice", "--password-file", "password"]).ok();
    run(&["login", "alice", "--password-file", "password"]).ok();
    // What a login furnishes an account with is in the old state too: a client would not notice a missing folder first.
    liar.forgets_pointers();
    let large = content(1, 3 << 20);
    machine.write("large", &large);
    run(&["put", "large", "/alice/folder-less"]).ok();
    run(&["mkdir", "folder"]).ok();
    run(&["put", "large", "/alice/folder/large"]).ok();
    run(&["get", "folder/large", "back"]).ok();
    assert!(machine.read("back") == large);
    std::fs::remove_file(machine.work("back")).expect("remove");

    let cases = [
        (Lie::ChangedBlock, "changed block"),
        (Lie::SwappedBlock, "changed block"),
        (Lie::WithheldBlock, "withholds the block"),
        (Lie::CutAnswer, "cut or malformed"),
        (Lie::OldPointer, "went back in time"),
        (Lie::WithheldPointer, "withholds the pointer"),
        (Lie::WrongListing, "withholds the block"),
    ];
    for (lie, name) in cases {
        liar.tells(lie);
        let said = run(&["get", "folder/large", "back"]).fails(7, name);
        assert!(said.contains("Do not trust this server"), "{lie:?}: {said}");
        assert!(!machine.work("back").exists(), "{lie:?} put something on the disk");
        let left: Vec<_> = files_below(&machine.path("work"))
            .into_iter()
            .filter(|path| path.to_string_lossy().contains(".part"))
            .collect();
        assert!(left.is_empty(), "{lie:?} left {left:?}");
        let printed = run(&["cat", "folder/large"]);
        assert_eq!(printed.code, 7, "{lie:?}");
    }
    // A new login does not forget what the old one has seen.
    liar.tells(Lie::OldPointer);
    run(&["login", "alice", "--password-file", "password"]).fails(7, "went back in time");
    liar.tells(Lie::None);
    run(&["get", "folder/large", "back"]).ok();
    assert!(machine.read("back") == large);
    // Nor does a command that failed after it had changed something.
    liar.forgets_pointers();
    run(&["ls"]).ok();
    run(&["mkdir", "new", "folder"]).fails(5, "exists");
    liar.tells(Lie::OldPointer);
    run(&["ls"]).fails(7, "went back in time");
}

/// The liar itself is honest when it is told to be: an answer is a CBOR list of blocks.
#[test]
fn the_relay_changes_nothing_by_itself() {
    let mut memory = Memory::default();
    let answer = Value::List(vec![Value::bytes(b"block")]).encode();
    let twisted = twist("/api/v0/champ/get/bulk?arg=x", answer.clone(), Lie::None, &mut memory);
    assert_eq!(twisted, answer);
}

#[test]
fn another_key_for_a_friend_is_refused_loudly() {
    let machine = Machine::start();
    let liar = Liar::before(&machine);
    machine.user("bob");
    let alice = |args: &[&str]| machine.run(&[&["--user", "alice", "--server", &liar.address], args].concat());
    let bob = |args: &[&str]| machine.run(&[&["--user", "bob"], args].concat());
    alice(&["signup", "alice", "--password-file", "password"]).ok();
    alice(&["login", "alice", "--password-file", "password"]).ok();
    alice(&["follow", "bob"]).ok();
    bob(&["accept", "alice", "--follow-back"]).ok();
    machine.write("hello", b"hello");
    bob(&["put", "hello", "/bob"]).ok();
    bob(&["share", "hello", "--with", "alice"]).ok();
    let numbers = alice(&["verify", "bob"]).ok();

    // A bob of another node, whose keys the true one knows nothing of.
    let elsewhere = Machine::start();
    elsewhere.user("bob");
    liar.memory.lock().expect("not poisoned").other_node = elsewhere.server().replace("http://", "");
    liar.tells(Lie::OtherKey);
    for args in [&["verify", "bob"][..], &["verify", "bob", "--same"]] {
        let said = alice(args).fails(7, "the key of this user has changed");
        assert!(said.contains("bob") && said.contains("another channel"), "{said}");
    }
    // What is known of him stays, and nothing was noted.
    assert_eq!(alice(&["cat", "/bob/hello"]).ok(), "hello");
    assert_eq!(alice(&["friends"]).ok(), "bob (friend)\n");
    liar.tells(Lie::None);
    assert_eq!(alice(&["verify", "bob"]).ok(), numbers);
}
