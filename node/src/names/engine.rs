//! The engine: what a witness does, and what a node does that follows witnesses.
//!
//! Messages, operations and timers go in; messages, records for the journal, timers and decisions come out. It has no
//! socket, no disk and no clock of its own, so that a simulation drives it exactly as a node does. Whoever drives it keeps
//! to three things, on which safety rests:
//!
//! 1. The records of a [`Step`] are on the disk before any of its messages is sent.
//! 2. A decision is on the disk, block and names in one write, before the next call; then the journal may be cleared.
//! 3. After a crash the engine starts with the last state on the disk and [`Engine::recover`]s from the journal.
//!
//! Nothing is decided while nothing is asked: a height begins when an operation waits, when an open commitment has to
//! become older, or when another witness has begun it.

mod ballots;
mod core;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use arc_malachitebft_core_consensus::{Input as CoreInput, LocallyProposedValue, ProposedValue};
use arc_malachitebft_core_types::{LinearTimeouts, Round, Timeout, Validity, ValueOrigin, VoteExtensionPolicy};
use pyrgos_protocol::encoding::ToCbor;
use pyrgos_protocol::keys::SecretSigningKey;
use pyrgos_protocol::names::block::MAX_CLOCK_DRIFT_MILLIS;
use pyrgos_protocol::names::rules::OperationError;
use pyrgos_protocol::names::state::{Applied, StateError};
use pyrgos_protocol::names::{DecidedBlock, NameBlock, NameStore, NetworkId, Operation, OperationId, State};

use self::core::{Core, Effects, TimerChange};
use super::context::{Candidate, Height, NameContext, Proposal, SignedProposal, Witness};
use super::mempool::{Mempool, Origin};
use super::message::{Message, Record};

/// How long a proposer waits for operations before it proposes an empty block, and how far apart empty blocks are.
pub const EMPTY_BLOCK_WAIT: Duration = Duration::from_millis(100);
/// How often an operation of this node is sent again until it is decided.
pub const RESEND_EVERY: Duration = Duration::from_secs(3);
/// Most bytes of operations in a block of this witness. Gossip carries 64 KiB, and a certificate has to fit, too.
pub const MAX_PROPOSED_BYTES: usize = 48 << 10;
/// How often the same decided block is sent again because somebody seems to have missed it, in milliseconds.
const REPEAT_MILLIS: i64 = 500;

/// Who the engine is and how patient.
#[derive(Clone)]
pub struct Settings {
    /// The network.
    pub network: NetworkId,
    /// The node's key. Only a witness's is used.
    pub key: SecretSigningKey,
    /// How long the core waits for proposals and votes.
    pub timeouts: LinearTimeouts,
}

impl Settings {
    /// Timeouts that let a quorum on other continents decide, and a sign-up survive a dead proposer or two within its
    /// minute (`spec/06` §12.4).
    pub fn new(network: NetworkId, key: SecretSigningKey) -> Self {
        let timeouts = LinearTimeouts {
            propose: Duration::from_millis(1500),
            propose_delta: Duration::from_millis(500),
            prevote: Duration::from_millis(700),
            prevote_delta: Duration::from_millis(300),
            precommit: Duration::from_millis(700),
            precommit_delta: Duration::from_millis(300),
            rebroadcast: Duration::from_millis(1000),
            max_timeout: Duration::from_secs(10),
        };
        Settings { network, key, timeouts }
    }
}

/// What happens to the engine.
// Made and taken apart at once, one at a time.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Input {
    /// Another node says something.
    Message(Message),
    /// This node wants an operation decided.
    Submit(Operation),
    /// The time of an [`Output::Wake`] has come.
    Wake(WakeId),
}

/// Names a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WakeId(u64);

