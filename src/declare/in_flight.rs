//! Guards that add 1 to a metric while they live, for counting what is in flight.

use crate::in_both::roles::Track;

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
