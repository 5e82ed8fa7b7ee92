//! Two people become friends, one shares a folder with the other, and takes it back.
//!
//! All in one program, over a node in memory, which learns neither who knows whom nor what was shared.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use pyrgos::config::{Settings as NodeSettings, SignupPolicy};
use pyrgos::daemon;
use pyrgos::identity;
use pyrgos::native::{InProcess, NativeRuntime};
use pyrgos::service::clock::{SystemClock, SystemEntropy};
use pyrgos_protocol::client::{Audience, Password, Runtime, Session, Settings, SignUp, Taken, UploadOptions};
use pyrgos_protocol::keys::SecretSigningKey;
use pyrgos_protocol::names::Username;
use pyrgos_protocol::social::Answer;
use pyrgos_store::MemoryStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = NodeSettings { signup: Some(SignupPolicy::Open), ..NodeSettings::default() }.resolve()?;
    let key = SecretSigningKey::generate(&mut NativeRuntime.rng());
    let ids = vec![identity::server_id(&key.public())];
    let store = Arc::new(MemoryStore::default());
    let node = Arc::new(daemon::service(store, &config, ids, Arc::new(SystemClock), Arc::new(SystemEntropy)));
    let sign_up = async |name: &str| -> Result<_, Box<dyn Error>> {
        let password = Password::new(format!("the long password of {name}"));
        let account = SignUp { username: Username::new(name)?, password, token: String::new() };
        Ok(Session::sign_up(InProcess::new(node.clone()), NativeRuntime, Settings::default(), account).await?)
    };
    let (alice, bob) = (sign_up("alice").await?, sign_up("bob").await?);

    // Bob asks, alice accepts and follows back.
    bob.follow(alice.username()).await?;
    for asking in alice.follow_requests().await? {
        println!("{asking} asks to follow alice");
        alice.answer(&asking, Answer::AcceptAndReciprocate).await?;
    }
    // Worth comparing in person before anything is shared: then nobody is between them.
    let seen_by_alice = alice.fingerprint(bob.username()).await?.digits();
    assert_eq!(seen_by_alice, bob.fingerprint(alice.username()).await?.digits());

    let recipes = alice.home_directory()?.make_directory("recipes".parse()?).await?;
    let options = UploadOptions::default();
    recipes.upload("bread.txt".parse()?, &mut Bytes::from_static(b"Flour, water, salt"), &options, &()).await?;
    let with = [Audience::User(bob.username().clone())];
    recipes.share_to_write(&with).await?;

    // The same paths work for bob as for alice.
    for shared in bob.shared_with_me().await? {
        println!("bob sees {}", shared.path);
    }
    let of_alice = bob.directory(recipes.path()).await?;
    println!("{}", String::from_utf8(of_alice.read("bread.txt".parse()?).await?)?);
    of_alice.upload("soup.txt".parse()?, &mut Bytes::from_static(b"Lentils"), &options, &()).await?;
    println!("{}", String::from_utf8(recipes.read("soup.txt".parse()?).await?)?);

    // New keys for everything in it: what is written from now on is not for bob.
    recipes.unshare(&with, Taken::All).await?;
    match of_alice.read("bread.txt".parse()?).await {
        Ok(_) => Err("what was taken back can still be read".into()),
        Err(error) => {
            println!("{error}");
            Ok(())
        }
    }
}
