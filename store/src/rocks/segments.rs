//! Files that large blocks are appended to. They hold the blocks' bytes and nothing else; the index in the database says
//! what is where.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::folder::sync_directory;
use crate::StoreError;

/// `EIO`: the medium is broken at this place. Other errors (no memory, no descriptors) pass by.
const BROKEN_MEDIUM: i32 = 5;
/// Files kept open for reading.
const OPEN_READERS: usize = 64;

/// A place in the sequence of all segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) segment: u32,
    pub(super) offset: u64,
}

impl Position {
    /// Big endian, so that bytes have the order of positions.
    pub(super) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.segment.to_be_bytes());
        bytes[4..].copy_from_slice(&self.offset.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (segment, offset) = bytes.split_first_chunk::<4>()?;
        let offset = offset.try_into().ok()?;
        Some(Position { segment: u32::from_be_bytes(*segment), offset: u64::from_be_bytes(offset) })
    }
}

/// Where a block is, and the checksum (CRC-32) of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) at: Position,
    pub(super) length: u32,
    pub(super) crc: u32,
}

/// What reading an extent found.
pub(super) enum Found {
    /// The bytes.
    Block(Bytes),
    /// No such file, a file that ends before, other bytes than were written, or a place that the disk cannot read.
    Nothing,
}

/// All segments of a store.
pub(super) struct Segments {
    path: PathBuf,
    readers: Mutex<BTreeMap<u32, Arc<File>>>,
    /// Lets the next sync fail, for tests.
    #[cfg(test)]
    pub(super) fail_sync: std::sync::atomic::AtomicBool,
}

/// The end of the newest segment. Whoever holds it may append.
pub(super) struct Tail {
    file: Option<Arc<File>>,
    end: Position,
    /// Full segments whose last bytes nobody has synced yet.
    full: Vec<(u32, Arc<File>)>,
}

impl Tail {
    /// Where the next block goes.
    pub(super) fn end(&self) -> Position {
        self.end
    }

    /// The files that hold everything up to the end that may not be on the disk.
    pub(super) fn unsynced(&self) -> Vec<Arc<File>> {
        self.full.iter().map(|(_, file)| file).chain(&self.file).cloned().collect()
    }

    /// Forgets full segments whose sync has failed, and whose blocks will be written again.
    pub(super) fn forget_full(&mut self) {
        self.full.clear();
    }

    /// Forgets full segments before a position that has been synced.
    pub(super) fn synced(&mut self, position: Position) {
        self.full.retain(|(segment, _)| *segment >= position.segment);
    }
}

impl Segments {
    /// Opens the folder of the segments. The next block goes behind the last byte of the newest one, which may be a
    /// rest that a crash left. Numbers of removed segments do not come again: `settled` is behind all of them.
    pub(super) fn open(path: PathBuf, settled: Position) -> Result<(Self, Tail), StoreError> {
        fs::create_dir_all(&path).map_err(|e| StoreError::io("make the folder of bulk data", e))?;
        let segments = Segments {
            path,
            readers: Mutex::default(),
            #[cfg(test)]
            fail_sync: std::sync::atomic::AtomicBool::new(false),
        };
        let tail = match segments.list()?.last() {
            Some((segment, length)) if (Position { segment: *segment, offset: *length }) >= settled => {
                let file = File::options().write(true).open(segments.file(*segment));
                let file = file.map_err(|e| StoreError::io("open a file of bulk data", e))?;
                let end = Position { segment: *segment, offset: *length };
                Tail { file: Some(Arc::new(file)), end, full: Vec::new() }
            }
            last => {
                let last = last.map_or(0, |(segment, _)| *segment);
                let end = Position { segment: last.max(settled.segment) + 1, offset: 0 };
                Tail { file: None, end, full: Vec::new() }
            }
        };
        Ok((segments, tail))
    }

