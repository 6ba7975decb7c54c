//! A quantile sketch for chosen targets whose promise survives merging: CKMS with a concave bound.
//!
//! A sketch of `n` values holds some of them in order. A tuple `(key, g, delta)` says that its value has a rank from
//! `low = sum of g up to here` to `high = low + delta`; the next lower tuple's `low` to its own `high` are the ranks it
//! *covers*, `g + delta` its *width*. Everything asked of a sketch follows from one invariant:
//!
//! - S1: a tuple covers one rank only, or its width is at most `F = 2 * n * h(rank / n)` at every rank it covers, where
//!   `h(phi) <= eps` at every target `(phi, eps)` and `h` is concave and positive.
//! - S2: the least and the greatest value are held, with their ranks known.
//! - S3: a run of tuples with equal keys is one tuple to S1: from the `high` of its first to the `low` of its last, the
//!   value is certain. What lies within a run is of any width.
//!
//! **It answers.** Let `x = ceil(phi * n)`, take the first value with `high > x + eps * n`, and step to the value
//! before it. That one's `high` is not above `x + eps * n`; its `low` is not below `x`, or the step covered `x` and was
//! at most `2 * eps * n` wide (S1). [`Sketch::quantile`] looks for the least error that the ranks certify.
//!
//! **It stays true.** `h` is the least of some lines, so F is the least of some `a * n + b * rank`, and superadditive:
//! `F(r, n) + F(s, m) <= F(r + s, n + m)`. A value inserted anywhere moves a tuple from `(r, n)` to `(r, n + 1)` or
//! `(r + 1, n + 1)`, and F does not fall. A new value inherits the width of the tuple above it, and so fits as well.
//!
//! **It merges.** Between the values of one sketch lie those of the others: a merged tuple may also come after what is
//! still hidden below the *next* tuple of every other sketch. Its width less one is then the sum of theirs less one,
//! which is at most the sum of the F, which is at most F of the sum. Depth, order and number of merges do not matter.
//!
//! **It stays small.** With `h` positive at both ends every width may grow with every insertion, wherever it goes.
//! Measured, not proven: with the default targets 70 to 90 tuples for any number of ordinary values, 100 to 700 for
//! unkind orders, and thousands for ten descending sweeps of a million each. So a cap ([`MAX_TUPLES`]) holds by force,
//! at the price of wider tuples; [`Sketch::is_degraded`] tells, and what a quantile certifies stays true.
//!
//! **What differs from the paper.** Its bound for targets is V-shaped and is tested at a tuple's lower rank; below a
//! target it falls, so a tuple may start where F is large and reach across the target (error up to `eps / (1 - a)`,
//! `a = 2 * eps / (1 - phi)`, and no bound at all from `a = 1`). It is convex at its target, so merging doubles the
//! error, and 0 beyond its ends, so descending values are kept for ever. Its `delta` is F at insertion, ours the width
//! of the tuple above; its query stops at a rule that assumes the V.
//!
//! Sources: Cormode, Korn, Muthukrishnan, Srivastava, "Effective computation of biased quantiles over data streams",
//! ICDE 2005; Greenwald, Khanna, "Space-efficient online computation of quantile summaries", SIGMOD 2001 (`g`, `delta`,
//! and the ranks of merged tuples); the error at the lower rank: V. Sitnikov in umbrant/QuantileEstimation#2 and
//! prometheus/client_java#2292.

mod bound;
mod insert;
mod merge;
mod targets;
// Plain data without unsafe code: Miri has nothing to find here, and hours to look.
#[cfg(all(test, not(loom), not(miri)))]
mod tests;

pub use bound::Bound;
pub use insert::Scratch;
pub use targets::{MAX_TARGETS, TargetError, Targets};

/// The most tuples a sketch holds after an insertion or a [`compress`](Sketch::compress).
pub const MAX_TUPLES: usize = 2048;

/// The key of `value`: keys order as values do, and -0.0 is 0.0.
///
/// NaN has a key beyond an infinity's: whoever feeds a sketch drops it before.
#[inline]
pub fn key_of(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    bits ^ ((bits as i64 >> 63) as u64 | 1 << 63)
}

/// The value whose key is `key`.
#[inline]
pub fn value_of(key: u64) -> f64 {
    f64::from_bits(key ^ ((!key as i64 >> 63) as u64 | 1 << 63))
}

/// A held value: `g` ranks lie above the lower tuple's least rank up to its own least rank, which `delta` more may exceed.
///
/// A `delta` of `u32::MAX` is unknown: the value may have any higher rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// The value's key.
    pub key: u64,
    /// Ranks above the lower tuple's least.
    pub g: u32,
    /// Ranks above its own least.
    pub delta: u32,
}

