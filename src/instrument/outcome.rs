//! What became of a call, by the type of its result.

use std::convert::Infallible;
use std::ops::Deref;

/// A way in which a call can come to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// It returned an error: see [`Outcome::error`].
    Error,
    /// It returned nothing: see [`Outcome::is_none`].
    None,
    /// It panicked. Under `panic = "abort"` nobody is left to count that.
    Panic,
    /// Its future was dropped after it began and before it was done.
    Cancel,
}

/// What a call can return that tells whether it failed: `Result`, `Option`, and types of yours.
///
/// Aliases are what they stand for. In a function whose result is of a type parameter nothing is known of it, and errors
/// are not counted.
///
/// ```
/// use tallies::{Counter, Outcome};
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
/// assert_eq!(REFUSED.get(["404"]), Some(1));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell whether the call failed",
    label = "neither `Result`, `Option`, nor a type with `impl tallies::Outcome`",
    note = "errors are counted of a `Result`, an `Option` with `on(none)`, or a type that implements `tallies::Outcome`"
)]
pub trait Outcome {
    /// What a failed call says of its failure; `Self` where there is nothing more to say.
    type Error: ?Sized;

    /// The error, if there is one.
    fn error(&self) -> Option<&Self::Error>;

    /// Whether it came to nothing without an error, which counts when asked for by `on(none)`.
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

/// A result to be judged: by its [`Outcome`] if its type has one, else as good.
///
/// The first `failed` is a method where the type has an outcome; where it has none, the search goes on behind the
/// pointer and finds the other one. No trait has to be in scope.
#[allow(missing_debug_implementations, reason = "written by attributes only")]
pub struct Judge<'a, R>(Unknown<'a, R>);

#[allow(missing_debug_implementations, reason = "written by attributes only")]
pub struct Unknown<'a, R>(&'a R);

impl<'a, R> Judge<'a, R> {
    /// Before it is judged.
    #[inline(always)]
    pub fn new(result: &'a R) -> Self {
        Self(Unknown(result))
    }
}

impl<R: Outcome> Judge<'_, R> {
    /// Whether it is among the failures that are asked for.
    #[inline(always)]
    pub fn failed(&self, error: bool, none: bool) -> bool {
        super::errors::failed(self.0.0, error, none)
    }
}

impl<R> Unknown<'_, R> {
    /// Nothing is known of it: it is good.
    #[inline(always)]
    pub fn failed(&self, _: bool, _: bool) -> bool {
        false
    }
}

impl<'a, R> Deref for Judge<'a, R> {
    type Target = Unknown<'a, R>;

    #[inline(always)]
    fn deref(&self) -> &Unknown<'a, R> {
        &self.0
    }
}
