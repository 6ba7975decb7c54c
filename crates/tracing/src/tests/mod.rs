//! The layer with a clock that the tests turn, so that times are exact.

mod exactness;
mod lives;
mod panics;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tallies::Registry;
use tallies::snapshot::Snapshot;
use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;

use crate::clock::Clock;
use crate::settings::{SpanMetrics, SpanTime};

/// Hands of a clock.
#[derive(Clone, Default)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn clock(&self) -> Clock {
        Clock::Hands(Arc::clone(&self.0))
    }

    fn advance(&self, nanos: u64) {
        self.0.fetch_add(nanos, SeqCst);
    }

    fn now(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

/// A registry, and settings that measure all times on a clock.
fn all_times(clock: Clock) -> (Registry, SpanMetrics) {
    let settings = SpanMetrics::new().times(&SpanTime::ALL).clock(clock);
    (Registry::new(), settings)
}

/// Does `work` in a subscriber whose layer measures all times, and whose clock `work` turns.
fn measure(work: impl FnOnce(&Hands)) -> Registry {
    let hands = Hands::default();
    let (registry, settings) = all_times(hands.clock());
    let layer = settings.in_progress().register(&registry).unwrap();
    with_default(tracing_subscriber::registry().with(layer), || work(&hands));
    registry
}

/// Returns the number of spans of a name that are open.
fn in_progress(registry: &Registry, span: &str) -> Option<f64> {
    let labels = [("span", span), ("target", "t")];
    registry.snapshot().get("spans_in_progress", &labels)
}

/// Returns the number and the sum, in nanoseconds, of a time of the spans that have these labels.
fn sum(now: &Snapshot, time: SpanTime, labels: &[(&str, &str)]) -> (u64, u64) {
    let get = |part: &str| {
        let name = format!("{}_{part}", time.family());
        now.get(&name, labels).unwrap_or_default()
    };
    (get("count") as u64, (get("sum") * 1e9).round() as u64)
}

/// Returns the sums of all times of the spans of a name, in the order of [`SpanTime::ALL`].
fn times_of(registry: &Registry, span: &str) -> [u64; 4] {
    let now = registry.snapshot();
    let labels = [("span", span), ("target", "t")];
    SpanTime::ALL.map(|time| sum(&now, time, &labels).1)
}
