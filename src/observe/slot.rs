//! Where a series counts: its place, and the slots that places are made of.
//!
//! A place is one word, `generation << 32 | last cell`. A handle remembers the generation it was made with as a
//! generation and subtracts it: what is left is the slot, or, for a stale handle, a number beyond every length. So one
//! compare with the length tells hot from everything else.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, TryLockError};

use crate::lockfree::Generation;
use crate::sync::{Acquire, AtomicU64, Relaxed, Release, const_fn};

/// The slot of a series that has none: it counts in its shared cell.
const COLD: u64 = u32::MAX as u64;

/// The most cells of a slab, so that a cold place is beyond every length.
pub(crate) const MOST_CELLS: u64 = COLD & !15;

/// Slots that wait for an answer before they can be used again; beyond, new series stay cold.
pub(crate) const UNRECLAIMED_LIMIT: u64 = 65_536;

/// The place of one series. See the module's text.
#[derive(Debug)]
pub struct SlotWord(AtomicU64);

impl SlotWord {
    const_fn! {
        /// A cold place of the first generation.
        pub fn new() -> Self {
            Self(AtomicU64::new(COLD))
        }
    }

    /// The last cell of the block, as seen by a handle with `generation`; a huge number if cold or stale.
    ///
    /// Acquire: pairs with the Release in [`promote`](Self::promote); who finds a slot that was used before finds
    /// its cells zeroed.
    #[inline(always)]
    pub fn last(&self, generation: Generation) -> u64 {
        self.0.load(Acquire).wrapping_sub(generation.word())
    }

    /// The slot, if the series is hot.
    #[inline]
    pub(crate) fn slot(&self) -> Option<u64> {
        // Relaxed: a reader only adds up what it finds there.
        let slot = self.0.load(Relaxed) & COLD;
        (slot != COLD).then_some(slot)
    }

    /// The current generation.
    #[inline]
    pub fn generation(&self) -> Generation {
        // Relaxed: a cold update reads it under an epoch that began before or after `retire`, and the epoch carries it.
        Generation::of(self.0.load(Relaxed))
    }

    /// Gives the series a slot; false if it has one already or was retired meanwhile.
    ///
    /// Release: pairs with the Acquire in [`last`](Self::last); it carries the zeroes of a slot that was used before.
    pub(crate) fn promote(&self, generation: Generation, last: u64) -> bool {
        self.0
            .compare_exchange(
                generation.word() | COLD,
                generation.word() | last,
                Release,
                Relaxed,
            )
            .is_ok()
    }

    /// Retires the series: every handle is stale from now on. Returns the slot it had; without one only shared cells were
    /// updated, under an epoch.
    ///
    /// Only the collector does this. The request that follows carries the new word to the owners, and the place
    /// itself is Relaxed.
    pub(crate) fn retire(&self) -> Option<u64> {
        // The new generation first: from here on nobody can promote, and nobody has the new generation.
        let old = self.0.fetch_add(1 << 32, Relaxed);
        self.0
            .store((old & !COLD).wrapping_add(1 << 32) | COLD, Relaxed);
        let slot = old & COLD;
        (slot != COLD).then_some(slot)
    }

    /// Makes this fresh place that of a row whose first slot is `last`.
    pub fn be_row(&self, last: u64) {
        self.promote(Generation::FIRST, last);
    }

    /// A copy of a place that is never retired, once it is hot. See [`Counter`](crate::Counter).
    pub fn copy_to(&self, other: &Self) {
        // Acquire: pairs with the Release in `promote`.
        let word = self.0.load(Acquire);
        if word & COLD != COLD {
            // Release: pairs with the Acquire in `last`, and hands on what this load acquired.
            other.0.store(word, Release);
        }
    }
}

impl Default for SlotWord {
    fn default() -> Self {
        Self::new()
    }
}

/// The slots of the process: a place in every shard.
pub(crate) struct Slots {
    table: Mutex<Table>,
    /// Blocks that came back while the table was taken; only the collector has this lock.
    later: Mutex<Vec<(u64, u64)>>,
    /// Slots of retired series that are not free yet.
    unreclaimed: AtomicU64,
}

struct Table {
    next: u64,
    /// Free blocks by their size, each named by its last cell.
    free: BTreeMap<u64, Vec<u32>>,
}

