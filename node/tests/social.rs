//! Inboxes of follow requests, secret links and messages: who may, how many, how often, and what is left when the store
//! fails.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use pyrgos::config::{Settings, SignupPolicy};
use pyrgos::daemon;
use pyrgos::service::clock::{EntropyRng, ManualClock, SystemEntropy};
use pyrgos::service::{Service, Source};
use pyrgos_protocol::api::core::{GetChain, GetPublicKey};
use pyrgos_protocol::api::links::{GetLinkCounts, GetLinkHost, LinksOf};
use pyrgos_protocol::api::message::{GetMessages, SendMessage};
use pyrgos_protocol::api::social::{GetFollowRequests, RemoveFollowRequest, SendFollowRequest};
use pyrgos_protocol::api::space::GetUsage;
use pyrgos_protocol::api::{ApiError, Call, Request};
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::encoding::{Codec, ToCbor, Value};
use pyrgos_protocol::keys::{KeyHash, Owner, SecretBoxingKey, SignedTime, SymmetricKey};
use pyrgos_protocol::links::LinkCount;
use pyrgos_protocol::merkle::bat::{Bat, BatWithId};
use pyrgos_protocol::names::Username;
use pyrgos_protocol::social::message::MessageKind;
use pyrgos_protocol::social::{BlindFollowRequest, FollowRequest, ServerMessage};
use pyrgos_store::layers::{Fault, Faulty};
use pyrgos_store::{MemoryStore, Prefix, Records, Table};
use support::account::Account;
use support::links::{label, open, state, target};
use support::{Node, now};

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, ApiError>, text: &str) {
    let message = answer.expect_err("the node must refuse this").message();
    assert!(message.contains(text), "{message:?} does not say {text:?}");
}

/// A request, each time another one.
fn blind() -> Bytes {
    let rng = &mut EntropyRng(&SystemEntropy);
    let request =
        FollowRequest::first(Username::new("bob").unwrap(), &AbsoluteCapability::null(), SymmetricKey::generate(rng));
    let receiver = SecretBoxingKey::generate_curve25519(rng).public();
    BlindFollowRequest::seal(&request, &receiver, rng).unwrap().to_bytes().into()
}

fn follow(account: &Account, request: &Bytes) -> SendFollowRequest {
    SendFollowRequest { target: account.owner(), request: request.clone() }
}

fn inbox(node: &Node, account: &Account) -> Vec<Bytes> {
    let call = GetFollowRequests { owner: account.owner(), auth: account.signed_time(node) };
    node.call(&call).unwrap()
}

#[test]
fn an_inbox_keeps_the_order_and_opens_for_its_owner_only() {
    let node = Node::usual();
    let (alice, bob) = (Account::create("alice", &node), Account::create("bob", &node));
    let requests = [blind(), blind(), blind()];
    for request in requests.iter().chain(&requests) {
        assert!(node.call(&follow(&alice, request)).unwrap());
    }
    assert_eq!(inbox(&node, &alice), requests);
    assert_eq!(inbox(&node, &bob), [] as [Bytes; 0]);

    let by_bob = GetFollowRequests { owner: alice.owner(), auth: bob.signed_time(&node) };
    refused(node.call(&by_bob), "signature");
    let old = SignedTime::sign(now(&node) - 301_000, &alice.identity.secret).into();
    refused(node.call(&GetFollowRequests { owner: alice.owner(), auth: old }), "Stale auth time");

    let remove = |by: &Account, request: &Bytes| {
        node.call(&RemoveFollowRequest::sign(alice.owner(), request, &by.identity.secret)).unwrap()
    };
    assert!(!remove(&bob, &requests[1]), "somebody else's signature");
    assert_eq!(inbox(&node, &alice).len(), 3);
    assert!(remove(&alice, &requests[1]));
    assert!(remove(&alice, &requests[1]), "what is gone counts as removed");
    assert_eq!(inbox(&node, &alice), [requests[0].clone(), requests[2].clone()]);
}

