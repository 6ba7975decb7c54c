//! Each kind of metric, value by value.

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, exemplar, number_data_point,
};
use tallies::snapshot::{Histogram, Number, Summary};
use tallies::{Counter, Registry};

use crate::otlp::point::nanos;

use super::*;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Returns the metric of the only family.
fn metric(family: Family) -> Metric {
    let request = request(&Otlp::new(), &snapshot(vec![family], 5));
    let [metric] = <[_; 1]>::try_from(metrics(request)).unwrap();
    metric
}

#[test]
fn a_request_has_the_resource_and_the_scope() {
    let gauge = family("queue_length", Kind::Gauge, &[(&[], Value::Gauge(2.0))]);
    let otlp = Otlp::new()
        .resource("service.name", "one")
        .resource("host.name", "db1")
        .resource("service.name", "two");
    let request = request(&otlp, &snapshot(vec![gauge.clone()], 5));
    let resource = &request.resource_metrics[0];
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        ("service.name", "two"),
        ("telemetry.sdk.name", "tallies"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", version),
        ("host.name", "db1"),
    ];
    let attributes = &resource.resource.as_ref().unwrap().attributes;
    assert_eq!(texts(attributes), expected);
    let scope = resource.scope_metrics[0].scope.as_ref().unwrap();
    assert_eq!((&*scope.name, &*scope.version), ("tallies", version));

    let request = super::request(&Otlp::new(), &snapshot(vec![gauge], 5));
    let resource = request.resource_metrics[0].resource.as_ref().unwrap();
    let [(_, name), ..] = texts(&resource.attributes)[..] else {
        panic!("{resource:?}");
    };
    assert!(name.starts_with("unknown_service:tallies_send"), "{name}");
}

#[test]
fn a_counter_is_a_monotonic_sum() {
    let numbers = [
        Number::Int(3),
        Number::Int(i64::MAX as u64),
        Number::Int(1 << 63),
    ];
    let labels = ["a", "b", "c"].map(|x| [("x", x), ("y", "\"\\\n\u{1}ä")]);
    let mut family =
        Family::empty("wait_seconds_total", "Time.", "seconds", Kind::Counter).unwrap();
    for (labels, number) in labels.iter().zip(numbers) {
        family.push(labels, Value::Counter(number)).unwrap();
    }
    family.set_created(0, at(1));
    // After the snapshot: a clock was set back.
    family.set_created(2, at(9));
    let metric = metric(family);
    // The name stays as it is.
    assert_eq!(metric.name, "wait_seconds_total");
    assert_eq!((&*metric.description, &*metric.unit), ("Time.", "s"));
    assert_eq!(texts(&metric.metadata), [("prometheus.type", "counter")]);
    let Some(Data::Sum(sum)) = metric.data else {
        panic!("{metric:?}");
    };
    assert!(sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality, CUMULATIVE);
    let values: Vec<_> = sum.data_points.iter().map(|point| point.value).collect();
    let expected = [
        number_data_point::Value::AsInt(3),
        number_data_point::Value::AsInt(i64::MAX),
        number_data_point::Value::AsDouble(9_223_372_036_854_775_808.0),
    ];
    assert_eq!(values, expected.map(Some));
    for (point, labels) in sum.data_points.iter().zip(labels) {
        assert_eq!(texts(&point.attributes), labels);
        assert_eq!(point.time_unix_nano, nanos_at(5));
    }
    // A series that does not know its start begins with the first snapshot.
    let starts: Vec<_> = sum
        .data_points
        .iter()
        .map(|point| point.start_time_unix_nano)
        .collect();
    assert_eq!(starts, [nanos_at(1), nanos_at(5), nanos_at(5)]);
}

#[test]
fn a_series_without_a_start_begins_with_the_first_snapshot() {
    let counter = family(
        "jobs_total",
        Kind::Counter,
        &[(&[], Value::Counter(Number::Float(0.5)))],
    );
    let mut protocol = Otlp::new().protocol();
    for millis in [5, 9] {
        protocol.take(&snapshot(vec![counter.clone()], millis));
        let metrics = metrics(decoded(&bodies(&mut protocol)[0]));
        let Some(Data::Sum(sum)) = &metrics[0].data else {
            panic!("{metrics:?}");
        };
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(0.5)));
        let window = (point.start_time_unix_nano, point.time_unix_nano);
        assert_eq!(window, (nanos_at(5), nanos_at(millis)));
    }
}

