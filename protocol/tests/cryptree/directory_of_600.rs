//! `03-dir-600.json`: a directory of several chunks, and how changes go through them.

use std::collections::BTreeSet;

use bytes::Bytes;
use pyrgos_protocol::cryptree::capability::{AbsoluteCapability, NamedRelativeCapability, RelativeCapability};
use pyrgos_protocol::cryptree::directory::{Added, ChildList, DirectoryChunk, ENTRIES_PER_CHUNK};
use pyrgos_protocol::cryptree::fragments::Plaintext;
use pyrgos_protocol::cryptree::node::CryptreeNode;
use pyrgos_protocol::cryptree::{FileName, FileProperties, MapKey};
use pyrgos_protocol::encoding::{Cid, FromCbor};
use serde_json::Value;

use crate::nodes::{Checked, capability, check, key};
use crate::support::{Cases, array, bytes, int, text};

/// The chunks of the directory in one state.
struct State {
    chunks: Vec<(Value, Checked)>,
}

impl State {
    fn of(records: Vec<Value>) -> State {
        let mut state = State { chunks: Vec::new() };
        for record in records {
            if record.get("absentMapKey").is_some() {
                state.check_end(&record);
                continue;
            }
            let checked = check_directory(&record);
            state.chunks.push((record, checked));
        }
        assert_eq!(state.chunks.len(), 2);
        state
    }

    fn list(&self, chunk: usize) -> Option<ChildList> {
        ChildList::from_cbor(self.chunks[chunk].1.data.as_ref()?).ok()
    }

    /// The chunk after the last one is not there, at the label that the last one reserves.
    fn check_end(&self, absent: &Value) {
        let (_, last) = self.chunks.last().expect("chunks");
        assert_eq!(int(absent, "chunk") as usize, self.chunks.len());
        let next = &last.open.base_block().unwrap().next;
        assert_eq!(next.map_key, MapKey::from_bytes(array(absent, "absentMapKey")));
    }

    /// The names in one chunk.
    fn names(&self, chunk: usize) -> BTreeSet<String> {
        let names = self.chunks[chunk].0["data"]["childNames"].as_array().expect("names");
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }
}

/// Checks a node; a child list that the record holds as fragment blocks comes out of these first.
fn check_directory(record: &Value) -> Checked {
    let Some(fragments) = record["data"]["fragmentBlocks"].as_array() else { return check(record, None) };
    let blocks: Vec<Bytes> = fragments.iter().map(|fragment| bytes(fragment, "block").into()).collect();
    for (fragment, block) in fragments.iter().zip(&blocks) {
        assert!(text(fragment, "cid").parse::<Cid>().unwrap().matches(block));
    }
    let node = CryptreeNode::from_block(&bytes(record, "block").into()).expect("a node");
    let list = node.data().open(&key(&record["data"], "key"), &blocks).expect("the child list opens");
    check(record, Some(&list.encode()))
}

#[test]
fn vectors() {
    let mut cases = Cases::of("03-dir-600");
    let count = cases.value("childCount").as_u64().unwrap() as usize;
    let directory = capability(&cases.value("directoryCap"));
    let all = State::of(cases.section("after600"));
    assert_eq!(all.chunks[0].1.cap, directory);
    chain(&all);
    let lists: Vec<ChildList> = (0..2).map(|chunk| all.list(chunk).expect("the lists are recorded")).collect();
    assert_eq!(lists.iter().map(ChildList::len).sum::<usize>(), count);
    let names: BTreeSet<String> = (0..count).map(|n| format!("f{n:03}.txt")).collect();
    assert_eq!(all.names(0).union(&all.names(1)).cloned().collect::<BTreeSet<_>>(), names);
    samples(&cases.section("sampleChildren"), &directory, &lists);

    // One by one as they were uploaded: 500 fill the first chunk, the rest goes to the second.
    fills_as_the_reference_does(&lists);

    let deleted = State::of(cases.section("afterDeletingF003AndF550"));
    let mut edited = lists.clone();
    for (list, name) in edited.iter_mut().zip(["f003.txt", "f550.txt"]) {
        let location = list.get(name).expect("the entry").cap.location(&directory.owner, &directory.writer);
        assert!(list.remove(std::slice::from_ref(&location), &directory.owner, &directory.writer));
        assert!(!list.remove(&[location], &directory.owner, &directory.writer), "it is gone");
    }
    compare(&edited, &deleted);

    let entry = |name: &str| NamedRelativeCapability {
        name: FileName::new(name).unwrap().into(),
        ..lists[0].named().unwrap()[0].clone()
    };
    let added = State::of(cases.section("afterAddingLate1"));
    assert_eq!(add(&mut edited, entry("late-1.txt")), 0, "one slot is free in the first chunk");
    compare(&edited, &added);
    let added = State::of(cases.section("afterAddingLate2"));
    assert_eq!(add(&mut edited, entry("late-2.txt")), 1, "the first chunk is full again");
    compare(&edited, &added);

    let renamed = State::of(cases.section("afterRenamingF599"));
    let new_name = renamed.names(1).difference(&added.names(1)).next().expect("a new name").clone();
    let old = edited[1].get("f599.txt").expect("the entry").clone();
    let location = old.cap.location(&directory.owner, &directory.writer);
    let name = FileName::new(new_name.clone()).unwrap();
    let hints = old.hints.clone();
    let taken = FileName::new("late-2.txt").unwrap();
    let (owner, writer) = (&directory.owner, &directory.writer);
    assert!(edited[1].rename(&location, owner, writer, taken, hints.clone()).is_err());
    assert_eq!(edited[0].rename(&location, owner, writer, name.clone(), hints.clone()), Ok(false));
    assert_eq!(edited[1].rename(&location, owner, writer, name, hints), Ok(true));
    compare(&edited, &renamed);
    assert_eq!(edited[1].get(&new_name).unwrap().cap, old.cap, "the capability stays");
    cases.finish();

    // Only the data of a chunk change (`spec/03` §4.4).
    for (before, after) in all.chunks.iter().zip(&renamed.chunks) {
        assert_eq!(before.1.node.with_data(after.1.node.data().clone()), after.1.node);
        assert_ne!(before.1.node, after.1.node);
    }
}

