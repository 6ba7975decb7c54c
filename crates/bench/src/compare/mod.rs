//! Comparison of two programs, or of two closures, that run in turns on the same machine.
//!
//! Times that were stored yesterday, or on another machine, mostly compare machines. A comparison
//! runs both candidates now, in short batches that alternate in random order, so that a change of
//! the clock rate or a busy neighbour hits both. A third lane runs a copy of the old candidate as a
//! control: what differs there, the machine did.
//!
//! # Two versions of a program
//!
//! A bench is a plain program that names its work in a [`Suite`]:
//!
//! ```no_run
//! use tallies_bench::compare::Suite;
//!
//! fn main() -> std::process::ExitCode {
//!     let text = "17 4 21".repeat(100);
//!     Suite::new().bench("split", move || text.split(' ').count()).main()
//! }
//! ```
//!
//! With `harness = false` in its `[[bench]]` section, `cargo bench --bench NAME` prints the time of
//! an iteration. `cargo bench --bench NAME -- --against main` builds the same bench at the revision
//! `main` and compares it with the working tree. `--old PATH` compares with another executable, and
//! `--fail-above 2%` exits with 1 if the new version is proven to be more than 2 % slower, and
//! `--html FILE` writes a [`Page`](crate::Page). The program `tallies-bench` compares any two such
//! executables.
//!
//! # Two closures
//!
//! ```
//! use std::time::Duration;
//! use tallies_bench::compare::{Compare, Verdict};
//!
//! let (few, many) = (vec![1_u64; 1_000], vec![1_u64; 2_000]);
//! let report = Compare::new().time(Duration::from_secs(5)).closures(
//!     "sum",
//!     || few.iter().sum::<u64>(),
//!     || many.iter().sum::<u64>(),
//! )?;
//! println!("{report}");
//! # assert_ne!(report.verdict, Verdict::Faster);
//! # Ok::<(), tallies_bench::Error>(())
//! ```
//!
//! # Many candidates
//!
//! A [`Field`] runs any number of candidates in turns, on one thread or on several, by the clock or
//! by processor time, with a setup that is not measured if they need one. Its result has the ratio
//! of any two of them.
//!
//! # Method
//!
//! A *round* is one batch of every lane, in random order. A *restart* starts all processes anew,
//! because each start settles at another speed (memory layout, address space). Its value is the
//! logarithm of the time of the new candidate over that of the old one, each the mean of the
//! fastest quarter of its batches. On a shared machine, the other ones show what else runs there:
//! beside a program on the other half of the core, some batches take 1.8 times as long, and most
//! take the same time to a thousandth. Restarts are independent, and a [`Sequence`] gives their
//! mean an interval that holds at every look. So the measurement stops as soon as the interval
//! decides, and that does not make it wrong more often. Closures have no restarts: 50 ms of rounds
//! are a block, and neighbouring blocks are joined so that 16 to 31 batches remain, however long it
//! runs.
//!
//! # Limits
//!
//! - A comparison shows what differs between two *builds*. Code that moved by an edit elsewhere may
//!   run a percent faster or slower; neither restarts nor the control see that.
//! - An iteration runs in a loop with warm caches and a trained branch predictor.
//! - A slow path that fewer than three batches in four take is not seen: with batches of 300 µs,
//!   what happens every 10 ms. Longer batches ([`Compare::batch`]) have it in each of them, and a
//!   [`Recorder`](crate::recorder::Recorder) shows the distribution.
//! - The control of closures is the same closure, in the same process: it shows drift and the
//!   effect of order, and nothing about layout.

mod alone;
mod cli;
mod crew;
mod field;
mod hold;
mod lanes;
mod measure;
mod meter;
mod process;
mod protocol;
mod report;
mod revision;
mod section;
mod stats;
mod suite;
mod verdict;

use std::path::Path;
use std::time::Duration;

use tallies_names::setters;

pub use cli::main;
pub use field::{Field, Ratio, Standing, Standings};
pub use report::{Candidate, Report, to_bencher};
pub(crate) use section::section;
pub use stats::{Interval, Sequence};
pub use suite::Suite;
pub use verdict::Verdict;

