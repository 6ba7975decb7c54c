//! Unusual lives of spans: never closed, closed twice, longer than their subscriber, of several
//! layers.

use tallies::Registry;
use tracing::field::Empty;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Subscriber, dispatcher, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::{Hands, all_times, times_of};
use crate::settings::{SpanMetrics, SpanTime};

/// The drawing of the crate's page.
#[test]
fn the_drawing_is_right() {
    let hands = Hands::default();
    let (registry, settings) = all_times(hands.clock());
    let layer = settings.register(&registry).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let request = info_span!(target: "t", "request");
        let entered = request.enter();
        hands.advance(2);
        let user = info_span!(target: "t", "user");
        hands.advance(5);
        drop(user);
        hands.advance(2);
        let query = info_span!(target: "t", "query");
        hands.advance(3);
        drop(entered);
        hands.advance(4);
        let entered = request.enter();
        let render = info_span!(target: "t", "render");
        hands.advance(2);
        drop(query);
        hands.advance(6);
        drop(render);
        hands.advance(4);
        drop(entered);
    });
    assert_eq!(times_of(&registry, "request"), [28, 8, 24, 4]);
    assert_eq!(times_of(&registry, "query"), [9, 9, 0, 9]);
}

/// A layer that tells another of everything twice.
struct Twice<L>(L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for Twice<L> {
    fn on_layer(&mut self, subscriber: &mut S) {
        self.0.on_layer(subscriber);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_exit(id, context.clone());
        self.0.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.0.on_close(id.clone(), context.clone());
        self.0.on_enter(&id, context.clone());
        self.0.on_exit(&id, context.clone());
        self.0.on_close(id, context);
    }
}

#[test]
fn a_span_that_is_closed_twice_counts_once() {
    let hands = Hands::default();
    let (registry, settings) = all_times(hands.clock());
    let recorder = settings.in_progress().recorder(&registry).unwrap();
    let subscriber = tracing_subscriber::registry().with(Twice(recorder));
    tracing::subscriber::with_default(subscriber, || {
        let parent = info_span!(target: "t", "parent");
        let child = info_span!(target: "t", parent: &parent, "child").entered();
        let other = info_span!(target: "t", parent: &parent, "child");
        hands.advance(3);
        drop(child);
        hands.advance(4);
        drop(other);
    });
    assert_eq!(times_of(&registry, "parent"), [7, 0, 0, 7]);
    assert_eq!(times_of(&registry, "child"), [10, 10, 3, 7]);
    let now = registry.snapshot();
    for (span, count) in [("parent", 1.0), ("child", 2.0)] {
        let labels = [("span", span), ("target", "t")];
        assert_eq!(now.get("span_duration_seconds_count", &labels), Some(count));
        assert_eq!(now.get("spans_in_progress", &labels), Some(0.0));
    }
}

#[test]
fn a_span_that_is_never_closed_shows_as_in_progress() {
    let hands = Hands::default();
    let (registry, settings) = all_times(hands.clock());
    let layer = settings.in_progress().register(&registry).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let parent = info_span!(target: "t", "parent");
        std::mem::forget(info_span!(target: "t", parent: &parent, "lost"));
        hands.advance(5);
        drop(parent);
    });
    let now = registry.snapshot();
    for span in ["parent", "lost"] {
        let labels = [("span", span), ("target", "t")];
        assert_eq!(now.get("spans_in_progress", &labels), Some(1.0), "{span}");
        assert_eq!(now.get("span_duration_seconds_count", &labels), Some(0.0));
    }
}

/// The registry tells the thread's default subscriber, and no other, that a child no longer needs
/// its parent. So without it the parent stays open; nothing panics.
#[test]
fn a_span_that_outlives_its_subscriber_is_counted() {
    let hands = Hands::default();
    let (registry, settings) = all_times(hands.clock());
    let layer = settings.in_progress().register(&registry).unwrap();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    let (alone, parent, child) = dispatcher::with_default(&dispatch, || {
        let alone = info_span!(target: "t", "alone");
        let parent = info_span!(target: "t", "parent");
        let child = info_span!(target: "t", parent: &parent, "child");
        (alone, parent, child)
    });
    drop(dispatch);
    hands.advance(5);
    alone.in_scope(|| hands.advance(1));
    drop(alone);
    drop(child);
    drop(parent);
    assert_eq!(times_of(&registry, "alone"), [6, 6, 1, 5]);
    assert_eq!(times_of(&registry, "child"), [6, 6, 0, 6]);
    let labels = [("span", "parent"), ("target", "t")];
    assert_eq!(
        registry.snapshot().get("spans_in_progress", &labels),
        Some(1.0)
    );
}

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
    let layer = settings.field("x").register(&registry).unwrap();
    let subscriber = tracing_subscriber::registry().with(Poisons).with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let outer = info_span!(target: "t", "outer").entered();
        let work = || {
            let span = info_span!(target: "t", "poisoned", x = Empty).entered();
            let child = info_span!(target: "t", "child").entered();
            hands.advance(3);
            drop(child);
            span.record("x", 1);
        };
        assert!(std::panic::catch_unwind(work).is_err());
        drop(outer);
    });
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

#[test]
fn layers_of_one_subscriber_do_not_disturb_each_other() {
    let hands = Hands::default();
    let (all, settings) = all_times(hands.clock());
    let first = settings.register(&all).unwrap();
    let (only, settings) = all_times(hands.clock());
    let second = settings
        .only(|metadata| metadata.name() != "middle")
        .register(&only)
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(first).with(second);
    tracing::subscriber::with_default(subscriber, || {
        let outer = info_span!(target: "t", "outer").entered();
        hands.advance(1);
        let middle = info_span!(target: "t", "middle").entered();
        hands.advance(2);
        let inner = info_span!(target: "t", "inner").entered();
        hands.advance(4);
        drop((inner, middle, outer));
    });
    assert_eq!(times_of(&all, "outer"), [7, 1, 7, 0]);
    assert_eq!(times_of(&all, "middle"), [6, 2, 6, 0]);
    assert_eq!(
        times_of(&only, "outer"),
        [7, 3, 7, 0],
        "the nearest measured descendant covers"
    );
    assert_eq!(times_of(&only, "middle"), [0; 4]);
    for registry in [&all, &only] {
        assert_eq!(times_of(registry, "inner"), [4, 4, 4, 0]);
    }
}

#[test]
fn a_thread_that_is_still_inside_counts_until_the_close() {
    let hands = Hands::default();
    let (registry, settings) = all_times(hands.clock());
    let layer = settings.register(&registry).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let span = info_span!(target: "t", "span");
        hands.advance(1);
        span.with_subscriber(|(id, dispatch)| dispatch.enter(id));
        hands.advance(2);
        drop(span); // The registry closes it although a thread is inside.
    });
    assert_eq!(times_of(&registry, "span"), [3, 3, 2, 1]);
}

#[test]
fn only_the_times_that_were_chosen_are_families() {
    let registry = Registry::new();
    let settings = SpanMetrics::new().times(&[SpanTime::Idle]);
    let recorder = settings.recorder(&registry).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(recorder), || {
        drop(info_span!(target: "t", "span").entered());
    });
    let families: Vec<_> = SpanTime::ALL
        .iter()
        .filter(|t| registry.contains(t.family()))
        .collect();
    assert_eq!(families, [&SpanTime::Idle]);
    let labels = [("span", "span"), ("target", "t")];
    let count = registry.snapshot().get("span_idle_seconds_count", &labels);
    assert_eq!(count, Some(1.0));
}
