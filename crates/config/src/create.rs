//! Creating metrics from data: if one of them is an error, those before it are removed again.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use tallies::label::AnyLabels;
use tallies::{Counter, Error, Gauge, Histogram, Info, Registry, StateSet, Summary};

use super::config::{Config, MetricConfig, MetricKind, Setting};
use super::metric::{AnyMetric, Inner, MetricMap};

/// The bounds of histograms without `buckets`. aioexporter has these.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The settings of all kinds but `enum` and `info`.
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

/// Metrics from data in a [`Registry`].
pub trait Configure {
    /// Creates metrics from data and returns them by name. If one of them is an error, none is
    /// created.
    ///
    /// ```
    /// use tallies_config::{Configure, MetricConfig, MetricKind};
    ///
    /// let registry = tallies::Registry::new();
    /// let metrics = registry.create_metrics([
    ///     MetricConfig::new("m1", "A counter.", MetricKind::Counter),
    ///     MetricConfig::new("m2", "A histogram.", MetricKind::Histogram).set("buckets", [1.0, 10.0]),
    /// ])?;
    /// metrics.with("m2", &[])?.observe(3.0)?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The metrics are as those of the builders, and counters count in floating point. The exported
    /// name of a counter ends in `_total` and that of an info in `_info`, whether or not the
    /// configuration has these endings. Label names are sorted. Metrics without labels are exported
    /// at zero; an enum is in its first state.
    ///
    /// # Errors
    ///
    /// - An enum without states, and a setting with a wrong value.
    /// - A name that is given twice.
    /// - The errors of [`Builder::register`](tallies::Builder::register).
    ///
    /// The error of a metric from a file begins with the file, the line and the column.
    #[track_caller]
    fn create_metrics(
        &self,
        configs: impl IntoIterator<Item = MetricConfig>,
    ) -> Result<MetricMap, Error>;

    /// Adds the views and creates the metrics of a configuration, and returns the metrics by name.
    /// If one of them is an error, no metric is created and no view is added.
    ///
    /// ```
    /// use tallies::{Registry, View};
    /// use tallies_config::{Config, Configure};
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
    /// Call it at start-up, before other metrics are declared: see [`Registry::add_view`].
    ///
    /// # Errors
    ///
    /// The errors of [`Registry::add_view`] and [`create_metrics`](Self::create_metrics). The error
    /// of a view or metric from a file begins with the file, the line and the column.
    #[track_caller]
    fn configure(&self, config: Config) -> Result<MetricMap, Error>;

    /// Returns a metric that was created from data.
    ///
    /// ```
    /// use tallies_config::{Configure, MetricConfig, MetricKind};
    ///
    /// let registry = tallies::Registry::new();
    /// registry.create_metrics([MetricConfig::new("jobs_total", "Jobs done.", MetricKind::Counter)])?;
    /// registry.get_metric("jobs_total")?.with(&[])?.inc()?;
    /// assert!(registry.get_metric("other").is_err());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A name of which [`create_metrics`](Self::create_metrics) created no metric in this registry,
    /// or whose metric was removed.
    fn get_metric(&self, name: &str) -> Result<AnyMetric, Error>;

    /// Returns all metrics that were created from data. The result is a copy: metrics that are
    /// created later are not in it.
    ///
    /// ```
    /// use tallies_config::{Configure, MetricConfig, MetricKind};
    ///
    /// let registry = tallies::Registry::new();
    /// registry.create_metrics([MetricConfig::new("jobs_total", "Jobs done.", MetricKind::Counter)])?;
    /// registry.gauge("queue_length", "Jobs waiting.")?; // not from data
    /// assert_eq!(registry.get_metrics().len(), 1);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    fn get_metrics(&self) -> MetricMap;
}

impl Configure for Registry {
    #[track_caller]
    fn create_metrics(
        &self,
        configs: impl IntoIterator<Item = MetricConfig>,
    ) -> Result<MetricMap, Error> {
        let configs: Vec<_> = configs.into_iter().collect();
        check_all(&configs)?;
        create_checked(self, &configs)
    }

    #[track_caller]
    fn configure(&self, config: Config) -> Result<MetricMap, Error> {
        check_all(&config.metrics)?;
        let views = self.views(config.views)?;
        let created = create_checked(self, &config.metrics);
        if created.is_err() {
            views.remove();
        }
        created
    }

    fn get_metric(&self, name: &str) -> Result<AnyMetric, Error> {
        let metrics = self.get_metrics();
        metrics.get(name).cloned()
    }

