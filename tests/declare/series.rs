//! Series: their values after updates, and how they are retired.

use std::time::Duration;

use tallies::{
    Counter, Gauge, Histogram, Info, LabelValue, Labels, Registry, Series, StateSet, Summary,
    UpDownCounter,
};

use crate::support::page;

/// Printing a bound series brought a series back that had been removed.
#[test]
fn printing_a_bound_series_does_not_make_it() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    let mail = jobs.bind(["mail"]);
    mail.inc();
    jobs.remove(["mail"]);
    assert_eq!(format!("{mail:?}"), "Bound { family: \"jobs_total\", .. }");
    assert!(registry.snapshot().family("jobs_total").unwrap().is_empty());
}

/// Regression: a bound series whose label set has a value too many was rejected when it was bound,
/// and then counted in the series without that value.
#[test]
fn a_bound_series_with_a_value_too_many_is_rejected() {
    let registry = Registry::new();
    let names = ["method", "status"].map(str::to_owned).to_vec();
    let c = Counter::builder("c_total", "Counted.")
        .labels(names)
        .register(&registry)
        .unwrap();
    let bound = c.bind(&["get", "200", "extra"][..]);
    (0..5).for_each(|_| bound.clone().inc());
    assert_eq!(c.with(&["get", "200"][..]).get(), 0);
    assert_eq!(bound.get(), 0);
    let now = registry.snapshot();
    let overflow = [("method", "__overflow__"), ("status", "__overflow__")];
    assert_eq!(now.get("c_total", &overflow), Some(5.0));
}

/// The methods that all kinds share were those of another type, so that `Counter::get` was no path.
#[test]
fn every_method_is_a_function_of_its_type() {
    let registry = Registry::new();
    let counter = |name| registry.counter(name, "").unwrap();
    let counters = ["a_total", "b_total"].map(counter);
    counters.iter().for_each(Counter::inc);
    assert_eq!(counters.iter().map(Counter::get).sum::<u64>(), 2);
    let labelled = Counter::builder("c_total", "").labels(["x"]);
    let labelled = labelled.register(&registry).unwrap();
    labelled.with(["1"]).inc();
    [&labelled].into_iter().for_each(Counter::clear);
    assert!([&labelled].into_iter().all(Counter::is_empty));
    let gauge = registry.gauge("g", "").unwrap();
    gauge.set(2);
    assert_eq!([gauge].iter().map(Gauge::get).sum::<f64>(), 2.0);
    let info = registry.info("app_info", "", &[]).unwrap();
    assert_eq!(Some(&info).and_then(Info::get), Some(Vec::new()));
    let summary = registry.summary("s", "").unwrap();
    assert_eq!([&summary].map(Summary::name), ["s"]);
}

/// A state set as a field needed a bound in each struct around it.
#[test]
fn a_state_set_needs_no_bound_until_it_is_used() {
    struct Machine<T> {
        state: StateSet<T>,
    }

    impl<T: LabelValue> Machine<T> {
        fn switch(&self, state: T) -> &'static str {
            self.state.set(state);
            self.state.get()
        }
    }

    let registry = Registry::new();
    let state = StateSet::<bool>::builder("state", "");
    let state = state.register(&registry).unwrap();
    assert_eq!(Machine { state }.switch(true), "true");
}

#[test]
fn integers_are_exact_and_wrap() {
    let registry = Registry::new();
    let n = registry.counter("n_total", "").unwrap();
    n.add((1 << 53) + 1);
    let (page, _) = page(&registry);
    assert!(page.contains("n_total 9007199254740993\n"), "{page}");
    n.add(u64::MAX - (1 << 53));
    n.inc();
    assert_eq!(n.get(), 1);
}

/// A gauge took `f64` only, so that every length of a queue needed a cast.
#[test]
fn gauges_take_integers_beside_floats() {
    let registry = Registry::new();
    let jobs = Gauge::builder("jobs", "Jobs waiting.").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    let (mail, bound) = (jobs.with(["mail"]), jobs.bind(["mail"]));
    let (length, older, earlier): (usize, u32, i64) = (7, 2, -4);
    mail.set(length);
    bound.sub(older);
    mail.add(earlier);
    assert_eq!(bound.get(), 1.0);
    mail.raise(3_u8);
    mail.lower(1.5_f32);
    bound.add(-1);
    assert_eq!(mail.get(), 0.5);
    bound.set(u64::MAX);
    assert_eq!(mail.get(), 18_446_744_073_709_551_616.0);
    bound.set(i64::MIN);
    assert_eq!(mail.get(), -9_223_372_036_854_775_808.0);
    let plain = registry.gauge("queues", "Queues.").unwrap();
    plain.set(["mail"].len());
    plain.sub(0.5);
    assert_eq!(plain.get(), 0.5);
}

