//! Blocks, transactions and look-ups in trees (`spec/02` §2, §8, §10.1, §12.2).

use std::collections::HashSet;

use bytes::Bytes;
use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::api::storage::{
    CloseTransaction, GetBlock, GetBlockSize, LookUpChunks, PutBlocks, StartTransaction, TransactionId,
};
use pyrgos_protocol::encoding::{Cid, Codec, FromCbor, text};
use pyrgos_protocol::keys::{Owner, PublicSigningKey, Writer};
use pyrgos_protocol::merkle::bat::{Bat, BatWithId, ReadCheck, prefix};
use pyrgos_protocol::merkle::block::{self, BlockError, SignedBlock};
use pyrgos_protocol::merkle::champ::{Champ, ChampError, KeyHashing, NodeMemory};
use pyrgos_store::{Batch, Blocks, Prefix, RecordKey, Records, Table};

use super::pointers::not_present;
use super::view::{View, run};
use super::{Failure, Service};

/// Largest answer to a look-up, in bytes. What does not fit is left out, and fetched by clients node by node
/// (`spec/02` §12.2): twenty nodes of files with the largest pictures fit several times, a tree that was made to be large
/// does not.
const MAX_LOOKUP_BYTES: usize = 8 << 20;

/// Most bytes of nodes that one look-up keeps decoded.
const LOOK_UP_NODES: usize = 1 << 20;

/// Most accounts in which one call looks for a block.
const MAX_ASKED: usize = 1000;

impl Service {
    /// Current and former identifiers of this node, the current one last.
    pub fn ids(&self) -> &[Cid] {
        &self.policy.ids
    }

    /// Draws a name for a transaction. Nothing is stored before the first block is put under it, and a name that this
    /// node did not draw is as good, so that a client can go on after the node was restarted.
    pub fn start_transaction(&self, _: StartTransaction) -> Result<TransactionId, Failure> {
        let mut random = [0; 16];
        self.parts.entropy.fill(&mut random);
        // Version and variant of a random UUID, which is the form that existing nodes give.
        random[6] = random[6] & 0x0f | 0x40;
        random[8] = random[8] & 0x3f | 0x80;
        let digits = text::hex(random);
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        Ok(parts.join("-").parse()?)
    }

    /// Ends the protection of the blocks that were put under a transaction. Closing what is not open does nothing.
    pub fn close_transaction(&self, call: CloseTransaction) -> Result<(), Failure> {
        let prefix = Prefix::of_transaction(&call.owner, call.transaction.as_str());
        if self.parts.records.scan(&prefix, None, 1)?.is_empty() {
            return Ok(());
        }
        self.write(Batch::new().delete_all(prefix).deferred())
    }

    /// Stores blocks of one writer (`spec/02` §2.4).
    pub fn put_blocks(&self, call: PutBlocks) -> Result<Vec<Cid>, Failure> {
        let PutBlocks { owner, writer, transaction, codec, group } = call;
        if group.blocks.is_empty() {
            return Err(Failure::refused("No blocks"));
        }
        // The cheap check before the signatures.
        if group.blocks.iter().any(|signed| signed.block.len() > block::MAX_BLOCK) {
            return Err(Failure::refused("Block too big!"));
        }
        let key = self.writing_key(&owner, &writer, &group.blocks)?;
        let digests: Vec<[u8; 32]> = group
            .blocks
            .iter()
            .map(|SignedBlock { block, signature }| block::check_signature(&key, block, signature))
            .collect::<Result<_, _>>()?;
        if !self.is_known(&owner, &writer)? {
            return Err(not_present(&writer));
        }
        let mut blocks = Vec::with_capacity(group.blocks.len());
        for (SignedBlock { block, .. }, digest) in group.blocks.into_iter().zip(digests) {
            block::check_writable(codec, &block).map_err(unwritable)?;
            blocks.push((Cid::from_sha256(codec, digest), block));
        }
        let admitted = self.admit_write(&owner, &writer, &blocks)?;
        let stored = self.guard_and_store(&owner, &transaction, &blocks);
        if stored.is_err() {
            // Not there, so not to be counted: a client that tries again would otherwise fill the quota with one block.
            self.ledger.give_back(&owner, &writer, admitted);
        }
        stored?;
        Ok(blocks.into_iter().map(|(cid, _)| cid).collect())
    }

