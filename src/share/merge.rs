//! Merges the families of the processes of a store.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::error::Error;
use crate::snapshot::by_name::merge_by_name;
use crate::snapshot::sketch::{Bound, Scratch, Sketch};
use crate::snapshot::{
    ExactSum, Exemplar, Family, GaugeMode, Numbers, Snapshot, Value, Values, labels,
};

/// The label that tells the live processes of a gauge apart.
const GAUGE_INDEX: &str = "gauge_index";

/// Merges the families of all processes of a store: into a page, or into the totals of those that
/// have ended.
///
/// ```
/// use tallies::share::store::Merger;
///
/// let processes = [1, 2].map(|jobs| {
///     let registry = tallies::Registry::new();
///     registry.counter("jobs_total", "Jobs done.").unwrap().add(jobs);
///     registry.gauge("queue_length", "Jobs that wait.").unwrap().set(3.0);
///     registry.snapshot()
/// });
/// let mut merger = Merger::new();
/// merger.live(0, &processes[0]).ended(&processes[1]);
/// let page = merger.page(|error| panic!("{error}"));
/// assert_eq!(page.get("jobs_total", &[]), Some(3.0));
/// assert_eq!(page.get("queue_length", &[("gauge_index", "0")]), Some(3.0));
/// ```
///
/// Processes that are added first decide the shape of a family, so the newest comes first, and what
/// was folded earlier comes last. A family of a later process that cannot be merged is left out,
/// and the reason is passed to `conflict`. But of families of different kinds, that of the last
/// process stays: a program that takes the name of another one's metric does not displace it.
///
/// Sums of floats do not depend on the order of the processes, and folding some of them does not
/// change a sum.
#[derive(Clone, Debug, Default)]
pub struct Merger<'a> {
    /// The families of all processes, each with the number of a live process. `None` for one that
    /// has ended, and for folded totals.
    families: Vec<(&'a Family, Option<u32>)>,
}

impl<'a> Merger<'a> {
    /// Returns a merger of no processes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a live process. `index` is its value of the label `gauge_index`, which no other live
    /// process has.
    pub fn live(
        &mut self,
        index: u32,
        families: impl IntoIterator<Item = &'a Family>,
    ) -> &mut Self {
        self.push(Some(index), families)
    }

    /// Adds a process that has ended, or the totals of some that were folded. Families that
    /// [only live processes have](Family::is_live_only) are left out.
    pub fn ended(&mut self, families: impl IntoIterator<Item = &'a Family>) -> &mut Self {
        self.push(None, families)
    }

    fn push(
        &mut self,
        index: Option<u32>,
        families: impl IntoIterator<Item = &'a Family>,
    ) -> &mut Self {
        let families = families.into_iter();
        let families = families.filter(|family| index.is_some() || !family.is_live_only());
        self.families.extend(families.map(|family| (family, index)));
        self
    }

    /// Returns the page of all processes.
    pub fn page(&self, conflict: impl FnMut(Error)) -> Snapshot {
        let families = self.joined(conflict);
        snapshot(families.map(|joined| joined.finish(false)))
    }

    /// Folds the processes that have ended: returns their totals as a store keeps them. Live ones
    /// are left out.
    ///
    /// The totals have the exact sums of floats, which [`write_series`](super::store::write_series)
    /// writes. Sketches are as small as their objectives allow. Those of a window, and of summaries
    /// without objectives, are dropped: in the totals, nothing would ever leave a window.
    pub fn fold(mut self, conflict: impl FnMut(Error)) -> Snapshot {
        self.families.retain(|(_, index)| index.is_none());
        let families = self.joined(conflict);
        snapshot(families.map(|joined| {
            let mut family = joined.finish(true);
            shrink(&mut family);
            family
        }))
    }

    /// Joins the families of all processes, and sorts them by name.
    fn joined(&self, mut conflict: impl FnMut(Error)) -> impl Iterator<Item = Joined> {
        let families = self.families.iter().copied();
        // The family of the last process decides the kind.
        let kinds = families.clone().map(|(family, _)| (family.name(), family));
        let last: HashMap<&str, &Family> = kinds.collect();
        let mut is_of_kind = |(family, _): &(&'a Family, Option<u32>)| {
            let last = last[family.name()];
            let is_same = last.check_kind(family);
            let is_same = is_same.map_err(&mut conflict);
            is_same.is_ok()
        };
        let families: Vec<_> = families.filter(|family| is_of_kind(family)).collect();
        let groups = merge_by_name(families.into_iter(), |_| false, |e| conflict(e.why));
        groups.into_iter().map(|group| {
            let (first, index) = group.first;
            let mut joined = Joined::new(first, index);
            for (family, index) in group.rest {
                joined.add(family, index);
            }
            joined
        })
    }
}

