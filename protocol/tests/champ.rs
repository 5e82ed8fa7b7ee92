//! The CHAMP against `02-champ.json` and `02-champ-merge.json`, and against a model.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::FutureExt;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use pyrgos_protocol::encoding::{Cid, Codec, FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::merkle::bat::BatId;
use pyrgos_protocol::merkle::champ::bulk::prove;
use pyrgos_protocol::merkle::champ::{
    self, Champ, ChampError, Change, Changed, Difference, Entry, Expected, KeyHashing, MemoryBlocks, Node, Overlay,
    Proof, Slot,
};
use serde_json::Value;
use support::{Cases, array, bytes, int, text};

type Error = ChampError<std::convert::Infallible>;
type Model = BTreeMap<Vec<u8>, Cbor>;

/// Trees in memory.
struct Trees {
    blocks: MemoryBlocks,
    hashing: KeyHashing,
    bat: Option<BatId>,
}

impl Trees {
    fn new(hashing: KeyHashing) -> Self {
        let mut trees = Trees { blocks: MemoryBlocks::default(), hashing, bat: None };
        trees.empty();
        trees
    }

    fn champ(&self) -> Champ<&MemoryBlocks> {
        let champ = Champ::new(&self.blocks, self.hashing);
        match &self.bat {
            Some(bat) => champ.with_root_bat(bat.clone()),
            None => champ,
        }
    }

    fn empty(&mut self) -> Cid {
        let (root, block) = self.champ().empty();
        self.blocks.extend([(root.clone(), block)]);
        root
    }

    fn keep(&mut self, changed: Changed) -> Cid {
        for (cid, block) in &changed.blocks {
            assert_eq!(*cid, Cid::of_cbor(block));
        }
        self.blocks.extend(changed.blocks);
        changed.root
    }

    fn apply(&mut self, root: &Cid, changes: &[Change]) -> Result<Cid, Error> {
        let changed = self.champ().apply(root, changes).now_or_never().unwrap()?;
        Ok(self.keep(changed))
    }

    fn build(&mut self, model: &Model) -> Cid {
        let puts: Vec<Change> =
            model.iter().map(|(key, value)| Change::put(key.clone(), None, value.clone())).collect();
        let root = self.empty();
        self.apply(&root, &puts).unwrap()
    }

    fn get(&self, root: &Cid, key: &[u8]) -> Option<Cbor> {
        self.champ().get(root, key).now_or_never().unwrap().unwrap()
    }

    fn entries(&self, root: &Cid) -> Result<Vec<Entry>, Error> {
        let champ = self.champ();
        let mut entries = champ.entries(root);
        let mut all = Vec::new();
        while let Some(entry) = entries.next().now_or_never().unwrap()? {
            all.push(entry);
        }
        Ok(all)
    }

    fn size(&self, root: &Cid) -> u64 {
        self.champ().size(root).now_or_never().unwrap().unwrap()
    }

    fn diff(&self, before: Option<&Cid>, after: Option<&Cid>) -> Result<Vec<Difference>, Error> {
        self.champ().diff(before, after).now_or_never().unwrap()
    }

    fn merge(&mut self, base: &Cid, ours: &Cid, theirs: &Cid) -> Result<Cid, Error> {
        let merged = self.champ().merge(Some(base), Some(ours), Some(theirs)).now_or_never().unwrap()?;
        Ok(self.keep(merged))
    }

    /// All nodes of a tree.
    fn nodes(&self, root: &Cid) -> BTreeMap<Cid, Bytes> {
        let mut nodes = BTreeMap::new();
        let mut pending = vec![root.clone()];
        while let Some(cid) = pending.pop() {
            let block = self.blocks.get(&cid).expect("the node is there").clone();
            let node = Node::from_bytes(&block).unwrap();
            assert_eq!(node.to_bytes(), block);
            pending.extend(node.children().map(|(_, child)| child.clone()));
            nodes.insert(cid, block);
        }
        nodes
    }
}

fn cid(text: &str) -> Cid {
    text.parse().expect("a CID")
}