/// What the engine wants done.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Output {
    /// Tell all other nodes.
    Send(Message),
    /// Come back with [`Input::Wake`] after this time.
    Wake(WakeId, Duration),
    /// A block is decided. To be kept before anything else is told to the engine.
    Decided(Box<Decision>),
    /// An operation of this node is not valid, or no longer.
    Refused(OperationId, String),
    /// Others are ahead, at least at this height: the blocks before it should be fetched.
    Behind(u64),
    /// Somebody has missed the block at this height: it should be sent again.
    Repeat(u64),
}

/// A decided block and what it changes.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The block and its certificate.
    pub decided: DecidedBlock,
    /// The state after it, and the changed names.
    pub applied: Applied,
}

/// What a call leads to.
#[derive(Debug, Default)]
#[must_use]
pub struct Step {
    /// Records for the journal, to be on the disk before anything in `outputs` is done.
    pub records: Vec<Vec<u8>>,
    /// To be done in this order.
    pub outputs: Vec<Output>,
}

/// The journal does not fit the engine: it must not vote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// A record that no engine wrote.
    #[error("the journal of votes holds something that is no record")]
    Record,
    /// The core came to another vote than the one on the disk.
    #[error("the journal of votes disagrees with what follows from it: {0}")]
    Divergence(String),
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Core(Timeout),
    Begin,
    ProposeEmpty(Round),
    Resend,
}

/// See the [module](self).
pub struct Engine {
    settings: Settings,
    me: Witness,
    state: State,
    core: Core,
    /// Whether the core works on the next height.
    begun: bool,
    /// Whether another witness has begun it.
    called: bool,
    mempool: Mempool,
    ahead: ballots::Ahead,
    timers: BTreeMap<WakeId, Timer>,
    next_timer: u64,
    /// The last block that was found valid at this height, so that it is not applied twice.
    checked: Option<(Candidate, Applied)>,
    repeated: (u64, i64),
}

impl Engine {
    /// An engine that goes on from a state. Whatever the journal holds goes to [`Engine::recover`] first of all.
    pub fn new(settings: Settings, state: State) -> Self {
        let me = Witness(settings.key.public());
        let core = Core::new(&settings, me, &state);
        Engine {
            me,
            core,
            state,
            settings,
            begun: false,
            called: false,
            mempool: Mempool::default(),
            ahead: ballots::Ahead::default(),
            timers: BTreeMap::new(),
            next_timer: 0,
            checked: None,
            repeated: (0, 0),
        }
    }

    /// The state after the last decided block.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether this node is one of the witnesses that decide the next block.
    pub fn is_witness(&self) -> bool {
        self.state.witnesses().contains(&self.me.0)
    }

    /// The round of the height that is being decided, if one is.
    pub fn round(&self) -> Option<u32> {
        self.begun.then(|| self.core.round().as_u32()).flatten()
    }

    /// Whether an operation waits here.
    pub fn is_waiting_for(&self, id: &OperationId) -> bool {
        self.mempool.contains(id)
    }

    /// Goes on where the journal ends. Records of other heights are passed over: they are decided.
    ///
    /// # Errors
    /// [`RecoverError`]; the node must not take part then.
    pub fn recover<S: NameStore>(
        &mut self,
        store: &S,
        now_millis: i64,
        records: &[Vec<u8>],
    ) -> Result<Step, RecoverError> {
        let mut step = Step::default();
        let mut inputs = Vec::new();
        for bytes in records {
            let record = Record::from_bytes(bytes).map_err(|_| RecoverError::Record)?;
            if record.height == self.next_height() {
                inputs.push(record.input);
            }
        }
        if !inputs.is_empty() && self.is_witness() {
            self.begun = true;
            let effects = self.core.replay(self.next_height(), &self.state, inputs, records)?;
            self.settle(store, now_millis, effects, &mut step);
        }
        self.begin_if_wanted(store, now_millis, &mut step);
        Ok(step)
    }

