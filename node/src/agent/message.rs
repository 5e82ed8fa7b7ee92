//! Messages between the command line and the agent: a length of four bytes, big endian, and one CBOR item.
//!
//! Encoded with the protocol's own codec instead of serde, because its byte strings can share one buffer that is wiped.

use std::io::{Read, Write};

use bytes::Bytes;
use pyrgos_protocol::encoding::{DecodeError, FromCbor, ToCbor, Value};
use zeroize::Zeroizing;

use super::AgentError;

/// Largest message in bytes.
pub const MAX_LEN: usize = 1 << 20;

/// Which session is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionName {
    /// Base URL of the server.
    pub server: String,
    /// The user.
    pub username: String,
}

/// Which of the sessions a command wants; an absent part matches all. The latest that matches is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Base URL of the server.
    pub server: Option<String>,
    /// The user.
    pub username: Option<String>,
}

impl Selector {
    /// Exactly one session.
    pub fn only(name: &SessionName) -> Self {
        Selector { server: Some(name.server.clone()), username: Some(name.username.clone()) }
    }

    /// Whether a session is meant.
    pub fn matches(&self, name: &SessionName) -> bool {
        self.server.as_ref().is_none_or(|server| *server == name.server)
            && self.username.as_ref().is_none_or(|username| *username == name.username)
    }
}

/// What the command line asks.
#[derive(Clone)]
pub enum Request {
    /// Keep a session, in place of an earlier one of the same name; it becomes the latest.
    Keep(SessionName, Bytes),
    /// Keep a session only if it is still held: a command brings back what it learned, but does not undo a logout.
    Update(SessionName, Bytes),
    /// The latest session that matches.
    Fetch(Selector),
    /// The names of all sessions, latest first.
    List,
    /// Forget all sessions that match.
    Forget(Selector),
    /// End the process.
    Stop,
}

/// What the agent answers.
#[derive(Clone)]
pub enum Response {
    /// Done.
    Done,
    /// A session.
    Session(SessionName, Bytes),
    /// No session matches.
    Nothing,
    /// Names of sessions, latest first, and whether memory is locked.
    Names(Vec<SessionName>, bool),
}

impl ToCbor for SessionName {
    fn to_cbor(&self) -> Value {
        Value::List(vec![Value::text(&self.server), Value::text(&self.username)])
    }
}

impl FromCbor for SessionName {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let items = value.elements("SessionName", 2)?;
        Ok(SessionName { server: items[0].as_text()?.into(), username: items[1].as_text()?.into() })
    }
}

impl ToCbor for Selector {
    fn to_cbor(&self) -> Value {
        let part = |part: &Option<String>| part.as_ref().map_or(Value::Null, Value::text);
        Value::List(vec![part(&self.server), part(&self.username)])
    }
}

impl FromCbor for Selector {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let items = value.elements("Selector", 2)?;
        let part = |value: &Value| match value {
            Value::Null => Ok(None),
            other => other.as_text().map(|text| Some(text.to_owned())),
        };
        Ok(Selector { server: part(&items[0])?, username: part(&items[1])? })
    }
}

fn tagged(tag: &str, parts: Vec<Value>) -> Value {
    Value::List(std::iter::once(Value::text(tag)).chain(parts).collect())
}

impl ToCbor for Request {
    fn to_cbor(&self) -> Value {
        match self {
            Request::Keep(name, session) => tagged("keep", vec![name.to_cbor(), Value::Bytes(session.clone())]),
            Request::Update(name, session) => tagged("update", vec![name.to_cbor(), Value::Bytes(session.clone())]),
            Request::Fetch(selector) => tagged("fetch", vec![selector.to_cbor()]),
            Request::List => tagged("list", vec![]),
            Request::Forget(selector) => tagged("forget", vec![selector.to_cbor()]),
            Request::Stop => tagged("stop", vec![]),
        }
    }
}

impl FromCbor for Request {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let items = value.elements("Request", 1)?;
        match (items[0].as_text()?, &items[1..]) {
            ("keep", [name, session]) => Ok(Request::Keep(SessionName::from_cbor(name)?, session.as_bytes()?.clone())),
            ("update", [name, session]) => {
                Ok(Request::Update(SessionName::from_cbor(name)?, session.as_bytes()?.clone()))
            }
            ("fetch", [selector]) => Ok(Request::Fetch(Selector::from_cbor(selector)?)),
            ("list", []) => Ok(Request::List),
            ("forget", [selector]) => Ok(Request::Forget(Selector::from_cbor(selector)?)),
            ("stop", []) => Ok(Request::Stop),
            _ => Err(DecodeError::invalid("Request", "unknown kind")),
        }
    }
}

impl ToCbor for Response {
    fn to_cbor(&self) -> Value {
        match self {
            Response::Done => tagged("done", vec![]),
            Response::Session(name, session) => tagged("session", vec![name.to_cbor(), Value::Bytes(session.clone())]),
            Response::Nothing => tagged("nothing", vec![]),
            Response::Names(names, locked) => tagged("names", vec![Value::list(names), Value::Bool(*locked)]),
        }
    }
}

impl FromCbor for Response {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let items = value.elements("Response", 1)?;
        match (items[0].as_text()?, &items[1..]) {
            ("done", []) => Ok(Response::Done),
            ("session", [name, session]) => {
                Ok(Response::Session(SessionName::from_cbor(name)?, session.as_bytes()?.clone()))
            }
            ("nothing", []) => Ok(Response::Nothing),
            ("names", [names, locked]) => Ok(Response::Names(names.as_list_of()?, locked.as_bool()?)),
            _ => Err(DecodeError::invalid("Response", "unknown kind")),
        }
    }
}

/// Sends one message.
pub fn send(stream: &mut impl Write, message: &impl ToCbor) -> Result<(), AgentError> {
    let value = message.to_cbor();
    let mut frame = Zeroizing::new(Vec::with_capacity(4 + value.encoded_len()));
    frame.extend_from_slice(&[0; 4]);
    value.encode_into(&mut frame);
    let len = frame.len() - 4;
    if len > MAX_LEN {
        return Err(AgentError::TooLarge(len));
    }
    frame[..4].copy_from_slice(&(len as u32).to_be_bytes());
    stream.write_all(&frame).and_then(|()| stream.flush()).map_err(|_| AgentError::Malformed)
}

/// Receives one message; its byte strings share one buffer that is wiped with the last of them.
pub fn receive<M: FromCbor>(stream: &mut impl Read) -> Result<M, AgentError> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).map_err(|_| AgentError::Malformed)?;
    let len = u32::from_be_bytes(len) as usize;
    if len > MAX_LEN {
        return Err(AgentError::TooLarge(len));
    }
    let mut buffer = Zeroizing::new(vec![0; len]);
    stream.read_exact(&mut buffer).map_err(|_| AgentError::Malformed)?;
    let value = Value::decode_shared(&Bytes::from_owner(buffer)).map_err(|_| AgentError::Malformed)?;
    M::from_cbor(&value).map_err(|_| AgentError::Malformed)
}
