//! Wrappers that measure a future or a stream, for code that cannot carry an attribute.
//!
//! Traits of streams are in crates below 1.0, so the wrappers have a method of their own for them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::declare::{InFlight, Observe, Timer, Track};

use super::errors::Count;
use super::outcome::{Failure, Outcome, failed};
use super::watch::Progress;

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

/// The wrapper that [`Measure::timed`](crate::instrument::Measure::timed) returns.
pub type Timed<T, M> = Guarded<T, M, Timer<M>>;

/// The wrapper that [`Measure::in_progress`](crate::instrument::Measure::in_progress) returns.
pub type InProgress<T, M> = Guarded<T, M, InFlight<M>>;

pin_project! {
    /// A future or a stream with a guard of a metric, from the first poll to the end.
    #[derive(Debug)]
    #[must_use = "nothing runs before it is polled"]
    pub struct Guarded<T, M, G> {
        #[pin]
        inner: T,
        // `None` from the first poll on.
        metric: Option<M>,
        enter: fn(M) -> G,
        guard: Option<G>,
    }
}

impl<T, M, G> Guarded<T, M, G> {
    pub(crate) fn new(inner: T, metric: M, enter: fn(M) -> G) -> Self {
        Self {
            inner,
            metric: Some(metric),
            enter,
            guard: None,
        }
    }

    /// Polls the future or the stream. `is_end` says whether a result is its last one.
    #[inline]
    fn poll_inner<R>(
        self: Pin<&mut Self>,
        poll: impl FnOnce(Pin<&mut T>) -> R,
        is_end: impl FnOnce(&R) -> bool,
    ) -> R {
        let this = self.project();
        if let Some(metric) = this.metric.take() {
            *this.guard = Some((this.enter)(metric));
        }
        let result = poll(this.inner);
        if is_end(&result) {
            *this.guard = None;
        }
        result
    }
}

pin_project! {
    /// The wrapper that [`Measure::count_errors`](crate::instrument::Measure::count_errors)
    /// returns.
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
    pub(crate) fn new(inner: T, metric: M) -> Self {
        Self {
            inner,
            metric,
            progress: Progress::NotPolled,
            on: [true, false, true, false],
        }
    }

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

impl<F: Future, M, G> Future for Guarded<F, M, G> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_inner(|future| future.poll(cx), Poll::is_ready)
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

impl<S, M, G> Guarded<S, M, G> {
    /// Returns the future or the stream.
    ///
    /// ```
    /// use tallies::{Histogram, instrument::Measure};
    ///
    /// static DURATION: Histogram = Histogram::new("export_duration_seconds");
    ///
    /// assert_eq!((0..3).timed(&DURATION).get_ref().len(), 3);
    /// ```
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Polls a stream, or anything else that gives items until it ends, with `poll`.
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::pin::pin;
    /// use tallies::{Histogram, instrument::Measure};
    ///
    /// static DURATION: Histogram = Histogram::new("import_duration_seconds");
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let (sender, rows) = tokio::sync::mpsc::channel(1);
    /// sender.send("a row").await.unwrap();
    /// drop(sender);
    /// let mut rows = pin!(rows.timed(&DURATION));
    /// let mut row = async || {
    ///     poll_fn(|cx| rows.as_mut().poll_item(|rows| rows.get_mut().poll_recv(cx))).await
    /// };
    /// assert_eq!((row().await, row().await), (Some("a row"), None));
    /// # });
    /// assert_eq!(DURATION.get().count(), 1);
    /// ```
    ///
    /// The crate `tallies-stream` makes a `futures_core::Stream` of it.
    pub fn poll_item<I>(
        self: Pin<&mut Self>,
        poll: impl FnOnce(Pin<&mut S>) -> Poll<Option<I>>,
    ) -> Poll<Option<I>> {
        self.poll_inner(poll, |item| matches!(item, Poll::Ready(None)))
    }
}

impl<S, M: Count> Errors<S, M> {
    /// Returns the future or the stream. See [`Guarded::get_ref`].
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Polls a stream with `poll`, and counts each item that is a failure. See
    /// [`Guarded::poll_item`].
    pub fn poll_item<I: Outcome>(
        self: Pin<&mut Self>,
        poll: impl FnOnce(Pin<&mut S>) -> Poll<Option<I>>,
    ) -> Poll<Option<I>> {
        let this = self.project();
        *this.progress = Progress::Polling;
        let item = poll(this.inner);
        *this.progress = Progress::after(matches!(item, Poll::Ready(None)));
        if let Poll::Ready(Some(item)) = &item {
            count_failure(this.metric, this.on, item);
        }
        item
    }
}

/// Counts a result that is one of the failures in `on`.
#[inline]
fn count_failure<R: Outcome>(metric: &impl Count, on: &[bool; 4], result: &R) {
    let on = |failure: Failure| on[failure as usize];
    if failed(result, on(Failure::Error), on(Failure::None)) {
        metric.count();
    }
}
