//! Infos: labels that describe the program.

use crate::observe::GaugeCell;
use crate::snapshot::{Kind, LastSet};

use super::{MetricFamily, metric, with_builder, with_static};
use crate::family::changing;
use crate::family::desc::Names;
use crate::family::label::LabelSet;

/// Labels that describe the program, such as its version. The value is always 1.
///
/// ```
/// use tallies::Info;
///
/// /// The version of this program.
/// #[tallies::metric]
/// static BUILD: Info = Info::new("app_build_info").constant(&[("version", "1.2.0")]);
///
/// assert_eq!(tallies::snapshot().get("app_build_info", &[("version", "1.2.0")]), Some(1.0));
/// ```
pub struct Info<L = ()>(MetricFamily<GaugeCell, Info, L>);

impl<L: LabelSet> Info<L> {
    /// Sets the current label set, and removes the one before.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let leader = tallies::Info::builder("leader_info", "The host that leads.")
    ///     .labels(["host"])
    ///     .register(&registry)?;
    /// leader.set(["a"]);
    /// leader.set(["b"]);
    /// let now = registry.snapshot();
    /// assert_eq!(now.get("leader_info", &[("host", "b")]), Some(1.0));
    /// assert_eq!(now.get("leader_info", &[("host", "a")]), None);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// A label set with an invalid name is rejected and counted in
    /// `tallies_rejected_updates_total`. Waits for a scrape that is running. If the family's limit
    /// is 1, a scrape during the call may see neither label set.
    pub fn set(&self, labels: L::Borrowed<'_>) {
        let family = self.0.declaration.family();
        L::with_texts(&labels, |texts| {
            let text = match family.desc.own_text(texts) {
                Ok(text) => text,
                Err(error) => return family.reject(1, || error),
            };
            let _changing = changing();
            let retain = || family.retain(|other| other == text);
            if family.is_full() {
                retain();
            }
            // With a limit of 0 there is only the overflow series, and nothing to remove.
            if !family.with(texts).key.is_overflow() {
                retain();
            }
        });
    }

    /// Returns the current label set, for tests: the labels of the only series. `None` if there is
    /// no series, or more than one.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let leader = tallies::Info::builder("leader_info", "The host that leads.")
    ///     .labels(["host"])
    ///     .register(&registry)?;
    /// assert_eq!(leader.get(), None);
    /// leader.set(["a"]);
    /// assert_eq!(leader.get(), Some(vec![("host".to_owned(), "a".to_owned())]));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn get(&self) -> Option<Vec<(String, String)>> {
        match &mut *self.get_all() {
            [(labels, _)] => Some(std::mem::take(labels)),
            _ => None,
        }
    }
}

metric!(
    Info, [L: LabelSet], [L],
    example: "Info",
    plain: Info,
    labelled: Info<X>,
    named: [] Info<[&'static str; LABELS]>,
    cells: GaugeCell,
    value: f64 = |_, total: LastSet| total.value,
    {
        const KIND: Kind = Kind::Info;
        const HAS_ALL_COMBINATIONS: bool = false;
    }
);

with_static!(Info, [L: LabelSet], [L]);

impl<const LABELS: usize> Info<[&'static str; LABELS]> {
    /// Declares an info with labels in a `static`, by label names instead of a type.
    ///
    /// ```
    /// use tallies::Info;
    ///
    /// /// The host that leads.
    /// #[tallies::metric]
    /// static LEADER: Info<[&str; 1]> = Info::labelled("cluster_leader_info", &["host"]);
    ///
    /// LEADER.set(["a"]);
    /// assert_eq!(tallies::snapshot().get("cluster_leader_info", &[("host", "a")]), Some(1.0));
    /// ```
    ///
    /// # Panics
    ///
    /// The same as [`new`](Self::new): a compile error in a `static`.
    #[track_caller]
    #[must_use]
    pub const fn labelled(name: &'static str, labels: &'static [&'static str; LABELS]) -> Self {
        Self(MetricFamily::declare(name, Names::Fixed(labels), false))
    }
}

with_builder!(Info);
