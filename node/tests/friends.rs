//! Following and sharing with a whole node: races of two devices, interrupted calls, a node that lies, and what the node
//! gets to see.

#[path = "../../protocol/tests/client_support/runtime.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod client_runtime;
mod support;
#[path = "support/wire.rs"]
mod wire;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use client_runtime::{now, runtime};
use pyrgos_protocol::api::core::GetChain;
use pyrgos_protocol::api::mutable::GetPointer;
use pyrgos_protocol::api::social::{GetFollowRequests, RemoveFollowRequest, SendFollowRequest};
use pyrgos_protocol::api::storage::GetBlock;
use pyrgos_protocol::api::{Call, Request, Response, Transport, call};
use pyrgos_protocol::client::{Audience, ClientError, Followed};
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::{Owner, PublicBoxingKey, SigningKeyPair, SymmetricKey, Writer};
use pyrgos_protocol::merkle::pointer::PointerUpdate;
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_protocol::names::{Chain, Date, Username};
use pyrgos_protocol::social::{Answer, BlindFollowRequest, FollowRequest, GroupKind};
use support::{path, run};
use wire::*;

#[test]
fn two_devices_answer_two_requests_at_once() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    run(bob.follow(&name("alice"))).unwrap();
    run(carol.follow(&name("alice"))).unwrap();
    assert_eq!(run(alice.follow_requests()).unwrap(), [name("bob"), name("carol")]);
    let phone = second(&alice, 4);
    alice.transport().before("peergos/v0/mutable/setPointers", move || {
        run(phone.answer(&name("carol"), Answer::Accept)).unwrap();
    });
    run(alice.answer(&name("bob"), Answer::AcceptAndReciprocate)).unwrap();
    alice.transport().free();
    assert!(contact(&alice, "bob").is_friend());
    let carol_seen = contact(&alice, "carol");
    assert!(carol_seen.is_follower && !carol_seen.is_followed);
    assert!(contact(&bob, "alice").is_friend());
    assert!(contact(&carol, "alice").is_followed);
    assert!(run(alice.follow_requests()).unwrap().is_empty());
}

#[test]
fn two_devices_share_at_once_and_two_devices_receive_at_once() {
    let node = start();
    let (alice, bob) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2));
    befriend(&bob, &alice);
    for file in ["one", "two", "three"] {
        put(&alice, &format!("/alice/{file}"), file.as_bytes());
    }
    let phone = second(&alice, 4);
    alice.transport().before("peergos/v0/mutable/setPointers", move || {
        assert_eq!(run(phone.share(&path("/alice/two"), &[name("bob")])).unwrap(), [name("bob").into()]);
    });
    run(alice.share(&path("/alice/one"), &[name("bob")])).unwrap();
    alice.transport().free();
    let shared = run(alice.shares(&path("/alice"))).unwrap();
    assert_eq!(shared.iter().map(|item| item.path.to_string()).collect::<Vec<_>>(), ["/alice/one", "/alice/two"]);

    let phone = second(&bob, 5);
    bob.transport().before("peergos/v0/mutable/setPointers", move || {
        assert_eq!(run(phone.shared_with_me()).unwrap().len(), 2);
    });
    assert_eq!(run(bob.shared_with_me()).unwrap().len(), 2);
    bob.transport().free();
    for file in ["one", "two"] {
        assert_eq!(read(&bob, &format!("/alice/{file}")), file.as_bytes());
    }
    assert!(matches!(run(bob.read(&path("/alice/three"))), Err(ClientError::NotFound { .. })));
    // Four capabilities of 209 bytes each: each record was counted once.
    let progress = read(&bob, "/bob/.capabilitycache/alice$incoming.cbor");
    let progress = pyrgos_protocol::social::ProcessedCaps::from_bytes(&progress).unwrap();
    assert_eq!((progress.read.records, progress.read.bytes), (4, 4 * 209));
    // A look at what is known changes nothing.
    bob.transport().step_in(|request| {
        assert_ne!(request.path, "peergos/v0/mutable/setPointers");
        None
    });
    assert_eq!(run(bob.shared_with_me()).unwrap().len(), 2);
}

