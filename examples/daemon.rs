//! A program without a web framework: it looks at a directory every second and exposes metrics of
//! its work and of its process.
//!
//!     cargo run --release --features serve,process,tsc --example daemon -- /tmp
//!     curl -s http://127.0.0.1:9464/metrics | grep ^process_

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use tallies::process::Allocator;
use tallies::{Counter, Gauge, Histogram};

/// Counts the program's allocations for `process_allocated_bytes`.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new();

/// Time to look at the directory once.
#[tallies::metric]
static ROUND: Histogram = Histogram::new("spool_round_duration_seconds");

/// Size of all files in the directory.
#[tallies::metric]
static SIZE: Gauge = Gauge::new("spool_size_bytes");

/// Time to look up the size of one file; times one file in eight.
#[tallies::metric]
static LOOK: Histogram =
    Histogram::new("spool_look_duration_seconds").buckets(&[1e-6, 1e-5, 1e-4, 1e-3]);

/// Rounds that failed.
#[tallies::metric]
static FAILED: Counter = Counter::new("spool_failed_rounds_total");

/// Looks at a directory every second, and serves metrics on http://127.0.0.1:9464/metrics.
#[derive(Parser)]
struct Options {
    /// The directory to look at.
    #[arg(value_name = "DIRECTORY", default_value = "/tmp")]
    spool: PathBuf,
}

fn round(spool: &Path) -> std::io::Result<u64> {
    let _timer = ROUND.start_timer();
    let mut bytes = 0;
    for file in std::fs::read_dir(spool)? {
        let _timer = LOOK.sample(8).start_timer();
        bytes += file?.metadata().map_or(0, |file| file.len());
    }
    Ok(bytes)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Options { spool } = Options::parse();
    let registry = tallies::registry();
    tallies::process::register(registry)?;
    tallies::build_info!(registry)?;
    ALLOCATOR.register(registry)?;
    let server = tallies::serve("127.0.0.1:9464")?;
    println!("Serving metrics on {}", server.metrics_url());
    loop {
        match round(&spool) {
            Ok(bytes) => SIZE.set(bytes),
            Err(error) => {
                FAILED.inc();
                eprintln!("{}: {error}", spool.display());
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
