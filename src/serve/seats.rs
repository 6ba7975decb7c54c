//! Seats: a bounded number of connections. When all seats are taken, the connection that has been
//! idle longest loses its seat.
//!
//! A connection is *waiting* for a request or a TLS handshake, *queued* (its request waits for a
//! password check, an update, a probe or its turn), *making* (its page is being rendered), or
//! *writing* (its client is reading the response). Between two blocks a connection is queued again,
//! and the time for that does not count as its reader's.
//!
//! A new connection may evict another one, and so may a page that needs memory:
//!
//! - If peers have more than their share of the seats ([`SHARE`]), the new one included, it evicts one
//!   of theirs. Otherwise it evicts one of any peer.
//! - A new connection evicts a waiting one, the longest idle first. If none is waiting, it evicts the one
//!   that has been queued longest. If none is queued, it evicts the one that has been writing
//!   longest, provided that its reader counts as slow ([`SLOW_AFTER`]).
//! - A connection that has been waiting for less than [`YOUNG`], or queued for less than
//!   [`PATIENCE`], is about to be served, and not evicted.
//! - A page that needs memory only evicts slow readers, and counts only readers.
//! - A connection whose page is being rendered is never evicted: the rendering would continue
//!   anyway. There are no more of these than pages may be rendered at once.
//!
//! A client that sends one request after another is never idle. So while all seats are taken, each
//! connection is closed after its response ([`Seats::are_taken`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::peer::Peer;

/// The time after which a client that is reading a page counts as slow and may be evicted.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// The time for which a connection that waits counts as young.
const YOUNG: Duration = Duration::from_millis(100);

/// The time after which a queued connection may be evicted. Small pages for all seats take less.
const PATIENCE: Duration = Duration::from_millis(500);

/// The part of the seats that is the share of one peer.
const SHARE: usize = 4;

/// The activity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The connection waits for a handshake or a request.
    Waiting,
    /// The request waits for its turn, or for what precedes the page.
    Queued,
    /// A page is being rendered.
    Making,
    /// The client is reading the response.
    Writing,
}

/// All seats of a service. Shared by its listeners and connections.
#[derive(Debug)]
pub(super) struct Seats {
    /// The limit. Never changes.
    limit: usize,
    /// The seats in use, by number. Listeners insert, and a dropped [`SeatGuard`] removes.
    occupied: Mutex<HashMap<u64, Arc<Seat>>>,
    /// The number of the next seat. Advanced by listeners.
    next: AtomicU64,
    /// Wakes listeners that wait for a seat. Notified by a dropped [`SeatGuard`].
    freed: Notify,
}

/// The seat of one connection. Dropping its [`SeatGuard`] frees it.
#[derive(Debug)]
pub(super) struct Seat {
    /// The client, unless it is at a Unix socket. Never changes.
    peer: Option<Peer>,
    /// The activity and its start. Written by the connection, read by evicting tasks.
    state: Mutex<(State, Instant)>,
    /// Whether blocks of the response have yet to be made. Written and read by the connection.
    has_more: AtomicBool,
    /// Set once by the evicting task, read by the connection and by other evicting tasks.
    is_evicted: AtomicBool,
    /// Wakes the connection when it is evicted.
    evicted: Notify,
    /// Set once by the connection, when it has to end after the response in flight. Read by streams,
    /// which would not end.
    closing: watch::Sender<bool>,
}

/// Holds a seat. Dropping it frees the seat.
pub(super) struct SeatGuard {
    pub(super) seat: Arc<Seat>,
    number: u64,
    seats: Arc<Seats>,
}

impl Seat {
    fn new(peer: Option<Peer>) -> Self {
        Self {
            peer,
            state: Mutex::new((State::Waiting, Instant::now())),
            has_more: AtomicBool::new(false),
            is_evicted: AtomicBool::new(false),
            evicted: Notify::new(),
            closing: watch::Sender::new(false),
        }
    }

