//! Counters: totals that only grow.

use std::any::Any;

use crate::error::{Error, ErrorKind};
use crate::lockfree::Generation;
use crate::observe::{self, Number, Tally};
use crate::snapshot::{Kind, Numbers, Values};

use super::exemplar;
use super::lazy_ref::SeriesUpdate;
use super::{
    Bound, Builder, MetricFamily, Series, column, forward, metric, with_builder, with_labels,
    with_static,
};
use crate::family::desc::Desc;
use crate::family::label::{LabelSet, Unlabelled};
use crate::family::{CellKind, Family, MetricCells, SeriesRef};

/// A total that only grows: requests answered, bytes sent, seconds spent.
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
/// With labels, and with a float as the total:
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
///
/// An update costs a load, an add and a store, 0.33 ns. It adds to a cell that only the calling
/// thread writes, without a lock prefix, a shared cache line or an allocation. A scrape that begins
/// after an update has returned includes it. Integers wrap at 2⁶⁴.
pub struct Counter<L = (), N: Number = u64>(pub(crate) MetricFamily<Tally<N>, Counter<(), N>, L>);

/// Bounds [`Counter::set`], and is never implemented.
#[diagnostic::on_unimplemented(
    message = "a counter only grows, so it cannot be set",
    label = "a counter has no `set`",
    note = "use a `Gauge` for a value that is set, and an `UpDownCounter` for one that goes up and down",
    note = "a total that something else counts is read by a function: `registry.counter_fn(..)`"
)]
pub trait Settable {}

impl<L: LabelSet, N: Number> Counter<L, N> {
    /// Does not compile, and says what to use instead.
    #[doc(hidden)]
    pub fn set<T>(&self, _: T)
    where
        Self: Settable,
    {
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self)
    where
        L: Unlabelled,
    {
        self.add(N::ONE);
    }

    /// Adds `n`. A float that is negative, infinite or NaN is rejected and counted in
    /// `tallies_rejected_updates_total`.
    #[doc(alias = "inc_by")]
    #[inline]
    pub fn add(&self, n: N)
    where
        L: Unlabelled,
    {
        let last = self.0.declaration.slot_word.last(Generation::FIRST);
        if !n.can_add_hot() || !observe::thread(|thread| Tally::add(thread, last, n)) {
            self.add_cold(n);
        }
    }

    #[cold]
    fn add_cold(&self, n: N) {
        add_to_series(self.0.declaration.family().only(), n);
        self.0.declaration.copy_slot_word();
    }

    /// Adds `n`, or returns why it cannot.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let busy = tallies::Counter::builder("busy_seconds_total", "Time spent.")
    ///     .float()
    ///     .register(&registry)?;
    /// assert!(busy.try_add(-0.5).is_err());
    /// busy.try_add(0.5)?;
    /// assert_eq!(busy.get(), 0.5);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `n` is a float that is negative, infinite or NaN
    /// ([`Error::is_rejected_update`]). Nothing is added then.
    pub fn try_add(&self, n: N) -> Result<(), Error>
    where
        L: Unlabelled,
    {
        if !n.can_add() {
            return Err(reject(self.0.declaration.family(), n));
        }
        self.add(n);
        Ok(())
    }

    forward! { [where L: Unlabelled] this => this.0.only();
        /// Adds `n`, and stores these labels as the exemplar of the series, so that a dashboard can
        /// link to this update.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let sent = registry.counter("sent_bytes_total", "Bytes sent.")?;
        /// sent.add_exemplar(512, &[("trace_id", "0af7651916cd43dd")]);
        /// let now = registry.snapshot();
        /// let family = now.family("sent_bytes_total").unwrap();
        /// let (_, exemplar) = family.exemplars(0).next().unwrap();
        /// assert_eq!(exemplar.value(), 512.0);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// A series has one exemplar, the last one, with its amount and the time. It costs one or
        /// two allocations; updates without an exemplar cost nothing extra. If the labels are
        /// invalid or have more than 128 characters, names and values together, `n` is added, and
        /// the exemplar is rejected and counted in `tallies_rejected_updates_total`.
        fn add_exemplar(n: N, exemplar: &[(&str, &str)]);

        /// Adds `n` with an exemplar like [`add_exemplar`](Self::add_exemplar) does, or returns why
        /// it cannot.
        ///
        /// # Errors
        ///
        /// The same as for [`try_add`](Self::try_add), and invalid exemplar labels. Nothing is
        /// added.
        fn try_add_exemplar(n: N, exemplar: &[(&str, &str)]) -> Result<(), Error>;

        /// Adds `n`, with the id of the current trace as the exemplar if there is one. See
        /// [`trace_ids`](crate::instrument::trace_ids).
        fn add_traced(n: N);

        /// Adds 1, with the id of the current trace as the exemplar if there is one. See
        /// [`trace_ids`](crate::instrument::trace_ids).
        fn inc_traced();

        /// Returns what all threads have counted so far. Waits for a scrape that is running.
        #[must_use]
        fn get() -> N;
    }
}

