//! Secret links and published files with a whole node: from the account that makes them to somebody without one.

#[path = "../../protocol/tests/client_support/runtime.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod client_runtime;
mod support;
#[path = "support/wire.rs"]
mod wire;

use bytes::Bytes;
use client_runtime::{Seeded, now, runtime};
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::links::OpenSecretLink;
use pyrgos_protocol::api::mutable::SetPointers;
use pyrgos_protocol::client::{
    ClientError, IfExists, InlineRuntime, LinkChange, LinkOptions, OpenLink, OwnLink, Settings, Taken, UploadOptions,
};
use pyrgos_protocol::links::address::{LinkAddress, LinkTarget};
use pyrgos_protocol::links::{LinkLabel, LinkPassword, SecretLink};
use support::account::signer;
use support::{Node, path, run};
use wire::*;

type Opened<'n> = OpenLink<Wire<'n>, InlineRuntime<Seeded>>;

fn address(link: &SecretLink) -> LinkAddress {
    LinkAddress::parse(&link.to_url("localhost:8000")).unwrap()
}

fn open_with<'n>(node: &'n Node, link: &SecretLink, password: &str) -> Result<Opened<'n>, ClientError> {
    let password = LinkPassword::new(password);
    run(OpenLink::open(Wire::new(node), runtime(99), Settings::default(), &address(link), &password))
}

fn open<'n>(node: &'n Node, link: &SecretLink) -> Result<Opened<'n>, ClientError> {
    run(OpenLink::open(Wire::new(node), runtime(99), Settings::default(), &address(link), &()))
}

fn create(session: &TestSession<'_>, at: &str, options: &LinkOptions) -> SecretLink {
    run(session.create_link(&path(at), options)).unwrap()
}

fn the_link(session: &TestSession<'_>, label: LinkLabel) -> OwnLink {
    let home = session.home().unwrap();
    run(session.links(&home)).unwrap().into_iter().find(|own| own.link.label == label).expect("the link is listed")
}

fn content(link: &Opened<'_>, at: &str) -> Vec<u8> {
    run(link.read(&path(at))).unwrap()
}

fn account(node: &Node) -> TestSession<'_> {
    let alice = sign_up(node, "alice", 1);
    run(alice.make_directories(&path("/alice/docs/folder/inner"))).unwrap();
    put(&alice, "/alice/docs/folder/a.txt", b"first");
    put(&alice, "/alice/docs/folder/inner/b.txt", b"inner");
    put(&alice, "/alice/docs/beside.txt", b"beside");
    alice
}

const FOLDER: &str = "/alice/docs/folder";
const A: &str = "/alice/docs/folder/a.txt";

