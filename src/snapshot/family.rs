//! One family of a snapshot: its description and its series.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Text;
use super::exact::ExactSum;
use super::exemplar::Exemplar;
use super::gauge_mode::GaugeMode;
use super::labels::{self, Pairs, Parts};
use super::removed::RemovedList;
use super::texts::LabelTexts;
use super::values::{Value, Values};

/// The kind of a metric family.
///
/// ```
/// assert_eq!(tallies::snapshot::Kind::StateSet.to_string(), "state set");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
// Stores have these numbers: new kinds come last.
pub enum Kind {
    /// A total that only grows.
    Counter,
    /// A value that can be set, or go up and down.
    Gauge,
    /// Counts of observations per bucket, and the sum of the observations.
    Histogram,
    /// Quantiles of observations within a rank error, and the sum of the observations.
    Summary,
    /// Labels that describe the program; the value is 1.
    Info,
    /// One of several states. The current state has the value 1, the others have 0.
    StateSet,
    /// Counts per bucket of the values that exist now, and their sum. Comes from a
    /// [`Collect`](crate::collect::Collect), or from a page that was read.
    GaugeHistogram,
    /// A metric without a type, from a page that was read.
    Unknown,
}

impl Kind {
    /// Returns the family's name without the suffix that OpenMetrics adds to the samples only.
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

    /// Returns the name of the label that each format adds to samples of this kind; empty if there
    /// is none.
    pub(crate) fn reserved_label(self) -> &'static str {
        match self {
            Self::Histogram | Self::GaugeHistogram => "le",
            Self::Summary => "quantile",
            _ => "",
        }
    }

    /// Returns the name of the kind with its indefinite article.
    pub(crate) fn with_article(self) -> impl std::fmt::Display {
        format!("{} {self}", if self == Self::Info { "an" } else { "a" })
    }

    /// Returns the name of the kind in the Prometheus text format, which has fewer kinds.
    ///
    /// ```
    /// use tallies::snapshot::Kind;
    ///
    /// assert_eq!(Kind::Summary.as_text(), "summary");
    /// assert_eq!(Kind::Info.as_text(), "gauge");
    /// ```
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

    /// The suffixes that a family's samples can have after its [`stem`](Self::stem), in any format.
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

impl GaugeMode {
    /// All modes, with their names in stores and configuration files.
    pub const NAMES: [(Self, &'static str); 9] = [
        (Self::LiveSum, "live_sum"),
        (Self::LiveMin, "live_min"),
        (Self::LiveMax, "live_max"),
        (Self::LiveRecent, "live_recent"),
        (Self::LiveAll, "live_all"),
        (Self::Sum, "sum"),
        (Self::Min, "min"),
        (Self::Max, "max"),
        (Self::Recent, "recent"),
    ];

    /// The mode of a family of this kind for which the user has not chosen one. Up-down counters
    /// are gauges whose declaration chooses `LiveSum`.
    pub(crate) const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Info => Self::LiveMax,
            Kind::StateSet => Self::LiveRecent,
            _ => Self::LiveAll,
        }
    }

    /// Returns the name, such as `live_sum`.
    ///
    /// ```
    /// assert_eq!(tallies::snapshot::GaugeMode::LiveSum.as_str(), "live_sum");
    /// ```
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(mode, _)| *mode == self);
        found.map_or("", |(_, name)| name)
    }

    /// Returns the mode of this name.
    ///
    /// ```
    /// use tallies::snapshot::GaugeMode;
    ///
    /// assert_eq!(GaugeMode::from_name("max"), Some(GaugeMode::Max));
    /// assert_eq!(GaugeMode::from_name("largest"), None);
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(mode, _)| *mode)
    }

    /// Returns whether only live processes count.
    pub(crate) fn is_live(self) -> bool {
        !matches!(self, Self::Sum | Self::Min | Self::Max | Self::Recent)
    }

    /// Returns whether the time of the last `set` decides.
    pub(crate) fn is_recent(self) -> bool {
        matches!(self, Self::LiveRecent | Self::Recent)
    }
}

