//! Counters: totals that only grow.

use std::any::Any;
use std::marker::PhantomData;

use crate::error::{Error, UpdateRule};
use crate::lockfree::Generation;
use crate::observe::{self, Number, Outcome, Tally};
use crate::snapshot::{Kind, Numbers, Values};

use super::declaration::Declaration;
use super::exemplar;
use super::{Bound, Builder, Series, by_series, labelled, metric};
use crate::family::MetricCells;
use crate::family::SeriesRef;
use crate::family::desc::Desc;
use crate::family::label::{LabelSet, Unlabelled};

impl<N: Number> MetricCells for Tally<N> {
    const KIND: Kind = Kind::Counter;
    const FOLDS: bool = true;

    fn cells(_: &Desc) -> usize {
        1
    }

    fn shape(_: &Desc) {}

    fn values(_: &Desc, (): &()) -> Values {
        Values::Counter(Numbers::default())
    }

    fn write(total: &N, values: &mut Values) {
        if let Values::Counter(values) = values {
            values.push(total.into_number());
        }
    }

    fn write_all(totals: &[N], values: &mut Values) {
        if let Values::Counter(values) = values {
            values.extend(totals.iter().map(|total| total.into_number()));
        }
    }

    fn fingerprint(total: &N) -> u64 {
        total.to_cell()
    }

    fn float_sum(total: &mut N) -> Option<&mut f64> {
        (total as &mut dyn Any).downcast_mut()
    }

    fn subtract(total: &mut N, baseline: &N) {
        // What is infinite does not say what it was since.
        if baseline.into_number().as_f64().is_finite() {
            *total = total.minus(*baseline);
        }
    }
}

/// A total that only grows: requests answered, bytes sent, seconds spent.
///
/// An update adds to a cell that only the calling thread writes: no lock prefix, no shared cache line, no allocation,
/// some half a nanosecond. A scrape that begins after an update returned has it. Integers wrap at 2⁶⁴.
///
/// ```
/// use tallies::Counter;
///
/// /// Files accepted.
/// #[tallies::metric]
/// static UPLOADS: Counter = Counter::new("file_uploads_total");
///
/// UPLOADS.inc();
/// UPLOADS.add(2);
/// assert_eq!(UPLOADS.get(), 3);
/// ```
///
/// With labels, and of seconds:
///
/// ```
/// use tallies::{Counter, Labels};
///
/// #[derive(Labels)]
/// struct Job<'a> {
///     queue: &'a str,
/// }
///
/// /// Seconds spent on jobs.
/// #[tallies::metric]
/// static BUSY: Counter<Job, f64> = Counter::new("job_busy_seconds_total");
///
/// BUSY.with(Job { queue: "mail" }).add(0.25);
/// assert_eq!(BUSY.with(Job { queue: "mail" }).get(), 0.25);
/// ```
pub struct Counter<L = (), N: Number = u64> {
    pub(crate) inner: Declaration<Tally<N>>,
    pub(crate) labels: PhantomData<fn(L)>,
}

metric!(Counter, [L: LabelSet, N: Number], [L, N], [N], Tally<N>, Kind::Counter);
labelled!(
    Counter, Counter<(), N>,
    [L: LabelSet, N: Number], [L, N], [N], [N: Number], Tally<N>, N, |total| total
);

/// What an unlabelled counter and a series have in common.
macro_rules! counter_methods {
    ($N:ident $(, $L:ident)?) => {
        /// Adds `n`. A negative, infinite or NaN float is dropped and counted in `tallies_refused_updates_total`.
        #[inline]
        pub fn add(&self, n: $N)
        $(where $L: Unlabelled,)?
        {
            if !n.can_add() || !observe::thread(|thread| Tally::add(thread, self.last(), n)) {
                self.add_cold(n);
            }
        }

        /// Adds `n`, or says why not.
        ///
        /// # Errors
        ///
        /// A negative, infinite or NaN float; nothing is added.
        pub fn try_add(&self, n: $N) -> Result<(), Error>
        $(where $L: Unlabelled,)?
        {
            check(self.family_name(), n)?;
            self.add(n);
            Ok(())
        }

        /// Adds `n`, and keeps these labels as the exemplar of the series: what this update can be found by.
        ///
        /// An update without an exemplar costs nothing for this; one with takes an allocation or two. The last one is
        /// kept, with its amount and the time. More than 128 characters, names and values together, or a bad label name:
        /// `n` is added, the exemplar is dropped and counted in `tallies_refused_updates_total`.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let sent = tallies::Counter::builder("sent_bytes_total", "Bytes sent.").register(&registry)?;
        /// sent.add_with(512, &[("trace_id", "0af7651916cd43dd")]);
        /// let now = registry.snapshot();
        /// let (_, exemplar) = now.family("sent_bytes_total").unwrap().exemplars(0).next().unwrap();
        /// assert_eq!(exemplar.value(), 512.0);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        pub fn add_with(&self, n: $N, exemplar: &[(&str, &str)])
        $(where $L: Unlabelled,)?
        {
            self.add(n);
            if n.can_add() && exemplar::admits(exemplar) {
                self.keep(n, exemplar);
            }
        }

        /// As [`add_with`](Self::add_with), or says why not.
        ///
        /// # Errors
        ///
        /// What [`try_add`](Self::try_add) would say, and labels that cannot be an exemplar's; nothing is added.
        pub fn try_add_with(&self, n: $N, exemplar: &[(&str, &str)]) -> Result<(), Error>
        $(where $L: Unlabelled,)?
        {
            exemplar::check(exemplar)?;
            self.try_add(n)?;
            self.keep(n, exemplar);
            Ok(())
        }

        /// Adds `n`, with the current trace's id as the exemplar if there is one: see [`trace_ids`](crate::trace_ids).
        pub fn add_traced(&self, n: $N)
        $(where $L: Unlabelled,)?
        {
            self.add(n);
            if n.can_add() {
                exemplar::with_trace(|labels| {
                    if exemplar::admits(labels) {
                        self.keep(n, labels);
                    }
                });
            }
        }

        /// Adds 1.
        #[inline]
        pub fn inc(&self)
        $(where $L: Unlabelled,)?
        {
            self.add($N::ONE);
        }

        /// Adds 1, and keeps these labels as the exemplar: see [`add_with`](Self::add_with).
        pub fn inc_with(&self, exemplar: &[(&str, &str)])
        $(where $L: Unlabelled,)?
        {
            self.add_with($N::ONE, exemplar);
        }

        /// Adds 1, with the current trace's id as the exemplar: see [`trace_ids`](crate::trace_ids).
        pub fn inc_traced(&self)
        $(where $L: Unlabelled,)?
        {
            self.add_traced($N::ONE);
        }
    };
}

