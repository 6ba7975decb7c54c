//! The engine: the state that all threads share, and access to the calling thread's side of it.

use crate::sync::{AtomicU64, Mutex, Relaxed, const_fn, lock};

use super::cells::Cells;
use super::memory::Block;
use super::pass::{Collector, Pass};
use super::shard::Shards;
use super::slot::{COLD, Slots};
#[cfg(not(loom))]
use super::thread::Thread;

/// The state that all threads share. One per process; in a model, one per run.
pub struct Engine {
    /// The shards that have no owner, and those that are not members yet. Written by threads that
    /// start or end, and by the collector.
    pub(super) shards: Shards,
    /// The allocator of slots. Used by threads that promote a series, and by the collector.
    pub(super) slots: Slots,
    /// The state of the reading side. Locked by the thread that runs a pass.
    pub(super) collector: Mutex<Collector>,
    /// Slots of dropped families, for the next pass to free. Written by threads that drop a family,
    /// taken by passes.
    pub(super) abandoned: Mutex<Vec<AbandonedSlot>>,
    /// The running minute, as [`ColdLock`](super::cold_lock::ColdLock) has it. Written by passes
    /// and by threads that promote a series, read by cold updates. Not one of loom's: models have
    /// no clock.
    minute: std::sync::atomic::AtomicU64,
    /// [`COLD`], and [`EAGER`] and [`REQUESTED`]. Written by passes and by tests, read by cold
    /// updates. Not one of loom's: models leave the bits alone.
    common_last: std::sync::atomic::AtomicU64,
    /// When that minute began, in milliseconds. 0 at the beginning.
    #[cfg_attr(loom, allow(dead_code, reason = "models have no clock"))]
    minute_began: AtomicU64,
    /// The number of times a reader had to request a copy from an owner. Written by passes, read by
    /// the self-metrics.
    pub copy_requests: AtomicU64,
}

/// The bit of [`Engine::common_last`] that is set if every series is promoted at its first update.
/// Set once, by tests.
const EAGER: u64 = 1 << 63;

/// The bit of [`Engine::common_last`] that is set while all threads are to look whether the
/// collector has sent them a request. Set and cleared by passes.
const REQUESTED: u64 = 1 << 62;

/// The number of abandoned slots at which the thread that drops a family runs a pass.
const ABANDONED_LIMIT: usize = 4096;

/// A slot of a dropped family.
pub(super) struct AbandonedSlot {
    /// The last cell.
    pub(super) last: u64,
    /// The number of cells.
    pub(super) width: usize,
    /// Whether the slot was counted as unreclaimed.
    pub(super) is_unreclaimed: bool,
    /// Frees what a block of the slot holds besides numbers.
    pub(super) release: fn(Block),
}

impl Engine {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                shards: Shards::new(),
                slots: Slots::new(),
                collector: Mutex::new(Collector::new()),
                abandoned: Mutex::new(Vec::new()),
                minute: std::sync::atomic::AtomicU64::new(0),
                common_last: std::sync::atomic::AtomicU64::new(COLD),
                minute_began: AtomicU64::new(0),
                copy_requests: AtomicU64::new(0),
            }
        }
    }

    /// Hands the slots of a dropped family to the next pass, which clears and frees them. No handle
    /// of the family may exist, because the pass waits for no acknowledgement. `is_unreclaimed`
    /// tells whether the slots were counted as unreclaimed, as those of retired series are.
    pub fn abandon<C: Cells>(
        &self,
        shape: &C::Shape,
        is_unreclaimed: bool,
        slots: impl Iterator<Item = u64>,
    ) {
        let (width, release) = (C::width(shape), C::release(shape));
        let mut abandoned = lock(&self.abandoned);
        abandoned.extend(slots.map(|last| AbandonedSlot {
            last,
            width,
            is_unreclaimed,
            release,
        }));
        let many = abandoned.len() >= ABANDONED_LIMIT;
        drop(abandoned);
        // A program that is never scraped runs no passes, so this thread runs one. If a pass is
        // running, it or the next one frees the slots.
        if !many {
            return;
        }
        if let Ok(collector) = self.collector.try_lock() {
            drop(Pass::with(self, collector));
        }
    }

    /// Promotes every series at its next update, from now on, so that all updates are in cells of
    /// the threads that made them. For `tallies::testing`.
    #[cfg(not(loom))]
    pub fn promote_at_first_update(&self) {
        self.common_last.fetch_or(EAGER, Relaxed);
    }

    /// Whether series are promoted at their first update.
    #[inline(always)]
    pub(super) fn is_eager(&self) -> bool {
        self.common_last() & EAGER != 0
    }

    /// Returns what [`SlotWord::last`](super::SlotWord::last) returns in the common case of a cold
    /// update. With one of its two bits it is a word of stale handles, if of any, and no case is
    /// common.
    #[inline(always)]
    pub(super) fn common_last(&self) -> u64 {
        self.common_last.load(Relaxed)
    }

    /// Returns the running minute, in the bits in which the locks of cold cells have it.
    #[inline(always)]
    pub(super) fn minute(&self) -> u64 {
        self.minute.load(Relaxed)
    }

    /// Asks all threads to look for a request at their next update, or no longer.
    ///
    /// Models leave the bit alone, so that they have cold updates of threads that do not look.
    #[cfg_attr(
        loom,
        allow(clippy::unused_self, reason = "models leave the bit alone")
    )]
    pub(super) fn ask_threads(&self, asks: bool) {
        #[cfg(not(loom))]
        if asks {
            self.common_last.fetch_or(REQUESTED, Relaxed);
        } else if self.common_last() & REQUESTED != 0 {
            self.common_last.fetch_and(!REQUESTED, Relaxed);
        }
        #[cfg(loom)]
        let _ = asks;
    }

    /// Begins a new minute if the last one is over, and returns whether it was. Called by passes,
    /// by new threads, and by threads that are about to promote a series because of its updates. So
    /// a minute may last longer if nobody does any of these, but the updates that promote a series
    /// are all from one minute of the clock.
    #[cfg(not(loom))]
    pub(super) fn begin_minute(&self) -> bool {
        use super::cold_lock::{MINUTE, MINUTES};
        // Relaxed: a thread that was suspended between load and store may bring an earlier minute
        // back. Then a series may be promoted too early, and no count is wrong.
        let (now, began) = (crate::clock::millis(), self.minute_began.load(Relaxed));
        if began == 0 || now < began {
            self.minute_began.store(now, Relaxed);
            return false;
        }
        let over = now - began >= 60_000;
        if over {
            self.minute_began.store(now, Relaxed);
            // The last one is that of a lock without updates.
            let next = (self.minute() + MINUTE) % MINUTES;
            self.minute.store(next, Relaxed);
        }
        over
    }

    /// Models have no clock: a series is promoted by its first update.
    #[cfg(loom)]
    pub(super) fn begin_minute(&self) -> bool {
        false
    }

    /// Returns the limit for the cells of all threads together, in bytes.
    pub fn cell_limit(&self) -> u64 {
        self.slots.limit()
    }

    /// Waits for the running pass to end, then begins one.
    pub fn pass(&self) -> Pass<'_> {
        Pass::with(self, lock(&self.collector))
    }
}

