//! Views that rename, reshape, limit and switch off.

use std::thread;
use std::time::Duration;

use tallies::snapshot::GaugeMode;
use tallies::{
    Counter, Gauge, Histogram, LabelValue, Labels, Registry, StateSet, Summary, UpDownCounter, View,
};

use crate::{counter, lines};

#[test]
fn a_renamed_family_has_its_new_name_everywhere_but_in_the_declaration() {
    let registry = Registry::new();
    registry.set_prefix("app").unwrap();
    registry
        .add_view(View::new("old_*").rename("new_*_v2_total"))
        .unwrap();
    let jobs = registry.counter("old_jobs", "Jobs.").unwrap();
    jobs.inc();
    assert_eq!(lines(&registry), ["app_new_jobs_v2_total 1"]);
    assert_eq!(jobs.name(), "old_jobs");
    assert_eq!(registry.names(), ["app_new_jobs_v2_total"]);
    assert!(registry.contains("new_jobs_v2_total") && !registry.contains("old_jobs"));
    let again = Counter::builder("old_jobs", "Jobs.")
        .get_or_register(&registry)
        .unwrap();
    again.inc();
    assert_eq!(jobs.get(), 2);
    registry.remove("new_jobs_v2_total").unwrap();
}

#[test]
fn names_that_clash_after_a_view_are_errors() {
    let registry = Registry::new();
    registry
        .add_view(View::new("a_total").rename("c_total"))
        .unwrap();
    registry
        .add_view(View::new("b_total").rename("c_total"))
        .unwrap();
    registry.counter("a_total", "Help.").unwrap();
    let error = registry.counter("b_total", "Help.").unwrap_err();
    assert!(error.is_already_registered());
    let error = error.to_string();
    assert!(
        error.contains("`c_total`") && error.contains("`a_total` there, `b_total` here"),
        "{error}"
    );
    let error = registry.counter("c_total", "Help.").unwrap_err();
    assert!(error.is_already_registered(), "{error}");
    let get = Counter::builder("b_total", "Help.").get_or_register(&registry);
    assert!(
        get.unwrap_err().is_already_registered(),
        "nor are two families one"
    );
    // Samples that only the suffix makes equal.
    registry
        .add_view(View::new("d_total").rename("e_count"))
        .unwrap();
    registry.histogram("e", "Help.").unwrap();
    assert!(
        registry
            .counter("d_total", "Help.")
            .unwrap_err()
            .is_already_registered()
    );
    // The old name is free.
    registry.gauge("d_total", "Help.").unwrap_err();
    let free = Registry::new();
    free.add_view(View::new("a").rename("b")).unwrap();
    free.gauge("a", "Help.").unwrap();
    free.add_view(View::new("c").rename("a")).unwrap();
    free.gauge("c", "Help.").unwrap();
    assert_eq!(free.names(), ["a", "b"]);
}

#[test]
fn a_view_after_its_family_is_an_error() {
    let (registry, _) = counter(View::new("x"));
    let error = registry
        .add_view(View::new("hits_*").off())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`hits_total` was registered before, at tests/views/main.rs"),
        "{error}"
    );
    // Other families can still have views, also after a scrape.
    let _ = registry.snapshot();
    registry.add_view(View::new("later_*").off()).unwrap();
    registry.gauge("later_gauge", "Help.").unwrap();
    assert!(registry.snapshot().family("later_gauge").is_none());
    // A view that cannot be meant changes nothing.
    assert!(
        registry
            .add_view(View::new("a_*").rename("one_name"))
            .is_err()
    );
    registry.gauge("a_b", "Help.").unwrap();
    assert!(registry.contains("a_b"));
}

#[test]
fn a_name_that_a_rename_makes_invalid_is_an_error_of_the_family() {
    let registry = Registry::new();
    registry.add_view(View::new("*x").rename("*")).unwrap();
    let error = registry.gauge("x", "Help.").unwrap_err();
    assert!(error.is_invalid_name(), "{error}");
}