/// A sum that can go down is cumulative, also where counters are sent as deltas.
#[test]
fn an_up_down_counter_is_a_sum_that_can_go_down() {
    let registry = Registry::new();
    let waiting = tallies::UpDownCounter::builder("jobs_waiting", "Jobs.");
    let waiting = waiting.register(&registry).unwrap();
    waiting.add(3);
    for (otlp, n) in [
        (Otlp::new(), 3.0),
        (Otlp::new().temporality(Temporality::Delta), 2.0),
    ] {
        let snapshot = registry.snapshot();
        let metrics = metrics(request(&otlp, &snapshot));
        let Some(Data::Sum(sum)) = &metrics[0].data else {
            panic!("{metrics:?}");
        };
        assert!(!sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality, CUMULATIVE);
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(n)));
        let start = snapshot.family("jobs_waiting").unwrap().created(0);
        assert_eq!(point.start_time_unix_nano, nanos(start.unwrap()));
        waiting.dec();
    }
}

#[test]
fn values_that_are_no_totals_are_gauges() {
    let kinds = [
        (Kind::Gauge, "gauge"),
        (Kind::Info, "info"),
        (Kind::StateSet, "stateset"),
        (Kind::Unknown, "unknown"),
    ];
    for (kind, name) in kinds {
        let metric = metric(family("thing", kind, &[(&[("x", "")], Value::Gauge(-1.5))]));
        assert_eq!(texts(&metric.metadata), [("prometheus.type", name)]);
        let Some(Data::Gauge(gauge)) = metric.data else {
            panic!("{metric:?}");
        };
        let [point] = &gauge.data_points[..] else {
            panic!("{gauge:?}");
        };
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(-1.5)));
        assert_eq!(texts(&point.attributes), [("x", "")]);
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        assert_eq!(times, (0, nanos_at(5)));
    }
}

#[test]
fn fixed_buckets_are_a_histogram() {
    let bounds = [-1.0, 0.5, 2.0];
    let values = [
        Histogram::new(&bounds, &[1, 0, 2, 4], 9.5).unwrap(),
        Histogram::new(&bounds, &[0; 4], 4.0).unwrap(),
        Histogram::new(&bounds, &[0, 0, 0, 1], f64::NAN).unwrap(),
        Histogram::new(&bounds, &[1, 0, 0, 0], -3.0).unwrap(),
    ];
    let labels = ["a", "b", "c", "d"].map(|x| [("x", x)]);
    let series: Vec<(&[_], _)> = labels
        .iter()
        .zip(values)
        .map(|(labels, value)| (&labels[..], Value::Histogram(value)))
        .collect();
    let mut family = family("sizes", Kind::Histogram, &series);
    let ids = [
        ("span_id", "00f067aa0ba902b7"),
        ("trace_id", "4BF92F3577B34DA6A3CE929D0E0E4736"),
    ];
    let zeros = ("trace_id", "00000000000000000000000000000000");
    let invalid = [zeros, ("span_id", "short")];
    let exemplars = [(2, 1.5, &ids[..]), (3, 3.5, &invalid[..])];
    for (bucket, value, labels) in exemplars {
        let time = at(2) + Duration::from_nanos(1234);
        family
            .push_exemplar(bucket, labels, value, Some(time))
            .unwrap();
    }
    let metric = metric(family);
    let Some(Data::Histogram(histogram)) = metric.data else {
        panic!("{metric:?}");
    };
    assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
    let points = &histogram.data_points;
    assert!(points.iter().all(|point| point.explicit_bounds == bounds));
    assert!(points.iter().all(|point| point.min.or(point.max).is_none()));
    let counts: Vec<_> = points
        .iter()
        .map(|point| &point.bucket_counts[..])
        .collect();
    assert_eq!(
        counts,
        [&[1, 0, 2, 4_u64], &[0; 4], &[0, 0, 0, 1], &[1, 0, 0, 0]]
    );
    let totals: Vec<_> = points
        .iter()
        .map(|point| (point.count, point.sum))
        .collect();
    assert_eq!(
        totals,
        [(7, Some(9.5)), (0, Some(0.0)), (1, None), (1, Some(-3.0))]
    );
    let [first, second] = &points[3].exemplars[..] else {
        panic!("{points:?}");
    };
    assert_eq!(first.value, Some(exemplar::Value::AsDouble(1.5)));
    assert_eq!(first.time_unix_nano, nanos_at(2) + 1234);
    assert!(first.filtered_attributes.is_empty());
    assert_eq!(
        first.span_id,
        [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]
    );
    let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128;
    assert_eq!(first.trace_id, trace.to_be_bytes());
    // IDs that are invalid stay labels.
    assert!(second.span_id.is_empty() && second.trace_id.is_empty());
    assert_eq!(texts(&second.filtered_attributes), invalid);
}

