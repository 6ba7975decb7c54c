//! The cells of a histogram: a reader always gets an exact prefix of each thread's observations.
//!
//! # Protocol
//!
//! A block has these cells, counted from the last one down:
//!
//! | cell | content |
//! |---|---|
//! | 0 | `state`: count << 1 \| side |
//! | 1, 2 | `sum[1]` and `sum[0]`; `sum[side]` belongs to `count` |
//! | 3, 4, … | of an event, two cells per counter; then one count per bucket |
//!
//! An observation makes three Release stores, in this order: the other sum (`sum[side ^ 1]`), its
//! bucket, and `state` with the new count and the other side. The bucket is the store that makes it
//! count. A reader loads `state`, the buckets, a sum, and `state` again. It retries if the two
//! states differ. If both are that of observation N, then one of these is true:
//!
//! - The reader saw no store of observation N+1 to a bucket. The buckets add up to `count`, and the
//!   reader takes `sum[side]`: the result is observations 1 to N.
//! - The reader saw the bucket of N+1 but not its `state`. The buckets do not add up to `count`,
//!   and the reader takes the other sum: the result is observations 1 to N+1.
//!
//! # Invariants
//!
//! - B1: A reader that loads the `state` of observation N (Acquire) sees all stores of observations
//!   1 to N, because the store of `state` (Release) is the last one of an observation.
//! - B2: A reader that loads a sum or a bucket of observation N+2 or later gets a `state` of N+1 or
//!   later from its second load, because that state was stored before (Release), and an Acquire
//!   fence stands before the second load. So it retries.
//! - B3: A read that is not retried therefore differs from observations 1 to N at most by the
//!   bucket and the sum of N+1. The writer stored that sum before the bucket (Release).
//! - B4: A block has `BUCKET + buckets` cells, and two more for each counter of an event; the block
//!   of a native histogram has one cell, the address of a [`Table`]. Only one thread observes in a
//!   block at a time: the owner of the shard (invariant I1 of [`shard`](super::shard)), or the
//!   thread that holds the lock of the cold block (invariant U1 of
//!   [`cold_lock`](super::cold_lock)).
//!
//! # Events
//!
//! The block of an [event](crate::event) has counters between the sums and the buckets, two cells
//! for each, as a sum has: one belongs to `state`, the other one to the next event. An event stores
//! the next sum and the next counters, its bucket, and `state`. An event that observes nothing
//! counts in the last bucket, which is no bucket of the histogram. So each event stores to exactly
//! one bucket, and all above holds for its counters as it does for its sum: a reader sees all of an
//! event or nothing.
//!
//! A writer that is suspended at any instruction leaves `state` unchanged, so the reader's next try
//! succeeds. It misses at most the unfinished observation.
//!
//! # Cold series
//!
//! Before a series is promoted, all threads share one block with the same cells, the cold block. A
//! lock lets one of them write at a time. Readers do not take the lock, unless writers
//! have made many of their tries fail.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::lockfree::Generation;
use crate::mapped::{Move, Place, Words};
use crate::snapshot::{FloatSum, Native, Resolution, sum_up};
use crate::sync::{Acquire, AtomicU64, Relaxed, Release, fence, owner_load};

use super::bucket_index::BucketIndex;
use super::cells::{Cells, MoveBlock, Outcome, SeriesWords};
use super::cold_lock::Denied;
use super::engine::Engine;
use super::memory::Block;
use super::native::{self, Table};
use super::pass::{Pass, ReadBlock};
use super::thread::Thread;
use super::update::{Update, lock_if_cold};

/// Returns the cell of a side's sum: 2 or 1, so that its address is a constant plus the side.
///
/// # Safety
///
/// The block is that of a histogram, `side` is 0 or 1, and the memory outlives the result.
#[inline(always)]
pub(super) unsafe fn sum_cell<'a>(block: Block, side: u64) -> &'a AtomicU64 {
    // SAFETY: the caller's contract.
    unsafe { block.cell_above(SUM_0, side as usize) }
}

