//! `pyrgos peers`: the nodes that the node of this machine is connected with.

use clap::Args;

use super::failure::Failure;
use super::node::{NodeArguments, order, unexpected};
use super::output::{Output, defused};
use crate::control::{Order, Reply};
use crate::p2p::ConnectedPeer;

/// Show the nodes that a node of this machine is connected with
#[derive(Args, Debug)]
pub(super) struct PeersArgs {
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(args: PeersArgs, output: Output) -> Result<(), Failure> {
    let Reply::Peers(peers) = order(&args.node.config()?, Order::Peers)? else { return Err(unexpected()) };
    peers.iter().for_each(|peer| output.line(line(peer), peer));
    if peers.is_empty() {
        output.note("connected with no other node");
    }
    Ok(())
}

/// What others say of themselves must not steer the terminal.
fn line(peer: &ConnectedPeer) -> String {
    let direction = if peer.is_incoming { "in " } else { "out" };
    let round_trip =
        peer.round_trip_micros.map_or("-".to_owned(), |micros| format!("{:.1} ms", micros as f64 / 1000.0));
    let agent = peer.agent.as_deref().unwrap_or("-");
    defused(&format!("{}  {direction}  {round_trip:>9}  {agent}  {}", peer.node, peer.addresses.join(" ")))
}
