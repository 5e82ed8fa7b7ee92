//! What every store must do. Each implementation and each layer runs this suite in its tests.
//!
//! The functions panic with what was expected, like the tests that call them.

use std::collections::BTreeSet;

use bytes::Bytes;
use pyrgos_protocol::encoding::{Cid, Multihash};
use pyrgos_protocol::keys::{KeyHash, Owner, Writer};

use crate::{Batch, Blocks, Outcome, Prefix, RecordKey, Records, Table};

/// Runs the whole suite. `open` gives a new, empty store at each call.
pub fn all<S: Blocks + Records>(open: impl Fn() -> S) {
    blocks(&open());
    block_sizes(&open());
    partitions(&open());
    block_lists(&open());
    block_owners(&open());
    records(&open());
    conditions(&open());
    scans(&open());
    prefix_deletes(&open());
    every_table(&open());
    concurrent_commits(&open());
    concurrent_puts(&open());
}

/// An owner for tests; equal numbers give equal owners. Even numbers give identity hashes, odd ones SHA-256.
pub fn owner(number: u64) -> Owner {
    let content: &[u8] = &[b"owner".as_slice(), &number.to_be_bytes(), &[7; 30]].concat();
    Owner::new(KeyHash::of_key_cbor(if number.is_multiple_of(2) { &content[..20] } else { content }))
}

/// A block for tests: `length` bytes that do not compress, which depend on `seed`, with their CID.
pub fn block(seed: u64, length: usize) -> (Cid, Bytes) {
    // SplitMix64, written by blocks of eight bytes.
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    (Cid::of_raw(&bytes), bytes.into())
}

/// Put, get, has, delete; all idempotent.
pub fn blocks(store: &impl Blocks) {
    let alice = owner(0);
    let (cid, bytes) = block(1, 100);
    let (other, other_bytes) = block(2, 5000);
    assert_eq!(store.get(&alice, &cid).unwrap(), None, "an empty store has no block");
    assert!(!store.has(&alice, &cid).unwrap());
    store.put(&alice, &[]).unwrap();
    store.put(&alice, &[(cid.clone(), bytes.clone()), (other.clone(), other_bytes.clone())]).unwrap();
    store.put(&alice, &[(cid.clone(), bytes.clone()), (cid.clone(), bytes.clone())]).unwrap();
    assert_eq!(store.get(&alice, &cid).unwrap(), Some(bytes.clone()));
    assert_eq!(store.get(&alice, &other).unwrap(), Some(other_bytes.clone()));
    assert!(store.has(&alice, &cid).unwrap());
    // The same digest under another codec is another block.
    let as_cbor = Cid::new(pyrgos_protocol::encoding::Codec::DagCbor, cid.hash().clone());
    assert_eq!(store.get(&alice, &as_cbor).unwrap(), None, "the codec is a part of the address");
    store.delete(&alice, &[cid.clone(), as_cbor]).unwrap();
    store.delete(&alice, std::slice::from_ref(&cid)).unwrap();
    assert_eq!(store.get(&alice, &cid).unwrap(), None, "deleted");
    assert_eq!(store.size(&alice, &cid).unwrap(), None, "deleted");
    assert_eq!(store.get(&alice, &other).unwrap(), Some(other_bytes), "a neighbour stays");
    store.put(&alice, &[(cid.clone(), bytes.clone())]).unwrap();
    assert_eq!(store.get(&alice, &cid).unwrap(), Some(bytes), "a deleted block can be put again");
}

/// Blocks of all sizes up to the largest (`spec/02` §2.1) come back whole, before and after a commit.
pub fn block_sizes(store: &(impl Blocks + Records)) {
    let alice = owner(1);
    let sizes = [0, 1, 7, 8, 63, 1023, 4096, 4097, 65_535, 65_536, 100_000, 524_288, 1_048_576, 1_048_676];
    let blocks: Vec<_> = sizes.iter().map(|size| block(*size as u64 + 1000, *size)).collect();
    store.put(&alice, &blocks).unwrap();
    for committed in [false, true] {
        for (cid, bytes) in &blocks {
            assert_eq!(store.size(&alice, cid).unwrap(), Some(bytes.len() as u64), "committed: {committed}");
            assert_eq!(store.get(&alice, cid).unwrap().as_ref(), Some(bytes), "committed: {committed}");
        }
        assert_eq!(store.list(&alice, None, 100).unwrap().len(), sizes.len());
        assert!(store.commit(Batch::new()).unwrap().is_committed());
    }
}

