//! `03-writing-spaces.json` step by step: each state is opened, and what led to it is done by this client to the state
//! before it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::client::{Audience, IfExists, Taken, UploadOptions};
use pyrgos_protocol::cryptree::capability::AbsoluteCapability;
use pyrgos_protocol::cryptree::chunk::{CHUNK_SIZE, MapKey};
use pyrgos_protocol::encoding::FromCbor;
use pyrgos_protocol::keys::Writer;
use pyrgos_protocol::merkle::PointerUpdate;
use pyrgos_protocol::social::GroupKind;
use serde_json::Value;

use crate::client_support::{TestSession, content, path, put, run};
use crate::memory::View;
use crate::support::{Cases, bytes, text};
use crate::{Recorded, check_tree};

const SPACE: &str = "/erin/space";
const FILE: &str = "/erin/space/shared-file.bin";
const RENAMED: &str = "/erin/space/renamed-file.bin";
const MOVED: &str = "/erin/dest/renamed-file.bin";
const DIRECTORY: &str = "/erin/space/shared-dir";
const PLAIN: &str = "/erin/space/plain.bin";
/// The group from which access is taken: nobody is in it.
const NOBODY: [Audience; 1] = [Audience::Group(GroupKind::Followers)];

struct States {
    secrets: Value,
    steps: Vec<Value>,
    home: AbsoluteCapability,
    plain: Vec<u8>,
    contents: BTreeMap<String, Bytes>,
}

impl States {
    fn load() -> Self {
        let mut cases = Cases::of("03-writing-spaces");
        let secrets = cases.value("secrets");
        let home = AbsoluteCapability::from_bytes(&bytes(&secrets["entryPoints"][0]["cap"], "cbor")).unwrap();
        let (chunk, plain) = (CHUNK_SIZE as usize, content("plain", 11 << 20));
        // The chunks of the large file as it was put, the one that was edited, and the last one as it was padded then.
        let mut chunks: Vec<Vec<u8>> = plain.chunks(chunk).map(<[u8]>::to_vec).collect();
        chunks.push(edited(&plain)[chunk..2 * chunk].to_vec());
        chunks.push([&plain[2 * chunk..], &vec![0; 3 * chunk - plain.len()]].concat());
        let contents = chunks.into_iter().map(|chunk| (hex::encode(sha256(&chunk)), chunk.into())).collect();
        let steps = cases.section("steps");
        cases.finish();
        States { secrets, steps, home, plain, contents }
    }

    /// A node in the state after a step.
    fn after(&self, step: usize) -> Recorded {
        let mut recorded = Recorded::new(&self.secrets);
        for step in &self.steps[..=step] {
            recorded.insert_blocks(&step["newReachableBlocks"]);
            recorded.insert_fragments(&step["nodes"], &self.contents);
        }
        recorded.insert_pointers(&self.steps[step]["pointers"], &self.steps[step]["writers"]);
        recorded
    }

    fn expected(&self, step: usize) -> &[Value] {
        self.steps[step]["expected"].as_array().unwrap()
    }

    fn view(&self, recorded: &Recorded) -> Seen {
        let memory = recorded.memory();
        let (_, node) = &memory.nodes[&(self.home.writer.clone(), self.home.map_key)];
        let signer = node.open(&self.home.base_key).unwrap().signer(&self.home, None).unwrap();
        let (view, labels) = memory.view(&self.home, &signer);
        let leaked = memory.nodes.into_keys().filter(|label| !labels.contains(label)).collect();
        Seen { view, leaked, spaces: spaces(recorded) }
    }
}

fn edited(plain: &[u8]) -> Vec<u8> {
    let mut edited = plain.to_vec();
    edited[(5 << 20) + 100..][..4].copy_from_slice(b"edit");
    edited
}

/// An account as whoever has its root sees it.
struct Seen {
    view: View,
    /// The labels that nothing leads to.
    leaked: BTreeSet<(Writer, MapKey)>,
    spaces: BTreeSet<Writer>,
}

