//! What the rules ask of whoever keeps the names, and what a block changes there.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::{Future, ready};

use bytes::Bytes;

use super::{Chain, Username};
use crate::api::transport::{MaybeSend, MaybeSync};
use crate::encoding::{Cid, ToCbor, Value};
use crate::keys::Owner;
use crate::merkle::champ::{self, BlockSource, ChampError, KeyHashing};

/// How names find their place in the tree of names (`spec/06` §2.2).
pub const NAME_HASHING: KeyHashing = KeyHashing::Blake2b512;

/// The names as they were decided. Whoever reads several things of one block reads them from one moment.
pub trait NameStore: MaybeSync {
    /// What fails when names are read. An absent name is no failure.
    type Error: MaybeSend;

    /// The chain of a name.
    fn chain(&self, name: &Username) -> Result<Option<Chain>, Self::Error>;

    /// The name that a key owns or once owned (`spec/06` §12.6).
    fn name_of(&self, owner: &Owner) -> Result<Option<Username>, Self::Error>;

    /// A node of the present tree of names.
    fn node(&self, cid: &Cid) -> Result<Option<Bytes>, Self::Error>;
}

/// What a block changes. It is kept all or not at all, together with the state.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Delta {
    /// The new chains.
    pub chains: BTreeMap<Username, Chain>,
    /// Keys that were bound to a name.
    pub owners: BTreeMap<Owner, Username>,
    /// New nodes of the tree, the root last.
    pub nodes: Vec<(Cid, Bytes)>,
    /// Nodes that are no more part of the tree.
    pub dead_nodes: Vec<Cid>,
}

/// The value of a name in the tree: the link to the block of its chain.
pub(super) fn chain_link(chain: &Chain) -> Value {
    Value::Link(Cid::of_cbor(&chain.to_bytes()))
}

impl Delta {
    /// All of the names at once, into an empty store: the names that a network starts with, or a snapshot's. Also the
    /// root of their tree. The chains are not checked.
    ///
    /// # Errors
    /// Names that no tree can tell apart, which needs a collision of their hashes.
    pub fn of_names(chains: BTreeMap<Username, Chain>) -> Result<(Cid, Self), ChampError<Infallible>> {
        let mappings = chains.iter().map(|(name, chain)| (name.as_str().as_bytes(), chain_link(chain)));
        let tree = champ::build(NAME_HASHING, mappings)?;
        let owners =
            chains.iter().flat_map(|(name, chain)| chain.0.iter().map(|link| (link.owner.clone(), name.clone())));
        let owners = owners.collect();
        Ok((tree.root, Delta { chains, owners, nodes: tree.blocks, dead_nodes: Vec::new() }))
    }
}

/// The nodes of a store as the CHAMP wants them. They never wait.
pub(super) struct Nodes<'a, S>(pub(super) &'a S);

impl<S: NameStore> BlockSource for Nodes<'_, S> {
    type Error = S::Error;

    fn block(&self, cid: &Cid) -> impl Future<Output = Result<Option<Bytes>, S::Error>> + MaybeSend {
        ready(self.0.node(cid))
    }
}

/// Names in memory.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemoryNames {
    chains: BTreeMap<Username, Chain>,
    owners: BTreeMap<Owner, Username>,
    nodes: HashMap<Cid, Bytes>,
}

impl MemoryNames {
    /// Keeps what a block changes.
    pub fn put(&mut self, delta: Delta) {
        for dead in &delta.dead_nodes {
            self.nodes.remove(dead);
        }
        self.chains.extend(delta.chains);
        self.owners.extend(delta.owners);
        self.nodes.extend(delta.nodes);
    }

    /// All names and their chains.
    pub fn chains(&self) -> &BTreeMap<Username, Chain> {
        &self.chains
    }

    /// Number of nodes of the tree.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }
}

impl NameStore for MemoryNames {
    type Error = Infallible;

    fn chain(&self, name: &Username) -> Result<Option<Chain>, Infallible> {
        Ok(self.chains.get(name).cloned())
    }

    fn name_of(&self, owner: &Owner) -> Result<Option<Username>, Infallible> {
        Ok(self.owners.get(owner).cloned())
    }

    fn node(&self, cid: &Cid) -> Result<Option<Bytes>, Infallible> {
        Ok(self.nodes.get(cid).cloned())
    }
}