fn link(text: &str) -> Cbor {
    Cbor::Link(Cid::from_bytes(&hex::decode(text).unwrap()).unwrap())
}

fn maybe_link(case: &Value, key: &str) -> Option<Cbor> {
    case[key].as_str().map(link)
}

fn hashing(case: &Value) -> KeyHashing {
    match text(case, "key_hasher") {
        "identity" => KeyHashing::Identity,
        "sha2-256" => KeyHashing::Sha256,
        "blake2b-512" => KeyHashing::Blake2b512,
        other => panic!("unknown hash {other}"),
    }
}

/// The model's root by the definition of the canonical form alone (`spec/02` §6.4), without any of the tree's code but
/// the encoding of a node.
fn canonical_root(model: &Model, hashing: KeyHashing, bat: Option<&BatId>) -> Cid {
    fn node(pairs: Vec<(&Vec<u8>, &Cbor)>, depth: usize, hashing: KeyHashing) -> Node {
        let mut groups: [Vec<(&Vec<u8>, &Cbor)>; 8] = Default::default();
        for pair in pairs {
            groups[champ::slot(&hashing.hash(pair.0), depth)].push(pair);
        }
        let slots = groups.map(|mut group| match group.len() {
            0 => Slot::Empty,
            1..=4 => {
                group.sort_by_key(|(key, _)| (key.len(), key.to_vec()));
                let entry = |(key, value): (&Vec<u8>, &Cbor)| Entry { key: key.clone().into(), value: value.clone() };
                Slot::Bucket(group.into_iter().map(entry).collect())
            }
            _ => Slot::Child(node(group, depth + 1, hashing).to_block().0),
        });
        Node { slots, bat: None }
    }
    Node { bat: bat.cloned(), ..node(model.iter().collect(), 0, hashing) }.to_block().0
}

#[test]
fn champ_vectors() {
    let mut cases = Cases::of("02-champ");
    let writer = cases.value("writer");
    assert_eq!(array::<32>(&writer, "seed"), pyrgos_crypto::hash::sha256(b"peergos-vector-seed:owner"));
    for case in cases.section("mask") {
        let hash = bytes(&case, "hash");
        let width = int(&case, "bit_width") as usize;
        let key = if width == 3 { "positions_at_depth_0_to_31" } else { "positions_at_depth_0_to_11" };
        let expected: Vec<usize> = serde_json::from_value(case[key].clone()).unwrap();
        let positions = (0..expected.len()).map(|depth| champ::position(&hash, width, depth));
        assert_eq!(positions.collect::<Vec<_>>(), expected);
        if width == champ::BIT_WIDTH {
            assert_eq!((0..32).map(|depth| champ::slot(&hash, depth)).collect::<Vec<_>>(), expected);
        }
    }
    let mut operations = 0;
    for case in cases.section("trees") {
        operations += tree(&case);
    }
    for case in cases.section("rules_and_errors") {
        operations += rules(&case);
    }
    bulk_removal(&cases.value("bulk_removal"));
    let removals = cases.value("bulk_removal")["cases"].as_array().unwrap().len();
    for case in cases.section("decoding") {
        let cbor = bytes(&case, "cbor");
        let result = &case["result"];
        let read = Node::from_bytes(&cbor);
        assert_eq!(read.is_ok(), result["accepted"].as_bool().unwrap(), "{case}");
        if let Ok(node) = read {
            assert_eq!(node.to_bytes(), bytes(result, "reserialized"));
            let bat = node.bat.as_ref().map(|bat| hex::encode(&*bat.to_cid_bytes()));
            assert_eq!(bat.as_deref(), result["mirror_bat"].as_str());
        }
    }
    println!("02-champ.json: {operations} operations on trees, {removals} bulk removals");
    cases.finish();
}

