//! What the node refuses although existing nodes take it, and what it promises when requests come twice.

mod support;

use bytes::Bytes;
use pyrgos::config::SignupPolicy;
use pyrgos::identity::server_id;
use pyrgos_crypto::totp;
use pyrgos_protocol::api::bats::{AddBat, GetUserBats};
use pyrgos_protocol::api::core::{Decision, GetChain, GetPublicKey, GetUsername, SignUp, UpdateChain};
use pyrgos_protocol::api::login::{
    AddTotp, DeleteSecondFactor, EnableTotp, FactorCode, GenerateBackupCodes, ListSecondFactors, SetLogin,
};
use pyrgos_protocol::api::mutable::{GetPointer, SetPointer, SetPointers};
use pyrgos_protocol::api::space::{GetQuota, GetUsage, RequestSpace, SpaceRequest};
use pyrgos_protocol::api::storage::{CloseTransaction, GetBlock, LookUpChunks, StartTransaction};
use pyrgos_protocol::api::{ApiError, Call};
use pyrgos_protocol::encoding::{Cid, Codec, ToCbor, Value};
use pyrgos_protocol::keys::{OwnerProof, SignedTime};
use pyrgos_protocol::login::second_factor::{FactorAnswer, MultiFactorAuthResponse};
use pyrgos_protocol::login::{BlockWrite, IdentityUpdate, LoginResponse};
use pyrgos_protocol::merkle::bat::{Bat, BatWithId, ChunkMirrorCap, prefix};
use pyrgos_protocol::merkle::champ;
use pyrgos_protocol::merkle::ownership;
use pyrgos_protocol::merkle::pointer::{MultiWriterCommit, PointerUpdate, SignedPointerUpdate};
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_protocol::names::sign_up::Operation;
use pyrgos_protocol::names::{Chain, Date, Username};
use support::account::{Account, put, signer};
use support::{Node, now};

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, ApiError>, text: &str) {
    let message = answer.expect_err("the node must refuse this").message();
    assert!(message.contains(text), "{message:?} does not say {text:?}");
}

fn flip(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[0] ^= 1;
    bytes.into()
}

/// Every part of a sign-up that can be wrong, and what is said about it.
#[test]
fn a_sign_up_is_verified_as_a_whole() {
    let node = Node::usual();
    let alice = Account::new("alice");
    let mallory = Account::new("mallory");
    type Change = fn(&mut SignUp, &Account);
    let wrong: [(&str, &str, Change); 15] = [
        ("a claim signed by another key", "not signed by its owner", |call, mallory| {
            call.claim.0[0].claim.signed = call.claim.0[0].claim.signed.slice(64..);
            let signed = mallory.identity.secret.sign_attached(&call.claim.0[0].claim.signed);
            call.claim.0[0].claim.signed = signed.into();
        }),
        ("a claim for another name", "another name", |call, _| call.username = Username::new("alicia").unwrap()),
        ("a claim of somebody else", "another name", |call, mallory| call.claim = mallory.claim()),
        ("another home", "Trying to signup to wrong host!", |call, _| {
            let elsewhere = server_id(&signer("elsewhere").secret.public());
            let date = Date::from_unix_millis(0);
            call.claim = Chain::first(&call.username, &signer("alice"), elsewhere, date).unwrap();
        }),
        ("a block that its writer did not sign", "not signed by its writer", |call, mallory| {
            change_block(call, |write| {
                write.signed_hash = BlockWrite::sign(write.block.clone(), false, &mallory.identity).signed_hash
            });
        }),
        ("a signature over another block", "not signed by its writer", |call, _| {
            change_block(call, |write| write.block = Bytes::from_static(&[0x80]));
        }),
        ("a pointer that its writer did not sign", "not signed by its writer", |call, _| {
            change_pointer(call, |update| update.signed = flip(&update.signed));
        }),
        ("login data for another name", "another user", |call, mallory| {
            call.log.login.as_mut().unwrap().data.username = mallory.username.clone();
        }),
        ("login data that the identity did not sign", "not authorised", |call, _| {
            let login = call.log.login.as_mut().unwrap();
            login.auth = flip(&login.auth);
        }),
        ("a mirror token that the identity did not sign", "not authorised", |call, _| {
            let bat = call.log.mirror_bat.as_mut().unwrap();
            bat.auth = flip(&bat.auth);
        }),
        ("a mirror token under another name", "does not have the name", |call, _| {
            let bat = call.log.mirror_bat.as_mut().unwrap();
            let other = BatWithId::mirror(Bat::from_bytes([9; 32]));
            bat.bat = BatWithId::new(bat.bat.bat().clone(), other.id().clone()).unwrap();
        }),
        ("a pointer to a block that is not there", "Couldn't retrieve WriterData", |call, _| {
            call.log.operations.retain(|op| matches!(op, Operation::Pointer(_)));
        }),
        ("a pointer to the data of another key", "controller mismatch", |call, mallory| {
            call.log.push_block(BlockWrite::sign(mallory.data.clone(), false, &signer("alice")));
            let update = PointerUpdate::first(Cid::of_cbor(&mallory.data));
            change_pointer(call, |pointer| pointer.signed = update.sign(&signer("alice").secret));
        }),
        ("a writer that the identity does not own", "Writer not present", |call, mallory| {
            call.log.push_block(BlockWrite::sign(Bytes::from_static(&[0x80]), false, &mallory.identity));
        }),
        ("a block that is no canonical CBOR", "not a block of canonical CBOR", |call, _| {
            call.log.push_block(BlockWrite::sign(Bytes::from_static(&[0x18, 0x01]), false, &signer("alice")));
        }),
    ];
    for (what, text, change) in wrong {
        let mut call = alice.sign_up(&node);
        change(&mut call, &mallory);
        println!("{what}");
        refused(node.call(&call), text);
    }
    // None of them left anything behind: the same name is still free for its owner.
    assert_eq!(node.call(&GetChain { username: alice.username.clone() }).unwrap(), Chain::default());
    refused(node.call(&GetUsername { owner: alice.owner() }), "Unknown identity key");
    let call = GetBlock { owner: alice.owner(), cid: Cid::of_cbor(&alice.data), bat: None };
    assert_eq!(node.call(&call).unwrap(), None);
    assert_eq!(node.call(&alice.sign_up(&node)).unwrap(), Decision::Accepted);
}

