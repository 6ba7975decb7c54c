//! Summaries: quantiles within a rank error that the user chooses.

mod builder;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::lockfree::Generation;
use crate::observe::{self, Distribution, SummaryShape, SummaryTotal, Window, is_finite};
use crate::snapshot::sketch::Targets;
use crate::snapshot::{Kind, Quantiles, Values, sum_since};

use super::{Bound, MetricFamily, Series, column, forward, metric, observe_methods, with_builder};
use crate::family::SeriesRef;
use crate::family::desc::Desc;
use crate::family::label::{LabelSet, Unlabelled};
use crate::family::shape::{DEFAULT_AGES, check_window};
use crate::family::{CellKind, Family, MetricCells};

/// Quantiles of observations, since the program began or of the last seconds, each within its rank
/// error.
///
/// ```
/// use tallies::Summary;
///
/// /// Time of a call.
/// #[tallies::metric]
/// static LATENCY: Summary =
///     Summary::new("rpc_duration_seconds").objective(0.5, 0.01).objective(0.99, 0.001);
///
/// for i in 1..=1000 {
///     LATENCY.observe(f64::from(i));
/// }
/// let now = LATENCY.get();
/// let (median, error) = now.quantile(0.5).unwrap();
/// assert!((490.0..=510.0).contains(&median) && error <= 0.01);
/// assert_eq!(now.quantile(1.0), Some((1000.0, 0.0)));
/// ```
///
/// The default objectives are the median within 5 % of the ranks, 0.9 within 1 %, and 0.99 within
/// 0.1 %; [`objective`](Self::objective) sets others. The quantiles 0 and 1 are exact. Before the
/// first observation quantiles are NaN. NaN is rejected and counted in
/// `tallies_rejected_updates_total`. So is an infinity if one of the other sign was observed
/// before.
///
/// An observation costs about 7 ns. One in 256 merges the thread's buffer into its sketch, which
/// takes a few microseconds. A scrape sees an exact prefix of every thread's observations: count,
/// sum and quantiles belong to the same observations.
///
/// Prometheus cannot add up the quantiles of two programs. Snapshots can be added up by
/// [`merge`](crate::snapshot::Snapshot::merge).
///
/// # Windows
///
/// With [`max_age`](Self::max_age), the quantiles are those of the last seconds; count and sum are
/// still those since the program began.
///
/// Time is divided into [`ages`](Self::ages), by default five in a window. An observation is
/// inserted once, into the current age. A scrape merges the ages in the window, over all threads,
/// and keeps the rank error. So the window moves by one age at a time: with five ages, it covers
/// between four fifths and five fifths of `max_age`. The quantiles of an empty window are NaN.
///
/// An observation does not read the clock. Scrapes do, and threads do when they flush their
/// buffers. Therefore:
///
/// - An observation may leave the window too early, by at most the time between two scrapes.
/// - If no scrape happens for a whole age, an observation may leave too late, by at most the time
///   without scrapes and an age.
/// - The observations of idle and finished threads leave the window like all others.
/// - Observations of the current age are always in the window.
///
/// A past age needs the memory of a sketch in every thread that observed in it: by default about
/// 1.3 KB (16 bytes per tuple). A hot series with five ages takes about 13 KB per thread instead of
/// 8 KB. An idle thread keeps its past ages until its next observation. Observations cost the same
/// as without a window. The cost of a scrape grows with the number of ages.
///
/// # Source
///
/// CKMS, with a bound that also holds after merging: see
/// [`snapshot::sketch`](crate::snapshot::sketch). Every thread has a small sketch of its own, and
/// the rank error holds for the observations of all threads together, however they are spread over
/// the threads.
pub struct Summary<L = ()>(MetricFamily<Distribution, Summary, L>);

impl<L: LabelSet> Summary<L> {
    /// Observes `value` once.
    #[inline]
    pub fn observe(&self, value: f64)
    where
        L: Unlabelled,
    {
        let last = self.0.declaration.slot_word.last(Generation::FIRST);
        if !observe_hot(last, value) {
            self.observe_cold(value);
        }
    }

    #[cold]
    fn observe_cold(&self, value: f64) {
        let declaration = &self.0.declaration;
        match declaration.made() {
            Some(family) => self.observe_in(family, value),
            None if declaration.is_off() => {}
            None => self.observe_in(declaration.family(), value),
        }
    }

    /// Not inlined, so that an observation of a family that is off returns at once.
    #[inline(never)]
    fn observe_in(&self, family: &Family<Distribution>, value: f64) {
        observe_in_series(family.only(), value);
        if !family.desc.is_off() {
            self.0.declaration.copy_slot_word();
        }
    }

    observe_methods!(summary);

    forward! { [where L: Unlabelled] this => this.0.only();
        /// Returns what all threads have observed so far. Waits for a scrape that is running.
        #[must_use]
        fn get() -> Quantiles;
    }
}

impl Series<'_, Summary> {
    /// Observes `value` once.
    #[inline]
    pub fn observe(&self, value: f64) {
        if !observe_hot(self.lazy_ref.last(), value) {
            self.lazy_ref
                .resolve(move |series| observe_in_series(series, value));
        }
    }
}

impl Bound<Summary> {
    forward! { [] this => this.last_found();
        /// Observes `value` once.
        fn observe(value: f64);
        /// Observes a duration, in seconds.
        fn observe_duration(duration: Duration);
        /// Observes `value`, or returns why it cannot. See [`Summary::try_observe`].
        fn try_observe(value: f64) -> Result<(), Error>;
    }
}

