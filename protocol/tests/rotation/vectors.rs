//! `03-writing-spaces.json`: each rotation is done from the state before it, and its result compared with the state
//! after it as the reference left it. Contents are copied byte for byte, so these must be equal.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_protocol::cryptree::capability::AbsoluteCapability;
use pyrgos_protocol::cryptree::chunk::MapKey;
use pyrgos_protocol::cryptree::node::CryptreeNode;
use pyrgos_protocol::encoding::{Cid, Codec, FromCbor, Value as Cbor};
use pyrgos_protocol::keys::{SigningPrivateKeyAndPublicHash, Writer};
use pyrgos_protocol::merkle::champ::{Champ, KeyHashing, MemoryBlocks};
use serde_json::Value;

use crate::memory::{Memory, View};
use crate::support::{Cases, bytes, text};

struct States {
    steps: Vec<Value>,
    home: AbsoluteCapability,
    blocks: MemoryBlocks,
}

impl States {
    fn load(cases: &mut Cases) -> Self {
        let secrets = cases.value("secrets");
        let home = AbsoluteCapability::from_bytes(&bytes(&secrets["entryPoints"][0]["cap"], "cbor")).unwrap();
        let steps = cases.value("steps").as_array().unwrap().clone();
        let mut blocks = MemoryBlocks::default();
        for step in &steps {
            for (cid, block) in step["newReachableBlocks"].as_object().unwrap() {
                // Blocks of 20 000 bytes and more are given by their length alone; they are fragments of a content.
                let Some(block) = block.as_str().and_then(|block| hex::decode(block).ok()) else { continue };
                let codec = cid.parse::<Cid>().unwrap().codec();
                blocks.put(codec, block.into());
            }
        }
        assert!(blocks.len() > 50 && home.is_writable());
        States { steps, home, blocks }
    }

    /// The spaces after a step.
    fn memory(&self, step: usize) -> Memory {
        let mut memory = Memory::default();
        for (cid, block) in self.blocks.iter() {
            if cid.codec() == Codec::Raw {
                memory.fragments.insert(cid.clone(), block.clone());
            }
        }
        for record in self.steps[step]["writers"].as_array().unwrap() {
            if record["deleted"] == true {
                continue;
            }
            let writer: Writer = text(record, "writer").parse().unwrap();
            let data = Cbor::decode(&bytes(record, "writerData")).unwrap();
            let Some(tree) = data.as_map().unwrap().get("tree") else { continue };
            let champ = Champ::new(&self.blocks, KeyHashing::Identity);
            let mut entries = champ.entries(tree.as_link().unwrap());
            while let Some(entry) = entries.next().now_or_never().unwrap().unwrap() {
                let map_key = MapKey::from_bytes(entry.key[..].try_into().unwrap());
                let cid = entry.value.as_link().unwrap();
                let node = CryptreeNode::from_block(self.blocks.get(cid).unwrap()).unwrap();
                memory.put(&writer, map_key, node);
                assert_eq!(memory.nodes[&(writer.clone(), map_key)].0, *cid);
            }
        }
        memory
    }

    fn home_signer(&self, memory: &Memory) -> SigningPrivateKeyAndPublicHash {
        let (_, node) = &memory.nodes[&(self.home.writer.clone(), self.home.map_key)];
        node.open(&self.home.base_key).unwrap().signer(&self.home, None).unwrap()
    }

    fn view(&self, memory: &Memory) -> View {
        memory.view(&self.home, &self.home_signer(memory)).0
    }
}

/// The names at and below an item.
fn below<'a>(view: &'a View, path: &str) -> BTreeMap<String, &'a crate::memory::Seen> {
    let inside = format!("{path}/");
    view.iter().filter(|(p, _)| *p == path || p.starts_with(&inside)).map(|(p, seen)| (p.clone(), seen)).collect()
}

