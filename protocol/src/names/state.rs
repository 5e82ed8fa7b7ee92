//! The state that blocks change one after the other: what a witness needs, beside the names, to make the next block and
//! to check that of another (design §3).
//!
//! Everything here is a function of the blocks. What only a node can know (its clock, the round, who may propose in it)
//! is checked by the consensus engine.

use pyrgos_crypto::hash::sha256;

use super::block::{genesis_hash, operations_hash};
use super::commitment::Commitments;
use super::operation::exact;
use super::rules::{Draft, OperationError, Stop};
use super::vote::{as_height, height_value};
use super::{BlockHash, Delta, Header, NameBlock, NameStore, NetworkId, Operation, OperationId, WitnessSet};
use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::PublicSigningKey;
use crate::merkle::champ::ChampError;

/// Longest encoded state, in bytes: all commitments that may be open, and little else.
pub const MAX_STATE_BYTES: usize = super::commitment::MAX_COMMITMENTS * 48 + (8 << 10);

/// What blocks have led to, apart from the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    network: NetworkId,
    height: u64,
    last: BlockHash,
    time_millis: i64,
    root: Cid,
    witnesses: WitnessSet,
    changes: u64,
    commitments: Commitments,
}

/// A block for the next height.
#[derive(Clone, Debug)]
pub struct Proposed {
    /// The block.
    pub block: NameBlock,
    /// Candidates that are not valid and will not become so by themselves. Those that are neither here nor in the block
    /// had no room in it, or come too early.
    pub refused: Vec<(OperationId, OperationError)>,
}

/// What a block leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The state after it.
    pub state: State,
    /// What it changes in the store.
    pub delta: Delta,
}

/// Why a block does not follow on a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// For another height.
    #[error("a block for height {got}, where {expected} is next")]
    Height {
        /// The next height.
        expected: u64,
        /// The block's.
        got: u64,
    },
    /// It follows on another block.
    #[error("the block follows on another block than the last")]
    Previous,
    /// Not later than the block before.
    #[error("the block is not later than the one before")]
    Time,
    /// Made by somebody who is no witness.
    #[error("the proposer of the block is no witness")]
    Proposer,
    /// An operation that is not valid.
    #[error("operation {index} of the block: {cause}")]
    Operation {
        /// Its position, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        cause: OperationError,
    },
    /// More than a block may hold, of whatever kind.
    #[error("operation {index} of the block has no room in it")]
    Full {
        /// The first operation without room, from 0.
        index: usize,
    },
    /// The header says that the operations lead to something else than they do.
    #[error("the header of the block is not what its operations lead to")]
    Header,
}

