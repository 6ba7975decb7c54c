//! Setters: methods that change a value and return it.

/// Implements setters, each by the expression that changes the value.
macro_rules! setters {
    ($($(#[$doc:meta])* fn $name:ident($self:ident $(, $arg:ident: $ty:ty)*) = $change:expr;)*) => {$(
        $(#[$doc])*
        #[must_use = "the setter returns the changed value"]
        pub fn $name(mut $self $(, $arg: $ty)*) -> Self {
            $change;
            $self
        }
    )*};
    ($($(#[$doc:meta])* const fn $name:ident($self:ident $(, $arg:ident: $ty:ty)*) = $change:expr;)*) => {$(
        $(#[$doc])*
        #[must_use = "the setter returns the changed value"]
        pub const fn $name(mut $self $(, $arg: $ty)*) -> Self {
            $change;
            $self
        }
    )*};
}
pub(crate) use setters;
