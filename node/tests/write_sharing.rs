//! Sharing to write with a whole node: writing spaces, what their writers can do, and what happens when several write at
//! once.

#[path = "../../protocol/tests/client_support/runtime.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod client_runtime;
mod support;
#[path = "support/wire.rs"]
mod wire;

use std::collections::BTreeMap;

use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::mutable::SetPointers;
use pyrgos_protocol::client::{ClientError, IfExists, Taken, UploadOptions};
use support::{Node, path, run};
use wire::*;

fn replace(session: &TestSession<'_>, at: &str, content: &[u8]) -> Result<bool, ClientError> {
    let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
    run(session.upload(&path(at), &mut bytes::Bytes::copy_from_slice(content), &options, &()))
}

fn names(session: &TestSession<'_>, at: &str) -> Vec<String> {
    run(session.list(&path(at))).unwrap().into_iter().map(|entry| entry.name.as_str().to_owned()).collect()
}

#[test]
fn a_folder_shared_to_write_is_changed_by_both() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    befriend(&bob, &alice);
    befriend(&carol, &alice);
    run(alice.make_directories(&path("/alice/docs/folder/inner"))).unwrap();
    put(&alice, "/alice/docs/folder/a.txt", b"of alice");
    put(&alice, "/alice/docs/folder/inner/b.txt", b"inner");
    put(&alice, "/alice/docs/beside.txt", b"beside");
    // Somebody reads it already, and keeps reading it.
    run(alice.share(&path("/alice/docs/folder"), &[name("carol")])).unwrap();
    run(alice.share(&path("/alice/docs/folder/inner/b.txt"), &[name("carol")])).unwrap();
    assert_eq!(read(&carol, "/alice/docs/folder/a.txt"), b"of alice");

    // One commit moves the folder into a space of its own.
    let moves = std::sync::Arc::new(std::sync::Mutex::new(0));
    let count = moves.clone();
    alice.transport().step_in(move |request| {
        *count.lock().unwrap() += usize::from(request.path == SetPointers::PATH);
        None
    });
    let folder = path("/alice/docs/folder");
    assert_eq!(run(alice.share_to_write(&folder, &[name("bob")])).unwrap(), [name("bob").into()]);
    assert_eq!(*moves.lock().unwrap(), 1);
    alice.transport().free();
    assert!(run(alice.share_to_write(&folder, &[name("bob")])).unwrap().is_empty());
    assert_eq!(read(&alice, "/alice/docs/folder/inner/b.txt"), b"inner");
    assert_eq!(read(&carol, "/alice/docs/folder/a.txt"), b"of alice");
    assert_eq!(read(&carol, "/alice/docs/folder/inner/b.txt"), b"inner");

    // Bob does everything in it.
    assert!(run(bob.stat(&folder)).unwrap().is_writable);
    put(&bob, "/alice/docs/folder/c.txt", b"of bob");
    assert!(replace(&bob, "/alice/docs/folder/a.txt", b"changed by bob").unwrap());
    run(bob.make_directories(&path("/alice/docs/folder/new/deep"))).unwrap();
    put(&bob, "/alice/docs/folder/new/deep/large", &vec![7; 6 << 20]);
    run(bob.rename(&path("/alice/docs/folder/inner/b.txt"), &path("/alice/docs/folder/b2.txt"), IfExists::Fail))
        .unwrap();
    run(bob.append(&path("/alice/docs/folder/b2.txt"), &mut bytes::Bytes::from_static(b" and more"), &())).unwrap();
    run(bob.copy(&path("/alice/docs/folder/c.txt"), &path("/bob/mine.txt"), IfExists::Fail, &())).unwrap();
    run(bob.copy(&path("/bob/mine.txt"), &path("/alice/docs/folder/back.txt"), IfExists::Fail, &())).unwrap();
    run(bob.remove(&path("/alice/docs/folder/inner"), true)).unwrap();
    for session in [&alice, &bob, &carol] {
        assert_eq!(names(session, "/alice/docs/folder"), ["a.txt", "b2.txt", "back.txt", "c.txt", "new"]);
        assert_eq!(read(session, "/alice/docs/folder/a.txt"), b"changed by bob");
        assert_eq!(read(session, "/alice/docs/folder/b2.txt"), b"inner and more");
        assert_eq!(read(session, "/alice/docs/folder/new/deep/large").len(), 6 << 20);
        assert_eq!(read(session, "/alice/docs/folder/back.txt"), b"of bob");
    }
    put(&alice, "/alice/docs/folder/d.txt", b"alice again");
    assert_eq!(read(&bob, "/alice/docs/folder/d.txt"), b"alice again");

    // The thing itself is the owner's, and what is beside it nobody else's.
    let refused = run(bob.remove(&folder, true));
    assert!(matches!(refused, Err(ClientError::ReadOnly { .. })), "{refused:?}");
    let refused = run(bob.rename(&folder, &path("/alice/docs/mine"), IfExists::Fail));
    assert!(matches!(refused, Err(ClientError::ReadOnly { .. })), "{refused:?}");
    let refused = replace(&bob, "/alice/docs/x.txt", b"x");
    assert!(matches!(refused, Err(ClientError::ReadOnly { .. })), "{refused:?}");
    let refused = replace(&carol, "/alice/docs/folder/a.txt", b"x");
    assert!(matches!(refused, Err(ClientError::ReadOnly { .. })), "{refused:?}");
    let refused = run(carol.remove(&path("/alice/docs/folder/a.txt"), false));
    assert!(matches!(refused, Err(ClientError::ReadOnly { .. })), "{refused:?}");
    let refused = run(bob.share_to_write(&folder, &[name("alice")]));
    assert!(matches!(refused, Err(ClientError::NotOwner { .. })), "{refused:?}");
    // The owner renames it, and everybody still finds it by the new name.
    run(alice.rename(&folder, &path("/alice/docs/renamed"), IfExists::Fail)).unwrap();
    put(&bob, "/alice/docs/renamed/e.txt", b"e");
    assert_eq!(read(&carol, "/alice/docs/renamed/e.txt"), b"e");
}

