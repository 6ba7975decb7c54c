//! The result of a run, and its text.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::bencher::{self, Nanoseconds};
use crate::machine::Machine;
use crate::recorder::Recording;
use crate::stats::{QuantileInterval, percentile};
use crate::{Error, Page};

use super::control::{Control, Watched};
use super::run::LoadRun;
use super::{Load, Model};

/// The quantiles of the text.
const SHOWN: [f64; 4] = [0.5, 0.9, 0.99, 0.999];
/// The share of skipped arrivals above which a run is overloaded.
const OVERLOADED: f64 = 0.001;
/// The share of the median latency above which the 99th percentile of the lag limits a run.
const LIMITED: f64 = 0.1;

/// Why a run ended.
///
/// ```
/// use tallies_bench::{Load, load::StopReason};
///
/// let report = Load::new().stop_after(1).warm_up(std::time::Duration::ZERO).run(|_| ())?;
/// assert_eq!(report.stop_reason(), StopReason::Count);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StopReason {
    /// The time of the measurement was over.
    Time,
    /// The number of requests was reached.
    Count,
    /// The interval of the chosen quantile was narrow enough.
    Width,
}

/// The measurements of a [`Load`]. Its `Display` is a table.
///
/// ```
/// use std::time::Duration;
/// use tallies_bench::Load;
///
/// let load = Load::new().closed(2).warm_up(Duration::ZERO).stop_after(1000);
/// let report = load.run(|_| std::hint::black_box(()))?;
/// assert_eq!(report.service().distribution().count(), 1000);
/// assert!(report.latency().is_none(), "a closed load has no latency");
/// assert!(report.to_string().contains("closed"));
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Debug)]
pub struct LoadReport {
    pub(super) load: Load,
    machine: Machine,
    latency: Option<Recording>,
    service: Recording,
    lag: Option<Recording>,
    pub(super) control: Control,
    pub(super) measured: Duration,
    succeeded: u64,
    failed: u64,
    panicked: u64,
    skipped: u64,
    unfinished: u64,
    first_failure: Option<String>,
    reason: StopReason,
}

impl LoadReport {
    pub(super) fn new(
        load: &Load,
        run: &LoadRun,
        control: Control,
        reason: StopReason,
        unfinished: u64,
    ) -> Self {
        let records = &run.measured;
        let is_open = control.latency.is_some();
        let elapsed = run.start.elapsed().saturating_sub(run.warm_up);
        Self {
            load: load.clone(),
            machine: run.machine.clone().until_now(),
            latency: is_open.then(|| records.latency.read()),
            service: records.service.read(),
            lag: is_open.then(|| records.lag.read()),
            control,
            measured: elapsed.min(load.measure),
            succeeded: records.succeeded.get(),
            failed: records.failed.get(),
            panicked: records.panicked.get(),
            skipped: records.skipped.get(),
            unfinished,
            first_failure: run.first_failure(),
            reason,
        }
    }

    /// Returns the times from the planned start to the end, or `None` for a closed load, which has
    /// no planned starts.
    #[must_use]
    pub fn latency(&self) -> Option<&Recording> {
        self.latency.as_ref()
    }

    /// Returns the times from the real start to the end.
    #[must_use]
    pub fn service(&self) -> &Recording {
        &self.service
    }

    /// Returns the times from the planned to the real start, or `None` for a closed load.
    #[must_use]
    pub fn schedule_lag(&self) -> Option<&Recording> {
        self.lag.as_ref()
    }

    /// Returns a quantile of the latency, or of the service time in a closed load, with its
    /// interval, which correlated requests make wider.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tallies_bench::Load;
    ///
    /// let load = Load::new().warm_up(Duration::ZERO).stop_after(2000);
    /// let median = load.run(|_| std::hint::black_box(()))?.quantile(0.5)?;
    /// assert!(median.lower <= median.value && median.value <= median.upper);
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `phi` is not between 0 and 1, or if no request succeeded.
    pub fn quantile(&self, phi: f64) -> Result<QuantileInterval, Error> {
        self.control.watched().quantile(phi, self.load.alpha)
    }

    /// Returns a quantile of the service time with its interval.
    ///
    /// # Errors
    ///
    /// As for [`quantile`](Self::quantile).
    pub fn service_quantile(&self, phi: f64) -> Result<QuantileInterval, Error> {
        self.control.service.quantile(phi, self.load.alpha)
    }

