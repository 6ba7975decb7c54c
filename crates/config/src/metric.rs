//! The metrics that a registry creates from data, by name.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tallies::label::{AnyLabels, DEFAULT_LIMIT, DynLabels, values_in_order};
use tallies::{Counter, Error, Gauge, Histogram, Info, Series, StateSet, Summary};

use super::config::{MetricConfig, MetricKind};

/// A metric that was created from data. A clone is the same metric.
///
/// ```
/// use tallies_config::{Configure, MetricConfig, MetricKind};
///
/// let registry = tallies::Registry::new();
/// let disks = MetricConfig::new("disk_free_bytes", "Free space.", MetricKind::Gauge).labels(["disk"]);
/// let metrics = registry.create_metrics([disks])?;
/// let free = metrics.get("disk_free_bytes")?;
/// assert_eq!((free.kind(), free.labels()), (MetricKind::Gauge, &["disk".to_owned()][..]));
/// free.with(&[("disk", "sda")])?.set(3e9)?;
/// free.remove(&[("disk", "sda")])?;
/// assert_eq!(registry.snapshot().get("disk_free_bytes", &[("disk", "sda")]), None);
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AnyMetric(Arc<Named>);

#[derive(Debug)]
struct Named {
    /// The description, with sorted labels.
    config: MetricConfig,
    inner: Inner,
}

#[derive(Debug)]
pub(super) enum Inner {
    /// A counter with labels. The lock is held while a total is set, so that two threads do not
    /// both add the difference.
    Counter(Counter<DynLabels, f64>, Mutex<Totals>),
    /// A counter without labels. Its family takes any labels, because the series of such a family
    /// can be removed, and this one is when its total goes back.
    Total(Counter<AnyLabels, f64>, Mutex<()>),
    Gauge(Gauge<DynLabels>),
    Histogram(Histogram<DynLabels>),
    Summary(Summary<DynLabels>),
    Enum(StateSet<String, DynLabels>),
    /// An info. Its family takes any labels: those of the configuration, and the pairs. The lock is
    /// held while pairs replace others.
    Info(Info<AnyLabels>, Mutex<Pairs>),
}

/// The last pairs of an info for each label set.
pub(super) type Pairs = BTreeMap<Vec<String>, Vec<(String, String)>>;

/// The last total that was set for each label set. Only for a counter whose label sets share series
/// because of a view: the value of a series does not tell the total of one label set.
pub(super) type Totals = HashMap<Vec<String>, f64>;

impl AnyMetric {
    pub(super) fn new(config: &MetricConfig, inner: Inner) -> Self {
        let mut config = config.clone();
        config.labels.sort_unstable();
        Self(Arc::new(Named { config, inner }))
    }

    /// Returns the name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// Returns the name of the family, without the registry's prefix. It differs from
    /// [`name`](Self::name) if that lacks the `_total` of a counter or the `_info` of an info, and
    /// if a [view](tallies::View) renames it.
    #[must_use]
    pub fn family_name(&self) -> &str {
        match &self.0.inner {
            Inner::Counter(metric, _) => metric.name(),
            Inner::Total(metric, _) => metric.name(),
            Inner::Gauge(metric) => metric.name(),
            Inner::Histogram(metric) => metric.name(),
            Inner::Summary(metric) => metric.name(),
            Inner::Enum(metric) => metric.name(),
            Inner::Info(metric, _) => metric.name(),
        }
    }

