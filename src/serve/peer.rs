//! The identity of a client, as far as fairness between clients goes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The host of a client, as far as fairness between clients goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An IPv4 address, or the 64 bits of an IPv6 address that name its network, because a host may
    /// have all addresses of its network.
    Host(IpAddr),
    /// All clients of Unix sockets, which are processes of this machine.
    Unix,
}

impl Peer {
    /// Returns the peer at this address.
    ///
    /// ```
    /// use tallies::serve::Peer;
    ///
    /// let one = Peer::of("[2001:db8::1]:80".parse().unwrap());
    /// assert_eq!(one, Peer::of("[2001:db8::2]:443".parse().unwrap()));
    /// ```
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        Self::Host(match address.ip().to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            ip => ip,
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn peer(ip: &str) -> Option<Peer> {
        Some(Peer::of((ip.parse::<IpAddr>().unwrap(), 1).into()))
    }

    #[test]
    fn a_network_is_one_peer() {
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:2"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }
}
