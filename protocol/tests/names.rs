//! Usernames, claims, chains, proofs of work, sign-up logs and the tree of names against `vectors/06-usernames.json`,
//! `06-claims.json`, `06-pow.json`, `06-oplog.json` and `06-pki.json` (`spec/06` §1, §2.2).

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use pyrgos_crypto::pow;
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor};
use pyrgos_protocol::keys::{
    Owner, ProofOfWork, SecretSigningKey, SignedError, SignedRequest, SigningKeyPair, SigningPrivateKeyAndPublicHash,
};
use pyrgos_protocol::login::{BlockWrite, IdentityUpdate, LoginData};
use pyrgos_protocol::merkle::bat::{Bat, BatWithId};
use pyrgos_protocol::merkle::champ::KeyHashing;
use pyrgos_protocol::merkle::pointer::{PointerUpdate, SignedPointerUpdate};
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_protocol::names::chain::inline_key;
use pyrgos_protocol::names::sign_up::{
    ADD_BAT_PATH, AuthorisedBat, AuthorisedLogin, MAX_LOG_BYTES, Operation, SIGN_UP_WINDOW,
};
use pyrgos_protocol::names::{Chain, ChainLink, Claim, Date, Delta, MergeError, OperationLog, SignUpError, Username};
use serde_json::Value as Json;
use support::{Cases, array, boolean, bytes, int, text};

/// Names of the vectors on the list of old names, which only the main network's authority needs.
const OLD_NAMES: [&str; 3] = ["0_o", "mr_mike", "0_0"];

#[test]
fn usernames() {
    let mut cases = Cases::of("06-usernames");
    for case in cases.section("cases") {
        let name = text(&case, "username");
        assert_eq!(name.encode_utf16().count() as i64, int(&case, "length"));
        let expected = boolean(&case, "expected_for_new_implementation");
        if OLD_NAMES.contains(&name) {
            assert!(expected && Username::new(name).is_err() && Username::existing(name).is_ok(), "{name}");
        } else {
            assert_eq!(Username::new(name).is_ok(), expected, "{name:?}");
        }
    }
    cases.finish();
}

fn signer(case: &Json) -> SigningPrivateKeyAndPublicHash {
    SigningKeyPair::new(SecretSigningKey::from_seed(&array(case, "seed"))).signer()
}

fn chain(case: &Json, key: &str) -> Chain {
    Chain::from_bytes(&bytes(case, key)).unwrap()
}

#[test]
fn claims() {
    let mut cases = Cases::of("06-claims");
    let keys: Vec<_> = cases.section("keys").iter().map(claim_key).collect();
    cases.section("servers").iter().for_each(server);
    let zero = cases.section("zero_server").remove(0);
    assert_eq!(Cid::from_bytes(&bytes(&zero, "cid_bytes")).unwrap().to_string(), text(&zero, "cid"));
    let chains = cases.section("chains");
    chains.iter().for_each(|case| check_chain(case, &keys));
    cases.section("merges").iter().for_each(merge);
    cases.finish();

    built_as_clients_build(&chains, &keys);
}

fn claim_key(case: &Json) -> SigningPrivateKeyAndPublicHash {
    let signer = signer(case);
    assert_eq!(signer.secret.as_bytes(), &array(case, "secret_key_64"));
    assert_eq!(signer.secret.public().as_bytes(), &array(case, "public_key"));
    assert_eq!(signer.secret.public().to_bytes(), bytes(case, "public_key_cbor"));
    let owner = Owner::new(signer.public_key_hash.clone());
    assert_eq!(owner.cid().to_bytes(), bytes(case, "owner_cid_bytes"));
    assert_eq!(owner.to_string(), text(case, "owner_cid"));
    assert_eq!(owner.to_bytes(), bytes(case, "owner_link_cbor"));
    signer
}

