//! Binary bodies of `core` and `social` (`spec/04` §2.7).
//!
//! A text is a length and its bytes, so is a byte string; integers are big-endian. Reading is total, and bytes after
//! the last field are ignored, as existing nodes do.

use bytes::{BufMut, Bytes, BytesMut};

use super::ApiError;

/// Longest text in UTF-16 units that a reader takes.
pub const MAX_TEXT: usize = 1024;

/// Builds a body field by field.
#[derive(Default)]
pub struct Writer {
    out: BytesMut,
}

impl Writer {
    /// An empty body.
    pub fn new() -> Self {
        Writer::default()
    }

    /// A text: number of UTF-16 units, then UTF-8. Only ASCII is legal, where both counts agree.
    pub fn text(mut self, text: &str) -> Self {
        self.out.put_u32(text.encode_utf16().count() as u32);
        self.out.put_slice(text.as_bytes());
        self
    }

    /// A byte string with its length. Longer than 4 GiB cannot be, since no body is.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.out.put_u32(bytes.len() as u32);
        self.out.put_slice(bytes);
        self
    }

    /// One byte, 00 or 01.
    pub fn bool(mut self, value: bool) -> Self {
        self.out.put_u8(u8::from(value));
        self
    }

    /// Eight bytes.
    pub fn i64(mut self, value: i64) -> Self {
        self.out.put_i64(value);
        self
    }

    /// Four bytes.
    pub fn u32(mut self, value: u32) -> Self {
        self.out.put_u32(value);
        self
    }

    /// The body.
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }
}

/// Reads a body field by field.
pub struct Reader {
    input: Bytes,
}

impl Reader {
    /// Starts at the first field.
    pub fn new(input: Bytes) -> Self {
        Reader { input }
    }

    fn take(&mut self, len: usize) -> Result<Bytes, ApiError> {
        if len > self.input.len() {
            return Err(ApiError::refused("Request body ends inside a field"));
        }
        Ok(self.input.split_to(len))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ApiError> {
        let bytes = self.take(N)?;
        let mut out = [0; N];
        out.copy_from_slice(&bytes);
        Ok(out)
    }

    /// A text of at most [`MAX_TEXT`] units. Texts beyond ASCII, whose two counts differ, are refused.
    pub fn text(&mut self) -> Result<String, ApiError> {
        let bytes = self.bytes(MAX_TEXT)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) if text.is_ascii() => Ok(text.to_owned()),
            _ => Err(ApiError::refused("Text is not ASCII")),
        }
    }

    /// A byte string of at most `max` bytes.
    pub fn bytes(&mut self, max: usize) -> Result<Bytes, ApiError> {
        let len = self.u32()?;
        match usize::try_from(len) {
            Ok(len) if len <= max => self.take(len),
            _ => Err(ApiError::refused(format!("byte array of size {len} too big."))),
        }
    }

    /// One byte: zero is false, anything else true.
    pub fn bool(&mut self) -> Result<bool, ApiError> {
        Ok(self.array::<1>()? != [0])
    }

    /// Eight bytes.
    pub fn i64(&mut self) -> Result<i64, ApiError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, ApiError> {
        Ok(u32::from_be_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let body = Writer::new().text("alice").bytes(&[1, 2]).bool(true).i64(-2).u32(7).finish();
        let mut reader = Reader::new(body);
        assert_eq!(reader.text().unwrap(), "alice");
        assert_eq!(reader.bytes(2).unwrap().as_ref(), [1, 2]);
        assert!(reader.bool().unwrap());
        assert_eq!(reader.i64().unwrap(), -2);
        assert_eq!(reader.u32().unwrap(), 7);
        assert!(reader.bool().is_err());
    }

    #[test]
    fn refuses_frames_that_lie() {
        let lies: [&[u8]; 4] = [&[], &[0, 0, 0], &[0, 0, 0, 2, b'a'], &[0xff, 0xff, 0xff, 0xff]];
        for body in lies {
            assert!(Reader::new(Bytes::copy_from_slice(body)).text().is_err());
        }
        let error = Reader::new(Writer::new().bytes(&[0; 5]).finish()).bytes(4).unwrap_err();
        assert_eq!(error.message(), "byte array of size 5 too big.");
        assert!(Reader::new(Bytes::from_static(&[0, 0, 0, 2, 0xc3, 0xa9])).text().is_err());
    }
}