/// Replays the operations on one tree and compares each root, the nodes that are written and the nodes that remain.
fn tree(case: &Value) -> usize {
    assert_eq!(int(case, "bit_width") as usize, champ::BIT_WIDTH);
    assert_eq!(int(case, "max_collisions") as usize, champ::MAX_BUCKET);
    let mut trees = Trees::new(hashing(case));
    trees.bat = case["mirror_bat_id"]
        .as_str()
        .map(|_| BatId::from_cid(&Cid::from_bytes(&bytes(case, "mirror_bat_id")).unwrap()).unwrap());
    let mut root = trees.empty();
    assert_eq!(root, cid(text(case, "empty_root")));
    assert_eq!(trees.blocks.get(&root).unwrap(), &bytes(case, "empty_root_block"));

    let mut model = Model::new();
    let operations = case["operations"].as_array().unwrap();
    for operation in operations {
        let key = bytes(operation, "key");
        let expected = maybe_link(operation, "expected");
        let change = match text(operation, "op") {
            "put" => {
                let value = maybe_link(operation, "value").unwrap();
                model.insert(key.clone(), value.clone());
                Change::put(key.clone(), expected, value)
            }
            "remove" => {
                model.remove(&key);
                Change::remove(key.clone(), expected.unwrap())
            }
            other => panic!("unknown operation {other}"),
        };
        let changed = trees.champ().apply(&root, &[change]).now_or_never().unwrap().unwrap();
        if let Some(written) = operation["blocks_written_in_order"].as_array() {
            let written: BTreeSet<&str> = written.iter().map(|block| block.as_str().unwrap()).collect();
            assert!(changed.blocks.iter().all(|(_, block)| written.contains(hex::encode(block).as_str())));
        }
        let old = trees.nodes(&root);
        root = trees.keep(changed.clone());
        assert_eq!(root, cid(text(operation, "root")), "{}: {operation}", text(case, "name"));
        // What is written is what remains and was not there before.
        let new: BTreeSet<Cid> = trees.nodes(&root).into_keys().filter(|cid| !old.contains_key(cid)).collect();
        assert_eq!(changed.blocks.into_iter().map(|(cid, _)| cid).collect::<BTreeSet<_>>(), new);

        if operation.get("root_block").is_some() {
            assert_eq!(trees.blocks.get(&root).unwrap(), &bytes(operation, "root_block"));
        }
        if let Some(nodes) = operation["all_nodes"].as_object() {
            let nodes = nodes.iter().map(|(cid, block)| (cid.clone(), block.as_str().unwrap().to_owned()));
            let ours = trees.nodes(&root);
            let ours = ours.iter().map(|(cid, block)| (cid.to_string(), hex::encode(block)));
            assert_eq!(ours.collect::<BTreeMap<_, _>>(), nodes.collect());
        }
        if operation.get("size").is_some() {
            assert_eq!(trees.size(&root) as i64, int(operation, "size"));
        }
        assert_eq!(root, canonical_root(&model, trees.hashing, trees.bat.as_ref()));
        assert_eq!(trees.get(&root, &key), model.get(&key).cloned());
    }
    // The same set in one batch, and in reverse order, gives the same tree.
    assert_eq!(trees.build(&model), root);
    operations.len()
}

