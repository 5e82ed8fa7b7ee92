//! A node that was fetched and opened, with what it takes to change it.

use std::sync::Arc;

use bytes::Bytes;

use super::error::ClientError;
use crate::cryptree::capability::{AbsoluteCapability, CapabilityError, RelativeCapability};
use crate::cryptree::chunk::ChunkLabel;
use crate::cryptree::fragments::DataError;
use crate::cryptree::name::FileName;
use crate::cryptree::node::{BaseBlock, CryptreeNode, NodeError, OpenNode, ParentBlock};
use crate::cryptree::properties::FileProperties;
use crate::encoding::Cid;
use crate::keys::{CipherError, SigningPrivateKeyAndPublicHash, SymmetricKey};
use crate::merkle::bat::BatId;

/// The signer of a writing space, shared by everything in it.
pub(crate) type Signer = Arc<SigningPrivateKeyAndPublicHash>;

/// How a node was reached: its capability, and the signer that it inherits from the directory above it.
#[derive(Clone)]
pub(crate) struct Reached {
    pub cap: AbsoluteCapability,
    pub signer: Option<Signer>,
}

/// The first chunk of a file or directory, or a link node.
#[derive(Clone)]
pub(crate) struct Item {
    pub cap: AbsoluteCapability,
    /// The block that holds it in the version that was read.
    pub cid: Cid,
    pub node: CryptreeNode,
    pub open: OpenNode,
    /// Who signs changes; none if this session cannot change it.
    pub signer: Option<Signer>,
    /// The link node through which it was reached, the first one if there are several.
    pub link: Option<Box<Item>>,
}

impl Item {
    /// Opens a node with the capability that led to it.
    pub(crate) fn open(reached: &Reached, cid: Cid, block: &Bytes) -> Result<Self, ClientError> {
        let node = CryptreeNode::from_block(block).map_err(ClientError::damaged("a node"))?;
        Item::of_node(reached, cid, node)
    }

    /// As [`Item::open`], of a node that was read already.
    pub(crate) fn of_node(reached: &Reached, cid: Cid, node: CryptreeNode) -> Result<Self, ClientError> {
        let cap = reached.cap.clone();
        let open = node.open(&cap.base_key).map_err(node_error)?;
        let inherited = reached.signer.as_deref();
        let signer = match open.signer(&cap, inherited) {
            Ok(signer) => match &reached.signer {
                Some(known) if **known == signer => Some(known.clone()),
                _ => Some(Arc::new(signer)),
            },
            Err(NodeError::NotWritable | NodeError::Signer { .. }) => None,
            Err(error) => return Err(node_error(error)),
        };
        Ok(Item { cap, cid, node, open, signer, link: None })
    }

    /// The item, reached through a link node. An earlier link on the way stays the one that gives the name.
    pub(crate) fn through(mut self, link: Item) -> Self {
        self.link = Some(link.link.clone().unwrap_or_else(|| Box::new(link)));
        self
    }

    /// How the child of an entry is reached.
    pub(crate) fn child(&self, cap: &RelativeCapability) -> Result<Reached, ClientError> {
        let cap = cap.to_absolute(&self.cap).map_err(capability_error)?;
        let signer = self.signer.clone().filter(|signer| signer.writer() == cap.writer);
        Ok(Reached { cap, signer })
    }

    /// The node that the containing directory has an entry of: the link node if there is one.
    pub(crate) fn entry_point(&self) -> &Item {
        self.link.as_deref().unwrap_or(self)
    }

    pub(crate) fn properties(&self) -> &FileProperties {
        self.open.properties()
    }

    pub(crate) fn parent_block(&self) -> &ParentBlock {
        self.open.parent_block()
    }

    /// The name, which a link gives to its target (`spec/03` §1.10).
    pub(crate) fn name(&self) -> &FileName {
        &self.entry_point().properties().name
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.properties().is_directory()
    }

    /// Whether it is a directory of somebody else above what is shared: its name can be read, its entries cannot.
    pub(crate) fn is_way_through(&self) -> bool {
        self.is_directory() && self.open.base_block().is_none()
    }

    pub(crate) fn is_link(&self) -> bool {
        self.properties().is_link
    }

    /// Parent key or data key, and the next chunk.
    pub(crate) fn base(&self) -> Result<&BaseBlock, ClientError> {
        self.open.base_block().ok_or(ClientError::WrongKey("a directory reached by its parent key"))
    }

    /// The key of the parent block.
    pub(crate) fn parent_block_key(&self) -> &SymmetricKey {
        self.open.parent_block_key(&self.cap.base_key)
    }

    /// The link from a child in the given writing space up to this directory.
    pub(crate) fn parent_link(&self, child: &AbsoluteCapability) -> Result<RelativeCapability, ClientError> {
        let writer = (self.cap.writer != child.writer).then(|| self.cap.writer.clone());
        Ok(RelativeCapability::to_parent(self.cap.label(), self.base()?.key.clone(), writer))
    }

    /// The mirror token that new nodes in this directory name: the directory's own, else the account's.
    pub(crate) fn mirror(&self, account: Option<&BatId>) -> Option<BatId> {
        self.node.mirror_bat().or(account).cloned()
    }

    /// The label of the chunk after this one, as the node names it; not to be used for files with a stream secret.
    pub(crate) fn next_label(&self) -> Result<ChunkLabel, ClientError> {
        Ok(self.base()?.next.label())
    }
}

pub(crate) fn node_error(error: NodeError) -> ClientError {
    match error {
        NodeError::Malformed(error) => cipher_error("a node")(error),
        NodeError::EqualKeys => ClientError::Inconsistent("a node whose keys are the same"),
        _ => ClientError::WrongKey("a node"),
    }
}

pub(crate) fn cipher_error(what: &'static str) -> impl Fn(CipherError) -> ClientError {
    move |error| match error {
        CipherError::Decode(source) => ClientError::Damaged { what, source },
        _ => ClientError::WrongKey(what),
    }
}

pub(crate) fn data_error(what: &'static str) -> impl Fn(DataError) -> ClientError {
    move |error| match error {
        DataError::Cipher(error) => cipher_error(what)(error),
        DataError::Decode(source) => ClientError::Damaged { what, source },
        _ => ClientError::Inconsistent("a node with another number of fragments than it names"),
    }
}

pub(crate) fn capability_error(error: CapabilityError) -> ClientError {
    match error {
        CapabilityError::WriteLink(_) => ClientError::WrongKey("the link to a write key"),
        _ => ClientError::Inconsistent("an entry that belongs to another owner"),
    }
}
