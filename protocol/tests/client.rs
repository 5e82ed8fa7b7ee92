//! The client against an honest node in memory.

mod client_support;

use bytes::Bytes;
use client_support::*;
use pyrgos_protocol::api::{Request, Response, Transport, TransportError};
use pyrgos_protocol::client::{
    ClientError, ContentSource, IfExists, InlineRuntime, Session, Settings, SignUp, UploadOptions,
};

fn replace() -> UploadOptions {
    UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() }
}

#[test]
fn sign_up_put_get() {
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    assert!(put(&session, "/alice/hello.txt", b"hello", &UploadOptions::default()).unwrap());
    assert_eq!(run(session.read(&path("/alice/hello.txt"))).unwrap(), b"hello");
    assert_eq!(node.open_transactions(), 0);

    let entry = run(session.stat(&path("/alice/hello.txt"))).unwrap();
    assert_eq!((entry.size_bytes, entry.mime_type.as_str(), entry.is_writable), (5, "text/plain", true));
    assert_eq!(entry.modified, now());

    // A new session that knows nothing but the password.
    let name = username("alice");
    let login = |text: &str| run(Session::log_in(&node, runtime(2), Settings::default(), &name, &password(text), &()));
    let again = login("a good long password").unwrap();
    assert_eq!(run(again.read(&path("/alice/hello.txt"))).unwrap(), b"hello");
    assert!(matches!(login("another password"), Err(ClientError::WrongPassword)));
    let stranger = username("nobody");
    let result = run(Session::log_in(&node, runtime(3), Settings::default(), &stranger, &password("x"), &()));
    assert!(matches!(result, Err(ClientError::UnknownUser)));
}

#[test]
fn sizes_around_every_boundary() {
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    let chunk = 5 << 20;
    let sizes = [0, 1, 23, 24, 4093, 4094, 4099, 4100, 4103, 8190, 1 << 20, chunk - 1, chunk, chunk + 1, 12 << 20];
    for size in sizes {
        let content = content("size", size);
        let at = format!("/alice/{size}.bin");
        put(&session, &at, &content, &UploadOptions::default()).unwrap();
        assert!(run(session.read(&path(&at))).unwrap() == content, "{size}");
        assert_eq!(run(session.stat(&path(&at))).unwrap().size_bytes, size as u64);
    }
    let at = path(&format!("/alice/{}.bin", 12 << 20));
    let whole = content("size", 12 << 20);
    for range in
        [0..0, 0..10, chunk - 5..chunk + 5, 2 * chunk..12 << 20, (12 << 20) - 1..12 << 20, 100..(12 << 20) - 100]
    {
        let part = run(session.read_range(&at, range.start as u64..range.end as u64)).unwrap();
        assert!(part == whole[range.clone()], "{range:?}");
    }
    assert!(matches!(run(session.read_range(&at, 0..(12 << 20) + 1)), Err(ClientError::Range { .. })));
    // Another session sees the same.
    let other = clone_session(&session, &node, 9);
    for size in sizes {
        assert!(run(other.read(&path(&format!("/alice/{size}.bin")))).unwrap() == content("size", size), "{size}");
    }
}

#[test]
fn replacing_keeps_one_file() {
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    put(&session, "/alice/f", &content("a", 11 << 20), &UploadOptions::default()).unwrap();
    let refused = put(&session, "/alice/f", b"x", &UploadOptions::default());
    assert!(matches!(refused, Err(ClientError::Exists { .. })));
    let skip = UploadOptions { if_exists: IfExists::Skip, ..UploadOptions::default() };
    assert!(!put(&session, "/alice/f", b"x", &skip).unwrap());
    for size in [6 << 20, 0, 1, 11 << 20, 100] {
        put(&session, "/alice/f", &content("b", size), &replace()).unwrap();
        assert!(run(session.read(&path("/alice/f"))).unwrap() == content("b", size), "{size}");
        let names = run(session.names(&path("/alice"))).unwrap();
        assert_eq!(names.iter().filter(|name| name.name.as_str() == "f").count(), 1);
    }
}