    fn get_metrics(&self) -> MetricMap {
        self.attached::<AnyMetric>().into_iter().collect()
    }
}

#[track_caller]
fn create_checked(registry: &Registry, configs: &[MetricConfig]) -> Result<MetricMap, Error> {
    let mut created: Vec<AnyMetric> = Vec::new();
    for config in configs {
        match create(config, registry) {
            Ok(metric) => created.push(metric),
            Err((part, error)) => {
                for metric in created {
                    // It was registered above.
                    let _ = registry.remove(metric.family_name());
                }
                return Err(config.placed(&part, error));
            }
        }
    }
    for metric in &created {
        registry.attach(metric.family_name(), metric.clone());
    }
    Ok(created.into_iter().collect())
}

impl MetricConfig {
    /// Adds the place of this part to an error, if the metric is from a file.
    fn placed(&self, part: &Part, error: Error) -> Error {
        match &self.origin {
            Some(origin) => origin.placed(part, error),
            None => error,
        }
    }

    fn sorted_labels(&self) -> Vec<&str> {
        let mut labels: Vec<_> = self.labels.iter().map(String::as_str).collect();
        labels.sort_unstable();
        labels
    }

    fn wrong(&self, key: &'static str, value: &Setting, rule: &str) -> (Part, Error) {
        let name = self.name.escape_debug();
        let what = format!("`{key}` of metric `{name}` {rule}, got {value}");
        (Part::Setting(key), Error::new(what))
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

    fn states(&self) -> Checked<Vec<String>> {
        let name = self.name.escape_debug();
        let none = || Error::new(format!("No states provided for Enum metric: {name}"));
        let value = self
            .config
            .get("states")
            .ok_or_else(|| (Part::Kind, none()))?;
        let rule = "has to be a list of different texts";
        let wrong = || self.wrong("states", value, rule);
        let Setting::List(list) = value else {
            return Err(wrong());
        };
        let mut states: Vec<String> = Vec::new();
        for state in list {
            let text = match state {
                Setting::Text(text) => text.clone(),
                // Files write states such as `1` and `true` without quotes.
                Setting::Number(number) => number.to_string(),
                Setting::Flag(flag) => flag.to_string(),
                Setting::List(_) => return Err(wrong()),
            };
            if states.contains(&text) {
                return Err(wrong());
            }
            states.push(text);
        }
        if states.is_empty() {
            return Err((Part::Setting("states"), none()));
        }
        Ok(states)
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
                let ignored = format!(
                    "setting `{}` of metric `{}` is ignored: a {} has no such setting",
                    key.escape_debug(),
                    self.name.escape_debug(),
                    self.kind,
                );
                Error::new(ignored).log_once();
            }
        }
    }
}

/// Checks configurations before the first metric is registered.
fn check_all(configs: &[MetricConfig]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for config in configs {
        let unique = if names.insert(&config.name) {
            Ok(())
        } else {
            let name = config.name.escape_debug();
            let what = format!("metric `{name}` is given twice; remove or rename one of them");
            Err((Part::Name, Error::new(what)))
        };
        unique
            .and_then(|()| check(config))
            .map_err(|(part, error)| config.placed(&part, error))?;
    }
    Ok(())
}

/// Checks what no registry checks, and warns of what is ignored.
fn check(config: &MetricConfig) -> Checked<()> {
    if config.name.is_empty() {
        // The name of the family has an ending.
        return Err((Part::Name, Error::new("a metric needs a name")));
    }
    match config.kind {
        MetricKind::Enum => {
            config.states()?;
            config.warn_of_unknown(&[&["states"]]);
        }
        MetricKind::Info => config.warn_of_unknown(&[]),
        MetricKind::Histogram => config.warn_of_unknown(&[&COMMON, &["buckets", "native"]]),
        MetricKind::Summary => config.warn_of_unknown(&[&COMMON, &["objectives", "max_age"]]),
        MetricKind::Counter | MetricKind::Gauge => config.warn_of_unknown(&[&COMMON]),
    }
    Ok(())
}

/// Sets what all these kinds have, and evaluates to the builder.
macro_rules! common {
    ($builder:expr, $config:expr) => {{
        let (mut builder, config) = ($builder, $config);
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
        if let Some(idle) = config.seconds("expire_after")? {
            builder = builder.expire_after(idle);
        }
        builder
    }};
}

