//! One consistent look at an account's tree, and the changes that are to be made to it.
//!
//! A view reads the pointer of each writing space once and resolves everything from the state that it names. Changes
//! gather in memory: directories as lists of entries that are encrypted once at the end, nodes as blocks. Reading sees
//! them. [`commit`](super::commit) publishes them with a compare-and-swap; whoever loses the race starts again with a
//! new view, so that no device overwrites what another one wrote.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::core::Core;
use super::error::{ClientError, ErrorKind};
use super::identity::IdentityChanges;
use super::item::{Item, Reached, Signer, data_error};
use super::network::Version;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::tree;
use crate::api::{ApiError, Transport};
use crate::cryptree::capability::{AbsoluteCapability, Location, NamedRelativeCapability};
use crate::cryptree::chunk::{ChunkLabel, MapKey};
use crate::cryptree::directory::ChildList;
use crate::cryptree::fragments::{Fragment, FragmentBlock, NodeData};
use crate::cryptree::name::FileName;
use crate::cryptree::node::{BaseBlock, CryptreeNode};
use crate::encoding::{Cid, FromCbor, Value};
use crate::keys::{Owner, OwnerProof, SymmetricKey, Writer};

/// How many link nodes may follow each other before a cycle is assumed.
const MAX_LINKS: usize = 8;

/// Most chunks of one directory that are followed: at 500 entries each, half a million.
const MAX_DIRECTORY_CHUNKS: usize = 1024;

/// The changes to one writing space.
pub(crate) struct Space {
    pub signer: Signer,
    /// The new node of each changed label; none removes the label.
    pub changes: BTreeMap<MapKey, Option<(Cid, Bytes)>>,
    /// Fragments that the changed nodes refer to and that were not sent yet.
    pub fragments: Vec<FragmentBlock>,
    /// Proofs of writers that this one owns from now on.
    pub owned: Vec<OwnerProof>,
    /// Writers that this one owns no longer.
    pub disowned: Vec<Writer>,
    /// Whether the space ends: its pointer becomes empty.
    pub ended: bool,
    /// The space around it, if it comes into being with these changes.
    pub begins_in: Option<Writer>,
    /// What changes of the links and published files, if it is the account's identity.
    pub identity: IdentityChanges,
}

/// A directory with all its entries.
pub(crate) struct Directory {
    /// Its first chunk.
    pub item: Item,
    pub chunks: Vec<ChunkState>,
}

/// One chunk of a directory.
pub(crate) struct ChunkState {
    pub map_key: MapKey,
    pub node: CryptreeNode,
    /// Names the parent key and the label that is reserved for the chunk after it.
    pub base: BaseBlock,
    pub children: ChildList,
    pub changed: bool,
}

impl Directory {
    pub(crate) fn entry(&self, name: &FileName) -> Option<&NamedRelativeCapability> {
        self.chunks.iter().find_map(|chunk| chunk.children.get(name.as_str()))
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &NamedRelativeCapability> {
        self.chunks.iter().flat_map(|chunk| chunk.children.named().unwrap_or_default())
    }
}

/// One of several nodes that were opened together: absent ones are none, and damaged ones the failure.
pub(crate) type Opened = Result<Option<Item>, ClientError>;

/// See the module.
pub(crate) struct View<'s, T, R> {
    pub core: &'s Core<T, R>,
    pub versions: HashMap<Writer, Version>,
    /// Whose the writing spaces of other users are, as the capabilities say that led there.
    owners: HashMap<Writer, Owner>,
    pub spaces: HashMap<Writer, Space>,
    pub directories: HashMap<Location, Directory>,
}

impl<'s, T: Transport, R: Runtime> View<'s, T, R> {
    pub(crate) fn new(core: &'s Core<T, R>) -> Self {
        View {
            core,
            versions: HashMap::new(),
            owners: HashMap::new(),
            spaces: HashMap::new(),
            directories: HashMap::new(),
        }
    }

