//! Every family's merged value at one time, as plain data: where the writing and the reading half meet.
//!
//! A [`Snapshot`] is a value. Two of them subtract to an interval ([`Snapshot::since`]: any number of readers, each
//! with its own earlier snapshot, nothing is reset), and those of several processes add up ([`Snapshot::merge`]).

mod arithmetic;
mod clash;
mod exemplar;
mod family;
#[cfg(any(feature = "tower", feature = "push"))]
mod gathered;
pub(crate) mod labels;
mod names;
pub(crate) mod native;
mod number;
#[cfg(feature = "serde")]
mod serialize;
pub mod sketch;
pub(crate) mod stems;
mod text;
mod values;

use std::time::SystemTime;

pub(crate) use arithmetic::sum_since;
pub(crate) use clash::{Exposed, clash, clashing};
pub use exemplar::Exemplar;
pub(crate) use family::Meta;
pub use family::{Family, GaugeMerge, Kind, SeriesLabels};
#[cfg(any(feature = "tower", feature = "push"))]
pub(crate) use gathered::Gathered;
pub use names::Escaping;
pub(crate) use names::{is_label_name, is_metric_name};
pub use native::{Estimate, Native};
pub(crate) use native::{Natives, Resolution};
pub use number::Number;
pub(crate) use number::Numbers;
pub(crate) use text::Text;
pub use values::{Histogram, Quantiles, Summary, Value};
pub(crate) use values::{Values, Written};

/// What gives a snapshot: a registry. The reading half knows no more of it.
pub trait Source: Send + Sync {
    /// Takes a snapshot into one that was taken before, or an empty one.
    fn snapshot_into(&self, snapshot: &mut Snapshot);
}

/// Milliseconds since the epoch of Unix, which is what every format counts time from.
pub(crate) fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Every family's merged value at one time.
///
/// What it promises about updates made while it was taken is on the crate's front page. With the feature `serde` it can be
/// serialized: families by name, and of each series its labels, its value and, where it is known, since when it counts.
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
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) families: Vec<Family>,
    pub(crate) taken: SystemTime,
}

/// The number that a label of this name has, and the other labels.
fn take<'a>(name: &str, labels: &[(&'a str, &'a str)]) -> (Option<f64>, Vec<(&'a str, &'a str)>) {
    let (taken, others): (Vec<_>, _) = labels.iter().partition(|(label, _)| *label == name);
    // Numbers of the formats, `+Inf` among them.
    let number = taken.first().and_then(|(_, number)| number.parse().ok());
    (number, others)
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            families: Vec::new(),
            taken: SystemTime::UNIX_EPOCH,
        }
    }
}

impl<'a> IntoIterator for &'a Snapshot {
    type Item = &'a Family;
    type IntoIter = std::slice::Iter<'a, Family>;

    /// The families, in the order of their names.
    fn into_iter(self) -> Self::IntoIter {
        self.families.iter()
    }
}

impl Snapshot {
    /// The families, in the order of their names.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.families.iter()
    }

    /// The family of this name.
    ///
    /// ```
    /// let snapshot = tallies::snapshot();
    /// assert!(snapshot.family("no_such_name").is_none());
    /// ```
    #[must_use]
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name() == name)
    }

    /// When it was taken.
    #[must_use]
    pub fn taken(&self) -> SystemTime {
        self.taken
    }

    /// One number, as a query would name it: a counter or a gauge by its name, a histogram by `_count`, `_sum`, or
    /// `_bucket` with its `le`, a summary by `_count`, `_sum`, or its name with a `quantile` that is exported.
    ///
    /// Labels may stand in any order, constant ones may be left out. `None` where there is no such series.
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
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        if let Some(family) = self.family(name) {
            let (quantile, labels) = match family.kind() {
                Kind::Summary => take("quantile", labels),
                _ => (None, labels.to_vec()),
            };
            let (_, value) = family.series().find(|(have, _)| have.are(&labels))?;
            return match value {
                Value::Counter(n) => Some(n.as_f64()),
                Value::Gauge(x) => Some(x),
                Value::Summary(summary) => {
                    let mut exported = summary.exported();
                    let found = exported.find(|(phi, _)| Some(*phi) == quantile);
                    found.map(|(_, value)| value)
                }
                Value::Histogram(_) => None,
            };
        }
        let (base, part) = name.rsplit_once('_')?;
        let (le, labels) = match part {
            "bucket" => take("le", labels),
            _ => (None, labels.to_vec()),
        };
        let family = self.family(base)?;
        let (_, value) = family.series().find(|(have, _)| have.are(&labels))?;
        let value = match value {
            Value::Histogram(value) => value,
            Value::Summary(value) if part == "count" => return Some(value.count() as f64),
            Value::Summary(value) if part == "sum" => return Some(value.sum()),
            _ => return None,
        };
        match part {
            "count" => Some(value.count() as f64),
            "sum" => Some(value.sum()),
            "bucket" => {
                let mut buckets = value.buckets();
                let found = buckets.find(|(bound, _)| Some(*bound) == le);
                found.map(|(_, count)| count as f64)
            }
            _ => None,
        }
    }

    /// A quantile of one histogram or summary, and between which values it lies for certain: of a histogram the bounds of the
    /// bucket that it is in. Labels as for [`get`](Self::get). `None` where there is no such series, before its first
    /// observation, and for summaries of intervals or of a page that was read, where no sketch is behind them.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let latency = tallies::Histogram::<()>::builder("latency_seconds", "Time to answer.")
    ///     .native(5)
    ///     .register(&registry)?;
    /// (101..=1100).for_each(|i| latency.observe(f64::from(i) / 1000.0));
    /// let found = registry.snapshot().quantile("latency_seconds", &[], 0.99).unwrap();
    /// assert!(found.lower <= 1.09 && 1.09 <= found.upper);
    /// assert!(found.upper / found.lower < 1.022);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn quantile(&self, name: &str, labels: &[(&str, &str)], phi: f64) -> Option<Estimate> {
        let family = self.family(name)?;
        let (_, value) = family.series().find(|(have, _)| have.are(labels))?;
        match value {
            Value::Histogram(histogram) => histogram.quantile(phi),
            Value::Summary(summary) => summary.estimate(phi),
            _ => None,
        }
    }

    /// Series of summaries whose errors may be more than promised, for the self-metrics.
    pub(crate) fn degraded(&self) -> usize {
        self.families
            .iter()
            .map(|family| family.values.degraded())
            .sum()
    }

    /// Bytes held by it, for the self-metrics.
    pub(crate) fn bytes(&self) -> usize {
        self.families.iter().map(Family::bytes).sum()
    }

    /// The place of a family for writing: made like `empty` where there is none, kept where it has the same meaning.
    /// Calls come in the order of names; families that are passed over are dropped.
    pub(crate) fn place(&mut self, at: usize, empty: &Family) -> &mut Family {
        while at < self.families.len() && *self.families[at].meta.name < *empty.meta.name {
            self.families.remove(at);
        }
        let there = self.families.get(at);
        let kept = there.is_some_and(|family| {
            family.meta == empty.meta && family.values.same_shape(&empty.values)
        });
        if !kept {
            if there.is_some_and(|family| family.meta.name == empty.meta.name) {
                self.families.remove(at);
            }
            self.families.insert(at, empty.clone());
        }
        &mut self.families[at]
    }
}