fn server(case: &Json) {
    let cid = Cid::from_bytes(&bytes(case, "cid_bytes")).unwrap();
    assert_eq!(cid.to_string(), text(case, "cid"));
    if case.get("peer_id_base58").is_none() {
        // An old RSA id has no more than that.
        return;
    }
    assert_eq!(cid.hash().to_bytes(), bytes(case, "peer_id_bytes"));
    assert_eq!(cid.hash().to_base58(), text(case, "peer_id_base58"));
    assert_eq!(Cid::from_server_id(text(case, "peer_id_base58")).unwrap(), cid);
    let key = SecretSigningKey::from_seed(&array(case, "seed")).public();
    assert_eq!(key.as_bytes(), &array(case, "public_key"));
    assert!(cid.hash().digest().ends_with(key.as_bytes()));
}

fn check_chain(case: &Json, keys: &[SigningPrivateKeyAndPublicHash]) {
    let name = text(case, "name");
    let valid = text(case, "expected_for_new_implementation") == "valid";
    let cbor = bytes(case, "chain_cbor");
    assert_eq!(Cid::of_cbor(&cbor).to_string(), text(case, "chain_block_cid"));
    let (chain, username) = match (Chain::from_bytes(&cbor), Username::existing(text(case, "username"))) {
        (Ok(chain), Ok(username)) => (chain, username),
        // Names that break the rule for existing ones cannot even be held.
        _ => return assert!(["bad_space_in_username", "bad_username_65"].contains(&name), "{name}"),
    };
    assert_eq!(chain.to_bytes(), cbor, "{name}");
    for (link, shown) in chain.0.iter().zip(case["links"].as_array().unwrap()) {
        check_link(link, shown, keys, name);
    }
    let result = chain.verify(&username, inline_key);
    assert_eq!(result.is_ok(), valid, "{name}: {result:?}");
}

fn check_link(link: &ChainLink, shown: &Json, keys: &[SigningPrivateKeyAndPublicHash], name: &str) {
    assert_eq!(link.owner.to_string(), text(shown, "owner"));
    assert_eq!(link.claim.username.as_str(), text(shown, "username"));
    assert_eq!(link.claim.expiry.to_string(), text(shown, "expiry"));
    let texts: Vec<_> = link.claim.providers.iter().map(Cid::to_string).collect();
    assert_eq!(serde_json::to_value(texts).unwrap(), shown["storage_provider_cids"]);
    let encoded: Vec<_> = link.claim.providers.iter().map(|cid| hex::encode(cid.to_bytes())).collect();
    assert_eq!(serde_json::to_value(encoded).unwrap(), shown["storage_provider_bytes"]);
    assert_eq!(link.claim.signed, bytes(shown, "signed_contents"));
    assert_eq!(link.claim.payload(), bytes(shown, "payload"));
    assert_eq!(link.key_change.as_ref().map(hex::encode).as_deref(), shown["keychange_proof"].as_str());
    assert_eq!(link.claim.to_bytes(), bytes(shown, "claim_cbor"));
    assert_eq!(link.to_bytes(), bytes(shown, "link_cbor"));
    // Ed25519 has one signature for a key and a message: signing again gives the claims that were signed rightly.
    if let Some(signer) = keys.iter().find(|key| key.public_key_hash == *link.owner.key_hash()) {
        let Claim { username, expiry, providers, .. } = &link.claim;
        let again = Claim::sign(username, *expiry, providers.clone(), &signer.secret);
        let rightly = link.claim.verify(username, &signer.secret.public()).is_ok();
        assert_eq!(again == link.claim, rightly && name != "lenient_trailing_bytes" || providers.len() > 1, "{name}");
    }
}

fn merge(case: &Json) {
    let (existing, update) = (chain(case, "existing_chain_cbor"), chain(case, "update_chain_cbor"));
    let username = Username::new("alice").unwrap();
    let merged = existing.merge(&update, &username, inline_key);
    let expected = text(case, "expected_for_new_implementation") == "ok";
    assert_eq!(merged.is_ok(), expected, "{}: {merged:?}", text(case, "description"));
    if let Ok(merged) = merged {
        let cbor = merged.to_bytes();
        assert_eq!(cbor, bytes(case, "merged_chain_cbor"));
        assert_eq!(Cid::of_cbor(&cbor).to_string(), text(case, "merged_chain_block_cid"));
    } else if let (Err(error), Some(reference)) = (merged, case["reference_error"].as_str()) {
        // Where the reference has a text of its own it is the same, since clients show it.
        let (_, said) = reference.split_once(": ").unwrap();
        if said.ends_with('!') {
            assert!(error.to_string().starts_with(said), "{error} instead of {said}");
        }
    }
}

