//! Serves metrics from axum with one line of the router.
//!
//!     cargo run --example axum_metrics
//!
//! Ctrl-C ends the program. With `--once` the first greeting ends it as well.

use axum::Router;
use axum::extract::Request;
use axum::routing::{any, get};
use tallies::{Counter, serve::MetricsService};
use tokio::sync::Notify;

/// Greetings sent.
#[tallies::metric]
static GREETINGS: Counter = Counter::new("greetings_total");

static GREETED: Notify = Notify::const_new();

async fn greet() -> &'static str {
    GREETINGS.inc();
    GREETED.notify_one();
    "hello\n"
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = MetricsService::new();
    let metrics = any(move |request: Request| metrics.answer(&request));
    let app = Router::new()
        .route("/", get(greet))
        .route("/metrics", metrics);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "Serving metrics on http://{}/metrics",
        listener.local_addr()?
    );
    let once = std::env::args().any(|argument| argument == "--once");
    let end = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = GREETED.notified(), if once => {}
        }
    };
    axum::serve(listener, app)
        .with_graceful_shutdown(end)
        .await?;
    Ok(())
}
