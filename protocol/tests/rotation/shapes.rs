//! Trees made here: directories of several chunks, files of many chunks, forms of old clients.

use pyrgos_protocol::cryptree::capability::{AbsoluteCapability, Hints, NamedRelativeCapability, RelativeCapability};
use pyrgos_protocol::cryptree::chunk::{CHUNK_SIZE, ChunkLabel, chunk_count};
use pyrgos_protocol::cryptree::directory::{ChildList, DirectoryChunk, DirectoryKeys};
use pyrgos_protocol::cryptree::file::{FileChunk, FileKeys};
use pyrgos_protocol::cryptree::fragments::Plaintext;
use pyrgos_protocol::cryptree::name::EntryName;
use pyrgos_protocol::cryptree::node::{OpenNode, ParentBlock};
use pyrgos_protocol::cryptree::properties::{FileProperties, Kind, Timestamp};
use pyrgos_protocol::cryptree::rotation::{Plan, RotationError};
use pyrgos_protocol::keys::{
    Owner, SecretSigningKey, SigningKeyPair, SigningPrivateKeyAndPublicHash, SymmetricLinkToSigner,
};

use crate::memory::Memory;
use crate::support::system_random;

/// A home directory to build in.
pub(crate) struct Garden {
    pub(crate) memory: Memory,
    pub(crate) home: Bed,
    pub(crate) signer: SigningPrivateKeyAndPublicHash,
}

/// A directory to plant in.
#[derive(Clone)]
pub(crate) struct Bed {
    pub(crate) keys: DirectoryKeys,
    pub(crate) cap: AbsoluteCapability,
}

pub(crate) fn some_signer() -> SigningPrivateKeyAndPublicHash {
    SigningKeyPair::new(SecretSigningKey::generate(&mut system_random())).signer()
}

impl Garden {
    pub(crate) fn new() -> Self {
        let signer = some_signer();
        let owner = Owner::new(some_signer().public_key_hash);
        let keys = DirectoryKeys::generate(&mut system_random());
        let cap = keys.capability(owner, signer.writer());
        let home = Bed { keys, cap };
        let mut garden = Garden { memory: Memory::default(), home: home.clone(), signer: signer.clone() };
        garden.directory_at(&home, "home", None, Some(&signer), vec![ChildList::default()]);
        garden
    }

    /// Writes the chunks of a directory.
    fn directory_at(
        &mut self,
        bed: &Bed,
        name: &str,
        parent: Option<RelativeCapability>,
        signer: Option<&SigningPrivateKeyAndPublicHash>,
        chunks: Vec<ChildList>,
    ) {
        let mut rng = system_random();
        let properties = FileProperties::directory(name.parse().unwrap(), Timestamp::from_seconds(7), false);
        let mut label = bed.cap.label();
        for (at, children) in chunks.into_iter().enumerate() {
            let mut chunk = DirectoryChunk::first(
                &bed.keys,
                ParentBlock { parent: parent.clone(), properties: properties.clone() },
                None,
                &mut rng,
            );
            if at == 0 {
                chunk.signer = signer.map(|signer| SymmetricLinkToSigner::new(&bed.keys.base_write, signer, &mut rng));
            } else {
                chunk.parent.properties = FileProperties::later_directory_chunk();
            }
            chunk.label = label.clone();
            chunk.children = children;
            let next = chunk.next.clone();
            let (node, fragments) = chunk.build(&mut rng).unwrap();
            for fragment in fragments {
                self.memory.fragments.insert(fragment.cid().clone(), fragment.to_block());
            }
            self.memory.put(&bed.cap.writer, label.map_key, node);
            label = next;
        }
    }