    pub(super) fn guard_and_store(
        &self,
        owner: &Owner,
        transaction: &TransactionId,
        blocks: &[(Cid, Bytes)],
    ) -> Result<(), Failure> {
        let guarded_at = self.now_millis().to_be_bytes();
        let guards = blocks.iter().fold(Batch::new(), |batch, (cid, _)| {
            let key = RecordKey::transaction_block(owner, transaction.as_str(), cid);
            batch.put(key, Bytes::copy_from_slice(&guarded_at))
        });
        self.note_and_store(owner, guards, blocks)
    }

    /// Stores blocks so that a collection in work lets them be, and a later one looks at the account again. What protects
    /// them from that one is in `guards`, or the caller sees to it.
    pub(super) fn note_and_store(&self, owner: &Owner, guards: Batch, blocks: &[(Cid, Bytes)]) -> Result<(), Failure> {
        // A full disk refuses the guards' rows too: only what can follow is announced.
        self.parts.blocks.check_space()?;
        let _noted = self.news.putting(owner, blocks);
        // Before the blocks can be seen, so that a collection that sees them sees also that they are guarded.
        self.write(guards.delete(RecordKey::collected(owner)).deferred())?;
        Ok(self.parts.blocks.put(owner, blocks)?)
    }

    /// The key that must have signed the blocks. A writer whose hash does not hold its key brings the key as its first
    /// block.
    fn writing_key(&self, owner: &Owner, writer: &Writer, blocks: &[SignedBlock]) -> Result<PublicSigningKey, Failure> {
        if let [only] = blocks
            && writer.cid().matches(&only.block)
            && let Ok(key) = <PublicSigningKey as FromCbor>::from_bytes(&only.block)
        {
            return Ok(key);
        }
        self.key_of(owner, writer.clone())?.ok_or_else(|| not_present(writer))
    }

    /// Asks the ledger whether the account may write these blocks. A block that is there already takes no space, so that a
    /// repeated request is not counted twice. Answers the bytes that were counted.
    fn admit_write(&self, owner: &Owner, writer: &Writer, blocks: &[(Cid, Bytes)]) -> Result<u64, Failure> {
        let mut bytes = 0;
        for (cid, block) in blocks {
            if !self.parts.blocks.has(owner, cid)? {
                bytes += block.len() as u64;
            }
        }
        let quota = self.quota(owner)?.unwrap_or(0);
        let total = self.total_usage(owner)?;
        self.ledger.admit(owner, writer, bytes, total, quota, self.now_millis())?;
        Ok(bytes)
    }

    /// Reads a block, if its token fits.
    pub fn get_block(&self, call: GetBlock) -> Result<Option<Bytes>, Failure> {
        self.read_guarded(&View::new(&*self.parts.blocks, &call.owner), &call.cid, call.bat.as_ref())
    }

    pub(super) fn read_guarded(
        &self,
        view: &View<'_>,
        cid: &Cid,
        bat: Option<&BatWithId>,
    ) -> Result<Option<Bytes>, Failure> {
        let Some(block) = view.get(cid)? else { return Ok(None) };
        if let Err(refused) = may_read(cid, &block, bat) {
            let instance = bat.map_or(Ok(None), |_| self.instance_bat())?;
            let instance = instance.ok_or(refused)?;
            check_read(cid, &block, bat, Some(instance.bat()))?;
        }
        Ok(Some(block))
    }

    /// Size of a block. Everybody may know it. Existing clients do not say whose it is (`spec/04` §4.10), so that the
    /// accounts are asked one after another, and of many accounts only the first.
    pub fn block_size(&self, call: GetBlockSize) -> Result<Option<u64>, Failure> {
        let blocks = &self.parts.blocks;
        if let Some(owner) = call.owner {
            return Ok(blocks.size(&owner, &call.cid)?);
        }
        let identities = self.parts.records.scan(&Prefix::whole(Table::Identities), None, MAX_ASKED)?;
        for owner in identities.iter().filter_map(|(key, _)| key.to_owner()) {
            if let Some(size) = blocks.size(&owner, &call.cid)? {
                return Ok(Some(size));
            }
        }
        Ok(None)
    }

