//! Both traits on a disk.
//!
//! A data directory holds
//!
//! * `db`: a RocksDB with a column family for each [`Table`], one for the index of the blocks (partition and CID → size
//!   and place) and one, with blob files, for the bytes of small blocks. All of it goes through its write-ahead log;
//! * `bulk`: segments, files that large blocks ([`Options::bulk_bytes`]) are appended to, and nothing else. A large block
//!   is written to the disk once, and neither copied by compactions nor held in memory;
//! * `lock`, `schema` and `running`: who has the directory, what version wrote it (a newer one is refused; a new column
//!   family is a new version), and whether it was closed.
//!
//! # Why segments
//!
//! RocksDB writes a block to its log and, when the memory table is flushed, again to a blob file. It can be told to leave
//! the log out, but then each pointer update has to wait for a flush, which makes a table and a blob file each time, and
//! a killed process loses blocks that it had accepted. (`enable_blob_direct_write` of RocksDB 11 writes blobs directly,
//! but is experimental and cannot recover them from the log.) Measured with `benches/bulk.rs` (virtual machine with 2
//! cores and ext4, while other builds used disk and cores: medians of runs that took turns; compare within a row):
//!
//! | blocks, blocks in a commit | plain file, `fdatasync` | this store | all through the log | outside the log, flush at commit | flush at put |
//! |---|---|---|---|---|---|
//! | 1 GiB of 1 MiB, 5: MiB/s | 206 | 222 | 129 | 63 | 31 |
//! | written per byte stored, files | 1.00, 1 | 1.00, 13 | 1.99, 73 | 1.01, 213 | 1.02, 2048 |
//! | resident memory, peak, MiB | 14, 14 | 19, 19 | 66, 72 | 16, 22 | 21, 25 |
//! | 1000 MiB of 1 MiB, 100: MiB/s | 913 | 819 | 105 | 162 | |
//! | written per byte stored, files | 1.00, 1 | 1.00, 13 | 1.99, 60 | 1.00, 61 | |
//! | 64 MiB of 256 KiB, 1: MiB/s | 48 | 21 | 40 | 7 | |
//! | written per byte stored, files | 1.00, 1 | 1.02, 10 | 2.00, 18 | 1.13, 520 | |
//! | 16 MiB of 20 000 bytes, 3: MiB/s | 11 | 10 | 10 | 1 | |
//! | written per byte stored, files | 1.07, 1 | 2.05, 13 | 2.06, 8 | 1.57, 291 | |
//!
//! The third row shows the price: a commit with large blocks syncs two files, the segment and the log. Small blocks
//! stay in the log for that reason: one sync, and twice the bytes of what is little.
//!
//! # Why nothing that was acknowledged is lost
//!
//! A put writes the bytes to a segment and then their index row to the log, unsynced. A commit syncs the segments, and
//! then writes its records and the position up to which segments are settled to the log and syncs that. So a row that a
//! crash leaves in the log either points before the settled position, where all bytes are on the disk, or is looked at
//! when the store is opened: its bytes have the checksum that the row names, or the row goes. The row was not followed by
//! a commit then. `kill -9` takes nothing, since the kernel has all bytes; a changed boot id tells it from power loss
//! ([`Blocks::may_have_lost_puts`](crate::Blocks::may_have_lost_puts)).
//!
//! Copies that [`Blocks::reclaim`](crate::Blocks::reclaim) makes are synced before rows point at them, and old segments
//! go when these rows are synced. After a sync that failed nobody trusts the file: what was unsettled is written again
//! elsewhere before a commit succeeds.
//!
//! # A full disk
//!
//! Blocks are refused early ([`Options::reserve_bytes`]). If the disk fills up all the same, writes fail with
//! [`StoreError::DiskFull`], also those that would have waited for a flush, and RocksDB looks for space every few seconds
//! and then goes on by itself.

mod blocks;
mod folder;
mod reclaim;
mod records;
mod segments;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, LogLevel, WriteBatch,
    WriteOptions,
};

use crate::{StoreError, Table};
use folder::{Before, Folder};
use segments::{Position, Segments, Tail};

/// Family of the index rows: partition and CID → size and place.
const INDEX: &str = "block-index";
/// Family of small blocks: partition and CID → bytes.
const BLOCKS: &str = "blocks";
/// Family of what is in the segments: position → key of the index row.
const EXTENTS: &str = "block-extents";
/// Family of what the store keeps about itself.
const STATE: &str = "default";
/// Families that earlier versions made and nobody reads any more.
const RETIRED: [&str; 1] = ["staged-logins"];
/// In [`STATE`]: the position up to which all segments are on the disk.
const SETTLED: &[u8] = b"settled";

