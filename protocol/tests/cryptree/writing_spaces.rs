//! `03-writing-spaces.json`: every state of an account whose files move between writing spaces. All nodes are opened
//! made anew byte for byte; the rotations between the states are done by the test `rotation`, and every step by the
//! client in the test `client_recorded`.

use std::collections::BTreeMap;

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::cryptree::chunk::{CHUNK_SIZE, chunk_len, fit};
use pyrgos_protocol::cryptree::directory::ChildList;
use pyrgos_protocol::cryptree::file::CleanKeys;
use pyrgos_protocol::cryptree::node::{CryptreeNode, NodeError, OpenNode};
use pyrgos_protocol::cryptree::properties::Kind;
use pyrgos_protocol::encoding::{Cid, FromCbor};
use serde_json::Value;

use crate::content;
use crate::nodes::{Checked, capability, check};
use crate::state::{Blocks, labels};
use crate::support::{Cases, boolean, int, text};

#[test]
fn vectors() {
    let mut cases = Cases::of("03-writing-spaces");
    let secrets = cases.value("secrets");
    let home = capability(&secrets["entryPoints"][0]["cap"]);
    let large = large_contents();
    let mut blocks = Blocks::new();
    let mut opened = 0;
    for step in cases.section("steps") {
        let name = text(&step, "step");
        for (cid, block) in step["newReachableBlocks"].as_object().expect("blocks") {
            // Blocks of 20 000 bytes and more are given by their length alone.
            let Some(block) = block.as_str().filter(|block| hex::decode(block).is_ok()) else { continue };
            let block = hex::decode(block).unwrap();
            assert!(cid.parse::<Cid>().unwrap().matches(&block));
            blocks.insert(cid.clone(), block.into());
        }
        let nodes: Vec<(Value, Checked)> = step["nodes"]
            .as_array()
            .expect("nodes")
            .iter()
            .map(|record| {
                let node = CryptreeNode::from_block(&blocks[text(record, "cid")]).expect("a node");
                let key = crate::nodes::key(&record["data"], "key");
                let fragments: Option<Vec<Bytes>> = node
                    .data()
                    .fragments()
                    .iter()
                    .map(|fragment| blocks.get(&fragment.cid.to_string()).cloned())
                    .collect();
                let chunk = match fragments {
                    Some(fragments) => node.data().open_chunk(&key, &fragments).ok(),
                    None => Some(large[text(&record["data"], "chunkSha256")].clone()),
                };
                let checked = check(record, chunk.as_deref());
                assert_eq!(checked.node, node, "{name}");
                opened += 1;
                (record.clone(), checked)
            })
            .collect();
        let list = |key: &str| step[key].as_array().expect("a list").clone();
        let labels = labels(&list("pointers"), &list("writers"), &blocks);
        for (record, node) in &nodes {
            let label = (node.cap.writer.to_string(), node.cap.map_key);
            assert_eq!(labels[&label].to_string(), text(record, "cid"), "{name}");
        }
        links(&nodes);
        signers(&nodes, &home.writer.to_string());
        expected_tree(&step, &nodes);
        println!("03-writing-spaces.json: {name}: {} nodes", nodes.len());
    }
    println!("03-writing-spaces.json: {opened} nodes opened and made anew");
    cases.finish();
}

/// The chunks of `plain.bin` by their hash, whose blocks the vectors leave out: before and after four bytes were written
/// at 5 MiB + 100, and the last one as cleaning extended it with zeros.
fn large_contents() -> BTreeMap<String, Bytes> {
    let size = CHUNK_SIZE as usize;
    let plain = content("plain", 11 * 1024 * 1024);
    let mut edited = plain[size..2 * size].to_vec();
    edited[100..104].copy_from_slice(b"edit");
    let extended = [&plain[2 * size..], &vec![0; 3 * size - plain.len()]].concat();
    let mut contents: Vec<Bytes> = plain.chunks(size).map(Bytes::copy_from_slice).collect();
    contents.extend([Bytes::from(edited), Bytes::from(extended)]);
    contents.into_iter().map(|chunk| (hex::encode(sha256(&chunk)), chunk)).collect()
}

