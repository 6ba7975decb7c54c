//! Exact numbers of allocations.

#[path = "../../../tests/support/counting.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod counting;

use counting::allocations;
use tallies::Registry;
use tallies_tracing::{SpanMetrics, SpanTime};
use tracing::{Level, info_span, subscriber::with_default};
use tracing_subscriber::layer::SubscriberExt;

/// The extension is a box, as each extension is.
#[test]
fn a_span_allocates_its_extension_and_nothing_else() {
    let registry = Registry::new();
    let settings = SpanMetrics::new().times(&[
        SpanTime::Duration,
        SpanTime::SelfTime,
        SpanTime::Busy,
        SpanTime::Idle,
    ]);
    let settings = settings
        .field("tenant")
        .in_progress()
        .count_events(Level::INFO);
    let spans = settings.without_exemplars().register(&registry).unwrap();
    let work = || {
        let _outer = info_span!("outer").entered();
        let _inner = info_span!("inner", other = "a").entered();
        tracing::info!("event");
    };
    let labelled = || drop(info_span!("labelled", tenant = "acme"));
    with_default(tracing_subscriber::registry().with(spans), || {
        for _ in 0..2000 {
            work();
            labelled();
        }
        assert_eq!(allocations(|| (0..1000).for_each(|_| work())), 2000);
        // The values: a box and its text.
        assert_eq!(allocations(|| (0..1000).for_each(|_| labelled())), 3000);
    });
}
