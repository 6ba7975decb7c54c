//! Counts of values per bucket, as plain data: merged, subtracted and searched exactly.

use tallies::snapshot::Native;

use crate::Error;

/// The finest schema: 256 buckets for every power of two.
pub(crate) const FINEST: i8 = 8;
/// The coarsest schema of native histograms.
const COARSEST: i8 = -4;

/// Counts of values per bucket, in seconds.
///
/// ```
/// use std::time::Duration;
/// use tallies_bench::recorder::Recorder;
///
/// let recorder = Recorder::new("query_seconds")?;
/// (1..=100).for_each(|ms| recorder.record(Duration::from_millis(ms)));
/// let seen = recorder.read();
/// let p90 = seen.distribution().quantile(0.9).unwrap();
/// assert!(p90.lower < 0.090 && 0.090 <= p90.upper);
/// assert!(p90.upper / p90.lower < 1.003);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
///
/// Bucket `i` of schema `s` holds the values in (b^(i-1), b^i] with b = 2^(2^-s). A [recorder]
/// uses schema 8, whose buckets are 0.27 % wide. Counts are exact: each recorded value is in one
/// bucket, and merging and subtracting add and subtract integers. Sums are floats, so their last
/// digits depend on the order in which they were added.
///
/// [recorder]: super::Recorder
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    pub(super) schema: i8,
    /// The largest value that counts as zero.
    pub(super) zero_threshold: f64,
    pub(super) zero_count: u64,
    /// Pairs of index and count, sorted by index. No count is 0.
    pub(super) buckets: Vec<(i32, u64)>,
    pub(super) sum: f64,
}

/// One bucket of a [`Distribution`].
///
/// ```
/// let recorder = tallies_bench::recorder::Recorder::new("query_seconds")?;
/// recorder.record_seconds(0.75);
/// let bucket = recorder.read().distribution().buckets().next().unwrap();
/// assert!(bucket.lower < 0.75 && 0.75 <= bucket.upper);
/// assert_eq!(bucket.count, 1);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Bucket {
    /// A number that is below every value in the bucket, or 0 for the bucket of zeros.
    pub lower: f64,
    /// A number that no value in the bucket exceeds.
    pub upper: f64,
    /// The number of values in the bucket.
    pub count: u64,
}

impl Default for Distribution {
    /// Returns a distribution without values.
    fn default() -> Self {
        Self {
            schema: FINEST,
            zero_threshold: 0.0,
            zero_count: 0,
            buckets: Vec::new(),
            sum: 0.0,
        }
    }
}

impl Distribution {
    /// Copies the counts of a native histogram. Its negative buckets are empty: a recorder rejects
    /// negative values.
    pub(super) fn of(native: &Native, sum: f64) -> Self {
        Self {
            schema: native.schema(),
            zero_threshold: native.zero_threshold(),
            zero_count: native.zero_count(),
            buckets: native.positive().to_vec(),
            sum,
        }
    }

