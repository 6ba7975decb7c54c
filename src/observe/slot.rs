//! The slot word of a series, and the allocator of slots.
//!
//! A slot word is `generation << 32 | last cell`. A handle remembers the generation of its series
//! and subtracts it from the word. The difference is the slot, or, for a stale handle, a number
//! above every length. So one comparison with a length separates hot from all other cases.
//!
//! A series that went quiet gives its slot back. Its slot is first *closing*: the word still has
//! it, for readers, but with a bit that makes it larger than every length, so that later updates
//! use the cold cells. Once no earlier update can be running, a pass moves the counts to the cold
//! cells, and the series is cold.
//!
//! Other processes may read the word in a file: `docs/mapped-files.md` has what they make of its
//! bits.
//!
//! - W1: Only the collector retires a series, so generations advance one at a time, up to the last
//!   one, whose series is not used again. A retired
//!   series is cold until it is reclaimed and reused, and no handle has its new generation until
//!   then.
//! - W2: A slot that is given to a series has zeroed cells in every shard. The Release in
//!   [`SlotWord::promote`] carries the zeroes to the Acquire in [`SlotWord::last`].
//! - W3: Blocks do not overlap, and the last cell of a block of n cells is cell n - 1 or above. So
//!   if a block's last cell is below a slab's capacity, all its cells are inside that slab.

use std::collections::BTreeMap;

use crate::lockfree::Generation;
use crate::sync::{
    Acquire, AllocatingGuard, AllocatingMutex, AtomicU64, Relaxed, Release, const_fn,
};

/// The slot half of the word of a cold series, which has no slot and counts in its cold cell.
pub(super) const COLD: u64 = u32::MAX as u64;

/// The bit of a slot that is closing. A cold series has it as well.
pub(super) const CLOSING: u64 = 1 << 31;

/// The bit of a series that is not live: with [`CLOSING`] it was removed, without it was retired. A
/// cold series has both. The process has the slot of such a series elsewhere ([`super::Retired`]);
/// other processes read it here.
pub(super) const NOT_LIVE: u64 = 1 << 30;

/// The bits of a slot; all ones for none.
const SLOT: u64 = NOT_LIVE - 1;

/// The most cells of a slab, so that a slot never has the bits above.
pub(crate) const MOST_CELLS: u64 = SLOT - 15;

/// The number of unreclaimed slots at which new series stay cold.
pub(crate) const UNRECLAIMED_LIMIT: u64 = 65_536;

/// The slot word of one series. Written by threads that promote the series and by the collector,
/// read by every thread that updates the series. See the module's documentation.
#[repr(transparent)]
pub struct SlotWord(AtomicU64);

impl SlotWord {
    const_fn! {
        /// Creates the word of a cold series of the first generation.
        pub fn new() -> Self {
            Self(AtomicU64::new(COLD))
        }
    }

    /// Returns the last cell of the block, for a handle with `generation`. Returns at least
    /// [`CLOSING`] if the series is cold or its slot is closing, and more than `u32::MAX` if the
    /// handle is stale.
    ///
    /// Acquire: pairs with the Release in [`promote`](Self::promote). A thread that finds a reused
    /// slot finds its cells zeroed (W2).
    #[inline(always)]
    pub fn last(&self, generation: Generation) -> u64 {
        self.0.load(Acquire).wrapping_sub(generation.word())
    }

    /// Returns the slot if the series has one, also while it is closing.
    #[inline]
    pub(crate) fn slot(&self) -> Option<u64> {
        // Relaxed: passes zero the cells of a slot before it is reused, and passes are serialized.
        // So a pass needs no Acquire to find them zeroed. On the cold path this is only a hint.
        slot_in(self.0.load(Relaxed))
    }

    /// Returns the current generation.
    #[inline]
    pub fn generation(&self) -> Generation {
        // Relaxed:
        // - A look-up under a lock of the index reads the current one, because the lock orders it
        //   with `retire`.
        // - Any other caller may get an old one. It then has a stale handle, and an update through
        //   that handle compares again.
        Generation::of(self.0.load(Relaxed))
    }

