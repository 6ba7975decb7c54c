//! The program of `examples/idea.rs` counts what the engine counts: in threads that come and go,
//! beside scrapes, which never see a total go back.

#[path = "../examples/idea.rs"]
mod idea;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const THREADS: u64 = 24;
const UPDATES: u64 = 2_000;

#[test]
fn the_idea_and_the_engine_count_the_same() {
    let ideas = [(); 5].map(|()| idea::Counter::new());
    let registry = tallies::Registry::new();
    let counters = ["a_total", "b_total", "c_total", "d_total", "e_total"];
    let counters = counters.map(|name| registry.counter(name, "A counter.").unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut last = [0; 5];
            while !done.load(Relaxed) {
                for (last, idea) in last.iter_mut().zip(&ideas) {
                    let now = idea.scrape();
                    assert!(now >= *last, "{now} after {last}");
                    *last = now;
                }
            }
        });
        // Four at a time, so that some end while others begin.
        for round in 0..THREADS / 4 {
            let threads: Vec<_> = (0..4)
                .map(|i| {
                    let (ideas, counters, me) = (&ideas, &counters, round * 4 + i);
                    scope.spawn(move || {
                        // The order differs, so that slabs grow at different times.
                        for n in 0..UPDATES {
                            let at = (n * (me + 1)) as usize % ideas.len();
                            ideas[at].add(n);
                            counters[at].add(n);
                        }
                    })
                })
                .collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        }
        done.store(true, Relaxed);
        scraper.join().unwrap();
    });
    let totals = ideas.each_ref().map(idea::Counter::scrape);
    assert_eq!(totals, counters.each_ref().map(tallies::Counter::get));
    assert_eq!(
        totals.iter().sum::<u64>(),
        THREADS * UPDATES * (UPDATES - 1) / 2
    );
}

#[test]
fn the_idea_fits_on_a_few_pages() {
    let lines = include_str!("../examples/idea.rs").lines().count();
    assert!(lines <= 200, "{lines} lines");
}
