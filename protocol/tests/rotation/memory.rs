//! Writing spaces in memory: where rotations read from, and what becomes of their plans.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::future::ready;

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_protocol::cryptree::capability::{AbsoluteCapability, Location};
use pyrgos_protocol::cryptree::chunk::{ChunkLabel, ChunkLabels, MapKey, chunk_count};
use pyrgos_protocol::cryptree::directory::ChildList;
use pyrgos_protocol::cryptree::fragments::NodeData;
use pyrgos_protocol::cryptree::node::{CryptreeNode, OpenNode};
use pyrgos_protocol::cryptree::properties::{FileProperties, Kind};
use pyrgos_protocol::cryptree::rotation::{NodeSource, Plan, RotationError, StoredNode, Target, plan};
use pyrgos_protocol::encoding::{Cid, FromCbor};
use pyrgos_protocol::keys::{SigningPrivateKeyAndPublicHash, SymmetricKey, Writer};

use crate::support::system_random;

#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) nodes: BTreeMap<(Writer, MapKey), (Cid, CryptreeNode)>,
    pub(crate) fragments: HashMap<Cid, Bytes>,
}

impl NodeSource for Memory {
    type Error = Infallible;

    fn nodes(
        &self,
        writer: &Writer,
        labels: &[ChunkLabel],
    ) -> impl Future<Output = Result<Vec<Option<StoredNode>>, Infallible>> + Send {
        let find = |label: &ChunkLabel| {
            let (cid, node) = self.nodes.get(&(writer.clone(), label.map_key))?.clone();
            Some(StoredNode { cid, node })
        };
        ready(Ok(labels.iter().map(find).collect()))
    }

    fn fragments(&self, data: &NodeData) -> impl Future<Output = Result<Vec<Bytes>, Infallible>> + Send {
        ready(Ok(data.fragments().iter().map(|fragment| self.fragments[&fragment.cid].clone()).collect()))
    }
}

/// Clients run on executors that move their tasks.
fn moves_between_threads(_: &impl Send) {}

/// What a file or directory looks like to who may write it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) cap: AbsoluteCapability,
    /// The link node in front of it.
    pub(crate) link: Option<AbsoluteCapability>,
    pub(crate) properties: FileProperties,
    pub(crate) is_dirty: bool,
    /// The data of all chunks of a file, and the key of each.
    pub(crate) data: Vec<(NodeData, SymmetricKey)>,
    pub(crate) has_own_space: bool,
}

impl Seen {
    /// What rotation must not change.
    pub(crate) fn lasting(&self) -> impl PartialEq + std::fmt::Debug {
        let kind = match &self.properties.kind {
            Kind::Directory => Kind::Directory,
            Kind::File(_) => Kind::File(None),
        };
        let properties = FileProperties { kind, ..self.properties.clone() };
        let data: Vec<_> = self.data.iter().map(|(data, key)| (data.clone(), key.key.clone())).collect();
        (properties, data, self.has_own_space)
    }
}

pub(crate) type View = BTreeMap<String, Seen>;

impl Memory {
    pub(crate) fn put(&mut self, writer: &Writer, map_key: MapKey, node: CryptreeNode) {
        let cid = node.to_block().0;
        self.nodes.insert((writer.clone(), map_key), (cid, node));
    }

    fn node(&self, cap: &AbsoluteCapability) -> Option<&CryptreeNode> {
        self.nodes.get(&(cap.writer.clone(), cap.map_key)).map(|(_, node)| node)
    }

    /// Whether a capability opens anything.
    pub(crate) fn opens(&self, cap: &AbsoluteCapability) -> bool {
        self.node(cap).is_some_and(|node| node.open(&cap.base_key).is_ok())
    }

    pub(crate) fn children(&self, cap: &AbsoluteCapability, node: &CryptreeNode) -> ChildList {
        let blocks: Vec<Bytes> =
            node.data().fragments().iter().map(|fragment| self.fragments[&fragment.cid].clone()).collect();
        ChildList::from_cbor(&node.data().open(&cap.base_key, &blocks).expect("the child list opens")).unwrap()
    }

    /// Everything at and below a directory, each way up checked. Also all labels that belong to it.
    pub(crate) fn view(
        &self,
        cap: &AbsoluteCapability,
        signer: &SigningPrivateKeyAndPublicHash,
    ) -> (View, BTreeSet<(Writer, MapKey)>) {
        let (mut view, mut labels) = Default::default();
        self.look(cap, None, signer, String::new(), None, &mut view, &mut labels);
        (view, labels)
    }

