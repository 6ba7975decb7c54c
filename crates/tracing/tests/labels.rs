//! Fields as labels, limits, and mistakes in settings.

mod support;

use support::measure;
use tallies::Registry;
use tallies_tracing::{SpanLayer, SpanMetrics};
use tracing::field::{Empty, debug};
use tracing::{Level, info_span, subscriber::with_default};
use tracing_subscriber::layer::SubscriberExt;

type Layer = SpanLayer<tracing_subscriber::Registry>;

fn counted(registry: &Registry) -> Vec<(Vec<(String, String)>, f64)> {
    let now = registry.snapshot();
    let family = now.family("span_duration_seconds").unwrap();
    let series = family.series().map(|(labels, _)| {
        let labels: Vec<_> = labels
            .iter()
            .map(|(k, v)| (k.to_owned(), v.into_owned()))
            .collect();
        let given: Vec<_> = labels
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let count = now.get("span_duration_seconds_count", &given).unwrap();
        (labels, count)
    });
    let mut series: Vec<_> = series.collect();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    series
}

fn values(registry: &Registry, label: &str) -> Vec<(String, f64)> {
    let series = counted(registry).into_iter();
    let value = |labels: Vec<(String, String)>| labels.into_iter().find(|(name, _)| name == label);
    series
        .map(|(labels, n)| (value(labels).map_or_else(String::new, |l| l.1), n))
        .collect()
}

#[test]
fn fields_of_every_type_are_labels() {
    let registry = measure(SpanMetrics::new().field("value"), |_| {
        drop(info_span!("s", value = "text"));
        drop(info_span!("s", value = 7_u64, other = "not a label"));
        drop(info_span!("s", value = -7));
        drop(info_span!("s", value = true));
        drop(info_span!("s", value = 1.5));
        drop(info_span!("s", value = ?Some("debug")));
        drop(info_span!("s", value = %"display"));
        drop(info_span!("s"));
        drop(info_span!("s", value = Empty));
    });
    let expected = [
        "",
        "-7",
        "1.5",
        "7",
        "Some(\"debug\")",
        "display",
        "text",
        "true",
    ];
    let expected =
        expected.map(|value| (value.to_owned(), if value.is_empty() { 2.0 } else { 1.0 }));
    assert_eq!(values(&registry, "value"), expected);
}

#[test]
fn the_last_recorded_value_counts() {
    let settings = SpanMetrics::new()
        .field("http.status")
        .field_as("http.method", "method");
    let registry = measure(settings, |_| {
        let span = info_span!(
            "s",
            "http.status" = Empty,
            "http.method" = "GET",
            secret = Empty
        );
        span.record("http.status", 200);
        span.record("secret", "a text");
        span.record("http.status", debug(500));
    });
    let text = |pairs: [(&str, &str); 4]| pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec();
    let labels = [
        ("http_status", "500"),
        ("method", "GET"),
        ("span", "s"),
        ("target", "labels"),
    ];
    let mut counted = counted(&registry);
    counted[0].0.sort();
    assert_eq!(counted, [(text(labels), 1.0)]);
}

#[test]
fn values_beyond_the_limit_count_in_one_series() {
    let settings = SpanMetrics::new().field("user").limit(3).in_progress();
    let registry = measure(settings, |_| {
        for user in 0..1000 {
            drop(info_span!("s", user));
        }
    });
    let mut counts = values(&registry, "user");
    counts.retain(|(user, _)| user == "__overflow__");
    assert_eq!(counts, [("__overflow__".to_owned(), 997.0)]);
    let now = registry.snapshot();
    let labels = [("span", "s"), ("target", "labels")];
    assert_eq!(now.get("spans_in_progress", &labels), Some(0.0));
}

#[test]
fn callsites_beyond_the_limit_count_in_one_series() {
    let settings = SpanMetrics::new().limit(1).in_progress();
    measure(settings.count_events(Level::INFO), |registry| {
        let _open = (info_span!("a"), info_span!("b"), info_span!("c"));
        tracing::info!("a");
        tracing::warn!("b");
        let now = registry.snapshot();
        let over = [("span", "__overflow__"), ("target", "__overflow__")];
        assert_eq!(now.get("spans_in_progress", &over), Some(2.0));
        let over = [("level", "__overflow__"), ("target", "__overflow__")];
        assert_eq!(now.get("tracing_events_total", &over), Some(1.0));
    });
}

