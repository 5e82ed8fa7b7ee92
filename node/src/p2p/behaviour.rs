//! What libp2p does for us, and how much of it: the protocols of `spec/06` §5.2 with their limits.

use std::num::NonZeroUsize;
use std::time::Duration;

use libp2p::gossipsub::{
    self, AllowAllSubscriptionFilter, IdentityTransform, MaxCountSubscriptionFilter, MessageAuthenticity, MessageId,
    ValidationMode,
};
use libp2p::identity::Keypair;
use libp2p::kad::{self, store::MemoryStore};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, StreamProtocol};
use libp2p::{PeerId, Swarm, SwarmBuilder, autonat, dcutr, identify, mdns, noise, ping, relay, tcp, yamux};
use libp2p_allow_block_list::{self as allow_block_list, AllowedPeers, BlockedPeers};
use libp2p_connection_limits::{self as connection_limits, ConnectionLimits};
use pyrgos_protocol::encoding::Multihash;

use super::MAX_MESSAGE;
use super::host::StartError;
use super::limits::OfAddress;
use super::streams::{self, Accepting};
use crate::service::clock::{Entropy, SystemEntropy};

/// Connections at once, and those of them that others may open.
const MAX_CONNECTIONS: u32 = 1280;
const MAX_INCOMING: u32 = 1024;

/// Connections that are being made.
const MAX_PENDING: u32 = 128;

/// Connections of one node: one each way, one of each transport, and as many of before it was started again, which are only
/// known to be dead when they have been silent for a while.
const MAX_CONNECTIONS_OF_PEER: u32 = 8;

/// Streams of one connection, of all protocols. Each may fill 256 KiB before anybody reads it.
const MAX_STREAMS_OF_CONNECTION: usize = 128;

/// Streams of one connection that have not yet said which protocol they are.
const MAX_NEGOTIATING: usize = 32;

/// How long a connection lives that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Topics that another node may tell us it follows.
const MAX_TOPICS_OF_PEER: usize = 256;

/// Gossip that waits to be sent to one node; more is dropped.
const MAX_GOSSIP_QUEUE: usize = 64;

/// What gossip adds to a message on its way, at most.
const GOSSIP_OVERHEAD: usize = 1024;

/// For how long a message is known, so that it is not passed on again.
const GOSSIP_MEMORY: Duration = Duration::from_secs(120);

/// Time for one search for a node.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(8);

/// Nodes behind a NAT for which this one passes connections on, and what one of these may carry (`spec/06` §5.4).
const MAX_RESERVATIONS: usize = 5;
const MAX_RELAYED_BYTES: u64 = 1 << 20;

/// All protocols. The limits come first: what they refuse, the others never see.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    addresses: OfAddress,
    allowed: Toggle<allow_block_list::Behaviour<AllowedPeers>>,
    blocked: allow_block_list::Behaviour<BlockedPeers>,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) kademlia: kad::Behaviour<MemoryStore>,
    pub(super) gossip: Gossip,
    pub(super) streams: streams::Behaviour,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    relay: relay::Behaviour,
    relayed: relay::client::Behaviour,
    hole_punching: dcutr::Behaviour,
    pub(super) reachable: autonat::v2::client::Behaviour,
    reaching: autonat::v2::server::Behaviour,
}

/// Who may connect.
#[derive(Default)]
pub(super) struct Access {
    /// If there are any, only these.
    pub(super) allowed: Vec<PeerId>,
    /// None of these.
    pub(super) blocked: Vec<PeerId>,
    /// Whether nodes of the local network are looked for.
    pub(super) looks_around: bool,
}

type Gossip = gossipsub::Behaviour<IdentityTransform, MaxCountSubscriptionFilter<AllowAllSubscriptionFilter>>;

/// A swarm that does not listen yet.
pub(super) fn swarm(keypair: Keypair, accepting: Accepting, access: Access) -> Result<Swarm<Behaviour>, StartError> {
    let setup = |error: &dyn std::fmt::Display| StartError::Setup(error.to_string());
    let gossip = gossip().map_err(StartError::Setup)?;
    let muxer = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS_OF_CONNECTION);
        config
    };
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, muxer)
        .map_err(|error| setup(&error))?
        .with_quic_config(|mut config| {
            config.max_concurrent_stream_limit = MAX_STREAMS_OF_CONNECTION as u32;
            // As much as a line of 100 Mbit/s holds in 300 ms.
            config.max_stream_data = 4 << 20;
            config.max_connection_data = 8 << 20;
            config
        })
        .with_relay_client(noise::Config::new, muxer)
        .map_err(|error| setup(&error))?
        .with_behaviour(|keypair, relayed| Behaviour {
            limits: connection_limits::Behaviour::new(limits()),
            addresses: OfAddress::default(),
            allowed: allowed(&access.allowed),
            blocked: blocked(&access.blocked),
            identify: identify::Behaviour::new(identify_config(keypair)),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(30))),
            kademlia: kademlia(keypair),
            gossip,
            streams: streams::Behaviour::new(accepting),
            mdns: mdns(keypair, access.looks_around),
            relay: relay::Behaviour::new(keypair.public().to_peer_id(), relay_config()),
            relayed,
            hole_punching: dcutr::Behaviour::new(keypair.public().to_peer_id()),
            reachable: autonat::v2::client::Behaviour::default(),
            reaching: autonat::v2::server::Behaviour::default(),
        })
        .map_err(|error| setup(&error))?
        .with_swarm_config(|config| {
            config.with_idle_connection_timeout(IDLE_TIMEOUT).with_max_negotiating_inbound_streams(MAX_NEGOTIATING)
        })
        .build();
    Ok(swarm)
}

