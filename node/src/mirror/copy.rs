//! One pass over an account: ask its home for the pointers, fetch the blocks that the copy lacks, move the copy's pointers
//! (`spec/06` §7.2, §7.3).
//!
//! Old and new tree are walked level by level (`part`), and what both have is not entered. Blocks come from one or several
//! nodes at once (`supply`), are hashed as they arrive, and stored before what links to them counts; the pointers move
//! last, all in one commit. A pass that breaks off is repeated: blocks that arrived are there already.

use std::sync::Arc;

use bytes::Bytes;
use pyrgos_protocol::api::mirror::{GetMirrorList, GetMirrorSnapshot, TellMirrors};
use pyrgos_protocol::api::{ApiError, Call};
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::{MirrorProof, MirrorToken};

use super::existing;
use super::part::Tree;
use super::supply::Supply;
use crate::p2p::{PeerError, Peers};
use crate::service::{Failure, Service};

/// Most nodes that blocks come from at once.
const MAX_SOURCES: usize = 3;

/// A pass did not come to its end. What was there before is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The other node gave no answer.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The other node refused.
    #[error("{source_node} refused: {error}")]
    Refused {
        /// Whom was asked.
        source_node: Cid,
        /// What it said.
        error: ApiError,
    },
    /// The other node gives no blocks.
    #[error("{source_node} gives no blocks: {reason}")]
    NotGiven {
        /// Whom was asked.
        source_node: Cid,
        /// What it said.
        reason: String,
    },
    /// The other node showed something that cannot be.
    #[error("{source_node} is not to be trusted: {reason}")]
    Wrong {
        /// Whom was asked.
        source_node: Cid,
        /// What is wrong.
        reason: String,
    },
    /// The other node does not have a block that its pointers lead to.
    #[error("{source_node} lacks the block {block}")]
    Missing {
        /// Whom was asked.
        source_node: Cid,
        /// Which block.
        block: Cid,
    },
    /// The copy would be larger than it may be.
    #[error("the account is larger than the limit of {limit_bytes} bytes")]
    Limit {
        /// What it may be.
        limit_bytes: u64,
    },
    /// There is nobody to copy from.
    #[error("no node is known that has the account")]
    NoSource,
    /// This node failed.
    #[error("this node failed: {}", in_full(.0))]
    Here(#[from] Failure),
}

