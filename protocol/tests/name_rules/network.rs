//! A network without consensus: whoever's turn it is proposes, all apply, and all sign.

use std::collections::BTreeMap;

use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::encoding::{Cid, Codec, Multihash};
use pyrgos_protocol::keys::{PublicSigningKey, SecretSigningKey, SigningKeyPair, SigningPrivateKeyAndPublicHash};
use pyrgos_protocol::names::vote::witnesses_sign_bytes;
use pyrgos_protocol::names::{
    Certificate, Chain, Date, DecidedBlock, Delta, MemoryNames, NameBlock, Operation, OperationError, OperationId,
    Signatures, State, Username, WitnessSet, commitment,
};

pub(crate) const NOW: i64 = 1_790_000_000_000;

/// A key that is the same in each run.
pub(crate) fn secret(seed: &str) -> SecretSigningKey {
    SecretSigningKey::from_seed(&sha256(seed.as_bytes()))
}

/// The owner `seed`.
pub(crate) fn owner(seed: &str) -> SigningPrivateKeyAndPublicHash {
    SigningKeyPair::new(secret(seed)).signer()
}

/// The server `seed`.
pub(crate) fn home(seed: &str) -> Cid {
    let content = [&[0x08, 0x01, 0x12, 0x20][..], secret(seed).public().as_bytes()].concat();
    Cid::new(Codec::Libp2pKey, Multihash::new(Multihash::IDENTITY, &content).unwrap())
}

pub(crate) fn name(text: &str) -> Username {
    Username::existing(text).unwrap()
}

pub(crate) fn day(days: i64) -> Date {
    Date::from_unix_millis(NOW).plus_days(days).unwrap()
}

pub(crate) fn first_chain(text: &str, by: &str) -> Chain {
    Chain::first(&name(text), &owner(by), home("server"), day(0)).unwrap()
}

/// The two steps of a claim.
pub(crate) fn claim_of(text: &str, chain: Chain) -> (Operation, Operation) {
    let (name, salt) = (name(text), sha256(format!("salt of {text}").as_bytes()));
    let commit = Operation::Commit { hash: commitment(&name, &chain, &salt) };
    (commit, Operation::Claim { name, chain, salt })
}

pub(crate) fn claim(text: &str, by: &str) -> (Operation, Operation) {
    claim_of(text, first_chain(text, by))
}

pub(crate) fn update(text: &str, chain: Chain) -> Operation {
    Operation::Update { name: name(text), chain, proof: None }
}

pub(crate) fn witnesses(names: &[&str]) -> (WitnessSet, BTreeMap<PublicSigningKey, SecretSigningKey>) {
    let secrets: BTreeMap<_, _> = names.iter().map(|name| (secret(name).public(), secret(name))).collect();
    (WitnessSet::new(secrets.keys().copied().collect()).unwrap(), secrets)
}

pub(crate) struct Network {
    pub(crate) state: State,
    pub(crate) names: MemoryNames,
    pub(crate) secrets: BTreeMap<PublicSigningKey, SecretSigningKey>,
    pub(crate) blocks: Vec<DecidedBlock>,
}

impl Network {
    pub(crate) fn new(size: usize) -> Self {
        let labels: Vec<String> = (0..size).map(|at| format!("witness {at}")).collect();
        let (set, secrets) = witnesses(&labels.iter().map(String::as_str).collect::<Vec<_>>());
        let (root, delta) = Delta::of_names(BTreeMap::new()).unwrap();
        let mut names = MemoryNames::default();
        names.put(delta);
        Network { state: State::genesis("test".parse().unwrap(), set, root), names, secrets, blocks: Vec::new() }
    }

    pub(crate) fn propose(&self, operations: &[Operation]) -> (NameBlock, Vec<(OperationId, OperationError)>) {
        let proposer = *self.state.witnesses().proposer(self.state.height() + 1, 0);
        let proposed = self.state.propose(&self.names, operations, proposer, NOW).unwrap();
        (proposed.block, proposed.refused)
    }

    /// Signatures of `count` present witnesses under a statement.
    pub(crate) fn sign(&self, count: usize, message: &[u8]) -> Signatures {
        let some = self.state.witnesses().keys().iter().take(count);
        some.map(|key| (*key, self.secrets[key].sign(message))).collect()
    }

    pub(crate) fn certify(&self, block: &NameBlock, count: usize) -> Certificate {
        let (height, hash) = (block.header.height, block.hash());
        let mut certificate = Certificate { height, round: 0, block: hash, signatures: Signatures::default() };
        certificate.signatures = self.sign(count, &certificate.sign_bytes(self.state.network()));
        certificate
    }

    /// Decides what is valid among the operations.
    pub(crate) fn decide(&mut self, operations: &[Operation]) -> Vec<(OperationId, OperationError)> {
        let (block, refused) = self.propose(operations);
        let certificate = self.certify(&block, self.state.witnesses().quorum());
        let decided = DecidedBlock { block, certificate };
        decided.verify(self.state.network(), self.state.witnesses()).unwrap();
        let applied = self.state.apply(&self.names, &decided.block).unwrap();
        assert!(applied.state.is_after(&decided.block.header));
        self.names.put(applied.delta);
        self.state = applied.state;
        self.blocks.push(decided);
        refused
    }

    /// Decides one operation, which must be valid.
    pub(crate) fn accept(&mut self, operation: Operation) {
        assert_eq!(self.decide(std::slice::from_ref(&operation)), []);
        assert_eq!(self.blocks.last().unwrap().block.operations, [operation]);
    }

    /// Why an operation is not valid.
    pub(crate) fn refusal(&self, operation: &Operation) -> OperationError {
        self.state.check(&self.names, operation).unwrap().unwrap_err()
    }

    /// Commits, waits, reveals.
    pub(crate) fn sign_up(&mut self, text: &str, by: &str) {
        let claim = self.committed(claim(text, by));
        self.accept(claim);
    }

    /// Decides a commitment and lets it become old enough.
    pub(crate) fn committed(&mut self, (commit, claim): (Operation, Operation)) -> Operation {
        self.accept(commit);
        while self.state.is_waiting() {
            self.decide(&[]);
        }
        claim
    }

    pub(crate) fn chain(&self, text: &str) -> Chain {
        self.names.chains()[&name(text)].clone()
    }

    pub(crate) fn change_witnesses(&mut self, labels: &[&str]) -> Operation {
        let (set, secrets) = witnesses(labels);
        let message = witnesses_sign_bytes(self.state.network(), self.state.changes(), &set);
        let signatures = self.sign(self.state.witnesses().quorum(), &message);
        self.secrets.extend(secrets);
        Operation::Witnesses { set, signatures }
    }
}
