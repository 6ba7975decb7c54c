//! The values of a family's series, laid out by metric kind, and access to the value of one series.

use std::sync::Arc;
use std::time::Duration;

use tallies_names::getters;

use crate::error::Error;
use crate::sync::prefetch;

use super::gauges::{Gauges, LastSet};
use super::native::{Estimate, Native, Natives, Step, estimate};
use super::number::{Number, Numbers};
use super::{Kind, sketch};

/// The values of all series of a family, in the order of the series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Counter(Numbers),
    /// Gauges, infos and state sets.
    Gauge(Gauges),
    Histogram(Histograms),
    Summary(Objectives, Vec<Quantiles>),
    /// Summaries that were read from a page.
    PageSummary(Vec<PageSummary>),
}

/// The number of bytes of a column that are prefetched. The processor notices a longer walk itself.
const PREFETCHED: usize = 1024;

/// The most metrics of an event.
pub(crate) const MOST_METRICS: usize = 256;

/// The values of a histogram's series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histograms {
    pub(crate) bounds: Arc<[f64]>,
    /// For each series, one count per bound and one for `+Inf`; not cumulative.
    pub(crate) counts: Vec<u64>,
    pub(crate) sums: Vec<f64>,
    /// One native histogram per series, if the family has exponential buckets.
    pub(crate) natives: Option<Natives>,
    /// While the series of an event are read: for each, the counters beside the histogram.
    pub(crate) counters: Vec<u64>,
}

/// The quantiles that a summary exports, and the observations that they cover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Objectives {
    pub(crate) targets: sketch::Targets,
    /// The length of the window that quantiles cover; `None` if they cover all observations.
    pub(crate) max_age: Option<Duration>,
    /// Whether the values are differences between two snapshots, which have no quantiles.
    pub(crate) interval: bool,
}

/// One series of a summary as a page shows it: quantiles without the observations behind them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PageSummary {
    /// `None` if the page does not contain it.
    pub(crate) count: Option<u64>,
    /// NaN if the page does not contain it.
    pub(crate) sum: f64,
    /// Pairs of quantile and value, ascending. Empty in an interval.
    pub(crate) quantiles: Vec<(f64, f64)>,
}

/// The observations of one summary series: their count, their sum and a sketch.
///
/// ```
/// let registry = tallies::Registry::new();
/// let s = tallies::Summary::builder("s", "A summary.").register(&registry)?;
/// [1.0, 2.0, 4.0].iter().for_each(|x| s.observe(*x));
/// let total = s.get();
/// assert_eq!((total.count(), total.sum(), total.sketched()), (3, 7.0, 3));
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Quantiles {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    // The exported quantiles are known to the summary, and not to this value.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) sketch: sketch::Sketch,
}

impl Quantiles {
    getters! {
        /// Returns the number of observations.
        fn count(&self) -> u64 = self.count;

        /// Returns the sum of the observations.
        fn sum(&self) -> f64 = self.sum;

        /// Returns the number of observations in the sketch, from which quantiles are computed. If
        /// the summary has a window, these are the observations in the window.
        fn sketched(&self) -> u64 = self.sketch.n();

        /// Returns whether the sketch had to be compressed beyond its objectives to stay within its
        /// limit on tuples.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let s = tallies::Summary::builder("s", "A summary.").register(&registry)?;
        /// (1..=100).for_each(|i| s.observe(f64::from(i)));
        /// assert!(!s.get().is_degraded());
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// Values in an adversarial order can cause this. The error at an objective may then exceed
        /// the objective, but never the error that [`quantile`](Self::quantile) returns. The
        /// self-metric `tallies_degraded_series` counts such series.
        fn is_degraded(&self) -> bool = self.sketch.is_degraded();
    }

