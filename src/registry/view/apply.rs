//! Applies the views of a family to its description, and to what a collector wrote.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::family::desc::{Desc, Names};
use crate::family::view::{self, Cap};
use crate::snapshot::sketch::Targets;
use crate::snapshot::{self, GaugeMode, Kind, Resolution, Text};

use super::View;
use super::pattern::capture;

/// The views of one family together: of each setting the last one, and all labels to drop.
#[derive(Debug, Default)]
pub(in crate::registry) struct Views<'a> {
    name: &'a str,
    rename: Option<String>,
    drop: Vec<&'a str>,
    caps: Vec<(&'a str, usize)>,
    buckets: Option<&'a [f64]>,
    native: Option<i8>,
    limit: Option<usize>,
    gauge_mode: Option<GaugeMode>,
    off: bool,
}

impl<'a> Views<'a> {
    /// Returns the views of families of this name, or `None` if there are none.
    pub(in crate::registry) fn of(views: &'a [Arc<View>], name: &'a str) -> Option<Self> {
        let mut all: Option<Self> = None;
        for view in views {
            let Some(star) = capture(&view.family, name) else {
                continue;
            };
            let all = all.get_or_insert_with(Self::default);
            all.name = name;
            if let Some(rename) = &view.rename {
                all.rename = Some(rename.replacen('*', star, 1));
            }
            all.drop.extend(view.drop.iter().map(|label| &**label));
            for (label, values) in &view.caps {
                all.caps.retain(|(other, _)| other != label);
                all.caps.push((label, *values));
            }
            all.buckets = view.buckets.as_deref().or(all.buckets);
            all.native = view.native.or(all.native);
            all.limit = view.limit.or(all.limit);
            all.gauge_mode = view.gauge_mode.or(all.gauge_mode);
            all.off = view.off.unwrap_or(all.off);
        }
        all
    }

    /// Changes the description of a family. `shares`: label sets that become equal can share the
    /// cells of a series, which those of gauges cannot.
    pub(in crate::registry) fn apply(&self, desc: &mut Desc, shares: bool) {
        let has = |label: &str| match desc.labels {
            Names::Fixed(names) => names.contains(&label),
            Names::Any => true,
        };
        let rule = self
            .gauge_mode
            .unwrap_or(desc.mode.unwrap_or(GaugeMode::of(desc.kind)));
        let dropped: Box<[Box<str>]> = self
            .drop
            .iter()
            .filter(|label| has(label))
            .map(|label| Box::from(*label))
            .collect();
        let caps = self.caps.iter();
        let caps = caps.filter(|(label, _)| has(label) && !self.drop.contains(label));
        let caps: Box<[Cap]> = caps.map(|(label, n)| Cap::new(label, *n)).collect();
        let is_combined =
            desc.kind == Kind::Gauge && !shares && !rule.is_recent() && !dropped.is_empty();
        let (dropped, combined) = if is_combined && !self.off {
            (Box::default(), Some((dropped, rule)))
        } else {
            (dropped, None)
        };
        let view = view::View {
            name: desc.name.clone(),
            labels: desc.labels,
            off: self.off,
            dropped,
            caps,
            combined,
            refused: AtomicU64::new(0),
        };
        if let Some(name) = &self.rename {
            desc.name = Text::owned(name);
        }
        if let (Names::Fixed(names), false) = (desc.labels, view.dropped.is_empty()) {
            let stays = |name: &&&str| view.dropped.iter().all(|dropped| **dropped != ***name);
            desc.set_labels(&names.iter().filter(stays).copied().collect::<Vec<_>>());
        }
        desc.drop_constants(&self.drop);
        if view.changes_labels() {
            // All combinations of a closed label set have series.
            desc.limit = desc.limit.max(desc.closed.len());
        }
        desc.limit = self.limit.unwrap_or(desc.limit);
        if desc.kind == Kind::Histogram {
            if let Some(bounds) = self.buckets {
                desc.set_bounds(bounds);
            }
            if let Some(schema) = self.native {
                desc.native = Some(Resolution::new(schema));
            }
        }
        if self.off {
            make_cheap(desc);
        }
        desc.view = Some(Arc::new(view));
    }

    /// Changes a family that a collector wrote. Returns `false` if it is off.
    pub(in crate::registry) fn apply_to(&self, family: &mut snapshot::Family) -> bool {
        if self.off {
            return false;
        }
        if let Some(name) = &self.rename {
            family.meta.name = Text::owned(name);
        }
        if !self.drop.is_empty() && family.kind() != Kind::StateSet {
            family.drop_labels(&self.drop, self.gauge_mode.unwrap_or(family.meta.mode));
        }
        true
    }
}

/// Gives a family that is off the cheapest updates of its kind: one series, whose cells each thread
/// has from the first update on.
fn make_cheap(desc: &mut Desc) {
    desc.labels = Names::Fixed(&[]);
    desc.hot = true;
    desc.expire_after = None;
    if desc.kind == Kind::Histogram && desc.native.is_none() {
        desc.bounds = &[1.0];
    }
    desc.targets = Targets::new(&[]);
    (desc.max_age, desc.ages) = (None, None);
}
