//! Taking access back with a whole node: who loses it can neither read nor write any more, who keeps it goes on, nothing
//! is lost, and an interruption leaves the state before or the one after.

#[path = "../../protocol/tests/client_support/runtime.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod client_runtime;
mod support;
#[path = "support/wire.rs"]
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pyrgos_protocol::api::mutable::{GetPointer, SetPointers};
use pyrgos_protocol::api::{Call, TransportError, call};
use pyrgos_protocol::client::{Audience, ClientError, IfExists, Revoked, Taken, UploadOptions};
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::cryptree::directory::ChildList;
use pyrgos_protocol::cryptree::fragments::NodeData;
use pyrgos_protocol::cryptree::node::{CryptreeNode, OpenNode};
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor};
use pyrgos_protocol::keys::SymmetricKey;
use pyrgos_protocol::merkle::pointer::{MultiWriterCommit, PointerUpdate, SignedPointerUpdate};
use pyrgos_protocol::social::shared_with::{Access, Recipient};
use pyrgos_protocol::social::{CapsInDirectory, GroupKind};
use pyrgos_store::Blocks;
use support::{Node, path, run};
use wire::*;

fn replace(session: &TestSession<'_>, at: &str, content: &[u8]) -> Result<bool, ClientError> {
    let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
    run(session.upload(&path(at), &mut Bytes::copy_from_slice(content), &options, &()))
}

fn unshare(session: &TestSession<'_>, at: &str, user: &str, taken: Taken) -> Revoked {
    run(session.unshare(&path(at), &[name(user)], taken)).unwrap()
}

fn is_gone(result: Result<Vec<u8>, ClientError>) -> bool {
    matches!(result, Err(ClientError::NotFound { .. }))
}

/// All blocks of a user.
fn blocks(node: &Node, session: &TestSession<'_>) -> BTreeMap<Cid, Bytes> {
    let entries = node.store.list(session.identity(), None, 100_000).unwrap();
    let block = |cid: Cid| node.store.get(session.identity(), &cid).unwrap().map(|block| (cid, block));
    entries.into_iter().filter_map(|entry| block(entry.cid)).collect()
}

/// All keys that somebody can learn from blocks with a capability.
fn keys(blocks: &BTreeMap<Cid, Bytes>, cap: &AbsoluteCapability) -> BTreeSet<Vec<u8>> {
    let nodes: Vec<CryptreeNode> = blocks.values().filter_map(|block| CryptreeNode::from_block(block).ok()).collect();
    let mut known = BTreeSet::from([cap.base_key.to_bytes()]);
    loop {
        let before = known.len();
        let mut learned = Vec::new();
        for key in known.iter().map(|key| SymmetricKey::from_bytes(key).unwrap()) {
            for node in &nodes {
                let Ok(open) = node.open(&key) else { continue };
                if let OpenNode::File { base, .. } | OpenNode::Directory { base, .. } = &open {
                    learned.push(base.key.clone());
                }
                learned.extend(open.parent_block().parent.as_ref().map(|up| up.base_key.clone()));
                if let (OpenNode::Directory { .. }, true) = (&open, node.data().is_inline()) {
                    let list = ChildList::from_cbor(&node.data().open(&key, &[]).unwrap()).unwrap();
                    learned.extend(list.capabilities().map(|child| child.base_key.clone()));
                }
            }
        }
        known.extend(learned.iter().map(ToCbor::to_bytes));
        if known.len() == before {
            return known;
        }
    }
}

/// The capability by which somebody was given a child of a directory.
fn received(session: &TestSession<'_>, owner: &str, directory: &str, child: &str) -> AbsoluteCapability {
    let user = session.username().as_str();
    let items = read(session, &format!("/{user}/.capabilitycache/world/{owner}{directory}/items.cbor"));
    CapsInDirectory::from_bytes(&items).unwrap().get(child).unwrap().capability.clone()
}