    /// Returns the quantile `phi`, and the fraction of the ranks by which it may be wrong.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let s = tallies::Summary::builder("s", "A summary.").register(&registry)?;
    /// (1..=100).for_each(|i| s.observe(f64::from(i)));
    /// assert_eq!(s.get().quantile(0.0), Some((1.0, 0.0)));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The error at an objective is at most the error that the objective allows, unless the series
    /// [is degraded](Self::is_degraded).
    ///
    /// Returns `None` before the first observation, for a `phi` outside 0 to 1, and for a summary
    /// without objectives.
    #[must_use]
    pub fn quantile(&self, phi: f64) -> Option<(f64, f64)> {
        let (value, ranks) = self.sketch.quantile(phi)?;
        Some((value, ranks as f64 / self.sketch.n().max(1) as f64))
    }
}

impl Values {
    /// Returns no values, of a kind whose series have no shape yet.
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(Numbers::default()),
            Kind::Gauge | Kind::Info | Kind::StateSet | Kind::Unknown => {
                Self::Gauge(Gauges::default())
            }
            Kind::Histogram | Kind::GaugeHistogram => Self::histogram([].into(), false),
            Kind::Summary => Self::PageSummary(Vec::new()),
        }
    }

    /// Returns no values, of histograms with these buckets.
    pub(crate) fn histogram(bounds: Arc<[f64]>, has_natives: bool) -> Self {
        Self::Histogram(Histograms {
            bounds,
            counts: Vec::new(),
            sums: Vec::new(),
            natives: has_natives.then(Natives::default),
            counters: Vec::new(),
        })
    }

    /// Returns no values, of summaries with these objectives.
    pub(crate) fn summary(targets: sketch::Targets, max_age: Option<Duration>) -> Self {
        let objectives = Objectives {
            targets,
            max_age,
            interval: false,
        };
        Self::Summary(objectives, Vec::new())
    }

    /// Returns the number of series.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Counter(values) => values.len(),
            Self::Gauge(all) => all.values.len(),
            Self::Histogram(all) => all.sums.len(),
            Self::Summary(_, values) => values.len(),
            Self::PageSummary(values) => values.len(),
        }
    }

    /// Returns the value of series `i`.
    pub(crate) fn get(&self, i: usize) -> Value<'_> {
        match self {
            Self::Counter(values) => Value::Counter(values.get(i)),
            Self::Gauge(all) => Value::Gauge(all.values[i]),
            Self::Histogram(all) => Value::Histogram(all.get(i)),
            Self::Summary(objectives, values) => Value::Summary(Summary {
                count: Some(values[i].count),
                sum: values[i].sum,
                quantiles: QuantileSource::Sketch(&values[i], objectives),
            }),
            Self::PageSummary(values) => {
                let value = &values[i];
                Value::Summary(Summary::new(value.count, value.sum, &value.quantiles))
            }
        }
    }

    /// Appends value `i` of `other`, which has the same kind and shape.
    pub(crate) fn push_from(&mut self, other: &Self, i: usize) {
        match (self, other) {
            (Self::Gauge(all), Self::Gauge(theirs)) => all.push(theirs.get(i)),
            (all, theirs) => all.push(theirs.get(i)),
        }
    }

    /// Appends a value of the same kind and shape. That of a gauge counts as set.
    pub(crate) fn push(&mut self, value: Value<'_>) {
        match (self, value) {
            (Self::Counter(values), Value::Counter(value)) => values.push(value),
            (Self::Gauge(all), Value::Gauge(value)) => all.push(LastSet::untimed(value)),
            (Self::Histogram(all), Value::Histogram(value)) => {
                all.push(value.counts, value.sum, value.native);
            }
            (Self::Summary(_, all), Value::Summary(value)) => all.extend(value.observed().cloned()),
            (Self::PageSummary(all), Value::Summary(value)) => all.push(PageSummary {
                count: value.count,
                sum: value.sum,
                quantiles: value.exported().collect(),
            }),
            _ => debug_assert!(false, "families of different kinds"),
        }
    }

    /// The memory of the values, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Counter(values) => values.bytes(),
            Self::Gauge(all) => 8 * (all.values.capacity() + all.at.capacity()),
            Self::Histogram(all) => {
                let natives = all.natives.as_ref().map_or(0, Natives::bytes);
                natives + 8 * (all.counts.capacity() + all.sums.capacity())
            }
            Self::Summary(_, values) => {
                let tuples = values.iter().map(|value| value.sketch.tuples().len());
                tuples.map(|tuples| 48 + 16 * tuples).sum()
            }
            Self::PageSummary(values) => {
                let quantiles = values.iter().map(|value| value.quantiles.capacity());
                quantiles.map(|n| size_of::<PageSummary>() + 16 * n).sum()
            }
        }
    }

    /// Returns an empty copy of the same shape.
    pub(crate) fn to_empty(&self) -> Self {
        match self {
            Self::Counter(_) => Self::of(Kind::Counter),
            Self::Gauge(_) => Self::of(Kind::Gauge),
            Self::PageSummary(_) => Self::of(Kind::Summary),
            Self::Histogram(all) => Self::histogram(Arc::clone(&all.bounds), all.natives.is_some()),
            Self::Summary(objectives, _) => Self::Summary(*objectives, Vec::new()),
        }
    }

    /// Prefetches the beginning of each column.
    pub(super) fn prefetch(&self) {
        fn column<T>(values: &[T]) {
            prefetch(
                values.as_ptr(),
                values.len().min(PREFETCHED / size_of::<T>()),
            );
        }
        match self {
            Self::Counter(Numbers::Int(values)) => column(values),
            Self::Counter(Numbers::Float(values)) => column(values),
            Self::Gauge(all) => {
                column(&all.values);
                column(&all.at);
            }
            Self::Histogram(all) => {
                column(&all.counts);
                column(&all.sums);
            }
            Self::Summary(..) | Self::PageSummary(_) => {}
        }
    }

    /// Removes the values, and allocates memory for as many series at once, so that it does not
    /// grow in steps.
    pub(super) fn restart(&mut self, series: usize) {
        fn restart<T>(values: &mut Vec<T>, len: usize) {
            values.clear();
            values.reserve(len);
        }
        match self {
            Self::Counter(Numbers::Int(values)) => restart(values, series),
            Self::Counter(Numbers::Float(values)) => restart(values, series),
            Self::Gauge(all) => {
                restart(&mut all.values, series);
                restart(&mut all.at, series);
            }
            Self::Histogram(all) => {
                restart(&mut all.counts, series * (all.bounds.len() + 1));
                restart(&mut all.sums, series);
                all.counters.clear();
                all.natives.iter_mut().for_each(Natives::clear);
            }
            Self::Summary(_, values) => restart(values, series),
            Self::PageSummary(values) => restart(values, series),
        }
    }
}

