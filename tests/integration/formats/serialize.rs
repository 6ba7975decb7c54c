//! Snapshots as JSON.

use serde_json::{Value, json};
use tallies::{Counter, Gauge, Histogram, Registry, Summary, label::AnyLabels};
use tallies_config::{Config, Configure};

#[test]
fn families_by_name_and_series_by_their_labels() {
    let registry = Registry::new();
    registry.add_constant("host", "a\"b").unwrap();
    let sent = Counter::builder("sent_bytes_total", "Sent.")
        .unit("bytes")
        .labels(["peer"])
        .register(&registry)
        .unwrap();
    sent.with(["x"])
        .add_exemplar(u64::MAX, &[("trace_id", "t")]);
    Gauge::builder("level", "")
        .label_set::<AnyLabels>()
        .register(&registry)
        .unwrap()
        .with(&[("b", "2"), ("a", "1")])
        .set(0.5);
    Histogram::builder("h", "")
        .buckets(&[1.0, 2.5])
        .native(0)
        .register(&registry)
        .unwrap()
        .observe(2.0);
    Summary::builder("s", "")
        .objective(0.5, 0.01)
        .register(&registry)
        .unwrap();

    let mut page = serde_json::to_value(registry.snapshot()).unwrap();
    assert!(page["taken"].as_f64().unwrap() > 1.7e9);
    let mut families = page["families"].take();
    for family in families.as_array_mut().unwrap() {
        for series in family["series"].as_array_mut().unwrap() {
            let series = series.as_object_mut().unwrap();
            assert!(series.remove("created").unwrap().as_f64().unwrap() > 1.7e9);
            if let Some(exemplars) = series.get_mut("exemplars") {
                assert!(exemplars[0]["time"].take().as_f64().unwrap() > 1.7e9);
            }
        }
    }
    assert_eq!(
        families,
        json!([
            {"name": "h", "help": "", "unit": "", "kind": "histogram", "series": [
                {"labels": {"host": "a\"b"}, "value": {
                    "count": 1, "sum": 2.0, "buckets": {"1.0": 0, "2.5": 1, "+Inf": 1},
                    "native": {
                        "schema": 0, "zero_threshold": 2_f64.powi(-128), "zero_count": 0,
                        "positive": [[1, 1]], "negative": [],
                    },
                }},
            ]},
            {"name": "level", "help": "", "unit": "", "kind": "gauge", "series": [
                {"labels": {"host": "a\"b", "a": "1", "b": "2"}, "value": 0.5},
            ]},
            {"name": "s", "help": "", "unit": "", "kind": "summary", "series": [
                {"labels": {"host": "a\"b"}, "value": {"count": 0, "sum": 0.0, "quantiles": {"0.5": Value::Null}}},
            ]},
            {"name": "sent_bytes_total", "help": "Sent.", "unit": "bytes", "kind": "counter", "series": [
                {
                    "labels": {"host": "a\"b", "peer": "x"}, "value": u64::MAX,
                    "exemplars": [{"labels": {"trace_id": "t"}, "value": u64::MAX as f64, "time": Value::Null}],
                },
            ]},
        ])
    );
}

#[test]
fn views_are_read_from_data() {
    let registry = Registry::new();
    let views = json!([
        {"family": "sent_*", "drop": ["user"], "caps": {"peer": 1}, "limit": 9},
        {"family": "level", "drop": ["x"], "gauge_mode": "max", "rename": "height"},
        {"family": "took", "buckets": [1.0, 2.0], "native": 3},
        {"family": "debug_*", "off": true},
    ]);
    // JSON is YAML, too.
    let read = |views: Value| Config::from_yaml(&json!({"views": views}).to_string());
    registry.configure(read(views).unwrap()).unwrap();
    let sent = Counter::builder("sent_total", "Sent.")
        .labels(["peer", "user"])
        .register(&registry)
        .unwrap();
    for (peer, user) in [("a", "1"), ("b", "1"), ("c", "2")] {
        sent.with([peer, user]).inc();
    }
    let level = Gauge::builder("level", "Level.")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    level.with(["a"]).set(2.0);
    level.with(["b"]).set(1.0);
    let took = registry.histogram("took", "Time.").unwrap();
    took.observe(1.5);
    registry.counter("debug_total", "Steps.").unwrap();
    let now = registry.snapshot();
    assert_eq!(
        now.get("sent_total", &[("peer", "__overflow__")]),
        Some(2.0)
    );
    assert_eq!(now.get("height", &[]), Some(2.0));
    assert_eq!(
        (took.get().counts, took.get().native.is_some()),
        (vec![0, 1, 0], true)
    );
    assert!(now.family("debug_total").is_none());
    assert_eq!(
        registry.catalogue().get("sent_total").unwrap().limit,
        Some(9)
    );
    for wrong in [
        json!({"family": "a", "dorp": ["x"]}),
        json!({"family": "a", "gauge_mode": "avg"}),
        json!({"drop": ["x"]}),
    ] {
        assert!(read(json!([wrong])).is_err());
    }
}
