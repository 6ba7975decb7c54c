//! The metrics page over HTTP: a service on its own thread or in the program's runtime, and answers
//! to the requests of any framework.
//!
//! The service first reads a request (`answer`, `coding`). It then takes a scrape from a pass over
//! the registries, which concurrent requests share (`scrape`), and sends a page of it block by
//! block (`page`, `body`). A peer takes `turns` with others, and does not get all `places`.
//! The live page has snapshots and a stream of its own (`live`). `service` answers the requests of
//! frameworks, and `server` listens itself.

#![allow(
    clippy::result_large_err,
    reason = "a rejected request returns its response as the error, and that is rare"
)]
#![cfg_attr(
    not(feature = "live"),
    allow(dead_code, unreachable_pub, reason = "others need a part of it")
)]

mod answer;
mod body;
mod coding;
#[cfg_attr(not(feature = "live"), path = "no_live.rs")]
mod live;
mod page;
mod peer;
mod places;
mod query;
mod report;
mod scrape;
#[cfg(feature = "serve")]
mod server;
mod service;
mod turns;

pub use body::Body;
#[cfg(feature = "serve")]
pub use peer::Peer;
#[cfg(all(feature = "serve", feature = "tls"))]
pub use server::tls;
#[cfg(feature = "serve")]
pub use server::{
    Admission, BoundServer, Extension, Later, PageSource, PageTime, Record, Server, Serving,
};
pub use service::MetricsService;
