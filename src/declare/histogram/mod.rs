//! Histograms with fixed buckets, exponential buckets, or both.

mod builder;
mod cells;

use std::marker::PhantomData;

use crate::error::Error;
use crate::lockfree::Generation;
use crate::observe::{Buckets, Observed, ObservedTotal, Shape, SlotWord};
use crate::snapshot::{Kind, Resolution};

use super::declaration::Declaration;
use super::exemplar;
use super::timer::Sampled;
use super::{Bound, Series, forward_to_series, labelled, labelled_setters, metric, with_builder};
use crate::family::Family;
use crate::family::label::{LabelSet, Unlabelled};
use crate::family::shape::{check_bounds, without_infinity};

use cells::{observe_both, observe_fixed, observe_in_series, observe_native};

/// Counts of observations per bucket, and their sum: latencies in seconds, sizes in bytes.
///
/// ```
/// use tallies::Histogram;
///
/// /// Time to answer.
/// #[tallies::metric]
/// static LATENCY: Histogram =
///     Histogram::new("answer_duration_seconds").buckets(&[0.005, 0.05, 0.5, 5.0]);
///
/// LATENCY.observe(0.05);
/// let seen = LATENCY.get();
/// assert_eq!(seen.counts, [0, 1, 0, 0, 0]);
/// assert_eq!(seen.sum, 0.05);
/// ```
///
/// A value counts in the first bucket whose bound is not below it. NaN is rejected and counted in
/// `tallies_rejected_updates_total`. So is an infinity if one of the other sign was observed
/// before, because the sum would be NaN.
///
/// An observation costs 3 to 4 ns: a table indexed by the leading bits of the value finds the
/// bucket without branches, and three plain stores go to cells of the calling thread. A scrape sees
/// an exact prefix of every thread's observations: `_count` is equal to the `+Inf` bucket, and
/// `_sum` belongs to the same observations, whatever instruction a writer has reached.
pub struct Histogram<L = ()> {
    pub(crate) inner: Declaration<Buckets>,
    pub(crate) labels: PhantomData<fn(L)>,
}

macro_rules! histogram_methods {
    ($($L:ident)?) => {
        /// Observes `value` once.
        #[inline(always)]
        pub fn observe(&self, value: f64)
        $(where $L: Unlabelled,)?
        {
            self.observe_many(value, 1);
        }

        /// Observes `value` `times` times, at the cost of one observation.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let sizes = registry.histogram("sizes_bytes", "Sizes.")?;
        /// sizes.observe_many(4.0, 3);
        /// assert_eq!((sizes.get().count(), sizes.get().sum), (3, 12.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        #[inline(always)]
        pub fn observe_many(&self, value: f64, times: u64)
        $(where $L: Unlabelled,)?
        {
            let hot = if !self.is_native() {
                observe_fixed(self.shape(), self.last(), value, times)
            } else if !self.has_fixed_buckets() {
                observe_native(self.last(), value, times)
            } else {
                observe_both(self.shape(), self.last(), value, times)
            };
            if !hot {
                self.observe_cold(value, times);
            }
        }

        /// Observes `value`, or returns why it cannot.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let wait = registry.histogram("wait_seconds", "Time waited.")?;
        /// wait.try_observe(0.25)?;
        /// assert!(wait.try_observe(f64::NAN).is_err());
        /// assert_eq!(wait.get().count(), 1);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// # Errors
        ///
        /// Returns an error for NaN, and for an infinity if one of the other sign was observed
        /// before ([`Error::is_rejected_update`]). Nothing is observed then.
        pub fn try_observe(&self, value: f64) -> Result<(), Error>
        $(where $L: Unlabelled,)?
        {
            if !value.is_finite() {
                self.check_observed(value)?;
            }
            self.observe(value);
            Ok(())
        }

        /// Observes `value`, and stores these labels as the exemplar of its bucket, so that a
        /// dashboard can link to this observation.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let wait = registry.histogram("wait_seconds", "Time waited.")?;
        /// wait.observe_exemplar(0.25, &[("trace_id", "0af7651916cd43dd")]);
        /// let now = registry.snapshot();
        /// let family = now.family("wait_seconds").unwrap();
        /// let (_, exemplar) = family.exemplars(0).next().unwrap();
        /// assert_eq!(exemplar.value(), 0.25);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// Every fixed bucket has one exemplar, the last one, with its value and the time. It costs
        /// one or two allocations; observations without an exemplar cost nothing extra. If the
        /// labels are invalid or have more than 128 characters, names and values together, `value`
        /// is observed, and the exemplar is rejected and counted in
        /// `tallies_rejected_updates_total`.
        pub fn observe_exemplar(&self, value: f64, exemplar: &[(&str, &str)])
        $(where $L: Unlabelled,)?
        {
            self.observe(value);
            if !value.is_nan() {
                self.set_exemplar(value, exemplar);
            }
        }

        /// Observes `value` with an exemplar like [`observe_exemplar`](Self::observe_exemplar)
        /// does, or returns why it cannot.
        ///
        /// # Errors
        ///
        /// The same as for [`try_observe`](Self::try_observe), and invalid exemplar labels. Nothing
        /// is observed.
        pub fn try_observe_exemplar(&self, value: f64, exemplar: &[(&str, &str)]) -> Result<(), Error>
        $(where $L: Unlabelled,)?
        {
            self.check_exemplar(exemplar)?;
            self.try_observe(value)?;
            self.set_exemplar(value, exemplar);
            Ok(())
        }

        /// Observes `value`, with the id of the current trace as the exemplar if there is one. See
        /// [`trace_ids`](crate::instrument::trace_ids).
        pub fn observe_traced(&self, value: f64)
        $(where $L: Unlabelled,)?
        {
            self.observe(value);
            if !value.is_nan() {
                exemplar::with_trace(|labels| self.set_exemplar(value, labels));
            }
        }

        /// Observes a duration, in seconds.
        #[inline]
        pub fn observe_duration(&self, duration: std::time::Duration)
        $(where $L: Unlabelled,)?
        {
            self.observe(duration.as_secs_f64());
        }
    };
}