    /// Takes one input.
    pub fn handle<S: NameStore>(&mut self, store: &S, now_millis: i64, input: Input) -> Step {
        let mut step = Step::default();
        match input {
            Input::Message(message) => self.on_message(store, now_millis, message, &mut step),
            Input::Submit(operation) => self.on_submit(store, now_millis, operation, &mut step),
            Input::Wake(id) => self.on_wake(store, now_millis, id, &mut step),
        }
        self.begin_if_wanted(store, now_millis, &mut step);
        step
    }

    fn next_height(&self) -> u64 {
        self.state.height() + 1
    }

    fn on_submit<S: NameStore>(&mut self, store: &S, now_millis: i64, operation: Operation, step: &mut Step) {
        let id = operation.id();
        match self.state.check(store, &operation) {
            Ok(Err(cause)) if !cause.is_early() => {
                step.outputs.push(Output::Refused(id, cause.to_string()));
                return;
            }
            Ok(_) => {}
            Err(error) => {
                step.outputs.push(Output::Refused(id, store_failure(&error).to_owned()));
                return;
            }
        }
        if !self.mempool.add(operation.clone(), Origin::Ours, now_millis) && !self.mempool.contains(&id) {
            step.outputs.push(Output::Refused(id, "too many operations wait already".to_owned()));
            return;
        }
        step.outputs.push(Output::Send(Message::Operation(operation)));
        if !self.timers.values().any(|timer| *timer == Timer::Resend) {
            self.wake_after(Timer::Resend, RESEND_EVERY, step);
        }
    }

    fn on_wake<S: NameStore>(&mut self, store: &S, now_millis: i64, id: WakeId, step: &mut Step) {
        match self.timers.remove(&id) {
            Some(Timer::Core(timeout)) => self.feed(store, now_millis, CoreInput::TimeoutElapsed(timeout), step),
            Some(Timer::ProposeEmpty(round)) => self.propose(store, now_millis, round, true, step),
            Some(Timer::Resend) => {
                self.mempool.expire(now_millis);
                step.outputs.extend(self.mempool.ours().cloned().map(|own| Output::Send(Message::Operation(own))));
                if self.mempool.ours().next().is_some() {
                    self.wake_after(Timer::Resend, RESEND_EVERY, step);
                }
            }
            Some(Timer::Begin) if !self.begun && self.is_witness() && self.state.is_waiting() => {
                self.begin(store, now_millis, step);
            }
            // Cancelled meanwhile, or of a height that is over.
            Some(Timer::Begin) | None => {}
        }
    }

    fn on_message<S: NameStore>(&mut self, store: &S, now_millis: i64, message: Message, step: &mut Step) {
        match message {
            Message::Operation(operation) => {
                if self.is_witness() && self.may_become_valid(store, &operation) {
                    self.mempool.expire(now_millis);
                    self.mempool.add(operation, Origin::Others, now_millis);
                }
            }
            Message::Decided(decided) => self.on_decided(store, now_millis, decided, step),
            ballot => self.on_ballot(store, now_millis, ballot, step),
        }
    }

    /// Whether an operation is valid, or comes before a block that this node does not have yet.
    fn may_become_valid<S: NameStore>(&self, store: &S, operation: &Operation) -> bool {
        match self.state.check(store, operation) {
            Ok(Ok(()) | Err(OperationError::Uncommitted)) => true,
            Ok(Err(cause)) => cause.is_early(),
            Err(_) => false,
        }
    }

    /// A block that others have decided.
    fn on_decided<S: NameStore>(&mut self, store: &S, now_millis: i64, decided: DecidedBlock, step: &mut Step) {
        let height = decided.block.header.height;
        if height > self.next_height() {
            if decided.verify(&self.settings.network, self.state.witnesses()).is_ok() {
                step.outputs.push(Output::Behind(height));
            }
            return;
        }
        if height < self.next_height() || decided.verify(&self.settings.network, self.state.witnesses()).is_err() {
            return;
        }
        match self.apply(store, &Candidate::from(decided.block.clone())) {
            Ok(applied) => self.finish(Decision { decided, applied }, now_millis, step),
            // More than a third of the witnesses broke the rules, or this node's store is broken: no way to go on.
            Err(error) => tracing::error!(height, %error, "a decided block of names cannot be applied"),
        }
    }

