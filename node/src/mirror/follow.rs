//! The accounts that this node mirrors: a task for each that keeps its copy up to date, as the list in the store says
//! (`service::mirrored`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::mirroring::notice::{self, Notice};
use pyrgos_protocol::names::Username;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::copy::{Copier, CopyError, Passed};
use crate::p2p::{Gossip, Host};
use crate::service::clock::Clock;
use crate::service::mirrored::Mirrored;
use crate::service::{Failure, Service};

/// How often an account is looked at when no notice comes, and how soon again after a failure.
const POLL: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);

/// How the copy of an account stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorStatus {
    /// The account.
    pub username: String,
    /// The node that it is copied from.
    pub source: Option<String>,
    /// What the copy uses, in bytes.
    pub used_bytes: u64,
    /// What it may use, in bytes.
    pub limit_bytes: u64,
    /// When it was last the same as at the source, milliseconds since 1970 UTC.
    pub verified_millis: Option<i64>,
    /// How old the oldest change is that a notice told of and that is not here yet, in milliseconds; zero if there is none.
    pub behind_millis: i64,
    /// Blocks that were fetched since the node started.
    pub fetched_blocks: u64,
    /// Why the last pass failed, if it did.
    pub failure: Option<String>,
}

/// One account that is followed.
struct Followed {
    mirrored: Mirrored,
    progress: Arc<Mutex<Progress>>,
    task: JoinHandle<()>,
}

/// How far one follower is.
#[derive(Default)]
struct Progress {
    source: Option<Cid>,
    verified_millis: Option<i64>,
    /// When the change that is being waited for was made.
    changed_millis: Option<i64>,
    fetched_blocks: u64,
    failure: Option<String>,
}

/// The mirrors of a node.
pub struct Mirrors {
    service: Arc<Service>,
    host: Host,
    clock: Arc<dyn Clock>,
    copier: Copier,
    followed: Mutex<BTreeMap<Username, Followed>>,
}

