//! Streams: files of CBOR items, one behind the other without a frame; and the capabilities that a friend or group was
//! granted, which are such streams (`spec/05` §4.1).

use std::ops::Range;

use bytes::Bytes;

use crate::cryptree::AbsoluteCapability;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// Reads a whole stream.
///
/// # Errors
/// [`DecodeError`] for anything but whole items of one structure.
pub fn read_all<T: FromCbor>(stream: &Bytes) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::new();
    let mut rest = stream.clone();
    while !rest.is_empty() {
        let (value, used) = Value::decode_first(&rest)?;
        items.push(T::from_cbor(&value)?);
        rest = rest.slice(used..);
    }
    Ok(items)
}

/// Writes a whole stream. What is appended to a stream is simply a stream.
pub fn write_all<'a, T: ToCbor + 'a>(items: impl IntoIterator<Item = &'a T>) -> Vec<u8> {
    let mut stream = Vec::new();
    items.into_iter().for_each(|item| item.to_cbor().encode_into(&mut stream));
    stream
}

/// One capability in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where its bytes lie in the stream. Readers remember offsets, so records never move.
    pub bytes: Range<u64>,
    /// The capability: read-only in `sharing.r`, writable in `sharing.w`.
    pub capability: AbsoluteCapability,
}

/// The capabilities found in a stream from some offset on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// The records in order.
    pub records: Vec<Record>,
    /// The offset up to which the stream was read, and from which the next look goes on.
    pub end: u64,
    /// Why the rest of the stream could not be read. Nothing behind this place can ever be found.
    pub broken: Option<DecodeError>,
}

impl Records {
    /// Reads the capabilities in `bytes`, which begin at `offset` of the stream.
    ///
    /// The stream belongs to somebody else: an item that is no capability is passed over, and what is no CBOR at all
    /// ends the reading without losing what came before.
    pub fn read(bytes: &Bytes, offset: u64) -> Self {
        let mut found = Records { records: Vec::new(), end: offset, broken: None };
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let (value, used) = match Value::decode_first(&rest) {
                Ok(item) => item,
                Err(error) => {
                    found.broken = Some(error);
                    break;
                }
            };
            let start = found.end;
            found.end += used as u64;
            if let Ok(capability) = AbsoluteCapability::from_cbor(&value) {
                found.records.push(Record { bytes: start..found.end, capability });
            }
            rest = rest.slice(used..);
        }
        found
    }
}