fn change_block(call: &mut SignUp, change: impl Fn(&mut BlockWrite)) {
    for operation in &mut call.log.operations {
        if let Operation::Block(write) = operation {
            return change(write);
        }
    }
}

fn change_pointer(call: &mut SignUp, change: impl Fn(&mut SignedPointerUpdate)) {
    for operation in &mut call.log.operations {
        if let Operation::Pointer(update) = operation {
            return change(update);
        }
    }
}

impl Account {
    fn claim(&self) -> Chain {
        let date = Date::from_unix_millis(0);
        Chain::first(&self.username, &self.identity, server_id(&self.login.public()), date).unwrap()
    }
}

#[test]
fn a_repeated_sign_up_succeeds_and_a_second_owner_does_not() {
    let node = Node::usual();
    let alice = Account::new("alice");
    let call = alice.sign_up(&node);
    assert_eq!(node.call(&call).unwrap(), Decision::Accepted);
    assert_eq!(node.call(&call).unwrap(), Decision::Accepted);
    assert_eq!(node.call(&GetPublicKey { username: alice.username.clone() }).unwrap(), Some(alice.owner()));

    // Working for a difficulty takes its time, and a lost answer is asked for again whenever the client comes back.
    let start = now(&node);
    let bob = Account::new("bob").sign_up(&node);
    node.clock.set(start + 3_600_000);
    assert_eq!(node.call(&bob).unwrap(), Decision::Accepted);
    let late = Account::new("late").sign_up(&node);
    node.clock.set(start + 48 * 3_600_000);
    assert_eq!(node.call(&call).unwrap(), Decision::Accepted);
    refused(node.call(&late), "the mirror token is not authorised");

    let mut thief = Account::new("thief");
    thief.username = alice.username.clone();
    refused(node.call(&thief.sign_up(&node)), "already exists");
    // Expiry does not free a name.
    node.clock.set(now(&node) + 400 * 86_400_000);
    refused(node.call(&thief.sign_up(&node)), "already exists");
    let link =
        Chain::first(&thief.username, &thief.identity, node.id.clone(), Date::from_unix_millis(now(&node))).unwrap();
    let proof = pyrgos_protocol::keys::ProofOfWork::first_try();
    let call =
        UpdateChain { username: alice.username.clone(), update: link, proof: proof.clone(), token: String::new() };
    refused(node.call(&call), "already exists");
    // A name does not come into being without an account.
    let carol = Account::new("carol");
    let claim = carol.sign_up(&node).claim;
    refused(
        node.call(&UpdateChain { username: carol.username, update: claim, proof, token: String::new() }),
        "unknown user",
    );

    // A chain that is sent as it is changes nothing. Another identity would have the name and no account.
    let stored = node.call(&GetChain { username: alice.username.clone() }).unwrap();
    let update = |update: Chain| {
        let proof = pyrgos_protocol::keys::ProofOfWork::first_try();
        node.call(&UpdateChain { username: alice.username.clone(), update, proof, token: String::new() })
    };
    assert_eq!(update(stored.clone()).unwrap(), Decision::Accepted);
    let date = Date::from_unix_millis(now(&node) + 60 * 86_400_000);
    let change = Chain::key_change(&alice.username, &alice.identity, &signer("alice's next"), node.id.clone(), date);
    refused(update(change), "cannot change the identity");
    assert_eq!(node.call(&GetChain { username: alice.username.clone() }).unwrap(), stored);

    // One identity has one name.
    let mut double = Account::new("double");
    double.identity = signer("alice");
    double.data = alice.data.clone();
    refused(node.call(&double.sign_up(&node)), "this identity has an account");
    assert_eq!(node.call(&GetUsername { owner: alice.owner() }).unwrap(), alice.username);
}