    /// Numbers and lengths in bytes of the segments, oldest first.
    pub(super) fn list(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        let list = || {
            let mut found = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                let name = entry.file_name();
                let number = name.to_str().and_then(|name| name.strip_suffix(".bulk")).and_then(|n| n.parse().ok());
                if let Some(number) = number {
                    found.push((number, entry.metadata()?.len()));
                }
            }
            found.sort_unstable();
            Ok(found)
        };
        list().map_err(|e| StoreError::io("list the folder of bulk data", e))
    }

    /// Writes a block behind the end. Not synced. After an error nothing has changed.
    pub(super) fn append(&self, tail: &mut Tail, block: &[u8], segment_bytes: u64) -> Result<Extent, StoreError> {
        let length =
            u32::try_from(block.len()).map_err(|_| StoreError::Damaged { what: "a block above 4 GiB".into() })?;
        if tail.file.is_some() && tail.end.offset >= segment_bytes {
            self.rotate(tail);
        }
        let file = match &tail.file {
            Some(file) => file,
            None => {
                let file = self.create(tail.end.segment).map_err(|e| StoreError::io("make a file for bulk data", e))?;
                tail.file.insert(file)
            }
        };
        // The next append overwrites what a failed one left.
        file.write_all_at(block, tail.end.offset).map_err(|e| StoreError::io("write bulk data", e))?;
        let extent = Extent { at: tail.end, length, crc: crc32fast::hash(block) };
        tail.end.offset += u64::from(length);
        Ok(extent)
    }

    /// Ends the newest segment; the next block goes into a new one.
    pub(super) fn rotate(&self, tail: &mut Tail) {
        if let Some(file) = tail.file.take() {
            tail.full.push((tail.end.segment, file));
            tail.end = Position { segment: tail.end.segment + 1, offset: 0 };
        }
    }

    fn create(&self, segment: u32) -> io::Result<Arc<File>> {
        let file = File::options().create(true).truncate(true).write(true).open(self.file(segment))?;
        sync_directory(&self.path)?;
        Ok(Arc::new(file))
    }

    /// Puts the bytes of the files on the disk.
    pub(super) fn sync(&self, files: &[Arc<File>]) -> io::Result<()> {
        #[cfg(test)]
        if self.fail_sync.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        files.iter().try_for_each(|file| file.sync_data())
    }

    /// Syncs every segment from this one on, whoever wrote it.
    pub(super) fn sync_from(&self, segment: u32) -> Result<(), StoreError> {
        for (number, _) in self.list()?.into_iter().filter(|(number, _)| *number >= segment) {
            File::open(self.file(number))
                .and_then(|file| file.sync_all())
                .map_err(|e| StoreError::io("sync bulk data", e))?;
        }
        Ok(())
    }

    /// Reads an extent and compares its checksum.
    pub(super) fn read(&self, extent: &Extent) -> Result<Found, StoreError> {
        let read = || {
            let file = self.reader(extent.at.segment)?;
            // Not more than the file holds, whatever the index says.
            if file.metadata()?.len() < extent.at.offset.saturating_add(u64::from(extent.length)) {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let mut bytes = vec![0; extent.length as usize];
            file.read_exact_at(&mut bytes, extent.at.offset)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) if crc32fast::hash(&bytes) == extent.crc => Ok(Found::Block(bytes.into())),
            Ok(_) => Ok(Found::Nothing),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(Found::Nothing),
            Err(e) if e.raw_os_error() == Some(BROKEN_MEDIUM) => Ok(Found::Nothing),
            Err(e) => Err(StoreError::io("read bulk data", e)),
        }
    }

    /// Deletes a segment.
    pub(super) fn remove(&self, segment: u32) -> Result<(), StoreError> {
        self.readers().remove(&segment);
        fs::remove_file(self.file(segment)).map_err(|e| StoreError::io("remove a file of bulk data", e))
    }

    fn reader(&self, segment: u32) -> io::Result<Arc<File>> {
        if let Some(file) = self.readers().get(&segment) {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(self.file(segment))?);
        let mut readers = self.readers();
        while readers.len() >= OPEN_READERS {
            readers.pop_first();
        }
        readers.insert(segment, file.clone());
        Ok(file)
    }

    fn readers(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<File>>> {
        self.readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn file(&self, segment: u32) -> PathBuf {
        self.path.join(Path::new(&format!("{segment:010}.bulk")))
    }
}
