//! Changing a tree: all changes of a batch on the loaded paths in memory, then only the nodes that remain are written
//! (`spec/02` §6.4, §6.6, §6.7).

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::node::{key_order, sort};
use super::{
    BlockSource, Champ, ChampError, Entry, KeyHashing, MAX_BUCKET, MAX_DEPTH, Node, PARALLEL, SLOTS, Slot, slot,
};
use crate::encoding::{Cid, Value};

/// What a writer believes to be the value before its change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Anything.
    Any,
    /// Nothing.
    Absent,
    /// This value.
    Value(Value),
}

/// A change of one mapping.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// The value before; the whole batch fails if it is another.
    pub expected: Expected,
    /// The value after; none removes the mapping.
    pub value: Option<Value>,
}

impl Change {
    /// Sets a mapping; `expected` is its value before, none for a new one.
    pub fn put(key: impl Into<Bytes>, expected: Option<Value>, value: Value) -> Self {
        let expected = expected.map_or(Expected::Absent, Expected::Value);
        Change { key: key.into(), expected, value: Some(value) }
    }

    /// Removes a mapping that has this value.
    pub fn remove(key: impl Into<Bytes>, expected: Value) -> Self {
        Change { key: key.into(), expected: Expected::Value(expected), value: None }
    }

    /// Removes a mapping, if it is there at all.
    pub fn discard(key: impl Into<Bytes>) -> Self {
        Change { key: key.into(), expected: Expected::Any, value: None }
    }
}

/// A changed tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// Its root.
    pub root: Cid,
    /// The nodes that were not there before, children before parents.
    pub blocks: Vec<(Cid, Bytes)>,
}

impl<S: BlockSource> Champ<S> {
    /// Changes a tree. The changes happen in order, all or none.
    pub async fn apply(&self, root: &Cid, changes: &[Change]) -> Result<Changed, ChampError<S::Error>> {
        let (old, _) = self.load(root).await?;
        let (mut node, mut blocks) = self.apply_in(&old, changes).await?;
        node.bat = self.root_bat.clone();
        let (new, block) = node.to_block();
        if new != *root {
            blocks.push((new.clone(), block));
        }
        Ok(Changed { root: new, blocks })
    }

    /// Changes a tree whose root is not a block of its own. The new root comes back as a node, with the token it had; the
    /// blocks are those of new nodes below it.
    pub async fn apply_in(
        &self,
        root: &Node,
        changes: &[Change],
    ) -> Result<(Node, Vec<(Cid, Bytes)>), ChampError<S::Error>> {
        let hashed: Vec<_> = changes.iter().map(|change| self.hashing.hash(&change.key)).collect();
        self.check_place(root, &[])?;
        let loaded = self.load_paths(root, &hashed).await?;
        let mut tree = Draft::open(root);
        for (change, hash) in changes.iter().zip(&hashed) {
            tree.change(change, hash, &loaded)?;
        }
        let mut blocks = Vec::new();
        let mut node = tree.close(0, self.hashing, &mut blocks).ok_or(ChampError::TooDeep)?;
        node.bat = root.bat.clone();
        blocks.retain(|(cid, _)| !loaded.contains_key(cid));
        Ok((node, blocks))
    }

    /// Loads every node below `root` on the way to the given hashes, level by level. What stands in one and belongs
    /// elsewhere could take the place of what is changed.
    async fn load_paths(
        &self,
        root: &Node,
        hashes: &[Cow<'_, [u8]>],
    ) -> Result<HashMap<Cid, Node>, ChampError<S::Error>> {
        let mut loaded: HashMap<Cid, Node> = HashMap::new();
        let mut at: Vec<(usize, Cid)> =
            hashes.iter().enumerate().filter_map(|(index, hash)| Some((index, child(root, hash, 0)?))).collect();
        for depth in 1..=MAX_DEPTH {
            let wanted: BTreeSet<&Cid> =
                at.iter().map(|(_, cid)| cid).filter(|cid| !loaded.contains_key(*cid)).collect();
            let wanted: Vec<Cid> = wanted.into_iter().cloned().collect();
            for some in wanted.chunks(PARALLEL) {
                let nodes = try_join_all(some.iter().map(|cid| self.load(cid))).await?;
                loaded.extend(some.iter().cloned().zip(nodes.into_iter().map(|(node, _)| node)));
            }
            let path = |index: usize| (0..depth).map(|above| slot(&hashes[index], above) as u8).collect();
            let places: BTreeSet<(&Cid, Vec<u8>)> = at.iter().map(|(index, cid)| (cid, path(*index))).collect();
            for (cid, path) in places {
                self.check_place(&loaded[cid], &path)?;
            }
            at = at
                .into_iter()
                .filter_map(|(index, cid)| Some((index, child(&loaded[&cid], &hashes[index], depth)?)))
                .collect();
        }
        if at.is_empty() { Ok(loaded) } else { Err(ChampError::TooDeep) }
    }
}

fn child(node: &Node, hash: &[u8], depth: usize) -> Option<Cid> {
    match &node.slots[slot(hash, depth)] {
        Slot::Child(cid) => Some(cid.clone()),
        _ => None,
    }
}

/// A node while it is being changed; its buckets may be empty or too large.
struct Draft {
    slots: [DraftSlot; SLOTS],
}

enum DraftSlot {
    Bucket(Vec<Entry>),
    Link(Cid),
    Open(Box<Draft>),
}

impl Draft {
    fn open(node: &Node) -> Self {
        let open = |slot: &Slot| match slot {
            Slot::Empty => DraftSlot::Bucket(Vec::new()),
            Slot::Bucket(entries) => DraftSlot::Bucket(entries.clone()),
            Slot::Child(cid) => DraftSlot::Link(cid.clone()),
        };
        Draft { slots: std::array::from_fn(|at| open(&node.slots[at])) }
    }