#[test]
fn new_keys_go_to_nobody_for_something_else_of_the_same_name() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    befriend(&bob, &alice);
    befriend(&carol, &alice);
    let dave = sign_up(&node, "dave", 4);
    befriend(&dave, &alice);
    run(alice.make_directories(&path("/alice/folder"))).unwrap();
    let (shared, kept) = ("/alice/folder/shared.txt", "/alice/folder/kept.txt");
    put(&alice, shared, b"for carol");
    put(&alice, kept, b"for carol too");
    run(alice.share_to_write(&path("/alice/folder"), &[name("bob")])).unwrap();
    run(alice.share(&path("/alice/folder"), &[name("dave")])).unwrap();
    for at in [shared, kept] {
        run(alice.share(&path(at), &[name("carol")])).unwrap();
    }
    assert_eq!(read(&carol, shared), b"for carol");
    // Bob moves what Carol may read out of the way, and puts something else there.
    run(bob.rename(&path(shared), &path("/alice/folder/elsewhere.txt"), IfExists::Fail)).unwrap();
    put(&bob, shared, b"for bob and alice only");
    // The path still means to her what she was granted; never the new file.
    let reads_the_other = || run(carol.read(&path(shared))).is_ok_and(|content| content == b"for bob and alice only");
    assert!(!reads_the_other());
    // Dave is shut out, which gives new keys to everything in the folder.
    run(alice.unshare(&path("/alice/folder"), &[name("dave")], Taken::All)).unwrap();
    assert!(!reads_the_other());
    assert_eq!(read(&carol, kept), b"for carol too");
    assert_eq!(read(&bob, shared), b"for bob and alice only");
    // The record tells so, and Alice can share it if she wants that.
    let recorded = run(alice.shares(&path(shared))).unwrap();
    assert!(recorded.iter().all(|item| item.shares.readers.is_empty()), "{:?}", recorded.len());
    run(alice.share(&path(shared), &[name("carol")])).unwrap();
    assert_eq!(read(&carol, shared), b"for bob and alice only");
}

#[test]
fn nothing_gives_way_to_a_move_from_another_space_but_a_file_to_a_file() {
    let node = start();
    let (alice, bob) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2));
    befriend(&bob, &alice);
    run(alice.make_directories(&path("/alice/space/directory"))).unwrap();
    put(&alice, "/alice/space/file", b"old");
    put(&alice, "/alice/f", b"new");
    run(alice.share_to_write(&path("/alice/space"), &[name("bob")])).unwrap();
    let rename = |from: &str, to: &str, if_exists| run(alice.rename(&path(from), &path(to), if_exists));
    let onto_directory = rename("/alice/f", "/alice/space/directory", IfExists::Replace);
    assert!(matches!(onto_directory, Err(ClientError::Exists { .. })), "{onto_directory:?}");
    // What is skipped must not be removed.
    let skipped = rename("/alice/f", "/alice/space/file", IfExists::Skip);
    assert!(matches!(skipped, Err(ClientError::Exists { .. })), "{skipped:?}");
    assert_eq!(read(&alice, "/alice/f"), b"new");
    assert_eq!(read(&alice, "/alice/space/file"), b"old");
    rename("/alice/f", "/alice/space/file", IfExists::Replace).unwrap();
    assert_eq!(read(&bob, "/alice/space/file"), b"new");
    assert!(matches!(run(alice.stat(&path("/alice/f"))), Err(ClientError::NotFound { .. })));
}

