//! Summaries: objectives over real threads, what a scrape sees, and retired series.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::support::page;
use tallies::snapshot::Value;
use tallies::{Registry, Summary};

const DEFAULTS: [(f64, f64); 3] = [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)];

#[test]
fn text_is_ascending_quantiles_then_sum_and_count() {
    let registry = Registry::new();
    let s = Summary::builder("s_seconds", "A summary.")
        .objectives(&[(0.99, 0.001), (0.5, 0.05), (1.0, 0.0), (0.0, 0.0)])
        .unwrap()
        .labels(["x"])
        .register(&registry)
        .unwrap();
    for value in [3.0, 5.2, 13.0, 4.0] {
        s.with(["a"]).observe(value);
    }
    let none = Summary::builder("none", "")
        .objectives(&[])
        .unwrap()
        .register(&registry)
        .unwrap();
    (0..1000).for_each(|_| none.observe(0.5));
    Summary::builder("empty", "").register(&registry).unwrap();
    let (page, _) = page(&registry);
    assert_eq!(
        page,
        "# TYPE empty summary\n\
         empty{quantile=\"0.5\"} NaN\nempty{quantile=\"0.9\"} NaN\nempty{quantile=\"0.99\"} NaN\n\
         empty_sum 0\nempty_count 0\n\
         # TYPE none summary\nnone_sum 500\nnone_count 1000\n\
         # HELP s_seconds A summary.\n# TYPE s_seconds summary\n\
         s_seconds{x=\"a\",quantile=\"0.0\"} 3\ns_seconds{x=\"a\",quantile=\"0.5\"} 4\n\
         s_seconds{x=\"a\",quantile=\"0.99\"} 13\ns_seconds{x=\"a\",quantile=\"1.0\"} 13\n\
         s_seconds_sum{x=\"a\"} 25.2\ns_seconds_count{x=\"a\"} 4\n"
    );
    let now = registry.snapshot();
    assert_eq!(now.get("s_seconds_count", &[("x", "a")]), Some(4.0));
    assert_eq!(now.get("s_seconds_sum", &[("x", "a")]), Some(25.2));
}

#[test]
fn bad_objectives_are_errors() {
    for (bad, says) in [
        (&[(1.5, 0.1)][..], "has to be from 0 to 1, got"),
        (&[(0.5, 0.0)], "above 0 and below 1"),
        (&[(0.5, 0.1), (0.5, 0.2)], "two objectives: 0.5"),
        (&[(0.5, 1e-9)], "too small"),
        (&[(f64::NAN, 0.1)], "has to be from 0 to 1, got"),
    ] {
        let error = Summary::builder("s", "")
            .objectives(bad)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("family `s`") && error.contains(says),
            "{error}"
        );
    }
    let registry = Registry::new();
    let error = Summary::builder("s", "")
        .labels(["quantile"])
        .register(&registry)
        .unwrap_err();
    assert!(error.to_string().contains("is reserved"), "{error}");
}

#[test]
fn nan_and_the_opposite_infinity_are_dropped() {
    let registry = Registry::new();
    let s = Summary::builder("s", "").register(&registry).unwrap();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, -1.0] {
        s.observe(value);
    }
    let seen = s.get();
    assert_eq!((seen.count(), seen.sum()), (3, f64::INFINITY));
    assert_eq!(seen.quantile(0.0), Some((-1.0, 0.0)));
    assert_eq!(
        seen.quantile(0.5).map(|(value, _)| value.to_bits()),
        Some(0.0_f64.to_bits())
    );
    assert_eq!(seen.quantile(1.0), Some((f64::INFINITY, 0.0)));
}

