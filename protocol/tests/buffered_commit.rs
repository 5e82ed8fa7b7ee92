//! The client's write buffer against `02-buffered-commit.json`.
//!
//! The file gives addresses only. Its values are the texts `1`, `2`, `3` under keys such as `a`, `b`, `c`, which these
//! tests know because the addresses come out right.

mod support;

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::sign::SecretKey;
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::{OwnerProof, SigningPrivateKeyAndPublicHash, Writer};
use pyrgos_protocol::merkle::champ::{self, Champ, Change, KeyHashing, MemoryBlocks};
use pyrgos_protocol::merkle::commit::{self, CommitError, CommitPlan, MergeError, Reaction, Step, Upload, WriteBuffer};
use pyrgos_protocol::merkle::pointer::{self, PointerRefused, PointerUpdate, SignedPointerUpdate};
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_protocol::merkle::{block, ownership};
use serde_json::Value;
use support::{Cases, array, text};

/// A server that admits by the pure decisions, and a client's committed state.
struct World {
    keys: HashMap<Writer, (String, SecretKey)>,
    blocks: MemoryBlocks,
    pointers: HashMap<Writer, Bytes>,
    log: Vec<Value>,
}

impl World {
    fn new(keys: &Value) -> Self {
        let keys = keys.as_array().unwrap().iter().map(|key| {
            let secret = SecretKey::from_bytes(array(key, "ed25519_secret_64")).unwrap();
            (Writer::of_signing_key(&secret.public()), (text(key, "label").to_owned(), secret))
        });
        World { keys: keys.collect(), blocks: MemoryBlocks::default(), pointers: HashMap::new(), log: Vec::new() }
    }

    fn writer(&self, label: &str) -> Writer {
        self.keys.iter().find(|(_, (name, _))| name == label).unwrap().0.clone()
    }

    fn secret(&self, writer: &Writer) -> &SecretKey {
        &self.keys[writer].1
    }

    fn committed(&self, writer: &Writer) -> Option<PointerUpdate> {
        let signed = self.pointers.get(writer)?;
        Some(PointerUpdate::open(&writer.signing_key().unwrap(), signed).unwrap())
    }

    fn data(&self, cid: &Cid) -> WriterData {
        WriterData::from_bytes(self.blocks.get(cid).unwrap()).unwrap()
    }

    /// Starts a writer without files, as something that was committed before.
    fn start(&mut self, label: &str) {
        let writer = self.writer(label);
        let data = WriterData::new(writer.key_hash().clone());
        self.blocks.extend(champ::empty().blocks);
        let target = self.blocks.put(pyrgos_protocol::encoding::Codec::DagCbor, data.to_bytes().into());
        let signed = PointerUpdate::first(target).sign(self.secret(&writer));
        self.pointers.insert(writer, signed);
    }

    fn upload(&mut self, upload: &Upload) {
        for (cid, signed) in upload.cids.iter().zip(&upload.blocks) {
            let key = upload.writer.signing_key().unwrap();
            assert_eq!(block::check_signature(&key, &signed.block, &signed.signature).map(|_| ()), Ok(()));
            assert_eq!(*cid, Cid::of_block(upload.codec, &signed.block));
            self.blocks.extend([(cid.clone(), signed.block.clone())]);
        }
        let cids: BTreeSet<String> = upload.cids.iter().map(Cid::to_string).collect();
        let label = &self.keys[&upload.writer].0;
        self.log.push(serde_json::json!({
            "call": "put", "writer": label, "cids_sorted": cids, "signatures_verify": true,
        }));
    }

    fn admit(&self, update: &SignedPointerUpdate) -> Result<(), PointerRefused> {
        let key = update.writer.signing_key().unwrap();
        let stored = self.pointers.get(&update.writer).map(|stored| stored.as_ref());
        let opened = pointer::admit(stored, &key, &update.signed)?;
        pointer::admit_target(&opened, &update.writer, opened.updated().and_then(|target| self.blocks.get(target)))
    }

