//! Rounds of batches in random order, and when enough of them were run.

use std::array;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::report::{Facts, Report};
use super::{Compare, stats};
use crate::Error;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let (mut effects, mut controls) = (Vec::new(), Vec::new());
        let mut nanos: [Vec<f64>; 2] = array::from_fn(|_| Vec::new());
        let mut instructions: [Vec<f64>; 2] = array::from_fn(|_| Vec::new());
        while effects.is_empty() || start.elapsed() < time {
            let mut order = LANES;
            order.shuffle(rng);
            let mut round = [Batch {
                nanos: 0,
                instructions: None,
            }; 3];
            for lane in order {
                round[lane as usize] = lanes.run(lane, iterations)?;
            }
            let [old, new, copy] = round.map(|batch| (batch.nanos.max(1) as f64).ln());
            // Not over the mean of both copies: two lanes are interrupted more often than one, and
            // a location that ignores outliers would then be too low.
            effects.push(new - old);
            controls.push(copy - old);
            for lane in [0, 1] {
                let per_iteration = |count: u64| count as f64 / iterations as f64;
                nanos[lane].push(per_iteration(round[lane].nanos));
                instructions[lane].extend(round[lane].instructions.map(per_iteration));
            }
        }
        let counted = instructions
            .iter()
            .all(|counts| counts.len() == effects.len());
        Ok(Self {
            rounds: effects.len() as u64,
            effect: stats::midmean(&mut effects),
            control: stats::midmean(&mut controls),
            nanos: nanos.map(|mut nanos| stats::midmean(&mut nanos)),
            instructions: counted.then(|| instructions.map(|mut list| stats::midmean(&mut list))),
        })
    }
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
/// many nanoseconds so many iterations take.
pub(super) fn iterations(
    batch: Duration,
    mut run: impl FnMut(u64) -> Result<u64, Error>,
) -> Result<u64, Error> {
    let wanted = batch.as_nanos() as u64;
    let mut iterations = 1;
    loop {
        let nanos = run(iterations)?;
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
    compare: &'a Compare,
    name: &'a str,
    /// The units are restarts.
    restarts: bool,
    /// The measurement does not end before so many units, not even when time is up.
    least: usize,
    start: Instant,
    seed: u64,
    units: Vec<Unit>,
    pub(super) rng: StdRng,
}

impl<'a> Measurement<'a> {
    pub(super) fn new(compare: &'a Compare, name: &'a str, restarts: bool) -> Self {
        let seed = compare.seed.unwrap_or_else(random_seed);
        Self {
            compare,
            name,
            restarts,
            least: if restarts { stats::FEW } else { stats::BATCHES },
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
        let facts = Facts {
            name: self.name,
            restarts: self.restarts,
            iterations,
            seconds: self.start.elapsed().as_secs_f64(),
        };
        let report = Report::new(self.compare, &self.units, &facts);
        let done = late || report.is_final(self.compare.fail_above);
        done.then(|| report.complete(&self.units, self.seed))
    }
}

/// A seed that differs in each process and call.
pub(super) fn random_seed() -> u64 {
    use std::hash::BuildHasher as _;
    std::hash::RandomState::new().hash_one(0)
}
