//! The descriptions of metrics and views as data.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;

use tallies::{Error, View};
use tallies_names::setters;

use super::create::Part;
use super::document::Place;

/// Metrics and views as data: what a configuration file says.
///
/// ```
/// use tallies::{Registry, View};
/// use tallies_config::{Config, Configure, MetricConfig, MetricKind};
///
/// let mut config = Config::default();
/// config.views.push(View::new("*_length").rename("my_*_length"));
/// config.metrics.push(MetricConfig::new("queue_length", "Jobs waiting.", MetricKind::Gauge));
/// let registry = Registry::new();
/// let metrics = registry.configure(config)?;
/// metrics.with("queue_length", &[])?.set(4.0)?; // its name in the configuration
/// assert_eq!(registry.snapshot().get("my_queue_length", &[]), Some(4.0));
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// The views, in the order in which they hold.
    pub views: Vec<View>,
    /// The metrics.
    pub metrics: Vec<MetricConfig>,
}

/// A metric as data: what a configuration file says about it.
///
/// ```
/// use tallies_config::{Configure, MetricConfig, MetricKind};
///
/// let registry = tallies::Registry::new();
/// let metrics = registry.create_metrics([
///     MetricConfig::new("queue_length", "Jobs waiting.", MetricKind::Gauge).labels(["queue"]),
///     MetricConfig::new("job_seconds", "Time per job.", MetricKind::Histogram).set("buckets", [0.1, 1.0]),
///     MetricConfig::new("pump", "What the pump does.", MetricKind::Enum).set("states", ["off", "running"]),
/// ])?;
/// metrics.with("queue_length", &[("queue", "mail")])?.set(4.0)?;
/// metrics.with("job_seconds", &[])?.observe(0.25)?;
/// metrics.with("pump", &[])?.state("running")?;
/// assert_eq!(registry.snapshot().get("queue_length", &[("queue", "mail")]), Some(4.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The settings in `config` are those of the table. Others are ignored; the first time, a warning
/// is logged.
///
/// | key | kinds | value | default |
/// |---|---|---|---|
/// | `states` | `enum` | texts, at least one; the first is the state at the start | |
/// | `buckets` | `histogram` | ascending bounds; `+Inf` is added | 14 bounds from 0.005 to 10 |
/// | `native` | `histogram` | the schema of exponential buckets in addition, -4 to 8 | none |
/// | `objectives` | `summary` | pairs of a quantile and its rank error | as for [`Summary`](tallies::Summary) |
/// | `max_age` | `summary` | seconds that the quantiles look back | none |
/// | `unit` | all but `enum` and `info` | a text, in which the name ends | none |
/// | `limit` | all but `enum` and `info` | the most series | [`DEFAULT_LIMIT`](tallies::label::DEFAULT_LIMIT) |
/// | `expire_after` | all but `enum` and `info` | seconds after which an unchanged series is removed | none |
///
/// The default bounds are .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5 and 10. They
/// contain [`buckets::DEFAULT`](tallies::buckets::DEFAULT).
#[must_use = "a metric is created by `create_metrics`"]
#[derive(Clone, Debug, PartialEq)]
pub struct MetricConfig {
    /// The name of the metric.
    pub name: String,
    /// The help text.
    pub description: String,
    /// The kind.
    pub kind: MetricKind,
    /// The label names. Their order does not matter.
    pub labels: Vec<String>,
    /// The settings of this kind, by key.
    pub config: BTreeMap<String, Setting>,
    /// Where a file has the parts of this metric. Empty for a metric from code.
    pub(super) places: BTreeMap<Part, Place>,
}

