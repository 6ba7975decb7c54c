//! Metrics from a file: YAML or TOML.

use std::path::Path;

use crate::document::{self, Language, Node, Value};
use crate::error::Error;

use super::config::{MetricConfig, Setting};
use super::create::Part;

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
    /// list may also be a map from each name to the other keys.
    ///
    /// # Errors
    ///
    /// Text that is not YAML, a key that does not exist, and a value of the wrong kind. The message
    /// has the line and the column. [`Registry::create_metrics`](crate::Registry::create_metrics)
    /// checks the rest, with the line and the column, too.
    pub fn from_yaml(text: &str) -> Result<Vec<Self>, Error> {
        parse(text, Language::Yaml, None)
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
        parse(text, Language::Toml, None)
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
        let path = path.as_ref();
        let text = document::read(path)?;
        parse(&text, Language::of(path), Some(&path.display().to_string()))
    }
}

fn parse(text: &str, language: Language, file: Option<&str>) -> Result<Vec<MetricConfig>, Error> {
    let tree = document::parse(text, language, file)?;
    let mut metrics = Vec::new();
    for (key, value) in tree.map(file, "the file")? {
        if key.text != "metrics" {
            return Err(key.unknown(file, &["metrics"]));
        }
        match &value.value {
            Value::List(list) => {
                for node in list {
                    metrics.push(metric(node, None, file)?);
                }
            }
            Value::Map(map) => {
                for (name, node) in map {
                    metrics.push(metric(node, Some(name), file)?);
                }
            }
            _ => return Err(value.wrong(file, "metrics", "a list of metrics")),
        }
    }
    Ok(metrics)
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
