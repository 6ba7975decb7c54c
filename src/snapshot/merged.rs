//! The merger of sources: one page of several registries or stores. Each family appears once, and
//! no two families expose samples of the same name.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use crate::error::Error;

use super::arithmetic::interval;
use super::by_name::{Conflict, merge_by_name};
use super::{Cardinality, Family, Snapshot, Source};

/// The families that mergers of this process have left out, each time that they did. Written by
/// mergers, read by the self-metrics.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Returns the number of families that mergers of this process have left out.
pub(crate) fn left_out() -> u64 {
    LEFT_OUT.load(Relaxed)
}

/// Several sources, merged into one: the registries of a page, of a push, or of what a sender
/// sends. It is a [`Source`] itself.
///
/// ```
/// use tallies::snapshot::{Merged, Source, Snapshot};
///
/// let (jobs, pool) = (tallies::Registry::new(), tallies::Registry::new());
/// jobs.counter("jobs_total", "Jobs done.")?.add(2);
/// pool.counter("jobs_total", "Jobs done.")?.add(3);
/// pool.gauge("pool_idle", "Connections not in use.")?.set(7.0);
///
/// let merged = Merged::new().source(&jobs).source(&pool);
/// let mut snapshot = Snapshot::default();
/// merged.try_snapshot_into(&mut snapshot)?;
/// assert_eq!(snapshot.get("jobs_total", &[]), Some(5.0));
/// assert_eq!(snapshot.get("pool_idle", &[]), Some(7.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// Families of the same name are added up, as by [`Snapshot::merge`]. In contrast to that, a
/// conflict takes only what conflicts: a family is left out if one of an earlier source has its
/// name and another kind, other buckets, other objectives or another window, or if it would expose
/// samples of an earlier one of another name, such as a gauge `a_sum` beside a histogram `a`. All
/// other families are there. Each conflict is logged once, with both sources and, if they are
/// known, the places of both declarations. `tallies_merge_conflicts_total` counts families each
/// time that they are left out.
///
/// A conflict between the families of *one* source is up to that source: a registry refuses the
/// later one.
///
/// ```
/// use tallies::snapshot::{Merged, MergedSnapshot};
///
/// let (one, two) = (tallies::Registry::new(), tallies::Registry::new());
/// one.counter("c_total", "A counter.")?;
/// two.gauge("c_total", "A gauge.")?;
/// two.gauge("rest", "Another gauge.")?;
/// let mut page = MergedSnapshot::default();
/// Merged::new().source(&one).source(&two).take(&mut page)?;
/// let names: Vec<_> = page.families().map(|family| family.name()).collect();
/// assert_eq!(names, ["c_total", "rest"]);
/// assert_eq!(page.conflicts().len(), 1);
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Merged {
    sources: Vec<Arc<dyn Source>>,
}

