//! What a recorded state says around the nodes: signed pointers, writer data and the tree of labels of each writer.

use std::collections::BTreeMap;

use bytes::Bytes;
use pyrgos_protocol::cryptree::MapKey;
use pyrgos_protocol::encoding::{Cid, Value as Cbor};
use pyrgos_protocol::keys::Writer;
use pyrgos_protocol::merkle::pointer::PointerUpdate;
use serde_json::Value;

use crate::support::{bytes, int, text};

/// Blocks by the text of their address.
pub(crate) type Blocks = BTreeMap<String, Bytes>;

/// All labels of a state: of which writer, and the address of the node.
pub(crate) type Labels = BTreeMap<(String, MapKey), Cid>;

/// Opens a signed pointer with the key that the writer's name holds.
pub(crate) fn signed_pointer(record: &Value, signed: &str) -> PointerUpdate {
    let writer: Writer = text(record, "writer").parse().expect("a writer");
    let key = writer.signing_key().expect("writers of new accounts hold their key");
    PointerUpdate::open(&key, &bytes(record, signed)).expect("the writer signed it")
}

/// Compares a pointer with its record and returns where it points.
pub(crate) fn pointer(record: &Value) -> Option<Cid> {
    let update = signed_pointer(record, "signedCas");
    let target = |cid: Option<&Cid>| cid.map_or("EMPTY".to_owned(), Cid::to_string);
    assert_eq!(target(update.original()), text(record, "original"));
    assert_eq!(target(update.updated()), text(record, "updated"));
    assert_eq!(update.sequence(), Some(int(record, "sequence")));
    update.updated().cloned()
}

/// Compares pointers and writer data and reads the labels of all writers.
pub(crate) fn labels(pointers: &[Value], writers: &[Value], blocks: &Blocks) -> Labels {
    let targets: BTreeMap<&str, Option<Cid>> =
        pointers.iter().map(|record| (text(record, "writer"), pointer(record))).collect();
    let mut labels = Labels::new();
    for record in writers {
        let writer = text(record, "writer");
        if record["deleted"] == true {
            assert_eq!(targets[writer], None, "the pointer of a deleted space is empty");
            continue;
        }
        let cid = text(record, "writerDataCid");
        assert_eq!(targets[writer].as_ref().map(Cid::to_string).as_deref(), Some(cid));
        let block = bytes(record, "writerData");
        assert!(cid.parse::<Cid>().unwrap().matches(&block));
        let data = Cbor::decode(&block).expect("writer data");
        let tree = data.as_map().unwrap().get("tree").map(|tree| tree.as_link().unwrap().clone());
        assert_eq!(tree.as_ref().map(Cid::to_string).as_deref(), record["tree"].as_str());
        if let Some(root) = tree {
            collect(writer, &root, blocks, &mut labels);
        }
    }
    labels
}

/// Every entry of a CHAMP, by its shape alone: `[bitmap, bitmap, [child link or list of keys and values in turn]]`.
fn collect(writer: &str, node: &Cid, blocks: &Blocks, labels: &mut Labels) {
    let block = blocks.get(&node.to_string()).unwrap_or_else(|| panic!("block {node} of the tree is missing"));
    let node = Cbor::decode_canonical(block).expect("a CHAMP node");
    for item in node.as_list().unwrap()[2].as_list().unwrap() {
        match item {
            Cbor::Link(child) => collect(writer, child, blocks, labels),
            bucket => {
                for entry in bucket.as_list().unwrap().chunks(2) {
                    let key = MapKey::from_bytes(entry[0].as_array("map key").unwrap());
                    labels.insert((writer.to_owned(), key), entry[1].as_link().unwrap().clone());
                }
            }
        }
    }
}
