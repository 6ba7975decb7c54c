//! Every family's merged value at one time, as plain data: where the writing and the reading half meet.
//!
//! A [`Snapshot`] is a value. Two of them subtract to an interval ([`Snapshot::since`]: any number of readers, each
//! with its own earlier snapshot, nothing is reset), and those of several processes add up ([`Snapshot::merge`]).

mod arithmetic;
pub(crate) mod labels;
mod number;
pub mod sketch;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use labels::Texts;
pub use number::Number;
pub(crate) use number::Numbers;

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Kind {
    /// A total that only grows.
    Counter,
    /// A value that is set, or goes up and down.
    Gauge,
    /// Counts of observations per bucket, and their sum.
    Histogram,
    /// Quantiles of observations, within a rank error, and their sum.
    Summary,
    /// Labels that say what the program is; the value is 1.
    Info,
    /// One state of several; its value is 1, the others' 0.
    StateSet,
}

impl Kind {
    /// The name of the kind in the Prometheus text format, which has fewer of them.
    #[must_use]
    pub fn as_text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info | Self::StateSet => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::StateSet => "state set",
            other => other.as_text(),
        })
    }
}

/// What becomes of two processes' values of one gauge when their snapshots are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum GaugeMerge {
    /// They add up: queue lengths, open connections.
    #[default]
    Sum,
    /// The smallest one.
    Min,
    /// The largest one.
    Max,
    /// That of the snapshot merged last.
    Last,
}

/// What a family is called and means: the same for all of its series.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub(crate) struct Meta {
    pub(crate) name: Cow<'static, str>,
    pub(crate) help: Cow<'static, str>,
    pub(crate) unit: Cow<'static, str>,
    pub(crate) kind: Kind,
    pub(crate) merge: GaugeMerge,
    /// The escaped text of the labels that all series have: the registry's and the family's constant ones.
    pub(crate) constant: String,
}

#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
pub(crate) enum Values {
    Counter(Numbers),
    /// Also of info and state sets.
    Gauge(Vec<f64>),
    Histogram {
        bounds: Arc<[f64]>,
        /// Per series one count per bound and one for `+Inf`; not cumulative.
        counts: Vec<u64>,
        sums: Vec<f64>,
    },
    Summary {
        /// The quantiles that are exported.
        targets: sketch::Targets,
        /// Whether this is what was observed between two snapshots: then there are no quantiles.
        interval: bool,
        values: Vec<Quantiles>,
    },
}

/// What one series of a summary observed.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Quantiles {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) sketch: sketch::Sketch,
}

impl Quantiles {
    /// The number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the same observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The quantile `phi`, and by what part of the ranks it may be wrong: at an objective at most what that promises.
    /// `None` before the first observation, outside 0 to 1, and for a summary without objectives.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let s = tallies::Summary::<()>::builder("s", "A summary.").register(&registry)?;
    /// (1..=100).for_each(|i| s.observe(f64::from(i)));
    /// assert_eq!(s.total().quantile(0.0), Some((1.0, 0.0)));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn quantile(&self, phi: f64) -> Option<(f64, f64)> {
        let (value, ranks) = self.sketch.quantile(phi)?;
        Some((value, ranks as f64 / self.sketch.n().max(1) as f64))
    }
}

impl Values {
    /// The same shape without values.
    fn emptied(&self) -> Self {
        let mut empty = self.clone();
        empty.clear();
        empty
    }

    fn clear(&mut self) {
        match self {
            Self::Counter(values) => values.clear(),
            Self::Gauge(values) => values.clear(),
            Self::Histogram { counts, sums, .. } => {
                counts.clear();
                sums.clear();
            }
            Self::Summary { values, .. } => values.clear(),
        }
    }
}

/// One family of a [`Snapshot`].
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Family {
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub(crate) meta: Meta,
    pub(crate) texts: Texts,
    pub(crate) values: Values,
    /// Who wrote it, and which edition of its series: while both stay, the texts do.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) source: (u64, u64),
}

/// One value of a family, as [`Family::series`] gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Of a counter.
    Counter(Number),
    /// Of a gauge, an info (1), or one state of a state set (0 or 1).
    Gauge(f64),
    /// Of a histogram.
    Histogram(Histogram<'a>),
    /// Of a summary.
    Summary(Summary<'a>),
}

/// What one series of a summary observed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary<'a> {
    values: &'a Quantiles,
    targets: &'a [(f64, f64)],
    interval: bool,
}

