//! Exporters: programs whose purpose is a metrics page about something else.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use tallies_exporter::config::{MetricConfig, MetricKind};
//! use tallies_exporter::{Exporter, NoArgs};
//!
//! fn main() -> ExitCode {
//!     Exporter::new("load-exporter", "1.0.0", "The load of this machine.")
//!         .configure(|setup, _: NoArgs| {
//!             setup.create_metrics([MetricConfig::new("load1", "Load, one minute.", MetricKind::Gauge)])?;
//!             setup.update("load").run_blocking(|metrics| {
//!                 let load = std::fs::read_to_string("/proc/loadavg")?;
//!                 let first = load.split(' ').next().unwrap_or_default();
//!                 metrics.with("load1", &[])?.set(first.parse()?)?;
//!                 Ok(())
//!             });
//!             Ok(())
//!         })
//!         .run()
//! }
//! ```
//!
//! The program has a command line, reads settings from the environment and a dotenv file, serves
//! several addresses with TLS and passwords, logs, and ends on a signal. `docs/exporter.md` is the
//! guide.

#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod args;
mod environment;
mod extension;
mod listen;
mod logging;
mod probe;
mod program;
mod setup;
mod update;
mod web;

use std::process::ExitCode;

use tallies::Registry;
use tallies_names::setters;

pub use args::NoArgs;
pub use probe::{BadRequest, Probe};
pub use setup::{Setup, UpdateBuilder};
pub use update::Update;

/// Metrics and views that are described by data.
pub use tallies_config as config;

/// The error that hooks and handlers return: any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of hooks and handlers.
pub type Result = std::result::Result<(), BoxError>;

/// The threads for handlers. More than one, because a handler may block its thread.
const WORKERS: usize = 4;

type Configure<A> = Box<dyn FnOnce(&mut Setup, A) -> Result + Send>;

/// An exporter: a program that serves metrics about something else. The [module](self) has an
/// example.
///
/// `A` has the program's own options, beside those that all exporters have.
#[must_use = "an exporter serves when it is run"]
pub struct Exporter<A = NoArgs> {
    about: About,
    registry: Registry,
    configure: Configure<A>,
}

/// The description of an exporter, and its defaults.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) prefix: String,
    pub(crate) allowed_hosts: Vec<String>,
    /// Whether the page is served as OpenMetrics, too.
    pub(crate) open_metrics: bool,
    /// Whether there is a live page, unless a variable says otherwise.
    #[cfg(feature = "live")]
    pub(crate) live: bool,
}

impl Exporter {
    /// Begins an exporter of this name, version and description. The command line, the log, the
    /// page at `/` and the header `Server` show them.
    ///
    /// ```no_run
    /// let name = env!("CARGO_PKG_NAME");
    /// let exporter = tallies_exporter::Exporter::new(name, env!("CARGO_PKG_VERSION"), "Nothing.");
    /// exporter.run();
    /// ```
    ///
    /// The exporter serves the default registry, so it exports statics, too. It turns off the
    /// registry's metrics about itself, before [`configure`](Self::configure).
    pub fn new(name: &str, version: &str, description: &str) -> Self {
        let registry = tallies::registry().clone();
        Self {
            about: About {
                name: name.to_owned(),
                version: version.to_owned(),
                description: description.to_owned(),
                port: 9090,
                path: "/metrics".to_owned(),
                prefix: "EXP".to_owned(),
                allowed_hosts: Vec::new(),
                open_metrics: true,
                #[cfg(feature = "live")]
                live: false,
            },
            registry,
            configure: Box::new(|_, _| Ok(())),
        }
    }
}

