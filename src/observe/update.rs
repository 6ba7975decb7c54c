//! The cold path of every update: from a thread that has no block for a series to a count in its shared cells.
//!
//! An update of shared cells races with the end of its series. The collector that ends a series retires its slot word
//! first, then waits until everybody has unpinned who was pinned at that moment, and only then folds and clears the
//! shared cells. So an update pins the epoch, looks at the slot word *again*, and writes before it unpins:
//!
//! - U1: an update that finds its generation under the pin has ended before the collector folds the shared cells.
//! - U2: an update that pins after the collector began to wait finds the series retired, and writes nothing.
//!
//! Both need the second look. The first one, in [`Thread::settle`], came before the pin: between the two the series may
//! have ended, and its cells may be another label set's.

use super::memory::Block;
use super::slot::SlotWord;
use super::thread::{Settled, Thread};
use super::{Engine, Outcome};
use crate::lockfree::Generation;

/// What a kind did with its shared cells.
pub(super) enum Shared {
    /// The update is counted; `hot` if the series has earned slots.
    Counted { hot: bool },
    /// Another thread was writing the shared cells. The update is tried again, after a promotion if `hot`.
    Busy { hot: bool },
}

/// Runs an update that the hot path turned away.
///
/// `cells` is the width of a block; `eager` is set for gauges, and for families declared hot. `own` writes a block that
/// only this thread writes, and returns `false` where it cannot; `shared` writes the shared cells.
#[inline(always)]
pub(super) fn update_cold(
    (engine, thread): (&Engine, &Thread),
    (place, generation): (&SlotWord, Generation),
    (cells, eager): (u64, bool),
    mut own: impl FnMut(Block) -> bool,
    mut shared: impl FnMut() -> Shared,
) -> Outcome {
    let mut tries = 0;
    loop {
        let mut settled = thread.settle(engine, place, generation);
        if eager && matches!(settled, Settled::Cold) && place.slot().is_none() {
            promote(engine, place, generation, cells);
            settled = thread.settle(engine, place, generation);
        }
        match settled {
            Settled::Hot(block) if own(block) => return Outcome::Done,
            Settled::Hot(_) | Settled::Cold => {}
            Settled::Stale => return Outcome::Stale,
        }
        let pinned = crate::lockfree::epoch::pin();
        if place.generation() != generation {
            return Outcome::Stale;
        }
        match shared() {
            Shared::Counted { hot } => {
                if hot {
                    promote(engine, place, generation, cells);
                }
                return Outcome::Done;
            }
            Shared::Busy { hot } => {
                drop(pinned);
                if hot {
                    promote(engine, place, generation, cells);
                }
                super::engine::back_off(&mut tries);
            }
        }
    }
}

/// Gives a cold series a slot, if there is one: of several threads one succeeds.
pub(super) fn promote(engine: &Engine, place: &SlotWord, generation: Generation, cells: u64) {
    if let Some(last) = engine.slots.allocate(cells)
        && !place.promote(generation, last)
    {
        engine.slots.free(last, cells);
    }
}
