//! The crate without the feature `enabled`: the API that libraries use, as types of size zero whose
//! methods do nothing. The documentation of each item is that of its twin with the feature, and
//! `tests/api` compares their signatures.
//!
//! Every argument is evaluated and dropped. Code that the engine would call, such as a collector or
//! an `Observe` of the program, never runs.

#![allow(missing_docs, reason = "the documentation is that of all features")]

mod builder;
mod error;
mod events;
#[path = "../snapshot/gauge_mode.rs"]
mod gauge_mode;
#[path = "../family/label.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of the engine")]
mod label_set;
mod metrics;
mod registry;
mod scratch;
mod series;

pub mod instrument;

pub use builder::{Builder, Metric};
pub use error::Error;
pub use label_set::LabelValue;
pub use metrics::{Counter, Gauge, Histogram, Info, Number, StateSet, Summary, UpDownCounter};
pub use registry::{Registry, registry};
pub use series::{Bound, Series};
pub use tallies_macros::{
    OffLabelValue as LabelValue, OffLabels as Labels, OffMetrics as Metrics, off_count as count,
    off_count_errors as count_errors, off_in_progress as in_progress, off_metric as metric,
    off_timed as timed,
};

pub mod buckets {
    pub use super::metrics::Observed;
    pub use super::registry::{exponential, linear};
    pub use crate::in_both::buckets::{DEFAULT, exponential_array, linear_array};
}

pub mod collect {
    pub use super::registry::Collected;
    pub use crate::in_both::collect::Collect;
}

pub mod event {
    pub use super::events::{Event, EventValue, Events, Recorded};
}

pub mod label {
    pub use super::label_set::{
        AnyLabels, DynLabels, LabelNames, LabelSet, NamedLabels, Scratch, Unlabelled,
    };

    pub const DEFAULT_LIMIT: usize = 10_000;
}

/// The values that metrics return and the settings that they take.
pub mod snapshot {
    pub use super::gauge_mode::GaugeMode;
    pub use super::metrics::{Native, Quantiles};
}

#[doc(hidden)]
pub mod __private {
    pub use super::events::field;
    pub use super::instrument::{error, error_label, nothing};
    pub use super::label_set::Names;
    pub use super::metrics::{Declare, Listed};
}

use crate::in_both::debug;

/// Implements methods that do nothing, from their names and the types of their arguments. The value
/// after `=` is their result. In front stands the `where` clause of all of them.
macro_rules! idle {
    ($where:tt $($name:ident($($ty:ty),*) $(-> $out:ty = $value:expr)?;)*) => {$(
        $crate::off::idle!(@method $where $name($($ty),*) $(-> $out = $value)?);
    )*};
    (@method [$($where:tt)*] $name:ident($($ty:ty),*) $(-> $out:ty = $value:expr)?) => {
        #[inline(always)]
        pub fn $name(&self, $(_: $ty),*) $(-> $out)? $($where)* {
            $($value)?
        }
    };
}
use idle;

/// Implements setters that set nothing.
macro_rules! setters {
    ($($name:ident($($ty:ty),*);)*) => {$(
        #[inline(always)]
        pub fn $name(self, $(_: $ty),*) -> Self {
            self
        }
    )*};
    (const $($name:ident($($ty:ty),*);)*) => {$(
        #[inline(always)]
        #[must_use = "the setter returns the changed value"]
        pub const fn $name(self, $(_: $ty),*) -> Self {
            self
        }
    )*};
}
use setters;
