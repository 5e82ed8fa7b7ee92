//! Children of a directory that were opened together, and the files among them.

use std::ops::Range;

use super::content::ContentSink;
use super::download::OpenFile;
use super::entry::Entry;
use super::error::ClientError;
use super::listing::Unreadable;
use super::progress::Progress;
use super::runtime::Runtime;
use crate::api::Transport;

/// A file as it was when it was opened. Reading it looks up neither its path nor its node again.
pub struct File<'s, T, R> {
    open: OpenFile<'s, T, R>,
}

impl<'s, T: Transport, R: Runtime> File<'s, T, R> {
    pub(crate) fn new(open: OpenFile<'s, T, R>) -> Self {
        File { open }
    }

    /// What is known of it.
    pub fn entry(&self) -> Entry {
        Entry::of(self.open.item())
    }

    /// Delivers a range of the content, or all of it, in order, and tells how many bytes that were.
    ///
    /// # Errors
    /// [`ClientError::Range`], [`ClientError::Local`] from the sink, and whatever the node does.
    pub async fn download(
        &self,
        range: Option<Range<u64>>,
        sink: &mut impl ContentSink,
        progress: &(impl Progress + ?Sized),
    ) -> Result<u64, ClientError> {
        let range = range.unwrap_or(0..self.open.size_bytes());
        let len = range.end.saturating_sub(range.start);
        self.open.read(range, sink, progress).await?;
        Ok(len)
    }
}

/// What is in a directory: its directories, and its files ready to be read.
pub struct Children<'s, T, R> {
    /// The directories, sorted by name.
    pub directories: Vec<Entry>,
    /// The files, sorted by name.
    pub files: Vec<File<'s, T, R>>,
    /// What is there and cannot be read.
    pub unreadable: Vec<Unreadable>,
}
