//! Applies the views of a family to its description, and to what a collector wrote.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::family::desc::{Desc, Names};
use crate::family::event;
use crate::family::view::{Cap, LabelRules};
use crate::snapshot::sketch::Targets;
use crate::snapshot::{self, GaugeMode, Kind, Resolution, Text};
use tallies_names::capture;

use super::View;

impl View {
    /// Returns the views of families of this name together: of each setting the last one, and all
    /// labels to drop. `None` if there are none.
    pub(in crate::registry) fn of(views: &[Arc<Self>], name: &str) -> Option<Self> {
        let mut all: Option<Self> = None;
        for view in views {
            let Some(star) = capture(&view.family, name) else {
                continue;
            };
            let all = all.get_or_insert_with(Self::default);
            let view = Self::clone(view);
            let rename = view.rename.map(|rename| rename.replacen('*', star, 1));
            all.rename = rename.or(all.rename.take());
            all.drop.extend(view.drop);
            for cap in view.caps {
                all.caps.retain(|(label, _)| *label != cap.0);
                all.caps.push(cap);
            }
            all.buckets = view.buckets.or(all.buckets.take());
            all.native = view.native.or(all.native);
            all.limit = view.limit.or(all.limit);
            all.gauge_mode = view.gauge_mode.or(all.gauge_mode);
            all.off = view.off.or(all.off);
        }
        all
    }

    /// Changes a description by the views of its family, as [`apply`](Self::apply) does. Of the
    /// views of an event's metrics, only limit and buckets change its cells.
    pub(in crate::registry) fn viewed(views: &[Arc<Self>], mut desc: Desc, shares: bool) -> Desc {
        if shares && !desc.event.is_empty() {
            let (mut limit, mut is_off) = (usize::MAX, true);
            for metric in event::descriptions(&desc) {
                let metric = Self::viewed(views, metric, false);
                limit = limit.min(metric.limit);
                is_off &= metric.is_off();
                if metric.kind == Kind::Histogram {
                    desc.bounds = metric.bounds;
                }
            }
            desc.limit = limit;
            if is_off {
                Self::default().off().apply(&mut desc, shares);
            }
            return desc;
        }
        let name = desc.name.clone();
        if let Some(mut view) = Self::of(views, &name) {
            if !shares && desc.kind == Kind::Histogram {
                // Of an event: no other histogram is viewed so.
                view.native = None;
            }
            view.apply(&mut desc, shares);
        }
        desc
    }

    fn is_off(&self) -> bool {
        self.off == Some(true)
    }

    /// Changes the description of a family. `shares`: label sets that become equal can share the
    /// cells of a series, which those of gauges cannot.
    pub(in crate::registry) fn apply(&self, desc: &mut Desc, shares: bool) {
        let has = |label: &str| match desc.labels {
            Names::Fixed(names) => names.contains(&label),
            Names::Any => true,
        };
        let mode = desc.mode.unwrap_or(GaugeMode::of(desc.kind));
        let rule = self.gauge_mode.unwrap_or(mode);
        let dropped = self.drop.iter().filter(|label| has(label));
        let dropped: Box<[String]> = dropped.cloned().collect();
        let caps = self.caps.iter();
        let caps = caps.filter(|(label, _)| has(label) && !self.drop.contains(label));
        let caps: Box<[Cap]> = caps.map(|(label, n)| Cap::new(label, *n)).collect();
        let combines = match desc.kind {
            Kind::Gauge => !rule.is_recent(),
            // The metrics of an event have common series.
            Kind::Counter | Kind::Histogram => true,
            _ => false,
        };
        let is_combined = combines && !shares && !dropped.is_empty();
        let (dropped, combined) = if is_combined && !self.is_off() {
            (Box::default(), Some((dropped, rule)))
        } else {
            (dropped, None)
        };
        let view = LabelRules {
            name: desc.name.clone(),
            labels: desc.labels,
            off: self.is_off(),
            dropped,
            caps,
            combined,
            refused: AtomicU64::new(0),
        };
        if let Some(name) = &self.rename {
            desc.name = Text::from(name);
        }
        if let (Names::Fixed(names), false) = (desc.labels, view.dropped.is_empty()) {
            let stays = |name: &&&str| view.dropped.iter().all(|dropped| **dropped != ***name);
            desc.set_labels(&names.iter().filter(stays).copied().collect::<Vec<_>>());
        }
        desc.constant.remove(&self.drop);
        if view.changes_labels() {
            // All combinations of a closed label set have series.
            desc.limit = desc.limit.max(desc.closed.len());
        }
        desc.limit = self.limit.unwrap_or(desc.limit);
        if desc.kind == Kind::Histogram {
            if let Some(bounds) = &self.buckets {
                desc.set_bounds(bounds);
            }
            if let Some(schema) = self.native {
                desc.native = Some(Resolution::new(schema));
            }
        }
        if self.is_off() {
            make_cheap(desc);
        }
        desc.view = Some(Arc::new(view));
    }

    /// Changes a family that a collector wrote. Returns `false` if it is off.
    pub(in crate::registry) fn apply_to(&self, family: &mut snapshot::Family) -> bool {
        if self.is_off() {
            return false;
        }
        if let Some(name) = &self.rename {
            family.meta.name = Text::from(name);
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
