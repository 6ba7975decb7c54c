//! What a summary is asked for: quantiles, each with the rank error it may have.

use std::fmt;

/// The most targets a summary takes.
pub const MAX_TARGETS: usize = 7;

/// Tuples that may be planned for: shuffled values need up to twice the plan (measured), which just fits in
/// [`MAX_TUPLES`](super::MAX_TUPLES).
const PLANNED_TUPLES: f64 = 1000.0;

/// Up to seven pairs `(phi, eps)`: the quantile `phi` of `n` values, wrong by at most `eps * n` ranks.
///
/// No pair means no quantiles: count and sum only. The quantiles 0 and 1 are exact whatever their `eps`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Targets {
    pairs: [(f64, f64); MAX_TARGETS],
    len: usize,
}

impl Targets {
    /// For a static: what [`try_new`](Self::try_new) refuses is a compile error there.
    ///
    /// # Panics
    ///
    /// Outside a const context, where `try_new` gives an error.
    pub const fn new(pairs: &[(f64, f64)]) -> Self {
        match Self::try_new(pairs) {
            Ok(targets) => targets,
            Err(error) => panic!("{}", error.rule()),
        }
    }

    /// Takes `pairs` in any order.
    ///
    /// # Errors
    ///
    /// What [`try_with`](Self::try_with) refuses.
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

    /// These, and the quantile `phi` within `eps`.
    ///
    /// # Errors
    ///
    /// An eighth pair; a quantile outside `0..=1` or named before; an error outside `0..1`, or of 0 for a quantile other
    /// than 0 and 1; errors so small that the sketch would outgrow its bound.
    pub const fn try_with(mut self, phi: f64, eps: f64) -> Result<Self, TargetError> {
        if self.len == MAX_TARGETS {
            return Err(TargetError(Kind::TooMany(phi)));
        }
        if phi.is_nan() || phi < 0.0 || phi > 1.0 {
            return Err(TargetError(Kind::Quantile(phi)));
        }
        if eps.is_nan() || eps < 0.0 || eps >= 1.0 || (eps == 0.0 && is_inner(phi)) {
            return Err(TargetError(Kind::Error(phi, eps)));
        }
        let mut i = 0;
        while i < self.len {
            if self.pairs[i].0 == phi {
                return Err(TargetError(Kind::Twice(phi)));
            }
            i += 1;
        }
        self.pairs[self.len] = (phi, eps);
        self.len += 1;
        if self.tuples() > PLANNED_TUPLES {
            return Err(TargetError(Kind::TooFine(self.tuples())));
        }
        Ok(self)
    }

    /// The pairs, as given.
    #[must_use]
    pub fn as_slice(&self) -> &[(f64, f64)] {
        &self.pairs[..self.len]
    }

    /// Without a target there is nothing to sketch.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The targets that shape a sketch: all but the quantiles 0 and 1.
    pub(super) fn inner(&self) -> impl Iterator<Item = (f64, f64)> {
        self.as_slice()
            .iter()
            .copied()
            .filter(|&(phi, _)| is_inner(phi))
    }

    /// Tuples of a well packed sketch, from above: half the integral of `1 / h` over each target's own line, which is
    /// about `3 * tail / eps` where a sloping line is best and `1 / 2 eps` where a flat one is, and over the cap.
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

/// Why targets were refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetError(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    TooMany(f64),
    Quantile(f64),
    Error(f64, f64),
    Twice(f64),
    TooFine(f64),
}

impl TargetError {
    /// What was broken, without the value: a const panic cannot print a float.
    pub(crate) const fn rule(&self) -> &'static str {
        match self.0 {
            Kind::TooMany(_) => "a summary takes at most 7 objectives",
            Kind::Quantile(_) => "an objective's quantile lies in 0..=1",
            Kind::Error(..) => "an objective's error lies above 0 and below 1",
            Kind::Twice(_) => "an objective's quantile is named once",
            Kind::TooFine(_) => "the objectives' errors are too small for a sketch of 2048 tuples",
        }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule();
        match self.0 {
            Kind::TooMany(phi) | Kind::Quantile(phi) | Kind::Twice(phi) => {
                write!(f, "{rule}: {phi:?}")
            }
            Kind::Error(phi, eps) => write!(f, "{rule}: {eps:?} for {phi:?}"),
            Kind::TooFine(tuples) => {
                write!(f, "{rule}: well packed, it would have {tuples:.0}")
            }
        }
    }
}

impl std::error::Error for TargetError {}