#[test]
fn of_several_views_the_last_setting_holds_and_all_labels_are_dropped() {
    let registry = Registry::new();
    for view in [
        View::new("*").drop_label("a").limit(1).buckets(&[1.0]),
        View::new("took_*").drop_label("b").limit(2).cap("c", 9),
        View::new("*_seconds").buckets(&[2.0, 4.0]).cap("c", 1),
        // By the name of the declaration, whatever other views make of it.
        View::new("took_seconds").rename("time_seconds"),
        View::new("time_seconds").off(),
    ] {
        registry.add_view(view).unwrap();
    }
    let took = Histogram::builder("took_seconds", "Time.")
        .labels(["a", "b", "c"])
        .register(&registry)
        .unwrap();
    took.with(["1", "2", "3"]).observe(3.0);
    took.with(["1", "2", "4"]).observe(3.0);
    let catalogue = registry.catalogue();
    let family = catalogue.get("time_seconds").unwrap();
    assert_eq!((family.limit, &*family.bounds), (Some(2), &[2.0, 4.0][..]));
    assert_eq!(family.dropped, ["a", "b"]);
    let now = registry.snapshot();
    let bucket = |c: &str| now.get("time_seconds_bucket", &[("c", c), ("le", "4.0")]);
    assert_eq!(
        (bucket("3"), bucket("__overflow__")),
        (Some(1.0), Some(1.0))
    );
}

#[test]
fn bounds_and_exponential_buckets_come_from_the_view() {
    let registry = Registry::new();
    registry
        .add_view(View::new("fixed").buckets(&[1.0, 2.0]))
        .unwrap();
    registry.add_view(View::new("native").native(3)).unwrap();
    registry
        .add_view(View::new("both").native(3).buckets(&[1.0, 2.0]))
        .unwrap();
    for name in ["fixed", "native", "both"] {
        let plain = Histogram::builder(name, "Help.")
            .register(&registry)
            .unwrap();
        (0..3000).for_each(|i| plain.observe(f64::from(i % 3)));
        let seen = plain.get();
        assert_eq!(seen.sum, 3000.0, "{name}");
        assert_eq!(seen.native.is_some(), name != "fixed", "{name}");
        if name != "native" {
            assert_eq!(seen.counts, [2000, 1000, 0], "{name}");
        }
    }
    let now = registry.snapshot();
    assert_eq!(now.get("fixed_bucket", &[("le", "1.0")]), Some(2000.0));
    assert_eq!(now.get("native_count", &[]), Some(3000.0));
}

#[test]
fn a_limit_comes_from_the_view() {
    let (registry, hits) = counter(View::new("*").limit(2));
    for i in 0..10 {
        hits.with(["/", &i.to_string()]).inc();
    }
    assert_eq!(hits.len(), 2);
    let report = registry.cardinality();
    assert_eq!(
        (report.families()[0].limit, report.families()[0].refused),
        (Some(2), 8)
    );
}

#[derive(LabelValue, Clone, Copy)]
enum Pump {
    Off,
    On,
}

#[derive(Labels)]
struct State {
    pump: Pump,
}

#[test]
fn families_that_are_off_count_without_series_and_without_samples() {
    let registry = Registry::new();
    registry.add_view(View::new("*").off()).unwrap();
    registry.add_view(View::new("kept_*").on()).unwrap();
    macro_rules! declare {
        ($kind:ident, $name:literal) => {
            $kind::builder($name, "Help.")
                .labels(["a", "b"])
                .register(&registry)
                .unwrap()
        };
    }
    let counter = declare!(Counter, "counter_total");
    let gauge = declare!(Gauge, "gauge");
    let up_down = declare!(UpDownCounter, "up_down");
    let histogram = declare!(Histogram, "histogram");
    let summary = declare!(Summary, "summary");
    let closed = Counter::builder("closed_total", "Help.")
        .label_set::<State>()
        .register(&registry)
        .unwrap();
    let native = Histogram::builder("native", "Help.")
        .native(3)
        .register(&registry)
        .unwrap();
    let plain = registry.histogram("plain", "Help.").unwrap();
    let pump = StateSet::<Pump>::builder("pump", "Help.")
        .register(&registry)
        .unwrap();
    let kept = registry.counter("kept_total", "Help.").unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for i in 0..3000 {
                    let labels = ["x", &*i.to_string()];
                    counter.with(labels).inc();
                    gauge.with(labels).set(1.0);
                    up_down.with(labels).inc();
                    histogram.with(labels).observe(1.0);
                    summary.with(labels).observe(1.0);
                    closed
                        .with(State {
                            pump: [Pump::Off, Pump::On][i % 2],
                        })
                        .inc();
                    native.observe(1.0);
                    plain.observe(1.0);
                    kept.inc();
                }
                counter.bind(["y", "z"]).inc();
                pump.set(Pump::On);
            });
        }
    });
    assert_eq!(lines(&registry), ["kept_total 6000"]);
    // Without labels nothing is counted; with labels, all label sets share a series.
    assert_eq!(plain.get().count() + native.get().count(), 0);
    assert_eq!(counter.with(["any", "labels"]).get(), 6002);
    assert_eq!((counter.len(), counter.get_all().len()), (0, 1));
    assert_eq!(histogram.with(["", ""]).get().count(), 6000);
    assert_eq!(summary.with(["", ""]).get().count(), 6000);
    assert_eq!(registry.cardinality().families().len(), 1);
    let catalogue = registry.catalogue();
    assert!(catalogue.get("gauge").unwrap().off && !catalogue.get("kept_total").unwrap().off);
    // The names stay taken.
    assert!(
        registry
            .counter("counter_total", "Help.")
            .unwrap_err()
            .is_already_registered()
    );
    assert!(registry.names().contains(&"pump".to_owned()));
}

