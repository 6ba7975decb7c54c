//! Collectors: user code that runs at scrape time, for the size of a pool, a total that is kept
//! elsewhere or the memory of the process.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use crate::error::{Error, ErrorKind, NameRule, SettingRule, Subject};
use crate::family::grammar::{check_label, check_name};
use crate::family::shape::check_bounds;
use crate::snapshot::{
    Family, GaugeMode, Histogram, Kind, Meta, Number, Text, Value, Values, labels,
};
use crate::sync::RandomState;

/// The families that a [`Collect`](crate::collect::Collect) writes.
///
/// ```
/// use tallies::{Registry, collect::Collected};
///
/// let registry = Registry::new();
/// registry.add_collector("memory", |out: &mut Collected| {
///     out.gauge("memory_used_bytes", "Memory in use.", &[], 3e6)?;
///     out.counter("page_faults_total", "Page faults.", &[], 17.0)?;
///     Ok(())
/// })?;
/// assert_eq!(registry.snapshot().get("page_faults_total", &[]), Some(17.0));
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Collected {
    /// In the order of their first series.
    pub(super) families: Vec<Family>,
    /// The index in `families` of each name.
    by_name: HashMap<Text, usize, RandomState>,
    /// Hashes of the label texts of all series, each with its family's index. Only if a hash
    /// repeats are the label texts compared.
    seen: HashSet<u64, RandomState>,
}

