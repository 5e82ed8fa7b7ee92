//! The one task that drives libp2p: orders in, streams, messages and answers out.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, TopicHash};
use libp2p::kad::{self, GetClosestPeersError, GetClosestPeersOk, PeerInfo, QueryId, QueryResult};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, PeerAddresses, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, autonat, identify, mdns, ping, relay};
use tokio::sync::{mpsc, oneshot, watch};

use super::Address;
use super::address::{believable, is_dialable, is_relayed};
use super::behaviour::{Behaviour, BehaviourEvent};
use super::book;
use super::host::{ConnectedPeer, StartError};
use super::limits::Allowance;
use super::streams::Opened;

/// Nodes whose addresses are remembered, ten of each (`spec/06` §4.7).
const MAX_KNOWN: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Nodes that are looked for at once, and requests that wait for one of them.
const MAX_SOUGHT: usize = 256;
const MAX_WAITING: usize = 64;

/// How often nodes of the bootstrap list are dialled that are not connected.
const BOOTSTRAP_INTERVAL: Duration = Duration::from_secs(10);

/// How often it is written down where the connected nodes are, and of each how many addresses.
const BOOK_INTERVAL: Duration = Duration::from_secs(60);
const MAX_KEPT_OF_PEER: usize = 4;

/// Nodes of the last time that are dialled at the start.
const MAX_REMEMBERED: usize = 32;

/// Relays that a node asks which cannot be reached (`spec/06` §5.4).
const MAX_RELAYS: usize = 2;

/// Nodes of the local network that are connected with without being asked for.
const MAX_NEIGHBOURS: usize = 64;

/// Longest description of itself that is kept of another node, in characters.
const MAX_AGENT: usize = 64;

/// What the swarm is asked to do.
pub(super) enum Command {
    /// Open a stream, and connect first where needed, or in any case if `is_anew`. Without a connection `failed` says why and
    /// `opened` is dropped.
    Open { peer: PeerId, protocol: &'static str, is_anew: bool, opened: Opened, failed: oneshot::Sender<NoConnection> },
    /// Send a message to who follows a topic.
    Publish { topic: String, message: Vec<u8> },
    /// Remember where a node is.
    AddAddress { peer: PeerId, address: Multiaddr },
    /// Remember where a node of the bootstrap list is, and connect.
    Bootstrap { peer: PeerId, addresses: Vec<Multiaddr> },
    /// List the connected nodes.
    Peers(oneshot::Sender<Vec<ConnectedPeer>>),
    /// Tell whether a node is connected.
    IsConnected(PeerId, oneshot::Sender<bool>),
}

/// Why there is no connection.
pub(super) struct NoConnection(pub(super) String);

/// Somebody wants the messages of a topic.
pub(super) struct Subscription {
    pub(super) topic: String,
    pub(super) messages: mpsc::Sender<Vec<u8>>,
}

/// A stream that waits for a connection.
struct Waiting {
    protocol: &'static str,
    opened: Opened,
    failed: oneshot::Sender<NoConnection>,
}

/// How far the search for a node is.
enum Search {
    /// At addresses that were known.
    Dialling(ConnectionId),
    /// Others are being asked where it is.
    Asking(QueryId),
    /// At addresses that others told.
    DiallingTold(ConnectionId),
    /// It answered, beside connections that were there already; whether these are of before it was started again is told by
    /// what it says of itself.
    Identifying(ConnectionId),
}

/// A node that is looked for.
struct Sought {
    search: Search,
    waiting: Vec<Waiting>,
}

/// A node that is connected.
struct Connected {
    connections: Vec<(ConnectionId, ConnectedPoint)>,
    gossip: Allowance,
    /// Whether it passes connections on to nodes that cannot be reached.
    is_relay: bool,
    agent: Option<String>,
    round_trip: Option<Duration>,
}

/// The swarm and what it knows of others.
pub struct Task {
    swarm: Swarm<Behaviour>,
    /// For answers of what it started itself.
    own: mpsc::WeakSender<Command>,
    commands: mpsc::Receiver<Command>,
    subscriptions: mpsc::UnboundedReceiver<Subscription>,
    bootstrap: Vec<Address>,
    book: PeerAddresses,
    /// Where the book is kept, and what is written there.
    kept: Option<(PathBuf, Vec<Address>)>,
    sought: HashMap<PeerId, Sought>,
    connected: HashMap<PeerId, Connected>,
    /// Nodes that were started again, whose connections are being closed to be made anew.
    returning: HashSet<PeerId>,
    topics: HashMap<TopicHash, Vec<mpsc::Sender<Vec<u8>>>>,
    /// Whether somebody tried to connect from outside and could not.
    is_hidden: bool,
    /// Who passes connections on to this node.
    reservations: HashMap<ListenerId, PeerId>,
}

impl Task {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        own: mpsc::WeakSender<Command>,
        commands: mpsc::Receiver<Command>,
        subscriptions: mpsc::UnboundedReceiver<Subscription>,
        bootstrap: Vec<Address>,
        kept: Option<PathBuf>,
    ) -> Self {
        let mut book = PeerAddresses::new(MAX_KNOWN);
        // Those with host names are looked up once the task runs.
        let kept = kept.map(|path| {
            let remembered = book::read(&path);
            (path, remembered)
        });
        let remembered = kept.iter().flat_map(|(_, addresses)| addresses);
        for address in bootstrap.iter().chain(remembered).filter(|address| is_dialable(&address.0)) {
            if let Some(peer) = address.peer() {
                book.add(peer, address.0.clone());
            }
        }
        Task {
            swarm,
            own,
            commands,
            subscriptions,
            bootstrap,
            book,
            kept,
            sought: HashMap::new(),
            connected: HashMap::new(),
            returning: HashSet::new(),
            topics: HashMap::new(),
            is_hidden: false,
            reservations: HashMap::new(),
        }
    }

