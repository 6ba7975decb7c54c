//! A histogram of one thread: a reader always takes away an exact prefix of its observations.
//!
//! Cells, counted from the last one down: `state` = count << 1 | side; two sums; one count per bucket. `sum[side]`
//! belongs to `count`. An observation stores the other sum, then its bucket (from here on it counts), then `state`.
//!
//! - I1: whoever sees `state` of observation N sees 1..N whole (Release, Acquire).
//! - I2: whoever reads a sum or a bucket of N+2 or later reads, behind the fence, a `state` of N+1 or later, and tries
//!   again: those are Release stores after it.
//! - I3: so a valid read differs from N at most by the bucket of N+1; then the total of the buckets is not `count`, and
//!   the other sum is the one that N+1 stored before its bucket.
//!
//! A writer stopped at any instruction leaves `state` still: the next try succeeds and hides at most its unfinished
//! observation. Before the series is hot the same cells stand in one shared block, whose writers take turns by a word
//! that readers leave alone, unless writers have kept them from reading for long.
//!
//! Of a native histogram the block is one cell: the address of a [`Table`] that has these cells.

use std::sync::Arc;

use crate::lockfree::Generation;
use crate::snapshot::{Native, Resolution};
use crate::sync::{Acquire, AtomicBool, AtomicU64, OnceLock, Relaxed, Release, fence, owner_load};

use super::cells::{Cells, Outcome, PROMOTE_AFTER};
use super::engine::Engine;
use super::memory::Block;
use super::native::{self, Table};
use super::pass::{Pass, TRIES, View};
use super::shard::CopyBlock;
use super::slot::SlotWord;
use super::thread::Thread;
use super::update::{Shared, update_cold};

pub(super) const SUM: usize = 1;
pub(super) const BUCKET: usize = 3;

/// How many series before its turn a scrape asks for a series' memory.
const AHEAD: usize = 4;

/// The most buckets a histogram can have, `+Inf` included.
pub const MOST_BUCKETS: usize = 16_384;

/// One series of a histogram.
#[derive(Debug)]
pub struct Buckets {
    slot_word: SlotWord,
    /// Held by the one who writes the cold block.
    taken: AtomicBool,
    cold: OnceLock<Box<[AtomicU64]>>,
    /// Of `state`, sums and fixed buckets.
    cells: u32,
    /// Of a native histogram.
    native: Option<Arc<Resolution>>,
}

/// What all series of a histogram have in common.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The number of fixed buckets, `+Inf` included.
    pub buckets: usize,
    /// Of a native histogram.
    pub native: Option<Arc<Resolution>>,
}

impl Shape {
    /// Fixed buckets only.
    #[must_use]
    pub fn fixed(buckets: usize) -> Self {
        Self {
            buckets,
            native: None,
        }
    }
}

/// What one series observed: counts per bucket (not cumulative), and the sum of the same observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// One count per bound, and the last for `+Inf`.
    pub counts: Vec<u64>,
    /// The sum of what was observed.
    pub sum: f64,
    /// The exponential buckets of a native histogram.
    pub native: Option<Native>,
}

impl Observed {
    /// The number of observations.
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

impl Buckets {
    /// Observes `value`, which falls into `bucket`, `times` times; false: take the cold path.
    #[inline(always)]
    pub fn observe(thread: &Thread, last: u64, bucket: usize, value: f64, times: u64) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        // SAFETY: the block has three cells and one per bucket, and this thread owns it.
        unsafe { observe(block, bucket, value, times) };
        true
    }

    /// As [`observe`](Self::observe), of a native histogram.
    #[inline(always)]
    pub fn observe_native(thread: &Thread, last: u64, what: (usize, f64, u64)) -> bool {
        let Some(block) = thread.hot(last) else {
            return false;
        };
        // SAFETY: the block is one cell, and this thread owns it.
        unsafe { native::observe_known(block, what) }
    }

    /// Observes in a block that the caller owns; returns how many observations there are. `None`: a native histogram that
    /// would have to grow, asked by an allocation of something that grows.
    ///
    /// # Safety
    ///
    /// The block is of this series, and the caller is its only writer.
    unsafe fn write(&self, thread: &Thread, block: Block, what: (usize, f64, u64)) -> Option<u64> {
        let (bucket, value, times) = what;
        // SAFETY: by the caller's word.
        unsafe {
            match &self.native {
                Some(resolution) => native::write(thread, block, resolution, what),
                None => {
                    observe(block, bucket, value, times);
                    Some(owner_load(block.cell(0)) >> 1)
                }
            }
        }
    }