impl Collected {
    /// Writes one series of a gauge. The help text of the family is that of the first call.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.add_collector("disks", |out: &mut tallies::collect::Collected| {
    ///     for (disk, free) in [("sda", 3e9), ("sdb", 7e9)] {
    ///         out.gauge("disk_free_bytes", "Free space.", &[("disk", disk)], free)?;
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(registry.snapshot().get("disk_free_bytes", &[("disk", "sdb")]), Some(7e9));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if a name or label name is invalid, if the series was written before, or if
    /// another kind of metric has the name in this collector.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> Result<(), Error> {
        self.push(name, help, Kind::Gauge, labels, Value::Gauge(value))
    }

    /// Writes one series of a counter: a total that is kept elsewhere and only grows.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.add_collector("disks", |out: &mut tallies::collect::Collected| {
    ///     out.counter("disk_reads_total", "Reads.", &[("disk", "sda")], 12.0)?;
    ///     Ok(())
    /// })?;
    /// assert_eq!(registry.snapshot().get("disk_reads_total", &[("disk", "sda")]), Some(12.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`gauge`](Self::gauge), and a total that is negative or NaN.
    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        total: f64,
    ) -> Result<(), Error> {
        if total.is_nan() || total < 0.0 {
            return Err(ErrorKind::Update.error(format_args!(
                "counter `{name}` needs a total of 0 or more, got {total}"
            )));
        }
        let total = Value::Counter(Number::Float(total));
        self.push(name, help, Kind::Counter, labels, total)
    }

    /// Writes one series of a gauge histogram: the current distribution of something, such as the
    /// ages of waiting jobs.
    ///
    /// Its counts can go down as well as up. So `rate` makes no sense of it, but
    /// `histogram_quantile` does. OpenMetrics and protobuf have this kind; the text format exports
    /// it as `histogram`. Prometheus 2.42 with native histograms enabled loses the names of these
    /// samples. Newer versions do not.
    ///
    /// `counts` has one number for each bound, the number of values up to this bound and above the
    /// one before, and a last number for the values above all bounds. `sum` is the sum of all these
    /// values.
    ///
    /// # Errors
    ///
    /// As for [`gauge`](Self::gauge), and: bounds that do not ascend, are not finite, or differ
    /// from those of the family's first series; a wrong number of counts; a sum that is NaN.
    ///
    /// ```
    /// use tallies::{Registry, collect::Collected};
    ///
    /// const BOUNDS: [f64; 2] = [1.0, 60.0];
    /// let waiting = [0.2, 0.7, 90.0]; // seconds since each job was queued
    ///
    /// let registry = Registry::new();
    /// registry.add_collector("queue", move |out: &mut Collected| {
    ///     let mut counts = [0; BOUNDS.len() + 1];
    ///     for age in waiting {
    ///         counts[BOUNDS.partition_point(|bound| *bound < age)] += 1;
    ///     }
    ///     let sum = waiting.iter().sum();
    ///     let help = "Age of waiting jobs.";
    ///     out.gauge_histogram("queue_age_seconds", help, &[], &BOUNDS, &counts, sum)?;
    ///     Ok(())
    /// })?;
    /// let page = tallies::encode::open_metrics(&registry.snapshot());
    /// assert!(page.contains("# TYPE queue_age_seconds gaugehistogram\n"));
    /// assert!(page.contains("queue_age_seconds_bucket{le=\"60.0\"} 2\n"));
    /// assert!(page.contains("queue_age_seconds_gcount 3\n"));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn gauge_histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) -> Result<(), Error> {
        check_bounds(bounds).map_err(|rule| rule.error(name))?;
        if counts.len() != bounds.len() + 1 {
            let rule = SettingRule::Counts(bounds.len() + 1, counts.len());
            return Err(rule.error(name));
        }
        if sum.is_nan() {
            return Err(ErrorKind::Update.error(format_args!(
                "gauge histogram `{name}` needs a sum that is a number, got {sum}"
            )));
        }
        let known = self.by_name.get(name).map(|index| &self.families[*index]);
        match known.map(|family| &family.values) {
            Some(Values::Histogram(all)) if *all.bounds != *bounds => {
                return Err(Error::other(format_args!(
                    "buckets of family `{name}` have to be equal in all series, got {bounds:?} \
                     after {:?}",
                    all.bounds
                )));
            }
            _ => {}
        }
        let value = Value::Histogram(Histogram::new(bounds, counts, sum)?);
        self.push(name, help, Kind::GaugeHistogram, labels, value)
    }

    /// Appends a series to its family.
    fn push(
        &mut self,
        name: &str,
        help: &str,
        kind: Kind,
        labels: &[(&str, &str)],
        value: Value<'_>,
    ) -> Result<(), Error> {
        check_name(name.as_bytes()).map_err(|rule| rule.error(Subject::Collected, name))?;
        let bad_label = |label, rule: NameRule| rule.error(Subject::CollectedLabel(name), label);
        for (label, _) in labels {
            check_label(label.as_bytes(), kind).map_err(|rule| bad_label(label, rule))?;
        }
        let index = match self.by_name.get(name).copied() {
            Some(index) if self.families[index].kind() == kind => index,
            Some(index) => {
                let first = self.families[index].kind();
                return Err(Error::other(format_args!(
                    "family `{name}` was written as {} before in this scrape; {} needs another name",
                    first.with_article(),
                    kind.with_article()
                )));
            }
            None => {
                let meta = Meta::new(name, help, kind, GaugeMode::of(kind));
                let index = self.families.len();
                self.by_name.insert(meta.name.clone(), index);
                self.families.push(Family::new(meta, value.to_empty()));
                index
            }
        };
        let family = &mut self.families[index];
        let mut sorted = Vec::with_capacity(labels.len());
        for &(label, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            match sorted.binary_search_by_key(&label, |(other, _)| *other) {
                Ok(_) => return Err(bad_label(label, NameRule::Twice)),
                Err(at) => sorted.insert(at, (label, value)),
            }
        }
        let text = labels::text(&sorted);
        let hash = self.by_name.hasher().hash_one((index, &text));
        let is_new = self.seen.insert(hash);
        if !is_new && family.texts.iter().any(|other| other == text) {
            return Err(Error::other(format_args!(
                "series {{{text}}} of family `{name}` was written twice in this scrape; each label \
                 set is written once"
            )));
        }
        family.texts.push(&text, 0);
        family.values.push(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_histogram_says_what_is_wrong() {
        let mut out = Collected::default();
        let mut add = |labels: &[(&str, &str)], bounds: &[f64], counts: &[u64], sum| {
            let added = out.gauge_histogram("h", "", labels, bounds, counts, sum);
            added.map_err(|e| e.to_string())
        };
        add(&[("x", "1")], &[1.0, 2.0], &[1, 2, 3], 9.0).unwrap();
        for (labels, bounds, counts, sum, why) in [
            (
                [("x", "2")],
                &[1.0, 2.0][..],
                &[1, 2][..],
                9.0,
                "3 in all, got 2",
            ),
            ([("x", "2")], &[2.0, 1.0], &[1, 2, 3], 9.0, "have to ascend"),
            ([("x", "2")], &[], &[1], 9.0, "at least one finite bound"),
            (
                [("x", "2")],
                &[1.0],
                &[1, 2],
                9.0,
                "have to be equal in all series, got [1.0] after [1.0, 2.0]",
            ),
            (
                [("x", "2")],
                &[1.0, 2.0],
                &[1, 2, 3],
                f64::NAN,
                "needs a sum that is a number, got NaN",
            ),
            ([("x", "1")], &[1.0, 2.0], &[1, 2, 3], 9.0, "twice"),
            ([("le", "1")], &[1.0, 2.0], &[1, 2, 3], 9.0, "reserved"),
        ] {
            let error = add(&labels, bounds, counts, sum).unwrap_err();
            assert!(error.contains(why) && error.contains("`h`"), "{error}");
        }
        assert!(out.gauge("h", "", &[], 1.0).is_err());
    }
}
