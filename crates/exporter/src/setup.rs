//! What an exporter declares when it starts: metrics, hooks, updates and probes.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tallies::{Error, Registry};
use tallies_config::{Config, Configure, MetricConfig, MetricMap};
use tokio::runtime::Handle;

use super::probe::{Probe, ProbeHandler};
use super::update::{Handler, Update};

/// Declares what an exporter does. [`Exporter::configure`](super::Exporter::configure) passes it to
/// its hook.
pub struct Setup {
    pub(super) registry: Registry,
    pub(super) startup: Vec<Hook>,
    pub(super) shutdown: Vec<Hook>,
    pub(super) updates: Vec<DeclaredUpdate>,
    pub(super) probes: Vec<(String, ProbeHandler)>,
    min_interval: Duration,
}

/// An update as it was declared.
pub(super) struct DeclaredUpdate {
    pub(super) name: String,
    pub(super) handler: Handler,
    pub(super) min_interval: Duration,
    /// The time between runs, if scrapes do not start them.
    pub(super) every: Option<Duration>,
}

/// A hook that runs once.
pub(super) enum Hook {
    Async(Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = super::Result> + Send>> + Send>),
    Blocking(Box<dyn FnOnce() -> super::Result + Send>),
}

impl Hook {
    /// Runs the hook in a task of its own, so that one that panics or blocks its thread holds up
    /// neither other hooks nor signals.
    pub(super) async fn run(self, runtime: &Handle) -> super::Result {
        // Dropping the set cancels the hook.
        let mut task = tokio::task::JoinSet::new();
        match self {
            Self::Async(hook) => _ = task.spawn_on(async move { hook().await }, runtime),
            Self::Blocking(hook) => _ = task.spawn_blocking_on(hook, runtime),
        }
        match task.join_next().await {
            Some(Ok(ended)) => ended,
            _ => Err("the hook panicked".into()),
        }
    }
}

impl Setup {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            startup: Vec::new(),
            shutdown: Vec::new(),
            updates: Vec::new(),
            probes: Vec::new(),
            min_interval: Duration::ZERO,
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

    /// Sets an async function that updates metrics before each metrics page.
    ///
    /// ```no_run
    /// # use tallies_exporter::{Exporter, NoArgs};
    /// # async fn read(host: &str) -> Result<f64, std::io::Error> { Ok(host.len() as f64) }
    /// Exporter::new("my-exporter", "1.0.0", "An example.").configure(|setup, _: NoArgs| {
    ///     let host = std::sync::Arc::new("alpha".to_owned());
    ///     setup.set_metric_update_handler(move |metrics| {
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
    /// The page waits for it for 8/10 of the header `X-Prometheus-Scrape-Timeout-Seconds`, or for
    /// 10 s without it. Scrapes that come while it runs share that run. If it fails, panics or is
    /// late, the page has the values of before, and these metrics say so:
    ///
    /// | metric | meaning |
    /// |---|---|
    /// | `exporter_update_success{update}` | 1, or 0 if the last update failed or was late |
    /// | `exporter_update_duration_seconds{update}` | the time that it took |
    /// | `exporter_update_errors_total{update,reason}` | `error`, `panic` or `timeout` |
    /// | `exporter_update_last_success_timestamp_seconds{update}` | when it last succeeded |
    ///
    /// A run that is late goes on, for the next page. After 60 s it is cancelled. The label
    /// `update` is `metrics`; a second call replaces the handler. [`add_update`](Self::add_update)
    /// adds others.
    pub fn set_metric_update_handler<F, R>(&mut self, handler: F)
    where
        F: Fn(Update) -> R + Send + Sync + 'static,
        R: Future<Output = super::Result> + Send + 'static,
    {
        self.add_update("metrics", handler);
    }

