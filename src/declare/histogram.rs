//! Histograms with fixed buckets.

use std::marker::PhantomData;

use crate::error::Error;
use crate::observe::{self, Buckets, Cells, Observed, Outcome, Place, Tag, join_sums};
use crate::snapshot::{Kind, Values};

use super::declaration::{Declaration, Kept};
use super::desc::{Desc, check_bounds};
use super::family::Exported;
use super::handle::{Found, Handle};
use super::label::LabelSet;
use super::timer::{Sample, Timer};
use super::{buckets, labelled, metric};

impl Exported for Buckets {
    const KIND: Kind = Kind::Histogram;
    const FOLDS: bool = true;

    #[inline(always)]
    fn cells(desc: &Desc) -> usize {
        Self::width(&(bounds(desc).len() + 1))
    }

    fn shape(desc: &Desc) -> usize {
        bounds(desc).len() + 1
    }

    fn values(desc: &Desc, _: &usize) -> Values {
        Values::Histogram {
            bounds: bounds(desc).into(),
            counts: Vec::new(),
            sums: Vec::new(),
        }
    }

    fn write(total: &Observed, values: &mut Values) {
        if let Values::Histogram { counts, sums, .. } = values {
            counts.extend_from_slice(&total.counts);
            sums.push(total.sum);
        }
    }

    fn fingerprint(total: &Observed) -> u64 {
        total.count()
    }

    fn less(total: &mut Observed, baseline: &Observed) {
        for (count, before) in total.counts.iter_mut().zip(&baseline.counts) {
            *count = count.wrapping_sub(*before);
        }
        total.sum = join_sums(total.sum, -baseline.sum);
        if baseline.sum.is_infinite() {
            total.sum = 0.0;
        }
    }
}

fn bounds(desc: &Desc) -> &'static [f64] {
    if desc.bounds.is_empty() {
        buckets::DEFAULT
    } else {
        desc.bounds
    }
}

/// Counts observations per bucket, and adds them up: latencies in seconds, sizes in bytes.
///
/// An observation costs some 3 ns: a count of the bounds below the value, without a branch, and three plain stores to
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
/// let seen = LATENCY.total();
/// assert_eq!(seen.counts, [0, 1, 0, 0, 0]);
/// assert_eq!(seen.sum, 0.05);
/// ```
pub struct Histogram<L = ()> {
    pub(crate) inner: Declaration<Buckets>,
    pub(crate) labels: PhantomData<fn(L)>,
}

metric!(Histogram, HistogramBuilder, [L: LabelSet], [L], [], Buckets, Kind::Histogram);
labelled!(
    Histogram, HistogramSeries, BoundHistogram, [L: LabelSet], [L], [], [], Buckets, Observed, |total| total
);

impl<L: LabelSet> Histogram<L> {
    /// The upper bounds, ascending; `+Inf` is always there and not written. Without this: .005 .01 .025 .05 .1 .25 .5 1
    /// 2.5 5 10.
    ///
    /// # Panics
    ///
    /// On bounds that do not ascend or are not finite: a compile error in a `static`.
    #[must_use]
    pub const fn buckets(mut self, bounds: &'static [f64]) -> Self {
        assert!(
            check_bounds(bounds).is_ok(),
            "buckets need at least one bound; all are finite, and each is above the one before"
        );
        self.inner.desc.bounds = bounds;
        // Should it be live already: its cells are of another shape.
        self.inner.place = Place::new();
        self
    }
}

impl<L: LabelSet> HistogramBuilder<L> {
    /// The upper bounds, ascending; `+Inf` is always there and not written. See [`linear`](crate::buckets::linear) for rows of
    /// them. Checked when it meets the registry.
    pub fn buckets(mut self, bounds: &[f64]) -> Self {
        self.desc.set_bounds(bounds);
        self
    }
}

/// The bucket of a finite value: the number of bounds below it, counted without a branch.
#[inline(always)]
fn bucket(bounds: &[f64], value: f64) -> usize {
    bounds.iter().map(|&bound| usize::from(bound < value)).sum()
}