/// The chains of the vectors, made as a client makes them.
fn built_as_clients_build(chains: &[Json], keys: &[SigningPrivateKeyAndPublicHash]) {
    let named = |name: &str| chain(chains.iter().find(|case| text(case, "name") == name).unwrap(), "chain_cbor");
    let alice = Username::new("alice").unwrap();
    let [first, second] = [&keys[0], &keys[1]];
    let initial = named("initial");
    let home = initial.home().unwrap().clone();
    let today: Date = "2027-01-15".parse().unwrap();
    assert_eq!(Chain::first(&alice, first, home.clone(), today).unwrap(), initial);
    assert_eq!(initial.owner(), Some(&Owner::new(first.public_key_hash.clone())));

    let migrated = named("migrated");
    let new_home = migrated.home().unwrap().clone();
    let expiry = initial.migrated_expiry().unwrap();
    assert_eq!(initial.with_last_claim(&alice, expiry, new_home.clone(), first), migrated);

    let changed = named("key_change");
    let update = Chain::key_change(&alice, first, second, home, changed.last().unwrap().claim.expiry);
    assert_eq!(initial.merge(&update, &alice, inline_key).unwrap(), changed);
    let expiry = changed.migrated_expiry().unwrap();
    assert_eq!(changed.with_last_claim(&alice, expiry, new_home, second), named("built_migration_chain"));

    // Renewal: within the last month, and always to a later day, which a replay of the old claim would not have.
    assert!(!initial.needs_renewal("2027-02-15".parse().unwrap()));
    assert!(initial.needs_renewal("2027-02-16".parse().unwrap()));
    assert_eq!(initial.renewed_expiry("2027-02-16".parse().unwrap()).unwrap().to_string(), "2027-04-16");
    assert_eq!(initial.renewed_expiry(today).unwrap().to_string(), "2027-03-16");
}

#[test]
fn an_update_for_another_name_or_key_never_merges() {
    let keys = [1, 2].map(|seed| SigningKeyPair::new(SecretSigningKey::from_seed(&[seed; 32])).signer());
    let [alice, bob] = ["alice", "bob"].map(|name| Username::new(name).unwrap());
    let home = Cid::of_raw(b"server");
    let today = Date::new(2027, 1, 1).unwrap();
    let empty = Chain::default();
    let claim = |name, key| Chain::first(name, key, home.clone(), today).unwrap();
    assert!(empty.merge(&claim(&alice, &keys[0]), &alice, inline_key).is_ok());
    assert!(matches!(empty.merge(&claim(&bob, &keys[0]), &alice, inline_key), Err(MergeError::Invalid(_))));
    let stored = claim(&alice, &keys[0]);
    assert_eq!(stored.merge(&claim(&alice, &keys[1]), &alice, inline_key), Err(MergeError::Taken));
    assert!(matches!(stored.merge(&claim(&bob, &keys[0]), &alice, inline_key), Err(MergeError::Invalid(_))));
    assert_eq!(stored.merge(&empty, &alice, inline_key), Err(MergeError::NothingNew));
    // The key that an owner's hash does not hold must be known otherwise.
    assert!(matches!(empty.merge(&stored, &alice, |_| None), Err(MergeError::Invalid(_))));
}

