//! What a listing shows.

use super::item::Item;
use crate::cryptree::capability::NamedRelativeCapability;
use crate::cryptree::name::FileName;
use crate::cryptree::properties::Timestamp;

/// A file or directory as its own node describes it. `Debug` shows neither name nor size.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: FileName,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Bytes of content; 0 for directories.
    pub size_bytes: u64,
    /// When the content last changed.
    pub modified: Timestamp,
    /// When it was created.
    pub created: Timestamp,
    /// The mime type; empty for directories. A guess of whoever stored the file.
    pub mime_type: String,
    /// Whether listings for people leave it out.
    pub is_hidden: bool,
    /// Whether this session may change it.
    pub is_writable: bool,
}

impl Entry {
    pub(crate) fn of(item: &Item) -> Self {
        let properties = item.properties();
        Entry {
            name: item.name().clone(),
            is_directory: properties.is_directory(),
            size_bytes: properties.size_bytes,
            modified: properties.modified,
            created: properties.created,
            mime_type: properties.mime_type.clone(),
            is_hidden: item.entry_point().properties().is_hidden || properties.is_hidden,
            is_writable: item.signer.is_some(),
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("is_directory", &self.is_directory).finish_non_exhaustive()
    }
}

/// A child as the entry in its directory describes it, without a look at the child itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub name: FileName,
    /// Whether it is a directory, if the entry says so.
    pub is_directory: Option<bool>,
    /// The mime type, if the entry says so.
    pub mime_type: Option<String>,
}

impl Name {
    /// Of an item that was looked at itself.
    pub(crate) fn of_item(name: FileName, item: &Item) -> Self {
        let properties = item.properties();
        let mime_type = Some(properties.mime_type.clone()).filter(|_| !properties.is_directory());
        Name { name, is_directory: Some(properties.is_directory()), mime_type }
    }

    /// None for an entry whose name is none, such as `..`.
    pub(crate) fn of(entry: &NamedRelativeCapability) -> Option<Self> {
        Some(Name {
            name: entry.name.file_name().ok()?,
            is_directory: entry.hints.is_directory,
            mime_type: entry.hints.mime_type.clone(),
        })
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Name").field("is_directory", &self.is_directory).finish_non_exhaustive()
    }
}
