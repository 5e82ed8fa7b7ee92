//! What a server decides about one move of a pointer (`spec/02` §3.3).

use bytes::Bytes;
use pyrgos_crypto::sign::PublicKey;

use super::{CasFailure, MAX_SIGNED, MultiWriterCommit, PointerUpdate};
use crate::encoding::{Cid, DecodeError, FromCbor, Value};
use crate::keys::{KeyHash, Writer};
use crate::merkle::writer_data::WriterData;

/// Why a pointer does not move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PointerRefused {
    /// The signed move is longer than [`MAX_SIGNED`].
    #[error("Pointer update too big! {len}")]
    TooBig {
        /// Its length in bytes.
        len: usize,
    },
    /// The signature is not the writer's.
    #[error("the signature of the pointer update does not open")]
    Signature,
    /// What was signed is no move.
    #[error("malformed pointer update: {0}")]
    Malformed(#[source] DecodeError),
    /// The move starts elsewhere than where the pointer is.
    #[error(transparent)]
    Cas(#[from] Box<CasFailure>),
    /// The sequence does not grow.
    #[error("Invalid sequence number update in mutable pointer: {stored:?} => {claimed:?}")]
    Sequence {
        /// Sequence of the stored move.
        stored: Option<i64>,
        /// Sequence of the refused move.
        claimed: Option<i64>,
    },
    /// The new target is not on the server.
    #[error("the writer data {0} is not on this server")]
    TargetAbsent(Cid),
    /// The new target is no writer data.
    #[error("the new target is no writer data: {0}")]
    TargetMalformed(#[source] DecodeError),
    /// The new target belongs to another key.
    #[error("WriterData controller mismatch for {writer}: {controller}")]
    Controller {
        /// The writer whose pointer was to move.
        writer: Writer,
        /// The key that the target names.
        controller: KeyHash,
    },
    /// The stored move does not open; the server's own data are damaged.
    #[error("the stored pointer is damaged")]
    Stored,
    /// A commit names the same writer twice.
    #[error("the writer {0} appears twice in one commit")]
    Repeated(Writer),
}

impl PointerRefused {
    /// Whether the call that moves a single pointer answers this with the byte `00` instead of an error.
    pub fn is_quiet(&self) -> bool {
        matches!(self, PointerRefused::Signature | PointerRefused::Controller { .. })
    }
}

/// Steps 2–5: whether a signed move may follow the stored one. `key` is the writer's.
///
/// The caller has read `stored`, and stores the signed bytes only if the same bytes are still there.
pub fn admit(stored: Option<&[u8]>, key: &PublicKey, signed: &[u8]) -> Result<PointerUpdate, PointerRefused> {
    if signed.len() > MAX_SIGNED {
        return Err(PointerRefused::TooBig { len: signed.len() });
    }
    let update = PointerUpdate::open(key, signed)?;
    // It was verified when it came.
    let stored =
        stored.map(|stored| PointerUpdate::open_stored(stored).map_err(|_| PointerRefused::Stored)).transpose()?;
    let existing = stored.as_ref().and_then(PointerUpdate::updated);
    let sequence = stored.as_ref().and_then(PointerUpdate::sequence);
    if update.original() != existing {
        let (existing, claimed) = (existing.cloned(), update.original().cloned());
        return Err(Box::new(CasFailure { existing, sequence, claimed }).into());
    }
    // An absent number is below every number, so that one cannot go back to a legacy move.
    if sequence.is_some() && update.sequence() <= sequence {
        return Err(PointerRefused::Sequence { stored: sequence, claimed: update.sequence() });
    }
    Ok(update)
}

/// Step 6: whether the new target may be this writer's. `block` is what the owner's partition has under the target and
/// no token guards. Nothing to check for a deletion.
pub fn admit_target(update: &PointerUpdate, writer: &Writer, block: Option<&Bytes>) -> Result<(), PointerRefused> {
    let Some(target) = update.updated() else { return Ok(()) };
    let block = block.ok_or_else(|| PointerRefused::TargetAbsent(target.clone()))?;
    let data = Value::decode_canonical(block).and_then(|value| WriterData::from_cbor(&value));
    let controller = data.map_err(PointerRefused::TargetMalformed)?.controller;
    if controller != *writer.key_hash() {
        return Err(PointerRefused::Controller { writer: writer.clone(), controller });
    }
    Ok(())
}

impl MultiWriterCommit {
    /// Whether each writer appears once, as an atomic commit demands. Asked after the moves were admitted one by one, so
    /// that a chained second move fails its compare-and-swap as clients expect (`spec/02` §3.4).
    pub fn check_writers(&self) -> Result<(), PointerRefused> {
        let mut seen = std::collections::HashSet::new();
        match self.updates.iter().find(|update| !seen.insert(&update.writer)) {
            Some(repeated) => Err(PointerRefused::Repeated(repeated.writer.clone())),
            None => Ok(()),
        }
    }
}