#[test]
fn proofs_of_work() {
    let mut cases = Cases::of("06-pow");
    let value = cases.value("data");
    let data = hex::decode(value.as_str().unwrap()).unwrap();
    let empty = hex::decode(cases.value("empty_proof_cbor").as_str().unwrap()).unwrap();
    assert_eq!(ProofOfWork::from_request(&empty).unwrap(), ProofOfWork { prefix: Bytes::new() });
    assert_eq!(ProofOfWork { prefix: Bytes::new() }.to_bytes(), empty);
    for case in cases.section("proofs") {
        let difficulty = int(&case, "difficulty") as u32;
        let proof = ProofOfWork { prefix: bytes(&case, "prefix").into() };
        let cbor = bytes(&case, "proof_cbor");
        assert_eq!(proof.to_bytes(), cbor);
        assert_eq!(ProofOfWork::from_request(&cbor).unwrap(), proof);
        assert_eq!(proof.proves(&data, difficulty), boolean(&case, "satisfies"));
        let hash = pyrgos_crypto::hash::sha256(&[&proof.prefix, data.as_slice()].concat());
        assert_eq!(hash, array(&case, "sha256"));
        assert_eq!(ProofOfWork::solve(&data, difficulty).unwrap(), proof);
    }
    for case in cases.section("predicate_cases") {
        let met = pow::satisfies(&array(&case, "hash"), int(&case, "difficulty") as u32);
        assert_eq!(met, boolean(&case, "satisfies"), "{case}");
    }
    cases.finish();
    assert!(ProofOfWork::from_request(&ProofOfWork { prefix: vec![0; 100].into() }.to_bytes()).is_err());
    assert!(ProofOfWork::solve(&data, 256).is_err());
}

/// The log of the vectors, piece by piece, with the identity that signed it.
struct Recorded {
    log: OperationLog,
    identity: SigningPrivateKeyAndPublicHash,
    bat_millis: i64,
}

#[test]
fn sign_up_logs() {
    let mut cases = Cases::of("06-oplog");
    let identity = claim_key(&cases.section("identity")[0]);
    let mut log = OperationLog::default();
    for case in cases.section("blocks") {
        let write = BlockWrite::sign(bytes(&case, "block").into(), boolean(&case, "raw"), &identity);
        assert_eq!(write.signed_hash, bytes(&case, "signed_hash"));
        assert_eq!(write.cid().to_string(), text(&case, "cid"));
        log.push_block(write);
    }
    let mut constant = |key: &str| Bytes::from(hex::decode(cases.section(key)[0].as_str().unwrap()).unwrap());
    let signed = constant("signed_pointer");
    assert!(PointerUpdate::open(&identity.secret.public(), &signed).is_ok());
    let pointer = Operation::Pointer(SignedPointerUpdate { writer: identity.writer(), signed });

    let login_cbor = constant("login_data_cbor");
    let data = LoginData::from_request(&login_cbor).unwrap();
    assert_eq!(data.to_bytes(), login_cbor);
    let auth = constant("login_auth");
    assert_eq!(data.authorise(&identity.secret).to_vec(), auth);
    let login = AuthorisedLogin { data, auth };

    let bat_cbor = constant("mirror_bat_cbor");
    let bat = BatWithId::from_bytes(&bat_cbor).unwrap();
    assert_eq!(bat.to_bytes(), bat_cbor);
    let auth = constant("mirror_bat_auth");
    let bat_millis = SignedRequest::from_bytes(&auth[64..]).unwrap().millis;
    assert_eq!(SignedRequest::sign(ADD_BAT_PATH, bat_millis, &identity.secret), auth);
    let mirror_bat = AuthorisedBat { bat, auth };

    for case in cases.section("oplogs") {
        let cbor = Bytes::from(bytes(&case, "cbor"));
        let read = OperationLog::from_request(&cbor).unwrap();
        assert_eq!(read.to_bytes(), cbor);
        // The logs of the file, from nothing to everything.
        if read == OperationLog::default() {
            continue;
        }
        if log.operations.len() == 2 {
            // A block that is there already is not logged again; one that is raw is another.
            let Operation::Block(first) = log.operations[0].clone() else { panic!("the first is a block") };
            log.push_block(first);
            assert_eq!(log.operations.len(), 2);
            log.operations.push(pointer.clone());
        }
        if read.login.is_some() {
            log.login = Some(login.clone());
            log.mirror_bat = Some(mirror_bat.clone());
        }
        assert_eq!(read, log, "{}", text(&case, "description"));
    }
    cases.finish();
    refuse_wrong_logs(&Recorded { log, identity, bat_millis });
}