#[test]
fn who_could_read_reads_nothing_that_comes_afterwards() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    befriend(&bob, &alice);
    befriend(&carol, &alice);
    run(alice.make_directories(&path("/alice/docs/folder/inner"))).unwrap();
    run(alice.make_directory(&path("/alice/docs/folder/written"))).unwrap();
    put(&alice, "/alice/docs/folder/a", b"first a");
    put(&alice, "/alice/docs/folder/inner/b", &vec![1; 6 << 20]);
    put(&alice, "/alice/docs/folder/written/c", b"first c");
    for (thing, with) in [("folder", "bob"), ("folder", "carol"), ("folder/inner", "bob"), ("folder/inner", "carol")] {
        run(alice.share(&path(&format!("/alice/docs/{thing}")), &[name(with)])).unwrap();
    }
    // Inside is something that carol may write, in a space of its own, and with it something more.
    run(alice.share_to_write(&path("/alice/docs/folder/written"), &[name("carol")])).unwrap();
    put(&carol, "/alice/docs/folder/written/d", b"of carol");
    assert_eq!(read(&bob, "/alice/docs/folder/a"), b"first a");
    assert_eq!(read(&bob, "/alice/docs/folder/written/d"), b"of carol");

    let before = blocks(&node, &alice);
    let known = keys(&before, &received(&bob, "alice", "/docs", "folder"));
    assert!(known.len() > 10, "{} keys", known.len());
    let revoked = unshare(&alice, "/alice/docs/folder", "bob", Taken::All);
    assert_eq!(revoked.from, [Audience::from(name("bob"))]);
    assert_eq!(revoked.resent, [name("bob"), name("carol")].map(Audience::from), "bob keeps the inner folder");
    assert!(revoked.other.is_empty() && revoked.dropped.is_empty(), "{revoked:?}");

    // Bob keeps what was shared by itself, and nothing else.
    assert!(is_gone(run(bob.read(&path("/alice/docs/folder/a")))));
    assert!(is_gone(run(bob.read(&path("/alice/docs/folder/written/c")))));
    assert_eq!(read(&bob, "/alice/docs/folder/inner/b"), vec![1; 6 << 20]);
    let paths = |session: &TestSession<'_>| -> Vec<String> {
        run(session.shared_with_me()).unwrap().into_iter().map(|share| share.path.to_string()).collect()
    };
    assert_eq!(paths(&bob), ["/alice/docs/folder/inner"]);
    // Carol notices nothing, and nothing is lost.
    for session in [&alice, &carol] {
        assert_eq!(read(session, "/alice/docs/folder/a"), b"first a");
        assert_eq!(read(session, "/alice/docs/folder/inner/b"), vec![1; 6 << 20]);
        assert_eq!(read(session, "/alice/docs/folder/written/c"), b"first c");
        assert_eq!(read(session, "/alice/docs/folder/written/d"), b"of carol");
    }
    assert!(replace(&carol, "/alice/docs/folder/written/d", b"of carol again").unwrap());
    assert!(matches!(replace(&carol, "/alice/docs/folder/a", b"x"), Err(ClientError::ReadOnly { .. })));

    unshare(&alice, "/alice/docs/folder/inner", "bob", Taken::All);
    assert!(is_gone(run(bob.read(&path("/alice/docs/folder/inner/b")))));
    assert!(paths(&bob).is_empty());
    // Written afterwards: changed, appended to, new, renamed.
    let nodes = |block| CryptreeNode::from_block(block).ok().map(|node| node.data().clone());
    let unwritten: Vec<NodeData> = blocks(&node, &alice).values().filter_map(nodes).collect();
    assert!(replace(&alice, "/alice/docs/folder/a", b"second a").unwrap());
    run(alice.append(&path("/alice/docs/folder/inner/b"), &mut Bytes::from_static(b"more"), &())).unwrap();
    put(&alice, "/alice/docs/folder/new", b"new");
    run(alice.rename(&path("/alice/docs/folder/written/c"), &path("/alice/docs/folder/written/c2"), IfExists::Fail))
        .unwrap();
    assert_eq!(read(&carol, "/alice/docs/folder/a"), b"second a");
    assert_eq!(read(&carol, "/alice/docs/folder/inner/b").len(), (6 << 20) + 4);

    // With every key that he could learn, bob opens nothing that is new but the names of the directories above.
    let all = blocks(&node, &alice);
    let (mut checked, mut names) = (0, BTreeSet::new());
    for (cid, block) in all.iter().filter(|(cid, _)| !before.contains_key(cid)) {
        let Ok(fresh) = CryptreeNode::from_block(block) else { continue };
        checked += 1;
        for key in known.iter().map(|key| SymmetricKey::from_bytes(key).unwrap()) {
            match fresh.open(&key) {
                Ok(OpenNode::ByParentKey { parent }) => drop(names.insert(parent.properties.name.as_str().to_owned())),
                Ok(_) => panic!("an old key opens {cid}"),
                Err(_) => {}
            }
            // Contents stay under their old key until they are written again, also when the file gets another name.
            if !unwritten.contains(fresh.data()) && fresh.data().is_inline() {
                assert!(fresh.data().open(&key, &[]).is_err(), "an old key opens what {cid} holds");
            }
        }
    }
    assert!(checked > 20, "{checked} nodes");
    assert!(names.iter().all(|name| ["alice", "docs"].contains(&name.as_str())), "{names:?}");
}

