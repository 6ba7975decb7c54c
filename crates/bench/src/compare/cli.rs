//! The command lines: that of a bench program, and that of `tallies-bench`.

use std::error::Error as _;
use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser};

use super::alone::{self, Alone};
use super::meter::Meter;
use super::process::at;
use super::revision::{self, Revision};
use super::suite::Work;
use super::{Compare, to_bencher};
use crate::{Error, Page};

/// Runs the program `tallies-bench`, which compares two executables, or a revision with the working
/// tree. Returns its exit code: 0, 1 if a slow-down above `--fail-above` is proven, 2 for an error.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     tallies_bench::compare::main()
/// }
/// ```
#[must_use]
pub fn main() -> ExitCode {
    finish(match Tool::parse() {
        Tool::Compare {
            old,
            new,
            filter,
            options,
        } => {
            let names = [&old, &new].map(|path| path.display().to_string());
            compare(&options, &old, &new, names, filter.as_deref())
        }
        Tool::Against {
            revision,
            bench,
            package,
            filter,
            options,
        } => against(
            &options,
            &revision,
            &bench,
            package.as_deref(),
            filter.as_deref(),
        ),
    })
}

/// Compares benches that run in turns on this machine.
#[derive(Parser)]
#[command(name = "tallies-bench", version)]
enum Tool {
    /// Compares two executables of benches.
    Compare {
        /// The executable of the old version.
        old: PathBuf,
        /// The executable of the new version.
        new: PathBuf,
        /// Compares only benches whose name contains this.
        filter: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Builds a bench at a revision and in the working tree, and compares the two.
    Against {
        /// The old revision, as git names it.
        revision: String,
        /// The name of the bench target.
        #[arg(long)]
        bench: String,
        /// The package that has it.
        #[arg(long, short)]
        package: Option<String>,
        /// Compares only benches whose name contains this.
        filter: Option<String>,
        #[command(flatten)]
        options: Options,
    },
}

/// Measures the benches of this program, or compares them with another version.
#[derive(Parser)]
struct Program {
    /// Runs only benches whose name contains this.
    filter: Option<String>,
    /// Compares with this executable, as the old version.
    #[arg(long, value_name = "PATH", conflicts_with = "against")]
    old: Option<PathBuf>,
    /// Builds this git revision, and compares with it as the old version.
    #[arg(long, value_name = "REVISION")]
    against: Option<String>,
    /// Measures; cargo adds it. Without it, each work runs once.
    #[arg(long)]
    bench: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
struct Options {
    /// The longest time of a comparison, by default 10s, or of a measurement, by default 1s.
    #[arg(long, value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// The time of a batch.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "300us")]
    batch: Duration,
    /// The difference up to which two versions are the same.
    #[arg(long, value_parser = percent, default_value = "0.5%", value_name = "PERCENT")]
    same_within: f64,
    /// The probability with which an interval may miss, at any look.
    #[arg(long, value_parser = percent, default_value = "5%", value_name = "PERCENT")]
    error: f64,
    /// Exits with 1 if the new version is proven to be slower by more than this.
    #[arg(long, value_parser = percent, value_name = "PERCENT")]
    fail_above: Option<f64>,
    /// The seed of the random order.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Prints one object in the Bencher Metric Format at the end.
    #[arg(long, conflicts_with = "json")]
    bencher: bool,
    /// Writes a page with charts to this file at the end.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Options {
    fn compare(&self) -> Compare {
        Compare {
            time: self.time.unwrap_or(Duration::from_secs(10)),
            batch: self.batch,
            same_within: self.same_within,
            error: self.error,
            fail_above: self.fail_above,
            seed: self.seed,
        }
    }

    /// Fails before a long measurement rather than after it if the page cannot be written.
    fn check_page(&self) -> Result<(), Error> {
        let Some(file) = &self.html else {
            return Ok(());
        };
        let opened = OpenOptions::new().append(true).create(true).open(file);
        opened.map(drop).map_err(|error| at(file, &error).into())
    }

    /// Prints a result when it is there, unless all are printed together.
    fn show(&self, text: impl Display, json: impl FnOnce() -> String) {
        if self.json {
            print(&json());
        } else if !self.bencher {
            print(&text.to_string());
        }
    }

