//! Two closures of this process as lanes.

use std::time::Duration;

use super::measure::{self, Batch, Lane, Lanes, Measurement, Unit};
use super::meter::Meter;
use super::{Candidate, Compare, Report};
use crate::{Build, Error};

/// The time of the rounds of a block.
pub(super) const BLOCK: Duration = Duration::from_millis(50);

pub(super) fn compare<A, B>(
    compare: &Compare,
    name: &str,
    mut old: impl FnMut() -> A,
    mut new: impl FnMut() -> B,
) -> Result<Report, Error> {
    let closure = || Candidate::new("closure", Some(Build::here()));
    let mut measurement = Measurement::new(compare, name, false, [closure(), closure()]);
    let mut lanes = Closures {
        meter: Meter::new(),
        old: |meter: &mut Meter, iterations| meter.batch(iterations, &mut old),
        new: |meter: &mut Meter, iterations| meter.batch(iterations, &mut new),
    };
    let iterations = measure::calibrate(&mut lanes, compare.batch)?;
    measure::warm_up(&mut lanes, iterations)?;
    loop {
        let unit = Unit::run(&mut lanes, iterations, BLOCK, &mut measurement.rng)?;
        if let Some(report) = measurement.push(unit, iterations) {
            return Ok(report);
        }
    }
}

struct Closures<A, B> {
    meter: Meter,
    old: A,
    new: B,
}

impl<A, B> Lanes for Closures<A, B>
where
    A: FnMut(&mut Meter, u64) -> Batch,
    B: FnMut(&mut Meter, u64) -> Batch,
{
    fn run(&mut self, lane: Lane, iterations: u64) -> Result<Batch, Error> {
        Ok(match lane {
            Lane::Old | Lane::Copy => (self.old)(&mut self.meter, iterations),
            Lane::New => (self.new)(&mut self.meter, iterations),
        })
    }
}
