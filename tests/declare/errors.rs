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
            "family `taken_total` is already registered as a counter at tests/declare/errors.rs:",
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
            "label name `x` of family `a` is given twice",
        ),
        (
            Counter::builder("a", "")
                .labels(["x"])
                .constant("x", "1")
                .register(&registry)
                .unwrap_err(),
            "label name `x` of family `a` is given twice",
        ),
        (
            Counter::builder("a", "")
                .utf8()
                .labels([".-name__"])
                .register(&registry)
                .unwrap_err(),
            "label name `.-name__` of family `a` becomes `__name__` for a reader without UTF-8 \
             names",
        ),
        (
            Counter::builder("a", "")
                .utf8()
                .labels(["_name_"])
                .register(&registry)
                .unwrap_err(),
            "label name `_name_` of family `a` becomes `__name__`",
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
            "buckets of family `h` have to ascend, got 1.0 after 2.0",
        ),
        (
            Histogram::builder("h", "")
                .buckets(&[1.0, 1.0])
                .register(&registry)
                .unwrap_err(),
            "have to ascend, got 1.0 after 1.0",
        ),
        (
            Histogram::builder("h", "")
                .buckets(&[f64::NAN])
                .register(&registry)
                .unwrap_err(),
            "have to be finite (`+Inf` is added automatically), got NaN",
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
            "the bounds of `buckets::linear` need a `count` from 1 to 16383, got 0",
        ),
        (
            buckets::exponential(1.0, 1.0, 3).unwrap_err(),
            "the bounds of `buckets::exponential` need a `factor` above 1, got 1.0",
        ),
        (
            buckets::exponential(0.0, 2.0, 3).unwrap_err(),
            "the bounds of `buckets::exponential` need a `start` above 0, got 0.0",
        ),
        (
            registry.remove("gone").unwrap_err(),
            "no family or collector `gone` is registered",
        ),
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
    assert!(
        error.to_string().ends_with("; a gauge needs another name"),
        "{error}"
    );
    registry.remove("taken_total").unwrap();
    registry.counter("taken_total", "Again.").unwrap();
    let _ = registry.snapshot();
    assert!(
        registry
            .add_constant("host", "x")
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
            error
                .to_string()
                .contains("counter `x_total` can only grow"),
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

#[test]
fn a_conflict_says_what_differs_and_where() {
    let registry = Registry::new();
    let place = |line: u32| format!("tests/declare/errors.rs:{line}:");
    let first = line!() + 1;
    Counter::builder("jobs_total", "Jobs.")
        .labels(["kind"])
        .register(&registry)
        .unwrap();
    let function = line!() + 1;
    registry.gauge_fn("queue_length", "", || 1.0).unwrap();
    let collector = line!() + 1;
    registry.add_collector("pool", |_: &mut _| Ok(())).unwrap();
    let again = || Counter::builder("jobs_total", "Jobs.");
    let registered = |line, says: &str| {
        let at = place(line);
        [
            format!("family `jobs_total` is already registered as a counter at {at}"),
            says.to_owned(),
        ]
    };
    for (error, [begin, end]) in [
        (
            again().labels(["kind"]).register(&registry).unwrap_err(),
            registered(
                first,
                "; `get_or_register` on its builder returns the registered one",
            ),
        ),
        (
            registry.gauge("jobs_total", "").unwrap_err(),
            registered(first, "; a gauge needs another name"),
        ),
        (
            again()
                .labels(["kind", "user"])
                .get_or_register(&registry)
                .unwrap_err(),
            registered(
                first,
                ", but with other labels: `kind` there, `kind`, `user` here; make both equal, \
                 rename one, or give one a prefix (`.prefix(..)`)",
            ),
        ),
        (
            again()
                .labels(["kind"])
                .constant("host", "a")
                .get_or_register(&registry)
                .unwrap_err(),
            registered(
                first,
                ", but with other constant labels: none there, `host=\"a\"` here; make both \
                 equal, rename one, or give one a prefix (`.prefix(..)`)",
            ),
        ),
        (
            again()
                .labels(["kind"])
                .float()
                .get_or_register(&registry)
                .unwrap_err(),
            registered(
                first,
                ", but with another Rust type; make both equal, rename one, or give one a prefix \
                 (`.prefix(..)`)",
            ),
        ),
        (
            registry.counter_fn("jobs_total", "", || 1.0).unwrap_err(),
            registered(first, "; `counter_fn` needs another name"),
        ),
        (
            registry
                .add_collector("jobs_total", |_: &mut _| Ok(()))
                .unwrap_err(),
            registered(first, "; a collector needs another name"),
        ),
        (
            registry.gauge_fn("queue_length", "", || 1.0).unwrap_err(),
            [
                format!(
                    "the name `queue_length` is already registered for `gauge_fn` at \
                     {}",
                    place(function)
                ),
                "; use another name, or remove that one first".to_owned(),
            ],
        ),
        (
            registry
                .add_collector("pool", |_: &mut _| Ok(()))
                .unwrap_err(),
            [
                format!(
                    "the name `pool` is already registered for a collector at {}",
                    place(collector)
                ),
                "; use another name, or remove that one first".to_owned(),
            ],
        ),
    ] {
        let text = error.to_string();
        assert!(text.starts_with(&begin) && text.ends_with(&end), "{text}");
        assert!(error.is_already_registered() && !error.is_invalid_name());
        assert_eq!(error.io_kind(), None);
    }
}

#[test]
fn an_error_about_the_registry_itself_names_no_family() {
    let registry = Registry::new();
    registry.add_constant("host", "a").unwrap();
    for (error, says) in [
        (
            registry.add_constant("ho-st", "a").unwrap_err(),
            "constant label `ho-st` has to match [a-zA-Z_][a-zA-Z0-9_]*",
        ),
        (
            registry.add_constant("le", "a").unwrap_err(),
            "constant label `le` is reserved in histograms, for the bounds of their buckets",
        ),
        (
            registry.add_constant("host", "b").unwrap_err(),
            "constant label `host` is given twice",
        ),
        (
            registry.set_prefix("a-b").unwrap_err(),
            "prefix `a-b` has to match [a-zA-Z_:][a-zA-Z0-9_:]*",
        ),
    ] {
        assert_eq!(error.to_string(), says);
        assert!(error.is_invalid_name() && !error.is_already_registered());
    }
}
