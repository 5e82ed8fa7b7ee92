//! `pyrgos names`: the names of the network, as a node of this machine knows them.

use clap::Subcommand;

use super::failure::Failure;
use super::node::{NodeArguments, order, unexpected};
use super::output::Output;
use crate::control::{Order, Reply};

/// What to do with names.
#[derive(Subcommand, Debug)]
pub(super) enum NamesCommand {
    /// List names
    Ls {
        /// Only those that begin with this
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        node: NodeArguments,
    },
    /// Show who owns a name, and where its data are
    Show {
        /// The name
        name: String,
        #[command(flatten)]
        node: NodeArguments,
    },
    /// Show how many blocks of names the network has decided, and who decides
    Status {
        #[command(flatten)]
        node: NodeArguments,
    },
}

pub(super) fn run(command: NamesCommand, output: Output) -> Result<(), Failure> {
    match command {
        NamesCommand::Ls { prefix, node } => {
            let Reply::Users(names) = order(&node.config()?, Order::Names { prefix })? else {
                return Err(unexpected());
            };
            names.iter().for_each(|name| output.line(name, name));
        }
        NamesCommand::Show { name, node } => {
            let Reply::Name(record) = order(&node.config()?, Order::Name { name })? else { return Err(unexpected()) };
            let text = format!(
                "{}\n  owner   {}\n  home    {}\n  expires {}\n  owners  {}",
                record.name, record.owner, record.home, record.expiry, record.owners
            );
            output.line(text, &record);
        }
        NamesCommand::Status { node } => {
            let Reply::NamesStatus(status) = order(&node.config()?, Order::NamesStatus)? else {
                return Err(unexpected());
            };
            let mut text = format!(
                "network   {}\nblocks    {}\nlast      {}\nroot      {}\n",
                status.network, status.height, status.last, status.root
            );
            for witness in &status.witnesses {
                text.push_str(&format!("witness   {witness}\n"));
            }
            text.push_str(match (status.is_witness, status.round) {
                (true, Some(_)) => "this node is a witness, and a block is being decided",
                (true, None) => "this node is a witness, and nothing waits",
                (false, _) => "this node follows",
            });
            if let Some(failure) = &status.failure {
                text.push_str(&format!("\nIT TAKES NO PART ANY MORE: {failure}"));
            }
            output.line(text, &status);
        }
    }
    Ok(())
}
