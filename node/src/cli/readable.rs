//! What commands read from and change: an account's tree, or what a link leads to.

use pyrgos_protocol::client::{Children, ClientError, Entry, File, IfExists, OpenLink, RemotePath};

use super::session::NativeSession;
use crate::native::{HttpTransport, NativeRuntime};

/// An opened link over HTTP.
pub(super) type NativeLink = OpenLink<HttpTransport, NativeRuntime>;

/// A tree that can be looked at and fetched from.
pub(super) trait Readable {
    /// What a path leads to.
    async fn stat(&self, path: &RemotePath) -> Result<Entry, ClientError>;
    /// The children of a folder, sorted by name.
    async fn list(&self, path: &RemotePath) -> Result<Vec<Entry>, ClientError>;
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

macro_rules! readable {
    ($tree:ty) => {
        impl Readable for $tree {
            async fn stat(&self, path: &RemotePath) -> Result<Entry, ClientError> {
                self.stat(path).await
            }

            async fn list(&self, path: &RemotePath) -> Result<Vec<Entry>, ClientError> {
                self.list(path).await
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
