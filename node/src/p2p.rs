//! Other nodes: what the rest of this node knows of them.
//!
//! A node is named by its identifier as it stands in claims: a CIDv1 with the codec libp2p-key (`spec/06` §3.1). Only the
//! rooms below know what carries the bytes.

pub mod address;
mod behaviour;
mod book;
pub mod host;
mod limits;
pub mod network;
pub mod proxy;
mod streams;
mod swarm;

use std::future::Future;
use std::pin::Pin;

use pyrgos_protocol::api::{Request, Response};
use pyrgos_protocol::encoding::Cid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

pub use address::Address;
pub use host::{ConnectedPeer, Host, Options};
pub use network::Network;

/// Longest message that goes around by [`Gossip`], in bytes.
pub const MAX_MESSAGE: usize = 64 << 10;

/// A future that does not borrow more than its maker.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, PeerError>> + Send + 'a>>;

/// A stream of bytes to or from one other node: ordered, encrypted, its other end authenticated.
pub type PeerStream = Box<dyn Duplex>;

/// Both directions of a stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Why another node did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// No connection: no address is known, or none answers. The other node has not seen the request.
    #[error("cannot reach the node {node}: {reason}")]
    Unreachable {
        /// Its identifier.
        node: Cid,
        /// What was tried.
        reason: String,
    },
    /// It is there, but does not speak the protocol or closed the stream.
    #[error("the node {node} refused: {reason}")]
    Refused {
        /// Its identifier.
        node: Cid,
        /// What it said.
        reason: String,
    },
    /// It answered something that is no answer.
    #[error("the node {node} gave a wrong answer: {reason}")]
    Wrong {
        /// Its identifier.
        node: Cid,
        /// What is wrong.
        reason: String,
    },
    /// It did not answer in time; it may have done what was asked.
    #[error("the node {node} did not answer in time")]
    Timeout {
        /// Its identifier.
        node: Cid,
    },
}

/// Reaches other nodes.
pub trait Peers: Send + Sync {
    /// Sends one call of the interface and brings the answer, whatever its status (`/http`, `spec/06` §4.5).
    fn request<'a>(&'a self, node: &'a Cid, request: &'a Request) -> Answer<'a, Response>;

    /// Opens a stream of a protocol, for example `/pyrgos/sync/1`.
    fn open<'a>(&'a self, node: &'a Cid, protocol: &'static str) -> Answer<'a, PeerStream>;
}

/// Messages to whoever wants them, passed on from node to node. Nobody can tell from a message who wrote it, and nothing
/// says that it arrives: what must be known is asked for again.
pub trait Gossip: Send + Sync {
    /// The messages of a topic from now on, each once within two minutes, those of this node excepted. Bounded: what
    /// comes in while the receiver is full is lost. The topic is followed until the receiver is dropped.
    fn subscribe(&self, topic: &str) -> mpsc::Receiver<Vec<u8>>;

    /// Sends a message of at most [`MAX_MESSAGE`] bytes to who follows a topic. Longer ones are not sent.
    fn publish(&self, topic: &str, message: Vec<u8>);
}
