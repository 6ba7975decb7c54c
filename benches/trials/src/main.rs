//! Counts how often a harness is right about two programs whose difference is known.
//!
//! ```sh
//! cargo build --release && target/release/trials --help
//! ```
//!
//! The three harnesses run the same work (`src/work.rs`) in turns, trial by trial, so that all see
//! the same machine. Each is told that differences up to `--same-within` do not count. `--busy`
//! keeps a thread busy meanwhile.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tallies_bench::compare::{Compare, Verdict};

#[derive(Parser)]
struct Args {
    /// How much more work the new program does, per mille: 0, 5 or 10.
    #[arg(long, default_value_t = 0)]
    more: u32,
    /// The trials of each harness and work.
    #[arg(long, default_value_t = 10)]
    trials: u32,
    /// The longest time of a trial of tallies-bench.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10s")]
    time: Duration,
    /// The time of a trial of the others, which decide at its end.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "2s")]
    peers_time: Duration,
    /// The difference that does not count, in percent.
    #[arg(long, default_value_t = 0.5)]
    same_within: f64,
    /// The time of a batch of tallies-bench.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "300us")]
    batch: Duration,
    /// Keeps one thread busy.
    #[arg(long)]
    busy: bool,
    /// Only this work: chain or strings.
    #[arg(long)]
    work: Option<String>,
    /// Only this harness: tallies, tango or criterion.
    #[arg(long)]
    harness: Option<String>,
}

/// The verdict of a harness about the new program.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Finding {
    Slower,
    Faster,
    /// No difference, or none that is certain.
    Nothing,
}

/// The findings of a harness about one work.
#[derive(Default)]
struct Row {
    slower: u32,
    faster: u32,
    nothing: u32,
    seconds: Vec<f64>,
}

impl Row {
    fn add(&mut self, finding: Finding, seconds: f64) {
        match finding {
            Finding::Slower => self.slower += 1,
            Finding::Faster => self.faster += 1,
            Finding::Nothing => self.nothing += 1,
        }
        self.seconds.push(seconds);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if args.busy {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(0);
                }
            });
        }
        let result = rows(&args);
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn rows(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let wanted =
        |only: &Option<String>, name: &str| only.as_deref().is_none_or(|only| only == name);
    println!("| harness | work | slower | faster | nothing | seconds, median and longest |");
    println!("|---|---|---|---|---|---|");
    for work in ["chain", "strings"]
        .into_iter()
        .filter(|work| wanted(&args.work, work))
    {
        let harnesses: [(&str, fn(&Args, &str) -> Result<Finding, _>); 3] = [
            ("tallies", ours),
            ("tango", tango),
            ("criterion", criterion),
        ];
        let mut rows: Vec<_> = harnesses
            .into_iter()
            .filter(|(name, _)| wanted(&args.harness, name))
            .map(|(name, run)| (name, run, Row::default()))
            .collect();
        for trial in 0..args.trials {
            for (name, run, row) in &mut rows {
                let start = Instant::now();
                let finding = run(args, work)?;
                row.add(finding, start.elapsed().as_secs_f64());
                eprintln!(
                    "{trial} {name} {work}: {finding:?} {:.1} s",
                    start.elapsed().as_secs_f64()
                );
            }
        }
        for (name, _, mut row) in rows {
            row.seconds.sort_by(f64::total_cmp);
            let (median, longest) = (
                row.seconds[row.seconds.len() / 2],
                row.seconds.last().unwrap_or(&0.0),
            );
            println!(
                "| {name} | {work} | {} | {} | {} | {median:.1}, {longest:.1} |",
                row.slower, row.faster, row.nothing
            );
        }
    }
    Ok(())
}

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// A program that was built beside this one.
fn program(harness: &str, more: u32) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    Ok(this.with_file_name(format!("{harness}_{more}{}", std::env::consts::EXE_SUFFIX)))
}

fn ours(args: &Args, work: &str) -> Result<Finding> {
    let compare = Compare::new()
        .time(args.time)
        .batch(args.batch)
        .same_within(args.same_within / 100.0);
    let (old, new) = (program("ours", 0)?, program("ours", args.more)?);
    let reports = compare.programs(&old, &new, Some(work))?;
    let report = reports.first().ok_or("no report")?;
    eprintln!("{report}");
    Ok(match report.verdict {
        Verdict::Slower => Finding::Slower,
        Verdict::Faster => Finding::Faster,
        _ => Finding::Nothing,
    })
}

/// Prints a star behind a difference that it believes.
fn tango(args: &Args, work: &str) -> Result<Finding> {
    let mut command = Command::new(program("tango", args.more)?);
    command
        .args(["--color", "never", "compare"])
        .arg(program("tango", 0)?);
    command.args([
        "--filter",
        work,
        "--time",
        &args.peers_time.as_secs_f64().to_string(),
    ]);
    command.args(["--noise-threshold", &args.same_within.to_string()]);
    let text = output(&mut command)?;
    Ok(match text.trim_end() {
        text if !text.ends_with('*') => Finding::Nothing,
        text if text.contains('+') => Finding::Slower,
        _ => Finding::Faster,
    })
}

/// Stores the times of the old program, and compares those of the new one with them.
fn criterion(args: &Args, work: &str) -> Result<Finding> {
    let mut text = String::new();
    for (more, baseline) in [(0, "--save-baseline"), (args.more, "--baseline")] {
        let mut command = Command::new(program("criterion", more)?);
        command.args([
            "--bench",
            work,
            "--warm-up-time",
            "0.5",
            "--noplot",
            baseline,
            "old",
        ]);
        command.args([
            "--measurement-time",
            &args.peers_time.as_secs_f64().to_string(),
        ]);
        command.args(["--noise-threshold", &(args.same_within / 100.0).to_string()]);
        text = output(&mut command)?;
    }
    Ok(match text {
        text if text.contains("has regressed") => Finding::Slower,
        text if text.contains("has improved") => Finding::Faster,
        _ => Finding::Nothing,
    })
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    // tango fails when it finds a slow-down.
    if !output.status.success() && output.stdout.is_empty() {
        return Err(format!("{command:?} failed: {output:?}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
