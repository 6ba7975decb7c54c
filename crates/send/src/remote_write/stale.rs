//! The ends of series: found by comparing each snapshot with the one before, and queued until a
//! receiver answers to their stale markers.
//!
//! # Invariants
//!
//! 1. A series is in the snapshot that is held, or in the queue, or neither; it is never in both.
//!    So its marker is never sent after a newer sample, which the receiver would reject.
//! 2. Every series that the receiver may have without its end is in the queue, or it is in the
//!    snapshot, which knows this. Exceptions are markers that are too old or refused.
//! 3. The queue has at most as many series as a snapshot had, or as one request. A request has
//!    samples only if all markers fit, too. So no series becomes known before the queue fits in one
//!    request, and a receiver that answers nothing makes no more of them known than that.

use std::collections::{HashMap, HashSet, VecDeque};

use tallies::snapshot::{Family, Kind, Snapshot};

use super::HistogramForm;
use super::held::{Cursor, Held, HeldFamily, families_of, position};
use super::series::{Description, Shape, millis};

/// The time for which a marker is kept. Prometheus rejects samples that are older than an hour.
const KEPT_MILLIS: u64 = 30 * 60 * 1000;

/// The queue of series that have ended.
#[derive(Default)]
pub(super) struct Ended {
    groups: VecDeque<EndedGroup>,
}

/// Series of one family that ended at one time.
#[derive(Clone)]
pub(super) struct EndedGroup {
    pub(super) name: String,
    kind: Kind,
    help: String,
    unit: String,
    /// The text of the labels that all series of the family have.
    pub(super) constant: String,
    /// The samples that ended.
    pub(super) shape: Shape,
    /// Milliseconds since the Unix epoch.
    pub(super) time: u64,
    /// The label texts of the series.
    pub(super) texts: VecDeque<String>,
}

impl EndedGroup {
    pub(super) fn description(&self) -> Description<'_> {
        Description {
            name: &self.name,
            kind: self.kind,
            help: &self.help,
            unit: &self.unit,
        }
    }
}

impl Ended {
    pub(super) fn groups(&self) -> impl Iterator<Item = &EndedGroup> {
        self.groups.iter()
    }

    /// Returns the number of series.
    pub(super) fn len(&self) -> usize {
        self.groups.iter().map(|group| group.texts.len()).sum()
    }

    /// Removes the first `count` series.
    pub(super) fn remove(&mut self, mut count: usize) {
        while let Some(group) = self.groups.front_mut() {
            let removed = count.min(group.texts.len());
            group.texts.drain(..removed);
            count -= removed;
            if !group.texts.is_empty() {
                break;
            }
            self.groups.pop_front();
        }
    }

    /// Removes the series that ended too long before `time`.
    pub(super) fn remove_old(&mut self, time: u64) {
        self.groups
            .retain(|group| group.time.saturating_add(KEPT_MILLIS) >= time);
    }

    /// Removes the series that are in a snapshot again, and makes them known to it.
    fn remove_present(&mut self, families: &[Family], held: &mut [HeldFamily]) {
        let mut groups = VecDeque::new();
        for mut group in self.groups.drain(..) {
            let at = position(families, &group.name).ok();
            let at = at
                .filter(|at| held[*at].len > 0 && families[*at].constant_text() == group.constant);
            if let Some(at) = at {
                let mut finder = Finder::new(&families[at]);
                let (mut present, mut absent) = (VecDeque::new(), VecDeque::new());
                for text in group.texts.drain(..) {
                    match finder.find(&text) {
                        Some(i) => {
                            held[at].known[i] = true;
                            present.push_back(text);
                        }
                        None => absent.push_back(text),
                    }
                }
                // The series can have other buckets now.
                let shape = group.shape.without(&held[at].shape);
                groups.push_back(EndedGroup {
                    shape,
                    texts: present,
                    ..group.clone()
                });
                group.texts = absent;
            }
            groups.push_back(group);
        }
        self.groups = groups;
    }

    fn remove_empty(&mut self) {
        let is_used = |group: &EndedGroup| !group.texts.is_empty() && !group.shape.parts.is_empty();
        self.groups.retain(is_used);
    }
}

/// Finds series of a family by their label texts. This is fast if they are looked up in the order
/// in which the family has them.
struct Finder<'a> {
    family: &'a Family,
    /// The index of the series that is expected next.
    next: usize,
    indices: Option<HashMap<&'a str, usize>>,
}

impl<'a> Finder<'a> {
    fn new(family: &'a Family) -> Self {
        Self {
            family,
            next: 0,
            indices: None,
        }
    }

