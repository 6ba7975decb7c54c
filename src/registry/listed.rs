//! Statics that the linker lists, and statics that the program lists by `register_all!`.

/// A static metric that `#[tallies::metric]` lists at link time or `register_all!` registers at run
/// time.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a metric that can be declared in a `static`",
    label = "not a metric",
    note = "a `static` metric is a `Counter`, a `Gauge`, an `UpDownCounter`, a `Histogram`, a `Summary`, an `Info`, a `StateSet` or `Events`"
)]
pub trait Listed: Sync {
    /// Registers the static in the default registry, unless it is registered.
    fn enlist(&self);
}

/// Every static with the attribute `#[tallies::metric]`.
#[cfg(feature = "link-time")]
#[linkme::distributed_slice]
pub static LISTED: [&'static dyn Listed];

/// Registers every static that the linker has listed.
pub(crate) fn enlist_all() {
    #[cfg(feature = "link-time")]
    for metric in LISTED {
        metric.enlist();
    }
}