/// A transport that can do something before a call is sent.
struct Interposed<'n> {
    node: &'n TestNode,
    path: &'static str,
    before: std::sync::Mutex<Option<Box<dyn FnOnce() + Send + 'n>>>,
}

impl<'n> Interposed<'n> {
    fn new(node: &'n TestNode, path: &'static str, before: impl FnOnce() + Send + 'n) -> Self {
        Interposed { node, path, before: std::sync::Mutex::new(Some(Box::new(before))) }
    }
}

impl Transport for Interposed<'_> {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        if request.path == self.path {
            let before = self.before.lock().unwrap().take();
            if let Some(before) = before {
                before();
            }
        }
        self.node.send(request).await
    }
}

const SET_POINTERS: &str = "peergos/v0/mutable/setPointers";

fn names<T: Transport>(session: &Session<T, InlineRuntime<Seeded>>, at: &str) -> Vec<String> {
    run(session.list(&path(at))).unwrap().iter().map(|entry| entry.name.as_str().to_owned()).collect()
}

#[test]
fn two_devices_in_one_directory_lose_nothing() {
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    run(session.make_directory(&path("/alice/d"))).unwrap();
    put(&session, "/alice/d/old", b"old", &UploadOptions::default()).unwrap();
    put(&session, "/alice/d/away", b"away", &UploadOptions::default()).unwrap();
    // Just before the slow device publishes its change, the quick one publishes another.
    type Change = Box<dyn Fn(&TestSession<'_>) + Send>;
    let quick: Vec<Change> = vec![
        Box::new(|s| assert!(put(s, "/alice/d/quick", b"quick", &UploadOptions::default()).unwrap())),
        Box::new(|s| run(s.make_directory(&path("/alice/d/dir"))).unwrap()),
        Box::new(|s| run(s.rename(&path("/alice/d/old"), &path("/alice/d/renamed"), IfExists::Fail)).unwrap()),
        Box::new(|s| run(s.remove(&path("/alice/d/away"), false)).unwrap()),
    ];
    for (at, change) in quick.into_iter().enumerate() {
        let other = clone_session(&session, &node, 10 + at as u64);
        let slow = Interposed::new(&node, SET_POINTERS, move || change(&other));
        let slow = clone_session(&session, slow, 20 + at as u64);
        put(&slow, &format!("/alice/d/slow-{at}"), b"slow", &UploadOptions::default()).unwrap();
    }
    let expected = ["dir", "quick", "renamed", "slow-0", "slow-1", "slow-2", "slow-3"];
    assert_eq!(names(&session, "/alice/d"), expected);
    assert_eq!(run(session.read(&path("/alice/d/renamed"))).unwrap(), b"old");
    assert_eq!(node.open_transactions(), 0);

    // The same name twice: one wins, the other is told.
    let other = clone_session(&session, &node, 30);
    let quick = move || assert!(put(&other, "/alice/d/same", b"quick", &UploadOptions::default()).unwrap());
    let slow = clone_session(&session, Interposed::new(&node, SET_POINTERS, quick), 31);
    let result = put(&slow, "/alice/d/same", b"slow", &UploadOptions::default());
    assert!(matches!(result, Err(ClientError::Exists { .. })), "{result:?}");
    assert_eq!(run(session.read(&path("/alice/d/same"))).unwrap(), b"quick");

    // Both change the content of one file: the one that comes too late is told, and nothing is mixed.
    let other = clone_session(&session, &node, 40);
    let quick = move || run(other.append(&path("/alice/d/same"), &mut Bytes::from_static(b"+1"), &())).unwrap();
    let slow = clone_session(&session, Interposed::new(&node, SET_POINTERS, quick), 41);
    let result = run(slow.append(&path("/alice/d/same"), &mut Bytes::from_static(b"+2"), &()));
    assert!(matches!(result, Err(ClientError::Changed { .. })), "{result:?}");
    assert_eq!(run(session.read(&path("/alice/d/same"))).unwrap(), b"quick+1");

    // Both store one file: the one that comes second lies beside it. What was there before is nobody's loss.
    for (at, with_batch) in [(0, false), (1, true), (2, false)] {
        if at == 2 {
            run(session.remove(&path("/alice/d/same"), false)).unwrap();
        }
        let other = clone_session(&session, &node, 50 + at);
        let quick = move || assert!(put(&other, "/alice/d/same", b"quick", &replace()).unwrap());
        let slow = clone_session(&session, Interposed::new(&node, SET_POINTERS, quick), 60 + at);
        if with_batch {
            let mut batch = slow.batch();
            run(batch.put(&path("/alice/d/same"), &mut Bytes::from_static(b"slow"), &replace(), &())).unwrap();
            assert_eq!(run(batch.finish()).unwrap().files, 1);
        } else {
            assert!(put(&slow, "/alice/d/same", b"slow", &replace()).unwrap());
        }
        let number = if at > 0 { format!(", {}", at + 1) } else { String::new() };
        let beside = path(&format!("/alice/d/same (conflict of alice 2026-02-03 09.33{number})"));
        assert_eq!(slow.take_conflicts(), std::slice::from_ref(&beside));
        assert!(slow.take_conflicts().is_empty());
        assert_eq!(run(session.read(&beside)).unwrap(), b"slow");
        assert_eq!(run(session.read(&path("/alice/d/same"))).unwrap(), b"quick");
    }
    // A new name is no other content.
    let other = clone_session(&session, &node, 70);
    let quick = move || {
        run(other.rename(&path("/alice/d/same"), &path("/alice/d/away"), IfExists::Fail)).unwrap();
        run(other.rename(&path("/alice/d/away"), &path("/alice/d/same"), IfExists::Fail)).unwrap();
    };
    let slow = clone_session(&session, Interposed::new(&node, SET_POINTERS, quick), 71);
    assert!(put(&slow, "/alice/d/same", b"last", &replace()).unwrap());
    assert!(slow.take_conflicts().is_empty());
    assert_eq!(run(session.read(&path("/alice/d/same"))).unwrap(), b"last");
}

#[test]
fn a_lost_answer_is_no_failure() {
    /// Delivers the first pointer update but not its answer.
    struct Deaf<'n>(&'n TestNode, std::sync::atomic::AtomicBool);
    impl Transport for Deaf<'_> {
        async fn send(&self, request: Request) -> Result<Response, TransportError> {
            let set = request.path == SET_POINTERS;
            let answer = self.0.send(request).await;
            match set && !self.1.swap(true, std::sync::atomic::Ordering::Relaxed) {
                true => Err(TransportError::Timeout),
                false => answer,
            }
        }
    }
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    let deaf = clone_session(&session, Deaf(&node, false.into()), 2);
    put(&deaf, "/alice/f", b"once", &UploadOptions::default()).unwrap();
    assert_eq!(run(session.read(&path("/alice/f"))).unwrap(), b"once");
}

