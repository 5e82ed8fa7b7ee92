//! `pyrgos publish` and `unpublish`: files that everybody can read.

use clap::Args;
use pyrgos_protocol::client::{ClientError, RemotePath};
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::{defused, printable};
use super::session::{Global, Unlocked, fail};

/// Let everybody read a file, or a folder with everything in it, now and later
///
/// Everybody who can reach the server can read what is published, and so can the server. Prints the public address.
#[derive(Args, Debug)]
pub struct PublishArgs {
    /// What to publish [default: show what is published]
    path: Option<String>,
}

/// Take back what is published; who has it keeps what was read, and reads nothing new
///
/// What was published gets new keys. Those with whom it is shared, and links, keep access.
#[derive(Args, Debug)]
pub struct UnpublishArgs {
    /// What to take back
    path: String,
}

fn about_own(error: ClientError) -> Failure {
    match error {
        ClientError::Home => {
            Failure::new(Kind::Usage, "the home folder cannot be public").hint("publish a folder in it")
        }
        error => fail(error),
    }
}

/// Where browsers find what the account publishes: at its home.
async fn site(unlocked: &Unlocked) -> Result<String, Failure> {
    if unlocked.session.home_node().await.map_err(fail)?.is_here() {
        return Ok(unlocked.server().to_owned());
    }
    let host = unlocked.session.link_host().await.map_err(fail)?;
    let is_local = host.starts_with("localhost:");
    Ok(format!("{}://{}", if is_local { "http" } else { "https" }, defused(&host)))
}

fn print(global: &Global, unlocked: &Unlocked, site: &str, path: &RemotePath) {
    let url = format!("{site}{}", unlocked.session.public_path(path));
    let text = format!("{}  {url}", printable(&path.to_string()));
    global.output().line(text, &json!({ "path": path.to_string(), "url": url }));
}

/// Publishes, or shows what is published.
pub async fn publish(global: &Global, args: PublishArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    match &args.path {
        Some(text) => {
            let path = unlocked.path(text)?;
            if !unlocked.session.publish(&path).await.map_err(about_own)? {
                global.output().note("it was public already");
            }
            print(global, &unlocked, &site(&unlocked).await?, &path);
        }
        None => {
            let published = unlocked.session.published().await.map_err(fail)?;
            let site = if published.is_empty() { String::new() } else { site(&unlocked).await? };
            published.iter().for_each(|path| print(global, &unlocked, &site, path));
        }
    }
    unlocked.close()
}

/// Takes back.
pub async fn unpublish(global: &Global, args: UnpublishArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let path = unlocked.path(&args.path)?;
    unlocked.session.unpublish(&path).await.map_err(|error| about_own(error).about(printable(&path.to_string())))?;
    let text = format!("{} is not public any more", printable(&path.to_string()));
    global.output().line(text, &json!({ "path": path.to_string(), "public": false }));
    unlocked.close()
}
