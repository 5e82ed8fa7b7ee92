//! The end of an account (`spec/02` §3.4, `spec/04` §16).

use std::sync::Arc;

use super::account::{Password, SecondFactor, prove};
use super::commit::with_transaction;
use super::core::on_current_state;
use super::error::ClientError;
use super::runtime::Runtime;
use super::session::Session;
use crate::api::Transport;

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Deletes the account: its pointers end, so that nobody finds anything of it any more, and the node removes what it
    /// keeps for it. The name stays taken. There is no way back.
    ///
    /// Home directory and identity end with one step, so that an interrupted call has done nothing or everything. The
    /// session is of no use afterwards.
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
                let home =
                    view.home().await?.signer.ok_or(ClientError::Inconsistent("a home that cannot be written"))?;
                for signer in [&home, identity] {
                    view.version(&signer.writer()).await?;
                    view.space_of(signer).ended = true;
                }
                view.commit(transaction).await
            })
        })
    }
}
