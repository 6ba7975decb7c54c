//! Views: rules that change families by their names, from code or from data.

use std::sync::Arc;

use crate::error::Error;
use crate::family::desc::{Desc, Names};
use crate::family::grammar::{check_label, check_name};
use crate::family::shape::{check_bounds, without_infinity};
use crate::family::view::{self, Cap};
use crate::snapshot::sketch::Targets;
use crate::snapshot::{self, GaugeMerge, Kind, Resolution, Text};

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
/// With the feature `serde` it can be read from a file. The fields are `family` (the pattern), and
/// those of `drop`, `caps`, `rename`, `buckets`, `native`, `limit`, `gauges` (`sum`, `min`, `max` or
/// `last`) and `off` that are wanted:
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
    gauges: Option<GaugeMerge>,
    #[cfg_attr(feature = "serde", serde(default))]
    off: Option<bool>,
}

/// Reads the caps of a view: a map from label names to numbers.
#[cfg(feature = "serde")]
fn caps<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<(String, usize)>, D::Error> {
    let caps: std::collections::BTreeMap<_, _> = serde::Deserialize::deserialize(from)?;
    Ok(caps.into_iter().collect())
}

/// Reads the rule for gauges.
#[cfg(feature = "serde")]
fn gauges<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<GaugeMerge>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Rule {
        Sum,
        Min,
        Max,
        Last,
    }
    let rule: Option<Rule> = serde::Deserialize::deserialize(from)?;
    Ok(rule.map(|rule| match rule {
        Rule::Sum => GaugeMerge::Sum,
        Rule::Min => GaugeMerge::Min,
        Rule::Max => GaugeMerge::Max,
        Rule::Last => GaugeMerge::Last,
    }))
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
    /// ([`Gauge::merge`](crate::Gauge::merge)), or else the sum.
    ///
    /// ```
    /// use tallies::{Gauge, Registry, View, snapshot::GaugeMerge};
    ///
    /// let registry = Registry::new();
    /// registry.view(View::new("*_celsius").drop_label("disk").gauges(GaugeMerge::Max))?;
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
    pub fn gauges(mut self, rule: GaugeMerge) -> Self {
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

    /// Checks everything that does not depend on a family.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let error = |why: String| Err(Error::view(&self.family, &why));
        if self.family.is_empty() {
            return error("needs a pattern, such as `http_*`".to_owned());
        }
        if let Some(rename) = &self.rename {
            let (pattern, stars) = (
                self.family.matches('*').count(),
                rename.matches('*').count(),
            );
            if stars > 1 || stars > pattern {
                return error(format!(
                    "renames to `{rename}`, which may have one `*` if the pattern has one"
                ));
            }
            if pattern > 0 && stars == 0 {
                return error(format!(
                    "renames to `{rename}`, which several families cannot share; put a `*` into \
                     the name"
                ));
            }
            if check_name(rename.replacen('*', "x", 1).as_bytes()).is_err() {
                return error(format!("renames to `{rename}`, which is not a metric name"));
            }
        }
        for label in self
            .drop
            .iter()
            .chain(self.caps.iter().map(|(label, _)| label))
        {
            if check_label(label.as_bytes(), Kind::Gauge).is_err() {
                return error(format!(
                    "names the label `{label}`, which no family can have"
                ));
            }
        }
        if let Some(bounds) = &self.buckets {
            check_bounds(without_infinity(bounds))
                .map_err(|rule| Error::buckets(&self.family, rule))?;
        }
        if let Some(schema) = self.native {
            let native = Resolution::new(schema);
            native
                .check()
                .map_err(|rule| Error::buckets(&self.family, rule))?;
        }
        Ok(())
    }
}

/// The views of one family together: of each setting the last one, and all labels to drop.
#[derive(Debug, Default)]
pub(super) struct Views<'a> {
    name: &'a str,
    rename: Option<String>,
    drop: Vec<&'a str>,
    caps: Vec<(&'a str, usize)>,
    buckets: Option<&'a [f64]>,
    native: Option<i8>,
    limit: Option<usize>,
    gauges: Option<GaugeMerge>,
    off: bool,
}

impl<'a> Views<'a> {
    /// Returns the views of families of this name, or `None` if there are none.
    pub(super) fn of(views: &'a [Arc<View>], name: &'a str) -> Option<Self> {
        let mut all: Option<Self> = None;
        for view in views {
            let Some(star) = capture(&view.family, name) else {
                continue;
            };
            let all = all.get_or_insert_with(Self::default);
            all.name = name;
            if let Some(rename) = &view.rename {
                all.rename = Some(rename.replacen('*', star, 1));
            }
            all.drop.extend(view.drop.iter().map(|label| &**label));
            for (label, values) in &view.caps {
                all.caps.retain(|(other, _)| other != label);
                all.caps.push((label, *values));
            }
            all.buckets = view.buckets.as_deref().or(all.buckets);
            all.native = view.native.or(all.native);
            all.limit = view.limit.or(all.limit);
            all.gauges = view.gauges.or(all.gauges);
            all.off = view.off.unwrap_or(all.off);
        }
        all
    }

