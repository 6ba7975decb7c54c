//! Rows of bucket bounds.

use crate::error::{BucketRule, Error};

/// The bounds of a histogram that names none: seconds, from 5 ms to 10 s.
pub const DEFAULT: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// `count` bounds, the first at `start` and each `width` above the one before.
///
/// # Errors
///
/// No bounds, a width that is not above 0, and bounds that are not finite or do not ascend.
///
/// ```
/// assert_eq!(tallies::buckets::linear(1.0, 2.0, 5)?, [1.0, 3.0, 5.0, 7.0, 9.0]);
/// assert!(tallies::buckets::linear(1.0, 2.0, 0).is_err());
/// # Ok::<(), tallies::Error>(())
/// ```
pub fn linear(start: f64, width: f64, count: usize) -> Result<Vec<f64>, Error> {
    checked(
        count,
        |i| start + width * i as f64,
        width > 0.0,
        BucketRule::Width(width),
    )
}

/// `count` bounds, the first at `start` and each `factor` times the one before.
///
/// # Errors
///
/// No bounds, a start that is not above 0, a factor that is not above 1, and bounds that are not finite.
///
/// ```
/// assert_eq!(tallies::buckets::exponential(1.0, 10.0, 5)?, [1.0, 10.0, 100.0, 1e3, 1e4]);
/// assert!(tallies::buckets::exponential(1.0, 1.0, 5).is_err());
/// # Ok::<(), tallies::Error>(())
/// ```
pub fn exponential(start: f64, factor: f64, count: usize) -> Result<Vec<f64>, Error> {
    if start.is_nan() || start <= 0.0 {
        return Err(Error::bucket_helper(BucketRule::Start(start)));
    }
    let mut next = start;
    let bound = |_| {
        let bound = next;
        next *= factor;
        bound
    };
    checked(count, bound, factor > 1.0, BucketRule::Factor(factor))
}

/// As [`linear`], for a `static`: the array's length is the number of bounds.
///
/// # Panics
///
/// Where `linear` gives an error: a compile error in a `static`.
///
/// ```
/// use tallies::{Histogram, buckets};
///
/// static SIZES: Histogram = Histogram::new("sizes_bytes").buckets(&const { buckets::linear_array::<4>(512.0, 512.0) });
///
/// SIZES.observe(1500.0);
/// assert_eq!(SIZES.get().counts, [0, 0, 1, 0, 0]);
/// ```
#[must_use]
pub const fn linear_array<const N: usize>(start: f64, width: f64) -> [f64; N] {
    assert!(width > 0.0, "{}", BucketRule::Width(width).text());
    let mut bounds = [start; N];
    let mut i = 0;
    while i < N {
        bounds[i] = start + width * i as f64;
        i += 1;
    }
    ascending(bounds)
}

/// As [`exponential`], for a `static`: the array's length is the number of bounds.
///
/// # Panics
///
/// Where `exponential` gives an error: a compile error in a `static`.
///
/// ```
/// use tallies::{Histogram, buckets};
///
/// static SIZES: Histogram = Histogram::new("sizes_bytes").buckets(&const { buckets::exponential_array::<4>(64.0, 4.0) });
///
/// SIZES.observe(1500.0);
/// assert_eq!(SIZES.get().counts, [0, 0, 0, 1, 0]);
/// ```
#[must_use]
pub const fn exponential_array<const N: usize>(start: f64, factor: f64) -> [f64; N] {
    assert!(start > 0.0, "{}", BucketRule::Start(start).text());
    assert!(factor > 1.0, "{}", BucketRule::Factor(factor).text());
    let mut bounds = [start; N];
    let mut i = 1;
    while i < N {
        bounds[i] = bounds[i - 1] * factor;
        i += 1;
    }
    ascending(bounds)
}

const fn ascending<const N: usize>(bounds: [f64; N]) -> [f64; N] {
    if let Err(rule) = crate::family::desc::check_bounds(&bounds) {
        panic!("{}", rule.text());
    }
    bounds
}

fn checked(
    count: usize,
    bound: impl FnMut(usize) -> f64,
    step: bool,
    rule: BucketRule,
) -> Result<Vec<f64>, Error> {
    if !step {
        return Err(Error::bucket_helper(rule));
    }
    if count == 0 || count >= crate::observe::MOST_BUCKETS {
        return Err(Error::bucket_helper(BucketRule::Count(count)));
    }
    let bounds: Vec<f64> = (0..count).map(bound).collect();
    crate::family::desc::check_bounds(&bounds).map_err(Error::bucket_helper)?;
    Ok(bounds)
}
