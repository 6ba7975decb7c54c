//! Shows what the processes that share a store have counted, without their help: also what one has
//! counted that hangs, is stopped or has died.
//!
//! ```sh
//! tallies shared --dir /dev/shm/shop list 'http_*'
//! tallies shared --redis redis://127.0.0.1/ --namespace shop list 'http_*'
//! ```
//!
//! `list` prints every process, its series and then the merged totals. `fold` adds the totals of
//! processes that have ended to those of all ended ones, which processes of the program do by
//! themselves. `check` reads everything, and exits with status 1 if some of it is malformed or if
//! families of several processes do not fit together.
//!
//! The tool does not count itself, and needs neither the processes nor, in Redis, `KEYS` or `SCAN`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tallies::Error;
use tallies::snapshot::{Family, Value};

use crate::printable::Printable;

/// Shows what the processes that share a store have counted.
#[derive(Args)]
pub struct Options {
    /// Directory of mapped files.
    #[arg(long, required_unless_present = "redis")]
    dir: Option<PathBuf>,
    /// URL of a Redis server.
    #[arg(long, conflicts_with = "dir")]
    redis: Option<String>,
    /// The namespace in Redis: the name of the application.
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
    /// Prints every process, its series, and the merged totals.
    List {
        /// Only families with such names, in which * stands for anything.
        #[arg(default_value = "*")]
        pattern: String,
    },
    /// Folds what processes that have ended have counted.
    Fold {
        /// The time for which writers of Redis have to have been silent, in seconds.
        #[arg(long, default_value_t = 600.0)]
        silent: f64,
    },
    /// Reads everything, and says what does not fit.
    Check,
}

/// Does the task in the store.
pub fn run(options: &Options) -> ExitCode {
    match try_run(options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tallies shared: {}", Printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn try_run(options: &Options) -> Result<ExitCode, Error> {
    if let Some(url) = &options.redis {
        return in_redis::run(options, url);
    }
    #[cfg(target_os = "linux")]
    if let Some(dir) = &options.dir {
        return in_files::run(options, dir);
    }
    eprintln!("tallies shared: mapped files need Linux");
    Ok(ExitCode::FAILURE)
}

/// Mapped files.
#[cfg(target_os = "linux")]
mod in_files {
    use std::path::Path;

    use tallies::share::Dir;

    use super::{Error, ExitCode, Options, Printable, Task, print, status};

    pub(super) fn run(options: &Options, path: &Path) -> Result<ExitCode, Error> {
        let shared = Dir::open(path)?;
        match &options.task {
            Task::List { pattern } => list(&shared, pattern),
            Task::Fold { .. } => {
                println!("{} folded", shared.fold()?);
                Ok(ExitCode::SUCCESS)
            }
            Task::Check => check(&shared),
        }
    }

    fn list(shared: &Dir, pattern: &str) -> Result<ExitCode, Error> {
        for process in shared.processes()? {
            let state = if process.is_alive {
                "alive"
            } else {
                "dead, not folded yet"
            };
            let age = process.started.elapsed().unwrap_or_default().as_secs();
            println!(
                "process {}, {state}, started {age} s ago, {}",
                process.id,
                Printable(&process.file)
            );
            print(&process.snapshot, pattern);
        }
        println!("ended and folded:");
        print(&shared.folded()?, pattern);
        println!("all:");
        print(&shared.snapshot()?, pattern);
        Ok(ExitCode::SUCCESS)
    }

    fn check(shared: &Dir) -> Result<ExitCode, Error> {
        let processes = shared.processes()?;
        let live = processes.iter().filter(|process| process.is_alive).count();
        let merged = shared.snapshot()?;
        let skipped = shared.skipped()?;
        let conflicts = merged.get("tallies_share_conflicts", &[]).unwrap_or(0.0);
        println!(
            "{live} live processes, {} dead ones, {} families, {conflicts} conflicts, {} files skipped",
            processes.len() - live,
            merged.families().count(),
            skipped.len(),
        );
        for (file, reason) in &skipped {
            println!("{} is skipped: {}", Printable(file), Printable(reason));
        }
        Ok(status(conflicts == 0.0 && skipped.is_empty()))
    }
}

/// Redis.
mod in_redis {
    use std::time::Duration;

    use tallies_redis::Redis;

    use super::{Error, ExitCode, Options, Task, print, status};

    pub(super) fn run(options: &Options, url: &str) -> Result<ExitCode, Error> {
        let store = Redis::builder(url)?
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
        for process in &all.processes {
            println!("{process}");
            print(&process.families, pattern);
        }
        println!("ended: {} folds are remembered", all.folds);
        print(&all.folded, pattern);
        let merged = store.snapshot_blocking()?;
        println!("all:");
        print(&merged, pattern);
        Ok(ExitCode::SUCCESS)
    }

    fn check(store: &Redis) -> Result<ExitCode, Error> {
        let all = store.overview_blocking()?;
        // What does not fit together is logged on standard error.
        let merged = store.snapshot_blocking()?;
        let number = |name: &str| merged.get(name, &[]).unwrap_or(0.0);
        let conflicts = number("tallies_share_conflicts");
        println!(
            "{} writers, {} families, {conflicts} conflicts, {} malformed fields",
            all.processes.len(),
            merged.families().count(),
            all.skipped,
        );
        Ok(status(conflicts == 0.0 && all.skipped == 0))
    }
}

fn status(is_right: bool) -> ExitCode {
    if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints the series of the families that match.
fn print<'a>(families: impl IntoIterator<Item = &'a Family>, pattern: &str) {
    for family in families {
        if !matches(pattern, family.name()) {
            continue;
        }
        for (labels, value) in family.series() {
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| format!("{}={value:?}", name.escape_debug()))
                .collect();
            let labels = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", labels.join(","))
            };
            print!("  {}{labels} ", family.name().escape_debug());
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
    let Some((first, parts)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    // The first place of each part leaves the most for the parts after it.
    let (middle, last) = parts.rsplit_once('*').unwrap_or(("", parts));
    for part in middle.split('*') {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
