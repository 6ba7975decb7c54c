//! Settings of a recorder.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use tallies::label::{AnyLabels, DEFAULT_LIMIT};
use tallies::{Error, Gauge, Histogram, Registry, Summary, registry};
use tallies_names::setters;

use crate::Recorder;
use crate::names::{Matcher, label_name};

/// The default quantiles of metrics-exporter-prometheus, each with its allowed rank error.
const OBJECTIVES: [(f64, f64); 7] = [
    (0.0, 0.0),
    (0.5, 0.02),
    (0.9, 0.01),
    (0.95, 0.005),
    (0.99, 0.001),
    (0.999, 0.0005),
    (1.0, 0.0),
];

/// The default window: one minute, in three steps of 20 seconds.
const WINDOW: (Duration, u32) = (Duration::from_secs(60), 3);

/// Configures a [`Recorder`]. The defaults are those of metrics-exporter-prometheus.
///
/// ```
/// use tallies_metrics::{Matcher, Recorder};
///
/// let registry = tallies::Registry::new();
/// let recorder = Recorder::builder()
///     .registry(&registry)
///     .buckets_for(Matcher::suffix("_bytes"), &[1e3, 1e6, 1e9])
///     .label("service", "mail")
///     .build()?;
/// metrics::with_local_recorder(&recorder, || {
///     metrics::histogram!("attachment_bytes").record(12_000);
/// });
/// let seen = registry.snapshot();
/// assert_eq!(seen.get("attachment_bytes_bucket", &[("le", "1000000")]), Some(1.0));
/// # Ok::<(), tallies::Error>(())
/// ```
#[must_use = "nothing is recorded before `install`"]
pub struct Builder {
    pub(super) registry: Registry,
    /// The place of the program that made the builder.
    pub(super) made_at: &'static Location<'static>,
    pub(super) objectives: Vec<(f64, f64)>,
    pub(super) window: (Duration, u32),
    pub(super) labels: Vec<(String, String)>,
    pub(super) recommended_naming: bool,
    pub(super) limit: usize,
    pub(super) names: usize,
    pub(super) expire_after: Option<Duration>,
    pub(super) buckets: Option<Vec<f64>>,
    pub(super) buckets_for: Vec<(Matcher, Vec<f64>)>,
    pub(super) native_for: Vec<(Matcher, i8)>,
}

/// The default of [`Builder::limit_names`].
const NAMES: usize = 10_000;

impl Default for Builder {
    #[track_caller]
    fn default() -> Self {
        Self {
            registry: registry().clone(),
            made_at: Location::caller(),
            objectives: OBJECTIVES.to_vec(),
            window: WINDOW,
            labels: Vec::new(),
            recommended_naming: false,
            limit: DEFAULT_LIMIT,
            names: NAMES,
            expire_after: None,
            buckets: None,
            buckets_for: Vec::new(),
            native_for: Vec::new(),
        }
    }
}

