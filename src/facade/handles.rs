//! What an update goes to: one series, as the traits of `metrics` want it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use metrics::{CounterFn, GaugeFn, HistogramFn, Key};

use crate::declare::{BoundCounter, BoundGauge, BoundHistogram, BoundSummary};

use super::families::Families;

/// A counter's series. `absolute` is a total kept elsewhere, that of all handles together: what it grows by is counted.
pub(super) struct CounterHandle {
    series: BoundCounter,
    key: Key,
    /// Whether the series is that of the key, and not one of many beyond the limit.
    own: bool,
    families: Arc<Families>,
    /// The largest total that `absolute` was told of; asked for with its first call.
    largest: OnceLock<Arc<AtomicU64>>,
}

impl CounterHandle {
    pub(super) fn new(series: BoundCounter, key: Key, own: bool, families: &Arc<Families>) -> Self {
        Self {
            series,
            key,
            own,
            families: Arc::clone(families),
            largest: OnceLock::new(),
        }
    }
}

impl CounterFn for CounterHandle {
    #[inline]
    fn increment(&self, n: u64) {
        self.series.add(n);
    }

    fn absolute(&self, total: u64) {
        let largest = self
            .largest
            .get_or_init(|| self.families.largest_of(&self.key, self.own));
        // Whoever raises it counts the difference, and nobody counts one twice.
        let before = largest.fetch_max(total, Relaxed);
        if total > before {
            self.series.add(total - before);
        }
    }
}

pub(super) struct GaugeHandle(pub(super) BoundGauge);

impl GaugeFn for GaugeHandle {
    #[inline]
    fn increment(&self, value: f64) {
        self.0.series().add(value);
    }

    #[inline]
    fn decrement(&self, value: f64) {
        self.0.series().sub(value);
    }

    #[inline]
    fn set(&self, value: f64) {
        self.0.set(value);
    }
}

pub(super) struct HistogramHandle(pub(super) BoundHistogram);

impl HistogramFn for HistogramHandle {
    #[inline]
    fn record(&self, value: f64) {
        self.0.observe(value);
    }

    #[inline]
    fn record_many(&self, value: f64, count: usize) {
        self.0.series().observe_many(value, count as u64);
    }
}

pub(super) struct SummaryHandle(pub(super) BoundSummary);

/// `record_many` is so many observations, each at the cost of one.
impl HistogramFn for SummaryHandle {
    #[inline]
    fn record(&self, value: f64) {
        self.0.observe(value);
    }
}
