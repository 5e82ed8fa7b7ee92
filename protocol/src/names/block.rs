//! Decided blocks of operations, and the certificates that prove that they are (design §3).
//!
//! A [`Header`] names the operations by a hash only, so that whoever wants to know one name, and not the history, needs
//! the header, its certificate and a path through the tree of names.

use pyrgos_crypto::hash::sha256;

use super::operation::{Signatures, exact};
use super::vote::{BlockHash, Vote, VoteKind, as_height, height_value};
use super::{NetworkId, Operation, WitnessSet};
use crate::encoding::{Cid, Codec, DecodeError, FromCbor, Multihash, ToCbor, Value};
use crate::keys::PublicSigningKey;

/// Most operations in a block.
pub const MAX_OPERATIONS: usize = 1024;

/// Longest block, in bytes. One operation of the longest kind always fits.
pub const MAX_BLOCK_BYTES: usize = 512 << 10;

/// How far ahead of a witness's own clock the time of a block may be, in milliseconds. A witness votes against others:
/// after a time far ahead all that follow would have to be later still. No rule reads the time; it tells how old a proof
/// is.
pub const MAX_CLOCK_DRIFT_MILLIS: i64 = 10_000;

const GENESIS: &str = "pyrgos/names/genesis/1";

/// What witnesses vote for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the block, from 1.
    pub height: u64,
    /// The block before; for the first [`genesis_hash`].
    pub previous: BlockHash,
    /// When it was made, in milliseconds since 1970: later than the block before.
    pub time_millis: i64,
    /// The witness that made it.
    pub proposer: PublicSigningKey,
    /// See [`operations_hash`].
    pub operations: [u8; 32],
    /// Root of the tree of all names after the block (`spec/06` §2.2).
    pub root: Cid,
    /// The SHA-256 of what else binds the next block: commitments that are open, and how often the witnesses changed.
    pub open: [u8; 32],
    /// The SHA-256 of the set of witnesses that decides the next block.
    pub witnesses: [u8; 32],
}

/// What stands in the place of the block before the first: the SHA-256 of
/// `["pyrgos/names/genesis/1", network, witnesses, root of the names that are there from the start]`.
pub fn genesis_hash(network: &NetworkId, witnesses: &WitnessSet, root: &Cid) -> BlockHash {
    let content = vec![Value::text(GENESIS), network.to_cbor(), witnesses.to_cbor(), Value::Link(root.clone())];
    BlockHash(sha256(&Value::List(content).encode()))
}

/// The SHA-256 of the operations' ids, one after the other.
pub fn operations_hash(operations: &[Operation]) -> [u8; 32] {
    let ids: Vec<u8> = operations.iter().flat_map(|operation| operation.id().0).collect();
    sha256(&ids)
}

impl Header {
    /// The SHA-256 of its bytes, which names the block.
    pub fn hash(&self) -> BlockHash {
        BlockHash(sha256(&self.to_bytes()))
    }
}

impl ToCbor for Header {
    fn to_cbor(&self) -> Value {
        Value::List(vec![
            height_value(self.height),
            self.previous.to_cbor(),
            Value::Int(self.time_millis),
            Value::bytes(self.proposer.as_bytes()),
            Value::bytes(self.operations),
            Value::Link(self.root.clone()),
            Value::bytes(self.open),
            Value::bytes(self.witnesses),
        ])
    }
}

impl FromCbor for Header {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let [height, previous, time_millis, proposer, operations, root, open, witnesses] = value.as_list()? else {
            return Err(DecodeError::invalid("header", "not eight elements"));
        };
        let root = root.as_link()?.clone();
        if root.codec() != Codec::DagCbor || root.hash().code() != Multihash::SHA2_256 {
            return Err(DecodeError::invalid("header", "the root is no node of a tree"));
        }
        Ok(Header {
            height: as_height("header", height)?,
            previous: BlockHash::from_cbor(previous)?,
            time_millis: time_millis.as_int()?,
            proposer: PublicSigningKey::from_bytes(proposer.as_array("proposer")?),
            operations: operations.as_array("operations")?,
            root,
            open: open.as_array("open commitments")?,
            witnesses: witnesses.as_array("witnesses")?,
        })
    }
}

/// A block: its header and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameBlock {
    /// What witnesses vote for.
    pub header: Header,
    /// What the block does, in order. May be empty: time passes for commitments.
    pub operations: Vec<Operation>,
}

