//! How many independent samples correlated ones are worth, by the means of growing batches.
//!
//! If slow answers come together, ten of them tell less about the service than ten slow answers at
//! different times. The number of values at or below a quantile then varies more from batch to
//! batch than it would if they were independent; the factor by which its variance is larger is the
//! number of samples that are worth one.
//!
//! There are always 32 to 63 batches. When there would be 64, pairs are joined, so the batches grow
//! with the measurement and become longer than the correlation lasts. The factor is the largest
//! that batches of this length, and joined ones of up to eight times the length, show, because
//! short batches see only a part of a long correlation. It counts only if it is larger than chance
//! makes it with independent samples, and it is then enlarged by its own error.
//!
//! Sources: batch means, Law and Kelton, *Simulation Modeling and Analysis*, chapter 9; the
//! variance of a quantile by that of the indicator, as in Heidelberger and Lewis, *Quantile
//! estimation in dependent sequences*, Operations Research 32(1), 1984.

use crate::Error;
use crate::recorder::Distribution;

/// The number of batches at which pairs are joined.
const MOST: usize = 64;
/// The fewest batches from which a variance is computed.
const FEWEST: usize = 6;
/// How many standard deviations a factor has to be above 1 to count.
const DETECTED: f64 = 3.0;
/// By how many standard deviations a factor that counts is enlarged.
const ENLARGED: f64 = 2.0;

/// The parts of a measurement in the order of time, joined to a few dozen batches.
///
/// The module has an [example](super).
#[derive(Clone, Debug)]
pub struct Batches {
    /// The batches that are complete, each of `size` parts.
    complete: Vec<Distribution>,
    size: usize,
    /// The batch that is being filled, and the number of its parts.
    open: (Distribution, usize),
    total: Distribution,
}

impl Default for Batches {
    /// Returns batches without parts.
    fn default() -> Self {
        Self {
            complete: Vec::with_capacity(MOST),
            size: 1,
            open: (Distribution::default(), 0),
            total: Distribution::default(),
        }
    }
}

impl Batches {
    /// Adds the next part of the measurement: an interval, ideally as long as the others. Costs as
    /// much as merging it twice.
    ///
    /// # Errors
    ///
    /// The errors of [`Distribution::merge`].
    pub fn push(&mut self, part: &Distribution) -> Result<(), Error> {
        self.total.merge(part)?;
        self.open.0.merge(part)?;
        self.open.1 += 1;
        if self.open.1 == self.size {
            let (batch, _) = std::mem::take(&mut self.open);
            self.complete.push(batch);
        }
        if self.complete.len() == MOST {
            let pairs = self.complete.chunks(2);
            let joined = pairs.map(|pair| {
                let mut both = pair[0].clone();
                both.merge(&pair[1]).map(|()| both)
            });
            self.complete = joined.collect::<Result<_, _>>()?;
            self.size *= 2;
        }
        Ok(())
    }

    /// Returns all parts together.
    #[must_use]
    pub fn total(&self) -> &Distribution {
        &self.total
    }

    /// Returns the number of independent values that tell as much about the quantile `phi` as the
    /// recorded ones: their number if they show no correlation, and less if they do.
    ///
    /// With fewer than six batches nothing is known about the correlation, and the result is the
    /// number of batches.
    #[must_use]
    pub fn effective_count(&self, phi: f64) -> f64 {
        let count = self.total.count() as f64;
        let batches = self.complete.len();
        if batches < FEWEST {
            return (batches as f64).clamp(1.0, count.max(1.0));
        }
        let Some(bucket) = self.total.quantile(phi) else {
            return 1.0;
        };
        // A bucket can hold many values: the indicator of either of its bounds may vary most.
        let bounds = [bucket.upper, bucket.lower.next_up()];
        let factor = bounds.map(|bound| self.factor(bound));
        (count / factor[0].max(factor[1])).max(1.0)
    }

