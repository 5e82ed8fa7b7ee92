//! Which keys own which: the tree of owned keys of each writer, and the walk over all writers of an account
//! (`spec/02` §5).

use std::collections::HashSet;
use std::future::Future;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::block::{self, BlockError};
use super::champ::{self, BlockSource, Champ, ChampError, Change, Changed, KeyHashing, PARALLEL};
use super::writer_data::WriterData;
use crate::api::transport::MaybeSend;
use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{KeyHash, Owner, OwnerProof, PublicSigningKey, Writer};

/// The key of a writer in its parent's tree of owned keys: its link, backwards, so that what varies comes first
/// (`spec/02` §7.2).
pub fn owned_key(writer: &Writer) -> Vec<u8> {
    let mut key = writer.to_bytes();
    key.reverse();
    key
}

/// A tree of owned keys: writers and the blocks of their proofs.
pub fn owned_keys<'a>(
    proofs: impl IntoIterator<Item = (&'a Writer, Cid)>,
) -> Result<Changed, ChampError<std::convert::Infallible>> {
    let mappings = proofs.into_iter().map(|(writer, proof)| (owned_key(writer), Value::Link(proof)));
    champ::build(KeyHashing::Identity, mappings)
}

/// Adds a key to a parent's tree of owned keys; the proof's block is among those to be written. Fails if the key is
/// there already.
pub async fn add<S: BlockSource>(source: S, owned: &Cid, proof: &OwnerProof) -> Result<Changed, ChampError<S::Error>> {
    let block = Bytes::from(proof.to_bytes());
    let cid = Cid::of_cbor(&block);
    let change = Change::put(owned_key(&Writer::new(proof.owned.clone())), None, Value::Link(cid.clone()));
    let mut changed = Champ::new(source, KeyHashing::Identity).apply(owned, &[change]).await?;
    changed.blocks.insert(0, (cid, block));
    Ok(changed)
}

/// Removes a key from a parent's tree of owned keys, if it is there.
pub async fn remove<S: BlockSource>(source: S, owned: &Cid, key: &Writer) -> Result<Changed, ChampError<S::Error>> {
    Champ::new(source, KeyHashing::Identity).apply(owned, &[Change::discard(owned_key(key))]).await
}

/// Where a walk finds the writers' states: opened pointers and blocks.
pub trait WriterSource: BlockSource {
    /// The current target of a writer's pointer, none if there is no pointer or it was deleted.
    fn target(&self, writer: &Writer) -> impl Future<Output = Result<Option<Cid>, Self::Error>> + MaybeSend;
}

impl<S: WriterSource> WriterSource for &S {
    fn target(&self, writer: &Writer) -> impl Future<Output = Result<Option<Cid>, Self::Error>> + MaybeSend {
        (**self).target(writer)
    }
}