#[test]
fn six_hundred_entries() {
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    let mut batch = session.batch();
    run(batch.make_directory(&path("/alice/a/many"))).unwrap();
    node.take_calls();
    for n in 0..600 {
        let mut source = Bytes::from(format!("content {n}"));
        run(batch.put(&path(&format!("/alice/a/many/{n:04}")), &mut source, &UploadOptions::default(), &())).unwrap();
    }
    let count = run(batch.finish()).unwrap();
    assert_eq!((count.files, count.skipped), (600, 0));
    let calls = node.take_calls().len();
    assert!(calls < 60, "{calls} calls for 600 files");

    let other = clone_session(&session, &node, 2);
    let expected: Vec<String> = (0..600).map(|n| format!("{n:04}")).collect();
    assert_eq!(names(&other, "/alice/a/many"), expected);
    assert_eq!(run(other.read(&path("/alice/a/many/0599"))).unwrap(), b"content 599");
    run(other.rename(&path("/alice/a/many/0550"), &path("/alice/a/many/x"), IfExists::Fail)).unwrap();
    run(other.remove(&path("/alice/a/many/0003"), false)).unwrap();
    put(&other, "/alice/a/many/y", b"y", &UploadOptions::default()).unwrap();
    assert_eq!(names(&session, "/alice/a/many").len(), 600);
    assert_eq!(run(session.read(&path("/alice/a/many/x"))).unwrap(), b"content 550");
    run(session.rename(&path("/alice/a/many"), &path("/alice/few"), IfExists::Fail)).unwrap();
    assert_eq!(names(&other, "/alice/few").len(), 600);
    run(session.remove(&path("/alice/few"), true)).unwrap();
    assert!(matches!(run(other.list(&path("/alice/few"))), Err(ClientError::NotFound { .. })));
}

