//! Changes to the tree that a view sees: new directories and files, removal, renaming, moving.
//!
//! Each function applies one change to a [`View`] and sends nothing. A change names what it is about by path, never by
//! what an earlier view found there, so that it can be applied again after a lost race.

use super::error::ClientError;
use super::item::{Item, Reached, capability_error, node_error};
use super::layout::FileLayout;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::seal::SealedContent;
use super::view::{ChunkState, Directory, View};
use crate::api::Transport;
use crate::cryptree::capability::{Hints, Location, NamedRelativeCapability, RelativeCapability};
use crate::cryptree::chunk::MapKey;
use crate::cryptree::directory::{Added, ChildList, DirectoryChunk, DirectoryKeys, EditError};
use crate::cryptree::file::FileKeys;
use crate::cryptree::name::FileName;
use crate::cryptree::node::{CryptreeNode, ParentBlock};
use crate::cryptree::properties::{FileProperties, Kind, Thumbnail, Timestamp};
use crate::merkle::bat::BatId;

/// What happens when something of the name is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IfExists {
    /// The call fails with [`ClientError::Exists`].
    #[default]
    Fail,
    /// The file's content is replaced; its capability, and with it what is shared, stays. A directory is never replaced.
    Replace,
    /// What is there stays as it is.
    Skip,
}

/// What a file is made of, besides where it goes.
#[derive(Clone)]
pub(crate) struct FileMeta {
    pub size_bytes: u64,
    pub mime_type: String,
    pub created: Timestamp,
    pub modified: Timestamp,
    pub is_hidden: bool,
    pub thumbnail: Option<Thumbnail>,
}

