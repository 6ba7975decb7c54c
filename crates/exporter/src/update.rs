//! Updates: user code that reads the outside world and sets metrics, before a page or periodically.
//!
//! One run of an update serves all scrapes that come while it is running. A scrape waits for it
//! until its own deadline and then exports the values of before. The live page does the same with
//! little patience, and begins fewer runs.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tallies::{Counter, Gauge, Metrics, Registry};
use tallies_config::{Configure, MetricMap};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The time after which an update is cancelled, unless its limit is longer.
pub(super) const MAX_RUN: Duration = Duration::from_secs(60);

/// A run is followed by a pause of as many times its duration before the live page begins another
/// one.
const PAUSE: u32 = 10;

/// The age up to which values are fresh enough for the live page.
const FRESH: Duration = Duration::from_millis(500);

/// The argument of an update handler: the metrics that were created from data, by name, and its
/// deadline.
///
/// It has the methods of [`MetricMap`].
#[derive(Clone, Debug)]
pub struct Update {
    metrics: MetricMap,
    deadline: Instant,
}

impl Update {
    /// Returns the time until which a scrape waits for this update. A later result is exported by
    /// the next scrape.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the time that is left before the [`deadline`](Self::deadline).
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Deref for Update {
    type Target = MetricMap;

    fn deref(&self) -> &MetricMap {
        &self.metrics
    }
}

/// Begins a run of an update, in a task or on a thread for work that blocks. Its error is a text.
pub(super) type Handler =
    Box<dyn Fn(Update, &Handle) -> JoinHandle<Result<(), String>> + Send + Sync>;

/// An update, and its current run.
pub(super) struct Updater {
    pub(super) name: String,
    pub(super) handler: Handler,
    /// A new run begins no sooner than this after the end of the last one.
    pub(super) min_interval: Duration,
    /// The time between runs, if scrapes do not start them.
    pub(super) every: Option<Duration>,
    pub(super) registry: Registry,
    /// Where handlers run. Not in the service's runtime, so that one that blocks its thread holds
    /// no page.
    pub(super) runtime: Handle,
    pub(super) metrics: Option<UpdateMetrics>,
    /// Locked by scrapes that begin or join a run, and by the run when it ends.
    pub(super) last: Mutex<LastRun>,
}

/// The run of an update that began last.
#[derive(Default)]
pub(super) enum LastRun {
    #[default]
    None,
    Running(Run),
    Ended {
        at: Instant,
        took: Duration,
    },
}

/// A run that goes on.
pub(super) struct Run {
    started: Instant,
    /// Turns `true` when the run ends.
    ended: watch::Receiver<bool>,
    /// Whether a scrape has waited in vain. A run counts as one timeout, however many wait.
    late: bool,
    /// Whether the live page has waited in vain. It does not wait again.
    ignored: bool,
}

/// The metrics about updates.
#[derive(Clone, Metrics)]
pub(super) struct UpdateMetrics {
    /// Whether the last update succeeded in time.
    #[metric(name = "exporter_update_success", labels = ["update"])]
    success: Gauge<[&'static str; 1]>,
    /// Time of the last update, or of the current one until its scrape gave up.
    #[metric(name = "exporter_update_duration_seconds", labels = ["update"])]
    duration: Gauge<[&'static str; 1]>,
    /// Time of the last update that succeeded.
    #[metric(name = "exporter_update_last_success_timestamp_seconds", labels = ["update"])]
    last_success: Gauge<[&'static str; 1]>,
    /// Updates that failed, by reason: error, panic or timeout.
    #[metric(name = "exporter_update_errors_total", labels = ["update", "reason"])]
    errors: Counter<[&'static str; 2]>,
}

impl UpdateMetrics {
    /// Begins to count the failures of this update.
    pub(super) fn begin(&self, update: &str) {
        for reason in ["error", "panic", "timeout"] {
            self.errors.with([update, reason]).add(0);
        }
    }
}

impl Updater {
    fn last(&self) -> MutexGuard<'_, LastRun> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records how a run went. A failed one has a reason.
    fn record(&self, failed: Option<&str>, duration: Duration) {
        let Some(metrics) = &self.metrics else {
            return;
        };
        let name = self.name.as_str();
        metrics.success.with([name]).set(u8::from(failed.is_none()));
        metrics.duration.with([name]).set(duration.as_secs_f64());
        match failed {
            Some(reason) => metrics.errors.with([name, reason]).inc(),
            None => metrics.last_success.with([name]).set_to_current_time(),
        }
    }

    /// Runs the update, or waits for its current run, at most for this time.
    pub(super) async fn update(self: Arc<Self>, limit: Duration) {
        let Some(started) = self.wait(limit, limit).await else {
            return;
        };
        match &mut *self.last() {
            LastRun::Running(run) if run.started == started && !run.late => run.late = true,
            _ => return,
        }
        self.record(Some("timeout"), started.elapsed());
        log::warn!(
            update = self.name.as_str(),
            seconds = started.elapsed().as_secs_f64();
            "update took too long; the last values are exported"
        );
    }

    /// Runs the update for the live page, or waits for its current run, at most for `patience`.
    /// Begins no run too soon after the last one, so that updates take at most a tenth of the time.
    pub(super) async fn refresh(self: Arc<Self>, limit: Duration, patience: Duration) {
        let skips = match &*self.last() {
            LastRun::None => false,
            LastRun::Running(run) => run.ignored,
            LastRun::Ended { at, took } => at.elapsed() < (*took * PAUSE).max(FRESH),
        };
        if skips {
            return;
        }
        let late = self.wait(limit, patience).await;
        if let (Some(started), LastRun::Running(run)) = (late, &mut *self.last()) {
            run.ignored |= run.started == started;
        }
    }

    /// Runs the update, or waits for its current run, at most for `patience`. Returns the start of
    /// a run that takes longer.
    async fn wait(self: &Arc<Self>, limit: Duration, patience: Duration) -> Option<Instant> {
        let (started, mut ended) = self.join(limit)?;
        let in_time = tokio::time::timeout(patience, ended.wait_for(|ended| *ended)).await;
        in_time.is_err().then_some(started)
    }

    /// Returns the current run, and begins one if there is none. Returns `None` if the last one
    /// ended too recently.
    fn join(self: &Arc<Self>, limit: Duration) -> Option<(Instant, watch::Receiver<bool>)> {
        let mut last = self.last();
        match &*last {
            LastRun::Running(run) => return Some((run.started, run.ended.clone())),
            LastRun::Ended { at, .. } if at.elapsed() < self.min_interval => return None,
            _ => {}
        }
        let started = Instant::now();
        let (sender, ended) = watch::channel(false);
        *last = LastRun::Running(Run {
            started,
            ended: ended.clone(),
            late: false,
            ignored: false,
        });
        drop(last);
        let updater = Arc::clone(self);
        let update = Update {
            metrics: self.registry.get_metrics(),
            deadline: started + limit,
        };
        tokio::spawn(async move {
            updater.run(started, update, limit).await;
            *updater.last() = LastRun::Ended {
                at: Instant::now(),
                took: started.elapsed(),
            };
            let _ = sender.send(true);
        });
        Some((started, ended))
    }

    /// Runs the handler to its end, and records how it went.
    async fn run(&self, started: Instant, update: Update, limit: Duration) {
        let mut task = (self.handler)(update, &self.runtime);
        let ended = match tokio::time::timeout(MAX_RUN.max(limit), &mut task).await {
            Ok(ended) => ended,
            Err(_) => {
                task.abort();
                // A handler that blocks cannot be cancelled. No other run begins before it ends.
                task.await
            }
        };
        let took = started.elapsed();
        let (reason, error) = match ended {
            Ok(Ok(())) => return self.record(None, took),
            Ok(Err(error)) => ("error", error),
            Err(error) if error.is_cancelled() => {
                log::warn!(update = self.name.as_str(); "update was cancelled");
                // A scrape that wakes up at the same time does not count it again.
                let was_late = match &mut *self.last() {
                    LastRun::Running(run) => std::mem::replace(&mut run.late, true),
                    _ => true,
                };
                if !was_late {
                    self.record(Some("timeout"), took);
                }
                return;
            }
            Err(_) => ("panic", "the handler panicked".to_owned()),
        };
        self.record(Some(reason), took);
        log::warn!(update = self.name.as_str(), error = error.as_str(); "update failed");
    }
}