impl<N: Number> Series<'_, Counter<(), N>> {
    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.add(N::ONE);
    }

    /// Adds `n`. See [`Counter::add`].
    #[doc(alias = "inc_by")]
    #[inline]
    pub fn add(&self, n: N) {
        let last = self.lazy_ref.last();
        if !n.can_add_hot() || !observe::thread(|thread| Tally::add(thread, last, n)) {
            self.lazy_ref.update(last, Add(n));
        }
    }

    /// Adds `n`, or returns why it cannot. See [`Counter::try_add`].
    ///
    /// # Errors
    ///
    /// The same as for [`Counter::try_add`].
    pub fn try_add(&self, n: N) -> Result<(), Error> {
        if !n.can_add() {
            return Err(self.lazy_ref.resolve(|series| reject(series.family, n)));
        }
        self.add(n);
        Ok(())
    }

    /// Adds `n`, and stores these labels as the exemplar. See [`Counter::add_exemplar`].
    pub fn add_exemplar(&self, n: N, exemplar: &[(&str, &str)]) {
        self.add(n);
        if n.can_add() {
            self.set_exemplar(n, exemplar);
        }
    }

    /// Adds `n` with an exemplar, or returns why it cannot. See [`Counter::try_add_exemplar`].
    ///
    /// # Errors
    ///
    /// The same as for [`Counter::try_add_exemplar`].
    pub fn try_add_exemplar(&self, n: N, exemplar: &[(&str, &str)]) -> Result<(), Error> {
        self.lazy_ref
            .resolve(|series| exemplar::check(series.family, exemplar))?;
        self.try_add(n)?;
        self.set_exemplar(n, exemplar);
        Ok(())
    }

    /// Adds `n`, with the id of the current trace as the exemplar if there is one. See
    /// [`trace_ids`](crate::instrument::trace_ids).
    pub fn add_traced(&self, n: N) {
        self.add(n);
        if n.can_add() {
            exemplar::with_trace(|labels| self.set_exemplar(n, labels));
        }
    }

    /// Adds 1, with the id of the current trace as the exemplar if there is one. See
    /// [`trace_ids`](crate::instrument::trace_ids).
    pub fn inc_traced(&self) {
        self.add_traced(N::ONE);
    }

    fn set_exemplar(&self, n: N, labels: &[(&str, &str)]) {
        let value = n.into_number().as_f64();
        self.lazy_ref
            .resolve(|series| exemplar::set(series, (0, 1), value, labels));
    }
}

impl<N: Number> Bound<Counter<(), N>> {
    forward! { [] this => this.last_found();
        /// Adds 1.
        fn inc();
        /// Adds `n`. See [`Counter::add`].
        #[doc(alias = "inc_by")]
        fn add(n: N);
        /// Adds `n`, or returns why it cannot. See [`Counter::try_add`].
        fn try_add(n: N) -> Result<(), Error>;
        /// Adds `n`, and stores these labels as the exemplar. See [`Counter::add_exemplar`].
        fn add_exemplar(n: N, exemplar: &[(&str, &str)]);
        /// Adds `n` with an exemplar, or returns why it cannot. See [`Counter::try_add_exemplar`].
        fn try_add_exemplar(n: N, exemplar: &[(&str, &str)]) -> Result<(), Error>;
        /// Adds 1, with the id of the current trace as the exemplar if there is one. See
        /// [`trace_ids`](crate::instrument::trace_ids).
        fn inc_traced();
        /// Adds `n`, with the id of the current trace as the exemplar if there is one. See
        /// [`trace_ids`](crate::instrument::trace_ids).
        fn add_traced(n: N);
    }
}

