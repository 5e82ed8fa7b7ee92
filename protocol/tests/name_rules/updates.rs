//! Renewal, key change, another home, other witnesses.

use pyrgos_protocol::encoding::ToCbor;
use pyrgos_protocol::keys::{Owner, ProofOfWork};
use pyrgos_protocol::names::rules::{LONG_CHAIN_DIFFICULTY, MAX_CHAIN_LINKS};
use pyrgos_protocol::names::vote::witnesses_sign_bytes;
use pyrgos_protocol::names::{
    CertificateError, Chain, ChainError, ChainLink, DecidedBlock, MergeError, NameStore, Operation, OperationError,
};

use super::network::{NOW, Network, claim, day, home, name, owner, update, witnesses};

fn renewal(network: &Network, by: &str, days: i64, server: &str) -> Operation {
    update("alice", network.chain("alice").with_last_claim(&name("alice"), day(days), home(server), &owner(by)))
}

fn hand_over(from: &str, to: &str, days: i64) -> Chain {
    Chain::key_change(&name("alice"), &owner(from), &owner(to), home("server"), day(days))
}

#[test]
fn a_claim_is_renewed_and_moved_without_work() {
    let mut network = Network::new(4);
    network.sign_up("alice", "alice's key");
    network.accept(renewal(&network, "alice's key", 100, "server"));
    assert_eq!(network.chain("alice").last().unwrap().claim.expiry, day(100));
    network.accept(renewal(&network, "alice's key", 101, "another server"));
    assert_eq!(network.chain("alice").home(), Some(&home("another server")));
    assert_eq!(network.chain("alice").0.len(), 1);

    let earlier = renewal(&network, "alice's key", 99, "server");
    assert_eq!(network.refusal(&earlier), OperationError::Merge(MergeError::Expiry));
    let same = update("alice", network.chain("alice"));
    assert_eq!(network.refusal(&same), OperationError::Merge(MergeError::NothingNew));
}

#[test]
fn an_update_is_the_owners() {
    let mut network = Network::new(1);
    network.sign_up("alice", "alice's key");
    network.sign_up("bob", "bob's key");
    // Expiry frees no name, so no date helps.
    let taken = Chain::first(&name("alice"), &owner("thief's key"), home("server"), day(9999)).unwrap();
    assert_eq!(network.refusal(&update("alice", taken)), OperationError::Merge(MergeError::Taken));
    let forced = hand_over("thief's key", "thief's second key", 100);
    assert_eq!(network.refusal(&update("alice", forced)), OperationError::Merge(MergeError::DifferentKeys));
    let others = update("bob", network.chain("alice"));
    assert_eq!(network.refusal(&others), OperationError::Merge(MergeError::Taken));
    let nobodys = Operation::Update { name: name("carol"), chain: network.chain("alice"), proof: None };
    assert_eq!(network.refusal(&nobodys), OperationError::Unknown(name("carol")));
    // Bob's own claim, under the name that it is for, stored under alice's.
    let bobs = Chain::key_change(&name("bob"), &owner("alice's key"), &owner("next"), home("server"), day(100));
    assert!(matches!(
        network.refusal(&update("alice", bobs)),
        OperationError::Merge(MergeError::Invalid(ChainError::Claim { .. }))
    ));
}

#[test]
fn a_name_changes_its_key() {
    let mut network = Network::new(1);
    network.sign_up("alice", "first key");
    network.sign_up("bob", "bob's key");
    network.accept(update("alice", hand_over("first key", "second key", 100)));
    assert_eq!(network.chain("alice").0.len(), 2);
    for key in ["first key", "second key"] {
        let key = Owner::new(owner(key).public_key_hash);
        assert_eq!(network.names.name_of(&key).unwrap(), Some(name("alice")));
    }
    let back = hand_over("second key", "first key", 200);
    assert_eq!(network.refusal(&update("alice", back)), OperationError::Merge(MergeError::ReusedKey));
    let taken = hand_over("second key", "bob's key", 200);
    assert_eq!(network.refusal(&update("alice", taken)), OperationError::OwnerBound);
    let old = renewal(&network, "first key", 200, "server");
    assert!(matches!(network.refusal(&old), OperationError::Merge(_)));

    // Two changes at once, the middle owner twice.
    let next = |to: &str| Owner::new(owner(to).public_key_hash);
    let mut links = vec![ChainLink::hand_over(&name("alice"), &owner("second key"), &next("third key"))];
    links.push(ChainLink::hand_over(&name("alice"), &owner("third key"), &next("third key")));
    links.push(ChainLink::sign(&name("alice"), day(200), home("server"), &owner("third key")));
    assert_eq!(network.refusal(&update("alice", Chain(links.clone()))), OperationError::OwnerBound);
    links.remove(1);
    network.accept(update("alice", Chain(links)));
    // A name that was given away as a key cannot be claimed with that key either.
    let claim = network.committed(claim("carol", "third key"));
    assert_eq!(network.refusal(&claim), OperationError::OwnerBound);
}

