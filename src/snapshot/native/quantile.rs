//! Quantiles of counts per bucket: which bucket holds a quantile, and where in the bucket it is.

/// An estimate of a quantile of a histogram or a summary, with bounds that certainly contain it.
///
/// ```
/// let registry = tallies::Registry::new();
/// let h = tallies::Histogram::builder("h", "A histogram.")
///     .buckets(&[1.0, 2.0, 4.0])
///     .register(&registry)?;
/// [0.5, 1.5, 1.5, 3.0].iter().for_each(|x| h.observe(*x));
/// let median = registry.snapshot().quantile("h", &[], 0.5).unwrap();
/// assert_eq!((median.lower, median.value, median.upper), (1.0, 1.5, 2.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The quantile is the smallest observation that has at least the given part of all observations at
/// or below it. It certainly lies between `lower` and `upper`.
///
/// For a summary, `value` is the observation nearest in rank. For a histogram, `value` is a guess
/// like that of Prometheus' `histogram_quantile`: it assumes that observations are spread evenly
/// between the bounds of a fixed bucket, and that their logarithms are spread evenly between the
/// bounds of an exponential bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The guess.
    pub value: f64,
    /// The lower bound of the quantile.
    pub lower: f64,
    /// The upper bound of the quantile.
    pub upper: f64,
}

/// One bucket, as [`estimate`] visits them in ascending order.
pub(crate) struct Step {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) count: u64,
    /// Whether the logarithms of the observations are assumed to be spread evenly, rather than the
    /// observations.
    pub(crate) geometric: bool,
}

impl Step {
    fn value_at(&self, part: f64) -> f64 {
        let Self { lower, upper, .. } = *self;
        let guess = match (lower.is_finite(), upper.is_finite()) {
            // Above the last bound, nothing else is known.
            (_, false) => lower,
            (false, true) => upper,
            _ if self.geometric && (lower > 0.0 || upper < 0.0) => {
                lower * (upper / lower).powf(part)
            }
            _ => lower + (upper - lower) * part,
        };
        if guess.is_nan() {
            lower
        } else {
            guess.max(lower).min(upper)
        }
    }
}

/// Estimates the quantile `phi` of `count` observations in ascending buckets.
pub(crate) fn estimate(
    phi: f64,
    count: u64,
    steps: impl Iterator<Item = Step>,
) -> Option<Estimate> {
    if !(0.0..=1.0).contains(&phi) || count == 0 {
        return None;
    }
    let rank = phi * count as f64;
    // Above 2^53, rounding can take the float beyond the count.
    let wanted = (rank.ceil() as u64).clamp(1, count);
    let mut before = 0_u64;
    for step in steps {
        let upto = before.saturating_add(step.count);
        if upto >= wanted {
            let part = ((rank - before as f64) / step.count as f64).clamp(0.0, 1.0);
            return Some(Estimate {
                value: step.value_at(part),
                lower: step.lower,
                upper: step.upper,
            });
        }
        before = upto;
    }
    None
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    fn step((lower, upper): (f64, f64), count: u64, geometric: bool) -> Step {
        Step {
            lower,
            upper,
            count,
            geometric,
        }
    }

    #[test]
    fn a_quantile_lies_in_its_bucket_as_its_rank_does() {
        let estimate = |rank: f64| {
            let steps = [((0.0, 1.0), 2), ((2.0, 6.0), 4), ((6.0, 7.0), 2)];
            let steps = steps.map(|(bounds, count)| step(bounds, count, false));
            estimate(rank / 8.0, 8, steps.into_iter()).unwrap()
        };
        for (rank, value) in [(0.0, 0.0), (1.0, 0.5), (2.0, 1.0), (5.0, 5.0), (7.0, 6.5)] {
            assert_eq!(estimate(rank).value, value, "{rank}");
        }
        assert_eq!((estimate(5.0).lower, estimate(5.0).upper), (2.0, 6.0));
    }

    /// The middle of one bucket is between the logarithms of its bounds if both have one.
    #[test]
    fn buckets_of_either_sign_have_a_middle() {
        let middle = |bounds, geometric| {
            let only = step(bounds, 2, geometric);
            estimate(0.5, 2, [only].into_iter()).unwrap().value
        };
        for (bounds, geometric, linear) in [
            ((2.0, 32.0), 8.0, 17.0),
            ((-32.0, -2.0), -8.0, -17.0),
            ((0.0, 4.0), 2.0, 2.0),
            ((-4.0, 0.0), -2.0, -2.0),
            ((-1.0, 3.0), 1.0, 1.0),
            ((5.0, f64::INFINITY), 5.0, 5.0),
            ((f64::NEG_INFINITY, 5.0), 5.0, 5.0),
        ] {
            assert_eq!(middle(bounds, true), geometric, "{bounds:?}");
            assert_eq!(middle(bounds, false), linear, "{bounds:?}");
        }
    }
}
