//! Processes with many threads.

use std::sync::{Arc, Barrier};

use tallies::{Counter, UpDownCounter};

use crate::support::{Directory, child, kill_self};

static UPDATES: Counter = Counter::new("updates_total").help("Updates.");
static IN_FLIGHT: UpDownCounter<[&str; 1]> =
    UpDownCounter::labelled("in_flight", &["route"]).help("In flight.");
static JOBS: Counter<[&str; 1]> = Counter::labelled("jobs_total", &["job"]).help("Jobs.");

/// A reader took the slabs of all threads, once for each series, for a file whose records overlap.
#[test]
fn many_series_of_a_process_with_many_threads_are_read() {
    const THREADS: usize = 200;
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        let all = Arc::new(Barrier::new(THREADS + 1));
        for _ in 0..THREADS {
            let all = Arc::clone(&all);
            std::thread::spawn(move || {
                (0..5000).for_each(|_| UPDATES.inc());
                all.wait();
                loop {
                    std::thread::park();
                }
            });
        }
        all.wait();
        for i in 0..600 {
            let route = format!("route {i}");
            // Every second series gets a slot.
            (0..=i % 2 * 2000).for_each(|_| IN_FLIGHT.with([&*route]).inc());
        }
        (0..10_000).for_each(|i| JOBS.with([&*format!("job {i}")]).inc());
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("threads::many_series_of_a_process_with_many_threads_are_read");
    // Checks that no file is skipped.
    let page = directory.read();
    assert_eq!(
        page.get("updates_total", &[]),
        Some(5000.0 * THREADS as f64)
    );
    assert_eq!(
        page.get("in_flight", &[("route", "route 301")]),
        Some(2001.0)
    );
    assert_eq!(page.get("jobs_total", &[("job", "job 9999")]), Some(1.0));
}