impl<'a> Summary<'a> {
    /// The number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.values.count
    }

    /// The sum of the same observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.values.sum
    }

    /// The quantiles that are exported: each with its value, NaN before the first observation. None of an interval.
    pub fn exported(&self) -> impl Iterator<Item = (f64, f64)> + 'a {
        let (values, interval) = (self.values, self.interval);
        let mut targets: Vec<_> = self.targets.iter().map(|(phi, _)| *phi).collect();
        targets.sort_unstable_by(f64::total_cmp);
        targets
            .into_iter()
            .filter(move |_| !interval)
            .map(move |phi| {
                (
                    phi,
                    values.quantile(phi).map_or(f64::NAN, |(value, _)| value),
                )
            })
    }

    /// The quantile `phi`, and by what part of the ranks it may be wrong; `None` before the first observation.
    ///
    /// # Errors
    ///
    /// Of an interval: what two snapshots have between them cannot be told from their sketches; use a window.
    pub fn quantile(&self, phi: f64) -> Result<Option<(f64, f64)>, crate::Error> {
        if self.interval {
            return Err(crate::error::Error::interval());
        }
        Ok(self.values.quantile(phi))
    }
}

/// What one series of a histogram observed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histogram<'a> {
    bounds: &'a [f64],
    counts: &'a [u64],
    sum: f64,
}

impl<'a> Histogram<'a> {
    /// The number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// The sum of the same observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The upper bounds, and how many observations were at most each: cumulative, `+Inf` last.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + 'a {
        let mut total = 0_u64;
        self.bounds
            .iter()
            .copied()
            .chain([f64::INFINITY])
            .zip(self.counts)
            .map(move |(bound, count)| {
                total = total.wrapping_add(*count);
                (bound, total)
            })
    }
}

impl Family {
    pub(crate) fn new(meta: Meta, values: Values) -> Self {
        Self {
            meta,
            texts: Texts::default(),
            values,
            source: (0, 0),
        }
    }

    /// Begins to write the values anew. The texts of the same source and edition stay and need not be copied again.
    pub(crate) fn begin(&mut self, source: (u64, u64)) {
        if self.source != source {
            self.texts.truncate(0);
            self.source = source;
        }
        self.values.clear();
    }

    /// The name, as registered.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.meta.name
    }

    /// The help text.
    #[must_use]
    pub fn help(&self) -> &str {
        &self.meta.help
    }

    /// The unit, or nothing.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.meta.unit
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.meta.kind
    }

    /// The number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Counter(values) => values.len(),
            Values::Gauge(values) => values.len(),
            Values::Histogram { sums, .. } => sums.len(),
            Values::Summary { values, .. } => values.len(),
        }
    }

    /// Whether it has no series yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every series: its labels and its value.
    pub fn series(&self) -> impl Iterator<Item = (SeriesLabels<'_>, Value<'_>)> {
        (0..self.len()).map(|i| (self.labels(i), self.value(i)))
    }

    pub(crate) fn labels(&self, i: usize) -> SeriesLabels<'_> {
        SeriesLabels {
            constant: &self.meta.constant,
            own: self.texts.get(i),
        }
    }

    pub(crate) fn value(&self, i: usize) -> Value<'_> {
        match &self.values {
            Values::Counter(values) => Value::Counter(values.get(i)),
            Values::Gauge(values) => Value::Gauge(values[i]),
            Values::Histogram {
                bounds,
                counts,
                sums,
            } => {
                let n = bounds.len() + 1;
                Value::Histogram(Histogram {
                    bounds,
                    counts: &counts[i * n..][..n],
                    sum: sums[i],
                })
            }
            Values::Summary {
                targets,
                interval,
                values,
            } => Value::Summary(Summary {
                values: &values[i],
                targets: targets.as_slice(),
                interval: *interval,
            }),
        }
    }

    /// Appends series `i` of `other`, which has the same shape.
    fn push_from(&mut self, other: &Self, i: usize) {
        self.texts.push(other.texts.get(i));
        match (&mut self.values, other.value(i)) {
            (Values::Counter(values), Value::Counter(value)) => values.push(value),
            (Values::Gauge(values), Value::Gauge(value)) => values.push(value),
            (Values::Histogram { counts, sums, .. }, Value::Histogram(value)) => {
                counts.extend_from_slice(value.counts);
                sums.push(value.sum);
            }
            (Values::Summary { values, .. }, Value::Summary(value)) => {
                values.push(value.values.clone());
            }
            _ => debug_assert!(false, "families of different kinds"),
        }
    }

    fn bytes(&self) -> usize {
        self.texts.bytes()
            + match &self.values {
                Values::Counter(values) => values.bytes(),
                Values::Gauge(values) => 8 * values.capacity(),
                Values::Histogram { counts, sums, .. } => 8 * (counts.capacity() + sums.capacity()),
                Values::Summary { values, .. } => values
                    .iter()
                    .map(|value| 48 + 16 * value.sketch.tuples().len())
                    .sum(),
            }
    }
}

