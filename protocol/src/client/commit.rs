//! Publishing what a view changed: blocks first, then all pointers of an owner in one compare-and-swap (`spec/02` §11).
//! What is sent, and in which order, is for [`merkle::commit`](crate::merkle::commit) to say.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::lock::Mutex;
use futures_util::stream::{self, StreamExt, TryStreamExt};

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
use crate::keys::{Owner, Writer};
use crate::merkle::block::{BlockWriteGroup, SignedBlock};
use crate::merkle::champ;
use crate::merkle::commit::{CommitPlan, Step, Upload, WriteBuffer};
use crate::merkle::pointer::{MultiWriterCommit, PointerUpdate};
use crate::merkle::writer_data::WriterData;

/// Most bytes of blocks in one call.
const MAX_CALL_BYTES: usize = 1_048_676;

/// Most blocks in one call.
const MAX_CALL_BLOCKS: usize = 500;

/// Keeps new blocks from being collected until a pointer reaches them. Lives as long as the operation that it serves, so
/// that what was sent once need not be sent again after a lost race. A node hears of it with the first block of an owner;
/// each owner has a transaction of their own.
#[derive(Default)]
pub(crate) struct Transaction {
    open: Mutex<BTreeMap<Owner, TransactionId>>,
}

impl Transaction {
    /// Opens it for an owner, unless it is open.
    pub(crate) async fn open<T: Transport, R: Runtime>(
        &self,
        network: &Network<T, R>,
        owner: &Owner,
    ) -> Result<TransactionId, ClientError> {
        let mut open = self.open.lock().await;
        if let Some(id) = open.get(owner) {
            return Ok(id.clone());
        }
        let id = network.call(Repeat::Safely, &StartTransaction { owner: owner.clone() }).await?;
        open.insert(owner.clone(), id.clone());
        Ok(id)
    }

    /// Ends the protection: the pointers are set, or nothing will come of it.
    pub(crate) async fn close<T: Transport, R: Runtime>(self, network: &Network<T, R>) {
        for (owner, transaction) in self.open.into_inner() {
            let call = CloseTransaction { owner, transaction };
            // What was published is reachable and what was not may be collected, so nothing depends on the answer; the
            // node closes forgotten transactions by itself.
            let _ = network.call(Repeat::Safely, &call).await;
        }
    }

    /// Sends blocks of one kind and checks that the node stored what was meant.
    async fn put<T: Transport, R: Runtime>(
        &self,
        network: &Network<T, R>,
        owner: &Owner,
        upload: Upload,
    ) -> Result<(), ClientError> {
        let Upload { writer, codec, cids, blocks } = upload;
        let (owner, transaction) = (owner.clone(), self.open(network, owner).await?);
        let call = PutBlocks { owner, writer, transaction, codec, group: BlockWriteGroup { blocks } };
        let stored = network.call(Repeat::Safely, &call).await?;
        match stored == cids {
            true => Ok(()),
            false => Err(ClientError::CutAnswer {
                call: PutBlocks::PATH,
                reason: "the node stored other blocks than it was sent".into(),
            }),
        }
    }

    /// Sends several batches at once.
    async fn put_all<T: Transport, R: Runtime>(
        &self,
        network: &Network<T, R>,
        owner: &Owner,
        uploads: Vec<Upload>,
    ) -> Result<(), ClientError> {
        let send = |upload| async move { self.put(network, owner, upload).await };
        let sends = stream::iter(uploads.into_iter().map(send));
        sends.buffer_unordered(network.settings.calls_in_flight.max(1)).try_collect::<()>().await
    }

    /// Sends fragments before the commit that makes them reachable, several calls at once.
    pub(crate) async fn put_fragments<T: Transport, R: Runtime>(
        &self,
        network: &Network<T, R>,
        owner: &Owner,
        signer: &Signer,
        fragments: Vec<FragmentBlock>,
    ) -> Result<(), ClientError> {
        let send = |batch: Vec<FragmentBlock>| async move {
            let signer = signer.clone();
            let work = move || {
                let sign = |fragment: FragmentBlock| {
                    // A writer signs the hash of the block, which its address holds (`spec/02` §2.2).
                    let signature = signer.secret.sign_attached(fragment.cid().hash().digest()).into();
                    (fragment.cid().clone(), SignedBlock { signature, block: fragment.to_block() })
                };
                let (cids, blocks) = batch.into_iter().map(sign).unzip();
                Upload { writer: signer.writer(), codec: Codec::Raw, cids, blocks }
            };
            let upload = network.runtime.compute(work).await;
            self.put(network, owner, upload).await
        };
        let sends = stream::iter(batches(fragments).into_iter().map(send));
        sends.buffer_unordered(network.settings.calls_in_flight.max(1)).try_collect::<()>().await
    }
}