/// A link node holds one child, its target, whose way up leads back to it.
fn links(nodes: &[(Value, Checked)]) {
    for (record, link) in nodes {
        if text(record, "kind") != "link" {
            continue;
        }
        let list = ChildList::from_cbor(link.data.as_ref().expect("child lists are recorded")).unwrap();
        assert_eq!(list.len(), 1);
        let target = list.named().unwrap()[0].cap.to_absolute(&link.cap).unwrap();
        let (_, target_node) = nodes.iter().find(|(_, node)| node.cap == target).expect("the target is recorded");
        assert_eq!(target_node.open.properties().name, link.open.properties().name);
        let up = target_node.open.parent_block().parent.as_ref().expect("a way up");
        assert_eq!(up.to_absolute_read_only(&target).location(), link.cap.location());
        // The way up shows the link node's name and nothing below it.
        assert_eq!(
            link.node.open(&up.base_key),
            Ok(OpenNode::ByParentKey { parent: link.open.parent_block().clone() })
        );
        assert_ne!(target.writer, link.cap.writer);
    }
}

/// The root of a writing space holds its signer; what lies below needs that of the way to it.
fn signers(nodes: &[(Value, Checked)], home_writer: &str) {
    for (record, node) in nodes {
        let path = text(record, "path");
        let own = record["base"].get("signer").is_some();
        match node.open.signer(&node.cap, None) {
            Ok(signer) => {
                assert!(own, "{path}");
                assert_eq!(signer.writer(), node.cap.writer);
                assert_ne!(node.cap.writer.to_string(), home_writer, "{path}");
                for (_, other) in nodes {
                    let entered = other.open.signer(&other.cap, Some(&signer));
                    let has_own = other.open.base_block().unwrap().signer.is_some();
                    assert_eq!(entered.is_ok(), has_own || other.cap.writer == node.cap.writer);
                }
            }
            Err(error) => {
                assert!(!own, "{path}");
                assert_eq!(error, NodeError::NotWritable);
            }
        }
        assert_eq!(node.open.signer(&node.cap.read_only(), None), Err(NodeError::NotWritable));
    }
}

/// The readable tree of the step: kinds, sizes, marks and contents.
fn expected_tree(step: &Value, nodes: &[(Value, Checked)]) {
    for item in step["expected"].as_array().expect("a tree") {
        let path = text(item, "path");
        let matching: Vec<&Checked> = nodes
            .iter()
            .filter(|(record, _)| text(record, "path").replace("/{link}", "") == path)
            .filter(|(record, _)| text(record, "kind") != "link")
            .map(|(_, node)| node)
            .collect();
        let first = matching.first().unwrap_or_else(|| panic!("{path} is not among the nodes"));
        let properties = first.open.properties();
        assert_eq!(properties.is_directory(), text(item, "type") == "directory");
        assert_eq!(properties.is_hidden, boolean(item, "hidden"));
        assert_eq!(properties.size_bytes, int(item, "size") as u64);
        assert_eq!(properties.mime_type, text(item, "mimeType"));
        assert_eq!(first.cap.writer.to_string(), text(item, "writer"));
        if let Kind::File(secret) = &properties.kind {
            assert_eq!(first.open.is_dirty(), boolean(item, "dirty"), "{path}");
            let secret = secret.as_ref().expect("a stream secret");
            let mut content = Vec::new();
            for (index, node) in (0..).zip(&matching) {
                assert_eq!(node.cap, first.cap.with_label(first.cap.label().advance(secret, index)));
                let chunk = node.data.as_ref().expect("all contents are known").as_bytes().unwrap().clone();
                content.extend_from_slice(&fit(chunk, chunk_len(index, properties.size_bytes)));
            }
            assert_eq!(hex::encode(sha256(&content)), text(item, "sha256"), "{path}");
            let clean = CleanKeys::generate(&mut crate::support::system_random());
            let cleaned = clean.properties(properties);
            assert_eq!(cleaned.stream_secret(), Some(&clean.stream_secret));
            assert_eq!((&cleaned.name, &cleaned.tree_hash), (&properties.name, &properties.tree_hash));
        }
    }
}
