//! `pyrgos token`: tokens that let people sign up.

use clap::Subcommand;

use super::failure::Failure;
use super::node::{NodeArguments, order, unexpected};
use super::output::Output;
use crate::control::{Order, Reply};

/// What to do with tokens.
#[derive(Subcommand, Debug)]
pub(super) enum TokenCommand {
    /// Print a new token, which one person can sign up with. Works whether or not the node is running.
    Create(NodeArguments),
}

pub(super) fn run(command: TokenCommand, json: bool) -> Result<(), Failure> {
    let TokenCommand::Create(arguments) = command;
    let Reply::Token(token) = order(&arguments.config()?, Order::CreateToken)? else { return Err(unexpected()) };
    Output { json, quiet: false }.line(&token, &serde_json::json!({ "token": token }));
    Ok(())
}
