//! A quantile sketch for chosen objectives, whose error bounds survive merging: CKMS with a concave
//! bound.
//!
//! A sketch of `n` values holds some of them in order. A tuple `(key, g, delta)` says that the rank
//! of its value is between `low`, the sum of `g` up to and including this tuple, and
//! `high = low + delta`. The ranks from the `low` of the next lower tuple to its own `high` are the
//! ranks that the tuple *covers*, and `g + delta` is its *width*. All properties of a sketch follow
//! from one invariant:
//!
//! - S1: A tuple covers one rank only, or its width is at most `F = 2 * n * h(rank / n)` at every
//!   rank that it covers, where `h(phi) <= eps` at every objective `(phi, eps)`, and `h` is concave
//!   and positive.
//! - S2: The sketch holds the smallest and the largest value and knows their ranks.
//! - S3: To S1, a run of tuples with equal keys is one tuple: from the `high` of the first to the
//!   `low` of the last, the value is certain. Tuples within a run may have any width.
//!
//! **It answers.** Let `x = ceil(phi * n)`. Take the first value with `high > x + eps * n`, and
//! step to the value before it. The `high` of that value is at most `x + eps * n`. Its `low` is at
//! least `x`, or the step passed a tuple that covers `x` and is at most `2 * eps * n` wide (S1), so
//! that `low` is above `x - eps * n`. [`Sketch::quantile`] looks for the value with the smallest
//! error that the ranks certify.
//!
//! **It stays true.** The function `h` is the minimum of several lines, so F is the minimum of
//! several `a * n + b * rank` and therefore superadditive: `F(r, n) + F(s, m) <= F(r + s, n + m)`.
//! Inserting a value anywhere moves a tuple from `(r, n)` to `(r, n + 1)` or `(r + 1, n + 1)`, and
//! F does not fall. A new value inherits the width of the tuple above it, so it satisfies S1 as
//! well.
//!
//! **It merges.** The values of one sketch lie between the values of the others. A merged tuple may
//! therefore also come after values that are still hidden below the *next* tuple of every other
//! sketch. Its width minus one is then the sum of their widths minus one each. That sum is at most
//! the sum of the F, which is at most F of the sum. The depth, the order and the number of merges
//! do not matter.
//!
//! **It stays small.** As `h` is positive at both ends, every width may grow with every insertion,
//! wherever the new value goes. Measured, not proven: with the default objectives, a sketch has 70
//! to 90 tuples for any number of ordinary values, 100 to 700 for adversarial orders, and thousands
//! for ten descending sweeps of a million values each. The sketch therefore enforces a limit
//! ([`MAX_TUPLES`]), at the price of wider tuples. [`Sketch::is_degraded`] reports that, and the
//! error that a quantile certifies stays true.
//!
//! **It differs from the paper.** The paper's bound for targeted quantiles is V-shaped and is
//! tested at the lower rank of a tuple. Below its quantile, the V falls towards the quantile. A
//! tuple may therefore start where F is large and reach across the quantile: the error is up to
//! `eps / (1 - a)` with `a = 2 * eps / (1 - phi)`, and has no bound from `a = 1` on. The V is
//! convex at its quantile, so merging doubles the error. It is 0 beyond its ends, so descending
//! values are never absorbed. The paper's `delta` is F at insertion; here it is the width of the
//! tuple above. The paper's query stops by a rule that assumes the V.
//!
//! **It is tested by mutations.** `cargo xtask mutate snapshot/sketch` makes mistakes in it, such
//! as the paper's bound, one at a time. A test of this module has to fail for each.
//!
//! Sources: Cormode, Korn, Muthukrishnan, Srivastava, "Effective computation of biased quantiles
//! over data streams", ICDE 2005; Greenwald, Khanna, "Space-efficient online computation of
//! quantile summaries", SIGMOD 2001 (`g`, `delta`, and the ranks of merged tuples); the error at
//! the lower rank: V. Sitnikov in umbrant/QuantileEstimation#2 and prometheus/client_java#2292.

mod beyond;
mod bound;
mod gaps;
mod insert;
mod merge;
mod pass;
mod targets;
// Plain data without unsafe code: Miri would find nothing and take hours.
#[cfg(all(test, not(loom), not(miri)))]
mod tests;

pub use bound::Bound;
pub use gaps::Scratch;
pub use targets::{MAX_TARGETS, TargetError, Targets};

/// The maximum number of tuples after an insertion or a [`compress`](Sketch::compress).
pub const MAX_TUPLES: usize = 2048;

