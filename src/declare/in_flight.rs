//! Guards that add 1 to a metric while they live, for counting what is in flight.

/// A metric that can count what is in flight: an up-down counter or a gauge, or a series of one.
///
/// [`InFlight`] and `#[tallies::in_progress]` accept any of them. A metric with labels does not
/// implement this; its series do.
///
/// ```
/// use tallies::UpDownCounter;
/// use tallies::instrument::{InFlight, Track};
///
/// fn enter(metric: &impl Track) -> InFlight<&impl Track> {
///     InFlight::enter(metric)
/// }
///
/// static REQUESTS: UpDownCounter = UpDownCounter::new("requests_in_flight");
///
/// let request = enter(&REQUESTS);
/// assert_eq!(REQUESTS.get(), 1);
/// drop(request);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot count calls in flight",
    label = "not an up-down counter or gauge without labels",
    note = "an `UpDownCounter` or a `Gauge` counts calls in flight; one with labels needs their values: `#[tallies::in_progress(METRIC, labels = ..)]` or `METRIC.with(..)`"
)]
pub trait Track {
    /// Adds 1.
    fn up(&self);

    /// Subtracts 1.
    fn down(&self);
}

/// A guard that adds 1 when it is made and subtracts 1 when it is dropped, also by an early return,
/// a panic, or a cancelled future.
///
/// ```
/// use tallies::{Gauge, instrument::InFlight};
///
/// static OPEN: Gauge = Gauge::new("connections_open");
///
/// let connection = InFlight::enter(&OPEN);
/// assert_eq!(OPEN.get(), 1.0);
/// drop(connection);
/// assert_eq!(OPEN.get(), 0.0);
/// ```
///
/// It costs two updates: for an `UpDownCounter` less than 1 ns together, for a `Gauge` two atomic
/// additions to a cache line that all threads share.
#[derive(Debug)]
#[must_use = "it counts until it is dropped: `let _guard = ..`, not `let _ = ..`"]
pub struct InFlight<M: Track>(M);

impl<M: Track> InFlight<M> {
    /// Adds 1 and returns the guard. A metric's `track` method is the short form.
    #[inline]
    pub fn enter(metric: M) -> Self {
        metric.up();
        Self(metric)
    }
}

impl<M: Track> Drop for InFlight<M> {
    #[inline]
    fn drop(&mut self) {
        self.0.down();
    }
}