#[test]
fn steps() {
    let mut cases = Cases::of("03-writing-spaces");
    let states = States::load(&mut cases);
    let rotations = [
        (1, "/space/shared-file.bin", true, "file moved to its own writer"),
        (2, "/space/shared-dir", true, "directory moved to its own writer"),
        (5, "/space/plain.bin", false, "read access to plain.bin revoked"),
        (7, "/space/shared-dir", true, "write access to shared-dir revoked"),
        (8, "/space/shared-dir", false, "read access to shared-dir revoked"),
    ];
    for (step, path, new_signers, name) in rotations {
        assert!(text(&states.steps[step], "step").starts_with(name));
        rotation(&states, step, path, new_signers);
        println!("03-writing-spaces.json: {name}: planned and compared");
    }
    cases.count(rotations.len());
    cases.leave("the other eight steps", "no rotations; the test `client_recorded` does them");
    cases.finish();
}

fn rotation(states: &States, step: usize, path: &str, new_signers: bool) {
    let before = states.memory(step - 1);
    let signer = states.home_signer(&before);
    let (view, labels) = before.view(&states.home, &signer);
    let parent = &view["/space"].cap;
    let old = &view[path];
    let entry = old.link.as_ref().unwrap_or(&old.cap).location();
    let mut after = before.clone();
    let plan = after.rotate(parent, &signer, &entry, new_signers).unwrap();
    assert!(plan.kept.is_empty() && plan.dropped.is_empty());

    let (mine, mine_labels) = after.view(&states.home, &signer);
    let theirs = states.view(&states.memory(step));
    // What they added beside it in the same step is not here; what is below the item is, and nothing else has changed.
    let (mine_below, theirs_below) = (below(&mine, path), below(&theirs, path));
    assert_eq!(mine_below.keys().collect::<Vec<_>>(), theirs_below.keys().collect::<Vec<_>>());
    for (path, seen) in &mine_below {
        let reference = theirs_below[path];
        assert_eq!(format!("{:?}", seen.lasting()), format!("{:?}", reference.lasting()), "{path}");
        assert!(seen.lasting() == reference.lasting(), "{path}");
        assert_eq!(seen.is_dirty, reference.is_dirty, "{path}");
        let [ours, old_cap] = [&seen.cap, &view[path].cap];
        assert_ne!(ours.map_key, old_cap.map_key);
        assert_eq!(ours.writer != old_cap.writer, new_signers, "{path}");
        let item = plan.items.iter().find(|item| item.new == *ours).expect("each item is reported");
        assert_eq!((&item.old, &item.link), (old_cap, &seen.link));
        // A link node is kept where the reference leaves a direct child of another space (`spec/03` §14.4).
        assert_eq!(seen.link.is_some(), seen.has_own_space);
        assert!(seen.link.is_none() || reference.link.is_some() || step == 8);
        if !seen.properties.is_directory() {
            assert!(seen.is_dirty);
            assert_ne!(seen.properties.stream_secret(), view[path].properties.stream_secret());
            let verbatim = seen.data.iter().zip(&view[path].data).all(|(new, old)| new.0 == old.0);
            assert!(verbatim && seen.data.len() == view[path].data.len());
        }
    }
    for (other, seen) in &view {
        if !mine_below.contains_key(other) {
            assert_eq!(mine[other].cap, seen.cap);
        }
    }
    assert_eq!(plan.item(&[]).map(|item| &item.new), Some(&mine[path].cap));
    // Labels: exactly those that are in use, and those that the reference had leaked before.
    let leaked: Vec<_> = before.nodes.keys().filter(|label| !labels.contains(*label)).collect();
    let left: Vec<_> = after.nodes.keys().filter(|label| !mine_labels.contains(*label)).collect();
    assert_eq!(left, leaked);
    spaces(&plan, &parent.writer, &old.cap.writer, new_signers);
}

