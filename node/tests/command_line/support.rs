//! A node and a home of its own for each test.

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Set where commands talk to another node of the network than the one where accounts live.
pub(crate) const THROUGH: &str = "PYRGOS_TEST_THROUGH";

/// A machine with a node and a user.
pub(crate) struct Machine {
    folder: TempDir,
    node: Option<Child>,
    address: String,
    /// The other node, where it listens, and where the first one listens for it.
    through: Option<(Child, String, String)>,
}

impl Machine {
    /// Starts a node on a free port.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["home", "run", "work"] {
            DirBuilder::new().mode(0o700).create(folder.path().join(name)).expect("a folder");
        }
        let mut machine = Machine { folder, node: None, address: String::new(), through: None };
        if std::env::var_os(THROUGH).is_some() {
            machine.start_network();
        } else {
            machine.start_node("127.0.0.1:0");
        }
        machine.write("password", PASSWORD.as_bytes());
        machine
    }

    /// Two nodes of one network: the one where accounts live, which decides about names, and one that knows it.
    fn start_network(&mut self) {
        let data_dir = self.path("node");
        let id = self.ok(&["node", "id", "--data-dir", data_dir.to_str().expect("a path")]);
        let id = id.lines().next().expect("an identifier");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let at = format!("/ip4/127.0.0.1/tcp/{port}");
        let text = format!("network-id = \"through\"\nbootstrap = [\"{at}/p2p/{id}\"]\nwitnesses = [\"{id}\"]\n");
        fs::write(self.path("network.toml"), text).expect("write");
        let (home, address) = self.spawn_node("node", "127.0.0.1:0", &at);
        let (other, through) = self.spawn_node("other-node", "127.0.0.1:0", "/ip4/127.0.0.1/tcp/0");
        (self.node, self.address, self.through) = (Some(home), address, Some((other, through, at)));
    }

    fn start_node(&mut self, listen: &str) {
        let at = self.through.as_ref().map(|(_, _, at)| at.clone()).unwrap_or_default();
        let (node, address) = self.spawn_node("node", listen, &at);
        (self.node, self.address) = (Some(node), address);
    }

    fn spawn_node(&self, name: &str, listen: &str, at: &str) -> (Child, String) {
        let log = File::options().append(true).create(true).open(self.path("node.log")).expect("the log");
        let mut command = self.command(&["node", "--listen", listen, "--signup", "open", "--data-dir"]);
        command.arg(self.path(name));
        if !at.is_empty() {
            command.args(["--p2p-listen", at, "--network"]).arg(self.path("network.toml"));
        }
        let mut node =
            command.env("PYRGOS_LOG", "trace").stdout(Stdio::piped()).stderr(log).spawn().expect("the node starts");
        let mut lines = BufReader::new(node.stdout.take().expect("a pipe")).lines();
        let address = lines
            .find_map(|line| line.ok()?.split_once("http://").map(|(_, rest)| rest.trim().to_owned()))
            .unwrap_or_else(|| panic!("the node says where it listens: {}", self.log()));
        std::thread::spawn(move || lines.for_each(drop));
        (node, address)
    }

    /// Kills the node without warning.
    pub(crate) fn kill_node(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.kill().expect("kill");
            node.wait().expect("wait");
        }
    }

    /// Starts the node again on the same port.
    pub(crate) fn restart_node(&mut self) {
        self.kill_node();
        let address = self.address.clone();
        self.start_node(&address);
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("node.log")).unwrap_or_default()
    }

    pub(crate) fn server(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where browsers reach what is published.
    pub(crate) fn site(&self) -> String {
        match self.through {
            Some(_) => self.server().replace("127.0.0.1", "localhost"),
            None => self.server(),
        }
    }

    /// A path of the machine.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in the folder where commands run.
    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.path("work").join(name)
    }

    /// Writes a file in the folder where commands run.
    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.work(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, content).expect("write");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.work(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A command that is ready to run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyrgos"));
        command
            .args(args)
            .current_dir(self.path("work"))
            .env_clear()
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        let address = match &self.through {
            // An account lives where it is made.
            Some((_, through, _)) if !args.contains(&"signup") => through,
            _ => &self.address,
        };
        if !address.is_empty() {
            command.env("PYRGOS_SERVER", format!("http://{address}"));
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::new(args, self.command(args).output().expect("the command starts"))
    }

    /// Runs a command with something on its standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        child.stdin.take().expect("a pipe").write_all(input).expect("the command reads");
        Ran::new(args, child.wait_with_output().expect("the command ends"))
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok()
    }

    /// Signs up and logs in.
    pub(crate) fn user(&self, name: &str) {
        self.ok(&["signup", name, "--password-file", "password"]);
        self.ok(&["login", name, "--password-file", "password"]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.command(&["agent", "--stop"]).output();
        for mut node in self.node.take().into_iter().chain(self.through.take().map(|(node, ..)| node)) {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// A command that has ended.
pub(crate) struct Ran {
    pub(crate) what: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn new(args: &[&str], output: Output) -> Self {
        Ran {
            what: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "pyrgos {}\n{}{}", self.what, self.stdout, self.stderr);
        self.stdout
    }

    /// The command must succeed: what it printed, and what it told the person at the terminal.
    pub(crate) fn with_notes(self) -> (String, String) {
        let notes = self.stderr.clone();
        (self.ok(), notes)
    }

    /// Whether the command succeeded.
    pub(crate) fn succeeded(&self) -> bool {
        self.code == 0
    }

    /// The command must fail with this exit code and say this.
    pub(crate) fn fails(self, code: i32, text: &str) -> String {
        assert_eq!(self.code, code, "pyrgos {}\n{}{}", self.what, self.stdout, self.stderr);
        assert!(self.stderr.contains(text), "pyrgos {} does not say `{text}` but: {}", self.what, self.stderr);
        self.stderr
    }
}

/// Each line as JSON.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

/// Bytes that differ for each seed.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).expect("read").flatten().map(|entry| entry.path()));
        } else if metadata.is_file() {
            files.push(path);
        }
    }
    files
}
