//! Hosts in containers, from the compose file that people use.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Broken, Hosts, Line, NODES, run, within};

/// The network of the nodes here, other than the one of the compose file so that both can run.
const SUBNET: &str = "10.89.8";
const FIRST_PORT: u16 = 18001;
const IMAGE: &str = "pyrgos:scenarios";

pub(crate) struct Containers {
    project: String,
    folder: tempfile::TempDir,
    saved: [bool; NODES.len()],
    /// Ends after everything that runs in it.
    #[expect(dead_code, reason = "it is there to be dropped")]
    engine: Engine,
}

impl Containers {
    pub(crate) fn new() -> Result<Self, Broken> {
        let engine = Engine::find()?;
        let project = format!("pyrgos-{}", std::process::id());
        let folder = tempfile::tempdir().map_err(|error| Broken(format!("no temporary folder: {error}")))?;
        let net = Containers { project, folder, saved: [false; NODES.len()], engine };
        net.try_out()?;
        Ok(net)
    }

    /// Whether this machine lets the engine do what it has to: build the image, and run it on a network of its own with a
    /// published port. What fails here is not the nodes' fault.
    fn try_out(&self) -> Result<(), Broken> {
        run(self.compose().arg("version"))?;
        run(self.script("image").arg(super::binary()).arg(IMAGE))?;
        let (name, port) = (format!("{}-try", self.project), port(0));
        let publish = format!("127.0.0.1:{port}:8000");
        let subnet = format!("{SUBNET}.0/24");
        let outcome = self.docker(&["network", "create", "--subnet", &subnet, &name]).and_then(|_| {
            let host = format!("PYRGOS_PUBLIC_HOST=127.0.0.1:{port}");
            let place = ["--name", &name, "--network", &name, "--publish", &publish, "--env", &host];
            self.docker(&[&["run", "--detach"], &place[..], &[IMAGE]].concat())?;
            let request = format!("http://127.0.0.1:{port}/api/v0/id");
            let answers = || run(Command::new("curl").args(["-sf", "-m", "2", "-X", "POST", &request])).is_ok();
            within(Duration::from_secs(20), answers)
                .map_err(|_| Broken("a container is not reached at its published port".to_owned()))
        });
        let _ = self.docker(&["rm", "--force", "--volumes", &name]);
        let _ = self.docker(&["network", "rm", &name]);
        outcome.map(drop)
    }

    fn container(&self, node: usize) -> Result<String, Broken> {
        let id = run(self.compose().args(["ps", "--all", "--quiet", NODES[node]]))?;
        if id.is_empty() { Err(Broken(format!("no container for {}", NODES[node]))) } else { Ok(id) }
    }

    /// A script beside the compose file, for this network.
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
        command.env("COMPOSE_PROJECT_NAME", &self.project);
        command.env("PYRGOS_TESTNET_IMAGE", IMAGE).env("PYRGOS_TESTNET_SUBNET", SUBNET);
        for node in 0..NODES.len() {
            command.env(format!("PYRGOS_TESTNET_PORT_{}", node + 1), port(node).to_string());
        }
        let hosts: Vec<String> = (0..NODES.len()).map(|node| format!("localhost:{}", port(node))).collect();
        command.env("PYRGOS_TESTNET_HOSTS", hosts.join(","));
        command
    }

    fn compose(&self) -> Command {
        self.script("compose")
    }

    fn docker(&self, args: &[&str]) -> Result<String, Broken> {
        run(Command::new("docker").args(args))
    }

    fn volume(&self, name: &str) -> String {
        format!("{}_{name}", self.project)
    }

    fn peers(&self) -> String {
        format!("{}_peers", self.project)
    }
}

fn port(node: usize) -> u16 {
    FIRST_PORT + node as u16
}

fn address(node: usize) -> String {
    format!("{SUBNET}.{}", 11 + node)
}

fn answers() -> bool {
    let mut info = Command::new("docker");
    info.arg("info").stdout(Stdio::null()).stderr(Stdio::null());
    info.status().is_ok_and(|status| status.success())
}

/// An engine. If it was started here, it ends when this is dropped.
struct Engine(Option<Child>);

