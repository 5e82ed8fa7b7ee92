//! The end of an account (`spec/02` §3.4, `spec/04` §16).

use std::sync::Arc;

use super::account::{Password, SecondFactor, prove};
use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::Desk;
use super::error::ClientError;
use super::item::Signer;
use super::runtime::Runtime;
use super::session::{Session, children};
use super::view::View;
use crate::api::Transport;

/// Who signs for the home directory and for the writing spaces below it. The tree is looked through only as far as there
/// are spaces in it.
async fn signers<T: Transport, R: Runtime>(view: &mut View<'_, T, R>) -> Result<Vec<Signer>, ClientError> {
    // All but the identity, which lies in no directory.
    let expected = Desk::new(view).count_writers().await?.saturating_sub(1);
    let home = view.home().await?;
    let signer = home.signer.clone().ok_or(ClientError::Inconsistent("a home that cannot be written"))?;
    let mut signers = vec![signer];
    let mut pending = vec![home];
    while let Some(directory) = pending.pop().filter(|_| signers.len() < expected) {
        for child in children(view, &directory).await? {
            let new =
                child.signer.clone().filter(|signer| signers.iter().all(|known| known.writer() != signer.writer()));
            signers.extend(new);
            if child.is_directory() {
                pending.push(child);
            }
        }
        // Its list of entries is not needed any more: the tree may be large.
        view.directories.remove(&directory.cap.location());
    }
    Ok(signers)
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Deletes the account: its pointers end, so that nobody finds anything of it any more, and the node removes what it
    /// keeps for it. The name stays taken. There is no way back.
    ///
    /// Identity, home directory and every writing space end with one step, so that an interrupted call has done nothing
    /// or everything, and those who could write somewhere can do so no more. The session is of no use afterwards.
    ///
    /// # Errors
    /// [`ClientError::WrongPassword`], [`ClientError::SecondFactor`]; [`ClientError::DeletedUser`] if it was deleted
    /// before.
    pub async fn delete_account(
        &self,
        password: &Password,
        second_factor: &impl SecondFactor,
    ) -> Result<(), ClientError> {
        let core = self.shared_core();
        let identity = Arc::new(prove(&core.network, self.username(), password, second_factor).await?);
        if identity.writer() != crate::keys::Writer::from(self.identity()) {
            return Err(ClientError::ForeignIdentity);
        }
        let identity = &identity;
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut signers = signers(view).await?;
                signers.push(identity.clone());
                for signer in &signers {
                    view.version(&signer.writer()).await?;
                    view.space_of(signer).ended = true;
                }
                view.commit(transaction).await
            })
        })
    }
}
