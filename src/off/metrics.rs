//! The metric types, and the values that they return.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::builder::{Builder, Metric, MetricParts};
use super::instrument::{InFlight, Sampled, Timer};
use super::label_set::{LabelSet, LabelValue, NamedLabels};
use super::{Bound, Error, Registry, Series, debug, idle, setters, snapshot::GaugeMode};

pub trait Number:
    Copy + PartialOrd + Default + fmt::Debug + Send + Sync + 'static + private::Sealed
{
}

impl Number for u64 {}
impl Number for f64 {}

mod private {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for f64 {}
}

/// The value of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    pub counts: Vec<u64>,
    pub sum: f64,
    pub native: Option<Native>,
}

impl Observed {
    idle! { []
        count() -> u64 = 0;
    }
}

/// Native buckets: there are none.
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    _none: Infallible,
}

/// The value of a summary.
#[derive(Clone, Debug, Default)]
pub struct Quantiles {
    _empty: (),
}

impl Quantiles {
    idle! { []
        count() -> u64 = 0;
        sum() -> f64 = 0.0;
        sketched() -> u64 = 0;
        quantile(f64) -> Option<(f64, f64)> = None;
        is_degraded() -> bool = false;
    }
}

/// A metric that can be a field of a `#[derive(Metrics)]` struct.
pub trait Declare {
    fn declared() -> Self;
}

/// A metric that `register_all!` accepts.
pub trait Listed: Sync {
    fn enlist(&self) {}
}

/// Checks a metric name in a `static`, against the grammar of the Prometheus data model.
const fn check(name: &str) {
    let (name, mut i) = (name.as_bytes(), 0);
    let mut valid = !name.is_empty() && !name[0].is_ascii_digit();
    while i < name.len() {
        valid &= matches!(name[i], b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b':');
        i += 1;
    }
    assert!(valid, "a metric name has to match [a-zA-Z_:][a-zA-Z0-9_:]*");
}

