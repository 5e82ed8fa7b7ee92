//! What a node says about its file or directory (`spec/03` §2).

use std::fmt;

use bytes::Bytes;

use super::chunk::StreamSecret;
use super::hash_tree::HashBranch;
use super::name::FileName;
use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};

/// Largest thumbnail, in bytes (`spec/03` §9).
pub const MAX_THUMBNAIL_BYTES: usize = 102_400;

/// Name in the properties of a directory's later chunks.
const LATER_CHUNK_NAME: &str = ".subsequent-dir-chunk";

/// Times in the properties of a directory's later chunks: the reference's smallest time.
const LATER_CHUNK_SECONDS: i64 = -31_557_014_135_596_800;

/// A moment in UTC, before or after 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// Whole seconds since the epoch, and 0…999 999 999 nanoseconds after that second. None if there are more.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        (nanos < 1_000_000_000).then_some(Timestamp { seconds, nanos })
    }

    /// A whole second.
    pub fn from_seconds(seconds: i64) -> Self {
        Timestamp { seconds, nanos: 0 }
    }

    /// Whole seconds since the epoch.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after that second, 0…999 999 999.
    pub fn nanos(&self) -> u32 {
        self.nanos
    }
}

/// A small picture of a file, at most [`MAX_THUMBNAIL_BYTES`].
#[derive(Clone, PartialEq, Eq)]
pub struct Thumbnail {
    mime_type: String,
    data: Bytes,
}

impl Thumbnail {
    /// A thumbnail of a mime type, which viewers expect to be `image/webp`, `image/jpeg` or `image/png`. None above the
    /// size limit.
    pub fn new(mime_type: impl Into<String>, data: impl Into<Bytes>) -> Option<Self> {
        let data = data.into();
        (data.len() <= MAX_THUMBNAIL_BYTES).then(|| Thumbnail { mime_type: mime_type.into(), data })
    }

    /// The mime type of the picture.
    pub fn mime_type(&self) -> &str {
        &self.mime_type
    }

    /// The picture.
    pub fn data(&self) -> &Bytes {
        &self.data
    }
}

impl fmt::Debug for Thumbnail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbnail({} bytes)", self.data.len())
    }
}

/// What the properties say the node is. A link node says what its target is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A directory, which has no stream secret.
    Directory,
    /// A file. The stream secret gives the labels of its later chunks; files of old clients lack it (`spec/03` §3.2).
    File(Option<StreamSecret>),
}

/// The properties of a file or directory (`spec/03` §2.1). Those of the first chunk count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileProperties {
    /// The name.
    pub name: FileName,
    /// Directory or file.
    pub kind: Kind,
    /// Whether this is a link node (`spec/03` §1.10).
    pub is_link: bool,
    /// Whether listings leave it out. For display only.
    pub is_hidden: bool,
    /// The mime type; empty for directories.
    pub mime_type: String,
    /// Length of the whole file in bytes; 0 for directories.
    pub size_bytes: u64,
    /// When the content last changed.
    pub modified: Timestamp,
    /// When it was created.
    pub created: Timestamp,
    /// A picture of the file.
    pub thumbnail: Option<Thumbnail>,
    /// The chunk's part of the content hash tree. Removed or computed anew with each change of the content.
    pub tree_hash: Option<HashBranch>,
}

impl FileProperties {
    /// The properties of a new directory.
    pub fn directory(name: FileName, now: Timestamp, is_hidden: bool) -> Self {
        FileProperties {
            name,
            kind: Kind::Directory,
            is_link: false,
            is_hidden,
            mime_type: String::new(),
            size_bytes: 0,
            modified: now,
            created: now,
            thumbnail: None,
            tree_hash: None,
        }
    }

    /// The properties of a new file.
    pub fn file(name: FileName, secret: StreamSecret, mime_type: String, size_bytes: u64, now: Timestamp) -> Self {
        FileProperties {
            kind: Kind::File(Some(secret)),
            mime_type,
            size_bytes,
            ..FileProperties::directory(name, now, false)
        }
    }

