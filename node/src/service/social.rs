//! The inboxes of follow requests (`spec/04` §7, `spec/05` §3.4).
//!
//! Nobody signs a request, so that the node does not learn who follows whom. What keeps an inbox from being flooded is
//! that only whole requests are taken, that a source may leave a few only, and that an inbox has an end.

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::api::social::{GetFollowRequests, RemoveFollowRequest, SendFollowRequest};
use pyrgos_protocol::encoding::{ToCbor, Value};
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::social::BlindFollowRequest;
use pyrgos_store::{Batch, Prefix, RecordKey, Records, Table};

use super::{Failure, Service, Source};

/// With more requests waiting than this, further ones are not taken. One more fits than the number says, as in existing
/// nodes.
const MAX_WAITING: usize = 100;

/// After this time a request gives way when a full inbox gets another one: half a year, in milliseconds.
const MAX_AGE_MILLIS: i64 = 183 * 24 * 60 * 60 * 1000;

/// A request that waits.
struct Waiting {
    key: RecordKey,
    arrived_millis: i64,
    /// Counts the requests of an inbox; two may arrive in the same millisecond.
    position: i64,
    request: Bytes,
}

impl Waiting {
    fn read(key: RecordKey, record: &Bytes) -> Result<Self, Failure> {
        let read = || {
            let value = Value::decode_shared(record).ok()?;
            let items = value.elements("follow request", 3).ok()?;
            Some((items[0].as_int().ok()?, items[1].as_int().ok()?, items[2].as_bytes().ok()?.clone()))
        };
        let (arrived_millis, position, request) = read().ok_or(Failure::Damaged("follow request"))?;
        Ok(Waiting { key, arrived_millis, position, request })
    }

    fn record(arrived_millis: i64, position: i64, request: Bytes) -> Vec<u8> {
        Value::List(vec![Value::Int(arrived_millis), Value::Int(position), Value::Bytes(request)]).encode()
    }
}

impl Service {
    /// The requests that wait for somebody, in the order of their arrival.
    fn waiting(&self, owner: &Owner) -> Result<Vec<Waiting>, Failure> {
        let prefix = Prefix::of_owner(Table::FollowRequests, owner);
        let rows = self.parts.records.scan(&prefix, None, 2 * MAX_WAITING)?;
        let mut waiting =
            rows.into_iter().map(|(key, record)| Waiting::read(key, &record)).collect::<Result<Vec<_>, _>>()?;
        waiting.sort_by_key(|waiting| waiting.position);
        Ok(waiting)
    }

    /// Leaves a request in somebody's inbox, once for the same bytes. False if the inbox is full.
    pub fn send_follow_request(&self, call: SendFollowRequest, source: Source) -> Result<bool, Failure> {
        let now = self.now_millis();
        if source != Source::Inside {
            if let Err(seconds) = self.follow_requests.check(&source, now) {
                let text = format!("too many follow requests, try again in {seconds} s");
                return Err(ApiError::rate_limited(text).into());
            }
            self.follow_requests.failed(source, now);
        }
        let SendFollowRequest { target, request } = call;
        if self.parts.names.username(&target)?.is_none() {
            return Err(Failure::refused(format!("Unknown identity key: {target}")));
        }
        let _lock = self.lock_guests(&target);
        let key = RecordKey::follow_request(&target, &sha256(&request));
        let waiting = self.waiting(&target)?;
        if waiting.iter().any(|known| known.key == key) {
            return Ok(true);
        }
        let mut batch = Batch::new();
        if waiting.len() > MAX_WAITING {
            let is_old = |waiting: &&Waiting| now.saturating_sub(waiting.arrived_millis) > MAX_AGE_MILLIS;
            let old: Vec<_> = waiting.iter().filter(is_old).collect();
            if old.is_empty() {
                return Ok(false);
            }
            batch = old.into_iter().fold(batch, |batch, waiting| batch.delete(waiting.key.clone()));
        }
        let position = waiting.last().map_or(0, |last| last.position.saturating_add(1));
        let batch = batch.put(key, Waiting::record(now, position, request));
        Ok(self.parts.records.commit(batch)?.is_committed())
    }

    /// Makes the inbox of an account that lives elsewhere that of its home: an answered request is gone here too.
    pub(super) fn set_waiting(&self, owner: &Owner, requests: &[BlindFollowRequest]) -> Result<(), Failure> {
        let _lock = self.lock_guests(owner);
        let requests: Vec<Bytes> = requests.iter().map(|request| Bytes::from(request.to_bytes())).collect();
        let mut batch = Batch::new();
        let mut position = 0;
        let waiting = self.waiting(owner)?;
        for known in &waiting {
            position = known.position.saturating_add(1);
            if !requests.contains(&known.request) {
                batch = batch.delete(known.key.clone());
            }
        }
        let is_new = |request: &&Bytes| !waiting.iter().any(|known| known.request == **request);
        for request in requests.iter().filter(is_new).take(MAX_WAITING) {
            let key = RecordKey::follow_request(owner, &sha256(request));
            batch = batch.put(key, Waiting::record(self.now_millis(), position, request.clone()));
            position += 1;
        }
        self.write(batch)
    }

    /// The requests that wait for somebody, oldest first.
    pub(super) fn waiting_requests(&self, owner: &Owner) -> Result<Vec<Bytes>, Failure> {
        Ok(self.waiting(owner)?.into_iter().map(|waiting| waiting.request).collect())
    }

    /// The requests in the caller's inbox, oldest first.
    pub fn get_follow_requests(&self, call: GetFollowRequests) -> Result<Vec<Bytes>, Failure> {
        self.authorise_owner(&call.owner, &call.auth)?;
        self.waiting_requests(&call.owner)
    }

    /// Takes a request out of the inbox of whoever signed its bytes. False if it was not the owner.
    pub fn remove_follow_request(&self, call: RemoveFollowRequest) -> Result<bool, Failure> {
        let RemoveFollowRequest { owner, signed } = call;
        let Some(identity) = self.key_of(&owner, (&owner).into())? else { return Ok(false) };
        let Ok(request) = identity.open(&signed) else { return Ok(false) };
        let _lock = self.lock_guests(&owner);
        let batch = Batch::new().delete(RecordKey::follow_request(&owner, &sha256(request)));
        Ok(self.parts.records.commit(batch)?.is_committed())
    }
}
