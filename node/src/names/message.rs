//! How proposals, votes and certificates travel between witnesses and lie in the journal.

use malachite::{
    NilOrVal, PolkaSignature, Round, RoundCertificateType, RoundSignature, SignedMessage, Timeout, TimeoutKind,
    Validity, ValueOrigin, VoteType,
};
use pyrgos_protocol::encoding::{DecodeError, FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::PublicSigningKey;
use pyrgos_protocol::names::block::{MAX_BLOCK_BYTES, MAX_CERTIFICATE_BYTES};
use pyrgos_protocol::names::witness::MAX_WITNESSES;
use pyrgos_protocol::names::{BlockHash, DecidedBlock, NameBlock, Operation};

use arc_malachitebft_core_consensus::{Input, ProposedValue};
use arc_malachitebft_core_types as malachite;

use super::context::{Candidate, Height, NameContext, Proposal, SignedProposal, SignedVote, Vote, Witness};

/// Longest message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = MAX_BLOCK_BYTES + MAX_CERTIFICATE_BYTES + 1024;

/// A quorum of first votes for one block.
pub type PolkaCertificate = malachite::PolkaCertificate<NameContext>;
/// Votes that justify to go on to another round.
pub type RoundCertificate = malachite::RoundCertificate<NameContext>;

/// What witnesses, and those that follow them, tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A block is proposed.
    Proposal(SignedProposal),
    /// A witness votes.
    Vote(SignedVote),
    /// A quorum voted for a block.
    Polka(PolkaCertificate),
    /// A round ended.
    Round(RoundCertificate),
    /// Somebody wants an operation decided.
    Operation(Operation),
    /// A block is decided.
    Decided(DecidedBlock),
}

fn invalid(reason: &str) -> DecodeError {
    DecodeError::invalid("message of witnesses", reason.to_owned())
}

