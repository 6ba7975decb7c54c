//! Statistics of a comparison: the mean of units that are independent, looked at any time.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

/// The variance of the mixture, in units of the standard deviation of one value. With 1 the
/// interval is finite from five values on. It is 3 % wider at 30 values than with the mixture that
/// is best for 30, 11 % at 200, and 28 % at 10⁴ (computed).
const MIXTURE: f64 = 1.0;

/// Resamples of [`bootstrap`].
const RESAMPLES: usize = 10_000;

/// The fewest restarts of a verdict, and the fewest values that [`bootstrap`] accepts. If a program
/// has two layouts, five restarts would all land in the same one with a probability of 6 %.
pub(super) const FEW: usize = 10;

/// [`batches`] returns fewer values than these, and at least half as many if there were as many.
pub(super) const BATCHES: usize = 32;

/// An interval of relative differences or of values, with both ends.
///
/// ```
/// let interval = tallies_bench::compare::Interval::new(-0.01, 0.02);
/// assert!(interval.contains(0.0));
/// assert!(interval.is_within(0.02));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Creates an interval.
    ///
    /// ```
    /// assert_eq!(tallies_bench::compare::Interval::new(1.0, 2.0).high, 2.0);
    /// ```
    #[must_use]
    pub const fn new(low: f64, high: f64) -> Self {
        Self { low, high }
    }

    /// Returns whether the interval contains a value.
    ///
    /// ```
    /// assert!(tallies_bench::compare::Interval::new(1.0, 2.0).contains(1.5));
    /// ```
    #[must_use]
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Returns whether all values of the interval are at most `distance` from zero.
    ///
    /// ```
    /// assert!(!tallies_bench::compare::Interval::new(-0.03, 0.0).is_within(0.02));
    /// ```
    #[must_use]
    pub fn is_within(self, distance: f64) -> bool {
        -distance <= self.low && self.high <= distance
    }

    pub(super) fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self::new(change(self.low), change(self.high))
    }
}

/// A mean with a confidence sequence: its interval holds at all looks together, so a measurement
/// may stop at any of them, also because of what the interval shows.
///
/// For independent values of a normal distribution with unknown mean and variance, the probability
/// that *any* of the intervals misses the mean is at most `error`. For other distributions this
/// holds approximately, as for every t-statistic, the better the more values there are.
///
/// The bound inverts the Bayes factor of a normal effect of variance 1 (in standard deviations)
/// under the right Haar prior of the scale, which is a test martingale under every scale
/// (Hendriksen, de Heide and Grünwald 2021; Wang and Ramdas 2025). For many values it becomes the
/// asymptotic sequence of Waudby-Smith and others (2024), which itself is too narrow for the few
/// restarts that a comparison has.
///
/// ```
/// use tallies_bench::compare::Sequence;
///
/// let mut sequence = Sequence::new();
/// for value in [1.0, 1.1, 0.9, 1.05, 0.95, 1.0] {
///     sequence.push(value);
/// }
/// let interval = sequence.interval(0.05).unwrap();
/// assert!(interval.contains(1.0) && !interval.contains(0.0));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequence {
    count: u64,
    mean: f64,
    /// The sum of squared distances from the mean.
    squares: f64,
}

impl Sequence {
    /// Creates an empty sequence.
    ///
    /// ```
    /// assert_eq!(tallies_bench::compare::Sequence::new().count(), 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value, in constant time. A value that is not finite is ignored.
    ///
    /// ```
    /// let mut sequence = tallies_bench::compare::Sequence::new();
    /// sequence.push(f64::NAN);
    /// assert_eq!(sequence.count(), 0);
    /// ```
    pub fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
    }

    /// Returns the number of values.
    ///
    /// ```
    /// let mut sequence = tallies_bench::compare::Sequence::new();
    /// sequence.push(2.0);
    /// assert_eq!(sequence.count(), 1);
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the mean of the values, 0 if there are none.
    ///
    /// ```
    /// let mut sequence = tallies_bench::compare::Sequence::new();
    /// sequence.push(2.0);
    /// sequence.push(4.0);
    /// assert_eq!(sequence.mean(), 3.0);
    /// ```
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Returns an interval of the mean that holds at all looks together, except with probability
    /// `error`. Returns `None` while there are too few values for a finite interval: fewer than
    /// five with `error` 0.05, and always for an `error` outside of 0 to 1.
    ///
    /// ```
    /// let sequence = tallies_bench::compare::Sequence::new();
    /// assert!(sequence.interval(0.05).is_none());
    /// ```
    #[must_use]
    pub fn interval(&self, error: f64) -> Option<Interval> {
        let radius = critical(self.count, error)? * self.deviation() / (self.count as f64).sqrt();
        Some(Interval::new(self.mean - radius, self.mean + radius))
    }

    /// The standard deviation of one value.
    pub(super) fn deviation(&self) -> f64 {
        (self.squares / (self.count as f64 - 1.0)).sqrt()
    }
}

