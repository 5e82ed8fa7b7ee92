//! What two who share cost: time, requests, and the time of the work that cannot be left out, measured in the same run.
//!
//! `cargo bench -p pyrgos --bench sharing` (or `make bench`). The node is in this process, over memory and without a
//! socket, so that the figures are those of the client and of the node's checks. On a network each request adds a round
//! trip where it waits for the one before.

#[path = "../tests/people/mod.rs"]
mod people;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use people::{TestSession, befriend, name, path, run, runtime, sign_up};
use pyrgos_crypto::secretbox::{self, Key, Nonce};
use pyrgos_protocol::client::{LinkOptions, OpenLink, Runtime, Settings, Taken};
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::{SecretBoxingKey, SigningKeyPair, SymmetricKey};
use pyrgos_protocol::links::address::LinkAddress;
use pyrgos_protocol::links::sealed::derive_key;
use pyrgos_protocol::links::{LinkLabel, LinkPassword};
use pyrgos_protocol::social::{Answer, BlindFollowRequest, FollowRequest, ReceivedFollowRequest};
use pyrgos_store::MemoryStore;

const FILES: usize = 1000;

const FRIENDS: usize = 20;

const SHARES_OF_EACH: usize = 10;

/// Bytes of a small node as it is stored, rounded up.
const NODE_BYTES: usize = 1024;

fn main() {
    let service = people::node(Arc::new(MemoryStore::default()));
    let (alice, bob) = (sign_up(&service, "alice", 1), sign_up(&service, "bob", 2));
    println!("{:<46} {:>12} {:>9} {:>12} {:>8}", "what", "measured", "requests", "bound", "ratio");

    let messages = time(|| (0..2).for_each(|_| message()));
    measure("follow + accept (bound: two messages)", &[&alice, &bob], messages, || {
        run(bob.follow(&name("alice"))).unwrap();
        run(alice.answer(&name("bob"), Answer::AcceptAndReciprocate)).unwrap();
        assert!(run(bob.contacts()).unwrap()[0].is_friend());
    });

    let mut batch = alice.batch();
    run(batch.make_directory(&path("/alice/folder"))).unwrap();
    for n in 0..FILES {
        let at = path(&format!("/alice/folder/{n}"));
        run(batch.put(&at, &mut Bytes::from(vec![n as u8; 100]), &Default::default(), &())).unwrap();
    }
    run(batch.finish()).unwrap();
    let commit = time(|| run(alice.make_directory(&path("/alice/another"))).unwrap());
    measure(&format!("share a folder of {FILES} files (bound: a mkdir)"), &[&alice], commit, || {
        assert_eq!(run(alice.share(&path("/alice/folder"), &[name("bob")])).unwrap().len(), 1);
    });
    assert_eq!(run(bob.read(&path("/alice/folder/7"))).unwrap(), [7; 100]);
    let nodes = nodes(FILES + 1);
    measure(&format!("revoke reading of {FILES} files (bound: new nodes)"), &[&alice], nodes, || {
        assert_eq!(run(alice.unshare(&path("/alice/folder"), &[name("bob")], Taken::All)).unwrap().from.len(), 1);
    });
    assert!(run(bob.read(&path("/alice/folder/7"))).is_err());
    measure(&format!("share {FILES} files to write (bound: new nodes)"), &[&alice], nodes, || {
        assert_eq!(run(alice.share_to_write(&path("/alice/folder"), &[name("bob")])).unwrap().len(), 1);
    });
    measure(&format!("revoke writing of {FILES} files (bound: new nodes)"), &[&alice], nodes, || {
        assert_eq!(run(alice.unshare(&path("/alice/folder"), &[name("bob")], Taken::All)).unwrap().from.len(), 1);
    });

    links(&alice, commit);

    let carol = sign_up(&service, "carol", 3);
    for friend in 0..FRIENDS {
        let friend = sign_up(&service, &format!("friend-{friend}"), 100 + friend as u64);
        befriend(&friend, &carol);
        for n in 0..SHARES_OF_EACH {
            let at = path(&format!("/{}/file-{n}", friend.username()));
            people::put(&friend, &at, b"small", pyrgos_protocol::client::IfExists::Fail).unwrap();
            run(friend.share(&at, &[name("carol")])).unwrap();
        }
    }
    let shares = FRIENDS * SHARES_OF_EACH;
    // Each friend's pointer is verified, and each thing opened.
    let opened = pointers(FRIENDS) + opened(shares);
    for what in ["new", "known"] {
        measure(&format!("shared-with-me, {shares} {what}, {FRIENDS} friends"), &[&carol], opened, || {
            assert_eq!(run(carol.shared_with_me()).unwrap().len(), shares);
        });
    }
    let again = people::resume(&service, carol.state(), 4);
    measure(&format!("shared-with-me, {shares} known, after a login"), &[&again], opened, || {
        assert_eq!(run(again.shared_with_me()).unwrap().len(), shares);
    });
    let again = people::resume_in_rounds(&service, carol.state(), 5);
    let (seen, rounds) = again.transport().count(again.shared_with_me());
    assert_eq!(seen.unwrap().len(), shares);
    println!("{:<46} {rounds:>12}", "round trips of that, one after the other");
}