    /// Ends a stream of events, so that the connection can end.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until the connection has to end.
    pub(super) async fn closing(&self) {
        // The sender is here, so this cannot fail.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Records the activity of the connection from now on.
    pub(super) fn set(&self, state: State) {
        *lock(&self.state) = (state, Instant::now());
    }

    /// Records that another block of the response is being made. Returns how long the client has
    /// been reading.
    pub(super) fn pause_writing(&self) -> Duration {
        let mut state = lock(&self.state);
        let now = Instant::now();
        let before = std::mem::replace(&mut *state, (State::Queued, now));
        now.saturating_duration_since(before.1)
    }

    /// Records that the client goes on reading, after it has been reading for `read`.
    pub(super) fn resume_writing(&self, read: Duration) {
        let now = Instant::now();
        *lock(&self.state) = (State::Writing, now.checked_sub(read).unwrap_or(now));
    }

    /// Records whether blocks of the response have yet to be made.
    pub(super) fn set_more(&self, more: bool) {
        self.has_more.store(more, Relaxed);
    }

    pub(super) fn has_more(&self) -> bool {
        self.has_more.load(Relaxed)
    }

    /// Records that the client has taken the whole response.
    pub(super) fn finish_writing(&self) {
        let mut state = lock(&self.state);
        if state.0 == State::Writing {
            *state = (State::Waiting, Instant::now());
        }
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.is_evicted.load(Relaxed)
    }

    /// Waits until another connection or page needs this seat.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Ends the connection with a reset.
    pub(super) fn evict(&self) {
        self.is_evicted.store(true, Relaxed);
        // `notify_one` stores a permit, so the connection also wakes if it only starts to wait
        // later.
        self.evicted.notify_one();
    }
}

impl Seats {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            occupied: Mutex::default(),
            next: AtomicU64::new(0),
            freed: Notify::new(),
        })
    }

    /// Takes a seat for a client, and evicts another connection if all are taken. Waits while no
    /// connection can be evicted.
    pub(super) async fn take(self: &Arc<Self>, peer: Option<Peer>) -> SeatGuard {
        loop {
            // Created before the check below, so that a seat freed in between wakes this task.
            let freed = self.freed.notified();
            {
                let mut occupied = lock(&self.occupied);
                // Evicted connections are about to end and do not count.
                let held = occupied.values().filter(|seat| !seat.is_evicted()).count();
                if held < self.limit || self.evict_one(&occupied, peer, |_| true) {
                    let number = self.next.fetch_add(1, Relaxed);
                    let seat = Arc::new(Seat::new(peer));
                    occupied.insert(number, Arc::clone(&seat));
                    let seats = Arc::clone(self);
                    return SeatGuard {
                        seat,
                        number,
                        seats,
                    };
                }
            }
            // Young connections get older.
            let _ = tokio::time::timeout(YOUNG, freed).await;
        }
    }

    /// Evicts the slowest reader, to free the memory of its page. Returns `false` if no reader is
    /// slow.
    pub(super) fn evict_slow_reader(&self) -> bool {
        self.evict_one(&lock(&self.occupied), None, |state| state == State::Writing)
    }

    /// Returns whether all seats are taken, so that others may be waiting for one.
    pub(super) fn are_taken(&self) -> bool {
        lock(&self.occupied).len() >= self.limit
    }

    /// Evicts one connection whose state is `wanted`, for a `new` one of this peer.
    fn evict_one(
        &self,
        occupied: &HashMap<u64, Arc<Seat>>,
        new: Option<Peer>,
        wanted: impl Fn(State) -> bool,
    ) -> bool {
        let now = Instant::now();
        let seats: Vec<_> = occupied
            .values()
            .filter(|seat| !seat.is_evicted())
            .map(|seat| (seat, *lock(&seat.state)))
            .filter(|(_, (state, _))| wanted(*state))
            .collect();
        let mut peers = HashMap::<Peer, usize>::new();
        let all = seats.iter().map(|(seat, _)| seat.peer).chain([new]);
        all.flatten()
            .for_each(|peer| *peers.entry(peer).or_default() += 1);
        let share = (self.limit / SHARE).max(1);
        let has_more = |seat: &Seat| seat.peer.is_some_and(|peer| peers[&peer] > share);
        let any_has_more = seats.iter().any(|(seat, _)| has_more(seat));
        let candidates = seats.iter().filter_map(|(seat, (state, since))| {
            let idle = now.saturating_duration_since(*since);
            let rank = match state {
                State::Waiting if idle >= YOUNG => 2,
                State::Queued if idle >= PATIENCE => 1,
                State::Writing if idle >= SLOW_AFTER => 0,
                _ => return None,
            };
            (has_more(seat) == any_has_more).then_some(((rank, idle), seat))
        });
        let longest = candidates.max_by_key(|(rank, _)| *rank);
        longest.map(|(_, seat)| seat.evict()).is_some()
    }
}

