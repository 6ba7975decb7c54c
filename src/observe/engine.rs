//! The engine: what all threads share, and the calling thread's side of it.

use crate::sync::{AtomicU64, Mutex, const_fn, lock};

use super::cells::Cells;
use super::memory::Block;
use super::pass::{Collector, Pass};
use super::shard::Shards;
use super::slot::Slots;
#[cfg(not(loom))]
use super::thread::Thread;

/// What all threads share. One per process; in a model, one per run.
pub struct Engine {
    pub(super) shards: Shards,
    pub(super) slots: Slots,
    pub(super) collector: Mutex<Collector>,
    /// Slots of families that are gone, for the next pass to free.
    pub(super) abandoned: Mutex<Vec<Abandoned>>,
    /// What happened out of the ordinary, for the self-metrics.
    pub stats: Stats,
}

/// Slots of families that are gone, beyond which a thread that adds to them makes a pass.
const MANY_ABANDONED: usize = 4096;

/// Last cell, width, whether the slot was waiting to be used again, and what gives back what a block holds.
pub(super) type Abandoned = (u64, usize, bool, fn(Block));

/// Counts of what is out of the ordinary.
#[derive(Debug)]
pub struct Stats {
    /// Updates that were dropped: NaN, negative adds, the infinity that would make a sum NaN.
    pub refused: AtomicU64,
    /// Updates that landed in an overflow series.
    pub overflowed: AtomicU64,
    /// Times a reader had to ask an owner for a copy.
    pub asked: AtomicU64,
}

impl Stats {
    const_fn! {
        fn new() -> Self {
            Self {
                refused: AtomicU64::new(0),
                overflowed: AtomicU64::new(0),
                asked: AtomicU64::new(0),
            }
        }
    }
}

impl Engine {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                shards: Shards::new(),
                slots: Slots::new(),
                collector: Mutex::new(Collector::new()),
                abandoned: Mutex::new(Vec::new()),
                stats: Stats::new(),
            }
        }
    }

    /// Leaves slots of a family that is gone to the next pass; `waiting`: they were to be used again.
    pub fn abandon<C: Cells>(
        &self,
        shape: &C::Shape,
        waiting: bool,
        slots: impl Iterator<Item = u64>,
    ) {
        let (width, release) = (C::width(shape), C::release(shape));
        let mut abandoned = lock(&self.abandoned);
        abandoned.extend(slots.map(|last| (last, width, waiting, release)));
        let many = abandoned.len() >= MANY_ABANDONED;
        drop(abandoned);
        // A program that is never scraped makes no passes. One that is under way frees them, or the next.
        if many && let Ok(collector) = self.collector.try_lock() {
            drop(Pass::with(self, collector));
        }
    }

    /// Waits for the pass that is running, then begins one.
    pub fn pass(&self) -> Pass<'_> {
        Pass::begin(self)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// Waits a little, longer each time, for a thread that is between a few stores.
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
pub(super) fn keep_until_exit() -> bool {
    true
}

#[cfg(not(loom))]
pub use process::{engine, keep_until_exit, reject, thread, warm};

/// The engine of this process, and the calling thread's side of it.
#[cfg(not(loom))]
mod process {
    use super::{Engine, Thread};

    static ENGINE: Engine = Engine::new();

    thread_local! {
        /// Without a destructor, so that the hot path needs no check.
        static THREAD: Thread = const { Thread::new() };
        /// Touched by the cold path only.
        static EXIT: Exit = const { Exit };
    }

    struct Exit;

    impl Drop for Exit {
        fn drop(&mut self) {
            THREAD.with(|thread| thread.leave(&ENGINE));
        }
    }

    /// The engine of this process.
    pub fn engine() -> &'static Engine {
        &ENGINE
    }

    /// Runs `f` with the calling thread's side of the engine.
    #[inline(always)]
    pub fn thread<R>(f: impl FnOnce(&Thread) -> R) -> R {
        THREAD.with(f)
    }

    /// Counts an update that was dropped.
    pub fn reject() {
        ENGINE.stats.refused.fetch_add(1, crate::sync::Relaxed);
    }

    /// Sees to it that this thread leaves its shard when it ends; false if it is ending already.
    pub fn keep_until_exit() -> bool {
        EXIT.try_with(|_| ()).is_ok()
    }

    /// Makes the calling thread's first updates as fast as its later ones: takes a shard, and room for every series
    /// that is hot by now.
    ///
    /// For harnesses that cannot have a slower first thousand; together with families declared `.hot()`.
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
