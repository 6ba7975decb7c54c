//! The cells of one series: the trait that each metric kind implements, and the functions that
//! reclaim, fold and reset them.

use crate::lockfree::Generation;

use super::cold_lock::ColdLock;
use super::engine::Engine;
use super::memory::Block;
use super::pass::{Closing, Pass, Retired};
use super::slot::{SlotWord, stride};

/// The result of a cold update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The update is counted.
    Done,
    /// The handle is stale. Nothing was written.
    Stale,
    /// The update needs memory that cannot be allocated now. Nothing was written.
    Rejected,
}

/// Moves what a block holds besides numbers to the mapped file.
///
/// The block is that of a series of the kind, the caller owns it, and is between two updates.
pub type MoveBlock = unsafe fn(Block);

/// The words with which the cells of every kind begin. Other processes may read them in a file.
#[repr(C)]
pub struct SeriesWords {
    /// Slot and generation. Written by promotion and retirement, read by every update and scrape.
    pub(super) slot_word: SlotWord,
    /// The lock of the cold cells.
    pub(super) lock: ColdLock,
}

impl SeriesWords {
    /// Creates the words of a cold series that no thread has updated.
    pub(super) fn new() -> Self {
        Self {
            slot_word: SlotWord::new(),
            lock: ColdLock::new(),
        }
    }
}

/// The cells of one series of some metric kind.
pub trait Cells: Send + Sync + 'static {
    /// The properties that all series of a family share.
    type Shape: Clone + Send + Sync;
    /// The result of reading a series.
    type Total: Default + std::fmt::Debug + Send;

    /// Creates the cells of a fresh series.
    fn new(shape: &Self::Shape) -> Self;

    /// Returns the words that every kind has.
    #[doc(hidden)]
    fn series_words(&self) -> &SeriesWords;

    /// Returns the word with the series' slot and generation.
    #[inline(always)]
    fn slot_word(&self) -> &SlotWord {
        &self.series_words().slot_word
    }

    /// Returns the lock of the series' cold cells.
    #[doc(hidden)]
    fn cold_lock(&self) -> &ColdLock {
        &self.series_words().lock
    }

    /// Returns the number of cells that a series has in each shard.
    fn width(shape: &Self::Shape) -> usize;

    /// Resets a total that was used before.
    fn reset(total: &mut Self::Total) {
        *total = Self::Total::default();
    }

    /// Adds the series to `total`: its cold cells, and the block `slot` in every shard.
    fn read(&self, pass: &mut Pass<'_>, slot: Option<u64>, total: &mut Self::Total);

    /// Reads several series in the order of memory. `totals` has one total per series, with any
    /// content.
    fn read_all<'a>(
        pass: &mut Pass<'_>,
        series: impl Iterator<Item = &'a Self> + Clone,
        totals: &mut [Self::Total],
    ) where
        Self: Sized,
    {
        for (series, total) in series.zip(totals) {
            Self::reset(total);
            series.read(pass, series.slot_word().slot(), total);
        }
    }

    /// Moves what a block counts, which no thread writes any more, to the cold cells of this
    /// series, if the kind adds up: the block of a retired series, or this series' own block in an
    /// idle shard or in a slot that is closing. Zeroes the block, and frees what it holds besides
    /// numbers. Returns `false`, and moves nothing, if the move needs memory that cannot be
    /// allocated. The caller holds the lock of the cold cells.
    ///
    /// For other processes the move is one step ([`Move`](crate::mapped::Move)).
    #[doc(hidden)]
    fn fold(&self, shape: &Self::Shape, block: Block) -> bool;

    /// Returns the function that frees what a block holds besides numbers. For a block that no
    /// thread writes any more.
    #[doc(hidden)]
    fn release(_shape: &Self::Shape) -> fn(Block)
    where
        Self: Sized,
    {
        |_| ()
    }

    /// Moves what the cold cells of a retired series count to those of this series, if the kind
    /// adds up. Returns `false` as [`fold`](Self::fold) does. The caller holds the locks of both.
    fn fold_cold(&self, shape: &Self::Shape, other: &Self) -> bool;

    /// Resets the cold cells. The caller holds their lock.
    fn clear(&self, shape: &Self::Shape);

    /// Returns the function that moves what a block holds besides numbers to the mapped file, if
    /// the kind has cells that are more than numbers. The owner of the block calls it, between two
    /// updates.
    #[doc(hidden)]
    fn block_to_file(_shape: &Self::Shape) -> Option<MoveBlock> {
        None
    }

    /// Starts at zero in the child of a `fork`, which has only the calling thread, after the region
    /// was zeroed but for the series.
    #[doc(hidden)]
    fn after_fork(&self, shape: &Self::Shape) {
        drop(self.cold_lock().take(self.slot_word().generation()));
        self.clear(shape);
    }
}

/// Reclaims a retired series if no thread can still be updating it: adds its slot and its cold
/// cells to `overflow`, if there is one, and clears them. Without `overflow`, drops what they
/// count. Returns `false` if the caller has to try again in a later pass.
///
/// The slot becomes free once the caller has reclaimed all series it wants to and calls
/// [`Pass::free_cleared`].
pub fn reclaim<C: Cells>(
    pass: &mut Pass<'_>,
    shape: &C::Shape,
    series: &C,
    retired: Retired,
    overflow: Option<&C>,
) -> bool {
    if !pass.is_acknowledged(retired) {
        return false;
    }
    // If a writer has the cold cells of either series now, a later pass reclaims.
    let Some(own) = series.cold_lock().lock_any() else {
        return false;
    };
    let into = overflow.map(|overflow| overflow.cold_lock().lock_any());
    if matches!(into, Some(None)) {
        return false;
    }
    let done = reclaim_now(pass, shape, series, retired, overflow);
    drop(into);
    if done {
        // Updates of the old generation write nothing from now on (U2).
        own.hand_over(series.slot_word().generation());
    }
    done
}

