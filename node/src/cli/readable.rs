//! What commands read from: an account's tree, or what a link leads to.

use pyrgos_protocol::client::{Children, ClientError, Entry, File, OpenLink, RemotePath};

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

readable!(NativeSession);
readable!(NativeLink);
