//! Loom models of a native histogram's table.

use std::collections::BTreeSet;
use std::sync::Arc;

use loom::thread;

use crate::snapshot::Resolution;
use crate::sync::AtomicU64;

use super::super::buckets::Observation;
use super::super::memory::Block;
use super::super::native::{self, Table};
use super::super::slot::UNRECLAIMED_LIMIT;
use super::super::thread::Thread;
use super::super::{Buckets, Cells, Engine, Generation, ObservedTotal, Outcome, Shape, start_over};
use super::{reached, set, shards, spawn, total};
use crate::lockfree::epoch::{pin, with_epochs};

/// A block of one cell, which points to a table.
struct Native(Box<[AtomicU64]>);

impl Native {
    const RESOLUTION: Resolution = Resolution {
        schema: 0,
        limit: 8,
        zero_threshold: 0.0,
    };
    /// Values in two buckets. The first table can take one key, so the second value replaces it.
    const VALUES: [f64; 3] = [1.0, 2.0, 1.0];

    fn new() -> Arc<Self> {
        Arc::new(Self(Box::new([AtomicU64::new(0)])))
    }

    fn observe(&self, thread: &Thread, value: f64) {
        let observation = Observation::new(0, value, 1);
        // SAFETY: one cell, and one writer in each model (T5 of `native`).
        unsafe { native::write(thread, Block::of(&self.0), &Self::RESOLUTION, observation) };
    }

    /// Returns the number of observations in a read, or `None` if the reader has to retry.
    fn read(&self) -> Option<usize> {
        let _pinned = pin();
        // SAFETY: one cell, and the epoch is pinned (T3 of `native`).
        let Some(table) = (unsafe { Table::published(Block::of(&self.0)) }) else {
            return Some(0);
        };
        prefix(table, table.block())
    }
}

/// Reads a block of the table, and returns the number of observations, or `None` if the reader has
/// to retry. Panics if the read is not a prefix.
fn prefix(table: &Table, block: Block) -> Option<usize> {
    let mut total = ObservedTotal {
        counts: vec![0],
        ..ObservedTotal::default()
    };
    if !table.try_add(block, &mut Vec::new(), &mut total) {
        return None;
    }
    let mut native = total.native.take().unwrap();
    native.normalize(8);
    let seen = (native.positive().to_vec(), total.sum.value());
    let prefixes = [
        (vec![], 0.0),
        (vec![(0, 1)], 1.0),
        (vec![(0, 1), (1, 1)], 3.0),
        (vec![(0, 2), (1, 1)], 4.0),
    ];
    let prefix = prefixes.iter().position(|prefix| *prefix == seen);
    Some(prefix.unwrap_or_else(|| panic!("torn: {seen:?}")))
}

/// The owner creates a table, replaces it by a larger one and adds a key, beside a reader.
#[test]
fn a_table_read_is_a_prefix() {
    let seen = reached(2, || {
        let native = Native::new();
        let owner = {
            let native = Arc::clone(&native);
            thread::spawn(move || {
                let thread = Thread::new();
                Native::VALUES
                    .iter()
                    .for_each(|value| native.observe(&thread, *value));
            })
        };
        let (first, second) = (native.read(), native.read());
        if let (Some(first), Some(second)) = (first, second) {
            assert!(first <= second, "went back");
        }
        owner.join().unwrap();
        assert_eq!(native.read(), Some(3));
        (first, second)
    });
    let firsts: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(firsts, set(&[None, Some(0), Some(1), Some(2), Some(3)]));
}

/// The reader requests a copy of the table. It gets the copy, or reads the table itself if the
/// owner replaced it before it acknowledged the request.
#[test]
fn an_owner_copies_its_table_on_request() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let shape = Shape::new(&[], Some(Native::RESOLUTION));
        let histogram = Arc::new(Buckets::new(&shape));
        super::super::promote(&engine, histogram.slot_word(), Generation::FIRST, 1);
        let last = histogram.slot_word().slot().unwrap();
        let observe = {
            let histogram = Arc::clone(&histogram);
            move |engine: &Engine, thread: &Thread, value| {
                let observation = Observation::new(0, value, 1);
                let last = histogram.slot_word().last(Generation::FIRST);
                if !Buckets::observe_native(thread, last, 0, value, 1) {
                    histogram.observe_cold(engine, thread, Generation::FIRST, observation, false);
                }
            }
        };
        let owner = spawn(&engine, move |engine, thread| {
            Native::VALUES
                .iter()
                .for_each(|value| observe(engine, thread, *value));
        });
        let found = shards(&engine).first().and_then(|shard| {
            // SAFETY: the slot is that of a native histogram. Without `with_epochs` a model frees
            // no table (T3 of `native`).
            let table = unsafe { Table::published(shard.slab().block(last)) }?;
            shard.request_copy(1, last, table.cells(), Table::copy);
            let copy = shard.copied_block(1)?;
            let direct = prefix(table, table.block());
            Some((
                direct.is_some(),
                direct
                    .or_else(|| prefix(table, copy))
                    .expect("a copy is still"),
            ))
        });
        owner.join().unwrap();
        found
    });
    let copies = seen.iter().flatten().filter(|(direct, _)| !direct).count();
    assert!(copies > 0 && seen.contains(&None), "{seen:?}");
}

