//! Which spans and events are measured: levels, predicates, and the filters of other layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tallies::Registry;
use tallies_tracing::{SpanMetrics, SpanTime};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Level, Subscriber, subscriber::with_default};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

fn count(registry: &Registry, span: &str) -> Option<f64> {
    let labels = [("span", span), ("target", "t")];
    registry
        .snapshot()
        .get("span_duration_seconds_count", &labels)
}

fn events(registry: &Registry, level: &str) -> Option<f64> {
    let labels = [("level", level), ("target", "t")];
    registry.snapshot().get("tracing_events_total", &labels)
}

/// Another layer of the program, such as one that logs.
#[derive(Clone, Default)]
struct Log(Arc<AtomicU64>);

impl<S: Subscriber> Layer<S> for Log {
    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn work() {
    let _warn = tracing::warn_span!(target: "t", "warn").entered();
    let _info = tracing::info_span!(target: "t", "info").entered();
    let _debug = tracing::debug_span!(target: "t", "debug").entered();
    let _other = tracing::info_span!(target: "other", "other").entered();
    tracing::error!(target: "t", "an error");
    tracing::info!(target: "t", "an information");
    tracing::trace!(target: "t", "a trace");
}

#[test]
fn the_filter_of_a_log_does_not_silence_it() {
    for log_is_outer in [false, true] {
        let registry = Registry::new();
        let log = Log::default();
        let settings = SpanMetrics::new().count_events(Level::INFO);
        if log_is_outer {
            let quiet = log.clone().with_filter(LevelFilter::ERROR);
            let spans = settings.register(&registry).unwrap();
            with_default(tracing_subscriber::registry().with(spans).with(quiet), work);
        } else {
            let quiet = log.clone().with_filter(LevelFilter::ERROR);
            let spans = settings.register(&registry).unwrap();
            with_default(tracing_subscriber::registry().with(quiet).with(spans), work);
        }
        assert_eq!(count(&registry, "warn"), Some(1.0));
        assert_eq!(count(&registry, "info"), Some(1.0));
        assert_eq!(count(&registry, "debug"), None);
        assert_eq!(
            (events(&registry, "error"), events(&registry, "info")),
            (Some(1.0), Some(1.0))
        );
        assert_eq!(events(&registry, "trace"), None);
        assert_eq!(log.0.load(Relaxed), 0, "nor does it make the log talk");
    }
}

/// A filter that is a layer of its own disables callsites for everybody. No layer can change that:
/// the crate's page says to give filters to the layers they are for.
#[test]
fn a_filter_for_everybody_is_also_for_this_layer() {
    let registry = Registry::new();
    let spans = SpanMetrics::new().register(&registry).unwrap();
    let subscriber = tracing_subscriber::registry()
        .with(LevelFilter::WARN)
        .with(spans);
    with_default(subscriber, work);
    assert_eq!(
        (count(&registry, "warn"), count(&registry, "info")),
        (Some(1.0), None)
    );
}

#[test]
fn the_most_verbose_level_and_a_function_choose() {
    let registry = Registry::new();
    let spans = SpanMetrics::new()
        .level(Level::DEBUG)
        .only(|metadata| metadata.name() != "info" && metadata.target() == "t")
        .count_events(Level::ERROR)
        .register(&registry)
        .unwrap();
    let log = Log::default();
    let all = log.clone().with_filter(LevelFilter::TRACE);
    with_default(tracing_subscriber::registry().with(all).with(spans), work);
    assert_eq!(
        (count(&registry, "warn"), count(&registry, "debug")),
        (Some(1.0), Some(1.0))
    );
    assert_eq!(
        (count(&registry, "info"), count(&registry, "other")),
        (None, None)
    );
    assert_eq!(
        (events(&registry, "error"), events(&registry, "info")),
        (Some(1.0), None)
    );
    assert_eq!(log.0.load(Relaxed), 4);
}

#[test]
fn events_are_counted_without_spans() {
    let registry = Registry::new();
    let settings = SpanMetrics::new().times(&[]).count_events(Level::TRACE);
    let spans = settings.level(Level::ERROR).register(&registry).unwrap();
    with_default(tracing_subscriber::registry().with(spans), work);
    assert_eq!(events(&registry, "trace"), Some(1.0));
    assert!(!registry.contains(SpanTime::Duration.family()));
}
