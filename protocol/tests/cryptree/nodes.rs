//! Compares one recorded node with what this crate reads and writes: every key, plaintext and byte of it.

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::secretbox::Key;
use pyrgos_protocol::cryptree::capability::{AbsoluteCapability, RelativeCapability};
use pyrgos_protocol::cryptree::directory::ChildList;
use pyrgos_protocol::cryptree::fragments::{FragmentBlock, NodeData, Plaintext};
use pyrgos_protocol::cryptree::hash_tree::ChunkHashList;
use pyrgos_protocol::cryptree::node::{BaseBlock, CryptreeNode, OpenNode, ParentBlock, node_bats};
use pyrgos_protocol::cryptree::properties::FileProperties;
use pyrgos_protocol::encoding::{FromCbor, Map, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::{SigningPrivateKeyAndPublicHash, SymmetricKey, SymmetricLink};
use pyrgos_protocol::merkle::bat::{Bat, BatId, BatWithId};
use serde_json::Value;

use crate::support::{KnownBytes, array, boolean, bytes, int, text};

/// A node that was compared.
pub(crate) struct Checked {
    pub(crate) cap: AbsoluteCapability,
    pub(crate) node: CryptreeNode,
    pub(crate) open: OpenNode,
    /// What is in the data, unless it is neither recorded nor given.
    pub(crate) data: Option<Cbor>,
}

pub(crate) fn key(record: &Value, name: &str) -> SymmetricKey {
    SymmetricKey::new(Key::from_bytes(array(record, name)))
}

/// A structure in hexadecimal; it must be what this crate writes, too.
pub(crate) fn structure<T: FromCbor + ToCbor>(record: &Value, name: &str) -> T {
    let encoded = bytes(record, name);
    let value = T::from_bytes(&encoded).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(hex::encode(value.to_bytes()), hex::encode(encoded), "{name} is written as it was read");
    value
}

/// A capability with its parts beside its CBOR.
pub(crate) fn capability(record: &Value) -> AbsoluteCapability {
    let cap: AbsoluteCapability = structure(record, "cbor");
    assert_eq!(cap.owner.to_string(), text(record, "owner"));
    assert_eq!(cap.writer.to_string(), text(record, "writer"));
    assert_eq!(cap.map_key.as_bytes(), &array::<32>(record, "mapKey"));
    assert_eq!(cap.bat.as_ref().map(|bat| hex::encode(bat.as_bytes())).as_deref(), record["bat"].as_str());
    assert_eq!(cap.base_key, key(record, "rBaseKey"));
    let write_key = record.get("wBaseKey").map(|_| key(record, "wBaseKey"));
    assert_eq!(cap.base_write_key, write_key);
    assert_eq!(cap.is_writable(), write_key.is_some());
    cap
}

fn relative(cap: &RelativeCapability, record: &Value) {
    assert_eq!(cap.writer.as_ref().map(ToString::to_string).as_deref(), record["writer"].as_str());
    assert_eq!(cap.map_key.as_bytes(), &array::<32>(record, "mapKey"));
    assert_eq!(cap.bat.as_ref().map(|bat| hex::encode(bat.as_bytes())).as_deref(), record["bat"].as_str());
    assert_eq!(cap.base_key, key(record, "rBaseKey"));
}

pub(crate) fn properties(properties: &FileProperties, record: &Value) {
    assert_eq!(properties.name.as_str(), text(record, "name"));
    assert_eq!(properties.is_directory(), boolean(record, "isDirectory"));
    assert_eq!(properties.is_link, boolean(record, "isLink"));
    assert_eq!(properties.is_hidden, boolean(record, "isHidden"));
    assert_eq!(properties.mime_type, text(record, "mimeType"));
    assert_eq!(properties.size_bytes, int(record, "size") as u64);
    assert_eq!(properties.modified.seconds(), int(record, "modifiedSeconds"));
    assert_eq!(i64::from(properties.modified.nanos()), int(record, "modifiedNanos"));
    assert_eq!(properties.created.seconds(), int(record, "createdSeconds"));
    assert_eq!(i64::from(properties.created.nanos()), int(record, "createdNanos"));
    let secret = properties.stream_secret().map(|secret| hex::encode(secret.as_bytes()));
    assert_eq!(secret.as_deref(), record["streamSecret"].as_str());
    let thumbnail = properties.thumbnail.as_ref();
    assert_eq!(thumbnail.map(|t| t.mime_type()), record["thumbnailMime"].as_str());
    assert_eq!(thumbnail.map(|t| t.data().len() as i64), record["thumbnailLength"].as_i64());
    assert_eq!(thumbnail.map(|t| hex::encode(sha256(t.data()))).as_deref(), record["thumbnailSha256"].as_str());
    let tree = properties.tree_hash.as_ref();
    assert_eq!(tree.map(|tree| hex::encode(tree.root().0)).as_deref(), record["treeHashRoot"].as_str());
    let level1 = tree.and_then(|tree| tree.level1()).map(ChunkHashList::as_bytes).map(hex::encode);
    assert_eq!(level1.as_deref(), record["treeHashLevel1"].as_str());
}

/// Compares a recorded node. `content` is that of the chunk, or the CBOR of the child list, for records that do not hold
/// it themselves.
pub(crate) fn check(record: &Value, content: Option<&[u8]>) -> Checked {
    let path = text(record, "path");
    let is_file = text(record, "kind") == "file";
    let cap = capability(&record["cap"]);
    let write_key = cap.base_write_key.clone().expect("the records have write keys");

    // Base block.
    let base_record = &record["base"];
    let base_plain = Bytes::from(bytes(base_record, "plaintext"));
    assert_eq!(base_plain.len() % 64, 0);
    let base = BaseBlock::from_padded(&base_plain).expect("a base block");
    let next_key = if is_file { key(base_record, "dataKey") } else { key(base_record, "parentKey") };
    let dirty = boolean(base_record, if is_file { "dataKeyDirty" } else { "parentKeyDirty" });
    assert_eq!(base.key, SymmetricKey { dirty, ..next_key });
    relative(&base.next, &base_record["nextChunk"]);
    assert_eq!(base.next.base_key, cap.base_key, "{path}: the next chunk has the same base key");
    assert_eq!(
        base.signer.as_ref().map(|link| hex::encode(link.to_bytes())).as_deref(),
        base_record["signerLink"].as_str()
    );

    // Parent block.
    let parent_record = &record["parent"];
    let parent_plain = Bytes::from(bytes(parent_record, "plaintext"));
    assert_eq!(parent_plain.len() % 16, 0);
    let parent = ParentBlock::from_padded(&parent_plain).expect("a parent block");
    match (&parent.parent, parent_record.get("parentLink")) {
        (Some(link), Some(recorded)) => relative(link, recorded),
        (None, None) => {}
        _ => panic!("{path}: parent link"),
    }
    properties(&parent.properties, &parent_record["properties"]);

    // Data.
    let data_record = &record["data"];
    let data_key = SymmetricKey { dirty: boolean(data_record, "keyDirty"), ..key(data_record, "key") };
    assert_eq!(data_key, if is_file { base.key.clone() } else { cap.base_key.clone() });
    let ids: Vec<BatId> = record["bats"].as_array().expect("a list").iter().map(bat_id).collect();
    let (data, value, fragments) = data(data_record, content, &data_key, ids.get(1));

    // The whole node, byte for byte: its address covers all of it.
    let nonces = [bytes(base_record, "nonce"), bytes(parent_record, "nonce")].concat();
    let mut rng = KnownBytes(nonces);
    let bats = node_bats(cap.bat.as_ref(), ids.get(1));
    assert_eq!(bats, ids, "{path}");
    let build = if is_file { CryptreeNode::file } else { CryptreeNode::directory };
    let node = build(&cap.base_key, &base, &parent, data, bats, &mut rng).expect("a node");
    let (cid, block) = node.to_block();
    assert_eq!(cid.to_string(), text(record, "cid"), "{path}");
    assert_eq!(block.len() as i64, int(record, "blockLength"));
    if record.get("block").is_some() {
        assert_eq!(hex::encode(&block), text(record, "block"));
    }
    assert_eq!(node.base().cipher_text().sealed().len() as i64, int(base_record, "ciphertextLength"));
    assert_eq!(node.parent().cipher_text().sealed().len() as i64, int(parent_record, "ciphertextLength"));
    assert_eq!(node.mirror_bat(), ids.get(1));

    // And back.
    assert_eq!(CryptreeNode::from_block(&block).expect("the node is read"), node);
    let open = node.open(&cap.base_key).expect("the base key opens the node");
    assert_eq!(matches!(open, OpenNode::File { .. }), is_file, "{path}");
    assert_eq!(open.base_block(), Some(&base));
    assert_eq!(open.parent_block(), &parent);
    assert_eq!(open.data_key(&cap.base_key), Some(&data_key));
    assert_eq!(open.is_dirty(), is_file && dirty);
    assert_eq!(text(record, "kind") == "link", parent.properties.is_link);
    assert_eq!(node.base().cipher_text().plaintext(&cap.base_key).unwrap(), base_plain);
    let parent_block_key = open.parent_block_key(&cap.base_key);
    assert_eq!(node.parent().cipher_text().plaintext(parent_block_key).unwrap(), parent_plain);
    if !is_file {
        let by_parent_key = node.open(&base.key).expect("the parent key opens the node");
        assert_eq!(by_parent_key, OpenNode::ByParentKey { parent: parent.clone() });
    }
    if let Some(recorded) = base_record.get("signer") {
        let signer: SigningPrivateKeyAndPublicHash = structure(recorded, "cbor");
        assert_eq!(signer.public_key_hash.to_string(), text(recorded, "publicKeyHash"));
        assert_eq!(base.signer.as_ref().unwrap().target(&write_key).unwrap(), signer);
        assert_eq!(open.signer(&cap, None).unwrap(), signer);
        assert_eq!(signer.writer(), cap.writer);
    }
    if let Some(value) = &value {
        let blocks: Vec<Bytes> = fragments.iter().map(FragmentBlock::to_block).collect();
        assert_eq!(&node.data().open(&data_key, &blocks).expect("the data key opens the data"), value);
    }
    if let Some(children) = data_record.get("children") {
        let list = ChildList::from_cbor(value.as_ref().unwrap()).unwrap();
        let named = list.named().expect("names");
        assert_eq!(named.len(), children.as_array().unwrap().len());
        for (entry, recorded) in named.iter().zip(children.as_array().unwrap()) {
            assert_eq!(entry.name.as_str(), text(recorded, "name"));
            assert_eq!(entry.hints.is_directory, recorded["isDir"].as_bool());
            assert_eq!(entry.hints.mime_type.as_deref(), recorded["mimeType"].as_str());
            assert_eq!(entry.hints.created_secs, recorded["createdSeconds"].as_i64());
            relative(&entry.cap, &recorded["cap"]);
            let link: SymmetricLink = structure(&recorded["cap"], "wBaseKeyLink");
            assert_eq!(entry.cap.write_link.as_ref(), Some(&link));
            let child = entry.cap.to_absolute(&cap).expect("the write link opens");
            assert_eq!(child.base_write_key, Some(key(&recorded["cap"], "wBaseKey")));
        }
    }
    if let (Some(names), Some(value)) = (data_record.get("childNames"), &value) {
        let list = ChildList::from_cbor(value).unwrap();
        let found: Vec<&str> = list.named().unwrap().iter().map(|entry| entry.name.as_str()).collect();
        let recorded: Vec<&str> = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(found, recorded);
        assert_eq!(list.len() as i64, int(data_record, "childCount"));
    }
    Checked { cap, node, open, data: value }
}

/// The data of a node made anew: from its content where that is known, else from its parts.
fn data(
    record: &Value,
    content: Option<&[u8]>,
    key: &SymmetricKey,
    mirror: Option<&BatId>,
) -> (NodeData, Option<Cbor>, Vec<FragmentBlock>) {
    let nothing = Vec::new();
    let recorded = record["fragments"].as_array().unwrap_or(&nothing);
    let bats: Vec<u8> = recorded.iter().flat_map(|fragment| bytes(fragment, "bat")).collect();
    let chunk = record.get("chunk").map(|_| bytes(record, "chunk")).or(content.map(<[u8]>::to_vec));
    let is_directory = !is_file(record);
    let (plaintext, value) = if is_directory && record.get("childrenCbor").is_some() {
        let list: ChildList = structure(record, "childrenCbor");
        (Plaintext::structure(&list), list.to_cbor())
    } else if let Some(children) = chunk.as_ref().filter(|_| is_directory) {
        assert_eq!(hex::encode(sha256(children)), text(record, "childrenCborSha256"));
        let list = ChildList::from_bytes(children).expect("a child list");
        assert_eq!(&list.to_bytes(), children);
        (Plaintext::structure(&list), list.to_cbor())
    } else if let Some(chunk) = chunk {
        assert_eq!(chunk.len() as i64, int(record, "chunkLength"));
        assert_eq!(hex::encode(sha256(&chunk)), text(record, "chunkSha256"));
        (Plaintext::chunk_of(&chunk), Cbor::bytes(chunk))
    } else {
        return (from_parts(record), None, Vec::new());
    };

    let mut rng = KnownBytes([bytes(record, "nonce"), bats].concat());
    let (data, fragments) = plaintext.seal(key, mirror, &mut rng);
    assert!(rng.0.is_empty(), "a token for each fragment and no more");
    assert_eq!(data.is_inline(), boolean(record, "inline"));
    assert_eq!(data.nonce().as_bytes(), &array::<24>(record, "nonce"));
    let blocks: Vec<Bytes> = fragments.iter().map(FragmentBlock::to_block).collect();
    let sealed = data.sealed(&blocks).expect("all fragments");
    assert_eq!(sealed.len() as i64, int(record, "ciphertextLength"));
    assert_eq!(sealed.len() as i64 - 16, int(record, "paddedPlaintextLength"));
    assert_eq!(hex::encode(sha256(&sealed)), text(record, "ciphertextSha256"));
    if let Some(header) = record["header"].as_str() {
        assert_eq!(hex::encode(&sealed[..header.len() / 2]), header);
    }
    compare_fragments(&data, &fragments, recorded);
    (data, Some(value), fragments)
}

pub(crate) fn compare_fragments(data: &NodeData, fragments: &[FragmentBlock], recorded: &[Value]) {
    assert_eq!(fragments.len(), recorded.len());
    assert_eq!(data.fragments().len(), recorded.len());
    for ((fragment, block), recorded) in data.fragments().iter().zip(fragments).zip(recorded) {
        let [prefix, body] = block.parts();
        assert_eq!(hex::encode(&prefix), text(recorded, "prefix"));
        assert_eq!(body.len() as i64, int(recorded, "bodyLength"));
        assert_eq!(hex::encode(sha256(&body)), text(recorded, "bodySha256"));
        assert_eq!(block.block_len() as i64, int(recorded, "blockLength"));
        assert_eq!(block.cid().to_string(), text(recorded, "cid"));
        assert_eq!(&fragment.cid, block.cid());
        assert!(block.cid().matches(&block.to_block()));
        assert_eq!(block.bat().as_bytes(), &array::<32>(recorded, "bat"));
        let bat = fragment.bat.as_ref().expect("new fragments have tokens");
        assert_eq!(*bat.id().to_text(), text(recorded, "batId"));
    }
}

/// Whether data are those of a file: only these tell the length of a chunk.
fn is_file(data: &Value) -> bool {
    data.get("chunkLength").is_some()
}

/// The data of a node whose content the vectors leave out.
fn from_parts(record: &Value) -> NodeData {
    let fragments = record["fragments"].as_array().expect("only large contents are left out");
    let links = fragments.iter().map(|fragment| Cbor::Link(text(fragment, "cid").parse().unwrap())).collect();
    let bats: Vec<BatWithId> =
        fragments.iter().map(|fragment| BatWithId::by_content(Bat::from_bytes(array(fragment, "bat")))).collect();
    let mut map = Map::default();
    map.insert("n", Cbor::bytes(bytes(record, "nonce")));
    map.insert("h", Cbor::bytes(bytes(record, "header")));
    map.insert("f", Cbor::List(links));
    map.insert("bats", Cbor::list(&bats));
    NodeData::from_cbor(&Cbor::Map(map)).expect("data of parts")
}

fn bat_id(record: &Value) -> BatId {
    let id = BatId::from_cbor(&Cbor::bytes(bytes(record, "cid"))).expect("a BAT id");
    assert_eq!(id.is_inline(), boolean(record, "inline"));
    id
}
