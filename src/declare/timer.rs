//! Durations, observed in seconds.

use std::time::{Duration, Instant};

use super::histogram::HistogramSeries;

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
pub struct Timer<'a> {
    series: HistogramSeries<'a>,
    start: Instant,
    running: bool,
}

impl<'a> Timer<'a> {
    pub(crate) fn start(series: HistogramSeries<'a>) -> Self {
        Self {
            series,
            start: Instant::now(),
            running: true,
        }
    }

    /// Observes now, and says what.
    pub fn stop(mut self) -> Duration {
        self.running = false;
        let took = self.start.elapsed();
        self.series.observe(took.as_secs_f64());
        took
    }

    /// Observes nothing.
    pub fn discard(mut self) {
        self.running = false;
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if self.running {
            self.series.observe(self.start.elapsed().as_secs_f64());
        }
    }
}
