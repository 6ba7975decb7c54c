//! The cells of one series: what each metric kind implements, and what happens to cells when their series ends.

use crate::lockfree::Generation;
use crate::sync::{AtomicU64, Relaxed};

use super::engine::Engine;
use super::memory::Block;
use super::pass::{Pass, Retired};
use super::slot::{SlotWord, stride};
use super::update;

/// Updates of its shared cell after which a series is hot.
#[cfg(not(loom))]
pub const PROMOTE_AFTER: u64 = 1024;
#[cfg(loom)]
pub const PROMOTE_AFTER: u64 = 1;

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
    fn slot_word(&self) -> &SlotWord;

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
            series.read(pass, series.slot_word().slot(), total);
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
    let Some(last) = series.slot_word().slot() else {
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
    overflow.read(pass, overflow.slot_word().slot(), total);
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
    let slot = retired.map_or_else(|| series.slot_word().slot(), Retired::slot);
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
    places: impl ExactSizeIterator<Item = &'a SlotWord>,
    cells: usize,
) -> Option<u64> {
    let count = places.len() as u64;
    if cells == 0 || count == 0 || count * stride(cells) > MOST_IN_ROW {
        return None;
    }
    let first = engine.slots.allocate_row(cells, count)?;
    let promoted = places
        .zip((first..).step_by(stride(cells) as usize))
        .all(|(place, last)| place.promote(Generation::FIRST, last));
    debug_assert!(promoted, "somebody was there before");
    promoted.then_some(first)
}

/// Counts an update of a shared cell; roughly, where threads race. Tells whether the series has earned slots.
pub(super) fn count_update(updates: &AtomicU64) -> update::Shared {
    let count = updates.load(Relaxed) + 1;
    updates.store(count, Relaxed);
    update::Shared::Counted {
        hot: count.is_multiple_of(PROMOTE_AFTER),
    }
}