/// A block is in one owner's partition only, and goes only from there.
pub fn partitions(store: &impl Blocks) {
    let (alice, bob) = (owner(2), owner(3));
    let (cid, bytes) = block(3, 300_000);
    store.put(&alice, &[(cid.clone(), bytes.clone())]).unwrap();
    assert_eq!(store.get(&bob, &cid).unwrap(), None, "another owner's block");
    assert_eq!(store.size(&bob, &cid).unwrap(), None);
    store.put(&bob, &[(cid.clone(), bytes.clone()), block(4, 10)]).unwrap();
    store.delete(&alice, std::slice::from_ref(&cid)).unwrap();
    assert_eq!(store.get(&bob, &cid).unwrap(), Some(bytes.clone()), "bob's copy is his own");
    store.put(&alice, &[(cid.clone(), bytes.clone()), block(5, 10)]).unwrap();
    store.delete_all(&bob).unwrap();
    assert_eq!(store.list(&bob, None, 10).unwrap(), []);
    assert_eq!(store.get(&bob, &cid).unwrap(), None);
    assert_eq!(store.list(&alice, None, 10).unwrap().len(), 2, "alice keeps hers");
    store.put(&bob, &[(cid.clone(), bytes.clone())]).unwrap();
    assert_eq!(store.get(&bob, &cid).unwrap(), Some(bytes), "a deleted partition can be filled again");
}

/// Lists are complete, in order, in pages, and of one owner only.
pub fn block_lists(store: &impl Blocks) {
    let (alice, bob) = (owner(4), owner(6));
    let mut expected = Vec::new();
    for seed in 0..100 {
        let (cid, bytes) = block(seed, seed as usize * 17);
        expected.push((cid.to_bytes(), bytes.len() as u64));
        store.put(&alice, &[(cid, bytes)]).unwrap();
        store.put(&bob, &[block(1000 + seed, 5)]).unwrap();
    }
    expected.sort();
    for page in [1, 7, 100, 1000] {
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let entries = store.list(&alice, after.as_ref(), page).unwrap();
            listed.extend(entries.iter().map(|entry| (entry.cid.to_bytes(), entry.size)));
            after = entries.last().map(|entry| entry.cid.clone());
            assert!(entries.len() <= page);
            if entries.len() < page {
                break;
            }
        }
        assert_eq!(listed, expected, "pages of {page}");
    }
    assert_eq!(store.list(&owner(8), None, 10).unwrap(), [], "an unknown owner has no blocks");
    assert_eq!(store.list(&alice, None, 0).unwrap(), []);
    // A cursor need not be a block that is there.
    let cursor = Cid::new(pyrgos_protocol::encoding::Codec::Raw, Multihash::sha256_of(b"not there"));
    let behind = expected.iter().filter(|(cid, _)| *cid > cursor.to_bytes()).count();
    assert_eq!(store.list(&alice, Some(&cursor), 1000).unwrap().len(), behind);
}

