//! Rotation: giving a file or directory and everything below it new keys and labels, and if others could write there a
//! new signer (`spec/03` §7.2–§7.4, `spec/05` §6.1).
//!
//! [`plan`] reads the old nodes from a [`NodeSource`] and says what is to be written and deleted; it writes nothing.
//! Contents are not encrypted anew: a file keeps its data key, marked dirty, and its fragments, so that the cost follows
//! the number of nodes and not the number of bytes. What was in a file when somebody lost access may stay known to him,
//! what is written afterwards does not become so.
//!
//! Other than the reference (`spec/03` §14.2–§14.4):
//! * An item with a writing space of its own survives the rotation of what is around it: only its old labels are
//!   deleted, never its space, unless that gets a new signer too.
//! * No label stays behind: old link nodes are deleted.
//! * What has a writing space of its own stays behind a link node, with new keys, since holders of a writable secret
//!   link know the old ones.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::capability::{AbsoluteCapability, CapabilityError, Location};
use super::chunk::{ChunkLabel, MapKey};
use super::fragments::{DataError, FragmentBlock, NodeData};
use super::name::EntryName;
use super::node::{CryptreeNode, NodeError};
use crate::api::transport::{MaybeSend, MaybeSync};
use crate::encoding::{Cid, DecodeError};
use crate::keys::{SigningPrivateKeyAndPublicHash, Writer};
use crate::merkle::bat::BatId;

mod parent;
mod subtree;

pub use parent::plan;

/// A node and the address under which the tree has it, which is what its change expects.
#[derive(Clone, Debug)]
pub struct StoredNode {
    /// The address of its block.
    pub cid: Cid,
    /// The node.
    pub node: CryptreeNode,
}

/// Hands out the nodes that are to be rotated, all of one consistent state of each writing space.
pub trait NodeSource: MaybeSync {
    /// What fails when nodes are fetched. An absent node is no failure.
    type Error: MaybeSend;

    /// The nodes at labels of a writer's tree, in order; none where the tree proves that there is nothing.
    fn nodes(
        &self,
        writer: &Writer,
        labels: &[ChunkLabel],
    ) -> impl Future<Output = Result<Vec<Option<StoredNode>>, Self::Error>> + MaybeSend;

    /// The fragment blocks of a long child list, in order.
    fn fragments(&self, data: &NodeData) -> impl Future<Output = Result<Vec<Bytes>, Self::Error>> + MaybeSend;
}

/// Why nothing was planned. `E` is the error of the node source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError<E> {
    /// The source failed.
    #[error("cannot read a node")]
    Source(#[source] E),
    /// The parent, or the item itself, is not there (any more).
    #[error("the item is not there any more")]
    Missing,
    /// A node does not open or cannot be changed with the keys at hand.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A child list does not open.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A child list holds something else.
    #[error("malformed child list: {0}")]
    ChildList(#[from] DecodeError),
    /// A capability does not lead on.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// A link node must hold exactly one child.
    #[error("a link node with {0} children")]
    LinkNode(usize),
}

/// What to rotate.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The directory that holds the item: its first chunk, writable.
    pub parent: &'a AbsoluteCapability,
    /// Who signs changes of that directory.
    pub parent_signer: &'a SigningPrivateKeyAndPublicHash,
    /// Which entry of the directory it is: the item's own location, or that of the link node in front of it.
    pub entry: &'a Location,
    /// Whether everything gets a new signer too: when write access is granted to an item that has no writing space of
    /// its own, and when it is taken back.
    pub new_signers: bool,
    /// The account's mirror token, for nodes that name none.
    pub mirror: Option<&'a BatId>,
}

/// A change of one label.
#[derive(Clone, Debug)]
pub struct NodeChange {
    /// In whose tree.
    pub writer: Writer,
    /// The label.
    pub map_key: MapKey,
    /// What must be there before; none for nothing. Anything else means that somebody changed the item meanwhile, and
    /// that the rotation has to be planned again.
    pub before: Option<Cid>,
    /// What is there afterwards; none for nothing.
    pub after: Option<CryptreeNode>,
    /// Fragment blocks that are new with it.
    pub fragments: Vec<FragmentBlock>,
}

/// A writing space that comes into being: the key is to be added to the owned keys of `owner` (with a proof), and gets
/// empty writer data, before anything else of the plan is signed with it.
#[derive(Clone, Debug)]
pub struct NewSpace {
    /// Its key.
    pub signer: SigningPrivateKeyAndPublicHash,
    /// The space around it.
    pub owner: Writer,
}

/// A writing space that is given up: its key is to be removed from the owned keys of `owner`, unless that is given up as
/// well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredSpace {
    /// Its key.
    pub writer: Writer,
    /// The space around it.
    pub owner: Writer,
}

/// A file or directory that has new capabilities.
#[derive(Clone, PartialEq, Eq)]
pub struct RotatedItem {
    /// Its path below the rotated item, whose own path is empty.
    pub path: Vec<EntryName>,
    /// The capability before, writable.
    pub old: AbsoluteCapability,
    /// The new one, writable: what is granted to readers (without write key) and writers.
    pub new: AbsoluteCapability,
    /// The link node in front of it, writable: what writable secret links hold. None for what lies in the writing space
    /// of its directory.
    pub link: Option<AbsoluteCapability>,
}

/// Says nothing of the path, which is made of names.
impl std::fmt::Debug for RotatedItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RotatedItem").field("old", &self.old).field("new", &self.new).finish_non_exhaustive()
    }
}

/// Everything that a rotation changes, to be committed at once.
#[derive(Debug, Default)]
pub struct Plan {
    /// The changes of labels: first all new nodes, then the parent's, then the deletions.
    pub changes: Vec<NodeChange>,
    /// Spaces that come into being, each after the one around it.
    pub spaces: Vec<NewSpace>,
    /// Spaces that are given up.
    pub retired: Vec<RetiredSpace>,
    /// The items, the rotated one first.
    pub items: Vec<RotatedItem>,
    /// Entries below the item that stay as they are, because they lie in writing spaces that we cannot sign for.
    /// Their keys are not rotated. A space that a retired one owns must not be among these: it would be lost.
    pub kept: Vec<(Vec<EntryName>, AbsoluteCapability)>,
    /// Entries that led to nothing, or back to something that was met before, and are dropped.
    pub dropped: Vec<Vec<EntryName>>,
    /// Who signs the changes, for each writer in them.
    pub signers: BTreeMap<Writer, SigningPrivateKeyAndPublicHash>,
}

impl Plan {
    /// The rotated item of a path below the item that was asked for.
    pub fn item(&self, path: &[&str]) -> Option<&RotatedItem> {
        self.items.iter().find(|item| item.path.iter().map(EntryName::as_str).eq(path.iter().copied()))
    }
}
