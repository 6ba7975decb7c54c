//! Creating metrics from data: everything is checked before the first one is registered.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::panic::Location;
use std::time::Duration;

use crate::declare::{Builder, Counter, Gauge, Histogram, Metric, Summary};
use crate::error::{Error, NameRule};
use crate::family::desc::{Desc, Names};
use crate::family::grammar::{check_label, check_name};
use crate::family::label::{AnyLabels, DynLabels};
use crate::registry::Registry;
use crate::snapshot::{Kind, Text};

use super::config::{Config, MetricConfig, Setting};
use super::metric::{AnyMetric, Inner, MetricMap};
use super::states::Table;

/// The bounds of histograms without `buckets`. aioexporter has these.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The settings of metrics without states.
const COMMON: [&str; 3] = ["unit", "limit", "expire_after"];

/// The part of a configuration that an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Name,
    Kind,
    /// The label of this index.
    Label(usize),
    /// The setting of this key.
    Setting(&'static str),
}

type Checked<T> = Result<T, (Part, Error)>;

impl Registry {
    /// Creates metrics from data and returns them by name. If one of them is an error, none is
    /// created.
    ///
    /// ```
    /// use tallies::config::MetricConfig;
    ///
    /// let registry = tallies::Registry::new();
    /// let metrics = registry.create_metrics([
    ///     MetricConfig::new("m1", "A counter.", "counter"),
    ///     MetricConfig::new("m2", "A histogram.", "histogram").set("buckets", [1.0, 10.0]),
    /// ])?;
    /// metrics.with("m2", &[])?.observe(3.0)?;
    /// let error = registry.create_metrics([MetricConfig::new("m3", "?", "meter")]).unwrap_err();
    /// assert!(error.to_string().starts_with("Invalid type for m3: must be one of counter, enum"));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The metrics are as those of the builders, and counters count in floating point. The exported
    /// name of a counter ends in `_total` and that of an info in `_info`, whether or not the
    /// configuration has these endings. Label names are sorted. Metrics without labels are exported at zero; an enum is in its first state.
    ///
    /// # Errors
    ///
    /// - A kind that does not exist, an enum without states, and a setting with a wrong value.
    /// - A name that is given twice.
    /// - The errors of [`Builder::register`].
    ///
    /// The error of a metric from a file begins with the file, the line and the column.
    #[track_caller]
    pub fn create_metrics(
        &self,
        configs: impl IntoIterator<Item = MetricConfig>,
    ) -> Result<MetricMap, Error> {
        let configs: Vec<_> = configs.into_iter().collect();
        check_all(&configs)?;
        self.create_checked(&configs, Location::caller())
    }

    /// Adds the views and creates the metrics of a configuration, and returns the metrics by name. If
    /// one of them is an error, no metric is created and no view is added.
    ///
    /// ```
    /// use tallies::{Registry, View, config::Config};
    ///
    /// let mut config = Config::default();
    /// config.views.push(View::new("debug_*").off());
    /// let registry = Registry::new();
    /// registry.configure(config)?;
    /// registry.counter("debug_steps_total", "Steps.")?.inc();
    /// assert!(registry.snapshot().family("debug_steps_total").is_none());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The views hold for the metrics of the configuration, and for all that are registered later.
    /// Call it at start-up, before other metrics are declared: see [`view`](Self::view).
    ///
    /// # Errors
    ///
    /// The errors of [`view`](Self::view) and [`create_metrics`](Self::create_metrics). The error of
    /// a view or metric from a file begins with the file, the line and the column.
    #[track_caller]
    pub fn configure(&self, config: Config) -> Result<MetricMap, Error> {
        check_all(&config.metrics)?;
        let views = self.families().add_views(config.views)?;
        self.create_checked(&config.metrics, Location::caller())
            .inspect_err(|_| self.families().remove_views(&views))
    }

    fn create_checked(
        &self,
        configs: &[MetricConfig],
        location: &'static Location<'static>,
    ) -> Result<MetricMap, Error> {
        let mut created: Vec<AnyMetric> = Vec::new();
        for config in configs {
            match create(config, self, location) {
                Ok(metric) => created.push(metric),
                Err((part, error)) => {
                    for metric in created {
                        // It was registered above.
                        let _ = self.remove(metric.family_name());
                    }
                    return Err(config.placed(&part, error));
                }
            }
        }
        for metric in &created {
            self.remember(metric.family_name(), Box::new(metric.clone()));
        }
        Ok(created.into_iter().collect())
    }

