//! The traits by which timers, guards and attributes reach a metric.

use crate::instrument::Count;
use crate::{Bound, Counter, Gauge, Histogram, Series, Summary, UpDownCounter};

/// A metric that observes values: a histogram or summary, or a series of one.
///
/// Timers and `#[tallies::timed]` accept any of them, and types of the program. A metric with
/// labels does not implement this; its series do.
///
/// ```
/// use tallies::{Histogram, instrument::Observe, Summary};
///
/// static BUCKETS: Histogram = Histogram::new("both_seconds");
/// static QUANTILES: Summary = Summary::new("both_quantiles_seconds");
///
/// /// Observes in both.
/// struct Both;
///
/// impl Observe for Both {
///     fn observe(&self, value: f64) {
///         BUCKETS.observe(value);
///         QUANTILES.observe(value);
///     }
/// }
///
/// #[tallies::timed(Both)]
/// fn work() {}
///
/// work();
/// assert_eq!((BUCKETS.get().count(), QUANTILES.get().count()), (1, 1));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot observe a duration",
    label = "not a histogram or summary without labels",
    note = "a `Histogram` or a `Summary` observes durations; one with labels needs their values: `#[tallies::timed(METRIC, labels = ..)]` or `METRIC.with(..)`"
)]
pub trait Observe {
    /// Observes `value`.
    fn observe(&self, value: f64);
}

/// A metric that can count what is in flight: an up-down counter or a gauge, or a series of one.
///
/// [`InFlight`](crate::instrument::InFlight) and `#[tallies::in_progress]` accept any of them. A
/// metric with labels does not implement this; its series do.
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

/// Implements a trait for references, and for these metrics by methods of their own.
macro_rules! implement {
    ($Trait:ident $methods:tt for $($metric:ty),*) => {
        implement!(@reference $Trait $methods);
        $(implement!(@metric $Trait $methods for $metric);)*
    };
    (@reference $Trait:ident { $($name:ident($($value:ident)?) = $own:ident;)* }) => {
        impl<M: $Trait + ?Sized> $Trait for &M {
            $(
                #[inline]
                fn $name(&self $(, $value: f64)?) {
                    M::$name(self $(, $value)?);
                }
            )*
        }
    };
    (@metric $Trait:ident { $($name:ident($($value:ident)?) = $own:ident;)* } for $metric:ty) => {
        impl $Trait for $metric {
            $(
                #[inline]
                fn $name(&self $(, $value: f64)?) {
                    <$metric>::$own(self $(, $value)?);
                }
            )*
        }
    };
}

implement!(
    Count { count() = inc; } for
    Counter, Series<'_, Counter>, Bound<Counter>,
    Counter<(), f64>, Series<'_, Counter<(), f64>>, Bound<Counter<(), f64>>
);
implement!(
    Observe { observe(value) = observe; } for
    Histogram, Series<'_, Histogram>, Bound<Histogram>,
    Summary, Series<'_, Summary>, Bound<Summary>
);
implement!(
    Track { up() = inc; down() = dec; } for
    UpDownCounter, Series<'_, UpDownCounter>, Bound<UpDownCounter>,
    Gauge, Series<'_, Gauge>, Bound<Gauge>
);
