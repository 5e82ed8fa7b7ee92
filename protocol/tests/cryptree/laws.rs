//! Laws that hold for every input: round trips, directories against a model, decoders that refuse and never panic.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use pyrgos_crypto::sign::SecretKey;
use pyrgos_protocol::cryptree::capability::{AbsoluteCapability, Hints, NamedRelativeCapability, RelativeCapability};
use pyrgos_protocol::cryptree::chunk::{CHUNK_SIZE, ChunkLabel, MapKey, StreamSecret};
use pyrgos_protocol::cryptree::directory::{
    Added, ChildList, DirectoryChunk, DirectoryKeys, ENTRIES_PER_CHUNK, EditError,
};
use pyrgos_protocol::cryptree::file::{FileChunk, FileKeys};
use pyrgos_protocol::cryptree::fragments::{FRAGMENT_SIZE, FragmentBlock, NodeData, Piece, Plaintext};
use pyrgos_protocol::cryptree::hash_tree::{HashBranch, HashTree};
use pyrgos_protocol::cryptree::home::{NewHome, SIGN_UP_DIRECTORIES};
use pyrgos_protocol::cryptree::name::{FileName, MAX_NAME_UNITS};
use pyrgos_protocol::cryptree::node::{CryptreeNode, OpenNode, ParentBlock};
use pyrgos_protocol::cryptree::properties::{FileProperties, Kind, Thumbnail, Timestamp};
use pyrgos_protocol::cryptree::transaction::UploadTransaction;
use pyrgos_protocol::encoding::{FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::{KeyHash, Owner, SigningKeyPair, SymmetricKey, Writer};
use pyrgos_protocol::merkle::bat::Bat;

use crate::content;
use crate::support::{properties, system_random};

/// Encrypts content, checks the shape of what comes out, and decrypts it again.
fn round_trip(chunk: &[u8]) {
    let mut rng = system_random();
    let key = SymmetricKey::generate(&mut rng);
    let mirror = Bat::from_bytes([7; 32]).mirror_id();
    let (data, fragments) = Plaintext::chunk_of(chunk).seal(&key, Some(&mirror), &mut rng);
    let blocks: Vec<Bytes> = fragments.iter().map(FragmentBlock::to_block).collect();
    let sealed = data.sealed(&blocks).unwrap();
    let secret = Cbor::bytes(chunk).encoded_len();
    assert_eq!(data.is_inline(), secret <= 4102, "{} bytes", chunk.len());
    assert_eq!(sealed.len() % 4096, if secret <= 4096 { 16 } else { 22 });
    assert!(sealed.len() - 16 >= secret && sealed.len() - 16 < secret + 4097);
    assert_eq!(fragments.len(), if data.is_inline() { 0 } else { (sealed.len() - 22).div_ceil(FRAGMENT_SIZE) });
    for block in &blocks {
        assert!(block.len() <= FRAGMENT_SIZE + 85 && (block.len() - 85).is_multiple_of(4096));
    }
    let read = NodeData::from_bytes(&data.to_bytes()).unwrap();
    assert_eq!(read, data);
    assert_eq!(read.open_chunk(&key, &blocks).unwrap(), chunk);
    assert!(read.open(&SymmetricKey::generate(&mut rng), &blocks).is_err());
    if let Some((last, rest)) = blocks.split_last() {
        let mut changed = last.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        assert!(read.open(&key, &[rest, &[changed.into()]].concat()).is_err(), "a changed byte");
        assert!(read.open(&key, rest).is_err(), "a missing block");
    }
}

#[test]
fn chunks_of_every_boundary_size_come_back() {
    let mut sizes: Vec<usize> = vec![0, 1, 22, 23, 24, 25, 254, 255, 256, 257, 65_534, 65_535, 65_536, 65_537];
    for boundary in [4096, 2 * 4096, 17 * 4096, FRAGMENT_SIZE, 2 * FRAGMENT_SIZE] {
        sizes.extend(boundary - 8..boundary + 8);
    }
    sizes.extend([CHUNK_SIZE as usize - 1, CHUNK_SIZE as usize]);
    let all = content("sizes", CHUNK_SIZE as usize);
    for size in sizes {
        round_trip(&all[..size]);
    }
}

#[test]
fn pieces_may_be_hashed_on_other_threads() {
    let mut rng = system_random();
    let key = SymmetricKey::generate(&mut rng);
    let chunk = content("threads", CHUNK_SIZE as usize);
    let mut encrypted = Plaintext::chunk_of(&chunk).encrypt(&key, None, &mut rng);
    let pieces = encrypted.take_pieces();
    assert_eq!(pieces.len(), 5);
    let threads: Vec<_> = pieces.into_iter().map(|piece| std::thread::spawn(move || Piece::hash(piece))).collect();
    let fragments: Vec<FragmentBlock> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let data = encrypted.finish(&fragments);
    let blocks: Vec<Bytes> = fragments.iter().map(FragmentBlock::to_block).collect();
    assert_eq!(data.open_chunk(&key, &blocks).unwrap(), chunk);
    assert!(fragments.iter().all(|fragment| fragment.cid().matches(&fragment.to_block())));
}

#[derive(Clone, Debug)]
enum Edit {
    Add(Vec<u16>),
    Remove(Vec<u16>),
    Rename(u16, u16),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let number = 0u16..1500;
    let edit = prop_oneof![
        3 => prop::collection::btree_set(number.clone(), 1..700).prop_map(|set| Edit::Add(set.into_iter().collect())),
        1 => prop::collection::vec(number.clone(), 1..200).prop_map(Edit::Remove),
        2 => (number.clone(), number).prop_map(|(from, to)| Edit::Rename(from, to)),
    ];
    prop::collection::vec(edit, 1..12)
}

fn file_name(number: u16) -> FileName {
    FileName::new(format!("file {number}")).unwrap()
}

/// An entry whose map key stays when its name changes.
fn entry(number: u16, key: &SymmetricKey) -> NamedRelativeCapability {
    let mut map_key = [0; 32];
    map_key[..2].copy_from_slice(&number.to_be_bytes());
    let label = ChunkLabel { map_key: MapKey::from_bytes(map_key), bat: None };
    let cap = RelativeCapability::to_next_chunk(label, key.clone());
    NamedRelativeCapability { name: file_name(number).into(), cap, hints: Hints::default() }
}

/// A directory of several chunks, changed as a client changes it.
struct Directory {
    chunks: Vec<ChildList>,
    owner: Owner,
    writer: Writer,
    key: SymmetricKey,
}

impl Directory {
    fn new() -> Self {
        let null = KeyHash::null();
        let key = SymmetricKey::null();
        Directory {
            chunks: vec![ChildList::default()],
            owner: Owner::new(null.clone()),
            writer: Writer::new(null),
            key,
        }
    }

    fn add(&mut self, mut new: Vec<NamedRelativeCapability>) -> Result<(), EditError> {
        if let Some(taken) = new.iter().find(|e| self.chunks.iter().any(|c| c.get(e.name.as_str()).is_some())) {
            return Err(EditError::Exists(taken.name.clone()));
        }
        for at in 0.. {
            let before = self.chunks[at].clone();
            let next_exists = at + 1 < self.chunks.len();
            match self.chunks[at].add(new, next_exists)? {
                Added::Here => return Ok(()),
                Added::PassOn(rest) => {
                    assert_eq!(before, self.chunks[at]);
                    new = rest;
                }
                Added::NewChunks { changed, chunks } => {
                    assert_eq!(changed, before != self.chunks[at]);
                    self.chunks.extend(chunks);
                    return Ok(());
                }
            }
        }
        unreachable!()
    }

    /// Names with the numbers in their map keys.
    fn entries(&self) -> BTreeMap<String, u16> {
        let all: Vec<(String, u16)> = self
            .chunks
            .iter()
            .flat_map(|chunk| chunk.named().unwrap())
            .map(|entry| {
                let key = entry.cap.map_key.as_bytes();
                (entry.name.as_str().to_owned(), u16::from_be_bytes([key[0], key[1]]))
            })
            .collect();
        let map: BTreeMap<String, u16> = all.iter().cloned().collect();
        assert_eq!(map.len(), all.len(), "names are unique");
        map
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..properties() })]

    #[test]
    fn chunks_come_back(chunk in prop::collection::vec(any::<u8>(), 0..20_000)) {
        round_trip(&chunk);
    }

    #[test]
    fn a_directory_keeps_what_a_map_would(edits in edits()) {
        let mut directory = Directory::new();
        // Name → number in the map key. Numbers in use are not added again, as map keys are random.
        let mut model: BTreeMap<String, u16> = BTreeMap::new();
        for edit in edits {
            let used: BTreeSet<u16> = model.values().copied().collect();
            match edit {
                Edit::Add(numbers) => {
                    let numbers: Vec<u16> = numbers.into_iter().filter(|number| !used.contains(number)).collect();
                    let new = numbers.iter().map(|number| entry(*number, &directory.key)).collect();
                    let taken = numbers.iter().any(|number| model.contains_key(file_name(*number).as_str()));
                    prop_assert_eq!(directory.add(new).is_err(), taken);
                    if !taken {
                        model.extend(numbers.iter().map(|number| (file_name(*number).as_str().to_owned(), *number)));
                    }
                }
                Edit::Remove(numbers) => {
                    let (owner, writer) = (directory.owner.clone(), directory.writer.clone());
                    let locations: Vec<_> =
                        numbers.iter().map(|n| entry(*n, &directory.key).cap.location(&owner, &writer)).collect();
                    let mut removed = false;
                    for chunk in &mut directory.chunks {
                        removed |= chunk.remove(&locations, &owner, &writer);
                    }
                    prop_assert_eq!(removed, numbers.iter().any(|number| used.contains(number)));
                    model.retain(|_, number| !numbers.contains(number));
                }
                Edit::Rename(number, to) => {
                    let (owner, writer) = (directory.owner.clone(), directory.writer.clone());
                    let location = entry(number, &directory.key).cap.location(&owner, &writer);
                    let old = model.iter().find(|(_, n)| **n == number).map(|(name, _)| name.clone());
                    let name = file_name(to);
                    if old.as_deref() != Some(name.as_str()) && model.contains_key(name.as_str()) {
                        continue;
                    }
                    let mut found = 0;
                    for chunk in &mut directory.chunks {
                        let hints = Hints { created_secs: Some(1), ..Hints::default() };
                        found += usize::from(chunk.rename(&location, &owner, &writer, name.clone(), hints).unwrap());
                    }
                    prop_assert_eq!(found, usize::from(old.is_some()));
                    if let Some(old) = old {
                        model.remove(&old);
                        model.insert(name.as_str().to_owned(), number);
                    }
                }
            }
            prop_assert_eq!(&directory.entries(), &model);
            prop_assert!(directory.chunks.iter().all(|chunk| chunk.len() <= ENTRIES_PER_CHUNK));
            for chunk in &directory.chunks {
                prop_assert_eq!(&ChildList::from_bytes(&chunk.to_bytes()).unwrap(), chunk);
            }
        }
    }

    #[test]
    fn names_follow_the_rules(text in prop_oneof![any::<String>(), "[./a𝄞]{0,5}", "𝄞{120,130}", "x{250,260}"]) {
        let units = text.encode_utf16().count();
        let legal = (1..=MAX_NAME_UNITS).contains(&units) && !text.contains('/') && text != "." && text != "..";
        let name = FileName::new(text.clone());
        prop_assert_eq!(name.is_ok(), legal);
        if let Ok(name) = name {
            prop_assert_eq!(name.as_str(), &text);
            prop_assert_eq!(FileName::from_bytes(&name.to_bytes()).unwrap(), name);
        } else {
            prop_assert!(FileName::from_cbor(&Cbor::text(text)).is_err());
        }
    }

    #[test]
    fn properties_come_back(
        name in "[^/]{1,20}",
        directory in any::<bool>(),
        flags in any::<(bool, bool)>(),
        size in 0..=i64::MAX as u64,
        times in any::<(i64, i64)>(),
        nanos in (0u32..1_000_000_000, 0u32..1_000_000_000),
        secret in any::<Option<[u8; 32]>>(),
        thumbnail in any::<Option<Vec<u8>>>(),
        chunks in 0u8..3,
    ) {
        prop_assume!(name != "." && name != "..");
        let kind = if directory { Kind::Directory } else { Kind::File(secret.map(StreamSecret::from_bytes)) };
        let tree = HashTree::of_chunk_hashes((0..chunks).map(|n| [n; 32])).unwrap();
        let properties = FileProperties {
            name: FileName::new(name).unwrap(),
            kind,
            is_link: flags.0,
            is_hidden: flags.1,
            mime_type: "text/plain".to_owned(),
            size_bytes: size,
            modified: Timestamp::new(times.0, nanos.0).unwrap(),
            created: Timestamp::new(times.1, nanos.1).unwrap(),
            thumbnail: thumbnail.and_then(|data| Thumbnail::new("image/webp", data)),
            tree_hash: (chunks > 0).then(|| tree.branch(0)),
        };
        prop_assert_eq!(FileProperties::from_bytes(&properties.to_bytes()).unwrap(), properties);
    }

    #[test]
    fn a_plaintext_is_a_growing_buffer(steps in prop::collection::vec((any::<bool>(), 0usize..9000), 0..8)) {
        let mut model = Vec::new();
        let mut plaintext = Plaintext::chunk(10);
        for (extend, len) in steps {
            if extend {
                let more = content("more", len);
                plaintext.extend(&more);
                model.extend_from_slice(&more);
            } else {
                plaintext.resize(len);
                model.resize(len, 0);
            }
            prop_assert_eq!(plaintext.content(), &model[..]);
        }
        let mut rng = system_random();
        let key = SymmetricKey::generate(&mut rng);
        let (data, fragments) = plaintext.seal(&key, None, &mut rng);
        let blocks: Vec<Bytes> = fragments.iter().map(FragmentBlock::to_block).collect();
        prop_assert_eq!(&data.open_chunk(&key, &blocks).unwrap()[..], &model[..]);
    }

    #[test]
    fn decoders_refuse_and_do_not_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_all(&noise);
    }

    #[test]
    fn decoders_survive_changed_bytes(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<bool>()) {
        for mut valid in examples() {
            let at = at.index(valid.len());
            valid[at] = to;
            if cut {
                valid.truncate(at);
            }
            decode_all(&valid);
        }
    }

    #[test]
    fn links_are_read_or_refused(text in "#?[1-9A-HJ-NP-Za-km-z]{0,60}(/[1-9A-HJ-NP-Za-km-z]{0,60}){0,5}") {
        let _ = AbsoluteCapability::from_link(&text);
    }
}

