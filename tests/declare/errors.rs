//! Errors of declarations and of updates. Those of the compiler are in `tests/ui`.

use tallies::{Counter, Gauge, Histogram, Registry, buckets};

use crate::support::page;

#[test]
fn errors_say_what_where_and_what_would_be_right() {
    let registry = Registry::new();
    registry.counter("taken_total", "First.").unwrap();
    for (error, says) in [
        (
            registry.counter("bad-name", "").unwrap_err(),
            "metric name `bad-name` has to match",
        ),
        (
            registry.counter("ok\n", "").unwrap_err(),
            "metric name `ok\\n` has to match",
        ),
        (registry.counter("", "").unwrap_err(), "has to match"),
        (
            registry.counter("taken_total", "").unwrap_err(),
            "already registered, at tests/declare/errors.rs:",
        ),
        (
            registry.gauge("taken", "").unwrap_err(),
            "would expose the same samples as `taken_total`",
        ),
        (
            Counter::builder("a", "")
                .labels(["bad-label"])
                .register(&registry)
                .unwrap_err(),
            "label name `bad-label` of family `a` has to match",
        ),
        (
            Counter::builder("a", "")
                .labels(["1a"])
                .register(&registry)
                .unwrap_err(),
            "has to match",
        ),
        (
            Counter::builder("a", "")
                .labels(["__x"])
                .register(&registry)
                .unwrap_err(),
            "is reserved",
        ),
        (
            Counter::builder("a", "")
                .labels(["x", "x"])
                .register(&registry)
                .unwrap_err(),
            "stands twice",
        ),
        (
            Counter::builder("a", "")
                .labels(["x"])
                .constant("x", "1")
                .register(&registry)
                .unwrap_err(),
            "stands twice",
        ),
        (
            Counter::builder("a", "")
                .utf8()
                .labels([".-name__"])
                .register(&registry)
                .unwrap_err(),
            "label name `.-name__` of family `a` is `__name__` to a reader without UTF-8 names, which is the metric's",
        ),
        (
            Counter::builder("a", "")
                .utf8()
                .labels(["_name_"])
                .register(&registry)
                .unwrap_err(),
            "label name `_name_` of family `a` is `__name__`",
        ),
        (
            Histogram::builder("h", "")
                .labels(["le"])
                .register(&registry)
                .unwrap_err(),
            "is reserved",
        ),
        (
            Histogram::builder("h", "")
                .buckets(&[2.0, 1.0])
                .register(&registry)
                .unwrap_err(),
            "buckets of family `h` have to ascend",
        ),
        (
            Histogram::builder("h", "")
                .buckets(&[1.0, 1.0])
                .register(&registry)
                .unwrap_err(),
            "have to ascend",
        ),
        (
            Histogram::builder("h", "")
                .buckets(&[f64::NAN])
                .register(&registry)
                .unwrap_err(),
            "have to be finite",
        ),
        (
            Histogram::builder("h", "")
                .buckets(&[])
                .register(&registry)
                .unwrap_err(),
            "need at least one finite bound",
        ),
        (
            buckets::linear(0.0, 1.0, 0).unwrap_err(),
            "the count has to be",
        ),
        (
            buckets::exponential(1.0, 1.0, 3).unwrap_err(),
            "the factor has to be above 1",
        ),
        (
            buckets::exponential(0.0, 2.0, 3).unwrap_err(),
            "the start has to be above 0",
        ),
        (registry.remove("gone").unwrap_err(), "no family `gone`"),
    ] {
        assert!(error.to_string().contains(says), "{error}, not {says}");
    }
    // Formats without UTF-8 expose this label name as two underscores, as they do most names in
    // this script.
    Counter::builder("b", "")
        .utf8()
        .labels(["花火"])
        .register(&registry)
        .unwrap();
    registry.histogram("h", "").unwrap();
    assert!(
        registry.counter("h_count", "").is_err(),
        "a histogram has that sample"
    );
    assert!(
        registry.counter("h_sum_total", "").is_err(),
        "OpenMetrics calls that family `h_sum`"
    );
    registry.counter("h_summary_total", "").unwrap();
    let one = Counter::builder("shared_total", "")
        .get_or_register(&registry)
        .unwrap();
    let two = Counter::builder("shared_total", "")
        .get_or_register(&registry)
        .unwrap();
    one.inc();
    two.inc();
    assert_eq!(one.get(), 2);
    let error = Gauge::builder("shared_total", "")
        .get_or_register(&registry)
        .unwrap_err();
    assert!(error.to_string().contains("with another kind"), "{error}");
    registry.remove("taken_total").unwrap();
    registry.counter("taken_total", "Again.").unwrap();
    let _ = registry.snapshot();
    assert!(
        registry
            .constant("host", "x")
            .unwrap_err()
            .to_string()
            .contains("before the first scrape")
    );
}

#[test]
fn invalid_increments_are_dropped_and_try_add_returns_an_error() {
    let registry = Registry::new();
    let x = Counter::builder("x_total", "")
        .float()
        .register(&registry)
        .unwrap();
    x.add(1.5);
    for bad in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        x.add(bad);
        let error = x.try_add(bad).unwrap_err();
        assert!(
            error.to_string().contains("family `x_total` only grows"),
            "{error}"
        );
    }
    x.add(-0.0);
    assert_eq!(x.get(), 1.5);
    let h = registry.histogram("h", "").unwrap();
    h.observe(f64::NAN);
    assert!(h.try_observe(f64::NAN).is_err());
    h.observe(f64::INFINITY);
    h.observe(f64::NEG_INFINITY);
    h.observe(f64::INFINITY);
    h.observe(-1.0);
    h.observe_many(1.0, 0);
    let (_, families) = page(&registry);
    assert_eq!(h.get().count(), 3);
    assert_eq!(h.get().sum, f64::INFINITY);
    assert_eq!(families.len(), 2);
}
