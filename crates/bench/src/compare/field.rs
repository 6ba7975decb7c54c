//! Many candidates in one measurement, on one thread or on several.

use std::fmt;
use std::hint::black_box;
use std::thread;
use std::time::Instant;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tallies_names::setters;

use super::crew::{self, Clock, Crew, Run, Start, Timing};
use super::report::Nanos;
use super::stats::{self, Interval, Sequence};
use super::verdict::Verdict;
use super::{Compare, measure};
use crate::Error;

/// Many candidates that run in turns, such as one operation in several libraries.
///
/// A round is one batch of each candidate and of a copy of the first one, the control, in random
/// order. The measurement ends once every ratio to the first candidate is known within
/// [`same_within`](Compare::same_within), or when [`time`](Compare::time) is up, and not before
/// ten rounds.
///
/// ```
/// use std::time::Duration;
/// use tallies_bench::compare::{Compare, Field};
///
/// let text = "17,4,21".repeat(100);
/// let compare = Compare::new().time(Duration::from_millis(200)).same_within(0.02);
/// let standings = Field::new(&compare)
///     .candidate("bytes", || text.bytes().filter(|byte| *byte == b',').count())
///     .candidate("chars", || text.chars().filter(|char| *char == ',').count())
///     .candidate("split", || text.split(',').count())
///     .run()?;
/// println!("{standings}");
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[must_use = "a field does nothing until `run` is called"]
pub struct Field<'a> {
    compare: Compare,
    threads: usize,
    clock: Clock,
    candidates: Vec<Entrant<'a>>,
}

struct Entrant<'a> {
    name: String,
    run: Run<'a>,
    /// A batch is one iteration.
    once: bool,
}

impl<'a> Field<'a> {
    /// Creates a field without candidates, whose time, length of batches, order and error are those
    /// of `compare`.
    ///
    /// ```
    /// use tallies_bench::compare::{Compare, Field};
    ///
    /// let field = Field::new(&Compare::new());
    /// assert!(field.run().is_err());
    /// ```
    pub fn new(compare: &Compare) -> Self {
        Self {
            compare: compare.clone(),
            threads: 1,
            clock: Clock::Wall,
            candidates: Vec::new(),
        }
    }

    setters! {
        /// Runs every batch in so many threads at once, from 1, the default, to 1 024.
        ///
        /// Each thread stays on a processor, where the system allows it. Rounds in which the
        /// threads did not run at the same time are left out, since contended memory looks free
        /// while the other threads do not run.
        ///
        /// ```
        /// use tallies_bench::compare::{Compare, Field};
        ///
        /// let pair = Field::new(&Compare::new()).threads(2);
        /// # let _ = pair;
        /// ```
        fn threads(self, threads: usize) = self.threads = threads;

        /// Counts the processor time of the threads, and not the time that passes: other programs
        /// then disturb only caches and clock rate, and waiting for a lock or for input is free.
        /// Linux only.
        ///
        /// ```
        /// use tallies_bench::compare::{Compare, Field};
        ///
        /// let field = Field::new(&Compare::new()).processor_time();
        /// # let _ = field;
        /// ```
        fn processor_time(self) = self.clock = Clock::Processor;
    }

    /// Adds a candidate whose iteration is one call of `work`. What it returns is dropped within
    /// the measured time.
    ///
    /// ```
    /// use tallies_bench::compare::{Compare, Field};
    ///
    /// let field = Field::new(&Compare::new()).candidate("sum", || (0..1_000_u64).sum::<u64>());
    /// # let _ = field;
    /// ```
    pub fn candidate<R>(self, name: impl Into<String>, work: impl Fn() -> R + Sync + 'a) -> Self {
        self.batches(name, move |_, iterations| {
            for _ in 0..iterations {
                black_box(work());
            }
        })
    }

