//! The values of a gauge's series, each with the time of its last set, and the one rule by which
//! the values of two processes, registries or series become one.

use super::GaugeMode;

/// The value of a gauge, and when it was set last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(
    unreachable_pub,
    reason = "the total of a gauge's cells, which are in a private module"
)]
pub struct LastSet {
    /// The value; that at the start if nobody set it.
    pub(crate) value: f64,
    /// Nanoseconds since the Unix epoch, or [`NEVER`](Self::NEVER), or [`UNTIMED`](Self::UNTIMED).
    pub(crate) at: u64,
}

impl LastSet {
    /// The time of a gauge that nobody set.
    pub(crate) const NEVER: u64 = 0;
    /// The time of a gauge that was set, if only recent modes record when.
    pub(crate) const UNTIMED: u64 = 1;

    /// Returns a value that was set at a time that is not recorded.
    pub(crate) fn untimed(value: f64) -> Self {
        Self {
            value,
            at: Self::UNTIMED,
        }
    }
}

impl GaugeMode {
    /// Combines two values. One that nobody set takes no part. If both were set at the same time,
    /// the recent modes show `theirs`.
    pub(crate) fn combine(self, ours: LastSet, theirs: LastSet) -> LastSet {
        let value = match (self, ours.at, theirs.at) {
            // Adding the start value of a gauge that nobody set changes nothing.
            (Self::LiveSum | Self::LiveAll | Self::Sum, ..) => ours.value + theirs.value,
            (_, _, LastSet::NEVER) if ours.at != LastSet::NEVER => ours.value,
            (_, LastSet::NEVER, _) if theirs.at != LastSet::NEVER => theirs.value,
            (Self::LiveMin | Self::Min, ..) => ours.value.min(theirs.value),
            (Self::LiveMax | Self::Max, ..) => ours.value.max(theirs.value),
            (Self::LiveRecent | Self::Recent, ..) if theirs.at >= ours.at => theirs.value,
            (Self::LiveRecent | Self::Recent, ..) => ours.value,
        };
        LastSet {
            value,
            at: ours.at.max(theirs.at),
        }
    }
}

/// The values of a gauge's series, in the order of the series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gauges {
    pub(crate) values: Vec<f64>,
    /// [`LastSet::at`] of each value.
    pub(crate) at: Vec<u64>,
}

impl Gauges {
    pub(crate) fn get(&self, i: usize) -> LastSet {
        LastSet {
            value: self.values[i],
            at: self.at[i],
        }
    }

    pub(crate) fn set(&mut self, i: usize, LastSet { value, at }: LastSet) {
        (self.values[i], self.at[i]) = (value, at);
    }

    #[inline]
    pub(crate) fn push(&mut self, LastSet { value, at }: LastSet) {
        self.values.push(value);
        self.at.push(at);
    }
}