    /// Prints the summary, and writes the files that need all results.
    fn finish(&self, bencher: impl FnOnce() -> String, page: Page) -> Result<(), Error> {
        if self.bencher {
            print(&bencher());
        }
        match &self.html {
            Some(file) => fs::write(file, page.to_html()).map_err(|error| at(file, &error).into()),
            None => Ok(()),
        }
    }
}

/// Runs a bench program by its own arguments.
pub(super) fn suite(benches: Vec<(String, Work<'_>)>) -> ExitCode {
    let program = Program::parse();
    let (options, filter) = (&program.options, program.filter.as_deref());
    let this = || std::env::current_exe().map_err(Error::from);
    if let Some(old) = &program.old {
        let names = [old.display().to_string(), revision::working_tree()];
        return finish(this().and_then(|new| compare(options, old, &new, names, filter)));
    }
    if let Some(revision) = &program.against {
        let run = || {
            let new = this()?;
            let checked_out = Revision::check_out(revision)?;
            let package = std::env::var("CARGO_PKG_NAME").ok();
            let old = checked_out.build(&target_name(&new), package.as_deref())?;
            let names = [checked_out.name().to_owned(), revision::working_tree()];
            compare(options, &old, &new, names, filter)
        };
        return finish(run());
    }
    let unknown = unknown(&benches, filter);
    if !program.bench {
        // `cargo test NAME` gives its filter to all programs: most have nothing of that name.
        if let Some(unknown) = unknown {
            print(&unknown);
        }
        let mut meter = Meter::new();
        for (name, mut work) in benches {
            if name.contains(filter.unwrap_or("")) {
                work(&mut meter, 1);
                print(&format!("{name}: ran once; `--bench` measures"));
            }
        }
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = unknown {
        return finish(Err(Error::setting(unknown)));
    }
    finish(measure(options, benches, filter).map(|()| false))
}

/// The error of a filter that no bench has in its name.
fn unknown(benches: &[(String, Work<'_>)], filter: Option<&str>) -> Option<String> {
    let filter = filter?;
    let names: Vec<&str> = benches.iter().map(|(name, _)| name.as_str()).collect();
    let is_known = names.iter().any(|name| name.contains(filter));
    (!is_known).then(|| {
        format!(
            "no bench has `{filter}` in its name; there are: {}",
            names.join(", ")
        )
    })
}

/// Measures benches without comparing them.
fn measure(
    options: &Options,
    benches: Vec<(String, Work<'_>)>,
    filter: Option<&str>,
) -> Result<(), Error> {
    options.check_page()?;
    let time = options.time.unwrap_or(Duration::from_secs(1));
    let mut meter = Meter::new();
    let mut results: Vec<Alone> = Vec::new();
    for (name, mut work) in benches {
        if name.contains(filter.unwrap_or("")) {
            let mut nanos = |iterations| work(&mut meter, iterations).nanos;
            let result = Alone::measure(name, &mut nanos, options.batch, time, options.error)?;
            options.show(&result, || result.to_json());
            results.push(result);
        }
    }
    let page = Page::new(program_name()).section(alone::section(&results));
    options.finish(|| alone::to_bencher(&results), page)
}

fn compare(
    options: &Options,
    old: &Path,
    new: &Path,
    names: [String; 2],
    filter: Option<&str>,
) -> Result<bool, Error> {
    options.check_page()?;
    let mut reports = Vec::new();
    options.compare().each(old, new, names, filter, |report| {
        options.show(&report, || report.to_json());
        reports.push(report);
    })?;
    let page = Page::new(target_name(new)).comparisons(&reports);
    options.finish(|| to_bencher(&reports), page)?;
    Ok(reports.iter().any(|report| report.fails))
}

fn against(
    options: &Options,
    revision: &str,
    bench: &str,
    package: Option<&str>,
    filter: Option<&str>,
) -> Result<bool, Error> {
    let checked_out = Revision::check_out(revision)?;
    let old = checked_out.build(bench, package)?;
    let new = revision::build_here(bench, package)?;
    let names = [checked_out.name().to_owned(), revision::working_tree()];
    compare(options, &old, &new, names, filter)
}

/// The name of the target of an executable: cargo appends a hyphen and a hash.
fn target_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match stem.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => stem.into_owned(),
    }
}

/// The name of the target of this program.
fn program_name() -> String {
    std::env::current_exe().map_or_else(|_| "benches".to_owned(), |path| target_name(&path))
}

/// Reads `2%` as 0.02.
fn percent(text: &str) -> Result<f64, String> {
    let number = text
        .strip_suffix('%')
        .map(|number| number.trim().parse::<f64>());
    match number {
        Some(Ok(number)) => Ok(number / 100.0),
        _ => Err("a percentage is right, as `2%`".to_owned()),
    }
}

/// A reader that is gone is no reason to panic.
fn print(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

fn finish(result: Result<bool, Error>) -> ExitCode {
    match result {
        Ok(fails) => ExitCode::from(u8::from(fails)),
        Err(error) => {
            let source = error.source().map(|source| format!(": {source}"));
            eprintln!("error: {error}{}", source.unwrap_or_default());
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_a_percent_sign() {
        assert_eq!(percent("2%"), Ok(0.02));
        assert_eq!(percent("0.5 %"), Ok(0.005));
        assert!(percent("2").is_err() && percent("%").is_err());
    }

    #[test]
    fn the_hash_of_cargo_is_not_part_of_the_name_of_a_target() {
        assert_eq!(
            target_name(Path::new("deps/parse-0123456789abcdef")),
            "parse"
        );
        assert_eq!(target_name(Path::new("deps/my-parse")), "my-parse");
        assert_eq!(target_name(Path::new("parse")), "parse");
    }

    #[test]
    fn each_option_of_the_command_line_is_that_of_the_comparison() {
        let compare = |arguments: &str| {
            let program = ["words"].into_iter().chain(arguments.split_whitespace());
            Program::parse_from(program).options.compare()
        };
        let set = compare(
            "--time 3s --batch 2ms --same-within 1% --error 2% --fail-above 4% --seed 5 --bench",
        );
        assert_eq!(set.time, Duration::from_secs(3));
        assert_eq!(set.batch, Duration::from_millis(2));
        assert_eq!((set.same_within, set.error), (0.01, 0.02));
        assert_eq!((set.fail_above, set.seed), (Some(0.04), Some(5)));
        assert_eq!(
            set.options(),
            "at most 3s, batches of 2ms, same within 1 %, error 2 %, fail above 4 %, seed 5"
        );
        assert_eq!(compare("").options(), Compare::new().options());
    }

    #[test]
    fn the_exit_code_is_1_for_what_fails_and_2_for_an_error() {
        let code = |result| format!("{:?}", finish(result));
        let expected = [0, 1, 2].map(|code| format!("{:?}", ExitCode::from(code)));
        let error = Err(Error::setting("planned by the test"));
        assert_eq!([code(Ok(false)), code(Ok(true)), code(error)], expected);
    }

    #[test]
    fn the_command_lines_are_consistent() {
        use clap::CommandFactory as _;
        Tool::command().debug_assert();
        Program::command().debug_assert();
    }
}
