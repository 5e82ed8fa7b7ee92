//! Published capabilities against `02-public-inodes.json`, resolution records against `02-resolution-records.json`.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_crypto::sign::SecretKey;
use pyrgos_protocol::cryptree::capability::AbsoluteCapability;
use pyrgos_protocol::encoding::{Cid, FromCbor, Multihash, ToCbor, Value as Cbor, text as texts};
use pyrgos_protocol::merkle::champ::{self, MemoryBlocks};
use pyrgos_protocol::merkle::public::{PublicChanged, PublicError, PublicFiles};
use pyrgos_protocol::merkle::resolution::{EntryError, IpnsEntry, ResolutionRecord, UNSIGNED_MOVES};
use serde_json::Value;
use support::{Cases, array, boolean, bytes, int, text};

struct Published {
    blocks: MemoryBlocks,
    files: PublicFiles,
}

type Error = PublicError<std::convert::Infallible>;

impl Published {
    fn new() -> Self {
        let mut blocks = MemoryBlocks::default();
        blocks.extend(champ::empty().blocks);
        Published { blocks, files: PublicFiles::empty() }
    }

    fn keep(&mut self, changed: Result<PublicChanged, Error>) -> Result<(), Error> {
        let changed = changed?;
        assert_eq!(changed.blocks.last().unwrap().1, changed.files.to_bytes());
        for (cid, block) in &changed.blocks {
            assert_eq!(*cid, Cid::of_cbor(block));
        }
        self.blocks.extend(changed.blocks);
        self.files = changed.files;
        Ok(())
    }

    fn publish(&mut self, path: &str, capability: &AbsoluteCapability) -> Result<(), Error> {
        let changed = self.files.publish(&self.blocks, path, capability).now_or_never().unwrap();
        self.keep(changed)
    }

    fn withdraw(&mut self, path: &str) -> Result<(), Error> {
        let changed = self.files.withdraw(&self.blocks, path).now_or_never().unwrap();
        self.keep(changed)
    }

    /// The child on a path, as CBOR, and the rest of the path.
    fn find(&self, path: &str) -> Option<(Vec<u8>, String)> {
        let found = self.files.lookup(&self.blocks, path).now_or_never().unwrap().unwrap()?;
        Some((found.child.to_bytes(), found.remaining_path))
    }

    /// The blocks of the tree and of the trees inside its values.
    fn nodes(&self) -> BTreeMap<String, String> {
        let mut nodes = BTreeMap::new();
        let mut pending = vec![self.files.root.clone()];
        while let Some(cid) = pending.pop() {
            // Owners and writers of capabilities are links too, but no blocks.
            let Some(block) = self.blocks.get(&cid) else { continue };
            pending.extend(Cbor::decode(block).unwrap().links());
            nodes.insert(cid.to_string(), hex::encode(block));
        }
        nodes
    }
}

#[test]
fn public_inodes() {
    let mut cases = Cases::of("02-public-inodes");
    let mut lookups = cases.section("lookups");
    let mut published = Published::new();
    let mut capability = None;
    for case in cases.section("operations") {
        match text(&case, "op") {
            "empty" => {}
            "add" => {
                let cap = AbsoluteCapability::from_bytes(&bytes(&case, "capability_cbor")).unwrap();
                assert_eq!(cap.to_bytes(), bytes(&case, "capability_cbor"));
                published.publish(text(&case, "path"), &cap).unwrap();
                capability = Some(cap);
            }
            "remove" => {
                // The lookups were made before the first removal.
                std::mem::take(&mut lookups).iter().for_each(|lookup| check_lookup(&published, lookup));
                published.withdraw(text(&case, "path")).unwrap();
                assert!(published.find(text(&case, "path")).is_none());
            }
            other => panic!("unknown operation {other}"),
        }
        assert_eq!(published.files.to_bytes(), bytes(&case, "file_system_cbor"), "{case}");
        assert_eq!(PublicFiles::from_bytes(&bytes(&case, "file_system_cbor")), Ok(published.files.clone()));
        if case.get("file_system_cid").is_some() {
            assert_eq!(Cid::of_cbor(&published.files.to_bytes()).to_string(), text(&case, "file_system_cid"));
        }
        if let Some(nodes) = case["all_champ_blocks"].as_object() {
            let nodes = nodes.iter().map(|(cid, block)| (cid.clone(), block.as_str().unwrap().to_owned()));
            assert_eq!(published.nodes(), nodes.collect());
        }
    }
    assert_eq!(lookups, Vec::<Value>::new());
    nested(&mut published, &capability.unwrap());
    cases.finish();
}

fn check_lookup(published: &Published, case: &Value) {
    let expected = case["result"].as_object().map(|_| {
        let result = &case["result"];
        (bytes(result, "inode_cap_cbor"), text(result, "remaining_path").to_owned())
    });
    assert_eq!(expected.is_none(), case["result"] == "none");
    assert_eq!(published.find(text(case, "path")), expected, "{case}");
}

