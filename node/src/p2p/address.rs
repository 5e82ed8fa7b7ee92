//! Where nodes are: multiaddresses, and the two names of a node (`spec/06` §3.1, §5.1).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use pyrgos_protocol::encoding::{Cid, Codec, Multihash};
use serde::{Deserialize, Serialize};

/// Most addresses that are taken from one message of another node.
const MAX_TAKEN: usize = 16;

/// A place on the network where a node listens, as in `/ip4/192.0.2.1/tcp/4001`, perhaps with the node that is there, as
/// in `…/p2p/12D3KooW…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(pub(super) Multiaddr);

/// A text is no address of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address of a node, which looks like /ip4/192.0.2.1/tcp/4001 or /dns4/example.org/udp/4001/quic-v1"
)]
pub struct AddressError(String);

impl Address {
    /// The node that the address says is there.
    pub fn node(&self) -> Option<Cid> {
        self.peer().as_ref().and_then(cid)
    }

    pub(super) fn peer(&self) -> Option<PeerId> {
        match self.0.iter().last() {
            Some(Protocol::P2p(peer)) => Some(peer),
            _ => None,
        }
    }

    /// Whether other computers reach it.
    pub(super) fn is_open(&self) -> bool {
        ip(&self.0).is_some_and(|ip| !ip.is_loopback())
    }

    /// Replaces a host name by the IP addresses that it has now. Other addresses stay what they are.
    pub(super) async fn resolve(self) -> Vec<Multiaddr> {
        let wanted = |ip: &IpAddr, protocol: &Protocol<'_>| match protocol {
            Protocol::Dns4(_) => ip.is_ipv4(),
            Protocol::Dns6(_) => ip.is_ipv6(),
            _ => true,
        };
        let Some(protocol) = self.0.iter().next().map(Protocol::acquire) else { return Vec::new() };
        let name = match &protocol {
            Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => name.to_string(),
            _ => return vec![self.0],
        };
        match tokio::net::lookup_host((name.as_str(), 0)).await {
            Ok(found) => {
                let ips = found.map(|socket| socket.ip()).filter(|ip| wanted(ip, &protocol)).take(MAX_TAKEN);
                ips.filter_map(|ip| self.0.replace(0, |_| Some(Protocol::from(ip)))).collect()
            }
            Err(error) => {
                tracing::debug!(%error, name, "a host name has no address");
                Vec::new()
            }
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError(text.to_owned());
        let address: Multiaddr = text.parse().map_err(|_| malformed())?;
        if is_dialable(&address) || is_named(&address) { Ok(Address(address)) } else { Err(malformed()) }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a node in claims.
pub(super) fn cid(peer: &PeerId) -> Option<Cid> {
    Multihash::from_bytes(&peer.to_bytes()).ok().map(|hash| Cid::new(Codec::Libp2pKey, hash))
}

/// The name of a node on the wire: the hash alone, whatever the codec before it.
pub(super) fn peer_id(node: &Cid) -> Option<PeerId> {
    PeerId::from_bytes(&node.hash().to_bytes()).ok()
}

/// The IP address that an address begins with.
pub(super) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

/// Whether what follows the host is TCP or QUIC, and nothing but the node after it, or the node that relays.
fn is_carried(address: &Multiaddr) -> bool {
    let mut rest = address.iter().skip(1);
    let is_carried = match rest.next() {
        Some(Protocol::Tcp(_)) => true,
        Some(Protocol::Udp(_)) => matches!(rest.next(), Some(Protocol::QuicV1)),
        _ => false,
    };
    let rest: Vec<Protocol<'_>> = rest.take(4).collect();
    is_carried
        && matches!(
            rest.as_slice(),
            [] | [Protocol::P2p(_)]
                | [Protocol::P2p(_), Protocol::P2pCircuit]
                | [Protocol::P2p(_), Protocol::P2pCircuit, Protocol::P2p(_)]
        )
}

/// Whether an address leads through another node.
pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// Whether an address needs no lookup.
pub(super) fn is_dialable(address: &Multiaddr) -> bool {
    ip(address).is_some() && is_carried(address)
}

fn is_named(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)))
        && is_carried(address)
}

/// Whether an address means the same node everywhere.
fn is_global(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast())
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            let is_local = first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80;
            !(ip.is_loopback() || is_local || ip.is_unspecified() || ip.is_multicast())
        }
    }
}

