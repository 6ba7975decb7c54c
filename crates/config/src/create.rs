//! Creating metrics from data: if one of them is an error, those before it are removed again.

use std::collections::BTreeSet;
use std::time::Duration;

use tallies::label::AnyLabels;
use tallies::{
    Builder, Counter, Error, Gauge, Histogram, Info, Metric, Registry, StateSet, Summary,
};

use super::config::{Config, MetricConfig, MetricKind, Setting};
use super::metric::{AnyMetric, Inner, MetricMap};

/// The bounds of histograms without `buckets`. aioexporter has these.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The part of a configuration that an error is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Name,
    Kind,
    /// The label of this index.
    Label(usize),
    /// The setting of this key.
    Setting(String),
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
        let views = self.add_views(config.views)?;
        let created = create_checked(self, &config.metrics);
        if created.is_err() {
            views.remove();
        }
        created
    }

    fn get_metric(&self, name: &str) -> Result<AnyMetric, Error> {
        self.get_metrics().get(name).cloned()
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
    /// Adds the place of a part to an error, or that of the name if the file does not have the
    /// part. A metric from code has no places.
    fn placed(&self, part: &Part, error: Error) -> Error {
        let place = self.places.get(part);
        match place.or_else(|| self.places.get(&Part::Name)) {
            Some(place) => error.at(place),
            None => error,
        }
    }

    /// Returns the setting of this key, as `read` reads it. `None` if the metric does not have it.
    ///
    /// # Errors
    ///
    /// A value that `read` rejects. `rule` says what would be right.
    fn read<T>(
        &self,
        key: &'static str,
        rule: &str,
        read: impl FnOnce(&Setting) -> Option<T>,
    ) -> Checked<Option<T>> {
        let wrong = |value| {
            let name = self.name.escape_debug();
            let what = format!("`{key}` of metric `{name}` {rule}, got {value}");
            (Part::Setting(key.to_owned()), Error::new(what))
        };
        let read = |value| read(value).ok_or_else(|| wrong(value));
        self.config.get(key).map(read).transpose()
    }

    fn seconds(&self, key: &'static str) -> Checked<Option<Duration>> {
        self.read(key, "has to be a number of seconds above 0", |value| {
            let seconds = value.number().filter(|seconds| *seconds > 0.0)?;
            Duration::try_from_secs_f64(seconds).ok()
        })
    }

    fn states(&self) -> Checked<Vec<String>> {
        let rule = "has to be a list of different texts";
        let states = self.read("states", rule, different_texts)?;
        let part = match states {
            Some(_) => Part::Setting("states".to_owned()),
            None => Part::Kind,
        };
        states.filter(|states| !states.is_empty()).ok_or_else(|| {
            let name = self.name.escape_debug();
            let what = format!("No states provided for Enum metric: {name}");
            (part, Error::new(what))
        })
    }

    /// Sets what all kinds but `enum` and `info` have, and registers the family. An error of the
    /// registry is about this part.
    fn register<M: Metric>(
        &self,
        mut builder: Builder<M>,
        registry: &Registry,
        part: Part,
    ) -> Checked<M> {
        if let Some(unit) = self.read("unit", "has to be a text", Setting::text)? {
            builder = builder.unit(&unit);
        }
        let rule = "has to be a whole number from 1 on";
        if let Some(limit) = self.read("limit", rule, |value| value.whole(1.0..=f64::MAX))? {
            builder = builder.limit(limit as usize);
        }
        if let Some(idle) = self.seconds("expire_after")? {
            builder = builder.expire_after(idle);
        }
        builder.register(registry).map_err(|error| (part, error))
    }
}

fn bounds(value: &Setting) -> Option<Vec<f64>> {
    value.list()?.iter().map(Setting::bound).collect()
}

fn objectives(value: &Setting) -> Option<Vec<(f64, f64)>> {
    let pair = |pair: &Setting| match pair.list()? {
        [phi, error] => Some((phi.number()?, error.number()?)),
        _ => None,
    };
    value.list()?.iter().map(pair).collect()
}

fn different_texts(value: &Setting) -> Option<Vec<String>> {
    let text = |setting: &Setting| match setting {
        Setting::Text(text) => Some(text.clone()),
        // Files write states such as `1` and `true` without quotes.
        Setting::Number(_) | Setting::Flag(_) => Some(setting.to_string()),
        Setting::List(_) => None,
    };
    let texts: Vec<_> = value.list()?.iter().map(text).collect::<Option<_>>()?;
    let is_new = |i: usize| !texts[..i].contains(&texts[i]);
    (0..texts.len()).all(is_new).then_some(texts)
}

/// Checks configurations before the first metric is registered.
fn check_all(configs: &[MetricConfig]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for config in configs {
        let is_new = names.insert(&config.name);
        check(config, is_new).map_err(|(part, error)| config.placed(&part, error))?;
    }
    Ok(())
}

