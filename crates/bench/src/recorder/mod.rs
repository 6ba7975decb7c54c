//! Recorders of durations, for harnesses: each thread counts in cells of its own, readers take
//! intervals without stopping a writer, and recordings merge and are exported.
//!
//! ```
//! use std::time::Duration;
//! use tallies_bench::recorder::Recorder;
//!
//! let recorder = Recorder::new("query_seconds")?;
//! let mut every_second = recorder.intervals();
//! std::thread::scope(|threads| {
//!     for _ in 0..2 {
//!         threads.spawn(|| (0..500).for_each(|us| recorder.record(Duration::from_micros(us))));
//!     }
//! });
//! assert_eq!(every_second.next_interval().distribution().count(), 1000);
//! assert_eq!(every_second.next_interval().distribution().count(), 0);
//! assert_eq!(recorder.read().distribution().count(), 1000);
//! # Ok::<(), tallies_bench::Error>(())
//! ```
//!
//! The load generator of this crate is one user of this module; it has no access that other
//! harnesses lack.

mod distribution;
mod hdr;
mod json;
mod recording;

use std::time::{Duration, Instant, SystemTime};

use tallies::{Bound, Histogram, Registry};

use crate::Error;

pub use distribution::{Bucket, Distribution};
pub use hdr::IntervalLog;
pub use recording::Recording;

/// The most buckets that a thread or a reading has before the resolution is halved.
const MOST_BUCKETS: u32 = 8192;

/// Records durations from any number of threads.
///
/// ```
/// use std::time::Duration;
///
/// let recorder = tallies_bench::recorder::Recorder::new("query_seconds")?;
/// recorder.record(Duration::from_micros(250));
/// assert_eq!(recorder.read().distribution().count(), 1);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
///
/// A recorder is a native histogram of `tallies` at schema 8: buckets are 0.27 % wide, and counts
/// are exact. `record` takes no lock and writes no cache line of another thread; a reader never
/// stops a writer. A bucket that is in use takes 32 bytes in every thread; a thread that uses more
/// than 8 192 buckets (32 powers of two, if it uses all of them) continues with half the
/// resolution, which [`Distribution::bucket_width`] tells.
///
/// Clones record in the same histogram. It is in a [`Registry`], so a server of `tallies` shows it
/// while the measurement runs.
#[derive(Clone, Debug)]
pub struct Recorder {
    name: String,
    series: Bound<Histogram>,
    /// The time at which the recorder was made, for people: the begin of readings.
    begin: SystemTime,
    /// The same on the monotonic clock, for their lengths.
    made: Instant,
}

impl Recorder {
    /// Returns a recorder with a registry of its own. By convention the name ends in `_seconds`.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is not one of a metric.
    #[track_caller]
    pub fn new(name: &str) -> Result<Self, Error> {
        Self::in_registry(name, "Recorded durations.", &Registry::new())
    }

    /// Returns a recorder whose histogram is in `registry`.
    ///
    /// ```
    /// use tallies_bench::recorder::Recorder;
    ///
    /// let registry = tallies::Registry::new();
    /// let recorder = Recorder::in_registry("query_seconds", "Time of a query.", &registry)?;
    /// recorder.record_seconds(0.25);
    /// assert_eq!(registry.snapshot().get("query_seconds_count", &[]), Some(1.0));
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the name is not one of a metric, or if the registry has another family
    /// of this name.
    #[track_caller]
    pub fn in_registry(name: &str, help: &str, registry: &Registry) -> Result<Self, Error> {
        let histogram = Histogram::builder(name, help)
            .native(distribution::FINEST)
            .native_limit(MOST_BUCKETS)
            .hot()
            .register(registry)?;
        Ok(Self::of(name, histogram.bind(())))
    }

