//! Trace ids from the layer of OpenTelemetry, whichever layer comes first.

#![cfg(feature = "opentelemetry")]

mod support;

use opentelemetry::Context as OtelContext;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use support::{ended, events, exemplars, measure};
use tallies::Registry;
use tallies_tracing::SpanMetrics;
use tracing::{Level, info_span, subscriber::with_default};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::{Layer, SubscriberExt};

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const TEXT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn tracer(sampler: Sampler) -> SdkTracer {
    SdkTracerProvider::builder()
        .with_sampler(sampler)
        .build()
        .tracer("tests")
}

/// Does the work of a request that belongs to a remote trace.
fn work() {
    let remote = SpanContext::new(
        TraceId::from_bytes(TRACE.to_be_bytes()),
        SpanId::from_bytes([1; 8]),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let request = info_span!(target: "t", "request");
    request
        .set_parent(OtelContext::new().with_remote_span_context(remote))
        .unwrap();
    request.in_scope(|| tracing::error!(target: "t", "failed"));
}

#[test]
fn spans_and_errors_lead_to_their_trace() {
    for (spans_are_outer, activates) in [(true, true), (false, true), (true, false), (false, false)]
    {
        let registry = Registry::new();
        let settings = SpanMetrics::new().count_events(Level::ERROR);
        let traces = tracing_opentelemetry::layer().with_tracer(tracer(Sampler::AlwaysOn));
        let traces = traces.with_context_activation(activates).boxed();
        let spans = settings.register(&registry).unwrap().boxed();
        let layers = match spans_are_outer {
            true => vec![traces, spans],
            false => vec![spans, traces],
        };
        with_default(tracing_subscriber::registry().with(layers), work);
        assert_eq!(ended(&registry, "request"), Some(1.0));
        assert_eq!(exemplars(&registry, "span_duration_seconds"), [TEXT]);
        assert_eq!(exemplars(&registry, "span_self_seconds"), [TEXT]);
        assert_eq!(exemplars(&registry, "tracing_events_total"), [TEXT]);
    }
}

#[test]
fn spans_that_a_sampler_dropped_count_without_exemplar() {
    let registry = Registry::new();
    let spans = SpanMetrics::new()
        .count_events(Level::ERROR)
        .register(&registry)
        .unwrap();
    let traces = tracing_opentelemetry::layer().with_tracer(tracer(Sampler::AlwaysOff));
    with_default(
        tracing_subscriber::registry().with(traces).with(spans),
        || {
            for _ in 0..10 {
                work();
            }
        },
    );
    assert_eq!(ended(&registry, "request"), Some(10.0));
    assert!(exemplars(&registry, "span_duration_seconds").is_empty());
    assert_eq!(events(&registry, "error"), Some(10.0));
}

#[test]
fn without_a_layer_of_opentelemetry_nothing_has_a_trace() {
    let registry = measure(SpanMetrics::new(), |_| {
        info_span!(target: "t", "request").in_scope(|| ());
    });
    assert_eq!(ended(&registry, "request"), Some(1.0));
    assert!(exemplars(&registry, "span_duration_seconds").is_empty());
}

/// The function is set once per process, so this is its only test.
#[test]
fn updates_of_the_whole_program_are_traced() {
    let registry = Registry::new();
    let spans = SpanMetrics::new()
        .trace_updates()
        .register(&registry)
        .unwrap();
    let orders = registry.counter("orders_total", "Orders.").unwrap();
    let passive = registry.counter("passive_total", "Orders.").unwrap();
    let traces = tracing_opentelemetry::layer().with_tracer(tracer(Sampler::AlwaysOn));
    with_default(
        tracing_subscriber::registry().with(traces).with(spans),
        || {
            info_span!("request").in_scope(|| orders.inc_traced());
        },
    );
    assert_eq!(exemplars(&registry, "orders_total").len(), 1);
    // Spans that are not made current for OpenTelemetry.
    let traces = tracing_opentelemetry::layer().with_tracer(tracer(Sampler::AlwaysOn));
    let traces = traces.with_context_activation(false);
    with_default(tracing_subscriber::registry().with(traces), || {
        info_span!("request").in_scope(|| passive.inc_traced());
    });
    assert_eq!(exemplars(&registry, "passive_total").len(), 1);
    // A context that is no span of `tracing`.
    let span = SpanContext::new(
        TraceId::from_bytes(TRACE.to_be_bytes()),
        SpanId::from_bytes([1; 8]),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let _attached = OtelContext::new().with_remote_span_context(span).attach();
    orders.inc_traced();
    assert_eq!(exemplars(&registry, "orders_total"), [TEXT]);
}
