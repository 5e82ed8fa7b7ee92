//! `03-primitives.json`: each structure by itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::secretbox::{self, Nonce};
use pyrgos_protocol::cryptree::capability::{
    AbsoluteCapability, CapabilityWithPath, Location, NamedAbsoluteCapability, NamedRelativeCapability,
    RelativeCapability,
};
use pyrgos_protocol::cryptree::chunk::{ChunkLabels, chunk_index};
use pyrgos_protocol::cryptree::directory::ChildList;
use pyrgos_protocol::cryptree::fragments::{FragmentBlock, NodeData, Plaintext};
use pyrgos_protocol::cryptree::hash_tree::{ContentHasher, HashBranch, HashTree};
use pyrgos_protocol::cryptree::properties::FileProperties;
use pyrgos_protocol::cryptree::transaction::{self, ResumeRecord, UploadTransaction};
use pyrgos_protocol::cryptree::{ChunkLabel, MapKey, StreamSecret, home, mime};
use pyrgos_protocol::encoding::{FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::{
    CipherText, PaddedCipherText, SigningPrivateKeyAndPublicHash, SymmetricKey, SymmetricLink, SymmetricLinkToSigner,
};
use pyrgos_protocol::merkle::bat::{Bat, BatId, BatWithId, prefix};
use serde_json::Value;

use crate::nodes::{capability, compare_fragments, key, properties, structure};
use crate::support::{KnownBytes, array, boolean, bytes, int, load, system_random, text};
use crate::{content, described_content};

#[test]
fn vectors() {
    let file = load("03-primitives");
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, group) in file["groups"].as_object().expect("groups") {
        groups.insert(name.clone(), group["cases"].as_array().expect("cases").clone());
    }
    let mut replayed = 0;
    let mut run = |name: &str, replay: fn(&Value)| {
        let cases = groups.remove(name).unwrap_or_else(|| panic!("no group {name}"));
        assert!(!cases.is_empty());
        cases.iter().for_each(replay);
        println!("03-primitives.json: {name}: {} cases", cases.len());
        replayed += cases.len();
    };
    run("symmetricKey", symmetric_key);
    run("secretbox", secretbox_case);
    run("paddedCipherText", padded_cipher_text);
    run("fragmentedPaddedCipherText", fragments);
    run("bat", bat);
    run("chunkLabels", chunk_labels);
    run("links", links);
    run("capabilities", capabilities);
    run("fileProperties", file_properties);
    run("hashTree", hash_tree);
    run("transactions", transactions);
    run("homeFiles", home_files);
    run("mimeTypes", mime_types);
    println!("03-primitives.json: {replayed} cases");
    let waiting = groups.remove("secretLink").expect("the group");
    println!("03-primitives.json: secretLink ({} cases): replayed by the test `social`", waiting.len());
    assert!(groups.is_empty(), "groups never replayed: {:?}", groups.keys());
}

fn symmetric_key(case: &Value) {
    let read: SymmetricKey = structure(case, "cbor");
    assert_eq!(read, SymmetricKey { dirty: boolean(case, "dirty"), ..key(case, "key") });
}

fn secretbox_case(case: &Value) {
    let key = key(case, "key");
    let nonce = Nonce::from_bytes(array(case, "nonce"));
    let plain = bytes(case, "plaintext");
    assert_eq!(hex::encode(secretbox::seal(&key.key, &nonce, &plain)), text(case, "ciphertext"));
    let sealed: CipherText = structure(case, "cipherTextCbor");
    assert_eq!(sealed.nonce(), &nonce);
    assert_eq!(&sealed.plaintext(&key).unwrap()[..], &plain[..]);
}

fn padded_cipher_text(case: &Value) {
    let secret = text(case, "secret").strip_prefix("CBOR byte string of ").expect("a description");
    let secret = Cbor::bytes(described_content(secret));
    assert_eq!(secret.encoded_len() as i64, int(case, "serializedLength"));
    let key = key(case, "key");
    let mut rng = KnownBytes(bytes(case, "nonce"));
    let sealed = PaddedCipherText::encrypt(&secret, &key, int(case, "blockSize") as usize, &mut rng);
    assert_eq!(hex::encode(sealed.to_bytes()), text(case, "cbor"));
    if case.get("paddedPlaintext").is_some() {
        assert_eq!(hex::encode(sealed.cipher_text().plaintext(&key).unwrap()), text(case, "paddedPlaintext"));
    }
    let read: PaddedCipherText = structure(case, "cbor");
    assert_eq!(read.decrypt::<Cbor>(&key).unwrap(), secret);
}

