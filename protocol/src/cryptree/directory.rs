//! Directories: their child lists, how these change over several chunks, and new directories (`spec/03` §4).

use pyrgos_crypto::random::CryptoRng;

use super::capability::{
    AbsoluteCapability, CapabilityError, Hints, Location, NamedRelativeCapability, RelativeCapability,
};
use super::chunk::ChunkLabel;
use super::fragments::{FragmentBlock, NodeData, Plaintext};
use super::name::{EntryName, FileName};
use super::node::{BaseBlock, CryptreeNode, NodeError, ParentBlock, node_bats};
use super::properties::FileProperties;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{Owner, SymmetricKey, SymmetricLinkToSigner, Writer};
use crate::merkle::bat::BatId;

/// Most entries that a writer puts into one chunk. Readers take any number.
pub const ENTRIES_PER_CHUNK: usize = 500;

/// Why a change of a directory is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The directory has an entry of that name.
    #[error("an entry of that name exists")]
    Exists(EntryName),
    /// The list has the old form without names, which new entries do not fit into.
    #[error("the directory has entries without names, and must be rewritten first")]
    Legacy,
}

/// The children in one chunk of a directory (`spec/03` §4.1). Their order means nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChildList {
    /// Entries with names.
    Named(Vec<NamedRelativeCapability>),
    /// The form of old clients: each name is in the child's own properties.
    Unnamed(Vec<RelativeCapability>),
}

impl Default for ChildList {
    fn default() -> Self {
        ChildList::Named(Vec::new())
    }
}

