//! The rotation of one entry of a directory: the entry itself, the link node in front of it, what remains of the old.

use pyrgos_crypto::random::CryptoRng;

use super::subtree::{Item, Space, Walk, child_list};
use super::{NodeChange, NodeSource, Plan, RetiredSpace, RotatedItem, RotationError, StoredNode, Target};
use crate::api::transport::MaybeSend;
use crate::cryptree::capability::{AbsoluteCapability, RelativeCapability};
use crate::cryptree::directory::{ChildList, DirectoryChunk, DirectoryKeys};
use crate::cryptree::node::{NodeError, OpenNode};
use crate::cryptree::properties::FileProperties;
use crate::keys::SymmetricKey;

/// A link node in front of a link node in front of … is followed no further than this.
const MAX_LINKS: usize = 8;

/// Plans the rotation of an item: new keys, labels and link node, the changed entry in its parent, and the deletion of
/// all old labels (`spec/03` §7.3).
///
/// # Errors
/// [`RotationError`].
pub async fn plan<S: NodeSource, R: CryptoRng + MaybeSend>(
    source: &S,
    target: Target<'_>,
    rng: &mut R,
) -> Result<Plan, RotationError<S::Error>> {
    let parent = Parent::find(source, &target).await?;
    let mut walk = Walk::new(source, rng, target.new_signers, target.mirror);
    walk.plan.signers.insert(target.parent.writer.clone(), target.parent_signer.clone());
    let found = follow(&mut walk, parent.entry_cap.clone()).await?;
    let (parent_writer, old_writer) = (&target.parent.writer, &found.cap.writer);

    let (space, own) = if old_writer == parent_writer {
        let space = match target.new_signers {
            true => Space::Own(walk.new_space(parent_writer)),
            false => Space::Inherited(target.parent_signer.clone()),
        };
        (space, None)
    } else {
        let signer = found.open.signer(&found.cap, None)?;
        walk.plan.signers.insert(old_writer.clone(), signer.clone());
        match target.new_signers {
            true => (Space::Own(walk.new_space(parent_writer)), Some(old_writer.clone())),
            false => (Space::Own(signer), None),
        }
    };
    if let Some(writer) = own {
        walk.plan.retired.push(RetiredSpace { writer, owner: parent_writer.clone() });
    }
    let new = walk.fresh_capability(&found.cap, space.signer().writer());

    // The way up of the new item leads through a link node if it has a writing space of its own.
    let way_to_parent = RelativeCapability::to_parent(target.parent.label(), parent.parent_key.clone(), None);
    let link_keys = (new.writer != *parent_writer).then(|| DirectoryKeys::generate(walk.rng));
    let way_up = match &link_keys {
        Some(keys) => keys.parent_link(parent_writer, &new.writer),
        None => way_to_parent.clone(),
    };
    let link = link_keys.as_ref().map(|keys| keys.capability(new.owner.clone(), parent_writer.clone()));
    let properties = found.open.properties().clone();
    walk.plan.items.push(RotatedItem {
        path: Vec::new(),
        old: found.cap.clone(),
        new: new.clone(),
        link: link.clone(),
    });
    walk.delete(old_writer.clone(), found.cap.map_key, found.stored.cid.clone());
    let item = Item {
        old: found.cap,
        new: new.clone(),
        space,
        way_up,
        path: Vec::new(),
        stored: found.stored,
        open: found.open,
    };
    walk.run(item).await?;

    let entry = match (&link_keys, &link) {
        (Some(keys), Some(link)) => {
            link_node(&mut walk, keys, link, way_to_parent, &new, &properties, &parent)?;
            link
        }
        _ => &new,
    };
    let mut children = parent.children;
    children.replace(
        target.entry,
        &target.parent.owner,
        parent_writer,
        RelativeCapability::new(entry, target.parent, walk.rng)?,
    );
    let mirror = parent.stored.node.mirror_bat().or(target.mirror);
    let (data, fragments) = children.seal(&target.parent.base_key, mirror, walk.rng);
    walk.plan.changes.push(NodeChange {
        writer: parent_writer.clone(),
        map_key: parent.cap.map_key,
        before: Some(parent.stored.cid),
        after: Some(parent.stored.node.with_data(data)),
        fragments,
    });
    Ok(walk.finish())
}

