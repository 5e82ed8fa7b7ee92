//! `pyrgos names`: the names of the network, as a node of this machine knows them.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use pyrgos_protocol::encoding::{FromCbor, text};
use pyrgos_protocol::names::WitnessSet;
use pyrgos_protocol::names::proof::{MAX_PROOF_BYTES, NameProof};
use serde_json::json;

use super::failure::{Failure, Kind};
use super::node::{NodeArguments, order, unexpected};
use super::output::Output;
use crate::control::{Order, Reply};
use crate::p2p::Network;

/// Longest file with a change of witnesses, in bytes: 64 keys and 64 signatures as digits.
const MAX_CHANGE: u64 = 32 << 10;

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
    /// Write a proof of who owns a name, or that nobody does, which needs no node to be checked
    Prove {
        /// The name
        name: String,
        /// Where to write the proof
        file: PathBuf,
        #[command(flatten)]
        node: Box<NodeArguments>,
    },
    /// Check a proof of a name; asks nobody
    Verify {
        /// The proof
        file: PathBuf,
        /// The network file with the witnesses that you trust
        #[arg(long, value_name = "FILE")]
        network: PathBuf,
    },
    /// Put other nodes in the place of the network's witnesses, together with the operators of the present ones
    ///
    /// The first operator names the nodes; that makes FILE, signed by the first one's node. Each further one is given FILE,
    /// looks at it (without --sign), and signs it. With the signatures of more than two thirds of the present witnesses it
    /// is handed to the network. The network file stays as it is: what its witnesses decided about their successors is what
    /// proofs begin with.
    ChangeWitnesses {
        /// The change, with what was signed so far
        file: PathBuf,
        /// A node that becomes a witness; makes a new FILE
        #[arg(long, value_name = "NODE")]
        add: Vec<String>,
        /// A witness that is to be none any more; makes a new FILE
        #[arg(long, value_name = "NODE")]
        remove: Vec<String>,
        /// Sign what is in FILE with the key of the node of this machine
        #[arg(long, conflicts_with_all = ["add", "remove"])]
        sign: bool,
        #[command(flatten)]
        node: Box<NodeArguments>,
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
        NamesCommand::Prove { name, file, node } => {
            let Reply::Proof(proof) = order(&node.config()?, Order::ProveName { name })? else {
                return Err(unexpected());
            };
            let proof = text::from_hex(&proof).map_err(|_| unexpected())?;
            std::fs::write(&file, &proof)
                .map_err(|error| Failure::new(Kind::Local, format!("cannot write {}: {error}", file.display())))?;
            output.note(format!("{} bytes; pyrgos names verify checks them", proof.len()));
        }
        NamesCommand::ChangeWitnesses { file, add, remove, sign, node } => {
            let is_new = !add.is_empty() || !remove.is_empty();
            // Before the node signs it, which may be all that is missing.
            if is_new && file.exists() {
                return Err(Failure::new(Kind::Usage, format!("{} is there already", file.display()))
                    .hint("a new change needs a new file"));
            }
            let change = if is_new { None } else { Some(read_change(&file)?) };
            let is_signed = is_new || sign;
            let reply = order(&node.config()?, Order::ChangeWitnesses { change, add, remove, is_signed })?;
            let Reply::Change(shown) = reply else { return Err(unexpected()) };
            if is_signed {
                let write = |error| Failure::new(Kind::Local, format!("cannot write {}: {error}", file.display()));
                let mut written = if is_new { std::fs::File::create_new(&file) } else { std::fs::File::create(&file) }
                    .map_err(write)?;
                written.write_all(format!("{}\n", shown.change).as_bytes()).map_err(write)?;
            }
            let mut lines = Vec::new();
            lines.extend(shown.add.iter().map(|node| format!("add     {node}")));
            lines.extend(shown.remove.iter().map(|node| format!("remove  {node}")));
            lines.extend(shown.signed.iter().map(|node| format!("signed  {node}")));
            lines.push(match (shown.is_handed_in, shown.quorum.saturating_sub(shown.signed.len())) {
                (true, _) => "handed to the network; pyrgos names status shows when it is decided".to_owned(),
                (false, 0) => "the node is busy; sign again".to_owned(),
                (false, missing) => format!("{missing} more of the present witnesses have to sign"),
            });
            output.line(lines.join("\n"), &shown);
        }
        NamesCommand::Verify { file, network } => verify(&file, &network, output)?,
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

/// A change of witnesses, in hexadecimal digits.
fn read_change(file: &Path) -> Result<String, Failure> {
    let failure = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Usage, format!("{}: {error}", file.display())).hint("--add and --remove make a new one")
    };
    let mut hex = String::new();
    let opened = std::fs::File::open(file).map_err(|error| failure(&error))?;
    opened.take(MAX_CHANGE).read_to_string(&mut hex).map_err(|error| failure(&error))?;
    Ok(hex.trim().to_owned())
}

/// Checks a proof with nothing but the network file.
fn verify(file: &Path, network: &Path, output: Output) -> Result<(), Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::new(Kind::Usage, error.to_string());
    let forged =
        |error: &dyn std::fmt::Display| Failure::new(Kind::Untrustworthy, format!("{}: {error}", file.display()));
    let network = Network::from_file(network).map_err(|error| usage(&error))?;
    let witnesses = WitnessSet::of_nodes(&network.witnesses).map_err(|error| usage(&error))?;
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(MAX_PROOF_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| usage(&format!("{}: {error}", file.display())))?;
    let proof = NameProof::from_bytes(&bytes).map_err(|error| forged(&error))?;
    let proven = proof.verify(&network.id, &witnesses).map_err(|error| forged(&error))?;
    let made =
        jiff::Timestamp::from_millisecond(proven.time_millis).map_or("?".to_owned(), |time| format!("{time:.0}"));
    let owner = proven.chain.owner().map(ToString::to_string);
    let home = proven.chain.home().map(|home| home.hash().to_base58());
    let text = match (&owner, &home) {
        (Some(owner), Some(home)) => {
            format!(
                "{}\n  owner   {owner}\n  home    {home}\n  block   {}\n  made    {made}",
                proof.username, proven.height
            )
        }
        _ => format!("nobody has the name {}\n  block   {}\n  made    {made}", proof.username, proven.height),
    };
    let (name, block) = (proof.username.as_str(), proven.height);
    let value =
        json!({ "name": name, "owner": owner, "home": home, "block": block, "time_millis": proven.time_millis });
    output.line(text, &value);
    Ok(())
}
