//! A shop that calls another service over HTTP through an instrumented client, and exposes `/metrics` on its own web
//! framework's route; both are started here.
//!
//!     cargo run --release --example client
//!
//! The other service, of users, is slow now and then, does not know everybody, and is down at times. Ctrl-C ends both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use clap::Parser;
use tallies::http::{ClientLayer, ClientMetrics, ServerMetrics};
use tallies::{Counter, MetricsService, Registry};
use tokio::net::TcpListener;

/// Greetings said.
#[tallies::metric]
static GREETINGS: Counter = Counter::new("shop_greetings_total");

/// What the shop knows of the service of users.
struct Users {
    http: reqwest::Client,
    measured: ClientLayer,
    root: String,
}

impl Users {
    /// The name of a user, or what to answer without it.
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

/// The other service: a program of its own in earnest, so nothing of it is in the default registry.
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

/// A shop and the service that it calls.
#[derive(Parser)]
struct Options {
    /// Where the shop listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the service of users listens.
    #[arg(long, default_value = "127.0.0.1:8081")]
    users: SocketAddr,
    /// No requests of its own.
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
        .route_service("/metrics", MetricsService::new())
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

/// Some ten requests a second, so that there is something to see.
async fn traffic(shop: String) {
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap_or_default();
    for id in 0_u32.. {
        // The shop may be on its way out.
        let _ = http.get(format!("{shop}/greet/{id}")).send().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
