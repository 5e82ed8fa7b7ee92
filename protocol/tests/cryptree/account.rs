//! `03-account.json`: a whole account, from the capability of its home directory to the content of each file.

use std::collections::BTreeMap;

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::cryptree::capability::AbsoluteCapability;
use pyrgos_protocol::cryptree::chunk::{ChunkLabels, chunk_count, chunk_len, fit};
use pyrgos_protocol::cryptree::directory::ChildList;
use pyrgos_protocol::cryptree::home::NewHome;
use pyrgos_protocol::cryptree::node::{CryptreeNode, OpenNode};
use pyrgos_protocol::cryptree::properties::Timestamp;
use pyrgos_protocol::cryptree::{FileName, FileProperties, MapKey};
use pyrgos_protocol::encoding::{Cid, FromCbor};
use pyrgos_protocol::merkle::bat::Bat;
use serde_json::Value;

use crate::content;
use crate::nodes::{Checked, capability, check};
use crate::state::{Blocks, Labels, labels, signed_pointer};
use crate::support::{Cases, array, boolean, bytes, int, text};

/// Blocks by their address, and nodes by their map key.
struct Store {
    blocks: Blocks,
    nodes: BTreeMap<MapKey, String>,
}

impl Store {
    fn node(&self, cap: &AbsoluteCapability) -> Option<(CryptreeNode, OpenNode)> {
        let block = &self.blocks[self.nodes.get(&cap.map_key)?];
        let node = CryptreeNode::from_block(block).expect("a node");
        let open = node.open(&cap.base_key).expect("the key opens it");
        Some((node, open))
    }

    fn fragments(&self, node: &CryptreeNode) -> Vec<Bytes> {
        node.data().fragments().iter().map(|fragment| self.blocks[&fragment.cid.to_string()].clone()).collect()
    }

    /// Everything below a capability, as the vectors list it.
    fn walk(&self, path: &str, cap: &AbsoluteCapability, tree: &mut BTreeMap<String, Found>) {
        let (node, open) = self.node(cap).expect("the entry leads to a node");
        let properties = open.properties().clone();
        let mut found = Found { writer: cap.writer.to_string(), is_dirty: open.is_dirty(), properties, content: None };
        if let OpenNode::File { .. } = open {
            found.content = Some(self.content(cap, &found.properties));
            tree.insert(path.to_owned(), found);
            return;
        }
        tree.insert(path.to_owned(), found);
        let mut chunk = Some((node, open));
        while let Some((node, open)) = chunk {
            let list = node.data().open(&cap.base_key, &self.fragments(&node)).expect("the child list opens");
            for entry in ChildList::from_cbor(&list).unwrap().named().unwrap() {
                let child = entry.cap.to_absolute(cap).unwrap();
                self.walk(&format!("{path}/{}", entry.name.as_str()), &child, tree);
            }
            let next = open.base_block().unwrap().next.label();
            chunk = self.node(&cap.with_label(next));
        }
    }

    fn content(&self, cap: &AbsoluteCapability, properties: &FileProperties) -> Vec<u8> {
        let size = properties.size_bytes;
        let labels = ChunkLabels::new(cap.label(), properties.stream_secret().expect("new files have one").clone());
        let mut content = Vec::new();
        for (index, label) in (0..chunk_count(size)).zip(labels) {
            let (node, open) = self.node(&cap.with_label(label)).expect("no chunk is missing");
            let key = open.data_key(&cap.base_key).unwrap();
            let chunk = node.data().open_chunk(key, &self.fragments(&node)).expect("the content opens");
            content.extend_from_slice(&fit(chunk, chunk_len(index, size)));
        }
        content
    }
}

struct Found {
    writer: String,
    is_dirty: bool,
    properties: FileProperties,
    content: Option<Vec<u8>>,
}

#[test]
fn vectors() {
    let mut cases = Cases::of("03-account");
    let secrets = cases.value("secrets");
    let entry = capability(&secrets["entryPoints"][0]["cap"]);
    let blocks = cases.section("blocks").remove(0);
    let blocks = blocks.as_object().unwrap().iter().map(|(cid, block)| {
        let block = hex::decode(block.as_str().unwrap()).unwrap();
        assert!(cid.parse::<Cid>().unwrap().matches(&block));
        (cid.clone(), Bytes::from(block))
    });
    let mut store = Store { blocks: blocks.collect(), nodes: BTreeMap::new() };
    for record in cases.section("nodesAfterFirstLogin") {
        check(&record, None);
    }
    let mut nodes = Vec::new();
    for record in cases.section("nodes") {
        let block = &store.blocks[text(&record, "cid")];
        // The content comes out of the block and goes into a new node, which must be the same block again.
        let node = CryptreeNode::from_block(block).expect("a node");
        let key = crate::nodes::key(&record["data"], "key");
        let chunk = node.data().open_chunk(&key, &store.fragments(&node)).ok();
        let checked = check(&record, chunk.as_deref());
        assert_eq!(block, &checked.node.to_block().1);
        store.nodes.insert(checked.cap.map_key, text(&record, "cid").to_owned());
        nodes.push((record, checked));
    }

    let mut tree = BTreeMap::new();
    store.walk("/alice", &entry, &mut tree);
    let expected = cases.section("expectedTree");
    assert_eq!(tree.len(), expected.len());
    for item in &expected {
        expected_item(&tree[text(item, "path")], item);
    }
    seeds(&tree);
    cases.value("expectedContentSeeds");

    for deleted in cases.section("deletedEntries") {
        let cap = capability(&deleted["cap"]);
        assert!(!store.nodes.contains_key(&cap.map_key));
        assert!(!tree.contains_key(text(&deleted, "path")));
    }
    rename(&cases.section("rename")[0], &nodes);
    let moved = cases.section("move").remove(0);
    assert!(boolean(&moved, "capUnchanged"));
    let cap = capability(&moved["cap"]);
    let after = nodes.iter().find(|(_, node)| node.cap.map_key == cap.map_key).expect("the moved node");
    assert_eq!(after.1.cap, cap);

    cases.skip_section("publicInodes", "replayed by the test `social`");
    // The tree of labels holds these nodes and no other: neither deleted ones nor later chunks.
    let labels = labels(&cases.section("pointers"), &cases.section("writers"), &store.blocks);
    let recorded: Labels = nodes
        .iter()
        .map(|(record, node)| ((node.cap.writer.to_string(), node.cap.map_key), text(record, "cid").parse().unwrap()))
        .collect();
    assert_eq!(labels, recorded);
    sign_up(&cases.section("signup")[0], &entry);
    cases.finish();
}

