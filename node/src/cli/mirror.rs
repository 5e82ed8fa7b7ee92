//! `pyrgos mirror`: copies of accounts on other nodes. `create` is the owner's part, the rest that of who runs the mirror.

use std::path::PathBuf;

use clap::Subcommand;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::mirroring::MirrorToken;
use serde_json::json;

use super::failure::{Failure, Kind};
use super::node::{NodeArguments, order, unexpected};
use super::output::{Output, defused, human_size};
use super::secret::{self, PasswordSource};
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
    /// Tell your node and your friends which nodes mirror your account, so that they read there when its home is away
    ///
    /// The list is signed by you and takes the place of the one before. A node's identifier is what `pyrgos node id` shows.
    Announce {
        /// The nodes [default: those that asked the home for your data since it started]
        nodes: Vec<String>,
        /// An empty list: nobody mirrors the account any more
        #[arg(long, conflicts_with = "nodes")]
        none: bool,
    },
    /// Ask the node that you are logged in at to mirror your account, whose home is another node
    ///
    /// Its operator has given you space there (`pyrgos operator space NAME SIZE`). With a node of your own or a friend's,
    /// `create` and `add` do the same.
    Ask {
        /// Copy also the sealed data of logins, which nodes of other kinds give to nobody but you; asks for the password
        #[arg(long)]
        with_login: bool,
        #[command(flatten)]
        password: PasswordSource,
    },
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
        /// The other side: which nodes mirror the account that you are logged in with
        #[arg(long)]
        mine: bool,
        #[command(flatten)]
        node: Box<NodeArguments>,
    },
}

/// Prints the owner's token.
async fn create(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let bat = unlocked.session.mirror_token().await.map_err(fail)?;
    let token = MirrorToken { username: unlocked.session.username().clone(), bat };
    let value = json!({ "username": token.username.as_str(), "token": token.to_text().as_str() });
    global.output().line(token.to_text().as_str(), &value);
    global.output().note("On the other machine: pyrgos mirror add FILE, with this in the file.");
    unlocked.close()
}

impl MirrorCommand {
    /// Whether it is about the account that one is logged in with.
    pub(super) fn needs_session(&self) -> bool {
        matches!(
            self,
            MirrorCommand::Create
                | MirrorCommand::Ask { .. }
                | MirrorCommand::Announce { .. }
                | MirrorCommand::Status { mine: true, .. }
        )
    }
}

/// The owner's commands.
pub(super) async fn run_for_owner(global: &Global, command: MirrorCommand) -> Result<(), Failure> {
    match command {
        MirrorCommand::Create => create(global).await,
        MirrorCommand::Ask { with_login, password } => ask(global, with_login, &password).await,
        MirrorCommand::Announce { nodes, none } => announce(global, &nodes, none).await,
        _ => show_mine(global).await,
    }
}

/// Has the account mirrored by the node that the session talks to.
async fn ask(global: &Global, with_login: bool, password: &PasswordSource) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    unlocked.session.mirror_here().await.map_err(fail)?;
    if with_login {
        let name = defused(unlocked.session.username().as_str());
        unlocked.session.copy_login(&password.existing(&format!("Password for {name}: "))?).await.map_err(fail)?;
    }
    let username = unlocked.session.username().as_str();
    global
        .output()
        .note(format!("{username} is mirrored by this node; pyrgos mirror announce tells friends and other nodes"));
    unlocked.close()
}

async fn announce(global: &Global, nodes: &[String], none: bool) -> Result<(), Failure> {
    let read = |text: &String| {
        let error = |_| Failure::new(Kind::Usage, format!("`{}` is no identifier of a node", defused(text)));
        Cid::from_server_id(text).map_err(error)
    };
    let mut nodes = nodes.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let unlocked = Unlocked::open(global).await?;
    if nodes.is_empty() && !none {
        nodes = unlocked.session.mirrors().await.map_err(fail)?.report.seen.into_iter().map(|seen| seen.node).collect();
        if nodes.is_empty() {
            return Err(Failure::new(Kind::NotFound, "no node has asked for your data since the home started")
                .hint("name the nodes, or --none"));
        }
    }
    unlocked.session.announce_mirrors(&nodes).await.map_err(fail)?;
    let names: Vec<String> = nodes.iter().map(|node| node.hash().to_base58()).collect();
    names.iter().for_each(|node| global.output().line(node.clone(), &json!({ "node": node, "is_announced": true })));
    unlocked.close()
}

/// What the home and the owner's list say about the account's mirrors.
async fn show_mine(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let mirrors = unlocked.session.mirrors().await.map_err(fail)?;
    let announced = mirrors.announced.unwrap_or_default();
    let silent = announced.iter().filter(|node| !mirrors.report.seen.iter().any(|seen| seen.node == **node));
    let silent = silent.map(|node| (node, None));
    let seen = mirrors.report.seen.iter().map(|seen| (&seen.node, Some(seen)));
    let mut is_empty = true;
    for (node, seen) in seen.chain(silent) {
        is_empty = false;
        let (name, is_announced) = (node.hash().to_base58(), announced.contains(node));
        let asked = seen.and_then(|seen| jiff::Timestamp::from_millisecond(seen.asked_millis).ok());
        let asked = asked.map_or("has not asked since the home started".to_owned(), |time| format!("asked {time:.0}"));
        let state = match seen {
            Some(seen) if seen.is_current => "for the newest state",
            Some(_) => "and has not come for the newest state yet",
            None => "",
        };
        let announced = if is_announced { "announced" } else { "not announced" };
        let value = json!({
            "node": name,
            "asked_millis": seen.map(|seen| seen.asked_millis),
            "is_current": seen.is_some_and(|seen| seen.is_current),
            "is_announced": is_announced,
        });
        global.output().line(format!("{name}  {announced}  {asked} {state}").trim_end(), &value);
    }
    if is_empty {
        global.output().note("no node mirrors this account; begin with pyrgos mirror create");
    }
    unlocked.close()
}

pub(super) fn run(command: MirrorCommand, output: Output) -> Result<(), Failure> {
    match command {
        // Those need a session.
        MirrorCommand::Create | MirrorCommand::Ask { .. } | MirrorCommand::Announce { .. } => {}
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
        MirrorCommand::Status { node, .. } => {
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