macro_rules! histogram_methods {
    () => {
        /// Observes `value` once.
        #[inline]
        pub fn observe(&self, value: f64) {
            self.observe_many(value, 1);
        }

        /// Observes `value` `times` times, for the price of one.
        #[inline]
        pub fn observe_many(&self, value: f64, times: u64) {
            let bounds = self.bounds();
            let hot = value.is_finite()
                && observe::thread(|thread| {
                    Buckets::observe(thread, self.last(), bucket(bounds, value), value, times)
                });
            if !hot {
                self.observe_cold(value, times);
            }
        }

        /// Observes `value`, or says why not.
        ///
        /// # Errors
        ///
        /// NaN; nothing is observed.
        pub fn try_observe(&self, value: f64) -> Result<(), Error> {
            if value.is_nan() {
                observe::refuse();
                return Err(Error::update(self.family_name(), value, "observes numbers"));
            }
            self.observe(value);
            Ok(())
        }

        /// Runs `f` and observes the seconds it took.
        pub fn time<R>(&self, f: impl FnOnce() -> R) -> R {
            let _timer = self.start_timer();
            f()
        }
    };
}

impl Histogram {
    histogram_methods!();

    /// Observes the seconds until the timer is dropped.
    #[must_use = "it observes when it is dropped"]
    pub fn start_timer(&self) -> Timer<'_> {
        Timer::start(self.series())
    }

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
    /// assert_eq!(lookup.total().count() % 16, 0);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn sample(&self, one_in: u32) -> Sample<'_> {
        Sample::new(self.series(), one_in)
    }

    /// What was observed so far, by all threads. Waits for a scrape that is running.
    #[must_use]
    pub fn total(&self) -> Observed {
        self.inner.total()
    }

    fn series(&self) -> HistogramSeries<'_> {
        HistogramSeries {
            handle: self.inner.family().only().into(),
        }
    }

    fn family_name(&self) -> &'static str {
        self.inner.desc.name
    }

    #[inline]
    fn last(&self) -> u64 {
        self.inner.place.last(Tag::FIRST)
    }

    #[inline]
    fn bounds(&self) -> &'static [f64] {
        bounds(&self.inner.desc)
    }

    #[cold]
    fn observe_cold(&self, value: f64, times: u64) {
        self.series().observe_cold(value, times);
        self.inner.copy_place();
    }
}

/// One series of a histogram: as [`Histogram::with`] found it, for now.
#[derive(Clone, Copy, Debug)]
pub struct HistogramSeries<'a> {
    handle: Handle<'a, Buckets>,
}

impl<'a> HistogramSeries<'a> {
    histogram_methods!();

    /// Observes the seconds until the timer is dropped.
    #[must_use = "it observes when it is dropped"]
    pub fn start_timer(self) -> Timer<'a> {
        Timer::start(self)
    }

    /// Times one call in `one_in`: see [`Histogram::sample`].
    #[must_use]
    pub fn sample(self, one_in: u32) -> Sample<'a> {
        Sample::new(self, one_in)
    }

    fn family_name(&self) -> &'static str {
        self.handle.desc().name
    }

    #[inline]
    fn last(&self) -> u64 {
        self.handle.last()
    }

    #[inline]
    fn bounds(&self) -> &'static [f64] {
        bounds(self.handle.desc())
    }

    #[inline(always)]
    fn observe_cold(&self, value: f64, times: u64) {
        self.handle
            .cold(move |found| observe_found(found, value, times));
    }
}

fn observe_found(found: Found<'_, Buckets>, value: f64, times: u64) {
    let Found {
        family, cells, tag, ..
    } = found;
    if times == 0 {
        return;
    }
    if value.is_nan() || !family.admits(value) {
        return observe::refuse();
    }
    let what = (bucket(bounds(&family.desc), value), value, times);
    let cold = |cells: &Buckets, tag, eager| {
        observe::thread(|thread| cells.observe_cold(observe::engine(), thread, tag, what, eager))
    };
    if cold(cells, tag, family.desc.hot) == Outcome::Stale {
        cold(family.overflow().cells, Tag::FIRST, false);
    }
}

/// One series of a histogram for keeps: see [`Histogram::bind`].
#[derive(Debug)]
pub struct BoundHistogram {
    kept: Kept<Buckets>,
}

impl BoundHistogram {
    /// Observes `value`.
    #[inline]
    pub fn observe(&self, value: f64) {
        self.series().observe(value);
    }
}
