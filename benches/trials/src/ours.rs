//! The work, as a bench of tallies-bench.

use tallies_bench::compare::Suite;
use trials::{chain, size, strings};

fn main() -> std::process::ExitCode {
    let size = std::hint::black_box(size(env!("CARGO_BIN_NAME")));
    Suite::new()
        .bench("chain", || chain(size))
        .bench("strings", || strings(size))
        .main()
}
