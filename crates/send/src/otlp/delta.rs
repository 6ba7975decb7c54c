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

use std::borrow::Cow;
use std::time::SystemTime;

use tallies::snapshot::{Family, Kind, Snapshot};

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
    let ended = || family.series().enumerate().skip(live);
    let Some((_, (first, _))) = ended().next() else {
        return Ok(family.clone());
    };
    let labels: Vec<_> = first.iter().collect();
    let labels = labels.iter().map(|(name, value)| {
        let is_same = ended().all(|(_, (labels, _))| labels.get(name).as_ref() == Some(value));
        (*name, if is_same { &**value } else { OVERFLOW })
    });
    let labels: Vec<_> = labels.collect();
    for (i, (_, value)) in ended() {
        let mut one = empty(family)?;
        one.push(&labels, value)?;
        if let Some(created) = family.created(i) {
            one.set_created(0, created);
        }
        match &mut overflow {
            Some(overflow) => overflow.merge(&one)?,
            None => overflow = Some(one),
        }
    }
    let mut folded = part(family, 0, live)?;
    if let Some(overflow) = overflow {
        folded.merge(&overflow)?;
    }
    Ok(folded)
}

/// Returns the family without the series before index `from`, which were acknowledged.
pub(super) fn cut(family: Family, from: usize) -> Family {
    if from == 0 {
        return family;
    }
    // A series of a snapshot is one that can be pushed. If there were another, the receiver would
    // get the first ones twice, rather than the others never.
    part(&family, from, family.len()).unwrap_or(family)
}

/// Returns the series from index `from` up to `to`.
fn part(family: &Family, from: usize, to: usize) -> Result<Family, tallies::Error> {
    let mut part = empty(family)?;
    let series = family.series().enumerate().take(to).skip(from);
    for (at, (i, (labels, value))) in series.enumerate() {
        let labels: Vec<_> = labels.iter().collect();
        let labels: Vec<_> = labels.iter().map(pair).collect();
        part.push(&labels, value)?;
        if let Some(created) = family.created(i) {
            part.set_created(at, created);
        }
        for (bucket, exemplar) in family.exemplars(i) {
            let labels: Vec<_> = exemplar.labels().collect();
            let labels: Vec<_> = labels.iter().map(pair).collect();
            part.push_exemplar(bucket, &labels, exemplar.value(), exemplar.time())?;
        }
    }
    Ok(part)
}

fn pair<'a>((name, value): &'a (&str, Cow<'_, str>)) -> (&'a str, &'a str) {
    (name, value)
}

/// Returns a family of the same description without series.
fn empty(family: &Family) -> Result<Family, tallies::Error> {
    let (name, help, kind) = (family.name(), family.help(), family.kind());
    // A declaration may have a unit that its name does not end in.
    Family::empty(name, help, family.unit(), kind).or_else(|_| Family::empty(name, help, "", kind))
}