/// Why a block could not be made or applied. `E` is the store's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError<E> {
    /// The block is not valid: nobody may vote for it.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// Names cannot be read. This says nothing about the block.
    #[error("cannot read the names")]
    Store(#[source] E),
    /// The stored tree of names is broken or cannot be read. This says nothing about the block.
    #[error("cannot change the tree of names")]
    Tree(#[from] ChampError<E>),
}

impl State {
    /// The state before the first block: nobody has decided anything yet. `root` is that of the names that are there
    /// from the start ([`Delta::of_names`]).
    pub fn genesis(network: NetworkId, witnesses: WitnessSet, root: Cid) -> Self {
        let last = genesis_hash(&network, &witnesses, &root);
        let commitments = Commitments::default();
        State { network, height: 0, last, time_millis: 0, root, witnesses, changes: 0, commitments }
    }

    /// The network.
    pub fn network(&self) -> &NetworkId {
        &self.network
    }

    /// The height of the last block; 0 before the first.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// The last block.
    pub fn last(&self) -> BlockHash {
        self.last
    }

    /// When the last block was made, in milliseconds since 1970.
    pub fn time_millis(&self) -> i64 {
        self.time_millis
    }

    /// The root of the tree of names.
    pub fn root(&self) -> &Cid {
        &self.root
    }

    /// The witnesses that decide the next block.
    pub fn witnesses(&self) -> &WitnessSet {
        &self.witnesses
    }

    /// How often the witnesses changed, which [`super::vote::witnesses_sign_bytes`] wants.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The open commitments.
    pub fn commitments(&self) -> &Commitments {
        &self.commitments
    }

    /// The height of the first block that may hold the claim of an open commitment. A claim should be revealed no
    /// sooner than when that block is the next one, or somebody who sees it has time to claim the name first.
    pub fn claimable_from(&self, commitment: &[u8; 32]) -> Option<u64> {
        self.commitments.claimable_from(commitment, &self.witnesses)
    }

    /// Whether a commitment has to become older, so that blocks are wanted even if there is nothing to put in.
    pub fn is_waiting(&self) -> bool {
        self.commitments.are_waiting(self.height, &self.witnesses)
    }

    /// Whether an operation could be the first of the next block.
    ///
    /// # Errors
    /// The store's; the inner error says why not.
    pub fn check<S: NameStore>(
        &self,
        store: &S,
        operation: &Operation,
    ) -> Result<Result<(), OperationError>, StateError<S::Error>> {
        match Draft::new(store, self).push(operation) {
            Ok(()) => Ok(Ok(())),
            Err(Stop::Refused(cause)) => Ok(Err(cause)),
            Err(Stop::Full) => Ok(Err(OperationError::TooLong(operation.to_bytes().len()))),
            Err(Stop::Store(error)) => Err(StateError::Store(error)),
        }
    }

    /// Makes a block of the candidates, in their order, as far as they are valid and there is room.
    ///
    /// # Errors
    /// The store's.
    pub fn propose<'a, S: NameStore>(
        &self,
        store: &S,
        candidates: impl IntoIterator<Item = &'a Operation>,
        proposer: PublicSigningKey,
        now_millis: i64,
    ) -> Result<Proposed, StateError<S::Error>> {
        let mut draft = Draft::new(store, self);
        let (mut operations, mut refused) = (Vec::new(), Vec::new());
        for candidate in candidates {
            match draft.push(candidate) {
                Ok(()) => operations.push(candidate.clone()),
                Err(Stop::Refused(cause)) if cause.is_early() => {}
                Err(Stop::Refused(cause)) => refused.push((candidate.id(), cause)),
                Err(Stop::Full) => {}
                Err(Stop::Store(error)) => return Err(StateError::Store(error)),
            }
        }
        let (after, _) = draft.close()?;
        let time_millis = now_millis.max(self.time_millis.saturating_add(1));
        let header = self.header(&after, &operations, proposer, time_millis);
        Ok(Proposed { block: NameBlock { header, operations }, refused })
    }

    /// Checks the next block, all of it: one operation that is not valid, or a header that is not what the operations
    /// lead to, makes it invalid. The certificate is another matter, see [`super::DecidedBlock::verify`].
    ///
    /// # Errors
    /// [`StateError::Block`] for a block that is not valid; the others are about the store.
    pub fn apply<S: NameStore>(&self, store: &S, block: &NameBlock) -> Result<Applied, StateError<S::Error>> {
        let header = &block.header;
        if header.height != self.height + 1 {
            return Err(BlockError::Height { expected: self.height + 1, got: header.height }.into());
        }
        if header.previous != self.last {
            return Err(BlockError::Previous.into());
        }
        if header.time_millis <= self.time_millis {
            return Err(BlockError::Time.into());
        }
        if !self.witnesses.contains(&header.proposer) {
            return Err(BlockError::Proposer.into());
        }
        let mut draft = Draft::new(store, self);
        for (index, operation) in block.operations.iter().enumerate() {
            draft.push(operation).map_err(|stop| match stop {
                Stop::Refused(cause) => BlockError::Operation { index, cause }.into(),
                Stop::Full => BlockError::Full { index }.into(),
                Stop::Store(error) => StateError::Store(error),
            })?;
        }
        let (mut state, delta) = draft.close()?;
        if self.header(&state, &block.operations, header.proposer, header.time_millis) != *header {
            return Err(BlockError::Header.into());
        }
        state.last = header.hash();
        state.time_millis = header.time_millis;
        Ok(Applied { state, delta })
    }

    /// The state after a block, except for the block's hash and time.
    pub(super) fn next(&self, root: Cid, commitments: Commitments, witnesses: Option<WitnessSet>) -> Self {
        let changes = self.changes + u64::from(witnesses.is_some());
        State {
            network: self.network.clone(),
            height: self.height + 1,
            last: self.last,
            time_millis: self.time_millis,
            root,
            witnesses: witnesses.unwrap_or_else(|| self.witnesses.clone()),
            changes,
            commitments,
        }
    }

    fn header(&self, after: &State, operations: &[Operation], proposer: PublicSigningKey, time_millis: i64) -> Header {
        Header {
            height: after.height,
            previous: self.last,
            time_millis,
            proposer,
            operations: operations_hash(operations),
            root: after.root.clone(),
            open: after.open_hash(),
            witnesses: after.witnesses.hash(),
        }
    }

    /// What [`Header::open`] says: the SHA-256 of `[changes, commitments]`.
    fn open_hash(&self) -> [u8; 32] {
        sha256(&Value::List(vec![height_value(self.changes), self.commitments.to_cbor()]).encode())
    }

    /// Whether this is the state after the block of this header, in every part.
    pub fn is_after(&self, header: &Header) -> bool {
        self.height == header.height
            && self.last == header.hash()
            && self.time_millis == header.time_millis
            && self.root == header.root
            && self.open_hash() == header.open
            && self.witnesses.hash() == header.witnesses
    }
}

/// `[network, height, last block, time, root, witnesses, changes, commitments]`.
impl ToCbor for State {
    fn to_cbor(&self) -> Value {
        Value::List(vec![
            self.network.to_cbor(),
            height_value(self.height),
            self.last.to_cbor(),
            Value::Int(self.time_millis),
            Value::Link(self.root.clone()),
            self.witnesses.to_cbor(),
            height_value(self.changes),
            self.commitments.to_cbor(),
        ])
    }
}

impl FromCbor for State {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let [network, height, last, time_millis, root, witnesses, changes, commitments] = value.as_list()? else {
            return Err(DecodeError::invalid("state of names", "not eight elements"));
        };
        Ok(State {
            network: NetworkId::from_cbor(network)?,
            height: as_height("state of names", height)?,
            last: BlockHash::from_cbor(last)?,
            time_millis: time_millis.as_int()?,
            root: root.as_link()?.clone(),
            witnesses: WitnessSet::from_cbor(witnesses)?,
            changes: as_height("state of names", changes)?,
            commitments: Commitments::from_cbor(commitments)?,
        })
    }

    /// At most [`MAX_STATE_BYTES`], and only the bytes that [`ToCbor::to_bytes`] gives.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        exact(bytes, MAX_STATE_BYTES)
    }
}
