//! The node that an account lives on, and how it moves to another (`spec/06` §1.6, §8.1).

use super::account::{mirror_bat, proven_chain};
use super::error::ClientError;
use super::network::Repeat;
use super::runtime::Runtime;
use super::session::Session;
use crate::api::Transport;
use crate::api::core::{Decision, MigrateUser, UpdateChain};
use crate::api::storage::GetServerId;
use crate::encoding::Cid;
use crate::keys::ProofOfWork;
use crate::names::Chain;

/// Before every opening of a link: all counts come along.
const ALL_COUNTS: i64 = 0;

/// Where an account lives, and through which node this session sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HomeNode {
    /// The node that the newest claim names.
    pub home: Cid,
    /// The node that this session talks to.
    pub node: Cid,
}

impl HomeNode {
    /// Whether the session talks to the home itself.
    pub fn is_here(&self) -> bool {
        self.home == self.node
    }
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Where the account lives.
    ///
    /// # Errors
    /// [`ClientError::ForgedClaim`].
    pub async fn home_node(&self) -> Result<HomeNode, ClientError> {
        Ok(self.chain_and_home().await?.1)
    }

    /// Moves the account to the node that this session talks to, with the help of its present home, which hands over
    /// everything. Nothing changes if it lives there already, or if either node fails before the move takes effect.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if one of the nodes does not agree.
    pub async fn migrate(&self) -> Result<HomeNode, ClientError> {
        let (chain, home) = self.chain_and_home().await?;
        if home.is_here() {
            return Ok(home);
        }
        let network = &self.core().network;
        let usage = self.space().await?.used_bytes;
        let call = MigrateUser {
            username: self.username().clone(),
            chain: self.moved(&chain, &home)?,
            current_home: home.home.clone(),
            mirror_bat: Some(mirror_bat(network, self.keys()).await?),
            counts_after_secs: ALL_COUNTS,
            usage_bytes: i64::try_from(usage).unwrap_or(i64::MAX),
            commit: true,
        };
        // A repetition finds the account moved.
        network.call(Repeat::Safely, &call).await?;
        self.moved_here().await
    }

    /// Makes the node that this session talks to, a mirror of the account, its home, on the owner's word alone: the
    /// present home may be gone. What only that one had is not here; if it comes back, it sees the newer claim.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the node does not hold the account.
    pub async fn promote(&self) -> Result<HomeNode, ClientError> {
        let (chain, home) = self.chain_and_home().await?;
        if home.is_here() {
            return Ok(home);
        }
        let call = UpdateChain {
            username: self.username().clone(),
            update: self.moved(&chain, &home)?,
            proof: ProofOfWork::first_try(),
            token: String::new(),
        };
        match self.core().network.call(Repeat::Safely, &call).await? {
            Decision::Accepted => self.moved_here().await,
            Decision::WorkNeeded(_) => Err(ClientError::Limit("a name with so many keys does not move without work")),
        }
    }

    async fn chain_and_home(&self) -> Result<(Chain, HomeNode), ClientError> {
        let network = &self.core().network;
        let (chain, owner) = proven_chain(network, self.username()).await?;
        if owner != self.keys().owner {
            return Err(ClientError::ForgedClaim);
        }
        let home = chain.home().ok_or(ClientError::ForgedClaim)?.clone();
        let node = network.call(Repeat::Safely, &GetServerId).await?;
        Ok((chain, HomeNode { home, node }))
    }

    fn moved(&self, chain: &Chain, home: &HomeNode) -> Result<Chain, ClientError> {
        let keys = self.keys();
        let expiry = chain.migrated_expiry().map_err(|_| ClientError::ForgedClaim)?;
        Ok(chain.with_last_claim(&keys.username, expiry, home.node.clone(), &keys.identity))
    }

    async fn moved_here(&self) -> Result<HomeNode, ClientError> {
        let (_, home) = self.chain_and_home().await?;
        if home.is_here() {
            Ok(home)
        } else {
            Err(ClientError::Inconsistent("the node says that the account has moved, but it has not"))
        }
    }
}
