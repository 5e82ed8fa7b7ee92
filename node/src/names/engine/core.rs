//! The consensus core and the desk on which its effects land.

// The errors are the core's, as it wants them.
#![allow(clippy::result_large_err)]

use std::collections::HashSet;

use arc_malachitebft_core_consensus::{
    ConsensusMsg, Effect, Error, Input, LivenessMsg, Params, Resumable, Resume, SignedConsensusMsg, State as CoreState,
    process,
};
use arc_malachitebft_core_types::{
    CertificateError, CommitCertificate, NilOrVal, Round, RoundCertificateType, SignedMessage, Timeout, Validator,
    ValuePayload, VoteExtensionPolicy, VoteType,
};
use pyrgos_protocol::keys::{PublicSigningKey, SecretSigningKey};
use pyrgos_protocol::names::{Certificate, NetworkId, State, WitnessSet};

use super::{RecoverError, Settings};
use crate::names::context::{Candidate, Height, NameContext, Signature, Vote, Witness};
use crate::names::message::{Message, PolkaCertificate, Record, RoundCertificate};

/// A change of the core's timers, in the order in which the core wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerChange {
    /// Forget all.
    CancelAll,
    /// Forget one.
    Cancel(Timeout),
    /// Start one, anew if it runs.
    Schedule(Timeout),
}

/// What the core wants done after an input.
#[derive(Default)]
pub(super) struct Effects {
    /// For the journal.
    pub(super) records: Vec<Vec<u8>>,
    /// For all other witnesses.
    pub(super) messages: Vec<Message>,
    /// For the clock.
    pub(super) timers: Vec<TimerChange>,
    /// This node is to propose in this round.
    pub(super) wanted: Option<Round>,
    /// [`Core::decided`] is decided.
    pub(super) decided: Option<Certificate>,
}

/// See the [module](self).
pub(super) struct Core {
    state: CoreState<NameContext>,
    desk: Desk,
}

struct Desk {
    network: NetworkId,
    key: SecretSigningKey,
    effects: Effects,
    /// The signature that was verified last, with what it is over: the engine looks before the core does.
    trusted: Option<(PublicSigningKey, Vec<u8>, Signature)>,
    /// What the journal holds already, while it is read.
    known: HashSet<Vec<u8>>,
}

