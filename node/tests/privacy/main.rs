//! What the node learns while two people follow each other and share: each request, field, size and pointer that moves,
//! compared with the list of `spec/05` §12.
//!
//! The lists below are the answer: calls that are not in them, a name, a key or a content anywhere, other numbers of
//! pointers, and bytes that join the two are failures. What remains visible, because the protocol shows it: which
//! connection sends a follow message to whom, the map keys that are looked up, and that a removed request is the one that
//! was stored.

#![allow(unreachable_pub, reason = "the modules belong to this test alone")]

mod observer;
#[path = "../people/mod.rs"]
mod people;

use std::sync::Arc;

use bytes::Bytes;
use observer::{Party, REQUEST_BYTES, Scene, Seen, Step, contains, findings};
use people::{TestSession, name, path, run, sign_up};
use pyrgos::service::Service;
use pyrgos_protocol::api::Request;
use pyrgos_protocol::api::social::SendFollowRequest;
use pyrgos_protocol::api::{Call, Response};
use pyrgos_protocol::client::{ClientError, IfExists, LinkChange, LinkOptions, OpenLink, Settings, Taken};
use pyrgos_protocol::encoding::ToCbor;
use pyrgos_protocol::links::address::LinkAddress;
use pyrgos_protocol::links::sealed::derive_key;
use pyrgos_protocol::links::{LinkPassword, SecretLink};
use pyrgos_protocol::login::EntryPoint;
use pyrgos_protocol::social::group::GroupKind;
use pyrgos_protocol::social::stream::{Records, read_all};
use pyrgos_protocol::social::{Answer, places};
use pyrgos_store::MemoryStore;

const FOLDER: &str = "a-folder-that-nobody-knows";

const FILE: &str = "a-file-that-nobody-knows.txt";

const CONTENT: &[u8] = b"a content that nobody reads but those who may";

const LINK_PASSWORD: &str = "a password that is told by telephone";

const ADDED: &[u8] = b", and more of it from a friend";

/// Looking somebody up before a message is sent: the chain of claims by name, then the public part of the identity.
const LOOK_UP: [&str; 4] = [
    "api/v0/block/get",
    "peergos/v0/core/getChain",
    "peergos/v0/mutable/getPointer",
    "peergos/v0/social/followRequest",
];

/// Opening what somebody shares.
const READ: [&str; 3] = ["api/v0/block/get", "api/v0/champ/get/bulk", "peergos/v0/mutable/getPointer"];

/// Opening a link: what it holds, by its label; then as with what is shared, and who the name in front belongs to.
const OPEN_LINK: [&str; 5] = [
    "api/v0/block/get",
    "api/v0/champ/get/bulk",
    "api/v0/link/get",
    "peergos/v0/core/getChain",
    "peergos/v0/mutable/getPointer",
];

/// Changing what somebody shares to be changed.
const WRITE: [&str; 7] = [
    "api/v0/block/get",
    "api/v0/block/put/bulk",
    "api/v0/champ/get/bulk",
    "api/v0/transaction/close",
    "api/v0/transaction/start",
    "peergos/v0/mutable/getPointer",
    "peergos/v0/mutable/setPointers",
];

const INBOX: [&str; 1] = ["peergos/v0/social/getFollowRequests"];

const INBOX_AND_REMOVAL: [&str; 2] = ["peergos/v0/social/getFollowRequests", "peergos/v0/social/removeFollowRequest"];

/// All steps, and what an observer sees of each.
const STEPS: [Step; 17] = [
    Step { name: "ask", by: Party::A, about_other: &LOOK_UP, about_self: &INBOX, commits: &[1] },
    Step { name: "see requests", by: Party::B, about_other: &[], about_self: &INBOX, commits: &[] },
    Step { name: "accept", by: Party::B, about_other: &LOOK_UP, about_self: &INBOX_AND_REMOVAL, commits: &[1] },
    // The owner of what the answer grants is looked up.
    Step { name: "take in", by: Party::A, about_other: &READ, about_self: &INBOX_AND_REMOVAL, commits: &[1] },
    Step { name: "store", by: Party::A, about_other: &[], about_self: &[], commits: &[1] },
    // Nothing here has to do with the other one: the receiver does not show until the receiver reads.
    Step { name: "share to read", by: Party::A, about_other: &[], about_self: &[], commits: &[1] },
    // A commit of one's own after reading somebody's data shows that something new was found.
    Step { name: "discover", by: Party::B, about_other: &READ, about_self: &INBOX, commits: &[1] },
    Step { name: "read", by: Party::B, about_other: &READ, about_self: &[], commits: &[] },
    // One more writing space: its pointer and that of the home directory, whose state names its key.
    Step { name: "share to write", by: Party::A, about_other: &[], about_self: &[], commits: &[2] },
    Step { name: "discover again", by: Party::B, about_other: &READ, about_self: &INBOX, commits: &[1] },
    // Who writes where is seen.
    Step { name: "write", by: Party::B, about_other: &WRITE, about_self: &[], commits: &[1] },
    // The new space, the old one, which ends, and the home directory; not from whom access is taken.
    Step { name: "take back", by: Party::A, about_other: &[], about_self: &[], commits: &[3] },
    // As with one friend: how many are in the group, and who, does not show.
    Step { name: "share with friends", by: Party::A, about_other: &[], about_self: &[], commits: &[1] },
    // What a link holds lies on the identity, the record of it in the home directory. That there is one more is seen.
    Step { name: "make a link", by: Party::A, about_other: &[], about_self: &[], commits: &[2] },
    // Which link is opened is seen, and what is then read; not who opens it, but for the connection.
    Step { name: "open the link", by: Party::B, about_other: &OPEN_LINK, about_self: &[], commits: &[] },
    Step { name: "change the link", by: Party::A, about_other: &[], about_self: &[], commits: &[2] },
    Step { name: "withdraw the link", by: Party::A, about_other: &[], about_self: &[], commits: &[2] },
];

