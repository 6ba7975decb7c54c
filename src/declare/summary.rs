//! Summaries: quantiles within a promised rank error.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::lockfree::Generation;
use crate::observe::{self, Distribution, SummaryShape, SummaryTotal, Window};
use crate::snapshot::sketch::Targets;
use crate::snapshot::{Kind, Quantiles, Values, sum_since};

use super::declaration::Declaration;
use super::timer::Timer;
use super::{Bound, Builder, Series, by_series, labelled, metric};
use crate::family::MetricCells;
use crate::family::SeriesRef;
use crate::family::desc::{DEFAULT_AGES, Desc, check_window};
use crate::family::label::{LabelSet, Unlabelled};

impl MetricCells for Distribution {
    const KIND: Kind = Kind::Summary;
    const FOLDS: bool = true;

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

    fn values(desc: &Desc, shape: &Arc<SummaryShape>) -> Values {
        Values::Summary {
            targets: shape.objectives,
            max_age: desc.max_age,
            interval: false,
            values: Vec::new(),
        }
    }

    fn write(total: &SummaryTotal, values: &mut Values) {
        if let Values::Summary { values, .. } = values {
            values.push(quantiles(total));
        }
    }

    fn fingerprint(total: &SummaryTotal) -> u64 {
        total.count
    }

    fn float_sum(total: &mut SummaryTotal) -> Option<&mut f64> {
        Some(&mut total.sum)
    }

    fn subtract(total: &mut SummaryTotal, baseline: &SummaryTotal) {
        total.count = total.count.wrapping_sub(baseline.count);
        total.sum = sum_since(total.sum, baseline.sum, total.count);
        if total.count == 0 {
            total.sketches.clear();
        }
    }
}

fn quantiles(total: &SummaryTotal) -> Quantiles {
    Quantiles {
        count: total.count,
        sum: total.sum,
        sketch: Distribution::merged(total),
    }
}

/// Quantiles of what was observed since the program began, or lately, each within a promised rank error.
///
/// Every thread keeps a small sketch of its own (CKMS with a bound that survives merging: see
/// [`snapshot::sketch`](crate::snapshot::sketch)), so the promise holds for all threads together, whatever each of them saw.
/// An observation costs some 7 ns; one in 256 takes the buffer into the sketch, some microseconds. A scrape sees an exact
/// prefix of every thread's observations: count, sum and quantiles belong to the same ones.
///
/// Without [`objective`](Self::objective): the median within 5 %, 0.9 within 1 %, 0.99 within 0.1 % of the ranks. The
/// quantiles 0 and 1 are exact. NaN is dropped and counted in `tallies_refused_updates_total`, and so is an infinity of the
/// sign opposite to one seen before. Before the first observation quantiles are NaN.
///
/// # Windows
///
/// With [`max_age`](Self::max_age) quantiles are those of the last so many seconds; count and sum go on from program start.
/// Time is cut into [`ages`](Self::ages), five unless it says otherwise. An observation is inserted into the current
/// one, once, and a scrape merges those that the window still holds, over all threads, within the promised error of
/// what is in them. So the window goes on by ages: it covers between four and five fifths of `max_age`. What holds
/// nothing any more answers NaN.
///
/// The clock is not read when observing: scrapes look at it, and threads when they flush. So an observation may leave
/// too early, by at most the time between two scrapes; and too late only where nobody scraped for a whole age, by at most
/// that time and an age. Observations of a thread that is idle, or gone, leave as all others do, and what was
/// observed in the current age is always there.
///
/// An age that is over costs what its values take in a sketch, some 1.3 KB by default (16 bytes a tuple), in every thread
/// that observed in it: a hot series of five ages some 13 KB instead of 8 in every such thread. An idle thread keeps its
/// last ones until it observes again. Observing costs the same, and a scrape as much more as there are ages to merge.
///
/// Quantiles of two programs cannot be added up by Prometheus; snapshots can be, by
/// [`merge`](crate::Snapshot::merge).
///
/// ```
/// use tallies::Summary;
///
/// /// Time of a call.
/// #[tallies::metric]
/// static LATENCY: Summary = Summary::new("rpc_duration_seconds").objective(0.5, 0.01).objective(0.99, 0.001);
///
/// for i in 1..=1000 {
///     LATENCY.observe(f64::from(i));
/// }
/// let now = LATENCY.get();
/// let (median, error) = now.quantile(0.5).unwrap();
/// assert!((490.0..=510.0).contains(&median) && error <= 0.01);
/// assert_eq!(now.quantile(1.0), Some((1000.0, 0.0)));
/// ```
pub struct Summary<L = ()> {
    pub(crate) inner: Declaration<Distribution>,
    pub(crate) labels: PhantomData<fn(L)>,
}

