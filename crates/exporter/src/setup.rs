//! Declarations of an exporter that starts: metrics, hooks, updates and probes.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tallies::{Error, Registry};
use tallies_config::{Config, Configure, MetricConfig, MetricMap};
use tallies_names::setters;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::probe::{Probe, ProbeHandler};
use super::update::{Handler, Update, Updater};

/// Declares what an exporter does. [`Exporter::configure`](super::Exporter::configure) passes it to
/// its hook.
pub struct Setup {
    registry: Registry,
    /// Where handlers run.
    pub(super) runtime: Handle,
    pub(super) startup: Vec<Hook>,
    pub(super) shutdown: Vec<Hook>,
    pub(super) updates: Vec<Updater>,
    pub(super) probes: Vec<(String, ProbeHandler)>,
}

/// A hook that runs once: it begins in a task of its own, so that one that panics or blocks its
/// thread holds up neither other hooks nor signals.
pub(super) type Hook = Box<dyn FnOnce(&mut JoinSet<super::Result>, &Handle) + Send>;

fn in_task<R>(hook: impl FnOnce() -> R + Send + 'static) -> Hook
where
    R: Future<Output = super::Result> + Send + 'static,
{
    Box::new(|tasks, runtime| _ = tasks.spawn_on(async move { hook().await }, runtime))
}

fn on_thread(hook: impl FnOnce() -> super::Result + Send + 'static) -> Hook {
    Box::new(|tasks, runtime| _ = tasks.spawn_blocking_on(hook, runtime))
}

/// Runs a hook to its end.
pub(super) async fn run(hook: Hook, runtime: &Handle) -> super::Result {
    // Dropping the set cancels the hook.
    let mut tasks = JoinSet::new();
    hook(&mut tasks, runtime);
    match tasks.join_next().await {
        Some(Ok(ended)) => ended,
        _ => Err("the hook panicked".into()),
    }
}

impl Setup {
    pub(super) fn new(registry: &Registry, runtime: &Handle) -> Self {
        Self {
            registry: registry.clone(),
            runtime: runtime.clone(),
            startup: Vec::new(),
            shutdown: Vec::new(),
            updates: Vec::new(),
            probes: Vec::new(),
        }
    }

    /// Returns the registry that the exporter serves, for metrics that are declared in code and for
    /// collectors.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Creates metrics from data. The same as
    /// [`Configure::create_metrics`].
    ///
    /// # Errors
    ///
    /// The same as for that.
    #[track_caller]
    pub fn create_metrics(
        &self,
        configs: impl IntoIterator<Item = MetricConfig>,
    ) -> Result<MetricMap, Error> {
        self.registry.create_metrics(configs)
    }

    /// Adds the views and creates the metrics of a YAML or TOML file. See
    /// [`Config::from_file`](tallies_config::Config::from_file).
    ///
    /// The views hold for all metrics that are declared afterwards, also for those that an exporter
    /// has about itself. So call it first.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, and mistakes in it, with line and column. A view of a metric
    /// that was declared before is a mistake, too.
    #[track_caller]
    pub fn create_metrics_from_file(&self, path: impl AsRef<Path>) -> Result<MetricMap, Error> {
        self.registry.configure(Config::from_file(path)?)
    }

    /// Begins to declare an update: a function that updates metrics before each metrics page, or
    /// periodically. A second update of the same name replaces the first.
    ///
    /// ```no_run
    /// # use tallies_exporter::{Exporter, NoArgs};
    /// # async fn read(host: &str) -> Result<f64, std::io::Error> { Ok(host.len() as f64) }
    /// Exporter::new("my-exporter", "1.0.0", "An example.").configure(|setup, _: NoArgs| {
    ///     let host = std::sync::Arc::new("alpha".to_owned());
    ///     setup.update("temperature").run(move |metrics| {
    ///         let host = host.clone();
    ///         async move {
    ///             metrics.with("temperature_celsius", &[])?.set(read(&host).await?)?;
    ///             Ok(())
    ///         }
    ///     });
    ///     Ok(())
    /// });
    /// ```
    ///
    /// All updates run at the same time. The page waits for them for 8/10 of the header
    /// `X-Prometheus-Scrape-Timeout-Seconds`, or for 10 s without it. Scrapes that come while an
    /// update runs share that run. If it fails, panics or is late, the page has the values of
    /// before, and these metrics say so, with the name of the update as label:
    ///
    /// | metric | meaning |
    /// |---|---|
    /// | `exporter_update_success{update}` | 1, or 0 if the last update failed or was late |
    /// | `exporter_update_duration_seconds{update}` | the time that it took |
    /// | `exporter_update_errors_total{update,reason}` | `error`, `panic` or `timeout` |
    /// | `exporter_update_last_success_timestamp_seconds{update}` | when it last succeeded |
    ///
    /// A run that is late goes on, for the next page. After 60 s it is cancelled.
    pub fn update(&mut self, name: &str) -> UpdateBuilder<'_> {
        UpdateBuilder {
            setup: self,
            name: name.to_owned(),
            every: None,
            min_interval: Duration::ZERO,
        }
    }

    /// Adds a page at `path` about a target that the query names, as blackbox exporters have it.
    /// Each request gets a fresh registry, and its metrics are the page.
    ///
    /// ```no_run
    /// # use tallies_exporter::{Exporter, NoArgs};
    /// Exporter::new("tcp-exporter", "1.0.0", "Connects.").configure(|setup, _: NoArgs| {
    ///     setup.probe("/probe", |probe| async move {
    ///         let start = std::time::Instant::now();
    ///         tokio::net::TcpStream::connect(probe.target()?).await?;
    ///         let took = probe.registry().gauge("tcp_connect_seconds", "Time to connect.")?;
    ///         took.set(start.elapsed().as_secs_f64());
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// });
    /// ```
    ///
    /// The page also has `probe_success` and `probe_duration_seconds`. A handler that fails, panics
    /// or takes longer than an update may still has a page, with `probe_success` 0. An error that
    /// is a [`BadRequest`](super::BadRequest) is answered with 400.
    pub fn probe<F, R>(&mut self, path: &str, handler: F)
    where
        F: Fn(Probe) -> R + Send + Sync + 'static,
        R: Future<Output = super::Result> + Send + 'static,
    {
        let handler: ProbeHandler = Arc::new(move |probe| Box::pin(handler(probe)));
        self.probes.retain(|(other, _)| other != path);
        self.probes.push((path.to_owned(), handler));
    }

    /// Adds an async function that runs once before the exporter answers requests. If it returns an
    /// error, the program ends with exit code 1.
    pub fn on_startup<F, R>(&mut self, hook: F)
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = super::Result> + Send + 'static,
    {
        self.startup.push(in_task(hook));
    }

    /// Adds a function that runs once before the exporter answers requests. It may block. If it
    /// returns an error, the program ends with exit code 1.
    pub fn on_startup_blocking(&mut self, hook: impl FnOnce() -> super::Result + Send + 'static) {
        self.startup.push(on_thread(hook));
    }

    /// Adds an async function that runs once after the last answer. An error is logged. All
    /// shutdown hooks together have 10 s.
    pub fn on_shutdown<F, R>(&mut self, hook: F)
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = super::Result> + Send + 'static,
    {
        self.shutdown.push(in_task(hook));
    }

    /// Adds a function that runs once after the last answer. It may block. An error is logged. All
    /// shutdown hooks together have 10 s.
    pub fn on_shutdown_blocking(&mut self, hook: impl FnOnce() -> super::Result + Send + 'static) {
        self.shutdown.push(on_thread(hook));
    }
}

