//! Reading what users published, for people without an account (`spec/05` §8.2, `spec/02` §7.5).
//!
//! A published capability is plain data that everybody may read, so the node may open what it leads to. It opens nothing
//! else: blocks are read with the tokens that the capability gives, as a client would have to.
//!
//! Everything here was written by users. What is malformed is not found; what would take without end has a limit.

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::cryptree::capability::RelativeCapability;
use pyrgos_protocol::cryptree::chunk::{CHUNK_SIZE, ChunkLabel, chunk_count, chunk_index, chunk_len, fit};
use pyrgos_protocol::cryptree::directory::ChildList;
use pyrgos_protocol::cryptree::node::{CryptreeNode, OpenNode};
use pyrgos_protocol::encoding::{Cid, FromCbor, Value, text};
use pyrgos_protocol::keys::{Owner, Writer};
use pyrgos_protocol::merkle::bat::BatWithId;
use pyrgos_protocol::merkle::champ::{Champ, KeyHashing};
use pyrgos_protocol::merkle::public::{PublicError, PublicFiles};
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_protocol::names::Username;

use super::storage::not_a_tree;
use super::view::{View, run};
use super::{Failure, Service};

/// How many link nodes may follow each other.
const MAX_LINKS: usize = 8;

/// Most chunks of a directory that are read: at 500 entries each, a hundred thousand.
const MAX_DIRECTORY_CHUNKS: usize = 200;

/// Most chunks of a file that is served, about a terabyte: finding the way to a late one costs hashes.
const MAX_FILE_CHUNKS: u64 = 200_000;

/// Most chunks of a file of old clients, which are found one by one.
const MAX_WALKED_CHUNKS: u64 = 2_000;

/// Most bytes of the fragments of one chunk of a file, which holds 5 MiB.
const MAX_CHUNK_BYTES: usize = 8 << 20;

/// Most bytes of the fragments of one chunk of a directory.
const MAX_LIST_BYTES: usize = 1 << 20;

/// Most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 100_000;

/// Most entries of the form of old clients that are looked at, each of which must be opened.
const MAX_UNNAMED: usize = 2_000;

/// What is at a published path.
pub enum Published {
    /// A file.
    File(PublishedFile),
    /// A directory.
    Directory(PublishedDirectory),
}

/// A published directory as it was when it was looked up.
pub struct PublishedDirectory(Opened);

/// A child of a published directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedChild {
    /// Its name.
    pub name: String,
    /// Whether the directory says that it is a directory too.
    pub is_directory: bool,
}

/// A published file as it was when it was looked up. Later changes do not reach it.
pub struct PublishedFile {
    first: Opened,
    /// Labels of all chunks, of a file of old clients.
    walked: Option<Vec<ChunkLabel>>,
}

impl PublishedFile {
    /// Length in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.first.open.properties().size_bytes
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.first.open.properties().name.as_str()
    }

    /// What its owner's client thinks that it is. Any text.
    pub fn mime_type(&self) -> &str {
        &self.first.open.properties().mime_type
    }

    /// Names this version of the content: two files with the same tag are the same, byte for byte.
    pub fn tag(&self) -> String {
        let version = [&self.first.root.to_bytes()[..], self.first.cap.map_key.as_bytes()].concat();
        text::hex(&sha256(&version)[..16])
    }

    /// Where a chunk is.
    pub fn chunk_at(&self, index: u64) -> Option<ChunkPosition> {
        if index >= chunk_count(self.size_bytes()) {
            return None;
        }
        let label = match (&self.walked, self.first.open.properties().stream_secret()) {
            (None, Some(secret)) => self.first.cap.label().advance(secret, index),
            (walked, _) => walked.as_ref()?.get(usize::try_from(index).ok()?)?.clone(),
        };
        Some(ChunkPosition { index, label })
    }

    /// Where the chunk after another one is.
    pub fn chunk_after(&self, position: &ChunkPosition) -> Option<ChunkPosition> {
        let index = position.index + 1;
        match (&self.walked, self.first.open.properties().stream_secret()) {
            (None, Some(secret)) if index < chunk_count(self.size_bytes()) => {
                Some(ChunkPosition { index, label: position.label.next(secret) })
            }
            _ => self.chunk_at(index),
        }
    }

    /// The chunk that holds the byte at an offset.
    pub fn chunk_of(&self, offset: u64) -> Option<ChunkPosition> {
        self.chunk_at(chunk_index(offset))
    }
}