/// The bucket that ends with 1 has the index -1 in OTLP, and 0 in Prometheus.
#[test]
fn exponential_buckets_are_an_exponential_histogram() {
    for has_both in [false, true] {
        let registry = Registry::new();
        let sizes = tallies::Histogram::builder("sizes", "Sizes.").native(0);
        let sizes = sizes.zero_threshold(0.25);
        let sizes = if has_both {
            sizes.buckets(&[1.0, 2.0])
        } else {
            sizes
        };
        let sizes = sizes.register(&registry).unwrap();
        let values = [1.0, 2.0, 2.5, 16.0, 0.0, 0.25, -0.5];
        values.iter().for_each(|value| sizes.observe(*value));
        let snapshot = registry.snapshot();
        let found = snapshot.family("sizes").unwrap().series().next().unwrap().1;
        let mut family = family("sizes", Kind::Histogram, &[(&[], found)]);
        family.set_created(0, at(1));
        let metric = metric(family);
        let Some(Data::ExponentialHistogram(histogram)) = metric.data else {
            panic!("{metric:?}");
        };
        assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
        let [point] = &histogram.data_points[..] else {
            panic!("{histogram:?}");
        };
        assert_eq!((point.count, point.sum), (7, Some(21.25)));
        assert_eq!(
            (point.scale, point.zero_count, point.zero_threshold),
            (0, 2, 0.25)
        );
        let positive = Buckets {
            offset: -1,
            bucket_counts: vec![1, 1, 1, 0, 1],
        };
        let negative = Buckets {
            offset: -2,
            bucket_counts: vec![1],
        };
        assert_eq!(point.positive, Some(positive));
        assert_eq!(point.negative, Some(negative));
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        assert_eq!(times, (nanos_at(1), nanos_at(5)));
    }
}

#[test]
fn a_summary_has_the_quantiles_that_are_known() {
    let quantiles = [
        (0.1, -1.0),
        (0.5, 0.0),
        (0.9, f64::NAN),
        (0.99, f64::INFINITY),
    ];
    let values = [
        Summary::new(Some(4), 3.5, &quantiles),
        Summary::new(Some(0), f64::NAN, &[]),
    ];
    let series = [
        (&[("x", "a")][..], Value::Summary(values[0])),
        (&[("x", "b")][..], Value::Summary(values[1])),
    ];
    let metric = metric(family("latency", Kind::Summary, &series));
    let Some(Data::Summary(summary)) = metric.data else {
        panic!("{metric:?}");
    };
    let totals = summary
        .data_points
        .iter()
        .map(|point| (point.count, point.sum));
    assert_eq!(totals.collect::<Vec<_>>(), [(4, 3.5), (0, 0.0)]);
    let found = [(0.5, 0.0), (0.99, f64::INFINITY)];
    let found = found.map(|(quantile, value)| ValueAtQuantile { quantile, value });
    assert_eq!(summary.data_points[0].quantile_values, found);
    assert!(summary.data_points[1].quantile_values.is_empty());
}

