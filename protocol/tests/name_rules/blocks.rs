//! Blocks and certificates: all or nothing, bounded, and in one form only.

use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::encoding::{Cid, DecodeError, FromCbor, ToCbor};
use pyrgos_protocol::names::block::{MAX_BLOCK_BYTES, operations_hash};
use pyrgos_protocol::names::commitment::MAX_BLOCK_COMMITMENTS;
use pyrgos_protocol::names::{
    BlockError, BlockHash, CertificateError, DecidedBlock, Header, NameBlock, Operation, OperationError, Signatures,
    State, StateError,
};

use super::network::{Network, claim, home, name, owner, secret, update};

fn commit(seed: usize) -> Operation {
    Operation::Commit { hash: sha256(format!("commitment {seed}").as_bytes()) }
}

fn error(network: &Network, block: &NameBlock) -> BlockError {
    match network.state.apply(&network.names, block) {
        Err(StateError::Block(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_is_what_follows_from_its_operations() {
    let mut network = Network::new(4);
    network.sign_up("alice", "alice's key");
    let claim = network.committed(claim("bob", "bob's key"));
    let (block, refused) = network.propose(&[commit(1), claim]);
    assert_eq!((block.operations.len(), refused.len()), (2, 0));
    assert!(network.state.apply(&network.names, &block).is_ok());
    let height = block.header.height;

    type Change = fn(&mut Header);
    let changes: [(Change, BlockError); 9] = [
        (|header| header.height += 1, BlockError::Height { expected: height, got: height + 1 }),
        (|header| header.height -= 1, BlockError::Height { expected: height, got: height - 1 }),
        (|header| header.previous = BlockHash([0; 32]), BlockError::Previous),
        (|header| header.time_millis -= 1_000_000, BlockError::Time),
        (|header| header.proposer = secret("stranger").public(), BlockError::Proposer),
        (|header| header.operations = [0; 32], BlockError::Header),
        (|header| header.root = Cid::of_cbor(b"another tree"), BlockError::Header),
        (|header| header.open = [0; 32], BlockError::Header),
        (|header| header.witnesses = [0; 32], BlockError::Header),
    ];
    for (change, expected) in changes {
        let mut changed = block.clone();
        change(&mut changed.header);
        assert_eq!(error(&network, &changed), expected);
    }

    let mut other_order = block.clone();
    other_order.operations.reverse();
    assert_eq!(error(&network, &other_order), BlockError::Header);
    let mut with_bad = block.clone();
    with_bad.operations.push(commit(1));
    with_bad.header.operations = operations_hash(&with_bad.operations);
    assert_eq!(error(&network, &with_bad), BlockError::Operation { index: 2, cause: OperationError::Repeated });
    // Nothing of the refused blocks has stayed.
    assert!(network.state.apply(&network.names, &block).is_ok());
}

#[test]
fn a_block_has_limits() {
    let network = Network::new(1);
    let many: Vec<Operation> = (0..MAX_BLOCK_COMMITMENTS + 5).map(commit).collect();
    let (mut block, refused) = network.propose(&many);
    // The rest is for the next block.
    assert_eq!((block.operations.len(), refused.len()), (MAX_BLOCK_COMMITMENTS, 0));
    block.operations.push(commit(MAX_BLOCK_COMMITMENTS));
    block.header.operations = operations_hash(&block.operations);
    assert_eq!(error(&network, &block), BlockError::Full { index: MAX_BLOCK_COMMITMENTS });

    let long = update(
        "alice",
        pyrgos_protocol::names::Chain(vec![super::network::first_chain("alice", "k").0[0].clone(); 400]),
    );
    assert!(matches!(network.refusal(&long), OperationError::TooLong(bytes) if bytes > 64 << 10));
}

/// A proposer can make the others verify only so many signatures, however short its operations are.
#[test]
fn the_work_for_a_block_is_bounded() {
    let mut network = Network::new(1);
    network.sign_up("alice", "alice's key");
    let renew = |days: i64| {
        let chain = network.chain("alice");
        let chain =
            chain.with_last_claim(&name("alice"), super::network::day(days), home("server"), &owner("alice's key"));
        update("alice", chain)
    };
    // Each counts the stored link and the new one.
    let many: Vec<Operation> = (100..100 + 1100).map(renew).collect();
    let (block, refused) = network.propose(&many);
    assert_eq!(refused, []);
    assert!(block.operations.len() <= 1024);
    assert!(block.to_bytes().len() <= MAX_BLOCK_BYTES, "{}", block.to_bytes().len());
    assert!(network.state.apply(&network.names, &block).is_ok());
}

#[test]
fn a_certificate_is_a_quorum_for_one_block() {
    let mut network = Network::new(4);
    let (block, _) = network.propose(&[commit(1)]);
    let (set, id) = (network.state.witnesses().clone(), network.state.network().clone());
    let certificate = network.certify(&block, 3);
    let verify = |certificate| DecidedBlock { block: block.clone(), certificate }.verify(&id, &set);
    assert_eq!(verify(certificate.clone()), Ok(()));
    assert_eq!(verify(network.certify(&block, 2)), Err(CertificateError::Signatures));
    assert_eq!(certificate.verify(&"other".parse().unwrap(), &set, &block.header), Err(CertificateError::Signatures));

    let mut later_round = certificate.clone();
    later_round.round = 1;
    assert_eq!(verify(later_round), Err(CertificateError::Signatures));
    let mut with_stranger = certificate.clone();
    let message = certificate.sign_bytes(&id);
    with_stranger.signatures.insert(secret("stranger").public(), secret("stranger").sign(&message));
    assert_eq!(verify(with_stranger), Err(CertificateError::Signatures));
    let mut forged = certificate.clone();
    forged.signatures.insert(set.keys()[0], [0; 64]);
    assert_eq!(verify(forged), Err(CertificateError::Signatures));

    network.decide(&[]);
    let (other, _) = network.propose(&[commit(1)]);
    let moved = DecidedBlock { block: other, certificate };
    assert_eq!(moved.verify(&id, &set), Err(CertificateError::Block));
}

#[test]
fn everything_has_one_form() {
    let mut network = Network::new(4);
    network.sign_up("alice", "alice's key");
    let change = network.change_witnesses(&["a", "b"]);
    network.decide(&[change, commit(1), commit(2)]);
    for decided in &network.blocks {
        one_form(decided);
        one_form(&decided.block);
        decided.block.operations.iter().for_each(one_form);
    }
    one_form(&network.state);
    assert_eq!(network.state.commitments().len(), 2);
}

/// Written and read again it is the same, and no other bytes are read as it.
fn one_form<T: FromCbor + ToCbor + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = value.to_bytes();
    assert_eq!(&T::from_bytes(&bytes).unwrap(), value);
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(T::from_bytes(&longer).is_err());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        if let Ok(read) = T::from_bytes(&changed) {
            assert_eq!(read.to_bytes(), changed);
        }
    }
}

#[test]
fn unknown_fields_have_no_place() {
    use pyrgos_protocol::encoding::Value;
    let (_, claim) = claim("alice", "alice's key");
    let Value::List(mut elements) = claim.to_cbor() else { unreachable!() };
    let Value::List(links) = &mut elements[2] else { unreachable!() };
    let Value::Map(link) = &links[0] else { unreachable!() };
    let entries = link.iter().map(|(key, value)| (key, value.clone()));
    links[0] = Value::map(entries.chain([("x", Value::Int(1))]).collect::<Vec<_>>());
    assert_eq!(Operation::from_bytes(&Value::List(elements).encode()), Err(DecodeError::NotCanonical));
    assert!(State::from_bytes(b"").is_err());
    assert!(Signatures::default().is_empty());
}
