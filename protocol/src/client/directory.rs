//! A directory that an application works in: what a [`Session`] does at paths, at the names in one directory.

use super::content::ContentSource;
use super::entry::Entry;
use super::error::ClientError;
use super::file::{Children, File};
use super::groups::Audience;
use super::links::{LinkOptions, OwnLink};
use super::listing::Listing;
use super::path::RemotePath;
use super::progress::Progress;
use super::revoke::{Revoked, Taken};
use super::runtime::Runtime;
use super::session::Session;
use super::sharing::SharedItem;
use super::upload::UploadOptions;
use crate::api::Transport;
use crate::cryptree::name::FileName;
use crate::links::SecretLink;

/// A directory of the account, or of somebody who shares it. It holds its path: when the directory is moved, what is done
/// here fails with [`ClientError::NotFound`].
pub struct Directory<'s, T, R> {
    session: &'s Session<T, R>,
    path: RemotePath,
}

impl<'s, T: Transport, R: Runtime> Directory<'s, T, R> {
    /// The directory at a path, where one was seen.
    pub(crate) fn new(session: &'s Session<T, R>, path: RemotePath) -> Self {
        Directory { session, path }
    }

    /// Where it is.
    pub fn path(&self) -> &RemotePath {
        &self.path
    }

    /// Where a child of this name is, or would be.
    pub fn path_of(&self, name: FileName) -> RemotePath {
        self.path.join(name)
    }

    /// What can be read in it, sorted by name.
    ///
    /// # Errors
    /// As [`Session::list`].
    pub async fn list(&self) -> Result<Vec<Entry>, ClientError> {
        self.session.list(&self.path).await
    }

    /// As [`list`](Self::list), with what is there and cannot be read.
    ///
    /// # Errors
    /// As [`Session::list`].
    pub async fn listing(&self) -> Result<Listing, ClientError> {
        self.session.listing(&self.path).await
    }

    /// Everything in it, opened together, as [`Session::children`].
    ///
    /// # Errors
    /// As [`Session::children`].
    pub async fn children(&self) -> Result<Children<'s, T, R>, ClientError> {
        self.session.children(&self.path).await
    }

    /// A file in it, opened for reading.
    ///
    /// # Errors
    /// As [`Session::file`].
    pub async fn file(&self, name: FileName) -> Result<File<'s, T, R>, ClientError> {
        self.session.file(&self.path_of(name)).await
    }

    /// The content of a small file in it.
    ///
    /// # Errors
    /// As [`Session::read`].
    pub async fn read(&self, name: FileName) -> Result<Vec<u8>, ClientError> {
        self.session.read(&self.path_of(name)).await
    }

    /// A directory in it.
    ///
    /// # Errors
    /// As [`Session::directory`].
    pub async fn directory(&self, name: FileName) -> Result<Directory<'s, T, R>, ClientError> {
        self.session.directory(&self.path_of(name)).await
    }

    /// A directory in it, made if it is not there.
    ///
    /// # Errors
    /// As [`Session::make_directories`].
    pub async fn make_directory(&self, name: FileName) -> Result<Directory<'s, T, R>, ClientError> {
        let path = self.path_of(name);
        self.session.make_directories(&path).await?;
        Ok(Directory::new(self.session, path))
    }

    /// Stores a file in it, as [`Session::upload`].
    ///
    /// # Errors
    /// As [`Session::upload`].
    pub async fn upload(
        &self,
        name: FileName,
        source: &mut impl ContentSource,
        options: &UploadOptions,
        progress: &(impl Progress + ?Sized),
    ) -> Result<bool, ClientError> {
        self.session.upload(&self.path_of(name), source, options, progress).await
    }

    /// Removes a child; a directory that is not empty only with everything below it.
    ///
    /// # Errors
    /// As [`Session::remove`].
    pub async fn remove(&self, name: FileName, with_children: bool) -> Result<(), ClientError> {
        self.session.remove(&self.path_of(name), with_children).await
    }

    /// Lets others read it with everything in it, now and later, as [`Session::share`].
    ///
    /// # Errors
    /// As [`Session::share`].
    pub async fn share(&self, with: &[impl Into<Audience> + Clone]) -> Result<Vec<Audience>, ClientError> {
        self.session.share(&self.path, with).await
    }

    /// Lets others change it with everything in it, as [`Session::share_to_write`].
    ///
    /// # Errors
    /// As [`Session::share_to_write`].
    pub async fn share_to_write(&self, with: &[impl Into<Audience> + Clone]) -> Result<Vec<Audience>, ClientError> {
        self.session.share_to_write(&self.path, with).await
    }

    /// Takes access back, as [`Session::unshare`].
    ///
    /// # Errors
    /// As [`Session::unshare`].
    pub async fn unshare(&self, from: &[impl Into<Audience> + Clone], taken: Taken) -> Result<Revoked, ClientError> {
        self.session.unshare(&self.path, from, taken).await
    }

    /// What of it and below it is shared, as [`Session::shares`].
    ///
    /// # Errors
    /// As [`Session::shares`].
    pub async fn shares(&self) -> Result<Vec<SharedItem>, ClientError> {
        self.session.shares(&self.path).await
    }

    /// Makes a secret link to it, as [`Session::create_link`].
    ///
    /// # Errors
    /// As [`Session::create_link`].
    pub async fn create_link(&self, options: &LinkOptions) -> Result<SecretLink, ClientError> {
        self.session.create_link(&self.path, options).await
    }

    /// The secret links to it and to what is below it, as [`Session::links`].
    ///
    /// # Errors
    /// As [`Session::links`].
    pub async fn links(&self) -> Result<Vec<OwnLink>, ClientError> {
        self.session.links(&self.path).await
    }
}