impl<L: LabelSet> Histogram<L> {
    histogram_methods!(L);

    /// Returns this histogram for very short calls: it times one call in `one_in`, chosen at
    /// random, and counts it `one_in` times.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let lookup = registry.histogram("lookup_seconds", "Time of a look-up.")?;
    /// for _ in 0..1600 {
    ///     let _timer = lookup.sample(16).start_timer();
    /// }
    /// assert_eq!(lookup.get().count() % 16, 0);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Buckets, sum and count are those of all calls on average. Most calls read no clock and cost
    /// about 2 ns. With the feature `tsc` and one call in 16, the average is 4 ns. Use it for calls
    /// that are so short that timing each of them would cost more than the call.
    ///
    /// The standard deviation of the count of `n` calls is about `sqrt(n * one_in)`, and rare
    /// values may be missed.
    #[must_use]
    pub fn sample(&self, one_in: u32) -> Sampled<'_> {
        Sampled::new(self.series(), one_in)
    }
}

impl<L: LabelSet> Histogram<L> {
    /// Returns what all threads have observed so far. Waits for a scrape that is running.
    #[must_use]
    pub fn get(&self) -> Observed
    where
        L: Unlabelled,
    {
        self.inner.total().rounded()
    }

    fn set_exemplar(&self, value: f64, labels: &[(&str, &str)]) {
        self.series().set_exemplar(value, labels);
    }

    fn series(&self) -> Series<'_, Histogram> {
        Series {
            lazy_ref: self.inner.family().only().into(),
        }
    }

    fn check_observed(&self, value: f64) -> Result<(), Error> {
        self.inner.family().check_observed(value)
    }

    fn check_exemplar(&self, labels: &[(&str, &str)]) -> Result<(), Error> {
        exemplar::check(self.inner.family(), labels)
    }

    #[inline]
    fn last(&self) -> u64 {
        self.inner.slot_word.last(Generation::FIRST)
    }

    #[inline]
    fn is_native(&self) -> bool {
        self.inner.desc.native.is_some()
    }

    /// Returns whether a native histogram has fixed buckets, too.
    #[inline]
    fn has_fixed_buckets(&self) -> bool {
        !self.inner.desc.bounds.is_empty()
    }

    /// Returns the shape of the family if it was made.
    #[inline]
    fn shape(&self) -> Option<&Shape> {
        self.inner.made().map(|family| &family.shape)
    }

    #[cold]
    fn observe_cold(&self, value: f64, times: u64) {
        match self.inner.made() {
            Some(family) => self.observe_in(family, value, times),
            None if self.inner.is_off() => {}
            None => self.observe_in(self.inner.family(), value, times),
        }
    }

    /// Not inlined, so that an observation of a family that is off returns at once.
    #[inline(never)]
    fn observe_in(&self, family: &Family<Buckets>, value: f64, times: u64) {
        let series = Series::<Histogram> {
            lazy_ref: family.only().into(),
        };
        if self.inner.slot_word.slot().is_some() {
            series.observe_cold(value, times);
        } else if family.desc.is_off() {
            // The first use.
        } else if self.inner.has_family_buckets() {
            series.observe_cold(value, times);
            self.inner.copy_slot_word();
        } else {
            // The series may be hot, with buckets that this declaration does not have.
            series.observe_many(value, times);
        }
    }
}

