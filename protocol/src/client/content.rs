//! Where the content of a file comes from, and where it goes.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::api::transport::MaybeSend;

/// A stream of content that is read once, from its start to its end.
pub trait ContentSource: MaybeSend {
    /// How many bytes are still to come, if that is known. A source that gives another number fails the upload.
    fn size(&self) -> Option<u64>;

    /// The next bytes: at most `max`, and none only at the end.
    fn next(&mut self, max: usize) -> impl Future<Output = io::Result<Bytes>> + MaybeSend;
}

/// Takes content in order. Only bytes that were verified and decrypted arrive here.
pub trait ContentSink: MaybeSend {
    /// Takes the next bytes.
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + MaybeSend;
}

/// Content in memory.
impl ContentSource for Bytes {
    fn size(&self) -> Option<u64> {
        Some(self.len() as u64)
    }

    async fn next(&mut self, max: usize) -> io::Result<Bytes> {
        Ok(self.split_to(max.min(self.len())))
    }
}

/// Content in memory.
impl ContentSink for Vec<u8> {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.extend_from_slice(&bytes);
        Ok(())
    }
}

/// Reads until `len` bytes are there or the source ends.
pub(crate) async fn fill(source: &mut impl ContentSource, len: usize) -> io::Result<Bytes> {
    let first = source.next(len).await?;
    if first.len() == len || first.is_empty() {
        return Ok(first);
    }
    let mut buffer = BytesMut::with_capacity(len);
    buffer.extend_from_slice(&first);
    while buffer.len() < len {
        let more = source.next(len - buffer.len()).await?;
        if more.is_empty() {
            break;
        }
        buffer.extend_from_slice(&more);
    }
    Ok(buffer.freeze())
}