/// The index of `sum[0]` in a block; `sum[1]` is one cell before.
const SUM_0: usize = 2;

/// The index of the first bucket in a block.
pub const BUCKET: usize = 3;

/// Returns the cell of a side's counter.
///
/// # Safety
///
/// The same as for [`sum_cell`], and the block has a counter of this number.
#[inline(always)]
unsafe fn counter_cell<'a>(block: Block, counter: usize, side: u64) -> &'a AtomicU64 {
    // SAFETY: the caller's contract.
    unsafe { block.cell_above(SUM_0 + 2 * (counter + 1), side as usize) }
}

/// The distance, in series, at which a scrape prefetches memory.
const PREFETCH_DISTANCE: usize = 4;

/// The maximum number of buckets of a histogram, including `+Inf`.
pub const MOST_BUCKETS: usize = 16_384;

/// The cells of one series of a histogram.
#[repr(C)]
pub struct Buckets {
    /// A reader whose tries keep failing takes the lock, too.
    series: SeriesWords,
    /// The address of the cold block's lowest word, or 0. Created by its first writer, replaced by
    /// passes under the lock, read by writers under the lock and by passes.
    cold: AtomicU64,
    /// The number of cells for `state`, the sums, the counters and the fixed buckets. Never
    /// changes.
    cells: u32,
    /// The number of counters of an event. Never changes.
    counters: u32,
    /// The resolution of a native histogram, `None` for any other. Never changes.
    native: Option<Arc<Resolution>>,
}

/// The properties that all series of a histogram share.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The number of fixed buckets, including `+Inf`.
    pub buckets: usize,
    /// The resolution of a native histogram, `None` for any other.
    pub native: Option<Arc<Resolution>>,
    /// The bounds of the fixed buckets.
    pub index: BucketIndex,
    /// The number of counters of an event. It has one bucket more than its bounds say.
    pub counters: usize,
}

impl Shape {
    /// Returns the shape of a histogram with these bounds.
    #[must_use]
    pub(crate) fn new(bounds: &'static [f64], native: Option<Resolution>) -> Self {
        Self {
            buckets: bounds.len() + 1,
            native: native.map(Arc::new),
            index: BucketIndex::new(bounds),
            counters: 0,
        }
    }

    /// Returns the shape of an event with this many counters, and a histogram with these bounds.
    #[must_use]
    pub(crate) fn event(counters: usize, bounds: &'static [f64]) -> Self {
        Self {
            buckets: bounds.len() + 2,
            counters,
            ..Self::new(bounds, None)
        }
    }

    /// Returns whether it is that of an event.
    pub(crate) fn is_event(&self) -> bool {
        self.buckets > self.index.bounds().len() + 1
    }

    /// Returns the bucket of an event that observes nothing.
    #[inline]
    pub(crate) fn no_bucket(&self) -> usize {
        self.buckets - 1
    }

    /// Returns the shape of a histogram that has fixed buckets only, for callers that know the
    /// bucket of a value.
    #[cfg(test)]
    pub(super) fn fixed(buckets: usize) -> Self {
        Self {
            buckets,
            ..Self::new(&[], None)
        }
    }
}

/// An observation of `value`, which falls into `bucket`, that counts `times` times.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    pub bucket: usize,
    pub value: f64,
    pub times: u64,
}

impl Observation {
    /// Creates an observation.
    #[must_use]
    pub const fn new(bucket: usize, value: f64, times: u64) -> Self {
        Self {
            bucket,
            value,
            times,
        }
    }

    /// Returns what it adds to the sum.
    #[inline(always)]
    pub(super) fn sum(self) -> f64 {
        self.value * self.times as f64
    }
}

/// The observations of one series: counts per bucket (not cumulative), and the sum of the same
/// observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// One count per bound, and a last one for `+Inf`.
    pub counts: Vec<u64>,
    /// The sum of all observed values.
    pub sum: f64,
    /// The exponential buckets of a native histogram.
    pub native: Option<Native>,
}