    /// Returns the help text.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.0.config.description
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        self.0.config.kind
    }

    /// Returns the label names of the configuration, sorted. A [view](tallies::View) does not
    /// change them.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.0.config.labels
    }

    /// Returns the values of these labels in the order of the names.
    fn in_order<'a>(&self, labels: &[(&str, &'a str)]) -> Result<Vec<&'a str>, Error> {
        values_in_order(self.family_name(), &texts(self.labels()), labels)
    }

    /// Returns the series of these labels, in any order. An update through it makes the series if
    /// there is none.
    ///
    /// # Errors
    ///
    /// Names that are not exactly [those](Self::labels) of the metric.
    pub fn with(&self, labels: &[(&str, &str)]) -> Result<AnySeries<'_>, Error> {
        let values = self.in_order(labels)?;
        Ok(AnySeries {
            metric: self,
            values: values.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Removes the series of these labels and drops its value. Returns `false` if there is none.
    ///
    /// A gauge, histogram, summary or enum without labels has one series for ever, and stays. So
    /// does a series in which other labels count, too, because of a [view](tallies::View).
    ///
    /// # Errors
    ///
    /// The same as for [`with`](Self::with).
    pub fn remove(&self, labels: &[(&str, &str)]) -> Result<bool, Error> {
        let values = &*self.in_order(labels)?;
        Ok(match &self.0.inner {
            Inner::Counter(metric, totals) => {
                lock(totals).retain(|own, _| own.iter().ne(values));
                !metric.shares(values) && metric.remove(values)
            }
            Inner::Total(metric, _) => metric.remove(&[]),
            Inner::Gauge(metric) => !metric.shares(values) && metric.remove(values),
            Inner::Histogram(metric) => !metric.shares(values) && metric.remove(values),
            Inner::Summary(metric) => !metric.shares(values) && metric.remove(values),
            Inner::Enum(metric) => !metric.shares(values) && metric.remove(values),
            Inner::Info(metric, sets) => {
                let own: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
                let mut sets = lock(sets);
                let removed = sets.remove(&own);
                removed.is_some_and(|pairs| self.remove_info(metric, &sets, &own, &pairs))
            }
        })
    }

    /// Returns the labels of a series of an info.
    fn info_labels<'a>(
        &'a self,
        own: &'a [String],
        pairs: &'a [(String, String)],
    ) -> Vec<(&'a str, &'a str)> {
        let names = self.labels().iter().map(String::as_str);
        let own = names.zip(own.iter().map(String::as_str));
        own.chain(pairs.iter().map(|(name, value)| (&**name, &**value)))
            .collect()
    }

    /// Removes a series of an info, unless one of the other label sets has it, too.
    fn remove_info(
        &self,
        metric: &Info<AnyLabels>,
        others: &Pairs,
        own: &[String],
        pairs: &[(String, String)],
    ) -> bool {
        let labels = self.info_labels(own, pairs);
        let removed = metric.remove(&labels);
        if metric.shares(&labels) {
            // Infos have no value, so those of others are as before.
            for (own, pairs) in others {
                metric.with(&self.info_labels(own, pairs));
            }
            return removed && metric.find(&labels).is_none();
        }
        removed
    }

    /// Removes all series for whose labels `keep` returns `false`, and returns their number. `keep`
    /// gets the label values in the order of [`labels`](Self::labels).
    ///
    /// ```
    /// use tallies_config::{Configure, MetricConfig, MetricKind};
    ///
    /// let registry = tallies::Registry::new();
    /// let disks = MetricConfig::new("disk_free_bytes", "Free space.", MetricKind::Gauge).labels(["disk"]);
    /// let metrics = registry.create_metrics([disks])?;
    /// let free = metrics.get("disk_free_bytes")?;
    /// for disk in ["sda", "sdb"] {
    ///     free.with(&[("disk", disk)])?.set(3e9)?;
    /// }
    /// assert_eq!(free.retain(|values| values == ["sda"]), 1);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// A series in which several label sets count because of a [view](tallies::View) stays, and
    /// `keep` is not called for it.
    pub fn retain(&self, mut keep: impl FnMut(&[&str]) -> bool) -> usize {
        type Pairs<'a> = [(&'a str, Cow<'a, str>)];
        let mut keeps = |pairs: &Pairs<'_>, shares: &dyn Fn(&[&str]) -> bool| {
            let value = |name: &String| {
                let pair = pairs.iter().find(|(own, _)| own == name);
                pair.map_or("", |(_, value)| &**value)
            };
            let values: Vec<_> = self.labels().iter().map(value).collect();
            shares(&values) || keep(&values)
        };
        match &self.0.inner {
            Inner::Counter(metric, totals) => {
                let shares = |values: &[&str]| metric.shares(values);
                let count = metric.retain(|pairs| keeps(pairs, &shares));
                lock(totals).retain(|own, _| keep(&texts(own)));
                count
            }
            Inner::Total(metric, _) => metric.retain(|pairs| keeps(pairs, &|_| false)),
            Inner::Gauge(metric) => {
                metric.retain(|pairs| keeps(pairs, &|values| metric.shares(values)))
            }
            Inner::Histogram(metric) => {
                metric.retain(|pairs| keeps(pairs, &|values| metric.shares(values)))
            }
            Inner::Summary(metric) => {
                metric.retain(|pairs| keeps(pairs, &|values| metric.shares(values)))
            }
            Inner::Enum(metric) => {
                metric.retain(|pairs| keeps(pairs, &|values| metric.shares(values)))
            }
            Inner::Info(metric, sets) => {
                let mut count = 0;
                lock(sets).retain(|own, pairs| {
                    let labels = self.info_labels(own, pairs);
                    let stays = metric.shares(&labels) || keep(&texts(own));
                    if !stays {
                        count += usize::from(metric.remove(&labels));
                    }
                    stays
                });
                count
            }
        }
    }

    /// Removes all series and drops their values, as [`remove`](Self::remove) does.
    pub fn clear(&self) {
        match &self.0.inner {
            Inner::Counter(metric, totals) => {
                lock(totals).clear();
                metric.clear();
            }
            Inner::Total(metric, _) => metric.clear(),
            Inner::Gauge(metric) => metric.clear(),
            Inner::Histogram(metric) => metric.clear(),
            Inner::Summary(metric) => metric.clear(),
            Inner::Enum(metric) => metric.clear(),
            Inner::Info(metric, sets) => {
                lock(sets).clear();
                metric.clear();
            }
        }
    }
}

