//! The result of a run, and its text.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::bencher::{self, Nanoseconds};
use crate::machine::Machine;
use crate::recorder::Recording;
use crate::stats::{QuantileInterval, TimeUnit, needed_count, percentile};
use crate::{Build, Error, Page};

use super::control::{Control, Watched};
use super::run::LoadRun;
use super::{Load, Model};

/// The quantiles of the text.
const SHOWN: [f64; 4] = [0.5, 0.9, 0.99, 0.999];
/// The share of skipped arrivals above which a run is overloaded.
const OVERLOADED: f64 = 0.001;
/// The share of the median latency above which the 99th percentile of the lag limits a run.
const LIMITED: f64 = 0.1;

/// The longest run that is proposed, in seconds.
const LONGEST: f64 = 86_400.0;

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
    build: Build,
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
        ended: Duration,
        unfinished: u64,
    ) -> Self {
        let records = &run.measured;
        let is_open = control.latency.is_some();
        let elapsed = ended.saturating_sub(run.warm_up);
        Self {
            load: load.clone(),
            machine: run.machine.clone().until_now(),
            build: Build::here(),
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

    /// Returns the number of requests that had not ended when the time to [drain](Load::drain) was
    /// over.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Returns the text of the first failure, or of the first panic.
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

    /// Returns a code with which a program can tell a result that means less than it seems: 3 if
    /// [`is_generator_limited`](Self::is_generator_limited), else 4 if
    /// [`is_overloaded`](Self::is_overloaded), else 0. 1 and 2 are left for failures of the
    /// program.
    ///
    /// ```no_run
    /// use std::process::ExitCode;
    /// use tallies_bench::Load;
    ///
    /// fn main() -> Result<ExitCode, tallies_bench::Error> {
    ///     let report = Load::new().constant(100.0).run(|_| std::fs::metadata("."))?;
    ///     println!("{report}");
    ///     Ok(ExitCode::from(report.exit_code()))
    /// }
    /// ```
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (self.is_generator_limited(), self.is_overloaded()) {
            (true, _) => 3,
            (false, true) => 4,
            (false, false) => 0,
        }
    }

    /// Returns how the program that made the requests was built.
    #[must_use]
    pub fn build(&self) -> &Build {
        &self.build
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
            "target": self.load.target,
            "options": self.options(),
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
            "build": self.build,
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
            Model::Closed(1) => "closed, 1 worker".to_owned(),
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

    /// The settings in words, without those that the summary has.
    pub(super) fn options(&self) -> String {
        let load = &self.load;
        let is_open = !matches!(load.model, Model::Closed(_));
        let limit = load.max_in_flight.filter(|_| is_open);
        let options = [
            Some(format!("warm-up {:?}", load.warm_up)),
            Some(format!("measure {:?}", load.measure)),
            load.count.map(|count| format!("stop after {count}")),
            load.width.map(|(phi, width)| {
                format!(
                    "stop at a width of {} % of {}",
                    width * 100.0,
                    percentile(phi)
                )
            }),
            limit.map(|limit| format!("at most {limit} in flight")),
            Some(format!("drain {:?}", load.drain)),
            load.seed.map(|seed| format!("seed {seed}")),
            Some(format!("error {} %", load.alpha * 100.0)),
        ];
        options.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// The facts of the measurement, beside those of the machine.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let target = self.load.target.clone();
        let target = target.map(|target| ("target", target));
        let others = [("load", self.summary()), ("options", self.options())];
        target
            .into_iter()
            .chain(others)
            .chain(self.build.facts())
            .collect()
    }

    /// The largest value in seconds.
    pub(super) fn largest(watched: &Watched) -> Option<f64> {
        let all = watched.batches.total();
        Some(all.at_rank(all.count())?.upper)
    }

    /// The unit for the quantiles of the text and the largest value.
    pub(super) fn unit(&self, watched: &Watched) -> TimeUnit {
        let shown = self.shown(watched).into_iter();
        let shown = shown.map(|interval| interval.value);
        TimeUnit::of(shown.chain(Self::largest(watched)))
    }

    /// The quantiles of the schedule lag, in words.
    fn lag_quantiles(&self) -> Option<String> {
        let lag = self.lag.as_ref()?.distribution();
        let (median, tail) = (lag.quantile(0.5)?.upper, lag.quantile(0.99)?.upper);
        let unit = TimeUnit::of([median, tail]);
        let [median, tail] = [median, tail].map(|it| format!("{} {}", unit.number(it), unit.name));
        Some(format!("p50 {median}, p99 {tail}"))
    }

    /// The times of the text: latency, if the load is open, and service time.
    pub(super) fn times(&self) -> Vec<(&'static str, &Watched)> {
        let latency = self.control.latency.iter();
        let latency = latency.map(|latency| ("latency", latency));
        latency
            .chain([("service time", &self.control.service)])
            .collect()
    }

    /// The bounds that are missing, and the cure.
    fn unbounded(&self) -> Option<String> {
        let mut names = Vec::new();
        let mut longer = 1_f64;
        for (time, watched) in self.times() {
            let open = self.shown(watched).into_iter();
            let open: Vec<_> = open
                .filter(|it| !(it.has_lower() && it.has_upper()))
                .collect();
            let needed = open.iter().map(|interval| {
                needed_count(interval.quantile, self.load.alpha) / interval.effective_count
            });
            longer = needed.fold(longer, f64::max);
            let open = open.iter().map(|interval| percentile(interval.quantile));
            let open = open.collect::<Vec<_>>().join(", ");
            if !open.is_empty() {
                names.push((open, time));
            }
        }
        if names.is_empty() {
            return None;
        }
        let names = match names[..] {
            [(ref one, latency), (ref other, service)] if one == other => {
                format!("{one} of the {latency} and the {service}")
            }
            _ => {
                let names = names
                    .iter()
                    .map(|(open, time)| format!("{open} of the {time}"));
                names.collect::<Vec<_>>().join(" and ")
            }
        };
        let cure = match (self.reason, self.load.count) {
            (StopReason::Count, Some(count)) => {
                format!("stop after {} requests", round_up(count as f64 * longer))
            }
            _ => match longer * self.measured.as_secs_f64() {
                seconds if seconds > LONGEST => "there are too few independent answers for a run \
                                                 of a day"
                    .to_owned(),
                seconds => format!("run longer: {}", long(seconds)),
            },
        };
        Some(format!(
            "`?` is a bound that is not known yet, for {names}; {cure}"
        ))
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
            notes.push(
                "generator limited: it started requests late, see the lag; use another machine or \
                 a lower rate"
                    .to_owned(),
            );
        }
        if self.is_overloaded() {
            notes.push("overloaded: the quantiles are those of the answered requests".to_owned());
        }
        if self.unfinished > 0 {
            let (unfinished, drain) = (self.unfinished, self.load.drain);
            notes.push(format!(
                "unfinished: {unfinished} requests had not ended {drain:?} after the measurement, \
                 and are in no quantile"
            ));
        }
        if self.failed + self.panicked > 0 {
            let (failed, panicked) = (self.failed, self.panicked);
            let first = self.first_failure.as_deref().unwrap_or_default();
            notes.push(format!(
                "failed: the times of {failed} failed and {panicked} panicked requests are left \
                 out; the first: {first}"
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
        notes.extend(self.unbounded());
        notes.extend(self.build.note("the generator"));
        notes
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(target) = &self.load.target {
            writeln!(f, "target    {target}")?;
        }
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
        let unit = self.unit(watched);
        for interval in self.shown(watched) {
            writeln!(f, "  {}", interval.within(unit))?;
        }
        if let Some(largest) = Self::largest(watched) {
            writeln!(f, "  max {} {}", unit.number(largest), unit.name)?;
        }
        Ok(())
    }
}

/// A number that is not smaller, in one digit.
fn round_up(number: f64) -> f64 {
    let power = 10_f64.powf(number.log10().floor());
    (number / power).ceil() * power
}

/// A time that is not shorter, in words.
fn long(seconds: f64) -> String {
    let times = [
        1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200,
    ];
    let hours = (seconds / 3600.0).ceil();
    match times.into_iter().find(|time| f64::from(*time) >= seconds) {
        Some(time @ ..=60) => format!("{time} s"),
        Some(time) => format!("{} min", time / 60),
        None => format!("{hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proposed_is_round_and_enough() {
        assert_eq!(
            [1.0, 12.0, 901.0, 2000.0].map(round_up),
            [1.0, 20.0, 1000.0, 2000.0]
        );
        let times = [0.2, 30.0, 31.0, 61.0, 7000.0, 7201.0];
        let words = ["1 s", "30 s", "60 s", "2 min", "120 min", "3 h"];
        assert_eq!(times.map(long), words);
    }
}