/// An update that is being declared, by [`Setup::update`]. [`run`](Self::run) and
/// [`run_blocking`](Self::run_blocking) end it.
#[must_use = "an update without `run` or `run_blocking` is not added"]
#[derive(Debug)]
pub struct UpdateBuilder<'a> {
    setup: &'a mut Setup,
    name: String,
    every: Option<Duration>,
    min_interval: Duration,
}

impl UpdateBuilder<'_> {
    setters! {
        /// Runs the update at this interval, whether or not there are scrapes, and not before
        /// pages. Its deadline is the next run. The shortest interval is 10 ms.
        ///
        /// ```no_run
        /// # use std::time::Duration;
        /// # use tallies_exporter::{Exporter, NoArgs};
        /// Exporter::new("my-exporter", "1.0.0", "An example.").configure(|setup, _: NoArgs| {
        ///     let backups = setup.update("backups").every(Duration::from_secs(300));
        ///     backups.run_blocking(|metrics| {
        ///         let count = std::fs::read_dir("/backups")?.count();
        ///         metrics.with("backups", &[])?.set(count as f64)?;
        ///         Ok(())
        ///     });
        ///     Ok(())
        /// });
        /// ```
        fn every(self, interval: Duration) =
            self.every = Some(interval.max(Duration::from_millis(10)));

        /// Sets the least time between the end of a run and the next run. A page that comes sooner
        /// has the values of before. The default is 0.
        fn min_interval(self, interval: Duration) = self.min_interval = interval;
    }

    /// Adds the update, with an async function.
    pub fn run<F, R>(self, handler: F)
    where
        F: Fn(Update) -> R + Send + Sync + 'static,
        R: Future<Output = super::Result> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.add(Box::new(move |update, runtime| {
            let handler = Arc::clone(&handler);
            // The call may panic or block, too.
            runtime.spawn(async move { with_text(handler(update).await) })
        }));
    }

    /// Adds the update, with a function that may block. A run that is late cannot be cancelled, and
    /// the next run begins after its end.
    pub fn run_blocking(self, handler: impl Fn(Update) -> super::Result + Send + Sync + 'static) {
        let handler = Arc::new(handler);
        self.add(Box::new(move |update, runtime| {
            let handler = Arc::clone(&handler);
            runtime.spawn_blocking(move || with_text(handler(update)))
        }));
    }

    fn add(self, handler: Handler) {
        let updates = &mut self.setup.updates;
        updates.retain(|update| update.name != self.name);
        updates.push(Updater {
            name: self.name,
            handler,
            min_interval: self.min_interval,
            every: self.every,
            registry: self.setup.registry.clone(),
            runtime: self.setup.runtime.clone(),
            metrics: None,
            last: Mutex::default(),
        });
    }
}

/// Makes the text of an error, in the task of the handler, because it is code of the user, too.
fn with_text(ended: super::Result) -> Result<(), String> {
    ended.map_err(|error| error.to_string())
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let updates: Vec<_> = self.updates.iter().map(|update| &update.name).collect();
        f.debug_struct("Setup")
            .field("updates", &updates)
            .finish_non_exhaustive()
    }
}