    /// The cold path of both.
    pub fn observe_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        generation: Generation,
        what: (usize, f64, u64),
        eager: bool,
    ) -> Outcome {
        let times = what.2;
        let refuse = || _ = engine.stats.rejected.fetch_add(times, Relaxed);
        let own = |block| {
            // SAFETY: as in `observe`.
            if unsafe { self.write(thread, block, what) }.is_none() {
                refuse();
            }
            true
        };
        let shared = || {
            let block = self.cold();
            if self.take() {
                // SAFETY: the cold block has all cells, and we are its only writer while `taken`.
                let count = unsafe { self.write(thread, block, what) };
                self.give_back();
                if count.is_none() {
                    refuse();
                }
                let crossed =
                    |count: u64| count.wrapping_sub(times) / PROMOTE_AFTER != count / PROMOTE_AFTER;
                return Shared::Counted {
                    hot: count.is_some_and(crossed),
                };
            }
            if self.native.is_some() && thread.in_allocation() {
                // The writer may be this thread, whose allocation observes here.
                refuse();
                return Shared::Counted { hot: false };
            }
            // Two threads at once are the sign of a hot series. Without a slot left, or a shard, this waits for three
            // stores of another writer, of a native histogram at worst for its growth, or for one read of a reader that
            // writers have kept from it.
            Shared::Busy { hot: true }
        };
        update_cold(
            (engine, thread),
            (&self.slot_word, generation),
            (self.block_cells() as u64, eager),
            own,
            shared,
        )
    }

    /// Tries until `read` has the cold block: a writer ends soon, and after a few of them the series is hot and the block is
    /// still. Where no slot is left they may never cease, so after some tries the block is taken from them for one read.
    fn read_cold(&self, mut read: impl FnMut() -> bool) {
        let mut tries = 0;
        while !read() {
            super::engine::back_off(&mut tries);
            if tries >= TRIES && self.take() {
                let done = read();
                self.give_back();
                if done {
                    return;
                }
            }
        }
    }

    /// The cold block, made on first use: a series that is hot from the start needs none.
    fn cold(&self) -> Block {
        Block::of(self.cold.get_or_init(|| zeroed(self.block_cells())))
    }

    /// The cells of the cold block, and of every slot.
    fn block_cells(&self) -> usize {
        if self.native.is_some() {
            1
        } else {
            self.cells as usize
        }
    }

    fn take(&self) -> bool {
        // Acquire: pairs with the Release in `give_back`: the last writer's cells are ours to read.
        self.taken
            .compare_exchange(false, true, Acquire, Relaxed)
            .is_ok()
    }

    fn give_back(&self) {
        // Release: pairs with the Acquire in `take`.
        self.taken.store(false, Release);
    }

    /// Adds what another block holds to the cold one, as one observation of many; `begin_fold` has taken it.
    fn add_block(&self, other: Block) {
        let block = self.cold();
        if let Some(resolution) = &self.native {
            // SAFETY: as below; the pass that calls this is pinned.
            unsafe {
                if let Some(theirs) = Table::published(other) {
                    let joined = Table::joined(Table::own(block), theirs, resolution);
                    native::publish(block, joined);
                }
            }
            return;
        }
        // SAFETY: both blocks have the shape of this family. Nobody writes the other one any more, and we are the only
        // writer of ours. Relaxed: the pass that calls this is the only reader, and `taken` carries it to the next writer.
        unsafe {
            let theirs = other.cell(0).load(Relaxed);
            let sum = f64::from_bits(other.cell(SUM + (theirs & 1) as usize).load(Relaxed));
            let state = owner_load(block.cell(0));
            let side = (state & 1) as usize;
            let mine = f64::from_bits(owner_load(block.cell(SUM + side)));
            block
                .cell(SUM + (side ^ 1))
                .store((mine + sum).to_bits(), Relaxed);
            for i in BUCKET..self.cells as usize {
                let count = owner_load(block.cell(i)).wrapping_add(other.cell(i).load(Relaxed));
                block.cell(i).store(count, Relaxed);
            }
            block
                .cell(0)
                .store(state.wrapping_add(theirs >> 1 << 1) ^ 1, Relaxed);
        }
    }
}

