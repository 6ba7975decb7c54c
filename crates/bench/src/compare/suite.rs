//! A bench program: names its work, and measures it, compares it, or answers a comparison.

use std::fmt;
use std::io::{self, BufReader};
use std::process::ExitCode;

use super::cli;
use super::measure::Batch;
use super::meter::Meter;
use super::protocol::{self, Reply, Task};
use crate::Build;

/// The benches of a program whose `main` is one call.
///
/// ```no_run
/// use tallies_bench::compare::Suite;
///
/// fn main() -> std::process::ExitCode {
///     let words: Vec<String> = (0..1_000).map(|i| i.to_string()).collect();
///     Suite::new()
///         .bench("concat", || words.concat())
///         .bench("sort", || {
///             let mut words = words.clone();
///             words.sort();
///             words
///         })
///         .main()
/// }
/// ```
#[derive(Default)]
#[must_use = "a suite does nothing until `main` is called"]
pub struct Suite<'a> {
    benches: Vec<(String, Work<'a>)>,
}

/// Runs a batch.
pub(super) type Work<'a> = Box<dyn FnMut(&mut Meter, u64) -> Batch + 'a>;

impl<'a> Suite<'a> {
    /// Creates an empty suite.
    ///
    /// ```
    /// let suite = tallies_bench::compare::Suite::new();
    /// # let _ = suite;
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a bench. Its work is called again and again, and must take about the same time each
    /// time. Its input should be made before; its result is dropped within the measured time.
    ///
    /// ```
    /// use tallies_bench::compare::Suite;
    ///
    /// let suite = Suite::new().bench("sum", || (0..1_000_u64).sum::<u64>());
    /// # let _ = suite;
    /// ```
    pub fn bench<R>(mut self, name: impl Into<String>, mut work: impl FnMut() -> R + 'a) -> Self {
        let batch = move |meter: &mut Meter, iterations| meter.batch(iterations, &mut work);
        self.benches.push((name.into(), Box::new(batch)));
        self
    }

    /// Does what the arguments say, as `--help` shows, and returns the exit code of the program: 0,
    /// 1 if a slow-down above `--fail-above` is proven, 2 for an error.
    ///
    /// `cargo bench` measures each bench for a second. Without the argument `--bench`, which cargo
    /// adds there, each work runs once, so `cargo test --benches` is fast.
    ///
    /// `cargo bench -- --against main` gives its options to the test harness of a library as well,
    /// which refuses them. `bench = false` in the section `[lib]` keeps cargo from that, and so
    /// does `--bench NAME`.
    ///
    /// ```no_run
    /// fn main() -> std::process::ExitCode {
    ///     tallies_bench::compare::Suite::new().bench("add", || 1 + 1).main()
    /// }
    /// ```
    #[must_use]
    pub fn main(self) -> ExitCode {
        let names = self.benches.iter().enumerate();
        let again = |(place, (name, _)): &(usize, &(String, _))| {
            self.benches[..*place]
                .iter()
                .any(|(other, _)| other == name)
        };
        if let Some((_, (name, _))) = names.into_iter().find(again) {
            eprintln!("two benches have the name `{name}`; give each one a name of its own");
            return ExitCode::from(2);
        }
        if std::env::var_os(protocol::VARIABLE).is_some() {
            return match serve(self.benches) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("a comparison asked something else: {error}");
                    ExitCode::from(2)
                }
            };
        }
        cli::suite(self.benches)
    }
}

impl fmt::Debug for Suite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.benches.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// Answers requests until the input ends.
fn serve(mut benches: Vec<(String, Work<'_>)>) -> io::Result<()> {
    let mut meter = Meter::new();
    let mut input = BufReader::new(io::stdin());
    while let Some(request) = protocol::read_request(&mut input)? {
        let answer = match request {
            Task::Names => {
                let names = benches.iter().map(|(name, _)| name.clone()).collect();
                Reply::Names {
                    version: protocol::VERSION,
                    names,
                    build: Some(Build::here()),
                }
            }
            Task::Run { bench, iterations } => match benches.get_mut(bench) {
                Some((_, work)) => Reply::Took(work(&mut meter, iterations)),
                None => Reply::Refused(format!("there is no bench {bench}")),
            },
        };
        protocol::send_answer(&mut io::stdout().lock(), &answer)?;
    }
    Ok(())
}