/// One series of an [`AnyMetric`]: its updates. One that the metric's kind does not have is an
/// error.
///
/// | update | kinds |
/// |---|---|
/// | [`inc`](Self::inc), [`add`](Self::add) | counter, gauge |
/// | [`set`](Self::set) | gauge; counter, whose total is kept elsewhere |
/// | [`observe`](Self::observe) | histogram, summary |
/// | [`state`](Self::state) | enum |
/// | [`info`](Self::info) | info |
#[derive(Clone, Debug)]
pub struct AnySeries<'a> {
    metric: &'a AnyMetric,
    values: Vec<String>,
}

impl AnySeries<'_> {
    /// Returns the error of an update that the kind of the metric does not have.
    fn other(&self, update: &'static str) -> Error {
        let (name, kind) = (self.metric.name(), self.metric.kind());
        let what = format!("metric `{name}` is of type {kind}, which has no `{update}`");
        Error::new(what)
    }

    /// Returns the error of a label set beyond the limit.
    fn limit_reached(&self, limit: usize) -> Error {
        let name = self.metric.family_name();
        Error::new(format!(
            "metric `{name}` has reached its limit of {limit} label sets; remove those that are gone"
        ))
    }

    /// Adds 1.
    ///
    /// # Errors
    ///
    /// A metric that is neither a counter nor a gauge.
    pub fn inc(&self) -> Result<(), Error> {
        self.add_as(1.0, "inc")
    }

    /// Adds an amount, which for a counter is not negative.
    ///
    /// # Errors
    ///
    /// A metric that is neither a counter nor a gauge, and a negative or infinite amount for a
    /// counter.
    pub fn add(&self, amount: f64) -> Result<(), Error> {
        self.add_as(amount, "add")
    }

    fn add_as(&self, amount: f64, update: &'static str) -> Result<(), Error> {
        match &self.metric.0.inner {
            Inner::Counter(metric, _) => metric.with(&texts(&self.values)).try_add(amount),
            Inner::Total(metric, _) => metric.with(&[]).try_add(amount),
            Inner::Gauge(metric) => {
                metric.with(&texts(&self.values)).add(amount);
                Ok(())
            }
            _ => Err(self.other(update)),
        }
    }

    /// Sets a gauge to a value, or a counter to the total that another program or the system
    /// keeps.
    ///
    /// If a counter's new total is less than the one before, the other program has started again.
    /// The series then starts again, too, as Prometheus expects it.
    ///
    /// ```
    /// use tallies_config::{Configure, MetricConfig, MetricKind};
    ///
    /// let registry = tallies::Registry::new();
    /// let metrics =
    ///     registry.create_metrics([MetricConfig::new("reads_total", "Reads.", MetricKind::Counter)])?;
    /// for total in [7.0, 9.0, 2.0] {
    ///     metrics.with("reads_total", &[])?.set(total)?;
    ///     assert_eq!(registry.snapshot().get("reads_total", &[]), Some(total));
    /// }
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// A total is set by adding the difference, which takes a pass over all threads. It can so
    /// differ from the given one in the last digit, if it is not a whole number. A total that is
    /// less than the one before only by such a digit changes nothing.
    ///
    /// If label sets share a series because of a [view](tallies::View), the series has the sum of
    /// their increases. It does not start again with one of them. The totals of at most
    /// [`DEFAULT_LIMIT`] label sets are remembered, until [`AnyMetric::retain`] leaves one out.
    ///
    /// # Errors
    ///
    /// A metric that is neither a counter nor a gauge, a negative or infinite total, and a label
    /// set whose total cannot be remembered.
    pub fn set(&self, value: f64) -> Result<(), Error> {
        match &self.metric.0.inner {
            Inner::Gauge(metric) => {
                metric.with(&texts(&self.values)).set(value);
                Ok(())
            }
            // The error shows the total as it was given, not the difference.
            Inner::Counter(..) | Inner::Total(..) if !(value >= 0.0 && value.is_finite()) => {
                self.add_as(value, "set")
            }
            Inner::Counter(metric, totals) => {
                let mut totals = lock(totals);
                let texts = texts(&self.values);
                if metric.is_off() {
                    return Ok(());
                }
                if metric.shares(&texts) {
                    // The series goes on: others count in it.
                    let last = totals.get(&self.values).copied();
                    if last.is_none() && totals.len() >= DEFAULT_LIMIT {
                        let name = self.metric.family_name();
                        let what = format!(
                            "the totals of {DEFAULT_LIMIT} label sets of family `{name}` are \
                             remembered, and no more; remove those that are gone"
                        );
                        return Err(Error::new(what));
                    }
                    let last = last.unwrap_or(0.0);
                    let restarted = (0.0..last).contains(&value);
                    let more = if restarted { value } else { value - last };
                    metric.with(&texts).try_add(more)?;
                    totals.insert(self.values.clone(), value);
                    return Ok(());
                }
                let remove = || _ = metric.remove(&texts);
                set_total(|| metric.with(&texts), remove, value)
            }
            Inner::Total(metric, one) => {
                let _lock = lock(one);
                set_total(|| metric.with(&[]), || _ = metric.remove(&[]), value)
            }
            _ => Err(self.other("set")),
        }
    }

    /// Counts a value in a histogram or summary.
    ///
    /// # Errors
    ///
    /// A metric that is neither, and NaN.
    pub fn observe(&self, value: f64) -> Result<(), Error> {
        match &self.metric.0.inner {
            Inner::Histogram(metric) => metric.with(&texts(&self.values)).try_observe(value),
            Inner::Summary(metric) => metric.with(&texts(&self.values)).try_observe(value),
            _ => Err(self.other("observe")),
        }
    }

    /// Sets the current state of an enum.
    ///
    /// # Errors
    ///
    /// A metric that is no enum, a state that it does not have, and a series beyond the limit.
    pub fn state(&self, state: &str) -> Result<(), Error> {
        let Inner::Enum(metric) = &self.metric.0.inner else {
            return Err(self.other("state"));
        };
        let texts = texts(&self.values);
        let is_new = metric.find(&texts).is_none();
        if is_new && metric.is_full() {
            return Err(self.limit_reached(metric.len()));
        }
        let set = metric.with(&texts).try_set(state.to_owned());
        if set.is_err() && is_new {
            metric.remove(&texts);
        }
        set
    }

    /// Sets the pairs of an info, which are further labels, and removes those of before.
    ///
    /// ```
    /// use tallies_config::{Configure, MetricConfig, MetricKind};
    ///
    /// let registry = tallies::Registry::new();
    /// let metrics =
    ///     registry.create_metrics([MetricConfig::new("server_info", "The server.", MetricKind::Info)])?;
    /// metrics.with("server_info", &[])?.info(&[("version", "8.0"), ("mode", "cluster")])?;
    /// let labels = [("version", "8.0"), ("mode", "cluster")];
    /// assert_eq!(registry.snapshot().get("server_info", &labels), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A metric that is no info; a name that is invalid, given twice or a label of the metric; a
    /// series beyond the limit.
    pub fn info(&self, pairs: &[(&str, &str)]) -> Result<(), Error> {
        let Inner::Info(metric, sets) = &self.metric.0.inner else {
            return Err(self.other("info"));
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let pairs: Vec<_> = pairs.iter().map(owned).collect();
        let labels = self.metric.info_labels(&self.values, &pairs);
        metric.check(&labels)?;
        let mut sets = lock(sets);
        let is_new = !sets.contains_key(&self.values) && metric.find(&labels).is_none();
        if is_new && metric.is_full() {
            return Err(self.limit_reached(metric.len()));
        }
        let old = sets.insert(self.values.clone(), pairs.clone());
        if let Some(old) = old.filter(|old| *old != pairs) {
            self.metric.remove_info(metric, &sets, &self.values, &old);
        }
        metric.with(&labels);
        Ok(())
    }
}

