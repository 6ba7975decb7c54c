//! Functions that compute bucket bounds.

use crate::error::{Error, SettingRule};
use crate::family::shape::check_bounds;

/// The default bucket bounds: seconds, from 5 ms to 10 s.
///
/// ```
/// use tallies::buckets;
///
/// assert_eq!((buckets::DEFAULT[0], buckets::DEFAULT[10]), (0.005, 10.0));
/// ```
pub const DEFAULT: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Returns `count` bounds. The first is `start`, and each of the others is `width` above the one
/// before. In a `static`, use [`linear_array`].
///
/// ```
/// assert_eq!(tallies::buckets::linear(1.0, 2.0, 5)?, [1.0, 3.0, 5.0, 7.0, 9.0]);
/// assert!(tallies::buckets::linear(1.0, 2.0, 0).is_err());
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// # Errors
///
/// Returns an error if the count is 0 or above 16 383, if the width is not above 0, or if the
/// bounds are not finite or do not ascend.
pub fn linear(start: f64, width: f64, count: usize) -> Result<Vec<f64>, Error> {
    let rules = [(width > 0.0, SettingRule::Width(width))];
    checked("linear", &rules, count, |i| start + width * i as f64)
}

/// Returns `count` bounds. The first is `start`, and each of the others is `factor` times the one
/// before. In a `static`, use [`exponential_array`].
///
/// ```
/// assert_eq!(tallies::buckets::exponential(1.0, 10.0, 5)?, [1.0, 10.0, 100.0, 1e3, 1e4]);
/// assert!(tallies::buckets::exponential(1.0, 1.0, 5).is_err());
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// # Errors
///
/// Returns an error if the count is 0 or above 16 383, if the start is not above 0, if the factor
/// is not above 1, or if the bounds are not finite or do not ascend.
pub fn exponential(start: f64, factor: f64, count: usize) -> Result<Vec<f64>, Error> {
    let mut next = start;
    let bound = |_| {
        let bound = next;
        next *= factor;
        bound
    };
    let rules = [
        (start > 0.0, SettingRule::Start(start)),
        (factor > 1.0, SettingRule::Factor(factor)),
    ];
    checked("exponential", &rules, count, bound)
}

/// Returns `N` bounds like [`linear`] does, in a constant.
///
/// ```
/// use tallies::{Histogram, buckets};
///
/// static SIZES: Histogram = Histogram::new("sizes_bytes")
///     .buckets(&const { buckets::linear_array::<4>(512.0, 512.0) });
///
/// SIZES.observe(1500.0);
/// assert_eq!(SIZES.get().counts, [0, 0, 1, 0, 0]);
/// ```
///
/// # Panics
///
/// If [`linear`] would return an error: a compile error in a `static`.
#[must_use]
pub const fn linear_array<const N: usize>(start: f64, width: f64) -> [f64; N] {
    assert!(width > 0.0, "{}", SettingRule::Width(width).text());
    let mut bounds = [start; N];
    let mut i = 0;
    while i < N {
        bounds[i] = start + width * i as f64;
        i += 1;
    }
    ascending(bounds)
}

/// Returns `N` bounds like [`exponential`] does, in a constant.
///
/// ```
/// use tallies::{Histogram, buckets};
///
/// static SIZES: Histogram = Histogram::new("sizes_bytes")
///     .buckets(&const { buckets::exponential_array::<4>(64.0, 4.0) });
///
/// SIZES.observe(1500.0);
/// assert_eq!(SIZES.get().counts, [0, 0, 0, 1, 0]);
/// ```
///
/// # Panics
///
/// If [`exponential`] would return an error: a compile error in a `static`.
#[must_use]
pub const fn exponential_array<const N: usize>(start: f64, factor: f64) -> [f64; N] {
    assert!(start > 0.0, "{}", SettingRule::Start(start).text());
    assert!(factor > 1.0, "{}", SettingRule::Factor(factor).text());
    let mut bounds = [start; N];
    let mut i = 1;
    while i < N {
        bounds[i] = bounds[i - 1] * factor;
        i += 1;
    }
    ascending(bounds)
}

const fn ascending<const N: usize>(bounds: [f64; N]) -> [f64; N] {
    if let Err(rule) = check_bounds(&bounds) {
        panic!("{}", rule.text());
    }
    bounds
}

/// Returns `count` bounds for a function, unless one of the rules does not hold for its arguments.
fn checked(
    function: &str,
    rules: &[(bool, SettingRule)],
    count: usize,
    bound: impl FnMut(usize) -> f64,
) -> Result<Vec<f64>, Error> {
    let is_valid = (1..crate::observe::MOST_BUCKETS).contains(&count);
    let count_rule = (is_valid, SettingRule::Count(count));
    let mut rules = rules.iter().copied().chain([count_rule]);
    let bounds = match rules.find(|(holds, _)| !holds) {
        Some((_, broken)) => Err(broken),
        None => {
            let bounds: Vec<f64> = (0..count).map(bound).collect();
            check_bounds(&bounds).map(|()| bounds)
        }
    };
    bounds.map_err(|rule| Error::other(format_args!("the bounds of `buckets::{function}` {rule}")))
}