    /// Sets a function that updates metrics before each metrics page, as
    /// [`set_metric_update_handler`](Self::set_metric_update_handler) does. The function may block.
    /// One that is late cannot be cancelled, and the next run begins after its end.
    pub fn set_blocking_metric_update_handler(
        &mut self,
        handler: impl Fn(Update) -> super::Result + Send + Sync + 'static,
    ) {
        self.add("metrics", Handler::Blocking(Arc::new(handler)), None);
    }

    /// Adds an async function that updates metrics before each page. All run at the same time, and
    /// each has its own success and duration, with this name as label.
    ///
    /// ```no_run
    /// # use tallies_exporter::{Exporter, NoArgs};
    /// Exporter::new("my-exporter", "1.0.0", "An example.").configure(|setup, _: NoArgs| {
    ///     for disk in ["sda", "sdb"] {
    ///         setup.add_update(disk, move |metrics| async move {
    ///             metrics.with("disk_ok", &[("disk", disk)])?.set(1.0)?;
    ///             Ok(())
    ///         });
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn add_update<F, R>(&mut self, name: &str, handler: F)
    where
        F: Fn(Update) -> R + Send + Sync + 'static,
        R: Future<Output = super::Result> + Send + 'static,
    {
        let handler = Handler::Async(Box::new(move |update| Box::pin(handler(update))));
        self.add(name, handler, None);
    }

    /// Runs an async function now and then, whether or not there are scrapes. Its success and
    /// duration are exported like those of other updates. Its deadline is the next run.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tallies_exporter::{Exporter, NoArgs};
    /// Exporter::new("my-exporter", "1.0.0", "An example.").configure(|setup, _: NoArgs| {
    ///     setup.every(Duration::from_secs(300), "backups", |metrics| async move {
    ///         metrics.with("backups", &[])?.set(std::fs::read_dir("/backups")?.count() as f64)?;
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// });
    /// ```
    pub fn every<F, R>(&mut self, interval: Duration, name: &str, handler: F)
    where
        F: Fn(Update) -> R + Send + Sync + 'static,
        R: Future<Output = super::Result> + Send + 'static,
    {
        let handler = Handler::Async(Box::new(move |update| Box::pin(handler(update))));
        self.add(name, handler, Some(interval.max(Duration::from_millis(10))));
    }

    fn add(&mut self, name: &str, handler: Handler, every: Option<Duration>) {
        self.updates.retain(|update| update.name != name);
        self.updates.push(DeclaredUpdate {
            name: name.to_owned(),
            handler,
            min_interval: self.min_interval,
            every,
        });
    }

    /// Sets the least time between two runs of the updates that are added after this call. A scrape
    /// that comes sooner exports the values of before.
    pub fn min_update_interval(&mut self, interval: Duration) {
        self.min_interval = interval;
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
        self.startup
            .push(Hook::Async(Box::new(|| Box::pin(hook()))));
    }

    /// Adds a function that runs once before the exporter answers requests. It may block. If it
    /// returns an error, the program ends with exit code 1.
    pub fn on_startup_blocking(&mut self, hook: impl FnOnce() -> super::Result + Send + 'static) {
        self.startup.push(Hook::Blocking(Box::new(hook)));
    }

    /// Adds an async function that runs once after the last answer, for at most 10 s. An error is
    /// logged.
    pub fn on_shutdown<F, R>(&mut self, hook: F)
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = super::Result> + Send + 'static,
    {
        self.shutdown
            .push(Hook::Async(Box::new(|| Box::pin(hook()))));
    }

    /// Adds a function that runs once after the last answer, for at most 10 s. It may block. An
    /// error is logged.
    pub fn on_shutdown_blocking(&mut self, hook: impl FnOnce() -> super::Result + Send + 'static) {
        self.shutdown.push(Hook::Blocking(Box::new(hook)));
    }
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let updates: Vec<_> = self.updates.iter().map(|update| &update.name).collect();
        f.debug_struct("Setup")
            .field("updates", &updates)
            .finish_non_exhaustive()
    }
}
