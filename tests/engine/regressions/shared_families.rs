//! Collectors and metrics that write series of the same family.

use tallies::snapshot::Snapshot;
use tallies::{Counter, Gauge, Histogram, Registry, collect::Collected};

use crate::support::page;

type Written = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Registers a collector that writes `pool_idle` for one pool.
fn add_pool(registry: &Registry, pool: &'static str, help: &'static str) {
    registry
        .add_collector(&format!("pool {pool}"), move |out: &mut Collected| {
            Ok(out.gauge("pool_idle", help, &[("pool", pool)], 2.0)?)
        })
        .unwrap();
}

fn errors(now: &Snapshot, collector: &str) -> Option<f64> {
    now.get("tallies_collect_errors_total", &[("collector", collector)])
}

/// The families of the second collector were lost, for a reason that was not true, and also if only
/// their help texts differed.
#[test]
fn two_collectors_write_series_of_one_family() {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    add_pool(&registry, "main", "Idle connections.");
    add_pool(&registry, "replica", "Connections that are idle.");
    add_pool(&registry, "third", "");
    for _ in 0..2 {
        let now = registry.snapshot();
        let pools = now.family("pool_idle").unwrap();
        assert_eq!((pools.len(), pools.help()), (3, "Idle connections."));
        for pool in ["main", "replica", "third"] {
            assert_eq!(now.get("pool_idle", &[("pool", pool)]), Some(2.0));
            assert_eq!(errors(&now, &format!("pool {pool}")), None);
        }
        assert_eq!(now.get("tallies_families", &[]), Some(1.0));
        assert_eq!(now.get("tallies_series", &[]), Some(3.0));
    }
    page(&registry);
    registry.remove("pool main").unwrap();
    let now = registry.snapshot();
    let pools = now.family("pool_idle").unwrap();
    assert_eq!(
        (pools.len(), pools.help()),
        (2, "Connections that are idle.")
    );
}

/// All families of a collector were lost if another one had a series of one of them.
#[test]
fn of_equal_label_sets_the_first_stays() {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    add_pool(&registry, "main", "");
    let write = |out: &mut Collected| -> Written {
        out.gauge("pool_idle", "", &[("pool", "main")], 7.0)?;
        out.gauge("pool_idle", "", &[("pool", "main"), ("zone", "b")], 8.0)?;
        out.gauge("pool_idle", "", &[("pool", "spare"), ("zone", "")], 9.0)?;
        Ok(out.counter("pool_waits_total", "", &[], 3.0)?)
    };
    registry.add_collector("later", write).unwrap();
    let now = registry.snapshot();
    assert_eq!(now.family("pool_idle").unwrap().len(), 3);
    for (labels, value) in [
        (&[("pool", "main")][..], 2.0),
        (&[("zone", "b"), ("pool", "main")], 8.0),
        (&[("pool", "spare")], 9.0),
    ] {
        assert_eq!(now.get("pool_idle", labels), Some(value));
    }
    assert_eq!(now.get("pool_waits_total", &[]), Some(3.0));
    let now = registry.snapshot();
    assert_eq!(errors(&now, "later"), Some(1.0));
    assert_eq!(errors(&now, "pool main"), None);
    page(&registry);
}

#[test]
fn a_family_of_another_kind_or_other_buckets_is_left_out_alone() {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    let first = |out: &mut Collected| -> Written {
        out.gauge("a", "", &[("x", "1")], 1.0)?;
        Ok(out.gauge_histogram("h", "", &[("x", "1")], &[1.0], &[1, 0], 1.0)?)
    };
    let second = |out: &mut Collected| -> Written {
        out.counter("a", "", &[("x", "2")], 2.0)?;
        out.gauge_histogram("h", "", &[("x", "2")], &[2.0], &[1, 0], 1.0)?;
        Ok(out.gauge("b", "", &[], 3.0)?)
    };
    let third = |out: &mut Collected| -> Written {
        Ok(out.gauge_histogram("h", "", &[("x", "3")], &[1.0], &[1, 0], 1.0)?)
    };
    registry.add_collector("first", first).unwrap();
    registry.add_collector("second", second).unwrap();
    registry.add_collector("third", third).unwrap();
    let _ = registry.snapshot();
    let now = registry.snapshot();
    let series = |name| now.family(name).map_or(0, |family| family.len());
    assert_eq!((series("a"), series("h"), series("b")), (1, 2, 1));
    assert_eq!(errors(&now, "second"), Some(1.0));
    assert_eq!((errors(&now, "first"), errors(&now, "third")), (None, None));
    page(&registry);
}

