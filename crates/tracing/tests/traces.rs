//! Trace ids as exemplars, from a function of the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tallies::Registry;
use tallies_tracing::{SpanLayer, SpanMetrics};
use tracing::{Level, info_span, subscriber::with_default};
use tracing_subscriber::layer::SubscriberExt;

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const TEXT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn exemplars(registry: &Registry, family: &str) -> Vec<String> {
    let now = registry.snapshot();
    let family = now.family(family).unwrap();
    let all = (0..family.len()).flat_map(|i| family.exemplars(i));
    all.map(|(_, exemplar)| exemplar.labels().next().unwrap().1.into_owned())
        .collect()
}

#[test]
fn the_source_is_asked_once_per_span_and_for_errors() {
    let registry = Registry::new();
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let settings = SpanMetrics::new().field("n").count_events(Level::INFO);
    let settings = settings.trace_id(move |_, _| {
        counter.fetch_add(1, Relaxed);
        Some(TRACE)
    });
    let spans = settings.register(&registry).unwrap();
    with_default(tracing_subscriber::registry().with(spans), || {
        for labelled in [true, false] {
            let span = match labelled {
                true => info_span!("s", n = 1),
                false => info_span!("t"),
            };
            for _ in 0..3 {
                span.in_scope(|| ());
            }
        }
        assert_eq!(asked.load(Relaxed), 2);
        let never_entered = info_span!("s");
        tracing::error!("no span");
        drop(never_entered);
        let known = info_span!("s").entered();
        tracing::info!("no link");
        assert_eq!(
            asked.load(Relaxed),
            2,
            "a link to an event of INFO is not asked for"
        );
        std::mem::forget(known);
        assert_eq!(asked.load(Relaxed), 2);
        assert!(exemplars(&registry, "tracing_events_total").is_empty());
        info_span!("s").in_scope(|| tracing::error!("a link"));
    });
    assert_eq!(exemplars(&registry, "span_self_seconds").len(), 3);
    assert!(
        exemplars(&registry, "span_duration_seconds")
            .iter()
            .all(|id| id == TEXT)
    );
    assert_eq!(exemplars(&registry, "tracing_events_total"), [TEXT]);
}

#[test]
fn a_span_without_a_trace_counts_without_an_exemplar() {
    let registry = Registry::new();
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let spans = SpanMetrics::new().trace_id(move |_, _| {
        counter.fetch_add(1, Relaxed);
        None
    });
    let spans = spans.register(&registry).unwrap();
    with_default(tracing_subscriber::registry().with(spans), || {
        let span = info_span!("s");
        span.in_scope(|| ());
        span.in_scope(|| ());
    });
    assert_eq!(asked.load(Relaxed), 1, "None is an answer");
    assert!(exemplars(&registry, "span_duration_seconds").is_empty());
    let labels = [("span", "s"), ("target", "traces")];
    let count = registry
        .snapshot()
        .get("span_duration_seconds_count", &labels);
    assert_eq!(count, Some(1.0));
}

/// The function is set once per process, so this is its only test.
#[test]
fn updates_of_the_whole_program_are_traced_by_the_current_span() {
    let registry = Registry::new();
    let settings = || {
        SpanMetrics::new()
            .trace_id(|_, _| Some(TRACE))
            .trace_updates()
    };
    let spans = settings().register(&registry).unwrap();
    let orders = registry.counter("orders_total", "Orders.").unwrap();
    with_default(tracing_subscriber::registry().with(spans), || {
        orders.inc_traced();
        assert!(
            exemplars(&registry, "orders_total").is_empty(),
            "no span, no trace"
        );
        info_span!("s").in_scope(|| orders.inc_traced());
    });
    assert_eq!(exemplars(&registry, "orders_total"), [TEXT]);
    let again: Result<SpanLayer<tracing_subscriber::Registry>, _> = settings().register(&registry);
    assert!(again.err().unwrap().to_string().contains("already set"));
}
