//! What a recorder can be told.

use std::fmt;
use std::time::Duration;

use crate::declare::{Gauge, Histogram, Summary};
use crate::error::Error;
use crate::family::desc::DEFAULT_LIMIT;
use crate::family::label::AnyLabels;
use crate::registry::{Registry, registry};

use super::Recorder;
use super::names::{Matcher, label_name};

/// The quantiles that metrics-exporter-prometheus has by default, each with the rank error it may have here.
const OBJECTIVES: [(f64, f64); 7] = [
    (0.0, 0.0),
    (0.5, 0.02),
    (0.9, 0.01),
    (0.95, 0.005),
    (0.99, 0.001),
    (0.999, 0.0005),
    (1.0, 0.0),
];

/// Three ages of 20 seconds.
const WINDOW: (Duration, u32) = (Duration::from_secs(60), 3);

/// Sets up a [`Recorder`]; what it does not say is as metrics-exporter-prometheus has it.
///
/// ```
/// use tallies::facade::{Matcher, Recorder};
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
    pub(super) objectives: Vec<(f64, f64)>,
    pub(super) window: (Duration, u32),
    pub(super) labels: Vec<(String, String)>,
    pub(super) recommended_naming: bool,
    pub(super) limit: usize,
    pub(super) names: usize,
    pub(super) expire_after: Option<Duration>,
    buckets: Option<Vec<f64>>,
    buckets_for: Vec<(Matcher, Vec<f64>)>,
    native_for: Vec<(Matcher, i8)>,
}

/// The most names, unless [`Builder::limit_names`] says otherwise.
const NAMES: usize = 10_000;

impl Default for Builder {
    fn default() -> Self {
        Self {
            registry: registry().clone(),
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
    /// The registry it writes to, instead of the default one.
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.registry = registry.clone();
        self
    }

    /// Every `histogram!` is a histogram with these bounds. Without this, and unless
    /// [`buckets_for`](Self::buckets_for) or [`native_for`](Self::native_for) says otherwise, it is a summary.
    pub fn buckets(mut self, bounds: &[f64]) -> Self {
        self.buckets = Some(bounds.to_vec());
        self
    }

    /// The `histogram!`s that `which` means are histograms with these bounds. Where several mean one name, whole names win over
    /// beginnings, and these over ends.
    pub fn buckets_for(mut self, which: Matcher, bounds: &[f64]) -> Self {
        put(&mut self.buckets_for, which, bounds.to_vec());
        self
    }

    /// The `histogram!`s that `which` means have exponential buckets, 2^`schema` for every power of two: see
    /// [`Histogram::native`], also for their cost. Where they have bounds, too, formats without exponential buckets show those;
    /// else a count and a sum. Of several the same one wins as in [`buckets_for`](Self::buckets_for).
    ///
    /// ```
    /// use tallies::facade::{Matcher, Recorder};
    ///
    /// let registry = tallies::Registry::new();
    /// let builder = Recorder::builder().registry(&registry);
    /// let recorder = builder.native_for(Matcher::suffix("_seconds"), 3).build()?;
    /// metrics::with_local_recorder(&recorder, || metrics::histogram!("wait_seconds").record(0.25));
    /// let median = registry.snapshot().quantile("wait_seconds", &[], 0.5).unwrap();
    /// assert!(median.lower <= 0.25 && 0.25 <= median.upper && median.upper < 1.1 * median.lower);
    /// # Ok::<(), tallies::Error>(())
    /// ```
    pub fn native_for(mut self, which: Matcher, schema: i8) -> Self {
        put(&mut self.native_for, which, schema);
        self
    }

    /// The quantiles of summaries and their rank errors, instead of 0, 0.5, 0.9, 0.95, 0.99, 0.999 and 1. None: sum and
    /// count only.
    pub fn objectives(mut self, objectives: &[(f64, f64)]) -> Self {
        self.objectives = objectives.to_vec();
        self
    }

    /// What quantiles of summaries are of: the last so many seconds, which go on in `ages` steps. Without this, one minute
    /// in three steps. Sum and count are those since program start.
    pub fn window(mut self, max_age: Duration, ages: u32) -> Self {
        self.window = (max_age, ages);
        self
    }

    /// A label that every series has, unless it brings one of this name.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        let name = label_name(name, None);
        self.labels.retain(|(there, _)| *there != name);
        self.labels.push((name, value.to_owned()));
        self
    }

    /// Counters end in `_total`, and names in their unit where they were described with one, as
    /// `PrometheusBuilder::with_recommended_naming` has it. Off by default.
    pub fn recommended_naming(mut self, on: bool) -> Self {
        self.recommended_naming = on;
        self
    }

