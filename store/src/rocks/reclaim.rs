//! Gives the space of deleted blocks back to the file system.

use std::sync::atomic::Ordering;

use rocksdb::WriteBatch;

use super::blocks::Placed;
use super::segments::Position;
use super::{BLOCKS, EXTENTS, INDEX, RocksStore, database, family, lock};
use crate::StoreError;

/// Properties of the database: entries of a family, bytes of its blob files.
const ENTRIES: &str = "rocksdb.estimate-num-keys";
const BLOB_BYTES: &str = "rocksdb.total-blob-file-size";

/// Less than this in the newest segment is not worth ending it for.
const WORTH_BYTES: u64 = 16 << 20;

/// So many bytes are copied and synced at a time, since commits wait meanwhile.
const SLICE_BYTES: u64 = 4 << 20;

/// What is in a segment.
struct Content {
    /// In slices of about [`SLICE_BYTES`].
    live: Vec<Vec<Placed>>,
    live_bytes: u64,
}

impl RocksStore {
    /// Removes segments in which less than half of the bytes are of blocks that are still there, after moving those.
    /// Answers the bytes given back. Costs one look-up for each large block of the store.
    pub(super) fn reclaim_segments(&self) -> Result<u64, StoreError> {
        let _one_at_a_time = lock(&self.reclaiming);
        // Nothing that an earlier sync failed on is left behind this.
        self.settle()?;
        let mut emptied = Vec::new();
        let mut freed = 0;
        for (segment, length) in self.segments.list()? {
            let content = self.content(segment)?;
            if length > 0 && content.live_bytes * 2 >= length {
                continue;
            }
            {
                let mut tail = lock(&self.tail);
                if tail.end().segment == segment {
                    if length < self.options.segment_bytes.min(WORTH_BYTES) {
                        continue;
                    }
                    self.segments.rotate(&mut tail);
                }
            }
            // Blocks that came between the look and the end of the newest segment.
            let content = self.content(segment)?;
            match content.live.iter().try_for_each(|slice| self.move_blocks(slice, &mut lock(&self.settled))) {
                Ok(()) => {}
                Err(StoreError::Damaged { what }) => {
                    tracing::error!(what, "a segment stays, since not all of it can be read");
                    continue;
                }
                Err(error) => return Err(error),
            }
            emptied.push(segment);
            freed += length.saturating_sub(content.live_bytes);
        }
        if !emptied.is_empty() {
            // A file goes only when no row that a crash may leave points into it.
            self.make_durable(WriteBatch::default())?;
            for segment in emptied {
                self.segments.remove(segment)?;
            }
        }
        Ok(freed)
    }

    /// Lets the database forget deleted small blocks, if a tenth of what there is was deleted since the last time: it would do
    /// so by itself once enough else is written, which may be never. Moves references, and the live blocks of old files
    /// of which half is garbage. Answers the bytes given back.
    pub(super) fn reclaim_small(&self) -> Result<u64, StoreError> {
        let deleted = self.deleted.load(Ordering::Relaxed);
        let number = |name: &str, property: &str| {
            let value = self.db.property_int_value_cf(family(&self.db, name)?, property);
            Ok::<_, StoreError>(value.map_err(database("ask for sizes"))?.unwrap_or(0))
        };
        if deleted == 0 || deleted.saturating_mul(10) < number(INDEX, ENTRIES)? {
            return Ok(0);
        }
        let before = number(BLOCKS, BLOB_BYTES)?;
        for name in [BLOCKS, INDEX, EXTENTS] {
            self.db.compact_range_cf(family(&self.db, name)?, None::<&[u8]>, None::<&[u8]>);
        }
        self.deleted.fetch_sub(deleted, Ordering::Relaxed);
        Ok(before.saturating_sub(number(BLOCKS, BLOB_BYTES)?))
    }

    /// Looks at a segment, and drops the rows of extents whose blocks are gone.
    fn content(&self, segment: u32) -> Result<Content, StoreError> {
        let mut content = Content { live: Vec::new(), live_bytes: 0 };
        let mut gone = WriteBatch::default();
        let mut slice_bytes = SLICE_BYTES;
        for row in self.extents(Position { segment, offset: 0 })? {
            let (at, key) = row?;
            if at.segment != segment {
                break;
            }
            match self.is_live(&key, at)? {
                Some(extent) => {
                    content.live_bytes += u64::from(extent.length);
                    if slice_bytes >= SLICE_BYTES {
                        content.live.push(Vec::new());
                        slice_bytes = 0;
                    }
                    slice_bytes += u64::from(extent.length);
                    if let Some(slice) = content.live.last_mut() {
                        slice.push((at, key));
                    }
                }
                None => gone.delete_cf(family(&self.db, EXTENTS)?, at.to_bytes()),
            }
        }
        self.write(gone, false)?;
        Ok(content)
    }
}
