//! How many answers a client waits for one after the other: what counts on a long line, whatever the machine.

mod people;

use std::sync::Arc;

use bytes::Bytes;
use people::{befriend, name, node, path, put, resume_in_rounds, run, sign_up};
use pyrgos_protocol::client::{IfExists, UploadOptions};
use pyrgos_store::MemoryStore;

/// Twenty labels fit into a look-up, and eight look-ups are under way at once.
#[test]
fn a_large_directory_is_listed_in_few_round_trips() {
    const FILES: usize = 600;
    let service = node(Arc::new(MemoryStore::default()));
    let alice = sign_up(&service, "alice", 1);
    let mut batch = alice.batch();
    run(batch.make_directory(&path("/alice/many"))).unwrap();
    for n in 0..FILES {
        let at = path(&format!("/alice/many/{n}"));
        run(batch.put(&at, &mut Bytes::from_static(b"small"), &UploadOptions::default(), &())).unwrap();
    }
    run(batch.finish()).unwrap();
    let session = resume_in_rounds(&service, alice.state(), 2);
    let (listed, rounds) = session.transport().count(session.list(&path("/alice/many")));
    assert_eq!(listed.unwrap().len(), FILES);
    // Pointer and data of the space, home and its end, the directory, its second chunk and its end, both large lists.
    println!("round trips to list {FILES} files: {rounds}");
    assert!(rounds <= 9 + FILES.div_ceil(20 * 8), "{rounds}");
    let (again, rounds) = session.transport().count(session.list(&path("/alice/many")));
    assert_eq!((again.unwrap().len(), rounds), (FILES, 1), "only whether something has changed is asked");

    // One for each name on the way, beside pointer, data and home.
    let deep = path("/alice/a/b/c/d/e");
    run(alice.make_directories(&deep)).unwrap();
    let session = resume_in_rounds(&service, alice.state(), 3);
    let (found, rounds) = session.transport().count(session.stat(&deep));
    assert!(found.unwrap().is_directory);
    println!("round trips to what is five directories deep: {rounds}");
    assert!(rounds <= 3 + 5, "{rounds}");
}

/// Friends are asked at the same time: more of them cost more requests, and no more time.
#[test]
fn what_many_friends_share_takes_as_many_round_trips_as_what_one_shares() {
    let service = node(Arc::new(MemoryStore::default()));
    let watcher = sign_up(&service, "watcher", 900);
    let mut costs = Vec::new();
    for round in 0..2 {
        for n in 0..[1, 5][round] {
            let friend = sign_up(&service, &format!("friend-{round}-{n}"), 901 + 10 * round as u64 + n);
            befriend(&friend, &watcher);
            let at = path(&format!("/{}/note.txt", friend.username()));
            put(&friend, &at, b"small", IfExists::Fail).unwrap();
            run(friend.share(&at, &[name("watcher")])).unwrap();
        }
        let count = || {
            let session = resume_in_rounds(&service, watcher.state(), 950);
            let (shares, rounds) = session.transport().count(session.shared_with_me());
            assert_eq!(shares.unwrap().len(), [1, 6][round]);
            rounds
        };
        // What is new is kept at the first look, and opened again at the second.
        costs.push([count(), count()]);
    }
    println!("round trips for new and known shares of 1 and 6 friends: {costs:?}");
    assert!((0..2).all(|look| costs[1][look] <= costs[0][look] + 10), "{costs:?}");
}
