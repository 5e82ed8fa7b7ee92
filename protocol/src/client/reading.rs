//! Looking at a tree, the same for an account and for a link.

use super::core::{Core, on_current_state};
use super::download::OpenFile;
use super::entry::Entry;
use super::error::{ClientError, ErrorKind};
use super::file::{Children, File};
use super::listing::{Found, Listing, Unreadable};
use super::path::RemotePath;
use super::runtime::Runtime;
use crate::api::Transport;

impl<T: Transport, R: Runtime> Core<T, R> {
    /// What a path leads to.
    pub(crate) async fn stat(&self, path: &RemotePath) -> Result<Entry, ClientError> {
        let item = on_current_state!(self, |view| view.resolve(path).await)?;
        Ok(Entry::of(&item))
    }

    /// The children of a directory, sorted by name.
    pub(crate) async fn listing(&self, path: &RemotePath) -> Result<Listing, ClientError> {
        on_current_state!(self, |view| {
            let directory = view.resolve_directory(path).await?;
            let Found { items, unreadable } = view.children_of(path, &directory).await?;
            let mut entries: Vec<Entry> =
                items.into_iter().map(|(name, item)| Entry { name, ..Entry::of(&item) }).collect();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(Listing { entries, unreadable })
        })
    }

    /// A file, opened for reading.
    pub(crate) async fn file(&self, path: &RemotePath) -> Result<File<'_, T, R>, ClientError> {
        on_current_state!(self, |view| {
            let item = view.resolve(path).await?;
            match item.is_directory() {
                true => Err(ClientError::IsADirectory { path: path.clone() }),
                false => OpenFile::new(view, item).await.map(File::new),
            }
        })
    }

    /// Everything in a directory, opened with the look-ups of one listing.
    pub(crate) async fn children(&self, path: &RemotePath) -> Result<Children<'_, T, R>, ClientError> {
        on_current_state!(self, |view| {
            let directory = view.resolve_directory(path).await?;
            let Found { mut items, unreadable } = view.children_of(path, &directory).await?;
            items.sort_by(|a, b| a.0.cmp(&b.0));
            let mut opened = Children { directories: Vec::new(), files: Vec::new(), unreadable };
            for (name, item) in items {
                if item.is_directory() {
                    opened.directories.push(Entry { name, ..Entry::of(&item) });
                    continue;
                }
                match OpenFile::new(view, item).await {
                    Ok(file) => opened.files.push(File::new(file)),
                    Err(error) if error.kind() == ErrorKind::Damaged => {
                        opened.unreadable.push(Unreadable { name: Some(name), error });
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(opened)
        })
    }
}