#[test]
fn tokens_let_one_person_in() {
    let id = server_id(&signer("node").secret.public());
    let node = Node::start(vec![id.clone()], |config| {
        config.signup = SignupPolicy::Token;
        config.max_daily_signups = u32::MAX;
    });
    let mut call = Account::new("alice").sign_up(&node);
    refused(node.call(&call), "not currently accepting new sign ups");
    call.token = "0".repeat(64);
    refused(node.call(&call), "Invalid signup token");
    call.token = node.service().create_token().unwrap();
    assert_eq!(node.call(&call).unwrap(), Decision::Accepted);
    // The answer was lost, so the client asks again; the token is used up all the same.
    assert_eq!(node.call(&call).unwrap(), Decision::Accepted);
    let mut second = Account::new("bob").sign_up(&node);
    second.token = call.token;
    refused(node.call(&second), "Invalid signup token");

    let full = Node::start(vec![id.clone()], |config| config.max_users = 1);
    Account::create("alice", &full);
    refused(full.call(&Account::new("bob").sign_up(&full)), "not currently accepting new sign ups");

    // Also when they come at once: one token, three places, and one request three times.
    let at_once = |node: &Node, calls: &[SignUp]| {
        std::thread::scope(|scope| {
            let calls: Vec<_> = calls.iter().map(|call| scope.spawn(|| node.call(call))).collect();
            let answers = calls.into_iter().map(|call| call.join().unwrap());
            answers.filter(|answer| *answer == Ok(Decision::Accepted)).count()
        })
    };
    let token = node.service().create_token().unwrap();
    let with_token = |name: &str| SignUp { token: token.clone(), ..Account::new(name).sign_up(&node) };
    let calls: Vec<SignUp> = (0..6).map(|number| with_token(&format!("one{number}"))).collect();
    assert_eq!(at_once(&node, &calls), 1);
    let small = Node::start(vec![id], |config| {
        config.max_users = 3;
        config.max_daily_signups = u32::MAX;
    });
    let calls: Vec<SignUp> = (0..8).map(|number| Account::new(&format!("user{number}")).sign_up(&small)).collect();
    assert_eq!(at_once(&small, &calls), 3);
    let same = with_token("same");
    let same = SignUp { token: node.service().create_token().unwrap(), ..same };
    assert_eq!(at_once(&node, &[same.clone(), same.clone(), same]), 3);
}

#[test]
fn only_writers_of_the_account_write_in_it() {
    let node = Node::usual();
    let mut alice = Account::create("alice", &node);
    let bob = Account::create("bob", &node);
    let block: &[u8] = &[0x81, 0x01];
    node.call(&alice.put(Codec::DagCbor, &[block])).unwrap();
    // Bob's own signature is right, but it is not his space.
    refused(node.call(&put(&alice.owner(), &bob.identity, Codec::DagCbor, &[block])), "Writer not present");
    let update = bob.pointer.sign(&bob.identity.secret);
    node.call(&put(&bob.owner(), &bob.identity, Codec::DagCbor, &[&bob.data])).unwrap();
    let call = SetPointer { owner: alice.owner(), writer: bob.writer(), update: update.clone() };
    refused(node.call(&call), "Couldn't retrieve WriterData");
    // Even where the target is there: nobody but the owner's writers can put it, so it is put behind the node's back.
    use pyrgos_store::Blocks;
    node.store.put(&alice.owner(), &[(Cid::of_cbor(&bob.data), bob.data.clone())]).unwrap();
    refused(node.call(&call), "Writer not present");
    let commit = MultiWriterCommit { updates: vec![SignedPointerUpdate { writer: bob.writer(), signed: update }] };
    refused(node.call(&SetPointers { owner: alice.owner(), commit }), "Writer not present");

    // A key that the identity owns may write once the identity's pointer says so, and not a moment earlier.
    let space = signer("space");
    let data = Bytes::from(WriterData::new(space.public_key_hash.clone()).to_bytes());
    refused(node.call(&put(&alice.owner(), &space, Codec::DagCbor, &[&data])), "Writer not present");
    let owning = own(&node, &alice, &space, &alice.identity);
    refused(node.call(&put(&alice.owner(), &space, Codec::DagCbor, &[&data])), "Writer not present");
    alice.move_to(&node, Some(owning.clone()));
    node.call(&put(&alice.owner(), &space, Codec::DagCbor, &[&data])).unwrap();
    let first = PointerUpdate::first(Cid::of_cbor(&data));
    let owner = alice.owner();
    let set = |update: &PointerUpdate| {
        let update = update.sign(&space.secret);
        node.call(&SetPointer { owner: owner.clone(), writer: space.writer(), update })
    };
    assert!(set(&first).unwrap());

    // Once it is disowned it may only be deleted.
    node.call(&alice.put(Codec::DagCbor, &[&alice.data])).unwrap();
    alice.move_to(&node, Some(Cid::of_cbor(&alice.data)));
    refused(node.call(&put(&alice.owner(), &space, Codec::DagCbor, &[block])), "Writer not present");
    let other = Bytes::from(
        WriterData { tree: Some(Cid::of_cbor(block)), ..WriterData::new(space.public_key_hash.clone()) }.to_bytes(),
    );
    node.store.put(&alice.owner(), &[(Cid::of_cbor(&other), other.clone())]).unwrap();
    refused(set(&first.next(Some(Cid::of_cbor(&other))).unwrap()), "Writer not present");
    assert!(set(&first.next(None).unwrap()).unwrap());
}