impl Histograms {
    /// Returns the value of series `i`.
    pub(crate) fn get(&self, i: usize) -> Histogram<'_> {
        let n = self.bounds.len() + 1;
        Histogram {
            bounds: &self.bounds,
            counts: &self.counts[i * n..][..n],
            sum: self.sums[i],
            native: self.natives.as_ref().map(|natives| natives.get(i)),
        }
    }

    /// Appends what these series of an event have of one of its metrics to `out`, which has the
    /// shape of this metric: of counter number `counter`, or of the histogram.
    pub(crate) fn copy_metric(&self, counter: Option<usize>, out: &mut Values) {
        match (counter, out) {
            (Some(counter), Values::Counter(out)) => {
                let counters = self.counters.len() / self.sums.len().max(1);
                let counts = self.counters.iter().skip(counter);
                let counts = counts.step_by(counters.max(1));
                counts.for_each(|count| out.push(Number::Int(*count)));
            }
            (_, Values::Histogram(out)) => {
                out.counts.extend_from_slice(&self.counts);
                out.sums.extend_from_slice(&self.sums);
            }
            _ => debug_assert!(false, "a metric of another kind"),
        }
    }

    /// Appends a series.
    #[inline]
    pub(crate) fn push(&mut self, counts: &[u64], sum: f64, native: Option<&Native>) {
        debug_assert_eq!(counts.len(), self.bounds.len() + 1);
        self.counts.extend_from_slice(counts);
        self.sums.push(sum);
        if let (Some(natives), Some(native)) = (&mut self.natives, native) {
            natives.push(native);
        }
    }
}