/// A failure with its causes: who runs the mirror is to hear that the disk is full.
fn in_full(failure: &Failure) -> String {
    let causes = std::iter::successors(std::error::Error::source(failure), |cause| cause.source());
    std::iter::once(failure.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

/// What a pass fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Pointers that moved.
    pub pointers: usize,
    /// Blocks that were fetched.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Copies accounts from other nodes.
#[derive(Clone)]
pub struct Copier {
    peers: Arc<dyn Peers>,
    service: Arc<Service>,
    /// This node.
    own: Cid,
}

impl Copier {
    /// A copier into a service's store, for the node `own`.
    pub fn new(peers: Arc<dyn Peers>, service: Arc<Service>, own: Cid) -> Self {
        Copier { peers, service, own }
    }

    /// Brings the copy of an account to what the first of some nodes that answers has: its home or another mirror. Blocks
    /// come from all of them.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn pass(&self, token: &MirrorToken, sources: &[Cid], now_millis: i64) -> Result<Passed, CopyError> {
        let proof = self.proof(token, now_millis);
        let (snapshot, list) = (GetMirrorSnapshot(proof.clone()), GetMirrorList(proof));
        let mut failure = None;
        for (number, from) in sources.iter().enumerate() {
            let (asked, list) = tokio::join!(self.ask(from, &snapshot), self.ask(from, &list));
            let asked = match asked {
                Err(CopyError::Refused { error: ApiError::NotFound, .. }) => self.look(token, from).await,
                asked => asked,
            };
            match asked {
                Ok(snapshot) => {
                    if let Ok(Some(signed)) = list {
                        self.hear_list(token, signed).await;
                    }
                    let others = sources.iter().enumerate().filter(|(other, _)| *other != number);
                    let all: Vec<&Cid> = [from].into_iter().chain(others.map(|(_, node)| node)).collect();
                    match (self.bring(token, &all, Arc::new(snapshot), false, now_millis).await, failure.take()) {
                        // That another mirror is behind this one says nothing against it.
                        (Err(CopyError::Wrong { .. }), Some(first)) => failure = Some(first),
                        (outcome, _) => return outcome,
                    }
                }
                // It is away; perhaps another one is not.
                Err(error @ CopyError::Peer(_)) => failure = failure.or(Some(error)),
                Err(error) => match failure.take() {
                    Some(first) => failure = Some(first),
                    None => return Err(error),
                },
            }
        }
        Err(failure.unwrap_or(CopyError::NoSource))
    }

    /// What a home shows that has no snapshots.
    async fn look(&self, token: &MirrorToken, from: &Cid) -> Result<UserSnapshot, CopyError> {
        let username = token.username.clone();
        let owner = self.blocking(move |service| service.owner_of(&username)).await?;
        let owner = owner.ok_or_else(|| Failure::refused(format!("nobody has the name {}", token.username)))?;
        let mut snapshot = existing::snapshot(self.peers.clone(), from, &owner, token).await?;
        // Such a home gives login data to their owner only, who brings them here (`spec/04` §6.7).
        let username = token.username.clone();
        snapshot.login = self.blocking(move |service| service.login_data(&username)).await?;
        Ok(snapshot)
    }

    /// What is no list of the owner's is not kept.
    async fn hear_list(&self, token: &MirrorToken, signed: Bytes) {
        let call = TellMirrors { username: token.username.clone(), signed };
        if let Err(error) = self.blocking(move |service| service.tell_mirrors(call)).await {
            tracing::debug!(%error, "a list of mirrors was refused");
        }
    }

    fn proof(&self, token: &MirrorToken, now_millis: i64) -> MirrorProof {
        MirrorProof::new(token.username.clone(), token.bat.bat(), &self.own, now_millis)
    }

    /// Brings the copy of an account to a snapshot that the first of some nodes gave. `is_moving` if the account has this
    /// node as its home by now, or will have.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn bring(
        &self,
        token: &MirrorToken,
        sources: &[&Cid],
        snapshot: Arc<UserSnapshot>,
        is_moving: bool,
        now_millis: i64,
    ) -> Result<Passed, CopyError> {
        let from = *sources.first().ok_or(CopyError::NoSource)?;
        let username = token.username.clone();
        let owner = self.blocking(move |service| service.owner_of(&username)).await?;
        if owner.as_ref() != Some(&snapshot.owner) || snapshot.username != token.username {
            let reason = "it shows another account than was asked for".to_owned();
            return Err(CopyError::Wrong { source_node: from.clone(), reason });
        }
        let read = snapshot.clone();
        let news = self.blocking(move |service| service.news_in(&read)).await;
        let news = news.map_err(|failure| wrong(from, failure))?;
        let mut passed = Passed { pointers: news.len(), ..Passed::default() };
        let supply = |node: &Cid| {
            let proof = self.proof(token, now_millis);
            Supply::new(self.peers.clone(), node.clone(), snapshot.owner.clone(), token.clone(), proof)
        };
        let mut supplies: Vec<Supply> = sources.iter().take(MAX_SOURCES).map(|node| supply(node)).collect();
        for copied in news {
            Tree::new(self.service.clone(), snapshot.owner.clone()).copy(copied, &mut supplies, &mut passed).await?;
        }
        let kept = snapshot.clone();
        self.blocking(move |service| service.adopt(&kept, is_moving)).await.map_err(|failure| wrong(from, failure))?;
        Ok(passed)
    }

    async fn ask<C: Call>(&self, from: &Cid, call: &C) -> Result<C::Output, CopyError> {
        let answer = self.peers.request(from, &call.request()).await?;
        call.read(answer).map_err(|error| CopyError::Refused { source_node: from.clone(), error })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Service) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let service = self.service.clone();
        tokio::task::spawn_blocking(move || work(&service)).await.unwrap_or(Err(Failure::Damaged("panic")))
    }
}

/// What the service refuses of a snapshot, the other node has shown.
fn wrong(from: &Cid, failure: Failure) -> CopyError {
    match failure {
        Failure::Refused(error @ (ApiError::Refused { .. } | ApiError::Malformed(_))) => {
            CopyError::Wrong { source_node: from.clone(), reason: error.message() }
        }
        failure => CopyError::Here(failure),
    }
}