#[track_caller]
fn create(config: &MetricConfig, registry: &Registry) -> Checked<AnyMetric> {
    let help = &*config.description;
    let kind = config.kind;
    let name = &*family_name(config, kind);
    let labels = config.sorted_labels();
    // The part that an error is about, unless it is the name or a label.
    let mut part = Part::Name;
    let inner = match kind {
        MetricKind::Counter if labels.is_empty() => {
            let counter = Counter::builder(name, help)
                .label_set::<AnyLabels>()
                .float();
            common!(counter, config).register(registry).map(|counter| {
                // Exported at zero, as others without labels are.
                counter.with(&[]).add(0.0);
                Inner::Total(counter, <_>::default())
            })
        }
        MetricKind::Counter => {
            let counter = Counter::builder(name, help).labels(&labels[..]).float();
            let counter = common!(counter, config).register(registry);
            counter.map(|counter| Inner::Counter(counter, <_>::default()))
        }
        MetricKind::Gauge => {
            let gauge = Gauge::builder(name, help).labels(&labels[..]);
            common!(gauge, config).register(registry).map(Inner::Gauge)
        }
        MetricKind::Histogram => {
            let mut histogram = common!(Histogram::builder(name, help).labels(&labels[..]), config);
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
            histogram.register(registry).map(Inner::Histogram)
        }
        MetricKind::Summary => {
            let mut summary = common!(Summary::builder(name, help).labels(&labels[..]), config);
            if let Some(objectives) = config.objectives()? {
                let wrong = |error| (Part::Setting("objectives"), error);
                summary = summary.objectives(&objectives).map_err(wrong)?;
            }
            if let Some(max_age) = config.seconds("max_age")? {
                part = Part::Setting("max_age");
                summary = summary.max_age(max_age);
            }
            summary.register(registry).map(Inner::Summary)
        }
        MetricKind::Enum => {
            let states = config.states()?;
            let states = StateSet::<String>::builder(name, help).states(&states);
            let states = states.labels(&labels[..]);
            states.register(registry).map(Inner::Enum)
        }
        MetricKind::Info => {
            // A family with any labels does not check these.
            let labelled = Info::builder(name, help).labels(&labels[..]).lint(false);
            labelled
                .register(&Registry::new())
                .and_then(|_| {
                    let info = Info::builder(name, help).label_set::<AnyLabels>();
                    info.register(registry)
                })
                .map(|info| Inner::Info(info, <_>::default()))
        }
    };
    match inner {
        Ok(inner) => Ok(AnyMetric::new(config, inner)),
        Err(error) if error.is_invalid_name() => Err((wrong_name(config, kind), error)),
        Err(error) if error.is_already_registered() => Err((Part::Name, error)),
        Err(error) => Err((part, error)),
    }
}

/// Returns which name is invalid: the first label with which a registry rejects the metric, or else
/// the name of the metric.
fn wrong_name(config: &MetricConfig, kind: MetricKind) -> Part {
    let name = &*family_name(config, kind);
    let registry = Registry::new();
    registry.set_lint(false);
    let is_wrong = |labels: &[String]| {
        let registered = match kind {
            MetricKind::Histogram => {
                let histogram = Histogram::builder(name, "").labels(labels);
                histogram.register(&registry).map(drop)
            }
            MetricKind::Summary => {
                let summary = Summary::builder(name, "").labels(labels);
                summary.register(&registry).map(drop)
            }
            MetricKind::Enum => {
                let states = StateSet::<String>::builder(name, "").states(&["a"]);
                states.labels(labels).register(&registry).map(drop)
            }
            MetricKind::Info => {
                let info = Info::builder(name, "").labels(labels);
                info.register(&registry).map(drop)
            }
            MetricKind::Counter | MetricKind::Gauge => {
                let gauge = Gauge::builder(name, "").labels(labels);
                gauge.register(&registry).map(drop)
            }
        };
        registry.clear();
        registered.is_err_and(|error| error.is_invalid_name())
    };
    let labels = &config.labels;
    match (0..=labels.len()).find(|count| is_wrong(&labels[..*count])) {
        Some(count @ 1..) => Part::Label(count - 1),
        Some(0) | None => Part::Name,
    }
}

/// Returns the name of the family, with the ending that its kind has.
fn family_name(config: &MetricConfig, kind: MetricKind) -> Cow<'_, str> {
    let ending = match kind {
        MetricKind::Counter => "_total",
        MetricKind::Info => "_info",
        _ => "",
    };
    if config.name.ends_with(ending) {
        Cow::Borrowed(&config.name)
    } else {
        Cow::Owned(format!("{}{ending}", config.name))
    }
}
