//! Merges the snapshots of the writers of a store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::error::Error;
use crate::snapshot::clash_index::ClashIndex;
use crate::snapshot::{Family, GaugeMode, Kind, Meta, Snapshot, Text, Values, exposed, labels};

/// The label that tells the live writers of a gauge apart.
pub(crate) const GAUGE_INDEX: &str = "gauge_index";

/// A writer of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    /// What it counts. [`Entry::created`](crate::snapshot::Entry) of a gauge whose mode is one of the recent
    /// ones is the time of its last update.
    pub(crate) snapshot: &'a Snapshot,
    /// The number of a live writer, which no other live writer has. `None` for a writer that has
    /// ended, and for the totals of all that were folded.
    pub(crate) index: Option<u32>,
}

/// Merges the snapshots of all writers. Writers that come first decide the shape of a family, so the
/// newest should come first and what was folded last. A family of a later writer that cannot be
/// merged is left out, and the reason is passed to `conflict`.
///
/// Merging writers that have all ended is folding them: what only live writers have is left out.
pub(crate) fn merge(writers: &[Writer<'_>], mut conflict: impl FnMut(Error)) -> Snapshot {
    let mut merged = Snapshot::default();
    let families = |writer: &Writer<'_>| writer.snapshot.families.len();
    let mut places: HashMap<&str, usize> =
        HashMap::with_capacity(writers.iter().map(families).max().unwrap_or(0));
    let mut joined: Vec<Joined<'_>> = Vec::new();
    let mut all = writers.iter().flat_map(|writer| &writer.snapshot.families);
    let mut index = ClashIndex::new(all.any(|family| family.meta.utf8));
    for writer in writers {
        merged.taken = merged.taken.max(writer.snapshot.taken);
        for family in &writer.snapshot.families {
            if writer.index.is_none() && is_live_only(&family.meta) {
                continue;
            }
            match places.entry(family.name()) {
                Entry::Vacant(place) => {
                    if let Some(other) = index.clash(exposed(family), exposed) {
                        conflict(Error::beside(family.name(), other.name()));
                        continue;
                    }
                    index.insert(exposed(family), family);
                    place.insert(joined.len());
                    joined.push(Joined::new(family, writer.index));
                }
                Entry::Occupied(place) => {
                    let joined = &mut joined[*place.get()];
                    match joined.family.check_mergeable(family) {
                        Ok(()) => joined.add(family, writer.index),
                        Err(error) => conflict(error),
                    }
                }
            }
        }
    }
    merged.families = joined.into_iter().map(|joined| joined.family).collect();
    merged
        .families
        .sort_unstable_by(|one, other| one.name().cmp(other.name()));
    merged
}

/// Returns whether only live writers have a value of such a family.
fn is_live_only(meta: &Meta) -> bool {
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
    fn new(family: &'a Family, index: Option<u32>) -> Self {
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
        };
        if rule != Rule::Merge {
            joined.add(family, index);
        }
        joined
    }

    fn add(&mut self, family: &'a Family, index: Option<u32>) {
        match self.rule {
            Rule::Merge => self.family.add(family),
            Rule::Each => self.add_each(family, index.unwrap_or(0)),
            Rule::Recent => self.add_recent(family),
        }
    }

    /// Adds the series with the number of their writer.
    fn add_each(&mut self, family: &Family, index: u32) {
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
}
