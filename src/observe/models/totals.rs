//! Models of totals: across promotion, growth and adoption; and of counts that go up and down.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::sync::{Acquire, AtomicBool, Release};

use super::super::slot::UNRECLAIMED_LIMIT;
use super::super::tally::ColdUpDown;
use super::super::thread::Thread;
use super::super::{
    Cells, Engine, Generation, Outcome, Tally, UpDown, promote, read_overflow, reclaim,
};
use super::{inc, reached, set, shards, spawn, total};
use crate::lockfree::epoch::with_epochs;

#[test]
fn totals_never_go_back_across_promotion() {
    let seen = reached(2, || {
        let engine = Arc::new(Engine::new());
        let tally = Arc::new(Tally::<u64>::new(&()));
        let threads: Vec<_> = [2, 1]
            .into_iter()
            .map(|updates| {
                let tally = Arc::clone(&tally);
                spawn(&engine, move |engine, thread| {
                    for _ in 0..updates {
                        assert_eq!(
                            inc(engine, thread, &tally, Generation::FIRST),
                            Outcome::Done
                        );
                    }
                })
            })
            .collect();
        let first = total(&mut engine.pass(), &*tally);
        let second = total(&mut engine.pass(), &*tally);
        assert!(first <= second, "went back from {first} to {second}");
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(total(&mut engine.pass(), &*tally), 3, "lost or doubled");
        assert!(tally.slot_word().slot().is_some(), "it was never promoted");
        (first, second)
    });
    assert!(seen.len() >= 6, "{seen:?}");
}

/// Growth copies cells: what a reader saw in the old slab must be in the new one.
#[test]
fn totals_never_go_back_across_growth() {
    let seen = reached(2, || {
        let engine = Arc::new(Engine::new());
        let (small, large) = (
            Arc::new(Tally::<u64>::new(&())),
            Arc::new(Tally::<u64>::new(&())),
        );
        promote(&engine, small.slot_word(), Generation::FIRST, 1);
        while large.slot_word().slot().is_none_or(|slot| slot < 4) {
            let last = engine.slots.allocate(1).unwrap();
            if last >= 4 {
                large.slot_word().promote(Generation::FIRST, last);
            }
        }
        let owner = {
            let small = Arc::clone(&small);
            spawn(&engine, move |engine, thread| {
                for tally in [&small, &large, &small] {
                    inc(engine, thread, tally, Generation::FIRST);
                }
            })
        };
        let first = total(&mut engine.pass(), &*small);
        let second = total(&mut engine.pass(), &*small);
        assert!(first <= second, "went back from {first} to {second}");
        owner.join().unwrap();
        assert_eq!(total(&mut engine.pass(), &*small), 2, "lost");
        (first, second)
    });
    let expected = set(&[(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]);
    assert!(seen.is_superset(&expected), "{seen:?}");
}

/// A shard that a thread left is adopted with everything in it, by one thread only.
#[test]
fn an_adopted_shard_goes_on_where_it_was() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let tally = Arc::new(Tally::<u64>::new(&()));
        promote(&engine, tally.slot_word(), Generation::FIRST, 1);
        let one = {
            let tally = Arc::clone(&tally);
            move |engine: &Engine, thread: &Thread| {
                _ = inc(engine, thread, &tally, Generation::FIRST)
            }
        };
        let threads = [spawn(&engine, one.clone()), spawn(&engine, one.clone())];
        one(&engine, &Thread::new());
        let seen = total(&mut engine.pass(), &*tally);
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(total(&mut engine.pass(), &*tally), 3, "lost or doubled");
        (seen, shards(&engine).len())
    });
    let shards: BTreeSet<_> = seen.iter().map(|s| s.1).collect();
    assert!(shards.contains(&1) && shards.contains(&2), "{seen:?}");
}

// ---- Up and down ----

/// Thread A increments in a cell that is new to the reader, and hands the work to thread B, which
/// decrements in its own cell.
#[test]
fn in_flight_is_never_below_zero() {
    let seen = reached(4, || {
        let engine = Arc::new(Engine::new());
        let in_flight = Arc::new(UpDown::new(&()));
        promote(&engine, in_flight.slot_word(), Generation::FIRST, 2);
        let message = Arc::new(AtomicBool::new(false));
        let a = {
            let (in_flight, message) = (Arc::clone(&in_flight), Arc::clone(&message));
            spawn(&engine, move |engine, thread| {
                in_flight.add_cold(engine, thread, Generation::FIRST, 1, 0, false);
                message.store(true, Release);
            })
        };
        let b = {
            let (in_flight, message) = (Arc::clone(&in_flight), Arc::clone(&message));
            spawn(&engine, move |engine, thread| {
                // The reader knows this thread, but may not know the other one yet.
                thread.warm(engine);
                if message.load(Acquire) {
                    in_flight.add_cold(engine, thread, Generation::FIRST, 0, 1, false);
                }
            })
        };
        let seen = total(&mut engine.pass(), &*in_flight);
        assert!(seen >= 0, "below zero: {seen}");
        a.join().unwrap();
        b.join().unwrap();
        seen
    });
    assert_eq!(seen, set(&[0, 1]));
}

