//! A network of six nodes that run the real binary, each on a host of its own: in containers, started from the
//! `docker-compose.yml` beside this, or in network namespaces where no container engine is to be had.
//!
//! All traffic stays on networks that are made here and end with [`Testnet`].

#![forbid(unsafe_code)]

mod containers;
mod disks;
mod namespaces;
mod users;

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use containers::Containers;
use namespaces::Namespaces;
pub use users::{Ran, User};

/// The nodes, in the order of their addresses.
pub const NODES: [&str; 6] = ["witness-1", "witness-2", "witness-3", "witness-4", "joiner", "mirror"];

/// How many of them are witnesses: the first ones.
pub const WITNESSES: usize = 4;

/// Something went wrong that is not the nodes' fault.
#[derive(Debug)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// What a line does to every packet that a node sends.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// How long it is under way, in milliseconds.
    pub delay_millis: u32,
    /// How many of a hundred are lost.
    pub loss_percent: u32,
}

impl Line {
    /// The kernel's words for it.
    fn netem(self) -> [String; 5] {
        let words = ["netem".to_owned(), "delay".to_owned(), format!("{}ms", self.delay_millis)];
        let [netem, delay, millis] = words;
        [netem, delay, millis, "loss".to_owned(), format!("{}%", self.loss_percent)]
    }
}

/// What hosts can do to nodes.
trait Hosts: Send {
    /// Makes keys and network file, and starts all nodes.
    fn start_all(&mut self) -> Result<(), Broken>;
    /// Starts a node that was killed.
    fn start(&mut self, node: usize) -> Result<(), Broken>;
    /// Ends a node's process without warning.
    fn kill(&mut self, node: usize) -> Result<(), Broken>;
    /// Takes a node off the network of the nodes. Its clients still reach it.
    fn cut(&mut self, node: usize) -> Result<(), Broken>;
    /// Undoes [`Hosts::cut`].
    fn join(&mut self, node: usize) -> Result<(), Broken>;
    /// Makes a node's line to the other nodes slow and lossy. Fails where that cannot be done.
    fn slow(&mut self, node: usize, line: Line) -> Result<(), Broken>;
    /// Keeps a copy of what a killed node has on its disk, replacing an older copy.
    fn save_disk(&mut self, node: usize) -> Result<(), Broken>;
    /// Puts the copy of what `from` had on the disk of a killed node: of its own, as somebody does who restores an old
    /// backup, or of another one.
    fn restore_disk(&mut self, from: usize, node: usize) -> Result<(), Broken>;
    /// Where a node's disk is on this machine.
    fn disk(&self, node: usize) -> Result<PathBuf, Broken>;
    /// Where clients reach a node.
    fn server(&self, node: usize) -> String;
    /// A command in a place from which clients reach all nodes.
    fn client(&self, program: &std::path::Path) -> Command;
    /// A command of the node's operator on its host.
    fn operator(&self, node: usize, args: &[&str]) -> Command;
    /// What a node logged.
    fn log(&self, node: usize) -> String;
}

#[derive(Clone, Copy, Default)]
struct State {
    is_killed: bool,
    is_cut: bool,
}

/// The network. It ends when this is dropped.
pub struct Testnet {
    // Before the folders that they hide.
    small_disks: Mutex<Vec<disks::SmallDisk>>,
    hosts: Mutex<Box<dyn Hosts>>,
    folder: tempfile::TempDir,
    state: Mutex<[State; NODES.len()]>,
}