impl Core {
    pub(super) fn new(settings: &Settings, me: Witness, state: &State) -> Self {
        let context = NameContext { network: settings.network.clone() };
        let params = Params {
            address: me,
            threshold_params: Default::default(),
            // The block travels with the proposal; but the core must hear whether it is valid before it votes.
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let witnesses = state.witnesses().clone().into();
        // The core is given nothing that is for a later height, so it needs no room for that.
        let state = CoreState::new(context, Height(state.height() + 1), witnesses, params, 1, 1);
        let desk = Desk {
            network: settings.network.clone(),
            key: settings.key.clone(),
            effects: Effects::default(),
            trusted: None,
            known: HashSet::new(),
        };
        Core { state, desk }
    }

    /// The round at which the core is.
    pub(super) fn round(&self) -> Round {
        self.state.round()
    }

    /// Who proposes in a round of the present height.
    pub(super) fn proposer(&self, round: Round) -> Witness {
        *self.state.get_proposer(self.state.height(), round)
    }

    /// Whether the proposer of a round has proposed so many blocks already that another is not looked at.
    pub(super) fn is_full(&self, height: Height, round: Round, candidate: &Candidate) -> bool {
        self.state.exceeds_per_round_cap(height, round, &candidate.hash())
    }

    /// The decided block of the present height.
    pub(super) fn decided(&self) -> Option<Candidate> {
        self.state.decided_value().map(|(_, candidate)| candidate)
    }

    /// Verifies a signature of a witness, and remembers it for the core.
    pub(super) fn verify(&mut self, witness: &Witness, message: Vec<u8>, signature: &Signature) -> bool {
        let is_good = witness.0.verify(signature, &message).is_ok();
        if is_good {
            self.desk.trusted = Some((witness.0, message, *signature));
        }
        is_good
    }

    /// Gives the core an input.
    pub(super) fn process(&mut self, input: Input<NameContext>) -> Effects {
        if let Err(error) = self.run(input) {
            tracing::error!(%error, "the consensus core refused an input");
        }
        std::mem::take(&mut self.desk.effects)
    }

    /// Gives the core what the journal holds for a height.
    pub(super) fn replay(
        &mut self,
        height: u64,
        state: &State,
        inputs: Vec<Input<NameContext>>,
        records: &[Vec<u8>],
    ) -> Result<Effects, RecoverError> {
        self.state.index_wal_entries(&inputs);
        self.desk.known = records.iter().cloned().collect();
        let witnesses = state.witnesses().clone().into();
        let start = Input::StartHeight(Height(height), witnesses, true, None, VoteExtensionPolicy::Disabled);
        for input in std::iter::once(start).chain(inputs) {
            match self.run(input) {
                Ok(()) => {}
                Err(error @ Error::ReplayDivergence(..)) => return Err(RecoverError::Divergence(error.to_string())),
                Err(error) => tracing::error!(%error, "the consensus core refused a record of the journal"),
            }
        }
        self.state.reset_entries_index();
        self.desk.known.clear();
        Ok(std::mem::take(&mut self.desk.effects))
    }

    fn run(&mut self, input: Input<NameContext>) -> Result<(), Error<NameContext>> {
        let (state, desk) = (&mut self.state, &mut self.desk);
        process!(input: input, state: state, metrics: &(), with: effect => desk.take(effect))
    }
}

impl Desk {
    fn take(&mut self, effect: Effect<NameContext>) -> Result<Resume<NameContext>, std::convert::Infallible> {
        Ok(match effect {
            Effect::CancelAllTimeouts(resume) => {
                self.effects.timers.push(TimerChange::CancelAll);
                resume.resume_with(())
            }
            Effect::CancelTimeout(timeout, resume) => {
                self.effects.timers.push(TimerChange::Cancel(timeout));
                resume.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, resume) => {
                self.effects.timers.push(TimerChange::Schedule(timeout));
                resume.resume_with(())
            }
            Effect::StartRound(_, _, _, _, resume) => {
                self.effects.wanted = None;
                resume.resume_with(())
            }
            Effect::PublishConsensusMsg(message, resume) => {
                self.effects.messages.push(match message {
                    SignedConsensusMsg::Vote(vote) => Message::Vote(vote),
                    SignedConsensusMsg::Proposal(proposal) => Message::Proposal(proposal),
                });
                resume.resume_with(())
            }
            Effect::PublishLivenessMsg(message, resume) => {
                self.effects.messages.push(match message {
                    LivenessMsg::Vote(vote) => Message::Vote(vote),
                    LivenessMsg::PolkaCertificate(certificate) => Message::Polka(certificate),
                    LivenessMsg::SkipRoundCertificate(certificate) => Message::Round(certificate),
                });
                resume.resume_with(())
            }
            Effect::RepublishVote(vote, resume) => {
                self.effects.messages.push(Message::Vote(vote));
                resume.resume_with(())
            }
            Effect::RepublishRoundCertificate(certificate, resume) => {
                self.effects.messages.push(Message::Round(certificate));
                resume.resume_with(())
            }
            Effect::GetValue(_, round, _, resume) => {
                self.effects.wanted = Some(round);
                resume.resume_with(())
            }
            // A proposal carries its block, so that publishing it again sends the block again.
            Effect::RestreamProposal(_, _, _, _, _, resume) => resume.resume_with(()),
            // Blocks that others have decided do not go through the core.
            Effect::CertVerifiedSyncValue(_, _, resume) => resume.resume_with(()),
            Effect::CertRejectedSyncValue(_, _, _, resume) => resume.resume_with(()),
            Effect::Decide(certificate, _, resume) => {
                self.effects.decided = Some(certificate_of(&certificate));
                resume.resume_with(())
            }
            Effect::Finalize(_, _, evidence, resume) => {
                for liar in evidence.votes.iter() {
                    tracing::warn!(witness = %liar.0, "a witness voted twice in one round");
                }
                for liar in evidence.proposals.iter() {
                    tracing::warn!(witness = %liar.0, "a witness proposed two blocks in one round");
                }
                resume.resume_with(())
            }
            Effect::SignVote(vote, resume) => {
                let signature = self.sign(&vote.sign_bytes(&self.network));
                resume.resume_with(SignedMessage::new(vote, signature))
            }
            Effect::SignProposal(proposal, resume) => {
                let signature = self.sign(&proposal.sign_bytes(&self.network));
                resume.resume_with(SignedMessage::new(proposal, signature))
            }
            Effect::VerifySignature(signed, key, resume) => {
                let message = match &signed.message {
                    ConsensusMsg::Vote(vote) => vote.sign_bytes(&self.network),
                    ConsensusMsg::Proposal(proposal) => proposal.sign_bytes(&self.network),
                };
                resume.resume_with(self.verifies(&key, message, &signed.signature))
            }
            Effect::VerifyCommitCertificate(certificate, witnesses, _, resume) => {
                let proof = certificate_of(&certificate);
                let is_good = proof.signatures.are_quorum(witnesses.set(), &proof.sign_bytes(&self.network));
                resume.resume_with(if is_good { Ok(()) } else { Err(CertificateError::VerificationError(None)) })
            }
            Effect::VerifyExtendedCommitCertificate(_, _, _, _, resume) => {
                resume.resume_with(Err(CertificateError::VerificationError(None)))
            }
            Effect::VerifyPolkaCertificate(certificate, witnesses, _, resume) => {
                resume.resume_with(self.check_polka(&certificate, witnesses.set()))
            }
            Effect::VerifyRoundCertificate(certificate, witnesses, _, resume) => {
                resume.resume_with(self.check_round(&certificate, witnesses.set()))
            }
            Effect::WalAppend(height, input, resume) => {
                let record = Record { height: height.0, input };
                if let Some(bytes) = record.to_bytes().filter(|bytes| !self.known.contains(bytes)) {
                    self.effects.records.push(bytes);
                }
                resume.resume_with(())
            }
            // Extensions are off.
            Effect::ExtendVote(_, _, _, _, resume) => resume.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, _, resume) => resume.resume_with(Ok(())),
        })
    }

