//! Histograms with fixed buckets, exponential ones, or both.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::Error;
use crate::lockfree::Generation;
use crate::observe::{self, Buckets, Cells, Observed, Shape, SlotWord};
use crate::snapshot::{Kind, Natives, Resolution, Values, sum_since};

use super::declaration::Declaration;
use super::exemplar;
use super::timer::{Sampled, Timer};
use super::{Bound, Builder, Series, buckets, by_series, labelled, metric};
use crate::family::MetricCells;
use crate::family::SeriesRef;
use crate::family::desc::{Desc, check_bounds, without_infinity};
use crate::family::label::{LabelSet, Unlabelled};

impl MetricCells for Buckets {
    const KIND: Kind = Kind::Histogram;
    const FOLDS: bool = true;

    #[inline(always)]
    fn cells(desc: &Desc) -> usize {
        if desc.native.is_some() {
            1
        } else {
            Self::width(&Shape::fixed(bounds(desc).len() + 1))
        }
    }

    fn shape(desc: &Desc) -> Shape {
        Shape {
            buckets: bounds(desc).len() + 1,
            native: desc.native.map(Arc::new),
        }
    }

    fn values(desc: &Desc, _: &Shape) -> Values {
        Values::Histogram {
            bounds: bounds(desc).into(),
            counts: Vec::new(),
            sums: Vec::new(),
            natives: desc.native.map(|_| Natives::default()),
        }
    }

    fn write(total: &Observed, values: &mut Values) {
        if let Values::Histogram {
            counts,
            sums,
            natives,
            ..
        } = values
        {
            counts.extend_from_slice(&total.counts);
            sums.push(total.sum);
            if let (Some(natives), Some(native)) = (natives, &total.native) {
                natives.push(native);
            }
        }
    }

    fn fingerprint(total: &Observed) -> u64 {
        total.count()
    }

    fn float_sum(total: &mut Observed) -> Option<&mut f64> {
        Some(&mut total.sum)
    }

    fn subtract(total: &mut Observed, baseline: &Observed) {
        for (count, before) in total.counts.iter_mut().zip(&baseline.counts) {
            *count = count.wrapping_sub(*before);
        }
        total.sum = sum_since(total.sum, baseline.sum, total.count());
        if let (Some(native), Some(before)) = (&mut total.native, &baseline.native)
            && let Some(left) = native.without(before)
        {
            *native = left;
        }
    }
}

#[inline(always)]
fn bounds(desc: &Desc) -> &'static [f64] {
    if desc.bounds.is_empty() && desc.native.is_none() {
        buckets::DEFAULT
    } else {
        desc.bounds
    }
}

/// Counts observations per bucket, and adds them up: latencies in seconds, sizes in bytes.
///
/// An observation costs 3 to 4 ns: a count of the bounds below the value, without a branch, and three plain stores to
/// cells of the calling thread. A scrape sees an exact prefix of every thread's observations: `_count` is the `+Inf`
/// bucket, and `_sum` belongs to the same observations, whatever instruction a writer is at.
///
/// A value is in the first bucket whose bound is not below it. NaN is dropped and counted in
/// `tallies_refused_updates_total`, and so is an infinity of the sign opposite to one seen before, as the sum would be
/// NaN.
///
/// ```
/// use tallies::Histogram;
///
/// /// Time to answer.
/// #[tallies::metric]
/// static LATENCY: Histogram = Histogram::new("answer_duration_seconds").buckets(&[0.005, 0.05, 0.5, 5.0]);
///
/// LATENCY.observe(0.05);
/// let seen = LATENCY.get();
/// assert_eq!(seen.counts, [0, 1, 0, 0, 0]);
/// assert_eq!(seen.sum, 0.05);
/// ```
pub struct Histogram<L = ()> {
    pub(crate) inner: Declaration<Buckets>,
    pub(crate) labels: PhantomData<fn(L)>,
}

metric!(Histogram, [L: LabelSet], [L], [], Buckets, Kind::Histogram);
labelled!(
    Histogram, Histogram, [L: LabelSet], [L], [], [], Buckets, Observed, |total| total
);