/// Runs a change under a transaction, while no other change of the session runs.
macro_rules! with_transaction {
    ($core:expr, |$transaction:ident| $change:expr) => {{
        let core = &**$core;
        let _writing = core.writing.lock().await;
        let transaction = $crate::client::commit::Transaction::default();
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
fn batches(blocks: Vec<FragmentBlock>) -> Vec<Vec<FragmentBlock>> {
    let mut batches: Vec<Vec<FragmentBlock>> = Vec::new();
    let mut bytes = 0;
    for block in blocks {
        let len = block.block_len();
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
    begins_in: Option<Writer>,
    before: Option<PointerUpdate>,
    version: Version,
    blocks: Vec<(Cid, Bytes)>,
    fragments: Vec<FragmentBlock>,
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// Publishes all changes. Afterwards the view shows the published state, and may be changed again.
    ///
    /// All changes of one owner appear at once. Those of several owners cannot: the account's own come first, and if the
    /// others fail then, they are there. An operation for which that matters makes two commits in the order it needs.
    ///
    /// # Errors
    /// [`ClientError::Conflict`] if a pointer has moved since this view read it; then nothing of that owner was
    /// published, and the changes must be applied to a new view.
    pub(crate) async fn commit(&mut self, transaction: &Transaction) -> Result<(), ClientError> {
        self.seal_directories().await?;
        let mut own = Vec::new();
        let mut of_others: BTreeMap<Owner, Vec<Space>> = BTreeMap::new();
        for (writer, space) in std::mem::take(&mut self.spaces) {
            match self.owner_of(&writer) {
                owner if self.core.is_owner(owner) => own.push(space),
                owner => of_others.entry(owner.clone()).or_default().push(space),
            }
        }
        if let Some(first) = own.first() {
            let owner = self.owner_of(&first.signer.writer()).clone();
            self.commit_of(transaction, &owner, own).await?;
        }
        for (owner, spaces) in of_others {
            self.commit_of(transaction, &owner, spaces).await?;
        }
        Ok(())
    }

    /// Publishes the changes of one owner at once.
    async fn commit_of(
        &mut self,
        transaction: &Transaction,
        owner: &Owner,
        spaces: Vec<Space>,
    ) -> Result<(), ClientError> {
        let network = &self.core.network;
        let next = async {
            let mut next = Vec::new();
            for space in spaces {
                next.extend(self.next_state(owner, space).await?);
            }
            Ok(next)
        };
        let (mut next, _) = try_join(next, transaction.open(network, owner)).await?;
        if next.is_empty() {
            return Ok(());
        }
        let plan = plan(network, &mut next).await?;
        let mut uploads = Vec::new();
        for step in plan.steps {
            match step {
                Step::Upload(more) => uploads.extend(more),
                Step::SetPointer(update) => {
                    transaction.put_all(network, owner, std::mem::take(&mut uploads)).await?;
                    self.set_pointers(owner, &next, MultiWriterCommit { updates: vec![update] }).await?;
                }
                Step::SetPointers(commit) => {
                    transaction.put_all(network, owner, std::mem::take(&mut uploads)).await?;
                    self.set_pointers(owner, &next, commit).await?;
                }
            }
        }
        for state in next {
            state.blocks.iter().for_each(|(cid, block)| network.blocks.put(cid, block));
            self.versions.insert(state.signer.writer(), state.version);
        }
        Ok(())
    }

    /// Encrypts the lists of all changed directories.
    pub(crate) async fn seal_directories(&mut self) -> Result<(), ClientError> {
        let core = self.core;
        let mut sealed = Vec::new();
        for directory in self.directories.values_mut() {
            let Some(signer) = directory.item.signer.clone() else { continue };
            let mirror = directory.item.mirror(core.mirror_of(&directory.item.cap.owner));
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
    async fn next_state(&mut self, owner: &Owner, space: Space) -> Result<Option<Next>, ClientError> {
        let core = self.core;
        let network = &core.network;
        let signer = space.signer;
        let version = self.version(&signer.writer()).await?.clone();
        let (data, mut blocks) = if space.ended {
            (None, Vec::new())
        } else {
            let (mut new, mut blocks) = match (version.data.as_deref(), &space.begins_in) {
                (Some(old), None) => (old.clone(), Vec::new()),
                (None, Some(_)) => (WriterData::new(signer.writer().key_hash().clone()), champ::empty().blocks),
                (None, None) => return Err(ClientError::Inconsistent("a writing space without data")),
                (Some(_), Some(_)) => return Err(ClientError::Inconsistent("a new writing space that has data")),
            };
            let (tree, nodes) = tree::apply(network, owner, new.tree.as_ref(), space.changes).await?;
            new.tree = tree;
            blocks.extend(nodes);
            if !space.owned.is_empty() || !space.disowned.is_empty() {
                let (owned, proofs) =
                    tree::own(network, owner, new.owned.as_ref(), &space.owned, &space.disowned).await?;
                new.owned = owned;
                blocks.extend(proofs);
            }
            blocks.extend(self.change_identity(owner, &mut new, space.identity).await?);
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
        let before = match (&version.target, version.sequence) {
            (None, None) => None,
            // What was before that plays no part in the next move.
            (target, sequence) => {
                let original = target.is_none().then(|| Cid::of_cbor(&[]));
                Some(
                    PointerUpdate::new(original, target.clone(), sequence)
                        .map_err(ClientError::damaged("a pointer"))?,
                )
            }
        };
        let sequence = Some(version.sequence.unwrap_or(0).saturating_add(1));
        let version = Version { target, sequence, data: data.map(Arc::new) };
        Ok(Some(Next { signer, begins_in: space.begins_in, before, version, blocks, fragments: space.fragments }))
    }

    /// Moves all pointers or none.
    async fn set_pointers(&self, owner: &Owner, next: &[Next], commit: MultiWriterCommit) -> Result<(), ClientError> {
        let network = &self.core.network;
        let call = SetPointers { owner: owner.clone(), commit };
        match network.try_call(Repeat::Safely, &call).await {
            Ok(true) => {}
            Ok(false) => return Err(ClientError::Conflict),
            // An earlier attempt arrived although its answer did not (`spec/02` §3.5).
            Err(CallError::Api(ApiError::PointerCas(cas)))
                if cas.existing.is_some() && next.iter().any(|state| state.version.target == cas.existing) => {}
            Err(CallError::Api(ApiError::PointerCas(_))) => return Err(ClientError::Conflict),
            Err(error) => return Err(ClientError::of_call(SetPointers::PATH, error)),
        }
        for update in &call.commit.updates {
            let Some(state) = next.iter().find(|state| state.signer.writer() == update.writer) else { continue };
            network.observe(&update.writer, &state.signer.secret.public(), &update.signed)?;
        }
        Ok(())
    }
}

/// Puts the next states of an owner's writers into a buffer and asks it what to send. Signing keeps a processor busy, so
/// it happens elsewhere.
async fn plan<T: Transport, R: Runtime>(network: &Network<T, R>, next: &mut [Next]) -> Result<CommitPlan, ClientError> {
    let begins: HashMap<Writer, Writer> =
        next.iter().filter_map(|state| Some((state.signer.writer(), state.begins_in.clone()?))).collect();
    // Parents before their children.
    next.sort_by_key(|state| depth(&begins, &state.signer.writer()).0);
    let mut buffer = WriteBuffer::with_raw_batch(MAX_CALL_BLOCKS);
    for state in next.iter_mut() {
        let writer = state.signer.writer();
        state.blocks.iter().for_each(|(cid, block)| buffer.put(cid.clone(), block.clone()));
        let fragments = std::mem::take(&mut state.fragments);
        fragments.iter().for_each(|fragment| buffer.put(fragment.cid().clone(), fragment.to_block()));
        if state.begins_in.is_some() {
            buffer.carry(&writer, &depth(&begins, &writer).1);
        }
        buffer.set_target(&writer, state.before.as_ref(), state.version.target.clone()).map_err(of_commit)?;
    }
    let signers: HashMap<Writer, Signer> =
        next.iter().map(|state| (state.signer.writer(), state.signer.clone())).collect();
    let work = move || buffer.plan(|writer| signers.get(writer).map(|signer| &signer.secret));
    network.runtime.compute(work).await.map_err(of_commit)
}

/// How many new spaces are around a writer, and the first around it that is not new.
fn depth(begins: &HashMap<Writer, Writer>, writer: &Writer) -> (usize, Writer) {
    let (mut depth, mut writer) = (0, writer);
    while let Some(parent) = begins.get(writer).filter(|_| depth < begins.len()) {
        (depth, writer) = (depth + 1, parent);
    }
    (depth, writer.clone())
}

fn of_commit(error: crate::merkle::commit::CommitError) -> ClientError {
    use crate::merkle::commit::CommitError;
    match error {
        CommitError::Pointer { reason, .. } => ClientError::Damaged { what: "a pointer", source: reason },
        CommitError::Block { .. } => ClientError::Limit("a block is larger than nodes take"),
        _ => ClientError::Inconsistent("a commit that does not hold together"),
    }
}