/// How long a write waits for the database to flush what it holds in memory, and how often it looks.
const LONGEST_STALL: Duration = Duration::from_secs(60);
const STALL_PAUSE: Duration = Duration::from_millis(2);

/// How a store is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Blocks of at least this many bytes go into segments, others through the log. Default 64 KiB.
    pub bulk_bytes: usize,
    /// A segment that has reached this many bytes is followed by a new one. Default 256 MiB.
    pub segment_bytes: u64,
    /// Blocks are refused with [`StoreError::DiskFull`] while fewer bytes are free on the disk, so that there is always
    /// room for the records, and for the writes that make room. Default 64 MiB.
    pub reserve_bytes: u64,
    /// Memory for index and data of the database that was read, in bytes. Default 8 MiB.
    pub cache_bytes: usize,
    /// Memory for writes that the database has in its log only, in bytes. Default 16 MiB.
    pub write_buffer_bytes: usize,
    /// Files that the database keeps open. Default 256.
    pub max_open_files: u16,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bulk_bytes: 64 << 10,
            segment_bytes: 256 << 20,
            reserve_bytes: 64 << 20,
            cache_bytes: 8 << 20,
            write_buffer_bytes: 16 << 20,
            max_open_files: 256,
        }
    }
}

/// Blocks and records in a data directory. One process at a time.
///
/// Locks are taken in this order: `reclaiming`, `stripes`, `settled`, `tail`.
pub struct RocksStore {
    db: DB,
    segments: Segments,
    tail: Mutex<Tail>,
    settled: Mutex<Settled>,
    stripes: Vec<Mutex<()>>,
    reclaiming: Mutex<()>,
    lost_puts: AtomicBool,
    /// A write failed for another reason than a full disk.
    broken: AtomicBool,
    /// Blocks that were deleted since the space of small ones was last looked at.
    deleted: AtomicU64,
    /// How often unsettled blocks were given up.
    losses: AtomicU64,
    /// Lets the store go without the care of closing, for tests.
    #[cfg(test)]
    crashed: AtomicBool,
    options: Options,
    // Last, so that the lock goes after the database is closed.
    folder: Folder,
}

/// How far the segments are on the disk.
struct Settled {
    /// Everything before this position is.
    position: Position,
    /// A sync has failed, and what it was for has not been written again.
    failed: bool,
}

// The locks guard order, not data that a panic could leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn family<'a>(db: &'a DB, name: &str) -> Result<&'a ColumnFamily, StoreError> {
    db.cf_handle(name).ok_or_else(|| StoreError::Damaged { what: format!("the database has no family {name}") })
}

fn database(action: &'static str) -> impl Fn(rocksdb::Error) -> StoreError {
    move |error| match error.kind() {
        // The database has no kind of its own for this; these are the texts of ENOSPC and of its own space limit.
        rocksdb::ErrorKind::IOError
            if error.as_ref().contains("No space left on device") || error.as_ref().contains("NoSpace") =>
        {
            StoreError::DiskFull
        }
        rocksdb::ErrorKind::Corruption => StoreError::Damaged { what: error.into_string() },
        _ => StoreError::Database { action, source: Box::new(error) },
    }
}

