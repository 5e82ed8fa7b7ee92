//! Makes a secret link to a folder, opens it as somebody without an account, and withdraws it.
//!
//! All in one program, over a node in memory; the stranger knows nothing but the link and the password.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use pyrgos::config::{Settings as NodeSettings, SignupPolicy};
use pyrgos::daemon;
use pyrgos::identity;
use pyrgos::native::{InProcess, NativeRuntime};
use pyrgos::service::clock::{SystemClock, SystemEntropy};
use pyrgos_protocol::client::{LinkOptions, OpenLink, Password, Runtime, Session, Settings, SignUp, UploadOptions};
use pyrgos_protocol::keys::SecretSigningKey;
use pyrgos_protocol::links::LinkPassword;
use pyrgos_protocol::links::address::LinkAddress;
use pyrgos_protocol::names::Username;
use pyrgos_store::MemoryStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = NodeSettings { signup: Some(SignupPolicy::Open), ..NodeSettings::default() }.resolve()?;
    let key = SecretSigningKey::generate(&mut NativeRuntime.rng());
    let ids = vec![identity::server_id(&key.public())];
    let store = Arc::new(MemoryStore::default());
    let node = Arc::new(daemon::service(store, &config, ids, Arc::new(SystemClock), Arc::new(SystemEntropy)));

    let account = SignUp {
        username: Username::new("alice")?,
        password: Password::new("correct horse battery staple".to_owned()),
        token: String::new(),
    };
    let alice = Session::sign_up(InProcess::new(node.clone()), NativeRuntime, Settings::default(), account).await?;
    let folder = alice.home()?.join("holidays".parse()?);
    let file = folder.join("plan.txt".parse()?);
    alice.make_directories(&folder).await?;
    alice.upload(&file, &mut Bytes::from_static(b"Naxos in May"), &UploadOptions::default(), &()).await?;

    // The link goes to the stranger by one way, the password by another.
    let options = LinkOptions {
        is_writable: true,
        max_openings: Some(10),
        password: Some(LinkPassword::new("ask me on the phone")),
        ..LinkOptions::default()
    };
    let link = alice.create_link(&folder, &options).await?;
    let text = link.to_text();

    let address = LinkAddress::parse(&text)?;
    let password = LinkPassword::new("ask me on the phone");
    let stranger = InProcess::new(node.clone());
    let opened = OpenLink::open(stranger, NativeRuntime, Settings::default(), &address, &password).await?;
    println!("{} shows {}", opened.owner(), opened.root());
    println!("{}", String::from_utf8(opened.read(&file).await?)?);
    let answer = folder.join("answer.txt".parse()?);
    opened.upload(&answer, &mut Bytes::from_static(b"June is better"), &UploadOptions::default(), &()).await?;

    println!("{}", String::from_utf8(alice.read(&answer).await?)?);
    let own = alice.links(&folder).await?.remove(0);
    println!("opened {} times", own.openings.unwrap_or_default());
    alice.withdraw_link(link.label).await?;
    let stranger = InProcess::new(node);
    match OpenLink::open(stranger, NativeRuntime, Settings::default(), &address, &password).await {
        Ok(_) => Err("a withdrawn link opened".into()),
        Err(error) => {
            println!("{error}");
            Ok(())
        }
    }
}
