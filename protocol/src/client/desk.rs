//! The account's own small files of the social layer, within one view: read, replaced and appended to together with other
//! changes of the tree, and published by the same commit. So a friend is made, or a folder shared, as a whole or not at
//! all, and whoever loses a race decides again on what the other device wrote.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::download::OpenFile;
use super::edit::{FileMeta, IfExists, Place};
use super::error::ClientError;
use super::item::Item;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::seal::{SealedContent, mime_type, seal};
use super::sharing::WayUp;
use super::view::View;
use crate::api::Transport;
use crate::cryptree::capability::Location;
use crate::cryptree::chunk::CHUNK_SIZE;
use crate::cryptree::fragments::Plaintext;
use crate::cryptree::name::FileName;
use crate::encoding::{FromCbor, ToCbor, Value};
use crate::keys::{Owner, SymmetricKey, Writer};

/// Larger files of this layer are not read: nobody has them but by mistake or malice.
const MAX_FILE: u64 = 64 << 20;

/// The new content of a file.
#[derive(Clone)]
pub(crate) struct Changed {
    pub content: Bytes,
    is_hidden: bool,
}

/// See the module. Places are paths below the home directory without a slash in front, as in
/// [`places`](crate::social::places).
pub(crate) struct Desk<'v, 's, T, R> {
    pub view: &'v mut View<'s, T, R>,
    pub changed: BTreeMap<String, Changed>,
    /// Which writers were found to belong to whom.
    pub owned: HashMap<(Owner, Writer), bool>,
    /// Steps on the ways from items of others to their homes.
    pub ways_up: HashMap<Location, WayUp>,
}

/// One name of a place.
pub(crate) fn part(text: &str) -> Result<FileName, ClientError> {
    FileName::new(text).map_err(|_| ClientError::Inconsistent("a place of the social layer that is no path"))
}

impl<'v, 's, T: Transport, R: Runtime> Desk<'v, 's, T, R> {
    pub(crate) fn new(view: &'v mut View<'s, T, R>) -> Self {
        Desk { view, changed: BTreeMap::new(), owned: HashMap::new(), ways_up: HashMap::new() }
    }

    /// The path that a place has for the user.
    pub(crate) fn path(&self, place: &str) -> Result<RemotePath, ClientError> {
        let mut path = RemotePath::home(part(self.view.core.tree.username.as_str())?);
        for name in place.split('/').filter(|name| !name.is_empty()) {
            path = path.join(part(name)?);
        }
        Ok(path)
    }

    /// What is at a place.
    pub(crate) async fn item(&mut self, place: &str) -> Result<Option<Item>, ClientError> {
        let mut item = self.view.home().await?;
        for name in self.path(place)?.names() {
            if !item.is_directory() {
                return Ok(None);
            }
            match self.view.child(&item, name).await? {
                Some(child) => item = child,
                None => return Ok(None),
            }
        }
        Ok(Some(item))
    }