#[test]
fn only_whole_requests_for_known_people_are_taken() {
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let request = blind();
    let nobody = Owner::new(KeyHash::of_key_cbor(b"nobody"));
    refused(node.call(&SendFollowRequest { target: nobody, request: request.clone() }), "Unknown identity key");
    let mut longer = Value::decode(&request).unwrap().as_map().unwrap().clone();
    longer.insert("z", Value::bytes(vec![0; 4096]));
    let wrong: [(&str, Vec<u8>); 5] = [
        ("nothing", Vec::new()),
        ("another structure", Value::map([("f", Value::bytes(vec![1]))]).encode()),
        ("an end that is missing", request[..request.len() - 1].to_vec()),
        ("bytes behind the end", [&request[..], &[0]].concat()),
        ("too many bytes", Value::Map(longer).encode()),
    ];
    for (what, body) in wrong {
        let send = Request::new(SendFollowRequest::PATH).with("owner", alice.owner()).body(body);
        assert_eq!(node.request(send).status, 400, "{what}");
    }
    assert_eq!(inbox(&node, &alice), [] as [Bytes; 0]);
}

#[test]
fn an_inbox_has_an_end() {
    let node = Node::usual();
    let (alice, bob) = (Account::create("alice", &node), Account::create("bob", &node));
    let send = |request: &Bytes| node.service().send_follow_request(follow(&alice, request), Source::Inside).unwrap();
    let requests: Vec<Bytes> = (0..101).map(|_| blind()).collect();
    assert!(requests.iter().all(&send));
    let further = blind();
    assert!(!send(&further), "the inbox is full");
    assert!(send(&requests[5]), "what waits already is told to be there");
    assert_eq!(inbox(&node, &alice), requests);
    let of_bob = follow(&bob, &further);
    assert!(node.service().send_follow_request(of_bob, Source::Inside).unwrap(), "another inbox is not");

    let remove = RemoveFollowRequest::sign(alice.owner(), &requests[0], &alice.identity.secret);
    assert!(node.call(&remove).unwrap());
    assert!(send(&further));
    assert!(!send(&blind()));
    node.clock.set(now(&node) + 184 * 24 * 60 * 60 * 1000);
    let young = blind();
    assert!(send(&young), "old requests give way");
    assert_eq!(inbox(&node, &alice), [young]);
}

#[test]
fn a_source_cannot_send_without_end() {
    let node = Node::usual();
    let alice = Account::create("alice", &node);
    let request = blind();
    let source = |last: u8| Source::Address([192, 0, 2, last].into());
    let send = |last| node.service().send_follow_request(follow(&alice, &request), source(last));
    let taken = (0..1000).take_while(|_| send(1).is_ok()).count();
    assert_eq!(taken, 200);
    let refusal = send(1).unwrap_err().into_api();
    assert_eq!(refusal.status(), 429);
    assert!(refusal.message().starts_with("Rate Limit"));
    assert!(send(2).is_ok(), "another source goes on");
    node.clock.set(now(&node) + 10_000);
    assert!(send(1).is_ok(), "and the first one after a while");
}

/// Publishes links in the identity's state.
fn publish(node: &Node, account: &mut Account, links: &[(u32, pyrgos_protocol::links::SecretLinkTarget)], below: bool) {
    let (data, blocks) = state(account, links, below);
    let blocks: Vec<&[u8]> = blocks.iter().map(|block| block.as_ref()).collect();
    node.call(&account.put(Codec::DagCbor, &blocks)).unwrap();
    account.move_to(node, Some(data));
}

fn counts(node: &Node, account: &Account, after_secs: i64) -> Vec<LinkCount> {
    let owner = LinksOf::Username(account.username.to_string());
    node.call(&GetLinkCounts { owner, after_secs, bat: account.bat.clone() }).unwrap().0
}

