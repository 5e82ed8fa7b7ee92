//! Vectors, protection and its end, damage, and writers beside the collector.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pyrgos_protocol::api::mutable::SetPointer;
use pyrgos_protocol::api::storage::{CloseTransaction, PutBlocks};
use pyrgos_protocol::encoding::{Codec, ToCbor, Value, text};
use pyrgos_protocol::keys::{KeyHash, SecretSigningKey, SigningPrivateKeyAndPublicHash};
use pyrgos_protocol::merkle::block::{BlockWriteGroup, SignedBlock};
use pyrgos_protocol::merkle::pointer::PointerUpdate;
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_store::{MemoryStore, Store};

use super::*;
use crate::config::Settings;
use crate::service::clock::{ManualClock, SystemEntropy};

const NOW: i64 = 1_795_447_763_309;

/// A service over a store, and the clock that it reads.
fn service<S: Store + 'static>(store: &Arc<S>) -> (Service, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    let settings = Settings { data_dir: Some("/nonexistent".into()), ..Settings::default() };
    let config = settings.resolve().unwrap();
    let id = crate::identity::server_id(&signer(99).secret.public());
    let service = crate::daemon::service(store.clone(), &config, vec![id], clock.clone(), Arc::new(SystemEntropy));
    (service, clock)
}

fn signer(seed: u8) -> SigningPrivateKeyAndPublicHash {
    let secret = SecretSigningKey::from_seed(&[seed; 32]);
    SigningPrivateKeyAndPublicHash { public_key_hash: KeyHash::of_signing_key(&secret.public()), secret }
}

/// An account with space, as a sign-up leaves it, with trees of raw leaves.
struct Account {
    keys: SigningPrivateKeyAndPublicHash,
    owner: Owner,
    pointer: Option<PointerUpdate>,
}

impl Account {
    fn new(store: &impl Records, seed: u8) -> Account {
        let keys = signer(seed);
        let owner = Owner::new(keys.public_key_hash.clone());
        let name = format!("user{seed}");
        let batch = Batch::new()
            .put(RecordKey::writer(&owner, &Writer::from(&owner)), "")
            .put(RecordKey::identity(&owner), name.clone())
            .put(RecordKey::quota(&name), count_record(1 << 30));
        assert!(store.commit(batch).unwrap().is_committed());
        Account { keys, owner, pointer: None }
    }

    /// Writer data over a list of links to leaves, and both blocks.
    fn tree(&self, leaves: &[Cid]) -> (Cid, Vec<Bytes>) {
        let list = Bytes::from(Value::List(leaves.iter().cloned().map(Value::Link).collect()).encode());
        let mut data = WriterData::new(self.keys.public_key_hash.clone());
        data.tree = Some(Cid::of_cbor(&list));
        data.owned = None;
        let data = Bytes::from(data.to_bytes());
        (Cid::of_cbor(&data), vec![list, data])
    }

    fn put(&self, service: &Service, transaction: &str, codec: Codec, blocks: &[Bytes]) -> Result<Vec<Cid>, Failure> {
        let sign = |block: &Bytes| SignedBlock::sign(&self.keys.secret, block.clone());
        service.put_blocks(PutBlocks {
            owner: self.owner.clone(),
            writer: self.keys.writer(),
            transaction: transaction.parse().unwrap(),
            codec,
            group: BlockWriteGroup { blocks: blocks.iter().map(sign).collect() },
        })
    }

    fn close(&self, service: &Service, transaction: &str) {
        let call = CloseTransaction { owner: self.owner.clone(), transaction: transaction.parse().unwrap() };
        service.close_transaction(call).unwrap();
    }

    fn point(&mut self, service: &Service, target: Option<Cid>) -> Result<bool, Failure> {
        let next = match (&self.pointer, target) {
            (None, Some(target)) => PointerUpdate::first(target),
            (Some(pointer), target) => pointer.next(target).unwrap(),
            (None, None) => unreachable!("nothing to delete"),
        };
        let update = next.sign(&self.keys.secret);
        let done = service.set_pointer(SetPointer { owner: self.owner.clone(), writer: self.keys.writer(), update })?;
        if done {
            self.pointer = Some(next);
        }
        Ok(done)
    }

