//! Programs that are killed while they share, take back, move, make links or withdraw them: at each request, before it arrives or after. What is
//! left can be read, nobody has more access than before or after the step, and the same command completes it. And what
//! these steps cost.

mod people;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use people::{Friends, TestSession, Way, name, path, run, runtime};
use pyrgos::service::Service;
use pyrgos_protocol::client::{ClientError, IfExists, LinkOptions, OpenLink, Settings, Taken};
use pyrgos_protocol::links::address::LinkAddress;
use pyrgos_protocol::social::group::GroupKind;

/// More requests than any of the steps makes.
const MAX_REQUESTS: usize = 200;

/// What bob, carol and whoever has links can read and write of alice's, by path.
type Access = BTreeSet<(usize, String, bool)>;

/// Somebody without an account.
const ANYBODY: usize = 3;

struct Scene {
    service: Arc<Service>,
    sessions: Vec<TestSession>,
}

impl Scene {
    /// Alice has two folders with files; `shared` says what happened before.
    fn new(seed: u64, before: impl Fn(&TestSession)) -> Self {
        let (service, sessions) = Friends::prepared().start(seed);
        let alice = &sessions[0];
        let mut batch = alice.batch();
        for file in ["docs/one", "docs/deep/two", "other/three"] {
            let at = path(&format!("/alice/{file}"));
            run(batch.make_directory(&at.parent().unwrap())).unwrap();
            run(batch.put(&at, &mut Bytes::copy_from_slice(file.as_bytes()), &Default::default(), &())).unwrap();
        }
        run(batch.finish()).unwrap();
        before(alice);
        Scene { service, sessions }
    }

