//! Nodes that mean harm, over real sockets on loopback: whatever one does, others are answered meanwhile.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{DeniedUpgrade, ReadyUpgrade};
use libp2p::futures::{AsyncWriteExt as _, StreamExt};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour, Stream,
    StreamProtocol, SubstreamProtocol, SwarmEvent, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, noise, tcp, yamux};
use pyrgos::config::{Settings, SignupPolicy};
use pyrgos::daemon::Daemon;
use pyrgos::p2p::{Address, Host, Peers};
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::storage::GetServerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn node(bootstrap: &[Address]) -> (Daemon, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
    let settings = Settings {
        data_dir: Some(folder.path().to_owned()),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        signup: Some(SignupPolicy::Open),
        p2p_listen: Some(listen.map(|address| address.parse().unwrap()).to_vec()),
        bootstrap: Some(bootstrap.to_vec()),
        ..Settings::default()
    };
    (Daemon::start(&settings.resolve().unwrap()).await.unwrap(), folder)
}

/// Where a node's TCP, or its UDP, socket is.
fn socket(host: &Host, protocol: &str) -> SocketAddr {
    let texts = host.listening().iter().map(Address::to_string);
    let text = texts.into_iter().find(|text| text.contains(protocol)).unwrap();
    SocketAddr::from(([127, 0, 0, 1], text.split('/').nth(4).unwrap().parse().unwrap()))
}

/// A friend is answered, twenty times, each time soon.
async fn is_served(host: &Host, friend: &Host) {
    for _ in 0..20 {
        let start = Instant::now();
        let answer = friend.request(host.id(), &GetServerId.request()).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

/// Opens as many streams as it can, says something on each, and keeps them.
struct Flood {
    streams: usize,
    say: &'static [u8],
}

struct FloodHandler {
    left: usize,
    say: &'static [u8],
    opened: VecDeque<usize>,
    kept: Vec<Stream>,
}

impl NetworkBehaviour for Flood {
    type ConnectionHandler = FloodHandler;
    type ToSwarm = usize;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(FloodHandler { left: 0, say: self.say, opened: VecDeque::new(), kept: Vec::new() })
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(FloodHandler { left: self.streams, say: self.say, opened: VecDeque::new(), kept: Vec::new() })
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, _: THandlerOutEvent<Self>) {}

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<usize, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

impl ConnectionHandler for FloodHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = usize;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), usize>> {
        if let Some(opened) = self.opened.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(opened));
        }
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        let upgrade = ReadyUpgrade::new(StreamProtocol::new("/http"));
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol: SubstreamProtocol::new(upgrade, ()) })
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, DeniedUpgrade, ReadyUpgrade<StreamProtocol>, (), ()>) {
        if let ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: mut stream, .. }) = event {
            let say = self.say;
            // It fits the buffer of the stream, so this does not wait.
            let _ = libp2p::futures::executor::block_on(async { stream.write_all(say).await });
            self.kept.push(stream);
            self.opened.push_back(self.kept.len());
        }
    }
}

fn flood(say: &'static [u8], to: &Host) -> Swarm<Flood> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, || {
            let mut config = yamux::Config::default();
            config.set_max_num_streams(4000);
            config
        })
        .unwrap()
        .with_behaviour(|_| Flood { streams: 1000, say })
        .unwrap()
        .build();
    let at: Multiaddr =
        to.listening().iter().find(|at| at.to_string().contains("/tcp/")).unwrap().to_string().parse().unwrap();
    swarm.dial(at).unwrap();
    swarm
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_of_one_node_keep_nobody_waiting() {
    let (victim, _folder) = node(&[]).await;
    let victim = victim.host().unwrap().clone();
    let (friend, _other) = node(victim.listening()).await;
    let friend = friend.host().unwrap().clone();
    is_served(&victim, &friend).await;
    // Nothing, half a head, a body that never comes, and a head without end.
    let sayings: [&'static [u8]; 4] = [
        b"",
        b"POST /api/v0/id HTTP/1.1\r\nhost: ",
        b"POST /peergos/v0/core/getChain HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n",
        &[b'a'; 100_000],
    ];
    let attackers = sayings.map(|say| {
        let mut swarm = flood(say, &victim);
        tokio::spawn(async move {
            let mut ended = false;
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionClosed { .. } => ended = true,
                    SwarmEvent::ConnectionEstablished { .. } => ended = false,
                    _ => {}
                }
                if ended {
                    // Cut off: it comes again.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    break;
                }
            }
        })
    });
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        is_served(&victim, &friend).await;
    }
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    is_served(&victim, &friend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_silence_end() {
    let (victim, _folder) = node(&[]).await;
    let victim = victim.host().unwrap().clone();
    let (friend, _other) = node(victim.listening()).await;
    let friend = friend.host().unwrap().clone();
    is_served(&victim, &friend).await;
    let (tcp, udp) = (socket(&victim, "/tcp/"), socket(&victim, "/udp/"));

    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(tcp).await.unwrap());
    }
    let datagrams = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for size in 0..1200_usize {
        let noise: Vec<u8> = (0..size).map(|i| (i * 31 + size) as u8).collect();
        datagrams.send_to(&noise, udp).await.unwrap();
    }
    for garbage in [
        b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff\xff\xff".as_slice(),
        &[0xff; 100_000],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(tcp).await.unwrap();
        let _ = stream.write_all(garbage).await;
        let mut answer = Vec::new();
        // A reset is an end too.
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "garbage is listened to for ever");
        assert!(answer.len() < 1000);
    }
    // A newcomer gets in meanwhile.
    let (newcomer, _third) = node(victim.listening()).await;
    is_served(&victim, newcomer.host().unwrap()).await;

    // Silence ends: of a connection, and of a call.
    let mut call = friend.open(victim.id(), "/http").await.unwrap();
    call.write_all(b"POST /api").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), call.read_to_end(&mut answer)).await.unwrap().unwrap();
    for mut stream in silent {
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
    }
    is_served(&victim, &friend).await;
}