impl<L: LabelSet> Histogram<L> {
    /// The upper bounds, ascending; `+Inf` is always there and need not be written. Without this: .005 .01 .025 .05 .1 .25 .5 1
    /// 2.5 5 10.
    ///
    /// # Panics
    ///
    /// On bounds that do not ascend or, but for a last `+Inf`, are not finite: a compile error in a `static`.
    #[must_use]
    pub const fn buckets(mut self, bounds: &'static [f64]) -> Self {
        let bounds = without_infinity(bounds);
        if let Err(rule) = check_bounds(bounds) {
            panic!("{}", rule.text());
        }
        self.inner.desc.bounds = bounds;
        // Should it be live already: its cells are of another shape.
        self.inner.slot_word = SlotWord::new();
        self
    }

    /// Exponential buckets: 2^`schema` of them for every power of two, from -4 (each 65 536 times the one before) to 8 (each
    /// 0.3 % wider); 3 makes them 9 % wide. Without [`buckets`](Self::buckets) there are no fixed ones; with, both count the
    /// same observations.
    ///
    /// Nothing has to be known about the values. Buckets appear where there are any, at most 160 in every thread and in a
    /// scrape; more halve the resolution, for good (see [`native_limit`](Self::native_limit)). A quantile is known within the
    /// width of its bucket: [`Snapshot::quantile`](crate::Snapshot::quantile).
    ///
    /// An observation costs some nanosecond more than with fixed buckets; one that meets a new bucket some microseconds.
    /// A thread takes 32 bytes per bucket and series.
    ///
    /// Prometheus gets the exponential buckets by protobuf, from 2.40 on, with native histograms switched on; text has
    /// only the fixed ones, and `+Inf`.
    ///
    /// Source: the native histograms page of the Prometheus documentation.
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
    /// # Panics
    ///
    /// On a schema that is not from -4 to 8: a compile error in a `static`.
    #[must_use]
    pub const fn native(mut self, schema: i8) -> Self {
        let mut native = self.resolution();
        native.schema = schema;
        self.set_native(native);
        self
    }

    /// The most exponential buckets, besides the zero bucket; 8 to 8192. At the coarsest schema there may be more: up to 133
    /// for numbers above zero, and as many below.
    ///
    /// # Panics
    ///
    /// On a limit outside that: a compile error in a `static`.
    #[must_use]
    pub const fn native_limit(mut self, buckets: u32) -> Self {
        let mut native = self.resolution();
        native.limit = buckets;
        self.set_native(native);
        self
    }

    /// What is not further from zero than this counts as zero; without, that is 2^-128. For noise around zero.
    ///
    /// # Panics
    ///
    /// On a threshold below zero, above 1e300, or NaN: a compile error in a `static`.
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

impl<L: LabelSet> Builder<Histogram<L>> {
    /// The upper bounds, ascending; `+Inf` is always there and need not be written. See [`linear`](crate::buckets::linear)
    /// for rows of them. Checked when it meets the registry.
    pub fn buckets(mut self, bounds: &[f64]) -> Self {
        self.desc.set_bounds(bounds);
        self
    }

    /// Exponential buckets, instead of fixed ones or beside them: see [`Histogram::native`]. Checked when it meets the
    /// registry.
    pub fn native(mut self, schema: i8) -> Self {
        self.resolution().schema = schema;
        self
    }

    /// The most exponential buckets: see [`Histogram::native_limit`].
    pub fn native_limit(mut self, buckets: u32) -> Self {
        self.resolution().limit = buckets;
        self
    }

    /// What counts as zero: see [`Histogram::zero_threshold`].
    pub fn zero_threshold(mut self, distance: f64) -> Self {
        self.resolution().zero_threshold = distance;
        self
    }

