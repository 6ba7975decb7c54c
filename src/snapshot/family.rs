//! One family of a snapshot: what it is called and means, and its series.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Text;
use super::exemplar::Exemplar;
use super::labels::{self, Texts};
use super::values::{Value, Values};

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
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
    /// Counts per bucket of what is there now, and its sum: of a [`Collect`](crate::Collect), or of a page that was
    /// [read](crate::encode::read).
    GaugeHistogram,
    /// Not said: of a page that was [read](crate::encode::read).
    Unknown,
}

impl Kind {
    /// The name of a family without the suffix that OpenMetrics has at its samples only.
    pub(crate) fn stem(self, name: &str) -> &str {
        let suffix = match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            _ => "",
        };
        match name.strip_suffix(suffix) {
            Some(stem) if !stem.is_empty() => stem,
            _ => name,
        }
    }

    /// The name of the kind in the Prometheus text format, which has fewer of them.
    #[must_use]
    pub fn as_text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info | Self::StateSet => "gauge",
            Self::Histogram | Self::GaugeHistogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "untyped",
        }
    }

    /// What the samples of a family may end in behind its [`stem`](Self::stem), in one format or another.
    pub(crate) fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Gauge | Self::StateSet | Self::Unknown => &[""],
            Self::Info => &["", "_info"],
            Self::Summary => &["", "_count", "_sum", "_created"],
            Self::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
            Self::GaugeHistogram => &["", "_bucket", "_gcount", "_gsum", "_count", "_sum"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::StateSet => "state set",
            Self::GaugeHistogram => "gauge histogram",
            Self::Unknown => "metric of no type",
            other => other.as_text(),
        })
    }
}

/// What becomes of two processes' values of one gauge when their snapshots are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
pub(crate) struct Meta {
    pub(crate) name: Text,
    pub(crate) help: Text,
    pub(crate) unit: Text,
    pub(crate) kind: Kind,
    pub(crate) merge: GaugeMerge,
    /// Whether its name and those of its labels may be outside the old character set.
    pub(crate) utf8: bool,
    /// The escaped text of the labels that all series have: the registry's and the family's constant ones.
    pub(crate) constant: String,
}

/// One family of a [`Snapshot`](super::Snapshot).
#[derive(Clone, Debug)]
pub struct Family {
    pub(crate) meta: Meta,
    pub(crate) texts: Texts,
    pub(crate) values: Values,
    /// Each with the place of its series and of its bucket, which is 0 for a counter; in their order, mostly none.
    pub(crate) exemplars: Vec<(u32, u32, Exemplar)>,
    /// Who wrote it, and which edition of its series: while both stay, the texts do.
    pub(crate) source: (u64, u64),
}

impl Family {
    pub(crate) fn new(meta: Meta, values: Values) -> Self {
        Self {
            meta,
            texts: Texts::default(),
            values,
            exemplars: Vec::new(),
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
        self.exemplars.clear();
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
        self.values.len()
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
        self.values.get(i)
    }

    /// Since when series `i` counts, where that is known: when it was made, or cleared. To the millisecond.
    #[must_use]
    pub fn created(&self, i: usize) -> Option<SystemTime> {
        match self.texts.created(i) {
            0 => None,
            millis => Some(UNIX_EPOCH + Duration::from_millis(millis)),
        }
    }

    /// Whether a bucket is for negative values: then the sum of a histogram can go down.
    pub(crate) fn has_negative_bounds(&self) -> bool {
        matches!(&self.values, Values::Histogram { bounds, .. } if bounds.first().is_some_and(|first| *first < 0.0))
    }

    /// The exemplars of series `i`, each with the place of its bucket, which is 0 for a counter.
    pub fn exemplars(&self, i: usize) -> impl Iterator<Item = (usize, &Exemplar)> {
        self.exemplars_of(i)
            .iter()
            .map(|(_, bucket, exemplar)| (*bucket as usize, exemplar))
    }

    pub(crate) fn exemplars_of(&self, i: usize) -> &[(u32, u32, Exemplar)] {
        if self.exemplars.is_empty() {
            return &[];
        }
        let from = self
            .exemplars
            .partition_point(|(series, ..)| (*series as usize) < i);
        let rest = &self.exemplars[from..];
        &rest[..rest.partition_point(|(series, ..)| *series as usize == i)]
    }

    /// Appends series `i` of `other`, which has the same shape.
    pub(super) fn push_from(&mut self, other: &Self, i: usize) {
        let at = self.len() as u32;
        let theirs = other.exemplars_of(i).iter();
        self.exemplars
            .extend(theirs.map(|(_, bucket, exemplar)| (at, *bucket, exemplar.clone())));
        self.texts.push(other.texts.get(i), other.texts.created(i));
        self.values.push(other.value(i));
    }

    pub(super) fn bytes(&self) -> usize {
        self.texts.bytes() + self.values.bytes()
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
    pub(super) fn are(&self, given: &[(&str, &str)]) -> bool {
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