impl<A: clap::Args + Send + 'static> Exporter<A> {
    /// Sets the hook that declares metrics and handlers. It gets the program's own options, which
    /// are on the command line beside the common ones.
    ///
    /// ```no_run
    /// use tallies_exporter::Exporter;
    ///
    /// #[derive(clap::Args)]
    /// struct Options {
    ///     /// Address of the server.
    ///     #[arg(long, default_value = "127.0.0.1:6379")]
    ///     server: std::net::SocketAddr,
    /// }
    ///
    /// Exporter::new("my-exporter", "1.0.0", "An example.")
    ///     .configure(|setup, options: Options| {
    ///         setup.registry().info("target_info", "The server.", &[("role", "primary")])?;
    ///         println!("{}", options.server);
    ///         Ok(())
    ///     })
    ///     .run();
    /// ```
    ///
    /// If it returns an error, the program logs it and ends with exit code 1.
    pub fn configure<B: clap::Args>(
        self,
        configure: impl FnOnce(&mut Setup, B) -> Result + Send + 'static,
    ) -> Exporter<B> {
        Exporter {
            about: self.about,
            registry: self.registry,
            configure: Box::new(configure),
        }
    }

    setters! {
        /// Sets the default of `--port`, instead of 9090.
        fn default_port(self, port: u16) = self.about.port = port;

        /// Sets the default of `--metrics-path`, instead of `/metrics`.
        fn default_metrics_path(self, path: &str) = path.clone_into(&mut self.about.path);

        /// Sets the prefix of environment variables, instead of `EXP`. With `REDIS_EXPORTER`, the
        /// variable of `--port` is `REDIS_EXPORTER_PORT`.
        fn env_prefix(self, prefix: &str) = prefix.clone_into(&mut self.about.prefix);

        /// Sets the default of `--web.allowed-host`: hosts that requests may name in their `Host`
        /// header.
        ///
        /// ```no_run
        /// let exporter = tallies_exporter::Exporter::new("my-exporter", "1.0.0", "An example.");
        /// exporter.allowed_hosts(["metrics.example.org"]).run();
        /// ```
        ///
        /// An exporter whose sockets are all on loopback addresses also admits `localhost`,
        /// `127.0.0.1`, `[::1]` and the hosts that it was told to listen on, and no others: a
        /// browser on this machine may be led to it by a web site that points a name of its own at
        /// 127.0.0.1. An exporter with other sockets admits all hosts unless some are named. `*`
        /// admits all.
        fn allowed_hosts(self, hosts: impl IntoIterator<Item = impl Into<String>>) =
            self.about.allowed_hosts = hosts.into_iter().map(Into::into).collect();

        /// Sets whether clients that prefer OpenMetrics get it, as
        /// [`Server::open_metrics`](tallies::serve::Server::open_metrics) does. `false` is the same
        /// as the option `--web.disable-openmetrics`.
        fn open_metrics(self, yes: bool) = self.about.open_metrics = yes;

        /// Adds `/live`, a page in the browser where the metrics move, as [`Server::live`] does.
        /// Without it, the option `--web.enable-live` adds the page.
        ///
        /// ```no_run
        /// let exporter = tallies_exporter::Exporter::new("my-exporter", "1.0.0", "An example.");
        /// exporter.live().run();
        /// ```
        ///
        /// The page asks for the same password and client certificate as the metrics. The variable
        /// `EXP_WEB_ENABLE_LIVE=false` takes it away again.
        ///
        /// While at least one page is in sight, the updates run for it, for all pages together:
        /// each before the snapshot of a second, unless it has just run, but then not for ten times
        /// as long as it took. So an update that takes 3 s runs every 33 s. The page waits for an
        /// update for at most 0.5 s and then shows the values of before; a later result is in a
        /// later second. Failures are in the metrics about updates; the page's impatience is not.
        /// Scrapes share the runs. [`UpdateBuilder::min_interval`] holds here, too.
        ///
        /// [`Server::live`]: tallies::serve::Server::live
        #[cfg(feature = "live")]
        fn live(self) = self.about.live = true;

        /// Serves this registry instead of the default one.
        fn registry(self, registry: &Registry) = self.registry = registry.clone();
    }

    /// Runs the exporter until SIGTERM or Ctrl-C, in a runtime of its own. Returns the exit code.
    ///
    /// - 0: it was ended by a signal, or has printed its help, version or completions.
    /// - 1: it cannot start. The log says why.
    /// - 2: the command line, an environment variable or the dotenv file is wrong. Nothing was
    ///   configured then.
    ///
    /// # Panics
    ///
    /// Panics in debug builds if the program's own options have the names of common ones.
    #[must_use]
    #[track_caller]
    pub fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build();
        // Signals and the watchdog have a runtime of their own, because handlers that block all
        // threads of theirs also hold up its timer and its I/O driver.
        let control = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let (runtime, control) = match (runtime, control) {
            (Ok(runtime), Ok(control)) => (runtime, control),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("cannot start: {error}");
                return ExitCode::from(1);
            }
        };
        let prepared = {
            // `configure` may spawn tasks, and may also block.
            let _runtime = runtime.enter();
            program::prepare(self, runtime.handle())
        };
        let code = match prepared {
            Ok(prepared) => control.block_on(program::run(prepared)),
            Err(code) => code,
        };
        // A handler that hangs is not waited for.
        control.shutdown_background();
        runtime.shutdown_background();
        code
    }

    /// Runs the exporter as [`run`](Self::run) does, in the current Tokio runtime, which needs its
    /// timer, its I/O driver and signals. Handlers run there, and the service on a thread of its
    /// own.
    ///
    /// ```no_run
    /// # use tallies_exporter::Exporter;
    /// #[tokio::main]
    /// async fn main() -> std::process::ExitCode {
    ///     Exporter::new("my-exporter", "1.0.0", "An example.").run_async().await
    /// }
    /// ```
    #[must_use = "the exit code is what `main` returns"]
    pub async fn run_async(self) -> ExitCode {
        let runtime = tokio::runtime::Handle::current();
        match program::prepare(self, &runtime) {
            Ok(prepared) => program::run(prepared).await,
            Err(code) => code,
        }
    }
}

impl<A> std::fmt::Debug for Exporter<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter")
            .field("about", &self.about)
            .finish_non_exhaustive()
    }
}