    /// Returns a metric that was created from data.
    ///
    /// ```
    /// use tallies::config::MetricConfig;
    ///
    /// let registry = tallies::Registry::new();
    /// registry.create_metrics([MetricConfig::new("jobs_total", "Jobs done.", "counter")])?;
    /// registry.get_metric("jobs_total")?.with(&[])?.inc()?;
    /// assert!(registry.get_metric("other").is_err());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A name of which [`create_metrics`](Self::create_metrics) created no metric in this registry,
    /// or whose metric was removed.
    pub fn get_metric(&self, name: &str) -> Result<AnyMetric, Error> {
        let metrics = self.get_metrics();
        metrics.get(name).cloned()
    }

    /// Returns all metrics that were created from data. The result is a copy: metrics that are
    /// created later are not in it.
    ///
    /// ```
    /// use tallies::config::MetricConfig;
    ///
    /// let registry = tallies::Registry::new();
    /// registry.create_metrics([MetricConfig::new("jobs_total", "Jobs done.", "counter")])?;
    /// registry.gauge("queue_length", "Jobs waiting.")?; // not from data
    /// assert_eq!(registry.get_metrics().len(), 1);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn get_metrics(&self) -> MetricMap {
        self.remembered::<AnyMetric>().into_iter().collect()
    }
}

impl MetricConfig {
    /// Adds the place of this part to an error, if the metric is from a file.
    #[cfg_attr(not(feature = "config-files"), expect(clippy::unused_self))]
    fn placed(&self, part: &Part, error: Error) -> Error {
        #[cfg(feature = "config-files")]
        if let Some(origin) = &self.origin {
            return origin.placed(part, error);
        }
        let _ = part;
        error
    }

    fn sorted_labels(&self) -> Vec<&str> {
        let mut labels: Vec<_> = self.labels.iter().map(String::as_str).collect();
        labels.sort_unstable();
        labels
    }

    fn wrong(&self, key: &'static str, value: &Setting, rule: &'static str) -> (Part, Error) {
        let error = Error::metric_setting(&self.name, key, &value.to_string(), rule);
        (Part::Setting(key), error)
    }

    fn numbers(&self, key: &'static str) -> Checked<Option<Vec<f64>>> {
        let Some(value) = self.config.get(key) else {
            return Ok(None);
        };
        let wrong = || self.wrong(key, value, "has to be a list of numbers");
        let Setting::List(list) = value else {
            return Err(wrong());
        };
        let number = |value: &Setting| match value {
            Setting::Number(number) => Ok(*number),
            // As Prometheus writes the last bucket.
            Setting::Text(text) if text == "+Inf" || text == "inf" => Ok(f64::INFINITY),
            _ => Err(wrong()),
        };
        list.iter().map(number).collect::<Result<_, _>>().map(Some)
    }

    /// Returns a number that obeys this rule.
    fn number(
        &self,
        key: &'static str,
        is_right: fn(f64) -> bool,
        rule: &'static str,
    ) -> Checked<Option<f64>> {
        match self.config.get(key) {
            None => Ok(None),
            Some(Setting::Number(number)) if is_right(*number) => Ok(Some(*number)),
            Some(value) => Err(self.wrong(key, value, rule)),
        }
    }

    fn seconds(&self, key: &'static str) -> Checked<Option<Duration>> {
        let rule = "has to be a number of seconds above 0";
        let seconds = self.number(key, |seconds| seconds > 0.0, rule)?;
        match seconds.map(Duration::try_from_secs_f64) {
            None => Ok(None),
            Some(Ok(duration)) => Ok(Some(duration)),
            Some(Err(_)) => Err(self.wrong(key, &self.config[key], rule)),
        }
    }

