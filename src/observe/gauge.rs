//! The cell of a gauge that is set: all threads share it, and the last write wins.
//!
//! # Protocol
//!
//! A gauge counts nothing in shards, but its first update allocates a slot like that of any other
//! series. A thread updates the cold cell without a lock only if its slab has that slot. The cells
//! of that slot stay zero. The slot has three uses:
//!
//! - An update through a stale reference fails the comparison with the slab's length, and takes the
//!   cold path.
//! - Owners that acknowledge a safepoint request tell the collector when it can reuse the cold
//!   cell for another series.
//! - A thread whose slab ends below the slot does not have to acknowledge the request (invariant I5
//!   of [`shard`](super::shard)).
//!
//! If there is no slot for the gauge, updates take the lock of the cold cell.
//!
//! An update that is timed stores the value before the time, and readers load the time before the
//! value: what they show may be newer than its time, and never older.
//!
//! # Invariants
//!
//! - G1: An update writes the cold cell only while the collector cannot reuse it: between two
//!   safepoints of a thread that has the slot, or under the lock of the cold cell (invariant U2
//!   of [`cold_lock`](super::cold_lock)).

use crate::lockfree::Generation;
use crate::mapped::format::series::{UNSET, UNTIMED};
use crate::snapshot::LastSet;
use crate::sync::{Acquire, AtomicF64, AtomicU64, Relaxed, Release};

use super::cells::SeriesWords;
use super::memory::Block;
use super::pass::Pass;
use super::thread::Thread;
use super::update::Update;
use super::{Cells, Engine, Outcome};

/// The settings that all series of a gauge share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaugeShape {
    /// The value that a series has from the start on. `None` if somebody has to set it.
    pub first: Option<f64>,
    /// Whether the time of the last update is recorded.
    pub timed: bool,
}

/// The cell of one series of a gauge.
#[repr(C)]
pub struct GaugeCell {
    series: SeriesWords,
    /// The value, or [`UNSET`], so that a set is one store. Written by every thread that updates
    /// the gauge, read by passes.
    value: AtomicF64,
    /// When the gauge was updated last, in nanoseconds since 1970, or [`UNTIMED`]. A gauge whose
    /// updates are timed never has a slot, so that all of them take the cold path, which writes
    /// this.
    updated: AtomicU64,
}

/// An update of a gauge.
#[derive(Clone, Copy, Debug)]
pub enum GaugeOp {
    /// Sets the value.
    Set(f64),
    /// Adds to the value; a negative number subtracts.
    Add(f64),
    /// Raises the value to this one if it is lower.
    Max(f64),
    /// Lowers the value to this one if it is higher.
    Min(f64),
}

impl GaugeCell {
    /// Changes the value. The caller has checked that it may (G1).
    #[inline(always)]
    pub fn apply(&self, op: GaugeOp) {
        // Relaxed: no other memory belongs to the value.
        match op {
            GaugeOp::Set(value) => self.value.store(value, Relaxed),
            GaugeOp::Add(value) => self.update(value, |old| old + value),
            GaugeOp::Max(value) => self.update(value, |old| old.max(value)),
            GaugeOp::Min(value) => self.update(value, |old| old.min(value)),
        }
    }

    /// Changes the value in one step. A gauge that nobody set becomes `first`.
    #[inline(always)]
    fn update(&self, first: f64, next: impl Fn(f64) -> f64) {
        let next = |old: f64| match old.to_bits() {
            UNSET => first,
            _ => next(old),
        };
        _ = self
            .value
            .fetch_update(Relaxed, Relaxed, |old| Some(next(old)));
    }

    /// Changes the value if this thread's slab has the slot and the reference is not stale (G1).
    /// Returns `false` if the caller has to take the cold path.
    #[inline(always)]
    pub fn change(&self, thread: &Thread, generation: Generation, op: GaugeOp) -> bool {
        let may = thread.hot(self.slot_word().last(generation)).is_some();
        if may {
            self.apply(op);
        }
        may
    }

    /// The cold path of [`change`](Self::change).
    pub fn change_cold(
        &self,
        engine: &Engine,
        thread: &Thread,
        generation: Generation,
        op: GaugeOp,
    ) -> Outcome {
        let apply = || {
            self.apply(op);
            if self.is_timed() {
                // Release: pairs with the Acquire load in `last_set`, and with that of readers of
                // mapped files. Who reads this time also reads the value, or a later one.
                self.updated.store(now(), Release);
            }
        };
        let mut own = |_| {
            apply();
            true
        };
        let mut update = Update::new(self, (engine, thread), generation, 1, true);
        // Not even if all other series are promoted at once: a hot update stores no time.
        update.eager = !self.is_timed();
        // Tried with every update anyway, if at all.
        update.slot_helps = false;
        update.run(&mut own, &mut || {
            let _held = self.series.lock.lock(generation)?;
            apply();
            Ok(())
        })
    }

    /// Whether the time of the last update is recorded. Then every update takes the cold path.
    pub fn is_timed(&self) -> bool {
        self.updated.load(Relaxed) != UNTIMED
    }

    /// Returns the current value.
    pub fn value(&self) -> f64 {
        self.last_set().value
    }

    /// Returns the current value, and when it was set.
    fn last_set(&self) -> LastSet {
        // Acquire: pairs with the Release store behind a value.
        let updated = self.updated.load(Acquire);
        last_set(self.value.load(Relaxed).to_bits(), updated)
    }
}