    /// A proposal, a vote or a certificate.
    fn on_ballot<S: NameStore>(&mut self, store: &S, now_millis: i64, ballot: Message, step: &mut Step) {
        let network = &self.settings.network;
        let (height, signer, signed, signature) = match &ballot {
            Message::Vote(vote) => (vote.height.0, vote.voter, vote.sign_bytes(network), vote.signature),
            Message::Proposal(one) => (one.height.0, one.proposer, one.sign_bytes(network), one.signature),
            // Certificates are made of votes that come again if they are missed. Only the core can check them.
            Message::Polka(_) | Message::Round(_) if self.begun => return self.count(store, now_millis, ballot, step),
            _ => return,
        };
        if signer == self.me
            || !self.state.witnesses().contains(&signer.0)
            || !self.core.verify(&signer, signed, &signature)
        {
            return;
        }
        if height < self.next_height() {
            return self.repeat(height, now_millis, step);
        }
        if height > self.next_height() {
            step.outputs.push(Output::Behind(height));
        }
        if !self.is_witness() {
            return;
        }
        if self.begun && height == self.next_height() {
            return self.count(store, now_millis, ballot, step);
        }
        self.called |= height == self.next_height();
        self.ahead.keep(height, signer, ballot, self.next_height());
    }

    /// Gives a message of the present height to the core.
    fn count<S: NameStore>(&mut self, store: &S, now_millis: i64, ballot: Message, step: &mut Step) {
        match ballot {
            Message::Vote(vote) => self.feed(store, now_millis, CoreInput::Vote(vote), step),
            Message::Polka(certificate) => {
                self.feed(store, now_millis, CoreInput::PolkaCertificate(certificate), step);
            }
            Message::Round(certificate) => {
                self.feed(store, now_millis, CoreInput::RoundCertificate(certificate), step);
            }
            Message::Proposal(proposal) => self.on_proposal(store, now_millis, proposal, step),
            Message::Operation(_) | Message::Decided(_) => {}
        }
    }

    fn on_proposal<S: NameStore>(&mut self, store: &S, now_millis: i64, signed: SignedProposal, step: &mut Step) {
        let Proposal { height, round, ref value, pol_round, proposer } = signed.message;
        // Without these two a lying witness could make this node look at any number of blocks.
        if self.core.proposer(round) != proposer || self.core.is_full(height, round, value) {
            return;
        }
        let validity = match self.examine(store, now_millis, &signed.message) {
            Ok(validity) => validity,
            Err(error) => {
                tracing::error!(%error, "cannot examine a proposed block of names");
                return;
            }
        };
        let seen = ProposedValue { height, round, valid_round: pol_round, proposer, value: value.clone(), validity };
        self.feed(store, now_millis, CoreInput::Proposal(signed), step);
        if self.begun && height.0 == self.next_height() {
            self.feed(store, now_millis, CoreInput::ProposedValue(seen, ValueOrigin::Consensus), step);
        }
    }

    /// Whether this node may vote for a block: what the rules say, and what they cannot know.
    fn examine<S: NameStore>(
        &mut self,
        store: &S,
        now_millis: i64,
        proposal: &Proposal,
    ) -> Result<Validity, StateError<S::Error>> {
        let header = &proposal.value.block().header;
        // A block that comes again after a round with a quorum of first votes is still its first proposer's. Whether there
        // was such a round is the core's matter.
        let is_own = proposal.pol_round.is_defined() || header.proposer == proposal.proposer.0;
        if !is_own || header.time_millis > now_millis.saturating_add(MAX_CLOCK_DRIFT_MILLIS) {
            return Ok(Validity::Invalid);
        }
        match self.apply(store, &proposal.value) {
            Ok(_) => Ok(Validity::Valid),
            Err(StateError::Block(cause)) => {
                tracing::warn!(%cause, proposer = %proposal.proposer, "a witness proposed a block that is not valid");
                Ok(Validity::Invalid)
            }
            Err(error) => Err(error),
        }
    }

