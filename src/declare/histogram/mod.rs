//! Histograms with fixed buckets, exponential buckets, or both.

mod builder;
mod cells;

use std::time::Duration;

use tallies_names::setters;

use crate::error::Error;
use crate::lockfree::Generation;
use crate::observe::{Buckets, Observed, ObservedTotal, SlotWord};
use crate::snapshot::Resolution;

use super::exemplar;
use super::timer::Sampled;
use super::{Bound, MetricFamily, Series, forward, metric, observe_methods, with_builder};
use crate::family::Family;
use crate::family::label::{LabelSet, Unlabelled};
use crate::family::shape::{check_bounds, without_infinity};

use cells::{ObserveMany, observe_hot, observe_in_series};

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
pub struct Histogram<L = ()>(MetricFamily<Buckets, Histogram, L>);

/// The methods that store exemplars: of the metric without labels, with `$L`, and of a series.
macro_rules! exemplar_methods {
    ($($L:ident)?) => {
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
        $(where $L: Unlabelled)? {
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
        pub fn try_observe_exemplar(&self, value: f64, exemplar: &[(&str, &str)])
        -> Result<(), Error> $(where $L: Unlabelled)? {
            self.check_exemplar(exemplar)?;
            self.try_observe(value)?;
            self.set_exemplar(value, exemplar);
            Ok(())
        }

        /// Observes `value`, with the id of the current trace as the exemplar if there is one. See
        /// [`trace_ids`](crate::instrument::trace_ids).
        pub fn observe_traced(&self, value: f64) $(where $L: Unlabelled)? {
            self.observe(value);
            if !value.is_nan() {
                exemplar::with_trace(|labels| self.set_exemplar(value, labels));
            }
        }
    };
}

impl<L: LabelSet> Histogram<L> {
    /// Observes `value` once.
    #[inline(always)]
    pub fn observe(&self, value: f64)
    where
        L: Unlabelled,
    {
        self.observe_many(value, 1);
    }

    /// Observes `value` `times` times, at the cost of one observation. Like every count, that of a
    /// bucket starts again at 0 after 2⁶⁴ − 1.
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
    where
        L: Unlabelled,
    {
        let declaration = &self.0.declaration;
        let last = declaration.slot_word.last(Generation::FIRST);
        let shape = || declaration.made().map(|family| &family.shape);
        if !observe_hot(&declaration.desc, shape, last, value, times) {
            self.observe_cold(value, times);
        }
    }

    #[cold]
    fn observe_cold(&self, value: f64, times: u64) {
        let declaration = &self.0.declaration;
        match declaration.made() {
            Some(family) => self.observe_in(family, value, times),
            None if declaration.is_off() => {}
            None => self.observe_in(declaration.family(), value, times),
        }
    }

    /// Not inlined, so that an observation of a family that is off returns at once.
    #[inline(never)]
    fn observe_in(&self, family: &Family<Buckets>, value: f64, times: u64) {
        let declaration = &self.0.declaration;
        if declaration.slot_word.slot().is_some() {
            observe_in_series(family.only(), value, times);
        } else if family.desc.is_off() {
            // The first use.
        } else if declaration.has_family_buckets() {
            observe_in_series(family.only(), value, times);
            declaration.copy_slot_word();
        } else {
            // The series may be hot, with buckets that this declaration does not have.
            Series::<Histogram>::of(family.only()).observe_many(value, times);
        }
    }

    exemplar_methods!(L);

    observe_methods!(histogram);

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
        Sampled::new(self.0.only(), one_in)
    }

    forward! { [where L: Unlabelled] this => this.0.only();
        /// Returns what all threads have observed so far. Waits for a scrape that is running.
        #[must_use]
        fn get() -> Observed;
    }

    fn set_exemplar(&self, value: f64, labels: &[(&str, &str)]) {
        self.0.only().set_exemplar(value, labels);
    }

    fn check_exemplar(&self, labels: &[(&str, &str)]) -> Result<(), Error> {
        exemplar::check(self.0.declaration.family(), labels)
    }
}

impl<'a> Series<'a, Histogram> {
    /// Observes `value` once.
    #[inline(always)]
    pub fn observe(&self, value: f64) {
        self.observe_many(value, 1);
    }