#[test]
fn who_could_write_writes_no_more() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    befriend(&bob, &alice);
    befriend(&carol, &alice);
    run(alice.make_directories(&path("/alice/folder/inner"))).unwrap();
    put(&alice, "/alice/folder/inner/f", b"1");
    run(alice.share_to_write(&path("/alice/folder/inner"), &[name("carol")])).unwrap();
    run(alice.share_to_write(&path("/alice/folder"), &[name("bob"), name("carol")])).unwrap();
    run(alice.share(&path("/alice/folder"), &[name("bob")])).unwrap();
    put(&bob, "/alice/folder/of-bob", b"bob");
    let known = received(&bob, "alice", "", "folder");
    let before = blocks(&node, &alice);
    let signer = before.values().find_map(|block| {
        let open = CryptreeNode::from_block(block).ok()?.open(&known.base_key).ok()?;
        open.signer(&known, None).ok()
    });
    let signer = signer.expect("bob knows the key of the folder's space");
    // A write that bob has prepared with the old keys, and sends when they have been taken from him.
    let old = second(&bob, 9);
    assert!(run(old.stat(&path("/alice/folder"))).unwrap().is_writable);
    let held: Arc<Mutex<Option<Bytes>>> = Arc::default();
    let caught = held.clone();
    old.transport().step_in(move |request| {
        (request.path == SetPointers::PATH).then(|| {
            *caught.lock().unwrap() = Some(request.body.clone());
            Err(TransportError::TooLarge(0))
        })
    });
    assert!(replace(&old, "/alice/folder/of-bob", b"late").is_err());
    assert!(held.lock().unwrap().is_some());

    let revoked = unshare(&alice, "/alice/folder", "bob", Taken::Writing);
    assert_eq!(revoked.from, [Audience::from(name("bob"))]);
    let other: Vec<_> = revoked.other.iter().map(|other| (other.who.as_str(), other.access, other.group)).collect();
    assert_eq!(other, [("bob", Access::Read, None)]);
    let sent = pyrgos_protocol::api::Request::new(SetPointers::PATH)
        .with("owner", alice.identity().to_string())
        .body(held.lock().unwrap().take().unwrap());
    let answer = node.request(sent);
    assert_ne!((answer.status, answer.body.first()), (200, Some(&0xf5)), "the node took a write of the old key");

    // Nor does it take a new one: the key is nobody's any more.
    let now = run(call(&Wire::new(&node), &GetPointer { owner: alice.identity().clone(), writer: signer.writer() }));
    let now = PointerUpdate::open(&signer.secret.public(), &now.unwrap().unwrap()).unwrap();
    assert_eq!(now.updated(), None, "the old space has ended");
    let any = before.keys().next().unwrap().clone();
    let signed = now.next(Some(any)).unwrap().sign(&signer.secret);
    let commit = MultiWriterCommit { updates: vec![SignedPointerUpdate { writer: signer.writer(), signed }] };
    let refused = run(call(&Wire::new(&node), &SetPointers { owner: alice.identity().clone(), commit }));
    assert!(!matches!(refused, Ok(true)), "the node took a write of a key that was taken back");

    // Bob reads on, by what he was granted besides; carol goes on writing in both.
    assert_eq!(read(&bob, "/alice/folder/inner/f"), b"1");
    assert!(matches!(replace(&bob, "/alice/folder/of-bob", b"x"), Err(ClientError::ReadOnly { .. })));
    assert!(matches!(run(bob.remove(&path("/alice/folder/of-bob"), false)), Err(ClientError::ReadOnly { .. })));
    assert!(replace(&carol, "/alice/folder/of-bob", b"of carol").unwrap());
    assert!(replace(&carol, "/alice/folder/inner/f", b"2").unwrap());
    for session in [&alice, &bob, &carol] {
        assert_eq!(read(session, "/alice/folder/of-bob"), b"of carol");
        assert_eq!(read(session, "/alice/folder/inner/f"), b"2");
    }
    assert_ne!(received(&bob, "alice", "", "folder").writer, known.writer);
    // The inner one was carol's to write before, and stays so when the outer one is taken from her.
    unshare(&alice, "/alice/folder", "carol", Taken::All);
    assert!(replace(&carol, "/alice/folder/inner/f", b"3").unwrap());
    assert!(is_gone(run(carol.read(&path("/alice/folder/of-bob")))));
    assert_eq!(read(&bob, "/alice/folder/inner/f"), b"3");
    // Taking it again takes nothing.
    assert!(unshare(&alice, "/alice/folder", "carol", Taken::All).from.is_empty());
    let refused = run(bob.unshare(&path("/alice/folder"), &[name("carol")], Taken::All));
    assert!(matches!(refused, Err(ClientError::NotOwner { .. })), "{refused:?}");
}

