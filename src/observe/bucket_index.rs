//! The bucket of a value, found by the value's leading bits.
//!
//! The range of the bounds is divided into at most [`INTERVALS`] intervals: the numbers whose
//! leading bits are equal. Between two powers of two they have equal width. A table has one entry
//! per interval: the number of bounds in all intervals below. If an interval has no more than one
//! bound, one comparison with the next bound decides. If it has more, the bounds are searched.
//!
//! The result is exact. [`BucketIndex::interval`] never decreases from one number to a larger one,
//! and the table is counted with that same function. So bounds in a lower interval than the value's
//! are below the value, and bounds in a higher one are above.

/// The number of intervals, a power of two: eight between two powers of two for the default bounds.
const INTERVALS: usize = 128;

/// The entry of an interval with more than one bound. No histogram has that many buckets.
const SEARCH: u16 = u16::MAX;

/// The bounds of a histogram, and the table that finds the bucket of a value.
#[derive(Clone, Debug)]
pub struct BucketIndex {
    /// The bounds in ascending order, without `+Inf`.
    bounds: &'static [f64],
    /// Numbers below are in the interval of this one, and numbers above in that of `high`. Neither
    /// is negative: the order of positive numbers is that of their bits.
    low: f64,
    high: f64,
    /// The number of bits that the numbers of an interval do not share.
    shift: u32,
    /// The leading bits of the numbers in the first interval.
    first: u64,
    /// The number of bounds in all intervals below, or [`SEARCH`].
    starts: [u16; INTERVALS],
}