impl RocksStore {
    /// Opens the store in a data directory, making it if there is none, and puts right what a crash left.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let folder = Folder::take(path)?;
        let db = open_database(&path.join("db"), &options)?;
        let settled = match db.get_cf(family(&db, STATE)?, SETTLED).map_err(database("read the store's state"))? {
            None => Position::default(),
            Some(bytes) => Position::from_bytes(&bytes)
                .ok_or_else(|| StoreError::Damaged { what: "the mark of settled bulk data".into() })?,
        };
        let (segments, tail) = Segments::open(path.join("bulk"), settled)?;
        // Before anything is acknowledged: a folder whose name is not on the disk takes its files with it.
        for made in [Some(path), path.parent()].into_iter().flatten().filter(|made| !made.as_os_str().is_empty()) {
            folder::sync_directory(made).map_err(|e| StoreError::io("make the data directory durable", e))?;
        }
        let store = RocksStore {
            db,
            segments,
            settled: Mutex::new(Settled { position: tail.end(), failed: false }),
            tail: Mutex::new(tail),
            stripes: (0..64).map(|_| Mutex::new(())).collect(),
            reclaiming: Mutex::new(()),
            lost_puts: AtomicBool::new(folder.before == Before::PowerLost),
            broken: AtomicBool::new(false),
            deleted: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            #[cfg(test)]
            crashed: AtomicBool::new(false),
            options,
            folder,
        };
        if store.folder.before != Before::Closed {
            store.recover(settled)?;
        }
        Ok(store)
    }

    /// Rows that the log kept may speak of bytes that were never written: they go. What is there is made durable, since
    /// the process that wrote it can no longer do so.
    fn recover(&self, from: Position) -> Result<(), StoreError> {
        let unsettled = self.extents(from)?.collect::<Result<Vec<_>, _>>()?;
        let torn = self.drop_torn(&unsettled)?;
        if torn > 0 {
            tracing::warn!(torn, "bulk blocks that no commit had followed were lost in a crash");
            self.lost_puts.store(true, Ordering::SeqCst);
        }
        self.segments.sync_from(from.segment)?;
        self.make_durable(WriteBatch::default())
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        // Left to itself the database lets a write wait until it has flushed what it holds in memory, and on a full disk
        // that is until somebody makes room. So it answers at once, and the waiting is done here.
        options.set_no_slowdown(true);
        let rows = batch.data().to_vec();
        let start = Instant::now();
        let mut batch = batch;
        loop {
            match self.db.write_opt(batch, &options) {
                Err(error) if error.kind() == rocksdb::ErrorKind::Incomplete && start.elapsed() < LONGEST_STALL => {
                    if self.folder.free_bytes()? < self.options.write_buffer_bytes as u64 {
                        return Err(StoreError::DiskFull);
                    }
                }
                written => return self.note_broken(written),
            }
            std::thread::sleep(STALL_PAUSE);
            batch = WriteBatch::from_data(&rows);
        }
    }

    /// The database recovers from a full disk and from a stall by itself. After anything else, also what happened while it
    /// flushed or compacted, it refuses all writes, since it does not know what is on the disk.
    fn note_broken(&self, written: Result<(), rocksdb::Error>) -> Result<(), StoreError> {
        let is_stall = written.as_ref().is_err_and(|error| error.kind() == rocksdb::ErrorKind::Incomplete);
        let written = written.map_err(database("write to the database"));
        if !is_stall && written.as_ref().is_err_and(|error| !matches!(error, StoreError::DiskFull)) {
            self.broken.store(true, Ordering::SeqCst);
        }
        written
    }

    /// Puts on the disk: first all bulk data, then the log with all rows and this batch.
    fn make_durable(&self, mut batch: WriteBatch) -> Result<(), StoreError> {
        let settled = self.settle()?;
        batch.put_cf(family(&self.db, STATE)?, SETTLED, settled.to_bytes());
        self.write(batch, true)
    }

    /// Puts on the disk all bulk data that was appended before this call. Those who wait for the lock find that the one
    /// before them has done it for all.
    ///
    /// [`StoreError::Damaged`] if an unsettled block was lost meanwhile: what waits may reach it. The next call goes on
    /// without that block.
    fn settle(&self) -> Result<Position, StoreError> {
        let losses = self.losses.load(Ordering::SeqCst);
        let wanted = lock(&self.tail).end();
        let mut settled = lock(&self.settled);
        if settled.failed {
            self.settle_elsewhere(&mut settled)?;
        } else if settled.position < wanted
            && let Err(error) = self.sync_tail(lock(&self.tail), &mut settled)
        {
            tracing::warn!(%error, "the disk did not take bulk data, writing it again");
            self.settle_elsewhere(&mut settled)?;
        }
        match self.losses.load(Ordering::SeqCst) == losses {
            true => Ok(settled.position),
            false => Err(StoreError::Damaged { what: "bulk data that no commit had followed".into() }),
        }
    }

    /// Syncs all segments up to the end, without keeping others from appending.
    fn sync_tail(&self, tail: MutexGuard<'_, Tail>, settled: &mut Settled) -> Result<(), StoreError> {
        let (files, end) = (tail.unsynced(), tail.end());
        drop(tail);
        if let Err(error) = self.segments.sync(&files) {
            settled.failed = true;
            return Err(StoreError::io("sync bulk data", error));
        }
        settled.position = end;
        lock(&self.tail).synced(end);
        Ok(())
    }

    /// After a failed sync the kernel may have forgotten that pages are dirty, and a second sync of the same file would
    /// say that all is well. So everything unsettled is written again, to another file. What cannot be read any more goes:
    /// no commit that followed it was acknowledged, and those that wait are refused once ([`Self::settle`]).
    fn settle_elsewhere(&self, settled: &mut Settled) -> Result<(), StoreError> {
        let from = settled.position;
        let start = {
            let mut tail = lock(&self.tail);
            self.segments.rotate(&mut tail);
            tail.forget_full();
            tail.end()
        };
        let mut unsettled = Vec::new();
        for row in self.extents(from)? {
            let (at, key) = row?;
            if at >= start {
                break;
            }
            unsettled.push((at, key));
        }
        let moved = self.drop_torn(&unsettled).and_then(|torn| {
            if torn > 0 {
                tracing::error!(torn, "bulk blocks that no commit had followed cannot be read any more");
                self.lost_puts.store(true, Ordering::SeqCst);
                self.losses.fetch_add(1, Ordering::SeqCst);
            }
            self.move_blocks(&unsettled, settled)
        });
        settled.failed = moved.is_err();
        if settled.failed {
            settled.position = from;
        }
        moved
    }

    /// Memory that the database uses for unwritten data, indexes and caches, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        use rocksdb::properties::{BLOCK_CACHE_USAGE, CUR_SIZE_ALL_MEM_TABLES, ESTIMATE_TABLE_READERS_MEM};
        let one = |name| self.db.property_int_value(name).ok().flatten().unwrap_or(0);
        let in_family = |name, property| {
            let value = self.db.cf_handle(name).map(|cf| self.db.property_int_value_cf(cf, property));
            value.and_then(Result::ok).flatten().unwrap_or(0)
        };
        one(BLOCK_CACHE_USAGE)
            + families()
                .map(|name| in_family(name, CUR_SIZE_ALL_MEM_TABLES) + in_family(name, ESTIMATE_TABLE_READERS_MEM))
                .sum::<u64>()
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        #[cfg(test)]
        if self.crashed.load(Ordering::SeqCst) {
            return;
        }
        match self.make_durable(WriteBatch::default()) {
            Ok(()) => self.folder.closed(),
            Err(error) => tracing::warn!(%error, "the store was not closed well, the next start will look at it"),
        }
    }
}

