//! Tests of the engine and the kinds with real threads, small enough for Miri. The models in
//! `models` cover the interleavings.

use crate::sync::Relaxed;

use super::*;

fn inc(engine: &Engine, thread: &Thread, tally: &Tally<u64>, generation: Generation) -> Outcome {
    if Tally::add(thread, tally.slot_word().last(generation), 1_u64) {
        return Outcome::Done;
    }
    tally.add_cold(engine, thread, generation, 1, true)
}

fn total<C: Cells>(engine: &Engine, cells: &C) -> C::Total {
    let mut pass = engine.pass();
    let mut total = C::Total::default();
    cells.read(&mut pass, cells.slot_word().slot(), &mut total);
    total
}

#[test]
fn threads_grow_leave_adopt_and_are_read() {
    const ROUNDS: u64 = if cfg!(miri) { 30 } else { 3000 };
    let engine = Engine::new();
    let tallies: Vec<_> = (0..300).map(|_| Tally::<u64>::new(&())).collect();
    let float = Tally::<f64>::new(&());
    let up_down = UpDown::new(&());
    let histogram = Buckets::new(&Shape::fixed(3));
    std::thread::scope(|scope| {
        for t in 0..2 {
            let (engine, tallies) = (&engine, &tallies);
            let (float, up_down, histogram) = (&float, &up_down, &histogram);
            scope.spawn(move || {
                for life in 0..3 {
                    let thread = Thread::new();
                    for i in 0..ROUNDS {
                        // Slots grow, so the slab grows as well.
                        let at = (life * 100 + (i + t) % 100) as usize;
                        assert_eq!(
                            inc(engine, &thread, &tallies[at], Generation::FIRST),
                            Outcome::Done
                        );
                        float.add_cold(engine, &thread, Generation::FIRST, 0.5, true);
                        up_down.add_cold(engine, &thread, Generation::FIRST, 1, 0, true);
                        let what = Observation::new(i as usize % 3, 1.0, 1);
                        histogram.observe_cold(engine, &thread, Generation::FIRST, what, i > 3);
                        up_down.add_cold(engine, &thread, Generation::FIRST, 0, 1, true);
                    }
                    thread.leave(engine);
                }
            });
        }
        let mut last = 0;
        for _ in 0..20 {
            let seen = total(&engine, &histogram);
            assert_eq!(seen.sum, seen.count() as f64);
            assert!(seen.count() >= last && total(&engine, &up_down) >= 0);
            last = seen.count();
        }
    });
    let all: u64 = tallies.iter().map(|tally| total(&engine, tally)).sum();
    assert_eq!(all, 6 * ROUNDS);
    assert_eq!(total(&engine, &float), 3.0 * ROUNDS as f64);
    assert_eq!(
        (total(&engine, &up_down), total(&engine, &histogram).count()),
        (0, 6 * ROUNDS)
    );
    assert!(engine.pass().shards().0 <= 3, "shards were adopted");
}

#[test]
fn streams_are_read_while_they_flush_and_freed_when_they_end() {
    use crate::snapshot::sketch::Targets;
    const ROUNDS: u32 = if cfg!(miri) { 200 } else { 5000 };
    let engine = Engine::new();
    let promise = SummaryShape::new(Targets::new(&[(0.5, 0.1)]), None, stream_budget());
    let summary = Distribution::new(&promise);
    let overflow = Distribution::new(&promise);
    let generation = summary.slot_word().generation();
    std::thread::scope(|scope| {
        for t in 0..2 {
            let (engine, summary) = (&engine, &summary);
            scope.spawn(move || {
                let thread = Thread::new();
                for _ in 0..ROUNDS {
                    if !Distribution::observe(&thread, summary.slot_word().last(generation), 1.0) {
                        summary.observe_cold(engine, &thread, generation, 1.0, t == 0);
                    }
                }
                thread.leave(engine);
            });
        }
        for _ in 0..10 {
            let seen = total(&engine, &summary);
            assert_eq!(seen.sum, seen.count as f64);
        }
    });
    let retired = engine.pass().retire(summary.slot_word(), false);
    let mut passes = 0;
    while !reclaim(
        &mut engine.pass(),
        &promise,
        &summary,
        retired,
        Some(&overflow),
    ) {
        passes += 1;
        std::thread::yield_now();
        assert!(passes < 1_000_000, "never safe");
    }
    let seen = total(&engine, &overflow);
    assert_eq!(
        (seen.count, seen.sum.value()),
        (2 * u64::from(ROUNDS), 2.0 * f64::from(ROUNDS))
    );
}

