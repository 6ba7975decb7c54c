//! Wrappers that measure a future or a stream, for code that cannot carry an attribute.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(feature = "stream")]
use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::declare::{InFlight, Observe, Timer, Track};

use super::errors::Count;
use super::outcome::{Failure, Outcome};
use super::watch::Progress;

/// Measures a future, or with the feature `stream` a stream, from its first poll until it completes
/// or is dropped.
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
        Timed {
            inner: self,
            metric: Some(metric),
            timer: None,
        }
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
        InProgress {
            inner: self,
            metric: Some(metric),
            in_flight: None,
        }
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
        Errors {
            inner: self,
            metric,
            progress: Progress::NotPolled,
            on: [true, false, true, false],
        }
    }
}

impl<T> Measure for T {}

/// Starts the timer of `#[timed]`.
#[inline(always)]
pub fn start<M: Observe>(metric: M) -> Timer<M> {
    Timer::start(metric)
}

/// Creates the guard of `#[in_progress]`.
#[inline(always)]
pub fn enter<M: Track>(metric: M) -> InFlight<M> {
    InFlight::enter(metric)
}

pin_project! {
    /// The wrapper that [`Measure::timed`] returns.
    #[derive(Debug)]
    #[must_use = "nothing runs before it is polled"]
    pub struct Timed<T, M>
    where
        M: Observe,
    {
        #[pin]
        inner: T,
        metric: Option<M>,
        timer: Option<Timer<M>>,
    }
}

pin_project! {
    /// The wrapper that [`Measure::in_progress`] returns.
    #[derive(Debug)]
    #[must_use = "nothing runs before it is polled"]
    pub struct InProgress<T, M>
    where
        M: Track,
    {
        #[pin]
        inner: T,
        metric: Option<M>,
        in_flight: Option<InFlight<M>>,
    }
}

pin_project! {
    /// The wrapper that [`Measure::count_errors`] returns.
    #[derive(Debug)]
    #[must_use = "nothing runs before it is polled"]
    pub struct Errors<T, M>
    where
        M: Count,
    {
        #[pin]
        inner: T,
        metric: M,
        progress: Progress,
        // Whether a failure counts, indexed by `Failure`.
        on: [bool; 4],
    }

    impl<T, M> PinnedDrop for Errors<T, M>
    where
        M: Count,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.progress.failure_on_drop().is_some_and(|failure| this.on[failure as usize]) {
                this.metric.count();
            }
        }
    }
}

impl<T, M: Count> Errors<T, M> {
    /// Replaces the set of failures that count; the default is errors and panics.
    ///
    /// ```
    /// use tallies::{Counter, instrument::Failure, instrument::Measure};
    ///
    /// static CANCELLED: Counter = Counter::new("cancelled_total");
    ///
    /// let mut endless = Box::pin(
    ///     std::future::pending::<Option<u8>>().count_errors(&CANCELLED).on(&[Failure::Cancel]),
    /// );
    /// let waker = std::task::Waker::noop();
    /// let mut context = std::task::Context::from_waker(waker);
    /// assert!(endless.as_mut().poll(&mut context).is_pending());
    /// drop(endless);
    /// assert_eq!(CANCELLED.get(), 1);
    /// ```
    pub fn on(mut self, failures: &[Failure]) -> Self {
        self.on = [false; 4];
        failures
            .iter()
            .for_each(|&failure| self.on[failure as usize] = true);
        self
    }
}

impl<F: Future, M: Observe> Future for Timed<F, M> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        begin(this.metric, this.timer, Timer::start);
        let output = this.inner.poll(cx);
        end(output.is_ready(), this.timer);
        output
    }
}

impl<F: Future, M: Track> Future for InProgress<F, M> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        begin(this.metric, this.in_flight, InFlight::enter);
        let output = this.inner.poll(cx);
        end(output.is_ready(), this.in_flight);
        output
    }
}

impl<F: Future<Output: Outcome>, M: Count> Future for Errors<F, M> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        *this.progress = Progress::Polling;
        let output = this.inner.poll(cx);
        *this.progress = Progress::after(output.is_ready());
        if let Poll::Ready(output) = &output {
            count_failure(this.metric, this.on, output);
        }
        output
    }
}

#[cfg(feature = "stream")]
impl<S: Stream, M: Observe> Stream for Timed<S, M> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        begin(this.metric, this.timer, Timer::start);
        let item = this.inner.poll_next(cx);
        end(matches!(item, Poll::Ready(None)), this.timer);
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

#[cfg(feature = "stream")]
impl<S: Stream, M: Track> Stream for InProgress<S, M> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        begin(this.metric, this.in_flight, InFlight::enter);
        let item = this.inner.poll_next(cx);
        end(matches!(item, Poll::Ready(None)), this.in_flight);
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

#[cfg(feature = "stream")]
impl<S: Stream<Item: Outcome>, M: Count> Stream for Errors<S, M> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        *this.progress = Progress::Polling;
        let item = this.inner.poll_next(cx);
        *this.progress = Progress::after(matches!(item, Poll::Ready(None)));
        if let Poll::Ready(Some(item)) = &item {
            count_failure(this.metric, this.on, item);
        }
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

/// Creates the guard at the first poll.
#[inline]
fn begin<M, G>(metric: &mut Option<M>, guard: &mut Option<G>, make: impl FnOnce(M) -> G) {
    if let Some(metric) = metric.take() {
        *guard = Some(make(metric));
    }
}

#[inline]
fn end<G>(ended: bool, guard: &mut Option<G>) {
    if ended {
        *guard = None;
    }
}

#[inline]
fn count_failure<R: Outcome>(metric: &impl Count, on: &[bool; 4], result: &R) {
    let on = |failure: Failure| on[failure as usize];
    if super::errors::failed(result, on(Failure::Error), on(Failure::None)) {
        metric.count();
    }
}
