//! Rounds of batches in random order, and when enough of them were run.

use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use super::report::{Candidate, Report};
use super::{Compare, stats};
use crate::Error;
use crate::machine::Machine;

/// Batches have at most so many iterations: work of which so many take no time is not there.
const MOST_ITERATIONS: u64 = 1 << 40;

/// The time of batches before the rounds of a restart.
const WARM_UP: Duration = Duration::from_millis(20);

/// One of the three things that run in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Old,
    New,
    /// The control.
    Copy,
}

pub(super) const LANES: [Lane; 3] = [Lane::Old, Lane::New, Lane::Copy];

/// The time of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) nanos: u64,
    pub(super) instructions: Option<u64>,
}

/// Runs batches of the three lanes.
pub(super) trait Lanes {
    fn run(&mut self, lane: Lane, iterations: u64) -> Result<Batch, Error>;
}

/// A restart, or a block of rounds of one process. Times are per iteration.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// The logarithm of the time of new over that of old.
    pub(super) effect: f64,
    /// The logarithm of the time of the copy over that of old.
    pub(super) control: f64,
    /// Old and new.
    pub(super) nanos: [f64; 2],
    /// Old and new.
    pub(super) instructions: Option<[f64; 2]>,
    pub(super) rounds: u64,
}

impl Unit {
    /// Runs rounds for this time, and at least one.
    pub(super) fn run(
        lanes: &mut impl Lanes,
        iterations: u64,
        time: Duration,
        rng: &mut StdRng,
    ) -> Result<Self, Error> {
        let start = Instant::now();
        let mut rounds = vec![round(lanes, iterations, rng)?];
        while start.elapsed() < time {
            rounds.push(round(lanes, iterations, rng)?);
        }
        Ok(Self::of(&rounds, iterations))
    }

    /// Joins rounds of batches with so many iterations.
    fn of(rounds: &[[Batch; 3]], iterations: u64) -> Self {
        let time = |lane: Lane| {
            let nanos = rounds.iter().map(|round| round[lane as usize].nanos as f64);
            stats::undisturbed(&mut nanos.collect::<Vec<_>>()) / iterations as f64
        };
        let [old, new, copy] = LANES.map(time);
        // Not over the mean of both copies: two lanes are interrupted more often than one, and a
        // location that ignores outliers would then be too low.
        let over_old = |nanos: f64| (nanos / old).ln();
        let is_counted = |batch: &Batch| batch.instructions.is_some();
        let is_counted = rounds.iter().flatten().all(is_counted);
        let instructions = |lane: Lane| {
            let counts = rounds.iter().map(|round| round[lane as usize].instructions);
            let mut counts: Vec<_> = counts.map(|n| n.unwrap_or_default() as f64).collect();
            stats::midmean(&mut counts) / iterations as f64
        };
        Self {
            effect: over_old(new),
            control: over_old(copy),
            nanos: [old, new],
            instructions: is_counted.then(|| [Lane::Old, Lane::New].map(instructions)),
            rounds: rounds.len() as u64,
        }
    }
}

/// Runs one batch of every lane, in random order.
fn round(lanes: &mut impl Lanes, iterations: u64, rng: &mut StdRng) -> Result<[Batch; 3], Error> {
    let mut order = LANES;
    order.shuffle(rng);
    let mut round = [Batch::default(); 3];
    for lane in order {
        round[lane as usize] = lanes.run(lane, iterations)?;
    }
    Ok(round)
}

/// Returns how many iterations of the slower candidate take about as long as a batch, and at least
/// 1.
pub(super) fn calibrate(lanes: &mut impl Lanes, batch: Duration) -> Result<u64, Error> {
    iterations(batch, |iterations| {
        let old = lanes.run(Lane::Old, iterations)?.nanos;
        Ok(old.max(lanes.run(Lane::New, iterations)?.nanos))
    })
}

