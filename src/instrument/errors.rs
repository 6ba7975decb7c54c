//! Counting of failed calls: the trait for counters, a function for code without attributes, and
//! the functions that attributes expand to.

use crate::declare::{Counter, Deferred};
use crate::family::label::{LabelValue, Scratch};
use crate::observe::Number;

use super::outcome::Outcome;

/// A counter without labels, or one series of a labelled counter.
///
/// A labelled counter does not implement this trait itself, because it needs label values first.
///
/// ```
/// use tallies::{instrument::Count, Counter};
///
/// fn fail(metric: impl Count) {
///     metric.count();
/// }
///
/// static FAILED: Counter = Counter::new("failed_total");
/// static REFUSED: Counter<[&str; 1]> = Counter::labelled("refused_total", &["queue"]);
///
/// fail(&FAILED);
/// fail(REFUSED.with(["mail"]));
/// assert_eq!(FAILED.get(), 1);
/// assert_eq!(REFUSED.with(["mail"]).get(), 1);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot count calls or errors",
    label = "not a counter without labels",
    note = "a `Counter` counts calls and errors; one with labels needs their values: `#[tallies::count(METRIC, labels = ..)]` or `METRIC.with(..)`"
)]
pub trait Count {
    /// Adds 1.
    fn count(&self);
}

impl<N: Number> Count for Deferred<'_, Counter<(), N>> {
    #[inline]
    fn count(&self) {
        self.series().inc();
    }
}

/// Runs `f`, and counts the call if it returns an error or panics. For code that cannot carry
/// [`#[count_errors]`](macro@crate::count_errors).
///
/// A successful call costs one check of the result.
///
/// ```
/// use tallies::{Counter, instrument::count_errors};
///
/// static BAD: Counter = Counter::new("bad_numbers_total");
///
/// let parse = |text: &str| count_errors(&BAD, || text.parse::<u16>());
/// assert_eq!(parse("17"), Ok(17));
/// assert!(parse("x").is_err());
/// assert_eq!(BAD.get(), 1);
/// ```
#[inline]
pub fn count_errors<R: Outcome>(metric: impl Count, f: impl FnOnce() -> R) -> R {
    let unwinding = Unwinding(|| metric.count());
    let result = f();
    disarm(unwinding);
    if result.error().is_some() {
        metric.count();
    }
    result
}

/// Runs the closure when dropped, which happens when the measured call unwinds.
#[allow(missing_debug_implementations, reason = "written by attributes only")]
pub struct Unwinding<F: Fn()>(pub F);

impl<F: Fn()> Drop for Unwinding<F> {
    #[cold]
    fn drop(&mut self) {
        self.0();
    }
}

/// Forgets the guard, because the call returned.
#[inline(always)]
pub fn disarm(unwinding: Unwinding<impl Fn()>) {
    std::mem::forget(unwinding);
}

/// Calls `f`. The `FnOnce` bound lets the closure return values that it captured.
#[inline(always)]
pub fn call<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Adds 1 to `metric`.
#[inline(always)]
pub fn counted(metric: impl Count) {
    metric.count();
}

/// Returns `metric`. Requires [`Count`] at the span of the attribute's argument, so that a compile
/// error about the metric points there.
#[inline(always)]
pub fn counts<M: Count>(metric: M) -> M {
    metric
}

/// Calls `f` with the error, if there is one.
#[inline(always)]
pub fn error<R: Outcome>(result: &R, f: impl FnOnce(&R::Error)) {
    if let Some(error) = result.error() {
        f(error);
    }
}

/// Calls `f` with the text of an error's label.
#[inline]
pub fn error_label(label: impl LabelValue, f: impl FnOnce(&str)) {
    f(label.text(&mut Scratch::default()));
}

/// Names the return type of a block, from a branch that never runs.
#[cold]
pub fn nothing<T>() -> T {
    unreachable!("a branch that is never taken")
}

/// Makes a block capture values by move, from a branch that never runs.
#[cold]
pub fn owned<T>(_: T) -> ! {
    unreachable!("a branch that is never taken")
}