fn snapshot(families: impl Iterator<Item = Family>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.begin_pass();
    snapshot.families.extend(families);
    snapshot.end_pass();
    snapshot
}

/// A family of several processes.
struct Joined {
    family: Family,
    rule: Rule,
    /// The exact sum of each series, if the family has sums of floats that only grow.
    sums: Vec<ExactSum>,
}

/// The way in which the series of another process are added.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// As by `Snapshot::merge`.
    Merge,
    /// Each live process has series of its own.
    Each,
}

impl Joined {
    /// Begins with the family of the first process.
    fn new(family: &Family, index: Option<u32>) -> Self {
        let rule = match (&family.values, family.meta.mode) {
            (Values::Gauge(_), GaugeMode::LiveAll) if !has_gauge_index(family) => Rule::Each,
            _ => Rule::Merge,
        };
        let mut joined = Self {
            family: match rule {
                Rule::Merge => family.clone(),
                Rule::Each => family.to_empty(),
            },
            rule,
            sums: Vec::new(),
        };
        if rule == Rule::Merge {
            if has_floats(family) {
                joined.sums = (0..family.len()).map(|i| exact_sum(family, i)).collect();
            }
        } else {
            joined.add(family, index);
        }
        joined
    }

    /// Adds the same family of another process.
    fn add(&mut self, family: &Family, index: Option<u32>) {
        match self.rule {
            Rule::Merge => {
                let exemplars = std::mem::take(&mut self.family.exemplars);
                let (mut places, has_exemplars) = (Vec::new(), !family.exemplars.is_empty());
                let mut note = |at, i| places.extend(has_exemplars.then_some((i, at)));
                if has_floats(&self.family) || has_floats(family) {
                    // Integers were counted before the first float.
                    for i in self.sums.len()..self.family.len() {
                        self.sums.push(exact_sum(&self.family, i));
                    }
                    let all = &mut self.sums;
                    self.family.add_each(family, |at, i| {
                        if at == all.len() {
                            all.push(ExactSum::default());
                        }
                        let theirs = exact_sum(family, i);
                        theirs.terms().for_each(|term| all[at].add(term));
                        note(at, i);
                    });
                } else {
                    self.family.add_each(family, note);
                }
                self.family.exemplars = latest_exemplars(exemplars, family, &places);
            }
            Rule::Each => self.add_number(family, index.unwrap_or(0)),
        }
    }

    /// Returns the family. Its sums, which were rounded with each process, become those that are
    /// rounded once. `is_exact`: it has the exact sums as well.
    fn finish(mut self, is_exact: bool) -> Family {
        if self.rule == Rule::Each {
            self.family.sort_series();
        }
        let sums = self.sums.iter().map(ExactSum::value).zip(0..);
        match &mut self.family.values {
            Values::Counter(Numbers::Float(all)) => {
                sums.for_each(|(sum, i): (_, usize)| all[i] = sum);
            }
            Values::Histogram(all) => sums.for_each(|(sum, i)| all.sums[i] = sum),
            Values::Summary(_, values) => sums.for_each(|(sum, i)| values[i].sum = sum),
            _ => {}
        }
        self.family.exact = if is_exact { self.sums } else { Vec::new() };
        self.family
    }

    /// Prepares for the series of a process whose constant labels may be others: those of the
    /// processes so far then become labels of their series. Returns the constant labels that have
    /// to become labels of the new series.
    fn separate_constants<'b>(&mut self, family: &'b Family) -> &'b str {
        let meta = &mut self.family.meta;
        meta.utf8 |= family.meta.utf8;
        if !meta.constant.is_empty() && meta.constant != family.meta.constant {
            self.family.inline_constant_labels();
        }
        match &*self.family.meta.constant {
            "" => &family.meta.constant,
            _ => "",
        }
    }

    /// Adds the series with the number of their process.
    fn add_number(&mut self, family: &Family, index: u32) {
        let (index, constant) = (index.to_string(), self.separate_constants(family));
        for i in 0..family.len() {
            let mut text = labels::joined(constant, family.texts.get(i));
            labels::push(&mut text, GAUGE_INDEX, &index);
            self.family.texts.push(&text, family.texts.created(i));
            self.family.values.push_from(&family.values, i);
        }
    }
}