#[test]
fn directories_are_arranged() {
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    let s = &session;
    run(s.make_directories(&path("/alice/a/b/c"))).unwrap();
    run(s.make_directories(&path("/alice/a/b/c"))).unwrap();
    assert!(matches!(run(s.make_directory(&path("/alice/a/b"))), Err(ClientError::Exists { .. })));
    assert!(matches!(run(s.make_directory(&path("/alice/x/y"))), Err(ClientError::NotFound { .. })));
    put(s, "/alice/a/b/f", b"f", &UploadOptions::default()).unwrap();
    assert!(matches!(run(s.make_directories(&path("/alice/a/b/f/g"))), Err(ClientError::NotADirectory { .. })));
    assert!(matches!(run(s.read(&path("/alice/a"))), Err(ClientError::IsADirectory { .. })));
    assert!(matches!(run(s.remove(&path("/alice/a"), false)), Err(ClientError::NotEmpty { .. })));
    assert!(matches!(run(s.remove(&path("/alice"), true)), Err(ClientError::Home)));
    let into = run(s.rename(&path("/alice/a"), &path("/alice/a/b/a"), IfExists::Fail));
    assert!(matches!(into, Err(ClientError::IntoItself { .. })));

    run(s.rename(&path("/alice/a/b"), &path("/alice/moved"), IfExists::Fail)).unwrap();
    assert_eq!(names(s, "/alice/moved"), ["c", "f"]);
    assert_eq!(names(s, "/alice/a"), [""; 0]);
    run(s.copy(&path("/alice/moved"), &path("/alice/a/copy"), IfExists::Fail, &())).unwrap();
    put(s, "/alice/moved/f", b"changed", &replace()).unwrap();
    assert_eq!(run(s.read(&path("/alice/a/copy/f"))).unwrap(), b"f");
    assert_eq!(run(s.read(&path("/alice/moved/f"))).unwrap(), b"changed");
    put(s, "/alice/g", b"g", &UploadOptions::default()).unwrap();
    let taken = run(s.rename(&path("/alice/g"), &path("/alice/moved/f"), IfExists::Fail));
    assert!(matches!(taken, Err(ClientError::Exists { .. })));
    run(s.rename(&path("/alice/g"), &path("/alice/moved/f"), IfExists::Replace)).unwrap();
    assert_eq!(run(s.read(&path("/alice/moved/f"))).unwrap(), b"g");
    run(s.remove(&path("/alice/a"), true)).unwrap();
    // Hidden things are of the account itself.
    let all = names(s, "/alice");
    assert_eq!(all, [".capabilitycache", ".keystore", ".transactions", "moved", "shared"]);
}

#[test]
fn parts_of_files_are_changed() {
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    let s = &session;
    let chunk = 5usize << 20;
    let mut model = content("m", 2 * chunk + 100);
    put(s, "/alice/f", &model, &UploadOptions::default()).unwrap();
    let at = path("/alice/f");
    let check = |model: &[u8], what: &str| {
        assert_eq!(run(s.stat(&at)).unwrap().size_bytes, model.len() as u64, "{what}");
        assert!(run(clone_session(s, &node, 77).read(&at)).unwrap() == model, "{what}");
    };
    for (offset, len) in
        [(0, 10), (chunk - 5, 10), (2 * chunk + 90, 50), (2 * chunk + 140, chunk), (0, chunk + 1), (7, 0)]
    {
        let patch = content("p", len);
        run(s.write_at(&at, offset as u64, &mut Bytes::from(patch.clone()), &())).unwrap();
        model.resize(model.len().max(offset + len), 0);
        model[offset..offset + len].copy_from_slice(&patch);
        check(&model, &format!("write {len} at {offset}"));
    }
    run(s.append(&at, &mut Bytes::from_static(b"end"), &())).unwrap();
    model.extend_from_slice(b"end");
    check(&model, "append");
    let beyond = run(s.write_at(&at, model.len() as u64 + 1, &mut Bytes::from_static(b"x"), &()));
    assert!(matches!(beyond, Err(ClientError::Range { .. })));
    for size in [model.len() + 5, 2 * chunk + 1, 2 * chunk, chunk + 7, chunk, 3, 0] {
        run(s.truncate(&at, size as u64)).unwrap();
        model.truncate(size);
        check(&model, &format!("truncate to {size}"));
    }
    run(s.append(&at, &mut Bytes::from(content("again", chunk + 2)), &())).unwrap();
    check(&content("again", chunk + 2), "append to nothing");
}

