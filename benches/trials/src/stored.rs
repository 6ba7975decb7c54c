//! The work, as a bench of criterion, which compares with what it stored the last time.

use criterion::Criterion;
use trials::{chain, size, strings};

fn main() {
    let size = std::hint::black_box(size(env!("CARGO_BIN_NAME")));
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("chain", |b| b.iter(|| chain(size)));
    criterion.bench_function("strings", |b| b.iter(|| strings(size)));
    criterion.final_summary();
}
