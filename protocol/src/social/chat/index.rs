//! Where in a log to begin (`spec/05` §10.2).

use crate::encoding::DecodeError;

/// A place is noted each time that the log has grown by this many bytes.
const STEP_BYTES: u64 = 5 << 20;

const PAIR_LEN: usize = 16;

/// Some messages of a log and where they begin: pairs of 64-bit integers, big-endian. The first message begins at 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIndex(Vec<Place>);

/// Where a message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the message.
    pub message: u64,
    /// Its first byte in the log.
    pub byte: u64,
}

impl Default for LogIndex {
    fn default() -> Self {
        LogIndex(vec![Place { message: 0, byte: 0 }])
    }
}

impl LogIndex {
    /// The last noted place at or before a message.
    pub fn before(&self, message: u64) -> Place {
        let after = self.0.partition_point(|place| place.message <= message);
        self.0[after.saturating_sub(1)]
    }

    /// Takes note of the end of the log, where the message of this number will begin; `grown_from` was its length before.
    pub fn grow(&mut self, grown_from: u64, end: Place) {
        if grown_from / STEP_BYTES < end.byte / STEP_BYTES {
            self.0.push(end);
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`DecodeError`] unless it is whole pairs that begin with zeros and grow.
    pub fn from_bytes(file: &[u8]) -> Result<Self, DecodeError> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let (pairs, rest) = file.as_chunks::<PAIR_LEN>();
        let places: Vec<Place> =
            pairs.iter().map(|pair| Place { message: number(&pair[..8]), byte: number(&pair[8..]) }).collect();
        let grows = places.windows(2).all(|pair| pair[0].message < pair[1].message && pair[0].byte < pair[1].byte);
        match places.first() {
            Some(Place { message: 0, byte: 0 }) if rest.is_empty() && grows => Ok(LogIndex(places)),
            _ => Err(DecodeError::invalid("LogIndex", "not pairs of growing numbers from 0")),
        }
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|place| [place.message.to_be_bytes(), place.byte.to_be_bytes()]).flatten().collect()
    }
}