fn int(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn round_value(round: Round) -> Value {
    round.as_u32().map_or(Value::Null, |round| Value::Int(round.into()))
}

fn read_height(value: &Value) -> Result<Height, DecodeError> {
    u64::try_from(value.as_int()?).map(Height).map_err(|_| invalid("a negative height"))
}

fn read_round(value: &Value) -> Result<Round, DecodeError> {
    u32::try_from(value.as_int()?).map(Round::Some).map_err(|_| invalid("no round"))
}

fn read_round_or_none(value: &Value) -> Result<Round, DecodeError> {
    if *value == Value::Null { Ok(Round::Nil) } else { read_round(value) }
}

fn kind_value(kind: VoteType) -> Value {
    Value::Int(match kind {
        VoteType::Prevote => 1,
        VoteType::Precommit => 2,
    })
}

fn read_kind(value: &Value) -> Result<VoteType, DecodeError> {
    match value.as_int()? {
        1 => Ok(VoteType::Prevote),
        2 => Ok(VoteType::Precommit),
        _ => Err(invalid("no kind of vote")),
    }
}

fn hash_value(value: &NilOrVal<BlockHash>) -> Value {
    match value {
        NilOrVal::Nil => Value::Null,
        NilOrVal::Val(hash) => hash.to_cbor(),
    }
}

fn read_hash(value: &Value) -> Result<NilOrVal<BlockHash>, DecodeError> {
    if *value == Value::Null { Ok(NilOrVal::Nil) } else { BlockHash::from_cbor(value).map(NilOrVal::Val) }
}

fn witness_value(witness: &Witness) -> Value {
    Value::bytes(witness.0.as_bytes())
}

fn read_witness(value: &Value) -> Result<Witness, DecodeError> {
    value.as_array("witness").map(|bytes| Witness(PublicSigningKey::from_bytes(bytes)))
}

fn read_list<T>(value: &Value, read: impl FnMut(&Value) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
    let items = value.as_list()?;
    if items.len() > 2 * MAX_WITNESSES {
        return Err(invalid("too many signatures"));
    }
    items.iter().map(read).collect()
}

fn proposal_value(signed: &SignedProposal) -> Value {
    let Proposal { height, round, value, pol_round, proposer } = &signed.message;
    Value::List(vec![
        Value::Int(1),
        int(height.0),
        round_value(*round),
        value.block().to_cbor(),
        round_value(*pol_round),
        witness_value(proposer),
        Value::bytes(signed.signature),
    ])
}

fn vote_value(signed: &SignedVote) -> Value {
    let Vote { height, round, kind, value, voter } = &signed.message;
    Value::List(vec![
        Value::Int(2),
        kind_value(*kind),
        int(height.0),
        round_value(*round),
        hash_value(value),
        witness_value(voter),
        Value::bytes(signed.signature),
    ])
}

fn polka_value(certificate: &PolkaCertificate) -> Value {
    let signatures = certificate
        .polka_signatures
        .iter()
        .map(|one| Value::List(vec![witness_value(&one.address), Value::bytes(one.signature)]));
    Value::List(vec![
        Value::Int(3),
        int(certificate.height.0),
        round_value(certificate.round),
        certificate.value_id.to_cbor(),
        Value::List(signatures.collect()),
    ])
}

fn round_certificate_value(certificate: &RoundCertificate) -> Value {
    let signatures = certificate.round_signatures.iter().map(|one| {
        Value::List(vec![
            kind_value(one.vote_type),
            hash_value(&one.value_id),
            witness_value(&one.address),
            Value::bytes(one.signature),
        ])
    });
    let kind = match certificate.cert_type {
        RoundCertificateType::Skip => 1,
        RoundCertificateType::Precommit => 2,
    };
    Value::List(vec![
        Value::Int(4),
        int(certificate.height.0),
        round_value(certificate.round),
        Value::Int(kind),
        Value::List(signatures.collect()),
    ])
}

/// A list that begins with a number for its kind, 1 to 6.
impl ToCbor for Message {
    fn to_cbor(&self) -> Value {
        match self {
            Message::Proposal(signed) => proposal_value(signed),
            Message::Vote(signed) => vote_value(signed),
            Message::Polka(certificate) => polka_value(certificate),
            Message::Round(certificate) => round_certificate_value(certificate),
            Message::Operation(operation) => Value::List(vec![Value::Int(5), operation.to_cbor()]),
            Message::Decided(decided) => Value::List(vec![Value::Int(6), decided.to_cbor()]),
        }
    }
}

impl FromCbor for Message {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        match value.as_list()? {
            [Value::Int(1), height, round, block, pol_round, proposer, signature] => {
                let proposal = Proposal {
                    height: read_height(height)?,
                    round: read_round(round)?,
                    value: Candidate::from(NameBlock::from_cbor(block)?),
                    pol_round: read_round_or_none(pol_round)?,
                    proposer: read_witness(proposer)?,
                };
                if proposal.value.block().header.height != proposal.height.0 {
                    return Err(invalid("a block of another height"));
                }
                Ok(Message::Proposal(SignedMessage::new(proposal, signature.as_array("signature")?)))
            }
            [Value::Int(2), kind, height, round, hash, voter, signature] => {
                let vote = Vote {
                    height: read_height(height)?,
                    round: read_round(round)?,
                    kind: read_kind(kind)?,
                    value: read_hash(hash)?,
                    voter: read_witness(voter)?,
                };
                Ok(Message::Vote(SignedMessage::new(vote, signature.as_array("signature")?)))
            }
            [Value::Int(3), height, round, hash, signatures] => Ok(Message::Polka(PolkaCertificate {
                height: read_height(height)?,
                round: read_round(round)?,
                value_id: BlockHash::from_cbor(hash)?,
                polka_signatures: read_list(signatures, |one| match one.as_list()? {
                    [witness, signature] => {
                        Ok(PolkaSignature::new(read_witness(witness)?, signature.as_array("signature")?))
                    }
                    _ => Err(invalid("no signature")),
                })?,
            })),
            [Value::Int(4), height, round, kind, signatures] => Ok(Message::Round(RoundCertificate {
                height: read_height(height)?,
                round: read_round(round)?,
                cert_type: match kind.as_int()? {
                    1 => RoundCertificateType::Skip,
                    2 => RoundCertificateType::Precommit,
                    _ => return Err(invalid("no kind of certificate")),
                },
                round_signatures: read_list(signatures, |one| match one.as_list()? {
                    [kind, hash, witness, signature] => Ok(RoundSignature::new(
                        read_kind(kind)?,
                        read_hash(hash)?,
                        read_witness(witness)?,
                        signature.as_array("signature")?,
                    )),
                    _ => Err(invalid("no signature")),
                })?,
            })),
            [Value::Int(5), operation] => Ok(Message::Operation(Operation::from_cbor(operation)?)),
            [Value::Int(6), decided] => Ok(Message::Decided(DecidedBlock::from_cbor(decided)?)),
            _ => Err(invalid("none of the known kinds")),
        }
    }

    /// At most [`MAX_MESSAGE_BYTES`], and canonical.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(DecodeError::TooLong(bytes.len() as u64));
        }
        Self::from_cbor(&Value::decode_canonical(&bytes::Bytes::copy_from_slice(bytes))?)
    }
}