    /// Looks chunks up in a file tree: the nodes on the way to each, and the chunks whose tokens fit. One token that does
    /// not fit fails the whole call, as existing clients expect.
    pub fn look_up_chunks(&self, call: LookUpChunks) -> Result<Vec<Bytes>, Failure> {
        let LookUpChunks { owner, root, caps } = call;
        let view = View::new(&*self.parts.blocks, &owner);
        if view.get(&root)?.is_none() {
            return Err(Failure::refused(format!("Champ root not present locally: {root}")));
        }
        // The nodes near the root are on the way to most keys.
        let champ = Champ::new(&view, KeyHashing::Identity).with_memory(NodeMemory::new(LOOK_UP_NODES).into());
        let mut answer = Answer::default();
        // Key by key, so that no more than the way to one is in memory beside what is in the answer.
        for cap in &caps {
            let found = run(champ.bulk(&root, [&cap.map_key])).map_err(not_a_tree)?;
            for (cid, node) in found.nodes {
                if !answer.given.contains(&cid) {
                    // A guarded root is that of secret links, which nobody reads this way.
                    let bats = prefix::block_bats(Codec::DagCbor, &node).map_err(|_| ApiError::Unauthorised)?;
                    let check = ReadCheck { cid: &cid, bats: &bats, instance: None };
                    check.by_bat(None).map_err(|_| ApiError::Unauthorised)?;
                    answer.give(cid, node);
                }
            }
            for cid in found.values.into_iter().flatten().filter(|cid| cid.codec() == Codec::DagCbor) {
                if let Some(block) = self.read_guarded(&view, &cid, cap.bat.as_ref())? {
                    answer.give(cid, block);
                }
            }
            if answer.is_full {
                break;
            }
        }
        Ok(answer.blocks)
    }
}

/// Whether a token opens a block, wherever its bytes are kept.
///
/// # Errors
/// [`ApiError::Unauthorised`].
pub fn may_read(cid: &Cid, block: &Bytes, bat: Option<&BatWithId>) -> Result<(), Failure> {
    check_read(cid, block, bat, None)
}

/// The same where there is a token of the node, which opens every block.
fn check_read(cid: &Cid, block: &Bytes, bat: Option<&BatWithId>, instance: Option<&Bat>) -> Result<(), Failure> {
    if cid.identity_content().is_none() {
        // What cannot be read as guarded or open is given to nobody.
        let bats = prefix::block_bats(cid.codec(), block).map_err(|_| ApiError::Unauthorised)?;
        let check = ReadCheck { cid, bats: &bats, instance };
        check.by_bat(bat).map_err(|_| ApiError::Unauthorised)?;
    }
    Ok(())
}

/// What a look-up answers, each block once.
#[derive(Default)]
struct Answer {
    blocks: Vec<Bytes>,
    given: HashSet<Cid>,
    bytes: usize,
    is_full: bool,
}

impl Answer {
    fn give(&mut self, cid: Cid, block: Bytes) {
        self.is_full |= self.bytes + block.len() > MAX_LOOKUP_BYTES;
        if !self.is_full && self.given.insert(cid) {
            self.bytes += block.len();
            self.blocks.push(block);
        }
    }
}

/// Texts of blocks that may not be written.
fn unwritable(error: BlockError) -> Failure {
    match error {
        BlockError::NotCanonical(cause) => Failure::refused(format!("Not a dag-cbor block: {cause}")),
        other => Failure::refused(other.to_string()),
    }
}

pub(super) fn not_a_tree(error: ChampError<pyrgos_store::StoreError>) -> Failure {
    match error {
        ChampError::Source(error) => error.into(),
        ChampError::Missing(cid) => Failure::refused(format!("Champ node not present locally: {cid}")),
        other => Failure::refused(format!("Invalid cbor for CHAMP! {other}")),
    }
}
