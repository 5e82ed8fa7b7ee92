//! What mirrors cost: how far they are behind, how long the first copy takes, how soon one reads when the home has died.
//!
//! The home is a process of its own, which can be killed; the mirror and a third node, which has no copy, run here. A slow line
//! is nothing that nodes of one host can be kept to: `make bench` measures it in the test network, where it is the only way.

use std::path::PathBuf;

use bytes::Bytes;
use pyrgos::control::{self, Order};
use pyrgos::service::clock::{Clock, SystemClock};
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::mirror::GetMirrorSnapshot;
use pyrgos_protocol::api::mutable::GetPointer;
use pyrgos_protocol::client::{IfExists, Session, UploadOptions};
use pyrgos_protocol::keys::Writer;
use pyrgos_protocol::mirroring::{MirrorProof, MirrorToken};

use super::*;

const PASSWORD: &str = "correct horse battery staple";
const READS: usize = 5;

type User = Session<HttpTransport, NativeRuntime>;

fn number(variable: &str, usual: usize) -> Outcome<usize> {
    Ok(std::env::var(variable).ok().map_or(Ok(usual), |text| text.parse())?)
}

pub(super) async fn run(raw_rate: f64) -> Outcome<()> {
    let network = Network::start().await?;
    network.lag(number("MIRROR_COMMITS", 500)?, sync_time(network.folder.path())?).await?;
    network.first_copy(number("MIRROR_MIB", 2048)?, raw_rate).await?;
    network.death_of_the_home().await
}