/// The description of a family, common to all of its series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Meta {
    pub(crate) name: Text,
    pub(crate) help: Text,
    pub(crate) unit: Text,
    pub(crate) kind: Kind,
    /// How values of several processes are combined, for a gauge and what is shown like one.
    pub(crate) mode: GaugeMode,
    /// How long a store shows a live gauge whose process sends nothing; `None` for its default.
    pub(crate) shared_ttl: Option<Duration>,
    /// Whether the metric name and the label names may be outside the legacy character set; see
    /// [`Escaping`](super::Escaping).
    pub(crate) utf8: bool,
    /// The escaped text of the labels that all series share: the constant labels of the registry
    /// and of the family.
    pub(crate) constant: Text,
}

/// One family of a [`Snapshot`](super::Snapshot): its description and its series.
///
/// ```
/// let registry = tallies::Registry::new();
/// registry.counter("jobs_total", "Jobs done.")?.add(3);
/// let snapshot = registry.snapshot();
/// let family = snapshot.family("jobs_total").unwrap();
/// assert_eq!((family.help(), family.unit(), family.len()), ("Jobs done.", "", 1));
/// assert_eq!(family.kind(), tallies::snapshot::Kind::Counter);
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Family {
    pub(crate) meta: Meta,
    pub(crate) texts: LabelTexts,
    pub(crate) values: Values,
    /// The index of the series, the index of the bucket (0 for a counter), and the exemplar. Sorted
    /// by both indices; usually empty.
    pub(crate) exemplars: Vec<(u32, u32, Exemplar)>,
    /// The series that were removed, as far as they are known: a page and a store do not have them.
    pub(crate) removed: RemovedList,
    /// The exact sums of the series whose value is a rounded sum of several floats, as a fold
    /// leaves them. Usually empty. Arithmetic outside [`share`](crate::share) clears them.
    pub(crate) exact: Vec<ExactSum>,
}

impl Family {
    pub(crate) fn new(meta: Meta, values: Values) -> Self {
        Self {
            meta,
            texts: LabelTexts::default(),
            values,
            exemplars: Vec::new(),
            removed: RemovedList::default(),
            exact: Vec::new(),
        }
    }

    /// Returns the family without its series.
    /// Prefetches what a scrape writes into this family.
    pub(crate) fn prefetch(&self) {
        self.texts.prefetch();
        self.values.prefetch();
    }

    pub(crate) fn to_empty(&self) -> Self {
        Self::new(self.meta.clone(), self.values.to_empty())
    }

    /// Prepares for writing the values and exemplars of `series` series again. The caller rewrites
    /// the label texts; see [`LabelTexts::rewrite`].
    pub(crate) fn begin(&mut self, series: usize) {
        self.values.restart(series);
        self.exemplars.clear();
        self.removed = RemovedList::default();
        self.exact.clear();
    }

    tallies_names::getters! {
        /// Returns the name, as registered.
        fn name(&self) -> &str = &self.meta.name;

        /// Returns the help text.
        fn help(&self) -> &str = &self.meta.help;

        /// Returns the unit, or an empty string.
        fn unit(&self) -> &str = &self.meta.unit;

        /// Returns the kind of metric.
        fn kind(&self) -> Kind = self.meta.kind;

        /// Returns the number of series.
        fn len(&self) -> usize = self.values.len();

        /// Returns whether the family has no series yet.
        fn is_empty(&self) -> bool = self.len() == 0;

        /// Returns the escaped text of the constant labels, which all series have.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// registry.add_constant("host", "a")?;
        /// registry.counter("jobs_total", "Jobs done.")?;
        /// let now = registry.snapshot();
        /// assert_eq!(now.family("jobs_total").unwrap().constant_text(), "host=\"a\"");
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn constant_text(&self) -> &str = &self.meta.constant;

        /// Returns how long a store shows a live gauge of a process that sends nothing more, if the
        /// declaration says so.
        ///
        /// ```
        /// use std::time::Duration;
        ///
        /// let registry = tallies::Registry::new();
        /// let queue = tallies::Gauge::builder("queue_length", "Jobs that wait.");
        /// queue.shared_ttl(Duration::from_secs(5)).register(&registry)?;
        /// let snapshot = registry.snapshot();
        /// let family = snapshot.family("queue_length").unwrap();
        /// assert_eq!(family.shared_ttl(), Some(Duration::from_secs(5)));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn shared_ttl(&self) -> Option<Duration> = self.meta.shared_ttl;
    }

