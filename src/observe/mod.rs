//! One thread writes, a scrape reads: the only room with lock-free code.
//!
//! # The memory model on one page
//!
//! Every thread has a shard ([`shard`]): cells of 8 bytes that only it writes, with a relaxed load, an add and a
//! store. Nothing is lost because nobody else writes them, and any thread may read them. A series has a slot, its
//! place in every shard ([`slot`]); before it is hot it has none and counts in one shared cell with an atomic add.
//!
//! One compare, slot against the length of the thread's slab, tells the hot path from everything else: not yet
//! registered, not yet hot, not yet grown, retired, asked for a safe point. All of these go to one cold function,
//! [`Thread::settle`].
//!
//! A scrape is a pass ([`pass`]) that adds up the shared cell and the slot in every shard. Sources are only ever
//! added to, and only join, so totals never go back. What has to be seen together (a histogram's buckets and its sum)
//! is ordered by its own cells ([`buckets`]); what only makes sense in an order (ups before downs) by [`tally`].
//!
//! This room knows no names, labels or formats.

#![allow(
    unsafe_code,
    reason = "the room for it: every block names the invariant it rests on"
)]
#![cfg_attr(
    loom,
    allow(dead_code, unused_imports, reason = "models drive what they need")
)]

#[cfg(all(feature = "process", not(loom)))]
mod allocator;
mod buckets;
mod epoch;
#[cfg(not(loom))]
mod exemplar;
mod kept;
mod level;
mod memory;
#[cfg(all(test, loom))]
mod models;
mod native;
mod pass;
mod published;
mod shard;
mod slot;
#[cfg(not(loom))]
mod store;
mod stream;
mod summary;
mod tally;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(not(loom))]
mod text;
mod thread;
mod update;
mod window;

use std::sync::{Arc, LazyLock};

use crate::sync::{AtomicU64, Mutex, Relaxed, const_fn, lock};

#[cfg(all(feature = "process", not(loom)))]
pub use allocator::{Allocated, Allocator, allocated, count_allocations};
pub use buckets::{Buckets, MOST_BUCKETS, Observed, Shape, join_sums};
#[cfg(not(loom))]
pub use exemplar::Exemplars;
pub use kept::Kept;
pub use level::{Change, Level};
pub use pass::{Pass, Retired};
pub use slot::{Place, Tag, stride};
#[cfg(not(loom))]
pub use store::{BATCH, Found, Store, prefetch};
pub use stream::{Flush, Streamed};
pub use summary::{Distribution, Promise};
pub use tally::{Number, Tally, UpDown};
#[cfg(not(loom))]
pub use text::SharedText;
pub use thread::Thread;
pub use window::Window;

use epoch::pin;
use memory::Block;
use pass::Collector;
use shard::Shards;
use slot::Slots;
#[cfg(any(test, loom, feature = "process"))]
use update::promote;

/// Updates of its shared cell after which a series is hot.
#[cfg(not(loom))]
pub const PROMOTE_AFTER: u64 = 1024;
#[cfg(loom)]
pub const PROMOTE_AFTER: u64 = 1;

/// What all threads share. One per process; in a model, one per run.
pub struct Engine {
    shards: Shards,
    slots: Slots,
    collector: Mutex<Collector>,
    /// Slots of families that are gone, for the next pass to free.
    abandoned: Mutex<Vec<Abandoned>>,
    /// What all streams of summaries may take.
    budget: LazyLock<Arc<stream::Budget>>,
    /// What happened out of the ordinary, for the self-metrics.
    pub stats: Stats,
}

/// Slots of families that are gone, beyond which a thread that adds to them makes a pass.
const MANY_ABANDONED: usize = 4096;

/// Last cell, width, whether the slot was waiting to be used again, and what gives back what a block holds.
type Abandoned = (u64, usize, bool, fn(Block));

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
        fn new() -> Self {
            Self {
                shards: Shards::new(),
                slots: Slots::new(),
                collector: Mutex::new(Collector::new()),
                abandoned: Mutex::new(Vec::new()),
                budget: LazyLock::new(stream::Budget::new),
                stats: Stats::new(),
            }
        }
    }

    /// Bytes that the streams of summaries take, and what they may take.
    pub fn summary_memory(&self) -> (u64, u64) {
        self.budget.bytes()
    }

    /// What their limit asks of them: 0 nothing, 1 small buffers, 2 one stream for all further threads of a series.
    pub fn summary_mode(&self) -> u8 {
        self.budget.mode()
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

/// What became of a cold update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is counted.
    Done,
    /// The handle is stale; nothing was written.
    Stale,
}

