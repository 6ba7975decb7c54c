//! Views: rules that change families by their names, from code or from data.

mod apply;
mod pattern;

use crate::error::Error;
use crate::family::grammar::{check_label, check_name};
use crate::family::shape::{check_bounds, without_infinity};
use crate::snapshot::{GaugeMode, Kind, Resolution};

pub(super) use apply::Views;

use pattern::capture;

/// A rule that changes the families whose names match a pattern, without a change of the code that
/// declares them. [`Registry::view`](crate::Registry::view) adds it.
///
/// ```
/// use tallies::{Counter, Registry, View};
///
/// let registry = Registry::new();
/// registry.view(View::new("mail_*").drop_label("peer").limit(100))?;
/// let sent = Counter::builder("mail_sent_total", "Messages sent.")
///     .labels(["peer", "queue"])
///     .register(&registry)?;
/// sent.with(["a", "news"]).inc();
/// sent.with(["b", "news"]).inc();
/// assert_eq!(registry.snapshot().get("mail_sent_total", &[("queue", "news")]), Some(2.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// With the feature `config-files`, [`Config`](crate::config::Config) reads views from a file. With
/// the feature `serde`, a view is `Deserialize`, for files of other formats. The fields are `family`
/// (the pattern), and those of `drop`, `caps`, `rename`, `buckets`, `native`, `limit`, `gauges`
/// (`sum`, `min`, `max` or `recent`) and `off` that are wanted:
///
/// ```yaml
/// - family: mail_*
///   drop: [peer]
///   caps: {queue: 20}
/// - family: debug_*
///   off: true
/// ```
#[derive(Clone, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub struct View {
    family: String,
    #[cfg_attr(feature = "serde", serde(default))]
    drop: Vec<String>,
    #[cfg_attr(feature = "serde", serde(default, deserialize_with = "caps"))]
    caps: Vec<(String, usize)>,
    #[cfg_attr(feature = "serde", serde(default))]
    rename: Option<String>,
    #[cfg_attr(feature = "serde", serde(default))]
    buckets: Option<Vec<f64>>,
    #[cfg_attr(feature = "serde", serde(default))]
    native: Option<i8>,
    #[cfg_attr(feature = "serde", serde(default))]
    limit: Option<usize>,
    #[cfg_attr(feature = "serde", serde(default, deserialize_with = "gauges"))]
    gauges: Option<GaugeMode>,
    #[cfg_attr(feature = "serde", serde(default))]
    off: Option<bool>,
    /// Where a file has this view. `None` for a view from code.
    #[cfg(feature = "config-files")]
    #[cfg_attr(feature = "serde", serde(skip))]
    origin: Option<Box<Origin>>,
}

/// The part of a view that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Family,
    Rename,
    /// The dropped label of this index.
    Drop(usize),
    /// The cap of this index.
    Cap(usize),
    Buckets,
    Native,
}

/// Where a file has a view and its parts.
#[cfg(feature = "config-files")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) file: Option<Box<str>>,
    /// The line and the column of the pattern.
    pub(crate) family: (usize, usize),
    /// The line and the column of each of the other parts.
    pub(crate) parts: Vec<(Part, (usize, usize))>,
}

/// Reads the caps of a view: a map from label names to numbers.
#[cfg(feature = "serde")]
fn caps<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<(String, usize)>, D::Error> {
    let caps: std::collections::BTreeMap<_, _> = serde::Deserialize::deserialize(from)?;
    Ok(caps.into_iter().collect())
}

/// Reads the rule for gauges.
#[cfg(feature = "serde")]
fn gauges<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<GaugeMode>, D::Error> {
    let name: Option<String> = serde::Deserialize::deserialize(from)?;
    let unknown = |name: &str| {
        let names: Vec<_> = GaugeMode::NAMES.iter().map(|(_, name)| *name).collect();
        serde::de::Error::custom(format!(
            "`{name}` is no gauge mode: the modes are {}",
            names.join(", ")
        ))
    };
    name.map(|name| GaugeMode::from_name(&name).ok_or_else(|| unknown(&name)))
        .transpose()
}