/// Each thread observes a part of the values whose distribution is unlike the whole; threads start
/// and end; scrapes run all the time. Count, sum and quantiles of one scrape belong to the same
/// observations.
#[test]
fn objectives_hold_over_threads() {
    const THREADS: u64 = 4;
    const EACH: u64 = if cfg!(debug_assertions) {
        40_000
    } else {
        400_000
    };
    let registry = Registry::new();
    let s = Summary::builder("s", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|t| {
                let s = &s;
                scope.spawn(move || {
                    for part in 0..4 {
                        // The ranges are disjoint: each of the four threads observes a quarter of
                        // the ranks, in four consecutive lives.
                        std::thread::scope(|life| {
                            life.spawn(|| {
                                for i in part * EACH / 4..(part + 1) * EACH / 4 {
                                    s.with(["a"]).observe((t * EACH + i) as f64);
                                }
                            });
                        });
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Relaxed) {
                let now = registry.snapshot();
                let Some((_, Value::Summary(seen))) = now.family("s").unwrap().series().next()
                else {
                    continue;
                };
                assert!(seen.count() >= last, "went back");
                last = seen.count();
                let Some((least, _)) = seen.quantile(0.0).unwrap() else {
                    continue;
                };
                let (greatest, _) = seen.quantile(1.0).unwrap().unwrap();
                let mean = seen.sum() / last as f64;
                assert!(
                    least <= mean && mean <= greatest,
                    "{least} {mean} {greatest}"
                );
            }
        });
        workers.into_iter().for_each(|w| w.join().unwrap());
        done.store(true, Relaxed);
    });
    let n = THREADS * EACH;
    let seen = s.find(["a"]).map(|series| series.get()).unwrap();
    assert_eq!(seen.count(), n);
    assert_eq!(seen.sum(), (n * (n - 1) / 2) as f64);
    for (phi, promised) in DEFAULTS {
        let (value, certified) = seen.quantile(phi).unwrap();
        let error = ((value + 1.0) - (phi * n as f64).ceil()).abs() / n as f64;
        assert!(
            error <= certified && certified <= promised,
            "{phi}: {error} {certified}"
        );
    }
    assert_eq!(seen.quantile(0.0), Some((0.0, 0.0)));
    assert_eq!(seen.quantile(1.0), Some(((n - 1) as f64, 0.0)));
}

#[test]
fn snapshots_merge_and_intervals_have_no_quantiles() {
    let (one, two) = (Registry::new(), Registry::new());
    for (registry, from) in [(&one, 0), (&two, 5000)] {
        let s = Summary::builder("s", "").register(registry).unwrap();
        (from..from + 5000).for_each(|i| s.observe(f64::from(i)));
    }
    let mut both = one.snapshot();
    both.merge(&two.snapshot()).unwrap();
    let Some((_, Value::Summary(seen))) = both.family("s").unwrap().series().next() else {
        unreachable!("it was observed")
    };
    assert_eq!(seen.count(), 10_000);
    for (phi, promised) in DEFAULTS {
        let (value, certified) = seen.quantile(phi).unwrap().unwrap();
        let error = (value + 1.0 - phi * 10_000.0).abs() / 10_000.0;
        assert!(
            error <= certified + 1e-9 && certified <= promised,
            "{phi}: {error} {certified}"
        );
    }
    let since = one.snapshot().since(&one.snapshot());
    let Some((_, Value::Summary(seen))) = since.family("s").unwrap().series().next() else {
        unreachable!("it was observed")
    };
    assert_eq!(seen.count(), 0);
    assert!(
        seen.quantile(0.5)
            .unwrap_err()
            .to_string()
            .contains("window")
    );
}

