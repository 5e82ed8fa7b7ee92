//! What a lying witness makes of what its engine wants to say.

use arc_malachitebft_core_types::{NilOrVal, Round, SignedMessage, VoteType};
use pyrgos::names::context::{Candidate, Proposal, SignedProposal, SignedVote, Vote, Witness};
use pyrgos::names::message::Message;
use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::keys::SecretSigningKey;
use pyrgos_protocol::names::{BlockHash, NameBlock, NetworkId, Operation};

use crate::chance::Chance;
use crate::person::Person;
use crate::world::Site;

/// Another message for one receiver, or none.
pub(crate) fn twist(
    message: &Message,
    key: &SecretSigningKey,
    network: &NetworkId,
    site: &Site,
    chance: &mut Chance,
) -> Vec<Message> {
    match message {
        Message::Vote(vote) => (0..chance.index(3)).map(|_| twist_vote(vote, key, network, chance)).collect(),
        Message::Proposal(proposal) => {
            (0..chance.index(3)).filter_map(|_| twist_proposal(proposal, key, network, site, chance)).collect()
        }
        Message::Decided(_) | Message::Polka(_) | Message::Round(_) | Message::Operation(_) => {
            if chance.per_mille(500) { vec![message.clone()] } else { Vec::new() }
        }
    }
}

/// The accomplice's block: what thieves want, and nothing of others' names.
pub(crate) fn favour(
    proposal: &SignedProposal,
    key: &SecretSigningKey,
    network: &NetworkId,
    site: &Site,
    people: &[Person],
) -> Option<Message> {
    let mut proposal: Proposal = proposal.message.clone();
    let header = &proposal.value.block().header;
    let wanted = people.iter().filter(|person| person.is_thief).flat_map(Person::first_steps);
    let proposed = site.engine.state().propose(&site.names, wanted, header.proposer, header.time_millis).ok()?;
    proposal.value = Candidate::from(proposed.block);
    let signature = key.sign(&proposal.sign_bytes(network));
    Some(Message::Proposal(SignedMessage::new(proposal, signature)))
}

fn twist_vote(vote: &SignedVote, key: &SecretSigningKey, network: &NetworkId, chance: &mut Chance) -> Message {
    let mut vote: Vote = vote.message.clone();
    match chance.index(5) {
        0 => vote.value = NilOrVal::Nil,
        1 => vote.value = NilOrVal::Val(BlockHash(sha256(&chance.next().to_le_bytes()))),
        2 => vote.kind = if vote.kind == VoteType::Prevote { VoteType::Precommit } else { VoteType::Prevote },
        3 => vote.round = Round::new(vote.round.as_u32().unwrap_or(0) + chance.index(12) as u32),
        _ => {}
    }
    let signature = if chance.per_mille(50) { [7; 64] } else { key.sign(&vote.sign_bytes(network)) };
    Message::Vote(SignedMessage::new(vote, signature))
}

fn twist_proposal(
    proposal: &SignedProposal,
    key: &SecretSigningKey,
    network: &NetworkId,
    site: &Site,
    chance: &mut Chance,
) -> Option<Message> {
    let mut proposal: Proposal = proposal.message.clone();
    proposal.value = Candidate::from(twist_block(proposal.value.block(), site, chance)?);
    if chance.per_mille(100) {
        proposal.pol_round = Round::new(0);
    }
    proposal.proposer = Witness(key.public());
    let signature = key.sign(&proposal.sign_bytes(network));
    Some(Message::Proposal(SignedMessage::new(proposal, signature)))
}

/// Another block: valid and different, or not valid.
fn twist_block(block: &NameBlock, site: &Site, chance: &mut Chance) -> Option<NameBlock> {
    let mut twisted = block.clone();
    match chance.index(6) {
        // The same.
        0 => {}
        // Valid, with operations of its own.
        1 | 2 => {
            let commit = Operation::Commit { hash: sha256(&chance.next().to_le_bytes()) };
            let time = block.header.time_millis + chance.within(-50..50);
            twisted = site.engine.state().propose(&site.names, [&commit], block.header.proposer, time).ok()?.block;
        }
        // Far in the future.
        3 => twisted.header.time_millis += 3_600_000,
        // Without what was asked for.
        4 => {
            twisted = site
                .engine
                .state()
                .propose(&site.names, [], block.header.proposer, block.header.time_millis)
                .ok()?
                .block;
        }
        // The names of another block.
        _ => twisted.header.open = sha256(b"other"),
    }
    Some(twisted)
}