#[test]
fn a_follower_is_removed_with_all_that_they_could_reach() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    befriend(&bob, &alice);
    befriend(&carol, &alice);
    run(alice.make_directories(&path("/alice/one/two"))).unwrap();
    put(&alice, "/alice/one/two/f", b"f");
    put(&alice, "/alice/note", b"note");
    put(&alice, "/alice/all", b"all");
    run(alice.share(&path("/alice/one"), &[name("bob"), name("carol")])).unwrap();
    run(alice.share_to_write(&path("/alice/one/two"), &[name("bob"), name("carol")])).unwrap();
    run(alice.share(&path("/alice/note"), &[name("bob")])).unwrap();
    run(alice.share(&path("/alice/all"), &[GroupKind::Friends])).unwrap();
    for at in ["/alice/one/two/f", "/alice/note", "/alice/all"] {
        run(bob.read(&path(at))).unwrap();
    }
    let taken = unshare(&alice, "/alice/all", "bob", Taken::All);
    assert!(taken.from.is_empty());
    let other: Vec<_> = taken.other.iter().map(|other| (other.who.as_str(), other.group)).collect();
    assert_eq!(other, [("bob", Some(GroupKind::Friends))]);

    let revoked = run(alice.remove_follower(&name("bob"))).unwrap();
    assert!(revoked.dropped.is_empty());
    let refused = run(alice.remove_follower(&name("bob")));
    assert!(matches!(refused, Err(ClientError::NotAFollower { .. })), "{refused:?}");
    for at in ["/alice/one/two/f", "/alice/note", "/alice/all"] {
        assert!(is_gone(run(bob.read(&path(at)))), "{at}");
    }
    assert!(run(bob.shared_with_me()).unwrap().is_empty());
    assert!(!contact(&alice, "bob").is_follower && contact(&alice, "bob").is_followed);
    // What is shared with all friends from now on is not for bob.
    put(&alice, "/alice/later", b"later");
    run(alice.share(&path("/alice/later"), &[GroupKind::Friends])).unwrap();
    assert!(is_gone(run(bob.read(&path("/alice/later")))));
    for (at, content) in [("/alice/one/two/f", "f"), ("/alice/all", "all"), ("/alice/later", "later")] {
        assert_eq!(read(&carol, at), content.as_bytes(), "{at}");
    }
    assert!(replace(&carol, "/alice/one/two/f", b"of carol").unwrap());
    assert!(alice_shares(&alice).iter().all(|(_, recipients)| !recipients.contains(&Recipient::from(name("bob")))));
    // They can become friends again.
    run(bob.unfollow(&name("alice"))).unwrap();
    run(alice.share(&path("/alice/note"), &[name("carol")])).unwrap();
    assert_eq!(read(&carol, "/alice/note"), b"note");
}

