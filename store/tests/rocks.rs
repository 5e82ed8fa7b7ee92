//! The store on a disk: the suite, opening and closing, giving space back, and random operations against the memory
//! store.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use pyrgos_store::layers::{Counting, Faulty};
use pyrgos_store::rocks::{Options, RocksStore};
use pyrgos_store::{Batch, Blocks, MemoryStore, Prefix, RecordKey, Records, StoreError, Table, conformance};

fn open(path: &Path) -> RocksStore {
    RocksStore::open(path, Options::default()).unwrap()
}

/// Small segments, so that a test sees many.
fn small_options() -> Options {
    let mut options = Options::default();
    options.bulk_bytes = 1000;
    options.segment_bytes = 10_000;
    options
}

fn conforms<S: Blocks + Records>(options: Options, wrap: impl Fn(RocksStore) -> S) {
    let root = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    conformance::all(|| {
        count.set(count.get() + 1);
        wrap(RocksStore::open(&root.path().join(count.get().to_string()), options.clone()).unwrap())
    });
}

#[test]
fn rocks_conforms() {
    conforms(Options::default(), |store| store);
}

#[test]
fn small_segments_conform() {
    conforms(small_options(), |store| store);
}

#[test]
fn layers_around_rocks_conform() {
    conforms(Options::default(), |store| Faulty::new(Counting::new(store)));
}

#[test]
fn a_store_is_opened_by_one_only_and_keeps_what_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let owner = conformance::owner(0);
    let blocks = [conformance::block(1, 100), conformance::block(2, 200_000)];
    let key = RecordKey::login("alice");
    {
        let store = open(dir.path());
        store.put(&owner, &blocks).unwrap();
        assert!(store.commit(Batch::new().put(key.clone(), "login").deferred()).unwrap().is_committed());
        match RocksStore::open(dir.path(), Options::default()) {
            Err(StoreError::Locked { path }) => assert_eq!(path, dir.path()),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("two stores in one folder"),
        }
    }
    let store = open(dir.path());
    assert!(!store.may_have_lost_puts());
    assert_eq!(store.read(&key).unwrap(), Some("login".into()));
    for (cid, bytes) in &blocks {
        assert_eq!(store.get(&owner, cid).unwrap().as_ref(), Some(bytes));
    }
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::write(dir.path().join("schema"), "99\n").unwrap();
    assert!(matches!(RocksStore::open(dir.path(), Options::default()), Err(StoreError::NewerSchema { found: 99, .. })));
}

fn bulk_bytes(path: &Path) -> u64 {
    std::fs::read_dir(path.join("bulk")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn the_space_of_deleted_blocks_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.segment_bytes = 4 << 20;
    let store = RocksStore::open(dir.path(), options).unwrap();
    let (alice, bob) = (conformance::owner(0), conformance::owner(1));
    let blocks: Vec<_> = (0..40).map(|seed| conformance::block(seed, 500_000)).collect();
    store.put(&alice, &blocks).unwrap();
    store.put(&bob, &blocks[..4]).unwrap();
    assert_eq!(store.reclaim().unwrap(), 0, "nothing was deleted");
    let full = bulk_bytes(dir.path());
    // All but each eighth block.
    let deleted: Vec<_> =
        blocks.iter().enumerate().filter(|(n, _)| n % 8 != 0).map(|(_, (cid, _))| cid.clone()).collect();
    store.delete(&alice, &deleted).unwrap();
    let freed = store.reclaim().unwrap();
    assert!(freed > 15_000_000, "{freed} bytes came back");
    assert!(bulk_bytes(dir.path()) < full - 15_000_000);
    let kept = |store: &RocksStore| {
        for (n, (cid, bytes)) in blocks.iter().enumerate() {
            assert_eq!(store.get(&alice, cid).unwrap().as_ref(), (n % 8 == 0).then_some(bytes));
        }
        for (cid, bytes) in &blocks[..4] {
            assert_eq!(store.get(&bob, cid).unwrap().as_ref(), Some(bytes));
        }
    };
    kept(&store);
    drop(store);
    let store = open(dir.path());
    kept(&store);
    store.delete_all(&alice).unwrap();
    store.delete_all(&bob).unwrap();
    store.reclaim().unwrap();
    assert!(bulk_bytes(dir.path()) < 5_000_000, "only the newest segment is left");
}

#[test]
fn deleted_small_blocks_leave_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let owner = conformance::owner(0);
    let blocks: Vec<_> = (0..2000).map(|n| conformance::block(n, 20_000)).collect();
    blocks.chunks(100).for_each(|some| store.put(&owner, some).unwrap());
    let size = || -> u64 {
        let files = std::fs::read_dir(dir.path().join("db")).unwrap();
        files.map(|file| file.unwrap().metadata().map_or(0, |metadata| metadata.len())).sum()
    };
    let full = size();
    assert!(full > 40_000_000, "{full}");
    let (gone, kept) = blocks.split_at(1600);
    gone.chunks(100).for_each(|some| {
        store.delete(&owner, &some.iter().map(|(cid, _)| cid.clone()).collect::<Vec<_>>()).unwrap();
    });
    store.reclaim().unwrap();
    for (cid, block) in kept {
        assert_eq!(store.get(&owner, cid).unwrap().as_ref(), Some(block));
    }
    drop(store);
    // The log goes with the next start. Live blocks of the newer half of the files are not moved.
    let store = open(dir.path());
    assert!(size() < 25_000_000, "{} of {full} bytes are left", size());
    assert_eq!(store.list(&owner, None, 3000).unwrap().len(), 400);
}