/// Every decoder of this module; what it accepts, it must be able to write and read again.
fn decode_all(bytes: &[u8]) {
    fn stable<T: FromCbor + ToCbor + PartialEq>(bytes: &[u8]) {
        if let Ok(value) = T::from_bytes(bytes) {
            assert!(T::from_bytes(&value.to_bytes()).is_ok_and(|again| again == value));
        }
    }
    stable::<CryptreeNode>(bytes);
    stable::<NodeData>(bytes);
    stable::<FileProperties>(bytes);
    stable::<AbsoluteCapability>(bytes);
    stable::<RelativeCapability>(bytes);
    stable::<ChildList>(bytes);
    stable::<HashTree>(bytes);
    stable::<HashBranch>(bytes);
    stable::<UploadTransaction>(bytes);
}

fn examples() -> Vec<Vec<u8>> {
    let mut rng = system_random();
    let (owner, writer) = identity();
    let keys = FileKeys::generate(&mut rng);
    let cap = keys.capability(owner, writer);
    let directory = DirectoryKeys::generate(&mut rng);
    let source = directory.capability(cap.owner.clone(), cap.writer.clone());
    let tree = HashTree::of_chunk_hashes([[1; 32], [2; 32]]).unwrap();
    let name = FileName::new("example").unwrap();
    let mut properties =
        FileProperties::file(name, keys.stream_secret.clone(), "text/plain".into(), 9, Timestamp::from_seconds(-5));
    properties.tree_hash = Some(tree.branch(0));
    let entry = NamedRelativeCapability::entry(&cap, &properties, &source, &mut rng).unwrap();
    let list = ChildList::Named(vec![entry.clone()]);
    let (data, _) = Plaintext::chunk_of(b"example").seal(&keys.data, None, &mut rng);
    let (large, _) = Plaintext::chunk_of(&[0; 9000]).seal(&keys.data, None, &mut rng);
    let parent = ParentBlock { parent: None, properties: properties.clone() };
    let node = FileChunk::new(keys.base, keys.data, keys.first, &keys.stream_secret, parent, None)
        .build(data.clone(), &mut rng)
        .unwrap();
    vec![
        node.to_bytes(),
        large.to_bytes(),
        properties.to_bytes(),
        cap.to_bytes(),
        entry.cap.to_bytes(),
        list.to_bytes(),
        tree.to_bytes(),
        tree.branch(0).to_bytes(),
    ]
}

