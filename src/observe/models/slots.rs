//! Models of slots and gauges that are reused.

use std::collections::BTreeSet;
use std::sync::Arc;

use loom::thread;

use super::super::cold_lock::Denied;
use super::super::shard::ShardRef;
use super::super::slot::UNRECLAIMED_LIMIT;
use super::super::thread::Thread;
use super::super::{
    Cells, Engine, GaugeCell, GaugeOp, GaugeShape, Generation, Outcome, Pass, SlotWord, Tally,
    fold_idle, promote, reclaim,
};
use super::{inc, reached, set, shards, spawn, total};
use crate::lockfree::epoch::with_epochs;
use crate::sync::Relaxed;

/// Returns the shards that a pass reads, each with the capacity of its slab.
fn shards_of(pass: &Pass<'_>) -> Vec<(u64, ShardRef)> {
    let slabs = pass.slabs().iter();
    slabs
        .map(|(slab, shard)| (slab.capacity(), *shard))
        .collect()
}

/// The collector reclaims the slot of one series and gives it to another, while an owner updates
/// both, and grows if `grows`. No update may land in the other series, and neither an update nor a
/// request may be lost.
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
        // No other series is promoted: the others stay in their cold cells.
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
                    thread.resolve(engine, &far, Generation::FIRST);
                }
                or_overflow(inc(engine, thread, &old, Generation::FIRST));
                inc(engine, thread, &new, Generation::FIRST);
            })
        };
        let mut pass = engine.pass();
        let retired = pass.retire(old.slot_word(), false);
        assert_eq!(retired.slot, Some(slot));
        drop(pass);
        // The next pass sends the request. The pass after that sees the acknowledgement, if the
        // owner has run an update.
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = reclaim(&mut pass, &(), &*old, retired, Some(&*overflow));
        if reused {
            pass.free_cleared();
            assert!(new.slot_word().promote(Generation::FIRST, slot));
            let news = total(&mut pass, &*new);
            assert!(news <= 1, "the same pass finds an old count in it: {news}");
        }
        drop(pass);
        owner.join().unwrap();
        let shard = shards(&engine)[0];
        assert!(
            !shard.has_lost_request(),
            "request lost: the owner is back in its hot path and has not acknowledged"
        );
        let mut pass = engine.pass();
        let mut olds = total(&mut pass, &*overflow);
        if !reused {
            old.read(&mut pass, retired.slot, &mut olds);
        }
        let news = total(&mut pass, &*new);
        assert_eq!((olds, news), (2, 1), "reused: {reused}");
        (reused, shard.slab().capacity(), shard.acknowledged() >= 1)
    })
}

#[test]
fn a_slot_is_used_again() {
    let seen = reuse(false);
    let reused: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(reused, set(&[false, true]), "{seen:?}");
}

/// Two requests are open at the same time. An owner that acknowledges the first one, and sees the
/// second one early, acknowledges that as well. Then it must see what was retired before the second
/// one.
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
        engine.pass().retire(other.slot_word(), false);
        // This pass sends the first request.
        let retired = engine.pass().retire(old.slot_word(), false);
        // This pass sends the second one. The owner may have acknowledged it before the next pass.
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = reclaim(&mut pass, &(), &*old, retired, Some(&*overflow));
        drop(pass);
        if reused {
            assert!(
                new.slot_word()
                    .promote(Generation::FIRST, retired.slot.unwrap())
            );
        }
        let thread = owner.join().unwrap();
        let mut pass = engine.pass();
        let mut olds = total(&mut pass, &*overflow);
        if !reused {
            old.read(&mut pass, retired.slot, &mut olds);
        }
        assert_eq!((olds, total(&mut pass, &*new)), (3, 0), "reused: {reused}");
        drop((pass, thread));
        reused
    });
    assert_eq!(seen, set(&[false, true]));
}

