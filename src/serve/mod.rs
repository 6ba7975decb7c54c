//! The metrics page over HTTP: a service on its own thread or in the program's runtime, and a
//! `tower_service::Service` for any framework.
//!
//! The service first reads a request (`answer`, `coding`). It then takes the page from a pass
//! over the registries, which concurrent requests share (`scrape`), and sends it. The other
//! modules decide where to listen (`listen`), which clients to admit (`auth`, `tls`), and
//! which limits apply to a connection (`connection`, `seats`, `stream`).

#![allow(
    clippy::result_large_err,
    reason = "a rejected request returns its response as the error, and that is rare"
)]

mod answer;
#[cfg(feature = "serve")]
mod auth;
mod coding;
#[cfg(feature = "serve")]
mod connection;
#[cfg(feature = "serve")]
mod listen;
#[cfg(feature = "serve")]
mod routes;
mod scrape;
#[cfg(feature = "serve")]
mod seats;
#[cfg(feature = "serve")]
mod server;
mod service;
#[cfg(feature = "serve")]
mod serving;
#[cfg(feature = "serve")]
mod stream;
#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "serve")]
pub use server::Server;
pub use service::MetricsService;
#[cfg(feature = "serve")]
pub use serving::{BoundServer, Serving};