    /// Stores leaves and points at a tree of them, all in one transaction that is closed.
    fn store(&mut self, service: &Service, leaves: &[Bytes]) -> Vec<Cid> {
        let leaves = self.put(service, "t", Codec::Raw, leaves).unwrap();
        let (root, blocks) = self.tree(&leaves);
        let tree = self.put(service, "t", Codec::DagCbor, &blocks).unwrap();
        assert!(self.point(service, Some(root)).unwrap());
        self.close(service, "t");
        [leaves, tree].concat()
    }

    fn missing(&self, store: &impl Blocks, cids: &[Cid]) -> usize {
        cids.iter().filter(|cid| !store.has(&self.owner, cid).unwrap()).count()
    }
}

fn leaf(seed: u64) -> Bytes {
    Bytes::from([[7; 16].as_slice(), &seed.to_be_bytes()].concat())
}

fn collect(service: &Service) -> Collected {
    service.collect(&AtomicBool::new(false)).unwrap()
}

#[test]
fn collections_are_those_of_existing_nodes() {
    use std::io::Read;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/02-gc-usage.json.gz");
    let mut json = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut json).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&json).unwrap();

    let store = Arc::new(MemoryStore::default());
    let (service, _) = service(&store);
    let [identity, writer] = [0, 1].map(|at: usize| {
        let seed = text::from_hex(vectors["keys"][at]["seed"].as_str().unwrap()).unwrap();
        let secret = SecretSigningKey::from_seed(&seed.try_into().unwrap());
        SigningPrivateKeyAndPublicHash { public_key_hash: KeyHash::of_signing_key(&secret.public()), secret }
    });
    let owner = Owner::new(identity.public_key_hash.clone());
    let mut cids: BTreeMap<&str, Cid> = BTreeMap::new();
    for (name, block) in vectors["blocks"].as_object().unwrap() {
        let cid: Cid = block["cid"].as_str().unwrap().parse().unwrap();
        let bytes = Bytes::from(text::from_hex(block["block"].as_str().unwrap()).unwrap());
        store.put(&owner, &[(cid.clone(), bytes)]).unwrap();
        cids.insert(name, cid);
    }
    let pointer = |keys: &SigningPrivateKeyAndPublicHash, update: &PointerUpdate| {
        (RecordKey::pointer(&owner, &keys.writer()), update.sign(&keys.secret))
    };
    let usage = |root: Option<&Cid>| {
        (RecordKey::usage(&owner, &writer.writer()), WriterUsage { root: root.cloned(), bytes: 0 }.to_bytes())
    };
    let (first, second) = (&cids["writer-data-1"], &cids["writer-data-2"]);
    let at_second = PointerUpdate::first(first.clone()).next(Some(second.clone())).unwrap();
    let set = |rows: &[(RecordKey, Bytes)]| {
        let batch = rows.iter().fold(Batch::new(), |batch, (key, value)| batch.put(key.clone(), value.clone()));
        assert!(store.commit(batch).unwrap().is_committed());
    };
    let row = |(key, value): (RecordKey, Vec<u8>)| (key, Bytes::from(value));
    set(&[
        pointer(&identity, &PointerUpdate::first(cids["identity-writer-data"].clone())),
        pointer(&writer, &at_second),
        row(usage(Some(first))),
        (RecordKey::writer(&owner, &identity.writer()), Bytes::new()),
        (RecordKey::writer(&owner, &writer.writer()), Bytes::new()),
        (RecordKey::transaction_block(&owner, "open", &cids["node-3"]), Bytes::copy_from_slice(&NOW.to_be_bytes())),
    ]);
    let collections = vectors["collections_in_order"].as_array().unwrap();
    for (number, expected) in collections.iter().enumerate() {
        match number {
            1 => set(&[row(usage(Some(second)))]),
            2 => {
                let call = CloseTransaction { owner: owner.clone(), transaction: "open".parse().unwrap() };
                service.close_transaction(call).unwrap();
                set(&[pointer(&writer, &at_second.next(None).unwrap()), row(usage(None))]);
            }
            _ => {}
        }
        let deleted = expected["deleted"].as_array().unwrap().len() as u64;
        assert_eq!(collect(&service).blocks, deleted, "{}", expected["note"]);
        let mut left: Vec<Cid> = store.list(&owner, None, 100).unwrap().into_iter().map(|entry| entry.cid).collect();
        let mut kept: Vec<Cid> =
            expected["kept"].as_array().unwrap().iter().map(|name| cids[name.as_str().unwrap()].clone()).collect();
        left.sort();
        kept.sort();
        assert_eq!(left, kept, "{}", expected["note"]);
    }
    println!("02-gc-usage.json: {} cases", collections.len());
}

