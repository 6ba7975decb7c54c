//! Slots and gauges that are used again, under loom.

use std::collections::BTreeSet;
use std::sync::Arc;

use loom::thread;

use super::super::shard::ShardRef;
use super::super::slot::UNRECLAIMED_LIMIT;
use super::super::thread::Thread;
use super::super::{
    Cells, Engine, GaugeCell, GaugeOp, Generation, Outcome, Pass, SlotWord, Tally, end, fold_idle,
    promote,
};
use super::{inc, reached, set, shards, spawn, total};
use crate::lockfree::epoch::with_epochs;

/// The shards that a pass reads, each with the capacity of its slab.
fn shards_of(pass: &Pass<'_>) -> Vec<(u64, ShardRef)> {
    let slabs = pass.slabs().iter();
    slabs
        .map(|(slab, shard)| (slab.capacity(), *shard))
        .collect()
}

/// The collector takes the slot of one series and gives it to another, beside an owner that updates both; while it
/// grows, if `grows`. No update lands in the other series, none is lost, no request either.
fn reuse(grows: bool) -> BTreeSet<(bool, u64, bool)> {
    reached(2, move || {
        let engine = Arc::new(Engine::new());
        let old = Arc::new(Tally::<u64>::new(&()));
        let new = Arc::new(Tally::<u64>::new(&()));
        let overflow = Arc::new(Tally::<u64>::new(&()));
        promote(&engine, old.slot_word(), Generation::FIRST, 1);
        let slot = old.slot_word().slot().unwrap();
        // A series that only fits a larger slab.
        let far = Arc::new(SlotWord::new());
        if grows {
            while engine.slots.allocate(1).unwrap() < 4 {}
            far.promote(Generation::FIRST, 5);
        }
        // Nobody else is promoted: the others stay in their shared cells.
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
        let owner = {
            let (old, new, overflow) = (Arc::clone(&old), Arc::clone(&new), Arc::clone(&overflow));
            spawn(&engine, move |engine, thread| {
                let or_overflow = |outcome| {
                    if outcome == Outcome::Stale {
                        inc(engine, thread, &overflow, Generation::FIRST);
                    }
                };
                or_overflow(inc(engine, thread, &old, Generation::FIRST));
                if grows && !Tally::add(thread, far.last(Generation::FIRST), 0_u64) {
                    thread.settle(engine, &far, Generation::FIRST);
                }
                or_overflow(inc(engine, thread, &old, Generation::FIRST));
                inc(engine, thread, &new, Generation::FIRST);
            })
        };
        let mut pass = engine.pass();
        let retired = pass.retire(old.slot_word());
        assert_eq!(retired.slot(), Some(slot));
        drop(pass);
        // The request is sent by the next pass, and answered by the one after that, if the owner has come by.
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = end(&mut pass, &(), &*old, retired, Some(&*overflow));
        if reused {
            pass.let_go();
            assert!(new.slot_word().promote(Generation::FIRST, slot));
            let news = total(&mut pass, &*new);
            assert!(news <= 1, "the same pass finds an old count in it: {news}");
        }
        drop(pass);
        owner.join().unwrap();
        let shard = shards(&engine)[0];
        assert!(
            !shard.owes_an_answer(),
            "request lost: the owner is back in its hot path and has not answered"
        );
        let mut pass = engine.pass();
        let mut olds = total(&mut pass, &*overflow);
        if !reused {
            old.read(&mut pass, retired.slot(), &mut olds);
        }
        let news = total(&mut pass, &*new);
        assert_eq!((olds, news), (2, 1), "reused: {reused}");
        (reused, shard.slab().capacity(), shard.has_answered(1))
    })
}

#[test]
fn a_slot_is_used_again() {
    let seen = reuse(false);
    let reused: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(reused, set(&[false, true]), "{seen:?}");
}

/// Two requests are under way at once. An owner that answers the first and sees the second early answers that one as well:
/// then it has to see what was retired before it.
#[test]
fn a_slot_is_used_again_under_two_requests() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let [other, old, new, overflow] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
        promote(&engine, other.slot_word(), Generation::FIRST, 1);
        promote(&engine, old.slot_word(), Generation::FIRST, 1);
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
        let thread = Thread::new();
        inc(&engine, &thread, &old, Generation::FIRST);
        let owner = {
            let (engine, old, overflow) =
                (Arc::clone(&engine), Arc::clone(&old), Arc::clone(&overflow));
            thread::spawn(move || {
                for _ in 0..2 {
                    if inc(&engine, &thread, &old, Generation::FIRST) == Outcome::Stale {
                        inc(&engine, &thread, &overflow, Generation::FIRST);
                    }
                }
                thread
            })
        };
        engine.pass().retire(other.slot_word());
        // The first request is sent.
        let retired = engine.pass().retire(old.slot_word());
        // The second one; then it may have been answered.
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = end(&mut pass, &(), &*old, retired, Some(&*overflow));
        drop(pass);
        if reused {
            assert!(
                new.slot_word()
                    .promote(Generation::FIRST, retired.slot().unwrap())
            );
        }
        let thread = owner.join().unwrap();
        let mut pass = engine.pass();
        let mut olds = total(&mut pass, &*overflow);
        if !reused {
            old.read(&mut pass, retired.slot(), &mut olds);
        }
        assert_eq!((olds, total(&mut pass, &*new)), (3, 0), "reused: {reused}");
        drop((pass, thread));
        reused
    });
    assert_eq!(seen, set(&[false, true]));
}

