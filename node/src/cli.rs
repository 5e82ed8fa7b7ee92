//! The command line: what can be asked for, and how it ends.

pub mod failure;
mod node;
pub mod secret;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::EXIT_CODES;

/// A node and a client for the Peergos protocol.
#[derive(Parser, Debug)]
#[command(name = "pyrgos", version, about, after_help = EXIT_CODES)]
struct Arguments {
    /// Print results and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a node
    Node(node::NodeArguments),
    /// Make tokens that let people sign up on a node of this computer
    #[command(subcommand)]
    Token(token::TokenCommand),
}

/// Reads the arguments, does what they say, and gives the process's exit code.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Node(node) => node::run(node),
        Command::Token(token) => token::run(token, arguments.json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(arguments.json),
    }
}