/// The second chunk lies where the first one says, with the same keys and placeholder properties.
fn chain(state: &State) {
    let [first, second] = [0, 1].map(|at| &state.chunks[at].1);
    let base = first.open.base_block().unwrap();
    assert_eq!(first.cap.with_label(base.next.label()), second.cap);
    assert_eq!(second.open.properties(), &FileProperties::later_directory_chunk());
    assert_eq!(second.open.parent_block().parent, first.open.parent_block().parent);
    let mut rng = crate::support::system_random();
    let rebuilt = DirectoryChunk::later(
        first.cap.base_key.clone(),
        base,
        first.open.parent_block().parent.clone(),
        state.list(1).unwrap(),
        second.node.mirror_bat().cloned(),
        &mut rng,
    );
    let (node, fragments) = rebuilt.build(&mut rng).unwrap();
    let open = node.open(&second.cap.base_key).unwrap();
    assert_eq!(open.parent_block(), second.open.parent_block());
    assert_eq!(open.base_block().unwrap().key, base.key);
    assert_eq!(node.bats(), second.node.bats());
    assert_eq!(fragments.len(), second.node.data().fragments().len());
}

fn samples(records: &[Value], directory: &AbsoluteCapability, lists: &[ChildList]) {
    for record in records {
        let checked = check_directory(record);
        let name = text(record, "path").rsplit('/').next().unwrap();
        let entry = lists.iter().find_map(|list| list.get(name)).expect("an entry");
        assert_eq!(entry.cap.to_absolute(directory).unwrap(), checked.cap);
        let number: u32 = name[1..4].parse().unwrap();
        let chunk = checked.data.unwrap();
        assert_eq!(&chunk.as_bytes().unwrap()[..], format!("file {number}").as_bytes());
        assert_eq!(int(&record["parent"]["properties"], "size"), chunk.as_bytes().unwrap().len() as i64);
    }
}

fn fills_as_the_reference_does(recorded: &[ChildList]) {
    let mut entries: Vec<NamedRelativeCapability> =
        recorded.iter().flat_map(|list| list.named().unwrap().to_vec()).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut lists = vec![ChildList::default()];
    for entry in entries {
        add(&mut lists, entry);
    }
    assert_eq!(lists.iter().map(ChildList::len).collect::<Vec<_>>(), [ENTRIES_PER_CHUNK, 100]);
}

/// Adds an entry through the chunks and returns which one took it.
fn add(lists: &mut Vec<ChildList>, entry: NamedRelativeCapability) -> usize {
    let mut entries = vec![entry];
    for at in 0.. {
        let next_exists = at + 1 < lists.len();
        match lists[at].add(entries, next_exists).expect("the name is free") {
            Added::Here => return at,
            Added::PassOn(rest) => entries = rest,
            Added::NewChunks { changed, chunks } => {
                assert!(!changed && chunks.len() == 1);
                lists.extend(chunks);
                return at + 1;
            }
        }
    }
    unreachable!()
}

/// The chunks hold the names that the record has.
fn compare(lists: &[ChildList], state: &State) {
    for (at, list) in lists.iter().enumerate() {
        let names: BTreeSet<String> =
            list.named().unwrap().iter().map(|entry| entry.name.as_str().to_owned()).collect();
        let difference: Vec<String> = names.symmetric_difference(&state.names(at)).cloned().collect();
        assert_eq!(difference, [""; 0], "chunk {at}");
        assert_eq!(list.len() as i64, int(&state.chunks[at].0["data"], "childCount"));
    }
    assert_eq!(lists.len(), state.chunks.len());
}

#[test]
fn an_old_list_without_names_is_kept_but_takes_no_entry() {
    let cap = RelativeCapability::to_next_chunk(
        pyrgos_protocol::cryptree::ChunkLabel::generate(&mut crate::support::system_random()),
        pyrgos_protocol::keys::SymmetricKey::null(),
    );
    let mut list = ChildList::Unnamed(vec![cap.clone()]);
    let entry = NamedRelativeCapability { name: FileName::new("new").unwrap().into(), cap, hints: Default::default() };
    assert!(list.add(vec![entry.clone()], false).is_err());
    assert_eq!(list.len(), 1);
    assert_eq!(ChildList::Unnamed(Vec::new()).add(vec![entry], false), Ok(Added::Here));
    assert!(Plaintext::structure(&list).content().len() > 1);
}