    /// Iterates over the labels and the value of every series.
    ///
    /// ```
    /// use tallies::snapshot::{Number, Value};
    ///
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?.add(3);
    /// let snapshot = registry.snapshot();
    /// let family = snapshot.family("jobs_total").unwrap();
    /// for (labels, value) in family.series() {
    ///     assert_eq!(labels.iter().count(), 0);
    ///     assert_eq!(value, Value::Counter(Number::Int(3)));
    /// }
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn series(&self) -> impl Iterator<Item = (SeriesLabels<'_>, Value<'_>)> {
        let labels = self.texts.all_cut().map(|cut| self.labels_of(cut));
        labels.zip((0..).map(|i| self.value(i)))
    }

    /// Returns the labels of series `i`, the constant ones first. [`series`](Self::series) is
    /// faster for all of them.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = tallies::Counter::builder("jobs_total", "Jobs done.")
    ///     .labels(["queue"])
    ///     .register(&registry)?;
    /// jobs.with(["mail"]).inc();
    /// let snapshot = registry.snapshot();
    /// let labels = snapshot.family("jobs_total").unwrap().labels(0);
    /// assert_eq!(labels.get("queue").as_deref(), Some("mail"));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if there is no series `i`.
    #[must_use]
    pub fn labels(&self, i: usize) -> SeriesLabels<'_> {
        self.labels_of(self.texts.get_cut(i))
    }

    /// Returns the value of series `i`.
    ///
    /// ```
    /// use tallies::snapshot::{Number, Value};
    ///
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?.add(3);
    /// let snapshot = registry.snapshot();
    /// let jobs = snapshot.family("jobs_total").unwrap();
    /// assert_eq!(jobs.value(0), Value::Counter(Number::Int(3)));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if there is no series `i`.
    #[must_use]
    pub fn value(&self, i: usize) -> Value<'_> {
        self.values.get(i)
    }

    /// Returns the family with only these of its series.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?.add(3);
    /// let snapshot = registry.snapshot();
    /// let jobs = snapshot.family("jobs_total").unwrap();
    /// assert_eq!((jobs.part(0..1).len(), jobs.part(1..1).len()), (1, 0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if there is no such series.
    #[must_use]
    pub fn part(&self, series: Range<usize>) -> Self {
        let mut part = self.to_empty();
        series.for_each(|i| part.push_from(self, i));
        part
    }

    /// Returns the escaped text of the labels of series `i`, as pages have it, without the constant
    /// labels.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = tallies::Counter::builder("jobs_total", "Jobs done.")
    ///     .labels(["queue"])
    ///     .register(&registry)?;
    /// jobs.with(["mail"]).inc();
    /// assert_eq!(registry.snapshot().family("jobs_total").unwrap().label_text(0), "queue=\"mail\"");
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if there is no series `i`.
    #[must_use]
    pub fn label_text(&self, i: usize) -> &str {
        self.texts.get(i)
    }

    /// Returns whether the family is a gauge with values that can be added up: an up-down counter,
    /// or a gauge with the mode [`LiveSum`](GaugeMode::LiveSum) or [`Sum`](GaugeMode::Sum).
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// tallies::UpDownCounter::builder("jobs_waiting", "Jobs in queues.").register(&registry)?;
    /// registry.gauge("room_celsius", "Temperature of the room.")?;
    /// let snapshot = registry.snapshot();
    /// assert!(snapshot.family("jobs_waiting").unwrap().adds_up());
    /// assert!(!snapshot.family("room_celsius").unwrap().adds_up());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let is_sum = matches!(self.meta.mode, GaugeMode::LiveSum | GaugeMode::Sum);
        self.meta.kind == Kind::Gauge && is_sum
    }

    /// Returns whether only live processes have values of this family. The totals of all other
    /// families outlive their process.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.gauge("queue_length", "Jobs that wait.")?;
    /// registry.counter("jobs_total", "Jobs done.")?;
    /// let snapshot = registry.snapshot();
    /// assert!(snapshot.family("queue_length").unwrap().is_live_only());
    /// assert!(!snapshot.family("jobs_total").unwrap().is_live_only());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn is_live_only(&self) -> bool {
        match self.meta.kind {
            Kind::Gauge | Kind::Info | Kind::StateSet | Kind::Unknown => self.meta.mode.is_live(),
            Kind::GaugeHistogram => true,
            Kind::Counter | Kind::Histogram | Kind::Summary => false,
        }
    }

    fn labels_of<'a>(&'a self, (own, cuts): (&'a str, &'a [u8])) -> SeriesLabels<'a> {
        let common = &self.meta.constant;
        SeriesLabels { common, own, cuts }
    }

    /// Returns the time since when series `i` counts, if it is known, to the millisecond.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?.add(3);
    /// let snapshot = registry.snapshot();
    /// let family = snapshot.family("jobs_total").unwrap();
    /// assert!(family.created(0).unwrap() <= snapshot.taken());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// This is the time at which the series was created or last cleared. In an interval, it is the
    /// time of the earlier snapshot if that is later.
    ///
    /// # Panics
    ///
    /// Panics if there is no series `i`.
    #[must_use]
    pub fn created(&self, i: usize) -> Option<SystemTime> {
        let known = Some(self.texts.created(i)).filter(|millis| *millis > 0);
        known.map(|millis| UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// Returns whether a bucket holds negative values. The sum of such a histogram can go down.
    pub(crate) fn has_negative_bounds(&self) -> bool {
        match &self.values {
            Values::Histogram(all) => all.bounds.first().is_some_and(|first| *first < 0.0),
            _ => false,
        }
    }

    /// Iterates over the exemplars of series `i`, each with the index of its bucket. The index is 0
    /// for a counter.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?.add(3);
    /// let snapshot = registry.snapshot();
    /// let family = snapshot.family("jobs_total").unwrap();
    /// assert_eq!(family.exemplars(0).count(), 0);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn exemplars(&self, i: usize) -> impl Iterator<Item = (usize, &Exemplar)> {
        let all = self.exemplars_of(i).iter();
        all.map(|(_, bucket, exemplar)| (*bucket as usize, exemplar))
    }

    pub(crate) fn exemplars_of(&self, i: usize) -> &[(u32, u32, Exemplar)] {
        let all = &self.exemplars[..];
        if all.is_empty() {
            return all;
        }
        let from = all.partition_point(|(series, ..)| (*series as usize) < i);
        let rest = &all[from..];
        &rest[..rest.partition_point(|(series, ..)| *series as usize == i)]
    }

    /// Appends series `i` of `other`, which has the same shape.
    pub(crate) fn push_from(&mut self, other: &Self, i: usize) {
        let at = self.len() as u32;
        let theirs = other.exemplars_of(i).iter();
        self.exemplars
            .extend(theirs.map(|(_, bucket, exemplar)| (at, *bucket, exemplar.clone())));
        self.texts.push(other.texts.get(i), other.texts.created(i));
        self.values.push_from(&other.values, i);
        if let Some(sum) = other.exact.get(i) {
            self.exact.resize(at as usize, ExactSum::default());
            self.exact.push(sum.clone());
        }
    }

    /// Sorts the series of a family by their labels, and those that differ in the number of their
    /// process by that number, so that their order does not depend on that of the processes.
    pub(crate) fn sort_series(&mut self) {
        /// The number without leading zeros is the last label. One that is longer is larger.
        fn key(text: &str) -> (&str, usize, &str) {
            let last = text.rsplit_once("gauge_index=\"");
            let (rest, number) = last.unwrap_or((text, ""));
            (rest, number.len(), number)
        }
        if self.texts.iter().map(key).is_sorted() {
            return;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|one, other| key(self.texts.get(*one)).cmp(&key(self.texts.get(*other))));
        let mut sorted = self.to_empty();
        order.iter().for_each(|i| sorted.push_from(self, *i));
        *self = sorted;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.texts.bytes() + self.values.bytes()
    }
}

