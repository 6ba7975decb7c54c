//! Updates: user code that reads the outside world and sets metrics, before a page or periodically.
//!
//! One run of an update serves all scrapes that come while it is running. A scrape waits for it
//! until its own deadline and then exports the values of before. The live page does the same with
//! little patience, and begins fewer runs.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tallies::{Counter, Error, Gauge, Registry};
use tallies_config::{Configure, MetricMap};
use tokio::runtime::Handle;
use tokio::sync::watch;

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

type Running = Pin<Box<dyn Future<Output = super::Result> + Send>>;

/// The code of an update.
pub(super) enum Handler {
    Async(Box<dyn Fn(Update) -> Running + Send + Sync>),
    Blocking(Arc<dyn Fn(Update) -> super::Result + Send + Sync>),
}

/// An update by name, and its current run.
pub(super) struct Updater {
    name: String,
    handler: Handler,
    registry: Registry,
    /// Where handlers run. Not in the service's runtime, so that one that blocks its thread holds
    /// no page.
    runtime: Handle,
    /// A new run begins no sooner than this after the end of the last one.
    min_interval: Duration,
    metrics: Option<UpdateMetrics>,
    /// Locked by scrapes that begin or join a run, and by the run when it ends.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Run>,
    last: Option<Ended>,
}

/// The last run.
struct Ended {
    at: Instant,
    took: Duration,
}

struct Run {
    started: Instant,
    /// Turns `true` when the run ends.
    ended: watch::Receiver<bool>,
    /// Whether a scrape has waited in vain. A run counts as one timeout, however many wait.
    late: bool,
    /// Whether the live page has waited in vain. It does not wait again.
    ignored: bool,
}

