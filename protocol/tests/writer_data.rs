//! Writer data and the ownership of keys against `02-writer-data.json`.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_crypto::sign::SecretKey;
use pyrgos_protocol::encoding::{Cid, Codec, FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::{KeyHash, Owner, OwnerProof, SigningPrivateKeyAndPublicHash, Writer};
use pyrgos_protocol::merkle::champ::{self, BlockSource, ChampError, MemoryBlocks};
use pyrgos_protocol::merkle::ownership::{self, OwnershipError, WriterSource, owned_key, owned_keys};
use pyrgos_protocol::merkle::writer_data::{CommittedWriterData, Snapshot, WriterData};
use pyrgos_protocol::merkle::{block, pointer::PointerUpdate};
use serde_json::Value;
use support::{Cases, array, bytes, text};

fn cid(text: &str) -> Cid {
    text.parse().expect("a CID")
}

fn secret(key: &Value) -> SecretKey {
    SecretKey::from_bytes(array(key, "ed25519_secret_64")).unwrap()
}

fn signer(secret: &SecretKey) -> SigningPrivateKeyAndPublicHash {
    SigningPrivateKeyAndPublicHash {
        public_key_hash: KeyHash::of_signing_key(&secret.public()),
        secret: SecretKey::from_bytes(*secret.as_bytes()).unwrap(),
    }
}

#[test]
fn writer_data() {
    let mut cases = Cases::of("02-writer-data");
    let keys = cases.value("keys");
    let key = |label: &str| secret(keys.as_array().unwrap().iter().find(|key| text(key, "label") == label).unwrap());
    let hash = |label: &str| KeyHash::of_signing_key(&key(label).public());

    for case in cases.section("writer_data") {
        let cbor = Bytes::from(bytes(&case, "cbor"));
        let data = WriterData::from_bytes(&cbor).unwrap();
        assert_eq!(data.to_bytes(), cbor, "{case}");
        assert!(case["reference_reserializes_identically"].as_bool().unwrap());
        assert_eq!(Cid::of_cbor(&cbor), cid(text(&case, "cid")));
        let signature = block::sign(&key("writer-1"), &cbor);
        assert_eq!(signature, bytes(&case, "signature_over_sha256_by_controller_secret_if_writer_1"));
        let links: Vec<String> = data.to_cbor().links().iter().map(Cid::to_string).collect();
        assert_eq!(serde_json::to_value(links).unwrap(), case["links_in_order"]);
        shape(text(&case, "description"), &data, &hash);
    }
    for case in cases.section("writer_data_decoding") {
        let read = WriterData::from_bytes(&bytes(&case, "cbor")).ok().map(|data| hex::encode(data.to_bytes()));
        let expected = text(&case, "result");
        assert_eq!(read.as_deref(), (!expected.starts_with("ERROR")).then_some(expected), "{case}");
        // What the reference reads but encodes otherwise is no block.
        if read.as_deref() != Some(text(&case, "cbor")) && text(&case, "description").starts_with("keys in the wrong") {
            let block = Bytes::from(bytes(&case, "cbor"));
            assert!(block::verify(&Cid::of_cbor(&block), &block).is_err());
        }
    }
    for case in cases.section("owner_proofs") {
        owner_proof(&case, &keys);
    }
    owned_key_champ(&cases.section("owned_key_champ"));
    let blocks = cases.value("ownership_walk_blocks");
    walks(&cases.section("ownership_walk_in_order"), &blocks, &hash);
    for case in cases.section("committed_writer_data") {
        let cbor = bytes(&case, "cbor");
        match text(&case, "description") {
            "with sequence and content" => {
                let committed = CommittedWriterData::from_bytes(&cbor).unwrap();
                let block = committed.data.as_ref().unwrap().to_bytes();
                assert!(committed.target.is_some() && !block.is_empty());
                assert_eq!(committed.sequence, Some(5));
                assert_eq!(committed.to_bytes(), cbor);
            }
            "absent hash, no content, no sequence" => {
                assert_eq!(CommittedWriterData::from_bytes(&cbor), Ok(CommittedWriterData::default()));
                assert_eq!(CommittedWriterData::default().to_bytes(), cbor);
            }
            "snapshot of two writers, sorted by key" => {
                let snapshot = Snapshot::from_bytes(&cbor).unwrap();
                let writers = ["writer-1", "writer-2"].map(|label| Writer::new(hash(label)));
                assert_eq!(snapshot.versions.keys().cloned().collect::<Vec<_>>(), writers);
                assert_eq!(snapshot.to_bytes(), cbor);
            }
            other => panic!("unknown case {other}"),
        }
    }
    cases.finish();
}

/// That the fields which a case's description names are where they should be.
fn shape(description: &str, data: &WriterData, hash: &impl Fn(&str) -> KeyHash) {
    let empty = champ::empty().root;
    let owner = || hash("owner");
    match description {
        "freshly created writer: controller and empty owned key champ" => {
            assert_eq!(*data, WriterData::new(hash("writer-1")));
        }
        "writer with a file tree" => {
            let new = WriterData { tree: data.tree.clone(), ..WriterData::new(hash("writer-1")) };
            assert!(
                data.tree.is_some() && *data == new && data.differs_only_in_tree(&WriterData::new(hash("writer-1")))
            );
        }
        "identity at signup (not legacy): controller, algorithm, inbound, owned" => {
            let (inbound, algorithm) = (data.inbound.clone(), data.algorithm.clone());
            assert!(inbound.is_some() && !algorithm.as_ref().unwrap().is_legacy());
            assert_eq!(*data, WriterData { inbound, algorithm, ..WriterData::new(owner()) });
            assert!(!data.differs_only_in_tree(&WriterData::new(owner())));
        }
        "legacy style: curve25519 boxing key inlined as an identity CID, algorithm with empty salt" => {
            assert!(data.inbound.as_ref().unwrap().cid().identity_content().is_some());
            assert!(data.algorithm.as_ref().unwrap().is_legacy());
            assert_eq!(data.algorithm.as_ref().unwrap().scrypt().unwrap().extra_salt, "");
        }
        "every optional field except the legacy static data" => {
            assert!(data.tree.is_some() && data.links.is_some() && data.public.is_some() && data.inbound.is_some());
            let proof = &data.named.as_ref().unwrap()["pki"];
            assert_eq!(proof.verify(&proof.owned.signing_key().unwrap(), &data.controller), Ok(()));
            assert_eq!(data.owned.as_ref(), Some(&empty));
        }
        "two named keys: map sorted by name length then bytes" => {
            let names: Vec<&String> = data.named.as_ref().unwrap().keys().collect();
            assert_eq!(names, ["a-long-name", "zz"]);
            assert_eq!(data.owned, None);
        }
        "only a controller" => assert_eq!(*data, WriterData { owned: None, ..WriterData::new(hash("writer-1")) }),
        other => panic!("unknown case {other}"),
    }
}

fn owner_proof(case: &Value, keys: &Value) {
    let proof = OwnerProof::from_bytes(&bytes(case, "cbor")).unwrap();
    assert_eq!(proof.to_bytes(), bytes(case, "cbor"));
    let owned_key = proof.owned.signing_key().unwrap();
    if case.get("owned_key").is_none() {
        assert_eq!(text(case, "result"), "ERROR invalid signature");
        assert!(proof.owner(&owned_key).is_err());
        return;
    }
    let owner: KeyHash = text(case, "owner_key").parse().unwrap();
    assert_eq!(proof.owned.to_string(), text(case, "owned_key"));
    assert_eq!(owner.to_bytes(), bytes(case, "message_signed"));
    assert_eq!(proof.proof, bytes(case, "signed_owner"));
    assert_eq!(Cid::of_cbor(&proof.to_bytes()), cid(text(case, "cid")));
    assert_eq!(proof.owner(&owned_key).unwrap().to_string(), text(case, "verified_owner"));
    assert!(proof.verify(&owned_key, &proof.owned).is_err());
    let owned =
        keys.as_array().unwrap().iter().find(|key| text(key, "public_key_hash_string") == text(case, "owned_key"));
    assert_eq!(OwnerProof::sign(&owner, &signer(&secret(owned.unwrap()))), proof);
}

fn owned_key_champ(operations: &[Value]) {
    let mut blocks = MemoryBlocks::default();
    let empty = champ::empty();
    blocks.extend(empty.blocks);
    let mut root = empty.root;
    let mut proofs: BTreeMap<String, OwnerProof> = BTreeMap::new();
    let mut listed: BTreeMap<String, Cid> = BTreeMap::new();
    for operation in operations {
        let key = operation["owned_key"].as_str().unwrap_or_default().to_owned();
        let changed = match text(operation, "op") {
            "add" => {
                let proof = OwnerProof::from_bytes(&bytes(operation, "proof_cbor")).unwrap();
                assert_eq!(proof.owned.to_string(), key);
                assert_eq!(owned_key(&key.parse().unwrap()), bytes(operation, "champ_key"));
                proofs.insert(key.clone(), proof.clone());
                listed.insert(key, cid(text(operation, "proof_cid")));
                let changed = ownership::add(&blocks, &root, &proof).now_or_never().unwrap().unwrap();
                assert_eq!(changed.blocks[0], (cid(text(operation, "proof_cid")), proof.to_bytes().into()));
                changed
            }
            "remove" => {
                listed.remove(&key);
                ownership::remove(&blocks, &root, &key.parse().unwrap()).now_or_never().unwrap().unwrap()
            }
            "add twice" => {
                let proof = proofs.values().next().unwrap();
                let added = ownership::add(&blocks, &root, proof).now_or_never().unwrap().unwrap();
                blocks.extend(added.blocks);
                let again = ownership::add(&blocks, &added.root, proof).now_or_never().unwrap();
                assert!(matches!(again, Err(ChampError::Mismatch { .. })));
                assert_eq!(text(operation, "result"), "ERROR cas mismatch");
                continue;
            }
            other => panic!("unknown operation {other}"),
        };
        if operation.get("note").is_some() {
            assert_eq!(changed.root, root);
        }
        blocks.extend(changed.blocks);
        root = changed.root;
        assert_eq!(root, cid(text(operation, "root")));
        if operation.get("root_block").is_some() {
            assert_eq!(blocks.get(&root).unwrap(), &bytes(operation, "root_block"));
        }
        let writers: Vec<(Writer, Cid)> = listed.iter().map(|(key, cid)| (key.parse().unwrap(), cid.clone())).collect();
        assert_eq!(owned_keys(writers.iter().map(|(writer, cid)| (writer, cid.clone()))).unwrap().root, root);
    }
}

/// Pointers and blocks in memory.
#[derive(Default)]
struct Network {
    blocks: MemoryBlocks,
    pointers: HashMap<Writer, PointerUpdate>,
}

impl BlockSource for Network {
    type Error = std::convert::Infallible;

    fn block(&self, cid: &Cid) -> impl Future<Output = Result<Option<Bytes>, Self::Error>> + Send {
        self.blocks.block(cid)
    }
}

impl WriterSource for Network {
    fn target(&self, writer: &Writer) -> impl Future<Output = Result<Option<Cid>, Self::Error>> + Send {
        ready(Ok(self.pointers.get(writer).and_then(PointerUpdate::updated).cloned()))
    }
}

impl Network {
    fn point(&mut self, writer: &Writer, target: Option<Cid>) {
        let update = match self.pointers.get(writer) {
            Some(update) => update.next(target).unwrap(),
            None => PointerUpdate::first(target.unwrap()),
        };
        self.pointers.insert(writer.clone(), update);
    }

    fn put(&mut self, structure: &impl ToCbor) -> Cid {
        self.blocks.put(Codec::DagCbor, structure.to_bytes().into())
    }

    fn walk(&self, owner: &Owner, limit: usize) -> Result<ownership::Walk, OwnershipError<std::convert::Infallible>> {
        ownership::walk(self, owner, limit).now_or_never().unwrap()
    }

    fn owns(&self, owner: &Owner, writer: &Writer) -> bool {
        ownership::owns(self, owner, writer, 100).now_or_never().unwrap().unwrap()
    }

    /// Gives `parent` exactly the children of these proofs.
    fn set_children(&mut self, parent: &Writer, proofs: &[(Writer, OwnerProof)]) {
        let listed: Vec<(Writer, Cid)> =
            proofs.iter().map(|(writer, proof)| (writer.clone(), self.put(proof))).collect();
        let owned = owned_keys(listed.iter().map(|(writer, cid)| (writer, cid.clone()))).unwrap();
        self.blocks.extend(owned.blocks);
        let data = WriterData { owned: Some(owned.root), ..WriterData::new(parent.key_hash().clone()) };
        let target = self.put(&data);
        self.point(parent, Some(target));
    }
}

fn walks(cases: &[Value], blocks: &Value, hash: &impl Fn(&str) -> KeyHash) {
    let mut network = Network::default();
    let mut targets: HashMap<KeyHash, Cid> = HashMap::new();
    for (name, block) in blocks.as_object().unwrap() {
        let block = Bytes::from(hex::decode(block.as_str().unwrap()).unwrap());
        if let Ok(data) = WriterData::from_bytes(&block) {
            assert_eq!(targets.insert(data.controller, cid(name)), None);
        }
        assert_eq!(network.blocks.put(Codec::DagCbor, block), cid(name));
    }
    let owner: Owner = Owner::new(hash("owner"));
    for (step, case) in cases.iter().enumerate() {
        let writer = |label: &str| Writer::new(hash(label));
        // Which pointers there are follows from the descriptions; their targets are the blocks with that controller.
        match step {
            0 => network.point(&writer("owner"), Some(targets[&hash("owner")].clone())),
            1 => ["writer-1", "writer-2"]
                .iter()
                .for_each(|label| network.point(&writer(label), Some(targets[&hash(label)].clone()))),
            2 => network.point(&writer("writer-1"), None),
            other => panic!("unknown step {other}: {case}"),
        }
        let walk = network.walk(&owner, 100).unwrap();
        assert_eq!(walk.unproven, []);
        assert_eq!(walk.writers[0], writer("owner"));
        let mut found: Vec<String> = walk.writers.iter().map(Writer::to_string).collect();
        found.sort();
        assert_eq!(serde_json::to_value(&found).unwrap(), case["found_sorted"], "{case}");
        // The client's check follows the same chains, without labels.
        for label in ["owner", "writer-1", "writer-2", "writer-3", "other", "named"] {
            let listed = found.contains(&writer(label).to_string()) && label != "named";
            assert_eq!(network.owns(&owner, &writer(label)), listed, "{label} in step {step}");
        }
        let too_few = found.len() - 2;
        assert_eq!(network.walk(&owner, too_few), Err(OwnershipError::TooMany(too_few)));
    }
}

#[test]
fn one_bad_proof_hides_nobody_and_admits_nobody() {
    let keys: Vec<SecretKey> = (0..5).map(|seed| SecretKey::from_seed(&[seed; 32])).collect();
    let writers: Vec<Writer> = keys.iter().map(|key| Writer::of_signing_key(&key.public())).collect();
    let owner = Owner::of_signing_key(&keys[0].public());
    let proof = |parent: usize, child: usize| OwnerProof::sign(writers[parent].key_hash(), &signer(&keys[child]));
    let mut forged = proof(0, 2);
    forged.proof = keys[4].sign_attached(&writers[0].to_bytes()).into();
    let mut network = Network::default();
    network.set_children(
        &writers[0],
        &[(writers[1].clone(), proof(0, 1)), (writers[2].clone(), forged), (writers[3].clone(), proof(0, 1))],
    );
    let walk = network.walk(&owner, 10).unwrap();
    assert_eq!(walk.writers, [writers[0].clone(), writers[1].clone()]);
    assert_eq!(walk.unproven, [(writers[0].clone(), writers[2].key_hash().clone())]);
    // What proves nothing costs as much as what does, and counts: there are three entries, although two writers.
    assert_eq!(network.walk(&owner, 3), Ok(walk));
    assert_eq!(network.walk(&owner, 2), Err(OwnershipError::TooMany(2)));
    assert!(network.owns(&owner, &writers[1]));
    // A proof that does not open, one of another key, and none at all.
    assert!(
        !network.owns(&owner, &writers[2]) && !network.owns(&owner, &writers[3]) && !network.owns(&owner, &writers[4])
    );

    // A tree whose block is withheld is an error, not an account without writers.
    network.point(&writers[0], Some(Cid::of_cbor(b"withheld")));
    assert_eq!(network.walk(&owner, 10), Err(OwnershipError::Missing(Cid::of_cbor(b"withheld"))));
    let no_link = network.put(&Cbor::Int(1));
    network.point(&writers[0], Some(no_link));
    assert!(matches!(network.walk(&owner, 10), Err(OwnershipError::Malformed { .. })));
}