fn fragments(case: &Value) {
    let chunk = described_content(text(case, "content"));
    assert_eq!(chunk.len() as i64, int(case, "contentLength"));
    let key = key(case, "key");
    let mirror: Option<BatId> = case["mirrorBat"].as_str().map(|id| id.parse().unwrap());
    let nothing = Vec::new();
    let recorded = case["fragments"].as_array().unwrap_or(&nothing);
    let bats: Vec<u8> = recorded.iter().flat_map(|fragment| bytes(fragment, "bat")).collect();
    let mut rng = KnownBytes([bytes(case, "nonce"), bats].concat());
    let (data, blocks) = Plaintext::chunk_of(&chunk).seal(&key, mirror.as_ref(), &mut rng);
    assert!(rng.0.is_empty());

    assert_eq!(Cbor::bytes(&chunk).encoded_len() as i64, int(case, "serializedLength"));
    assert_eq!(data.is_inline(), boolean(case, "inline"));
    compare_fragments(&data, &blocks, recorded);
    let blocks: Vec<Bytes> = blocks.iter().map(FragmentBlock::to_block).collect();
    let sealed = data.sealed(&blocks).unwrap();
    assert_eq!(sealed.len() as i64, int(case, "ciphertextLength"));
    assert_eq!(sealed.len() as i64 - 16, int(case, "paddedLength"));
    assert_eq!(hex::encode(sha256(&sealed)), text(case, "ciphertextSha256"));
    if let Some(header) = case["header"].as_str() {
        assert_eq!(hex::encode(&sealed[..header.len() / 2]), header);
    }
    let cbor = data.to_bytes();
    assert_eq!(hex::encode(sha256(&cbor)), text(case, "cborSha256"));
    if case.get("cbor").is_some() {
        assert_eq!(hex::encode(&cbor), text(case, "cbor"));
    }
    let read = NodeData::from_bytes(&cbor).unwrap();
    assert_eq!(read, data);
    assert_eq!(read.open_chunk(&key, &blocks).unwrap(), chunk);
}

fn bat(case: &Value) {
    if case.get("secret").is_some() {
        let bat: Bat = structure(case, "cbor");
        assert_eq!(bat.as_bytes(), &array::<32>(case, "secret"));
        assert_eq!(*bat.to_text(), text(case, "encodedSecret"));
        assert_eq!(hex::encode(&*bat.inline_id().to_cid_bytes()), text(case, "inlineBatIdCid"));
        assert_eq!(structure::<BatId>(case, "inlineBatIdCbor"), bat.inline_id());
        assert_eq!(*bat.content_id().to_text(), text(case, "calculatedId"));
        let with_id: BatWithId = structure(case, "batWithIdCbor");
        assert_eq!(with_id, BatWithId::by_content(bat));
        assert_eq!(*with_id.to_text(), text(case, "batWithIdEncoded"));
    } else if case.get("mirrorSecret").is_some() {
        let bat = Bat::from_bytes(array(case, "mirrorSecret"));
        assert_eq!(*bat.mirror_id().to_text(), text(case, "mirrorId"));
        assert_eq!(structure::<BatId>(case, "mirrorIdCbor"), bat.mirror_id());
        assert_eq!(structure::<BatWithId>(case, "batWithIdCbor"), BatWithId::mirror(bat));
    } else if case.get("rawBlockPrefixWithMirror").is_some() {
        for name in ["rawBlockPrefixWithoutMirror", "rawBlockPrefixWithMirror"] {
            let recorded = bytes(case, name);
            let block = Bytes::from([&recorded[..], b"payload"].concat());
            assert_eq!(prefix::strip_raw(&block).unwrap(), &b"payload"[..]);
            assert_eq!(prefix::raw_prefix(&prefix::raw_bats(&block).unwrap()), recorded);
        }
    } else {
        let block = Bytes::from(bytes(case, "block"));
        assert_eq!(hex::encode(prefix::strip_raw(&block).unwrap()), text(case, "stripped"));
    }
}

/// The label of the first chunk of all label cases.
fn first_label() -> ChunkLabel {
    let file = load("03-primitives");
    label(&file["groups"]["chunkLabels"]["cases"][0]["chunks"][0])
}

fn label(case: &Value) -> ChunkLabel {
    ChunkLabel {
        map_key: MapKey::from_bytes(array(case, "mapKey")),
        bat: case.get("bat").map(|_| Bat::from_bytes(array(case, "bat"))),
    }
}