/// An owner that has to move blocks to the file puts the first request off. It must not miss a
/// second one that comes at this moment.
#[test]
fn a_request_that_is_put_off_hides_no_other() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let [other, old] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
        promote(&engine, other.slot_word(), Generation::FIRST, 1);
        promote(&engine, old.slot_word(), Generation::FIRST, 1);
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
        let thread = Thread::new();
        inc(&engine, &thread, &old, Generation::FIRST);
        let shard = shards(&engine)[0];
        shard.file.begin_moves();
        let owner = {
            let (engine, old) = (Arc::clone(&engine), Arc::clone(&old));
            thread::spawn(move || {
                // As a thread that claims a shard does.
                let slab = thread.slab.get();
                shard.restore(slab);
                let has_moved = !shard.file.must_move();
                assert!(has_moved || shard.acknowledged() == 0, "before the move");
                let is_put_off = slab.len().load(Relaxed) == 0;
                inc(&engine, &thread, &old, Generation::FIRST);
                (thread, is_put_off)
            })
        };
        engine.pass().retire(other.slot_word(), false);
        // These passes send the first and the second request.
        engine.pass().retire(old.slot_word(), false);
        drop(engine.pass());
        let (thread, is_put_off) = owner.join().unwrap();
        assert!(!shard.has_lost_request(), "request lost");
        drop(thread);
        (is_put_off, shard.acknowledged())
    });
    assert!(seen.contains(&(true, 2)), "{seen:?}");
    assert!(seen.contains(&(true, 1)), "{seen:?}");
    assert!(seen.contains(&(false, 2)), "{seen:?}");
}

/// A slot behind the end of the slab may have been reused since the list was made.
#[test]
fn a_shard_moves_its_blocks_before_it_grows() {
    let seen = reached(1, || {
        let engine = Engine::new();
        while engine.slots.allocate(1).unwrap() < 4 {}
        let far = SlotWord::new();
        far.promote(Generation::FIRST, 5);
        let thread = Thread::new();
        thread.resolve(&engine, &SlotWord::new(), Generation::FIRST);
        let shard = shards(&engine)[0];
        shard.file.begin_moves();
        thread.resolve(&engine, &far, Generation::FIRST);
        (shard.file.must_move(), shard.slab().capacity() > 5)
    });
    assert_eq!(seen, set(&[(false, true)]));
}

#[test]
fn a_slot_is_used_again_while_its_shard_grows() {
    let seen = reuse(true);
    let reused: BTreeSet<_> = seen.iter().map(|s| s.0).collect();
    assert_eq!(reused, set(&[false, true]), "{seen:?}");
}

