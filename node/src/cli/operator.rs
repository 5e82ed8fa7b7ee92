//! `pyrgos operator`: what the operator of a node does for its users, on the machine of the node.

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::Failure;
use super::messages::line;
use super::node::{NodeArguments, order, unexpected};
use super::output::{Output, defused, human_size};
use crate::config::Size;
use crate::control::{Order, Reply};

/// What to do. Works whether or not the node is running.
#[derive(Subcommand, Debug)]
pub(super) enum OperatorCommand {
    /// Show the messages of a user, or who has any
    Messages(MessagesArgs),
    /// Write to a user
    Write(WriteArgs),
    /// Show or change how much space a user may use on this node
    ///
    /// A user whose home is another node needs space here to have the account mirrored with `pyrgos mirror ask`.
    Space(SpaceArgs),
    /// Print the token with which another node of yours mirrors every account of this one
    ///
    /// Whoever has it can copy all blocks, which stay encrypted, and the sealed data that logins need. Existing nodes take
    /// it as `mirror-instance-bat`.
    InstanceToken(InstanceArgs),
}

/// Whose space.
#[derive(Args, Debug)]
pub(super) struct SpaceArgs {
    /// The user
    username: String,
    /// What the user may use from now on, in bytes or with K, M, G, T
    size: Option<Size>,
    #[command(flatten)]
    node: NodeArguments,
}

/// Which token.
#[derive(Args, Debug)]
pub(super) struct InstanceArgs {
    /// Make a new one; the old one opens nothing any more
    #[arg(long)]
    new: bool,
    #[command(flatten)]
    node: NodeArguments,
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
        OperatorCommand::Space(SpaceArgs { username, size, node }) => {
            let bytes = size.map(|Size(bytes)| bytes);
            let reply = order(&node.config()?, Order::Space { username: username.clone(), bytes })?;
            let Reply::Space { used_bytes, limit_bytes } = reply else { return Err(unexpected()) };
            let value = json!({ "username": username, "used_bytes": used_bytes, "limit_bytes": limit_bytes });
            let line = format!("{username}  {} of {}", human_size(used_bytes), human_size(limit_bytes));
            output.line(defused(&line), &value);
        }
        OperatorCommand::InstanceToken(InstanceArgs { new, node }) => {
            let Reply::Token(token) = order(&node.config()?, Order::InstanceBat { is_new: new })? else {
                return Err(unexpected());
            };
            output.line(token.clone(), &json!({ "token": token }));
        }
    }
    Ok(())
}
