//! Gauges, which are set, and up-down counters.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tallies_names::setters;

use crate::in_both::gauge_value::GaugeValue;
use crate::lockfree::Generation;
use crate::observe::{self, GaugeCell, GaugeOp, GaugeShape, UpDown};
use crate::snapshot::{GaugeMode, Gauges, Kind, LastSet, Values};

use super::{Bound, Builder, MetricFamily, Series, column, forward, metric, with_builder};
use crate::family::SeriesRef;
use crate::family::desc::Desc;
use crate::family::label::{LabelSet, Unlabelled};
use crate::family::{CellKind, MetricCells};

/// A value that is set: a temperature, the length of a queue, a time stamp. The last write wins.
///
/// ```
/// use tallies::Gauge;
///
/// /// Degrees Celsius inside the server.
/// #[tallies::metric]
/// static TEMPERATURE: Gauge = Gauge::new("server_temperature_celsius");
///
/// TEMPERATURE.set(21.5);
/// TEMPERATURE.sub(-0.5);
/// assert_eq!(TEMPERATURE.get(), 22.0);
/// ```
///
/// All threads write one cold cell, because nothing else could tell which write was the last. `set`
/// is a plain store, 0.3 ns (`benches/peers`). `add`, `sub`, `inc`, `dec`, `raise` and `lower` are
/// atomic: no thread's change is lost, and they take longer the more threads change the gauge. For
/// counts that only go up and down again use an [`UpDownCounter`], whose cells are not shared.
///
/// Every float is a value, NaN and infinities included; nothing is rejected. A scrape sees a value
/// that the gauge had during the scrape. A gauge that nobody set shows 0, but takes no part where
/// values of several processes, registries or label sets are combined ([`GaugeMode`]).
pub struct Gauge<L = ()>(MetricFamily<GaugeCell, Gauge, L>);

/// The methods that change a gauge: of the metric without labels, with `$L`, and of a series.
macro_rules! gauge_methods {
    ($($L:ident)?) => {
        /// Adds `value`, which may be negative. Atomic.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let stock = registry.gauge("stock_bytes", "Bytes in stock.")?;
        /// stock.set(10);
        /// stock.add(2.5);
        /// stock.sub(4);
        /// stock.inc();
        /// stock.dec();
        /// assert_eq!(stock.get(), 8.5);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        #[inline]
        pub fn add(&self, value: impl GaugeValue) $(where $L: Unlabelled)? {
            self.change(GaugeOp::Add(value.into_f64()));
        }

        /// Subtracts `value`. Atomic. See [`add`](Self::add).
        #[inline]
        pub fn sub(&self, value: impl GaugeValue) $(where $L: Unlabelled)? {
            self.change(GaugeOp::Add(-value.into_f64()));
        }

        /// Adds 1. Atomic. See [`add`](Self::add).
        #[inline]
        pub fn inc(&self) $(where $L: Unlabelled)? {
            self.change(GaugeOp::Add(1.0));
        }

        /// Subtracts 1. Atomic. See [`add`](Self::add).
        #[inline]
        pub fn dec(&self) $(where $L: Unlabelled)? {
            self.change(GaugeOp::Add(-1.0));
        }

        /// Sets the gauge to `value` if that is higher, or if nobody has set it. Atomic.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let longest = registry.gauge("queue_longest", "The longest queue so far.")?;
        /// longest.raise(7.0);
        /// longest.raise(3.0);
        /// assert_eq!(longest.get(), 7.0);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        #[inline]
        pub fn raise(&self, value: impl GaugeValue) $(where $L: Unlabelled)? {
            self.change(GaugeOp::Max(value.into_f64()));
        }

        /// Sets the gauge to `value` if that is lower, or if nobody has set it. Atomic.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let free = registry.gauge("disk_least_free_bytes", "The least free space so far.")?;
        /// free.lower(9e9);
        /// free.lower(4e9);
        /// free.lower(7e9);
        /// assert_eq!(free.get(), 4e9);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        #[inline]
        pub fn lower(&self, value: impl GaugeValue) $(where $L: Unlabelled)? {
            self.change(GaugeOp::Min(value.into_f64()));
        }

        /// Sets the gauge to the current time, in seconds since 1970.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let last = registry.gauge("backup_last_success_seconds", "Time of the last backup.")?;
        /// last.set_to_current_time();
        /// assert!(last.get() > 1.7e9);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        pub fn set_to_current_time(&self) $(where $L: Unlabelled)? {
            self.set(seconds_since_1970());
        }
    };
}