fn rules(case: &Value) -> usize {
    let mut trees = Trees::new(hashing(case));
    let mut root = trees.empty();
    let operations = case["operations"].as_array().unwrap();
    for operation in operations {
        let key = bytes(operation, "key");
        let note = operation["note"].as_str().unwrap_or_default();
        let expected = maybe_link(operation, "expected").map_or(Expected::Absent, Expected::Value);
        // A mapping with a null value is written by the reference only, in merges; here it is a value like others.
        let value = maybe_link(operation, "value").or_else(|| operation.get("value").map(|_| Cbor::Null));
        let mut change = Change { key: key.clone().into(), expected, value };
        match text(operation, "op") {
            "get" => {
                assert_eq!(trees.get(&root, &key).is_some(), operation["result"].as_bool().unwrap());
                assert_eq!(trees.size(&root) as i64, int(operation, "size_counts_it"));
                assert_eq!(trees.blocks.get(&root).unwrap(), &bytes(operation, "root_block"));
                // Absent to whoever compares, too, and gone once it is removed.
                let again = Change { expected: Expected::Absent, value: Some(Cbor::Int(1)), ..change.clone() };
                assert!(trees.apply(&root, &[again]).is_ok());
                let removed = trees.apply(&root, &[Change::discard(key)]).unwrap();
                assert_eq!(trees.size(&removed) as i64, int(operation, "size_counts_it") - 1);
                continue;
            }
            "put" => {}
            "remove" => change.value = None,
            other => panic!("unknown operation {other}"),
        }
        let result = trees.apply(&root, std::slice::from_ref(&change));
        if let Some(error) = operation["error"].as_str() {
            let as_expected = match error {
                "cas mismatch" => result == Err(ChampError::Mismatch { key: key.into() }),
                _ => result == Err(ChampError::TooDeep),
            };
            assert!(as_expected, "{operation}");
            continue;
        }
        let lenient = note.contains("NOT checked by the reference") || note.contains("whose slot is empty -> no error");
        root = if lenient {
            // Stricter than the reference: an absent mapping has no value that could be expected (`spec/02` §6.6).
            assert_eq!(result, Err(ChampError::Mismatch { key: change.key.clone() }), "{operation}");
            trees.apply(&root, &[Change { expected: Expected::Any, ..change }]).unwrap()
        } else {
            result.unwrap()
        };
        assert_eq!(root, cid(text(operation, "root")), "{operation}");
    }
    if case.get("nodes").is_some() {
        assert_eq!(trees.nodes(&root).len() as i64, int(case, "nodes"));
        assert_eq!(trees.size(&root) as i64, int(case, "size"));
    }
    operations.len()
}

fn bulk_removal(section: &Value) {
    let key = |index: i64| pyrgos_crypto::hash::sha256(format!("key-{index}").as_bytes()).to_vec();
    let value = |index: i64| Cbor::Link(Cid::of_cbor(format!("value-{index}").as_bytes()));
    let model: Model = (0..80).map(|index| (key(index), value(index))).collect();
    for case in section["cases"].as_array().unwrap() {
        let mut trees = Trees::new(KeyHashing::Identity);
        if case.get("keys_from").is_none() {
            assert_eq!(text(case, "note"), "absent key: ignored, same root");
            let before = trees.build(&(0..10).map(|index| (key(index), value(index))).collect());
            assert_eq!(before, cid(text(case, "root_before")));
            let after = trees.apply(&before, &[Change::discard(key(80))]).unwrap();
            assert_eq!(after, cid(text(case, "root_after_removeAll")));
            continue;
        }
        let before = trees.build(&model);
        assert_eq!(before, cid(text(case, "root_before")));
        let removed: Vec<Vec<u8>> = (int(case, "keys_from")..int(case, "keys_to_exclusive")).map(key).collect();
        let discards: Vec<Change> = removed.iter().cloned().map(Change::discard).collect();
        let after = trees.apply(&before, &discards).unwrap();
        assert_eq!(after, cid(text(case, "root_after_removeAll")));
        assert_eq!(trees.apply(&after, &discards).unwrap(), after);
        let mut one_by_one = before;
        for key in removed {
            let value = trees.get(&one_by_one, &key).unwrap();
            one_by_one = trees.apply(&one_by_one, &[Change::remove(key, value)]).unwrap();
        }
        assert_eq!(one_by_one, cid(text(case, "root_after_one_by_one")));
        assert_eq!(after == one_by_one, case["equal"].as_bool().unwrap());
    }
}

fn model(case: &Value, key: &str) -> Model {
    let mappings = case[key].as_object().unwrap().iter();
    mappings.map(|(key, value)| (hex::decode(key).unwrap(), link(value.as_str().unwrap()))).collect()
}