#[test]
fn what_nothing_reaches_goes_and_an_unchanged_account_is_passed_over() {
    let store = Arc::new(MemoryStore::default());
    let (service, _) = service(&store);
    let [mut alice, mut bob] = [1, 2].map(|seed| Account::new(&*store, seed));
    let old = alice.store(&service, &[leaf(1), leaf(2)]);
    let others = bob.store(&service, &[leaf(1), leaf(3)]);
    let new = alice.store(&service, &[leaf(2), leaf(4)]);
    let collected = collect(&service);
    // A leaf, a list and writer data.
    assert_eq!((collected.accounts, collected.blocks, collected.unreadable), (2, 3, 0));
    assert_eq!(alice.missing(&*store, &new), 0);
    assert_eq!(alice.missing(&*store, &old), 3);
    assert_eq!(bob.missing(&*store, &others), 0, "the same leaf of another account");
    assert_eq!(collect(&service), Collected { unchanged: 2, ..Collected::default() });
    assert_eq!(service.last_collection().unwrap(), Some(NOW as u64));
    // A commit, and also a put alone, make the account worth a look.
    bob.put(&service, "t", Codec::Raw, &[leaf(9)]).unwrap();
    let collected = collect(&service);
    assert_eq!((collected.accounts, collected.unchanged, collected.blocks), (1, 1, 0));
    bob.close(&service, "t");
    assert_eq!(collect(&service).blocks, 1);
    assert!(alice.point(&service, None).unwrap());
    let collected = collect(&service);
    assert_eq!((collected.accounts, collected.unchanged, collected.blocks), (1, 1, 4));
    assert_eq!(collect(&service).unchanged, 1, "an account without blocks is not even seen");
}

#[test]
fn a_transaction_protects_for_a_day() {
    let store = Arc::new(MemoryStore::default());
    let (service, clock) = service(&store);
    let mut alice = Account::new(&*store, 1);
    alice.store(&service, &[leaf(1)]);
    let put = alice.put(&service, "left-open", Codec::Raw, &[leaf(2)]).unwrap();
    for (time, there) in [(GUARD_MILLIS - 1, true), (GUARD_MILLIS, false)] {
        clock.set(NOW + time);
        collect(&service);
        assert_eq!(alice.missing(&*store, &put) == 0, there, "after {time} ms");
    }
    let prefix = Prefix::of_owner(Table::Transactions, &alice.owner);
    assert_eq!(store.scan(&prefix, None, 10).unwrap(), [], "the guard went too");
    assert_eq!(collect(&service).unchanged, 1);
    // One whose time is ahead ends a day after it was seen.
    clock.set(NOW + 1000 * GUARD_MILLIS);
    let put = alice.put(&service, "left-open", Codec::Raw, &[leaf(3)]).unwrap();
    for (time, there) in [(0, true), (GUARD_MILLIS - 1, true), (GUARD_MILLIS, false)] {
        clock.set(NOW + time);
        collect(&service);
        assert_eq!(alice.missing(&*store, &put) == 0, there, "after {time} ms");
    }
}

#[test]
fn the_tree_of_a_writer_without_a_parent_stays_for_a_day() {
    let store = Arc::new(MemoryStore::default());
    let (service, clock) = service(&store);
    let mut alice = Account::new(&*store, 1);
    alice.store(&service, &[leaf(1)]);
    // A writer of the same account that was owned once: its pointer is there, its membership is not.
    let child = signer(3);
    let list = Bytes::from(Value::List(vec![Value::Int(1)]).encode());
    let cid = Cid::of_cbor(&list);
    store.put(&alice.owner, &[(cid.clone(), list)]).unwrap();
    let pointer = PointerUpdate::first(cid.clone()).sign(&child.secret);
    let batch = Batch::new().put(RecordKey::pointer(&alice.owner, &child.writer()), pointer);
    assert!(store.commit(batch).unwrap().is_committed());
    for (time, there) in [(0, true), (GRACE_MILLIS - 1, true), (GRACE_MILLIS, false)] {
        clock.set(NOW + time);
        collect(&service);
        assert_eq!(store.has(&alice.owner, &cid).unwrap(), there, "after {time} ms");
    }
    assert!(store.read(&RecordKey::pointer(&alice.owner, &child.writer())).unwrap().is_some(), "sequences stay");
}

