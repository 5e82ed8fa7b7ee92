//! Why a store could not do what it was asked.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// A failure of [`Blocks`](crate::Blocks) or [`Records`](crate::Records). No variant holds the content of a block or a
/// record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the data directory open.
    #[error("another pyrgos uses this folder: {}", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// No space is left. Nothing was stored; the store works again by itself once there is space.
    #[error("the disk is full")]
    DiskFull,
    /// A later version of pyrgos wrote this data directory.
    #[error(
        "the data directory has schema {found}, this version knows schemas up to {supported}; install a newer pyrgos"
    )]
    NewerSchema {
        /// The version in the directory.
        found: u64,
        /// The highest version that this build reads.
        supported: u64,
    },
    /// What is on the disk is not what was written.
    #[error("damaged data: {what}")]
    Damaged {
        /// What was read, and what is wrong with it.
        what: String,
    },
    /// The file system refused.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The database refused.
    #[error("cannot {action}")]
    Database {
        /// What was being done.
        action: &'static str,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A failure that a test asked for ([`layers::Faulty`](crate::layers::Faulty)).
    #[error("failed on purpose")]
    OnPurpose,
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing the program or its data.
    pub fn may_retry(&self) -> bool {
        matches!(self, StoreError::DiskFull | StoreError::OnPurpose | StoreError::Locked { .. })
    }

    /// An error of the file system; a full disk becomes [`StoreError::DiskFull`].
    pub fn io(action: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
            _ => StoreError::Io { action, source },
        }
    }
}