/// The writers whose pointers lead anywhere.
fn spaces(recorded: &Recorded) -> BTreeSet<Writer> {
    let pointers = recorded.node.pointers().into_iter();
    let in_use = |(writer, signed): (Writer, Bytes)| {
        let update = PointerUpdate::open(&writer.signing_key().unwrap(), &signed).unwrap();
        update.updated().map(|_| writer)
    };
    pointers.filter_map(in_use).collect()
}

impl Seen {
    /// What is in the two directories that the steps are about, with the way below the home.
    fn paths(&self) -> BTreeSet<&str> {
        let ours = |at: &&str| ["space", "dest"].contains(&at.split('/').nth(1).unwrap_or_default());
        self.view.keys().map(String::as_str).filter(ours).collect()
    }

    fn own_spaces(&self) -> usize {
        self.view.values().filter(|seen| seen.has_own_space).count()
    }
}

#[test]
fn each_state_is_opened() {
    let states = States::load();
    for (at, step) in states.steps.iter().enumerate() {
        println!("step {at}: {}", text(step, "step"));
        let recorded = states.after(at);
        let session = recorded.log_in(at as u64);
        check_tree(&session, states.expected(at));
    }
}

/// Does what led to a state to the one before it, and compares.
fn perform(step: usize, name: &str, action: impl FnOnce(&TestSession<'_>, &States)) {
    perform_and_move(step, name, &[], action);
}

/// The same; what is afterwards at the second path of a pair was at the first one before.
fn perform_and_move(step: usize, name: &str, moved: &[(&str, &str)], action: impl FnOnce(&TestSession<'_>, &States)) {
    let states = States::load();
    assert!(text(&states.steps[step], "step").starts_with(name));
    let recorded = states.after(step - 1);
    let before = states.view(&recorded);
    let session = recorded.log_in(step as u64);
    action(&session, &states);
    assert_eq!(recorded.node.open_transactions(), 0);

    let again = recorded.log_in(100 + step as u64);
    check_tree(&again, states.expected(step));
    let (ours, theirs) = (states.view(&recorded), states.view(&states.after(step)));
    assert_eq!(ours.paths(), theirs.paths());
    for at in ours.paths() {
        let (our, their) = (&ours.view[at], &theirs.view[at]);
        assert_eq!(our.is_dirty, their.is_dirty, "{at}");
        assert_eq!(our.has_own_space, their.has_own_space, "{at}");
        let was = moved.iter().find(|(_, to)| *to == at).map_or(at, |(from, _)| from);
        let old = before.view.get(was);
        // The same keys, signers and contents change.
        let changed = |new: &crate::memory::Seen| {
            let old = old?;
            let secret = |seen: &crate::memory::Seen| seen.properties.stream_secret().cloned();
            let keys = [
                old.cap.map_key != new.cap.map_key,
                old.cap.base_key != new.cap.base_key,
                old.cap.base_write_key != new.cap.base_write_key,
                old.cap.writer != new.cap.writer,
                secret(old) != secret(new),
                old.properties.created != new.properties.created,
                // The reference forgets the time of a change that leaves the first chunk alone (`spec/03` §3.6).
                old.properties.modified != new.properties.modified && step != 6,
            ];
            Some((keys, old.data.len(), old.data.iter().zip(&new.data).map(|(old, new)| old.0 != new.0).collect()))
        };
        let (our_changes, their_changes): (Option<(_, _, Vec<bool>)>, _) = (changed(our), changed(their));
        assert_eq!(our_changes, their_changes, "{at}");
        // A link node stands before each space, but where the reference dropped it (`spec/03` §7.6, §14.4).
        let dropped = old.is_some_and(|old| old.has_own_space && old.link.is_none() && old.cap == our.cap);
        assert_eq!(our.link.is_some(), our.has_own_space && !dropped, "{at}");
    }
    assert_eq!(ours.leaked, before.leaked, "labels that nothing leads to");
    // A space is in use as long as an item has it; the reference leaves those that were replaced (`spec/03` §7.6).
    assert_eq!(ours.spaces.len() + before.own_spaces(), before.spaces.len() + ours.own_spaces());
    println!("step {step}: {name}: performed and compared");
}

#[test]
fn step_1_share_a_file_to_write() {
    perform(1, "file moved to its own writer", |session, _| {
        let none: [Audience; 0] = [];
        run(session.share_to_write(&path(FILE), &none)).unwrap();
    });
}

#[test]
fn step_2_share_a_directory_to_write() {
    perform(2, "directory moved to its own writer", |session, _| {
        let none: [Audience; 0] = [];
        run(session.share_to_write(&path(DIRECTORY), &none)).unwrap();
    });
}

#[test]
fn step_3_overwrite_a_dirty_file() {
    perform(3, "the dirty file overwritten", |session, states| {
        let new = run(states.after(3).log_in(50).read(&path(FILE))).unwrap();
        let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
        put(session, FILE, &new, &options).unwrap();
    });
}

#[test]
fn step_4_put_a_large_file_beside() {
    perform(4, "plain 11 MiB file added", |session, states| {
        put(session, PLAIN, &states.plain, &UploadOptions::default()).unwrap();
    });
}

#[test]
fn step_5_take_reading_of_a_file_back() {
    perform(5, "read access to plain.bin revoked", |session, _| {
        run(session.share(&path(PLAIN), &NOBODY)).unwrap();
        let revoked = run(session.unshare(&path(PLAIN), &NOBODY, Taken::All)).unwrap();
        assert_eq!(revoked.from, NOBODY);
    });
}

#[test]
fn step_6_edit_a_dirty_file() {
    perform(6, "4 bytes of plain.bin overwritten", |session, _| {
        let at = (5 << 20) + 100;
        run(session.write_at(&path(PLAIN), at, &mut Bytes::from_static(b"edit"), &())).unwrap();
    });
}

#[test]
fn step_7_take_writing_of_a_directory_back() {
    perform(7, "write access to shared-dir revoked", |session, _| {
        run(session.share_to_write(&path(DIRECTORY), &NOBODY)).unwrap();
        let revoked = run(session.unshare(&path(DIRECTORY), &NOBODY, Taken::Writing)).unwrap();
        assert_eq!(revoked.from, NOBODY);
    });
}

#[test]
fn step_8_take_reading_of_a_directory_back() {
    perform(8, "read access to shared-dir revoked", |session, _| {
        run(session.share(&path(DIRECTORY), &NOBODY)).unwrap();
        let revoked = run(session.unshare(&path(DIRECTORY), &NOBODY, Taken::All)).unwrap();
        assert_eq!(revoked.from, NOBODY);
    });
}

#[test]
fn step_9_rename_a_file_with_a_space() {
    let moved = [("/space/shared-file.bin", "/space/renamed-file.bin")];
    perform_and_move(9, "file with its own writer renamed", &moved, |session, _| {
        run(session.rename(&path(FILE), &path(RENAMED), IfExists::Fail)).unwrap();
    });
}

/// Steps 10 and 11 are one: what it does to the directory it moves to, and to the one it leaves.
#[test]
fn step_10_move_a_file_with_a_space() {
    let moved = [("/space/renamed-file.bin", "/dest/renamed-file.bin")];
    let action = |session: &TestSession<'_>, states: &States| {
        run(session.make_directory(&path("/erin/dest"))).unwrap();
        run(session.rename(&path(RENAMED), &path(MOVED), IfExists::Fail)).unwrap();
        check_tree(session, states.expected(11));
        assert_eq!(run(session.list(&path(SPACE))).unwrap().len(), 2);
    };
    perform_and_move(10, "file with its own writer moved to /erin/dest", &moved, action);
}

#[test]
fn step_12_remove_a_directory_with_a_space() {
    perform(12, "directory with its own writer deleted", |session, _| {
        run(session.remove(&path(DIRECTORY), true)).unwrap();
    });
}