    /// Changes the description of a family. `shares`: label sets that become equal can share the
    /// cells of a series, which those of gauges cannot.
    pub(super) fn apply(&self, desc: &mut Desc, shares: bool) {
        let has = |label: &str| match desc.labels {
            Names::Fixed(names) => names.contains(&label),
            Names::Any => true,
        };
        let rule = self.gauges.unwrap_or(desc.merge);
        let dropped: Box<[Box<str>]> = self
            .drop
            .iter()
            .filter(|label| has(label))
            .map(|label| Box::from(*label))
            .collect();
        let caps = self.caps.iter();
        let caps = caps.filter(|(label, _)| has(label) && !self.drop.contains(label));
        let caps: Box<[Cap]> = caps.map(|(label, n)| Cap::new(label, *n)).collect();
        let is_combined =
            desc.kind == Kind::Gauge && !shares && rule != GaugeMerge::Last && !dropped.is_empty();
        let (dropped, combined) = if is_combined && !self.off {
            (Box::default(), Some((dropped, rule)))
        } else {
            (dropped, None)
        };
        let view = view::View {
            name: desc.name.clone(),
            labels: desc.labels,
            off: self.off,
            dropped,
            caps,
            combined,
        };
        if let Some(name) = &self.rename {
            desc.name = Text::shared(name);
        }
        if let (Names::Fixed(names), false) = (desc.labels, view.dropped.is_empty()) {
            let stays = |name: &&&str| view.dropped.iter().all(|dropped| **dropped != ***name);
            desc.set_labels(&names.iter().filter(stays).copied().collect::<Vec<_>>());
        }
        desc.drop_constants(&self.drop);
        if view.changes_labels() {
            // All combinations of a closed label set have series.
            desc.limit = desc.limit.max(desc.closed.len());
        }
        desc.limit = self.limit.unwrap_or(desc.limit);
        if desc.kind == Kind::Histogram {
            if let Some(bounds) = self.buckets {
                desc.set_bounds(bounds);
            }
            if let Some(schema) = self.native {
                desc.native = Some(Resolution::new(schema));
            }
        }
        if self.off {
            make_cheap(desc);
        }
        desc.view = Some(Arc::new(view));
    }

    /// Changes a family that a collector wrote. Returns `false` if it is off.
    pub(super) fn apply_to(&self, family: &mut snapshot::Family) -> bool {
        if self.off {
            return false;
        }
        if let Some(name) = &self.rename {
            family.meta.name = Text::shared(name);
        }
        if !self.drop.is_empty() && family.kind() != Kind::StateSet {
            family.drop_labels(&self.drop, self.gauges.unwrap_or(family.meta.merge));
        }
        true
    }
}

/// Gives a family that is off the cheapest updates of its kind: one series, whose cells each thread
/// has from the first update on.
fn make_cheap(desc: &mut Desc) {
    desc.labels = Names::Fixed(&[]);
    desc.hot = true;
    desc.expire_after = None;
    if desc.kind == Kind::Histogram && desc.native.is_none() {
        desc.bounds = &[1.0];
    }
    desc.targets = Targets::new(&[]);
    (desc.max_age, desc.ages) = (None, None);
}

/// Returns the text that the first `*` of a pattern matched, or `None` if the name does not match.
fn capture<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    let Some((before, after)) = pattern.split_once('*') else {
        return (pattern == name).then_some("");
    };
    let rest = name.strip_prefix(before)?;
    // Of several ways, the one in which the first `*` matches the least.
    let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    let end = ends.find(|end| is_match(after, &rest[*end..]))?;
    Some(&rest[..end])
}

/// Returns whether a name matches a pattern.
fn is_match(pattern: &str, name: &str) -> bool {
    let Some((start, parts)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(start) else {
        return false;
    };
    // The first place of each part leaves the most for the parts after it.
    let (middle, end) = parts.rsplit_once('*').unwrap_or(("", parts));
    for part in middle.split('*') {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, star) in [
            ("a", "a", Some("")),
            ("a", "ab", None),
            ("a*", "ab", Some("b")),
            ("*", "", Some("")),
            ("*_total", "a_total_total", Some("a_total")),
            ("a*b*c", "axxbyc", Some("xx")),
            ("a*b*c", "axxbyd", None),
            ("*b", "ab", Some("a")),
            ("a*a", "a", None),
        ] {
            assert_eq!(capture(pattern, name), star, "{pattern} {name}");
        }
    }

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
