//! Opaque bytes under their content identifier, one partition for each owner.

use std::sync::Arc;

use bytes::Bytes;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::Owner;

use crate::StoreError;

/// One row of [`Blocks::list`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockEntry {
    /// The block's address.
    pub cid: Cid,
    /// Its length in bytes.
    pub size: u64,
}

/// Blocks by owner (`spec/02` §2.4: a block is stored per owner, the same block of two owners exists twice).
///
/// A store does not hash: whoever puts a block has checked that its CID names it. Identity CIDs hold their own content
/// and are never put.
pub trait Blocks: Send + Sync {
    /// Stores blocks in the owner's partition; they can be read when this returns. Putting a block that is there
    /// changes nothing. Durable at the latest when the next durable [`Records::commit`](crate::Records::commit)
    /// returns. On an error none, some or all of the blocks are stored.
    fn put(&self, owner: &Owner, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError>;

    /// The block's bytes.
    fn get(&self, owner: &Owner, cid: &Cid) -> Result<Option<Bytes>, StoreError>;

    /// The block's length in bytes. Does not read the block.
    fn size(&self, owner: &Owner, cid: &Cid) -> Result<Option<u64>, StoreError>;

    /// Whether the block is there. Does not read the block.
    fn has(&self, owner: &Owner, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.size(owner, cid)?.is_some())
    }

    /// Removes blocks; those that are absent are passed over. Durable like a put.
    fn delete(&self, owner: &Owner, cids: &[Cid]) -> Result<(), StoreError>;

    /// Removes the owner's whole partition as one range. Durable like a put.
    fn delete_all(&self, owner: &Owner) -> Result<(), StoreError>;

    /// The owner's blocks in the order of their binary CIDs, at most `limit` of them, beginning behind `after`. Does not
    /// read the blocks. An answer shorter than `limit` is the last.
    fn list(&self, owner: &Owner, after: Option<&Cid>, limit: usize) -> Result<Vec<BlockEntry>, StoreError>;

    /// Owners that have blocks, at most `limit` of them, beginning behind `after`, in an order that stays the same. Costs
    /// one step for each owner, however many blocks there are. An answer shorter than `limit` is the last.
    fn owners(&self, after: Option<&Owner>, limit: usize) -> Result<Vec<Owner>, StoreError>;

    /// Whether blocks may be missing that a `put` before this store was opened had accepted, since the machine went down
    /// under the process before this one. A client that did not notice may still send the pointer to them; see the
    /// [crate's page](crate#what-is-durable-when).
    fn may_have_lost_puts(&self) -> bool {
        false
    }

    /// Whether the store takes no more writes, records or blocks, until it is opened again.
    fn is_broken(&self) -> bool {
        false
    }

    /// Whether a put would find room, for whoever writes something else first. A put asks for itself.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`].
    fn check_space(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Gives the space of deleted blocks back to the file system, where that does not happen by itself. Answers the
    /// bytes given back. For whoever collects garbage, after deleting; takes long.
    fn reclaim(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

impl<S: Blocks + ?Sized> Blocks for Arc<S> {
    fn put(&self, owner: &Owner, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        (**self).put(owner, blocks)
    }

    fn get(&self, owner: &Owner, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        (**self).get(owner, cid)
    }

    fn size(&self, owner: &Owner, cid: &Cid) -> Result<Option<u64>, StoreError> {
        (**self).size(owner, cid)
    }

    fn has(&self, owner: &Owner, cid: &Cid) -> Result<bool, StoreError> {
        (**self).has(owner, cid)
    }

    fn delete(&self, owner: &Owner, cids: &[Cid]) -> Result<(), StoreError> {
        (**self).delete(owner, cids)
    }

    fn delete_all(&self, owner: &Owner) -> Result<(), StoreError> {
        (**self).delete_all(owner)
    }

    fn list(&self, owner: &Owner, after: Option<&Cid>, limit: usize) -> Result<Vec<BlockEntry>, StoreError> {
        (**self).list(owner, after, limit)
    }

    fn owners(&self, after: Option<&Owner>, limit: usize) -> Result<Vec<Owner>, StoreError> {
        (**self).owners(after, limit)
    }

    fn may_have_lost_puts(&self) -> bool {
        (**self).may_have_lost_puts()
    }

    fn is_broken(&self) -> bool {
        (**self).is_broken()
    }

    fn check_space(&self) -> Result<(), StoreError> {
        (**self).check_space()
    }

    fn reclaim(&self) -> Result<u64, StoreError> {
        (**self).reclaim()
    }
}