impl Observed {
    /// Returns the number of observations.
    ///
    /// ```
    /// let seen = tallies::buckets::Observed { counts: vec![2, 0, 1], sum: 4.5, native: None };
    /// assert_eq!(seen.count(), 3);
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }
}

/// The observations of one series while they are added up. The sum is not rounded yet, so that it
/// does not depend on how the observations are spread over cells.
#[derive(Debug, Default)]
pub struct ObservedTotal {
    /// One count per bound, and a last one for `+Inf`.
    pub counts: Vec<u64>,
    /// The sum of all observed values.
    pub sum: FloatSum,
    /// The exponential buckets of a native histogram.
    pub native: Option<Native>,
    /// The counters of an event.
    pub counters: Vec<u64>,
}

impl ObservedTotal {
    /// Returns the number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// Returns the observations with the sum, which is rounded once.
    pub fn rounded(self) -> Observed {
        Observed {
            counts: self.counts,
            sum: self.sum.value(),
            native: self.native,
        }
    }
}

impl Buckets {
    /// Returns the number of cells of a series that has fixed buckets only.
    #[inline(always)]
    pub const fn fixed_cells(buckets: usize) -> usize {
        BUCKET + buckets
    }

    /// Returns the number of cells of an event.
    #[inline(always)]
    pub const fn event_cells(counters: usize, buckets: usize) -> usize {
        BUCKET + 2 * counters + buckets
    }

