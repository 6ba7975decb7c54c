//! Views: rules that change families by their names, from code or from data.

mod apply;

use tallies_names::setters;

use crate::error::Error;
use crate::family::grammar::{check_label, check_name};
use crate::family::shape::{check_bounds, without_infinity};
use crate::snapshot::{GaugeMode, Kind, Resolution};

/// A rule that changes the families whose names match a pattern, without a change of the code that
/// declares them. [`Registry::add_view`](crate::Registry::add_view) adds it.
///
/// ```
/// use tallies::{Counter, Registry, View};
///
/// let registry = Registry::new();
/// registry.add_view(View::new("mail_*").drop_label("peer").limit(100))?;
/// let sent = Counter::builder("mail_sent_total", "Messages sent.")
///     .labels(["peer", "queue"])
///     .register(&registry)?;
/// sent.with(["a", "news"]).inc();
/// sent.with(["b", "news"]).inc();
/// assert_eq!(registry.snapshot().get("mail_sent_total", &[("queue", "news")]), Some(2.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The crate `tallies-config` reads views from a file. The fields are `family` (the pattern), and
/// those of `drop`, `caps`, `rename`, `buckets`, `native`, `limit`, `gauge_mode` (`sum`, `min`,
/// `max` or `recent`) and `off` that are wanted:
///
/// ```yaml
/// - family: mail_*
///   drop: [peer]
///   caps: {queue: 20}
/// - family: debug_*
///   off: true
/// ```
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The pattern of the names of families.
    pub(super) family: String,
    drop: Vec<String>,
    caps: Vec<(String, usize)>,
    rename: Option<String>,
    buckets: Option<Vec<f64>>,
    native: Option<i8>,
    limit: Option<usize>,
    gauge_mode: Option<GaugeMode>,
    off: Option<bool>,
    /// Where a file has this view. `None` for a view from code.
    place: Option<Box<str>>,
}