#[test]
fn interrupted_calls_complete_when_they_are_made_again() {
    let node = start();
    let (alice, bob) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2));
    bob.transport().cut(SendFollowRequest::PATH);
    assert!(run(bob.follow(&name("alice"))).is_err());
    bob.transport().free();
    assert!(contact(&bob, "alice").is_asked);
    assert_eq!(run(bob.follow(&name("alice"))).unwrap(), Followed::Asked);

    for lost in [SendFollowRequest::PATH, RemoveFollowRequest::PATH] {
        alice.transport().cut(lost);
        assert!(run(alice.answer(&name("bob"), Answer::AcceptAndReciprocate)).is_err(), "{lost}");
    }
    alice.transport().free();
    run(alice.answer(&name("bob"), Answer::AcceptAndReciprocate)).unwrap();
    assert!(contact(&alice, "bob").is_friend());

    bob.transport().cut(RemoveFollowRequest::PATH);
    assert!(run(bob.contacts()).is_err());
    bob.transport().free();
    assert!(contact(&bob, "alice").is_friend());
    for session in [&alice, &bob] {
        assert!(run(session.follow_requests()).unwrap().is_empty());
    }
    // Nothing stays behind in either inbox.
    let left = Arc::new(Mutex::new(usize::MAX));
    let (seen, wire) = (left.clone(), Wire::new(&node));
    bob.transport().step_in(move |request| {
        if request.path == GetFollowRequests::PATH {
            let response = run(wire.send(request.clone())).unwrap();
            let call = GetFollowRequests::parse(request).unwrap();
            *seen.lock().unwrap() = call.read(response.clone()).unwrap().len();
            return Some(Ok(response));
        }
        None
    });
    run(bob.follow_requests()).unwrap();
    assert_eq!(*left.lock().unwrap(), 0);
}

#[test]
fn another_key_for_a_known_name_is_refused() {
    let node = start();
    let (alice, bob) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2));
    befriend(&bob, &alice);
    put(&bob, "/bob/hello", b"hello");
    run(bob.share(&path("/bob/hello"), &[name("alice")])).unwrap();
    let seeded = runtime(9);
    let mut rng = pyrgos_protocol::client::Runtime::rng(&seeded);
    let false_key = SigningKeyPair::generate(&mut rng);
    let home = run(call(&Wire::new(&node), &GetChain { username: name("bob") })).unwrap().home().unwrap().clone();
    let today = Date::from_unix_millis(now().seconds() * 1000);
    let chain = Chain::first(&name("bob"), &false_key.signer(), home, today).unwrap();
    alice
        .transport()
        .step_in(move |request| (request.path == GetChain::PATH).then(|| Ok(Response::ok(GetChain::write(&chain)))));
    for refused in [run(alice.fingerprint(&name("bob"))).map(|_| ()), run(alice.set_verified(&name("bob")))] {
        assert!(matches!(&refused, Err(ClientError::KeyChanged { name }) if name.as_str() == "bob"), "{refused:?}");
    }
    // The known key still leads to bob.
    assert_eq!(read(&alice, "/bob/hello"), b"hello");
    alice.transport().free();
    let (ours, theirs) = (run(alice.fingerprint(&name("bob"))).unwrap(), run(bob.fingerprint(&name("alice"))).unwrap());
    assert!(ours.matches(&theirs));
    assert_eq!(ours.digits(), theirs.digits());
    assert!(!contact(&alice, "bob").is_verified);
    run(alice.set_verified(&name("bob"))).unwrap();
    assert!(contact(&alice, "bob").is_verified);
}

/// Answers each question for a pointer of one user with nonsense, and counts them.
fn forge_pointers_of(session: &TestSession<'_>, owner: &Owner) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let (owner, count) = (owner.clone(), asked.clone());
    session.transport().step_in(move |request| {
        let is_asked = GetPointer::parse(request).is_ok_and(|call| call.owner == owner);
        count.fetch_add(usize::from(is_asked), Ordering::Relaxed);
        is_asked.then(|| Ok(Response::ok(vec![7; 150])))
    });
    asked
}

fn received(session: &TestSession<'_>) -> (Vec<String>, Vec<String>) {
    let received = run(session.received()).unwrap();
    for failure in &received.failures {
        assert!(matches!(failure.error, ClientError::ForgedPointer { .. }), "{failure:?}");
    }
    (
        received.shares.iter().map(|share| share.path.to_string()).collect(),
        received.failures.iter().map(|failure| failure.friend.to_string()).collect(),
    )
}

#[test]
fn what_is_wrong_with_one_friend_hides_nothing_of_another() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    for friend in [&alice, &carol] {
        befriend(&bob, friend);
    }
    for file in ["/alice/one", "/alice/three"] {
        put(&alice, file, b"one");
        run(alice.share(&path(file), &[name("bob")])).unwrap();
    }
    put(&carol, "/carol/two", b"two");
    run(carol.share(&path("/carol/two"), &[name("bob")])).unwrap();
    for _ in 0..2 {
        let asked = forge_pointers_of(&bob, alice.identity());
        let (shares, failures) = received(&bob);
        assert_eq!(shares, ["/carol/two"]);
        assert!(!failures.is_empty() && failures.iter().all(|friend| friend == "alice"), "{failures:?}");
        // For what is new, where things are now, and what is in them; not for each thing.
        assert!(failures.len() <= 2 && asked.load(Ordering::Relaxed) <= 3, "{asked:?} {failures:?}");
        assert_eq!(read(&bob, "/carol/two"), b"two");
        let refused = run(bob.read(&path("/alice/one")));
        assert!(matches!(refused, Err(ClientError::ForgedPointer { .. })), "{refused:?}");
        // The second round begins with everything known.
        bob.transport().free();
        let all = ["/alice/one", "/alice/three", "/carol/two"].map(str::to_owned).to_vec();
        assert_eq!(received(&bob), (all, Vec::new()));
    }
}