/// The cells of one series: how they are read, and what becomes of them when the series ends.
pub trait Cells: std::fmt::Debug + Send + Sync + 'static {
    /// What all series of a family have in common.
    type Shape: Clone + std::fmt::Debug + Send + Sync;
    /// What a read gives.
    type Total: Default + std::fmt::Debug + Send;

    /// The cells of a fresh series.
    fn new(shape: &Self::Shape) -> Self;

    /// Where it counts.
    fn place(&self) -> &Place;

    /// The number of cells in a shard.
    fn width(shape: &Self::Shape) -> usize;

    /// Makes a total that was used before like a fresh one.
    fn reset(total: &mut Self::Total) {
        *total = Self::Total::default();
    }

    /// Adds the series to `total`: shared cells, and the block `slot` in every shard.
    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut Self::Total);

    /// Reads several series, in an order that suits memory; `totals` are as many, and hold anything.
    fn read_all<'a>(
        pass: &mut Pass<'_>,
        series: impl Iterator<Item = &'a Self> + Clone,
        totals: &mut [Self::Total],
    ) where
        Self: Sized,
    {
        for (series, total) in series.zip(totals) {
            Self::reset(total);
            series.read(pass, series.place().slot(), total);
        }
    }

    /// Makes ready for folds; false if somebody is writing just now, who is not waited for.
    fn begin_fold(&self) -> bool {
        true
    }

    /// After the last fold.
    fn end_fold(&self) {}

    /// Adds the block of a retired series, if its kind adds up.
    #[doc(hidden)]
    fn fold(&self, block: Block);

    /// Gives back what the block of an ended series holds besides numbers.
    #[doc(hidden)]
    fn release(_shape: &Self::Shape) -> fn(Block)
    where
        Self: Sized,
    {
        |_| ()
    }

    /// Adds the shared cells of a retired series, if its kind adds up.
    fn fold_shared(&self, other: &Self);

    /// Makes a retired series like a fresh one; nobody updates it.
    fn clear(&self, shape: &Self::Shape);

    /// The same for a series in use; what is being written just now may stay.
    fn start_over(&self, shape: &Self::Shape) {
        self.clear(shape);
    }
}

/// Ends a retired series, if nobody can be updating it any more: its slot and its shared cells go to `overflow`, if any,
/// and are cleared. False: try later. The slot is free once the caller has ended all it wants to, and calls
/// [`Pass::let_go`].
pub fn end<C: Cells>(
    pass: &mut Pass<'_>,
    shape: &C::Shape,
    series: &C,
    retired: Retired,
    overflow: Option<&C>,
) -> bool {
    if !pass.is_safe(retired) {
        return false;
    }
    if overflow.is_some_and(|overflow| !overflow.begin_fold()) {
        return false;
    }
    let done = end_now(pass, shape, series, retired, overflow);
    if let Some(overflow) = overflow {
        overflow.end_fold();
    }
    done
}

/// Moves what idle shards hold of a series to its shared cells; see [`Pass::take_idle`].
pub fn fold_idle<C: Cells>(pass: &mut Pass<'_>, shape: &C::Shape, series: &C) {
    let width = C::width(shape);
    let Some(last) = series.place().slot() else {
        return;
    };
    // Where a writer has the shared cells just now, the next pass folds.
    if !series.begin_fold() {
        return;
    }
    let release = C::release(shape);
    pass.drain_idle(last, width, |block| {
        series.fold(block);
        release(block);
    });
    series.end_fold();
}

/// Reads the overflow series, and behind it the retired series that some thread may still be updating.
///
/// The order matters for what goes up and down: a thread whose series is retired between its `inc` and its `dec` counts
/// the `dec` in the overflow series. A reader that has seen this `dec` has acquired the `inc` before it, and finds it in
/// the retired series. The other way round it would miss the `inc` and see the `dec`.
pub fn read_overflow<'a, C: Cells>(
    pass: &mut Pass<'_>,
    overflow: &C,
    retired: impl Iterator<Item = (&'a C, Retired)>,
    total: &mut C::Total,
) {
    overflow.read(pass, overflow.place().slot(), total);
    for (series, retired) in retired {
        series.read(pass, retired.slot(), total);
    }
}

/// Makes a series like a fresh one while it is in use, and the slot it had when it was retired: for the only thread of a
/// process. What its blocks hold besides numbers is left behind, not freed.
pub fn start_over<C: Cells>(
    pass: &Pass<'_>,
    shape: &C::Shape,
    series: &C,
    retired: Option<Retired>,
) {
    let slot = retired.map_or_else(|| series.place().slot(), Retired::slot);
    if let Some(last) = slot {
        pass.zero(last, C::width(shape));
    }
    series.start_over(shape);
}

