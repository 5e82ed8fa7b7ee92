//! `pyrgos operator`: what the operator of a node does for its users, on the machine of the node.

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::Failure;
use super::messages::line;
use super::node::{NodeArguments, order, unexpected};
use super::output::Output;
use crate::control::{Order, Reply};

/// What to do. Works whether or not the node is running.
#[derive(Subcommand, Debug)]
pub(super) enum OperatorCommand {
    /// Show the messages of a user, or who has any
    Messages(MessagesArgs),
    /// Write to a user
    Write(WriteArgs),
}

/// Whose messages to show.
#[derive(Args, Debug)]
pub(super) struct MessagesArgs {
    /// The user; without one, the users who have messages
    username: Option<String>,
    #[command(flatten)]
    node: NodeArguments,
}

/// What to write.
#[derive(Args, Debug)]
pub(super) struct WriteArgs {
    /// The user
    username: String,
    /// The message, at most 4096 characters
    text: String,
    /// The number of the message that this answers
    #[arg(long, value_name = "NUMBER")]
    reply_to: Option<i64>,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(command: OperatorCommand, output: Output) -> Result<(), Failure> {
    match command {
        OperatorCommand::Messages(MessagesArgs { username: None, node }) => {
            let Reply::Users(users) = order(&node.config()?, Order::Conversations)? else { return Err(unexpected()) };
            users.iter().for_each(|username| output.line(username, &json!({ "username": username })));
        }
        OperatorCommand::Messages(MessagesArgs { username: Some(username), node }) => {
            let reply = order(&node.config()?, Order::Messages { username })?;
            let Reply::Messages(messages) = reply else { return Err(unexpected()) };
            messages.iter().for_each(|message| output.line(line(message, "user"), message));
        }
        OperatorCommand::Write(WriteArgs { username, text, reply_to, node }) => {
            let reply = order(&node.config()?, Order::Write { username, text, reply_to })?;
            let Reply::Done = reply else { return Err(unexpected()) };
            output.note("sent");
        }
    }
    Ok(())
}