impl<'a> Series<'a, Histogram> {
    histogram_methods!();

    /// Returns this series for very short calls: it times one call in `one_in`. See
    /// [`Histogram::sample`].
    #[must_use]
    pub fn sample(self, one_in: u32) -> Sampled<'a> {
        Sampled::new(self, one_in)
    }

    fn check_observed(&self, value: f64) -> Result<(), Error> {
        self.lazy_ref
            .resolve(|series| series.family.check_observed(value))
    }

    fn check_exemplar(&self, labels: &[(&str, &str)]) -> Result<(), Error> {
        self.lazy_ref
            .resolve(|series| exemplar::check(series.family, labels))
    }

    #[inline]
    fn last(&self) -> u64 {
        self.lazy_ref.last()
    }

    #[inline]
    fn is_native(&self) -> bool {
        self.lazy_ref.desc().native.is_some()
    }

    #[inline]
    fn has_fixed_buckets(&self) -> bool {
        !self.lazy_ref.desc().bounds.is_empty()
    }

    #[inline]
    fn shape(&self) -> Option<&'a Shape> {
        self.lazy_ref.family().map(|family| &family.shape)
    }

    fn set_exemplar(&self, value: f64, labels: &[(&str, &str)]) {
        self.lazy_ref.resolve(|series| {
            if series.family.admits(value) {
                let shape = &series.family.shape;
                let position = (shape.index.bucket(value), shape.buckets);
                exemplar::set(series, position, value, labels);
            }
        });
    }

    #[inline(always)]
    fn observe_cold(&self, value: f64, times: u64) {
        self.lazy_ref
            .resolve(move |series| observe_in_series(series, value, times));
    }
}

impl Bound<Histogram> {
    forward_to_series! {
        /// Observes `value` once.
        fn observe(value: f64);
        /// Observes a duration, in seconds.
        fn observe_duration(duration: std::time::Duration);
        /// Observes `value` `times` times, at the cost of one observation.
        fn observe_many(value: f64, times: u64);
        /// Observes `value`, or returns why it cannot. See [`Histogram::try_observe`].
        fn try_observe(value: f64) -> Result<(), Error>;
        /// Observes `value`, and stores these labels as the exemplar. See
        /// [`Histogram::observe_exemplar`].
        fn observe_exemplar(value: f64, exemplar: &[(&str, &str)]);
        /// Observes `value` with an exemplar, or returns why it cannot. See
        /// [`Histogram::try_observe_exemplar`].
        fn try_observe_exemplar(value: f64, exemplar: &[(&str, &str)]) -> Result<(), Error>;
        /// Observes `value`, with the id of the current trace as the exemplar if there is one. See
        /// [`trace_ids`](crate::instrument::trace_ids).
        fn observe_traced(value: f64);
    }
}

