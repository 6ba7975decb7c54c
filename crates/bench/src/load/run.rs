//! One run of a load: what its requests record, on whatever thread they run.

use std::any::Any;
use std::fmt::Display;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tallies::{Bound, Counter, Registry};

use crate::Error;
use crate::machine::Machine;
use crate::recorder::Recorder;

use super::Load;

/// The result of a request: `()`, or a `Result` whose error can be shown.
///
/// ```
/// use tallies_bench::load::Answer;
///
/// assert_eq!(().failure(), None);
/// assert_eq!(Err::<(), _>("refused").failure(), Some("refused".to_owned()));
/// ```
pub trait Answer {
    /// Returns why the request failed, or `None` if it succeeded.
    fn failure(&self) -> Option<String>;

    /// Returns whether the request failed.
    fn has_failed(&self) -> bool;
}

impl Answer for () {
    fn failure(&self) -> Option<String> {
        None
    }

    fn has_failed(&self) -> bool {
        false
    }
}

impl<T, E: Display> Answer for Result<T, E> {
    fn failure(&self) -> Option<String> {
        self.as_ref().err().map(ToString::to_string)
    }

    fn has_failed(&self) -> bool {
        self.is_err()
    }
}

/// One request, as the work function gets it.
///
/// ```
/// use tallies_bench::Load;
///
/// let load = Load::new().closed(1).warm_up(std::time::Duration::ZERO).stop_after(100);
/// let report = load.run(|request| assert!(request.number() < 1000))?;
/// assert_eq!((report.succeeded(), report.panicked()), (100, 0));
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub(super) number: u64,
    pub(super) phase: Phase,
    /// The planned start, in an open load.
    pub(super) scheduled: Option<Instant>,
}

impl Request {
    /// Returns the number of the request in this run, from 0. No two requests have the same.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns whether the request is measured, rather than part of the warm-up.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.phase == Phase::Measure
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    WarmUp,
    Measure,
}

/// The records of the requests of one phase.
#[derive(Debug)]
pub(super) struct Records {
    /// From the planned start to the end. Only in an open load.
    pub(super) latency: Recorder,
    pub(super) service: Recorder,
    /// From the planned start to the start. Only in an open load.
    pub(super) lag: Recorder,
    pub(super) succeeded: Bound<Counter>,
    pub(super) failed: Bound<Counter>,
    pub(super) panicked: Bound<Counter>,
    pub(super) skipped: Bound<Counter>,
}

/// The state that all threads of a run share.
#[derive(Debug)]
pub(super) struct LoadRun {
    pub(super) machine: Machine,
    pub(super) start: Instant,
    pub(super) warm_up: Duration,
    /// When the last request may start.
    pub(super) end: Duration,
    warming: Records,
    pub(super) measured: Records,
    /// The number of measured requests that may start.
    pub(super) most: Option<u64>,
    /// The requests that were numbered. Written by whoever starts requests.
    numbered: AtomicU64,
    /// The measured requests that were asked for, if `most` limits them.
    counted: AtomicU64,
    /// Whether more than `most` were asked for. Written by whoever starts requests, after the last.
    complete: AtomicBool,
    /// The requests between start and end. Read by the pacer, which skips arrivals above a limit.
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) stop: AtomicBool,
    first_failure: Mutex<Option<String>>,
}

/// The label values of the phases, in their order.
const PHASES: [&str; 2] = ["warm_up", "measure"];

impl LoadRun {
    /// Begins a run. A load without a registry has one for each run.
    #[track_caller]
    pub(super) fn new(load: &Load) -> Result<Self, Error> {
        let Some(registry) = &load.registry else {
            return Self::within(load, &Registry::new());
        };
        Self::within(load, registry).map_err(|error| match error.is_already_registered() {
            true => Error::setting(
                "the registry of the load has had a run, and a registry is for one: give each run \
                 a new one with `Load::registry`; a load without one makes its own for each run",
            ),
            false => error,
        })
    }

