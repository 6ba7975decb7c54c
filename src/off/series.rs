//! One series of a metric, and the updates.

use std::marker::PhantomData;
use std::time::Duration;

use super::instrument::{Observe, Sampled};
use super::label_set::{LabelSet, Unlabelled};
use super::metrics::{
    Counter, Gauge, Histogram, Observed, Quantiles, StateSet, Summary, UpDownCounter,
};
use super::{Error, LabelValue, Metric, Number, debug, idle};
use crate::in_both::gauge_value::GaugeValue;

pub struct Series<'a, M: Metric> {
    kind: PhantomData<&'a M>,
}

pub struct Bound<M: Metric> {
    kind: PhantomData<fn() -> M>,
}

impl<M: Metric> Series<'_, M> {
    pub(super) const OFF: Self = Self { kind: PhantomData };
}

impl<M: Metric> Bound<M> {
    pub(super) const OFF: Self = Self { kind: PhantomData };
}

impl<M: Metric> Copy for Series<'_, M> {}

impl<M: Metric> Clone for Series<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Metric> Clone for Bound<M> {
    fn clone(&self) -> Self {
        Self::OFF
    }
}

debug!([M: Metric] Series<'_, M> = "Series");
debug!([M: Metric] Bound<M> = "Bound");

impl<'a, M: Metric> Series<'a, M> {
    idle! { [where Self: Observe]
        try_observe(f64) -> Result<(), Error> = Ok(());
    }

    idle! { []
        get() -> M::Value = M::nothing();
    }
}

impl<M: Metric> Bound<M> {
    idle! { []
        series() -> Series<'_, M> = Series::OFF;
        get() -> M::Value = M::nothing();
        is_overflow() -> bool = false;
    }
}

/// Implements the updates of a kind, for the metric and its series. [`Series`] has those after
/// `generic` for all kinds.
macro_rules! updates {
    ([$($generics:tt)*] $metric:ty, [$($plain_generics:tt)*] $plain:ty, get: $value:ty,
     { $($updates:tt)* } generic { $($more:tt)* }) => {
        impl<$($generics)*> $metric {
            idle! { [where L: Unlabelled]
                $($updates)*
                $($more)*
                get() -> $value = <$plain as Metric>::nothing();
            }
        }

        impl<$($plain_generics)*> Series<'_, $plain> {
            idle! { [] $($updates)* }
        }

        impl<$($plain_generics)*> Bound<$plain> {
            idle! { [] $($updates)* $($more)* }
        }
    };
}

updates!([L: LabelSet, N: Number] Counter<L, N>, [N: Number] Counter<(), N>, get: N, {
    add(N);
    inc();
    add_exemplar(N, &[(&str, &str)]);
    add_traced(N);
    inc_traced();
    try_add(N) -> Result<(), Error> = Ok(());
    try_add_exemplar(N, &[(&str, &str)]) -> Result<(), Error> = Ok(());
} generic {});

updates!([L: LabelSet] UpDownCounter<L>, [] UpDownCounter, get: i64, {
    add(u64);
    sub(u64);
    inc();
    dec();
} generic {});

updates!([L: LabelSet] Gauge<L>, [] Gauge, get: f64, {
    set(impl GaugeValue);
    add(impl GaugeValue);
    sub(impl GaugeValue);
    inc();
    dec();
    raise(impl GaugeValue);
    lower(impl GaugeValue);
    set_to_current_time();
} generic {});

updates!([L: LabelSet] Histogram<L>, [] Histogram, get: Observed, {
    observe(f64);
    observe_many(f64, u64);
    observe_exemplar(f64, &[(&str, &str)]);
    observe_traced(f64);
    try_observe_exemplar(f64, &[(&str, &str)]) -> Result<(), Error> = Ok(());
} generic {
    observe_duration(Duration);
    try_observe(f64) -> Result<(), Error> = Ok(());
});

updates!([L: LabelSet] Summary<L>, [] Summary, get: Quantiles, {
    observe(f64);
} generic {
    observe_duration(Duration);
    try_observe(f64) -> Result<(), Error> = Ok(());
});

updates!(
    [T: LabelValue, L: LabelSet] StateSet<T, L>, [T: LabelValue] StateSet<T>, get: &'static str,
    {
        set(T);
        try_set(T) -> Result<(), Error> = Ok(());
    } generic {}
);

impl<L: LabelSet> Histogram<L> {
    idle! { []
        sample(u32) -> Sampled<'_> = Sampled::OFF;
    }
}

impl<'a> Series<'a, Histogram> {
    pub fn sample(self, _: u32) -> Sampled<'a> {
        Sampled::OFF
    }
}
