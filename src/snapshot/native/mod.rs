//! Native histograms as plain data: counts per exponential bucket, at a resolution that can be
//! halved.

pub(crate) mod index;
mod quantile;

use crate::error::{Error, SettingRule};

use index::{COARSEST, FINEST, coarser};

pub use quantile::Estimate;
pub(crate) use quantile::{Step, estimate};

/// The settings of a native histogram: resolution, maximum number of buckets, and zero threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Resolution {
    /// The schema asked for. More than `limit` buckets make a histogram coarser.
    pub(crate) schema: i8,
    /// The maximum number of buckets besides the zero bucket.
    pub(crate) limit: u32,
    /// The largest distance from zero of a value in the zero bucket.
    pub(crate) zero_threshold: f64,
}

impl Resolution {
    /// The default zero threshold: 2^-128, as in other client libraries.
    pub(crate) const ZERO: f64 = f64::from_bits((1023 - 128) << 52);
    /// The default maximum number of buckets, as in OpenTelemetry.
    pub(crate) const LIMIT: u32 = 160;

    pub(crate) const fn new(schema: i8) -> Self {
        Self {
            schema,
            limit: Self::LIMIT,
            zero_threshold: Self::ZERO,
        }
    }

    pub(crate) const fn check(self) -> Result<(), SettingRule> {
        if self.schema < COARSEST || self.schema > FINEST {
            return Err(SettingRule::Schema(self.schema));
        }
        if self.limit < 8 || self.limit > 8192 {
            return Err(SettingRule::NativeLimit(self.limit));
        }
        if self.zero_threshold >= 0.0 && self.zero_threshold < 1e300 {
            Ok(())
        } else {
            Err(SettingRule::ZeroThreshold(self.zero_threshold))
        }
    }
}

/// The observations of one native histogram series: counts per exponential bucket.
///
/// ```
/// let registry = tallies::Registry::new();
/// let sizes = tallies::Histogram::builder("sizes_bytes", "Sizes.")
///     .native(0)
///     .register(&registry)?;
/// [0.0, 1.0, 3.0, 4.0].iter().for_each(|size| sizes.observe(*size));
/// let seen = sizes.get().native.unwrap();
/// assert_eq!((seen.schema(), seen.zero_count()), (0, 1));
/// assert_eq!(seen.positive(), [(0, 1), (2, 2)]);
/// assert_eq!(seen.upper_bound(2), 4.0);
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The counts cover the same observations as the histogram's sum.
///
/// At schema `s`, bucket `i` covers (b^(i-1), b^i] with b = 2^(2^-s). Negative values have buckets
/// of their own, by their distance from zero. Values that are at most the zero threshold away from
/// zero are in the zero bucket. An infinity is in the bucket after the one that holds the largest
/// finite number.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Native {
    pub(crate) schema: i8,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: u64,
    /// Pairs of index and count, sorted by index. No count is 0.
    pub(crate) positive: Vec<(i32, u64)>,
    /// As `positive`, by the distance from zero.
    pub(crate) negative: Vec<(i32, u64)>,
}

impl Native {
    /// Returns exponential buckets that another program counted: how fine they are, the zero
    /// bucket, and index and count of the buckets above and below it, ascending by index.
    ///
    /// ```
    /// use tallies::snapshot::{Histogram, Native};
    ///
    /// let native = Native::new(0, 1e-4, 1, vec![(0, 5), (2, 12)], Vec::new())?;
    /// assert_eq!((native.count(), native.upper_bound(2)), (18, 4.0));
    /// let sizes = Histogram::new(&[], &[18], 40.5)?.and_native(&native);
    /// assert_eq!(sizes.native(), Some(&native));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Buckets without observations are dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if the schema is not from -4 to 8, if the zero threshold is negative or not
    /// a number below 1e300, and if the indices do not ascend or are beyond the bucket of the
    /// infinity.
    pub fn new(
        schema: i8,
        zero_threshold: f64,
        zero_count: u64,
        mut positive: Vec<(i32, u64)>,
        mut negative: Vec<(i32, u64)>,
    ) -> Result<Self, Error> {
        let resolution = Resolution {
            zero_threshold,
            ..Resolution::new(schema)
        };
        let error = |rule| Error::other(format_args!("{rule}"));
        resolution.check().map_err(error)?;
        let valid = index::of(f64::from_bits(1), schema)..=index::of(f64::INFINITY, schema);
        for buckets in [&mut positive, &mut negative] {
            let ascend = |pair: &[(i32, u64)]| pair[0].0 < pair[1].0;
            let descent = buckets.windows(2).find(|pair| !ascend(pair));
            let beyond = buckets.iter().find(|(index, _)| !valid.contains(index));
            if let Some((index, _)) = descent.map(|pair| &pair[1]).or(beyond) {
                let (first, last) = valid.into_inner();
                return Err(Error::other(format_args!(
                    "found the exponential bucket {index}; at schema {schema}, indices have to \
                     ascend from {first} to {last}"
                )));
            }
            buckets.retain(|(_, count)| *count > 0);
        }
        Ok(Self {
            schema,
            zero_threshold,
            zero_count,
            positive,
            negative,
        })
    }

