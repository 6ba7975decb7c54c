//! Metrics and views from a file: YAML or TOML.

use std::path::Path;

use crate::document::{self, Language, Node, Value};
use crate::error::Error;
use crate::registry::ViewPart;

use super::config::{Config, MetricConfig, Setting};
use super::create::Part;
use super::views;

/// Where a file has a metric and its parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Origin {
    file: Option<Box<str>>,
    name: (usize, usize),
    kind: (usize, usize),
    labels: Vec<(usize, usize)>,
    settings: Vec<(String, (usize, usize))>,
}

impl Origin {
    /// Adds the place of a part of the metric to an error.
    pub(super) fn placed(&self, part: &Part, error: Error) -> Error {
        let place = match part {
            Part::Name => self.name,
            Part::Kind => self.kind,
            Part::Label(i) => self.labels.get(*i).copied().unwrap_or(self.name),
            Part::Setting(key) => {
                let known = self.settings.iter().find(|(other, _)| other == key);
                known.map_or(self.name, |(_, place)| *place)
            }
        };
        Error::at(self.file.as_deref(), place, error)
    }
}

impl Config {
    /// Reads metrics and views from YAML text.
    ///
    /// ```
    /// use tallies::{Registry, config::Config};
    ///
    /// let config = Config::from_yaml(
    ///     "
    ///     views:
    ///       - family: queue_*
    ///         drop: [host]
    ///     metrics:
    ///       - name: queue_length
    ///         type: gauge
    ///         labels: [queue, host]
    ///     ",
    /// )?;
    /// let registry = Registry::new();
    /// let metrics = registry.configure(config)?;
    /// for host in ["a", "b"] {
    ///     metrics.with("queue_length", &[("queue", "mail"), ("host", host)])?.set(4.0)?;
    /// }
    /// assert_eq!(registry.snapshot().get("queue_length", &[("queue", "mail")]), Some(8.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The keys of a metric are those of [`MetricConfig::from_yaml`], and the keys of a view are those
    /// that [`View`](crate::View) lists. Both lists may be absent.
    ///
    /// # Errors
    ///
    /// Text that is not YAML, a key that does not exist, and a value of the wrong kind. The message
    /// has the line and the column. [`Registry::configure`](crate::Registry::configure) checks the
    /// rest, with the line and the column, too.
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        parse(text, Language::Yaml, None)
    }

    /// Reads metrics and views from TOML text.
    ///
    /// ```
    /// use tallies::config::Config;
    ///
    /// let config = Config::from_toml("[[views]]\nfamily = \"debug_*\"\noff = true")?;
    /// assert_eq!((config.views.len(), config.metrics.len()), (1, 0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`from_yaml`](Self::from_yaml).
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        parse(text, Language::Toml, None)
    }

    /// Reads metrics and views from a file: TOML if its name ends in `.toml`, else YAML.
    ///
    /// ```no_run
    /// use tallies::{Registry, config::Config};
    ///
    /// let metrics = Registry::new().configure(Config::from_file("metrics.yml")?)?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is larger than 4 MiB, and the errors of
    /// [`from_yaml`](Self::from_yaml). The message has the path.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = document::read(path)?;
        parse(&text, Language::of(path), Some(&path.display().to_string()))
    }
}

impl MetricConfig {
    /// Reads metrics from YAML text.
    ///
    /// ```
    /// use tallies::config::MetricConfig;
    ///
    /// let metrics = MetricConfig::from_yaml(
    ///     "metrics:
    ///       - name: queue_length
    ///         description: Jobs waiting.
    ///         type: gauge
    ///         labels: [queue]
    ///       - name: job_seconds
    ///         description: Time per job.
    ///         type: histogram
    ///         config:
    ///           buckets: [0.1, 1, 10]
    ///     ",
    /// )?;
    /// assert_eq!(metrics[1].name, "job_seconds");
    /// tallies::Registry::new().create_metrics(metrics)?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// A metric has the keys `name`, `type`, and if needed `description`, `labels` and `config`. The
    /// list may also be a map from each name to the other keys. Text with views is an error:
    /// [`Config::from_yaml`] reads both.
    ///
    /// # Errors
    ///
    /// Text that is not YAML, a key that does not exist, and a value of the wrong kind. The message
    /// has the line and the column. [`Registry::create_metrics`](crate::Registry::create_metrics)
    /// checks the rest, with the line and the column, too.
    pub fn from_yaml(text: &str) -> Result<Vec<Self>, Error> {
        Config::from_yaml(text)?.only_metrics()
    }