/// The value of one series, as [`Family::series`](super::Family::series) returns it.
///
/// ```
/// use tallies::snapshot::Value;
///
/// let registry = tallies::Registry::new();
/// registry.gauge("queue_length", "Jobs that wait.")?.set(2.0);
/// let snapshot = registry.snapshot();
/// let (_labels, value) = snapshot.family("queue_length").unwrap().series().next().unwrap();
/// assert_eq!(value, Value::Gauge(2.0));
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
#[non_exhaustive]
pub enum Value<'a> {
    /// The value of a counter.
    Counter(Number),
    /// The value of a gauge, an info (1), or one state of a state set (0 or 1).
    Gauge(f64),
    /// The observations of a histogram.
    Histogram(Histogram<'a>),
    /// The observations of a summary.
    Summary(Summary<'a>),
}

/// The observations of one summary series: their count, their sum and quantiles.
///
/// ```
/// use tallies::snapshot::Value;
///
/// let registry = tallies::Registry::new();
/// let latency = tallies::Summary::builder("latency_seconds", "Time to answer.")
///     .register(&registry)?;
/// (1..=100).for_each(|i| latency.observe(f64::from(i)));
/// let snapshot = registry.snapshot();
/// let (_labels, value) = snapshot.family("latency_seconds").unwrap().series().next().unwrap();
/// if let Value::Summary(latency) = value {
///     assert_eq!((latency.count(), latency.sum()), (100, 5050.0));
///     assert_eq!(latency.exported().map(|(phi, _)| phi).collect::<Vec<_>>(), [0.5, 0.9, 0.99]);
///     assert_eq!(latency.quantile(1.0)?, Some((100.0, 0.0)));
/// }
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary<'a> {
    count: Option<u64>,
    sum: f64,
    quantiles: QuantileSource<'a>,
}

/// The source of a summary's quantiles.
#[derive(Clone, Copy, Debug, PartialEq)]
enum QuantileSource<'a> {
    /// The sketch of a registry.
    Sketch(&'a Quantiles, &'a Objectives),
    /// A page that was read.
    Page(&'a [(f64, f64)]),
}

impl Value<'_> {
    /// Returns no values, of the shape of this one.
    pub(crate) fn to_empty(self) -> Values {
        match self {
            Self::Counter(_) => Values::of(Kind::Counter),
            Self::Gauge(_) => Values::of(Kind::Gauge),
            Self::Histogram(value) => {
                Values::histogram(value.bounds.into(), value.native.is_some())
            }
            Self::Summary(value) => match value.quantiles {
                QuantileSource::Sketch(_, objectives) => Values::Summary(*objectives, Vec::new()),
                QuantileSource::Page(_) => Values::of(Kind::Summary),
            },
        }
    }
}

impl<'a> Summary<'a> {
    /// Returns a summary of which only some quantiles are known, without the observations behind
    /// them: pairs of a quantile from 0 to 1 and its value, ascending. It cannot be merged. A sum
    /// that is not known is NaN.
    ///
    /// ```
    /// use tallies::snapshot::Summary;
    ///
    /// let page = Summary::new(Some(4), 3.0, &[(0.5, 0.7), (0.9, 1.1)]);
    /// assert_eq!(page.exported().last(), Some((0.9, 1.1)));
    /// assert!(page.quantile(0.9).is_err());
    /// ```
    #[must_use]
    pub fn new(count: Option<u64>, sum: f64, quantiles: &'a [(f64, f64)]) -> Self {
        Self {
            count,
            sum,
            quantiles: QuantileSource::Page(quantiles),
        }
    }

    getters! {
        /// Returns the number of observations, or 0 if a page that was read does not contain it.
        fn count(&self) -> u64 = self.count.unwrap_or(0);

        /// Returns the sum of the observations, or NaN if a page that was read does not contain it.
        fn sum(&self) -> f64 = self.sum;

        /// Returns the number of observations from which quantiles are computed. If the summary has
        /// a window, these are the observations in the window.
        fn sketched(&self) -> u64 = self.observed().map_or(self.count(), Quantiles::sketched);

        /// Returns whether the error at an objective may exceed the objective; see
        /// [`Quantiles::is_degraded`].
        fn is_degraded(&self) -> bool = self.observed().is_some_and(Quantiles::is_degraded);
    }