fn texts(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of a total by which the sum of its differences may exceed it. It is some hundred times
/// what rounding does to the sum of a few threads' cells.
const ROUNDING: f64 = 1e-13;

/// Adds what is missing to a total, or begins again if there is too much.
fn set_total<'a>(
    series: impl Fn() -> Series<'a, Counter<(), f64>>,
    remove: impl FnOnce(),
    total: f64,
) -> Result<(), Error> {
    let counted = series().get();
    // Rounding may have left the sum just above the total that was set. That is no restart of the
    // other program, and Prometheus would count the whole total again.
    if total < counted && counted - total <= counted * ROUNDING {
        return Ok(());
    }
    if total < counted && total >= 0.0 {
        remove();
        return series().try_add(total);
    }
    series().try_add(total - counted)
}

/// The metrics that were created from data, by name. A clone has the same metrics.
///
/// ```
/// use tallies_config::{Configure, MetricConfig, MetricKind};
///
/// let registry = tallies::Registry::new();
/// let metrics = registry.create_metrics([
///     MetricConfig::new("jobs_total", "Jobs done.", MetricKind::Counter),
///     MetricConfig::new("queue_length", "Jobs waiting.", MetricKind::Gauge),
/// ])?;
/// assert_eq!(metrics.names().collect::<Vec<_>>(), ["jobs_total", "queue_length"]);
/// metrics.with("jobs_total", &[])?.inc()?;
/// assert!(metrics.get("job_total").is_err());
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MetricMap(Arc<BTreeMap<String, AnyMetric>>);

impl MetricMap {
    /// Returns the metric of this name.
    ///
    /// # Errors
    ///
    /// A name that none of these metrics has.
    pub fn get(&self, name: &str) -> Result<&AnyMetric, Error> {
        self.0.get(name).ok_or_else(|| {
            let name = name.escape_debug();
            let what = format!("no metric `{name}` was created from a configuration");
            Error::new(what)
        })
    }

    /// Returns a series of the metric of this name. See [`AnyMetric::with`].
    ///
    /// # Errors
    ///
    /// A name that none of these metrics has, and label names that are not exactly those of the
    /// metric.
    pub fn with(&self, name: &str, labels: &[(&str, &str)]) -> Result<AnySeries<'_>, Error> {
        self.get(name)?.with(labels)
    }

    /// Returns the names, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the metrics, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &AnyMetric> {
        self.0.values()
    }

    /// Returns the number of metrics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no metrics.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<AnyMetric> for MetricMap {
    fn from_iter<I: IntoIterator<Item = AnyMetric>>(metrics: I) -> Self {
        let named = metrics.into_iter().map(|m| (m.name().to_owned(), m));
        Self(Arc::new(named.collect()))
    }
}