#[test]
fn a_slot_is_used_again_while_its_shard_grows() {
    let seen = reuse(true);
    let reused: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(reused, set(&[false, true]), "{seen:?}");
}

/// The owner grows while a pass is under way that clears a slot: the pass reads the new series in the new slab, not the old
/// count in the slab that was replaced.
#[test]
fn a_cleared_slot_is_read_where_it_was_cleared() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let [old, new] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
        let thread = Thread::new();
        promote(&engine, old.slot_word(), Generation::FIRST, 1);
        while engine.slots.allocate(1).unwrap() < 4 {}
        let far = SlotWord::new();
        far.promote(Generation::FIRST, 5);
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
        old.add_cold(&engine, &thread, Generation::FIRST, 7, false);
        let retired = engine.pass().retire(old.slot_word());
        drop(engine.pass());
        // Between two updates: it answers.
        inc(&engine, &thread, &new, Generation::FIRST);
        let owner = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || thread.settle(&engine, &far, Generation::FIRST))
        };
        let mut pass = engine.pass();
        let reused = end(&mut pass, &(), &*old, retired, None);
        pass.let_go();
        if reused {
            assert!(
                new.slot_word()
                    .promote(Generation::FIRST, retired.slot().unwrap())
            );
            assert_eq!(total(&mut pass, &*new), 1, "an old count");
        }
        let grown = shards_of(&pass)[0].0 > 4;
        drop(pass);
        owner.join().unwrap();
        (reused, grown)
    });
    assert!(seen.contains(&(true, true)), "{seen:?}");
    assert!(seen.contains(&(true, false)), "{seen:?}");
}

/// A thread whose slab ends below a slot answers nothing, and the slot is used again: where the thread grows meanwhile, it
/// finds the series retired, and its update lands in the overflow series.
#[test]
fn a_shard_that_ends_below_a_slot_need_not_answer() {
    let seen = with_epochs(|| {
        reached(3, || {
            let engine = Arc::new(Engine::new());
            let [old, new, overflow] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
            while engine.slots.allocate(1).unwrap() < 4 {}
            promote(&engine, old.slot_word(), Generation::FIRST, 1);
            engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
            let thread = Thread::new();
            // It has a shard of four cells.
            thread.settle(&engine, &SlotWord::new(), Generation::FIRST);
            let owner = {
                let (engine, old, overflow) =
                    (Arc::clone(&engine), Arc::clone(&old), Arc::clone(&overflow));
                thread::spawn(move || {
                    if inc(&engine, &thread, &old, Generation::FIRST) == Outcome::Stale {
                        inc(&engine, &thread, &overflow, Generation::FIRST);
                    }
                    thread
                })
            };
            let retired = engine.pass().retire(old.slot_word());
            let mut pass = engine.pass();
            let reused = end(&mut pass, &(), &*old, retired, Some(&*overflow));
            let answered = shards_of(&pass)[0].1.has_answered(1);
            drop(pass);
            if reused {
                assert!(
                    new.slot_word()
                        .promote(Generation::FIRST, retired.slot().unwrap())
                );
            }
            let thread = owner.join().unwrap();
            let mut pass = engine.pass();
            let mut olds = total(&mut pass, &*overflow);
            if !reused {
                old.read(&mut pass, retired.slot(), &mut olds);
            }
            assert_eq!((olds, total(&mut pass, &*new)), (1, 0), "reused: {reused}");
            drop((pass, thread));
            (reused, answered)
        })
    });
    assert!(seen.contains(&(true, false)), "{seen:?}");
    assert!(seen.contains(&(false, false)), "{seen:?}");
}

