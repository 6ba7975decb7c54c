//! Load on a service or a function: closed, at a constant rate, or at random times.
//!
//! ```
//! use std::time::Duration;
//! use tallies_bench::Load;
//!
//! let load = Load::new().poisson(2000.0).warm_up(Duration::ZERO).stop_after(200);
//! let report = load.run(|_| std::fs::metadata("."))?;
//! assert_eq!(report.succeeded() + report.skipped(), 200);
//! println!("{report}");
//! # Ok::<(), tallies_bench::Error>(())
//! ```
//!
//! # Closed and open
//!
//! In a *closed* load, a worker starts its next request when the last one has ended. If the service
//! stops for a second, every worker waits, and that second is one slow request for each of them:
//! the load never sees how long users would have waited who come at their own times. So a closed
//! load has service times only, and its report says that it is closed.
//!
//! In an *open* load, requests have planned starts that do not depend on the answers: at a constant
//! rate, or at the random times of independent users (a Poisson process). *Latency* is the time
//! from the planned start to the end, *service time* that from the real start; the report has both.
//! Nothing is corrected afterwards.
//!
//! - An arrival that finds [`max_in_flight`](Load::max_in_flight) requests is skipped and counted,
//!   never queued. If more than one in a thousand is skipped, the report says `overloaded`: its
//!   quantiles are those of the others.
//! - The time from the planned to the real start is the *schedule lag*. If its 99th percentile is
//!   above 10 % of the median latency, the report says `generator limited`: the generator was a
//!   part of what it measured.
//!
//! # What is recorded
//!
//! A run is a [`Registry`], which a server of `tallies` can show meanwhile:
//! histograms `load_latency_seconds`, `load_service_seconds` and `load_schedule_lag_seconds`, and
//! counters `load_requests_total` and `load_skipped_total`, by phase (`warm_up` and `measure`), and
//! the gauge `load_in_flight`. A request belongs to the phase of its planned start.
//!
//! A request that fails or panics is counted, and its times are not recorded. A run whose first
//! requests all fail or panic ends within a second, with an error that has the first failure. A
//! request that does not end holds nothing up: the run ends after its warm-up, its measurement and
//! the time to [`drain`](Load::drain), and a run in which no measured request ended is an error.

mod arrivals;
mod control;
mod report;
mod run;
mod section;
mod timeline;
mod workers;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tallies::Registry;
use tallies_names::setters;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::Error;

use arrivals::Schedule;
use control::{Control, check_target};
use run::LoadRun;

pub use report::{LoadReport, StopReason};
pub use run::{Answer, Request};

/// The highest rate: at more, the pacer cannot even skip every arrival in time.
const HIGHEST_RATE: f64 = 1e7;
/// The most threads of a run, and the most tasks.
const MOST_THREADS: usize = 10_000;
const MOST_TASKS: usize = 1_000_000;

