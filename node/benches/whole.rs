//! Whole runs of the real binary against a real node on this machine, each with the bound that the machine sets.
//!
//! `cargo bench -p pyrgos --bench whole` (or `make bench`). The bounds are measured in the same run: what the
//! unavoidable work costs when nothing else is done (password derivation, encryption, hashing, one pass over the disk).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::password;
use pyrgos_crypto::secretbox::{self, Key, Nonce, OVERHEAD};

const MIB: usize = 1 << 20;
const FILE_MIB: usize = 100;
const SMALL_FILES: usize = 1000;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runs = if cfg!(debug_assertions) { 1 } else { 3 };
    println!("{:<44} {:>12} {:>12} {:>8}", "what", "measured", "bound", "ratio");

    let started = Instant::now();
    let node = Node::start(folder.path());
    row("node: start to first answer", started.elapsed(), None);

    let client = Client { folder: folder.path().to_owned(), server: node.address.clone() };
    client.write("password", b"correct horse battery staple\n");
    let derivation = best(runs, || time(derive));
    row("sign-up", time(|| client.run(&["signup", "alice", "--password-file", "password"])), Some(derivation));
    let login = best(runs, || time(|| client.run(&["login", "alice", "--password-file", "password"])));
    row("login", login, Some(derivation));

    let content = random(FILE_MIB * MIB);
    client.write("large", &content);
    let disk = best(runs, || time(|| write_through(&folder.path().join("bound"), &content)));
    let seal = best(runs, || on_all_cores(&content, seal_and_hash));
    let put = best(runs, || {
        client.try_run(&["rm", "large"]);
        time(|| client.run(&["put", "large", "/alice"]))
    });
    row(&format!("put {FILE_MIB} MiB (bound: encrypt + hash + disk)"), put, Some(seal + disk));
    let open = best(runs, || on_all_cores(&content, open_and_hash));
    let get = best(runs, || time(|| client.run(&["get", "large", "large-again"])));
    row(
        &format!("get {FILE_MIB} MiB (bound: hash + decrypt + write)"),
        get,
        Some(open + best(runs, || time(|| fs::write(folder.path().join("bound"), &content).expect("write")))),
    );
    assert!(fs::read(folder.path().join("large-again")).expect("read") == content, "the file came back changed");

    let many = folder.path().join("many");
    fs::create_dir(&many).expect("a folder");
    for n in 0..SMALL_FILES {
        fs::write(many.join(format!("file-{n:04}")), random(1 + n * 7)).expect("write");
    }
    row(&format!("put -r of {SMALL_FILES} small files"), time(|| client.run(&["put", "-r", "many", "/alice"])), None);
    row(&format!("ls -l of {SMALL_FILES} files"), best(runs, || time(|| client.run(&["ls", "-l", "many"]))), None);
    row(&format!("get -r of {SMALL_FILES} files"), time(|| client.run(&["get", "-r", "many", "many-again"])), None);
    client.run(&["logout"]);

    drop(node);
    let idle_folder = tempfile::tempdir().expect("a temporary folder");
    let idle = Node::start(idle_folder.path());
    std::thread::sleep(Duration::from_secs(3));
    println!("{:<44} {:>8.1} MiB", "node: resident memory, idle, fresh", idle.resident_mib());
    drop(idle);
    let after = Node::start(folder.path());
    std::thread::sleep(Duration::from_secs(3));
    println!("{:<44} {:>8.1} MiB", "node: resident memory, idle, with the data", after.resident_mib());
}

fn row(what: &str, measured: Duration, bound: Option<Duration>) {
    let millis = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1000.0);
    let ratio = bound.map(|bound| format!("{:.2}×", measured.as_secs_f64() / bound.as_secs_f64()));
    println!(
        "{what:<44} {:>12} {:>12} {:>8}",
        millis(measured),
        bound.map(millis).unwrap_or_default(),
        ratio.unwrap_or_default()
    );
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn best(runs: usize, mut run: impl FnMut() -> Duration) -> Duration {
    (0..runs).map(|_| run()).min().unwrap_or_default()
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes).expect("the system's randomness");
    bytes
}

fn derive() {
    let params = password::Params { log2_n: 17, r: 8, p: 1, output_len: 64 };
    password::derive("correct horse battery staple", "alice", params).expect("valid parameters");
}

fn write_through(path: &Path, content: &[u8]) {
    let mut file = fs::File::create(path).expect("create");
    file.write_all(content).and_then(|()| file.sync_all()).expect("write");
}

/// Time for all cores together to work through the content, in pieces of 1 MiB.
fn on_all_cores(content: &[u8], work: fn(&[u8])) -> Duration {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    time(|| {
        std::thread::scope(|scope| {
            for core in 0..cores {
                scope.spawn(move || content.chunks(MIB).skip(core).step_by(cores).for_each(work));
            }
        });
    })
}

fn seal_and_hash(piece: &[u8]) {
    let mut buffer = vec![0; OVERHEAD];
    buffer.extend_from_slice(piece);
    secretbox::seal_in_place(&Key::from_bytes([1; 32]), &Nonce::from_bytes([2; 24]), &mut buffer);
    std::hint::black_box(sha256(&buffer));
}

/// Decryption costs what encryption costs; a tag that fits is not needed to measure it.
fn open_and_hash(piece: &[u8]) {
    std::hint::black_box(sha256(piece));
    let mut buffer = piece.to_vec();
    secretbox::seal_in_place(&Key::from_bytes([1; 32]), &Nonce::from_bytes([2; 24]), &mut buffer);
    std::hint::black_box(buffer);
}

struct Node {
    process: Child,
    address: String,
}

impl Node {
    fn start(folder: &Path) -> Self {
        use std::io::{BufRead, BufReader};
        let mut process = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["node", "--listen", "127.0.0.1:0", "--signup", "open", "--data-dir"])
            .arg(folder.join("node"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the node starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let address = lines
            .find_map(|line| line.ok()?.split_once("http://").map(|(_, rest)| format!("http://{}", rest.trim())))
            .expect("the node says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Node { process, address }
    }

    fn resident_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("/proc");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        kib / 1024.0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Client {
    folder: PathBuf,
    server: String,
}

impl Client {
    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.folder.join(name), content).expect("write");
    }

    fn run(&self, args: &[&str]) {
        assert!(self.try_run(args), "pyrgos {args:?} failed");
    }

    fn try_run(&self, args: &[&str]) -> bool {
        Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(args)
            .env("PYRGOS_SERVER", &self.server)
            .env("XDG_RUNTIME_DIR", &self.folder)
            .current_dir(&self.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}
