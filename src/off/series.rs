//! One series of a metric.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::instrument::{InFlight, Observe, Sampled, Timer, Track};
use super::metrics::{Counter, Gauge, Histogram, StateSet, Summary, UpDownCounter};
use super::{Error, GaugeValue, LabelValue, Metric, Number, idle};

pub struct Series<'a, M: Metric> {
    metric: PhantomData<&'a M>,
}

pub struct Bound<M: Metric> {
    metric: PhantomData<fn() -> M>,
}

impl<M: Metric> Series<'_, M> {
    pub(super) const OFF: Self = Self {
        metric: PhantomData,
    };
}

impl<M: Metric> Bound<M> {
    pub(super) const OFF: Self = Self {
        metric: PhantomData,
    };
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

impl<M: Metric> fmt::Debug for Series<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

impl<M: Metric> fmt::Debug for Bound<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").finish_non_exhaustive()
    }
}

impl<'a, M: Metric> Series<'a, M> {
    idle! { [where Self: Observe]
        try_observe(f64) -> Result<(), Error> = Ok(());
        observe_duration(Duration);
    }

    #[must_use]
    pub fn get(&self) -> M::Value {
        M::nothing()
    }

    pub fn start_timer(self) -> Timer<Self>
    where
        Self: Observe,
    {
        Timer::start(self)
    }

    pub fn time<R>(&self, f: impl FnOnce() -> R) -> R
    where
        Self: Observe,
    {
        f()
    }

    pub fn track(self) -> InFlight<Self>
    where
        Self: Track,
    {
        InFlight::enter(self)
    }
}

impl<M: Metric> Bound<M> {
    #[must_use]
    pub fn series(&self) -> Series<'_, M> {
        Series::OFF
    }

    #[must_use]
    pub fn get(&self) -> M::Value {
        M::nothing()
    }

    #[must_use]
    pub fn is_overflow(&self) -> bool {
        false
    }

    pub fn start_timer(&self) -> Timer<&Self>
    where
        Self: Observe,
    {
        Timer::start(self)
    }

    pub fn time<R>(&self, f: impl FnOnce() -> R) -> R
    where
        Self: Observe,
    {
        f()
    }

    pub fn track(&self) -> InFlight<&Self>
    where
        Self: Track,
    {
        InFlight::enter(self)
    }
}

/// Implements the updates of a kind for its series.
macro_rules! updates {
    ([$($generics:tt)*] $metric:ty { $($updates:tt)* } bound { $($bound:tt)* }) => {
        impl<$($generics)*> Series<'_, $metric> {
            idle! { [] $($updates)* }
        }

        impl<$($generics)*> Bound<$metric> {
            idle! { [] $($updates)* $($bound)* }
        }
    };
}

updates!([N: Number] Counter<(), N> {
    add(N);
    inc();
    add_exemplar(N, &[(&str, &str)]);
    add_traced(N);
    inc_traced();
    try_add(N) -> Result<(), Error> = Ok(());
    try_add_exemplar(N, &[(&str, &str)]) -> Result<(), Error> = Ok(());
} bound {});

updates!([] UpDownCounter {
    add(u64);
    sub(u64);
    inc();
    dec();
} bound {});

updates!([] Gauge {
    set(impl GaugeValue);
    add(impl GaugeValue);
    sub(impl GaugeValue);
    inc();
    dec();
    raise(impl GaugeValue);
    lower(impl GaugeValue);
    set_to_current_time();
} bound {});

updates!([] Histogram {
    observe(f64);
    observe_many(f64, u64);
    observe_exemplar(f64, &[(&str, &str)]);
    observe_traced(f64);
    try_observe_exemplar(f64, &[(&str, &str)]) -> Result<(), Error> = Ok(());
} bound {
    observe_duration(Duration);
    try_observe(f64) -> Result<(), Error> = Ok(());
});

updates!([] Summary {
    observe(f64);
} bound {
    observe_duration(Duration);
    try_observe(f64) -> Result<(), Error> = Ok(());
});

updates!([T: LabelValue] StateSet<T> {
    set(T);
    try_set(T) -> Result<(), Error> = Ok(());
} bound {});

impl<'a> Series<'a, Histogram> {
    pub fn sample(self, _: u32) -> Sampled<'a> {
        Sampled::OFF
    }
}
