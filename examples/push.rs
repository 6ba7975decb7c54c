//! Pushes gauges from the command line to a Pushgateway, or to VictoriaMetrics with `--path`.
//!
//! ```sh
//! cargo run --release --features push,tls --example push -- \
//!     --url http://127.0.0.1:9091 --method put --job nightly_backup \
//!     --grouping instance=db1 --grouping path=/var/tmp \
//!     backup_duration_seconds=63.5 backup_size_bytes=1048576
//! ```
//!
//! `--method delete` deletes the group. If the push fails, the program prints the URL and the
//! gateway's reply and exits with status 1.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tallies::{Registry, push::Pusher};

/// Pushes gauges to a Pushgateway, or to VictoriaMetrics.
#[derive(Parser)]
struct Options {
    /// URL of the gateway, with an optional path prefix.
    #[arg(long, default_value = "http://127.0.0.1:9091")]
    url: String,
    /// put replaces the group, post adds to it, delete removes it. The default is put, or post with
    /// --path.
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// The job of the group.
    #[arg(long)]
    job: String,
    /// One label of the group beside its job; repeat the option to add more.
    #[arg(long, value_name = "LABEL=VALUE", value_parser = pair)]
    grouping: Vec<(String, String)>,
    /// Push to this path instead, for example VictoriaMetrics' /api/v1/import/prometheus. Such a
    /// path has no groups, so only --method post is allowed.
    #[arg(long)]
    path: Option<String>,
    /// Authenticate with a user name and a password.
    #[arg(long, value_name = "USER:PASSWORD")]
    basic_auth: Option<String>,
    /// Authenticate with a bearer token.
    #[arg(long, value_name = "TOKEN", conflicts_with = "basic_auth")]
    bearer: Option<String>,
    /// PEM file with the certificates to trust instead of Mozilla's.
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE")]
    ca: Option<std::path::PathBuf>,
    /// Time limit for the gateway's reply, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    timeout: f64,
    /// Compress the request body.
    #[arg(long)]
    gzip: bool,
    /// Gauges to push, each a name and a number.
    #[arg(value_name = "GAUGE=NUMBER", value_parser = gauge)]
    gauges: Vec<(String, f64)>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Method {
    Put,
    Post,
    Delete,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("has to have a `=`")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn gauge(text: &str) -> Result<(String, f64), String> {
    let (name, value) = pair(text)?;
    let value = value
        .parse()
        .map_err(|_| format!("`{value}` is not a number"))?;
    Ok((name, value))
}

fn push(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let method = options.method.unwrap_or(match options.path {
        None => Method::Put,
        Some(_) => Method::Post,
    });
    if method == Method::Delete && !options.gauges.is_empty() {
        return Err("delete removes the whole group: it takes no gauges".into());
    }
    if method != Method::Post && options.path.is_some() {
        return Err("--path leads to where there are no groups to replace or delete: it takes --method post".into());
    }
    let registry = Registry::new();
    for (name, value) in &options.gauges {
        registry.gauge(name, "Pushed by hand.")?.set(*value);
    }
    let timeout = Duration::try_from_secs_f64(options.timeout)?;
    let mut pusher = Pusher::new(&options.url, &options.job)
        .registry(&registry)
        .timeout(timeout);
    for (name, value) in &options.grouping {
        pusher = pusher.grouping(name, value);
    }
    if let Some(path) = &options.path {
        pusher = pusher.path(path);
    }
    if let Some(user) = &options.basic_auth {
        let (user, password) = user.split_once(':').ok_or("--basic-auth: no colon")?;
        pusher = pusher.basic_auth(user, password);
    }
    if let Some(token) = &options.bearer {
        pusher = pusher.bearer_token(token);
    }
    #[cfg(feature = "tls")]
    if let Some(ca) = &options.ca {
        let pem = std::fs::read(ca).map_err(|e| format!("{}: {e}", ca.display()))?;
        pusher = pusher.root_certificates(&pem);
    }
    if options.gzip {
        pusher = pusher.gzip();
    }
    match method {
        Method::Put => pusher.replace()?,
        Method::Post => pusher.add()?,
        Method::Delete => pusher.delete()?,
    }
    Ok(())
}

fn main() -> ExitCode {
    match push(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("push: {error}");
            ExitCode::FAILURE
        }
    }
}