fn refuse_wrong_logs(recorded: &Recorded) {
    let Recorded { log, identity, bat_millis } = recorded;
    let username = log.login.as_ref().unwrap().data.username.clone();
    let today = Date::from_unix_millis(*bat_millis);
    let claim = Chain::first(&username, identity, Cid::of_raw(b"server"), today).unwrap();
    let verify = |log: &OperationLog| log.verify(&username, &claim, *bat_millis);
    let owner = Owner::new(identity.public_key_hash.clone());
    assert_eq!(verify(log), Ok(owner.clone()));
    assert!(log.other_writers(&owner).is_empty());

    let stranger = SigningKeyPair::new(SecretSigningKey::from_seed(&[9; 32])).signer();
    let changed = |change: &dyn Fn(&mut OperationLog)| {
        let mut log = log.clone();
        change(&mut log);
        verify(&log)
    };
    // The claim.
    let other_name = Username::new("mallory").unwrap();
    assert!(matches!(log.verify(&other_name, &claim, *bat_millis), Err(SignUpError::Claim(_))));
    let two = Chain([claim.0.clone(), claim.0.clone()].concat());
    assert_eq!(log.verify(&username, &two, *bat_millis), Err(SignUpError::Links(2)));
    let stolen = Chain::first(&username, &stranger, Cid::of_raw(b"server"), today).unwrap();
    assert_eq!(log.verify(&username, &stolen, *bat_millis), Err(SignUpError::LoginAuth));

    // Blocks and pointers.
    let flip = |bytes: &Bytes| {
        let mut bytes = bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Bytes::from(bytes)
    };
    for at in 0..log.operations.len() {
        let refused = changed(&|log| match &mut log.operations[at] {
            Operation::Block(write) => write.block = flip(&write.block),
            Operation::Pointer(write) => write.signed = flip(&write.signed),
        });
        assert_eq!(refused, Err(SignUpError::Operation(at)));
        let refused = changed(&|log| match &mut log.operations[at] {
            Operation::Block(write) => write.writer = stranger.writer(),
            Operation::Pointer(write) => write.writer = stranger.writer(),
        });
        assert_eq!(refused, Err(SignUpError::Operation(at)));
    }
    let mut foreign = log.clone();
    foreign.push_block(BlockWrite::sign(Bytes::from_static(b"\xa0"), false, &stranger));
    assert_eq!(foreign.other_writers(&owner), [&stranger.writer()]);

    // Login data.
    let refused = changed(&|log| log.login.as_mut().unwrap().data.username = other_name.clone());
    assert_eq!(refused, Err(SignUpError::LoginName));
    let refused = changed(&|log| {
        let login = log.login.as_mut().unwrap();
        login.auth = login.data.authorise(&stranger.secret).to_vec().into();
    });
    assert_eq!(refused, Err(SignUpError::LoginAuth));
    let refused = changed(&|log| {
        let block = BlockWrite::sign(Bytes::from_static(b"\xa0"), false, identity);
        let pointer = SignedPointerUpdate { writer: identity.writer(), signed: Bytes::new() };
        let login = log.login.as_mut().unwrap();
        login.data.identity_update = Some(IdentityUpdate { block, pointer });
        login.auth = login.data.authorise(&identity.secret).to_vec().into();
    });
    assert_eq!(refused, Err(SignUpError::LoginMoves));

    // The mirror token.
    let window = SIGN_UP_WINDOW.as_millis() as i64;
    assert!(log.verify(&username, &claim, bat_millis + window).is_ok());
    let late = log.verify(&username, &claim, bat_millis + window + 1);
    assert!(matches!(late, Err(SignUpError::Bat(SignedError::Window { .. }))));
    let refused = changed(&|log| {
        let auth = SignedRequest::sign("peergos/v0/bats/getUserBats", *bat_millis, &identity.secret);
        log.mirror_bat.as_mut().unwrap().auth = auth.into();
    });
    assert_eq!(refused, Err(SignUpError::Bat(SignedError::Path)));
    let refused = changed(&|log| {
        let bat = log.mirror_bat.as_mut().unwrap();
        let id = bat.bat.id().clone();
        bat.bat = BatWithId::new(Bat::from_bytes([1; 32]), id).unwrap();
    });
    assert_eq!(refused, Err(SignUpError::BatName));

    // Sizes.
    assert!(OperationLog::from_request(&vec![0; MAX_LOG_BYTES + 1].into()).is_err());
}