fn chunk_labels(case: &Value) {
    let secret = StreamSecret::from_bytes(array(case, "streamSecret"));
    if let Some(chunks) = case["chunks"].as_array() {
        let labels = ChunkLabels::new(label(&chunks[0]), secret.clone());
        for (chunk, found) in chunks.iter().zip(labels) {
            assert_eq!(found, label(chunk));
            assert_eq!(label(&chunks[0]).advance(&secret, int(chunk, "chunk") as u64), found);
        }
    } else if case.get("offset").is_some() {
        let index = chunk_index(int(case, "offset") as u64);
        assert_eq!(index as i64, int(case, "chunk"));
        assert_eq!(first_label().advance(&secret, index), label(case));
    } else {
        let next = label(case).next(&secret);
        assert_eq!(next.map_key, MapKey::from_bytes(array(case, "nextMapKey")));
        assert_eq!(next.bat.is_some(), boolean(case, "nextBatPresent"));
    }
}

fn links(case: &Value) {
    let from = key(case, "from");
    let sealed: CipherText = structure(case, "cbor");
    let mut rng = KnownBytes(sealed.nonce().as_bytes().to_vec());
    if case.get("signer").is_some() {
        let signer: SigningPrivateKeyAndPublicHash = structure(case, "signer");
        assert_eq!(signer.public_key_hash.to_string(), text(case, "publicKeyHash"));
        let link = SymmetricLinkToSigner::new(&from, &signer, &mut rng);
        assert_eq!(hex::encode(link.to_bytes()), text(case, "cbor"));
        assert_eq!(structure::<SymmetricLinkToSigner>(case, "cbor").target(&from).unwrap(), signer);
    } else {
        let to = key(case, "to");
        assert_eq!(structure::<SymmetricKey>(case, "plaintext"), to);
        assert_eq!(hex::encode(SymmetricLink::new(&from, &to, &mut rng).to_bytes()), text(case, "cbor"));
        assert_eq!(structure::<SymmetricLink>(case, "cbor").target(&from).unwrap(), to);
    }
}

fn capabilities(case: &Value) {
    match text(case, "type") {
        "null capability" => assert_eq!(capability(&case["cap"]), AbsoluteCapability::null()),
        kind if kind.starts_with("absolute") => {
            let cap = capability(&case["cap"]);
            assert_eq!(*cap.to_link(), text(case, "link"));
            assert_eq!(AbsoluteCapability::from_link(text(case, "link")).unwrap(), cap);
            if case.get("readOnlyLink").is_some() {
                assert_eq!(*cap.read_only().to_link(), text(case, "readOnlyLink"));
            }
        }
        kind if kind.starts_with("relative") => relative_capability(case),
        "location" => {
            let location: Location = structure(case, "cbor");
            let caps = load("03-primitives")["groups"]["capabilities"]["cases"].clone();
            assert_eq!(location, capability(&caps[0]["cap"]).location());
        }
        "capability with path" => {
            assert_eq!(structure::<CapabilityWithPath>(case, "cbor").path, text(case, "path"));
        }
        "entry point" => {
            let entry = Cbor::decode(&bytes(case, "cbor")).unwrap();
            let fields = entry.fields("entry point").unwrap();
            assert!(fields.get::<AbsoluteCapability>("c").is_ok());
            assert!(fields.text("n").is_ok());
        }
        "named absolute" => {
            let named: NamedAbsoluteCapability = structure(case, "cbor");
            assert!(named.name.file_name().is_ok() && named.cap.bat.is_some());
        }
        kind if kind.starts_with("named relative") => {
            let named: NamedRelativeCapability = structure(case, "cbor");
            assert_eq!(named.hints.created_secs, case["createdSeconds"].as_i64());
            let all = kind == "named relative, all fields";
            assert_eq!((named.hints.is_directory.is_some(), named.hints.mime_type.is_some()), (all, all));
        }
        kind if kind.starts_with("children links") => {
            let list: ChildList = structure(case, "cbor");
            let expected = if kind.ends_with("empty") { 0 } else { 2 };
            assert_eq!(list.len(), expected);
            assert_eq!(list.capabilities().count(), expected);
            assert_eq!(list.named().is_none(), kind.contains("legacy"));
        }
        other => panic!("unknown type {other}"),
    }
}

