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
//! - Connections of the peer that has the most seats go first. A new one evicts none of a peer that
//!   has fewer seats than its own peer. So a peer with few connections does not pay for one with
//!   many.
//! - Of these, a waiting one goes first, the longest idle one before the others. If none is
//!   waiting, the one goes that has been queued longest. If none is queued, the one goes that has
//!   been writing longest, provided that its reader counts as slow ([`SLOW_AFTER`]).
//! - A connection that has been waiting for less than [`YOUNG`], or queued for less than
//!   [`PATIENCE`], is about to be served. It is evicted only for a new one whose peer has fewer
//!   seats, and so is one whose reader does not count as slow yet.
//! - A new connection that can evict none waits in the *lobby*, in which one peer gets half of the
//!   places, and whose connections get seats in the order in which they came, or as soon as another
//!   peer has more. One that finds no place there is closed.
//! - A page that needs memory only evicts slow readers.
//! - A connection whose page is being rendered is never evicted: the rendering would continue
//!   anyway. There are no more of these than pages may be rendered at once.
//!
//! A client that sends one request after another is never idle. So while all seats are taken, each
//! connection is closed after its response ([`Seats::are_taken`]).

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::serve::peer::Peer;
use crate::serve::places::ClientPlaces;
use crate::sync::lock;

/// The time after which a client that is reading a page counts as slow and may be evicted.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// The time for which a connection that waits counts as young.
const YOUNG: Duration = Duration::from_millis(100);

/// The time after which a queued connection may be evicted. Small pages for all seats take less.
const PATIENCE: Duration = Duration::from_millis(500);

/// The most connections in the lobby.
const LOBBY: usize = 1024;

/// The activity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
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
pub(super) struct Seats {
    /// The limit. Never changes.
    limit: usize,
    /// The places of connections that wait for a seat.
    lobby: Arc<ClientPlaces>,
    /// Held by the one of these that came first.
    first: tokio::sync::Mutex<()>,
    /// The seats in use. New connections add theirs, and a dropped [`SeatGuard`] removes it.
    occupied: Mutex<Vec<Arc<Seat>>>,
    /// Wakes the connection that waits for a seat. Notified by a dropped [`SeatGuard`].
    freed: Notify,
}

/// The seat of one connection. Dropping its [`SeatGuard`] frees it.
pub(super) struct Seat {
    /// The client. Never changes.
    pub(super) peer: Peer,
    /// The activity and its start. Written by the connection, read by evicting tasks.
    state: Mutex<(Activity, Instant)>,
    /// Whether blocks of the response have yet to be made. Written and read by the connection.
    has_more: AtomicBool,
    /// Set once by the evicting task, read by the connection and by other evicting tasks.
    is_evicted: AtomicBool,
    /// Wakes the connection when it is evicted.
    evicted: Notify,
    /// Set once by the connection, when it has to end after the response in flight. Read by
    /// streams, which would not end.
    closing: watch::Sender<bool>,
}

/// Holds a seat. Dropping it frees the seat.
pub(super) struct SeatGuard {
    pub(super) seat: Arc<Seat>,
    seats: Arc<Seats>,
}

impl Seat {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            state: Mutex::new((Activity::Waiting, Instant::now())),
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
    pub(super) fn set(&self, state: Activity) {
        *lock(&self.state) = (state, Instant::now());
    }

    /// Records that another block of the response is being made. Returns how long the client has
    /// been reading.
    pub(super) fn pause_writing(&self) -> Duration {
        let mut state = lock(&self.state);
        let now = Instant::now();
        let before = std::mem::replace(&mut *state, (Activity::Queued, now));
        now.saturating_duration_since(before.1)
    }

