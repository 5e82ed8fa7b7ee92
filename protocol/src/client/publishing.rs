//! Published files: readable by everybody, without any secret (`spec/05` §8.1, §8.2).

use std::sync::Arc;

use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::Desk;
use super::edit::Place;
use super::error::ClientError;
use super::keys::SessionKeys;
use super::links::identity_of;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::session::Session;
use super::sharing::parent_of;
use super::spaces::Rotated;
use super::upload::split;
use super::view::View;
use crate::api::Transport;
use crate::cryptree::name::FileName;
use crate::keys::Writer;
use crate::merkle::writer_data::WriterData;

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Publishes a file, or a directory with everything in it, now and later: everybody who can reach the node can read
    /// it, and so can the node. False if it was published before.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::NotOwner`], [`ClientError::Home`].
    pub async fn publish(&self, path: &RemotePath) -> Result<bool, ClientError> {
        let core = self.shared_core();
        if !core.is_own(path) {
            return Err(ClientError::NotOwner { path: path.clone() });
        }
        parent_of(path)?;
        let identity = identity_of(self.keys());
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let item = view.resolve_own(path).await?;
                let data = view.identity_data().await?;
                let published = view.published_at(&data, &path.to_string()).await?;
                if published.is_some_and(|published| published == item.cap.read_only()) {
                    return Ok(false);
                }
                view.identity(&identity).publish(path.to_string(), &item.cap);
                view.commit(transaction).await?;
                Ok(true)
            })
        })
    }

    /// Takes back what is published at a path, and changes the keys of what is there, so that nobody can go on to read it
    /// who has kept what was public. Those with whom it is shared, and links, keep access.
    ///
    /// # Errors
    /// [`ClientError::NotPublished`] if it is not, or only what is above it; [`ClientError::NotOwner`],
    /// [`ClientError::Home`].
    pub async fn unpublish(&self, path: &RemotePath) -> Result<(), ClientError> {
        let core = self.shared_core();
        if !core.is_own(path) {
            return Err(ClientError::NotOwner { path: path.clone() });
        }
        let (parent_path, name) = split(path)?;
        let identity = identity_of(self.keys());
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let data = view.identity_data().await?;
                if view.published_at(&data, &path.to_string()).await?.is_none() {
                    return Err(ClientError::NotPublished);
                }
                view.identity(&identity).withdraw(path.to_string());
                let parent = view.resolve_own_directory(&parent_path).await?;
                // What was removed in the meantime needs no other keys.
                if let Some(item) = view.child(&parent, &name).await? {
                    let rotated = view.rotate(&Place { parent: &parent, name: &name, path }, &item, false).await?;
                    let mut desk = Desk::new(view);
                    desk.follow_rotation(self.keys(), path, &rotated).await?;
                    desk.save().await?;
                }
                view.commit(transaction).await
            })
        })
    }

    /// The paths of what is published, sorted; of directories only the directory itself.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn published(&self) -> Result<Vec<RemotePath>, ClientError> {
        let core = self.shared_core();
        let published = on_current_state!(core, |view| {
            let data = view.identity_data().await?;
            view.published_below(&data, &self.home()?.to_string()).await
        })?;
        let mut paths: Vec<RemotePath> = published.iter().filter_map(|(path, _)| path.parse().ok()).collect();
        paths.sort();
        Ok(paths)
    }

    /// The address under which everybody finds a published file on this account's node.
    pub fn public_path(&self, path: &RemotePath) -> String {
        let encode = |name: &FileName| -> String {
            let byte = |byte: u8| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            };
            name.as_str().bytes().map(byte).collect()
        };
        let names = std::iter::once(path.user()).chain(path.names()).map(encode);
        format!("/public/{}", names.collect::<Vec<_>>().join("/"))
    }
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// The state of the identity whose tree this is.
    async fn identity_data(&mut self) -> Result<Arc<WriterData>, ClientError> {
        let identity = Writer::from(&self.core.tree.owner);
        self.version(&identity).await?.data.clone().ok_or(ClientError::DeletedUser)
    }
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Publishes the new capabilities of rotated items that are published themselves; not of the first one if this view
    /// takes it back.
    pub(crate) async fn republish(
        &mut self,
        keys: &SessionKeys,
        path: &RemotePath,
        rotated: &Rotated,
    ) -> Result<(), ClientError> {
        let data = self.view.identity_data().await?;
        if data.public.is_none() {
            return Ok(());
        }
        let identity = identity_of(keys);
        for (published, old) in self.view.published_below(&data, &path.to_string()).await? {
            let Some(item) = rotated.items.iter().find(|item| item.old.read_only() == old) else { continue };
            if !self.view.identity(&identity).withdraws(&published) {
                self.view.identity(&identity).publish(published, &item.new);
            }
        }
        Ok(())
    }
}