    /// A new directory with a given child list for each chunk, and its entry in `parent`.
    pub(crate) fn directory(
        &mut self,
        parent: &Bed,
        name: &str,
        space: Option<&SigningPrivateKeyAndPublicHash>,
        chunks: impl FnOnce(&mut Garden, &Bed) -> Vec<ChildList>,
    ) -> Bed {
        let keys = DirectoryKeys::generate(&mut system_random());
        let writer = space.map_or(parent.cap.writer.clone(), SigningPrivateKeyAndPublicHash::writer);
        let cap = keys.capability(parent.cap.owner.clone(), writer);
        let bed = Bed { keys, cap };
        let chunks = chunks(self, &bed);
        let up = parent.keys.parent_link(&parent.cap.writer, &bed.cap.writer);
        self.directory_at(&bed, name, Some(up), space, chunks);
        let entry = self.entry(parent, &bed.cap, name);
        self.plant(parent, entry);
        bed
    }

    pub(crate) fn entry(&self, parent: &Bed, child: &AbsoluteCapability, name: &str) -> NamedRelativeCapability {
        let cap = RelativeCapability::new(child, &parent.cap, &mut system_random()).unwrap();
        NamedRelativeCapability { name: EntryName::new(name).unwrap(), cap, hints: Hints::default() }
    }

    /// Adds an entry to the first chunk of a directory.
    pub(crate) fn plant(&mut self, parent: &Bed, entry: NamedRelativeCapability) {
        let place = (parent.cap.writer.clone(), parent.cap.map_key);
        let (_, node) = self.memory.nodes[&place].clone();
        let mut children = self.memory.children(&parent.cap, &node);
        children.add(vec![entry], false).unwrap();
        let (data, fragments) = children.seal(&parent.keys.base, None, &mut system_random());
        for fragment in fragments {
            self.memory.fragments.insert(fragment.cid().clone(), fragment.to_block());
        }
        self.memory.put(&place.0, place.1, node.with_data(data));
    }

    /// Writes a file of this size whose chunks hold next to nothing; `has_secret` tells new clients from old.
    pub(crate) fn file(&mut self, parent: &Bed, name: &str, size: u64, has_secret: bool) -> AbsoluteCapability {
        let mut rng = system_random();
        let keys = FileKeys::generate(&mut rng);
        let cap = keys.capability(parent.cap.owner.clone(), parent.cap.writer.clone());
        let time = Timestamp::from_seconds(9);
        let mut properties = FileProperties::file(
            name.parse().unwrap(),
            keys.stream_secret.clone(),
            "text/plain".to_owned(),
            size,
            time,
        );
        if !has_secret {
            properties.kind = Kind::File(None);
        }
        let up = parent.keys.parent_link(&parent.cap.writer, &cap.writer);
        let mut label = keys.first.clone();
        for chunk in 0..chunk_count(size) {
            let (data, _) = Plaintext::chunk_of(format!("{name} {chunk}").as_bytes()).seal(&keys.data, None, &mut rng);
            let block = ParentBlock { parent: Some(up.clone()), properties: properties.clone() };
            let mut file =
                FileChunk::new(keys.base.clone(), keys.data.clone(), label.clone(), &keys.stream_secret, block, None);
            if !has_secret {
                file.next = ChunkLabel::generate(&mut rng);
            }
            let next = file.next.clone();
            let node = file.build(data, &mut rng).unwrap();
            self.memory.put(&cap.writer, label.map_key, node);
            label = next;
        }
        cap
    }

    /// Rotates an item of the home directory and compares everything that must last.
    pub(crate) fn rotate(&mut self, entry: &AbsoluteCapability, new_signers: bool) -> Plan {
        let (before, labels) = self.memory.view(&self.home.cap, &self.signer);
        assert_eq!(labels.len(), self.memory.nodes.len(), "nothing is out of reach");
        let location = entry.location();
        let plan = self.memory.rotate(&self.home.cap, &self.signer, &location, new_signers).unwrap();
        let (after, labels) = self.memory.view(&self.home.cap, &self.signer);
        assert_eq!(labels.len(), self.memory.nodes.len(), "nothing is out of reach");
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        for (path, seen) in &after {
            let old = &before[path];
            let mut lasting = seen.clone();
            lasting.has_own_space = old.has_own_space;
            assert!(lasting.lasting() == old.lasting(), "{path}");
        }
        plan
    }
}