impl Testnet {
    /// Starts all nodes and waits until they answer. None, after a line that says why, where this machine lets us make
    /// neither containers nor network namespaces that reach each other, which is tried out.
    ///
    /// `PYRGOS_TESTNET` says where: `containers`, `namespaces` or `namespaces-first`; else in containers where an engine runs or can be started.
    ///
    /// # Errors
    /// What was asked for is not to be had, or a node does not start.
    pub fn start() -> Result<Option<Self>, Broken> {
        let wanted = std::env::var("PYRGOS_TESTNET").unwrap_or_default();
        let hosts: Box<dyn Hosts> = match wanted.as_str() {
            "containers" => Box::new(Containers::new()?),
            "namespaces" => Box::new(Namespaces::new()?),
            "namespaces-first" => match Namespaces::new() {
                Ok(namespaces) => {
                    println!("The test network stands in network namespaces.");
                    Box::new(namespaces)
                }
                Err(no_namespaces) => match Containers::new() {
                    Ok(containers) => {
                        println!("The test network stands in containers, not in network namespaces ({no_namespaces}).");
                        Box::new(containers)
                    }
                    Err(error) => {
                        println!(
                            "SKIPPED: neither network namespaces ({no_namespaces}) nor containers ({error}) here."
                        );
                        return Ok(None);
                    }
                },
            },
            "" => match Containers::new() {
                Ok(containers) => {
                    println!("The test network stands in containers.");
                    Box::new(containers)
                }
                Err(no_containers) => match Namespaces::new() {
                    Ok(namespaces) => {
                        println!("The test network stands in network namespaces, not in containers ({no_containers}).");
                        Box::new(namespaces)
                    }
                    Err(error) => {
                        println!(
                            "SKIPPED: neither containers ({no_containers}) nor network namespaces ({error}) here."
                        );
                        return Ok(None);
                    }
                },
            },
            other => {
                let known = "`containers`, `namespaces` or `namespaces-first`";
                return Err(Broken(format!("PYRGOS_TESTNET is {known}, not `{other}`")));
            }
        };
        Self::on(hosts).map(Some)
    }

    /// Starts all nodes in network namespaces, where lines can be slow whatever the kernel; or tells why none can be made.
    ///
    /// # Errors
    /// A node does not start.
    pub fn start_in_namespaces() -> Result<Result<Self, Broken>, Broken> {
        match Namespaces::new() {
            Ok(namespaces) => Self::on(Box::new(namespaces)).map(Ok),
            Err(reason) => Ok(Err(reason)),
        }
    }

    fn on(hosts: Box<dyn Hosts>) -> Result<Self, Broken> {
        let folder = tempfile::tempdir().map_err(|error| Broken(format!("no temporary folder: {error}")))?;
        let net = Testnet { hosts: Mutex::new(hosts), folder, state: Mutex::default(), small_disks: Mutex::default() };
        net.hosts().start_all()?;
        for node in 0..NODES.len() {
            net.wait_for(node)?;
        }
        Ok(net)
    }

    fn hosts(&self) -> MutexGuard<'_, Box<dyn Hosts>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, [State; NODES.len()]> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn small_disks(&self) -> MutexGuard<'_, Vec<disks::SmallDisk>> {
        self.small_disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, node: usize) -> Result<(), Broken> {
        let server = self.server(node);
        let address = server.trim_start_matches("http://");
        within(Duration::from_secs(60), || {
            // As a client sees it, from where clients are.
            let request = format!("{server}/api/v0/id");
            let curl = self.hosts().client("curl".as_ref()).args(["-sf", "-m", "2", "-X", "POST", &request]).output();
            curl.is_ok_and(|output| output.status.success())
        })
        .map(drop)
        .map_err(|_| Broken(format!("{} at {address} does not answer; it said:\n{}", NODES[node], self.log(node))))
    }

    /// Where clients reach a node.
    pub fn server(&self, node: usize) -> String {
        self.hosts().server(node)
    }

    /// What a node logged.
    pub fn log(&self, node: usize) -> String {
        self.hosts().log(node)
    }

    /// Ends a node's process without warning.
    pub fn kill(&self, node: usize) -> Result<(), Broken> {
        self.state()[node].is_killed = true;
        self.hosts().kill(node)
    }

    /// Starts a killed node again and waits until it answers.
    pub fn restart(&self, node: usize) -> Result<(), Broken> {
        self.start_only(node)?;
        self.wait_for(node)
    }

