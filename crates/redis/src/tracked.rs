//! The state of each series in Redis, and the batches that bring it up to date.

use std::collections::HashMap;
use std::time::SystemTime;

use tallies::share::store;
use tallies::snapshot::Family;

/// The most series in one batch, except where series move to the overflow series.
const BATCH: usize = 1000;

/// The state of a family in Redis, as far as it is known.
#[derive(Default)]
pub(super) struct TrackedFamily {
    pub(super) description: Vec<u8>,
    /// Whether the series are live gauges, which are in the hash that expires.
    pub(super) live: bool,
    pub(super) described: bool,
    /// The entry of each series of the last pass.
    pub(super) order: Vec<u32>,
    /// The index of each series in `entries`, by label text.
    pub(super) index: HashMap<Box<str>, u32>,
    pub(super) entries: Vec<TrackedSeries>,
    /// Entries that are not in use.
    pub(super) free: Vec<u32>,
    /// The last pass in which the family was there.
    pub(super) seen: u64,
}

/// The state of a series in Redis, as far as it is known.
pub(super) struct TrackedSeries {
    pub(super) text: Box<str>,
    /// The record that was acknowledged last, under the writer's present name.
    pub(super) acked: Option<Box<[u8]>>,
    /// Whether Redis has that record. It may have another one while a batch is not answered.
    pub(super) is_known: bool,
    /// The time since when the series counts as that record has it, if it is known.
    pub(super) created: Option<SystemTime>,
    /// The last pass in which the series was there.
    pub(super) seen: u64,
}

/// One change of a batch.
pub(super) struct Change {
    pub(super) family: [u8; 8],
    pub(super) entry: u32,
    /// The new record; `None` for a series that is no longer there.
    pub(super) record: Option<Box<[u8]>>,
    /// The time since when the series counts, if it is known.
    pub(super) created: Option<SystemTime>,
}

#[derive(Default)]
pub(super) struct Batch {
    /// Families whose description has to be there first.
    pub(super) families: Vec<[u8; 8]>,
    pub(super) changes: Vec<Change>,
}

impl TrackedFamily {
    pub(super) fn new(description: Vec<u8>, family: &Family) -> Self {
        Self {
            description,
            live: family.is_live_only(),
            ..Self::default()
        }
    }

    /// Finds the series of `family` that differ from what was acknowledged.
    pub(super) fn compare(&mut self, id: [u8; 8], family: &Family, pass: u64, out: &mut Batches) {
        self.seen = pass;
        let describe = (!self.described).then_some(id);
        let mut order = Vec::with_capacity(family.len());
        let (mut changes, mut record) = (Vec::new(), Vec::new());
        let mut overflowed = Vec::new();
        for (i, (labels, _)) in family.series().enumerate() {
            let text = family.label_text(i);
            // Most series have the same index in each pass.
            let at = match self.order.get(i) {
                Some(at) if self.is(*at, text) => *at,
                _ => self.entry(text),
            };
            order.push(at);
            let entry = &mut self.entries[at as usize];
            entry.seen = pass;
            record.clear();
            store::write_series(family, i, &mut record);
            if entry.is_known && entry.acked.as_deref() == Some(&record[..]) {
                continue;
            }
            let change = Change {
                family: id,
                entry: at,
                record: Some(record.as_slice().into()),
                created: family.created(i),
            };
            let began_again = entry.created.is_some() && entry.created != change.created;
            if began_again || labels.is_overflow() {
                overflowed.push(change);
            } else {
                changes.push(change);
            }
        }
        self.order = order;
        if self.index.len() > family.len() {
            let gone = self.index.values().copied();
            let gone = gone.filter(|at| self.entries[*at as usize].seen != pass);
            overflowed.extend(gone.map(|entry| Change {
                family: id,
                entry,
                record: None,
                created: None,
            }));
        }
        // The counts of series that were retired are in the overflow series, also if they have
        // begun again: all in one batch.
        if !overflowed.is_empty() {
            out.add(overflowed, describe);
        }
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            out.add(changes.by_ref().take(BATCH).collect(), describe);
        }
    }

    /// Returns whether an entry is that of a label text.
    pub(super) fn is(&self, at: u32, text: &str) -> bool {
        self.entries
            .get(at as usize)
            .is_some_and(|entry| *entry.text == *text)
    }

    /// Returns the entry of a label text.
    pub(super) fn entry(&mut self, text: &str) -> u32 {
        if let Some(at) = self.index.get(text) {
            return *at;
        }
        let entry = TrackedSeries {
            text: text.into(),
            acked: None,
            is_known: false,
            created: None,
            seen: 0,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.index.insert(text.into(), at);
        at
    }

    pub(super) fn remove(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        self.index.remove(&entry.text);
        (entry.text, entry.acked, entry.is_known) = (Box::default(), None, false);
        self.free.push(at);
    }

    pub(super) fn forget_acks(&mut self) {
        self.described = false;
        self.entries
            .iter_mut()
            .for_each(|entry| entry.is_known = false);
    }

    pub(super) fn forget_totals(&mut self) {
        self.forget_acks();
        self.entries.iter_mut().for_each(|entry| entry.acked = None);
    }
}

/// Batches that are being filled.
#[derive(Default)]
pub(super) struct Batches {
    pub(super) all: Vec<Batch>,
}

impl Batches {
    /// Adds changes that belong into one batch.
    pub(super) fn add(&mut self, changes: Vec<Change>, describe: Option<[u8; 8]>) {
        if changes.is_empty() {
            return;
        }
        let last = self.all.last_mut();
        let fits = |batch: &&mut Batch| batch.changes.len() + changes.len() <= BATCH;
        match last.filter(fits) {
            Some(batch) => {
                let new = describe.filter(|id| !batch.families.contains(id));
                batch.families.extend(new);
                batch.changes.extend(changes);
            }
            None => self.all.push(Batch {
                families: describe.into_iter().collect(),
                changes,
            }),
        }
    }
}