/// Returns whether the family has floats that only grow.
fn has_floats(family: &Family) -> bool {
    match &family.values {
        Values::Counter(numbers) => matches!(numbers, Numbers::Float(_)),
        Values::Histogram(_) | Values::Summary(..) => true,
        Values::Gauge(_) | Values::PageSummary(_) => false,
    }
}

/// Returns the exact sum of a series.
fn exact_sum(family: &Family, i: usize) -> ExactSum {
    match family.exact.get(i) {
        Some(sum) if *sum != ExactSum::default() => sum.clone(),
        _ => ExactSum::of([match family.value(i) {
            Value::Counter(total) => total.as_f64(),
            Value::Histogram(value) => value.sum(),
            Value::Summary(value) => value.sum(),
            Value::Gauge(_) => 0.0,
        }]),
    }
}

/// Returns whether the family has that label already: then its values are added.
fn has_gauge_index(family: &Family) -> bool {
    let named = |text: &str| labels::parts(text).any(|(name, _)| name == GAUGE_INDEX);
    named(&family.meta.constant) || family.texts.iter().next().is_some_and(named)
}

/// Returns the exemplar of each bucket that was observed last: of `ours`, and of those of a family
/// whose series are at other `places` here.
fn latest_exemplars(
    mut ours: Vec<(u32, u32, Exemplar)>,
    theirs: &Family,
    places: &[(usize, usize)],
) -> Vec<(u32, u32, Exemplar)> {
    if theirs.exemplars.is_empty() {
        return ours;
    }
    for (i, at) in places {
        let theirs = theirs.exemplars_of(*i).iter();
        ours.extend(theirs.map(|(_, bucket, exemplar)| (*at as u32, *bucket, exemplar.clone())));
    }
    // Of those with the same time, the one that was added last stays.
    ours.reverse();
    ours.sort_by_key(|(at, bucket, exemplar)| (*at, *bucket, Reverse(exemplar.time)));
    ours.dedup_by_key(|(at, bucket, _)| (*at, *bucket));
    ours
}

