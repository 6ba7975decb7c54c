//! Metrics of streams: how long they run, how many run at once, and how many of their items are
//! errors.
//!
//! [`MeasureStream`] is [`Measure`] for streams. A module imports one
//! of them, because their methods have the same names.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use pin_project_lite::pin_project;
use tallies::instrument::{
    Count, Errors, Failure, Guarded, InProgress, Measure, Observe, Outcome, Timed, Track,
};

/// Measures a stream from its first poll until it ends or is dropped.
///
/// A stream that is never polled is not measured. A wrapper costs as much as the guard of its
/// metric, once. An item costs nothing extra, except for two stores in
/// [`count_errors`](Self::count_errors).
///
/// ```
/// use tallies::{Counter, Histogram, UpDownCounter};
/// use tallies_stream::MeasureStream;
///
/// static DURATION: Histogram = Histogram::new("import_duration_seconds");
/// static IN_FLIGHT: UpDownCounter = UpDownCounter::new("imports_in_flight");
/// static ERRORS: Counter = Counter::new("import_errors_total");
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use futures_util::{StreamExt, stream};
///
/// let rows = stream::iter(["1", "x"]).map(str::parse::<u16>);
/// let rows = rows.timed(&DURATION).in_progress(&IN_FLIGHT).count_errors(&ERRORS);
/// assert_eq!(rows.count().await, 2);
/// # });
/// assert_eq!((DURATION.get().count(), IN_FLIGHT.get(), ERRORS.get()), (1, 0, 1));
/// ```
pub trait MeasureStream: Stream + Sized {
    /// Observes the time to the end, in seconds.
    ///
    /// ```
    /// use tallies_stream::MeasureStream;
    ///
    /// static DURATION: tallies::Histogram = tallies::Histogram::new("export_duration_seconds");
    ///
    /// drop(futures_util::stream::iter([1, 2]).timed(&DURATION));
    /// assert_eq!(DURATION.get().count(), 0, "nobody polled it");
    /// ```
    fn timed<M: Observe>(self, metric: M) -> Measured<Timed<Self, M>> {
        let wrapper = Measure::timed(self, metric);
        Measured { wrapper }
    }

    /// Tracks it as in flight until it ends or is dropped.
    ///
    /// ```
    /// use tallies_stream::MeasureStream;
    ///
    /// static IN_FLIGHT: tallies::UpDownCounter = tallies::UpDownCounter::new("exports_in_flight");
    ///
    /// drop(futures_util::stream::iter([1, 2]).in_progress(&IN_FLIGHT));
    /// assert_eq!(IN_FLIGHT.get(), 0);
    /// ```
    fn in_progress<M: Track>(self, metric: M) -> Measured<InProgress<Self, M>> {
        let wrapper = Measure::in_progress(self, metric);
        Measured { wrapper }
    }

    /// Counts every item that is an error, and a panic. See [`Measured::on`].
    ///
    /// ```
    /// use futures_util::{StreamExt, stream};
    /// use tallies_stream::MeasureStream;
    ///
    /// static ERRORS: tallies::Counter = tallies::Counter::new("export_errors_total");
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// assert_eq!(stream::iter([Ok(1), Err("full")]).count_errors(&ERRORS).count().await, 2);
    /// # });
    /// assert_eq!(ERRORS.get(), 1);
    /// ```
    fn count_errors<M: Count>(self, metric: M) -> Measured<Errors<Self, M>>
    where
        Self::Item: Outcome,
    {
        let wrapper = Measure::count_errors(self, metric);
        Measured { wrapper }
    }
}

impl<S: Stream> MeasureStream for S {}

pin_project! {
    /// A stream that [`MeasureStream`] measures.
    #[derive(Debug)]
    #[must_use = "nothing runs before it is polled"]
    pub struct Measured<W> {
        #[pin]
        wrapper: W,
    }
}

impl<S, M: Count> Measured<Errors<S, M>> {
    /// Replaces the set of failures that count; the default is errors and panics.
    ///
    /// ```
    /// use futures_util::{StreamExt, stream};
    /// use tallies::instrument::Failure;
    /// use tallies_stream::MeasureStream;
    ///
    /// static MISSES: tallies::Counter = tallies::Counter::new("export_misses_total");
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let found = stream::iter([Some(1), None]).count_errors(&MISSES).on(&[Failure::None]);
    /// assert_eq!(found.count().await, 2);
    /// # });
    /// assert_eq!(MISSES.get(), 1);
    /// ```
    pub fn on(self, failures: &[Failure]) -> Self {
        let wrapper = self.wrapper.on(failures);
        Self { wrapper }
    }
}

impl<S: Stream, M, G> Stream for Measured<Guarded<S, M, G>> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let wrapper = self.project().wrapper;
        wrapper.poll_item(|stream| stream.poll_next(cx))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.wrapper.get_ref().size_hint()
    }
}

impl<S: Stream<Item: Outcome>, M: Count> Stream for Measured<Errors<S, M>> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let wrapper = self.project().wrapper;
        wrapper.poll_item(|stream| stream.poll_next(cx))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.wrapper.get_ref().size_hint()
    }
}