/// Puts writer data of the identity that own a key, with a proof that names `parent`.
fn own(
    node: &Node,
    account: &Account,
    owned: &pyrgos_protocol::keys::SigningPrivateKeyAndPublicHash,
    parent: &pyrgos_protocol::keys::SigningPrivateKeyAndPublicHash,
) -> Cid {
    let proof = Bytes::from(OwnerProof::sign(&parent.public_key_hash, owned).to_bytes());
    let tree = ownership::owned_keys([(&owned.writer(), Cid::of_cbor(&proof))]).unwrap();
    let data = WriterData { owned: Some(tree.root), ..WriterData::new(account.identity.public_key_hash.clone()) };
    let data = Bytes::from(data.to_bytes());
    let mut blocks: Vec<Bytes> = tree.blocks.into_iter().map(|(_, block)| block).collect();
    blocks.extend([proof, data.clone()]);
    let blocks: Vec<&[u8]> = blocks.iter().map(|block| block.as_ref()).collect();
    node.call(&account.put(Codec::DagCbor, &blocks)).unwrap();
    Cid::of_cbor(&data)
}

#[test]
fn a_proof_for_somebody_else_gives_no_rights() {
    let node = Node::usual();
    let mut alice = Account::create("alice", &node);
    let bob = Account::create("bob", &node);
    // Alice copies a proof that a key made out to Bob.
    let space = signer("space");
    let owning = own(&node, &alice, &space, &bob.identity);
    alice.move_to(&node, Some(owning));
    refused(node.call(&put(&alice.owner(), &space, Codec::DagCbor, &[&[0x80]])), "Writer not present");
}

#[test]
fn nothing_is_told_without_the_login_key() {
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let key = node.call(&AddTotp(alice.auth::<AddTotp>(&node))).unwrap();
    let code = |node: &Node| totp::code(&key.key, u64::try_from(now(node) / 1000).unwrap());
    let enable = FactorCode {
        account: alice.auth::<EnableTotp>(&node),
        credential_id: key.credential_id.clone().into(),
        code: code(&node),
    };
    assert!(node.call(&EnableTotp(enable)).unwrap());

    let stranger = signer("stranger").secret;
    let wrong = [
        alice.get_login(&node, &stranger),
        Account::new("nobody").get_login(&node, &stranger),
        // The right key, but a time that somebody else signed.
        pyrgos_protocol::api::login::GetLogin {
            auth: SignedTime::sign(now(&node), &stranger).into(),
            ..alice.get_login(&node, &alice.login)
        },
    ];
    let texts: Vec<String> = wrong.iter().map(|call| node.call(call).unwrap_err().message()).collect();
    assert_eq!(texts, ["Incorrect username or password"; 3]);

    let Ok(LoginResponse::SecondFactor(request)) = node.call(&alice.get_login(&node, &alice.login)) else {
        panic!("the right key is asked for the second factor")
    };
    assert_eq!(request.methods.len(), 1);
    let answer = |code: &str| pyrgos_protocol::api::login::GetLogin {
        answer: Some(MultiFactorAuthResponse {
            credential_id: key.credential_id.clone().into(),
            answer: FactorAnswer::Code(code.to_owned()),
        }),
        ..alice.get_login(&node, &alice.login)
    };
    refused(node.call(&answer("abcdef")), "Invalid TOTP code for credId");
    assert!(matches!(node.call(&answer(&code(&node))).unwrap(), LoginResponse::LoggedIn(_)));
    // Who looked over the shoulder comes too late, although the code is still current.
    refused(node.call(&answer(&code(&node))), "Invalid TOTP code for credId");

    // Backup codes work once, and end with the factor that they stand in for.
    let codes = node.call(&GenerateBackupCodes(alice.auth::<GenerateBackupCodes>(&node))).unwrap();
    let backup = |code: &str| pyrgos_protocol::api::login::GetLogin {
        answer: Some(MultiFactorAuthResponse {
            credential_id: codes.credential_id.clone(),
            answer: FactorAnswer::Code(code.to_owned()),
        }),
        ..alice.get_login(&node, &alice.login)
    };
    assert!(matches!(node.call(&backup(&codes.codes[0])).unwrap(), LoginResponse::LoggedIn(_)));
    refused(node.call(&backup(&codes.codes[0])), "Invalid backup code");
    let listed = node.call(&ListSecondFactors(alice.auth::<ListSecondFactors>(&node))).unwrap();
    assert_eq!(listed.len(), 2);
    let delete = DeleteSecondFactor {
        account: alice.auth::<DeleteSecondFactor>(&node),
        credential_id: key.credential_id.into(),
    };
    assert!(node.call(&delete).unwrap());
    assert_eq!(node.call(&ListSecondFactors(alice.auth::<ListSecondFactors>(&node))).unwrap(), []);
    assert!(matches!(node.call(&alice.get_login(&node, &alice.login)).unwrap(), LoginResponse::LoggedIn(_)));
}