/// The labels of one series, constant labels first.
///
/// ```
/// let registry = tallies::Registry::new();
/// let jobs = tallies::Counter::builder("jobs_total", "Jobs done.")
///     .labels(["queue"])
///     .register(&registry)?;
/// jobs.with(["mail"]).inc();
/// let snapshot = registry.snapshot();
/// let (labels, _) = snapshot.family("jobs_total").unwrap().series().next().unwrap();
/// assert_eq!(labels.get("queue").as_deref(), Some("mail"));
/// assert_eq!(labels.get("host"), None);
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct SeriesLabels<'a> {
    common: &'a str,
    own: &'a str,
    /// The [cuts](super::texts::LabelEntry::cuts) of `own`, or empty.
    cuts: &'a [u8],
}

impl<'a> SeriesLabels<'a> {
    /// Returns the labels of a [label text](Family::label_text). A text that no family has yields
    /// some of its labels or none.
    ///
    /// ```
    /// use tallies::snapshot::SeriesLabels;
    ///
    /// let labels = SeriesLabels::of_text(r#"queue="mail",path="C:\\a""#);
    /// assert_eq!(labels.get("path").as_deref(), Some(r"C:\a"));
    /// ```
    #[must_use]
    pub fn of_text(text: &'a str) -> Self {
        Self {
            common: "",
            own: text,
            cuts: &[],
        }
    }

