//! The node itself: `peergos/v0/admin/…` (`spec/04` §11).

use bytes::Bytes;

use super::{ApiError, Call, Request};
use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value, text};
use crate::keys::Owner;

/// Version of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `a.b.c` with an optional `-suffix`.
    pub version: String,
    /// Text of the source revision, which may be empty.
    pub source: String,
}

impl ToCbor for Version {
    fn to_cbor(&self) -> Value {
        Value::map([("v", Value::text(&self.version)), ("s", Value::text(&self.source))])
    }
}

impl FromCbor for Version {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("VersionInfo")?;
        Ok(Version { version: fields.text("v")?.to_owned(), source: fields.text("s")?.to_owned() })
    }
}

/// `version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetVersion;

impl Call for GetVersion {
    type Output = Version;
    const PATH: &'static str = "peergos/v0/admin/version";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
    }

    fn parse(_: &Request) -> Result<Self, ApiError> {
        Ok(GetVersion)
    }

    fn write(version: &Version) -> Bytes {
        version.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<Version, ApiError> {
        Ok(Version::from_bytes(&body)?)
    }
}

/// Which sign-ups a node takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedSignups {
    /// Without a token and without payment.
    pub free: bool,
    /// Against payment.
    pub paid: bool,
}

impl ToCbor for AllowedSignups {
    fn to_cbor(&self) -> Value {
        Value::map([("f", Value::Bool(self.free)), ("p", Value::Bool(self.paid))])
    }
}

impl FromCbor for AllowedSignups {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("AllowedSignups")?;
        Ok(AllowedSignups { free: fields.required("f")?.as_bool()?, paid: fields.required("p")?.as_bool()? })
    }
}

/// `signups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetAllowedSignups;

impl Call for GetAllowedSignups {
    type Output = AllowedSignups;
    const PATH: &'static str = "peergos/v0/admin/signups";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
    }

    fn parse(_: &Request) -> Result<Self, ApiError> {
        Ok(GetAllowedSignups)
    }

    fn write(allowed: &AllowedSignups) -> Bytes {
        allowed.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<AllowedSignups, ApiError> {
        Ok(AllowedSignups::from_bytes(&body)?)
    }
}

/// `waitlist`: leaves an address for the day when sign-ups open again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinWaitlist {
    /// An e-mail address.
    pub email: String,
}

impl Call for JoinWaitlist {
    /// Whether the address was noted.
    type Output = bool;
    const PATH: &'static str = "peergos/v0/admin/waitlist";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("email", &self.email)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Ok(JoinWaitlist { email: request.parameters().required("email")?.to_owned() })
    }

    fn write(noted: &bool) -> Bytes {
        Value::Bool(*noted).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        Ok(Value::decode(&body)?.as_bool()?)
    }
}

/// A signed wish for space that waits for an administrator, or that one has granted.
#[derive(Clone, PartialEq, Eq)]
pub struct LabelledSpaceRequest {
    /// Whose wish.
    pub username: String,
    /// [`SpaceRequest`](super::space::SpaceRequest), signed by the account's identity key.
    pub request: Bytes,
}

debug_only!(LabelledSpaceRequest { username });

impl ToCbor for LabelledSpaceRequest {
    fn to_cbor(&self) -> Value {
        Value::map([("u", Value::text(&self.username)), ("r", Value::Bytes(self.request.clone()))])
    }
}

impl FromCbor for LabelledSpaceRequest {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("LabelledSignedSpaceRequest")?;
        Ok(LabelledSpaceRequest { username: fields.text("u")?.to_owned(), request: fields.bytes("r")?.clone() })
    }
}

/// `pending`: space requests that wait. Empty for anybody but an administrator.
#[derive(Clone, PartialEq, Eq)]
pub struct GetPendingSpaceRequests {
    /// The administrator.
    pub admin: Owner,
    /// Which node is asked.
    pub instance: Cid,
    /// Signed time by the administrator, newer than any before.
    pub auth: Bytes,
}

debug_only!(GetPendingSpaceRequests { admin, instance });

impl Call for GetPendingSpaceRequests {
    type Output = Vec<LabelledSpaceRequest>;
    const PATH: &'static str = "peergos/v0/admin/pending";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("admin", &self.admin)
            .with("instance", &self.instance)
            .with("auth", text::hex(&self.auth))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(GetPendingSpaceRequests {
            admin: parameters.parsed("admin")?,
            instance: parameters.parsed("instance")?,
            auth: parameters.hex("auth")?.into(),
        })
    }

    fn write(requests: &Vec<LabelledSpaceRequest>) -> Bytes {
        Value::list(requests).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<LabelledSpaceRequest>, ApiError> {
        Ok(Value::decode_shared(&body)?.as_list_of()?)
    }
}

/// `approve`: grants a space request.
#[derive(Clone, PartialEq, Eq)]
pub struct ApproveSpaceRequest {
    /// The administrator.
    pub admin: Owner,
    /// Which node shall grant it.
    pub instance: Cid,
    /// [`LabelledSpaceRequest`], signed by the administrator.
    pub request: Bytes,
}

debug_only!(ApproveSpaceRequest { admin, instance });

impl Call for ApproveSpaceRequest {
    type Output = bool;
    const PATH: &'static str = "peergos/v0/admin/approve";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("admin", &self.admin)
            .with("instance", &self.instance)
            .with("req", text::hex(&self.request))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(ApproveSpaceRequest {
            admin: parameters.parsed("admin")?,
            instance: parameters.parsed("instance")?,
            request: parameters.hex("req")?.into(),
        })
    }

    fn write(granted: &bool) -> Bytes {
        Value::Bool(*granted).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        Ok(Value::decode(&body)?.as_bool()?)
    }
}
