//! Timers, which observe durations in seconds, of every call or of a random sample.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Start;

use super::{Histogram, Series};

/// A metric that observes values: a histogram or summary, or a series of one.
///
/// Timers and `#[tallies::timed]` accept any of them, and types of the program. A metric with
/// labels does not implement this; its series do.
///
/// ```
/// use tallies::{Histogram, instrument::Observe, Summary};
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
/// assert_eq!((BUCKETS.get().count(), QUANTILES.get().count()), (1, 1));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot observe a duration",
    label = "not a histogram or summary without labels",
    note = "a `Histogram` or a `Summary` observes durations; one with labels needs their values: `#[tallies::timed(METRIC, labels = ..)]` or `METRIC.with(..)`"
)]
pub trait Observe {
    /// Observes `value`.
    fn observe(&self, value: f64);
}

/// A timer that observes the seconds from its start until it is dropped, also by an early return, a
/// panic, or a cancelled future.
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
/// assert_eq!(latency.get().count(), 2);
/// assert!(latency.get().sum >= took.as_secs_f64());
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// It costs two readings of the monotonic clock, about 25 ns each, and one observation. With the
/// feature `tsc` it reads the processor's time-stamp counter instead, about 15 ns each.
/// [`Histogram::sample`](crate::Histogram::sample) reads no clock for most calls.
#[derive(Debug)]
#[must_use = "it measures until it is dropped: `let _timer = ..`, not `let _ = ..`"]
pub struct Timer<M: Observe> {
    metric: M,
    start: Start,
    running: bool,
}

impl<M: Observe> Timer<M> {
    /// Starts a timer. A metric's `start_timer` method is the short form.
    #[inline]
    pub fn start(metric: M) -> Self {
        Self {
            metric,
            start: Start::now(),
            running: true,
        }
    }

    /// Observes now, and returns the duration.
    #[doc(alias = "stop_and_record")]
    pub fn stop(mut self) -> Duration {
        self.running = false;
        let took = self.start.elapsed();
        self.metric.observe(took.as_secs_f64());
        took
    }

    /// Stops the timer without observing anything.
    #[doc(alias = "stop_and_discard")]
    pub fn discard(mut self) {
        self.running = false;
    }
}

impl<M: Observe> Drop for Timer<M> {
    #[inline]
    fn drop(&mut self) {
        if self.running {
            self.metric.observe(self.start.seconds());
        }
    }
}

/// A histogram that times a random sample of the calls. See
/// [`Histogram::sample`](crate::Histogram::sample).
#[derive(Clone, Copy, Debug)]
pub struct Sampled<'a> {
    series: Series<'a, Histogram>,
    one_in: NonZeroU32,
}

impl<'a> Sampled<'a> {
    pub(crate) fn new(series: Series<'a, Histogram>, one_in: u32) -> Self {
        let one_in = NonZeroU32::new(one_in).unwrap_or(NonZeroU32::MIN);
        Self { series, one_in }
    }

    /// Starts a timer, which observes the seconds until it is dropped if this call is in the
    /// sample.
    #[inline]
    pub fn start_timer(self) -> SampledTimer<'a> {
        let start = in_sample(self.one_in.get()).then(Start::now);
        SampledTimer {
            sampled: self,
            start,
        }
    }

    /// Runs `f`, and observes the seconds that it took if this call is in the sample.
    pub fn time<R>(self, f: impl FnOnce() -> R) -> R {
        let _timer = self.start_timer();
        f()
    }
}

/// A timer of a sampled histogram. It observes its duration once for each call that it stands for.
/// See [`Histogram::sample`](crate::Histogram::sample).
#[derive(Debug)]
#[must_use = "it measures until it is dropped: `let _timer = ..`, not `let _ = ..`"]
pub struct SampledTimer<'a> {
    sampled: Sampled<'a>,
    start: Option<Start>,
}

impl SampledTimer<'_> {
    /// Stops the timer without observing anything.
    pub fn discard(mut self) {
        self.start = None;
    }
}

impl Drop for SampledTimer<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(start) = self.start {
            let Sampled { series, one_in } = self.sampled;
            series.observe_many(start.seconds(), u64::from(one_in.get()));
        }
    }
}

/// Returns `true` once in `one_in` calls on average, independent of the calls before. Taking every
/// `one_in`-th call would be biased: a program that does the same things in turn would always be
/// timed at the same one of them.
///
/// Source: xorshift64*, Vigna, ACM TOMS 42(4), 2016.
#[inline]
fn in_sample(one_in: u32) -> bool {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    let mut x = STATE.get();
    if x == 0 {
        x = RandomState::new().hash_one(one_in) | 1;
    }
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    STATE.set(x);
    let random = x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
    (random * u64::from(one_in)) >> 32 == 0
}

#[cfg(test)]
mod tests {
    #[test]
    fn samples_are_unbiased_and_do_not_beat_with_the_program() {
        let registry = crate::Registry::new();
        let latency = registry.histogram("s", "").unwrap();
        // Two kinds of calls alternate, and one call in eight is timed. Both kinds are timed about
        // equally often.
        let mut of = [0_u32; 2];
        for i in 0..100_000 {
            let timer = latency.sample(8).start_timer();
            of[i % 2] += u32::from(timer.start.is_some());
        }
        let count = latency.get().count();
        assert_eq!(count, 8 * u64::from(of[0] + of[1]));
        // Six standard deviations: sqrt(100 000 * 7) is 837, and sqrt(50 000 * 7) / 8 is 74.
        assert!(count.abs_diff(100_000) < 5_020, "{count}");
        assert!(of[0].abs_diff(of[1]) < 628, "{of:?}");
    }

    #[test]
    fn one_in_one_is_every_call_and_so_is_none() {
        let registry = crate::Registry::new();
        let latency = registry.histogram("s", "").unwrap();
        latency.sample(1).time(|| ());
        latency.sample(0).time(|| ());
        latency.sample(1).start_timer().discard();
        assert_eq!(latency.get().count(), 2);
    }
}
