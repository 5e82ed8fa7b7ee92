//! All names at one block, so that joining costs the names and not the history (design §3).
//!
//! The head proves the state by certificates, from the witnesses of the network file on; the names prove themselves, since
//! they lead to the root that the state names.

use std::collections::BTreeMap;

use super::block::{MAX_BLOCK_BYTES, MAX_CERTIFICATE_BYTES};
use super::operation::exact;
use super::proof::{ProofError, WitnessChange, verify_header};
use super::state::MAX_STATE_BYTES;
use super::{Chain, DecidedBlock, Delta, NetworkId, Operation, State, Username, WitnessSet};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// Most changes of witnesses that a head may hold.
pub const MAX_CHANGES: usize = 64;

/// Longest head, in bytes.
pub const MAX_HEAD_BYTES: usize =
    MAX_STATE_BYTES + (MAX_CHANGES + 1) * (MAX_BLOCK_BYTES + MAX_CERTIFICATE_BYTES) + 1024;

/// A state, and why it is the network's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The state after the block.
    pub state: State,
    /// The blocks that changed the witnesses, in order.
    pub changes: Vec<DecidedBlock>,
    /// The block.
    pub block: DecidedBlock,
}

/// The witnesses after a block that changed them.
pub fn witnesses_after(block: &DecidedBlock) -> Option<WitnessChange> {
    let DecidedBlock { block, certificate } = block;
    let witnesses = block.operations.iter().rev().find_map(|operation| match operation {
        Operation::Witnesses { set, .. } => Some(set.clone()),
        _ => None,
    })?;
    Some(WitnessChange { header: block.header.clone(), certificate: certificate.clone(), witnesses })
}

impl SnapshotHead {
    /// Checks that the state is the network's, by the witnesses that the network file names.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, network: &NetworkId, witnesses: &WitnessSet) -> Result<(), ProofError> {
        let changes: Vec<WitnessChange> = self.changes.iter().filter_map(witnesses_after).collect();
        if changes.len() != self.changes.len() || u64::try_from(changes.len()) != Ok(self.state.changes()) {
            return Err(ProofError::Order);
        }
        verify_header(&changes, &self.block.block.header, &self.block.certificate, network, witnesses)?;
        match self.state.network() == network && self.state.is_after(&self.block.block.header) {
            true => Ok(()),
            false => Err(ProofError::State),
        }
    }

    /// Checks that these are all names of the state. What they change in an empty store.
    ///
    /// # Errors
    /// [`ProofError::Names`].
    pub fn names(&self, chains: BTreeMap<Username, Chain>) -> Result<Delta, ProofError> {
        match Delta::of_names(chains) {
            Ok((root, delta)) if root == *self.state.root() => Ok(delta),
            _ => Err(ProofError::Names),
        }
    }
}

/// `[state, [changing block …], block]`.
impl ToCbor for SnapshotHead {
    fn to_cbor(&self) -> Value {
        Value::List(vec![self.state.to_cbor(), Value::list(&self.changes), self.block.to_cbor()])
    }
}

impl FromCbor for SnapshotHead {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let [state, changes, block] = value.as_list()? else {
            return Err(DecodeError::invalid("snapshot of names", "not three elements"));
        };
        if changes.as_list()?.len() > MAX_CHANGES {
            return Err(DecodeError::invalid("snapshot of names", "too many changes of witnesses"));
        }
        Ok(SnapshotHead {
            state: State::from_cbor(state)?,
            changes: changes.as_list_of()?,
            block: DecidedBlock::from_cbor(block)?,
        })
    }

    /// At most [`MAX_HEAD_BYTES`], and only the bytes that [`ToCbor::to_bytes`] gives.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        exact(bytes, MAX_HEAD_BYTES)
    }
}

/// Some names with their chains, as they are sent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NamesPage(pub Vec<(Username, Chain)>);

/// Longest page, in bytes. A name with its chain always fits.
pub const MAX_PAGE_BYTES: usize = 1 << 20;

/// `[name, chain, …]`.
impl ToCbor for NamesPage {
    fn to_cbor(&self) -> Value {
        Value::List(self.0.iter().flat_map(|(name, chain)| [name.to_cbor(), chain.to_cbor()]).collect())
    }
}

impl FromCbor for NamesPage {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let (pairs, []) = value.as_list()?.as_chunks::<2>() else {
            return Err(DecodeError::invalid("page of names", "a name without a chain"));
        };
        let pair = |[name, chain]: &[Value; 2]| Ok((Username::from_cbor(name)?, Chain::from_cbor(chain)?));
        Ok(NamesPage(pairs.iter().map(pair).collect::<Result<_, DecodeError>>()?))
    }
}