impl FromIterator<f64> for Sequence {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sequence = Self::new();
        values.into_iter().for_each(|value| sequence.push(value));
        sequence
    }
}

/// The t-statistic at which the Bayes factor of `count` values is `1 / error`.
///
/// The factor is `(1 + n·g)^(-1/2) · ((1 + T²/ν) / (1 + T²/(ν·(1 + n·g))))^(n/2)` with `ν = n − 1`.
fn critical(count: u64, error: f64) -> Option<f64> {
    if count < 2 || !(error > 0.0 && error < 1.0) {
        return None;
    }
    let n = count as f64;
    let spread = 1.0 + n * MIXTURE;
    // ln κ, where κ is the factor's base at the bound; `exp_m1`, since κ approaches 1.
    let exponent = (spread.sqrt() / error).ln() * 2.0 / n;
    let rest = 1.0 - exponent.exp() / spread;
    (rest > 0.0).then(|| ((n - 1.0) * exponent.exp_m1() / rest).sqrt())
}

/// The mean of the values between the quartiles: a batch that another process interrupts does not
/// move it, and it needs about a quarter fewer rounds than the median. 0 without values.
pub(super) fn midmean(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let outside = values.len() / 4;
    let inside = &values[outside..values.len() - outside];
    inside.iter().sum::<f64>() / inside.len().max(1) as f64
}

/// The mean of the fastest quarter: the time of batches that nothing disturbed. Disturbances only
/// add time, and on a shared core they add most of it for a part of the batches, so that the others
/// are all alike. 0 without values.
pub(super) fn undisturbed(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let fastest = &values[..values.len().div_ceil(4)];
    fastest.iter().sum::<f64>() / fastest.len().max(1) as f64
}

/// A studentized bootstrap interval of the mean, for a single look. `None` for fewer than [`FEW`]
/// values.
///
/// The values are whole restarts. Resampling the rounds of a restart as well would count their
/// noise twice, as their own and as that of the restart: the interval of 20 restarts with 40 rounds
/// each becomes 37 % too wide if restarts do not differ (simulated).
pub(super) fn bootstrap(values: &[f64], error: f64, seed: u64) -> Option<Interval> {
    let all: Sequence = values.iter().copied().collect();
    let n = values.len();
    if n < FEW || all.squares <= 0.0 {
        return None;
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut statistics: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let resample = (0..n).map(|_| values[rng.random_range(0..n)]);
            let resample: Sequence = resample.collect();
            (resample.mean - all.mean) / resample.deviation()
        })
        // All values of a resample are the same one: never seen, but possible.
        .filter(|statistic| statistic.is_finite())
        .collect();
    statistics.sort_unstable_by(f64::total_cmp);
    let at = |rank: f64| statistics[(rank * (statistics.len() - 1) as f64).round() as usize];
    Some(Interval::new(
        all.mean - at(1.0 - error / 2.0) * all.deviation(),
        all.mean - at(error / 2.0) * all.deviation(),
    ))
}

/// Joins neighbours in pairs until fewer than [`BATCHES`] values are left.
///
/// The batches grow with the measurement, so they become independent for every process that
/// forgets, and no test of correlation decides. The price is small: an interval from 16 to 31
/// values is hardly wider than one from hundreds.
pub(super) fn batches(mut values: Vec<f64>) -> Vec<f64> {
    while values.len() >= BATCHES {
        values = values
            .chunks_exact(2)
            .map(|pair| f64::midpoint(pair[0], pair[1]))
            .collect();
    }
    values
}

/// Joins neighbouring rounds in blocks that double, so that fewer than [`BATCHES`] are left, each
/// with its [`midmean`].
pub(super) fn blocks(rounds: &[f64]) -> Vec<f64> {
    let length = (rounds.len() / BATCHES + 1).next_power_of_two();
    let blocks = rounds.chunks_exact(length);
    blocks.map(|block| midmean(&mut block.to_vec())).collect()
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
