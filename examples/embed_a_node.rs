//! A whole node inside a program, over a store in memory, and a client that talks to it without a socket.
//!
//! The client encrypts as everywhere: the node in the same process holds opaque blocks too.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use pyrgos::config::{Settings as NodeSettings, SignupPolicy};
use pyrgos::daemon;
use pyrgos::identity;
use pyrgos::native::{InProcess, NativeRuntime};
use pyrgos::service::clock::{SystemClock, SystemEntropy};
use pyrgos_protocol::client::{Password, Runtime, Session, Settings, SignUp, UploadOptions};
use pyrgos_protocol::keys::SecretSigningKey;
use pyrgos_protocol::names::Username;
use pyrgos_store::{Blocks, MemoryStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = NodeSettings { signup: Some(SignupPolicy::Open), ..NodeSettings::default() }.resolve()?;
    let store = Arc::new(MemoryStore::default());
    let key = SecretSigningKey::generate(&mut NativeRuntime.rng());
    let ids = vec![identity::server_id(&key.public())];
    let service = daemon::service(store.clone(), &config, ids, Arc::new(SystemClock), Arc::new(SystemEntropy));
    let node = InProcess::new(Arc::new(service));

    let account = SignUp {
        username: Username::new("alice")?,
        password: Password::new("correct horse battery staple".to_owned()),
        token: String::new(),
    };
    let session = Session::sign_up(node, NativeRuntime, Settings::default(), account).await?;
    let file = session.home()?.join("hello.txt".parse()?);
    session.upload(&file, &mut Bytes::from_static(b"Hello from inside"), &UploadOptions::default(), &()).await?;
    println!("{}", String::from_utf8(session.read(&file).await?)?);

    let blocks = store.list(session.identity(), None, usize::MAX)?;
    println!("The node holds {} blocks and knows none of them.", blocks.len());
    Ok(())
}