impl Buckets {
    /// [`read`](Cells::read) of a native histogram.
    fn read_native(
        &self,
        pass: &mut Pass<'_>,
        slot: Option<u64>,
        total: &mut Observed,
        resolution: &Resolution,
    ) {
        total
            .native
            .get_or_insert_with(Native::finest)
            .coarsen(resolution);
        let cold = self.cold.get();
        // SAFETY: the cold block of a native histogram is one cell, and the pass is pinned.
        let table = cold.and_then(|cold| unsafe { Table::published(Block::of(cold)) });
        if let Some(table) = table {
            let mut scratch = pass.scratch();
            self.read_cold(|| table.try_add(table.block(), &mut scratch, total));
            pass.give_scratch(scratch);
        }
        // SAFETY: the slot of a native histogram, and the pass is pinned.
        let published = |block| unsafe { Table::published(block) };
        pass.blocks(slot, published, |table, block, scratch| {
            table.try_add(block, scratch, total)
        });
        if let Some(native) = &mut total.native {
            native.normalize(resolution.limit);
        }
    }
}

/// A histogram's block, as it lies in a slab.
pub(super) struct Whole {
    pub(super) block: Block,
    pub(super) cells: usize,
}

/// # Safety
///
/// The block has as many cells as the buffer. The caller is its owner.
pub(super) unsafe fn copy_whole(block: Block, buffer: &[AtomicU64]) {
    // SAFETY: by the caller's contract.
    unsafe { block.copy_to(buffer, buffer.len()) };
}

impl View for Whole {
    const COPY: CopyBlock = copy_whole;

    fn block(&self) -> Block {
        self.block
    }

    fn cells(&self) -> usize {
        self.cells
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        if let (Some(_), Some(cold)) = (&self.native, self.cold.get()) {
            // SAFETY: one cell, and nobody has the series any more.
            unsafe { native::release(Block::of(cold)) };
        }
    }
}

/// The sum of two sums. Where finite values have run over and an infinity of the other sign came, the first one stands:
/// a sum is never NaN.
pub fn join_sums(a: f64, b: f64) -> f64 {
    match (a + b, b.is_nan()) {
        (_, true) => f64::INFINITY,
        (sum, _) if sum.is_nan() => a,
        (sum, _) => sum,
    }
}

fn zeroed(cells: usize) -> Box<[AtomicU64]> {
    (0..cells).map(|_| AtomicU64::new(0)).collect()
}

/// One observation, or `times` of the same value.
///
/// # Safety
///
/// The block has `BUCKET + buckets` cells, `bucket` is one of them, and the caller is its only writer.
#[inline(always)]
pub(super) unsafe fn observe(block: Block, bucket: usize, value: f64, times: u64) {
    // SAFETY: by the caller's word. Every Release pairs with a fence or load in `try_read` (I1 to I3).
    unsafe {
        let state = owner_load(block.cell(0));
        let side = (state & 1) as usize;
        let sum = f64::from_bits(owner_load(block.cell(SUM + side))) + value * times as f64;
        let count = owner_load(block.cell(BUCKET + bucket)).wrapping_add(times);
        block.cell(SUM + (side ^ 1)).store(sum.to_bits(), Release);
        block.cell(BUCKET + bucket).store(count, Release);
        block
            .cell(0)
            .store(state.wrapping_add(times << 1) ^ 1, Release);
    }
}

/// Reads a prefix of the block's observations into `counts` and returns their sum; `None` where one ended meanwhile.
///
/// # Safety
///
/// The block has `BUCKET + counts.len()` cells.
pub(super) unsafe fn try_read(block: Block, counts: &mut [u64]) -> Option<f64> {
    // SAFETY: by the caller's word.
    unsafe {
        // Acquire: pairs with the last Release in `observe` (I1).
        let state = block.cell(0).load(Acquire);
        let mut total = 0_u64;
        for (i, count) in counts.iter_mut().enumerate() {
            *count = block.cell(BUCKET + i).load(Relaxed);
            total = total.wrapping_add(*count);
        }
        // Pairs with the bucket's Release: if it was of the next observation, so is the other sum (I3).
        fence(Acquire);
        let side = (state & 1) as usize ^ usize::from(total << 1 != state & !1);
        let sum = block.cell(SUM + side).load(Relaxed);
        // Pairs with the Release of a sum or bucket read above, should it be of a later observation (I2).
        fence(Acquire);
        (block.cell(0).load(Relaxed) == state).then_some(f64::from_bits(sum))
    }
}

