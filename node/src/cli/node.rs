//! `pyrgos node`: runs a node until it is told to stop. `pyrgos node collect`: takes back the space of what was deleted.
//! `pyrgos node id`: the node's identifier.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use super::failure::{Failure, Kind};
use super::output::{Output, human_size};
use crate::config::{Config, ConfigError, Settings};
use crate::control::{self, Order, Reply};
use crate::daemon::{self, Daemon, Signals, StartError};
use crate::identity;
use crate::p2p::Host;
use crate::service::clock::{SystemClock, SystemEntropy};
use crate::service::collect::Collected;

/// A node, or what to do with one.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct NodeArgs {
    #[command(subcommand)]
    command: Option<NodeCommand>,
    #[command(flatten)]
    arguments: NodeArguments,
}

/// What to do with a node.
#[derive(Subcommand, Debug)]
enum NodeCommand {
    /// Take back the space of what was deleted, now. Works whether or not the node is running.
    Collect(NodeArguments),
    /// Print the node's identifier: as in addresses, and as in claims. Makes the node's key if there is none yet.
    Id(NodeArguments),
}

/// The settings of a node.
#[derive(Args, Debug)]
pub(super) struct NodeArguments {
    /// Read settings from a TOML file with the names of the flags below; flags and environment come first
    #[arg(long, env = "PYRGOS_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: Settings,
}

impl NodeArguments {
    /// Flags and environment, then the file, then defaults.
    pub(super) fn config(self) -> Result<Config, Failure> {
        let file = self.config.as_deref().map(Settings::from_file).transpose()?.unwrap_or_default();
        Ok(self.settings.or(file).resolve()?)
    }
}

/// Gives an order to the node that runs in its data directory, or carries it out itself where none runs.
pub(super) fn order(config: &Config, order: Order) -> Result<Reply, Failure> {
    let running = control::order(&config.data_dir, &order)
        .map_err(|error| Failure::new(Kind::Unreachable, format!("the running node does not answer: {error}")))?;
    let reply = match running {
        Some(reply) => reply,
        None => {
            let store = daemon::open_store(config)?;
            let service = daemon::service(store, config, Vec::new(), Arc::new(SystemClock), Arc::new(SystemEntropy));
            control::carry_out(&service, order, &AtomicBool::new(false))
        }
    };
    match reply {
        Reply::Failed(why) => Err(Failure::new(Kind::Other, format!("the node refused: {why}"))),
        reply => Ok(reply),
    }
}

/// The node answered another question.
pub(super) fn unexpected() -> Failure {
    Failure::new(Kind::Other, "the running node gave another answer than was asked for; it may be of another version")
}

pub(super) fn run(args: NodeArgs, output: Output) -> Result<(), Failure> {
    match args.command {
        None => serve(args.arguments),
        Some(NodeCommand::Collect(arguments)) => collect(&arguments.config()?, output),
        Some(NodeCommand::Id(arguments)) => id(&arguments.config()?, output),
    }
}

/// Runs the node. Prints one line when it answers.
fn serve(arguments: NodeArguments) -> Result<(), Failure> {
    let config = arguments.config()?;
    harden();
    log("info,libp2p_swarm=warn,libp2p_mdns=warn,arc_malachitebft_core_consensus=error");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Local, format!("cannot start threads: {error}")))?;
    runtime.block_on(async {
        let signals =
            Signals::catch().map_err(|error| Failure::new(Kind::Local, format!("cannot wait for signals: {error}")))?;
        let daemon = Daemon::start(&config).await?;
        // Whoever waits for this reads it through a pipe; a reader that has gone is no reason to stop.
        let _ = tell(&daemon, &mut std::io::stdout().lock());
        daemon.run(signals).await.map_err(|ended| Failure::new(Kind::Local, ended.to_string()).hint("start it again"))
    })
}

/// Says where the node answers.
fn tell(daemon: &Daemon, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "listening on http://{}", daemon.address())?;
    if let Some(gateway) = daemon.gateway() {
        writeln!(out, "published files at http://{gateway}/public/")?;
    }
    for address in daemon.host().map(Host::listening).unwrap_or_default() {
        writeln!(out, "other nodes reach it at {address}")?;
    }
    out.flush()
}

/// Prints who the node is.
fn id(config: &Config, output: Output) -> Result<(), Failure> {
    harden();
    let folder = |error| Failure::new(Kind::Local, format!("cannot make {}: {error}", config.data_dir.display()));
    std::fs::create_dir_all(&config.data_dir).map_err(folder)?;
    let key = identity::load_or_create(&config.data_dir, &SystemEntropy)
        .map_err(|error| Failure::new(Kind::Local, error.to_string()))?;
    let id = identity::server_id(&key.public());
    let name = id.hash().to_base58();
    output.line(format!("{name}\n{id}"), &json!({ "id": name, "cid": id.to_string() }));
    Ok(())
}

/// Lets the node that runs in the data directory collect garbage, or does so itself if none runs.
fn collect(config: &Config, output: Output) -> Result<(), Failure> {
    harden();
    log("error");
    let Reply::Collected(collected) = order(config, Order::Collect)? else { return Err(unexpected()) };
    let Collected { accounts, unchanged, unreadable, blocks, bytes, reclaimed_bytes } = collected;
    let (size, reclaimed) = (human_size(bytes), human_size(reclaimed_bytes));
    let text = format!(
        "{blocks} blocks of {size} deleted, {reclaimed} given back to the disk; \
         {accounts} accounts looked through, {unchanged} unchanged"
    );
    output.line(text, &collected);
    match unreadable {
        0 => Ok(()),
        _ => Err(Failure::new(
            Kind::Other,
            format!("nothing was deleted from {unreadable} accounts that cannot be read"),
        )
        .hint("the log of the node names them and what is wrong")),
    }
}

fn log(level: &str) {
    let filter = EnvFilter::try_from_env("PYRGOS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(is_terminal).with_writer(std::io::stderr).init();
}

/// Files for the owner alone, no core dumps, and panics that say where they happened but not with what: their messages
/// may hold what a call was about.
fn harden() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    crate::native::protect_memory();
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(at) => tracing::error!("panic at {}:{}", at.file(), at.line()),
        None => tracing::error!("panic at an unknown place"),
    }));
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::new(Kind::Usage, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let failure = Failure::new(Kind::Local, error.to_string());
        match &error {
            StartError::Listen { .. } => failure.hint("choose another address with --listen"),
            StartError::Peers(_) => failure.hint("choose other addresses with --p2p-listen and --bootstrap"),
            _ => failure,
        }
    }
}
