//! A network of many names: the memory of a node, and how long somebody takes to join.

use std::collections::BTreeMap;

use pyrgos::control::{self, Order, Reply};
use pyrgos_protocol::encoding::ToCbor;
use pyrgos_protocol::keys::SigningKeyPair;
use pyrgos_protocol::names::chain::ChainLink;
use pyrgos_protocol::names::{Chain, Date, Delta, State, WitnessSet};
use pyrgos_store::{Batch, RecordKey, Records, RocksStore};

use super::*;

const NAMES: usize = 100_000;

/// A node of a network, as people run it, with its standing orders.
struct Member {
    process: Child,
    server: String,
    folder: std::path::PathBuf,
}

impl Member {
    fn start(folder: &Path, listen: &str, network: &Path) -> Outcome<Member> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_pyrgos"))
            .args(["node", "--listen", "127.0.0.1:0", "--signup", "open", "--p2p-listen", listen, "--network"])
            .arg(network)
            .arg("--data-dir")
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("no pipe")?).lines();
        let line = lines.next().ok_or("the node did not start")??;
        let server =
            line.trim().strip_prefix("listening on ").ok_or("the node did not say where it listens")?.to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Member { process, server, folder: folder.to_owned() })
    }

    fn root(&self) -> Outcome<(u64, String)> {
        match control::order(&self.folder, &Order::NamesStatus)? {
            Some(Reply::NamesStatus(status)) => Ok((status.height, status.root)),
            _ => Err("the node says nothing about names".into()),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It ends with this process in any case.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) async fn run() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let [first, second] = ["witness", "joiner"].map(|name| folder.path().join(name));
    std::fs::create_dir_all(&first)?;
    std::fs::create_dir_all(&second)?;
    let key = identity::load_or_create(&first, &SystemEntropy)?;
    let node = identity::server_id(&key.public());
    let id = node.hash().to_base58();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let at = format!("/ip4/127.0.0.1/tcp/{port}");
    let file = folder.path().join("network.toml");
    let text = format!("network-id = \"bench\"\nbootstrap = [\"{at}/p2p/{id}\"]\nwitnesses = [\"{id}\"]\n");
    std::fs::write(&file, text)?;
    let bytes = prepare(&first, &node)? as f64;

    let alone = folder.path().join("alone");
    std::fs::create_dir_all(&alone)?;
    let empty = Node::start(&alone)?;
    let witness = Member::start(&first, &at, &file)?;
    // The network decides something, so that there is a state to join at.
    let password = Password::new("correct horse battery staple".to_owned());
    let account = SignUp { username: Username::new("somebody")?, password, token: String::new() };
    Session::sign_up(HttpTransport::new(&witness.server)?, NativeRuntime, Settings::default(), account).await?;
    let mib = f64::from(1 << 20);
    let more = resident_bytes(witness.process.id())? - empty.resident_bytes()?;
    let what = format!("memory for {NAMES} names (bound: their bytes)");
    row(&what, more / mib, bytes / mib, "MiB", more / bytes);
    drop(empty);

    let start = Instant::now();
    let joiner = Member::start(&second, "/ip4/127.0.0.1/tcp/0", &file)?;
    while joiner.root()? != witness.root()? {
        if start.elapsed() > Duration::from_secs(300) {
            return Err("nobody joins".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let joined = start.elapsed().as_secs_f64() * 1000.0;
    // Each chain is hashed, and a tree made of them.
    let names = names(&node, 1000)?;
    let start = Instant::now();
    Delta::of_names(names)?;
    let bound = start.elapsed().as_secs_f64() * 1000.0 * (NAMES / 1000) as f64;
    row(&format!("joining a network of {NAMES} names (bound: a tree)"), joined, bound, "ms", joined / bound);
    Ok(())
}

/// Names with valid chains.
fn names(home: &Cid, count: usize) -> Outcome<BTreeMap<Username, Chain>> {
    let mut rng = NativeRuntime.rng();
    let expiry = Date::from_unix_millis(1_900_000_000_000);
    let mut names = BTreeMap::new();
    for number in 0..count {
        let username = Username::new(&format!("user-{number}"))?;
        let owner = SigningKeyPair::generate(&mut rng).signer();
        let link = ChainLink::sign(&username, expiry, home.clone(), &owner);
        names.insert(username, Chain(vec![link]));
    }
    Ok(names)
}

/// Makes a node's data directory of a network that begins with many names. Their bytes.
fn prepare(folder: &Path, node: &Cid) -> Outcome<usize> {
    let names = names(node, NAMES)?;
    let bytes = names.iter().map(|(name, chain)| name.as_str().len() + chain.to_bytes().len()).sum();
    let (root, delta) = Delta::of_names(names)?;
    let state = State::genesis("bench".parse()?, WitnessSet::of_nodes([node])?, root);
    std::fs::create_dir_all(folder.join("store"))?;
    let store = RocksStore::open(&folder.join("store"), pyrgos_store::rocks::Options::default())?;
    let mut batch = Batch::new().put(RecordKey::meta("state of names"), state.to_bytes());
    for (name, chain) in &delta.chains {
        batch = batch.put(RecordKey::name(name.as_str()), chain.to_bytes());
    }
    for (owner, name) in &delta.owners {
        batch = batch.put(RecordKey::identity(owner), name.as_str().as_bytes().to_vec());
    }
    for (cid, node) in &delta.nodes {
        batch = batch.put(RecordKey::name_node(cid), node.clone());
    }
    if !store.commit(batch)?.is_committed() {
        return Err("nothing is written".into());
    }
    Ok(bytes)
}