/// A place for a file: its directory and its name there.
pub(crate) struct Place<'a> {
    pub parent: &'a Item,
    pub name: &'a FileName,
    /// The path of the file.
    pub path: &'a RemotePath,
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// The mirror token for nodes in a directory.
    pub(crate) fn mirror_in(&self, directory: &Item) -> Option<BatId> {
        directory.mirror(self.core.mirror_of(&directory.cap.owner))
    }

    /// Puts a changed node in the place of an item's first chunk.
    fn put_node(&mut self, item: &Item, path: &RemotePath, node: CryptreeNode) -> Result<(), ClientError> {
        self.space(item, path)?.put(item.cap.map_key, &node);
        if let Some(directory) = self.directories.get_mut(&item.cap.location()) {
            let (cid, _) = node.to_block();
            let reached = Reached { cap: item.cap.clone(), signer: item.signer.clone() };
            directory.item = Item { link: item.link.clone(), ..Item::of_node(&reached, cid, node.clone())? };
            if let Some(first) = directory.chunks.first_mut() {
                first.node = node;
            }
        }
        Ok(())
    }

    /// Adds an entry to a directory. Its name must be free in all chunks.
    pub(crate) async fn add_entry(
        &mut self,
        directory: &Item,
        path: &RemotePath,
        entry: NamedRelativeCapability,
    ) -> Result<(), ClientError> {
        self.writable(directory, path)?;
        let mirror = self.mirror_in(directory);
        let mut rng = self.core.network.runtime.rng();
        let state = self.directory(directory).await?;
        if state.chunks.iter().any(|chunk| chunk.children.get(entry.name.as_str()).is_some()) {
            return Err(ClientError::Exists { path: path.clone() });
        }
        let mut new = vec![entry];
        for at in 0..state.chunks.len() {
            let next_exists = at + 1 < state.chunks.len();
            let chunk = &mut state.chunks[at];
            match chunk.children.add(new, next_exists).map_err(|error| edit_error(path, error))? {
                Added::Here => {
                    chunk.changed = true;
                    break;
                }
                Added::PassOn(rest) => new = rest,
                Added::NewChunks { changed, chunks } => {
                    chunk.changed |= changed;
                    for children in chunks {
                        let last = state.chunks.last().map(|chunk| chunk.base.clone());
                        let before = last.ok_or(ClientError::Inconsistent("a directory without chunks"))?;
                        let parent = state.item.parent_block().parent.clone();
                        let key = state.item.cap.base_key.clone();
                        // The list is sealed with the commit, when all entries are known.
                        let empty = ChildList::default();
                        let later =
                            DirectoryChunk::later(key.clone(), &before, parent, empty, mirror.clone(), &mut rng);
                        let map_key = later.label.map_key;
                        let (node, _) = later.build(&mut rng).map_err(node_error)?;
                        let open = node.open(&key).map_err(node_error)?;
                        let base = open.base_block().ok_or(ClientError::WrongKey("a new directory chunk"))?.clone();
                        state.chunks.push(ChunkState { map_key, node, base, children, changed: true });
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Makes an empty directory and its entry.
    pub(crate) async fn make_directory(&mut self, place: &Place<'_>, is_hidden: bool) -> Result<Item, ClientError> {
        let Place { parent, name, path } = *place;
        self.writable(parent, path)?;
        if self.directory(parent).await?.entry(name).is_some() {
            return Err(ClientError::Exists { path: path.clone() });
        }
        let runtime = &self.core.network.runtime;
        let (mut rng, now) = (runtime.rng(), runtime.now());
        let mirror = self.mirror_in(parent);
        let keys = DirectoryKeys::generate(&mut rng);
        let cap = keys.capability(parent.cap.owner.clone(), parent.cap.writer.clone());
        let properties = FileProperties::directory(name.clone(), now, is_hidden);
        let entry =
            NamedRelativeCapability::entry(&cap, &properties, &parent.cap, &mut rng).map_err(capability_error)?;
        let block = ParentBlock { parent: Some(parent.parent_link(&cap)?), properties };
        let chunk = DirectoryChunk::first(&keys, block, mirror, &mut rng);
        let (node, _) = chunk.build(&mut rng).map_err(node_error)?;

        self.add_entry(parent, path, entry).await?;
        self.space(parent, path)?.put(cap.map_key, &node);
        let (cid, _) = node.to_block();
        let item = Item::of_node(&Reached { cap, signer: parent.signer.clone() }, cid, node)?;
        let state = ChunkState {
            map_key: item.cap.map_key,
            node: item.node.clone(),
            base: item.base()?.clone(),
            children: ChildList::default(),
            changed: false,
        };
        self.directories.insert(item.cap.location(), Directory { item: item.clone(), chunks: vec![state] });
        Ok(item)
    }

    /// The directory of this name, made if it is absent.
    pub(crate) async fn require_directory(&mut self, place: &Place<'_>, is_hidden: bool) -> Result<Item, ClientError> {
        match self.child_at(place.parent, place.name, place.path).await? {
            Some(item) if item.is_directory() => Ok(item),
            Some(_) => Err(ClientError::NotADirectory { path: place.path.clone() }),
            None => {
                self.writable(place.parent, place.path)?;
                self.drop_dangling(place).await?;
                self.make_directory(place, is_hidden).await
            }
        }
    }

    /// Puts a whole file into its place. Returns whether anything was done.
    pub(crate) async fn put_file(
        &mut self,
        place: &Place<'_>,
        meta: &FileMeta,
        content: &SealedContent,
        if_exists: IfExists,
    ) -> Result<bool, ClientError> {
        match self.child_at(place.parent, place.name, place.path).await? {
            Some(_) if if_exists == IfExists::Fail => Err(ClientError::Exists { path: place.path.clone() }),
            Some(_) if if_exists == IfExists::Skip => Ok(false),
            Some(existing) if existing.is_directory() => Err(ClientError::IsADirectory { path: place.path.clone() }),
            Some(existing) => {
                self.replace_content(place.path, &existing, meta, content).await?;
                Ok(true)
            }
            None => {
                self.writable(place.parent, place.path)?;
                self.drop_dangling(place).await?;
                let fresh = FileKeys::generate(&mut self.core.network.runtime.rng());
                let keys = FileKeys { data: content.data_key.clone(), ..fresh };
                let layout = self.layout(place, meta, keys.clone())?;
                let tree = content.hash_tree()?;
                let mut rng = self.core.network.runtime.rng();
                let nodes = layout.nodes(0, &content.chunks, Some(&tree), &mut rng)?;
                self.put_chunks(place, nodes, content)?;
                self.enter_file(place, meta, &keys).await?;
                Ok(true)
            }
        }
    }

    /// How a new file will lie in its place.
    pub(crate) fn layout(&self, place: &Place<'_>, meta: &FileMeta, keys: FileKeys) -> Result<FileLayout, ClientError> {
        let cap = keys.capability(place.parent.cap.owner.clone(), place.parent.cap.writer.clone());
        let properties = FileProperties {
            name: place.name.clone(),
            kind: Kind::File(Some(keys.stream_secret.clone())),
            is_link: false,
            is_hidden: meta.is_hidden,
            mime_type: meta.mime_type.clone(),
            size_bytes: meta.size_bytes,
            modified: meta.modified,
            created: meta.created,
            thumbnail: meta.thumbnail.clone(),
            tree_hash: None,
        };
        let parent = Some(place.parent.parent_link(&cap)?);
        Ok(FileLayout { keys, properties, parent, mirror: self.mirror_in(place.parent), signer: None })
    }

    fn put_chunks(
        &mut self,
        place: &Place<'_>,
        nodes: Vec<(MapKey, CryptreeNode)>,
        content: &SealedContent,
    ) -> Result<(), ClientError> {
        let space = self.space(place.parent, place.path)?;
        nodes.iter().for_each(|(label, node)| space.put(*label, node));
        space.fragments.extend(content.chunks.iter().flat_map(|chunk| chunk.fragments.iter().cloned()));
        Ok(())
    }

    /// Adds the entry of a new file, whose nodes are in the tree or will be with the same commit.
    pub(crate) async fn enter_file(
        &mut self,
        place: &Place<'_>,
        meta: &FileMeta,
        keys: &FileKeys,
    ) -> Result<(), ClientError> {
        let parent = place.parent;
        let cap = keys.capability(parent.cap.owner.clone(), parent.cap.writer.clone());
        let relative = RelativeCapability::new(&cap, &parent.cap, &mut self.core.network.runtime.rng());
        let entry = NamedRelativeCapability {
            name: place.name.clone().into(),
            cap: relative.map_err(capability_error)?,
            hints: Hints {
                is_directory: Some(false),
                mime_type: Some(meta.mime_type.clone()),
                created_secs: Some(meta.created.seconds()),
            },
        };
        self.add_entry(parent, place.path, entry).await
    }

    /// Replaces the content of a file; its capability stays. The data key becomes a new one, which also cleans a dirty
    /// file (`spec/03` §3.6, §3.8).
    pub(crate) async fn replace_content(
        &mut self,
        path: &RemotePath,
        existing: &Item,
        meta: &FileMeta,
        content: &SealedContent,
    ) -> Result<(), ClientError> {
        let old_labels = self.file_labels(existing).await?;
        let mut rng = self.core.network.runtime.rng();
        let fresh = FileKeys::generate(&mut rng);
        let stream_secret = match existing.properties().stream_secret() {
            Some(secret) if !existing.open.is_dirty() => secret.clone(),
            _ => fresh.stream_secret,
        };
        let properties = FileProperties {
            kind: Kind::File(Some(stream_secret.clone())),
            mime_type: meta.mime_type.clone(),
            size_bytes: meta.size_bytes,
            modified: meta.modified,
            thumbnail: meta.thumbnail.clone(),
            tree_hash: None,
            ..existing.properties().clone()
        };
        let layout = FileLayout {
            keys: FileKeys {
                base: existing.cap.base_key.clone(),
                base_write: existing.cap.base_write_key.clone().unwrap_or(fresh.base_write),
                data: content.data_key.clone(),
                stream_secret,
                first: existing.cap.label(),
            },
            properties,
            parent: existing.parent_block().parent.clone(),
            mirror: existing.mirror(self.core.mirror_of(&existing.cap.owner)),
            signer: existing.base()?.signer.clone(),
        };
        let nodes = layout.nodes(0, &content.chunks, Some(&content.hash_tree()?), &mut rng)?;
        let space = self.space(existing, path)?;
        old_labels.iter().for_each(|label| space.remove(label.map_key));
        nodes.iter().for_each(|(label, node)| space.put(*label, node));
        space.fragments.extend(content.chunks.iter().flat_map(|chunk| chunk.fragments.iter().cloned()));
        Ok(())
    }

    /// Removes an entry whose child is gone, so that the name is free.
    async fn drop_dangling(&mut self, place: &Place<'_>) -> Result<(), ClientError> {
        let state = self.directory(place.parent).await?;
        let (owner, writer) = (&place.parent.cap.owner, &place.parent.cap.writer);
        let location = state.entry(place.name).map(|entry| entry.cap.location(owner, writer));
        match location {
            Some(location) => self.remove_entry(place.parent, place.path, location).await,
            None => Ok(()),
        }
    }

    /// Removes an entry and nothing below it.
    async fn remove_entry(&mut self, parent: &Item, path: &RemotePath, location: Location) -> Result<(), ClientError> {
        self.writable(parent, path)?;
        let (owner, writer) = (&parent.cap.owner, &parent.cap.writer);
        for chunk in &mut self.directory(parent).await?.chunks {
            chunk.changed |= chunk.children.remove(std::slice::from_ref(&location), owner, writer);
        }
        Ok(())
    }

    /// Removes an item with everything below it, and its entry (`spec/03` §4.6).
    pub(crate) async fn remove(&mut self, place: &Place<'_>, item: &Item) -> Result<(), ClientError> {
        // Who may change a thing that is shared cannot remove it: its entry is in the owner's space (`spec/05` §5.3).
        self.writable(place.parent, place.path)?;
        self.remove_entry(place.parent, place.path, item.entry_point().cap.location()).await?;
        // Each with the item above it, whose space may end before.
        let mut pending = vec![(place.parent.clone(), item.clone())];
        while let Some((above, item)) = pending.pop() {
            if let Some(link) = &item.link {
                self.space(link, place.path)?.remove(link.cap.map_key);
            }
            if item.is_directory() {
                let state = self.directory(&item).await?;
                let labels: Vec<MapKey> = state.chunks.iter().map(|chunk| chunk.map_key).collect();
                // What leads nowhere or cannot be read goes with its directory.
                let children: Vec<Reached> = state.entries().filter_map(|entry| item.child(&entry.cap).ok()).collect();
                let mut unreadable = Vec::new();
                for (child, opened) in children.iter().zip(self.open_each_target(&children).await?) {
                    match opened {
                        Ok(opened) => pending.extend(opened.map(|opened| (item.clone(), opened))),
                        Err(_) if child.cap.writer == item.cap.writer => unreadable.push(child.cap.map_key),
                        Err(_) => {}
                    }
                }
                let space = self.space(&item, place.path)?;
                labels.into_iter().chain(unreadable).for_each(|label| space.remove(label));
                self.directories.remove(&item.cap.location());
            } else {
                let labels = self.file_labels(&item).await?;
                let space = self.space(&item, place.path)?;
                labels.iter().for_each(|label| space.remove(label.map_key));
            }
            if item.cap.writer != above.cap.writer {
                self.end_space(&above, &item, place.path)?;
            }
        }
        Ok(())
    }

    /// Removes the entry of something that cannot be read, and its first node. Whether there was one.
    pub(crate) async fn remove_unreadable(&mut self, place: &Place<'_>) -> Result<bool, ClientError> {
        self.writable(place.parent, place.path)?;
        let Some(entry) = self.directory(place.parent).await?.entry(place.name) else { return Ok(false) };
        let child = place.parent.child(&entry.cap)?;
        self.remove_entry(place.parent, place.path, child.cap.location()).await?;
        if child.cap.writer == place.parent.cap.writer {
            self.space(place.parent, place.path)?.remove(child.cap.map_key);
        }
        Ok(true)
    }

    /// Ends the writing space whose root is an item: its pointer becomes empty, and the space above owns it no longer.
    fn end_space(&mut self, above: &Item, root: &Item, path: &RemotePath) -> Result<(), ClientError> {
        self.space(root, path)?.ended = true;
        self.space(above, path)?.disowned.push(root.cap.writer.clone());
        Ok(())
    }

    /// Gives an item another name in its directory (`spec/03` §4.7).
    pub(crate) async fn rename(&mut self, place: &Place<'_>, item: &Item, name: &FileName) -> Result<(), ClientError> {
        let Place { parent, path, .. } = *place;
        self.writable(parent, path)?;
        if self.directory(parent).await?.entry(name).is_some() {
            let path = path.parent().map_or_else(|| path.clone(), |parent| parent.join(name.clone()));
            return Err(ClientError::Exists { path });
        }
        self.put_name(item, path, name, None)?;
        self.writable(parent, path)?;
        let location = item.entry_point().cap.location();
        let hints = Hints::of(item.properties());
        let (owner, writer) = (&parent.cap.owner, &parent.cap.writer);
        for chunk in &mut self.directory(parent).await?.chunks {
            let renamed = chunk.children.rename(&location, owner, writer, name.clone(), hints.clone());
            chunk.changed |= renamed.map_err(|error| edit_error(path, error))?;
        }
        Ok(())
    }

    /// Writes a new name, and perhaps a new way up, into an item and the link node that leads to it.
    fn put_name(
        &mut self,
        item: &Item,
        path: &RemotePath,
        name: &FileName,
        parent: Option<RelativeCapability>,
    ) -> Result<(), ClientError> {
        let mut rng = self.core.network.runtime.rng();
        let entry_point = item.entry_point().clone();
        let is_renamed = item.name() != name;
        // The target of a link keeps its way up, which leads to the link node; only the old name must not stay in it.
        let targets = [Some((&entry_point, parent)), item.link.as_ref().filter(|_| is_renamed).map(|_| (item, None))];
        for (item, parent) in targets.into_iter().flatten() {
            let old = item.parent_block();
            let block = ParentBlock {
                parent: parent.or_else(|| old.parent.clone()),
                properties: FileProperties { name: name.clone(), ..old.properties.clone() },
            };
            let node = item.node.with_parent(item.parent_block_key(), &block, &mut rng);
            self.put_node(item, path, node)?;
        }
        Ok(())
    }

    /// Moves an item to another directory of the same writing space; its capability stays (`spec/03` §4.8).
    pub(crate) async fn move_item(&mut self, from: &Place<'_>, item: &Item, to: &Place<'_>) -> Result<(), ClientError> {
        self.writable(from.parent, from.path)?;
        self.writable(to.parent, to.path)?;
        if self.directory(to.parent).await?.entry(to.name).is_some() {
            return Err(ClientError::Exists { path: to.path.clone() });
        }
        let entry_point = item.entry_point();
        let parent_link = to.parent.parent_link(&entry_point.cap)?;
        self.put_name(item, from.path, to.name, Some(parent_link))?;
        let mut rng = self.core.network.runtime.rng();
        let relative = RelativeCapability::new(&entry_point.cap, &to.parent.cap, &mut rng).map_err(capability_error)?;
        let hints = Hints::of(item.properties());
        let entry = NamedRelativeCapability { name: to.name.clone().into(), cap: relative, hints };
        self.add_entry(to.parent, to.path, entry).await?;
        self.remove_entry(from.parent, from.path, entry_point.cap.location()).await
    }
}

fn edit_error(path: &RemotePath, error: EditError) -> ClientError {
    match error {
        EditError::Exists(_) => ClientError::Exists { path: path.clone() },
        _ => ClientError::Inconsistent("a directory in the old form"),
    }
}
