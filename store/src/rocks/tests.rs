//! What crashes and failing disks leave, made by hand.

use std::fs;
use std::sync::atomic::Ordering;

use super::*;
use crate::{Batch, Blocks, RecordKey, Records, conformance};

fn open(path: &Path) -> RocksStore {
    RocksStore::open(path, Options::default()).unwrap()
}

/// Drops a store as a crash of the machine would: nothing is synced or noted. What the kernel still has, stays.
fn crash(store: RocksStore, path: &Path) {
    store.crashed.store(true, Ordering::SeqCst);
    drop(store);
    fs::write(path.join("running"), "another boot").unwrap();
}

#[test]
fn rows_of_bulk_data_that_was_not_written_go() {
    let dir = tempfile::tempdir().unwrap();
    let owner = conformance::owner(0);
    let [early, cut, changed, whole] = [1, 2, 3, 4].map(|seed| conformance::block(seed, 100_000));
    let segment = dir.path().join("bulk/0000000001.bulk");
    let store = open(dir.path());
    store.put(&owner, std::slice::from_ref(&early)).unwrap();
    assert!(store.commit(Batch::new()).unwrap().is_committed());
    store.put(&owner, &[whole.clone(), changed.clone(), cut.clone()]).unwrap();
    crash(store, dir.path());
    let mut bytes = fs::read(&segment).unwrap();
    assert_eq!(bytes.len(), 400_000);
    bytes[250_000] ^= 1;
    bytes.truncate(390_000);
    fs::write(&segment, bytes).unwrap();

    let store = open(dir.path());
    assert!(store.may_have_lost_puts());
    for (block, there) in [(&early, true), (&whole, true), (&changed, false), (&cut, false)] {
        assert_eq!(store.has(&owner, &block.0).unwrap(), there);
        assert_eq!(store.get(&owner, &block.0).unwrap().as_ref(), there.then_some(&block.1));
    }
    store.put(&owner, &[changed.clone(), cut.clone()]).unwrap();
    assert_eq!(store.get(&owner, &cut.0).unwrap().as_ref(), Some(&cut.1));
    assert_eq!(store.get(&owner, &whole.0).unwrap().as_ref(), Some(&whole.1), "nothing was written over");
    drop(store);
    assert!(!open(dir.path()).may_have_lost_puts(), "closed well");
}

#[test]
fn damage_to_settled_data_is_an_error_and_no_wrong_block() {
    let dir = tempfile::tempdir().unwrap();
    let owner = conformance::owner(0);
    let block = conformance::block(1, 100_000);
    let store = open(dir.path());
    store.put(&owner, std::slice::from_ref(&block)).unwrap();
    assert!(store.commit(Batch::new()).unwrap().is_committed());
    let segment = dir.path().join("bulk/0000000001.bulk");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[5] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    assert!(matches!(store.get(&owner, &block.0), Err(StoreError::Damaged { .. })));
    fs::write(&segment, &bytes[..5]).unwrap();
    assert!(matches!(store.get(&owner, &block.0), Err(StoreError::Damaged { .. })));
    store.put(&owner, std::slice::from_ref(&block)).unwrap();
    assert_eq!(store.get(&owner, &block.0).unwrap().as_ref(), Some(&block.1), "putting it again repairs it");
}

#[test]
fn an_unsettled_block_that_cannot_be_read_stops_one_commit_only() {
    let dir = tempfile::tempdir().unwrap();
    let owner = conformance::owner(0);
    let store = open(dir.path());
    let [whole, lost] = [1, 2].map(|seed| conformance::block(seed, 100_000));
    store.put(&owner, &[whole.clone(), lost.clone()]).unwrap();
    fs::File::options().write(true).open(dir.path().join("bulk/0000000001.bulk")).unwrap().set_len(150_000).unwrap();
    store.segments.fail_sync.store(true, Ordering::SeqCst);
    let key = RecordKey::login("alice");
    let batch = || Batch::new().put(key.clone(), "x");
    assert!(matches!(store.commit(batch()), Err(StoreError::Damaged { .. })), "it may reach the lost block");
    assert_eq!(store.read(&key).unwrap(), None);
    assert!(store.may_have_lost_puts());
    assert!(store.commit(batch()).unwrap().is_committed());
    assert_eq!(store.get(&owner, &whole.0).unwrap().as_ref(), Some(&whole.1));
    assert_eq!(store.get(&owner, &lost.0).unwrap(), None);
    store.put(&owner, std::slice::from_ref(&lost)).unwrap();
    assert_eq!(store.get(&owner, &lost.0).unwrap().as_ref(), Some(&lost.1));
}

