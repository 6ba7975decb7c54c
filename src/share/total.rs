//! The total of one metric over all processes.

use crate::declare::{Counter, UpDownCounter};
use crate::error::Error;
use crate::family::label::LabelSet;
use crate::observe::Number;
use crate::snapshot::{Snapshot, Value};

/// A metric whose total over all processes is one number: a [`Counter`] or an [`UpDownCounter`].
///
/// `share::Redis::total` has an example. Programs do not implement it.
#[expect(private_bounds, reason = "sealed: the name of a family is private")]
pub trait Totalled: Exposed {}

/// A metric with a family.
trait Exposed {
    /// Returns the name of the family on pages, without the prefix of the registry.
    fn exposed_name(&self) -> &str;
}

impl<L: LabelSet, N: Number> Exposed for Counter<L, N> {
    fn exposed_name(&self) -> &str {
        &self.inner.family().desc.name
    }
}

impl<L: LabelSet, N: Number> Totalled for Counter<L, N> {}

impl<L: LabelSet> Exposed for UpDownCounter<L> {
    fn exposed_name(&self) -> &str {
        &self.inner.family().desc.name
    }
}

impl<L: LabelSet> Totalled for UpDownCounter<L> {}

/// Returns the name of a metric on pages. Registers a static that was not used yet.
pub(super) fn name_on_pages(metric: &impl Totalled, prefix: &str) -> String {
    format!("{prefix}{}", metric.exposed_name())
}

/// Adds up all series of a metric on a page of `store`.
pub(super) fn total(name: &str, page: &Snapshot, store: &str) -> Result<f64, Error> {
    let Some(family) = page.family(name) else {
        let cause = format!(
            "no process shares `{name}`; the metric is not in the registry of the store, or a view \
             switched it off"
        );
        return Err(Error::store("there is no total in", store, cause));
    };
    Ok(family
        .series()
        .map(|(_, value)| match value {
            Value::Counter(n) => n.as_f64(),
            Value::Gauge(x) => x,
            _ => 0.0,
        })
        .sum())
}
