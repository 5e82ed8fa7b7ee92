//! Holds unlocked sessions in memory for the command line, as `ssh-agent` holds keys.
//!
//! `pyrgos login` starts the agent if none runs and hands it the unlocked session; every later command fetches the
//! session over a Unix socket that only its owner can reach. Nothing is written to disk: the sessions live in locked
//! memory (where the system allows it) that is wiped when the agent ends, when `pyrgos logout` says so, or when the
//! agent has been idle for its time-out.
//!
//! - [`message`]: what travels over the socket.
//! - [`server`]: the agent process.
//! - [`client`]: the command line's side, which also starts the process.

pub mod client;
pub mod message;
pub mod server;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where the agent of this user listens.
#[derive(Clone, Debug)]
pub struct AgentFolder(PathBuf);

/// Why the agent could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The folder of the socket is not the user's own, so somebody else could listen there.
    #[error("{path} is not a folder that only you can enter; remove it or set XDG_RUNTIME_DIR")]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("the agent at {path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process on the other side belongs to another user.
    #[error("the process at the agent's socket belongs to another user")]
    Stranger,
    /// The other side sent something that is no message of the agent.
    #[error("the agent sent a malformed message; stop it with `pyrgos agent --stop` and log in again")]
    Malformed,
    /// The agent process ended before it was ready.
    #[error("the agent did not start: {0}")]
    Start(String),
    /// A message larger than [`message::MAX_LEN`].
    #[error("a session of {0} bytes is too large for the agent")]
    TooLarge(usize),
}

impl AgentFolder {
    /// `$XDG_RUNTIME_DIR/pyrgos`, or `/tmp/pyrgos-UID` where there is no runtime folder.
    pub fn of_this_user() -> Self {
        match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
            Some(runtime) => AgentFolder(PathBuf::from(runtime).join("pyrgos")),
            None => AgentFolder(std::env::temp_dir().join(format!("pyrgos-{}", rustix::process::geteuid().as_raw()))),
        }
    }

    /// Another folder.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        AgentFolder(path.into())
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    /// Makes the folder if it is absent, and refuses one that somebody else owns or may enter.
    pub fn prepare(&self) -> Result<(), AgentError> {
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(self.io(error)),
            _ => {}
        }
        let metadata = std::fs::symlink_metadata(&self.0).map_err(|error| self.io(error))?;
        let own = metadata.uid() == rustix::process::geteuid().as_raw();
        if !metadata.is_dir() || !own || metadata.mode() & 0o077 != 0 {
            return Err(AgentError::Folder { path: self.0.clone() });
        }
        Ok(())
    }

    /// Takes the lock that the running agent holds; none if an agent runs.
    fn lock(&self) -> Result<Option<File>, AgentError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.0.join("agent.lock"))
            .map_err(|error| self.io(error))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(self.io(error.into())),
        }
    }

    fn io(&self, source: io::Error) -> AgentError {
        AgentError::Io { path: self.0.clone(), source }
    }
}
