//! Looks at the metrics that processes share, without their help: also at those of a process that
//! hangs, is stopped or has died.
//!
//!     cargo run --example shared -- --dir /dev/shm/my-program list 'http_*'
//!     cargo run --example shared -- --dir /dev/shm/my-program fold
//!     cargo run --example shared -- --dir /dev/shm/my-program check
//!
//! `list` prints who takes part, what each process counts, and the merged totals. `fold` adds the
//! files of dead processes to the totals now; otherwise one of the live ones does so when it is
//! scraped. `check` reads everything, and fails if a file is skipped.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tallies::Snapshot;
use tallies::snapshot::Value;

/// Looks at the metrics that processes share.
#[derive(Parser)]
struct Options {
    /// Directory of mapped files.
    #[arg(long)]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the series of each process, and the merged totals.
    List {
        /// Pattern of metric names, in which `*` stands for any text.
        #[arg(default_value = "*")]
        pattern: String,
    },
    /// Adds the files of dead processes to the totals.
    Fold,
    /// Reads everything, and fails if something cannot be read.
    Check,
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("Mapped files need Linux.");
}

#[cfg(target_os = "linux")]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let shared = tallies::share::Dir::open(&options.dir)?;
    match options.command {
        Command::List { pattern } => list(&shared, &pattern)?,
        Command::Fold => println!("{} processes were folded.", shared.fold()?),
        Command::Check => return check(&shared),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(target_os = "linux")]
fn list(shared: &tallies::share::Dir, pattern: &str) -> Result<(), Box<dyn Error>> {
    for process in shared.processes()? {
        let state = if process.is_alive() {
            "alive"
        } else {
            "dead, not folded yet"
        };
        let age = process.started().elapsed().unwrap_or_default().as_secs();
        println!(
            "Process {}, {state}, started {age} s ago, {}",
            process.id(),
            process.file()
        );
        print(process.snapshot(), pattern);
    }
    println!("Processes that were folded");
    print(&shared.folded()?, pattern);
    println!("All together");
    print(&shared.snapshot()?, pattern);
    Ok(())
}

#[cfg(target_os = "linux")]
fn check(shared: &tallies::share::Dir) -> Result<ExitCode, Box<dyn Error>> {
    let processes = shared.processes()?;
    let dead = processes
        .iter()
        .filter(|process| !process.is_alive())
        .count();
    let snapshot = shared.snapshot()?;
    let series: usize = snapshot.families().map(|family| family.len()).sum();
    println!(
        "{} processes are alive, {dead} are dead and not folded yet.",
        processes.len() - dead
    );
    println!(
        "{} families with {series} series.",
        snapshot.families().count()
    );
    let conflicts = snapshot.get("tallies_share_conflicts", &[]).unwrap_or(0.0);
    if conflicts > 0.0 {
        println!(
            "{conflicts} families are left out: their kind or shape differs between processes."
        );
    }
    let skipped = shared.skipped()?;
    for (file, reason) in &skipped {
        println!("{file} is skipped: {reason}");
    }
    Ok(if skipped.is_empty() && conflicts == 0.0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints the series of all families whose name matches.
fn print(snapshot: &Snapshot, pattern: &str) {
    for family in snapshot
        .families()
        .filter(|family| matches(pattern, family.name()))
    {
        for (labels, value) in family.series() {
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            let labels = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", labels.join(","))
            };
            let value = match value {
                Value::Counter(n) => n.as_f64().to_string(),
                Value::Gauge(x) => x.to_string(),
                Value::Histogram(histogram) => {
                    format!("count {} sum {}", histogram.count(), histogram.sum())
                }
                Value::Summary(summary) => {
                    let quantiles = summary
                        .exported()
                        .map(|(phi, x)| format!(" p{} {x}", phi * 100.0));
                    let quantiles: String = quantiles.collect();
                    format!("count {} sum {}{quantiles}", summary.count(), summary.sum())
                }
                other => format!("{other:?}"),
            };
            println!("  {}{labels} {value}", family.name());
        }
    }
}

/// Returns whether a name matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| matches(rest, &name[at..]))
        }),
    }
}
