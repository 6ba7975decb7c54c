//! The page over HTTP: as a service on a thread of its own or in the program's runtime, and as a `tower_service::Service`
//! for any framework.
//!
//! A request is read ([`answer`], [`coding`]), gets its page from one pass over the registries that it shares with whoever
//! asks at the same time ([`scrape`]), and is sent. Around that the service adds where ([`listen`]), to whom ([`auth`],
//! [`tls`]), and within which limits ([`connection`], [`stream`]).

#![allow(
    clippy::result_large_err,
    reason = "where `Err` is an answer, it is the other good outcome"
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
pub use serving::{Bound, Serving};
