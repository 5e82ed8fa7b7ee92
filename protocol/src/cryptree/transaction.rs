//! Upload transactions: what it takes to resume or clear an upload that was interrupted (`spec/03` §8).
//!
//! Each is a file in `/username/.transactions`, named after the path of its target. It holds the target's keys, so it is
//! as secret as the target.

use std::fmt;

use super::capability::AbsoluteCapability;
use super::chunk::{ChunkLabel, MapKey, StreamSecret, chunk_count};
use super::file::FileKeys;
use super::hash_tree::HashTree;
use super::properties::FileProperties;
use crate::encoding::{Cid, DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{Owner, SigningPrivateKeyAndPublicHash, SymmetricKey};
use crate::merkle::bat::Bat;

pub mod resume;

/// The one type of transaction that exists.
const FILE_UPLOAD: &str = "FILE_UPLOAD";

/// Files above this size are uploaded with a transaction: one chunk needs none.
pub const MIN_SIZE_BYTES: u64 = super::chunk::CHUNK_SIZE;

/// The name of the transaction file for an upload to `path` (`username/dir/name`, no leading slash): the address of
/// its UTF-8 as a raw block.
pub fn file_name(path: &str) -> String {
    Cid::of_raw(path.as_bytes()).to_string()
}

/// An open upload.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadTransaction {
    /// The target's path, without leading slash.
    pub path: String,
    /// When the upload began, milliseconds since the epoch.
    pub started_ms: i64,
    /// Whose file it is.
    pub owner: Owner,
    /// The signer of the target directory's writing space.
    pub signer: SigningPrivateKeyAndPublicHash,
    /// The label of the first chunk; transactions of old clients name no token.
    pub first: ChunkLabel,
    /// Gives the labels of the other chunks.
    pub stream_secret: StreamSecret,
    /// Length of the whole file in bytes.
    pub size_bytes: u64,
    /// What resuming needs. Transactions of old clients lack it, and can only be cleared.
    pub resume: Option<ResumeKeys>,
    /// The hash tree of the content, if it was computed before the upload.
    pub hash_tree: Option<HashTree>,
}

/// Properties and keys of a file that is being uploaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResumeKeys {
    /// The properties.
    pub properties: FileProperties,
    /// The base key.
    pub base: SymmetricKey,
    /// The data key.
    pub data: SymmetricKey,
    /// The base write key.
    pub base_write: SymmetricKey,
}

impl UploadTransaction {
    /// The keys of the file, if the upload can be resumed.
    pub fn file_keys(&self) -> Option<FileKeys> {
        let resume = self.resume.as_ref()?;
        Some(FileKeys {
            base: resume.base.clone(),
            base_write: resume.base_write.clone(),
            data: resume.data.clone(),
            stream_secret: self.stream_secret.clone(),
            first: self.first.clone(),
        })
    }

    /// The writable capability of the file, if the upload can be resumed.
    pub fn capability(&self) -> Option<AbsoluteCapability> {
        Some(self.file_keys()?.capability(self.owner.clone(), self.signer.writer()))
    }

    /// How many chunks the upload has; their labels are what clearing deletes.
    pub fn chunk_count(&self) -> u64 {
        chunk_count(self.size_bytes)
    }
}

/// Tells size and start, no path and no key.
impl fmt::Debug for UploadTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadTransaction")
            .field("size_bytes", &self.size_bytes)
            .field("started_ms", &self.started_ms)
            .finish_non_exhaustive()
    }
}

impl ToCbor for UploadTransaction {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("type", Value::text(FILE_UPLOAD));
        map.insert("path", Value::text(&self.path));
        map.insert("startTimeEpochMs", Value::Int(self.started_ms));
        map.insert("owner", self.owner.to_cbor());
        map.insert("writer", self.signer.to_cbor());
        map.insert("mapKey", self.first.map_key.to_cbor());
        map.insert("streamSecret", self.stream_secret.to_cbor());
        map.insert("size", Value::Int(i64::try_from(self.size_bytes).unwrap_or(i64::MAX)));
        if let Some(resume) = &self.resume {
            map.insert("props", resume.properties.to_cbor());
            map.insert("baseKey", resume.base.to_cbor());
            map.insert("dataKey", resume.data.to_cbor());
            map.insert("writeKey", resume.base_write.to_cbor());
        }
        if let Some(bat) = &self.first.bat {
            map.insert("firstBat", bat.to_cbor());
        }
        if let Some(tree) = &self.hash_tree {
            map.insert("hash", tree.to_cbor());
        }
        Value::Map(map)
    }
}

impl FromCbor for UploadTransaction {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("UploadTransaction", reason);
        let fields = value.fields("UploadTransaction")?;
        if fields.text("type")? != FILE_UPLOAD {
            return Err(invalid("unknown type"));
        }
        let resume = match fields.get_optional("props")? {
            Some(properties) => Some(ResumeKeys {
                properties,
                base: fields.get("baseKey")?,
                data: fields.get("dataKey")?,
                base_write: fields.get("writeKey")?,
            }),
            None => None,
        };
        Ok(UploadTransaction {
            path: fields.text("path")?.to_owned(),
            started_ms: fields.int("startTimeEpochMs")?,
            owner: fields.get("owner")?,
            signer: fields.get("writer")?,
            first: ChunkLabel { map_key: fields.get("mapKey")?, bat: fields.get_optional("firstBat")? },
            stream_secret: fields.get("streamSecret")?,
            size_bytes: u64::try_from(fields.int("size")?).map_err(|_| invalid("negative size"))?,
            resume,
            hash_tree: fields.get_optional("hash")?,
        })
    }
}

/// The same keys as a sync client keeps them on its own side (`spec/03` §8.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResumeRecord(pub FileKeys);

impl ToCbor for ResumeRecord {
    fn to_cbor(&self) -> Value {
        let keys = &self.0;
        let mut map = Map::default();
        map.insert("b", keys.base.to_cbor());
        map.insert("d", keys.data.to_cbor());
        map.insert("w", keys.base_write.to_cbor());
        map.insert("s", keys.stream_secret.to_cbor());
        map.insert("m", keys.first.map_key.to_cbor());
        if let Some(bat) = &keys.first.bat {
            map.insert("ib", bat.to_cbor());
        }
        Value::Map(map)
    }
}

impl FromCbor for ResumeRecord {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("resume record")?;
        let map_key: MapKey = fields.get("m")?;
        let bat: Option<Bat> = fields.get_optional("ib")?;
        Ok(ResumeRecord(FileKeys {
            base: fields.get("b")?,
            base_write: fields.get("w")?,
            data: fields.get("d")?,
            stream_secret: fields.get("s")?,
            first: ChunkLabel { map_key, bat },
        }))
    }
}
