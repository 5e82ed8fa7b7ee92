//! Calls about accounts that live on other nodes: passed on to the account's home, whose answer is checked.
//!
//! A client may talk to any node. The client door asks here before it asks the [`service`](crate::service): what concerns
//! an account whose home is elsewhere goes there over the peer host (`spec/06` §4.5). Other nodes' calls are never passed
//! on, so that no call goes round in circles. Blocks that come by are cached in memory; access tokens hold for the cached
//! copy as for one on disk. While the home is away, reads are answered from this node's own copy of the account if it
//! mirrors it, else by the mirrors that its owner told of (`elsewhere`).

mod cache;
mod elsewhere;
mod moving;
mod seen;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyrgos_protocol::api::bats::{AddBat, GetUserBats};
use pyrgos_protocol::api::core::MigrateUser;
use pyrgos_protocol::api::links::{GetLinkCounts, GetLinkHost, OpenSecretLink};
use pyrgos_protocol::api::login::{self, GetLogin};
use pyrgos_protocol::api::message::{GetMessages, SendMessage};
use pyrgos_protocol::api::mirror::{GetMirrors, TellMirrors};
use pyrgos_protocol::api::mutable::{GetPointer, SetPointer, SetPointers};
use pyrgos_protocol::api::social::{GetFollowRequests, RemoveFollowRequest, SendFollowRequest};
use pyrgos_protocol::api::space::{GetQuota, GetUsage, RequestSpace};
use pyrgos_protocol::api::storage::{
    CloseTransaction, GetBlock, GetBlockSize, LookUpChunk, LookUpChunks, PutBlocks, StartTransaction,
};
use pyrgos_protocol::api::{ApiError, Call, Request, Response};
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::merkle::pointer::PointerUpdate;
use pyrgos_protocol::names::Username;
use tokio::sync::Semaphore;

use crate::p2p::{PeerError, Peers};
use crate::service::{Failure, Service};
use cache::Cache;
use seen::Seen;

/// Calls that are on their way to other nodes at once; further ones are told to come again.
const MAX_CALLS: usize = 256;

/// How long a home has for a read that this node could answer itself, and for how long it is not asked again after that.
const COPY_PATIENCE: Duration = Duration::from_millis(700);
const AWAY: Duration = Duration::from_secs(5);

/// Most homes that are remembered to be away.
const MAX_AWAY: usize = 1024;

/// Calls that change nothing, which a copy can answer.
const READS: [&str; 9] = [
    GetBlock::PATH,
    GetBlockSize::PATH,
    LookUpChunk::PATH,
    LookUpChunks::PATH,
    GetPointer::PATH,
    OpenSecretLink::PATH,
    GetLinkHost::PATH,
    GetLogin::PATH,
    GetUserBats::PATH,
];

/// Calls that only the home answers.
const HOME_ONLY: [&str; 24] = [
    GetMirrors::PATH,
    StartTransaction::PATH,
    CloseTransaction::PATH,
    PutBlocks::PATH,
    SetPointer::PATH,
    SetPointers::PATH,
    GetLinkCounts::PATH,
    AddBat::PATH,
    SendFollowRequest::PATH,
    GetFollowRequests::PATH,
    RemoveFollowRequest::PATH,
    GetQuota::PATH,
    GetUsage::PATH,
    RequestSpace::PATH,
    GetMessages::PATH,
    SendMessage::PATH,
    login::SetLogin::PATH,
    login::ListSecondFactors::PATH,
    login::AddTotp::PATH,
    login::AddMount::PATH,
    login::EnableTotp::PATH,
    login::EnableMount::PATH,
    login::GenerateBackupCodes::PATH,
    login::DeleteSecondFactor::PATH,
];

/// Calls that with `local=true` are about what this node keeps, wherever the account lives (`spec/04` §15.2).
const STAY_HERE: [&str; 2] = [login::SetLogin::PATH, GetUsage::PATH];

/// Passes calls on.
pub struct Homes {
    service: Arc<Service>,
    peers: Arc<dyn Peers>,
    calls: Semaphore,
    away: Mutex<HashMap<Cid, Instant>>,
    cache: Cache,
    seen: Seen,
}