impl Merged {
    /// Creates a merger of no sources.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a registry, or another source. Sources that were added first win conflicts.
    ///
    /// ```
    /// use tallies::snapshot::Merged;
    ///
    /// let merged = Merged::new().source(tallies::registry());
    /// assert_eq!(merged.sources().len(), 1);
    /// ```
    #[must_use]
    pub fn source<S: Source + Clone + 'static>(mut self, source: &S) -> Self {
        self.sources.push(Arc::new(source.clone()));
        self
    }

    /// Returns these sources, or `default` if there are none.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tallies::snapshot::Merged;
    ///
    /// let merged = Merged::new().or(Arc::new(tallies::registry().clone()));
    /// assert_eq!(merged.or(Arc::new(tallies::Registry::new())).sources().len(), 1);
    /// ```
    #[must_use]
    pub fn or(mut self, default: Arc<dyn Source>) -> Self {
        if self.sources.is_empty() {
            self.sources.push(default);
        }
        self
    }

    /// Returns the sources, in the order in which they were added.
    #[must_use]
    pub fn sources(&self) -> &[Arc<dyn Source>] {
        &self.sources
    }

    /// Takes a snapshot of each source and merges them, into the memory of an earlier one.
    ///
    /// ```
    /// use tallies::snapshot::{Merged, MergedSnapshot};
    ///
    /// let merged = Merged::new().source(tallies::registry());
    /// let mut page = MergedSnapshot::default();
    /// for _ in 0..3 {
    ///     merged.take(&mut page)?;
    /// }
    /// assert!(page.families().any(|family| family.name() == "tallies_shards"));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Costs the snapshots, and a few look-ups by name for each family if there are several
    /// sources. Only the families that several sources have are copied.
    ///
    /// # Errors
    ///
    /// Returns the error of the first source that [has no
    /// snapshot](Source::try_snapshot_into). The merged snapshot is then empty.
    pub fn take(&self, into: &mut MergedSnapshot) -> Result<(), Error> {
        let MergedSnapshot {
            snapshots,
            page,
            conflicts,
        } = into;
        let sources = &*self.sources;
        page.clear();
        conflicts.clear();
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
        let conflict = |conflict: Conflict<'_, (usize, usize)>| {
            let error = self.explained(conflict);
            error.log_once();
            LEFT_OUT.fetch_add(1, Relaxed);
            conflicts.push(error);
        };
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

    /// Returns the error of a conflict, with the places of both families.
    fn explained(&self, conflict: Conflict<'_, (usize, usize)>) -> Error {
        let describe = |(family, (source, _)): (&Family, (usize, usize))| {
            let declared = self.sources[source].declared_at(family.name());
            let declared = declared.map_or_else(String::new, |at| format!(", declared at {at}"));
            let (kind, name) = (family.kind(), family.name());
            format!("{kind} `{name}` (source {}{declared})", source + 1)
        };
        let (left_out, beside) = (describe(conflict.left_out), describe(conflict.beside));
        conflict
            .why
            .at(format_args!("{left_out} is left out, because of {beside}"))
    }
}

impl FromIterator<Arc<dyn Source>> for Merged {
    fn from_iter<I: IntoIterator<Item = Arc<dyn Source>>>(sources: I) -> Self {
        let sources = sources.into_iter().collect();
        Self { sources }
    }
}

impl Source for Merged {
    /// Takes a snapshot. It is empty if a source has none.
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        if self.try_snapshot_into(snapshot).is_err() {
            *snapshot = Snapshot::default();
        }
    }

    fn try_snapshot_into(&self, snapshot: &mut Snapshot) -> Result<(), Error> {
        if let [only] = &*self.sources {
            return only.try_snapshot_into(snapshot);
        }
        let mut merged = MergedSnapshot::default();
        // The first source reuses the memory.
        merged.snapshots.push(std::mem::take(snapshot));
        self.take(&mut merged)?;
        *snapshot = merged.into();
        Ok(())
    }

    fn cardinality(&self) -> Cardinality {
        let mut all = Cardinality::default();
        for source in &self.sources {
            all.append(source.cardinality());
        }
        all
    }

    fn declared_at(&self, family: &str) -> Option<&'static std::panic::Location<'static>> {
        let mut sources = self.sources.iter();
        sources.find_map(|source| source.declared_at(family))
    }
}

impl fmt::Debug for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merged")
            .field("sources", &self.sources.len())
            .finish()
    }
}

/// The snapshot of a [`Merged`] source, which [`Merged::take`] takes into the memory of the one
/// before. It has the memory of the snapshots of all sources, and of the families that several
/// have: all other families stay where they are and are not copied.
///
/// ```
/// use tallies::snapshot::{Merged, MergedSnapshot};
///
/// let registry = tallies::Registry::new();
/// let jobs = registry.counter("jobs_total", "Jobs done.")?;
/// let merged = Merged::new().source(&registry);
/// let (mut before, mut now) = (MergedSnapshot::default(), MergedSnapshot::default());
/// merged.take(&mut before)?;
/// jobs.add(2);
/// merged.take(&mut now)?;
/// let changes = now.since(&before);
/// assert_eq!((changes.len(), changes[0].name()), (1, "jobs_total"));
/// assert!(now.time_since(&before).is_some());
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct MergedSnapshot {
    /// A snapshot of each source. The last one has the sums of the families that several have.
    snapshots: Vec<Snapshot>,
    /// The families of the page, in the order of their names: the index of a snapshot, and that of
    /// the family in it.
    page: Vec<(usize, usize)>,
    conflicts: Vec<Error>,
}

