//! Streams of our own protocols as a libp2p behaviour.
//!
//! Not `libp2p-stream`: that one drops a stream that comes in while the one before it has not been picked up, which many
//! calls at once over one connection do all the time; and it opens one stream after the other.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::UpgradeInfo;
use libp2p::core::{Endpoint, InboundUpgrade, Multiaddr, OutboundUpgrade};
use libp2p::futures::future::{Ready, ready};
use libp2p::futures::{AsyncRead as _, AsyncWrite as _};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

use super::address::is_relayed;

/// Most streams that one node may have open here at once, over all its connections.
pub(super) const MAX_STREAMS_OF_PEER: usize = 64;

/// Streams of one protocol that wait to be picked up: those of some nodes that each open all they may.
const WAITING_STREAMS: usize = 512;

/// Why no stream was opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The other node does not speak the protocol.
    Unsupported,
    /// The connection broke or stalled.
    Broken(io::Error),
}

/// Where to send what was opened.
pub(super) type Opened = oneshot::Sender<Result<PeerIo, OpenError>>;

/// Takers by protocol.
type Takers = HashMap<StreamProtocol, mpsc::Sender<(PeerId, PeerIo)>>;

/// Who takes the streams of which protocol.
#[derive(Clone, Default)]
pub(super) struct Accepting(Arc<Mutex<Takers>>);

impl Accepting {
    fn lock(&self) -> MutexGuard<'_, Takers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on streams of this protocol come in until the receiver is dropped; one that took them before gets no more.
    pub(super) fn accept(&self, protocol: &'static str) -> mpsc::Receiver<(PeerId, PeerIo)> {
        let (sender, receiver) = mpsc::channel(WAITING_STREAMS);
        self.lock().insert(StreamProtocol::new(protocol), sender);
        receiver
    }

    fn protocols(&self) -> Vec<StreamProtocol> {
        let mut accepting = self.lock();
        accepting.retain(|_, sender| !sender.is_closed());
        accepting.keys().cloned().collect()
    }

    fn hand_over(&self, peer: PeerId, protocol: &StreamProtocol, stream: PeerIo) {
        if let Some(sender) = self.lock().get(protocol)
            && sender.try_send((peer, stream)).is_err()
        {
            tracing::debug!(%peer, %protocol, "a stream was refused: too many wait");
        }
    }
}

/// One stream of a node; it counts until this is dropped.
struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(count: &Arc<AtomicUsize>) -> Option<Held> {
        let more = |count: usize| (count < MAX_STREAMS_OF_PEER).then_some(count + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Held(count.clone()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream for tokio.
pub(super) struct PeerIo {
    stream: Stream,
    _held: Option<Held>,
}

impl AsyncRead for PeerIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf.initialize_unfilled());
        read.map_ok(|count| buf.advance(count))
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// Asks a connection for a stream.
pub(super) struct Open {
    protocol: StreamProtocol,
    opened: Opened,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Open").field(&self.protocol).finish()
    }
}

/// The connections of one node.
#[derive(Default)]
struct Connections {
    /// Each with whether it goes through a relay.
    open: Vec<(ConnectionId, bool)>,
    streams: Arc<AtomicUsize>,
}

/// Opens and accepts streams.
pub(super) struct Behaviour {
    accepting: Accepting,
    connections: HashMap<PeerId, Connections>,
    orders: VecDeque<ToSwarm<Infallible, Open>>,
    waker: Option<Waker>,
}

impl Behaviour {
    pub(super) fn new(accepting: Accepting) -> Self {
        Behaviour { accepting, connections: HashMap::new(), orders: VecDeque::new(), waker: None }
    }

    /// Opens a stream over a connection that is there; of several, the newest direct one: a node that was started again has
    /// forgotten the others. Without one, `opened` is dropped.
    pub(super) fn open(&mut self, peer: PeerId, protocol: &'static str, opened: Opened) {
        let Some(connections) = self.connections.get(&peer) else { return };
        let newest_first = connections.open.iter().rev();
        let Some((connection, _)) = newest_first.min_by_key(|(_, is_relayed)| *is_relayed) else { return };
        self.orders.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(*connection),
            event: Open { protocol: StreamProtocol::new(protocol), opened },
        });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn established(&mut self, connection: ConnectionId, peer: PeerId, address: &Multiaddr) -> Handler {
        let is_relayed = is_relayed(address);
        let connections = self.connections.entry(peer).or_default();
        connections.open.push((connection, is_relayed));
        Handler {
            peer,
            accepting: self.accepting.clone(),
            streams: connections.streams.clone(),
            wanted: VecDeque::new(),
            waker: None,
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.established(connection, peer, remote))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.established(connection, peer, remote))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let (peer, connection) = match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => (peer_id, connection_id),
            // Another behaviour refused the connection after this one had made a handler for it.
            FromSwarm::ListenFailure(failure) => match failure.peer_id {
                Some(peer) => (peer, failure.connection_id),
                None => return,
            },
            FromSwarm::DialFailure(failure) => match failure.peer_id {
                Some(peer) => (peer, failure.connection_id),
                None => return,
            },
            _ => return,
        };
        if let Some(connections) = self.connections.get_mut(&peer) {
            connections.open.retain(|(open, _)| *open != connection);
            if connections.open.is_empty() {
                self.connections.remove(&peer);
            }
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.orders.pop_front() {
            Some(order) => Poll::Ready(order),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The streams of one connection.
pub(super) struct Handler {
    peer: PeerId,
    accepting: Accepting,
    streams: Arc<AtomicUsize>,
    wanted: VecDeque<Open>,
    waker: Option<Waker>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opened;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer(self.accepting.protocols()), ())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Offer, Opened, Infallible>> {
        match self.wanted.pop_front() {
            Some(Open { protocol, opened }) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Offer(vec![protocol]), opened),
            }),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn on_behaviour_event(&mut self, open: Open) {
        self.wanted.push_back(open);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Offer, (), Opened>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol), ..
            }) => match Held::new(&self.streams) {
                Some(held) => {
                    let stream = PeerIo { stream, _held: Some(held) };
                    self.accepting.hand_over(self.peer, &protocol, stream);
                }
                None => tracing::debug!(peer = %self.peer, %protocol, "a stream was refused: too many are open"),
            },
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info: opened,
            }) => {
                // Nobody may wait any more; then the stream closes.
                let _ = opened.send(Ok(PeerIo { stream, _held: None }));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: opened, error }) => {
                let error = match error {
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Timeout => OpenError::Broken(io::ErrorKind::TimedOut.into()),
                    StreamUpgradeError::Io(error) => OpenError::Broken(error),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = opened.send(Err(error));
            }
            _ => {}
        }
    }
}

/// Agrees on one of some protocols, and on nothing else.
pub(super) struct Offer(Vec<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
