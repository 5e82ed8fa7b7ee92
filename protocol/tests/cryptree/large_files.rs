//! `03-large-files.json`: files of several chunks, changes of them, and an interrupted upload.

use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::cryptree::chunk::{CHUNK_SIZE, ChunkLabels, chunk_count, chunk_index, chunk_len, chunk_range};
use pyrgos_protocol::cryptree::hash_tree::{ContentHasher, HashTree};
use pyrgos_protocol::cryptree::transaction::resume::ResumeSearch;
use pyrgos_protocol::cryptree::transaction::{self, UploadTransaction};
use pyrgos_protocol::cryptree::{ChunkLabel, MapKey, StreamSecret};
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::merkle::bat::Bat;
use serde_json::Value;

use crate::nodes::{Checked, capability, check, key, structure};
use crate::support::{Cases, array, boolean, bytes, int, text};
use crate::{content, described_content};

const MIB: usize = 1024 * 1024;

#[test]
fn vectors() {
    let mut cases = Cases::of("03-large-files");
    for file in cases.section("files") {
        let content = described_content(text(&file, "content"));
        let expected = &file["expected"];
        assert_eq!(content.len() as i64, int(expected, "size"));
        assert_eq!(hex::encode(sha256(&content)), text(expected, "sha256"));
        let nodes = chunks(&file, &content);
        assert_eq!(nodes[0].open.is_dirty(), boolean(expected, "dirty"));
        let tree = hash_tree(&content);
        if file.get("hashTree").is_some() {
            assert_eq!(structure::<HashTree>(&file, "hashTree"), tree);
        }
        assert_eq!(nodes[0].open.properties().tree_hash.as_ref(), Some(&tree.branch(0)));
    }

    let mut content = Vec::new();
    for operation in cases.section("operations") {
        let step = text(&operation, "step");
        apply(step, &mut content);
        let nodes = chunks(&operation, &content);
        if operation.get("size").is_some() {
            assert_eq!(content.len() as i64, int(&operation, "size"), "{step}");
            assert_eq!(hex::encode(sha256(&content)), text(&operation, "sha256"), "{step}");
            assert!(boolean(&operation, "matches"));
        }
        // A hash tree that is there is either right or left behind by the reference (`spec/03` §14.1); here, where each
        // change touches or moves the first chunk's size, only the first step has one.
        if let Some(branch) = &nodes[0].open.properties().tree_hash {
            assert_eq!(branch, &hash_tree(&content).branch(0), "{step}");
        }
    }
    interrupted(&cases.section("interruptedUpload")[0]);
    cases.finish();
}

/// What each step of the record does to the content.
fn apply(step: &str, content: &mut Vec<u8>) {
    if step.starts_with("upload 12 MiB") {
        *content = self::content("big-12MiB", 12 * MIB);
    } else if step.starts_with("overwrite bytes [5242876, 5242885)") {
        content[5_242_876..5_242_885].copy_from_slice(b"<<range>>");
    } else if step.starts_with("append") {
        content.extend(self::content("tail", 4_194_304));
    } else if step.starts_with("truncate to 11 MiB") {
        content.truncate(11 * MIB);
    } else if step.starts_with("truncate to exactly 5 MiB") {
        content.truncate(5 * MIB);
    } else if step.starts_with("truncate to 10 bytes") {
        content.truncate(10);
    } else {
        panic!("unknown step {step}");
    }
}