    /// Records an event: `added` to the counters, and `value`, which falls into `bucket`. Returns
    /// `false` if the caller has to take the cold path.
    #[inline(always)]
    pub fn record(thread: &Thread, last: u64, added: &[u64], bucket: usize, value: f64) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        // SAFETY: B4; the calling thread owns the block, whose series has as many counters and
        // this bucket, as in `observe`.
        unsafe { record(block, added, bucket, value) };
        true
    }

    /// The cold path of [`record`](Self::record).
    pub fn record_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        generation: Generation,
        (added, bucket, value): (&[u64], usize, f64),
        eager: bool,
    ) -> Outcome {
        debug_assert_eq!(added.len(), self.counters as usize);
        // SAFETY: this thread is the only writer of the block (B4): it owns the block that `run`
        // passes, or holds the lock of the cold block. The series has this bucket, as in `observe`.
        let write = |block| unsafe { record(block, added, bucket, value) };
        let update = Update::new(self, (engine, thread), generation, self.cells.into(), eager);
        let mut own = |block| {
            write(block);
            true
        };
        let mut cold = || {
            self.cold();
            update.count_cold(|| write(self.cold()))
        };
        update.run(&mut own, &mut cold)
    }

    /// Observes in the cold block in the common case; see [`lock_if_cold`]. Returns `false`, and
    /// observes nothing, in any other. `is_hot`: whether the family is declared hot.
    #[inline(always)]
    pub fn observe_if_cold(
        &self,
        engine: &Engine,
        at: (u64, Generation),
        observation: Observation,
        is_hot: impl FnOnce() -> bool,
    ) -> bool {
        let Observation { bucket, times, .. } = observation;
        // SAFETY: this thread holds the lock of the cold block (B4). The caller selects `bucket` as
        // in `observe`.
        let add = |block| unsafe { observe(block, bucket, observation.sum(), times) };
        self.write_if_cold(engine, at, add, is_hot)
    }

    /// Records in the cold block in the common case, as [`observe_if_cold`](Self::observe_if_cold)
    /// does.
    #[inline(always)]
    pub fn record_if_cold(
        &self,
        engine: &Engine,
        at: (u64, Generation),
        (added, bucket, value): (&[u64], usize, f64),
        is_hot: impl FnOnce() -> bool,
    ) -> bool {
        debug_assert_eq!(added.len(), self.counters as usize);
        // SAFETY: as above; and the caller adds to as many counters as the series has.
        let add = |block| unsafe { record(block, added, bucket, value) };
        self.write_if_cold(engine, at, add, is_hot)
    }

    #[inline(always)]
    fn write_if_cold(
        &self,
        engine: &Engine,
        (last, generation): (u64, Generation),
        write: impl FnOnce(Block),
        is_hot: impl FnOnce() -> bool,
    ) -> bool {
        let SeriesWords { slot_word, lock } = &self.series;
        // A native histogram has a table.
        if self.native.is_some() {
            return false;
        }
        let Some(held) = lock_if_cold(engine, last, (lock, generation)) else {
            return false;
        };
        // A fresh series has no block yet.
        let Some(block) = self.cold_of(self.cells as usize) else {
            return false;
        };
        write(block);
        held.count(engine, (slot_word, u64::from(self.cells)), is_hot);
        true
    }

    /// Returns the index of the first bucket in a block.
    fn first_bucket(&self) -> usize {
        Self::event_cells(self.counters as usize, 0)
    }

    /// Observes `value` `times` times. `bucket` finds its bucket, if it can. Returns `false` if the
    /// caller has to take the cold path.
    #[inline(always)]
    pub fn observe(
        thread: &Thread,
        last: u64,
        bucket: impl FnOnce() -> Option<usize>,
        value: f64,
        times: u64,
    ) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        let Some(bucket) = bucket() else { return false };
        // SAFETY: B4; the calling thread owns the block. The caller selects `bucket` by the bounds
        // that the series was made with, so the block has it.
        unsafe { observe(block, bucket, value * times as f64, times) };
        true
    }

    /// The same as [`observe`](Self::observe), for a native histogram.
    #[inline(always)]
    pub fn observe_native(
        thread: &Thread,
        last: u64,
        bucket: usize,
        value: f64,
        times: u64,
    ) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        // SAFETY: B4; the calling thread owns the block.
        unsafe { native::observe_known(block, bucket, value, times) }
    }

    /// Adds an observation to a block.
    ///
    /// Returns `None`, and observes nothing, if a native histogram has to grow while this thread is
    /// already growing something: the observation then comes from the allocator.
    ///
    /// # Safety
    ///
    /// The block belongs to this series, and the caller is its only writer.
    unsafe fn write(&self, thread: &Thread, block: Block, observation: Observation) -> Option<()> {
        // SAFETY: the caller's contract, and B4 for the number of cells. The bucket is one of the
        // series' buckets, as in `observe`.
        unsafe {
            match &self.native {
                Some(resolution) => native::write(thread, block, resolution, observation),
                None => {
                    let Observation { bucket, times, .. } = observation;
                    observe(block, bucket, observation.sum(), times);
                    Some(())
                }
            }
        }
    }

    /// The cold path of [`observe`](Self::observe) and [`observe_native`](Self::observe_native).
    ///
    /// `eager` promotes the series now, not after many updates.
    pub fn observe_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        generation: Generation,
        observation: Observation,
        eager: bool,
    ) -> Outcome {
        let rejected = Cell::new(false);
        let write = |block| {
            // SAFETY: this thread is the only writer of the block (B4): it owns the block that
            // `run` passes, or holds the lock of the cold block.
            if unsafe { self.write(thread, block, observation) }.is_none() {
                rejected.set(true);
            }
        };
        let cells = self.block_cells() as u64;
        let update = Update::new(self, (engine, thread), generation, cells, eager);
        let mut own = |block| {
            write(block);
            true
        };
        let mut cold = || {
            // Allocates before the lock is taken.
            self.cold();
            match update.count_cold(|| write(self.cold())) {
                Err(Denied::Busy) if self.native.is_some() && thread.in_allocation.get() => {
                    // This thread may hold the lock: a table grows under it, and the allocator
                    // observes here. Waiting would be a deadlock.
                    rejected.set(true);
                    Ok(())
                }
                // If there is no slot or no shard for the series, this thread waits. Depending on
                // who holds the lock, it waits for
                // - a writer: three stores, or the growth of a native histogram's table;
                // - a reader whose tries kept failing: one read;
                // - the collector: one fold.
                done => done,
            }
        };
        let outcome = update.run(&mut own, &mut cold);
        if rejected.get() {
            Outcome::Rejected
        } else {
            outcome
        }
    }

    /// Returns the cold block. Allocates it on first use, as a series that is hot from the start
    /// needs none.
    fn cold(&self) -> Block {
        self.cold_block().unwrap_or_else(|| {
            let fresh = Words::new(self.block_cells(), Place::of(self)).into_raw();
            let address = fresh.expose_provenance() as u64;
            // Release: pairs with the Acquire in `cold_block`. Relaxed: if another thread has been
            // faster, `cold_block` loads its block below.
            let made = self.cold.compare_exchange(0, address, Release, Relaxed);
            if made.is_err() {
                // SAFETY: allocated above, and nobody else has it.
                unsafe { self.free_cold(address) };
            }
            self.cold_block().expect("it was made")
        })
    }

    /// Returns the cold block, if there is one. It does not change while the caller holds its lock,
    /// or runs a pass.
    fn cold_block(&self) -> Option<Block> {
        self.cold_of(self.block_cells())
    }

    /// Returns the cold block, which has this number of cells, if there is one.
    #[inline]
    fn cold_of(&self, cells: usize) -> Option<Block> {
        // Acquire: pairs with the Release in `cold`.
        let address = self.cold.load(Acquire) as usize;
        let first = std::ptr::with_exposed_provenance::<AtomicU64>(address);
        (address != 0).then(|| Block::from_first(first, cells))
    }

    /// Frees a cold block.
    ///
    /// # Safety
    ///
    /// The address is that of a cold block that nobody uses any more.
    unsafe fn free_cold(&self, address: u64) {
        let first = std::ptr::with_exposed_provenance_mut(address as usize);
        let first = std::ptr::NonNull::new(first).expect("a block has an address");
        // SAFETY: by the caller's contract. All cold blocks of a series have as many words.
        drop(unsafe { Words::from_raw(first, self.block_cells()) });
    }

    /// Returns the number of cells of the cold block and of the block in every shard.
    fn block_cells(&self) -> usize {
        if self.native.is_some() {
            1
        } else {
            self.cells as usize
        }
    }

    /// Moves what another block counts to a new cold block. The calling pass holds the lock of the
    /// cold block. Returns `false`, and moves nothing, if there is no memory.
    fn take(&self, other: Block) -> bool {
        if let Some(resolution) = &self.native {
            // SAFETY: both blocks are one cell, and this thread is the only writer of both (B4).
            // The calling pass has pinned the epoch.
            return unsafe { native::fold(self.cold(), other, resolution) };
        }
        let cells = self.cells as usize;
        // From here on there is a cold block, so that no thread makes one.
        let old = self.cold();
        let Some(fresh) = Words::only(cells, Place::of(self)) else {
            return false;
        };
        let block = Block::of(&fresh);
        // SAFETY: all blocks have the cells of this family, and no other thread writes them (B4).
        // Relaxed: only the calling pass reads the block, and the lock carries these stores to the
        // next writer.
        let zeroed = unsafe {
            add_total(block, old);
            add_total(block, other);
            for i in 0..self.counters as usize {
                add_counter(block, old, i);
                add_counter(block, other, i);
            }
            for i in self.first_bucket()..cells {
                let count = owner_load(old.cell(i)).wrapping_add(owner_load(other.cell(i)));
                block.cell(i).store(count, Relaxed);
            }
            other.words(cells)
        };
        let mut moved = Move::new();
        let before = self.cold.load(Relaxed);
        moved.set(&self.cold, fresh.into_raw().expose_provenance() as u64);
        moved.fill(zeroed, 0);
        moved.commit();
        // SAFETY: passes are serialized, and writers load the address under the lock, which the
        // calling pass holds. So nobody uses the block any more.
        unsafe { self.free_cold(before) };
        true
    }
}

