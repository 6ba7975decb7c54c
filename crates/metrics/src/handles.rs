//! Handles: one series each, behind the traits of `metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use metrics::{CounterFn, GaugeFn, HistogramFn, Key};
use tallies::{Bound, Counter, Gauge, Histogram, Summary};

use crate::families::FamilyTable;

/// A series of a counter.
///
/// `absolute` passes a total that the program keeps elsewhere. All handles of a series share the
/// largest total so far, and count its growth.
pub(super) struct CounterHandle {
    pub(super) series: Bound<Counter>,
    /// The key of the series. Without labels if the series is not the key's own.
    pub(super) key: Key,
    /// Whether the series belongs to this key alone. Otherwise it is the overflow series.
    pub(super) own: bool,
    pub(super) families: Arc<FamilyTable>,
    /// The largest total that `absolute` has received, shared by all handles of the series. Set by
    /// the first call of `absolute`; written by every later one.
    pub(super) largest: OnceLock<Arc<AtomicU64>>,
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
        // Relaxed: only the order of these calls matters, and all threads agree on it. Each call
        // counts the difference between its total and the maximum that it replaces, so no growth
        // counts twice.
        let before = largest.fetch_max(total, Relaxed);
        if total > before {
            self.series.add(total - before);
        }
    }
}

/// A series of a gauge.
pub(super) struct GaugeHandle(pub(super) Bound<Gauge>);

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

/// A series of a histogram.
pub(super) struct HistogramHandle(pub(super) Bound<Histogram>);

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

/// A series of a summary.
pub(super) struct SummaryHandle(pub(super) Bound<Summary>);

/// Uses the default `record_many`, which makes one observation per value.
impl HistogramFn for SummaryHandle {
    #[inline]
    fn record(&self, value: f64) {
        self.0.observe(value);
    }
}