fn expected_item(found: &Found, item: &Value) {
    let path = text(item, "path");
    assert_eq!(found.properties.is_directory(), text(item, "type") == "directory", "{path}");
    assert_eq!(found.properties.is_hidden, boolean(item, "hidden"));
    assert_eq!(found.properties.size_bytes, int(item, "size") as u64);
    assert_eq!(found.properties.mime_type, text(item, "mimeType"));
    assert_eq!(found.properties.is_link, boolean(item, "viaLink"));
    assert_eq!(found.writer, text(item, "writer"));
    assert_eq!(found.is_dirty, item["dirty"].as_bool().unwrap_or(false));
    let hash = found.content.as_ref().map(|content| hex::encode(sha256(content)));
    assert_eq!(hash.as_deref(), item["sha256"].as_str(), "{path}");
    if let (Some(recorded), Some(content)) = (item["content"].as_str(), &found.content) {
        assert_eq!(hex::encode(content), recorded);
    }
}

/// Contents by the formula.
fn seeds(tree: &BTreeMap<String, Found>) {
    let mut seen = 0;
    for (path, found) in tree {
        let Some(found) = &found.content else { continue };
        let name = path.rsplit('/').next().unwrap();
        let expected = match name {
            "edited.bin" => {
                let mut edited = content("edited", 100);
                edited[50..58].copy_from_slice(b"[middle]");
                edited.extend_from_slice(b"[append]");
                edited
            }
            "truncated.bin" => content("truncated", 5000)[..300].to_vec(),
            "replaced.bin" => content("replaced-new", 200),
            _ => match name.strip_prefix("size-").and_then(|rest| rest.strip_suffix(".bin")) {
                Some(size) => content(&format!("size-{size}"), size.parse().unwrap()),
                None => continue,
            },
        };
        assert_eq!(found, &expected, "{path}");
        seen += 1;
    }
    assert!(seen >= 12, "{seen} files by formula");
}

/// The operations of a sign-up: those of the identity end with its pointer, those of the home's writer with the other.
/// Only the addresses of the blocks are recorded. The home directory is as long as the one that this crate makes.
fn sign_up(case: &Value, home: &AbsoluteCapability) {
    let operations = case["operations"].as_array().expect("operations");
    let pointers: Vec<&Value> = operations.iter().filter(|operation| text(operation, "op") == "pointer").collect();
    let writers: Vec<&str> = pointers.iter().map(|operation| text(operation, "writer")).collect();
    assert_eq!(writers, [home.owner.to_string(), home.writer.to_string()]);
    for pointer in pointers {
        let update = signed_pointer(pointer, "signed");
        assert_eq!((update.original(), update.sequence()), (None, Some(1)));
        let target = update.updated().expect("a target").to_string();
        assert!(operations.iter().any(|operation| operation["cid"] == target.as_str()));
    }
    let mut rng = crate::support::system_random();
    let signer = pyrgos_protocol::keys::SigningKeyPair::generate(&mut rng).signer();
    let mirror = Bat::from_bytes([1; 32]).mirror_id();
    let name = FileName::new("alice").unwrap();
    let now = Timestamp::new(1_795_446_518, 587_008_136).unwrap();
    let made = NewHome::build(&home.owner, name, &signer, &mirror, now, &mut rng).unwrap();
    let mut lengths: Vec<i64> = made.nodes.iter().map(|new| new.node.to_block().1.len() as i64).collect();
    lengths.sort_unstable();
    let mut recorded: Vec<i64> = operations.iter().filter_map(|operation| operation["length"].as_i64()).collect();
    recorded.retain(|length| *length > 4112);
    recorded.sort_unstable();
    assert_eq!(lengths, recorded, "as long as the nodes that other clients make");
}

/// Renaming changes the parent block and nothing else, so that the new node follows from the old one.
fn rename(case: &Value, nodes: &[(Value, Checked)]) {
    let before = check(&case["before"], None);
    let (after_record, after) = nodes.iter().find(|(_, node)| node.cap == before.cap).expect("the renamed node");
    assert_ne!(before.open.properties().name, after.open.properties().name);
    let mut parent = before.open.parent_block().clone();
    parent.properties.name = after.open.properties().name.clone();
    let mut rng = crate::support::KnownBytes(bytes(&after_record["parent"], "nonce"));
    let key = before.open.parent_block_key(&before.cap.base_key);
    assert_eq!(before.node.with_parent(key, &parent, &mut rng), after.node);
    assert_eq!(array::<32>(&case["before"]["cap"], "mapKey"), *after.cap.map_key.as_bytes());
}