#[test]
fn merge_vectors() {
    let mut cases = Cases::of("02-champ-merge");
    for case in cases.section("cases") {
        let name = text(&case, "name");
        let [base, ours, theirs] = ["base", "ours", "remote"].map(|side| model(&case, side));
        let mut trees = Trees::new(KeyHashing::Identity);
        let roots = [&base, &ours, &theirs].map(|side| trees.build(side));
        for (root, key) in roots.iter().zip(["base_root", "ours_root", "remote_root"]) {
            assert_eq!(*root, cid(text(&case, key)));
        }
        let reported = |key: &str| -> BTreeSet<String> {
            let differences = case[key].as_array().unwrap().iter();
            differences
                .map(|d| format!("{:?}", (bytes(d, "key"), maybe_link(d, "before"), maybe_link(d, "after"))))
                .collect()
        };
        let found = |trees: &Trees, before: &Cid, after: &Cid| -> BTreeSet<String> {
            let differences = trees.diff(Some(before), Some(after)).unwrap().into_iter();
            differences.map(|d| format!("{:?}", (d.key.to_vec(), d.before, d.after))).collect()
        };
        assert_eq!(found(&trees, &roots[0], &roots[1]), reported("diff_base_ours"), "{name}");
        let mut theirs_expected = reported("diff_base_remote");
        let missed: Vec<&Vec<u8>> = base.keys().filter(|key| !theirs.contains_key(*key)).collect();
        if name == "missed-removal" {
            // The reference does not walk the slots beyond its nodes' highest (`spec/02` §6.9); we report it.
            assert!(theirs_expected.insert(format!("{:?}", (missed[0], Some(&base[missed[0]]), None::<Cbor>))));
        }
        assert_eq!(found(&trees, &roots[0], &roots[2]), theirs_expected, "{name}");

        let merged = trees.merge(&roots[0], &roots[1], &roots[2]);
        if case.get("refused").is_some() {
            assert!(matches!(merged, Err(ChampError::Conflict { .. })), "{name}: {merged:?}");
            continue;
        }
        let merged = merged.unwrap();
        let mut joined = ours.clone();
        joined.extend(
            theirs.iter().filter(|(key, value)| base.get(*key) != Some(value)).map(|(k, v)| (k.clone(), v.clone())),
        );
        missed.iter().for_each(|key| drop(joined.remove(*key)));
        assert_eq!(merged, canonical_root(&joined, KeyHashing::Identity, None), "{name}");

        // The reference leaves a null where the other side removed, or overlooks the removal; add that back to compare.
        let reference = cid(text(&case, "merged_root_reference"));
        let restored: Vec<Change> = match name {
            "remote-removal" => missed.iter().map(|key| Change::put((*key).clone(), None, Cbor::Null)).collect(),
            "missed-removal" => {
                missed.iter().map(|key| Change::put((*key).clone(), None, base[*key].clone())).collect()
            }
            _ => Vec::new(),
        };
        let as_reference = trees.apply(&merged, &restored).unwrap();
        assert_eq!(as_reference, reference, "{name}");
        let left: BTreeMap<Vec<u8>, Cbor> =
            trees.entries(&reference).unwrap().into_iter().map(|entry| (entry.key.to_vec(), entry.value)).collect();
        let listed = case["merged_mappings_reference"].as_object().unwrap().iter();
        let listed = listed.map(|(key, value)| (hex::decode(key).unwrap(), value.as_str().map_or(Cbor::Null, link)));
        assert_eq!(left, listed.collect(), "{name}");
        if name == "remote-removal" {
            assert_eq!(trees.diff(Some(&merged), Some(&reference)), Ok(Vec::new()));
            assert_eq!(trees.get(&reference, missed[0]), None);
        }
    }
    cases.finish();
}

/// Keys that share many prefixes, so that trees of few keys are deep and collapse often.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 7, 8, 0x40, 0x49, 0xff]), 0..5),
        prop::collection::vec(any::<u8>(), 0..3),
        any::<u8>().prop_map(|byte| [&[0x11; 12][..], &[byte]].concat()),
    ]
}

fn models() -> impl Strategy<Value = Model> {
    prop::collection::btree_map(keys(), (0i64..4).prop_map(Cbor::Int), 0..60)
}

fn hashings() -> impl Strategy<Value = KeyHashing> {
    prop::sample::select(vec![KeyHashing::Identity, KeyHashing::Sha256, KeyHashing::Blake2b512])
}

