//! Panics of the program, and of other layers, in the middle of a span.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tallies::Registry;
use tracing::field::{Empty, debug};
use tracing::span::{Id, Record};
use tracing::subscriber::with_default;
use tracing::{Level, Subscriber, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::{Hands, all_times, in_progress};
use crate::settings::SpanMetrics;

/// A layer that panics while it holds the lock of a span's extensions.
struct Poisons;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Poisons {
    fn on_record(&self, id: &Id, _: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let _lock = span.extensions_mut();
        panic!("in a `Debug` implementation, say");
    }
}

/// The span is left and closed while the panic unwinds: a second panic would abort the program.
#[test]
fn a_layer_that_panics_costs_a_span_and_no_more() {
    let hands = Hands::default();
    let (registry, settings) = all_times(hands.clock());
    let layer = settings
        .field("x")
        .in_progress()
        .register(&registry)
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(Poisons).with(layer);
    with_default(subscriber, || {
        let outer = info_span!(target: "t", "outer").entered();
        let work = || {
            let span = info_span!(target: "t", "poisoned", x = Empty).entered();
            let child = info_span!(target: "t", "child").entered();
            hands.advance(3);
            drop(child);
            span.record("x", 1);
        };
        assert!(catch_unwind(work).is_err());
        drop(outer);
    });
    for span in ["outer", "child", "poisoned"] {
        assert_eq!(in_progress(&registry, span), Some(0.0), "{span} is closed");
    }
    let now = registry.snapshot();
    assert_eq!(now.get("spans_unmeasured_total", &[]), Some(1.0));
    for (span, count) in [
        ("outer", Some(1.0)),
        ("child", Some(1.0)),
        ("poisoned", None),
    ] {
        let labels = [("span", span), ("target", "t"), ("x", "")];
        let counted = now.get("span_duration_seconds_count", &labels);
        assert_eq!(counted.filter(|n| *n > 0.0), count, "{span}");
    }
}

/// A value that panics after some text.
struct Faulty;

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half a te")?;
        panic!("on purpose");
    }
}

/// The panic ended the creation of the span, which then stayed open, and its parent, too.
#[test]
fn a_debug_implementation_that_panics_leaves_an_empty_value() {
    let hands = Hands::default();
    let (registry, settings) = all_times(hands.clock());
    let layer = settings.field("x").in_progress().register(&registry);
    with_default(tracing_subscriber::registry().with(layer.unwrap()), || {
        let _outer = info_span!(target: "t", "outer").entered();
        let span = info_span!(target: "t", "span", x = ?Faulty);
        span.record("x", "whole");
        span.record("x", debug(Faulty));
        hands.advance(1);
    });
    let now = registry.snapshot();
    for span in ["outer", "span"] {
        assert_eq!(in_progress(&registry, span), Some(0.0), "{span}");
        let labels = [("span", span), ("target", "t"), ("x", "")];
        let count = now.get("span_duration_seconds_count", &labels);
        assert_eq!(count, Some(1.0), "{span}");
    }
}

/// Such as the `error!` of a guard, in a span whose lock another layer has poisoned.
#[test]
fn a_trace_source_that_panics_while_a_panic_unwinds_does_not_abort() {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            tracing::error!(target: "t", "dropped");
        }
    }
    let registry = Registry::new();
    let settings = SpanMetrics::new().count_events(Level::ERROR);
    let settings = settings.trace_id(|_, _| panic!("no trace"));
    let layer = settings.register(&registry).unwrap();
    with_default(tracing_subscriber::registry().with(layer), || {
        let work = AssertUnwindSafe(|| {
            let _span = info_span!(target: "t", "span").entered();
            let _guard = Guard;
            panic!("the first one");
        });
        assert!(catch_unwind(work).is_err());
    });
    let now = registry.snapshot();
    let labels = [("level", "error"), ("target", "t")];
    assert_eq!(now.get("tracing_events_total", &labels), Some(1.0));
    let labels = [("span", "span"), ("target", "t")];
    assert_eq!(now.get("span_duration_seconds_count", &labels), Some(1.0));
}
