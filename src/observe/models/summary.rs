//! Loom models of a summary's series: its cold stream, its streams in slots, and their
//! reclamation.
//!
//! The summary has no objectives, so that a stream has only count and sum. The models of
//! [`streams`](super::streams) cover a stream and its reader.

use std::sync::Arc;

use crate::snapshot::sketch::Targets;

use super::super::slot::UNRECLAIMED_LIMIT;
use super::super::thread::Thread;
use super::super::{
    Cells, Distribution, Engine, Generation, Outcome, StreamBudget, SummaryShape, SummaryTotal,
    fold_idle, promote, reclaim, start_over,
};
use super::{reached, set, spawn, total};
use crate::lockfree::epoch::with_epochs;

fn summary() -> (Arc<SummaryShape>, Arc<Distribution>) {
    let shape = SummaryShape::new(Targets::new(&[]), None, &StreamBudget::new());
    let series = Arc::new(Distribution::new(&shape));
    (shape, series)
}

fn observe(engine: &Engine, thread: &Thread, series: &Distribution, value: f64) -> Outcome {
    if Distribution::observe(thread, series.slot_word().last(Generation::FIRST), value) {
        return Outcome::Done;
    }
    series.observe_cold(engine, thread, Generation::FIRST, value, false)
}

fn seen(total: &SummaryTotal) -> (u64, f64) {
    (total.count, total.sum.value())
}

/// Two threads observe in a cold series, and take turns in the cold stream until it is promoted,
/// beside a reader.
#[test]
fn a_cold_stream_has_one_writer_at_a_time() {
    let seen = reached(2, || {
        let engine = Arc::new(Engine::new());
        let (_, series) = summary();
        let writers = [1.0, 2.0].map(|value| {
            let series = Arc::clone(&series);
            spawn(&engine, move |engine, thread| {
                let done = series.observe_cold(engine, thread, Generation::FIRST, value, false);
                assert_eq!(done, Outcome::Done);
            })
        });
        let early = seen(&total(&mut engine.pass(), &*series));
        let prefixes = [(0, 0.0), (1, 1.0), (1, 2.0), (2, 3.0)];
        assert!(prefixes.contains(&early), "torn: {early:?}");
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        let all = seen(&total(&mut engine.pass(), &*series));
        assert_eq!(all, (2, 3.0), "lost");
        assert!(series.slot_word().slot().is_some(), "it was never promoted");
        early.0
    });
    assert_eq!(seen, set(&[0, 1, 2]));
}

/// A series starts over while a thread writes its cold stream.
#[test]
fn a_summary_starts_over_beside_a_writer() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
        let (shape, series) = summary();
        observe(&engine, &Thread::new(), &series, 5.0);
        let writer = {
            let series = Arc::clone(&series);
            spawn(&engine, move |engine, thread| {
                observe(engine, thread, &series, 1.0);
            })
        };
        start_over(&engine.pass(), &shape, &*series, None);
        writer.join().unwrap();
        let (count, sum) = seen(&total(&mut engine.pass(), &*series));
        (count, sum as u64)
    });
    // The writer came after the reset, came before it, or had the lock, so that nothing was reset.
    assert_eq!(seen, [(1, 1), (0, 0), (2, 6)].into());
}

/// A thread creates its stream in a slot beside a reader.
#[test]
fn a_stream_is_seen_as_it_was_made() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let (shape, series) = summary();
        promote(&engine, series.slot_word(), Generation::FIRST, 1);
        let owner = {
            let series = Arc::clone(&series);
            spawn(&engine, move |engine, thread| {
                for value in [1.0, 2.0] {
                    observe(engine, thread, &series, value);
                }
            })
        };
        let early = seen(&total(&mut engine.pass(), &*series));
        let prefixes = [(0, 0.0), (1, 1.0), (2, 3.0)];
        assert!(prefixes.contains(&early), "torn: {early:?}");
        owner.join().unwrap();
        // The thread has exited: its stream is folded and freed.
        for _ in 0..3 {
            let mut pass = engine.pass();
            pass.take_idle();
            fold_idle(&mut pass, &shape, &*series);
            let all = seen(&total(&mut pass, &*series));
            assert_eq!(all, (2, 3.0), "lost or doubled");
        }
        early.0
    });
    assert_eq!(seen, set(&[0, 1, 2]));
}

/// The collector folds the stream of a retired series, frees it, and gives its slot to another
/// series, beside an owner that observes in both.
#[test]
fn a_slot_with_a_stream_is_used_again() {
    let seen = with_epochs(|| {
        reached(2, || {
            let engine = Arc::new(Engine::new());
            let (shape, old) = summary();
            let (_, new) = summary();
            let (_, overflow) = summary();
            promote(&engine, old.slot_word(), Generation::FIRST, 1);
            engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
            let owner = {
                let (old, new, overflow) =
                    (Arc::clone(&old), Arc::clone(&new), Arc::clone(&overflow));
                spawn(&engine, move |engine, thread| {
                    for _ in 0..2 {
                        if observe(engine, thread, &old, 1.0) == Outcome::Stale {
                            observe(engine, thread, &overflow, 1.0);
                        }
                    }
                    observe(engine, thread, &new, 2.0);
                })
            };
            let retired = engine.pass().retire(old.slot_word(), false);
            drop(engine.pass());
            let mut pass = engine.pass();
            let reused = reclaim(&mut pass, &shape, &*old, retired, Some(&*overflow));
            pass.free_cleared();
            if reused {
                assert!(
                    new.slot_word()
                        .promote(Generation::FIRST, retired.slot.unwrap())
                );
                assert!(total(&mut pass, &*new).count <= 1, "another's stream");
            }
            drop(pass);
            owner.join().unwrap();
            let mut pass = engine.pass();
            let mut olds = total(&mut pass, &*overflow);
            if !reused {
                old.read(&mut pass, retired.slot, &mut olds);
            }
            let news = total(&mut pass, &*new);
            assert_eq!((seen(&olds), seen(&news)), ((2, 2.0), (1, 2.0)), "{reused}");
            reused
        })
    });
    assert_eq!(seen, set(&[false, true]));
}
