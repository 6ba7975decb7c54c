//! Snapshots as JSON.

use serde_json::{Value, json};
use tallies::{Counter, Gauge, Histogram, Registry, Summary, label::AnyLabels};

#[test]
fn families_by_name_and_series_by_their_labels() {
    let registry = Registry::new();
    registry.constant("host", "a\"b").unwrap();
    let sent = Counter::builder("sent_bytes_total", "Sent.")
        .unit("bytes")
        .labels(["peer"])
        .register(&registry)
        .unwrap();
    sent.with(["x"]).add_with(u64::MAX, &[("trace_id", "t")]);
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