fn allowed(peers: &[PeerId]) -> Toggle<allow_block_list::Behaviour<AllowedPeers>> {
    let list = (!peers.is_empty()).then(|| {
        let mut list = allow_block_list::Behaviour::<AllowedPeers>::default();
        peers.iter().for_each(|peer| {
            list.allow_peer(*peer);
        });
        list
    });
    Toggle::from(list)
}

fn blocked(peers: &[PeerId]) -> allow_block_list::Behaviour<BlockedPeers> {
    let mut list = allow_block_list::Behaviour::<BlockedPeers>::default();
    peers.iter().for_each(|peer| {
        list.block_peer(*peer);
    });
    list
}

/// A machine without multicast can do without.
fn mdns(keypair: &Keypair, is_wanted: bool) -> Toggle<mdns::tokio::Behaviour> {
    let made = is_wanted.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), keypair.public().to_peer_id()));
    let made = made.transpose().unwrap_or_else(|error| {
        tracing::warn!(%error, "nodes of the local network cannot be looked for");
        None
    });
    Toggle::from(made)
}

fn relay_config() -> relay::Config {
    relay::Config {
        max_reservations: MAX_RESERVATIONS,
        max_reservations_per_peer: 1,
        max_circuit_bytes: MAX_RELAYED_BYTES,
        ..relay::Config::default()
    }
}

fn limits() -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING))
        .with_max_pending_outgoing(Some(MAX_PENDING))
        .with_max_established_incoming(Some(MAX_INCOMING))
        .with_max_established(Some(MAX_CONNECTIONS))
        .with_max_established_per_peer(Some(MAX_CONNECTIONS_OF_PEER))
}

/// With a number that is another one at each start. A node that was killed and runs again looks to the others as if it had
/// one more connection; what they told it before, such as the topics that they follow, they would not tell it again.
fn identify_config(keypair: &Keypair) -> identify::Config {
    let mut start = [0; 4];
    SystemEntropy.fill(&mut start);
    let agent = format!("{}/{:08x}", concat!("pyrgos/", env!("CARGO_PKG_VERSION")), u32::from_be_bytes(start));
    identify::Config::new("ipfs/0.1.0".to_owned(), keypair.public())
        .with_agent_version(agent)
        .with_push_listen_addr_updates(true)
        // The address book is the swarm task's own.
        .with_cache_size(0)
}

/// Finds nodes, and nothing else: what others want stored is not stored, and no block is ever announced.
fn kademlia(keypair: &Keypair) -> kad::Behaviour<MemoryStore> {
    let id = keypair.public().to_peer_id();
    let mut config = kad::Config::new(StreamProtocol::new("/ipfs/kad/1.0.0"));
    config
        .set_query_timeout(LOOKUP_TIMEOUT)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_kbucket_size(NonZeroUsize::new(20).unwrap_or(NonZeroUsize::MIN));
    let mut kademlia = kad::Behaviour::with_config(id, MemoryStore::new(id), config);
    kademlia.set_mode(Some(kad::Mode::Server));
    kademlia
}

/// Messages without author and number: who passes one on may have written it or not.
fn gossip() -> Result<Gossip, String> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message| {
            let bytes = [message.topic.as_str().as_bytes(), &[0], &message.data].concat();
            MessageId::from(Multihash::sha256_of(&bytes).digest().to_vec())
        })
        // A message goes on only once it is known that its bearer has not sent too many.
        .validate_messages()
        .max_transmit_size(MAX_MESSAGE + GOSSIP_OVERHEAD)
        .duplicate_cache_time(GOSSIP_MEMORY)
        .connection_handler_queue_len(MAX_GOSSIP_QUEUE)
        // Whoever sends to everybody it knows, and not only to its mesh as those do that pass a message on, shows that it
        // is the author.
        .flood_publish(false)
        .build()
        .map_err(|error| error.to_string())?;
    let filter = MaxCountSubscriptionFilter {
        filter: AllowAllSubscriptionFilter {},
        max_subscribed_topics: MAX_TOPICS_OF_PEER,
        max_subscriptions_per_request: MAX_TOPICS_OF_PEER,
    };
    gossipsub::Behaviour::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)
        .map_err(str::to_owned)
}