impl BucketIndex {
    /// Creates the table for bounds that ascend and are finite.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        let positive = &bounds[bounds.partition_point(|bound| *bound <= 0.0)..];
        let (least, most) = match positive {
            [least, .., most] => (least.to_bits(), most.to_bits()),
            [only] => (only.to_bits(), only.to_bits()),
            [] => (0, 0),
        };
        // One interval more at each end: for the bounds that are not positive, and for the numbers
        // above all bounds.
        let fits = |shift: &u32| (most >> shift) - (least >> shift) + 3 <= INTERVALS as u64;
        let shift = (0..64).find(fits).unwrap_or(63);
        let first = (least >> shift).saturating_sub(1);
        let high = (((most >> shift) + 1) << shift).min(f64::MAX.to_bits());
        let mut index = Self {
            bounds,
            low: f64::from_bits(first << shift),
            high: f64::from_bits(high),
            shift,
            first,
            starts: [0; INTERVALS],
        };
        let mut start = 0;
        for interval in 0..INTERVALS {
            let is_inside = |bound: &&f64| index.interval(**bound) == interval;
            let inside = bounds[start..].iter().take_while(is_inside).count();
            index.starts[interval] = if inside > 1 {
                SEARCH
            } else {
                // Above all bounds the last one is compared, so that there is always one.
                start.min(bounds.len().saturating_sub(1)) as u16
            };
            start += inside;
        }
        index
    }

    /// Returns the bounds.
    #[must_use]
    pub fn bounds(&self) -> &'static [f64] {
        self.bounds
    }

    /// Returns the number of bounds below a number. That is the index of its bucket. Returns
    /// `None` if one comparison does not decide: the caller has to [`search`](Self::search).
    #[inline(always)]
    #[must_use]
    pub fn find(&self, value: f64) -> Option<usize> {
        let start = usize::from(self.starts[self.interval(value)]);
        let bound = self.bounds.get(start)?;
        Some(start + usize::from(*bound < value))
    }

    /// Returns the number of bounds below a number, found without the table.
    #[must_use]
    pub fn search(&self, value: f64) -> usize {
        self.bounds.partition_point(|bound| *bound < value)
    }

    /// Returns the index of a number's bucket.
    #[must_use]
    pub fn bucket(&self, value: f64) -> usize {
        self.find(value).unwrap_or_else(|| self.search(value))
    }

    /// Returns the interval of a number. It is the same or a higher one for every larger number.
    #[inline(always)]
    fn interval(&self, value: f64) -> usize {
        // Two instructions. `clamp`, `max` and `min` take more, since they also order NaN.
        let value = if value > self.low { value } else { self.low };
        let value = if value < self.high { value } else { self.high };
        // Below `INTERVALS`, by the choice of `shift`. The mask saves the check.
        (value.to_bits() >> self.shift).wrapping_sub(self.first) as usize & (INTERVALS - 1)
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The plain twin: compares every bound.
    fn counted(bounds: &[f64], value: f64) -> usize {
        bounds.iter().filter(|bound| **bound < value).count()
    }

    fn check(index: &BucketIndex, value: f64) {
        let expected = counted(index.bounds, value);
        assert_eq!(index.search(value), expected, "{value:e} is searched");
        if let Some(found) = index.find(value) {
            assert_eq!(found, expected, "{value:e} of {:?}", index.bounds);
        }
    }

    /// Checks every bound, its neighbours, and the numbers that are special.
    fn check_edges(bounds: &[f64]) -> BucketIndex {
        // Leaked, as the bounds of families are.
        let index = BucketIndex::new(Box::leak(bounds.into()));
        let special = [0.0, f64::MIN_POSITIVE, 1.0, f64::MAX, f64::INFINITY, 5e-324];
        // The numbers before and after. Of 0 and infinity, one of them is NaN.
        let around = |value: &f64| {
            let bits = value.to_bits();
            [bits.wrapping_sub(1), bits, bits.wrapping_add(1)].map(f64::from_bits)
        };
        let edges = [index.low, index.high];
        let values = bounds.iter().chain(&special).chain(&edges);
        for value in values.flat_map(around) {
            check(&index, value);
            check(&index, -value);
        }
        index
    }

    #[test]
    fn usual_bounds_need_one_comparison() {
        let default = [
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ];
        let decades: Vec<f64> = (-9..9).map(|i| 10_f64.powi(i)).collect();
        let powers: Vec<f64> = (0..40).map(|i| 2_f64.powi(i - 20)).collect();
        let steps: Vec<f64> = (1..=20).map(|i| f64::from(i) * 5.0).collect();
        let from_zero = [0.0, 1.0, 5.0, 10.0, 100.0];
        for bounds in [&default[..], &decades, &powers, &steps, &from_zero, &[3.0]] {
            let index = check_edges(bounds);
            assert!(!index.starts.contains(&SEARCH), "{index:?}");
        }
    }

    #[test]
    fn unusual_bounds_are_searched_where_they_have_to_be() {
        let close: Vec<f64> = (0..1000).map(|i| 1e9 + f64::from(i)).collect();
        for bounds in [
            &[][..],
            &[0.0],
            &[-1.0],
            &[-2.0, -1.0],
            &[-2.0, -0.0],
            &[-1.0, 0.0, 1.0],
            &[-1e308, -5e-324, 5e-324, 1e308],
            &[f64::MIN, f64::MAX],
            &[5e-324, f64::MAX],
            &[5e-324, 1e-323],
            &[1.0, 1.0_f64.next_up(), 1e300],
            &close,
        ] {
            check_edges(bounds);
        }
        let most: Vec<f64> = (1..16_384).map(f64::from).collect();
        let index = BucketIndex::new(Box::leak(most.into()));
        for i in (0..20_000).step_by(97) {
            check(&index, f64::from(i) / 1.1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn it_finds_the_bucket_that_a_comparison_with_every_bound_finds(
            bounds in prop_oneof![
                proptest::collection::vec(any::<f64>(), 0..40),
                proptest::collection::vec(-100_i32..1000, 0..40)
                    .prop_map(|bounds| bounds.into_iter().map(f64::from).collect::<Vec<f64>>()),
                (1e-9..1.0, 1.01..20.0, 1..60)
                    .prop_map(|(start, factor, n)| (0..n).map(|i| start * f64::powi(factor, i)).collect()),
            ],
            values in proptest::collection::vec(any::<f64>(), 0..100),
        ) {
            let mut bounds: Vec<f64> = bounds.into_iter().filter(|bound| bound.is_finite()).collect();
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            let index = check_edges(&bounds);
            for value in values {
                check(&index, value);
                check(&index, value % 1000.0);
            }
        }
    }
}