    fn access(&self, seed: u64) -> Access {
        let mut access = Access::new();
        for user in [1, 2] {
            // Somebody who has kept nothing and has only what is there now.
            let session = Friends::prepared().session(&self.service, user, seed + user as u64);
            run(session.shared_with_me()).unwrap();
            for file in ["docs/one", "docs/deep/two", "other/three", "other/docs/one", "other/docs/deep/two"] {
                let at = path(&format!("/alice/{file}"));
                match run(session.stat(&at)) {
                    Ok(entry) => {
                        run(session.read(&at)).unwrap();
                        access.insert((user, file.to_owned(), entry.is_writable));
                    }
                    Err(ClientError::NotFound { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
        // What is listed as a link opens, and to what it is listed for.
        let alice = Friends::prepared().session(&self.service, 0, seed);
        for own in run(alice.links(&path("/alice"))).unwrap() {
            let address = LinkAddress::parse(&own.link.to_url("localhost:8000")).unwrap();
            let way = Way::new(&self.service);
            let opened = run(OpenLink::open(way, runtime(seed + 7), Settings::default(), &address, &())).unwrap();
            assert_eq!(opened.root(), &own.path);
            let entry = run(opened.stat(opened.root())).unwrap();
            assert_eq!(entry.is_writable, own.is_writable);
            access.insert((ANYBODY, own.path.to_string(), own.is_writable));
        }
        access
    }

    /// All of alice's files with what is in them, wherever they are.
    fn tree(&self, seed: u64) -> BTreeSet<String> {
        let session = Friends::prepared().session(&self.service, 0, seed);
        let mut contents = BTreeSet::new();
        let mut pending = vec![path("/alice")];
        while let Some(directory) = pending.pop() {
            for entry in run(session.list(&directory)).unwrap().into_iter().filter(|entry| !entry.is_hidden) {
                let at = directory.join(entry.name);
                match entry.is_directory {
                    true => pending.push(at),
                    false => drop(contents.insert(String::from_utf8(run(session.read(&at)).unwrap()).unwrap())),
                }
            }
        }
        contents
    }
}

/// Kills the step at every request. `is_done` knows the failure of a step that was done already.
fn kill_everywhere(
    before: impl Fn(&TestSession),
    step: impl Fn(&TestSession) -> Result<(), ClientError>,
    is_done: impl Fn(&ClientError) -> bool,
) {
    let untouched = Scene::new(1, &before);
    let (access_before, tree) = (untouched.access(1 << 30), untouched.tree(1 << 31));
    step(&untouched.sessions[0]).unwrap();
    let access_after = untouched.access((1 << 30) + 8);
    assert_ne!(access_before, access_after, "a step that changes nothing");
    for n in 0..MAX_REQUESTS {
        let mut has_failed = false;
        for arrives in [false, true] {
            let scene = Scene::new(2 + (n * 2 + usize::from(arrives)) as u64, &before);
            let alice = &scene.sessions[0];
            alice.transport().kill_at(n, arrives);
            let outcome = step(alice);
            alice.transport().free();
            has_failed |= outcome.is_err();
            let access = scene.access(1 << 30);
            assert!(access == access_before || access == access_after, "at request {n}: {access:?}");
            assert!(outcome.is_err() || access == access_after, "at request {n}: done and lost");
            assert_eq!(scene.tree(1 << 31), tree, "at request {n}");
            // The command again, in a program that knows nothing of the first try.
            let again = Friends::prepared().session(&scene.service, 0, (1 << 32) + n as u64);
            if let Err(error) = step(&again) {
                assert!(is_done(&error), "at request {n}: {error:?}");
            }
            assert_eq!(scene.access((1 << 30) + 8), access_after, "after the repetition of what ended at request {n}");
            assert_eq!(scene.tree((1 << 31) + 8), tree);
        }
        if !has_failed {
            println!("killed at {n} requests");
            assert!(n > 3);
            return;
        }
    }
    panic!("the step makes more than {MAX_REQUESTS} requests");
}

fn share_docs(alice: &TestSession) {
    run(alice.share(&path("/alice/docs"), &[name("bob"), name("carol")])).unwrap();
}

fn share_docs_to_write(alice: &TestSession) {
    run(alice.share_to_write(&path("/alice/docs"), &[name("bob")])).unwrap();
    run(alice.share(&path("/alice/docs/deep"), &[name("carol")])).unwrap();
}

#[test]
fn a_share_is_there_or_not() {
    let step = |alice: &TestSession| run(alice.share(&path("/alice/docs"), &[name("bob")])).map(drop);
    kill_everywhere(|_| {}, step, |_| false);
}

#[test]
fn a_share_to_write_is_there_or_not() {
    let step = |alice: &TestSession| run(alice.share_to_write(&path("/alice/docs"), &[name("bob")])).map(drop);
    // Who reads goes on reading with the new keys.
    kill_everywhere(|alice| drop(run(alice.share(&path("/alice/docs"), &[name("carol")])).unwrap()), step, |_| false);
}

#[test]
fn taking_back_is_done_or_not() {
    let step = |alice: &TestSession| run(alice.unshare(&path("/alice/docs"), &[name("bob")], Taken::All)).map(drop);
    kill_everywhere(share_docs, step, |_| false);
}

#[test]
fn taking_back_writing_is_done_or_not() {
    let step = |alice: &TestSession| run(alice.unshare(&path("/alice/docs"), &[name("bob")], Taken::All)).map(drop);
    kill_everywhere(share_docs_to_write, step, |_| false);
}

#[test]
fn a_move_is_done_or_not() {
    let step =
        |alice: &TestSession| run(alice.rename(&path("/alice/docs"), &path("/alice/other/docs"), IfExists::Fail));
    kill_everywhere(share_docs, step, |error| matches!(error, ClientError::NotFound { .. }));
}

#[test]
fn a_share_with_all_friends_is_there_or_not() {
    let step = |alice: &TestSession| run(alice.share(&path("/alice/docs"), &[GroupKind::Friends])).map(drop);
    kill_everywhere(|_| {}, step, |_| false);
}

fn link_docs(alice: &TestSession, is_writable: bool) -> Result<(), ClientError> {
    let options = LinkOptions { is_writable, ..LinkOptions::default() };
    run(alice.create_link(&path("/alice/docs"), &options)).map(drop)
}

#[test]
fn a_link_is_there_or_not() {
    kill_everywhere(|_| {}, |alice| link_docs(alice, false), |_| false);
}

#[test]
fn a_link_to_write_is_there_or_not() {
    // Who reads goes on reading with the new keys.
    kill_everywhere(share_docs, |alice| link_docs(alice, true), |_| false);
}

#[test]
fn a_link_is_withdrawn_or_not() {
    let step = |alice: &TestSession| {
        for own in run(alice.links(&path("/alice/docs")))? {
            run(alice.withdraw_link(own.link.label))?;
        }
        Ok(())
    };
    kill_everywhere(|alice| link_docs(alice, false).unwrap(), step, |_| false);
}

#[test]
fn links_survive_what_is_taken_back_from_others() {
    let before = |alice: &TestSession| {
        share_docs_to_write(alice);
        link_docs(alice, true).unwrap();
    };
    let step = |alice: &TestSession| run(alice.unshare(&path("/alice/docs"), &[name("bob")], Taken::All)).map(drop);
    kill_everywhere(before, step, |_| false);
}

/// A folder of many files, in an account of its own.
fn folder_of(files: usize, seed: u64) -> Vec<TestSession> {
    let (_, sessions) = Friends::prepared().start(seed);
    let mut batch = sessions[0].batch();
    run(batch.make_directory(&path("/alice/folder"))).unwrap();
    for n in 0..files {
        let at = path(&format!("/alice/folder/{n}"));
        run(batch.put(&at, &mut Bytes::from_static(b"small"), &Default::default(), &())).unwrap();
    }
    run(batch.finish()).unwrap();
    sessions
}

#[test]
fn what_is_shared_is_looked_up_together_and_what_is_closed_hides_nothing() {
    let cost = |files: usize, seed| {
        let sessions = folder_of(files, seed);
        let service = sessions[0].transport().service().clone();
        for file in 0..files {
            run(sessions[0].share(&path(&format!("/alice/folder/{file}")), &[name("bob")])).unwrap();
        }
        sessions[1].transport().take_count();
        assert_eq!(run(sessions[1].shared_with_me()).unwrap().len(), files);
        let new = sessions[1].transport().take_count();
        // A program that has nothing in memory.
        let again = Friends::prepared().session(&service, 1, seed + 1);
        assert_eq!(run(again.shared_with_me()).unwrap().len(), files);
        let fresh = Friends::prepared().session(&service, 1, seed + 2);
        fresh.transport().take_count();
        assert_eq!(run(fresh.shared_with_me()).unwrap().len(), files);
        let requests = fresh.transport().take_count();
        // A file by a name that it does not have any more or never had.
        assert!(matches!(run(fresh.stat(&path("/alice/folder/none"))), Err(ClientError::NotFound { .. })));
        // One that is closed by now, and the others.
        run(sessions[0].unshare(&path("/alice/folder/0"), &[name("bob")], Taken::All)).unwrap();
        assert_eq!(run(fresh.shared_with_me()).unwrap().len(), files - 1);
        [new, requests]
    };
    let costs = [2, 60].map(|files| cost(files, 150 + files as u64));
    println!("requests to see 2 and 60 files that a friend shared, new and known: {costs:?}");
    assert!((0..2).all(|look| costs[1][look] < costs[0][look] + 20), "{costs:?}");
}

#[test]
fn sharing_costs_the_same_however_many_files_there_are() {
    let cost = |files, seed| {
        let sessions = folder_of(files, seed);
        let alice = &sessions[0];
        // A program that has nothing in memory.
        alice.transport().take_count();
        run(alice.share(&path("/alice/folder"), &[name("bob")])).unwrap();
        let requests = alice.transport().take_count();
        assert_eq!(run(sessions[1].read(&path("/alice/folder/0"))).unwrap(), b"small");
        requests
    };
    let costs = [1, 30, 300].map(|files| cost(files, 50 + files as u64));
    println!("requests to share a folder of 1, 30 and 300 files: {costs:?}");
    // Whether a directory of the account lies one level deeper in the tree of its space is all that may differ.
    let (least, most) = (costs.iter().min().unwrap(), costs.iter().max().unwrap());
    assert!(most - least <= 2, "{costs:?}");
    assert!(*most <= 20, "{costs:?}");
}
