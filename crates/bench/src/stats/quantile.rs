//! Quantiles with intervals that are valid at any look, and that contain the error of the buckets.
//!
//! The ranks come from a confidence sequence of Howard and Ramdas, which holds for all quantiles
//! and all sample sizes at once: with probability 1 - α, the true quantile is between the
//! observations of the two ranks *at every* sample size. So one may look as often as one likes, and
//! stop when the interval is narrow enough. The values are the outer bounds of the buckets that
//! hold these two observations.
//!
//! Source: Howard and Ramdas, *Sequential estimation of quantiles with applications to A/B testing
//! and best-arm identification*, Bernoulli 28(3), 2022 (arXiv 1906.09712): the double stitching
//! bound, with δ = 0.5, s = 1.4, η = 2, tuned for m₀ = 100 observations. The tests have vectors
//! that come from the authors' code.

use std::fmt;

use serde::Serialize;

use crate::Error;
use crate::recorder::Distribution;

const DELTA: f64 = 0.5;
const S: f64 = 1.4;
const ETA: f64 = 2.0;
/// The number of observations for which the bound is tightest, and from which it shrinks.
const TUNED: f64 = 100.0;
/// The Riemann zeta function at [`S`].
const ZETA: f64 = 3.105_547_277_977_582_3;

/// A quantile with the interval that certainly contains it, up to the chosen error probability.
///
/// ```
/// let recorder = tallies_bench::recorder::Recorder::new("query_seconds")?;
/// (1..=10_000).for_each(|us| recorder.record_seconds(f64::from(us) * 1e-6));
/// let seen = recorder.read();
/// let p90 = tallies_bench::stats::quantile(seen.distribution(), 10_000.0, 0.9, 0.05)?;
/// assert!(p90.lower < 0.009 && 0.009 < p90.upper);
/// assert_eq!(p90.to_string(), "p90 9.01 ms [8.80, 9.17]");
/// # Ok::<(), tallies_bench::Error>(())
/// ```
///
/// With too few observations one bound or both are missing: `lower` is then 0, and `upper` is
/// infinite, which is displayed as `?`, and is `null` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QuantileInterval {
    /// The quantile, from 0 to 1.
    pub quantile: f64,
    /// The middle of the bucket that holds the quantile of the recorded values, in seconds.
    pub value: f64,
    /// The lower bound, in seconds.
    pub lower: f64,
    /// The upper bound, in seconds.
    pub upper: f64,
    /// The number of independent observations on which the interval rests.
    pub effective_count: f64,
}

impl QuantileInterval {
    /// Returns the width of the interval, relative to the value. It is infinite as long as there is
    /// no upper bound.
    #[must_use]
    pub fn relative_width(&self) -> f64 {
        if self.value > 0.0 {
            (self.upper - self.lower) / self.value
        } else {
            f64::INFINITY
        }
    }
}

impl fmt::Display for QuantileInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.within(TimeUnit::of([self.value])))
    }
}

impl QuantileInterval {
    /// Returns the text in this unit.
    pub(crate) fn within(&self, unit: TimeUnit) -> String {
        let (value, interval) = self.parts(unit);
        let (name, unit) = (percentile(self.quantile), unit.name);
        format!("{name} {value} {unit} {interval}")
    }

    /// Returns the text for a column, whose head has the unit, and whose row the name.
    pub(crate) fn cell(&self, unit: TimeUnit) -> String {
        let (value, interval) = self.parts(unit);
        format!("{value} {interval}")
    }

    fn parts(&self, unit: TimeUnit) -> (String, String) {
        let digits = unit.digits(self.value);
        // Rounded outwards, so that the printed interval contains the interval.
        let last = 10_f64.powi(digits as i32);
        let lower = (self.lower * unit.scale * last).floor() / last;
        let upper = (self.upper * unit.scale * last).ceil() / last;
        let end = |is_known: bool, end: f64| match is_known {
            true => format!("{end:.digits$}"),
            false => "?".to_owned(),
        };
        let (lower, upper) = (end(self.has_lower(), lower), end(self.has_upper(), upper));
        (unit.number(self.value), format!("[{lower}, {upper}]"))
    }

    pub(crate) fn has_lower(&self) -> bool {
        self.lower > 0.0
    }

    pub(crate) fn has_upper(&self) -> bool {
        self.upper.is_finite()
    }
}

/// The unit of a column of times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TimeUnit {
    scale: f64,
    pub(crate) name: &'static str,
}