    /// Adds a candidate with a loop of its own: `work` gets the number of its thread, from 0, and
    /// of iterations. An eighth of a batch runs before, unmeasured.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// use tallies_bench::compare::{Compare, Field};
    ///
    /// let cells = [const { AtomicU64::new(0) }; 2];
    /// let field = Field::new(&Compare::new()).threads(2).batches("own cells", |thread, n| {
    ///     let cell = &cells[thread];
    ///     (0..n).for_each(|_| _ = cell.fetch_add(1, Relaxed));
    /// });
    /// # let _ = field;
    /// ```
    pub fn batches(self, name: impl Into<String>, work: impl Fn(usize, u64) + Sync + 'a) -> Self {
        let run = move |thread, iterations: u64, start: Start| {
            work(thread, iterations.div_ceil(8));
            start.measure(|| work(thread, black_box(iterations)))
        };
        self.add(name, run, false)
    }

    /// Adds a candidate that needs a new input each time, so a batch is one call of `work`. In each
    /// thread, `setup` makes an input before, and the result is dropped afterwards; neither is
    /// measured.
    ///
    /// ```
    /// use tallies_bench::compare::{Compare, Field};
    ///
    /// let words: Vec<_> = (0..1_000).map(|i| i.to_string()).collect();
    /// let sorted = |mut words: Vec<String>| {
    ///     words.sort();
    ///     words
    /// };
    /// let field = Field::new(&Compare::new());
    /// let field = field.with_setup("sort", |_thread| words.clone(), move |_, words| sorted(words));
    /// # let _ = field;
    /// ```
    pub fn with_setup<I, R>(
        self,
        name: impl Into<String>,
        setup: impl Fn(usize) -> I + Sync + 'a,
        work: impl Fn(usize, I) -> R + Sync + 'a,
    ) -> Self {
        let run = move |thread, _, start: Start| {
            let input = setup(thread);
            start.measure(|| work(thread, input))
        };
        self.add(name, run, true)
    }

    fn add(
        mut self,
        name: impl Into<String>,
        run: impl Fn(usize, u64, Start) -> crew::Lap + Sync + 'a,
        once: bool,
    ) -> Self {
        let (name, run) = (name.into(), Box::new(run));
        self.candidates.push(Entrant { name, run, once });
        self
    }

    /// Measures all candidates.
    ///
    /// # Errors
    ///
    /// An error that [is a setting](Error::is_setting) if a setting cannot be used, one that
    /// [is the target's](Error::is_target) if the work takes no time that a clock can see, and one
    /// that [is input or output](Error::is_io) if a thread cannot be started.
    ///
    /// # Panics
    ///
    /// If a candidate panics.
    ///
    /// ```no_run
    /// use tallies_bench::compare::{Compare, Field};
    ///
    /// let field = Field::new(&Compare::new()).candidate("one", || 1).candidate("two", || 2);
    /// println!("{}", field.run()?);
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    pub fn run(&self) -> Result<Standings, Error> {
        self.compare.check()?;
        if self.candidates.is_empty() {
            return Err(Error::setting(
                "a field has no candidate; at least one is right",
            ));
        }
        if !(1..=1_024).contains(&self.threads) {
            let threads = self.threads;
            let text = format!("`threads` of a field is {threads}; 1 to 1024 is right");
            return Err(Error::setting(text));
        }
        if self.clock == Clock::Processor && crew::system::time().is_none() {
            let text = "this system does not count the processor time of threads";
            return Err(Error::setting(text));
        }
        let field = self.candidates.iter();
        let field: Vec<_> = field.map(|one| (one.name.clone(), one.once)).collect();
        thread::scope(|scope| {
            let crew = Crew::start(scope, self.threads, self.clock)?;
            race(&self.compare, field, |place, iterations| {
                let candidate = &self.candidates[place];
                // The scope panics, too, so nobody sees this error.
                let panicked = || Error::target(format!("`{}` panicked", candidate.name));
                crew.batch(&candidate.run, iterations).ok_or_else(panicked)
            })
        })
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.candidates.iter().map(|candidate| &candidate.name);
        f.debug_list().entries(names).finish()
    }
}