    /// Gives the series a slot. Returns `false` if it already has one, or was retired.
    ///
    /// Release: pairs with the Acquire in [`last`](Self::last). Carries the zeroes of a reused slot
    /// (W2).
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

    /// Retires the series, so that every handle to it is stale. Returns the slot that it had, if
    /// any; without a slot, threads updated only cold cells, under their lock. `forget` tells other
    /// processes whether its total is dropped, or belongs to the overflow series from now on.
    ///
    /// Called by the collector only (W1). Relaxed: the next safepoint request carries the new word
    /// to the owners (I4). Cold updates need not see it, because the lock has a generation, too
    /// (U2).
    pub(crate) fn retire(&self, forget: bool) -> Option<u64> {
        let closing = if forget { CLOSING } else { 0 };
        let next = |word: u64| {
            let generation = (word & !COLD).wrapping_add(1 << 32);
            Some(generation | NOT_LIVE | closing | slot_in(word).unwrap_or(SLOT))
        };
        // A thread that promotes the series at the same time has two cases:
        // - If its exchange comes first, this one returns the slot.
        // - If this one comes first, the other fails, because it expects the old generation.
        let old = self.0.fetch_update(Relaxed, Relaxed, next);
        slot_in(old.unwrap_or_else(|old| old))
    }

    /// Tells other processes that the total of a series that was retired is dropped. Called in a
    /// pass.
    #[cfg(not(loom))]
    pub fn forget(&self) {
        self.0.fetch_or(CLOSING, Relaxed);
    }

    /// Makes a series cold that was retired and whose cells are clear, or whose slot is closing and
    /// is cleared. Called by the collector only.
    ///
    /// Relaxed: a fence of the move stands before (J2 of [`crate::mapped::journal`]). So another
    /// process that sees this word sees that the counts were moved.
    pub(super) fn make_cold(&self) {
        self.0.fetch_or(COLD, Relaxed);
    }

    /// Begins to close the slot: later updates use the cold cells. Returns the generation and the
    /// slot, or `None` if there is no slot or it is closing already.
    ///
    /// Called by the collector only. Relaxed: as in [`retire`](Self::retire).
    pub(super) fn close(&self) -> Option<(Generation, u64)> {
        let word = self.0.load(Relaxed);
        let slot = slot_in(word).filter(|_| word & CLOSING == 0)?;
        // No other thread changes a word that has a slot.
        self.0.fetch_or(CLOSING, Relaxed);
        Some((Generation::of(word), slot))
    }

    /// Opens a slot again that is closing. Called by the collector only.
    ///
    /// Release: pairs with the Acquire in [`last`](Self::last). Carries the zeroes of blocks that
    /// the collector cleared before it had to stop (W2).
    pub(super) fn reopen(&self) {
        self.0.fetch_and(!CLOSING, Release);
    }

    /// Returns the slot if the series has one that is not closing.
    pub(crate) fn open_slot(&self) -> Option<u64> {
        let word = self.0.load(Relaxed);
        slot_in(word).filter(|_| word & CLOSING == 0)
    }

    /// Gives a cold series a later generation.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn skip_to(&self, generation: Generation) {
        self.0.store(generation.word() | COLD, Relaxed);
    }

    /// Stores the first slot of a row in this word, which is fresh.
    pub fn init_row(&self, last: u64) {
        self.promote(Generation::FIRST, last);
    }

    /// Copies this word to `other` if the series is hot. For series that are never retired; see
    /// [`Counter`](crate::Counter).
    pub fn copy_to(&self, other: &Self) {
        // Acquire: pairs with the Release in `promote`.
        let word = self.0.load(Acquire);
        if word & COLD != COLD {
            // Release: pairs with the Acquire in `last`, and passes on what the load above
            // acquired.
            other.0.store(word, Release);
        }
    }
}