    /// Returns one recorder for each value of a label, all of one family.
    ///
    /// ```
    /// use tallies_bench::recorder::Recorder;
    ///
    /// let registry = tallies::Registry::new();
    /// let label = ("kind", ["read", "write"]);
    /// let help = "Time of a query.";
    /// let [read, write] = Recorder::labelled("query_seconds", help, label, &registry)?;
    /// read.record_seconds(0.25);
    /// assert_eq!(read.read().distribution().count(), 1);
    /// assert_eq!(write.read().distribution().count(), 0);
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`in_registry`](Self::in_registry), and if the label's name is invalid.
    #[track_caller]
    pub fn labelled<const N: usize>(
        name: &str,
        help: &str,
        (label, values): (&str, [&str; N]),
        registry: &Registry,
    ) -> Result<[Self; N], Error> {
        let histogram = Histogram::builder(name, help)
            .native(distribution::FINEST)
            .native_limit(MOST_BUCKETS)
            .hot()
            .labels([label])
            .register(registry)?;
        Ok(values.map(|value| Self::of(name, histogram.bind([value]))))
    }

    fn of(name: &str, series: Bound<Histogram>) -> Self {
        Self {
            name: name.to_owned(),
            series,
            begin: SystemTime::now(),
            made: Instant::now(),
        }
    }

    /// Records a duration.
    #[inline]
    pub fn record(&self, duration: Duration) {
        self.series.observe(duration.as_secs_f64());
    }

    /// Records a number of seconds.
    ///
    /// A number that is negative, infinite or NaN is not recorded, but counted in
    /// `tallies_rejected_updates_total` of the registry.
    ///
    /// ```
    /// let recorder = tallies_bench::recorder::Recorder::new("query_seconds")?;
    /// recorder.record_seconds(-1.0);
    /// recorder.record_seconds(1.0);
    /// assert_eq!(recorder.read().distribution().count(), 1);
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    #[inline]
    pub fn record_seconds(&self, seconds: f64) {
        let is_duration = (0.0..f64::INFINITY).contains(&seconds);
        // The histogram rejects NaN and counts that.
        self.series
            .observe(if is_duration { seconds } else { f64::NAN });
    }

    /// Records a duration `times` times, at the cost of one.
    pub fn record_many(&self, duration: Duration, times: u64) {
        self.series.observe_many(duration.as_secs_f64(), times);
    }

    /// Returns everything that was recorded since the recorder was made.
    ///
    /// A value whose `record` returned before this call is in it. The call waits for another
    /// reader, never for a writer, and its cost grows with the number of threads and of buckets in
    /// use.
    #[must_use]
    pub fn read(&self) -> Recording {
        let elapsed = self.made.elapsed();
        let seen = self.series.get();
        let distribution = match &seen.native {
            Some(native) => Distribution::of(native, seen.sum),
            None => Distribution::default(),
        };
        Recording {
            name: self.name.clone(),
            begin: self.begin,
            elapsed,
            distribution,
        }
    }

    /// Returns a reader of intervals, which begin now. Any number of readers can have their own
    /// intervals: nothing is reset.
    #[must_use]
    pub fn intervals(&self) -> Intervals {
        Intervals {
            last: self.read(),
            recorder: self.clone(),
        }
    }
}

/// A reader of what a [`Recorder`] records from one call to the next.
///
/// ```
/// let recorder = tallies_bench::recorder::Recorder::new("query_seconds")?;
/// let (mut one, mut two) = (recorder.intervals(), recorder.intervals());
/// recorder.record_seconds(0.25);
/// assert_eq!(one.next_interval().distribution().count(), 1);
/// recorder.record_seconds(0.25);
/// assert_eq!(one.next_interval().distribution().count(), 1);
/// assert_eq!(two.next_interval().distribution().count(), 2);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Intervals {
    recorder: Recorder,
    last: Recording,
}

impl Intervals {
    /// Returns what was recorded since the last call, or since the reader was made. The end of an
    /// interval is the begin of the next one, and every value is in exactly one of them.
    pub fn next_interval(&mut self) -> Recording {
        let now = self.recorder.read();
        let interval = now.since(&self.last);
        self.last = now;
        interval
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Each thread records a number of its own so often that every interval is different.
    #[test]
    fn intervals_that_are_read_while_threads_record_add_up_to_all() {
        let recorder = Recorder::new("query_seconds").unwrap();
        let done = AtomicBool::new(false);
        let mut parts = recorder.intervals();
        let mut sum = Distribution::default();
        std::thread::scope(|threads| {
            let writers = [1, 2, 3].map(|thread| {
                let recorder = &recorder;
                threads.spawn(move || {
                    for i in 0..5_000 {
                        recorder.record(Duration::from_nanos(thread * 1000 + i % 700));
                    }
                })
            });
            let reader = threads.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    sum.merge(parts.next_interval().distribution()).unwrap();
                }
            });
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, Ordering::Release);
            reader.join().unwrap();
        });
        sum.merge(parts.next_interval().distribution()).unwrap();
        let whole = recorder.read();
        assert_eq!(sum.buckets, whole.distribution().buckets);
        assert_eq!(sum.count(), 15_000);
    }

    #[test]
    fn eight_thousand_buckets_are_counted_at_the_full_resolution() {
        let recorder = Recorder::new("query_seconds").unwrap();
        // 100 ns to 100 s: one value in each bucket.
        for bucket in 0..7_653 {
            recorder.record_seconds(1e-7 * 2_f64.powf(f64::from(bucket) / 256.0));
        }
        let seen = recorder.read();
        assert_eq!(seen.distribution().schema, 8);
        assert_eq!(seen.distribution().buckets.len(), 7_653);
        assert!(seen.distribution().bucket_width() < 0.002_8);
    }

    #[test]
    fn what_is_not_a_duration_is_rejected() {
        let recorder = Recorder::new("query_seconds").unwrap();
        for wrong in [-1e-9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            recorder.record_seconds(wrong);
        }
        recorder.record_seconds(0.0);
        assert_eq!(recorder.read().distribution().zero_count, 1);
        assert_eq!(recorder.read().distribution().count(), 1);
    }

    #[test]
    fn a_name_that_is_not_one_of_a_metric_is_an_error() {
        let error = Recorder::new("a query").unwrap_err();
        assert!(std::error::Error::source(&error).is_some(), "{error}");
    }
}
