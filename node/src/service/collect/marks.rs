//! The blocks that stay.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use pyrgos_protocol::encoding::{Cid, Value};

use super::super::view::has_links;
use super::Stopped;

/// Blocks that were seen and not yet read. A tree of files needs a few hundred; only one that somebody built for it needs
/// more.
const MAX_PENDING: usize = 1 << 20;

/// A set of blocks, by keyed hashes: a few bytes for each, and nobody can choose two blocks with the same hash.
pub(super) struct Marks {
    /// 128 bits of blocks that were entered: two blocks with one hash would leave all that is below the second unmarked, so
    /// there must be none. Among ten million blocks they are with a probability of 10⁻²⁵.
    entered: HashSet<u128>,
    /// 64 bits of blocks that stay but were not entered: two with one hash leave a piece of garbage.
    kept: HashSet<u64>,
    hashers: [RandomState; 2],
    limit: usize,
}

impl Marks {
    /// Of at most `limit` blocks.
    pub(super) fn new(limit: usize) -> Self {
        let hashers = [RandomState::new(), RandomState::new()];
        Marks { entered: HashSet::new(), kept: HashSet::new(), hashers, limit }
    }

    /// Keeps a block, but not what it links to.
    pub(super) fn keep(&mut self, cid: &Cid) -> Result<(), Stopped> {
        self.kept.insert(self.hashers[0].hash_one(cid));
        self.check_limit()
    }

    /// Whether a block stays.
    pub(super) fn holds(&self, cid: &Cid) -> bool {
        (has_links(cid.codec()) && self.entered.contains(&self.name(cid)))
            || self.kept.contains(&self.hashers[0].hash_one(cid))
    }

    /// Marks a block and all that it reaches. What was marked before is not entered again. `read` gives a block.
    pub(super) fn mark_below(
        &mut self,
        root: &Cid,
        mut read: impl FnMut(&Cid) -> Result<Option<Bytes>, Stopped>,
    ) -> Result<(), Stopped> {
        let mut pending = Vec::new();
        // If marking ends with an error, blocks are marked whose subtrees are not. Whoever gets the error deletes nothing.
        self.see(root.clone(), &mut pending)?;
        while let Some(cid) = pending.pop() {
            let block = read(&cid)?.ok_or_else(|| Stopped::Missing(cid.clone()))?;
            // Links of other bytes than were written would be other links.
            if !cid.matches(&block) {
                return Err(Stopped::Unreadable(cid));
            }
            let value = Value::decode_shared(&block).map_err(|_| Stopped::Unreadable(cid))?;
            for link in value.links() {
                self.see(link, &mut pending)?;
            }
        }
        Ok(())
    }

    fn see(&mut self, cid: Cid, pending: &mut Vec<Cid>) -> Result<(), Stopped> {
        if cid.identity_content().is_some() {
            return Ok(());
        }
        if !has_links(cid.codec()) {
            return self.keep(&cid);
        }
        if self.entered.insert(self.name(&cid)) {
            self.check_limit()?;
            if pending.len() >= MAX_PENDING {
                return Err(Stopped::TooMany);
            }
            pending.push(cid);
        }
        Ok(())
    }

    fn name(&self, cid: &Cid) -> u128 {
        let [high, low] = [0, 1].map(|at: usize| u128::from(self.hashers[at].hash_one(cid)));
        high << 64 | low
    }

    fn check_limit(&self) -> Result<(), Stopped> {
        match self.entered.len() + self.kept.len() <= self.limit {
            true => Ok(()),
            false => Err(Stopped::TooMany),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(links: &[&Cid]) -> (Cid, Bytes) {
        let bytes = Bytes::from(Value::List(links.iter().map(|cid| Value::Link((*cid).clone())).collect()).encode());
        (Cid::of_cbor(&bytes), bytes)
    }

    #[test]
    fn a_tree_that_explodes_is_entered_once() {
        let mut blocks = vec![block(&[])];
        for _ in 0..60 {
            let below = &blocks[blocks.len() - 1].0;
            blocks.push(block(&[below, below]));
        }
        let mut marks = Marks::new(1000);
        let mut reads = 0;
        let root = blocks[60].0.clone();
        let read = |cid: &Cid| {
            reads += 1;
            Ok(blocks.iter().find(|(known, _)| known == cid).map(|(_, bytes)| bytes.clone()))
        };
        marks.mark_below(&root, read).unwrap();
        assert_eq!(reads, 61);
        assert!(blocks.iter().all(|(cid, _)| marks.holds(cid)));
        assert!(!marks.holds(&Cid::of_raw(b"another")));
        let find = |cid: &Cid| Ok(blocks.iter().find(|(known, _)| known == cid).map(|(_, bytes)| bytes.clone()));
        assert!(matches!(Marks::new(60).mark_below(&root, find), Err(Stopped::TooMany)));
        Marks::new(61).mark_below(&root, find).unwrap();
    }

    #[test]
    fn what_is_kept_is_still_entered_when_it_is_reached() {
        let leaf = Cid::of_raw(b"a raw block");
        let (root, bytes) = block(&[&leaf]);
        let mut marks = Marks::new(10);
        marks.keep(&root).unwrap();
        assert!(marks.holds(&root) && !marks.holds(&leaf));
        marks.mark_below(&root, |_| Ok(Some(bytes.clone()))).unwrap();
        assert!(marks.holds(&leaf));
    }

    #[test]
    fn other_bytes_and_other_things_than_cbor_stop_it() {
        let (root, _) = block(&[]);
        let mut marks = Marks::new(10);
        let other = Bytes::from_static(b"\x81\x00");
        assert!(
            matches!(marks.mark_below(&root, |_| Ok(Some(other.clone()))), Err(Stopped::Unreadable(cid)) if cid == root)
        );
        let broken = Bytes::from_static(b"\xff");
        let root = Cid::of_cbor(&broken);
        assert!(matches!(marks.mark_below(&root, |_| Ok(Some(broken.clone()))), Err(Stopped::Unreadable(_))));
        assert!(matches!(Marks::new(10).mark_below(&root, |_| Ok(None)), Err(Stopped::Missing(_))));
    }
}
