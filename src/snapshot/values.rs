//! The values of a family's series, laid out by metric kind, and access to the value of one series.

use std::sync::Arc;

use crate::error::Error;

use super::native::{Estimate, Native, Natives, Step, estimate};
use super::number::{Number, Numbers};
use super::{Kind, sketch};

/// The values of all series of a family, in the order of the series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Counter(Numbers),
    /// Gauges, infos and state sets.
    Gauge(Vec<f64>),
    Histogram {
        bounds: Arc<[f64]>,
        /// For each series, one count per bound and one for `+Inf`; not cumulative.
        counts: Vec<u64>,
        sums: Vec<f64>,
        /// One native histogram per series, if the family has exponential buckets.
        natives: Option<Natives>,
    },
    Summary {
        /// The objectives, whose quantiles are exported.
        targets: sketch::Targets,
        /// The length of the window that quantiles cover; `None` if they cover all observations.
        max_age: Option<std::time::Duration>,
        /// Whether the values are differences between two snapshots, which have no quantiles.
        interval: bool,
        values: Vec<Quantiles>,
    },
    /// Summaries that were read from a page.
    PageSummary(Vec<PageSummary>),
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
pub struct Quantiles {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) sketch: sketch::Sketch,
}

impl Quantiles {
    /// Returns the number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the sum of the observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Returns the number of observations in the sketch, from which quantiles are computed. If the
    /// summary has a window, these are the observations in the window.
    #[must_use]
    pub fn sketched(&self) -> u64 {
        self.sketch.n()
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
    /// Values in an adversarial order can cause this. The error at an objective may then exceed the
    /// objective, but never the error that [`quantile`](Self::quantile) returns. The self-metric
    /// `tallies_degraded_series` counts such series.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.sketch.is_degraded()
    }
}