#[test]
fn an_interrupted_upload_goes_on() {
    /// Ends in the middle.
    struct Broken(Bytes, u64);
    impl ContentSource for Broken {
        fn size(&self) -> Option<u64> {
            Some(self.1)
        }
        async fn next(&mut self, max: usize) -> std::io::Result<Bytes> {
            match self.0.is_empty() {
                true => Err(std::io::Error::other("unplugged")),
                false => Ok(self.0.split_to(max.min(self.0.len()))),
            }
        }
    }
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    let size = 53 << 20;
    let whole = content("big", size);
    let at = path("/alice/big");
    let options = UploadOptions { modified: Some(now()), resume: true, ..UploadOptions::default() };
    let mut broken = Broken(Bytes::copy_from_slice(&whole[..47 << 20]), size as u64);
    let result = run(session.upload(&at, &mut broken, &options, &()));
    assert!(matches!(result, Err(ClientError::Local(_))), "{result:?}");
    assert!(matches!(run(session.stat(&at)), Err(ClientError::NotFound { .. })));
    assert_eq!(names(&session, "/alice/.transactions").len(), 1);

    let other = clone_session(&session, &node, 5);
    node.take_calls();
    put(&other, "/alice/big", &whole, &options).unwrap();
    let puts = node.take_calls().iter().filter(|call| call.ends_with("put/bulk")).count();
    // At least 20 MiB were published before.
    assert!(puts < 40, "{puts} block calls for the last 33 MiB");
    assert!(run(session.read(&at)).unwrap() == whole);
    assert_eq!(names(&session, "/alice/.transactions").len(), 0);
    assert_eq!(node.open_transactions(), 0);

    // Another interrupted upload that is not resumed is cleared.
    let mut broken = Broken(Bytes::copy_from_slice(&whole[..47 << 20]), size as u64);
    let second = path("/alice/second");
    run(session.upload(&second, &mut broken, &options, &())).unwrap_err();
    let anew = UploadOptions { modified: Some(now()), ..UploadOptions::default() };
    put(&session, "/alice/second", &whole, &anew).unwrap();
    assert!(run(session.read(&second)).unwrap() == whole);
    assert_eq!(names(&session, "/alice/.transactions").len(), 0);
}

#[test]
fn the_password_is_changed() {
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    put(&session, "/alice/f", b"f", &UploadOptions::default()).unwrap();
    let (old, new) = (password("a good long password"), password("an even better one"));
    let wrong = run(session.change_password(&new, &old, &()));
    assert!(matches!(wrong, Err(ClientError::WrongPassword)));
    assert!(matches!(run(session.change_password(&old, &old, &())), Err(ClientError::UnfitPassword(_))));
    run(session.change_password(&old, &new, &())).unwrap();
    let name = username("alice");
    let login = |password| run(Session::log_in(&node, runtime(2), Settings::default(), &name, password, &()));
    assert!(matches!(login(&old), Err(ClientError::WrongPassword)));
    assert_eq!(run(login(&new).unwrap().read(&path("/alice/f"))).unwrap(), b"f");
    // The session that changed it goes on.
    put(&session, "/alice/g", b"g", &UploadOptions::default()).unwrap();
    let space = run(session.space()).unwrap();
    assert!(space.used_bytes > 1000 && space.quota_bytes == 1 << 30);
}

