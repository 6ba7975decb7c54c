//! The result of a comparison, as text and as JSON.

use std::fmt;

use serde::Serialize;

use super::measure::{Measurement, Unit};
use super::stats::{self, Interval, Sequence};
use super::verdict::Verdict;
use crate::bencher::{self, Nanoseconds};
use crate::build::Build;
use crate::machine::Machine;

/// The result of comparing one bench.
///
/// `Display` writes a few lines of text, and [`to_json`](Self::to_json) the whole result. Relative
/// differences are those of the new candidate: 0.01 means that it takes 1 % more time.
///
/// ```no_run
/// use tallies_bench::compare::Compare;
///
/// let report = Compare::new().closures("add", || 1 + 1, || 2 + 2)?;
/// println!("{report}\n{}", report.to_json());
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The version of the form of the JSON: 1.
    pub schema: u32,
    /// The name of the bench.
    pub name: String,
    /// The outcome.
    pub verdict: Verdict,
    /// Whether the slow-down is proven to exceed
    /// [`Compare::fail_above`](super::Compare::fail_above). False without a limit.
    pub fails: bool,
    /// The relative difference in time.
    pub effect: f64,
    /// The interval of the effect, which holds at any look. `None` if there were too few restarts.
    pub interval: Option<Interval>,
    /// A narrower interval, which holds only if the measurement did not stop because of it: the
    /// studentized bootstrap over restarts or batches.
    pub bootstrap: Option<Interval>,
    /// The relative difference between the old candidate and its copy.
    pub control: f64,
    /// The interval of the control, which holds at any look.
    pub control_interval: Option<Interval>,
    /// Nanoseconds per iteration of the old candidate.
    pub old_nanos: f64,
    /// Nanoseconds per iteration of the new candidate.
    pub new_nanos: f64,
    /// The interval of `old_nanos`, which holds at any look.
    pub old_nanos_interval: Option<Interval>,
    /// The interval of `new_nanos`, which holds at any look.
    pub new_nanos_interval: Option<Interval>,
    /// Instructions per iteration of the old candidate in user space. `None` where the kernel does
    /// not count them, as in most containers and virtual machines.
    pub old_instructions: Option<f64>,
    /// Instructions per iteration of the new candidate.
    pub new_instructions: Option<f64>,
    /// The number of restarts. 1 for closures.
    pub restarts: u64,
    /// The number of rounds, each with a batch of every lane.
    pub rounds: u64,
    /// The number of iterations of a batch.
    pub iterations: u64,
    /// The time of the whole comparison, in seconds.
    pub seconds: f64,
    /// The difference up to which candidates count as the same.
    pub same_within: f64,
    /// The probability with which an interval may miss.
    pub error: f64,
    /// The slow-down above which the comparison fails.
    pub fail_above: Option<f64>,
    /// The old candidate.
    pub old: Candidate,
    /// The new candidate.
    pub new: Candidate,
    /// The settings of the comparison in words.
    pub options: String,
    /// The machine of the comparison.
    pub machine: Machine,
}

/// One of the two that were compared.
///
/// ```no_run
/// use tallies_bench::compare::Compare;
///
/// let report = Compare::new().closures("add", || 1 + 1, || 2 + 2)?;
/// println!("old is {}, new is {}", report.old.name, report.new.name);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Candidate {
    /// The revision with its commit, the path of the executable, or `closure`.
    pub name: String,
    /// The compiler and the profile. `None` for an executable that does not tell.
    pub build: Option<Build>,
}

impl Candidate {
    pub(super) fn new(name: impl Into<String>, build: Option<Build>) -> Self {
        let name = name.into();
        Self { name, build }
    }
}