/// How long the disk takes to keep a little.
fn sync_time(folder: &Path) -> Outcome<Duration> {
    let mut times = Vec::new();
    for number in 0..9 {
        let start = Instant::now();
        let file = std::fs::File::create(folder.join(format!("sync-{number}")))?;
        std::io::Write::write_all(&mut &file, &[7; 4096])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// A home, a mirror and a third node.
struct Network {
    folder: tempfile::TempDir,
    home: Child,
    mirror: Daemon,
    mirror_dir: PathBuf,
    third: Daemon,
    alice: User,
    token: MirrorToken,
    writers: Vec<Writer>,
}

impl Network {
    async fn start() -> Outcome<Network> {
        let folder = tempfile::tempdir()?;
        let home_dir = folder.path().join("home");
        std::fs::create_dir_all(&home_dir)?;
        let key = identity::load_or_create(&home_dir, &SystemEntropy)?;
        let id = identity::server_id(&key.public()).hash().to_base58();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let listen = format!("/ip4/127.0.0.1/tcp/{port}");
        let write = |name: &str, bootstrap: String| -> Outcome<PathBuf> {
            let file = folder.path().join(name);
            let text = format!("network-id = \"bench\"\nbootstrap = [{bootstrap}]\nwitnesses = [\"{id}\"]\n");
            std::fs::write(&file, text)?;
            Ok(file)
        };
        let file = write("network.toml", format!("\"{listen}/p2p/{id}\""))?;
        let own_file = write("home.toml", String::new())?;
        let mut home = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["node", "--listen", "127.0.0.1:0", "--signup", "open", "--quota", "1T", "--p2p-listen", &listen])
            .arg("--network")
            .arg(own_file)
            .arg("--data-dir")
            .arg(&home_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(home.stdout.take().ok_or("no pipe")?).lines();
        let line = lines.next().ok_or("the home did not start")??;
        let server =
            line.trim().strip_prefix("listening on ").ok_or("the home did not say where it listens")?.to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        let start = async |name: &str| -> Outcome<(Daemon, PathBuf)> {
            let data_dir = folder.path().join(name);
            std::fs::create_dir_all(&data_dir)?;
            let settings = NodeSettings {
                data_dir: Some(data_dir.clone()),
                listen: Some(([127, 0, 0, 1], 0).into()),
                p2p_listen: Some(vec!["/ip4/127.0.0.1/tcp/0".parse()?]),
                network: Some(file.clone()),
                ..NodeSettings::default()
            };
            Ok((Daemon::start(&settings.resolve()?).await?, data_dir))
        };
        let ((mirror, mirror_dir), (third, _)) = (start("mirror").await?, start("third").await?);
        let username = Username::new("alice")?;
        let account =
            SignUp { username: username.clone(), password: Password::new(PASSWORD.to_owned()), token: String::new() };
        let alice = Session::sign_up(HttpTransport::new(&server)?, NativeRuntime, Settings::default(), account).await?;
        let token = MirrorToken { username: username.clone(), bat: alice.mirror_token().await? };
        for node in [&mirror, &third] {
            until("the name arrives", || Ok(node.service().owner_of(&username)?.is_some())).await?;
        }
        // Whose pointers there are.
        let host = third.host().ok_or("no peers")?;
        let proof = MirrorProof::new(username, token.bat.bat(), host.id(), SystemClock.now_millis());
        let call = GetMirrorSnapshot(proof);
        let snapshot = call.read(host.request(&Cid::from_server_id(&id)?, &call.request()).await?)?;
        let writers = snapshot.pointers.into_iter().map(|pointer| pointer.writer).collect();
        let network = Network { folder, home, mirror, mirror_dir, third, alice, token, writers };
        network.add().await?;
        Ok(network)
    }

    async fn order(&self, order: Order) -> Outcome<()> {
        let folder = self.mirror_dir.clone();
        tokio::task::spawn_blocking(move || control::order(&folder, &order).map(drop)).await??;
        Ok(())
    }

    /// Begins to mirror, and waits for the first copy.
    async fn add(&self) -> Outcome<()> {
        let token = self.token.to_text().as_str().to_owned();
        self.order(Order::AddMirror { token, limit_bytes: 1 << 40, from: None }).await?;
        until("the first copy", || Ok(self.pointers()?.iter().all(Option::is_some))).await
    }

    /// What the mirror has.
    fn pointers(&self) -> Outcome<Vec<Option<Bytes>>> {
        let owner = self.alice.identity();
        let get = |writer: &Writer| {
            let call = GetPointer { owner: owner.clone(), writer: writer.clone() };
            Ok(self.mirror.service().get_pointer(call)?)
        };
        self.writers.iter().map(get).collect()
    }

    /// Waits until the mirror has what it did not have before.
    async fn follows(&self, before: &[Option<Bytes>]) -> Outcome<()> {
        until("the mirror follows", || Ok(self.pointers()? != before)).await
    }

    async fn lag(&self, commits: usize, bound: Duration) -> Outcome<()> {
        let mut times = Vec::new();
        // A small commit that stays as small, however many there are.
        let names = ["/alice/one", "/alice/other"].map(str::parse);
        let [one, other] = names;
        let (mut from, mut to) = (one?, other?);
        self.alice.make_directory(&from).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        for _ in 0..commits {
            let before = self.pointers()?;
            self.alice.rename(&from, &to, IfExists::Fail).await?;
            std::mem::swap(&mut from, &mut to);
            let start = Instant::now();
            self.follows(&before).await?;
            times.push(start.elapsed());
        }
        times.sort();
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        for (what, time) in [("median", times[commits / 2]), ("p99", times[commits * 99 / 100])] {
            let ratio = time.as_secs_f64() / bound.as_secs_f64();
            row(
                &format!("commit to mirror, {what} (bound: a write to the disk)"),
                millis(time),
                millis(bound),
                "ms",
                ratio,
            );
        }
        Ok(())
    }

    async fn first_copy(&self, mib: usize, raw_rate: f64) -> Outcome<()> {
        self.order(Order::RemoveMirror { name: "alice".to_owned() }).await?;
        let mut content = vec![0; 256 << 20];
        for number in 0..mib.div_ceil(256) {
            content.fill(number as u8);
            let path = format!("/alice/large-{number}").parse()?;
            let piece = Bytes::from(content[..(mib - number * 256).min(256) << 20].to_vec());
            self.alice.upload(&path, &mut piece.clone(), &UploadOptions::default(), &()).await?;
        }
        let start = Instant::now();
        self.add().await?;
        let rate = mib as f64 / start.elapsed().as_secs_f64();
        let what = format!("first mirror of {mib} MiB (bound: the raw stream)");
        row(&what, rate, raw_rate, "MiB/s", raw_rate / rate);
        Ok(())
    }

    /// From the kill of the home to the first read, by a session at a node that has no copy.
    async fn death_of_the_home(mut self) -> Outcome<()> {
        self.alice
            .upload(&"/alice/note".parse()?, &mut Bytes::from_static(b"hello"), &UploadOptions::default(), &())
            .await?;
        self.alice.announce_mirrors(&[self.mirror.service().ids()[0].clone()]).await?;
        let own = self.mirror.service().ids()[0].clone();
        let is_current = async || -> Outcome<bool> {
            Ok(self.alice.mirrors().await?.report.seen.iter().any(|seen| seen.node == own && seen.is_current))
        };
        while !is_current().await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // It was given the newest pointers; their blocks arrive.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let server = HttpTransport::new(&format!("http://{}", self.third.address()))?;
        let (name, password) = (&self.token.username, Password::new(PASSWORD.to_owned()));
        let there = Session::log_in(server, NativeRuntime, Settings::default(), name, &password, &()).await?;
        there.spread_mirrors().await?;
        self.home.kill()?;
        self.home.wait()?;
        let start = Instant::now();
        while there.read(&"/alice/note".parse()?).await.is_err() {
            if start.elapsed() > Duration::from_secs(60) {
                return Err("nobody reads any more".into());
            }
        }
        let first = start.elapsed();
        let mut times = Vec::new();
        for _ in 0..READS {
            let start = Instant::now();
            there.read(&"/alice/note".parse()?).await?;
            times.push(start.elapsed());
        }
        times.sort();
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        row(
            "killed home to first read (bound: a later one)",
            millis(first),
            millis(times[READS / 2]),
            "ms",
            first.as_secs_f64() / times[READS / 2].as_secs_f64(),
        );
        self.stop().await;
        Ok(())
    }

    async fn stop(mut self) {
        // It may have been killed before.
        let _ = self.home.kill();
        let _ = self.home.wait();
        self.mirror.stop().await;
        self.third.stop().await;
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > Duration::from_secs(600) {
            return Err(format!("{what}: not within ten minutes").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
