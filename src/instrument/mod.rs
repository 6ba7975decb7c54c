//! Measuring code without rewriting it: attributes, guards, and wrappers for futures and streams.
//!
//! | | attribute | guard | future or stream |
//! |---|---|---|---|
//! | how long | [`#[timed]`](macro@crate::timed) | `LATENCY.start_timer()` | [`.timed(&LATENCY)`](Measure::timed) |
//! | how many at once | [`#[in_progress]`](macro@crate::in_progress) | `IN_FLIGHT.track()` | [`.in_progress(&IN_FLIGHT)`](Measure::in_progress) |
//! | how many failed | [`#[count_errors]`](macro@crate::count_errors) | [`count_errors()`] | [`.count_errors(&ERRORS)`](Measure::count_errors) |
//! | how many | [`#[count]`](macro@crate::count) | `CALLS.inc()` | |
//!
//! An attribute expands to the guard in its row and costs the same. The type of the result decides
//! whether a call failed, not the name of the type: see [`Outcome`].

pub(crate) mod attributes;
mod errors;
mod measure;
mod outcome;
mod watch;

pub use errors::{Count, count_errors};
pub use measure::{Errors, Guarded, InProgress, Timed};
pub use outcome::{Failure, Outcome};

pub use crate::clock::Start;
#[cfg(feature = "tsc")]
pub use crate::clock::calibrate;
pub use crate::declare::trace_ids;
pub use crate::declare::{InFlight, Observe, Sampled, SampledTimer, Timer, Track};
pub use crate::in_both::measure::Measure;
pub use crate::observe::{limit_cells, limit_summaries, warm};

/// Functions that the expansions of the attributes call.
#[doc(hidden)]
pub mod __private {
    pub use super::errors::{
        Unwinding, call, counted, counts, disarm, error, error_label, nothing, owned,
    };
    pub use super::measure::{enter, start};
    pub use super::outcome::{Fallible, failed};
    pub use super::watch::watch;
}