impl Report {
    /// Reports what was measured so far, by batches of so many iterations.
    pub(super) fn new(measured: &Measurement<'_>, iterations: u64) -> Self {
        let (compare, units) = (measured.compare, &measured.units);
        let mean = |value: fn(&Unit) -> f64| units.iter().map(value).collect::<Sequence>().mean();
        let interval = |values: &[f64]| {
            let sequence: Sequence = values.iter().copied().collect();
            let enough = values.len() >= stats::FEW;
            enough.then(|| sequence.interval(compare.error)).flatten()
        };
        let effect = interval(&measured.values(|unit| unit.effect)).map(relative);
        let control = interval(&measured.values(|unit| unit.control)).map(relative);
        let verdict = match (effect, control) {
            (Some(effect), Some(control)) => Verdict::of(effect, control, compare.same_within),
            _ => Verdict::Undecided,
        };
        let fails = |limit| verdict == Verdict::Slower && effect.is_some_and(|e| e.low > limit);
        let counted = units.iter().all(|unit| unit.instructions.is_some());
        let instructions = |lane: usize| {
            let counts = units
                .iter()
                .filter_map(|unit| Some(unit.instructions?[lane]));
            counted.then(|| counts.collect::<Sequence>().mean())
        };
        Self {
            schema: 1,
            name: measured.name.to_owned(),
            verdict,
            fails: compare.fail_above.is_some_and(fails),
            effect: mean(|unit| unit.effect).exp_m1(),
            interval: effect,
            bootstrap: None,
            control: mean(|unit| unit.control).exp_m1(),
            control_interval: control,
            old_nanos: mean(|unit| unit.nanos[0]),
            new_nanos: mean(|unit| unit.nanos[1]),
            old_nanos_interval: interval(&measured.values(|unit| unit.nanos[0])),
            new_nanos_interval: interval(&measured.values(|unit| unit.nanos[1])),
            old_instructions: instructions(0),
            new_instructions: instructions(1),
            restarts: match measured.restarts {
                true => units.len() as u64,
                false => 1,
            },
            rounds: units.iter().map(|unit| unit.rounds).sum(),
            iterations,
            seconds: measured.start.elapsed().as_secs_f64(),
            same_within: compare.same_within,
            error: compare.error,
            fail_above: compare.fail_above,
            old: measured.candidates[0].clone(),
            new: measured.candidates[1].clone(),
            options: compare.options(),
            machine: measured.machine.clone(),
        }
    }

    /// Adds what takes too long for every look.
    pub(super) fn complete(mut self, measured: &Measurement<'_>) -> Self {
        let values = measured.values(|unit| unit.effect);
        self.bootstrap = stats::bootstrap(&values, self.error, measured.seed).map(relative);
        self.machine = self.machine.until_now();
        self
    }

    /// Returns whether more rounds are not needed: there is a verdict, and the limit, if any, does
    /// not lie in the interval.
    pub(super) fn is_final(&self, limit: Option<f64>) -> bool {
        let open = |limit| {
            self.interval
                .is_none_or(|interval| interval.contains(limit))
        };
        self.verdict.is_final() && !limit.is_some_and(open)
    }

    /// Returns the result as a JSON object on one line. Times are in nanoseconds, differences are
    /// relative, and what could not be measured is `null`.
    ///
    /// ```no_run
    /// use tallies_bench::compare::Compare;
    ///
    /// let report = Compare::new().closures("add", || 1 + 1, || 2 + 2)?;
    /// assert!(report.to_json().starts_with("{\"schema\":1,"));
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text without keys of other types")
    }

    /// The change in instructions, in words.
    pub(super) fn instructions(&self) -> Option<String> {
        let (old, new) = (self.old_instructions?, self.new_instructions?);
        let change = Difference(new / old - 1.0, None);
        Some(format!(
            "old {old:.0}, new {new:.0} instructions per iteration: {change}"
        ))
    }

    /// Warnings that a reader must not miss.
    pub(super) fn notes(&self) -> Vec<String> {
        let (old, new) = (self.old.build.as_ref(), self.new.build.as_ref());
        if old == new {
            return old
                .and_then(|build| build.note("old and new"))
                .into_iter()
                .collect();
        }
        let debug = [("old", old), ("new", new)].into_iter();
        let debug = debug.filter_map(|(name, build)| build?.note(name));
        let differ = old.zip(new).map(|(old, new)| {
            format!("other builds: old is by {old}, and new by {new}, which is part of the result")
        });
        debug.chain(differ).collect()
    }

    /// How much was measured, in words.
    pub(super) fn amount(&self) -> String {
        format!(
            "{} rounds of {} iterations in {} restart{}, {:.1} s",
            self.rounds,
            self.iterations,
            self.restarts,
            if self.restarts == 1 { "" } else { "s" },
            self.seconds
        )
    }
}