    /// Returns the number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.buckets.iter().map(|(_, count)| *count);
        counts.fold(self.zero_count, u64::saturating_add)
    }

    /// Returns the sum of the values. It comes from the values, not from the buckets.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Returns the mean, or `None` without values.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        match self.count() {
            0 => None,
            count => Some(self.sum / count as f64),
        }
    }

    /// Returns the width of a bucket, relative to its lower bound: 0.0027 at schema 8.
    ///
    /// It is larger if more than 8 192 different buckets were in use, or after a merge with a
    /// coarser distribution.
    #[must_use]
    pub fn bucket_width(&self) -> f64 {
        2_f64.powf(2_f64.powi(-i32::from(self.schema))) - 1.0
    }

    /// Iterates over the buckets that are not empty, in ascending order.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let zero = (self.zero_count > 0).then_some(Bucket {
            lower: 0.0,
            upper: self.zero_threshold,
            count: self.zero_count,
        });
        let others = self.buckets.iter().map(|&(index, count)| Bucket {
            lower: self.lower(index),
            upper: self.upper(index),
            count,
        });
        zero.into_iter().chain(others)
    }

    /// Returns the bucket of the value with this rank: 1 for the smallest value, and
    /// [`count`](Self::count) for the largest. Returns `None` for other ranks.
    ///
    /// ```
    /// let recorder = tallies_bench::recorder::Recorder::new("query_seconds")?;
    /// [0.5, 2.0].iter().for_each(|seconds| recorder.record_seconds(*seconds));
    /// let seen = recorder.read();
    /// assert!(seen.distribution().at_rank(1).unwrap().upper < 0.51);
    /// assert!(seen.distribution().at_rank(2).unwrap().lower > 1.99);
    /// assert_eq!(seen.distribution().at_rank(3), None);
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    #[must_use]
    pub fn at_rank(&self, rank: u64) -> Option<Bucket> {
        if rank == 0 {
            return None;
        }
        let mut below = 0_u64;
        self.buckets().find(|bucket| {
            below = below.saturating_add(bucket.count);
            below >= rank
        })
    }

    /// Returns the bucket of the quantile `phi`: of the smallest value that has at least this part
    /// of all values at or below it. Returns `None` without values, and for a `phi` outside 0 to 1.
    ///
    /// The bounds contain the quantile of the recorded values.
    /// [`stats`](crate::stats) has bounds for that of the measured process.
    #[must_use]
    pub fn quantile(&self, phi: f64) -> Option<Bucket> {
        let count = self.count();
        if !(0.0..=1.0).contains(&phi) || count == 0 {
            return None;
        }
        self.at_rank(((phi * count as f64).ceil() as u64).clamp(1, count))
    }

    /// Returns the number of values in buckets whose upper bound is at most `bound`.
    #[must_use]
    pub fn count_up_to(&self, bound: f64) -> u64 {
        let below = self.buckets().take_while(|bucket| bucket.upper <= bound);
        below.fold(0, |sum, bucket| sum.saturating_add(bucket.count))
    }

    /// Adds the values of another distribution, at the coarser resolution of the two.
    ///
    /// Merging is exact in counts, whatever the order.
    ///
    /// # Errors
    ///
    /// Returns an error if the two have different zero buckets ([`Error::is_data`]). Those of
    /// recorders are the same.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        if self.count() == 0 && self.sum == 0.0 {
            self.zero_threshold = other.zero_threshold;
        }
        if other.count() > 0 && self.zero_threshold != other.zero_threshold {
            return Err(Error::data(format!(
                "the distributions have different zero buckets: up to {:e} s and up to {:e} s",
                self.zero_threshold, other.zero_threshold
            )));
        }
        let schema = self.schema.min(other.schema);
        self.reduce_to(schema);
        let halvings = other.schema - schema;
        let theirs = other.buckets.iter();
        self.buckets
            .extend(theirs.map(|(index, count)| (coarser(*index, halvings), *count)));
        self.join();
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        self.sum += other.sum;
        Ok(())
    }

    /// Returns what was recorded since `earlier`, an earlier state of this distribution. Returns
    /// `None` if it is not: if it has more values in some bucket.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Self> {
        let mut now = self.clone();
        let mut before = earlier.clone();
        let schema = now.schema.min(before.schema);
        now.reduce_to(schema);
        before.reduce_to(schema);
        now.zero_count = now.zero_count.checked_sub(before.zero_count)?;
        let mut counts = now.buckets.iter_mut();
        for (index, count) in before.buckets {
            let (_, found) = counts.find(|(other, _)| *other == index)?;
            *found = found.checked_sub(count)?;
        }
        now.buckets.retain(|(_, count)| *count > 0);
        now.sum = if now.count() == 0 {
            0.0
        } else {
            now.sum - before.sum
        };
        Some(now)
    }

    /// Checks what was read from elsewhere.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(COARSEST..=FINEST).contains(&self.schema) {
            return Err(format!("schema {} is not in -4 to 8", self.schema));
        }
        if !(0.0..1e300).contains(&self.zero_threshold) {
            return Err(format!("zero threshold {} is not one", self.zero_threshold));
        }
        let ascends = self.buckets.is_sorted_by(|a, b| a.0 < b.0);
        if !ascends || self.buckets.iter().any(|(_, count)| *count == 0) {
            return Err("the buckets do not ascend, or one is empty".to_owned());
        }
        // The indices of all floats are within 300 000 at the finest schema.
        if self.buckets.iter().any(|(index, _)| index.abs() > 300_000) {
            return Err("the index of a bucket is beyond those of any number".to_owned());
        }
        Ok(())
    }

    /// Halves the resolution until it is `schema`.
    fn reduce_to(&mut self, schema: i8) {
        let halvings = self.schema - schema;
        if halvings > 0 {
            for (index, _) in &mut self.buckets {
                *index = coarser(*index, halvings);
            }
            self.schema = schema;
            self.join();
        }
    }

    /// Sorts the buckets and joins those with the same index.
    fn join(&mut self) {
        self.buckets.sort_unstable_by_key(|(index, _)| *index);
        self.buckets.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = earlier.1.saturating_add(later.1);
            }
            same
        });
    }

    fn lower(&self, index: i32) -> f64 {
        bound(index - 1, self.schema)
            .next_down()
            .max(self.zero_threshold)
    }

    fn upper(&self, index: i32) -> f64 {
        bound(index, self.schema).next_up()
    }
}