#[test]
fn damage_stops_the_collection_of_its_owner_only() {
    let damages: [fn(&MemoryStore, &Owner, &Cid); 2] = [
        |store, owner, list| store.delete(owner, std::slice::from_ref(list)).unwrap(),
        |store, owner, list| {
            store.delete(owner, std::slice::from_ref(list)).unwrap();
            store.put(owner, &[(list.clone(), Bytes::from_static(b"\x80"))]).unwrap();
        },
    ];
    for damage in damages {
        let store = Arc::new(MemoryStore::default());
        let (service, _) = service(&store);
        let mut accounts: Vec<Account> = (1..4).map(|seed| Account::new(&*store, seed)).collect();
        for account in &mut accounts {
            account.store(&service, &[leaf(1)]);
            account.store(&service, &[leaf(2)]);
        }
        let victim = &accounts[1];
        let list = victim.tree(&[Cid::of_raw(&leaf(2))]).1[0].clone();
        damage(&store, &victim.owner, &Cid::of_cbor(&list));
        let before = store.list(&victim.owner, None, 100).unwrap();
        let collected = collect(&service);
        assert_eq!((collected.unreadable, collected.blocks), (1, 6));
        assert_eq!(store.list(&victim.owner, None, 100).unwrap(), before, "nothing was deleted there");
        // It is looked at again each time, until somebody has put it right.
        assert_eq!(collect(&service).unreadable, 1);
    }
}

#[test]
fn an_account_that_lost_its_pointer_is_not_taken_for_garbage() {
    let store = Arc::new(MemoryStore::default());
    let (service, _) = service(&store);
    let mut alice = Account::new(&*store, 1);
    let blocks = alice.store(&service, &[leaf(1)]);
    let batch = Batch::new()
        .delete(RecordKey::pointer(&alice.owner, &alice.keys.writer()))
        .delete_all(Prefix::of_owner(Table::Usage, &alice.owner));
    assert!(store.commit(batch).unwrap().is_committed());
    assert_eq!(collect(&service).unreadable, 1);
    assert_eq!(alice.missing(&*store, &blocks), 0);
}

