//! `03-negative.json`: what must be refused, and what must not.

use bytes::Bytes;
use pyrgos_crypto::secretbox::Key;
use pyrgos_protocol::cryptree::capability::{AbsoluteCapability, RelativeCapability};
use pyrgos_protocol::cryptree::directory::{DirectoryChunk, DirectoryKeys};
use pyrgos_protocol::cryptree::file::{FileChunk, FileKeys};
use pyrgos_protocol::cryptree::fragments::{NodeData, Plaintext};
use pyrgos_protocol::cryptree::node::{CryptreeNode, NodeError, OpenNode, ParentBlock};
use pyrgos_protocol::cryptree::properties::{FileProperties, MAX_THUMBNAIL_BYTES, Thumbnail, Timestamp};
use pyrgos_protocol::cryptree::{FileName, StreamSecret};
use pyrgos_protocol::encoding::{FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::SymmetricKey;
use pyrgos_protocol::merkle::bat::prefix;
use serde_json::Value;

use crate::support::{Cases, array, bytes, system_random, text};

struct Inputs {
    k1: SymmetricKey,
    k2: SymmetricKey,
    w1: SymmetricKey,
    w2: SymmetricKey,
}

#[test]
fn vectors() {
    let mut cases = Cases::of("03-negative");
    let inputs = cases.value("inputs");
    let key = |name| SymmetricKey::new(Key::from_bytes(array(&inputs, name)));
    let inputs = Inputs { k1: key("k1"), k2: key("k2"), w1: key("w1"), w2: key("w2") };
    for case in cases.section("cases") {
        let name = text(&case, "name");
        let accepted = match text(&case, "structure") {
            "CryptreeNode" => node(&case, name, &inputs),
            "createFile" => new_file(&inputs),
            "createDir" => new_directory(&inputs),
            "FileProperties" => file_properties(&case, name),
            "RelativeCapability" => relative_capability(&case, name, &inputs),
            "capability link" => link(&case),
            "raw block" => raw_block(&case),
            "FragmentedPaddedCipherText" => NodeData::from_bytes(&bytes(&case, "data")).is_ok(),
            "CBOR" => cbor(&case),
            other => panic!("unknown structure {other}"),
        };
        let expected = text(&case, "referenceResult").starts_with("accepted");
        assert_eq!(accepted, expected, "{name}: {}", text(&case, "expected"));
    }
    cases.finish();
}

fn node(case: &Value, name: &str, inputs: &Inputs) -> bool {
    let Ok(node) = CryptreeNode::from_block(&Bytes::from(bytes(case, "data"))) else { return false };
    let wrong_key = name == "wrong base key";
    let is_base_damaged = name.contains(" base ") && !wrong_key;
    match node.open(if wrong_key { &inputs.k2 } else { &inputs.k1 }) {
        Ok(open) => {
            assert!(matches!(open, OpenNode::File { .. }));
            assert_eq!(open.properties().name.as_str(), "f.txt");
            assert_eq!(open.base_block().unwrap().key, inputs.k2);
            node.data().open_chunk(&inputs.k2, &[]).expect("the data open");
            let has_bats = case["name"] != "no bats key";
            assert_eq!(node.bats().is_empty(), !has_bats);
            if name == "unknown extra key" {
                assert_ne!(node.to_bytes(), bytes(case, "data"), "the extra key is lost on rewrite");
            } else {
                assert_eq!(node.to_bytes(), bytes(case, "data"));
            }
            true
        }
        Err(NodeError::WrongKey) => {
            assert!(wrong_key, "{name}");
            false
        }
        Err(NodeError::Malformed(_)) => {
            assert!(is_base_damaged, "{name}");
            false
        }
        Err(other) => panic!("{name}: {other}"),
    }
}

fn new_file(inputs: &Inputs) -> bool {
    let mut rng = system_random();
    let secret = StreamSecret::generate(&mut rng);
    let keys = FileKeys::generate(&mut rng);
    let now = Timestamp::from_seconds(0);
    let properties = FileProperties::file(FileName::new("f").unwrap(), secret.clone(), "text/plain".into(), 0, now);
    let mut build = |data_key: &SymmetricKey| {
        let (data, _) = Plaintext::chunk_of(b"").seal(data_key, None, &mut rng);
        let parent = ParentBlock { parent: None, properties: properties.clone() };
        let (base_key, data_key) = (inputs.k1.clone(), data_key.clone());
        FileChunk::new(base_key, data_key, keys.first.clone(), &secret, parent, None).build(data, &mut rng)
    };
    assert!(build(&inputs.k2).is_ok());
    assert_eq!(build(&inputs.k1.clone().into_dirty()), Err(NodeError::EqualKeys));
    match build(&inputs.k1) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error, NodeError::EqualKeys);
            false
        }
    }
}