    /// Returns the number of measured requests that succeeded.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.succeeded
    }

    /// Returns the number of measured requests that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Returns the number of measured requests whose work panicked.
    #[must_use]
    pub fn panicked(&self) -> u64 {
        self.panicked
    }

    /// Returns the number of planned requests that were not started, because too many were in
    /// flight.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the number of requests that were aborted, because they had not ended when the time
    /// to [drain](Load::drain) was over.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Returns the first failure's text.
    #[must_use]
    pub fn first_failure(&self) -> Option<&str> {
        self.first_failure.as_deref()
    }

    /// Returns the measured requests per second that succeeded.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.succeeded as f64 / self.measured.as_secs_f64().max(1e-9)
    }

    /// Returns why the run ended.
    #[must_use]
    pub fn stop_reason(&self) -> StopReason {
        self.reason
    }

    /// Returns whether more than one in a thousand arrivals was skipped or not finished.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        let lost = (self.skipped + self.unfinished) as f64;
        let others = (self.succeeded + self.failed + self.panicked) as f64;
        lost > OVERLOADED * (lost + others)
    }

    /// Returns whether the generator was a part of what it measured: whether the 99th percentile of
    /// the schedule lag is above 10 % of the median latency.
    #[must_use]
    pub fn is_generator_limited(&self) -> bool {
        let of =
            |recording: &Option<Recording>, phi| recording.as_ref()?.distribution().quantile(phi);
        let (lag, latency) = (of(&self.lag, 0.99), of(&self.latency, 0.5));
        lag.zip(latency)
            .is_some_and(|(lag, latency)| lag.upper > LIMITED * latency.lower)
    }

    /// Returns whether the latencies, or in a closed load the service times, are correlated so much
    /// that their intervals are wider.
    #[must_use]
    pub fn is_correlated(&self) -> bool {
        let batches = &self.control.watched().batches;
        let count = batches.total().count() as f64;
        let is_correlated = |phi: &f64| batches.effective_count(*phi) < count;
        SHOWN.iter().any(is_correlated)
    }

    /// Returns the machine of the run.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Returns the report as JSON, on one line. Times are in seconds, and what is not known is
    /// `null`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tallies_bench::{Load, recorder::Recording};
    ///
    /// let load = Load::new().warm_up(Duration::ZERO).stop_after(100);
    /// let json = load.run(|_| std::hint::black_box(()))?.to_json();
    /// let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    /// assert_eq!(json["schema"], 1);
    ///
    /// // All buckets are there, so files of several machines can be merged.
    /// let service = Recording::from_json(&json["service"]["recording"].to_string())?;
    /// assert_eq!(service.distribution().count(), 100);
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    ///
    /// `schema` changes if an older reader would misread a newer text. Readers ignore fields that
    /// they do not know.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (model, workers, planned_rate) = match self.load.model {
            Model::Closed(workers) => ("closed", Some(workers), None),
            Model::Constant(rate) => ("constant", None, Some(rate)),
            Model::Poisson(rate) => ("poisson", None, Some(rate)),
        };
        let times = |recording: &Recording, watched: &Watched| json!({ "quantiles": self.shown(watched), "recording": recording });
        let latency = self.latency.as_ref().zip(self.control.latency.as_ref());
        let report = json!({
            "schema": 1,
            "model": model,
            "workers": workers,
            "planned_rate": planned_rate,
            "seconds": self.measured.as_secs_f64(),
            "rate": self.rate(),
            "succeeded": self.succeeded,
            "failed": self.failed,
            "panicked": self.panicked,
            "skipped": self.skipped,
            "unfinished": self.unfinished,
            "first_failure": self.first_failure,
            "stop_reason": self.reason,
            "overloaded": self.is_overloaded(),
            "generator_limited": self.is_generator_limited(),
            "correlated": self.is_correlated(),
            "error": self.load.alpha,
            "latency": latency.map(|(recording, watched)| times(recording, watched)),
            "service": times(&self.service, &self.control.service),
            "schedule_lag": self.lag,
            "machine": self.machine,
        });
        report.to_string()
    }

    /// Returns the quantiles of the text in the Bencher Metric Format, which bencher.dev tracks:
    /// one benchmark for each quantile, whose measure `latency` is in nanoseconds. In a closed load
    /// it is the service time.
    ///
    /// ```
    /// use tallies_bench::Load;
    ///
    /// let load = Load::new().warm_up(std::time::Duration::ZERO).stop_after(100);
    /// let report = load.run(|_| std::hint::black_box(()))?;
    /// assert!(report.to_bencher("noop").starts_with(r#"{"noop p50":{"latency":{"value":"#));
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    #[must_use]
    pub fn to_bencher(&self, name: &str) -> String {
        let nanos = |seconds: f64| (seconds > 0.0 && seconds.is_finite()).then_some(seconds * 1e9);
        bencher::object(self.shown(self.control.watched()).into_iter().map(|shown| {
            let latency = Nanoseconds {
                value: shown.value * 1e9,
                lower: nanos(shown.lower),
                upper: nanos(shown.upper),
            };
            (format!("{name} {}", percentile(shown.quantile)), latency)
        }))
    }

    /// Returns a [`Page`] of this report alone.
    ///
    /// ```
    /// use tallies_bench::Load;
    ///
    /// let load = Load::new().warm_up(std::time::Duration::ZERO).stop_after(100);
    /// let html = load.run(|_| std::hint::black_box(()))?.to_html("Nothing");
    /// assert!(html.contains("<h1>Nothing</h1>"));
    /// # Ok::<(), tallies_bench::Error>(())
    /// ```
    #[must_use]
    pub fn to_html(&self, title: &str) -> String {
        Page::new(title).load("Load", self).to_html()
    }

    /// The load in words.
    fn model(&self) -> String {
        match self.load.model {
            Model::Closed(workers) => format!("closed, {workers} workers"),
            Model::Constant(rate) => format!("constant, {rate}/s"),
            Model::Poisson(rate) => format!("poisson, {rate}/s"),
        }
    }

    /// The load and its time.
    pub(super) fn summary(&self) -> String {
        let seconds = self.measured.as_secs_f64();
        format!("{}, measured for {seconds:.2} s", self.model())
    }

    /// The counts of requests.
    pub(super) fn requests(&self) -> String {
        format!(
            "{} succeeded ({:.1}/s), {} failed, {} panicked, {} skipped, {} unfinished",
            self.succeeded,
            self.rate(),
            self.failed,
            self.panicked,
            self.skipped,
            self.unfinished
        )
    }

    /// The quantiles of the text. Of few values, a high quantile is only the largest one, and is
    /// left out.
    pub(super) fn shown(&self, watched: &Watched) -> Vec<QuantileInterval> {
        let count = watched.batches.total().count() as f64;
        let shown = SHOWN.iter().filter(|phi| (1.0 - **phi) * count >= 1.0);
        shown
            .flat_map(|phi| watched.quantile(*phi, self.load.alpha))
            .collect()
    }

    /// The largest value, in words.
    pub(super) fn largest(watched: &Watched) -> Option<String> {
        let all = watched.batches.total();
        let last = all.at_rank(all.count())?;
        Some(format!("{} µs", micros(last.upper)))
    }

    /// The quantiles of the schedule lag, in words.
    pub(super) fn lag_quantiles(&self) -> Option<String> {
        let lag = self.lag.as_ref()?.distribution();
        let (median, tail) = (
            micros(lag.quantile(0.5)?.upper),
            micros(lag.quantile(0.99)?.upper),
        );
        Some(format!("p50 {median} µs, p99 {tail} µs"))
    }

    /// The meaning of the intervals.
    pub(super) fn coverage(&self) -> String {
        let percent = 100.0 * (1.0 - self.load.alpha);
        format!(
            "[..] contains the true quantile, at any look and bucket error included, with {percent} %"
        )
    }

    /// Warnings that a reader must not miss.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.latency.is_none() {
            notes.push(
                "closed load: service times only, since a slow answer delays the next request"
                    .to_owned(),
            );
        }
        if self.is_generator_limited() {
            notes.push("generator limited: it started requests late, see the lag".to_owned());
        }
        if self.is_overloaded() {
            notes.push("overloaded: the quantiles are those of the answered requests".to_owned());
        }
        if self.failed > 0 {
            let first = self.first_failure.as_deref().unwrap_or_default();
            notes.push(format!(
                "times of failed requests are left out; the first: {first}"
            ));
        }
        if let (Some((phi, width)), false) = (self.load.width, self.reason == StopReason::Width) {
            let (percent, phi) = (width * 100.0, phi * 100.0);
            notes.push(format!("not reached: an interval of p{phi} of {percent} %"));
        }
        if self.is_correlated() {
            let median = self.quantile(0.5);
            let effective = median.map_or(0.0, |median| median.effective_count);
            notes.push(format!(
                "correlated: the intervals are wider, as for {effective:.0} independent requests \
                 at the median"
            ));
        }
        notes
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "load      {}", self.summary())?;
        writeln!(f, "requests  {}", self.requests())?;
        if let Some(latency) = &self.control.latency {
            self.rows(f, "latency, from the planned start", latency)?;
        }
        self.rows(f, "service time", &self.control.service)?;
        if let Some(lag) = self.lag_quantiles() {
            writeln!(f, "lag       {lag}")?;
        }
        for note in self.notes() {
            writeln!(f, "note      {note}")?;
        }
        f.write_str(&self.coverage())
    }
}

impl LoadReport {
    fn rows(&self, f: &mut fmt::Formatter<'_>, title: &str, watched: &Watched) -> fmt::Result {
        writeln!(f, "{title}")?;
        for interval in self.shown(watched) {
            writeln!(f, "  {interval}")?;
        }
        if let Some(largest) = Self::largest(watched) {
            writeln!(f, "  max {largest}")?;
        }
        Ok(())
    }
}

/// Microseconds, in three digits or whole ones.
fn micros(seconds: f64) -> String {
    let micros = seconds * 1e6;
    match micros < 100.0 {
        true => format!("{micros:.1}"),
        false => format!("{micros:.0}"),
    }
}