/// Compares the nodes of all chunks of a file and their labels.
fn chunks(record: &Value, content: &[u8]) -> Vec<Checked> {
    let records = record["nodes"].as_array().expect("nodes");
    let size = content.len() as u64;
    assert_eq!(records.len() as u64, chunk_count(size));
    let nodes: Vec<Checked> = records
        .iter()
        .enumerate()
        .map(|(index, node)| {
            assert_eq!(int(node, "chunk"), index as i64);
            let range = chunk_range(index as u64, size);
            assert_eq!((range.end - range.start) as usize, chunk_len(index as u64, size));
            check(node, Some(&content[range.start as usize..range.end as usize]))
        })
        .collect();
    let first = &nodes[0];
    assert_eq!(first.open.properties().size_bytes, size);
    let secret = first.open.properties().stream_secret().expect("a stream secret");
    let recorded = record["chunkLabels"].as_array().expect("labels");
    let labels = ChunkLabels::new(first.cap.label(), secret.clone());
    for ((index, recorded), label) in recorded.iter().enumerate().zip(labels) {
        assert_eq!(recorded_label(recorded), label);
        assert_eq!(index < nodes.len(), boolean(recorded, "present"));
        if let Some(node) = nodes.get(index) {
            assert_eq!(node.cap, first.cap.with_label(label.clone()));
            assert_eq!(node.open.properties().stream_secret(), Some(secret));
            assert_eq!(node.open.base_block().unwrap().next.label(), label.next(secret));
        }
    }
    nodes
}

fn recorded_label(record: &Value) -> ChunkLabel {
    ChunkLabel {
        map_key: MapKey::from_bytes(array(record, "mapKey")),
        bat: Some(Bat::from_bytes(array(record, "bat"))),
    }
}

fn hash_tree(content: &[u8]) -> HashTree {
    let mut hasher = ContentHasher::default();
    content.chunks(MIB).for_each(|part| hasher.update(part));
    hasher.finish().unwrap()
}

fn interrupted(case: &Value) {
    let path = text(case, "path");
    assert_eq!(transaction::file_name(path), text(case, "transactionFileName"));
    let open = &case["openTransactions"][0];
    assert_eq!(text(open, "name"), text(case, "transactionFileName"));
    assert_eq!(hex::encode(sha256(&bytes(open, "cbor"))), text(case, "transactionFileSha256"));
    let transaction: UploadTransaction = structure(open, "cbor");
    assert_eq!(transaction.path, path);
    let cap = capability(&case["writeCap"]);
    assert_eq!(transaction.capability(), Some(cap.clone()));
    let keys = transaction.file_keys().unwrap();
    assert_eq!(keys.data, key(case, "dataKey"));
    assert_eq!(transaction.stream_secret, StreamSecret::from_bytes(array(case, "streamSecret")));

    let recorded = case["chunkLabels"].as_array().unwrap();
    let labels = ChunkLabels::new(keys.first, keys.stream_secret);
    let mut present = Vec::new();
    for (record, label) in recorded.iter().zip(labels) {
        assert_eq!(label.map_key, MapKey::from_bytes(array(record, "mapKey")));
        present.push(boolean(record, "present"));
    }
    assert_eq!(transaction.chunk_count() as usize, present.len());
    let mut search = ResumeSearch::new(transaction.chunk_count());
    while search.first_absent().is_none() {
        let answer: Vec<bool> = search.probes().iter().map(|probe| present[*probe as usize]).collect();
        search.answer(&answer);
    }
    assert_eq!(search.first_absent(), Some(int(case, "firstAbsentChunk") as u64));

    let after = &case["afterResume"];
    let expected = &after["expected"];
    assert!(boolean(after, "capUnchanged"));
    assert_eq!(transaction.size_bytes, int(expected, "size") as u64);
    assert_eq!(cap.writer.to_string(), text(expected, "writer"));
    let content = content("big-12MiB", transaction.size_bytes as usize);
    if hex::encode(sha256(&content)) == text(expected, "sha256") {
        assert_eq!(transaction.hash_tree.as_ref(), Some(&hash_tree(&content)));
    } else {
        panic!("the content of the interrupted upload has another seed");
    }
    assert_eq!(chunk_index(transaction.size_bytes - 1) + 1, transaction.chunk_count());
    assert!(transaction.size_bytes > CHUNK_SIZE);
    let _: Cid = text(open, "name").parse().expect("the name is an address");
}
