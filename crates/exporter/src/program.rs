//! An exporter as a program: its start, its run and its end.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, Command, FromArgMatches};
use tallies::serve::BoundServer;
use tallies::{Error, serve::Server};
use tokio::runtime::Handle;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::{Common, command};
use super::environment::{self, Applied};
use super::extension::ExporterPages;
use super::logging::NOTICE;
use super::setup::{self, Setup};
use super::update::{UpdateMetrics, Updater};
use super::web::{self, Web};
use super::{About, BoxError, Exporter, listen, logging};

/// The time that all shutdown hooks have together.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// An exporter whose sockets are bound.
pub(super) struct Prepared {
    server: BoundServer,
    /// The hooks, and where they run.
    setup: Setup,
    periodic: Vec<(Arc<Updater>, Duration)>,
    web: Option<Arc<Web>>,
    /// The path of the metrics page.
    path: String,
}

/// Logs why the program cannot start, and returns its exit code.
fn cannot_start(error: &dyn std::fmt::Display) -> ExitCode {
    log::error!("cannot start: {error}");
    ExitCode::from(1)
}

/// Parses the command line, configures the exporter and binds its sockets. `runtime` is where
/// handlers and hooks run.
///
/// # Errors
///
/// Fails with the exit code if the program ends here; it is 0 after help or a check.
#[track_caller]
pub(super) fn prepare<A: Args>(
    exporter: Exporter<A>,
    runtime: &Handle,
) -> Result<Prepared, ExitCode> {
    let about = &exporter.about;
    let (common, own) = parse::<A>(about)?;
    logging::install(common.log_level, common.log_format);
    log::info!(version = about.version.as_str(); "startup");
    // The program's own options may have secrets, so they are not logged.
    log::debug!(
        host = common.host.join(" ").as_str(),
        port = common.port,
        metrics_path = common.metrics_path.as_str(),
        log_level = format!("{:?}", common.log_level).to_lowercase().as_str(),
        process_stats = common.process_stats,
        web_config = common.web_config_file.as_deref().unwrap_or(Path::new("")).display().to_string().as_str(),
        tls = common.ssl_public_key.is_some();
        "configuration"
    );
    // Metrics of the engine about itself are not what an exporter is for. `configure` may turn them
    // on.
    exporter.registry.set_self_metrics(false);
    match bind(exporter, runtime, &common, own) {
        Ok(_) if common.config_check => {
            print(b"the configuration is fine\n");
            Err(ExitCode::SUCCESS)
        }
        Ok(prepared) => Ok(prepared),
        Err(error) => Err(cannot_start(&error)),
    }
}

/// Parses the command line, with environment variables and a dotenv file.
fn parse<A: Args>(about: &About) -> Result<(Common, A), ExitCode> {
    let plain = command::<A>(about);
    let usage = |mut command: Command, why: &str| {
        let error = command.error(clap::error::ErrorKind::ValueValidation, why);
        // A closed standard error is no reason to fail.
        let _ = error.print();
        ExitCode::from(2)
    };
    let (mut command, applied) = match environment::apply(plain.clone(), &about.prefix) {
        Ok(applied) => applied,
        Err(why) => {
            // Help and version need no variables.
            return Err(match plain.clone().try_get_matches() {
                Err(error) if !error.use_stderr() => report(&error, &Applied::default(), about),
                _ => usage(plain, &why),
            });
        }
    };
    let report = |error: clap::Error| report(&error, &applied, about);
    let matches = command
        .try_get_matches_from_mut(std::env::args_os())
        .map_err(report)?;
    let mut common = Common::from_arg_matches(&matches).map_err(report)?;
    let is_argument = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    // A host or port on the command line wins over listen addresses from a variable.
    if (is_argument("host") || is_argument("port")) && !is_argument("web_listen_address") {
        common.web_listen_address.clear();
    }
    // Before the program's own options are read. `--completions` excludes all others, so even
    // required ones are missing.
    if let Some(shell) = common.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, &about.name, &mut script);
        print(&script);
        return Err(ExitCode::SUCCESS);
    }
    let own = A::from_arg_matches(&matches).map_err(report)?;
    if common.host.is_empty() && common.web_listen_address.is_empty() {
        return Err(usage(command, "a host is missing"));
    }
    check_options(&common).map_err(|why| usage(command, &why))?;
    Ok((common, own))
}

