//! Which operations are valid, one after the other on top of a state (`spec/06` §1.4, §1.5, §2.3, §11–§14).
//!
//! Stricter than the reference where the spec asks for it: a first claim is verified and needs its commitment, a key
//! belongs to one name only, and nothing is stored that its owner did not sign. The work for a block is bounded, too.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt;
use pyrgos_crypto::sign::SIGNATURE_SIZE;

use super::block::{MAX_BLOCK_BYTES, MAX_OPERATIONS};
use super::commitment::{MAX_BLOCK_COMMITMENTS, commitment};
use super::difficulty::RateMonitor;
use super::operation::{MAX_OPERATION_BYTES, Operation, Signatures};
use super::store::{NAME_HASHING, Nodes, chain_link};
use super::vote::witnesses_sign_bytes;
use super::{
    Chain, ChainError, ChainLink, Delta, MergeError, NameStore, Salt, State, Username, UsernameError, WitnessSet,
    chain::inline_key,
};
use crate::encoding::{Cid, ToCbor};
use crate::keys::{Owner, ProofOfWork};
use crate::merkle::champ::{Champ, ChampError, Change, Changed, MemoryBlocks, Overlay};

/// Most owners of a name, former ones included.
pub const MAX_CHAIN_LINKS: usize = 128;

/// Most links of chains that the operations of a block make witnesses verify, two signatures each.
pub const MAX_BLOCK_LINKS: usize = 4096;

/// The difficulty of an update of a chain of more than ten links (`spec/06` §1.7). The same for all, so that all decide
/// the same; how much a sign-up costs is each node's own matter.
pub const LONG_CHAIN_DIFFICULTY: u32 = 16;

/// Room for the header and the heads of lists in a block.
const HEADER_BYTES: usize = 1024;

/// Why an operation is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// Longer than [`MAX_OPERATION_BYTES`].
    #[error("an operation of {0} bytes, more than {MAX_OPERATION_BYTES}")]
    TooLong(usize),
    /// The same commitment is open already.
    #[error("the same commitment is open already")]
    Repeated,
    /// A claim whose commitment is not open: never decided, or too long ago.
    #[error("no open commitment to this claim")]
    Uncommitted,
    /// A claim that comes too soon after its commitment. It is valid later.
    #[error("the commitment to this claim is too young before block {0}")]
    Young(u64),
    /// A name that cannot be registered.
    #[error("Invalid username")]
    Username(#[from] UsernameError),
    /// The name has an owner.
    #[error("User already exists: Invalid key change attempt!")]
    Taken,
    /// An update of a name that nobody has.
    #[error("nobody has the name {0}")]
    Unknown(Username),
    /// A first claim is one link.
    #[error("the first claim of a name has one link, not {0}")]
    Links(usize),
    /// The first claim is not valid.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The update does not extend the stored chain.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// More than [`MAX_CHAIN_LINKS`] owners.
    #[error("a chain of {0} links, more than {MAX_CHAIN_LINKS}")]
    LongChain(usize),
    /// A link with bytes that mean nothing, which others would have to keep.
    #[error("a new link of the chain holds more than a claim")]
    Padded,
    /// A key that owns, or once owned, a name.
    #[error("the key is already bound to a name")]
    OwnerBound,
    /// An update of a long chain without its proof of work.
    #[error("a proof of work of difficulty {0} is needed")]
    Work(u32),
    /// The set of witnesses is the present one.
    #[error("these are the present witnesses")]
    SameWitnesses,
    /// A quorum of the present witnesses did not sign the next set.
    #[error("the new witnesses are not signed by more than two thirds of the present ones")]
    WitnessSignatures,
}

impl OperationError {
    /// Whether the same operation may be valid after further blocks, whatever they hold.
    pub fn is_early(&self) -> bool {
        matches!(self, OperationError::Young(_))
    }
}

/// Why an operation is not part of a block. `E` is the store's error.
pub(super) enum Stop<E> {
    /// The store failed.
    Store(E),
    /// It is not valid.
    Refused(OperationError),
    /// It may be valid, but the block has no room for it.
    Full,
}

impl<E> From<OperationError> for Stop<E> {
    fn from(error: OperationError) -> Self {
        Stop::Refused(error)
    }
}

impl<E> From<MergeError> for Stop<E> {
    fn from(error: MergeError) -> Self {
        Stop::Refused(error.into())
    }
}

impl<E> From<ChainError> for Stop<E> {
    fn from(error: ChainError) -> Self {
        Stop::Refused(error.into())
    }
}

