//! The block of a histogram: a reader always gets an exact prefix of its observations.
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
//!   of a native histogram has one cell, the address of a [`Table`](super::native::Table). Only one
//!   thread observes in a block at a time: the owner of the shard (invariant I1 of
//!   [`shard`](super::shard)), or the thread that holds the lock of the cold block (invariant U1 of
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

use std::sync::atomic::Ordering;

use crate::snapshot::sum_up;
use crate::sync::{Acquire, AtomicU64, Relaxed, Release, fence, owner_load};

use super::memory::Block;
use super::pass::ReadBlock;

/// The index of `sum[0]` in a block; `sum[1]` is one cell before.
const SUM_0: usize = 2;

/// The index of the first bucket in a block.
pub const BUCKET: usize = 3;

/// Returns the cell of a side's sum: 2 or 1, so that its address is a constant plus the side.
///
/// # Safety
///
/// The block is that of a histogram, `side` is 0 or 1, and the memory outlives the result.
#[inline(always)]
unsafe fn sum_cell<'a>(block: Block, side: u64) -> &'a AtomicU64 {
    // SAFETY: the caller's contract.
    unsafe { block.cell_above(SUM_0, side as usize) }
}

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

/// Adds an event to a block: one observation of `value` in `bucket`, and `added` to the counters.
///
/// # Safety
///
/// The block has [`Buckets::event_cells`](super::Buckets::event_cells) of `added.len()` counters
/// and more than `bucket` buckets, and the caller is the only writer of the block.
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
pub(super) unsafe fn add_counter(block: Block, other: Block, i: usize) {
    // SAFETY: the caller's contract. Relaxed: what publishes the block carries the store.
    unsafe {
        let side = owner_load(other.cell(0)) & 1;
        let (own, added) = (counter_cell(block, i, 0), counter_cell(other, i, side));
        own.store(owner_load(own).wrapping_add(owner_load(added)), Relaxed);
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
/// [`Buckets::event_cells`](super::Buckets::event_cells).
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Each cell of an event with two counters and three buckets, for both sides of `state`.
    #[test]
    fn an_unsteady_read_takes_the_side_that_belongs_to_the_count() {
        for side in [0, 1] {
            let value = |own: u64, other: u64| {
                if side == 1 {
                    [own, other]
                } else {
                    [other, own]
                }
            };
            let (sum, bytes, requests) = (value(50, 49), value(70, 63), value(9, 8));
            // `state`, then two cells for each of the sum and the counters, that of side 1 first.
            let mut cells = vec![9 << 1 | side];
            for pair in [sum.map(|n| (n as f64).to_bits()), requests, bytes] {
                cells.extend(pair);
            }
            cells.extend([4, 5, 0]);
            let load = |cell: usize, _: Ordering| cells[cell];
            let (mut counters, mut counts) = ([0; 2], [0; 3]);
            let read = read_unsteady(load, &mut counters, &mut counts);
            assert_eq!((read, counters, counts), (50.0, [9, 70], [4, 5, 0]));
            let (mut counters, mut counts) = ([0; 2], [0; 3]);
            let read = read_event(load, &mut counters, &mut counts);
            assert_eq!((read, counters, counts), (Some(50.0), [9, 70], [4, 5, 0]));
        }
    }
}
