//! Snapshots: the merged value of every family at one time, as plain data.
//!
//! Registries and stores produce snapshots; [`encode`](crate::encode), servers and pushes consume
//! them.
//!
//! A [`Snapshot`] is a value. Subtracting two snapshots gives an interval ([`Snapshot::since`]).
//! Nothing is reset, so any number of readers can each keep an earlier snapshot of their own. The
//! snapshots of several processes add up ([`Snapshot::merge`]), and so do those of several sources
//! ([`Merged`]).

mod arithmetic;
mod build;
pub(crate) mod by_name;
mod cardinality;
pub mod catalogue;
mod clash;
pub(crate) mod description;
mod difference;
mod exact;
mod exemplar;
mod family;
mod float_sum;
mod gauge_mode;
mod gauges;
pub(crate) mod json;
pub(crate) mod labels;
mod merged;
#[cfg_attr(loom, allow(unreachable_pub, reason = "models encode nothing"))]
pub(crate) mod names;
pub(crate) mod native;
mod number;
mod removed;
#[cfg(feature = "serde")]
mod serialize;
pub mod sketch;
mod text;
mod texts;
mod values;

use std::panic::Location;
use std::time::{Duration, Instant, SystemTime};

use crate::error::Error;

pub(crate) use arithmetic::sum_since;
pub(crate) use cardinality::LabelCount;
pub use cardinality::{Cardinality, FamilyCardinality, LabelCardinality};
pub use catalogue::Catalogue;
pub(crate) use clash::{ClashIndex, ExposedName, SHARED_SAMPLES};
pub(crate) use difference::{Difference, join, or_none, quoted};
pub(crate) use exact::ExactSum;
pub use exemplar::Exemplar;
pub(crate) use exemplar::MOST_CHARACTERS;
pub(crate) use family::Meta;
pub use family::{Family, Kind, SeriesLabels};
pub(crate) use float_sum::{FloatSum, sum_up};
pub use gauge_mode::GaugeMode;
pub(crate) use gauges::{Gauges, LastSet};
pub(crate) use merged::left_out;
pub use merged::{Merged, MergedSnapshot};
pub(crate) use names::{Escaping, is_label_name, is_metric_name, is_utf8_name};
pub(crate) use native::Resolution;
#[cfg(feature = "live")]
pub(crate) use native::Step;
pub use native::{Estimate, Native};
pub use number::Number;
pub(crate) use number::Numbers;
pub(crate) use removed::{MOST_REMOVED, RemovedList};
pub(crate) use text::Text;
#[cfg(doc)]
pub(crate) use texts::LabelEntry;
pub(crate) use texts::{LabelTexts, PAGE, Page, Rewrite};
pub(crate) use values::PageSummary;
pub use values::{Histogram, Quantiles, Summary, Value};
pub(crate) use values::{Histograms, MOST_METRICS, Values};

/// A source of snapshots, such as a registry. The reading stages know nothing else about a
/// registry.
///
/// ```
/// use tallies::snapshot::{Snapshot, Source};
///
/// let registry = tallies::Registry::new();
/// let mut snapshot = Snapshot::default();
/// let source: &dyn Source = &registry;
/// source.snapshot_into(&mut snapshot);
/// assert!(snapshot.family("no_such_name").is_none());
/// ```
pub trait Source: Send + Sync {
    /// Takes a snapshot, reusing the memory of `snapshot`, which is empty or an earlier snapshot.
    fn snapshot_into(&self, snapshot: &mut Snapshot);

    /// Takes a snapshot like [`snapshot_into`](Self::snapshot_into), or returns why there is none.
    /// Servers, which call this, then answer with 503, and a push fails.
    ///
    /// ```
    /// use tallies::snapshot::{Snapshot, Source};
    ///
    /// let mut snapshot = Snapshot::default();
    /// tallies::registry().try_snapshot_into(&mut snapshot)?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Stores that several processes share return an error if their numbers would be wrong: if they
    /// have not reached the other processes' numbers for too long. Registries never do, and neither
    /// does this method unless a source implements it.
    fn try_snapshot_into(&self, snapshot: &mut Snapshot) -> Result<(), Error> {
        self.snapshot_into(snapshot);
        Ok(())
    }

