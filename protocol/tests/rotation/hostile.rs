//! What somebody who could write in a space may leave there must not prevent that he loses access, nor reach outside.

use pyrgos_protocol::cryptree::capability::AbsoluteCapability;
use pyrgos_protocol::cryptree::chunk::{ChunkLabel, StreamSecret};
use pyrgos_protocol::cryptree::directory::ChildList;
use pyrgos_protocol::cryptree::file::FileChunk;
use pyrgos_protocol::cryptree::fragments::Plaintext;
use pyrgos_protocol::cryptree::node::ParentBlock;
use pyrgos_protocol::cryptree::properties::{FileProperties, Kind, Timestamp};
use pyrgos_protocol::keys::SymmetricKey;

use crate::shapes::{Bed, Garden, some_signer};
use crate::support::system_random;

/// A shared directory with one good file, and its own space.
fn shared(garden: &mut Garden) -> Bed {
    let home = garden.home.clone();
    let space = some_signer();
    garden.directory(&home, "shared", Some(&space), |garden, bed| {
        let cap = garden.file(bed, "good", 10, true);
        vec![ChildList::Named(vec![garden.entry(bed, &cap, "good")])]
    })
}

fn rotates(garden: &mut Garden, shared: &Bed) -> pyrgos_protocol::cryptree::rotation::Plan {
    let home = garden.home.cap.clone();
    let plan = garden.memory.rotate(&home, &garden.signer, &shared.cap.location(), true).unwrap();
    let (view, _) = garden.memory.view(&home, &garden.signer);
    assert_eq!(view["/shared/good"].properties.size_bytes, 10);
    assert!(view["/shared"].link.is_some());
    plan
}

#[test]
fn a_loop_ends() {
    let mut garden = Garden::new();
    let shared = shared(&mut garden);
    let inner = garden.directory(&shared, "inner", None, |garden, bed| {
        vec![ChildList::Named(vec![
            garden.entry(bed, &shared.cap, "loop"),
            garden.entry(bed, &bed.cap.clone(), "self"),
        ])]
    });
    let entry = garden.entry(&shared, &inner.cap, "again");
    garden.plant(&shared, entry);
    let plan = rotates(&mut garden, &shared);
    assert_eq!(plan.items.len(), 3);
    assert_eq!(plan.dropped.len(), 3);
}

#[test]
fn broken_entries_are_dropped() {
    let mut garden = Garden::new();
    let shared = shared(&mut garden);
    let (view, _) = garden.memory.view(&garden.home.cap, &garden.signer);
    let good = view["/shared/good"].cap.clone();
    let wrong_key = AbsoluteCapability { base_key: SymmetricKey::generate(&mut system_random()), ..good.clone() };
    let nowhere = good.with_label(ChunkLabel::generate(&mut system_random()));
    let parent_only = AbsoluteCapability { base_key: shared.keys.parent.clone(), ..shared.cap.clone() };
    for (name, cap) in [("0 wrong key", &wrong_key), ("nowhere", &nowhere), ("parent", &parent_only)] {
        let entry = garden.entry(&shared, cap, name);
        garden.plant(&shared, entry);
    }
    let plan = rotates(&mut garden, &shared);
    assert_eq!(plan.dropped.len(), 3);
    assert_eq!(plan.items.len(), 2);
}

#[test]
fn an_entry_to_a_foreign_space_changes_nothing_there() {
    let mut garden = Garden::new();
    let home = garden.home.clone();
    let secret_space = some_signer();
    let secret = garden.directory(&home, "secret", Some(&secret_space), |garden, bed| {
        let cap = garden.file(bed, "plans", 10, true);
        vec![ChildList::Named(vec![garden.entry(bed, &cap, "plans")])]
    });
    let shared = shared(&mut garden);
    // Whoever may read it but not write it puts it into what he may write; once with a made-up write key.
    for (name, key) in [("mine", None), ("mine too", Some(SymmetricKey::generate(&mut system_random())))] {
        let cap = AbsoluteCapability { base_write_key: key, ..secret.cap.clone() };
        let entry = garden.entry(&shared, &cap, name);
        garden.plant(&shared, entry);
    }
    let before: Vec<_> = garden
        .memory
        .nodes
        .iter()
        .filter(|((writer, _), _)| *writer == secret.cap.writer)
        .map(|(label, (cid, _))| (label.clone(), cid.clone()))
        .collect();
    let plan = rotates(&mut garden, &shared);
    assert_eq!((plan.kept.len(), plan.dropped.len()), (2, 0));
    assert!(plan.changes.iter().all(|change| change.writer != secret.cap.writer));
    assert!(plan.retired.iter().all(|space| space.writer == shared.cap.writer));
    let after: Vec<_> = garden
        .memory
        .nodes
        .iter()
        .filter(|((writer, _), _)| *writer == secret.cap.writer)
        .map(|(label, (cid, _))| (label.clone(), cid.clone()))
        .collect();
    assert_eq!(after, before);
    let (view, _) = garden.memory.view(&home.cap, &garden.signer);
    assert!(view.contains_key("/secret/plans"));
}

#[test]
fn a_file_that_claims_to_be_endless_ends() {
    let mut garden = Garden::new();
    let shared = shared(&mut garden);
    let mut rng = system_random();
    let secret = StreamSecret::generate(&mut rng);
    let cap = AbsoluteCapability {
        base_key: SymmetricKey::generate(&mut rng),
        base_write_key: Some(SymmetricKey::generate(&mut rng)),
        ..shared.cap.with_label(ChunkLabel::generate(&mut rng))
    };
    let mut properties = FileProperties::file(
        "endless".parse().unwrap(),
        secret.clone(),
        String::new(),
        i64::MAX as u64,
        Timestamp::from_seconds(1),
    );
    properties.kind = Kind::File(Some(secret.clone()));
    let data_key = SymmetricKey::generate(&mut rng);
    let (data, _) = Plaintext::chunk_of(b"x").seal(&data_key, None, &mut rng);
    let up = shared.keys.parent_link(&shared.cap.writer, &cap.writer);
    let block = ParentBlock { parent: Some(up), properties };
    let chunk = FileChunk::new(cap.base_key.clone(), data_key, cap.label(), &secret, block, None);
    let node = chunk.build(data, &mut rng).unwrap();
    garden.memory.put(&cap.writer, cap.map_key, node);
    let entry = garden.entry(&shared, &cap, "endless");
    garden.plant(&shared, entry);
    let home = garden.home.cap.clone();
    let plan = garden.memory.rotate(&home, &garden.signer, &shared.cap.location(), true).unwrap();
    assert_eq!(plan.items.len(), 3);
}
