//! The watch over a run: reads its intervals, shows progress, and decides when it ends.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Error;
use crate::recorder::{Intervals, Recorder};
use crate::stats::{Batches, QuantileInterval, quantile};

use super::run::LoadRun;
use super::timeline::{Count, Progression, Timeline};
use super::{Load, Model, StopReason};

/// The time between two looks.
const TICK: Duration = Duration::from_millis(50);
/// The time in which some request must succeed, if requests fail or panic.
const PATIENCE: Duration = Duration::from_millis(500);
/// The time between two lines of progress.
const LINE: Duration = Duration::from_secs(1);

/// The intervals of one recorder, in batches and in the order of time.
#[derive(Debug)]
pub(super) struct Watched {
    intervals: Intervals,
    pub(super) batches: Batches,
    pub(super) timeline: Timeline,
}

impl Watched {
    fn new(recorder: &Recorder) -> Self {
        Self {
            intervals: recorder.intervals(),
            batches: Batches::default(),
            timeline: Timeline::default(),
        }
    }

    pub(super) fn read(&mut self) -> Result<(), Error> {
        let interval = self.intervals.next_interval();
        self.batches.push(interval.distribution())?;
        self.timeline.push(interval)
    }

    pub(super) fn quantile(&self, phi: f64, alpha: f64) -> Result<QuantileInterval, Error> {
        let effective = self.batches.effective_count(phi);
        quantile(self.batches.total(), effective, phi, alpha)
    }
}

/// When to stop, and what to show.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) service: Watched,
    /// Only in an open load.
    pub(super) latency: Option<Watched>,
    /// Only in an open load.
    pub(super) lag: Option<Watched>,
    /// The requests that had ended, over time.
    pub(super) counts: Progression,
    /// A quantile, and the relative width of its interval at which the run may end.
    pub(super) width: Option<(f64, f64)>,
    pub(super) alpha: f64,
    progress: Option<Progress>,
}

impl Control {
    pub(super) fn new(load: &Load, run: &LoadRun) -> Self {
        let is_open = !matches!(load.model, Model::Closed(_));
        Self {
            service: Watched::new(&run.measured.service),
            latency: is_open.then(|| Watched::new(&run.measured.latency)),
            lag: is_open.then(|| Watched::new(&run.measured.lag)),
            counts: Progression::default(),
            width: load.width,
            alpha: load.alpha,
            progress: load.progress.then(|| Progress::new(run.end)),
        }
    }

    /// The times that the user asks about: the latency, or in a closed load the service time.
    pub(super) fn watched(&self) -> &Watched {
        self.latency.as_ref().unwrap_or(&self.service)
    }

    /// Watches until the run ends. At its end by time or by count the threads end by themselves,
    /// once every planned request was started or skipped.
    pub(super) fn watch(&mut self, run: &LoadRun) -> Result<StopReason, Error> {
        loop {
            std::thread::sleep(TICK.min(run.end.saturating_sub(run.start.elapsed())));
            let elapsed = run.start.elapsed();
            if let Err(error) = check_target(run, elapsed).and_then(|()| self.read(run, elapsed)) {
                run.stop();
                return Err(error);
            }
            if elapsed >= run.end {
                return Ok(StopReason::Time);
            }
            if run.is_complete() {
                return Ok(StopReason::Count);
            }
            if self.is_narrow() {
                run.stop();
                return Ok(StopReason::Width);
            }
            if run.is_stopped() {
                return Err(Error::setting("the run was cancelled"));
            }
        }
    }

    fn read(&mut self, run: &LoadRun, elapsed: Duration) -> Result<(), Error> {
        if elapsed >= run.warm_up {
            self.read_last(run)?;
        }
        if self.progress.as_ref().is_some_and(Progress::is_due) {
            let text = self.state(run);
            if let Some(progress) = &mut self.progress {
                progress.show(elapsed, &text);
            }
        }
        Ok(())
    }

    /// Reads what the last requests recorded.
    pub(super) fn read_last(&mut self, run: &LoadRun) -> Result<(), Error> {
        let records = &run.measured;
        self.counts.push(Count {
            at: run.start.elapsed().saturating_sub(run.warm_up),
            succeeded: records.succeeded.get(),
            failed: records.failed.get() + records.panicked.get(),
            skipped: records.skipped.get(),
        });
        let open = self.latency.iter_mut().chain(&mut self.lag);
        std::iter::once(&mut self.service)
            .chain(open)
            .try_for_each(Watched::read)
    }

    fn is_narrow(&self) -> bool {
        self.width.is_some_and(|(phi, width)| {
            let interval = self.watched().quantile(phi, self.alpha);
            interval.is_ok_and(|interval| interval.relative_width() <= width)
        })
    }