    fn apply<S: NameStore>(&mut self, store: &S, candidate: &Candidate) -> Result<Applied, StateError<S::Error>> {
        if let Some((_, applied)) = self.checked.as_ref().filter(|(known, _)| known == candidate) {
            return Ok(applied.clone());
        }
        let applied = self.state.apply(store, candidate.block())?;
        self.checked = Some((candidate.clone(), applied.clone()));
        Ok(applied)
    }

    fn repeat(&mut self, height: u64, now_millis: i64, step: &mut Step) {
        let (last, at) = self.repeated;
        if last != height || now_millis.saturating_sub(at) >= REPEAT_MILLIS {
            self.repeated = (height, now_millis);
            step.outputs.push(Output::Repeat(height));
        }
    }

    /// Begins the next height if there is something to decide.
    fn begin_if_wanted<S: NameStore>(&mut self, store: &S, now_millis: i64, step: &mut Step) {
        if self.begun || !self.is_witness() {
            return;
        }
        let is_wanted = self.called || !self.mempool.is_empty();
        // What was decided in this step has to be kept before the next block is looked at.
        let is_kept = !step.outputs.iter().any(|output| matches!(output, Output::Decided(_)));
        if is_wanted && is_kept {
            self.begin(store, now_millis, step);
            self.begin_if_wanted(store, now_millis, step);
        } else if (is_wanted || self.state.is_waiting()) && !self.timers.values().any(|timer| *timer == Timer::Begin) {
            self.wake_after(Timer::Begin, if is_wanted { Duration::ZERO } else { EMPTY_BLOCK_WAIT }, step);
        }
    }

    fn begin<S: NameStore>(&mut self, store: &S, now_millis: i64, step: &mut Step) {
        self.begun = true;
        let height = self.next_height();
        let witnesses = self.state.witnesses().clone().into();
        let policy = VoteExtensionPolicy::Disabled;
        self.feed(store, now_millis, CoreInput::StartHeight(Height(height), witnesses, false, None, policy), step);
        for ballot in self.ahead.take(height) {
            if self.begun && height == self.next_height() {
                self.count(store, now_millis, ballot, step);
            }
        }
    }

    fn feed<S: NameStore>(&mut self, store: &S, now_millis: i64, input: CoreInput<NameContext>, step: &mut Step) {
        if !self.begun {
            return;
        }
        let effects = self.core.process(input);
        self.settle(store, now_millis, effects, step);
    }

    /// Does what the core wants.
    fn settle<S: NameStore>(&mut self, store: &S, now_millis: i64, effects: Effects, step: &mut Step) {
        step.records.extend(effects.records);
        for change in effects.timers {
            match change {
                TimerChange::CancelAll => {
                    self.timers.retain(|_, timer| !matches!(timer, Timer::Core(_) | Timer::ProposeEmpty(_)));
                }
                TimerChange::Cancel(timeout) => self.timers.retain(|_, timer| *timer != Timer::Core(timeout)),
                TimerChange::Schedule(timeout) => {
                    self.timers.retain(|_, timer| *timer != Timer::Core(timeout));
                    let after = self.settings.timeouts.duration_for(timeout);
                    self.wake_after(Timer::Core(timeout), after, step);
                }
            }
        }
        step.outputs.extend(effects.messages.into_iter().map(Output::Send));
        if let Some(certificate) = effects.decided {
            let Some(candidate) = self.core.decided() else { return };
            match self.apply(store, &candidate) {
                Ok(applied) => {
                    let block: NameBlock = candidate.block().clone();
                    let decided = DecidedBlock { block, certificate };
                    // One is enough to tell those that follow. Should it fail to, they ask.
                    let is_ours = decided.block.header.proposer == self.me.0;
                    let news = is_ours.then(|| Output::Send(Message::Decided(decided.clone())));
                    self.finish(Decision { decided, applied }, now_millis, step);
                    step.outputs.extend(news);
                }
                Err(error) => tracing::error!(%error, "a decided block of names cannot be applied"),
            }
        } else if let Some(round) = effects.wanted {
            self.propose(store, now_millis, round, false, step);
        }
    }

