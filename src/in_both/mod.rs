//! Traits of metrics and results, bucket bounds, and methods that only call others, for both forms
//! of the crate: with its engine and without. The files name metrics by their public paths, which
//! lead to `declare` or to `off`.

#[allow(
    unreachable_pub,
    reason = "with the engine, the crate has functions around these"
)]
pub(crate) mod buckets;
pub(crate) mod collect;
pub(crate) mod gauge_value;
mod guards;
pub(crate) mod measure;
mod registry;
mod roles;

/// Implements `Debug` of a type of which at most one field is shown.
macro_rules! debug {
    ([$($generics:tt)*] $ty:ty = $name:expr $(, $field:literal: |$this:ident| $value:expr)?) => {
        impl<$($generics)*> std::fmt::Debug for $ty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $(let $this = self;)?
                f.debug_struct($name)$(.field($field, &$value))?.finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use debug;
