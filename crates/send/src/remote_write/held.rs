//! The snapshot that is being sent, and which of its series the receiver may have.
//!
//! The walk over a snapshot begins at any series and ends before it, so that what an earlier walk
//! did not reach comes first. Its segments are the families from that series on, in turn, and at
//! last the part of the first family that is before that series.

use std::ops::Range;

use tallies::snapshot::{Exemplar, Family, Snapshot};

use super::HistogramForm;
use super::series::{Shape, millis};

/// A position in the walk: the series that is sent next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cursor {
    /// The number of the segment.
    pub(super) segment: usize,
    /// The index of the series in its family.
    pub(super) series: usize,
}

/// The snapshot that is being sent.
#[derive(Default)]
pub(super) struct Held {
    pub(super) snapshot: Snapshot,
    /// Belongs to the families of the snapshot.
    pub(super) families: Vec<HeldFamily>,
    /// The time of its samples, in milliseconds since the Unix epoch.
    pub(super) time: u64,
    /// The index of the family at which the walk begins, and of a series in it.
    pub(super) first: (usize, usize),
    /// Whether stale markers are sent instead of samples.
    pub(super) is_ending: bool,
    /// Whether the description of each family is sent apart from samples; see `v1`.
    pub(super) with_metadata: bool,
}

/// The facts about a family of a snapshot that are computed once.
#[derive(Default)]
pub(super) struct HeldFamily {
    /// The number of series that are sent: all, or none if the family is left out.
    pub(super) len: usize,
    pub(super) shape: Shape,
    /// Whether the receiver may have the series from an earlier walk, and not its end.
    pub(super) known: Vec<bool>,
    /// The time up to which the exemplars of each series were sent, in milliseconds since the Unix
    /// epoch. Empty if none were.
    pub(super) exemplars: Vec<u64>,
}

impl HeldFamily {
    pub(super) fn of(family: &Family, form: HistogramForm) -> Self {
        Self {
            len: family.len(),
            shape: Shape::of(family, form),
            known: vec![false; family.len()],
            exemplars: Vec::new(),
        }
    }

    /// Returns the exemplars of a series that were not sent yet, in the order of their times, each
    /// with the index of its bucket. Exemplars without a time are left out.
    pub(super) fn exemplars<'a>(&self, family: &'a Family, i: usize) -> Vec<(usize, &'a Exemplar)> {
        let sent = self.exemplars.get(i).copied().unwrap_or(0);
        let all = family.exemplars(i);
        let mut new: Vec<_> = all
            .filter(|(_, exemplar)| exemplar.time().is_some_and(|time| millis(time) > sent))
            .collect();
        // Receivers reject an exemplar that is older than the last one of its series, or as old
        // with a smaller value.
        new.sort_by(|(_, one), (_, other)| {
            let times = one.time().cmp(&other.time());
            times.then(one.value().total_cmp(&other.value()))
        });
        new
    }
}

/// Returns the families of a snapshot, which are sorted by name.
pub(super) fn families_of(snapshot: &Snapshot) -> &[Family] {
    snapshot.into_iter().as_slice()
}

/// Returns the index of the family of this name, or of the one before which it would be.
pub(super) fn position(families: &[Family], name: &str) -> Result<usize, usize> {
    families.binary_search_by(|family| family.name().cmp(name))
}

impl Held {
    /// Returns the index of the family of a segment and its series, or `None` at the end.
    pub(super) fn segment(&self, segment: usize) -> Option<(usize, Range<usize>)> {
        let families = self.families.len();
        if families == 0 || segment > families {
            return None;
        }
        let (first, series) = self.first;
        let family = (first + segment) % families;
        let len = self.families[family].len;
        let series = series.min(len);
        let range = match segment {
            0 => series..len,
            last if last == families => 0..series,
            _ => 0..len,
        };
        Some((family, range))
    }

    /// Returns whether the walk comes to a series before it comes to `cursor`.
    pub(super) fn is_before(&self, family: usize, series: usize, cursor: Cursor) -> bool {
        let (first, from) = self.first;
        let families = self.families.len();
        let segment = match (family + families - first) % families {
            0 if series < from => families,
            segment => segment,
        };
        Cursor { segment, series } < cursor
    }

    /// Returns whether the receiver may have a series, and not its end, given the end of the last
    /// request.
    pub(super) fn is_known(&self, family: usize, series: usize, reached: Cursor) -> bool {
        let known = self.families[family].known[series];
        let is_before = self.is_before(family, series, reached);
        match self.is_ending {
            true => known && !is_before,
            false => known || is_before,
        }
    }

    /// Returns the number of samples from `cursor` on.
    pub(super) fn samples_from(&self, cursor: Cursor) -> u64 {
        if self.is_ending {
            return 0;
        }
        let segments =
            (cursor.segment..).map_while(|segment| Some((segment, self.segment(segment)?)));
        let samples = segments.map(|(segment, (family, range))| {
            let from = if segment == cursor.segment {
                cursor.series
            } else {
                0
            };
            let series = range.end.saturating_sub(range.start.max(from));
            series as u64 * self.families[family].shape.parts.len() as u64
        });
        samples.sum()
    }

    /// Computes the shapes for another form of histograms.
    pub(super) fn reshape(&mut self, form: HistogramForm) {
        let families = families_of(&self.snapshot).iter();
        for (held, family) in self.families.iter_mut().zip(families) {
            held.shape = Shape::of(family, form);
        }
    }

    /// Begins a walk that ends the series that the receiver may have, at a time after the last
    /// sample.
    pub(super) fn end(&mut self, reached: Cursor, time: u64) {
        for family in 0..self.families.len() {
            for series in 0..self.families[family].len {
                let known = self.is_known(family, series, reached);
                self.families[family].known[series] = known;
            }
        }
        self.first = (0, 0);
        self.is_ending = true;
        self.time = time;
    }
}