#[test]
fn a_slot_changes_hands() {
    let engine = Engine::new();
    let overflow = Tally::<u64>::new(&());
    let mut expected = 0;
    for round in 0..20 {
        let thread = Thread::new();
        let tally = Tally::<u64>::new(&());
        for _ in 0..5 {
            inc(&engine, &thread, &tally, tally.slot_word().generation());
            expected += 1;
        }
        let stale = tally.slot_word().generation();
        let retired = engine.pass().retire(tally.slot_word(), false);
        assert_eq!(inc(&engine, &thread, &tally, stale), Outcome::Stale);
        let mut passes = 0;
        while !reclaim(&mut engine.pass(), &(), &tally, retired, Some(&overflow)) {
            // Any update acknowledges the request.
            thread.resolve(&engine, overflow.slot_word(), Generation::FIRST);
            passes += 1;
            assert!(passes < 1000, "never safe, in round {round}");
        }
        thread.leave(&engine);
        assert_eq!(total(&engine, &overflow), expected);
    }
    assert!(engine.slots.high_water() < 10, "the same few slots");
}

/// Without this test only benchmarks would notice a series that is never promoted.
#[test]
fn every_kind_gets_slots_after_enough_updates() {
    let (engine, thread) = (Engine::new(), Thread::new());
    let first = Generation::FIRST;
    let integer = Tally::<u64>::new(&());
    let float = Tally::<f64>::new(&());
    let up_down = UpDown::new(&());
    let fixed = Buckets::new(&Shape::fixed(3));
    let resolution = crate::snapshot::Resolution {
        schema: 0,
        limit: 8,
        zero_threshold: 0.0,
    };
    let native = Buckets::new(&Shape::new(&[], Some(resolution)));
    let targets = crate::snapshot::sketch::Targets::new(&[(0.5, 0.05)]);
    let summary = Distribution::new(&SummaryShape::new(targets, None, stream_budget()));
    let update = || {
        integer.add_cold(&engine, &thread, first, 1, false);
        float.add_cold(&engine, &thread, first, 1.0, false);
        up_down.add_cold(&engine, &thread, first, 1, 0, false);
        fixed.observe_cold(&engine, &thread, first, Observation::new(0, 1.0, 1), false);
        native.observe_cold(&engine, &thread, first, Observation::new(0, 1.0, 1), false);
        summary.observe_cold(&engine, &thread, first, 1.0, false);
    };
    let slots = || {
        let slot_words = [
            integer.slot_word(),
            float.slot_word(),
            up_down.slot_word(),
            fixed.slot_word(),
            native.slot_word(),
            summary.slot_word(),
        ];
        slot_words.map(|slot_word| slot_word.slot().is_some())
    };
    (1..PROMOTE_AFTER).for_each(|_| update());
    assert_eq!(slots(), [false; 6]);
    update();
    assert_eq!(slots(), [true; 6]);
    // All further updates use slots.
    (0..PROMOTE_AFTER).for_each(|_| update());
    let count = 2 * PROMOTE_AFTER;
    assert_eq!(total(&engine, &integer), count);
    assert_eq!(total(&engine, &float), count as f64);
    assert_eq!(total(&engine, &up_down), count as i64);
    assert_eq!(total(&engine, &fixed).count(), count);
    assert_eq!(total(&engine, &native).count(), count);
    assert_eq!(total(&engine, &summary).count, count);
    thread.leave(&engine);
}

/// A thousand updates in a year do not make a series hot.
#[test]
fn updates_of_several_minutes_promote_nothing() {
    let (engine, thread) = (Engine::new(), Thread::new());
    let tally = Tally::<u64>::new(&());
    let update = |times| {
        for _ in 0..times {
            tally.add_cold(&engine, &thread, Generation::FIRST, 1, false);
        }
    };
    let minute = std::time::Duration::from_secs(60);
    drop(engine.pass());
    // Passes tell the minutes apart.
    for _ in 0..3 {
        update(PROMOTE_AFTER - 1);
        crate::clock::advance(minute);
        drop(engine.pass());
    }
    assert_eq!(tally.slot_word().slot(), None);
    // So do promotions, in a program that is never scraped.
    for _ in 0..3 {
        update(PROMOTE_AFTER / 2);
        crate::clock::advance(minute);
    }
    assert_eq!(tally.slot_word().slot(), None);
    update(2 * PROMOTE_AFTER);
    assert!(tally.slot_word().slot().is_some());
    thread.leave(&engine);
    // The first minute begins with the first thread.
    let (engine, thread) = (Engine::new(), Thread::new());
    let tally = Tally::<u64>::new(&());
    for _ in 0..16 {
        for _ in 0..PROMOTE_AFTER / 16 {
            tally.add_cold(&engine, &thread, Generation::FIRST, 1, false);
        }
        crate::clock::advance(10 * minute);
    }
    assert_eq!(tally.slot_word().slot(), None);
    thread.leave(&engine);
}

