//! Reads of accounts whose home is away: from the mirrors that their owners told of.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use pyrgos_protocol::api::mirror::TellMirrors;
use pyrgos_protocol::api::{Call, Request, Response};
use pyrgos_protocol::encoding::Cid;

use super::{COPY_PATIENCE, Homes, told};
use crate::p2p::PeerError;
use crate::service::Failure;

/// Most mirrors that are asked at once.
const MAX_ASKED: usize = 4;

/// How long the home may take to hear of a new list of mirrors; it hears of it again at the owner's next login.
const TELL_PATIENCE: Duration = Duration::from_secs(5);

impl Homes {
    /// The answer of the home, or of the fastest mirror if the home is away or slow. What a mirror says is checked as what
    /// the home says is; one that is wrong or behind is passed over.
    pub(super) async fn read_anywhere(
        &self,
        request: &Request,
        home: &Cid,
        mirrors: &[Cid],
    ) -> Result<Response, Failure> {
        let mut asking_home = self.peers.request(home, request).fuse();
        let mut failure = None;
        if !self.is_away(home) {
            match tokio::time::timeout(COPY_PATIENCE, &mut asking_home).await {
                Ok(Ok(answer)) => return self.check(request, home, answer),
                Ok(Err(error @ (PeerError::Unreachable { .. } | PeerError::Timeout { .. }))) => {
                    failure = Some(told(&error));
                }
                Ok(Err(error)) => return Err(told(&error)),
                Err(_) => {}
            }
        }
        let ask = |node: &Cid| {
            let node = node.clone();
            async move {
                let answer = self.peers.request(&node, request).await.map_err(|error| told(&error))?;
                // A mirror that refuses is none any more.
                match answer.status {
                    200 => self.check(request, &node, answer),
                    status => Err(Failure::refused(format!("The mirror {node} refused: {status}"))),
                }
            }
        };
        let mut asking: FuturesUnordered<_> = mirrors.iter().take(MAX_ASKED).map(ask).collect();
        // The home may still answer, unless it has given up already.
        let mut home_ended = failure.is_some();
        loop {
            tokio::select! {
                Some(answer) = asking.next() => match answer {
                    Ok(answer) => {
                        if !self.is_away(home) {
                            tracing::info!(%home, "a home is away: its accounts are read from their mirrors");
                            self.set_away(home.clone());
                        }
                        return Ok(answer);
                    }
                    Err(error) => {
                        tracing::info!(%error, "a mirror did not answer for a home that is away");
                        failure.get_or_insert(error);
                    }
                },
                answer = &mut asking_home, if !home_ended => match answer {
                    Ok(answer) => return self.check(request, home, answer),
                    // What is wrong with the home counts for more than what is wrong with its mirrors.
                    Err(error) => {
                        home_ended = true;
                        failure = Some(told(&error));
                    }
                },
                else => return Err(failure.unwrap_or_else(Failure::busy)),
            }
        }
    }

    /// Lets the home of an account know its owner's list of mirrors, too, if it is true. This node keeps it as well.
    pub(super) async fn pass_on_list(self: &Arc<Self>, request: &Request) -> Result<(), Failure> {
        let call = TellMirrors::parse(request)?;
        let (homes, username) = (self.clone(), call.username.clone());
        let home = tokio::task::spawn_blocking(move || homes.service.home_elsewhere(&username)).await;
        if let Some(home) = home.unwrap_or(Err(Failure::Damaged("panic")))? {
            let (homes, request) = (self.clone(), call.request());
            tokio::spawn(async move {
                let told = tokio::time::timeout(TELL_PATIENCE, homes.peers.request(&home, &request)).await;
                if !matches!(told, Ok(Ok(_))) {
                    tracing::info!(%home, "a home did not hear of its account's mirrors");
                }
            });
        }
        Ok(())
    }
}
