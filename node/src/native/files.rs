//! Local files as the source of uploads and the sink of downloads.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pyrgos_protocol::client::{ContentSink, ContentSource};
use tempfile::NamedTempFile;

/// Reads a local file, or any other stream of bytes, off the async executor.
pub struct LocalSource<R> {
    reader: Option<R>,
    size: Option<u64>,
}

impl LocalSource<File> {
    /// A file; the size of a regular one is known.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        // Pipes, devices and the files of `/proc` announce no size, or zero.
        let size = (metadata.is_file() && metadata.len() > 0).then_some(metadata.len());
        Ok(LocalSource { reader: Some(file), size })
    }
}

impl<R: Read + Send + 'static> LocalSource<R> {
    /// A stream whose size is not known before its end, such as standard input.
    pub fn stream(reader: R) -> Self {
        LocalSource { reader: Some(reader), size: None }
    }
}

impl<R: Read + Send + 'static> ContentSource for LocalSource<R> {
    fn size(&self) -> Option<u64> {
        self.size
    }

    async fn next(&mut self, max: usize) -> io::Result<Bytes> {
        let Some(mut reader) = self.reader.take() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let (reader, result) = tokio::task::spawn_blocking(move || {
            let mut buffer = Vec::with_capacity(max);
            let result = reader.by_ref().take(max as u64).read_to_end(&mut buffer);
            (reader, result.map(|_| Bytes::from(buffer)))
        })
        .await
        .map_err(io::Error::other)?;
        self.reader = Some(reader);
        result
    }
}

/// Writes a download beside its destination and puts it there when it is whole: nobody ever sees half a file, and an
/// interrupted download leaves the old file as it was.
pub struct LocalSink {
    file: Option<NamedTempFile>,
}

impl LocalSink {
    /// A sink for a file that will stand in `folder`.
    pub fn beside(folder: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(".pyrgos-")
            .suffix(".part")
            // As any program makes files: the user's umask takes away what it takes away.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        Ok(LocalSink { file: Some(file) })
    }

    /// Puts the whole file at its destination, with the time of its last change (seconds and nanoseconds since 1970).
    pub fn finish(mut self, destination: &Path, modified: (i64, u32)) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Err(io::ErrorKind::NotFound.into()) };
        if let Ok(replaced) = std::fs::metadata(destination) {
            file.as_file().set_permissions(replaced.permissions())?;
        }
        if let Some(time) = system_time(modified) {
            // A file system that cannot hold the time still holds the content.
            let _ = file.as_file().set_modified(time);
        }
        file.persist(destination).map_err(|error| error.error)?;
        Ok(())
    }
}

fn system_time((seconds, nanos): (i64, u32)) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds >= 0 { UNIX_EPOCH.checked_add(whole) } else { UNIX_EPOCH.checked_sub(whole) };
    time?.checked_add(Duration::from_nanos(nanos.into()))
}

impl ContentSink for LocalSink {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        let Some(mut file) = self.file.take() else { return Err(io::ErrorKind::NotFound.into()) };
        let (file, result) = tokio::task::spawn_blocking(move || {
            let result = file.write_all(&bytes);
            (file, result)
        })
        .await
        .map_err(io::Error::other)?;
        self.file = Some(file);
        result
    }
}

/// Standard output, or any other stream, as a sink.
pub struct StreamSink<W>(pub W);

impl<W: Write + Send> ContentSink for StreamSink<W> {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        tokio::task::block_in_place(|| self.0.write_all(&bytes).and_then(|()| self.0.flush()))
    }
}