#[test]
fn a_link_opens_until_it_is_over() {
    let node = Node::usual();
    let mut alice = Account::create("alice", &node);
    refused(node.call(&open(&alice, 1)), "No secret link published!");
    let now_secs = now(&node) / 1000;
    let links = [
        (1, target("one", None, None)),
        (2, target("two", Some(now_secs + 10), None)),
        (3, target("three", None, Some(2))),
        (4, target("four", Some(now_secs - 1), None)),
        (5, target("five", None, Some(0))),
    ];
    publish(&node, &mut alice, &links, false);
    assert_eq!(node.call(&open(&alice, 1)).unwrap(), links[0].1.capability);
    refused(node.call(&open(&alice, 6)), "No secret link present!");
    refused(node.call(&open(&alice, 4)), "Secret link expired!");
    refused(node.call(&open(&alice, 5)), "Maximum link retrievals exceed!");
    for _ in 0..2 {
        assert!(node.call(&open(&alice, 3)).is_ok());
    }
    refused(node.call(&open(&alice, 3)), "Maximum link retrievals exceed!");

    assert!(node.call(&open(&alice, 2)).is_ok());
    node.clock.set((now_secs + 10) * 1000);
    assert!(node.call(&open(&alice, 2)).is_ok(), "the last second belongs to it");
    node.clock.set((now_secs + 11) * 1000);
    refused(node.call(&open(&alice, 2)), "Secret link expired!");

    // Only successes are counted, and the count says when.
    let count = |number, count, last_secs| LinkCount { label: label(number), count, last_secs };
    let all = [count(1, 1, now_secs), count(2, 2, now_secs + 10), count(3, 2, now_secs)];
    assert_eq!(counts(&node, &alice, 0), all);
    assert_eq!(counts(&node, &alice, now_secs), all[1..2]);
    let by_key = GetLinkCounts { owner: LinksOf::Identity(alice.owner()), after_secs: 0, bat: alice.bat.clone() };
    assert_eq!(node.call(&by_key).unwrap().0, all);
    let foreign = BatWithId::mirror(Bat::from_bytes([9; 32]));
    refused(node.call(&GetLinkCounts { bat: foreign, ..by_key }), "Unauthorised!");

    // What the owner took back is closed; what was counted stays so when it comes again.
    publish(&node, &mut alice, &links[..1], false);
    refused(node.call(&open(&alice, 3)), "No secret link present!");
    publish(&node, &mut alice, &links, false);
    refused(node.call(&open(&alice, 3)), "Maximum link retrievals exceed!");
    let elsewhere = Account::new("mallory");
    refused(node.call(&open(&elsewhere, 1)), "Please use the link owner's server");
    let host = node.call(&GetLinkHost { owner: alice.owner() }).unwrap();
    assert_eq!(host, node.host());
}

/// Enough labels for nodes below the root, with the owner's token on the root only and on every node.
#[test]
fn both_kinds_of_trees_are_read() {
    let node = Node::usual();
    let mut alice = Account::create("alice", &node);
    let links: Vec<_> = (1..=100).map(|number| (number, target(&number.to_string(), None, None))).collect();
    let (_, blocks) = state(&alice, &links, false);
    assert!(blocks.len() > links.len() + 2, "the tree has only a root");
    for below in [false, true] {
        publish(&node, &mut alice, &links, below);
        for (number, target) in &links {
            assert_eq!(node.call(&open(&alice, *number)).unwrap(), target.capability);
        }
    }
}