impl Builder {
    setters! {
        /// Sets the registry that the recorder writes to, instead of the default one.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let builder = tallies_metrics::Recorder::builder().registry(&registry);
        /// let recorder = builder.build()?;
        /// metrics::with_local_recorder(&recorder, || metrics::counter!("jobs").increment(1));
        /// assert_eq!(registry.snapshot().get("jobs", &[]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn registry(self, registry: &Registry) = self.registry = registry.clone();

        /// Makes every `histogram!` a histogram with these bucket bounds. By default it is a
        /// summary, unless [`buckets_for`](Self::buckets_for) or [`native_for`](Self::native_for)
        /// applies.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let builder = tallies_metrics::Recorder::builder().registry(&registry);
        /// let recorder = builder.buckets(&[0.5, 2.5]).build()?;
        /// metrics::with_local_recorder(&recorder, || {
        ///     metrics::histogram!("wait_seconds").record(1.0);
        /// });
        /// assert_eq!(registry.snapshot().get("wait_seconds_bucket", &[("le", "2.5")]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn buckets(self, bounds: &[f64]) = self.buckets = Some(bounds.to_vec());

        /// Makes every `histogram!` that `matcher` matches a histogram with these bucket bounds. If
        /// several matchers apply to a name, a full name wins over a prefix, and a prefix over a
        /// suffix.
        ///
        /// ```
        /// use tallies_metrics::Matcher;
        ///
        /// let registry = tallies::Registry::new();
        /// let builder = tallies_metrics::Recorder::builder().registry(&registry);
        /// let recorder = builder.buckets_for(Matcher::suffix("_seconds"), &[0.5, 2.5]).build()?;
        /// metrics::with_local_recorder(&recorder, || {
        ///     metrics::histogram!("wait_seconds").record(1.0);
        /// });
        /// assert_eq!(registry.snapshot().get("wait_seconds_bucket", &[("le", "2.5")]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn buckets_for(self, matcher: Matcher, bounds: &[f64]) =
            set(&mut self.buckets_for, matcher, bounds.to_vec());

        /// Gives every `histogram!` that `matcher` matches exponential buckets, 2^`schema` for
        /// every power of two. [`Histogram::native`] describes them and their cost. Formats without
        /// exponential buckets show the bucket bounds, if the histogram has any, and otherwise only
        /// count and sum. If several matchers apply, the same one wins as in
        /// [`buckets_for`](Self::buckets_for).
        ///
        /// ```
        /// use tallies_metrics::{Matcher, Recorder};
        ///
        /// let registry = tallies::Registry::new();
        /// let builder = Recorder::builder().registry(&registry);
        /// let recorder = builder.native_for(Matcher::suffix("_seconds"), 3).build()?;
        /// metrics::with_local_recorder(&recorder, || {
        ///     metrics::histogram!("wait_seconds").record(0.25);
        /// });
        /// let median = registry.snapshot().quantile("wait_seconds", &[], 0.5).unwrap();
        /// assert!(median.lower <= 0.25 && 0.25 <= median.upper);
        /// assert!(median.upper < 1.1 * median.lower);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn native_for(self, matcher: Matcher, schema: i8) =
            set(&mut self.native_for, matcher, schema);

        /// Sets the quantiles of summaries and their rank errors. The default quantiles are 0, 0.5,
        /// 0.9, 0.95, 0.99, 0.999 and 1. With an empty list, summaries have only sum and count.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let builder = tallies_metrics::Recorder::builder().registry(&registry);
        /// let recorder = builder.objectives(&[(0.5, 0.01)]).build()?;
        /// metrics::with_local_recorder(&recorder, || {
        ///     metrics::histogram!("wait_seconds").record(1.0);
        /// });
        /// assert_eq!(registry.snapshot().get("wait_seconds", &[("quantile", "0.5")]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn objectives(self, objectives: &[(f64, f64)]) = self.objectives = objectives.to_vec();

        /// Sets the window of summaries: quantiles cover the last `max_age`, which advances in
        /// `ages` steps. The default is one minute in three steps. Sum and count cover the time
        /// since program start.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let builder = tallies_metrics::Recorder::builder().registry(&registry);
        /// let recorder = builder.window(std::time::Duration::from_secs(600), 5).build()?;
        /// metrics::with_local_recorder(&recorder, || {
        ///     metrics::histogram!("wait_seconds").record(1.0);
        /// });
        /// assert_eq!(registry.snapshot().get("wait_seconds_count", &[]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn window(self, max_age: Duration, ages: u32) = self.window = (max_age, ages);

        /// Adds a label to every series that does not have a label of this name itself.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let builder = tallies_metrics::Recorder::builder().registry(&registry);
        /// let recorder = builder.label("service", "mail").build()?;
        /// metrics::with_local_recorder(&recorder, || metrics::counter!("jobs").increment(1));
        /// assert_eq!(registry.snapshot().get("jobs", &[("service", "mail")]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn label(self, name: &str, value: &str) = {
            let name = label_name(name, None);
            self.labels.retain(|(other, _)| *other != name);
            self.labels.push((name, value.to_owned()));
        };

        /// Appends `_total` to the names of counters, and the unit to the names of metrics that are
        /// described with one, like `PrometheusBuilder::with_recommended_naming`. Off by default.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let builder = tallies_metrics::Recorder::builder().registry(&registry);
        /// let recorder = builder.recommended_naming(true).build()?;
        /// metrics::with_local_recorder(&recorder, || metrics::counter!("jobs").increment(1));
        /// assert_eq!(registry.snapshot().get("jobs_total", &[]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn recommended_naming(self, on: bool) = self.recommended_naming = on;

        /// Sets the limit of series per name; the default is [`DEFAULT_LIMIT`]. Updates beyond it
        /// go to the overflow series of the name.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let builder = tallies_metrics::Recorder::builder().registry(&registry);
        /// let recorder = builder.limit(1).build()?;
        /// metrics::with_local_recorder(&recorder, || {
        ///     metrics::counter!("jobs", "queue" => "mail").increment(1);
        ///     metrics::counter!("jobs", "queue" => "print").increment(1);
        /// });
        /// let labels = [("overflow", "__overflow__")];
        /// assert_eq!(registry.snapshot().get("jobs", &labels), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn limit(self, series: usize) = self.limit = series;

        /// Sets the limit of names; the default is 10 000. Metrics with further names record
        /// nothing; this is logged once and counted in `tallies_rejected_families_total`. The limit
        /// is for names made from data: each name takes about 10 KB that is never freed.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let builder = tallies_metrics::Recorder::builder().registry(&registry);
        /// let recorder = builder.limit_names(1).build()?;
        /// metrics::with_local_recorder(&recorder, || {
        ///     metrics::counter!("jobs").increment(1);
        ///     metrics::counter!("beyond_the_limit").increment(1);
        /// });
        /// assert_eq!(registry.names(), ["jobs"]);
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn limit_names(self, names: usize) = self.names = names;

