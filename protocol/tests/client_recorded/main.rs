//! Accounts that the reference implementation made, opened by this client with nothing but their passwords.

#[path = "../client_support/mod.rs"]
mod client_support;
#[path = "../rotation/memory.rs"]
mod memory;
mod steps;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use client_support::*;
use memory::Memory;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::secretbox::Key;
use pyrgos_protocol::client::{IfExists, InlineRuntime, Session, Settings, UploadOptions};
use pyrgos_protocol::cryptree::chunk::MapKey;
use pyrgos_protocol::cryptree::fragments::Plaintext;
use pyrgos_protocol::cryptree::node::CryptreeNode;
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::{Owner, SigningKeyPair, SymmetricKey, Writer};
use pyrgos_protocol::login::{SecretGenerationAlgorithm, UserStaticData};
use pyrgos_protocol::merkle::bat::{Bat, BatId, BatWithId};
use pyrgos_protocol::merkle::{PointerUpdate, WriterData};
use pyrgos_protocol::names::{Chain, Date};
use serde_json::Value;
use support::{Cases, KnownBytes, array, boolean, bytes, int, text};

/// A node that holds a recorded account, and what opens it.
struct Recorded {
    node: TestNode,
    username: String,
    password: String,
    owner: Owner,
    algorithm: Option<SecretGenerationAlgorithm>,
    login: UserStaticData,
}

impl Recorded {
    fn new(secrets: &Value) -> Self {
        let node = TestNode::default();
        let pair = SigningKeyPair::from_bytes(&bytes(secrets, "identityKeyPair")).unwrap();
        let owner: Owner = text(secrets, "identity").parse().unwrap();
        let name = username(text(secrets, "username"));
        let today = Date::from_unix_millis(now().seconds() * 1000);
        node.set_chain(&name, Chain::first(&name, &pair.signer(), node.id(), today).unwrap());
        node.insert_bat(name.as_str(), BatWithId::mirror(Bat::from_bytes(array(&secrets["mirrorBat"], "secret"))));
        Recorded {
            node,
            username: name.as_str().to_owned(),
            password: text(secrets, "password").to_owned(),
            owner,
            algorithm: None,
            login: UserStaticData::from_bytes(&bytes(secrets, "loginDataEntryPoints")).unwrap(),
        }
    }

    /// Adds the blocks that the recording holds in full. Fragments of 1 MiB are left out of it.
    fn insert_blocks(&self, blocks: &Value) {
        for (cid, block) in blocks.as_object().unwrap() {
            let Some(block) = block.as_str().and_then(|block| hex::decode(block).ok()) else { continue };
            self.node.insert_block(&self.owner, cid.parse().unwrap(), block.into());
        }
    }

    /// Makes the fragments that the recording leaves out, from the contents of their chunks by hash.
    fn insert_fragments(&self, nodes: &Value, contents: &BTreeMap<String, Bytes>) {
        for record in nodes.as_array().unwrap() {
            let data = &record["data"];
            let Some(content) = data["chunkSha256"].as_str().and_then(|hash| contents.get(hash)) else { continue };
            let key = SymmetricKey::new(Key::from_bytes(array(data, "key")));
            let recorded = data["fragments"].as_array().unwrap();
            let bats = recorded.iter().flat_map(|fragment| bytes(fragment, "bat"));
            let mut random = KnownBytes(bytes(data, "nonce").into_iter().chain(bats).collect());
            let mirror = BatId::from_cbor(&Cbor::bytes(bytes(&record["bats"][1], "cid"))).unwrap();
            let (_, fragments) = Plaintext::chunk_of(content).seal(&key, Some(&mirror), &mut random);
            for (fragment, recorded) in fragments.iter().zip(recorded) {
                assert_eq!(fragment.cid().to_string(), text(recorded, "cid"));
                self.node.insert_block(&self.owner, fragment.cid().clone(), fragment.to_block());
            }
        }
    }