impl Drop for SeatGuard {
    fn drop(&mut self) {
        lock(&self.seats.occupied).remove(&self.number);
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
                all.push(seats.take(None).await);
                tokio::time::advance(Duration::from_secs(2)).await;
            }
            all[0].seat.set(State::Making);
            all[1].seat.set(State::Writing);
            tokio::time::advance(Duration::from_secs(2)).await;
            let evicted = |all: &[SeatGuard]| -> Vec<bool> {
                all.iter().map(|guard| guard.seat.is_evicted()).collect()
            };
            // The third has been idle longest, then the fourth.
            let fifth = seats.take(None).await;
            assert_eq!(evicted(&all), [false, false, true, false]);
            fifth.seat.set(State::Making);
            let sixth = seats.take(None).await;
            assert_eq!(evicted(&all), [false, false, true, true]);
            sixth.seat.set(State::Making);
            let seventh = seats.take(None).await;
            assert_eq!(evicted(&all), [false, true, true, true]);
            seventh.seat.set(State::Writing);
            assert!(!seats.evict_slow_reader(), "it has only begun");
            let mut eighth = Box::pin(seats.take(None));
            let waits = tokio::time::timeout(Duration::from_millis(1), &mut eighth).await;
            assert!(waits.is_err(), "pages are being made for all");
            drop(all.remove(0));
            assert!(!eighth.await.seat.is_evicted());
            tokio::time::advance(SLOW_AFTER).await;
            assert!(seats.evict_slow_reader());
            assert!(seventh.seat.is_evicted());
        });
    }

    fn paused() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    }

    fn peer(last: u8) -> Option<Peer> {
        Some(Peer::of(([192, 0, 2, last], 1).into()))
    }

    /// 256 requests that wait for a probe, a password check or a permit had all seats, and nobody
    /// else was served.
    #[test]
    fn a_request_that_waits_makes_room_after_an_idle_connection() {
        paused().block_on(async {
            let seats = Seats::new(2);
            let (queued, idle) = (seats.take(None).await, seats.take(None).await);
            queued.seat.set(State::Queued);
            tokio::time::advance(PATIENCE).await;
            let third = seats.take(None).await;
            assert!(idle.seat.is_evicted() && !queued.seat.is_evicted());
            third.seat.set(State::Making);
            let _fourth = seats.take(None).await;
            assert!(queued.seat.is_evicted() && !third.seat.is_evicted());
        });
    }

    /// The only connection that was not making a page was the one that had just connected.
    #[test]
    fn a_young_connection_stays() {
        paused().block_on(async {
            let seats = Seats::new(2);
            let (young, making) = (seats.take(None).await, seats.take(None).await);
            making.seat.set(State::Making);
            let start = Instant::now();
            let _third = seats.take(None).await;
            assert!(young.seat.is_evicted() && start.elapsed() >= YOUNG);
        });
    }

    #[test]
    fn a_peer_with_more_than_its_share_makes_room_for_others_and_itself() {
        paused().block_on(async {
            let seats = Seats::new(8);
            let honest = seats.take(peer(1)).await;
            tokio::time::advance(YOUNG).await;
            let mut stranger = Vec::new();
            for _ in 0..7 {
                stranger.push(seats.take(peer(2)).await);
            }
            let _more = [seats.take(peer(2)).await, seats.take(peer(3)).await];
            assert!(!honest.seat.is_evicted(), "it has been idle longest");
            let evicted = stranger.iter().filter(|guard| guard.seat.is_evicted());
            assert_eq!(evicted.count(), 2);
        });
    }
}