        /// Stops exposing a series whose value has been the same in every scrape for the duration
        /// `idle`. A write that does not change the value, such as setting a gauge to its current
        /// value, does not count as a change.
        ///
        /// The counts of an expired series stay in the total of its family. The next update brings
        /// the series back, and counters start from zero. A counter that is only updated through
        /// `absolute` then counts the growth of its total from that point on.
        ///
        /// ```
        /// use std::time::Duration;
        ///
        /// let registry = tallies::Registry::new();
        /// let builder = tallies_metrics::Recorder::builder().registry(&registry);
        /// let recorder = builder.expire_after(Duration::from_secs(3600)).build()?;
        /// metrics::with_local_recorder(&recorder, || {
        ///     metrics::counter!("jobs", "queue" => "mail").increment(1);
        /// });
        /// assert_eq!(registry.snapshot().get("jobs", &[("queue", "mail")]), Some(1.0));
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn expire_after(self, idle: Duration) = self.expire_after = Some(idle);
    }

    /// Builds a recorder without installing it: for [`metrics::with_local_recorder`], for tests,
    /// and for layers that wrap it.
    ///
    /// ```
    /// use tallies_metrics::Recorder;
    ///
    /// assert!(Recorder::builder().buckets(&[1.0, 2.0]).build().is_ok());
    /// assert!(Recorder::builder().buckets(&[2.0, 1.0]).build().is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if
    ///
    /// - bucket bounds are not finite or do not ascend;
    /// - a schema is not in the range from -4 to 8;
    /// - there are more than seven quantiles, one is outside the range from 0 to 1, or its rank
    ///   error is too small for a sketch;
    /// - the window is shorter than 0.1 seconds, or has fewer than 2 or more than 60 ages.
    pub fn build(self) -> Result<Recorder, Error> {
        let trial = Registry::new();
        trial.set_lint(false);
        if let Some(bounds) = &self.buckets {
            let histogram = Histogram::builder("histogram", "");
            histogram.buckets(bounds).register(&trial)?;
        }
        let histogram = |matcher: &Matcher| {
            trial.clear();
            Histogram::builder(&format!("histogram_{}", matcher.text()), "")
        };
        for (matcher, bounds) in &self.buckets_for {
            histogram(matcher).buckets(bounds).register(&trial)?;
        }
        for (matcher, schema) in &self.native_for {
            histogram(matcher).native(*schema).register(&trial)?;
        }
        trial.clear();
        Summary::builder("summary", "")
            .objectives(&self.objectives)?
            .max_age(self.window.0)
            .ages(self.window.1)
            .register(&trial)?;
        let mut gauge = Gauge::builder("gauge", "").label_set::<AnyLabels>();
        for (name, value) in &self.labels {
            gauge = gauge.constant(name, value);
        }
        gauge.register(&trial)?;
        Ok(Recorder::of(self))
    }

    /// Builds the recorder and installs it for the whole program.
    ///
    /// Call this first in `main`. Updates before it are lost, and handles created before it never
    /// count anything.
    ///
    /// ```
    /// tallies_metrics::Recorder::builder().limit(100).install()?;
    /// metrics::counter!("jobs").increment(1);
    /// assert_eq!(tallies::snapshot().get("jobs", &[]), Some(1.0));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`build`](Self::build), and an error if the program already has a
    /// recorder. That recorder stays installed.
    pub fn install(self) -> Result<(), Error> {
        let taken = "another recorder for the `metrics` crate is installed already; a program can \
                     have only one";
        metrics::set_global_recorder(self.build()?).map_err(|_| Error::new(taken))
    }
}

/// Adds a setting in order of precedence. Replaces the setting with an equal matcher.
fn set<T>(settings: &mut Vec<(Matcher, T)>, matcher: Matcher, value: T) {
    settings.retain(|(other, _)| *other != matcher);
    settings.push((matcher, value));
    settings.sort_by(|(a, _), (b, _)| a.cmp(b));
}

/// Returns the first setting whose matcher selects `name`.
pub(super) fn first_match<'a, T>(settings: &'a [(Matcher, T)], name: &str) -> Option<&'a T> {
    let (_, value) = settings.iter().find(|(matcher, _)| matcher.matches(name))?;
    Some(value)
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("buckets", &self.buckets)
            .field("buckets_for", &self.buckets_for)
            .field("native_for", &self.native_for)
            .field("objectives", &self.objectives)
            .field("recommended_naming", &self.recommended_naming)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, with_local_recorder};

    use super::*;

    #[test]
    fn what_expired_comes_back_from_zero() {
        let registry = Registry::new();
        let builder = Recorder::builder().registry(&registry);
        let recorder = builder.expire_after(Duration::from_millis(50));
        let recorder = recorder.build().unwrap();
        let seen = |total, level| {
            with_local_recorder(&recorder, || {
                counter!("total", "a" => "b").absolute(total);
                gauge!("level", "a" => "b").set(level);
            });
            let seen = registry.snapshot();
            ["total", "level"].map(|name| seen.get(name, &[("a", "b")]))
        };
        assert_eq!(seen(7, 1.0), [Some(7.0), Some(1.0)]);
        // Written again and again, but with the same values.
        while seen(7, 1.0) != [None, None] {
            std::thread::yield_now();
        }
        assert_eq!(seen(9, 1.0), [Some(2.0), Some(1.0)]);
    }
}
