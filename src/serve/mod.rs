//! The metrics page over HTTP: a service on its own thread or in the program's runtime, and a
//! `tower_service::Service` for any framework.
//!
//! The service first reads a request (`answer`, `coding`). It then takes a scrape from a pass over
//! the registries, which concurrent requests share (`scrape`), and sends a page of it block by
//! block (`page`, `body`). The live page has snapshots and a stream of its own (`live`). The other
//! modules decide where to listen (`listen`), which clients to admit (`auth`, `tls`), and which
//! limits apply to a connection (`connection`, `seats`, `stream`, `timed_body`). A program may add
//! pages and checks of its own (`extension`).

#![allow(
    clippy::result_large_err,
    reason = "a rejected request returns its response as the error, and that is rare"
)]

mod answer;
#[cfg(feature = "serve")]
mod auth;
mod body;
mod coding;
#[cfg(feature = "serve")]
mod connection;
#[cfg(feature = "serve")]
mod extension;
#[cfg(feature = "serve")]
mod listen;
#[cfg(feature = "live")]
mod live;
mod page;
#[cfg(feature = "serve")]
mod peer;
#[cfg(feature = "serve")]
mod places;
mod query;
mod report;
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
#[cfg(feature = "serve")]
mod timed_body;
#[cfg(all(feature = "serve", feature = "tls"))]
pub mod tls;
mod turns;

pub use body::Body;
#[cfg(feature = "serve")]
pub use extension::{Admission, Extension, Later, PageSource, PageTime, Record};
#[cfg(feature = "serve")]
pub use peer::Peer;
#[cfg(feature = "serve")]
pub use server::Server;
pub use service::MetricsService;
#[cfg(feature = "serve")]
pub use serving::{BoundServer, Serving};
