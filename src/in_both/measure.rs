//! The methods that wrap a future or a stream.

use crate::instrument::{
    Count, Errors, Guarded, InFlight, InProgress, Observe, Timed, Timer, Track,
};

/// Measures a future from its first poll until it completes or is dropped, or a stream until it
/// ends: see [`Guarded::poll_item`].
///
/// A future that is never polled is not measured. A wrapper costs as much as the guard of its
/// metric, once. A poll costs nothing extra, except for two stores in [`Errors`].
///
/// ```
/// use tallies::{Counter, Histogram, instrument::Measure, UpDownCounter};
///
/// static LATENCY: Histogram = Histogram::new("fetch_duration_seconds");
/// static IN_FLIGHT: UpDownCounter = UpDownCounter::new("fetches_in_flight");
/// static ERRORS: Counter = Counter::new("fetch_errors_total");
///
/// async fn fetch(url: &str) -> Result<String, std::fmt::Error> {
///     if url.is_empty() { Err(std::fmt::Error) } else { Ok(url.to_owned()) }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let page = fetch("").timed(&LATENCY).in_progress(&IN_FLIGHT).count_errors(&ERRORS).await;
/// assert!(page.is_err());
/// # });
/// assert_eq!((LATENCY.get().count(), IN_FLIGHT.get(), ERRORS.get()), (1, 0, 1));
/// ```
pub trait Measure: Sized {
    /// Observes the time to completion, in seconds.
    ///
    /// ```
    /// use tallies::{Histogram, instrument::Measure};
    ///
    /// static LATENCY: Histogram = Histogram::new("page_duration_seconds");
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// std::future::ready("a page").timed(&LATENCY).await;
    /// # });
    /// assert_eq!(LATENCY.get().count(), 1);
    /// ```
    fn timed<M: Observe>(self, metric: M) -> Timed<Self, M> {
        Guarded::new(self, metric, Timer::start)
    }

    /// Tracks it as in flight until it completes or is dropped.
    ///
    /// ```
    /// use tallies::{instrument::Measure, UpDownCounter};
    ///
    /// static IN_FLIGHT: UpDownCounter = UpDownCounter::new("pages_in_flight");
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let page = async { IN_FLIGHT.get() };
    /// assert_eq!(page.in_progress(&IN_FLIGHT).await, 1);
    /// # });
    /// assert_eq!(IN_FLIGHT.get(), 0);
    /// ```
    fn in_progress<M: Track>(self, metric: M) -> InProgress<Self, M> {
        Guarded::new(self, metric, InFlight::enter)
    }

    /// Counts a future that returns an error or panics. For a stream, counts every item that is an
    /// error. See [`Errors::on`].
    ///
    /// ```
    /// use tallies::{Counter, instrument::Measure};
    ///
    /// static ERRORS: Counter = Counter::new("page_errors_total");
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let page = async { "x".parse::<u16>() };
    /// assert!(page.count_errors(&ERRORS).await.is_err());
    /// # });
    /// assert_eq!(ERRORS.get(), 1);
    /// ```
    fn count_errors<M: Count>(self, metric: M) -> Errors<Self, M> {
        Errors::new(self, metric)
    }
}

impl<T> Measure for T {}