/// A replaced table is freed, but not while a reader uses it.
#[test]
fn a_replaced_table_outlives_its_readers() {
    let seen = with_epochs(|| {
        reached(2, || {
            let native = Native::new();
            let owner = {
                let native = Arc::clone(&native);
                thread::spawn(move || {
                    let thread = Thread::new();
                    Native::VALUES[..2]
                        .iter()
                        .for_each(|value| native.observe(&thread, *value));
                })
            };
            let read = native.read();
            owner.join().unwrap();
            read
        })
    });
    assert_eq!(seen, set(&[None, Some(0), Some(1), Some(2)]));
}

/// The collector folds the table of a retired series into the overflow series, frees it, and gives
/// its slot to another series, beside an owner that observes in both.
#[test]
fn a_slot_with_a_table_is_used_again() {
    let seen = with_epochs(|| {
        reached(2, || {
            let engine = Arc::new(Engine::new());
            let shape = Shape::new(&[], Some(Native::RESOLUTION));
            let [old, new, overflow] = std::array::from_fn(|_| Arc::new(Buckets::new(&shape)));
            super::super::promote(&engine, old.slot_word(), Generation::FIRST, 1);
            let limit = super::super::slot::UNRECLAIMED_LIMIT as i64;
            engine.slots.waiting(limit + 9);
            let owner = {
                let (old, new, overflow) =
                    (Arc::clone(&old), Arc::clone(&new), Arc::clone(&overflow));
                spawn(&engine, move |engine, thread| {
                    let observe = |series: &Buckets, value| {
                        let observation = Observation::new(0, value, 1);
                        let last = series.slot_word().last(Generation::FIRST);
                        if Buckets::observe_native(thread, last, 0, value, 1) {
                            return Outcome::Done;
                        }
                        series.observe_cold(engine, thread, Generation::FIRST, observation, false)
                    };
                    for _ in 0..2 {
                        if observe(&old, 1.0) == Outcome::Stale {
                            observe(&overflow, 1.0);
                        }
                    }
                    observe(&new, 2.0);
                })
            };
            let retired = engine.pass().retire(old.slot_word(), false);
            drop(engine.pass());
            let mut pass = engine.pass();
            let reused = super::super::reclaim(&mut pass, &shape, &*old, retired, Some(&*overflow));
            if reused {
                assert!(
                    new.slot_word()
                        .promote(Generation::FIRST, retired.slot.unwrap())
                );
                assert!(total(&mut pass, &*new).count() <= 1, "another's table");
            }
            drop(pass);
            owner.join().unwrap();
            let mut pass = engine.pass();
            let mut olds = total(&mut pass, &*overflow);
            if !reused {
                old.read(&mut pass, retired.slot, &mut olds);
            }
            let news = total(&mut pass, &*new);
            let counts = |seen: &ObservedTotal| (seen.counts.clone(), seen.sum.value());
            assert_eq!(counts(&olds), (vec![2], 2.0), "reused: {reused}");
            assert_eq!(counts(&news), (vec![1], 2.0), "reused: {reused}");
            reused
        })
    });
    assert_eq!(seen, set(&[false, true]));
}

/// A native histogram starts over while a thread replaces the table of its cold block. Each table
/// is freed once.
#[test]
fn a_native_histogram_starts_over_beside_a_writer() {
    let seen = reached(3, || {
        with_epochs(|| {
            let engine = Arc::new(Engine::new());
            engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
            let shape = Shape::new(&[], Some(Native::RESOLUTION));
            let histogram = Arc::new(Buckets::new(&shape));
            let observe = |engine: &Engine, thread: &Thread, histogram: &Buckets, value| {
                let generation = Generation::FIRST;
                histogram.observe_cold(
                    engine,
                    thread,
                    generation,
                    Observation::new(0, value, 1),
                    false,
                )
            };
            let outcome = observe(&engine, &Thread::new(), &histogram, 1.0);
            assert_eq!(outcome, Outcome::Done);
            let writer = {
                let histogram = Arc::clone(&histogram);
                spawn(&engine, move |engine, thread| {
                    observe(engine, thread, &histogram, 2.0);
                })
            };
            start_over(&engine.pass(), &shape, &*histogram, None);
            writer.join().unwrap();
            total(&mut engine.pass(), &*histogram).count()
        })
    });
    assert_eq!(seen, set(&[0, 1, 2]));
}
