//! The verdicts that the intervals of a comparison allow.

use std::fmt;

use serde::Serialize;

use super::stats::Interval;

/// The outcome of a comparison.
///
/// ```
/// use tallies_bench::compare::Verdict;
///
/// assert_eq!(Verdict::Undecided.to_string(), "undecided");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// The whole interval lies below zero: the new candidate takes less time.
    Faster,
    /// The whole interval lies above zero: the new candidate takes more time.
    Slower,
    /// The whole interval lies within what counts as the same.
    Same,
    /// The interval allows more than one of the other verdicts.
    Undecided,
    /// The control moved, or its interval is wider than the effect: the machine may have done it.
    Unproven,
}

impl Verdict {
    /// Decides from the interval of the effect and that of the control, both relative.
    pub(super) fn of(effect: Interval, control: Interval, same_within: f64) -> Self {
        let verdict = if effect.is_within(same_within) {
            Self::Same
        } else if effect.high < 0.0 {
            Self::Faster
        } else if effect.low > 0.0 {
            Self::Slower
        } else {
            return Self::Undecided;
        };
        let middle = f64::midpoint(effect.low, effect.high).abs();
        if control.contains(0.0) && control.is_within(middle.max(2.0 * same_within)) {
            verdict
        } else {
            Self::Unproven
        }
    }

    /// Returns whether more rounds could not change the verdict for a better one.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Faster | Self::Slower | Self::Same)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Interval = Interval::new(-0.004, 0.003);

    fn verdict(low: f64, high: f64, control: Interval) -> Verdict {
        Verdict::of(Interval::new(low, high), control, 0.005)
    }

    #[test]
    fn the_interval_decides_between_four_verdicts() {
        assert_eq!(verdict(0.006, 0.02, CALM), Verdict::Slower);
        assert_eq!(verdict(-0.02, -0.001, CALM), Verdict::Faster);
        assert_eq!(verdict(-0.004, 0.005, CALM), Verdict::Same);
        assert_eq!(verdict(0.001, 0.002, CALM), Verdict::Same);
        assert_eq!(verdict(-0.001, 0.02, CALM), Verdict::Undecided);
    }

    #[test]
    fn a_control_that_moves_makes_every_finding_unproven() {
        let moved = Interval::new(0.001, 0.004);
        assert_eq!(verdict(0.006, 0.02, moved), Verdict::Unproven);
        assert_eq!(verdict(-0.001, 0.001, moved), Verdict::Unproven);
        assert_eq!(verdict(-0.1, 0.1, moved), Verdict::Undecided);
    }

    #[test]
    fn a_control_that_is_wider_than_the_effect_proves_nothing() {
        let wide = Interval::new(-0.03, 0.03);
        assert_eq!(verdict(0.006, 0.02, wide), Verdict::Unproven);
        assert_eq!(verdict(0.3, 0.4, wide), Verdict::Slower);
    }
}
