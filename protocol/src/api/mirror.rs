//! What mirrors of an account ask its home: a call of our own, which nodes of other kinds do not have.

use std::fmt;

use bytes::Bytes;
use pyrgos_crypto::hash::hmac_sha256;
use subtle::ConstantTimeEq;

use super::{ApiError, Call, Request};
use crate::encoding::{Cid, FromCbor, ToCbor, text};
use crate::merkle::bat::Bat;
use crate::migration::UserSnapshot;
use crate::names::Username;

/// For how long a proof holds, in milliseconds, before and after its time.
pub const PROOF_WINDOW_MILLIS: i64 = 10 * 60 * 1000;

/// `snapshot`: everything that is kept of an account beside its blocks, for whoever holds its mirror token.
#[derive(Clone, PartialEq, Eq)]
pub struct GetMirrorSnapshot {
    /// Whose account.
    pub username: Username,
    /// When the proof was made, milliseconds since 1970 UTC.
    pub time_millis: i64,
    /// That the asking node holds the token.
    pub proof: [u8; 32],
}

/// The proof opens what it is for until its time is over.
impl fmt::Debug for GetMirrorSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetMirrorSnapshot").field("username", &self.username).finish_non_exhaustive()
    }
}

impl GetMirrorSnapshot {
    /// A request of a node, `asking`, that holds the token.
    pub fn new(username: Username, token: &Bat, asking: &Cid, time_millis: i64) -> Self {
        let proof = prove(&username, token, asking, time_millis);
        GetMirrorSnapshot { username, time_millis, proof }
    }

    /// Whether the asking node holds this token. Time is checked elsewhere.
    pub fn is_proven_by(&self, token: &Bat, asking: &Cid) -> bool {
        prove(&self.username, token, asking, self.time_millis).ct_eq(&self.proof).into()
    }
}

/// Bound to the node that asks, which its connection proves, so that who passes a proof on gives nothing away.
fn prove(username: &Username, token: &Bat, asking: &Cid, time_millis: i64) -> [u8; 32] {
    let context: &[u8] = b"pyrgos mirror snapshot\0";
    let message =
        [context, username.as_str().as_bytes(), &[0], &time_millis.to_be_bytes(), &asking.to_bytes()].concat();
    hmac_sha256(token.as_bytes(), &message)
}

impl Call for GetMirrorSnapshot {
    type Output = UserSnapshot;
    const PATH: &'static str = "peergos/v0/pyrgos/mirror-snapshot";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("username", &self.username)
            .with("time", self.time_millis)
            .with("proof", text::hex(self.proof))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let username = Username::existing(parameters.required("username")?);
        let proof = parameters.hex("proof")?;
        Ok(GetMirrorSnapshot {
            username: username.map_err(|_| ApiError::refused("Invalid username"))?,
            time_millis: parameters.parsed("time")?,
            proof: proof.as_slice().try_into().map_err(|_| ApiError::refused("Malformed parameter proof"))?,
        })
    }

    fn write(snapshot: &UserSnapshot) -> Bytes {
        snapshot.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<UserSnapshot, ApiError> {
        Ok(UserSnapshot::from_bytes(&body)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_for_one_node_one_name_and_one_time() {
        let (token, other) = (Bat::from_bytes([1; 32]), Bat::from_bytes([2; 32]));
        let (node, stranger) = (Cid::of_cbor(b"node"), Cid::of_cbor(b"stranger"));
        let name = |name: &str| Username::existing(name).unwrap();
        let call = GetMirrorSnapshot::new(name("alice"), &token, &node, 7);
        assert!(call.is_proven_by(&token, &node));
        assert!(!call.is_proven_by(&other, &node));
        assert!(!call.is_proven_by(&token, &stranger));
        assert!(!GetMirrorSnapshot { time_millis: 8, ..call.clone() }.is_proven_by(&token, &node));
        assert!(!GetMirrorSnapshot { username: name("bob"), ..call.clone() }.is_proven_by(&token, &node));
        assert_eq!(GetMirrorSnapshot::parse(&call.request()).unwrap(), call);
        assert!(!format!("{call:?}").contains("proof"));
    }
}
