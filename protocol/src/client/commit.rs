//! Publishing what a view changed: blocks first, then all pointers in one compare-and-swap (`spec/02` §11).

use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::lock::Mutex;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::core::Core;
use super::error::ClientError;
use super::item::Signer;
use super::network::{Network, Repeat, Version};
use super::runtime::Runtime;
use super::tree;
use super::view::{Space, View};
use crate::api::mutable::SetPointers;
use crate::api::storage::{CloseTransaction, PutBlocks, StartTransaction, TransactionId};
use crate::api::{ApiError, Call, CallError, Transport};
use crate::cryptree::fragments::FragmentBlock;
use crate::encoding::{Cid, Codec, ToCbor};
use crate::keys::Owner;
use crate::merkle::block::{BlockWriteGroup, SignedBlock};
use crate::merkle::pointer::{MultiWriterCommit, PointerUpdate, SignedPointerUpdate};
use crate::merkle::writer_data::WriterData;

/// Most bytes of blocks in one call.
const MAX_CALL_BYTES: usize = 1_048_676;

/// Most blocks in one call.
const MAX_CALL_BLOCKS: usize = 500;

/// Keeps new blocks from being collected until a pointer reaches them. Lives as long as the operation that it serves, so
/// that what was sent once need not be sent again after a lost race. The node hears of it with the first block.
pub(crate) struct Transaction {
    owner: Owner,
    id: Mutex<Option<TransactionId>>,
}

impl Transaction {
    pub(crate) fn new<T: Transport, R: Runtime>(core: &Core<T, R>) -> Self {
        Transaction { owner: core.tree.owner.clone(), id: Mutex::new(None) }
    }

    /// Opens it at the node, unless it is open.
    pub(crate) async fn open<T: Transport, R: Runtime>(
        &self,
        network: &Network<T, R>,
    ) -> Result<TransactionId, ClientError> {
        let mut id = self.id.lock().await;
        match &*id {
            Some(id) => Ok(id.clone()),
            None => {
                let call = StartTransaction { owner: self.owner.clone() };
                Ok(id.insert(network.call(Repeat::Safely, &call).await?).clone())
            }
        }
    }

    /// Ends the protection: the pointers are set, or nothing will come of it.
    pub(crate) async fn close<T: Transport, R: Runtime>(self, network: &Network<T, R>) {
        let Some(transaction) = self.id.into_inner() else { return };
        let call = CloseTransaction { owner: self.owner, transaction };
        // What was published is reachable and what was not may be collected, so nothing depends on the answer; the
        // node closes forgotten transactions by itself.
        let _ = network.call(Repeat::Safely, &call).await;
    }

    /// Sends blocks of one kind and checks that the node stored what was meant.
    pub(crate) async fn put<T: Transport, R: Runtime>(
        &self,
        network: &Network<T, R>,
        signer: &Signer,
        codec: Codec,
        blocks: Vec<(Cid, Bytes)>,
    ) -> Result<(), ClientError> {
        let signing = signer.clone();
        let work = move || {
            let sign = |(cid, block): (Cid, Bytes)| {
                // A writer signs the hash of the block, which its address holds (`spec/02` §2.2).
                let signature = signing.secret.sign_attached(cid.hash().digest()).into();
                (cid, SignedBlock { signature, block })
            };
            blocks.into_iter().map(sign).unzip()
        };
        let (cids, blocks): (Vec<Cid>, Vec<SignedBlock>) = network.runtime.compute(work).await;
        let (owner, transaction) = (self.owner.clone(), self.open(network).await?);
        let call = PutBlocks { owner, writer: signer.writer(), transaction, codec, group: BlockWriteGroup { blocks } };
        let stored = network.call(Repeat::Safely, &call).await?;
        match stored == cids {
            true => Ok(()),
            false => Err(ClientError::CutAnswer {
                call: PutBlocks::PATH,
                reason: "the node stored other blocks than it was sent".into(),
            }),
        }
    }