/// A load: when its requests start, and when it ends. See the [module](self).
///
/// The default is closed, with one worker, a warm-up of one second, and ten seconds of measurement.
#[derive(Clone, Debug)]
#[must_use = "a load does nothing until it runs"]
pub struct Load {
    model: Model,
    warm_up: Duration,
    measure: Duration,
    count: Option<u64>,
    width: Option<(f64, f64)>,
    max_in_flight: Option<usize>,
    drain: Duration,
    seed: Option<u64>,
    alpha: f64,
    progress: bool,
    registry: Option<Registry>,
    target: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Model {
    Closed(usize),
    Constant(f64),
    Poisson(f64),
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

impl Load {
    /// Returns the default load.
    pub fn new() -> Self {
        Self {
            model: Model::Closed(1),
            warm_up: Duration::from_secs(1),
            measure: Duration::from_secs(10),
            count: None,
            width: None,
            max_in_flight: None,
            drain: Duration::from_secs(10),
            seed: None,
            alpha: 0.05,
            progress: false,
            registry: None,
            target: None,
        }
    }

    setters! {
        /// Makes the load closed: each of `workers` threads or tasks starts a request when its last
        /// one has ended.
        fn closed(self, workers: usize) = self.model = Model::Closed(workers);

        /// Makes the load open: `rate` requests a second, at equal distances.
        fn constant(self, rate: f64) = self.model = Model::Constant(rate);

        /// Makes the load open: `rate` requests a second on average, each at a random time that
        /// does not depend on the others.
        fn poisson(self, rate: f64) = self.model = Model::Poisson(rate);

        /// Sets how long requests are made before the measurement. The default is one second.
        fn warm_up(self, time: Duration) = self.warm_up = time;

        /// Sets how long the measurement takes, or may take if there is another rule to stop. The
        /// default is ten seconds.
        fn measure(self, time: Duration) = self.measure = time;

        /// Stops after this many measured requests, planned ones that were skipped included.
        fn stop_after(self, requests: u64) = self.count = Some(requests);

        /// Stops once the interval of the quantile `phi` is at most `width` wide, relative to the
        /// quantile: 0.05 for 5 %. If the time is over before, the report says so.
        ///
        /// ```
        /// use std::time::Duration;
        /// use tallies_bench::Load;
        /// use tallies_bench::load::StopReason;
        ///
        /// let load = Load::new().warm_up(Duration::ZERO).stop_at_width(0.5, 1000.0);
        /// let report = load.run(|_| std::hint::black_box(()))?;
        /// assert_eq!(report.stop_reason(), StopReason::Width);
        /// # Ok::<(), tallies_bench::Error>(())
        /// ```
        ///
        /// The interval holds at any look, so stopping at the first narrow one does not make it
        /// wrong.
        fn stop_at_width(self, phi: f64, width: f64) = self.width = Some((phi, width));

        /// Sets how many requests of an open load run at once at most. Arrivals beyond them are
        /// skipped and counted. The default is 64 in [`run`](Self::run), which starts as many
        /// threads, and 10 000 in [`run_async`](Self::run_async).
        fn max_in_flight(self, requests: usize) = self.max_in_flight = Some(requests);

        /// Sets how long the last requests may run after the measurement. The default is ten
        /// seconds. Later ones are counted as unfinished; [`run_async`](Self::run_async) aborts
        /// them, and [`run`](Self::run) leaves their threads alone.
        fn drain(self, time: Duration) = self.drain = time;

        /// Makes the random times of a Poisson load those of a seed.
        fn seed(self, seed: u64) = self.seed = Some(seed);

        /// Sets the probability with which some interval may miss its quantile. The default is
        /// 0.05.
        fn error_probability(self, alpha: f64) = self.alpha = alpha;

        /// Shows progress on standard error: a bar on a terminal, and else a line every second.
        fn progress(self) = self.progress = true;

        /// Names what the load is for, such as the URL of a service and its version. Reports show
        /// it, so leave secrets out.
        ///
        /// ```
        /// use std::time::Duration;
        /// use tallies_bench::Load;
        ///
        /// let load = Load::new().warm_up(Duration::ZERO).stop_after(3).target("a closure");
        /// assert!(load.run(|_| ())?.to_string().contains("a closure"));
        /// # Ok::<(), tallies_bench::Error>(())
        /// ```
        fn target(self, name: impl Into<String>) = self.target = Some(name.into());

        /// Records in this registry, so that a server can show the run. A registry is for one run;
        /// without one, each run of the load has its own.
        ///
        /// ```
        /// use std::time::Duration;
        /// use tallies_bench::Load;
        ///
        /// let registry = tallies::Registry::new();
        /// let load = Load::new().warm_up(Duration::ZERO).stop_after(3).registry(&registry);
        /// load.run(|_| ())?;
        /// let labels = [("phase", "measure"), ("result", "ok")];
        /// assert_eq!(registry.snapshot().get("load_requests_total", &labels), Some(3.0));
        /// assert!(load.run(|_| ()).is_err());
        /// # Ok::<(), tallies_bench::Error>(())
        /// ```
        fn registry(self, registry: &Registry) = self.registry = Some(registry.clone());
    }

    /// Runs the load, and calls `work` for every request, on many threads.
    ///
    /// The calls of a closed load run on one thread per worker, those of an open one on
    /// [`max_in_flight`](Self::max_in_flight) threads. A thread of its own sleeps until shortly
    /// before each planned start and then spins, which costs up to a processor at high rates. A
    /// call that panics is counted, and the run goes on.
    ///
    /// The run ends even if a call does not return: calls that have not ended when the time to
    /// [`drain`](Self::drain) is over are counted as unfinished. Nothing can end their threads,
    /// which are left alone, and keep `work` until the call returns. So `work` borrows nothing;
    /// share with an `Arc` what it needs.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid ([`Error::is_setting`]), such as a rate of zero, or
    /// a registry that had a run before; if requests fail or panic and none succeeds in the first
    /// half second, or none of the measured ones ends ([`Error::is_target`]); or if a thread cannot
    /// be started ([`Error::is_io`]).
    #[track_caller]
    pub fn run<A: Answer>(
        &self,
        work: impl Fn(Request) -> A + Send + Sync + 'static,
    ) -> Result<LoadReport, Error> {
        let most = self.checked(64, MOST_THREADS)?;
        let run = Arc::new(LoadRun::new(self)?);
        // Of threads that were started before an error, too.
        let _guard = StopOnDrop(Arc::clone(&run));
        let mut control = Control::new(self, &run);
        let work = Arc::new(work);
        let (threads, reason) = match self.schedule() {
            Some(schedule) => {
                let (threads, pacer) = workers::open(&run, schedule, most, &work)?;
                let reason = control.watch(&run);
                // It waits for nobody, so it ends with its schedule.
                let _ = pacer.join();
                (threads, reason)
            }
            None => {
                let threads = workers::closed(&run, most, &work)?;
                (threads, control.watch(&run))
            }
        };
        let (reason, ended) = (reason?, run.start.elapsed());
        self.wait(|| threads.iter().all(JoinHandle::is_finished));
        let (finished, left): (Vec<_>, Vec<_>) =
            threads.into_iter().partition(JoinHandle::is_finished);
        finished.into_iter().for_each(|thread| _ = thread.join());
        // Each of these threads has one request that does not end.
        self.report(&run, control, reason, ended, left.len() as u64)
    }

    /// Runs the load in the tokio runtime of the caller, and calls `work` for every request, which
    /// is a task of its own in an open load.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tallies_bench::Load;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let load = Load::new().constant(1000.0).warm_up(Duration::ZERO).stop_after(20);
    /// let report = load.run_async(|_| tokio::time::sleep(Duration::from_millis(1))).await?;
    /// assert_eq!(report.succeeded(), 20);
    /// # Ok::<(), tallies_bench::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// Dropping the future ends the run.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub async fn run_async<A, F>(
        &self,
        work: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Result<LoadReport, Error>
    where
        A: Answer + Send,
        F: Future<Output = A> + Send + 'static,
    {
        let most = self.checked(10_000, MOST_TASKS)?;
        let runtime = Handle::current();
        let run = Arc::new(LoadRun::new(self)?);
        let guard = StopOnDrop(Arc::clone(&run));
        let (send, receive) = tokio::sync::oneshot::channel();
        let load = self.clone();
        let (run, work) = (Arc::clone(&run), Arc::new(work));
        // The pacing and the watching must not wait for the tasks of the runtime.
        workers::thread_named("load-control").spawn(move || {
            let _ = send.send(load.run_tasks(&run, most, &work, &runtime));
        })?;
        let lost = |_| Error::setting("the thread that controls the run has panicked");
        let report = receive.await.map_err(lost)?;
        drop(guard);
        report
    }

    /// Runs the load from a thread that is none of the runtime's.
    fn run_tasks<A, F>(
        &self,
        run: &Arc<LoadRun>,
        most: usize,
        work: &Arc<impl Fn(Request) -> F + Send + Sync + 'static>,
        runtime: &Handle,
    ) -> Result<LoadReport, Error>
    where
        A: Answer,
        F: Future<Output = A> + Send + 'static,
    {
        let mut control = Control::new(self, run);
        let (tasks, reason) = match self.schedule() {
            Some(schedule) => std::thread::scope(|scope| {
                let pacer = workers::thread_named("load-pacer");
                let pace = || workers::open_tasks(run, schedule, most, work, runtime);
                let pacer = pacer.spawn_scoped(scope, pace)?;
                let reason = control.watch(run);
                let tasks = pacer.join().unwrap_or_default();
                Ok::<_, Error>((tasks, reason))
            })?,
            None => {
                let tasks = workers::closed_tasks(run, most, work, runtime);
                (tasks, control.watch(run))
            }
        };
        let ended = run.start.elapsed();
        if reason.is_ok() {
            // Not until nothing is in flight: a task may be about to begin its last request.
            self.wait(|| tasks.iter().all(AbortHandle::is_finished));
        }
        // Acquire: pairs with the Release of each request that ended.
        let unfinished = run.in_flight.load(Ordering::Acquire) as u64;
        run.stop();
        tasks.iter().for_each(AbortHandle::abort);
        self.report(run, control, reason?, ended, unfinished)
    }

    /// Waits until all requests have ended, or the time to drain is over.
    fn wait(&self, have_ended: impl Fn() -> bool) {
        let begin = Instant::now();
        while !have_ended() && begin.elapsed() < self.drain {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Checks the settings, and returns the number of workers, or of requests in flight.
    fn checked(&self, default: usize, most: usize) -> Result<usize, Error> {
        let (workers, rate) = match self.model {
            Model::Closed(workers) => (workers, None),
            Model::Constant(rate) | Model::Poisson(rate) => {
                (self.max_in_flight.unwrap_or(default), Some(rate))
            }
        };
        let is_rate = |rate: &f64| *rate > 0.0 && *rate <= HIGHEST_RATE;
        let (phi, width) = self.width.unwrap_or((0.5, 1.0));
        let why = if let Some(rate) = rate.filter(|rate| !is_rate(rate)) {
            format!("the rate {rate} is not above 0 and at most {HIGHEST_RATE} requests a second")
        } else if !(1..=most).contains(&workers) {
            format!("{workers} workers or requests in flight are not 1 to {most}")
        } else if self.measure.is_zero() {
            "a measurement of no time measures nothing; `measure` sets it".to_owned()
        } else if self.count == Some(0) {
            "a load that stops after 0 requests measures nothing".to_owned()
        } else if width.is_nan() || width <= 0.0 {
            format!("the width {width} is not above 0; 0.05 is 5 % of the quantile")
        } else {
            return crate::stats::rank_radius(phi, 1.0, self.alpha).map(|_| workers);
        };
        Err(Error::setting(why))
    }

    fn schedule(&self) -> Option<Schedule> {
        match self.model {
            Model::Closed(_) => None,
            Model::Constant(rate) => Some(Schedule::constant(rate)),
            Model::Poisson(rate) => Some(Schedule::poisson(rate, self.seed)),
        }
    }

    fn report(
        &self,
        run: &LoadRun,
        mut control: Control,
        reason: StopReason,
        ended: Duration,
        unfinished: u64,
    ) -> Result<LoadReport, Error> {
        control.read_last(run)?;
        // A short run ends before the control looks.
        check_target(run, Duration::MAX)?;
        let report = LoadReport::new(self, run, control, reason, ended, unfinished);
        if report.succeeded() + report.failed() + report.panicked() > 0 {
            return Ok(report);
        }
        let (drain, measure) = (self.drain, self.measure);
        Err(match (unfinished, report.skipped()) {
            (0, 0) => Error::setting(format!(
                "no request was planned in the {measure:?} of the measurement: set a higher rate, or \
                 a longer time with `measure`"
            )),
            (unfinished, skipped) => Error::target(format!(
                "no measured request has ended: {unfinished} were still running {drain:?} after the \
                 measurement, and {skipped} were skipped meanwhile"
            )),
        })
    }
}

/// Ends a run whose future is dropped.
struct StopOnDrop(Arc<LoadRun>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests;