impl Values {
    /// Returns no values, of a kind whose series have no shape yet.
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(Numbers::default()),
            Kind::Gauge | Kind::Info | Kind::StateSet | Kind::Unknown => Self::Gauge(Vec::new()),
            Kind::Histogram | Kind::GaugeHistogram => Self::histogram([].into(), false),
            Kind::Summary => Self::PageSummary(Vec::new()),
        }
    }

    /// Returns no values, of histograms with these buckets.
    pub(crate) fn histogram(bounds: Arc<[f64]>, has_natives: bool) -> Self {
        Self::Histogram {
            bounds,
            counts: Vec::new(),
            sums: Vec::new(),
            natives: has_natives.then(Natives::default),
        }
    }

    /// The number of series.
    pub(crate) fn len(&self) -> usize {
        match self {
            Values::Counter(values) => values.len(),
            Values::Gauge(values) => values.len(),
            Values::Histogram { sums, .. } => sums.len(),
            Values::Summary { values, .. } => values.len(),
            Values::PageSummary(values) => values.len(),
        }
    }

    /// Returns the value of series `i`.
    pub(crate) fn get(&self, i: usize) -> Value<'_> {
        match self {
            Values::Counter(values) => Value::Counter(values.get(i)),
            Values::Gauge(values) => Value::Gauge(values[i]),
            Values::Histogram {
                bounds,
                counts,
                sums,
                natives,
            } => {
                let n = bounds.len() + 1;
                Value::Histogram(Histogram {
                    bounds,
                    counts: &counts[i * n..][..n],
                    sum: sums[i],
                    native: natives.as_ref().map(|natives| natives.get(i)),
                })
            }
            Values::Summary {
                targets,
                max_age,
                interval,
                values,
            } => Value::Summary(Summary(SummaryData::Sketch {
                values: &values[i],
                targets,
                max_age: *max_age,
                interval: *interval,
            })),
            Values::PageSummary(values) => {
                let PageSummary {
                    count,
                    sum,
                    quantiles,
                } = &values[i];
                Value::Summary(Summary::new(*count, *sum, quantiles))
            }
        }
    }

    /// Appends the value of a series of the same shape.
    pub(crate) fn push(&mut self, value: Value<'_>) {
        match (self, value) {
            (Values::Counter(values), Value::Counter(value)) => values.push(value),
            (Values::Gauge(values), Value::Gauge(value)) => values.push(value),
            (
                Values::Histogram {
                    counts,
                    sums,
                    natives,
                    ..
                },
                Value::Histogram(value),
            ) => {
                counts.extend_from_slice(value.counts);
                sums.push(value.sum);
                if let (Some(natives), Some(native)) = (natives, value.native) {
                    natives.push(native);
                }
            }
            (
                Values::Summary { values: all, .. },
                Value::Summary(Summary(SummaryData::Sketch { values, .. })),
            ) => all.push(values.clone()),
            (
                Values::PageSummary(all),
                Value::Summary(Summary(SummaryData::Page {
                    count,
                    sum,
                    quantiles,
                })),
            ) => {
                let quantiles = quantiles.to_vec();
                all.push(PageSummary {
                    count,
                    sum,
                    quantiles,
                });
            }
            _ => debug_assert!(false, "families of different kinds"),
        }
    }

    /// The memory that the values use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Values::Counter(values) => values.bytes(),
            Values::Gauge(values) => 8 * values.capacity(),
            Values::Histogram {
                counts,
                sums,
                natives,
                ..
            } => {
                let natives = natives.as_ref().map_or(0, Natives::bytes);
                natives + 8 * (counts.capacity() + sums.capacity())
            }
            Values::Summary { values, .. } => values
                .iter()
                .map(|value| 48 + 16 * value.sketch.tuples().len())
                .sum(),
            Values::PageSummary(values) => values
                .iter()
                .map(|value| size_of::<PageSummary>() + 16 * value.quantiles.capacity())
                .sum(),
        }
    }

    /// Returns an empty copy of the same shape.
    pub(crate) fn to_empty(&self) -> Self {
        match self {
            Self::Counter(_) => Self::of(Kind::Counter),
            Self::Gauge(_) => Self::of(Kind::Gauge),
            Self::PageSummary(_) => Self::of(Kind::Summary),
            Self::Histogram {
                bounds, natives, ..
            } => Self::histogram(Arc::clone(bounds), natives.is_some()),
            Self::Summary {
                targets,
                max_age,
                interval,
                ..
            } => Self::Summary {
                targets: *targets,
                max_age: *max_age,
                interval: *interval,
                values: Vec::new(),
            },
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
            Self::Counter(Numbers::Float(values)) | Self::Gauge(values) => restart(values, series),
            Self::Histogram {
                bounds,
                counts,
                sums,
                natives,
            } => {
                restart(counts, series * (bounds.len() + 1));
                restart(sums, series);
                natives.iter_mut().for_each(Natives::clear);
            }
            Self::Summary { values, .. } => restart(values, series),
            Self::PageSummary(values) => restart(values, series),
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
pub struct Summary<'a>(SummaryData<'a>);

/// The data behind a summary: the sketch of a registry, or a page that was read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum SummaryData<'a> {
    Sketch {
        values: &'a Quantiles,
        targets: &'a sketch::Targets,
        max_age: Option<std::time::Duration>,
        interval: bool,
    },
    Page {
        count: Option<u64>,
        sum: f64,
        quantiles: &'a [(f64, f64)],
    },
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
            Self::Summary(Summary(SummaryData::Sketch {
                targets,
                max_age,
                interval,
                ..
            })) => Values::Summary {
                targets: *targets,
                max_age,
                interval,
                values: Vec::new(),
            },
            Self::Summary(Summary(SummaryData::Page { .. })) => Values::of(Kind::Summary),
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
        Self(SummaryData::Page {
            count,
            sum,
            quantiles,
        })
    }

    /// Returns the number of observations, or 0 if a page that was read does not contain it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.known_count().unwrap_or(0)
    }

    /// Returns the number of observations, if it is known.
    pub(crate) fn known_count(&self) -> Option<u64> {
        match self.0 {
            SummaryData::Sketch { values, .. } => Some(values.count),
            SummaryData::Page { count, .. } => count,
        }
    }

    /// Returns the sum of the observations, or NaN if a page that was read does not contain it.
    #[must_use]
    pub fn sum(&self) -> f64 {
        match self.0 {
            SummaryData::Sketch { values, .. } => values.sum,
            SummaryData::Page { sum, .. } => sum,
        }
    }

    /// Returns the number of observations from which quantiles are computed. If the summary has a
    /// window, these are the observations in the window.
    #[must_use]
    pub fn sketched(&self) -> u64 {
        match self.0 {
            SummaryData::Sketch { values, .. } => values.sketched(),
            SummaryData::Page { .. } => self.count(),
        }
    }

    /// Iterates over the exported quantiles and their values, in ascending order.
    ///
    /// A value is NaN before the first observation. An interval has no quantiles.
    pub fn exported(&self) -> impl Iterator<Item = (f64, f64)> + 'a {
        let source = self.0;
        let (mut last, mut index) = (f64::NEG_INFINITY, 0);
        // Searches for the next larger objective in each step: there are few, and sorting them
        // would need memory.
        std::iter::from_fn(move || match source {
            SummaryData::Sketch { interval: true, .. } => None,
            SummaryData::Sketch {
                values, targets, ..
            } => {
                let phis = targets.as_slice().iter().map(|(phi, _)| *phi);
                last = phis.filter(|phi| *phi > last).min_by(f64::total_cmp)?;
                let value = values.quantile(last).map_or(f64::NAN, |(value, _)| value);
                Some((last, value))
            }
            SummaryData::Page { quantiles, .. } => {
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
        match self.0 {
            SummaryData::Sketch { interval: true, .. } => Err(Error::other(format_args!(
                "the difference of two snapshots has no quantiles; use those of one snapshot, or \
                 give the summary a window (`max_age`)"
            ))),
            SummaryData::Sketch { values, .. } => Ok(values.quantile(phi)),
            SummaryData::Page { .. } => Err(Error::other(format_args!(
                "a summary that was read from a page has only the quantiles of that page; \
                 `exported` returns them"
            ))),
        }
    }

    /// Returns the quantile `phi` with bounds that certainly contain it, or `None` if
    /// [`quantile`](Self::quantile) has none.
    pub(crate) fn estimate(&self, phi: f64) -> Option<Estimate> {
        let (value, _) = self.quantile(phi).ok()??;
        let SummaryData::Sketch { values, .. } = self.0 else {
            return None;
        };
        let (lower, upper) = values.sketch.bounds(phi)?;
        Some(Estimate {
            value,
            lower,
            upper,
        })
    }

    /// Returns whether the error at an objective may exceed the objective; see
    /// [`Quantiles::is_degraded`].
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        match self.0 {
            SummaryData::Sketch { values, .. } => values.is_degraded(),
            SummaryData::Page { .. } => false,
        }
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
    counts: &'a [u64],
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

    /// Returns the exponential buckets of the same observations, if the family has them.
    #[must_use]
    pub fn native(&self) -> Option<&'a Native> {
        self.native
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
        let mut lower = f64::NEG_INFINITY;
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let steps = bounds.zip(self.counts).map(|(upper, &count)| {
            let step = Step {
                lower,
                upper,
                count,
                geometric: false,
            };
            lower = upper;
            step
        });
        let found = estimate(phi, self.count(), steps)?;
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

    /// Returns the number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Returns the sum of the observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Iterates over the upper bounds with their cumulative counts, `+Inf` last. A count is the
    /// number of observations that are at most the bound.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + 'a {
        let mut total = 0_u64;
        self.bounds
            .iter()
            .copied()
            .chain([f64::INFINITY])
            .zip(self.counts)
            .map(move |(bound, count)| {
                total = total.saturating_add(*count);
                (bound, total)
            })
    }
}