    fn describe(&self, update: &SignedPointerUpdate) -> Value {
        let opened = PointerUpdate::open(&update.writer.signing_key().unwrap(), &update.signed).unwrap();
        serde_json::json!({
            "writer": self.keys[&update.writer].0, "sequence": opened.sequence(),
            "original": opened.original().map(Cid::to_string), "updated": opened.updated().map(Cid::to_string),
        })
    }

    fn set_pointer(&mut self, update: &SignedPointerUpdate) -> Result<(), PointerRefused> {
        let result = self.admit(update);
        self.log.push(serde_json::json!({
            "call": "setPointer", "update": self.describe(update), "result": outcome(&result),
        }));
        result.map(|()| drop(self.pointers.insert(update.writer.clone(), update.signed.clone())))
    }

    /// Carries a plan out, up to the first refusal.
    fn carry_out(&mut self, plan: &CommitPlan) -> Result<(), PointerRefused> {
        for step in &plan.steps {
            match step {
                Step::Upload(uploads) => uploads.iter().for_each(|upload| self.upload(upload)),
                Step::SetPointer(update) => self.set_pointer(update)?,
                Step::SetPointers(commit) => {
                    let result = commit.updates.iter().try_for_each(|update| self.admit(update));
                    let updates: Vec<Value> = commit.updates.iter().map(|update| self.describe(update)).collect();
                    self.log.push(
                        serde_json::json!({"call": "setPointers", "updates": updates, "result": outcome(&result)}),
                    );
                    result?;
                    commit.check_writers()?;
                    let updates = commit.updates.iter().map(|update| (update.writer.clone(), update.signed.clone()));
                    self.pointers.extend(updates);
                }
            }
        }
        Ok(())
    }
}

fn outcome(result: &Result<(), PointerRefused>) -> Value {
    match result {
        Ok(()) => Value::Bool(true),
        Err(refused) => Value::String(format!("ERROR {refused}")),
    }
}

/// Buffers a put of one value into a writer's tree, as an application does it.
fn put(world: &World, buffer: &mut WriteBuffer, label: &str, key: &str, value: &str) {
    let writer = world.writer(label);
    let committed = world.committed(&writer);
    let current = match buffer.target(&writer) {
        Some(target) => target.cloned(),
        None => committed.as_ref().and_then(PointerUpdate::updated).cloned(),
    };
    let mut near = MemoryBlocks::default();
    let data = match &current {
        Some(cid) => buffer.get(cid).map_or_else(|| world.data(cid), |block| WriterData::from_bytes(block).unwrap()),
        None => WriterData::new(writer.key_hash().clone()),
    };
    let root = data.tree.clone().unwrap_or_else(|| {
        // The tree begins as the empty one, which stays reachable as the tree of owned keys.
        for (cid, block) in champ::empty().blocks {
            buffer.put(cid.clone(), block.clone());
            near.extend([(cid, block)]);
        }
        champ::empty().root
    });
    if let Some(block) = buffer.get(&root) {
        near.extend([(root.clone(), block.clone())]);
    }
    let content = Bytes::from(Cbor::map([("v", Cbor::text(value))]).encode());
    let content_cid = Cid::of_cbor(&content);
    buffer.put(content_cid.clone(), content);
    let change = Change::put(sha256(key.as_bytes()).to_vec(), None, Cbor::Link(content_cid));
    let source = champ::Overlay { near: &near, far: &world.blocks };
    let changed = Champ::new(source, KeyHashing::Identity).apply(&root, &[change]).now_or_never().unwrap().unwrap();
    for (cid, block) in changed.blocks {
        buffer.put(cid, block);
    }
    set(buffer, &writer, committed.as_ref(), &WriterData { tree: Some(changed.root), ..data }).unwrap();
}

fn set(
    buffer: &mut WriteBuffer,
    writer: &Writer,
    committed: Option<&PointerUpdate>,
    data: &WriterData,
) -> Result<(), CommitError> {
    let block = Bytes::from(data.to_bytes());
    let cid = Cid::of_cbor(&block);
    buffer.put(cid.clone(), block);
    buffer.set_target(writer, committed, Some(cid))
}

fn plan(world: &World, buffer: &WriteBuffer) -> CommitPlan {
    buffer.plan(|writer| Some(world.secret(writer))).unwrap()
}

