//! How far a friend's streams have been read (`spec/05` §4.3, §4.7).

use std::collections::BTreeMap;

use super::group::GroupUid;
use super::shared_with::Access;
use super::stream::Records;
use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};

/// What was read does not follow on what had been read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream was read from byte {from}, but up to byte {expected} it was known")]
pub struct ProgressError {
    /// Where the reading should have begun.
    pub expected: u64,
    /// Where it began.
    pub from: u64,
}

/// Progress in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes that have been read.
    pub bytes: u64,
    /// Capabilities that were found in them and led somewhere.
    pub records: u64,
}

impl Progress {
    /// Takes note of records that were read from here on. `found` of them led somewhere; the others count as read too.
    ///
    /// # Errors
    /// [`ProgressError`] if another device was faster.
    pub fn advance(&mut self, from: u64, read: &Records, found: u64) -> Result<(), ProgressError> {
        if from != self.bytes {
            return Err(ProgressError { expected: self.bytes, from });
        }
        *self = Progress { bytes: read.end, records: self.records.saturating_add(found) };
        Ok(())
    }
}

/// How far the streams of one friend have been read, and those of the friend's groups.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ProcessedCaps {
    /// Progress in `sharing.r`.
    pub read: Progress,
    /// Progress in `sharing.w`.
    pub write: Progress,
    /// The same for the friend's groups. A rotated group directory keeps its name, and its files their length, so these
    /// stay valid.
    pub groups: BTreeMap<GroupUid, ProcessedCaps>,
}

impl ProcessedCaps {
    /// Progress in one of the streams.
    pub fn stream(&self, access: Access) -> Progress {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
        }
    }

    /// Progress in one of the streams, to be changed.
    pub fn stream_mut(&mut self, access: Access) -> &mut Progress {
        match access {
            Access::Read => &mut self.read,
            Access::Write => &mut self.write,
        }
    }

    /// Progress in a group's streams; nothing of a new group has been read.
    pub fn group_mut(&mut self, uid: &GroupUid) -> &mut ProcessedCaps {
        self.groups.entry(uid.clone()).or_default()
    }
}

impl ToCbor for ProcessedCaps {
    fn to_cbor(&self) -> Value {
        // Counts came from CBOR or count bytes of a file, whose size fits.
        let count = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let mut map = Map::default();
        map.insert("rb", count(self.read.bytes));
        map.insert("rc", count(self.read.records));
        map.insert("wb", count(self.write.bytes));
        map.insert("wc", count(self.write.records));
        map.insert("g", Value::map(self.groups.iter().map(|(uid, caps)| (uid.as_str(), caps.to_cbor()))));
        Value::Map(map)
    }
}

impl FromCbor for ProcessedCaps {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("ProcessedCaps", reason);
        let fields = value.fields("ProcessedCaps")?;
        let count = |key| u64::try_from(fields.int(key)?).map_err(|_| invalid("a negative count"));
        let groups = fields.required("g")?.as_map()?.iter().map(|(uid, caps)| {
            let uid = uid.parse().map_err(|_| invalid("a group that is none"))?;
            Ok((uid, ProcessedCaps::from_cbor(caps)?))
        });
        Ok(ProcessedCaps {
            read: Progress { bytes: count("rb")?, records: count("rc")? },
            write: Progress { bytes: count("wb")?, records: count("wc")? },
            groups: groups.collect::<Result<_, DecodeError>>()?,
        })
    }
}
