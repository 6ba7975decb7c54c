//! Merging: adds the series of another snapshot or family.

use std::collections::hash_map::Entry;

use crate::error::Error;
use crate::snapshot::sketch::Sketch;
use crate::snapshot::{Family, GaugeMode, Kind, Snapshot, Text, Value, Values, labels};

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
    /// One family that cannot be merged is an error, so that a program or a test that expects equal
    /// families notices. What shows several registries or stores on one page uses
    /// [`Merged`](crate::snapshot::Merged) instead, which leaves out that family and merges the
    /// rest. It also finds families of different names that would expose the same samples
    /// ([`clashes`](Self::clashes)).
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
        if other.taken > self.taken {
            (self.taken, self.pass) = (other.taken, other.pass);
        }
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
        let mut inlined;
        let mut other = other;
        if self.meta.constant != other.meta.constant {
            self.inline_constant_labels();
            // The indices stay.
            inlined = other.clone();
            inlined.inline_constant_labels();
            other = &inlined;
        }
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
        let mode = self.meta.mode;
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
                self.values.add(i, (&other.values, i), mode);
                added(i, i);
                continue;
            }
            let indices = indices.get_or_insert_with(|| self.indices());
            match indices.entry(Text::from(labels::ordered(other.texts.get(i)))) {
                Entry::Vacant(entry) => {
                    entry.insert(self.len());
                    added(self.len(), i);
                    self.push_from(other, i);
                }
                Entry::Occupied(entry) => {
                    let at = *entry.get();
                    let created = self.texts.created(at).min(other.texts.created(i));
                    self.texts.set_created(at, created);
                    self.values.add(at, (&other.values, i), mode);
                    added(at, i);
                }
            }
        }
    }
}

impl Values {
    /// Adds value `i` of `other`, which has the same shape, to that of series `at`, gauges by
    /// `mode`.
    pub(super) fn add(&mut self, at: usize, (other, i): (&Self, usize), mode: GaugeMode) {
        if let (Self::Gauge(all), Self::Gauge(theirs)) = (&mut *self, other) {
            all.set(at, mode.combine(all.get(at), theirs.get(i)));
            return;
        }
        match (self, other.get(i)) {
            (Self::Counter(all), Value::Counter(theirs)) => all.set(at, all.get(at).plus(theirs)),
            (Self::Histogram(all), Value::Histogram(theirs)) => {
                let n = theirs.counts.len();
                for (ours, theirs) in all.counts[at * n..].iter_mut().zip(theirs.counts) {
                    *ours = ours.saturating_add(*theirs);
                }
                all.sums[at] = join_sums(all.sums[at], theirs.sum());
                if let (Some(natives), Some(native)) = (&mut all.natives, theirs.native()) {
                    natives.get_mut(at).merge(native);
                }
            }
            (Self::Summary(_, all), Value::Summary(theirs)) => {
                let ours = &mut all[at];
                ours.count = ours.count.saturating_add(theirs.count());
                ours.sum = join_sums(ours.sum, theirs.sum());
                if let Some(theirs) = theirs.observed() {
                    ours.sketch = Sketch::merge(&[&ours.sketch, &theirs.sketch]);
                }
            }
            // Pages do not have what it takes to add up quantiles.
            (Self::PageSummary(all), Value::Summary(theirs)) => {
                let ours = &mut all[at];
                let counts = ours.count.zip(theirs.known_count());
                ours.count = counts.map(|(ours, theirs)| ours.saturating_add(theirs));
                ours.sum = join_sums(ours.sum, theirs.sum());
                ours.quantiles.clear();
            }
            _ => debug_assert!(false, "the caller has compared the shapes"),
        }
    }
}
