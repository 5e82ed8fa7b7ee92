//! A client's write buffer, and the order in which its content reaches the server (`spec/02` §11).
//!
//! Nothing is sent here: the buffer becomes a [`CommitPlan`], whose steps the caller carries out one after another inside
//! a transaction. A lost race is resolved by [`conflict`].

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use pyrgos_crypto::sign::SecretKey;

use super::block::{self, BlockError, MAX_BLOCK, SMALL_BLOCK, SignedBlock};
use super::pointer::{MAX_SEQUENCE, MultiWriterCommit, PointerUpdate, SignedPointerUpdate};
use crate::encoding::{Cid, Codec, DecodeError, Value};
use crate::keys::Writer;

pub mod conflict;

pub use conflict::{MergeError, Merged, Reaction, merge, react};

/// Bytes of buffered blocks at which a client commits before its operation is over.
pub const FULL_BYTES: usize = 20 << 20;

/// Most raw blocks in one upload, unless a buffer says otherwise.
pub const MAX_RAW_BATCH: usize = 50;

/// Most cbor blocks in one upload.
pub const MAX_CBOR_BATCH: usize = 1000;

/// Most bytes of cbor blocks in one upload, unless it is a single block.
pub const MAX_CBOR_BATCH_BYTES: usize = 1 << 20;

/// Why a buffer takes or gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The writer's target stays what it is.
    #[error("nothing to commit: the writer data are the same")]
    NoChange,
    /// The new target was never put into the buffer.
    #[error("the new target {0} is not in the buffer")]
    NoTarget(Cid),
    /// No key to sign this writer's blocks and pointer with.
    #[error("no signing key for the writer {0}")]
    NoSigner(Writer),
    /// A block that no server would take.
    #[error("cannot write the block {cid}: {reason}")]
    Block {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        reason: BlockError,
    },
    /// The pointer cannot move further.
    #[error("the pointer of {writer} cannot move: {reason}")]
    Pointer {
        /// The writer.
        writer: Writer,
        /// Why not.
        reason: DecodeError,
    },
}

struct Buffered {
    block: Bytes,
    /// A signature that was made before the commit, and whose it is.
    signed: Option<(Writer, Bytes)>,
}

struct Move {
    writer: Writer,
    committed: Option<PointerUpdate>,
    target: Option<Cid>,
}

/// Blocks and pointer moves that wait to be committed together.
pub struct WriteBuffer {
    blocks: HashMap<Cid, Buffered>,
    /// In the order of first appearance: a parent comes before the writers that it authorises.
    moves: Vec<Move>,
    /// Who sends the blocks of new writers.
    carriers: HashMap<Writer, Writer>,
    raw_batch: usize,
    bytes: usize,
}

impl Default for WriteBuffer {
    fn default() -> Self {
        WriteBuffer::with_raw_batch(MAX_RAW_BATCH)
    }
}

impl WriteBuffer {
    /// A buffer that puts up to `raw_batch` raw blocks into one upload.
    pub fn with_raw_batch(raw_batch: usize) -> Self {
        WriteBuffer { blocks: HashMap::new(), moves: Vec::new(), carriers: HashMap::new(), raw_batch, bytes: 0 }
    }

    /// Keeps a block until the commit.
    pub fn put(&mut self, cid: Cid, block: Bytes) {
        self.insert(cid, Buffered { block, signed: None });
    }

    /// Keeps a block whose writer signed it already, as it happens where blocks are made on several threads.
    pub fn put_signed(&mut self, cid: Cid, writer: Writer, block: SignedBlock) {
        self.insert(cid, Buffered { block: block.block, signed: Some((writer, block.signature)) });
    }

    fn insert(&mut self, cid: Cid, block: Buffered) {
        let len = block.block.len();
        if self.blocks.insert(cid, block).is_none() {
            self.bytes += len;
        }
    }

    /// A buffered block. Reads look here first.
    pub fn get(&self, cid: &Cid) -> Option<&Bytes> {
        self.blocks.get(cid).map(|buffered| &buffered.block)
    }