    /// Reads metrics from TOML text.
    ///
    /// ```
    /// use tallies::config::MetricConfig;
    ///
    /// let metrics = MetricConfig::from_toml(
    ///     r#"
    ///     [[metrics]]
    ///     name = "queue_length"
    ///     description = "Jobs waiting."
    ///     type = "gauge"
    ///     labels = ["queue"]
    ///     "#,
    /// )?;
    /// assert_eq!(metrics[0].labels, ["queue"]);
    /// let error = MetricConfig::from_toml("[[metrics]]\ntype = 7").unwrap_err().to_string();
    /// assert_eq!(error, "line 2, column 8: `type` has to be a text, got a number");
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as for [`from_yaml`](Self::from_yaml).
    pub fn from_toml(text: &str) -> Result<Vec<Self>, Error> {
        Config::from_toml(text)?.only_metrics()
    }

    /// Reads metrics from a file: TOML if its name ends in `.toml`, else YAML.
    ///
    /// ```no_run
    /// let registry = tallies::Registry::new();
    /// registry.create_metrics(tallies::config::MetricConfig::from_file("metrics.yml")?)?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is larger than 4 MiB, and the errors of
    /// [`from_yaml`](Self::from_yaml). The message has the path.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Vec<Self>, Error> {
        Config::from_file(path)?.only_metrics()
    }
}

impl Config {
    fn only_metrics(self) -> Result<Vec<MetricConfig>, Error> {
        match self.views.first() {
            None => Ok(self.metrics),
            Some(view) => Err(view.placed(
                ViewPart::Family,
                Error::document("there are views here, which `Config` reads, not `MetricConfig`"),
            )),
        }
    }
}

fn parse(text: &str, language: Language, file: Option<&str>) -> Result<Config, Error> {
    let tree = document::parse(text, language, file)?;
    let mut config = Config::default();
    for (key, value) in tree.map(file, "the file")? {
        match &*key.text {
            "metrics" => config.metrics = metrics(value, file)?,
            "views" => config.views = views::views(value, file)?,
            _ => return Err(key.unknown(file, &["metrics", "views"])),
        }
    }
    Ok(config)
}

fn metrics(node: &Node, file: Option<&str>) -> Result<Vec<MetricConfig>, Error> {
    match &node.value {
        Value::List(list) => list.iter().map(|node| metric(node, None, file)).collect(),
        Value::Map(map) => map
            .iter()
            .map(|(name, node)| metric(node, Some(name), file))
            .collect(),
        _ => Err(node.wrong(file, "metrics", "a list of metrics")),
    }
}

/// Reads one metric. `key` is its name if the file has a map of metrics.
fn metric(
    node: &Node,
    key: Option<&document::Key>,
    file: Option<&str>,
) -> Result<MetricConfig, Error> {
    let mut config = MetricConfig::default();
    let mut origin = Origin {
        file: file.map(Into::into),
        name: key.map_or(node.place, |key| key.place),
        kind: node.place,
        labels: Vec::new(),
        settings: Vec::new(),
    };
    if let Some(key) = key {
        config.name = key.text.clone();
    }
    for (key, value) in node.map(file, "a metric")? {
        match &*key.text {
            "name" if config.name.is_empty() => {
                config.name = value.text(file, "name")?;
                origin.name = value.place;
            }
            "description" | "help" => config.description = value.text(file, &key.text)?,
            "type" | "kind" => {
                config.kind = value.text(file, &key.text)?;
                origin.kind = value.place;
            }
            "labels" => {
                for label in value.list(file, "labels")? {
                    config.labels.push(label.text(file, "labels")?);
                    origin.labels.push(label.place);
                }
            }
            "config" => {
                for (key, value) in value.map(file, "config")? {
                    config
                        .config
                        .insert(key.text.clone(), setting(value, file)?);
                    origin.settings.push((key.text.clone(), value.place));
                }
            }
            _ => {
                let known = ["name", "description", "type", "labels", "config"];
                return Err(key.unknown(file, &known));
            }
        }
    }
    for (missing, key) in [(&config.name, "name"), (&config.kind, "type")] {
        if missing.is_empty() {
            return Err(node.error(file, format!("a metric needs `{key}`")));
        }
    }
    config.origin = Some(Box::new(origin));
    Ok(config)
}

fn setting(node: &Node, file: Option<&str>) -> Result<Setting, Error> {
    Ok(match &node.value {
        Value::Flag(flag) => Setting::Flag(*flag),
        Value::Number(number) => Setting::Number(*number),
        Value::Text(text) => Setting::Text(text.clone()),
        Value::List(list) => {
            let settings = list.iter().map(|node| setting(node, file));
            Setting::List(settings.collect::<Result<_, _>>()?)
        }
        Value::Null | Value::Map(_) => {
            return Err(node.wrong(file, "config", "numbers, texts, flags and lists"));
        }
    })
}
