//! A bench program: `cargo run --release -p tallies-bench --example suite -- --bench`.
//!
//! In your package, the file is `benches/words.rs`, with `harness = false` in its `[[bench]]`
//! section.

use std::process::ExitCode;

use tallies_bench::compare::Suite;

fn main() -> ExitCode {
    let words: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    let text = words.join(" ");
    Suite::new()
        .bench("join", || words.join(" "))
        .bench("split", || text.split(' ').map(str::len).sum::<usize>())
        .main()
}
