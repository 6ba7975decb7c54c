//! Counts allocations instead of time, with criterion: its statistics and its stored baselines,
//! over the counting allocator of `tallies`.
//!
//! ```sh
//! cargo run --release -p tallies-bench --example criterion -- --bench
//! ```
//!
//! A count is the same on every machine, so a stored baseline of it is worth something. Any other
//! counter of a program can stand in the place of the allocator's.

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tallies::process::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new();

/// Measures the allocations of all threads.
struct Allocations;

impl Measurement for Allocations {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        ALLOCATOR.total().allocations
    }

    fn end(&self, start: u64) -> u64 {
        ALLOCATOR.total().allocations - start
    }

    fn add(&self, one: &u64, other: &u64) -> u64 {
        one + other
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, allocations: &u64) -> f64 {
        *allocations as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Allocations {
    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        "allocations"
    }

    fn scale_throughputs(&self, _: f64, _: &Throughput, _: &mut [f64]) -> &'static str {
        "allocations"
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "allocations"
    }
}

fn words(criterion: &mut Criterion<Allocations>) {
    let words: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    criterion.bench_function("join", |bench| bench.iter(|| words.join(" ")));
    criterion.bench_function("clone", |bench| bench.iter(|| words.clone()));
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Allocations);
    targets = words
}
criterion_main!(benches);