/// What the vectors do not show: published things below published things, and nonsense.
fn nested(published: &mut Published, capability: &AbsoluteCapability) {
    published.publish("/bob/album", capability).unwrap();
    published.publish("/bob/album/inner/photo", capability).unwrap();
    assert_eq!(published.find("/bob/album/inner/photo").unwrap().1, "inner/photo");
    // What is below stays published when the directory is withdrawn, and the other way round.
    let both = published.files.clone();
    published.withdraw("/bob/album").unwrap();
    assert_eq!(published.find("/bob/album/inner/photo").unwrap().1, "");
    assert_eq!(published.withdraw("/bob/album"), Err(PublicError::NotPublished));
    published.withdraw("/bob/album/inner/photo").unwrap();
    assert_eq!(published.find("/bob"), None);
    published.files = both;
    published.withdraw("/bob/album/inner/photo").unwrap();
    assert_eq!(published.find("/bob/album/x").unwrap().1, "x");
    assert_eq!(published.withdraw("/bob/nothing"), Err(PublicError::NotPublished));
    for path in ["", "/", "bob", "/bob/", "//bob"] {
        assert_eq!(published.publish(path, capability), Err(PublicError::Path), "{path}");
    }
    assert_eq!(published.publish("/bob", capability), Err(PublicError::Home));
    // Publishing again in the same place replaces the capability.
    let before = published.files.inode_count;
    published.publish("/bob/album", &AbsoluteCapability::null()).unwrap();
    let found = published.files.lookup(&published.blocks, "/bob/album").now_or_never().unwrap().unwrap().unwrap();
    assert_eq!((found.child.capability, published.files.inode_count), (Some(AbsoluteCapability::null()), before));
}

fn peer(text: &str) -> Multihash {
    Multihash::from_bytes(&texts::from_base58(text).unwrap()).unwrap()
}

#[test]
fn resolution_records() {
    let mut cases = Cases::of("02-resolution-records");
    let keys = cases.value("keys");
    let secret = |index: usize| SecretKey::from_bytes(array(&keys[index], "ed25519_secret_64")).unwrap();
    let id = |index: usize| {
        let content = [&[8, 1, 0x12, 0x20], secret(index).public().as_bytes().as_slice()].concat();
        Multihash::new(Multihash::IDENTITY, &content).unwrap()
    };
    let record = |host: Option<Multihash>, moved, pointer: Option<&'static [u8]>, sequence| ResolutionRecord {
        host,
        moved,
        pointer: pointer.map(Bytes::from_static),
        sequence,
    };
    for case in cases.section("records") {
        let expected = match text(&case, "description") {
            "fresh server identity" => record(None, false, None, 1),
            "next identity announced" => record(Some(id(1)), false, None, 2),
            "moved to the next identity" => record(Some(id(1)), true, None, 3),
            "with a mutable pointer (format only, not published today)" => {
                record(Some(id(0)), false, Some(&[1, 2, 3]), 4)
            }
            other => panic!("unknown case {other}"),
        };
        assert_eq!(expected.to_bytes(), bytes(&case, "cbor"));
        assert_eq!(ResolutionRecord::from_bytes(&bytes(&case, "cbor")), Ok(expected.clone()));
        assert_eq!(expected.moved_to(), expected.host.as_ref().filter(|_| expected.moved));
    }
    for case in cases.section("ipns_entries") {
        let publisher = peer(text(&case, "publisher_peer_id"));
        assert_eq!(publisher, id(0));
        let entry = IpnsEntry::from_hex(text(&case, "signature"), text(&case, "data")).unwrap();
        assert_eq!(
            (&entry.signature[..], &entry.data[..]),
            (&bytes(&case, "signature")[..], &bytes(&case, "data")[..])
        );
        if let Some(json) = case.get("json_hex_fields") {
            assert_eq!(IpnsEntry::from_hex(text(json, "sig"), text(json, "data")), Ok(entry.clone()));
        }
        if text(&case, "verified_record_cbor").starts_with("ERROR") {
            assert_eq!(entry.verify(&publisher), Err(EntryError::Signature));
            continue;
        }
        let verified = entry.verify(&publisher).unwrap();
        assert_eq!(verified.to_bytes(), bytes(&case, "verified_record_cbor"));
        if case.get("ipns_sequence").is_some() {
            assert_eq!(
                Cbor::decode(&entry.data).unwrap().as_map().unwrap().get("Sequence"),
                Some(&Cbor::Int(int(&case, "ipns_sequence")))
            );
        }
        let signed = [b"ipns-signature:".as_slice(), &entry.data].concat();
        assert_eq!(secret(0).sign(&signed).as_slice(), &entry.signature[..]);
        assert_eq!(entry.verify(&id(1)), Err(EntryError::Signature));
        assert!(matches!(entry.verify(&peer(UNSIGNED_MOVES[0].0)), Err(EntryError::Identity(_))));
    }
    for case in cases.section("update_rules") {
        let [existing, new] =
            ["existing_cbor", "new_cbor"].map(|key| ResolutionRecord::from_bytes(&bytes(&case, key)).unwrap());
        assert_eq!(existing.allows(&new), boolean(&case, "allowed"), "{case}");
    }
    for (old, new) in UNSIGNED_MOVES {
        assert_ne!(peer(old), peer(new));
    }
    cases.finish();
}