/// Returns the key of `value`. Keys have the order of their values, and -0.0 has the key of 0.0.
///
/// ```
/// use tallies::snapshot::sketch::{key_of, value_of};
///
/// assert!(key_of(-1.0) < key_of(0.5));
/// assert_eq!(key_of(-0.0), key_of(0.0));
/// assert_eq!(value_of(key_of(0.5)), 0.5);
/// ```
///
/// The key of a NaN is beyond that of an infinity. The caller drops NaNs before it inserts values.
#[inline]
pub fn key_of(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    bits ^ ((bits as i64 >> 63) as u64 | 1 << 63)
}

/// Returns the value whose key is `key`.
#[inline]
pub fn value_of(key: u64) -> f64 {
    f64::from_bits(key ^ ((!key as i64 >> 63) as u64 | 1 << 63))
}

/// A value that a sketch holds, and the range of its rank.
///
/// ```
/// use tallies::snapshot::sketch::{Tuple, key_of};
///
/// let tuple = Tuple { key: key_of(0.5), g: 3, delta: 1 };
/// assert_eq!(Tuple::from_words(tuple.to_words()), tuple);
/// ```
///
/// Its lowest rank is `g` above the lowest rank of the next lower tuple. Its highest rank is
/// `delta` above its lowest. A `delta` of `u32::MAX` means unknown: the value may have any higher
/// rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// The value's key.
    pub key: u64,
    /// The distance from the lowest rank of the next lower tuple to the lowest rank of this one.
    pub g: u32,
    /// The distance from the lowest to the highest rank of this tuple.
    pub delta: u32,
}

impl Tuple {
    const fn exact(key: u64) -> Self {
        Self::new(key, 1, 0)
    }

    const fn new(key: u64, g: u32, delta: u32) -> Self {
        Self { key, g, delta }
    }

    /// Returns the tuple as two words, so that it can be stored in atomics.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [self.key, (self.g as u64) << 32 | self.delta as u64]
    }

    /// Returns the tuple that [`to_words`](Self::to_words) converted.
    #[must_use]
    pub const fn from_words([key, ranks]: [u64; 2]) -> Self {
        Self::new(key, (ranks >> 32) as u32, ranks as u32)
    }

    /// Returns how far a value just below this tuple may be from the lowest rank of this tuple: its
    /// width minus one.
    #[inline]
    fn hidden(&self) -> u32 {
        self.delta.saturating_add(self.g.saturating_sub(1))
    }

    /// Returns the highest rank of a tuple whose lowest rank is `low`.
    fn high(&self, low: u64, n: u64) -> u64 {
        if self.delta == u32::MAX {
            n
        } else {
            n.min(low + u64::from(self.delta))
        }
    }
}

/// A quantile sketch: values of one thread, or merged from several, as densely as a [`Bound`]
/// requires.
///
/// ```
/// use tallies::snapshot::sketch::{Bound, Scratch, Sketch, Targets, key_of};
///
/// let bound = Bound::new(&Targets::new(&[(0.5, 0.05)]));
/// let (mut sketch, mut scratch) = (Sketch::new(), Scratch::new());
/// for batch in 0..10 {
///     let keys: Vec<u64> = (0..100).map(|i| key_of(f64::from(100 * batch + i))).collect();
///     sketch.insert(&bound, &keys, &mut scratch);
/// }
/// let (median, error) = sketch.quantile(0.5).unwrap();
/// assert!(error <= 50 && (449.0..=549.0).contains(&median));
/// assert!(sketch.tuples().len() < 100 && sketch.n() == 1000);
/// sketch.check(&bound).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    tuples: Vec<Tuple>,
    n: u64,
    degraded: bool,
}