/// A series without slots ends, is folded and used again, beside a thread that updates it: what the thread counts is in the
/// overflow series or in the next series of the same cells, and never lost.
#[test]
fn a_cold_series_is_used_again() {
    let seen = with_epochs(|| {
        reached(4, || {
            let engine = Arc::new(Engine::new());
            engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
            let [series, overflow] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
            let worker = {
                let (series, overflow) = (Arc::clone(&series), Arc::clone(&overflow));
                spawn(&engine, move |engine, thread| {
                    for _ in 0..2 {
                        if inc(engine, thread, &series, Generation::FIRST) == Outcome::Stale {
                            inc(engine, thread, &overflow, Generation::FIRST);
                        }
                    }
                })
            };
            let retired = engine.pass().retire(series.slot_word());
            let mut pass = engine.pass();
            let reused = end(&mut pass, &(), &*series, retired, Some(&*overflow));
            let early = total(&mut pass, &*overflow);
            drop(pass);
            worker.join().unwrap();
            let mut pass = engine.pass();
            let mut olds = total(&mut pass, &*overflow);
            let mut left = 0;
            series.read(&mut pass, None, &mut left);
            if reused {
                assert_eq!(left, 0, "another's update");
            }
            olds += left;
            assert_eq!(olds, 2, "reused: {reused}");
            (reused, early)
        })
    });
    for how in [(true, 0), (true, 1), (true, 2), (false, 0)] {
        assert!(seen.contains(&how), "{how:?} of {seen:?}");
    }
}

// ---- Shards without an owner ----

/// A thread counts and ends. Its shard is folded by a pass, or taken up by the next thread, and the total never goes back.
#[test]
fn an_idle_shard_is_folded_or_taken_up() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let tally = Arc::new(Tally::<u64>::new(&()));
        promote(&engine, tally.slot_word(), Generation::FIRST, 1);
        {
            let thread = Thread::new();
            tally.add_cold(&engine, &thread, Generation::FIRST, 5, false);
        }
        // It is seen without an owner for the first time.
        engine.pass().take_idle();
        let next = {
            let tally = Arc::clone(&tally);
            spawn(&engine, move |engine, thread| {
                inc(engine, thread, &tally, Generation::FIRST);
            })
        };
        let mut last = 0;
        for _ in 0..2 {
            let mut pass = engine.pass();
            pass.take_idle();
            fold_idle(&mut pass, &(), &*tally);
            let now = total(&mut pass, &*tally);
            assert!(last <= now && (5..7).contains(&now), "{last}, then {now}");
            last = now;
        }
        let read = shards(&engine).len();
        next.join().unwrap();
        assert_eq!(total(&mut engine.pass(), &*tally), 6, "lost or doubled");
        (read, last)
    });
    // Folded, and the next thread has a shard that no pass reads yet; taken up; or both, one after the other.
    for how in [(0, 5), (1, 5), (1, 6)] {
        assert!(seen.contains(&how), "{how:?} of {seen:?}");
    }
}

/// What nobody folds stays where it is: a shard that holds anything is read by the next pass.
#[test]
fn an_idle_shard_that_is_not_empty_stays() {
    let seen = reached(2, || {
        let engine = Arc::new(Engine::new());
        let [one, other] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
        {
            let thread = Thread::new();
            for tally in [&one, &other] {
                promote(&engine, tally.slot_word(), Generation::FIRST, 1);
                inc(&engine, &thread, tally, Generation::FIRST);
            }
        }
        engine.pass().take_idle();
        // Where nothing was moved it rests for a pass.
        for tallies in [&[&one][..], &[], &[], &[&other]] {
            let mut pass = engine.pass();
            pass.take_idle();
            tallies
                .iter()
                .for_each(|tally| fold_idle(&mut pass, &(), &***tally));
            drop(pass);
            let mut pass = engine.pass();
            assert_eq!(total(&mut pass, &*one), 1);
            assert_eq!(total(&mut pass, &*other), 1);
        }
        shards(&engine).len()
    });
    assert_eq!(seen, set(&[0]));
}

/// A shard that nobody owns: the collector answers for it, and who adopts it then knows what was retired.
#[test]
fn a_slot_of_a_free_shard_is_used_again() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let [old, new, overflow] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
        promote(&engine, old.slot_word(), Generation::FIRST, 1);
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
        inc(&engine, &Thread::new(), &old, Generation::FIRST);
        let next = {
            let (old, overflow) = (Arc::clone(&old), Arc::clone(&overflow));
            spawn(&engine, move |engine, thread| {
                if inc(engine, thread, &old, Generation::FIRST) == Outcome::Stale {
                    inc(engine, thread, &overflow, Generation::FIRST);
                }
            })
        };
        let retired = engine.pass().retire(old.slot_word());
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = end(&mut pass, &(), &*old, retired, Some(&*overflow));
        drop(pass);
        if reused {
            assert!(
                new.slot_word()
                    .promote(Generation::FIRST, retired.slot().unwrap())
            );
        }
        next.join().unwrap();
        let mut pass = engine.pass();
        let mut olds = total(&mut pass, &*overflow);
        if !reused {
            old.read(&mut pass, retired.slot(), &mut olds);
        }
        assert_eq!((olds, total(&mut pass, &*new)), (2, 0), "reused: {reused}");
        drop(pass);
        (reused, shards(&engine).len())
    });
    assert!(
        seen.contains(&(true, 1)) && seen.iter().any(|s| !s.0),
        "{seen:?}"
    );
}