impl<L: LabelSet> Gauge<L> {
    /// Sets the value: an integer or a float.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let queue = registry.gauge("queue_length", "Jobs waiting.")?;
    /// queue.set(["a", "b"].len());
    /// queue.set(2.5);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    // Not by the macro, so that the compiler shows this signature for a value of another type.
    #[inline]
    pub fn set(&self, value: impl GaugeValue)
    where
        L: Unlabelled,
    {
        self.change(GaugeOp::Set(value.into_f64()));
    }

    gauge_methods!(L);

    /// Returns the current value. Waits for nothing.
    #[must_use]
    pub fn get(&self) -> f64
    where
        L: Unlabelled,
    {
        self.0.declaration.family().first().value()
    }

    #[inline]
    fn change(&self, change: GaugeOp) {
        match self.0.declaration.quick() {
            Some(cells) => cells.apply(change),
            None => self.change_cold(change),
        }
    }

    #[cold]
    #[inline(never)]
    fn change_cold(&self, change: GaugeOp) {
        if !self.0.declaration.is_off() {
            self.find_and_change(change);
        }
    }

    /// Not inlined, so that an update of a family that is off needs no stack frame.
    #[inline(never)]
    fn find_and_change(&self, change: GaugeOp) {
        let declaration = &self.0.declaration;
        let family = declaration.family();
        if family.desc.is_off() {
            return;
        }
        let series = family.only();
        if series.cells.is_timed() {
            change_series(series, change);
        } else {
            declaration.found();
            series.cells.apply(change);
        }
    }
}

impl Series<'_, Gauge> {
    /// Sets the value. See [`Gauge::set`].
    #[inline]
    pub fn set(&self, value: impl GaugeValue) {
        self.change(GaugeOp::Set(value.into_f64()));
    }

    gauge_methods!();

    #[inline]
    fn change(&self, change: GaugeOp) {
        let hot = self.lazy_ref.resolved().is_some_and(|series| {
            observe::thread(|thread| series.cells.change(thread, series.generation(), change))
        });
        if !hot {
            self.lazy_ref
                .resolve(move |series| change_series(series, change));
        }
    }
}

impl Bound<Gauge> {
    forward! { [] this => this.last_found();
        /// Sets the value. See [`Gauge::set`].
        fn set(value: impl GaugeValue);
        /// Adds `value`. See [`Gauge::add`].
        fn add(value: impl GaugeValue);
        /// Subtracts `value`. See [`Gauge::add`].
        fn sub(value: impl GaugeValue);
        /// Adds 1. See [`Gauge::add`].
        fn inc();
        /// Subtracts 1. See [`Gauge::add`].
        fn dec();
        /// Sets the gauge to `value` if that is higher. See [`Gauge::raise`].
        fn raise(value: impl GaugeValue);
        /// Sets the gauge to `value` if that is lower. See [`Gauge::lower`].
        fn lower(value: impl GaugeValue);
        /// Sets the gauge to the current time, in seconds since 1970.
        fn set_to_current_time();
    }
}

metric!(Gauge, example: "Gauge", cells: GaugeCell, value: f64 = |_, total: LastSet| total.value);

