//! The handle to the swarm: what the rest of the node calls.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::futures::future::{Either, select};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use pyrgos_protocol::api::{Request, Response};
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::SecretSigningKey;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::address::{cid, peer_id};
use super::behaviour::Access;
use super::streams::{Accepting, OpenError};
pub use super::swarm::Task;
use super::swarm::{Command, NoConnection, Subscription};
use super::{Address, Answer, Gossip, MAX_MESSAGE, PeerError, PeerStream, Peers, behaviour, proxy};

/// Orders that wait for the swarm.
const WAITING_COMMANDS: usize = 256;

/// Messages of a topic that wait to be read; more are dropped.
const WAITING_MESSAGES: usize = 256;

/// Time to find another node, to connect, and to agree on a protocol.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// After so long without an answer another connection is tried beside the one that is there: one with a node that was killed
/// looks alive for ten seconds more, also when the node runs again.
const STALLED: Duration = Duration::from_secs(1);

/// Why a stream was not opened that may be opened over a new connection.
const CLOSED: &str = "the connection closed";
const BROKE: &str = "the connection broke";

/// How a node takes part in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where other nodes can connect.
    pub listen: Vec<Address>,
    /// Where other nodes reach this one apart from that, as through a forwarded port. Known to be so: nobody tries it out.
    pub announce: Vec<Address>,
    /// Nodes to be connected with from the start, each with its identifier. This node may be among them, so that all nodes
    /// of a network can have the same list.
    pub bootstrap: Vec<Address>,
    /// If there are any, no other nodes may connect or be connected with.
    pub allowed: Vec<Cid>,
    /// Nodes that may not connect nor be connected with.
    pub blocked: Vec<Cid>,
    /// Look for nodes of the local network, and be found by them.
    pub looks_around: bool,
    /// File that remembers where other nodes were, for the next start; none to forget.
    pub book: Option<PathBuf>,
}

impl Options {
    /// Where nodes usually are: port 4001, TCP and QUIC (`spec/06` §5.1).
    pub fn usual_listen() -> Vec<Address> {
        let any = Multiaddr::from(Ipv4Addr::UNSPECIFIED);
        vec![
            Address(any.clone().with(Protocol::Tcp(4001))),
            Address(any.with(Protocol::Udp(4001)).with(Protocol::QuicV1)),
        ]
    }
}

/// The peer host could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address is taken, or not this computer's.
    #[error("cannot listen for other nodes on {address}: {reason}")]
    Listen {
        /// The address.
        address: Address,
        /// What the system said.
        reason: String,
    },
    /// A bootstrap address does not say which node is there.
    #[error("the bootstrap address {0} does not end with /p2p/ and the identifier of the node")]
    Nameless(Address),
    /// The library refused.
    #[error("cannot set up the network: {0}")]
    Setup(String),
}

/// A node that this one is connected with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedPeer {
    /// Its identifier, base58 of the bare hash.
    pub node: String,
    /// Where it is, for each connection.
    pub addresses: Vec<String>,
    /// Whether it opened the first of them.
    pub is_incoming: bool,
    /// What it says it is. Nothing proves it.
    pub agent: Option<String>,
    /// Time of a ping there and back.
    pub round_trip_micros: Option<u64>,
}

/// This node among others. Copies are the same node; its [`Task`] ends with the last of them, or when it is told to.
#[derive(Clone)]
pub struct Host {
    id: Cid,
    listening: Vec<Address>,
    commands: mpsc::Sender<Command>,
    subscriptions: mpsc::UnboundedSender<Subscription>,
    accepting: Accepting,
}