    /// Returns how many series each family has, and which labels make them. The default takes a
    /// snapshot, which knows neither limits nor refused updates.
    fn cardinality(&self) -> Cardinality {
        let mut snapshot = Snapshot::default();
        self.snapshot_into(&mut snapshot);
        Cardinality::of(&snapshot)
    }

    /// Returns the place in the program that declared a family, for messages. The default knows
    /// none.
    fn declared_at(&self, _family: &str) -> Option<&'static Location<'static>> {
        None
    }
}

/// The latest time that is read: the end of the year 9999, in milliseconds since the Unix epoch.
pub(crate) const LAST_MILLIS: u64 = 253_402_300_799_999;

/// Returns the milliseconds since the Unix epoch, from which every format counts time.
pub(crate) fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// The merged value of every family at one time.
///
/// ```
/// let registry = tallies::Registry::new();
/// let uploads = registry.counter("uploads_total", "Files accepted.")?;
/// let before = registry.snapshot();
/// uploads.add(3);
/// let now = registry.snapshot();
/// assert_eq!(now.get("uploads_total", &[]), Some(3.0));
/// assert_eq!(now.since(&before).get("uploads_total", &[]), Some(3.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The crate's front page says which updates a snapshot includes if they are made while it is
/// taken.
///
/// The snapshots of a registry share the label texts of their series, and intervals do, too. So one
/// more snapshot costs the memory of its values. The texts of a series that was removed stay in
/// memory, together with those of at most 1023 others, while a snapshot has them.
///
/// With the feature `serde`, a snapshot can be serialized. The families appear by name. Each series
/// has its labels, its value and, if known, the time since when it counts.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) families: Vec<Family>,
    /// The begin of the pass.
    pub(crate) taken: SystemTime,
    /// The begin of the pass by a clock that is never set, and its length, if this process made it.
    pub(crate) pass: Option<(Instant, Duration)>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            families: Vec::new(),
            taken: SystemTime::UNIX_EPOCH,
            pass: None,
        }
    }
}

impl<'a> IntoIterator for &'a Snapshot {
    type Item = &'a Family;
    type IntoIter = std::slice::Iter<'a, Family>;

    /// Iterates over the families in the order of their names.
    fn into_iter(self) -> Self::IntoIter {
        self.families.iter()
    }
}