impl ChildList {
    /// How many entries the chunk has.
    pub fn len(&self) -> usize {
        match self {
            ChildList::Named(entries) => entries.len(),
            ChildList::Unnamed(entries) => entries.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The capabilities of the children, relative to the directory.
    pub fn capabilities(&self) -> impl Iterator<Item = &RelativeCapability> {
        let (named, unnamed): (&[_], &[_]) = match self {
            ChildList::Named(entries) => (entries, &[]),
            ChildList::Unnamed(entries) => (&[], entries),
        };
        named.iter().map(|entry| &entry.cap).chain(unnamed)
    }

    /// The entries, if they have names.
    pub fn named(&self) -> Option<&[NamedRelativeCapability]> {
        match self {
            ChildList::Named(entries) => Some(entries),
            ChildList::Unnamed(_) => None,
        }
    }

    /// The entry of a name. None also in the old form, where the children must be asked.
    pub fn get(&self, name: &str) -> Option<&NamedRelativeCapability> {
        self.named()?.iter().find(|entry| entry.name.as_str() == name)
    }

    /// Adds entries to this chunk, or tells where they go (`spec/03` §4.4). `next_exists` says whether the directory has
    /// a chunk after this one. That no later chunk has such a name is the caller's duty to know.
    ///
    /// # Errors
    /// [`EditError::Exists`] if this chunk has an entry of one of the names, or two new ones share a name. The list is
    /// then unchanged.
    pub fn add(&mut self, new: Vec<NamedRelativeCapability>, next_exists: bool) -> Result<Added, EditError> {
        if matches!(self, ChildList::Unnamed(old) if old.is_empty()) {
            *self = ChildList::default();
        }
        let ChildList::Named(entries) = self else { return Err(EditError::Legacy) };
        let mut names: std::collections::BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        if let Some(taken) = new.iter().find(|entry| !names.insert(entry.name.as_str())) {
            return Err(EditError::Exists(taken.name.clone()));
        }
        if entries.len() + new.len() <= ENTRIES_PER_CHUNK {
            entries.extend(new);
            return Ok(Added::Here);
        }
        if next_exists {
            return Ok(Added::PassOn(new));
        }
        let mut new = new.into_iter();
        let room = ENTRIES_PER_CHUNK.saturating_sub(entries.len());
        entries.extend(new.by_ref().take(room));
        let mut chunks = Vec::new();
        loop {
            let chunk: Vec<_> = new.by_ref().take(ENTRIES_PER_CHUNK).collect();
            if chunk.is_empty() {
                return Ok(Added::NewChunks { changed: room > 0, chunks });
            }
            chunks.push(ChildList::Named(chunk));
        }
    }

    /// Drops the entries of the given locations; keys are not compared. `owner` and `writer` are those of the directory.
    /// Returns whether there were any.
    pub fn remove(&mut self, locations: &[Location], owner: &Owner, writer: &Writer) -> bool {
        let before = self.len();
        let keep = |cap: &RelativeCapability| !locations.contains(&cap.location(owner, writer));
        match self {
            ChildList::Named(entries) => entries.retain(|entry| keep(&entry.cap)),
            ChildList::Unnamed(entries) => entries.retain(keep),
        }
        self.len() < before
    }

    /// Gives the entry of a location another name and other hints, and leaves its neighbours as they are: the reference
    /// makes all of them anew and loses those it cannot fetch at the moment (`spec/03` §4.7, §14.12). Returns whether
    /// the chunk has such an entry.
    ///
    /// # Errors
    /// [`EditError::Exists`] if another entry of the chunk has the name, [`EditError::Legacy`] in the old form.
    pub fn rename(
        &mut self,
        location: &Location,
        owner: &Owner,
        writer: &Writer,
        name: FileName,
        hints: Hints,
    ) -> Result<bool, EditError> {
        let ChildList::Named(entries) = self else { return Err(EditError::Legacy) };
        let Some(at) = entries.iter().position(|entry| entry.cap.location(owner, writer) == *location) else {
            return Ok(false);
        };
        let name = EntryName::from(name);
        if entries.iter().enumerate().any(|(other, entry)| other != at && entry.name == name) {
            return Err(EditError::Exists(name));
        }
        entries[at].name = name;
        entries[at].hints = hints;
        Ok(true)
    }

    /// Puts another capability in the place of the entry of a location; name and hints stay. Returns whether there was
    /// one.
    pub fn replace(&mut self, location: &Location, owner: &Owner, writer: &Writer, cap: RelativeCapability) -> bool {
        let found = match self {
            ChildList::Named(entries) => entries.iter_mut().map(|entry| &mut entry.cap).collect::<Vec<_>>(),
            ChildList::Unnamed(entries) => entries.iter_mut().collect(),
        };
        match found.into_iter().find(|cap| cap.location(owner, writer) == *location) {
            Some(place) => {
                *place = cap;
                true
            }
            None => false,
        }
    }

    /// Encrypts the list for a node's data.
    pub fn seal(
        &self,
        base_key: &SymmetricKey,
        mirror: Option<&BatId>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> (NodeData, Vec<FragmentBlock>) {
        Plaintext::structure(self).seal(base_key, mirror, rng)
    }
}

/// Where new entries went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Added {
    /// Into this chunk, which has changed.
    Here,
    /// Nowhere yet: there is no room for all of them, so all of them are for the next chunk. This one is unchanged.
    PassOn(Vec<NamedRelativeCapability>),
    /// Into this chunk as many as fit, the rest into new chunks, of which the first takes the label that is reserved in
    /// this chunk's base block.
    NewChunks {
        /// Whether this chunk has changed; it has not if it was full.
        changed: bool,
        /// The new chunks in order.
        chunks: Vec<ChildList>,
    },
}

impl ToCbor for ChildList {
    fn to_cbor(&self) -> Value {
        match self {
            ChildList::Named(entries) => Value::list(entries),
            ChildList::Unnamed(entries) => Value::list(entries),
        }
    }
}

impl FromCbor for ChildList {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        // The first entry decides the form (`spec/03` §4.1).
        match value.as_list()?.first() {
            Some(Value::Map(first)) if first.get("n").is_none() => Ok(ChildList::Unnamed(value.as_list_of()?)),
            _ => Ok(ChildList::Named(value.as_list_of()?)),
        }
    }
}

impl NamedRelativeCapability {
    /// The entry of a child in its directory, with the hints that its properties give (`spec/03` §3.4, §4.5). For a link
    /// node `properties` are those of its target.
    ///
    /// # Errors
    /// [`CapabilityError::OtherOwner`].
    pub fn entry(
        child: &AbsoluteCapability,
        properties: &FileProperties,
        directory: &AbsoluteCapability,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, CapabilityError> {
        Ok(NamedRelativeCapability {
            name: properties.name.clone().into(),
            cap: RelativeCapability::new(child, directory, rng)?,
            hints: Hints::of(properties),
        })
    }
}

impl Hints {
    /// The hints that a child's properties give.
    pub fn of(properties: &FileProperties) -> Self {
        Hints {
            is_directory: Some(properties.is_directory()),
            mime_type: Some(properties.mime_type.clone()),
            created_secs: Some(properties.created.seconds()),
        }
    }
}

/// The secrets of a new directory or link node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectoryKeys {
    /// Opens its nodes and its child list.
    pub base: SymmetricKey,
    /// Leads to the write keys of its children.
    pub base_write: SymmetricKey,
    /// Shows its name and the way up, and nothing below.
    pub parent: SymmetricKey,
    /// The label of its first chunk.
    pub first: ChunkLabel,
}

impl DirectoryKeys {
    /// Fresh random secrets.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        DirectoryKeys {
            base: SymmetricKey::generate(rng),
            base_write: SymmetricKey::generate(rng),
            parent: SymmetricKey::generate(rng),
            first: ChunkLabel::generate(rng),
        }
    }

    /// The writable capability of the directory.
    pub fn capability(&self, owner: Owner, writer: Writer) -> AbsoluteCapability {
        AbsoluteCapability {
            owner,
            writer,
            map_key: self.first.map_key,
            bat: self.first.bat.clone(),
            base_key: self.base.clone(),
            base_write_key: Some(self.base_write.clone()),
        }
    }

    /// The link from a child of the directory up to it. `child_writer` is the writing space of the child, `writer` that
    /// of the directory.
    pub fn parent_link(&self, writer: &Writer, child_writer: &Writer) -> RelativeCapability {
        let writer = (writer != child_writer).then(|| writer.clone());
        RelativeCapability::to_parent(self.first.clone(), self.parent.clone(), writer)
    }
}