labelled!(
    Histogram, "Histogram", Histogram, [L: LabelSet], [L], L, Histogram<[&'static str; LABELS]>, [],
    Observed, |_, total| ObservedTotal::rounded(total)
);

metric!(Histogram, [L: LabelSet], [L], Histogram<X>, Buckets, Kind::Histogram);

labelled_setters!(Histogram, [L: LabelSet], [L], [], [], Buckets);

impl<L: LabelSet> Histogram<L> {
    /// Sets the upper bounds of the buckets, in ascending order. `+Inf` is added if it is missing.
    /// The default is .005 .01 .025 .05 .1 .25 .5 1 2.5 5 10: [`DEFAULT`](crate::buckets::DEFAULT).
    ///
    /// ```
    /// use tallies::Histogram;
    ///
    /// /// Sizes of requests.
    /// #[tallies::metric]
    /// static SIZES: Histogram = Histogram::new("request_bytes").buckets(&[256.0, 4096.0]);
    ///
    /// SIZES.observe(1000.0);
    /// assert_eq!(SIZES.get().counts, [0, 1, 0]);
    /// ```
    ///
    /// # Panics
    ///
    /// If the bounds do not ascend, or one of them is not finite (except a last `+Inf`): a compile
    /// error in a `static`.
    #[must_use]
    pub const fn buckets(mut self, bounds: &'static [f64]) -> Self {
        let bounds = without_infinity(bounds);
        if let Err(rule) = check_bounds(bounds) {
            panic!("{}", rule.text());
        }
        self.inner.desc.bounds = bounds;
        // If the family was made already, its cells have another shape, and the hot path must not
        // use its slots.
        self.inner.slot_word = SlotWord::new();
        self
    }

    /// Adds exponential buckets (a native histogram): 2^`schema` of them for every power of two.
    ///
    /// ```
    /// use tallies::Histogram;
    ///
    /// /// Time to answer.
    /// #[tallies::metric]
    /// static LATENCY: Histogram = Histogram::new("lookup_duration_seconds").native(3);
    ///
    /// (1..=100).for_each(|i| LATENCY.observe(f64::from(i) / 100.0));
    /// let median = LATENCY.get().native.unwrap().quantile(0.5).unwrap();
    /// assert!(median.lower <= 0.5 && 0.5 <= median.upper);
    /// assert!(median.upper < 1.1 * median.lower);
    /// ```
    ///
    /// Nothing has to be known about the values. The schema is -4 (each bound is 65 536 times the
    /// one before) to 8 (0.3 % above the one before); with 3 a bucket is 9 % wide. Without
    /// [`buckets`](Self::buckets) there are no fixed buckets; with it, both kinds count the same
    /// observations.
    ///
    /// Only buckets with observations exist, at most 160 in every thread and in a scrape. If there
    /// were more, the resolution is halved for good (see [`native_limit`](Self::native_limit)). The
    /// error of a quantile is at most the width of its bucket:
    /// [`Snapshot::quantile`](crate::snapshot::Snapshot::quantile).
    ///
    /// An observation costs about 1 ns more than with fixed buckets. An observation that needs a
    /// new bucket takes a few microseconds. Each bucket of a series takes 32 bytes in every thread.
    ///
    /// Prometheus reads exponential buckets by protobuf, since 2.40, if native histograms are
    /// switched on. The text formats have only the fixed buckets and `+Inf`.
    ///
    /// # Panics
    ///
    /// If the schema is not in -4 to 8: a compile error in a `static`.
    ///
    /// Source: the native histograms page of the Prometheus documentation.
    #[must_use]
    pub const fn native(mut self, schema: i8) -> Self {
        let mut native = self.resolution();
        native.schema = schema;
        self.set_native(native);
        self
    }

    /// Limits the number of exponential buckets, without the zero bucket: 8 to 8192, by default
    /// 160.
    ///
    /// ```
    /// use tallies::Histogram;
    ///
    /// static LATENCY: Histogram = Histogram::new("lookup_seconds").native(3).native_limit(40);
    /// # LATENCY.observe(0.1);
    /// ```
    ///
    /// At the coarsest schema there can be more: up to 133 for positive numbers and 133 for
    /// negative ones.
    ///
    /// # Panics
    ///
    /// If the limit is not in 8 to 8192: a compile error in a `static`.
    #[must_use]
    pub const fn native_limit(mut self, buckets: u32) -> Self {
        let mut native = self.resolution();
        native.limit = buckets;
        self.set_native(native);
        self
    }

    /// Sets the zero threshold: values whose distance from zero is at most this count as zero. The
    /// default is 2^-128. For noise around zero.
    ///
    /// ```
    /// use tallies::Histogram;
    ///
    /// static DRIFT: Histogram = Histogram::new("drift_seconds").native(3).zero_threshold(1e-6);
    /// # DRIFT.observe(1e-7);
    /// ```
    ///
    /// # Panics
    ///
    /// If the threshold is below zero, above 1e300, or NaN: a compile error in a `static`.
    #[must_use]
    pub const fn zero_threshold(mut self, distance: f64) -> Self {
        let mut native = self.resolution();
        native.zero_threshold = distance;
        self.set_native(native);
        self
    }

    const fn resolution(&self) -> Resolution {
        match self.inner.desc.native {
            Some(native) => native,
            None => Resolution::new(3),
        }
    }

    const fn set_native(&mut self, native: Resolution) {
        if let Err(rule) = native.check() {
            panic!("{}", rule.text());
        }
        self.inner.desc.native = Some(native);
        self.inner.slot_word = SlotWord::new();
    }
}

with_builder!(Histogram, Kind::Histogram);
