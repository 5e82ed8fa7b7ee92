//! The client against a whole node, over HTTP.

#[path = "../../protocol/tests/client_support/runtime.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod client_runtime;
mod support;

use bytes::Bytes;
use client_runtime::{Seeded, now, runtime};
use pyrgos_protocol::client::{
    ClientError, ContentSource, IfExists, InlineRuntime, Password, Session, Settings, SignUp, UploadOptions,
};
use pyrgos_protocol::encoding::{Cid, Codec, Multihash};
use pyrgos_protocol::names::Username;
use support::{Node, Wire, path, run};

type TestSession<'n> = Session<Wire<'n>, InlineRuntime<Seeded>>;

fn start() -> Node {
    let key = [&[8, 1, 18, 32][..], &[7; 32]].concat();
    let id = Cid::new(Codec::Libp2pKey, Multihash::new(Multihash::IDENTITY, &key).unwrap());
    let node = Node::start(vec![id], |_| {});
    node.clock.set(now().seconds() * 1000 + 500);
    node
}

const SECRET: &str = "a good long password";

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

fn sign_up<'n>(node: &'n Node, name: &str, seed: u64) -> TestSession<'n> {
    let account = SignUp { username: Username::new(name).unwrap(), password: password(SECRET), token: String::new() };
    run(Session::sign_up(Wire(node), runtime(seed), Settings::default(), account)).unwrap()
}

fn log_in<'n>(node: &'n Node, name: &str, secret: &str, seed: u64) -> Result<TestSession<'n>, ClientError> {
    let name = Username::new(name).unwrap();
    run(Session::log_in(Wire(node), runtime(seed), Settings::default(), &name, &password(secret), &()))
}

fn second<'n>(session: &TestSession<'n>, seed: u64) -> TestSession<'n> {
    run(Session::resume(*session.transport(), runtime(seed), Settings::default(), session.state())).unwrap()
}

fn put(session: &TestSession<'_>, at: &str, content: &[u8]) -> Result<bool, ClientError> {
    let mut source = Bytes::copy_from_slice(content);
    run(session.upload(&path(at), &mut source, &UploadOptions::default(), &()))
}

fn replace(session: &TestSession<'_>, at: &str, content: &[u8]) {
    let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
    run(session.upload(&path(at), &mut Bytes::copy_from_slice(content), &options, &())).unwrap();
}

fn read(session: &TestSession<'_>, at: &str) -> Vec<u8> {
    run(session.read(&path(at))).unwrap()
}