#[test]
fn an_overflow_series_is_marked() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    let jobs = jobs.limit(1).register(&registry).unwrap();
    ["mail", "print"]
        .iter()
        .for_each(|queue| jobs.with([queue]).inc());
    let metrics = metrics(request(&Otlp::new(), &registry.snapshot()));
    let metric = metrics.iter().find(|metric| metric.name == "jobs_total");
    let Some(Data::Sum(sum)) = &metric.unwrap().data else {
        panic!("{metric:?}");
    };
    let marks = sum.data_points.iter().map(|point| {
        let mut others = point.attributes.iter().skip(1);
        let mark = others.next().map(|mark| (&*mark.key, mark.value.clone()));
        (texts(&point.attributes)[0].1, mark)
    });
    let mark = AnyValue {
        value: Some(any_value::Value::BoolValue(true)),
    };
    let mark = ("otel.metric.overflow", Some(mark));
    assert_eq!(
        marks.collect::<Vec<_>>(),
        [("mail", None), ("__overflow__", Some(mark))]
    );
}

#[test]
fn constant_labels_are_attributes() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    let jobs = jobs.constant("host", "db1");
    jobs.register(&registry).unwrap().with(["mail"]).inc();
    let metrics = metrics(request(&Otlp::new(), &registry.snapshot()));
    let metric = metrics.iter().find(|metric| metric.name == "jobs_total");
    let Some(Data::Sum(sum)) = &metric.unwrap().data else {
        panic!("{metric:?}");
    };
    let labels = texts(&sum.data_points[0].attributes);
    assert_eq!(labels, [("host", "db1"), ("queue", "mail")]);
}

#[test]
fn gauge_histograms_and_empty_families_are_not_sent() {
    let value = Histogram::new(&[1.0], &[1, 2], 9.5).unwrap();
    let ages = [(&[][..], Value::Histogram(value))];
    let families = vec![
        family("ages", Kind::GaugeHistogram, &ages),
        family("none_total", Kind::Counter, &[]),
    ];
    let snapshot = snapshot(families, 5);
    for otlp in [Otlp::new(), Otlp::new().temporality(Temporality::Delta)] {
        let mut protocol = otlp.protocol();
        assert_eq!(protocol.next(&mut Vec::new()), None);
        protocol.take(&snapshot);
        assert_eq!(protocol.next(&mut Vec::new()), None);
    }
}

/// The generated types read neither NaN nor infinity in most fields.
#[test]
fn json_has_strings_for_what_is_no_number() {
    let value = Histogram::new(&[1.0], &[1, u64::MAX - 1], f64::INFINITY).unwrap();
    let mut sizes = family("sizes", Kind::Histogram, &[(&[], Value::Histogram(value))]);
    let ids = [
        ("trace_id", "4BF92F3577B34DA6A3CE929D0E0E4736"),
        ("user", "7"),
    ];
    sizes
        .push_exemplar(1, &ids, f64::NEG_INFINITY, None)
        .unwrap();
    let gauge = family("load", Kind::Gauge, &[(&[], Value::Gauge(f64::NAN))]);
    let mut protocol = Otlp::new().json().protocol();
    protocol.take(&snapshot(vec![gauge, sizes], 5));
    let mut body = Vec::new();
    let headers = protocol.next(&mut body).unwrap();
    assert_eq!(headers, [("content-type", "application/json".to_owned())]);
    let request: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let metrics = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    let time = nanos_at(5).to_string();
    assert_eq!(
        metrics[0]["gauge"],
        serde_json::json!({
            "dataPoints": [{"attributes": [], "timeUnixNano": time, "asDouble": "NaN"}],
        })
    );
    assert_eq!(
        metrics[1]["histogram"],
        serde_json::json!({
            "dataPoints": [{
                "attributes": [],
                "startTimeUnixNano": time,
                "timeUnixNano": time,
                "count": "18446744073709551615",
                "sum": "Infinity",
                "bucketCounts": ["1", "18446744073709551614"],
                "explicitBounds": [1.0],
                "exemplars": [{
                    "filteredAttributes": [{"key": "user", "value": {"stringValue": "7"}}],
                    "asDouble": "-Infinity",
                    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                }],
            }],
            "aggregationTemporality": 2,
        })
    );
}