impl Cells for Buckets {
    type Shape = Shape;
    type Total = Observed;

    fn new(shape: &Shape) -> Self {
        Self {
            slot_word: SlotWord::new(),
            taken: AtomicBool::new(false),
            cold: OnceLock::new(),
            cells: (BUCKET + shape.buckets) as u32,
            native: shape.native.clone(),
        }
    }

    fn reset(total: &mut Observed) {
        total.counts.fill(0);
        total.sum = 0.0;
        if let Some(native) = &mut total.native {
            native.reset();
        }
    }

    fn slot_word(&self) -> &SlotWord {
        &self.slot_word
    }

    fn width(shape: &Shape) -> usize {
        if shape.native.is_some() {
            1
        } else {
            BUCKET + shape.buckets
        }
    }

    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut Observed) {
        let cells = self.cells as usize;
        let buckets = cells - BUCKET;
        total.counts.resize(buckets, 0);
        if let Some(resolution) = &self.native {
            return self.read_native(pass, slot, total, resolution);
        }
        let mut read = |block, counts: &mut Vec<u64>| {
            counts.resize(buckets, 0);
            // SAFETY: the block belongs to this series, so it has its shape.
            let Some(sum) = (unsafe { try_read(block, counts) }) else {
                return false;
            };
            for (total, count) in total.counts.iter_mut().zip(&*counts) {
                *total = total.wrapping_add(*count);
            }
            total.sum = join_sums(total.sum, sum);
            true
        };
        if let Some(cold) = self.cold.get() {
            let mut scratch = pass.scratch();
            self.read_cold(|| read(Block::of(cold), &mut scratch));
            pass.give_scratch(scratch);
        }
        let view = |block| Some(Whole { block, cells });
        pass.blocks(slot, view, |_, block, counts| read(block, counts));
    }

    fn read_all<'a>(
        pass: &mut Pass<'_>,
        series: impl Iterator<Item = &'a Self> + Clone,
        totals: &mut [Observed],
    ) {
        let mut ahead = series.clone().skip(AHEAD);
        for (series, total) in series.zip(totals) {
            if let Some(next) = ahead.next() {
                pass.prefetch(next.slot_word.slot(), next.block_cells());
            }
            Self::reset(total);
            series.read(pass, series.slot_word.slot(), total);
        }
    }

    fn begin_fold(&self) -> bool {
        self.take()
    }

    fn end_fold(&self) {
        self.give_back();
    }

    fn fold(&self, block: Block) {
        self.add_block(block);
    }

    fn fold_shared(&self, other: &Self) {
        if let Some(cold) = other.cold.get() {
            self.add_block(Block::of(cold));
        }
    }

    fn release(shape: &Shape) -> fn(Block) {
        match shape.native {
            // SAFETY: the block is one cell; nobody writes it any more.
            Some(_) => |block| unsafe { native::release(block) },
            None => |_| (),
        }
    }

    fn clear(&self, _: &Shape) {
        if self.native.is_some() {
            if let Some(cold) = self.cold.get() {
                // SAFETY: one cell. Nobody updates the series; who did before had pinned.
                unsafe { native::release(Block::of(cold)) };
            }
            return;
        }
        for cell in self.cold.get().into_iter().flatten() {
            cell.store(0, Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Where no slot was left and a thread went on observing, a scrape of a large cold block went on trying.
    #[test]
    fn a_reader_of_a_cold_block_takes_it_before_long() {
        let series = Buckets::new(&Shape::fixed(1));
        let mut tries = 0;
        series.read_cold(|| {
            tries += 1;
            assert!(tries < 1000, "it never ends");
            // As if writers came in between each time.
            series.taken.load(Relaxed)
        });
        assert!(series.take(), "it was given back");
    }
}