impl Mirrors {
    /// Nothing is followed before [`Mirrors::run_until`].
    pub fn new(service: Arc<Service>, host: Host, clock: Arc<dyn Clock>) -> Self {
        let copier = Copier::new(Arc::new(host.clone()), service.clone(), host.id().clone());
        Mirrors { service, host, clock, copier, followed: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Username, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How each copy stands. Blocks on the store.
    ///
    /// # Errors
    /// The store.
    pub fn status(&self) -> Result<Vec<MirrorStatus>, Failure> {
        let now = self.clock.now_millis();
        let mut all = Vec::new();
        for Mirrored { token, limit_bytes, .. } in self.service.mirrored()? {
            let owner = self.service.owner_of(&token.username)?;
            let space = owner.map(|owner| self.service.mirror_space(&owner)).transpose()?;
            let followed = self.lock();
            let progress = followed.get(&token.username).map(|known| known.progress.clone()).unwrap_or_default();
            let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(MirrorStatus {
                username: token.username.to_string(),
                source: progress.source.as_ref().map(|node| node.hash().to_base58()),
                used_bytes: space.map_or(0, |(used, _)| used),
                limit_bytes,
                verified_millis: progress.verified_millis,
                behind_millis: progress.changed_millis.map_or(0, |changed| now.saturating_sub(changed).max(0)),
                fetched_blocks: progress.fetched_blocks,
                failure: progress.failure.clone(),
            });
        }
        Ok(all)
    }

    /// Follows what is on the list, and what is put on it; at the end ends all tasks and waits for them.
    pub async fn run_until(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut changes = self.service.mirrored_changes();
        changes.mark_changed();
        loop {
            tokio::select! {
                // The service lives as long as this.
                _ = changes.changed() => {}
                _ = crate::http::server::stopped(&mut stop) => break,
            }
            let service = self.service.clone();
            let listed = tokio::task::spawn_blocking(move || service.mirrored()).await;
            match listed.unwrap_or(Err(Failure::Damaged("panic"))) {
                Ok(listed) => self.follow_only(listed),
                Err(failure) => {
                    tracing::warn!(%failure, "the list of mirrored accounts cannot be read");
                    tokio::time::sleep(RETRY).await;
                    changes.mark_changed();
                }
            }
        }
        let mut ending = JoinSet::new();
        for (_, known) in std::mem::take(&mut *self.lock()) {
            known.task.abort();
            ending.spawn(async move {
                let _ = known.task.await;
            });
        }
        while ending.join_next().await.is_some() {}
    }

    /// Begins to follow what is new on the list or stands there otherwise than before, and ends what is not on it.
    fn follow_only(&self, listed: Vec<Mirrored>) {
        let mut followed = self.lock();
        followed.retain(|_, known| {
            let stays = listed.contains(&known.mirrored);
            if !stays {
                known.task.abort();
            }
            stays
        });
        for mirrored in listed {
            let username = mirrored.token.username.clone();
            followed.entry(username).or_insert_with(|| self.follow(mirrored));
        }
    }

    fn follow(&self, mirrored: Mirrored) -> Followed {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let follower = Follower {
            mirrored: mirrored.clone(),
            host: self.host.clone(),
            service: self.service.clone(),
            clock: self.clock.clone(),
            copier: self.copier.clone(),
            progress: progress.clone(),
        };
        let notices = self.host.subscribe(&notice::topic(mirrored.token.bat.bat()));
        let task = tokio::spawn(follower.run(notices));
        Followed { mirrored, progress, task }
    }
}

/// Keeps one copy up to date.
struct Follower {
    mirrored: Mirrored,
    host: Host,
    service: Arc<Service>,
    clock: Arc<dyn Clock>,
    copier: Copier,
    progress: Arc<Mutex<Progress>>,
}

impl Follower {
    async fn run(self, mut notices: tokio::sync::mpsc::Receiver<Vec<u8>>) {
        loop {
            let outcome = self.pass().await;
            let wait = match &outcome {
                Ok(_) => POLL,
                Err(_) => RETRY,
            };
            self.note(outcome);
            let notice = async {
                loop {
                    match notices.recv().await {
                        Some(message) => {
                            if let Some(notice) = Notice::open(self.mirrored.token.bat.bat(), &message) {
                                break notice;
                            }
                        }
                        // Without gossip the clock is enough.
                        None => std::future::pending::<()>().await,
                    }
                }
            };
            tokio::select! {
                notice = notice => {
                    self.lock().changed_millis.get_or_insert(notice.time_millis);
                    // What was told meanwhile is in the same pass.
                    while notices.try_recv().is_ok() {}
                }
                _ = tokio::time::sleep(wait) => {}
                _ = self.connection_lost(), if wait == POLL => {}
            }
        }
    }

    /// Returns when the node that was copied from is connected no more: one that was started again tells of changes only to
    /// those that have come back to it.
    async fn connection_lost(&self) {
        let Some(source) = self.lock().source.clone() else { return std::future::pending().await };
        loop {
            tokio::time::sleep(RETRY).await;
            if !self.host.is_connected(&source).await {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None if there is nothing to follow any more: the account lives here.
    async fn pass(&self) -> Result<Option<Passed>, CopyError> {
        let (service, username) = (self.service.clone(), self.mirrored.token.username.clone());
        let home = tokio::task::spawn_blocking(move || service.home_elsewhere(&username)).await;
        let Some(home) = home.unwrap_or(Err(Failure::Damaged("panic")))? else { return Ok(None) };
        let source = self.mirrored.from.clone().unwrap_or_else(|| home.clone());
        self.lock().source = Some(source.clone());
        let (service, username) = (self.service.clone(), self.mirrored.token.username.clone());
        let list = tokio::task::spawn_blocking(move || service.mirror_list(&username)).await;
        let list = list.unwrap_or(Err(Failure::Damaged("panic")))?;
        let others = list.map_or(Vec::new(), |list| list.nodes).into_iter().chain([home]);
        let is_other = |node: &Cid| *node != source && !self.service.ids().contains(node);
        let sources: Vec<Cid> = [source.clone()].into_iter().chain(others.filter(is_other)).collect();
        self.copier.pass(&self.mirrored.token, &sources, self.clock.now_millis()).await.map(Some)
    }

    fn note(&self, outcome: Result<Option<Passed>, CopyError>) {
        let now = self.clock.now_millis();
        let mut progress = self.lock();
        match outcome {
            Ok(passed) => {
                progress.fetched_blocks += passed.unwrap_or_default().blocks;
                progress.failure = None;
                progress.changed_millis = None;
                progress.verified_millis = Some(now);
                if passed.is_none() {
                    progress.source = None;
                }
            }
            Err(error) => {
                tracing::warn!(username = %self.mirrored.token.username, %error, "a copy is not up to date");
                progress.failure = Some(error.to_string());
            }
        }
    }
}
