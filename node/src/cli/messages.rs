//! `pyrgos messages`: writing with the operator of the server.

use clap::{Args, Subcommand};
use pyrgos_protocol::client::ClientError;
use pyrgos_protocol::social::message::MessageKind;

use super::failure::{Failure, Kind};
use super::output::{local_time, printable};
use super::session::{Global, Unlocked, fail};
use crate::control::Message;

/// Read what the operator of the server wrote, and write to them
///
/// The operator can read these messages; nothing else of yours.
#[derive(Args, Debug)]
pub struct MessagesArgs {
    #[command(subcommand)]
    command: Option<MessagesCommand>,
}

/// What to do; without it, list.
#[derive(Subcommand, Debug)]
enum MessagesCommand {
    /// Show the conversations in which the operator had the last word
    List,
    /// Write to the operator
    Write {
        /// The message, at most 4096 characters
        text: String,
        /// The number of the message that this answers
        #[arg(long, value_name = "NUMBER")]
        reply_to: Option<i64>,
    },
    /// Put a message away, with the conversation that it ends
    Dismiss {
        /// The number of the message
        number: i64,
    },
}

/// A message for people. Its text comes from somebody else, and may have several lines.
pub(super) fn line(message: &Message, user: &str) -> String {
    let who = if message.from_user { user } else { "operator" };
    let time = local_time(message.sent_millis.div_euclid(1000), 0);
    let text: Vec<String> = message.text.lines().map(printable).collect();
    format!("{:>4}  {time}  {who:<8}  {}", message.id, text.join("\n      "))
}

fn about_message(error: ClientError) -> Failure {
    match &error {
        ClientError::NoMessage { .. } => {
            Failure::new(Kind::NotFound, error.to_string()).hint("see `pyrgos messages` for the numbers")
        }
        _ => fail(error),
    }
}

/// Lists, writes, puts away.
pub async fn run(global: &Global, args: MessagesArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let output = global.output();
    match args.command.unwrap_or(MessagesCommand::List) {
        MessagesCommand::List => {
            let messages = unlocked.session.messages().await.map_err(fail)?;
            for message in messages.iter().filter(|message| message.kind != MessageKind::Dismiss) {
                let message = Message::from(message);
                output.line(line(&message, "you"), &message);
            }
        }
        MessagesCommand::Write { text, reply_to } => {
            unlocked.session.write_to_operator(text, reply_to).await.map_err(about_message)?;
            output.note("sent");
        }
        MessagesCommand::Dismiss { number } => {
            unlocked.session.dismiss_message(number).await.map_err(about_message)?;
            output.note("put away");
        }
    }
    unlocked.close()
}