impl Slots {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                table: Mutex::new(Table { next: 0, free: BTreeMap::new() }),
                later: Mutex::new(Vec::new()),
                unreclaimed: AtomicU64::new(0),
            }
        }
    }

    /// A block of `cells` cells, named by its last one; `None` where too many wait to be used again.
    pub(crate) fn allocate(&self, cells: u64) -> Option<u64> {
        if self.unreclaimed.load(Relaxed) >= UNRECLAIMED_LIMIT {
            return None;
        }
        let size = stride(cells as usize);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = table.free.get_mut(&size).and_then(Vec::pop) {
            return Some(u64::from(last));
        }
        let start = table.skip_to(size);
        let end = start + size;
        if end > MOST_CELLS {
            return None;
        }
        table.next = end;
        Some(end - 1)
    }

    /// `count` blocks of `cells` cells that follow each other, a [`stride`] apart, each given back by itself. Named by the
    /// last cell of the first one.
    pub(crate) fn allocate_row(&self, cells: usize, count: u64) -> Option<u64> {
        if self.unreclaimed.load(Relaxed) >= UNRECLAIMED_LIMIT {
            return None;
        }
        let size = stride(cells);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = table.take_row(size, count as usize) {
            return Some(last);
        }
        let start = table.skip_to(size);
        let end = start + size * count;
        if end > MOST_CELLS {
            return None;
        }
        table.next = end;
        Some(start + size - 1)
    }

    /// Takes back blocks, as the collector does: it does not wait for a thread that is taking one.
    pub(crate) fn free_later(&self, blocks: impl Iterator<Item = (u64, u64)>) {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.extend(blocks);
        let table = match self.table.try_lock() {
            Ok(table) => Some(table),
            Err(TryLockError::Poisoned(table)) => Some(table.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut table) = table {
            for (last, cells) in later.drain(..) {
                table.put(last, cells);
            }
        }
    }

    /// Takes back a block whose cells are zero in every shard.
    pub(crate) fn free(&self, last: u64, cells: u64) {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(last, cells);
    }

    /// The number of cells given out so far: what a warm thread has room for.
    pub(crate) fn high_water(&self) -> u64 {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next
    }

    /// Slots of retired series that wait to be used again.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn unreclaimed(&self) -> u64 {
        self.unreclaimed.load(Relaxed)
    }

    /// Counts slots that wait to be used again; up or down.
    pub(crate) fn waiting(&self, more: i64) {
        self.unreclaimed.fetch_add(more as u64, Relaxed);
    }
}

impl Table {
    /// Where a block of this size can begin; what is skipped is free.
    fn skip_to(&mut self, size: u64) -> u64 {
        let start = self.next.next_multiple_of(size.min(16));
        if start < COLD {
            for skipped in self.next..start {
                self.free.entry(1).or_default().push(skipped as u32);
            }
            self.next = start;
        }
        start
    }

    /// Free blocks that follow each other, as a family leaves them that is gone.
    fn take_row(&mut self, size: u64, count: usize) -> Option<u64> {
        let free = self.free.get_mut(&size)?;
        free.sort_unstable();
        let length = size * (count as u64).checked_sub(1)?;
        // Blocks do not overlap, so none is left out where the ends are that near.
        let at = free
            .windows(count)
            .position(|row| u64::from(row[count - 1] - row[0]) == length)?;
        free.drain(at..at + count).next().map(u64::from)
    }

    fn put(&mut self, last: u64, cells: u64) {
        debug_assert!(cells > 0, "a block has cells");
        let free = self.free.entry(stride(cells as usize)).or_default();
        free.push(last as u32);
    }
}

/// The size of a block: powers of two up to a pair of lines, then whole pairs.
#[inline(always)]
pub fn stride(cells: usize) -> u64 {
    let cells = cells as u64;
    if cells <= 16 {
        cells.next_power_of_two()
    } else {
        cells.next_multiple_of(16)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_and_come_back() {
        let slots = Slots::new();
        let mut taken = std::collections::BTreeSet::new();
        for cells in [1, 15, 2, 1, 40, 3, 15, 1, 1, 1] {
            let last = slots.allocate(cells).unwrap();
            for cell in 0..cells {
                assert!(taken.insert(last - cell), "cell {} twice", last - cell);
            }
        }
        let first = slots.allocate_row(15, 3).unwrap();
        for last in (first..).step_by(16).take(3) {
            assert!((0..16).all(|cell| taken.insert(last - cell)), "{last}");
            slots.free(last, 15);
            assert_eq!(slots.allocate(15), Some(last));
        }
        let last = slots.allocate(15).unwrap();
        slots.free(last, 15);
        assert_eq!(slots.allocate(16), Some(last));
    }

    #[test]
    fn a_row_is_used_again_unless_one_of_it_is_taken() {
        for cells in [1, 15, 40] {
            let (slots, step) = (Slots::new(), stride(cells));
            let rows = [(); 2].map(|()| slots.allocate_row(cells, 3).unwrap());
            let high_water = slots.high_water();
            // Not in order.
            for row in rows {
                for i in [1, 0, 2] {
                    slots.free(row + i * step, cells as u64);
                }
            }
            let single = slots.allocate(cells as u64).unwrap();
            let row = slots.allocate_row(cells, 3).unwrap();
            assert!(row + 2 * step < single || single < row, "{row} {single}");
            assert_eq!(slots.high_water(), high_water);
            slots.allocate_row(cells, 3).unwrap();
            assert!(slots.high_water() > high_water, "there are two left");
        }
    }

    #[test]
    fn a_stale_tag_is_beyond_every_length() {
        let place = SlotWord::new();
        let generation = place.generation();
        assert!(place.promote(generation, 7));
        assert_eq!(place.last(generation), 7);
        assert_eq!(place.retire(), Some(7));
        assert!(place.last(generation) > u64::from(u32::MAX));
        assert!(place.last(place.generation()) >= u64::from(u32::MAX));
        assert!(
            !place.promote(generation, 9),
            "a retired place is not promoted"
        );
        let first = SlotWord::new();
        assert!(first.promote(first.generation(), 0));
        assert_eq!(first.retire(), Some(0));
        assert_eq!(first.retire(), None);
    }

    #[test]
    fn waiting_slots_are_bounded() {
        let slots = Slots::new();
        slots.waiting(UNRECLAIMED_LIMIT as i64);
        assert_eq!(slots.allocate(1), None);
        slots.waiting(-1);
        assert!(slots.allocate(1).is_some());
    }
}