metric!(
    Counter, [L: LabelSet, N: Number], [L, N],
    example: "Counter",
    plain: Counter<(), N>,
    labelled: Counter<X, N>,
    named: [N: Number] Counter<[&'static str; LABELS], N>,
    cells: Tally<N>,
    value: N = |_, total| N::rounded(&total),
    {}
);

with_static!(Counter, [L: LabelSet, N: Number], [L, N]);

with_labels!(Counter, [L: LabelSet, N: Number], [L, N], [N], [N: Number]);

with_builder!(Counter);

impl<L: LabelSet> Builder<Counter<L>> {
    /// Counts floating-point amounts, such as seconds.
    ///
    /// ```
    /// use tallies::{Counter, Registry};
    ///
    /// let registry = Registry::new();
    /// let busy =
    ///     Counter::builder("busy_seconds_total", "Time spent.").float().register(&registry)?;
    /// busy.add(0.25);
    /// assert_eq!(busy.get(), 0.25);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn float(self) -> Builder<Counter<L, f64>> {
        self.with_type()
    }
}

/// The addition of an amount, off the hot path.
#[derive(Clone, Copy)]
struct Add<N: Number>(N);

impl<N: Number> SeriesUpdate<Tally<N>> for Add<N> {
    #[inline(always)]
    fn quick<'a>(
        self,
        cells: &Tally<N>,
        (last, generation): (u64, Generation),
        family: impl FnOnce() -> &'a Family<Tally<N>>,
    ) -> bool {
        let Self(n) = self;
        let is_hot = || family().desc.hot;
        n.can_add() && cells.add_if_cold(observe::engine(), (last, generation), n, is_hot)
    }

    #[inline(always)]
    fn slow(self, series: SeriesRef<'_, Tally<N>>) {
        add_to_series(series, self.0);
    }
}

/// Counts a rejected amount, and returns the error for it.
fn reject<N: Number>(family: &Family<Tally<N>>, n: N) -> Error {
    family.count_rejected(1);
    not_an_increase(family, n)
}

#[cold]
fn not_an_increase<N: Number>(family: &Family<Tally<N>>, n: N) -> Error {
    let (name, value) = (&family.desc.name, n.into_number().as_f64());
    ErrorKind::Update.error(format_args!(
        "counter `{name}` can only grow, by a finite amount of 0 or more, got {value}"
    ))
}

#[inline(always)]
fn add_to_series<N: Number>(series: SeriesRef<'_, Tally<N>>, n: N) {
    if !n.can_add() {
        let family = series.family;
        return family.reject(1, || not_an_increase(family, n));
    }
    series.update(move |cells, generation, hot| {
        observe::thread(|thread| cells.add_cold(observe::engine(), thread, generation, n, hot))
    });
}

impl<N: Number> MetricCells for Tally<N> {
    const KIND: Kind = Kind::Counter;

    fn cells(_: &Desc) -> usize {
        1
    }

    fn shape(_: &Desc) {}

    fn format((): &()) -> CellKind {
        if (&N::ONE as &dyn Any).is::<f64>() {
            CellKind::FloatCounter
        } else {
            CellKind::Counter
        }
    }

    fn values(_: &Desc, (): &()) -> Values {
        let is_float = Self::format(&()) == CellKind::FloatCounter;
        Values::Counter(match is_float {
            true => Numbers::Float(Vec::new()),
            false => Numbers::Int(Vec::new()),
        })
    }

    column!(Numbers, Values::Counter(numbers) => numbers);

    fn write(total: &N::Sum, column: &mut Numbers) {
        column.push(N::rounded(total).into_number());
    }

    fn write_all(totals: &[N::Sum], column: &mut Numbers) {
        column.extend(totals.iter().map(|total| N::rounded(total).into_number()));
    }

    fn fingerprint(total: &N::Sum) -> u64 {
        N::rounded(total).to_cell()
    }

    fn baseline(total: &N::Sum) -> Vec<u64> {
        vec![N::rounded(total).to_cell()]
    }

    fn subtract(total: &mut N::Sum, baseline: &N::Sum) {
        // Both are rounded before, so that nothing is left if nothing was added since.
        let baseline = N::rounded(baseline);
        // An infinite baseline cannot be subtracted.
        if baseline.into_number().as_f64().is_finite() {
            *total = N::rounded(total).minus(baseline).into();
        }
    }
}
