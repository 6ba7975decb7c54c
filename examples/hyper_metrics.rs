//! Serves metrics from plain hyper with one arm of the router's `match`. The same call works in
//! anything whose requests are those of the crate `http`.
//!
//!     cargo run --example hyper_metrics
//!
//! Ctrl-C ends the program. With `--once` the first greeting ends it as well.

use std::convert::Infallible;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tallies::serve::Body;
use tallies::{Counter, serve::MetricsService};
use tokio::sync::Notify;

/// Greetings sent.
#[tallies::metric]
static GREETINGS: Counter = Counter::new("greetings_total");

static GREETED: Notify = Notify::const_new();

async fn route(
    request: Request<Incoming>,
    metrics: MetricsService,
) -> Result<Response<Either<Body, Full<Bytes>>>, Infallible> {
    let text = |text: &'static str| Response::new(Either::Right(Full::from(text)));
    match request.uri().path() {
        "/metrics" => Ok(metrics.answer(&request).await.map(Either::Left)),
        "/" => {
            GREETINGS.inc();
            GREETED.notify_one();
            Ok(text("hello\n"))
        }
        _ => {
            let mut response = text("");
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "Serving metrics on http://{}/metrics",
        listener.local_addr()?
    );
    let once = std::env::args().any(|argument| argument == "--once");
    let metrics = MetricsService::new();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // `accept` fails when the process is out of file descriptors, for example; some
                    // may be free again soon.
                    eprintln!("{error}");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = tokio::signal::ctrl_c() => break,
            () = GREETED.notified(), if once => break,
        };
        let metrics = metrics.clone();
        let service = service_fn(move |request| route(request, metrics.clone()));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
    // Waits up to two seconds for requests in flight and for idle keep-alive connections.
    let wait = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), wait).await;
    Ok(())
}