    /// Returns the number of observations, if it is known.
    pub(crate) fn known_count(&self) -> Option<u64> {
        self.count
    }

    /// Returns the observations, unless the summary was read from a page.
    pub(super) fn observed(&self) -> Option<&'a Quantiles> {
        match self.quantiles {
            QuantileSource::Sketch(values, _) => Some(values),
            QuantileSource::Page(_) => None,
        }
    }

    /// Iterates over the exported quantiles and their values, in ascending order.
    ///
    /// A value is NaN before the first observation. An interval has no quantiles.
    pub fn exported(&self) -> impl Iterator<Item = (f64, f64)> + 'a {
        let source = self.quantiles;
        let (mut last, mut index) = (f64::NEG_INFINITY, 0);
        // Searches for the next larger objective in each step: there are few, and sorting them
        // would need memory.
        std::iter::from_fn(move || match source {
            QuantileSource::Sketch(_, objectives) if objectives.interval => None,
            QuantileSource::Sketch(values, objectives) => {
                let phis = objectives.targets.as_slice().iter().map(|(phi, _)| *phi);
                last = phis.filter(|phi| *phi > last).min_by(f64::total_cmp)?;
                let value = values.quantile(last).map_or(f64::NAN, |(value, _)| value);
                Some((last, value))
            }
            QuantileSource::Page(quantiles) => {
                index += 1;
                quantiles.get(index - 1).copied()
            }
        })
    }

    /// Returns the quantile `phi`, and the fraction of the ranks by which it may be wrong.
    ///
    /// Returns `None` in the cases of [`Quantiles::quantile`], such as before the first
    /// observation.
    ///
    /// # Errors
    ///
    /// Returns an error for an interval, because the quantiles between two snapshots cannot be
    /// derived from their sketches; declare the summary with a window instead. Also returns an
    /// error for a summary that was read from a page, which has no sketch and only the quantiles
    /// that [`exported`](Self::exported) returns.
    pub fn quantile(&self, phi: f64) -> Result<Option<(f64, f64)>, Error> {
        match self.quantiles {
            QuantileSource::Sketch(values, objectives) if !objectives.interval => {
                Ok(values.quantile(phi))
            }
            QuantileSource::Sketch(..) => Err(Error::other(format_args!(
                "the difference of two snapshots has no quantiles; use those of one snapshot, or \
                 give the summary a window (`max_age`)"
            ))),
            QuantileSource::Page(_) => Err(Error::other(format_args!(
                "a summary that was read from a page has only the quantiles of that page; \
                 `exported` returns them"
            ))),
        }
    }

    /// Returns the quantile `phi` with bounds that certainly contain it, or `None` if
    /// [`quantile`](Self::quantile) has none.
    pub(crate) fn estimate(&self, phi: f64) -> Option<Estimate> {
        let (value, _) = self.quantile(phi).ok()??;
        let (lower, upper) = self.observed()?.sketch.bounds(phi)?;
        Some(Estimate {
            value,
            lower,
            upper,
        })
    }
}

/// The observations of one histogram series: counts per bucket and a sum.
///
/// ```
/// use tallies::snapshot::Value;
///
/// let registry = tallies::Registry::new();
/// let sizes = tallies::Histogram::builder("sizes_bytes", "Sizes.")
///     .buckets(&[1.0, 2.0])
///     .register(&registry)?;
/// [0.5, 1.5, 3.0].iter().for_each(|size| sizes.observe(*size));
/// let snapshot = registry.snapshot();
/// let (_labels, value) = snapshot.family("sizes_bytes").unwrap().series().next().unwrap();
/// if let Value::Histogram(sizes) = value {
///     assert_eq!((sizes.count(), sizes.sum()), (3, 5.0));
///     assert_eq!(sizes.buckets().collect::<Vec<_>>(), [(1.0, 1), (2.0, 2), (f64::INFINITY, 3)]);
///     assert_eq!(sizes.quantile(0.5).unwrap().upper, 2.0);
///     assert!(sizes.native().is_none());
/// }
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histogram<'a> {
    bounds: &'a [f64],
    pub(crate) counts: &'a [u64],
    sum: f64,
    native: Option<&'a Native>,
}