/// Secret links: slow on purpose, since their passwords are short.
fn links(alice: &TestSession, commit: Duration) {
    let mut link = None;
    let derivation = time(|| drop(derive_key(LinkLabel::generate(&mut runtime(6).rng()), &password(), &password())));
    let options = LinkOptions::default();
    measure("create a link (bound: one scrypt + a mkdir)", &[alice], derivation + commit, || {
        link = Some(run(alice.create_link(&path("/alice/folder"), &options)).unwrap());
    });
    let link = link.expect("just made");
    let address = LinkAddress::parse(&link.to_url("localhost:8000")).unwrap();
    measure("open a link and stat it (bound: one scrypt)", &[alice], derivation, || {
        let way = alice.transport().clone();
        let opened = run(OpenLink::open(way, runtime(5), Settings::default(), &address, &())).unwrap();
        run(opened.stat(opened.root())).unwrap();
    });
    measure("withdraw a link (bound: a mkdir)", &[alice], commit, || {
        run(alice.withdraw_link(link.label)).unwrap();
    });
}

fn password() -> LinkPassword {
    LinkPassword::new("twelve chars")
}

fn measure(what: &str, sessions: &[&TestSession], bound: Duration, work: impl FnOnce()) {
    for session in sessions {
        session.transport().take_count();
    }
    let measured = time(work);
    let requests: usize = sessions.iter().map(|session| session.transport().take_count()).sum();
    let millis = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1000.0);
    let ratio = measured.as_secs_f64() / bound.as_secs_f64();
    println!("{what:<46} {:>12} {requests:>9} {:>12} {ratio:>7.1}×", millis(measured), millis(bound));
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// One follow message: sealed by one side, opened by the other.
fn message() {
    let mut rng = runtime(7).rng();
    let receiver = SecretBoxingKey::generate_hybrid(&mut rng);
    let request = FollowRequest::first(name("bob"), &AbsoluteCapability::null(), SymmetricKey::generate(&mut rng));
    let blind = BlindFollowRequest::seal(&request, &receiver.public(), &mut rng).expect("a short request");
    let stored = pyrgos_protocol::encoding::ToCbor::to_bytes(&blind);
    ReceivedFollowRequest::open(stored.into(), &receiver).expect("what was sealed opens");
}

/// New nodes: each encrypted and decrypted, hashed by both sides, signed by one and verified by the other.
fn nodes(count: usize) -> Duration {
    let pair = SigningKeyPair::generate(&mut runtime(8).rng());
    let public = pair.signer().secret.public();
    time(|| {
        for _ in 0..count {
            let block = seal_and_open();
            let signed = pyrgos_protocol::merkle::block::SignedBlock::sign(&pair.signer().secret, block.into());
            std::hint::black_box((Cid::of_cbor(&signed.block), Cid::of_cbor(&signed.block)));
            pyrgos_protocol::merkle::block::check_signature(&public, &signed.block, &signed.signature)
                .expect("a valid signature");
        }
    })
}

fn seal_and_open() -> Vec<u8> {
    let (key, nonce) = (Key::from_bytes([1; 32]), Nonce::from_bytes([2; 24]));
    let sealed = secretbox::seal(&key, &nonce, &[3; NODE_BYTES]);
    std::hint::black_box(secretbox::open(&key, &nonce, &sealed).expect("what was sealed opens"));
    sealed
}

/// Pointers whose signature is verified.
fn pointers(count: usize) -> Duration {
    let pair = SigningKeyPair::generate(&mut runtime(9).rng());
    let public = pair.signer().secret.public();
    let signed = pyrgos_protocol::merkle::block::SignedBlock::sign(&pair.signer().secret, vec![0; 100].into());
    time(|| {
        (0..count).for_each(|_| {
            pyrgos_protocol::merkle::block::check_signature(&public, &signed.block, &signed.signature)
                .expect("a valid signature");
        });
    })
}

/// Nodes that are hashed and decrypted.
fn opened(count: usize) -> Duration {
    let (key, nonce) = (Key::from_bytes([1; 32]), Nonce::from_bytes([2; 24]));
    let sealed = secretbox::seal(&key, &nonce, &[3; NODE_BYTES]);
    time(|| {
        (0..count).for_each(|_| {
            std::hint::black_box(Cid::of_cbor(&sealed));
            std::hint::black_box(secretbox::open(&key, &nonce, &sealed).expect("what was sealed opens"));
        });
    })
}