/// Makes the sketches of a family that is stored as small as its objectives allow. Those of a
/// window are dropped: in the totals, nothing would ever leave it.
fn shrink(family: &mut Family) {
    let Values::Summary(objectives, values) = &mut family.values else {
        return;
    };
    let targets = &objectives.targets;
    let bound = (!targets.is_empty()).then(|| Bound::new(targets));
    let mut scratch = Scratch::new();
    for value in values {
        match &bound {
            Some(bound) if objectives.max_age.is_none() => {
                value.sketch.compress(bound, &mut scratch)
            }
            _ => value.sketch = Sketch::new(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{Counter, Gauge, Histogram, Info, Registry, UpDownCounter};

    use super::*;

    /// A process with a counter and a gauge of each mode, at `value`, set after those before it.
    fn process(value: f64) -> Snapshot {
        let registry = Registry::new();
        registry.set_self_metrics(false);
        Counter::builder("jobs_total", "")
            .register(&registry)
            .unwrap()
            .add(value as u64);
        for (mode, name) in GaugeMode::NAMES {
            let gauge = Gauge::builder(name, "")
                .mode(mode)
                .register(&registry)
                .unwrap();
            gauge.set(value);
        }
        let in_flight = UpDownCounter::builder("in_flight", "")
            .register(&registry)
            .unwrap();
        in_flight.inc();
        let info = Info::builder("build_info", "").labels(["version"]);
        info.register(&registry).unwrap().set(["1"]);
        registry.snapshot()
    }

    fn merger<'a>(processes: &[(&'a Snapshot, Option<u32>)]) -> Merger<'a> {
        let mut merger = Merger::new();
        for (snapshot, index) in processes {
            merger.push(*index, *snapshot);
        }
        merger
    }

    fn merged(processes: &[(&Snapshot, Option<u32>)]) -> Snapshot {
        merger(processes).page(|error| panic!("{error}"))
    }

    /// The newest process came first, and 10 before 2.
    #[test]
    fn gauges_of_several_processes_are_in_the_order_of_their_numbers() {
        let one = process(2.0);
        let newest_first: Vec<_> = (0..12).rev().map(|index| (&one, Some(index))).collect();
        let page = merged(&newest_first);
        let series = page.family("live_all").unwrap().series();
        let numbers: Vec<_> = series
            .map(|(labels, _)| labels.get(GAUGE_INDEX).unwrap().parse::<u32>().unwrap())
            .collect();
        assert_eq!(numbers, (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn gauges_are_merged_by_their_mode() {
        let (two, five, dead) = (process(2.0), process(5.0), process(9.0));
        let all = merged(&[(&five, Some(0)), (&two, Some(1)), (&dead, None)]);
        let of = |name| all.get(name, &[]).unwrap();
        assert_eq!(of("jobs_total"), 16.0);
        assert_eq!(of("live_sum"), 7.0);
        assert_eq!(of("live_min"), 2.0);
        assert_eq!(of("live_max"), 5.0);
        assert_eq!(of("live_recent"), 5.0);
        assert_eq!(of("sum"), 16.0);
        assert_eq!(of("min"), 2.0);
        assert_eq!(of("max"), 9.0);
        assert_eq!(of("recent"), 9.0);
        assert_eq!(of("in_flight"), 2.0);
        assert_eq!(all.get("live_all", &[("gauge_index", "0")]), Some(5.0));
        assert_eq!(all.get("live_all", &[("gauge_index", "1")]), Some(2.0));
        assert_eq!(all.family("live_all").unwrap().len(), 2);
        assert_eq!(all.get("build_info", &[("version", "1")]), Some(1.0));
    }

    /// The first process lost its constant labels, or the others got them.
    #[test]
    fn gauges_keep_the_constant_labels_of_their_process() {
        let process = |zone: &str, value: f64| {
            let registry = Registry::new();
            registry.set_self_metrics(false);
            if !zone.is_empty() {
                registry.add_constant("zone", zone).unwrap();
            }
            for mode in [GaugeMode::LiveAll, GaugeMode::LiveRecent, GaugeMode::Recent] {
                let gauge = Gauge::builder(mode.as_str(), "").labels(["queue"]);
                let gauge = gauge.mode(mode).register(&registry).unwrap();
                gauge.with(["mail"]).set(value);
            }
            registry.snapshot()
        };
        let (a, b, c, none) = (
            process("a", 1.0),
            process("b", 2.0),
            process("a", 3.0),
            process("", 4.0),
        );
        let mut totals = process("b", 9.0);
        totals
            .families
            .iter_mut()
            .for_each(crate::share::store::inline);
        let live = [
            (&a, "a", 1.0),
            (&b, "b", 2.0),
            (&c, "a", 3.0),
            (&none, "", 4.0),
        ];
        for first in 0..live.len() {
            let mut live = live;
            live.rotate_left(first);
            let processes = live.iter().zip(0..);
            let mut processes: Vec<_> = processes.map(|((one, ..), n)| (*one, Some(n))).collect();
            processes.push((&totals, None));
            let page = merged(&processes);
            let get = |name: &str, zone, index: &str| {
                page.get(
                    name,
                    &[("zone", zone), ("queue", "mail"), (GAUGE_INDEX, index)],
                )
            };
            for ((_, zone, value), n) in live.iter().zip(0..) {
                assert_eq!(
                    get("live_all", zone, &format!("{n}")),
                    Some(*value),
                    "{page:?}"
                );
            }
            for (zone, live, any) in [("a", 3.0, 3.0), ("b", 2.0, 9.0), ("", 4.0, 4.0)] {
                assert_eq!(get("live_recent", zone, ""), Some(live), "{page:?}");
                assert_eq!(get("recent", zone, ""), Some(any), "{page:?}");
            }
            let lens =
                ["live_all", "live_recent", "recent"].map(|name| page.family(name).unwrap().len());
            assert_eq!(lens, [4, 3, 3], "{page:?}");
        }
    }

    #[test]
    fn folding_keeps_what_outlives_a_process() {
        let [one, two, five] = [1.0, 2.0, 5.0].map(process);
        let folded = merged(&[(&two, None), (&five, None)]);
        let names: Vec<_> = folded.families().map(Family::name).collect();
        assert_eq!(names, ["jobs_total", "max", "min", "recent", "sum"]);
        let again = merged(&[(&one, Some(3)), (&folded, None)]);
        assert_eq!(again.get("jobs_total", &[]), Some(8.0));
        assert_eq!(again.get("recent", &[]), Some(5.0));
        assert_eq!(again.get("min", &[]), Some(1.0));
        assert_eq!(again.get("live_sum", &[]), Some(1.0));
    }

    #[test]
    fn what_does_not_fit_the_first_process_is_left_out() {
        let registry = |bounds: &'static [f64]| {
            let registry = Registry::new();
            registry.set_self_metrics(false);
            let latency = Histogram::builder("latency_seconds", "").buckets(bounds);
            latency.register(&registry).unwrap().observe(1.0);
            registry.counter("jobs_total", "").unwrap().inc();
            registry.snapshot()
        };
        let (new, old) = (registry(&[1.0, 2.0]), registry(&[1.0]));
        let mut errors = Vec::new();
        let all = merger(&[(&new, Some(0)), (&old, Some(1))]);
        let all = all.page(|error| errors.push(error.to_string()));
        assert_eq!(all.get("latency_seconds_count", &[]), Some(1.0));
        assert_eq!(all.get("jobs_total", &[]), Some(2.0));
        assert_eq!(errors.len(), 1, "{errors:?}");
    }

    /// The first of these processes is folded into the totals. With rounded additions, that lowered
    /// the sum in its last bit.
    #[test]
    fn a_fold_changes_no_sum() {
        let process = |seconds: f64| {
            let registry = Registry::new();
            let busy = Counter::builder("busy_seconds_total", "").float();
            busy.register(&registry).unwrap().add(seconds);
            let latency = Histogram::builder("latency_seconds", "").register(&registry);
            latency.unwrap().observe(seconds);
            registry.snapshot()
        };
        let all = [0.1, 0.2, 0.3, 1e-9, 7e9, 0.7].map(process);
        let values = |page: &Snapshot| {
            ["busy_seconds_total", "latency_seconds_sum"].map(|name| page.get(name, &[]).unwrap())
        };
        let mut folded = Snapshot::default();
        let mut pages = Vec::new();
        for next in 0..=all.len() {
            let live = all[next..].iter().map(|snapshot| (snapshot, Some(0)));
            let processes: Vec<_> = live.chain([(&folded, None)]).collect();
            pages.push(values(&merged(&processes)));
            if let Some(dead) = all.get(next) {
                folded = merger(&[(dead, None), (&folded, None)]).fold(|error| panic!("{error}"));
            }
        }
        assert!(pages.iter().all(|page| *page == pages[0]), "{pages:?}");
    }

    #[test]
    fn a_program_does_not_displace_another_by_its_name() {
        let (gauge, counter) = (Registry::new(), Registry::new());
        gauge.gauge("jobs_total", "").unwrap().set(7.0);
        counter.counter("jobs_total", "").unwrap().add(5);
        let (new, old) = (gauge.snapshot(), counter.snapshot());
        for totals in [Some(1), None] {
            let mut errors = Vec::new();
            let all = merger(&[(&new, Some(0)), (&old, totals)]);
            let all = all.page(|error| errors.push(error.to_string()));
            assert_eq!(all.get("jobs_total", &[]), Some(5.0));
            assert_eq!(errors.len(), 1, "{errors:?}");
        }
    }

    #[test]
    fn integers_and_floats_of_one_counter_add_up() {
        let (int, float) = (Registry::new(), Registry::new());
        int.counter("jobs_total", "").unwrap().add(5);
        let jobs = Counter::builder("jobs_total", "").float();
        jobs.register(&float).unwrap().add(0.5);
        let (int, float) = (int.snapshot(), float.snapshot());
        for (one, other) in [(&int, &float), (&float, &int)] {
            let all = merged(&[(one, Some(0)), (other, Some(1)), (one, None)]);
            let first = one.get("jobs_total", &[]).unwrap();
            assert_eq!(all.get("jobs_total", &[]), Some(5.5 + first));
        }
    }
}
