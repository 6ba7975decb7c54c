//! What is in flight: up by one for as long as a guard lives.

use super::{Bound, Gauge, Series, UpDownCounter};

/// What goes up and comes down again: up-down counters and gauges, and a series of one, also bound.
///
/// [`InFlight`] and `#[tallies::in_progress]` take any of them. A labelled metric is none before it has its labels.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot count calls in flight",
    label = "not an up-down counter or gauge without labels",
    note = "an `UpDownCounter` or a `Gauge` counts calls in flight; one with labels needs their values: `#[tallies::in_progress(METRIC, labels = ..)]` or `METRIC.with(..)`"
)]
pub trait Track {
    /// Adds 1.
    fn up(&self);

    /// Takes 1 away.
    fn down(&self);
}

macro_rules! track {
    ($($metric:ty),*) => {$(
        impl Track for $metric {
            #[inline]
            fn up(&self) {
                self.inc();
            }

            #[inline]
            fn down(&self) {
                self.dec();
            }
        }
    )*};
}

track!(
    UpDownCounter,
    Series<'_, UpDownCounter>,
    Bound<UpDownCounter>,
    Gauge,
    Series<'_, Gauge>,
    Bound<Gauge>
);

impl<M: Track + ?Sized> Track for &M {
    #[inline]
    fn up(&self) {
        M::up(self);
    }

    #[inline]
    fn down(&self) {
        M::down(self);
    }
}

/// One that is in flight, until it is dropped: also by an early return, a panic, or a cancelled future.
///
/// Costs an update as it begins and one as it ends: of an `UpDownCounter` less than a nanosecond together, of a `Gauge` two
/// atomic additions to a line that all threads share.
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
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct InFlight<M: Track>(M);

impl<M: Track> InFlight<M> {
    /// One more; `track` of a metric is shorter.
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
