//! What the fuzz targets have in common: a decoder is given any bytes and must answer with a value or an error, in time
//! and memory that the input bounds. Each target in `fuzz_targets/` is one line that names the decoder.

use bytes::Bytes;
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor, Value};

/// Decodes bytes as a structure. What decodes must encode to bytes that decode to the same structure.
pub fn structure<T: FromCbor + ToCbor>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        let canonical = value.to_bytes();
        let again = T::from_bytes(&canonical).unwrap_or_else(|error| panic!("own bytes refused: {error}"));
        assert!(again.to_bytes() == canonical, "a second round of decoding and encoding gave other bytes");
    }
}

/// Decodes a text, when the bytes are one. What parses must print to a text that parses to the same value.
pub fn text<T: std::str::FromStr<Err: std::fmt::Display> + ToString + PartialEq>(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(value) = text.parse::<T>() {
        let again: T = value.to_string().parse().unwrap_or_else(|error| panic!("own text refused: {error}"));
        assert!(again == value, "a second round of printing and parsing gave another value");
    }
}

/// Decodes bytes as a block of canonical CBOR. What is accepted must be the bytes that encoding gives: two spellings of
/// one value would be two content identifiers.
pub fn block(bytes: &[u8]) {
    if let Ok(value) = Value::decode_canonical(&Bytes::copy_from_slice(bytes)) {
        assert!(value.encode() == bytes, "bytes that are not canonical were taken for canonical");
        assert_eq!(value.encoded_len(), bytes.len());
    }
}

/// Decodes bytes as a content identifier. Its bytes and its text must lead back to it.
pub fn cid(bytes: &[u8]) {
    if let Ok(cid) = Cid::from_bytes(bytes) {
        let again = Cid::from_bytes(&cid.to_bytes());
        assert!(again.as_ref() == Ok(&cid), "own bytes refused");
        assert_eq!(cid.to_bytes().len(), cid.encoded_len());
        assert!(cid.to_string().parse().as_ref() == Ok(&cid), "own text refused");
    }
}