/// A slot that was used before reaches an owner through the copy that another thread made of the place.
#[test]
fn a_copied_place_carries_the_zeroes() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let [old, new] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
        promote(&engine, old.slot_word(), Generation::FIRST, 1);
        let copy = Arc::new(SlotWord::new());
        let owner = {
            let (old, copy) = (Arc::clone(&old), Arc::clone(&copy));
            spawn(&engine, move |engine, thread| {
                inc(engine, thread, &old, Generation::FIRST);
                // Meets the request, if it is there by now.
                inc(engine, thread, &old, Generation::FIRST);
                Tally::add(thread, copy.last(Generation::FIRST), 1_u64)
            })
        };
        let copier = {
            let (new, copy) = (Arc::clone(&new), Arc::clone(&copy));
            thread::spawn(move || new.slot_word().copy_to(&copy))
        };
        let retired = engine.pass().retire(old.slot_word());
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = end(&mut pass, &(), &*old, retired, None);
        drop(pass);
        if reused {
            assert!(
                new.slot_word()
                    .promote(Generation::FIRST, retired.slot().unwrap())
            );
        }
        copier.join().unwrap();
        let counted = owner.join().unwrap();
        if reused {
            let news = total(&mut engine.pass(), &*new);
            assert_eq!(news, u64::from(counted), "an old count came back");
        }
        (reused, counted)
    });
    assert!(seen.contains(&(true, true)), "{seen:?}");
}

/// A thread registers while the collector asks: either it is asked, or it finds the series retired.
#[test]
fn a_new_thread_is_asked_or_finds_it_retired() {
    let seen = reached(0, || {
        let engine = Arc::new(Engine::new());
        let tally = Arc::new(Tally::<u64>::new(&()));
        promote(&engine, tally.slot_word(), Generation::FIRST, 1);
        let thread = {
            let tally = Arc::clone(&tally);
            spawn(&engine, move |engine, thread| {
                inc(engine, thread, &tally, Generation::FIRST)
            })
        };
        tally.slot_word().retire();
        let found = shards(&engine).len();
        let outcome = thread.join().unwrap();
        assert!(
            found == 1 || outcome == Outcome::Stale,
            "a thread that nobody asked writes the slot"
        );
        (found, outcome == Outcome::Stale)
    });
    assert_eq!(seen, set(&[(0, true), (1, false), (1, true)]));
}

// ---- A gauge that is used again ----

/// A gauge's series ends, and another one begins in its cell, beside a thread that opens and sets it: none of its updates
/// lands in the other one.
fn gauge_is_used_again(slots: bool) -> BTreeSet<(bool, bool)> {
    let seen = with_epochs(|| {
        reached(2, move || {
            let engine = Arc::new(Engine::new());
            if !slots {
                engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
            }
            let gauge = Arc::new(GaugeCell::new(&0.0));
            let owner = {
                let gauge = Arc::clone(&gauge);
                spawn(&engine, move |engine, thread| {
                    for value in [1.0, 2.0] {
                        let set = GaugeOp::Set(value);
                        if !gauge.change(thread, Generation::FIRST, set) {
                            gauge.change_cold(engine, thread, Generation::FIRST, set);
                        }
                    }
                })
            };
            let retired = engine.pass().retire(gauge.slot_word());
            // The request is sent by the next pass, and answered by the one after that.
            drop(engine.pass());
            let mut pass = engine.pass();
            let reused = end(&mut pass, &0.0, &*gauge, retired, None);
            drop(pass);
            if reused {
                gauge.apply(GaugeOp::Set(9.0));
            }
            owner.join().unwrap();
            if reused {
                assert_eq!(gauge.value(), 9.0, "another's update");
            }
            (reused, retired.slot().is_some())
        })
    });
    seen
}

#[test]
fn a_gauge_is_used_again() {
    let seen = gauge_is_used_again(true);
    assert_eq!(seen, set(&[(false, true), (true, false), (true, true)]));
}

/// The same where no slot is left: it is set under an epoch.
#[test]
fn a_gauge_without_a_slot_is_used_again() {
    let seen = gauge_is_used_again(false);
    assert_eq!(seen, set(&[(false, false), (true, false)]));
}