impl<L: LabelSet> Gauge<L> {
    setters! {
        /// Sets how the values of several processes are combined: when their snapshots are
        /// [merged](crate::snapshot::Snapshot::merge), and in a store that they share. The default
        /// is [`GaugeMode::LiveAll`].
        ///
        /// ```
        /// use tallies::{Gauge, snapshot::GaugeMode};
        ///
        /// /// The size of the largest request.
        /// #[tallies::metric]
        /// static LARGEST: Gauge = Gauge::new("largest_request_bytes").mode(GaugeMode::Max);
        /// # LARGEST.raise(10.0);
        /// ```
        const fn mode(self, mode: GaugeMode) = self.0.declaration.desc.mode = Some(mode);

        /// Sets how long a store across machines shows the value of a process that sends nothing
        /// more. The default is that of the store, 60 s.
        ///
        /// ```
        /// use std::time::Duration;
        /// use tallies::Gauge;
        ///
        /// /// Jobs of the last batch.
        /// #[tallies::metric]
        /// static BATCH: Gauge =
        ///     Gauge::new("last_batch_jobs").shared_ttl(Duration::from_secs(300));
        /// # BATCH.set(1.0);
        /// ```
        ///
        /// Only for the modes that begin with `Live`. Mapped files need no such time: the system
        /// tells whether a process is alive.
        const fn shared_ttl(self, ttl: Duration) = self.0.declaration.desc.shared_ttl = Some(ttl);
    }
}

with_builder!(Gauge);

impl<L: LabelSet> Builder<Gauge<L>> {
    setters! {
        /// Sets how the values of several processes are combined: when their snapshots are
        /// [merged](crate::snapshot::Snapshot::merge), and in a store that they share. The default
        /// is [`GaugeMode::LiveAll`].
        ///
        /// ```
        /// use tallies::{Gauge, Registry, snapshot::GaugeMode};
        ///
        /// let (one, two) = (Registry::new(), Registry::new());
        /// for (registry, bytes) in [(&one, 10.0), (&two, 30.0)] {
        ///     Gauge::builder("largest_bytes", "The largest request.")
        ///         .mode(GaugeMode::Max)
        ///         .register(registry)?
        ///         .set(bytes);
        /// }
        /// let mut both = one.snapshot();
        /// both.merge(&two.snapshot())?;
        /// assert_eq!(both.get("largest_bytes", &[]), Some(30.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn mode(self, mode: GaugeMode) = self.desc.mode = Some(mode);

        /// Sets how long a store across machines shows the value of a process that sends nothing
        /// more. The default is that of the store, 60 s.
        ///
        /// ```
        /// use std::time::Duration;
        ///
        /// let registry = tallies::Registry::new();
        /// let batch = tallies::Gauge::builder("last_batch_jobs", "Jobs of the last batch.")
        ///     .shared_ttl(Duration::from_secs(300))
        ///     .register(&registry)?;
        /// batch.set(1.0);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// Only for the modes that begin with `Live`. Mapped files need no such time: the system
        /// tells whether a process is alive.
        fn shared_ttl(self, ttl: Duration) = self.desc.shared_ttl = Some(ttl);
    }
}

fn seconds_since_1970() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

pub(super) fn change_series(series: SeriesRef<'_, GaugeCell>, change: GaugeOp) {
    series.update(|cells, generation, _| {
        observe::thread(|thread| cells.change_cold(observe::engine(), thread, generation, change))
    });
}

impl MetricCells for GaugeCell {
    const KIND: Kind = Kind::Gauge;
    const FOLDS: bool = false;

    fn cells(_: &Desc) -> usize {
        0
    }

    fn shape(desc: &Desc) -> GaugeShape {
        GaugeShape {
            first: (desc.kind == Kind::Info).then_some(1.0),
            timed: desc.mode.unwrap_or(GaugeMode::of(desc.kind)).is_recent(),
        }
    }

    fn format(_: &GaugeShape) -> CellKind {
        CellKind::Gauge
    }

    fn values(_: &Desc, _: &GaugeShape) -> Values {
        Values::Gauge(Gauges::default())
    }

    column!(Gauges, Values::Gauge(values) => values);

    fn write(total: &LastSet, column: &mut Gauges) {
        column.push(*total);
    }

    fn fingerprint(total: &LastSet) -> u64 {
        total.value.to_bits()
    }

    fn subtract(_: &mut LastSet, _: &LastSet) {}
}