fn names(session: &TestSession<'_>, at: &str) -> Vec<String> {
    run(session.list(&path(at))).unwrap().iter().map(|entry| entry.name.as_str().to_owned()).collect()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn accounts() {
    let node = start();
    let session = sign_up(&node, "alice", 1);
    put(&session, "/alice/hello.txt", b"hello").unwrap();
    let again = log_in(&node, "alice", SECRET, 2).unwrap();
    assert_eq!(read(&again, "/alice/hello.txt"), b"hello");
    assert!(matches!(log_in(&node, "alice", "wrong password", 3), Err(ClientError::WrongPassword)));
    assert!(matches!(log_in(&node, "nobody", SECRET, 3), Err(ClientError::UnknownUser)));
    let taken =
        SignUp { username: Username::new("alice").unwrap(), password: password("another one"), token: String::new() };
    let taken = run(Session::sign_up(Wire(&node), runtime(4), Settings::default(), taken));
    assert!(matches!(taken, Err(ClientError::NameTaken)));

    let (old, new) = (password(SECRET), password("an even better one"));
    run(session.change_password(&old, &new, &())).unwrap();
    assert!(matches!(log_in(&node, "alice", SECRET, 5), Err(ClientError::WrongPassword)));
    assert_eq!(read(&log_in(&node, "alice", "an even better one", 6).unwrap(), "/alice/hello.txt"), b"hello");
    put(&session, "/alice/after.txt", b"after").unwrap();
    let space = run(session.space()).unwrap();
    assert!(space.used_bytes > 20_000 && space.used_bytes < space.quota_bytes, "{space:?}");
    assert_eq!(names(&sign_up(&node, "bob", 7), "/bob").len(), 4);
}

#[test]
fn files_of_all_sizes() {
    let node = start();
    let session = sign_up(&node, "alice", 1);
    let chunk = 5 << 20;
    let sizes = [0, 1, 4093, 4094, 4099, 4100, 4103, chunk - 1, chunk, chunk + 1, 12 << 20];
    for size in sizes {
        put(&session, &format!("/alice/{size}"), &pattern(size)).unwrap();
    }
    let other = second(&session, 2);
    for size in sizes {
        assert!(read(&other, &format!("/alice/{size}")) == pattern(size), "{size}");
    }
    let (large, whole) = (format!("/alice/{}", 12 << 20), pattern(12 << 20));
    for range in [0..1, chunk - 1..chunk + 1, (12 << 20) - 3..12 << 20] {
        let part = run(other.read_range(&path(&large), range.start as u64..range.end as u64)).unwrap();
        assert_eq!(part, whole[range]);
    }
    replace(&session, &large, &pattern(6 << 20));
    assert!(read(&other, &large) == pattern(6 << 20));
    run(other.write_at(&path(&large), chunk as u64 - 2, &mut Bytes::from_static(b"patch"), &())).unwrap();
    run(other.truncate(&path(&large), chunk as u64 + 10)).unwrap();
    let mut expected = pattern(chunk + 10);
    expected[chunk - 2..chunk + 3].copy_from_slice(b"patch");
    assert!(read(&session, &large) == expected);
}

#[test]
fn directories() {
    let node = start();
    let session = sign_up(&node, "alice", 1);
    let mut batch = session.batch();
    run(batch.make_directory(&path("/alice/a/many"))).unwrap();
    for n in 0..600 {
        let mut source = Bytes::from(format!("content {n}"));
        run(batch.put(&path(&format!("/alice/a/many/{n:04}")), &mut source, &UploadOptions::default(), &())).unwrap();
    }
    assert_eq!(run(batch.finish()).unwrap().files, 600);
    let other = second(&session, 2);
    assert_eq!(names(&other, "/alice/a/many").len(), 600);
    run(other.rename(&path("/alice/a/many/0577"), &path("/alice/a/renamed"), IfExists::Fail)).unwrap();
    run(other.copy(&path("/alice/a"), &path("/alice/copy"), IfExists::Fail, &())).unwrap();
    run(other.remove(&path("/alice/a"), true)).unwrap();
    assert_eq!(read(&session, "/alice/copy/renamed"), b"content 577");
    assert_eq!(names(&session, "/alice/copy/many").len(), 599);
    assert!(matches!(run(session.list(&path("/alice/a"))), Err(ClientError::NotFound { .. })));
}

#[test]
fn two_devices_at_once() {
    let node = start();
    let session = sign_up(&node, "alice", 1);
    run(session.make_directory(&path("/alice/d"))).unwrap();
    // Threads of their own, so that the node decides who is first.
    std::thread::scope(|scope| {
        for device in 0..4 {
            let session = second(&session, 10 + device);
            scope.spawn(move || {
                for n in 0..5 {
                    put(&session, &format!("/alice/d/{device}-{n}"), format!("{device} {n}").as_bytes()).unwrap();
                }
            });
        }
    });
    assert_eq!(names(&session, "/alice/d").len(), 20);
    for device in 0..4 {
        assert_eq!(read(&session, &format!("/alice/d/{device}-4")), format!("{device} 4").as_bytes());
    }
}

#[test]
fn an_interrupted_upload_goes_on() {
    struct Unplugged(Bytes, u64);
    impl ContentSource for Unplugged {
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
    let node = start();
    let session = sign_up(&node, "alice", 1);
    let whole = pattern(48 << 20);
    let options = UploadOptions { modified: Some(now()), resume: true, ..UploadOptions::default() };
    let mut source = Unplugged(Bytes::copy_from_slice(&whole[..45 << 20]), whole.len() as u64);
    let result = run(session.upload(&path("/alice/big"), &mut source, &options, &()));
    assert!(matches!(result, Err(ClientError::Local(_))), "{result:?}");
    assert_eq!(names(&session, "/alice/.transactions").len(), 1);
    let other = second(&session, 2);
    run(other.upload(&path("/alice/big"), &mut Bytes::from(whole.clone()), &options, &())).unwrap();
    assert!(read(&session, "/alice/big") == whole);
    assert_eq!(names(&session, "/alice/.transactions").len(), 0);
}
