//! Windows, with the clock of the thread advanced. The rest is in `tests/engine/summary.rs`.

use std::time::Duration;

use crate::Registry;
use crate::snapshot::{Snapshot, Value};

use super::Summary;

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a summary with five ages of two minutes. The first age has begun.
fn windowed(registry: &Registry) -> Summary<[&'static str; 1]> {
    Summary::builder("s", "")
        .max_age(10 * MINUTE)
        .labels(["x"])
        .register(registry)
        .unwrap()
}

/// Returns count, sum, number of values in the window, and median.
fn seen(snapshot: &Snapshot) -> (u64, f64, u64, f64) {
    let family = snapshot.family("s").unwrap();
    let Some((_, Value::Summary(seen))) = family.series().next() else {
        unreachable!("a summary")
    };
    let median = seen.exported().next().unwrap().1;
    (seen.count(), seen.sum(), seen.sketched(), median)
}

/// Advances the clock by `minutes`, with a scrape in each minute.
fn scrape_on(registry: &Registry, minutes: u32) -> Snapshot {
    for _ in 0..minutes {
        crate::clock::advance(MINUTE);
        let _ = registry.snapshot();
    }
    registry.snapshot()
}

fn observed_in_a_thread(
    s: &Summary<[&'static str; 1]>,
    ahead: Duration,
    values: std::ops::Range<u32>,
) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            crate::clock::advance(ahead);
            values.for_each(|value| s.with(["a"]).observe(f64::from(value)));
        });
        // The scope does not wait for thread-local destructors, which hand over the streams;
        // `join` does.
        thread.join().unwrap();
    });
}

#[test]
fn quantiles_are_of_the_window_and_count_and_sum_are_not() {
    let registry = Registry::new();
    let s = windowed(&registry);
    (0..1000).for_each(|_| s.with(["a"]).observe(1.0));
    assert_eq!(seen(&scrape_on(&registry, 5)), (1000, 1000.0, 1000, 1.0));
    (0..2000).for_each(|_| s.with(["a"]).observe(3.0));
    assert_eq!(seen(&registry.snapshot()), (3000, 7000.0, 3000, 3.0));
    // Minute 11: the observations of minute 0 have left.
    assert_eq!(seen(&scrape_on(&registry, 6)), (3000, 7000.0, 2000, 3.0));
    let (count, sum, sketched, median) = seen(&scrape_on(&registry, 10));
    assert_eq!((count, sum, sketched), (3000, 7000.0, 0));
    assert!(median.is_nan(), "a window that holds nothing");
    assert_eq!(
        s.find(["a"])
            .map(|series| series.get())
            .unwrap()
            .quantile(1.0),
        None
    );
    s.with(["a"]).observe(5.0);
    assert_eq!(seen(&registry.snapshot()), (3001, 7005.0, 1, 5.0));
}

/// Threads with different clocks, busy, idle and finished: one window covers all of them,
/// within the rank error.
#[test]
fn a_window_is_that_of_all_threads() {
    const EACH: u32 = 20_000;
    let registry = Registry::new();
    let s = windowed(&registry);
    // Thread i observes other values than the rest, in age i + 1.
    for i in 0..8 {
        observed_in_a_thread(&s, i * 2 * MINUTE, i * EACH..(i + 1) * EACH);
        if i == 1 {
            // Closes the buffers of the first two threads in their ages, also if threads of other
            // tests have taken their shards.
            let _ = registry.snapshot();
        }
    }
    crate::clock::advance(15 * MINUTE);
    let now = s.find(["a"]).map(|series| series.get()).unwrap();
    assert_eq!(now.count(), u64::from(8 * EACH));
    // Ages 4 to 8, up to the values of a buffer.
    let (least, all) = (f64::from(3 * EACH), f64::from(5 * EACH));
    assert!(
        (now.sketched() as f64 - all).abs() <= 512.0,
        "{}",
        now.sketched()
    );
    for (phi, promised) in [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)] {
        let (value, certified) = now.quantile(phi).unwrap();
        let error = (value + 1.0 - least - phi * all).abs() / all;
        assert!(certified <= promised, "{phi}: {certified}");
        assert!(error <= certified + 512.0 / all, "{phi}: {error}");
    }
}