#[test]
fn buffered_commits() {
    let mut cases = Cases::of("02-buffered-commit");
    let keys = cases.value("keys");
    for case in cases.section("cases") {
        let mut world = World::new(&keys);
        let mut buffer = WriteBuffer::default();
        match text(&case, "name") {
            "one-writer" => {
                world.start("writer-1");
                for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
                    put(&world, &mut buffer, "writer-1", key, value);
                }
                let plan = plan(&world, &buffer);
                world.carry_out(&plan).unwrap();
                check(&world, &case, &[]);
            }
            "two-writers-interleaved" => {
                world.start("writer-1");
                world.start("writer-2");
                put(&world, &mut buffer, "writer-1", "a", "1");
                put(&world, &mut buffer, "writer-2", "b", "2");
                put(&world, &mut buffer, "writer-1", "c", "3");
                let plan = plan(&world, &buffer);
                world.carry_out(&plan).unwrap();
                // Both writers reach the empty tree. The reference sends it with whoever put it last, we with the first,
                // whose pointer could be set before the second's upload.
                check(&world, &case, &[champ::empty().root]);
            }
            "new-writer" => new_writer(&mut world, &mut buffer, &case),
            "conflict-merged" => conflict(&mut world, &mut buffer, &case),
            "no-change" => {
                world.start("writer-1");
                let writer = world.writer("writer-1");
                let committed = world.committed(&writer);
                let data = WriterData::new(writer.key_hash().clone());
                assert_eq!(set(&mut buffer, &writer, committed.as_ref(), &data), Err(CommitError::NoChange));
                assert!(text(&case, "outcome").starts_with("ERROR") && buffer.is_empty());
                assert_eq!(plan(&world, &buffer).steps, []);
            }
            other => panic!("unknown case {other}"),
        }
    }
    cases.finish();
}

/// Compares what reached the server with the case. `shared` blocks may travel with another writer.
fn check(world: &World, case: &Value, shared: &[Cid]) {
    let without_shared = |calls: &[Value]| -> Vec<Value> {
        let mut calls = calls.to_vec();
        for call in &mut calls {
            if let Some(cids) = call.get_mut("cids_sorted").and_then(Value::as_array_mut) {
                cids.retain(|cid| shared.iter().all(|shared| shared.to_string() != *cid));
            }
        }
        calls
    };
    let calls = case["calls_to_server_in_order"].as_array().unwrap();
    let (first, calls) = calls.split_first().unwrap();
    let (last, calls) = calls.split_last().unwrap();
    assert_eq!((text(first, "call"), text(last, "call")), ("startTransaction", "closeTransaction"));
    assert_eq!(without_shared(&world.log), without_shared(calls), "{}", text(case, "name"));
    for cid in shared {
        let times = |calls: &[Value]| serde_json::to_string(calls).unwrap().matches(&cid.to_string()).count();
        assert_eq!(times(&world.log), times(calls));
    }
    for expected in case["pointers_after"].as_array().unwrap() {
        let update = world.committed(&world.writer(text(expected, "writer")));
        let target = update.as_ref().and_then(PointerUpdate::updated).map(Cid::to_string);
        assert_eq!(target.as_deref(), expected["target"].as_str());
        assert_eq!(update.and_then(|update| update.sequence()), expected["sequence"].as_i64());
    }
    assert_eq!(case["commit_result"], true);
}

/// The identity key authorises a new writer, which gets its first tree.
fn new_writer(world: &mut World, buffer: &mut WriteBuffer, case: &Value) {
    world.start("owner");
    let (owner, child) = (world.writer("owner"), world.writer("writer-1"));
    let signer = SigningPrivateKeyAndPublicHash {
        public_key_hash: child.key_hash().clone(),
        secret: SecretKey::from_bytes(*world.secret(&child).as_bytes()).unwrap(),
    };
    let proof = OwnerProof::sign(owner.key_hash(), &signer);
    let committed = world.committed(&owner).unwrap();
    let data = world.data(committed.updated().unwrap());
    let owned = ownership::add(&world.blocks, data.owned.as_ref().unwrap(), &proof).now_or_never().unwrap().unwrap();
    owned.blocks.into_iter().for_each(|(cid, block)| buffer.put(cid, block));
    set(buffer, &owner, Some(&committed), &WriterData { owned: Some(owned.root), ..data }).unwrap();
    put(world, buffer, "writer-1", "a", "1");
    let plan = plan(world, buffer);
    world.carry_out(&plan).unwrap();
    check(world, case, &[]);
}