#[test]
fn a_share_that_does_not_open_at_first_is_not_lost() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    befriend(&bob, &alice);
    befriend(&alice, &carol);
    put(&carol, "/carol/hers", b"hers");
    run(carol.share(&path("/carol/hers"), &[name("alice")])).unwrap();
    put(&alice, "/alice/own", b"own");
    // Alice passes on what is carol's, whom bob does not follow.
    run(alice.share(&path("/carol/hers"), &[name("bob")])).unwrap();
    run(alice.share(&path("/alice/own"), &[name("bob")])).unwrap();
    forge_pointers_of(&bob, carol.identity());
    for _ in 0..2 {
        assert_eq!(received(&bob), (vec!["/alice/own".to_owned()], vec!["alice".to_owned()]));
    }
    let progress = read(&bob, "/bob/.capabilitycache/alice$incoming.cbor");
    let progress = pyrgos_protocol::social::ProcessedCaps::from_bytes(&progress).unwrap();
    // All that other clients count as read is counted: two groups and one file were found, carol's was not.
    assert_eq!((progress.read.records, progress.read.bytes), (3, 4 * 209));
    let unopened = "/bob/.capabilitycache/alice$unopened.cborstream";
    assert_eq!(read(&bob, unopened).len(), 209);
    bob.transport().free();
    assert_eq!(received(&bob), (vec!["/alice/own".to_owned(), "/carol/hers".to_owned()], Vec::new()));
    assert_eq!(read(&bob, "/carol/hers"), b"hers");
    assert!(read(&bob, unopened).is_empty());
}

#[test]
fn an_answer_of_a_broken_account_waits_and_breaks_nothing() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    for friend in [&alice, &carol] {
        run(bob.follow(friend.username())).unwrap();
    }
    for friend in [&alice, &carol] {
        run(friend.answer(bob.username(), Answer::AcceptAndReciprocate)).unwrap();
    }
    forge_pointers_of(&bob, alice.identity());
    assert!(contact(&bob, "carol").is_friend());
    let alice_seen = contact(&bob, "alice");
    assert!(alice_seen.is_asked && !alice_seen.is_followed);
    bob.transport().free();
    assert!(contact(&bob, "alice").is_friend());
}

#[test]
fn groups_are_shared_with_as_a_whole_and_with_later_members() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    let members = |kind| {
        let groups = run(alice.groups()).unwrap();
        let group = groups.into_iter().find(|group| group.kind == kind).unwrap();
        group.members.iter().map(Username::to_string).collect::<Vec<_>>()
    };
    assert!(members(GroupKind::Friends).is_empty());
    befriend(&bob, &alice);
    for file in ["for-friends", "for-followers", "for-both"] {
        put(&alice, &format!("/alice/{file}"), file.as_bytes());
    }
    let (friends, followers) = (Audience::from(GroupKind::Friends), Audience::from(GroupKind::Followers));
    for (file, audience) in [
        ("for-friends", vec![friends.clone()]),
        ("for-followers", vec![followers.clone()]),
        ("for-both", vec![friends.clone(), followers.clone(), name("bob").into(), friends.clone()]),
    ] {
        let granted = run(alice.share(&path(&format!("/alice/{file}")), &audience)).unwrap();
        assert_eq!(granted, audience[..audience.len().min(3)]);
        // Once is enough.
        assert!(run(alice.share(&path(&format!("/alice/{file}")), &audience)).unwrap().is_empty());
    }
    let refused = run(alice.share(&path("/alice/for-both"), &[friends, name("carol").into()]));
    assert!(matches!(refused, Err(ClientError::NotAFollower { .. })), "{refused:?}");
    assert_eq!(received(&bob).0, ["/alice/for-both", "/alice/for-followers", "/alice/for-friends"]);

    // Carol follows alice later, who does not follow her.
    run(carol.follow(&name("alice"))).unwrap();
    run(alice.answer(&name("carol"), Answer::Accept)).unwrap();
    assert_eq!(
        (members(GroupKind::Friends), members(GroupKind::Followers)),
        (vec!["bob".to_owned()], vec!["bob".to_owned(), "carol".to_owned()])
    );
    assert_eq!(received(&carol).0, ["/alice/for-both", "/alice/for-followers"]);
    assert_eq!(read(&carol, "/alice/for-followers"), b"for-followers");
    // What is shared with the group later, too.
    put(&alice, "/alice/later", b"later");
    run(alice.share(&path("/alice/later"), &[followers])).unwrap();
    assert_eq!(read(&carol, "/alice/later"), b"later");
}

