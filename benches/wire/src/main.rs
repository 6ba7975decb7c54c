//! Prints what an interval costs, for each way out of the process.
//!
//! ```text
//! cargo run --release                 # all ways
//! cargo run --release -- OTLP text    # those whose names have one of these words
//! ```
//!
//! A program has 100 000 series, and updates a tenth of them in each interval. Then everything is
//! sent once, to a receiver in the same process that reads, counts and answers. A row has the bytes
//! of one interval and the processor time of all threads but the receiver's, from the snapshot to
//! the last answer. It is the median of the rounds. Memory is measured in two intervals of their
//! own: the most live bytes above those before the first one.

mod client;
mod meter;
mod pages;
mod receiver;
mod sdk;
mod send;
mod workload;

use std::time::Duration;

use receiver::{Receiver, Traffic};
use workload::{Kind, Workload};

const ROUNDS: usize = 7;

#[global_allocator]
static ALLOCATOR: meter::Counting = meter::Counting;

/// A program whose series exist, and which sends them in one way.
trait Way {
    /// Updates a tenth of the series, another one in each round.
    fn update(&mut self, round: usize);

    /// Sends all series once, and returns when they have arrived.
    fn send(&mut self) -> Interval;
}

/// The measurement of one interval.
struct Interval {
    /// The processor time of all threads but the receiver's.
    processor: Duration,
    traffic: Traffic,
}

/// The name of a way, and what creates it.
type Row = (
    &'static str,
    Box<dyn Fn(Workload, &Receiver) -> Box<dyn Way>>,
);

fn rows(kind: Kind) -> Vec<Row> {
    let mut rows = pages::rows();
    rows.extend(send::rows());
    rows.extend(sdk::rows());
    rows.extend(client::rows(kind));
    rows
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let receiver = Receiver::start();
    for workload in workload::all() {
        println!("\n{workload}\n");
        println!("| way | requests | MB | MB on the wire | processor, ms | peak, MB |");
        println!("|---|---|---|---|---|---|");
        for (name, prepare) in rows(workload.kind) {
            if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
                println!("{}", row(name, &mut *prepare(workload, &receiver)));
            }
        }
    }
}

fn row(name: &str, way: &mut dyn Way) -> String {
    let peak = meter::peak(|| {
        way.send();
        way.update(0);
        way.send();
    });
    let mut processor = Vec::new();
    let mut traffic = Traffic::default();
    for round in 1..=ROUNDS {
        way.update(round);
        let interval = way.send();
        processor.push(interval.processor);
        traffic = interval.traffic;
    }
    processor.sort();
    let mega = |bytes: u64| bytes as f64 / 1e6;
    format!(
        "| {name} | {} | {:.2} | {:.2} | {:.1} | {:.1} |",
        traffic.requests,
        mega(traffic.content),
        mega(traffic.wire),
        processor[ROUNDS / 2].as_secs_f64() * 1e3,
        mega(peak),
    )
}