    #[track_caller]
    fn within(load: &Load, registry: &Registry) -> Result<Self, Error> {
        let latency = Recorder::labelled(
            "load_latency_seconds",
            "Time from the planned start of a request that succeeded to its end; open loads only.",
            ("phase", PHASES),
            registry,
        )?;
        let service = Recorder::labelled(
            "load_service_seconds",
            "Time from the start of a request that succeeded to its end.",
            ("phase", PHASES),
            registry,
        )?;
        let lag = Recorder::labelled(
            "load_schedule_lag_seconds",
            "Time from the planned start of a request to its start; open loads only.",
            ("phase", PHASES),
            registry,
        )?;
        let requests = Counter::builder("load_requests_total", "Requests that ended.")
            .labels(["phase", "result"])
            .hot()
            .register(registry)?;
        let skipped = Counter::builder(
            "load_skipped_total",
            "Planned requests that were not started, because too many were in flight.",
        );
        let skipped = skipped.labels(["phase"]).register(registry)?;
        let in_flight = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&in_flight);
        registry.gauge_fn("load_in_flight", "Requests in flight.", move || {
            now.load(Ordering::Relaxed) as f64
        })?;
        let records = |phase: Phase| {
            let (i, phase) = (phase as usize, PHASES[phase as usize]);
            Records {
                latency: latency[i].clone(),
                service: service[i].clone(),
                lag: lag[i].clone(),
                succeeded: requests.bind([phase, "ok"]),
                failed: requests.bind([phase, "error"]),
                panicked: requests.bind([phase, "panic"]),
                skipped: skipped.bind([phase]),
            }
        };
        Ok(Self {
            // Before the start, because it reads files.
            machine: Machine::now(),
            start: Instant::now(),
            warm_up: load.warm_up,
            end: load.warm_up.saturating_add(load.measure),
            warming: records(Phase::WarmUp),
            measured: records(Phase::Measure),
            most: load.count,
            numbered: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            complete: AtomicBool::new(false),
            in_flight,
            stop: AtomicBool::new(false),
            first_failure: Mutex::new(None),
        })
    }

    pub(super) fn is_stopped(&self) -> bool {
        // Relaxed: a flag that carries no data; what threads recorded is read after a join.
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the run has started as many measured requests as it may.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    pub(super) fn records(&self, phase: Phase) -> &Records {
        match phase {
            Phase::WarmUp => &self.warming,
            Phase::Measure => &self.measured,
        }
    }

    /// Returns the next request of a closed load, which starts now and is in flight. Returns `None`
    /// at the end of the run.
    pub(super) fn next_closed(&self) -> Option<Request> {
        if self.is_stopped() {
            return None;
        }
        let request = self.request(self.start.elapsed(), false)?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(request)
    }

    /// Returns the request that starts, or is planned, this long after the begin. Returns `None`
    /// after the last one.
    pub(super) fn request(&self, at: Duration, is_planned: bool) -> Option<Request> {
        if at >= self.end {
            return None;
        }
        let phase = match at < self.warm_up {
            true => Phase::WarmUp,
            false => Phase::Measure,
        };
        if let (Phase::Measure, Some(most)) = (phase, self.most)
            && self.counted.fetch_add(1, Ordering::Relaxed) >= most
        {
            self.complete.store(true, Ordering::Relaxed);
            return None;
        }
        Some(Request {
            number: self.numbered.fetch_add(1, Ordering::Relaxed),
            phase,
            scheduled: is_planned.then(|| self.start + at),
        })
    }

    /// Counts a request that panicked.
    pub(super) fn panicked(&self, phase: Phase, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        self.fail(|| Some(format!("panicked: {}", text.unwrap_or_default())));
        self.records(phase).panicked.inc();
    }

    /// Keeps the text of the first failure.
    fn fail(&self, text: impl FnOnce() -> Option<String>) {
        let first = self.first_failure.lock();
        let mut first = first.unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = text();
        }
    }

    pub(super) fn first_failure(&self) -> Option<String> {
        let first = self.first_failure.lock();
        first.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A request that runs, and is in flight until this is dropped.
#[derive(Debug)]
pub(super) struct Flight<R: Deref<Target = LoadRun>> {
    run: R,
    request: Request,
    started: Instant,
}

impl<R: Deref<Target = LoadRun>> Flight<R> {
    /// Begins a request, which the caller has added to `in_flight`.
    pub(super) fn begin(run: R, request: Request) -> Self {
        let started = Instant::now();
        if let Some(scheduled) = request.scheduled {
            let lag = started.saturating_duration_since(scheduled);
            run.records(request.phase).lag.record(lag);
        }
        Self {
            run,
            request,
            started,
        }
    }

    /// Records the end of the request.
    pub(super) fn end(self, answer: &impl Answer) {
        let now = Instant::now();
        let records = self.run.records(self.request.phase);
        if answer.has_failed() {
            // In this order, so that whoever sees the count sees the text.
            self.run.fail(|| answer.failure());
            records.failed.inc();
            return;
        }
        records.succeeded.inc();
        records.service.record(now - self.started);
        if let Some(scheduled) = self.request.scheduled {
            records
                .latency
                .record(now.saturating_duration_since(scheduled));
        }
    }
}

impl<R: Deref<Target = LoadRun>> Drop for Flight<R> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire load of whoever waits for the last request.
        self.run.in_flight.fetch_sub(1, Ordering::Release);
    }
}