/// Invariant 4, with writers that do all that makes garbage and brings it back: each commit that was acknowledged has all
/// its blocks, at once and at the end. Leaves are few, so that most of them are garbage and put or linked again all the
/// time; half of the commits link to what they hope is still there, without putting it.
#[test]
fn no_acknowledged_commit_loses_a_block_while_others_collect() {
    const ACCOUNTS: u8 = 3;
    const COMMITS: u64 = 400;
    let folder = tempfile::tempdir().unwrap();
    let options = pyrgos_store::rocks::Options::default();
    let store = Arc::new(pyrgos_store::RocksStore::open(folder.path(), options).unwrap());
    let (service, _) = service(&store);
    let refused = AtomicU64::new(0);
    let deleted = std::thread::scope(|scope| {
        let mut writers = Vec::new();
        for seed in 1..=ACCOUNTS {
            let mut account = Account::new(&*store, seed);
            // As a sign-up does it: no account is without a pointer.
            account.store(&service, &[leaf(0)]);
            let (service, store, refused) = (&service, &store, &refused);
            writers.push(scope.spawn(move || {
                let mut state = u64::from(seed);
                let mut random = |below: u64| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) % below
                };
                for _ in 0..COMMITS {
                    let leaves: Vec<Bytes> = (0..6).map(|_| leaf(random(24))).collect();
                    let cids: Vec<Cid> = leaves.iter().map(|leaf| Cid::of_raw(leaf)).collect();
                    let is_put = random(2) == 0;
                    if is_put {
                        account.put(service, "t", Codec::Raw, &leaves).unwrap();
                    }
                    let (root, blocks) = account.tree(&cids);
                    if account.pointer.as_ref().and_then(|pointer| pointer.updated()) == Some(&root) {
                        continue;
                    }
                    account.put(service, "t", Codec::DagCbor, &blocks).unwrap();
                    match account.point(service, Some(root.clone())) {
                        Ok(moved) => {
                            assert!(moved);
                            account.close(service, "t");
                            assert_eq!(account.missing(&**store, &cids), 0, "seed {seed}");
                            assert_eq!(account.missing(&**store, &[root, Cid::of_cbor(&blocks[0])]), 0, "seed {seed}");
                        }
                        Err(failure) => {
                            account.close(service, "t");
                            assert!(!is_put, "what an open transaction put was deleted: {failure:?}");
                            assert!(failure.to_string().contains("not present on this server"), "{failure:?}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }));
        }
        let mut deleted = 0;
        while !writers.iter().all(|writer| writer.is_finished()) {
            let collected = collect(&service);
            assert_eq!(collected.unreadable, 0);
            deleted += collected.blocks;
        }
        deleted
    });
    let refused = refused.into_inner();
    assert!(deleted > 100 && refused > 10, "{deleted} deleted, {refused} refused: the two did not meet");
    assert_eq!(collect(&service).unreadable, 0);
    println!("{deleted} blocks deleted, {refused} commits refused");
}

/// A store that does something once, between the collector's look at a page of blocks and what it does about it.
struct Hooked {
    inner: MemoryStore,
    hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Blocks for Hooked {
    fn put(&self, owner: &Owner, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        self.inner.put(owner, blocks)
    }

    fn get(&self, owner: &Owner, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(owner, cid)
    }

    fn size(&self, owner: &Owner, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.inner.size(owner, cid)
    }

    fn delete(&self, owner: &Owner, cids: &[Cid]) -> Result<(), StoreError> {
        self.inner.delete(owner, cids)
    }

    fn delete_all(&self, owner: &Owner) -> Result<(), StoreError> {
        self.inner.delete_all(owner)
    }

    fn list(&self, owner: &Owner, after: Option<&Cid>, limit: usize) -> Result<Vec<BlockEntry>, StoreError> {
        let page = self.inner.list(owner, after, limit)?;
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        Ok(page)
    }

    fn owners(&self, after: Option<&Owner>, limit: usize) -> Result<Vec<Owner>, StoreError> {
        self.inner.owners(after, limit)
    }
}

impl Records for Hooked {
    fn read(&self, key: &RecordKey) -> Result<Option<Bytes>, StoreError> {
        self.inner.read(key)
    }

    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        self.inner.scan(prefix, after, limit)
    }

    fn commit(&self, batch: Batch) -> Result<pyrgos_store::Outcome, StoreError> {
        self.inner.commit(batch)
    }
}

/// The instants that matter, one by one: a block that was seen as garbage is put again, or linked again without being put,
/// before it would be deleted.
#[test]
fn garbage_that_comes_back_meanwhile_stays() {
    for is_put in [true, false] {
        let store = Arc::new(Hooked { inner: MemoryStore::default(), hook: Mutex::default() });
        let service = Arc::new(service(&store).0);
        let mut alice = Account::new(&*store, 1);
        let old = alice.store(&service, &[leaf(1), leaf(2)]);
        alice.store(&service, &[leaf(3)]);
        let alice = Arc::new(Mutex::new(alice));
        let back = vec![Cid::of_raw(&leaf(1))];
        let hook = {
            let (alice, service, back) = (alice.clone(), service.clone(), back.clone());
            move || {
                let mut alice = alice.lock().unwrap();
                if is_put {
                    alice.put(&service, "open", Codec::Raw, &[leaf(1)]).unwrap();
                } else {
                    let (root, blocks) = alice.tree(&back);
                    alice.put(&service, "open", Codec::DagCbor, &blocks).unwrap();
                    assert!(alice.point(&service, Some(root)).unwrap());
                    alice.close(&service, "open");
                }
            }
        };
        *store.hook.lock().unwrap() = Some(Box::new(hook));
        let collected = collect(&service);
        assert!(store.hook.lock().unwrap().is_none(), "the hook ran");
        let alice = alice.lock().unwrap();
        assert_eq!(alice.missing(&*store, &back), 0, "put: {is_put}");
        // The other leaf, the list and the writer data.
        assert_eq!((alice.missing(&*store, &old), collected.blocks), (3, 3), "put: {is_put}");
        let again = collect(&service);
        assert_eq!(again.unchanged, 0, "an account in which something was written is looked at again");
        assert_eq!(again.blocks, if is_put { 0 } else { 3 }, "what was replaced meanwhile goes now");
        assert_eq!(alice.missing(&*store, &back), 0);
    }
}
