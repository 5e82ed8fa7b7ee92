//! The suite on the memory store and on layers around it.

use pyrgos_store::layers::{Counting, Fault, Faulty};
use pyrgos_store::{Batch, Blocks, MemoryStore, RecordKey, Records, StoreError, conformance};

#[test]
fn memory_conforms() {
    conformance::all(MemoryStore::new);
}

#[test]
fn layers_conform() {
    conformance::all(|| Counting::new(MemoryStore::new()));
    conformance::all(|| Faulty::new(MemoryStore::new()));
    conformance::all(|| Faulty::new(Counting::new(MemoryStore::new())));
}

#[test]
fn a_faulty_store_fails_the_call_it_was_told_to() {
    let store = Faulty::new(MemoryStore::new());
    let owner = conformance::owner(0);
    let block = conformance::block(1, 10);
    store.fail_after(1, Fault::Refuse);
    assert!(!store.has(&owner, &block.0).unwrap());
    assert!(matches!(store.put(&owner, std::slice::from_ref(&block)), Err(StoreError::OnPurpose)));
    assert!(!store.has(&owner, &block.0).unwrap());

    store.fail_after(0, Fault::DiskFull);
    assert!(!store.has(&owner, &block.0).unwrap(), "reads do not need space");
    assert!(matches!(store.put(&owner, std::slice::from_ref(&block)), Err(StoreError::DiskFull)));
    store.put(&owner, std::slice::from_ref(&block)).unwrap();

    let key = RecordKey::login("alice");
    store.fail_after(0, Fault::LoseAnswer);
    assert!(store.commit(Batch::new().put(key.clone(), "x")).is_err());
    assert!(store.read(&key).unwrap().is_some(), "the answer was lost, not the batch");

    store.fail_always(Fault::Refuse);
    for _ in 0..3 {
        assert!(store.has(&owner, &block.0).is_err());
    }
    store.heal();
    assert!(store.has(&owner, &block.0).unwrap());
    assert_eq!(store.calls(), 12);
}

#[test]
fn a_counting_store_counts() {
    let store = Counting::new(MemoryStore::new());
    let owner = conformance::owner(0);
    store.put(&owner, &[conformance::block(1, 10), conformance::block(2, 20)]).unwrap();
    store.get(&owner, &conformance::block(2, 20).0).unwrap();
    let key = RecordKey::login("alice");
    assert!(store.commit(Batch::new().expect(key.clone(), None).put(key.clone(), "x")).unwrap().is_committed());
    assert!(!store.commit(Batch::new().expect(key, None)).unwrap().is_committed());
    let counts = store.counts();
    assert_eq!((counts.puts, counts.blocks_put, counts.bytes_put), (1, 2, 30));
    assert_eq!((counts.gets, counts.bytes_got), (1, 20));
    assert_eq!((counts.durable_commits, counts.conflicts), (1, 1));
}
