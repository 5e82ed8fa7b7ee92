//! Messages between a user and the operator of the node: `peergos/v0/server-message/…` (`spec/04` §12).

use bytes::Bytes;

use super::{ApiError, Call, Request};
use crate::encoding::{Value, text};
use crate::social::message::{MAX_SIGNED_BYTES, ServerMessage};

/// `retrieve`: the conversations in which the operator had the last word, unless they were put away.
#[derive(Clone, PartialEq, Eq)]
pub struct GetMessages {
    /// Whose messages.
    pub username: String,
    /// Signed request for [`Call::PATH`] by the identity key.
    pub auth: Bytes,
}

impl Call for GetMessages {
    /// In the order in which they were sent.
    type Output = Vec<ServerMessage>;
    const PATH: &'static str = "peergos/v0/server-message/retrieve";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("username", &self.username).with("auth", text::hex(&self.auth))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let username = parameters.required("username")?.to_owned();
        Ok(GetMessages { username, auth: parameters.hex("auth")?.into() })
    }

    fn write(messages: &Vec<ServerMessage>) -> Bytes {
        Value::list(messages).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<ServerMessage>, ApiError> {
        Ok(Value::decode_shared(&body)?.as_list_of()?)
    }
}

/// `send`: writes to the operator, or puts a message away.
#[derive(Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// Who writes.
    pub username: String,
    /// [`ServerMessage`], signed by the identity key.
    pub signed: Bytes,
}

impl Call for SendMessage {
    type Output = bool;
    const PATH: &'static str = "peergos/v0/server-message/send";
    const MAX_BODY: usize = MAX_SIGNED_BYTES;

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("username", &self.username).body(self.signed.clone())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let username = request.parameters().required("username")?.to_owned();
        Ok(SendMessage { username, signed: request.body.clone() })
    }

    fn write(taken: &bool) -> Bytes {
        Value::Bool(*taken).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        Ok(Value::decode(&body)?.as_bool()?)
    }
}