    fn of_entries(entries: Vec<Entry>, depth: usize, hashing: KeyHashing) -> Self {
        let mut draft = Draft::open(&Node::default());
        for entry in entries {
            let at = slot(&hashing.hash(&entry.key), depth);
            if let DraftSlot::Bucket(bucket) = &mut draft.slots[at] {
                bucket.push(entry);
            }
        }
        draft
    }

    fn change<E>(&mut self, change: &Change, hash: &[u8], loaded: &HashMap<Cid, Node>) -> Result<(), ChampError<E>> {
        let mut draft = self;
        for depth in 0..=MAX_DEPTH {
            let slot = &mut draft.slots[slot(hash, depth)];
            if let DraftSlot::Link(cid) = slot {
                let node = loaded.get(cid).ok_or_else(|| ChampError::Missing(cid.clone()))?;
                *slot = DraftSlot::Open(Box::new(Draft::open(node)));
            }
            match slot {
                DraftSlot::Open(child) => draft = child,
                DraftSlot::Bucket(entries) => return edit(entries, change),
                DraftSlot::Link(cid) => return Err(ChampError::Missing(cid.clone())),
            }
        }
        Err(ChampError::TooDeep)
    }

    /// Brings the node and what was opened below it into the canonical form and encodes the children. None if keys
    /// cannot be told apart within [`MAX_DEPTH`].
    fn close(self, depth: usize, hashing: KeyHashing, blocks: &mut Vec<(Cid, Bytes)>) -> Option<Node> {
        let mut node = Node::default();
        for (at, slot) in self.slots.into_iter().enumerate() {
            let child = match slot {
                DraftSlot::Link(cid) => {
                    node.slots[at] = Slot::Child(cid);
                    continue;
                }
                DraftSlot::Bucket(entries) if entries.len() <= MAX_BUCKET => {
                    node.slots[at] = bucket(entries);
                    continue;
                }
                DraftSlot::Bucket(_) if depth == MAX_DEPTH => return None,
                DraftSlot::Bucket(entries) => Draft::of_entries(entries, depth + 1, hashing),
                DraftSlot::Open(child) => *child,
            };
            let child = child.close(depth + 1, hashing, blocks)?;
            node.slots[at] = match child.as_bucket() {
                Some(entries) => bucket(entries),
                None => {
                    let (cid, block) = child.to_block();
                    blocks.push((cid.clone(), block));
                    Slot::Child(cid)
                }
            };
        }
        Some(node)
    }
}

fn bucket(mut entries: Vec<Entry>) -> Slot {
    if entries.is_empty() {
        return Slot::Empty;
    }
    sort(&mut entries);
    Slot::Bucket(entries)
}

fn edit<E>(entries: &mut Vec<Entry>, change: &Change) -> Result<(), ChampError<E>> {
    let at = entries.iter().position(|entry| entry.key == change.key);
    let current = at.and_then(|at| entries[at].present());
    let as_expected = match &change.expected {
        Expected::Any => true,
        Expected::Absent | Expected::Value(Value::Null) => current.is_none(),
        Expected::Value(value) => current == Some(value),
    };
    if !as_expected {
        return Err(ChampError::Mismatch { key: change.key.clone() });
    }
    match (at, &change.value) {
        (Some(at), Some(value)) => entries[at].value = value.clone(),
        (Some(at), None) => drop(entries.remove(at)),
        (None, Some(value)) => {
            let at = entries.partition_point(|entry| key_order(&entry.key, &change.key).is_lt());
            entries.insert(at, Entry { key: change.key.clone(), value: value.clone() });
        }
        (None, None) => {}
    }
    Ok(())
}
