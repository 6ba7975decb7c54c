//! Metrics whose total over all processes is one number.

use crate::declare::{Counter, UpDownCounter};
use crate::family::label::LabelSet;
use crate::observe::Number;
use crate::registry::Registry;

/// A metric whose total over all processes is one number: a [`Counter`] or an [`UpDownCounter`].
///
/// Stores take one where a program asks for its total. Programs do not implement it.
#[expect(private_bounds, reason = "sealed: the name of a family is private")]
pub trait Totalled: Exposed {
    /// Returns the name of its family on pages of `registry`; without one, of a source that has no
    /// prefix. Registers a static that was not used yet.
    ///
    /// ```
    /// use tallies::share::Totalled;
    ///
    /// let registry = tallies::Registry::new();
    /// registry.set_prefix("shop")?;
    /// let jobs = registry.counter("jobs_total", "Jobs done.")?;
    /// assert_eq!(jobs.name_in(Some(&registry)), "shop_jobs_total");
    /// # Ok::<(), tallies::Error>(())
    /// ```
    fn name_in(&self, registry: Option<&Registry>) -> String {
        let prefix = registry.map(Registry::prefix).unwrap_or_default();
        format!("{prefix}{}", self.exposed_name())
    }
}

/// A metric with a family.
trait Exposed {
    /// Returns the name of the family on pages, without the prefix of the registry.
    fn exposed_name(&self) -> &str;
}

impl<L: LabelSet, N: Number> Exposed for Counter<L, N> {
    fn exposed_name(&self) -> &str {
        &self.0.declaration.family().desc.name
    }
}

impl<L: LabelSet, N: Number> Totalled for Counter<L, N> {}

impl<L: LabelSet> Exposed for UpDownCounter<L> {
    fn exposed_name(&self) -> &str {
        &self.0.declaration.family().desc.name
    }
}

impl<L: LabelSet> Totalled for UpDownCounter<L> {}