#[test]
fn guessing_is_slowed_down() {
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let wrong = alice.get_login(&node, &signer("guess").secret);
    let refusals: Vec<ApiError> = (0..25).map(|_| node.call(&wrong).unwrap_err()).collect();
    assert_eq!(refusals[19].message(), "Incorrect username or password");
    assert!(
        matches!(&refusals[20], ApiError::RateLimited(429, text) if text.starts_with("Rate Limit")),
        "{:?}",
        refusals[20]
    );
    // Somebody else's login is as fast as before, and after a while so is this one.
    let bob = Account::create("bob", &node);
    assert!(node.call(&bob.get_login(&node, &bob.login)).is_ok());
    node.clock.set(now(&node) + 31_000);
    assert!(node.call(&alice.get_login(&node, &alice.login)).is_ok());
}

/// Strangers can make strangers wait, but nobody who is known from where they are.
#[test]
fn nobody_is_locked_out_by_somebody_else() {
    use pyrgos::service::Source;
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let from = |last: u8| Source::Address([192, 0, 2, last].into());
    let login = |last| node.service().get_login(alice.get_login(&node, &alice.login), from(last));
    assert!(login(1).is_ok());
    let wrong = alice.get_login(&node, &signer("guess").secret);
    for at in 0..200u8 {
        assert!(node.service().get_login(wrong.clone(), from(10 + at / 10)).is_err());
    }
    let limited = login(2).map(drop).unwrap_err();
    assert!(format!("{limited:?}").contains("too many failed logins"), "{limited:?}");
    assert!(login(1).is_ok());
    // It still may not guess itself.
    for _ in 0..20 {
        assert!(node.service().get_login(wrong.clone(), from(1)).is_err());
    }
    assert!(login(1).is_err());
}

#[test]
fn a_change_of_the_password_is_whole() {
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let new_login = signer("alice new login").secret;
    let data = Bytes::from(
        WriterData {
            inbound: Some(alice.identity.public_key_hash.clone()),
            ..WriterData::new(alice.identity.public_key_hash.clone())
        }
        .to_bytes(),
    );
    let update = alice.pointer.next(Some(Cid::of_cbor(&data))).unwrap();
    let change = |update: &PointerUpdate, block: &Bytes, by: &Account| {
        let mut login = alice.login_data(&new_login);
        login.identity_update = Some(IdentityUpdate {
            block: BlockWrite::sign(block.clone(), false, &by.identity),
            pointer: SignedPointerUpdate { writer: by.writer(), signed: update.sign(&by.identity.secret) },
        });
        let auth = login.authorise(&alice.identity.secret).to_vec().into();
        SetLogin { username: alice.username.to_string(), data: login, auth, local: false }
    };
    // A stale pointer: neither the pointer nor the login data change.
    let stale = PointerUpdate::new(None, Some(Cid::of_cbor(&data)), Some(2)).unwrap();
    assert!(matches!(node.call(&change(&stale, &data, &alice)), Err(ApiError::PointerCas(_))));
    let mut foreign = change(&update, &data, &alice);
    foreign.auth = flip(&foreign.auth);
    refused(node.call(&foreign), "Invalid signature");
    refused(node.call(&change(&update, &data, &Account::new("mallory"))), "identity's writer data only");
    assert!(node.call(&alice.get_login(&node, &alice.login)).is_ok());
    refused(node.call(&alice.get_login(&node, &new_login)), "Incorrect username or password");

    let right = change(&update, &data, &alice);
    assert!(node.call(&right).unwrap());
    // The answer was lost, so the client sends it again.
    assert!(node.call(&right).unwrap());
    assert!(node.call(&alice.get_login(&node, &new_login)).is_ok());
    refused(node.call(&alice.get_login(&node, &alice.login)), "Incorrect username or password");
    let pointer = node.call(&GetPointer { owner: alice.owner(), writer: alice.writer() }).unwrap().unwrap();
    assert_eq!(pointer, update.sign(&alice.identity.secret));
}

