//! A small HTTP application whose requests are measured, with its metrics on a separate port.
//!
//!     cargo run --release --example service
//!
//! Ctrl-C ends the program. SIGHUP stops the metrics service and starts it again, as a program
//! would that reloads its configuration.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clap::Parser;
use tallies::{
    Counter, Histogram, Info,
    serve::{Server, Serving},
};
use tallies_http::ServerMetrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Files accepted.
#[tallies::metric]
static UPLOADS: Counter = Counter::new("file_uploads_total");

/// Size of accepted files.
#[tallies::metric]
static UPLOAD_SIZE: Histogram = Histogram::new("file_upload_size_bytes")
    .buckets(&[64.0, 256.0, 1024.0, 4096.0, 16_384.0])
    .native(3); // exposed in addition to the classic buckets, to scrapers that accept protobuf

/// The version of this program.
#[tallies::metric]
static BUILD: Info =
    Info::new("service_build_info").constant(&[("version", env!("CARGO_PKG_VERSION"))]);

async fn home() -> &'static str {
    "hello\n"
}

async fn user(Path(id): Path<u32>) -> Response {
    match id {
        0..1000 => format!("user {id}\n").into_response(),
        _ => (StatusCode::NOT_FOUND, "no such user\n").into_response(),
    }
}

async fn upload(body: Bytes) -> Response {
    if body.is_empty() {
        return (StatusCode::BAD_REQUEST, "an empty file\n").into_response();
    }
    UPLOADS.inc();
    UPLOAD_SIZE.observe(body.len() as f64);
    (StatusCode::CREATED, "thanks\n").into_response()
}

/// A small HTTP application whose requests are measured.
#[derive(Parser)]
struct Options {
    /// Address that the application listens on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address that the metrics service listens on.
    #[arg(long, default_value = "127.0.0.1:9464")]
    metrics: SocketAddr,
    /// Do not generate traffic.
    #[arg(long)]
    no_traffic: bool,
    /// Leave out the measuring layer, to find out what it costs.
    #[arg(long)]
    unmeasured: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let metrics = Server::new().listen(options.metrics)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(&options, metrics))
}

async fn run(options: &Options, metrics: Serving) -> Result<(), Box<dyn std::error::Error>> {
    let mut app = Router::new()
        .route("/", get(home))
        .route("/users/{id}", get(user))
        .route("/upload", post(upload));
    if !options.unmeasured {
        // One layer measures every route: requests, durations, sizes, requests in flight, and
        // failures.
        app = app.layer(ServerMetrics::new().register(tallies::registry())?);
    }
    let listener = TcpListener::bind(options.listen).await?;
    let address = listener.local_addr()?;
    println!("Serving the application on http://{address}/");
    println!("Serving metrics on {}", metrics.metrics_url());
    println!("Try: curl {}", metrics.metrics_url());
    if !options.no_traffic {
        tokio::spawn(traffic(address));
    }
    let restarts = tokio::spawn(restart_on_hangup(metrics));
    axum::serve(listener, app)
        .with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await })
        .await?;
    restarts.abort();
    println!("Bye.");
    Ok(())
}

/// Stops the metrics service and starts it again on each SIGHUP.
async fn restart_on_hangup(mut metrics: Serving) -> std::io::Result<()> {
    let mut hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    while hangups.recv().await.is_some() {
        let address = metrics.address();
        tokio::task::block_in_place(|| metrics.stop());
        println!("The metrics service has stopped.");
        metrics = match Server::new().listen(address) {
            Ok(metrics) => metrics,
            Err(error) => {
                eprintln!("{error}: the application goes on without metrics.");
                return Ok(());
            }
        };
        println!("Serving metrics on {}", metrics.metrics_url());
    }
    Ok(())
}

/// Sends about ten requests a second, so that there is traffic to measure.
async fn traffic(address: SocketAddr) {
    for i in 0_usize.. {
        let (method, path, size) = match i % 5 {
            0 => ("GET", "/".to_owned(), 0),
            1 => ("POST", "/upload".to_owned(), (i * 37) % 20_000 + 1),
            2 => ("POST", "/upload".to_owned(), 0),
            _ => ("GET", format!("/users/{}", (i * 7) % 1100), 0),
        };
        // The request fails if the application is shutting down.
        let _ = request(address, method, &path, size).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    size: usize,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&vec![b'x'; size]).await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}
