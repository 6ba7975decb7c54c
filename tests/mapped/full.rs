//! A disk or a limit that is full.

#![allow(unsafe_code, reason = "setting a limit is")]

use tallies::{Counter, Histogram, Summary};

use crate::support::{Directory, child, kill_self};

static ALONE: Counter = Counter::new("alone_total").help("Alone.");
static MANY: Counter<[&str; 1]> = Counter::labelled("many_total", &["x"])
    .help("Many.")
    .limit(1_000_000);
static LATENCY: Histogram<[&str; 1]> = Histogram::labelled("latency_seconds", &["x"])
    .help("Latency.")
    .limit(1_000_000);
static SIZES: Summary<[&str; 1]> = Summary::labelled("sizes", &["x"])
    .help("Sizes.")
    .limit(1_000_000);

#[test]
fn a_file_that_reached_the_limit_goes_on_in_private_memory() {
    if let Some(path) = child() {
        tallies::share::dir(path).unwrap();
        let limit = libc::rlimit {
            rlim_cur: 1 << 20,
            rlim_max: 1 << 20,
        };
        // SAFETY: a valid limit.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
        assert_eq!(limited, 0);
        for i in 0..20_000 {
            ALONE.inc();
            let x = &*i.to_string();
            MANY.with([x]).inc();
            LATENCY.with([x]).observe(0.5);
            if i % 10 == 0 {
                SIZES.with([x]).observe(0.5);
            }
        }
        for thread in 0..4 {
            let update =
                move || (0..3000).for_each(|i| MANY.with([&(i * (thread + 1)).to_string()]).inc());
            std::thread::spawn(update).join().unwrap();
            drop(tallies::snapshot());
        }
        // This process has all of it.
        let snapshot = tallies::snapshot();
        assert_eq!(snapshot.get("alone_total", &[]), Some(20_000.0));
        assert_eq!(snapshot.family("many_total").unwrap().len(), 20_000);
        assert_eq!(snapshot.family("latency_seconds").unwrap().len(), 20_000);
        let total: f64 = (snapshot.family("many_total").unwrap().series())
            .map(|(_, value)| match value {
                tallies::snapshot::Value::Counter(n) => n.as_f64(),
                _ => unreachable!("a counter"),
            })
            .sum();
        assert_eq!(total, 32_000.0);
        assert!(snapshot.get("tallies_cells_not_shared_total", &[]).unwrap() > 0.0);
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("full::a_file_that_reached_the_limit_goes_on_in_private_memory");
    let snapshot = directory.read();
    assert_eq!(snapshot.get("alone_total", &[]), Some(20_000.0));
    let shared = snapshot.family("many_total").unwrap().len();
    assert!((100..20_000).contains(&shared), "{shared}");
}
