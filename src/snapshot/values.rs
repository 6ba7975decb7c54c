//! What a family's series hold, kind by kind, and how one of them is read.

use std::sync::Arc;

use super::native::{Estimate, Native, Natives, Step, estimate};
use super::number::{Number, Numbers};
use super::sketch;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Counter(Numbers),
    /// Also of info and state sets.
    Gauge(Vec<f64>),
    Histogram {
        bounds: Arc<[f64]>,
        /// Per series one count per bound and one for `+Inf`; not cumulative.
        counts: Vec<u64>,
        sums: Vec<f64>,
        /// Where the family has exponential buckets, of every series.
        natives: Option<Natives>,
    },
    Summary {
        /// The quantiles that are exported.
        targets: sketch::Targets,
        /// How far back they go; for ever without.
        max_age: Option<std::time::Duration>,
        /// Whether this is what was observed between two snapshots: then there are no quantiles.
        interval: bool,
        values: Vec<Quantiles>,
    },
    /// Of a summary that was read from a page.
    Written(Vec<Written>),
}

/// What a page says of one series of a summary: the observations behind its quantiles are not known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    /// Nothing where the page does not say it.
    pub(crate) count: Option<u64>,
    /// NaN where the page does not say it.
    pub(crate) sum: f64,
    /// Ascending; none of an interval.
    pub(crate) quantiles: Vec<(f64, f64)>,
}

/// What one series of a summary observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantiles {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) sketch: sketch::Sketch,
}

impl Quantiles {
    /// The number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the same observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The number of observations that quantiles are of: those in the window, where there is one.
    #[must_use]
    pub fn sketched(&self) -> u64 {
        self.sketch.n()
    }

    /// The quantile `phi`, and by what part of the ranks it may be wrong: at an objective at most what that promises.
    /// `None` before the first observation, outside 0 to 1, and for a summary without objectives.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let s = tallies::Summary::<()>::builder("s", "A summary.").register(&registry)?;
    /// (1..=100).for_each(|i| s.observe(f64::from(i)));
    /// assert_eq!(s.total().quantile(0.0), Some((1.0, 0.0)));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn quantile(&self, phi: f64) -> Option<(f64, f64)> {
        let (value, ranks) = self.sketch.quantile(phi)?;
        Some((value, ranks as f64 / self.sketch.n().max(1) as f64))
    }

    /// Whether a sketch had to be forced under its cap, by values in an unkind order: then an objective's error may be
    /// more than promised, though not more than [`quantile`](Self::quantile) says. `tallies_degraded_series` counts such
    /// series.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let s = tallies::Summary::<()>::builder("s", "A summary.").register(&registry)?;
    /// (1..=100).for_each(|i| s.observe(f64::from(i)));
    /// assert!(!s.total().is_degraded());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.sketch.is_degraded()
    }
}

impl Values {
    /// Series of a summary whose errors may be more than promised.
    pub(crate) fn degraded(&self) -> usize {
        match self {
            Self::Summary { values, .. } => {
                values.iter().filter(|value| value.is_degraded()).count()
            }
            _ => 0,
        }
    }

    /// The number of series.
    pub(crate) fn len(&self) -> usize {
        match self {
            Values::Counter(values) => values.len(),
            Values::Gauge(values) => values.len(),
            Values::Histogram { sums, .. } => sums.len(),
            Values::Summary { values, .. } => values.len(),
            Values::Written(values) => values.len(),
        }
    }

    /// The value of series `i`.
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
                interval,
                values,
                ..
            } => Value::Summary(Summary(Source::Sketch {
                values: &values[i],
                targets: targets.as_slice(),
                interval: *interval,
            })),
            Values::Written(values) => Value::Summary(Summary(Source::Page(&values[i]))),
        }
    }

    /// Appends a value of the same shape.
    pub(super) fn push(&mut self, value: Value<'_>) {
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
                Value::Summary(Summary(Source::Sketch { values, .. })),
            ) => all.push(values.clone()),
            (Values::Written(all), Value::Summary(Summary(Source::Page(value)))) => {
                all.push(value.clone());
            }
            _ => debug_assert!(false, "families of different kinds"),
        }
    }

    /// The bytes it takes.
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
            Values::Written(values) => values
                .iter()
                .map(|value| size_of::<Written>() + 16 * value.quantiles.capacity())
                .sum(),
        }
    }

    /// The same shape without values.
    pub(super) fn emptied(&self) -> Self {
        let mut empty = self.clone();
        empty.clear();
        empty
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Counter(values) => values.clear(),
            Self::Gauge(values) => values.clear(),
            Self::Histogram {
                counts,
                sums,
                natives,
                ..
            } => {
                counts.clear();
                sums.clear();
                if let Some(natives) = natives {
                    natives.clear();
                }
            }
            Self::Summary { values, .. } => values.clear(),
            Self::Written(values) => values.clear(),
        }
    }
}