metric!(Summary, [L: LabelSet], [L], [], Distribution, Kind::Summary);
labelled!(
    Summary, Summary, [L: LabelSet], [L], [], [], Distribution, Quantiles,
    |total: SummaryTotal| quantiles(&total)
);

impl<L: LabelSet> Summary<L> {
    /// Promises the quantile `phi` within `error` of the ranks; the first call replaces the defaults.
    ///
    /// # Panics
    ///
    /// On a quantile outside 0 to 1, an error that is not above 0 and below 1, one quantile twice, more than seven, and
    /// errors too small for a sketch of 2048 values: a compile error in a `static`.
    #[must_use]
    pub const fn objective(mut self, phi: f64, error: f64) -> Self {
        if let Err(error) = self.inner.desc.add_target(phi, error) {
            panic!("{}", error.rule());
        }
        self
    }

    /// Quantiles of the last so many seconds only; count and sum stay those since program start. See [the
    /// type](Self#windows).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tallies::Summary;
    ///
    /// /// Time of a call, of the last ten minutes.
    /// #[tallies::metric]
    /// static LATELY: Summary = Summary::new("lately_seconds").max_age(Duration::from_secs(600)).ages(10);
    ///
    /// LATELY.observe(0.25);
    /// assert_eq!(LATELY.get().quantile(0.5), Some((0.25, 0.0)));
    /// ```
    ///
    /// # Panics
    ///
    /// On less than 0.1 seconds: a compile error in a `static`.
    #[must_use]
    pub const fn max_age(mut self, max_age: Duration) -> Self {
        self.inner.desc.max_age = Some(max_age);
        self.windowed()
    }

    /// By how many steps the window goes on: 2 to 60, 5 unless it says so. More of them cost memory, and fewer lose more
    /// at once.
    ///
    /// # Panics
    ///
    /// On any other number, and before [`max_age`](Self::max_age): a compile error in a `static`.
    #[must_use]
    pub const fn ages(mut self, ages: u32) -> Self {
        self.inner.desc.ages = Some(ages);
        self.windowed()
    }

    const fn windowed(self) -> Self {
        if let Err(error) = check_window(self.inner.desc.max_age, self.inner.desc.ages) {
            panic!("{}", error.rule());
        }
        self
    }

    /// No quantiles: count and sum only.
    #[must_use]
    pub const fn no_objectives(mut self) -> Self {
        self.inner.desc.targets = Targets::new(&[]);
        self.inner.desc.own_targets = true;
        self
    }
}

impl<L: LabelSet> Builder<Summary<L>> {
    /// Promises the quantile `phi` within `error` of the ranks; the first call replaces the defaults. What
    /// [`Summary::objective`] would not compile with is an error of [`register`](Self::register).
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let s = tallies::Summary::builder("s", "A summary.").objective(0.5, 0.01).register(&registry)?;
    /// (1..=100).for_each(|i| s.observe(f64::from(i)));
    /// assert!((s.get().quantile(0.5).unwrap().0 - 50.0).abs() <= 1.0);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn objective(mut self, phi: f64, error: f64) -> Self {
        if let Err(error) = self.desc.add_target(phi, error) {
            self.desc.bad_targets.get_or_insert(error);
        }
        self
    }

    /// What is promised, instead of the defaults: quantiles and their rank errors. None: count and sum only.
    ///
    /// # Errors
    ///
    /// What [`Summary::objective`] would not compile with.
    pub fn objectives(mut self, objectives: &[(f64, f64)]) -> Result<Self, Error> {
        self.desc.targets =
            Targets::try_new(objectives).map_err(|error| Error::family(&self.desc.name, &error))?;
        self.desc.bad_targets = None;
        self.desc.own_targets = true;
        Ok(self)
    }

    /// Quantiles of the last so many seconds only: see [`Summary::max_age`]. Less than 0.1 seconds is an error of
    /// [`register`](Self::register).
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.desc.max_age = Some(max_age);
        self
    }

    /// By how many steps the window goes on: see [`Summary::ages`]. Less than 2 or more than 60, or ages without a window,
    /// are errors of [`register`](Self::register).
    pub fn ages(mut self, ages: u32) -> Self {
        self.desc.ages = Some(ages);
        self
    }
}