    /// Starts a killed node again.
    pub fn start_only(&self, node: usize) -> Result<(), Broken> {
        self.hosts().start(node)?;
        self.state()[node].is_killed = false;
        Ok(())
    }

    /// Takes a node off the network of the nodes. Its clients still reach it.
    pub fn cut(&self, node: usize) -> Result<(), Broken> {
        self.state()[node].is_cut = true;
        self.hosts().cut(node)
    }

    /// Makes the lines of all nodes to each other slow and lossy, for good.
    ///
    /// # Errors
    /// That cannot be done here.
    pub fn slow(&self, line: Line) -> Result<(), Broken> {
        (0..NODES.len()).try_for_each(|node| self.hosts().slow(node, line))
    }

    /// Undoes every cut and starts every killed node.
    pub fn heal(&self) -> Result<(), Broken> {
        for node in 0..NODES.len() {
            let State { is_killed, is_cut } = self.state()[node];
            if is_cut {
                self.state()[node].is_cut = false;
                self.hosts().join(node)?;
            }
            if is_killed {
                self.start_only(node)?;
            }
        }
        (0..NODES.len()).try_for_each(|node| self.wait_for(node))
    }

    /// Keeps a copy of a killed node's disk.
    pub fn save_disk(&self, node: usize) -> Result<(), Broken> {
        self.hosts().save_disk(node)
    }

    /// Puts the copy back.
    pub fn restore_disk(&self, node: usize) -> Result<(), Broken> {
        self.hosts().restore_disk(node, node)
    }

    /// Puts the copy of one node's disk, its key included, on that of another, killed one, so that two nodes are the same.
    pub fn copy_disk(&self, from: usize, to: usize) -> Result<(), Broken> {
        self.hosts().restore_disk(from, to)
    }

    /// Somebody with a machine of their own, from which all nodes are reached.
    pub fn user(&self, name: &str) -> User<'_> {
        User::new(self, name)
    }

    /// Runs a command of a node's operator on its host.
    pub fn operator(&self, node: usize, args: &[&str]) -> Ran {
        Ran::new(args, self.hosts().operator(node, args).output())
    }

    /// The same with a text on its standard input.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn operator_told(&self, node: usize, args: &[&str], input: &str) -> Result<Ran, Broken> {
        let failed = |error: std::io::Error| Broken(format!("{args:?}: {error}"));
        let mut command = self.hosts().operator(node, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).map_err(failed)?;
        }
        Ok(Ran::new(args, child.wait_with_output()))
    }

    fn client(&self) -> Command {
        self.hosts().client(&binary())
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

/// The binary that the tests were built with: beside the folder of the test's own.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PYRGOS_BINARY") {
        return path.into();
    }
    let mut path = std::env::current_exe().unwrap_or_default();
    path.pop();
    path.pop();
    path.join("pyrgos")
}

/// Tries until something holds, at most for a time, without sleeping longer than needed to be polite.
pub fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> Result<Duration, Broken> {
    let start = Instant::now();
    loop {
        if holds() {
            return Ok(start.elapsed());
        }
        if start.elapsed() > limit {
            return Err(Broken(format!("did not hold within {} s", limit.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn run(command: &mut Command) -> Result<String, Broken> {
    let shown = format!("{command:?}");
    let output: Output = command.output().map_err(|error| Broken(format!("{shown}: {error}")))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(Broken(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }
}

/// The network file: who may vote, and where a node begins. `address` gives the address of a node.
fn network_file(ids: &[String], address: impl Fn(usize) -> String) -> String {
    let list =
        |items: Vec<String>| format!("[{}]", items.iter().map(|i| format!("\"{i}\"")).collect::<Vec<_>>().join(", "));
    let bootstrap = (0..WITNESSES).map(|node| format!("/ip4/{}/tcp/4001/p2p/{}", address(node), ids[node])).collect();
    let witnesses = ids[..WITNESSES].to_vec();
    format!("network-id = \"testnet\"\nbootstrap = {}\nwitnesses = {}\n", list(bootstrap), list(witnesses))
}