#[test]
fn a_large_prefix_is_deleted_as_a_range() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let owner = conformance::owner(0);
    let fill = (0..3000).fold(Batch::new(), |batch, n| batch.put(RecordKey::link_count(&owner, n), "x"));
    assert!(store.commit(fill).unwrap().is_committed());
    let all = Prefix::of_owner(Table::LinkCounts, &owner);
    let batch = Batch::new()
        .put(RecordKey::link_count(&owner, 5000), "gone")
        .delete_all(all.clone())
        .put(RecordKey::link_count(&owner, 7), "new");
    assert!(store.commit(batch).unwrap().is_committed());
    assert_eq!(store.scan(&all, None, 10).unwrap(), [(RecordKey::link_count(&owner, 7), "new".into())]);
}

#[derive(Clone, Debug)]
enum Step {
    Put { owner: u64, blocks: Vec<(u64, usize)> },
    Delete { owner: u64, blocks: Vec<(u64, usize)> },
    DeleteAll { owner: u64 },
    Commit { expect: Option<(u64, u64, bool)>, writes: Vec<(u64, u64, Option<u8>)>, clear: Option<u64>, deferred: bool },
    Reclaim,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    // Few distinct blocks, so that they meet again; sizes on both sides of the bound of 1000.
    let block = || (0..12u64).prop_map(|seed| (seed, [0, 10, 999, 1000, 3000, 6000][seed as usize % 6]));
    let blocks = move || prop::collection::vec(block(), 0..5);
    let owner = 0..3u64;
    prop_oneof![
        6 => (owner.clone(), blocks()).prop_map(|(owner, blocks)| Step::Put { owner, blocks }),
        3 => (owner.clone(), blocks()).prop_map(|(owner, blocks)| Step::Delete { owner, blocks }),
        1 => owner.clone().prop_map(|owner| Step::DeleteAll { owner }),
        5 => (
            prop::option::of((owner.clone(), 0..4u64, any::<bool>())),
            prop::collection::vec((owner.clone(), 0..4u64, any::<Option<u8>>()), 0..4),
            prop::option::weighted(0.1, owner),
            any::<bool>(),
        )
            .prop_map(|(expect, writes, clear, deferred)| Step::Commit { expect, writes, clear, deferred }),
        2 => Just(Step::Reclaim),
        1 => Just(Step::Reopen),
    ]
}

fn same(rocks: &RocksStore, memory: &MemoryStore) -> Result<(), TestCaseError> {
    for number in 0..3 {
        let owner = conformance::owner(number);
        let blocks = rocks.list(&owner, None, 1000).unwrap();
        prop_assert_eq!(&blocks, &memory.list(&owner, None, 1000).unwrap());
        for entry in blocks {
            prop_assert_eq!(rocks.get(&owner, &entry.cid).unwrap(), memory.get(&owner, &entry.cid).unwrap());
        }
    }
    let all = Prefix::whole(Table::LinkCounts);
    prop_assert_eq!(rocks.scan(&all, None, 1000).unwrap(), memory.scan(&all, None, 1000).unwrap());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn rocks_does_what_memory_does(steps in prop::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut rocks = RocksStore::open(dir.path(), small_options()).unwrap();
        let memory = MemoryStore::new();
        let blocks_of = |blocks: &[(u64, usize)]| -> Vec<_> {
            blocks.iter().map(|(seed, size)| conformance::block(*seed, *size)).collect()
        };
        let key = |owner: u64, label: u64| RecordKey::link_count(&conformance::owner(owner), label);
        for step in steps {
            match step {
                Step::Put { owner, blocks } => {
                    let (owner, blocks) = (conformance::owner(owner), blocks_of(&blocks));
                    rocks.put(&owner, &blocks).unwrap();
                    memory.put(&owner, &blocks).unwrap();
                }
                Step::Delete { owner, blocks } => {
                    let owner = conformance::owner(owner);
                    let cids: Vec<_> = blocks_of(&blocks).into_iter().map(|(cid, _)| cid).collect();
                    rocks.delete(&owner, &cids).unwrap();
                    memory.delete(&owner, &cids).unwrap();
                }
                Step::DeleteAll { owner } => {
                    rocks.delete_all(&conformance::owner(owner)).unwrap();
                    memory.delete_all(&conformance::owner(owner)).unwrap();
                }
                Step::Commit { expect, writes, clear, deferred } => {
                    let mut batch = Batch::new();
                    if let Some((owner, label, right)) = expect {
                        let current = memory.read(&key(owner, label)).unwrap();
                        batch = batch.expect(key(owner, label), if right { current } else { Some(Bytes::from_static(b"?")) });
                    }
                    for (owner, label, value) in writes {
                        batch = match value {
                            Some(value) => batch.put(key(owner, label), vec![value]),
                            None => batch.delete(key(owner, label)),
                        };
                    }
                    if let Some(owner) = clear {
                        batch = batch.delete_all(Prefix::of_owner(Table::LinkCounts, &conformance::owner(owner)));
                    }
                    if deferred {
                        batch = batch.deferred();
                    }
                    prop_assert_eq!(rocks.commit(batch.clone()).unwrap(), memory.commit(batch).unwrap());
                }
                Step::Reclaim => {
                    rocks.reclaim().unwrap();
                }
                Step::Reopen => {
                    drop(rocks);
                    rocks = RocksStore::open(dir.path(), small_options()).unwrap();
                }
            }
            same(&rocks, &memory)?;
        }
    }
}
