//! Unusual lives of spans: never closed, closed twice, longer than their subscriber, of several
//! layers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use tallies::Registry;
use tracing::span::{Attributes, Id};
use tracing::subscriber::with_default;
use tracing::{Dispatch, Level, Subscriber, dispatcher, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::{Hands, all_times, in_progress, measure, sum, times_of};
use crate::settings::{SpanMetrics, SpanTime};

/// The drawing of the crate's page.
#[test]
fn the_drawing_is_right() {
    let registry = measure(|hands| {
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
    with_default(subscriber, || {
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
        assert_eq!(in_progress(&registry, span), Some(0.0));
    }
}

#[test]
fn a_span_that_is_never_closed_shows_as_in_progress() {
    let registry = measure(|hands| {
        let parent = info_span!(target: "t", "parent");
        std::mem::forget(info_span!(target: "t", parent: &parent, "lost"));
        hands.advance(5);
        drop(parent);
    });
    let now = registry.snapshot();
    for span in ["parent", "lost"] {
        let labels = [("span", span), ("target", "t")];
        assert_eq!(in_progress(&registry, span), Some(1.0), "{span}");
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
    assert_eq!(in_progress(&registry, "parent"), Some(1.0));
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
    with_default(subscriber, || {
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
    let registry = measure(|hands| {
        let span = info_span!(target: "t", "span");
        hands.advance(1);
        span.with_subscriber(|(id, dispatch)| dispatch.enter(id));
        hands.advance(2);
        drop(span); // The registry closes it although a thread is inside.
    });
    assert_eq!(times_of(&registry, "span"), [3, 3, 2, 1]);
}

#[test]
fn each_time_is_right_alone() {
    for time in SpanTime::ALL {
        let (registry, hands) = (Registry::new(), Hands::default());
        let settings = SpanMetrics::new().times(&[time]).clock(hands.clock());
        let recorder = settings.recorder(&registry).unwrap();
        with_default(tracing_subscriber::registry().with(recorder), || {
            let span = info_span!(target: "t", "span");
            hands.advance(1);
            span.in_scope(|| hands.advance(2));
            let child = info_span!(target: "t", parent: &span, "child");
            hands.advance(4);
            drop(child);
        });
        let labels = [("span", "span"), ("target", "t")];
        let expected = match time {
            SpanTime::Duration => 7,
            SpanTime::SelfTime => 3,
            SpanTime::Busy => 2,
            SpanTime::Idle => 5,
        };
        let found = sum(&registry.snapshot(), time, &labels);
        assert_eq!(found, (1, expected), "{time:?}");
    }
}

#[test]
fn only_the_times_that_were_chosen_are_families() {
    let registry = Registry::new();
    let settings = SpanMetrics::new().times(&[SpanTime::Idle]);
    let recorder = settings.recorder(&registry).unwrap();
    with_default(tracing_subscriber::registry().with(recorder), || {
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

/// A layer that does work of its own when a span is closed: a span and an event.
struct Audits;

impl<S: Subscriber> Layer<S> for Audits {
    fn on_close(&self, _: Id, _: Context<'_, S>) {
        // Once, since the registry tells the layer of the close of that span, too.
        thread_local!(static IS_AUDITING: Cell<bool> = const { Cell::new(false) });
        if !IS_AUDITING.replace(true) {
            // A root: the registry does not free it, nor would it release its parent.
            info_span!(target: "t", parent: None, "audit")
                .in_scope(|| tracing::info!(target: "t", "closed"));
            IS_AUDITING.set(false);
        }
    }
}

#[test]
fn a_layer_may_create_and_close_spans_when_a_span_is_closed() {
    for is_outer in [false, true] {
        let hands = Hands::default();
        let (registry, settings) = all_times(hands.clock());
        let settings = settings.in_progress().count_events(Level::INFO);
        let work = || {
            let outer = info_span!(target: "t", "outer").entered();
            hands.advance(2);
            info_span!(target: "t", "inner").in_scope(|| hands.advance(3));
            drop(outer);
        };
        let spans = tracing_subscriber::registry();
        if is_outer {
            with_default(
                spans
                    .with(settings.register(&registry).unwrap())
                    .with(Audits),
                work,
            );
        } else {
            with_default(
                spans
                    .with(Audits)
                    .with(settings.register(&registry).unwrap()),
                work,
            );
        }
        let now = registry.snapshot();
        for (span, count) in [("outer", 1), ("inner", 1), ("audit", 2)] {
            let labels = [("span", span), ("target", "t")];
            assert_eq!(sum(&now, SpanTime::Duration, &labels).0, count, "{span}");
            assert_eq!(in_progress(&registry, span), Some(0.0), "{span}");
        }
        assert_eq!(times_of(&registry, "outer"), [5, 2, 5, 0]);
        let labels = [("level", "info"), ("target", "t")];
        assert_eq!(now.get("tracing_events_total", &labels), Some(2.0));
    }
}

/// Numbers of spans are used again, by the same slot of the registry.
#[test]
fn a_span_has_nothing_of_the_one_that_had_its_number_before() {
    let ids = RefCell::new(BTreeSet::new());
    let registry = measure(|hands| {
        for i in 0..100 {
            let span = info_span!(target: "t", "span");
            ids.borrow_mut()
                .insert(span.id().unwrap().into_u64() & 0xffff);
            let child = info_span!(target: "t", parent: &span, "child").entered();
            hands.advance(i);
            drop(child);
            hands.advance(1);
            span.in_scope(|| hands.advance(1));
        }
    });
    assert!(ids.borrow().len() < 100, "no slot was used twice");
    assert_eq!(
        times_of(&registry, "span"),
        [4950 + 200, 200, 100, 4950 + 100]
    );
    assert_eq!(times_of(&registry, "child"), [4950, 4950, 4950, 0]);
}

/// A link to another span is no parent.
#[test]
fn a_span_that_follows_another_one_covers_nothing_of_it() {
    let registry = measure(|hands| {
        let cause = info_span!(target: "t", "cause");
        let effect = info_span!(target: "t", parent: None, "effect");
        effect.follows_from(&cause);
        hands.advance(3);
        drop(cause);
        hands.advance(4);
        drop(effect);
    });
    assert_eq!(times_of(&registry, "cause"), [3, 3, 0, 3]);
    assert_eq!(times_of(&registry, "effect"), [7, 7, 0, 7]);
}
