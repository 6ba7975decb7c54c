//! The cost of a span, beside an empty layer and beside metrics-tracing-context.
//!
//!     cargo bench -p tallies-tracing --bench spans
//!
//! A span is created, entered, left and closed. `empty` is a layer that does nothing, `filtered`
//! the same with a per-layer filter. `by_hand` is a layer that measures durations, in 15 lines.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use tallies_tracing::{SpanMetrics, SpanTime};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Level, Subscriber, dispatcher, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

struct Empty;

impl<S: Subscriber> Layer<S> for Empty {}

/// A layer that measures durations as one would by hand.
struct ByHand(tallies::Histogram<[&'static str; 1]>);

struct Started(Instant);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ByHand {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Started(Instant::now()));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id) {
            if let Some(Started(at)) = span.extensions().get::<Started>() {
                self.0.with([span.name()]).observe_duration(at.elapsed());
            }
        }
    }
}

fn measured(settings: SpanMetrics) -> Dispatch {
    let layer = settings.register(&tallies::Registry::new()).unwrap();
    Dispatch::new(tracing_subscriber::registry().with(layer))
}

fn spans(c: &mut Criterion) {
    let by_hand = tallies::Histogram::builder("by_hand_seconds", "Durations.")
        .labels(["span"])
        .register(&tallies::Registry::new())
        .unwrap();
    let duration = || SpanMetrics::new().times(&[SpanTime::Duration]);
    let all = [
        SpanTime::Duration,
        SpanTime::SelfTime,
        SpanTime::Busy,
        SpanTime::Idle,
    ];
    let trace = || SpanMetrics::new().trace_id(|_, _| Some(0x4bf9_2f35));
    let registry = tracing_subscriber::registry;
    let subscribers = [
        ("none", Dispatch::none()),
        ("registry", Dispatch::new(registry())),
        ("empty", Dispatch::new(registry().with(Empty))),
        (
            "filtered",
            Dispatch::new(registry().with(Empty.with_filter(LevelFilter::INFO))),
        ),
        ("by_hand", Dispatch::new(registry().with(ByHand(by_hand)))),
        ("duration", measured(duration().without_exemplars())),
        ("default", measured(SpanMetrics::new().without_exemplars())),
        (
            "all_times",
            measured(
                SpanMetrics::new()
                    .times(&all)
                    .in_progress()
                    .without_exemplars(),
            ),
        ),
        (
            "one_label",
            measured(SpanMetrics::new().field("tenant").without_exemplars()),
        ),
        ("exemplars", measured(trace())),
        (
            "metrics_tracing_context",
            Dispatch::new(registry().with(metrics_tracing_context::MetricsLayer::new())),
        ),
    ];
    let mut group = c.benchmark_group("span");
    for (name, dispatch) in &subscribers {
        dispatcher::with_default(dispatch, || {
            group.bench_function(*name, |b| {
                b.iter(|| {
                    let _span = info_span!("request", tenant = black_box("acme")).entered();
                });
            });
        });
    }
    group.finish();
    // A child, beside the same child without a measured parent.
    let mut group = c.benchmark_group("child");
    for (name, dispatch) in &subscribers {
        dispatcher::with_default(dispatch, || {
            let _parent = info_span!("parent").entered();
            group.bench_function(*name, |b| {
                b.iter(|| {
                    let _span = info_span!("request", tenant = black_box("acme")).entered();
                });
            });
        });
    }
    group.finish();
}

/// A duration with a label from a span's field, as a program gets it from each crate.
fn labelled_durations(c: &mut Criterion) {
    use metrics_util::layers::Layer as _;

    let mut group = c.benchmark_group("labelled_duration");
    let ours = measured(
        SpanMetrics::new()
            .times(&[SpanTime::Duration])
            .field("tenant"),
    );
    dispatcher::with_default(&ours, || {
        group.bench_function("tallies_tracing", |b| {
            b.iter(|| {
                let _span = info_span!("request", tenant = black_box("acme")).entered();
            });
        });
    });
    let subscriber =
        tracing_subscriber::registry().with(metrics_tracing_context::MetricsLayer::new());
    let exporter = metrics_exporter_prometheus::PrometheusBuilder::new()
        .set_buckets(&[
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ])
        .unwrap()
        .build_recorder();
    let recorder = metrics_tracing_context::TracingContextLayer::all().layer(exporter);
    dispatcher::with_default(&Dispatch::new(subscriber), || {
        metrics::with_local_recorder(&recorder, || {
            group.bench_function("metrics_tracing_context", |b| {
                b.iter(|| {
                    let _span = info_span!("request", tenant = black_box("acme")).entered();
                    let start = Instant::now();
                    metrics::histogram!("request_seconds").record(start.elapsed());
                });
            });
        });
    });
    group.finish();
}

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("event");
    let subscribers = [
        (
            "empty",
            Dispatch::new(tracing_subscriber::registry().with(Empty)),
        ),
        (
            "filtered",
            Dispatch::new(
                tracing_subscriber::registry().with(Empty.with_filter(LevelFilter::INFO)),
            ),
        ),
        (
            "counted",
            measured(SpanMetrics::new().times(&[]).count_events(Level::INFO)),
        ),
    ];
    for (name, dispatch) in &subscribers {
        dispatcher::with_default(dispatch, || {
            group.bench_function(*name, |b| b.iter(|| tracing::info!("event")));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = spans, labelled_durations, events
}
criterion_main!(benches);