/// Returns the slot in the word of a live series, if there is one.
#[inline]
fn slot_in(word: u64) -> Option<u64> {
    (word & NOT_LIVE == 0).then_some(word & SLOT)
}

/// The allocator of slots. A slot is the index of a block in every shard.
pub(crate) struct Slots {
    /// The free blocks, whose lists grow under the lock. Locked by threads that promote a series,
    /// and by the collector.
    pub(super) blocks: AllocatingMutex<BlockSpace>,
    /// The number of slots of retired series that are not reclaimed yet. Written by the collector,
    /// read by threads that promote a series.
    unreclaimed: AtomicU64,
    /// The number of shards. Written by threads that make or free one, read by threads that promote
    /// a series. Not one of loom's, like `limit`: models do not reach the limit.
    pub(super) shards: std::sync::atomic::AtomicU64,
    /// The limit for the cells of all shards together, in bytes. Written by `limit_cells`, read by
    /// threads that promote a series.
    limit: std::sync::atomic::AtomicU64,
}

/// The default limit for the cells of all shards together, in bytes.
const DEFAULT_LIMIT: u64 = 1 << 30;

/// The free blocks, and where new ones begin.
pub(super) struct BlockSpace {
    /// The first cell that was never part of a block.
    next: u64,
    /// The last cells of free blocks, by the size of the blocks.
    free: BTreeMap<u64, Vec<u32>>,
}

impl Slots {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                blocks: AllocatingMutex::new(BlockSpace { next: 0, free: BTreeMap::new() }),
                unreclaimed: AtomicU64::new(0),
                shards: std::sync::atomic::AtomicU64::new(0),
                limit: std::sync::atomic::AtomicU64::new(DEFAULT_LIMIT),
            }
        }
    }

    /// Returns the number of existing shards, in any state. Exact under the lock of the pool.
    pub(super) fn shards(&self) -> usize {
        self.shards.load(Relaxed) as usize
    }

    /// Adds `more` to the number of shards; `more` may be negative. Called under the lock of the
    /// pool.
    pub(super) fn count_shards(&self, more: i64) {
        self.shards.fetch_add(more as u64, Relaxed);
    }

    /// Limits the cells of all shards together, in bytes.
    #[cfg(not(loom))]
    pub(super) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Relaxed);
    }

    /// Returns the limit for the cells of all shards together, in bytes.
    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Returns the number of cells that a shard may have. Relaxed: the limit is approximate, as
    /// threads start and end.
    fn most_cells(&self) -> u64 {
        let shards = self.shards().max(1) as u64;
        (self.limit() / 8 / shards).min(MOST_CELLS)
    }

    /// Allocates a block of `cells` cells and returns its last cell. Returns `None` if the limit is
    /// reached, if too many slots are unreclaimed, or if the calling thread has the lock.
    pub(crate) fn allocate(&self, cells: u64) -> Option<u64> {
        let size = stride(cells as usize);
        let mut blocks = self.lock_to_allocate()?;
        let free = blocks.free.get_mut(&size).and_then(Vec::pop);
        let new = || blocks.take_new(size, 1, self.most_cells());
        free.map(u64::from).or_else(new)
    }

    /// Allocates `count` blocks of `cells` cells that follow each other, a [`stride`] apart. Each
    /// is freed separately. Returns the last cell of the first block, or `None` as
    /// [`allocate`](Self::allocate) does.
    pub(crate) fn allocate_row(&self, cells: usize, count: u64) -> Option<u64> {
        let size = stride(cells);
        let mut blocks = self.lock_to_allocate()?;
        let row = blocks.take_row(size, count as usize);
        row.or_else(|| blocks.take_new(size, count, self.most_cells()))
    }

    /// Locks the blocks, unless too many slots are unreclaimed or the calling thread has the lock.
    fn lock_to_allocate(&self) -> Option<AllocatingGuard<'_, BlockSpace>> {
        if self.unreclaimed.load(Relaxed) >= UNRECLAIMED_LIMIT {
            return None;
        }
        self.blocks.lock_unless_held()
    }

    /// Frees all of these blocks, or none if a thread is allocating one: does not wait for it.
    /// Called by the collector. Each block is given as its last cell and its number of cells.
    pub(crate) fn try_free(&self, cleared: &mut Vec<(u64, u64)>) {
        if let Some(mut blocks) = self.blocks.try_lock() {
            for (last, cells) in cleared.drain(..) {
                blocks.put(last, cells);
            }
        }
    }

    /// Frees a block whose cells are zero in every shard.
    pub(crate) fn free(&self, last: u64, cells: u64) {
        self.blocks.lock().put(last, cells);
    }

    /// Returns the number of cells that blocks have used so far. A warm thread allocates as many.
    pub(crate) fn high_water(&self) -> u64 {
        self.blocks.lock().next
    }

    /// Returns the number of slots of retired series that are not reclaimed yet.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn unreclaimed(&self) -> u64 {
        self.unreclaimed.load(Relaxed)
    }

    /// Adds `more` to the number of unreclaimed slots; `more` may be negative.
    pub(crate) fn waiting(&self, more: i64) {
        self.unreclaimed.fetch_add(more as u64, Relaxed);
    }
}

