//! Who may write in a directory can leave nonsense there. It is told of, and hides nothing else.

mod client_support;

use bytes::Bytes;
use client_support::*;
use pyrgos_protocol::client::{ClientError, ErrorKind, IfExists, UploadOptions};
use pyrgos_protocol::cryptree::capability::AbsoluteCapability;
use pyrgos_protocol::cryptree::node::CryptreeNode;
use pyrgos_protocol::encoding::{ToCbor, Value};
use pyrgos_protocol::keys::SigningPrivateKeyAndPublicHash;

/// The home directory, out of what an agent keeps of a session.
fn home(session: &TestSession<'_>) -> AbsoluteCapability {
    let state = Value::decode(&session.state().to_bytes()).unwrap();
    let keys = state.fields("state").unwrap().required("k").unwrap().clone();
    keys.fields("keys").unwrap().get("h").unwrap()
}

/// Who signs in the home directory.
fn signer(node: &TestNode, home: &AbsoluteCapability) -> SigningPrivateKeyAndPublicHash {
    let nodes = node.space(&home.owner, &home.writer);
    let block = node.block(&home.owner, &nodes[home.map_key.as_bytes().as_slice()]);
    CryptreeNode::from_block(&block).unwrap().open(&home.base_key).unwrap().signer(home, None).unwrap()
}

#[test]
fn damaged_children_hide_nothing() {
    let node = TestNode::default();
    let alice = sign_up(&node, "alice", 1);
    let home = home(&alice);
    let signer = signer(&node, &home);
    run(alice.make_directories(&path("/alice/shared/folder"))).unwrap();
    let nodes = || node.space(&home.owner, &home.writer);
    // Each file adds one label: its own.
    let add = |at: &str| {
        let before = nodes();
        put(&alice, at, at.as_bytes(), &UploadOptions::default()).unwrap();
        let (label, cid) = nodes().into_iter().find(|(label, _)| !before.contains_key(label)).unwrap();
        (label, node.block(&home.owner, &cid))
    };
    let (_, whole) = add("/alice/shared/whole.txt");
    // Without its access tokens, so that the node hands it out to whoever asks under another label.
    let mut open = Value::decode(&whole).unwrap().as_map().unwrap().clone();
    open.remove("bats");
    let whole = Bytes::from(Value::Map(open).encode());
    let (_, guarded) = add("/alice/guarded.txt");
    for (at, nonsense) in [
        // No node at all, a node that other keys open, and one that another token opens.
        ("/alice/shared/broken.txt", Bytes::from_static(b"\x01")),
        ("/alice/shared/other keys.txt", whole),
        ("/alice/shared/other token.txt", guarded),
    ] {
        let (label, _) = add(at);
        node.replace_node(&home.owner, &signer, &label, nonsense);
    }

    let folder = path("/alice/shared");
    let fresh = clone_session(&alice, &node, 2);
    let names = |entries: &[pyrgos_protocol::client::Entry]| -> Vec<String> {
        entries.iter().map(|entry| entry.name.as_str().to_owned()).collect()
    };
    let listing = run(fresh.listing(&folder)).unwrap();
    assert_eq!(names(&listing.entries), ["folder", "whole.txt"]);
    let mut damaged: Vec<&str> = listing.unreadable.iter().map(|child| child.name.as_ref().unwrap().as_str()).collect();
    damaged.sort_unstable();
    assert_eq!(damaged, ["broken.txt", "other keys.txt", "other token.txt"]);
    assert!(listing.unreadable.iter().all(|child| child.error.kind() == ErrorKind::Damaged));
    assert_eq!(names(&run(fresh.list(&folder)).unwrap()), ["folder", "whole.txt"]);
    let children = run(fresh.children(&folder)).unwrap();
    assert_eq!((children.directories.len(), children.files.len(), children.unreadable.len()), (1, 1, 3));
    let usage = run(fresh.usage(&folder)).unwrap();
    assert_eq!(usage.last().map(|all| (all.files, all.bytes)), Some((1, 23)));

    // By itself it fails, and a copy or a move by copying must not leave it out silently.
    let stat = run(fresh.stat(&path("/alice/shared/broken.txt")));
    assert!(matches!(&stat, Err(error) if error.kind() == ErrorKind::Damaged), "{stat:?}");
    let copied = run(fresh.copy(&folder, &path("/alice/copy"), IfExists::Fail, &()));
    assert!(matches!(&copied, Err(error) if error.kind() == ErrorKind::Damaged), "{copied:?}");

    // Everything else goes on.
    let replace = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
    put(&fresh, "/alice/shared/whole.txt", b"new", &replace).unwrap();
    put(&fresh, "/alice/shared/folder/more.txt", b"more", &replace).unwrap();
    assert_eq!(run(alice.read(&path("/alice/shared/whole.txt"))).unwrap(), b"new");

    // It can be removed, by itself and with its directory, and leaves no node.
    let before = nodes().len();
    run(fresh.remove(&path("/alice/shared/broken.txt"), false)).unwrap();
    run(fresh.remove(&path("/alice/shared/other token.txt"), false)).unwrap();
    assert!(matches!(run(fresh.remove(&path("/alice/shared/none"), false)), Err(ClientError::NotFound { .. })));
    assert_eq!(nodes().len(), before - 2);
    let listing = run(fresh.listing(&folder)).unwrap();
    assert_eq!((names(&listing.entries), listing.unreadable.len()), (vec!["folder".into(), "whole.txt".into()], 1));
    run(fresh.remove(&folder, true)).unwrap();
    assert!(!names(&run(alice.list(&path("/alice"))).unwrap()).contains(&"shared".to_owned()));
    // The directory, the three that it had, and what was in the folder.
    assert_eq!(nodes().len(), before - 2 - 5);
}

#[test]
fn a_directory_is_worked_in() {
    let node = TestNode::default();
    let alice = sign_up(&node, "alice", 1);
    let letters = run(alice.home_directory().unwrap().make_directory("letters".parse().unwrap())).unwrap();
    let first = || "first".parse().unwrap();
    let options = UploadOptions::default();
    assert!(run(letters.upload(first(), &mut Bytes::from_static(b"Dear"), &options, &())).unwrap());
    assert_eq!(run(alice.read(&path("/alice/letters/first"))).unwrap(), b"Dear");
    let again = run(letters.make_directory("old".parse().unwrap())).unwrap();
    assert_eq!((again.path(), &letters.path_of("old".parse().unwrap())), (&path("/alice/letters/old"), again.path()));
    let listed = run(run(alice.directory(letters.path())).unwrap().list()).unwrap();
    assert_eq!(listed.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["first", "old"]);
    let refused = run(letters.directory(first()));
    assert!(matches!(refused.map(|_| ()), Err(ClientError::NotADirectory { .. })));
    run(letters.directory("old".parse().unwrap())).unwrap();

    run(letters.remove(first(), false)).unwrap();
    assert!(matches!(run(letters.read(first())), Err(ClientError::NotFound { .. })));
    run(alice.rename(letters.path(), &path("/alice/moved"), IfExists::Fail)).unwrap();
    assert!(matches!(run(letters.list()), Err(ClientError::NotFound { .. })));
    assert_eq!(run(alice.list(&path("/alice/moved"))).unwrap().len(), 1);
}
