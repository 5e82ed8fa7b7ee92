//! First claims: a commitment, some blocks, the reveal.

use bytes::Bytes;
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::names::commitment::{COMMITMENT_LIFE, commitment};
use pyrgos_protocol::names::{
    Chain, ChainError, ChainLink, ClaimError, NameStore, Operation, OperationError, UsernameError,
};

use super::network::{Network, claim, claim_of, day, first_chain, home, name, owner};

#[test]
fn a_name_is_claimed_in_two_steps() {
    for size in [1, 4, 7] {
        let mut network = Network::new(size);
        let faulty = network.state.witnesses().faulty() as u64;
        let (commit, claim) = claim("alice", "alice's key");
        assert_eq!(network.refusal(&claim), OperationError::Uncommitted);
        network.accept(commit);
        for height in 2..2 + faulty {
            assert!(network.state.is_waiting());
            let early = network.refusal(&claim);
            assert_eq!(early, OperationError::Young(2 + faulty), "{size} witnesses");
            assert!(early.is_early());
            // Neither refused for good nor in the block.
            assert_eq!(network.decide(std::slice::from_ref(&claim)), []);
            assert_eq!(network.state.height(), height);
            assert!(network.names.chains().is_empty());
        }
        assert!(!network.state.is_waiting());
        network.accept(claim.clone());
        assert_eq!(network.chain("alice"), first_chain("alice", "alice's key"));
        let key = Owner::new(owner("alice's key").public_key_hash);
        assert_eq!(network.names.name_of(&key).unwrap(), Some(name("alice")));
        assert!(network.state.commitments().is_empty());
        assert_eq!(network.refusal(&claim), OperationError::Uncommitted);
    }
}

/// The claim is shown when the next block may hold it. A thief commits in that very block, and each honest proposer of
/// the f + 1 blocks before the thief's claim is valid would have taken the honest claim.
#[test]
fn a_claim_that_was_seen_cannot_be_overtaken() {
    for size in [1, 4, 7, 10] {
        let mut network = Network::new(size);
        let shown = network.committed(claim("alice", "alice's key"));
        let (steal, stolen) = claim("alice", "thief's key");
        let mut chances = 1;
        network.accept(steal);
        while network.state.check(&network.names, &stolen).unwrap().is_err_and(|cause| cause.is_early()) {
            network.decide(&[]);
            chances += 1;
        }
        // One block for each faulty proposer that leaves the claim out, and one more.
        assert_eq!(chances, network.state.witnesses().faulty() + 1);
        network.accept(shown);
        assert_eq!(network.refusal(&stolen), OperationError::Taken);
    }
}

#[test]
fn the_copy_of_a_commitment_opens_to_nothing_else() {
    let mut network = Network::new(1);
    let (commit, shown) = claim("alice", "alice's key");
    network.accept(commit.clone());
    assert_eq!(network.refusal(&commit), OperationError::Repeated);
    let Operation::Claim { name, salt, .. } = shown.clone() else { unreachable!() };
    let stolen = Operation::Claim { name, chain: first_chain("alice", "thief's key"), salt };
    assert_eq!(network.refusal(&stolen), OperationError::Uncommitted);
    let Operation::Claim { name, chain, .. } = shown else { unreachable!() };
    assert_eq!(network.refusal(&Operation::Claim { name, chain, salt: [7; 32] }), OperationError::Uncommitted);
}

#[test]
fn a_commitment_ends() {
    let mut network = Network::new(1);
    let (commit, claim) = claim("alice", "alice's key");
    network.accept(commit.clone());
    for _ in 0..COMMITMENT_LIFE - 1 {
        network.decide(&[]);
    }
    assert_eq!(network.state.check(&network.names, &claim).unwrap(), Ok(()));
    network.decide(&[]);
    assert_eq!(network.refusal(&claim), OperationError::Uncommitted);
    network.accept(commit);
    network.accept(claim);
}

