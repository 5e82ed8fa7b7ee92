//! What users tell about themselves (`spec/05` §8.4). Each field is a file of its own below `.profile`, and is shared like
//! any other: who sees one field sees nothing of the others.

use bytes::Bytes;

use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::{Desk, part};
use super::error::ClientError;
use super::item::Item;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::session::Session;
use crate::api::Transport;
use crate::names::Username;
use crate::social::profile::{DIRECTORY, ProfileField};

/// Longest field that is read or written, in bytes: a large picture.
const MAX_FIELD: usize = 8 << 20;

/// Longest text of a field, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// Path of a field of somebody's profile, for [`Session::share`] and all other calls that take a path.
///
/// # Errors
/// [`ClientError::InvalidUsername`] for a name that cannot be part of a path.
pub fn profile_path(user: &Username, field: ProfileField) -> Result<RemotePath, ClientError> {
    let home = RemotePath::home(part(user.as_str()).map_err(|_| ClientError::InvalidUsername)?);
    Ok(home.join(part(DIRECTORY)?).join(part(field.file_name())?))
}

fn is_fit(field: ProfileField, content: &[u8]) -> Result<(), ClientError> {
    match field.is_text() {
        true if content.len() > MAX_TEXT => Err(ClientError::Limit("a field of a profile has at most 64 KiB of text")),
        true if std::str::from_utf8(content).is_err() => Err(ClientError::Limit("this field of a profile is a text")),
        _ if content.len() > MAX_FIELD => Err(ClientError::Limit("a picture of a profile has at most 8 MiB")),
        _ => Ok(()),
    }
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// The fields of somebody's profile that are set and that this account may see, in the order of
    /// [`ProfileField::ALL`]. A field of somebody else that is no field, for example a text that is none, is left out.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn profile(&self, user: &Username) -> Result<Vec<(ProfileField, Bytes)>, ClientError> {
        self.look_around(&profile_path(user, ProfileField::Status)?).await?;
        let core = self.shared_core();
        on_current_state!(core, |view| {
            let mut fields = Vec::new();
            for field in ProfileField::ALL {
                let path = profile_path(user, field)?;
                let item = match view.resolve(&path).await {
                    Err(ClientError::NotFound { .. }) => continue,
                    item => item?,
                };
                let is_small = |item: &Item| item.properties().size_bytes <= MAX_FIELD as u64;
                if item.is_directory() || !is_small(&item) {
                    continue;
                }
                let content = view.content(item).await?;
                if is_fit(field, &content).is_ok() {
                    fields.push((field, content));
                }
            }
            Ok(fields)
        })
    }

    /// Sets a field of this account's profile, or changes it: whoever sees it sees the new content. Nobody sees a new
    /// field until it is shared.
    ///
    /// # Errors
    /// [`ClientError::Limit`] for content that does not fit the field.
    pub async fn set_profile_field(&self, field: ProfileField, content: impl Into<Bytes>) -> Result<(), ClientError> {
        let content: Bytes = content.into();
        is_fit(field, &content)?;
        let core = self.shared_core();
        let content = &content;
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                desk.directory(DIRECTORY, true).await?;
                desk.write(&format!("{DIRECTORY}/{}", field.file_name()), content.clone(), false);
                desk.save().await?;
                view.commit(transaction).await
            })
        })
    }

    /// Removes a field of this account's profile. False if it was not set.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn remove_profile_field(&self, field: ProfileField) -> Result<bool, ClientError> {
        match self.remove(&profile_path(self.username(), field)?, false).await {
            Ok(()) => Ok(true),
            Err(ClientError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
