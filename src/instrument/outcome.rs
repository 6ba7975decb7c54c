//! The outcome of a call, derived from the type of its result.

use std::convert::Infallible;
use std::ops::Deref;

/// A way in which a call can fail.
///
/// ```
/// use tallies::{Counter, instrument::Failure, instrument::Measure};
///
/// static EMPTY: Counter = Counter::new("empty_total");
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let nothing = std::future::ready(None::<u8>);
/// nothing.count_errors(&EMPTY).on(&[Failure::None, Failure::Panic]).await;
/// # });
/// assert_eq!(EMPTY.get(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The call returned an error: see [`Outcome::error`].
    Error,
    /// The call returned nothing: see [`Outcome::is_none`].
    None,
    /// The call panicked. With `panic = "abort"`, panics cannot be counted.
    Panic,
    /// The future was polled, and dropped before it completed.
    Cancel,
}

/// A result that tells whether the call failed: `Result`, `Option`, and types of your own.
///
/// Type aliases work, because the trait is resolved by type. If the result type of a function is a
/// type parameter, the attributes cannot inspect it and count no errors.
///
/// ```
/// use tallies::{Counter, instrument::Outcome};
///
/// enum Reply {
///     Done,
///     Refused(u16),
/// }
///
/// impl Outcome for Reply {
///     type Error = u16;
///
///     fn error(&self) -> Option<&u16> {
///         match self {
///             Self::Done => None,
///             Self::Refused(code) => Some(code),
///         }
///     }
/// }
///
/// static REFUSED: Counter<[&str; 1]> = Counter::labelled("refused_total", &["code"]);
///
/// #[tallies::count_errors(REFUSED, labels = |code| [&code.to_string()])]
/// fn ask(code: u16) -> Reply {
///     if code == 0 { Reply::Done } else { Reply::Refused(code) }
/// }
///
/// ask(0);
/// ask(404);
/// assert_eq!(REFUSED.get_all().len(), 1);
/// assert_eq!(REFUSED.with(["404"]).get(), 1);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell whether the call failed",
    label = "neither `Result`, `Option`, nor a type with `impl tallies::instrument::Outcome`",
    note = "errors are counted for a `Result`, an `Option` with `on(none)`, or a type that implements `tallies::instrument::Outcome`",
    note = "to count only the panics of a function that cannot fail, use `#[tallies::count_errors(METRIC, on(panic))]`"
)]
pub trait Outcome {
    /// The error that labels can be taken from. Use `Self` if there is no separate error type.
    type Error: ?Sized;

    /// Returns the error, if the call failed with one.
    fn error(&self) -> Option<&Self::Error>;

    /// Returns whether the call returned nothing, without an error. Such calls count only with
    /// `on(none)`.
    ///
    /// ```
    /// use tallies::instrument::Outcome;
    ///
    /// assert!(None::<u8>.is_none());
    /// assert!(!Ok::<u8, ()>(1).is_none());
    /// ```
    #[inline]
    fn is_none(&self) -> bool {
        false
    }
}

impl<T, E> Outcome for Result<T, E> {
    type Error = E;

    #[inline]
    fn error(&self) -> Option<&E> {
        self.as_ref().err()
    }
}

impl<T> Outcome for Option<T> {
    type Error = Infallible;

    #[inline]
    fn error(&self) -> Option<&Infallible> {
        None
    }

    #[inline]
    fn is_none(&self) -> bool {
        self.is_none()
    }
}

/// Returns whether `result` is a failure of one of the selected kinds.
#[inline(always)]
pub fn failed<R: Outcome>(result: &R, error: bool, none: bool) -> bool {
    (error && result.error().is_some()) || (none && result.is_none())
}

/// A result that is inspected through its [`Outcome`] if its type has one, and counts as a success
/// otherwise. `.check()` rejects a type that is known to have none, since counting its errors is a
/// mistake.
///
/// Method resolution decides, so that no trait has to be in scope: it takes the inherent method of
/// `Fallible` if `R: Outcome`, and continues through `Deref` otherwise. The compiler cannot express
/// "has no `Outcome`". So the next `.check()` is that of `Concrete` if `R: Unpin`, whose bound is
/// then an error. A type parameter is in most cases not `Unpin`, and ends at `Generic`.
#[allow(missing_debug_implementations, reason = "written by attributes only")]
pub struct Fallible<'a, R>(Concrete<'a, R>);

/// A result whose type has no [`Outcome`].
#[allow(missing_debug_implementations, reason = "written by attributes only")]
pub struct Concrete<'a, R>(Generic<'a, R>);

/// A result whose type may be a type parameter.
#[allow(missing_debug_implementations, reason = "written by attributes only")]
pub struct Generic<'a, R>(&'a R);

impl<'a, R> Fallible<'a, R> {
    /// Wraps a reference to the result.
    #[inline(always)]
    pub fn new(result: &'a R) -> Self {
        Self(Concrete(Generic(result)))
    }
}

impl<R: Outcome> Fallible<'_, R> {
    /// Accepts the type.
    #[inline(always)]
    pub fn check(&self) {}

    /// Returns whether the result is a failure of one of the selected kinds.
    #[inline(always)]
    pub fn failed(&self, error: bool, none: bool) -> bool {
        failed(self.0.0.0, error, none)
    }
}

impl<R: Unpin> Concrete<'_, R> {
    /// Rejects the type.
    #[inline(always)]
    pub fn check(&self)
    where
        R: Outcome,
    {
    }
}

impl<R> Generic<'_, R> {
    /// Accepts the type.
    #[inline(always)]
    pub fn check(&self) {}

    /// Returns `false`: without an [`Outcome`], the result counts as a success.
    #[inline(always)]
    pub fn failed(&self, _: bool, _: bool) -> bool {
        false
    }
}

impl<'a, R> Deref for Fallible<'a, R> {
    type Target = Concrete<'a, R>;

    #[inline(always)]
    fn deref(&self) -> &Concrete<'a, R> {
        &self.0
    }
}

impl<'a, R> Deref for Concrete<'a, R> {
    type Target = Generic<'a, R>;

    #[inline(always)]
    fn deref(&self) -> &Generic<'a, R> {
        &self.0
    }
}