#[test]
fn what_is_stored_is_signed() {
    let mut network = Network::new(1);
    network.sign_up("alice", "alice's key");
    let mut padded = network.chain("alice");
    let content = [&padded.0[0].claim.payload()[..], &[0; 1000]].concat();
    padded.0[0].claim.signed = owner("alice's key").secret.sign_attached(&content).into();
    assert_eq!(network.refusal(&update("alice", padded)), OperationError::Padded);
    let mut trailing = network.chain("alice");
    trailing.0[0].key_change = Some(vec![0; 1000].into());
    assert_eq!(network.refusal(&update("alice", trailing)), OperationError::Padded);
}

#[test]
fn a_long_chain_costs_work_and_ends() {
    let mut network = Network::new(1);
    network.sign_up("alice", "key 0");
    for change in 0..10 {
        let (from, to) = (format!("key {change}"), format!("key {}", change + 1));
        network.accept(update("alice", hand_over(&from, &to, 100)));
    }
    let chain = hand_over("key 10", "key 11", 100);
    assert_eq!(network.refusal(&update("alice", chain.clone())), OperationError::Work(LONG_CHAIN_DIFFICULTY));
    let proof = |chain: &Chain| Some(ProofOfWork::solve(&chain.to_bytes(), LONG_CHAIN_DIFFICULTY).unwrap());
    let foreign = Operation::Update { name: name("alice"), proof: proof(&hand_over("key 1", "key 2", 1)), chain };
    assert_eq!(network.refusal(&foreign), OperationError::Work(LONG_CHAIN_DIFFICULTY));
    let Operation::Update { name: alice, chain, .. } = foreign else { unreachable!() };
    network.accept(Operation::Update { name: alice.clone(), proof: proof(&chain), chain });

    let next = |at: usize| Owner::new(owner(&format!("key {}", at + 1)).public_key_hash);
    let link = |at: usize| ChainLink::hand_over(&name("alice"), &owner(&format!("key {at}")), &next(at));
    let mut links: Vec<ChainLink> = (11..MAX_CHAIN_LINKS).map(link).collect();
    links.push(ChainLink::sign(&name("alice"), day(100), home("server"), &owner(&format!("key {MAX_CHAIN_LINKS}"))));
    let chain = Chain(links);
    let long = Operation::Update { name: alice, proof: proof(&chain), chain };
    assert_eq!(network.refusal(&long), OperationError::LongChain(MAX_CHAIN_LINKS + 1));
}

#[test]
fn witnesses_are_followed_by_others() {
    let mut network = Network::new(4);
    let before = network.state.witnesses().clone();
    let change = network.change_witnesses(&["witness 0", "witness 1", "new a", "new b"]);
    let Operation::Witnesses { set, .. } = &change else { unreachable!() };
    let set = set.clone();

    let message = witnesses_sign_bytes(network.state.network(), 0, &set);
    let few = Operation::Witnesses { set: set.clone(), signatures: network.sign(2, &message) };
    assert_eq!(network.refusal(&few), OperationError::WitnessSignatures);
    let other_network = witnesses_sign_bytes(&"other".parse().unwrap(), 0, &set);
    let foreign = Operation::Witnesses { set: set.clone(), signatures: network.sign(3, &other_network) };
    assert_eq!(network.refusal(&foreign), OperationError::WitnessSignatures);
    let (_, strangers) = witnesses(&["a", "b", "c"]);
    let strange = strangers.iter().map(|(key, secret)| (*key, secret.sign(&message))).collect();
    let strange = Operation::Witnesses { set: set.clone(), signatures: strange };
    assert_eq!(network.refusal(&strange), OperationError::WitnessSignatures);

    network.accept(change.clone());
    assert_eq!((network.state.witnesses(), network.state.changes()), (&set, 1));
    // The block of the change is the old witnesses', the next one the new ones'.
    let changing = network.blocks[0].clone();
    assert_eq!(changing.verify(network.state.network(), &before), Ok(()));
    assert_eq!(changing.verify(network.state.network(), &set), Err(CertificateError::Signatures));
    network.decide(&[]);
    let next: DecidedBlock = network.blocks[1].clone();
    assert_eq!(next.verify(network.state.network(), &set), Ok(()));
    assert_eq!(next.verify(network.state.network(), &before), Err(CertificateError::Signatures));

    // Back again, and the old change does not come a second time.
    let back = network.change_witnesses(&["witness 0", "witness 1", "witness 2", "witness 3"]);
    network.accept(back);
    assert_eq!(network.state.witnesses(), &before);
    assert_eq!(network.refusal(&change), OperationError::WitnessSignatures);
    let message = witnesses_sign_bytes(network.state.network(), 2, &before);
    let same = Operation::Witnesses { set: before, signatures: network.sign(3, &message) };
    assert_eq!(network.refusal(&same), OperationError::SameWitnesses);
}

#[test]
fn one_block_changes_the_witnesses_once() {
    let mut network = Network::new(1);
    let (one, two) = (network.change_witnesses(&["a"]), network.change_witnesses(&["b"]));
    assert_eq!(network.decide(&[one.clone(), two]), []);
    assert_eq!(network.blocks[0].block.operations, [one]);
    assert!(network.state.time_millis() >= NOW);
}