    fn states(&self) -> Checked<Box<[Box<str>]>> {
        let none = || (Part::Kind, Error::no_states_given(&self.name));
        let value = self.config.get("states").ok_or_else(none)?;
        let rule = "has to be a list of different texts";
        let wrong = || self.wrong("states", value, rule);
        let Setting::List(list) = value else {
            return Err(wrong());
        };
        let mut states: Vec<Box<str>> = Vec::new();
        for state in list {
            let text = match state {
                Setting::Text(text) => text.clone(),
                // Files write states such as `1` and `true` without quotes.
                Setting::Number(number) => number.to_string(),
                Setting::Flag(flag) => flag.to_string(),
                Setting::List(_) => return Err(wrong()),
            };
            if states.iter().any(|other| **other == *text) {
                return Err(wrong());
            }
            states.push(text.into());
        }
        if states.is_empty() {
            let error = Error::no_states_given(&self.name);
            return Err((Part::Setting("states"), error));
        }
        Ok(states.into())
    }

    /// Returns the pairs of `objectives`.
    fn objectives(&self) -> Checked<Option<Vec<(f64, f64)>>> {
        let Some(value) = self.config.get("objectives") else {
            return Ok(None);
        };
        let rule = "has to be a list of pairs of a quantile and its rank error";
        let pair = |pair: &Setting| match pair {
            Setting::List(pair) => match pair[..] {
                [Setting::Number(phi), Setting::Number(error)] => Some((phi, error)),
                _ => None,
            },
            _ => None,
        };
        let pairs = match value {
            Setting::List(list) => list.iter().map(pair).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        pairs
            .map(Some)
            .ok_or_else(|| self.wrong("objectives", value, rule))
    }

    /// Logs once the keys that mean nothing for this kind.
    fn warn_of_unknown(&self, known: &[&[&str]]) {
        for key in self.config.keys() {
            if !known.iter().any(|keys| keys.contains(&&**key)) {
                crate::error::warn(&format_args!(
                    "setting `{}` of metric `{}` is ignored: a {} has no such setting",
                    key.escape_debug(),
                    self.name.escape_debug(),
                    self.kind,
                ));
            }
        }
    }
}

/// Returns the kind of the family.
fn kind_of(config: &MetricConfig) -> Checked<Kind> {
    Ok(match &*config.kind {
        "counter" => Kind::Counter,
        "enum" => Kind::StateSet,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "info" => Kind::Info,
        "summary" => Kind::Summary,
        _ => return Err((Part::Kind, Error::metric_type(&config.name))),
    })
}

/// Checks configurations before the first metric is registered.
fn check_all(configs: &[MetricConfig]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for config in configs {
        let unique = if names.insert(&config.name) {
            Ok(())
        } else {
            Err((Part::Name, Error::metric_twice(&config.name)))
        };
        unique
            .and_then(|()| check(config))
            .map_err(|(part, error)| config.placed(&part, error))?;
    }
    Ok(())
}

/// Checks a configuration on its own, and warns of what it ignores.
fn check(config: &MetricConfig) -> Checked<()> {
    let kind = kind_of(config)?;
    let name = &*config.name;
    check_name(name.as_bytes()).map_err(|rule| (Part::Name, Error::name(name, rule)))?;
    for (i, label) in config.labels.iter().enumerate() {
        let wrong = |rule| (Part::Label(i), Error::label_name(name, label, rule));
        check_label(label.as_bytes(), kind).map_err(wrong)?;
        if config.labels[..i].contains(label) {
            return Err(wrong(NameRule::Twice));
        }
        if kind == Kind::StateSet && label == name {
            return Err(wrong(NameRule::States));
        }
    }
    match kind {
        Kind::StateSet => {
            config.states()?;
            config.warn_of_unknown(&[&["states"]]);
        }
        Kind::Info => config.warn_of_unknown(&[]),
        Kind::Histogram => config.warn_of_unknown(&[&COMMON, &["buckets", "native"]]),
        Kind::Summary => config.warn_of_unknown(&[&COMMON, &["objectives", "max_age"]]),
        _ => config.warn_of_unknown(&[&COMMON]),
    }
    Ok(())
}

fn create(
    config: &MetricConfig,
    registry: &Registry,
    location: &'static Location<'static>,
) -> Checked<AnyMetric> {
    let help = &*config.description;
    let kind = kind_of(config)?;
    let name = &*family_name(config, kind);
    let taken = |error| (Part::Name, error);
    let labels = config.sorted_labels();
    let inner = match kind {
        Kind::Counter if labels.is_empty() => {
            let counter = Builder::<Counter>::new(name, help, kind, Names::Fixed(&[]), location)
                .label_set::<AnyLabels>()
                .float();
            let mut counter = common(counter, config)?;
            counter.desc.expire_after = config.seconds("expire_after")?;
            let counter = counter.register(registry).map_err(taken)?;
            // Exported at zero, as others without labels are.
            counter.with(&[]).add(0.0);
            Inner::Total(counter, <_>::default())
        }
        Kind::Counter => {
            let counter = builder::<Counter>(config, kind, location)?.float();
            Inner::Counter(counter.register(registry).map_err(taken)?, <_>::default())
        }
        Kind::Gauge => {
            let gauge = builder::<Gauge>(config, kind, location)?;
            Inner::Gauge(gauge.register(registry).map_err(taken)?)
        }
        Kind::Histogram => {
            let mut histogram: Builder<Histogram<DynLabels>> =
                builder::<Histogram>(config, kind, location)?;
            let mut part = Part::Name;
            let native = config.number(
                "native",
                |schema| schema.fract() == 0.0 && (-4.0..=8.0).contains(&schema),
                "has to be a whole number from -4 to 8",
            )?;
            if let Some(schema) = native {
                histogram = histogram.native(schema as i8);
            }
            histogram = match config.numbers("buckets")? {
                Some(bounds) => {
                    part = Part::Setting("buckets");
                    histogram.buckets(&bounds)
                }
                None if native.is_some() => histogram,
                None => histogram.buckets(&BUCKETS),
            };
            // An error of the name is at the name, whatever the buckets are.
            let registered = histogram.register(registry);
            Inner::Histogram(registered.map_err(|error| match error {
                error if error.is_already_registered() || error.is_invalid_name() => taken(error),
                error => (part, error),
            })?)
        }
        Kind::Summary => {
            let mut summary = builder::<Summary>(config, kind, location)?;
            let mut part = Part::Name;
            if let Some(objectives) = config.objectives()? {
                let wrong = |error| (Part::Setting("objectives"), error);
                summary = summary.objectives(&objectives).map_err(wrong)?;
            }
            if let Some(max_age) = config.seconds("max_age")? {
                part = Part::Setting("max_age");
                summary = summary.max_age(max_age);
            }
            let registered = summary.register(registry);
            Inner::Summary(registered.map_err(|error| match error {
                error if error.is_already_registered() || error.is_invalid_name() => taken(error),
                error => (part, error),
            })?)
        }
        kind => {
            let mut desc = Desc::unchecked(Text::owned(name), kind, Names::Fixed(&[]), location);
            desc.help = Text::owned(help);
            desc.set_labels(&labels);
            let states = match kind {
                Kind::StateSet => config.states()?,
                _ => <_>::default(),
            };
            let table = Table::register(desc, states, registry).map_err(taken)?;
            match kind {
                Kind::StateSet => Inner::Enum(table),
                _ => Inner::Info(table),
            }
        }
    };
    Ok(AnyMetric::new(&config.name, inner))
}

/// Returns the name of the family, with the ending that its kind has.
fn family_name(config: &MetricConfig, kind: Kind) -> Cow<'_, str> {
    let ending = match kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        _ => "",
    };
    if config.name.ends_with(ending) {
        Cow::Borrowed(&config.name)
    } else {
        Cow::Owned(format!("{}{ending}", config.name))
    }
}

/// Returns a builder with the settings that all these kinds have.
fn builder<M: Metric>(
    config: &MetricConfig,
    kind: Kind,
    location: &'static Location<'static>,
) -> Checked<Builder<M::Labelled<DynLabels>>> {
    let (name, help) = (&*family_name(config, kind), &*config.description);
    let builder = Builder::<M>::new(name, help, kind, Names::Fixed(&[]), location);
    let mut builder = common(builder.labels(&config.sorted_labels()[..]), config)?;
    builder.desc.expire_after = config.seconds("expire_after")?;
    Ok(builder)
}

fn common<M: Metric>(mut builder: Builder<M>, config: &MetricConfig) -> Checked<Builder<M>> {
    match config.config.get("unit") {
        None => {}
        Some(Setting::Text(unit)) => builder = builder.unit(unit),
        Some(other) => return Err(config.wrong("unit", other, "has to be a text")),
    }
    let rule = "has to be a whole number from 1 on";
    let is_right = |limit: f64| limit >= 1.0 && limit.fract() == 0.0;
    if let Some(limit) = config.number("limit", is_right, rule)? {
        builder = builder.limit(limit as usize);
    }
    Ok(builder)
}
