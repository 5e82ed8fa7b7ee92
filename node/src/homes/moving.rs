//! Accounts that move here: what the new home does when their owner asks (`spec/06` §8.1, steps 2 to 5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyrgos_protocol::api::core::MigrateUser;
use pyrgos_protocol::api::{ApiError, Call, Request, Response};
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::MirrorToken;

use super::{Homes, told};
use crate::mirror::copy::{Copier, CopyError};
use crate::service::Failure;

/// How long the new home waits until it hears of the decision about the claim.
const DECISION_PATIENCE: Duration = Duration::from_secs(30);

impl Homes {
    /// Moves an account here, or passes the call on to the node that it shall move to. None if this node is its present
    /// home. Goes on when the caller has gone; the same call again finds what was copied.
    pub(super) async fn migrate(self: &Arc<Self>, request: &Request) -> Result<Option<Response>, Failure> {
        let call = MigrateUser::parse(request)?;
        if self.service.ids().contains(&call.current_home) {
            return Ok(None);
        }
        match call.chain.home() {
            Some(home) if !self.service.ids().contains(home) => {
                self.peers.request(home, request).await.map(Some).map_err(|error| told(&error))
            }
            _ => {
                let homes = self.clone();
                let moved = tokio::spawn(async move { homes.take_over(call).await }).await;
                let snapshot = moved.unwrap_or(Err(Failure::Damaged("panic")))?;
                Ok(Some(Response::ok(MigrateUser::write(&snapshot))))
            }
        }
    }

    async fn take_over(&self, call: MigrateUser) -> Result<UserSnapshot, Failure> {
        let bat = call.mirror_bat.clone().ok_or_else(|| Failure::refused("An account moves with its mirror token"))?;
        let token = MirrorToken { username: call.username.clone(), bat };
        let (asked, opens) = (call.clone(), token.clone());
        self.blocking(move |service| service.admit_moving(&asked, &opens)).await?;
        let own = self.service.ids().last().cloned().ok_or(Failure::Damaged("no identity"))?;
        let copier = Copier::new(self.peers.clone(), self.service.clone(), own);
        // While the present home serves on; then what was written meanwhile, when nothing is written there any more.
        let from = call.current_home.clone();
        let now_millis = self.service.now_millis();
        for commit in [false, true] {
            let ask = MigrateUser { commit, ..call.clone() };
            let answer = self.peers.request(&from, &ask.request()).await.map_err(|error| told(&error))?;
            let snapshot = Arc::new(ask.read(answer)?);
            copier.bring(&token, &[&from], snapshot.clone(), commit, now_millis).await.map_err(refused)?;
            if !commit {
                continue;
            }
            let start = Instant::now();
            let username = call.username.clone();
            while self.home_of(username.clone()).await?.is_some() {
                if start.elapsed() > DECISION_PATIENCE {
                    return Err(Failure::busy());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            return Ok(Arc::unwrap_or_clone(snapshot));
        }
        Err(Failure::Damaged("a move without its end"))
    }

    async fn home_of(
        &self,
        username: pyrgos_protocol::names::Username,
    ) -> Result<Option<pyrgos_protocol::encoding::Cid>, Failure> {
        self.blocking(move |service| service.home_elsewhere(&username)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&crate::service::Service) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let service = self.service.clone();
        tokio::task::spawn_blocking(move || work(&service)).await.unwrap_or(Err(Failure::Damaged("panic")))
    }
}

fn refused(error: CopyError) -> Failure {
    match error {
        CopyError::Here(failure) => failure,
        CopyError::Peer(error) => told(&error),
        error => Failure::Refused(ApiError::refused(format!("The account cannot be copied: {error}"))),
    }
}