    /// The factor by which the variance of the number of values up to `bound` is larger than that
    /// of independent values.
    fn factor(&self, bound: f64) -> f64 {
        let counts = |batch: &Distribution| (batch.count() as f64, batch.count_up_to(bound) as f64);
        let batches: Vec<(f64, f64)> = self.complete.iter().map(counts).collect();
        let mut factor = 1_f64;
        let add = |a: (f64, f64), b: &(f64, f64)| (a.0 + b.0, a.1 + b.1);
        for joined in [1, 2, 4, 8] {
            let sums = batches.chunks_exact(joined);
            let batches: Vec<_> = sums.map(|some| some.iter().fold((0.0, 0.0), add)).collect();
            if batches.len() >= FEWEST {
                factor = factor.max(factor_of(&batches));
            }
        }
        factor
    }
}

/// The factor that pairs of a count, and of how many of these are up to a bound, show.
fn factor_of(batches: &[(f64, f64)]) -> f64 {
    let n = batches.len() as f64;
    let all: f64 = batches.iter().map(|(count, _)| count).sum();
    let part = batches.iter().map(|(_, below)| below).sum::<f64>() / all;
    let expected = all * part * (1.0 - part);
    if expected.is_nan() || expected <= 0.0 {
        return 1.0;
    }
    let squares = batches
        .iter()
        .map(|(count, below)| (below - part * count).powi(2));
    let seen = squares.sum::<f64>() * n / (n - 1.0) / expected;
    // The standard deviation of `seen` without correlation.
    let error = (2.0 / (n - 1.0)).sqrt();
    if seen <= 1.0 + DETECTED * error {
        return 1.0;
    }
    seen * (1.0 + ENLARGED * error)
}

/// Returns Spearman's correlation of each value with the next one: 0 for independent values, 1 or
/// -1 if each value decides the next. Returns `None` for fewer than three values, and if all are
/// equal.
///
/// ```
/// use tallies_bench::stats::lag1;
///
/// assert_eq!(lag1(&[1.0, 2.0, 3.0, 4.0]), Some(1.0));
/// assert_eq!(lag1(&[1.0, 4.0, 2.0, 3.0]), Some(-1.0));
/// assert_eq!(lag1(&[1.0, 1.0, 1.0]), None);
/// ```
#[must_use]
pub fn lag1(values: &[f64]) -> Option<f64> {
    if values.len() < 3 {
        return None;
    }
    let (now, next) = (ranks(&values[..values.len() - 1]), ranks(&values[1..]));
    let mean = (now.len() as f64 + 1.0) / 2.0;
    let product = |one: &[f64], two: &[f64]| -> f64 {
        one.iter()
            .zip(two)
            .map(|(a, b)| (a - mean) * (b - mean))
            .sum()
    };
    let squares = product(&now, &now) * product(&next, &next);
    (squares > 0.0).then(|| product(&now, &next) / squares.sqrt())
}