    /// Listens, and waits until it does. Gives the addresses with this node's identifier.
    pub(super) async fn listen(&mut self, addresses: &[Address]) -> Result<Vec<Address>, StartError> {
        let mut listening = Vec::new();
        for address in addresses {
            let failed = |reason: String| StartError::Listen { address: address.clone(), reason };
            let id = self.swarm.listen_on(address.0.clone()).map_err(|error| failed(error.to_string()))?;
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == id => break,
                    SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == id => {
                        let reason = reason.err().map_or_else(|| "it closed".to_owned(), |error| error.to_string());
                        return Err(failed(reason));
                    }
                    event => self.on_event(event),
                }
            }
        }
        let own = *self.swarm.local_peer_id();
        let named = self.swarm.listeners().filter_map(|address| address.clone().with_p2p(own).ok());
        listening.extend(named.map(Address));
        Ok(listening)
    }

    /// Runs until `stop` says true, or nobody holds a handle any more.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut bootstrap = tokio::time::interval(BOOTSTRAP_INTERVAL);
        bootstrap.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut keep = tokio::time::interval_at(tokio::time::Instant::now() + BOOK_INTERVAL, BOOK_INTERVAL);
        keep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.dial_remembered();
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                Some(subscription) = self.subscriptions.recv() => self.subscribe(subscription),
                _ = bootstrap.tick() => self.look_after(),
                _ = keep.tick() => self.keep_book(),
                () = crate::http::server::stopped(&mut stop) => break,
            }
        }
        self.keep_book();
    }

    /// Connects with those that were there when this node last ran.
    fn dial_remembered(&mut self) {
        let Some((_, remembered)) = &self.kept else { return };
        let own = *self.swarm.local_peer_id();
        let mut peers: Vec<PeerId> = remembered.iter().filter_map(Address::peer).filter(|peer| *peer != own).collect();
        peers.dedup();
        for peer in peers.into_iter().take(MAX_REMEMBERED) {
            let known: Vec<Multiaddr> = self.book.get(&peer).collect();
            known.iter().for_each(|address| {
                self.swarm.behaviour_mut().kademlia.add_address(&peer, address.clone());
            });
            if let Err(error) = self.swarm.dial(DialOpts::peer_id(peer).addresses(known).build()) {
                tracing::debug!(%peer, %error, "a node of the last time was not dialled");
            }
        }
    }

    /// Writes down where the connected nodes are, if that has changed. Alone, a node keeps what it knew.
    fn keep_book(&mut self) {
        let mut peers: Vec<PeerId> = self.connected.keys().copied().collect();
        peers.sort();
        let mut addresses = Vec::new();
        for peer in peers {
            let direct = self.book.get(&peer).filter(|address| !is_relayed(address)).take(MAX_KEPT_OF_PEER);
            let mut direct: Vec<Multiaddr> = direct.filter_map(|address| address.with_p2p(peer).ok()).collect();
            direct.sort();
            addresses.extend(direct.into_iter().map(Address));
        }
        addresses.truncate(book::MAX_KEPT);
        let Some((path, kept)) = &mut self.kept else { return };
        if addresses.is_empty() || *kept == addresses {
            return;
        }
        // A few kilobytes once in a while, and nothing waits for them but this task.
        match book::write(path, &addresses) {
            Ok(()) => *kept = addresses,
            Err(error) => tracing::warn!(%error, "cannot write {}", path.display()),
        }
    }

    /// Connects with those of the bootstrap list that are away, and forgets topics that nobody reads.
    fn look_after(&mut self) {
        let away = |address: &&Address| address.peer().is_some_and(|peer| !self.connected.contains_key(&peer));
        let away: Vec<Address> = self.bootstrap.iter().filter(away).cloned().collect();
        if let (false, Some(own)) = (away.is_empty(), self.own.upgrade()) {
            // Looking names up takes its time.
            tokio::spawn(async move {
                let mut found: HashMap<PeerId, Vec<Multiaddr>> = HashMap::new();
                for address in away {
                    let Some(peer) = address.peer() else { continue };
                    found.entry(peer).or_default().extend(address.resolve().await);
                }
                for (peer, addresses) in found {
                    let _ = own.send(Command::Bootstrap { peer, addresses }).await;
                }
            });
        }
        self.look_for_relays();
        let mut unread = Vec::new();
        self.topics.retain(|topic, readers| {
            readers.retain(|reader| !reader.is_closed());
            if readers.is_empty() {
                unread.push(topic.clone());
            }
            !readers.is_empty()
        });
        unread.into_iter().for_each(|topic| {
            self.swarm.behaviour_mut().gossip.unsubscribe(&IdentTopic::new(topic.into_string()));
        });
    }

    fn subscribe(&mut self, Subscription { topic, messages }: Subscription) {
        let topic = IdentTopic::new(topic);
        match self.swarm.behaviour_mut().gossip.subscribe(&topic) {
            Ok(_) => self.topics.entry(topic.hash()).or_default().push(messages),
            Err(error) => tracing::warn!(%topic, ?error, "a topic cannot be followed"),
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Open { peer, protocol, is_anew, opened, failed } => {
                self.open(peer, is_anew, Waiting { protocol, opened, failed });
            }
            Command::Publish { topic, message } => {
                if let Err(error) = self.swarm.behaviour_mut().gossip.publish(IdentTopic::new(&topic), message) {
                    tracing::debug!(topic, %error, "a message was not sent");
                }
            }
            Command::AddAddress { peer, address } => {
                self.book.add(peer, address);
            }
            Command::Bootstrap { peer, addresses } => {
                for address in &addresses {
                    self.book.add(peer, address.clone());
                    self.swarm.behaviour_mut().kademlia.add_address(&peer, address.clone());
                }
                let options = DialOpts::peer_id(peer).addresses(addresses).build();
                if let Err(error) = self.swarm.dial(options) {
                    tracing::debug!(%peer, %error, "a node of the bootstrap list was not dialled");
                }
            }
            // Whoever asked may have gone.
            Command::Peers(reply) => drop(reply.send(self.peers())),
            Command::IsConnected(peer, reply) => drop(reply.send(self.connected.contains_key(&peer))),
        }
    }

    fn peers(&self) -> Vec<ConnectedPeer> {
        let mut peers: Vec<ConnectedPeer> =
            self.connected.iter().map(|(peer, connected)| connected.shown(peer)).collect();
        peers.sort_by(|a, b| a.node.cmp(&b.node));
        peers
    }

    fn open(&mut self, peer: PeerId, is_anew: bool, waiting: Waiting) {
        if !is_anew && self.connected.contains_key(&peer) {
            self.swarm.behaviour_mut().streams.open(peer, waiting.protocol, waiting.opened);
            return;
        }
        if let Some(sought) = self.sought.get_mut(&peer) {
            sought.waiting.retain(|waiting| !waiting.opened.is_closed());
            match sought.waiting.len() {
                MAX_WAITING.. => waiting.fail("too many requests wait for it"),
                _ => sought.waiting.push(waiting),
            }
            return;
        }
        if self.sought.len() >= MAX_SOUGHT {
            return waiting.fail("too many nodes are looked for at once");
        }
        let known = self.known(&peer);
        let search = self.search(peer, known);
        self.sought.insert(peer, Sought { search, waiting: vec![waiting] });
    }

    /// Begins at the addresses that are known, and without any asks others.
    fn search(&mut self, peer: PeerId, known: Vec<Multiaddr>) -> Search {
        let dialled = if known.is_empty() { None } else { self.dial(peer, known) };
        match dialled {
            Some(connection) => Search::Dialling(connection),
            None => Search::Asking(self.swarm.behaviour_mut().kademlia.get_closest_peers(peer)),
        }
    }

    /// Where a node may be. What the bootstrap list says stays true also when the node was away.
    fn known(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        let mut known: Vec<Multiaddr> = self.book.get(peer).collect();
        let listed = self.bootstrap.iter().filter(|address| address.peer() == Some(*peer) && is_dialable(&address.0));
        for Address(address) in listed {
            if !known.contains(address) {
                known.push(address.clone());
            }
        }
        known
    }

    /// Dials a node at some addresses; none if that is refused at once.
    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) -> Option<ConnectionId> {
        // Also while it is being dialled for another reason, perhaps at other addresses.
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => Some(connection),
            Err(error) => {
                tracing::debug!(%peer, %error, "not dialled");
                None
            }
        }
    }

    /// A dial came to nothing.
    fn on_dial_failed(&mut self, peer: PeerId, connection: ConnectionId, error: &DialError) {
        match error {
            DialError::Transport(failures) => failures.iter().for_each(|(address, _)| {
                self.book.remove(&peer, address);
            }),
            DialError::WrongPeerId { address, .. } => {
                self.book.remove(&peer, address);
            }
            _ => {}
        }
        match self.sought.get(&peer).map(|sought| &sought.search) {
            Some(Search::Dialling(own)) if *own == connection => {
                let others: Vec<Multiaddr> = match error {
                    // Who answered first ended the dial, so that the other addresses were not tried.
                    DialError::WrongPeerId { .. } => self.book.get(&peer).collect(),
                    _ => Vec::new(),
                };
                let search = self.search(peer, others);
                if let Some(sought) = self.sought.get_mut(&peer) {
                    sought.search = search;
                }
            }
            Some(Search::DiallingTold(own)) if *own == connection => self.give_up(&peer, &reason(error)),
            _ => {}
        }
    }

    /// A search for a node has ended.
    fn on_told(&mut self, query: QueryId, told: Vec<PeerInfo>) {
        let is_this = |sought: &Sought| matches!(sought.search, Search::Asking(own) if own == query);
        let Some(peer) = self.sought.iter().find(|(_, sought)| is_this(sought)).map(|(peer, _)| *peer) else { return };
        let addresses = told.into_iter().find(|info| info.peer_id == peer).map(|info| believable(info.addrs, None));
        let addresses = addresses.unwrap_or_default();
        if addresses.is_empty() {
            return self.give_up(&peer, "nobody knows where it is");
        }
        match (self.dial(peer, addresses), self.sought.get_mut(&peer)) {
            (Some(connection), Some(sought)) => sought.search = Search::DiallingTold(connection),
            _ => self.give_up(&peer, "it cannot be dialled now"),
        }
    }

    fn give_up(&mut self, peer: &PeerId, reason: &str) {
        let Some(sought) = self.sought.remove(peer) else { return };
        sought.waiting.into_iter().for_each(|waiting| waiting.fail(reason));
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identify(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source: bearer,
                message_id,
                message,
            })) => {
                let within = self
                    .connected
                    .get_mut(&bearer)
                    .is_some_and(|bearer| bearer.gossip.take(message.data.len(), Instant::now()));
                let acceptance = if within { MessageAcceptance::Accept } else { MessageAcceptance::Ignore };
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &bearer, acceptance);
                if !within {
                    tracing::debug!(%bearer, "a message was dropped: its bearer brings too many");
                    return;
                }
                let readers = self.topics.get(&message.topic).map(Vec::as_slice).unwrap_or_default();
                for reader in readers {
                    if let Err(mpsc::error::TrySendError::Full(_)) = reader.try_send(message.data.clone()) {
                        tracing::debug!(topic = %message.topic, "a message was dropped: its reader is slow");
                    }
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
                id,
                result: QueryResult::GetClosestPeers(result),
                step,
                ..
            })) if step.last => {
                let told = match result {
                    Ok(GetClosestPeersOk { peers, .. }) | Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                self.on_told(id, told);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => self.on_neighbours(found),
            SwarmEvent::Behaviour(BehaviourEvent::Reachable(autonat::v2::client::Event { result: Err(_), .. })) => {
                self.is_hidden = true;
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let connected = self.connected.entry(peer_id).or_insert_with(Connected::new);
                connected.connections.push((connection_id, endpoint));
                match (connected.connections.len(), self.sought.get_mut(&peer_id)) {
                    (2.., Some(sought)) => sought.search = Search::Identifying(connection_id),
                    _ => self.found(&peer_id),
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                let Some(connected) = self.connected.get_mut(&peer_id) else { return };
                connected.connections.retain(|(id, _)| *id != connection_id);
                let is_last = connected.connections.is_empty();
                if is_last {
                    self.connected.remove(&peer_id);
                }
                if is_last && self.returning.remove(&peer_id) {
                    self.come_back(peer_id);
                } else if let Some(Search::Identifying(own)) = self.sought.get(&peer_id).map(|sought| &sought.search)
                    && *own == connection_id
                    && !self.returning.contains(&peer_id)
                {
                    self.give_up(&peer_id, "it closed the connection at once");
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), connection_id, error } => {
                tracing::debug!(%peer, %error, "cannot connect");
                self.on_dial_failed(peer, connection_id, &error);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed"),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => match self.reservations.remove(&listener_id) {
                Some(relay) => tracing::debug!(%relay, ?reason, "a relay gave up"),
                None => tracing::error!(?reason, "a listener closed"),
            },
            _ => {}
        }
    }

    fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { connection_id, peer_id: peer, info } = event else { return };
        let Some(connected) = self.connected.get_mut(&peer) else { return };
        let agent: String = info.agent_version.chars().take(MAX_AGENT).collect();
        let was = connected.agent.replace(agent.clone());
        let seen =
            connected.connections.iter().find(|(id, _)| *id == connection_id).map(|(_, at)| at.get_remote_address());
        let addresses = believable(info.listen_addrs, seen);
        let is_relay = info.protocols.contains(&relay::HOP_PROTOCOL_NAME);
        if let Some(connected) = self.connected.get_mut(&peer) {
            connected.is_relay = is_relay;
        }
        let kademlia = &mut self.swarm.behaviour_mut().kademlia;
        let is_server = info.protocols.iter().any(|protocol| kademlia.protocol_names().contains(protocol));
        for address in addresses {
            if is_server {
                kademlia.add_address(&peer, address.clone());
            }
            self.book.add(peer, address);
        }
        if is_restart(was.as_deref(), &agent) {
            tracing::debug!(%peer, "a node was started again: connecting anew");
            self.returning.insert(peer);
            // Not connected is what was wanted.
            let _ = self.swarm.disconnect_peer_id(peer);
        } else if let Some(Search::Identifying(own)) = self.sought.get(&peer).map(|sought| &sought.search)
            && *own == connection_id
        {
            self.found(&peer);
        }
    }

    /// A node that was looked for is connected: what waits for it goes on.
    fn found(&mut self, peer: &PeerId) {
        let Some(sought) = self.sought.remove(peer) else { return };
        let streams = &mut self.swarm.behaviour_mut().streams;
        sought.waiting.into_iter().for_each(|waiting| streams.open(*peer, waiting.protocol, waiting.opened));
    }

    /// Connects with a node whose connections were closed since it was started again.
    fn come_back(&mut self, peer: PeerId) {
        let known = self.known(&peer);
        let search = self.search(peer, known);
        match self.sought.get_mut(&peer) {
            Some(sought) => sought.search = search,
            None => drop(self.sought.insert(peer, Sought { search, waiting: Vec::new() })),
        }
    }

    /// Nodes of the local network.
    fn on_neighbours(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        for (peer, address) in found.into_iter().take(MAX_NEIGHBOURS) {
            for address in believable(vec![address], None) {
                self.book.add(peer, address);
            }
            if self.connected.len() < MAX_NEIGHBOURS && !self.connected.contains_key(&peer) {
                let known = self.book.get(&peer).collect();
                // Not if it is being dialled already, which the next one of its addresses would cause.
                if let Err(error) = self.swarm.dial(DialOpts::peer_id(peer).addresses(known).build()) {
                    tracing::debug!(%peer, %error, "a neighbour was not dialled");
                }
            }
        }
    }

    /// A node that others cannot reach asks two of those it knows to pass connections on.
    fn look_for_relays(&mut self) {
        let is_reached = self.swarm.external_addresses().any(|address| !is_relayed(address));
        if is_reached || !self.is_hidden {
            return;
        }
        let own = *self.swarm.local_peer_id();
        let is_free = |peer: &PeerId| !self.reservations.values().any(|relay| relay == peer);
        let free: Vec<PeerId> = self.connected.iter().filter(|(_, at)| at.is_relay).map(|(peer, _)| *peer).collect();
        let free: Vec<PeerId> = free.into_iter().filter(is_free).collect();
        for relay in free.into_iter().take(MAX_RELAYS.saturating_sub(self.reservations.len())) {
            let direct = self.book.get(&relay).find(|address| !is_relayed(address));
            let Some(through) = direct.map(|address| address.with(Protocol::P2pCircuit)) else { continue };
            match self.swarm.listen_on(through) {
                Ok(listener) => {
                    tracing::debug!(%own, %relay, "asking a relay to pass connections on");
                    self.reservations.insert(listener, relay);
                }
                Err(error) => tracing::debug!(%relay, %error, "no relay"),
            }
        }
    }

    fn on_ping(&mut self, ping::Event { peer, connection, result }: ping::Event) {
        match result {
            Ok(round_trip) => {
                if let Some(connected) = self.connected.get_mut(&peer) {
                    connected.round_trip = Some(round_trip);
                }
            }
            Err(ping::Failure::Unsupported) => {}
            // Whoever needs the node dials it again, instead of waiting for a connection that is dead.
            Err(error) => {
                tracing::debug!(%peer, %error, "closing a connection that does not answer");
                self.swarm.close_connection(connection);
            }
        }
    }
}