    /// All nodes that the node holds, in every space that is in use.
    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for (writer, signed) in self.node.pointers() {
            let update = PointerUpdate::open(&writer.signing_key().unwrap(), &signed).unwrap();
            let Some(target) = update.updated() else { continue };
            let data = WriterData::from_bytes(&self.node.block(&self.owner, target)).unwrap();
            if data.tree.is_none() {
                continue;
            }
            for (label, cid) in self.node.space(&self.owner, &writer) {
                let node = CryptreeNode::from_block(&self.node.block(&self.owner, &cid)).unwrap();
                for fragment in node.data().fragments() {
                    memory.fragments.insert(fragment.cid.clone(), self.node.block(&self.owner, &fragment.cid));
                }
                memory.put(&writer, MapKey::from_bytes(label[..].try_into().unwrap()), node);
            }
        }
        memory
    }

    fn insert_pointers(&mut self, pointers: &Value, writers: &Value) {
        for pointer in pointers.as_array().unwrap() {
            let writer: Writer = text(pointer, "writer").parse().unwrap();
            self.node.insert_pointer(writer, bytes(pointer, "signedCas").into());
        }
        for writer in writers.as_array().unwrap().iter().filter(|writer| writer["writerData"].is_string()) {
            let data = WriterData::from_bytes(&bytes(writer, "writerData")).unwrap();
            let block = Bytes::from(data.to_bytes());
            self.node.insert_block(&self.owner, Cid::of_cbor(&block), block);
            self.algorithm = data.algorithm.or(self.algorithm.take());
        }
    }

    fn log_in(&self, seed: u64) -> Session<&TestNode, InlineRuntime<Seeded>> {
        let name = username(&self.username);
        let derived = self.algorithm.as_ref().unwrap().derive_login(&name, &self.password).unwrap();
        self.node.insert_login(&self.username, derived.login.public().to_bytes(), self.login.clone());
        let secret = password(&self.password);
        run(Session::log_in(&self.node, runtime(seed), Settings::default(), &name, &secret, &())).unwrap()
    }
}

/// Compares what a session sees with a recorded list of files and directories.
fn check_tree(session: &Session<&TestNode, InlineRuntime<Seeded>>, expected: &[Value]) {
    for entry in expected {
        let at = text(entry, "path");
        let seen = run(session.stat(&path(at))).unwrap();
        let is_directory = text(entry, "type") == "directory";
        assert_eq!(seen.is_directory, is_directory, "{at}");
        assert_eq!(seen.is_hidden, boolean(entry, "hidden"), "{at}");
        assert_eq!(seen.size_bytes, int(entry, "size") as u64, "{at}");
        assert_eq!(seen.mime_type, text(entry, "mimeType"), "{at}");
        assert!(seen.is_writable, "{at}");
        if is_directory {
            let below = format!("{at}/");
            let child = |entry: &Value| {
                let name = text(entry, "path").strip_prefix(&below)?;
                (!name.contains('/')).then(|| name.to_owned())
            };
            let mut children: Vec<String> = expected.iter().filter_map(child).collect();
            children.sort();
            let names = run(session.list(&path(at))).unwrap();
            let names: Vec<&str> = names.iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(names, children, "{at}");
        } else {
            let content = run(session.read(&path(at))).unwrap();
            assert_eq!(hex::encode(sha256(&content)), text(entry, "sha256"), "{at}");
        }
    }
}

#[test]
fn a_whole_account() {
    let mut cases = Cases::of("03-account");
    let mut recorded = Recorded::new(&cases.value("secrets"));
    recorded.insert_blocks(&cases.value("blocks"));
    recorded.insert_pointers(&cases.value("pointers"), &cases.value("writers"));
    let before = recorded.node.pointers();
    let session = recorded.log_in(1);
    let expected = cases.section("expectedTree");
    check_tree(&session, &expected);
    for deleted in cases.section("deletedEntries") {
        let result = run(session.stat(&path(text(&deleted, "path"))));
        assert!(matches!(result, Err(pyrgos_protocol::client::ClientError::NotFound { .. })));
    }
    // The account was complete, so logging in and reading changed nothing.
    assert_eq!(recorded.node.pointers(), before);
    for replayed_elsewhere in
        ["signup", "expectedContentSeeds", "rename", "move", "publicInodes", "nodesAfterFirstLogin", "nodes"]
    {
        cases.skip_section(replayed_elsewhere, "formats, replayed by tests/cryptree");
    }
    cases.finish();

    // And it can be written by this client.
    put(&session, "/alice/docs/new.txt", b"new", &UploadOptions::default()).unwrap();
    let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
    put(&session, "/alice/docs/size-4100.bin", b"short now", &options).unwrap();
    let again = clone_session(&session, &recorded.node, 3);
    assert_eq!(run(again.read(&path("/alice/docs/new.txt"))).unwrap(), b"new");
    assert_eq!(run(again.read(&path("/alice/docs/size-4100.bin"))).unwrap(), b"short now");
}