/// Keys whose hashes differ only beyond the deepest node cannot be in one tree; such sets are not tried.
fn fits(model: &Model, hashing: KeyHashing) -> bool {
    let mut groups: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    for key in model.keys() {
        *groups.entry((0..32).map(|depth| champ::slot(&hashing.hash(key), depth)).collect()).or_default() += 1;
    }
    groups.values().all(|count| *count <= champ::MAX_BUCKET)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn changes_follow_a_map(
        batches in prop::collection::vec(prop::collection::vec((keys(), prop::option::weighted(0.6, 0i64..4)), 1..20), 1..12),
        hashing in hashings(),
    ) {
        let mut trees = Trees::new(hashing);
        let mut root = trees.empty();
        let mut model = Model::new();
        for batch in batches {
            let before = (root.clone(), model.clone());
            let changes: Vec<Change> = batch.iter().map(|(key, value)| {
                let value = value.map(Cbor::Int);
                let expected = match &value {
                    Some(value) => model.insert(key.clone(), value.clone()),
                    None => model.remove(key),
                };
                Change { key: key.clone().into(), expected: expected.map_or(Expected::Absent, Expected::Value), value }
            }).collect();
            if !fits(&model, hashing) {
                prop_assert_eq!(trees.apply(&root, &changes), Err(ChampError::TooDeep));
                (root, model) = before;
                continue;
            }
            root = trees.apply(&root, &changes).unwrap();
            prop_assert_eq!(&root, &canonical_root(&model, hashing, None));
            // The same change again finds other values than it expects, unless it changed nothing.
            if let Some(first) = changes.iter().find(|change| model.get(change.key.as_ref()) != before.1.get(change.key.as_ref())) {
                let again = Change { expected: before.1.get(first.key.as_ref()).cloned().map_or(Expected::Absent, Expected::Value), ..first.clone() };
                prop_assert_eq!(trees.apply(&root, &[again]), Err(ChampError::Mismatch { key: first.key.clone() }));
            }
        }
        let entries = trees.entries(&root).unwrap();
        prop_assert_eq!(entries.len(), model.len());
        prop_assert_eq!(entries.into_iter().map(|entry| (entry.key.to_vec(), entry.value)).collect::<Model>(), model.clone());
        for (key, value) in &model {
            prop_assert_eq!(trees.get(&root, key), Some(value.clone()));
        }
        prop_assert_eq!(trees.get(&root, b"not a key of the model"), None);
    }

    #[test]
    fn difference_and_merge_follow_maps(
        base in models(), ours in models(), theirs in models(), seed in any::<u64>(), hashing in hashings(),
    ) {
        // Two sides that share much with the base, and change the rest.
        let side = |other: &Model, bit: u32| -> Model {
            let keep = |key: &Vec<u8>| (seed ^ key.iter().fold(7, |hash: u64, byte| hash.wrapping_mul(31) + u64::from(*byte))).rotate_left(bit) % 5 > 0;
            let mut side: Model = base.iter().filter(|(key, _)| keep(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
            side.extend(other.iter().filter(|(key, _)| !keep(key)).map(|(k, v)| (k.clone(), v.clone())));
            side
        };
        let (ours, theirs) = (side(&ours, 3), side(&theirs, 11));
        let differences = |before: &Model, after: &Model| -> BTreeMap<Vec<u8>, (Option<Cbor>, Option<Cbor>)> {
            let keys: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
            keys.into_iter().filter(|key| before.get(*key) != after.get(*key))
                .map(|key| (key.clone(), (before.get(key).cloned(), after.get(key).cloned()))).collect()
        };
        let (own, other) = (differences(&base, &ours), differences(&base, &theirs));
        let mut merged = ours.clone();
        for (key, (_, after)) in &other {
            match after {
                Some(value) => drop(merged.insert(key.clone(), value.clone())),
                None => drop(merged.remove(key)),
            }
        }
        prop_assume!([&base, &ours, &theirs, &merged].iter().all(|model| fits(model, hashing)));

        let mut trees = Trees::new(hashing);
        let roots = [&base, &ours, &theirs].map(|model| trees.build(model));
        let found: BTreeMap<_, _> = trees.diff(Some(&roots[0]), Some(&roots[2])).unwrap().into_iter()
            .map(|d| (d.key.to_vec(), (d.before, d.after))).collect();
        prop_assert_eq!(&found, &other);
        let from_nothing = trees.diff(None, Some(&roots[1])).unwrap();
        prop_assert_eq!(from_nothing.len(), ours.len());
        let result = trees.merge(&roots[0], &roots[1], &roots[2]);
        if own.keys().any(|key| other.contains_key(key)) {
            prop_assert!(matches!(result, Err(ChampError::Conflict { .. })), "{:?}", result);
        } else {
            prop_assert_eq!(result.unwrap(), canonical_root(&merged, hashing, None));
        }
    }

    #[test]
    fn answers_prove_presence_and_absence(model in models(), wanted in prop::collection::vec(keys(), 1..20)) {
        prop_assume!(fits(&model, KeyHashing::Identity));
        let mut trees = Trees::new(KeyHashing::Identity);
        let root = trees.build(&model);
        let found = trees.champ().bulk(&root, &wanted).now_or_never().unwrap().unwrap();
        let forged = Bytes::from_static(&[0x83, 0x40, 0x40, 0x80]);
        let answer = MemoryBlocks::of_cbor(found.nodes.iter().map(|(_, block)| block.clone()).chain([forged]));
        for key in &wanted {
            let expected = model.get(key).cloned().map_or(Proof::Absent, Proof::Present);
            prop_assert_eq!(prove(&answer, KeyHashing::Identity, &root, key).unwrap(), expected);
        }
        // Each node is needed: without it some key has no proof, and a reader fetches the one that is missing.
        for (left_out, _) in &found.nodes {
            let rest = MemoryBlocks::of_cbor(found.nodes.iter().filter(|(cid, _)| cid != left_out).map(|(_, block)| block.clone()));
            let proofs: Vec<Proof> = wanted.iter().map(|key| prove(&rest, KeyHashing::Identity, &root, key).unwrap()).collect();
            prop_assert!(proofs.contains(&Proof::Incomplete(left_out.clone())));
            let overlay = Champ::new(Overlay { near: &rest, far: &trees.blocks }, KeyHashing::Identity);
            prop_assert_eq!(overlay.get(&root, &wanted[0]).now_or_never().unwrap().unwrap(), model.get(&wanted[0]).cloned());
        }
    }

    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(node) = Node::from_bytes(&bytes) {
            prop_assert_eq!(Node::from_bytes(&node.to_bytes()).unwrap(), node);
        }
    }
}

/// A few blocks that describe 8^31 leaves: whoever walks them must give up at once.
#[test]
fn a_tree_that_links_one_child_from_each_slot_is_refused() {
    for leaf in [Node::default(), leaf_of(&[0x24, 0x49, 0x92])] {
        let mut trees = Trees::new(KeyHashing::Identity);
        let mut child = trees.blocks.put(Codec::DagCbor, leaf.to_bytes().into());
        for _ in 0..31 {
            let node = Node { slots: std::array::from_fn(|_| Slot::Child(child.clone())), bat: None };
            child = trees.blocks.put(Codec::DagCbor, node.to_bytes().into());
        }
        assert_eq!(trees.entries(&child), Err(ChampError::Misplaced));
        assert_eq!(trees.diff(None, Some(&child)), Err(ChampError::Misplaced));
    }
}

/// A node with one key in several slots, of which one is right: when it is small enough to become a bucket, the others would
/// stand before what was written.
#[test]
fn a_change_beside_what_belongs_elsewhere_is_refused() {
    let mut trees = Trees::new(KeyHashing::Identity);
    let key = Bytes::from_static(&[0x60; 3]);
    let bucket = || Slot::Bucket(vec![Entry { key: key.clone(), value: Cbor::Int(128) }]);
    let link = |trees: &mut Trees, node: Node| Slot::Child(trees.blocks.put(Codec::DagCbor, node.to_bytes().into()));
    // The slots of the key are 0, 4 and 1.
    for (wrong_slots, is_refused) in [(&[][..], false), (&[0, 2, 3], true)] {
        let [mut root, mut middle, mut leaf] = [(); 3].map(|()| Node::default());
        leaf.slots[1] = bucket();
        wrong_slots.iter().for_each(|at: &usize| leaf.slots[*at] = bucket());
        middle.slots[4] = link(&mut trees, leaf);
        root.slots[0] = link(&mut trees, middle);
        let root = trees.blocks.put(Codec::DagCbor, root.to_bytes().into());
        let change = Change { value: Some(Cbor::Int(0)), ..Change::discard(key.clone()) };
        match trees.apply(&root, &[change]) {
            Ok(changed) if !is_refused => {
                assert_eq!(trees.champ().get(&changed, &key).now_or_never().unwrap(), Ok(Some(Cbor::Int(0))));
            }
            other => assert_eq!(other, Err(ChampError::Misplaced)),
        }
    }
    // The same at the root.
    let root = trees.blocks.put(Codec::DagCbor, leaf_of(&[1]).to_bytes().into());
    assert_eq!(trees.apply(&root, &[Change::discard(vec![2])]), Err(ChampError::Misplaced));
}

fn leaf_of(key: &[u8]) -> Node {
    let entry = Entry { key: Bytes::copy_from_slice(key), value: Cbor::Int(1) };
    let mut leaf = Node::default();
    leaf.slots[0] = Slot::Bucket(vec![entry]);
    leaf
}

#[test]
fn a_chain_deeper_than_writers_make_is_refused() {
    let mut trees = Trees::new(KeyHashing::Identity);
    let mut child = trees.blocks.put(Codec::DagCbor, leaf_of(&[]).to_bytes().into());
    for _ in 0..32 {
        let mut node = Node::default();
        node.slots[0] = Slot::Child(child);
        child = trees.blocks.put(Codec::DagCbor, node.to_bytes().into());
    }
    assert_eq!(trees.champ().get(&child, &[]).now_or_never().unwrap(), Err(ChampError::TooDeep));
    assert_eq!(trees.apply(&child, &[Change::discard(vec![])]), Err(ChampError::TooDeep));
    assert_eq!(trees.entries(&child), Err(ChampError::TooDeep));
    assert_eq!(trees.diff(None, Some(&child)), Err(ChampError::TooDeep));
}

#[test]
fn wrong_and_missing_blocks_are_named() {
    let mut trees = Trees::new(KeyHashing::Identity);
    let root = trees.build(&(0..40u8).map(|key| (vec![key], Cbor::Int(1))).collect());
    let nodes = trees.nodes(&root);
    let (child, _) = nodes.iter().find(|(cid, _)| **cid != root).unwrap();
    let mut without = MemoryBlocks::default();
    without.extend(nodes.iter().filter(|(cid, _)| *cid != child).map(|(cid, block)| (cid.clone(), block.clone())));
    let size = |blocks: &MemoryBlocks| Champ::new(blocks, KeyHashing::Identity).size(&root).now_or_never().unwrap();
    assert_eq!(size(&without), Err(ChampError::Missing(child.clone())));
    without.extend([(child.clone(), Bytes::from_static(&[0x83, 0x40, 0x40, 0x80]))]);
    assert!(matches!(size(&without), Err(ChampError::Block(_))));
    let no_node = trees.blocks.put(Codec::DagCbor, Bytes::from_static(&[0xa0]));
    assert!(matches!(trees.entries(&no_node), Err(ChampError::Malformed { .. })));
}

/// That a server may run a lookup on any of its threads, whatever the source.
#[test]
fn futures_move_between_threads() {
    fn movable<F: Send>(future: F) -> F {
        future
    }
    fn all<S: champ::BlockSource>(champ: &Champ<S>, root: &Cid) {
        drop(movable(champ.apply(root, &[])));
        drop(movable(champ.merge(Some(root), Some(root), Some(root))));
        drop(movable(champ.bulk(root, [b"key"])));
        drop(movable(champ.size(root)));
    }
    let mut trees = Trees::new(KeyHashing::Identity);
    let root = trees.empty();
    all(&trees.champ(), &root);
}
