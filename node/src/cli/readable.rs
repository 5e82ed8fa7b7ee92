//! What commands read from and change: an account's tree, or what a link leads to.

use pyrgos_protocol::client::{
    Children, ClientError, Entry, File, IfExists, Listing, OpenLink, RemotePath, Unreadable,
};

use super::failure::Failure;
use super::output::defused;
use super::session::{NativeSession, fail};
use crate::native::{HttpTransport, NativeRuntime};

/// An opened link over HTTP.
pub(super) type NativeLink = OpenLink<HttpTransport, NativeRuntime>;

/// A tree that can be looked at and fetched from.
pub(super) trait Readable {
    /// What a path leads to.
    async fn stat(&self, path: &RemotePath) -> Result<Entry, ClientError>;
    /// What is in a folder, sorted by name.
    async fn listing(&self, path: &RemotePath) -> Result<Listing, ClientError>;
    /// A file, opened.
    async fn file(&self, path: &RemotePath) -> Result<File<'_, HttpTransport, NativeRuntime>, ClientError>;
    /// Everything in a folder, opened.
    async fn children(&self, path: &RemotePath) -> Result<Children<'_, HttpTransport, NativeRuntime>, ClientError>;
}

/// A tree whose entries can be moved and removed.
pub(super) trait Changeable: Readable {
    /// Moves or renames a file or folder.
    async fn rename(&self, from: &RemotePath, to: &RemotePath, if_exists: IfExists) -> Result<(), ClientError>;
    /// Removes a file or folder; one that is not empty only with everything below it.
    async fn remove(&self, path: &RemotePath, with_children: bool) -> Result<(), ClientError>;
}

/// What is told of an entry of a folder that cannot be read.
pub(super) fn damaged(folder: &RemotePath, unreadable: Unreadable) -> Failure {
    let path = match unreadable.name {
        Some(name) => folder.join(name).to_string(),
        None => format!("an entry without a name in {folder}"),
    };
    fail(unreadable.error).about(defused(&path))
}

macro_rules! readable {
    ($tree:ty) => {
        impl Readable for $tree {
            async fn stat(&self, path: &RemotePath) -> Result<Entry, ClientError> {
                self.stat(path).await
            }

            async fn listing(&self, path: &RemotePath) -> Result<Listing, ClientError> {
                self.listing(path).await
            }

            async fn file(&self, path: &RemotePath) -> Result<File<'_, HttpTransport, NativeRuntime>, ClientError> {
                self.file(path).await
            }

            async fn children(
                &self,
                path: &RemotePath,
            ) -> Result<Children<'_, HttpTransport, NativeRuntime>, ClientError> {
                self.children(path).await
            }
        }
    };
}

macro_rules! changeable {
    ($tree:ty) => {
        impl Changeable for $tree {
            async fn rename(&self, from: &RemotePath, to: &RemotePath, if_exists: IfExists) -> Result<(), ClientError> {
                self.rename(from, to, if_exists).await
            }

            async fn remove(&self, path: &RemotePath, with_children: bool) -> Result<(), ClientError> {
                self.remove(path, with_children).await
            }
        }
    };
}

readable!(NativeSession);
readable!(NativeLink);
changeable!(NativeSession);
changeable!(NativeLink);