use crate::Error;

/// A comparison of an old and a new candidate.
///
/// Cost: three lanes share [`time`](Self::time), 10 s by default, and fewer if the interval decides
/// before.
///
/// ```no_run
/// use std::time::Duration;
/// use tallies_bench::compare::Compare;
///
/// let compare = Compare::new().time(Duration::from_secs(60)).fail_above(0.02);
/// for report in compare.programs("target/old".as_ref(), "target/new".as_ref(), None)? {
///     println!("{report}");
/// }
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a comparison does nothing until `closures` or `programs` is called"]
pub struct Compare {
    time: Duration,
    batch: Duration,
    same_within: f64,
    error: f64,
    fail_above: Option<f64>,
    seed: Option<u64>,
}

impl Default for Compare {
    fn default() -> Self {
        Self::new()
    }
}

impl Compare {
    /// Creates a comparison of at most 10 s, with batches of 300 µs, that calls candidates the same
    /// within 0.5 %, and whose intervals fail in at most 5 % of the comparisons.
    ///
    /// ```
    /// let compare = tallies_bench::compare::Compare::new();
    /// # let _ = compare;
    /// ```
    pub fn new() -> Self {
        Self {
            time: Duration::from_secs(10),
            batch: Duration::from_micros(300),
            same_within: 0.005,
            error: 0.05,
            fail_above: None,
            seed: None,
        }
    }

    setters! {
        /// Sets the longest time of a comparison. It ends before if the interval decides.
        /// Comparisons of programs run ten restarts even if they take longer. The time is looked at
        /// between rounds, and nothing interrupts an iteration: before the first look, work that
        /// takes longer than a batch has run about ten times, so work of 200 ms takes 2 s whatever
        /// the limit.
        ///
        /// ```
        /// let minute = std::time::Duration::from_secs(60);
        /// let compare = tallies_bench::compare::Compare::new().time(minute);
        /// # let _ = compare;
        /// ```
        fn time(self, time: Duration) = self.time = time;

        /// Sets the time of a batch, from 10 µs to 10 s. Short batches are rarely interrupted; long
        /// ones hide the cost of waking up, about 10 µs.
        ///
        /// ```
        /// let batch = std::time::Duration::from_micros(300);
        /// let compare = tallies_bench::compare::Compare::new().batch(batch);
        /// # let _ = compare;
        /// ```
        fn batch(self, batch: Duration) = self.batch = batch;

        /// Sets the relative difference up to which the candidates count as the same, such as
        /// `0.005`.
        ///
        /// ```
        /// let compare = tallies_bench::compare::Compare::new().same_within(0.01);
        /// # let _ = compare;
        /// ```
        fn same_within(self, difference: f64) = self.same_within = difference;

        /// Sets the probability with which the interval may miss the true difference, at any look.
        ///
        /// ```
        /// let compare = tallies_bench::compare::Compare::new().error(0.01);
        /// # let _ = compare;
        /// ```
        fn error(self, probability: f64) = self.error = probability;

        /// Sets the slow-down above which [`Report::fails`] is true, such as `0.02`. The whole
        /// interval must lie above it, so the measurement goes on until it does, or lies below, or
        /// time is up.
        ///
        /// ```
        /// let compare = tallies_bench::compare::Compare::new().fail_above(0.02);
        /// # let _ = compare;
        /// ```
        fn fail_above(self, slowdown: f64) = self.fail_above = Some(slowdown);

        /// Sets the seed of the random order, which is else different each time.
        ///
        /// ```
        /// let compare = tallies_bench::compare::Compare::new().seed(1);
        /// # let _ = compare;
        /// ```
        fn seed(self, seed: u64) = self.seed = Some(seed);
    }

