//! What mirrors of an account ask its home, and what its owner says about them: calls of our own, which nodes of other kinds
//! do not have. Those that they do have are in [`existing`].

pub mod existing;

use std::fmt;

use bytes::Bytes;

use super::{ApiError, Call, Request};
use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value, text};
use crate::migration::UserSnapshot;
use crate::mirroring::MirrorProof;
use crate::mirroring::list::MAX_SIGNED;
use crate::names::Username;
pub use existing::{GetUserSnapshots, MAX_SNAPSHOTS, StartMirror, StartPaidMirror};

/// `snapshot`: everything that is kept of an account beside its blocks, for whoever holds its mirror token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetMirrorSnapshot(pub MirrorProof);

impl Call for GetMirrorSnapshot {
    type Output = UserSnapshot;
    const PATH: &'static str = "peergos/v0/pyrgos/mirror-snapshot";

    fn request(&self) -> Request {
        proven(Self::PATH, &self.0)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        read_proof(request).map(GetMirrorSnapshot)
    }

    fn write(snapshot: &UserSnapshot) -> Bytes {
        snapshot.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<UserSnapshot, ApiError> {
        Ok(UserSnapshot::from_bytes(&body)?)
    }
}

/// `mirror-list`: the owner's list of mirrors, for whoever holds the mirror token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetMirrorList(pub MirrorProof);

impl Call for GetMirrorList {
    /// A signed [`MirrorList`](crate::mirroring::MirrorList); none if the owner made none.
    type Output = Option<Bytes>;
    const PATH: &'static str = "peergos/v0/pyrgos/mirror-list";

    fn request(&self) -> Request {
        proven(Self::PATH, &self.0)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        read_proof(request).map(GetMirrorList)
    }

    fn write(list: &Option<Bytes>) -> Bytes {
        list.clone().unwrap_or_default()
    }

    fn read_body(&self, body: Bytes) -> Result<Option<Bytes>, ApiError> {
        Ok((!body.is_empty()).then_some(body))
    }
}

/// `tell-mirrors`: gives a node the owner's list of mirrors. Whoever has it may: the owner's signature says that it is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TellMirrors {
    /// Whose account.
    pub username: Username,
    /// [`MirrorList`](crate::mirroring::MirrorList), signed by the identity key.
    pub signed: Bytes,
}

impl Call for TellMirrors {
    /// Whether it was news.
    type Output = bool;
    const PATH: &'static str = "peergos/v0/pyrgos/tell-mirrors";
    const MAX_BODY: usize = MAX_SIGNED;

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("username", &self.username).body(self.signed.clone())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let username = Username::existing(request.parameters().required("username")?);
        let username = username.map_err(|_| ApiError::refused("Invalid username"))?;
        Ok(TellMirrors { username, signed: request.body.clone() })
    }

    fn write(is_news: &bool) -> Bytes {
        Value::Bool(*is_news).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        Ok(Value::decode(&body)?.as_bool()?)
    }
}

/// A node that asked for what mirrors may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMirror {
    /// Its identifier.
    pub node: Cid,
    /// When it last asked, milliseconds since 1970 UTC by the home's clock.
    pub asked_millis: i64,
    /// Whether it was given the present state then.
    pub is_current: bool,
}

/// What the home of an account knows about its mirrors.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MirrorReport {
    /// The nodes that asked since the home started, sorted.
    pub seen: Vec<SeenMirror>,
    /// The owner's signed list.
    pub list: Option<Bytes>,
}

/// `mirrors`: what the home knows about the account's mirrors.
#[derive(Clone, PartialEq, Eq)]
pub struct GetMirrors {
    /// Whose.
    pub username: Username,
    /// Signed request for [`Call::PATH`] by the identity key.
    pub auth: Bytes,
}

/// A signed request opens what it is for until its time is over.
impl fmt::Debug for GetMirrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetMirrors").field("username", &self.username).finish_non_exhaustive()
    }
}

