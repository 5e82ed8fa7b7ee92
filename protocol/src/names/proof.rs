//! A proof of who owns a name, or that nobody does, for somebody who trusts the witnesses of a network and no node (design §3).
//!
//! It holds the header of a decided block with its certificate, the way from the header's root to the name through the tree
//! of all names, and the name's chain. If the witnesses have changed since the network file was written, it holds each
//! change as well, with the certificate of those before. It needs no connection, and says what was so at its block.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::operation::exact;
use super::store::NAME_HASHING;
use super::{Certificate, CertificateError, Chain, ChainError, Header, NetworkId, Username, WitnessSet};
use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::Owner;
use crate::merkle::champ::{self, MemoryBlocks, Proof};

/// Longest proof, in bytes.
pub const MAX_PROOF_BYTES: usize = 4 << 20;

/// Most changes of the witnesses in one proof, and most nodes on the way to a name.
const MAX_CHANGES: usize = 256;
const MAX_NODES: usize = 64;

/// A block after which other witnesses decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessChange {
    /// The block's header.
    pub header: Header,
    /// That those before decided it.
    pub certificate: Certificate,
    /// Those after.
    pub witnesses: WitnessSet,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameProof {
    /// Whose name.
    pub username: Username,
    /// The changes of the witnesses until the block, oldest first.
    pub changes: Vec<WitnessChange>,
    /// The block.
    pub header: Header,
    /// That it is decided.
    pub certificate: Certificate,
    /// The nodes from the root of the tree to the name.
    pub nodes: Vec<Bytes>,
    /// The block of the name's chain, if somebody owns it.
    pub chain: Option<Bytes>,
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The chain of the name, empty if nobody owned it.
    pub chain: Chain,
    /// At which block.
    pub height: u64,
    /// When that was made, milliseconds since 1970 UTC by the witnesses' clocks.
    pub time_millis: i64,
}

/// A proof that proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// A certificate of this network's witnesses is missing.
    #[error("block {height}: {cause}")]
    Certificate {
        /// Of which block.
        height: u64,
        /// What is wrong with it.
        cause: CertificateError,
    },
    /// A set of witnesses that the block does not name.
    #[error("the witnesses after block {0} are others")]
    Witnesses(u64),
    /// Blocks out of order.
    #[error("the blocks are not in order")]
    Order,
    /// A state that is not the one after the block.
    #[error("the state is not the one after the block")]
    State,
    /// Names that are not those of the state.
    #[error("these are not the names of the state")]
    Names,
    /// The nodes do not lead from the block's root to the name.
    #[error("the way through the tree of names is not whole")]
    Path,
    /// The chain is not the one in the tree.
    #[error("the chain is not that of the tree")]
    Chain,
    /// The chain is not valid for the name.
    #[error("the chain is not valid: {0}")]
    Invalid(ChainError),
}

/// Checks that a block is decided, by the witnesses of the network file and those that the changes put in their place.
pub(super) fn verify_header(
    changes: &[WitnessChange],
    header: &Header,
    certificate: &Certificate,
    network: &NetworkId,
    witnesses: &WitnessSet,
) -> Result<(), ProofError> {
    let mut deciding = witnesses;
    let mut height = 0;
    for WitnessChange { header, certificate, witnesses } in changes {
        if header.height <= height {
            return Err(ProofError::Order);
        }
        height = header.height;
        let failed = |cause| ProofError::Certificate { height, cause };
        certificate.verify(network, deciding, header).map_err(failed)?;
        if header.witnesses != witnesses.hash() {
            return Err(ProofError::Witnesses(height));
        }
        deciding = witnesses;
    }
    // The newest block may be the one that changed the witnesses: those before it decided it.
    if header.height < height {
        return Err(ProofError::Order);
    }
    let is_change = changes.last().is_some_and(|change| change.header == *header);
    if !is_change {
        let failed = |cause| ProofError::Certificate { height: header.height, cause };
        certificate.verify(network, deciding, header).map_err(failed)?;
    }
    Ok(())
}

impl NameProof {
    /// Checks the proof against the witnesses that the network file names.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, network: &NetworkId, witnesses: &WitnessSet) -> Result<Proven, ProofError> {
        verify_header(&self.changes, &self.header, &self.certificate, network, witnesses)?;
        let nodes = MemoryBlocks::of_cbor(self.nodes.iter().cloned());
        let found = champ::bulk::prove(&nodes, NAME_HASHING, &self.header.root, self.username.as_str().as_bytes());
        let chain = match (found.map_err(|_| ProofError::Path)?, &self.chain) {
            (Proof::Absent, None) => Chain::default(),
            (Proof::Present(Value::Link(cid)), Some(block)) if cid == Cid::of_cbor(block) => {
                let chain = Chain::from_bytes(block).map_err(|_| ProofError::Chain)?;
                chain.verify(&self.username, Owner::signing_key).map_err(ProofError::Invalid)?;
                chain
            }
            (Proof::Absent | Proof::Present(_), _) => return Err(ProofError::Chain),
            _ => return Err(ProofError::Path),
        };
        Ok(Proven { chain, height: self.header.height, time_millis: self.header.time_millis })
    }
}

/// `[name, [[header, certificate, witnesses] …], header, certificate, [node …], chain or null]`.
impl ToCbor for NameProof {
    fn to_cbor(&self) -> Value {
        let changes = self.changes.iter().map(|change| {
            Value::List(vec![change.header.to_cbor(), change.certificate.to_cbor(), change.witnesses.to_cbor()])
        });
        Value::List(vec![
            self.username.to_cbor(),
            Value::List(changes.collect()),
            self.header.to_cbor(),
            self.certificate.to_cbor(),
            Value::List(self.nodes.iter().cloned().map(Value::Bytes).collect()),
            self.chain.clone().map_or(Value::Null, Value::Bytes),
        ])
    }
}

impl FromCbor for NameProof {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        const WHAT: &str = "proof of a name";
        let [username, changes, header, certificate, nodes, chain] = value.as_list()? else {
            return Err(DecodeError::invalid(WHAT, "not six elements"));
        };
        let (changes, nodes) = (changes.as_list()?, nodes.as_list()?);
        if changes.len() > MAX_CHANGES || nodes.len() > MAX_NODES {
            return Err(DecodeError::invalid(WHAT, "too many changes or nodes"));
        }
        let change = |value: &Value| {
            let [header, certificate, witnesses] = value.as_list()? else {
                return Err(DecodeError::invalid(WHAT, "a change without three elements"));
            };
            Ok(WitnessChange {
                header: Header::from_cbor(header)?,
                certificate: Certificate::from_cbor(certificate)?,
                witnesses: WitnessSet::from_cbor(witnesses)?,
            })
        };
        let nodes: Vec<Bytes> = nodes.iter().map(|node| node.as_bytes().cloned()).collect::<Result<_, _>>()?;
        if nodes.iter().collect::<BTreeSet<_>>().len() != nodes.len() {
            return Err(DecodeError::invalid(WHAT, "a node twice"));
        }
        Ok(NameProof {
            username: Username::from_cbor(username)?,
            changes: changes.iter().map(change).collect::<Result<_, _>>()?,
            header: Header::from_cbor(header)?,
            certificate: Certificate::from_cbor(certificate)?,
            nodes,
            chain: match chain {
                Value::Null => None,
                chain => Some(chain.as_bytes()?.clone()),
            },
        })
    }

    /// At most [`MAX_PROOF_BYTES`], and only the bytes that [`ToCbor::to_bytes`] gives.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        exact(bytes, MAX_PROOF_BYTES)
    }
}