/// One entry of the journal: an input of the core at a height, to be given to it again after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The height that was being decided.
    pub height: u64,
    /// What the core was told.
    pub input: Input<NameContext>,
}

impl Record {
    /// `[height, message]`, `[height, [7, kind, round]]` for a timeout or `[height, [8, round, valid round, proposer,
    /// is valid, block]]` for a block that was looked at. `None` for inputs that are not kept.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let entry = match &self.input {
            Input::Vote(vote) => vote_value(vote),
            Input::Proposal(proposal) => proposal_value(proposal),
            Input::PolkaCertificate(certificate) => polka_value(certificate),
            Input::TimeoutElapsed(timeout) => {
                let kind = match timeout.kind {
                    TimeoutKind::Propose => 1,
                    TimeoutKind::Prevote => 2,
                    TimeoutKind::Precommit => 3,
                    TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return None,
                };
                Value::List(vec![Value::Int(7), Value::Int(kind), round_value(timeout.round)])
            }
            Input::ProposedValue(proposed, _) => Value::List(vec![
                Value::Int(8),
                round_value(proposed.round),
                round_value(proposed.valid_round),
                witness_value(&proposed.proposer),
                Value::Bool(proposed.validity.is_valid()),
                proposed.value.block().to_cbor(),
            ]),
            _ => return None,
        };
        Some(Value::List(vec![int(self.height), entry]).encode())
    }

    /// Reads what [`Record::to_bytes`] wrote.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let value = Value::decode_canonical(&bytes::Bytes::copy_from_slice(bytes))?;
        let [height, entry] = value.as_list()? else { return Err(invalid("no record")) };
        let height = read_height(height)?;
        let input = match entry.as_list()? {
            [Value::Int(7), kind, round] => {
                let kind = match kind.as_int()? {
                    1 => TimeoutKind::Propose,
                    2 => TimeoutKind::Prevote,
                    3 => TimeoutKind::Precommit,
                    _ => return Err(invalid("no kind of timeout")),
                };
                Input::TimeoutElapsed(Timeout::new(read_round(round)?, kind))
            }
            [Value::Int(8), round, valid_round, proposer, is_valid, block] => {
                let value = ProposedValue {
                    height,
                    round: read_round(round)?,
                    valid_round: read_round_or_none(valid_round)?,
                    proposer: read_witness(proposer)?,
                    value: Candidate::from(NameBlock::from_cbor(block)?),
                    validity: Validity::from_bool(is_valid.as_bool()?),
                };
                Input::ProposedValue(value, ValueOrigin::Consensus)
            }
            _ => match Message::from_cbor(entry)? {
                Message::Vote(vote) => Input::Vote(vote),
                Message::Proposal(proposal) => Input::Proposal(proposal),
                Message::Polka(certificate) => Input::PolkaCertificate(certificate),
                _ => return Err(invalid("not kept in journals")),
            },
        };
        Ok(Record { height: height.0, input })
    }
}

#[cfg(test)]
mod tests {
    use pyrgos_crypto::hash::sha256;
    use pyrgos_protocol::keys::SecretSigningKey;
    use pyrgos_protocol::names::{Delta, MemoryNames, State, WitnessSet};