/// Returns the block of a histogram with fixed buckets, which is read in place.
pub(super) fn in_place(block: Block, cells: usize) -> ReadBlock<()> {
    ReadBlock {
        block,
        cells,
        copy: copy_fixed,
        of: (),
    }
}

/// Copies a block to a buffer.
///
/// # Safety
///
/// The block has as many cells as the buffer. The caller is the owner of the block.
pub(super) unsafe fn copy_fixed(block: Block, buffer: &[AtomicU64]) {
    // SAFETY: by the caller's contract.
    unsafe { block.copy_to(buffer, buffer.len()) };
}

impl Drop for Buckets {
    fn drop(&mut self) {
        let Some(cold) = self.cold_block() else {
            return;
        };
        if self.native.is_some() {
            // SAFETY: the block is one cell (B4), and no thread can reach the series any more.
            unsafe { native::release(cold) };
        }
        // SAFETY: as above.
        unsafe { self.free_cold(self.cold.load(Relaxed)) };
    }
}

/// Adds `times` observations in one bucket, whose values add up to `added`.
///
/// # Safety
///
/// The block has `BUCKET + buckets` cells, `bucket` is below `buckets`, and the caller is the only
/// writer of the block.
#[inline(always)]
pub(super) unsafe fn observe(block: Block, bucket: usize, added: f64, times: u64) {
    // SAFETY: the caller's contract. The Release stores pair with `try_read`: that of the sum with
    // its second fence (B2), that of the bucket with both fences (B2, B3), and that of `state` with
    // the Acquire load (B1).
    unsafe {
        let state = owner_load(block.cell(0));
        let side = state & 1;
        let sum = f64::from_bits(owner_load(sum_cell(block, side))) + added;
        sum_cell(block, side ^ 1).store(sum.to_bits(), Release);
        let count = block.cell(BUCKET + bucket);
        count.store(owner_load(count).wrapping_add(times), Release);
        block
            .cell(0)
            .store(state.wrapping_add(times << 1) ^ 1, Release);
    }
}

