//! What the home says after each commit: one notice for each mirror token of the account.

use std::sync::Arc;

use pyrgos_crypto::secretbox::Nonce;
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::mirroring::notice::{self, Notice};
use tokio::sync::{mpsc, watch};

use crate::p2p::Gossip;
use crate::service::Service;
use crate::service::clock::{Clock, Entropy};

/// Accounts that changed and of which nobody was told yet. Of what does not fit nobody is told; mirrors ask by themselves.
const WAITING: usize = 1024;

/// Tells mirrors of commits until `stop` says true.
pub async fn publish(
    service: Arc<Service>,
    gossip: Arc<dyn Gossip>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    mut stop: watch::Receiver<bool>,
) {
    let (changes, mut changed) = mpsc::channel::<Owner>(WAITING);
    service.observe_commits(Box::new(move |owner| {
        if changes.try_send(owner.clone()).is_err() {
            tracing::debug!("too many commits to tell mirrors of");
        }
    }));
    loop {
        let owner = tokio::select! {
            owner = changed.recv() => owner,
            () = crate::http::server::stopped(&mut stop) => None,
        };
        let Some(owner) = owner else { return };
        let of = service.clone();
        let tokens = tokio::task::spawn_blocking(move || of.tokens_of(&owner)).await;
        for token in tokens.ok().and_then(Result::ok).unwrap_or_default() {
            let mut nonce = [0; Nonce::SIZE];
            entropy.fill(&mut nonce);
            let notice = Notice { time_millis: clock.now_millis() };
            gossip.publish(&notice::topic(token.bat()), notice.seal(token.bat(), &Nonce::from_bytes(nonce)));
        }
    }
}
