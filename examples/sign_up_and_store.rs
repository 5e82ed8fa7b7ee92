//! Makes an account on a node, stores a file and reads it back.
//!
//! The password is the first line of standard input: `sign_up_and_store http://localhost:8000 alice < password`

use std::error::Error;

use bytes::Bytes;
use pyrgos::native::{HttpTransport, NativeRuntime};
use pyrgos_protocol::client::{Password, Session, Settings, SignUp, UploadOptions};
use pyrgos_protocol::names::Username;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, name] = arguments.as_slice() else {
        return Err("usage: sign_up_and_store SERVER NAME < PASSWORD".into());
    };
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let password = Password::new(line.trim_end_matches(['\r', '\n']).to_owned());
    let username = Username::new(name)?;

    // The password becomes keys here; the node sees public keys and encrypted data only.
    let account = SignUp { username: username.clone(), password: password.clone(), token: String::new() };
    Session::sign_up(HttpTransport::new(server)?, NativeRuntime, Settings::default(), account).await?;

    // From any other device, the name and the password are all that is needed.
    let session =
        Session::log_in(HttpTransport::new(server)?, NativeRuntime, Settings::default(), &username, &password, &())
            .await?;

    let letters = session.home_directory()?.make_directory("letters".parse()?).await?;
    let mut content = Bytes::from_static(b"Dear diary");
    letters.upload("first.txt".parse()?, &mut content, &UploadOptions::default(), &()).await?;

    for entry in letters.list().await? {
        println!("{} has {} bytes", entry.name.as_str(), entry.size_bytes);
    }
    println!("{}", String::from_utf8(letters.read("first.txt".parse()?).await?)?);
    Ok(())
}
