//! Drives the engine in a node: gossip, the journal, the records, the clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor};
use pyrgos_protocol::keys::{PublicSigningKey, SecretSigningKey};
use pyrgos_protocol::names::{Delta, Operation, SnapshotHead, State, Username, WitnessError, WitnessSet};
use pyrgos_store::Records;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::board::Board;
use super::engine::{Engine, Input, Output, RecoverError, Settings, Step, WakeId};
use super::follow;
use super::journal::{Journal, JournalError};
use super::keeper::{Keeper, KeeperError};
use super::message::Message;
use super::snapshot;
use super::witnesses::{ChangeError, WitnessChange};
use crate::identity::server_id;
use crate::p2p::{Gossip, Host, Network};
use crate::service::clock::Clock;

/// Inputs that wait for the engine; more gossip is dropped, and comes again.
const WAITING_INPUTS: usize = 1024;
/// Bytes before each message that make it another one for gossip, which passes none on twice.
const NONCE_BYTES: usize = 8;
/// When nothing happens, how often the thread looks whether it shall stop.
const PULSE: Duration = Duration::from_secs(1);

/// A node cannot take part in the decisions about names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamesError {
    /// The network file names no set of witnesses.
    #[error("the network's witnesses: {0}")]
    Witnesses(#[from] WitnessError),
    /// The node's records.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal does not fit the records.
    #[error(transparent)]
    Recover(#[from] RecoverError),
}

/// What comes in for the engine's thread.
// As large as an input in any case.
#[allow(clippy::large_enum_variant)]
enum Incoming {
    /// For the engine.
    Input(Input),
    /// All names at a later block, verified, in place of the blocks up to there.
    Snapshot(Box<(SnapshotHead, Delta)>),
}

/// How often a proof is tried while blocks are being decided.
const PROOF_ATTEMPTS: usize = 20;

/// How far the network's names are, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesStatus {
    /// The network.
    pub network: String,
    /// How many blocks are decided.
    pub height: u64,
    /// The last of them.
    pub last: String,
    /// When it was made, milliseconds since 1970 UTC; 0 before the first.
    pub time_millis: i64,
    /// The root of the tree of all names.
    pub root: String,
    /// The nodes that decide the next block.
    pub witnesses: Vec<String>,
    /// Whether this node is one of them.
    pub is_witness: bool,
    /// The round in which the next block is being decided, if it is.
    pub round: Option<u32>,
    /// Why this node takes no part any more, if so.
    pub failure: Option<String>,
}

/// The rest of the node's way to the engine.
#[derive(Clone)]
pub struct Driver {
    me: PublicSigningKey,
    /// The same with its secret, for what its operator says.
    key: Arc<SecretSigningKey>,
    inputs: mpsc::Sender<Incoming>,
    board: Arc<Board>,
    keeper: Keeper,
    /// Those of the network file.
    witnesses: Arc<WitnessSet>,
}

impl Driver {
    /// Starts to take part in a network, until `stop` says true. Also gives the tasks to wait for at the end.
    ///
    /// # Errors
    /// [`NamesError`].
    pub fn start(
        network: &Network,
        data_dir: &Path,
        key: SecretSigningKey,
        records: Arc<dyn Records>,
        host: &Host,
        clock: Arc<dyn Clock>,
        stop: &watch::Sender<bool>,
    ) -> Result<(Driver, Vec<JoinHandle<()>>), NamesError> {
        let id = network.id.clone();
        let keeper = Keeper::new(records);
        let witnesses = WitnessSet::of_nodes(&network.witnesses)?;
        let state = keeper.load(&id, witnesses.clone())?;
        let (journal, records) = Journal::open(data_dir)?;
        let me = key.public();
        let settings = Settings::new(id.clone(), key.clone());
        let mut engine = Engine::new(settings.clone(), state.clone());
        let first = engine.recover(&keeper, clock.now_millis(), &records)?;
        let board = Arc::new(Board::new(state));
        let (inputs, incoming) = mpsc::channel(WAITING_INPUTS);
        let (hints, hinted) = mpsc::channel(1);
        let driver = Driver {
            me,
            key: Arc::new(key),
            inputs: inputs.clone(),
            board: board.clone(),
            keeper: keeper.clone(),
            witnesses: Arc::new(witnesses),
        };
        let topic = format!("pyrgos/names/1/{id}");
        let heard = host.subscribe(&topic);
        let desk = Desk {
            settings,
            engine,
            keeper,
            journal,
            board,
            clock,
            gossip: Arc::new(host.clone()),
            topic,
            nonce: 0,
            hints,
            timers: BinaryHeap::new(),
        };
        let (runtime, stopped) = (Handle::current(), stop.subscribe());
        let tasks = vec![
            tokio::task::spawn_blocking(move || desk.run(first, incoming, &runtime, &stopped)),
            tokio::spawn(listen(heard, inputs, stop.subscribe())),
            tokio::spawn(follow::fetch(host.clone(), driver.clone(), hinted, stop.subscribe())),
            tokio::spawn(follow::serve(host.accept(follow::PROTOCOL), driver.clone(), stop.subscribe())),
            tokio::spawn(snapshot::serve(host.accept(snapshot::PROTOCOL), driver.clone(), stop.subscribe())),
        ];
        Ok((driver, tasks))
    }

