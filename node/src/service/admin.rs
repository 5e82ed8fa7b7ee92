//! The node itself, and what its administrators may do (`spec/04` §11).

use std::sync::atomic::Ordering;

use pyrgos_protocol::api::admin::{
    AllowedSignups, ApproveSpaceRequest, GetPendingSpaceRequests, JoinWaitlist, LabelledSpaceRequest, Version,
};
use pyrgos_protocol::api::space::SpaceRequest;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::signed::{ADMIN_WINDOW, open_value};
use pyrgos_protocol::keys::{Owner, PublicSigningKey, SignedTime};
use pyrgos_store::{Batch, Prefix, RecordKey, Records, Table};

use super::usage::count_record;
use super::{Failure, Service};

/// Most waiting requests in one listing.
const MAX_LISTED: usize = 10_000;

impl Service {
    /// Version of this node.
    pub fn version(&self) -> Version {
        Version { version: env!("CARGO_PKG_VERSION").to_owned(), source: String::new() }
    }

    /// Which sign-ups this node takes.
    pub fn allowed_signups(&self) -> Result<AllowedSignups, Failure> {
        Ok(AllowedSignups { free: self.takes_signups()?, paid: false })
    }

    /// This node keeps no list of addresses of people who wait, and says so.
    pub fn join_waitlist(&self, _: JoinWaitlist) -> Result<bool, Failure> {
        Ok(false)
    }

    /// The key of an administrator of this node; none for anybody else.
    fn admin_key(&self, admin: &Owner) -> Result<Option<PublicSigningKey>, Failure> {
        let Some(username) = self.parts.names.username(admin)? else { return Ok(None) };
        // A former key of an administrator is nobody's.
        let is_present = self.parts.names.chain(&username)?.owner() == Some(admin);
        if !is_present || !self.policy.admins.iter().any(|name| name == username.as_str()) {
            return Ok(None);
        }
        self.key_of(admin, admin.into())
    }

    fn check_instance(&self, instance: &Cid) -> Result<(), Failure> {
        if self.policy.ids.contains(instance) {
            return Ok(());
        }
        Err(Failure::refused("The request is for another server"))
    }

    /// Requests for space that wait. Nobody but an administrator sees any.
    pub fn pending_space_requests(&self, call: GetPendingSpaceRequests) -> Result<Vec<LabelledSpaceRequest>, Failure> {
        let Some(key) = self.admin_key(&call.admin)? else { return Ok(Vec::new()) };
        self.check_instance(&call.instance)?;
        let time = SignedTime::check(&call.auth, &key, self.now_millis(), ADMIN_WINDOW)?.millis;
        if self.last_admin_millis.fetch_max(time, Ordering::SeqCst) >= time {
            return Err(Failure::refused("Replay attack? Stale auth time for getPendingSpaceRequests"));
        }
        let rows = self.parts.records.scan(&Prefix::whole(Table::SpaceRequests), None, MAX_LISTED)?;
        let waiting = rows.into_iter().filter_map(|(key, request)| {
            Some(LabelledSpaceRequest { username: key.to_username()?.to_owned(), request })
        });
        Ok(waiting.collect())
    }

    /// Grants a request for space that both the account and an administrator signed.
    pub fn approve_space_request(&self, call: ApproveSpaceRequest) -> Result<bool, Failure> {
        let key = self.admin_key(&call.admin)?;
        let key = key.ok_or_else(|| Failure::refused("User is not an admin on this instance!"))?;
        self.check_instance(&call.instance)?;
        let labelled: LabelledSpaceRequest = open_value(&call.request, &key)?;
        let (username, _, identity) = self.identity(&labelled.username)?;
        let request: SpaceRequest = open_value(&labelled.request, &identity)?;
        if request.username != username.as_str() {
            return Err(Failure::refused("The request for space is for another user"));
        }
        // Only what still waits can be granted, so that an old approval has no effect twice.
        let waiting = RecordKey::space_request(username.as_str());
        let batch = Batch::new()
            .expect(waiting.clone(), Some(labelled.request))
            .delete(waiting)
            .put(RecordKey::quota(username.as_str()), count_record(request.bytes));
        Ok(self.parts.records.commit(batch)?.is_committed())
    }
}