impl BlockSpace {
    /// Takes `count` blocks of this size that were never used, if they end at or below `most`.
    /// Returns the last cell of the first one. The cells that are skipped so that a block can begin
    /// become free blocks of one cell.
    fn take_new(&mut self, size: u64, count: u64, most: u64) -> Option<u64> {
        let start = self.next.next_multiple_of(size.min(16));
        if start < COLD {
            for skipped in self.next..start {
                self.free.entry(1).or_default().push(skipped as u32);
            }
            self.next = start;
        }
        let end = start + size * count;
        if end > most {
            return None;
        }
        self.next = end;
        Some(start + size - 1)
    }

    /// Removes and returns `count` free blocks that follow each other, such as those of a dropped
    /// family.
    fn take_row(&mut self, size: u64, count: usize) -> Option<u64> {
        let free = self.free.get_mut(&size)?;
        free.sort_unstable();
        let length = size * (count as u64).checked_sub(1)?;
        // Blocks do not overlap. So if the ends of `count` of them span only `length` cells, they
        // follow each other without a gap.
        let start = free
            .windows(count)
            .position(|row| u64::from(row[count - 1] - row[0]) == length)?;
        free.drain(start..start + count).next().map(u64::from)
    }

    fn put(&mut self, last: u64, cells: u64) {
        debug_assert!(cells > 0, "a block has cells");
        let free = self.free.entry(stride(cells as usize)).or_default();
        free.push(last as u32);
    }
}

/// Returns the size of a block: a power of two up to a pair of cache lines (16 cells), then whole
/// pairs.
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
            // Freed out of order.
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
    fn a_stale_generation_is_beyond_every_length() {
        let slot_word = SlotWord::new();
        let generation = slot_word.generation();
        assert!(slot_word.promote(generation, 7));
        assert_eq!(slot_word.last(generation), 7);
        assert_eq!(slot_word.retire(false), Some(7));
        assert!(slot_word.last(generation) > u64::from(u32::MAX));
        assert!(slot_word.last(slot_word.generation()) > MOST_CELLS);
        assert!(
            !slot_word.promote(generation, 9),
            "a retired slot word is not promoted"
        );
        let first = SlotWord::new();
        assert!(first.promote(first.generation(), 0));
        assert_eq!(first.retire(false), Some(0));
        assert_eq!(first.retire(false), None);
    }

    /// A counting allocator promotes a series while a list of free blocks grows. Without the check,
    /// the thread waits for itself.
    #[test]
    fn a_thread_that_has_the_lock_gets_no_slot() {
        let slots = Slots::new();
        let locked = slots.blocks.lock();
        assert_eq!(slots.allocate(1), None);
        assert_eq!(slots.allocate_row(1, 2), None);
        drop(locked);
        assert!(slots.allocate(1).is_some());
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
