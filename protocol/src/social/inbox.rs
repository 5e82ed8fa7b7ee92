//! What the requests in an inbox mean, and what each of them asks the client to do (`spec/05` §3.6).
//!
//! Decisions only: [`Inbox::sort`] tells answers to our own requests from new ones, [`Effects`] lists the steps in the
//! order in which they must be taken. Each step may be repeated, so a client that was interrupted starts again.

use std::collections::BTreeSet;

use super::follow::{Answer, FollowRequest, ReceivedFollowRequest};
use super::group::GroupKind;
use crate::login::EntryPoint;
use crate::names::Username;

/// The requests of an inbox by what they mean.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Inbox {
    /// Answers to our own first requests, in order of arrival.
    pub answers: Vec<ReceivedFollowRequest>,
    /// First requests, which the user has to decide about.
    pub first: Vec<ReceivedFollowRequest>,
    /// The rest: those who follow us already, and those who claim to be us. They stay in the inbox.
    pub ignored: Vec<ReceivedFollowRequest>,
}

impl Inbox {
    /// Sorts opened requests. `pending` are those whom we asked, `directories` those for whom we have a sharing
    /// directory, pending ones included.
    pub fn sort(
        requests: Vec<ReceivedFollowRequest>,
        us: &Username,
        pending: &BTreeSet<Username>,
        directories: &BTreeSet<Username>,
    ) -> Self {
        let mut inbox = Inbox::default();
        for received in requests {
            let sender = received.request.sender();
            if sender == us {
                inbox.ignored.push(received);
            } else if pending.contains(sender) {
                inbox.answers.push(received);
            } else if !directories.contains(sender) {
                inbox.first.push(received);
            } else {
                inbox.ignored.push(received);
            }
        }
        inbox
    }
}

/// What a client does about an answer that it received, or about a first request that it answers. In the order of the
/// fields; what comes last is always to take the request out of the inbox.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Effects {
    /// Make the sharing directory for the other side if it does not exist, with random keys. The reference takes the read
    /// base key that the request asks for, which nobody relies on; a key that somebody else chose is none of ours.
    pub make_directory: bool,
    /// Delete the sharing directory for the other side, with its content.
    pub delete_directory: bool,
    /// Grant reading the directories of these groups.
    pub share_groups: Vec<GroupKind>,
    /// Send this answer.
    pub send: Option<Answer>,
    /// Check that the named user owns it, then append it to the friends' entry points.
    pub add_entry: Option<EntryPoint>,
    /// Take the name out of the pending set.
    pub forget_pending: bool,
}

impl Effects {
    /// What answering a first request asks for.
    pub fn of_answering(first: &FollowRequest, answer: Answer) -> Self {
        Effects {
            make_directory: answer.accepts(),
            share_groups: match answer {
                Answer::Accept => vec![GroupKind::Followers],
                Answer::AcceptAndReciprocate => vec![GroupKind::Followers, GroupKind::Friends],
                Answer::Deny | Answer::ReciprocateOnly => Vec::new(),
            },
            send: Some(answer),
            add_entry: first.entry().filter(|_| answer.reciprocates()).cloned(),
            ..Effects::default()
        }
    }

    /// What a received answer asks for. The pending name is forgotten in every case: the reference keeps it after
    /// "reciprocate only" and shows a follower as pending for ever (`spec/05` §15).
    pub fn of_received(answer: &FollowRequest) -> Self {
        let kind = answer.as_answer();
        Effects {
            delete_directory: !kind.reciprocates(),
            share_groups: match kind {
                Answer::ReciprocateOnly => vec![GroupKind::Followers],
                Answer::AcceptAndReciprocate => vec![GroupKind::Followers, GroupKind::Friends],
                Answer::Deny | Answer::Accept => Vec::new(),
            },
            add_entry: answer.entry().cloned(),
            forget_pending: true,
            ..Effects::default()
        }
    }
}