/// Declares a kind of metric: the type, and what all kinds have.
macro_rules! metric {
    ($metric:ident [$($generics:tt)*] [$($names:ident),*], struct [$($params:tt)*],
     plain: $plain:ty, built: [$($built_generics:tt)*] $built:ty, labelled: $labelled:ty,
     named: [$($rest:tt)*] $named:ty, value: $value:ty = $nothing:expr,
     { $($setters:tt)* }) => {
        pub struct $metric<$($params)*>(PhantomData<fn($($names),*)>);

        impl<$($generics)*> $metric<$($names),*> {
            idle! { []
                name() -> &str = "";
                with(L::Borrowed<'_>) -> Series<'_, $plain> = Series::OFF;
                bind(L::Borrowed<'_>) -> Bound<$plain> = Bound::OFF;
                find(L::Borrowed<'_>) -> Option<Series<'_, $plain>> = None;
                get_all() -> Vec<(Vec<(String, String)>, $value)> = Vec::new();
                shares(L::Borrowed<'_>) -> bool = false;
                check(L::Borrowed<'_>) -> Result<(), Error> = Ok(());
                retain(impl FnMut(&[(&str, Cow<'_, str>)]) -> bool) -> usize = 0;
                len() -> usize = 0;
                is_empty() -> bool = true;
                is_full() -> bool = false;
                is_off() -> bool = true;
                remove(L::Borrowed<'_>) -> bool = false;
                retire(L::Borrowed<'_>) -> bool = false;
                clear();
            }

            setters! { const
                help(&'static str);
                constant(&'static [(&'static str, &'static str)]);
                limit(usize);
                $($setters)*
            }

            #[track_caller]
            #[must_use]
            pub const fn new(name: &'static str) -> Self
            where
                L: NamedLabels,
            {
                check(name);
                Self(PhantomData)
            }
        }

        impl<const LABELS: usize, $($rest)*> $named {
            idle! { []
                named(&[(&str, &str)]) -> Result<Series<'_, $plain>, Error> = Ok(Series::OFF);
            }

            #[track_caller]
            #[must_use]
            pub const fn labelled(name: &'static str, _: &'static [&'static str; LABELS]) -> Self {
                check(name);
                Self(PhantomData)
            }
        }

        impl<$($built_generics)*> $built {
            pub fn builder(_: &str, _: &str) -> Builder<Self> {
                Builder::NEW
            }
        }

        impl<$($generics)*> Declare for $metric<$($names),*> {
            fn declared() -> Self {
                Self(PhantomData)
            }
        }

        debug!([$($generics)*] $metric<$($names),*> = stringify!($metric));
        metric!(
            @traits [$($generics)*] $metric<$($names),*>,
            labelled: $labelled, value: $value = $nothing
        );
    };
    // The traits of all metrics and of events.
    (@traits [$($generics:tt)*] $metric:ty, labelled: $labelled:ty,
     value: $value:ty = $nothing:expr) => {
        impl<$($generics)*> Metric for $metric {
            type Labelled<X: LabelSet> = $labelled;
            type Value = $value;

            fn nothing() -> $value {
                $nothing
            }
        }

        impl<$($generics)*> MetricParts for $metric {
            const OFF: Self = Self(PhantomData);
        }

        impl<$($generics)*> Listed for $metric {}

        impl<$($generics)*> Clone for $metric {
            fn clone(&self) -> Self {
                Self(PhantomData)
            }
        }
    };
    // A kind whose only parameter is the label set.
    ($metric:ident, value: $value:ty, { $($setters:tt)* }) => {
        metric!(
            $metric [L: LabelSet] [L], struct [L = ()],
            plain: $metric, built: [] $metric, labelled: $metric<X>,
            named: [] $metric<[&'static str; LABELS]>, value: $value = Default::default(),
            { unit(&'static str); hot(); $($setters)* }
        );
        metric!(@utf8 $metric [L: LabelSet] [L]);
    };
    (@utf8 $metric:ident [$($generics:tt)*] [$($names:ident),*]) => {
        impl<$($generics)*> $metric<$($names),*> {
            #[must_use]
            pub const fn new_utf8(_: &'static str) -> Self
            where
                L: NamedLabels,
            {
                Self(PhantomData)
            }
        }
    };
}
pub(super) use metric;

metric!(
    Counter [L: LabelSet, N: Number] [L, N], struct [L = (), N: Number = u64],
    plain: Counter<(), N>, built: [] Counter, labelled: Counter<X, N>,
    named: [N: Number] Counter<[&'static str; LABELS], N>, value: N = N::default(),
    { unit(&'static str); hot(); expire_after(Duration); }
);
metric!(@utf8 Counter [L: LabelSet, N: Number] [L, N]);
metric!(UpDownCounter, value: i64, { expire_after(Duration); });
metric!(Gauge, value: f64, {
    expire_after(Duration);
    mode(GaugeMode);
    shared_ttl(Duration);
});
metric!(Histogram, value: Observed, {
    expire_after(Duration);
    buckets(&'static [f64]);
    native(i8);
    native_limit(u32);
    zero_threshold(f64);
});
metric!(Summary, value: Quantiles, {
    expire_after(Duration);
    objective(f64, f64);
    no_objectives();
    max_age(Duration);
    ages(u32);
});
metric!(Info, value: f64, {});
metric!(
    StateSet [T: LabelValue, L: LabelSet] [T, L], struct [T, L = ()],
    plain: StateSet<T>, built: [T: LabelValue] StateSet<T>, labelled: StateSet<T, X>,
    named: [T: LabelValue] StateSet<T, [&'static str; LABELS]>, value: &'static str = "",
    {}
);

impl<L: LabelSet, N: Number> Counter<L, N> {
    idle! { []
        name_in(Option<&Registry>) -> String = String::new();
    }
}

impl<L: LabelSet> UpDownCounter<L> {
    idle! { []
        name_in(Option<&Registry>) -> String = String::new();
    }
}

impl<L: LabelSet> Info<L> {
    idle! { []
        set(L::Borrowed<'_>);
        get() -> Option<Vec<(String, String)>> = None;
    }
}

// A static of each kind has no bytes.
const _: () = {
    assert!(size_of::<Counter<[&'static str; 2], f64>>() == 0);
    assert!(size_of::<UpDownCounter>() == 0);
    assert!(size_of::<Gauge>() == 0);
    assert!(size_of::<Histogram>() == 0);
    assert!(size_of::<Summary>() == 0);
    assert!(size_of::<Info>() == 0);
    assert!(size_of::<StateSet<bool>>() == 0);
    assert!(size_of::<Series<'static, Counter>>() == 0);
    assert!(size_of::<Bound<Counter>>() == 0);
    assert!(size_of::<Builder<Counter>>() == 0);
    assert!(size_of::<Registry>() == 0);
    assert!(size_of::<Timer<&'static Histogram>>() == 0);
    assert!(size_of::<Sampled<'static>>() == 0);
    assert!(size_of::<InFlight<&'static Gauge>>() == 0);
};