    /// The properties of a new link node: what a link needs of its target and no more, so that neither the target's
    /// stream secret nor its content hash stays behind in the parent's space (`spec/03` §1.10, §14.5).
    pub fn link_to(target: &FileProperties) -> Self {
        FileProperties {
            is_link: true,
            ..FileProperties::directory(target.name.clone(), target.created, target.is_hidden)
        }
    }

    /// What the reference writes into later chunks of a directory; readers ignore it.
    pub fn later_directory_chunk() -> Self {
        let name = FileName::new(LATER_CHUNK_NAME).expect("the constant is a legal name");
        FileProperties::directory(name, Timestamp::from_seconds(LATER_CHUNK_SECONDS), false)
    }

    /// Whether the properties are those of a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// The stream secret of a file that has one.
    pub fn stream_secret(&self) -> Option<&StreamSecret> {
        match &self.kind {
            Kind::File(secret) => secret.as_ref(),
            Kind::Directory => None,
        }
    }
}

impl ToCbor for FileProperties {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        // A size above i64 cannot be read from CBOR, and no caller can have that much content.
        map.insert("s", Value::Int(i64::try_from(self.size_bytes).unwrap_or(i64::MAX)));
        map.insert("d", Value::Bool(self.is_directory()));
        map.insert("h", Value::Bool(self.is_hidden));
        map.insert("l", Value::Bool(self.is_link));
        map.insert("m", Value::text(&self.mime_type));
        map.insert("n", self.name.to_cbor());
        map.insert("t", Value::Int(self.modified.seconds));
        map.insert("tn", Value::Int(self.modified.nanos.into()));
        map.insert("c", Value::Int(self.created.seconds));
        map.insert("cn", Value::Int(self.created.nanos.into()));
        if let Some(secret) = self.stream_secret() {
            map.insert("p", secret.to_cbor());
        }
        if let Some(thumbnail) = &self.thumbnail {
            map.insert("i", Value::Bytes(thumbnail.data.clone()));
            map.insert("im", Value::text(&thumbnail.mime_type));
        }
        if let Some(branch) = &self.tree_hash {
            map.insert("th", branch.to_cbor());
        }
        Value::Map(map)
    }
}

impl FromCbor for FileProperties {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("FileProperties", reason);
        let fields = value.fields("FileProperties")?;
        let flag = |key| fields.optional(key).map_or(Ok(false), Value::as_bool);
        let nanos = |key| match fields.optional(key) {
            Some(value) => u32::try_from(value.as_int()?).map_err(|_| invalid("nanoseconds out of range")),
            None => Ok(0),
        };
        let time = |seconds, nanos| Timestamp::new(seconds, nanos).ok_or_else(|| invalid("nanoseconds out of range"));

        let modified = time(fields.int("t")?, nanos("tn")?)?;
        let created_seconds = fields.optional("c").map_or(Ok(modified.seconds), Value::as_int)?;
        let kind = match (flag("d")?, fields.get_optional::<StreamSecret>("p")?) {
            (true, None) => Kind::Directory,
            (true, Some(_)) => return Err(invalid("a directory with a stream secret")),
            (false, secret) => Kind::File(secret),
        };
        let thumbnail = match fields.optional("i") {
            Some(data) => {
                let mime_type = fields.optional("im").map_or(Ok("image/png"), Value::as_text)?;
                let thumbnail = Thumbnail::new(mime_type, data.as_bytes()?.clone());
                Some(thumbnail.ok_or_else(|| invalid("thumbnail too large"))?)
            }
            None => None,
        };
        Ok(FileProperties {
            name: fields.get("n")?,
            kind,
            is_link: flag("l")?,
            is_hidden: flag("h")?,
            mime_type: fields.text("m")?.to_owned(),
            size_bytes: u64::try_from(fields.int("s")?).map_err(|_| invalid("negative size"))?,
            modified,
            created: time(created_seconds, nanos("cn")?)?,
            thumbnail,
            tree_hash: fields.get_optional("th")?,
        })
    }
}