impl Host {
    /// Starts to listen. Nothing is answered before the task runs.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(options: &Options, key: &SecretSigningKey) -> Result<(Host, Task), StartError> {
        if let Some(nameless) = options.bootstrap.iter().find(|address| address.peer().is_none()) {
            return Err(StartError::Nameless(nameless.clone()));
        }
        // The seed; the public half follows it.
        let mut seed = Zeroizing::new(key.as_bytes()[..32].to_vec());
        let keypair =
            Keypair::ed25519_from_bytes(&mut seed[..]).map_err(|error| StartError::Setup(error.to_string()))?;
        let own = keypair.public().to_peer_id();
        let others = options.bootstrap.iter().filter(|address| address.peer() != Some(own)).cloned().collect();
        let accepting = Accepting::default();
        let access = Access {
            allowed: options.allowed.iter().filter_map(peer_id).collect(),
            blocked: options.blocked.iter().filter_map(peer_id).collect(),
            // A node that only this computer reaches has no business on the local network.
            looks_around: options.looks_around && options.listen.iter().any(Address::is_open),
        };
        let mut swarm = behaviour::swarm(keypair, accepting.clone(), access)?;
        options.announce.iter().for_each(|address| swarm.add_external_address(address.0.clone()));
        let (commands, orders) = mpsc::channel(WAITING_COMMANDS);
        let (subscriptions, topics) = mpsc::unbounded_channel();
        let mut task = Task::new(swarm, commands.downgrade(), orders, topics, others, options.book.clone());
        let listening = task.listen(&options.listen).await?;
        let id = crate::identity::server_id(&key.public());
        let host = Host { id, listening, commands, subscriptions, accepting };
        Ok((host, task))
    }

    /// This node's identifier.
    pub fn id(&self) -> &Cid {
        &self.id
    }

    /// Where other nodes can connect, each with this node's identifier.
    pub fn listening(&self) -> &[Address] {
        &self.listening
    }

    /// Streams of a protocol that other nodes open, with who opened them. At most 512 wait; further ones are closed,
    /// also when one node has 64 open here. Whoever accepts a protocol again takes it over.
    pub fn accept(&self, protocol: &'static str) -> mpsc::Receiver<(Cid, PeerStream)> {
        let mut incoming = self.accepting.accept(protocol);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = incoming.recv() => next,
                    () = sender.closed() => None,
                };
                let Some((peer, stream)) = next else { break };
                let Some(node) = cid(&peer) else { continue };
                let stream: PeerStream = Box::new(stream);
                if sender.send((node, stream)).await.is_err() {
                    break;
                }
            }
        });
        receiver
    }

    /// Tells where another node is. A host name is looked up now.
    pub async fn add_address(&self, node: &Cid, address: Address) {
        let Some(peer) = peer_id(node) else { return };
        for address in address.resolve().await {
            // The swarm has ended; nobody needs to know the address.
            let _ = self.commands.send(Command::AddAddress { peer, address }).await;
        }
    }

    /// The nodes that this one is connected with.
    pub async fn peers(&self) -> Vec<ConnectedPeer> {
        let (reply, answer) = oneshot::channel();
        match self.commands.send(Command::Peers(reply)).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// The identifiers of the nodes that this one is connected with.
    pub async fn connected(&self) -> HashSet<Cid> {
        self.peers().await.iter().filter_map(|peer| Cid::from_server_id(&peer.node).ok()).collect()
    }

    /// Whether this node is connected with another one.
    pub async fn is_connected(&self, node: &Cid) -> bool {
        let (Some(peer), (reply, answer)) = (peer_id(node), oneshot::channel()) else { return false };
        self.commands.send(Command::IsConnected(peer, reply)).await.is_ok() && answer.await.unwrap_or(false)
    }

    async fn open_once(&self, node: &Cid, protocol: &'static str, is_anew: bool) -> Result<PeerStream, PeerError> {
        let unreachable = |reason: &str| PeerError::Unreachable { node: node.clone(), reason: reason.to_owned() };
        let refused = |reason: String| PeerError::Refused { node: node.clone(), reason };
        let peer = peer_id(node).ok_or_else(|| unreachable("it is no identifier of a node"))?;
        if node.hash() == self.id.hash() {
            return Err(unreachable("it is this node itself"));
        }
        let (opened, stream) = oneshot::channel();
        let (reply, failed) = oneshot::channel();
        let command = Command::Open { peer, protocol, is_anew, opened, failed: reply };
        self.commands.send(command).await.map_err(|_| unreachable("this node is stopping"))?;
        match stream.await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(OpenError::Unsupported)) => Err(refused(format!("it does not speak {protocol}"))),
            // It has not heard what it was to be asked.
            Ok(Err(OpenError::Broken(error))) => Err(unreachable(&format!("{BROKE}: {error}"))),
            Err(_) => match failed.await {
                Ok(NoConnection(reason)) => Err(unreachable(&reason)),
                Err(_) => Err(unreachable(CLOSED)),
            },
        }
    }
}

impl Peers for Host {
    fn request<'a>(&'a self, node: &'a Cid, request: &'a Request) -> Answer<'a, Response> {
        Box::pin(async move {
            let stream = self.open(node, proxy::PROTOCOL).await?;
            proxy::request(node, stream, request).await
        })
    }

    fn open<'a>(&'a self, node: &'a Cid, protocol: &'static str) -> Answer<'a, PeerStream> {
        Box::pin(async move {
            let usual = pin!(async {
                match self.open_once(node, protocol, false).await {
                    // Nodes close connections that they do not use, perhaps just now (`spec/06` §4.7).
                    Err(PeerError::Unreachable { reason, .. }) if reason == CLOSED || reason.starts_with(BROKE) => {
                        self.open_once(node, protocol, false).await
                    }
                    outcome => outcome,
                }
            });
            let attempt = async {
                let mut usual = usual;
                if let Ok(outcome) = tokio::time::timeout(STALLED, usual.as_mut()).await {
                    return outcome;
                }
                let anew = pin!(self.open_once(node, protocol, true));
                match select(usual, anew).await {
                    Either::Left((Ok(stream), _)) | Either::Right((Ok(stream), _)) => Ok(stream),
                    Either::Left((Err(_), anew)) => anew.await,
                    Either::Right((Err(_), usual)) => usual.await,
                }
            };
            tokio::time::timeout(OPEN_TIMEOUT, attempt).await.unwrap_or_else(|_| {
                let reason = format!("no answer within {} s", OPEN_TIMEOUT.as_secs());
                Err(PeerError::Unreachable { node: node.clone(), reason })
            })
        })
    }
}

impl Gossip for Host {
    fn subscribe(&self, topic: &str) -> mpsc::Receiver<Vec<u8>> {
        let (messages, receiver) = mpsc::channel(WAITING_MESSAGES);
        // Without a swarm the receiver ends at once.
        let _ = self.subscriptions.send(Subscription { topic: topic.to_owned(), messages });
        receiver
    }

    fn publish(&self, topic: &str, message: Vec<u8>) {
        if message.len() > MAX_MESSAGE {
            tracing::warn!(topic, bytes = message.len(), "a message is too long for gossip");
            return;
        }
        if self.commands.try_send(Command::Publish { topic: topic.to_owned(), message }).is_err() {
            tracing::debug!(topic, "a message was dropped: too much is being published");
        }
    }
}