/// The sign-ups that existing clients sent to a real server: each passes every check made here.
#[test]
fn recorded_sign_ups() {
    let recorded = support::load("04-exchanges-1-signup-login-ls");
    let mut replayed = 0;
    for exchange in recorded["exchanges"].as_array().unwrap() {
        if !text(exchange, "target").ends_with("/core/signup") {
            continue;
        }
        let body = Bytes::from(bytes(&recorded["bodies"], text(&exchange["request_body"], "sha256")));
        // name, link, log, proof of work, token
        let mut rest = body;
        let mut part = || {
            let length = u32::from_be_bytes(rest.split_to(4)[..].try_into().unwrap());
            rest.split_to(length as usize)
        };
        let username = Username::new(std::str::from_utf8(&part()).unwrap()).unwrap();
        let link = ChainLink::from_bytes(&part()).unwrap();
        let log_bytes = part();
        let log = OperationLog::from_request(&log_bytes).unwrap();
        assert_eq!(log.to_bytes(), log_bytes);
        let proof = ProofOfWork::from_request(&part()).unwrap();
        let claim = Chain(vec![link]);
        assert!(proof.proves(&claim.to_bytes(), 0));
        // The second attempt of `java-signup2` is the solution of the difficulty that the first was answered with.
        let answer = hex::decode(text(&exchange["response_body"], "hex")).unwrap();
        let demanded = if text(exchange, "step") == "java-signup2" { 12 } else { 0 };
        assert_eq!(proof.proves(&claim.to_bytes(), demanded), answer == [1]);

        let bat = log.mirror_bat.as_ref().unwrap();
        let millis = SignedRequest::from_bytes(&bat.auth[64..]).unwrap().millis;
        let owner = log.verify(&username, &claim, millis).unwrap();
        assert_eq!(claim.owner(), Some(&owner));
        // The home directory has a writer of its own.
        assert_eq!(log.other_writers(&owner).len(), 1);
        replayed += 1;
    }
    println!("04-exchanges-1-signup-login-ls.json: {replayed} sign-ups verified");
    assert_eq!(replayed, 4);
}