/// A collector could not add a series to a family of the registry.
#[test]
fn a_collector_adds_series_to_a_registered_family() {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    registry.add_constant("host", "a").unwrap();
    let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    let depth = Gauge::builder("depth_meters", "Depth.").unit("meters");
    let depth = depth.constant("sensor", "own").register(&registry).unwrap();
    Histogram::builder("wait_seconds", "")
        .register(&registry)
        .unwrap();
    let write = |out: &mut Collected| -> Written {
        out.counter("jobs_total", "", &[("queue", "mail")], 100.0)?;
        out.counter("jobs_total", "", &[("kind", "old"), ("queue", "fax")], 0.5)?;
        out.gauge("depth_meters", "", &[("sensor", "own")], 3.0)?;
        out.gauge("depth_meters", "", &[("sensor", "other")], 4.0)?;
        out.gauge_histogram("wait_seconds", "", &[("x", "y")], &[1.0], &[1, 0], 1.0)?;
        Ok(out.gauge("rest", "", &[], 5.0)?)
    };
    registry.add_collector("legacy", write).unwrap();
    depth.set(2.0);
    let mut now = Snapshot::default();
    for scrape in 1..4 {
        jobs.with(["mail"]).inc();
        jobs.with([&format!("queue {scrape}")]).inc();
        registry.snapshot_into(&mut now);
        assert_eq!(now.family("jobs_total").unwrap().len(), scrape + 2);
        for (name, labels, value) in [
            ("jobs_total", &[("queue", "mail")][..], scrape as f64),
            ("jobs_total", &[("queue", "fax"), ("kind", "old")], 0.5),
            ("depth_meters", &[("sensor", "own"), ("host", "a")], 2.0),
            ("depth_meters", &[("sensor", "other"), ("host", "a")], 4.0),
            ("rest", &[("host", "a")], 5.0),
        ] {
            assert_eq!(now.get(name, labels), Some(value), "{name} {labels:?}");
        }
        assert_eq!(now.family("depth_meters").unwrap().len(), 2);
        assert_eq!(now.family("depth_meters").unwrap().unit(), "meters");
        assert_eq!(now.family("wait_seconds").unwrap().len(), 1);
    }
    assert_eq!(errors(&now, "legacy"), Some(2.0));
    page(&registry);
    // The numbers of the metric are integers again.
    registry.remove("legacy").unwrap();
    jobs.with(["mail"]).add(1 << 53);
    registry.snapshot_into(&mut now);
    let text = tallies::encode::text(&now);
    let mail = format!(
        "jobs_total{{host=\"a\",queue=\"mail\"}} {}\n",
        (1_u64 << 53) + 3
    );
    assert!(text.contains(&mail), "{text}");
}

#[test]
fn reports_have_a_shared_family_once() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    jobs.with(["mail"]).inc();
    add_pool(&registry, "main", "");
    let write = |out: &mut Collected| -> Written {
        out.counter("jobs_total", "", &[("queue", "fax")], 1.0)?;
        Ok(out.gauge("pool_idle", "", &[("zone", "b")], 1.0)?)
    };
    registry.add_collector("second", write).unwrap();
    let report = registry.cardinality();
    let families = report.families().iter();
    let mut names: Vec<_> = families
        .map(|family| (&*family.name, family.series))
        .collect();
    names.sort_unstable();
    assert_eq!(names, [("jobs_total", 2), ("pool_idle", 2)]);
    let catalogue = registry.catalogue();
    let labels = |name| {
        let labels = catalogue.get(name).unwrap().labels.iter();
        labels.map(|label| label.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(labels("pool_idle"), ["pool", "zone"]);
    assert_eq!(labels("jobs_total"), ["queue"]);
    assert_eq!(catalogue.get("jobs_total").unwrap().collector, None);
}
