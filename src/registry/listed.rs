//! Statics that the linker lists, and statics that a program lists itself.

/// What `#[tallies::metric]` lists at link time, and `register_all!` at run time.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a metric that the default registry could list",
    label = "not a metric",
    note = "what stands in a `static` is a `Counter`, a `Gauge`, an `UpDownCounter`, a `Histogram`, a `Summary`, an `Info` or a `StateSet`"
)]
pub trait Listed: Sync {
    /// Enlists the static, if that has not happened yet.
    fn enlist(&self);
}

/// Every static with the attribute.
#[cfg(feature = "link-time")]
#[linkme::distributed_slice]
pub static LISTED: [&'static dyn Listed];

/// Enlists every static that the linker has listed.
pub(crate) fn enlist_all() {
    #[cfg(feature = "link-time")]
    for metric in LISTED {
        metric.enlist();
    }
}
