//! Deltas: what counters and histograms counted since the last snapshot, and what is still to be
//! acknowledged of the time before.
//!
//! Invariants:
//!
//! 1. Each count is in exactly one of: the deltas that a receiver acknowledged or refused, the
//!    deltas to send, and the registry since the last snapshot. So a delta that failed is sent
//!    together with the next, also if its series has ended.
//! 2. A delta begins where the last acknowledged one of its series ended, or later if nothing was
//!    counted in between, or at the creation of the series. It ends with the last snapshot.
//! 3. Series that ended take memory until they are acknowledged, but no more than [`MOST_ENDED`]
//!    of a family. So an outage takes no more memory the longer it lasts.

use std::time::SystemTime;

use tallies::snapshot::{Family, Kind, SeriesLabels, Snapshot};

use super::point::nanos;

/// The most series of a family that have ended and wait to be acknowledged. If there are more, all
/// of them are added up in one overflow series.
const MOST_ENDED: usize = 4096;

/// The value of the labels of an overflow series.
const OVERFLOW: &str = "__overflow__";

/// The totals of counters and histograms at the last snapshot.
#[derive(Debug, Default)]
pub(super) struct Totals(Option<Snapshot>);

impl Totals {
    /// Takes in a snapshot. Returns what its counters and histograms counted since the last one,
    /// with what was to be sent before.
    pub(super) fn take(&mut self, snapshot: &Snapshot, unsent: Vec<Family>) -> Vec<Family> {
        let families = snapshot.families().filter(|family| is_total(family));
        // The names are those of a snapshot, which has no name twice.
        let totals = Snapshot::new(families.cloned().collect(), snapshot.taken());
        let totals = totals.unwrap_or_default();
        let deltas = match &self.0 {
            None => totals.families().cloned().collect(),
            Some(before) => {
                let deltas = totals.since(before);
                let deltas = deltas.families().cloned();
                deltas.map(|delta| begun(delta, before.taken())).collect()
            }
        };
        self.0 = Some(totals);
        merged(deltas, unsent, MOST_ENDED)
    }
}

/// Returns whether the values of a family are sent as deltas.
pub(super) fn is_total(family: &Family) -> bool {
    matches!(family.kind(), Kind::Counter | Kind::Histogram)
}

/// Returns a delta whose series begin no earlier than the snapshot before, at `taken`. New series
/// can seem to: some do not know their creation, and others know it to the last tick of a clock.
fn begun(mut delta: Family, taken: SystemTime) -> Family {
    for i in 0..delta.len() {
        let created = delta.created(i).map(nanos);
        if created.is_none_or(|created| created < nanos(taken)) {
            delta.set_created(i, taken);
        }
    }
    delta
}

/// Adds the deltas that were to be sent before. The deltas are in the order of their names.
fn merged(mut deltas: Vec<Family>, unsent: Vec<Family>, most_ended: usize) -> Vec<Family> {
    let mut others = Vec::new();
    for mut before in unsent {
        let at = deltas.binary_search_by(|delta| delta.name().cmp(before.name()));
        let delta = at.ok().and_then(|at| {
            let delta = &mut deltas[at];
            let live = delta.len();
            delta.merge(&before).is_ok().then_some((delta, live))
        });
        match delta {
            Some((delta, live)) => bound_ended(delta, live, most_ended),
            // The family has ended, or has other buckets now.
            None => {
                bound_ended(&mut before, 0, most_ended);
                others.push(before);
            }
        }
    }
    deltas.extend(others);
    deltas
}

/// Adds up the series from index `live` on if there are more than `most_ended`.
fn bound_ended(family: &mut Family, live: usize, most_ended: usize) {
    if family.len() - live > most_ended {
        // A series of a snapshot is one that can be pushed.
        if let Ok(folded) = fold_ended(family, live) {
            *family = folded;
        }
    }
}

/// Adds up the series from index `live` on in one overflow series. A label that they all share
/// keeps its value.
fn fold_ended(family: &Family, live: usize) -> Result<Family, tallies::Error> {
    let mut overflow: Option<Family> = None;
    let ended = live..family.len();
    // The constant labels are the family's own.
    let labels_of = |i| SeriesLabels::of_text(family.label_text(i));
    let first: Vec<_> = labels_of(live).iter().collect();
    let labels = first.iter().map(|(name, value)| {
        let is_same = |i| labels_of(i).get(name).as_ref() == Some(value);
        let is_same = ended.clone().all(is_same);
        (*name, if is_same { &**value } else { OVERFLOW })
    });
    let labels: Vec<_> = labels.collect();
    for i in ended {
        let mut one = family.part(0..0);
        one.push(&labels, family.value(i))?;
        if let Some(created) = family.created(i) {
            one.set_created(0, created);
        }
        match &mut overflow {
            Some(overflow) => overflow.merge(&one)?,
            None => overflow = Some(one),
        }
    }
    let mut folded = family.part(0..live);
    if let Some(overflow) = overflow {
        folded.merge(&overflow)?;
    }
    Ok(folded)
}