/// Where a call goes.
enum Way {
    /// The service of this node answers.
    Here,
    /// The home answers. `has_copy` if this node could answer reads as well, `mirrors` if others could.
    Home { home: Cid, has_copy: bool, mirrors: Vec<Cid> },
    /// A cached block, which the call may read.
    Cached(Bytes),
}

impl Homes {
    /// Passes on what concerns accounts that a service has names for, but is not the home of.
    pub fn new(service: Arc<Service>, peers: Arc<dyn Peers>) -> Self {
        Homes {
            service,
            peers,
            calls: Semaphore::new(MAX_CALLS),
            away: Mutex::default(),
            cache: Cache::default(),
            seen: Seen::default(),
        }
    }

    /// Whether a call may have to be passed on.
    pub fn concerns(path: &str) -> bool {
        [MigrateUser::PATH, TellMirrors::PATH].contains(&path) || READS.contains(&path) || HOME_ONLY.contains(&path)
    }

    /// The answer of the account's home; none if this node is to answer itself.
    ///
    /// # Errors
    /// What the home refused goes on as an answer. 503 if it cannot be reached, 504 if it does not answer in time, and a
    /// refusal that names it if what it answered is wrong.
    pub async fn forward(self: &Arc<Self>, request: Arc<Request>) -> Result<Option<Response>, Failure> {
        if request.path == MigrateUser::PATH {
            return self.migrate(&request).await;
        }
        if request.path == TellMirrors::PATH {
            self.pass_on_list(&request).await?;
            return Ok(None);
        }
        let (homes, asked) = (self.clone(), request.clone());
        let way = tokio::task::spawn_blocking(move || homes.way(&asked)).await;
        let (home, has_copy, mirrors) = match way.unwrap_or(Err(Failure::Damaged("panic")))? {
            Way::Here => return Ok(None),
            Way::Cached(block) => return Ok(Some(Response::ok(block))),
            Way::Home { home, has_copy, mirrors } => (home, has_copy, mirrors),
        };
        let is_read = READS.contains(&request.path.as_str());
        let can_answer = has_copy && is_read;
        if can_answer && self.is_away(&home) {
            return Ok(None);
        }
        let _permit = self.calls.try_acquire().map_err(|_| Failure::busy())?;
        if is_read && !has_copy && !mirrors.is_empty() {
            return self.read_anywhere(&request, &home, &mirrors).await.map(Some);
        }
        let asking = self.peers.request(&home, &request);
        let answer = match can_answer {
            true => tokio::time::timeout(COPY_PATIENCE, asking)
                .await
                .unwrap_or_else(|_| Err(PeerError::Timeout { node: home.clone() })),
            false => asking.await,
        };
        match answer {
            // The home has lost it, or has thrown away what the caller is still reading.
            Ok(answer) if can_answer && request.path == GetBlock::PATH && is_nothing(&answer) => Ok(None),
            Ok(answer) => match self.check(&request, &home, answer) {
                Err(error) if can_answer => {
                    let error = error.into_api();
                    tracing::warn!(%home, %error, "a home is wrong: its accounts are read from the copies here");
                    self.set_away(home);
                    Ok(None)
                }
                checked => checked.map(Some),
            },
            Err(PeerError::Unreachable { .. } | PeerError::Timeout { .. }) if can_answer => {
                tracing::info!(%home, "a home is away: its accounts are read from the copies here");
                self.set_away(home);
                Ok(None)
            }
            Err(error) => Err(told(&error)),
        }
    }

