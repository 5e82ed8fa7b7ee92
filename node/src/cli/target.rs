//! Where things go: the rules of `cp` and `mv`, for all commands that have sources and a target.

use std::collections::HashSet;

use pyrgos_protocol::client::{ClientError, RemotePath};
use pyrgos_protocol::cryptree::name::FileName;

use super::failure::{Failure, Kind};
use super::output::defused;
use super::readable::Readable;
use super::session::{Unlocked, fail};

/// The last path of a command.
pub struct Target {
    /// The path.
    pub path: RemotePath,
    /// Whether it is a folder that is there, so that sources go into it under their own names. Else it is the new path of
    /// the one source.
    pub is_folder: bool,
}

impl Target {
    /// Looks at the last path of a command with some sources.
    pub async fn find(unlocked: &Unlocked, text: &str, sources: usize) -> Result<Self, Failure> {
        Target::at(&unlocked.session, unlocked.path(text)?, text, sources).await
    }

    /// Looks at the last path of a command, which was written as `text`, in a tree.
    pub(super) async fn at<S: Readable>(
        tree: &S,
        path: RemotePath,
        text: &str,
        sources: usize,
    ) -> Result<Self, Failure> {
        let is_folder = match tree.stat(&path).await {
            Ok(entry) => entry.is_directory,
            Err(ClientError::NotFound { .. }) if !text.ends_with('/') && sources == 1 => false,
            Err(error) => return Err(fail(error)),
        };
        // A slash at the end asks for a folder: a file of that name must not be replaced.
        if !is_folder && (sources > 1 || text.ends_with('/')) {
            return Err(Failure::new(Kind::Usage, format!("{}: this is no folder", defused(text))));
        }
        Ok(Target { path, is_folder })
    }

    /// The path that a source of some name gets.
    pub fn of(&self, name: FileName) -> RemotePath {
        if self.is_folder { self.path.join(name) } else { self.path.clone() }
    }
}

/// Two sources of one command must not become one.
pub fn require_distinct<'a>(targets: impl IntoIterator<Item = &'a RemotePath>) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    match targets.into_iter().find(|target| !seen.insert(*target)) {
        Some(twice) => {
            Err(Failure::new(Kind::Usage, format!("{}: two sources would become this", defused(&twice.to_string()))))
        }
        None => Ok(()),
    }
}