impl TimeUnit {
    /// Returns the unit for values in seconds: that of the geometric mean of the smallest and the
    /// largest one.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values = values
            .into_iter()
            .filter(|value| *value > 0.0 && value.is_finite());
        let ends = values.fold(None, |ends: Option<(f64, f64)>, value| {
            let (low, high) = ends.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        });
        // Of equal ends exactly: a root could round 1 ms down.
        let middle = ends.map_or(0.0, |(low, high)| match low == high {
            true => low,
            false => (low * high).sqrt(),
        });
        let (scale, name) = match middle {
            value if value >= 1.0 => (1.0, "s"),
            value if value >= 1e-3 => (1e3, "ms"),
            value if value >= 1e-6 => (1e6, "µs"),
            _ => (1e9, "ns"),
        };
        Self { scale, name }
    }

    /// Returns a value in this unit, without its name: in three digits, or whole ones.
    pub(crate) fn number(self, seconds: f64) -> String {
        format!("{:.*}", self.digits(seconds), seconds * self.scale)
    }

    /// The digits behind the point.
    fn digits(self, seconds: f64) -> usize {
        match seconds * self.scale {
            value if value >= 100.0 => 0,
            value if value >= 10.0 => 1,
            value if value >= 1.0 => 2,
            value if value >= 0.1 => 3,
            value if value >= 0.01 => 4,
            // Of 0, too, and of what no other value of the column is near to.
            _ => 5,
        }
    }
}

/// The name of a quantile: `p99.9`, not `p99.90000000000001`.
pub(crate) fn percentile(phi: f64) -> String {
    format!("p{}", (phi * 1e8).round() / 1e6)
}

/// Returns the quantile `phi` with an interval that contains that of the measured process with
/// probability 1 - `alpha`, at every look, and for all quantiles at once.
///
/// `effective_count` is the number of independent observations: the count of the distribution if
/// each value is independent of the others, and else [`Batches::effective_count`]. More than the
/// count means the count.
///
/// The [type](QuantileInterval) has an example.
///
/// # Errors
///
/// Returns an error ([`Error::is_setting`]) if `phi` or `alpha` is not between 0 and 1, and
/// ([`Error::is_data`]) if the distribution is empty.
///
/// [`Batches::effective_count`]: super::Batches::effective_count
pub fn quantile(
    distribution: &Distribution,
    effective_count: f64,
    phi: f64,
    alpha: f64,
) -> Result<QuantileInterval, Error> {
    let count = distribution.count() as f64;
    let effective = effective_count.clamp(1.0, count.max(1.0));
    let (below, above) = rank_radius(phi, effective, alpha)?;
    let Some(bucket) = distribution.quantile(phi) else {
        let why = "an empty distribution has no quantiles; record a value first";
        return Err(Error::data(why));
    };
    // Ranks from 1; the smallest one that is allowed, and the largest.
    let low = ((phi - below) * count).floor() + 1.0;
    let high = ((phi + above) * count).ceil();
    let at = |rank: f64| distribution.at_rank(rank as u64);
    let lower = match low >= 1.0 {
        true => at(low.min(count)).map_or(0.0, |bucket| bucket.lower),
        false => 0.0,
    };
    let upper = match high <= count {
        true => at(high.max(1.0)).map_or(f64::INFINITY, |bucket| bucket.upper),
        false => f64::INFINITY,
    };
    Ok(QuantileInterval {
        quantile: phi,
        value: (bucket.lower + bucket.upper) / 2.0,
        lower,
        upper,
        effective_count: effective,
    })
}

/// Returns how far the rank of the true quantile `phi` is below and above `phi`, at most, as parts
/// of all `count` observations. Holds with probability 1 - `alpha` for all `phi` and all counts at
/// once.
///
/// ```
/// let (below, above) = tallies_bench::stats::rank_radius(0.5, 1000.0, 0.05)?;
/// assert!((above * 1000.0 - 68.62803).abs() < 1e-5);
/// assert_eq!(below, above);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
///
/// The two are different for other quantiles than the median, because the tail is thinner on one
/// side. Below 100 observations the bound is not tight.
///
/// # Errors
///
/// Returns an error ([`Error::is_setting`]) if `phi` or `alpha` is not between 0 and 1, or if the
/// count is not at least 1.
pub fn rank_radius(phi: f64, count: f64, alpha: f64) -> Result<(f64, f64), Error> {
    for (name, value) in [("quantile", phi), ("error probability", alpha)] {
        if !(value > 0.0 && value < 1.0) {
            return Err(Error::setting(format!(
                "the {name} {value} is not between 0 and 1; 0.99 is a quantile, and 0.05 an error \
                 probability"
            )));
        }
    }
    if !(1.0..f64::INFINITY).contains(&count) {
        return Err(Error::setting(format!(
            "{count} observations have no quantiles; there must be at least 1"
        )));
    }
    let below = double_stitching(1.0 - phi, count, alpha) / count;
    let above = double_stitching(phi, count, alpha) / count;
    Ok((below, above))
}