#[test]
fn nobody_opens_a_link_more_often_than_its_owner_allows() {
    let node = Node::usual();
    let mut alice = Account::create("alice", &node);
    publish(&node, &mut alice, &[(1, target("one", None, Some(20)))], false);
    let opened = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    if node.call(&open(&alice, 1)).is_ok() {
                        opened.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(opened.into_inner(), 20);
    assert_eq!(counts(&node, &alice, 0)[0].count, 20);
}

/// An account with one link, over a store that fails when it is told to.
fn broken(node: &Node, alice: &Account, max: Option<i64>) -> (Arc<Faulty<MemoryStore>>, Service) {
    let settings = Settings { data_dir: Some("/nonexistent".into()), ..Settings::default() };
    let mut config = settings.resolve().unwrap();
    config.signup = SignupPolicy::Open;
    let store = Arc::new(Faulty::new(MemoryStore::default()));
    let clock = Arc::new(ManualClock::new(now(node)));
    let service = daemon::service(store.clone(), &config, vec![node.id.clone()], clock, Arc::new(SystemEntropy));
    service.sign_up(alice.sign_up(node)).unwrap();
    let (data, blocks) = state(alice, &[(1, target("one", None, max))], false);
    let blocks: Vec<&[u8]> = blocks.iter().map(|block| block.as_ref()).collect();
    service.put_blocks(alice.put(Codec::DagCbor, &blocks)).unwrap();
    assert!(service.set_pointer(alice.set_pointer(Some(data))).unwrap());
    (store, service)
}

const FAULTS: [Fault; 3] = [Fault::Refuse, Fault::DiskFull, Fault::LoseAnswer];

#[test]
fn a_link_that_was_opened_is_counted_whatever_fails() {
    let node = Node::usual();
    let alice = Account::new("alice");
    let count = |service: &Service| {
        let owner = LinksOf::Identity(alice.owner());
        let counts = service.link_counts(GetLinkCounts { owner, after_secs: 0, bat: alice.bat.clone() }).unwrap();
        counts.0.first().map_or(0, |count| count.count)
    };
    for fault in FAULTS {
        let mut steps = 0;
        loop {
            let (store, service) = broken(&node, &alice, Some(1));
            store.fail_after(steps, fault);
            let opened = service.open_link(open(&alice, 1)).is_ok();
            store.heal();
            let counted = count(&service);
            assert!(!opened || counted == 1, "handed out and not counted");
            let again = service.open_link(open(&alice, 1)).is_ok();
            assert_eq!(again, counted == 0, "opened more often than allowed");
            if opened {
                break;
            }
            steps += 1;
        }
        assert!(steps > 3, "only {steps} steps failed");
    }
}

#[test]
fn a_request_that_was_taken_is_there_whatever_fails() {
    let node = Node::usual();
    let alice = Account::new("alice");
    let request = blind();
    let remove = || RemoveFollowRequest::sign(alice.owner(), &request, &alice.identity.secret);
    for fault in FAULTS {
        let mut steps = 0;
        loop {
            let (store, service) = broken(&node, &alice, None);
            let listed = || {
                let auth = alice.signed_time(&node);
                service.get_follow_requests(GetFollowRequests { owner: alice.owner(), auth }).unwrap()
            };
            store.fail_after(steps, fault);
            let sent = service.send_follow_request(follow(&alice, &request), Source::Inside).is_ok();
            let removed = sent && service.remove_follow_request(remove()).is_ok();
            store.heal();
            let there = !listed().is_empty();
            assert!(!removed || !there, "acknowledged and not removed");
            assert!(service.send_follow_request(follow(&alice, &request), Source::Inside).unwrap());
            assert_eq!(listed(), std::slice::from_ref(&request));
            assert!(service.remove_follow_request(remove()).unwrap());
            assert!(listed().is_empty());
            if removed {
                break;
            }
            steps += 1;
        }
        assert!(steps > 3, "only {steps} steps failed");
    }
}

fn send_message(node: &Node, account: &Account, message: &ServerMessage) -> Result<bool, ApiError> {
    let signed = message.sign(&account.identity.secret).into();
    node.call(&SendMessage { username: account.username.to_string(), signed })
}

fn retrieve(node: &Node, account: &Account) -> Vec<ServerMessage> {
    let account = account.auth::<GetMessages>(node);
    node.call(&GetMessages { username: account.username, auth: account.auth }).unwrap()
}

#[test]
fn a_user_and_the_operator_write_to_each_other() {
    let node = Node::usual();
    let (alice, bob) = (Account::create("alice", &node), Account::create("bob", &node));
    let texts = |messages: &[ServerMessage]| messages.iter().map(|m| m.body().to_owned()).collect::<Vec<_>>();
    let hello = ServerMessage::from_user("hello".to_owned(), now(&node)).unwrap();
    assert!(send_message(&node, &alice, &hello).unwrap());
    assert!(send_message(&node, &alice, &hello).unwrap(), "the same message again");
    assert_eq!(texts(&node.service().messages("alice").unwrap()), ["hello"]);
    assert!(retrieve(&node, &alice).is_empty(), "her own last word");

    node.clock.set(now(&node) + 1000);
    let id = node.service().messages("alice").unwrap()[0].id;
    assert!(node.service().message_user("alice", "welcome".to_owned(), Some(id)).unwrap());
    assert!(node.service().message_user("alice", "news".to_owned(), None).unwrap());
    let seen = retrieve(&node, &alice);
    assert_eq!(texts(&seen), ["hello", "welcome", "news"]);
    assert!(retrieve(&node, &bob).is_empty());

    assert!(send_message(&node, &alice, &seen[1].reply("thanks".to_owned(), now(&node)).unwrap()).unwrap());
    assert_eq!(texts(&retrieve(&node, &alice)), ["news"]);
    // A dismissal concerns the sender's own messages only.
    assert!(send_message(&node, &bob, &seen[2].dismiss(now(&node))).unwrap());
    assert_eq!(texts(&retrieve(&node, &alice)), ["news"]);
    assert!(send_message(&node, &alice, &seen[2].dismiss(now(&node))).unwrap());
    assert!(retrieve(&node, &alice).is_empty());
    refused(node.service().message_user("nobody", "x".to_owned(), None).map_err(|e| e.into_api()), "unknown user");
}

#[test]
fn messages_are_signed_timely_and_few() {
    let node = Node::usual();
    let (alice, bob) = (Account::create("alice", &node), Account::create("bob", &node));
    let message = |text: &str, millis| ServerMessage::from_user(text.to_owned(), millis).unwrap();
    let signed = message("x", now(&node)).sign(&bob.identity.secret).into();
    refused(node.call(&SendMessage { username: "alice".to_owned(), signed }), "signature");
    for off in [-3_600_001, 3_600_001] {
        refused(send_message(&node, &alice, &message("x", now(&node) + off)), "Invalid send time on message!");
    }
    let forged = ServerMessage::new(-1, now(&node), MessageKind::FromServer, "pay".to_owned(), false, None).unwrap();
    refused(send_message(&node, &alice, &forged), "Invalid message type sent from user: FromServer");
    for number in 0..21 {
        assert!(send_message(&node, &alice, &message(&number.to_string(), now(&node))).unwrap());
    }
    refused(send_message(&node, &alice, &message("more", now(&node))), "Please wait before sending more messages!");
    assert!(send_message(&node, &bob, &message("mine", now(&node))).unwrap());
    node.clock.set(now(&node) + 3_600_000);
    assert!(send_message(&node, &alice, &message("more", now(&node))).unwrap());
}

#[test]
fn a_deleted_account_leaves_its_name_and_nothing_to_open() {
    let node = Node::usual();
    let mut alice = Account::create("alice", &node);
    publish(&node, &mut alice, &[(1, target("one", None, None))], false);
    let usage = |account: &Account| {
        let auth = account.signed_time(&node);
        node.call(&GetUsage { owner: account.owner(), auth, local: false }).unwrap()
    };
    assert!(node.call(&open(&alice, 1)).is_ok());
    assert!(node.call(&follow(&alice, &blind())).unwrap());
    assert!(usage(&alice) > 0);
    assert_eq!(counts(&node, &alice, 0).len(), 1);
    assert!(node.service().message_user("alice", "welcome".to_owned(), None).unwrap());
    let kept = || {
        let tables = [Table::Logins, Table::SecondFactors, Table::Bats, Table::Messages];
        let rows = |table| node.store.scan(&Prefix::of_username(table, "alice"), None, 10).unwrap();
        tables.into_iter().filter(|table| !rows(*table).is_empty()).collect::<Vec<_>>()
    };
    assert!(kept().contains(&Table::Logins) && kept().contains(&Table::Messages));

    alice.move_to(&node, None);
    assert_eq!(kept(), []);
    assert_eq!(usage(&alice), 0);
    refused(node.call(&open(&alice, 1)), "No secret link published!");
    assert!(inbox(&node, &alice).is_empty());
    let counted = Prefix::of_owner(Table::LinkCounts, &alice.owner());
    assert!(node.store.scan(&counted, None, 10).unwrap().is_empty());
    assert_eq!(node.call(&GetPublicKey { username: alice.username.clone() }).unwrap(), Some(alice.owner()));
    assert_eq!(node.call(&GetChain { username: alice.username.clone() }).unwrap().owner(), Some(&alice.owner()));
    let other = Account { username: alice.username.clone(), ..Account::new("mallory") };
    refused(node.call(&other.sign_up(&node)), "already exists");
}