/// One chunk of a directory, or a link node, ready to be built.
#[derive(Clone, Debug)]
pub struct DirectoryChunk {
    /// The directory's base key.
    pub base_key: SymmetricKey,
    /// The directory's parent key.
    pub parent_key: SymmetricKey,
    /// Where the chunk lies.
    pub label: ChunkLabel,
    /// The label that is reserved for the next chunk, random and fresh for each chunk.
    pub next: ChunkLabel,
    /// The signer of the directory's own writing space; on the first chunk only.
    pub signer: Option<SymmetricLinkToSigner>,
    /// The way up and the properties.
    pub parent: ParentBlock,
    /// The children.
    pub children: ChildList,
    /// The account's mirror token.
    pub mirror: Option<BatId>,
}

impl DirectoryChunk {
    /// The first chunk of a new directory, empty. The label of the next chunk is drawn.
    pub fn first(
        keys: &DirectoryKeys,
        parent: ParentBlock,
        mirror: Option<BatId>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Self {
        DirectoryChunk {
            base_key: keys.base.clone(),
            parent_key: keys.parent.clone(),
            label: keys.first.clone(),
            next: ChunkLabel::generate(rng),
            signer: None,
            parent,
            children: ChildList::default(),
            mirror,
        }
    }

    /// A link node (`spec/03` §1.10): lets the owner of `parent` keep control of the name of something that others may
    /// write. `cap` is the capability of the link node itself, made of the same `keys`; the parent key is what the
    /// target's link upwards holds.
    ///
    /// # Errors
    /// [`CapabilityError::OtherOwner`].
    pub fn link_node(
        keys: &DirectoryKeys,
        cap: &AbsoluteCapability,
        parent: Option<RelativeCapability>,
        target: &AbsoluteCapability,
        target_properties: &FileProperties,
        mirror: Option<BatId>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, CapabilityError> {
        let properties = FileProperties::link_to(target_properties);
        let entry = NamedRelativeCapability::entry(target, target_properties, cap, rng)?;
        let children = ChildList::Named(vec![entry]);
        let first = DirectoryChunk::first(keys, ParentBlock { parent, properties }, mirror, rng);
        Ok(DirectoryChunk { children, ..first })
    }

    /// A later chunk of a directory at the label that the chunk before reserved: same keys, no signer, placeholder
    /// properties, the same way up. The label of its own next chunk is drawn.
    pub fn later(
        base_key: SymmetricKey,
        before: &BaseBlock,
        parent: Option<RelativeCapability>,
        children: ChildList,
        mirror: Option<BatId>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Self {
        DirectoryChunk {
            base_key,
            parent_key: before.key.clone(),
            label: before.next.label(),
            next: ChunkLabel::generate(rng),
            signer: None,
            parent: ParentBlock { parent, properties: FileProperties::later_directory_chunk() },
            children,
            mirror,
        }
    }

    /// The node and the fragment blocks of a long child list. Drawn are the nonce and fragment tokens of the child list,
    /// then the nonces of base block and parent block.
    ///
    /// # Errors
    /// [`NodeError::EqualKeys`].
    pub fn build(self, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(CryptreeNode, Vec<FragmentBlock>), NodeError> {
        let (data, fragments) = self.children.seal(&self.base_key, self.mirror.as_ref(), rng);
        let base = BaseBlock {
            key: self.parent_key,
            next: RelativeCapability::to_next_chunk(self.next, self.base_key.clone()),
            signer: self.signer,
        };
        let bats = node_bats(self.label.bat.as_ref(), self.mirror.as_ref());
        let node = CryptreeNode::directory(&self.base_key, &base, &self.parent, data, bats, rng)?;
        Ok((node, fragments))
    }
}
