//! The time of a bench that is not compared.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::lanes::BLOCK;
use super::measure;
use super::report::{Nanos, nanoseconds};
use super::stats::{self, Interval, Sequence};
use crate::Error;
use crate::bencher;
use crate::build::Build;
use crate::machine::Machine;
use crate::page::Section;

/// The time of an iteration. Its fields are those of the JSON, in their order.
#[derive(Debug, Serialize)]
pub(super) struct Alone {
    schema: u32,
    name: String,
    nanos: f64,
    interval: Option<Interval>,
    error: f64,
    build: Build,
    machine: Machine,
}

impl Alone {
    /// Measures work that runs so many iterations and returns their nanoseconds.
    pub(super) fn measure(
        name: String,
        work: &mut dyn FnMut(u64) -> u64,
        batch: Duration,
        time: Duration,
        error: f64,
    ) -> Result<Self, Error> {
        let machine = Machine::now();
        let iterations = measure::iterations(batch, |iterations| Ok(work(iterations)))?;
        let start = Instant::now();
        let mut blocks = Vec::new();
        while start.elapsed() < time {
            let block = Instant::now();
            let mut batches = Vec::new();
            while batches.is_empty() || block.elapsed() < BLOCK {
                batches.push(work(iterations) as f64 / iterations as f64);
            }
            blocks.push(stats::undisturbed(&mut batches));
        }
        let sequence: Sequence = stats::batches(blocks).into_iter().collect();
        Ok(Self {
            schema: 1,
            name,
            nanos: sequence.mean(),
            interval: sequence.interval(error),
            error,
            build: Build::here(),
            machine: machine.until_now(),
        })
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text have a form in JSON")
    }

    /// The time in words.
    fn time(&self) -> String {
        let interval = self.interval.map_or(String::new(), |interval| {
            let [low, high] = [interval.low.max(0.0), interval.high];
            let [low, high] = [low, high].map(|end| Nanos(end).as_of(&Nanos(self.nanos)));
            format!(" [{low}, {high}]")
        });
        format!("{}{interval}", Nanos(self.nanos))
    }
}

impl fmt::Display for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} per iteration", self.name, self.time())?;
        let mut note = self.build.note("this program").into_iter();
        note.try_for_each(|note| write!(f, "\n  note: {note}"))
    }
}

pub(super) fn to_bencher(all: &[Alone]) -> String {
    let latency = |one: &Alone| (one.name.clone(), nanoseconds(one.nanos, one.interval));
    bencher::object(all.iter().map(latency))
}

/// The benches on a page.
pub(super) fn section(all: &[Alone]) -> Section {
    let rows = all.iter().map(|one| vec![one.name.clone(), one.time()]);
    let build = all.first().map(|one| &one.build);
    let notes: Vec<String> = build
        .iter()
        .filter_map(|build| build.note("this program"))
        .collect();
    let facts = build.map(Build::facts);
    let machine = Machine::of_all(all.iter().map(|one| &one.machine));
    Section::new("Benches")
        .notes(&notes)
        .table(&["bench", "time of an iteration"], rows)
        .facts(&facts.unwrap_or_default(), machine.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two batches of three take three times as long, as beside a program that comes and goes.
    #[test]
    fn the_time_of_an_iteration_is_that_of_undisturbed_batches() {
        let mut batches = 0;
        let mut work = |iterations: u64| {
            batches += 1;
            std::thread::yield_now();
            iterations * if batches % 3 == 0 { 100 } else { 300 }
        };
        let batch = Duration::from_micros(100);
        let time = Duration::from_millis(300);
        let alone = Alone::measure("join".to_owned(), &mut work, batch, time, 0.05).unwrap();
        assert_eq!(alone.nanos, 100.0);
        let text = alone.to_string();
        assert!(text.starts_with("join: 100.000 ns"), "{text}");
        assert_eq!(
            text.contains("\n  note: debug build"),
            cfg!(debug_assertions),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&alone.to_json()).unwrap();
        assert!(
            json["build"]["compiler"]
                .as_str()
                .unwrap()
                .starts_with("rustc ")
        );
    }
}
