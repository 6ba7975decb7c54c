//! Which spans and events are measured: levels, predicates, and the filters of other layers.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use support::{ended, events, exemplars, measure};
use tallies::Registry;
use tallies_tracing::{SpanMetrics, SpanTime};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Level, Subscriber, subscriber::with_default};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::reload;

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
        let quiet = log.clone().with_filter(LevelFilter::ERROR).boxed();
        let spans = SpanMetrics::new().count_events(Level::INFO);
        let spans = spans.register(&registry).unwrap().boxed();
        let layers = match log_is_outer {
            true => vec![spans, quiet],
            false => vec![quiet, spans],
        };
        with_default(tracing_subscriber::registry().with(layers), work);
        assert_eq!(ended(&registry, "warn"), Some(1.0));
        assert_eq!(ended(&registry, "info"), Some(1.0));
        assert_eq!(ended(&registry, "debug"), None);
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
        (ended(&registry, "warn"), ended(&registry, "info")),
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
        (ended(&registry, "warn"), ended(&registry, "debug")),
        (Some(1.0), Some(1.0))
    );
    assert_eq!(
        (ended(&registry, "info"), ended(&registry, "other")),
        (None, None)
    );
    assert_eq!(
        (events(&registry, "error"), events(&registry, "info")),
        (Some(1.0), None)
    );
    assert_eq!(log.0.load(Relaxed), 4);
}

/// Spans were created for this layer although it measures none.
#[test]
fn events_are_counted_without_spans() {
    for has_exemplars in [false, true] {
        let settings = SpanMetrics::new().times(&[]).count_events(Level::TRACE);
        let settings = match has_exemplars {
            true => settings.trace_id(|_, _| Some(7)),
            false => settings.without_exemplars(),
        };
        let registry = measure(settings, |_| {
            work();
            // An event finds its trace in the span.
            let span = tracing::info_span!(target: "t", "span");
            assert_eq!(span.is_disabled(), !has_exemplars);
            span.in_scope(|| tracing::warn!(target: "t", "an exemplar"));
        });
        assert_eq!(events(&registry, "trace"), Some(1.0));
        let exemplars = exemplars(&registry, "tracing_events_total");
        assert_eq!(!exemplars.is_empty(), has_exemplars);
        assert!(!registry.contains(SpanTime::Duration.family()));
    }
}

#[test]
fn a_filter_that_changes_while_a_span_is_open_does_not_lose_it() {
    let registry = Registry::new();
    let spans = SpanMetrics::new().in_progress().register(&registry);
    let (filter, handle) = reload::Layer::new(LevelFilter::INFO);
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(spans.unwrap());
    with_default(subscriber, || {
        let open = tracing::info_span!(target: "t", "span").entered();
        handle.reload(LevelFilter::OFF).unwrap();
        drop(tracing::info_span!(target: "t", "span"));
        drop(open);
        handle.reload(LevelFilter::INFO).unwrap();
        drop(tracing::info_span!(target: "t", "span"));
    });
    assert_eq!(ended(&registry, "span"), Some(2.0));
    let labels = [("span", "span"), ("target", "t")];
    let open = registry.snapshot().get("spans_in_progress", &labels);
    assert_eq!(open, Some(0.0));
}
