//! Trace ids as exemplars, from a function of the program.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use support::{ended, exemplars, measure};
use tallies::Registry;
use tallies_tracing::{SpanLayer, SpanMetrics};
use tracing::{Level, info_span, subscriber::with_default};
use tracing_subscriber::layer::SubscriberExt;

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const TEXT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn the_source_is_asked_once_per_span_and_for_errors() {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let settings = SpanMetrics::new().field("n").count_events(Level::INFO);
    let settings = settings.trace_id(move |_, _| {
        counter.fetch_add(1, Relaxed);
        Some(TRACE)
    });
    let registry = measure(settings, |registry| {
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
        assert!(exemplars(registry, "tracing_events_total").is_empty());
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
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let settings = SpanMetrics::new().trace_id(move |_, _| {
        counter.fetch_add(1, Relaxed);
        None
    });
    let registry = measure(settings, |_| {
        let span = info_span!(target: "t", "s");
        span.in_scope(|| ());
        span.in_scope(|| ());
    });
    assert_eq!(asked.load(Relaxed), 1, "None is an answer");
    assert!(exemplars(&registry, "span_duration_seconds").is_empty());
    assert_eq!(ended(&registry, "s"), Some(1.0));
}

/// The function is set once per process, so this is its only test.
#[test]
fn updates_of_the_whole_program_are_traced_by_the_current_span() {
    let settings = || {
        SpanMetrics::new()
            .trace_id(|_, _| Some(TRACE))
            .trace_updates()
    };
    let registry = measure(settings(), |registry| {
        let orders = registry.counter("orders_total", "Orders.").unwrap();
        orders.inc_traced();
        assert!(
            exemplars(registry, "orders_total").is_empty(),
            "no span, no trace"
        );
        info_span!("s").in_scope(|| orders.inc_traced());
    });
    assert_eq!(exemplars(&registry, "orders_total"), [TEXT]);
    let again: Result<SpanLayer<tracing_subscriber::Registry>, _> = settings().register(&registry);
    assert!(again.err().unwrap().to_string().contains("already set"));
}

/// Such layers are not told of which subscriber they are a part: there were no exemplars.
#[test]
fn a_layer_in_an_option_or_a_list_has_exemplars() {
    for is_list in [false, true] {
        let registry = Registry::new();
        let settings = SpanMetrics::new().count_events(Level::WARN);
        let settings = settings.trace_id(|_, dispatch| {
            assert!(dispatch.is::<tracing_subscriber::Registry>());
            Some(TRACE)
        });
        let spans = settings.register(&registry).unwrap();
        let work = || info_span!("s").in_scope(|| tracing::warn!("in the first span"));
        if is_list {
            with_default(tracing_subscriber::registry().with(vec![spans]), work);
        } else {
            with_default(tracing_subscriber::registry().with(Some(spans)), work);
        }
        assert_eq!(exemplars(&registry, "span_self_seconds"), [TEXT]);
        assert_eq!(exemplars(&registry, "tracing_events_total"), [TEXT]);
    }
}
