//! The cold path of every update: runs if the hot path rejected the update. It writes the thread's
//! own block if the thread has one by now, else the series' shared cells.
//!
//! An update of shared cells races with the collector, which retires and reclaims the series. The
//! collector first retires the slot word, then waits until every thread that was pinned at that
//! moment has unpinned, and only then folds and clears the shared cells. So an update pins the
//! epoch, reads the slot word *again*, and writes before it unpins:
//!
//! - U1: An update that finds its own generation while pinned finishes before the collector folds
//!   the shared cells.
//! - U2: An update that pins after the collector began to wait finds the series retired, and writes
//!   nothing.
//!
//! Both need the second read. The first one, in [`Thread::resolve`], comes before the pin. Between
//! the two the series may be reclaimed, and its cells may belong to another label set.

use super::memory::Block;
use super::slot::SlotWord;
use super::thread::{Target, Thread};
use super::{Engine, Outcome};
use crate::lockfree::Generation;

/// The result of an update of shared cells.
pub(super) enum Shared {
    /// The update is counted. `hot` tells whether the series is due for promotion.
    Counted { hot: bool },
    /// Another thread was writing the shared cells. The update is retried, after a promotion if
    /// `hot`.
    Busy { hot: bool },
}

/// Runs an update that the hot path rejected.
///
/// `cells` is the width of a block. `eager` is set for gauges, and for families declared hot: their
/// series are promoted by the first update. `update_block` writes a block that only this thread
/// writes, and returns `false` if it cannot. `update_shared` writes the shared cells.
#[inline(always)]
pub(super) fn update_cold(
    (engine, thread): (&Engine, &Thread),
    (slot_word, generation): (&SlotWord, Generation),
    (cells, eager): (u64, bool),
    mut update_block: impl FnMut(Block) -> bool,
    mut update_shared: impl FnMut() -> Shared,
) -> Outcome {
    let mut tries = 0;
    loop {
        let mut target = thread.resolve(engine, slot_word, generation);
        if matches!(target, Target::Cold)
            && (eager || engine.is_eager())
            && slot_word.slot().is_none()
        {
            promote(engine, slot_word, generation, cells);
            target = thread.resolve(engine, slot_word, generation);
        }
        match target {
            Target::Hot(block) if update_block(block) => return Outcome::Done,
            Target::Hot(_) | Target::Cold => {}
            Target::Stale => return Outcome::Stale,
        }
        let pinned = crate::lockfree::epoch::pin();
        if slot_word.generation() != generation {
            return Outcome::Stale;
        }
        match update_shared() {
            Shared::Counted { hot } => {
                if hot {
                    promote(engine, slot_word, generation, cells);
                }
                return Outcome::Done;
            }
            Shared::Busy { hot } => {
                drop(pinned);
                if hot {
                    promote(engine, slot_word, generation, cells);
                }
                super::engine::back_off(&mut tries);
            }
        }
    }
}

/// Gives a cold series a slot, if one is free. If several threads try, one succeeds.
pub(super) fn promote(engine: &Engine, slot_word: &SlotWord, generation: Generation, cells: u64) {
    let slot = engine.slots.allocate(cells);
    if let Some(last) = slot.filter(|last| !slot_word.promote(generation, *last)) {
        engine.slots.free(last, cells);
    }
}
