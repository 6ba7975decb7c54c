//! The methods of metrics that return timers and guards.

use std::time::Duration;

use crate::instrument::{InFlight, Observe, Timer, Track};
use crate::{Bound, Gauge, Histogram, Metric, Series, Summary, UpDownCounter};

/// Gives the timer methods to a metric that observes durations. `$constructor` is the method of a
/// registry that makes the metric.
macro_rules! timer_methods {
    ($($metric:ident, $constructor:ident);*) => {$(
        impl $metric {
            /// Starts a timer, which observes the seconds until it is dropped. See [`Timer`].
            pub fn start_timer(&self) -> Timer<&Self> {
                Timer::start(self)
            }

            /// Runs `f`, and observes the seconds that it took.
            ///
            /// ```
            /// let registry = tallies::Registry::new();
            #[doc = concat!("let latency = registry.", stringify!($constructor), "(\"sort_seconds\", \"Time to sort.\")?;")]
            /// let mut numbers = [3, 1, 2];
            /// latency.time(|| numbers.sort());
            /// assert_eq!(latency.get().count(), 1);
            /// # Ok::<(), tallies::Error>(())
            /// ```
            #[doc(alias = "observe_closure_duration")]
            pub fn time<R>(&self, f: impl FnOnce() -> R) -> R {
                let _timer = self.start_timer();
                f()
            }
        }
    )*};
}

timer_methods!(Histogram, histogram; Summary, summary);

impl Gauge {
    /// Adds 1 until the guard is dropped, also by a panic or a cancelled future.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let open = registry.gauge("connections_open", "Open connections.")?;
    /// let connection = open.track();
    /// assert_eq!(open.get(), 1.0);
    /// drop(connection);
    /// assert_eq!(open.get(), 0.0);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// All threads write one cell. An [`UpDownCounter`] does the same without sharing.
    pub fn track(&self) -> InFlight<&Self> {
        InFlight::enter(self)
    }
}

impl UpDownCounter {
    /// Adds 1 until the guard is dropped, also by a panic or a cancelled future.
    pub fn track(&self) -> InFlight<&Self> {
        InFlight::enter(self)
    }
}

impl<'a, M: Metric> Series<'a, M> {
    /// Observes a duration, in seconds.
    #[inline]
    pub fn observe_duration(&self, duration: Duration)
    where
        Self: Observe,
    {
        self.observe(duration.as_secs_f64());
    }

    /// Starts a timer, which observes the seconds until it is dropped.
    pub fn start_timer(self) -> Timer<Self>
    where
        Self: Observe,
    {
        Timer::start(self)
    }

    /// Runs `f`, and observes the seconds that it took.
    pub fn time<R>(&self, f: impl FnOnce() -> R) -> R
    where
        Self: Observe,
    {
        let _timer = self.start_timer();
        f()
    }

    /// Adds 1 until the guard is dropped, also by a panic or a cancelled future.
    pub fn track(self) -> InFlight<Self>
    where
        Self: Track,
    {
        InFlight::enter(self)
    }
}

impl<M: Metric> Bound<M> {
    /// Starts a timer, which observes the seconds until it is dropped.
    pub fn start_timer(&self) -> Timer<&Self>
    where
        Self: Observe,
    {
        Timer::start(self)
    }

    /// Runs `f`, and observes the seconds that it took.
    pub fn time<R>(&self, f: impl FnOnce() -> R) -> R
    where
        Self: Observe,
    {
        let _timer = self.start_timer();
        f()
    }

    /// Adds 1 until the guard is dropped, also by a panic or a cancelled future.
    pub fn track(&self) -> InFlight<&Self>
    where
        Self: Track,
    {
        InFlight::enter(self)
    }
}