macro_rules! summary_methods {
    ($($L:ident)?) => {
        /// Observes `value` once.
        #[inline]
        pub fn observe(&self, value: f64)
        $(where $L: Unlabelled,)?
        {
            let hot = value.is_finite()
                && observe::thread(|thread| Distribution::observe(thread, self.last(), value));
            if !hot {
                self.observe_cold(value);
            }
        }

        /// Observes `value`, or says why not.
        ///
        /// # Errors
        ///
        /// NaN, and an infinity of the sign opposite to one seen before; nothing is observed.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let wait = tallies::Summary::builder("wait_seconds", "Time waited.").register(&registry)?;
        /// wait.try_observe(0.25)?;
        /// assert!(wait.try_observe(f64::NAN).is_err());
        /// assert_eq!(wait.get().count(), 1);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        pub fn try_observe(&self, value: f64) -> Result<(), Error>
        $(where $L: Unlabelled,)?
        {
            if !value.is_finite() {
                self.check_observed(value)?;
            }
            self.observe(value);
            Ok(())
        }

        /// Observes a duration, in seconds.
        #[inline]
        pub fn observe_duration(&self, duration: std::time::Duration)
        $(where $L: Unlabelled,)?
        {
            self.observe(duration.as_secs_f64());
        }
    };
}

impl Summary {
    /// Observes the seconds until the timer is dropped.
    pub fn start_timer(&self) -> Timer<&Self> {
        Timer::start(self)
    }

    /// Runs `f` and observes the seconds it took.
    pub fn time<R>(&self, f: impl FnOnce() -> R) -> R {
        let _timer = self.start_timer();
        f()
    }
}

impl<L: LabelSet> Summary<L> {
    summary_methods!(L);

    /// What was observed so far, by all threads. Waits for a scrape that is running.
    #[must_use]
    pub fn get(&self) -> Quantiles
    where
        L: Unlabelled,
    {
        quantiles(&self.inner.total())
    }

    fn check_observed(&self, value: f64) -> Result<(), Error> {
        self.inner.family().check_observed(value)
    }

    #[inline]
    fn last(&self) -> u64 {
        self.inner.slot_word.last(Generation::FIRST)
    }

    #[cold]
    fn observe_cold(&self, value: f64) {
        let series = Series::<Summary> {
            handle: self.inner.family().only().into(),
        };
        series.observe_cold(value);
        self.inner.copy_slot_word();
    }
}

impl Series<'_, Summary> {
    summary_methods!();

    /// Runs `f` and observes the seconds it took.
    pub fn time<R>(&self, f: impl FnOnce() -> R) -> R {
        let _timer = self.start_timer();
        f()
    }

    /// Observes the seconds until the timer is dropped.
    pub fn start_timer(self) -> Timer<Self> {
        Timer::start(self)
    }

    fn check_observed(&self, value: f64) -> Result<(), Error> {
        self.handle.cold(|found| found.family.check_observed(value))
    }

    #[inline]
    fn last(&self) -> u64 {
        self.handle.last()
    }

    #[inline(always)]
    fn observe_cold(&self, value: f64) {
        self.handle.cold(move |found| observe_found(found, value));
    }
}

fn observe_found(found: SeriesRef<'_, Distribution>, value: f64) {
    if value.is_nan() || !found.family.admits(value) {
        return observe::reject();
    }
    found.update(|cells, generation, hot| {
        observe::thread(|thread| {
            cells.observe_cold(observe::engine(), thread, generation, value, hot)
        })
    });
}

impl Bound<Summary> {
    by_series! {
        /// Observes `value` once.
        fn observe(value: f64);
        /// Observes a duration, in seconds.
        fn observe_duration(duration: std::time::Duration);
        /// Observes `value`, or says why not: see [`Summary::try_observe`].
        fn try_observe(value: f64) -> Result<(), Error>;
    }