#[test]
fn guarded_blocks_need_their_token() {
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let bat = Bat::from_bytes([3; 32]);
    let mirror = alice.bat.clone();
    let raw = prefix::guard_raw(&[bat.inline_id(), mirror.id().clone()], b"secret");
    let cid = Cid::of_raw(&raw);
    node.call(&alice.put(Codec::Raw, &[&raw])).unwrap();
    let read = |bat: Option<BatWithId>| node.call(&GetBlock { owner: alice.owner(), cid: cid.clone(), bat });
    assert_eq!(read(None), Err(ApiError::Unauthorised));
    let wrong = Bat::from_bytes([4; 32]);
    assert_eq!(read(Some(BatWithId::by_content(wrong.clone()))), Err(ApiError::Unauthorised));
    // The name of a token is no token.
    assert_eq!(read(Some(BatWithId::new(wrong, mirror.id().clone()).unwrap())), Err(ApiError::Unauthorised));
    assert_eq!(read(Some(BatWithId::by_content(bat.clone()))).unwrap().unwrap(), raw);
    assert_eq!(read(Some(mirror)).unwrap().unwrap(), raw);

    // A tree is no way around it.
    let mut map = pyrgos_protocol::encoding::Map::default();
    prefix::guard_cbor(&[bat.inline_id()], &mut map);
    let node_block = Value::Map(map).encode();
    let tree =
        champ::build(champ::KeyHashing::Identity, [(vec![5; 32], Value::Link(Cid::of_cbor(&node_block)))]).unwrap();
    let mut blocks: Vec<&[u8]> = tree.blocks.iter().map(|(_, block)| block.as_ref()).collect();
    blocks.push(&node_block);
    node.call(&alice.put(Codec::DagCbor, &blocks)).unwrap();
    let look_up = |bat: Option<BatWithId>| {
        let caps = vec![ChunkMirrorCap { map_key: vec![5; 32], bat }];
        node.call(&LookUpChunks { owner: alice.owner(), root: tree.root.clone(), caps })
    };
    assert_eq!(look_up(None), Err(ApiError::Unauthorised));
    let found = look_up(Some(BatWithId::by_content(bat))).unwrap();
    assert!(found.iter().any(|block| block.as_ref() == node_block));
    let as_root = LookUpChunks {
        owner: alice.owner(),
        root: Cid::of_cbor(&node_block),
        caps: vec![ChunkMirrorCap { map_key: vec![5; 32], bat: None }],
    };
    refused(node.call(&as_root), "Invalid cbor for CHAMP!");
}

#[test]
fn mirror_tokens_have_their_own_names() {
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let get = || node.call(&GetUserBats { username: "alice".to_owned(), auth: alice.auth::<GetUserBats>(&node).auth });
    assert_eq!(get().unwrap(), std::slice::from_ref(&alice.bat));
    let other = BatWithId::mirror(Bat::from_bytes([7; 32]));
    let add = |bat: BatWithId| {
        node.call(&AddBat { username: "alice".to_owned(), bat, auth: alice.auth::<AddBat>(&node).auth })
    };
    let stolen = BatWithId::new(Bat::from_bytes([8; 32]), other.id().clone()).unwrap();
    refused(add(stolen), "Invalid BAT id");
    assert!(add(other.clone()).unwrap());
    assert!(add(other.clone()).unwrap());
    let content = BatWithId::by_content(Bat::from_bytes([8; 32]));
    assert!(add(content.clone()).unwrap());
    assert_eq!(get().unwrap(), [alice.bat.clone(), other, content]);
    let stranger = Account { identity: signer("stranger"), ..Account::new("alice") };
    let auth = stranger.auth::<GetUserBats>(&node).auth;
    refused(node.call(&GetUserBats { username: "alice".to_owned(), auth }), "Invalid signature");
}