#[test]
fn without_labels_no_method_updates_a_family_that_is_off() {
    // Without an id, `observe_traced` would store no exemplar. Nothing else here uses it.
    tallies::instrument::trace_ids(|| Some("1f".to_owned())).unwrap();
    let registry = Registry::new();
    registry.add_view(View::new("*").off()).unwrap();
    let histogram = registry.histogram("histogram", "Help.").unwrap();
    let native = Histogram::builder("native", "Help.")
        .native(3)
        .register(&registry)
        .unwrap();
    let summary = registry.summary("summary", "Help.").unwrap();
    let gauge = registry.gauge("gauge", "Help.").unwrap();
    let counter = registry.counter("counter_total", "Help.").unwrap();
    let labels = &[("trace_id", "2e")][..];
    // The first update is not like the others.
    for _ in 0..3 {
        for histogram in [&histogram, &native] {
            histogram.observe(1.0);
            histogram.observe_many(1.0, 2);
            histogram.observe_duration(Duration::from_secs(1));
            histogram.observe_exemplar(1.0, labels);
            histogram.observe_traced(1.0);
            histogram.try_observe(1.0).unwrap();
            histogram.try_observe(f64::INFINITY).unwrap();
            histogram.try_observe_exemplar(1.0, labels).unwrap();
            histogram
                .try_observe_exemplar(f64::INFINITY, labels)
                .unwrap();
            assert!(histogram.try_observe(f64::NEG_INFINITY).is_err());
            assert!(histogram.try_observe(f64::NAN).is_err());
            assert!(histogram.try_observe_exemplar(f64::NAN, labels).is_err());
            histogram.time(|| ());
        }
        summary.observe(1.0);
        summary.observe_duration(Duration::from_secs(1));
        summary.try_observe(1.0).unwrap();
        summary.try_observe(f64::INFINITY).unwrap();
        assert!(summary.try_observe(f64::NEG_INFINITY).is_err());
        summary.time(|| ());
        gauge.set(1.0);
        gauge.add(1.0);
        gauge.raise(1.0);
        drop(gauge.track());
        counter.add_exemplar(1, labels);
        counter.try_add_exemplar(1, labels).unwrap();
        counter.inc_traced();
    }
    assert!(lines(&registry).is_empty());
    let (fixed, native) = (histogram.get(), native.get());
    assert_eq!((fixed.count(), fixed.sum), (0, 0.0));
    assert_eq!((native.count(), native.sum), (0, 0.0));
    assert_eq!((summary.get().count(), gauge.get()), (0, 0.0));
}

#[test]
fn a_view_of_a_gauge_that_is_off_needs_no_rule() {
    let registry = Registry::new();
    let view = View::new("*")
        .drop_label("a")
        .gauge_mode(GaugeMode::Max)
        .off();
    registry.add_view(view).unwrap();
    let gauge = Gauge::builder("gauge", "Help.")
        .labels(["a"])
        .register(&registry)
        .unwrap();
    gauge.with(["x"]).set(1.0);
    assert!(lines(&registry).is_empty());
}

#[test]
fn a_state_set_is_renamed_with_its_label() {
    let registry = Registry::new();
    registry
        .add_view(View::new("pump").rename("pump_state").drop_label("pump"))
        .unwrap();
    StateSet::<Pump>::builder("pump", "Help.")
        .register(&registry)
        .unwrap();
    let expected = [
        "pump_state{pump_state=\"off\"} 1",
        "pump_state{pump_state=\"on\"} 0",
    ];
    assert_eq!(lines(&registry), expected);
}
