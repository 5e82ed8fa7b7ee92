//! Hosts in network namespaces. Each has two cables: one to the other nodes, one to its clients.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::containers::replace_folder;
use super::{Broken, Hosts, Line, NODES, network_file, run, within};

const PEERS: &str = "10.89.9";
const CLIENTS: &str = "10.89.10";

pub(crate) struct Namespaces {
    /// Begins the names of all namespaces here.
    prefix: String,
    folder: tempfile::TempDir,
    nodes: [Option<Child>; NODES.len()],
    /// Cables to the other nodes, where the kernel cannot make lines slow.
    cables: Vec<Cable>,
}

/// A cable that is a process. It ends when this is dropped.
struct Cable {
    process: Child,
    control: Option<ChildStdin>,
}

impl Cable {
    fn lay(hub: &str, port: &str, host: &str, device: &str) -> Result<Self, Broken> {
        let failed = |error: std::io::Error| Broken(format!("no cable to {host}: {error}"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("slow_line.py");
        // The second device has a name of its own until it has moved.
        let moving = format!("{port}x");
        let mut command = in_namespace(hub, "python3".as_ref());
        command.arg(script).args([port, &moving, host]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(failed)?;
        let mut ready = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut ready).map_err(failed)?;
        }
        let control = process.stdin.take();
        let cable = Cable { process, control };
        if ready.trim() != "ready" {
            return Err(Broken(format!("no cable to {host}")));
        }
        ip(&["-n", host, "link", "set", &moving, "name", device])?;
        Ok(cable)
    }

    fn set(&mut self, line: Line) -> Result<(), Broken> {
        let control = self.control.as_mut().ok_or_else(|| Broken("the cable is gone".to_owned()))?;
        // What one node sends to another goes through the cables of both.
        let (delay, loss) = (f64::from(line.delay_millis) / 2.0, f64::from(line.loss_percent) / 2.0);
        control
            .write_all(format!("{delay} {loss}\n").as_bytes())
            .map_err(|error| Broken(format!("the cable does not listen: {error}")))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        drop(self.control.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Namespaces {
    pub(crate) fn new() -> Result<Self, Broken> {
        let folder = tempfile::tempdir().map_err(|error| Broken(format!("no temporary folder: {error}")))?;
        let mut net = Namespaces {
            prefix: format!("pyrgos{}", std::process::id()),
            folder,
            nodes: Default::default(),
            cables: Vec::new(),
        };
        let hub = net.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        for (bridge, address) in [("peers", None), ("clients", Some(format!("{CLIENTS}.1/24")))] {
            ip(&["-n", &hub, "link", "add", bridge, "type", "bridge"])?;
            if let Some(address) = address {
                ip(&["-n", &hub, "address", "add", &address, "dev", bridge])?;
            }
            ip(&["-n", &hub, "link", "set", bridge, "up"])?;
        }
        let has_netem = tc(&hub, "lo", ANY_LINE).is_ok();
        for node in 0..NODES.len() {
            let host = net.host(node);
            ip(&["netns", "add", &host])?;
            ip(&["-n", &host, "link", "set", "lo", "up"])?;
            for (bridge, subnet) in [("peers", PEERS), ("clients", CLIENTS)] {
                let port = format!("{bridge}{node}");
                if bridge == "peers" && !has_netem {
                    net.cables.push(Cable::lay(&hub, &port, &host, bridge)?);
                } else {
                    ip(&["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", bridge, "netns", &host])?;
                }
                ip(&["-n", &hub, "link", "set", &port, "master", bridge, "up"])?;
                if bridge == "clients" {
                    // Else nodes would find each other there, past cables that are cut or slow.
                    ip(&["-n", &hub, "link", "set", &port, "type", "bridge_slave", "isolated", "on"])?;
                }
                ip(&["-n", &host, "address", "add", &format!("{subnet}.{}/24", 11 + node), "dev", bridge])?;
                ip(&["-n", &host, "link", "set", bridge, "up"])?;
            }
        }
        net.try_out()?;
        Ok(net)
    }

    /// Whether something comes through the cables: from host to host, and from the clients to a host. What fails here is
    /// not the nodes' fault.
    fn try_out(&self) -> Result<(), Broken> {
        let failed = |error: std::io::Error| Broken(format!("nothing listens in a namespace: {error}"));
        let mut listener = in_namespace(&self.host(0), "python3".as_ref());
        listener.args(["-m", "http.server", "8000", "--directory"]).arg(self.folder.path());
        let mut listener = listener.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(failed)?;
        let outcome = [(self.host(1), PEERS), (self.hub(), CLIENTS)].iter().try_for_each(|(from, subnet)| {
            let request = format!("http://{subnet}.11:8000/");
            let get = || run(in_namespace(from, "curl".as_ref()).args(["-sf", "-m", "2", &request])).is_ok();
            let came = within(Duration::from_secs(20), get);
            came.map(drop).map_err(|_| Broken(format!("nothing comes through from {from} to {request}")))
        });
        let _ = listener.kill();
        let _ = listener.wait();
        outcome
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    fn host(&self, node: usize) -> String {
        format!("{}-{node}", self.prefix)
    }

    fn data(&self, node: usize) -> PathBuf {
        self.folder.path().join(NODES[node])
    }

    fn log_file(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("{}.log", NODES[node]))
    }

    fn saved(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("{}.saved", NODES[node]))
    }
}

fn ip(args: &[&str]) -> Result<(), Broken> {
    run(Command::new("ip").args(args)).map(drop)
}

/// Nothing goes over the device with which it is tried whether the kernel can do it.
const ANY_LINE: Line = Line { delay_millis: 1, loss_percent: 0 };

fn tc(namespace: &str, device: &str, line: Line) -> Result<(), Broken> {
    let mut command = Command::new("tc");
    command.args(["-n", namespace, "qdisc", "replace", "dev", device, "root"]).args(line.netem());
    run(&mut command).map(drop)
}

fn in_namespace(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

impl Hosts for Namespaces {
    fn start_all(&mut self) -> Result<(), Broken> {
        let mut ids = Vec::new();
        for node in 0..NODES.len() {
            let mut command = Command::new(super::binary());
            let id = run(command.args(["node", "id", "--data-dir"]).arg(self.data(node)))?;
            ids.push(id.lines().next().unwrap_or_default().to_owned());
        }
        let file = network_file(&ids, |node| format!("{PEERS}.{}", 11 + node));
        let write = std::fs::write(self.folder.path().join("network.toml"), file);
        write.map_err(|error| Broken(format!("cannot write the network file: {error}")))?;
        (0..NODES.len()).try_for_each(|node| self.start(node))
    }

    fn start(&mut self, node: usize) -> Result<(), Broken> {
        let failed = |error: std::io::Error| Broken(format!("{} does not start: {error}", NODES[node]));
        let log = File::options().append(true).create(true).open(self.log_file(node)).map_err(failed)?;
        let mut command = in_namespace(&self.host(node), &super::binary());
        command
            .args(["node", "--listen", "0.0.0.0:8000", "--signup", "open"])
            .args(["--p2p-listen", "/ip4/0.0.0.0/tcp/4001,/ip4/0.0.0.0/udp/4001/quic-v1"])
            .arg("--network")
            .arg(self.folder.path().join("network.toml"))
            .arg("--data-dir")
            .arg(self.data(node))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.nodes[node] = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    fn kill(&mut self, node: usize) -> Result<(), Broken> {
        if let Some(mut child) = self.nodes[node].take() {
            let failed = |error: std::io::Error| Broken(format!("cannot kill {}: {error}", NODES[node]));
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
        }
        Ok(())
    }

    fn cut(&mut self, node: usize) -> Result<(), Broken> {
        ip(&["-n", &self.hub(), "link", "set", &format!("peers{node}"), "down"])
    }

    fn join(&mut self, node: usize) -> Result<(), Broken> {
        ip(&["-n", &self.hub(), "link", "set", &format!("peers{node}"), "up"])
    }

    fn slow(&mut self, node: usize, line: Line) -> Result<(), Broken> {
        match self.cables.get_mut(node) {
            Some(cable) => cable.set(line),
            None => tc(&self.host(node), "peers", line),
        }
    }

    fn save_disk(&mut self, node: usize) -> Result<(), Broken> {
        let _ = std::fs::remove_dir_all(self.saved(node));
        run(Command::new("cp").arg("--archive").arg(self.data(node)).arg(self.saved(node))).map(drop)
    }

    fn restore_disk(&mut self, from: usize, node: usize) -> Result<(), Broken> {
        replace_folder(&self.saved(from), &self.data(node))
    }

    fn disk(&self, node: usize) -> Result<PathBuf, Broken> {
        Ok(self.data(node))
    }

    fn server(&self, node: usize) -> String {
        format!("http://{CLIENTS}.{}:8000", 11 + node)
    }

    fn client(&self, program: &Path) -> Command {
        in_namespace(&self.hub(), program)
    }

    fn operator(&self, node: usize, args: &[&str]) -> Command {
        let mut command = in_namespace(&self.host(node), &super::binary());
        command.args(args).env("PYRGOS_DATA_DIR", self.data(node));
        command
    }

    fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.log_file(node)).unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for node in 0..NODES.len() {
            let _ = self.kill(node);
            let _ = ip(&["netns", "delete", &self.host(node)]);
        }
        let _ = ip(&["netns", "delete", &self.hub()]);
    }
}