#[test]
fn usage_follows_the_pointers() {
    let node = Node::usual();
    let mut alice = Account::create("alice", &node);
    let usage = |local| {
        node.call(&GetUsage { owner: alice_owner(), local, auth: Account::new("alice").signed_time(&node) }).unwrap()
    };
    fn alice_owner() -> pyrgos_protocol::keys::Owner {
        Account::new("alice").owner()
    }
    let empty = champ::empty().blocks[0].1.len() as u64;
    let base = alice.data.len() as u64 + empty;
    assert_eq!((usage(false), usage(true)), (base, base));

    // A tree of two links to the same block: it counts twice, as existing nodes count.
    let leaf = vec![1; 1000];
    let link = Value::Link(Cid::of_raw(&leaf));
    let tree = Value::List(vec![link.clone(), link]).encode();
    let data =
        WriterData { tree: Some(Cid::of_cbor(&tree)), ..WriterData::new(alice.identity.public_key_hash.clone()) }
            .to_bytes();
    node.call(&alice.put(Codec::Raw, &[&leaf])).unwrap();
    let put = alice.put(Codec::DagCbor, &[&tree, &data]);
    node.call(&put).unwrap();
    let written = (leaf.len() + tree.len() + data.len()) as u64;
    assert_eq!((usage(false), usage(true)), (base, base + written));
    // Blocks that are there already take no space.
    node.call(&put).unwrap();
    assert_eq!(usage(true), base + written);
    alice.move_to(&node, Some(Cid::of_cbor(&data)));
    let full = (2 * leaf.len() + tree.len() + data.len()) as u64 + empty;
    assert_eq!((usage(false), usage(true)), (full, full));
    // A deleted account uses nothing.
    alice.move_to(&node, None);
    assert_eq!((usage(false), usage(true)), (0, 0));
    assert_eq!(node.call(&GetQuota { owner: alice.owner(), auth: alice.signed_time(&node) }).unwrap(), 1 << 30);
}

/// Whoever moves the pointer first and puts the blocks later would have them for nothing.
#[test]
fn a_pointer_reaches_only_what_is_there() {
    let node = Node::usual();
    let mut alice = Account::create("alice", &node);
    let leaf = vec![1; 1000];
    let data = WriterData { tree: Some(Cid::of_raw(&leaf)), ..WriterData::new(alice.identity.public_key_hash.clone()) }
        .to_bytes();
    let usage = |alice: &Account| {
        let call = GetUsage { owner: alice.owner(), local: false, auth: alice.signed_time(&node) };
        node.call(&call).unwrap()
    };
    let before = usage(&alice);
    node.call(&alice.put(Codec::DagCbor, &[&data])).unwrap();
    let absent = format!("Block not present on this server: {}", Cid::of_raw(&leaf));
    refused(node.call(&alice.set_pointer(Some(Cid::of_cbor(&data)))), &absent);
    assert_eq!(usage(&alice), before);
    node.call(&alice.put(Codec::Raw, &[&leaf])).unwrap();
    alice.move_to(&node, Some(Cid::of_cbor(&data)));
    assert!(usage(&alice) > 1000);
}

#[test]
fn requests_for_space_are_short() {
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let ask = |payment: usize| {
        let request = SpaceRequest {
            username: "alice".to_owned(),
            bytes: 5,
            annual: false,
            millis: now(&node),
            payment: Some(vec![0; payment].into()),
        };
        let request = pyrgos_protocol::keys::signed::sign_value(&request, &alice.identity.secret).into();
        node.call(&RequestSpace { owner: alice.owner(), request })
    };
    assert!(ask(800).is_ok());
    refused(ask(1024).map(drop), "too long");
}

#[test]
fn a_full_account_is_told_so() {
    let id = server_id(&signer("node").secret.public());
    let node = Node::start(vec![id], |config| config.quota_bytes = 10_000);
    let alice = Account::create("alice", &node);
    let refusal = node.call(&alice.put(Codec::Raw, &[&[1; 10_000]])).unwrap_err();
    assert!(
        matches!(&refusal, ApiError::QuotaReached(text) if text.starts_with("Storage quota reached! \nUsed ")),
        "{refusal:?}"
    );
}

#[test]
fn blocks_have_limits() {
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let largest = vec![0; 1_048_676];
    assert_eq!(node.call(&alice.put(Codec::Raw, &[&largest])).unwrap(), [Cid::of_raw(&largest)]);
    // Two of them in one call are more than clients send, and pass.
    assert_eq!(node.call(&alice.put(Codec::Raw, &[&largest, &largest[1..]])).unwrap().len(), 2);
    refused(node.call(&alice.put(Codec::Raw, &[&vec![0; 1_048_677]])), "Block too big!");
    refused(node.call(&alice.put(Codec::Raw, &[&vec![0; 5 << 20]])), "Input exceeds maximum size");
    refused(node.call(&alice.put(Codec::Raw, &[b""])), "empty block");
    refused(node.call(&alice.put(Codec::Raw, &[])), "No blocks");
    refused(node.call(&alice.put(Codec::DagCbor, &[b"no cbor"])), "Not a dag-cbor block");
    let mut fewer = alice.put(Codec::DagCbor, &[&[0x80], &[0x81, 0x01]]).request();
    let mut body = Value::decode(&fewer.body).unwrap();
    if let Value::Map(map) = &mut body {
        map.insert("s", Value::List(Vec::new()));
    }
    fewer.body = body.encode().into();
    let answer = node.request(fewer);
    assert_eq!(answer.message(), "Different number of of blocks and signatures! 2 != 0");
}

