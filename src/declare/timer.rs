//! Durations, observed in seconds.

use std::time::{Duration, Instant};

use super::histogram::{BoundHistogram, Histogram, HistogramSeries};
use super::summary::{BoundSummary, Summary, SummarySeries};

/// What observes values: histograms and summaries, and a series of one.
///
/// Timers and `#[tallies::timed]` take any of them. A labelled metric is none before it has its labels.
///
/// ```
/// use tallies::{Histogram, Observe, Summary};
///
/// static BUCKETS: Histogram = Histogram::new("both_seconds");
/// static QUANTILES: Summary = Summary::new("both_quantiles_seconds");
///
/// /// Observes in both.
/// struct Both;
///
/// impl Observe for Both {
///     fn observe(&self, value: f64) {
///         BUCKETS.observe(value);
///         QUANTILES.observe(value);
///     }
/// }
///
/// #[tallies::timed(Both)]
/// fn work() {}
///
/// work();
/// assert_eq!((BUCKETS.total().count(), QUANTILES.total().count()), (1, 1));
/// ```
#[diagnostic::on_unimplemented(
    message = "a duration is observed by a `Histogram` or a `Summary`, which `{Self}` is not",
    label = "not a histogram or summary without labels",
    note = "a metric with labels needs them: `#[tallies::timed(METRIC, labels = ..)]`, or `METRIC.with(..)`"
)]
pub trait Observe {
    /// Observes `value`.
    fn observe(&self, value: f64);
}

macro_rules! observe {
    ($($metric:ty),*) => {$(
        impl Observe for $metric {
            #[inline]
            fn observe(&self, value: f64) {
                <$metric>::observe(self, value);
            }
        }
    )*};
}

observe!(
    Histogram,
    HistogramSeries<'_>,
    BoundHistogram,
    Summary,
    SummarySeries<'_>,
    BoundSummary
);

impl<M: Observe + ?Sized> Observe for &M {
    #[inline]
    fn observe(&self, value: f64) {
        M::observe(self, value);
    }
}

/// Observes the seconds from its start until it is dropped: also by an early return, a panic, or a cancelled future.
///
/// Costs its two readings of the monotonic clock, some 25 ns each, and one observation.
///
/// ```
/// let registry = tallies::Registry::new();
/// let latency = registry.histogram("latency_seconds", "Time to answer.")?;
/// {
///     let _timer = latency.start_timer();
/// }
/// let timer = latency.start_timer();
/// let took = timer.stop();
/// latency.start_timer().discard();
/// assert_eq!(latency.total().count(), 2);
/// assert!(latency.total().sum >= took.as_secs_f64());
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it observes when it is dropped"]
pub struct Timer<M: Observe> {
    metric: M,
    start: Instant,
    running: bool,
}

impl<M: Observe> Timer<M> {
    /// Starts one; `start_timer` of a metric is shorter.
    #[inline]
    pub fn start(metric: M) -> Self {
        Self {
            metric,
            start: Instant::now(),
            running: true,
        }
    }

    /// Observes now, and says what.
    pub fn stop(mut self) -> Duration {
        self.running = false;
        let took = self.start.elapsed();
        self.metric.observe(took.as_secs_f64());
        took
    }

    /// Observes nothing.
    pub fn discard(mut self) {
        self.running = false;
    }
}

impl<M: Observe> Drop for Timer<M> {
    #[inline]
    fn drop(&mut self) {
        if self.running {
            self.metric.observe(self.start.elapsed().as_secs_f64());
        }
    }
}