/// Returns the times of the new candidates in the Bencher Metric Format, which bencher.dev tracks:
/// nanoseconds per iteration with their intervals, as one object.
///
/// ```no_run
/// use tallies_bench::compare::{Compare, to_bencher};
///
/// let report = Compare::new().closures("add", || 1 + 1, || 2 + 2)?;
/// assert!(to_bencher(&[report]).starts_with(r#"{"add":{"latency":{"value":"#));
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[must_use]
pub fn to_bencher(reports: &[Report]) -> String {
    bencher::object(reports.iter().map(|report| {
        let latency = nanoseconds(report.new_nanos, report.new_nanos_interval);
        (report.name.clone(), latency)
    }))
}

pub(super) fn nanoseconds(value: f64, interval: Option<Interval>) -> Nanoseconds {
    Nanoseconds {
        value,
        lower: interval.map(|interval| interval.low.max(0.0)),
        upper: interval.map(|interval| interval.high),
    }
}

/// The relative difference of an interval of logarithms.
fn relative(interval: Interval) -> Interval {
    interval.map(f64::exp_m1)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = Difference(self.effect, self.interval);
        writeln!(f, "{}: {}, {effect}", self.name, self.verdict)?;
        let (old, new) = (Nanos(self.old_nanos), Nanos(self.new_nanos));
        let new = new.as_of(&old);
        writeln!(f, "  old {old}, new {new} per iteration")?;
        if let Some(instructions) = self.instructions() {
            writeln!(f, "  {instructions}")?;
        }
        let control = Difference(self.control, self.control_interval);
        writeln!(f, "  control, a copy of old: {control}")?;
        if let Some(bootstrap) = self.bootstrap {
            let bootstrap = Difference(self.effect, Some(bootstrap));
            writeln!(f, "  bootstrap, if looked at once: {bootstrap}")?;
        }
        write!(f, "  {}", self.amount())?;
        let mut notes = self.notes().into_iter();
        notes.try_for_each(|note| write!(f, "\n  note: {note}"))
    }
}

/// A relative difference in percent, with its interval.
pub(super) struct Difference(pub(super) f64, pub(super) Option<Interval>);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, interval) = self;
        write!(f, "{:+.2} %", value * 100.0)?;
        interval.map_or(Ok(()), |Interval { low, high }| {
            write!(f, " [{:+.2} %, {:+.2} %]", low * 100.0, high * 100.0)
        })
    }
}

/// Nanoseconds in a unit that leaves one to three digits before the point.
pub(super) struct Nanos(pub(super) f64);

impl Nanos {
    /// The scale of that unit, and its name.
    fn unit(&self) -> (f64, &'static str) {
        match self.0 {
            nanos if nanos < 999.5 => (1.0, "ns"),
            nanos if nanos < 999.5e3 => (1e3, "µs"),
            nanos if nanos < 999.5e6 => (1e6, "ms"),
            _ => (1e9, "s"),
        }
    }