fn spaces(plan: &pyrgos_protocol::cryptree::rotation::Plan, parent: &Writer, old: &Writer, new_signers: bool) {
    let new = &plan.items[0].new.writer;
    match new_signers {
        true => {
            assert_eq!(plan.spaces.len(), 1);
            assert_eq!((&plan.spaces[0].owner, &plan.spaces[0].signer.writer()), (parent, new));
            let retired: Vec<_> = plan.retired.iter().map(|space| (&space.writer, &space.owner)).collect();
            assert_eq!(retired, if old == parent { vec![] } else { vec![(old, parent)] });
        }
        false => assert!(plan.spaces.is_empty() && plan.retired.is_empty() && new == old),
    }
}

/// The loss of data that the reference has (`spec/03` §14.2): rotating what contains items with spaces of their own.
#[test]
fn nested_spaces_survive() {
    let mut cases = Cases::of("03-writing-spaces");
    let states = States::load(&mut cases);
    for new_signers in [false, true] {
        let before = states.memory(4);
        let signer = states.home_signer(&before);
        let (view, labels) = before.view(&states.home, &signer);
        let mut after = before.clone();
        let plan = after.rotate(&states.home, &signer, &view["/space"].cap.location(), new_signers).unwrap();
        assert!(plan.kept.is_empty() && plan.dropped.is_empty());
        let (mine, mine_labels) = after.view(&states.home, &signer);
        assert_eq!(mine.keys().collect::<Vec<_>>(), view.keys().collect::<Vec<_>>());
        let inside = below(&mine, "/space");
        assert_eq!(inside.len(), 5);
        for (path, seen) in &inside {
            let old = &view[path];
            let (mut now, was) = ((*seen).clone(), old.clone());
            if path == "/space" {
                // The directory itself moves into a space of its own.
                assert_eq!(now.has_own_space, new_signers);
                now.has_own_space = false;
            }
            assert!(now.lasting() == was.lasting(), "{path}");
            assert!(!after.opens(&old.cap));
            let moved = seen.cap.writer != old.cap.writer;
            assert_eq!(moved, new_signers, "{path}");
        }
        assert!(inside["/space/shared-dir"].has_own_space && inside["/space/shared-dir"].link.is_some());
        match new_signers {
            false => {
                assert!(plan.spaces.is_empty() && plan.retired.is_empty());
                assert_eq!(inside["/space/shared-dir"].cap.writer, view["/space/shared-dir"].cap.writer);
            }
            true => {
                // The spaces inside belonged to the home space, the new ones belong to the new one.
                assert_eq!((plan.spaces.len(), plan.retired.len()), (3, 2));
                assert!(plan.retired.iter().all(|space| space.owner == states.home.writer));
                let space = &mine["/space"].cap.writer;
                assert!(plan.spaces[1..].iter().all(|nested| nested.owner == *space));
                assert_eq!(plan.spaces[0].owner, states.home.writer);
            }
        }
        let leaked = before.nodes.keys().filter(|label| !labels.contains(*label)).count();
        let left = after.nodes.keys().filter(|label| !mine_labels.contains(*label)).count();
        assert_eq!(left, leaked);
        // And once more, from what came out.
        let again = after.rotate(&states.home, &signer, &first_entry(&mine, "/space"), !new_signers).unwrap();
        assert!(again.kept.is_empty() && again.dropped.is_empty());
        let (third, _) = after.view(&states.home, &signer);
        assert_eq!(third.keys().collect::<Vec<_>>(), view.keys().collect::<Vec<_>>());
    }
}

fn first_entry(view: &View, path: &str) -> pyrgos_protocol::cryptree::Location {
    let seen = &view[path];
    seen.link.as_ref().unwrap_or(&seen.cap).location()
}

#[test]
fn blocks_are_what_their_addresses_say() {
    let mut cases = Cases::of("03-writing-spaces");
    let states = States::load(&mut cases);
    let empty: Bytes = Bytes::new();
    assert!(states.blocks.iter().all(|(cid, block)| cid.matches(block) && *block != empty));
}
