//! Setters of builders, and getters.

/// Implements setters, each by the expression that changes the value. For the crates of tallies.
///
/// ```
/// #[must_use]
/// #[derive(Default)]
/// pub struct Builder {
///     limit: usize,
/// }
///
/// impl Builder {
///     tallies_names::setters! {
///         /// Sets the limit.
///         fn limit(self, limit: usize) = self.limit = limit;
///     }
/// }
///
/// assert_eq!(Builder::default().limit(7).limit, 7);
/// ```
///
/// With `const fn` in each line, they are constant functions.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    ($($(#[$attribute:meta])* fn $name:ident($self:ident $(, $arg:ident: $ty:ty)*) = $change:expr;)*) => {$(
        $(#[$attribute])*
        #[must_use = "the setter returns the changed value"]
        pub fn $name(mut $self $(, $arg: $ty)*) -> Self {
            $change;
            $self
        }
    )*};
    ($($(#[$attribute:meta])* const fn $name:ident($self:ident $(, $arg:ident: $ty:ty)*) = $change:expr;)*) => {$(
        $(#[$attribute])*
        #[must_use = "the setter returns the changed value"]
        pub const fn $name(mut $self $(, $arg: $ty)*) -> Self {
            $change;
            $self
        }
    )*};
}

/// Implements getters, each by the expression that it returns. For the crates of tallies.
///
/// ```
/// pub struct Range {
///     first: u32,
///     last: u32,
/// }
///
/// impl Range {
///     tallies_names::getters! {
///         /// Returns the first number.
///         fn first(&self) -> u32 = self.first;
///         /// Returns the last number.
///         fn last(&self) -> u32 = self.last;
///     }
/// }
///
/// let range = Range { first: 1, last: 6 };
/// assert_eq!((range.first(), range.last()), (1, 6));
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! getters {
    ($($(#[$attribute:meta])* fn $name:ident(&$self:ident) -> $ty:ty = $value:expr;)*) => {$(
        $(#[$attribute])*
        #[must_use]
        pub fn $name(&$self) -> $ty {
            $value
        }
    )*};
}
