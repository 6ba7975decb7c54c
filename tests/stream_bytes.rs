//! The exact memory of a summary's series in every thread. This test has a process of its own,
//! since a thread's slab extends to the highest slot that any series ever used.

#[path = "support/counting.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod counting;

use counting::{bytes, free_deferred, shuffled};
use tallies::{Registry, Summary};

/// The bytes that a summary's series takes in each further thread, including cells and label cache.
#[test]
fn bytes_of_a_summary_per_series_and_thread() {
    const THREADS: usize = 4;
    let per_stream = |series: usize, observations: u32| {
        free_deferred();
        let registry = Registry::new();
        let s = Summary::builder("s", "")
            .labels(["x"])
            .hot()
            .register(&registry)
            .unwrap();
        let names: Vec<String> = (0..series).map(|i| i.to_string()).collect();
        names.iter().for_each(|name| s.with([name]).observe(0.0));
        let turn = std::sync::Barrier::new(THREADS + 1);
        let used = std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    turn.wait();
                    turn.wait();
                    for name in &names {
                        (0..observations).for_each(|i| s.with([name]).observe(shuffled(i)));
                    }
                    turn.wait();
                    turn.wait();
                });
            }
            turn.wait();
            let used = bytes(|| {
                turn.wait();
                turn.wait();
                free_deferred();
            });
            turn.wait();
            used
        });
        used as f64 / (series * THREADS) as f64
    };
    let (rare, hot) = (per_stream(500, 10), per_stream(100, 20_000));
    println!("summary: {rare:.0} bytes in a thread that uses it rarely, {hot:.0} in a hot one");
    assert!(rare <= 400.0, "{rare}");
    assert!(hot <= 9.0 * 1024.0, "{hot}");
}
