//! The state of each series in Redis, and the batches that bring it up to date.

use std::collections::HashMap;
use std::time::SystemTime;

use tallies::share::store;
use tallies::snapshot::Family;

/// The most series in one batch, except where series move to the overflow series.
const BATCH: usize = 1000;

/// The number that stands for a description.
pub(super) type FamilyId = [u8; 8];

/// The state of a family in Redis, as far as it is known.
#[derive(Default)]
pub(super) struct TrackedFamily {
    pub(super) description: Vec<u8>,
    /// Whether the series are live gauges, which are in the hash that expires.
    pub(super) live: bool,
    /// Whether Redis has the description.
    pub(super) described: bool,
    /// The series of the last pass in their order, then others that Redis may have.
    pub(super) series: Vec<TrackedSeries>,
    /// The last pass in which the family was there.
    pub(super) seen: u64,
}

/// The state of a series in Redis, as far as it is known.
#[derive(Default)]
pub(super) struct TrackedSeries {
    pub(super) text: Box<str>,
    /// The record that was acknowledged last, under the writer's present name. `None` also after
    /// the removal of the series was acknowledged.
    pub(super) acked: Option<Box<[u8]>>,
    /// Whether Redis has just that. It may have another record while a batch is not answered.
    pub(super) is_known: bool,
    /// The time since when the series counts as that record has it, if it is known.
    pub(super) created: Option<SystemTime>,
}

/// One change of a batch.
pub(super) struct Change {
    pub(super) family: FamilyId,
    /// The index of the series in its family.
    pub(super) series: usize,
    /// The new record; `None` for a series that is no longer there.
    pub(super) record: Option<Box<[u8]>>,
    /// The time since when the series counts, if it is known.
    pub(super) created: Option<SystemTime>,
}

/// Changes that Redis applies together. Those of a family follow each other.
pub(super) type Batch = Vec<Change>;

impl TrackedSeries {
    /// Returns whether Redis has nothing of the series.
    fn is_removed(&self) -> bool {
        self.is_known && self.acked.is_none()
    }
}

impl TrackedFamily {
    pub(super) fn new(description: Vec<u8>, family: &Family) -> Self {
        Self {
            description,
            live: family.is_live_only(),
            ..Self::default()
        }
    }

    /// Returns whether Redis may have a series of the family.
    pub(super) fn has_series(&self) -> bool {
        !self.series.iter().all(TrackedSeries::is_removed)
    }

    /// Finds the series of `family` that differ from what was acknowledged.
    pub(super) fn compare(&mut self, id: FamilyId, family: &Family, batches: &mut Vec<Batch>) {
        let before = std::mem::take(&mut self.series).into_iter();
        let mut before = before.filter(|series| !series.is_removed()).peekable();
        // Other series of the last pass, by their label texts.
        let mut others: HashMap<Box<str>, TrackedSeries> = HashMap::new();
        let keyed = |mut series: TrackedSeries| (std::mem::take(&mut series.text), series);
        let named = |(text, series)| TrackedSeries { text, ..series };
        let (mut changes, mut overflowed, mut record) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (labels, _)) in family.series().enumerate() {
            let text = family.label_text(i);
            let is_it = |series: &TrackedSeries| *series.text == *text;
            // Most series follow the same one in each pass, or one that is no longer there.
            let known = before.next_if(is_it).or_else(|| {
                let other = others.remove_entry(text).map(named);
                other.or_else(|| {
                    others.extend(before.next().map(keyed));
                    before.next_if(is_it)
                })
            });
            let mut series = known.unwrap_or_else(|| {
                others.extend(before.by_ref().map(keyed));
                let other = others.remove_entry(text).map(named);
                other.unwrap_or_else(|| TrackedSeries {
                    text: text.into(),
                    ..TrackedSeries::default()
                })
            });
            record.clear();
            store::write_series(family, i, &mut record);
            if !series.is_known || series.acked.as_deref() != Some(&record[..]) {
                let change = Change {
                    family: id,
                    series: i,
                    record: Some(record.as_slice().into()),
                    created: family.created(i),
                };
                let began_again = series.created.is_some() && series.created != change.created;
                if began_again || labels.is_overflow() {
                    overflowed.push(change);
                } else {
                    changes.push(change);
                }
                // What is sent may or may not arrive.
                series.is_known = false;
            }
            self.series.push(series);
        }
        self.series
            .extend(before.chain(others.into_iter().map(named)));
        overflowed.extend(self.removals(id, family.len()));
        // The counts of series that were retired are in the overflow series, also if they have
        // begun again: all in one batch.
        add_to(batches, overflowed);
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            add_to(batches, changes.by_ref().take(BATCH).collect());
        }
    }

    /// Returns the changes that remove the series from index `first` on.
    pub(super) fn removals(&mut self, id: FamilyId, first: usize) -> impl Iterator<Item = Change> {
        let gone = self.series.iter_mut().enumerate().skip(first);
        let gone = gone.filter(|(_, series)| !series.is_removed());
        gone.map(move |(i, series)| {
            series.is_known = false;
            Change {
                family: id,
                series: i,
                record: None,
                created: None,
            }
        })
    }

    /// Makes the next pass remove the series of `family` that it does not find. They are in Redis,
    /// and may have been removed before.
    pub(super) fn find_old(&mut self, family: &Family) {
        let old = (0..family.len()).map(|i| (family.label_text(i), family.created(i)));
        let mut old: HashMap<_, _> = old.collect();
        for series in &mut self.series {
            if let Some(created) = old.remove(&*series.text) {
                series.created = created;
            }
        }
        self.series
            .extend(old.into_iter().map(|(text, created)| TrackedSeries {
                text: text.into(),
                created,
                ..TrackedSeries::default()
            }));
    }

    pub(super) fn mark_unknown(&mut self) {
        self.described = false;
        self.series
            .iter_mut()
            .for_each(|series| series.is_known = false);
    }

    pub(super) fn forget_acked(&mut self) {
        self.mark_unknown();
        self.series
            .iter_mut()
            .for_each(|series| series.acked = None);
    }
}

/// Adds changes that belong into one batch.
pub(super) fn add_to(batches: &mut Vec<Batch>, mut changes: Batch) {
    match batches.last_mut() {
        Some(batch) if batch.len() + changes.len() <= BATCH => batch.append(&mut changes),
        _ if changes.is_empty() => {}
        _ => batches.push(changes),
    }
}
