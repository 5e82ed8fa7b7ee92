//! Looking up and changing the tree of a writing space (`spec/02` §6, §12.2).
//!
//! A node answers a look-up with blocks. Each is kept under its own hash, and the walk from the known root over these
//! blocks proves that a label is there, or that it is not; what the node says counts for nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::cache::BlockCache;
use super::error::ClientError;
use super::network::{Network, Repeat};
use super::runtime::Runtime;
use crate::api::storage::LookUpChunks;
use crate::api::{ApiError, Call, CallError, Transport};
use crate::cryptree::chunk::{ChunkLabel, MapKey};
use crate::encoding::{Cid, ToCbor, Value};
use crate::keys::{Owner, OwnerProof, Writer};
use crate::merkle::bat::caps::MAX_CAPS;
use crate::merkle::bat::{BatWithId, ChunkMirrorCap};
use crate::merkle::champ::{BlockSource, Champ, ChampError, Change, KeyHashing, Node, NodeMemory};
use crate::merkle::writer_data::owned_key;

/// Most bytes of nodes of an answer that are kept decoded.
const ANSWER_NODES: usize = 1 << 20;

/// What a tree holds under some labels: the node's address and its block; none where it proves that there is nothing.
pub(crate) async fn lookup<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    owner: &Owner,
    root: &Cid,
    labels: &[ChunkLabel],
) -> Result<Vec<Option<(Cid, Bytes)>>, ClientError> {
    let champ = Champ::new(InMemory(&network.blocks), KeyHashing::Identity).with_memory(network.nodes.clone());
    let mut found: Vec<Option<Found>> = labels.iter().map(|label| in_memory(&champ, root, label)).collect();
    let missing: Vec<usize> = (0..labels.len()).filter(|at| found[*at].is_none()).collect();
    let groups = missing.chunks(MAX_CAPS).map(|group| {
        let labels: Vec<ChunkLabel> = group.iter().map(|at| labels[*at].clone()).collect();
        async move { ask(network, owner, root, &labels).await }
    });
    let groups: Vec<_> = groups.collect();
    let answers: Vec<Vec<Found>> =
        stream::iter(groups).buffered(network.settings.look_ups_in_flight.max(1)).try_collect().await?;
    for (at, answer) in missing.into_iter().zip(answers.into_iter().flatten()) {
        found[at] = Some(answer);
    }
    Ok(found.into_iter().map(Option::flatten).collect())
}

/// What a tree holds under one label.
type Found = Option<(Cid, Bytes)>;

/// Blocks that are in memory already.
struct InMemory<'a>(&'a BlockCache);

impl BlockSource for InMemory<'_> {
    type Error = std::convert::Infallible;

    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, Self::Error> {
        Ok(self.0.get(cid))
    }
}

/// The answer for a label, if memory has all of it.
fn in_memory(champ: &Champ<InMemory<'_>>, root: &Cid, label: &ChunkLabel) -> Option<Found> {
    // Memory never waits, so the walk is finished at its first poll.
    match champ.get(root, label.map_key.as_ref()).now_or_never()? {
        Ok(None) => Some(None),
        Ok(Some(Value::Link(cid))) => champ.source().0.get(&cid).map(|block| Some((cid, block))),
        _ => None,
    }
}

/// Blocks of an answer, of memory, and, where these lack one, of the node.
struct Answered<'a, T, R> {
    network: &'a Network<T, R>,
    owner: &'a Owner,
    answer: HashMap<Cid, Bytes>,
    used: Mutex<HashSet<Cid>>,
}

impl<T: Transport, R: Runtime> Answered<'_, T, R> {
    async fn fetch(&self, cid: &Cid, bat: Option<&BatWithId>) -> Result<Bytes, ClientError> {
        if let Some(block) = self.answer.get(cid) {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(cid.clone());
            self.network.blocks.put(cid, block);
            return Ok(block.clone());
        }
        self.network.block(self.owner, cid, bat).await
    }

    /// Whether the answer has blocks that no walk has led to.
    fn has_foreign_blocks(&self) -> bool {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).len() < self.answer.len()
    }
}

impl<T: Transport, R: Runtime> BlockSource for &Answered<'_, T, R> {
    type Error = ClientError;

    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, ClientError> {
        self.fetch(cid, None).await.map(Some)
    }
}