    /// Returns the time in the unit of another one, so that both can be compared at sight.
    pub(super) fn as_of(&self, other: &Self) -> String {
        let (scale, unit) = other.unit();
        format!("{:.3} {unit}", self.0 / scale)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_of(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Compare;

    fn build(opt_level: &str) -> Option<Build> {
        let mut build = Build::here();
        (build.opt_level, build.debug_assertions) = (opt_level.to_owned(), false);
        Some(build)
    }

    /// The report of restarts whose new candidate takes so much longer, and whose control so much,
    /// as logarithms, with noise of a thousandth.
    fn report(compare: &Compare, effect: f64, control: f64) -> Report {
        let candidates = [
            Candidate::new("a", build("3")),
            Candidate::new("b", build("3")),
        ];
        let mut measured = Measurement::new(compare, "join", true, candidates);
        measured.units = (0..20)
            .map(|i| {
                let noise = 0.001 * f64::from(i % 5 - 2);
                Unit {
                    effect: effect + noise,
                    control: control + noise,
                    nanos: [100.0, 100.0 * (effect + noise).exp()],
                    instructions: Some([1_000.0, 1_100.0]),
                    rounds: 50,
                }
            })
            .collect();
        Report::new(&measured, 7).complete(&measured)
    }

    #[test]
    fn a_report_has_the_means_of_its_restarts_and_fails_only_if_the_limit_is_proven() {
        let compare = Compare::new().fail_above(0.02);
        let slower = report(&compare, 0.05, 0.0);
        assert_eq!((slower.verdict, slower.fails), (Verdict::Slower, true));
        assert!((slower.effect - 0.05_f64.exp_m1()).abs() < 1e-9 && slower.control.abs() < 1e-9);
        let interval = slower.interval.unwrap();
        assert!(
            0.045 < interval.low && interval.high < 0.058,
            "{interval:?}"
        );
        assert!(interval.contains(slower.effect));
        assert_eq!(
            (slower.restarts, slower.rounds, slower.iterations),
            (20, 1000, 7)
        );
        assert_eq!(slower.old_nanos, 100.0);
        assert!(
            (slower.new_nanos - 105.127).abs() < 0.01,
            "{}",
            slower.new_nanos
        );
        let narrow = slower.bootstrap.unwrap();
        assert!(interval.low < narrow.low && narrow.high < interval.high);
        assert!(slower.is_final(Some(0.02)) && slower.is_final(None));
        assert_eq!(
            slower.instructions().unwrap(),
            "old 1000, new 1100 instructions per iteration: +10.00 %"
        );

        // Slower, but perhaps not by the limit; and more than the limit, but not proven.
        let near = report(&compare, 0.02, 0.0);
        assert_eq!((near.verdict, near.fails), (Verdict::Slower, false));
        assert!(!near.is_final(Some(0.02)) && near.is_final(None));
        let moved = report(&compare, 0.05, 0.03);
        assert_eq!((moved.verdict, moved.fails), (Verdict::Unproven, false));
        assert!(!moved.is_final(None));
        let faster = report(&compare, -0.05, 0.0);
        assert_eq!((faster.verdict, faster.fails), (Verdict::Faster, false));
        assert!(!report(&Compare::new(), 0.05, 0.0).fails);
        let same = report(&Compare::new(), 0.0, 0.0);
        assert!(same.verdict == Verdict::Same && same.is_final(None));
    }

    #[test]
    fn the_text_has_old_before_new_and_the_notes() {
        let mut report = report(&Compare::new(), 0.05, 0.0);
        let text = report.to_string();
        assert!(text.starts_with("join: slower, +5.13 % ["), "{text}");
        assert!(
            text.contains("old 100.000 ns, new 105.127 ns per iteration"),
            "{text}"
        );
        assert!(text.contains("control, a copy of old: -0.00 %") || text.contains("+0.00 %"));
        assert!(!text.contains("note"), "{text}");
        report.old.build = build("0");
        let notes = report.notes();
        let [debug, other] = &notes[..] else {
            panic!("{notes:?}");
        };
        assert!(
            debug.starts_with("debug build: opt-level 0 in old; "),
            "{debug}"
        );
        assert!(
            other.starts_with("other builds: old is by rustc "),
            "{other}"
        );
        assert!(other.contains("opt-level 0, and new by rustc "), "{other}");
        assert!(report.to_string().ends_with(&format!("\n  note: {other}")));
        report.new.build = build("0");
        let notes = report.notes();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains(" in old and new; "), "{notes:?}");
        report.old.build = None;
        assert_eq!(report.notes().len(), 1);
        report.new.build = None;
        assert!(report.notes().is_empty());
    }

    #[test]
    fn times_that_are_compared_have_one_unit() {
        assert_eq!(Nanos(999.4).to_string(), "999.400 ns");
        assert_eq!(Nanos(999.5).to_string(), "1.000 µs");
        assert_eq!(Nanos(2e9).to_string(), "2.000 s");
        assert_eq!(Nanos(1_001.0).as_of(&Nanos(998.0)), "1001.000 ns");
        assert_eq!(Nanos(998.0).as_of(&Nanos(1_001.0)), "0.998 µs");
    }
}