/// Slots times threads: series beyond the limit stay cold, and count all the same.
#[test]
fn the_cells_of_all_threads_are_limited() {
    let (engine, threads) = (Engine::new(), [(); 4].map(|()| Thread::new()));
    let tallies: Vec<_> = (0..100).map(|_| Tally::<u64>::new(&())).collect();
    for thread in &threads {
        tallies[0].add_cold(&engine, thread, Generation::FIRST, 1, false);
    }
    // Four threads have 32 cells each.
    engine.slots.set_limit(4 * 32 * 8);
    for thread in &threads {
        for tally in &tallies {
            tally.add_cold(&engine, thread, Generation::FIRST, 1, true);
        }
    }
    let hot = tallies
        .iter()
        .filter(|tally| tally.slot_word().slot().is_some());
    assert_eq!(hot.count(), 32);
    assert_eq!(total(&engine, &tallies[99]), 4);
    assert!(engine.pass().shards().1 <= 4 * 32);
    threads.iter().for_each(|thread| thread.leave(&engine));
}

/// Sets a flag when it is dropped, so that the thread that waits for it ends if the test fails.
struct SetOnDrop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A reader that cannot read a block requests a copy from the owner. A reader that requested none
/// would retry endlessly.
#[test]
fn a_reader_requests_a_copy_from_the_owner() {
    let engine = Engine::new();
    let histogram = Buckets::new(&Shape::fixed(1));
    let done = std::sync::atomic::AtomicBool::new(false);
    let observe = |thread: &Thread| {
        let what = Observation::new(0, 1.0, 1);
        if !Buckets::observe(
            thread,
            histogram.slot_word().last(Generation::FIRST),
            || Some(0),
            1.0,
            1,
        ) {
            histogram.observe_cold(&engine, thread, Generation::FIRST, what, true);
        }
    };
    let ready = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let thread = Thread::new();
            observe(&thread);
            ready.wait();
            while !done.load(Relaxed) {
                observe(&thread);
            }
            thread.leave(&engine);
        });
        ready.wait();
        // The owner ends even if this thread panics.
        let _done = SetOnDrop(&done);
        let mut pass = engine.pass();
        let mut direct = None;
        let mut tries = 0;
        let find = |block| Some(super::bucket_block::in_place(block, 4));
        pass.blocks(None, histogram.slot_word().slot(), find, |(), block, _| {
            tries += 1;
            assert!(tries < 10_000, "no copy was requested");
            // Fails on the first block's address, as if the owner were too quick each time. Only a
            // copy succeeds. SAFETY: the block has four cells.
            let address = std::ptr::from_ref(unsafe { block.cell(0) });
            *direct.get_or_insert(address) != address
        });
        assert_eq!(engine.copy_requests.load(Relaxed), 1);
    });
}

/// Otherwise two threads would write one shard: the one that left it in a destructor of its
/// thread-locals, and the next owner.
#[test]
fn a_thread_that_left_its_shard_has_no_cells() {
    let (engine, thread) = (Engine::new(), Thread::new());
    let tally = Tally::<u64>::new(&());
    tally.add_cold(&engine, &thread, Generation::FIRST, 1, true);
    let last = tally.slot_word().last(Generation::FIRST);
    assert!(Tally::add(&thread, last, 1_u64));
    thread.leave(&engine);
    assert!(!Tally::add(&thread, last, 1_u64));
}

