//! The objectives of a summary: quantiles, each with its allowed rank error.

use std::fmt;

use crate::error::SettingRule;

/// The maximum number of objectives of a summary.
pub const MAX_TARGETS: usize = 7;

/// The maximum planned number of tuples. Shuffled values need up to twice the plan (measured),
/// which just fits in [`MAX_TUPLES`](super::MAX_TUPLES).
const PLANNED_TUPLES: f64 = 1000.0;

/// The objectives of a summary: up to seven pairs `(phi, eps)`. The quantile `phi` of `n` values is
/// wrong by at most `eps * n` ranks.
///
/// ```
/// use tallies::snapshot::sketch::Targets;
///
/// static OBJECTIVES: Targets = Targets::new(&[(0.5, 0.05), (0.99, 0.001)]);
/// assert_eq!(OBJECTIVES.as_slice(), [(0.5, 0.05), (0.99, 0.001)]);
/// assert!(!OBJECTIVES.is_empty());
/// ```
///
/// Without pairs there are no quantiles, only count and sum. The quantiles 0 and 1 are exact
/// whatever their `eps`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Targets {
    pairs: [(f64, f64); MAX_TARGETS],
    len: usize,
}

impl Targets {
    /// Creates the objectives of a static, where an error of [`try_new`](Self::try_new) becomes a
    /// compile error.
    ///
    /// # Panics
    ///
    /// Panics outside a const context if `try_new` returns an error.
    pub const fn new(pairs: &[(f64, f64)]) -> Self {
        match Self::try_new(pairs) {
            Ok(targets) => targets,
            Err(error) => panic!("{}", error.rule()),
        }
    }

    /// Creates objectives from `pairs`, in any order.
    ///
    /// ```
    /// use tallies::snapshot::sketch::Targets;
    ///
    /// assert!(Targets::try_new(&[(0.9, 0.01), (0.5, 0.05)]).is_ok());
    /// assert!(Targets::try_new(&[(1.5, 0.01)]).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if [`try_with`](Self::try_with) rejects one of the pairs.
    pub const fn try_new(pairs: &[(f64, f64)]) -> Result<Self, TargetError> {
        let mut targets = Self {
            pairs: [(0.0, 0.0); MAX_TARGETS],
            len: 0,
        };
        let mut i = 0;
        while i < pairs.len() {
            targets = match targets.try_with(pairs[i].0, pairs[i].1) {
                Ok(targets) => targets,
                Err(error) => return Err(error),
            };
            i += 1;
        }
        Ok(targets)
    }

    /// Adds the quantile `phi` with the error `eps`.
    ///
    /// ```
    /// use tallies::snapshot::sketch::Targets;
    ///
    /// let objectives = Targets::new(&[(0.5, 0.05)]).try_with(0.9, 0.01)?;
    /// assert_eq!(objectives.as_slice().len(), 2);
    /// # Ok::<(), tallies::snapshot::sketch::TargetError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error for an eighth pair, for a quantile outside `0..=1` or one added before, for
    /// an error outside `0..1`, and for an error of 0 if the quantile is not 0 or 1. Also returns
    /// an error if the errors are so small that the sketch would exceed its limit on tuples.
    pub const fn try_with(mut self, phi: f64, eps: f64) -> Result<Self, TargetError> {
        if self.len == MAX_TARGETS {
            return Err(TargetError(SettingRule::TooManyTargets(phi)));
        }
        if phi.is_nan() || phi < 0.0 || phi > 1.0 {
            return Err(TargetError(SettingRule::Quantile(phi)));
        }
        if eps.is_nan() || eps < 0.0 || eps >= 1.0 || (eps == 0.0 && is_inner(phi)) {
            return Err(TargetError(SettingRule::TargetError(phi, eps)));
        }
        let mut i = 0;
        while i < self.len {
            if self.pairs[i].0 == phi {
                return Err(TargetError(SettingRule::Twice(phi)));
            }
            i += 1;
        }
        self.pairs[self.len] = (phi, eps);
        self.len += 1;
        if self.tuples() > PLANNED_TUPLES {
            return Err(TargetError(SettingRule::TooFine(self.tuples())));
        }
        Ok(self)
    }

    /// Returns the pairs in the given order.
    #[must_use]
    pub fn as_slice(&self) -> &[(f64, f64)] {
        &self.pairs[..self.len]
    }

    /// Returns whether there are no objectives, and so nothing to sketch.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Iterates over the objectives that shape a sketch: all except the quantiles 0 and 1.
    pub(super) fn inner(&self) -> impl Iterator<Item = (f64, f64)> {
        let all = self.as_slice().iter().copied();
        all.filter(|&(phi, _)| is_inner(phi))
    }

    /// Returns an upper bound of the number of tuples in a well packed sketch. It is half the
    /// integral of `1 / h` over the line of each objective and over the cap. The part of an
    /// objective is about `3 * tail / eps` where a sloping line is best, and
    /// `1 / (2 * eps)` where a flat one is.
    const fn tuples(&self) -> f64 {
        let (mut least, mut sum) = (f64::INFINITY, 0.0);
        let mut i = 0;
        while i < self.len {
            let (phi, eps) = self.pairs[i];
            if is_inner(phi) {
                let tail = if phi < 0.5 { phi } else { 1.0 - phi };
                sum += if 3.0 * tail < 0.5 { 3.0 * tail } else { 0.5 } / eps;
                least = if eps < least { eps } else { least };
            }
            i += 1;
        }
        let (flat, sum) = (0.5 / least, sum + 0.025 / least);
        if flat < sum { flat } else { sum }
    }
}

const fn is_inner(phi: f64) -> bool {
    0.0 < phi && phi < 1.0
}

/// The reason why objectives were rejected.
///
/// ```
/// use tallies::snapshot::sketch::Targets;
///
/// let error = Targets::try_new(&[(1.5, 0.01)]).unwrap_err();
/// assert_eq!(error.to_string(), "the quantile of an objective has to be from 0 to 1, got 1.5");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetError(SettingRule);

impl TargetError {
    /// Returns the rule that was violated, without the value, because a const panic cannot print a
    /// float.
    pub(crate) const fn rule(&self) -> &'static str {
        self.0.text()
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for TargetError {}