impl MergedSnapshot {
    /// Iterates over the families, in the order of their names.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        (0..self.page.len()).map(|at| self.family(at))
    }

    /// Returns the family at this index of [`families`](Self::families).
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    #[inline]
    #[must_use]
    pub fn family(&self, at: usize) -> &Family {
        let (snapshot, at) = self.page[at];
        &self.snapshots[snapshot].families[at]
    }

    /// Returns why families were left out, one error for each.
    #[must_use]
    pub fn conflicts(&self) -> &[Error] {
        &self.conflicts
    }

    /// Returns the time at which the last snapshot of a source was taken: one of a store may be
    /// old.
    #[must_use]
    pub fn taken(&self) -> SystemTime {
        let latest = self.latest();
        latest.map_or(SystemTime::UNIX_EPOCH, |snapshot| snapshot.taken)
    }

    /// Returns the snapshot that was taken last; the first one of several.
    fn latest(&self) -> Option<&Snapshot> {
        let all = self.snapshots.iter().rev();
        all.max_by_key(|snapshot| snapshot.taken)
    }

    /// Returns what changed in each family since `earlier`, in the order of
    /// [`families`](Self::families), as [`Snapshot::since`] does.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Vec<Family> {
        interval(self.families(), earlier.families(), earlier.taken())
    }

    /// Returns the time in which these changes were counted, as [`Snapshot::time_since`] does.
    #[must_use]
    pub fn time_since(&self, earlier: &Self) -> Option<Duration> {
        self.latest()?.time_since(earlier.latest()?)
    }

    /// Returns the memory that the snapshots use, in bytes, with label texts that they share.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let families = self
            .snapshots
            .iter()
            .flat_map(|snapshot| &snapshot.families);
        families.map(Family::bytes).sum()
    }
}