/// More nodes than a home remembers.
const MAX_SEEN: usize = 1000;

impl Call for GetMirrors {
    type Output = MirrorReport;
    const PATH: &'static str = "peergos/v0/pyrgos/mirrors";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("username", &self.username).with("auth", text::hex(&self.auth))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let username = Username::existing(parameters.required("username")?);
        let username = username.map_err(|_| ApiError::refused("Invalid username"))?;
        Ok(GetMirrors { username, auth: parameters.hex("auth")?.into() })
    }

    fn write(report: &MirrorReport) -> Bytes {
        let seen = report.seen.iter().map(|seen| {
            let node = Value::bytes(seen.node.to_bytes());
            Value::List(vec![node, Value::Int(seen.asked_millis), Value::Bool(seen.is_current)])
        });
        let list = Value::bytes(report.list.clone().unwrap_or_default());
        Value::List(vec![Value::List(seen.collect()), list]).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<MirrorReport, ApiError> {
        let invalid = |reason: &str| DecodeError::invalid("report of mirrors", reason.to_owned());
        let value = Value::decode_shared(&body)?;
        let [seen, list] = value.as_list()? else { return Err(invalid("not two elements").into()) };
        let seen = seen.as_list()?.iter().take(MAX_SEEN).map(|seen| {
            let [node, asked, is_current] = seen.as_list()? else { return Err(invalid("not three elements")) };
            Ok(SeenMirror {
                node: Cid::from_bytes(node.as_bytes()?).map_err(|_| invalid("no identifier of a node"))?,
                asked_millis: asked.as_int()?,
                is_current: is_current.as_bool()?,
            })
        });
        let list = list.as_bytes()?;
        Ok(MirrorReport { seen: seen.collect::<Result<_, _>>()?, list: (!list.is_empty()).then(|| list.clone()) })
    }
}

fn proven(path: &str, proof: &MirrorProof) -> Request {
    Request::new(path)
        .with("username", &proof.username)
        .with("time", proof.time_millis)
        .with("proof", text::hex(proof.proof))
}

fn read_proof(request: &Request) -> Result<MirrorProof, ApiError> {
    let parameters = request.parameters();
    let username = Username::existing(parameters.required("username")?);
    let proof = parameters.hex("proof")?;
    Ok(MirrorProof {
        username: username.map_err(|_| ApiError::refused("Invalid username"))?,
        time_millis: parameters.parsed("time")?,
        proof: proof.as_slice().try_into().map_err(|_| ApiError::refused("Malformed parameter proof"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::bat::Bat;

    #[test]
    fn calls_are_read_as_they_are_written() {
        let (token, node) = (Bat::from_bytes([1; 32]), Cid::of_cbor(b"node"));
        let alice = Username::existing("alice").unwrap();
        let call = GetMirrorSnapshot(MirrorProof::new(alice, &token, &node, 7));
        assert_eq!(GetMirrorSnapshot::parse(&call.request()).unwrap(), call);
        assert!(!format!("{call:?}").contains("proof:"));
        let username = Username::existing("alice").unwrap();
        let list = GetMirrorList(call.0);
        assert_eq!(GetMirrorList::parse(&list.request()).unwrap(), list);
        let tell = TellMirrors { username: username.clone(), signed: Bytes::from_static(b"signed") };
        assert_eq!(TellMirrors::parse(&tell.request()).unwrap(), tell);
        let mirrors = GetMirrors { username, auth: Bytes::from_static(b"secret") };
        assert_eq!(GetMirrors::parse(&mirrors.request()).unwrap(), mirrors);
        assert!(!format!("{mirrors:?}").contains("auth"));
        let seen = vec![SeenMirror { node, asked_millis: 7, is_current: true }];
        for report in [MirrorReport::default(), MirrorReport { seen, list: Some(tell.signed) }] {
            assert_eq!(mirrors.read_body(GetMirrors::write(&report)).unwrap(), report);
        }
    }
}