    /// Sends fragments, several calls at once.
    pub(crate) async fn put_fragments<T: Transport, R: Runtime>(
        &self,
        network: &Network<T, R>,
        signer: &Signer,
        fragments: Vec<FragmentBlock>,
    ) -> Result<(), ClientError> {
        let batches = batches(fragments, FragmentBlock::block_len);
        let send = |batch: Vec<FragmentBlock>| async move {
            let blocks = batch.into_iter().map(|fragment| (fragment.cid().clone(), fragment.to_block())).collect();
            self.put(network, signer, Codec::Raw, blocks).await
        };
        let sends = stream::iter(batches.into_iter().map(send));
        sends.buffer_unordered(network.settings.calls_in_flight.max(1)).try_collect::<()>().await
    }

    async fn put_nodes<T: Transport, R: Runtime>(
        &self,
        network: &Network<T, R>,
        signer: &Signer,
        blocks: Vec<(Cid, Bytes)>,
    ) -> Result<(), ClientError> {
        let batches = batches(blocks, |(_, block)| block.len());
        let send = |batch| async move { self.put(network, signer, Codec::DagCbor, batch).await };
        let sends = stream::iter(batches.into_iter().map(send));
        sends.buffer_unordered(network.settings.calls_in_flight.max(1)).try_collect::<()>().await
    }
}

/// Runs a change under a transaction, while no other change of the session runs.
macro_rules! with_transaction {
    ($core:expr, |$transaction:ident| $change:expr) => {{
        let core = &**$core;
        let _writing = core.writing.lock().await;
        let transaction = Transaction::new(core);
        let result: Result<_, ClientError> = {
            let $transaction = &transaction;
            async { $change }.await
        };
        transaction.close(&core.network).await;
        result
    }};
}
pub(crate) use with_transaction;

/// Groups that each fit into one call.
fn batches<B>(blocks: Vec<B>, len: impl Fn(&B) -> usize) -> Vec<Vec<B>> {
    let mut batches: Vec<Vec<B>> = Vec::new();
    let mut bytes = 0;
    for block in blocks {
        let len = len(&block);
        match batches.last_mut() {
            Some(batch) if bytes + len <= MAX_CALL_BYTES && batch.len() < MAX_CALL_BLOCKS => {
                bytes += len;
                batch.push(block);
            }
            _ => {
                bytes = len;
                batches.push(vec![block]);
            }
        }
    }
    batches
}

/// The next state of one writer.
struct Next {
    signer: Signer,
    update: PointerUpdate,
    version: Version,
    blocks: Vec<(Cid, Bytes)>,
    fragments: Vec<FragmentBlock>,
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// Publishes all changes at once. Afterwards the view shows the published state, and may be changed again.
    ///
    /// # Errors
    /// [`ClientError::Conflict`] if a pointer has moved since this view read it; then nothing was published, and the
    /// changes must be applied to a new view.
    pub(crate) async fn commit(&mut self, transaction: &Transaction) -> Result<(), ClientError> {
        self.seal_directories().await?;
        let spaces = std::mem::take(&mut self.spaces);
        if spaces.is_empty() {
            return Ok(());
        }
        let network = &self.core.network;
        let next = async {
            let mut next = Vec::new();
            for space in spaces.into_values() {
                next.extend(self.next_state(space).await?);
            }
            Ok(next)
        };
        let (mut next, _) = try_join(next, transaction.open(network)).await?;
        if next.is_empty() {
            return Ok(());
        }
        for state in &mut next {
            let fragments = transaction.put_fragments(network, &state.signer, std::mem::take(&mut state.fragments));
            try_join(fragments, transaction.put_nodes(network, &state.signer, state.blocks.clone())).await?;
        }
        self.set_pointers(&next).await?;
        for state in next {
            state.blocks.iter().for_each(|(cid, block)| network.blocks.put(cid, block));
            self.versions.insert(state.signer.writer(), state.version);
        }
        Ok(())
    }

