//! Writing spaces as changes of a [`View`]: an item gets new keys, and where others may write a signer of its own
//! (`spec/03` §7). [`cryptree::rotation`](crate::cryptree::rotation) says what changes; here it is read from the view and
//! put into it, so that it appears with one commit, together with whatever else the view changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::lock::Mutex;

use super::edit::Place;
use super::error::ClientError;
use super::item::{Item, Signer, capability_error, data_error, node_error};
use super::network::Version;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::view::View;
use crate::api::Transport;
use crate::cryptree::chunk::ChunkLabel;
use crate::cryptree::fragments::NodeData;
use crate::cryptree::name::EntryName;
use crate::cryptree::node::CryptreeNode;
use crate::cryptree::rotation::{self, NodeSource, Plan, RotatedItem, RotationError, StoredNode, Target};
use crate::keys::{Owner, OwnerProof, Writer};

/// The nodes of a view, its changes included.
struct Nodes<'v, 's, T, R> {
    view: Mutex<&'v mut View<'s, T, R>>,
    owner: Owner,
}

impl<T: Transport, R: Runtime> NodeSource for Nodes<'_, '_, T, R> {
    type Error = ClientError;

    async fn nodes(&self, writer: &Writer, labels: &[ChunkLabel]) -> Result<Vec<Option<StoredNode>>, ClientError> {
        let mut view = self.view.lock().await;
        view.note_space(writer, &self.owner);
        let blocks = view.blocks(writer, labels).await?;
        let stored = blocks.into_iter().map(|found| {
            found
                .map(|(cid, block)| CryptreeNode::from_block(&block).map(|node| StoredNode { cid, node }))
                .transpose()
                .map_err(ClientError::damaged("a node"))
        });
        stored.collect()
    }

    async fn fragments(&self, data: &NodeData) -> Result<Vec<Bytes>, ClientError> {
        self.view.lock().await.fragments(&self.owner, data).await
    }
}

/// What a rotation changed for those who have access.
pub(crate) struct Rotated {
    /// The items that have new capabilities, the rotated one first.
    pub items: Vec<RotatedItem>,
    /// Paths below the rotated item that are not there any more: they led to nothing, or into a space that ends with the
    /// one around it and whose key somebody else hides.
    pub dropped: Vec<Vec<EntryName>>,
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// Whether an item has a writing space of its own in this directory.
    pub(crate) fn has_own_space(parent: &Item, item: &Item) -> bool {
        parent.cap.writer != item.cap.writer
    }

    /// Gives an item and everything below it new keys and labels; with `new_signers` also a writing space of its own, with
    /// a link node in the place of its entry. The capabilities that were given out lead nowhere then: whoever calls this
    /// hands out the new ones with the same commit.
    ///
    /// Nothing is published before the commit of the view. What the view knew of directories is forgotten: items that were
    /// opened before this are of the past.
    pub(crate) async fn rotate(
        &mut self,
        place: &Place<'_>,
        item: &Item,
        new_signers: bool,
    ) -> Result<Rotated, ClientError> {
        let Place { parent, path, .. } = *place;
        let parent_signer = parent.signer.clone().ok_or_else(|| ClientError::ReadOnly { path: path.clone() })?;
        // The plan reads nodes, so that lists of entries must be in them.
        self.seal_directories().await?;
        self.directories.clear();
        let core = self.core;
        let entry = item.entry_point().cap.location();
        let target = Target {
            parent: &parent.cap,
            parent_signer: &parent_signer,
            entry: &entry,
            new_signers,
            mirror: core.mirror_of(&parent.cap.owner),
        };
        let mut rng = core.network.runtime.rng();
        let nodes = Nodes { view: Mutex::new(self), owner: parent.cap.owner.clone() };
        let plan = rotation::plan(&nodes, target, &mut rng).await.map_err(|error| rotation_error(path, error))?;
        self.apply(&parent.cap.owner, plan)
    }

    /// Takes over the changes of a plan.
    fn apply(&mut self, owner: &Owner, plan: Plan) -> Result<Rotated, ClientError> {
        let signers: BTreeMap<Writer, Signer> =
            plan.signers.into_iter().map(|(writer, signer)| (writer, Arc::new(signer))).collect();
        let signer_of = |writer: &Writer| {
            let signer = signers.get(writer);
            signer.cloned().ok_or(ClientError::Inconsistent("a writing space that nobody can sign for"))
        };
        for new in &plan.spaces {
            let writer = new.signer.writer();
            self.note_space(&writer, owner);
            self.versions.insert(writer.clone(), Version { target: None, sequence: None, data: None });
            self.space_of(&signer_of(&new.owner)?).owned.push(OwnerProof::sign(new.owner.key_hash(), &new.signer));
            self.space_of(&signer_of(&writer)?).begins_in = Some(new.owner.clone());
        }
        for change in plan.changes {
            let space = self.space_of(&signer_of(&change.writer)?);
            match &change.after {
                Some(node) => space.put(change.map_key, node),
                None => space.remove(change.map_key),
            }
            space.fragments.extend(change.fragments);
        }
        for retired in &plan.retired {
            // An empty pointer says to all who still look there that nothing will come.
            self.space_of(&signer_of(&retired.writer)?).ended = true;
            if !plan.retired.iter().any(|other| other.writer == retired.owner) {
                self.space_of(&signer_of(&retired.owner)?).disowned.push(retired.writer.clone());
            }
        }
        let mut dropped = plan.dropped;
        if !plan.retired.is_empty() {
            dropped.extend(plan.kept.into_iter().map(|(path, _)| path));
        }
        Ok(Rotated { items: plan.items, dropped })
    }
}

fn rotation_error(path: &RemotePath, error: RotationError<ClientError>) -> ClientError {
    match error {
        RotationError::Source(error) => error,
        RotationError::Missing => ClientError::NotFound { path: path.clone() },
        RotationError::Node(error) => node_error(error),
        RotationError::Data(error) => data_error("a directory")(error),
        RotationError::ChildList(source) => ClientError::Damaged { what: "a directory", source },
        RotationError::Capability(error) => capability_error(error),
        RotationError::LinkNode(_) => ClientError::Inconsistent("a link node without exactly one child"),
    }
}