#[test]
fn names_that_cannot_be_registered_are_refused() {
    let mut network = Network::new(1);
    for (text, cause) in [
        ("admin", UsernameError::Banned),
        ("Alice", UsernameError::Character),
        ("a_b", UsernameError::Character),
        ("a--b", UsernameError::Character),
        ("a-", UsernameError::Character),
        (&"a".repeat(33), UsernameError::Length { limit: 32 }),
    ] {
        let claim = network.committed(claim(text, text));
        assert_eq!(network.refusal(&claim), OperationError::Username(cause), "{text}");
    }
}

/// `spec/06` §11.1: the reference accepts all of these.
#[test]
fn a_first_claim_is_verified() {
    let mut network = Network::new(1);
    let valid = first_chain("alice", "alice's key");
    let at_zero = |cause| OperationError::Chain(ChainError::Claim { link: 0, cause });
    let changed = |change: &dyn Fn(&mut ChainLink)| {
        let mut chain = valid.clone();
        change(&mut chain.0[0]);
        chain
    };

    let mut forged = valid.0[0].claim.signed.to_vec();
    forged[0] ^= 1;
    let unsigned = changed(&|link| link.claim.signed = forged.clone().into());
    let foreign = changed(&|link| link.owner = Owner::new(owner("bob's key").public_key_hash));
    let later = changed(&|link| link.claim.expiry = day(1000));
    let other_name = first_chain("bob", "alice's key");
    let homeless = Chain(vec![ChainLink::sign(&name("alice"), day(60), home("server"), &owner("alice's key"))]);
    let homeless = {
        let mut chain = homeless;
        let key = owner("alice's key");
        chain.0[0].claim = pyrgos_protocol::names::Claim::sign(&name("alice"), day(60), Vec::new(), &key.secret);
        chain
    };
    let by_hash = changed(&|link| link.owner = Owner::new(pyrgos_protocol::keys::KeyHash::null()));
    let padded = changed(&|link| {
        let content = [&link.claim.payload()[..], b"more"].concat();
        link.claim.signed = owner("alice's key").secret.sign_attached(&content).into();
    });
    let handed_over = changed(&|link| link.key_change = Some(Bytes::from_static(&[0; 1000])));
    let two = Chain::key_change(&name("alice"), &owner("alice's key"), &owner("next"), home("server"), day(60));

    for (chain, expected) in [
        (unsigned, at_zero(ClaimError::Signature)),
        (foreign, at_zero(ClaimError::Signature)),
        (later, at_zero(ClaimError::Content)),
        (other_name, at_zero(ClaimError::Name)),
        (homeless, OperationError::Chain(ChainError::Providers(0))),
        (by_hash, OperationError::Chain(ChainError::UnknownKey(0))),
        (padded, OperationError::Padded),
        (handed_over, OperationError::Padded),
        (two, OperationError::Links(2)),
        (Chain::default(), OperationError::Links(0)),
    ] {
        let claim = network.committed(claim_of("alice", chain));
        assert_eq!(network.refusal(&claim), expected);
    }
    network.sign_up("alice", "alice's key");
}

#[test]
fn a_key_has_one_name() {
    let mut network = Network::new(1);
    network.sign_up("alice", "alice's key");
    let claim = network.committed(claim("bob", "alice's key"));
    assert_eq!(network.refusal(&claim), OperationError::OwnerBound);

    // Nor two names in one block.
    let (first, second) = (super::network::claim("carol", "carol's key"), super::network::claim("dave", "carol's key"));
    network.decide(&[first.0, second.0]);
    let refused = network.decide(&[first.1, second.1.clone()]);
    assert_eq!(refused, [(second.1.id(), OperationError::OwnerBound)]);
}

#[test]
fn the_first_of_two_claims_in_a_block_has_the_name() {
    let mut network = Network::new(1);
    let (first, second) = (claim("alice", "alice's key"), claim("alice", "other key"));
    network.decide(&[first.0, second.0]);
    let refused = network.decide(&[first.1, second.1.clone()]);
    assert_eq!(refused, [(second.1.id(), OperationError::Taken)]);
    assert_eq!(network.chain("alice"), first_chain("alice", "alice's key"));
}

#[test]
fn a_commitment_hides_the_name() {
    let chain = first_chain("alice", "alice's key");
    let salted = |salt| commitment(&name("alice"), &chain, &salt);
    assert_ne!(salted([0; 32]), salted([1; 32]));
}
