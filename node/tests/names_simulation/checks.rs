//! What must hold in each history.

use std::collections::BTreeMap;

use arc_malachitebft_core_types::{NilOrVal, VoteType};
use pyrgos::names::engine::Decision;
use pyrgos::names::message::Message;
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::names::{BlockHash, NameStore, Operation, Username};

use crate::person::{Person, Stage};
use crate::plan::Role;
use crate::world::Site;

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Checks {
    decided: BTreeMap<u64, BlockHash>,
    first_owners: BTreeMap<Username, Owner>,
    votes: BTreeMap<(usize, u64, i64, bool), NilOrVal<BlockHash>>,
    proposals: BTreeMap<(usize, u64, i64), BlockHash>,
}

impl Checks {
    /// No two decisions at a height, and no name with two first owners.
    pub(crate) fn decided(&mut self, at: usize, decision: &Decision) -> Result<(), String> {
        let block = &decision.decided.block;
        let (height, hash) = (block.header.height, block.hash());
        let first = *self.decided.entry(height).or_insert(hash);
        if first != hash {
            return Err(format!("two decisions at height {height}: node {at} has {hash}, another {first}"));
        }
        for operation in &block.operations {
            let Operation::Claim { name, chain, .. } = operation else { continue };
            let owner = &chain.0[0].owner;
            let first = self.first_owners.entry(name.clone()).or_insert_with(|| owner.clone());
            if first != owner {
                return Err(format!("{name} has two first owners"));
            }
        }
        Ok(())
    }

    /// An honest witness does not contradict itself, whatever crashes were between.
    pub(crate) fn sent(&mut self, from: usize, message: &Message) -> Result<(), String> {
        match message {
            Message::Vote(vote) => {
                let key = (from, vote.height.0, vote.round.as_i64(), vote.kind == VoteType::Prevote);
                if *self.votes.entry(key).or_insert(vote.value) != vote.value {
                    return Err(format!("the honest node {from} voted twice: {:?}", vote.message));
                }
            }
            Message::Proposal(proposal) => {
                let (height, round) = (proposal.height.0, proposal.round.as_i64());
                let hash = proposal.value.hash();
                if *self.proposals.entry((from, height, round)).or_insert(hash) != hash {
                    return Err(format!("the honest node {from} proposed twice at height {height}, round {round}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything valid is decided, everywhere, and nothing is lost or stolen.
    pub(crate) fn at_the_end(&self, sites: &[Site], people: &[Person], is_calm: bool) -> Result<(), String> {
        let honest = || sites.iter().enumerate().filter(|(_, site)| site.role == Role::Honest);
        let top = self.decided.keys().next_back().copied().unwrap_or_default();
        for (at, site) in honest() {
            if site.height() != top {
                return Err(format!("the honest node {at} is at height {} and not at {top}", site.height()));
            }
            for (name, owner) in &self.first_owners {
                let Ok(chain) = site.names.chain(name);
                let first = chain.as_ref().map(|chain| &chain.0[0].owner);
                if first != Some(owner) {
                    return Err(format!("node {at} has lost the name {name}, or its first owner"));
                }
            }
        }
        for (number, person) in people.iter().enumerate().filter(|(_, person)| !person.is_thief) {
            let has = self.first_owners.get(&person.name);
            let rightful = people.iter().any(|one| !one.is_thief && has == Some(&one.chain.0[0].owner));
            match person.stage {
                Stage::Done => {}
                Stage::Beaten if rightful || !is_calm => {}
                Stage::Beaten => return Err(format!("the name of person {number} was stolen after its reveal")),
                stage => return Err(format!("person {number} still waits: {stage:?}, height {top}")),
            }
        }
        Ok(())
    }
}
