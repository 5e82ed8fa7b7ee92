//! Bytes below every format: CBOR, content identifiers, varints and multibase texts (`spec/01` §1–§2).

pub mod cbor;
pub mod cid;
pub mod text;
pub mod varint;

pub use cbor::{DecodeError, FromCbor, Map, ToCbor, Value};
pub use cid::{Cid, CidError, Codec, Multihash};
