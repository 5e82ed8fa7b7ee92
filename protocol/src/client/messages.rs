//! Messages to and from the operator of the node (`spec/05` §11). The node reads them.

use super::error::ClientError;
use super::network::Repeat;
use super::runtime::{Runtime, millis};
use super::session::Session;
use crate::api::Call;
use crate::api::Transport;
use crate::api::message::{GetMessages, SendMessage};
use crate::keys::SignedRequest;
use crate::social::ServerMessage;
use crate::social::message::MessageTooLong;

fn too_long(_: MessageTooLong) -> ClientError {
    ClientError::Limit("a message to the operator has at most 4096 characters")
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// The conversations in which the operator had the last word, unless they were put away; oldest first.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn messages(&self) -> Result<Vec<ServerMessage>, ClientError> {
        let core = self.core();
        let auth = SignedRequest::sign(GetMessages::PATH, self.now_millis(), &self.keys().identity.secret).into();
        let call = GetMessages { username: self.username().as_str().to_owned(), auth };
        core.network.call(Repeat::Safely, &call).await
    }

    /// Writes to the operator, in a new conversation or in answer to a message.
    ///
    /// # Errors
    /// [`ClientError::NoMessage`] if the operator's message is not among [`messages`](Self::messages),
    /// [`ClientError::Limit`] for a text that is too long, [`ClientError::Refused`] after too many in an hour.
    pub async fn write_to_operator(&self, text: String, reply_to: Option<i64>) -> Result<(), ClientError> {
        let now = self.now_millis();
        let message = match reply_to {
            None => ServerMessage::from_user(text, now),
            Some(id) => self.message(id).await?.reply(text, now),
        };
        self.send_message(&message.map_err(too_long)?).await
    }

    /// Puts a message of the operator away, and with it the conversation that it ends.
    ///
    /// # Errors
    /// [`ClientError::NoMessage`] if it is not among [`messages`](Self::messages).
    pub async fn dismiss_message(&self, id: i64) -> Result<(), ClientError> {
        let message = self.message(id).await?.dismiss(self.now_millis());
        self.send_message(&message).await
    }

    async fn message(&self, id: i64) -> Result<ServerMessage, ClientError> {
        self.messages().await?.into_iter().find(|message| message.id == id).ok_or(ClientError::NoMessage { id })
    }

    async fn send_message(&self, message: &ServerMessage) -> Result<(), ClientError> {
        let core = self.core();
        let signed = message.sign(&self.keys().identity.secret).into();
        let call = SendMessage { username: self.username().as_str().to_owned(), signed };
        // The node takes the same signed message once only.
        match core.network.call(Repeat::Safely, &call).await? {
            true => Ok(()),
            false => Err(ClientError::Inconsistent("the node did not take a message, and did not say why")),
        }
    }

    pub(crate) fn now_millis(&self) -> i64 {
        millis(self.core().network.runtime.now())
    }
}
