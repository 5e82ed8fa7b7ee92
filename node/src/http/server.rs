//! The sockets: accepting, serving HTTP/1.1, and ending without cutting anybody off.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::service::Source;

/// Most connections at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;

/// File descriptors that the store and the rest of the node need: a node without any for its next log file can write
/// nothing any more.
const OWN_FILES: u64 = 400;

/// Of the connections, what one address may hold. A proxy on this computer stands for many clients, so it may hold all.
const SHARE_OF_ADDRESS: usize = 4;

/// Longest time that a client may take nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest time for the head of a request, and for which an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest time that requests in work are waited for at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Raises this process's limit of open files to what the system allows, and gives the connections that it leaves room for.
fn max_connections() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where the system refuses, the old limit stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = files.saturating_sub(OWN_FILES).clamp(8, MAX_CONNECTIONS as u64) as usize;
    if room < MAX_CONNECTIONS / 4 {
        tracing::warn!(
            files,
            room,
            "few open files are allowed (see `ulimit -n`), so few clients can be served at once"
        );
    }
    room
}

/// How many connections each address holds.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of an address; it counts until this is dropped.
struct Held(Addresses, IpAddr);

impl Addresses {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None when the address holds its share already.
    fn hold(&self, address: IpAddr, share: usize) -> Option<Held> {
        let mut held = self.lock();
        let count = held.entry(address).or_default();
        if *count >= share && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Held(self.clone(), address))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.0.lock();
        if let Some(count) = held.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.1);
            }
        }
    }
}

/// Serves until `stop` says true, then finishes the requests in work.
pub async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let max_connections = max_connections();
    let connections = Arc::new(Semaphore::new(max_connections));
    let addresses = Addresses::default();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            _ = stopped(&mut stop) => break,
        };
        let Some((stream, address, permit)) = accepted else { continue };
        let Some(held) = addresses.hold(address.ip(), (max_connections / SHARE_OF_ADDRESS).max(1)) else { continue };
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            connection(stream, address, router, stop).await;
            drop((permit, held));
        });
    }
    // New clients are refused at once, instead of waiting for somebody who will not come.
    drop(listener);
    let drained = connections.acquire_many(max_connections as u32);
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("requests were still in work after {} s", DRAIN_TIMEOUT.as_secs());
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = connections.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, permit)),
        Err(error) => {
            // Out of file descriptors, most likely: others must end first.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, address: SocketAddr, router: Router, mut stop: watch::Receiver<bool>) {
    // Answers are short and complete; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    // A client that reads nothing would hold its answer and its connection for ever.
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, WRITE_TIMEOUT.as_millis() as u32);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Source::Address(address.ip()));
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut connection = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stopped(&mut stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Returns when the node shall stop, or when nobody is left who could say so.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard of the value must not live across another await.
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_its_share_and_no_more() {
        let addresses = Addresses::default();
        let stranger: IpAddr = "192.0.2.1".parse().unwrap();
        let first = addresses.hold(stranger, 2);
        let second = addresses.hold(stranger, 2);
        assert!(first.is_some() && second.is_some() && addresses.hold(stranger, 2).is_none());
        assert!(addresses.hold("192.0.2.2".parse().unwrap(), 2).is_some());
        drop(first);
        assert!(addresses.hold(stranger, 2).is_some());
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        let many: Vec<_> = (0..10).map(|_| addresses.hold(local, 2)).collect();
        assert!(many.iter().all(Option::is_some));
        drop((second, many));
        assert!(addresses.lock().is_empty());
    }

    #[test]
    fn connections_leave_files_for_the_store() {
        let room = max_connections();
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(room == MAX_CONNECTIONS || room as u64 + OWN_FILES <= files || room == 8, "{room} of {files}");
    }
}