/// The labels of one series, constant ones first.
#[derive(Clone, Copy)]
pub struct SeriesLabels<'a> {
    constant: &'a str,
    own: &'a str,
}

impl<'a> SeriesLabels<'a> {
    /// Names and values, unescaped.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        labels::pairs(self.constant).chain(labels::pairs(self.own))
    }

    /// The value of one label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    /// Whether these are the given labels, in any order; constant ones may be left out. An empty value is no label.
    fn are(&self, given: &[(&str, &str)]) -> bool {
        let wanted = |name: &str, value: &str| given.contains(&(name, value));
        let all = |text| {
            labels::pairs(text)
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| wanted(name, &value))
        };
        let own = all(self.own).filter(|hit| *hit).count();
        let constant = all(self.constant).filter(|hit| *hit).count();
        let given = given.iter().filter(|(_, value)| !value.is_empty()).count();
        all(self.own).all(|hit| hit) && own + constant == given
    }
}

impl fmt::Debug for SeriesLabels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// What gives a snapshot: a registry. The reading half knows no more of it.
pub trait Source: Send + Sync {
    /// Takes a snapshot into one that was taken before, or an empty one.
    fn snapshot_into(&self, snapshot: &mut Snapshot);
}

/// Every family's merged value at one time.
///
/// What it promises about updates made while it was taken is on the crate's front page.
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
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Snapshot {
    pub(crate) families: Vec<Family>,
    pub(crate) taken: SystemTime,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            families: Vec::new(),
            taken: SystemTime::UNIX_EPOCH,
        }
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
    /// `_bucket` with its `le`.
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
            let (_, value) = family.series().find(|(have, _)| have.are(labels))?;
            return match value {
                Value::Counter(n) => Some(n.as_f64()),
                Value::Gauge(x) => Some(x),
                Value::Histogram(_) | Value::Summary(_) => None,
            };
        }
        let (base, part) = name.rsplit_once('_')?;
        let le = labels.iter().find(|(name, _)| *name == "le");
        let labels: Vec<_> = labels
            .iter()
            .filter(|(name, _)| part != "bucket" || *name != "le")
            .copied()
            .collect();
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
                let le = match le?.1 {
                    "+Inf" => f64::INFINITY,
                    number => number.parse().ok()?,
                };
                value
                    .buckets()
                    .find(|(bound, _)| *bound == le)
                    .map(|(_, count)| count as f64)
            }
            _ => None,
        }
    }

    /// Bytes held by it, for the self-metrics.
    pub(crate) fn bytes(&self) -> usize {
        self.families.iter().map(Family::bytes).sum()
    }

    /// The place of the family `name` for writing: made where there is none, kept where it has the same meaning. Calls
    /// come in the order of names; families that are passed over are dropped.
    pub(crate) fn place(
        &mut self,
        at: usize,
        meta: &Meta,
        values: impl FnOnce() -> Values,
    ) -> &mut Family {
        while at < self.families.len() && *self.families[at].meta.name < *meta.name {
            self.families.remove(at);
        }
        let values = values();
        let kept = self
            .families
            .get(at)
            .is_some_and(|family| family.meta == *meta && family.values.same_shape(&values));
        if !kept {
            if self
                .families
                .get(at)
                .is_some_and(|family| family.meta.name == meta.name)
            {
                self.families.remove(at);
            }
            self.families.insert(at, Family::new(meta.clone(), values));
        }
        &mut self.families[at]
    }
}