    fn find(&mut self, text: &str) -> Option<usize> {
        let family = self.family;
        let is_next = self.next < family.len() && {
            let next = family.label_text(self.next);
            // Snapshots share their texts.
            std::ptr::eq(next, text) || next == text
        };
        if !is_next {
            let all = (0..family.len()).map(|i| (family.label_text(i), i));
            let indices = self.indices.get_or_insert_with(|| all.collect());
            self.next = *indices.get(text)?;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

impl Held {
    /// Replaces the snapshot by a newer one, and queues the ends of the series that it does not
    /// have. `reached` is the end of the last request.
    pub(super) fn replace(
        &mut self,
        snapshot: &Snapshot,
        time: u64,
        form: HistogramForm,
        reached: Cursor,
        ended: &mut Ended,
    ) {
        let clashes = snapshot.clashes();
        let clashing: HashSet<&str> = clashes.iter().map(|(family, _)| family.name()).collect();
        let mut new = Self {
            snapshot: snapshot.clone(),
            time,
            ..Self::default()
        };
        let families = families_of(&new.snapshot);
        let held = families
            .iter()
            .map(|family| match clashing.contains(family.name()) {
                true => HeldFamily::default(),
                false => HeldFamily::of(family, form),
            });
        let mut held: Vec<HeldFamily> = held.collect();
        ended.remove_present(families, &mut held);
        for (at, family) in families_of(&self.snapshot).iter().enumerate() {
            let groups = self.compare(at, family, families, &mut held, reached);
            let timed = groups.map(|group| EndedGroup {
                // One millisecond earlier, so that another family can go on with the same labels.
                time: time.saturating_sub(1),
                ..group
            });
            ended.groups.extend(timed);
        }
        ended.remove_empty();
        new.first = self.next_first(families, reached);
        new.families = held;
        *self = new;
    }

    /// Compares a family with the one of its name in a newer snapshot. Returns the series that it
    /// does not have, and those that have lost some of their samples. The others are known to the
    /// newer snapshot.
    fn compare(
        &self,
        at: usize,
        family: &Family,
        families: &[Family],
        held: &mut [HeldFamily],
        reached: Cursor,
    ) -> [EndedGroup; 2] {
        let own = &self.families[at];
        let group = |shape| EndedGroup {
            name: family.name().to_owned(),
            kind: family.kind(),
            help: family.help().to_owned(),
            unit: family.unit().to_owned(),
            constant: family.constant_text().to_owned(),
            shape,
            time: 0,
            texts: VecDeque::new(),
        };
        let mut gone = group(own.shape.clone());
        let other = position(families, family.name()).ok();
        let has_series = |at: &usize| {
            held[*at].len > 0 && families[*at].constant_text() == family.constant_text()
        };
        let other = other.filter(has_series);
        let other = other.map(|at| (&mut held[at], Finder::new(&families[at])));
        let known = (0..own.len).filter(|i| self.is_known(at, *i, reached));
        let Some((other, mut finder)) = other else {
            gone.texts
                .extend(known.map(|i| family.label_text(i).to_owned()));
            return [gone, group(Shape::default())];
        };
        let mut changed = group(own.shape.without(&other.shape));
        for i in known {
            let text = family.label_text(i);
            let Some(there) = finder.find(text) else {
                gone.texts.push_back(text.to_owned());
                continue;
            };
            other.known[there] = true;
            if !changed.shape.parts.is_empty() {
                changed.texts.push_back(text.to_owned());
            }
            let sent = self.exemplars_sent(at, family, i, reached);
            if sent > 0 {
                other.exemplars.resize(other.len, 0);
                other.exemplars[there] = sent;
            }
        }
        [gone, changed]
    }

    /// Returns the time of the last exemplar of a series that was sent, in milliseconds since the
    /// Unix epoch, or 0.
    fn exemplars_sent(&self, at: usize, family: &Family, i: usize, reached: Cursor) -> u64 {
        let own = &self.families[at];
        let before = own.exemplars.get(i).copied().unwrap_or(0);
        if self.is_ending || !self.is_before(at, i, reached) {
            return before;
        }
        let exemplars = family.exemplars(i);
        let times = exemplars.filter_map(|(_, exemplar)| exemplar.time());
        times.map(millis).max().unwrap_or(0).max(before)
    }

    /// Returns where the walk over a newer snapshot begins: at the series that this walk did not
    /// reach, or at the beginning.
    fn next_first(&self, families: &[Family], reached: Cursor) -> (usize, usize) {
        let Some((at, range)) = self.segment(reached.segment) else {
            return (0, 0);
        };
        let series = reached.series.max(range.start);
        match position(families, families_of(&self.snapshot)[at].name()) {
            Ok(at) => (at, series),
            Err(at) if at < families.len() => (at, 0),
            Err(_) => (0, 0),
        }
    }
}