impl<'a> Histogram<'a> {
    /// Returns a histogram with these bounds. `counts` has the number of observations of each
    /// bucket, not cumulative, and one more for those above all bounds. A sum that is not known is
    /// NaN.
    ///
    /// ```
    /// use tallies::snapshot::Histogram;
    ///
    /// let sizes = Histogram::new(&[1.0, 2.0], &[3, 0, 1], 9.5)?;
    /// assert_eq!(sizes.buckets().last(), Some((f64::INFINITY, 4)));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the bounds do not ascend, if one is NaN or the last is infinite, or if
    /// the number of counts is wrong.
    pub fn new(bounds: &'a [f64], counts: &'a [u64], sum: f64) -> Result<Self, Error> {
        let ascend = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        let ends = bounds.last().is_none_or(|last| *last < f64::INFINITY);
        if !ascend || !ends || counts.len() != bounds.len() + 1 {
            return Err(Error::other(format_args!(
                "a histogram needs ascending bounds below infinity, and one count more than bounds; \
                 got {} bounds, {bounds:?}, and {} counts",
                bounds.len(),
                counts.len()
            )));
        }
        Ok(Self {
            bounds,
            counts,
            sum,
            native: None,
        })
    }

    /// Returns the histogram with exponential buckets of the same observations.
    ///
    /// ```
    /// use tallies::snapshot::{Histogram, Native};
    ///
    /// let native = Native::new(0, 0.0, 0, vec![(1, 4)], Vec::new())?;
    /// let sizes = Histogram::new(&[1.0], &[0, 4], 6.5)?.and_native(&native);
    /// assert_eq!(sizes.native().unwrap().positive(), [(1, 4)]);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn and_native(self, native: &'a Native) -> Self {
        Self {
            native: Some(native),
            ..self
        }
    }

    /// Returns the quantile `phi` with the bounds of the bucket that holds it.
    ///
    /// Uses the exponential buckets if there are any, because they are finer, and otherwise the
    /// fixed ones. If the first bound is above 0 and the sum is not negative, the values are taken
    /// to be 0 or more, as `histogram_quantile` does. Returns `None` before the first observation
    /// and for a `phi` outside 0 to 1.
    #[must_use]
    pub fn quantile(&self, phi: f64) -> Option<Estimate> {
        if let Some(native) = self.native {
            return native.quantile(phi);
        }
        let found = estimate(phi, self.count(), self.fixed_steps())?;
        if found.lower.is_finite() || found.upper <= 0.0 || !found.upper.is_finite() {
            return Some(found);
        }
        // Like Prometheus: observations below a first bound above 0 are assumed to be spread evenly
        // between 0 and that bound. A negative sum shows that some were below 0.
        let part = phi * self.count() as f64 / self.counts[0].max(1) as f64;
        let lower = if self.sum < 0.0 { found.lower } else { 0.0 };
        Some(Estimate {
            value: found.upper * part.clamp(0.0, 1.0),
            lower,
            ..found
        })
    }

    /// Iterates over the fixed buckets in the order of their values.
    pub(crate) fn fixed_steps(&self) -> impl Iterator<Item = Step> + 'a {
        let mut lower = f64::NEG_INFINITY;
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts).map(move |(upper, &count)| Step {
            lower: std::mem::replace(&mut lower, upper),
            upper,
            count,
            geometric: false,
        })
    }

    getters! {
        /// Returns the number of observations.
        fn count(&self) -> u64 = self.counts.iter().fold(0, |sum, n| sum.saturating_add(*n));

        /// Returns the exponential buckets of the same observations, if the family has them.
        fn native(&self) -> Option<&'a Native> = self.native;

        /// Returns the sum of the observations.
        fn sum(&self) -> f64 = self.sum;
    }

    /// Iterates over the upper bounds with their cumulative counts, `+Inf` last. A count is the
    /// number of observations that are at most the bound.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + 'a {
        let mut total = 0_u64;
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts).map(move |(bound, count)| {
            total = total.saturating_add(*count);
            (bound, total)
        })
    }
}
