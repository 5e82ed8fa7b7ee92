//! The journal: what a witness has heard and voted at the height that is being decided, on the disk before others see it.
//!
//! One file, `votes.log`. Each record is its length (4 bytes, big endian), the first 4 bytes of its SHA-256, and the
//! record. What a crash tore off at the end was never acted on and is cut away; damage before the end is an error, since a
//! witness that forgot a vote might vote twice.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pyrgos_crypto::hash::sha256;

use super::message::MAX_MESSAGE_BYTES;

/// The name of the file.
pub const FILE: &str = "votes.log";

/// Longest record: a message and its height.
const MAX_RECORD_BYTES: usize = MAX_MESSAGE_BYTES + 64;
/// Longest journal that is read. Far more than a height of many rounds leaves.
const MAX_JOURNAL_BYTES: u64 = 1 << 30;
const HEAD_BYTES: usize = 8;

/// The journal cannot be used. The node must not vote then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is damaged before its end.
    #[error("{} is damaged at byte {at}; this witness must not vote before the present height is decided without it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged record begins.
        at: usize,
    },
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Whether something was written that may not be on the disk yet.
    is_dirty: bool,
}

impl Journal {
    /// Opens the journal in a folder, or makes it, and reads its records.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(folder: &Path) -> Result<(Self, Vec<Vec<u8>>), JournalError> {
        let path = folder.join(FILE);
        let io = |action| move |source| (action, source);
        let opened = || {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(io("open"))?;
            // A file that the folder forgets is no journal.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync the folder of"))?;
            let mut bytes = Vec::new();
            (&mut file).take(MAX_JOURNAL_BYTES).read_to_end(&mut bytes).map_err(io("read"))?;
            Ok((file, bytes))
        };
        let (file, bytes) =
            opened().map_err(|(action, source)| JournalError::Io { action, path: path.clone(), source })?;
        let (records, end) = split(&bytes).map_err(|at| JournalError::Damaged { path: path.clone(), at })?;
        let mut journal = Journal { file, path, is_dirty: false };
        if end < bytes.len() {
            journal.cut(end as u64)?;
        }
        Ok((journal, records))
    }

    /// Appends records. They are on the disk after the next [`Journal::sync`].
    ///
    /// # Errors
    /// The file system's; the records may be there or not.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<(), JournalError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for record in records {
            // Records are no longer than messages, which are shorter than 4 GiB.
            bytes.extend((record.len() as u32).to_be_bytes());
            bytes.extend(&sha256(record)[..4]);
            bytes.extend(record);
        }
        self.is_dirty = true;
        self.file.write_all(&bytes).map_err(|source| self.error("write to", source))
    }

    /// Returns when all that was appended is on the disk.
    ///
    /// # Errors
    /// The file system's; nothing may be said then that rests on the records.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        if self.is_dirty {
            self.file.sync_data().map_err(|source| self.error("sync", source))?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Forgets all records: the height is decided, and that is on the disk.
    ///
    /// # Errors
    /// The file system's.
    pub fn clear(&mut self) -> Result<(), JournalError> {
        self.cut(0)
    }

    fn cut(&mut self, end: u64) -> Result<(), JournalError> {
        self.file.set_len(end).map_err(|source| self.error("cut", source))?;
        self.file.seek(SeekFrom::Start(end)).map_err(|source| self.error("cut", source))?;
        self.is_dirty = true;
        self.sync()
    }

    fn error(&self, action: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { action, path: self.path.clone(), source }
    }
}

/// The whole records, and where they end. An error says where damage begins that no torn write explains.
fn split(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, usize), usize> {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some((head, rest)) = bytes[at..].split_at_checked(HEAD_BYTES) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let record = rest.get(..length).filter(|record| sha256(record)[..4] == head[4..]);
        let Some(record) = record.filter(|_| length > 0 && length <= MAX_RECORD_BYTES) else {
            return if is_torn(bytes, at) { Ok((records, at)) } else { Err(at) };
        };
        records.push(record.to_vec());
        at += HEAD_BYTES + length;
    }
    Ok((records, at))
}

/// Whether everything from here on may be one write that a crash tore: no whole record begins behind it.
fn is_torn(bytes: &[u8], at: usize) -> bool {
    !(at + 1..bytes.len()).any(|start| {
        let Some((head, rest)) = bytes[start..].split_at_checked(HEAD_BYTES) else { return false };
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        length > 0
            && length <= MAX_RECORD_BYTES
            && rest.get(..length).is_some_and(|record| sha256(record)[..4] == head[4..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Vec<u8>> {
        vec![b"one".to_vec(), vec![7; 1000], b"three".to_vec()]
    }

    #[test]
    fn records_come_back_and_are_forgotten_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, empty) = Journal::open(folder.path()).unwrap();
        assert!(empty.is_empty());
        journal.append(&records()[..2]).unwrap();
        journal.append(&records()[2..]).unwrap();
        journal.sync().unwrap();
        let (mut journal, read) = Journal::open(folder.path()).unwrap();
        assert_eq!(read, records());
        journal.clear().unwrap();
        journal.append(&records()[..1]).unwrap();
        assert_eq!(Journal::open(folder.path()).unwrap().1, records()[..1]);
    }

    #[test]
    fn a_torn_end_is_cut_wherever_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.append(&records()).unwrap();
        let whole = std::fs::read(folder.path().join(FILE)).unwrap();
        let last = whole.len() - (HEAD_BYTES + 5);
        for end in last..whole.len() {
            std::fs::write(folder.path().join(FILE), &whole[..end]).unwrap();
            let (mut journal, read) = Journal::open(folder.path()).unwrap();
            assert_eq!(read, records()[..2], "torn at {end}");
            // What is appended now is read again: the torn part is gone.
            journal.append(&records()[2..]).unwrap();
            assert_eq!(Journal::open(folder.path()).unwrap().1, records());
        }
    }

    #[test]
    fn damage_before_the_end_is_no_torn_write() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.append(&records()).unwrap();
        let path = folder.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEAD_BYTES + 1] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Journal::open(folder.path()), Err(JournalError::Damaged { at: 0, .. })));
    }
}