#[test]
fn names_are_taken_once_and_may_cost_work() {
    let node = TestNode::demanding(9);
    sign_up(&node, "alice", 1);
    let account = |name: &str, secret: &str| SignUp {
        username: username(name),
        password: password(secret),
        token: String::new(),
    };
    let again = run(Session::sign_up(&node, runtime(2), Settings::default(), account("alice", "another password")));
    assert!(matches!(again, Err(ClientError::NameTaken)));
    let short = run(Session::sign_up(&node, runtime(2), Settings::default(), account("bob", "short")));
    assert!(matches!(short, Err(ClientError::UnfitPassword(_))));
    let same = run(Session::sign_up(&node, runtime(2), Settings::default(), account("bob-the-third", "bob-the-third")));
    assert!(matches!(same, Err(ClientError::UnfitPassword(_))));
}

#[test]
fn a_claim_is_renewed_when_it_ends_soon() {
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    let name = username("alice");
    // Forty days later less than a month is left.
    fn later() -> pyrgos_protocol::cryptree::properties::Timestamp {
        pyrgos_protocol::cryptree::properties::Timestamp::from_seconds(now().seconds() + 40 * 86_400)
    }
    let before = node.chain(&name);
    let soon = InlineRuntime { clock: later, ..runtime(3) };
    let secret = password("a good long password");
    run(Session::log_in(&node, soon, Settings::default(), &name, &secret, &())).unwrap();
    let after = node.chain(&name);
    assert!(after.last().unwrap().claim.expiry > before.last().unwrap().claim.expiry);
    assert_eq!(after.home(), before.home());
    drop(session);
}

#[test]
fn round_trips_of_common_calls() {
    let node = TestNode::default();
    let session = sign_up(&node, "alice", 1);
    put(&session, "/alice/f", b"f", &UploadOptions::default()).unwrap();
    let session = clone_session(&session, &node, 2);
    node.take_calls();
    let calls = |limit: usize, what: &str| {
        let calls = node.take_calls();
        assert!(calls.len() <= limit, "{what}: {calls:#?}");
    };
    run(session.list(&path("/alice"))).unwrap();
    calls(4, "a first listing");
    run(session.list(&path("/alice"))).unwrap();
    calls(1, "a listing of what has not changed");
    put(&session, "/alice/g", b"g", &UploadOptions::default()).unwrap();
    calls(7, "a small file");
    run(session.read(&path("/alice/g"))).unwrap();
    calls(1, "reading what was just written");

    let other = clone_session(&session, &node, 3);
    node.take_calls();
    let children = run(other.children(&path("/alice"))).unwrap();
    let mut contents = Vec::new();
    for file in &children.files {
        run(file.download(None, &mut contents, &())).unwrap();
    }
    // `.keystore`, an empty map, then the two files.
    assert_eq!(contents, b"\xa0fg");
    calls(4, "opening a directory and reading all of its files");
}

/// A program may run every operation on any thread.
#[test]
fn futures_move_between_threads() {
    fn moves<F: Future + Send>(_: F) {}
    let node = std::sync::Arc::new(TestNode::default());
    let session = {
        let account =
            SignUp { username: username("alice"), password: password("a good long password"), token: String::new() };
        let future = Session::sign_up(node.clone(), runtime(1), Settings::default(), account);
        fn moves_on<F: Future + Send>(future: F) -> F {
            future
        }
        run(moves_on(future)).unwrap()
    };
    let at = path("/alice/f");
    let mut sink = Vec::new();
    moves(session.stat(&at));
    moves(session.list(&at));
    moves(session.upload(&at, &mut Bytes::new(), &UploadOptions::default(), &()));
    moves(session.download(&at, None, &mut sink, &()));
    moves(session.append(&at, &mut Bytes::new(), &()));
    moves(session.truncate(&at, 1));
    moves(session.rename(&at, &at, IfExists::Fail));
    moves(session.copy(&at, &at, IfExists::Fail, &()));
    moves(session.remove(&at, true));
    moves(session.make_directories(&at));
    moves(session.change_password(&password("a"), &password("b"), &()));
    moves(session.space());
    let mut batch = session.batch();
    moves(batch.put(&at, &mut Bytes::new(), &UploadOptions::default(), &()));
    moves(batch.finish());
}