    /// Bytes of all buffered blocks, superseded ones included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is time to commit.
    pub fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }

    /// The newest target of a writer: none if the buffer does not move it, `Some(None)` if it deletes it.
    pub fn target(&self, writer: &Writer) -> Option<Option<&Cid>> {
        self.moves.iter().find(|moved| moved.writer == *writer).map(|moved| moved.target.as_ref())
    }

    /// Moves a writer's pointer; none deletes it. `committed` is the last move that the server has, which counts when the
    /// writer appears in the buffer for the first time. Moves of one writer become one, from the first target to the
    /// last.
    pub fn set_target(
        &mut self,
        writer: &Writer,
        committed: Option<&PointerUpdate>,
        target: Option<Cid>,
    ) -> Result<(), CommitError> {
        if let Some(target) = target.as_ref().filter(|target| !self.blocks.contains_key(*target)) {
            return Err(CommitError::NoTarget(target.clone()));
        }
        match self.moves.iter_mut().find(|moved| moved.writer == *writer) {
            Some(moved) if moved.target == target => Err(CommitError::NoChange),
            Some(moved) => {
                moved.target = target;
                Ok(())
            }
            None if committed.and_then(PointerUpdate::updated) == target.as_ref() => Err(CommitError::NoChange),
            None => {
                self.moves.push(Move { writer: writer.clone(), committed: committed.cloned(), target });
                Ok(())
            }
        }
    }

    /// Lets a writer that the server knows send the blocks of a new one. The server takes blocks of new writers only after
    /// the pointer of their parent has moved (`spec/02` §2.5), but asks nowhere by whom a block was sent that a pointer
    /// leads to (§2.4, §3.3). So all pointers can move at once, and nobody ever sees a parent without its child.
    pub fn carry(&mut self, new: &Writer, by: &Writer) {
        self.carriers.insert(new.clone(), by.clone());
    }

    /// What to send. `signer` gives each writer's key. Blocks that no target reaches are left out.
    ///
    /// The buffer stays as it is, so that it can be read while the plan is carried out; drop it afterwards, also on
    /// failure.
    pub fn plan<'k>(&self, signer: impl Fn(&Writer) -> Option<&'k SecretKey>) -> Result<CommitPlan, CommitError> {
        // A writer that went back to where it was has nothing to publish.
        let committed = |moved: &Move| moved.committed.as_ref().and_then(PointerUpdate::updated).cloned();
        let moves: Vec<&Move> = self.moves.iter().filter(|moved| committed(moved) != moved.target).collect();
        // The server learns of a new writer by its parent's pointer, so that must be in place before the first block,
        // unless somebody else sends its blocks.
        let is_alone = |moved: &&Move| committed(moved).is_none() && !self.carriers.contains_key(&moved.writer);
        let one_by_one = moves.iter().any(is_alone);
        let mut plan = CommitPlan { steps: Vec::new() };
        let mut sent = HashSet::new();
        let mut updates = Vec::new();
        for moved in moves {
            let key_of = |writer: &Writer| signer(writer).ok_or_else(|| CommitError::NoSigner(writer.clone()));
            let key = key_of(&moved.writer)?;
            let reached = moved.target.as_ref().map(|target| self.reach(target, &mut sent)).transpose()?;
            let sender = self.carriers.get(&moved.writer).unwrap_or(&moved.writer);
            let batches = self.batches(sender, key_of(sender)?, reached.unwrap_or_default())?;
            if !batches.is_empty() {
                plan.steps.push(Step::Upload(batches));
            }
            let update = SignedPointerUpdate { writer: moved.writer.clone(), signed: moved.update()?.sign(key) };
            match one_by_one {
                true => plan.steps.push(Step::SetPointer(update)),
                false => updates.push(update),
            }
        }
        if !updates.is_empty() {
            plan.steps.push(Step::SetPointers(MultiWriterCommit { updates }));
        }
        Ok(plan)
    }

    /// The buffered blocks that a target reaches and nobody sent yet, children before parents.
    ///
    /// A block that two writers share goes with the first, whose pointer may be set before the second's blocks are sent.
    fn reach(&self, target: &Cid, sent: &mut HashSet<Cid>) -> Result<Vec<Cid>, CommitError> {
        enum Visit {
            Enter(Cid),
            Leave(Cid),
        }
        let mut reached = Vec::new();
        let mut pending = vec![Visit::Enter(target.clone())];
        while let Some(visit) = pending.pop() {
            let cid = match visit {
                Visit::Enter(cid) => cid,
                Visit::Leave(cid) => {
                    reached.push(cid);
                    continue;
                }
            };
            let Some(buffered) = self.blocks.get(&cid) else { continue };
            if !sent.insert(cid.clone()) {
                continue;
            }
            let invalid = |reason| CommitError::Block { cid: cid.clone(), reason };
            block::check_writable(cid.codec(), &buffered.block).map_err(invalid)?;
            pending.push(Visit::Leave(cid.clone()));
            if cid.codec() == Codec::DagCbor {
                let value = Value::decode_shared(&buffered.block);
                let links = value.map_err(|error| invalid(BlockError::NotCanonical(error)))?.links();
                pending.extend(links.into_iter().map(Visit::Enter));
            }
        }
        Ok(reached)
    }

    fn batches(&self, writer: &Writer, key: &SecretKey, cids: Vec<Cid>) -> Result<Vec<Upload>, CommitError> {
        let mut kinds: [Vec<(Cid, SignedBlock)>; 3] = Default::default();
        for cid in cids {
            let Some(buffered) = self.blocks.get(&cid) else { continue };
            let signature = match &buffered.signed {
                Some((by, signature)) if by == writer => signature.clone(),
                // A writer signs the hash of the block, which its address holds (`spec/02` §2.2).
                _ => key.sign_attached(cid.hash().digest()).into(),
            };
            let kind = match cid.codec() {
                Codec::Raw if buffered.block.len() >= SMALL_BLOCK => 0,
                Codec::Raw => 1,
                _ => 2,
            };
            kinds[kind].push((cid, SignedBlock { block: buffered.block.clone(), signature }));
        }
        let [large, small, cbor] = kinds;
        let upload = |codec, max_count, max_bytes| {
            let writer = writer.clone();
            move |blocks| split(blocks, max_count, max_bytes, &writer, codec)
        };
        let mut uploads = upload(Codec::Raw, self.raw_batch, MAX_BLOCK)(large);
        uploads.extend(upload(Codec::Raw, self.raw_batch, MAX_BLOCK)(small));
        uploads.extend(upload(Codec::DagCbor, MAX_CBOR_BATCH, MAX_CBOR_BATCH_BYTES)(cbor));
        Ok(uploads)
    }
}

