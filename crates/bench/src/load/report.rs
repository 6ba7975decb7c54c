//! The result of a run, and its text.

use std::fmt;
use std::time::Duration;

use crate::Error;
use crate::recorder::Recording;
use crate::stats::QuantileInterval;

use super::control::{Control, Watched};
use super::run::Run;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    load: Load,
    latency: Option<Recording>,
    service: Recording,
    lag: Option<Recording>,
    control: Control,
    measured: Duration,
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
        run: &Run,
        control: Control,
        reason: StopReason,
        unfinished: u64,
    ) -> Self {
        let records = &run.measured;
        let is_open = control.latency.is_some();
        let elapsed = run.start.elapsed().saturating_sub(run.warm_up);
        Self {
            load: load.clone(),
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
        let watched = self.control.latency.as_ref();
        watched
            .unwrap_or(&self.control.service)
            .quantile(phi, self.load.alpha)
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
        let watched = self.control.latency.as_ref();
        let batches = &watched.unwrap_or(&self.control.service).batches;
        let count = batches.total().count() as f64;
        SHOWN
            .iter()
            .any(|phi| batches.effective_count(*phi) < count)
    }

    fn notes(&self) -> Vec<String> {
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
            let effective = self
                .quantile(0.5)
                .map_or(0.0, |median| median.effective_count);
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
        let seconds = self.measured.as_secs_f64();
        let model = match self.load.model {
            Model::Closed(workers) => format!("closed, {workers} workers"),
            Model::Constant(rate) => format!("constant, {rate}/s"),
            Model::Poisson(rate) => format!("poisson, {rate}/s"),
        };
        writeln!(f, "load      {model}, measured for {seconds:.2} s")?;
        writeln!(
            f,
            "requests  {} succeeded ({:.1}/s), {} failed, {} panicked, {} skipped, {} unfinished",
            self.succeeded,
            self.rate(),
            self.failed,
            self.panicked,
            self.skipped,
            self.unfinished
        )?;
        if let Some(latency) = &self.control.latency {
            self.rows(f, "latency, from the planned start", latency)?;
        }
        self.rows(f, "service time", &self.control.service)?;
        if let Some(lag) = self.lag.as_ref().map(Recording::distribution)
            && let (Some(median), Some(tail)) = (lag.quantile(0.5), lag.quantile(0.99))
        {
            let (median, tail) = (micros(median.upper), micros(tail.upper));
            writeln!(f, "lag       p50 {median} µs, p99 {tail} µs")?;
        }
        for note in self.notes() {
            writeln!(f, "note      {note}")?;
        }
        let percent = 100.0 * (1.0 - self.load.alpha);
        write!(
            f,
            "[..] contains the true quantile, at any look and bucket error included, with {percent} %"
        )
    }
}

impl LoadReport {
    fn rows(&self, f: &mut fmt::Formatter<'_>, title: &str, watched: &Watched) -> fmt::Result {
        writeln!(f, "{title}")?;
        let all = watched.batches.total();
        for phi in SHOWN {
            // Of fewer values, a high quantile is only the largest one.
            if (1.0 - phi) * all.count() as f64 >= 1.0
                && let Ok(interval) = watched.quantile(phi, self.load.alpha)
            {
                writeln!(f, "  {interval}")?;
            }
        }
        if let Some(last) = all.at_rank(all.count()) {
            writeln!(f, "  max {} µs", micros(last.upper))?;
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