/// One value of a family, as [`Family::series`](super::Family::series) gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Of a counter.
    Counter(Number),
    /// Of a gauge, an info (1), or one state of a state set (0 or 1).
    Gauge(f64),
    /// Of a histogram.
    Histogram(Histogram<'a>),
    /// Of a summary.
    Summary(Summary<'a>),
}

/// What one series of a summary observed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary<'a>(Source<'a>);

/// What is known of a summary.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source<'a> {
    Sketch {
        values: &'a Quantiles,
        targets: &'a [(f64, f64)],
        interval: bool,
    },
    Page(&'a Written),
}

impl<'a> Summary<'a> {
    /// The number of observations; 0 where a page that was [read](crate::encode::read) did not say it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.known_count().unwrap_or(0)
    }

    /// The number of observations, where it is known.
    pub(crate) fn known_count(&self) -> Option<u64> {
        match self.0 {
            Source::Sketch { values, .. } => Some(values.count),
            Source::Page(written) => written.count,
        }
    }

    /// The sum of the same observations; NaN where a page that was [read](crate::encode::read) did not say it.
    #[must_use]
    pub fn sum(&self) -> f64 {
        match self.0 {
            Source::Sketch { values, .. } => values.sum,
            Source::Page(written) => written.sum,
        }
    }

    /// The number of observations that quantiles are of: those in the window, where there is one.
    #[must_use]
    pub fn sketched(&self) -> u64 {
        match self.0 {
            Source::Sketch { values, .. } => values.sketched(),
            Source::Page(written) => written.count.unwrap_or(0),
        }
    }

    /// The quantiles that are exported, or were: each with its value, NaN before the first observation. None of an
    /// interval.
    pub fn exported(&self) -> impl Iterator<Item = (f64, f64)> + 'a {
        let source = self.0;
        let (mut last, mut place) = (f64::NEG_INFINITY, 0);
        // The next one each time: objectives are few, and this takes no memory.
        std::iter::from_fn(move || match source {
            Source::Sketch { interval: true, .. } => None,
            Source::Sketch {
                values, targets, ..
            } => {
                let phis = targets.iter().map(|(phi, _)| *phi);
                last = phis.filter(|phi| *phi > last).min_by(f64::total_cmp)?;
                let value = values.quantile(last).map_or(f64::NAN, |(value, _)| value);
                Some((last, value))
            }
            Source::Page(written) => {
                place += 1;
                written.quantiles.get(place - 1).copied()
            }
        })
    }

    /// The quantile `phi`, and by what part of the ranks it may be wrong; `None` before the first observation.
    ///
    /// # Errors
    ///
    /// Of an interval: what two snapshots have between them cannot be told from their sketches; use a window. Of a summary
    /// that was [read](crate::encode::read): its page has no sketch, only what [`exported`](Self::exported) gives.
    pub fn quantile(&self, phi: f64) -> Result<Option<(f64, f64)>, crate::Error> {
        match self.0 {
            Source::Sketch { interval: true, .. } => Err(crate::error::Error::interval()),
            Source::Sketch { values, .. } => Ok(values.quantile(phi)),
            Source::Page(_) => Err(crate::error::Error::written()),
        }
    }

    /// The quantile `phi`, and between which values it lies for certain; `None` where [`quantile`](Self::quantile) has none.
    pub(crate) fn estimate(&self, phi: f64) -> Option<Estimate> {
        let (value, _) = self.quantile(phi).ok()??;
        let Source::Sketch { values, .. } = self.0 else {
            return None;
        };
        let (lower, upper) = values.sketch.bounds(phi)?;
        Some(Estimate {
            value,
            lower,
            upper,
        })
    }

    /// Whether an objective's error may be more than promised: see [`Quantiles::is_degraded`].
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        match self.0 {
            Source::Sketch { values, .. } => values.is_degraded(),
            Source::Page(_) => false,
        }
    }
}

/// What one series of a histogram observed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histogram<'a> {
    bounds: &'a [f64],
    counts: &'a [u64],
    sum: f64,
    native: Option<&'a Native>,
}

impl<'a> Histogram<'a> {
    /// The exponential buckets of the same observations, if the family has them.
    #[must_use]
    pub fn native(&self) -> Option<&'a Native> {
        self.native
    }

    /// The quantile `phi`, with the bounds of the bucket that it is in: of the exponential buckets if there are any, as they
    /// are finer, else of the fixed ones. `None` before the first observation, and outside 0 to 1.
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
        // As Prometheus does: what is below the first bound, if that is above 0, is taken for spread from 0 on.
        let part = phi * self.count() as f64 / self.counts[0].max(1) as f64;
        Some(Estimate {
            value: found.upper * part.clamp(0.0, 1.0),
            ..found
        })
    }

    /// The number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// The sum of the same observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The upper bounds, and how many observations were at most each: cumulative, `+Inf` last.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + 'a {
        let mut total = 0_u64;
        self.bounds
            .iter()
            .copied()
            .chain([f64::INFINITY])
            .zip(self.counts)
            .map(move |(bound, count)| {
                total = total.wrapping_add(*count);
                (bound, total)
            })
    }
}
