//! Signed pointers: `peergos/v0/mutable/…` (`spec/04` §5).
//!
//! Pointers travel as their signed bytes. What they say and whether they may be is `merkle`'s matter.

use bytes::Bytes;

use super::{ApiError, Call, Request};
use crate::encoding::{FromCbor, ToCbor, Value};
use crate::keys::{Owner, Writer};
use crate::merkle::pointer::{self, MultiWriterCommit};

/// Reads the one byte that a changing call answers.
pub(super) fn read_flag(body: &Bytes) -> Result<bool, ApiError> {
    match body.as_ref() {
        [flag] => Ok(*flag != 0),
        _ => Err(ApiError::Malformed("not one byte".to_owned())),
    }
}

/// The one byte that a changing call answers.
pub(super) fn write_flag(flag: bool) -> Bytes {
    Bytes::from_static(if flag { &[1] } else { &[0] })
}

/// `getPointer`: the stored signed update of a writer (`spec/04` §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetPointer {
    /// Whose space the writer belongs to.
    pub owner: Owner,
    /// Whose pointer.
    pub writer: Writer,
}

impl Call for GetPointer {
    /// `signature (64) ‖ CBOR`; none if the writer never had a pointer. A client checks signature and sequence.
    type Output = Option<Bytes>;
    const PATH: &'static str = "peergos/v0/mutable/getPointer";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("owner", &self.owner).with("writer", &self.writer)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(GetPointer { owner: parameters.parsed("owner")?, writer: parameters.parsed("writer")? })
    }

    fn write(pointer: &Option<Bytes>) -> Bytes {
        pointer.clone().unwrap_or_default()
    }

    fn read_body(&self, body: Bytes) -> Result<Option<Bytes>, ApiError> {
        Ok(Some(body).filter(|body| !body.is_empty()))
    }
}

/// `setPointer`: commits one writer's update (`spec/04` §5.2).
#[derive(Clone, PartialEq, Eq)]
pub struct SetPointer {
    /// Whose space the writer belongs to.
    pub owner: Owner,
    /// Whose pointer.
    pub writer: Writer,
    /// The signed update: `signature (64) ‖ CBOR`.
    pub update: Bytes,
}

debug_only!(SetPointer { owner, writer });

impl Call for SetPointer {
    /// Whether the update was taken. A lost race is [`ApiError::PointerCas`].
    type Output = bool;
    const PATH: &'static str = "peergos/v0/mutable/setPointer";
    const MAX_BODY: usize = pointer::MAX_BODY;

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("owner", &self.owner).with("writer", &self.writer).body(self.update.clone())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let (owner, writer) = (parameters.parsed("owner")?, parameters.parsed("writer")?);
        Ok(SetPointer { owner, writer, update: request.body.clone() })
    }

    fn write(taken: &bool) -> Bytes {
        write_flag(*taken)
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        read_flag(&body)
    }
}

/// `setPointers`: commits the updates of several writers, all or none (`spec/04` §5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPointers {
    /// Whose space the writers belong to.
    pub owner: Owner,
    /// Each writer once, with its signed update.
    pub commit: MultiWriterCommit,
}

impl Call for SetPointers {
    /// Whether the updates were taken. A lost race is [`ApiError::PointerCas`].
    type Output = bool;
    const PATH: &'static str = "peergos/v0/mutable/setPointers";
    const MAX_BODY: usize = 1 << 20;

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("owner", &self.owner).body(self.commit.to_bytes())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let owner = request.parameters().parsed("owner")?;
        let body = Value::decode_shared(&request.body)?;
        Ok(SetPointers { owner, commit: MultiWriterCommit::from_cbor(&body)? })
    }

    fn write(taken: &bool) -> Bytes {
        write_flag(*taken)
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        read_flag(&body)
    }
}