/// Adds the number and the sum of the observations in another block, which no other thread writes,
/// to those in a block that is not published yet.
///
/// # Safety
///
/// Both blocks are those of histograms.
pub(super) unsafe fn add_total(block: Block, other: Block) {
    // SAFETY: the caller's contract: every block has a `state` and two sums.
    let [(count, sum), (more, added)] = [block, other].map(|block| unsafe {
        let state = owner_load(block.cell(0));
        let sum = owner_load(sum_cell(block, state & 1));
        (state >> 1, f64::from_bits(sum))
    });
    // SAFETY: as above.
    // Relaxed: what publishes the block carries these stores.
    unsafe {
        block.cell(0).store(count.wrapping_add(more) << 1, Relaxed);
        sum_cell(block, 0).store(sum_up(sum, added).to_bits(), Relaxed);
    }
}

/// Adds a counter in another block, which no other thread writes, to that of a block that is not
/// published yet, and has side 0.
///
/// # Safety
///
/// Both blocks are those of events that have a counter of this number.
unsafe fn add_counter(block: Block, other: Block, i: usize) {
    // SAFETY: the caller's contract. Relaxed: what publishes the block carries the store.
    unsafe {
        let side = owner_load(other.cell(0)) & 1;
        let (own, added) = (counter_cell(block, i, 0), counter_cell(other, i, side));
        own.store(owner_load(own).wrapping_add(owner_load(added)), Relaxed);
    }
}

/// Adds an event to a block: one observation of `value` in `bucket`, and `added` to the counters.
///
/// # Safety
///
/// The block has [`Buckets::event_cells`] of `added.len()` counters and more than `bucket` buckets,
/// and the caller is the only writer of the block.
#[inline(always)]
pub(super) unsafe fn record(block: Block, added: &[u64], bucket: usize, value: f64) {
    // SAFETY: the caller's contract. The Release stores pair with `read_event`, as those of
    // `observe` do: those of the counters as that of the sum.
    unsafe {
        let state = owner_load(block.cell(0));
        let side = state & 1;
        let sum = f64::from_bits(owner_load(sum_cell(block, side))) + value;
        sum_cell(block, side ^ 1).store(sum.to_bits(), Release);
        for (i, added) in added.iter().enumerate() {
            let count = owner_load(counter_cell(block, i, side)).wrapping_add(*added);
            counter_cell(block, i, side ^ 1).store(count, Release);
        }
        let count = block.cell(BUCKET + 2 * added.len() + bucket);
        count.store(owner_load(count).wrapping_add(1), Release);
        block.cell(0).store(state.wrapping_add(2) ^ 1, Release);
    }
}

