//! Compares benches: `tallies-bench --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tallies_bench::compare::main()
}
