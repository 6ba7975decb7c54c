//! The work, as a bench of tango.

use tango_bench::{IntoBenchmarks, benchmark_fn, tango_benchmarks};
use trials::{chain, size, strings};

fn benches() -> impl IntoBenchmarks {
    let size = std::hint::black_box(size(env!("CARGO_BIN_NAME")));
    [
        benchmark_fn("chain", move |b| b.iter(move || chain(size))),
        benchmark_fn("strings", move |b| b.iter(move || strings(size))),
    ]
}

tango_benchmarks!(benches());
