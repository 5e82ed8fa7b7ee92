//! That a node holds the mirror token of an account.

use std::fmt;

use pyrgos_crypto::hash::hmac_sha256;
use subtle::ConstantTimeEq;

use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::merkle::bat::Bat;
use crate::names::Username;

/// For how long a proof holds, in milliseconds, before and after its time.
pub const PROOF_WINDOW_MILLIS: i64 = 10 * 60 * 1000;

/// Opens what an account's mirrors may have, for one node and some minutes.
#[derive(Clone, PartialEq, Eq)]
pub struct MirrorProof {
    /// Whose account.
    pub username: Username,
    /// When the proof was made, milliseconds since 1970 UTC.
    pub time_millis: i64,
    /// The token's say, bound to name, time and the node that asks.
    pub proof: [u8; 32],
}

/// The proof opens what it is for until its time is over.
impl fmt::Debug for MirrorProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorProof").field("username", &self.username).finish_non_exhaustive()
    }
}

impl MirrorProof {
    /// That the node `asking` holds the token.
    pub fn new(username: Username, token: &Bat, asking: &Cid, time_millis: i64) -> Self {
        let proof = prove(&username, token, asking, time_millis);
        MirrorProof { username, time_millis, proof }
    }

    /// Whether the node `asking` holds this token. Time is checked elsewhere.
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

impl ToCbor for MirrorProof {
    fn to_cbor(&self) -> Value {
        let username = Value::text(self.username.as_str());
        Value::List(vec![username, Value::Int(self.time_millis), Value::bytes(self.proof)])
    }
}

impl FromCbor for MirrorProof {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("proof of a mirror", reason.to_owned());
        let [username, time, proof] = value.as_list()? else { return Err(invalid("not three elements")) };
        Ok(MirrorProof {
            username: Username::existing(username.as_text()?).map_err(|_| invalid("no username"))?,
            time_millis: time.as_int()?,
            proof: proof.as_array("proof of a mirror")?,
        })
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
        let proof = MirrorProof::new(name("alice"), &token, &node, 7);
        assert!(proof.is_proven_by(&token, &node));
        assert!(!proof.is_proven_by(&other, &node));
        assert!(!proof.is_proven_by(&token, &stranger));
        assert!(!MirrorProof { time_millis: 8, ..proof.clone() }.is_proven_by(&token, &node));
        assert!(!MirrorProof { username: name("bob"), ..proof.clone() }.is_proven_by(&token, &node));
        assert_eq!(MirrorProof::from_bytes(&proof.to_bytes()).unwrap(), proof);
        assert!(!format!("{proof:?}").contains("proof:"));
    }
}