impl NameBlock {
    /// The header's hash.
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }
}

impl ToCbor for NameBlock {
    fn to_cbor(&self) -> Value {
        Value::List(vec![self.header.to_cbor(), Value::list(&self.operations)])
    }
}

/// Refuses operations that are not the header's, so that no reader has to remember to.
impl FromCbor for NameBlock {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let [header, operations] = value.as_list()? else {
            return Err(DecodeError::invalid("block of names", "not two elements"));
        };
        let count = operations.as_list()?.len();
        if count > MAX_OPERATIONS {
            return Err(DecodeError::invalid("block of names", format!("{count} operations")));
        }
        let block = NameBlock { header: Header::from_cbor(header)?, operations: operations.as_list_of()? };
        if operations_hash(&block.operations) != block.header.operations {
            return Err(DecodeError::invalid("block of names", "the operations are not those of the header"));
        }
        Ok(block)
    }

    /// At most [`MAX_BLOCK_BYTES`], and only the bytes that [`ToCbor::to_bytes`] gives.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        exact(bytes, MAX_BLOCK_BYTES)
    }
}

/// The second votes of a quorum for one block: that it is decided, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The block's height.
    pub height: u64,
    /// The round in which it was decided.
    pub round: u32,
    /// The block.
    pub block: BlockHash,
    /// Signatures over [`Vote::sign_bytes`] of a precommit.
    pub signatures: Signatures,
}

/// A certificate that does not prove a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Made for another block.
    #[error("the certificate is for another block")]
    Block,
    /// Too few signatures, or one that is wrong or of somebody else.
    #[error("the certificate is not signed by more than two thirds of the witnesses")]
    Signatures,
}

impl Certificate {
    /// What its signatures are over.
    pub fn sign_bytes(&self, network: &NetworkId) -> Vec<u8> {
        let (height, round, block) = (self.height, self.round, Some(self.block));
        Vote { network, height, round, kind: VoteKind::Precommit, block }.sign_bytes()
    }

    /// Checks that `witnesses`, those that decide at the header's height, decided this block.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(&self, network: &NetworkId, witnesses: &WitnessSet, header: &Header) -> Result<(), CertificateError> {
        if self.height != header.height || self.block != header.hash() {
            return Err(CertificateError::Block);
        }
        if !self.signatures.are_quorum(witnesses, &self.sign_bytes(network)) {
            return Err(CertificateError::Signatures);
        }
        Ok(())
    }
}

impl ToCbor for Certificate {
    fn to_cbor(&self) -> Value {
        Value::List(vec![
            height_value(self.height),
            Value::Int(self.round.into()),
            self.block.to_cbor(),
            self.signatures.to_cbor(),
        ])
    }
}

impl FromCbor for Certificate {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let [height, round, block, signatures] = value.as_list()? else {
            return Err(DecodeError::invalid("certificate", "not four elements"));
        };
        let round = u32::try_from(round.as_int()?).map_err(|_| DecodeError::invalid("certificate", "no round"))?;
        Ok(Certificate {
            height: as_height("certificate", height)?,
            round,
            block: BlockHash::from_cbor(block)?,
            signatures: Signatures::from_cbor(signatures)?,
        })
    }
}

/// A decided block, as nodes hand it to those that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedBlock {
    /// The block.
    pub block: NameBlock,
    /// That it is decided.
    pub certificate: Certificate,
}

impl DecidedBlock {
    /// Checks the certificate.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(&self, network: &NetworkId, witnesses: &WitnessSet) -> Result<(), CertificateError> {
        self.certificate.verify(network, witnesses, &self.block.header)
    }
}

impl ToCbor for DecidedBlock {
    fn to_cbor(&self) -> Value {
        Value::List(vec![self.block.to_cbor(), self.certificate.to_cbor()])
    }
}

impl FromCbor for DecidedBlock {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let [block, certificate] = value.as_list()? else {
            return Err(DecodeError::invalid("decided block", "not two elements"));
        };
        Ok(DecidedBlock { block: NameBlock::from_cbor(block)?, certificate: Certificate::from_cbor(certificate)? })
    }

    /// As a [`NameBlock`], and no longer than the signatures of all witnesses allow.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        exact(bytes, MAX_BLOCK_BYTES + MAX_CERTIFICATE_BYTES)
    }
}

/// Longest certificate, in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 64 + super::witness::MAX_WITNESSES * (32 + 64 + 4);