    /// Observes the seconds until the timer is dropped.
    pub fn start_timer(&self) -> Timer<&Self> {
        Timer::start(self)
    }

    /// Runs `f` and observes the seconds it took.
    pub fn time<R>(&self, f: impl FnOnce() -> R) -> R {
        let _timer = self.start_timer();
        f()
    }
}

#[cfg(test)]
mod tests {
    //! Windows, with the clock of the thread moved on; the rest is in `tests/engine/summary.rs`.

    use crate::Registry;
    use crate::snapshot::{Snapshot, Value};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Five ages of two minutes, of which the first has begun.
    fn windowed(registry: &Registry) -> Summary<[&'static str; 1]> {
        Summary::builder("s", "")
            .max_age(10 * MINUTE)
            .labels(["x"])
            .register(registry)
            .unwrap()
    }

    /// Count, sum, values in the window, median.
    fn seen(snapshot: &Snapshot) -> (u64, f64, u64, f64) {
        let family = snapshot.family("s").unwrap();
        let Some((_, Value::Summary(seen))) = family.series().next() else {
            unreachable!("a summary")
        };
        let median = seen.exported().next().unwrap().1;
        (seen.count(), seen.sum(), seen.sketched(), median)
    }

    /// Goes on by so many minutes, and scrapes in each.
    fn scrape_on(registry: &Registry, minutes: u32) -> Snapshot {
        for _ in 0..minutes {
            crate::clock::advance(MINUTE);
            let _ = registry.snapshot();
        }
        registry.snapshot()
    }

