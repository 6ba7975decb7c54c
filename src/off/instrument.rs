//! Timers, guards, and wrappers of futures and streams, which measure nothing.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Histogram;
use super::label_set::LabelValue;

pub use crate::in_both::measure::Measure;

#[path = "../instrument/outcome.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of the engine")]
mod outcome;

pub use outcome::{Failure, Outcome};

pub trait Count {
    fn count(&self);
}

pub trait Observe {
    fn observe(&self, value: f64);
}

pub trait Track {
    fn up(&self);
    fn down(&self);
}

#[inline(always)]
pub fn count_errors<R: Outcome>(_: impl Count, f: impl FnOnce() -> R) -> R {
    f()
}

#[derive(Clone, Copy, Debug)]
pub struct Start(());

impl Start {
    #[must_use]
    pub fn now() -> Self {
        Self(())
    }

    #[must_use]
    pub fn elapsed(self) -> Duration {
        Duration::ZERO
    }

    #[must_use]
    pub fn seconds(self) -> f64 {
        0.0
    }
}

#[derive(Debug)]
#[must_use = "it measures until it is dropped: `let _timer = ..`, not `let _ = ..`"]
pub struct Timer<M: Observe> {
    kind: PhantomData<M>,
}

impl<M: Observe> Timer<M> {
    #[inline(always)]
    pub fn start(_: M) -> Self {
        Self { kind: PhantomData }
    }

    pub fn stop(self) -> Duration {
        Duration::ZERO
    }

    pub fn discard(self) {}
}

#[derive(Debug)]
#[must_use = "it counts until it is dropped: `let _guard = ..`, not `let _ = ..`"]
pub struct InFlight<M: Track>(PhantomData<M>);

impl<M: Track> InFlight<M> {
    #[inline(always)]
    pub fn enter(_: M) -> Self {
        Self(PhantomData)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Sampled<'a> {
    of: PhantomData<&'a Histogram>,
}

impl<'a> Sampled<'a> {
    pub(super) const OFF: Self = Self { of: PhantomData };

    pub fn start_timer(self) -> SampledTimer<'a> {
        SampledTimer { of: PhantomData }
    }

    pub fn time<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
}

#[derive(Debug)]
#[must_use = "it measures until it is dropped: `let _timer = ..`, not `let _ = ..`"]
pub struct SampledTimer<'a> {
    of: PhantomData<Sampled<'a>>,
}

impl SampledTimer<'_> {
    pub fn discard(self) {}
}

// As with the engine, a guard borrows its metric until it is dropped, and `drop` is not idle.
impl<M: Observe> Drop for Timer<M> {
    #[inline(always)]
    fn drop(&mut self) {}
}

impl<M: Track> Drop for InFlight<M> {
    #[inline(always)]
    fn drop(&mut self) {}
}

impl Drop for SampledTimer<'_> {
    #[inline(always)]
    fn drop(&mut self) {}
}

pub type Timed<T, M> = Guarded<T, M, Timer<M>>;

pub type InProgress<T, M> = Guarded<T, M, InFlight<M>>;

#[derive(Debug)]
#[must_use = "nothing runs before it is polled"]
pub struct Guarded<T, M, G> {
    inner: T,
    guard: PhantomData<(M, G)>,
}

#[derive(Debug)]
#[must_use = "nothing runs before it is polled"]
pub struct Errors<T, M>
where
    M: Count,
{
    inner: T,
    guard: PhantomData<M>,
}

impl<T, M, G> Guarded<T, M, G> {
    pub(crate) fn new(inner: T, _: M, _: fn(M) -> G) -> Self {
        let guard = PhantomData;
        Self { inner, guard }
    }
}

impl<T, M: Count> Errors<T, M> {
    pub(crate) fn new(inner: T, _: M) -> Self {
        let guard = PhantomData;
        Self { inner, guard }
    }

    pub fn on(self, _: &[Failure]) -> Self {
        self
    }
}

/// Implements what both wrappers have.
macro_rules! wrapper {
    ($wrapper:ident [$($names:ident),*] [$($generics:tt)*] $($bound:ident)?) => {
        impl<T, $($generics)*> $wrapper<T, $($names),*> {
            #[expect(unsafe_code, reason = "std has no safe projection of a pin")]
            fn project(self: Pin<&mut Self>) -> Pin<&mut T> {
                // SAFETY: `inner` is pinned whenever the wrapper is. Nothing moves it out of a
                // pinned wrapper, which has no `Drop`, and is `Unpin` only if `inner` is: the other
                // field is no value.
                unsafe { self.map_unchecked_mut(|this| &mut this.inner) }
            }
        }

        impl<S, $($generics)*> $wrapper<S, $($names),*> {
            pub const fn get_ref(&self) -> &S {
                &self.inner
            }

            pub fn poll_item<I $(: $bound)?>(
                self: Pin<&mut Self>,
                poll: impl FnOnce(Pin<&mut S>) -> Poll<Option<I>>,
            ) -> Poll<Option<I>> {
                poll(self.project())
            }
        }

        impl<F: Future $(<Output: $bound>)?, $($generics)*> Future for $wrapper<F, $($names),*> {
            type Output = F::Output;

            #[inline]
            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
                self.project().poll(cx)
            }
        }
    };
}

wrapper!(Guarded [M, G] [M, G]);
wrapper!(Errors [M] [M: Count] Outcome);

/// Names the return type of a function, from a branch that never runs.
#[cold]
#[doc(hidden)]
pub fn nothing<T>() -> T {
    unreachable!("a branch that is never taken")
}

/// Gives the type of the error to the closure that labels it.
#[doc(hidden)]
pub fn error<R: Outcome, T>(_: R, _: impl FnOnce(&R::Error) -> T) {}

/// Requires a label value, and returns the text of none.
#[doc(hidden)]
pub fn error_label(_: impl LabelValue) -> &'static str {
    ""
}
