//! The whole room with real threads, small enough for Miri; loom has the interleavings.

use super::*;

fn inc(engine: &Engine, thread: &Thread, tally: &Tally<u64>, tag: Tag) -> Outcome {
    if Tally::add(thread, tally.place().last(tag), 1_u64) {
        return Outcome::Done;
    }
    tally.add_cold(engine, thread, tag, 1, true)
}

fn total<C: Cells>(engine: &Engine, cells: &C) -> C::Total {
    let mut pass = engine.pass();
    let mut total = C::Total::default();
    cells.read(&mut pass, cells.place().slot(), &mut total);
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
                        // Ever larger slots: the slab grows.
                        let at = (life * 100 + (i + t) % 100) as usize;
                        assert_eq!(
                            inc(engine, &thread, &tallies[at], Tag::FIRST),
                            Outcome::Done
                        );
                        float.add_cold(engine, &thread, Tag::FIRST, 0.5, true);
                        up_down.add_cold(engine, &thread, Tag::FIRST, 1, 0, true);
                        let what = (i as usize % 3, 1.0, 1);
                        histogram.observe_cold(engine, &thread, Tag::FIRST, what, i > 3);
                        up_down.add_cold(engine, &thread, Tag::FIRST, 0, 1, true);
                    }
                    thread.leave(&engine);
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
    let promise = Promise::new(Targets::new(&[(0.5, 0.1)]), None);
    let summary = Distribution::new(&promise);
    let overflow = Distribution::new(&promise);
    let tag = summary.place().tag();
    std::thread::scope(|scope| {
        for t in 0..2 {
            let (engine, summary) = (&engine, &summary);
            scope.spawn(move || {
                let thread = Thread::new();
                for _ in 0..ROUNDS {
                    if !Distribution::observe(&thread, summary.place().last(tag), 1.0) {
                        summary.observe_cold(engine, &thread, tag, 1.0, t == 0);
                    }
                }
                thread.leave(&engine);
            });
        }
        for _ in 0..10 {
            let seen = total(&engine, &summary);
            assert_eq!(seen.sum, seen.count as f64);
        }
    });
    let retired = engine.pass().retire(summary.place());
    let mut passes = 0;
    while !end(
        &mut engine.pass(),
        &promise,
        &summary,
        retired,
        Some(&overflow),
    ) {
        passes += 1;
        assert!(passes < 10_000, "never safe");
    }
    let seen = total(&engine, &overflow);
    assert_eq!(
        (seen.count, seen.sum),
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
            inc(&engine, &thread, &tally, tally.place().tag());
            expected += 1;
        }
        let stale = tally.place().tag();
        let retired = engine.pass().retire(tally.place());
        assert_eq!(inc(&engine, &thread, &tally, stale), Outcome::Stale);
        let mut passes = 0;
        while !end(&mut engine.pass(), &(), &tally, retired, Some(&overflow)) {
            // Any update is an answer.
            thread.settle(&engine, overflow.place(), Tag::FIRST);
            passes += 1;
            assert!(passes < 1000, "never safe, in round {round}");
        }
        thread.leave(&engine);
        assert_eq!(total(&engine, &overflow), expected);
    }
    assert!(engine.slots.high_water() < 10, "the same few slots");
}