metric!(
    Summary,
    example: "Summary",
    cells: Distribution,
    value: Quantiles = |_, total: SummaryTotal| quantiles(&total)
);

impl<L: LabelSet> Summary<L> {
    /// Adds an objective: the quantile `phi`, within `error` of the ranks. The first call replaces
    /// the defaults.
    ///
    /// # Panics
    ///
    /// - If `phi` is not in 0 to 1, or was given before.
    /// - If `error` is not above 0 and below 1, or too small for a sketch of 2048 values.
    /// - If there are more than seven objectives.
    ///
    /// In a `static` these are compile errors.
    #[must_use]
    pub const fn objective(mut self, phi: f64, error: f64) -> Self {
        if let Err(error) = self.0.declaration.desc.add_target(phi, error) {
            panic!("{}", error.rule());
        }
        self
    }

    /// Limits the quantiles to the observations of the last `max_age`. Count and sum are still
    /// those since the program began. See [the type](Self#windows).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tallies::Summary;
    ///
    /// /// Time of a call, of the last ten minutes.
    /// #[tallies::metric]
    /// static LATELY: Summary =
    ///     Summary::new("lately_seconds").max_age(Duration::from_secs(600)).ages(10);
    ///
    /// LATELY.observe(0.25);
    /// assert_eq!(LATELY.get().quantile(0.5), Some((0.25, 0.0)));
    /// ```
    ///
    /// # Panics
    ///
    /// If `max_age` is less than 0.1 seconds: a compile error in a `static`.
    #[must_use]
    pub const fn max_age(mut self, max_age: Duration) -> Self {
        self.0.declaration.desc.max_age = Some(max_age);
        self.windowed()
    }

    /// Sets the number of ages of the window: 2 to 60, by default 5. More ages take more memory;
    /// with fewer ages, more observations leave the window at once.
    ///
    /// # Panics
    ///
    /// If `ages` is not in 2 to 60, or [`max_age`](Self::max_age) was not called before: a compile
    /// error in a `static`.
    #[must_use]
    pub const fn ages(mut self, ages: u32) -> Self {
        self.0.declaration.desc.ages = Some(ages);
        self.windowed()
    }

    const fn windowed(self) -> Self {
        let desc = &self.0.declaration.desc;
        if let Err(rule) = check_window(desc.max_age, desc.ages) {
            panic!("{}", rule.text());
        }
        self
    }

    /// Removes all objectives. The summary then has only a count and a sum.
    ///
    /// ```
    /// use tallies::Summary;
    ///
    /// static WAIT: Summary = Summary::new("wait_seconds").no_objectives();
    ///
    /// WAIT.observe(0.25);
    /// assert_eq!((WAIT.get().count(), WAIT.get().sum()), (1, 0.25));
    /// ```
    #[must_use]
    pub const fn no_objectives(mut self) -> Self {
        self.0.declaration.desc.targets = Targets::new(&[]);
        self.0.declaration.desc.own_targets = true;
        self
    }
}

with_builder!(Summary);

fn quantiles(total: &SummaryTotal) -> Quantiles {
    Quantiles {
        count: total.count,
        sum: total.sum.value(),
        sketch: Distribution::merged(total),
    }
}

/// The hot path. Returns `false` if the caller has to take the cold path.
#[inline(always)]
fn observe_hot(last: u64, value: f64) -> bool {
    is_finite(value) && observe::thread(|thread| Distribution::observe(thread, last, value))
}

fn observe_in_series(series: SeriesRef<'_, Distribution>, value: f64) {
    let family = series.family;
    if let Err(rule) = family.check_value(value) {
        return family.reject(1, || rule.error(&family.desc.name, value));
    }
    series.update(|cells, generation, hot| {
        observe::thread(|thread| {
            cells.observe_cold(observe::engine(), thread, generation, value, hot)
        })
    });
}

impl MetricCells for Distribution {
    const KIND: Kind = Kind::Summary;

    fn cells(_: &Desc) -> usize {
        1
    }

    fn shape(desc: &Desc) -> Arc<SummaryShape> {
        let window = desc.max_age.map(|max_age| {
            let ages = desc.ages.unwrap_or(DEFAULT_AGES);
            Window::new(max_age, ages, crate::clock::now)
        });
        SummaryShape::new(desc.targets, window, observe::stream_budget())
    }

    fn values(desc: &Desc, promise: &Arc<SummaryShape>) -> Values {
        Values::summary(promise.objectives, desc.max_age)
    }

    fn format(_: &Arc<SummaryShape>) -> CellKind {
        CellKind::Summary
    }

    fn window(shape: &Arc<SummaryShape>) -> [u64; 3] {
        shape.window_in_file()
    }

    column!(Vec<Quantiles>, Values::Summary(_, values) => values);

    fn write(total: &SummaryTotal, column: &mut Vec<Quantiles>) {
        column.push(quantiles(total));
    }

    fn fingerprint(total: &SummaryTotal) -> u64 {
        total.count
    }

    fn baseline(total: &SummaryTotal) -> Vec<u64> {
        vec![total.count, total.sum.value().to_bits()]
    }

    fn subtract(total: &mut SummaryTotal, baseline: &SummaryTotal) {
        total.count = total.count.wrapping_sub(baseline.count);
        // As for a histogram.
        let (now, before) = (total.sum.value(), baseline.sum.value());
        total.sum = sum_since(now, before, total.count).into();
        if total.count == 0 {
            total.sketches.clear();
        }
    }
}
