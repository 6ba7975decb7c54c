//! Calls that failed, counted.

use crate::declare::{BoundCounter, Counter, CounterSeries};
use crate::family::label::{LabelValue, Scratch};

use super::outcome::Outcome;

/// What counts: a counter, or a series of one.
///
/// A labelled counter is none before it has its labels.
#[diagnostic::on_unimplemented(
    message = "calls and errors are counted by a `Counter`, which `{Self}` is not",
    label = "not a counter without labels",
    note = "a counter with labels needs them: `#[tallies::count(METRIC, labels = ..)]`, or `METRIC.with(..)`"
)]
pub trait Count {
    /// Adds 1.
    fn count(&self);
}

macro_rules! count {
    ($($metric:ty = $one:literal),*) => {$(
        impl Count for $metric {
            #[inline]
            fn count(&self) {
                self.add($one);
            }
        }
    )*};
}

count!(
    Counter = 1,
    CounterSeries<'_> = 1,
    BoundCounter = 1,
    Counter<(), f64> = 1.0,
    CounterSeries<'_, f64> = 1.0,
    BoundCounter<f64> = 1.0
);

impl<M: Count + ?Sized> Count for &M {
    #[inline]
    fn count(&self) {
        M::count(self);
    }
}

/// Runs `f`, and counts it if it returns an error or panics: for code that cannot carry
/// [`#[count_errors]`](macro@crate::count_errors).
///
/// Costs a look at the result, where there is no error.
///
/// ```
/// use tallies::{Counter, count_errors};
///
/// static BAD: Counter = Counter::new("bad_numbers_total");
///
/// let parse = |text: &str| count_errors(&BAD, || text.parse::<u16>());
/// assert_eq!(parse("17"), Ok(17));
/// assert!(parse("x").is_err());
/// assert_eq!(BAD.total(), 1);
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

/// Runs `f` if it is dropped, which happens when the call below it unwinds.
#[allow(missing_debug_implementations, reason = "written by attributes only")]
pub struct Unwinding<F: Fn()>(pub F);

impl<F: Fn()> Drop for Unwinding<F> {
    #[cold]
    fn drop(&mut self) {
        self.0();
    }
}

/// Forgets it: the call came to an end.
#[inline(always)]
pub fn disarm(unwinding: Unwinding<impl Fn()>) {
    std::mem::forget(unwinding);
}

/// Calls `f`: through a bound that says it is called once, so that it may give back what it captured.
#[inline(always)]
pub fn call<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Counts.
#[inline(always)]
pub fn counted(metric: impl Count) {
    metric.count();
}

/// Checks that it can count, where the attribute names it.
#[inline(always)]
pub fn counts<M: Count>(metric: M) -> M {
    metric
}

/// Whether a result is among the failures that are asked for.
#[inline(always)]
pub fn failed<R: Outcome>(result: &R, error: bool, none: bool) -> bool {
    (error && result.error().is_some()) || (none && result.is_none())
}

/// Hands the error on, if there is one.
#[inline(always)]
pub fn error<R: Outcome>(result: &R, f: impl FnOnce(&R::Error)) {
    if let Some(error) = result.error() {
        f(error);
    }
}

/// Hands the text of an error's label on.
#[inline]
pub fn error_label(label: impl LabelValue, f: impl FnOnce(&str)) {
    f(label.text(&mut Scratch::default()));
}

/// Stands in a branch that is never taken, to say what type a block returns.
#[cold]
pub fn nothing<T>() -> T {
    unreachable!("a branch that is never taken")
}

/// Stands in a branch that is never taken, to have a block own what it uses.
#[cold]
pub fn owned<T>(_: T) -> ! {
    unreachable!("a branch that is never taken")
}
