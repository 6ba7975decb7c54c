//! A shop that calls a user service over HTTP through an instrumented client and exposes `/metrics`
//! on a route of its own web framework.
//!
//!     cargo run --release -p tallies-tests --example client
//!
//! The program starts both the shop and the user service. The user service is sometimes slow, does
//! not know every user, and is sometimes unavailable. Ctrl-C ends both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use clap::Parser;
use tallies::{Counter, Registry, serve::MetricsService};
use tallies_http::{ClientLayer, ClientMetrics, PageService, ServerMetrics};
use tokio::net::TcpListener;

/// Greetings sent.
#[tallies::metric]
static GREETINGS: Counter = Counter::new("shop_greetings_total");

/// A client of the user service.
struct Users {
    http: reqwest::Client,
    measured: ClientLayer,
    root: String,
}

impl Users {
    /// Fetches the name of a user, or returns the status that the shop replies with instead.
    async fn name(&self, id: u32) -> Result<String, StatusCode> {
        let url = format!("{}/users/{id}", self.root);
        let answer = self
            .measured
            .send("/users/{id}", self.http.get(url))
            .await
            .map_err(|error| match error.is_timeout() {
                true => StatusCode::GATEWAY_TIMEOUT,
                false => StatusCode::BAD_GATEWAY,
            })?;
        match answer.status() {
            StatusCode::OK => answer.text().await.map_err(|_| StatusCode::BAD_GATEWAY),
            StatusCode::NOT_FOUND => Err(StatusCode::NOT_FOUND),
            _ => Err(StatusCode::BAD_GATEWAY),
        }
    }
}

async fn greet(State(users): State<Arc<Users>>, Path(id): Path<u32>) -> Result<String, StatusCode> {
    let name = users.name(id).await?;
    GREETINGS.inc();
    Ok(format!("Hello, {name}!\n"))
}

/// The user service. In production it would be a separate program, so it uses a registry of its own
/// rather than the default one.
async fn user(Path(id): Path<u32>) -> Result<String, StatusCode> {
    match id % 100 {
        97 => {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
        98 => Err(StatusCode::SERVICE_UNAVAILABLE),
        99 => Err(StatusCode::NOT_FOUND),
        _ => Ok(format!("user {id}")),
    }
}

/// A shop and the user service that it calls.
#[derive(Parser)]
struct Options {
    /// Address that the shop listens on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address that the user service listens on.
    #[arg(long, default_value = "127.0.0.1:8081")]
    users: SocketAddr,
    /// Do not generate traffic.
    #[arg(long)]
    no_traffic: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let listener = TcpListener::bind(options.users).await?;
    let root = format!("http://{}", listener.local_addr()?);
    println!("Serving users on {root}/users/1");
    let app = Router::new()
        .route("/users/{id}", get(user))
        .layer(ServerMetrics::new().register(&Registry::new())?);
    tokio::spawn(async { axum::serve(listener, app).await });

    let clients = ClientMetrics::new()
        .prefix("shop")
        .version(env!("CARGO_PKG_VERSION"))
        .register(tallies::registry())?;
    let users = Users {
        http: reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_millis(500))
            .build()?,
        measured: clients.named("users"),
        root,
    };
    let measured = ServerMetrics::new().register(tallies::registry())?;
    let app = Router::new()
        .route("/greet/{id}", get(greet))
        .layer(measured)
        .route_service("/metrics", PageService(MetricsService::new()))
        .with_state(Arc::new(users));
    let listener = TcpListener::bind(options.listen).await?;
    let shop = format!("http://{}", listener.local_addr()?);
    println!("Serving the shop on {shop}/greet/1");
    println!("Serving metrics on {shop}/metrics");
    println!("Try: curl {shop}/metrics");
    if !options.no_traffic {
        tokio::spawn(traffic(shop));
    }
    axum::serve(listener, app)
        .with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await })
        .await?;
    println!("Bye.");
    Ok(())
}

/// Sends about ten requests a second, so that there is traffic to measure.
async fn traffic(shop: String) {
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap_or_default();
    for id in 0_u32.. {
        // The request fails if the shop is shutting down.
        let _ = http.get(format!("{shop}/greet/{id}")).send().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
