//! `pyrgos du` and `pyrgos mirror-token`.

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::output::{human_size, printable};
use super::session::{Global, Unlocked, fail};

/// Show how much each folder holds, with everything below it
///
/// Sizes are those of the files before encryption; `pyrgos space` shows what the server counts.
#[derive(Args, Debug)]
pub struct DuArgs {
    /// Where to start [default: the home folder]
    path: Option<String>,
    /// Only the sum
    #[arg(short, long)]
    summarize: bool,
    /// Only folders at most N levels deep
    #[arg(short = 'd', long, value_name = "N", conflicts_with = "summarize")]
    max_depth: Option<usize>,
    /// Sizes in bytes, not rounded
    #[arg(short, long)]
    bytes: bool,
}

/// Adds up sizes.
pub async fn usage(global: &Global, args: DuArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let path = unlocked.path(args.path.as_deref().unwrap_or_default())?;
    let deepest = if args.summarize { 0 } else { args.max_depth.unwrap_or(usize::MAX) };
    let found = unlocked.session.usage(&path).await.map_err(fail)?;
    for usage in found.into_iter().filter(|usage| usage.depth <= deepest) {
        let size = if args.bytes { usage.bytes.to_string() } else { human_size(usage.bytes) };
        let path = usage.path.to_string();
        let value = json!({ "path": path, "size_bytes": usage.bytes, "files": usage.files });
        global.output().line(format!("{size:<8}{}", printable(&path)), &value);
    }
    unlocked.close()
}

/// Shows the account's mirror token.
pub async fn mirror_token(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let token = unlocked.session.mirror_token().await.map_err(fail)?.to_text();
    let value = json!({ "username": unlocked.session.username().as_str(), "token": token.as_str() });
    global.output().line(token.as_str(), &value);
    global.output().note("Whoever has this can copy all blocks of the account, which stay encrypted.");
    unlocked.close()
}