#[test]
fn what_a_failed_sync_was_for_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let owner = conformance::owner(0);
    let store = open(dir.path());
    let blocks: Vec<_> = (0..3).map(|seed| conformance::block(seed, 100_000)).collect();
    store.put(&owner, &blocks[..1]).unwrap();
    assert!(store.commit(Batch::new()).unwrap().is_committed());
    store.put(&owner, &blocks[1..]).unwrap();
    store.segments.fail_sync.store(true, Ordering::SeqCst);
    let key = RecordKey::login("alice");
    assert!(store.commit(Batch::new().put(key.clone(), "x")).unwrap().is_committed());
    assert!(!store.segments.fail_sync.load(Ordering::SeqCst), "the commit met the fault");
    // The first segment's unsettled end is what the disk lost.
    fs::File::options().write(true).open(dir.path().join("bulk/0000000001.bulk")).unwrap().set_len(100_000).unwrap();
    for (cid, bytes) in &blocks {
        assert_eq!(store.get(&owner, cid).unwrap().as_ref(), Some(bytes));
    }
    assert_eq!(store.read(&key).unwrap(), Some("x".into()));
}

#[test]
fn numbers_of_removed_segments_do_not_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let owner = conformance::owner(0);
    let options = Options { segment_bytes: 150_000, ..Options::default() };
    let store = RocksStore::open(dir.path(), options.clone()).unwrap();
    let blocks: Vec<_> = (0..6).map(|seed| conformance::block(seed, 100_000)).collect();
    store.put(&owner, &blocks).unwrap();
    store.delete_all(&owner).unwrap();
    store.reclaim().unwrap();
    let end = lock(&store.tail).end();
    assert_eq!(store.segments.list().unwrap(), []);
    drop(store);
    let store = RocksStore::open(dir.path(), options).unwrap();
    assert!(lock(&store.tail).end() >= end);
    store.put(&owner, &blocks).unwrap();
    assert_eq!(store.get(&owner, &blocks[0].0).unwrap().as_ref(), Some(&blocks[0].1));
}

/// How often the database has synced its log.
fn log_syncs(store: &RocksStore) -> u64 {
    let statistics = store.db.property_value(rocksdb::properties::OPTIONS_STATISTICS).unwrap().unwrap();
    let count = statistics.lines().find_map(|line| line.strip_prefix("rocksdb.wal.synced COUNT : "));
    count.unwrap().trim().parse().unwrap()
}

#[test]
fn durable_commits_sync_the_log_and_share_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = |n| RecordKey::link_count(&conformance::owner(0), n);
    let before = log_syncs(&store);
    assert!(store.commit(Batch::new().put(key(0), "x").deferred()).unwrap().is_committed());
    store.put(&conformance::owner(0), &[conformance::block(1, 10), conformance::block(2, 100_000)]).unwrap();
    assert_eq!(log_syncs(&store), before, "nothing of this has to be on the disk");
    assert!(store.commit(Batch::new()).unwrap().is_committed());
    assert_eq!(log_syncs(&store), before + 1, "an empty batch makes all before it durable");

    const THREADS: u64 = 8;
    const COMMITS: u64 = 50;
    let before = log_syncs(&store);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                for n in 0..COMMITS {
                    assert!(store.commit(Batch::new().put(key(thread * 1000 + n), "x")).unwrap().is_committed());
                }
            });
        }
    });
    let syncs = log_syncs(&store) - before;
    println!("{} commits, {syncs} syncs", THREADS * COMMITS);
    assert!(syncs < THREADS * COMMITS, "{syncs} syncs: no two commits shared one");
}

#[test]
fn index_rows_are_read_or_refused() {
    for bytes in [&b""[..], &[0x80], &[0x82, 1], &[0x82, 0x20, 0xf6], &[0x82, 1, 0xf6, 0], &[0x9f, 0xff], &[0xff; 40]] {
        assert!(matches!(decode_index_row(bytes), Err(StoreError::Damaged { .. })), "{bytes:?}");
    }
    assert_eq!(decode_index_row(&[0x82, 7, 0xf6]).unwrap(), 7);
}

/// A data directory of the first schema has a table that is gone, and lacks two.
#[test]
fn a_directory_of_the_first_schema_is_brought_up() {
    let dir = tempfile::tempdir().unwrap();
    let owner = conformance::owner(0);
    let block = conformance::block(1, 100);
    let key = RecordKey::login("alice");
    {
        let store = open(dir.path());
        store.put(&owner, std::slice::from_ref(&block)).unwrap();
        assert!(store.commit(Batch::new().put(key.clone(), "x")).unwrap().is_committed());
    }
    {
        let path = dir.path().join("db");
        let families = DB::list_cf(&rocksdb::Options::default(), &path).unwrap();
        let mut db = DB::open_cf(&rocksdb::Options::default(), &path, families).unwrap();
        db.create_cf("staged-logins", &rocksdb::Options::default()).unwrap();
        db.drop_cf(Table::Departed.name()).unwrap();
        db.drop_cf(Table::Collected.name()).unwrap();
    }
    fs::write(dir.path().join("schema"), "1\n").unwrap();
    for _ in 0..2 {
        let store = open(dir.path());
        assert_eq!(store.get(&owner, &block.0).unwrap().as_ref(), Some(&block.1));
        assert_eq!(store.read(&key).unwrap().as_deref(), Some(b"x".as_slice()));
        assert_eq!(store.read(&RecordKey::collected(&owner)).unwrap(), None);
        assert!(store.db.cf_handle("staged-logins").is_none());
    }
    assert_eq!(fs::read_to_string(dir.path().join("schema")).unwrap(), "2\n");
}
