//! Bucket bounds that need no check, or are checked by the caller.

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

/// Returns `N` bounds, each `width` above the one before.
#[must_use]
pub const fn linear_array<const N: usize>(start: f64, width: f64) -> [f64; N] {
    let (mut bounds, mut i) = ([start; N], 0);
    while i < N {
        bounds[i] = start + width * i as f64;
        i += 1;
    }
    bounds
}

/// Returns `N` bounds, each `factor` times the one before.
#[must_use]
pub const fn exponential_array<const N: usize>(start: f64, factor: f64) -> [f64; N] {
    let (mut bounds, mut i) = ([start; N], 1);
    while i < N {
        bounds[i] = bounds[i - 1] * factor;
        i += 1;
    }
    bounds
}