    /// Proposes a block. If there is nothing to put in, waits a moment unless it `may_be_empty`.
    fn propose<S: NameStore>(&mut self, store: &S, now_millis: i64, round: Round, may_be_empty: bool, step: &mut Step) {
        if !self.begun {
            return;
        }
        let waiting = self.mempool.operations();
        let proposed = self.state.propose(store, &waiting, self.me.0, now_millis).and_then(|mut proposed| {
            let fitting = fitting(&proposed.block.operations);
            if fitting < proposed.block.operations.len() {
                let shorter = &proposed.block.operations[..fitting];
                proposed.block = self.state.propose(store, shorter, self.me.0, now_millis)?.block;
            }
            Ok(proposed)
        });
        let proposed = match proposed {
            Ok(proposed) => proposed,
            Err(error) => {
                tracing::error!(error = store_failure(&error), "cannot propose a block of names");
                return;
            }
        };
        let own: HashSet<OperationId> = self.mempool.ours().map(Operation::id).collect();
        let refused: HashSet<OperationId> = proposed.refused.iter().map(|(id, _)| *id).collect();
        let told = proposed.refused.into_iter().filter(|(id, _)| own.contains(id));
        step.outputs.extend(told.map(|(id, cause)| Output::Refused(id, cause.to_string())));
        self.mempool.remove(&refused);
        if proposed.block.operations.is_empty() && !may_be_empty {
            self.wake_after(Timer::ProposeEmpty(round), EMPTY_BLOCK_WAIT, step);
            return;
        }
        let value =
            LocallyProposedValue { height: Height(self.next_height()), round, value: Candidate::from(proposed.block) };
        self.feed(store, now_millis, CoreInput::Propose(value), step);
    }

    /// Goes on to the next height.
    fn finish(&mut self, decision: Decision, now_millis: i64, step: &mut Step) {
        let decided: HashSet<OperationId> = decision.decided.block.operations.iter().map(Operation::id).collect();
        self.mempool.remove(&decided);
        self.mempool.expire(now_millis);
        self.state = decision.applied.state.clone();
        (self.begun, self.checked) = (false, None);
        self.called = self.ahead.has(self.next_height());
        self.timers.retain(|_, timer| *timer == Timer::Resend);
        step.outputs.push(Output::Decided(Box::new(decision)));
    }

    fn wake_after(&mut self, timer: Timer, after: Duration, step: &mut Step) {
        self.next_timer += 1;
        let id = WakeId(self.next_timer);
        self.timers.insert(id, timer);
        step.outputs.push(Output::Wake(id, after));
    }
}

/// How many of the operations a proposal has room for: at least one, and no more than gossip carries.
fn fitting(operations: &[Operation]) -> usize {
    let mut bytes = 0;
    let sums = operations.iter().map(|operation| {
        bytes += operation.to_bytes().len();
        bytes
    });
    sums.take_while(|sum| *sum <= MAX_PROPOSED_BYTES).count().max(operations.len().min(1))
}

/// Store errors have no text in common; that they happened is enough here, the store logs the rest.
fn store_failure<E>(error: &StateError<E>) -> &'static str {
    match error {
        StateError::Block(_) => "the block is not valid",
        _ => "the names cannot be read",
    }
}