    /// A view of the same state to read on, without changes.
    pub(crate) fn copy(&self) -> View<'s, T, R> {
        let (versions, owners) = (self.versions.clone(), self.owners.clone());
        View { versions, owners, ..View::new(self.core) }
    }

    /// Takes over what a copy has read. What was changed here meanwhile stays.
    pub(crate) fn absorb(&mut self, copy: View<'s, T, R>) {
        for (writer, version) in copy.versions {
            self.versions.entry(writer).or_insert(version);
        }
        for (writer, owner) in copy.owners {
            self.owners.entry(writer).or_insert(owner);
        }
    }

    /// Whose a writing space is: the account's own unless a capability of somebody else led there.
    pub(crate) fn owner_of(&self, writer: &Writer) -> &Owner {
        self.owners.get(writer).unwrap_or(&self.core.tree.owner)
    }

    /// Remembers whose a writing space is before it is first read.
    pub(crate) fn note_owner(&mut self, cap: &AbsoluteCapability) {
        self.note_space(&cap.writer, &cap.owner);
    }

    /// As [`View::note_owner`].
    pub(crate) fn note_space(&mut self, writer: &Writer, owner: &Owner) {
        let tree = &self.core.tree;
        if *owner != tree.owner && *writer != tree.root.writer && !self.versions.contains_key(writer) {
            self.owners.insert(writer.clone(), owner.clone());
        }
    }

    /// The version of a space that this view reads.
    pub(crate) async fn version(&mut self, writer: &Writer) -> Result<&Version, ClientError> {
        if !self.versions.contains_key(writer) {
            let version = self.core.network.version(self.owner_of(writer), writer).await?;
            self.versions.insert(writer.clone(), version);
        }
        Ok(&self.versions[writer])
    }

    /// The node blocks at labels of one space, changes of this view included. Absence is proven by the space's tree.
    pub(crate) async fn blocks(
        &mut self,
        writer: &Writer,
        labels: &[ChunkLabel],
    ) -> Result<Vec<Option<(Cid, Bytes)>>, ClientError> {
        let root = self.version(writer).await?.data.as_ref().and_then(|data| data.tree.clone());
        let changes = self.spaces.get(writer).map(|space| &space.changes);
        let changed = |label: &ChunkLabel| changes.and_then(|changes| changes.get(&label.map_key));
        let unchanged: Vec<ChunkLabel> = labels.iter().filter(|label| changed(label).is_none()).cloned().collect();
        let stored = match root {
            Some(root) if !unchanged.is_empty() => {
                tree::lookup(&self.core.network, self.owner_of(writer), &root, &unchanged).await?
            }
            _ => vec![None; unchanged.len()],
        };
        let mut stored = stored.into_iter();
        let block = |label: &ChunkLabel| match changed(label) {
            Some(change) => change.clone(),
            None => stored.next().flatten(),
        };
        Ok(labels.iter().map(block).collect())
    }

    /// Opens nodes, each by its capability; absent ones are none. Links are not followed.
    pub(crate) async fn open(&mut self, reached: &[Reached]) -> Result<Vec<Option<Item>>, ClientError> {
        self.open_each(reached).await?.into_iter().collect()
    }

    /// As [`View::open`]; a node that cannot be read fails by itself.
    async fn open_each(&mut self, reached: &[Reached]) -> Result<Vec<Opened>, ClientError> {
        let mut by_writer: BTreeMap<&Writer, Vec<usize>> = BTreeMap::new();
        for (at, reached) in reached.iter().enumerate() {
            self.note_owner(&reached.cap);
            by_writer.entry(&reached.cap.writer).or_default().push(at);
        }
        let mut items: Vec<Opened> = reached.iter().map(|_| Ok(None)).collect();
        let mut pending: Vec<(&Writer, Vec<usize>)> = by_writer.into_iter().collect();
        while let Some((writer, mut positions)) = pending.pop() {
            let labels: Vec<ChunkLabel> = positions.iter().map(|at| reached[*at].cap.label()).collect();
            let blocks = match self.blocks(writer, &labels).await {
                // One whose token does not fit fails all that are looked up with it (`spec/02` §12.2).
                Err(ClientError::Refused { source: ApiError::Unauthorised, .. }) => {
                    match positions[..] {
                        [only] => items[only] = Err(ClientError::Locked),
                        _ => {
                            let others = positions.split_off(positions.len() / 2);
                            pending.extend([(writer, positions), (writer, others)]);
                        }
                    }
                    continue;
                }
                blocks => blocks?,
            };
            for (at, block) in positions.into_iter().zip(blocks) {
                if let Some((cid, block)) = block {
                    items[at] = Item::open(&reached[at], cid, &block).map(Some);
                }
            }
        }
        Ok(items)
    }

    /// Opens nodes and follows links: an item that was reached through a link node carries it, and its name.
    pub(crate) async fn open_targets(&mut self, reached: &[Reached]) -> Result<Vec<Option<Item>>, ClientError> {
        self.open_each_target(reached).await?.into_iter().collect()
    }

    /// As [`View::open_targets`]; what cannot be read fails by itself.
    pub(crate) async fn open_each_target(&mut self, reached: &[Reached]) -> Result<Vec<Opened>, ClientError> {
        let mut items = self.open_each(reached).await?;
        for _ in 0..MAX_LINKS {
            let (mut links, mut targets) = (Vec::new(), Vec::new());
            for (at, item) in items.iter_mut().enumerate() {
                let Ok(Some(link)) = item else { continue };
                if !link.is_link() {
                    continue;
                }
                match self.link_target(link).await {
                    Ok(target) => {
                        links.push(at);
                        targets.push(target);
                    }
                    Err(error) if error.kind() == ErrorKind::Damaged => *item = Err(error),
                    Err(error) => return Err(error),
                }
            }
            if links.is_empty() {
                return Ok(items);
            }
            for (at, target) in links.into_iter().zip(self.open_each(&targets).await?) {
                let link = std::mem::replace(&mut items[at], Ok(None));
                items[at] = match (link, target) {
                    (Ok(Some(link)), Ok(Some(target))) => Ok(Some(target.through(link))),
                    (_, Err(error)) => Err(error),
                    _ => Ok(None),
                };
            }
        }
        for item in items.iter_mut().filter(|item| matches!(item, Ok(Some(item)) if item.is_link())) {
            *item = Err(ClientError::Inconsistent("a chain of links does not end"));
        }
        Ok(items)
    }

    /// What a link node leads to: its only child (`spec/03` §1.10).
    async fn link_target(&mut self, link: &Item) -> Result<Reached, ClientError> {
        let children = self.children(&link.cap.owner, &link.node, &link.cap.base_key).await?;
        let mut targets = children.capabilities();
        match (targets.next(), targets.next()) {
            (Some(target), None) => link.child(target),
            _ => Err(ClientError::Inconsistent("a link node without exactly one child")),
        }
    }

    /// The root of the tree: the user's home directory, or what a link leads to.
    pub(crate) async fn home(&mut self) -> Result<Item, ClientError> {
        let home = Reached { cap: self.core.tree.root.clone(), signer: None };
        let items = self.open_targets(&[home]).await?;
        items.into_iter().next().flatten().ok_or(ClientError::Inconsistent("the root of the tree is absent"))
    }

    /// What a path leads to: in the account's own tree, or in what others share with it.
    pub(crate) async fn resolve(&mut self, path: &RemotePath) -> Result<Item, ClientError> {
        match self.core.is_own(path) {
            true => self.resolve_own(path).await,
            false => self.resolve_shared(path).await,
        }
    }

    /// What a path in the session's own tree leads to.
    pub(crate) async fn resolve_own(&mut self, path: &RemotePath) -> Result<Item, ClientError> {
        let not_found = || ClientError::NotFound { path: path.clone() };
        let mut item = self.home().await?;
        let names = path.names().strip_prefix(&self.core.tree.above[..]).ok_or_else(not_found)?;
        for name in names {
            if !item.is_directory() {
                return Err(not_found());
            }
            item = self.child(&item, name).await?.ok_or_else(not_found)?;
        }
        Ok(item)
    }

    /// The directory that a path in the account's own tree leads to.
    pub(crate) async fn resolve_own_directory(&mut self, path: &RemotePath) -> Result<Item, ClientError> {
        let item = self.resolve_own(path).await?;
        match item.is_directory() {
            true => Ok(item),
            false => Err(ClientError::NotADirectory { path: path.clone() }),
        }
    }

    /// The directory that a path leads to.
    pub(crate) async fn resolve_directory(&mut self, path: &RemotePath) -> Result<Item, ClientError> {
        let item = self.resolve(path).await?;
        match item.is_directory() {
            true => Ok(item),
            false => Err(ClientError::NotADirectory { path: path.clone() }),
        }
    }

    /// The child of this name; none if there is no entry, or if it leads nowhere.
    pub(crate) async fn child(&mut self, directory: &Item, name: &FileName) -> Result<Option<Item>, ClientError> {
        let directory = self.directory_on_the_way_to(directory, Some(name)).await?;
        let Some(entry) = directory.entry(name) else { return Ok(None) };
        let reached = directory.item.child(&entry.cap)?;
        Ok(self.open_targets(&[reached]).await?.into_iter().next().flatten())
    }

    /// All chunks of a directory, decrypted.
    pub(crate) async fn directory(&mut self, item: &Item) -> Result<&mut Directory, ClientError> {
        self.directory_on_the_way_to(item, None).await
    }

    /// As [`View::directory`], for who will open the child of a name next: it is fetched along with the rest.
    async fn directory_on_the_way_to(
        &mut self,
        item: &Item,
        child: Option<&FileName>,
    ) -> Result<&mut Directory, ClientError> {
        let location = item.cap.location();
        match self.directories.get_mut(&location) {
            // The first way to it may have allowed less than this one.
            Some(known) if known.item.signer.is_none() && item.signer.is_some() => known.item = item.clone(),
            Some(_) => {}
            None => {
                let directory = self.load(item, child).await?;
                self.directories.insert(location.clone(), directory);
            }
        }
        self.directories.get_mut(&location).ok_or(ClientError::Inconsistent("a directory vanished from the view"))
    }

    async fn load(&mut self, item: &Item, child: Option<&FileName>) -> Result<Directory, ClientError> {
        let mut chunks: Vec<ChunkState> = Vec::new();
        let mut chunk = Some(item.clone());
        while let Some(item) = chunk.take() {
            let children = self.children(&item.cap.owner, &item.node, &item.cap.base_key).await?;
            let children = self.named(&item, children).await?;
            let base = item.base()?.clone();
            let next = base.next.label();
            let child =
                child.and_then(|name| children.get(name.as_str())).and_then(|entry| item.child(&entry.cap).ok());
            let state =
                ChunkState { map_key: item.cap.map_key, node: item.node.clone(), base, children, changed: false };
            chunks.push(state);
            if chunks.len() == MAX_DIRECTORY_CHUNKS {
                return Err(ClientError::Limit("the directory has more chunks than this client follows"));
            }
            // A circle would otherwise be followed until the limit.
            if chunks.iter().any(|chunk| chunk.map_key == next.map_key) {
                return Err(ClientError::Inconsistent("the chunks of a directory form a circle"));
            }
            let later = Reached { cap: item.cap.with_label(next), signer: item.signer.clone() };
            let reached: Vec<Reached> = [later].into_iter().chain(child).collect();
            chunk = self.open_each(&reached).await?.into_iter().next().transpose()?.flatten();
        }
        Ok(Directory { item: item.clone(), chunks })
    }

    /// Fetches what it takes to open some children of directories, and to know where the directories end, with as few
    /// calls as there are spaces. What cannot be read is noticed when it is opened.
    pub(crate) async fn read_ahead(
        &mut self,
        directories: &[Item],
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(), ClientError> {
        let mut reached = Vec::new();
        for item in directories {
            let children = self.children(&item.cap.owner, &item.node, &item.cap.base_key).await?;
            // Somebody else's directory may hold a name very often; only the first one is ever found.
            let mut names = HashSet::new();
            let entries = children.named().unwrap_or_default().iter();
            let wanted = entries.filter(|entry| is_wanted(entry.name.as_str()) && names.insert(entry.name.as_str()));
            reached.extend(wanted.filter_map(|entry| item.child(&entry.cap).ok()));
            let next = item.cap.with_label(item.base()?.next.label());
            reached.push(Reached { cap: next, signer: item.signer.clone() });
        }
        self.open_each_target(&reached).await.map(drop)
    }

    /// The child list in one chunk of a directory or link node.
    async fn children(&self, owner: &Owner, node: &CryptreeNode, key: &SymmetricKey) -> Result<ChildList, ClientError> {
        let list = self.open_data(owner, node.data(), key).await?;
        ChildList::from_cbor(&list).map_err(ClientError::damaged("a directory"))
    }

    /// Gives the entries of the old form the names in their children's own properties (`spec/03` §4.1).
    async fn named(&mut self, directory: &Item, children: ChildList) -> Result<ChildList, ClientError> {
        let ChildList::Unnamed(caps) = children else { return Ok(children) };
        let reached: Vec<Reached> = caps.iter().map(|cap| directory.child(cap)).collect::<Result<_, _>>()?;
        let items = self.open(&reached).await?;
        let entries = caps.into_iter().zip(items).filter_map(|(cap, item)| {
            let properties = item?.properties().clone();
            let hints = crate::cryptree::capability::Hints::of(&properties);
            Some(NamedRelativeCapability { name: properties.name.into(), cap, hints })
        });
        Ok(ChildList::Named(entries.collect()))
    }

    /// Decrypts the data of a node, fetching its fragments.
    pub(crate) async fn open_data(
        &self,
        owner: &Owner,
        data: &NodeData,
        key: &SymmetricKey,
    ) -> Result<Value, ClientError> {
        let core = self.core;
        let blocks = self.fragments(owner, data).await?;
        let (data, key) = (data.clone(), key.clone());
        let opened = if blocks.is_empty() {
            data.open(&key, &blocks)
        } else {
            core.network.runtime.compute(move || data.open(&key, &blocks)).await
        };
        opened.map_err(data_error("the content of a node"))
    }

    /// The fragments of a node, those that were not sent yet included.
    pub(crate) async fn fragments(&self, owner: &Owner, data: &NodeData) -> Result<Vec<Bytes>, ClientError> {
        let core = self.core;
        let unsent: HashMap<&Cid, &FragmentBlock> =
            self.spaces.values().flat_map(|space| &space.fragments).map(|block| (block.cid(), block)).collect();
        let fetch = |fragment: &Fragment| {
            let fragment = fragment.clone();
            let unsent = unsent.get(&fragment.cid).map(|block| block.to_block());
            async move {
                match unsent {
                    Some(block) => Ok(block),
                    None => core.network.block(owner, &fragment.cid, fragment.bat.as_ref()).await,
                }
            }
        };
        let fetches: Vec<_> = data.fragments().iter().map(fetch).collect();
        stream::iter(fetches).buffered(core.network.settings.calls_in_flight.max(1)).try_collect().await
    }

    /// Refuses an item that this session may not change.
    pub(crate) fn writable<'i>(&self, item: &'i Item, path: &RemotePath) -> Result<&'i Signer, ClientError> {
        item.signer.as_ref().ok_or_else(|| ClientError::ReadOnly { path: path.clone() })
    }

    /// The changes of the space that an item lies in, if this session may change it.
    pub(crate) fn space(&mut self, item: &Item, path: &RemotePath) -> Result<&mut Space, ClientError> {
        let signer = self.writable(item, path)?.clone();
        Ok(self.space_of(&signer))
    }

    /// The changes of a signer's space.
    pub(crate) fn space_of(&mut self, signer: &Signer) -> &mut Space {
        self.spaces.entry(signer.writer()).or_insert_with(|| Space {
            signer: signer.clone(),
            changes: BTreeMap::new(),
            fragments: Vec::new(),
            owned: Vec::new(),
            disowned: Vec::new(),
            ended: false,
            begins_in: None,
            identity: IdentityChanges::default(),
        })
    }
}

impl Space {
    /// Puts a node under a label.
    pub(crate) fn put(&mut self, key: MapKey, node: &CryptreeNode) {
        self.changes.insert(key, Some(node.to_block()));
    }

    /// Removes a label, if it is there.
    pub(crate) fn remove(&mut self, key: MapKey) {
        self.changes.insert(key, None);
    }
}