fn new_directory(inputs: &Inputs) -> bool {
    let mut rng = system_random();
    let mut build = |parent: &SymmetricKey| {
        let keys =
            DirectoryKeys { base: inputs.k1.clone(), parent: parent.clone(), ..DirectoryKeys::generate(&mut rng) };
        let properties = FileProperties::directory(FileName::new("d").unwrap(), Timestamp::from_seconds(0), false);
        DirectoryChunk::first(&keys, ParentBlock { parent: None, properties }, None, &mut rng).build(&mut rng)
    };
    assert!(build(&inputs.k2).is_ok());
    match build(&inputs.k1) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error, NodeError::EqualKeys);
            false
        }
    }
}

fn file_properties(case: &Value, name: &str) -> bool {
    let Some(thumbnail) = name.strip_prefix("thumbnail of ") else {
        return match FileProperties::from_bytes(&bytes(case, "data")) {
            Ok(properties) => {
                if let Some(units) = name.strip_prefix("name of ").and_then(|rest| rest.split(' ').next()) {
                    let units: usize = units.parse().unwrap();
                    assert_eq!(properties.name.as_str().encode_utf16().count(), units);
                } else {
                    assert!(!properties.is_directory() && !properties.is_hidden);
                }
                true
            }
            Err(_) => false,
        };
    };
    // The record leaves the bytes out.
    let len: usize = thumbnail.strip_suffix(" bytes").unwrap().parse().unwrap();
    assert!((MAX_THUMBNAIL_BYTES..=MAX_THUMBNAIL_BYTES + 1).contains(&len));
    let name = FileName::new("f").unwrap();
    let secret = StreamSecret::from_bytes([1; 32]);
    let plain = FileProperties::file(name, secret, "image/png".into(), 1, Timestamp::from_seconds(0));
    let Cbor::Map(mut map) = plain.to_cbor() else { unreachable!("properties are a map") };
    map.insert("i", Cbor::bytes(vec![0; len]));
    let read = FileProperties::from_cbor(&Cbor::Map(map));
    assert_eq!(Thumbnail::new("image/png", vec![0; len]).is_some(), read.is_ok());
    read.is_ok_and(|properties| properties.thumbnail.unwrap().mime_type() == "image/png")
}

fn relative_capability(case: &Value, name: &str, inputs: &Inputs) -> bool {
    let Ok(cap) = RelativeCapability::from_bytes(&bytes(case, "data")) else { return false };
    assert_eq!(name, "write link opened with the wrong key");
    let source = |write_key: &SymmetricKey| AbsoluteCapability {
        base_write_key: Some(write_key.clone()),
        ..AbsoluteCapability::null()
    };
    assert!(cap.to_absolute(&source(&inputs.w1)).unwrap().is_writable());
    cap.to_absolute(&source(&inputs.w2)).is_ok()
}

fn link(case: &Value) -> bool {
    let link = text(case, "link");
    match AbsoluteCapability::from_link(link) {
        Ok(cap) => {
            assert_eq!(cap.is_writable(), text(case, "referenceResult").ends_with("writable"));
            assert_eq!(cap.to_link().trim_start_matches('#'), link.trim_start_matches('#'));
            true
        }
        Err(_) => false,
    }
}

fn raw_block(case: &Value) -> bool {
    match prefix::strip_raw(&Bytes::from(bytes(case, "data"))) {
        Ok(body) => {
            let expected = text(case, "referenceResult").strip_prefix("accepted: ").expect("the body");
            assert_eq!(hex::encode(body), expected);
            true
        }
        Err(_) => false,
    }
}

fn cbor(case: &Value) -> bool {
    // As decrypted structures are read: one item, and what follows is padding.
    match Cbor::decode_first(&Bytes::from(bytes(case, "data"))) {
        Ok((value, _)) => {
            let expected = text(case, "referenceResult").strip_prefix("accepted: ").expect("the bytes");
            assert_eq!(hex::encode(value.encode()), expected);
            true
        }
        Err(_) => false,
    }
}