    /// Compares two closures in this process. What they return is dropped within the measured time.
    ///
    /// # Errors
    ///
    /// An error that [is a setting](Error::is_setting) if a setting cannot be used, and one that
    /// [is the target's](Error::is_target) if the work takes no time that a clock can see.
    ///
    /// ```no_run
    /// use tallies_bench::compare::Compare;
    ///
    /// let text = "a,b,c".repeat(50);
    /// let report = Compare::new().closures(
    ///     "split",
    ///     || text.split(',').count(),
    ///     || text.bytes().filter(|byte| *byte == b',').count(),
    /// )?;
    /// println!("{report}");
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    pub fn closures<A, B>(
        &self,
        name: &str,
        old: impl FnMut() -> A,
        new: impl FnMut() -> B,
    ) -> Result<Report, Error> {
        self.check()?;
        lanes::compare(self, name, old, new)
    }

    /// Compares every bench that two executables have in common and whose name contains `filter`,
    /// one after the other. Both executables must be benches that end in [`Suite::main`].
    ///
    /// The executables are copied, so they may be replaced or removed meanwhile.
    ///
    /// # Errors
    ///
    /// An error that [is a setting](Error::is_setting) if a setting cannot be used or no bench is
    /// left, one that [is the target's](Error::is_target) if an executable ends, does not answer
    /// for a minute, or is no bench of this crate, and one that [is input or output](Error::is_io)
    /// if it cannot be copied or started.
    ///
    /// ```no_run
    /// use tallies_bench::compare::Compare;
    ///
    /// let (old, new) = ("target/old/parse".as_ref(), "target/new/parse".as_ref());
    /// for report in Compare::new().programs(old, new, Some("json"))? {
    ///     println!("{report}");
    /// }
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    pub fn programs(
        &self,
        old: &Path,
        new: &Path,
        filter: Option<&str>,
    ) -> Result<Vec<Report>, Error> {
        let mut reports = Vec::new();
        let names = [old, new].map(|path| path.display().to_string());
        self.each(old, new, names, filter, |report| reports.push(report))?;
        Ok(reports)
    }

    /// Like [`programs`](Self::programs), but hands over each report as soon as there is one.
    /// Reports name the executables as `names` does.
    fn each(
        &self,
        old: &Path,
        new: &Path,
        names: [String; 2],
        filter: Option<&str>,
        show: impl FnMut(Report),
    ) -> Result<(), Error> {
        self.check()?;
        process::compare(self, [old, new], names, filter.unwrap_or(""), show)
    }

    /// The settings in words.
    fn options(&self) -> String {
        let percent = |share: f64| format!("{} %", (share * 1e8).round() / 1e6);
        let limit = self
            .fail_above
            .map(|limit| format!(", fail above {}", percent(limit)));
        let seed = self.seed.map(|seed| format!(", seed {seed}"));
        format!(
            "at most {:?}, batches of {:?}, same within {}, error {}{}{}",
            self.time,
            self.batch,
            percent(self.same_within),
            percent(self.error),
            limit.unwrap_or_default(),
            seed.unwrap_or_default()
        )
    }

    fn check(&self) -> Result<(), Error> {
        let times = Duration::from_millis(100)..=Duration::from_secs(86_400);
        let batches = Duration::from_micros(10)..=Duration::from_secs(10);
        let is_limit = |limit: &f64| (0.0..f64::INFINITY).contains(limit);
        let (name, value, right) = if !times.contains(&self.time) {
            ("time", format!("{:?}", self.time), "100 ms to one day")
        } else if !batches.contains(&self.batch) {
            ("batch", format!("{:?}", self.batch), "10 µs to 10 s")
        } else if !(0.0..1.0).contains(&self.same_within) {
            ("same_within", self.same_within.to_string(), "0 to 1")
        } else if !(1e-6..=0.5).contains(&self.error) {
            ("error", self.error.to_string(), "0.000001 to 0.5")
        } else if let Some(limit) = self.fail_above.filter(|limit| !is_limit(limit)) {
            ("fail_above", limit.to_string(), "a number from 0")
        } else {
            return Ok(());
        };
        let why = format!("`{name}` of a comparison is {value}; {right} is right");
        Err(Error::setting(why))
    }
}
