//! What a client does when another device moved the pointer first (`spec/02` §3.5, §11.5).

use bytes::Bytes;

use crate::encoding::{Cid, DecodeError, ToCbor};
use crate::merkle::champ::{BlockSource, Champ, ChampError, KeyHashing};
use crate::merkle::pointer::{CasFailure, PointerUpdate};
use crate::merkle::writer_data::WriterData;

/// What a failed compare-and-swap calls for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reaction {
    /// Our own earlier attempt arrived: all is well.
    Arrived,
    /// Another version is there; merge with it, or do the change again on top of it.
    Merge {
        /// The version that is there.
        existing: Cid,
    },
    /// The writer is gone: its pointer was deleted, or this server never had it.
    Gone,
}

/// What to do about a move that the server refused with `failure`.
pub fn react(update: &PointerUpdate, failure: &CasFailure) -> Reaction {
    match &failure.existing {
        existing if existing.as_ref() == update.updated() => Reaction::Arrived,
        Some(existing) => Reaction::Merge { existing: existing.clone() },
        None => Reaction::Gone,
    }
}

/// Why two versions of a writer cannot be joined. `E` is the error of the block source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError<E> {
    /// We changed something besides the tree, which a merge would lose.
    #[error("concurrent modification: a change outside of the file tree cannot be merged")]
    OtherFields,
    /// A change in the tree met another one, or the trees cannot be read.
    #[error(transparent)]
    Tree(#[from] ChampError<E>),
    /// The pointer cannot move to the merged version.
    #[error("the pointer cannot move: {0}")]
    Pointer(#[source] DecodeError),
}

/// Two versions in one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merged {
    /// Theirs, with the tree of both.
    pub data: WriterData,
    /// Blocks that have to be uploaded, the new target last.
    pub blocks: Vec<(Cid, Bytes)>,
    /// The move from their version to this one; none if theirs has all of ours already.
    pub update: Option<PointerUpdate>,
}

/// Joins our version of a writer with the one that is on the server. `source` has the blocks of all three versions, ours
/// from the write buffer.
///
/// Refused when anything but `tree` differs between the common base and ours; the reference loses such changes
/// (`spec/02` §15 point 5).
pub async fn merge<S: BlockSource>(
    source: S,
    base: &WriterData,
    ours: &WriterData,
    theirs: &WriterData,
    failure: &CasFailure,
) -> Result<Merged, MergeError<S::Error>> {
    if !base.differs_only_in_tree(ours) {
        return Err(MergeError::OtherFields);
    }
    let champ = Champ::new(source, KeyHashing::Identity);
    let [base, ours] = [base, ours].map(|data| data.tree.as_ref());
    if base == ours {
        return Ok(Merged { data: theirs.clone(), blocks: Vec::new(), update: None });
    }
    let tree = champ.merge(base, ours, theirs.tree.as_ref()).await?;
    let data = WriterData { tree: Some(tree.root), ..theirs.clone() };
    let block = Bytes::from(data.to_bytes());
    let target = Cid::of_cbor(&block);
    if failure.existing.as_ref() == Some(&target) {
        return Ok(Merged { data, blocks: Vec::new(), update: None });
    }
    let sequence = failure.sequence.unwrap_or(0).checked_add(1);
    let update = PointerUpdate::new(failure.existing.clone(), Some(target.clone()), sequence);
    let mut blocks = tree.blocks;
    blocks.push((target, block));
    Ok(Merged { data, blocks, update: Some(update.map_err(MergeError::Pointer)?) })
}