    /// Returns an empty histogram of the finest schema, which can be made as coarse as any other.
    pub(crate) fn finest() -> Self {
        Self {
            schema: FINEST,
            ..Self::default()
        }
    }

    /// Resets to [`finest`](Self::finest), keeping the memory.
    pub(crate) fn reset(&mut self) {
        self.copy_from(&Self::finest());
    }

    /// Makes the histogram at most as fine as `resolution`.
    pub(crate) fn coarsen(&mut self, resolution: &Resolution) {
        self.reduce_to(resolution.schema);
        self.widen(resolution.zero_threshold);
    }

    /// Copies `other` into the existing memory.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.schema = other.schema;
        self.zero_threshold = other.zero_threshold;
        self.zero_count = other.zero_count;
        self.positive.clone_from(&other.positive);
        self.negative.clone_from(&other.negative);
    }

    tallies_names::getters! {
        /// Returns how fine the buckets are: every power of two is divided into 2^schema buckets.
        fn schema(&self) -> i8 = self.schema;

        /// Returns the largest distance from zero of a value in the zero bucket.
        fn zero_threshold(&self) -> f64 = self.zero_threshold;

        /// Returns the count of the zero bucket.
        fn zero_count(&self) -> u64 = self.zero_count;

        /// Returns index and count of each bucket that is not empty, ascending, for values above
        /// the zero bucket.
        fn positive(&self) -> &[(i32, u64)] = &self.positive;

        /// Returns the same as [`positive`](Self::positive) for values below the zero bucket, by
        /// their distance from zero.
        fn negative(&self) -> &[(i32, u64)] = &self.negative;
    }

    /// Returns the number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        let sum = |sum: u64, (_, n): &(i32, u64)| sum.saturating_add(*n);
        let positive = self.positive.iter().fold(self.zero_count, sum);
        self.negative.iter().fold(positive, sum)
    }

    /// Returns the largest number in bucket `index`: its bound, rounded down.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let sizes = tallies::Histogram::builder("sizes_bytes", "Sizes.")
    ///     .native(0)
    ///     .register(&registry)?;
    /// (1..=8).for_each(|size| sizes.observe(f64::from(size)));
    /// let native = sizes.get().native.unwrap();
    /// assert_eq!(native.upper_bound(3), 8.0);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn upper_bound(&self, index: i32) -> f64 {
        index::upper(index, self.schema)
    }

    /// Adds `count` to a bucket of the current schema. The caller calls
    /// [`normalize`](Self::normalize) after the last one.
    pub(crate) fn add(&mut self, index: i32, negative: bool, count: u64) {
        match negative {
            true => self.negative.push((index, count)),
            false => self.positive.push((index, count)),
        }
    }

    /// Sorts and joins the added buckets, and makes the histogram coarser until it has at most
    /// `limit` buckets.
    pub(crate) fn normalize(&mut self, limit: u32) {
        sort(&mut self.positive);
        sort(&mut self.negative);
        while self.positive.len() + self.negative.len() > limit as usize && self.schema > COARSEST {
            self.reduce_to(self.schema - 1);
        }
    }

    /// Halves the resolution until it is `schema`. This is exact, because buckets only join.
    pub(crate) fn reduce_to(&mut self, schema: i8) {
        if schema >= self.schema {
            return;
        }
        let halvings = (self.schema - schema) as u32;
        for buckets in [&mut self.positive, &mut self.negative] {
            for (index, _) in &mut *buckets {
                *index = coarser(*index, halvings);
            }
            sort(buckets);
        }
        self.schema = schema;
    }

    /// Widens the zero bucket to `threshold`, or to the bound of the bucket that contains
    /// `threshold` if that bucket is in use.
    fn widen(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        let within = index::of(threshold, self.schema);
        let mut is_cut = false;
        for buckets in [&mut self.positive, &mut self.negative] {
            buckets.retain(|(index, count)| {
                is_cut |= *index == within;
                if *index <= within {
                    self.zero_count = self.zero_count.saturating_add(*count);
                }
                *index > within
            });
        }
        self.zero_threshold = match is_cut {
            true => threshold.max(index::upper(within, self.schema)),
            false => threshold,
        };
    }

    /// Brings both histograms to the same resolution and zero bucket. Copies `other` if it has to
    /// change.
    fn align<'a>(&mut self, other: &'a Self) -> std::borrow::Cow<'a, Self> {
        use std::borrow::Cow;
        let mut other = Cow::Borrowed(other);
        // Widening one can take it beyond the other, which then has to follow.
        while self.schema != other.schema || self.zero_threshold != other.zero_threshold {
            let schema = self.schema.min(other.schema);
            let zero = self.zero_threshold.max(other.zero_threshold);
            self.reduce_to(schema);
            self.widen(zero);
            let other = other.to_mut();
            other.reduce_to(schema);
            other.widen(zero);
        }
        other
    }

    /// Adds another process's histogram, at the coarser resolution of the two.
    pub(crate) fn merge(&mut self, other: &Self) {
        let other = self.align(other);
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        self.positive.extend_from_slice(&other.positive);
        self.negative.extend_from_slice(&other.negative);
        sort(&mut self.positive);
        sort(&mut self.negative);
    }

    /// Subtracts `before`, or returns `None` if `before` has a larger count in any bucket.
    pub(crate) fn without(&self, before: &Self) -> Option<Self> {
        let mut now = self.clone();
        let before = now.align(before);
        now.zero_count = now.zero_count.checked_sub(before.zero_count)?;
        subtract(&mut now.positive, &before.positive)?;
        subtract(&mut now.negative, &before.negative)?;
        Some(now)
    }

    /// Returns the quantile `phi` with the bounds of the bucket that holds it; see [`Estimate`].
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let sizes = tallies::Histogram::builder("sizes_bytes", "Sizes.")
    ///     .native(0)
    ///     .register(&registry)?;
    /// (1..=8).for_each(|size| sizes.observe(f64::from(size)));
    /// let native = sizes.get().native.unwrap();
    /// let median = native.quantile(0.5).unwrap();
    /// assert_eq!((median.lower, median.upper), (2.0, 4.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Returns `None` before the first observation and for a `phi` outside 0 to 1.
    #[must_use]
    pub fn quantile(&self, phi: f64) -> Option<Estimate> {
        estimate(phi, self.count(), self.steps())
    }

    /// Iterates over the buckets in the order of their values.
    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> {
        let negative = self.negative.iter().rev().map(|&(index, count)| Step {
            lower: -self.upper_bound(index),
            upper: -self.upper_bound(index - 1),
            count,
            geometric: true,
        });
        let zero = Step {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            count: self.zero_count,
            geometric: false,
        };
        let positive = self.positive.iter().map(|&(index, count)| {
            let upper = self.upper_bound(index);
            let lower = self.upper_bound(index - 1).max(self.zero_threshold);
            Step {
                // One that was read elsewhere may lie within the zero bucket.
                lower: lower.min(upper),
                upper,
                count,
                geometric: true,
            }
        });
        negative.chain([zero]).chain(positive)
    }
}