#[test]
fn retired_series_count_into_the_overflow_series() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let held = c.with(["a"]);
    let bound = c.bind(["a"]);
    held.add(1);
    bound.add(2);
    assert!(c.retire(["a"]));
    assert!(!c.retire(["a"]));
    held.add(4);
    bound.add(8);
    c.with(["b"]).add(16);
    for _ in 0..10 {
        let now = registry.snapshot();
        assert_eq!(
            now.get("c_total", &[("x", "a")]),
            Some(8.0),
            "a bound series is made again"
        );
        assert_eq!(now.get("c_total", &[("x", "__overflow__")]), Some(7.0));
        assert_eq!(now.get("c_total", &[("x", "b")]), Some(16.0));
    }
    c.clear();
    for _ in 0..10 {
        assert_eq!(registry.snapshot().family("c_total").unwrap().len(), 0);
    }
    c.with(["b"]).inc();
    held.inc();
    assert_eq!(registry.snapshot().get("c_total", &[("x", "b")]), Some(1.0));
    assert_eq!(
        registry.snapshot().get("c_total", &[("x", "__overflow__")]),
        Some(1.0),
        "counts from zero after clear"
    );
}

/// A removed series stayed on the page as an overflow series, which looked like too many label
/// sets.
#[test]
fn removed_series_are_gone() {
    fn check<M>(
        kind: &str,
        family: &M,
        update: impl Fn(&M, &str),
        remove: impl Fn(&M, &str) -> bool,
        registry: &Registry,
    ) {
        update(family, "a");
        update(family, "b");
        assert!(remove(family, "a"), "{kind}");
        assert!(!remove(family, "a"), "{kind}");
        for _ in 0..20 {
            let now = registry.snapshot();
            let family = now.family("f").unwrap();
            let labels: Vec<_> = family
                .series()
                .map(|(labels, _)| labels.get("x").unwrap().into_owned())
                .collect();
            assert_eq!(labels, ["b"], "{kind}");
        }
    }
    macro_rules! kind {
        ($metric:ident, $update:expr) => {{
            let registry = Registry::new();
            let builder = $metric::builder("f", "").labels(["x"]);
            let family = builder.register(&registry).unwrap();
            let update = |family: &$metric<_>, x: &str| ($update)(family.with([x]));
            let remove = |family: &$metric<_>, x: &str| family.remove([x]);
            check(stringify!($metric), &family, update, remove, &registry);
            family.clear();
            assert_eq!(registry.snapshot().family("f").unwrap().len(), 0);
            update(&family, "c");
            assert_eq!(family.retain(|_| false), 1);
            assert_eq!(registry.snapshot().family("f").unwrap().len(), 0);
        }};
    }
    kind!(Counter, |series: Series<'_, Counter>| series.inc());
    kind!(Gauge, |series: Series<'_, Gauge>| series.set(1.0));
    kind!(UpDownCounter, |series: Series<'_, UpDownCounter>| series
        .inc());
    kind!(Histogram, |series: Series<'_, Histogram>| series
        .observe(1.0));
    kind!(Summary, |series: Series<'_, Summary>| series.observe(1.0));
}

#[test]
fn updates_through_handles_of_removed_series_make_them_again() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x", "y"])
        .register(&registry)
        .unwrap();
    let value = |x, y| registry.snapshot().get("c_total", &[("x", x), ("y", y)]);
    // Once cold and once in slots.
    for updates in [1, 5000] {
        let held = c.with(["a \"quoted\"", "b\nline"]);
        (0..updates).for_each(|_| held.inc());
        assert!(c.remove(["a \"quoted\"", "b\nline"]));
        assert_eq!(value("a \"quoted\"", "b\nline"), None);
        held.add(3);
        held.add(4);
        assert_eq!(value("a \"quoted\"", "b\nline"), Some(7.0));
        assert_eq!(held.get(), 7, "not what stands in its cells now");
        // The number and the slot of the removed series are used again, by other labels.
        for i in 0..300 {
            c.with(["other", &i.to_string()]).inc();
            drop(registry.snapshot());
        }
        held.inc();
        assert_eq!(value("a \"quoted\"", "b\nline"), Some(8.0));
        assert_eq!(value("__overflow__", "__overflow__"), None);
        c.clear();
    }
}

#[test]
fn removed_gauges_never_fold() {
    let registry = Registry::new();
    let g = Gauge::builder("g", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    g.with(["a"]).set(5.0);
    g.remove(["a"]);
    for _ in 0..5 {
        assert_eq!(registry.snapshot().family("g").unwrap().len(), 0);
    }
    g.with(["b"]).set(1.0);
    assert_eq!(
        g.find(["b"]).map(|series| series.get()),
        Some(1.0),
        "used again, and begins at its own value"
    );
    let g = g.with(["b"]);
    g.raise(3.0);
    g.raise(2.0);
    g.lower(2.5);
    g.sub(-0.5);
    g.inc();
    g.dec();
    assert_eq!(registry.snapshot().get("g", &[("x", "b")]), Some(3.0));
    g.set_to_current_time();
    assert!(registry.snapshot().get("g", &[("x", "b")]).unwrap() > 1.7e9);
}

#[test]
fn series_expire_when_nobody_updates_them() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .expire_after(Duration::ZERO)
        .register(&registry)
        .unwrap();
    let kept = c.bind(["a"]);
    let mut sum = 0.0;
    for i in 0..50 {
        kept.inc();
        c.with([&format!("{}", i % 3)]).inc();
        sum += 2.0;
        let now = registry.snapshot();
        let family = now.family("c_total").unwrap();
        let all: f64 = family
            .series()
            .map(|(_, v)| match v {
                tallies::snapshot::Value::Counter(n) => n.as_f64(),
                _ => 0.0,
            })
            .sum();
        assert_eq!(all, sum, "round {i}");
    }
    assert!(c.len() <= 4);
}

/// Too many combinations for one row of cells, so each series gets a slot of its own.
#[test]
fn closed_sets_too_large_for_a_row_count() {
    #[derive(LabelValue, Clone, Copy)]
    enum Shard {
        A,
        B,
        C,
        D,
    }
    use Shard::{A, B, C, D};
    #[derive(Labels)]
    struct Moved {
        from: Shard,
        to: Shard,
        by: Shard,
        ok: bool,
    }
    let moved = |from, to| Moved {
        from,
        to,
        by: D,
        ok: true,
    };
    let registry = Registry::new();
    let h = Histogram::builder("moved_bytes", "")
        .label_set::<Moved>()
        .register(&registry)
        .unwrap();
    let kept = h.bind(moved(A, B));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..3000 {
                    h.with(moved(A, B)).observe(1.0);
                    h.with(moved(C, A)).observe(2.0);
                    kept.observe(3.0);
                }
            });
        }
    });
    let now = registry.snapshot();
    assert_eq!(now.family("moved_bytes").unwrap().len(), 128);
    for (from, to, count, sum) in [
        ("a", "b", 12_000.0, 24_000.0),
        ("c", "a", 6000.0, 12_000.0),
        ("b", "c", 0.0, 0.0),
    ] {
        let labels = [("from", from), ("to", to), ("by", "d"), ("ok", "true")];
        assert_eq!(now.get("moved_bytes_count", &labels), Some(count));
        assert_eq!(now.get("moved_bytes_sum", &labels), Some(sum));
    }
}

#[test]
fn info_exposes_its_current_labels_only() {
    let registry = Registry::new();
    let leader = Info::builder("leader_info", "")
        .labels(["host"])
        .register(&registry)
        .unwrap();
    for host in ["a", "b", "a"] {
        leader.set([host]);
        let now = registry.snapshot();
        assert_eq!(now.family("leader_info").unwrap().len(), 1);
        assert_eq!(now.get("leader_info", &[("host", host)]), Some(1.0));
    }
}

#[test]
fn a_timer_observes_however_it_ends() {
    let registry = Registry::new();
    let h = registry.histogram("h", "").unwrap();
    let early = || {
        let _timer = h.start_timer();
        if h.get().count() == 0 {
            return 1;
        }
        2
    };
    assert_eq!(early(), 1);
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        h.time(|| panic!("as it must"))
    }));
    assert_eq!(h.get().count(), 2);
}
