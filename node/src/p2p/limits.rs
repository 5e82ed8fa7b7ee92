//! Limits that libp2p does not have: connections of one address, and gossip that one node passes on.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::address::ip;

/// Connections that one address may have, and those of them that have not yet proved who they are.
const MAX_CONNECTIONS_OF_ADDRESS: usize = 128;
const MAX_PENDING_OF_ADDRESS: usize = 16;

/// Incoming connections by address. Those from this computer are not counted.
#[derive(Default)]
pub(super) struct OfAddress {
    open: HashMap<ConnectionId, (IpAddr, bool)>,
    /// Pending and all.
    counts: HashMap<IpAddr, (usize, usize)>,
}

/// An address has all the connections that it may have.
#[derive(Debug, thiserror::Error)]
#[error("too many connections from {0}")]
struct TooMany(IpAddr);

impl OfAddress {
    fn begin(&mut self, connection: ConnectionId, address: IpAddr) -> Result<(), TooMany> {
        let (pending, all) = self.counts.entry(address).or_default();
        if *pending >= MAX_PENDING_OF_ADDRESS || *all >= MAX_CONNECTIONS_OF_ADDRESS {
            return Err(TooMany(address));
        }
        (*pending, *all) = (*pending + 1, *all + 1);
        self.open.insert(connection, (address, true));
        Ok(())
    }

    fn establish(&mut self, connection: ConnectionId) {
        let Some((address, is_pending)) = self.open.get_mut(&connection) else { return };
        if std::mem::take(is_pending)
            && let Some((pending, _)) = self.counts.get_mut(address)
        {
            *pending -= 1;
        }
    }

    fn end(&mut self, connection: ConnectionId) {
        self.establish(connection);
        let Some((address, _)) = self.open.remove(&connection) else { return };
        if let Some((_, all)) = self.counts.get_mut(&address) {
            *all -= 1;
            if *all == 0 {
                self.counts.remove(&address);
            }
        }
    }
}

impl NetworkBehaviour for OfAddress {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        match ip(remote) {
            Some(address) if !address.is_loopback() => self.begin(connection, address).map_err(ConnectionDenied::new),
            _ => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.establish(connection);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.end(closed.connection_id),
            FromSwarm::ListenFailure(failure) => self.end(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// Bytes of gossip that one node may bring at once, and in a second after that. Each message counts for some bytes more,
/// for the work that it is.
const GOSSIP_BURST: u32 = 16 << 20;
const GOSSIP_RATE: u32 = 4 << 20;
const GOSSIP_MESSAGE: u32 = 1024;

/// What a node may still bring.
pub(super) struct Allowance {
    bytes: u32,
    at: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Allowance { bytes: GOSSIP_BURST, at: now }
    }

    /// Whether a message of so many bytes is within what its bearer may bring.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).min(Duration::from_secs(60));
        let earned = (passed.as_secs_f64() * f64::from(GOSSIP_RATE)) as u32;
        self.bytes = self.bytes.saturating_add(earned).min(GOSSIP_BURST);
        self.at = now;
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(GOSSIP_MESSAGE);
        let rest = self.bytes.checked_sub(cost);
        self.bytes = rest.unwrap_or(self.bytes);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_of_connections() {
        let mut limit = OfAddress::default();
        let (near, far) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let id = ConnectionId::new_unchecked;
        for number in 0..MAX_PENDING_OF_ADDRESS {
            limit.begin(id(number), near).unwrap();
        }
        assert!(limit.begin(id(1000), near).is_err());
        limit.begin(id(1001), far).unwrap();
        limit.establish(id(0));
        limit.begin(id(1002), near).unwrap();
        for number in 2000..2000 + MAX_CONNECTIONS_OF_ADDRESS - MAX_PENDING_OF_ADDRESS - 1 {
            limit.establish(id(1002));
            limit.establish(id(number - 1));
            limit.begin(id(number), near).unwrap();
        }
        limit.establish(id(1));
        assert!(limit.begin(id(3000), near).is_err());
        (0..4000).for_each(|number| limit.end(id(number)));
        assert!(limit.counts.is_empty() && limit.open.is_empty());
    }

    #[test]
    fn gossip_has_a_rate() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let whole = (0..10_000).take_while(|_| allowance.take(64 << 10, start)).count();
        assert_eq!(whole, (GOSSIP_BURST / ((64 << 10) + GOSSIP_MESSAGE)) as usize);
        assert!(!allowance.take(64 << 10, start));
        let later = start + Duration::from_secs(1);
        let more = (0..10_000).take_while(|_| allowance.take(0, later)).count();
        assert!((4000..4500).contains(&more), "{more}");
        assert!(allowance.take(10 << 20, later + Duration::from_secs(3600)));
    }
}
