//! What is decided, in the node's own records: the names as the rest of the node knows them, the tree of names, the blocks
//! and the state, each decision in one batch.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor};
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::merkle::champ::{BlockSource, Champ, ChampError};
use pyrgos_protocol::names::proof::WitnessChange;
use pyrgos_protocol::names::snapshot::witnesses_after;
use pyrgos_protocol::names::store::NAME_HASHING;
use pyrgos_protocol::names::{
    Chain, DecidedBlock, Delta, NameProof, NameStore, NetworkId, SnapshotHead, State, Username, WitnessSet,
};
use pyrgos_store::{Batch, Prefix, RecordKey, Records, StoreError, Table};

use super::engine::Decision;

const STATE: &str = "state of names";

/// Records that are read at once.
const PAGE: usize = 4096;

/// Most bytes of names and chains in a snapshot; with more, a joiner takes the history.
pub const MAX_SNAPSHOT_BYTES: usize = 256 << 20;

/// How often all names are read while blocks are being decided.
const SNAPSHOT_ATTEMPTS: usize = 5;

/// All names at one block.
pub struct Snapshot {
    /// The state and its proof.
    pub head: SnapshotHead,
    /// The names.
    pub names: BTreeMap<Username, Chain>,
}

/// The records cannot be used for a network's names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// The store holds something that this node did not write.
    #[error("damaged record: {0}")]
    Damaged(&'static str),
    /// The node decided about names alone before.
    #[error("this node has names that it decided about alone; use another data directory for the network `{0}`")]
    OwnNames(NetworkId),
    /// The node was part of another network.
    #[error("the data directory is of the network `{0}`")]
    OtherNetwork(NetworkId),
}

/// Names in records.
#[derive(Clone)]
pub struct Keeper {
    records: Arc<dyn Records>,
}

impl Keeper {
    /// Names in these records.
    pub fn new(records: Arc<dyn Records>) -> Self {
        Keeper { records }
    }

