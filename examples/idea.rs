//! The idea of this crate, from scratch: counters that threads do not share.
//!
//! Every thread has cells of its own, and only that thread writes them. An update is a comparison,
//! a load, an addition and a store, none of which another core can delay. A scrape reads the cells
//! of all threads and adds them up. When a thread ends, its counts stay.
//!
//! The crate adds what real programs need: labels, other kinds of metrics, series that come and go,
//! floats, a scrape without locks, and several processes. `docs/architecture.md` leads from here to
//! there; what has a name here has the same name there.
//!
//! ```sh
//! cargo run --release --example idea
//! ```

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The memory of a shard: one cell for each counter that its thread has used so far, and some more.
/// The owner writes it, scrapes read it.
type Slab = Arc<[AtomicU64]>;

/// The cells of one thread, as scrapes find them. The owner replaces the slab when it grows.
struct Shard(Mutex<Slab>);

/// All shards, and what the threads that have ended have counted.
struct Engine {
    shards: Vec<Arc<Shard>>,
    /// The total of each slot in ended threads.
    ended: Vec<u64>,
}

static ENGINE: Mutex<Engine> = Mutex::new(Engine {
    shards: Vec::new(),
    ended: Vec::new(),
});

/// The number of slots that counters have taken.
static SLOTS: AtomicUsize = AtomicUsize::new(0);

/// A thread and its shard: the slab, which it writes without a lock, and the shard, where
/// scrapes look for it.
struct Owner {
    slab: Slab,
    shard: Arc<Shard>,
}

thread_local! {
    static OWNER: RefCell<Owner> = RefCell::new(Owner::join());
}

/// A counter. Its slot is the index of its cell in the slab of every thread.
pub struct Counter {
    slot: usize,
}

impl Counter {
    #[allow(
        clippy::new_without_default,
        reason = "a default counter is not a thing one asks for by accident"
    )]
    pub fn new() -> Self {
        // Relaxed: each counter gets another number, and nothing else is published with it.
        let slot = SLOTS.fetch_add(1, Relaxed);
        Self { slot }
    }

    /// Adds to the count. This is the hot path: one comparison, which is that of `get`.
    pub fn add(&self, n: u64) {
        OWNER.with_borrow_mut(|owner| {
            if let Some(cell) = owner.slab.get(self.slot) {
                // Relaxed, and not an atomic addition: no other thread writes this cell.
                cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
            } else {
                owner.grow(self.slot);
                owner.slab[self.slot].store(n, Relaxed);
            }
        });
    }

    /// Returns the total of all threads, those that have ended included.
    ///
    /// It never goes back: the count of a thread is in its shard or in `ended`, never in both, and
    /// a thread that ends moves it under the lock that this scrape holds.
    pub fn scrape(&self) -> u64 {
        let engine = lock(&ENGINE);
        let ended = engine.ended.get(self.slot).copied().unwrap_or(0);
        let shards = engine.shards.iter().map(|shard| {
            // Under the lock, no cell moves to a longer slab.
            let slab = lock(&shard.0);
            slab.get(self.slot).map_or(0, |cell| cell.load(Relaxed))
        });
        shards.fold(ended, u64::wrapping_add)
    }
}

impl Owner {
    /// Creates the shard of this thread, with an empty slab: the first update of each counter takes
    /// the cold path.
    fn join() -> Self {
        let slab = Slab::from([]);
        let shard = Arc::new(Shard(Mutex::new(Arc::clone(&slab))));
        lock(&ENGINE).shards.push(Arc::clone(&shard));
        Self { slab, shard }
    }

    /// The cold path: replaces the slab by a longer one. Only this thread writes the cells, so none
    /// of them changes while they are copied.
    #[cold]
    fn grow(&mut self, slot: usize) {
        let old = self.slab.iter().map(|cell| cell.load(Relaxed));
        let len = (slot + 1).next_power_of_two();
        let cells = old.chain(std::iter::repeat(0)).take(len);
        self.slab = cells.map(AtomicU64::new).collect();
        *lock(&self.shard.0) = Arc::clone(&self.slab);
    }
}

/// A thread that ends folds its shard: its counts move to the totals that stay.
impl Drop for Owner {
    fn drop(&mut self) {
        let mut engine = lock(&ENGINE);
        let len = engine.ended.len().max(self.slab.len());
        engine.ended.resize(len, 0);
        for (total, cell) in engine.ended.iter_mut().zip(&*self.slab) {
            *total = total.wrapping_add(cell.load(Relaxed));
        }
        engine
            .shards
            .retain(|shard| !Arc::ptr_eq(shard, &self.shard));
    }
}

/// Locks a mutex. A panic in an earlier holder is no reason for this thread to panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(dead_code, reason = "a test has this file as a module")]
fn main() {
    let (requests, bytes) = (Counter::new(), Counter::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000_000 {
                    requests.add(1);
                    bytes.add(512);
                }
            });
        }
        // In the middle of it.
        println!("so far: {} requests", requests.scrape());
    });
    println!("{} requests, {} bytes", requests.scrape(), bytes.scrape());
}
