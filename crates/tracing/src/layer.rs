//! The layer: what happens to a span becomes its times.
//!
//! No two locks are held at once: the lock of a span's extensions is taken for a few instructions,
//! never while code of the program runs, and never while the lock of its parent is.
//!
//! Another layer that panics while it holds this lock poisons it (a `Debug` implementation of the
//! program that panics while a layer formats it, say), and from then on the registry panics
//! whenever the lock is taken. The layer catches that: the span is closed while the first panic
//! unwinds, and a second one would abort the program.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::dispatcher::{self, Dispatch, WeakDispatch};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{ExtensionsMut, LookupSpan, SpanRef};

use crate::clock::Clock;
use crate::cover::Cover;
use crate::families::{ByTime, SpanFamilies};
use crate::settings::SpanTime;
use crate::state::{LayerNumber, SpanState, SpanStates};
use crate::trace::{TraceSource, TraceState};

/// The part of a [`SpanLayer`](crate::SpanLayer) that measures. Its filter chooses.
///
/// ```
/// # fn main() -> Result<(), tallies::Error> {
/// use tallies_tracing::{SpanLayer, SpanMetrics, SpanRecorder};
/// use tracing_subscriber::Registry;
///
/// let layer: SpanLayer<Registry> = SpanMetrics::new().register(&tallies::Registry::new())?;
/// let recorder: &SpanRecorder = layer.inner();
/// # let _ = recorder;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SpanRecorder {
    number: LayerNumber,
    clock: Clock,
    families: SpanFamilies,
    traces: Option<TraceSource>,
    /// The subscriber that the layer is part of. Set when it becomes one, or when a span is
    /// entered.
    dispatch: OnceLock<WeakDispatch>,
}

/// The number of the last layer.
static LAYERS: AtomicU64 = AtomicU64::new(0);

impl SpanRecorder {
    pub(crate) fn new(families: SpanFamilies, traces: Option<TraceSource>, clock: Clock) -> Self {
        Self {
            number: LAYERS.fetch_add(1, Relaxed) + 1,
            clock,
            families,
            traces,
            dispatch: OnceLock::new(),
        }
    }

    /// Runs `change` on the state of a span, unless the span has none.
    fn change<S: for<'a> LookupSpan<'a>, R>(
        &self,
        span: &SpanRef<'_, S>,
        change: impl FnOnce(&mut SpanState) -> R,
    ) -> Option<R> {
        let change = |mut extensions: ExtensionsMut<'_>| {
            let states = extensions.get_mut::<SpanStates>()?;
            states.of(self.number).map(change)
        };
        locked(span, change).flatten()
    }

    /// Changes the cover of the nearest measured ancestor.
    fn change_parent<S: for<'a> LookupSpan<'a>>(
        &self,
        span: &SpanRef<'_, S>,
        change: impl FnOnce(&mut Cover),
    ) {
        if self.families.has(SpanTime::SelfTime) {
            if let Some(parent) = span.parent() {
                self.change(&parent, |state| change(&mut state.children));
            }
        }
    }

    /// Returns whether the time inside spans is measured.
    fn measures_inside(&self) -> bool {
        self.families.has(SpanTime::Busy) || self.families.has(SpanTime::Idle)
    }

    /// Finds the subscriber that the layer is part of, if nobody told the layer: tracing-subscriber
    /// 0.3.23 does not pass `on_register_dispatch` on to layers in an `Option` or a `Vec`. No call
    /// has the subscriber, but the thread's default is the right one nearly always.
    ///
    /// Of several layers in one subscriber this finds the subscriber of the first.
    #[cold]
    fn find_subscriber(&self) {
        dispatcher::get_default(|dispatch| {
            let found = dispatch.downcast_ref::<Self>();
            if found.is_some_and(|recorder| recorder.number == self.number) {
                let _ = self.dispatch.set(dispatch.downgrade());
            }
        });
    }

    /// Returns the trace id of a span. No lock of the span may be held.
    fn trace_of(&self, span: &Id) -> Option<u128> {
        let traces = self.traces.as_ref()?;
        let dispatch = self.dispatch.get()?.upgrade()?;
        traces.of(span, &dispatch)
    }
}