    /// The most series of one name; what comes after counts in one overflow series. The default is
    /// [`DEFAULT_LIMIT`].
    pub fn limit(mut self, series: usize) -> Self {
        self.limit = series;
        self
    }

    /// The most names; 10 000 without this. Metrics of further names record nothing, which is said once and counted in
    /// `tallies_refused_families_total`: a name that is made up from data would take some 10 KB for ever.
    pub fn limit_names(mut self, names: usize) -> Self {
        self.names = names;
        self
    }

    /// Series whose value has not changed between scrapes for so long are no longer exposed, also if something was written:
    /// a gauge that is set to what it was. What they counted stays in the sum of their family; updated again they come
    /// back, counters from zero, and those that only `absolute` tells of count what their total grows by from then on.
    pub fn expire_after(mut self, idle: Duration) -> Self {
        self.expire_after = Some(idle);
        self
    }

    /// A recorder that is not installed: for [`metrics::with_local_recorder`], in tests, and for layers around it.
    ///
    /// # Errors
    ///
    /// Bounds that do not ascend or are not finite, a schema that is not from -4 to 8, quantiles outside 0 to 1 or more than
    /// seven, errors too small for a sketch, a window under 0.1 seconds or of fewer than 2 or more than 60 ages.
    pub fn build(self) -> Result<Recorder, Error> {
        let trial = Registry::new();
        let special = self.buckets_for.iter();
        let special =
            special.map(|(which, bounds)| (format!("histogram_{}", which.text()), bounds));
        let all = self
            .buckets
            .iter()
            .map(|bounds| ("histogram".to_owned(), bounds));
        for (name, bounds) in all.chain(special) {
            let histogram = Histogram::<()>::builder(&name, "");
            histogram.buckets(bounds).register(&trial)?;
            trial.clear();
        }
        for (which, schema) in &self.native_for {
            let histogram = Histogram::<()>::builder(&format!("histogram_{}", which.text()), "");
            histogram.native(*schema).register(&trial)?;
            trial.clear();
        }
        Summary::<()>::builder("summary", "")
            .objectives(&self.objectives)?
            .max_age(self.window.0)
            .ages(self.window.1)
            .register(&trial)?;
        self.labels
            .iter()
            .fold(
                Gauge::<AnyLabels>::builder("gauge", ""),
                |gauge, (name, value)| gauge.constant(name, value),
            )
            .register(&trial)?;
        Ok(Recorder::of(self))
    }

    /// Makes it the recorder of this program.
    ///
    /// First thing in `main`: what `metrics`' macros were asked for before stays without effect, and handles made before
    /// count nothing for ever.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build), and a program that has a recorder: that one stays.
    pub fn install(self) -> Result<(), Error> {
        metrics::set_global_recorder(self.build()?).map_err(|_| Error::recorder_taken())
    }

    /// The bounds of a name, if it is to be a histogram.
    pub(super) fn buckets_of(&self, name: &str) -> Option<&[f64]> {
        meant(&self.buckets_for, name)
            .or(self.buckets.as_ref())
            .map(Vec::as_slice)
    }

    /// The schema of a name, if it is to have exponential buckets.
    pub(super) fn native_of(&self, name: &str) -> Option<i8> {
        meant(&self.native_for, name).copied()
    }
}

/// In the order in which they win.
fn put<T>(settings: &mut Vec<(Matcher, T)>, which: Matcher, value: T) {
    settings.retain(|(there, _)| *there != which);
    settings.push((which, value));
    settings.sort_by(|(a, _), (b, _)| a.cmp(b));
}

fn meant<'a, T>(settings: &'a [(Matcher, T)], name: &str) -> Option<&'a T> {
    let (_, value) = settings.iter().find(|(which, _)| which.matches(name))?;
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

    /// With the clock of the thread moved on.
    #[test]
    fn what_expired_comes_back_from_zero() {
        const MINUTE: Duration = Duration::from_secs(60);
        let registry = Registry::new();
        let builder = Recorder::builder().registry(&registry);
        let recorder = builder.expire_after(MINUTE).build().unwrap();
        let seen = |total, level| {
            with_local_recorder(&recorder, || {
                counter!("total", "a" => "b").absolute(total);
                gauge!("level", "a" => "b").set(level);
            });
            let seen = registry.snapshot();
            ["total", "level"].map(|name| seen.get(name, &[("a", "b")]))
        };
        assert_eq!(seen(7, 1.0), [Some(7.0), Some(1.0)]);
        crate::clock::advance(2 * MINUTE);
        // Written, and the same as before.
        assert_eq!(seen(7, 1.0), [None, None]);
        assert_eq!(seen(9, 1.0), [Some(2.0), Some(1.0)]);
    }
}