    fn sign(&mut self, message: &[u8]) -> Signature {
        let signature = self.key.sign(message);
        self.trusted = Some((self.key.public(), message.to_vec(), signature));
        signature
    }

    fn verifies(&self, key: &PublicSigningKey, message: Vec<u8>, signature: &Signature) -> bool {
        self.trusted.as_ref().is_some_and(|(by, over, good)| (by, over, good) == (key, &message, signature))
            || key.verify(signature, &message).is_ok()
    }

    /// Each vote is by another witness and signed, and they are at least `needed`.
    fn check_votes(
        &self,
        votes: impl Iterator<Item = (Vote, Signature)>,
        witnesses: &WitnessSet,
        needed: usize,
    ) -> Result<(), CertificateError<NameContext>> {
        let mut voters = HashSet::new();
        for (vote, signature) in votes {
            if !witnesses.contains(&vote.voter.0) {
                return Err(CertificateError::UnknownValidator(vote.voter));
            }
            if !voters.insert(*vote.voter.0.as_bytes()) {
                return Err(CertificateError::DuplicateVote(vote.voter));
            }
            if vote.voter.0.verify(&signature, &vote.sign_bytes(&self.network)).is_err() {
                return Err(CertificateError::VerificationError(None));
            }
        }
        if voters.len() < needed {
            let (signed, total) = (voters.len() as u64, witnesses.keys().len() as u64);
            return Err(CertificateError::NotEnoughVotingPower { signed, total, expected: needed as u64 });
        }
        Ok(())
    }

    fn check_polka(
        &self,
        certificate: &PolkaCertificate,
        witnesses: &WitnessSet,
    ) -> Result<(), CertificateError<NameContext>> {
        let votes = certificate.polka_signatures.iter().map(|one| {
            let (height, round, value) = (certificate.height, certificate.round, NilOrVal::Val(certificate.value_id));
            (Vote { height, round, kind: VoteType::Prevote, value, voter: one.address }, one.signature)
        });
        self.check_votes(votes, witnesses, witnesses.quorum())
    }

    fn check_round(
        &self,
        certificate: &RoundCertificate,
        witnesses: &WitnessSet,
    ) -> Result<(), CertificateError<NameContext>> {
        let needed = match certificate.cert_type {
            RoundCertificateType::Skip => witnesses.faulty() + 1,
            RoundCertificateType::Precommit => {
                if let Some(one) = certificate.round_signatures.iter().find(|one| one.vote_type == VoteType::Prevote) {
                    return Err(CertificateError::InvalidVoteType(one.address));
                }
                witnesses.quorum()
            }
        };
        let votes = certificate.round_signatures.iter().map(|one| {
            let (height, round) = (certificate.height, certificate.round);
            (Vote { height, round, kind: one.vote_type, value: one.value_id, voter: one.address }, one.signature)
        });
        self.check_votes(votes, witnesses, needed)
    }
}

/// The proof of a decision as everybody knows it.
fn certificate_of(certificate: &CommitCertificate<NameContext>) -> Certificate {
    Certificate {
        height: certificate.height.0,
        round: certificate.round.as_u32().unwrap_or_default(),
        block: certificate.value_id,
        signatures: certificate
            .commit_signatures
            .iter()
            .map(|one| (*one.address.public_key(), one.signature))
            .collect(),
    }
}