struct Stage {
    sessions: [TestSession; 2],
    seen: Vec<Seen>,
    /// The link that was made, and withdrawn in the end.
    link: Option<SecretLink>,
}

impl Stage {
    fn step<O>(&mut self, name: &'static str, act: impl FnOnce(&TestSession) -> O) -> O {
        let step = STEPS.iter().find(|step| step.name == name).expect("a step of the list");
        let session = &self.sessions[step.by as usize];
        session.transport().record();
        let output = act(session);
        let recorded = session.transport().recorded();
        self.seen.extend(recorded.into_iter().map(|exchange| Seen { step: name, by: step.by, exchange }));
        output
    }
}

/// The whole story of two people.
fn play(service: &Arc<Service>, names: [&str; 2], seed: u64) -> Stage {
    let [a, b] = names.map(name);
    let sessions = [sign_up(service, names[0], seed), sign_up(service, names[1], seed + 1)];
    let mut stage = Stage { sessions, seen: Vec::new(), link: None };
    let folder = path(&format!("/{a}/{FOLDER}"));
    let file = folder.join(FILE.parse().unwrap());
    stage.step("ask", |session| run(session.follow(&b)).unwrap());
    assert_eq!(stage.step("see requests", |session| run(session.follow_requests()).unwrap()), std::slice::from_ref(&a));
    stage.step("accept", |session| run(session.answer(&a, Answer::AcceptAndReciprocate)).unwrap());
    assert!(stage.step("take in", |session| run(session.contacts()).unwrap())[0].is_friend());
    stage.step("store", |session| {
        let mut batch = session.batch();
        run(batch.make_directory(&folder)).unwrap();
        run(batch.put(&file, &mut Bytes::from_static(CONTENT), &Default::default(), &())).unwrap();
        run(batch.finish()).unwrap();
    });
    stage.step("share to read", |session| run(session.share(&folder, std::slice::from_ref(&b))).unwrap());
    assert_eq!(stage.step("discover", |session| run(session.shared_with_me()).unwrap()).len(), 1);
    assert_eq!(stage.step("read", |session| run(session.read(&file)).unwrap()), CONTENT);
    stage.step("share to write", |session| run(session.share_to_write(&folder, std::slice::from_ref(&b))).unwrap());
    assert_eq!(stage.step("discover again", |session| run(session.shared_with_me()).unwrap()).len(), 1);
    stage.step("write", |session| run(session.append(&file, &mut Bytes::from_static(ADDED), &())).unwrap());
    stage.step("take back", |session| {
        let revoked = run(session.unshare(&folder, std::slice::from_ref(&b), Taken::All)).unwrap();
        assert_eq!(revoked.from, [b.clone().into()]);
    });
    assert!(run(stage.sessions[1].read(&file)).is_err());
    assert_eq!(run(stage.sessions[0].read(&file)).unwrap(), [CONTENT, ADDED].concat());
    stage.step("share with friends", |session| run(session.share(&folder, &[GroupKind::Friends])).unwrap());
    let password = || LinkPassword::new(LINK_PASSWORD);
    let link = stage.step("make a link", |session| {
        let options = LinkOptions { is_writable: false, password: Some(password()), ..LinkOptions::default() };
        run(session.create_link(&file, &options)).unwrap()
    });
    let address = LinkAddress::parse(&link.to_url("localhost:8000")).unwrap();
    let open = |session: &TestSession| {
        let way = session.transport().clone();
        run(OpenLink::open(way, people::runtime(seed + 90), Settings::default(), &address, &password()))
    };
    let opened = stage.step("open the link", |session| {
        let opened = open(session).unwrap();
        run(opened.read(opened.root())).unwrap()
    });
    assert_eq!(opened, [CONTENT, ADDED].concat());
    stage.step("change the link", |session| {
        let change = LinkChange { max_openings: Some(Some(5)), ..LinkChange::default() };
        run(session.change_link(link.label, &change)).unwrap();
    });
    stage.step("withdraw the link", |session| run(session.withdraw_link(link.label)).unwrap());
    assert!(matches!(open(&stage.sessions[1]), Err(ClientError::LinkWithdrawn)));
    stage.link = Some(link);
    stage
}