    /// The state after the last decision, or of a network in which nothing is decided yet.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn load(&self, network: &NetworkId, witnesses: WitnessSet) -> Result<State, KeeperError> {
        if let Some(record) = self.records.read(&RecordKey::meta(STATE))? {
            let state = State::from_bytes(&record).map_err(|_| KeeperError::Damaged(STATE))?;
            if state.network() != network {
                return Err(KeeperError::OtherNetwork(state.network().clone()));
            }
            return Ok(state);
        }
        if !self.records.scan(&Prefix::whole(Table::Names), None, 1)?.is_empty() {
            return Err(KeeperError::OwnNames(network.clone()));
        }
        let (root, delta) = Delta::of_names(Default::default()).map_err(|_| KeeperError::Damaged("empty tree"))?;
        let state = State::genesis(network.clone(), witnesses, root);
        self.commit(&state, &delta, None)?;
        Ok(state)
    }

    /// Keeps a decision, all of it or nothing.
    ///
    /// # Errors
    /// The store's.
    pub fn keep(&self, decision: &Decision) -> Result<(), KeeperError> {
        self.commit(&decision.applied.state, &decision.applied.delta, Some(&decision.decided))
    }

    fn commit(&self, state: &State, delta: &Delta, block: Option<&DecidedBlock>) -> Result<(), KeeperError> {
        let batch = match block {
            Some(decided) => Batch::new().put(RecordKey::name_block(decided.block.header.height), decided.to_bytes()),
            None => Batch::new(),
        };
        self.write(batch, state, delta)
    }

    fn write(&self, batch: Batch, state: &State, delta: &Delta) -> Result<(), KeeperError> {
        let mut batch = batch.put(RecordKey::meta(STATE), state.to_bytes());
        for (name, chain) in &delta.chains {
            batch = batch.put(RecordKey::name(name.as_str()), chain.to_bytes());
        }
        for (owner, name) in &delta.owners {
            batch = batch.put(RecordKey::identity(owner), name.as_str().as_bytes().to_vec());
        }
        for dead in &delta.dead_nodes {
            batch = batch.delete(RecordKey::name_node(dead));
        }
        for (cid, node) in &delta.nodes {
            batch = batch.put(RecordKey::name_node(cid), node.clone());
        }
        // Without conditions there is no conflict.
        let _ = self.records.commit(batch)?;
        Ok(())
    }

    /// Proves who owns a name at the last decided block, or that nobody does. None before the first block, and if another
    /// block is decided meanwhile: then it is to be asked for again.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn prove(&self, state: &State, name: &Username) -> Result<Option<NameProof>, KeeperError> {
        let decided = |height| -> Result<Option<DecidedBlock>, KeeperError> {
            let bytes = self.block_bytes(height)?;
            bytes.map(|bytes| DecidedBlock::from_bytes(&bytes)).transpose().map_err(|_| KeeperError::Damaged("block"))
        };
        let Some(DecidedBlock { block, certificate }) = decided(state.height())? else { return Ok(None) };
        let mut changes: Vec<WitnessChange> = Vec::new();
        changes.extend(self.changing_blocks(state)?.iter().filter_map(witnesses_after));
        let champ = Champ::new(Nodes(self), NAME_HASHING);
        let found = champ.bulk(&block.header.root, [name.as_str()]).now_or_never();
        let nodes = match found {
            Some(Ok(found)) => found.nodes.into_iter().map(|(_, node)| node).collect(),
            Some(Err(ChampError::Source(error))) => return Err(error),
            // A newer tree took its place.
            _ => return Ok(None),
        };
        let chain = self.chain(name)?.map(|chain| chain.to_bytes().into());
        Ok(Some(NameProof { username: name.clone(), changes, header: block.header, certificate, nodes, chain }))
    }

    /// The blocks that changed the witnesses. Seldom any, so nobody keeps a list of them. A node that began with a snapshot
    /// has those of the blocks before.
    fn changing_blocks(&self, state: &State) -> Result<Vec<DecidedBlock>, KeeperError> {
        let mut changing = Vec::new();
        for height in 1..=if state.changes() > 0 { state.height() } else { 0 } {
            let Some(bytes) = self.block_bytes(height)? else { continue };
            let block = DecidedBlock::from_bytes(&bytes).map_err(|_| KeeperError::Damaged("block"))?;
            if witnesses_after(&block).is_some() {
                changing.push(block);
            }
        }
        Ok(changing)
    }

    /// All names after the last decision, for a node that joins. None before the first, if there are more than a snapshot
    /// holds, and while blocks are decided faster than names are read.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn snapshot(&self) -> Result<Option<Snapshot>, KeeperError> {
        for _ in 0..SNAPSHOT_ATTEMPTS {
            let read = || self.records.read(&RecordKey::meta(STATE));
            let Some(before) = read()? else { return Ok(None) };
            let state = State::from_bytes(&before).map_err(|_| KeeperError::Damaged(STATE))?;
            let Some(block) = self.block_bytes(state.height())? else { return Ok(None) };
            let (mut names, mut bytes, mut after) = (BTreeMap::new(), 0, None);
            loop {
                let rows = self.records.scan(&Prefix::whole(Table::Names), after.as_ref(), PAGE)?;
                for (key, row) in &rows {
                    bytes += key.bytes().len() + row.len();
                    let name = key.to_username().and_then(|name| Username::existing(name).ok());
                    let chain = Chain::from_bytes(row).map_err(|_| KeeperError::Damaged("claim chain"))?;
                    names.insert(name.ok_or(KeeperError::Damaged("name"))?, chain);
                }
                after = rows.last().map(|(key, _)| key.clone());
                if rows.len() < PAGE {
                    break;
                }
                if bytes > MAX_SNAPSHOT_BYTES {
                    return Ok(None);
                }
            }
            // Otherwise these are names of two states.
            if read()?.as_ref() == Some(&before) {
                let block = DecidedBlock::from_bytes(&block).map_err(|_| KeeperError::Damaged("block"))?;
                let head = SnapshotHead { changes: self.changing_blocks(&state)?, state, block };
                return Ok(Some(Snapshot { head, names }));
            }
        }
        Ok(None)
    }

    /// Takes the place of what is here by a snapshot, which the caller has verified, all of it or nothing.
    ///
    /// # Errors
    /// The store's.
    pub fn adopt(&self, head: &SnapshotHead, delta: &Delta) -> Result<(), KeeperError> {
        let mut batch = Batch::new();
        // The tree that was here. No name ever goes.
        let (fresh, mut after): (HashSet<&Cid>, _) = (delta.nodes.iter().map(|(cid, _)| cid).collect(), None);
        loop {
            let rows = self.records.scan(&Prefix::whole(Table::NameNodes), after.as_ref(), PAGE)?;
            for (key, _) in &rows {
                if Cid::from_bytes(key.bytes()).is_ok_and(|cid| !fresh.contains(&cid)) {
                    batch = batch.delete(key.clone());
                }
            }
            after = rows.last().map(|(key, _)| key.clone());
            if rows.len() < PAGE {
                break;
            }
        }
        for decided in [&head.block].into_iter().chain(&head.changes) {
            batch = batch.put(RecordKey::name_block(decided.block.header.height), decided.to_bytes());
        }
        self.write(batch, &head.state, delta)
    }

    /// A decided block in its bytes.
    ///
    /// # Errors
    /// The store's.
    pub fn block_bytes(&self, height: u64) -> Result<Option<Bytes>, StoreError> {
        self.records.read(&RecordKey::name_block(height))
    }
}

/// The nodes of the present tree.
struct Nodes<'a>(&'a Keeper);

impl BlockSource for Nodes<'_> {
    type Error = KeeperError;

    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, KeeperError> {
        self.0.node(cid)
    }
}

impl NameStore for Keeper {
    type Error = KeeperError;

    fn chain(&self, name: &Username) -> Result<Option<Chain>, KeeperError> {
        let Some(record) = self.records.read(&RecordKey::name(name.as_str()))? else { return Ok(None) };
        Chain::from_bytes(&record).map(Some).map_err(|_| KeeperError::Damaged("claim chain"))
    }

    fn name_of(&self, owner: &Owner) -> Result<Option<Username>, KeeperError> {
        let Some(record) = self.records.read(&RecordKey::identity(owner))? else { return Ok(None) };
        let name = std::str::from_utf8(&record).ok().and_then(|name| Username::existing(name).ok());
        name.map(Some).ok_or(KeeperError::Damaged("name of an identity"))
    }

    fn node(&self, cid: &Cid) -> Result<Option<Bytes>, KeeperError> {
        Ok(self.records.read(&RecordKey::name_node(cid))?)
    }
}