/// What this client does to files and directories with writing spaces of their own.
#[test]
fn writing_spaces_are_changed() {
    let mut cases = Cases::of("03-writing-spaces");
    let mut recorded = Recorded::new(&cases.value("secrets"));
    let steps = cases.section("steps");
    for step in &steps[..3] {
        recorded.insert_blocks(&step["newReachableBlocks"]);
        recorded.insert_pointers(&step["pointers"], &step["writers"]);
    }
    let session = recorded.log_in(1);
    let s = &session;
    let entry = |at: &str| run(clone_session(s, &recorded.node, 99).stat(&path(at)));
    let read = |at: &str| run(clone_session(s, &recorded.node, 98).read(&path(at))).unwrap();
    let spaces = |owned: bool| {
        let live = |signed: &Bytes, writer: &Writer| {
            PointerUpdate::open(&writer.signing_key().unwrap(), signed).unwrap().updated().is_some() == owned
        };
        recorded.node.pointers().iter().filter(|(writer, signed)| live(signed, writer)).count()
    };
    assert_eq!((spaces(true), spaces(false)), (4, 0));

    // The file is dirty, so a small change encrypts all of it anew, under its own signer.
    let file = "/erin/space/shared-file.bin";
    let before = read(file);
    run(s.append(&path(file), &mut Bytes::from_static(b" and more"), &())).unwrap();
    assert!(read(file) == [&before[..], b" and more"].concat());
    run(s.truncate(&path(file), 100)).unwrap();
    assert!(read(file) == before[..100]);
    put(s, "/erin/space/shared-dir/another.txt", b"another", &UploadOptions::default()).unwrap();
    run(s.make_directories(&path("/erin/space/shared-dir/deep/er"))).unwrap();
    run(s.append(&path("/erin/space/shared-dir/inner.txt"), &mut Bytes::from_static(b"!"), &())).unwrap();
    assert_eq!(read("/erin/space/shared-dir/inner.txt"), b"inner file!");

    // Link nodes go along when their targets are renamed and moved.
    run(s.rename(&path(file), &path("/erin/space/other.bin"), IfExists::Fail)).unwrap();
    assert_eq!(entry("/erin/space/other.bin").unwrap().name.as_str(), "other.bin");
    run(s.make_directory(&path("/erin/dest"))).unwrap();
    run(s.rename(&path("/erin/space/other.bin"), &path("/erin/dest/moved.bin"), IfExists::Fail)).unwrap();
    assert!(read("/erin/dest/moved.bin") == before[..100]);
    run(s.rename(&path("/erin/space/shared-dir"), &path("/erin/dest/dir"), IfExists::Fail)).unwrap();
    assert_eq!(read("/erin/dest/dir/another.txt"), b"another");
    assert_eq!((spaces(true), spaces(false)), (4, 0));

    // From one space to another the content moves.
    let across = run(s.rename(&path("/erin/dest/dir/another.txt"), &path("/erin/dest/here.txt"), IfExists::Fail));
    across.unwrap();
    assert_eq!(read("/erin/dest/here.txt"), b"another");
    assert!(entry("/erin/dest/dir/another.txt").is_err());

    // With the last of it gone, the spaces end.
    run(s.remove(&path("/erin/dest"), true)).unwrap();
    assert_eq!((spaces(true), spaces(false)), (2, 2));
    assert!(entry("/erin/dest").is_err());
    assert!(run(s.list(&path("/erin/space"))).unwrap().is_empty());
    assert_eq!(recorded.node.open_transactions(), 0);
}