/// Of the addresses that a node says it has, those that may be tried. A node out on the Internet has no say about
/// addresses of the local network, or it could have us knock at doors there; and only a node of this computer is here: at
/// the loopback address of another one there is this node itself, which answers first, and with the wrong name.
pub(super) fn believable(claimed: Vec<Multiaddr>, seen_at: Option<&Multiaddr>) -> Vec<Multiaddr> {
    let seen_at = seen_at.and_then(ip);
    let is_neighbour = seen_at.is_none_or(|ip| !is_global(ip));
    let is_here = match seen_at {
        Some(ip) => ip.is_loopback(),
        None => claimed.iter().filter_map(ip).all(|ip| ip.is_loopback()),
    };
    let may_be = |address: &Multiaddr| {
        let ip = ip(address);
        is_dialable(address)
            && ip.is_some_and(|ip| {
                !ip.is_unspecified() && (is_here || !ip.is_loopback()) && (is_neighbour || is_global(ip))
            })
    };
    claimed.into_iter().filter(may_be).take(MAX_TAKEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "12D3KooWLdJAwPtyQ5RFnr9wGXsQzpf3P2SeqFbYkqbfVehLu4Ns";

    #[test]
    fn addresses_are_checked_when_they_are_read() {
        let good = [
            "/ip4/192.0.2.1/tcp/4001".to_owned(),
            "/ip6/::1/udp/4001/quic-v1".to_owned(),
            format!("/dns4/example.org/tcp/4001/p2p/{NODE}"),
            format!("/ip4/192.0.2.1/udp/1/quic-v1/p2p/{NODE}"),
            format!("/ip4/192.0.2.1/tcp/1/p2p/{NODE}/p2p-circuit/p2p/{NODE}"),
        ];
        for text in good {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            let node = address.node().map(|node| node.hash().to_base58());
            assert_eq!(node.is_some(), text.contains("p2p"));
            assert!(node.is_none_or(|node| node == NODE));
        }
        let bad =
            ["", "x", "/tcp/1", "/ip4/1.2.3.4", "/ip4/1.2.3.4/udp/1", "/dns4/a/tcp/1/ws", "/ip4/1.2.3.4/tcp/1/http"];
        bad.iter().for_each(|text| assert!(text.parse::<Address>().is_err(), "{text}"));
    }

    #[test]
    fn names_of_nodes_go_both_ways() {
        let node = Cid::from_server_id(NODE).unwrap();
        assert_eq!(cid(&peer_id(&node).unwrap()), Some(node));
    }

    #[test]
    fn a_stranger_has_no_say_about_the_local_network() {
        let parse = |text: &str| text.parse::<Multiaddr>().unwrap();
        let claimed = || {
            [
                "/ip4/10.0.0.1/tcp/22",
                "/ip4/203.0.113.9/tcp/1",
                "/ip4/0.0.0.0/tcp/1",
                "/ip4/127.0.0.1/tcp/1",
                "/ip6/fd00::1/tcp/1",
            ]
            .map(parse)
            .to_vec()
        };
        let far = believable(claimed(), Some(&parse("/ip4/198.51.100.1/tcp/4001")));
        assert_eq!(far, [parse("/ip4/203.0.113.9/tcp/1")]);
        let near = believable(claimed(), Some(&parse("/ip4/10.0.0.7/tcp/4001")));
        assert_eq!(near.len(), 3);
        // What is here is somebody else, unless the node is here, too, or nowhere else.
        assert!(!near.contains(&parse("/ip4/127.0.0.1/tcp/1")));
        assert_eq!(believable(claimed(), Some(&parse("/ip4/127.0.0.1/tcp/4001"))).len(), 4);
        assert_eq!(believable(claimed(), None).len(), 3);
        let here = vec![parse("/ip4/127.0.0.1/tcp/1"), parse("/ip4/127.0.0.1/udp/1/quic-v1")];
        assert_eq!(believable(here.clone(), None), here);
        let many = vec![parse("/ip4/203.0.113.9/tcp/1"); 1000];
        assert_eq!(believable(many, None).len(), MAX_TAKEN);
    }

    #[tokio::test]
    async fn host_names_are_looked_up() {
        let address: Address = format!("/dns4/localhost/tcp/7/p2p/{NODE}").parse().unwrap();
        let found = address.resolve().await;
        assert_eq!(found, [format!("/ip4/127.0.0.1/tcp/7/p2p/{NODE}").parse().unwrap()]);
    }
}
