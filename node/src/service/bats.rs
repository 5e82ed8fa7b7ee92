//! An account's mirror tokens (`spec/02` §8.7).

use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::bats::{AddBat, GetUserBats};
use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::keys::SignedRequest;
use pyrgos_protocol::keys::signed::CALL_WINDOW;
use pyrgos_protocol::merkle::bat::BatWithId;
use pyrgos_store::{Batch, Prefix, RecordKey, Records, Table};

use super::{Failure, Service};

/// Most tokens of one account. Nothing is ever deleted, and a client makes one.
pub(super) const MAX_BATS: usize = 1000;

impl Service {
    /// The account's tokens, oldest first.
    pub fn get_user_bats(&self, call: GetUserBats) -> Result<Vec<BatWithId>, Failure> {
        let (username, _, identity) = self.identity(&call.username)?;
        SignedRequest::check(&call.auth, GetUserBats::PATH, &identity, self.now_millis(), CALL_WINDOW)?;
        self.bats(username.as_str())
    }

    pub(super) fn bats(&self, username: &str) -> Result<Vec<BatWithId>, Failure> {
        let rows = self.parts.records.scan(&Prefix::of_username(Table::Bats, username), None, MAX_BATS)?;
        let read = |bat: &[u8]| BatWithId::from_bytes(bat).map_err(|_| Failure::Damaged("access token"));
        rows.iter().map(|(_, bat)| read(bat)).collect()
    }

    /// What adds a token to an account's; nothing if it is there.
    ///
    /// # Errors
    /// The account has as many as one may have.
    pub(super) fn one_more_bat(&self, username: &str, bat: &BatWithId) -> Result<Batch, Failure> {
        let known = self.bats(username)?;
        if known.contains(bat) {
            return Ok(Batch::new());
        }
        if known.len() >= MAX_BATS {
            return Err(Failure::refused("Too many access tokens"));
        }
        let key = RecordKey::bat(username, known.len() as u32);
        Ok(Batch::new().expect(key.clone(), None).put(key, bat.to_bytes()))
    }

    /// Stores one more token, whose name must be its own. Storing it again changes nothing.
    pub fn add_bat(&self, call: AddBat) -> Result<bool, Failure> {
        let AddBat { username, bat, auth } = call;
        let (username, owner, identity) = self.identity(&username)?;
        SignedRequest::check(&auth, AddBat::PATH, &identity, self.now_millis(), CALL_WINDOW)?;
        if !bat.id().is_of(bat.bat()) {
            return Err(Failure::refused("Invalid BAT id for BAT"));
        }
        let _lock = self.lock_owner(&owner);
        let batch = self.one_more_bat(username.as_str(), &bat)?;
        Ok(batch.writes().is_empty() || self.parts.records.commit(batch)?.is_committed())
    }
}
