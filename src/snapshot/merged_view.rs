//! The families of several registries merged for one page. Each family appears once, and no two
//! families expose samples of the same name.

use std::sync::Arc;
#[cfg(feature = "live")]
use std::time::Duration;
use std::time::SystemTime;

use crate::error::Error;

#[cfg(feature = "live")]
use super::arithmetic::interval;
use super::by_name::merge_by_name;
use super::{Family, Snapshot, Source};

/// Snapshots of several sources, merged for one page. Families of the same name are added up; all
/// other families stay in the snapshot of their source and are not copied.
#[derive(Debug, Default)]
pub(crate) struct MergedView {
    /// A snapshot of each source. The last one has the sums of the families that several have.
    snapshots: Vec<Snapshot>,
    /// The families of the page, in the order of their names: the index of a snapshot, and that of
    /// the family in it.
    page: Vec<(usize, usize)>,
}

impl MergedView {
    /// Takes a snapshot of each source and merges them. A family that conflicts with one of an
    /// earlier source is left out, and the reason is passed to `conflict`.
    ///
    /// # Errors
    ///
    /// Returns the error of a source that has no snapshot. The view is then empty.
    pub(crate) fn take(
        &mut self,
        sources: &[Arc<dyn Source>],
        conflict: impl FnMut(Error),
    ) -> Result<(), Error> {
        let Self { snapshots, page } = self;
        page.clear();
        snapshots.truncate(sources.len());
        snapshots.resize_with(sources.len() + 1, Snapshot::default);
        for (source, snapshot) in sources.iter().zip(&mut *snapshots) {
            source.try_snapshot_into(snapshot)?;
        }
        if let [only, _] = &**snapshots {
            page.extend((0..only.families.len()).map(|at| (0, at)));
            return Ok(());
        }
        let mut sums = Vec::new();
        let families = snapshots.iter().zip(0..).flat_map(|(snapshot, source)| {
            let places = (0..).map(move |at| (source, at));
            snapshot.families.iter().zip(places)
        });
        // The first source needs no check: a registry rejects families that conflict.
        let is_first = |(source, _)| source == 0;
        for group in merge_by_name(families, is_first, conflict) {
            let (first, place) = group.first;
            if group.rest.is_empty() {
                page.push(place);
                continue;
            }
            let mut sum = first.clone();
            for (family, _) in group.rest {
                sum.add(family);
            }
            page.push((sources.len(), sums.len()));
            sums.push(sum);
        }
        snapshots[sources.len()].families = sums;
        Ok(())
    }

    /// Returns the time at which the first snapshot was taken.
    pub(crate) fn taken(&self) -> SystemTime {
        let first = self.snapshots.first();
        first.map_or(SystemTime::UNIX_EPOCH, |snapshot| snapshot.taken)
    }

    /// Iterates over the families of the page, in the order of their names.
    pub(crate) fn families(&self) -> impl Iterator<Item = &Family> {
        (0..self.page.len()).map(|at| self.family(at))
    }

    /// Returns the family at this index of [`families`](Self::families).
    #[inline]
    pub(crate) fn family(&self, at: usize) -> &Family {
        let (snapshot, at) = self.page[at];
        &self.snapshots[snapshot].families[at]
    }

    /// Returns what changed in each family since `earlier`, in the order of
    /// [`families`](Self::families), as [`Snapshot::since`] does.
    #[cfg(feature = "live")]
    pub(crate) fn since(&self, earlier: &Self) -> Vec<Family> {
        interval(self.families(), earlier.families(), earlier.taken())
    }

    /// Returns the time in which they were counted, as [`Snapshot::time_since`] does.
    #[cfg(feature = "live")]
    pub(crate) fn time_since(&self, earlier: &Self) -> Option<Duration> {
        self.snapshots
            .first()?
            .time_since(earlier.snapshots.first()?)
    }

    /// The memory that the snapshots use, in bytes.
    #[cfg(feature = "page")]
    pub(crate) fn bytes(&self) -> usize {
        let families = self
            .snapshots
            .iter()
            .flat_map(|snapshot| &snapshot.families);
        families.map(Family::bytes).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{Counter, Gauge, Registry};

    use super::*;

    fn merged(registries: &[&Registry]) -> (Vec<String>, Vec<String>) {
        let sources: Vec<Arc<dyn Source>> = registries
            .iter()
            .map(|registry| Arc::new((*registry).clone()) as _)
            .collect();
        let (mut all, mut conflicts) = (MergedView::default(), Vec::new());
        all.take(&sources, |error| conflicts.push(error.to_string()))
            .unwrap();
        let names = all.families().map(|family| family.name().to_owned());
        (names.collect(), conflicts)
    }

    #[test]
    fn what_clashes_is_left_out_and_what_clashes_with_that_is_not() {
        let [one, two, three] = [(); 3].map(|()| Registry::new());
        one.gauge("a_sum", "").unwrap().set(1.0);
        two.histogram("a", "").unwrap().observe(1.0);
        one.gauge("b", "").unwrap().set(1.0);
        two.histogram("b", "").unwrap().observe(1.0);
        // These would conflict with the two histograms, but the histograms are not on the page.
        three.gauge("a_count", "").unwrap().set(1.0);
        three.gauge("b_sum", "").unwrap().set(1.0);
        let (names, conflicts) = merged(&[&one, &two, &three]);
        assert_eq!(names, ["a_count", "a_sum", "b", "b_sum"]);
        assert_eq!(conflicts.len(), 2);
        assert!(
            conflicts[0].starts_with("family `a` would expose the same samples as `a_sum`"),
            "{conflicts:?}"
        );
    }

    #[test]
    fn names_clash_as_they_are_escaped_whichever_is_first() {
        let [plain, utf8, joined] = [(); 3].map(|()| Registry::new());
        plain.gauge("a_b", "").unwrap().set(1.0);
        Gauge::builder("a.b", "")
            .utf8()
            .register(&utf8)
            .unwrap()
            .set(1.0);
        for counter in ["c_total", "d"] {
            for registry in [&utf8, &joined] {
                let counter = Counter::builder(counter, "").utf8();
                counter.register(registry).unwrap().inc();
            }
        }
        let (names, conflicts) = merged(&[&plain, &utf8, &joined]);
        assert_eq!(names, ["a_b", "c_total", "d"]);
        assert_eq!(conflicts.len(), 1);
        let (names, conflicts) = merged(&[&joined, &utf8, &plain]);
        assert_eq!(names, ["a.b", "c_total", "d"]);
        assert_eq!(conflicts.len(), 1);
    }
}