impl MetricConfig {
    /// Describes a metric without labels and settings. Nothing is checked before
    /// [`Configure::create_metrics`](crate::Configure::create_metrics).
    ///
    /// ```
    /// use tallies_config::{MetricConfig, MetricKind};
    ///
    /// let config = MetricConfig::new("jobs_total", "Jobs done.", MetricKind::Counter);
    /// assert_eq!(config.kind, MetricKind::Counter);
    /// ```
    pub fn new(name: &str, description: &str, kind: MetricKind) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            kind,
            labels: Vec::new(),
            config: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    setters! {
        /// Adds label names.
        ///
        /// ```
        /// use tallies_config::{MetricConfig, MetricKind};
        ///
        /// let config = MetricConfig::new("jobs_total", "Jobs done.", MetricKind::Counter);
        /// assert_eq!(config.labels(["queue"]).labels, ["queue"]);
        /// ```
        fn labels(self, names: impl IntoIterator<Item = impl Into<String>>) =
            self.labels.extend(names.into_iter().map(Into::into));

        /// Sets a setting. The [type](Self) has a table of them.
        ///
        /// ```
        /// use tallies_config::{MetricConfig, MetricKind, Setting};
        ///
        /// let config = MetricConfig::new("pump", "The pump.", MetricKind::Enum);
        /// let config = config.set("states", ["off", "on"]);
        /// assert_eq!(config.config["states"], Setting::from(["off", "on"]));
        /// ```
        fn set(self, key: &str, value: impl Into<Setting>) =
            self.config.insert(key.to_owned(), value.into());
    }
}

/// The kind of a metric that is created from data. Files name it in small letters.
///
/// ```
/// use tallies_config::MetricKind;
///
/// let kind: MetricKind = "histogram".parse()?;
/// assert_eq!(kind, MetricKind::Histogram);
/// let error = "meter".parse::<MetricKind>().unwrap_err();
/// assert!(error.to_string().starts_with("Invalid type `meter`: must be one of counter, enum"));
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A total that only grows. Its exported name ends in `_total`.
    Counter,
    /// The current one of several states.
    Enum,
    /// A value that is set.
    Gauge,
    /// A distribution, in buckets.
    Histogram,
    /// Labels that describe something. Its exported name ends in `_info`.
    Info,
    /// A distribution, as quantiles.
    Summary,
}

impl MetricKind {
    /// All kinds, in the order of their names.
    const ALL: [(Self, &'static str); 6] = [
        (Self::Counter, "counter"),
        (Self::Enum, "enum"),
        (Self::Gauge, "gauge"),
        (Self::Histogram, "histogram"),
        (Self::Info, "info"),
        (Self::Summary, "summary"),
    ];

    /// Returns the kind of this name.
    ///
    /// # Errors
    ///
    /// The error text: `what`, and the names of all kinds.
    pub(super) fn named(name: &str, what: impl fmt::Display) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|(_, known)| *known == name);
        named.map(|(kind, _)| kind).ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join(", ");
            format!("Invalid type {what}: must be one of {names}")
        })
    }

    /// Returns the name of the kind in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl FromStr for MetricKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let what = format!("`{}`", name.escape_debug());
        Self::named(name, what).map_err(Error::new)
    }
}

impl Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The value of a setting in a [`MetricConfig`].
///
/// ```
/// use tallies_config::Setting;
///
/// assert_eq!(Setting::from(2.5), Setting::Number(2.5));
/// assert_eq!(Setting::from([0.5, 1.0]).to_string(), "[0.5, 1]");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Setting {
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Setting>),
}

impl Setting {
    /// Returns the list that this is.
    pub(super) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// Returns the text that this is.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// Returns the number that this is.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the whole number in this range that this is.
    pub(super) fn whole(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let number = self.number()?;
        (number.fract() == 0.0 && range.contains(&number)).then_some(number)
    }

    /// Returns the number that this is, or infinity for the text that Prometheus writes as the
    /// bound of the last bucket.
    pub(super) fn bound(&self) -> Option<f64> {
        match self {
            Self::Text(text) if text == "+Inf" || text == "inf" => Some(f64::INFINITY),
            other => other.number(),
        }
    }
}

impl From<bool> for Setting {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<f64> for Setting {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Setting {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Setting {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Setting {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>, const N: usize> From<[T; N]> for Setting {
    fn from(list: [T; N]) -> Self {
        Vec::from(list).into()
    }
}

impl<T: Into<Self> + Clone> From<&[T]> for Setting {
    fn from(list: &[T]) -> Self {
        list.to_vec().into()
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "`{}`", text.escape_debug()),
            Self::List(list) => {
                let values: Vec<_> = list.iter().map(Self::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
        }
    }
}