/// The metrics about updates.
#[derive(Clone)]
pub(super) struct UpdateMetrics {
    success: Gauge<[&'static str; 1]>,
    duration: Gauge<[&'static str; 1]>,
    last_success: Gauge<[&'static str; 1]>,
    errors: Counter<[&'static str; 2]>,
}

impl UpdateMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, Error> {
        let gauge = |name, help| {
            Gauge::builder(name, help)
                .labels(["update"])
                .register(registry)
        };
        Ok(Self {
            success: gauge(
                "exporter_update_success",
                "Whether the last update succeeded in time.",
            )?,
            duration: gauge(
                "exporter_update_duration_seconds",
                "Time of the last update, or of the current one until its scrape gave up.",
            )?,
            last_success: gauge(
                "exporter_update_last_success_timestamp_seconds",
                "Time of the last update that succeeded.",
            )?,
            errors: Counter::builder(
                "exporter_update_errors_total",
                "Updates that failed, by reason: error, panic or timeout.",
            )
            .labels(["update", "reason"])
            .register(registry)?,
        })
    }

    fn failed(&self, update: &str, reason: &str, duration: Duration) {
        self.success.with([update]).set(0.0);
        self.duration.with([update]).set(duration.as_secs_f64());
        self.errors.with([update, reason]).inc();
    }

    fn succeeded(&self, update: &str, duration: Duration) {
        self.success.with([update]).set(1.0);
        self.duration.with([update]).set(duration.as_secs_f64());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.last_success.with([update]).set(now.as_secs_f64());
    }
}

impl Updater {
    pub(super) fn new(
        name: &str,
        handler: Handler,
        registry: &Registry,
        runtime: &Handle,
        min_interval: Duration,
        metrics: Option<UpdateMetrics>,
    ) -> Arc<Self> {
        if let Some(metrics) = &metrics {
            for reason in ["error", "panic", "timeout"] {
                metrics.errors.with([name, reason]).add(0);
            }
        }
        Arc::new(Self {
            name: name.to_owned(),
            handler,
            registry: registry.clone(),
            runtime: runtime.clone(),
            min_interval,
            metrics,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the update, or waits for its current run, at most for this time.
    pub(super) async fn update(self: &Arc<Self>, limit: Duration) {
        let Some((started, mut ended)) = self.join(limit) else {
            return;
        };
        let in_time = tokio::time::timeout(limit, ended.wait_for(|ended| *ended)).await;
        if in_time.is_ok() {
            return;
        }
        {
            let mut state = self.state();
            match &mut state.running {
                Some(run) if run.started == started && !run.late => run.late = true,
                _ => return,
            }
        }
        if let Some(metrics) = &self.metrics {
            metrics.failed(&self.name, "timeout", started.elapsed());
        }
        log::warn!(
            update = self.name.as_str(),
            seconds = started.elapsed().as_secs_f64();
            "update took too long; the last values are exported"
        );
    }

    /// Runs the update for the live page, or waits for its current run, at most for `patience`.
    /// Begins no run too soon after the last one, so that updates take at most a tenth of the time.
    pub(super) async fn refresh(self: &Arc<Self>, limit: Duration, patience: Duration) {
        {
            let state = self.state();
            let rests = |last: &Ended| last.at.elapsed() < (last.took * PAUSE).max(FRESH);
            let skips = match &state.running {
                Some(run) => run.ignored,
                None => state.last.as_ref().is_some_and(rests),
            };
            if skips {
                return;
            }
        }
        let Some((started, mut ended)) = self.join(limit) else {
            return;
        };
        let in_time = tokio::time::timeout(patience, ended.wait_for(|ended| *ended)).await;
        if in_time.is_err()
            && let Some(run) = &mut self.state().running
        {
            run.ignored |= run.started == started;
        }
    }

    /// Returns the current run, and begins one if there is none. Returns `None` if the last one
    /// ended too recently.
    fn join(self: &Arc<Self>, limit: Duration) -> Option<(Instant, watch::Receiver<bool>)> {
        let mut state = self.state();
        if let Some(run) = &state.running {
            return Some((run.started, run.ended.clone()));
        }
        if state
            .last
            .as_ref()
            .is_some_and(|last| last.at.elapsed() < self.min_interval)
        {
            return None;
        }
        let started = Instant::now();
        let (sender, ended) = watch::channel(false);
        state.running = Some(Run {
            started,
            ended: ended.clone(),
            late: false,
            ignored: false,
        });
        drop(state);
        let updater = Arc::clone(self);
        let update = Update {
            metrics: self.registry.get_metrics(),
            deadline: started + limit,
        };
        tokio::spawn(async move {
            updater.run(started, update, limit).await;
            let mut state = updater.state();
            state.running = None;
            state.last = Some(Ended {
                at: Instant::now(),
                took: started.elapsed(),
            });
            drop(state);
            let _ = sender.send(true);
        });
        Some((started, ended))
    }

    /// Runs the handler to its end, and records how it went.
    async fn run(self: &Arc<Self>, started: Instant, update: Update, limit: Duration) {
        // The text of an error is made in the task, too, because it is code of the user.
        let text = |ended: super::Result| ended.map_err(|error| error.to_string());
        let mut task = match &self.handler {
            Handler::Async(_) => {
                let updater = Arc::clone(self);
                self.runtime.spawn(async move {
                    text(match &updater.handler {
                        // The call may panic or block, too.
                        Handler::Async(handler) => handler(update).await,
                        Handler::Blocking(handler) => handler(update),
                    })
                })
            }
            Handler::Blocking(handler) => {
                let handler = Arc::clone(handler);
                self.runtime.spawn_blocking(move || text(handler(update)))
            }
        };
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
            Ok(Ok(())) => {
                if let Some(metrics) = &self.metrics {
                    metrics.succeeded(&self.name, took);
                }
                return;
            }
            Ok(Err(error)) => ("error", error),
            Err(error) if error.is_cancelled() => {
                log::warn!(update = self.name.as_str(); "update was cancelled");
                let was_late = self.state().running.as_mut().is_none_or(|run| {
                    // A scrape that wakes up at the same time does not count it again.
                    std::mem::replace(&mut run.late, true)
                });
                if let (Some(metrics), false) = (&self.metrics, was_late) {
                    metrics.failed(&self.name, "timeout", took);
                }
                return;
            }
            Err(_) => ("panic", "the handler panicked".to_owned()),
        };
        if let Some(metrics) = &self.metrics {
            metrics.failed(&self.name, reason, took);
        }
        log::warn!(update = self.name.as_str(), error = error.as_str(); "update failed");
    }
}
