//! Setters of builders.

/// Implements setters of a builder, each by the expression that changes it. For the crates of
/// tallies.
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
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    ($($(#[$attribute:meta])* fn $name:ident($self:ident $(, $arg:ident: $ty:ty)*) = $change:expr;)*) => {$(
        $(#[$attribute])*
        pub fn $name(mut $self $(, $arg: $ty)*) -> Self {
            $change;
            $self
        }
    )*};
}
