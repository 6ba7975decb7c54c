//! Events: several metrics that count together.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::time::Duration;

use super::builder::{Builder, Metric, MetricParts};
use super::label_set::{LabelSet, NamedLabels, Unlabelled};
use super::metrics::{Listed, Observed, metric};
use super::{Bound, Series, debug, idle, setters};

pub use tallies_macros::OffEvent as Event;

pub trait Event {
    /// Uses the fields, so that the compiler does not call them unused.
    #[doc(hidden)]
    fn fields(&self);
}

pub trait EventValue {}

impl EventValue for f64 {}
impl EventValue for Duration {}
impl<T: EventValue> EventValue for Option<T> {}

/// A field of an event.
pub trait Field {}

impl Field for u64 {}
impl Field for f64 {}
impl Field for Duration {}
impl<T: EventValue> Field for Option<T> {}

pub fn field(_: &impl Field) {}

#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub counts: Vec<u64>,
    pub observed: Option<Observed>,
}

pub struct Events<E, L = ()>(PhantomData<fn(E, L)>);

impl<E: Event, L: LabelSet> Events<E, L> {
    #[must_use]
    pub const fn new() -> Self
    where
        L: NamedLabels,
    {
        Self(PhantomData)
    }

    idle! { [where L: Unlabelled]
        record(E);
        get() -> Recorded = Self::nothing();
    }

    idle! { []
        with(L::Borrowed<'_>) -> Series<'_, Events<E>> = Series::OFF;
        bind(L::Borrowed<'_>) -> Bound<Events<E>> = Bound::OFF;
        find(L::Borrowed<'_>) -> Option<Series<'_, Events<E>>> = None;
        get_all() -> Vec<(Vec<(String, String)>, Recorded)> = Vec::new();
        remove(L::Borrowed<'_>) -> bool = false;
        retire(L::Borrowed<'_>) -> bool = false;
        retain(impl FnMut(&[(&str, Cow<'_, str>)]) -> bool) -> usize = 0;
        clear();
        len() -> usize = 0;
        is_empty() -> bool = true;
    }

    setters! { const
        constant(&'static [(&'static str, &'static str)]);
        limit(usize);
        expire_after(Duration);
        hot();
    }
}

impl<E: Event, const LABELS: usize> Events<E, [&'static str; LABELS]> {
    #[must_use]
    pub const fn labelled(_: &'static [&'static str; LABELS]) -> Self {
        Self(PhantomData)
    }
}

impl<E: Event> Events<E> {
    pub fn builder() -> Builder<Self> {
        Builder::NEW
    }
}

impl<E: Event> Series<'_, Events<E>> {
    idle! { []
        record(E);
    }
}

impl<E: Event> Bound<Events<E>> {
    idle! { []
        record(E);
    }
}

metric!(
    @traits [E: Event, L: LabelSet] Events<E, L>,
    labelled: Events<E, X>, value: Recorded = NOTHING
);

const NOTHING: Recorded = Recorded {
    counts: Vec::new(),
    observed: None,
};

impl<E: Event, L: NamedLabels> Default for Events<E, L> {
    fn default() -> Self {
        Self::new()
    }
}

debug!([E, L] Events<E, L> = "Events");

// A static has no bytes.
const _: () = {
    struct Nothing;

    impl Event for Nothing {
        fn fields(&self) {}
    }

    assert!(size_of::<Events<Nothing, [&'static str; 2]>>() == 0);
};