/// Returns how many iterations take about as long as a batch, and at least 1. `run` returns how
/// many nanoseconds so many iterations take. Trusts the shorter of two: another process may have
/// interrupted one.
pub(super) fn iterations(
    batch: Duration,
    mut run: impl FnMut(u64) -> Result<u64, Error>,
) -> Result<u64, Error> {
    let wanted = batch.as_nanos() as u64;
    let mut iterations = 1;
    loop {
        let nanos = run(iterations)?.min(run(iterations)?);
        if nanos >= wanted / 2 {
            let exact = u128::from(iterations) * u128::from(wanted) / u128::from(nanos.max(1));
            return Ok(exact.clamp(1, u128::from(MOST_ITERATIONS)) as u64);
        }
        if iterations >= MOST_ITERATIONS {
            return Err(Error::target(format!(
                "{iterations} iterations took {nanos} ns: the compiler removed the work; return \
                 its result from the closure"
            )));
        }
        iterations *= 2;
    }
}

/// Runs batches whose times nobody keeps, at least one of each lane.
pub(super) fn warm_up(lanes: &mut impl Lanes, iterations: u64) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        for lane in LANES {
            lanes.run(lane, iterations)?;
        }
        if start.elapsed() >= WARM_UP {
            return Ok(());
        }
    }
}

/// A measurement of one bench in progress.
pub(super) struct Measurement<'a> {
    pub(super) compare: &'a Compare,
    pub(super) name: &'a str,
    /// The units are restarts.
    pub(super) restarts: bool,
    /// Old and new.
    pub(super) candidates: [Candidate; 2],
    /// The measurement does not end before so many units, not even when time is up.
    least: usize,
    pub(super) machine: Machine,
    pub(super) start: Instant,
    pub(super) seed: u64,
    pub(super) units: Vec<Unit>,
    pub(super) rng: StdRng,
}

