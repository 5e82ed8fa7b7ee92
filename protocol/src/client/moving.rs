//! Moving inside one writing space, where things keep their keys; by an account and through links to write.

use super::edit::{IfExists, Place};
use super::error::ClientError;
use super::item::Item;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::upload::split;
use super::view::View;
use crate::api::Transport;

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// Moves or renames what is at a path. Returns false, and changes nothing, if the new path lies in another writing
    /// space: that has other keys, so the content has to move (`spec/03` §4.8).
    ///
    /// # Errors
    /// [`ClientError::Exists`] for a target that must not or cannot be replaced, in another space too: a directory never
    /// gives way, and nothing gives way to one.
    pub(crate) async fn move_in_space(
        &mut self,
        from: &RemotePath,
        to: &RemotePath,
        if_exists: IfExists,
    ) -> Result<bool, ClientError> {
        let (from_parent, from_name) = split(from)?;
        let (to_parent, to_name) = split(to)?;
        let source_parent = self.resolve_directory(&from_parent).await?;
        let item = self.child_at(&source_parent, &from_name, from).await?;
        let item = item.ok_or_else(|| ClientError::NotFound { path: from.clone() })?;
        let target_parent = self.resolve_directory(&to_parent).await?;
        let source = Place { parent: &source_parent, name: &from_name, path: from };
        let target = Place { parent: &target_parent, name: &to_name, path: to };
        self.writable(&source_parent, from)?;
        self.writable(&target_parent, to)?;
        let in_the_way = self.replaceable(&target, &item, if_exists).await?;
        if source_parent.cap.writer != target_parent.cap.writer {
            return Ok(false);
        }
        if let Some(existing) = in_the_way {
            self.remove(&target, &existing).await?;
        }
        match source_parent.cap.location() == target_parent.cap.location() {
            true => self.rename(&source, &item, &to_name).await?,
            false => self.move_item(&source, &item, &target).await?,
        }
        Ok(true)
    }

    /// What has to give way at the target of a move, if that was asked for.
    async fn replaceable(
        &mut self,
        target: &Place<'_>,
        item: &Item,
        if_exists: IfExists,
    ) -> Result<Option<Item>, ClientError> {
        match self.child_at(target.parent, target.name, target.path).await? {
            Some(existing) if if_exists != IfExists::Replace || existing.is_directory() || item.is_directory() => {
                Err(ClientError::Exists { path: target.path.clone() })
            }
            existing => Ok(existing),
        }
    }
}
