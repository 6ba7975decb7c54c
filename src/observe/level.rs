//! What is set: one shared cell, the last write wins.
//!
//! A level counts nothing in shards, but has a slot like any other series from its first update on, and updates it only
//! where this thread has the slot: so a handle that went stale meets the cold path, the owners' answers tell the collector
//! when the cell can be used for another series, and a thread whose slab ends below the slot need not answer. The slot's
//! cells stay zero. Where no slot is left, updates pin the epoch, which needs no owner's answer.

use crate::lockfree::Generation;
use crate::sync::{AtomicF64, Relaxed};

use super::memory::Block;
use super::pass::Pass;
use super::slot::SlotWord;
use super::thread::Thread;
use super::update::{Shared, update_cold};
use super::{Cells, Engine, Outcome};

/// One series of a gauge.
#[derive(Debug)]
pub struct Level {
    slot_word: SlotWord,
    value: AtomicF64,
}

/// What an update does with a level.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Sets it.
    Set(f64),
    /// Adds to it, or takes away.
    Add(f64),
    /// Raises it to at least this.
    Max(f64),
    /// Lowers it to at most this.
    Min(f64),
}

impl Level {
    /// Changes the value; the caller has seen that it may.
    #[inline(always)]
    pub fn apply(&self, change: Change) {
        // Relaxed: a level is read on its own.
        match change {
            Change::Set(value) => self.value.store(value, Relaxed),
            Change::Add(value) => _ = self.value.fetch_add(value, Relaxed),
            Change::Max(value) => _ = self.value.fetch_max(value, Relaxed),
            Change::Min(value) => _ = self.value.fetch_min(value, Relaxed),
        }
    }

    /// Changes the value if the handle is not stale and this thread has a shard; else take the cold path.
    #[inline(always)]
    pub fn change(&self, thread: &Thread, generation: Generation, change: Change) -> bool {
        let may = thread.has_cell(self.slot_word.last(generation));
        if may {
            self.apply(change);
        }
        may
    }

    /// The cold path of [`change`](Self::change).
    pub fn change_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        generation: Generation,
        change: Change,
    ) -> Outcome {
        let own = |_| {
            self.apply(change);
            true
        };
        let shared = || {
            self.apply(change);
            Shared::Counted { hot: false }
        };
        update_cold(
            (engine, thread),
            (&self.slot_word, generation),
            (1, true),
            own,
            shared,
        )
    }

    /// The value now.
    pub fn value(&self) -> f64 {
        self.value.load(Relaxed)
    }
}

impl Cells for Level {
    /// What it begins with.
    type Shape = f64;
    type Total = f64;

    fn new(&first: &f64) -> Self {
        Self {
            slot_word: SlotWord::new(),
            value: AtomicF64::new(first),
        }
    }

    fn slot_word(&self) -> &SlotWord {
        &self.slot_word
    }

    fn width(_: &f64) -> usize {
        1
    }

    fn read(&self, _: &mut Pass<'_>, _: Option<u64>, total: &mut f64) {
        *total = self.value();
    }

    fn fold(&self, _: Block) {}

    fn fold_shared(&self, _: &Self) {}

    fn clear(&self, &first: &f64) {
        self.apply(Change::Set(first));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::slot::UNRECLAIMED_LIMIT;
    use super::*;

    #[test]
    fn the_first_update_takes_a_slot_unless_too_many_wait() {
        let engine = Engine::new();
        let thread = Thread::new();
        let level = Level::new(&1.0);
        let set =
            |value| level.change_cold(&engine, &thread, Generation::FIRST, Change::Set(value));
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64);
        assert_eq!(set(2.0), Outcome::Done);
        assert_eq!(level.slot_word.slot(), None);
        assert_eq!(level.value(), 2.0);
        engine.slots.waiting(-1);
        assert!(!level.change(&thread, Generation::FIRST, Change::Set(3.0)));
        assert_eq!(set(3.0), Outcome::Done);
        assert!(level.slot_word.slot().is_some());
        assert!(level.change(&thread, Generation::FIRST, Change::Add(1.0)));
        assert_eq!(level.value(), 4.0);
        thread.leave(&engine);
    }

    #[test]
    fn a_retired_level_waits_until_it_ends() {
        let engine = Engine::new();
        let thread = Thread::new();
        let level = Level::new(&1.0);
        level.change_cold(&engine, &thread, Generation::FIRST, Change::Set(2.0));
        let retired = engine.pass().retire(&level.slot_word);
        assert_eq!(engine.slots.unreclaimed(), 1);
        // For an epoch, which other tests' threads may hold up; this thread is the only owner, and it has left.
        thread.leave(&engine);
        while !super::super::reclaim(&mut engine.pass(), &1.0, &level, retired, None) {
            std::thread::yield_now();
        }
        assert_eq!(engine.slots.unreclaimed(), 0);
        assert_eq!(level.value(), 1.0);
    }
}