    /// Encrypts the lists of all changed directories.
    async fn seal_directories(&mut self) -> Result<(), ClientError> {
        let core = self.core;
        let mut sealed = Vec::new();
        let account_mirror = core.tree.mirror_bat.as_ref().map(|bat| bat.id().clone());
        for directory in self.directories.values_mut() {
            let Some(signer) = directory.item.signer.clone() else { continue };
            let mirror = directory.item.mirror(account_mirror.as_ref());
            for chunk in directory.chunks.iter_mut().filter(|chunk| chunk.changed) {
                let (children, key, mirror) =
                    (chunk.children.clone(), directory.item.cap.base_key.clone(), mirror.clone());
                let mut rng = core.network.runtime.rng();
                let work = move || children.seal(&key, mirror.as_ref(), &mut rng);
                let (data, fragments) = core.network.runtime.compute(work).await;
                chunk.node = chunk.node.with_data(data);
                chunk.changed = false;
                sealed.push((signer.clone(), chunk.map_key, chunk.node.clone(), fragments));
            }
            if let Some(first) = directory.chunks.first() {
                directory.item.node = first.node.clone();
                directory.item.cid = first.node.to_block().0;
            }
        }
        for (signer, map_key, node, fragments) in sealed {
            let space = self.space_of(&signer);
            space.put(map_key, &node);
            space.fragments.extend(fragments);
        }
        Ok(())
    }

    /// The state of a space after its changes, with the blocks that are new in it; none if nothing changes.
    async fn next_state(&mut self, space: Space) -> Result<Option<Next>, ClientError> {
        let core = self.core;
        let (network, owner) = (&core.network, &core.tree.owner);
        let signer = space.signer;
        let version = self.version(&signer.writer()).await?.clone();
        let sequence = version.sequence.unwrap_or(0) + 1;
        let (data, mut blocks) = if space.ended {
            (None, Vec::new())
        } else {
            let old = version.data.as_deref().ok_or(ClientError::Inconsistent("a writing space without data"))?;
            let mut new: WriterData = old.clone();
            let (tree, mut blocks) = tree::apply(network, owner, old.tree.as_ref(), space.changes).await?;
            new.tree = tree;
            if !space.disowned.is_empty() {
                let (owned, champ) = tree::disown(network, owner, old.owned.as_ref(), &space.disowned).await?;
                new.owned = owned;
                blocks.extend(champ);
            }
            (Some(new), blocks)
        };
        let target = data.as_ref().map(|data| {
            let block = Bytes::from(data.to_bytes());
            let cid = Cid::of_cbor(&block);
            blocks.push((cid.clone(), block));
            cid
        });
        if target == version.target {
            return Ok(None);
        }
        let update = PointerUpdate::new(version.target, target.clone(), Some(sequence))
            .map_err(ClientError::damaged("a pointer"))?;
        let version = Version { target, sequence: Some(sequence), data: data.map(std::sync::Arc::new) };
        Ok(Some(Next { signer, update, version, blocks, fragments: space.fragments }))
    }

    /// Moves all pointers or none.
    async fn set_pointers(&self, next: &[Next]) -> Result<(), ClientError> {
        let network = &self.core.network;
        let signed: Vec<Bytes> = next.iter().map(|state| state.update.sign(&state.signer.secret)).collect();
        let update = |(state, signed): (&Next, &Bytes)| SignedPointerUpdate {
            writer: state.signer.writer(),
            signed: signed.clone(),
        };
        let updates = next.iter().zip(&signed).map(update).collect();
        let call = SetPointers { owner: self.core.tree.owner.clone(), commit: MultiWriterCommit { updates } };
        match network.try_call(Repeat::Safely, &call).await {
            Ok(true) => {}
            Ok(false) => return Err(ClientError::Conflict),
            // An earlier attempt arrived although its answer did not (`spec/02` §3.5).
            Err(CallError::Api(ApiError::PointerCas(cas)))
                if cas.existing.is_some()
                    && next.iter().any(|state| state.update.updated() == cas.existing.as_ref()) => {}
            Err(CallError::Api(ApiError::PointerCas(_))) => return Err(ClientError::Conflict),
            Err(error) => return Err(ClientError::of_call(SetPointers::PATH, error)),
        }
        for (state, signed) in next.iter().zip(&signed) {
            network.observe(&state.signer.writer(), &state.signer.secret.public(), signed)?;
        }
        Ok(())
    }
}