impl From<MergedSnapshot> for Snapshot {
    /// Returns the families as one snapshot, with the times of the source that was read last.
    fn from(merged: MergedSnapshot) -> Self {
        let latest = merged.latest();
        let (taken, pass) = latest.map_or((SystemTime::UNIX_EPOCH, None), |s| (s.taken, s.pass));
        let MergedSnapshot {
            snapshots, page, ..
        } = merged;
        let all = snapshots.into_iter();
        let mut all: Vec<Vec<_>> = all
            .map(|snapshot| snapshot.families.into_iter().map(Some).collect())
            .collect();
        let families = page.into_iter();
        let families = families.filter_map(|(source, at)| all[source][at].take());
        Self {
            families: families.collect(),
            taken,
            pass,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{Counter, Gauge, Registry};

    use super::*;

    /// A sender stamps what it sends with this time. It was that of the first source, and so the
    /// values of a registry had the old time of a store's view.
    #[test]
    fn the_time_is_that_of_the_source_that_was_read_last() {
        #[derive(Clone)]
        struct Old(Snapshot);
        impl Source for Old {
            fn snapshot_into(&self, snapshot: &mut Snapshot) {
                snapshot.clone_from(&self.0);
            }
        }
        let registry = Registry::new();
        let old = Old(Snapshot::default());
        for merged in [
            Merged::new().source(&old).source(&registry),
            Merged::new().source(&registry).source(&old),
        ] {
            let (mut page, mut snapshot) = (MergedSnapshot::default(), Snapshot::default());
            merged.take(&mut page).unwrap();
            assert!(page.taken() > SystemTime::UNIX_EPOCH);
            merged.try_snapshot_into(&mut snapshot).unwrap();
            assert!(snapshot.taken() > SystemTime::UNIX_EPOCH);
        }
    }

    /// A source without a snapshot.
    #[derive(Clone)]
    struct Gone;

    impl Source for Gone {
        fn snapshot_into(&self, _: &mut Snapshot) {}

        fn try_snapshot_into(&self, _: &mut Snapshot) -> Result<(), Error> {
            Err(Error::new("gone"))
        }
    }

    #[test]
    fn a_source_without_a_snapshot_is_an_error_and_nothing_is_shown() {
        let registry = Registry::new();
        registry.gauge("a", "").unwrap().set(1.0);
        let mut all = MergedSnapshot::default();
        Merged::new().source(&registry).take(&mut all).unwrap();
        let merged = Merged::new().source(&registry).source(&Gone);
        assert_eq!(merged.take(&mut all).unwrap_err().to_string(), "gone");
        assert_eq!(all.families().count(), 0);
        let mut snapshot = registry.snapshot();
        merged.snapshot_into(&mut snapshot);
        assert_eq!(snapshot.families().count(), 0);
    }

    #[test]
    fn a_conflict_names_both_places_and_is_counted_each_time() {
        let [one, two] = [(); 2].map(|()| Registry::new());
        two.set_prefix("c").unwrap();
        one.counter("c_total", "").unwrap();
        let (first, line) = (line!() - 1, line!() + 1);
        two.gauge_fn("total", "", || 1.0).unwrap();
        let before = left_out();
        for _ in 0..2 {
            let (names, conflicts) = merged(&[&one, &two]);
            assert_eq!((names.len(), conflicts.len()), (1, 1));
            let place = |line| format!(", declared at {}:{line}:", file!());
            let expected = [
                "gauge `c_total` (source 2",
                &place(line),
                ") is left out, because of counter `c_total` (source 1",
                &place(first),
                "): family `c_total` is a counter here and a gauge in the snapshot to merge",
            ];
            let mut rest = &*conflicts[0];
            for part in expected {
                rest = rest
                    .split_once(part)
                    .unwrap_or_else(|| panic!("{conflicts:?}"))
                    .1;
            }
        }
        assert!(left_out() >= before + 2);
    }

    #[test]
    fn a_merged_source_gives_the_families_of_the_page() {
        let [one, two] = [(); 2].map(|()| Registry::new());
        one.counter("a_total", "").unwrap().add(2);
        one.gauge("b", "").unwrap().set(1.0);
        two.counter("a_total", "").unwrap().add(3);
        two.gauge("c", "").unwrap().set(1.0);
        let merged = Merged::new().source(&one).source(&two);
        let mut snapshot = Snapshot::default();
        for _ in 0..2 {
            merged.try_snapshot_into(&mut snapshot).unwrap();
            let names: Vec<_> = snapshot.families().map(Family::name).collect();
            assert_eq!(names, ["a_total", "b", "c"]);
            assert_eq!(snapshot.get("a_total", &[]), Some(5.0));
            assert!(snapshot.taken() <= snapshot.ended());
        }
    }

    /// A page would have the value of the gauge as an info.
    #[test]
    fn a_gauge_is_no_info() {
        let [one, two] = [(); 2].map(|()| Registry::new());
        one.gauge("a", "").unwrap().set(5.0);
        let info = crate::Info::builder("a", "").labels(["v"]);
        info.register(&two).unwrap().set(["1"]);
        assert_eq!(merged(&[&one, &two]).1.len(), 1);
        assert_eq!(merged(&[&two, &one]).1.len(), 1);
    }

    fn merged(registries: &[&Registry]) -> (Vec<String>, Vec<String>) {
        let registries = registries.iter();
        let merged = registries.fold(Merged::new(), |all, registry| all.source(*registry));
        let mut all = MergedSnapshot::default();
        merged.take(&mut all).unwrap();
        let names = all.families().map(|family| family.name().to_owned());
        let conflicts = all.conflicts().iter().map(Error::to_string);
        (names.collect(), conflicts.collect())
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
            conflicts[0].contains("family `a` would expose the same samples as `a_sum`"),
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
