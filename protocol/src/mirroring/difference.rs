//! What a mirror asks of the blocks of an account (design §4): those of a tree that another tree does not have.
//!
//! Blocks come level by level, what links to others before those. `base` and `wanted` are blocks of one level of an old and
//! a new tree; what stands below both is left out. So a first request names two roots, and one that goes on after a broken
//! stream, or that shares the work between sources, the blocks of the level that it came to.

use bytes::Bytes;

use super::proof::MirrorProof;
use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};

/// Most blocks that a request names in each of its lists.
pub const MAX_NAMED: usize = 4096;

/// Longest request, in bytes.
pub const MAX_REQUEST: usize = 512 << 10;

/// Asks for blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferenceRequest {
    /// That who asks may have them.
    pub proof: MirrorProof,
    /// Blocks of the old tree, on the level of those that are wanted, which the asking node has with all that is below.
    pub base: Vec<Cid>,
    /// Blocks of the new tree.
    pub wanted: Vec<Cid>,
    /// Whether also what is below them is wanted.
    pub is_deep: bool,
    /// After so many bytes of blocks the answer ends. One block always fits.
    pub max_bytes: u64,
}

fn links(cids: &[Cid]) -> Value {
    Value::List(cids.iter().cloned().map(Value::Link).collect())
}

impl ToCbor for DifferenceRequest {
    fn to_cbor(&self) -> Value {
        Value::List(vec![
            self.proof.to_cbor(),
            links(&self.base),
            links(&self.wanted),
            Value::Bool(self.is_deep),
            Value::Int(i64::try_from(self.max_bytes).unwrap_or(i64::MAX)),
        ])
    }
}

impl FromCbor for DifferenceRequest {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("request of a mirror", reason.to_owned());
        let [proof, base, wanted, is_deep, max_bytes] = value.as_list()? else {
            return Err(invalid("not five elements"));
        };
        let named = |list: &Value| -> Result<Vec<Cid>, DecodeError> {
            match list.as_list()?.len() {
                0..=MAX_NAMED => list.as_list()?.iter().map(|link| link.as_link().cloned()).collect(),
                _ => Err(invalid("too many blocks")),
            }
        };
        Ok(DifferenceRequest {
            proof: MirrorProof::from_cbor(proof)?,
            base: named(base)?,
            wanted: named(wanted)?,
            is_deep: is_deep.as_bool()?,
            max_bytes: u64::try_from(max_bytes.as_int()?).map_err(|_| invalid("less than no bytes"))?,
        })
    }
}

/// One part of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DifferencePart {
    /// A block. Nothing says that these are its bytes: they must be hashed.
    Block(Cid, Bytes),
    /// A block that was named or comes now, and that is not there.
    Absent(Cid),
    /// The answer is whole.
    End,
    /// Nothing is given, and why.
    Refused(String),
}

/// Longest part, in bytes: the largest block and what goes with it.
pub const MAX_PART: usize = (2 << 20) + 1024;

impl DifferencePart {
    const BLOCK: u8 = 0;
    const ABSENT: u8 = 1;
    const END: u8 = 2;
    const REFUSED: u8 = 3;

    /// What stands before a block's bytes: its kind, the length of its name, its name.
    pub fn head_of_block(cid: &Cid) -> Vec<u8> {
        let cid = cid.to_bytes();
        let mut head = vec![Self::BLOCK, u8::try_from(cid.len()).unwrap_or(u8::MAX)];
        head.extend(cid);
        head
    }

    /// The bytes of the part, without their length.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            DifferencePart::Block(cid, block) => [&Self::head_of_block(cid)[..], block].concat(),
            DifferencePart::Absent(cid) => [&[Self::ABSENT][..], &cid.to_bytes()].concat(),
            DifferencePart::End => vec![Self::END],
            DifferencePart::Refused(reason) => [&[Self::REFUSED], reason.as_bytes()].concat(),
        }
    }

    /// Reads a part.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("part of a mirror's answer", reason.to_owned());
        let cid = |bytes: &[u8]| Cid::from_bytes(bytes).map_err(|_| invalid("no name of a block"));
        let (kind, rest) = bytes.split_first().ok_or_else(|| invalid("empty"))?;
        match (*kind, rest) {
            (Self::BLOCK, [len, rest @ ..]) if rest.len() >= usize::from(*len) => {
                let at = 2 + usize::from(*len);
                Ok(DifferencePart::Block(cid(&bytes[2..at])?, bytes.slice(at..)))
            }
            (Self::ABSENT, rest) => Ok(DifferencePart::Absent(cid(rest)?)),
            (Self::END, []) => Ok(DifferencePart::End),
            (Self::REFUSED, reason) => {
                Ok(DifferencePart::Refused(String::from_utf8_lossy(reason).chars().take(256).collect()))
            }
            _ => Err(invalid("of no kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::bat::Bat;
    use crate::names::Username;

    #[test]
    fn requests_and_parts_are_read_as_they_are_written() {
        let (node, cid) = (Cid::of_cbor(b"node"), |n: u8| Cid::of_raw(&[n]));
        let alice = Username::existing("alice").unwrap();
        let request = DifferenceRequest {
            proof: MirrorProof::new(alice, &Bat::from_bytes([1; 32]), &node, 7),
            base: vec![cid(1)],
            wanted: (0..200).map(cid).collect(),
            is_deep: true,
            max_bytes: 1 << 40,
        };
        assert_eq!(DifferenceRequest::from_bytes(&request.to_bytes()).unwrap(), request);
        let many = DifferenceRequest { wanted: vec![cid(1); MAX_NAMED + 1], ..request.clone() };
        assert!(DifferenceRequest::from_bytes(&many.to_bytes()).is_err());
        let most = DifferenceRequest { wanted: vec![cid(1); MAX_NAMED], base: vec![cid(2); MAX_NAMED], ..request };
        assert!(most.to_bytes().len() <= MAX_REQUEST);
        for part in [
            DifferencePart::Block(cid(3), Bytes::from_static(b"content")),
            DifferencePart::Block(cid(3), Bytes::new()),
            DifferencePart::Absent(node),
            DifferencePart::End,
            DifferencePart::Refused("no".to_owned()),
        ] {
            let bytes = Bytes::from(part.to_bytes());
            assert_eq!(DifferencePart::from_bytes(&bytes).unwrap(), part);
        }
        for wrong in [&[][..], &[0], &[0, 9, 1], &[1], &[2, 0], &[4]] {
            assert!(DifferencePart::from_bytes(&Bytes::copy_from_slice(wrong)).is_err(), "{wrong:?}");
        }
    }
}