/// Runs rounds of candidates, given by name and whether a batch is one iteration. `run` runs a
/// batch of the candidate at a place.
fn race(
    compare: &Compare,
    field: Vec<(String, bool)>,
    mut run: impl FnMut(usize, u64) -> Result<Timing, Error>,
) -> Result<Standings, Error> {
    let begin = Instant::now();
    let mut rng = StdRng::seed_from_u64(compare.seed.unwrap_or_else(measure::random_seed));
    let mut iterations = Vec::new();
    for (place, (_, once)) in field.iter().enumerate() {
        let nanos = |n| run(place, n).map(|timing| timing.nanos as u64);
        iterations.push(if *once {
            1
        } else {
            measure::iterations(compare.batch, nanos)?
        });
    }
    // The last lane is the control.
    let mut lanes = vec![Vec::new(); field.len() + 1];
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    let mut look = stats::FEW;
    loop {
        order.shuffle(&mut rng);
        for lane in &order {
            let place = lane % field.len();
            let mut timing = run(place, iterations[place])?;
            timing.nanos = timing.nanos.max(1.0) / iterations[place] as f64;
            lanes[*lane].push(timing);
        }
        let rounds = lanes[0].len();
        let late = begin.elapsed() >= compare.time;
        if rounds >= look || late && rounds >= stats::FEW {
            // A look takes as long as there are rounds, so there are fewer and fewer.
            look = rounds + rounds.div_ceil(4);
            let standings = Standings::new(compare, &field, &lanes);
            if late || standings.are_final() {
                return Ok(standings);
            }
        }
    }
}

/// The result of a [`Field`]: the time of each candidate, and the ratio of any two.
///
/// `Display` writes a line for each candidate, with its ratio to the first one, and one for the
/// control.
///
/// ```
/// use std::time::Duration;
/// use tallies_bench::compare::{Compare, Field};
///
/// let compare = Compare::new().time(Duration::from_millis(100));
/// let sum = |upto: u64| (0..upto).map(std::hint::black_box).sum::<u64>();
/// let field = Field::new(&compare);
/// let field = field.candidate("ten", || sum(10)).candidate("thousand", || sum(1_000));
/// let standings = field.run()?;
/// assert_eq!(standings.candidates[1].name, "thousand");
/// assert!(standings.ratio(1, 0).value > 1.0);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Standings {
    /// The candidates, in the order in which they were added.
    pub candidates: Vec<Standing>,
    /// Times per iteration in each round: of the candidates, and of the control.
    lanes: Vec<Vec<Timing>>,
    error: f64,
    same_within: f64,
}

/// The time of one candidate of a [`Field`].
///
/// ```no_run
/// # let field = tallies_bench::compare::Field::new(&Default::default());
/// for standing in field.run()?.candidates {
///     println!("{}: {} ns", standing.name, standing.nanos);
/// }
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Standing {
    /// The name of the candidate.
    pub name: String,
    /// Nanoseconds per iteration in one thread: the mean of the middle half of the rounds.
    pub nanos: f64,
    /// The threads ran at the same time in fewer than three rounds, so all rounds count, and
    /// contention is understated. Never with one thread.
    pub is_doubtful: bool,
}

/// The time of one candidate divided by that of another one.
///
/// ```no_run
/// # let field = tallies_bench::compare::Field::new(&Default::default());
/// let ratio = field.run()?.ratio(2, 0);
/// println!("{ratio}: {}", ratio.verdict);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ratio {
    /// The ratio: 2 means that it takes twice as long.
    pub value: f64,
    /// The interval of the ratio, which holds at any look, except with the probability
    /// [`error`](Compare::error). `None` if too few rounds were undisturbed.
    pub interval: Option<Interval>,
    /// The outcome, with the control in mind.
    pub verdict: Verdict,
}

impl Standings {
    fn new(compare: &Compare, field: &[(String, bool)], lanes: &[Vec<Timing>]) -> Self {
        let standing = |((name, _), timings): (&(String, bool), &Vec<Timing>)| {
            let rounds = Rounds::of(timings, timings);
            let mut nanos: Vec<f64> = rounds.pairs.iter().map(|(nanos, _)| *nanos).collect();
            Standing {
                name: name.clone(),
                nanos: stats::midmean(&mut nanos),
                is_doubtful: rounds.are_doubtful,
            }
        };
        Self {
            candidates: field.iter().zip(lanes).map(standing).collect(),
            lanes: lanes.to_vec(),
            error: compare.error,
            same_within: compare.same_within,
        }
    }