fn scene(stage: &Stage, names: [&str; 2], control: Stage) -> Scene {
    let mut secrets = vec![
        ("the folder's name".to_owned(), FOLDER.into()),
        ("the file's name".to_owned(), FILE.into()),
        ("the content".to_owned(), CONTENT.to_vec()),
        ("the added content".to_owned(), ADDED.to_vec()),
    ];
    for (session, other) in stage.sessions.iter().zip([names[1], names[0]]) {
        let own = |place: &str| path(&format!("/{}/{place}", session.username()));
        let friends = Bytes::from(run(session.read(&own(places::FROM_FRIENDS))).unwrap());
        let mut granted = Vec::new();
        for stream in [places::SHARING_READ, places::SHARING_WRITE] {
            let stream = own(&format!("{}/{stream}", places::sharing_directory(&name(other).into())));
            if let Ok(content) = run(session.read(&stream)) {
                granted.extend(Records::read(&Bytes::from(content), 0).records);
            }
        }
        let entries = read_all::<EntryPoint>(&friends).unwrap().into_iter().map(|entry| entry.capability);
        for cap in entries.chain(granted.into_iter().map(|record| record.capability)) {
            secrets.push(("a key of a capability".to_owned(), cap.base_key.key.as_bytes().to_vec()));
            secrets.push(("a capability".to_owned(), cap.to_bytes()));
            let write_key = cap.base_write_key.map(|key| ("a key to write".to_owned(), key.key.as_bytes().to_vec()));
            secrets.extend(write_key);
        }
    }
    // Two entry points, the groups in both directions, and the folder: to read, with its new keys, and to write.
    assert_eq!(secrets.len(), 4 + 2 * (2 + 4 + 3) + 1);
    let link = stage.link.as_ref().expect("a link");
    let key = derive_key(link.label, &link.password, &LinkPassword::new(LINK_PASSWORD)).unwrap();
    secrets.push(("the password in the link".to_owned(), link.password.as_str().as_bytes().to_vec()));
    secrets.push(("the password of the link".to_owned(), LINK_PASSWORD.as_bytes().to_vec()));
    secrets.push(("the key of the link".to_owned(), key.key.as_bytes().to_vec()));
    let identity = |party: usize| (names[party].to_owned(), stage.sessions[party].identity().clone());
    Scene { steps: &STEPS, parties: [identity(0), identity(1)], secrets, control: control.seen }
}

/// A name as long as names may be, and a short one.
const NAMES: [&str; 2] = ["alice-who-shares", "bob-with-as-many-letters-as-goes"];

#[test]
fn the_node_sees_what_the_list_says() {
    let service = people::node(Arc::new(MemoryStore::default()));
    let stage = play(&service, NAMES, 1);
    let scene = scene(&stage, NAMES, play(&service, ["carol-elsewhere", "dora-elsewhere"], 3));
    for step in &STEPS {
        assert!(stage.seen.iter().any(|seen| seen.step == step.name), "nothing was seen of {:?}", step.name);
    }
    assert_eq!(findings(&stage.seen, &scene), [] as [String; 0]);

    // And what it does see is there, or the test looks at nothing.
    let bodies = |step, path| {
        let is_it = move |seen: &&Seen| seen.step == step && seen.request().path == path;
        stage.seen.iter().filter(is_it).map(|seen| seen.request().body.clone()).collect::<Vec<_>>()
    };
    let sent = bodies("ask", SendFollowRequest::PATH);
    let removed = bodies("accept", INBOX_AND_REMOVAL[1]);
    assert_eq!((sent.len(), removed.len()), (1, 1));
    assert!(contains(&removed[0], &sent[0]), "the removed request is the stored one");

    every_leak_is_found(&stage.seen, &scene);
}