fn end_now<C: Cells>(
    pass: &mut Pass<'_>,
    shape: &C::Shape,
    series: &C,
    retired: Retired,
    overflow: Option<&C>,
) -> bool {
    let release = C::release(shape);
    let fold = |block| {
        if let Some(overflow) = overflow {
            overflow.fold(block);
        }
        release(block);
    };
    if let Some(last) = retired.slot()
        && !pass.reclaim(last, C::width(shape), fold)
    {
        return false;
    }
    if let Some(overflow) = overflow {
        overflow.fold_shared(series);
    }
    series.clear(shape);
    true
}

/// The most cells of a row: what a thread has to have for all of them as soon as it has one.
pub const MOST_IN_ROW: u64 = 1024;

/// Gives cold series of `cells` cells each, which nobody has updated yet, slots that follow each other. Returns the first
/// one's; the others' are a [`stride`] apart. `None` where there are none, or where they would be too many.
pub fn promote_row<'a>(
    engine: &Engine,
    places: impl ExactSizeIterator<Item = &'a Place>,
    cells: usize,
) -> Option<u64> {
    let count = places.len() as u64;
    if cells == 0 || count == 0 || count * stride(cells) > MOST_IN_ROW {
        return None;
    }
    let first = engine.slots.allocate_row(cells, count)?;
    let promoted = places
        .zip((first..).step_by(stride(cells) as usize))
        .all(|(place, last)| place.promote(Tag::FIRST, last));
    debug_assert!(promoted, "somebody was there before");
    promoted.then_some(first)
}

/// Counts an update of a shared cell; roughly, where threads race. Tells whether the series has earned slots.
fn count_update(updates: &AtomicU64) -> update::Shared {
    let count = updates.load(Relaxed) + 1;
    updates.store(count, Relaxed);
    update::Shared::Counted {
        hot: count.is_multiple_of(PROMOTE_AFTER),
    }
}

/// Waits a little, longer each time, for a thread that is between a few stores.
fn back_off(tries: &mut u32) {
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
fn keep_until_exit() -> bool {
    true
}

#[cfg(loom)]
fn with_flush<R>(f: impl FnOnce(&mut Flush) -> R) -> R {
    f(&mut Flush::default())
}

#[cfg(not(loom))]
pub use process::{engine, keep_until_exit, limit_summaries, refuse, thread, warm, with_flush};

/// The engine of this process, and the calling thread's side of it.
#[cfg(not(loom))]
mod process {
    use std::cell::Cell;

    use super::{Engine, Flush, Thread};

    static ENGINE: Engine = Engine::new();

    thread_local! {
        /// Without a destructor, so that the hot path needs no check.
        static THREAD: Thread = const { Thread::new() };
        /// Touched by the cold path only.
        static EXIT: Exit = const { Exit };
        /// What flushes of this thread use again.
        static FLUSH: Cell<Option<Box<Flush>>> = const { Cell::new(None) };
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
    pub fn refuse() {
        ENGINE.stats.refused.fetch_add(1, crate::sync::Relaxed);
    }

    /// Sees to it that this thread leaves its shard when it ends; false if it is ending already.
    pub fn keep_until_exit() -> bool {
        EXIT.try_with(|_| ()).is_ok()
    }

    /// Limits the memory of all summaries' streams together, in bytes; 64 MiB without this. Beyond it go the one stream that
    /// every series has in any case, and those that threads were making when it was met: some 4 to 5 KB each.
    ///
    /// From half of it on buffers are small ones, which costs time; beyond it threads share one stream per series behind a
    /// short lock. What is promised of quantiles holds either way. `tallies_stream_mode` tells which it is.
    ///
    /// ```
    /// tallies::limit_summaries(16 << 20);
    /// # tallies::limit_summaries(64 << 20);
    /// ```
    pub fn limit_summaries(bytes: u64) {
        ENGINE.budget.set(bytes);
    }

    /// Runs `f` with memory that this thread's flushes use again.
    pub fn with_flush<R>(f: impl FnOnce(&mut Flush) -> R) -> R {
        let mut flush = FLUSH
            .try_with(Cell::take)
            .ok()
            .flatten()
            .unwrap_or_default();
        let result = f(&mut flush);
        // In a thread that ends it is simply dropped.
        let _ = FLUSH.try_with(|kept| kept.set(Some(flush)));
        result
    }

    /// Makes the calling thread's first updates as fast as its later ones: takes a shard, and room for every series
    /// that is hot by now.
    ///
    /// For harnesses that cannot have a slower first thousand; together with families declared `.hot()`.
    ///
    /// ```
    /// std::thread::spawn(|| {
    ///     tallies::warm();
    ///     // measure
    /// });
    /// ```
    pub fn warm() {
        thread(|thread| thread.warm(&ENGINE));
    }
}