fn link_node<S: NodeSource, R: CryptoRng + MaybeSend>(
    walk: &mut Walk<'_, S, R>,
    keys: &DirectoryKeys,
    link: &AbsoluteCapability,
    way_up: RelativeCapability,
    new: &AbsoluteCapability,
    properties: &FileProperties,
    parent: &Parent,
) -> Result<(), RotationError<S::Error>> {
    let mirror = parent.stored.node.mirror_bat().or(walk.mirror).cloned();
    let chunk = DirectoryChunk::link_node(keys, link, Some(way_up), new, properties, mirror, walk.rng)?;
    let (node, fragments) = chunk.build(walk.rng)?;
    walk.put(link.writer.clone(), link.map_key, node, fragments);
    Ok(())
}

/// The chunk of the parent that has the entry.
struct Parent {
    /// Its capability.
    cap: AbsoluteCapability,
    stored: StoredNode,
    children: ChildList,
    /// The parent key of the directory.
    parent_key: SymmetricKey,
    /// The capability in the entry.
    entry_cap: AbsoluteCapability,
}

impl Parent {
    async fn find<S: NodeSource>(source: &S, target: &Target<'_>) -> Result<Self, RotationError<S::Error>> {
        let mut seen = std::collections::HashSet::new();
        let mut cap = target.parent.clone();
        while seen.insert(cap.map_key) {
            let Some(stored) = one(source, &cap).await? else { break };
            let OpenNode::Directory { base, .. } = stored.node.open(&cap.base_key)? else {
                return Err(NodeError::NotWritable.into());
            };
            let children = child_list(source, &stored.node, &cap.base_key).await?;
            let writer = &target.parent.writer;
            let found = children.capabilities().find(|cap| cap.location(&target.parent.owner, writer) == *target.entry);
            if let Some(entry) = found {
                let entry_cap = entry.to_absolute(target.parent)?;
                return Ok(Parent { cap, stored, children, parent_key: base.key, entry_cap });
            }
            cap = cap.with_label(base.next.label());
        }
        Err(RotationError::Missing)
    }
}

/// What an entry leads to behind the link nodes in front of it.
struct Found {
    cap: AbsoluteCapability,
    stored: StoredNode,
    open: OpenNode,
}

/// Follows link nodes, which are given up.
async fn follow<S: NodeSource, R: CryptoRng + MaybeSend>(
    walk: &mut Walk<'_, S, R>,
    mut cap: AbsoluteCapability,
) -> Result<Found, RotationError<S::Error>> {
    for _ in 0..=MAX_LINKS {
        let stored = one(walk.source, &cap).await?.ok_or(RotationError::Missing)?;
        let open = stored.node.open(&cap.base_key)?;
        if !matches!(open, OpenNode::Directory { .. }) || !open.properties().is_link {
            return Ok(Found { cap, stored, open });
        }
        let children = child_list(walk.source, &stored.node, &cap.base_key).await?;
        let count = children.len();
        let (Some(child), 1) = (children.capabilities().next(), count) else {
            return Err(RotationError::LinkNode(count));
        };
        let next = child.to_absolute(&cap)?;
        // Only link nodes in the parent's own space are in front of the item; others can be signed for by nobody here.
        if walk.plan.signers.contains_key(&cap.writer) {
            walk.delete(cap.writer.clone(), cap.map_key, stored.cid);
        }
        cap = next;
    }
    Err(RotationError::LinkNode(MAX_LINKS))
}

async fn one<S: NodeSource>(
    source: &S,
    cap: &AbsoluteCapability,
) -> Result<Option<StoredNode>, RotationError<S::Error>> {
    let found = source.nodes(&cap.writer, &[cap.label()]).await.map_err(RotationError::Source)?;
    Ok(found.into_iter().next().flatten())
}