/// Sorts by index, joins buckets with the same index, and removes empty buckets.
fn sort(buckets: &mut Vec<(i32, u64)>) {
    if !buckets.is_sorted_by_key(|(index, _)| *index) {
        buckets.sort_unstable_by_key(|(index, _)| *index);
    }
    buckets.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = earlier.1.saturating_add(later.1);
        }
        same
    });
    buckets.retain(|(_, count)| *count > 0);
}

/// Subtracts `before`, or returns `None` if `now` has a smaller count in any bucket.
fn subtract(now: &mut Vec<(i32, u64)>, before: &[(i32, u64)]) -> Option<()> {
    for &(index, count) in before {
        let at = now.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        now[at].1 = now[at].1.checked_sub(count)?;
    }
    now.retain(|(_, count)| *count > 0);
    Some(())
}

/// The native histograms of a family, one per series. Scrapes reuse their memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Natives {
    /// The histograms of the first `len` series, followed by spare ones.
    all: Vec<Native>,
    len: usize,
}

impl Natives {
    pub(crate) fn get(&self, i: usize) -> &Native {
        &self.all[..self.len][i]
    }

    pub(crate) fn get_mut(&mut self, i: usize) -> &mut Native {
        &mut self.all[..self.len][i]
    }

    pub(crate) fn push(&mut self, native: &Native) {
        if self.len == self.all.len() {
            self.all.push(Native::default());
        }
        self.all[self.len].copy_from(native);
        self.len += 1;
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn bytes(&self) -> usize {
        let of = |native: &Native| {
            size_of::<Native>() + 16 * (native.positive.capacity() + native.negative.capacity())
        };
        self.all.iter().map(of).sum()
    }
}

impl PartialEq for Natives {
    fn eq(&self, other: &Self) -> bool {
        self.all[..self.len] == other.all[..other.len]
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Inserts one observation at a time, with nothing clever: everything else has to agree with
    /// it.
    fn of(values: &[f64], schema: i8, zero_threshold: f64) -> Native {
        let mut native = Native {
            schema,
            zero_threshold,
            ..Native::default()
        };
        for value in values {
            if value.abs() <= zero_threshold {
                native.zero_count += 1;
            } else {
                native.add(index::of(value.abs(), schema), *value < 0.0, 1);
            }
        }
        native.normalize(u32::MAX);
        native
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let value = prop_oneof![
            4 => -1e3..1e3,
            2 => -1e-9..1e-9,
            1 => any::<f64>().prop_filter("no NaN", |x| !x.is_nan()),
            1 => Just(0.0),
        ];
        proptest::collection::vec(value, 0..60)
    }

    /// A random record had one, and its quantile was a panic.
    #[test]
    fn a_bucket_within_the_zero_bucket_of_another_program_has_a_quantile() {
        let native = Native::new(0, 65_536.0, 1, vec![(2, 9)], Vec::new()).unwrap();
        let found = native.quantile(0.9).unwrap();
        assert_eq!((found.lower, found.value, found.upper), (4.0, 4.0, 4.0));
    }

    #[test]
    fn buckets_of_another_program_are_checked() {
        let refused = |schema, threshold, positive: &[(i32, u64)], wanted: &str| {
            let new = Native::new(schema, threshold, 0, positive.to_vec(), Vec::new());
            let error = new.unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            // The other sign has the same rules.
            let new = Native::new(schema, threshold, 0, Vec::new(), positive.to_vec());
            assert_eq!(new.unwrap_err().to_string(), error);
        };
        for schema in [-5, 9] {
            refused(schema, 0.0, &[], "-4 to 8");
        }
        for threshold in [-1.0, f64::NAN, f64::INFINITY] {
            refused(0, threshold, &[], "threshold");
        }
        refused(0, 0.0, &[(1, 1), (1, 1)], "bucket 1;");
        refused(0, 0.0, &[(2, 1), (1, 1)], "bucket 1;");
        let (least, infinity) = (index::of(f64::from_bits(1), 0), index::of(f64::INFINITY, 0));
        assert!(Native::new(0, 0.0, 0, vec![(least, 1), (infinity, 1)], Vec::new()).is_ok());
        refused(0, 0.0, &[(least - 1, 1)], "ascend from -1074 to 1025");
        refused(0, 0.0, &[(infinity + 1, 1)], "bucket 1026;");
    }

    #[test]
    fn a_histogram_says_all_that_it_holds() {
        let native = of(&[-8.0, -1.0, -1.0, 0.0, 0.5, -0.25, 3.0, 4.0], 2, 0.5);
        assert_eq!((native.schema(), native.zero_threshold()), (2, 0.5));
        assert_eq!((native.zero_count(), native.count()), (3, 8));
        assert_eq!(native.positive(), [(7, 1), (8, 1)]);
        assert_eq!(native.negative(), [(0, 2), (12, 1)]);
        assert_eq!(native.upper_bound(8), 4.0);
    }

    #[test]
    fn a_resolution_has_limits() {
        let broken = |schema, limit, zero_threshold| {
            let resolution = Resolution {
                schema,
                limit,
                zero_threshold,
            };
            resolution.check().err()
        };
        for (schema, valid) in [(-5, false), (-4, true), (8, true), (9, false)] {
            let rule = (!valid).then_some(SettingRule::Schema(schema));
            assert_eq!(broken(schema, 160, 1.0), rule);
        }
        for (limit, valid) in [(7, false), (8, true), (8192, true), (8193, false)] {
            let rule = (!valid).then_some(SettingRule::NativeLimit(limit));
            assert_eq!(broken(0, limit, 1.0), rule);
        }
        for (zero, valid) in [
            (0.0_f64.next_down(), false),
            (-0.0, true),
            (1e300_f64.next_down(), true),
            (1e300, false),
        ] {
            let rule = (!valid).then_some(SettingRule::ZeroThreshold(zero));
            assert_eq!(broken(0, 160, zero), rule);
        }
        assert!(broken(0, 160, f64::NAN).is_some());
        assert_eq!(Resolution::ZERO, 2.0_f64.powi(-128));
    }

    #[test]
    fn the_finest_becomes_as_coarse_as_is_asked_for() {
        let mut native = of(&[1.0, -2.0, 0.0], 3, 0.5);
        native.reset();
        assert_eq!(native, Native::finest());
        assert_eq!(native.schema, FINEST);
        for (schema, zero_threshold) in [(5, 0.25), (6, 0.125)] {
            native.coarsen(&Resolution {
                schema,
                limit: 8,
                zero_threshold,
            });
            assert_eq!((native.schema, native.zero_threshold), (5, 0.25));
        }
    }

    /// There are three buckets above zero and five below; the ninth value makes it four above.
    #[test]
    fn a_histogram_is_no_coarser_than_its_limit_asks_for() {
        let values = [1.0, 2.0, 4.0, -1.0, -2.0, -4.0, -8.0, -16.0, 8.0];
        for (len, schema) in [(8, 0), (9, -1)] {
            let mut native = of(&values[..len], 0, 0.0);
            native.normalize(8);
            assert_eq!(native.schema, schema);
        }
        let mut native = Native::finest();
        native.add(1, false, 0);
        native.add(1, true, 0);
        native.normalize(8);
        assert_eq!(native, Native::finest());
    }

    /// The zero bucket widens to the bound of the bucket that it cuts, if that bucket is in use.
    #[test]
    fn the_zero_bucket_widens() {
        for (values, to, widened, zero_count) in [
            (&[0.5, 2.5, -9.0][..], 3.0, 4.0, 2),
            (&[0.5, -2.5, 9.0], 3.0, 4.0, 2),
            (&[0.5, 9.0], 3.0, 3.0, 1),
            (&[0.5, 2.5], 4.0, 4.0, 2),
            (&[0.5, 2.5], 2.0, 2.0, 1),
            (&[0.5, 2.5], 0.0, 0.125, 0),
        ] {
            let mut native = of(values, 0, 0.125);
            native.widen(to);
            let zero = (native.zero_threshold, native.zero_count);
            assert_eq!(zero, (widened, zero_count), "{values:?} to {to}");
            assert_eq!(native.count(), values.len() as u64);
        }
        let found = of(&[0.0], 0, 0.125).quantile(0.5).unwrap();
        assert_eq!((found.lower, found.upper), (-0.125, 0.125));
        let found = of(&[-3.0], 0, 0.125).quantile(0.5).unwrap();
        assert_eq!((found.lower, found.upper), (-4.0, -2.0));
    }

    #[test]
    fn natives_are_those_pushed_since_a_clear() {
        let [a, b] = [[1.0, 2.0, -1.0], [3.0, 5.0, -4.0]].map(|values| of(&values, 2, 0.0));
        let mut all = Natives::default();
        all.push(&a);
        all.push(&b);
        assert_eq!((all.get(0), all.get(1)), (&a, &b));
        // A clone has no spare capacity.
        assert_eq!(all.clone().bytes(), 2 * (size_of::<Native>() + 3 * 16));
        let mut others = all.clone();
        assert!(others == all);
        others.get_mut(1).schema = 3;
        assert!(others != all);
        all.clear();
        assert!(all == Natives::default() && all != others);
        all.push(&b);
        all.push(&a);
        assert_eq!((all.get(0), all.get(1)), (&b, &a));
    }

    proptest! {
        #[test]
        fn a_histogram_is_made_of_its_parts(values in values(), schema in COARSEST..=FINEST) {
            let native = of(&values, schema, 1e-9);
            let Native { zero_threshold, zero_count, mut positive, negative, .. } = native.clone();
            positive.extend(positive.is_empty().then_some((3, 0)));
            let made = Native::new(schema, zero_threshold, zero_count, positive, negative);
            prop_assert_eq!(made.unwrap(), native);
        }

        #[test]
        fn reducing_is_observing_at_that_schema(values in values(), fine in -3_i8..=8, halvings in 1_i8..4) {
            let coarse = (fine - halvings).max(COARSEST);
            let mut reduced = of(&values, fine, 0.0);
            reduced.reduce_to(coarse);
            prop_assert_eq!(reduced, of(&values, coarse, 0.0));
        }

        #[test]
        fn merging_is_observing_both(a in values(), b in values(), schemas in (-4_i8..=8, -4_i8..=8)) {
            let both: Vec<_> = a.iter().chain(&b).copied().collect();
            let mut merged = of(&a, schemas.0, 1e-3);
            merged.merge(&of(&b, schemas.1, 1e-3));
            let schema = schemas.0.min(schemas.1);
            prop_assert_eq!(&merged, &of(&both, schema, 1e-3));
            prop_assert_eq!(merged.without(&of(&a, 8, 1e-3)), Some(of(&b, schema, 1e-3)));
        }

        #[test]
        fn merging_keeps_every_observation_whatever_is_zero(a in values(), b in values(), zero in 0.0..10.0_f64) {
            let mut merged = of(&a, 3, 1e-6);
            merged.merge(&of(&b, 2, zero));
            prop_assert_eq!(merged.count(), (a.len() + b.len()) as u64);
            prop_assert!(merged.zero_threshold >= zero);
            let lowest = merged.positive.first().map(|(index, _)| merged.upper_bound(*index));
            prop_assert!(lowest.is_none_or(|lowest| lowest > merged.zero_threshold), "{:?}", merged);
        }

        #[test]
        fn a_limit_is_kept(values in values(), limit in 8_u32..40) {
            let mut native = of(&values, 8, 0.0);
            native.normalize(limit);
            prop_assert!(native.schema == COARSEST || native.positive.len() + native.negative.len() <= limit as usize);
            prop_assert_eq!(&native, &of(&values, native.schema, 0.0));
        }

        #[test]
        fn a_quantile_is_within_its_bounds(mut values in values(), phi in 0.0..=1.0_f64, schema in -4_i8..=8) {
            values.sort_unstable_by(f64::total_cmp);
            let found = of(&values, schema, 1e-12).quantile(phi);
            let rank = (phi * values.len() as f64).ceil().max(1.0) as usize;
            match (found, values.get(rank - 1)) {
                (Some(found), Some(exact)) => {
                    prop_assert!(found.lower <= *exact && *exact <= found.upper, "{exact} not in {found:?}");
                    prop_assert!(found.lower <= found.value && found.value <= found.upper, "{found:?}");
                }
                (found, exact) => prop_assert!(found.is_none() && exact.is_none(), "{found:?} {exact:?}"),
            }
        }
    }
}