/// Owners are listed once each, in pages, and only while they have blocks.
pub fn block_owners(store: &impl Blocks) {
    assert_eq!(store.owners(None, 10).unwrap(), []);
    let expected: BTreeSet<Owner> = (0..9).map(owner).collect();
    for owner in &expected {
        store.put(owner, &[block(1, 10), block(2, 100_000), block(3, 20)]).unwrap();
    }
    let whole = store.owners(None, 100).unwrap();
    for page in [1, 4, 9, 100] {
        let mut listed = Vec::new();
        loop {
            let owners = store.owners(listed.last(), page).unwrap();
            assert!(owners.len() <= page);
            let last = owners.len() < page;
            listed.extend(owners);
            if last {
                break;
            }
        }
        assert_eq!(listed, whole, "pages of {page}");
    }
    assert_eq!(whole.into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(store.owners(None, 0).unwrap(), []);
    store.delete_all(&owner(3)).unwrap();
    store.delete(&owner(4), &[block(1, 10).0, block(2, 100_000).0, block(3, 20).0]).unwrap();
    let left: BTreeSet<Owner> = store.owners(None, 100).unwrap().into_iter().collect();
    assert_eq!(left, [0, 1, 2, 5, 6, 7, 8].map(owner).into(), "who has no blocks is not listed");
}

fn key(number: u64) -> RecordKey {
    RecordKey::link_count(&owner(0), number)
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn commit(store: &impl Records, batch: Batch) {
    assert_eq!(store.commit(batch).unwrap(), Outcome::Committed);
}

/// Put, get, overwrite, delete; later writes of a batch win.
pub fn records(store: &impl Records) {
    assert_eq!(store.read(&key(1)).unwrap(), None);
    commit(store, Batch::new().put(key(1), "one").put(key(2), value("two")));
    assert_eq!(store.read(&key(1)).unwrap(), Some(value("one")));
    commit(store, Batch::new().put(key(1), "first").put(key(1), "second").delete(key(2)).delete(key(3)));
    assert_eq!(store.read(&key(1)).unwrap(), Some(value("second")));
    assert_eq!(store.read(&key(2)).unwrap(), None);
    commit(store, Batch::new().put(key(4), "").deferred());
    assert_eq!(store.read(&key(4)).unwrap(), Some(Bytes::new()), "an empty value is a value");
    commit(store, Batch::new().delete(key(1)).put(key(1), "again"));
    assert_eq!(store.read(&key(1)).unwrap(), Some(value("again")));
    // Empty batches succeed.
    commit(store, Batch::new());
    commit(store, Batch::new().deferred());
}

/// A batch whose condition fails changes nothing and names the record.
pub fn conditions(store: &impl Records) {
    let absent = Batch::new().expect(key(1), None).put(key(1), "one");
    commit(store, absent.clone());
    assert_eq!(store.commit(absent).unwrap(), Outcome::Conflict(key(1)));
    let wrong = Batch::new()
        .expect(key(1), Some(value("one")))
        .expect(key(2), Some(value("two")))
        .put(key(1), "changed")
        .put(key(3), "three");
    assert_eq!(store.commit(wrong).unwrap(), Outcome::Conflict(key(2)));
    assert_eq!(store.read(&key(1)).unwrap(), Some(value("one")));
    assert_eq!(store.read(&key(3)).unwrap(), None);
    let right = Batch::new().expect(key(1), Some(value("one"))).expect(key(2), None).delete(key(1)).put(key(2), "two");
    commit(store, right);
    assert_eq!(store.read(&key(1)).unwrap(), None);
    // An absent record is not an empty one.
    assert_eq!(store.commit(Batch::new().expect(key(1), Some(Bytes::new()))).unwrap(), Outcome::Conflict(key(1)));
    // Conditions look at the state before the batch, and may be all there is.
    commit(store, Batch::new().put(key(5), "five").expect(key(5), None));
    commit(store, Batch::new().expect(key(5), Some(value("five"))));
    assert_eq!(
        store.commit(Batch::new().expect(key(5), None).put(key(6), "six").deferred()).unwrap(),
        Outcome::Conflict(key(5))
    );
    assert_eq!(store.read(&key(6)).unwrap(), None);
}

/// Scans are complete, in order, in pages, and stay within their prefix.
pub fn scans(store: &impl Records) {
    let mut batch = Batch::new();
    for number in 0..50 {
        batch = batch.put(RecordKey::bat("alice", number), number.to_string());
        batch = batch.put(RecordKey::bat("al", number), "other").put(RecordKey::bat("bob", number), "other");
    }
    for name in ["al", "alice", "alicia", "bob"] {
        batch = batch.put(RecordKey::name(name), name.to_owned());
    }
    commit(store, batch);
    let alice = Prefix::of_username(Table::Bats, "alice");
    for page in [1, 7, 50, 1000] {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let rows = store.scan(&alice, after.as_ref(), page).unwrap();
            assert!(rows.len() <= page);
            found.extend(rows.iter().map(|(_, value)| value.clone()));
            let last = rows.len() < page;
            after = rows.into_iter().next_back().map(|(key, _)| key).or(after);
            if last {
                break;
            }
        }
        assert_eq!(found, (0..50).map(|number| value(&number.to_string())).collect::<Vec<_>>(), "pages of {page}");
    }
    let names = |prefix: &Prefix| -> Vec<String> {
        let rows = store.scan(prefix, None, 10).unwrap();
        rows.iter().map(|(key, _)| key.to_username().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&Prefix::of_names("ali")), ["alice", "alicia"]);
    assert_eq!(names(&Prefix::whole(Table::Names)), ["al", "alice", "alicia", "bob"]);
    assert_eq!(names(&Prefix::of_names("carol")), Vec::<String>::new());
    // Cursors before and behind the prefix.
    let ali = Prefix::of_names("ali");
    assert_eq!(store.scan(&ali, Some(&RecordKey::name("a")), 10).unwrap().len(), 2);
    assert_eq!(store.scan(&ali, Some(&RecordKey::name("b")), 10).unwrap().len(), 0);
    assert_eq!(store.scan(&ali, None, 0).unwrap().len(), 0);
}

/// Deleting a prefix takes all that is under it and nothing else, at its place among the batch's writes.
pub fn prefix_deletes(store: &impl Records) {
    let (alice, bob) = (owner(0), owner(1));
    let mut batch = Batch::new();
    for number in 0..20 {
        batch = batch.put(RecordKey::link_count(&alice, number), "a").put(RecordKey::link_count(&bob, number), "b");
    }
    commit(store, batch.put(RecordKey::identity(&alice), "alice"));
    let all_of_alice = Prefix::of_owner(Table::LinkCounts, &alice);
    commit(store, Batch::new().put(key(90), "gone").delete_all(all_of_alice.clone()).put(key(91), "kept"));
    let left = store.scan(&all_of_alice, None, 100).unwrap();
    assert_eq!(left, [(key(91), value("kept"))]);
    assert_eq!(store.scan(&Prefix::of_owner(Table::LinkCounts, &bob), None, 100).unwrap().len(), 20);
    assert_eq!(store.read(&RecordKey::identity(&alice)).unwrap(), Some(value("alice")), "other tables stay");
    commit(store, Batch::new().delete_all(Prefix::whole(Table::LinkCounts)));
    assert_eq!(store.scan(&Prefix::whole(Table::LinkCounts), None, 100).unwrap().len(), 0);
    assert_eq!(store.read(&RecordKey::identity(&alice)).unwrap(), Some(value("alice")));
}

/// Each table is a name space of its own.
pub fn every_table(store: &impl Records) {
    let in_table = |table: Table| RecordKey::from_stored(table, b"same".to_vec());
    for table in Table::ALL {
        commit(store, Batch::new().expect(in_table(table), None).put(in_table(table), table.name()));
    }
    for table in Table::ALL {
        assert_eq!(store.read(&in_table(table)).unwrap(), Some(value(table.name())));
        assert_eq!(store.scan(&Prefix::whole(table), None, 10).unwrap().len(), 1);
    }
}

/// Compare-and-swap loses no update, and batches over several records are never seen in halves.
pub fn concurrent_commits(store: &(impl Blocks + Records)) {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 15;
    let owner = owner(0);
    let [left, right] = [1, 2].map(|n| RecordKey::pointer(&owner, &Writer::from(self::owner(n))));
    let number = |value: Option<&Bytes>| {
        value.map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().expect("eight bytes were stored")))
    };
    let write = || {
        for _ in 0..ROUNDS {
            loop {
                let (a, b) = (store.read(&left).unwrap(), store.read(&right).unwrap());
                let next = Bytes::copy_from_slice(&(number(a.as_ref()) + 1).to_be_bytes());
                let batch = Batch::new()
                    .expect(left.clone(), a)
                    .expect(right.clone(), b)
                    .put(right.clone(), next.clone())
                    .put(left.clone(), next);
                if store.commit(batch).unwrap().is_committed() {
                    break;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS).map(|_| scope.spawn(write)).collect();
        let prefix = Prefix::of_owner(Table::Pointers, &owner);
        let mut last = 0;
        while !writers.iter().all(|writer| writer.is_finished()) {
            let rows = store.scan(&prefix, None, 10).unwrap();
            let numbers: BTreeSet<u64> = rows.iter().map(|(_, value)| number(Some(value))).collect();
            assert!(numbers.len() <= 1, "a scan saw half a batch: {numbers:?}");
            let now = numbers.first().copied().unwrap_or(0);
            assert!(now >= last, "went back from {last} to {now}");
            last = now;
        }
    });
    assert_eq!(number(store.read(&left).unwrap().as_ref()), THREADS * ROUNDS, "an update was lost");
}

/// Puts and commits of many owners at once do not disturb each other.
pub fn concurrent_puts(store: &(impl Blocks + Records)) {
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            scope.spawn(move || {
                let owner = owner(thread);
                for round in 0..6 {
                    let blocks: Vec<_> =
                        (0..5).map(|n| block(thread << 32 | round << 16 | n, 1 << (n * 4 + 2))).collect();
                    store.put(&owner, &blocks).unwrap();
                    let root = blocks[4].0.to_bytes();
                    commit(store, Batch::new().put(RecordKey::link_count(&owner, round), root));
                }
            });
        }
    });
    for thread in 0..4u64 {
        assert_eq!(store.list(&owner(thread), None, 1000).unwrap().len(), 30);
        for round in 0..6 {
            let expected = block(thread << 32 | round << 16 | 4, 1 << 18);
            let root = store.read(&RecordKey::link_count(&owner(thread), round)).unwrap().unwrap();
            assert_eq!(root, expected.0.to_bytes());
            assert_eq!(store.get(&owner(thread), &expected.0).unwrap(), Some(expected.1));
        }
    }
}
