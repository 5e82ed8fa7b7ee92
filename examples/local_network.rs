//! A network of five nodes on this computer: four witnesses decide who owns which name, the fifth only follows.
//!
//! No node is special. Alice signs up at the one that follows, and every node knows her name; with one of four witnesses
//! gone names go on, and hers stays hers.

use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use pyrgos::config::{Settings as NodeSettings, SignupPolicy};
use pyrgos::daemon::Daemon;
use pyrgos::identity;
use pyrgos::native::{HttpTransport, NativeRuntime};
use pyrgos::service::clock::SystemEntropy;
use pyrgos_protocol::api::core::GetChain;
use pyrgos_protocol::api::{Call, Transport};
use pyrgos_protocol::client::{Password, Session, Settings, SignUp};
use pyrgos_protocol::names::Username;

const WITNESSES: usize = 4;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("pyrgos-local-network-{}", std::process::id()));
    let ran = run(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    ran
}

async fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    // Each node has a key of its own, which its identifier comes from, and an address for other nodes.
    let mut nodes = Vec::new();
    for number in 0..=WITNESSES {
        let data_dir = folder.join(number.to_string());
        std::fs::create_dir_all(&data_dir)?;
        let key = identity::load_or_create(&data_dir, &SystemEntropy)?;
        let id = identity::server_id(&key.public()).hash().to_base58();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        nodes.push((data_dir, id, format!("/ip4/127.0.0.1/tcp/{port}")));
    }

    // The network file is all that a node needs to know in order to join.
    let witnesses: Vec<String> = nodes[..WITNESSES].iter().map(|(_, id, _)| format!("{id:?}")).collect();
    let bootstrap: Vec<String> =
        nodes[..WITNESSES].iter().map(|(_, id, address)| format!("\"{address}/p2p/{id}\"")).collect();
    let file = folder.join("network.toml");
    let text = format!(
        "network-id = \"local\"\nbootstrap = [{}]\nwitnesses = [{}]\n",
        bootstrap.join(", "),
        witnesses.join(", ")
    );
    std::fs::write(&file, text)?;

    let mut running = Vec::new();
    for (data_dir, _, address) in nodes {
        let settings = NodeSettings {
            data_dir: Some(data_dir),
            listen: Some(([127, 0, 0, 1], 0).into()),
            signup: Some(SignupPolicy::Open),
            p2p_listen: Some(vec![address.parse()?]),
            network: Some(file.clone()),
            ..NodeSettings::default()
        };
        running.push(Daemon::start(&settings.resolve()?).await?);
    }
    let alice = sign_up(&running[WITNESSES], "alice").await?;
    println!("alice signed up at the node that follows");
    for (number, node) in running.iter().enumerate() {
        await_name(node, &alice).await?;
        println!("node {number} knows alice");
    }

    running.remove(0).stop().await;
    let bob = sign_up(&running[0], "bob").await?;
    await_name(&running[WITNESSES - 1], &bob).await?;
    println!("bob signed up with one witness gone");

    if sign_up(&running[1], "alice").await.is_ok() {
        return Err("a name was given away twice".into());
    }
    println!("alice is taken");
    for node in running {
        node.stop().await;
    }
    Ok(())
}

async fn sign_up(node: &Daemon, name: &str) -> Result<Username, Box<dyn Error>> {
    let username = Username::new(name)?;
    let password = Password::new("correct horse battery staple".to_owned());
    let account = SignUp { username: username.clone(), password, token: String::new() };
    let transport = HttpTransport::new(&format!("http://{}", node.address()))?;
    Session::sign_up(transport, NativeRuntime, Settings::default(), account).await?;
    Ok(username)
}

/// Waits until a node shows the name. Decisions travel by gossip.
async fn await_name(node: &Daemon, username: &Username) -> Result<(), Box<dyn Error>> {
    let transport = HttpTransport::new(&format!("http://{}", node.address()))?;
    let call = GetChain { username: username.clone() };
    let start = Instant::now();
    while call.read(transport.send(call.request()).await?)?.0.is_empty() {
        if start.elapsed() > Duration::from_secs(60) {
            return Err("a node does not hear of the name".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