impl<S> Layer<S> for SpanRecorder
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        let _ = self.dispatch.set(subscriber.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !self.families.has_spans() {
            return;
        }
        let Some(span) = context.span(id) else { return };
        let now = self.clock.now();
        let has_fields = self.families.begin(attributes.metadata());
        let fields = &self.families.fields;
        let read = || Box::new(fields.read(|visitor| attributes.record(visitor)));
        let state = SpanState {
            layer: self.number,
            started: now,
            values: has_fields.then(read),
            ..SpanState::default()
        };
        locked(&span, |mut extensions| {
            match extensions.get_mut::<SpanStates>() {
                Some(states) => states.add(state),
                None => drop(extensions.replace(SpanStates::new(state))),
            }
        });
        self.change_parent(&span, |children| children.begin(now));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if !self.families.has_spans() || !self.families.fields.any_in(span.metadata()) {
            return;
        }
        let newer = self.families.fields.read(|visitor| values.record(visitor));
        self.change(&span, |state| {
            if let Some(values) = &mut state.values {
                values.update(&newer);
            }
        });
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if self.traces.is_some() && self.dispatch.get().is_none() {
            self.find_subscriber();
        }
        if self.measures_inside() {
            if let Some(span) = context.span(id) {
                let now = self.clock.now();
                self.change(&span, |state| state.inside.begin(now));
            }
        }
    }

    /// Asks for the trace id when the span is left for the first time. Then the span has begun for
    /// OpenTelemetry, too, so the answer is final. When it is closed, the layer of OpenTelemetry
    /// may have forgotten it already.
    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let measures_inside = self.measures_inside();
        if !measures_inside && (self.traces.is_none() || !self.families.has_spans()) {
            return;
        }
        let Some(span) = context.span(id) else { return };
        let now = match measures_inside {
            true => self.clock.now(),
            false => 0,
        };
        let trace = self.change(&span, |state| {
            state.inside.end(now);
            state.trace
        });
        if self.traces.is_some() && trace == Some(TraceState::Unknown) {
            let trace = self.trace_of(id).into();
            self.change(&span, |state| state.trace = trace);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        // A link to a trace is worth a look-up where something went wrong.
        let is_linked = self.traces.is_some() && *metadata.level() <= Level::WARN;
        let span = is_linked.then(|| context.event_span(event)).flatten();
        let trace = span.and_then(|span| self.trace_of(&span.id()));
        self.families.event(metadata, trace);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if !self.families.has_spans() {
            return;
        }
        let Some(span) = context.span(&id) else {
            return;
        };
        let now = self.clock.now();
        let take = |mut extensions: ExtensionsMut<'_>| {
            let states = extensions.get_mut::<SpanStates>();
            states.and_then(|states| states.take(self.number))
        };
        let state = match locked(&span, take) {
            Some(Some(state)) => state,
            // It is closed for the second time.
            Some(None) => return,
            None => return self.families.lose(span.metadata()),
        };
        self.change_parent(&span, |children| children.end(now));
        self.families.end(
            span.metadata(),
            times(&state, now),
            state.values.as_deref(),
            state.trace.id(),
        );
    }
}

/// Runs `f` with the extensions of a span, under their lock. Returns `None` if the lock is
/// poisoned. `f` runs no code of others.
fn locked<'a, S: LookupSpan<'a>, R>(
    span: &SpanRef<'a, S>,
    f: impl FnOnce(ExtensionsMut<'_>) -> R,
) -> Option<R> {
    catch_unwind(AssertUnwindSafe(|| f(span.extensions_mut()))).ok()
}

/// Returns the times of a span that ends now. All are at most its duration.
fn times(state: &SpanState, now: u64) -> ByTime<u64> {
    let duration = now.saturating_sub(state.started);
    let busy = state.inside.total(now).min(duration);
    SpanTime::ALL.map(|time| match time {
        SpanTime::Duration => duration,
        SpanTime::SelfTime => duration.saturating_sub(state.children.total(now)),
        SpanTime::Busy => busy,
        SpanTime::Idle => duration - busy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(children: &[(u64, bool)], inside: &[(u64, bool)]) -> SpanState {
        let cover = |steps: &[(u64, bool)]| {
            let mut cover = Cover::default();
            for &(now, begins) in steps {
                match begins {
                    true => cover.begin(now),
                    false => cover.end(now),
                }
            }
            cover
        };
        SpanState {
            started: 10,
            children: cover(children),
            inside: cover(inside),
            ..SpanState::default()
        }
    }

    /// A subscriber may close a span before its children, and while a thread is inside.
    #[test]
    fn what_is_open_at_the_close_is_covered_until_then() {
        let state = state(&[(12, true), (14, false), (17, true)], &[(11, true)]);
        assert_eq!(times(&state, 20), [10, 5, 9, 1]);
    }

    /// Clocks of several threads are read in one order and reported in another.
    #[test]
    fn no_time_is_longer_than_the_span() {
        let before = state(&[(8, true), (25, false)], &[(8, true), (25, false)]);
        assert_eq!(times(&before, 20), [10, 0, 10, 0]);
        // The clock stood before the begin of the span.
        assert_eq!(times(&before, 5), [0, 0, 0, 0]);
    }
}