/// Regression: after 65 536 slots of dropped families the whole process stayed cold.
#[test]
fn slots_of_dropped_families_are_reclaimed() {
    let (engine, thread) = (Engine::new(), Thread::new());
    let tally = Tally::<u64>::new(&());
    tally.add_cold(&engine, &thread, Generation::FIRST, 1, true);
    let retired = engine.pass().retire(tally.slot_word(), false);
    assert_eq!(engine.slots.unreclaimed(), 1);
    // The family is dropped before the series is reclaimed.
    engine.abandon::<Tally<u64>>(&(), true, retired.slot.into_iter());
    drop(engine.pass());
    assert_eq!(engine.slots.unreclaimed(), 0);
    thread.leave(&engine);
}

#[test]
fn owners_get_requests_only_after_a_retirement() {
    let (engine, thread) = (Engine::new(), Thread::new());
    let tally = Tally::<u64>::new(&());
    tally.add_cold(&engine, &thread, Generation::FIRST, 1, true);
    let last = tally.slot_word().last(Generation::FIRST);
    for _ in 0..3 {
        drop(engine.pass());
        assert!(
            Tally::add(&thread, last, 1_u64),
            "a request without a retirement"
        );
    }
    let other = Tally::<u64>::new(&());
    other.add_cold(&engine, &thread, Generation::FIRST, 1, true);
    engine.pass().retire(other.slot_word(), false);
    drop(engine.pass());
    assert!(!Tally::add(&thread, last, 1_u64), "no owner got a request");
    thread.leave(&engine);
}

/// Regression: a thread that took a shard with an open request, for one update of a cold series,
/// delayed the request for as long as it slept.
#[test]
fn a_new_owner_acknowledges_an_open_request() {
    let (engine, first, next) = (Engine::new(), Thread::new(), Thread::new());
    let [hot, cold] = [(); 2].map(|()| Tally::<u64>::new(&()));
    hot.add_cold(&engine, &first, Generation::FIRST, 1, true);
    let retired = engine.pass().retire(hot.slot_word(), false);
    drop(engine.pass());
    first.leave(&engine);
    cold.add_cold(&engine, &next, Generation::FIRST, 1, false);
    assert!(engine.pass().is_acknowledged(retired));
    next.leave(&engine);
}

/// A sleeping thread does not delay the reuse of slots above its capacity, and does delay those
/// below it.
#[test]
fn a_sleeper_holds_up_the_slots_that_it_has() {
    let (engine, sleeper, worker) = (Engine::new(), Thread::new(), Thread::new());
    let tallies: Vec<_> = (0..100).map(|_| Tally::<u64>::new(&())).collect();
    tallies[0].add_cold(&engine, &sleeper, Generation::FIRST, 1, true);
    for tally in &tallies {
        tally.add_cold(&engine, &worker, Generation::FIRST, 1, true);
    }
    let retired: Vec<_> = {
        let mut pass = engine.pass();
        tallies
            .iter()
            .map(|tally| pass.retire(tally.slot_word(), false))
            .collect()
    };
    drop(engine.pass());
    // The worker runs an update; the sleeper does not.
    tallies[0].add_cold(&engine, &worker, Generation::FIRST, 1, true);
    let pass = engine.pass();
    let acknowledged = retired
        .iter()
        .filter(|retired| pass.is_acknowledged(**retired));
    assert!((80..100).contains(&acknowledged.count()));
    assert!(!pass.is_acknowledged(retired[0]));
    drop(pass);
    tallies[0].add_cold(&engine, &sleeper, Generation::FIRST, 1, true);
    let pass = engine.pass();
    assert!(retired.iter().all(|retired| pass.is_acknowledged(*retired)));
    drop(pass);
    sleeper.leave(&engine);
    worker.leave(&engine);
}

/// More slots than one pass may clear are cleared by several passes, and none is lost.
#[test]
fn slots_of_a_large_family_are_freed_in_several_passes() {
    const SLOTS: u64 = if cfg!(miri) { 100 } else { 200_000 };
    let (engine, thread) = (Engine::new(), Thread::new());
    let tally = Tally::<u64>::new(&());
    tally.add_cold(&engine, &thread, Generation::FIRST, 1, true);
    let slots: Vec<_> = (0..SLOTS)
        .map(|_| engine.slots.allocate(1).unwrap())
        .collect();
    let high_water = engine.slots.high_water();
    engine.abandon::<Tally<u64>>(&(), false, slots.iter().copied());
    for _ in 0..10 {
        drop(engine.pass());
    }
    let mut again: Vec<_> = (0..SLOTS)
        .map(|_| engine.slots.allocate(1).unwrap())
        .collect();
    again.sort_unstable();
    assert_eq!(again, slots);
    assert_eq!(engine.slots.high_water(), high_water);
    thread.leave(&engine);
}

