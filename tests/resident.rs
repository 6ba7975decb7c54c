//! Resident memory as the system reports it, in a process of its own.

#![cfg(target_os = "linux")]

use tallies::{Counter, Registry};

/// When a thread's slab grew, the thread used to write all of it, though it touched only a page or
/// two.
#[test]
fn a_thread_takes_the_pages_it_touches() {
    const SERIES: usize = 200_000;
    const THREADS: usize = 16;
    let registry = Registry::new();
    let counter = Counter::builder("requests_total", "Requests.")
        .labels(["user"])
        .limit(SERIES)
        .hot()
        .register(&registry)
        .unwrap();
    for user in 0..SERIES {
        counter.with([&user.to_string()]).inc();
    }
    let late = counter.bind([&(SERIES - 1).to_string()]);
    let before = resident();
    let all_there = std::sync::Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                late.inc();
                all_there.wait();
                all_there.wait();
            });
        }
        all_there.wait();
        let taken = resident().saturating_sub(before);
        all_there.wait();
        assert!(
            taken < THREADS * SERIES * 8 / 4,
            "{taken} bytes for {THREADS} threads"
        );
    });
    let last = (SERIES - 1).to_string();
    assert_eq!(
        counter.find([&last]).map(|series| series.get()),
        Some(1 + THREADS as u64)
    );
}

/// Resident memory in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.unwrap().parse::<usize>().unwrap() * 1024
}
