//! What a process has counted beyond its baseline: beyond what was folded of it while it could not
//! reach Redis.

use std::collections::HashMap;

use crate::snapshot::{Family, GaugeMode, Snapshot, Values};

/// Returns what `now` has beyond `baseline`, an earlier copy, which then belongs to the same series
/// as `now`. Both have sorted label texts and no constant labels.
///
/// Counters and histograms are differences. The baseline of a series that was retired since is
/// moved to the overflow series, where its counts are now, and that of one that was removed is
/// dropped. Of gauges, only those that add up with the values of ended processes change.
pub(super) fn beyond(now: &Snapshot, baseline: &mut Snapshot) -> Snapshot {
    for family in &mut baseline.families {
        if let Some(now) = now.family(family.name()) {
            family.follow(now);
        }
    }
    let mut rest = now.since(baseline);
    for (family, ours) in rest.families.iter_mut().zip(&now.families) {
        let Some(before) = baseline.family(ours.name()) else {
            continue;
        };
        restore_sketches(family, ours, before);
        subtract_sum(family, before);
    }
    rest
}

/// Adds what was folded now to what was folded before. There is one baseline after any number of
/// folds, unless their families do not fit together.
pub(super) fn add(all: &mut Vec<Snapshot>, folded: Snapshot) {
    let merged = all
        .iter_mut()
        .any(|baseline| baseline.merge(&folded).is_ok());
    if !merged {
        all.push(folded);
    }
}

/// Intervals have no quantiles. Here the sketch of what came later can be told: a window shows
/// recent observations only, and folding has dropped those of the baseline.
fn restore_sketches(family: &mut Family, now: &Family, before: &Family) {
    let Values::Summary {
        values, interval, ..
    } = &mut family.values
    else {
        return;
    };
    let Values::Summary {
        values: all,
        max_age,
        ..
    } = &now.values
    else {
        return;
    };
    *interval = false;
    let Values::Summary { values: old, .. } = &before.values else {
        return;
    };
    if max_age.is_some() {
        return;
    }
    let index: HashMap<_, _> = before.texts.iter().zip(0..).collect();
    for ((value, all), text) in values.iter_mut().zip(all).zip(now.texts.iter()) {
        if let Some(at) = index.get(text) {
            let old: &crate::snapshot::Quantiles = &old[*at];
            if old.sketch.n() <= all.sketch.n() {
                value.sketch = all.sketch.beyond(&old.sketch);
            }
        }
    }
}

fn subtract_sum(family: &mut Family, before: &Family) {
    if family.meta.mode != GaugeMode::Sum {
        return;
    }
    let (Values::Gauge(values), Values::Gauge(old)) = (&mut family.values, &before.values) else {
        return;
    };
    let index: HashMap<_, usize> = before.texts.iter().zip(0..).collect();
    for (value, text) in values.iter_mut().zip(family.texts.iter()) {
        if let Some(at) = index.get(text) {
            *value -= old[*at];
        }
    }
}
