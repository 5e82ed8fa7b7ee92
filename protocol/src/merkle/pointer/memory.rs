//! What a client or a mirror remembers of pointers, so that no server takes it back in time (`spec/02` §3.7, §10.3).

use std::collections::HashMap;

use bytes::Bytes;
use pyrgos_crypto::sign::PublicKey;

use super::{PointerRefused, PointerUpdate};
use crate::keys::Writer;

/// A server answered with a pointer that is older than, or contradicts, one that was seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rollback {
    /// The value is not the writer's.
    #[error("the server sent an invalid pointer: {0}")]
    Invalid(#[from] PointerRefused),
    /// A lower sequence than was seen, or none after one was seen.
    #[error("the server sent an old pointer: sequence {received:?} after {seen:?}")]
    Older {
        /// Highest sequence seen.
        seen: Option<i64>,
        /// Sequence received.
        received: Option<i64>,
    },
    /// The same sequence with another content: the writer's key signed two histories.
    #[error("two different pointers with sequence {0:?}")]
    Forked(Option<i64>),
    /// No pointer, after one was seen. Deleted pointers leave a signed tombstone.
    #[error("the server withholds a pointer that it had")]
    Withheld,
}

/// What a received pointer is in the light of a known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The very same.
    Same,
    /// A later one, to be remembered.
    Newer,
}

/// Compares a received signed move with the last one seen, both opened with the writer's key.
///
/// An equal sequence passes only with equal bytes, which is stricter than the reference (`spec/02` §15 point 3).
/// Legacy moves without numbers follow each other freely; nothing orders them.
pub fn compare(
    known: Option<(&[u8], Option<i64>)>,
    received: &[u8],
    sequence: Option<i64>,
) -> Result<Freshness, Rollback> {
    match known {
        Some((bytes, _)) if bytes == received => Ok(Freshness::Same),
        Some((_, Some(seen))) if sequence == Some(seen) => Err(Rollback::Forked(sequence)),
        Some((_, seen)) if sequence < seen => Err(Rollback::Older { seen, received: sequence }),
        _ => Ok(Freshness::Newer),
    }
}

/// The newest pointer seen of each writer.
#[derive(Clone, Debug, Default)]
pub struct PointerMemory {
    seen: HashMap<Writer, (Bytes, PointerUpdate)>,
}

impl PointerMemory {
    /// Opens a pointer that a server sent, checks it against what was seen, and remembers it. An empty value stands for
    /// no pointer.
    pub fn observe(
        &mut self,
        writer: &Writer,
        key: &PublicKey,
        signed: &Bytes,
    ) -> Result<Option<PointerUpdate>, Rollback> {
        let known = self.seen.get(writer);
        if signed.is_empty() {
            return if known.is_some() { Err(Rollback::Withheld) } else { Ok(None) };
        }
        let update = PointerUpdate::open(key, signed)?;
        let known = known.map(|(bytes, update)| (bytes.as_ref(), update.sequence()));
        if compare(known, signed, update.sequence())? == Freshness::Newer {
            self.seen.insert(writer.clone(), (signed.clone(), update.clone()));
        }
        Ok(Some(update))
    }

    /// The newest pointer seen of a writer.
    pub fn newest(&self, writer: &Writer) -> Option<&PointerUpdate> {
        self.seen.get(writer).map(|(_, update)| update)
    }

    /// Every remembered pointer in signed form, to keep across restarts.
    pub fn entries(&self) -> impl Iterator<Item = (&Writer, &Bytes)> {
        self.seen.iter().map(|(writer, (signed, _))| (writer, signed))
    }
}