/// One chunk of a file.
#[derive(Clone)]
pub struct ChunkPosition {
    index: u64,
    label: ChunkLabel,
}

impl ChunkPosition {
    /// Offset of its first byte in the file.
    pub fn start(&self) -> u64 {
        self.index * CHUNK_SIZE
    }
}

/// A node of a file tree and what opened it.
struct Opened {
    cap: AbsoluteCapability,
    /// The tree that it is in.
    root: Cid,
    node: CryptreeNode,
    open: OpenNode,
}

/// A refusal that comes from what users wrote means that nothing readable is there.
fn found<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Refused(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

impl Service {
    /// The first published capability on the way to a path, which begins with a username, and the rest of the path
    /// inside of it.
    ///
    /// # Errors
    /// The texts of existing nodes for users and paths that are not there.
    pub fn published_capability(&self, path: &[String]) -> Result<(AbsoluteCapability, Vec<String>), Failure> {
        let whole = path.join("/");
        let unknown = || Failure::refused(format!("Owner doesn't exist for path {whole}"));
        let user = path.first().ok_or_else(unknown)?;
        let username = Username::existing(user).map_err(|_| unknown())?;
        let owner = self.parts.names.chain(&username)?.owner().cloned().ok_or_else(unknown)?;
        let unpublished = || Failure::refused(format!("User {user} has not published a file at {whole}"));
        let view = View::new(&*self.parts.blocks, &owner);
        let data = self.current_data(&view, &owner, &(&owner).into())?;
        let block = data.and_then(|data| data.public).map_or(Ok(None), |public| view.get(&public))?;
        let files = block.and_then(|block| PublicFiles::from_bytes(&block).ok()).ok_or_else(unpublished)?;
        let published = match run(files.lookup(&view, &format!("/{whole}"))) {
            Ok(published) => published,
            Err(PublicError::Tree(error)) => found(Err(not_a_tree(error)))?,
            Err(_) => None,
        };
        let published = published.ok_or_else(unpublished)?;
        let rest = published.remaining_path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok((published.child.capability.ok_or_else(unpublished)?.read_only(), rest))
    }

    /// What is at a published path; none if nothing is published there or it cannot be read.
    pub fn published(&self, path: &[String]) -> Result<Option<Published>, Failure> {
        let Some((cap, rest)) = found(self.published_capability(path))? else { return Ok(None) };
        let Some(mut item) = self.open_target(cap)? else { return Ok(None) };
        for name in rest {
            if !item.open.properties().is_directory() {
                return Ok(None);
            }
            let Some(child) = self.child(&item, &name)? else { return Ok(None) };
            item = child;
        }
        self.publish(item)
    }

    /// A child of a published directory, by name.
    pub fn published_child(&self, directory: &PublishedDirectory, name: &str) -> Result<Option<Published>, Failure> {
        let Some(child) = self.child(&directory.0, name)? else { return Ok(None) };
        self.publish(child)
    }

    /// What an opened node is to the outside; none for a file that is too long to be served.
    fn publish(&self, item: Opened) -> Result<Option<Published>, Failure> {
        let properties = item.open.properties();
        if properties.is_directory() {
            return Ok(Some(Published::Directory(PublishedDirectory(item))));
        }
        let count = chunk_count(properties.size_bytes);
        let walked = match properties.stream_secret() {
            Some(_) if count > MAX_FILE_CHUNKS => return Ok(None),
            Some(_) => None,
            None => match self.walk(&item, count)? {
                None => return Ok(None),
                walked => walked,
            },
        };
        Ok(Some(Published::File(PublishedFile { first: item, walked })))
    }

    /// The children of a published directory, by name.
    pub fn published_children(&self, directory: &PublishedDirectory) -> Result<Vec<PublishedChild>, Failure> {
        let mut children = Vec::new();
        self.each_child(&directory.0, |name, _, is_directory| {
            children.push(PublishedChild { name: name.to_owned(), is_directory });
            false
        })?;
        children.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(children)
    }

    /// The content of one chunk, with the length that the file's size implies.
    ///
    /// # Errors
    /// [`Failure::Refused`] if the chunk is not there or cannot be read.
    pub fn published_chunk(&self, file: &PublishedFile, position: &ChunkPosition) -> Result<Bytes, Failure> {
        let unreadable = || Failure::refused("A chunk of the file cannot be read");
        let cap = file.first.cap.with_label(position.label.clone());
        let chunk = self.open_at(file.first.root.clone(), cap)?.ok_or_else(unreadable)?;
        if chunk.open.properties().is_directory() {
            return Err(unreadable());
        }
        let key = chunk.open.data_key(&chunk.cap.base_key).ok_or_else(unreadable)?;
        let blocks = self.fragments(&chunk, MAX_CHUNK_BYTES)?.ok_or_else(unreadable)?;
        let content = chunk.node.data().open_chunk(key, &blocks).map_err(|_| unreadable())?;
        Ok(fit(content, chunk_len(position.index, file.size_bytes())))
    }

    /// The current state of a writer.
    fn current_data(&self, view: &View<'_>, owner: &Owner, writer: &Writer) -> Result<Option<WriterData>, Failure> {
        let target = self.stored_target(owner, writer)?;
        let block = target.map_or(Ok(None), |target| view.get(&target))?;
        Ok(block.and_then(|block| WriterData::from_bytes(&block).ok()))
    }

    /// Opens what a capability leads to in the current state of its writer, links included.
    fn open_target(&self, cap: AbsoluteCapability) -> Result<Option<Opened>, Failure> {
        let mut cap = cap;
        for _ in 0..MAX_LINKS {
            let data = self.current_data(&View::new(&*self.parts.blocks, &cap.owner), &cap.owner, &cap.writer)?;
            let Some(root) = data.and_then(|data| data.tree) else { return Ok(None) };
            let Some(item) = self.open_at(root, cap)? else { return Ok(None) };
            if !item.open.properties().is_link {
                return Ok(Some(item));
            }
            // A link node has exactly one child (`spec/03` §1.10).
            let Some(list) = self.child_list(&item)? else { return Ok(None) };
            let mut targets = list.capabilities();
            let (Some(target), None) = (targets.next(), targets.next()) else { return Ok(None) };
            cap = target.to_absolute_read_only(&item.cap);
        }
        Ok(None)
    }

    /// Opens the node that a tree holds for a capability.
    fn open_at(&self, root: Cid, cap: AbsoluteCapability) -> Result<Option<Opened>, Failure> {
        let view = View::new(&*self.parts.blocks, &cap.owner);
        let champ = Champ::new(&view, KeyHashing::Identity);
        let value = found(run(champ.get(&root, cap.map_key.as_bytes())).map_err(not_a_tree))?.flatten();
        let Some(Value::Link(cid)) = value else { return Ok(None) };
        let bat = cap.bat.clone().map(BatWithId::by_content);
        let Some(block) = found(self.read_guarded(&view, &cid, bat.as_ref()))?.flatten() else { return Ok(None) };
        let Ok(node) = CryptreeNode::from_block(&block) else { return Ok(None) };
        let Ok(open) = node.open(&cap.base_key) else { return Ok(None) };
        Ok(Some(Opened { cap, root, node, open }))
    }

    /// The fragments of a node's data; none if one is missing or closed, or they are too many.
    fn fragments(&self, item: &Opened, max_bytes: usize) -> Result<Option<Vec<Bytes>>, Failure> {
        let view = View::new(&*self.parts.blocks, &item.cap.owner);
        let mut blocks = Vec::new();
        let mut bytes = 0;
        for fragment in item.node.data().fragments() {
            let block = found(self.read_guarded(&view, &fragment.cid, fragment.bat.as_ref()))?.flatten();
            let Some(block) = block else { return Ok(None) };
            bytes += block.len();
            if bytes > max_bytes {
                return Ok(None);
            }
            blocks.push(block);
        }
        Ok(Some(blocks))
    }

    /// The child list in one chunk of a directory.
    fn child_list(&self, item: &Opened) -> Result<Option<ChildList>, Failure> {
        let Some(blocks) = self.fragments(item, MAX_LIST_BYTES)? else { return Ok(None) };
        let list = item.node.data().open(&item.cap.base_key, &blocks);
        Ok(list.ok().and_then(|list| ChildList::from_cbor(&list).ok()))
    }

    /// Shows each child of a directory, with its name, capability and whether it is a directory, until one is accepted.
    fn each_child(
        &self,
        directory: &Opened,
        mut accept: impl FnMut(&str, &RelativeCapability, bool) -> bool,
    ) -> Result<(), Failure> {
        let mut label = directory.cap.label();
        let (mut entries_seen, mut unnamed_seen) = (0, 0);
        for _ in 0..MAX_DIRECTORY_CHUNKS {
            let chunk = self.open_at(directory.root.clone(), directory.cap.with_label(label.clone()))?;
            let Some(chunk) = chunk else { return Ok(()) };
            match self.child_list(&chunk)? {
                None => return Ok(()),
                Some(ChildList::Named(entries)) => {
                    entries_seen += entries.len();
                    for entry in &entries {
                        let is_directory = entry.hints.is_directory.unwrap_or_default();
                        if accept(entry.name.as_str(), &entry.cap, is_directory) {
                            return Ok(());
                        }
                    }
                }
                // The form of old clients: each name is in the child itself.
                Some(ChildList::Unnamed(caps)) => {
                    unnamed_seen += caps.len();
                    if unnamed_seen > MAX_UNNAMED {
                        return Ok(());
                    }
                    for cap in &caps {
                        let Some(child) = self.open_target(cap.to_absolute_read_only(&chunk.cap))? else { continue };
                        let properties = child.open.properties();
                        if accept(properties.name.as_str(), cap, properties.is_directory()) {
                            return Ok(());
                        }
                    }
                }
            }
            let Some(base) = chunk.open.base_block() else { return Ok(()) };
            let next = base.next.label();
            if next.map_key == label.map_key || entries_seen > MAX_ENTRIES {
                return Ok(());
            }
            label = next;
        }
        Ok(())
    }

    fn child(&self, directory: &Opened, name: &str) -> Result<Option<Opened>, Failure> {
        let mut target = None;
        self.each_child(directory, |child, cap, _| {
            let is_it = child == name;
            if is_it {
                target = Some(cap.to_absolute_read_only(&directory.cap));
            }
            is_it
        })?;
        target.map_or(Ok(None), |cap| self.open_target(cap))
    }

    /// The labels of all chunks of a file without a stream secret, found from one to the next.
    fn walk(&self, file: &Opened, count: u64) -> Result<Option<Vec<ChunkLabel>>, Failure> {
        if count > MAX_WALKED_CHUNKS {
            return Ok(None);
        }
        let mut labels = vec![file.cap.label()];
        let mut next = file.open.base_block().map(|base| base.next.label());
        while (labels.len() as u64) < count {
            let Some(label) = next else { return Ok(None) };
            let chunk = self.open_at(file.root.clone(), file.cap.with_label(label.clone()))?;
            let Some(chunk) = chunk else { return Ok(None) };
            labels.push(label);
            next = chunk.open.base_block().map(|base| base.next.label());
        }
        Ok(Some(labels))
    }
}