    /// Returns the time of the candidate `of`, divided by that of the candidate `to`, from pairs of
    /// batches of the same round. Candidates are numbered from 0, in the order in which they were
    /// added. Each interval misses with the same probability, so one of many does so more often.
    ///
    /// # Panics
    ///
    /// If there is no such candidate.
    ///
    /// ```no_run
    /// # let field = tallies_bench::compare::Field::new(&Default::default());
    /// let standings = field.run()?;
    /// println!("the third takes {} of the second", standings.ratio(2, 1));
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    #[must_use]
    pub fn ratio(&self, of: usize, to: usize) -> Ratio {
        let candidates = self.candidates.len();
        assert!(
            of < candidates && to < candidates,
            "a field of {candidates} candidates"
        );
        self.between(of, to)
    }

    /// Returns the ratio of a copy of the first candidate to the first one: a difference that the
    /// machine made.
    ///
    /// ```no_run
    /// # let field = tallies_bench::compare::Field::new(&Default::default());
    /// println!("control: {}", field.run()?.control());
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    #[must_use]
    pub fn control(&self) -> Ratio {
        self.between(self.candidates.len(), 0)
    }

    fn between(&self, of: usize, to: usize) -> Ratio {
        let (value, interval) = self.pairs(of, to);
        let (_, control) = self.pairs(self.candidates.len(), 0);
        let relative = |ratio: Interval| ratio.map(|ratio| ratio - 1.0);
        let verdict = interval.zip(control).map(|(effect, control)| {
            Verdict::of(relative(effect), relative(control), self.same_within)
        });
        Ratio {
            value,
            interval,
            verdict: verdict.unwrap_or(Verdict::Undecided),
        }
    }

    fn pairs(&self, of: usize, to: usize) -> (f64, Option<Interval>) {
        let rounds = Rounds::of(&self.lanes[of], &self.lanes[to]);
        let logs: Vec<f64> = rounds.pairs.iter().map(|(of, to)| (of / to).ln()).collect();
        let logs: Sequence = stats::blocks(&logs).into_iter().collect();
        let enough = !rounds.are_doubtful && logs.count() >= stats::FEW as u64;
        let interval = enough.then(|| logs.interval(self.error)).flatten();
        (
            logs.mean().exp(),
            interval.map(|interval| interval.map(f64::exp)),
        )
    }

    /// Returns whether every ratio to the first candidate is known well enough.
    fn are_final(&self) -> bool {
        (1..self.lanes.len()).all(|lane| {
            let (value, interval) = self.pairs(lane, 0);
            interval
                .is_some_and(|Interval { low, high }| high - low <= 2.0 * self.same_within * value)
        })
    }
}

/// The times of two lanes in the rounds that count: those in which the threads of both ran
/// together.
/// If there are fewer than three, all count.
struct Rounds {
    pairs: Vec<(f64, f64)>,
    are_doubtful: bool,
}

impl Rounds {
    fn of(of: &[Timing], to: &[Timing]) -> Self {
        let together = |(of, to): &(&Timing, &Timing)| of.is_together && to.is_together;
        let are_doubtful = of.iter().zip(to).filter(together).count() < 3;
        let counted = of.iter().zip(to);
        let counted = counted.filter(|pair| are_doubtful || together(pair));
        Self {
            pairs: counted.map(|(of, to)| (of.nanos, to.nanos)).collect(),
            are_doubtful,
        }
    }
}

impl fmt::Display for Standings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, standing) in self.candidates.iter().enumerate() {
            let mark = if standing.is_doubtful { "~" } else { "" };
            write!(f, "{}: {mark}{}", standing.name, Nanos(standing.nanos))?;
            if place > 0 {
                let ratio = self.ratio(place, 0);
                write!(f, ", {ratio}, {}", ratio.verdict)?;
            }
            writeln!(f)?;
        }
        write!(f, "control, a copy of the first: {}", self.control())
    }
}

/// Writes `1.23× [1.20×, 1.26×]`, or with the precision of the formatter.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$}×", self.value)?;
        self.interval.map_or(Ok(()), |Interval { low, high }| {
            write!(f, " [{low:.digits$}×, {high:.digits$}×]")
        })
    }
}

#[cfg(test)]
#[path = "field_tests.rs"]
mod tests;
