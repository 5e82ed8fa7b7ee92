//! A deleted account leaves no writing space in which others could go on.

use std::sync::Arc;

use bytes::Bytes;
use pyrgos_protocol::client::{ClientError, IfExists, Password};
use pyrgos_store::MemoryStore;

use crate::people::{befriend, name, node, path, put, run, sign_up};

#[test]
fn writing_spaces_end_with_their_account() {
    let service = node(Arc::new(MemoryStore::default()));
    let (alice, bob) = (sign_up(&service, "alice", 1), sign_up(&service, "bob", 2));
    befriend(&bob, &alice);
    run(alice.make_directories(&path("/alice/deep/shared"))).unwrap();
    put(&alice, &path("/alice/deep/shared/hers"), b"hers", IfExists::Fail).unwrap();
    put(&alice, &path("/alice/note"), b"note", IfExists::Fail).unwrap();
    run(alice.share_to_write(&path("/alice/deep/shared"), &[name("bob")])).unwrap();
    run(alice.share_to_write(&path("/alice/note"), &[name("bob")])).unwrap();
    put(&bob, &path("/alice/deep/shared/his"), b"his", IfExists::Fail).unwrap();
    assert_eq!(run(bob.read(&path("/alice/note"))).unwrap(), b"note");
    assert_eq!(run(bob.shared_with_me()).unwrap().len(), 2);

    let password = |text: &str| Password::new(text.to_owned());
    let refused = run(alice.delete_account(&password("a wrong long password"), &()));
    assert!(matches!(refused, Err(ClientError::WrongPassword)), "{refused:?}");
    assert_eq!(run(alice.read(&path("/alice/deep/shared/his"))).unwrap(), b"his");

    // Cut before anything arrives, and with the answer lost: nothing or everything is done.
    alice.transport().step_in(|request| {
        let is_last = request.path.ends_with("setPointers") || request.path.ends_with("setPointer");
        is_last.then(|| Err(pyrgos_protocol::api::TransportError::Connect("cut by the test".to_owned())))
    });
    assert!(run(alice.delete_account(&password("a good long password"), &())).is_err());
    alice.transport().free();
    assert_eq!(run(bob.read(&path("/alice/note"))).unwrap(), b"note");

    run(alice.delete_account(&password("a good long password"), &())).unwrap();
    for gone in ["/alice/deep/shared/hers", "/alice/deep/shared/his", "/alice/note"] {
        let read = run(bob.read(&path(gone)));
        assert!(matches!(read, Err(ClientError::NotFound { .. })), "{gone}: {read:?}");
    }
    // Nor can he write there, and nothing of the node's answers looks false to him.
    let written = put(&bob, &path("/alice/deep/shared/more"), b"more", IfExists::Fail);
    assert!(matches!(written, Err(ClientError::NotFound { .. })), "{written:?}");
    let received = run(bob.received()).unwrap();
    assert!(received.shares.is_empty() && received.failures.is_empty(), "{received:?}");
    put(&bob, &path("/bob/own"), b"own", IfExists::Fail).unwrap();
    assert_eq!(run(bob.read(&path("/bob/own"))).unwrap(), Bytes::from_static(b"own"));
}
