//! What the node shows to whoever mirrors all of it: a token of the node's own, and the accounts that live here, page by page
//! (`spec/06` §7.4).

use bytes::Bytes;
use pyrgos_protocol::api::mirror::{GetUserSnapshots, MAX_SNAPSHOTS};
use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::merkle::bat::{Bat, BatWithId};
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::names::Username;
use pyrgos_store::{Batch, Outcome, Prefix, RecordKey, Records, Table};

use super::{Failure, Service};

/// Rows that one scan reads.
const PAGE: usize = 1000;

/// Largest page, in bytes, so that what is around it still fits what passes between nodes (`spec/06` §4.5).
const MAX_PAGE_BYTES: usize = 7 << 20;

/// Where the node's token is.
fn instance_key() -> RecordKey {
    RecordKey::meta("instance-bat")
}

impl Service {
    /// The node's own token, if it was made.
    pub(super) fn instance_bat(&self) -> Result<Option<BatWithId>, Failure> {
        let record = self.parts.records.read(&instance_key())?;
        record
            .map(|record| BatWithId::from_bytes(&record).map_err(|_| Failure::Damaged("token of the node")))
            .transpose()
    }

    /// The node's own token, which opens every block here and the snapshots of all accounts. It is made when it is first
    /// asked for; `is_new` takes the old one back.
    pub fn make_instance_bat(&self, is_new: bool) -> Result<BatWithId, Failure> {
        let known = self.parts.records.read(&instance_key())?;
        if let Some(bat) = self.instance_bat()?.filter(|_| !is_new) {
            return Ok(bat);
        }
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        self.parts.entropy.fill(&mut *secret);
        let bat = BatWithId::by_content(Bat::from_bytes(*secret));
        let batch = Batch::new().expect(instance_key(), known).put(instance_key(), bat.to_bytes());
        match self.parts.records.commit(batch)? {
            Outcome::Committed => Ok(bat),
            Outcome::Conflict(_) => Err(Failure::busy()),
        }
    }

    /// The next accounts that live here, each with everything that is kept of it beside its blocks. Login data only of
    /// those without a second factor: a copy would be open to whoever has the password alone.
    pub fn user_snapshots(&self, call: GetUserSnapshots) -> Result<Vec<UserSnapshot>, Failure> {
        let GetUserSnapshots { after, instance, counts_after_secs } = call;
        if self.instance_bat()?.is_none_or(|known| known.bat() != instance.bat()) {
            // In the letters of existing nodes.
            return Err(Failure::refused("Unauthorized!"));
        }
        let (mut snapshots, mut bytes) = (Vec::new(), 0);
        for name in self.names_with_space(&after)? {
            let Ok(username) = Username::existing(&name) else { continue };
            if !self.is_home(&username)? {
                continue;
            }
            let Some(owner) = self.owner_of(&username)? else { continue };
            let _lock = self.lock_owner(&owner);
            let mut snapshot = self.snapshot(&username, &owner, counts_after_secs)?;
            self.leave_out_guarded_login(&mut snapshot)?;
            bytes += snapshot.to_bytes().len();
            if bytes > MAX_PAGE_BYTES {
                // A page with fewer accounts would be the last. These come again with every other way to mirror.
                (snapshot.follow_requests, snapshot.link_counts) = (Vec::new(), Vec::new());
            }
            snapshots.push(snapshot);
            if snapshots.len() == MAX_SNAPSHOTS {
                break;
            }
        }
        Ok(snapshots)
    }

    /// Leaves out the login data of an account that has a second factor.
    pub(super) fn leave_out_guarded_login(&self, snapshot: &mut UserSnapshot) -> Result<(), Failure> {
        let factors = Prefix::of_username(Table::SecondFactors, snapshot.username.as_str());
        if !self.parts.records.scan(&factors, None, 1)?.is_empty() {
            snapshot.login = None;
        }
        Ok(())
    }

    /// The names behind `after` that have space here, in their order. Keys have the length of a name before it, so all of
    /// them are looked at.
    fn names_with_space(&self, after: &str) -> Result<Vec<String>, Failure> {
        let (mut names, mut last) = (Vec::new(), None::<RecordKey>);
        loop {
            let rows: Vec<(RecordKey, Bytes)> =
                self.parts.records.scan(&Prefix::whole(Table::Quotas), last.as_ref(), PAGE)?;
            let read = rows.iter().filter_map(|(key, _)| key.to_username());
            names.extend(read.filter(|name| *name > after).map(str::to_owned));
            if rows.len() < PAGE {
                break;
            }
            last = rows.into_iter().last().map(|(key, _)| key);
        }
        names.sort_unstable();
        Ok(names)
    }
}
