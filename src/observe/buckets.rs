//! The cells of a histogram: a block in every shard, and one for all threads while the series is
//! cold. [`bucket_block`](super::bucket_block) has the protocol and its invariants B1 to B4.
//!
//! # Cold series
//!
//! Before a series is promoted, all threads share one block with the same cells, the cold block. A
//! lock lets one of them write at a time. Readers do not take the lock, unless writers have made
//! many of their tries fail.

use std::cell::Cell;
use std::sync::Arc;

use crate::lockfree::Generation;
use crate::mapped::{Move, Place, Words};
use crate::snapshot::{FloatSum, Native, Resolution};
use crate::sync::{Acquire, AtomicU64, Relaxed, Release, owner_load};

use super::bucket_block::{BUCKET, add_counter, add_total, in_place, observe, read_event, record};
use super::bucket_index::BucketIndex;
use super::cells::{Cells, MoveBlock, Outcome, SeriesWords};
use super::cold_lock::Denied;
use super::engine::Engine;
use super::memory::Block;
use super::native::{self, Table};
use super::pass::Pass;
use super::thread::Thread;
use super::update::{Update, lock_if_cold};

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