/// Returns what the words of a gauge mean: its value, and the time of its last update.
pub fn last_set(value: u64, updated: u64) -> LastSet {
    match (value, updated) {
        (UNSET, _) => LastSet::default(),
        (value, UNTIMED) => LastSet::untimed(f64::from_bits(value)),
        // Before the first time, there is a value for a moment.
        (value, at) => LastSet {
            value: f64::from_bits(value),
            at: at.max(LastSet::UNTIMED),
        },
    }
}

/// Returns the value of a cell that nobody has set.
fn first(shape: &GaugeShape) -> f64 {
    shape.first.unwrap_or(f64::from_bits(UNSET))
}

impl Cells for GaugeCell {
    type Shape = GaugeShape;
    type Total = LastSet;

    fn new(shape: &GaugeShape) -> Self {
        Self {
            series: SeriesWords::new(),
            value: AtomicF64::new(first(shape)),
            updated: AtomicU64::new(if shape.timed { 0 } else { UNTIMED }),
        }
    }

    fn series_words(&self) -> &SeriesWords {
        &self.series
    }

    fn width(_: &GaugeShape) -> usize {
        1
    }

    fn read(&self, _: &mut Pass<'_>, _: Option<u64>, total: &mut LastSet) {
        *total = self.last_set();
    }

    fn fold(&self, _: &GaugeShape, _: Block) -> bool {
        true
    }

    fn fold_cold(&self, _: &GaugeShape, _: &Self) -> bool {
        true
    }

    fn clear(&self, shape: &GaugeShape) {
        self.apply(GaugeOp::Set(first(shape)));
        if shape.timed {
            self.updated.store(0, Relaxed);
        }
    }
}

#[cfg(not(loom))]
fn now() -> u64 {
    crate::clock::nanos()
}

#[cfg(loom)]
fn now() -> u64 {
    1
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::slot::UNRECLAIMED_LIMIT;
    use super::*;

    const ONE: GaugeShape = GaugeShape {
        first: Some(1.0),
        timed: false,
    };

    #[test]
    fn the_first_update_takes_a_slot_unless_too_many_wait() {
        let engine = Engine::new();
        let thread = Thread::new();
        let gauge = GaugeCell::new(&ONE);
        let set =
            |value| gauge.change_cold(&engine, &thread, Generation::FIRST, GaugeOp::Set(value));
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64);
        assert_eq!(set(2.0), Outcome::Done);
        assert_eq!(gauge.slot_word().slot(), None);
        assert_eq!(gauge.value(), 2.0);
        engine.slots.waiting(-1);
        assert!(!gauge.change(&thread, Generation::FIRST, GaugeOp::Set(3.0)));
        assert_eq!(set(3.0), Outcome::Done);
        assert!(gauge.slot_word().slot().is_some());
        assert!(gauge.change(&thread, Generation::FIRST, GaugeOp::Add(1.0)));
        assert_eq!(gauge.value(), 4.0);
        thread.leave(&engine);
    }

    /// With `tallies::testing`, it got a slot, and later updates did not store their time.
    #[test]
    fn a_timed_gauge_never_has_a_slot() {
        let engine = Engine::new();
        engine.promote_at_first_update();
        let thread = Thread::new();
        let shape = GaugeShape {
            first: None,
            timed: true,
        };
        let gauge = GaugeCell::new(&shape);
        let mut before = gauge.last_set();
        assert_eq!(before.at, LastSet::NEVER);
        for value in [1.0, 1.0, 2.0] {
            let op = GaugeOp::Set(value);
            assert!(!gauge.change(&thread, Generation::FIRST, op));
            gauge.change_cold(&engine, &thread, Generation::FIRST, op);
            let now = gauge.last_set();
            assert!(
                now.value == value && now.at > before.at,
                "{before:?} {now:?}"
            );
            before = now;
        }
        thread.leave(&engine);
    }

    /// They started from the 0 that a gauge shows before it is set.
    #[test]
    fn every_first_update_starts_from_nothing() {
        let unset = GaugeShape {
            first: None,
            timed: false,
        };
        for value in [5.0, -5.0, f64::NAN] {
            for op in [GaugeOp::Set, GaugeOp::Add, GaugeOp::Max, GaugeOp::Min] {
                let gauge = GaugeCell::new(&unset);
                assert_eq!(gauge.last_set(), LastSet::default());
                gauge.apply(op(value));
                assert_eq!(gauge.value().to_bits(), value.to_bits());
                gauge.clear(&unset);
                assert_eq!(gauge.last_set(), LastSet::default());
            }
        }
        let info = GaugeCell::new(&ONE);
        assert_eq!(info.last_set(), LastSet::untimed(1.0));
    }

    #[test]
    fn a_retired_gauge_waits_until_it_is_reclaimed() {
        let engine = Engine::new();
        let thread = Thread::new();
        let gauge = GaugeCell::new(&ONE);
        gauge.change_cold(&engine, &thread, Generation::FIRST, GaugeOp::Set(2.0));
        let retired = engine.pass().retire(gauge.slot_word(), false);
        assert_eq!(engine.slots.unreclaimed(), 1);
        // This thread was the only owner of a shard, and has left it.
        thread.leave(&engine);
        drop(engine.pass());
        let mut pass = engine.pass();
        assert!(super::super::reclaim(
            &mut pass, &ONE, &gauge, retired, None
        ));
        assert_eq!(engine.slots.unreclaimed(), 0);
        assert_eq!(gauge.value(), 1.0);
    }
}