impl Sketch {
    /// Creates a sketch of no values.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tuples: Vec::new(),
            n: 0,
            degraded: false,
        }
    }

    /// Creates a sketch from tuples that [`tuples`](Self::tuples) returned, in their order.
    pub fn from_parts(tuples: Vec<Tuple>, degraded: bool) -> Self {
        Self {
            n: tuples.iter().map(|tuple| u64::from(tuple.g)).sum(),
            tuples,
            degraded,
        }
    }

    /// Creates an exact sketch from ascending keys, such as a buffer that is not yet inserted.
    ///
    /// ```
    /// use tallies::snapshot::sketch::{Sketch, key_of};
    ///
    /// let sketch = Sketch::from_sorted(&[1.0, 2.0, 4.0].map(key_of));
    /// assert_eq!(sketch.quantile(0.5), Some((2.0, 0)));
    /// ```
    pub fn from_sorted(keys: &[u64]) -> Self {
        Self::from_parts(keys.iter().copied().map(Tuple::exact).collect(), false)
    }

    /// Replaces the content with these tuples, in the existing memory.
    pub fn load(&mut self, tuples: impl Iterator<Item = Tuple>, degraded: bool) {
        self.tuples.clear();
        self.tuples.extend(tuples);
        self.n = self.tuples.iter().map(|tuple| u64::from(tuple.g)).sum();
        self.degraded = degraded;
    }

    tallies_names::getters! {
        /// Returns the tuples in ascending order.
        fn tuples(&self) -> &[Tuple] = &self.tuples;

        /// Returns the number of values. Beyond 2^41 values (a month of a million per second) it is
        /// smaller, because old values lose half their weight.
        fn n(&self) -> u64 = self.n;

        /// Returns whether the limit on tuples was reached, so that errors may exceed the
        /// objectives.
        fn is_degraded(&self) -> bool = self.degraded;
    }

    /// Returns the value of rank `ceil(phi * n)`, and the number of ranks by which it may be wrong.
    ///
    /// The error is at most `eps * n` at an objective, and 0 while `eps * n < 1`. The quantiles 0
    /// and 1 are exact. Looks at every tuple.
    ///
    /// Returns `None` without values and for a `phi` outside `0..=1`.
    pub fn quantile(&self, phi: f64) -> Option<(f64, u64)> {
        let rank = nearest_rank(phi, self.n)?;
        let mut best: Option<(u64, u64)> = None;
        let mut low = 0;
        for run in self.tuples.chunk_by(|a, b| a.key == b.key) {
            let high = run[0].high(low + u64::from(run[0].g), self.n);
            low += run.iter().map(|tuple| u64::from(tuple.g)).sum::<u64>();
            let error = high.saturating_sub(rank).max(rank.saturating_sub(low));
            if best.is_none_or(|(_, least)| error < least) {
                best = Some((run[0].key, error));
            }
        }
        best.map(|(key, error)| (value_of(key), error))
    }

    /// Returns the values between which the value of rank `ceil(phi * n)` certainly lies. Returns
    /// `None` in the cases of [`quantile`](Self::quantile).
    ///
    /// ```
    /// use tallies::snapshot::sketch::{Sketch, key_of};
    ///
    /// let sketch = Sketch::from_sorted(&[1.0, 2.0, 4.0].map(key_of));
    /// assert_eq!(sketch.bounds(0.5), Some((2.0, 2.0)));
    /// ```
    pub fn bounds(&self, phi: f64) -> Option<(f64, f64)> {
        let rank = nearest_rank(phi, self.n)?;
        let (mut lower, mut low) = (None, 0);
        for run in self.tuples.chunk_by(|a, b| a.key == b.key) {
            if run[0].high(low + u64::from(run[0].g), self.n) <= rank {
                lower = Some(value_of(run[0].key));
            }
            low += run.iter().map(|tuple| u64::from(tuple.g)).sum::<u64>();
            if low >= rank {
                return Some((lower?, value_of(run[0].key)));
            }
        }
        None
    }

    /// Checks that S1 to S3 hold. A degraded sketch fails, and so does a sketch compressed under
    /// another bound.
    ///
    /// # Errors
    ///
    /// Returns a description of the first tuple that violates the invariant.
    pub fn check(&self, bound: &Bound) -> Result<(), String> {
        let mut low = 0;
        for (i, tuple) in self.tuples.iter().enumerate() {
            let below = low;
            low += u64::from(tuple.g);
            let width = u64::from(tuple.g) + u64::from(tuple.delta);
            let lower = i.checked_sub(1).map(|i| self.tuples[i].key);
            let is_end = i == 0 || i + 1 == self.tuples.len();
            let widest = bound.widest(below, below + width, self.n) * (1.0 + 1e-12);
            let wrong = if tuple.g == 0 || lower > Some(tuple.key) {
                "is empty or out of order".to_string()
            } else if i == 0 && tuple.g != 1 || is_end && tuple.delta != 0 {
                "is an end and not exact".to_string()
            } else if width > 1 && width as f64 > widest && lower != Some(tuple.key) {
                format!(
                    "is wider than {widest}, covering ranks {below} to {}",
                    below + width
                )
            } else {
                continue;
            };
            return Err(format!(
                "tuple {i} of {}, {tuple:?} of n = {}, {wrong}",
                self.tuples.len(),
                self.n
            ));
        }
        if low == self.n {
            Ok(())
        } else {
            Err(format!("the ranks add up to {low}, not {}", self.n))
        }
    }
}

/// Returns `ceil(phi * n)`, at least 1. A product that is whole except for rounding counts as
/// whole: 0.07 of 100 is 7. Returns `None` for a `phi` outside `0..=1`.
fn nearest_rank(phi: f64, n: u64) -> Option<u64> {
    if !(0.0..=1.0).contains(&phi) {
        return None;
    }
    let product = phi * n as f64;
    let whole = product.round();
    let is_whole = (product - whole).abs() <= 4.0 * f64::EPSILON * whole;
    let rank = if is_whole { whole } else { product.ceil() };
    Some((rank as u64).clamp(1, n.max(1)))
}