/// Moves a series' counts in idle shards to its cold cells; see [`Pass::take_idle`].
pub fn fold_idle<C: Cells>(pass: &mut Pass<'_>, shape: &C::Shape, series: &C) {
    let Some(last) = series.slot_word().slot() else {
        return;
    };
    // If a writer has the cold cells now, a later pass folds.
    if let Some(_held) = series.cold_lock().lock_any() {
        pass.drain_idle(last, C::width(shape), |block| series.fold(shape, block));
    }
}

/// Moves the counts of a slot that is [closing](Pass::close) to the cold cells of its series,
/// which is cold then. Returns `false` if the caller has to try again in a later pass.
///
/// The slot becomes free once the caller calls [`Pass::free_cleared`].
pub fn end_closing<C: Cells>(
    pass: &mut Pass<'_>,
    shape: &C::Shape,
    series: &C,
    closing: Closing,
) -> bool {
    if series.slot_word().generation() != closing.generation {
        // Retired since, and the slot with it.
        return true;
    }
    if !pass.is_closed(closing) {
        return false;
    }
    // If a writer has the cold cells now, a later pass moves the counts.
    let Some(_held) = series.cold_lock().lock_any() else {
        return false;
    };
    let done = pass.clear_slot(closing.last, C::width(shape), |block| {
        series.fold(shape, block)
    });
    if done {
        series.slot_word().make_cold();
    }
    done
}

/// Reads the overflow series, and after it the retired series that some thread may still be
/// updating.
///
/// The order matters for series that go up and down. Assume that a thread's series is retired
/// between its `inc` and its `dec`, so that the `dec` lands in the overflow series:
///
/// - If the reader saw this `dec`, it has acquired the `inc` before it, and then finds the `inc` in
///   the retired series.
/// - In the opposite order, the reader could miss the `inc` and then see the `dec`.
pub fn read_overflow<'a, C: Cells>(
    pass: &mut Pass<'_>,
    overflow: &C,
    retired: impl Iterator<Item = (&'a C, Retired)>,
    total: &mut C::Total,
) {
    overflow.read(pass, overflow.slot_word().slot(), total);
    for (series, retired) in retired {
        series.read(pass, retired.slot, total);
    }
}

/// Resets the cold cells of a series, and its slot or, with `retired`, the slot that it had
/// before it was retired. The process must have only the calling thread, like the child of a
/// `fork`. Leaks what the blocks hold besides numbers.
pub fn start_over<C: Cells>(
    pass: &Pass<'_>,
    shape: &C::Shape,
    series: &C,
    retired: Option<Retired>,
) {
    let slot = retired.map_or_else(|| series.slot_word().slot(), |retired| retired.slot);
    if let Some(last) = slot {
        pass.zero(last, C::width(shape));
    }
    // A child of `fork` may find the lock taken by a thread that it does not have, and must not
    // wait. What is more than numbers then stays as it is: that thread may have left it half
    // written. And nothing tells it from a thread that lives, which may free what it replaces.
    let (lock, is_numbers) = (series.cold_lock(), C::block_to_file(shape).is_none());
    let take = || lock.take(series.slot_word().generation());
    let held = lock.lock_any().or_else(|| is_numbers.then(take));
    if held.is_some() {
        series.clear(shape);
    }
}

fn reclaim_now<C: Cells>(
    pass: &mut Pass<'_>,
    shape: &C::Shape,
    series: &C,
    retired: Retired,
    overflow: Option<&C>,
) -> bool {
    let release = C::release(shape);
    let fold = |block| match overflow {
        Some(overflow) => overflow.fold(shape, block),
        None => {
            release(block);
            true
        }
    };
    // First the cold cells: a slot can be cleared only once.
    if overflow.is_some_and(|overflow| !overflow.fold_cold(shape, series)) {
        return false;
    }
    let reclaim_slot = |last| pass.reclaim_slot(last, C::width(shape), fold);
    if !retired.slot.is_none_or(reclaim_slot) {
        return false;
    }
    series.clear(shape);
    series.slot_word().make_cold();
    true
}

/// The most cells of a row. A thread allocates all of them when it first uses one.
pub const MOST_IN_ROW: u64 = 1024;

/// Promotes cold series of `cells` cells each, which no thread has updated yet, to slots that
/// follow each other. Returns the slot of the first one; the others are a [`stride`] apart each.
///
/// Returns `None` if there are no series or no cells, if the row would be too long, or if no slots
/// are free.
pub fn promote_row<'a>(
    engine: &Engine,
    slot_words: impl ExactSizeIterator<Item = &'a SlotWord>,
    cells: usize,
) -> Option<u64> {
    let count = slot_words.len() as u64;
    if cells == 0 || count == 0 || count * stride(cells) > MOST_IN_ROW {
        return None;
    }
    let first = engine.slots.allocate_row(cells, count)?;
    let slots = (first..).step_by(stride(cells) as usize);
    // As in `promote`.
    let Some(_steady) = crate::mapped::region::steady() else {
        let row = slots.take(count as usize);
        row.for_each(|last| engine.slots.free(last, cells as u64));
        return None;
    };
    let promoted = slot_words
        .zip(slots)
        .all(|(slot_word, last)| slot_word.promote(Generation::FIRST, last));
    debug_assert!(promoted, "a series of the row already had a slot");
    promoted.then_some(first)
}
