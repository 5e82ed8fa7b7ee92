//! Commands about those of whom the user wants to see nothing.

use clap::Args;
use pyrgos_protocol::client::ClientError;
use serde_json::json;

use super::failure::{Failure, Kind};
use super::session::{Global, Unlocked, fail, username};

/// Show nothing any more of what somebody shares or asks; they are not told
///
/// Only this account's own commands change: what you shared with them they still see. Take it back first.
#[derive(Args, Debug)]
pub struct BlockArgs {
    /// Whom to block
    name: String,
}

/// Show again what somebody shares and asks
#[derive(Args, Debug)]
pub struct UnblockArgs {
    /// Whom to block no longer
    name: String,
}

/// Blocks somebody.
pub async fn block(global: &Global, args: BlockArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let name = username(&args.name)?;
    let is_new = unlocked.session.block(&name).await.map_err(|error| match error {
        ClientError::Oneself => Failure::new(Kind::Usage, "nobody can block themselves"),
        error => fail(error).about(&name),
    })?;
    let text = if is_new { "is blocked" } else { "was blocked already" };
    global.output().line(format!("{name} {text}"), &json!({ "username": name.as_str(), "blocked": true }));
    unlocked.close()
}

/// Ends a block.
pub async fn unblock(global: &Global, args: UnblockArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let name = username(&args.name)?;
    if !unlocked.session.unblock(&name).await.map_err(|error| fail(error).about(&name))? {
        return Err(Failure::new(Kind::NotFound, format!("{name} is not blocked")));
    }
    global
        .output()
        .line(format!("{name} is no longer blocked"), &json!({ "username": name.as_str(), "blocked": false }));
    unlocked.close()
}

/// Shows who is blocked.
pub async fn blocked(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    for name in unlocked.session.blocked().await.map_err(fail)? {
        global.output().line(name.as_str(), &json!({ "username": name.as_str() }));
    }
    unlocked.close()
}
