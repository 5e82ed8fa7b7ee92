//! The data directory itself: who has it open, which schema it has, and whether it was closed.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// The schema that this version writes, and the highest that it reads.
pub(super) const SCHEMA: u64 = 2;

const LOCK: &str = "lock";
const SCHEMA_FILE: &str = "schema";
const RUNNING: &str = "running";

/// A data directory that this process has for itself.
pub(super) struct Folder {
    path: PathBuf,
    /// Holds the lock while it is open.
    _lock: File,
    /// How the process before this one ended.
    pub(super) before: Before,
}

/// How the process that had the directory before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It closed the store, or there was none.
    Closed,
    /// It was killed, but the machine has run on: what it wrote is in the kernel's memory or on the disk.
    Killed,
    /// The machine went down with it, or nobody knows: what was not synced may be missing.
    PowerLost,
}

impl Folder {
    /// Takes the directory, making it if it is not there, and notes that it is in use.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(|e| StoreError::io("make the data directory", e))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(|e| StoreError::io("open the data directory's lock", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(e)) => return Err(StoreError::io("lock the data directory", e)),
        }
        check_schema(path)?;
        let boot = boot_id();
        let before = match fs::read_to_string(path.join(RUNNING)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Before::Closed,
            Ok(then) if !then.is_empty() && Some(&then) == boot.as_ref() => Before::Killed,
            Ok(_) => Before::PowerLost,
            Err(e) => return Err(StoreError::io("read the data directory", e)),
        };
        // An earlier crash of the machine stays true until somebody closes the store.
        let note = if before == Before::PowerLost { String::new() } else { boot.unwrap_or_default() };
        write_whole(path, RUNNING, note.as_bytes())?;
        Ok(Folder { path: path.to_owned(), _lock: lock, before })
    }

    /// Notes that everything is on the disk and nobody uses the directory.
    pub(super) fn closed(&self) {
        // If this fails the next start looks more closely than it has to.
        if fs::remove_file(self.path.join(RUNNING)).is_ok() {
            let _ = sync_directory(&self.path);
        }
    }

    /// Bytes that an ordinary user can still write.
    pub(super) fn free_bytes(&self) -> Result<u64, StoreError> {
        let space = rustix::fs::statvfs(&self.path).map_err(|e| StoreError::io("ask for free space", e.into()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

fn check_schema(path: &Path) -> Result<(), StoreError> {
    match fs::read_to_string(path.join(SCHEMA_FILE)) {
        Ok(text) => match text.trim().parse::<u64>() {
            Ok(SCHEMA) => Ok(()),
            // Noted before the first change, since the earlier version could not open what this one has changed.
            Ok(found) if found < SCHEMA => write_whole(path, SCHEMA_FILE, format!("{SCHEMA}\n").as_bytes()),
            Ok(found) => Err(StoreError::NewerSchema { found, supported: SCHEMA }),
            Err(_) => Err(StoreError::Damaged { what: "the schema file is no number".into() }),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            write_whole(path, SCHEMA_FILE, format!("{SCHEMA}\n").as_bytes())
        }
        Err(e) => Err(StoreError::io("read the schema file", e)),
    }
}

/// Writes a file so that after a crash it has its old content or the new one.
fn write_whole(folder: &Path, name: &str, content: &[u8]) -> Result<(), StoreError> {
    let new = folder.join(format!("{name}.new"));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, folder.join(name))?;
        sync_directory(folder)
    };
    write().map_err(|e| StoreError::io("write to the data directory", e))
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Differs between two starts of the machine.
fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_knows_how_it_was_left() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::take(dir.path()).unwrap();
        assert_eq!(folder.before, Before::Closed);
        assert!(matches!(Folder::take(dir.path()), Err(StoreError::Locked { .. })));
        drop(folder);
        let folder = Folder::take(dir.path()).unwrap();
        assert_eq!(folder.before, if boot_id().is_some() { Before::Killed } else { Before::PowerLost });
        folder.closed();
        drop(folder);
        assert_eq!(Folder::take(dir.path()).unwrap().before, Before::Closed);
        fs::write(dir.path().join(RUNNING), "another boot").unwrap();
        assert_eq!(Folder::take(dir.path()).unwrap().before, Before::PowerLost);
        assert_eq!(Folder::take(dir.path()).unwrap().before, Before::PowerLost, "still not closed");
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Folder::take(dir.path()).unwrap();
        fs::write(dir.path().join(SCHEMA_FILE), "3\n").unwrap();
        assert!(matches!(Folder::take(dir.path()), Err(StoreError::NewerSchema { found: 3, supported: 2 })));
        fs::write(dir.path().join(SCHEMA_FILE), "?").unwrap();
        assert!(matches!(Folder::take(dir.path()), Err(StoreError::Damaged { .. })));
    }
}