fn identity() -> (Owner, Writer) {
    let key = SigningKeyPair::new(SecretKey::from_seed(&[9; 32])).public_key_hash();
    (Owner::new(key.clone()), Writer::new(key))
}

#[test]
fn a_new_home_opens() {
    let mut rng = system_random();
    let (owner, _) = identity();
    let signer = SigningKeyPair::generate(&mut rng).signer();
    let mirror = Bat::from_bytes([3; 32]).mirror_id();
    let now = Timestamp::new(1_700_000_000, 5).unwrap();
    let home = NewHome::build(&owner, FileName::new("alice").unwrap(), &signer, &mirror, now, &mut rng).unwrap();
    assert_eq!(home.nodes.len(), 4);
    let node = |cap: &AbsoluteCapability| {
        let new = home.nodes.iter().find(|new| new.map_key == cap.map_key).expect("the node is there");
        assert!(new.fragments.is_empty());
        assert_eq!(new.node.mirror_bat(), Some(&mirror));
        assert!(new.node.bats()[0].is_of(cap.bat.as_ref().unwrap()));
        (new.node.clone(), new.node.open(&cap.base_key).unwrap())
    };
    let (root, open) = node(&home.cap);
    assert_eq!(open.properties(), &FileProperties::directory(FileName::new("alice").unwrap(), now, false));
    assert_eq!(open.parent_block().parent, None);
    assert_eq!(open.signer(&home.cap, None).unwrap(), signer);
    assert_eq!(root.base().cipher_text().sealed().len(), 400, "as other clients write it");
    let list = ChildList::from_cbor(&root.data().open(&home.cap.base_key, &[]).unwrap()).unwrap();
    let names: Vec<&str> = list.named().unwrap().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, SIGN_UP_DIRECTORIES);
    for entry in list.named().unwrap() {
        let child = entry.cap.to_absolute(&home.cap).unwrap();
        let (node, open) = node(&child);
        assert!(open.properties().is_hidden && open.properties().is_directory());
        assert_eq!(open.properties().name.as_str(), entry.name.as_str());
        assert_eq!(entry.hints, Hints::of(open.properties()));
        assert_eq!(open.signer(&child, Some(&signer)).unwrap(), signer);
        assert_eq!(node.data().open(&child.base_key, &[]).unwrap(), Cbor::List(Vec::new()));
        // Up again, with what the child knows of its parent.
        let up = open.parent_block().parent.as_ref().unwrap();
        let by_parent_key = root.open(&up.base_key).unwrap();
        assert!(
            matches!(&by_parent_key, OpenNode::ByParentKey { parent } if parent.properties.name.as_str() == "alice")
        );
        assert!(root.data().open(&up.base_key, &[]).is_err(), "the parent key opens no child list");
    }
}

