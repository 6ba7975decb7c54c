//! Sums, infinities and quantiles.

use tallies::{Counter, Histogram, Registry, Summary};

use crate::support::page;

/// The counts of buckets add up to the largest number at most, so that cumulative counts never go
/// down. An interval of such counts panicked where overflow is checked.
#[test]
fn an_interval_of_counts_that_do_not_fit() {
    let registry = Registry::new();
    let h = registry.histogram("h", "").unwrap();
    let before = registry.snapshot();
    for value in [0.001, 0.001, 0.3] {
        h.observe_many(value, u64::MAX >> 1);
    }
    let interval = registry.snapshot().since(&before);
    let count = u64::MAX as f64;
    assert_eq!(interval.get("h_count", &[]), Some(count));
}

/// A sum is never NaN, even after both infinities were added in any way.
#[test]
fn no_sum_is_ever_nan() {
    let registry = Registry::new();
    let h = registry.histogram("h", "").unwrap();
    h.observe(f64::MAX);
    h.observe(f64::MAX);
    h.observe(f64::NEG_INFINITY);
    page(&registry);
    let before = registry.snapshot();
    // The sum of no observations is zero, whatever the sum was before.
    assert_eq!(before.since(&before).get("h_sum", &[]), Some(0.0));
    h.observe(1.0);
    assert!(
        !registry
            .snapshot()
            .since(&before)
            .get("h_sum", &[])
            .unwrap()
            .is_nan()
    );
    let l = Histogram::builder("l", "")
        .labels(["x"])
        .limit(0)
        .register(&registry)
        .unwrap();
    let s = Summary::builder("s", "")
        .labels(["x"])
        .limit(0)
        .register(&registry)
        .unwrap();
    let c = Counter::builder("c_total", "")
        .float()
        .labels(["x"])
        .limit(0)
        .register(&registry)
        .unwrap();
    l.with(["a"]).observe(f64::INFINITY);
    s.with(["a"]).observe(f64::INFINITY);
    c.with(["a"]).add(f64::MAX);
    c.with(["a"]).add(f64::MAX);
    l.clear();
    s.clear();
    c.clear();
    let sums = || {
        let now = registry.snapshot();
        let get = |name| now.get(name, &[("x", "__overflow__")]);
        (get("l_sum"), get("s_sum"), get("c_total"))
    };
    assert_eq!(sums(), (None, None, None));
    l.with(["a"]).observe(1.0);
    s.with(["a"]).observe(1.0);
    c.with(["a"]).add(1.0);
    // An infinite sum stays infinite.
    let infinite = Some(f64::INFINITY);
    assert_eq!(sums(), (infinite, infinite, infinite));
    page(&registry);
}

/// `try_observe` returned no error for an infinity that `observe` drops, and summaries returned
/// none at all.
#[test]
fn an_infinity_of_the_other_sign_is_an_error() {
    let registry = Registry::new();
    let h = registry.histogram("h", "").unwrap();
    let s = Summary::builder("s", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    h.try_observe(f64::INFINITY).unwrap();
    h.try_observe(f64::INFINITY).unwrap();
    s.with(["a"]).try_observe(f64::NEG_INFINITY).unwrap();
    s.with(["b"]).try_observe(-1.0).unwrap();
    for error in [
        h.try_observe(f64::NEG_INFINITY),
        h.try_observe_exemplar(f64::NEG_INFINITY, &[("id", "x")]),
        s.with(["b"]).try_observe(f64::INFINITY),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("infinity of the other sign"), "{error}");
    }
    let error = s.with(["a"]).try_observe(f64::NAN).unwrap_err().to_string();
    assert!(error.contains("`s` cannot observe NaN"), "{error}");
    assert_eq!(h.get().count(), 2);
    assert_eq!(
        s.find(["a"]).map(|series| series.get()).unwrap().count()
            + s.find(["b"]).map(|series| series.get()).unwrap().count(),
        2
    );
}

/// `observe_many` with an invalid value counted as one rejected update here, and as many as its
/// weight elsewhere. All families of the process shared one count, in the default registry.
#[test]
fn a_rejected_update_counts_with_its_weight_for_its_family() {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    registry.set_prefix("app").unwrap();
    let h = registry.histogram("h", "").unwrap();
    registry.histogram("other", "").unwrap();
    h.observe_many(f64::NAN, 1_000_000);
    assert!(h.try_observe(f64::NAN).is_err());
    let now = registry.snapshot();
    let rejected = now.family("tallies_rejected_updates_total").unwrap();
    assert_eq!(rejected.len(), 1);
    assert_eq!(
        now.get("tallies_rejected_updates_total", &[("family", "app_h")]),
        Some(1_000_001.0)
    );
}

/// A summary without objectives received the sketch that its thread had flushed last, which
/// belonged to another summary. It then panicked where its pages were too small for that sketch,
/// and reported quantiles of values that it never observed.
#[test]
fn a_summary_without_objectives_has_no_quantiles() {
    let registry = Registry::new();
    let other = Summary::builder("other", "").register(&registry).unwrap();
    let none = Summary::builder("none", "")
        .objectives(&[])
        .unwrap()
        .register(&registry)
        .unwrap();
    for i in 1..=3000 {
        other.observe(f64::from(i));
        none.observe(0.5);
        if i % 100 == 1 {
            let seen = none.get();
            assert_eq!((seen.count(), seen.sum()), (i as u64, f64::from(i) / 2.0));
            assert_eq!((seen.quantile(0.5), seen.sketched()), (None, 0));
        }
    }
}

/// Folding adds floats in another order, so the overflow series decreased by an ulp. A scraper
/// takes that for a restart.
#[test]
fn sums_of_folded_series_never_decrease() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .float()
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    let h = Histogram::builder("h", "")
        .labels(["x"])
        .hot()
        .register(&registry)
        .unwrap();
    let s = Summary::builder("s", "")
        .labels(["x"])
        .objectives(&[])
        .unwrap()
        .register(&registry)
        .unwrap();
    let other = Registry::new().counter("other_total", "").unwrap();
    let mut state = 1_u64;
    let mut random = || {
        // Source: Knuth's MMIX generator.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let overflow = |name| {
        let now = registry.snapshot();
        now.get(name, &[("x", "__overflow__")]).unwrap_or(0.0)
    };
    let mut last = [0.0; 3];
    let mut all = 0.0;
    for round in 0..1000 {
        for x in ["a", "b", "c"] {
            let value = random();
            c.with([x]).add(value);
            h.with([x]).observe(value);
            s.with([x]).observe(value);
            all += value;
        }
        for x in ["a", "b", "c"] {
            c.retire([x]);
            h.retire([x]);
            s.retire([x]);
        }
        // Repeats until the series are folded: any update acknowledges that this thread no longer
        // writes to them.
        for _ in 0..4 {
            other.inc();
            let now = ["c_total", "h_sum", "s_sum"].map(overflow);
            for (now, last) in now.iter().zip(last) {
                assert!(*now >= last, "round {round}: {now} after {last}");
                assert!((now - all).abs() < 1e-9 * all, "round {round}");
            }
            last = now;
        }
    }
    // A sum still decreases where it should.
    h.with(["a"]).observe(-100.0);
    h.retire(["a"]);
    assert!((overflow("h_sum") - (all - 100.0)).abs() < 1e-9 * all);
    c.clear();
    assert_eq!(overflow("c_total"), 0.0);
}