    fn resolution(&mut self) -> &mut Resolution {
        self.desc.native.get_or_insert(Resolution::new(3))
    }
}

/// The bucket of a finite value: the number of bounds below it, counted without a branch.
#[inline(always)]
fn bucket(bounds: &[f64], value: f64) -> usize {
    bounds.iter().map(|&bound| usize::from(bound < value)).sum()
}

macro_rules! histogram_methods {
    ($($L:ident)?) => {
        /// Observes `value` once.
        #[inline]
        pub fn observe(&self, value: f64)
        $(where $L: Unlabelled,)?
        {
            self.observe_many(value, 1);
        }

        /// Observes `value` `times` times, for the price of one.
        #[inline]
        pub fn observe_many(&self, value: f64, times: u64)
        $(where $L: Unlabelled,)?
        {
            if self.is_native() {
                return self.observe_native(value, times);
            }
            let bounds = self.bounds();
            let hot = value.is_finite()
                && observe::thread(|thread| {
                    Buckets::observe(thread, self.last(), bucket(bounds, value), value, times)
                });
            if !hot {
                self.observe_cold(value, times);
            }
        }

        /// A function of its own: either kind then has only its own bounds and checks in the way.
        #[inline]
        fn observe_native(&self, value: f64, times: u64)
        $(where $L: Unlabelled,)?
        {
            let bucket = bucket(self.bounds(), value);
            let hot = observe::thread(|thread| {
                // What is not finite has no common key, and goes the cold way.
                Buckets::observe_native(thread, self.last(), (bucket, value, times))
            });
            if !hot {
                self.observe_cold(value, times);
            }
        }

        /// Observes `value`, or says why not.
        ///
        /// # Errors
        ///
        /// NaN, and an infinity of the sign opposite to one seen before; nothing is observed.
        pub fn try_observe(&self, value: f64) -> Result<(), Error>
        $(where $L: Unlabelled,)?
        {
            if !value.is_finite() {
                self.check_observed(value)?;
            }
            self.observe(value);
            Ok(())
        }

        /// Observes `value`, and keeps these labels as the exemplar of its bucket: what this observation can be found by.
        ///
        /// An observation without an exemplar costs nothing for this; one with takes an allocation or two. Every fixed bucket
        /// keeps its last one, with value and time. More than 128 characters, names and values together, or a bad label
        /// name: the value is observed, the exemplar is dropped and counted in `tallies_refused_updates_total`.
        pub fn observe_with(&self, value: f64, exemplar: &[(&str, &str)])
        $(where $L: Unlabelled,)?
        {
            self.observe(value);
            if !value.is_nan() && exemplar::admits(exemplar) {
                self.keep(value, exemplar);
            }
        }

        /// As [`observe_with`](Self::observe_with), or says why not.
        ///
        /// # Errors
        ///
        /// What [`try_observe`](Self::try_observe) would say, and labels that cannot be an exemplar's; nothing is observed.
        pub fn try_observe_with(&self, value: f64, exemplar: &[(&str, &str)]) -> Result<(), Error>
        $(where $L: Unlabelled,)?
        {
            exemplar::check(exemplar)?;
            self.try_observe(value)?;
            self.keep(value, exemplar);
            Ok(())
        }

        /// Observes `value`, with the current trace's id as the exemplar if there is one: see
        /// [`trace_ids`](crate::trace_ids).
        pub fn observe_traced(&self, value: f64)
        $(where $L: Unlabelled,)?
        {
            self.observe(value);
            if !value.is_nan() {
                exemplar::with_trace(|labels| {
                    if exemplar::admits(labels) {
                        self.keep(value, labels);
                    }
                });
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

impl Histogram {
    /// Observes the seconds until the timer is dropped.
    pub fn start_timer(&self) -> Timer<&Self> {
        Timer::start(self)
    }

    /// Runs `f` and observes the seconds it took.
    pub fn time<R>(&self, f: impl FnOnce() -> R) -> R {
        let _timer = self.start_timer();
        f()
    }
}

impl<L: LabelSet> Histogram<L> {
    histogram_methods!(L);

    /// Times one call in `one_in`, chosen at random, and observes it `one_in` times: buckets, sum and count stay those of all
    /// calls on average, and most calls read no clock and cost some 2 ns; with the feature `tsc` and one in 16, 4 ns on
    /// average. For what is called so often that timing it would
    /// cost more than it does.
    ///
    /// The count of `n` calls is off by some `sqrt(n * one_in)`, and what is rare may be missed.
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
    #[must_use]
    pub fn sample(&self, one_in: u32) -> Sampled<'_> {
        Sampled::new(self.series(), one_in)
    }

    /// What was observed so far, by all threads. Waits for a scrape that is running.
    #[must_use]
    pub fn get(&self) -> Observed
    where
        L: Unlabelled,
    {
        self.inner.total()
    }

    fn keep(&self, value: f64, labels: &[(&str, &str)]) {
        self.series().keep(value, labels);
    }

    fn series(&self) -> Series<'_, Histogram> {
        Series {
            handle: self.inner.family().only().into(),
        }
    }

    fn check_observed(&self, value: f64) -> Result<(), Error> {
        self.inner.family().check_observed(value)
    }

    #[inline]
    fn last(&self) -> u64 {
        self.inner.slot_word.last(Generation::FIRST)
    }

    #[inline]
    fn bounds(&self) -> &'static [f64] {
        bounds(&self.inner.desc)
    }

    #[inline]
    fn is_native(&self) -> bool {
        self.inner.desc.native.is_some()
    }

    #[cold]
    fn observe_cold(&self, value: f64, times: u64) {
        self.series().observe_cold(value, times);
        self.inner.copy_slot_word();
    }
}

impl<'a> Series<'a, Histogram> {
    histogram_methods!();

    /// Runs `f` and observes the seconds it took.
    pub fn time<R>(&self, f: impl FnOnce() -> R) -> R {
        let _timer = self.start_timer();
        f()
    }

    /// Observes the seconds until the timer is dropped.
    pub fn start_timer(self) -> Timer<Self> {
        Timer::start(self)
    }

    /// Times one call in `one_in`: see [`Histogram::sample`].
    #[must_use]
    pub fn sample(self, one_in: u32) -> Sampled<'a> {
        Sampled::new(self, one_in)
    }

    fn check_observed(&self, value: f64) -> Result<(), Error> {
        self.handle.cold(|found| found.family.check_observed(value))
    }

    #[inline]
    fn last(&self) -> u64 {
        self.handle.last()
    }

    #[inline]
    fn bounds(&self) -> &'static [f64] {
        bounds(self.handle.desc())
    }

