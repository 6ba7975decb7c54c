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
//! that readers never take.

use std::sync::OnceLock;

use crate::sync::{Acquire, AtomicBool, AtomicU64, Relaxed, Release, fence, owner_load};

use super::memory::Block;
use super::pass::Pass;
use super::shard::{Settled, Thread};
use super::slot::{Place, Tag};
use super::{Cells, Engine, Outcome, PROMOTE_AFTER};

const SUM: usize = 1;
const BUCKET: usize = 3;

/// How many series before its turn a scrape asks for a series' memory.
const AHEAD: usize = 2;

/// The most buckets a histogram can have, `+Inf` included.
pub const MOST_BUCKETS: usize = 16_384;

/// One series of a histogram.
#[derive(Debug)]
pub struct Buckets {
    place: Place,
    /// Held by the one who writes the cold block.
    taken: AtomicBool,
    cold: OnceLock<Box<[AtomicU64]>>,
    /// Cells of the block, and of every slot.
    cells: u32,
}

/// What one series observed: counts per bucket (not cumulative), and the sum of the same observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// One count per bound, and the last for `+Inf`.
    pub counts: Vec<u64>,
    /// The sum of what was observed.
    pub sum: f64,
}

impl Observed {
    /// The number of observations.
    ///
    /// ```
    /// let seen = tallies::Observed { counts: vec![2, 0, 1], sum: 4.5 };
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

    /// The cold path of [`observe`](Self::observe).
    pub fn observe_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        tag: Tag,
        (bucket, value, times): (usize, f64, u64),
        eager: bool,
    ) -> Outcome {
        let cells = u64::from(self.cells);
        let mut tries = 0;
        loop {
            match super::settle(engine, thread, &self.place, tag, eager.then_some(cells)) {
                Settled::Hot(block) => {
                    // SAFETY: as in `observe`.
                    unsafe { observe(block, bucket, value, times) };
                    return Outcome::Done;
                }
                Settled::Stale => return Outcome::Stale,
                Settled::Cold => {}
            }
            let pinned = super::pin();
            if self.place.tag() != tag {
                return Outcome::Stale;
            }
            let block = self.cold();
            if self.take() {
                // SAFETY: the cold block has all cells, and we are its only writer while `taken`.
                let count = unsafe {
                    observe(block, bucket, value, times);
                    owner_load(block.cell(0)) >> 1
                };
                self.give_back();
                if count.saturating_sub(times) < PROMOTE_AFTER && count >= PROMOTE_AFTER {
                    super::promote(engine, &self.place, tag, cells);
                }
                return Outcome::Done;
            }
            drop(pinned);
            // Two threads at once are the sign of a hot series. Without a slot left, or a shard, this waits for three
            // stores of another writer; never for a reader.
            super::promote(engine, &self.place, tag, cells);
            super::back_off(&mut tries);
        }
    }

    /// The cold block, made on first use: a series that is hot from the start needs none.
    fn cold(&self) -> Block {
        Block::of(self.cold.get_or_init(|| zeroed(self.cells as usize)))
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
    /// The number of buckets, `+Inf` included.
    type Shape = usize;
    type Total = Observed;

    fn new(&buckets: &usize) -> Self {
        Self {
            place: Place::new(),
            taken: AtomicBool::new(false),
            #[cfg(not(loom))]
            cold: OnceLock::new(),
            // Loom does not see what a `OnceLock` orders.
            #[cfg(loom)]
            cold: OnceLock::from(zeroed(BUCKET + buckets)),
            cells: (BUCKET + buckets) as u32,
        }
    }

    fn reset(total: &mut Observed) {
        total.counts.fill(0);
        total.sum = 0.0;
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn width(&buckets: &usize) -> usize {
        BUCKET + buckets
    }

    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut Observed) {
        let cells = self.cells as usize;
        let buckets = cells - BUCKET;
        total.counts.resize(buckets, 0);
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
            let mut tries = 0;
            let mut scratch = pass.scratch();
            while !read(Block::of(cold), &mut scratch) {
                // For a writer of the cold block to end; after a few of them the series is hot and the block is still.
                super::back_off(&mut tries);
            }
            pass.give_scratch(scratch);
        }
        pass.blocks(slot, cells, read);
    }

    fn read_all<'a>(
        pass: &mut Pass<'_>,
        series: impl Iterator<Item = &'a Self> + Clone,
        totals: &mut [Observed],
    ) {
        let mut ahead = series.clone().skip(AHEAD);
        for (series, total) in series.zip(totals) {
            if let Some(next) = ahead.next() {
                pass.prefetch(next.place.slot(), next.cells as usize);
            }
            Self::reset(total);
            series.read(pass, series.place.slot(), total);
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

    fn clear(&self, _: &usize) {
        for cell in self.cold.get().into_iter().flatten() {
            cell.store(0, Relaxed);
        }
    }
}
