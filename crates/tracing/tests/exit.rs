//! Spans that end with their thread: thread-locals of the program, of the registry and of tallies
//! are destroyed in an order that nobody chose.

use std::cell::RefCell;
use std::thread;

use tallies::Registry;
use tallies_tracing::{SpanMetrics, SpanTime};
use tracing::{Dispatch, Level, Span, dispatcher, info_span};
use tracing_subscriber::layer::SubscriberExt;

/// Ends a span when its thread ends, and does more work if the registry still can: it panics in a
/// thread whose stack of spans is destroyed.
struct Last {
    dispatch: Dispatch,
    span: Span,
    does_more: bool,
}

impl Drop for Last {
    fn drop(&mut self) {
        if self.does_more {
            dispatcher::with_default(&self.dispatch, || {
                self.span.in_scope(|| tracing::error!(target: "t", "late"));
                info_span!(target: "t", "late").in_scope(|| ());
            });
        }
    }
}

thread_local!(static LAST: RefCell<Option<Last>> = const { RefCell::new(None) });

#[test]
fn spans_that_end_with_their_thread_count() {
    for is_first in [true, false] {
        let registry = Registry::new();
        let times = [SpanTime::Duration, SpanTime::SelfTime, SpanTime::Busy];
        let settings = SpanMetrics::new().times(&times).in_progress();
        let settings = settings.count_events(Level::ERROR);
        let layer = settings.register(&registry).unwrap();
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        let work = || {
            // The thread-local that is used first is destroyed last.
            if is_first {
                LAST.with(|last| assert!(last.borrow().is_none()));
            }
            let span = dispatcher::with_default(&dispatch, || {
                info_span!(target: "t", "before").in_scope(|| ());
                info_span!(target: "t", "span")
            });
            LAST.set(Some(Last {
                dispatch: dispatch.clone(),
                span,
                does_more: !is_first,
            }));
        };
        thread::scope(|scope| scope.spawn(work).join()).unwrap();
        let now = registry.snapshot();
        let late = (!is_first).then_some("late");
        for span in ["before", "span"].into_iter().chain(late) {
            let labels = [("span", span), ("target", "t")];
            let count = now.get("span_duration_seconds_count", &labels);
            assert_eq!(count, Some(1.0), "{span}");
            assert_eq!(now.get("spans_in_progress", &labels), Some(0.0), "{span}");
        }
        let labels = [("level", "error"), ("target", "t")];
        let count = now.get("tracing_events_total", &labels);
        assert_eq!(count, late.map(|_| 1.0));
    }
}