/// The same through the cold cells.
#[test]
fn in_flight_is_never_below_zero_when_cold() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        // No slot is free, so the series stays cold.
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64);
        let in_flight = Arc::new(UpDown::new(&()));
        let message = Arc::new(AtomicBool::new(false));
        let a = {
            let (in_flight, message) = (Arc::clone(&in_flight), Arc::clone(&message));
            spawn(&engine, move |engine, thread| {
                in_flight.add_cold(engine, thread, Generation::FIRST, 1, 0, false);
                message.store(true, Release);
            })
        };
        let b = {
            let (in_flight, message) = (Arc::clone(&in_flight), Arc::clone(&message));
            spawn(&engine, move |engine, thread| {
                if message.load(Acquire) {
                    in_flight.add_cold(engine, thread, Generation::FIRST, 0, 1, false);
                }
            })
        };
        let seen = total(&mut engine.pass(), &*in_flight);
        assert!(seen >= 0, "below zero: {seen}");
        a.join().unwrap();
        b.join().unwrap();
        seen
    });
    assert_eq!(seen, set(&[0, 1]));
}

/// The same in cells that belong to no series.
#[test]
fn in_flight_is_never_below_zero_in_cold_cells() {
    let seen = reached(0, || {
        let cells = Arc::new(ColdUpDown::new());
        let message = Arc::new(AtomicBool::new(false));
        let a = {
            let (cells, message) = (Arc::clone(&cells), Arc::clone(&message));
            loom::thread::spawn(move || {
                cells.up(1);
                message.store(true, Release);
            })
        };
        let b = {
            let cells = Arc::clone(&cells);
            loom::thread::spawn(move || {
                if message.load(Acquire) {
                    cells.down(1);
                }
            })
        };
        let downs = cells.downs();
        let ups = cells.ups();
        assert!(ups >= downs, "below zero: {ups} - {downs}");
        a.join().unwrap();
        b.join().unwrap();
        (ups, downs)
    });
    assert_eq!(seen, set(&[(0, 0), (1, 0), (1, 1)]));
}

/// The series is retired between an `inc` and its `dec`, which lands in the overflow series. One
/// scrape reads both.
fn in_flight_across_retirement(hot: bool) {
    let seen = reached(3, move || {
        let engine = Arc::new(Engine::new());
        let series = Arc::new(UpDown::new(&()));
        let overflow = Arc::new(UpDown::new(&()));
        if hot {
            promote(&engine, series.slot_word(), Generation::FIRST, 2);
        }
        // Nothing else is promoted: the overflow series counts in its cold cells.
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
        let worker = {
            let (series, overflow) = (Arc::clone(&series), Arc::clone(&overflow));
            spawn(&engine, move |engine, thread| {
                let add = |up, down| {
                    let own = series.add_cold(engine, thread, Generation::FIRST, up, down, false);
                    if own == Outcome::Stale {
                        overflow.add_cold(engine, thread, Generation::FIRST, up, down, false);
                    }
                    own == Outcome::Stale
                };
                (add(1, 0), add(0, 1))
            })
        };
        let retired = engine.pass().retire(series.slot_word(), false);
        let mut pass = engine.pass();
        let reclaimed = reclaim(&mut pass, &(), &*series, retired, Some(&*overflow));
        let waiting = (!reclaimed).then_some((&*series, retired));
        let mut in_flight = 0;
        read_overflow(&mut pass, &*overflow, waiting.into_iter(), &mut in_flight);
        assert!(in_flight >= 0, "below zero: {in_flight}");
        drop(pass);
        (worker.join().unwrap(), in_flight)
    });
    for in_flight in [0, 1] {
        assert!(
            seen.contains(&((false, true), in_flight)),
            "{in_flight} across: {seen:?}"
        );
    }
}

#[test]
fn in_flight_is_never_below_zero_across_retirement() {
    in_flight_across_retirement(true);
}

#[test]
fn in_flight_is_never_below_zero_across_retirement_when_cold() {
    with_epochs(|| in_flight_across_retirement(false));
}