#[test]
fn directories_and_files_of_many_chunks() {
    let mut garden = Garden::new();
    let home = garden.home.clone();
    let big = garden.directory(&home, "big", None, |garden, bed| {
        let mut list = |range: std::ops::Range<u32>| {
            let entries = range.map(|number| {
                let name = format!("file {number}");
                let cap = garden.file(bed, &name, 10, true);
                garden.entry(bed, &cap, &name)
            });
            ChildList::Named(entries.collect())
        };
        // Chunks may be empty while later ones are not.
        vec![list(0..300), ChildList::default(), list(300..350)]
    });
    let long = garden.file(&big, "long", 70 * CHUNK_SIZE + 1, true);
    let entry = garden.entry(&big, &long, "long");
    garden.plant(&big, entry);
    let empty = garden.file(&big, "empty", 0, true);
    let entry = garden.entry(&big, &empty, "empty");
    garden.plant(&big, entry);
    for new_signers in [false, true] {
        let (view, _) = garden.memory.view(&garden.home.cap, &garden.signer);
        let seen = view["/big"].clone();
        let plan = garden.rotate(seen.link.as_ref().unwrap_or(&seen.cap), new_signers);
        assert_eq!(plan.items.len(), 1 + 350 + 2);
        assert_eq!(plan.item(&["long"]).unwrap().old, view["/big/long"].cap);
        // Two labels change for each node, and the parent.
        assert_eq!(plan.changes.len(), 2 * (3 + 350 + 71 + 1) + 1 + usize::from(new_signers));
        assert!(plan.dropped.is_empty() && plan.kept.is_empty());
    }
}

#[test]
fn forms_of_old_clients() {
    let mut garden = Garden::new();
    let home = garden.home.clone();
    garden.directory(&home, "old", None, |garden, bed| {
        let caps = ["a", "b"].map(|name| {
            let cap = garden.file(bed, name, 3 * CHUNK_SIZE, false);
            RelativeCapability::new(&cap, &bed.cap, &mut system_random()).unwrap()
        });
        vec![ChildList::Unnamed(caps.into())]
    });
    let (view, _) = garden.memory.view(&garden.home.cap, &garden.signer);
    let old = view["/old"].cap.clone();
    let plan = garden.memory.rotate(&home.cap, &garden.signer, &old.location(), false).unwrap();
    let (after, labels) = garden.memory.view(&garden.home.cap, &garden.signer);
    assert_eq!(labels.len(), garden.memory.nodes.len());
    for name in ["a", "b"] {
        let (new, old) = (&after[&format!("/old/{name}")], &view[&format!("/old/{name}")]);
        assert_eq!((new.data.len(), old.data.len()), (3, 3));
        assert!(new.lasting() == old.lasting());
        // From now on the labels follow from a secret.
        assert!(new.properties.stream_secret().is_some());
        assert_eq!(plan.item(&[name]).unwrap().new, new.cap);
    }
}

#[test]
fn the_item_must_be_there() {
    let mut garden = Garden::new();
    let home = garden.home.clone();
    let bed = garden.directory(&home, "d", None, |_, _| vec![ChildList::default()]);
    let nowhere = Bed {
        cap: AbsoluteCapability { map_key: ChunkLabel::generate(&mut system_random()).map_key, ..bed.cap.clone() },
        ..bed.clone()
    };
    let missing = garden.memory.rotate(&home.cap, &garden.signer, &nowhere.cap.location(), false);
    assert!(matches!(missing, Err(RotationError::Missing)));
    let place = (bed.cap.writer.clone(), bed.cap.map_key);
    let (_, node) = garden.memory.nodes.remove(&place).unwrap();
    let missing = garden.memory.rotate(&home.cap, &garden.signer, &bed.cap.location(), false);
    assert!(matches!(missing, Err(RotationError::Missing)));
    // With the parent key alone nothing can be rotated.
    let OpenNode::Directory { base, .. } = node.open(&bed.cap.base_key).unwrap() else { panic!("a directory") };
    garden.memory.put(&place.0, place.1, node);
    let weak = AbsoluteCapability { base_key: base.key, ..home.cap.clone() };
    assert!(garden.memory.rotate(&weak, &garden.signer, &bed.cap.location(), false).is_err());
}