/// Checks options that are wrong in themselves or together.
fn check_options(common: &Common) -> Result<(), String> {
    server(common).check().map_err(|error| error.to_string())?;
    let why = match (&common.ssl_public_key, &common.ssl_private_key) {
        (Some(_), None) => "--ssl-public-key needs --ssl-private-key",
        (None, Some(_)) => "--ssl-private-key needs --ssl-public-key",
        (None, None) if common.ssl_ca.is_some() => {
            "--ssl-ca needs --ssl-public-key and --ssl-private-key"
        }
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

/// Writes to standard output. A pipe that was closed, as by `head`, is no reason to fail.
fn print(text: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
}

/// Prints what clap has to say: a mistake, the help or the version.
fn report(error: &clap::Error, applied: &Applied, about: &About) -> ExitCode {
    if error.kind() == clap::error::ErrorKind::DisplayVersion {
        print(format!("{}, version {}\n", about.name, about.version).as_bytes());
        return ExitCode::SUCCESS;
    }
    let _ = error.print();
    if let Some(source) = applied.source_of(error) {
        eprintln!("\nThe value is from {source}.");
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Configures the exporter and binds its sockets. A check binds a port that is thrown away.
#[track_caller]
fn bind<A>(
    exporter: Exporter<A>,
    runtime: &Handle,
    common: &Common,
    own: A,
) -> Result<Prepared, BoxError> {
    let registry = &exporter.registry;
    let mut server = server(common)
        .registry(registry)
        .open_metrics(!common.web_disable_openmetrics);
    let own_metrics = !common.web_disable_exporter_metrics;
    let web = common.web_config_file.as_deref().map(Web::load);
    let web = web.transpose()?.map(Arc::new);
    if let (Some(certificate), Some(key)) = (&common.ssl_public_key, &common.ssl_private_key) {
        server = server.certificate(certificate).private_key(key);
    }
    if let Some(ca) = &common.ssl_ca {
        server = server.client_ca(ca);
    }
    if let Some(tls) = web.as_ref().and_then(|web| web.tls()) {
        // One option is enough to test: `check_options` rejects `--ssl-private-key` and `--ssl-ca`
        // without `--ssl-public-key`.
        if common.ssl_public_key.is_some() {
            return Err("TLS is in --web.config.file; leave out the --ssl options".into());
        }
        server = server.tls_source(tls);
    }
    let mut setup = Setup::new(registry, runtime);
    // Before the metrics below. The views that `configure` adds have to hold for them, and for
    // statics: adding a collector to the default registry registers all statics first.
    (exporter.configure)(&mut setup, own)?;
    check_probes(&setup, common)?;
    if common.process_stats {
        tallies::process::register(registry)?;
    }
    if let (Some(web), true) = (&web, own_metrics) {
        web.register(registry)?;
    }
    let has_metrics = own_metrics && !setup.updates.is_empty();
    let metrics = match has_metrics {
        true => Some(UpdateMetrics::register(registry)?),
        false => None,
    };
    // Updates that run before each page, and updates that run at an interval.
    let (mut updates, mut periodic) = (Vec::new(), Vec::new());
    for mut updater in std::mem::take(&mut setup.updates) {
        if let Some(metrics) = &metrics {
            metrics.begin(&updater.name);
        }
        updater.metrics.clone_from(&metrics);
        match updater.every {
            None => updates.push(Arc::new(updater)),
            Some(every) => periodic.push((Arc::new(updater), every)),
        }
    }
    let server = server.extension(ExporterPages {
        about: exporter.about,
        updates,
        probes: std::mem::take(&mut setup.probes),
        runtime: runtime.clone(),
        web: web.clone(),
        has_live: common.web_enable_live,
    });
    // The exporter that runs may have the port, so a check binds others.
    let server = if common.config_check {
        listen::check(common)?;
        server.address("127.0.0.1:0").bind()?
    } else {
        listen::bind(server, common)?
    };
    Ok(Prepared {
        server,
        setup,
        periodic,
        web,
        path: common.metrics_path.clone(),
    })
}

/// Returns a server with the pages that the options want.
fn server(common: &Common) -> Server {
    let server = Server::new().path(&common.metrics_path);
    #[cfg(feature = "live")]
    let server = if common.web_enable_live {
        server.live()
    } else {
        server
    };
    server
}

/// Checks that probes have paths of their own.
fn check_probes(setup: &Setup, common: &Common) -> Result<(), Error> {
    for (path, _) in &setup.probes {
        let is_taken = path == "/" || *path == common.metrics_path || path.starts_with("/-/");
        let is_live = path == "/live" || path.starts_with("/live/");
        let is_taken = is_taken || common.web_enable_live && is_live;
        if !path.starts_with('/') || is_taken {
            let path = path.escape_debug();
            return Err(Error::new(format!(
                "path of a probe `{path}` has to begin with `/`, and must not be the path of \
                 another page"
            )));
        }
    }
    Ok(())
}

/// Runs the startup hooks, serves until a signal, and runs the shutdown hooks. The latter do not
/// run if the start fails, or if a signal comes before the start is over. With [`Exporter::run`],
/// this has a runtime of its own, so that handlers that block do not hold up signals.
pub(super) async fn run(prepared: Prepared) -> ExitCode {
    match serve(prepared).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cannot_start(&error),
    }
}

async fn serve(prepared: Prepared) -> Result<(), BoxError> {
    let (setup, web) = (prepared.setup, prepared.web);
    let mut signals = Signals::new()?;
    let started = async {
        for hook in setup.startup {
            setup::run(hook, &setup.runtime).await?;
        }
        Ok::<(), BoxError>(())
    };
    // A signal also ends a start that hangs.
    tokio::select! {
        started = started => started?,
        () = signals.end(web.as_ref()) => {
            log::info!("shutdown");
            return Ok(());
        }
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (updater, interval) in prepared.periodic {
        let update = move || Arc::clone(&updater).update(interval);
        tasks.spawn(repeat(interval, update));
    }
    if let Some(web) = web.clone() {
        tasks.spawn(repeat(web::CHECK, move || Arc::clone(&web).watch()));
    }
    let (server, path) = (prepared.server, prepared.path.as_str());
    let is_secure = server.metrics_url().starts_with("https");
    let scheme = if is_secure { "https" } else { "http" };
    let url = |address| format!("{scheme}://{address}/");
    let mut urls: Vec<_> = server.addresses().iter().map(url).collect();
    // A server without addresses listens on Unix sockets only.
    if urls.is_empty() {
        urls.push("unix".to_owned());
    }
    for url in urls {
        log::info!(target: NOTICE, url = url.as_str(), path; "listening");
    }
    let serving = server.start()?;
    notify("READY=1");
    #[cfg(unix)]
    if let Some(timeout) = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero()) {
        tasks.spawn(repeat(timeout / 2, || async { notify("WATCHDOG=1") }));
    }
    signals.end(web.as_ref()).await;
    notify("STOPPING=1");
    let stopped = tokio::task::spawn_blocking(move || serving.stop());
    // A panic of the service's thread is no reason to leave out the hooks.
    let _ = stopped.await;
    tasks.shutdown().await;
    let hooks = async {
        for hook in setup.shutdown {
            if let Err(error) = setup::run(hook, &setup.runtime).await {
                log::error!("shutdown: {error}");
            }
        }
    };
    if tokio::time::timeout(SHUTDOWN, hooks).await.is_err() {
        let seconds = SHUTDOWN.as_secs();
        log::error!("shutdown: the hooks took more than {seconds} s");
    }
    log::info!("shutdown");
    Ok(())
}

/// Does something at once, and then again at each interval. Ends when it is dropped.
async fn repeat<F: Future<Output = ()>>(interval: Duration, work: impl Fn() -> F) {
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        work().await;
    }
}

/// The signals that end the program, or that ask for the web configuration to be read again.
#[cfg(unix)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that ends the program. A hangup reads the web configuration again.
    async fn end(&mut self, web: Option<&Arc<Web>>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => {
                    if let Some(web) = web {
                        // A task of its own: reading may hang, and other signals must be seen.
                        // `true`: reads the files even if they have not changed, or are still
                        // changing.
                        let web = Arc::clone(web);
                        tokio::spawn(async move { web.check(true).await });
                    }
                }
            }
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn end(&mut self, _: Option<&Arc<Web>>) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Tells systemd the state of this program, if systemd has started it.
fn notify(state: &str) {
    #[cfg(unix)]
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Custom(state)]) {
        log::warn!("cannot notify systemd: {error}");
    }
    #[cfg(not(unix))]
    let _ = state;
}
