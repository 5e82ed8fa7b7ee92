//! An upload that is published in several commits, with the transaction file that lets it be resumed or cleared
//! (`spec/03` §8).

use super::commit::Transaction;
use super::core::{Core, on_current_state};
use super::download::OpenFile;
use super::edit::{FileMeta, IfExists, Place};
use super::error::ClientError;
use super::item::Item;
use super::layout::FileLayout;
use super::path::RemotePath;
use super::runtime::{Runtime, millis};
use super::seal::{SealedChunk, SealedContent, hash_tree, seal};
use super::upload::{Sealing, split};
use super::view::View;
use crate::api::Transport;
use crate::cryptree::chunk::{ChunkLabel, ChunkLabels};
use crate::cryptree::file::FileKeys;
use crate::cryptree::fragments::Plaintext;
use crate::cryptree::hash_tree::HASHES_PER_LIST;
use crate::cryptree::home::TRANSACTIONS;
use crate::cryptree::name::FileName;
use crate::cryptree::node::{CryptreeNode, ParentBlock};
use crate::cryptree::properties::FileProperties;
use crate::cryptree::transaction::resume::ResumeSearch;
use crate::cryptree::transaction::{ResumeKeys, UploadTransaction, file_name};
use crate::encoding::{FromCbor, ToCbor};

/// Largest transaction file that is read; it may hold a hash tree.
const MAX_TRANSACTION_BYTES: u64 = 16 << 20;

/// See the module.
pub(crate) struct OpenUpload {
    path: RemotePath,
    keys: FileKeys,
    pub meta: FileMeta,
    pub sealing: Sealing,
    /// Chunks that are in the tree already.
    pub published: u64,
    /// SHA-256 of the content of each chunk that was read.
    pub hashes: Vec<[u8; 32]>,
    /// Whether the transaction file is there.
    recorded: bool,
    /// Labels that an abandoned upload to the same path left.
    left_behind: Vec<ChunkLabel>,
}

impl OpenUpload {
    /// Finds an interrupted upload to the path, to go on with it if that is asked for and possible, else to clear it.
    /// Nothing is written yet: the transaction file comes with the first chunks.
    pub(crate) async fn begin<T: Transport, R: Runtime>(
        core: &Core<T, R>,
        path: &RemotePath,
        meta: &FileMeta,
        sealing: Sealing,
        resume: bool,
    ) -> Result<Self, ClientError> {
        let fresh = FileKeys { data: sealing.data_key.clone(), ..FileKeys::generate(&mut core.network.runtime.rng()) };
        let mut upload = OpenUpload {
            path: path.clone(),
            keys: fresh,
            meta: meta.clone(),
            sealing,
            published: 0,
            hashes: Vec::new(),
            recorded: false,
            left_behind: Vec::new(),
        };
        let found = on_current_state!(core, |view| view.upload_transaction(path).await);
        let Some(earlier) = found? else { return Ok(upload) };
        let fits = |keys: &ResumeKeys| {
            keys.properties.modified == meta.modified && earlier.signer.writer() == upload.sealing.signer.writer()
        };
        let keys = earlier.resume.as_ref().filter(|keys| resume && fits(keys)).and_then(|_| earlier.file_keys());
        match keys.filter(|_| earlier.size_bytes == meta.size_bytes) {
            Some(keys) => {
                upload.sealing.data_key = keys.data.clone();
                upload.keys = keys;
                upload.recorded = true;
                upload.published = upload.count_published(core, earlier.chunk_count()).await?;
            }
            None => {
                let labels = ChunkLabels::new(earlier.first.clone(), earlier.stream_secret.clone());
                let count = usize::try_from(earlier.chunk_count()).unwrap_or(usize::MAX);
                upload.left_behind = labels.take(count).collect();
            }
        }
        Ok(upload)
    }

    /// How many chunks the tree holds already.
    async fn count_published<T: Transport, R: Runtime>(
        &self,
        core: &Core<T, R>,
        chunks: u64,
    ) -> Result<u64, ClientError> {
        let writer = self.sealing.signer.writer();
        on_current_state!(core, |view| {
            view.note_space(&writer, &self.sealing.owner);
            let mut search = ResumeSearch::new(chunks);
            loop {
                if let Some(found) = search.first_absent() {
                    break Ok(found);
                }
                let label = |index: &u64| self.keys.first.advance(&self.keys.stream_secret, *index);
                let labels: Vec<ChunkLabel> = search.probes().iter().map(label).collect();
                let blocks = view.blocks(&writer, &labels).await?;
                search.answer(&blocks.iter().map(Option::is_some).collect::<Vec<_>>());
            }
        })
    }

