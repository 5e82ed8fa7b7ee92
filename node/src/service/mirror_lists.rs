//! Which nodes mirror an account: the owner's signed list, and who asked the home (design §4).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::mirror::{GetMirrorList, GetMirrors, MirrorReport, SeenMirror, TellMirrors};
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::signed::CALL_WINDOW;
use pyrgos_protocol::keys::{Owner, SignedRequest};
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::MirrorList;
use pyrgos_protocol::names::Username;
use pyrgos_store::{Batch, RecordKey, Records};

use super::{Failure, Service, Source};

/// Most accounts whose mirrors are remembered, and most nodes of each. Who is beyond that is still served.
const MAX_ACCOUNTS: usize = 10_000;
const MAX_NODES: usize = 64;

/// Which nodes asked for what mirrors may have, since this node started.
#[derive(Default)]
pub(super) struct SeenMirrors(Mutex<HashMap<Owner, HashMap<Cid, Seen>>>);

struct Seen {
    asked_millis: i64,
    /// Of the pointers that it was given.
    given: [u8; 32],
}

/// Stands for the pointers of an account.
fn state_of(snapshot: &UserSnapshot) -> [u8; 32] {
    // They come in no particular order.
    let mut pointers: Vec<[u8; 32]> = snapshot.pointers.iter().map(|pointer| sha256(&pointer.signed)).collect();
    pointers.sort_unstable();
    sha256(&pointers.concat())
}

impl SeenMirrors {
    pub(super) fn note(&self, owner: &Owner, node: &Cid, snapshot: &UserSnapshot, asked_millis: i64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_ACCOUNTS && !seen.contains_key(owner) {
            return;
        }
        let nodes = seen.entry(owner.clone()).or_default();
        if nodes.len() < MAX_NODES || nodes.contains_key(node) {
            nodes.insert(node.clone(), Seen { asked_millis, given: state_of(snapshot) });
        }
    }

    fn of(&self, owner: &Owner, now: &UserSnapshot) -> Vec<SeenMirror> {
        let present = state_of(now);
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = seen.get(owner).into_iter().flatten().map(|(node, seen)| SeenMirror {
            node: node.clone(),
            asked_millis: seen.asked_millis,
            is_current: seen.given == present,
        });
        let mut nodes: Vec<SeenMirror> = nodes.collect();
        nodes.sort_unstable_by_key(|seen| seen.node.to_bytes());
        nodes
    }
}

impl Service {
    /// What this node, the account's home, knows about its mirrors.
    pub fn mirrors(&self, call: GetMirrors) -> Result<MirrorReport, Failure> {
        let (username, owner, identity) = self.identity(call.username.as_str())?;
        SignedRequest::check(&call.auth, GetMirrors::PATH, &identity, self.now_millis(), CALL_WINDOW)?;
        let _lock = self.lock_owner(&owner);
        let seen = self.seen_mirrors.of(&owner, &self.snapshot(&username, &owner, i64::MAX)?);
        Ok(MirrorReport { seen, list: self.signed_mirror_list(&username)? })
    }

    /// Keeps the owner's list of mirrors, unless it is older than the one that is known. Whether it was news.
    pub fn tell_mirrors(&self, call: TellMirrors) -> Result<bool, Failure> {
        let (username, owner, identity) = self.identity(call.username.as_str())?;
        let list = MirrorList::open(&call.signed, &identity)?;
        if list.username != username {
            return Err(Failure::refused("The list is another account's"));
        }
        let _lock = self.lock_owner(&owner);
        if self.mirror_list(&username)?.is_some_and(|known| known.time_millis >= list.time_millis) {
            return Ok(false);
        }
        self.write(Batch::new().put(RecordKey::mirror_list(username.as_str()), call.signed))?;
        Ok(true)
    }

    /// The signed list, for another mirror.
    pub fn mirror_list_for(&self, call: GetMirrorList, source: Source) -> Result<Option<Bytes>, Failure> {
        self.opened_for(&call.0, &source)?;
        self.signed_mirror_list(&call.0.username)
    }

    fn signed_mirror_list(&self, username: &Username) -> Result<Option<Bytes>, Failure> {
        Ok(self.parts.records.read(&RecordKey::mirror_list(username.as_str()))?)
    }

    /// The nodes that mirror an account, as far as its owner told this node; none if the identity has changed since.
    pub fn mirror_list(&self, username: &Username) -> Result<Option<MirrorList>, Failure> {
        let Some(signed) = self.signed_mirror_list(username)? else { return Ok(None) };
        let (_, _, identity) = self.identity(username.as_str())?;
        Ok(MirrorList::open(&signed, &identity).ok())
    }
}
