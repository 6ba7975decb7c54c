//! Metrics of Tokio runtimes: current values and totals since the start of a runtime. Any number of
//! readers may read them.

use tokio::runtime::Handle;

use crate::error::Error;
use crate::family::grammar::prefixed;
use crate::registry::samples::{Fallible, Samples};
use crate::registry::{Collected, Registry};

/// Adds the metrics of a Tokio runtime to a registry. Programs with several runtimes add the others
/// with [`register_runtime_as`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
/// let registry = tallies::Registry::new();
/// tallies::process::register_runtime(&registry, runtime.handle())?;
/// assert_eq!(registry.snapshot().get("tokio_workers", &[]), Some(2.0));
/// # Ok(())
/// # }
/// ```
///
/// | name | meaning |
/// |---|---|
/// | `tokio_workers`, `tokio_alive_tasks`, `tokio_global_queue_depth` | current values |
/// | `tokio_worker_busy_seconds_total{worker}` | time in which the worker ran tasks |
/// | `tokio_worker_parks_total{worker}` | times that the worker went to sleep |
/// | `tokio_spawned_tasks_total`, `tokio_blocking_threads`, `tokio_idle_blocking_threads`, `tokio_blocking_queue_depth`, `tokio_budget_forced_yields_total`, `tokio_worker_polls_total{worker}`, `tokio_worker_steals_total{worker}`, `tokio_worker_local_queue_depth{worker}` | only in programs built with `--cfg tokio_unstable` |
///
/// A scrape then takes about 2 µs longer, and 0.6 µs per worker. Between scrapes there is no cost.
///
/// # Errors
///
/// Returns an error if the registry already has a runtime under this name.
#[track_caller]
pub fn register_runtime(registry: &Registry, handle: &Handle) -> Result<(), Error> {
    let handle = handle.clone();
    let prefix = "tokio";
    registry.collect_unprefixed(prefix, move |out: &mut Collected| {
        collect(&mut Samples { out, prefix }, &handle)
    })
}

/// Adds the metrics of a further Tokio runtime, under names that begin with `{name}_tokio_` instead
/// of `tokio_`. A scrape takes as much longer as with [`register_runtime`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
/// let registry = tallies::Registry::new();
/// tallies::process::register_runtime_as(&registry, "jobs", runtime.handle())?;
/// assert_eq!(registry.snapshot().get("jobs_tokio_workers", &[]), Some(2.0));
/// # Ok(())
/// # }
/// ```
///
/// If `name` ends in an underscore, no second one is added.
///
/// # Errors
///
/// Returns an error if the registry already has a runtime under this name. Invalid names are not an
/// error here: each scrape counts them in `tallies_collect_errors_total`.
#[track_caller]
pub fn register_runtime_as(registry: &Registry, name: &str, handle: &Handle) -> Result<(), Error> {
    let (prefix, handle) = (prefixed(name, "tokio"), handle.clone());
    registry.add_collector(&prefix.clone(), move |out: &mut Collected| {
        let prefix = &prefix;
        collect(&mut Samples { out, prefix }, &handle)
    })
}

fn collect(out: &mut Samples<'_>, handle: &Handle) -> Fallible<()> {
    let now = handle.metrics();
    out.write(
        ("workers", "Worker threads of the runtime."),
        &[],
        now.num_workers() as f64,
    )?;
    out.write(
        ("alive_tasks", "Tasks that have not completed."),
        &[],
        now.num_alive_tasks() as f64,
    )?;
    out.write(
        (
            "global_queue_depth",
            "Tasks in the global queue, ready to run.",
        ),
        &[],
        now.global_queue_depth() as f64,
    )?;
    #[cfg(tokio_unstable)]
    {
        let (spawned, yields) = (now.spawned_tasks_count(), now.budget_forced_yield_count());
        out.write(
            ("spawned_tasks_total", "Tasks spawned."),
            &[],
            spawned as f64,
        )?;
        out.write(
            (
                "budget_forced_yields_total",
                "Forced yields: tasks that had used up their budget.",
            ),
            &[],
            yields as f64,
        )?;
        let (threads, idle) = (now.num_blocking_threads(), now.num_idle_blocking_threads());
        out.write(
            ("blocking_threads", "Threads for blocking tasks."),
            &[],
            threads as f64,
        )?;
        out.write(
            ("idle_blocking_threads", "Idle threads for blocking tasks."),
            &[],
            idle as f64,
        )?;
        let queued = now.blocking_queue_depth();
        out.write(
            (
                "blocking_queue_depth",
                "Blocking tasks that wait for a thread.",
            ),
            &[],
            queued as f64,
        )?;
    }
    for worker in 0..now.num_workers() {
        let name = worker.to_string();
        let labels = [("worker", &*name)];
        let busy = now.worker_total_busy_duration(worker);
        let parks = now.worker_park_count(worker);
        out.write(
            (
                "worker_busy_seconds_total",
                "Time that the worker spent on tasks.",
            ),
            &labels,
            busy.as_secs_f64(),
        )?;
        out.write(
            ("worker_parks_total", "Times that the worker went to sleep."),
            &labels,
            parks as f64,
        )?;
        #[cfg(tokio_unstable)]
        {
            let polls = now.worker_poll_count(worker);
            let steals = now.worker_steal_count(worker);
            out.write(
                ("worker_polls_total", "Times that the worker polled a task."),
                &labels,
                polls as f64,
            )?;
            out.write(
                (
                    "worker_steals_total",
                    "Tasks that the worker stole from other workers.",
                ),
                &labels,
                steals as f64,
            )?;
            let waiting = now.worker_local_queue_depth(worker);
            out.write(
                (
                    "worker_local_queue_depth",
                    "Tasks ready to run in the worker's own queue.",
                ),
                &labels,
                waiting as f64,
            )?;
        }
    }
    Ok(())
}