impl<L: LabelSet, N: Number> Counter<L, N> {
    counter_methods!(N, L);

    /// What was counted so far, by all threads. Waits for a scrape that is running.
    #[must_use]
    pub fn get(&self) -> N
    where
        L: Unlabelled,
    {
        self.inner.total()
    }

    fn family_name(&self) -> &str {
        &self.inner.desc.name
    }

    #[inline]
    fn last(&self) -> u64 {
        self.inner.slot_word.last(Generation::FIRST)
    }

    #[cold]
    fn add_cold(&self, n: N) {
        add_cold(self.inner.only(), Generation::FIRST, n, self.inner.desc.hot);
        self.inner.copy_slot_word();
    }

    fn keep(&self, n: N, labels: &[(&str, &str)]) {
        let value = n.into_number().as_f64();
        exemplar::keep(self.inner.family().only(), (0, 1), value, labels);
    }
}

impl<N: Number> Series<'_, Counter<(), N>> {
    counter_methods!(N);

    fn family_name(&self) -> &str {
        &self.handle.desc().name
    }

    #[inline]
    fn last(&self) -> u64 {
        self.handle.last()
    }

    #[inline(always)]
    fn add_cold(&self, n: N) {
        self.handle.cold(move |found| add_found(found, n));
    }

    fn keep(&self, n: N, labels: &[(&str, &str)]) {
        let value = n.into_number().as_f64();
        self.handle
            .cold(|found| exemplar::keep(found, (0, 1), value, labels));
    }
}

impl<N: Number> Bound<Counter<(), N>> {
    by_series! {
        /// Adds 1.
        fn inc();
        /// Adds `n`; see [`Counter::add`].
        fn add(n: N);
        /// Adds `n`, or says why not: see [`Counter::try_add`].
        fn try_add(n: N) -> Result<(), Error>;
        /// Adds 1, and keeps these labels as the exemplar: see [`Counter::add_with`].
        fn inc_with(exemplar: &[(&str, &str)]);
        /// Adds `n`, and keeps these labels as the exemplar: see [`Counter::add_with`].
        fn add_with(n: N, exemplar: &[(&str, &str)]);
        /// As [`add_with`](Self::add_with), or says why not: see [`Counter::try_add_with`].
        fn try_add_with(n: N, exemplar: &[(&str, &str)]) -> Result<(), Error>;
        /// Adds 1, with the current trace's id as the exemplar: see [`trace_ids`](crate::trace_ids).
        fn inc_traced();
        /// Adds `n`, with the current trace's id as the exemplar: see [`trace_ids`](crate::trace_ids).
        fn add_traced(n: N);
    }
}

impl<L: LabelSet> Builder<Counter<L>> {
    /// Makes it a counter of floating-point amounts, such as seconds.
    ///
    /// ```
    /// use tallies::{Counter, Registry};
    ///
    /// let registry = Registry::new();
    /// let busy = Counter::builder("busy_seconds_total", "Time spent.").float().register(&registry)?;
    /// busy.add(0.25);
    /// assert_eq!(busy.get(), 0.25);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn float(self) -> Builder<Counter<L, f64>> {
        self.with_type()
    }
}

fn check<N: Number>(name: &str, n: N) -> Result<(), Error> {
    if n.can_add() {
        return Ok(());
    }
    observe::reject();
    Err(Error::update(
        name,
        n.into_number().as_f64(),
        UpdateRule::Increase,
    ))
}

fn add_found<N: Number>(found: SeriesRef<'_, Tally<N>>, n: N) {
    found.update(|cells, generation, hot| add_cold(cells, generation, n, hot));
}

fn add_cold<N: Number>(cells: &Tally<N>, generation: Generation, n: N, eager: bool) -> Outcome {
    if !n.can_add() {
        observe::reject();
        return Outcome::Done;
    }
    observe::thread(|thread| cells.add_cold(observe::engine(), thread, generation, n, eager))
}