/// The owner grows during a pass that clears a slot. The pass must read the new series in the new
/// slab, not the old count in the slab that was replaced.
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
        let retired = engine.pass().retire(old.slot_word(), false);
        drop(engine.pass());
        // The owner acknowledges between two updates.
        inc(&engine, &thread, &new, Generation::FIRST);
        let owner = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || thread.resolve(&engine, &far, Generation::FIRST))
        };
        let mut pass = engine.pass();
        let reused = reclaim(&mut pass, &(), &*old, retired, None);
        pass.free_cleared();
        if reused {
            assert!(
                new.slot_word()
                    .promote(Generation::FIRST, retired.slot.unwrap())
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

/// A thread whose slab ends below a slot acknowledges nothing, and the slot is reused. If the
/// thread grows at the same time, it must find the series retired, and its update must land in the
/// overflow series.
#[test]
fn a_shard_that_ends_below_a_slot_need_not_acknowledge() {
    let seen = with_epochs(|| {
        reached(3, || {
            let engine = Arc::new(Engine::new());
            let [old, new, overflow] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
            while engine.slots.allocate(1).unwrap() < 4 {}
            promote(&engine, old.slot_word(), Generation::FIRST, 1);
            engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
            let thread = Thread::new();
            // The thread takes a shard of four cells.
            thread.resolve(&engine, &SlotWord::new(), Generation::FIRST);
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
            let retired = engine.pass().retire(old.slot_word(), false);
            let mut pass = engine.pass();
            let reused = reclaim(&mut pass, &(), &*old, retired, Some(&*overflow));
            let acknowledged = shards_of(&pass)[0].1.acknowledged() >= 1;
            drop(pass);
            if reused {
                assert!(
                    new.slot_word()
                        .promote(Generation::FIRST, retired.slot.unwrap())
                );
            }
            let thread = owner.join().unwrap();
            let mut pass = engine.pass();
            let mut olds = total(&mut pass, &*overflow);
            if !reused {
                old.read(&mut pass, retired.slot, &mut olds);
            }
            assert_eq!((olds, total(&mut pass, &*new)), (1, 0), "reused: {reused}");
            drop((pass, thread));
            (reused, acknowledged)
        })
    });
    assert!(seen.contains(&(true, false)), "{seen:?}");
    assert!(seen.contains(&(false, false)), "{seen:?}");
}

/// A cold series is retired, folded and reused while a thread updates it. The thread's updates must
/// be in the overflow series or in the next series of the same cells, and none may be lost.
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
            let retired = engine.pass().retire(series.slot_word(), false);
            let mut pass = engine.pass();
            let reused = reclaim(&mut pass, &(), &*series, retired, Some(&*overflow));
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

/// An update of an earlier series finds the lock of the cells, beside two of the current one. It
/// puts the lock back as it was, and no update is lost.
#[test]
fn a_stale_update_puts_the_lock_back() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
        let series = Arc::new(Tally::<u64>::new(&()));
        let retired = engine.pass().retire(series.slot_word(), false);
        let current = series.slot_word().generation();
        assert!(reclaim(&mut engine.pass(), &(), &*series, retired, None));
        let stale = {
            let series = Arc::clone(&series);
            thread::spawn(move || match series.cold_lock().lock(Generation::FIRST) {
                Ok(_) => panic!("an update of an earlier series has the lock"),
                Err(Denied::Stale) => true,
                Err(Denied::Busy) => false,
            })
        };
        let worker = {
            let series = Arc::clone(&series);
            spawn(&engine, move |engine, thread| {
                inc(engine, thread, &series, current);
            })
        };
        // Joined first: two threads that wait for a third one have no end in a model.
        let is_stale = stale.join().unwrap();
        inc(&engine, &Thread::new(), &series, current);
        worker.join().unwrap();
        assert_eq!(total(&mut engine.pass(), &*series), 2, "an update is lost");
        is_stale
    });
    assert_eq!(seen, set(&[false, true]));
}

// ---- Shards without an owner ----

/// A thread counts and ends. A pass folds its shard, or the next thread takes it. The total must
/// never go back.
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
        // The first pass that sees the shard without an owner.
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
    // In order: the shard is folded, and the next thread has a shard that no pass reads yet; the
    // next thread takes it; or first one, then the other.
    for how in [(0, 5), (1, 5), (1, 6)] {
        assert!(seen.contains(&how), "{how:?} of {seen:?}");
    }
}

/// Counts that are not folded stay in their shard, and the next pass reads it.
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
        // If nothing was moved, the shard waits for a pass.
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

