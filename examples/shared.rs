//! Shows what the processes that share a store have counted.
//!
//!     cargo run --release --features redis --example shared -- --redis redis://127.0.0.1/ \
//!         --namespace shop list 'http_*'
//!
//! `list` prints every writer, its series and then the merged totals. `fold` adds the totals of
//! writers that have been silent for a while to those of ended ones, which processes of the program
//! do by themselves. `check` reads everything, and exits with status 1 if some of it is malformed or
//! if families of several writers do not fit together.
//!
//! The tool only reads, and is no writer itself. It needs neither the processes nor `KEYS` or `SCAN`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tallies::share::{self, Redis};
use tallies::snapshot::{Source, Value};
use tallies::{Error, Snapshot};

/// Shows what the processes that share a store have counted.
#[derive(Parser)]
struct Options {
    /// URL of a Redis server.
    #[arg(long)]
    redis: String,
    /// The namespace: the name of the application.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// The URL is that of a node of a cluster.
    #[arg(long)]
    cluster: bool,
    /// The number of shards that the application uses.
    #[arg(long, default_value_t = 1)]
    shards: usize,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Prints every writer, its series, and the merged totals.
    List {
        /// Only families with such names, in which * stands for anything.
        #[arg(default_value = "*")]
        pattern: String,
    },
    /// Folds writers that have been silent.
    Fold {
        /// The time for which they have to have been silent, in seconds.
        #[arg(long, default_value_t = 600.0)]
        silent: f64,
    },
    /// Reads everything, and says what does not fit.
    Check,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, Error> {
    let store = share::redis(&options.redis)?
        .namespace(&options.namespace)
        .shards(options.shards)
        .observe();
    let store = if options.cluster {
        store.cluster(&[])?.start()?
    } else {
        store.start()?
    };
    match &options.task {
        Task::List { pattern } => list(&store, pattern),
        Task::Fold { silent } => {
            let folded = store.fold_blocking(Duration::from_secs_f64(silent.max(0.0)))?;
            println!("{folded} folded");
            Ok(ExitCode::SUCCESS)
        }
        Task::Check => check(&store),
    }
}

fn list(store: &Redis, pattern: &str) -> Result<ExitCode, Error> {
    let all = store.overview_blocking()?;
    for writer in &all.writers {
        println!("{writer}");
        writer
            .series
            .iter()
            .for_each(|series| print(series, pattern));
    }
    println!("ended: {} folds are remembered", all.folds);
    all.folded.iter().for_each(|series| print(series, pattern));
    let mut merged = Snapshot::default();
    store.try_snapshot_into(&mut merged)?;
    println!("all:");
    print(&merged, pattern);
    Ok(ExitCode::SUCCESS)
}

fn check(store: &Redis) -> Result<ExitCode, Error> {
    let all = store.overview_blocking()?;
    let mut merged = Snapshot::default();
    // What does not fit together is logged on standard error.
    store.try_snapshot_into(&mut merged)?;
    let number = |name: &str| merged.get(name, &[]).unwrap_or(0.0);
    let conflicts = number("tallies_share_conflicts");
    println!(
        "{} writers, {} families, {conflicts} conflicts, {} malformed fields",
        all.writers.len(),
        merged.families().count(),
        all.malformed,
    );
    Ok(if conflicts == 0.0 && all.malformed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints the series of the families that match.
fn print(snapshot: &Snapshot, pattern: &str) {
    for family in snapshot.families() {
        if !matches(pattern, family.name()) {
            continue;
        }
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
            print!("  {}{labels} ", family.name());
            match value {
                Value::Counter(number) => println!("{}", number.as_f64()),
                Value::Gauge(value) => println!("{value}"),
                Value::Histogram(all) => println!("count {} sum {}", all.count(), all.sum()),
                Value::Summary(all) => {
                    print!("count {} sum {}", all.count(), all.sum());
                    all.exported()
                        .for_each(|(phi, value)| print!(" p{} {value}", phi * 100.0));
                    println!();
                }
                other => println!("{other:?}"),
            }
        }
    }
}

/// Returns whether a name matches a pattern, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    name.strip_prefix(first).is_some_and(|name| {
        (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))
    })
}