fn relative_capability(case: &Value) {
    let cap: RelativeCapability = structure(case, "cbor");
    let decoded = &case["decoded"];
    assert_eq!(cap.writer.as_ref().map(ToString::to_string).as_deref(), decoded["writer"].as_str());
    assert_eq!(cap.label(), label(decoded));
    assert_eq!(cap.base_key, key(decoded, "rBaseKey"));
    let caps = load("03-primitives")["groups"]["capabilities"]["cases"].clone();
    let source = AbsoluteCapability {
        base_write_key: case.get("parentWBaseKey").map(|_| key(case, "parentWBaseKey")),
        ..capability(&caps[0]["cap"])
    };
    let absolute = cap.to_absolute(&source).unwrap();
    assert_eq!(absolute.owner, source.owner);
    assert_eq!(&absolute.writer, cap.writer.as_ref().unwrap_or(&source.writer));
    assert_eq!(absolute.base_write_key, decoded.get("wBaseKey").map(|_| key(decoded, "wBaseKey")));
    assert_eq!(cap.to_absolute_read_only(&source), absolute.read_only());
    if let Some(link) = &cap.write_link {
        assert_eq!(structure::<SymmetricLink>(decoded, "wBaseKeyLink"), *link);
        // And back, with the same nonce.
        let sealed = CipherText::from_cbor(&link.to_cbor()).unwrap();
        let mut rng = KnownBytes(sealed.nonce().as_bytes().to_vec());
        assert_eq!(RelativeCapability::new(&absolute, &source, &mut rng).unwrap(), cap);
    } else {
        assert_eq!(RelativeCapability::new(&absolute, &source, &mut KnownBytes(Vec::new())).unwrap(), cap);
    }
    let stranger = AbsoluteCapability { owner: AbsoluteCapability::null().owner, ..source };
    assert!(RelativeCapability::new(&absolute, &stranger, &mut system_random()).is_err());
}

fn file_properties(case: &Value) {
    let decoded = &case["decoded"];
    let legacy = case["description"].as_str().is_some_and(|text| text.starts_with("legacy"));
    let read = if legacy {
        // Written again, the absent keys are there.
        let read = FileProperties::from_bytes(&bytes(case, "cbor")).unwrap();
        assert_eq!(FileProperties::from_bytes(&read.to_bytes()).unwrap(), read);
        read
    } else {
        structure(case, "cbor")
    };
    properties(&read, decoded);
    if case["description"].as_str().is_some_and(|text| text.starts_with("placeholder")) {
        assert_eq!(read, FileProperties::later_directory_chunk());
    }
}

fn hash_tree(case: &Value) {
    let tree = if case.get("content").is_some() {
        let mut hasher = ContentHasher::default();
        hasher.update(&described_content(text(case, "content")));
        let tree = hasher.finish().unwrap();
        assert_eq!(structure::<HashTree>(case, "hashTreeCbor"), tree);
        assert_eq!(structure::<HashBranch>(case, "branch0Cbor"), tree.branch(0));
        let level1: Vec<String> = tree.level1.iter().map(|list| hex::encode(list.as_bytes())).collect();
        assert_eq!(serde_json::json!(level1), case["level1"]);
        tree
    } else {
        let count = int(case, "count") as u64;
        let tree = HashTree::of_chunk_hashes((0..count).map(|i| sha256(&i.to_be_bytes()))).unwrap();
        assert_eq!(tree.level1.len() as i64, int(case, "level1Lists"));
        assert_eq!(tree.level2.len() as i64, int(case, "level2Lists"));
        assert_eq!(tree.level3.len() as i64, int(case, "level3Lists"));
        let cbor = tree.to_bytes();
        assert_eq!(hex::encode(sha256(&cbor)), text(case, "hashTreeCborSha256"));
        assert_eq!(HashTree::from_bytes(&cbor).unwrap(), tree);
        for recorded in case["branches"].as_array().expect("branches") {
            let branch = tree.branch(int(recorded, "chunkIndex") as u64);
            let cbor = branch.to_bytes();
            assert_eq!(cbor.len() as i64, int(recorded, "cborLength"));
            assert_eq!(hex::encode(sha256(&cbor)), text(recorded, "cborSha256"));
            assert_eq!(HashBranch::from_bytes(&cbor).unwrap(), branch);
            let levels = [branch.level1(), branch.level2(), branch.level3()];
            for (level, name) in levels.into_iter().zip(["level1Length", "level2Length", "level3Length"]) {
                assert_eq!(level.map(|list| list.as_bytes().len() as i64), recorded[name].as_i64());
            }
        }
        let last = count - 1;
        assert_eq!(tree.chunk_hash(last), Some(&sha256(&last.to_be_bytes())));
        tree
    };
    assert_eq!(hex::encode(tree.root.0), text(case, "rootHash"));
}