impl Waiting {
    fn fail(self, reason: &str) {
        // Whoever asked may have gone.
        let _ = self.failed.send(NoConnection(reason.to_owned()));
    }
}

impl Connected {
    fn new() -> Self {
        Connected {
            connections: Vec::new(),
            gossip: Allowance::new(Instant::now()),
            is_relay: false,
            agent: None,
            round_trip: None,
        }
    }

    fn shown(&self, peer: &PeerId) -> ConnectedPeer {
        ConnectedPeer {
            node: peer.to_base58(),
            addresses: self.connections.iter().map(|(_, at)| at.get_remote_address().to_string()).collect(),
            is_incoming: self.connections.first().is_some_and(|(_, at)| at.is_listener()),
            agent: self.agent.as_deref().map(|agent| shown_agent(agent).to_owned()),
            round_trip_micros: self.round_trip.map(|time| time.as_micros() as u64),
        }
    }
}

/// Begins what nodes of our kind say of themselves; the version follows, and a number that differs at each start.
const OURS: &str = "pyrgos/";

/// Whether a node of our kind that said one thing of itself says another now.
fn is_restart(was: Option<&str>, agent: &str) -> bool {
    was.is_some_and(|was| was != agent && was.starts_with(OURS) && agent.starts_with(OURS))
}

/// What is shown of it: without the number.
fn shown_agent(agent: &str) -> &str {
    match agent.rsplit_once('/') {
        Some((shown, _)) if agent.starts_with(OURS) && shown.contains('/') => shown,
        _ => agent,
    }
}

/// Why a node cannot be reached, in few words.
fn reason(error: &DialError) -> String {
    match error {
        DialError::Transport(failures) => match failures.first() {
            Some((address, _)) if failures.len() == 1 => format!("{address} does not answer"),
            Some((address, _)) => format!("{address} and {} other addresses do not answer", failures.len() - 1),
            None => "no address is known".to_owned(),
        },
        DialError::WrongPeerId { address, .. } => format!("another node is at {address}"),
        error => error.to_string(),
    }
}