/// Reads a prefix of the block's observations into `counts`, and returns their sum. Returns `None`,
/// with garbage in `counts`, if an observation was completed during the read.
///
/// # Safety
///
/// The block has `BUCKET + counts.len()` cells.
#[inline]
pub(super) unsafe fn try_read(block: Block, counts: &mut [u64]) -> Option<f64> {
    // SAFETY: the caller's contract: `read_prefix` loads cells below that number.
    read_prefix(
        |cell, order| unsafe { block.cell(cell) }.load(order),
        counts,
    )
}

/// The protocol of [`try_read`], for words of this process and for words of a file: `load` loads a
/// cell below `BUCKET + counts.len()`.
#[inline(always)]
pub fn read_prefix(load: impl Fn(usize, Ordering) -> u64, counts: &mut [u64]) -> Option<f64> {
    read_event(load, &mut [], counts)
}

/// The same for the block of an event, whose counters it reads, too: `load` loads a cell below
/// [`Buckets::event_cells`].
#[inline(always)]
pub fn read_event(
    load: impl Fn(usize, Ordering) -> u64,
    counters: &mut [u64],
    counts: &mut [u64],
) -> Option<f64> {
    let first = BUCKET + 2 * counters.len();
    // Acquire: pairs with the Release store of `state` in `observe` (B1).
    let state = load(0, Acquire);
    let mut total = 0_u64;
    for (i, count) in counts.iter_mut().enumerate() {
        *count = load(first + i, Relaxed);
        total = total.wrapping_add(*count);
    }
    // Acquire: pairs with the Release store of the bucket in `observe` (B3).
    // - If a bucket includes observation N+1, the other sum below includes it, too.
    // - If none does, the buckets add up to `count`, and `sum[side]` belongs to them.
    fence(Acquire);
    let side = state & 1 ^ u64::from(total << 1 != state & !1);
    let sum = load(SUM_0 - side as usize, Relaxed);
    for (i, counter) in counters.iter_mut().enumerate() {
        *counter = load(SUM_0 + 2 * (i + 1) - side as usize, Relaxed);
    }
    // Acquire: pairs with the Release stores of sum and bucket in `observe` (B2). If one of the
    // loads above got a value of observation N+2 or later, the load below gets a later `state`.
    fence(Acquire);
    (load(0, Relaxed) == state).then_some(f64::from_bits(sum))
}

/// Reads the buckets for another process if all its tries failed, since it cannot request a copy.
/// Every bucket is right for itself, and so is the count, which is their sum. The sum of the values
/// and the counters of an event may be those of a few observations more or less.
pub fn read_unsteady(
    load: impl Fn(usize, Ordering) -> u64,
    counters: &mut [u64],
    counts: &mut [u64],
) -> f64 {
    let side = (load(0, Relaxed) & 1) as usize;
    for (i, count) in counts.iter_mut().enumerate() {
        *count = load(BUCKET + 2 * counters.len() + i, Relaxed);
    }
    for (i, counter) in counters.iter_mut().enumerate() {
        *counter = load(SUM_0 + 2 * (i + 1) - side, Relaxed);
    }
    f64::from_bits(load(SUM_0 - side, Relaxed))
}

impl Cells for Buckets {
    type Shape = Shape;
    type Total = ObservedTotal;

    fn new(shape: &Shape) -> Self {
        Self {
            series: SeriesWords::new(),
            cold: AtomicU64::new(0),
            cells: Self::event_cells(shape.counters, shape.buckets) as u32,
            counters: shape.counters as u32,
            native: shape.native.clone(),
        }
    }

    fn reset(total: &mut ObservedTotal) {
        total.counts.fill(0);
        total.counters.fill(0);
        total.sum = FloatSum::default();
        if let Some(native) = &mut total.native {
            native.reset();
        }
    }