#[test]
fn a_file_and_nested_spaces_are_shared_to_write() {
    let node = start();
    let (alice, bob, carol) = (sign_up(&node, "alice", 1), sign_up(&node, "bob", 2), sign_up(&node, "carol", 3));
    befriend(&bob, &alice);
    befriend(&carol, &alice);
    run(alice.make_directories(&path("/alice/outer/inner"))).unwrap();
    put(&alice, "/alice/outer/inner/f", b"1");
    put(&alice, "/alice/note.txt", b"note");
    // A file alone.
    run(alice.share_to_write(&path("/alice/note.txt"), &[name("bob")])).unwrap();
    assert!(replace(&bob, "/alice/note.txt", b"note of bob").unwrap());
    assert_eq!(read(&alice, "/alice/note.txt"), b"note of bob");
    let mut batch = bob.batch();
    let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
    run(batch.put(&path("/alice/note.txt"), &mut bytes::Bytes::from_static(b"batched"), &options, &())).unwrap();
    run(batch.finish()).unwrap();
    assert_eq!(read(&alice, "/alice/note.txt"), b"batched");
    // The inner one first, then the one around it: the inner one gets a new space, owned by the outer one.
    run(alice.share_to_write(&path("/alice/outer/inner"), &[name("bob")])).unwrap();
    assert!(replace(&bob, "/alice/outer/inner/f", b"2").unwrap());
    run(alice.share(&path("/alice/outer"), &[name("bob")])).unwrap();
    run(alice.share_to_write(&path("/alice/outer"), &[name("carol")])).unwrap();
    assert!(replace(&bob, "/alice/outer/inner/f", b"3").unwrap());
    assert!(replace(&carol, "/alice/outer/inner/f", b"4").unwrap());
    put(&carol, "/alice/outer/g", b"g");
    // Bob reads the outer one and writes the inner one.
    assert_eq!(read(&bob, "/alice/outer/g"), b"g");
    assert!(matches!(replace(&bob, "/alice/outer/g", b"x"), Err(ClientError::ReadOnly { .. })));
    put(&bob, "/alice/outer/inner/h", b"h");
    for session in [&alice, &bob, &carol] {
        assert_eq!(read(session, "/alice/outer/inner/f"), b"4");
        assert_eq!(names(session, "/alice/outer/inner"), ["f", "h"]);
    }
    // What lies inside a space gets one of its own, owned by that.
    run(alice.make_directory(&path("/alice/outer/third"))).unwrap();
    run(alice.share_to_write(&path("/alice/outer/third"), &[name("bob")])).unwrap();
    put(&bob, "/alice/outer/third/i", b"i");
    assert_eq!(read(&carol, "/alice/outer/third/i"), b"i");
    let shares = run(alice.shares(&path("/alice"))).unwrap();
    let writers: Vec<_> = shares.iter().map(|item| (item.path.to_string(), item.shares.writers.len())).collect();
    let expected = [("/alice/note.txt", 1), ("/alice/outer", 1), ("/alice/outer/inner", 1), ("/alice/outer/third", 1)];
    assert_eq!(writers, expected.map(|(path, count)| (path.to_owned(), count)));
    // Deleting ends all spaces at once.
    run(alice.remove(&path("/alice/outer"), true)).unwrap();
    assert!(matches!(run(bob.read(&path("/alice/outer/inner/f"))), Err(ClientError::NotFound { .. })));
    assert!(run(bob.shared_with_me()).unwrap().iter().all(|share| share.path.to_string() == "/alice/note.txt"));
}

/// Everything below a directory, with the contents of files.
fn tree(session: &TestSession<'_>, at: &str) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut tree = BTreeMap::new();
    let mut pending = vec![path(at)];
    while let Some(directory) = pending.pop() {
        for entry in run(session.list(&directory)).unwrap() {
            let path = directory.join(entry.name.clone());
            let content = (!entry.is_directory).then(|| run(session.read(&path)).unwrap());
            tree.insert(path.to_string(), content);
            if entry.is_directory {
                pending.push(path);
            }
        }
    }
    tree
}