    /// How far the network is.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// How far the network is, to be shown.
    pub fn status(&self) -> NamesStatus {
        let news = self.board.look();
        let state = &news.state;
        NamesStatus {
            network: state.network().to_string(),
            height: state.height(),
            last: state.last().to_string(),
            time_millis: state.time_millis(),
            root: state.root().to_string(),
            witnesses: state.witnesses().keys().iter().map(|key| server_id(key).hash().to_base58()).collect(),
            is_witness: state.witnesses().contains(&self.me),
            round: news.round,
            failure: news.end.clone(),
        }
    }

    /// Proves who owns a name, for somebody who trusts the witnesses and not this node; the proof in its bytes. None while
    /// nothing is decided. Reads the store.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn prove(&self, name: &Username) -> Result<Option<Vec<u8>>, KeeperError> {
        let network = self.board.look().state.network().clone();
        for _ in 0..PROOF_ATTEMPTS {
            let state = self.board.look().state.clone();
            let Some(proof) = self.keeper.prove(&state, name)? else { continue };
            // A block that was decided while the tree was read may have taken parts of it.
            if proof.verify(&network, &self.witnesses).is_ok() {
                return Ok(Some(proof.to_bytes()));
            }
        }
        Ok(None)
    }

    /// A change of the witnesses, from a file or a new one, signed by this node if `is_signed`. When enough have signed it
    /// is handed to the network; whether that was so.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn change_witnesses(
        &self,
        file: Option<&[u8]>,
        add: &[Cid],
        remove: &[Cid],
        is_signed: bool,
    ) -> Result<(WitnessChange, bool), ChangeError> {
        let state = self.board.look().state.clone();
        let mut change = match file {
            Some(bytes) => WitnessChange::read(&state, bytes)?,
            None => WitnessChange::new(&state, add, remove)?,
        };
        if is_signed {
            change.sign(&state, &self.key)?;
        }
        let is_handed_in = change.is_complete(&state) && self.submit(change.operation());
        Ok((change, is_handed_in))
    }

    /// The decided names.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Wants an operation decided. `false` if too much waits already, or the node stops. Not for async code.
    pub fn submit(&self, operation: Operation) -> bool {
        self.inputs.try_send(Incoming::Input(Input::Submit(operation))).is_ok()
    }

    pub(super) async fn hear(&self, message: Message) -> bool {
        self.inputs.send(Incoming::Input(Input::Message(message))).await.is_ok()
    }

    /// Takes a verified snapshot, unless this node is further by now, or a witness, who decides by what it saw itself.
    pub(super) async fn jump(&self, head: SnapshotHead, delta: Delta) -> bool {
        self.inputs.send(Incoming::Snapshot(Box::new((head, delta)))).await.is_ok()
    }

    /// The witnesses of the network file.
    pub(super) fn first_witnesses(&self) -> &WitnessSet {
        &self.witnesses
    }

    pub(super) fn is_witness(&self, state: &State) -> bool {
        state.witnesses().contains(&self.me)
    }
}

/// Takes messages from gossip to the engine.
async fn listen(mut heard: mpsc::Receiver<Vec<u8>>, inputs: mpsc::Sender<Incoming>, mut stop: watch::Receiver<bool>) {
    loop {
        let next = tokio::select! {
            next = heard.recv() => next,
            () = crate::http::server::stopped(&mut stop) => None,
        };
        let Some(bytes) = next else { break };
        let message = bytes.get(NONCE_BYTES..).and_then(|bytes| Message::from_bytes(bytes).ok());
        if let Some(message) = message {
            // What does not fit now is said again, or asked for.
            let _ = inputs.try_send(Incoming::Input(Input::Message(message)));
        }
    }
}