#[test]
fn a_debug_implementation_may_create_spans() {
    struct Value;
    impl std::fmt::Debug for Value {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let _inner = info_span!("inner").entered();
            f.write_str("value")
        }
    }
    let registry = measure(SpanMetrics::new().field("value"), |_| {
        let span = info_span!("s", value = ?Value).entered();
        span.record("value", debug(Value));
    });
    let text = |value: &str, n| (value.to_owned(), n);
    // A subscriber is not told of spans that are created while it is told of another one.
    assert!(values(&registry, "value").contains(&text("value", 1.0)));
}

#[test]
fn mistakes_say_what_would_be_right() {
    let error = |settings: SpanMetrics| {
        let layer: Result<Layer, _> = settings.register(&Registry::new());
        layer
            .err()
            .map_or_else(String::new, |error| error.to_string())
    };
    assert_eq!(
        error(SpanMetrics::new().times(&[])),
        "the layer would measure nothing; give `times` at least one time, or call `count_events` \
         or `in_progress`"
    );
    assert_eq!(
        error(SpanMetrics::new().field("http.method").field("http_method")),
        "the fields `http.method` and `http_method` of spans would share the label `http_method`; \
         `field_as(\"http_method\", ..)` gives one of them another"
    );
    assert_eq!(
        error(SpanMetrics::new().field("a").field_as("a", "b")),
        "the field `a` of spans is given twice; one label shows it"
    );
    assert!(error(SpanMetrics::new().field("target")).starts_with("the field `target` of spans"));
    let nine = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    assert_eq!(
        error(
            nine.iter()
                .fold(SpanMetrics::new(), |spans, field| spans.field(field))
        ),
        "at most 8 fields of spans can be labels, got 9"
    );
    assert!(error(SpanMetrics::new().field_as("a", "le")).contains("`le`"));
    assert!(error(SpanMetrics::new().field_as("a", "1")).contains("`1`"));
    assert!(error(SpanMetrics::new().buckets(&[1.0, 0.5])).contains("0.5"));
    assert!(error(SpanMetrics::new().prefix("1")).contains("1_span_duration_seconds"));
    let source = "`trace_updates` needs a source of trace ids";
    assert!(error(SpanMetrics::new().without_exemplars().trace_updates()).starts_with(source));
}

#[test]
fn eight_fields_fit() {
    let eight = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let settings = eight
        .iter()
        .fold(SpanMetrics::new(), |spans, field| spans.field(field));
    let registry = measure(settings, |_| {
        drop(info_span!("s", h = "last", a = "first"));
    });
    assert_eq!(values(&registry, "h"), [("last".to_owned(), 1.0)]);
    assert_eq!(values(&registry, "a"), [("first".to_owned(), 1.0)]);
}

#[test]
fn layers_with_the_same_settings_share_families() {
    let registry = Registry::new();
    for _ in 0..2 {
        let spans = SpanMetrics::new()
            .prefix("shop")
            .register(&registry)
            .unwrap();
        with_default(tracing_subscriber::registry().with(spans), || {
            drop(info_span!("s"))
        });
    }
    let labels = [("span", "s"), ("target", "labels")];
    let count = registry
        .snapshot()
        .get("shop_span_self_seconds_count", &labels);
    assert_eq!(count, Some(2.0));
}

#[test]
fn exponential_buckets_are_taken() {
    let settings = SpanMetrics::new().native(3).buckets(&[1.0]);
    let registry = measure(settings, |_| drop(info_span!("s")));
    let page = tallies::encode::text(&registry.snapshot());
    assert_eq!(
        page.matches("span_duration_seconds_bucket").count(),
        2,
        "{page}"
    );
    let value = registry.snapshot();
    let family = value.family("span_duration_seconds").unwrap();
    let (_, tallies::snapshot::Value::Histogram(histogram)) = family.series().next().unwrap()
    else {
        panic!("a histogram");
    };
    assert!(histogram.native().is_some());
}