fn alice_shares(alice: &TestSession<'_>) -> Vec<(String, Vec<Recipient>)> {
    let shares = run(alice.shares(&path("/alice"))).unwrap();
    shares
        .into_iter()
        .map(|item| (item.path.to_string(), [item.shares.readers, item.shares.writers].concat()))
        .collect()
}

#[test]
fn a_group_is_cut_off_with_its_members() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    befriend(&bob, &alice);
    befriend(&carol, &alice);
    put(&alice, "/alice/f", b"f");
    run(alice.share(&path("/alice/f"), &[GroupKind::Followers])).unwrap();
    run(alice.share(&path("/alice/f"), &[name("bob")])).unwrap();
    assert_eq!(read(&bob, "/alice/f"), b"f");
    assert_eq!(read(&carol, "/alice/f"), b"f");
    let revoked = run(alice.unshare(&path("/alice/f"), &[GroupKind::Followers], Taken::All)).unwrap();
    assert_eq!(revoked.from.len(), 2);
    assert!(revoked.other.is_empty());
    for session in [&bob, &carol] {
        assert!(is_gone(run(session.read(&path("/alice/f")))));
    }
    assert!(alice_shares(&alice).is_empty());
    assert_eq!(read(&alice, "/alice/f"), b"f");
}

/// At every request the connection breaks, before the node has it or after.
#[test]
fn an_interruption_leaves_all_or_nothing() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    befriend(&bob, &alice);
    befriend(&carol, &alice);
    run(alice.make_directories(&path("/alice/folder/inner"))).unwrap();
    put(&alice, "/alice/folder/f", b"f");
    put(&alice, "/alice/folder/inner/g", b"g");
    run(alice.share_to_write(&path("/alice/folder/inner"), &[name("carol")])).unwrap();
    let folder = path("/alice/folder");
    let (mut broken, mut completed) = (0, 0);
    for (round, taken) in [Taken::All, Taken::Writing].into_iter().cycle().enumerate().take(70) {
        // The state of before, again.
        let device = second(&alice, 100 + round as u64);
        run(device.share(&folder, &[name("bob"), name("carol")])).unwrap();
        if taken == Taken::Writing {
            run(device.share_to_write(&folder, &[name("bob")])).unwrap();
            assert!(replace(&bob, "/alice/folder/f", b"f").unwrap());
        }
        assert_eq!(read(&bob, "/alice/folder/f"), b"f");
        let (limit, mut count) = (round / 2 + 1, 0);
        let after = round % 3 == 0;
        let wire = Wire::new(&node);
        device.transport().step_in(move |request| {
            count += 1;
            if count < limit {
                return None;
            }
            if count == limit && after {
                // It arrives, but nobody hears of it.
                let _ = run(pyrgos_protocol::api::Transport::send(&wire, request.clone()));
            }
            Some(Err(TransportError::TooLarge(0)))
        });
        let result = run(device.unshare(&folder, &[name("bob")], taken));
        broken += usize::from(result.is_err());
        completed += usize::from(result.is_ok());
        // Whatever happened, everything can be read by whom it is for, and bob has what he had or what he is to have.
        let later = second(&alice, 1000 + round as u64);
        for session in [&later, &carol] {
            assert_eq!(read(session, "/alice/folder/f"), b"f");
            assert_eq!(read(session, "/alice/folder/inner/g"), b"g");
        }
        let shares = run(later.shares(&folder)).unwrap();
        let listed = |access| {
            shares.iter().any(|item| {
                item.path == folder && item.shares.recipients(access).contains(&Recipient::from(name("bob")))
            })
        };
        let can_read = run(bob.read(&path("/alice/folder/f"))).is_ok();
        let can_write = replace(&bob, "/alice/folder/f", b"f").is_ok();
        assert_eq!(
            (can_read, can_write),
            (listed(Access::Read) || listed(Access::Write), listed(Access::Write)),
            "round {round}"
        );
        run(later.unshare(&folder, &[name("bob")], taken)).unwrap();
        assert!(replace(&bob, "/alice/folder/f", b"x").is_err());
        assert_eq!(run(bob.read(&path("/alice/folder/f"))).is_ok(), taken == Taken::Writing);
        assert!(replace(&carol, "/alice/folder/inner/g", b"g").unwrap());
    }
    assert!(broken > 20 && completed > 5, "{broken} broken, {completed} completed");
}