#[test]
fn a_link_is_read_without_an_account_and_leads_nowhere_else() {
    let node = start();
    let alice = account(&node);
    let link = create(&alice, FOLDER, &LinkOptions::default());
    let opened = open(&node, &link).unwrap();
    assert_eq!((opened.root(), opened.owner().as_str()), (&path(FOLDER), "alice"));
    let listed = run(opened.list(opened.root())).unwrap();
    assert_eq!(listed.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a.txt", "inner"]);
    assert!(listed.iter().all(|entry| !entry.is_writable));
    assert_eq!(content(&opened, A), b"first");
    assert_eq!(content(&opened, "/alice/docs/folder/inner/b.txt"), b"inner");
    for outside in ["/alice/docs/beside.txt", "/alice/docs", "/alice", "/bob/docs/folder"] {
        assert!(matches!(run(opened.stat(&path(outside))), Err(ClientError::NotFound { .. })), "{outside}");
    }
    let mut source = Bytes::from_static(b"mine");
    let refused = run(opened.upload(&path("/alice/docs/folder/new"), &mut source, &UploadOptions::default(), &()));
    assert!(matches!(refused, Err(ClientError::ReadOnly { .. })), "{refused:?}");

    // What comes later is seen too, by a link to a single file as well.
    let single = create(&alice, A, &LinkOptions::default());
    replace(&alice, A, b"second");
    assert_eq!(content(&opened, A), b"second");
    let single = open(&node, &single).unwrap();
    assert_eq!(single.root(), &path(A));
    assert_eq!(content(&single, A), b"second");
    // The capability inside is a link as well: the form of old clients.
    let home = run(alice.create_link(&path("/alice"), &LinkOptions::default()));
    assert!(matches!(home, Err(ClientError::Home)));
    let nothing = run(alice.create_link(&path("/alice/none"), &LinkOptions::default()));
    assert!(matches!(nothing, Err(ClientError::NotFound { .. })));
}

fn replace(session: &TestSession<'_>, at: &str, content: &[u8]) {
    let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
    run(session.upload(&path(at), &mut Bytes::copy_from_slice(content), &options, &())).unwrap();
}

#[test]
fn a_password_is_demanded_and_wrong_ones_are_told_apart() {
    let node = start();
    let alice = account(&node);
    let options = LinkOptions { password: Some(LinkPassword::new("open sesame")), ..LinkOptions::default() };
    let link = create(&alice, FOLDER, &options);
    assert_eq!(content(&open_with(&node, &link, "open sesame").unwrap(), A), b"first");
    assert!(matches!(open(&node, &link), Err(ClientError::LinkPassword { needed: true })));
    for wrong in ["", "open barley"] {
        assert!(matches!(open_with(&node, &link, wrong), Err(ClientError::LinkPassword { needed: true })), "{wrong}");
    }
    let cut = SecretLink { password: LinkPassword::new("AAAAAAAAAAAA"), ..link.clone() };
    assert!(matches!(open_with(&node, &cut, "open sesame"), Err(ClientError::LinkPassword { needed: true })));
    let own = the_link(&alice, link.label);
    assert_eq!(own.openings, Some(5), "each try counts");
    assert_eq!(own.password.as_str(), "open sesame");
    assert_eq!(own.link, link, "it can be shown again");

    let plain = create(&alice, A, &LinkOptions::default());
    assert!(open_with(&node, &plain, "needless").is_ok(), "a password that nobody asked for does no harm");
    let cut = SecretLink { password: LinkPassword::new("AAAAAAAAAAAA"), ..plain };
    assert!(matches!(open(&node, &cut), Err(ClientError::LinkPassword { needed: false })));
}

#[test]
fn links_end_by_time_number_and_withdrawal() {
    let node = start();
    let alice = account(&node);
    let now_secs = now().seconds();
    let options = LinkOptions { expiry_secs: Some(now_secs + 60), ..LinkOptions::default() };
    let timed = create(&alice, FOLDER, &options);
    let limited = create(&alice, FOLDER, &LinkOptions { max_openings: Some(2), ..LinkOptions::default() });
    let plain = create(&alice, A, &LinkOptions::default());
    assert!(open(&node, &timed).is_ok());
    node.clock.set((now_secs + 61) * 1000);
    assert!(matches!(open(&node, &timed), Err(ClientError::LinkExpired)));
    assert!(open(&node, &limited).is_ok() && open(&node, &limited).is_ok());
    assert!(matches!(open(&node, &limited), Err(ClientError::LinkUsedUp)));
    assert_eq!(the_link(&alice, limited.label).openings, Some(2));
    assert_eq!(the_link(&alice, limited.label).last_opened_secs, Some(now_secs + 61));
    assert_eq!(the_link(&alice, plain.label).openings, Some(0));

    // Both open again when their owner wants it.
    let longer = LinkChange { expiry_secs: Some(Some(now_secs + 1000)), ..LinkChange::default() };
    run(alice.change_link(timed.label, &longer)).unwrap();
    let more =
        LinkChange { max_openings: Some(None), password: Some(LinkPassword::new("new")), ..LinkChange::default() };
    run(alice.change_link(limited.label, &more)).unwrap();
    assert!(open(&node, &timed).is_ok());
    assert!(open_with(&node, &limited, "new").is_ok());
    assert!(matches!(open(&node, &limited), Err(ClientError::LinkPassword { needed: true })));

    // An opened link is what it is; a withdrawn one opens no more.
    let opened = open(&node, &plain).unwrap();
    assert_eq!(run(alice.withdraw_link(plain.label)).unwrap(), path(A));
    assert!(matches!(open(&node, &plain), Err(ClientError::LinkWithdrawn)));
    assert_eq!(content(&opened, A), b"first");
    assert!(matches!(run(alice.withdraw_link(plain.label)), Err(ClientError::NoSuchLink)));
    assert!(matches!(run(alice.change_link(plain.label, &more)), Err(ClientError::NoSuchLink)));
    let labels: Vec<LinkLabel> = run(alice.links(&path(FOLDER))).unwrap().iter().map(|own| own.link.label).collect();
    assert_eq!(labels.len(), 2);
    assert!(labels.contains(&timed.label) && labels.contains(&limited.label));
    for (expiry_secs, max_openings) in [(Some(now_secs), None), (None, Some(0))] {
        let never = LinkOptions { expiry_secs, max_openings, ..LinkOptions::default() };
        assert!(matches!(run(alice.create_link(&path(A), &never)), Err(ClientError::Limit(_))));
    }

    // Another device has the same records.
    let phone = second(&alice, 7);
    run(phone.withdraw_link(timed.label)).unwrap();
    assert!(matches!(open(&node, &timed), Err(ClientError::LinkWithdrawn)));
    assert_eq!(run(alice.links(&alice.home().unwrap())).unwrap().len(), 1);
}

#[test]
fn links_follow_their_target() {
    let node = start();
    let alice = account(&node);
    let bob = sign_up(&node, "bob", 2);
    befriend(&bob, &alice);
    let folder = create(&alice, FOLDER, &LinkOptions::default());
    let inner = create(&alice, "/alice/docs/folder/inner/b.txt", &LinkOptions::default());
    // Renamed and moved.
    run(alice.rename(&path(FOLDER), &path("/alice/docs/other"), IfExists::Fail)).unwrap();
    run(alice.rename(&path("/alice/docs/other"), &path("/alice/moved"), IfExists::Fail)).unwrap();
    assert_eq!(open(&node, &folder).unwrap().root(), &path("/alice/moved"));
    assert_eq!(the_link(&alice, inner.label).path, path("/alice/moved/inner/b.txt"));
    // New keys for everything.
    run(alice.share_to_write(&path("/alice/moved"), &[name("bob")])).unwrap();
    put(&bob, "/alice/moved/c.txt", b"of bob");
    assert_eq!(content(&open(&node, &folder).unwrap(), "/alice/moved/c.txt"), b"of bob");
    assert_eq!(content(&open(&node, &inner).unwrap(), "/alice/moved/inner/b.txt"), b"inner");
    // Access taken back changes the keys again, and the signer; links are for others.
    run(alice.unshare(&path("/alice/moved"), &[name("bob")], Taken::All)).unwrap();
    assert_eq!(content(&open(&node, &folder).unwrap(), "/alice/moved/c.txt"), b"of bob");
    assert_eq!(content(&open(&node, &inner).unwrap(), "/alice/moved/inner/b.txt"), b"inner");
    // Out of the writing space.
    run(alice.rename(&path("/alice/moved/inner"), &path("/alice/inner"), IfExists::Fail)).unwrap();
    let opened = open(&node, &inner).unwrap();
    assert_eq!(content(&opened, "/alice/inner/b.txt"), b"inner");
    assert_eq!(the_link(&alice, inner.label).path, path("/alice/inner/b.txt"));
    // Nothing is left of what is removed, nor of what gives way.
    put(&alice, "/alice/new.txt", b"new");
    run(alice.rename(&path("/alice/new.txt"), &path("/alice/inner/b.txt"), IfExists::Replace)).unwrap();
    assert!(matches!(open(&node, &inner), Err(ClientError::LinkWithdrawn)));
    run(alice.remove(&path("/alice/moved"), true)).unwrap();
    assert!(matches!(open(&node, &folder), Err(ClientError::LinkWithdrawn)));
    assert!(run(alice.links(&alice.home().unwrap())).unwrap().is_empty());
}

#[test]
fn a_link_to_write_changes_the_folder_and_nothing_else() {
    let node = start();
    let alice = account(&node);
    let readable = create(&alice, FOLDER, &LinkOptions::default());
    let link = create(&alice, FOLDER, &LinkOptions { is_writable: true, ..LinkOptions::default() });
    assert!(the_link(&alice, link.label).is_writable);
    let opened = open(&node, &link).unwrap();
    assert_eq!(opened.root(), &path(FOLDER));
    assert!(run(opened.stat(&path(A))).unwrap().is_writable);
    let upload = |at: &str, content: &'static [u8]| {
        let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
        run(opened.upload(&path(at), &mut Bytes::from_static(content), &options, &()))
    };
    upload(A, b"by a guest").unwrap();
    run(opened.make_directories(&path("/alice/docs/folder/of guests/deep"))).unwrap();
    upload("/alice/docs/folder/of guests/deep/g.txt", b"guest").unwrap();
    let refused = run(opened.remove(&path("/alice/docs/folder/inner"), false));
    assert!(matches!(refused, Err(ClientError::NotEmpty { .. })), "{refused:?}");
    run(opened.remove(&path("/alice/docs/folder/inner"), true)).unwrap();
    assert_eq!(read(&alice, A), b"by a guest");
    assert_eq!(read(&alice, "/alice/docs/folder/of guests/deep/g.txt"), b"guest");
    assert!(matches!(run(alice.stat(&path("/alice/docs/folder/inner"))), Err(ClientError::NotFound { .. })));
    assert_eq!(content(&open(&node, &readable).unwrap(), A), b"by a guest");
    for outside in ["/alice/docs/beside.txt", "/alice/x", FOLDER] {
        assert!(upload(outside, b"no").is_err(), "{outside}");
        assert!(run(opened.remove(&path(outside), true)).is_err(), "{outside}");
    }
    assert_eq!(read(&alice, "/alice/docs/beside.txt"), b"beside");

    // A file of several chunks, that would need a transaction in an account.
    let long: Vec<u8> = (0..(11 << 20) as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut source = Bytes::from(long.clone());
    run(opened.upload(&path("/alice/docs/folder/long"), &mut source, &UploadOptions::default(), &())).unwrap();
    assert!(read(&alice, "/alice/docs/folder/long") == long);

    // The owner and a guest at the same time.
    let wire = Wire::new(&node);
    let guest = run(OpenLink::open(wire.clone(), runtime(3), Settings::default(), &address(&link), &())).unwrap();
    let phone = second(&alice, 4);
    wire.before(SetPointers::PATH, move || put(&phone, "/alice/docs/folder/phone", b"phone"));
    let mut source = Bytes::from_static(b"guest");
    run(guest.upload(&path("/alice/docs/folder/guest"), &mut source, &UploadOptions::default(), &())).unwrap();
    assert_eq!(read(&alice, "/alice/docs/folder/phone"), b"phone");
    assert_eq!(read(&alice, "/alice/docs/folder/guest"), b"guest");
}

#[test]
fn a_link_to_write_moves_things_in_the_folder() {
    let node = start();
    let alice = account(&node);
    run(alice.make_directories(&path("/alice/docs/folder/own"))).unwrap();
    let link = create(&alice, FOLDER, &LinkOptions { is_writable: true, ..LinkOptions::default() });
    // A folder in it gets keys of its own.
    create(&alice, "/alice/docs/folder/own", &LinkOptions { is_writable: true, ..LinkOptions::default() });
    let opened = open(&node, &link).unwrap();
    let rename = |from: &str, to: &str, if_exists| run(opened.rename(&path(from), &path(to), if_exists));
    rename(A, "/alice/docs/folder/renamed.txt", IfExists::Fail).unwrap();
    rename("/alice/docs/folder/renamed.txt", "/alice/docs/folder/inner/moved.txt", IfExists::Fail).unwrap();
    assert_eq!(read(&alice, "/alice/docs/folder/inner/moved.txt"), b"first");
    let (b, moved) = ("/alice/docs/folder/inner/b.txt", "/alice/docs/folder/inner/moved.txt");
    let refused = rename(b, moved, IfExists::Fail);
    assert!(matches!(refused, Err(ClientError::Exists { .. })), "{refused:?}");
    let refused = rename(b, "/alice/docs/folder/own/b.txt", IfExists::Fail);
    assert!(matches!(refused, Err(ClientError::Limit(_))), "{refused:?}");
    let refused = rename("/alice/docs/folder/inner", "/alice/docs/folder/inner/x", IfExists::Fail);
    assert!(matches!(refused, Err(ClientError::IntoItself { .. })), "{refused:?}");
    for (from, to) in [(FOLDER, "/alice/docs/folder/x"), (b, "/alice/docs/x"), ("/alice/docs/beside.txt", A)] {
        assert!(rename(from, to, IfExists::Replace).is_err(), "{from} {to}");
    }
    rename(b, moved, IfExists::Replace).unwrap();
    assert_eq!(read(&alice, moved), b"inner");
    assert!(matches!(run(alice.stat(&path(b))), Err(ClientError::NotFound { .. })));
}

#[test]
fn a_link_to_write_one_file_replaces_its_content() {
    let node = start();
    let alice = account(&node);
    let readable = create(&alice, A, &LinkOptions::default());
    let link = create(&alice, A, &LinkOptions { is_writable: true, ..LinkOptions::default() });
    let store = |opened: &Opened<'_>, content: &'static [u8], if_exists| {
        let options = UploadOptions { if_exists, ..UploadOptions::default() };
        run(opened.upload(opened.root(), &mut Bytes::from_static(content), &options, &()))
    };
    let opened = open(&node, &link).unwrap();
    assert!(store(&opened, b"by a guest", IfExists::Replace).unwrap());
    assert!(!store(&opened, b"not this", IfExists::Skip).unwrap());
    assert!(matches!(store(&opened, b"not this", IfExists::Fail), Err(ClientError::Exists { .. })));
    assert_eq!(read(&alice, A), b"by a guest");
    assert_eq!(content(&open(&node, &readable).unwrap(), A), b"by a guest");
    let refused = store(&open(&node, &readable).unwrap(), b"not this", IfExists::Replace);
    assert!(matches!(refused, Err(ClientError::ReadOnly { .. })), "{refused:?}");
    assert!(run(opened.remove(opened.root(), true)).is_err());

    // The owner stores it at the same time: a guest has no place to put another one beside it.
    let wire = Wire::new(&node);
    let guest = run(OpenLink::open(wire.clone(), runtime(3), Settings::default(), &address(&link), &())).unwrap();
    let phone = second(&alice, 4);
    wire.before(SetPointers::PATH, move || replace(&phone, A, b"of the owner"));
    let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
    let lost = run(guest.upload(guest.root(), &mut Bytes::from_static(b"late"), &options, &()));
    assert!(matches!(lost, Err(ClientError::Changed { .. })), "{lost:?}");
    assert_eq!(read(&alice, A), b"of the owner");
}

#[test]
fn a_link_and_its_record_appear_together_or_not_at_all() {
    let node = start();
    let alice = account(&node);
    alice.transport().cut(SetPointers::PATH);
    assert!(run(alice.create_link(&path(FOLDER), &LinkOptions::default())).is_err());
    alice.transport().free();
    assert!(run(alice.links(&path(FOLDER))).unwrap().is_empty());
    // Two devices make links at once; both stay.
    let phone = second(&alice, 5);
    alice.transport().before(SetPointers::PATH, move || {
        create(&phone, FOLDER, &LinkOptions::default());
    });
    create(&alice, FOLDER, &LinkOptions::default());
    alice.transport().free();
    let links = run(alice.links(&path(FOLDER))).unwrap();
    assert_eq!(links.len(), 2);
    links.iter().for_each(|own| assert_eq!(content(&open(&node, &own.link).unwrap(), A), b"first"));
}

#[test]
fn a_node_cannot_hand_out_another_users_files_under_a_link() {
    let node = start();
    let alice = account(&node);
    let mallory = sign_up(&node, "mallory", 6);
    put(&mallory, "/mallory/bait.txt", b"bait");
    let link = create(&alice, FOLDER, &LinkOptions::default());
    let bait = create(&mallory, "/mallory/bait.txt", &LinkOptions::default());
    // What the owner sealed for one link opens no other.
    let wire = Wire::new(&node);
    let sealed = node.call(&OpenSecretLink { owner: bait.owner.clone(), label: bait.label }).unwrap();
    wire.step_in(move |request| {
        let answer = pyrgos_protocol::api::Response::ok(OpenSecretLink::write(&sealed));
        (request.path == OpenSecretLink::PATH).then_some(Ok(answer))
    });
    let opened = run(OpenLink::open(wire, runtime(9), Settings::default(), &address(&link), &()));
    assert!(matches!(opened, Err(ClientError::LinkPassword { needed: false })));
    // A link of one owner to the files of another.
    let target = LinkTarget::Secret(SecretLink { owner: alice.identity().clone(), ..bait.clone() });
    let wire = Wire::new(&node);
    let sealed = node.call(&OpenSecretLink { owner: bait.owner.clone(), label: bait.label }).unwrap();
    wire.step_in(move |request| {
        let answer = pyrgos_protocol::api::Response::ok(OpenSecretLink::write(&sealed));
        (request.path == OpenSecretLink::PATH).then_some(Ok(answer))
    });
    let address = LinkAddress { target, ..address(&bait) };
    let opened = run(OpenLink::open(wire, runtime(9), Settings::default(), &address, &()));
    assert!(matches!(opened, Err(ClientError::ForgedLink)));
}

fn with_gateway() -> Node {
    let id = pyrgos::identity::server_id(&signer("node").secret.public());
    let node = Node::start(vec![id], |config| config.gateway_listen = Some("127.0.0.1:0".parse().unwrap()));
    node.clock.set(now().seconds() * 1000 + 500);
    node
}

fn get(node: &Node, target: &str) -> (u16, Vec<u8>) {
    let gateway = node.gateway();
    let answer = support::send(gateway, "GET", target, &format!("localhost:{}", gateway.port()), &[], b"");
    (answer.status, answer.body)
}

#[test]
fn what_is_published_is_served_until_it_is_taken_back() {
    let node = with_gateway();
    let alice = account(&node);
    let bob = sign_up(&node, "bob", 2);
    befriend(&bob, &alice);
    let folder = path(FOLDER);
    run(alice.share(&folder, &[name("bob")])).unwrap();
    let link = create(&alice, FOLDER, &LinkOptions::default());
    assert_eq!(get(&node, "/public/alice/docs/folder/a.txt").0, 404);
    assert!(run(alice.publish(&folder)).unwrap());
    assert!(!run(alice.publish(&folder)).unwrap(), "it was public before");
    assert_eq!(get(&node, "/public/alice/docs/folder/a.txt"), (200, b"first".to_vec()));
    assert_eq!(get(&node, "/public/alice/docs/beside.txt").0, 404);
    assert_eq!(alice.public_path(&path("/alice/a b/\u{e9}?")), "/public/alice/a%20b/%C3%A9%3F");

    // A file below, by itself; both stay public when the folder gets new keys.
    assert!(run(alice.publish(&path("/alice/docs/folder/inner/b.txt"))).unwrap());
    run(alice.share_to_write(&folder, &[name("bob")])).unwrap();
    assert_eq!(get(&node, "/public/alice/docs/folder/a.txt"), (200, b"first".to_vec()));
    assert_eq!(run(alice.published()).unwrap(), [folder.clone(), path("/alice/docs/folder/inner/b.txt")]);

    // The legacy link that the node's redirect holds opens as any other link.
    let answer = node.send("GET", "/public/alice/docs/folder", &node.host(), &[], b"");
    let location = answer.header("location").expect("a redirect");
    let address = LinkAddress::parse(&format!("http://{}{location}", node.host())).unwrap();
    let opened = || run(OpenLink::open(Wire::new(&node), runtime(9), Settings::default(), &address, &()));
    assert_eq!(run(opened().unwrap().read(&path(A))).unwrap(), b"first");

    run(alice.unpublish(&folder)).unwrap();
    assert_eq!(get(&node, "/public/alice/docs/folder/a.txt").0, 404);
    assert!(matches!(opened(), Err(ClientError::DeadLink)), "what was public opens no more");
    assert_eq!(get(&node, "/public/alice/docs/folder/inner/b.txt"), (200, b"inner".to_vec()));
    assert!(matches!(run(alice.unpublish(&folder)), Err(ClientError::NotPublished)));
    assert_eq!(run(alice.published()).unwrap(), [path("/alice/docs/folder/inner/b.txt")]);
    // Those who were trusted with it still are.
    assert_eq!(read(&bob, A), b"first");
    assert_eq!(content(&open(&node, &link).unwrap(), A), b"first");
    assert!(matches!(run(alice.publish(&path("/alice"))), Err(ClientError::Home)));
    assert!(matches!(run(bob.publish(&folder)), Err(ClientError::NotOwner { .. })));
}