impl Tuple {
    const fn exact(key: u64) -> Self {
        Self {
            key,
            g: 1,
            delta: 0,
        }
    }

    /// As two words, for who keeps it in atomics.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [self.key, (self.g as u64) << 32 | self.delta as u64]
    }

    /// What [`to_words`](Self::to_words) gave.
    #[must_use]
    pub const fn from_words([key, ranks]: [u64; 2]) -> Self {
        Self {
            key,
            g: (ranks >> 32) as u32,
            delta: ranks as u32,
        }
    }

    /// How far a value just below this tuple may be from its least rank: the width less one.
    #[inline]
    fn hidden(&self) -> u32 {
        self.delta.saturating_add(self.g.saturating_sub(1))
    }

    /// The greatest rank, where `low` is the least.
    fn high(&self, low: u64, n: u64) -> u64 {
        if self.delta == u32::MAX {
            n
        } else {
            n.min(low + u64::from(self.delta))
        }
    }
}

/// Values seen, as far as a [`Bound`] wants them told apart. One thread's, or the merge of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    tuples: Vec<Tuple>,
    n: u64,
    degraded: bool,
}

impl Sketch {
    /// Of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tuples: Vec::new(),
            n: 0,
            degraded: false,
        }
    }

    /// A sketch of tuples that [`tuples`](Self::tuples) gave, in their order.
    pub fn from_parts(tuples: Vec<Tuple>, degraded: bool) -> Self {
        let n = tuples.iter().map(|tuple| u64::from(tuple.g)).sum();
        Self {
            tuples,
            n,
            degraded,
        }
    }

    /// An exact sketch of keys in ascending order, such as a buffer that is not yet inserted.
    pub fn from_sorted(keys: &[u64]) -> Self {
        Self::from_parts(keys.iter().copied().map(Tuple::exact).collect(), false)
    }

    /// Makes this a sketch of these tuples, in the memory it has.
    pub fn load(&mut self, tuples: impl Iterator<Item = Tuple>, degraded: bool) {
        self.tuples.clear();
        self.tuples.extend(tuples);
        self.n = self.tuples.iter().map(|tuple| u64::from(tuple.g)).sum();
        self.degraded = degraded;
    }

    /// The tuples, in order.
    pub fn tuples(&self) -> &[Tuple] {
        &self.tuples
    }

    /// The number of values; beyond 2^41 (a month of a million a second) less, for old values then lose half their weight.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Whether the cap on tuples was reached and the targets' errors exceeded for it.
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// The value of rank `ceil(phi * n)`, and by how many ranks it may be wrong; `None` without values or for a `phi`
    /// outside `0..=1`. The quantiles 0 and 1 are exact.
    ///
    /// Not wrong by more than `eps * n` at a target, nor at all while `eps * n < 1`. Looks at every tuple.
    pub fn quantile(&self, phi: f64) -> Option<(f64, u64)> {
        if !(0.0..=1.0).contains(&phi) {
            return None;
        }
        let rank = nearest_rank(phi, self.n);
        let mut best: Option<(u64, u64)> = None;
        let mut low = 0;
        for run in self.tuples.chunk_by(|a, b| a.key == b.key) {
            let high = run[0].high(low + u64::from(run[0].g), self.n);
            low += run.iter().map(|tuple| u64::from(tuple.g)).sum::<u64>();
            let error = high.saturating_sub(rank).max(rank.saturating_sub(low)); // mutation: centre-query
            if best.is_none_or(|(_, least)| error < least) {
                best = Some((run[0].key, error));
            }
        }
        best.map(|(key, error)| (value_of(key), error))
    }

    /// Between which values the one of rank `ceil(phi * n)` lies, for certain; `None` as for [`quantile`](Self::quantile).
    pub fn bounds(&self, phi: f64) -> Option<(f64, f64)> {
        if !(0.0..=1.0).contains(&phi) {
            return None;
        }
        let rank = nearest_rank(phi, self.n);
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

    /// Says what is wrong, if S1 to S3 do not hold. A degraded sketch, or one compressed under another bound, fails.
    ///
    /// # Errors
    ///
    /// The first tuple that breaks the invariant.
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

/// `ceil(phi * n)`, from 1, where a product that is whole but for rounding is whole: 0.07 of 100 is 7.
fn nearest_rank(phi: f64, n: u64) -> u64 {
    let product = phi * n as f64;
    let whole = product.round();
    let is_whole = (product - whole).abs() <= 4.0 * f64::EPSILON * whole;
    (if is_whole { whole } else { product.ceil() } as u64).clamp(1, n.max(1))
}
