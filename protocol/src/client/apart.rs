//! Reading what several others have at once.
//!
//! Reading changes a view, so each reads on a copy of it, which begins in the same state of everything that the view has
//! read. What the copies have read, the view has when they are joined to it again. Each request of a copy waits for the
//! one before; without this, those of all would wait for each other.

use std::collections::HashMap;

use super::desk::{Changed, Desk};
use super::error::ClientError;
use super::runtime::Runtime;
use super::view::View;
use crate::api::Transport;
use crate::cryptree::home::KEYSTORE;
use crate::encoding::{FromCbor, Value};
use crate::keys::{Owner, Writer};
use crate::social::TofuKeyStore;

/// How many are read at once.
pub(crate) const AT_ONCE: usize = 8;

/// A copy of a view, and what a desk on it has learned.
pub(crate) struct Apart<'s, T, R> {
    view: View<'s, T, R>,
    learned: Learned,
}

/// What a desk knows beside the files of the account.
#[derive(Clone, Default)]
pub(crate) struct Learned {
    /// The key store, if keys were added to it.
    keystore: Option<Changed>,
    /// Which writers were found to belong to whom.
    owned: HashMap<(Owner, Writer), bool>,
}

impl<'s, T: Transport, R: Runtime> Apart<'s, T, R> {
    /// A desk to read on. Its changes are dropped; what it learns is kept with [`put_back`](Self::put_back).
    pub(crate) fn desk(&mut self) -> Desk<'_, 's, T, R> {
        let learned = std::mem::take(&mut self.learned);
        let mut desk = Desk::new(&mut self.view);
        desk.owned = learned.owned;
        if let Some(keystore) = learned.keystore {
            desk.changed.insert(KEYSTORE.to_owned(), keystore);
        }
        desk
    }

    /// Keeps what a desk has learned.
    pub(crate) fn put_back(&mut self, learned: Learned) {
        self.learned = learned;
    }
}

impl<'s, T: Transport, R: Runtime> Desk<'_, 's, T, R> {
    /// A copy of the view to read on.
    pub(crate) fn apart(&self) -> Apart<'s, T, R> {
        let learned = Learned { keystore: self.changed.get(KEYSTORE).cloned(), owned: self.owned.clone() };
        Apart { view: self.view.copy(), learned }
    }

    /// Ends the desk of a copy.
    pub(crate) fn into_learned(mut self) -> Learned {
        Learned { keystore: self.changed.remove(KEYSTORE), owned: self.owned }
    }

    /// Takes over what a copy has read and learned. Of a name that two copies saw for the first time, the key that the
    /// first one saw stays.
    ///
    /// # Errors
    /// [`ClientError::Damaged`] for a key store that is none.
    pub(crate) async fn join(&mut self, apart: Apart<'s, T, R>) -> Result<(), ClientError> {
        self.view.absorb(apart.view);
        self.owned.extend(apart.learned.owned);
        let Some(theirs) = apart.learned.keystore else { return Ok(()) };
        let Some(ours) = self.changed.get(KEYSTORE) else {
            self.changed.insert(KEYSTORE.to_owned(), theirs);
            return Ok(());
        };
        if ours.content == theirs.content {
            return Ok(());
        }
        let read = |content| -> Result<TofuKeyStore, ClientError> {
            let value = Value::decode_shared(content).map_err(ClientError::damaged("the key store"))?;
            TofuKeyStore::from_cbor(&value).map_err(ClientError::damaged("the key store"))
        };
        let (mut store, theirs) = (read(&ours.content)?, read(&theirs.content)?);
        store.add_new(&theirs);
        self.put(KEYSTORE, &store, true);
        Ok(())
    }
}
