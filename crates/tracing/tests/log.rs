//! Warnings of tallies that come back to the layer as events, as with `tracing-log`.

mod support;

use support::{events, measure};
use tallies_tracing::SpanMetrics;
use tracing::{Level, info_span};

/// Makes events of records.
struct Bridge;

impl log::Log for Bridge {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target() == "tallies" {
            let span = info_span!(target: "t", "bridge", x = "also a span").entered();
            tracing::warn!(target: "t", parent: &span, "{}", record.args());
        }
    }

    fn flush(&self) {}
}

/// A family logs that it has reached its limit while it counts a span or an event. That may come
/// back to the same family.
#[test]
fn a_warning_that_becomes_an_event_is_counted() {
    static BRIDGE: Bridge = Bridge;
    log::set_logger(&BRIDGE).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let settings = SpanMetrics::new().count_events(Level::WARN);
    let settings = settings.field("x").limit(1).in_progress();
    let registry = measure(settings, |_| {
        for x in 0..3 {
            let _span = info_span!(target: "t", "span", x).entered();
            tracing::warn!(target: "t", "one");
            tracing::error!(target: "t", "two");
        }
    });
    let now = registry.snapshot();
    assert!(events(&registry, "warn") >= Some(3.0));
    for family in ["span_duration_seconds", "tracing_events_total"] {
        let family = now.family(family).unwrap();
        assert_eq!(family.len(), 2, "one series and the overflow series");
    }
    let over = [("span", "__overflow__"), ("target", "__overflow__")];
    assert_eq!(now.get("spans_in_progress", &over).unwrap_or(0.0), 0.0);
}
