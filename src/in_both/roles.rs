//! Implementations of the traits by which timers, guards and attributes reach a metric.

use crate::instrument::{Count, Observe, Track};
use crate::{Bound, Counter, Gauge, Histogram, Series, Summary, UpDownCounter};

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