/// Another device adds `theirs` while we add `mine`.
fn conflict(world: &mut World, buffer: &mut WriteBuffer, case: &Value) {
    let mut base = WriteBuffer::default();
    put(world, &mut base, "writer-1", "a", "1");
    let steps = plan(world, &base);
    world.carry_out(&steps).unwrap();
    let writer = world.writer("writer-1");
    // The vector's base has sequence 2.
    let base = world.committed(&writer).unwrap();
    let original = Some(Cid::of_cbor(b"before"));
    let base = PointerUpdate::new(original, base.updated().cloned(), Some(2)).unwrap();
    let signed = base.sign(world.secret(&writer));
    world.pointers.insert(writer.clone(), signed);
    let base = base.updated().unwrap().clone();
    assert_eq!(base.to_string(), text(case, "common_base"));

    put(world, buffer, "writer-1", "mine", "2");
    let mut other = WriteBuffer::default();
    put(world, &mut other, "writer-1", "theirs", "3");
    let steps = plan(world, &other);
    world.carry_out(&steps).unwrap();
    world.log.clear();

    let steps = plan(world, buffer);
    let Err(PointerRefused::Cas(failure)) = world.carry_out(&steps) else { panic!("no conflict") };
    let Some(Step::SetPointers(commit)) = steps.steps.last() else { panic!("no atomic move") };
    let ours = PointerUpdate::open(&writer.signing_key().unwrap(), &commit.updates[0].signed).unwrap();
    assert_eq!(ours.updated().unwrap().to_string(), text(case, "ours"));
    // The reference tries the single call before it merges.
    assert_eq!(world.set_pointer(&commit.updates[0]), Err(PointerRefused::Cas(failure.clone())));
    let Reaction::Merge { existing } = commit::react(&ours, &failure) else { panic!("nothing to merge") };
    assert_eq!(existing.to_string(), text(case, "theirs"));

    let versions = [&base, ours.updated().unwrap(), &existing].map(|cid| world.data(cid));
    let [base, ours, theirs] = &versions;
    let merge =
        |ours: &WriterData, theirs| commit::merge(&world.blocks, base, ours, theirs, &failure).now_or_never().unwrap();
    let merged = merge(ours, theirs).unwrap();
    assert_eq!(merged.data, WriterData { tree: merged.data.tree.clone(), ..theirs.clone() });
    // Changes beside the tree are theirs or nobody's.
    let changed = WriterData { public: Some(Cid::of_cbor(b"published")), ..ours.clone() };
    assert_eq!(merge(&changed, theirs), Err(MergeError::OtherFields));
    let published = WriterData { public: Some(Cid::of_cbor(b"published")), ..theirs.clone() };
    assert_eq!(merge(ours, &published).unwrap().data.public, published.public);
    assert!(matches!(merge(ours, ours), Err(MergeError::Tree(_))));
    assert_eq!(merge(base, theirs).unwrap().update, None);

    let mut blocks = WriteBuffer::default();
    merged.blocks.iter().for_each(|(cid, block)| blocks.put(cid.clone(), block.clone()));
    let update = merged.update.unwrap();
    blocks.set_target(&writer, world.committed(&writer).as_ref(), update.updated().cloned()).unwrap();
    let mut steps = plan(world, &blocks);
    let Some(Step::SetPointers(commit)) = steps.steps.pop() else { panic!("no atomic move") };
    assert_eq!(commit.updates[0].signed, update.sign(world.secret(&writer)));
    world.carry_out(&steps).unwrap();
    world.set_pointer(&commit.updates[0]).unwrap();
    check(world, case, &[]);
}