/// Asks the node for up to [`MAX_CAPS`] labels.
async fn ask<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    owner: &Owner,
    root: &Cid,
    labels: &[ChunkLabel],
) -> Result<Vec<Found>, ClientError> {
    let bats: Vec<Option<BatWithId>> =
        labels.iter().map(|label| label.bat.clone().map(BatWithId::by_content)).collect();
    let cap = |(label, bat): (&ChunkLabel, &Option<BatWithId>)| ChunkMirrorCap {
        map_key: label.map_key.as_bytes().to_vec(),
        bat: bat.clone(),
    };
    let caps = labels.iter().zip(&bats).map(cap).collect();
    let call = LookUpChunks { owner: owner.clone(), root: root.clone(), caps };
    let blocks = match network.try_call(Repeat::Safely, &call).await {
        Ok(blocks) => blocks,
        Err(CallError::Api(ApiError::Refused { message, .. })) if message.contains("Champ root not present") => {
            return Err(ClientError::WithheldBlock { cid: root.clone() });
        }
        Err(error) => return Err(ClientError::of_call(LookUpChunks::PATH, error)),
    };
    let hash = move || blocks.into_iter().map(|block| (Cid::of_cbor(&block), block)).collect();
    let answer: HashMap<Cid, Bytes> = network.runtime.compute(hash).await;
    let answered = Answered { network, owner, answer, used: Mutex::default() };
    // A memory of its own: what this answer is good for shows in what is taken from it.
    let champ = Champ::new(&answered, KeyHashing::Identity).with_memory(NodeMemory::new(ANSWER_NODES).into());
    let mut found = Vec::new();
    for (label, bat) in labels.iter().zip(&bats) {
        let result = async {
            let value = champ.get(root, label.map_key.as_ref()).await.map_err(champ_error)?;
            match value {
                None => Ok(None),
                Some(Value::Link(cid)) => {
                    let block = answered.fetch(&cid, bat.as_ref()).await?;
                    Ok(Some((cid, block)))
                }
                Some(_) => Err(ClientError::Inconsistent("a label that leads to no block")),
            }
        };
        match result.await {
            Ok(one) => found.push(one),
            // The answer neither proved anything nor was all of it about this tree.
            Err(ClientError::WithheldBlock { .. }) if answered.has_foreign_blocks() => {
                return Err(ClientError::ForgedListing { root: root.clone() });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn champ_error(error: ChampError<ClientError>) -> ClientError {
    match error {
        ChampError::Source(error) => error,
        ChampError::Missing(cid) => ClientError::WithheldBlock { cid },
        ChampError::Malformed { reason, .. } => {
            ClientError::Damaged { what: "the tree of a writing space", source: reason }
        }
        ChampError::Mismatch { .. } | ChampError::Conflict { .. } => ClientError::Conflict,
        ChampError::TooDeep => ClientError::Limit("the tree of a writing space is deeper than trees may be"),
        _ => ClientError::Inconsistent("the tree of a writing space is not well formed"),
    }
}

/// The tree after some changes, and the blocks that are new in it, those of the changed labels included.
pub(crate) async fn apply<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    owner: &Owner,
    root: Option<&Cid>,
    changes: BTreeMap<MapKey, Option<(Cid, Bytes)>>,
) -> Result<(Option<Cid>, Vec<(Cid, Bytes)>), ClientError> {
    if changes.is_empty() {
        return Ok((root.cloned(), Vec::new()));
    }
    if let Some(root) = root {
        // One call brings the ways to all new labels, which would otherwise be fetched node by node. A label that is
        // there and not in memory makes it fail for want of its token, and then they are.
        let new = changes.iter().filter(|(_, after)| after.is_some());
        let labels: Vec<ChunkLabel> = new.map(|(key, _)| ChunkLabel { map_key: *key, bat: None }).collect();
        let _ = lookup(network, owner, root, &labels).await;
    }
    let mut nodes = Vec::new();
    let changes: Vec<Change> = changes
        .into_iter()
        .map(|(key, after)| {
            let key = Bytes::copy_from_slice(key.as_bytes());
            let Some((cid, block)) = after else { return Change::discard(key) };
            nodes.push((cid.clone(), block));
            Change { value: Some(Value::Link(cid)), ..Change::discard(key) }
        })
        .collect();
    let (root, blocks) = change(network, owner, root, &changes).await?;
    nodes.extend(blocks);
    Ok((Some(root), nodes))
}

/// The owned keys of a writer with some more and without others, and the blocks that are new.
pub(crate) async fn own<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    owner: &Owner,
    owned: Option<&Cid>,
    added: &[OwnerProof],
    removed: &[Writer],
) -> Result<(Option<Cid>, Vec<(Cid, Bytes)>), ClientError> {
    let mut blocks = Vec::new();
    let mut changes: Vec<Change> = removed.iter().map(|writer| Change::discard(owned_key(writer))).collect();
    for proof in added {
        let block = Bytes::from(proof.to_bytes());
        let cid = Cid::of_cbor(&block);
        changes.push(Change::put(owned_key(&Writer::new(proof.owned.clone())), None, Value::Link(cid.clone())));
        blocks.push((cid, block));
    }
    let (root, nodes) = change(network, owner, owned, &changes).await?;
    blocks.extend(nodes);
    Ok((Some(root), blocks))
}

async fn change<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    owner: &Owner,
    root: Option<&Cid>,
    changes: &[Change],
) -> Result<(Cid, Vec<(Cid, Bytes)>), ClientError> {
    let source = Answered { network, owner, answer: HashMap::new(), used: Mutex::default() };
    let champ = Champ::new(&source, KeyHashing::Identity);
    match root {
        Some(root) => {
            let changed = champ.apply(root, changes).await.map_err(champ_error)?;
            Ok((changed.root, changed.blocks))
        }
        None => {
            let (node, mut blocks) = champ.apply_in(&Node::default(), changes).await.map_err(champ_error)?;
            let (cid, block) = node.to_block();
            blocks.push((cid.clone(), block));
            Ok((cid, blocks))
        }
    }
}