impl View {
    /// Creates a view of the families whose names match `pattern`. In a pattern, `*` stands for any
    /// number of characters.
    ///
    /// The names are those of the declarations: before [`rename`](Self::rename), and without the
    /// prefix of the registry. A view without settings changes nothing, and one that matches no
    /// family waits for one, since families may be declared at any time.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self {
            family: pattern.to_owned(),
            ..Self::default()
        }
    }

    setters! {
        /// Drops a label: the series that differ only in it become one, which counts what all of
        /// them would have counted. Families without the label stay as they are.
        ///
        /// ```
        /// use tallies::{Histogram, Registry, View};
        ///
        /// let registry = Registry::new();
        /// registry.add_view(View::new("*").drop_label("user"))?;
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
        /// [`gauge_mode`](Self::gauge_mode) decides. A family with a dropped label makes fewer
        /// series, so it stays farther from its limit. (Gauges that are combined in a scrape make
        /// as many as before.)
        ///
        /// A constant label of a family is dropped, too; one of the registry stays. The label of a
        /// state set cannot be dropped. A label that no family has is no error, because one view
        /// can be for many families.
        ///
        /// With a thread's cached label set, an update costs what it costs without the view. A
        /// label set of enums becomes an open one: its updates look the label values up.
        fn drop_label(self, label: &str) = self.drop.push(label.to_owned());

        /// Limits the number of values of a label. The first values get series of their own.
        /// Further values become `__overflow__`, while the other labels stay, so their totals stay
        /// exact.
        ///
        /// ```
        /// use tallies::{Counter, Registry, View};
        ///
        /// let registry = Registry::new();
        /// registry.add_view(View::new("hits_total").cap("path", 1))?;
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
        /// A value keeps its room when its series is removed or expires; `clear` on the metric
        /// frees all. Series of gauges beyond the cap share one value, which the last `set`
        /// decides. For families of collectors, caps have no effect. With a cap of 0, every value
        /// becomes `__overflow__`: [`drop_label`](Self::drop_label) is shorter.
        fn cap(self, label: &str, values: usize) = self.caps.push((label.to_owned(), values));

        /// Gives the family another name. With a `*` in both the pattern and the name, the name's
        /// gets the text that the pattern's first one matched.
        ///
        /// ```
        /// use tallies::{Registry, View};
        ///
        /// let registry = Registry::new();
        /// registry.add_view(View::new("old_*").rename("new_*"))?;
        /// registry.counter("old_jobs_total", "Jobs done.")?.inc();
        /// assert_eq!(registry.snapshot().get("new_jobs_total", &[]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// A name that another family has is an error where the second one is registered. A static
        /// is then not exported, which is logged. Methods of the registry that take names take the
        /// new one.
        fn rename(self, name: &str) = self.rename = Some(name.to_owned());

        /// Sets the upper bounds of the buckets of histograms. Other kinds have none.
        fn buckets(self, bounds: &[f64]) = self.buckets = Some(bounds.to_vec());

        /// Adds exponential buckets to histograms. The fixed ones that the declaration or
        /// [`buckets`](Self::buckets) set stay, the default ones do not. See
        /// [`Histogram::native`](crate::Histogram::native).
        ///
        /// An update of a histogram without labels that is declared without exponential buckets
        /// takes the cold path each time.
        fn native(self, schema: i8) = self.native = Some(schema);

        /// Sets the limit of series. Label sets of enums only have none. See
        /// [`Builder::limit`](crate::Builder::limit).
        fn limit(self, series: usize) = self.limit = Some(series);

        /// Sets how the series of a gauge become one when a label is dropped. The default is how
        /// the gauges of several processes are merged, which the declaration says
        /// ([`Gauge::mode`](crate::Gauge::mode)), or else the sum.
        ///
        /// ```
        /// use tallies::{Gauge, Registry, View, snapshot::GaugeMode};
        ///
        /// let registry = Registry::new();
        /// let hottest = View::new("*_celsius").drop_label("disk").gauge_mode(GaugeMode::Max);
        /// registry.add_view(hottest)?;
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
        fn gauge_mode(self, rule: GaugeMode) = self.gauge_mode = Some(rule);

        /// Switches the family off: no scrape exports it, and its updates make no series.
        ///
        /// ```
        /// use tallies::{Registry, View};
        ///
        /// let registry = Registry::new();
        /// registry.add_view(View::new("debug_*").off())?;
        /// registry.counter("debug_steps_total", "Steps.")?.inc();
        /// assert!(registry.snapshot().family("debug_steps_total").is_none());
        /// # Ok::<(), tallies::Error>(())
        /// ```
        ///
        /// The name stays taken. An update of a gauge, a histogram or a summary without labels
        /// returns at a branch that it has anyway, the one that its first update takes. Counters
        /// count in a cell of the thread, which is cheaper still. With labels, all label sets share
        /// one series. So what `get` returns has no meaning.
        fn off(self) = self.off = Some(true);

        /// Switches the family on again that an earlier view switched off.
        ///
        /// ```
        /// use tallies::{Registry, View};
        ///
        /// let registry = Registry::new();
        /// registry.add_view(View::new("*").off())?;
        /// registry.add_view(View::new("http_*").on())?;
        /// registry.counter("http_requests_total", "Requests.")?;
        /// assert!(registry.snapshot().family("http_requests_total").is_some());
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn on(self) = self.off = Some(false);

        /// Says where a file has the view. Errors about it begin with this text.
        ///
        /// ```
        /// use tallies::{Registry, View};
        ///
        /// let view = View::new("").declared_at("views.toml, line 7");
        /// let error = Registry::new().add_view(view).unwrap_err().to_string();
        /// assert!(error.starts_with("views.toml, line 7: "), "{error}");
        /// ```
        fn declared_at(self, place: &str) = self.place = Some(place.into());
    }

    /// Adds the place to an error, if the view has one.
    pub(crate) fn placed(&self, error: Error) -> Error {
        match &self.place {
            Some(place) => error.at(place),
            None => error,
        }
    }

    /// Checks everything that does not depend on a family.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_parts().map_err(|error| self.placed(error))
    }

    fn check_parts(&self) -> Result<(), Error> {
        let error = |why: String| {
            let family = self.family.escape_debug();
            Err(Error::other(format_args!("view `{family}` {why}")))
        };
        if self.family.is_empty() {
            return error("needs a pattern, such as `http_*`".to_owned());
        }
        if let Some(rename) = &self.rename {
            let stars = |text: &str| text.matches('*').count();
            let (pattern, stars) = (stars(&self.family), stars(rename));
            let why = if stars > 1 || stars > pattern {
                "may have one `*` if the pattern has one"
            } else if pattern > 0 && stars == 0 {
                "several families cannot share; put a `*` into the name"
            } else if check_name(rename.replacen('*', "x", 1).as_bytes()).is_err() {
                "is not a metric name"
            } else {
                ""
            };
            if !why.is_empty() {
                return error(format!("renames to `{rename}`, which {why}"));
            }
        }
        let caps = self.caps.iter().map(|(label, _)| label);
        for label in self.drop.iter().chain(caps) {
            if check_label(label.as_bytes(), Kind::Gauge).is_err() {
                return error(format!(
                    "names the label `{label}`, which no family can have"
                ));
            }
        }
        if let Some(bounds) = &self.buckets {
            check_bounds(without_infinity(bounds)).map_err(|rule| rule.error(&self.family))?;
        }
        if let Some(schema) = self.native {
            let native = Resolution::new(schema);
            native.check().map_err(|rule| rule.error(&self.family))?;
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
