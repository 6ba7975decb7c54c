//! Functions that compute bucket bounds.

use crate::error::{Error, SettingRule};
use crate::family::shape::check_bounds;
use crate::in_both::buckets;

pub use crate::in_both::buckets::DEFAULT;

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
    let bounds = (0..count).map(|i| start + width * i as f64);
    checked("linear", &rules, count, bounds)
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
    let rules = [
        (start > 0.0, SettingRule::Start(start)),
        (factor > 1.0, SettingRule::Factor(factor)),
    ];
    let bounds = std::iter::successors(Some(start), |bound| Some(bound * factor));
    checked("exponential", &rules, count, bounds)
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
    ascending(buckets::linear_array(start, width))
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
    ascending(buckets::exponential_array(start, factor))
}

const fn ascending<const N: usize>(bounds: [f64; N]) -> [f64; N] {
    if let Err(rule) = check_bounds(&bounds) {
        panic!("{}", rule.text());
    }
    bounds
}

/// Returns the first `count` bounds of a function, unless one of the rules does not hold for its
/// arguments.
fn checked(
    function: &str,
    rules: &[(bool, SettingRule)],
    count: usize,
    bounds: impl Iterator<Item = f64>,
) -> Result<Vec<f64>, Error> {
    let is_valid = (1..crate::observe::MOST_BUCKETS).contains(&count);
    let count_rule = (is_valid, SettingRule::Count(count));
    let mut rules = rules.iter().copied().chain([count_rule]);
    let bounds = match rules.find(|(holds, _)| !holds) {
        Some((_, broken)) => Err(broken),
        None => {
            let bounds: Vec<f64> = bounds.take(count).collect();
            check_bounds(&bounds).map(|()| bounds)
        }
    };
    bounds.map_err(|rule| Error::other(format_args!("the bounds of `buckets::{function}` {rule}")))
}