fn keys() -> Value {
    Cases::of("02-buffered-commit").value("keys")
}

#[test]
fn deletions_are_sent_alone_and_with_others() {
    let mut world = World::new(&keys());
    world.start("writer-1");
    world.start("writer-2");
    let [one, two] = ["writer-1", "writer-2"].map(|label| world.writer(label));
    let mut buffer = WriteBuffer::default();
    buffer.set_target(&one, world.committed(&one).as_ref(), None).unwrap();
    assert_eq!(buffer.target(&one), Some(None));
    put(&world, &mut buffer, "writer-2", "a", "1");
    let steps = plan(&world, &buffer);
    assert!(matches!(&steps.steps[..], [Step::Upload(_), Step::SetPointers(commit)] if commit.updates.len() == 2));
    world.carry_out(&steps).unwrap();
    assert_eq!(world.committed(&one).unwrap().updated(), None);

    let mut alone = WriteBuffer::default();
    alone.set_target(&two, world.committed(&two).as_ref(), None).unwrap();
    let steps = plan(&world, &alone);
    assert!(matches!(&steps.steps[..], [Step::SetPointers(_)]));
    world.carry_out(&steps).unwrap();
    assert_eq!(world.committed(&two).unwrap().sequence(), Some(3));

    // A writer that comes back has no target to start from, like a new one.
    let mut again = WriteBuffer::default();
    put(&world, &mut again, "writer-2", "a", "1");
    let steps = plan(&world, &again);
    assert!(matches!(&steps.steps[..], [Step::Upload(_), Step::SetPointer(_)]));
    world.carry_out(&steps).unwrap();
    assert_eq!(world.committed(&two).unwrap().sequence(), Some(4));
}

#[test]
fn a_carried_writer_appears_together_with_its_parent() {
    let mut world = World::new(&keys());
    world.start("writer-1");
    let [parent, child] = ["writer-1", "writer-2"].map(|label| world.writer(label));
    let mut buffer = WriteBuffer::default();
    put(&world, &mut buffer, "writer-1", "a", "1");
    put(&world, &mut buffer, "writer-2", "b", "2");
    buffer.carry(&child, &parent);
    let steps = plan(&world, &buffer);
    let [Step::Upload(first), Step::Upload(second), Step::SetPointers(commit)] = &steps.steps[..] else {
        panic!("{:?}", steps.steps.len())
    };
    assert!(first.iter().chain(second).all(|upload| upload.writer == parent));
    assert_eq!(commit.updates.iter().map(|update| &update.writer).collect::<Vec<_>>(), [&parent, &child]);
    world.carry_out(&steps).unwrap();
    assert_eq!(world.committed(&child).unwrap().sequence(), Some(1));
}

#[test]
fn superseded_blocks_and_moves_stay_at_home() {
    let mut world = World::new(&keys());
    world.start("writer-1");
    let writer = world.writer("writer-1");
    let committed = world.committed(&writer);
    let first = committed.as_ref().unwrap().updated().unwrap().clone();
    let mut buffer = WriteBuffer::default();
    put(&world, &mut buffer, "writer-1", "a", "1");
    let middle = buffer.target(&writer).unwrap().cloned();
    assert_eq!(buffer.set_target(&writer, committed.as_ref(), middle.clone()), Err(CommitError::NoChange));
    put(&world, &mut buffer, "writer-1", "b", "2");
    let steps = plan(&world, &buffer);
    let Step::Upload(uploads) = &steps.steps[0] else { panic!("no upload") };
    assert!(uploads.iter().all(|upload| !upload.cids.contains(middle.as_ref().unwrap())));
    // Children come before their parents, the writer data last.
    assert_eq!(uploads[0].cids.last(), buffer.target(&writer).unwrap());

    // Back where it was: nothing to say.
    buffer.put(first.clone(), world.blocks.get(&first).unwrap().clone());
    buffer.set_target(&writer, committed.as_ref(), Some(first)).unwrap();
    assert_eq!(plan(&world, &buffer).steps, []);
    let unknown = Cid::of_cbor(b"unknown");
    assert_eq!(buffer.set_target(&writer, None, Some(unknown.clone())), Err(CommitError::NoTarget(unknown)));
    assert!(matches!(plan_without_keys(&world), Err(CommitError::NoSigner(_))));
}