/// Returns how many independent observations a quantile needs, about, to have both bounds.
pub(crate) fn needed_count(phi: f64, alpha: f64) -> f64 {
    let mut count = 1.0;
    while rank_radius(phi, count, alpha)
        .is_ok_and(|(below, above)| phi - below < 0.0 || phi + above > 1.0)
    {
        count *= 1.05;
    }
    count
}

/// The bound on how many of `t` observations may be missing above the quantile `p`.
fn double_stitching(p: f64, t: f64, alpha: f64) -> f64 {
    let logit = |p: f64| (p / (1.0 - p)).ln();
    let expit = |x: f64| 1.0 / (1.0 + (-x).exp());
    let t = t.max(TUNED);
    let epochs = t / TUNED;
    let nearest = match p >= 0.5 {
        true => p,
        false => expit(logit(p) + 2.0 * DELTA * (ETA / epochs).sqrt()).min(0.5),
    };
    let variance = nearest * (1.0 - nearest);
    let grid = epochs.sqrt() * logit(p).abs() / (2.0 * DELTA) + 1.0;
    let constant = 2.0 * ZETA * (2.0 * ZETA + 1.0) / (alpha * ETA.ln().powf(S));
    let log = S * (ETA * epochs).ln().ln() + S * grid.ln() + constant.ln();
    let skew = (1.0 - 2.0 * p) / 3.0;
    let k1 = (ETA.powf(0.25) + ETA.powf(-0.25)) / 2_f64.sqrt();
    let k2 = (ETA.sqrt() + 1.0) / 2.0;
    let linear = k2 * skew * log;
    DELTA * (ETA * epochs * variance).sqrt()
        + (k1 * k1 * variance * t * log + linear * linear).sqrt()
        + linear
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_the_authors_code() {
        for (p, expected) in [(0.5, 68.628_03), (0.9, 43.721_19), (0.1, 59.965_21)] {
            let bound = double_stitching(p, 1000.0, 0.05);
            assert!((bound - expected).abs() < 1e-5, "{p}: {bound}");
        }
        let (below, above) = rank_radius(0.99, 1e6, 0.05).unwrap();
        assert!((above - 0.000_624).abs() < 1e-6 && (below - 0.000_643).abs() < 1e-6);
        assert!((rank_radius(0.5, 1e6, 0.05).unwrap().0 - 0.002_363).abs() < 1e-6);
    }

    #[test]
    fn zeta_is_the_sum_of_its_series() {
        let n = 1000_f64;
        let sum: f64 = (1..1000).map(|k| f64::from(k).powf(-S)).sum();
        // What the rest of the series adds, by the formula of Euler and Maclaurin.
        let rest = n.powf(1.0 - S) / (S - 1.0) + n.powf(-S) / 2.0 + S * n.powf(-S - 1.0) / 12.0;
        assert!((sum + rest - ZETA).abs() < 1e-12);
    }

    #[test]
    fn an_interval_has_the_outer_bounds_of_its_buckets() {
        let values: Vec<f64> = (1..=1000).map(|i| f64::from(i) * 1e-3).collect();
        let seen = Distribution::of_values(&values);
        let median = quantile(&seen, 1000.0, 0.5, 0.05).unwrap();
        // Ranks 432 and 569.
        let (low, high) = (seen.at_rank(432).unwrap(), seen.at_rank(569).unwrap());
        assert_eq!((median.lower, median.upper), (low.lower, high.upper));
        // Fewer independent observations make it wider.
        let wider = quantile(&seen, 200.0, 0.5, 0.05).unwrap();
        assert!(wider.lower < median.lower && median.upper < wider.upper);
        assert_eq!(
            quantile(&seen, 1e9, 0.5, 0.05).unwrap().effective_count,
            1000.0
        );
    }

    #[test]
    fn an_interval_ends_at_the_ranks_of_the_bound_and_no_other() {
        // Each value has a bucket of its own.
        let values: Vec<f64> = (0..1000).map(|i| 1e-6 * 1.01_f64.powi(i)).collect();
        let seen = Distribution::of_values(&values);
        let bucket = |rank| seen.at_rank(rank).unwrap();
        assert!(bucket(431).upper < bucket(432).lower);
        let median = quantile(&seen, 1000.0, 0.5, 0.05).unwrap();
        // (0.5 - 0.068 63) · 1 000 + 1, and (0.5 + 0.068 63) · 1 000.
        assert_eq!(
            (median.lower, median.upper),
            (bucket(432).lower, bucket(569).upper)
        );
        // 0.9 + 0.043 72 above; below it is the bound of the other tail, 0.059 97.
        let p90 = quantile(&seen, 1000.0, 0.9, 0.05).unwrap();
        assert_eq!(
            (p90.lower, p90.upper),
            (bucket(841).lower, bucket(944).upper)
        );
        let width = (p90.upper - p90.lower) / p90.value;
        assert_eq!(p90.relative_width(), width);
    }

    #[test]
    fn a_quantile_that_few_observations_exceed_has_no_upper_bound() {
        let values: Vec<f64> = (1..=1000).map(|i| f64::from(i) * 1e-3).collect();
        let seen = Distribution::of_values(&values);
        let tail = quantile(&seen, 1000.0, 0.999, 0.05).unwrap();
        assert_eq!(
            (tail.upper, tail.relative_width()),
            (f64::INFINITY, f64::INFINITY)
        );
        assert!(tail.to_string().starts_with("p99.9 999 ms [9"), "{tail}");
        assert!(tail.to_string().ends_with(", ?]"), "{tail}");
        let head = quantile(&seen, 1000.0, 0.001, 0.05).unwrap();
        assert_eq!(head.lower, 0.0);
    }

    #[test]
    fn wrong_arguments_are_errors() {
        let seen = Distribution::of_values(&[1.0]);
        for phi in [0.0, 1.0, -0.5, f64::NAN] {
            assert!(quantile(&seen, 1.0, phi, 0.05).unwrap_err().is_setting());
            assert!(quantile(&seen, 1.0, 0.5, phi).unwrap_err().is_setting());
        }
        assert!(rank_radius(0.5, 0.0, 0.05).unwrap_err().is_setting());
        let empty = Distribution::default();
        assert!(quantile(&empty, 0.0, 0.5, 0.05).unwrap_err().is_data());
    }

    #[test]
    fn an_interval_is_shown_in_three_digits_rounded_outwards() {
        let shown = |value, lower, upper| {
            let interval = QuantileInterval {
                quantile: 0.99,
                value,
                lower,
                upper,
                effective_count: 1.0,
            };
            interval.to_string()
        };
        assert_eq!(
            shown(1.832e-3, 1.809e-3, 1.861e-3),
            "p99 1.83 ms [1.80, 1.87]"
        );
        assert_eq!(shown(0.25, 0.2494, 1.0), "p99 250 ms [249, 1000]");
        assert_eq!(shown(12.34e-6, 0.0, f64::INFINITY), "p99 12.3 µs [?, ?]");
    }

    #[test]
    fn a_column_has_the_unit_in_the_middle_of_its_values() {
        let column = |values: &[f64]| {
            let unit = TimeUnit::of(values.iter().copied());
            let numbers = values.iter().map(|value| unit.number(*value));
            (unit.name, numbers.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(
            column(&[34.6e-3, 39.444e-3]),
            ("ms", "34.6 39.4".to_owned())
        );
        assert_eq!(
            column(&[80e-6, 1.83e-3, 2.0]),
            ("ms", "0.0800 1.83 2000".to_owned())
        );
        assert_eq!(column(&[0.25e-6, 0.0]), ("ns", "250 0.00000".to_owned()));
        assert_eq!(column(&[]).0, "ns");
        for (value, name) in [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.99e-3, "µs")] {
            assert_eq!(column(&[value]).0, name);
        }
    }

    #[test]
    fn so_many_observations_as_are_needed_have_both_bounds_and_few_fewer_have_not() {
        for phi in [0.5, 0.9, 0.99, 0.999] {
            let needed = needed_count(phi, 0.05);
            let count = needed.ceil() as u64 + 2;
            let values: Vec<f64> = (1..=count).map(|i| i as f64 * 1e-6).collect();
            let seen = Distribution::of_values(&values);
            let bounds = |effective| {
                let interval = quantile(&seen, effective, phi, 0.05).unwrap();
                interval.has_lower() && interval.has_upper()
            };
            assert!(bounds(count as f64), "{phi}: {needed}");
            assert!(!bounds(needed / 1.2), "{phi}: {needed}");
        }
    }
}
