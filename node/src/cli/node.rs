//! `pyrgos node`: runs a node until it is told to stop.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::failure::{Failure, Kind};
use crate::config::{ConfigError, Settings};
use crate::control::{self, Order, Reply};
use crate::daemon::{self, Daemon, Signals, StartError};
use crate::service::clock::{SystemClock, SystemEntropy};

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
    pub(super) fn config(self) -> Result<crate::config::Config, Failure> {
        let file = self.config.as_deref().map(Settings::from_file).transpose()?.unwrap_or_default();
        Ok(self.settings.or(file).resolve()?)
    }
}

/// Gives an order to the node that runs in its data directory, or carries it out itself where none runs.
pub(super) fn order(config: &crate::config::Config, order: Order) -> Result<Reply, Failure> {
    let running = control::order(&config.data_dir, &order)
        .map_err(|error| Failure::new(Kind::Unreachable, format!("the running node does not answer: {error}")))?;
    let reply = match running {
        Some(reply) => reply,
        None => {
            let store = daemon::open_store(config)?;
            let service = daemon::service(store, config, Vec::new(), Arc::new(SystemClock), Arc::new(SystemEntropy));
            control::carry_out(&service, order)
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

/// Runs the node. Prints one line when it answers.
pub(super) fn run(arguments: NodeArguments) -> Result<(), Failure> {
    let config = arguments.config()?;
    harden();
    let filter = EnvFilter::try_from_env("PYRGOS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(is_terminal).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Local, format!("cannot start threads: {error}")))?;
    runtime.block_on(async {
        let signals =
            Signals::catch().map_err(|error| Failure::new(Kind::Local, format!("cannot wait for signals: {error}")))?;
        let daemon = Daemon::start(&config).await?;
        println!("listening on http://{}", daemon.address());
        if let Some(gateway) = daemon.gateway() {
            println!("published files at http://{gateway}/public/");
        }
        // Whoever waits for this line reads it through a pipe; a reader that has gone is no reason to stop.
        let _ = std::io::stdout().flush();
        daemon.run(signals).await;
        Ok(())
    })
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
            _ => failure,
        }
    }
}