/// The collector acknowledges for a shard without an owner. The thread that takes the shard then
/// must see what was retired.
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
        let retired = engine.pass().retire(old.slot_word(), false);
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = reclaim(&mut pass, &(), &*old, retired, Some(&*overflow));
        drop(pass);
        if reused {
            assert!(
                new.slot_word()
                    .promote(Generation::FIRST, retired.slot.unwrap())
            );
        }
        next.join().unwrap();
        let mut pass = engine.pass();
        let mut olds = total(&mut pass, &*overflow);
        if !reused {
            old.read(&mut pass, retired.slot, &mut olds);
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

/// A reused slot reaches an owner through a copy of its slot word that another thread made. The
/// owner must see the zeroes.
#[test]
fn a_copied_slot_word_carries_the_zeroes() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let [old, new] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
        promote(&engine, old.slot_word(), Generation::FIRST, 1);
        let copy = Arc::new(SlotWord::new());
        let owner = {
            let (old, copy) = (Arc::clone(&old), Arc::clone(&copy));
            spawn(&engine, move |engine, thread| {
                inc(engine, thread, &old, Generation::FIRST);
                // Sees the request, if it was sent by now.
                inc(engine, thread, &old, Generation::FIRST);
                Tally::add(thread, copy.last(Generation::FIRST), 1_u64)
            })
        };
        let copier = {
            let (new, copy) = (Arc::clone(&new), Arc::clone(&copy));
            thread::spawn(move || new.slot_word().copy_to(&copy))
        };
        let retired = engine.pass().retire(old.slot_word(), false);
        drop(engine.pass());
        let mut pass = engine.pass();
        let reused = reclaim(&mut pass, &(), &*old, retired, None);
        drop(pass);
        if reused {
            assert!(
                new.slot_word()
                    .promote(Generation::FIRST, retired.slot.unwrap())
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

/// A thread registers while the collector sends a request. Either the request reaches it, or it
/// finds the series retired.
#[test]
fn a_new_thread_gets_the_request_or_finds_it_retired() {
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
        tally.slot_word().retire(false);
        let found = shards(&engine).len();
        let outcome = thread.join().unwrap();
        assert!(
            found == 1 || outcome == Outcome::Stale,
            "a thread that got no request writes the slot"
        );
        (found, outcome == Outcome::Stale)
    });
    assert_eq!(seen, set(&[(0, true), (1, false), (1, true)]));
}

// ---- A gauge that is reused ----

const ZERO: GaugeShape = GaugeShape {
    first: None,
    timed: false,
};

/// A gauge's series is retired and another one reuses its cell, while a thread promotes and sets
/// it. None of the thread's updates may land in the other series.
fn gauge_is_used_again(slots: bool) -> BTreeSet<(bool, bool)> {
    let seen = with_epochs(|| {
        reached(2, move || {
            let engine = Arc::new(Engine::new());
            if !slots {
                engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
            }
            let gauge = Arc::new(GaugeCell::new(&ZERO));
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
            let retired = engine.pass().retire(gauge.slot_word(), false);
            // The next pass sends the request. The pass after that sees the acknowledgement.
            drop(engine.pass());
            let mut pass = engine.pass();
            let reused = reclaim(&mut pass, &ZERO, &*gauge, retired, None);
            drop(pass);
            if reused {
                gauge.apply(GaugeOp::Set(9.0));
            }
            owner.join().unwrap();
            if reused {
                assert_eq!(gauge.value(), 9.0, "another's update");
            }
            (reused, retired.slot.is_some())
        })
    });
    seen
}

#[test]
fn a_gauge_is_used_again() {
    let seen = gauge_is_used_again(true);
    assert_eq!(seen, set(&[(false, true), (true, false), (true, true)]));
}

/// The same without free slots: threads set the gauge under its lock.
#[test]
fn a_gauge_without_a_slot_is_used_again() {
    let seen = gauge_is_used_again(false);
    assert_eq!(seen, set(&[(false, false), (true, false)]));
}

/// A thread joins, updates a series and drops its family, while a pass frees slots of dropped
/// families. The next series in the slot begins at zero.
#[test]
fn a_slot_of_a_dropped_family_is_used_again() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let old = Tally::<u64>::new(&());
        promote(&engine, old.slot_word(), Generation::FIRST, 1);
        let slot = old.slot_word().slot().unwrap();
        let thread = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || {
                let thread = Thread::new();
                inc(&engine, &thread, &old, Generation::FIRST);
                engine.abandon::<Tally<u64>>(&(), false, std::iter::once(slot));
                thread
            })
        };
        drop(engine.pass());
        let new = Tally::<u64>::new(&());
        promote(&engine, new.slot_word(), Generation::FIRST, 1);
        let reused = new.slot_word().slot() == Some(slot);
        assert_eq!(total(&mut engine.pass(), &new), 0, "an old count");
        drop(thread.join().unwrap());
        reused
    });
    assert_eq!(seen, set(&[false, true]));
}
