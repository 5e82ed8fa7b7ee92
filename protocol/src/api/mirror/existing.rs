//! What existing nodes and clients call to have an account or a whole node mirrored (`spec/04` §6.7, §6.8).

use bytes::Bytes;

use crate::api::core::{MAX_BAT, read_name};
use crate::api::frame::{MAX_TEXT, Reader, Writer as FrameWriter};
use crate::api::{ApiError, Call, Request};
use crate::encoding::{FromCbor, ToCbor, Value};
use crate::keys::{MAX_PROOF_BYTES, ProofOfWork};
use crate::merkle::bat::BatWithId;
use crate::migration::UserSnapshot;
use crate::names::Username;

/// Largest signed time in a request, in bytes.
const MAX_AUTH: usize = 4096;

/// Most accounts in one answer of [`GetUserSnapshots`].
pub const MAX_SNAPSHOTS: usize = 10;

/// `mirror`: asks a node at which the account has space to keep a copy of it. `Debug` leaves out the token.
#[derive(Clone, PartialEq, Eq)]
pub struct StartMirror {
    /// Whose account.
    pub username: Username,
    /// The account's mirror token.
    pub bat: BatWithId,
    /// Signed time, by the identity.
    pub auth: Bytes,
    /// What nobody asks for here.
    pub proof: ProofOfWork,
}

debug_only!(StartMirror { username });

impl Call for StartMirror {
    /// Whether the node mirrors it now.
    type Output = bool;
    const PATH: &'static str = "peergos/v0/core/mirror";
    const MAX_BODY: usize = MAX_TEXT + MAX_BAT + MAX_AUTH + MAX_PROOF_BYTES + 16;

    fn request(&self) -> Request {
        let frame = FrameWriter::new().text(self.username.as_str()).bytes(&self.bat.to_bytes());
        Request::new(Self::PATH).body(frame.bytes(&self.auth).bytes(&self.proof.to_bytes()).finish())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let mut frame = Reader::new(request.body.clone());
        Ok(StartMirror {
            username: read_name(&mut frame)?,
            bat: BatWithId::from_bytes(&frame.bytes(MAX_BAT)?)?,
            auth: frame.bytes(MAX_AUTH)?,
            proof: ProofOfWork::from_bytes(&frame.bytes(MAX_PROOF_BYTES)?)?,
        })
    }

    fn write(is_mirrored: &bool) -> Bytes {
        FrameWriter::new().bool(*is_mirrored).finish()
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        Reader::new(body).bool()
    }
}

/// `startPaidMirror`: asks what a copy of an account costs. `Debug` leaves out the signed time.
#[derive(Clone, PartialEq, Eq)]
pub struct StartPaidMirror {
    /// Whose account.
    pub username: Username,
    /// Signed time, by the identity.
    pub auth: Bytes,
    /// Work, where the node asks for it.
    pub proof: ProofOfWork,
}

debug_only!(StartPaidMirror { username });

impl Call for StartPaidMirror {
    /// The work that the node asks for, in leading zero bits; 256, which nobody can do, if it sells nothing. What nodes
    /// that sell space answer instead is not read.
    type Output = u32;
    const PATH: &'static str = "peergos/v0/core/startPaidMirror";
    const MAX_BODY: usize = MAX_TEXT + MAX_AUTH + MAX_PROOF_BYTES + 16;

    fn request(&self) -> Request {
        let frame = FrameWriter::new().text(self.username.as_str()).bytes(&self.auth);
        Request::new(Self::PATH).body(frame.bytes(&self.proof.to_bytes()).finish())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let mut frame = Reader::new(request.body.clone());
        Ok(StartPaidMirror {
            username: read_name(&mut frame)?,
            auth: frame.bytes(MAX_AUTH)?,
            proof: ProofOfWork::from_bytes(&frame.bytes(MAX_PROOF_BYTES)?)?,
        })
    }

    fn write(difficulty: &u32) -> Bytes {
        FrameWriter::new().bool(false).u32(*difficulty).finish()
    }

    fn read_body(&self, body: Bytes) -> Result<u32, ApiError> {
        let mut frame = Reader::new(body);
        match frame.bool()? {
            false => frame.u32(),
            true => Err(ApiError::refused("The node sells space, which this client does not buy")),
        }
    }
}

/// `getUserSnapshots`: what a node keeps of the accounts that live on it, in the order of their names, for whoever has
/// the node's own token. `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct GetUserSnapshots {
    /// Accounts whose names come after this text. A caller begins with an empty one.
    pub after: String,
    /// The token of the node.
    pub instance: BatWithId,
    /// Openings of links are answered from this time on, in seconds since 1970 UTC.
    pub counts_after_secs: i64,
}

debug_only!(GetUserSnapshots { after });

impl Call for GetUserSnapshots {
    /// At most [`MAX_SNAPSHOTS`]; fewer if these are the last.
    type Output = Vec<UserSnapshot>;
    const PATH: &'static str = "peergos/v0/core/getUserSnapshots";
    const MAX_BODY: usize = MAX_TEXT + MAX_BAT + 32;

    fn request(&self) -> Request {
        let frame = FrameWriter::new().text(&self.after).bytes(&self.instance.to_bytes()).i64(self.counts_after_secs);
        Request::new(Self::PATH).body(frame.finish())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let mut frame = Reader::new(request.body.clone());
        Ok(GetUserSnapshots {
            after: frame.text()?,
            instance: BatWithId::from_bytes(&frame.bytes(MAX_BAT)?)?,
            counts_after_secs: frame.i64()?,
        })
    }

    fn write(snapshots: &Vec<UserSnapshot>) -> Bytes {
        Value::list(snapshots).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<UserSnapshot>, ApiError> {
        let snapshots: Vec<UserSnapshot> = Value::decode_shared(&body)?.as_list_of()?;
        match snapshots.len() <= MAX_SNAPSHOTS {
            true => Ok(snapshots),
            false => Err(ApiError::refused("More accounts than one answer has")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::bat::Bat;

    #[test]
    fn tokens_are_not_printed() {
        let (username, bat) = (Username::existing("alice").unwrap(), BatWithId::mirror(Bat::from_bytes([1; 32])));
        let (auth, proof) = (Bytes::from_static(b"SECRET"), ProofOfWork::first_try());
        let mirror = StartMirror { username: username.clone(), bat: bat.clone(), auth: auth.clone(), proof };
        assert_eq!(StartMirror::parse(&mirror.request()).unwrap(), mirror);
        assert_eq!(format!("{mirror:?}"), "StartMirror { username: \"alice\", .. }");
        let paid = StartPaidMirror { username, auth, proof: ProofOfWork::first_try() };
        assert_eq!(format!("{paid:?}"), "StartPaidMirror { username: \"alice\", .. }");
        let snapshots = GetUserSnapshots { after: "alice".to_owned(), instance: bat, counts_after_secs: -1 };
        assert_eq!(GetUserSnapshots::parse(&snapshots.request()).unwrap(), snapshots);
        assert_eq!(format!("{snapshots:?}"), "GetUserSnapshots { after: \"alice\", .. }");
    }

    #[test]
    fn what_costs_money_is_refused() {
        let (username, auth) = (Username::existing("alice").unwrap(), Bytes::new());
        let call = StartPaidMirror { username, auth, proof: ProofOfWork::first_try() };
        assert_eq!(call.read_body(StartPaidMirror::write(&256)).unwrap(), 256);
        assert!(call.read_body(Bytes::from_static(&[1, 0, 0, 0, 0])).is_err());
        assert!(call.read_body(Bytes::from_static(&[0, 0])).is_err());
    }
}
