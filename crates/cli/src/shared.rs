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

use std::num::ParseFloatError;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use tallies::Error;
#[cfg(target_os = "linux")]
use tallies::share::Dir;
use tallies::snapshot::{Family, Snapshot, Value};
use tallies_names::{Printable, capture};
use tallies_redis::Redis;

use crate::printable::label_text;

/// Shows what the processes that share a store have counted.
#[derive(Args)]
pub struct SharedOptions {
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
        #[arg(long, default_value = "600", value_parser = silence)]
        silent: Duration,
    },
    /// Reads everything, and says what does not fit.
    Check,
}

/// Parses the time of a silence in seconds. A negative one is none.
fn silence(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e: ParseFloatError| e.to_string())?;
    match seconds {
        ..=1e9 => Ok(Duration::from_secs_f64(seconds.max(0.0))),
        _ => Err("it has to be 1e9 at most".to_owned()),
    }
}

/// Does the task in the store. Exits with 1 if something is wrong with it, as far as the task
/// looks.
pub fn run(options: &SharedOptions) -> Result<ExitCode, Error> {
    let store = open(options)?;
    let mut is_right = true;
    match &options.task {
        Task::List { pattern } => store.list(pattern)?,
        Task::Fold { silent } => println!("{} folded", store.fold(*silent)?),
        Task::Check => is_right = store.check()?,
    }
    Ok(ExitCode::from(u8::from(!is_right)))
}

fn open(options: &SharedOptions) -> Result<Box<dyn Store>, Error> {
    if let Some(url) = &options.redis {
        let mut store = Redis::builder(url)?
            .namespace(&options.namespace)
            .shards(options.shards);
        if options.cluster {
            store = store.cluster(&[])?;
        }
        return Ok(Box::new(store.observe().start()?));
    }
    #[cfg(target_os = "linux")]
    if let Some(dir) = &options.dir {
        return Ok(Box::new(Dir::open(dir)?));
    }
    Err(Error::new("mapped files need Linux"))
}

/// The tasks, by kind of store.
trait Store {
    /// Prints every process and the merged totals: the families that match a pattern.
    fn list(&self, pattern: &str) -> Result<(), Error>;
    /// Folds processes that have ended, and returns their number.
    fn fold(&self, silent: Duration) -> Result<usize, Error>;
    /// Prints what there is, and what of it is wrong. Returns whether nothing is.
    fn check(&self) -> Result<bool, Error>;
}

/// Mapped files.
#[cfg(target_os = "linux")]
impl Store for Dir {
    fn list(&self, pattern: &str) -> Result<(), Error> {
        let all = self.overview()?;
        for process in &all.processes {
            let state = match process.is_alive {
                true => "alive",
                false => "dead, not folded yet",
            };
            let age = process.started.elapsed().unwrap_or_default().as_secs();
            let pid = process.pid.map_or("-".to_owned(), |pid| pid.to_string());
            let file = Printable(&process.name);
            let title = format!("process {pid}, {state}, started {age} s ago, {file}");
            print(&title, &process.snapshot, pattern);
        }
        print("ended and folded:", &all.folded, pattern);
        print("all:", &self.snapshot()?, pattern);
        Ok(())
    }

    fn fold(&self, _: Duration) -> Result<usize, Error> {
        self.fold()
    }

    fn check(&self) -> Result<bool, Error> {
        let all = self.overview()?;
        let live = all.processes.iter();
        let live = live.filter(|process| process.is_alive).count();
        let dead = all.processes.len() - live;
        let (merged, is_consistent) = merged(&self.snapshot()?);
        let skipped = all.skipped.len();
        println!("{live} live processes, {dead} dead ones, {merged}, {skipped} files skipped");
        for (file, reason) in &all.skipped {
            println!("{} is skipped: {}", Printable(file), Printable(reason));
        }
        Ok(is_consistent && skipped == 0)
    }
}

impl Store for Redis {
    fn list(&self, pattern: &str) -> Result<(), Error> {
        let all = self.overview_blocking()?;
        for process in &all.processes {
            print(&process.to_string(), &process.snapshot, pattern);
        }
        let title = format!("ended: {} folds are remembered", all.folds);
        print(&title, &all.folded, pattern);
        print("all:", &self.snapshot_blocking()?, pattern);
        Ok(())
    }

    fn fold(&self, silent: Duration) -> Result<usize, Error> {
        self.fold_blocking(silent)
    }

    fn check(&self) -> Result<bool, Error> {
        let all = self.overview_blocking()?;
        // What does not fit together is logged on standard error.
        let (merged, is_consistent) = merged(&self.snapshot_blocking()?);
        let (writers, skipped) = (all.processes.len(), all.skipped.len());
        println!("{writers} writers, {merged}, {skipped} keys not read whole");
        for (key, reason) in &all.skipped {
            println!("{}: {}", Printable(key), Printable(reason));
        }
        Ok(is_consistent && skipped == 0)
    }
}

/// Returns the number of families, in words, and whether those of all processes fit together.
fn merged(all: &Snapshot) -> (String, bool) {
    let families = all.families().count();
    let conflicts = all.get("tallies_share_conflicts", &[]).unwrap_or(0.0);
    let text = format!("{families} families, {conflicts} conflicts");
    (text, conflicts == 0.0)
}

/// Prints a title, and the series of the families that match a pattern.
fn print<'a>(title: &str, families: impl IntoIterator<Item = &'a Family>, pattern: &str) {
    println!("{title}");
    let matches = |family: &&Family| capture(pattern, family.name()).is_some();
    for family in families.into_iter().filter(matches) {
        for (labels, value) in family.series() {
            let labels = match label_text(labels).as_str() {
                "" => String::new(),
                labels => format!("{{{labels}}}"),
            };
            let text = match value {
                Value::Counter(number) => number.as_f64().to_string(),
                Value::Gauge(value) => value.to_string(),
                Value::Histogram(all) => format!("count {} sum {}", all.count(), all.sum()),
                Value::Summary(all) => {
                    let quantile = |(phi, value): (f64, f64)| format!(" p{} {value}", phi * 100.0);
                    let quantiles: String = all.exported().map(quantile).collect();
                    format!("count {} sum {}{quantiles}", all.count(), all.sum())
                }
                other => format!("{other:?}"),
            };
            println!("  {}{labels} {text}", family.name().escape_debug());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Tool {
        #[command(flatten)]
        options: SharedOptions,
    }

    fn silent(text: &str) -> Result<Duration, String> {
        let arguments = ["tool", "--redis", "x", "fold", "--silent", text];
        let tool = <Tool as clap::Parser>::try_parse_from(arguments);
        match tool.map_err(|error| error.to_string())?.options.task {
            Task::Fold { silent } => Ok(silent),
            _ => unreachable!(),
        }
    }

    /// It panicked once the store was open.
    #[test]
    fn a_silence_that_no_duration_holds_is_an_error() {
        for text in ["inf", "1e300", "nan"] {
            let error = silent(text).unwrap_err();
            assert!(error.contains("has to be 1e9 at most"), "{error}");
        }
        assert_eq!(silent("0.5"), Ok(Duration::from_millis(500)));
    }
}
