//! Which writers belong to an account (`spec/02` §5).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use pyrgos_protocol::encoding::{Cid, FromCbor};
use pyrgos_protocol::keys::{Owner, PublicSigningKey, Writer};
use pyrgos_protocol::merkle::champ::{BlockSource, ChampError};
use pyrgos_protocol::merkle::ownership::{self, OwnershipError, WriterSource};
use pyrgos_protocol::merkle::pointer::PointerUpdate;
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_store::{Prefix, RecordKey, Records, Table};

use super::view::{View, run};
use super::{Failure, Service};

/// Most entries in the trees of owned keys of one account. Each writing space that is shared has one.
const MAX_OWNED: usize = 10_000;

/// Rows that one scan reads.
const PAGE: usize = 1000;

impl Service {
    /// The public key behind a writer: inside its hash, or in a block of the owner.
    pub(super) fn key_of(&self, owner: &Owner, writer: Writer) -> Result<Option<PublicSigningKey>, Failure> {
        if let Some(key) = writer.signing_key() {
            return Ok(Some(key));
        }
        let block = self.parts.blocks.get(owner, writer.cid())?;
        Ok(block.and_then(|block| <PublicSigningKey as FromCbor>::from_bytes(&block).ok()))
    }

    /// Whether this node knows that a writer belongs to an account.
    pub(super) fn is_known(&self, owner: &Owner, writer: &Writer) -> Result<bool, Failure> {
        Ok(self.parts.records.read(&RecordKey::writer(owner, writer))?.is_some())
    }

    /// All writers of an account that this node knows.
    pub(super) fn known_writers(&self, owner: &Owner) -> Result<HashSet<Writer>, Failure> {
        let prefix = Prefix::of_owner(Table::Writers, owner);
        let mut writers = HashSet::new();
        let mut after: Option<RecordKey> = None;
        loop {
            let rows = self.parts.records.scan(&prefix, after.as_ref(), PAGE)?;
            let is_last = rows.len() < PAGE;
            after = rows.last().map(|(key, _)| key.clone());
            writers.extend(rows.iter().filter_map(|(key, _)| key.to_writer()));
            if is_last {
                return Ok(writers);
            }
        }
    }

    /// Walks from the identity over the proofs in the writers' data. `moved` has the targets of pointers that are about
    /// to move.
    ///
    /// # Errors
    /// A tree of owned keys that cannot be read is refused: with it the account would lose its writers.
    pub(super) fn walk_writers(
        &self,
        view: &View<'_>,
        owner: &Owner,
        moved: &HashMap<Writer, Option<Cid>>,
    ) -> Result<HashSet<Writer>, Failure> {
        let state = State { service: self, view, owner, moved };
        match run(ownership::walk(&state, owner, MAX_OWNED)) {
            Ok(walk) => Ok(walk.writers.into_iter().collect()),
            Err(OwnershipError::Source(failure) | OwnershipError::Champ(ChampError::Source(failure))) => Err(failure),
            Err(other) => Err(Failure::refused(format!("The owned keys cannot be read: {other}"))),
        }
    }

    /// Where a writer's stored pointer points.
    pub(super) fn stored_target(&self, owner: &Owner, writer: &Writer) -> Result<Option<Cid>, Failure> {
        let stored = self.parts.records.read(&RecordKey::pointer(owner, writer))?;
        stored.map_or(Ok(None), |stored| target_of(&stored))
    }
}

/// Where a stored pointer points.
pub(super) fn target_of(stored: &[u8]) -> Result<Option<Cid>, Failure> {
    let update = PointerUpdate::open_stored(stored).map_err(|_| Failure::Damaged("pointer"))?;
    Ok(update.updated().cloned())
}

/// The state of an account's writers with some pointers already moved.
struct State<'a> {
    service: &'a Service,
    view: &'a View<'a>,
    owner: &'a Owner,
    moved: &'a HashMap<Writer, Option<Cid>>,
}

impl BlockSource for State<'_> {
    type Error = Failure;

    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, Failure> {
        Ok(self.view.get(cid)?)
    }
}

impl WriterSource for State<'_> {
    async fn target(&self, writer: &Writer) -> Result<Option<Cid>, Failure> {
        match self.moved.get(writer) {
            Some(target) => Ok(target.clone()),
            None => self.service.stored_target(self.owner, writer),
        }
    }
}

/// Whether two targets of a writer may own different keys.
pub(super) fn may_own_others(view: &View<'_>, old: Option<&Cid>, new: Option<&Cid>) -> Result<bool, Failure> {
    let claims = |target: Option<&Cid>| -> Result<_, Failure> {
        let Some(target) = target else { return Ok(None) };
        let data = view.get(target)?.and_then(|block| WriterData::from_bytes(&block).ok());
        // No proofs by label are the same as an empty list of them.
        Ok(data.map(|data| (data.owned, data.named.unwrap_or_default())))
    };
    Ok(claims(old)? != claims(new)?)
}