impl<'a> Measurement<'a> {
    pub(super) fn new(
        compare: &'a Compare,
        name: &'a str,
        restarts: bool,
        candidates: [Candidate; 2],
    ) -> Self {
        let seed = compare.seed.unwrap_or_else(random_seed);
        Self {
            compare,
            name,
            restarts,
            candidates,
            least: if restarts { stats::FEW } else { stats::BATCHES },
            machine: Machine::now(),
            start: Instant::now(),
            seed,
            units: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Adds a unit, and returns the report if it was the last one.
    pub(super) fn push(&mut self, unit: Unit, iterations: u64) -> Option<Report> {
        self.units.push(unit);
        let late = self.start.elapsed() >= self.compare.time;
        // Closures have no restarts to wait for: their time is up when it is up.
        if self.units.len() < self.least && (self.restarts || !late) {
            return None;
        }
        let report = Report::new(self, iterations);
        let done = late || report.is_final(self.compare.fail_above);
        done.then(|| report.complete(self))
    }

    /// Returns a value of each restart, or of batches of the blocks of one process, which are less
    /// correlated.
    pub(super) fn values(&self, value: fn(&Unit) -> f64) -> Vec<f64> {
        let values = self.units.iter().map(value).collect();
        match self.restarts {
            true => values,
            false => stats::batches(values),
        }
    }
}

/// A seed that differs in each process and call.
pub(super) fn random_seed() -> u64 {
    use std::hash::BuildHasher as _;
    std::hash::RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;
    use rand_distr::{Distribution as _, Normal};

    use super::*;

    /// Lanes that all take 1 ms, within a percent. One batch in ten is interrupted, and takes a
    /// fifth longer.
    struct Interrupted(StdRng);

    impl Lanes for Interrupted {
        fn run(&mut self, _: Lane, _: u64) -> Result<Batch, Error> {
            let noise = Normal::new(1.0, 0.01).unwrap().sample(&mut self.0);
            let longer = if self.0.random_bool(0.1) { 1.2 } else { 1.0 };
            Ok(Batch {
                nanos: (1e6 * noise * longer) as u64,
                instructions: None,
            })
        }
    }

    /// Lanes whose iterations take so many nanoseconds: old, new and the copy.
    struct Fixed {
        nanos: [u64; 3],
        runs: Vec<(Lane, u64)>,
    }

    impl Lanes for Fixed {
        fn run(&mut self, lane: Lane, iterations: u64) -> Result<Batch, Error> {
            self.runs.push((lane, iterations));
            let nanos = self.nanos[lane as usize] * iterations;
            let instructions = Some(2 * nanos);
            Ok(Batch {
                nanos,
                instructions,
            })
        }
    }

    fn fixed() -> Fixed {
        Fixed {
            nanos: [100, 110, 102],
            runs: Vec::new(),
        }
    }

    #[test]
    fn a_unit_has_new_and_the_copy_over_old_per_iteration() {
        let mut rng = StdRng::seed_from_u64(1);
        let unit = Unit::run(&mut fixed(), 10, Duration::ZERO, &mut rng).unwrap();
        assert!((unit.effect - 1.1_f64.ln()).abs() < 1e-9, "{unit:?}");
        assert!((unit.control - 1.02_f64.ln()).abs() < 1e-9, "{unit:?}");
        assert_eq!(unit.nanos, [100.0, 110.0]);
        assert_eq!(unit.instructions, Some([200.0, 220.0]));
        assert_eq!(unit.rounds, 1);
    }

    #[test]
    fn a_round_has_every_lane_once_in_random_order() {
        let (mut lanes, mut rng) = (fixed(), StdRng::seed_from_u64(1));
        for _ in 0..200 {
            round(&mut lanes, 10, &mut rng).unwrap();
        }
        let mut orders = std::collections::HashMap::new();
        for round in lanes.runs.chunks(3) {
            let order = [round[0].0, round[1].0, round[2].0].map(|lane| lane as usize);
            *orders.entry(order).or_insert(0) += 1;
            assert_eq!(order.iter().sum::<usize>(), 3, "{order:?}");
        }
        // Each order about 33 times.
        assert_eq!(orders.len(), 6);
        assert!(
            orders.values().all(|times| (12..60).contains(times)),
            "{orders:?}"
        );
    }

    #[test]
    fn a_batch_is_as_long_as_asked_for_the_slower_candidate_whatever_interrupts_one() {
        let batch = Duration::from_micros(330);
        assert_eq!(calibrate(&mut fixed(), batch).unwrap(), 3_000);
        let mut calls = 0;
        let interrupted = iterations(batch, |iterations| {
            calls += 1;
            Ok(iterations * if calls % 2 == 0 { 900 } else { 110 })
        });
        assert_eq!(interrupted.unwrap(), 3_000);
        assert_eq!(iterations(batch, |_| Ok(5_000_000)).unwrap(), 1);
        assert!(iterations(batch, |_| Ok(0)).unwrap_err().is_target());
    }

    /// Restarts whose effect is this, with a little noise, until the measurement ends, or twenty.
    fn restarts(compare: &Compare, restarts: bool, effect: f64) -> usize {
        let candidates = ["a", "b"].map(|name| Candidate::new(name, None));
        let mut measured = Measurement::new(compare, "join", restarts, candidates);
        let mut pushed = 0;
        loop {
            let noise = 0.001 * (pushed % 5) as f64 - 0.002;
            let unit = Unit {
                effect: effect + noise,
                control: noise,
                nanos: [100.0, 100.0],
                instructions: None,
                rounds: 1,
            };
            pushed += 1;
            if measured.push(unit, 1).is_some() || pushed == 100 {
                return pushed;
            }
        }
    }

    #[test]
    fn a_measurement_ends_when_it_has_decided_or_when_time_is_up_but_not_before_ten_restarts() {
        let hour = Compare::new().time(Duration::from_secs(3_600));
        assert_eq!(restarts(&hour, true, 0.05), stats::FEW);
        assert_eq!(restarts(&hour, false, 0.05), stats::BATCHES);
        // The interval is within what is the same from some restart on.
        assert_eq!(restarts(&hour, true, 0.0), stats::FEW);
        // The limit stays in the interval.
        assert_eq!(
            restarts(&hour.clone().fail_above(0.05_f64.exp_m1()), true, 0.05),
            100
        );
        assert_eq!(
            restarts(&hour.clone().fail_above(0.02), true, 0.05),
            stats::FEW
        );
        let over = Compare::new().time(Duration::ZERO);
        assert_eq!(restarts(&over, true, 0.05), stats::FEW);
        assert_eq!(restarts(&over, true, 0.005), stats::FEW);
        assert_eq!(restarts(&over, false, 0.05), 1);
    }

    /// The mean of units and its standard error.
    fn mean(values: impl Iterator<Item = f64>) -> (f64, f64) {
        let values: stats::Sequence = values.collect();
        let error = values.deviation() / (values.count() as f64).sqrt();
        (values.mean(), error)
    }

    /// Lanes on a core whose other half another program uses now and then, for a part of seven
    /// batches in ten. New takes a percent longer than old.
    struct Shared(StdRng);

    impl Lanes for Shared {
        fn run(&mut self, lane: Lane, _: u64) -> Result<Batch, Error> {
            let noise = Normal::new(1.0, 0.002).unwrap().sample(&mut self.0);
            let is_busy = self.0.random_bool(0.7);
            let slower = if is_busy {
                self.0.random_range(1.0..1.8)
            } else {
                1.0
            };
            let more = if lane == Lane::New { 1.01 } else { 1.0 };
            Ok(Batch {
                nanos: (3e5 * noise * slower * more) as u64,
                instructions: None,
            })
        }
    }

    /// The mean of the middle half of the rounds does not find it.
    #[test]
    fn a_percent_is_found_on_a_core_that_is_shared() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut lanes = Shared(StdRng::seed_from_u64(4));
        let mut unit = |_| -> Vec<_> {
            let rounds = (0..200).map(|_| round(&mut lanes, 1, &mut rng).unwrap());
            rounds.collect()
        };
        let units: Vec<Vec<[Batch; 3]>> = (0..stats::FEW).map(&mut unit).collect();
        let interval = |value: &dyn Fn(&[[Batch; 3]]) -> f64| {
            let values: stats::Sequence = units.iter().map(|rounds| value(rounds)).collect();
            values.interval(0.05).unwrap()
        };
        let found = interval(&|rounds| Unit::of(rounds, 1).effect);
        assert!(
            found.contains(1.01_f64.ln()) && found.low > 0.008,
            "{found:?}"
        );
        let middle = interval(&|rounds| {
            let logs = rounds
                .iter()
                .map(|[old, new, _]| (new.nanos as f64 / old.nanos as f64).ln());
            stats::midmean(&mut logs.collect::<Vec<_>>())
        });
        assert!(middle.low < 0.0, "{middle:?}: the simulation shows nothing");
    }

    /// A first form divided by the mean of both copies of the old program, and found lanes that are
    /// equal 0.2 % faster.
    #[test]
    fn interruptions_at_random_times_do_not_move_the_effect() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut lanes = Interrupted(StdRng::seed_from_u64(2));
        let mut unit = |_| -> Vec<_> {
            let rounds = (0..100).map(|_| round(&mut lanes, 1000, &mut rng).unwrap());
            rounds.collect()
        };
        let units: Vec<Vec<[Batch; 3]>> = (0..1000).map(&mut unit).collect();
        let of = |value: fn(&Unit) -> f64| {
            let joined = units.iter().map(|rounds| Unit::of(rounds, 1000));
            mean(joined.map(|unit| value(&unit)))
        };
        for (found, error) in [of(|unit| unit.effect), of(|unit| unit.control)] {
            assert!(found.abs() < 3.0 * error, "{found} ± {error}");
        }
        let (found, error) = mean(units.iter().map(|rounds| {
            let nanos = rounds
                .iter()
                .map(|round| round.map(|batch| batch.nanos as f64));
            let pooled = nanos.map(|[old, new, copy]| (new / f64::midpoint(old, copy)).ln());
            stats::midmean(&mut pooled.collect::<Vec<f64>>())
        }));
        assert!(
            found.abs() > 3.0 * error,
            "{found} ± {error}: the simulation shows nothing"
        );
    }
}