impl Engine {
    /// Finds one that runs, or starts one.
    fn find() -> Result<Self, Broken> {
        if answers() {
            return Ok(Engine(None));
        }
        let mut dockerd = Command::new("dockerd");
        dockerd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let engine = Engine(Some(dockerd.spawn().map_err(|error| Broken(format!("dockerd: {error}")))?));
        let started = within(Duration::from_secs(60), answers);
        started.map(|_| engine).map_err(|_| Broken("dockerd does not start".to_owned()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(dockerd) = &mut self.0 {
            // It ends what it started, containerd among it, only if it is asked to.
            let _ = run(Command::new("kill").arg(dockerd.id().to_string()));
            let _ = dockerd.wait();
        }
    }
}

impl Hosts for Containers {
    fn start_all(&mut self) -> Result<(), Broken> {
        run(self.script("up").arg(super::binary())).map(drop)
    }

    fn start(&mut self, node: usize) -> Result<(), Broken> {
        self.docker(&["start", &self.container(node)?]).map(drop)
    }

    fn kill(&mut self, node: usize) -> Result<(), Broken> {
        self.docker(&["kill", "--signal", "KILL", &self.container(node)?]).map(drop)
    }

    fn cut(&mut self, node: usize) -> Result<(), Broken> {
        self.docker(&["network", "disconnect", &self.peers(), &self.container(node)?]).map(drop)
    }

    fn join(&mut self, node: usize) -> Result<(), Broken> {
        self.docker(&["network", "connect", "--ip", &address(node), &self.peers(), &self.container(node)?]).map(drop)
    }

    fn slow(&mut self, node: usize, line: Line) -> Result<(), Broken> {
        let process = self.docker(&["inspect", "--format", "{{.State.Pid}}", &self.container(node)?])?;
        let inside = |args: &[&str]| run(Command::new("nsenter").args(["--target", &process, "--net"]).args(args));
        let devices = inside(&["ip", "-oneline", "-4", "address"])?;
        // 4: eth0    inet 10.89.8.11/24 …
        let of_peers = devices.lines().find(|text| text.contains(&format!(" {}/", address(node))));
        let device = of_peers.and_then(|text| text.split_whitespace().nth(1));
        let device = device.ok_or_else(|| Broken(format!("{} has no device for its peers", NODES[node])))?;
        let args = line.netem();
        inside(&[&["tc", "qdisc", "replace", "dev", device, "root"], &args.each_ref().map(String::as_str)[..]].concat())
            .map(drop)
    }

    fn save_disk(&mut self, node: usize) -> Result<(), Broken> {
        let to = self.folder.path().join(NODES[node]);
        let _ = std::fs::remove_dir_all(&to);
        // Not `docker cp`, which gives all files to who runs it.
        run(Command::new("cp").arg("--archive").arg(self.disk(node)?).arg(&to))?;
        self.saved[node] = true;
        Ok(())
    }

    fn restore_disk(&mut self, from: usize, node: usize) -> Result<(), Broken> {
        if !self.saved[from] {
            return Err(Broken(format!("no copy of the disk of {}", NODES[from])));
        }
        replace_folder(&self.folder.path().join(NODES[from]), &self.disk(node)?)
    }

    fn disk(&self, node: usize) -> Result<PathBuf, Broken> {
        let place = self.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &self.volume(NODES[node])])?;
        Ok(place.into())
    }

    fn server(&self, node: usize) -> String {
        format!("http://localhost:{}", port(node))
    }

    fn client(&self, program: &Path) -> Command {
        Command::new(program)
    }

    fn operator(&self, node: usize, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        let container = self.container(node).unwrap_or_default();
        command.args(["exec", "-i", &container, "/usr/bin/pyrgos"]).args(args);
        command
    }

    fn log(&self, node: usize) -> String {
        let mut command = Command::new("docker");
        command.arg("logs").arg(self.container(node).unwrap_or_default());
        let output = command.output();
        output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Makes a folder's content that of another, owners included. The folder itself stays whose it is.
pub(crate) fn replace_folder(from: &Path, to: &Path) -> Result<(), Broken> {
    let failed = |error: std::io::Error| Broken(format!("cannot replace {}: {error}", to.display()));
    for entry in std::fs::read_dir(to).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(failed)?;
    }
    for entry in std::fs::read_dir(from).map_err(failed)? {
        run(Command::new("cp").arg("--archive").arg(entry.map_err(failed)?.path()).arg(to))?;
    }
    Ok(())
}

impl Drop for Containers {
    fn drop(&mut self) {
        let _ = run(self.compose().args(["down", "--volumes", "--timeout", "1"]));
    }
}
