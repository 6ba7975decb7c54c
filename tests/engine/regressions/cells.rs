//! Cells and slots: their owners, their shapes, and their reuse.

use std::time::Duration;

use tallies::{Counter, Gauge, Histogram, LabelValue, Labels, Registry, snapshot::Snapshot};

/// Removing a gauge series freed slot 0, which it never owned. Counters then shared that slot.
#[test]
fn a_removed_gauge_gives_no_slot_back() {
    let registry = Registry::new();
    let g = Gauge::builder("g", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    for x in ["a", "b", "c", "d"] {
        g.with([x]).set(1.0);
    }
    g.clear();
    (0..5).for_each(|_| _ = registry.snapshot());
    let a = Counter::builder("a_total", "")
        .hot()
        .register(&registry)
        .unwrap();
    let b = Counter::builder("b_total", "")
        .hot()
        .register(&registry)
        .unwrap();
    a.add(5);
    b.add(7);
    assert_eq!((a.get(), b.get()), (5, 7));
}

/// Bounds set on a histogram that was already registered were used with cells of another shape.
#[test]
fn bounds_given_too_late_change_nothing() {
    static MANY: [f64; 40] = {
        let mut bounds = [0.0; 40];
        let mut i = 0;
        while i < 40 {
            bounds[i] = i as f64;
            i += 1;
        }
        bounds
    };
    let registry = Registry::new();
    let neighbours: Vec<_> = (0..30)
        .map(|i| {
            Counter::builder(&format!("n{i}_total"), "")
                .hot()
                .register(&registry)
                .unwrap()
        })
        .collect();
    let h = Histogram::builder("h", "")
        .buckets(&[1.0])
        .hot()
        .register(&registry)
        .unwrap();
    h.observe(0.5);
    let h = h.buckets(&MANY);
    for i in 0..3000 {
        h.observe(f64::from(i));
    }
    assert_eq!(h.get().counts.len(), 2);
    assert_eq!(h.get().count(), 3001);
    assert!(neighbours.iter().all(|n| n.get() == 0));
}

/// With more bounds than the registered family, the histogram took the label set for too large for
/// a row. Its series were then updated before their row existed.
#[test]
fn bounds_given_too_late_break_no_row() {
    #[derive(Labels)]
    struct Outcome {
        outcome: bool,
    }
    static MANY: [f64; 2000] = {
        let mut bounds = [0.0; 2000];
        let mut i = 0;
        while i < 2000 {
            bounds[i] = i as f64;
            i += 1;
        }
        bounds
    };
    let registry = Registry::new();
    let h = Histogram::builder("h", "")
        .label_set::<Outcome>()
        .buckets(&[1.0])
        .hot()
        .register(&registry)
        .unwrap();
    let h = h.buckets(&MANY);
    let no = Outcome { outcome: false };
    h.with(no).observe(0.5);
    for outcome in [false, true] {
        h.bind(Outcome { outcome }).observe(0.5);
    }
    let seen = [false, true].map(|outcome| {
        h.find(Outcome { outcome })
            .map(|series| series.get())
            .unwrap()
            .counts
    });
    assert_eq!(seen, [[2, 0], [1, 0]]);
}

/// Updates of an unlabelled family through `with` or `bind` were not exported.
#[test]
fn the_empty_label_set_is_a_label_set() {
    let registry = Registry::new();
    let c = registry.counter("c_total", "").unwrap();
    c.with(()).inc();
    c.bind(()).inc();
    c.inc();
    assert_eq!(
        (c.get(), c.find(()).map(|series| series.get())),
        (3, Some(3))
    );
    assert_eq!(c.get_all(), [(vec![], 3)]);
    assert_eq!(registry.snapshot().get("c_total", &[]), Some(3.0));
    let empty = Counter::builder("e_total", "")
        .labels([])
        .register(&registry)
        .unwrap();
    empty.with([]).add(3);
    assert_eq!(registry.snapshot().get("e_total", &[]), Some(3.0));
    assert!(!empty.remove([]));
}

/// Memory of expired series is reused even though series expire in every scrape and one thread
/// sleeps.
#[test]
fn memory_of_expired_series_is_reused() {
    let registry = Registry::new();
    let (wake, asleep) = std::sync::mpsc::channel::<()>();
    let sleeper = {
        let c = registry.counter("slept_total", "").unwrap();
        std::thread::spawn(move || {
            (0..2000).for_each(|_| c.inc());
            let _ = asleep.recv();
        })
    };
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .expire_after(Duration::ZERO)
        .limit(50)
        .register(&registry)
        .unwrap();
    let mut snapshot = Snapshot::default();
    for i in 0..2000 {
        c.with([&i.to_string()]).inc();
        registry.snapshot_into(&mut snapshot);
        assert!(c.len() <= 3, "{} of them in round {i}", c.len());
    }
    assert_eq!(
        registry.snapshot().get("c_total", &[("x", "__overflow__")]),
        Some(2000.0)
    );
    drop(wake);
    sleeper.join().unwrap();
}

#[derive(Labels)]
struct Outcome {
    outcome: bool,
}

/// Two different closed label sets with equally many combinations shared their series by index, so
/// one counted updates of the other.
#[test]
fn closed_sets_that_differ_share_nothing() {
    #[derive(Labels)]
    struct Other {
        outcome: Said,
    }
    #[derive(LabelValue, Clone, Copy)]
    enum Said {
        Yes,
        No,
    }
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .label_set::<Outcome>()
        .get_or_register(&registry)
        .unwrap();
    let again = Counter::builder("c_total", "")
        .label_set::<Outcome>()
        .get_or_register(&registry)
        .unwrap();
    c.with(Outcome { outcome: false }).inc();
    again.with(Outcome { outcome: true }).add(2);
    assert_eq!(
        c.find(Outcome { outcome: true }).map(|series| series.get()),
        Some(2)
    );
    let other = Counter::builder("c_total", "")
        .label_set::<Other>()
        .get_or_register(&registry);
    if let Ok(other) = &other {
        other.with(Other { outcome: Said::Yes }).add(10);
        other.with(Other { outcome: Said::No }).add(10);
    }
    assert_eq!(
        c.find(Outcome { outcome: false })
            .map(|series| series.get()),
        Some(1)
    );
    assert!(other.unwrap_err().to_string().contains("c_total"));
    // A static's name may contain any characters; such a static lost its closed label set.
    static DOTTED: Counter<Outcome> = Counter::new_utf8("regression.closed");
    DOTTED.with(Outcome { outcome: true }).inc();
    let builder = Counter::builder("regression.closed", "")
        .label_set::<Outcome>()
        .utf8();
    let again = builder.get_or_register(tallies::registry()).unwrap();
    assert_eq!(
        again
            .find(Outcome { outcome: true })
            .map(|series| series.get()),
        Some(1)
    );
    let open = Counter::builder("regression.closed", "")
        .utf8()
        .labels(["outcome"])
        .get_or_register(tallies::registry());
    assert!(open.is_err());
    // Nor may the name be shared with a family of arbitrary label values: it would expose further
    // series with the same labels as the closed ones.
    let derived = Registry::new();
    let _c = <Counter<Outcome> as tallies::__private::Declare>::declare(
        "c_total",
        "",
        tallies::__private::FieldOptions::default(),
        &derived,
    )
    .unwrap();
    let open = Counter::builder("c_total", "")
        .labels(["outcome"])
        .get_or_register(&derived);
    assert!(open.is_err());
}

/// Rows of closed label sets were not reused, so slabs grew with every registry that was created
/// and dropped.
#[test]
fn rows_are_reused() {
    let of_all = Registry::new();
    of_all.set_self_metrics(true);
    for _ in 0..3000 {
        let registry = Registry::new();
        let c = Counter::builder("c_total", "")
            .label_set::<Outcome>()
            .register(&registry)
            .unwrap();
        let h = Histogram::builder("h", "")
            .label_set::<Outcome>()
            .register(&registry)
            .unwrap();
        for outcome in [false, true] {
            c.with(Outcome { outcome }).inc();
            h.with(Outcome { outcome }).observe(1.0);
            assert_eq!(
                c.find(Outcome { outcome }).map(|series| series.get()),
                Some(1)
            );
            assert_eq!(
                h.find(Outcome { outcome })
                    .map(|series| series.get())
                    .unwrap()
                    .count(),
                1
            );
        }
    }
    let bytes = of_all.snapshot().get("tallies_shard_bytes", &[]).unwrap();
    // 34 cells a round would take 816 kB.
    assert!(bytes < 500_000.0, "{bytes}");
}