    /// Publishes the next chunks, with the first ones also the transaction file.
    pub(crate) async fn publish<T: Transport, R: Runtime>(
        &mut self,
        core: &Core<T, R>,
        transaction: &Transaction,
        chunks: &[SealedChunk],
    ) -> Result<(), ClientError> {
        let _writing = core.writing.lock().await;
        let (parent_path, name) = split(&self.path)?;
        on_current_state!(core, |view| {
            let parent = view.resolve_directory(&parent_path).await?;
            let place = Place { parent: &parent, name: &name, path: &self.path };
            self.put_chunks(view, &place, chunks).await?;
            if !self.recorded {
                self.record(view, &place).await?;
            }
            view.commit(transaction).await
        })?;
        self.published += chunks.len() as u64;
        self.recorded = true;
        self.left_behind.clear();
        Ok(())
    }

    async fn put_chunks<T: Transport, R: Runtime>(
        &self,
        view: &mut View<'_, T, R>,
        place: &Place<'_>,
        chunks: &[SealedChunk],
    ) -> Result<(), ClientError> {
        let layout = view.layout(place, &self.meta, self.keys.clone())?;
        let nodes = layout.nodes(self.published, chunks, None, &mut view.core.network.runtime.rng())?;
        let space = view.space(place.parent, place.path)?;
        self.left_behind.iter().for_each(|label| space.remove(label.map_key));
        nodes.iter().for_each(|(label, node)| space.put(*label, node));
        space.fragments.extend(chunks.iter().flat_map(|chunk| chunk.fragments.iter().cloned()));
        Ok(())
    }

    /// Puts the transaction file into its directory, in place of one that was abandoned.
    async fn record<T: Transport, R: Runtime>(
        &self,
        view: &mut View<'_, T, R>,
        place: &Place<'_>,
    ) -> Result<(), ClientError> {
        let core = view.core;
        let runtime = &core.network.runtime;
        let properties = view.layout(place, &self.meta, self.keys.clone())?.properties;
        let content = UploadTransaction {
            path: self.path.without_slash(),
            started_ms: millis(runtime.now()),
            owner: self.sealing.owner.clone(),
            signer: (*self.sealing.signer).clone(),
            first: self.keys.first.clone(),
            stream_secret: self.keys.stream_secret.clone(),
            size_bytes: self.meta.size_bytes,
            resume: Some(ResumeKeys {
                properties,
                base: self.keys.base.clone(),
                data: self.keys.data.clone(),
                base_write: self.keys.base_write.clone(),
            }),
            hash_tree: None,
        };
        let (directory, path, name) = view.transaction_place(&self.path).await?;
        let Some(directory) = directory else { return Ok(()) };
        let mut rng = runtime.rng();
        let data_key = crate::keys::SymmetricKey::generate(&mut rng);
        let bytes = zeroize::Zeroizing::new(content.to_bytes());
        let sealed = seal(Plaintext::chunk_of(&bytes), &data_key, view.mirror_in(&directory).as_ref(), &mut rng);
        let now = runtime.now();
        let meta = FileMeta {
            size_bytes: bytes.len() as u64,
            mime_type: super::seal::mime_type(&bytes, name.as_str()),
            created: now,
            modified: now,
            is_hidden: false,
            thumbnail: None,
        };
        let place = Place { parent: &directory, name: &name, path: &path };
        let content = SealedContent { data_key, chunks: vec![sealed] };
        view.put_file(&place, &meta, &content, IfExists::Replace).await?;
        Ok(())
    }