/// A block in the making: the state that it starts from, and what its operations have changed so far.
pub(super) struct Draft<'a, S> {
    store: &'a S,
    before: &'a State,
    height: u64,
    commitments: super::Commitments,
    next_witnesses: Option<&'a WitnessSet>,
    /// Changed chains, with those that they replace.
    chains: BTreeMap<Username, (Option<Chain>, Chain)>,
    owners: BTreeMap<Owner, Username>,
    room: Room,
}

/// What a block has room for, still.
struct Room {
    operations: usize,
    bytes: usize,
    links: usize,
    commitments: usize,
}

impl<'a, S: NameStore> Draft<'a, S> {
    pub(super) fn new(store: &'a S, before: &'a State) -> Self {
        let height = before.height() + 1;
        let mut commitments = before.commitments().clone();
        commitments.expire(height);
        let room = Room {
            operations: MAX_OPERATIONS,
            bytes: MAX_BLOCK_BYTES - HEADER_BYTES,
            links: MAX_BLOCK_LINKS,
            commitments: MAX_BLOCK_COMMITMENTS,
        };
        let (chains, owners) = (BTreeMap::new(), BTreeMap::new());
        Draft { store, before, height, commitments, next_witnesses: None, chains, owners, room }
    }

    /// Appends an operation. Nothing changes when it is stopped, except that the work of looking at it is counted.
    pub(super) fn push(&mut self, operation: &'a Operation) -> Result<(), Stop<S::Error>> {
        let bytes = operation.to_bytes().len();
        if bytes > MAX_OPERATION_BYTES {
            return Err(OperationError::TooLong(bytes).into());
        }
        if self.room.operations == 0 || bytes > self.room.bytes {
            return Err(Stop::Full);
        }
        match operation {
            Operation::Commit { hash } => self.commit(*hash)?,
            Operation::Claim { name, chain, salt } => self.claim(name, chain, salt)?,
            Operation::Update { name, chain, proof } => self.update(name, chain, proof.as_ref())?,
            Operation::Witnesses { set, signatures } => self.change_witnesses(set, signatures)?,
        }
        self.room.operations -= 1;
        self.room.bytes -= bytes;
        Ok(())
    }

    fn commit(&mut self, hash: [u8; 32]) -> Result<(), Stop<S::Error>> {
        if self.commitments.height_of(&hash).is_some() {
            // To open it again would let anybody keep a claim from ever becoming old enough.
            return Err(OperationError::Repeated.into());
        }
        self.room.commitments = self.room.commitments.checked_sub(1).ok_or(Stop::Full)?;
        self.commitments.open(hash, self.height);
        Ok(())
    }

    fn claim(&mut self, name: &Username, chain: &Chain, salt: &Salt) -> Result<(), Stop<S::Error>> {
        let hash = commitment(name, chain, salt);
        let from =
            self.commitments.claimable_from(&hash, self.before.witnesses()).ok_or(OperationError::Uncommitted)?;
        if self.height < from {
            return Err(OperationError::Young(from).into());
        }
        Username::new(name.as_str()).map_err(OperationError::Username)?;
        if self.chain(name)?.is_some() {
            return Err(OperationError::Taken.into());
        }
        let [link] = chain.0.as_slice() else {
            return Err(OperationError::Links(chain.0.len()).into());
        };
        self.take_links(1)?;
        chain.verify(name, inline_key)?;
        check_tight(std::slice::from_ref(link))?;
        self.check_unbound(&link.owner)?;
        self.commitments.close(&hash);
        self.owners.insert(link.owner.clone(), name.clone());
        self.chains.insert(name.clone(), (None, chain.clone()));
        Ok(())
    }

    fn update(&mut self, name: &Username, chain: &Chain, proof: Option<&ProofOfWork>) -> Result<(), Stop<S::Error>> {
        let present = self.chain(name)?.ok_or_else(|| OperationError::Unknown(name.clone()))?;
        if present == *chain {
            return Err(MergeError::NothingNew.into());
        }
        let links = present.0.len();
        if RateMonitor::applies(links)
            && !proof.is_some_and(|proof| proof.proves(&chain.to_bytes(), LONG_CHAIN_DIFFICULTY))
        {
            return Err(OperationError::Work(LONG_CHAIN_DIFFICULTY).into());
        }
        if chain.0.len() > MAX_CHAIN_LINKS {
            return Err(OperationError::LongChain(chain.0.len()).into());
        }
        self.take_links(links + chain.0.len())?;
        let merged = present.merge(chain, name, inline_key)?;
        if merged.0.len() > MAX_CHAIN_LINKS {
            return Err(OperationError::LongChain(merged.0.len()).into());
        }
        // The merge has put at least one link in the place of the last.
        check_tight(&merged.0[links - 1..])?;
        let mut new_owners = BTreeSet::new();
        for link in &merged.0[links..] {
            self.check_unbound(&link.owner)?;
            if !new_owners.insert(link.owner.clone()) {
                return Err(OperationError::OwnerBound.into());
            }
        }
        self.owners.extend(new_owners.into_iter().map(|owner| (owner, name.clone())));
        match self.chains.get_mut(name) {
            Some((_, present)) => *present = merged,
            None => drop(self.chains.insert(name.clone(), (Some(present), merged))),
        }
        Ok(())
    }