/// Decodes a row of the block index as it is read from the disk, for fuzzing: any bytes give a row or an error.
#[doc(hidden)]
pub fn decode_index_row(bytes: &[u8]) -> Result<u64, StoreError> {
    Ok(u64::from(blocks::Row::from_bytes(bytes)?.size))
}

fn families() -> impl Iterator<Item = &'static str> {
    [STATE, INDEX, BLOCKS, EXTENTS].into_iter().chain(Table::ALL.iter().map(|table| table.name()))
}

fn open_database(path: &Path, options: &Options) -> Result<DB, StoreError> {
    let mut shared = rocksdb::Options::default();
    shared.create_if_missing(true);
    shared.create_missing_column_families(true);
    shared.set_max_open_files(i32::from(options.max_open_files));
    shared.set_db_write_buffer_size(options.write_buffer_bytes);
    shared.set_max_total_wal_size(4 * options.write_buffer_bytes as u64);
    shared.set_max_background_jobs(2);
    shared.set_bytes_per_sync(1 << 20);
    shared.set_log_level(LogLevel::Warn);
    shared.set_keep_log_file_num(2);
    shared.set_max_log_file_size(1 << 20);
    shared.set_max_manifest_file_size(4 << 20);
    shared.set_stats_dump_period_sec(0);
    #[cfg(test)]
    shared.enable_statistics();
    let cache = Cache::new_lru_cache(options.cache_bytes);
    // A database opens with all its families or not at all. One that is not there yet has none.
    let present = DB::list_cf(&shared, path).unwrap_or_default();
    let retired = RETIRED.into_iter().filter(|name| present.iter().any(|present| present == name));
    let descriptors = families().chain(retired.clone()).map(|name| {
        let mut family = rocksdb::Options::default();
        family.set_compression_type(DBCompressionType::None);
        family.set_write_buffer_size(options.write_buffer_bytes / 2);
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_bloom_filter(10.0, false);
        family.set_block_based_table_factory(&table);
        if name == BLOCKS {
            // Cipher text stays where the first flush puts it; compactions move references only.
            family.set_enable_blob_files(true);
            family.set_min_blob_size(1 << 10);
            family.set_blob_file_size(64 << 20);
            family.set_blob_compression_type(DBCompressionType::None);
            family.set_enable_blob_gc(true);
            family.set_blob_gc_age_cutoff(0.5);
            family.set_blob_gc_force_threshold(0.5);
        }
        ColumnFamilyDescriptor::new(name, family)
    });
    let mut db = DB::open_cf_descriptors(&shared, path, descriptors).map_err(database("open the database"))?;
    for name in retired {
        db.drop_cf(name).map_err(database("drop a table of an earlier version"))?;
    }
    Ok(db)
}
