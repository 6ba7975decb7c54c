//! Metrics and views from a file: YAML or TOML.

use std::path::Path;

use tallies::Error;

use super::config::{Config, MetricConfig, MetricKind, Setting};
use super::create::Part;
use super::document::{self, Key, Language, Node, Value};
use super::views;

impl Config {
    /// Reads metrics and views from YAML text.
    ///
    /// ```
    /// use tallies::Registry;
    /// use tallies_config::{Config, Configure};
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
    /// The keys of a metric are those of [`MetricConfig::from_yaml`], and the keys of a view are
    /// those that [`View`](tallies::View) lists. Both lists may be absent.
    ///
    /// # Errors
    ///
    /// Text that is not YAML, a key that does not exist, and a value of the wrong kind. The message
    /// has the line and the column. [`Configure::configure`](crate::Configure::configure) checks
    /// the rest, with the line and the column, too.
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        config(&document::parse(text, Language::Yaml, None)?, true)
    }

    /// Reads metrics and views from TOML text.
    ///
    /// ```
    /// use tallies_config::Config;
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
        config(&document::parse(text, Language::Toml, None)?, true)
    }

    /// Reads metrics and views from a file: TOML if its name ends in `.toml`, else YAML.
    ///
    /// ```no_run
    /// use tallies::Registry;
    /// use tallies_config::{Config, Configure};
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
        config(&document::read(path.as_ref())?, true)
    }
}

impl MetricConfig {
    /// Reads metrics from YAML text.
    ///
    /// ```
    /// use tallies_config::{Configure, MetricConfig};
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
    /// A metric has the keys `name`, `type`, and if needed `description`, `labels` and `config`.
    /// The list may also be a map from each name to the other keys. Text with views is an error:
    /// [`Config::from_yaml`] reads both.
    ///
    /// # Errors
    ///
    /// Text that is not YAML, a key that does not exist, and a value of the wrong kind. The message
    /// has the line and the column. [`Configure::create_metrics`](crate::Configure::create_metrics)
    /// checks the rest, with the line and the column, too.
    pub fn from_yaml(text: &str) -> Result<Vec<Self>, Error> {
        only_metrics(&document::parse(text, Language::Yaml, None)?)
    }

    /// Reads metrics from TOML text.
    ///
    /// ```
    /// use tallies_config::MetricConfig;
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
        only_metrics(&document::parse(text, Language::Toml, None)?)
    }

    /// Reads metrics from a file: TOML if its name ends in `.toml`, else YAML.
    ///
    /// ```no_run
    /// use tallies_config::{Configure, MetricConfig};
    ///
    /// let registry = tallies::Registry::new();
    /// registry.create_metrics(MetricConfig::from_file("metrics.yml")?)?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is larger than 4 MiB, and the errors of
    /// [`from_yaml`](Self::from_yaml). The message has the path.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Vec<Self>, Error> {
        only_metrics(&document::read(path.as_ref())?)
    }
}

fn only_metrics(tree: &Node) -> Result<Vec<MetricConfig>, Error> {
    config(tree, false).map(|config| config.metrics)
}

/// Reads a configuration, which may have views or not.
fn config(tree: &Node, has_views: bool) -> Result<Config, Error> {
    let mut config = Config::default();
    for (key, value) in tree.map("the file")? {
        match &*key.text {
            "metrics" => config.metrics = metrics(value)?,
            "views" => {
                config.views = views::views(value)?;
                if !has_views && !config.views.is_empty() {
                    let what = "there are views here, which `Config` reads, not `MetricConfig`";
                    return Err(value.error(what));
                }
            }
            _ => return Err(key.unknown(&["metrics", "views"])),
        }
    }
    Ok(config)
}

fn metrics(node: &Node) -> Result<Vec<MetricConfig>, Error> {
    let named = |(name, node): &(Key, Node)| metric(node, Some(name));
    match &node.value {
        Value::List(list) => list.iter().map(|node| metric(node, None)).collect(),
        Value::Map(map) => map.iter().map(named).collect(),
        _ => Err(node.wrong("metrics", "a list of metrics")),
    }
}

/// Reads one metric. `key` is its name if the file has a map of metrics.
fn metric(node: &Node, key: Option<&Key>) -> Result<MetricConfig, Error> {
    // The kind of most metrics, until it is read.
    let mut config = MetricConfig::new("", "", MetricKind::Gauge);
    let mut kind = None;
    let mut name = &node.place;
    if let Some(key) = key {
        (config.name, name) = (key.text.clone(), &key.place);
    }
    let places = [(Part::Name, name.clone()), (Part::Kind, node.place.clone())];
    config.places.extend(places);
    for (key, value) in node.map("a metric")? {
        match &*key.text {
            "name" if config.name.is_empty() => {
                config.name = value.text("name")?.to_owned();
                config.places.insert(Part::Name, value.place.clone());
            }
            "description" | "help" => config.description = value.text(&key.text)?.to_owned(),
            "type" | "kind" => {
                kind = Some((value, value.text(&key.text)?));
                config.places.insert(Part::Kind, value.place.clone());
            }
            "labels" => {
                for (i, label) in value.list("labels")?.iter().enumerate() {
                    config.labels.push(label.text("labels")?.to_owned());
                    config.places.insert(Part::Label(i), label.place.clone());
                }
            }
            "config" => {
                for (key, value) in value.map("config")? {
                    config.config.insert(key.text.clone(), setting(value)?);
                    let part = Part::Setting(key.text.clone());
                    config.places.insert(part, value.place.clone());
                }
            }
            _ => return Err(key.unknown(&["name", "description", "type", "labels", "config"])),
        }
    }
    if config.name.is_empty() {
        return Err(node.error("a metric needs `name`"));
    }
    let (value, kind) = kind.ok_or_else(|| node.error("a metric needs `type`"))?;
    let what = format!("for {}", config.name.escape_debug());
    config.kind = MetricKind::named(kind, what).map_err(|why| value.error(why))?;
    Ok(config)
}

pub(super) fn setting(node: &Node) -> Result<Setting, Error> {
    Ok(match &node.value {
        Value::Flag(flag) => Setting::Flag(*flag),
        Value::Number(number) => Setting::Number(*number),
        Value::Text(text) => Setting::Text(text.clone()),
        Value::List(list) => Setting::List(list.iter().map(setting).collect::<Result<_, _>>()?),
        Value::Null | Value::Map(_) => {
            return Err(node.wrong("config", "numbers, texts, flags and lists"));
        }
    })
}
