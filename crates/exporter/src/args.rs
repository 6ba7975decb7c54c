//! The command line of every exporter.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Args, Command, ValueEnum, ValueHint};
use clap_complete::Shell;

use super::About;

/// No options beside those that all exporters have.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct NoArgs {}

/// The options that all exporters have.
#[derive(Args, Debug)]
pub(super) struct Common {
    /// Hosts or addresses to listen on
    #[arg(short = 'H', long, num_args = 1.., value_name = "HOST", default_value = "localhost")]
    pub(super) host: Vec<String>,
    /// Port to listen on, at every host
    #[arg(short, long)]
    pub(super) port: u16,
    /// Addresses to listen on instead, such as `:9100` or `[::1]:9100`
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS",
        value_parser = address,
        num_args = 1..
    )]
    pub(super) web_listen_address: Vec<String>,
    /// Hosts that requests may name, beside those of sockets that only this machine reaches; * for
    /// all
    #[arg(long = "web.allowed-host", value_name = "HOST", num_args = 1..)]
    pub(super) web_allowed_host: Vec<String>,
    /// Serve no OpenMetrics, so that Prometheus stores names as they are, without `_total`
    #[arg(long = "web.disable-openmetrics")]
    pub(super) web_disable_openmetrics: bool,
    /// Path of the metrics page
    #[arg(long, alias = "web.telemetry-path", value_name = "PATH")]
    pub(super) metrics_path: String,
    /// Least level that is logged: critical, error, warning, info or debug
    #[arg(
        short = 'L',
        long,
        alias = "log.level",
        ignore_case = true,
        default_value = "warning",
        value_name = "LEVEL"
    )]
    pub(super) log_level: Level,
    /// Format of the log
    #[arg(
        long,
        alias = "log.format",
        ignore_case = true,
        default_value = "plain"
    )]
    pub(super) log_format: Format,
    /// Export processor time, memory and files of this process
    #[arg(long)]
    pub(super) process_stats: bool,
    /// Serve `/live`, a page where the metrics move
    #[cfg_attr(feature = "live", arg(long = "web.enable-live"))]
    #[cfg_attr(not(feature = "live"), arg(skip))]
    pub(super) web_enable_live: bool,
    /// Do not export metrics about updates and the web configuration
    #[arg(long = "web.disable-exporter-metrics")]
    pub(super) web_disable_exporter_metrics: bool,
    /// File with the private key, for HTTPS
    #[arg(long, value_name = "FILE", value_parser = existing, value_hint = ValueHint::FilePath)]
    pub(super) ssl_private_key: Option<PathBuf>,
    /// File with the certificate chain, for HTTPS
    #[arg(long, value_name = "FILE", value_parser = existing, value_hint = ValueHint::FilePath)]
    pub(super) ssl_public_key: Option<PathBuf>,
    /// File with the CA whose certificates clients have to present
    #[arg(long, value_name = "FILE", value_parser = existing, value_hint = ValueHint::FilePath)]
    pub(super) ssl_ca: Option<PathBuf>,
    /// File with TLS, passwords and headers, in the format of Prometheus' exporter toolkit
    #[arg(
        long = "web.config.file",
        value_name = "FILE",
        value_parser = existing,
        value_hint = ValueHint::FilePath
    )]
    pub(super) web_config_file: Option<PathBuf>,
    /// Listen on the sockets that systemd passes, instead of hosts and port
    #[arg(long = "web.systemd-socket")]
    pub(super) web_systemd_socket: bool,
    /// Check the configuration, without serving
    #[arg(long)]
    pub(super) config_check: bool,
    /// Print completions for a shell
    #[arg(long, value_name = "SHELL", exclusive = true)]
    pub(super) completions: Option<Shell>,
}

/// The levels of the log, by their names in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    Critical,
    Error,
    Warning,
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Plain,
    Json,
}

/// Takes a host, which may be missing, and a port.
fn address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let has_port = port.parse::<u16>().is_ok();
    if has_port && (!host.contains(':') || host.starts_with('[') && host.ends_with(']')) {
        return Ok(text.to_owned());
    }
    let what =
        "an address has a host and a port, such as `127.0.0.1:9100`, `[::1]:9100` or `:9100`";
    Err(what.to_owned())
}

/// Takes the path of a file that exists.
fn existing(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Err("it is a directory".to_owned()),
        Ok(_) => Ok(path),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the command line of an exporter with the options `A`.
pub(super) fn command<A: Args>(about: &About) -> Command {
    let version = Arg::new("version")
        .long("version")
        .short('V')
        .action(ArgAction::Version)
        .help("Print the version");
    let command = Command::new(about.name.clone())
        .bin_name(about.name.clone())
        .disable_version_flag(true)
        .arg(version);
    let command = A::augment_args(command).next_help_heading("Service");
    let hosts = about.allowed_hosts.clone();
    let command = Common::augment_args(command)
        .mut_arg("port", |arg| with_default(arg, about.port.to_string()))
        .mut_arg("metrics_path", |arg| with_default(arg, about.path.clone()))
        .mut_arg("web_allowed_host", |arg| arg.default_values(hosts))
        .mut_arg("web_disable_openmetrics", |arg| {
            preset(arg, !about.open_metrics)
        });
    #[cfg(feature = "live")]
    let command = command.mut_arg("web_enable_live", |arg| preset(arg, about.live));
    // After the options, whose types have texts of their own.
    let command = command
        .version(about.version.clone())
        .about(about.description.clone())
        .long_about(None);
    command.after_help(format!(
        "Every option can also be set by an environment variable, such as {0}_PORT, or in a dotenv \
         file: `.env`, or the one that {0}_DOTENV names. The command line wins over the \
         environment, and the environment over the file.",
        about.prefix
    ))
}

fn with_default(arg: Arg, value: String) -> Arg {
    arg.required(false).default_value(value)
}

/// Presets a flag.
fn preset(flag: Arg, yes: bool) -> Arg {
    flag.default_values(yes.then_some("true"))
}