    /// Publishes the last chunks, the hash tree and the entry, and removes the transaction file, all at once.
    pub(crate) async fn finish<T: Transport, R: Runtime>(
        &self,
        core: &Core<T, R>,
        transaction: &Transaction,
        chunks: &[SealedChunk],
        if_exists: IfExists,
    ) -> Result<bool, ClientError> {
        let tree = hash_tree(self.hashes.iter().copied())?;
        let (parent_path, name) = split(&self.path)?;
        let _writing = core.writing.lock().await;
        let is_own = core.is_owner(&self.sealing.owner);
        let stored = on_current_state!(core, |view| {
            let parent = view.resolve_directory(&parent_path).await?;
            let place = Place { parent: &parent, name: &name, path: &self.path };
            let existing = view.child_at(&parent, &name, &self.path).await?;
            let wanted = existing.is_none() || if_exists == IfExists::Replace;
            let beside = match existing.as_ref().filter(|_| wanted) {
                Some(existing) if existing.is_directory() => {
                    return Err(ClientError::IsADirectory { path: self.path.clone() });
                }
                // Somebody put another file there meanwhile.
                Some(_) => Some(view.beside(&place).await?),
                None => None,
            };
            let place = match &beside {
                Some((name, path)) => Place { parent: &parent, name, path },
                None => place,
            };
            if wanted {
                self.put_chunks(view, &place, chunks).await?;
                let layout = view.layout(&place, &self.meta, self.keys.clone())?;
                self.put_branches(view, &place, &layout, &tree).await?;
                view.enter_file(&place, &self.meta, &self.keys).await?;
            } else {
                let labels = ChunkLabels::new(self.keys.first.clone(), self.keys.stream_secret.clone());
                let space = view.space(&parent, &self.path)?;
                labels.take(self.published as usize).for_each(|label| space.remove(label.map_key));
            }
            if is_own {
                view.remove_upload_transaction(&self.path).await?;
            }
            view.commit(transaction).await?;
            if let Some((_, path)) = beside.as_ref() {
                core.note_conflict(path.clone());
            }
            Ok(wanted)
        })?;
        if !is_own {
            // What is in the tree of somebody else cannot change together with our own: the file first.
            on_current_state!(core, |view| {
                view.remove_upload_transaction(&self.path).await?;
                view.commit(transaction).await
            })?;
        }
        match stored || if_exists == IfExists::Skip {
            true => Ok(stored),
            false => Err(ClientError::Exists { path: self.path.clone() }),
        }
    }

    /// Writes the hash tree's branches, and the way up as it is now, into the chunks 0, 1024, 2048, ….
    async fn put_branches<T: Transport, R: Runtime>(
        &self,
        view: &mut View<'_, T, R>,
        place: &Place<'_>,
        layout: &FileLayout,
        tree: &crate::cryptree::hash_tree::HashTree,
    ) -> Result<(), ClientError> {
        let step = HASHES_PER_LIST as u64;
        let writer = self.sealing.signer.writer();
        let mut label = self.keys.first.clone();
        for index in (0..self.hashes.len() as u64).step_by(HASHES_PER_LIST) {
            let block = view.blocks(&writer, std::slice::from_ref(&label)).await?.pop().flatten();
            let (_, block) = block.ok_or(ClientError::Inconsistent("a chunk that was published is absent"))?;
            let node = CryptreeNode::from_block(&block).map_err(ClientError::damaged("a chunk of a file"))?;
            let properties = FileProperties { tree_hash: Some(tree.branch(index)), ..layout.properties.clone() };
            let parent = ParentBlock { parent: layout.parent.clone(), properties };
            let node = node.with_parent(&self.keys.base, &parent, &mut view.core.network.runtime.rng());
            view.space(place.parent, place.path)?.put(label.map_key, &node);
            label = label.advance(&self.keys.stream_secret, step);
        }
        Ok(())
    }
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// Where the transaction file for an upload to a path is or would be.
    async fn transaction_place(
        &mut self,
        target: &RemotePath,
    ) -> Result<(Option<Item>, RemotePath, FileName), ClientError> {
        let name = |text: &str| FileName::new(text).map_err(|_| ClientError::Inconsistent("a transaction's name"));
        let directory_name = name(TRANSACTIONS)?;
        let name = name(&file_name(&target.without_slash()))?;
        let user = super::desk::part(self.core.tree.username.as_str())?;
        let path = RemotePath::home(user).join(directory_name.clone()).join(name.clone());
        let home = self.home().await?;
        let directory = self.child(&home, &directory_name).await?;
        Ok((directory.filter(Item::is_directory), path, name))
    }

    /// The open upload to a path, if there is one that can be read.
    async fn upload_transaction(&mut self, target: &RemotePath) -> Result<Option<UploadTransaction>, ClientError> {
        let (directory, _, name) = self.transaction_place(target).await?;
        let Some(directory) = directory else { return Ok(None) };
        let Some(item) = self.child(&directory, &name).await? else { return Ok(None) };
        if item.is_directory() || item.properties().size_bytes > MAX_TRANSACTION_BYTES {
            return Ok(None);
        }
        let file = OpenFile::new(self, item).await?;
        let mut content = Vec::new();
        file.read(0..file.size_bytes(), &mut content, &()).await?;
        let content = zeroize::Zeroizing::new(content);
        Ok(UploadTransaction::from_bytes(&content).ok().filter(|found| found.path == target.without_slash()))
    }

    /// Removes the transaction file of a path, if there is one.
    async fn remove_upload_transaction(&mut self, target: &RemotePath) -> Result<(), ClientError> {
        let (directory, path, name) = self.transaction_place(target).await?;
        let Some(directory) = directory else { return Ok(()) };
        if let Some(item) = self.child(&directory, &name).await? {
            self.remove(&Place { parent: &directory, name: &name, path: &path }, &item).await?;
        }
        Ok(())
    }
}
