//! What the consensus core decides about, in its own words: a value is a block of names, a validator is a witness.

use std::fmt;
use std::sync::Arc;

use malachite::{NilOrVal, Round, SignedExtension, VoteType, VotingPower};
use pyrgos_crypto::sign::SIGNATURE_SIZE;
use pyrgos_protocol::keys::PublicSigningKey;
use pyrgos_protocol::names::vote::{self, VoteKind};
use pyrgos_protocol::names::{BlockHash, NameBlock, NetworkId, WitnessSet};

use arc_malachitebft_core_types as malachite;

/// A signature under a vote or a proposal.
pub type Signature = [u8; SIGNATURE_SIZE];
/// A signed vote.
pub type SignedVote = malachite::SignedVote<NameContext>;
/// A signed proposal.
pub type SignedProposal = malachite::SignedProposal<NameContext>;

/// Binds the core's types together, and knows the network whose witnesses sign.
#[derive(Clone, Debug)]
pub struct NameContext {
    /// Stands in all that is signed.
    pub network: NetworkId,
}

/// The number of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Height(pub u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl malachite::Height for Height {
    const ZERO: Self = Height(0);
    const INITIAL: Self = Height(1);

    fn increment_by(&self, n: u64) -> Self {
        Height(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Height)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// A witness: its node's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Witness(pub PublicSigningKey);

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes()[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl malachite::Address for Witness {}

/// Each witness has one vote.
impl malachite::Validator<NameContext> for Witness {
    fn address(&self) -> &Witness {
        self
    }

    fn public_key(&self) -> &PublicSigningKey {
        &self.0
    }

    fn voting_power(&self) -> VotingPower {
        1
    }
}

/// A set of witnesses with its members in the form that the core wants to borrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnesses {
    set: WitnessSet,
    members: Arc<[Witness]>,
}

impl Witnesses {
    /// The set.
    pub fn set(&self) -> &WitnessSet {
        &self.set
    }
}

impl From<WitnessSet> for Witnesses {
    fn from(set: WitnessSet) -> Self {
        let members = set.keys().iter().copied().map(Witness).collect();
        Witnesses { set, members }
    }
}

impl malachite::ValidatorSet<NameContext> for Witnesses {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn total_voting_power(&self) -> VotingPower {
        self.members.len() as VotingPower
    }

    fn get_by_address(&self, address: &Witness) -> Option<&Witness> {
        self.members.binary_search(address).ok().map(|index| &self.members[index])
    }

    fn get_by_index(&self, index: usize) -> Option<&Witness> {
        self.members.get(index)
    }
}

/// A block that may be decided, with its hash at hand. Two are equal when their hashes are.
#[derive(Clone, Debug)]
pub struct Candidate {
    block: Arc<NameBlock>,
    hash: BlockHash,
}

impl Candidate {
    /// The block.
    pub fn block(&self) -> &NameBlock {
        &self.block
    }

    /// The hash of its header.
    pub fn hash(&self) -> BlockHash {
        self.hash
    }
}

impl From<NameBlock> for Candidate {
    fn from(block: NameBlock) -> Self {
        Candidate { hash: block.hash(), block: Arc::new(block) }
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.hash.cmp(&other.hash)
    }
}

impl malachite::Value for Candidate {
    type Id = BlockHash;

    fn id(&self) -> BlockHash {
        self.hash
    }
}

/// What the proposer of a round says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Of the block.
    pub height: Height,
    /// Of the height.
    pub round: Round,
    /// The block.
    pub value: Candidate,
    /// The earlier round in which a quorum voted for it, if any.
    pub pol_round: Round,
    /// Who proposes.
    pub proposer: Witness,
}

impl Proposal {
    /// What is signed.
    pub fn sign_bytes(&self, network: &NetworkId) -> Vec<u8> {
        vote::Proposal {
            network,
            height: self.height.0,
            round: self.round.as_u32().unwrap_or_default(),
            block: self.value.hash(),
            proof_of_lock: self.pol_round.as_u32(),
        }
        .sign_bytes()
    }
}

impl malachite::Proposal<NameContext> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Candidate {
        &self.value
    }

    fn take_value(self) -> Candidate {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Witness {
        &self.proposer
    }
}

/// A vote, not yet signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Of the block.
    pub height: Height,
    /// Of the height.
    pub round: Round,
    /// First or second.
    pub kind: VoteType,
    /// For what.
    pub value: NilOrVal<BlockHash>,
    /// Whose.
    pub voter: Witness,
}

impl Vote {
    /// What is signed.
    pub fn sign_bytes(&self, network: &NetworkId) -> Vec<u8> {
        vote::Vote {
            network,
            height: self.height.0,
            round: self.round.as_u32().unwrap_or_default(),
            kind: match self.kind {
                VoteType::Prevote => VoteKind::Prevote,
                VoteType::Precommit => VoteKind::Precommit,
            },
            block: match self.value {
                NilOrVal::Nil => None,
                NilOrVal::Val(hash) => Some(hash),
            },
        }
        .sign_bytes()
    }
}

impl malachite::Vote<NameContext> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<BlockHash> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<BlockHash> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Witness {
        &self.voter
    }

    fn extension(&self) -> Option<&SignedExtension<NameContext>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<NameContext>> {
        None
    }

    /// Never asked for: extensions are off.
    fn extend(self, _: SignedExtension<NameContext>) -> Self {
        self
    }
}

/// Nothing: votes carry no extensions, and proposals travel in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nothing;

impl malachite::Extension for Nothing {
    fn size_bytes(&self) -> usize {
        0
    }
}

impl malachite::ProposalPart<NameContext> for Nothing {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

/// Ed25519, bare signatures. The engine signs and verifies; the core only compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ed25519;

impl malachite::SigningScheme for Ed25519 {
    type DecodingError = std::array::TryFromSliceError;
    type Signature = Signature;
    type PublicKey = PublicSigningKey;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, Self::DecodingError> {
        bytes.try_into()
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicSigningKey, Self::DecodingError> {
        bytes.try_into().map(PublicSigningKey::from_bytes)
    }

    fn encode_public_key(key: &PublicSigningKey) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

impl malachite::Context for NameContext {
    type Address = Witness;
    type Height = Height;
    type ProposalPart = Nothing;
    type Proposal = Proposal;
    type Validator = Witness;
    type ValidatorSet = Witnesses;
    type Timeouts = malachite::LinearTimeouts;
    type Value = Candidate;
    type Vote = Vote;
    type Extension = Nothing;
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(&self, witnesses: &'a Witnesses, height: Height, round: Round) -> &'a Witness {
        let key = witnesses.set.proposer(height.0, round.as_u32().unwrap_or_default());
        // The proposer is a member of its own set, which is never empty.
        let index = witnesses.members.binary_search(&Witness(*key)).unwrap_or_default();
        &witnesses.members[index]
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Candidate,
        pol_round: Round,
        proposer: Witness,
    ) -> Proposal {
        Proposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(&self, height: Height, round: Round, value: NilOrVal<BlockHash>, voter: Witness) -> Vote {
        Vote { height, round, kind: VoteType::Prevote, value, voter }
    }

    fn new_precommit(&self, height: Height, round: Round, value: NilOrVal<BlockHash>, voter: Witness) -> Vote {
        Vote { height, round, kind: VoteType::Precommit, value, voter }
    }
}
