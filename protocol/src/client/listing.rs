//! What is in a directory, of which some may be broken: whoever can write there can leave nonsense in it, and that must
//! not hide everything else.

use super::desk::Desk;
use super::entry::Entry;
use super::error::ClientError;
use super::item::Item;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::view::View;
use crate::api::Transport;
use crate::cryptree::name::FileName;

/// What is in a directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listing {
    /// What can be read, sorted by name. Entries that lead nowhere are left out.
    pub entries: Vec<Entry>,
    /// What is there and cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// A child whose own node is damaged, or was left by somebody whose program breaks the format.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unreadable {
    /// The name that its directory gives it; none if that is no name either.
    pub name: Option<FileName>,
    /// What is wrong with it; of the kind [`ErrorKind::Damaged`](super::ErrorKind::Damaged).
    pub error: ClientError,
}

/// The opened children of a directory, with the names under which they are found.
#[derive(Default)]
pub(crate) struct Found {
    pub items: Vec<(FileName, Item)>,
    pub unreadable: Vec<Unreadable>,
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// The children of a directory, links followed. What the node does wrong still fails all of it: it could hide what it
    /// wants otherwise.
    pub(crate) async fn children_of(&mut self, path: &RemotePath, directory: &Item) -> Result<Found, ClientError> {
        let mut found = Found::default();
        if directory.is_way_through() {
            found.items = Desk::new(self).ways_down(path).await?;
            return Ok(found);
        }
        let (mut names, mut reached) = (Vec::new(), Vec::new());
        for entry in self.directory(directory).await?.entries() {
            let name = entry.name.file_name().ok();
            match directory.child(&entry.cap) {
                Ok(child) => {
                    names.push(name);
                    reached.push(child);
                }
                Err(error) => found.unreadable.push(Unreadable { name, error }),
            }
        }
        for (name, opened) in names.into_iter().zip(self.open_each_target(&reached).await?) {
            match opened {
                Ok(Some(item)) => found.items.push((item.name().clone(), item)),
                Ok(None) => {}
                Err(error) => found.unreadable.push(Unreadable { name, error }),
            }
        }
        Ok(found)
    }
}