/// Checks what no registry checks, and logs once the settings that mean nothing for this kind.
fn check(config: &MetricConfig, is_new: bool) -> Checked<()> {
    let name = config.name.escape_debug();
    if !is_new {
        let what = format!("metric `{name}` is given twice; remove or rename one of them");
        return Err((Part::Name, Error::new(what)));
    }
    if config.name.is_empty() {
        // The name of the family has an ending.
        return Err((Part::Name, Error::new("a metric needs a name")));
    }
    let known: &[&str] = match config.kind {
        MetricKind::Counter | MetricKind::Gauge => &["unit", "limit", "expire_after"],
        MetricKind::Histogram => &["unit", "limit", "expire_after", "buckets", "native"],
        MetricKind::Summary => &["unit", "limit", "expire_after", "objectives", "max_age"],
        MetricKind::Enum => &["states"],
        MetricKind::Info => &[],
    };
    if config.kind == MetricKind::Enum {
        config.states()?;
    }
    let is_unknown = |key: &&String| !known.contains(&key.as_str());
    for key in config.config.keys().filter(is_unknown) {
        let (key, kind) = (key.escape_debug(), config.kind);
        let what = format!("setting `{key}` of metric `{name}` is ignored");
        Error::new(format!("{what}: a {kind} has no such setting")).log_once();
    }
    Ok(())
}

#[track_caller]
fn create(config: &MetricConfig, registry: &Registry) -> Checked<AnyMetric> {
    match register(config, registry) {
        Ok(inner) => Ok(AnyMetric::new(config, inner)),
        Err((_, error)) if error.is_invalid_name() => Err((wrong_name(config), error)),
        Err((_, error)) if error.is_already_registered() => Err((Part::Name, error)),
        Err(failed) => Err(failed),
    }
}

/// Registers the metric. The part of an error is right unless it is a name or a label.
#[track_caller]
fn register(config: &MetricConfig, registry: &Registry) -> Checked<Inner> {
    let help = &*config.description;
    let name = &*family_name(config);
    let mut labels = config.labels.clone();
    labels.sort_unstable();
    let mut part = Part::Name;
    Ok(match config.kind {
        MetricKind::Counter if labels.is_empty() => {
            let counter = Counter::builder(name, help).label_set::<AnyLabels>();
            let counter = config.register(counter.float(), registry, part)?;
            // Exported at zero, as others without labels are.
            counter.with(&[]).add(0.0);
            Inner::Total(counter, <_>::default())
        }
        MetricKind::Counter => {
            let counter = Counter::builder(name, help).labels(&labels[..]).float();
            Inner::Counter(config.register(counter, registry, part)?, <_>::default())
        }
        MetricKind::Gauge => {
            let gauge = Gauge::builder(name, help).labels(&labels[..]);
            Inner::Gauge(config.register(gauge, registry, part)?)
        }
        MetricKind::Histogram => {
            let mut histogram = Histogram::builder(name, help).labels(&labels[..]);
            let rule = "has to be a whole number from -4 to 8";
            let native = config.read("native", rule, |value| value.whole(-4.0..=8.0))?;
            if let Some(schema) = native {
                histogram = histogram.native(schema as i8);
            }
            histogram = match config.read("buckets", "has to be a list of numbers", bounds)? {
                Some(bounds) => {
                    part = Part::Setting("buckets".to_owned());
                    histogram.buckets(&bounds)
                }
                None if native.is_some() => histogram,
                None => histogram.buckets(&BUCKETS),
            };
            Inner::Histogram(config.register(histogram, registry, part)?)
        }
        MetricKind::Summary => {
            let mut summary = Summary::builder(name, help).labels(&labels[..]);
            let rule = "has to be a list of pairs of a quantile and its rank error";
            if let Some(objectives) = config.read("objectives", rule, objectives)? {
                let wrong = |error| (Part::Setting("objectives".to_owned()), error);
                summary = summary.objectives(&objectives).map_err(wrong)?;
            }
            if let Some(max_age) = config.seconds("max_age")? {
                part = Part::Setting("max_age".to_owned());
                summary = summary.max_age(max_age);
            }
            Inner::Summary(config.register(summary, registry, part)?)
        }
        MetricKind::Enum => {
            let states = StateSet::<String>::builder(name, help).states(&config.states()?);
            let states = states.labels(&labels[..]).register(registry);
            Inner::Enum(states.map_err(|error| (part, error))?)
        }
        MetricKind::Info => {
            // A family with any labels does not check these.
            let labelled = Info::builder(name, help).labels(&labels[..]).lint(false);
            let checked = labelled.register(&Registry::new());
            let info = Info::builder(name, help).label_set::<AnyLabels>();
            let info = checked.and_then(|_| info.register(registry));
            Inner::Info(info.map_err(|error| (part, error))?, <_>::default())
        }
    })
}

/// Returns which name is invalid: the first label with which a registry rejects the metric, or else
/// the name of the metric.
fn wrong_name(config: &MetricConfig) -> Part {
    let is_wrong = |count: &usize| {
        let mut some = config.clone();
        some.labels.truncate(*count);
        let registry = Registry::new();
        registry.set_lint(false);
        let registered = register(&some, &registry);
        registered.is_err_and(|(_, error)| error.is_invalid_name())
    };
    let count = (0..=config.labels.len()).find(is_wrong).unwrap_or(0);
    count.checked_sub(1).map_or(Part::Name, Part::Label)
}

/// Returns the name of the family, with the ending that its kind has.
fn family_name(config: &MetricConfig) -> String {
    let ending = match config.kind {
        MetricKind::Counter => "_total",
        MetricKind::Info => "_info",
        _ => "",
    };
    let stem = config.name.strip_suffix(ending).unwrap_or(&config.name);
    format!("{stem}{ending}")
}
