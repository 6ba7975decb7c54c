//! An exporter as a program: its start, its run and its end.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, Command, FromArgMatches};
use tallies::serve::BoundServer;
use tallies::{Error, Registry, serve::Server};
use tokio::runtime::Handle;

use super::args::{Common, command};
use super::environment::{self, Applied};
use super::extension::ExporterPages;
use super::logging::NOTICE;
use super::setup::{Hook, Setup};
use super::update::{UpdateMetrics, Updater};
use super::web::Web;
use super::{About, BoxError, Configure, listen, logging};

/// The longest time of all shutdown hooks together.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// An exporter whose sockets are bound.
pub(super) struct Prepared {
    server: BoundServer,
    /// Where hooks run.
    runtime: Handle,
    startup: Vec<Hook>,
    shutdown: Vec<Hook>,
    periodic: Vec<(Arc<Updater>, Duration)>,
    web: Option<Arc<Web>>,
    /// The path of the metrics page.
    path: String,
    /// Whether the service uses TLS.
    secure: bool,
}

/// Logs why the program cannot start, and returns its exit code.
pub(super) fn cannot_start(error: &dyn std::fmt::Display) -> ExitCode {
    log::error!("cannot start: {error}");
    ExitCode::from(1)
}

/// Parses the command line, configures the exporter and binds its sockets.
///
/// # Errors
///
/// Fails with the exit code if the program ends here; it is 0 after help or a check.
pub(super) fn prepare<A: Args>(
    about: About,
    registry: &Registry,
    runtime: &Handle,
    configure: Configure<A>,
) -> Result<Prepared, ExitCode> {
    let (common, own) = parse::<A>(&about)?;
    logging::install(common.log_level, common.log_format);
    log::info!(version = about.version.as_str(); "startup");
    // The program's own options may have secrets, so they are not logged.
    log::debug!(
        host = common.host.join(" ").as_str(),
        port = common.port,
        metrics_path = common.metrics_path.as_str(),
        log_level = format!("{:?}", common.log_level).to_lowercase().as_str(),
        process_stats = common.process_stats.to_string().as_str(),
        web_config = common.web_config.as_deref().unwrap_or(Path::new("")).display().to_string().as_str(),
        tls = common.ssl_public_key.is_some().to_string().as_str();
        "configuration"
    );
    // What the engine says of itself is not what an exporter is for. `configure` may turn it on.
    registry.set_self_metrics(false);
    let is_check = common.config_check;
    match bind(about, registry, runtime, &common, configure, own) {
        Ok(_) if is_check => {
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
            return match plain.clone().try_get_matches() {
                Err(error) if !error.use_stderr() => {
                    Err(report(&error, &Applied::default(), about))
                }
                _ => Err(usage(plain, &why)),
            };
        }
    };
    let report = |error: clap::Error| report(&error, &applied, about);
    let matches = command
        .try_get_matches_from_mut(std::env::args_os())
        .map_err(report)?;
    let mut common = Common::from_arg_matches(&matches).map_err(report)?;
    let is_argument = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    // The command line wins over addresses of a variable.
    if (is_argument("host") || is_argument("port")) && !is_argument("web_listen_address") {
        common.listen.clear();
    }
    // Before the program's own options are read: `--completions` is exclusive, so required ones may
    // be missing.
    if let Some(shell) = common.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, &about.name, &mut script);
        print(&script);
        return Err(ExitCode::SUCCESS);
    }
    let own = A::from_arg_matches(&matches).map_err(report)?;
    if common.host.is_empty() && common.listen.is_empty() {
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
fn bind<A>(
    about: About,
    registry: &Registry,
    runtime: &Handle,
    common: &Common,
    configure: Configure<A>,
    own: A,
) -> Result<Prepared, BoxError> {
    let mut server = server(common)
        .registry(registry)
        .open_metrics(!common.without_open_metrics);
    let own_metrics = !common.without_own_metrics;
    let web = match &common.web_config {
        None => None,
        Some(path) => Some(Arc::new(Web::load(path)?)),
    };
    let has_files = [
        &common.ssl_private_key,
        &common.ssl_public_key,
        &common.ssl_ca,
    ];
    let has_files = has_files.iter().any(|file| file.is_some());
    if let (Some(certificate), Some(key)) = (&common.ssl_public_key, &common.ssl_private_key) {
        server = server.certificate(certificate).private_key(key);
    }
    if let Some(ca) = &common.ssl_ca {
        server = server.client_ca(ca);
    }
    let tls = web.as_ref().and_then(|web| web.tls());
    let secure = has_files || tls.is_some();
    if let Some(tls) = tls {
        if has_files {
            return Err("TLS is in --web.config.file; leave out the --ssl options".into());
        }
        server = server.tls_source(tls);
    }
    let mut setup = Setup::new(registry);
    // Before the first metric of the framework: the views that `configure` adds have to hold for
    // it, and for statics, which that registration may register as well.
    configure(&mut setup, own)?;
    check_probes(&setup, common)?;
    if common.process_stats {
        tallies::process::register(registry)?;
    }
    if let (Some(web), true) = (&web, own_metrics) {
        web.register(registry)?;
    }
    let metrics = if own_metrics && !setup.updates.is_empty() {
        Some(UpdateMetrics::register(registry)?)
    } else {
        None
    };
    let (mut scraped, mut periodic) = (Vec::new(), Vec::new());
    for declared in setup.updates {
        let updater = Updater::new(
            &declared.name,
            declared.handler,
            registry,
            runtime,
            declared.min_interval,
            metrics.clone(),
        );
        match declared.every {
            None => scraped.push(updater),
            Some(every) => periodic.push((updater, every)),
        }
    }
    let pages = ExporterPages::new(
        about,
        scraped,
        setup.probes,
        runtime,
        web.clone(),
        has_live(common),
    );
    let server = server.extension(pages);
    // A check does not need the port, which the running exporter has.
    let server = if common.config_check {
        listen::check(common)?;
        server.address("127.0.0.1:0").bind()?
    } else {
        listen::bind(server, common)?
    };
    Ok(Prepared {
        server,
        runtime: runtime.clone(),
        startup: setup.startup,
        shutdown: setup.shutdown,
        periodic,
        web,
        path: common.metrics_path.clone(),
        secure,
    })
}

/// Returns a server with the pages that the options want.
fn server(common: &Common) -> Server {
    let server = Server::new().path(&common.metrics_path);
    #[cfg(feature = "live")]
    let server = if common.live { server.live() } else { server };
    server
}

/// Returns whether there is a live page.
fn has_live(common: &Common) -> bool {
    #[cfg(feature = "live")]
    return common.live;
    #[cfg(not(feature = "live"))]
    {
        let _ = common;
        false
    }
}

/// Checks that probes have paths of their own.
fn check_probes(setup: &Setup, common: &Common) -> Result<(), Error> {
    for (path, _) in &setup.probes {
        let is_taken = path == "/" || *path == common.metrics_path || path.starts_with("/-/");
        let is_live = path == "/live" || path.starts_with("/live/");
        let is_taken = is_taken || has_live(common) && is_live;
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

/// Runs the startup hooks, serves until a signal, and runs the shutdown hooks. They do not run if
/// the start fails or a signal ends it.
pub(super) async fn run(prepared: Prepared) -> ExitCode {
    let Prepared {
        server,
        runtime,
        startup,
        shutdown,
        periodic,
        web,
        path,
        secure,
    } = prepared;
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return cannot_start(&error),
    };
    let started = async {
        for hook in startup {
            hook.run(&runtime).await?;
        }
        Ok::<(), BoxError>(())
    };
    // A signal also ends a start that hangs.
    tokio::select! {
        started = started => {
            if let Err(error) = started {
                return cannot_start(&error);
            }
        }
        () = signals.end(web.as_ref()) => {
            log::info!("shutdown");
            return ExitCode::SUCCESS;
        }
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (updater, every) in periodic {
        tasks.spawn(async move {
            let mut interval = tokio::time::interval(every);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                updater.update(every).await;
            }
        });
    }
    if let Some(web) = &web {
        let web = Arc::clone(web);
        tasks.spawn(async move { web.watch().await });
    }
    let scheme = if secure { "https" } else { "http" };
    for address in server.addresses() {
        log::info!(target: NOTICE, url = format!("{scheme}://{address}/").as_str(), path = path.as_str(); "listening");
    }
    // Without an address it listens on a Unix socket.
    if server.addresses().is_empty() {
        log::info!(target: NOTICE, url = "unix", path = path.as_str(); "listening");
    }
    let serving = match server.start() {
        Ok(serving) => serving,
        Err(error) => return cannot_start(&error),
    };
    notify(&[State::Ready]);
    if let Some(timeout) = watchdog() {
        tasks.spawn(async move {
            let mut interval = tokio::time::interval(timeout / 2);
            loop {
                interval.tick().await;
                notify(&[State::Watchdog]);
            }
        });
    }
    signals.end(web.as_ref()).await;
    notify(&[State::Stopping]);
    let stopped = tokio::task::spawn_blocking(move || serving.stop());
    // A panic of the service's thread is no reason to leave out the hooks.
    let _ = stopped.await;
    tasks.shutdown().await;
    let hooks = async {
        for hook in shutdown {
            if let Err(error) = hook.run(&runtime).await {
                log::error!("shutdown: {error}");
            }
        }
    };
    if tokio::time::timeout(SHUTDOWN, hooks).await.is_err() {
        log::error!(
            "shutdown: the hooks took more than {} s",
            SHUTDOWN.as_secs()
        );
    }
    log::info!("shutdown");
    ExitCode::SUCCESS
}

/// The signals that end the program, or that ask for the web configuration to be read again.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    #[cfg(not(unix))]
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for a signal that ends the program. A hangup reads the web configuration again.
    #[cfg(unix)]
    async fn end(&mut self, web: Option<&Arc<Web>>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => {
                    if let Some(web) = web {
                        // A task of its own: reading may hang, and other signals must be seen.
                        let web = Arc::clone(web);
                        tokio::spawn(async move { web.reload().await });
                    }
                }
            }
        }
    }

    #[cfg(not(unix))]
    async fn end(&mut self, _: Option<&Arc<Web>>) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

#[cfg(unix)]
use sd_notify::NotifyState as State;

/// Tells systemd, if it has started this program.
#[cfg(unix)]
fn notify(states: &[State<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("cannot notify systemd: {error}");
    }
}

/// Returns the time within which systemd wants a sign of life.
#[cfg(unix)]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
}

#[cfg(not(unix))]
enum State {
    Ready,
    Stopping,
    Watchdog,
}

#[cfg(not(unix))]
fn notify(_: &[State]) {}

#[cfg(not(unix))]
fn watchdog() -> Option<Duration> {
    None
}
