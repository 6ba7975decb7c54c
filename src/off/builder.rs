//! Builders, and the trait of all metric types.

use std::marker::PhantomData;
use std::time::Duration;

use super::label_set::{LabelNames, LabelSet, NamedLabels};
use super::metrics::{Counter, Gauge, Histogram, StateSet, Summary};
use super::{Error, Registry, debug, setters, snapshot::GaugeMode};

#[expect(private_bounds, reason = "sealed: the parts of a metric are private")]
pub trait Metric: MetricParts {
    type Labelled<L: LabelSet>: Metric;

    type Value;

    /// Returns the value of a series that counted nothing.
    #[doc(hidden)]
    fn nothing() -> Self::Value;
}

/// The private parts of a metric type.
pub(crate) trait MetricParts: Sized {
    const OFF: Self;
}

#[must_use = "nothing is declared before `register`"]
pub struct Builder<M> {
    kind: PhantomData<fn(M)>,
}

debug!([M] Builder<M> = "Builder");

impl<M> Builder<M> {
    pub(super) const NEW: Self = Self { kind: PhantomData };
}

impl<M: Metric> Builder<M> {
    pub fn labels<N: LabelNames>(self, _: N) -> Builder<M::Labelled<N::Set>> {
        Builder::NEW
    }

    pub fn label_set<L: NamedLabels>(self) -> Builder<M::Labelled<L>> {
        Builder::NEW
    }

    setters! {
        prefix(&str);
        unit(&str);
        constant(&str, &str);
        limit(usize);
        hot();
        expire_after(Duration);
        utf8();
        lint(bool);
    }

    pub fn register(self, _: &Registry) -> Result<M, Error> {
        Ok(M::OFF)
    }

    pub fn get_or_register(self, _: &Registry) -> Result<M, Error> {
        Ok(M::OFF)
    }
}

impl<L: LabelSet> Builder<Counter<L>> {
    pub fn float(self) -> Builder<Counter<L, f64>> {
        Builder::NEW
    }
}

impl<L: LabelSet> Builder<Gauge<L>> {
    setters! {
        mode(GaugeMode);
        shared_ttl(Duration);
    }
}

impl<L: LabelSet> Builder<Histogram<L>> {
    setters! {
        buckets(&[f64]);
        native(i8);
        native_limit(u32);
        zero_threshold(f64);
    }
}

impl<L: LabelSet> Builder<Summary<L>> {
    setters! {
        objective(f64, f64);
        max_age(Duration);
        ages(u32);
    }

    pub fn objectives(self, _: &[(f64, f64)]) -> Result<Self, Error> {
        Ok(self)
    }
}

impl<L: LabelSet> Builder<StateSet<String, L>> {
    setters! {
        states(&[impl AsRef<str>]);
    }
}
