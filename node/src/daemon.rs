//! What a node runs, and how it stops.

pub mod collector;

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyrgos_store::{RocksStore, Store, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::control;
use crate::homes::Homes;
use crate::http::{self, Hosts, Options};
use crate::identity::{self, IdentityError};
use crate::mirror::{Mirrors, notices, source};
use crate::names::driver::{Driver, NamesError};
use crate::names::registry::NetworkNames;
use crate::p2p::{self, Host, proxy};
use crate::service::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::service::names::{LocalNames, Names};
use crate::service::{Parts, Policy, Service};

/// A node could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be made.
    #[error("cannot make the data directory {}: {source}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The node's key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store.
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
    /// The address is taken, or not this computer's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The peer host.
    #[error(transparent)]
    Peers(#[from] p2p::host::StartError),
    /// The names of the network.
    #[error("cannot take part in the network's names: {0}")]
    Names(#[from] NamesError),
}

/// Why a node ended that nobody told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The database takes no more writes.
    #[error("the database takes no more writes; the log says why")]
    Broken,
}

/// How often the node looks whether its store still works.
const PULSE: Duration = Duration::from_secs(1);

/// How long a node that starts waits for a command that uses its data directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Opens the store in a data directory, making the directory for its owner only if there is none.
///
/// # Errors
/// [`StartError::DataDir`] or [`StartError::Store`], for example while a node runs in this directory.
pub fn open_store(config: &Config) -> Result<Arc<RocksStore>, StartError> {
    let error = |source| StartError::DataDir { path: config.data_dir.clone(), source };
    // For the owner alone, also in a data directory that others may enter: second factors, access tokens and sign-up
    // tokens are in there.
    let folder = config.data_dir.join("store");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(error)?;
    std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).map_err(error)?;
    Ok(Arc::new(RocksStore::open(&folder, pyrgos_store::rocks::Options::default())?))
}

/// The same, waiting for a command that has the store for a moment.
async fn open_patiently(config: &Config) -> Result<Arc<RocksStore>, StartError> {
    let start = Instant::now();
    loop {
        match open_store(config) {
            Err(StartError::Store(StoreError::Locked { .. })) if start.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            opened => return opened,
        }
    }
}

/// The service of a node over any store.
pub fn service<S: Store + 'static>(
    store: Arc<S>,
    config: &Config,
    ids: Vec<pyrgos_protocol::encoding::Cid>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Service {
    let names = LocalNames::new(store.clone(), clock.clone(), config.max_daily_signups);
    service_with_names(store, config, ids, Arc::new(names), clock, entropy)
}

/// The service of a node over any store, with names that somebody decides about.
pub fn service_with_names<S: Store + 'static>(
    store: Arc<S>,
    config: &Config,
    ids: Vec<pyrgos_protocol::encoding::Cid>,
    names: Arc<dyn Names>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Service {
    let policy = Policy {
        ids,
        signup: config.signup,
        max_users: config.max_users,
        quota_bytes: config.quota_bytes,
        admins: config.admins.clone(),
        allow_gaps: config.allow_gaps,
    };
    Service::new(Parts { blocks: store.clone(), records: store, names, clock, entropy }, policy)
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    Ok((listener, bound))
}

