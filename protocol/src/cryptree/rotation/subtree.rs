//! The recursion over everything below an item (`spec/03` §7.4), as a walk with a list of what is still to be visited.
//!
//! Whoever could write in a space may have left anything in it. So nothing is visited twice, sizes and links are not
//! believed beyond what is really there, and an entry that leads into a foreign space never makes us change that space.

use std::collections::{BTreeMap, HashSet};

use pyrgos_crypto::random::CryptoRng;

use super::{NewSpace, NodeChange, NodeSource, Plan, RetiredSpace, RotatedItem, RotationError, StoredNode};
use crate::api::transport::MaybeSend;
use crate::cryptree::capability::{AbsoluteCapability, NamedRelativeCapability, RelativeCapability};
use crate::cryptree::chunk::{ChunkLabel, ChunkLabels, MapKey, StreamSecret, chunk_count};
use crate::cryptree::directory::{ChildList, DirectoryChunk};
use crate::cryptree::file::FileChunk;
use crate::cryptree::fragments::FragmentBlock;
use crate::cryptree::name::EntryName;
use crate::cryptree::node::{BaseBlock, CryptreeNode, NodeError, OpenNode, ParentBlock};
use crate::cryptree::properties::{FileProperties, Kind};
use crate::encoding::{Cid, FromCbor};
use crate::keys::{
    SecretSigningKey, SigningKeyPair, SigningPrivateKeyAndPublicHash, SymmetricKey, SymmetricLinkToSigner, Writer,
};
use crate::merkle::bat::BatId;

/// Nodes of one file that are asked for at once. As many absent ones in a row end a file, whatever size it claims.
const BATCH: usize = 64;

/// Which writing space a new node lies in.
pub(super) enum Space {
    /// That of the directory around it.
    Inherited(SigningPrivateKeyAndPublicHash),
    /// One of its own, whose signer its first node holds.
    Own(SigningPrivateKeyAndPublicHash),
}

impl Space {
    pub(super) fn signer(&self) -> &SigningPrivateKeyAndPublicHash {
        match self {
            Space::Inherited(signer) | Space::Own(signer) => signer,
        }
    }

    /// The link to the signer that the first node of a space holds.
    fn link(&self, new: &AbsoluteCapability, rng: &mut impl CryptoRng) -> Option<SymmetricLinkToSigner> {
        match (self, &new.base_write_key) {
            (Space::Own(signer), Some(key)) => Some(SymmetricLinkToSigner::new(key, signer, rng)),
            _ => None,
        }
    }
}

/// A file or directory to be visited, its first node opened.
pub(super) struct Item {
    pub(super) old: AbsoluteCapability,
    pub(super) new: AbsoluteCapability,
    pub(super) space: Space,
    /// The link from the new first node to what is above it.
    pub(super) way_up: RelativeCapability,
    pub(super) path: Vec<EntryName>,
    pub(super) stored: StoredNode,
    pub(super) open: OpenNode,
}

pub(super) struct Walk<'a, S, R> {
    pub(super) source: &'a S,
    pub(super) rng: &'a mut R,
    pub(super) mirror: Option<&'a BatId>,
    pub(super) plan: Plan,
    new_signers: bool,
    seen: HashSet<(Writer, MapKey)>,
    deletions: Vec<NodeChange>,
    pending: Vec<Item>,
}

impl<'a, S: NodeSource, R: CryptoRng + MaybeSend> Walk<'a, S, R> {
    pub(super) fn new(source: &'a S, rng: &'a mut R, new_signers: bool, mirror: Option<&'a BatId>) -> Self {
        let (plan, seen, deletions, pending) = Default::default();
        Walk { source, rng, mirror, plan, new_signers, seen, deletions, pending }
    }

