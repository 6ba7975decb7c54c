//! Merges the snapshots of the writers of a store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::error::Error;
use crate::snapshot::clash_index::{ClashIndex, clash_on_page};
use crate::snapshot::{
    Family, GaugeMode, Kind, Meta, Numbers, Snapshot, Text, Values, exposed, labels,
};

use super::sums::Sums;
use crate::snapshot::ExactSum;

/// The label that tells the live writers of a gauge apart.
pub(crate) const GAUGE_INDEX: &str = "gauge_index";

/// A writer of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    /// Its counts. [`Entry::created`](crate::snapshot::Entry) of a gauge whose mode is one of
    /// the recent ones is the time of its last update.
    pub(crate) snapshot: &'a Snapshot,
    /// The number of a live writer, which no other live writer has. `None` for a writer that has
    /// ended, and for the totals of all that were folded.
    pub(crate) index: Option<u32>,
}

/// Merges the snapshots of all writers. Writers that come first decide the shape of a family, so
/// the newest should come first and what was folded last. A family of a later writer that cannot be
/// merged is left out, and the reason is passed to `conflict`.
///
/// Merging writers that have all ended is folding them: what only live writers have is left out.
///
/// Of families of different kinds, that of the last writer remains: a program that takes the name
/// of another one's metric does not displace it.
#[cfg(test)]
pub(crate) fn merge(writers: &[Writer<'_>], conflict: impl FnMut(Error)) -> Snapshot {
    let writers: Vec<_> = writers.iter().map(|writer| (*writer, None)).collect();
    merge_exact(&writers, conflict).0
}

/// The same. The sums of floats do not depend on the order of the writers, and folding some of them
/// does not change the sums. For that, the exact sums are returned, too, and what was folded comes
/// with those that its fold returned.
pub(crate) fn merge_exact(
    writers: &[(Writer<'_>, Option<&Sums>)],
    mut conflict: impl FnMut(Error),
) -> (Snapshot, Sums) {
    let mut merged = Snapshot::default();
    let mut kinds: HashMap<&str, &Family> = HashMap::new();
    for (writer, _) in writers.iter().rev() {
        for family in &writer.snapshot.families {
            if writer.index.is_some() || !is_live_only(&family.meta) {
                kinds.entry(family.name()).or_insert(family);
            }
        }
    }
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(kinds.len());
    let mut joined: Vec<Joined<'_>> = Vec::new();
    let mut all = writers
        .iter()
        .flat_map(|(writer, _)| &writer.snapshot.families);
    let mut index = ClashIndex::new(all.any(|family| family.meta.utf8));
    for (writer, sums) in writers {
        merged.taken = merged.taken.max(writer.snapshot.taken);
        for family in &writer.snapshot.families {
            if writer.index.is_none() && is_live_only(&family.meta) {
                continue;
            }
            let sums = sums.map_or(&[][..], |sums| sums.of(family.name()));
            let is_other =
                |first: &&&Family| first.meta.kind.as_text() != family.meta.kind.as_text();
            if let Some(first) = kinds.get(family.name()).filter(is_other) {
                if let Err(error) = first.check_mergeable(family) {
                    conflict(error);
                }
                continue;
            }
            match places.entry(family.name()) {
                Entry::Vacant(place) => {
                    if let Some(other) = index.clash(exposed(family), exposed) {
                        conflict(clash_on_page(family.name(), other.name()));
                        continue;
                    }
                    index.insert(exposed(family), family);
                    place.insert(joined.len());
                    joined.push(Joined::new(family, writer.index, sums));
                }
                Entry::Occupied(place) => {
                    let joined = &mut joined[*place.get()];
                    match joined.family.check_mergeable(family) {
                        Ok(()) => joined.add(family, writer.index, sums),
                        Err(error) => conflict(error),
                    }
                }
            }
        }
    }
    joined.sort_unstable_by(|one, other| one.family.name().cmp(other.family.name()));
    let mut sums = Sums::default();
    for mut joined in joined {
        joined.write_sums();
        if joined.rule == Rule::Each {
            sort_series(&mut joined.family);
        }
        sums.set(joined.family.name(), joined.sums);
        merged.families.push(joined.family);
    }
    (merged, sums)
}

/// Sorts the series of a family by their labels, and those that differ in the number of their
/// writer by that number, so that their order does not depend on that of the writers.
pub(crate) fn sort_series(family: &mut Family) {
    /// The number without leading zeros is the last label. One that is longer is larger.
    fn key(text: &str) -> (&str, usize, &str) {
        let last = text.rsplit_once("gauge_index=\"");
        let (rest, number) = last.unwrap_or((text, ""));
        (rest, number.len(), number)
    }
    if family.texts.iter().map(key).is_sorted() {
        return;
    }
    let mut order: Vec<usize> = (0..family.len()).collect();
    order.sort_by(|one, other| key(family.texts.get(*one)).cmp(&key(family.texts.get(*other))));
    let mut sorted = Family::new(family.meta.clone(), family.values.to_empty());
    order.iter().for_each(|i| sorted.push_from(family, *i));
    *family = sorted;
}

/// Returns whether only live writers have a value of such a family.
pub(super) fn is_live_only(meta: &Meta) -> bool {
    match meta.kind {
        Kind::Gauge | Kind::Info | Kind::StateSet | Kind::Unknown => meta.mode.is_live(),
        Kind::GaugeHistogram => true,
        Kind::Counter | Kind::Histogram | Kind::Summary => false,
    }
}

/// A family of several writers.
struct Joined<'a> {
    family: Family,
    /// The index of each series by its labels, for modes that need it.
    series: HashMap<&'a str, usize>,
    rule: Rule,
    /// The exact sum of each series, if the family has sums of floats that only grow.
    sums: Vec<ExactSum>,
}

/// The way in which the series of another writer are added.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// As by `Snapshot::merge`.
    Merge,
    /// Each live writer has series of its own.
    Each,
    /// The series that was updated last.
    Recent,
}

impl<'a> Joined<'a> {
    fn new(family: &'a Family, index: Option<u32>, sums: &[ExactSum]) -> Self {
        let rule = match (&family.values, family.meta.mode) {
            (Values::Gauge(_), GaugeMode::LiveAll) if !has_gauge_index(family) => Rule::Each,
            (Values::Gauge(_), mode) if mode.is_recent() => Rule::Recent,
            _ => Rule::Merge,
        };
        let mut joined = Self {
            family: match rule {
                Rule::Merge => family.clone(),
                Rule::Each | Rule::Recent => {
                    Family::new(family.meta.clone(), family.values.to_empty())
                }
            },
            series: HashMap::new(),
            rule,
            sums: Vec::new(),
        };
        if rule == Rule::Merge {
            if has_floats(family) {
                joined.sums = (0..family.len())
                    .map(|i| exact_sum(family, i, sums))
                    .collect();
            }
        } else {
            joined.add(family, index, sums);
        }
        joined
    }

    fn add(&mut self, family: &'a Family, index: Option<u32>, sums: &[ExactSum]) {
        match self.rule {
            Rule::Merge => {
                if !has_floats(&self.family) && !has_floats(family) {
                    return self.family.add(family);
                }
                // Integers were counted before the first float.
                for i in self.sums.len()..self.family.len() {
                    self.sums.push(exact_sum(&self.family, i, &[]));
                }
                let all = &mut self.sums;
                self.family.add_each(family, |at, i| {
                    if at == all.len() {
                        all.push(ExactSum::default());
                    }
                    let theirs = exact_sum(family, i, sums);
                    theirs.terms().for_each(|term| all[at].add(term));
                });
            }
            Rule::Each => self.add_number(family, index.unwrap_or(0)),
            Rule::Recent => self.add_recent(family),
        }
    }

    /// Replaces the sums, which were rounded with each writer, by those that are rounded once.
    fn write_sums(&mut self) {
        let sums = self.sums.iter().map(ExactSum::value).zip(0..);
        match &mut self.family.values {
            Values::Counter(Numbers::Float(all)) => {
                sums.for_each(|(sum, i): (_, usize)| all[i] = sum);
            }
            Values::Histogram { sums: all, .. } => sums.for_each(|(sum, i)| all[i] = sum),
            Values::Summary { values, .. } => sums.for_each(|(sum, i)| values[i].sum = sum),
            _ => {}
        }
    }

    /// Adds the series with the number of their writer.
    fn add_number(&mut self, family: &Family, index: u32) {
        let index = index.to_string();
        let Values::Gauge(values) = &family.values else {
            return;
        };
        // Constant labels of several writers can differ.
        let same = self.family.meta.constant == family.meta.constant;
        let mut text = String::new();
        for (i, value) in values.iter().enumerate() {
            text.clear();
            if !same {
                text.push_str(&family.meta.constant);
            }
            let own = family.texts.get(i);
            if !own.is_empty() && !text.is_empty() {
                text.push(',');
            }
            text.push_str(own);
            labels::push(&mut text, GAUGE_INDEX, &index);
            self.family.texts.push(&text, family.texts.created(i));
            if let Values::Gauge(all) = &mut self.family.values {
                all.push(*value);
            }
        }
        if !same {
            self.family.meta.constant.clear();
        }
    }

    /// Adds the series that were updated later than those of the same labels.
    fn add_recent(&mut self, family: &'a Family) {
        let Values::Gauge(theirs) = &family.values else {
            return;
        };
        for (i, value) in theirs.iter().enumerate() {
            let (text, set) = (family.texts.get(i), family.texts.created(i));
            let Values::Gauge(ours) = &mut self.family.values else {
                return;
            };
            match self.series.entry(text) {
                Entry::Vacant(entry) => {
                    entry.insert(ours.len());
                    ours.push(*value);
                    self.family.texts.push(text, set);
                }
                Entry::Occupied(entry) => {
                    let at = *entry.get();
                    if set > self.family.texts.created(at) {
                        ours[at] = *value;
                        self.family.texts.set_created(at, set);
                    }
                }
            }
        }
    }
}

/// Returns whether the family has floats that only grow.
pub(super) fn has_floats(family: &Family) -> bool {
    match &family.values {
        Values::Counter(numbers) => matches!(numbers, Numbers::Float(_)),
        Values::Histogram { .. } | Values::Summary { .. } => true,
        Values::Gauge(_) | Values::PageSummary(_) => false,
    }
}

/// Returns the exact sum of a series: the one that its fold returned, or its value.
fn exact_sum(family: &Family, i: usize, folded: &[ExactSum]) -> ExactSum {
    if let Some(sum) = folded.get(i).filter(|sum| **sum != ExactSum::default()) {
        return sum.clone();
    }
    let mut sum = ExactSum::default();
    sum.add(rounded_sum(family, i));
    sum
}

/// Returns the sum of a series as its family has it.
pub(super) fn rounded_sum(family: &Family, i: usize) -> f64 {
    match &family.values {
        Values::Counter(Numbers::Float(all)) => all[i],
        Values::Counter(Numbers::Int(all)) => all[i] as f64,
        Values::Histogram { sums, .. } => sums[i],
        Values::Summary { values, .. } => values[i].sum,
        Values::Gauge(_) | Values::PageSummary(_) => 0.0,
    }
}

/// Returns whether the family has that label already: then its values are added.
fn has_gauge_index(family: &Family) -> bool {
    let named = |text: &str| labels::parts(text).any(|(name, _)| name == GAUGE_INDEX);
    named(&family.meta.constant) || family.texts.iter().next().is_some_and(named)
}

/// Adds a gauge without labels to a snapshot, for what a store says of itself.
pub(crate) fn insert_gauge(
    into: &mut Snapshot,
    name: &'static str,
    help: &'static str,
    value: f64,
) {
    let meta = Meta {
        name: Text::Static(name),
        help: Text::Static(help),
        unit: Text::EMPTY,
        kind: Kind::Gauge,
        mode: GaugeMode::LiveMax,
        shared_ttl: None,
        utf8: false,
        constant: String::new(),
    };
    let mut family = Family::new(meta, Values::Gauge(vec![value]));
    family.texts.push("", 0);
    match into
        .families
        .binary_search_by(|other| other.name().cmp(name))
    {
        Ok(at) => into.families[at] = family,
        Err(at) => into.families.insert(at, family),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{Counter, Gauge, Histogram, Info, Registry, UpDownCounter};

    use super::*;

    /// A process with a counter and a gauge of each mode, at `value`.
    fn process(value: f64) -> Snapshot {
        let registry = Registry::new();
        registry.self_metrics(false);
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
        let mut snapshot = registry.snapshot();
        for family in &mut snapshot.families {
            for i in 0..family.len() {
                // A process with a larger value has set it later.
                family.texts.set_created(i, value as u64);
            }
        }
        snapshot
    }

    fn merged(writers: &[(&Snapshot, Option<u32>)]) -> Snapshot {
        let writers = writers.iter();
        let writers: Vec<_> = writers
            .map(|(snapshot, index)| Writer {
                snapshot,
                index: *index,
            })
            .collect();
        merge(&writers, |error| panic!("{error}"))
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

    #[test]
    fn folding_keeps_what_outlives_a_process() {
        let (two, five) = (process(2.0), process(5.0));
        let folded = merged(&[(&two, None), (&five, None)]);
        let names: Vec<_> = folded.families().map(Family::name).collect();
        assert_eq!(names, ["jobs_total", "max", "min", "recent", "sum"]);
        let again = merged(&[(&process(1.0), Some(3)), (&folded, None)]);
        assert_eq!(again.get("jobs_total", &[]), Some(8.0));
        assert_eq!(again.get("recent", &[]), Some(5.0));
        assert_eq!(again.get("min", &[]), Some(1.0));
        assert_eq!(again.get("live_sum", &[]), Some(1.0));
    }

    #[test]
    fn what_does_not_fit_the_first_writer_is_left_out() {
        let registry = |bounds: &'static [f64]| {
            let registry = Registry::new();
            registry.self_metrics(false);
            let latency = Histogram::builder("latency_seconds", "").buckets(bounds);
            latency.register(&registry).unwrap().observe(1.0);
            registry.counter("jobs_total", "").unwrap().inc();
            registry.snapshot()
        };
        let (new, old) = (registry(&[1.0, 2.0]), registry(&[1.0]));
        let mut errors = Vec::new();
        let writer = |snapshot, index| Writer { snapshot, index };
        let all = merge(&[writer(&new, Some(0)), writer(&old, Some(1))], |error| {
            errors.push(error.to_string());
        });
        assert_eq!(all.get("latency_seconds_count", &[]), Some(1.0));
        assert_eq!(all.get("jobs_total", &[]), Some(2.0));
        assert_eq!(errors.len(), 1, "{errors:?}");
    }

    /// The first of these writers is folded into the totals. With rounded additions, that lowered
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
        let (mut folded, mut sums) = (Snapshot::default(), Sums::default());
        let mut pages = Vec::new();
        for next in 0..=all.len() {
            let index = Some(0);
            let live = all[next..].iter();
            let live = live.map(|snapshot| (Writer { snapshot, index }, None));
            let totals = Writer {
                snapshot: &folded,
                index: None,
            };
            let writers: Vec<_> = live.chain([(totals, Some(&sums))]).collect();
            let (page, _) = merge_exact(&writers, |error| panic!("{error}"));
            pages.push(values(&page));
            if let Some(snapshot) = all.get(next) {
                let dead = Writer {
                    snapshot,
                    index: None,
                };
                let writers = [(dead, None), (totals, Some(&sums))];
                (folded, sums) = merge_exact(&writers, |error| panic!("{error}"));
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
        let writer = |snapshot, index| Writer { snapshot, index };
        for totals in [Some(1), None] {
            let mut errors = Vec::new();
            let all = merge(&[writer(&new, Some(0)), writer(&old, totals)], |error| {
                errors.push(error.to_string());
            });
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