/// The rank of each value. Equal values share the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    for run in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = from as f64 + (run.len() as f64 + 1.0) / 2.0;
        run.iter().for_each(|at| ranks[*at] = rank);
        from += run.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution as _, Exp1, StandardNormal};

    use super::*;
    use crate::stats::quantile;

    /// The values up to a look, and how far apart looks are.
    const PART: usize = 250;
    const ALPHA: f64 = 0.05;
    const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

    /// A process whose quantiles are known.
    #[derive(Clone, Copy, Debug)]
    enum Process {
        Exponential,
        Lognormal,
        Bimodal,
        /// The lognormal distribution, of an autoregressive process.
        Ar(f64),
    }

    impl Process {
        fn values(self, random: &mut StdRng, n: usize) -> Vec<f64> {
            let mut state: f64 = random.sample(StandardNormal);
            (0..n)
                .map(|_| match self {
                    Self::Exponential => {
                        let x: f64 = Exp1.sample(random);
                        x + 1e-9
                    }
                    Self::Lognormal => random.sample::<f64, _>(StandardNormal).exp(),
                    Self::Bimodal => {
                        let mode = if random.random::<f64>() < 0.8 {
                            1.0
                        } else {
                            10.0
                        };
                        mode + random.random::<f64>()
                    }
                    Self::Ar(rho) => {
                        let noise: f64 = random.sample(StandardNormal);
                        state = rho * state + (1.0 - rho * rho).sqrt() * noise;
                        state.exp()
                    }
                })
                .collect()
        }

        fn quantile(self, phi: f64) -> f64 {
            match self {
                Self::Exponential => -(1.0 - phi).ln(),
                Self::Lognormal | Self::Ar(_) => match phi {
                    0.5 => 1.0,
                    0.9 => 1.281_551_565_544_600_4_f64.exp(),
                    _ => 2.326_347_874_040_841_f64.exp(),
                },
                Self::Bimodal => match phi < 0.8 {
                    true => 1.0 + phi / 0.8,
                    false => 10.0 + (phi - 0.8) / 0.2,
                },
            }
        }
    }

    /// The share of runs in which an interval of some quantile misses at some look; and the mean
    /// of the factor at the last look.
    fn misses(process: Process, runs: u64, n: usize) -> (f64, [f64; 3]) {
        let mut missed = 0;
        let mut factors = [0.0; 3];
        for run in 0..runs {
            let mut random = StdRng::seed_from_u64(run);
            let values = process.values(&mut random, n);
            let mut batches = Batches::default();
            let mut has_missed = false;
            for part in values.chunks(PART / 10) {
                batches.push(&Distribution::of_values(part)).unwrap();
                if batches.total().count() % PART as u64 != 0 {
                    continue;
                }
                for phi in QUANTILES {
                    let effective = batches.effective_count(phi);
                    let interval = quantile(batches.total(), effective, phi, ALPHA).unwrap();
                    let truth = process.quantile(phi);
                    has_missed |= truth < interval.lower || interval.upper < truth;
                }
            }
            missed += u32::from(has_missed);
            for (factor, phi) in factors.iter_mut().zip(QUANTILES) {
                *factor += n as f64 / batches.effective_count(phi) / runs as f64;
            }
        }
        (f64::from(missed) / runs as f64, factors)
    }

    const PROCESSES: [Process; 5] = [
        Process::Exponential,
        Process::Lognormal,
        Process::Bimodal,
        Process::Ar(0.5),
        Process::Ar(0.9),
    ];

    #[test]
    fn intervals_miss_the_quantile_at_any_look_in_few_runs() {
        for process in PROCESSES {
            let (missed, _) = misses(process, 20, 1500);
            assert!(missed <= ALPHA, "{process:?}: {missed}");
        }
    }

    /// Runs minutes for each process.
    fn two_thousand_runs(process: Process) {
        let (missed, factors) = misses(process, 2000, 10_000);
        println!("{process:?}: missed in {missed:.4} of the runs, factors {factors:.2?}");
        assert!(missed <= ALPHA, "{process:?}: {missed}");
    }

    macro_rules! two_thousand_runs {
        ($($test:ident: $process:expr;)*) => {$(
            #[test]
            #[ignore = "takes minutes: run it with --release and --nocapture"]
            fn $test() {
                two_thousand_runs($process);
            }
        )*};
    }

    two_thousand_runs! {
        exponential_quantiles_are_covered_at_any_look: Process::Exponential;
        lognormal_quantiles_are_covered_at_any_look: Process::Lognormal;
        bimodal_quantiles_are_covered_at_any_look: Process::Bimodal;
        weakly_correlated_quantiles_are_covered_at_any_look: Process::Ar(0.5);
        correlated_quantiles_are_covered_at_any_look: Process::Ar(0.9);
    }

    #[test]
    fn correlated_values_are_worth_fewer() {
        let of = |process: Process| misses(process, 3, 8000).1;
        // Independent values show a correlation by chance in some of the runs only.
        assert!(of(Process::Lognormal).iter().all(|factor| *factor < 1.5));
        // For the median the factor is 1 + 2 Σ 2/π asin(0.9^k), 12.4.
        let correlated = of(Process::Ar(0.9));
        assert!((8.0..60.0).contains(&correlated[0]), "{correlated:?}");
    }

    /// Eight parts are slow, and the next eight are fast: short batches see that only in part.
    #[test]
    fn a_correlation_that_is_longer_than_a_batch_is_seen_as_a_whole() {
        let mut batches = Batches::default();
        for part in 0..48 {
            let value = if part / 8 % 2 == 0 { 1.0 } else { 2.0 };
            batches
                .push(&Distribution::of_values(&[value; 100]))
                .unwrap();
        }
        // There are six independent stretches, in 4 800 values and 48 batches.
        let effective = batches.effective_count(0.5);
        // Batches of four, of which there are twelve, would say three.
        assert!((1.0..2.5).contains(&effective), "{effective}");
    }

    /// All values up to the upper bound of the bucket are as many in each part.
    #[test]
    fn a_correlation_that_only_the_lower_edge_of_a_bucket_shows_is_seen() {
        let mut batches = Batches::default();
        for part in 0..32 {
            let mut values = [2.0; 100];
            values[..if part % 2 == 0 { 40 } else { 0 }].fill(1.0);
            batches.push(&Distribution::of_values(&values)).unwrap();
        }
        let effective = batches.effective_count(0.5);
        assert!((1.0..200.0).contains(&effective), "{effective}");
    }

    #[test]
    fn a_factor_is_enlarged_by_its_error_and_counts_only_above_chance() {
        // Half of 100 are below in each of eight batches, but for `off`.
        let factor = |off: f64| {
            let below = (0..8).map(|i| (100.0, 50.0 + if i % 2 == 0 { off } else { -off }));
            factor_of(&below.collect::<Vec<_>>())
        };
        assert_eq!(factor(0.0), 1.0);
        // The variance is off² · 8 / 7, and that of independent values 25.
        let error = (2.0_f64 / 7.0).sqrt();
        assert_eq!(factor(7.5), 1.0);
        let seen = 10.0_f64.powi(2) * 8.0 / 7.0 / 25.0;
        assert!((factor(10.0) - seen * (1.0 + 2.0 * error)).abs() < 1e-9);
        assert_eq!(factor_of(&[(10.0, 10.0), (10.0, 10.0)]), 1.0);
    }

    #[test]
    fn batches_are_joined_and_lose_nothing() {
        let mut batches = Batches::default();
        for i in 1..=1000_u32 {
            let part = Distribution::of_values(&[f64::from(i)]);
            batches.push(&part).unwrap();
            let complete: u64 = batches.complete.iter().map(Distribution::count).sum();
            assert_eq!(complete + batches.open.0.count(), u64::from(i));
            assert!(batches.complete.len() < MOST);
            assert!(i < 64 || batches.complete.len() >= MOST / 2);
            let size = batches.size as u64;
            assert!(batches.complete.iter().all(|batch| batch.count() == size));
        }
        assert_eq!(batches.total().count(), 1000);
    }

    #[test]
    fn values_that_are_all_equal_or_few_have_an_effective_count() {
        let mut batches = Batches::default();
        assert_eq!(batches.effective_count(0.5), 1.0);
        for i in 1..=40 {
            batches.push(&Distribution::of_values(&[2.0; 10])).unwrap();
            let expected = if i < FEWEST { i } else { 10 * i };
            assert_eq!(batches.effective_count(0.9), expected as f64);
        }
    }

    #[test]
    fn the_lag_of_an_autoregressive_process_is_found() {
        let mut random = StdRng::seed_from_u64(3);
        for (rho, expected) in [(0.0, 0.0), (0.5, 0.483), (0.9, 0.891)] {
            // Spearman's correlation of normal values is 6/π asin(ρ/2).
            let found = lag1(&Process::Ar(rho).values(&mut random, 20_000)).unwrap();
            assert!((found - expected).abs() < 0.03, "{rho}: {found}");
        }
        assert_eq!(lag1(&[1.0, 2.0]), None);
    }
}
