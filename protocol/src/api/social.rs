//! The inbox of follow requests: `peergos/v0/social/…` (`spec/04` §7, `spec/05` §3.4).
//!
//! A request travels and is kept as the bytes that its sender wrote: the call that removes it signs exactly these.

use bytes::Bytes;

use super::frame::{Reader, Writer};
use super::mutable::{read_flag, write_flag};
use super::{ApiError, Call, Request};
use crate::encoding::{FromCbor, Value, text};
use crate::keys::{Owner, SecretSigningKey};
use crate::social::follow::{BlindFollowRequest, MAX_BLIND_BYTES};

/// Length of a signature in front of what it signs, in bytes.
const SIGNATURE_LEN: usize = 64;

/// Longest listing that a client reads, in bytes: more requests than any node keeps for one user.
const MAX_LISTING: usize = 1 << 20;

/// `followRequest`: leaves a sealed request for somebody. Nobody signs it, since the node shall not know the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendFollowRequest {
    /// Who shall get it.
    pub target: Owner,
    /// A [`BlindFollowRequest`].
    pub request: Bytes,
}

impl Call for SendFollowRequest {
    /// False if too many requests wait already.
    type Output = bool;
    const PATH: &'static str = "peergos/v0/social/followRequest";
    const MAX_BODY: usize = MAX_BLIND_BYTES;

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("owner", &self.target).body(self.request.clone())
    }

    /// The body must be a request in its one canonical form: an item that nobody can read would spoil the whole listing,
    /// and one that reads back as other bytes could never be removed.
    fn parse(request: &Request) -> Result<Self, ApiError> {
        let target = request.parameters().parsed("owner")?;
        let value = Value::decode_shared(&request.body)?;
        BlindFollowRequest::from_cbor(&value)?;
        if value.encode() != request.body {
            return Err(ApiError::Malformed("follow request in another form than the canonical one".to_owned()));
        }
        Ok(SendFollowRequest { target, request: request.body.clone() })
    }

    fn write(stored: &bool) -> Bytes {
        write_flag(*stored)
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        read_flag(&body)
    }
}

/// `getFollowRequests`: the requests that wait for the caller.
#[derive(Clone, PartialEq, Eq)]
pub struct GetFollowRequests {
    /// Whose inbox.
    pub owner: Owner,
    /// Signed time by the identity key.
    pub auth: Bytes,
}

impl Call for GetFollowRequests {
    /// [`BlindFollowRequest`]s in the order of their arrival. Anybody may have written them.
    type Output = Vec<Bytes>;
    const PATH: &'static str = "peergos/v0/social/getFollowRequests";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("owner", &self.owner).with("auth", text::hex(&self.auth))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(GetFollowRequests { owner: parameters.parsed("owner")?, auth: parameters.hex("auth")?.into() })
    }

    fn write(requests: &Vec<Bytes>) -> Bytes {
        // A node stores nothing that it cannot read.
        let items = requests.iter().filter_map(|request| Value::decode_shared(request).ok());
        Writer::new().bytes(&Value::List(items.collect()).encode()).finish()
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<Bytes>, ApiError> {
        let list = Value::decode_shared(&Reader::new(body).bytes(MAX_LISTING)?)?;
        Ok(list.as_list()?.iter().map(|request| request.encode().into()).collect())
    }
}

/// `removeFollowRequest`: takes one request out of the caller's inbox.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoveFollowRequest {
    /// Whose inbox.
    pub owner: Owner,
    /// The stored bytes, signed by the identity key: `signature (64) ‖ request`.
    pub signed: Bytes,
}

debug_only!(RemoveFollowRequest { owner });

impl RemoveFollowRequest {
    /// Signs the removal of a request as it was received.
    pub fn sign(owner: Owner, request: &[u8], identity: &SecretSigningKey) -> Self {
        RemoveFollowRequest { owner, signed: identity.sign_attached(request).into() }
    }
}

impl Call for RemoveFollowRequest {
    /// False if the owner did not sign. A request that is not there counts as removed.
    type Output = bool;
    const PATH: &'static str = "peergos/v0/social/removeFollowRequest";
    // Existing nodes read 4096 bytes, so that their longest requests cannot be removed.
    const MAX_BODY: usize = MAX_BLIND_BYTES + SIGNATURE_LEN;

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("owner", &self.owner).body(self.signed.clone())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let owner = request.parameters().parsed("owner")?;
        Ok(RemoveFollowRequest { owner, signed: request.body.clone() })
    }

    fn write(removed: &bool) -> Bytes {
        write_flag(*removed)
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        read_flag(&body)
    }
}