/// The key to which requests to a user are encrypted.
fn boxing_key(wire: &Wire<'_>, owner: &Owner) -> PublicBoxingKey {
    let block = |cid: &Cid| {
        run(call(wire, &GetBlock { owner: owner.clone(), cid: cid.clone(), bat: None })).unwrap().expect("a block")
    };
    let pointer = GetPointer { owner: owner.clone(), writer: Writer::from(owner) };
    let signed = run(call(wire, &pointer)).unwrap().expect("a pointer");
    let update = PointerUpdate::open(&owner.signing_key().expect("an inline key"), &signed).unwrap();
    let data = WriterData::from_bytes(&block(update.updated().expect("a target"))).unwrap();
    PublicBoxingKey::from_bytes(&block(data.inbound.expect("a boxing key").cid())).unwrap()
}

#[test]
fn a_request_in_the_name_of_another_makes_no_friend() {
    let node = start();
    let (alice, _bob, mallory) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "mallory", 3));
    let wire = Wire::new(&node);
    let own = AbsoluteCapability {
        owner: mallory.identity().clone(),
        writer: Writer::from(mallory.identity()),
        ..AbsoluteCapability::null()
    };
    let seeded = runtime(9);
    let mut rng = pyrgos_protocol::client::Runtime::rng(&seeded);
    let own = AbsoluteCapability { base_key: SymmetricKey::generate(&mut rng), ..own };
    let request = FollowRequest::first(name("bob"), &own, SymmetricKey::generate(&mut rng));
    let blind = BlindFollowRequest::seal(&request, &boxing_key(&wire, alice.identity()), &mut rng).unwrap();
    let send = SendFollowRequest { target: alice.identity().clone(), request: blind.to_bytes().into() };
    assert!(run(call(&wire, &send)).unwrap());
    assert_eq!(run(alice.follow_requests()).unwrap(), [name("bob")]);
    let answered = run(alice.answer(&name("bob"), Answer::AcceptAndReciprocate));
    assert!(matches!(answered, Err(ClientError::ForgedRequest)), "{answered:?}");
    assert!(run(alice.contacts()).unwrap().is_empty());
    assert!(run(alice.follow_requests()).unwrap().is_empty());

    // The same as an answer: alice has asked bob, and still waits.
    run(alice.follow(&name("bob"))).unwrap();
    assert!(run(call(&wire, &send)).unwrap());
    let bob = contact(&alice, "bob");
    assert!(bob.is_asked && !bob.is_followed);
}

#[test]
fn sharing_tells_the_node_nothing_of_the_receiver() {
    let node = start();
    let (alice, bob) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2));
    let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
    let record = |session: &TestSession<'_>| {
        let requests = requests.clone();
        session.transport().step_in(move |request| {
            requests.lock().unwrap().push(request.clone());
            None
        });
    };
    record(&alice);
    record(&bob);
    befriend(&bob, &alice);
    let messages: Vec<Bytes> = requests
        .lock()
        .unwrap()
        .iter()
        .filter(|request| request.path == SendFollowRequest::PATH)
        .map(|request| request.body.clone())
        .collect();
    // A first request and an answer look alike, and neither names its sender.
    assert_eq!(messages.iter().map(Bytes::len).collect::<Vec<_>>(), [3836, 3836]);
    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    for (message, sender) in messages.iter().zip([&bob, &alice]) {
        assert!(!contains(message, sender.username().as_str().as_bytes()));
        assert!(!contains(message, &sender.identity().to_bytes()));
    }

    put(&alice, "/alice/hello", b"hello");
    requests.lock().unwrap().clear();
    run(alice.share(&path("/alice/hello"), &[name("bob")])).unwrap();
    let sharing = requests.lock().unwrap().clone();
    assert!(sharing.iter().any(|request| request.path == "peergos/v0/mutable/setPointers"));
    for request in &sharing {
        for mark in [b"bob".to_vec(), bob.identity().to_bytes(), bob.identity().to_string().into_bytes()] {
            assert!(!contains(&request.body, &mark), "{request:?}");
            assert!(!contains(request.target().as_bytes(), &mark), "{request:?}");
        }
    }
    let value = Value::decode(&messages[0]).unwrap();
    assert!(BlindFollowRequest::from_cbor(&value).unwrap().throw_away.is_hybrid());
}
