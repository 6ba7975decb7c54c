//! Web servers and clients of several frameworks, measured.

mod actix;
mod client;
mod server;
#[path = "../../support/mod.rs"]
mod support;
mod tonic;