    /// The content of a file, changes included; none if it is absent.
    pub(crate) async fn read(&mut self, place: &str) -> Result<Option<Bytes>, ClientError> {
        if let Some(changed) = self.changed.get(place) {
            return Ok(Some(changed.content.clone()));
        }
        match self.item(place).await? {
            Some(item) if !item.is_directory() => self.view.content(item).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The structure in a file; none if it is absent.
    pub(crate) async fn structure<S: FromCbor>(
        &mut self,
        place: &str,
        what: &'static str,
    ) -> Result<Option<S>, ClientError> {
        let Some(content) = self.read(place).await?.filter(|content| !content.is_empty()) else { return Ok(None) };
        let value = Value::decode_shared(&content).map_err(ClientError::damaged(what))?;
        S::from_cbor(&value).map(Some).map_err(ClientError::damaged(what))
    }

    /// Replaces a file, or makes it.
    pub(crate) fn write(&mut self, place: &str, content: impl Into<Bytes>, is_hidden: bool) {
        self.changed.insert(place.to_owned(), Changed { content: content.into(), is_hidden });
    }

    /// Replaces a file by a structure, or makes it.
    pub(crate) fn put(&mut self, place: &str, structure: &impl ToCbor, is_hidden: bool) {
        self.write(place, structure.to_bytes(), is_hidden);
    }

    /// Appends to a file, or makes it.
    pub(crate) async fn append(&mut self, place: &str, more: &[u8], is_hidden: bool) -> Result<(), ClientError> {
        let before = self.read(place).await?.unwrap_or_default();
        self.write(place, [&before[..], more].concat(), is_hidden);
        Ok(())
    }

    /// The directory at a place, made with those above it where they are absent.
    pub(crate) async fn directory(&mut self, place: &str, is_hidden: bool) -> Result<Item, ClientError> {
        let path = self.path(place)?;
        let mut here = RemotePath::home(path.user().clone());
        let mut item = self.view.home().await?;
        for (at, name) in path.names().iter().enumerate() {
            here = here.join(name.clone());
            let hidden = is_hidden && at + 1 == path.names().len();
            item = self.view.require_directory(&Place { parent: &item, name, path: &here }, hidden).await?;
        }
        Ok(item)
    }

    /// The names in a directory; nothing if it is absent.
    pub(crate) async fn names(&mut self, place: &str) -> Result<Vec<FileName>, ClientError> {
        match self.item(place).await? {
            Some(item) if item.is_directory() => {
                let state = self.view.directory(&item).await?;
                Ok(state.entries().filter_map(|entry| entry.name.file_name().ok()).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Removes what is at a place, if there is something.
    pub(crate) async fn remove(&mut self, place: &str) -> Result<(), ClientError> {
        let below = format!("{place}/");
        self.changed.retain(|changed, _| changed != place && !changed.starts_with(&below));
        let path = self.path(place)?;
        let (Some(item), Some(parent)) = (self.item(place).await?, path.parent()) else { return Ok(()) };
        let parent = self.view.resolve_own(&parent).await?;
        self.view.remove(&Place { parent: &parent, name: path.name(), path: &path }, &item).await
    }

    /// Moves a directory from one place to another, where nothing is.
    pub(crate) async fn relocate(&mut self, from: &str, to: &str) -> Result<(), ClientError> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        let (Some(from_parent), Some(to_parent)) = (from.parent(), to.parent()) else { return Ok(()) };
        let source = self.view.resolve_own(&from_parent).await?;
        let target = self.view.resolve_own(&to_parent).await?;
        let Some(item) = self.view.child(&source, from.name()).await? else { return Ok(()) };
        let place = Place { parent: &source, name: from.name(), path: &from };
        match from_parent == to_parent {
            true => self.view.rename(&place, &item, to.name()).await,
            false => {
                let target = Place { parent: &target, name: to.name(), path: &to };
                self.view.move_item(&place, &item, &target).await
            }
        }
    }

    /// Puts all changed files into the view, which then can be committed.
    pub(crate) async fn save(mut self) -> Result<(), ClientError> {
        for (place, changed) in std::mem::take(&mut self.changed) {
            let path = self.path(&place)?;
            let parent_place = place.rsplit_once('/').map_or("", |(parent, _)| parent);
            let parent = self.directory(parent_place, false).await?;
            let runtime = self.view.core.network.runtime.clone();
            let (mut rng, now) = (runtime.rng(), runtime.now());
            let data_key = SymmetricKey::generate(&mut rng);
            let mirror = self.view.mirror_in(&parent);
            let mut chunks = Vec::new();
            let mut rest = changed.content.clone();
            loop {
                let chunk = rest.split_to(rest.len().min(CHUNK_SIZE as usize));
                chunks.push(seal(Plaintext::chunk_of(&chunk), &data_key, mirror.as_ref(), &mut rng));
                if rest.is_empty() {
                    break;
                }
            }
            let meta = FileMeta {
                size_bytes: changed.content.len() as u64,
                mime_type: mime_type(&changed.content, path.name().as_str()),
                created: now,
                modified: now,
                is_hidden: changed.is_hidden,
                thumbnail: None,
            };
            let content = SealedContent { data_key, chunks };
            let place = Place { parent: &parent, name: path.name(), path: &path };
            self.view.put_file(&place, &meta, &content, IfExists::Replace).await?;
        }
        Ok(())
    }
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// The whole content of a file, as this view has it.
    pub(crate) async fn content(&mut self, item: Item) -> Result<Bytes, ClientError> {
        let file = OpenFile::new(self, item).await?;
        if file.size_bytes() > MAX_FILE {
            return Err(ClientError::Limit("a file of the social layer is larger than this client reads"));
        }
        let mut content = Vec::new();
        file.read(0..file.size_bytes(), &mut content, &()).await?;
        Ok(Bytes::from_owner(zeroize::Zeroizing::new(content)))
    }
}