/// Why the owned keys could not be read. `E` is the error of the source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnershipError<E> {
    /// The source failed.
    #[error("cannot read the state of a writer")]
    Source(#[source] E),
    /// A tree of owned keys cannot be read.
    #[error(transparent)]
    Champ(#[from] ChampError<E>),
    /// The source does not have the block.
    #[error("the block {0} is missing")]
    Missing(Cid),
    /// The source's bytes are not the block.
    #[error("wrong block: {0}")]
    Block(#[source] BlockError),
    /// A block holds another structure.
    #[error("the block {cid} is malformed: {reason}")]
    Malformed {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// More keys than the caller wants to follow.
    #[error("more than {0} owned keys")]
    TooMany(usize),
}

/// All writers of an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walk {
    /// The writers in the order in which they were found; the identity key first. One whose pointer was deleted is
    /// there as long as its parent lists it.
    pub writers: Vec<Writer>,
    /// Parents and keys of proofs that do not open. The reference gives the whole walk up then, so that one bad proof
    /// would hide all other writers (`spec/02` §15 point 6).
    pub unproven: Vec<(Writer, KeyHash)>,
}

/// Finds all writers of an account. The trees on the way may hold `limit` entries together, counting also those that prove
/// nothing, or that were met before: each of them costs a read and two signatures.
pub async fn walk<S: WriterSource>(source: &S, owner: &Owner, limit: usize) -> Result<Walk, OwnershipError<S::Error>> {
    let root = Writer::from(owner);
    let mut seen = HashSet::from([root.clone()]);
    let mut walk = Walk { writers: vec![root], unproven: Vec::new() };
    let (mut next, mut budget) = (0, Budget { left: limit, limit });
    while let Some(writer) = walk.writers.get(next).cloned() {
        next += 1;
        let children = children(source, &writer, &mut budget, true).await?;
        walk.unproven.extend(children.unproven.into_iter().map(|key| (writer.clone(), key)));
        for child in children.proven {
            if seen.insert(child.clone()) {
                walk.writers.push(child);
            }
        }
    }
    Ok(walk)
}

/// Whether `writer` belongs to the account: it is the identity key, or a chain of trees of owned keys, proofs opened,
/// leads from there to it (`spec/02` §5.4). At most `limit` entries are looked at, as for [`walk`]. Labelled keys do not
/// count.
pub async fn owns<S: WriterSource>(
    source: &S,
    owner: &Owner,
    writer: &Writer,
    limit: usize,
) -> Result<bool, OwnershipError<S::Error>> {
    let mut pending = vec![Writer::from(owner)];
    let mut seen: HashSet<Writer> = pending.iter().cloned().collect();
    let mut budget = Budget { left: limit, limit };
    while let Some(parent) = pending.pop() {
        if parent == *writer {
            return Ok(true);
        }
        // The nearest way first: most entry points are owned by the identity key or its only child.
        if proven_child(source, &parent, writer).await? {
            return Ok(true);
        }
        let children = children(source, &parent, &mut budget, false).await?.proven;
        pending.extend(children.into_iter().filter(|child| seen.insert(child.clone())));
    }
    Ok(false)
}

/// Entries that one walk may still look at.
struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    fn take<E>(&mut self, entries: usize) -> Result<(), OwnershipError<E>> {
        self.left = self.left.checked_sub(entries).ok_or(OwnershipError::TooMany(self.limit))?;
        Ok(())
    }
}

#[derive(Default)]
struct Children {
    proven: Vec<Writer>,
    unproven: Vec<KeyHash>,
}

/// The keys that a parent's writer data list, with and without a proof that names this parent. Proofs that name another
/// parent are no error; they are left out.
async fn children<S: WriterSource>(
    source: &S,
    parent: &Writer,
    budget: &mut Budget,
    named: bool,
) -> Result<Children, OwnershipError<S::Error>> {
    let Some(data) = writer_data(source, parent).await? else { return Ok(Children::default()) };
    let mut proofs = Vec::new();
    if let Some(owned) = &data.owned {
        let champ = Champ::new(source, KeyHashing::Identity);
        let mut entries = champ.entries(owned);
        let mut links = Vec::new();
        while let Some(entry) = entries.next().await? {
            budget.take(1)?;
            match &entry.value {
                Value::Link(cid) => links.push(cid.clone()),
                Value::Null => {}
                other => {
                    let reason = DecodeError::Type { expected: "link", found: other.kind() };
                    return Err(OwnershipError::Malformed { cid: owned.clone(), reason });
                }
            }
        }
        for some in links.chunks(PARALLEL) {
            proofs.extend(try_join_all(some.iter().map(|cid| read::<S, OwnerProof>(source, cid))).await?);
        }
    }
    if let Some(named) = data.named.filter(|_| named) {
        budget.take(named.len())?;
        proofs.extend(named.into_values());
    }
    let mut children = Children::default();
    for proof in proofs {
        match opened_owner(source, &proof).await? {
            Some(owner) if owner == *parent.key_hash() => children.proven.push(Writer::new(proof.owned)),
            Some(_) => {}
            None => children.unproven.push(proof.owned),
        }
    }
    Ok(children)
}

/// Whether a parent's tree of owned keys has a key, with a proof of that key that names the parent.
async fn proven_child<S: WriterSource>(
    source: &S,
    parent: &Writer,
    child: &Writer,
) -> Result<bool, OwnershipError<S::Error>> {
    let Some(owned) = writer_data(source, parent).await?.and_then(|data| data.owned) else { return Ok(false) };
    let champ = Champ::new(source, KeyHashing::Identity);
    let Some(Value::Link(cid)) = champ.get(&owned, &owned_key(child)).await? else { return Ok(false) };
    let proof: OwnerProof = read(source, &cid).await?;
    // The proof must be the key's own, or any owned key could stand in for any other.
    Ok(proof.owned == *child.key_hash() && opened_owner(source, &proof).await?.as_ref() == Some(parent.key_hash()))
}

/// The owner that a proof names; none if its signature does not open, or opens to something else.
async fn opened_owner<S: WriterSource>(
    source: &S,
    proof: &OwnerProof,
) -> Result<Option<KeyHash>, OwnershipError<S::Error>> {
    let key = match proof.owned.signing_key() {
        Some(key) => key,
        // A hash that holds something else than a signing key proves nothing.
        None if proof.owned.cid().identity_content().is_some() => return Ok(None),
        // Keys of old accounts are blocks of their own.
        None => read::<S, PublicSigningKey>(source, proof.owned.cid()).await?,
    };
    Ok(proof.owner(&key).ok())
}

async fn writer_data<S: WriterSource>(
    source: &S,
    writer: &Writer,
) -> Result<Option<WriterData>, OwnershipError<S::Error>> {
    match source.target(writer).await.map_err(OwnershipError::Source)? {
        Some(target) => Ok(Some(read(source, &target).await?)),
        None => Ok(None),
    }
}

/// Fetches, verifies and decodes a block.
async fn read<S: BlockSource, T: FromCbor>(source: &S, cid: &Cid) -> Result<T, OwnershipError<S::Error>> {
    let block = source.block(cid).await.map_err(OwnershipError::Source)?;
    let block = block.ok_or_else(|| OwnershipError::Missing(cid.clone()))?;
    block::verify(cid, &block).map_err(OwnershipError::Block)?;
    let value = Value::decode_shared(&block).and_then(|value| T::from_cbor(&value));
    value.map_err(|reason| OwnershipError::Malformed { cid: cid.clone(), reason })
}
