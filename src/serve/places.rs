//! Places: a bounded number of clients that do the same, such as those that wait for their turn.
//! One peer does not get all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::sync::lock;

use super::peer::Peer;

/// A number of places. Clients without a peer are those of a framework, which the user has to
/// bound.
pub(super) struct ClientPlaces {
    limit: usize,
    /// The places that each peer may have even if most are taken.
    share: usize,
    /// Written by clients that take a place, and by those that leave it.
    taken: Mutex<HashMap<Option<Peer>, usize>>,
}

/// One of some places. Dropping it leaves the place.
pub(super) struct ClientPlace {
    peer: Option<Peer>,
    places: Arc<ClientPlaces>,
}

impl ClientPlaces {
    pub(super) fn new(limit: usize, share: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            share,
            taken: Mutex::default(),
        })
    }

    /// Takes a place. Returns `None` if all are taken, or if half of them are and this peer has its
    /// share.
    pub(super) fn take(self: &Arc<Self>, peer: Option<Peer>) -> Option<ClientPlace> {
        let mut taken = lock(&self.taken);
        let all: usize = taken.values().sum();
        let own = taken.get(&peer).copied().unwrap_or(0);
        let has_share = peer.is_some() && own >= self.share;
        if all >= self.limit || has_share && 2 * all >= self.limit {
            return None;
        }
        taken.insert(peer, own + 1);
        let places = Arc::clone(self);
        Some(ClientPlace { peer, places })
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        match taken.get_mut(&self.peer) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = taken.remove(&self.peer),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn peer(ip: &str) -> Option<Peer> {
        Some(Peer::of((ip.parse::<IpAddr>().unwrap(), 1).into()))
    }

    #[test]
    fn one_peer_gets_half_and_leaves_the_rest_to_others() {
        let places = ClientPlaces::new(8, 2);
        let mut all: Vec<_> = (0..4).map(|_| places.take(peer("::1")).unwrap()).collect();
        assert!(places.take(peer("::1")).is_none());
        for ip in ["127.0.0.2", "127.0.0.2", "127.0.0.3"] {
            all.push(places.take(peer(ip)).unwrap());
        }
        assert!(places.take(peer("::ffff:127.0.0.2")).is_none());
        all.push(places.take(None).unwrap());
        assert!(places.take(peer("127.0.0.4")).is_none() && places.take(None).is_none());
        drop(all);
        assert!(lock(&places.taken).is_empty());
    }
}