/// A new thread takes over the stream of a finished one, in a later age.
#[test]
fn what_a_thread_leaves_ages_out() {
    let registry = Registry::new();
    let s = windowed(&registry);
    observed_in_a_thread(&s, MINUTE, 0..2000);
    assert_eq!(seen(&scrape_on(&registry, 5)).2, 2000);
    observed_in_a_thread(&s, 5 * MINUTE, 0..3000);
    assert_eq!(seen(&registry.snapshot()).2, 5000);
    assert_eq!(seen(&scrape_on(&registry, 6)).2, 3000);
    let (count, _, sketched, _) = seen(&scrape_on(&registry, 4));
    assert_eq!((count, sketched), (5000, 0));
}

/// A thread whose clock is behind the others, or was set back.
#[test]
fn clocks_may_disagree() {
    let registry = Registry::new();
    let s = windowed(&registry);
    observed_in_a_thread(&s, 7 * MINUTE, 0..2000);
    assert_eq!(seen(&registry.snapshot()).2, 2000, "from the future");
    observed_in_a_thread(&s, MINUTE, 0..2000);
    crate::clock::advance(9 * MINUTE);
    assert_eq!(seen(&registry.snapshot()).2, 4000);
    crate::clock::advance(20 * MINUTE);
    assert_eq!(seen(&registry.snapshot()).2, 0);
}

#[test]
fn ended_series_age_out_of_the_overflow_series() {
    let registry = Registry::new();
    let s = windowed(&registry);
    for round in 0..30 {
        let x = format!("{round}");
        for _ in 0..100 {
            s.with([&x]).observe(1.0);
        }
        s.retire([&x]);
        let _ = registry.snapshot();
    }
    let (count, _, sketched, _) = seen(&registry.snapshot());
    assert_eq!((count, sketched), (3000, 3000));
    // The last series may wait for another test's thread before it is folded. This scrape gives
    // the values in its buffer their age.
    crate::clock::advance(3 * MINUTE);
    let _ = registry.snapshot();
    crate::clock::advance(11 * MINUTE);
    let (count, _, sketched, _) = seen(&registry.snapshot());
    assert_eq!((count, sketched), (3000, 0));
}

#[test]
fn snapshots_of_like_windows_merge() {
    let (one, two) = (Registry::new(), Registry::new());
    let (a, b) = (windowed(&one), windowed(&two));
    (0..1000).for_each(|_| a.with(["a"]).observe(1.0));
    let _ = scrape_on(&one, 11);
    (0..3000).for_each(|i| a.with(["a"]).observe(f64::from(i)));
    (3000..9000).for_each(|i| b.with(["a"]).observe(f64::from(i)));
    let mut both = one.snapshot();
    both.merge(&two.snapshot()).unwrap();
    let (count, _, sketched, median) = seen(&both);
    assert_eq!((count, sketched), (10_000, 9000));
    assert!((median - 4500.0).abs() <= 450.0, "{median}");
    let other = Registry::new();
    let _ = Summary::builder("s", "")
        .max_age(5 * MINUTE)
        .labels(["x"])
        .register(&other)
        .unwrap();
    let error = both.merge(&other.snapshot()).unwrap_err().to_string();
    assert!(
        error.contains("family `s`") && error.contains("another window"),
        "{error}"
    );
}

#[test]
fn bad_windows_are_errors() {
    let registry = Registry::new();
    for (builder, says) in [
        (
            Summary::builder("s", "").max_age(Duration::ZERO),
            "at least 0.1 seconds, got 0ns",
        ),
        (
            Summary::builder("s", "").max_age(MINUTE).ages(0),
            "2 to 60 ages, got 0 ages",
        ),
        (
            Summary::builder("s", "").ages(1).max_age(MINUTE),
            "2 to 60 ages, got 1 ages",
        ),
        (Summary::builder("s", "").ages(61).max_age(MINUTE), "got 61"),
        (
            Summary::builder("s", "").ages(5),
            "set the window with `max_age` first",
        ),
    ] {
        let error = builder.register(&registry).unwrap_err().to_string();
        assert!(
            error.contains("family `s`") && error.contains(says),
            "{error}"
        );
    }
}
