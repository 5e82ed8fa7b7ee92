//! The feed: everything that friends have shared, in the order in which it was found (`spec/05` §9).

use std::collections::BTreeMap;
use std::fmt;

use super::ProcessedCaps;
use super::stream;
use crate::cryptree::AbsoluteCapability;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::names::Username;

/// Below the home directory: the two files of the feed. Hidden.
pub const FEED: &str = ".feed";

/// In [`FEED`]: a [`FeedState`].
pub const FEED_STATE: &str = "feed-state.cbor";

/// In [`FEED`]: a stream of [`SharedItem`], which only grows.
pub const FEED_ITEMS: &str = "feed.cbor";

/// Something that was shared: `{c: capability, o: owner, s: sharer, p: path}`. `Debug` shows no path.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedItem {
    /// Opens it.
    pub capability: AbsoluteCapability,
    /// Whose it is.
    pub owner: Username,
    /// Who shared it.
    pub sharer: Username,
    /// Where it was, beginning with the owner's name. Posts of our own are listed without a slash in front.
    pub path: String,
}

impl fmt::Debug for SharedItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedItem").field("owner", &self.owner).field("sharer", &self.sharer).finish_non_exhaustive()
    }
}

impl ToCbor for SharedItem {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("c", self.capability.to_cbor()),
            ("o", self.owner.to_cbor()),
            ("s", self.sharer.to_cbor()),
            ("p", Value::text(&self.path)),
        ])
    }
}

impl FromCbor for SharedItem {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("SharedItem")?;
        Ok(SharedItem {
            capability: fields.get("c")?,
            owner: fields.get("o")?,
            sharer: fields.get("s")?,
            path: fields.text("p")?.to_owned(),
        })
    }
}

/// How far the feed was built and read: `{s: seen, r: records, b: bytes, p: friend → progress}`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FeedState {
    /// Number of the first item that the user has not seen.
    pub seen: u64,
    /// Number of items in the stream.
    pub records: u64,
    /// Length of the stream in bytes. A stream of another length was written by another device since: read both again.
    pub bytes: u64,
    /// How far the streams of each friend went into the feed. These are counters of its own, apart from those of
    /// [`places::incoming`](super::places::incoming).
    pub processed: BTreeMap<Username, ProcessedCaps>,
}

impl FeedState {
    /// Takes note of new items and gives the bytes that are appended to the stream.
    pub fn append(&mut self, items: &[SharedItem]) -> Vec<u8> {
        let appended = stream::write_all(items);
        self.records = self.records.saturating_add(items.len() as u64);
        self.bytes = self.bytes.saturating_add(appended.len() as u64);
        appended
    }
}

impl ToCbor for FeedState {
    fn to_cbor(&self) -> Value {
        // Counts came from CBOR or count bytes of a file, whose size fits.
        let count = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let processed = self.processed.iter().map(|(friend, caps)| (friend.as_str(), caps.to_cbor()));
        Value::map([
            ("s", count(self.seen)),
            ("r", count(self.records)),
            ("b", count(self.bytes)),
            ("p", Value::map(processed)),
        ])
    }
}

impl FromCbor for FeedState {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("FeedState", reason);
        let fields = value.fields("FeedState")?;
        let count = |key| u64::try_from(fields.int(key)?).map_err(|_| invalid("a negative count"));
        let processed = fields.required("p")?.as_map()?.iter().map(|(friend, caps)| {
            let friend = Username::existing(friend).map_err(|error| invalid(&error.to_string()))?;
            Ok((friend, ProcessedCaps::from_cbor(caps)?))
        });
        Ok(FeedState {
            seen: count("s")?,
            records: count("r")?,
            bytes: count("b")?,
            processed: processed.collect::<Result<_, DecodeError>>()?,
        })
    }
}