/// The tree of names and what leads to it, as the one authority of existing networks keeps them (`spec/06` §2.2).
#[test]
fn the_tree_of_an_authority() {
    let mut cases = Cases::of("06-pki");
    let [identity, pki] = ["authority_identity", "pki_key"].map(|key| claim_key(&cases.section(key)[0]));
    let servers: Vec<Cid> = cases.value("servers").as_array().unwrap().iter().map(server_id).collect();
    let blocks = cases.value("blocks");
    let block = |cid: &Cid| hex::decode(blocks[cid.to_string()].as_str().unwrap()).unwrap();
    blocks.as_object().unwrap().iter().for_each(|(cid, block)| {
        assert_eq!(Cid::of_cbor(&hex::decode(block.as_str().unwrap()).unwrap()).to_string(), *cid);
    });

    let mut names: BTreeMap<Username, Chain> = BTreeMap::new();
    let users = cases.section("users");
    let states = cases.section("states");
    let mut states = states.iter().peekable();
    check_state(states.next().unwrap(), &names, &pki, &block, 2);
    let number = |state: &Json| text(state, "description").split(' ').nth(1).unwrap().parse::<usize>().unwrap_or(0);
    for (position, user) in users.iter().enumerate() {
        let username = Username::new(text(user, "username")).unwrap();
        let claim = chain(user, "chain_cbor");
        assert!(boolean(user, "accepted"));
        assert_eq!(claim.verify(&username, inline_key), Ok(()));
        assert!(servers.contains(claim.home().unwrap()));
        assert_eq!(claim.owner().unwrap().to_string(), text(user, "owner"));
        assert_eq!(username.as_str().as_bytes(), bytes(user, "champ_key"));
        assert_eq!(KeyHashing::Blake2b512.hash(username.as_str().as_bytes()).to_vec(), bytes(user, "champ_key_hash"));
        assert_eq!(Cid::of_cbor(&claim.to_bytes()).to_string(), text(user, "chain_block_cid"));
        assert_eq!(block(&Cid::of_cbor(&claim.to_bytes())), claim.to_bytes());
        assert_eq!(names.insert(username, claim), None);
        if let Some(state) = states.next_if(|state| number(state) == position + 1) {
            check_state(state, &names, &pki, &block, position as i64 + 3);
        }
    }

    // The renewal is in a block; the new key's chain is shown.
    let alice = Username::new("alice").unwrap();
    let (renewed, changed) = (states.next().unwrap(), states.next().unwrap());
    assert!(states.next().is_none());
    let mut renewals = blocks.as_object().unwrap().values().filter_map(|block| {
        let chain = Chain::from_bytes(&hex::decode(block.as_str().unwrap()).unwrap()).ok()?;
        (chain.last()?.claim.expiry.to_string() == "2027-05-15").then_some(chain)
    });
    let renewal = renewals.next_back().unwrap();
    let merged = names[&alice].merge(&renewal, &alice, inline_key).unwrap();
    assert_eq!(merged, renewal);
    names.insert(alice.clone(), merged);
    check_state(renewed, &names, &pki, &block, 67);
    let change = chain(changed, "alice_chain_cbor");
    let merged = names[&alice].merge(&change, &alice, inline_key).unwrap();
    assert_eq!(merged, change);
    let new_key = SigningKeyPair::new(SecretSigningKey::from_seed(&[0xf1; 32])).signer();
    assert_eq!(merged.owner().unwrap().key_hash(), &new_key.public_key_hash);
    names.insert(alice.clone(), merged.clone());
    check_state(changed, &names, &pki, &block, 68);
    // Former keys lead to the name, too.
    let (_, delta) = Delta::of_names(names).unwrap();
    for (key, link) in [("getUsername_old_key", &merged.0[0]), ("getUsername_new_key", &merged.0[1])] {
        assert_eq!(delta.owners[&link.owner].as_str(), text(changed, key));
    }
    assert_ne!(identity.public_key_hash, pki.public_key_hash);
    cases.finish();
}

fn server_id(text: &Json) -> Cid {
    Cid::from_server_id(text.as_str().unwrap()).unwrap()
}

fn check_state(
    state: &Json,
    names: &BTreeMap<Username, Chain>,
    pki: &SigningPrivateKeyAndPublicHash,
    block: &impl Fn(&Cid) -> Vec<u8>,
    sequence: i64,
) {
    let description = text(state, "description");
    let pointer = PointerUpdate::open(&pki.secret.public(), &bytes(state, "pki_signed_pointer")).unwrap();
    assert_eq!((pointer.sequence(), int(state, "pki_pointer_sequence")), (Some(sequence), sequence), "{description}");
    let data = pointer.updated().unwrap();
    assert_eq!(data.to_string(), text(state, "writer_data_cid"), "{description}");
    let data = WriterData::from_bytes(&block(data)).unwrap();
    assert_eq!(data.controller, pki.public_key_hash);
    assert_eq!(data.tree.as_ref().map(Cid::to_string).as_deref(), state["tree_root_cid"].as_str(), "{description}");
    let (root, delta) = Delta::of_names(names.clone()).unwrap();
    if !names.is_empty() {
        assert_eq!(data.tree, Some(root), "{description}");
        delta.nodes.iter().for_each(|(cid, node)| assert_eq!(block(cid), *node, "{description}"));
    }
}
