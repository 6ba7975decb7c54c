//! Subtraction: the values of a sketch that are not among those of an earlier one.

use super::{Sketch, Tuple};

impl Sketch {
    /// Returns a sketch of the values that were inserted after `before` was a copy of this sketch.
    ///
    /// ```
    /// use tallies::snapshot::sketch::{Sketch, key_of};
    ///
    /// let before = Sketch::from_sorted(&[1.0, 4.0].map(key_of));
    /// let now = Sketch::from_sorted(&[1.0, 2.0, 3.0, 4.0].map(key_of));
    /// let later = now.beyond(&before);
    /// assert_eq!((later.n(), later.is_degraded()), (2, true));
    /// let all = Sketch::merge(&[&before, &later]);
    /// let (median, error) = all.quantile(0.5).unwrap();
    /// assert!((median - 2.0).abs() <= error as f64);
    /// ```
    ///
    /// At each value, the difference of the ranks is certain within the sum of both errors. So the
    /// errors that the result certifies are true, but they may exceed the objectives. The result
    /// may have values of `before` in place of its own, so it is meant to be merged with `before`.
    #[must_use]
    pub fn beyond(&self, before: &Self) -> Self {
        let n = self.n.saturating_sub(before.n);
        let mut tuples: Vec<Tuple> = Vec::new();
        let (mut earlier, mut low) = (Counts::new(before), 0);
        let mut counts = Counts::new(self);
        for run in self.tuples.chunk_by(|a, b| a.key == b.key) {
            let (least, most) = counts.up_to(run[0].key);
            let (least_earlier, most_earlier) = earlier.up_to(run[0].key);
            let least = least.saturating_sub(most_earlier).clamp(low, n);
            let most = most.saturating_sub(least_earlier).clamp(least, n);
            if least == low {
                // All that is known here is known from the tuple below.
                continue;
            }
            // The value itself may belong to `before`: then one more is hidden below it.
            let delta = most - least + 1;
            let g = u32::try_from(least - low).unwrap_or(u32::MAX);
            let delta = u32::try_from(delta).unwrap_or(u32::MAX);
            tuples.push(Tuple::new(run[0].key, g, delta));
            low = least;
        }
        Self::from_parts(tuples, true)
    }
}

/// Walks over a sketch in the order of its keys.
struct Counts<'a> {
    rest: &'a [Tuple],
    low: u64,
    n: u64,
}

impl<'a> Counts<'a> {
    fn new(sketch: &'a Sketch) -> Self {
        Self {
            rest: &sketch.tuples,
            low: 0,
            n: sketch.n,
        }
    }

    /// Returns the least and the largest possible number of values that are at most `key`. Keys
    /// ascend.
    fn up_to(&mut self, key: u64) -> (u64, u64) {
        while let [first, rest @ ..] = self.rest {
            if first.key > key {
                // The value of the next tuple is above all of them.
                let high = first.high(self.low + u64::from(first.g), self.n);
                return (self.low, high.saturating_sub(1).max(self.low));
            }
            self.low += u64::from(first.g);
            self.rest = rest;
        }
        (self.low, self.n)
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use proptest::prelude::*;

    use super::super::{Bound, Scratch, Targets, key_of};
    use super::*;

    proptest! {
        /// The rank of an answer is as close as it certifies, whatever was subtracted and merged.
        #[test]
        fn a_difference_merged_with_what_was_subtracted_certifies_the_truth(
            first in proptest::collection::vec(-100_i32..100, 0..400),
            second in proptest::collection::vec(-120_i32..120, 0..400),
            other in proptest::collection::vec(-100_i32..100, 0..200),
            phi in 0.0..=1.0,
        ) {
            let bound = Bound::new(&Targets::new(&[(0.5, 0.05), (0.9, 0.02)]));
            let mut scratch = Scratch::new();
            let keys = |values: &[i32]| values.iter().map(|x| key_of(f64::from(*x))).collect::<Vec<_>>();
            let mut insert = |sketch: &mut Sketch, values: &[i32]| {
                for batch in keys(values).chunks(50) {
                    sketch.insert(&bound, batch, &mut scratch);
                }
            };
            let mut now = Sketch::new();
            insert(&mut now, &first);
            let before = now.clone();
            insert(&mut now, &second);
            let mut dead = Sketch::new();
            insert(&mut dead, &other);
            let merged = Sketch::merge(&[&dead, &now.beyond(&before), &before]);
            let mut all = [first, second, other].concat();
            all.sort_unstable();
            prop_assert_eq!(merged.n(), all.len() as u64);
            if let Some((value, error)) = merged.quantile(phi) {
                let rank = super::super::nearest_rank(phi, merged.n()).unwrap();
                let below = all.iter().filter(|x| f64::from(**x) < value).count() as u64;
                let up_to = all.iter().filter(|x| f64::from(**x) <= value).count() as u64;
                // The ranks of the value, if it is there, are from `below` + 1 to `up_to`.
                prop_assert!(below <= rank + error, "{value} {below} {rank} {error}");
                prop_assert!(up_to + error >= rank, "{value} {up_to} {rank} {error}");
            }
        }
    }
}