struct Desk {
    settings: Settings,
    engine: Engine,
    keeper: Keeper,
    journal: Journal,
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
    gossip: Arc<dyn Gossip>,
    topic: String,
    nonce: u32,
    hints: mpsc::Sender<u64>,
    timers: BinaryHeap<Reverse<(Instant, WakeId)>>,
}

impl Desk {
    /// Runs on a thread of its own: it waits for the disk.
    fn run(
        mut self,
        first: Step,
        mut inputs: mpsc::Receiver<Incoming>,
        runtime: &Handle,
        stop: &watch::Receiver<bool>,
    ) {
        let mut done = self.perform(first);
        while done.is_ok() && !*stop.borrow() {
            let due = self.timers.peek().map(|Reverse((at, _))| *at);
            let now = Instant::now();
            let input = if due.is_some_and(|at| at <= now) {
                self.timers.pop().map(|Reverse((_, id))| Incoming::Input(Input::Wake(id)))
            } else {
                let until = due.unwrap_or(now + PULSE).min(now + PULSE);
                match runtime.block_on(tokio::time::timeout_at(until.into(), inputs.recv())) {
                    Ok(None) => break,
                    Ok(input) => input,
                    Err(_) => None,
                }
            };
            done = match input {
                Some(Incoming::Input(input)) => {
                    let step = self.engine.handle(&self.keeper, self.clock.now_millis(), input);
                    self.perform(step)
                }
                Some(Incoming::Snapshot(snapshot)) => self.jump(&snapshot.0, &snapshot.1),
                None => Ok(()),
            };
        }
        let end = match done {
            Ok(()) => "the node is stopping".to_owned(),
            Err(error) => {
                tracing::error!(%error, "this node takes no more part in the decisions about names");
                error.to_string()
            }
        };
        self.board.post(|news| news.end = Some(end));
    }

    /// Goes on from a later block. A witness does not: it votes by what it has seen itself.
    fn jump(&mut self, head: &SnapshotHead, delta: &Delta) -> Result<(), NamesError> {
        let me = self.settings.key.public();
        let is_witness = self.engine.is_witness() || head.state.witnesses().contains(&me);
        if is_witness || head.state.height() <= self.engine.state().height() {
            return Ok(());
        }
        self.keeper.adopt(head, delta)?;
        self.journal.clear()?;
        self.timers.clear();
        self.engine = Engine::new(self.settings.clone(), head.state.clone());
        let step = self.engine.recover(&self.keeper, self.clock.now_millis(), &[])?;
        tracing::info!(height = head.state.height(), names = delta.chains.len(), "all names came in a snapshot");
        self.board.post(|news| news.state = head.state.clone());
        self.perform(step)
    }

    fn perform(&mut self, step: Step) -> Result<(), NamesError> {
        self.journal.append(&step.records)?;
        if step.outputs.iter().any(|output| matches!(output, Output::Send(_))) {
            self.journal.sync()?;
        }
        for output in step.outputs {
            match output {
                Output::Send(message) => self.send(&message),
                Output::Wake(id, after) => self.timers.push(Reverse((Instant::now() + after, id))),
                Output::Decided(decision) => {
                    self.keeper.keep(&decision)?;
                    self.journal.clear()?;
                    let state = decision.applied.state;
                    let operations = decision.decided.block.operations.len();
                    tracing::info!(height = state.height(), operations, "a block of names is decided");
                    self.board.post(|news| news.state = state);
                }
                Output::Refused(id, cause) => self.board.refuse(id, cause),
                // One hint is enough.
                Output::Behind(height) => drop(self.hints.try_send(height)),
                Output::Repeat(height) => {
                    let block = self.keeper.block_bytes(height).map_err(KeeperError::from)?;
                    if let Some(decided) = block.and_then(|bytes| FromCbor::from_bytes(&bytes).ok()) {
                        self.send(&Message::Decided(decided));
                    }
                }
            }
        }
        let round = self.engine.round();
        if self.board.look().round != round {
            self.board.post(|news| news.round = round);
        }
        Ok(())
    }

    fn send(&mut self, message: &Message) {
        self.nonce = self.nonce.wrapping_add(1);
        let mut bytes = Vec::with_capacity(1024);
        // Of this moment and this node, as good as certainly.
        bytes.extend((self.clock.now_millis() as u32).to_be_bytes());
        bytes.extend((self.nonce ^ std::process::id().rotate_left(16)).to_be_bytes());
        message.to_cbor().encode_into(&mut bytes);
        self.gossip.publish(&self.topic, bytes);
    }
}