impl Move {
    fn update(&self) -> Result<PointerUpdate, CommitError> {
        let update = match (&self.committed, &self.target) {
            (Some(committed), target) => committed.next(target.clone()),
            (None, Some(target)) => Ok(PointerUpdate::first(target.clone())),
            (None, None) => PointerUpdate::new(None, None, None),
        };
        let update = update.and_then(|update| match update.sequence() {
            Some(sequence) if sequence > MAX_SEQUENCE => {
                Err(DecodeError::invalid("PointerUpdate", "sequence exhausted"))
            }
            _ => Ok(update),
        });
        update.map_err(|reason| CommitError::Pointer { writer: self.writer.clone(), reason })
    }
}

/// Cuts blocks into uploads within the limits; a single block may exceed the bytes.
fn split(
    blocks: Vec<(Cid, SignedBlock)>,
    max_count: usize,
    max_bytes: usize,
    writer: &Writer,
    codec: Codec,
) -> Vec<Upload> {
    let mut uploads: Vec<Upload> = Vec::new();
    let mut bytes = 0;
    for (cid, block) in blocks {
        bytes += block.block.len();
        match uploads.last_mut() {
            Some(upload) if upload.blocks.len() < max_count && bytes <= max_bytes => {
                upload.cids.push(cid);
                upload.blocks.push(block);
            }
            _ => {
                bytes = block.block.len();
                uploads.push(Upload { writer: writer.clone(), codec, cids: vec![cid], blocks: vec![block] });
            }
        }
    }
    uploads
}

/// What one bulk put sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upload {
    /// Whose blocks.
    pub writer: Writer,
    /// Raw or dag-cbor.
    pub codec: Codec,
    /// What the server must answer, in this order.
    pub cids: Vec<Cid>,
    /// The blocks.
    pub blocks: Vec<SignedBlock>,
}

/// A step of a commit. It must be confirmed before the next one begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Uploads of one writer; they may run at the same time.
    Upload(Vec<Upload>),
    /// The move of one pointer.
    SetPointer(SignedPointerUpdate),
    /// The moves of all pointers at once.
    SetPointers(MultiWriterCommit),
}

/// The steps of a commit, between the start and the end of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitPlan {
    /// In this order.
    pub steps: Vec<Step>,
}