fn plan_without_keys(world: &World) -> Result<CommitPlan, CommitError> {
    let mut buffer = WriteBuffer::default();
    put(world, &mut buffer, "writer-1", "a", "1");
    buffer.plan(|_| None)
}

#[test]
fn uploads_keep_within_the_limits() {
    let mut world = World::new(&keys());
    world.start("writer-1");
    let writer = world.writer("writer-1");
    let mut buffer = WriteBuffer::default();
    let mut links = Vec::new();
    // 120 small raw blocks, 3 large ones, and 1500 cbor blocks, of which some are large.
    for index in 0..123u32 {
        let len = if index < 120 { 1000 } else { 600_000 };
        let block = Bytes::from([index.to_be_bytes().to_vec(), vec![1; len]].concat());
        let cid = Cid::of_raw(&block);
        links.push(cid.clone());
        buffer.put_signed(cid, writer.clone(), block::SignedBlock::sign(world.secret(&writer), block));
    }
    for index in 0..1500i64 {
        let len = if index % 500 == 0 { 700_000 } else { 10 };
        let block = Bytes::from(Cbor::List(vec![Cbor::Int(index), Cbor::bytes(vec![0; len])]).encode());
        let cid = Cid::of_cbor(&block);
        links.push(cid.clone());
        buffer.put(cid, block);
    }
    let root = Bytes::from(Cbor::List(links.into_iter().map(Cbor::Link).collect()).encode());
    let tree = Some(Cid::of_cbor(&root));
    buffer.put(tree.clone().unwrap(), root);
    assert!(!buffer.is_full() && buffer.bytes() > 4_000_000);
    let data = WriterData { tree, ..WriterData::new(writer.key_hash().clone()) };
    set(&mut buffer, &writer, world.committed(&writer).as_ref(), &data).unwrap();
    let steps = plan(&world, &buffer);
    let Step::Upload(uploads) = &steps.steps[0] else { panic!("no upload") };
    let sizes = |raw: bool| -> Vec<(usize, usize)> {
        let of_kind = uploads.iter().filter(|upload| (upload.codec == pyrgos_protocol::encoding::Codec::Raw) == raw);
        of_kind.map(|upload| (upload.blocks.len(), upload.blocks.iter().map(|block| block.block.len()).sum())).collect()
    };
    assert_eq!(sizes(true).iter().map(|(count, _)| *count).collect::<Vec<_>>(), [1, 1, 1, 50, 50, 20]);
    assert!(sizes(false).iter().all(|(count, bytes)| *count <= 1000 && *bytes <= 1 << 20));
    assert_eq!(sizes(false).iter().map(|(count, _)| count).sum::<usize>(), 1502);
    assert!(sizes(false).len() <= 4);
    world.carry_out(&steps).unwrap();

    let huge = Bytes::from(vec![0; block::MAX_BLOCK + 1]);
    let mut buffer = WriteBuffer::default();
    buffer.put(Cid::of_raw(&huge), huge.clone());
    buffer.set_target(&writer, None, Some(Cid::of_raw(&huge))).unwrap();
    let refused = buffer.plan(|writer| Some(world.secret(writer)));
    assert!(matches!(refused, Err(CommitError::Block { .. })));
}

#[test]
fn an_attempt_that_arrived_is_no_conflict() {
    let update = PointerUpdate::first(Cid::of_cbor(b"ours"));
    let failure = |existing: Option<&[u8]>| pointer::CasFailure {
        existing: existing.map(Cid::of_cbor),
        sequence: Some(1),
        claimed: None,
    };
    assert_eq!(commit::react(&update, &failure(Some(b"ours"))), Reaction::Arrived);
    assert_eq!(commit::react(&update, &failure(None)), Reaction::Gone);
    let existing = Cid::of_cbor(b"theirs");
    assert_eq!(commit::react(&update, &failure(Some(b"theirs"))), Reaction::Merge { existing });
}