    use super::*;

    fn witness() -> Witness {
        Witness(SecretSigningKey::from_seed(&[1; 32]).public())
    }

    fn block() -> NameBlock {
        let (root, delta) = Delta::of_names(Default::default()).unwrap();
        let mut names = MemoryNames::default();
        names.put(delta);
        let state = State::genesis("test".parse().unwrap(), WitnessSet::new(vec![witness().0]).unwrap(), root);
        let commit = Operation::Commit { hash: [3; 32] };
        state.propose(&names, [&commit], witness().0, 1_790_000_000_000).unwrap().block
    }

    fn messages() -> Vec<Message> {
        let (height, round, voter) = (Height(1), Round::new(2), witness());
        let block = block();
        let (hash, value) = (block.hash(), Candidate::from(block.clone()));
        let proposal = Proposal { height, round, value, pol_round: Round::new(1), proposer: voter };
        let vote = Vote { height, round, kind: VoteType::Precommit, value: NilOrVal::Val(hash), voter };
        let nil = Vote { value: NilOrVal::Nil, kind: VoteType::Prevote, ..vote.clone() };
        let certificate = pyrgos_protocol::names::Certificate {
            height: 1,
            round: 2,
            block: hash,
            signatures: [(voter.0, [7; 64])].into_iter().collect(),
        };
        vec![
            Message::Proposal(SignedMessage::new(proposal, [4; 64])),
            Message::Vote(SignedMessage::new(vote, [5; 64])),
            Message::Vote(SignedMessage::new(nil, [6; 64])),
            Message::Polka(PolkaCertificate {
                height,
                round,
                value_id: hash,
                polka_signatures: vec![PolkaSignature::new(voter, [8; 64])],
            }),
            Message::Round(RoundCertificate {
                height,
                round,
                cert_type: RoundCertificateType::Skip,
                round_signatures: vec![RoundSignature::new(VoteType::Prevote, NilOrVal::Nil, voter, [9; 64])],
            }),
            Message::Operation(Operation::Commit { hash: [2; 32] }),
            Message::Decided(DecidedBlock { block, certificate }),
        ]
    }

    #[test]
    fn messages_come_back_from_their_bytes() {
        for message in messages() {
            assert_eq!(Message::from_bytes(&message.to_bytes()), Ok(message));
        }
    }

    #[test]
    fn records_come_back_from_their_bytes() {
        let value = Candidate::from(block());
        let proposed = ProposedValue {
            height: Height(1),
            round: Round::new(0),
            valid_round: Round::Nil,
            proposer: witness(),
            value,
            validity: Validity::Invalid,
        };
        let mut inputs = vec![
            Input::ProposedValue(proposed, ValueOrigin::Consensus),
            Input::TimeoutElapsed(Timeout::prevote(Round::new(3))),
        ];
        for message in messages() {
            match message {
                Message::Proposal(proposal) => inputs.push(Input::Proposal(proposal)),
                Message::Vote(vote) => inputs.push(Input::Vote(vote)),
                Message::Polka(certificate) => inputs.push(Input::PolkaCertificate(certificate)),
                _ => {}
            }
        }
        for input in inputs {
            let record = Record { height: 1, input };
            assert_eq!(Record::from_bytes(&record.to_bytes().unwrap()), Ok(record));
        }
        let rebroadcast = Input::TimeoutElapsed(Timeout::rebroadcast(Round::new(0)));
        assert_eq!(Record { height: 1, input: rebroadcast }.to_bytes(), None);
    }

    #[test]
    fn hostile_bytes_are_refused_or_mean_what_they_say() {
        for message in messages() {
            let whole = message.to_bytes();
            for at in 0..whole.len() {
                let chance = sha256(&[&whole[..], &at.to_be_bytes()].concat());
                let mut flipped = whole.clone();
                flipped[at] ^= chance[0] | 1;
                for bytes in [&flipped[..], &whole[..at]] {
                    if let Ok(read) = Message::from_bytes(bytes) {
                        assert_eq!(read.to_bytes(), bytes);
                    }
                    let _ = Record::from_bytes(bytes);
                }
            }
        }
    }
}
