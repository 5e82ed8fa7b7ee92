//! How much each directory holds.

use super::core::on_current_state;
use super::error::ClientError;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::session::Session;
use crate::api::Transport;

/// What a directory holds, with everything below it; or one file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The directory or file.
    pub path: RemotePath,
    /// How deep it lies below the path that was asked for; 0 for that one.
    pub depth: usize,
    /// Sizes of its files together, in bytes, before encryption. What the node counts is a little more.
    pub bytes: u64,
    /// Number of its files.
    pub files: u64,
}

/// A directory whose children are being added up.
struct Open {
    usage: Usage,
    /// Which one is above it.
    above: Option<usize>,
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// What a directory and each directory below it hold, hidden ones included, in the order of `du`: a directory comes
    /// after those in it. A file is listed only if it is what was asked for.
    ///
    /// All of it is from one state of the tree; entries that lead nowhere or cannot be read count
    /// nothing.
    ///
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn usage(&self, path: &RemotePath) -> Result<Vec<Usage>, ClientError> {
        self.look_around(path).await?;
        let core = self.shared_core();
        on_current_state!(core, |view| {
            let top = view.resolve(path).await?;
            let mut open: Vec<Open> = Vec::new();
            let usage = |path: RemotePath, depth| Usage { path, depth, bytes: 0, files: 0 };
            if !top.is_directory() {
                let bytes = top.properties().size_bytes;
                return Ok(vec![Usage { bytes, files: 1, ..usage(path.clone(), 0) }]);
            }
            let mut pending = vec![(top, path.clone(), None, 0)];
            while let Some((directory, path, above, depth)) = pending.pop() {
                let at = open.len();
                let mut found = usage(path.clone(), depth);
                for (name, child) in view.children_of(&path, &directory).await?.items {
                    match child.is_directory() {
                        true => pending.push((child, path.join(name), Some(at), depth + 1)),
                        false => {
                            found.files += 1;
                            found.bytes = found.bytes.saturating_add(child.properties().size_bytes);
                        }
                    }
                }
                open.push(Open { usage: found, above });
                // Its list of entries is not needed any more: the tree may be large.
                view.directories.remove(&directory.cap.location());
            }
            // Each directory was opened after the one above it, so this adds up from below.
            for at in (0..open.len()).rev() {
                if let Some(above) = open[at].above {
                    let (bytes, files) = (open[at].usage.bytes, open[at].usage.files);
                    let above = &mut open[above].usage;
                    above.bytes = above.bytes.saturating_add(bytes);
                    above.files = above.files.saturating_add(files);
                }
            }
            // Last opened first: what lies in a directory comes before it.
            Ok(open.into_iter().rev().map(|open| open.usage).collect())
        })
    }
}