    /// Visits an item and all below it.
    pub(super) async fn run(&mut self, item: Item) -> Result<(), RotationError<S::Error>> {
        self.seen.insert((item.old.writer.clone(), item.old.map_key));
        self.pending.push(item);
        while let Some(item) = self.pending.pop() {
            match item.open {
                OpenNode::File { .. } => self.file(item).await?,
                OpenNode::Directory { .. } => self.directory(item).await?,
                // Only the item that was asked for can come here like this; such entries of others are no items.
                OpenNode::ByParentKey { .. } => return Err(NodeError::NotWritable.into()),
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Plan {
        self.plan.changes.append(&mut self.deletions);
        self.plan
    }

    pub(super) fn put(&mut self, writer: Writer, map_key: MapKey, node: CryptreeNode, fragments: Vec<FragmentBlock>) {
        self.plan.changes.push(NodeChange { writer, map_key, before: None, after: Some(node), fragments });
    }

    pub(super) fn delete(&mut self, writer: Writer, map_key: MapKey, cid: Cid) {
        let before = Some(cid);
        self.deletions.push(NodeChange { writer, map_key, before, after: None, fragments: Vec::new() });
    }

    /// A new writing space inside that of `owner`.
    pub(super) fn new_space(&mut self, owner: &Writer) -> SigningPrivateKeyAndPublicHash {
        let signer = SigningKeyPair::new(SecretSigningKey::generate(self.rng)).signer();
        self.plan.signers.insert(signer.writer(), signer.clone());
        self.plan.spaces.push(NewSpace { signer: signer.clone(), owner: owner.clone() });
        signer
    }

    /// Random label and keys in the place of those of `old`.
    pub(super) fn fresh_capability(&mut self, old: &AbsoluteCapability, writer: Writer) -> AbsoluteCapability {
        let label = ChunkLabel::generate(self.rng);
        AbsoluteCapability {
            owner: old.owner.clone(),
            writer,
            map_key: label.map_key,
            bat: label.bat,
            base_key: SymmetricKey::generate(self.rng),
            base_write_key: Some(SymmetricKey::generate(self.rng)),
        }
    }

    fn mirror_of(&self, node: &CryptreeNode) -> Option<BatId> {
        node.mirror_bat().or(self.mirror).cloned()
    }

    async fn fetch(
        &self,
        writer: &Writer,
        labels: &[ChunkLabel],
    ) -> Result<Vec<Option<StoredNode>>, RotationError<S::Error>> {
        self.source.nodes(writer, labels).await.map_err(RotationError::Source)
    }

    /// All chunks of a file. Content and data key stay, the latter marked.
    async fn file(&mut self, item: Item) -> Result<(), RotationError<S::Error>> {
        let Item { old, new, space, way_up, stored, open, .. } = item;
        let secret = StreamSecret::generate(self.rng);
        let first = open.properties().clone();
        let mut labels = ChunkLabels::new(new.label(), secret.clone());
        let mut signer = space.link(&new, self.rng);
        let mut way_up = Some(way_up);
        let mut after = open.base_block().map(|base| base.next.label());
        let label = labels.next().unwrap_or_else(|| new.label());
        self.file_chunk(&new, &secret, label, way_up.take(), signer.take(), &first, stored, open)?;

        let old_secret = first.stream_secret().cloned();
        let mut later = old_secret.map(|secret| ChunkLabels::new(old.label(), secret).skip(1));
        let mut left = chunk_count(first.size_bytes) - 1;
        while left > 0 {
            // Files of old clients tell the label of each chunk in the one before.
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(BATCH);
            let wanted: Vec<ChunkLabel> = match &mut later {
                Some(labels) => labels.take(count).collect(),
                None => after.take().into_iter().collect(),
            };
            if wanted.is_empty() {
                break;
            }
            left -= wanted.len() as u64;
            let found = self.fetch(&old.writer, &wanted).await?;
            let mut any = false;
            for (old_label, stored) in wanted.into_iter().zip(found) {
                let label = labels.next().unwrap_or_else(|| new.label());
                let Some(stored) = stored else { continue };
                any = true;
                if !self.seen.insert((old.writer.clone(), old_label.map_key)) {
                    continue;
                }
                self.delete(old.writer.clone(), old_label.map_key, stored.cid.clone());
                // What does not open belongs to nobody who could read it.
                let Ok(open) = stored.node.open(&old.base_key) else { continue };
                after = open.base_block().map(|base| base.next.label());
                self.file_chunk(&new, &secret, label, None, None, &first, stored, open)?;
            }
            if !any {
                break;
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "one call for the first chunk and one for the others")]
    fn file_chunk(
        &mut self,
        new: &AbsoluteCapability,
        secret: &StreamSecret,
        label: ChunkLabel,
        way_up: Option<RelativeCapability>,
        signer: Option<SymmetricLinkToSigner>,
        first: &FileProperties,
        stored: StoredNode,
        open: OpenNode,
    ) -> Result<(), RotationError<S::Error>> {
        // Something else at the label of a later chunk is no part of the file.
        let OpenNode::File { base, parent } = open else { return Ok(()) };
        // Later chunks may still have an old name.
        let name = first.name.clone();
        let properties = FileProperties { name, kind: Kind::File(Some(secret.clone())), ..parent.properties };
        let parent = ParentBlock { parent: way_up, properties };
        let mirror = self.mirror_of(&stored.node);
        let map_key = label.map_key;
        let data_key = base.key.into_dirty();
        let chunk = FileChunk::new(new.base_key.clone(), data_key, label, secret, parent, mirror);
        let chunk = FileChunk { signer, ..chunk };
        let node = chunk.build(stored.node.data().clone(), self.rng)?;
        self.put(new.writer.clone(), map_key, node, Vec::new());
        Ok(())
    }

    /// All chunks of a directory or link node. The items in it are left to be visited.
    async fn directory(&mut self, item: Item) -> Result<(), RotationError<S::Error>> {
        let Item { old, new, space, way_up, path, stored, open } = item;
        let directory = NewDirectory { parent_key: SymmetricKey::generate(self.rng), old, new, space, path };
        let mut chunk = Some((stored, open));
        let mut label = directory.new.label();
        let mut signer = directory.space.link(&directory.new, self.rng);
        let mut way_up = Some(way_up);
        while let Some((stored, open)) = chunk.take() {
            let OpenNode::Directory { base, parent } = open else { break };
            let children = match child_list(self.source, &stored.node, &directory.old.base_key).await {
                Ok(children) => children,
                Err(source @ RotationError::Source(_)) => return Err(source),
                // Nobody can read it; but whoever wrote it must not be able to prevent that access is taken from him.
                Err(_) => {
                    self.plan.dropped.push(directory.path.clone());
                    ChildList::default()
                }
            };
            let children = self.children(&directory, &parent.properties, children).await?;
            let next = ChunkLabel::generate(self.rng);
            let built = DirectoryChunk {
                base_key: directory.new.base_key.clone(),
                parent_key: directory.parent_key.clone(),
                label: label.clone(),
                next: next.clone(),
                signer: signer.take(),
                parent: ParentBlock { parent: way_up.take(), properties: parent.properties },
                children,
                mirror: self.mirror_of(&stored.node),
            };
            let (node, fragments) = built.build(self.rng)?;
            self.put(directory.new.writer.clone(), label.map_key, node, fragments);
            label = next;
            chunk = self.next_chunk(&directory.old, &base).await?;
        }
        Ok(())
    }

    async fn next_chunk(
        &mut self,
        old: &AbsoluteCapability,
        base: &BaseBlock,
    ) -> Result<Option<(StoredNode, OpenNode)>, RotationError<S::Error>> {
        let label = base.next.label();
        if !self.seen.insert((old.writer.clone(), label.map_key)) {
            return Ok(None);
        }
        let Some(stored) = self.fetch(&old.writer, std::slice::from_ref(&label)).await?.pop().flatten() else {
            return Ok(None);
        };
        let Ok(open) = stored.node.open(&old.base_key) else { return Ok(None) };
        self.delete(old.writer.clone(), label.map_key, stored.cid.clone());
        Ok(Some((stored, open)))
    }

    /// The new entries of one chunk of a directory.
    async fn children(
        &mut self,
        directory: &NewDirectory,
        properties: &FileProperties,
        list: ChildList,
    ) -> Result<ChildList, RotationError<S::Error>> {
        let (entries, named) = match list {
            ChildList::Named(entries) => {
                (entries.into_iter().map(|e| (e.cap, Some((e.name, e.hints)))).collect(), true)
            }
            ChildList::Unnamed(caps) => (caps.into_iter().map(|cap| (cap, None)).collect::<Vec<_>>(), false),
        };
        let mut by_writer: BTreeMap<Writer, Vec<usize>> = BTreeMap::new();
        let caps: Vec<AbsoluteCapability> = entries.iter().map(|(cap, _)| child(cap, &directory.old)).collect();
        for (at, cap) in caps.iter().enumerate() {
            by_writer.entry(cap.writer.clone()).or_default().push(at);
        }
        let mut found: Vec<Option<StoredNode>> = vec![None; caps.len()];
        for (writer, places) in &by_writer {
            let labels: Vec<ChunkLabel> = places.iter().map(|at| caps[*at].label()).collect();
            for (at, stored) in places.iter().zip(self.fetch(writer, &labels).await?) {
                found[*at] = stored;
            }
        }
        let mut new_entries = Vec::new();
        for (((relative, name), old), stored) in entries.into_iter().zip(caps).zip(found) {
            let mut path = directory.path.clone();
            // A link node has the name of its target, which counts once.
            if !properties.is_link {
                path.extend(name.as_ref().map(|(name, _)| name.clone()));
            }
            if let Some(cap) = self.child(directory, properties.is_link, relative, old, stored, path, name.is_none())? {
                new_entries.push((cap, name));
            }
        }
        Ok(match named {
            true => {
                let named = |(cap, name): (RelativeCapability, Option<_>)| {
                    name.map(|(name, hints)| NamedRelativeCapability { name, cap, hints })
                };
                ChildList::Named(new_entries.into_iter().filter_map(named).collect())
            }
            false => ChildList::Unnamed(new_entries.into_iter().map(|(cap, _)| cap).collect()),
        })
    }

    /// The new entry of one child, which is left to be visited; none if the entry is dropped.
    #[allow(clippy::too_many_arguments, reason = "one call")]
    fn child(
        &mut self,
        directory: &NewDirectory,
        in_link: bool,
        relative: RelativeCapability,
        old: AbsoluteCapability,
        stored: Option<StoredNode>,
        mut path: Vec<EntryName>,
        is_unnamed: bool,
    ) -> Result<Option<RelativeCapability>, RotationError<S::Error>> {
        let place = (old.writer.clone(), old.map_key);
        let opened = stored.filter(|_| !self.seen.contains(&place)).and_then(|stored| {
            let open = stored.node.open(&old.base_key).ok()?;
            Some((stored, open))
        });
        if let Some((_, open)) = opened.as_ref().filter(|_| is_unnamed && !in_link) {
            path.push(open.properties().name.clone().into());
        }
        let is_foreign = old.writer != directory.old.writer;
        let signer = match &opened {
            Some((_, open)) if is_foreign => open.signer(&old, None).ok(),
            Some((_, OpenNode::File { .. } | OpenNode::Directory { .. })) => Some(directory.space.signer().clone()),
            _ => None,
        };
        let ((stored, open), signer) = match (opened, signer) {
            (Some(opened), Some(signer)) => (opened, signer),
            (Some(_), None) if is_foreign => {
                let kept = RelativeCapability { writer: Some(old.writer.clone()), write_link: None, ..relative };
                self.plan.kept.push((path, old));
                return Ok(Some(kept));
            }
            _ => {
                self.plan.dropped.push(path);
                return Ok(None);
            }
        };
        self.seen.insert(place);
        let space = match (is_foreign, self.new_signers) {
            (false, _) => Space::Inherited(signer),
            (true, renew) => {
                self.plan.signers.insert(old.writer.clone(), signer.clone());
                if renew {
                    let retired = RetiredSpace { writer: old.writer.clone(), owner: directory.old.writer.clone() };
                    self.plan.retired.push(retired);
                }
                Space::Own(if renew { self.new_space(&directory.new.writer) } else { signer })
            }
        };
        self.delete(old.writer.clone(), old.map_key, stored.cid.clone());
        let new = self.fresh_capability(&old, space.signer().writer());
        let writer = (new.writer != directory.new.writer).then(|| directory.new.writer.clone());
        let way_up = RelativeCapability::to_parent(directory.new.label(), directory.parent_key.clone(), writer);
        let entry = RelativeCapability::new(&new, &directory.new, self.rng)?;
        if !open.properties().is_link {
            let link = in_link.then(|| directory.new.clone());
            let item = RotatedItem { path: path.clone(), old: old.clone(), new: new.clone(), link };
            self.plan.items.push(item);
        }
        self.pending.push(Item { old, new, space, way_up, path, stored, open });
        Ok(Some(entry))
    }
}

/// A directory whose chunks are being made anew.
struct NewDirectory {
    old: AbsoluteCapability,
    new: AbsoluteCapability,
    parent_key: SymmetricKey,
    space: Space,
    path: Vec<EntryName>,
}

/// The capability of a child, without the right to write if the link to its write key does not open.
fn child(relative: &RelativeCapability, directory: &AbsoluteCapability) -> AbsoluteCapability {
    relative.to_absolute(directory).unwrap_or_else(|_| relative.to_absolute_read_only(directory))
}

/// Fetches and opens the child list of a chunk.
pub(super) async fn child_list<S: NodeSource>(
    source: &S,
    node: &CryptreeNode,
    base_key: &SymmetricKey,
) -> Result<ChildList, RotationError<S::Error>> {
    let blocks = match node.data().is_inline() {
        true => Vec::new(),
        false => source.fragments(node.data()).await.map_err(RotationError::Source)?,
    };
    Ok(ChildList::from_cbor(&node.data().open(base_key, &blocks)?)?)
}