fn transactions(case: &Value) {
    if case.get("type").is_some() {
        let record: ResumeRecord = structure(case, "cbor");
        assert!(record.0.first.bat.is_some());
        return;
    }
    let open: UploadTransaction = structure(case, "cbor");
    let legacy = case["isLegacy"].as_bool().unwrap_or(false);
    assert_eq!(open.resume.is_none(), legacy);
    assert_eq!(open.capability().is_none(), legacy);
    if case.get("path").is_some() {
        assert_eq!(open.path, text(case, "path"));
        assert_eq!(transaction::file_name(&open.path), text(case, "fileName"));
        assert!(open.hash_tree.is_some());
        let cap = open.capability().unwrap();
        assert!(cap.is_writable());
        assert_eq!(cap.map_key, open.first.map_key);
    }
}

fn home_files(case: &Value) {
    // Most of these belong to sharing and friends, whose structures the test `social` reads; here they show that the codec
    // orders their keys as other clients do.
    let recorded = bytes(case, "cbor");
    let value = Cbor::decode_canonical(&Bytes::from(recorded.clone())).expect("canonical CBOR");
    assert_eq!(value.encode(), recorded);
    let file = text(case, "file");
    match file {
        ".keystore empty" => assert_eq!(home::empty_keystore(), recorded),
        "login data entry points (plaintext)" => {
            let entries = value.fields("login data").unwrap().required("e").unwrap().as_list().unwrap().to_vec();
            let cap: AbsoluteCapability = entries[0].fields("entry point").unwrap().get("c").unwrap();
            assert!(cap.is_writable());
        }
        _ => {
            println!("03-primitives.json: {file}: canonical form only, its structure is replayed by the test `social`")
        }
    }
}

fn mime_types(case: &Value) {
    let found = mime::detect(&bytes(case, "header"), text(case, "filename"));
    assert_eq!(found, text(case, "mimeType"), "{case}");
}

#[test]
fn fragments_in_the_forms_of_old_clients() {
    use pyrgos_protocol::encoding::{Cid, Codec};

    let mut rng = system_random();
    let key = SymmetricKey::generate(&mut rng);
    let chunk = content("old", 3_000_000);
    let (data, blocks) = Plaintext::chunk_of(&chunk).seal(&key, None, &mut rng);
    let blocks: Vec<Bytes> = blocks.iter().map(FragmentBlock::to_block).collect();
    let sealed = data.sealed(&blocks).unwrap();
    let nonce = Cbor::bytes(data.nonce().as_bytes());

    // No header, no tokens; fragments with and without a prefix, and as CBOR.
    let pieces: Vec<&[u8]> = sealed.chunks(1_000_000).collect();
    let cbor = |piece: &[u8]| Bytes::from(Cbor::bytes(piece).encode());
    let old = [cbor(pieces[0]), Bytes::copy_from_slice(pieces[1]), cbor(pieces[2]), Bytes::copy_from_slice(pieces[3])];
    let codecs = [Codec::DagCbor, Codec::Raw, Codec::DagCbor, Codec::Raw];
    let cids: Vec<Cid> = old.iter().zip(codecs).map(|(block, codec)| Cid::of_block(codec, block)).collect();
    let links = Cbor::List(cids.iter().cloned().map(Cbor::Link).collect());
    let encoded = Cbor::map([("n", nonce.clone()), ("f", links)]);
    let read = NodeData::from_cbor(&encoded).unwrap();
    assert!(read.fragments().iter().all(|fragment| fragment.bat.is_none()));
    assert_eq!(read.to_cbor(), encoded);
    assert_eq!(read.open_chunk(&key, &old).unwrap(), chunk);
    assert!(read.open(&key, &old[..3]).is_err(), "a fragment is missing");
    assert!(read.open(&key, &[&old[1..], &old[..1]].concat()).is_err(), "fragments in another order");

    // One identity link that holds the ciphertext.
    let (small, none) = Plaintext::chunk_of(b"small").seal(&key, None, &mut rng);
    assert!(none.is_empty());
    let inside = Cid::identity(Codec::Raw, &small.sealed(&[]).unwrap()).unwrap();
    let nonce = Cbor::bytes(small.nonce().as_bytes());
    let read = NodeData::from_cbor(&Cbor::map([("n", nonce), ("f", Cbor::List(vec![Cbor::Link(inside)]))])).unwrap();
    assert_eq!(read, small, "it is written as a byte string");
    assert_eq!(read.open_chunk(&key, &[]).unwrap(), &b"small"[..]);
}
