//! Models of slots that are closing: a series that went quiet gives its slot back.

use std::sync::Arc;

use super::super::slot::UNRECLAIMED_LIMIT;
use super::super::{Cells, Engine, Generation, Tally, Thread, end_closing, fold_idle, promote};
use super::{inc, reached, set, spawn, total};

/// The collector closes the slot of a series, and gives it to another one, while an owner updates
/// both. The total never goes back, and no update is lost or lands in the other series.
#[test]
fn a_slot_that_is_closing_is_used_again() {
    let seen = reached(2, || {
        let engine = Arc::new(Engine::new());
        let [quiet, new] = std::array::from_fn(|_| Arc::new(Tally::<u64>::new(&())));
        promote(&engine, quiet.slot_word(), Generation::FIRST, 1);
        let slot = quiet.slot_word().slot().unwrap();
        // No other series is promoted: the others stay in their cold cells.
        engine.slots.waiting(UNRECLAIMED_LIMIT as i64 + 9);
        let owner = {
            let (quiet, new) = (Arc::clone(&quiet), Arc::clone(&new));
            spawn(&engine, move |engine, thread| {
                inc(engine, thread, &quiet, Generation::FIRST);
                inc(engine, thread, &quiet, Generation::FIRST);
                inc(engine, thread, &new, Generation::FIRST);
            })
        };
        let mut pass = engine.pass();
        let before = total(&mut pass, &*quiet);
        let closing = pass.close(quiet.slot_word()).unwrap();
        let first = total(&mut pass, &*quiet);
        assert!(before <= first, "{first} after {before}");
        drop(pass);
        // This pass sends the request.
        drop(engine.pass());
        let mut pass = engine.pass();
        let ended = end_closing(&mut pass, &(), &*quiet, closing);
        if ended {
            pass.free_cleared();
            assert_eq!(quiet.slot_word().slot(), None);
            assert!(new.slot_word().promote(Generation::FIRST, slot));
        } else {
            pass.reopen(quiet.slot_word(), closing);
        }
        let second = total(&mut pass, &*quiet);
        assert!(first <= second, "{second} after {first}");
        drop(pass);
        owner.join().unwrap();
        let mut pass = engine.pass();
        let totals = (total(&mut pass, &*quiet), total(&mut pass, &*new));
        assert_eq!(totals, (2, 1), "ended: {ended}");
        (ended, second)
    });
    for outcome in [(false, 0), (true, 0), (true, 1), (true, 2)] {
        assert!(seen.contains(&outcome), "{outcome:?} is not in {seen:?}");
    }
}

/// A pass folds what an ended thread left in a slot that is closing, beside an update of the cold
/// cells. No update is lost.
#[test]
fn a_slot_that_is_closing_is_folded_beside_a_cold_writer() {
    let seen = reached(3, || {
        let engine = Arc::new(Engine::new());
        let tally = Arc::new(Tally::<u64>::new(&()));
        promote(&engine, tally.slot_word(), Generation::FIRST, 1);
        inc(&engine, &Thread::new(), &tally, Generation::FIRST);
        let mut pass = engine.pass();
        // The first pass that sees the shard without an owner.
        pass.take_idle();
        pass.close(tally.slot_word()).unwrap();
        drop(pass);
        let writer = {
            let tally = Arc::clone(&tally);
            spawn(&engine, move |engine, thread| {
                inc(engine, thread, &tally, Generation::FIRST);
            })
        };
        let mut pass = engine.pass();
        pass.take_idle();
        fold_idle(&mut pass, &(), &*tally);
        let early = total(&mut pass, &*tally);
        drop(pass);
        writer.join().unwrap();
        assert_eq!(total(&mut engine.pass(), &*tally), 2, "lost or doubled");
        early
    });
    assert_eq!(seen, set(&[1, 2]));
}

/// A pass clears the slot of one shard and then has to stop, because a fold needs memory that the
/// mapped file does not have. So it opens the slot again. The next owner of that shard finds its
/// cell zeroed: no count is added twice.
#[test]
fn a_slot_that_is_cleared_in_part_is_opened_again() {
    let seen = reached(2, || {
        let engine = Arc::new(Engine::new());
        let tally = Arc::new(Tally::<u64>::new(&()));
        promote(&engine, tally.slot_word(), Generation::FIRST, 1);
        // Two shards, without an owner afterwards.
        for thread in [Thread::new(), Thread::new()].each_ref() {
            inc(&engine, thread, &tally, Generation::FIRST);
        }
        let closing = engine.pass().close(tally.slot_word()).unwrap();
        // This pass sends the request, and acknowledges for both shards.
        drop(engine.pass());
        let owner = {
            let tally = Arc::clone(&tally);
            spawn(&engine, move |engine, thread| {
                inc(engine, thread, &tally, Generation::FIRST);
            })
        };
        let mut pass = engine.pass();
        let mut cleared = 0;
        if let Some(held) = tally.cold_lock().lock_any() {
            let done = pass.clear_slot(closing.last, 1, |block| {
                cleared += 1;
                cleared < 2 && tally.fold(&(), block)
            });
            assert!(!done);
            drop(held);
        }
        pass.reopen(tally.slot_word(), closing);
        let now = total(&mut pass, &*tally);
        assert!((2..4).contains(&now), "{now}");
        drop(pass);
        owner.join().unwrap();
        assert_eq!(total(&mut engine.pass(), &*tally), 3);
        (cleared, now)
    });
    for outcome in [(0, 2), (2, 2), (2, 3)] {
        assert!(seen.contains(&outcome), "{outcome:?} is not in {seen:?}");
    }
}