    /// Records that the client goes on reading, after it has been reading for `read`.
    pub(super) fn resume_writing(&self, read: Duration) {
        let now = Instant::now();
        *lock(&self.state) = (Activity::Writing, now.checked_sub(read).unwrap_or(now));
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
        if state.0 == Activity::Writing {
            *state = (Activity::Waiting, Instant::now());
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
    /// Creates the seats, and a lobby of at most so many places.
    pub(super) fn new(limit: usize, lobby: usize) -> Arc<Self> {
        let lobby = LOBBY.min(lobby).max(1);
        Arc::new(Self {
            limit,
            lobby: ClientPlaces::new(lobby, lobby.div_ceil(32)),
            first: tokio::sync::Mutex::default(),
            occupied: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Takes a seat for a client, and evicts another connection if all are taken. Waits while no
    /// connection can be evicted. Returns `None` at once if there is no place to wait.
    pub(super) async fn take(self: &Arc<Self>, peer: Peer) -> Option<SeatGuard> {
        // Those in the lobby came before.
        let is_first = self.first.try_lock().is_ok();
        if let Some(guard) = self.try_take(peer, is_first) {
            return Some(guard);
        }
        let _place = self.lobby.take(Some(peer))?;
        let mut turn = pin!(self.first.lock());
        let _first = loop {
            // Others may have got more seats than this peer meanwhile.
            if let Ok(first) = tokio::time::timeout(YOUNG, &mut turn).await {
                break first;
            }
            if let Some(guard) = self.try_take(peer, false) {
                return Some(guard);
            }
        };
        loop {
            // Created before the check below, so that a seat freed in between wakes this task.
            let freed = self.freed.notified();
            if let Some(guard) = self.try_take(peer, true) {
                return Some(guard);
            }
            // Young connections get older.
            let _ = tokio::time::timeout(YOUNG, freed).await;
        }
    }

    /// Takes a seat that is free, or that of a connection that may be evicted: if the client is not
    /// the first one that waits, only one of a peer that has more.
    fn try_take(self: &Arc<Self>, peer: Peer, is_first: bool) -> Option<SeatGuard> {
        let mut occupied = lock(&self.occupied);
        let own = held(&occupied).filter(|seat| seat.peer == peer).count() + 1;
        let has_seat = if held(&occupied).count() < self.limit {
            is_first || counts(&occupied).values().any(|all| *all > own)
        } else {
            evict_one(&occupied, |seat, state, is_due, all| {
                let is_turn = is_first && is_due && (all >= own || seat.peer == peer);
                state != Activity::Making && (all > own || is_turn)
            })
        };
        has_seat.then(|| {
            let seat = Arc::new(Seat::new(peer));
            occupied.push(Arc::clone(&seat));
            let seats = Arc::clone(self);
            SeatGuard { seat, seats }
        })
    }

    /// Evicts the slowest reader, to free the memory of its page. Returns `false` if no reader is
    /// slow.
    pub(super) fn evict_slow_reader(&self) -> bool {
        evict_one(&lock(&self.occupied), |_, state, is_due, _| {
            state == Activity::Writing && is_due
        })
    }

    /// Returns whether all seats are taken, so that others may be waiting for one.
    pub(super) fn are_taken(&self) -> bool {
        lock(&self.occupied).len() >= self.limit
    }
}

/// Evicts one connection that `may` go, of the peer that has the most seats. `may` takes the seat
/// of a connection, its state, whether its time is over, and the number of seats of its peer.
fn evict_one(occupied: &[Arc<Seat>], may: impl Fn(&Seat, Activity, bool, usize) -> bool) -> bool {
    let now = Instant::now();
    let counts = counts(occupied);
    let candidates = held(occupied).filter_map(|seat| {
        let (state, since) = *lock(&seat.state);
        let idle = now.saturating_duration_since(since);
        let rank = match state {
            Activity::Waiting if idle >= YOUNG => Some(2),
            Activity::Queued if idle >= PATIENCE => Some(1),
            Activity::Writing if idle >= SLOW_AFTER => Some(0),
            _ => None,
        };
        let all = counts[&seat.peer];
        may(seat, state, rank.is_some(), all).then_some(((all, rank, idle), seat))
    });
    let longest = candidates.max_by_key(|(key, _)| *key);
    longest.map(|(_, seat)| seat.evict()).is_some()
}

/// Returns the seats that count. Evicted connections are about to end and do not.
fn held(occupied: &[Arc<Seat>]) -> impl Iterator<Item = &Arc<Seat>> {
    occupied.iter().filter(|seat| !seat.is_evicted())
}

/// Counts the seats of each peer.
fn counts(occupied: &[Arc<Seat>]) -> HashMap<Peer, usize> {
    let mut counts = HashMap::new();
    held(occupied).for_each(|seat| *counts.entry(seat.peer).or_default() += 1);
    counts
}

impl Drop for SeatGuard {
    fn drop(&mut self) {
        lock(&self.seats.occupied).retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        self.seats.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_goes_then_the_slowest_reader_and_no_page_that_is_made() {
        limited(async {
            let seats = Seats::new(4, 4);
            let mut all = Vec::new();
            for _ in 0..4 {
                all.push(seats.take(Peer::Unix).await.unwrap());
                tokio::time::advance(Duration::from_secs(2)).await;
            }
            all[0].seat.set(Activity::Making);
            all[1].seat.set(Activity::Writing);
            tokio::time::advance(Duration::from_secs(2)).await;
            let evicted = |all: &[SeatGuard]| -> Vec<bool> {
                all.iter().map(|guard| guard.seat.is_evicted()).collect()
            };
            // The third has been idle longest, then the fourth.
            let fifth = seats.take(Peer::Unix).await.unwrap();
            assert_eq!(evicted(&all), [false, false, true, false]);
            fifth.seat.set(Activity::Making);
            let sixth = seats.take(Peer::Unix).await.unwrap();
            assert_eq!(evicted(&all), [false, false, true, true]);
            sixth.seat.set(Activity::Making);
            let seventh = seats.take(Peer::Unix).await.unwrap();
            assert_eq!(evicted(&all), [false, true, true, true]);
            seventh.seat.set(Activity::Writing);
            assert!(!seats.evict_slow_reader(), "it has only begun");
            let mut eighth = Box::pin(seats.take(Peer::Unix));
            let waits = tokio::time::timeout(Duration::from_millis(1), &mut eighth).await;
            assert!(waits.is_err(), "pages are being made for all");
            drop(all.remove(0));
            assert!(!eighth.await.unwrap().seat.is_evicted());
            tokio::time::advance(SLOW_AFTER).await;
            assert!(seats.evict_slow_reader());
            assert!(seventh.seat.is_evicted());
        });
    }

    /// Runs a test whose time passes only while all tasks wait: a wait without an end is over at
    /// once.
    fn limited(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let day = Duration::from_secs(86_400);
        let ended = runtime.block_on(async { tokio::time::timeout(day, test).await });
        ended.expect("nobody waits for a seat that never gets free");
    }

    fn peer(last: u8) -> Peer {
        Peer::of(([192, 0, 2, last], 1).into())
    }

    /// 256 requests that wait for a probe, a password check or a permit had all seats, and nobody
    /// else was served.
    #[test]
    fn a_request_that_waits_makes_room_after_an_idle_connection() {
        limited(async {
            let seats = Seats::new(2, 4);
            let (queued, idle) = (
                seats.take(Peer::Unix).await.unwrap(),
                seats.take(Peer::Unix).await.unwrap(),
            );
            queued.seat.set(Activity::Queued);
            tokio::time::advance(PATIENCE).await;
            let third = seats.take(Peer::Unix).await.unwrap();
            assert!(idle.seat.is_evicted() && !queued.seat.is_evicted());
            third.seat.set(Activity::Making);
            let _fourth = seats.take(Peer::Unix).await.unwrap();
            assert!(queued.seat.is_evicted() && !third.seat.is_evicted());
        });
    }

    /// The only connection that was not making a page was the one that had just connected.
    #[test]
    fn a_young_connection_stays() {
        limited(async {
            let seats = Seats::new(2, 4);
            let (young, making) = (
                seats.take(Peer::Unix).await.unwrap(),
                seats.take(Peer::Unix).await.unwrap(),
            );
            making.seat.set(Activity::Making);
            let start = Instant::now();
            let _third = seats.take(Peer::Unix).await.unwrap();
            assert!(young.seat.is_evicted() && start.elapsed() >= YOUNG);
        });
    }

    /// A connection goes on with its next request unless others may be waiting for its seat.
    #[test]
    fn seats_are_taken_when_the_last_one_is() {
        limited(async {
            let seats = Seats::new(2, 4);
            let _first = seats.take(peer(1)).await.unwrap();
            assert!(!seats.are_taken());
            let second = seats.take(peer(2)).await.unwrap();
            assert!(seats.are_taken());
            drop(second);
            assert!(!seats.are_taken());
        });
    }

    #[test]
    fn a_peer_with_more_than_its_share_makes_room_for_others_and_itself() {
        limited(async {
            let seats = Seats::new(8, 4);
            let honest = seats.take(peer(1)).await.unwrap();
            tokio::time::advance(YOUNG).await;
            let mut stranger = Vec::new();
            for _ in 0..7 {
                stranger.push(seats.take(peer(2)).await.unwrap());
            }
            let _more = [
                seats.take(peer(2)).await.unwrap(),
                seats.take(peer(3)).await.unwrap(),
            ];
            assert!(!honest.seat.is_evicted(), "it has been idle longest");
            let evicted = stranger.iter().filter(|guard| guard.seat.is_evicted());
            assert_eq!(evicted.count(), 2);
        });
    }

    /// Four hosts, each with its share of the seats, kept others out for as long as a reader counts
    /// as no slow one, and those of them that waited kept out the next.
    #[test]
    fn hosts_with_many_connections_keep_no_host_with_few_out() {
        limited(async {
            let seats = Seats::new(8, 256);
            let start = Instant::now();
            let mut strangers = Vec::new();
            for i in 0..8 {
                strangers.push(seats.take(peer(i % 4)).await.unwrap());
                strangers[usize::from(i)].seat.set(Activity::Writing);
            }
            strangers[0].seat.set(Activity::Making);
            let mut more: Vec<_> = (0..8).map(|i| Box::pin(seats.take(peer(i % 4)))).collect();
            for more in &mut more {
                let waits = tokio::time::timeout(Duration::ZERO, more).await;
                assert!(waits.is_err());
            }
            let honest = seats.take(peer(9)).await.unwrap();
            assert_eq!(start.elapsed(), Duration::ZERO);
            assert!(!strangers[0].seat.is_evicted(), "its page is being made");
            assert_eq!(
                strangers
                    .iter()
                    .filter(|guard| guard.seat.is_evicted())
                    .count(),
                1
            );
            // A seat that is free is not only for those that came before.
            drop(strangers.pop());
            let other = seats.take(peer(10)).await.unwrap();
            assert_eq!(start.elapsed(), Duration::ZERO);
            drop(other);
            // Those that wait get seats when these may be evicted, and honest ones stay.
            for more in more {
                strangers.push(more.await.unwrap());
                strangers.last().unwrap().seat.set(Activity::Writing);
            }
            assert!(!honest.seat.is_evicted());
            assert!(start.elapsed() >= SLOW_AFTER);
        });
    }

    /// One that came when all peers had one seat each waited behind all that came before.
    #[test]
    fn a_peer_that_waits_gets_a_seat_as_soon_as_another_has_more() {
        limited(async {
            let seats = Seats::new(2, 256);
            let mut making = Vec::new();
            for i in 0..2 {
                making.push(seats.take(peer(i)).await.unwrap());
                making.last().unwrap().seat.set(Activity::Making);
            }
            let mut waiting: Vec<_> = [0, 0, 0, 0, 9]
                .map(|i| Box::pin(seats.take(peer(i))))
                .into();
            for waiting in &mut waiting {
                let waits = tokio::time::timeout(Duration::ZERO, waiting).await;
                assert!(waits.is_err());
            }
            making.clear();
            let stranger = waiting.remove(0).await.unwrap();
            stranger.seat.set(Activity::Making);
            let second = waiting.remove(0).await.unwrap();
            second.seat.set(Activity::Writing);
            let honest = waiting.pop().unwrap().await.unwrap();
            assert!(second.seat.is_evicted() && !honest.seat.is_evicted());
        });
    }

    /// Each counted as a peer with one seat, and none of another peer.
    #[test]
    fn clients_of_unix_sockets_are_one_peer() {
        limited(async {
            let seats = Seats::new(4, 4);
            let mut local = Vec::new();
            for _ in 0..4 {
                local.push(seats.take(Peer::Unix).await.unwrap());
            }
            let start = Instant::now();
            let _honest = seats.take(peer(1)).await.unwrap();
            assert_eq!(start.elapsed(), Duration::ZERO);
        });
    }

    #[test]
    fn one_peer_has_half_of_the_lobby() {
        limited(async {
            let seats = Seats::new(1, 4);
            let making = seats.take(peer(1)).await.unwrap();
            making.seat.set(Activity::Making);
            let mut waiting = Vec::new();
            for (last, places) in [(1, 2), (2, 1), (3, 1)] {
                for _ in 0..places {
                    let mut take = Box::pin(seats.take(peer(last)));
                    let waits = tokio::time::timeout(Duration::ZERO, &mut take).await;
                    assert!(waits.is_err());
                    waiting.push(take);
                }
                assert!(seats.take(peer(1)).await.is_none());
            }
            assert!(seats.take(peer(4)).await.is_none());
            drop(making);
            assert!(waiting.remove(0).await.is_some());
        });
    }
}