    /// Iterates over the names and unescaped values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        labels::pairs(self.common).chain(Pairs(Parts::new(self.own, self.cuts)))
    }

    /// Returns the unescaped value of one label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.iter()
            .find_map(|(own, value)| (own == name).then_some(value))
    }

    /// Returns whether this is an overflow series, which counts what belongs to no other series.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let jobs = tallies::Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    /// let jobs = jobs.limit(1).register(&registry)?;
    /// jobs.with(["mail"]).inc();
    /// jobs.with(["print"]).inc();
    /// let snapshot = registry.snapshot();
    /// let series = snapshot.family("jobs_total").unwrap().series();
    /// assert_eq!(series.filter(|(labels, _)| labels.is_overflow()).count(), 1);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        let own = Parts::new(self.own, self.cuts);
        let mut parts = own.chain(labels::parts(self.common));
        parts.any(|(_, value)| value == labels::OVERFLOW)
    }

    /// Returns whether these are the given labels, in any order. The constant labels may be left
    /// out of `given`. A label with an empty value counts as absent.
    pub(super) fn matches(&self, given: &[(&str, &str)]) -> bool {
        let is_given = |(name, value): (&str, Cow<'_, str>)| {
            value.is_empty() || given.contains(&(name, &*value))
        };
        let has = |(name, value): &(&str, &str)| {
            value.is_empty() || self.get(name).is_some_and(|own| own == *value)
        };
        labels::pairs(self.own).all(is_given) && given.iter().all(has)
    }
}

impl fmt::Debug for SeriesLabels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
