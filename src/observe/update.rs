//! The cold path of every update: runs if the hot path rejected the update. It writes the thread's
//! own block if the thread has one by now, else the series' cold cells, under their lock
//! ([`cold_lock`](super::cold_lock)).

use super::cells::SeriesWords;
use super::cold_lock::{ColdGuard, ColdLock, Denied};
use super::memory::Block;
use super::slot::SlotWord;
use super::thread::{Target, Thread};
use super::{Cells, Engine, Outcome};
use crate::lockfree::Generation;
use crate::mapped::region;

/// The number of times that an update finds the cold cells locked before it promotes the series:
/// after some yields. A holder needs some ten nanoseconds, unless the system suspends it.
const BUSY_LIMIT: u32 = if cfg!(loom) { 1 } else { 16 };

/// Locks the cold cells for an update in the common case: the series is cold, and no other thread
/// has the lock. Returns `None` in all other cases, for [`Update::run`] to tell apart.
///
/// `last` is what [`SlotWord::last`] returned. A thread that runs nothing but such updates looks
/// for requests of the collector when the engine asks it to: then no case is common.
#[inline(always)]
pub(super) fn lock_if_cold<'a>(
    engine: &Engine,
    last: u64,
    (lock, generation): (&'a ColdLock, Generation),
) -> Option<ColdGuard<'a>> {
    if last == engine.common_last() {
        lock.lock(generation).ok()
    } else {
        None
    }
}

/// An update that the hot path rejected.
pub(super) struct Update<'a> {
    engine: &'a Engine,
    thread: &'a Thread,
    series: &'a SeriesWords,
    /// The generation of the handle.
    generation: Generation,
    /// The width of a block.
    cells: u64,
    /// Whether the series is promoted by its first update, as gauges are, and families declared
    /// hot.
    pub(super) eager: bool,
    /// Whether a slot would help if other threads keep the cold cells locked.
    pub(super) slot_helps: bool,
}

impl<'a> Update<'a> {
    /// Creates an update of a series whose blocks have this width.
    pub(super) fn new(
        series: &'a impl Cells,
        (engine, thread): (&'a Engine, &'a Thread),
        generation: Generation,
        cells: u64,
        eager: bool,
    ) -> Self {
        Self {
            engine,
            thread,
            series: series.series_words(),
            generation,
            cells,
            eager: eager || engine.is_eager(),
            slot_helps: true,
        }
    }

    /// Runs the update. `write_block` writes a block that only this thread writes, and returns
    /// `false` if it cannot. `write_cold` locks the cold cells and writes them.
    #[cold]
    #[inline(never)]
    pub(super) fn run(
        &self,
        write_block: &mut dyn FnMut(Block) -> bool,
        write_cold: &mut dyn FnMut() -> Result<(), Denied>,
    ) -> Outcome {
        let slot_word = &self.series.slot_word;
        let resolve = || self.thread.resolve(self.engine, slot_word, self.generation);
        let mut tries = 0;
        loop {
            let mut target = resolve();
            if matches!(target, Target::Cold) && self.eager && slot_word.slot().is_none() {
                self.promote();
                target = resolve();
            }
            match target {
                Target::Hot(block) if write_block(block) => return Outcome::Done,
                Target::Hot(_) | Target::Cold => {}
                Target::Stale => return Outcome::Stale,
            }
            match write_cold() {
                Ok(()) => return Outcome::Done,
                Err(Denied::Stale) => return Outcome::Stale,
                Err(Denied::Busy) => {
                    super::engine::back_off(&mut tries);
                    if self.slot_helps && tries >= BUSY_LIMIT {
                        self.promote();
                    }
                }
            }
        }
    }

    /// Locks the cold cells, writes them, and counts the update, which may promote the series.
    pub(super) fn count_cold(&self, write: impl FnOnce()) -> Result<(), Denied> {
        let held = self.series.lock.lock(self.generation)?;
        write();
        let slot = (&self.series.slot_word, self.cells);
        held.count(self.engine, slot, || false);
        Ok(())
    }

    fn promote(&self) {
        let slot_word = &self.series.slot_word;
        promote(self.engine, slot_word, self.generation, self.cells);
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