/// A folder of alice that bob may change, with alice on two devices.
fn shared_folder(node: &Node) -> [TestSession<'_>; 3] {
    let (alice, bob) = (sign_up(node, "alice", 1), sign_up(node, "bob", 2));
    befriend(&bob, &alice);
    run(alice.make_directories(&path("/alice/folder/common"))).unwrap();
    for number in 0..6 {
        put(&alice, &format!("/alice/folder/old-{number}"), format!("old {number}").as_bytes());
    }
    run(alice.share_to_write(&path("/alice/folder"), &[name("bob")])).unwrap();
    run(bob.shared_with_me()).unwrap();
    let phone = second(&alice, 3);
    [alice, phone, bob]
}

/// What writer number `who` does. None of it stands in the way of what others do.
fn work(session: &TestSession<'_>, who: usize) {
    let at = |name: &str| format!("/alice/folder/{name}");
    for round in 0..3 {
        put(session, &at(&format!("new-{who}-{round}")), b"new");
        run(session.make_directories(&path(&at(&format!("common/sub/{who}-{round}"))))).unwrap();
        put(session, &at(&format!("common/sub/{who}-{round}/f")), format!("{who} {round}").as_bytes());
    }
    let mine = at(&format!("old-{who}"));
    assert!(replace(session, &mine, b"replaced").unwrap());
    run(session.append(&path(&mine), &mut bytes::Bytes::from_static(b", appended"), &())).unwrap();
    run(session.rename(&path(&mine), &path(&at(&format!("common/moved-{who}"))), IfExists::Fail)).unwrap();
    run(session.remove(&path(&at(&format!("old-{}", who + 3))), false)).unwrap();
    assert!(session.take_conflicts().is_empty());
}

#[test]
fn writers_at_once_and_one_after_the_other_leave_the_same_tree() {
    let mut trees = Vec::new();
    for order in [Some([0, 1, 2]), Some([2, 0, 1]), None] {
        let node = start();
        let sessions = shared_folder(&node);
        match order {
            Some(order) => order.iter().for_each(|who| work(&sessions[*who], *who)),
            None => std::thread::scope(|scope| {
                for (who, session) in sessions.iter().enumerate() {
                    scope.spawn(move || work(session, who));
                }
            }),
        }
        let seen: Vec<_> = sessions.iter().map(|session| tree(session, "/alice/folder")).collect();
        assert!(seen[0] == seen[1] && seen[1] == seen[2]);
        assert_eq!(seen[0].len(), 2 + 9 + 9 + 9 + 3);
        trees.extend(seen);
    }
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn two_who_store_one_file_at_once_keep_both() {
    let node = start();
    let [alice, _, bob] = shared_folder(&node);
    let file = "/alice/folder/old-0";
    let other = second(&bob, 7);
    alice.transport().before(SetPointers::PATH, move || {
        assert!(replace(&other, "/alice/folder/old-0", b"of bob").unwrap());
    });
    assert!(replace(&alice, file, b"of alice").unwrap());
    alice.transport().free();
    let copies = alice.take_conflicts();
    assert_eq!(copies.len(), 1);
    assert!(copies[0].to_string().starts_with("/alice/folder/old-0 (conflict of alice 2026-02-03 09.33"));
    for session in [&alice, &bob] {
        assert_eq!(read(session, file), b"of bob");
        assert_eq!(run(session.read(&copies[0])).unwrap(), b"of alice");
    }

    // A large file that appears in several commits.
    let content = vec![1; 26 << 20];
    let other = second(&alice, 8);
    bob.transport().before("peergos/v0/mutable/setPointers", move || {
        assert!(replace(&other, "/alice/folder/large", b"small").unwrap());
    });
    assert!(replace(&bob, "/alice/folder/large", &content).unwrap());
    bob.transport().free();
    let copies = bob.take_conflicts();
    assert!(copies[0].to_string().starts_with("/alice/folder/large (conflict of bob "), "{copies:?}");
    assert_eq!(read(&alice, "/alice/folder/large"), b"small");
    assert!(run(alice.read(&copies[0])).unwrap() == content);
    assert!(run(bob.list(&path("/bob/.transactions"))).unwrap().is_empty());

    // Nothing can be put beside a file that was shared alone: the second is told.
    put(&alice, "/alice/single", b"1");
    run(alice.share_to_write(&path("/alice/single"), &[name("bob")])).unwrap();
    run(bob.shared_with_me()).unwrap();
    let other = second(&alice, 9);
    bob.transport().before(SetPointers::PATH, move || {
        assert!(replace(&other, "/alice/single", b"2").unwrap());
    });
    let refused = replace(&bob, "/alice/single", b"3");
    assert!(matches!(refused, Err(ClientError::Changed { .. })), "{refused:?}");
    bob.transport().free();
    assert_eq!(read(&bob, "/alice/single"), b"2");
}