    fn change_witnesses(&mut self, set: &'a WitnessSet, signatures: &Signatures) -> Result<(), Stop<S::Error>> {
        if self.next_witnesses.is_some() {
            return Err(Stop::Full);
        }
        if set == self.before.witnesses() {
            return Err(OperationError::SameWitnesses.into());
        }
        self.take_links(signatures.len())?;
        let message = witnesses_sign_bytes(self.before.network(), self.before.changes(), set);
        if !signatures.are_quorum(self.before.witnesses(), &message) {
            return Err(OperationError::WitnessSignatures.into());
        }
        self.next_witnesses = Some(set);
        Ok(())
    }

    fn chain(&self, name: &Username) -> Result<Option<Chain>, Stop<S::Error>> {
        match self.chains.get(name) {
            Some((_, chain)) => Ok(Some(chain.clone())),
            None => self.store.chain(name).map_err(Stop::Store),
        }
    }

    fn check_unbound(&self, owner: &Owner) -> Result<(), Stop<S::Error>> {
        let bound = self.owners.contains_key(owner) || self.store.name_of(owner).map_err(Stop::Store)?.is_some();
        if bound { Err(OperationError::OwnerBound.into()) } else { Ok(()) }
    }

    /// Before the signatures are verified, and also for operations that are refused then.
    fn take_links(&mut self, links: usize) -> Result<(), Stop<S::Error>> {
        self.room.links = self.room.links.checked_sub(links).ok_or(Stop::Full)?;
        Ok(())
    }

    /// The state after the block, whose hash and time are still those of the block before, and what the store has to
    /// keep.
    pub(super) fn close(self) -> Result<(State, Delta), ChampError<S::Error>> {
        let before = self.before;
        let changes: Vec<Change> =
            self.chains.iter().map(|(name, (old, new))| change(name, old.as_ref(), new)).collect();
        let champ = Champ::new(Nodes(self.store), NAME_HASHING);
        let tree = now(champ.apply(before.root(), &changes))?;
        let dead_nodes = self.dead_nodes(&tree)?;
        let chains = self.chains.into_iter().map(|(name, (_, chain))| (name, chain)).collect();
        let state = before.next(tree.root, self.commitments, self.next_witnesses.cloned());
        Ok((state, Delta { chains, owners: self.owners, nodes: tree.blocks, dead_nodes }))
    }

    /// A node that was on the way to a changed name is dead unless it is on that way still: equal nodes are at the same
    /// place, since each holds names that belong there only.
    fn dead_nodes(&self, tree: &Changed) -> Result<Vec<Cid>, ChampError<S::Error>> {
        let mut near = MemoryBlocks::default();
        near.extend(tree.blocks.iter().cloned());
        let champ = Champ::new(Overlay { near: &near, far: Nodes(self.store) }, NAME_HASHING);
        let mut dead = BTreeSet::new();
        for name in self.chains.keys() {
            let old = now(champ.lookup(self.before.root(), name.as_str().as_bytes()))?;
            dead.extend(old.nodes.into_iter().map(|(cid, _)| cid));
        }
        for name in self.chains.keys() {
            let new = now(champ.lookup(&tree.root, name.as_str().as_bytes()))?;
            for (cid, _) in &new.nodes {
                dead.remove(cid);
            }
        }
        Ok(dead.into_iter().collect())
    }
}

/// New links hold a claim and nothing else: a reader passes over what follows the signed claim, and over a hand-over in
/// the last link, but everybody would have to keep it.
fn check_tight(links: &[ChainLink]) -> Result<(), OperationError> {
    let tight = |link: &ChainLink| link.claim.signed.len() == SIGNATURE_SIZE + link.claim.payload().len();
    if !links.iter().all(tight) || links.last().is_some_and(|last| last.key_change.is_some()) {
        return Err(OperationError::Padded);
    }
    Ok(())
}

fn change(name: &Username, old: Option<&Chain>, new: &Chain) -> Change {
    Change::put(name.as_str().as_bytes().to_vec(), old.map(chain_link), chain_link(new))
}

/// The outcome of a future that never waits, since its [`NameStore`] does not.
pub(super) fn now<T, E>(future: impl Future<Output = Result<T, ChampError<E>>>) -> Result<T, ChampError<E>> {
    future.now_or_never().unwrap_or(Err(ChampError::TooDeep))
}
