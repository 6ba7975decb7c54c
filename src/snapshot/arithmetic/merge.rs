//! Merging: adds the series of another snapshot or family.

use std::collections::hash_map::Entry;

use crate::error::Error;
#[cfg(doc)]
use crate::snapshot::GaugeMode;
use crate::snapshot::sketch::Sketch;
use crate::snapshot::{Family, Kind, Snapshot, Values, labels};

use super::join_sums;

impl Snapshot {
    /// Adds the snapshot of another process or registry to this one.
    ///
    /// ```
    /// let (one, two) = (tallies::Registry::new(), tallies::Registry::new());
    /// one.counter("jobs_total", "Jobs done.")?.add(2);
    /// two.counter("jobs_total", "Jobs done.")?.add(3);
    /// let mut both = one.snapshot();
    /// both.merge(&two.snapshot())?;
    /// assert_eq!(both.get("jobs_total", &[]), Some(5.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Series with the same labels are added up, gauges by the [`GaugeMode`] of their family. All
    /// other series and families are copied.
    ///
    /// # Errors
    ///
    /// Returns an error if a family has another kind, other buckets, other objectives or another
    /// window in `other`, or if a summary was read from a page. The snapshot is then unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        for theirs in &other.families {
            if let Some(ours) = self.family(theirs.name()) {
                ours.check_mergeable(theirs)?;
            }
        }
        for theirs in &other.families {
            match self.position(theirs.name()) {
                Ok(at) => self.families[at].add(theirs),
                Err(at) => self.families.insert(at, theirs.clone()),
            }
        }
        self.taken = self.taken.max(other.taken);
        Ok(())
    }
}

impl Family {
    /// Adds the series of a family of the same name, as [`Snapshot::merge`] does.
    ///
    /// ```
    /// use tallies::snapshot::{Number, Value};
    ///
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?.add(2);
    /// let snapshot = registry.snapshot();
    /// let mut jobs = snapshot.family("jobs_total").unwrap().clone();
    /// jobs.merge(&jobs.clone())?;
    /// assert_eq!(jobs.series().next().unwrap().1, Value::Counter(Number::Int(4)));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`Snapshot::merge`]. The family is then unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        self.check_mergeable(other)?;
        self.add(other);
        Ok(())
    }

    /// Adds the series of `other`, which has the same shape.
    pub(crate) fn add(&mut self, other: &Self) {
        self.add_each(other, |_, _| ());
    }

    /// The same. Calls `added` with the index of each series here and its index in `other`.
    pub(crate) fn add_each(&mut self, other: &Self, mut added: impl FnMut(usize, usize)) {
        self.exact.clear();
        if self.meta.constant != other.meta.constant {
            self.inline_constant_labels();
            let mut theirs = other.clone();
            theirs.inline_constant_labels();
            // The same indices.
            return self.add_alike(&theirs, &mut added);
        }
        self.add_alike(other, &mut added);
    }

    /// The same, for families with the same constant labels.
    fn add_alike(&mut self, other: &Self, added: &mut impl FnMut(usize, usize)) {
        self.meta.utf8 |= other.meta.utf8;
        self.removed.add(&other.removed);
        if self.is_shapeless() {
            self.values = other.values.to_empty();
        }
        // A page in the text format shows an info or a state set as a gauge.
        if self.meta.kind == Kind::Gauge {
            (self.meta.kind, self.meta.mode) = match other.meta.kind {
                Kind::Gauge => (Kind::Gauge, self.meta.mode),
                kind => (kind, other.meta.mode),
            };
        }
        // Most series have the same index in both families.
        let same = self.texts.same(&other.texts);
        let is_same = |i| same.get(i) == Some(&true);
        // Both count together since the earlier of the two times, or since an unknown time (0) if
        // either is unknown.
        let times = self.texts.all_created().zip(other.texts.all_created());
        let earlier = (0..).zip(times).filter(|(_, (ours, theirs))| theirs < ours);
        let earlier: Vec<_> = earlier.filter(|(i, _)| is_same(*i)).collect();
        for (i, (_, created)) in earlier {
            self.texts.set_created(i, created);
        }
        let mut indices = None;
        for i in 0..other.len() {
            if is_same(i) {
                self.add_series(i, other, i);
                added(i, i);
                continue;
            }
            let indices = indices.get_or_insert_with(|| self.indices());
            match indices.entry(labels::ordered(other.texts.get(i)).into_owned()) {
                Entry::Vacant(entry) => {
                    entry.insert(self.len());
                    added(self.len(), i);
                    self.push_from(other, i);
                }
                Entry::Occupied(entry) => {
                    let at = *entry.get();
                    let created = self.texts.created(at).min(other.texts.created(i));
                    self.texts.set_created(at, created);
                    self.add_series(at, other, i);
                    added(at, i);
                }
            }
        }
    }

    /// Adds the value of series `i` of `other` to that of series `at`.
    pub(super) fn add_series(&mut self, at: usize, other: &Self, i: usize) {
        match (&mut self.values, &other.values) {
            (Values::Counter(ours), Values::Counter(theirs)) => {
                ours.set(at, ours.get(at).plus(theirs.get(i)));
            }
            (Values::Gauge(ours), Values::Gauge(theirs)) => {
                ours[at] = self.meta.mode.combine(ours[at], theirs[i]);
            }
            (
                Values::Histogram {
                    bounds,
                    counts: ours,
                    sums: our_sums,
                    natives: our_natives,
                },
                Values::Histogram {
                    counts: theirs,
                    sums: their_sums,
                    natives: their_natives,
                    ..
                },
            ) => {
                let n = bounds.len() + 1;
                for (ours, theirs) in ours[at * n..][..n].iter_mut().zip(&theirs[i * n..]) {
                    *ours = ours.saturating_add(*theirs);
                }
                our_sums[at] = join_sums(our_sums[at], their_sums[i]);
                if let (Some(ours), Some(theirs)) = (our_natives, their_natives) {
                    ours.get_mut(at).merge(theirs.get(i));
                }
            }
            (Values::Summary { values: ours, .. }, Values::Summary { values: theirs, .. }) => {
                let (ours, theirs) = (&mut ours[at], &theirs[i]);
                ours.count = ours.count.saturating_add(theirs.count);
                ours.sum = join_sums(ours.sum, theirs.sum);
                ours.sketch = Sketch::merge(&[&ours.sketch, &theirs.sketch]);
            }
            _ => debug_assert!(false, "the caller has compared the shapes"),
        }
    }
}
