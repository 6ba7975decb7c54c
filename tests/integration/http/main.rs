//! Web servers and clients of several frameworks, measured.

mod actix;
mod client;
mod server;
mod tonic;