/// A count that goes up and comes down again: requests in flight, open connections.
///
/// ```
/// use tallies::UpDownCounter;
///
/// /// Requests being answered.
/// #[tallies::metric]
/// static IN_FLIGHT: UpDownCounter = UpDownCounter::new("jobs_in_flight");
///
/// {
///     let _request = IN_FLIGHT.track();
///     assert_eq!(IN_FLIGHT.get(), 1);
/// }
/// assert_eq!(IN_FLIGHT.get(), 0);
/// ```
///
/// A series has two cells per thread, one for increments and one for decrements, and only that
/// thread writes them. A scrape never sees a decrement without the increment before it, as long as
/// the program itself orders the two (by a channel, a lock, a join).
///
/// An increment and its decrement take 0.6 ns together (`benches/peers`), also beside other
/// threads. The value is an `i64`, which may be negative; beyond its range it wraps. Pages have it
/// as a float, exact up to 2⁵³.
pub struct UpDownCounter<L = ()>(pub(crate) MetricFamily<UpDown, UpDownCounter, L>);

macro_rules! up_down_methods {
    ($($L:ident)?) => {
        /// Adds 1.
        #[inline]
        pub fn inc(&self) $(where $L: Unlabelled)? {
            self.add(1);
        }

        /// Subtracts 1.
        #[inline]
        pub fn dec(&self) $(where $L: Unlabelled)? {
            self.sub(1);
        }

        /// Adds `n`.
        #[inline]
        pub fn add(&self, n: u64) $(where $L: Unlabelled)? {
            if !observe::thread(|thread| UpDown::up(thread, self.last(), n)) {
                self.add_cold(n, 0);
            }
        }

        /// Subtracts `n`.
        #[inline]
        pub fn sub(&self, n: u64) $(where $L: Unlabelled)? {
            if !observe::thread(|thread| UpDown::down(thread, self.last(), n)) {
                self.add_cold(0, n);
            }
        }
    };
}

impl<L: LabelSet> UpDownCounter<L> {
    up_down_methods!(L);

    forward! { [where L: Unlabelled] this => this.0.only();
        /// Returns the increments minus the decrements of all threads. Waits for a scrape that is
        /// running.
        #[must_use]
        fn get() -> i64;
    }

    #[inline]
    fn last(&self) -> u64 {
        self.0.declaration.slot_word.last(Generation::FIRST)
    }

    #[cold]
    fn add_cold(&self, up: u64, down: u64) {
        self.0.only().add_cold(up, down);
        self.0.declaration.copy_slot_word();
    }
}

impl Series<'_, UpDownCounter> {
    up_down_methods!();

    #[inline]
    fn last(&self) -> u64 {
        self.lazy_ref.last()
    }

    #[inline(always)]
    fn add_cold(&self, up: u64, down: u64) {
        self.lazy_ref
            .resolve(move |series| add_to_series(series, up, down));
    }
}

impl Bound<UpDownCounter> {
    forward! { [] this => this.last_found();
        /// Adds 1.
        fn inc();
        /// Subtracts 1.
        fn dec();
        /// Adds `n`.
        fn add(n: u64);
        /// Subtracts `n`.
        fn sub(n: u64);
    }
}

metric!(UpDownCounter, example: "UpDownCounter", cells: UpDown, value: i64 = |_, total| total);

with_builder!(UpDownCounter);

fn add_to_series(series: SeriesRef<'_, UpDown>, up: u64, down: u64) {
    series.update(|cells, generation, hot| {
        observe::thread(|thread| {
            cells.add_cold(observe::engine(), thread, generation, up, down, hot)
        })
    });
}

impl MetricCells for UpDown {
    const KIND: Kind = Kind::Gauge;
    // As many up as down leave the value as it was.
    const SHOWS_EACH_UPDATE: bool = false;

    fn may_expire(total: &i64) -> bool {
        *total == 0
    }

    fn cells(_: &Desc) -> usize {
        2
    }

    fn shape(_: &Desc) {}

    fn format((): &()) -> CellKind {
        CellKind::UpDown
    }

    fn values(_: &Desc, (): &()) -> Values {
        Values::Gauge(Gauges::default())
    }

    column!(Gauges, Values::Gauge(values) => values);

    fn write(total: &i64, column: &mut Gauges) {
        column.push(LastSet::untimed(*total as f64));
    }

    fn fingerprint(total: &i64) -> u64 {
        *total as u64
    }

    fn subtract(_: &mut i64, _: &i64) {}
}