impl Snapshot {
    /// Iterates over the families in the order of their names.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?.inc();
    /// let snapshot = registry.snapshot();
    /// assert!(snapshot.families().any(|family| family.name() == "jobs_total"));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.families.iter()
    }

    /// Returns pairs of families with samples of the same name, in some format: each family that
    /// has one in common with a family before it, and that one. In a registry there are none.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use tallies::snapshot::{Family, Kind, Snapshot};
    ///
    /// let families = [("a", Kind::Summary), ("a_sum", Kind::Gauge)];
    /// let families = families.map(|(name, kind)| Family::empty(name, "", "", kind).unwrap());
    /// let snapshot = Snapshot::new(families.into(), SystemTime::now())?;
    /// assert_eq!(snapshot.clashes()[0].0.name(), "a_sum");
    /// assert!(tallies::snapshot().clashes().is_empty());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn clashes(&self) -> Vec<(&Family, &Family)> {
        let has_utf8 = self.families.iter().any(|family| family.meta.utf8);
        // An index of the families before the current one.
        let mut before = ClashIndex::<&Family>::new(has_utf8);
        let mut pairs = Vec::new();
        for family in &self.families {
            let other = before.clashing(family.exposed(), &|_| true);
            pairs.extend(other.map(|other| (family, *other)));
            before.insert(family.exposed(), &family);
        }
        pairs
    }

    /// Returns the family of this name.
    ///
    /// ```
    /// let snapshot = tallies::snapshot();
    /// assert!(snapshot.family("no_such_name").is_none());
    /// ```
    #[must_use]
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name() == name)
    }

    /// Returns the index of the family of this name, or the one at which to insert it.
    pub(crate) fn position(&self, name: &str) -> Result<usize, usize> {
        let family = |other: &Family| other.name().cmp(name);
        self.families.binary_search_by(family)
    }

    /// Returns the time at which the snapshot was taken: the begin of the pass over all cells.
    ///
    /// ```
    /// let taken = tallies::snapshot().taken();
    /// assert!(taken <= std::time::SystemTime::now());
    /// ```
    #[must_use]
    pub fn taken(&self) -> SystemTime {
        self.taken
    }

    /// Returns the time at which the pass ended. Updates between [`taken`](Self::taken) and this
    /// time are in the snapshot or not. Both are the same if the snapshot was read from elsewhere.
    ///
    /// ```
    /// let snapshot = tallies::snapshot();
    /// assert!(snapshot.taken() <= snapshot.ended());
    /// ```
    #[must_use]
    pub fn ended(&self) -> SystemTime {
        let took = self.pass.map_or(Duration::ZERO, |(_, took)| took);
        self.taken.checked_add(took).unwrap_or(self.taken)
    }

    /// Returns the time in which the changes [`since`](Self::since) an earlier snapshot were
    /// counted, for rates: from the middle of that pass to the middle of this one.
    ///
    /// ```
    /// let before = tallies::snapshot();
    /// let now = tallies::snapshot();
    /// assert!(now.time_since(&before).is_some());
    /// assert_eq!(before.time_since(&now), None);
    /// ```
    ///
    /// It does not change if somebody sets the system's clock in between, unless a snapshot was
    /// read from elsewhere. Returns `None` if the other snapshot is not earlier.
    #[must_use]
    pub fn time_since(&self, earlier: &Self) -> Option<Duration> {
        let middle = |(began, took): (Instant, Duration)| began.checked_add(took / 2);
        let time = match (self.pass.and_then(middle), earlier.pass.and_then(middle)) {
            (Some(now), Some(then)) => now.checked_duration_since(then),
            _ => self.taken.duration_since(earlier.taken).ok(),
        };
        time.filter(|time| !time.is_zero())
    }

    /// Begins the pass.
    pub(crate) fn begin_pass(&mut self) {
        self.taken = SystemTime::now();
        self.pass = Some((Instant::now(), Duration::ZERO));
    }

    /// Ends the pass.
    pub(crate) fn end_pass(&mut self) {
        if let Some((began, took)) = &mut self.pass {
            *took = began.elapsed();
        }
    }

    /// Inserts a counter without labels, in place of a family of that name: for what a store says
    /// of itself.
    ///
    /// ```
    /// let mut page = tallies::snapshot();
    /// page.insert_counter("store_failures_total", "Reads that failed.", 3);
    /// assert_eq!(page.get("store_failures_total", &[]), Some(3.0));
    /// ```
    pub fn insert_counter(&mut self, name: &str, help: &str, value: u64) {
        let values = Values::Counter(Numbers::Int(vec![value]));
        self.insert(name, help, Kind::Counter, values);
    }

    /// Inserts a gauge without labels, in place of a family of that name: for what a store says of
    /// itself.
    ///
    /// ```
    /// let mut page = tallies::snapshot();
    /// page.insert_gauge("store_up", "Whether the store answers.", 1.0);
    /// assert_eq!(page.get("store_up", &[]), Some(1.0));
    /// ```
    pub fn insert_gauge(&mut self, name: &str, help: &str, value: f64) {
        let mut values = Gauges::default();
        values.push(LastSet::untimed(value));
        self.insert(name, help, Kind::Gauge, Values::Gauge(values));
    }

    /// Sorts the series of each family by their labels, so that their order does not depend on that
    /// in which they were made.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = tallies::Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    /// let jobs = jobs.register(&registry)?;
    /// ["print", "mail"].iter().for_each(|queue| jobs.with([queue]).inc());
    /// let mut page = registry.snapshot();
    /// page.sort_series();
    /// assert_eq!(page.family("jobs_total").unwrap().label_text(0), "queue=\"mail\"");
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn sort_series(&mut self) {
        self.families.iter_mut().for_each(Family::sort_series);
    }

    /// Inserts a family of one series.
    fn insert(&mut self, name: &str, help: &str, kind: Kind, values: Values) {
        let mut family = Family::new(Meta::new(name, help, kind, GaugeMode::LiveMax), values);
        family.texts.push("", 0);
        match self.position(name) {
            Ok(at) => self.families[at] = family,
            Err(at) => self.families.insert(at, family),
        }
    }

    /// Returns one number, addressed as a query would name it.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let latency = registry.histogram("latency_seconds", "Time to answer.")?;
    /// latency.observe(0.3);
    /// let now = registry.snapshot();
    /// assert_eq!(now.get("latency_seconds_count", &[]), Some(1.0));
    /// assert_eq!(now.get("latency_seconds_bucket", &[("le", "0.5")]), Some(1.0));
    /// assert_eq!(now.get("latency_seconds_bucket", &[("le", "0.25")]), Some(0.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// - A counter or a gauge is addressed by its name.
    /// - A histogram is addressed by its name with `_count`, `_sum`, or `_bucket` and a label `le`.
    /// - A summary is addressed by its name with `_count` or `_sum`, or by its name alone and a
    ///   label `quantile` with an exported quantile.
    ///
    /// The labels may be in any order, and constant labels may be left out. Returns `None` if there
    /// is no such series.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let (family, part) = match self.family(name) {
            Some(family) => (family, ""),
            None => {
                let (base, part) = name.rsplit_once('_')?;
                (self.family(base)?, part)
            }
        };
        let own = match (family.kind(), part) {
            (Kind::Summary, "") => Some("quantile"),
            (_, "bucket") => Some("le"),
            _ => None,
        };
        let (at, labels): (Vec<(&str, &str)>, _) =
            labels.iter().partition(|(label, _)| Some(*label) == own);
        let (_, value) = family.series().find(|(have, _)| have.matches(&labels))?;
        // Accepts the number syntax of the exposition formats, `+Inf` included.
        let at = at.first().and_then(|(_, at)| at.parse::<f64>().ok());
        let is_there = |(bound, _): &(f64, f64)| Some(*bound) == at;
        match (value, part) {
            (Value::Counter(n), "") => Some(n.as_f64()),
            (Value::Gauge(x), "") => Some(x),
            (Value::Histogram(value), "count") => Some(value.count() as f64),
            (Value::Histogram(value), "sum") => Some(value.sum()),
            (Value::Histogram(value), "bucket") => {
                let mut buckets = value.buckets().map(|(bound, n)| (bound, n as f64));
                Some(buckets.find(is_there)?.1)
            }
            (Value::Summary(value), "count") => Some(value.count() as f64),
            (Value::Summary(value), "sum") => Some(value.sum()),
            (Value::Summary(value), "") => Some(value.exported().find(is_there)?.1),
            _ => None,
        }
    }

    /// Returns a quantile of one histogram or summary, with bounds that certainly contain it.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let latency = tallies::Histogram::builder("latency_seconds", "Time to answer.")
    ///     .native(5)
    ///     .register(&registry)?;
    /// (101..=1100).for_each(|i| latency.observe(f64::from(i) / 1000.0));
    /// let found = registry.snapshot().quantile("latency_seconds", &[], 0.99).unwrap();
    /// assert!(found.lower <= 1.09 && 1.09 <= found.upper);
    /// assert!(found.upper / found.lower < 1.022);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// For a histogram, the bounds are those of the bucket that holds the quantile. The labels
    /// match as in [`get`](Self::get).
    ///
    /// Returns `None` if there is no such series, before its first observation, and for a `phi`
    /// outside 0 to 1. Also returns `None` for summaries without a sketch: those of an interval,
    /// and those read from a page.
    #[must_use]
    pub fn quantile(&self, name: &str, labels: &[(&str, &str)], phi: f64) -> Option<Estimate> {
        let family = self.family(name)?;
        let (_, value) = family.series().find(|(have, _)| have.matches(labels))?;
        match value {
            Value::Histogram(histogram) => histogram.quantile(phi),
            Value::Summary(summary) => summary.estimate(phi),
            _ => None,
        }
    }

    /// The number of summary series whose errors may exceed their objectives, for the self-metrics.
    pub(crate) fn degraded(&self) -> usize {
        let degraded = |family: &Family| match &family.values {
            Values::Summary(_, values) => values.iter().filter(|v| v.is_degraded()).count(),
            _ => 0,
        };
        self.families.iter().map(degraded).sum()
    }

    /// Returns the family at index `at`, ready to be written.
    ///
    /// The caller passes families in the order of their names and increases `at` by one each time.
    /// Families from `at` on whose names sort before that of `empty` are removed. If the family at
    /// `at` then has the description and the shape of `empty`, it is reused. Otherwise, a clone of
    /// `empty` is inserted: also where a collector has added floats to the integers of a counter.
    pub(crate) fn family_for(&mut self, at: usize, empty: &Family) -> &mut Family {
        let has_floats =
            |family: &Family| matches!(family.values, Values::Counter(Numbers::Float(_)));
        let fits = |old: &Family| {
            old.meta == empty.meta
                && old.values.same_shape(&empty.values)
                && has_floats(old) == has_floats(empty)
        };
        if !self.families.get(at).is_some_and(fits) {
            while at < self.families.len() && *self.families[at].meta.name < *empty.meta.name {
                self.families.remove(at);
            }
            match self.families.get_mut(at) {
                Some(old) if fits(old) => {}
                Some(old) if old.meta.name == empty.meta.name => *old = empty.clone(),
                _ => self.families.insert(at, empty.clone()),
            }
        }
        &mut self.families[at]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A snapshot whose pass took `took`. The system's clock said `taken`, the steady one `began`.
    fn passed(taken: SystemTime, began: Instant, took: Duration) -> Snapshot {
        Snapshot {
            families: Vec::new(),
            taken,
            pass: Some((began, took)),
        }
    }

    #[test]
    fn time_is_from_the_middle_of_one_pass_to_the_middle_of_the_other() {
        let (taken, began) = (SystemTime::now(), Instant::now());
        let before = passed(taken, began, 4 * SECOND);
        assert_eq!(before.ended(), taken + 4 * SECOND);
        for set_back in [0, 3_600] {
            let now = passed(
                taken + 10 * SECOND - set_back * SECOND,
                began + 10 * SECOND,
                2 * SECOND,
            );
            assert_eq!(now.time_since(&before), Some(9 * SECOND));
            assert_eq!(before.time_since(&now), None);
            assert_eq!(now.since(&before).time_since(&before), Some(9 * SECOND));
        }
        assert_eq!(before.time_since(&before), None);
    }

    #[test]
    fn snapshots_from_elsewhere_have_the_time_between_them() {
        let (taken, began) = (SystemTime::now(), Instant::now());
        let mut read = passed(taken + 5 * SECOND, began, SECOND);
        read.pass = None;
        assert_eq!(read.ended(), read.taken());
        let before = passed(taken, began, 4 * SECOND);
        assert_eq!(read.time_since(&before), Some(5 * SECOND));
        assert_eq!(before.time_since(&read), None);
    }

    #[test]
    fn a_merged_snapshot_has_the_later_pass() {
        let (taken, began) = (SystemTime::now(), Instant::now());
        let [early, late] = [0, 10].map(|at| at * SECOND).map(|at| {
            let took = SECOND + at / 5;
            passed(taken + at, began + at, took)
        });
        for (one, other) in [(&early, &late), (&late, &early)] {
            let mut both = one.clone();
            both.merge(other).unwrap();
            assert_eq!(both.taken(), late.taken());
            assert_eq!(both.ended(), late.ended());
        }
    }
}
