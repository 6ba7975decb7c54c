//! The cold path of every update: runs if the hot path rejected the update. It writes the thread's
//! own block if the thread has one by now, else the series' cold cells, under their lock
//! ([`cold_lock`](super::cold_lock)).

use super::cold_lock::{ColdLock, Denied, Held};
use super::engine::UNCOMMON;
use super::memory::Block;
use super::slot::{COLD, SlotWord};
use super::thread::{Target, Thread};
use super::{Engine, Outcome};
use crate::lockfree::Generation;
use crate::mapped::region;

/// The result of an update of cold cells.
pub(super) enum ColdUpdate {
    /// The update is counted.
    Counted,
    /// The cells count for another series by now.
    Stale,
    /// Another thread was writing the cold cells. The update is retried. `hot` tells whether a
    /// slot would help if this happens again and again.
    Busy { hot: bool },
}

impl ColdUpdate {
    /// The result of an update that did not get the lock.
    pub(super) fn denied(denied: &Denied, hot: bool) -> Self {
        match denied {
            Denied::Stale => Self::Stale,
            Denied::Busy => Self::Busy { hot },
        }
    }
}

/// The number of times that an update finds the cold cells locked before it promotes the series:
/// after some yields. A holder needs some ten nanoseconds, unless the system suspends it.
const BUSY_LIMIT: u32 = if cfg!(loom) { 1 } else { 16 };

/// Locks the cold cells for an update in the common case: the series is cold, and no other thread
/// has the lock. Returns `None` in all other cases, for [`update_cold`] to tell apart. Returns the
/// running minute as well.
///
/// `last` is what [`SlotWord::last`] returned. A thread that runs nothing but such updates looks
/// for requests of the collector when the engine asks it to: then no case is common.
#[inline(always)]
pub(super) fn lock_if_cold<'a>(
    engine: &Engine,
    last: u64,
    (lock, generation): (&'a ColdLock, Generation),
) -> Option<(Held<'a>, u64)> {
    let minute = engine.minute();
    if last == COLD && minute < UNCOMMON {
        lock.lock(generation).ok().map(|held| (held, minute))
    } else {
        None
    }
}

/// Runs an update that the hot path rejected.
///
/// `cells` is the width of a block. `eager` is set for gauges, and for families declared hot: their
/// series are promoted by the first update. `update_block` writes a block that only this thread
/// writes, and returns `false` if it cannot. `update_cold_cells` writes the cold cells.
#[cold]
#[inline(never)]
pub(super) fn update_cold(
    (engine, thread): (&Engine, &Thread),
    (slot_word, generation): (&SlotWord, Generation),
    (cells, eager): (u64, bool),
    update_block: &mut dyn FnMut(Block) -> bool,
    update_cold_cells: &mut dyn FnMut() -> ColdUpdate,
) -> Outcome {
    let eager = eager || engine.is_eager();
    let mut tries = 0;
    loop {
        let mut target = thread.resolve(engine, slot_word, generation);
        if matches!(target, Target::Cold) && eager && slot_word.slot().is_none() {
            promote(engine, slot_word, generation, cells);
            target = thread.resolve(engine, slot_word, generation);
        }
        match target {
            Target::Hot(block) if update_block(block) => return Outcome::Done,
            Target::Hot(_) | Target::Cold => {}
            Target::Stale => return Outcome::Stale,
        }
        match update_cold_cells() {
            ColdUpdate::Counted => return Outcome::Done,
            ColdUpdate::Stale => return Outcome::Stale,
            ColdUpdate::Busy { hot } => {
                super::engine::back_off(&mut tries);
                if hot && tries >= BUSY_LIMIT {
                    promote(engine, slot_word, generation, cells);
                }
            }
        }
    }
}

/// Gives a cold series a slot, if one is free. If several threads try, one succeeds.
pub(super) fn promote(engine: &Engine, slot_word: &SlotWord, generation: Generation, cells: u64) {
    let Some(last) = engine.slots.allocate(cells) else {
        return;
    };
    // The slot word is not stored while the process begins to share its metrics. The result is
    // dropped before the slot is freed, because a `fork` locks the slots before the region.
    let is_stored = region::steady().is_some_and(|_steady| slot_word.promote(generation, last));
    if !is_stored {
        engine.slots.free(last, cells);
    }
}
