//! Native histograms as exponential histograms.
//!
//! Both have the same bounds, with other indices. Bucket i of a native histogram covers
//! (b^(i-1), b^i]. Bucket i of an exponential histogram covers (b^i, b^(i+1)]. So the index is one
//! less.
//!
//! A native histogram has only the buckets in use. OTLP has a dense list from the first bucket to
//! the last, with zeros in between. Two values that are far apart would make it long, so the
//! resolution is halved until it has at most [`MOST_BUCKETS`].
//!
//! Source: the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", section
//! "Native Histograms".

use tallies::snapshot::Native;

/// The most buckets of one sign, used or not. A native histogram may have as many in use
/// ([`native_limit`](tallies::Histogram::native_limit)).
const MOST_BUCKETS: i64 = 8192;

/// The buckets of a native histogram in the form of OTLP.
#[derive(Debug, PartialEq)]
pub(super) struct Exponential {
    pub(super) scale: i32,
    /// The number of observations in all buckets, the zero bucket included.
    pub(super) count: u64,
    pub(super) positive: Dense,
    pub(super) negative: Dense,
}

/// The buckets of one sign.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Dense {
    /// The index of the first bucket.
    pub(super) offset: i32,
    pub(super) counts: Vec<u64>,
}

impl Exponential {
    pub(super) fn new(native: &Native) -> Self {
        let sides = [native.positive(), native.negative()].map(|side| finite(native, side));
        let is_long = |halvings| sides.iter().any(|side| len(side, halvings) > MOST_BUCKETS);
        let mut halvings = 0;
        while is_long(halvings) {
            halvings += 1;
        }
        let [positive, negative] = sides.map(|side| Dense::new(side, halvings));
        let all = positive.counts.iter().chain(&negative.counts);
        Self {
            scale: i32::from(native.schema()) - halvings,
            count: all.fold(native.zero_count(), |sum, n| sum.saturating_add(*n)),
            positive,
            negative,
        }
    }
}

impl Dense {
    fn new(side: &[(i32, u64)], halvings: i32) -> Self {
        let Some((first, _)) = side.first() else {
            return Self::default();
        };
        let offset = shifted(*first, halvings);
        let mut counts = vec![0_u64; len(side, halvings) as usize];
        for (index, count) in side {
            let at = (shifted(*index, halvings) - offset) as usize;
            counts[at] = counts[at].saturating_add(*count);
        }
        Self { offset, counts }
    }
}

/// Returns the buckets without those of infinity, which an exponential histogram must not have:
/// they are beyond the range of floats.
fn finite<'a>(native: &Native, side: &'a [(i32, u64)]) -> &'a [(i32, u64)] {
    let is_finite = |(index, _): &(i32, u64)| native.upper_bound(*index) < f64::INFINITY;
    &side[..side.partition_point(is_finite)]
}

/// Returns the index in OTLP of a native bucket, after this number of halvings.
fn shifted(index: i32, halvings: i32) -> i32 {
    index.saturating_sub(1) >> halvings
}

/// Returns the number of buckets from the first in use to the last.
fn len(side: &[(i32, u64)], halvings: i32) -> i64 {
    match (side.first(), side.last()) {
        (Some((first, _)), Some((last, _))) => {
            i64::from(shifted(*last, halvings)) - i64::from(shifted(*first, halvings)) + 1
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tallies::{Histogram, Registry};

    use super::*;

    fn native(schema: i8, values: &[f64]) -> Native {
        let registry = Registry::new();
        let histogram = Histogram::builder("sizes", "Sizes.").native(schema);
        let histogram = histogram.native_limit(8192).zero_threshold(0.0);
        let histogram = histogram.register(&registry).unwrap();
        values.iter().for_each(|value| histogram.observe(*value));
        histogram.get().native.unwrap()
    }

    /// Bucket `i` holds what is above `base^i` and at most `base^(i + 1)`.
    #[test]
    fn powers_of_two_are_in_the_bucket_that_ends_with_them() {
        let found = Exponential::new(&native(0, &[1.0, 2.0, 2.5, 16.0, 0.0, -0.25]));
        let positive = Dense {
            offset: -1,
            counts: vec![1, 1, 1, 0, 1],
        };
        let negative = Dense {
            offset: -3,
            counts: vec![1],
        };
        let expected = Exponential {
            scale: 0,
            count: 6,
            positive,
            negative,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn infinities_are_left_out() {
        for schema in [-4, 0, 8] {
            let values = [f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 0.0];
            let found = Exponential::new(&native(schema, &values));
            assert_eq!((found.count, found.positive.counts), (2, vec![1]));
            assert_eq!(found.negative, Dense::default());
        }
    }

    #[test]
    fn values_far_apart_make_it_coarser() {
        let found = Exponential::new(&native(8, &[1e-300, 1e300, -1.0]));
        // 4 buckets for each of 1 994 octaves.
        assert_eq!((found.scale, found.count), (2, 3));
        assert!(found.positive.counts.len() as i64 <= MOST_BUCKETS);
        assert_eq!(found.negative.counts, [1]);
    }

    proptest! {
        /// The bounds are those of the definition, with a margin for the logarithm.
        #[test]
        fn each_value_is_in_its_bucket(
            schema in -4_i8..=8,
            values in proptest::collection::vec((-1022.0..1023.0_f64, 1.0..2.0_f64), 1..20),
        ) {
            let values: Vec<f64> = values.iter().map(|(e, m)| m * e.floor().exp2()).collect();
            let found = Exponential::new(&native(schema, &values));
            prop_assert_eq!(found.count, values.len() as u64);
            let scale = f64::from(found.scale).exp2();
            for value in values {
                let index = value.log2() * scale;
                let margin = 1e-9 * scale.max(1.0) * 1024.0;
                let low = (index - margin).ceil() as i64 - 1;
                let high = (index + margin).ceil() as i64 - 1;
                let count = |i: i64| {
                    let at = usize::try_from(i - i64::from(found.positive.offset)).ok()?;
                    found.positive.counts.get(at).copied()
                };
                let is_there = (low..=high).any(|i| count(i).is_some_and(|n| n > 0));
                prop_assert!(is_there, "{} is not in {:?}", value, found);
            }
        }
    }
}