/// Shards of threads that had made cold updates only were read by every pass, as nothing was
/// drained from them.
#[test]
fn shards_that_held_nothing_are_given_up() {
    let engine = Engine::new();
    let tally = Tally::<u64>::new(&());
    let threads: Vec<_> = (0..20).map(|_| Thread::new()).collect();
    for thread in &threads {
        tally.add_cold(&engine, thread, Generation::FIRST, 1, false);
    }
    // 12 cells for each of the shards that exist, and 32 once the surplus was freed.
    engine.slots.set_limit(8 * 256);
    assert_eq!(engine.slots.allocate(16), None);
    threads.iter().for_each(|thread| thread.leave(&engine));
    assert_eq!(engine.pass().shards().0, 20);
    for _ in 0..4 {
        engine.pass().take_idle();
    }
    assert_eq!(engine.pass().shards().0, 0);
    assert_eq!(total(&engine, &tally), 20);
    assert!(engine.slots.allocate(16).is_some());
}

/// A thread joins during a pass and is in the middle of an update of a series that the pass then
/// retires. If the pass also requested a copy, the ticket of that request was taken for the
/// thread's acknowledgement, and the slot was cleared under its update.
#[test]
fn a_copy_request_acknowledges_nothing_for_a_new_thread() {
    for copies in [false, true] {
        let engine = Engine::new();
        let (reader, writer) = (Thread::new(), Thread::new());
        let [retired, copied] = [Tally::<u64>::new(&()), Tally::<u64>::new(&())];
        for series in [&retired, &copied] {
            super::promote(&engine, series.slot_word(), Generation::FIRST, 1);
        }
        inc(&engine, &reader, &copied, Generation::FIRST);
        let mut pass = engine.pass();
        inc(&engine, &writer, &retired, Generation::FIRST);
        // The writer has its block, and has not stored yet.
        let block = writer.hot(retired.slot_word().last(Generation::FIRST));
        assert!(block.is_some());
        let retired = pass.retire(retired.slot_word(), false);
        if copies {
            let mut tries = 0;
            let find = |block| Some(super::bucket_block::in_place(block, 1));
            pass.blocks(None, copied.slot_word().slot(), find, |(), _, _| {
                tries += 1;
                tries > 64
            });
            assert!(tries > 64, "no copy was requested");
        }
        drop(pass);
        for _ in 0..3 {
            drop(engine.pass());
            inc(&engine, &reader, &copied, Generation::FIRST);
        }
        assert!(!engine.pass().is_acknowledged(retired), "copies: {copies}");
        // The writer's next look at its slot acknowledges.
        inc(&engine, &writer, &copied, Generation::FIRST);
        drop(engine.pass());
        inc(&engine, &writer, &copied, Generation::FIRST);
        assert!(engine.pass().is_acknowledged(retired), "copies: {copies}");
    }
}

/// Regression: a thread looked for requests only if its update was the first one of the series in a
/// minute.
#[test]
fn a_thread_that_runs_only_cold_updates_acknowledges() {
    let (engine, first, second) = (Engine::new(), Thread::new(), Thread::new());
    let [gone, cold] = std::array::from_fn(|_| Tally::<u64>::new(&()));
    let inc = |thread: &Thread| {
        let last = cold.slot_word().last(Generation::FIRST);
        if !cold.add_if_cold(&engine, (last, Generation::FIRST), 1, || false) {
            cold.add_cold(&engine, thread, Generation::FIRST, 1, false);
        }
    };
    gone.add_cold(&engine, &second, Generation::FIRST, 1_u64, true);
    [&first, &second].into_iter().for_each(inc);
    let retired = engine.pass().retire(gone.slot_word(), false);
    // This pass sends the request.
    assert!(!engine.pass().is_acknowledged(retired));
    [&first, &second].into_iter().for_each(inc);
    assert!(engine.pass().is_acknowledged(retired));
    [&first, &second]
        .into_iter()
        .for_each(|thread| thread.leave(&engine));
}