    fn observed_in_a_thread(
        s: &Summary<[&'static str; 1]>,
        ahead: Duration,
        values: std::ops::Range<u32>,
    ) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                crate::clock::advance(ahead);
                values.for_each(|value| s.with(["a"]).observe(f64::from(value)));
            });
            // The end of a scope does not wait for what threads do at their very end: hand their streams on.
            thread.join().unwrap();
        });
    }

    #[test]
    fn quantiles_are_of_the_window_and_count_and_sum_are_not() {
        let registry = Registry::new();
        let s = windowed(&registry);
        (0..1000).for_each(|_| s.with(["a"]).observe(1.0));
        assert_eq!(seen(&scrape_on(&registry, 5)), (1000, 1000.0, 1000, 1.0));
        (0..2000).for_each(|_| s.with(["a"]).observe(3.0));
        assert_eq!(seen(&registry.snapshot()), (3000, 7000.0, 3000, 3.0));
        // Minute 11: what was observed in minute 0 has left.
        assert_eq!(seen(&scrape_on(&registry, 6)), (3000, 7000.0, 2000, 3.0));
        let (count, sum, sketched, median) = seen(&scrape_on(&registry, 10));
        assert_eq!((count, sum, sketched), (3000, 7000.0, 0));
        assert!(median.is_nan(), "a window that holds nothing");
        assert_eq!(
            s.find(["a"])
                .map(|series| series.get())
                .unwrap()
                .quantile(1.0),
            None
        );
        s.with(["a"]).observe(5.0);
        assert_eq!(seen(&registry.snapshot()), (3001, 7005.0, 1, 5.0));
    }

    /// Threads with clocks of their own, busy and idle and gone: all of them in one window, within the promise.
    #[test]
    fn a_window_is_that_of_all_threads() {
        const EACH: u32 = 20_000;
        let registry = Registry::new();
        let s = windowed(&registry);
        // Thread i in age i + 1, with values of its own.
        for i in 0..8 {
            observed_in_a_thread(&s, i * 2 * MINUTE, i * EACH..(i + 1) * EACH);
        }
        crate::clock::advance(15 * MINUTE);
        let now = s.find(["a"]).map(|series| series.get()).unwrap();
        assert_eq!(now.count(), u64::from(8 * EACH));
        // Ages 4 to 8, give or take what a buffer held.
        let (least, all) = (f64::from(3 * EACH), f64::from(5 * EACH));
        assert!(
            (now.sketched() as f64 - all).abs() <= 512.0,
            "{}",
            now.sketched()
        );
        for (phi, promised) in [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)] {
            let (value, certified) = now.quantile(phi).unwrap();
            let error = (value + 1.0 - least - phi * all).abs() / all;
            assert!(certified <= promised, "{phi}: {certified}");
            assert!(error <= certified + 512.0 / all, "{phi}: {error}");
        }
    }

    /// The next thread goes on with the stream of one that has ended, in an age of its own.
    #[test]
    fn what_a_thread_leaves_ages_out() {
        let registry = Registry::new();
        let s = windowed(&registry);
        observed_in_a_thread(&s, MINUTE, 0..2000);
        assert_eq!(seen(&scrape_on(&registry, 5)).2, 2000);
        observed_in_a_thread(&s, 5 * MINUTE, 0..3000);
        assert_eq!(seen(&registry.snapshot()).2, 5000);
        assert_eq!(seen(&scrape_on(&registry, 6)).2, 3000);
        let (count, _, sketched, _) = seen(&scrape_on(&registry, 4));
        assert_eq!((count, sketched), (5000, 0));
    }

    /// A thread whose clock is behind, or went back.
    #[test]
    fn clocks_may_disagree() {
        let registry = Registry::new();
        let s = windowed(&registry);
        observed_in_a_thread(&s, 7 * MINUTE, 0..2000);
        assert_eq!(seen(&registry.snapshot()).2, 2000, "from the future");
        observed_in_a_thread(&s, MINUTE, 0..2000);
        crate::clock::advance(9 * MINUTE);
        assert_eq!(seen(&registry.snapshot()).2, 4000);
        crate::clock::advance(20 * MINUTE);
        assert_eq!(seen(&registry.snapshot()).2, 0);
    }

    #[test]
    fn ended_series_age_out_of_the_overflow_series() {
        let registry = Registry::new();
        let s = windowed(&registry);
        for round in 0..30 {
            let x = format!("{round}");
            for _ in 0..100 {
                s.with([&x]).observe(1.0);
            }
            s.retire([&x]);
            let _ = registry.snapshot();
        }
        let (count, _, sketched, _) = seen(&registry.snapshot());
        assert_eq!((count, sketched), (3000, 3000));
        crate::clock::advance(11 * MINUTE);
        let (count, _, sketched, _) = seen(&registry.snapshot());
        assert_eq!((count, sketched), (3000, 0));
    }

    #[test]
    fn snapshots_of_like_windows_merge() {
        let (one, two) = (Registry::new(), Registry::new());
        let (a, b) = (windowed(&one), windowed(&two));
        (0..1000).for_each(|_| a.with(["a"]).observe(1.0));
        let _ = scrape_on(&one, 11);
        (0..3000).for_each(|i| a.with(["a"]).observe(f64::from(i)));
        (3000..9000).for_each(|i| b.with(["a"]).observe(f64::from(i)));
        let mut both = one.snapshot();
        both.merge(&two.snapshot()).unwrap();
        let (count, _, sketched, median) = seen(&both);
        assert_eq!((count, sketched), (10_000, 9000));
        assert!((median - 4500.0).abs() <= 450.0, "{median}");
        let other = Registry::new();
        let _ = Summary::builder("s", "")
            .max_age(5 * MINUTE)
            .labels(["x"])
            .register(&other)
            .unwrap();
        let error = both.merge(&other.snapshot()).unwrap_err().to_string();
        assert!(
            error.contains("family `s`") && error.contains("another window"),
            "{error}"
        );
    }

    #[test]
    fn bad_windows_are_errors() {
        let registry = Registry::new();
        for (builder, says) in [
            (
                Summary::builder("s", "").max_age(Duration::ZERO),
                "at least 0.1 seconds, got 0ns",
            ),
            (
                Summary::builder("s", "").max_age(MINUTE).ages(0),
                "2 to 60 ages, got 0",
            ),
            (
                Summary::builder("s", "").ages(1).max_age(MINUTE),
                "2 to 60 ages, got 1",
            ),
            (Summary::builder("s", "").ages(61).max_age(MINUTE), "got 61"),
            (
                Summary::builder("s", "").ages(5),
                "`max_age`: set that first",
            ),
        ] {
            let error = builder.register(&registry).unwrap_err().to_string();
            assert!(
                error.contains("family `s`") && error.contains(says),
                "{error}"
            );
        }
    }
}