#[test]
fn a_link_node_leads_to_its_target() {
    let mut rng = system_random();
    let (owner, writer) = identity();
    let other = SigningKeyPair::generate(&mut rng).signer().writer();
    let target_keys = FileKeys::generate(&mut rng);
    let target = target_keys.capability(owner.clone(), other.clone());
    let now = Timestamp::from_seconds(7);
    let secret = target_keys.stream_secret.clone();
    let properties = FileProperties::file(FileName::new("shared").unwrap(), secret, "text/plain".into(), 3, now);
    let link_keys = DirectoryKeys::generate(&mut rng);
    let cap = link_keys.capability(owner, writer.clone());
    let chunk = DirectoryChunk::link_node(&link_keys, &cap, None, &target, &properties, None, &mut rng).unwrap();
    let (node, fragments) = chunk.build(&mut rng).unwrap();
    assert!(fragments.is_empty());
    let open = node.open(&cap.base_key).unwrap();
    assert!(open.properties().is_link);
    assert_eq!(open.properties().stream_secret(), None, "nothing of the target's secrets is copied");
    let list = ChildList::from_cbor(&node.data().open(&cap.base_key, &[]).unwrap()).unwrap();
    let entry = list.get("shared").unwrap();
    assert_eq!(entry.cap.to_absolute(&cap).unwrap(), target);
    assert_eq!(entry.hints.is_directory, Some(false));
    // A link to a file, opened with its parent key, is no file.
    let up = link_keys.parent_link(&writer, &other);
    assert_eq!(up.writer, Some(writer.clone()));
    assert!(matches!(node.open(&up.base_key).unwrap(), OpenNode::ByParentKey { .. }));
    assert_eq!(link_keys.parent_link(&writer, &writer).writer, None);
    assert_eq!(open.signer(&cap.read_only(), None), Err(pyrgos_protocol::cryptree::node::NodeError::NotWritable));
}