/// The pass after 4 000 threads had ended folded all of their shards, and took 82 ms. Not under
/// Miri, which would take hours for as many cells.
#[cfg(not(miri))]
#[test]
fn a_pass_folds_large_shards_a_few_at_a_time() {
    let engine = Engine::new();
    // A third of what one pass folds.
    let slot = (1 << 18) / 3;
    assert!(engine.slots.allocate_row(1, slot).is_some());
    let tally = Tally::<u64>::new(&());
    let threads: Vec<_> = (0..7).map(|_| Thread::new()).collect();
    for thread in &threads {
        inc(&engine, thread, &tally, Generation::FIRST);
    }
    assert_eq!(tally.slot_word().slot(), Some(slot));
    threads.iter().for_each(|thread| thread.leave(&engine));
    let mut left = Vec::new();
    for _ in 0..4 {
        let mut pass = engine.pass();
        pass.take_idle();
        fold_idle(&mut pass, &(), &tally);
        drop(pass);
        assert_eq!(total(&engine, &tally), 7);
        left.push(engine.pass().shards().0);
    }
    assert_eq!(left, [7, 4, 1, 0]);
}

/// An up-down counter that was only decremented has a first cell of zero.
#[test]
fn a_shard_with_decrements_only_is_emptied() {
    let (engine, thread) = (Engine::new(), Thread::new());
    let in_flight = UpDown::new(&());
    in_flight.add_cold(&engine, &thread, Generation::FIRST, 0, 1, true);
    thread.leave(&engine);
    for _ in 0..3 {
        let mut pass = engine.pass();
        pass.take_idle();
        fold_idle(&mut pass, &(), &in_flight);
    }
    assert_eq!(engine.pass().shards().0, 0);
    assert_eq!(total(&engine, &in_flight), -1);
}

/// Registries that are dropped and never scraped would take ever more slots.
#[test]
fn many_abandoned_slots_are_freed_without_a_scrape() {
    let engine = Engine::new();
    let slots: Vec<_> = (0..5000)
        .map(|_| engine.slots.allocate(1).unwrap())
        .collect();
    engine.abandon::<Tally<u64>>(&(), false, slots.iter().copied());
    let again = engine.slots.allocate(1);
    assert!(again.is_some_and(|slot| slots.contains(&slot)), "{again:?}");
}

/// The slot is the last cell of the thread's slab.
#[test]
fn a_shard_that_ends_with_a_slot_has_to_acknowledge() {
    let (engine, thread) = (Engine::new(), Thread::new());
    let [tally, other] = std::array::from_fn(|_| Tally::<u64>::new(&()));
    promote(&engine, other.slot_word(), Generation::FIRST, 1);
    (0..14).for_each(|_| _ = engine.slots.allocate(1));
    inc(&engine, &thread, &tally, Generation::FIRST);
    assert_eq!(tally.slot_word().slot(), Some(15));
    assert_eq!(engine.pass().shards(), (1, 16));
    let retired = engine.pass().retire(tally.slot_word(), false);
    // This pass sends the request.
    assert!(!engine.pass().is_acknowledged(retired));
    inc(&engine, &thread, &other, Generation::FIRST);
    assert!(engine.pass().is_acknowledged(retired));
    thread.leave(&engine);
}

/// Of two shards that lag, the shorter one has acknowledged more than the longer one.
#[test]
fn a_slot_waits_for_longer_shards_that_lag_further_behind() {
    let (engine, long, short) = (Engine::new(), Thread::new(), Thread::new());
    let [first, second, busy, far] = std::array::from_fn(|_| Tally::<u64>::new(&()));
    for tally in [&first, &second, &busy] {
        inc(&engine, &short, tally, Generation::FIRST);
        inc(&engine, &long, tally, Generation::FIRST);
    }
    (0..20).for_each(|_| _ = engine.slots.allocate(1));
    inc(&engine, &long, &far, Generation::FIRST);
    let first = engine.pass().retire(first.slot_word(), false);
    drop(engine.pass());
    inc(&engine, &short, &busy, Generation::FIRST);
    let second = engine.pass().retire(second.slot_word(), false);
    let pass = engine.pass();
    assert!(!pass.is_acknowledged(first) && !pass.is_acknowledged(second));
    drop(pass);
    inc(&engine, &long, &far, Generation::FIRST);
    let pass = engine.pass();
    assert!(pass.is_acknowledged(first) && !pass.is_acknowledged(second));
    drop(pass);
    inc(&engine, &short, &busy, Generation::FIRST);
    assert!(engine.pass().is_acknowledged(second));
    [&long, &short]
        .into_iter()
        .for_each(|thread| thread.leave(&engine));
}
