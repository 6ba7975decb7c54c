//! One series of a metric: borrowed, or bound.

use crate::error::Error;
use crate::family::SeriesRef;
use crate::in_both::debug;

use super::builder::Metric;
use super::declaration::BoundSeries;
use super::lazy_ref::LazyRef;
use super::timer::Observe;

/// One series of a metric, as `with` returns it, for use now. It borrows the metric. For a field of
/// a struct use a [`Bound`], which `bind` returns.
///
/// ```
/// use tallies::{Counter, Registry, Series};
///
/// fn count_all(sent: Series<'_, Counter>) {
///     (0..3).for_each(|_| sent.inc());
/// }
///
/// let registry = Registry::new();
/// let sent = Counter::builder("sent_total", "Messages sent.")
///     .labels(["peer"])
///     .register(&registry)?;
/// count_all(sent.with(["a"]));
/// assert_eq!(sent.with(["a"]).get(), 3);
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// It has the methods of the metric without labels: `inc`, `observe`, `set`, `get`. `with` looks up
/// the label values, without a lock if the calling thread has used them before.
///
/// If the series leaves the family while this value exists, an update through it depends on how:
///
/// - After `remove`, `retain` or `clear`, the update makes the series again. (`docs/limitations.md`
///   has the exception.)
/// - After `retire` or expiry, the update counts in the overflow series, where the series' total
///   is.
///
/// An update through a [`Bound`] makes the series again in all these cases.
pub struct Series<'a, M: Metric> {
    pub(super) lazy_ref: LazyRef<'a, M::Cells>,
}

impl<M: Metric> Clone for Series<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Metric> Copy for Series<'_, M> {}

debug!([M: Metric] Series<'_, M> = "Series", "family": |this| this.lazy_ref.desc().name);

impl<'a, M: Metric> Series<'a, M> {
    pub(super) fn of(series: SeriesRef<'a, M::Cells>) -> Self {
        let lazy_ref = series.into();
        Self { lazy_ref }
    }

    /// Returns the value of the series, over all threads. Waits for a scrape that is running.
    #[must_use]
    pub fn get(&self) -> M::Value {
        self.lazy_ref
            .resolve(|series| M::value(&series.family.desc, series.total()))
    }

    /// Observes `value`, or returns why it cannot.
    ///
    /// # Errors
    ///
    /// The same as for [`Histogram::try_observe`](crate::Histogram::try_observe).
    pub fn try_observe(&self, value: f64) -> Result<(), Error>
    where
        Self: Observe,
    {
        if !value.is_finite() {
            self.lazy_ref
                .resolve(|series| series.family.check_observed(value))?;
        }
        self.observe(value);
        Ok(())
    }
}

/// One series of a metric, as `bind` returns it, for example for a field of a struct.
///
/// ```
/// use tallies::{Bound, Counter, Registry};
///
/// struct Peer {
///     sent: Bound<Counter>,
/// }
///
/// let registry = Registry::new();
/// let sent = Counter::builder("sent_total", "Messages sent.")
///     .labels(["peer"])
///     .register(&registry)?;
/// let peer = Peer { sent: sent.bind(["a"]) };
/// peer.sent.inc();
/// assert_eq!(peer.sent.get(), 1);
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// It owns its label values and outlives the metric. If the series was removed, was retired or has
/// expired, the next use of this value makes it again. (Only an update that runs at the same time
/// as `retire` or expiry may count in the overflow series.) It has the methods of the metric
/// without labels. An update looks nothing up, and costs 1 ns more than one of a metric without
/// labels.
pub struct Bound<M: Metric> {
    pub(super) bound: BoundSeries<M::Cells>,
}

impl<M: Metric> Clone for Bound<M> {
    fn clone(&self) -> Self {
        let bound = self.bound.clone();
        Self { bound }
    }
}

debug!([M: Metric] Bound<M> = "Bound", "family": |this| this.bound.family().desc.name);

impl<M: Metric> Bound<M> {
    /// Returns the series that was found last, for one update: the hot path finds out whether it is
    /// current.
    #[inline(always)]
    pub(super) fn last_found(&self) -> Series<'_, M> {
        let lazy_ref = LazyRef::bound(&self.bound);
        Series { lazy_ref }
    }

    tallies_names::getters! {
        /// Returns the value of the series, over all threads. Waits for a scrape that is running.
        fn get(&self) -> M::Value = M::value(&self.bound.family().desc, self.bound.total());

        /// Returns the series, as `with` does.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let sent = tallies::Counter::builder("sent_total", "Messages sent.")
        ///     .labels(["peer"])
        ///     .register(&registry)?;
        /// let bound = sent.bind(["a"]);
        /// let series = bound.series(); // one check for both updates
        /// series.inc();
        /// series.inc();
        /// assert_eq!(bound.get(), 2);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        #[inline]
        fn series(&self) -> Series<'_, M> = Series::of(self.bound.get());

        /// Returns whether this is the overflow series, because the family was at its limit. Then
        /// other label sets count here, too.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let logins = tallies::Counter::builder("logins_total", "Logins.");
        /// let logins = logins.labels(["user"]).limit(1).register(&registry)?;
        /// assert!(!logins.bind(["a"]).is_overflow());
        /// assert!(logins.bind(["b"]).is_overflow());
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn is_overflow(&self) -> bool = self.bound.get().key.is_overflow();
    }
}