/// A running node. Dropping it stops it without waiting; [`Daemon::stop`] waits.
pub struct Daemon {
    address: SocketAddr,
    gateway: Option<SocketAddr>,
    service: Arc<Service>,
    host: Option<Host>,
    /// Set when the node stops, for work that nobody waits for.
    ending: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Opens the data directory and starts to listen.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: &Config) -> Result<Daemon, StartError> {
        let store = open_patiently(config).await?;
        let key = identity::load_or_create(&config.data_dir, &SystemEntropy)?;
        let ids = vec![identity::server_id(&key.public())];
        let peers = match &config.peers {
            Some(options) => Some(Host::start(options, &key).await?),
            None => None,
        };
        let (stop, _) = watch::channel(false);
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let mut names: Arc<dyn Names> =
            Arc::new(LocalNames::new(store.clone(), clock.clone(), config.max_daily_signups));
        let (mut driver, mut deciding) = (None, Vec::new());
        let network = config.network.as_ref().filter(|network| !network.witnesses.is_empty());
        if let (Some(network), Some((host, _))) = (network, &peers) {
            let (started, tasks) =
                Driver::start(network, &config.data_dir, key, store.clone(), host, clock.clone(), &stop)?;
            let local = LocalNames::new(store.clone(), clock.clone(), config.max_daily_signups);
            names = Arc::new(NetworkNames::new(started.clone(), local, store.clone(), entropy.clone()));
            (driver, deciding) = (Some(started), tasks);
        }
        let service = service_with_names(store, config, ids, names, clock.clone(), entropy.clone());
        let service = Arc::new(service);
        let homes = peers.as_ref().map(|(host, _)| Arc::new(Homes::new(service.clone(), Arc::new(host.clone()))));
        let mut daemon = Daemon::serve_until(config, service, homes, stop).await?;
        daemon.tasks.extend(deciding);
        if let Some((host, swarm)) = peers {
            let hosts = Hosts::new(daemon.address, &config.public_hosts, daemon.service.ids());
            let router = http::peer_router(daemon.service.clone(), Options::new(hosts, false));
            let calls = proxy::serve(host.clone(), router, daemon.stop.subscribe());
            daemon.tasks.extend([tokio::spawn(swarm.run(daemon.stop.subscribe())), tokio::spawn(calls)]);
            daemon.host = Some(host);
        }
        let mut mirrors = None;
        if let Some(host) = &daemon.host {
            let (service, stop) = (daemon.service.clone(), daemon.stop.subscribe());
            let started = Arc::new(Mirrors::new(service.clone(), host.clone(), clock.clone()));
            let blocks = source::serve(service.clone(), host.accept(source::PROTOCOL), stop.clone());
            let gossip = Arc::new(host.clone());
            let notices = notices::publish(service, gossip, clock.clone(), entropy.clone(), stop.clone());
            let following = started.clone().run_until(stop);
            daemon.tasks.extend([tokio::spawn(blocks), tokio::spawn(notices), tokio::spawn(following)]);
            mirrors = Some(started);
        }
        match control::bind(&config.data_dir) {
            Ok(listener) => {
                let node = control::Node {
                    service: daemon.service.clone(),
                    host: daemon.host.clone(),
                    names: driver,
                    mirrors,
                    ending: daemon.ending.clone(),
                };
                let orders = control::serve(listener, node, daemon.stop.subscribe());
                daemon.tasks.push(tokio::spawn(orders));
            }
            // The node can do without: only commands that want to reach it while it runs cannot.
            Err(error) => tracing::warn!(%error, "no control socket in {}", config.data_dir.display()),
        }
        if let Some(every) = config.collect_every {
            let (service, ending) = (daemon.service.clone(), daemon.ending.clone());
            let collector = collector::run(service, every, ending, daemon.stop.subscribe());
            daemon.tasks.push(tokio::spawn(collector));
        }
        Ok(daemon)
    }

    /// Starts to listen for a service, whatever it stores in. For tests and programs that embed a node.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub async fn serve(config: &Config, service: Arc<Service>) -> Result<Daemon, StartError> {
        Daemon::serve_until(config, service, None, watch::channel(false).0).await
    }

    async fn serve_until(
        config: &Config,
        service: Arc<Service>,
        homes: Option<Arc<Homes>>,
        stop: watch::Sender<bool>,
    ) -> Result<Daemon, StartError> {
        let (listener, address) = bind(config.listen).await?;
        let hosts = Hosts::new(address, &config.public_hosts, service.ids());
        let router = http::router(service.clone(), Options::new(hosts, config.public), homes);
        let mut tasks = vec![tokio::spawn(http::server::serve(listener, router, stop.subscribe()))];
        let mut gateway = None;
        if let Some(listen) = config.gateway_listen {
            let (listener, address) = bind(listen).await?;
            let router = http::gateway::router(
                service.clone(),
                Hosts::new(address, &config.gateway_hosts, &[]),
                http::gateway::Limits::default(),
            );
            tasks.push(tokio::spawn(http::server::serve(listener, router, stop.subscribe())));
            gateway = Some(address);
        }
        Ok(Daemon { address, gateway, service, host: None, ending: Arc::default(), stop, tasks })
    }

    /// Where the node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where browsers get published files, if anywhere.
    pub fn gateway(&self) -> Option<SocketAddr> {
        self.gateway
    }

    /// The node's decisions, without a socket.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// This node among others, if it has anything to do with them.
    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// Takes no more requests, finishes those in work, closes the store.
    pub async fn stop(self) {
        self.ending.store(true, Ordering::Relaxed);
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the node ended in a panic");
            }
        }
        // The store closes with its last user, on a thread that may block.
        let service = self.service;
        let _ = tokio::task::spawn_blocking(move || drop(service)).await;
    }

    /// Runs until it is told to stop, or cannot go on, then stops.
    ///
    /// # Errors
    /// [`Ended`]: whoever started the node should start it again, since a database that failed looks at its files when it
    /// is opened.
    pub async fn run(self, mut signals: Signals) -> Result<(), Ended> {
        let ended = tokio::select! {
            () = signals.arrived() => Ok(()),
            () = self.broken() => Err(Ended::Broken),
        };
        match &ended {
            Ok(()) => tracing::info!("stopping"),
            Err(reason) => tracing::error!("stopping: {reason}"),
        }
        self.stop().await;
        ended
    }

    /// Waits until the store takes no more writes.
    async fn broken(&self) {
        while !self.service.is_broken() {
            tokio::time::sleep(PULSE).await;
        }
    }
}

/// The signals that end a node: SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them from now on. To be called before anybody learns that the node runs: until then they kill the process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn catch() -> io::Result<Self> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    pub async fn arrived(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
