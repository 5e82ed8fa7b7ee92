//! Whom the account wants to see nothing of (`spec/05` §3.10).
//!
//! Blocking happens on this side alone: the name goes into an encrypted file of the account, and neither the node nor the
//! blocked user learns of it. What was shared with a blocked user stays shared.

use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::Desk;
use super::error::ClientError;
use super::runtime::Runtime;
use super::session::Session;
use crate::api::Transport;
use crate::names::Username;
use crate::social::friends::Blocked;
use crate::social::places::BLOCKED;

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Blocks somebody, whether this account follows them or not: what they share and what they ask is no longer shown.
    /// False if they were blocked before. To follow them again or to accept their request ends it, as
    /// [`unblock`](Self::unblock) does.
    ///
    /// # Errors
    /// [`ClientError::Oneself`].
    pub async fn block(&self, name: &Username) -> Result<bool, ClientError> {
        if name == self.username() {
            return Err(ClientError::Oneself);
        }
        let core = self.shared_core();
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                let is_new = !desk.blocked().await?.contains(name);
                if is_new {
                    desk.append(BLOCKED, Blocked::line(name).as_bytes(), true).await?;
                    desk.save().await?;
                    view.commit(transaction).await?;
                }
                Ok(is_new)
            })
        })
    }

    /// Shows again what somebody shares and asks. False if they were not blocked.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn unblock(&self, name: &Username) -> Result<bool, ClientError> {
        let core = self.shared_core();
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                let was_blocked = desk.unblock(name).await?;
                if was_blocked {
                    desk.save().await?;
                    view.commit(transaction).await?;
                }
                Ok(was_blocked)
            })
        })
    }

    /// Those who are blocked, by name. Whom the account has unfollowed is among them: the format makes no difference.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn blocked(&self) -> Result<Vec<Username>, ClientError> {
        let core = self.shared_core();
        on_current_state!(core, |view| {
            let blocked = Desk::new(view).blocked().await?;
            Ok(blocked.iter().cloned().collect())
        })
    }
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Takes a name out of those that are blocked; false if it was not among them.
    pub(crate) async fn unblock(&mut self, name: &Username) -> Result<bool, ClientError> {
        let mut blocked = self.blocked().await?;
        let was_blocked = blocked.remove(name);
        if was_blocked {
            self.write(BLOCKED, blocked.to_text(), true);
        }
        Ok(was_blocked)
    }
}
