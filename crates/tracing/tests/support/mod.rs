//! A subscriber with the layer, and views of its page.

#![allow(dead_code, reason = "each test uses some of it")]

use tallies::Registry;
use tallies_tracing::SpanMetrics;
use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;

/// Does `work` in a subscriber that has the layer and nothing else.
pub fn measure(settings: SpanMetrics, work: impl FnOnce(&Registry)) -> Registry {
    let registry = Registry::new();
    let spans = settings.register(&registry).unwrap();
    with_default(tracing_subscriber::registry().with(spans), || {
        work(&registry);
    });
    registry
}

/// Returns the number of spans of a name that ended.
pub fn ended(registry: &Registry, span: &str) -> Option<f64> {
    let labels = [("span", span), ("target", "t")];
    registry
        .snapshot()
        .get("span_duration_seconds_count", &labels)
}

/// Returns the number of events of a level.
pub fn events(registry: &Registry, level: &str) -> Option<f64> {
    let labels = [("level", level), ("target", "t")];
    registry.snapshot().get("tracing_events_total", &labels)
}

/// Returns the trace ids in the exemplars of a family.
pub fn exemplars(registry: &Registry, family: &str) -> Vec<String> {
    let now = registry.snapshot();
    let family = now.family(family).unwrap();
    let all = (0..family.len()).flat_map(|i| family.exemplars(i));
    all.map(|(_, exemplar)| exemplar.labels().next().unwrap().1.into_owned())
        .collect()
}
