//! Sends GET requests to an HTTP or HTTPS server, and reports latencies with their intervals.
//!
//! ```sh
//! cargo run --release -p tallies-bench --example load -- http://127.0.0.1:8080/ --rate 5000 --for 10
//! ```
//!
//! `--html FILE` writes a page with charts, `--json FILE` the whole report for programs.
//!
//! Connections are kept alive, in HTTP/1.1. A status of 400 or above is a failure.
//!
//! The exit code is 0; 2 for an error; 3 if the generator was limited; and 4 if the server was
//! overloaded.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tallies_bench::Load;
use tower_service::Service;

/// Sends GET requests, and reports their latency.
#[derive(Parser)]
struct Args {
    /// The address, such as http://127.0.0.1:8080/.
    url: Uri,
    /// Requests a second, at random times. Without it, the load is closed.
    #[arg(long)]
    rate: Option<f64>,
    /// Sends the requests at equal distances instead.
    #[arg(long, requires = "rate")]
    constant: bool,
    /// The connections of a closed load.
    #[arg(long, default_value_t = 16, conflicts_with = "rate")]
    connections: usize,
    /// Seconds to measure.
    #[arg(long = "for", default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Requests in flight at most; planned requests beyond them are skipped and counted.
    #[arg(long, default_value_t = 1000)]
    max_in_flight: usize,
    /// Stops once the interval of the 99th percentile is this wide, relative to it: 0.05.
    #[arg(long)]
    width: Option<f64>,
    /// Writes a page with charts to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the quantiles in the Bencher Metric Format to this file.
    #[arg(long, value_name = "FILE")]
    bencher: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Args::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{}", with_causes(&*error));
            ExitCode::from(2)
        }
    }
}

/// Returns the exit code.
async fn measure(args: Args) -> Result<u8, Box<dyn Error>> {
    let mut load = Load::new()
        .warm_up(Duration::try_from_secs_f64(args.warm_up)?)
        .measure(Duration::try_from_secs_f64(args.seconds)?)
        .max_in_flight(args.max_in_flight)
        .progress();
    load = match args.rate {
        Some(rate) if args.constant => load.constant(rate),
        Some(rate) => load.poisson(rate),
        None => load.closed(args.connections),
    };
    if let Some(width) = args.width {
        load = load.stop_at_width(0.99, width);
    }
    let target = shown(&args.url);
    load = load.target(&target);
    let client = Arc::new(Client::new(args.url)?);
    let report = load.run_async(move |_| {
        let client = Arc::clone(&client);
        async move { client.get().await.map_err(|error| with_causes(&*error)) }
    });
    let report = report.await?;
    println!("{report}");
    if let Some(file) = args.html {
        fs::write(file, report.to_html(&target))?;
    }
    if let Some(file) = args.json {
        fs::write(file, report.to_json())?;
    }
    if let Some(file) = args.bencher {
        fs::write(file, report.to_bencher(&target))?;
    }
    Ok(report.exit_code())
}

/// The address without what can be a secret: user, password and query.
fn shown(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("http");
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{scheme}://{host}{}{query}", url.path())
}

/// A client of one address. It keeps connections, and opens one when all others are in use.
struct Client {
    url: Uri,
    /// The path and query of the address.
    target: Uri,
    connector: HttpsConnector<HttpConnector>,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
}

impl Client {
    /// Returns a client that trusts the usual authorities.
    fn new(url: Uri) -> Result<Self, Box<dyn Error>> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(provider)?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        url.authority().ok_or("the address has no host")?;
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            target: target.parse()?,
            url,
            connector,
            idle: Mutex::default(),
        })
    }

    /// Sends one request, and reads the response to its end.
    async fn get(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut connection = self.connection().await?;
        let host = self
            .url
            .authority()
            .map_or("", |authority| authority.as_str());
        let request = Request::get(self.target.clone()).header(header::HOST, host);
        let response = connection.send_request(request.body(Empty::new())?).await?;
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        self.idle().push(connection);
        match status.as_u16() {
            ..400 => Ok(()),
            _ => Err(format!("status {status}").into()),
        }
    }

    async fn connection(&self) -> Result<SendRequest<Empty<Bytes>>, Box<dyn Error + Send + Sync>> {
        loop {
            let Some(mut idle) = self.idle().pop() else {
                break;
            };
            // The server may have closed it.
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let stream = self.connector.clone().call(self.url.clone()).await?;
        let (connection, driver) = http1::handshake(stream).await?;
        tokio::spawn(driver);
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Empty<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of an error and of what caused it.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    if text.ends_with("InvalidContentType") {
        text += ": the server does not speak TLS here; is its address `http://…`?";
    }
    text
}
