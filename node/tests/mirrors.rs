//! A friend's node mirrors an account: it follows at once, serves when the home is gone, and becomes the home.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A node in a folder of its own, running or killed.
struct Node {
    data_dir: PathBuf,
    id: String,
    p2p: String,
    running: Option<(Child, String)>,
}

impl Node {
    fn new(folder: &Path, name: &str) -> Node {
        let data_dir = folder.join(name);
        let made = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["node", "id", "--data-dir"])
            .arg(&data_dir)
            .output()
            .unwrap();
        let id = String::from_utf8(made.stdout).unwrap().lines().next().unwrap().to_owned();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Node { data_dir, id, p2p: format!("/ip4/127.0.0.1/tcp/{port}"), running: None }
    }

    fn start(&mut self, network: &Path) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["node", "--signup", "open", "--listen", "127.0.0.1:0", "--p2p-listen", &self.p2p, "--network"])
            .arg(network)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .env("PYRGOS_LOG", std::env::var("PYRGOS_LOG").unwrap_or("error".to_owned()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.next().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        self.running = Some((child, line.trim().strip_prefix("listening on ").unwrap().to_owned()));
    }

    fn kill(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn server(&self) -> &str {
        &self.running.as_ref().expect("the node runs").1
    }

    fn operator(&self, arguments: &[&str]) -> String {
        let ran = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(arguments)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    fn mirror(&self) -> serde_json::Value {
        let status = self.operator(&["mirror", "status", "--json"]);
        serde_json::from_str(status.lines().next().unwrap_or("null")).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Somebody at a terminal.
struct Person {
    folder: PathBuf,
}

impl Person {
    fn new(folder: &Path, name: &str) -> Person {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("password"), "correct horse battery staple\n").unwrap();
        Person { folder }
    }

    fn try_run(&self, node: &Node, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(arguments)
            .env("PYRGOS_SERVER", node.server())
            .env("XDG_RUNTIME_DIR", &self.folder)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn run(&self, node: &Node, arguments: &[&str]) -> String {
        let ran = self.try_run(node, arguments);
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    fn log_in(&self, node: &Node) {
        self.run(node, &["logout", "--all"]);
        self.run(node, &["login", "alice", "--password-file", "password"]);
    }

    fn put(&self, node: &Node, name: &str, content: &[u8]) {
        std::fs::write(self.folder.join(name), content).unwrap();
        self.run(node, &["put", name, "/alice"]);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let agent = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["logout", "--all"])
            .env("XDG_RUNTIME_DIR", &self.folder)
            .output();
        // Its agent ends by itself after eight hours.
        let _ = agent;
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A node that decides about names, the home, a mirror and a mirror of that.
fn network(folder: &Path) -> (Node, Node, Node, Node, PathBuf) {
    let [mut witness, mut home, mut mirror, mut second] =
        ["witness", "home", "mirror", "second"].map(|name| Node::new(folder, name));
    let file = folder.join("network.toml");
    let text = format!(
        "network-id = \"mirrors\"\nbootstrap = [\"{}/p2p/{}\"]\nwitnesses = [\"{}\"]\n",
        witness.p2p, witness.id, witness.id
    );
    std::fs::write(&file, text).unwrap();
    for node in [&mut witness, &mut home, &mut mirror, &mut second] {
        node.start(&file);
    }
    (witness, home, mirror, second, file)
}

#[test]
fn a_mirror_follows_serves_and_becomes_the_home() {
    let folder = tempfile::tempdir().unwrap();
    let (witness, mut home, mut mirror, second, network) = network(folder.path());
    let alice = Person::new(folder.path(), "alice");
    eventually("the nodes meet", || {
        home.operator(&["peers", "--json"]).lines().count() >= 1
            && mirror.operator(&["peers", "--json"]).lines().count() >= 1
            && second.operator(&["peers", "--json"]).lines().count() >= 1
    });
    alice.run(&home, &["signup", "alice", "--password-file", "password"]);
    alice.log_in(&home);
    let large: Vec<u8> = (0..9_000_000_u32).map(|n| (n % 249) as u8).collect();
    alice.put(&home, "large", &large);

    let token = folder.path().join("token");
    std::fs::write(&token, alice.run(&home, &["mirror", "create"])).unwrap();
    let token = token.to_str().unwrap();
    eventually("the name is known", || mirror.operator(&["names", "ls"]).contains("alice"));
    eventually("the name is known", || second.operator(&["names", "ls"]).contains("alice"));

    // Too small a limit is a failure that says so.
    mirror.operator(&["mirror", "add", token, "--limit", "1M"]);
    eventually("the limit is met", || {
        mirror.mirror()["failure"].as_str().is_some_and(|failure| failure.contains("limit"))
    });
    mirror.operator(&["mirror", "add", token, "--limit", "1G"]);
    eventually("the first copy", || mirror.mirror()["verified_millis"].is_number());
    assert!(mirror.mirror()["used_bytes"].as_u64().unwrap() > large.len() as u64);

    // It follows at once, without waiting for its clock, and fetches only what is new.
    let mut followed = Vec::new();
    for number in 0..5 {
        let before = mirror.mirror()["fetched_blocks"].as_u64().unwrap();
        alice.put(&home, &format!("note-{number}"), b"hello");
        let start = Instant::now();
        eventually("the mirror follows", || mirror.mirror()["fetched_blocks"].as_u64().unwrap() > before);
        followed.push(start.elapsed());
        eventually("the mirror is up to date", || mirror.mirror()["behind_millis"] == 0);
        assert!(mirror.mirror()["fetched_blocks"].as_u64().unwrap() - before < 50);
    }
    assert!(followed.iter().all(|time| *time < Duration::from_secs(20)), "{followed:?}");
    println!("a mirror followed after {followed:?}");

    // A mirror of the mirror.
    second.operator(&["mirror", "add", token, "--from", &mirror.id]);
    eventually("the second copy", || second.mirror()["verified_millis"].is_number());
    assert_eq!(second.mirror()["used_bytes"], mirror.mirror()["used_bytes"]);

    // A mirror that was killed goes on.
    mirror.kill();
    alice.put(&home, "meanwhile", b"written while the mirror was away");
    mirror.start(&network);
    eventually("the mirror catches up", || mirror.mirror()["verified_millis"].is_number());

    // The owner sees who mirrors, and tells whoever should know: the node that she is at, which has no copy.
    let mine = |alice: &Person| -> Vec<serde_json::Value> {
        let status = alice.run(&home, &["mirror", "status", "--mine", "--json"]);
        status.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let find = |all: &[serde_json::Value]| all.iter().find(|node| node["node"] == mirror.id.as_str()).cloned().unwrap();
    eventually("the home knows that the mirror is up to date", || find(&mine(&alice))["is_current"] == true);
    assert_eq!(find(&mine(&alice))["is_announced"], false);
    alice.run(&home, &["mirror", "announce", &mirror.id]);
    assert_eq!(find(&mine(&alice))["is_announced"], true);
    eventually("the mirror has asked for the newest", || find(&mine(&alice))["is_current"] == true);
    eventually("the mirror has all of it", || mirror.mirror()["behind_millis"] == 0);
    alice.log_in(&witness);
    assert_eq!(alice.run(&witness, &["cat", "meanwhile"]), "written while the mirror was away");

    // The home dies. At the node in between one reads on, and logs in.
    home.kill();
    let start = Instant::now();
    assert_eq!(alice.run(&witness, &["cat", "meanwhile"]), "written while the mirror was away");
    println!("read through a node without a copy {:?} after the home died", start.elapsed());
    alice.log_in(&witness);
    alice.run(&witness, &["get", "large", "large-from-afar"]);
    assert_eq!(std::fs::read(alice.folder.join("large-from-afar")).unwrap(), large);

    // Whoever is at the mirror reads on, too, and logs in there.
    alice.log_in(&mirror);
    let start = Instant::now();
    assert_eq!(alice.run(&mirror, &["cat", "meanwhile"]), "written while the mirror was away");
    println!("read through the mirror in {:?}", start.elapsed());
    alice.run(&mirror, &["get", "large", "large-again"]);
    assert_eq!(std::fs::read(alice.folder.join("large-again")).unwrap(), large);
    std::fs::write(alice.folder.join("late"), "late").unwrap();
    assert!(!alice.try_run(&mirror, &["put", "late", "/alice"]).status.success(), "nobody takes writes");

    // The owner makes the mirror the home, and writes on.
    let promoted = alice.run(&mirror, &["promote"]);
    assert!(promoted.contains(&mirror.id), "{promoted}");
    alice.put(&mirror, "late", b"written after the home died");
    assert!(witness.operator(&["names", "show", "alice"]).contains(&mirror.id));

    // The old home comes back, sees the newer claim, and steps aside.
    home.start(&network);
    eventually("the old home hears of it", || home.operator(&["names", "show", "alice"]).contains(&mirror.id));
    eventually("the nodes meet", || home.operator(&["peers", "--json"]).lines().count() >= 1);
    alice.log_in(&home);
    assert_eq!(alice.run(&home, &["cat", "late"]), "written after the home died");
    alice.put(&home, "through the old home", b"and on");
    alice.log_in(&mirror);
    assert_eq!(alice.run(&mirror, &["cat", "through the old home"]), "and on");

    second.operator(&["mirror", "rm", "alice"]);
    assert_eq!(second.operator(&["mirror", "status", "--json"]), "");
    // Whoever holds no token gets nothing.
    std::fs::write(folder.path().join("forged"), "alice:z1").unwrap();
    let forged = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
        .args(["mirror", "add", folder.path().join("forged").to_str().unwrap(), "--data-dir"])
        .arg(&second.data_dir)
        .output()
        .unwrap();
    assert_eq!(forged.status.code(), Some(2), "{forged:?}");
}

#[test]
fn an_owner_asks_a_node_for_a_mirror() {
    let folder = tempfile::tempdir().unwrap();
    let (witness, mut home, mut mirror, _, network) = network(folder.path());
    let alice = Person::new(folder.path(), "alice");
    eventually("the nodes meet", || {
        [&home, &mirror].iter().all(|node| node.operator(&["peers", "--json"]).lines().count() >= 1)
    });
    alice.run(&home, &["signup", "alice", "--password-file", "password"]);
    alice.log_in(&home);
    alice.put(&home, "note", b"kept for later");
    let at_home = alice.try_run(&home, &["mirror", "ask"]);
    assert!(String::from_utf8_lossy(&at_home.stderr).contains("lives on this node"), "{at_home:?}");

    // Nobody has given her space yet.
    eventually("the name is known", || mirror.operator(&["names", "ls"]).contains("alice"));
    alice.log_in(&mirror);
    let refused = alice.try_run(&mirror, &["mirror", "ask"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("No space quota for alice"), "{refused:?}");
    assert!(mirror.operator(&["operator", "space", "alice", "1G", "--json"]).contains("1073741824"));
    // The node refuses a password that is none, and mirrors all the same.
    std::fs::write(alice.folder.join("wrong"), "not the password at all\n").unwrap();
    let wrong = alice.try_run(&mirror, &["mirror", "ask", "--with-login", "--password-file", "wrong"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("password"), "{wrong:?}");
    alice.run(&mirror, &["mirror", "ask", "--with-login", "--password-file", "password"]);
    eventually("the first copy", || mirror.mirror()["verified_millis"].is_number());
    assert_eq!(mirror.mirror()["limit_bytes"], 1 << 30);
    let used = mirror.operator(&["operator", "space", "alice"]);
    assert!(used.starts_with("alice  ") && used.contains(" of 1.0G"), "{used}");

    // The list is there again after a kill, and what comes is followed.
    mirror.kill();
    mirror.start(&network);
    eventually("the copy goes on", || mirror.mirror()["verified_millis"].is_number());
    alice.log_in(&home);
    alice.put(&home, "more", b"and this");
    eventually("the mirror has it", || {
        let status = mirror.mirror();
        status["fetched_blocks"].as_u64().unwrap() > 0 && status["behind_millis"] == 0
    });
    home.kill();
    alice.log_in(&mirror);
    assert_eq!(alice.run(&mirror, &["cat", "note"]), "kept for later");
    assert_eq!(alice.run(&mirror, &["cat", "more"]), "and this");

    // With the token of the witness's node one gets what is there: nobody. A token of another node opens nothing.
    let tokens = [&witness, &mirror].map(|node| node.operator(&["operator", "instance-token"]));
    assert_ne!(tokens[0], tokens[1]);
    assert_eq!(witness.operator(&["operator", "instance-token"]), tokens[0]);
    assert_ne!(witness.operator(&["operator", "instance-token", "--new"]), tokens[0]);
    let unknown = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
        .args(["operator", "space", "nobody", "1G", "--data-dir"])
        .arg(&mirror.data_dir)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("nobody has the name"), "{unknown:?}");
    mirror.operator(&["mirror", "rm", "alice"]);
    assert_eq!(mirror.operator(&["mirror", "status", "--json"]), "");
}
