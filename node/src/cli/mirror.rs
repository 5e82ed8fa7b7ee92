//! `pyrgos mirror`: copies of accounts on other nodes. `create` is the owner's part, the rest that of who runs the mirror.

use std::path::PathBuf;

use clap::Subcommand;
use pyrgos_protocol::mirroring::MirrorToken;
use serde_json::json;

use super::failure::{Failure, Kind};
use super::node::{NodeArguments, order, unexpected};
use super::output::{Output, defused, human_size};
use super::secret;
use super::session::{Global, Unlocked, fail};
use crate::config::Size;
use crate::control::{Order, Reply};
use crate::mirror::MirrorStatus;

/// What to do with mirrors.
#[derive(Subcommand, Debug)]
pub(super) enum MirrorCommand {
    /// Print the token with which somebody else's node can mirror your account
    ///
    /// Whoever has it can copy all blocks of the account, which stay encrypted, and the sealed data that a login needs. Give
    /// it to who runs the mirror over a channel that you trust.
    Create,
    /// Let a node of this machine mirror an account; give it the owner's token
    ///
    /// Again for the same account, it changes the limit.
    Add {
        /// File with the token; `-` or nothing for standard input
        #[arg(default_value = "-", hide_default_value = true)]
        token_file: PathBuf,
        /// Most space that the copy may take, in bytes or with K, M, G, T
        #[arg(long, value_name = "SIZE", default_value = "10G")]
        limit: Size,
        /// Copy from this node, another mirror, instead of the account's home
        #[arg(long, value_name = "NODE")]
        from: Option<String>,
        #[command(flatten)]
        node: Box<NodeArguments>,
    },
    /// Stop mirroring an account, and delete its copy
    Rm {
        /// The account
        name: String,
        #[command(flatten)]
        node: Box<NodeArguments>,
    },
    /// Show the copies that a node of this machine keeps, and how far they are behind
    Status {
        #[command(flatten)]
        node: Box<NodeArguments>,
    },
}

/// Prints the owner's token.
pub(super) async fn create(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let bat = unlocked.session.mirror_token().await.map_err(fail)?;
    let token = MirrorToken { username: unlocked.session.username().clone(), bat };
    let value = json!({ "username": token.username.as_str(), "token": token.to_text().as_str() });
    global.output().line(token.to_text().as_str(), &value);
    global.output().note("On the other machine: pyrgos mirror add FILE, with this in the file.");
    unlocked.close()
}

pub(super) fn run(command: MirrorCommand, output: Output) -> Result<(), Failure> {
    match command {
        // That needs a session.
        MirrorCommand::Create => {}
        MirrorCommand::Add { token_file, limit: Size(limit_bytes), from, node } => {
            let token = match token_file.as_os_str() == "-" {
                true => secret::read_input()?,
                false => secret::read_file(&token_file)?,
            };
            let name = token.parse::<MirrorToken>().map(|token| token.username);
            let name = name.map_err(|error| {
                Failure::new(Kind::Usage, error.to_string()).hint("its owner makes one with pyrgos mirror create")
            })?;
            done(order(&node.config()?, Order::AddMirror { token: token.to_string(), limit_bytes, from })?)?;
            output.note(format!("{name} is mirrored; pyrgos mirror status tells how far"));
        }
        MirrorCommand::Rm { name, node } => {
            done(order(&node.config()?, Order::RemoveMirror { name: name.clone() })?)?;
            output.note(format!("{} is not mirrored any more", defused(&name)));
        }
        MirrorCommand::Status { node } => {
            let Reply::Mirrors(all) = order(&node.config()?, Order::Mirrors)? else { return Err(unexpected()) };
            all.iter().for_each(|status| output.line(line(status), status));
            if all.is_empty() {
                output.note("no account is mirrored here");
            }
        }
    }
    Ok(())
}

fn done(reply: Reply) -> Result<(), Failure> {
    match reply {
        Reply::Done => Ok(()),
        _ => Err(unexpected()),
    }
}

fn line(status: &MirrorStatus) -> String {
    let space = format!("{} of {}", human_size(status.used_bytes), human_size(status.limit_bytes));
    let source = status.source.as_ref().map_or("lives here".to_owned(), |node| format!("from {node}"));
    let state = match (&status.failure, status.verified_millis, status.behind_millis) {
        (Some(failure), _, _) => format!("FAILS: {failure}"),
        (None, None, _) => "first copy under way".to_owned(),
        (None, Some(_), 0) => "up to date".to_owned(),
        (None, Some(_), behind) => format!("{:.1} s behind", behind as f64 / 1000.0),
    };
    let verified = status
        .verified_millis
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map_or("never".to_owned(), |time| format!("{time:.0}"));
    defused(&format!("{}  {space}  {source}  verified {verified}  {state}", status.username))
}
