//! What comes in for an account while the collector looks at it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::Owner;

/// Locks of puts; two owners share one only by accident.
const STRIPES: usize = 256;

/// Most blocks that are noted during one collection of one account. Beyond, everything counts as put, so that nothing more
/// is deleted this time.
const MAX_NOTED: usize = 1 << 20;

/// Between those who write and the collector. Locks are taken in this order: the owner's, the puts', the notes'.
pub(crate) struct News {
    notes: Mutex<Option<Notes>>,
    /// Shared by puts, held alone by the collector while it deletes.
    puts: [RwLock<()>; STRIPES],
    hasher: RandomState,
}

struct Notes {
    owner: Owner,
    /// Keyed hashes of blocks that were put, there before or not.
    put: HashSet<u64>,
    /// Pointers may have moved since somebody asked.
    moved: bool,
    /// Something was put, or pointers may have moved, since the watch began.
    is_quiet: bool,
}

impl Default for News {
    fn default() -> Self {
        News { notes: Mutex::default(), puts: [const { RwLock::new(()) }; STRIPES], hasher: RandomState::new() }
    }
}

impl News {
    /// To be held from before the guards of a put are written until its blocks are stored.
    pub(crate) fn putting(&self, owner: &Owner, blocks: &[(Cid, Bytes)]) -> RwLockReadGuard<'_, ()> {
        let lock = self.stripe(owner).read().unwrap_or_else(PoisonError::into_inner);
        if let Some(notes) = self.notes().as_mut().filter(|notes| notes.owner == *owner) {
            notes.is_quiet = false;
            if notes.put.len() < MAX_NOTED {
                notes.put.extend(blocks.iter().map(|(cid, _)| self.hasher.hash_one(cid)));
            }
        }
        lock
    }

    /// To be called under the owner's lock, before a commit that moves pointers is stored.
    pub(crate) fn moving(&self, owner: &Owner) {
        if let Some(notes) = self.notes().as_mut().filter(|notes| notes.owner == *owner) {
            notes.is_quiet = false;
            notes.moved = true;
        }
    }

    /// Keeps puts of the owner waiting, after those in work are done.
    pub(super) fn lock_puts(&self, owner: &Owner) -> RwLockWriteGuard<'_, ()> {
        self.stripe(owner).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes notes about an owner until the watch is dropped.
    pub(super) fn watch(&self, owner: &Owner) -> Watch<'_> {
        *self.notes() = Some(Notes { owner: owner.clone(), put: HashSet::new(), moved: false, is_quiet: true });
        Watch(self)
    }

    /// Whether pointers moved since the last call. To be called under the owner's lock: what is noted then is stored, or
    /// never will be.
    pub(super) fn take_moved(&self) -> bool {
        self.notes().as_mut().is_some_and(|notes| std::mem::take(&mut notes.moved))
    }

    /// Whether a block was put since the watch began.
    pub(super) fn was_put(&self, cid: &Cid) -> bool {
        let hash = self.hasher.hash_one(cid);
        self.notes().as_ref().is_none_or(|notes| notes.put.len() >= MAX_NOTED || notes.put.contains(&hash))
    }

    fn stripe(&self, owner: &Owner) -> &RwLock<()> {
        &self.puts[self.hasher.hash_one(owner) as usize % STRIPES]
    }

    // Sets and flags: a panic leaves none of them half changed.
    fn notes(&self) -> MutexGuard<'_, Option<Notes>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes are taken while this lives.
pub(super) struct Watch<'a>(&'a News);

impl Watch<'_> {
    /// Whether nothing was put and no pointer moved since the watch began.
    pub(super) fn is_quiet(&self) -> bool {
        self.0.notes().as_ref().is_some_and(|notes| notes.is_quiet)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        *self.0.notes() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrgos_protocol::keys::KeyHash;

    #[test]
    fn notes_are_of_the_watched_owner_only() {
        let [alice, bob] = [b"alice".as_slice(), b"bob"].map(|name| Owner::new(KeyHash::of_key_cbor(name)));
        let block = (Cid::of_raw(b"block"), Bytes::from_static(b"block"));
        let news = News::default();
        let watch = news.watch(&alice);
        assert!(watch.is_quiet() && !news.take_moved() && !news.was_put(&block.0));
        drop(news.putting(&bob, std::slice::from_ref(&block)));
        news.moving(&bob);
        assert!(watch.is_quiet() && !news.take_moved() && !news.was_put(&block.0));
        news.moving(&alice);
        drop(news.putting(&alice, std::slice::from_ref(&block)));
        assert!(!watch.is_quiet() && news.was_put(&block.0));
        assert!(news.take_moved() && !news.take_moved());
        drop(watch);
        assert!(news.was_put(&Cid::of_raw(b"any")), "nobody watches, so nobody knows");
    }
}