/// The bound of a bucket, within one unit of the last digit: callers round it outwards.
fn bound(index: i32, schema: i8) -> f64 {
    let exponent = f64::from(index) * 2_f64.powi(-i32::from(schema));
    // Exact for powers of two, where many recorded values lie.
    exponent.exp2().min(f64::MAX)
}

/// The index of the bucket that has bucket `index` of a finer schema.
fn coarser(index: i32, halvings: i8) -> i32 {
    -((-index) >> halvings)
}

#[cfg(test)]
impl Distribution {
    /// Counts values one at a time, with nothing clever, for simulations.
    pub(crate) fn of_values(values: &[f64]) -> Self {
        let mut all = Self::default();
        for value in values {
            let index = (value.log2() * 256.0).ceil() as i32;
            all.buckets.push((index, 1));
            all.sum += value;
        }
        all.join();
        all
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn values(seed: u64, n: usize) -> Vec<f64> {
        let mut random = StdRng::seed_from_u64(seed);
        (0..n)
            .map(|_| 1e-6 * (1e6_f64).powf(random.random::<f64>()))
            .collect()
    }

    fn joined(one: &Distribution, two: &Distribution) -> Distribution {
        let mut both = one.clone();
        both.merge(two).unwrap();
        both
    }

    #[test]
    fn a_thousand_recordings_merged_in_random_trees_are_one_recording_in_counts() {
        let all = values(7, 50_000);
        let whole = Distribution::of_values(&all);
        let mut random = StdRng::seed_from_u64(8);
        for _ in 0..3 {
            let parts = all.chunks(50).map(Distribution::of_values);
            let mut parts: Vec<_> = parts.collect();
            assert_eq!(parts.len(), 1000);
            while parts.len() > 1 {
                let one = parts.swap_remove(random.random_range(0..parts.len()));
                let at = random.random_range(0..parts.len());
                parts[at] = joined(&parts[at], &one);
            }
            assert_eq!(parts[0].buckets, whole.buckets);
            assert_eq!(parts[0].count(), 50_000);
            assert!((parts[0].sum / whole.sum - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_bucket_of_a_rank_holds_the_value_of_that_rank() {
        let mut all = values(1, 2000);
        let seen = Distribution::of_values(&all);
        all.sort_by(f64::total_cmp);
        for (rank, value) in (1..).zip(&all) {
            let bucket = seen.at_rank(rank).unwrap();
            assert!(bucket.lower < *value && *value <= bucket.upper, "{rank}");
        }
        assert_eq!((seen.at_rank(0), seen.at_rank(2001)), (None, None));
    }

    #[test]
    fn a_coarser_distribution_has_the_counts_of_the_joined_buckets() {
        let mut coarse = Distribution::of_values(&values(2, 2000));
        let fine = coarse.clone();
        coarse.reduce_to(3);
        for bucket in coarse.buckets() {
            let inside = |other: &Bucket| {
                let middle = (other.lower + other.upper) / 2.0;
                bucket.lower < middle && middle <= bucket.upper
            };
            let counts = fine.buckets().filter(inside).map(|bucket| bucket.count);
            assert_eq!(counts.sum::<u64>(), bucket.count);
        }
        assert_eq!(joined(&coarse, &fine).schema, 3);
        assert_eq!(
            joined(&fine, &coarse).buckets,
            joined(&coarse, &fine).buckets
        );
    }

    #[test]
    fn a_difference_and_the_earlier_part_are_the_whole() {
        let (one, two) = (values(3, 900), values(4, 700));
        let before = Distribution::of_values(&one);
        let after = joined(&before, &Distribution::of_values(&two));
        let since = after.since(&before).unwrap();
        assert_eq!(since.buckets, Distribution::of_values(&two).buckets);
        assert_eq!(before.since(&after), None);
        assert_eq!(after.since(&after).unwrap().count(), 0);
    }

    #[test]
    fn distributions_with_different_zero_buckets_do_not_merge() {
        let mut one = Distribution::of_values(&[1.0]);
        let mut two = Distribution::of_values(&[1.0]);
        two.zero_threshold = 1e-3;
        assert!(one.merge(&two).unwrap_err().is_data());
        assert_eq!(one.count(), 1);
        Distribution::default().merge(&two).unwrap();
    }
}
