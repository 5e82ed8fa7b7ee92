//! A friend's node mirrors an account, follows each change at once, and stands in when the home is gone.
//!
//! The friend gets a token that opens encrypted blocks and nothing else. Reading goes on through the mirror without any
//! setting, and at the owner's word it becomes the home.

use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyrgos::config::{Settings as NodeSettings, SignupPolicy};
use pyrgos::control::{self, Order, Reply};
use pyrgos::daemon::Daemon;
use pyrgos::identity;
use pyrgos::native::{HttpTransport, NativeRuntime};
use pyrgos::service::clock::SystemEntropy;
use pyrgos_protocol::client::{Password, Session, Settings, SignUp, UploadOptions};
use pyrgos_protocol::mirroring::MirrorToken;
use pyrgos_protocol::names::Username;

const NAMES: [&str; 3] = ["witness", "home", "friend"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("pyrgos-mirror-a-friend-{}", std::process::id()));
    // Futures of whole sessions are large without optimisation, so they live on the heap.
    let ran = Box::pin(run(&folder)).await;
    std::fs::remove_dir_all(&folder)?;
    ran
}

async fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let [witness, home, friend] = network(folder).await?;

    // Alice lives at home.
    let username = Username::new("alice")?;
    let password = Password::new("correct horse battery staple".to_owned());
    let account = SignUp { username: username.clone(), password: password.clone(), token: String::new() };
    let alice = Session::sign_up(transport(&home)?, NativeRuntime, Settings::default(), account).await?;
    let token = MirrorToken { username: username.clone(), bat: alice.mirror_token().await? };

    // What `pyrgos mirror add` says to the friend's node.
    eventually(|| Ok(friend.service().owner_of(&username)?.is_some())).await?;
    let data_dir = folder.join("friend");
    let add = Order::AddMirror { token: token.to_text().to_string(), limit_bytes: 1 << 30, from: None };
    ask(&data_dir, add).await?;
    let path = alice.home()?.join("diary.txt".parse()?);
    alice.upload(&path, &mut Bytes::from_static(b"Dear diary"), &UploadOptions::default(), &()).await?;
    let is_copied = || {
        let (used, _) = friend.service().mirror_space(alice.identity())?;
        Ok(used > 0 && used == home.service().mirror_space(alice.identity())?.0)
    };
    eventually(is_copied).await?;
    println!("the mirror has what the home has");

    home.stop().await;
    let session = Session::log_in(transport(&friend)?, NativeRuntime, Settings::default(), &username, &password, &());
    let alice = Box::pin(session).await?;
    println!("the home is gone: {}", String::from_utf8(alice.read(&path).await?)?);
    alice.promote().await?;
    alice
        .upload(
            &alice.home()?.join("more.txt".parse()?),
            &mut Bytes::from_static(b"and on"),
            &UploadOptions::default(),
            &(),
        )
        .await?;
    println!("the mirror is the home: {}", alice.home_node().await?.is_here());
    for node in [witness, friend] {
        node.stop().await;
    }
    Ok(())
}

/// One node that decides about names, and two that follow.
async fn network(folder: &Path) -> Result<[Daemon; 3], Box<dyn Error>> {
    let mut nodes = Vec::new();
    for name in NAMES {
        let data_dir = folder.join(name);
        std::fs::create_dir_all(&data_dir)?;
        let key = identity::load_or_create(&data_dir, &SystemEntropy)?;
        let id = identity::server_id(&key.public()).hash().to_base58();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        nodes.push((data_dir, id, format!("/ip4/127.0.0.1/tcp/{port}")));
    }
    let (_, witness, address) = &nodes[0];
    let file = folder.join("network.toml");
    let text =
        format!("network-id = \"friends\"\nbootstrap = [\"{address}/p2p/{witness}\"]\nwitnesses = [\"{witness}\"]\n");
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
    running.try_into().map_err(|_| "three nodes".into())
}

fn transport(node: &Daemon) -> Result<HttpTransport, Box<dyn Error>> {
    Ok(HttpTransport::new(&format!("http://{}", node.address()))?)
}

async fn ask(data_dir: &Path, order: Order) -> Result<(), Box<dyn Error>> {
    let data_dir = data_dir.to_owned();
    match tokio::task::spawn_blocking(move || control::order(&data_dir, &order)).await?? {
        Some(Reply::Done) => Ok(()),
        Some(Reply::Failed(why)) => Err(why.into()),
        _ => Err("the node does not answer".into()),
    }
}

async fn eventually(mut holds: impl FnMut() -> Result<bool, pyrgos::service::Failure>) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > Duration::from_secs(60) {
            return Err("it takes too long".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
