//! What differs between two trees, and joining the changes of two writers (`spec/02` §6.9).

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::{
    BlockSource, Champ, ChampError, Change, Changed, Entry, Expected, MAX_DEPTH, Node, PARALLEL, SLOTS, Slot, slot,
};
use crate::encoding::{Cid, Value};

/// A mapping that two trees disagree about. A null value counts as absent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The key.
    pub key: Bytes,
    /// Its value in the first tree.
    pub before: Option<Value>,
    /// Its value in the second tree.
    pub after: Option<Value>,
}

/// One tree at one place of the walk: a node, or the mappings of a bucket further up that belong here.
enum Side {
    Node(Cid),
    Handed(Vec<Entry>),
}

struct Place {
    before: Side,
    after: Side,
    /// Slots from the root to here.
    path: Vec<u8>,
}

impl<S: BlockSource> Champ<S> {
    /// What differs between two trees; an absent tree has no mapping. Only subtrees that differ are loaded.
    pub async fn diff(
        &self,
        before: Option<&Cid>,
        after: Option<&Cid>,
    ) -> Result<Vec<Difference>, ChampError<S::Error>> {
        if before == after {
            return Ok(Vec::new());
        }
        let side = |root: Option<&Cid>| root.map_or(Side::Handed(Vec::new()), |root| Side::Node(root.clone()));
        let mut places = vec![Place { before: side(before), after: side(after), path: Vec::new() }];
        let mut differences = Vec::new();
        while !places.is_empty() {
            let some = places.split_off(places.len().saturating_sub(PARALLEL / 2));
            let nodes =
                try_join_all(some.iter().flat_map(|place| [&place.before, &place.after]).map(|side| self.side(side)));
            let mut nodes = nodes.await?.into_iter();
            for place in &some {
                let mut open = |side: &Side| self.slots(side, nodes.next().flatten(), &place.path);
                let (before, after) = (open(&place.before)?, open(&place.after)?);
                compare(before, after, &place.path, &mut places, &mut differences);
            }
        }
        Ok(differences)
    }

    async fn side(&self, side: &Side) -> Result<Option<Node>, ChampError<S::Error>> {
        match side {
            Side::Node(cid) => Ok(Some(self.load(cid).await?.0)),
            Side::Handed(_) => Ok(None),
        }
    }

    /// The eight slots of a side.
    fn slots(&self, side: &Side, node: Option<Node>, path: &[u8]) -> Result<[Side; SLOTS], ChampError<S::Error>> {
        if path.len() > MAX_DEPTH {
            return Err(ChampError::TooDeep);
        }
        if let Some(node) = node {
            self.check_place(&node, path)?;
            return Ok(node.slots.map(|slot| match slot {
                Slot::Empty => Side::Handed(Vec::new()),
                Slot::Bucket(entries) => Side::Handed(entries),
                Slot::Child(cid) => Side::Node(cid),
            }));
        }
        let mut slots: [Vec<Entry>; SLOTS] = Default::default();
        if let Side::Handed(entries) = side {
            for entry in entries {
                slots[slot(&self.hashing.hash(&entry.key), path.len())].push(entry.clone());
            }
        }
        Ok(slots.map(Side::Handed))
    }

    /// Joins the changes from `base` to `theirs` into `ours`. A mapping that both changed is a conflict, even if both
    /// gave it the same value. What they removed is removed, where the reference leaves a null (`spec/02` §6.8).
    ///
    /// The blocks are those that neither of the trees has.
    pub async fn merge(
        &self,
        base: Option<&Cid>,
        ours: Option<&Cid>,
        theirs: Option<&Cid>,
    ) -> Result<Changed, ChampError<S::Error>> {
        let own = self.diff(base, ours).await?;
        let other = self.diff(base, theirs).await?;
        let own: HashSet<&Bytes> = own.iter().map(|difference| &difference.key).collect();
        if let Some(both) = other.iter().find(|difference| own.contains(&difference.key)) {
            return Err(ChampError::Conflict { key: both.key.clone() });
        }
        let changes: Vec<Change> = other
            .into_iter()
            .map(|difference| Change {
                key: difference.key,
                expected: difference.before.map_or(Expected::Absent, Expected::Value),
                value: difference.after,
            })
            .collect();
        match ours {
            Some(ours) => self.apply(ours, &changes).await,
            None => {
                let (node, mut blocks) = self.apply_in(&Node::default(), &changes).await?;
                let node = Node { bat: self.root_bat.clone(), ..node };
                let (root, block) = node.to_block();
                blocks.push((root.clone(), block));
                Ok(Changed { root, blocks })
            }
        }
    }
}

/// Compares all eight slots: mappings handed down from above may be in slots that neither node uses.
fn compare(
    before: [Side; SLOTS],
    after: [Side; SLOTS],
    path: &[u8],
    places: &mut Vec<Place>,
    differences: &mut Vec<Difference>,
) {
    for (at, (before, after)) in before.into_iter().zip(after).enumerate() {
        match (before, after) {
            (Side::Node(before), Side::Node(after)) if before == after => {}
            (Side::Handed(before), Side::Handed(after)) => compare_entries(before, after, differences),
            (before, after) => places.push(Place { before, after, path: [path, &[at as u8]].concat() }),
        }
    }
}

fn compare_entries(before: Vec<Entry>, after: Vec<Entry>, differences: &mut Vec<Difference>) {
    let mut values: BTreeMap<Bytes, [Option<Value>; 2]> = BTreeMap::new();
    for (side, entries) in [before, after].into_iter().enumerate() {
        for entry in entries {
            let value = entry.present().cloned();
            values.entry(entry.key).or_default()[side] = value;
        }
    }
    for (key, [before, after]) in values {
        if before != after {
            differences.push(Difference { key, before, after });
        }
    }
}
