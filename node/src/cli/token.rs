//! `pyrgos token`: tokens that let people sign up.

use clap::Subcommand;

use super::failure::{Failure, Kind};
use super::node::NodeArguments;
use super::output::Output;
use crate::control::{self, Order, Reply};
use crate::daemon;
use crate::service::clock::{SystemClock, SystemEntropy};

/// What to do with tokens.
#[derive(Subcommand, Debug)]
pub(super) enum TokenCommand {
    /// Print a new token, which one person can sign up with. Works whether or not the node is running.
    Create(NodeArguments),
}

pub(super) fn run(command: TokenCommand, json: bool) -> Result<(), Failure> {
    let TokenCommand::Create(arguments) = command;
    let token = create(&arguments.config()?)?;
    Output { json, quiet: false }.line(&token, &serde_json::json!({ "token": token }));
    Ok(())
}

fn create(config: &crate::config::Config) -> Result<String, Failure> {
    let running = control::order(&config.data_dir, Order::CreateToken)
        .map_err(|error| Failure::new(Kind::Unreachable, format!("the running node does not answer: {error}")))?;
    match running {
        Some(Reply::Token(token)) => Ok(token),
        Some(Reply::Failed(why)) => Err(Failure::new(Kind::Other, format!("the node made no token: {why}"))),
        None => {
            let store = daemon::open_store(config)?;
            let clock = std::sync::Arc::new(SystemClock);
            let service = daemon::service(store, config, Vec::new(), clock, std::sync::Arc::new(SystemEntropy));
            service.create_token().map_err(|error| Failure::new(Kind::Local, format!("cannot store a token: {error}")))
        }
    }
}
