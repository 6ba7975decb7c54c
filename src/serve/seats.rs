//! The seats that connections take: a bounded number, and when all are taken the one that was idle for longest goes.
//!
//! A connection is *waiting* for its next request (or for its handshake), its page is being *made*, or it is *writing*.
//! A new connection, or a page that needs memory, may evict one that waits, the longest idle first; then one that has been
//! writing for longest, if that is long enough to call its reader slow. A page that is being made is never given up: its
//! work goes on anyway.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A reader that has had a page for so long may be evicted for others.
const SLOW: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// For a handshake or for a request.
    Waiting,
    /// A page is being made.
    Making,
    /// An answer is being taken.
    Writing,
}

/// All seats of a service.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
    next: AtomicU64,
    freed: Notify,
}

/// One connection's. It is given back on drop of its [`Taken`].
#[derive(Debug)]
pub(super) struct Seat {
    state: Mutex<(State, Instant)>,
    is_evicted: AtomicBool,
    evicted: Notify,
}

pub(super) struct Taken {
    pub(super) seat: Arc<Seat>,
    number: u64,
    seats: Arc<Seats>,
}

impl Seat {
    fn new() -> Self {
        Self {
            state: Mutex::new((State::Waiting, Instant::now())),
            is_evicted: AtomicBool::new(false),
            evicted: Notify::new(),
        }
    }

    /// Notes what the connection does from now on.
    pub(super) fn set(&self, state: State) {
        *lock(&self.state) = (state, Instant::now());
    }

    /// The answer was taken whole.
    pub(super) fn written(&self) {
        let mut state = lock(&self.state);
        if state.0 == State::Writing {
            *state = (State::Waiting, Instant::now());
        }
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.is_evicted.load(Relaxed)
    }

    /// Waits until another connection needs this seat.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn evict(&self) {
        self.is_evicted.store(true, Relaxed);
        // Kept for who waits later.
        self.evicted.notify_one();
    }
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
            next: AtomicU64::new(0),
            freed: Notify::new(),
        })
    }

    /// A seat for a connection; where there is none, that of one that is evicted. Waits where pages are being made for all.
    pub(super) async fn take(self: &Arc<Self>) -> Taken {
        loop {
            let freed = self.freed.notified();
            {
                let mut taken = lock(&self.taken);
                // Those that are evicted are on their way out.
                let held = taken.values().filter(|seat| !seat.is_evicted()).count();
                if held < self.most || evict_one(&taken, |_| true) {
                    let number = self.next.fetch_add(1, Relaxed);
                    let seat = Arc::new(Seat::new());
                    taken.insert(number, Arc::clone(&seat));
                    let seats = Arc::clone(self);
                    return Taken {
                        seat,
                        number,
                        seats,
                    };
                }
            }
            freed.await;
        }
    }

    /// Evicts the slowest reader of an answer, for the memory of its page; `false` where none is slow.
    pub(super) fn evict_a_reader(&self) -> bool {
        evict_one(&lock(&self.taken), |state| state == State::Writing)
    }
}

fn evict_one(taken: &HashMap<u64, Arc<Seat>>, wanted: impl Fn(State) -> bool) -> bool {
    let now = Instant::now();
    let seats = taken.values().filter(|seat| !seat.is_evicted());
    let may_go = seats.filter_map(|seat| {
        let (state, since) = *lock(&seat.state);
        let idle = now.saturating_duration_since(since);
        let rank = match state {
            State::Waiting => 1,
            State::Writing if idle >= SLOW => 0,
            State::Writing | State::Making => return None,
        };
        wanted(state).then_some(((rank, idle), seat))
    });
    let longest = may_go.max_by_key(|(rank, _)| *rank);
    longest.map(|(_, seat)| seat.evict()).is_some()
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock(&self.seats.taken).remove(&self.number);
        self.seats.freed.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_goes_then_the_slowest_reader_and_no_page_that_is_made() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let seats = Seats::new(4);
            let mut all = Vec::new();
            for _ in 0..4 {
                all.push(seats.take().await);
                tokio::time::advance(Duration::from_secs(2)).await;
            }
            all[0].seat.set(State::Making);
            all[1].seat.set(State::Writing);
            tokio::time::advance(Duration::from_secs(2)).await;
            let evicted = |all: &[Taken]| -> Vec<bool> {
                all.iter().map(|taken| taken.seat.is_evicted()).collect()
            };
            // The third waits for longest, then the fourth.
            let fifth = seats.take().await;
            assert_eq!(evicted(&all), [false, false, true, false]);
            fifth.seat.set(State::Making);
            let sixth = seats.take().await;
            assert_eq!(evicted(&all), [false, false, true, true]);
            sixth.seat.set(State::Making);
            let seventh = seats.take().await;
            assert_eq!(evicted(&all), [false, true, true, true]);
            seventh.seat.set(State::Writing);
            assert!(!seats.evict_a_reader(), "it has only begun");
            let mut eighth = Box::pin(seats.take());
            let waits = tokio::time::timeout(Duration::from_millis(1), &mut eighth).await;
            assert!(waits.is_err(), "pages are being made for all");
            drop(all.remove(0));
            assert!(!eighth.await.seat.is_evicted());
            tokio::time::advance(SLOW).await;
            assert!(seats.evict_a_reader());
            assert!(seventh.seat.is_evicted());
        });
    }
}