#[test]
fn transactions_guard_blocks_until_they_are_closed() {
    use pyrgos_store::{Prefix, Records, Table};
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let transaction = node.call(&StartTransaction { owner: alice.owner() }).unwrap();
    let mut put = alice.put(Codec::DagCbor, &[&[0x81, 0x01], &[0x81, 0x02]]);
    put.transaction = transaction.clone();
    node.call(&put).unwrap();
    let guarded = || node.store.scan(&Prefix::whole(Table::Transactions), None, 10).unwrap();
    let keys: Vec<Cid> = guarded().iter().map(|(key, _)| key.to_transaction_block().unwrap().1).collect();
    assert_eq!(keys.len(), 2);
    assert!(keys.contains(&Cid::of_cbor(&[0x81, 0x01])));
    // Another owner cannot close it.
    let bob = Account::create("bob", &node);
    node.call(&CloseTransaction { owner: bob.owner(), transaction: transaction.clone() }).unwrap();
    assert_eq!(guarded().len(), 2);
    for _ in 0..2 {
        node.call(&CloseTransaction { owner: alice.owner(), transaction: transaction.clone() }).unwrap();
        assert_eq!(guarded(), []);
    }
}

/// Of two devices that move the same pointer at once, exactly one wins, and the other hears where the pointer is.
#[test]
fn one_of_two_racing_commits_wins() {
    let node = Node::usual();
    let mut alice = Account::create("alice", &node);
    for round in 0..5u8 {
        let targets: Vec<Cid> = (0..4u8)
            .map(|device| {
                let tree = [0x82, round, device];
                let data = WriterData {
                    tree: Some(Cid::of_cbor(&tree)),
                    ..WriterData::new(alice.identity.public_key_hash.clone())
                };
                let data = data.to_bytes();
                node.call(&alice.put(Codec::DagCbor, &[&tree, &data])).unwrap();
                Cid::of_cbor(&data)
            })
            .collect();
        let answers: Vec<Result<bool, ApiError>> = std::thread::scope(|scope| {
            let devices: Vec<_> = targets
                .iter()
                .map(|target| {
                    let call = alice.set_pointer(Some(target.clone()));
                    let node = &node;
                    scope.spawn(move || node.call(&call))
                })
                .collect();
            devices.into_iter().map(|device| device.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..4).filter(|at| answers[*at] == Ok(true)).collect();
        let [winner] = winners[..] else { panic!("{answers:?}") };
        for answer in answers.iter().filter(|answer| answer.is_err()) {
            let Err(ApiError::PointerCas(cas)) = answer else { panic!("{answer:?}") };
            assert_eq!(cas.existing.as_ref(), Some(&targets[winner]));
        }
        alice.pointer = alice.pointer.next(Some(targets[winner].clone())).unwrap();
    }
}

/// A tree of one path of large nodes, as nobody needs it: 24 levels of 900 kB each.
#[test]
fn a_lookup_in_a_tree_made_to_be_large_answers_within_bounds() {
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let mut child: Option<Cid> = None;
    let mut blocks = Vec::new();
    for depth in (0..24).rev() {
        // A key that goes with all others up to here and then into slot 1; the way of the key of zeros is slot 0.
        let mut key = [0; 32];
        key[3 * depth / 8] |= 1 << (3 * depth % 8);
        let bucket = Value::List(vec![Value::bytes(key), Value::bytes(vec![depth as u8; 900_000])]);
        let map = |slot: Option<u8>| Value::bytes(slot.map(|slot| vec![1 << slot]).unwrap_or_default());
        let contents = std::iter::once(bucket).chain(child.clone().map(Value::Link)).collect();
        let list = vec![map(Some(1)), map(child.is_some().then_some(0)), Value::List(contents)];
        let block = Bytes::from(Value::List(list).encode());
        child = Some(Cid::of_cbor(&block));
        blocks.push(block);
    }
    for block in &blocks {
        node.call(&alice.put(Codec::DagCbor, &[block])).unwrap();
    }
    let root = child.unwrap();
    let caps = vec![ChunkMirrorCap { map_key: vec![0; 32], bat: None }];
    let answer = node.call(&LookUpChunks { owner: alice.owner(), root: root.clone(), caps }).unwrap();
    let bytes: usize = answer.iter().map(Bytes::len).sum();
    assert!((7 << 20..=8 << 20).contains(&bytes), "{bytes} bytes in {} blocks", answer.len());
    // The way begins at the root, so that a client can go on from where it ends.
    assert_eq!(Cid::of_cbor(&answer[0]), root);
}