    fn series_words(&self) -> &SeriesWords {
        &self.series
    }

    fn width(shape: &Shape) -> usize {
        if shape.native.is_some() {
            1
        } else {
            Self::event_cells(shape.counters, shape.buckets)
        }
    }

    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut ObservedTotal) {
        let cells = self.cells as usize;
        let counters = self.counters as usize;
        let buckets = cells - self.first_bucket();
        total.counts.resize(buckets, 0);
        total.counters.resize(counters, 0);
        let cold = self.cold_block().map(|block| (block, self.cold_lock()));
        if let Some(resolution) = &self.native {
            let native = total.native.get_or_insert_with(Native::finest);
            native.coarsen(resolution);
            // SAFETY: the block is one cell (B4), and the pass has pinned the epoch.
            let table = |block| unsafe { Table::published(block) }.map(Table::to_read);
            pass.blocks(cold, slot, table, |table, block, scratch| {
                table.try_add(block, scratch, total)
            });
            if let Some(native) = &mut total.native {
                native.normalize(resolution.limit);
            }
            return;
        }
        let find = |block| Some(in_place(block, cells));
        pass.blocks(cold, slot, find, |(), block, words| {
            words.resize(buckets + counters, 0);
            let (counts, counters) = words.split_at_mut(buckets);
            // SAFETY: the block belongs to this series, and has these cells (B4).
            let load = |cell, order| unsafe { block.cell(cell) }.load(order);
            let Some(sum) = read_event(load, counters, counts) else {
                return false;
            };
            let totals = total.counts.iter_mut().chain(&mut total.counters);
            for (total, count) in totals.zip(counts.iter().chain(&*counters)) {
                *total = total.wrapping_add(*count);
            }
            total.sum.add(sum);
            true
        });
    }

    fn read_all<'a>(
        pass: &mut Pass<'_>,
        series: impl Iterator<Item = &'a Self> + Clone,
        totals: &mut [ObservedTotal],
    ) {
        let mut ahead = series.clone().skip(PREFETCH_DISTANCE);
        for (series, total) in series.zip(totals) {
            if let Some(next) = ahead.next() {
                pass.prefetch(next.slot_word().slot(), next.block_cells());
            }
            Self::reset(total);
            series.read(pass, series.slot_word().slot(), total);
        }
    }

    fn block_to_file(shape: &Shape) -> Option<MoveBlock> {
        shape.native.is_some().then_some(native::move_block)
    }

    fn fold(&self, _: &Shape, block: Block) -> bool {
        self.take(block)
    }

    fn fold_cold(&self, _: &Shape, other: &Self) -> bool {
        other.cold_block().is_none_or(|cold| self.take(cold))
    }

    fn release(shape: &Shape) -> fn(Block) {
        match shape.native {
            // SAFETY: the block is one cell (B4), and no thread writes it any more.
            Some(_) => |block| unsafe { native::release(block) },
            None => |_| (),
        }
    }

    fn clear(&self, _: &Shape) {
        let Some(cold) = self.cold_block() else {
            return;
        };
        // SAFETY: the block has as many cells (B4), which no thread writes now, because the caller
        // holds the lock of the cold block. A pass has pinned the epoch.
        unsafe {
            if self.native.is_some() {
                native::release(cold);
            } else {
                let cells = cold.words(self.cells as usize).iter();
                cells.for_each(|cell| cell.store(0, Relaxed));
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Regression: if there was no slot for a series and a thread observed without a pause, a
    /// scrape of a large cold block retried forever.
    #[test]
    fn a_reader_locks_a_cold_block_after_some_tries() {
        let series = Buckets::new(&Shape::fixed(1));
        let mut tries = 0;
        series.cold_lock().read(|| {
            tries += 1;
            assert!(tries < 1000, "it never ends");
            // Every try fails, as if a writer had interfered, until the reader holds the lock.
            series.cold_lock().lock_any().is_none()
        });
        assert!(
            series.cold_lock().lock_any().is_some(),
            "it was not unlocked"
        );
    }
}