/// Waits for a thread that is between a few stores. Waits longer with each try: spins, then yields,
/// then sleeps for 50 µs.
pub(super) fn back_off(tries: &mut u32) {
    *tries += 1;
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    if *tries < 8 {
        std::hint::spin_loop();
    } else if *tries < 64 {
        std::thread::yield_now();
    } else {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}

#[cfg(loom)]
pub(super) fn register_exit() -> bool {
    true
}

#[cfg(not(loom))]
pub use process::{engine, limit_cells, register_exit, thread, warm};

/// The engine of this process, and the calling thread's side of it.
#[cfg(not(loom))]
mod process {
    use super::{Engine, Thread};

    static ENGINE: Engine = Engine::new();

    thread_local! {
        /// Has no destructor, so that the hot path needs no check.
        static THREAD: Thread = const { Thread::new() };
        /// Accessed by the cold path only. Its destructor makes the thread leave its shard.
        static EXIT: Exit = const { Exit };
    }

    struct Exit;

    impl Drop for Exit {
        fn drop(&mut self) {
            THREAD.with(|thread| thread.leave(&ENGINE));
        }
    }

    /// Returns the engine of this process.
    pub fn engine() -> &'static Engine {
        &ENGINE
    }

    /// Runs `f` with the calling thread's side of the engine.
    #[inline(always)]
    pub fn thread<R>(f: impl FnOnce(&Thread) -> R) -> R {
        // Not `with(f)`: the compiler would not inline a large `f`.
        let thread = THREAD.with(std::ptr::from_ref);
        // SAFETY: `THREAD` has no destructor, so it lives as long as this thread, and `f` cannot
        // pass the reference on.
        f(unsafe { &*thread })
    }

    /// Registers the calling thread to leave its shard when it ends. Returns `false` if the thread
    /// is ending already.
    pub fn register_exit() -> bool {
        EXIT.try_with(|_| ()).is_ok()
    }

    /// Limits the memory, in bytes, of the cells that threads have of their own, all threads
    /// together. The default is 1 GiB.
    ///
    /// A busy series takes 8 bytes in every thread that updates metrics, a histogram of 11 bounds
    /// 128. At the limit, further series count in one cold cell, under a lock of one word, however
    /// busy they are. Series that have cells of their own keep them, and a thread that starts later
    /// gets cells for those that it updates, so memory may exceed the limit as threads are added.
    /// `tallies_shard_bytes` and `tallies_shard_limit_bytes` show both numbers.
    ///
    /// ```
    /// tallies::instrument::limit_cells(256 << 20);
    /// # tallies::instrument::limit_cells(1 << 30);
    /// ```
    pub fn limit_cells(bytes: u64) {
        ENGINE.slots.set_limit(bytes);
    }

    /// Makes the calling thread's first updates as fast as its later ones: takes a shard, and
    /// allocates cells for every series that is hot by now.
    ///
    /// For benchmarks that cannot exclude the slower first thousand updates. Use it together with
    /// families declared `.hot()`.
    ///
    /// ```
    /// std::thread::spawn(|| {
    ///     tallies::instrument::warm();
    ///     // measure
    /// });
    /// ```
    pub fn warm() {
        thread(|thread| thread.warm(&ENGINE));
    }
}
