//! One pass over an account: ask its home for the pointers, fetch the blocks that the copy lacks, move the copy's pointers
//! (`spec/06` §7.2, §7.3).
//!
//! Old and new tree are walked level by level, and what both have is not entered. Blocks are fetched several at a time,
//! hashed as they arrive, and stored before what links to them counts; the pointers move last, all in one commit. A pass
//! that breaks off is repeated: blocks that arrived are there already.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use pyrgos_protocol::api::mirror::GetMirrorSnapshot;
use pyrgos_protocol::api::storage::GetBlock;
use pyrgos_protocol::api::{ApiError, Call};
use pyrgos_protocol::encoding::{Cid, Codec, Value};
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::MirrorToken;

use crate::p2p::{PeerError, Peers};
use crate::service::mirrors::Copied;
use crate::service::{Failure, Service};

/// Blocks that are asked for at once. Each is at most 2 MiB.
const IN_FLIGHT: usize = 16;

/// Bytes of blocks that are stored together.
const BATCH: usize = 4 << 20;

/// Most blocks that one pass looks at.
const MAX_BLOCKS: usize = 8 << 20;

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
    /// This node failed.
    #[error("this node failed: {0}")]
    Here(#[from] Failure),
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

    /// Brings the copy of an account to what another node, its home or another mirror, has.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn pass(&self, token: &MirrorToken, from: &Cid, now_millis: i64) -> Result<Passed, CopyError> {
        let call = GetMirrorSnapshot::new(token.username.clone(), token.bat.bat(), &self.own, now_millis);
        let snapshot = Arc::new(self.ask(from, &call).await?);
        self.bring(token, from, snapshot, false).await
    }

    /// Brings the copy of an account to a snapshot that another node gave. `is_moving` if the account has this node as its
    /// home by now, or will have.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn bring(
        &self,
        token: &MirrorToken,
        from: &Cid,
        snapshot: Arc<UserSnapshot>,
        is_moving: bool,
    ) -> Result<Passed, CopyError> {
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
        for copied in news {
            self.copy_tree(token, from, &snapshot, copied, &mut passed).await?;
        }
        let kept = snapshot.clone();
        self.blocking(move |service| service.adopt(&kept, is_moving)).await.map_err(|failure| wrong(from, failure))?;
        Ok(passed)
    }

    async fn copy_tree(
        &self,
        token: &MirrorToken,
        from: &Cid,
        snapshot: &UserSnapshot,
        copied: Copied,
        passed: &mut Passed,
    ) -> Result<(), CopyError> {
        let owner = &snapshot.owner;
        let mut old: HashSet<Cid> = copied.before.into_iter().collect();
        let mut new: HashSet<Cid> = copied.target.into_iter().collect();
        let mut entered: HashSet<Cid> = HashSet::new();
        while !new.is_empty() {
            let common: HashSet<Cid> = old.intersection(&new).cloned().collect();
            old.retain(|cid| !common.contains(cid));
            new.retain(|cid| !common.contains(cid) && cid.identity_content().is_none() && !entered.contains(cid));
            if entered.len() + new.len() > MAX_BLOCKS {
                let reason = "a tree has too many blocks".to_owned();
                return Err(CopyError::Wrong { source_node: from.clone(), reason });
            }
            entered.extend(new.iter().cloned());
            let below_new = self.copy_level(token, from, owner, new.into_iter().collect(), passed).await?;
            let level: Vec<Cid> = old.into_iter().collect();
            let of = owner.clone();
            old = self.blocking(move |service| links_here(service, &of, &level)).await?;
            new = below_new;
        }
        Ok(())
    }

    /// Makes sure that some blocks are here. Answers what they link to.
    async fn copy_level(
        &self,
        token: &MirrorToken,
        from: &Cid,
        owner: &Owner,
        level: Vec<Cid>,
        passed: &mut Passed,
    ) -> Result<HashSet<Cid>, CopyError> {
        let (of, asked) = (owner.clone(), level);
        let (mut below, absent) = self.blocking(move |service| split(service, &of, asked)).await?;
        let of = owner.clone();
        let (used, limit_bytes) = self.blocking(move |service| service.mirror_space(&of)).await?;
        let fetch = |cid: Cid| async {
            let call = GetBlock { owner: owner.clone(), cid, bat: Some(token.bat.clone()) };
            let block = self.ask(from, &call).await?;
            let GetBlock { cid, .. } = call;
            match block {
                Some(block) if cid.matches(&block) => Ok((cid, block)),
                Some(_) => {
                    let reason = format!("it gives other bytes for the block {cid}");
                    Err(CopyError::Wrong { source_node: from.clone(), reason })
                }
                None => Err(CopyError::Missing { source_node: from.clone(), block: cid }),
            }
        };
        let mut arriving = stream::iter(absent.into_iter().map(fetch)).buffer_unordered(IN_FLIGHT);
        let (mut batch, mut batch_bytes): (Vec<(Cid, Bytes)>, usize) = (Vec::new(), 0);
        while let Some(arrived) = arriving.next().await {
            let (cid, block) = arrived?;
            passed.blocks += 1;
            passed.bytes += block.len() as u64;
            if used.saturating_add(passed.bytes) > limit_bytes {
                return Err(CopyError::Limit { limit_bytes });
            }
            below.extend(links(&cid, &block));
            batch_bytes += block.len();
            batch.push((cid, block));
            if batch_bytes >= BATCH {
                self.store(owner, std::mem::take(&mut batch)).await?;
                batch_bytes = 0;
            }
        }
        self.store(owner, batch).await?;
        Ok(below)
    }

    async fn store(&self, owner: &Owner, blocks: Vec<(Cid, Bytes)>) -> Result<(), CopyError> {
        if blocks.is_empty() {
            return Ok(());
        }
        let owner = owner.clone();
        Ok(self.blocking(move |service| service.adopt_blocks(&owner, &blocks)).await?)
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

/// Which of some blocks are absent, and what those link to that are here.
fn split(service: &Service, owner: &Owner, level: Vec<Cid>) -> Result<(HashSet<Cid>, Vec<Cid>), Failure> {
    let (mut below, mut absent) = (HashSet::new(), Vec::new());
    for cid in level {
        if cid.codec() != Codec::DagCbor {
            if !service.has_block(owner, &cid)? {
                absent.push(cid);
            }
            continue;
        }
        match service.copied_block(owner, &cid)? {
            Some(block) => below.extend(links(&cid, &block)),
            None => absent.push(cid),
        }
    }
    Ok((below, absent))
}

fn links_here(service: &Service, owner: &Owner, level: &[Cid]) -> Result<HashSet<Cid>, Failure> {
    let mut below = HashSet::new();
    for cid in level.iter().filter(|cid| cid.codec() == Codec::DagCbor) {
        if let Some(block) = service.copied_block(owner, cid)? {
            below.extend(links(cid, &block));
        }
    }
    Ok(below)
}

fn links(cid: &Cid, block: &Bytes) -> Vec<Cid> {
    match cid.codec() {
        Codec::DagCbor => Value::decode_shared(block).map(|value| value.links()).unwrap_or_default(),
        _ => Vec::new(),
    }
}