    fn state(&self, run: &LoadRun) -> String {
        let elapsed = run.start.elapsed().saturating_sub(run.warm_up);
        let seen = run.measured.succeeded.get();
        if seen == 0 {
            return "warming up".to_owned();
        }
        let rate = seen as f64 / elapsed.as_secs_f64().max(1e-9);
        let quantiles = [0.5, 0.99].map(|phi| self.watched().quantile(phi, self.alpha));
        let quantiles = quantiles.into_iter().flatten();
        let quantiles: Vec<String> = quantiles.map(|interval| interval.to_string()).collect();
        format!("{rate:.0}/s, {}", quantiles.join(", "))
    }
}

/// Returns an error if requests fail or panic and none has succeeded for a while.
pub(super) fn check_target(run: &LoadRun, elapsed: Duration) -> Result<(), Error> {
    if elapsed < PATIENCE {
        return Ok(());
    }
    let phases = [super::run::Phase::WarmUp, super::run::Phase::Measure];
    let sum = |count: fn(&super::run::Records) -> u64| -> u64 {
        phases.iter().map(|phase| count(run.records(*phase))).sum()
    };
    let failed = sum(|records| records.failed.get() + records.panicked.get());
    if failed == 0 || sum(|records| records.succeeded.get()) > 0 {
        return Ok(());
    }
    let first = run.first_failure().unwrap_or_default();
    Err(Error::target(format!(
        "all of the first {failed} requests failed; the first one: {first}"
    )))
}

/// A bar on a terminal, and lines elsewhere. Both go to standard error.
#[derive(Debug)]
struct Progress {
    bar: Option<ProgressBar>,
    shown: Option<Instant>,
}

impl Progress {
    fn new(end: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(end.as_millis() as u64);
            let style = ProgressStyle::with_template("{wide_bar} {elapsed} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, shown: None }
    }

    fn is_due(&self) -> bool {
        self.bar.is_some() || self.shown.is_none_or(|shown| shown.elapsed() >= LINE)
    }

    fn show(&mut self, elapsed: Duration, text: &str) {
        self.shown = Some(Instant::now());
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.as_millis() as u64);
                bar.set_message(text.to_owned());
            }
            None => eprintln!("{:.0} s: {text}", elapsed.as_secs_f64()),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(load: &Load) -> (LoadRun, Control) {
        let run = LoadRun::new(load).unwrap();
        let control = Control::new(load, &run);
        (run, control)
    }

    #[test]
    fn a_target_has_half_a_second_for_its_first_success() {
        let (run, _) = begin(&Load::new());
        assert!(
            check_target(&run, Duration::MAX).is_ok(),
            "nothing has failed"
        );
        run.records(super::super::run::Phase::WarmUp).failed.inc();
        run.measured.panicked.inc();
        assert!(check_target(&run, Duration::from_millis(499)).is_ok());
        let error = check_target(&run, Duration::from_millis(500)).unwrap_err();
        assert!(error.is_target());
        assert!(
            error.to_string().contains("all of the first 2 requests"),
            "{error}"
        );
        run.measured.succeeded.inc();
        assert!(check_target(&run, Duration::MAX).is_ok());
    }

    #[test]
    fn nothing_is_read_before_the_measurement() {
        let second = Duration::from_secs(1);
        let (run, mut control) = begin(&Load::new().warm_up(second).constant(1.0));
        let parts = |control: &Control| {
            let watched = [
                Some(&control.service),
                control.latency.as_ref(),
                control.lag.as_ref(),
            ];
            watched.map(|watched| watched.map(|watched| watched.timeline.parts().len()))
        };
        control.read(&run, second - TICK).unwrap();
        assert_eq!(parts(&control), [Some(0); 3]);
        assert_eq!(control.counts.parts(1).len(), 0);
        control.read(&run, second).unwrap();
        assert_eq!(parts(&control), [Some(1); 3]);
    }

    #[test]
    fn an_open_load_stops_at_the_width_of_its_latency() {
        let load = Load::new().constant(1.0).stop_at_width(0.5, 0.05);
        let (run, mut control) = begin(&load);
        let narrow = |i: u32| 0.01 + 1e-9 * f64::from(i % 10);
        for part in 0..20 {
            for i in 0..100 {
                run.measured.service.record_seconds(narrow(i));
                run.measured
                    .latency
                    .record_seconds(f64::from(37 * (part + i) % 100 + 1));
            }
            control.read_last(&run).unwrap();
        }
        assert!(!control.is_narrow());
        control.width = Some((0.5, 10.0));
        assert!(control.is_narrow());
        // A closed load has service times alone.
        control.width = load.width;
        control.latency = None;
        assert!(control.is_narrow());
        control.width = None;
        assert!(!control.is_narrow());
    }
}