    fn way(&self, request: &Request) -> Result<Way, Failure> {
        if STAY_HERE.contains(&request.path.as_str()) && request.parameters().flag("local")? {
            return Ok(Way::Here);
        }
        let Some((username, owner)) = self.account(request)? else { return Ok(Way::Here) };
        let Some(home) = self.service.home_elsewhere(&username)? else { return Ok(Way::Here) };
        if request.path == GetBlock::PATH {
            let GetBlock { cid, bat, .. } = GetBlock::parse(request)?;
            if let Some(block) = self.cache.get(&owner, &cid) {
                crate::service::storage::may_read(&cid, &block, bat.as_ref())?;
                return Ok(Way::Cached(block));
            }
        }
        let has_copy = self.service.has_copy(&owner)?;
        if has_copy && request.path == GetPointer::PATH {
            let GetPointer { owner, writer } = GetPointer::parse(request)?;
            // What came into the copy was seen, also before this node was last started.
            let sequence = self.service.copied_sequence(&owner, &writer)?;
            let _ = self.seen.check(owner, writer, sequence);
        }
        let list = if has_copy { None } else { self.service.mirror_list(&username)? };
        let nodes = list.map_or(Vec::new(), |list| list.nodes);
        let is_other = |node: &Cid| *node != home && !self.service.ids().contains(node);
        Ok(Way::Home { mirrors: nodes.into_iter().filter(is_other).collect(), home, has_copy })
    }

    /// Whose account a call is about. What is malformed the service refuses in its own words.
    fn account(&self, request: &Request) -> Result<Option<(Username, Owner)>, Failure> {
        let parameters = request.parameters();
        if let Some(text) = parameters.optional("owner")? {
            let Ok(owner) = text.parse::<Owner>() else { return Ok(None) };
            return Ok(self.service.name_of(&owner)?.map(|username| (username, owner)));
        }
        let Some(text) = parameters.optional("username")? else { return Ok(None) };
        let Ok(username) = Username::existing(text) else { return Ok(None) };
        Ok(self.service.owner_of(&username)?.map(|owner| (username, owner)))
    }

    /// What a home says is held against what can be known of it. The rest the client checks, as it does with every node.
    fn check(&self, request: &Request, home: &Cid, answer: Response) -> Result<Response, Failure> {
        if answer.status != 200 {
            return Ok(answer);
        }
        let wrong = |reason: &str| told(&PeerError::Wrong { node: home.clone(), reason: reason.to_owned() });
        match request.path.as_str() {
            GetBlock::PATH if !answer.body.is_empty() => {
                let GetBlock { owner, cid, .. } = GetBlock::parse(request)?;
                if !cid.matches(&answer.body) {
                    return Err(wrong("these are not the bytes of the block"));
                }
                self.cache.put(owner, cid, answer.body.clone());
            }
            GetPointer::PATH => {
                let GetPointer { owner, writer } = GetPointer::parse(request)?;
                // A key that has no room in its hash is in a block, which the client asks for.
                let sequence = match (writer.signing_key(), answer.body.is_empty()) {
                    (_, true) => None,
                    (Some(key), _) => PointerUpdate::open(&key, &answer.body)
                        .map_err(|_| wrong("the pointer is not signed by its writer"))?
                        .sequence(),
                    (None, _) => PointerUpdate::open_stored(&answer.body)
                        .map_err(|_| wrong("the pointer is malformed"))?
                        .sequence(),
                };
                if let Err(newer) = self.seen.check(owner, writer, sequence.unwrap_or(0)) {
                    return Err(wrong(&format!("the pointer is older than one that was seen, number {newer}")));
                }
            }
            _ => {}
        }
        Ok(answer)
    }

    fn is_away(&self, home: &Cid) -> bool {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.get(home).is_some_and(|since| since.elapsed() < AWAY)
    }

    fn set_away(&self, home: Cid) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.retain(|_, since| since.elapsed() < AWAY);
        if away.len() < MAX_AWAY {
            away.insert(home, Instant::now());
        }
    }
}

fn is_nothing(answer: &Response) -> bool {
    answer.status != 200 || answer.body.is_empty()
}

/// What a client hears of a home that gives no answer. Clients try again after 503 and 504.
fn told(error: &PeerError) -> Failure {
    let text = format!("The home of this account: {error}");
    Failure::Refused(match error {
        PeerError::Unreachable { .. } => ApiError::RateLimited(503, text),
        PeerError::Timeout { .. } => ApiError::RateLimited(504, text),
        _ => ApiError::refused(text),
    })
}
