//! The accounts that this node mirrors: the list on disk, and a task for each that keeps its copy up to date.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::mirroring::MirrorToken;
use pyrgos_protocol::mirroring::notice::{self, Notice};
use pyrgos_protocol::names::Username;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use zeroize::Zeroizing;

use super::copy::{Copier, CopyError, Passed};
use crate::p2p::{Gossip, Host};
use crate::service::clock::Clock;
use crate::service::{Failure, Service};

/// How often an account is looked at when no notice comes, and how soon again after a failure.
const POLL: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);

/// Most accounts that one node mirrors, and longest list, in bytes.
const MAX_MIRRORS: usize = 1000;
const MAX_FILE: u64 = 1 << 20;

/// An account of the list, as it stands in the file, which only the node's user may read.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    token: String,
    limit_bytes: u64,
    /// Another mirror to copy from instead of the home.
    from: Option<String>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.token);
    }
}

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
    entry: Entry,
    progress: Arc<Mutex<Progress>>,
    task: JoinHandle<()>,
}

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
    path: PathBuf,
    service: Arc<Service>,
    host: Host,
    clock: Arc<dyn Clock>,
    copier: Copier,
    followed: Mutex<BTreeMap<Username, Followed>>,
}

/// The list of mirrors could not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorsError {
    /// The file cannot be read or written.
    #[error("the list of mirrors: {0}")]
    File(#[from] io::Error),
    /// The list is full.
    #[error("this node mirrors {MAX_MIRRORS} accounts already")]
    Full,
    /// The account is not mirrored here.
    #[error("{0} is not mirrored here")]
    Unknown(String),
    /// The node refused.
    #[error("{}", .0)]
    Refused(#[from] Failure),
}

impl Mirrors {
    /// Reads the list and begins to follow.
    ///
    /// # Errors
    /// [`MirrorsError::File`].
    pub fn start(
        path: PathBuf,
        service: Arc<Service>,
        host: Host,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, MirrorsError> {
        let copier = Copier::new(Arc::new(host.clone()), service.clone(), host.id().clone());
        let mirrors = Arc::new(Mirrors { path, service, host, clock, copier, followed: Mutex::default() });
        for entry in mirrors.read()? {
            let Ok(token) = entry.token.parse::<MirrorToken>() else {
                let error = io::Error::new(io::ErrorKind::InvalidData, "a token is malformed");
                return Err(error.into());
            };
            mirrors.follow(token, entry);
        }
        Ok(mirrors)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Username, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> io::Result<Vec<Entry>> {
        let text = match std::fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > MAX_FILE => return Err(io::Error::other("the file is too long")),
            Ok(_) => Zeroizing::new(std::fs::read(&self.path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(serde_json::from_slice(&text)?)
    }

    /// Replaces the file. A crash leaves the old one. Made for the node's user only, as temporary files are.
    fn write(&self, entries: &[&Entry]) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(entries)?);
        let folder = self.path.parent().ok_or_else(|| io::Error::other("no folder"))?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&text)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        std::fs::File::open(folder)?.sync_all()
    }

    /// Begins to mirror an account, or changes its limit and source. Blocks on the store.
    ///
    /// # Errors
    /// [`MirrorsError`], for example if the account lives here.
    pub fn add(self: &Arc<Self>, token: MirrorToken, limit_bytes: u64, from: Option<&Cid>) -> Result<(), MirrorsError> {
        let from = from.map(|node| node.hash().to_base58());
        let entry = Entry { token: token.to_text().as_str().to_owned(), limit_bytes, from };
        let mut followed = self.lock();
        if followed.len() >= MAX_MIRRORS && !followed.contains_key(&token.username) {
            return Err(MirrorsError::Full);
        }
        self.service.keep_mirror(&token, limit_bytes)?;
        let others = followed.iter().filter(|(username, _)| **username != token.username);
        let entries: Vec<&Entry> = others.map(|(_, known)| &known.entry).chain([&entry]).collect();
        self.write(&entries)?;
        if let Some(known) = followed.remove(&token.username) {
            known.task.abort();
        }
        drop(followed);
        self.follow(token, entry);
        Ok(())
    }

    /// Ends mirroring an account and deletes its copy. Blocks on the store.
    ///
    /// # Errors
    /// [`MirrorsError::Unknown`] and others.
    pub fn remove(&self, username: &Username) -> Result<(), MirrorsError> {
        let mut followed = self.lock();
        let Some(known) = followed.get(username) else { return Err(MirrorsError::Unknown(username.to_string())) };
        known.task.abort();
        self.service.drop_mirror(username)?;
        // Last, so that after a crash one can see that it is not done.
        let others = followed.iter().filter(|(other, _)| *other != username);
        self.write(&others.map(|(_, known)| &known.entry).collect::<Vec<_>>())?;
        followed.remove(username);
        Ok(())
    }

    /// How each copy stands. Blocks on the store.
    ///
    /// # Errors
    /// The store.
    pub fn status(&self) -> Result<Vec<MirrorStatus>, Failure> {
        let now = self.clock.now_millis();
        let mut all = Vec::new();
        for (username, known) in &*self.lock() {
            let owner = self.service.owner_of(username)?;
            let space = owner.map(|owner| self.service.mirror_space(&owner)).transpose()?;
            let progress = known.progress.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(MirrorStatus {
                username: username.to_string(),
                source: progress.source.as_ref().map(|node| node.hash().to_base58()),
                used_bytes: space.map_or(0, |(used, _)| used),
                limit_bytes: known.entry.limit_bytes,
                verified_millis: progress.verified_millis,
                behind_millis: progress.changed_millis.map_or(0, |changed| now.saturating_sub(changed).max(0)),
                fetched_blocks: progress.fetched_blocks,
                failure: progress.failure.clone(),
            });
        }
        Ok(all)
    }

    /// Ends all tasks and waits for them.
    pub async fn run_until(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        crate::http::server::stopped(&mut stop).await;
        let mut ending = JoinSet::new();
        for (_, known) in std::mem::take(&mut *self.lock()) {
            known.task.abort();
            ending.spawn(async move {
                let _ = known.task.await;
            });
        }
        while ending.join_next().await.is_some() {}
    }

    fn follow(&self, token: MirrorToken, entry: Entry) {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let username = token.username.clone();
        let from = entry.from.as_ref().and_then(|node| Cid::from_server_id(node).ok());
        let follower = Follower {
            token,
            from,
            service: self.service.clone(),
            clock: self.clock.clone(),
            copier: self.copier.clone(),
            progress: progress.clone(),
        };
        let notices = self.host.subscribe(&notice::topic(follower.token.bat.bat()));
        let task = tokio::spawn(follower.run(notices));
        self.lock().insert(username, Followed { entry, progress, task });
    }
}

/// Keeps one copy up to date.
struct Follower {
    token: MirrorToken,
    from: Option<Cid>,
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
                            if let Some(notice) = Notice::open(self.token.bat.bat(), &message) {
                                break notice;
                            }
                        }
                        // Without gossip the clock is enough.
                        None => std::future::pending::<()>().await,
                    }
                }
            };
            if let Ok(notice) = tokio::time::timeout(wait, notice).await {
                self.lock().changed_millis.get_or_insert(notice.time_millis);
                // What was told meanwhile is in the same pass.
                while notices.try_recv().is_ok() {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None if there is nothing to follow any more: the account lives here.
    async fn pass(&self) -> Result<Option<Passed>, CopyError> {
        let (service, username) = (self.service.clone(), self.token.username.clone());
        let home = tokio::task::spawn_blocking(move || service.home_elsewhere(&username)).await;
        let Some(home) = home.unwrap_or(Err(Failure::Damaged("panic")))? else { return Ok(None) };
        let source = self.from.clone().unwrap_or_else(|| home.clone());
        self.lock().source = Some(source.clone());
        let (service, username) = (self.service.clone(), self.token.username.clone());
        let list = tokio::task::spawn_blocking(move || service.mirror_list(&username)).await;
        let list = list.unwrap_or(Err(Failure::Damaged("panic")))?;
        let others = list.map_or(Vec::new(), |list| list.nodes).into_iter().chain([home]);
        let is_other = |node: &Cid| *node != source && !self.service.ids().contains(node);
        let sources: Vec<Cid> = [source.clone()].into_iter().chain(others.filter(is_other)).collect();
        self.copier.pass(&self.token, &sources, self.clock.now_millis()).await.map(Some)
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
                tracing::warn!(username = %self.token.username, %error, "a copy is not up to date");
                progress.failure = Some(error.to_string());
            }
        }
    }
}