/// Clients that leak, each in another way.
fn every_leak_is_found(clean: &[Seen], scene: &Scene) {
    let at = |seen: &[Seen], step: &str, path: &str| {
        seen.iter().position(|seen| seen.step == step && seen.request().path == path).expect("such a request")
    };
    let append = |seen: &mut Vec<Seen>, step: &str, path: &str, more: &[u8]| {
        let at = at(seen, step, path);
        let request = &mut seen[at].exchange.request;
        request.body = [&request.body, more].concat().into();
    };
    const PUT: &str = "api/v0/block/put/bulk";
    let key = &scene.secrets.iter().find(|(what, _)| what.starts_with("a key")).unwrap().1;
    let other = &scene.parties[1];
    type Leak<'l> = (&'l str, Box<dyn Fn(&mut Vec<Seen>) + 'l>);
    let leaks: Vec<Leak<'_>> = vec![
        ("names the other", Box::new(|seen| append(seen, "share to read", PUT, other.0.as_bytes()))),
        ("names the other", Box::new(|seen| append(seen, "share to read", PUT, other.1.to_string().as_bytes()))),
        ("names the other", Box::new(|seen| append(seen, "share to read", PUT, &other.1.to_bytes()))),
        (
            "names its sender",
            Box::new(|seen| append(seen, "ask", SendFollowRequest::PATH, scene.parties[0].0.as_bytes())),
        ),
        ("3837 bytes", Box::new(|seen| append(seen, "accept", SendFollowRequest::PATH, &[0]))),
        ("a key", Box::new(|seen| append(seen, "discover", PUT, hex::encode(key).as_bytes()))),
        ("the file's name", Box::new(|seen| append(seen, "store", PUT, FILE.as_bytes()))),
        (
            "a key",
            Box::new(|seen| {
                let at = at(seen, "read", "api/v0/champ/get/bulk");
                let text = multibase::Base::Base58Btc.encode(key);
                seen[at].exchange.request.query.push(("hint".into(), text));
            }),
        ),
        ("the password of the link", Box::new(|seen| append(seen, "make a link", PUT, LINK_PASSWORD.as_bytes()))),
        (
            "the key of the link",
            Box::new(|seen| {
                let key = &scene.secrets.iter().find(|(what, _)| what == "the key of the link").unwrap().1;
                append(seen, "open the link", "api/v0/link/get", key);
            }),
        ),
        ("names the other", Box::new(|seen| append(seen, "make a link", PUT, other.0.as_bytes()))),
        (
            "the content",
            Box::new(|seen| {
                let at = at(seen, "read", "api/v0/champ/get/bulk");
                seen[at].exchange.answer = Ok(Response::ok(Bytes::from_static(CONTENT)));
            }),
        ),
        (
            "not to be expected",
            Box::new(|seen| {
                let read = at(seen, "read", "peergos/v0/mutable/getPointer");
                let leak = Seen { step: "share to read", by: Party::A, ..seen[read].clone() };
                let mut leak = leak;
                leak.exchange.request = Request::new("peergos/v0/mutable/getPointer").with("owner", &other.1);
                seen.push(leak);
            }),
        ),
        (
            "commits of [1, 1]",
            Box::new(|seen| {
                let again = seen[at(seen, "share to read", "peergos/v0/mutable/setPointers")].clone();
                seen.push(again);
            }),
        ),
        (
            "both wrote",
            Box::new(|seen| {
                append(seen, "share to read", PUT, b"a number of one friendship");
                append(seen, "discover", PUT, b"a number of one friendship");
            }),
        ),
        (
            "two follow requests",
            Box::new(|seen| {
                let (ask, accept) =
                    (at(seen, "ask", SendFollowRequest::PATH), at(seen, "accept", SendFollowRequest::PATH));
                seen[accept].exchange.request.body = seen[ask].request().body.clone();
            }),
        ),
    ];
    for (at, (what, leak)) in leaks.iter().enumerate() {
        let mut seen = clean.to_vec();
        leak(&mut seen);
        let found = findings(&seen, scene);
        assert!(found.iter().any(|finding| finding.contains(what)), "leak {at} is not noticed: {found:?}");
    }
}

#[test]
fn requests_are_as_long_whoever_sends_them_and_whatever_they_say() {
    let service = people::node(Arc::new(MemoryStore::default()));
    let receiver = sign_up(&service, "receiver", 1);
    for (seed, sender) in (2..).zip(["al", "the-longest-name-that-there-is12"]) {
        let session = sign_up(&service, sender, seed);
        for answer in [Answer::Deny, Answer::Accept] {
            for session in [&session, &receiver] {
                session.transport().record();
            }
            run(session.follow(receiver.username())).unwrap();
            run(receiver.answer(session.username(), answer)).unwrap();
            run(session.contacts()).unwrap();
            let seen = [session.transport().recorded(), receiver.transport().recorded()].concat();
            let sent = seen.iter().filter(|exchange| exchange.request.path == SendFollowRequest::PATH);
            let sizes: Vec<usize> = sent.map(|exchange| exchange.request.body.len()).collect();
            assert_eq!(sizes, [REQUEST_BYTES; 2], "{sender}, {answer:?}");
        }
    }
    assert!(people::put(&receiver, &path("/receiver/still-works"), b"", IfExists::Fail).unwrap());
}
