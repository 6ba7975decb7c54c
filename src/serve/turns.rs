//! Turns: who waits for work that a bounded number of threads does, and who shares its result.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

use crate::sync::lock;

use super::peer::Peer;

/// The turns of work, of which so many run at once. Requests get theirs in the order in which they
/// came. But one peer waits for no more turns than run at once, and its further requests wait
/// behind these. So a request of another peer waits for about one turn, however many one peer
/// wants.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    all: Arc<Semaphore>,
    /// Those of the peer, for which these turns are.
    own: Option<Arc<Semaphore>>,
    /// Those of all peers that work or wait.
    peers: Arc<Mutex<HashMap<Peer, Weak<Semaphore>>>>,
    limit: usize,
}

/// One turn, which a peer has of all and of its own. Dropping it ends the turn.
pub(super) type Turn = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Turns {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limit)),
            own: None,
            peers: Arc::default(),
            limit,
        }
    }

    /// Returns the turns of this peer.
    pub(super) fn of(&self, peer: Option<Peer>) -> Self {
        let mut turns = self.clone();
        turns.own = peer.map(|peer| {
            let mut peers = lock(&self.peers);
            let known = peers.get(&peer).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                peers.retain(|_, own| own.strong_count() > 0);
                let own = Arc::new(Semaphore::new(self.limit));
                peers.insert(peer, Arc::downgrade(&own));
                own
            })
        });
        turns
    }

    /// Waits for a turn. Returns `None` if there are no more, which does not happen.
    pub(super) async fn take(&self) -> Option<Turn> {
        let own = match &self.own {
            Some(own) => Some(Arc::clone(own).acquire_owned().await.ok()?),
            None => None,
        };
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some((all, own))
    }
}

/// Runs work that blocks: on the runtime's blocking threads, or on the current thread if there is
/// no runtime. The function that `work` gets returns `false` after this future was dropped, because
/// the request has timed out or its client has disconnected. Returns an error if the work panics.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
) -> Result<T, JoinError> {
    let waiting = Arc::new(());
    let waiter = Arc::downgrade(&waiting);
    let work = move || work(&|| waiter.strong_count() > 0);
    let done = match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await,
        Err(_) => Ok(work()),
    };
    drop(waiting);
    done
}

/// A value that those have in common who hold it at the same time. It is dropped with the last one.
#[derive(Debug, Default)]
pub(super) struct Common<T>(Mutex<Weak<T>>);

impl<T: Default> Common<T> {
    /// Returns the value that others hold, or a new one.
    pub(super) fn join(&self) -> Arc<T> {
        let mut common = lock(&self.0);
        common.upgrade().unwrap_or_else(|| {
            let first = Arc::default();
            *common = Arc::downgrade(&first);
            first
        })
    }
}

#[cfg(all(test, feature = "serve", not(loom)))]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// A stranger with 256 requests made an honest scraper wait for 256 turns.
    #[test]
    fn one_peer_holds_up_another_for_one_turn() {
        let turns = Turns::new(2);
        let peer = |ip: [u8; 4]| Some(Peer::of((ip, 1).into()));
        let (stranger, honest) = (
            turns.of(peer([192, 0, 2, 1])),
            turns.of(peer([192, 0, 2, 2])),
        );
        let mut context = Context::from_waker(Waker::noop());
        let mut wanted: Vec<_> = (0..256).map(|_| Box::pin(stranger.take())).collect();
        let mut working: Vec<_> = wanted
            .iter_mut()
            .filter_map(|wanted| match wanted.as_mut().poll(&mut context) {
                Poll::Ready(turn) => turn,
                Poll::Pending => None,
            })
            .collect();
        assert_eq!(working.len(), 2);
        let mut turn = Box::pin(honest.take());
        assert!(turn.as_mut().poll(&mut context).is_pending());
        working.pop();
        assert!(turn.as_mut().poll(&mut context).is_ready());
    }
}