/// Retired series merge their sketches into the overflow series, and their streams are freed.
#[test]
fn retired_series_keep_their_ranks() {
    let registry = Registry::new();
    let s = Summary::builder("s", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    let mut n = 0.0;
    for round in 0..20 {
        let x = format!("{round}");
        for _ in 0..500 {
            s.with([&x]).observe(n);
            n += 1.0;
        }
        s.retire([&x]);
        let _ = registry.snapshot();
    }
    for _ in 0..5 {
        let now = registry.snapshot();
        let (_, value) = now.family("s").unwrap().series().next().unwrap();
        let Value::Summary(seen) = value else {
            unreachable!()
        };
        assert_eq!(seen.count() as f64, n);
        let (median, certified) = seen.quantile(0.5).unwrap().unwrap();
        assert!(
            (median + 1.0 - n / 2.0).abs() / n <= certified && certified <= 0.05,
            "{median} {certified}"
        );
    }
}

/// Updates five hundred series from sixty-four threads at once, in each mode of the memory limit.
/// Memory stays within what the mode allows, the metric reports the mode, and counts and objectives
/// hold in all of them.
#[test]
fn all_streams_together_keep_to_their_limit() {
    for (mode, bytes_per_stream) in [(0.0, 16 << 10), (1.0, 4800), (2.0, 130)] {
        keep_to_a_limit(mode, bytes_per_stream);
    }
    tallies::instrument::limit_summaries(64 << 20);
}

fn keep_to_a_limit(mode: f64, bytes_per_stream: usize) {
    const SERIES: usize = if cfg!(debug_assertions) { 50 } else { 500 };
    const THREADS: usize = 64;
    const EACH: usize = 300;
    let registry = Registry::new();
    let s = Summary::builder("s", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    let names: Vec<String> = (0..SERIES).map(|i| i.to_string()).collect();
    // Frees the streams of retired series.
    (0..300).for_each(|_| _ = tallies::snapshot());
    let limit = (SERIES * THREADS * bytes_per_stream) as u64;
    tallies::instrument::limit_summaries(limit);
    // Every series has one stream in any mode, and every thread may be allocating another when the
    // limit is reached.
    let most = (limit as usize + (SERIES + THREADS) * 4480) as f64;
    let ready = std::sync::Barrier::new(THREADS);
    let metrics = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|t| {
                let (s, names, ready) = (&s, &names, &ready);
                scope.spawn(move || {
                    for i in 0..EACH {
                        for name in names {
                            s.with([name]).observe((t * EACH + i) as f64);
                        }
                    }
                    // All threads are alive with all of their streams.
                    let leader = ready.wait().is_leader();
                    let metrics = leader.then(|| {
                        let metrics = || {
                            let now = tallies::snapshot();
                            ["tallies_stream_bytes", "tallies_stream_mode"]
                                .map(|name| now.get(name, &[]).unwrap())
                        };
                        // Replaced pages are freed an epoch later, and scrapes advance the epoch.
                        (0..300)
                            .find_map(|_| Some(metrics()).filter(|m| m[0] <= most))
                            .unwrap_or_else(metrics)
                    });
                    ready.wait();
                    metrics
                })
            })
            .collect();
        let mut metrics = threads.into_iter().map(|t| t.join().unwrap());
        metrics.by_ref().flatten().next().unwrap()
    });
    assert!(metrics[0] <= most, "{} bytes of {limit}", metrics[0]);
    assert_eq!(metrics[1], mode);
    let n = (THREADS * EACH) as f64;
    for name in &names {
        let seen = s.find([name]).map(|series| series.get()).unwrap();
        assert_eq!(seen.count() as f64, n);
        assert!(!seen.is_degraded());
        for (phi, promised) in DEFAULTS {
            let (value, certified) = seen.quantile(phi).unwrap();
            let error = (value + 1.0 - (phi * n).ceil()).abs() / n;
            assert!(
                error <= certified && certified <= promised,
                "mode {mode}, {phi}: {error} {certified}"
            );
        }
    }
}

/// Uses the finest objective allowed, and values that close in on the median from both sides: a
/// sketch would need more than 2048 tuples. The certified error then exceeds the objective, but it
/// is true, and a metric reports the series.
#[test]
fn a_sketch_that_exceeds_its_objective_is_reported() {
    const PAIRS: u32 = 300_000;
    let registry = Registry::new();
    registry.set_self_metrics(true);
    let s = Summary::builder("s", "")
        .objectives(&[(0.5, 0.0006)])
        .unwrap()
        .labels(["order"])
        .hot()
        .register(&registry)
        .unwrap();
    (0..1000).for_each(|i| s.with(["kind"]).observe(f64::from(i)));
    let shown = || {
        registry
            .snapshot()
            .get("tallies_degraded_series", &[])
            .unwrap()
    };
    assert_eq!(shown(), 0.0);
    for i in 0..PAIRS {
        s.with(["unkind"]).observe(f64::from(i));
        s.with(["unkind"]).observe(f64::from(2 * PAIRS - 1 - i));
    }
    assert_eq!(shown(), 1.0);
    assert!(
        !s.find(["kind"])
            .map(|series| series.get())
            .unwrap()
            .is_degraded()
    );
    let seen = s.find(["unkind"]).map(|series| series.get()).unwrap();
    assert!(seen.is_degraded());
    let (median, certified) = seen.quantile(0.5).unwrap();
    let n = f64::from(2 * PAIRS);
    let error = (median + 1.0 - n / 2.0).abs() / n;
    assert!(
        error <= certified && certified < 0.006,
        "{error} {certified}"
    );
}
