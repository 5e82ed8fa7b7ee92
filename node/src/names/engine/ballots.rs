//! Messages that come before their height has begun here.

use std::collections::BTreeMap;

use crate::names::context::Witness;
use crate::names::message::Message;

/// Most votes of one witness that are kept.
const MAX_VOTES: usize = 8;

/// Votes and proposals for the next height and the one after it, whose signatures are good. A witness has room of its own
/// for a few votes and one proposal, so that none can push out another's.
#[derive(Default)]
pub(super) struct Ahead(BTreeMap<u64, BTreeMap<Witness, Kept>>);

#[derive(Default)]
struct Kept {
    proposal: Option<Message>,
    votes: Vec<Message>,
}

impl Ahead {
    /// Keeps a message if there is room.
    pub(super) fn keep(&mut self, height: u64, signer: Witness, message: Message, next_height: u64) {
        self.forget_before(next_height);
        if height > next_height + 1 {
            return;
        }
        let kept = self.0.entry(height).or_default().entry(signer).or_default();
        match message {
            Message::Proposal(_) => drop(kept.proposal.get_or_insert(message)),
            Message::Vote(_) if kept.votes.len() < MAX_VOTES && !kept.votes.contains(&message) => {
                kept.votes.push(message);
            }
            _ => {}
        }
    }

    /// Whether something is there for a height.
    pub(super) fn has(&self, height: u64) -> bool {
        self.0.contains_key(&height)
    }

    /// Takes what is there for a height: proposals first.
    pub(super) fn take(&mut self, height: u64) -> Vec<Message> {
        let kept = self.0.remove(&height).unwrap_or_default();
        let (mut proposals, mut votes) = (Vec::new(), Vec::new());
        for (_, of_one) in kept {
            proposals.extend(of_one.proposal);
            votes.extend(of_one.votes);
        }
        proposals.append(&mut votes);
        proposals
    }

    fn forget_before(&mut self, height: u64) {
        self.0 = self.0.split_off(&height);
    }
}