impl View {
    /// Creates a view of the families whose names match `pattern`. In a pattern, `*` stands for any
    /// number of characters.
    ///
    /// The names are those of the declarations: before [`rename`](Self::rename), and without the
    /// prefix of the registry. A view without settings changes nothing.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self {
            family: pattern.to_owned(),
            ..Self::default()
        }
    }

    /// Drops a label: the series that differ only in it become one, which counts what all of them
    /// would have counted. Families without the label stay as they are.
    ///
    /// ```
    /// use tallies::{Histogram, Registry, View};
    ///
    /// let registry = Registry::new();
    /// registry.view(View::new("*").drop_label("user"))?;
    /// let wait = Histogram::builder("wait_seconds", "Time waited.")
    ///     .labels(["user"])
    ///     .register(&registry)?;
    /// wait.with(["ada"]).observe(0.25);
    /// wait.with(["bob"]).observe(0.5);
    /// assert_eq!(registry.snapshot().get("wait_seconds_sum", &[]), Some(0.75));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Totals are exact. A summary has the quantiles of all observations together. For gauges,
    /// [`gauges`](Self::gauges) decides. A family with a dropped label makes fewer series, so it
    /// stays farther from its limit. (Gauges that are combined in a scrape make as many as before.)
    ///
    /// A constant label of a family is dropped, too; one of the registry stays. The label of a state
    /// set cannot be dropped.
    ///
    /// With a thread's cached label set, an update costs what it costs without the view. A label set
    /// of enums becomes an open one: its updates look the label values up.
    #[must_use]
    pub fn drop_label(mut self, label: &str) -> Self {
        self.drop.push(label.to_owned());
        self
    }

    /// Limits the number of values of a label. The first values get series of their own. Further
    /// values become `__overflow__`, while the other labels stay, so their totals stay exact.
    ///
    /// ```
    /// use tallies::{Counter, Registry, View};
    ///
    /// let registry = Registry::new();
    /// registry.view(View::new("hits_total").cap("path", 1))?;
    /// let hits = Counter::builder("hits_total", "Hits.")
    ///     .labels(["method", "path"])
    ///     .register(&registry)?;
    /// for path in ["/", "/a", "/b"] {
    ///     hits.with(["get", path]).inc();
    /// }
    /// let rest = [("method", "get"), ("path", "__overflow__")];
    /// assert_eq!(registry.snapshot().get("hits_total", &rest), Some(2.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// A value keeps its room when its series is removed or expires; `clear` on the metric frees
    /// all. Series of gauges beyond the cap share one value, which the last `set` decides. For
    /// families of collectors, caps have no effect.
    #[must_use]
    pub fn cap(mut self, label: &str, values: usize) -> Self {
        self.caps.push((label.to_owned(), values));
        self
    }

    /// Gives the family another name. With a `*` in both the pattern and the name, the name's gets
    /// the text that the pattern's first one matched.
    ///
    /// ```
    /// use tallies::{Registry, View};
    ///
    /// let registry = Registry::new();
    /// registry.view(View::new("old_*").rename("new_*"))?;
    /// registry.counter("old_jobs_total", "Jobs done.")?.inc();
    /// assert_eq!(registry.snapshot().get("new_jobs_total", &[]), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// A name that another family has is an error where the second one is registered. A static is
    /// then not exported, which is logged. Methods of the registry that take names take the new one.
    #[must_use]
    pub fn rename(mut self, name: &str) -> Self {
        self.rename = Some(name.to_owned());
        self
    }

    /// Sets the upper bounds of the buckets of histograms. Other kinds have none.
    #[must_use]
    pub fn buckets(mut self, bounds: &[f64]) -> Self {
        self.buckets = Some(bounds.to_vec());
        self
    }

    /// Adds exponential buckets to histograms. The fixed ones that the declaration or
    /// [`buckets`](Self::buckets) set stay, the default ones do not. See
    /// [`Histogram::native`](crate::Histogram::native).
    ///
    /// An update of a histogram without labels that is declared without exponential buckets takes
    /// the cold path each time.
    #[must_use]
    pub fn native(mut self, schema: i8) -> Self {
        self.native = Some(schema);
        self
    }

    /// Sets the limit of series. Label sets of enums only have none. See
    /// [`Builder::limit`](crate::Builder::limit).
    #[must_use]
    pub fn limit(mut self, series: usize) -> Self {
        self.limit = Some(series);
        self
    }

    /// Sets how the series of a gauge become one when a label is dropped. The default is how the
    /// gauges of several processes are merged, which the declaration says
    /// ([`Gauge::mode`](crate::Gauge::mode)), or else the sum.
    ///
    /// ```
    /// use tallies::{Gauge, Registry, View, snapshot::GaugeMode};
    ///
    /// let registry = Registry::new();
    /// registry.view(View::new("*_celsius").drop_label("disk").gauges(GaugeMode::Max))?;
    /// let disks = Gauge::builder("disk_celsius", "Temperature.")
    ///     .labels(["disk"])
    ///     .register(&registry)?;
    /// disks.with(["sda"]).set(31.0);
    /// disks.with(["sdb"]).set(44.0);
    /// assert_eq!(registry.snapshot().get("disk_celsius", &[]), Some(44.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// With the last value, the label sets share one series. Otherwise each has its own, and a
    /// scrape combines them. Up-down counters always add up.
    #[must_use]
    pub fn gauges(mut self, rule: GaugeMode) -> Self {
        self.gauges = Some(rule);
        self
    }

    /// Switches the family off: no scrape exports it, and its updates make no series.
    ///
    /// ```
    /// use tallies::{Registry, View};
    ///
    /// let registry = Registry::new();
    /// registry.view(View::new("debug_*").off())?;
    /// registry.counter("debug_steps_total", "Steps.")?.inc();
    /// assert!(registry.snapshot().family("debug_steps_total").is_none());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The name stays taken. An update of a gauge, a histogram or a summary without labels returns at
    /// a branch that it has anyway, the one that its first update takes. Counters count in a cell of
    /// the thread, which is cheaper still. With labels, all label sets share one series. So
    /// what `get` returns has no meaning.
    #[must_use]
    pub fn off(mut self) -> Self {
        self.off = Some(true);
        self
    }

    /// Switches the family on again that an earlier view switched off.
    ///
    /// ```
    /// use tallies::{Registry, View};
    ///
    /// let registry = Registry::new();
    /// registry.view(View::new("*").off())?;
    /// registry.view(View::new("http_*").on())?;
    /// registry.counter("http_requests_total", "Requests.")?;
    /// assert!(registry.snapshot().family("http_requests_total").is_some());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn on(mut self) -> Self {
        self.off = Some(false);
        self
    }

    /// Returns the pattern.
    pub(crate) fn pattern(&self) -> &str {
        &self.family
    }

    /// Returns whether the view is one of families of this name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        capture(&self.family, name).is_some()
    }

    /// Sets where a file has this view.
    #[cfg(feature = "config-files")]
    pub(crate) fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = Some(Box::new(origin));
        self
    }

    /// Adds the place of this part to an error, if the view is from a file.
    #[cfg_attr(not(feature = "config-files"), expect(clippy::unused_self))]
    pub(crate) fn placed(&self, part: Part, error: Error) -> Error {
        #[cfg(feature = "config-files")]
        if let Some(origin) = &self.origin {
            let place = origin.parts.iter().find(|(other, _)| *other == part);
            let place = place.map_or(origin.family, |(_, place)| *place);
            return Error::at(origin.file.as_deref(), place, error);
        }
        let _ = part;
        error
    }

    /// Checks everything that does not depend on a family.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_parts()
            .map_err(|(part, error)| self.placed(part, error))
    }

    fn check_parts(&self) -> Result<(), (Part, Error)> {
        let error = |part, why: String| {
            Err((
                part,
                Error::other(format_args!("view `{}` {why}", self.family.escape_debug())),
            ))
        };
        if self.family.is_empty() {
            return error(Part::Family, "needs a pattern, such as `http_*`".to_owned());
        }
        if let Some(rename) = &self.rename {
            let (pattern, stars) = (
                self.family.matches('*').count(),
                rename.matches('*').count(),
            );
            if stars > 1 || stars > pattern {
                return error(
                    Part::Rename,
                    format!("renames to `{rename}`, which may have one `*` if the pattern has one"),
                );
            }
            if pattern > 0 && stars == 0 {
                return error(
                    Part::Rename,
                    format!(
                        "renames to `{rename}`, which several families cannot share; put a `*` \
                         into the name"
                    ),
                );
            }
            if check_name(rename.replacen('*', "x", 1).as_bytes()).is_err() {
                return error(
                    Part::Rename,
                    format!("renames to `{rename}`, which is not a metric name"),
                );
            }
        }
        let drops = self.drop.iter().enumerate();
        let drops = drops.map(|(i, label)| (Part::Drop(i), label));
        let caps = self.caps.iter().enumerate();
        let caps = caps.map(|(i, (label, _))| (Part::Cap(i), label));
        for (part, label) in drops.chain(caps) {
            if check_label(label.as_bytes(), Kind::Gauge).is_err() {
                return error(
                    part,
                    format!("names the label `{label}`, which no family can have"),
                );
            }
        }
        if let Some(bounds) = &self.buckets {
            check_bounds(without_infinity(bounds))
                .map_err(|rule| (Part::Buckets, rule.error(&self.family)))?;
        }
        if let Some(schema) = self.native {
            let native = Resolution::new(schema);
            native
                .check()
                .map_err(|rule| (Part::Native, rule.error(&self.family)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_that_cannot_be_meant() {
        for (view, says) in [
            (View::new(""), "needs a pattern"),
            (View::new("a*").rename("b"), "several families"),
            (View::new("a").rename("b*"), "may have one"),
            (View::new("a").rename("b-c"), "not a metric name"),
            (View::new("a").drop_label("__x"), "no family can have"),
            (View::new("a").cap("x y", 1), "no family can have"),
            (View::new("a").buckets(&[2.0, 1.0]), "buckets of family `a`"),
            (View::new("a").native(9), "buckets of family `a`"),
        ] {
            let error = view.check().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