    #[inline]
    fn is_native(&self) -> bool {
        self.handle.desc().native.is_some()
    }

    fn keep(&self, value: f64, labels: &[(&str, &str)]) {
        self.handle.cold(|found| {
            if found.family.admits(value) {
                let bounds = bounds(&found.family.desc);
                let place = (bucket(bounds, value), bounds.len() + 1);
                exemplar::keep(found, place, value, labels);
            }
        });
    }

    #[inline(always)]
    fn observe_cold(&self, value: f64, times: u64) {
        self.handle
            .cold(move |found| observe_found(found, value, times));
    }
}

fn observe_found(found: SeriesRef<'_, Buckets>, value: f64, times: u64) {
    let family = found.family;
    if times == 0 {
        return;
    }
    if value.is_nan() || !family.admits(value) {
        let refused = &observe::engine().stats.refused;
        refused.fetch_add(times, Relaxed);
        return;
    }
    let what = (bucket(bounds(&family.desc), value), value, times);
    found.update(|cells, generation, hot| {
        observe::thread(|thread| {
            cells.observe_cold(observe::engine(), thread, generation, what, hot)
        })
    });
}

impl Bound<Histogram> {
    by_series! {
        /// Observes `value` once.
        fn observe(value: f64);
        /// Observes a duration, in seconds.
        fn observe_duration(duration: std::time::Duration);
        /// Observes `value` `times` times, for the price of one.
        fn observe_many(value: f64, times: u64);
        /// Observes `value`, or says why not: see [`Histogram::try_observe`].
        fn try_observe(value: f64) -> Result<(), Error>;
        /// Observes `value`, and keeps these labels as the exemplar: see [`Histogram::observe_with`].
        fn observe_with(value: f64, exemplar: &[(&str, &str)]);
        /// As [`observe_with`](Self::observe_with), or says why not: see [`Histogram::try_observe_with`].
        fn try_observe_with(value: f64, exemplar: &[(&str, &str)]) -> Result<(), Error>;
        /// Observes `value`, with the current trace's id as the exemplar: see [`trace_ids`](crate::trace_ids).
        fn observe_traced(value: f64);
    }

    /// Observes the seconds until the timer is dropped.
    pub fn start_timer(&self) -> Timer<&Self> {
        Timer::start(self)
    }

    /// Runs `f` and observes the seconds it took.
    pub fn time<R>(&self, f: impl FnOnce() -> R) -> R {
        let _timer = self.start_timer();
        f()
    }
}