    #[allow(clippy::too_many_arguments, reason = "a recursion")]
    fn look(
        &self,
        cap: &AbsoluteCapability,
        above: Option<(&AbsoluteCapability, &SymmetricKey)>,
        entry_signer: &SigningPrivateKeyAndPublicHash,
        path: String,
        link: Option<AbsoluteCapability>,
        view: &mut View,
        labels: &mut BTreeSet<(Writer, MapKey)>,
    ) {
        let node = self.node(cap).unwrap_or_else(|| panic!("{path}: no node"));
        assert!(labels.insert((cap.writer.clone(), cap.map_key)), "{path}: a label of two items");
        let open = node.open(&cap.base_key).unwrap_or_else(|error| panic!("{path}: {error}"));
        let signer = open.signer(cap, Some(entry_signer)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let properties = open.properties().clone();
        if let Some((above, parent_key)) = above {
            let up = open.parent_block().parent.as_ref().unwrap_or_else(|| panic!("{path}: no way up"));
            assert_eq!(up.location(&cap.owner, &cap.writer), above.location(), "{path}: the way up leads elsewhere");
            assert_eq!(up.base_key, *parent_key, "{path}: the way up has another key");
            assert_eq!((&up.bat, &up.write_link), (&above.bat, &None));
            let shown = self.node(above).unwrap().open(&up.base_key);
            assert!(matches!(shown, Ok(OpenNode::ByParentKey { .. })), "{path}: the way up shows too much");
        }
        if !properties.is_link {
            let has_own_space = above.is_some_and(|(above, _)| above.writer != cap.writer);
            assert_eq!(open.base_block().unwrap().signer.is_some(), has_own_space || above.is_none(), "{path}");
            let (is_dirty, data) = (open.is_dirty(), self.data(cap, &properties, labels));
            let seen = Seen { cap: cap.clone(), link, properties: properties.clone(), is_dirty, data, has_own_space };
            assert!(view.insert(path.clone(), seen).is_none(), "{path}: twice");
        }
        if let OpenNode::File { .. } = open {
            return;
        }
        let mut chunk = Some((cap.clone(), node, open));
        while let Some((chunk_cap, node, open)) = chunk.take() {
            let base = open.base_block().expect("opened with its base key");
            assert_ne!(base.key, cap.base_key);
            for (at, entry) in self.children(cap, node).capabilities().enumerate() {
                let child = entry.to_absolute(cap).expect("the link to the write key opens");
                if child.base_write_key.is_none() {
                    // Foreign: not ours to look at.
                    continue;
                }
                let name = match self.children(cap, node).named() {
                    Some(named) => named[at].name.as_str().to_owned(),
                    None => {
                        self.node(&child).unwrap().open(&child.base_key).unwrap().properties().name.as_str().to_owned()
                    }
                };
                let (path, link) = match properties.is_link {
                    true => (path.clone(), Some(cap.clone())),
                    false => (format!("{path}/{name}"), None),
                };
                let above = Some((cap, &base.key));
                self.look(&child, above, &signer, path, link, view, labels);
            }
            let next = chunk_cap.with_label(base.next.label());
            if let Some(node) = self.node(&next) {
                labels.insert((next.writer.clone(), next.map_key));
                let open = node.open(&next.base_key).expect("later chunks open with the same key");
                chunk = Some((next, node, open));
            }
        }
    }

    fn data(
        &self,
        cap: &AbsoluteCapability,
        properties: &FileProperties,
        labels: &mut BTreeSet<(Writer, MapKey)>,
    ) -> Vec<(NodeData, SymmetricKey)> {
        let Kind::File(secret) = &properties.kind else { return Vec::new() };
        let mut all = match secret {
            Some(secret) => ChunkLabels::new(cap.label(), secret.clone())
                .take(chunk_count(properties.size_bytes) as usize)
                .collect(),
            None => vec![cap.label()],
        };
        all.reverse();
        let mut data = Vec::new();
        while let Some(label) = all.pop() {
            let Some(node) = self.node(&cap.with_label(label.clone())) else { continue };
            labels.insert((cap.writer.clone(), label.map_key));
            let OpenNode::File { base, parent } = node.open(&cap.base_key).unwrap() else { panic!("no file") };
            assert_eq!(parent.properties.name, properties.name);
            assert_eq!(base.next.base_key, cap.base_key);
            data.push((node.data().clone(), base.key.clone()));
            if secret.is_none() {
                all.push(base.next.label());
            }
        }
        data
    }

    /// Plans a rotation and carries it out, checking that each change meets what it expects.
    pub(crate) fn rotate(
        &mut self,
        parent: &AbsoluteCapability,
        parent_signer: &SigningPrivateKeyAndPublicHash,
        entry: &Location,
        new_signers: bool,
    ) -> Result<Plan, RotationError<Infallible>> {
        let target = Target { parent, parent_signer, entry, new_signers, mirror: None };
        let mut rng = system_random();
        let planning = plan(self, target, &mut rng);
        moves_between_threads(&planning);
        let plan = planning.now_or_never().expect("memory never waits")?;
        let mut known: BTreeSet<Writer> = BTreeSet::from([parent.writer.clone()]);
        for space in &plan.spaces {
            assert!(known.contains(&space.owner) || plan.signers.contains_key(&space.owner));
            known.insert(space.signer.writer());
        }
        for change in &plan.changes {
            let signer = plan.signers.get(&change.writer).expect("a signer for each change");
            assert_eq!(signer.writer(), change.writer);
            let place = (change.writer.clone(), change.map_key);
            let before = self.nodes.remove(&place).map(|(cid, _)| cid);
            assert_eq!(before, change.before);
            if let Some(node) = &change.after {
                self.put(&change.writer, change.map_key, node.clone());
            }
            for fragment in &change.fragments {
                self.fragments.insert(fragment.cid().clone(), fragment.to_block());
            }
        }
        // Every old capability is dead, every new one opens.
        for item in &plan.items {
            assert!(!self.opens(&item.old) && self.opens(&item.new));
            assert_ne!(item.old.base_key, item.new.base_key);
            assert_ne!(item.old.base_write_key, item.new.base_write_key);
            assert!(item.link.as_ref().is_none_or(|link| self.opens(link)));
        }
        Ok(plan)
    }
}