    /// Observes `value` `times` times, at the cost of one observation.
    #[inline(always)]
    pub fn observe_many(&self, value: f64, times: u64) {
        let (lazy_ref, last) = (&self.lazy_ref, self.lazy_ref.last());
        let shape = || lazy_ref.family().map(|family| &family.shape);
        if !observe_hot(lazy_ref.desc(), shape, last, value, times) {
            lazy_ref.update(last, ObserveMany { value, times });
        }
    }

    exemplar_methods!();

    fn check_exemplar(&self, labels: &[(&str, &str)]) -> Result<(), Error> {
        self.lazy_ref
            .resolve(|series| exemplar::check(series.family, labels))
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

    /// Returns this series for very short calls: it times one call in `one_in`. See
    /// [`Histogram::sample`].
    #[must_use]
    pub fn sample(self, one_in: u32) -> Sampled<'a> {
        Sampled::new(self, one_in)
    }
}

impl Bound<Histogram> {
    forward! { [] this => this.last_found();
        /// Observes `value` once.
        fn observe(value: f64);
        /// Observes a duration, in seconds.
        fn observe_duration(duration: Duration);
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

metric!(
    Histogram,
    example: "Histogram",
    cells: Buckets,
    value: Observed = |_, total| ObservedTotal::rounded(total)
);

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
        self.0.declaration.desc.bounds = bounds;
        // If the family was made already, its cells have another shape, and the hot path must not
        // use its slots.
        self.0.declaration.slot_word = SlotWord::new();
        self
    }

    setters! {
        /// Adds exponential buckets (a native histogram): 2^`schema` of them for every power of
        /// two.
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
        /// Nothing has to be known about the values. The schema is -4 (each bound is 65 536 times
        /// the one before) to 8 (0.3 % above the one before); with 3 a bucket is 9 % wide. Without
        /// [`buckets`](Self::buckets) there are no fixed buckets; with it, both kinds count the
        /// same observations.
        ///
        /// Only buckets with observations exist, at most 160 in every thread and in a scrape. If
        /// there were more, the resolution is halved for good (see
        /// [`native_limit`](Self::native_limit)). The error of a quantile is at most the width of
        /// its bucket: [`Snapshot::quantile`](crate::snapshot::Snapshot::quantile).
        ///
        /// An observation costs about 1 ns more than with fixed buckets. An observation that needs
        /// a new bucket takes a few microseconds. Each bucket of a series takes 32 bytes in every
        /// thread.
        ///
        /// Prometheus reads exponential buckets by protobuf, since 2.40, if native histograms are
        /// switched on. The text formats have only the fixed buckets and `+Inf`.
        ///
        /// # Panics
        ///
        /// If the schema is not in -4 to 8: a compile error in a `static`.
        ///
        /// Source: the native histograms page of the Prometheus documentation.
        const fn native(self, schema: i8) =
            self.set_native(Resolution { schema, ..self.resolution() });

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
        const fn native_limit(self, buckets: u32) =
            self.set_native(Resolution { limit: buckets, ..self.resolution() });

        /// Sets the zero threshold: values whose distance from zero is at most this count as zero.
        /// The default is 2^-128. For noise around zero.
        ///
        /// ```
        /// use tallies::Histogram;
        ///
        /// static DRIFT: Histogram =
        ///     Histogram::new("drift_seconds").native(3).zero_threshold(1e-6);
        /// # DRIFT.observe(1e-7);
        /// ```
        ///
        /// # Panics
        ///
        /// If the threshold is below zero, above 1e300, or NaN: a compile error in a `static`.
        const fn zero_threshold(self, distance: f64) =
            self.set_native(Resolution { zero_threshold: distance, ..self.resolution() });
    }

    const fn resolution(&self) -> Resolution {
        match self.0.declaration.desc.native {
            Some(native) => native,
            None => Resolution::new(3),
        }
    }

    const fn set_native(&mut self, native: Resolution) {
        if let Err(rule) = native.check() {
            panic!("{}", rule.text());
        }
        self.0.declaration.desc.native = Some(native);
        self.0.declaration.slot_word = SlotWord::new();
    }
}

with_builder!(Histogram);
