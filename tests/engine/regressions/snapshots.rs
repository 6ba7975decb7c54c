//! Snapshots that are reused, merged, or subtracted.

use tallies::{Counter, Histogram, Registry, snapshot::Snapshot};

/// A reused snapshot kept the bounds of a histogram that had been replaced.
#[test]
fn a_reused_snapshot_follows_new_bounds() {
    let registry = Registry::new();
    let mut snapshot = Snapshot::default();
    for bounds in [&[1.0, 2.0, 3.0][..], &[5.0], &[1.0, 50.0]] {
        let h = Histogram::builder("h", "")
            .buckets(bounds)
            .register(&registry)
            .unwrap();
        h.observe(25.0);
        registry.snapshot_into(&mut snapshot);
        assert_eq!(snapshot.get("h_count", &[]), Some(1.0));
        assert_eq!(snapshot.get("h_sum", &[]), Some(25.0));
        registry.remove("h").unwrap();
    }
}

/// The same labels in another order made a second series, and the page then contained one series
/// twice.
#[test]
fn labels_in_another_order_are_the_same_labels() {
    let registry = |labels: [&'static str; 2], values: [&'static str; 2]| {
        let registry = Registry::new();
        Counter::builder("c_total", "")
            .labels(labels)
            .register(&registry)
            .unwrap()
            .with(values)
            .inc();
        registry
    };
    let (one, two) = (
        registry(["b", "a"], ["1", "2"]),
        registry(["a", "b"], ["2", "1"]),
    );
    // Constant labels come before the others.
    let three = Registry::new();
    three.add_constant("b", "1").unwrap();
    Counter::builder("c_total", "")
        .labels(["a"])
        .register(&three)
        .unwrap()
        .with(["2"])
        .inc();
    let mut all = one.snapshot();
    all.merge(&two.snapshot()).unwrap();
    all.merge(&three.snapshot()).unwrap();
    assert_eq!(all.family("c_total").unwrap().len(), 1);
    assert_eq!(all.get("c_total", &[("a", "2"), ("b", "1")]), Some(3.0));
    // In a merged family, a series that is younger than a tick may have begun since.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let left = all.since(&two.snapshot());
    assert_eq!(left.get("c_total", &[("a", "2"), ("b", "1")]), Some(2.0));
}

/// After a merge, a label name outside the old character set was written in quotes to readers
/// without UTF-8 support.
#[test]
fn utf8_labels_stay_utf8_when_merged() {
    let (one, two) = (Registry::new(), Registry::new());
    one.counter("c_total", "").unwrap().inc();
    Counter::builder("c_total", "")
        .utf8()
        .labels(["host.name"])
        .register(&two)
        .unwrap()
        .with(["x"])
        .inc();
    let mut both = one.snapshot();
    both.merge(&two.snapshot()).unwrap();
    assert_eq!(
        tallies::encode::text(&both),
        "# TYPE c_total counter\nc_total 1\nc_total{host_name=\"x\"} 1\n"
    );
}

/// An interval reported earlier counts of a retired series as an increase of the overflow series.
#[test]
fn an_interval_does_not_count_folded_updates_again() {
    let registry = Registry::new();
    let c = Counter::builder("c_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    c.with(["a"]).add(5);
    let before = registry.snapshot();
    c.with(["a"]).add(2);
    c.retire(["a"]);
    let since = registry.snapshot().since(&before);
    assert_eq!(since.get("c_total", &[("x", "__overflow__")]), Some(2.0));
}

/// The same happened for merged snapshots with different constant labels, where each part has an
/// overflow series of its own.
#[test]
fn an_interval_of_merged_parts_does_not_count_folded_updates_again() {
    let parts = [None, Some("one"), Some("two")].map(|host| {
        let registry = Registry::new();
        let c = Counter::builder("c_total", "").labels(["x"]);
        let c = match host {
            Some(host) => c.constant("host", host),
            None => c,
        };
        let c = c.register(&registry).unwrap();
        c.with(["gone before"]).add(100);
        c.retire(["gone before"]);
        c.with(["a"]).add(5);
        (registry, c)
    });
    let merged = || {
        let mut all = parts[0].0.snapshot();
        for (registry, _) in &parts[1..] {
            all.merge(&registry.snapshot()).unwrap();
        }
        all
    };
    let before = merged();
    for ((_, c), more) in parts.iter().zip([1, 2, 3]) {
        c.with(["a"]).add(more);
        c.retire(["a"]);
    }
    let since = merged().since(&before);
    let x = ("x", "__overflow__");
    assert_eq!(since.get("c_total", &[x]), Some(1.0));
    for (host, more) in [("one", 2.0), ("two", 3.0)] {
        let overflow = [("host", host), x];
        assert_eq!(since.get("c_total", &overflow), Some(more), "{host}");
    }
}
